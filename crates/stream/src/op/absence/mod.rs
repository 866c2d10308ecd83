//! What did not arrive: a row opens an expectation of its key, another one meets or cancels it, or its time comes.
//! Without `met` it is a watch on silence, which every row puts off. Each expectation ends once (or is told again
//! while it lasts, with `repeat`), with the columns of the row that opened it.
//!
//! Rows of several inputs come in any order. A closing that is ahead of the watermark is remembered until that passes
//! it: an opening that precedes it in event time may still come, and is closed at once then.

mod state;

use super::select::evaluate_mask;
use super::{Keys, end, end_without_key, evaluate_input, evaluate_one, indexes, key_indexes};
use crate::batch::{assemble, late, offsets, times, user_fields, write_key};
use crate::expr::{ExprError, ExprRef};
use crate::operator::{Context, Operator, OperatorError, SideKind, StateAccess};
use crate::row::{RowCodec, hash_row};
use crate::spec::{AbsenceSpec, Clock, When};
use crate::store::KeyId;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, SchemaRef};
use state::{AbsenceState, Closing, Open};
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
            state: AbsenceState::new(spec.clock),
            spec,
        })
    }

    /// When an opening row is due, and when it is told first.
    fn due(&self, cx: &Context, said: &Said, i: usize, opened_ms: i64) -> Option<(i64, i64)> {
        match (&self.spec.due, self.spec.clock) {
            (When::At(_), _) => at(&said.due, i).map(|due| (due, due)),
            (When::After(ms), Clock::Processing) => {
                let due = cx.now_ms.saturating_add(*ms);
                Some((due, due))
            }
            (When::After(ms), Clock::Event) => {
                // A row from behind the watermark (a device that uploads its past) must not set off a watch on silence.
                let from_ms = if self.spec.met.is_none() { opened_ms.max(cx.watermark_ms) } else { opened_ms };
                let due = from_ms.saturating_add(*ms);
                Some((due, due))
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
        let (mut scratch, mut id, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for (i, time_ms) in times.iter().copied().enumerate() {
            let Some(key) = keys.get(i, &mut scratch) else {
                keyless.push(i as u32);
                continue;
            };
            let cancels = Said::is(&said.cancel, i);
            let closes = cancels || Said::is(&said.met, i);
            let opens = said.opens.as_ref().map_or(!closes, |o| o.value(i));
            let each = (!each_columns.is_empty() && write_key(&each_columns, i, &mut id)).then(|| hash_row(&id) as i64);
            let of = self.state.of(key);
            if closes {
                let mut taken = Vec::new();
                self.taken.write(&take_columns, i, &mut taken);
                let closing = Closing { cancels, time_ms, offset: offsets[i], each, taken };
                for e in self.state.closed_by(of, &closing)? {
                    if let Some((open, row)) = self.state.remove(of, e)? {
                        self.ended(&mut out, open, row, &closing, late.value(i));
                    }
                }
                if time_ms > cx.watermark_ms && self.state.remember(key, &closing, self.spec.max_open)? {
                    cx.decisions.push(("closing_forgotten", format!("{} remembered of one key at most", self.spec.max_open)));
                }
            }
            if !opens {
                if closes {
                    cx.counts.folded += 1;
                } else {
                    cx.counts.filtered += 1;
                }
                continue;
            }
            let each = each.unwrap_or(0);
            let Some((due_ms, next_ms)) = self.due(cx, said, i, time_ms) else {
                without_due.push(i as u32);
                continue;
            };
            let known = self.state.open(of, each)?.map(|(o, _)| o.opened_ms);
            if known.is_none() && self.state.count(of) >= self.spec.max_open {
                too_many.push(i as u32);
                continue;
            }
            cx.counts.folded += 1;
            if known.is_some_and(|opened| opened > time_ms) {
                continue;
            }
            let not_before_ms = match &self.spec.not_before {
                None => i64::MIN,
                Some(When::After(ms)) => time_ms.saturating_add(*ms),
                Some(When::At(_)) => at(&said.not_before, i).unwrap_or(i64::MIN),
            };
            let open = Open { opened_ms: time_ms, due_ms, next_ms, not_before_ms, repeats: 0, offset: offsets[i] };
            let mut row = Vec::new();
            self.codec.write(&user, i, &mut row);
            self.state.remove(of, each)?;
            match self.state.closing_for(key, each, &open, closes)? {
                // It came before.
                Some(closing) => self.ended(&mut out, open, row, &closing, late.value(i)),
                // At once what is due already: what becomes of it must not depend on where a batch ends.
                None if self.spec.clock == Clock::Event && open.next_ms <= cx.watermark_ms => self.tell(cx, &mut out, of, each, open, &row),
                None => self.state.put(of, each, &open, &row),
            }
        }
        end_without_key(cx, rows, keyless)?;
        end(cx, rows, without_due, SideKind::Dead, NO_DUE, "the due time is null")?;
        end(cx, rows, too_many, SideKind::Dead, TOO_MANY, "the key has as many open expectations as `max_open` allows")?;
        self.emit(cx, out)
    }

    fn ended(&self, out: &mut Vec<Ended>, open: Open, row: Vec<u8>, closing: &Closing, late: bool) {
        let (how, wanted) = if closing.cancels { ("cancelled", self.spec.emit.cancelled) } else { ("met", self.spec.emit.met) };
        if wanted {
            let (time_ms, taken) = (closing.time_ms, Some(closing.taken.clone()));
            out.push(Ended { how, open, row, taken, time_ms, offset: closing.offset, late, ended_ms: time_ms });
        }
    }

    /// Tells what is due.
    fn fire(&mut self, cx: &mut Context) -> Result<Vec<Ended>, OperatorError> {
        let mut out = Vec::new();
        for due in self.state.take_due(cx.watermark_ms, cx.now_ms)? {
            if let Some((open, row)) = self.state.remove(due.key, due.each)? {
                self.tell(cx, &mut out, due.key, due.each, open, &row);
            }
        }
        Ok(out)
    }

    /// Tells that nothing came; what is told again stays.
    fn tell(&mut self, cx: &mut Context, out: &mut Vec<Ended>, key: KeyId, each: i64, mut open: Open, row: &[u8]) {
        let limit_ms = match self.spec.clock {
            Clock::Event => cx.watermark_ms,
            Clock::Processing => cx.now_ms,
        };
        let until_ms = open.due_ms.max(open.opened_ms).saturating_add(self.spec.give_up_ms);
        while open.next_ms <= limit_ms {
            if self.spec.emit.absent {
                self.absent(cx, out, key, &open, row, open.next_ms);
            }
            let Some(every_ms) = self.spec.repeat_ms else { return };
            open.repeats += 1;
            open.next_ms = open.next_ms.saturating_add(every_ms);
            if open.next_ms > until_ms {
                return;
            }
        }
        self.state.put(key, each, &open, row);
    }

    fn absent(&self, cx: &mut Context, out: &mut Vec<Ended>, key: KeyId, open: &Open, row: &[u8], fired_ms: i64) {
        let (time_ms, ended_ms) = match self.spec.clock {
            Clock::Event => (fired_ms, fired_ms),
            Clock::Processing => {
                let key = String::from_utf8_lossy(self.state.key_bytes(key)).into_owned();
                cx.decisions.push(("absent", format!("{key} opened {} due {} told {}", open.opened_ms, open.due_ms, cx.now_ms)));
                (open.opened_ms.max(cx.watermark_ms), cx.now_ms)
            }
        };
        out.push(Ended { how: "absent", open: *open, row: row.to_vec(), taken: None, time_ms, offset: open.offset, late: false, ended_ms });
    }

    fn emit(&self, cx: &mut Context, ended: Vec<Ended>) -> Result<(), OperatorError> {
        for part in ended.chunks(OUTPUT_ROWS) {
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
        let ended = self.fire(cx)?;
        self.emit(cx, ended)
    }

    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        Some(&mut self.state)
    }
}

#[cfg(test)]
mod tests;
