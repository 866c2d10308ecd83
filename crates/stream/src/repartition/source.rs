//! The downstream half of a `rekey` stage: an input whose records the engine wrote itself. Its watermark is the minimum
//! over *all* upstream tasks that are not idle; one that has told nothing yet counts as minus infinity, so an upstream
//! that stops for an hour holds everything behind it, and its rows are not late when it catches up.

use super::{Control, Record, RowHead, read};
use crate::batch::{self, with_system};
use crate::operator::{Counts, OperatorError, StateAccess};
use crate::origin::{Origins, code_of};
use crate::records::Records;
use crate::row::RowCodec;
use crate::source::{Refused, Run, WAS_IDLE, combined};
use crate::spec::{InputSpec, Lateness, Rekeyed};
use crate::store::{RowSink, StateError, Store};
use arrow::datatypes::SchemaRef;

/// Keys of the state: watermarks of upstream tasks, and which of them are idle, each under the task's number.
const WATERMARK: &[u8] = b"u";
const IDLE: &[u8] = b"i";

/// An input behind a `rekey`.
pub struct RekeyedSource {
    spec: InputSpec,
    format_hash: u64,
    /// For each origin topic of the writing slice: its number in this one.
    topics: Vec<usize>,
    schema: SchemaRef,
    codec: RowCodec,
    /// Upstream tasks.
    tasks: u32,
    state: Store<i64>,
    /// What became of its rows.
    pub counts: Counts,
    /// A planted defect: see [`crate::worker::Planted`].
    pub min_of_seen: bool,
}

/// Rows collected for a run.
#[derive(Default)]
struct Kept<'a> {
    time: Vec<i64>,
    code: Vec<i64>,
    late: Vec<bool>,
    row: Vec<usize>,
    bytes: Vec<&'a [u8]>,
}

impl RekeyedSource {
    /// An input written by `tasks` upstream tasks.
    pub fn new(spec: InputSpec, rekeyed: &Rekeyed, tasks: u32, origins: &Origins) -> Result<Self, OperatorError> {
        let topics = rekeyed
            .origins
            .iter()
            .map(|t| origins.number(t).ok_or_else(|| OperatorError::Format(format!("{} is not an origin", t))))
            .collect::<Result<_, _>>()?;
        Ok(RekeyedSource {
            format_hash: rekeyed.format_hash,
            topics,
            schema: with_system(&spec.schema),
            codec: RowCodec::new(spec.schema.fields())?,
            tasks: tasks.max(1),
            state: Store::default(),
            counts: Counts::default(),
            min_of_seen: false,
            spec,
        })
    }

