//! Tumbling and hopping windows with final results: a window is emitted once, when the watermark passes its end, and
//! rows for windows that are closed go to the late side. Windows are made of panes (the greatest common divisor of
//! size and slide), so a row touches one pane however many windows it is in.
//!
//! Invariant: what is closed is state (`open_from`), not derived from the watermark of the moment. So a row is late
//! exactly when the last of its windows was emitted, before and after any restore.

use super::made::{Made, key_columns};
use super::paired::{META, Paired};
use super::{Keys, end, end_without_key, evaluate_input, key_indexes};
use crate::aggregate::{AggPlan, Args, Results, check_numeric};
use crate::batch::{offsets, times};
use crate::operator::{Context, Operator, OperatorError, SideKind, StateAccess};
use crate::origin::{code_of, high_of, offset_of};
use crate::spec::{AggCall, Column, WindowSpec};
use crate::store::{KeyId, RowSink, StateError};
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows in an output batch, beyond which the next window starts another.
const OUTPUT_ROWS: usize = 4096;
/// Slot of a pane that holds the newest input offset in it.
const OFFSET: usize = 0;
/// Slot that holds what stands above that offset in a position code, where rows stem from several partitions: a
/// fraction holds 53 bits exactly, a code has more.
const HIGH: usize = 1;

/// The columns that a window stage's output expressions see: the group columns, `window_start`, `window_end` (Int64,
/// UTC ms), `agg0` …; no system columns.
pub fn window_schema(input: &Schema, group_by: &[String], calls: &[AggCall]) -> Result<SchemaRef, OperatorError> {
    let mut fields: Vec<Field> = Vec::new();
    for i in key_indexes(input, group_by)? {
        fields.push(input.field(i).clone().with_nullable(false));
    }
    fields.push(Field::new("window_start", DataType::Int64, false));
    fields.push(Field::new("window_end", DataType::Int64, false));
    fields.extend(AggPlan::fields(calls));
    Ok(Arc::new(Schema::new(fields)))
}

/// Panes and what is derived from them.
#[derive(Debug, Default)]
struct WindowState {
    stored: Paired<Box<[f64]>, i64>,
    /// Keys with a pane at each start; derived.
    index: BTreeMap<i64, Vec<KeyId>>,
    /// Start of the first window that is not closed; stored as the note of the empty key. `i64::MIN`: none is closed.
    open_from_ms: i64,
}

impl WindowState {
    fn new() -> Self {
        WindowState { open_from_ms: i64::MIN, ..WindowState::default() }
    }

    fn derive(&mut self) {
        let notes = &self.stored.notes;
        self.open_from_ms = notes.find(b"").and_then(|k| notes.get(k, META)).copied().unwrap_or(i64::MIN);
        self.index.clear();
        for key in self.stored.panes.keys() {
            for (start, _) in self.stored.panes.values(key) {
                self.index.entry(start).or_default().push(key);
            }
        }
    }

    fn close_below(&mut self, open_from_ms: i64) {
        let open = self.index.split_off(&open_from_ms);
        for key in std::mem::replace(&mut self.index, open).into_values().flatten() {
            self.stored.panes.remove_below(key, open_from_ms);
        }
        self.open_from_ms = open_from_ms;
        let key = self.stored.notes.key(b"");
        self.stored.notes.put(key, META, open_from_ms);
    }
}

impl StateAccess for WindowState {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.stored.close_epoch(rows);
    }
    fn committed(&mut self) {
        self.stored.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.stored.rollback()?;
        self.derive();
        Ok(())
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        self.stored.import(key, sub, value)
    }
    fn imported(&mut self) -> Result<(), StateError> {
        self.derive();
        Ok(())
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        self.stored.scan_committed_where(wanted, rows);
    }
    fn rows(&self) -> usize {
        self.stored.rows()
    }
    fn bytes(&self) -> usize {
        self.stored.bytes()
    }
}

/// Tumbling or hopping windows.
#[derive(Debug)]
pub struct Window {
    size_ms: i64,
    slide_ms: i64,
    pane_ms: i64,
    /// Slots of a pane in front of the aggregates: the offset, and what is above it.
    slots: usize,
    group_by: Vec<usize>,
    plan: AggPlan,
    columns: Vec<Column>,
    inner: SchemaRef,
    output: SchemaRef,
    state: WindowState,
}

