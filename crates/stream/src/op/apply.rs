//! Runs a custom operator of the edge: one call per row, with the key's state and one timer on the watermark. A row
//! that the operator refuses, or that would make the key's state too large, ends as a dead letter and leaves no trace.

use super::timers::Timers;
use super::{Keys, end, end_without_key, indexes, key_indexes};
use crate::batch::{assemble, late, offsets, times};
use crate::custom::{Cell, CustomError, CustomOp, KeyContext};
use crate::operator::{Context, Operator, OperatorError, SideKind, StateAccess};
use crate::row::RowCodec;
use crate::spec::ApplySpec;
use crate::store::{KeyId, RowSink, StateError, Store};
use arrow::array::{ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Fields, SchemaRef};
use std::sync::Arc;

/// Reason of rows that the operator refused.
const FAILED: &str = "operator_failed";
/// Reason of rows that would make a key's state too large.
const TOO_LARGE: &str = "state_too_large";
/// Rows in an output batch.
const OUTPUT_ROWS: usize = 4096;
/// A key's timer fires at most so often in one step: an operator that sets it again and again must not hold the task.
const MAX_FIRES: usize = 10_000;
/// Bytes in front of a stored value: timer, offset, length of the carried row.
const HEAD: usize = 8 + 8 + 4;

/// State of one key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    timer_ms: Option<i64>,
    /// Input offset of the key's newest row.
    offset: i64,
    /// Key and carried columns of the key's newest row.
    row: Vec<u8>,
    state: Vec<u8>,
}

