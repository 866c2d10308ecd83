//! Inference as a stage: rows wait as *pending* while a predictor works, epochs never do. Rows are asked for in calls
//! of bounded size; answers leave in input order; a call that fails, declines or runs out of its budget walks the
//! ladder: the key's cached answer, then a rule. What is pending when an epoch closes is state, and is asked again
//! after a restore or a roll-back.

use crate::batch::{self, SYSTEM_COLUMNS, write_key};
use crate::operator::{Answer, Call, Context, Operator, OperatorError, StateAccess};
use crate::predict::Predictor;
use crate::row::RowCodec;
use crate::spec::{InferSpec, Rung};
use crate::store::{RowSink, StateError, Store, Value};
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringBuilder, new_null_array};
use arrow::compute::{cast, concat_batches, filter_record_batch, interleave_record_batch, not};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of a pending call as state; they are written as Arrow IPC only if they still wait when an epoch closes.
#[derive(Clone, Debug)]
struct PendingRows(RecordBatch);

impl Value for PendingRows {
    fn write(&self, out: &mut Vec<u8>) {
        // Writing to memory fails only for types that the plan refuses; an empty value is refused when read back.
        let write = || -> Result<Vec<u8>, arrow::error::ArrowError> {
            let mut w = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &self.0.schema())?;
            w.write(&self.0)?;
            w.into_inner()
        };
        out.extend_from_slice(&write().unwrap_or_default());
    }
    fn read(bytes: &[u8]) -> Result<Self, StateError> {
        let bad = |e: arrow::error::ArrowError| StateError(format!("pending rows: {e}"));
        let reader = arrow::ipc::reader::StreamReader::try_new(bytes, None).map_err(bad)?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(bad)?;
        Ok(PendingRows(concat_batches(&schema, &batches).map_err(bad)?))
    }
}

/// A call that is out, or answered and waiting for earlier ones.
struct InFlight {
    deadline_ms: i64,
    done: Option<RecordBatch>,
}

/// The `infer` stage.
pub struct Infer {
    spec: InferSpec,
    /// `<topology>/<stage>/<task>`: prefix of prediction ids.
    ident: String,
    heuristic: Option<Box<dyn Predictor>>,
    out: SchemaRef,
    key_at: Vec<usize>,
    codec: RowCodec,
    pending: Store<PendingRows>,
    /// Per key: event time (sub 0 holds it in front of the row) and columns of the newest model answer.
    cache: Store<Vec<u8>>,
    calls: BTreeMap<u64, InFlight>,
    /// Rows not asked for yet: they go out together.
    open: Vec<RecordBatch>,
    waiting_rows: usize,
    next_id: u64,
    rungs: BTreeMap<Rung, u64>,
}

/// The columns that the stage itself adds behind the model's.
pub fn stage_columns() -> Vec<Field> {
    use arrow::datatypes::DataType::{Int64, Utf8};
    vec![
        Field::new("rung", Utf8, false),
        Field::new("model_version", Utf8, false),
        Field::new("feature_hash", Utf8, false),
        Field::new("age_ms", Int64, false),
        Field::new("prediction_id", Utf8, false),
    ]
}

/// One answered set of rows on its way out.
struct Rows<'a> {
    rung: Rung,
    version: &'a str,
    feature_hash: &'a str,
}