impl Window {
    /// A stage that yields `columns` per key and window, over [`window_schema`]. A null key is a dead letter. If the
    /// slide is longer than the size, rows between windows count as filtered.
    pub fn new(
        group_by: &[String],
        window: WindowSpec,
        calls: &[AggCall],
        columns: &[Column],
        input: SchemaRef,
        output: SchemaRef,
    ) -> Result<Self, OperatorError> {
        Self::with_slots(group_by, window, calls, columns, input, output, 1)
    }

    /// As [`Window::new`], for rows that stem from several partitions.
    pub fn of_many_origins(
        group_by: &[String],
        window: WindowSpec,
        calls: &[AggCall],
        columns: &[Column],
        input: SchemaRef,
        output: SchemaRef,
    ) -> Result<Self, OperatorError> {
        Self::with_slots(group_by, window, calls, columns, input, output, 2)
    }

    fn with_slots(
        group_by: &[String],
        window: WindowSpec,
        calls: &[AggCall],
        columns: &[Column],
        input: SchemaRef,
        output: SchemaRef,
        slots: usize,
    ) -> Result<Self, OperatorError> {
        if window.size_ms <= 0 || window.slide_ms <= 0 {
            return Err(OperatorError::Limit { what: "window size and slide in ms (at least 1)", limit: 0, setting: "window" });
        }
        check_numeric(calls)?;
        let plan = AggPlan::new(calls, slots);
        Ok(Window {
            slots,
            size_ms: window.size_ms,
            slide_ms: window.slide_ms,
            pane_ms: gcd(window.size_ms, window.slide_ms),
            group_by: key_indexes(&input, group_by)?,
            plan,
            columns: columns.to_vec(),
            inner: window_schema(&input, group_by, calls)?,
            output,
            state: WindowState::new(),
        })
    }

