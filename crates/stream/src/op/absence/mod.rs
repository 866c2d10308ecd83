//! What did not arrive: a row opens an expectation of its key, another one meets or cancels it, or its time comes.
//! Without `met` it is a watch on silence, which every row puts off. Each expectation ends once (or is told again
//! while it lasts, with `repeat`), with the columns of the row that opened it.
//!
//! Rows come in any order, and those of one input long before those of another: a run over a back-log must end each
//! expectation as a live one does. So with the event clock, rows ahead of the watermark wait until it has passed them
//! and then take effect in the order of their event times, between the times at which something is due: a closing that
//! is later than the due time meets nothing, however early it was read. What is behind the watermark takes effect at
//! once. With the processing clock rows take effect as they are read; a closing ahead of the watermark is remembered
//! until that has passed it, as an opening that precedes it may still come.

mod arrived;
mod decide;
mod state;

use super::select::evaluate_mask;
use super::{Keys, end, end_without_key, evaluate_input, evaluate_one, indexes, key_indexes};
use crate::batch::{assemble, late, offsets, times, user_fields, write_key};
use crate::expr::{ExprError, ExprRef};
use crate::operator::{Context, Operator, OperatorError, SideKind, StateAccess};
use crate::row::{RowCodec, hash_row};
use crate::spec::{AbsenceSpec, Clock, When};
use arrived::{Arrived, Closes, Opens};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, SchemaRef};
use state::{AbsenceState, Open};
use std::sync::Arc;

/// Rows in an output batch.
const OUTPUT_ROWS: usize = 4096;
/// Reason of opening rows without a due time.
const NO_DUE: &str = "no_due_time";
/// Reason of opening rows beyond the key's bound.
const TOO_MANY: &str = "too_many_open";

/// The columns that the stage adds behind those of the opening row: how it ended (`absent`, `met`, `cancelled`), when it
/// was opened, due and ended, and how often it was told before.
pub fn absence_columns() -> Vec<Field> {
    use DataType::{Int64, Utf8};
    vec![
        Field::new("ended", Utf8, false),
        Field::new("opened_at", Int64, false),
        Field::new("due_at", Int64, false),
        Field::new("ended_at", Int64, false),
        Field::new("repeats", Int64, false),
    ]
}

/// The `absence` stage.
#[derive(Debug)]
pub struct Absence {
    spec: AbsenceSpec,
    key: Vec<usize>,
    each: Vec<usize>,
    take: Vec<usize>,
    codec: RowCodec,
    taken: RowCodec,
    output: SchemaRef,
    state: AbsenceState,
}

/// One ended expectation on its way out.
struct Ended {
    how: &'static str,
    open: Open,
    row: Vec<u8>,
    taken: Option<Vec<u8>>,
    time_ms: i64,
    offset: i64,
    late: bool,
    ended_ms: i64,
}

/// What a step makes.
#[derive(Default)]
struct Made {
    ended: Vec<Ended>,
    /// What the processing clock decided.
    told: Vec<String>,
    /// Rows that took effect before the watermark had passed them.
    early: usize,
    /// Closings that are not remembered any more.
    forgotten: usize,
}

/// What the expressions say of a batch.
struct Said {
    opens: Option<BooleanArray>,
    met: Option<BooleanArray>,
    cancel: Option<BooleanArray>,
    due: Option<Int64Array>,
    not_before: Option<Int64Array>,
}

fn instants(e: &ExprRef, rows: &RecordBatch) -> Result<Int64Array, ExprError> {
    let values = evaluate_one(e, rows)?;
    values
        .as_primitive_opt::<Int64Type>()
        .cloned()
        .ok_or_else(|| ExprError { expression: e.text().to_string(), message: format!("{} instead of Int64, UTC milliseconds", values.data_type()) })
}