impl Infer {
    /// A stage; `input` with system columns. `heuristic` is the rule rung, answered in place.
    pub fn new(spec: InferSpec, ident: String, heuristic: Option<Box<dyn Predictor>>, input: &Schema) -> Result<Self, OperatorError> {
        let mut fields: Vec<Arc<Field>> = input.fields().iter().cloned().collect();
        fields.extend(spec.outputs.fields().iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true))));
        fields.extend(stage_columns().into_iter().map(Arc::new));
        let key_at =
            spec.key.iter().map(|k| input.index_of(k).map_err(|_| OperatorError::Column { column: k.clone(), expected: "a key" })).collect::<Result<_, _>>()?;
        let codec = RowCodec::new(spec.outputs.fields())?;
        Ok(Infer {
            spec,
            ident,
            heuristic,
            out: Arc::new(Schema::new(fields)),
            key_at,
            codec,
            pending: Store::default(),
            cache: Store::default(),
            calls: BTreeMap::new(),
            open: Vec::new(),
            waiting_rows: 0,
            next_id: 1,
            rungs: BTreeMap::new(),
        })
    }

    fn ask(&mut self, cx: &mut Context, id: u64, rows: RecordBatch) {
        let deadline_ms = cx.now_ms.saturating_add(self.spec.budget_ms);
        self.calls.insert(id, InFlight { deadline_ms, done: None });
        cx.calls.push(Call { id, predictor: self.spec.model.clone(), rows, deadline_ms, solve: None });
    }

    fn rows_of(&self, id: u64) -> Option<RecordBatch> {
        self.pending.find(b"").and_then(|k| self.pending.get(k, id as i64)).map(|p| p.0.clone())
    }

    /// Predicted columns by name, cast to the stage's types; missing ones are null.
    fn fit(&self, columns: &RecordBatch) -> Result<Vec<ArrayRef>, OperatorError> {
        self.spec
            .outputs
            .fields()
            .iter()
            .map(|f| match columns.column_by_name(f.name()) {
                Some(c) if c.data_type() == f.data_type() => Ok(c.clone()),
                Some(c) => Ok(cast(c, f.data_type())?),
                None => Ok(new_null_array(f.data_type(), columns.num_rows())),
            })
            .collect()
    }

    fn finish(&mut self, rows: &RecordBatch, predicted: Vec<ArrayRef>, by: Rows<'_>, ages: Option<Vec<i64>>) -> Result<RecordBatch, OperatorError> {
        let n = rows.num_rows();
        *self.rungs.entry(by.rung).or_default() += n as u64;
        let text = |s: &str| {
            let mut b = StringBuilder::with_capacity(n, n * s.len());
            (0..n).for_each(|_| b.append_value(s));
            Arc::new(b.finish()) as ArrayRef
        };
        let mut ids = StringBuilder::new();
        for (t, o) in batch::times(rows).iter().zip(batch::offsets(rows)) {
            ids.append_value(format!("{}/{o}/{t}", self.ident));
        }
        let mut columns = rows.columns().to_vec();
        columns.extend(predicted);
        columns.push(text(by.rung.name()));
        columns.push(text(by.version));
        columns.push(text(by.feature_hash));
        columns.push(Arc::new(Int64Array::from(ages.unwrap_or_else(|| vec![0; n]))));
        columns.push(Arc::new(ids.finish()));
        Ok(RecordBatch::try_new(self.out.clone(), columns)?)
    }

    /// Walks the rungs below the model for all rows; `why` goes to the manifest.
    fn fall_back(&mut self, cx: &mut Context, rows: &RecordBatch, why: &str) -> Result<RecordBatch, OperatorError> {
        let n = rows.num_rows();
        let mut left = BooleanArray::from(vec![true; n]);
        let mut parts: Vec<RecordBatch> = Vec::new();
        let mut order: Vec<(usize, usize)> = vec![(0, 0); n];
        for rung in self.spec.ladder.clone() {
            let todo: Vec<usize> = (0..n).filter(|i| left.value(*i)).collect();
            if todo.is_empty() {
                break;
            }
            let asked = filter_record_batch(rows, &left)?;
            let (answered, mask) = match rung {
                Rung::Cached => self.cached(&asked, batch::times(&asked))?,
                Rung::Heuristic => self.heuristic(&asked)?,
                Rung::Model | Rung::Simplified | Rung::Manual => continue,
            };
            let mut still = vec![false; n];
            let mut at = 0;
            for (j, i) in todo.iter().enumerate() {
                if mask[j] {
                    order[*i] = (parts.len(), at);
                    at += 1;
                } else {
                    still[*i] = true;
                }
            }
            if at > 0 {
                cx.decisions.push(("rung", format!("{} {at} rows: {why}", rung.name())));
                parts.push(answered);
            }
            left = BooleanArray::from(still);
        }
        if left.true_count() > 0 {
            // Nobody could answer: the row leaves provisional, with nulls, for a person to correct.
            let rest = filter_record_batch(rows, &left)?;
            let mut at = 0;
            for (i, slot) in order.iter_mut().enumerate() {
                if left.value(i) {
                    *slot = (parts.len(), at);
                    at += 1;
                }
            }
            let nulls = self.spec.outputs.fields().iter().map(|f| new_null_array(f.data_type(), rest.num_rows())).collect();
            cx.decisions.push(("rung", format!("manual {at} rows: {why}")));
            parts.push(self.finish(&rest, nulls, Rows { rung: Rung::Manual, version: "", feature_hash: "" }, None)?);
        }
        let refs: Vec<&RecordBatch> = parts.iter().collect();
        Ok(interleave_record_batch(&refs, &order)?)
    }

    fn cached(&mut self, rows: &RecordBatch, times: &[i64]) -> Result<(RecordBatch, Vec<bool>), OperatorError> {
        let keys: Vec<ArrayRef> = self.key_at.iter().map(|i| rows.column(*i).clone()).collect();
        let (mut key, mut mask, mut ages, mut found) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut version = (String::new(), String::new());
        for (i, t) in times.iter().enumerate() {
            let hit = write_key(&keys, i, &mut key).then(|| self.cache.find(&key)).flatten().and_then(|k| self.cache.get(k, 0));
            let hit = hit.and_then(|v| split_cached(v)).filter(|c| (t - c.time_ms).abs() <= self.spec.cache_age_ms);
            mask.push(hit.is_some());
            if let Some(c) = hit {
                ages.push((t - c.time_ms).max(0));
                version = (c.version.to_string(), c.feature_hash.to_string());
                found.push(c.row);
            }
        }
        let some = filter_record_batch(rows, &BooleanArray::from(mask.clone()))?;
        let columns = self.codec.decode(found.iter().copied())?;
        let by = Rows { rung: Rung::Cached, version: &version.0, feature_hash: &version.1 };
        Ok((self.finish(&some, columns, by, Some(ages))?, mask))
    }

    fn heuristic(&mut self, rows: &RecordBatch) -> Result<(RecordBatch, Vec<bool>), OperatorError> {
        let n = rows.num_rows();
        let answer = self.heuristic.as_mut().map(|h| (h.version().to_string(), h.feature_hash().to_string(), h.predict(rows)));
        let Some((version, hash, Ok(p))) = answer else {
            return Ok((RecordBatch::new_empty(self.out.clone()), vec![false; n]));
        };
        let mask: Vec<bool> = (0..n).map(|i| p.declined.as_ref().is_none_or(|d| !d.value(i))).collect();
        let keep = BooleanArray::from(mask.clone());
        let columns = self.fit(&filter_record_batch(&p.columns, &keep)?)?;
        let by = Rows { rung: Rung::Heuristic, version: &version, feature_hash: &hash };
        Ok((self.finish(&filter_record_batch(rows, &keep)?, columns, by, None)?, mask))
    }

    /// Turns an answer into output rows; declined rows fall back.
    fn settle(&mut self, cx: &mut Context, rows: &RecordBatch, answer: Answer) -> Result<RecordBatch, OperatorError> {
        let p = match answer.result {
            Ok(p) if p.columns.num_rows() == rows.num_rows() => p,
            Ok(p) => return self.fall_back(cx, rows, &format!("{} rows answered for {}", p.columns.num_rows(), rows.num_rows())),
            Err(e) => return self.fall_back(cx, rows, &e.to_string()),
        };
        let columns = self.fit(&p.columns)?;
        let by = Rows { rung: Rung::Model, version: &answer.version, feature_hash: &answer.feature_hash };
        self.remember(rows, &columns, p.declined.as_ref(), &by);
        let full = self.finish(rows, columns, by, None)?;
        let Some(declined) = p.declined.filter(|d| d.true_count() > 0) else { return Ok(full) };
        let below = self.fall_back(cx, &filter_record_batch(rows, &declined)?, "declined")?;
        let good = filter_record_batch(&full, &not(&declined)?)?;
        let (mut g, mut b) = (0, 0);
        let order: Vec<(usize, usize)> = (0..rows.num_rows())
            .map(|i| {
                if declined.value(i) {
                    b += 1;
                    (1, b - 1)
                } else {
                    g += 1;
                    (0, g - 1)
                }
            })
            .collect();
        Ok(interleave_record_batch(&[&good, &below], &order)?)
    }

    fn remember(&mut self, rows: &RecordBatch, columns: &[ArrayRef], declined: Option<&BooleanArray>, by: &Rows<'_>) {
        if !self.spec.ladder.contains(&Rung::Cached) {
            return;
        }
        let keys: Vec<ArrayRef> = self.key_at.iter().map(|i| rows.column(*i).clone()).collect();
        let mut key = Vec::new();
        for (i, t) in batch::times(rows).iter().enumerate() {
            if declined.is_some_and(|d| d.value(i)) || !write_key(&keys, i, &mut key) {
                continue;
            }
            let id = self.cache.key(&key);
            if self.cache.get(id, 0).and_then(|v| split_cached(v)).is_some_and(|c| c.time_ms > *t) {
                continue;
            }
            let mut v = t.to_le_bytes().to_vec();
            for s in [by.version, by.feature_hash] {
                v.extend_from_slice(&(s.len() as u16).to_le_bytes());
                v.extend_from_slice(s.as_bytes());
            }
            self.codec.write(columns, i, &mut v);
            self.cache.put(id, 0, v);
        }
    }

    /// Hands on every call at the front that is done.
    fn release(&mut self, cx: &mut Context) {
        while let Some(mut first) = self.calls.first_entry() {
            let Some(rows) = first.get_mut().done.take() else { break };
            let id = *first.key();
            first.remove();
            let key = self.pending.key(b"");
            self.pending.remove(key, id as i64);
            let n = rows.num_rows();
            self.waiting_rows -= n;
            cx.counts.pending -= n as u64;
            cx.counts.emitted += n as u64;
            cx.emit(rows);
        }
    }

    /// Event time of the oldest row still waiting: the stage's watermark stays behind it.
    pub fn oldest_pending_ms(&self) -> Option<i64> {
        let asked = self.pending.find(b"").map(|key| self.pending.values(key).map(|(_, p)| &p.0));
        asked.into_iter().flatten().chain(&self.open).flat_map(|rows| batch::times(rows).iter().copied()).min()
    }
}