impl Held {
    fn read(bytes: &[u8]) -> Result<Held, StateError> {
        let damaged = || StateError("state of an operator is too short".into());
        let (timer, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (offset, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (n, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (row, state) = rest.split_at_checked(u32::from_le_bytes(*n) as usize).ok_or_else(damaged)?;
        let timer_ms = Some(i64::from_le_bytes(*timer)).filter(|t| *t != i64::MIN);
        Ok(Held { timer_ms, offset: i64::from_le_bytes(*offset), row: row.to_vec(), state: state.to_vec() })
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.row.len() + self.state.len());
        out.extend_from_slice(&self.timer_ms.unwrap_or(i64::MIN).to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&(self.row.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.row);
        out.extend_from_slice(&self.state);
        out
    }
}

/// A row on its way out.
struct Out {
    time_ms: i64,
    offset: i64,
    late: bool,
    /// Key and carried columns.
    row: Arc<Vec<u8>>,
    cells: Vec<Cell>,
}

/// The `apply` stage.
pub struct Apply {
    spec: ApplySpec,
    op: Box<dyn CustomOp>,
    key: Vec<usize>,
    front: Vec<usize>,
    codec: RowCodec,
    output: SchemaRef,
    held: Store<Vec<u8>>,
    due: Timers,
}

impl Apply {
    /// A stage over `input`; `output` is the key columns, the carried ones and those of the operator (system columns
    /// first).
    pub fn new(spec: ApplySpec, op: Box<dyn CustomOp>, input: SchemaRef, output: SchemaRef) -> Result<Self, OperatorError> {
        let mut names = spec.key.clone();
        names.extend(spec.carry.iter().filter(|c| !spec.key.contains(c)).cloned());
        let front = indexes(&input, &names)?;
        let fields: Fields = front.iter().map(|i| input.fields()[*i].clone()).collect();
        Ok(Apply {
            key: key_indexes(&input, &spec.key)?,
            codec: RowCodec::new(&fields)?,
            front,
            output,
            held: Store::default(),
            due: Timers::default(),
            op,
            spec,
        })
    }

    fn held(&self, key: KeyId) -> Result<Held, StateError> {
        self.held.get(key, 0).map_or_else(|| Ok(Held::default()), |v| Held::read(v))
    }

    fn keep(&mut self, key: KeyId, before: &Held, after: &Held) {
        if let Some(t) = before.timer_ms.filter(|t| after.timer_ms != Some(*t)) {
            self.due.unset(t, key, 0);
        }
        if after.state.is_empty() && after.timer_ms.is_none() {
            self.held.remove(key, 0);
            return;
        }
        if before != after {
            self.held.put(key, 0, after.write());
        }
        if let Some(t) = after.timer_ms {
            self.due.set(t, key, 0);
        }
    }

    /// Fires the timers that the watermark has reached, in order of time and key.
    fn fire(&mut self, cx: &mut Context) -> Result<Vec<Out>, OperatorError> {
        let mut out = Vec::new();
        let mut due = self.due.take(cx.watermark_ms);
        due.sort_by(|a, b| (a.0, self.held.key_bytes(a.1)).cmp(&(b.0, self.held.key_bytes(b.1))));
        for (at_ms, key, _) in due {
            if self.held(key)?.timer_ms == Some(at_ms) {
                self.fire_key(cx, key, &mut out)?;
            }
        }
        Ok(out)
    }

    fn fire_key(&mut self, cx: &mut Context, key: KeyId, out: &mut Vec<Out>) -> Result<(), OperatorError> {
        let before = self.held(key)?;
        let mut now = before.clone();
        let row = Arc::new(now.row.clone());
        let bytes = self.held.key_bytes(key).to_vec();
        for fired in 0.. {
            let Some(due_ms) = now.timer_ms.filter(|t| *t <= cx.watermark_ms) else { break };
            if fired >= MAX_FIRES {
                now.timer_ms = Some(cx.watermark_ms.saturating_add(1));
                cx.decisions.push(("timer_held_back", format!("{} fired {MAX_FIRES} times in a step", String::from_utf8_lossy(&bytes))));
                break;
            }
            let (mut state, mut timer, mut made) = (now.state.clone(), None, Vec::new());
            let mut at = KeyContext { key: &bytes, state: &mut state, watermark_ms: cx.watermark_ms, timer: &mut timer, out: &mut made };
            let result = self.op.timer(&mut at, due_ms).and_then(|()| self.within(&state)).and_then(|()| self.fits(&made));
            match result {
                Ok(()) => {
                    out.extend(made.into_iter().map(|(time_ms, cells)| Out { time_ms, offset: now.offset, late: false, row: row.clone(), cells }));
                    (now.state, now.timer_ms) = (state, timer.map(|t| t.max(due_ms.saturating_add(1))));
                }
                // No input row stands behind a timer: what it would have made is told in the manifest.
                Err(e) => {
                    now.timer_ms = None;
                    cx.decisions.push(("timer_failed", format!("{} at {due_ms}: {e}", String::from_utf8_lossy(&bytes))));
                }
            }
        }
        self.keep(key, &before, &now);
        Ok(())
    }

    fn within(&self, state: &[u8]) -> Result<(), CustomError> {
        if state.len() <= self.spec.max_state_bytes {
            return Ok(());
        }
        Err(CustomError(format!("{TOO_LARGE}: {} bytes of state, {} are allowed (`max_state`)", state.len(), self.spec.max_state_bytes)))
    }

    /// Do the rows that the operator made have the columns of its contract?
    fn fits(&self, made: &[(i64, Vec<Cell>)]) -> Result<(), CustomError> {
        let outputs = self.spec.outputs.fields();
        for (_, cells) in made {
            if cells.len() != outputs.len() {
                return Err(CustomError(format!("the operator made {} values for {} columns", cells.len(), outputs.len())));
            }
            for (cell, field) in cells.iter().zip(outputs) {
                let fits = match (cell, field.data_type()) {
                    (Cell::Null, _) => field.is_nullable(),
                    (Cell::Int(_), DataType::Int64) | (Cell::Float(_), DataType::Float64) | (Cell::Bool(_), DataType::Boolean) => true,
                    (Cell::Text(_), DataType::Utf8) | (Cell::Bytes(_), DataType::Binary) => true,
                    _ => false,
                };
                if !fits {
                    return Err(CustomError(format!("the operator made {cell:?} for column `{}` of type {}", field.name(), field.data_type())));
                }
            }
        }
        Ok(())
    }

    fn emit(&self, cx: &mut Context, out: Vec<Out>) -> Result<(), OperatorError> {
        for part in out.chunks(OUTPUT_ROWS) {
            let mut columns = self.codec.decode(part.iter().map(|o| o.row.as_slice()))?;
            for (c, field) in self.spec.outputs.fields().iter().enumerate() {
                columns.push(build(field.data_type(), part.iter().map(|o| &o.cells[c])));
            }
            let time = part.iter().map(|o| o.time_ms).collect();
            let offset = part.iter().map(|o| o.offset).collect();
            let rows = assemble(&self.output, time, offset, part.iter().map(|o| o.late).collect(), columns)?;
            cx.counts.made += rows.num_rows() as u64;
            cx.emit(rows);
        }
        Ok(())
    }
}

/// A column of cells; those of another type, which [`Apply::fits`] refuses, would be null.
fn build<'a>(data_type: &DataType, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    match data_type {
        DataType::Int64 => {
            let mut b = Int64Builder::new();
            cells.for_each(|c| b.append_option(if let Cell::Int(v) = c { Some(*v) } else { None }));
            Arc::new(b.finish())
        }
        DataType::Float64 => {
            let mut b = Float64Builder::new();
            cells.for_each(|c| b.append_option(if let Cell::Float(v) = c { Some(*v) } else { None }));
            Arc::new(b.finish())
        }
        DataType::Boolean => {
            let mut b = BooleanBuilder::new();
            cells.for_each(|c| b.append_option(if let Cell::Bool(v) = c { Some(*v) } else { None }));
            Arc::new(b.finish())
        }
        DataType::Binary => {
            let mut b = BinaryBuilder::new();
            cells.for_each(|c| b.append_option(if let Cell::Bytes(v) = c { Some(v) } else { None }));
            Arc::new(b.finish())
        }
        _ => {
            let mut b = StringBuilder::new();
            cells.for_each(|c| b.append_option(if let Cell::Text(v) = c { Some(v) } else { None }));
            Arc::new(b.finish())
        }
    }
}

impl Operator for Apply {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        cx.counts.input += rows.num_rows() as u64;
        let keys = Keys::new(rows, &self.key);
        let front: Vec<ArrayRef> = self.front.iter().map(|c| rows.column(*c).clone()).collect();
        let (mut keyless, mut scratch, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..rows.num_rows() {
            let Some(key) = keys.get(i, &mut scratch) else {
                keyless.push(i as u32);
                continue;
            };
            let id = self.held.key(key);
            let before = self.held(id)?;
            let mut after = Held { timer_ms: before.timer_ms, offset: offsets(rows)[i], row: Vec::new(), state: before.state.clone() };
            self.codec.write(&front, i, &mut after.row);
            let mut made = Vec::new();
            let mut at = KeyContext { key, state: &mut after.state, watermark_ms: cx.watermark_ms, timer: &mut after.timer_ms, out: &mut made };
            let result = self.op.row(&mut at, rows, i).and_then(|()| self.within(&after.state)).and_then(|()| self.fits(&made));
            if let Err(e) = result {
                let reason = if e.0.starts_with(TOO_LARGE) { TOO_LARGE } else { FAILED };
                end(cx, rows, vec![i as u32], SideKind::Dead, reason, &e.0)?;
                continue;
            }
            cx.counts.folded += 1;
            let row = Arc::new(after.row.clone());
            let (offset, late) = (after.offset, late(rows).value(i));
            out.extend(made.into_iter().map(|(time_ms, cells)| Out { time_ms, offset, late, row: row.clone(), cells }));
            // A timer without a row behind it would have nothing to carry.
            self.keep(id, &before, &after);
            // At once what is due already: what becomes of it must not depend on where a batch ends.
            if after.timer_ms.is_some_and(|t| t <= cx.watermark_ms) {
                self.fire_key(cx, id, &mut out)?;
            }
        }
        end_without_key(cx, rows, keyless)?;
        debug_assert_eq!(times(rows).len(), rows.num_rows());
        self.emit(cx, out)
    }

    fn advance(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        let out = self.fire(cx)?;
        self.emit(cx, out)
    }

    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        Some(self)
    }
}

impl Apply {
    fn rebuild(&mut self) -> Result<(), StateError> {
        self.due.clear();
        for key in self.held.keys() {
            for (sub, v) in self.held.values(key) {
                if let Some(t) = Held::read(v)?.timer_ms {
                    self.due.set(t, key, sub);
                }
            }
        }
        Ok(())
    }
}

impl StateAccess for Apply {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.held.close_epoch(rows);
    }
    fn committed(&mut self) {
        self.held.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.held.rollback()?;
        self.rebuild()
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        self.held.import(key, sub, value)
    }
    fn imported(&mut self) -> Result<(), StateError> {
        self.rebuild()
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        self.held.scan_committed_where(wanted, rows);
    }
    fn rows(&self) -> usize {
        self.held.len()
    }
    fn bytes(&self) -> usize {
        StateAccess::bytes(&self.held)
    }
}

#[cfg(test)]
mod tests;
