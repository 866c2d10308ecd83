//! The head of a task: decoded records become rows with event time, and every row that may not go on ends here with
//! a reason. Lateness and the watermark are functions of the partition's record order alone, never of how records
//! were batched: rows are cut into runs at each step of the watermark.

use crate::batch::{self, with_system, write_key};
use crate::codec::{Decode, RowError};
use crate::operator::{Counts, OperatorError, StateAccess};
use crate::origin::{MAX_OFFSET, code_of};
use crate::records::Records;
use crate::spec::{InputSpec, Lateness};
use crate::store::{RowSink, StateError, Store};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};

/// The watermark moves in steps of a quarter of its delay, within these bounds: fine enough for timers, coarse enough
/// that a run of rows stays a batch.
const STEP_MS: std::ops::RangeInclusive<i64> = 1_000..=300_000;

/// Reason of a row that came from a partition taken for idle, behind the watermark that went on without it.
pub const WAS_IDLE: &str = "was_idle";

/// The watermark over several inputs or upstream tasks, from each one's own and whether it is idle, and whether all
/// are. Idle ones are left out; when all are idle nobody holds anybody up, and the furthest one counts.
pub fn combined(inputs: impl IntoIterator<Item = (i64, bool)>) -> (i64, bool) {
    let (mut active, mut furthest) = (None::<i64>, i64::MIN);
    for (watermark_ms, idle) in inputs {
        furthest = furthest.max(watermark_ms);
        if !idle {
            active = Some(active.map_or(watermark_ms, |a| a.min(watermark_ms)));
        }
    }
    (active.unwrap_or(furthest), active.is_none())
}

/// A row that ends at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Index in the fetched records.
    pub row: usize,
    /// Stable code.
    pub reason: &'static str,
    /// In words.
    pub error: String,
    /// Writer schema id, if known.
    pub schema_id: Option<u32>,
    /// True for lateness, false for a dead letter.
    pub late: bool,
    /// Event time, if it could be read.
    pub time_ms: Option<i64>,
    /// Position code of what it stems from, if that is not the record itself.
    pub position: Option<i64>,
}

/// Rows up to a step of the watermark, and the watermark after them.
#[derive(Debug)]
pub struct Run {
    /// The rows, system columns first; may be empty.
    pub rows: RecordBatch,
    /// Watermark of the input after the rows.
    pub watermark_ms: i64,
    /// Is the input idle after the rows, by what they say?
    pub idle: bool,
}

/// One input of a task.
pub struct Source {
    spec: InputSpec,
    decoder: Box<dyn Decode>,
    schema: SchemaRef,
    /// Key b"w": sub 0 = newest event time (the watermark's base). Other keys (prefix b'k'): newest event time.
    state: Store<i64>,
    step_ms: i64,
    /// What stands above the offset in the position codes of its rows.
    high: i64,
    /// What became of its rows.
    pub counts: Counts,
}

impl Source {
    /// A source; `decoder` yields the columns of `spec.schema`. `high` is what stands above offsets in position codes.
    pub fn new(spec: InputSpec, decoder: Box<dyn Decode>, high: i64) -> Self {
        let schema = with_system(&spec.schema);
        let step_ms = (spec.time.watermark_delay_ms / 4).clamp(*STEP_MS.start(), *STEP_MS.end());
        Source { spec, decoder, schema, state: Store::default(), step_ms, high, counts: Counts::default() }
    }