struct Cached<'a> {
    time_ms: i64,
    version: &'a str,
    feature_hash: &'a str,
    row: &'a [u8],
}

fn split_cached(v: &[u8]) -> Option<Cached<'_>> {
    fn text(b: &[u8]) -> Option<(&str, &[u8])> {
        let (n, b) = b.split_first_chunk::<2>()?;
        let (s, b) = b.split_at_checked(u16::from_le_bytes(*n) as usize)?;
        Some((std::str::from_utf8(s).ok()?, b))
    }
    let (t, rest) = v.split_first_chunk::<8>()?;
    let (version, rest) = text(rest)?;
    let (feature_hash, row) = text(rest)?;
    Some(Cached { time_ms: i64::from_le_bytes(*t), version, feature_hash, row })
}

impl Operator for Infer {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        debug_assert!(rows.num_columns() >= SYSTEM_COLUMNS);
        let n = rows.num_rows();
        cx.counts.input += n as u64;
        cx.counts.pending += n as u64;
        self.waiting_rows += n;
        self.open.push(rows.clone());
        if self.open.iter().map(RecordBatch::num_rows).sum::<usize>() >= self.spec.batch_rows {
            self.flush(cx)?;
        }
        Ok(())
    }

    /// Rows collected since the last call, in calls of at most `batch_rows`.
    fn flush(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        let Some(first) = self.open.first() else { return Ok(()) };
        let rows = concat_batches(&first.schema(), &self.open)?;
        self.open.clear();
        let n = rows.num_rows();
        let mut from = 0;
        while from < n {
            let take = self.spec.batch_rows.max(1).min(n - from);
            let part = rows.slice(from, take);
            let id = self.next_id;
            self.next_id += 1;
            let key = self.pending.key(b"");
            self.pending.put(key, id as i64, PendingRows(part.clone()));
            self.ask(cx, id, part);
            from += take;
        }
        Ok(())
    }

    /// Calls past their deadline are answered by the ladder.
    fn advance(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        let due: Vec<u64> = self.calls.iter().filter(|(_, c)| c.done.is_none() && cx.now_ms > c.deadline_ms).map(|(id, _)| *id).collect();
        for id in due {
            let Some(rows) = self.rows_of(id) else { continue };
            let done = self.fall_back(cx, &rows, "budget spent")?;
            if let Some(c) = self.calls.get_mut(&id) {
                c.done = Some(done);
            }
        }
        self.release(cx);
        Ok(())
    }

    fn answer(&mut self, cx: &mut Context, answer: Answer) -> Result<(), OperatorError> {
        let id = answer.id;
        if self.calls.get(&id).is_none_or(|c| c.done.is_some()) {
            return Ok(());
        }
        let Some(rows) = self.rows_of(id) else { return Ok(()) };
        let done = self.settle(cx, &rows, answer)?;
        if let Some(c) = self.calls.get_mut(&id) {
            c.done = Some(done);
        }
        self.release(cx);
        Ok(())
    }

    fn reissue(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        self.calls.clear();
        self.open.clear();
        let pending: Vec<(i64, RecordBatch)> = match self.pending.find(b"") {
            Some(k) => self.pending.values(k).map(|(id, p)| (id, p.0.clone())).collect(),
            None => Vec::new(),
        };
        self.waiting_rows = pending.iter().map(|(_, r)| r.num_rows()).sum();
        // After a restore the rows taken over are this life's input too; after a roll-back nothing is added here.
        cx.counts.input += (self.waiting_rows as u64).saturating_sub(cx.counts.pending);
        cx.counts.pending = self.waiting_rows as u64;
        for (id, rows) in pending {
            self.next_id = self.next_id.max(id as u64 + 1);
            self.ask(cx, id as u64, rows);
        }
        Ok(())
    }

    fn pending_rows(&self) -> usize {
        self.waiting_rows
    }

    fn full(&self) -> bool {
        self.waiting_rows > self.spec.max_pending_rows
    }

    fn oldest_pending_ms(&self) -> Option<i64> {
        Infer::oldest_pending_ms(self)
    }

    fn rungs(&self) -> Vec<(&'static str, u64)> {
        self.rungs.iter().map(|(r, n)| (r.name(), *n)).collect()
    }

    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        Some(self)
    }
}

