//! Windows per key that start at the key's last reset, e.g. the emptying of a container: every row is answered with
//! the aggregates since then, and silence is answered too.
//!
//! No window crosses a reset. A reset is told by a column (`reset_at`) or seen as a fall of a watched value:
//! * a fall between rows in order starts a pane exactly at the lower row, and is certain from then on;
//! * a fall between panes, made visible by a row out of order, is found whenever the panes are walked;
//! * a fall inside a pane, made visible by a row out of order, takes the whole pane out, and what is before it;
//! * a told reset takes out the panes that start before it, also the one that it falls into.
//!
//! A row out of order is folded in; if that changes the key's present window, a correction leaves: the newest row's
//! columns and time, marked late.

mod blocks;
mod emission;
mod pane;
mod state;
mod walk;

use super::{Keys, end_without_key, evaluate_input, indexes, key_indexes};
use crate::aggregate::{AggPlan, Args, check_numeric, evaluate_f64};
use crate::batch::{late, offsets, times};
use crate::operator::{Context, Operator, OperatorError, StateAccess};
use crate::row::RowCodec;
use crate::spec::{AggCall, Column, SinceSpec};
use crate::store::KeyId;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use emission::Emission;
use pane::{Fall, Note};
use state::{SinceState, Timers};
use std::sync::Arc;
use walk::{Found, Walk};

/// Rows in an output batch made by timers.
const OUTPUT_ROWS: usize = 4096;

/// The columns that a since stage's output expressions see: the carried columns, `window_start` (Int64, null without
/// a known reset), `last_time`, `row_time` (Int64, UTC ms), `is_late` (Boolean), `agg0` …; no system columns.
pub fn since_schema(input: &Schema, group_by: &[String], carry: &[String], calls: &[AggCall]) -> Result<SchemaRef, OperatorError> {
    let mut fields: Vec<Field> = Vec::new();
    for i in indexes(input, carry)? {
        let field = input.field(i).clone();
        // A row without a key does not get here.
        let nullable = field.is_nullable() && !group_by.contains(field.name());
        fields.push(field.with_nullable(nullable));
    }
    fields.push(Field::new("window_start", DataType::Int64, true));
    fields.push(Field::new("last_time", DataType::Int64, false));
    fields.push(Field::new("row_time", DataType::Int64, false));
    fields.push(Field::new("is_late", DataType::Boolean, false));
    fields.extend(AggPlan::fields(calls));
    Ok(Arc::new(Schema::new(fields)))
}

/// Windows since a reset.
#[derive(Debug)]
pub struct Since {
    spec: SinceSpec,
    fall: Option<Fall>,
    group_by: Vec<usize>,
    reset_at: Option<usize>,
    carry: Vec<usize>,
    codec: RowCodec,
    plan: AggPlan,
    walk: Walk,
    columns: Vec<Column>,
    inner: SchemaRef,
    output: SchemaRef,
    state: SinceState,
}

/// A batch as the fold sees it.
struct Input<'a> {
    keys: Keys<'a>,
    times: &'a [i64],
    offsets: &'a [i64],
    late: &'a BooleanArray,
    resets: Option<&'a Int64Array>,
    watched: Option<Float64Array>,
    carry: Vec<ArrayRef>,
    args: Args,
    watermark_ms: i64,
}

impl Input<'_> {
    /// The newest reset that row `i` tells of; one after the row is none of its business.
    fn reset_ms(&self, i: usize) -> i64 {
        match self.resets {
            Some(r) if r.is_valid(i) && r.value(i) <= self.times[i] => r.value(i),
            _ => i64::MIN,
        }
    }
    fn watched(&self, i: usize) -> Option<f64> {
        self.watched.as_ref().filter(|w| w.is_valid(i)).map(|w| w.value(i)).filter(|v| !v.is_nan())
    }
}

impl Since {
    /// A stage that answers each row with `columns` over [`since_schema`]. A null key is a dead letter.
    pub fn new(
        group_by: &[String],
        window: SinceSpec,
        calls: &[AggCall],
        carry: &[String],
        columns: &[Column],
        input: SchemaRef,
        output: SchemaRef,
    ) -> Result<Self, OperatorError> {
        if window.pane_ms <= 0 || window.at_most_ms <= 0 || window.or_every_ms.is_some_and(|e| e <= 0) {
            return Err(OperatorError::Limit { what: "window reach, pane and timer in ms (at least 1)", limit: 0, setting: "window" });
        }
        check_numeric(calls)?;
        let reset_at = window.reset_at.as_ref().map(|r| indexes(&input, std::slice::from_ref(r))).transpose()?.map(|r| r[0]);
        if let Some(r) = reset_at
            && *input.field(r).data_type() != DataType::Int64
        {
            return Err(OperatorError::Column { column: input.field(r).name().clone(), expected: "Int64, UTC milliseconds" });
        }
        let fall = window.drop.as_ref().map(|d| Fall { by: d.by, to_at_most: d.to_at_most });
        let carried = indexes(&input, carry)?;
        let fields: Vec<_> = carried.iter().map(|i| input.fields()[*i].clone()).collect();
        let plan = AggPlan::new(calls, pane::SLOTS);
        Ok(Since {
            fall,
            group_by: key_indexes(&input, group_by)?,
            reset_at,
            carry: carried,
            codec: RowCodec::new(&fields)?,
            walk: Walk::new(&plan, window.at_most_ms, fall),
            plan,
            columns: columns.to_vec(),
            inner: since_schema(&input, group_by, carry, calls)?,
            output,
            state: SinceState::new(Timers::new(window.or_every_ms, window.give_up_ms, window.at_most_ms), window.pane_ms),
            spec: window,
        })
    }