    /// Columns of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn newest(&self) -> Option<i64> {
        self.state.find(b"w").and_then(|k| self.state.get(k, 0).copied())
    }

    fn watermark_of(&self, newest: Option<i64>) -> i64 {
        newest.map_or(i64::MIN, |t| (t.saturating_sub(self.spec.time.watermark_delay_ms)).div_euclid(self.step_ms) * self.step_ms)
    }

    /// The watermark: no row with an earlier event time is expected. `i64::MIN` before the first row.
    pub fn watermark_ms(&self) -> i64 {
        self.watermark_of(self.newest())
    }

    /// Decodes records into runs of rows, each followed by the watermark it leads to. `floor_ms` is where the task's
    /// watermark is: ahead of this input's own only if that was idle.
    pub fn process(&mut self, records: &Records, refused: &mut Vec<Refused>, floor_ms: i64) -> Result<Vec<Run>, OperatorError> {
        if records.next_offset > MAX_OFFSET {
            return Err(OperatorError::Limit { what: "offsets of one partition", limit: MAX_OFFSET as u64, setting: "a topic made anew" });
        }
        self.counts.input += records.rows.len() as u64;
        let decoded = self.decode(records, refused);
        let column = |name: &str| {
            decoded
                .0
                .column_by_name(name)
                .filter(|c| c.data_type() == &arrow::datatypes::DataType::Int64)
                .cloned()
                .ok_or_else(|| OperatorError::Column { column: name.to_string(), expected: "Int64 (UTC ms)" })
        };
        let time = column(&self.spec.time.column)?;
        let against = match self.spec.time.future.as_ref().and_then(|f| f.against.as_deref()) {
            Some(name) => Some(column(name)?),
            None => None,
        };
        let keys: Vec<ArrayRef> = match &self.spec.time.lateness {
            Lateness::Watermark => Vec::new(),
            Lateness::PerKey { key, .. } => key
                .iter()
                .map(|k| decoded.0.column_by_name(k).cloned().ok_or_else(|| OperatorError::Column { column: k.clone(), expected: "a key" }))
                .collect::<Result<_, _>>()?,
        };
        let time = time.as_primitive::<Int64Type>();
        let against = against.as_ref().map(|a| a.as_primitive::<Int64Type>());

        let before = self.newest();
        let (mut newest, mut runs) = (before, Vec::new());
        let mut watermark = self.watermark_of(newest);
        let mut kept = Kept::default();
        let mut key = Vec::new();
        for i in 0..decoded.0.num_rows() {
            let row = decoded.1[i] as usize;
            let mut refuse = |reason: &'static str, error: String, late: bool, time_ms: Option<i64>| {
                refused.push(Refused { row, reason, error, schema_id: None, late, time_ms, position: None });
            };
            if time.is_null(i) {
                refuse("no_event_time", format!("`{}` is null", self.spec.time.column), false, None);
                continue;
            }
            let t = time.value(i);
            if let Some(f) = &self.spec.time.future {
                let clock = match against {
                    Some(a) if !a.is_null(i) => a.value(i),
                    _ => records.rows[row].timestamp_ms,
                };
                if t > clock.saturating_add(f.tolerance_ms) {
                    refuse("future_clock", format!("event time {t} is {} ms ahead of {clock}, tolerated are {} ms", t - clock, f.tolerance_ms), false, Some(t));
                    continue;
                }
            }
            let mut late = false;
            match &self.spec.time.lateness {
                Lateness::Watermark => {
                    let limit = newest.map_or(i64::MIN, |n| n.saturating_sub(self.spec.time.watermark_delay_ms));
                    if t < limit {
                        refuse("too_late", format!("event time {t} is behind the watermark {limit}"), true, Some(t));
                        continue;
                    }
                    if t < floor_ms {
                        self.counts.was_idle += 1;
                        let error = format!("event time {t} is behind {floor_ms}, to where the watermark went while its partition was idle");
                        refuse(WAS_IDLE, error, true, Some(t));
                        continue;
                    }
                }
                Lateness::PerKey { allowed_ms, .. } => {
                    if !write_key(&keys, i, &mut key) {
                        refuse("no_key", "a key column is null".into(), false, Some(t));
                        continue;
                    }
                    key.insert(0, b'k');
                    let id = self.state.key(&key);
                    match self.state.get(id, 0).copied() {
                        Some(max) if t < max.saturating_sub(*allowed_ms) => {
                            refuse("too_late", format!("event time {t} is {} ms behind its key's newest, allowed are {allowed_ms}", max - t), true, Some(t));
                            continue;
                        }
                        Some(max) if t < max => late = true,
                        Some(max) if t == max => {}
                        _ => self.state.put(id, 0, t),
                    }
                }
            }
            kept.push(i as u32, t, code_of(self.high, records.rows[row].offset), late);
            if newest.is_none_or(|n| t > n) {
                newest = Some(t);
                let w = self.watermark_of(newest);
                if w > watermark {
                    watermark = w;
                    runs.push(kept.finish(&self.schema, &decoded.0, w)?);
                }
            }
        }
        runs.push(kept.finish(&self.schema, &decoded.0, watermark)?);
        if let Some(n) = newest.filter(|_| newest != before) {
            let w = self.state.key(b"w");
            self.state.put(w, 0, n);
        }
        let (late, dead) = refused.iter().fold((0, 0), |(l, d), r| if r.late { (l + 1, d) } else { (l, d + 1) });
        self.counts.late += late;
        self.counts.dead += dead;
        self.counts.emitted += runs.iter().map(|r| r.rows.num_rows() as u64).sum::<u64>();
        Ok(runs)
    }

    /// Decoded rows, their indexes; refusals of the decoder and oversized values are recorded.
    fn decode(&mut self, records: &Records, refused: &mut Vec<Refused>) -> (RecordBatch, Vec<u32>) {
        refused.clear();
        let limit = self.spec.max_value_bytes;
        let fits = |r: &crate::records::RecordRow| r.value.len == u32::MAX || r.value.len as usize <= limit;
        let decoded = if records.rows.iter().all(fits) {
            self.decoder.decode(records)
        } else {
            // The rare case: decode a copy of the row table without the oversized rows, then map indexes back.
            let (small, map): (Vec<_>, Vec<u32>) = records.rows.iter().zip(0u32..).filter(|(r, _)| fits(r)).map(|(r, i)| (*r, i)).unzip();
            for (i, r) in records.rows.iter().enumerate().filter(|(_, r)| !fits(r)) {
                refused.push(Refused {
                    row: i,
                    reason: "oversized",
                    error: format!("value of {} bytes, the limit is {limit}", r.value.len),
                    schema_id: None,
                    late: false,
                    time_ms: None,
                    position: None,
                });
            }
            let mut d = self.decoder.decode(&Records { buffer: records.buffer.clone(), rows: small, next_offset: records.next_offset });
            d.index.iter_mut().chain(&mut d.tombstones).for_each(|i| *i = map[*i as usize]);
            d.dead.iter_mut().for_each(|e| e.row = map[e.row] as usize);
            d
        };
        refused.extend(decoded.dead.into_iter().map(|RowError { row, reason, error, schema_id }| Refused {
            row,
            reason,
            error,
            schema_id,
            late: false,
            time_ms: None,
            position: None,
        }));
        refused.extend(decoded.tombstones.iter().map(|i| Refused {
            row: *i as usize,
            reason: "null_value",
            error: "a stream record without a value; deletions belong to tables".into(),
            schema_id: None,
            late: false,
            time_ms: None,
            position: None,
        }));
        (decoded.rows, decoded.index)
    }
}