/// Keys of the two stores are told apart by a first byte.
const PENDING: u8 = b'p';
const CACHE: u8 = b'c';

fn prefixed<'a>(prefix: u8, rows: &'a mut RowSink<'_>) -> impl FnMut(&[u8], i64, Option<&[u8]>) + 'a {
    let mut key = Vec::new();
    move |k, sub, v| {
        key.clear();
        key.push(prefix);
        key.extend_from_slice(k);
        rows(&key, sub, v);
    }
}

impl StateAccess for Infer {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.pending.close_epoch(&mut prefixed(PENDING, rows));
        self.cache.close_epoch(&mut prefixed(CACHE, rows));
    }
    fn committed(&mut self) {
        self.pending.committed();
        self.cache.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.pending.rollback()?;
        self.cache.rollback()
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        match key.split_first() {
            Some((&PENDING, k)) => self.pending.import(k, sub, value),
            Some((&CACHE, k)) => self.cache.import(k, sub, value),
            _ => Err(StateError("an infer row of unknown kind".into())),
        }
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        let with = |prefix: u8| move |k: &[u8]| wanted(&[&[prefix], k].concat());
        self.pending.scan_committed_where(&with(PENDING), &mut prefixed(PENDING, rows));
        self.cache.scan_committed_where(&with(CACHE), &mut prefixed(CACHE, rows));
    }
    fn rows(&self) -> usize {
        self.pending.len() + self.cache.len()
    }
    fn bytes(&self) -> usize {
        self.pending.len() * 4096 + StateAccess::bytes(&self.cache)
    }
}