impl Said {
    fn new(spec: &AbsenceSpec, rows: &RecordBatch) -> Result<Said, ExprError> {
        let mask = |e: &Option<ExprRef>| e.as_ref().map(|e| evaluate_mask(e, rows)).transpose();
        let at = |w: Option<&When>| match w {
            Some(When::At(e)) => instants(e, rows).map(Some),
            _ => Ok(None),
        };
        Ok(Said {
            opens: mask(&spec.opens)?,
            met: mask(&spec.met)?,
            cancel: mask(&spec.cancel)?,
            due: at(Some(&spec.due))?,
            not_before: at(spec.not_before.as_ref())?,
        })
    }
    fn is(mask: &Option<BooleanArray>, i: usize) -> bool {
        mask.as_ref().is_some_and(|m| m.value(i))
    }
}

fn at(values: &Option<Int64Array>, i: usize) -> Option<i64> {
    values.as_ref().filter(|v| v.is_valid(i)).map(|v| v.value(i))
}

impl Absence {
    /// A stage over `input`; `output` is its columns, [`absence_columns`] and the taken ones (system columns first in
    /// both).
    pub fn new(spec: AbsenceSpec, input: SchemaRef, output: SchemaRef) -> Result<Self, OperatorError> {
        if spec.repeat_ms.is_some_and(|r| r <= 0) || spec.max_open == 0 {
            return Err(OperatorError::Limit { what: "repeat in ms and open expectations (at least 1)", limit: 0, setting: "absence" });
        }
        for e in [&spec.opens, &spec.met, &spec.cancel].into_iter().flatten() {
            if e.data_type() != DataType::Boolean {
                return Err(OperatorError::Column { column: e.text().to_string(), expected: "Boolean, as it is a condition" });
            }
        }
        let take_names: Vec<String> = spec.take.iter().map(|(from, _)| from.clone()).collect();
        let take = indexes(&input, &take_names)?;
        let taken: Fields = take.iter().map(|i| input.fields()[*i].clone()).collect();
        Ok(Absence {
            key: key_indexes(&input, &spec.key)?,
            each: key_indexes(&input, &spec.each)?,
            take,
            codec: RowCodec::new(user_fields(&input))?,
            taken: RowCodec::new(&taken)?,
            output,
            state: AbsenceState::default(),
            spec,
        })
    }

    /// When an opening row is due; `None`: its due time is null.
    fn due(&self, cx: &Context, said: &Said, i: usize, opened_ms: i64) -> Option<i64> {
        match (&self.spec.due, self.spec.clock) {
            (When::At(_), _) => at(&said.due, i),
            (When::After(ms), Clock::Processing) => Some(cx.now_ms.saturating_add(*ms)),
            (When::After(ms), Clock::Event) => {
                // A row from behind the watermark (a device that uploads its past) must not set off a watch on silence.
                let from_ms = if self.spec.met.is_none() { opened_ms.max(cx.watermark_ms) } else { opened_ms };
                Some(from_ms.saturating_add(*ms))
            }
        }
    }