    fn fold(&mut self, cx: &mut Context, rows: &RecordBatch, args: Args, watched: Option<Float64Array>) -> Result<(), OperatorError> {
        let input = Input {
            keys: Keys::new(rows, &self.group_by),
            times: times(rows),
            offsets: offsets(rows),
            late: late(rows),
            resets: self.reset_at.map(|r| rows.column(r).as_primitive::<Int64Type>()),
            watched,
            carry: self.carry.iter().map(|c| rows.column(*c).clone()).collect(),
            args,
            watermark_ms: cx.watermark_ms,
        };
        let mut out = Emission::new(&self.codec, &self.plan);
        let (mut keyless, mut scratch, mut row) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..rows.num_rows() {
            let Some(key) = input.keys.get(i, &mut scratch) else {
                keyless.push(i as u32);
                continue;
            };
            let (pane_key, note_key) = (self.state.stored.panes.key(key), self.state.stored.notes.key(key));
            let note = self.state.note(note_key)?.map_or(Note::NEW, |n| n.0);
            if input.times[i] >= note.newest_ms {
                row.clear();
                self.codec.write(&input.carry, i, &mut row);
                self.fold_newest(&input, i, note, (pane_key, note_key), &row, &mut out)?;
            } else if self.spec.answer_all {
                row.clear();
                self.codec.write(&input.carry, i, &mut row);
                if input.times[i] >= note.newest_ms.saturating_sub(self.spec.at_most_ms) {
                    self.fold_pane(&input, i, pane_key, note.reset_ms, false);
                }
                let found = self.present(pane_key, &note);
                let (t_ms, offset) = (input.times[i], input.offsets[i]);
                out.push(&row, t_ms, t_ms, offset, true, &found)?;
            } else if !self.fold_older(&input, i, note, (pane_key, note_key), &mut out)? {
                cx.counts.folded += 1;
            }
        }
        end_without_key(cx, rows, keyless)?;
        let answers = out.len() as u64;
        let out = self.project(cx, out)?;
        // Rows whose answer could not be computed ended as dead letters.
        cx.counts.dead += answers - out.num_rows() as u64;
        cx.counts.emitted += out.num_rows() as u64;
        cx.emit(out);
        Ok(())
    }

    /// A row at or after all others of its key.
    fn fold_newest(&mut self, input: &Input<'_>, i: usize, mut note: Note, keys: (KeyId, KeyId), row: &[u8], out: &mut Emission) -> Result<(), OperatorError> {
        let (t_ms, watched) = (input.times[i], input.watched(i));
        note.reset_ms = note.reset_ms.max(input.reset_ms(i));
        if let (Some(fall), Some(v)) = (self.fall, watched)
            && fall.is(note.value, v)
            // A reset that was told between the two rows explains the fall.
            && note.reset_ms <= note.value_ms
        {
            note.reset_ms = t_ms;
        }
        if let Some(v) = watched {
            (note.value_ms, note.value) = (t_ms, v);
        }
        (note.newest_ms, note.offset) = (t_ms, input.offsets[i]);
        // A row from behind the watermark (a device that uploads its past) must not set off timers for that past.
        note.quiet_from_ms = note.quiet_from_ms.max(t_ms).max(input.watermark_ms);
        let oldest_ms = t_ms.saturating_sub(self.spec.at_most_ms);
        let keep_ms = note.reset_ms.max(oldest_ms.saturating_sub(oldest_ms.rem_euclid(self.spec.pane_ms)));
        self.state.remove_below(keys.0, keep_ms);
        self.fold_pane(input, i, keys.0, note.reset_ms, true);
        self.state.put(keys.1, &note, Some(row));
        let found = self.present(keys.0, &note);
        let is_late = input.late.value(i);
        out.push(row, t_ms, note.newest_ms, note.offset, is_late, &found)?;
        Ok(())
    }