#[derive(Default)]
struct Kept {
    index: Vec<u32>,
    time: Vec<i64>,
    offset: Vec<i64>,
    late: Vec<bool>,
}

impl Kept {
    fn push(&mut self, i: u32, time: i64, offset: i64, late: bool) {
        self.index.push(i);
        self.time.push(time);
        self.offset.push(offset);
        self.late.push(late);
    }
    fn finish(&mut self, schema: &SchemaRef, rows: &RecordBatch, watermark_ms: i64) -> Result<Run, OperatorError> {
        let k = std::mem::take(self);
        // A contiguous run is a slice: nothing is copied in the common case.
        let user = match (k.index.first(), k.index.last()) {
            (Some(a), Some(b)) if (b - a + 1) as usize == k.index.len() => rows.slice(*a as usize, k.index.len()),
            _ => take_record_batch(rows, &UInt32Array::from(k.index))?,
        };
        Ok(Run { rows: batch::assemble(schema, k.time, k.offset, k.late, user.columns().to_vec())?, watermark_ms, idle: false })
    }
}

impl StateAccess for Source {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.state.close_epoch(rows);
    }
    fn committed(&mut self) {
        self.state.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.state.rollback()
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        self.state.import(key, sub, value)
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        self.state.scan_committed_where(wanted, rows);
    }
    fn rows(&self) -> usize {
        self.state.len()
    }
    fn bytes(&self) -> usize {
        StateAccess::bytes(&self.state)
    }
}