    fn fold(&mut self, cx: &mut Context, rows: &RecordBatch, said: &Said) -> Result<(), OperatorError> {
        let keys = Keys::new(rows, &self.key);
        let user: Vec<ArrayRef> = rows.columns()[crate::batch::SYSTEM_COLUMNS..].to_vec();
        let each_columns: Vec<ArrayRef> = self.each.iter().map(|c| rows.column(*c).clone()).collect();
        let take_columns: Vec<ArrayRef> = self.take.iter().map(|c| rows.column(*c).clone()).collect();
        let (times, offsets, late) = (times(rows), offsets(rows), late(rows));
        let (mut keyless, mut without_due, mut too_many) = (Vec::new(), Vec::new(), Vec::new());
        let (mut scratch, mut id, mut out) = (Vec::new(), Vec::new(), Made::default());
        for (i, time_ms) in times.iter().copied().enumerate() {
            let Some(key) = keys.get(i, &mut scratch) else {
                keyless.push(i as u32);
                continue;
            };
            let cancels = Said::is(&said.cancel, i);
            let closes = cancels || Said::is(&said.met, i);
            let opens = said.opens.as_ref().map_or(!closes, |o| o.value(i));
            if !opens && !closes {
                cx.counts.filtered += 1;
                continue;
            }
            let each = (!each_columns.is_empty() && write_key(&each_columns, i, &mut id)).then(|| hash_row(&id) as i64);
            let mut row = Arrived { time_ms, offset: offsets[i], late: late.value(i), each, closes: None, opens: None };
            if closes {
                let mut taken = Vec::new();
                self.taken.write(&take_columns, i, &mut taken);
                row.closes = Some(Closes { cancels, taken });
            }
            match self.due(cx, said, i, time_ms) {
                _ if !opens => cx.counts.folded += 1,
                None => without_due.push(i as u32),
                Some(_) if self.state.crowded(key, each.unwrap_or(0), self.spec.max_open) => too_many.push(i as u32),
                Some(due_ms) => {
                    cx.counts.folded += 1;
                    let not_before_ms = match &self.spec.not_before {
                        None => i64::MIN,
                        Some(When::After(ms)) => time_ms.saturating_add(*ms),
                        Some(When::At(_)) => at(&said.not_before, i).unwrap_or(i64::MIN),
                    };
                    let mut bytes = Vec::new();
                    self.codec.write(&user, i, &mut bytes);
                    row.opens = Some(Opens { due_ms, not_before_ms, row: bytes });
                }
            }
            if row.opens.is_some() || row.closes.is_some() {
                self.arrive(cx, &mut out, key, row)?;
            }
        }
        end_without_key(cx, rows, keyless)?;
        end(cx, rows, without_due, SideKind::Dead, NO_DUE, "the due time is null")?;
        end(cx, rows, too_many, SideKind::Dead, TOO_MANY, "the key has as many open expectations as `max_open` allows")?;
        self.emit(cx, out)
    }

    fn emit(&self, cx: &mut Context, made: Made) -> Result<(), OperatorError> {
        if made.early > 0 {
            cx.decisions.push(("decided_early", format!("{} rows: more than {} of a key were ahead of the watermark", made.early, self.spec.max_open)));
        }
        if made.forgotten > 0 {
            cx.decisions.push(("closing_forgotten", format!("{}: {} of one key are remembered at most", made.forgotten, self.spec.max_open)));
        }
        cx.decisions.extend(made.told.into_iter().map(|told| ("absent", told)));
        for part in made.ended.chunks(OUTPUT_ROWS) {
            let mut columns = self.codec.decode(part.iter().map(|e| e.row.as_slice()))?;
            let mut taken = self.taken.decoder();
            for e in part {
                match &e.taken {
                    Some(row) => taken.push(row)?,
                    None => taken.push_nulls(),
                }
            }
            let long = |f: &dyn Fn(&Ended) -> i64| Arc::new(part.iter().map(|e| Some(f(e))).collect::<Int64Array>()) as ArrayRef;
            columns.push(Arc::new(part.iter().map(|e| Some(e.how)).collect::<StringArray>()));
            columns.extend([long(&|e| e.open.opened_ms), long(&|e| e.open.due_ms), long(&|e| e.ended_ms), long(&|e| e.open.repeats)]);
            columns.extend(taken.finish());
            let time = part.iter().map(|e| e.time_ms).collect();
            let offset = part.iter().map(|e| e.offset).collect();
            let rows = assemble(&self.output, time, offset, part.iter().map(|e| e.late).collect(), columns)?;
            cx.counts.made += rows.num_rows() as u64;
            cx.emit(rows);
        }
        Ok(())
    }
}

impl Operator for Absence {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        cx.counts.input += rows.num_rows() as u64;
        let spec = &self.spec;
        let (rows, said) = evaluate_input(cx, rows, |r| Said::new(spec, r))?;
        self.fold(cx, &rows, &said)
    }

    fn advance(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        let mut out = Made::default();
        self.go_on(cx, &mut out)?;
        self.emit(cx, out)
    }

    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        Some(&mut self.state)
    }
}

#[cfg(test)]
mod tests;