    /// A row before the newest of its key; true if that called for a correction.
    fn fold_older(&mut self, input: &Input<'_>, i: usize, mut note: Note, keys: (KeyId, KeyId), out: &mut Emission) -> Result<bool, OperatorError> {
        let t_ms = input.times[i];
        let told_ms = input.reset_ms(i);
        let in_reach = t_ms >= note.newest_ms.saturating_sub(self.spec.at_most_ms);
        if told_ms <= note.reset_ms && (t_ms < note.reset_ms || !in_reach) {
            return Ok(false);
        }
        let before = self.present(keys.0, &note);
        let known = note;
        note.reset_ms = note.reset_ms.max(told_ms);
        self.state.remove_below(keys.0, note.reset_ms);
        if t_ms >= note.reset_ms && in_reach {
            self.fold_pane(input, i, keys.0, note.reset_ms, false);
            if let Some(v) = input.watched(i)
                && t_ms >= note.value_ms
            {
                (note.value_ms, note.value) = (t_ms, v);
            }
        }
        if note.reset_ms != known.reset_ms || note.value_ms != known.value_ms || note.value.to_bits() != known.value.to_bits() {
            self.state.put(keys.1, &note, None);
        }
        let after = self.present(keys.0, &note);
        if after == before {
            return Ok(false);
        }
        let row = self.state.note(keys.1)?.map_or(&[][..], |n| n.1);
        out.push(row, note.newest_ms, note.newest_ms, input.offsets[i], true, &after)?;
        Ok(true)
    }

    /// The key's window as of its newest row.
    fn present(&mut self, key: KeyId, note: &Note) -> Found {
        self.window(key, note.newest_ms, note.reset_ms)
    }

    fn window(&mut self, key: KeyId, row_ms: i64, reset_ms: i64) -> Found {
        let SinceState { stored, blocks, .. } = &mut self.state;
        self.walk.window(&self.plan, &stored.panes, blocks, key, row_ms, reset_ms)
    }

    /// Takes row `i` into its pane: the one on the grid, unless a reset or a broken pane divides that.
    fn fold_pane(&mut self, input: &Input<'_>, i: usize, key: KeyId, reset_ms: i64, newest: bool) {
        let t_ms = input.times[i];
        let grid = t_ms.saturating_sub(t_ms.rem_euclid(self.spec.pane_ms));
        let panes = &mut self.state.stored.panes;
        let before = panes.values(key).rev().find(|p| p.0 <= t_ms).filter(|p| p.0 >= grid);
        let mut start = before.map_or(grid, |p| p.0).max(reset_ms);
        if newest && before.is_some_and(|p| p.1[pane::BROKEN] != 0.0) {
            start = t_ms;
        }
        self.state.blocks.changed(key, start);
        let pane = panes.entry(key, start, || {
            let mut p = self.plan.empty();
            pane::begin(&mut p);
            p
        });
        pane::fold(pane, t_ms, input.watched(i), self.fall, newest);
        self.plan.update(pane, start, t_ms, &input.args, i);
    }

    fn project(&self, cx: &mut Context, mut out: Emission) -> Result<RecordBatch, OperatorError> {
        if out.len() == 0 {
            return Ok(RecordBatch::new_empty(self.output.clone()));
        }
        out.finish().project(cx, &self.inner, &self.columns, &self.output)
    }
}

impl Operator for Since {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        cx.counts.input += rows.num_rows() as u64;
        let (plan, drop) = (&self.plan, &self.spec.drop);
        let (rows, (args, watched)) = evaluate_input(cx, rows, |r| Ok((plan.evaluate(r)?, drop.as_ref().map(|d| evaluate_f64(&d.value, r)).transpose()?)))?;
        self.fold(cx, &rows, args, watched)
    }

    fn advance(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        let fired = self.state.fire(cx.watermark_ms)?;
        for due in fired.due.chunks(OUTPUT_ROWS) {
            let mut out = Emission::new(&self.codec, &self.plan);
            for (due_ms, note_key) in due {
                let Some(key) = self.state.stored.panes.find(self.state.stored.notes.key_bytes(*note_key)) else {
                    continue;
                };
                let Some(reset_ms) = self.state.note(*note_key)?.map(|n| n.0.reset_ms) else {
                    continue;
                };
                let found = self.window(key, *due_ms, reset_ms);
                let Some((note, row)) = self.state.note(*note_key)? else {
                    continue;
                };
                out.push(row, *due_ms, note.newest_ms, note.offset, false, &found)?;
            }
            let out = self.project(cx, out)?;
            cx.counts.made += out.num_rows() as u64;
            cx.emit(out);
        }
        self.state.forget(&fired.forgotten);
        Ok(())
    }

    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        Some(&mut self.state)
    }
}

#[cfg(test)]
mod tests;