    /// Columns of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn get(&self, key: &[u8], task: u32) -> Option<i64> {
        self.state.find(key).and_then(|k| self.state.get(k, i64::from(task)).copied())
    }

    /// Watermark and idleness of every upstream task.
    fn upstream(&self) -> Vec<(i64, bool)> {
        let all = (0..self.tasks).map(|t| (self.get(WATERMARK, t).unwrap_or(i64::MIN), self.get(IDLE, t).is_some()));
        // An idle upstream that never saw a row holds nobody up; a silent one does.
        all.filter(|u| !self.min_of_seen || u.0 > i64::MIN).collect()
    }

    /// Minimum over all upstream tasks that are not idle.
    pub fn watermark_ms(&self) -> i64 {
        combined(self.upstream()).0
    }

    /// Are all upstream tasks idle?
    pub fn idle(&self) -> bool {
        combined(self.upstream()).1
    }

    fn told(&mut self, c: &Control) -> bool {
        let before = self.get(WATERMARK, c.task);
        let mut changed = self.active(c.task, !c.idle);
        if c.idle && self.get(IDLE, c.task).is_none() {
            let key = self.state.key(IDLE);
            self.state.put(key, i64::from(c.task), 1);
            changed = true;
        }
        if before.is_none_or(|w| c.watermark_ms > w) && c.watermark_ms > i64::MIN {
            let key = self.state.key(WATERMARK);
            self.state.put(key, i64::from(c.task), c.watermark_ms);
            changed = true;
        }
        changed
    }

    fn active(&mut self, task: u32, active: bool) -> bool {
        match self.state.find(IDLE).filter(|k| active && self.state.get(*k, i64::from(task)).is_some()) {
            Some(key) => self.state.remove(key, i64::from(task)).is_some(),
            None => false,
        }
    }

    fn check(&self, hash: u64, task: u32, offset: i64) -> Result<(), OperatorError> {
        let (topic, wanted) = (&self.spec.topic, self.format_hash);
        if hash != wanted {
            return Err(OperatorError::Format(format!(
                "{topic}, offset {offset}: its rows have the format {hash:016x}, this topology reads {wanted:016x}: columns before the `rekey` stage changed; let the version that wrote them read the topic to its end first, or give the stage another id"
            )));
        }
        if task >= self.tasks {
            return Err(OperatorError::Format(format!(
                "{topic}, offset {offset}: it was written by task {task}, but the slice that writes it has {} tasks: partitions were added to its input; reset the topology on purpose, or give it a new name",
                self.tasks
            )));
        }
        Ok(())
    }

    /// Decodes records into runs of rows, each followed by the watermark it leads to. Rows that came from an upstream
    /// after it had been idle, and that are behind `floor_ms`, which went on without it, are late.
    pub fn process(&mut self, records: &Records, refused: &mut Vec<Refused>, floor_ms: i64, origins: &Origins) -> Result<Vec<Run>, OperatorError> {
        refused.clear();
        let (mut runs, mut kept) = (Vec::new(), Kept::default());
        let (mut watermark_ms, mut idle) = combined(self.upstream());
        for i in 0..records.rows.len() {
            let Some((hash, record)) = records.value(i).and_then(read) else {
                self.counts.input += 1;
                refused.push(undecodable(i, "it is no record of a repartition topic"));
                continue;
            };
            match record {
                Record::Row(h, bytes) => {
                    self.check(hash, h.task, records.rows[i].offset)?;
                    self.counts.input += 1;
                    self.active(h.task, true);
                    let Some(code) = self.topics.get(usize::from(h.topic)).map(|t| code_of(origins.high(*t, h.partition), h.offset)) else {
                        refused.push(undecodable(i, "it stems from a topic that is not known"));
                        continue;
                    };
                    if self.is_late(&h, floor_ms) {
                        self.counts.was_idle += 1;
                        let error = format!("event time {} is behind {floor_ms}, to where the watermark went while its partition was idle", h.time_ms);
                        refused.push(Refused { row: i, reason: WAS_IDLE, error, schema_id: None, late: true, time_ms: Some(h.time_ms), position: Some(code) });
                        continue;
                    }
                    kept.time.push(h.time_ms);
                    kept.code.push(code);
                    kept.late.push(h.late);
                    kept.row.push(i);
                    kept.bytes.push(bytes);
                }
                Record::Control(c) => {
                    self.check(hash, c.task, records.rows[i].offset)?;
                    if self.told(&c) {
                        let now = combined(self.upstream());
                        if now != (watermark_ms, idle) {
                            (watermark_ms, idle) = now;
                            runs.push(self.run(std::mem::take(&mut kept), refused, now)?);
                        }
                    }
                }
            }
        }
        let now = combined(self.upstream());
        runs.push(self.run(kept, refused, now)?);
        let late = refused.iter().filter(|r| r.late).count() as u64;
        self.counts.late += late;
        self.counts.dead += refused.len() as u64 - late;
        self.counts.emitted += runs.iter().map(|r| r.rows.num_rows() as u64).sum::<u64>();
        Ok(runs)
    }

    /// Behind the floor, but not behind what its upstream had told: only idleness can have let the floor pass it.
    fn is_late(&self, h: &RowHead, floor_ms: i64) -> bool {
        matches!(self.spec.time.lateness, Lateness::Watermark) && h.time_ms < floor_ms && h.time_ms >= self.get(WATERMARK, h.task).unwrap_or(i64::MIN)
    }

    fn run(&self, mut kept: Kept<'_>, refused: &mut Vec<Refused>, (watermark_ms, idle): (i64, bool)) -> Result<Run, OperatorError> {
        let user = match self.codec.decode(kept.bytes.iter().copied()) {
            Ok(columns) => columns,
            Err(_) => {
                // The rare case: the damaged rows end here, their neighbours go on.
                let good: Vec<bool> = kept.bytes.iter().map(|b| self.codec.decode([*b]).is_ok()).collect();
                refused.extend(kept.row.iter().zip(&good).filter(|(_, g)| !**g).map(|(i, _)| undecodable(*i, "its columns cannot be read")));
                let mut g = good.iter().copied();
                let mut keep = || g.next().unwrap_or(false);
                kept.bytes.retain(|_| keep());
                for v in [&mut kept.time, &mut kept.code] {
                    let mut g = good.iter().copied();
                    v.retain(|_| g.next().unwrap_or(false));
                }
                let mut g = good.iter().copied();
                kept.late.retain(|_| g.next().unwrap_or(false));
                self.codec.decode(kept.bytes.iter().copied())?
            }
        };
        Ok(Run { rows: batch::assemble(&self.schema, kept.time, kept.code, kept.late, user)?, watermark_ms, idle })
    }
}

fn undecodable(row: usize, error: &str) -> Refused {
    Refused { row, reason: "undecodable", error: error.to_string(), schema_id: None, late: false, time_ms: None, position: None }
}

impl StateAccess for RekeyedSource {
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