    fn fold(&mut self, cx: &mut Context, rows: &RecordBatch, args: &Args) -> Result<(), OperatorError> {
        let keys = Keys::new(rows, &self.group_by);
        let (times, offsets) = (times(rows), offsets(rows));
        let (mut late, mut keyless, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        let (mut folded, mut between) = (0, 0);
        let (mut start, mut end_of_pane) = (0, 0);
        for i in 0..times.len() {
            let t = times[i];
            if t < self.state.open_from_ms {
                late.push(i as u32);
                continue;
            }
            // Neighbours mostly share a pane: no division for them.
            if t < start || t >= end_of_pane {
                start = t - t.rem_euclid(self.pane_ms);
                end_of_pane = start.saturating_add(self.pane_ms);
            }
            if self.slide_ms > self.size_ms && t.rem_euclid(self.slide_ms) >= self.size_ms {
                between += 1;
                continue;
            }
            let Some(key) = keys.get(i, &mut scratch) else {
                keyless.push(i as u32);
                continue;
            };
            let panes = &mut self.state.stored.panes;
            let key = panes.key(key);
            let mut fresh = false;
            let pane = panes.entry(key, start, || {
                fresh = true;
                self.plan.empty()
            });
            if fresh {
                note_newest(pane, self.slots, offsets[i], true);
                self.state.index.entry(start).or_default().push(key);
            } else {
                note_newest(pane, self.slots, offsets[i], false);
            }
            self.plan.update(pane, start, t, args, i);
            folded += 1;
        }
        cx.counts.folded += folded;
        cx.counts.filtered += between;
        end_without_key(cx, rows, keyless)?;
        end(cx, rows, late, SideKind::Late, "too_late", "every window of the row is closed")
    }

    /// Emits all windows that start before `until_ms` and are not closed.
    fn emit_until(&mut self, cx: &mut Context, until_ms: i64) -> Result<(), OperatorError> {
        let mut emission = Emission::new(self);
        let panes = &self.state.stored.panes;
        let mut start = self.state.open_from_ms;
        let mut keys: Vec<KeyId> = Vec::new();
        while start < until_ms {
            // Skip to the first window that has anything in it.
            let reach = until_ms.saturating_add(self.size_ms);
            let Some((first, _)) = self.state.index.range(start..reach).next() else {
                break;
            };
            if start == i64::MIN || *first >= start.saturating_add(self.size_ms) {
                let after = first.saturating_sub(self.size_ms);
                start = start.max(after - after.rem_euclid(self.slide_ms) + self.slide_ms);
            }
            if start >= until_ms {
                break;
            }
            let end = start + self.size_ms;
            keys.clear();
            keys.extend(self.state.index.range(start..end).flat_map(|(_, keys)| keys));
            keys.sort_unstable_by(|a, b| panes.key_bytes(*a).cmp(panes.key_bytes(*b)));
            keys.dedup();
            for key in &keys {
                emission.push(self, *key, start);
            }
            if emission.ends.len() >= OUTPUT_ROWS {
                emission.flush(self, cx)?;
            }
            start += self.slide_ms;
        }
        emission.flush(self, cx)
    }
}

/// The newest position noted in a pane.
fn newest(pane: &[f64], slots: usize) -> i64 {
    if slots == 1 { pane[OFFSET] as i64 } else { code_of(pane[HIGH] as i64, pane[OFFSET] as i64) }
}

/// Notes a position if it is newer, or the `first`.
fn note_newest(pane: &mut [f64], slots: usize, code: i64, first: bool) {
    if !first && code <= newest(pane, slots) {
        return;
    }
    if slots == 1 {
        pane[OFFSET] = code as f64;
    } else {
        (pane[HIGH], pane[OFFSET]) = (high_of(code) as f64, offset_of(code) as f64);
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Results on their way out.
struct Emission {
    keys: Vec<KeyId>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    offsets: Vec<i64>,
    results: Results,
    merged: Box<[f64]>,
}

impl Emission {
    fn new(w: &Window) -> Self {
        let results = w.plan.results();
        Emission { keys: Vec::new(), starts: Vec::new(), ends: Vec::new(), offsets: Vec::new(), results, merged: w.plan.empty() }
    }

    fn push(&mut self, w: &Window, key: KeyId, start: i64) {
        let panes = &w.state.stored.panes;
        let end = start + w.size_ms;
        let whole: &[f64] = match panes.get(key, start) {
            Some(only) if w.pane_ms == w.size_ms => only,
            _ => {
                self.merged = w.plan.empty();
                let mut first = true;
                for (at, pane) in panes.values(key).skip_while(|p| p.0 < start).take_while(|p| p.0 < end) {
                    w.plan.merge(&mut self.merged, start, pane, at);
                    note_newest(&mut self.merged, w.slots, newest(pane, w.slots), std::mem::take(&mut first));
                }
                &self.merged
            }
        };
        for call in 0..w.plan.calls() {
            self.results.push(call, w.plan.finish(call, whole));
        }
        self.offsets.push(newest(whole, w.slots));
        self.keys.push(key);
        self.starts.push(start);
        self.ends.push(end);
    }

    fn flush(&mut self, w: &Window, cx: &mut Context) -> Result<(), OperatorError> {
        let n = self.keys.len();
        if n == 0 {
            return Ok(());
        }
        let panes = &w.state.stored.panes;
        let keys: Vec<&[u8]> = self.keys.iter().map(|k| panes.key_bytes(*k)).collect();
        let mut columns = key_columns(&keys, &w.inner, w.group_by.len())?;
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.starts))));
        columns.push(Arc::new(Int64Array::from(self.ends.clone())));
        columns.extend(self.results.finish());
        self.keys.clear();
        let time: Vec<i64> = std::mem::take(&mut self.ends).into_iter().map(|e| e - 1).collect();
        let made = Made { time, offset: std::mem::take(&mut self.offsets), late: vec![false; n], columns };
        let out = made.project(cx, &w.inner, &w.columns, &w.output)?;
        cx.counts.made += out.num_rows() as u64;
        cx.emit(out);
        Ok(())
    }
}

impl Operator for Window {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        cx.counts.input += rows.num_rows() as u64;
        let plan = &self.plan;
        let (rows, args) = evaluate_input(cx, rows, |r| plan.evaluate(r))?;
        self.fold(cx, &rows, &args)
    }

    fn advance(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        let Some(last_end) = cx.watermark_ms.checked_sub(self.size_ms) else {
            return Ok(());
        };
        let open_from_ms = last_end.saturating_sub(last_end.rem_euclid(self.slide_ms)).saturating_add(self.slide_ms);
        if open_from_ms > self.state.open_from_ms {
            self.emit_until(cx, open_from_ms)?;
            self.state.close_below(open_from_ms);
        }
        Ok(())
    }

    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        Some(&mut self.state)
    }
}

#[cfg(test)]
mod tests;
