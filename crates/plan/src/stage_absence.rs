//! The `absence` stage: what did not arrive, and, if asked, what did.

use crate::check::{Check, Rows, non_null};
use crate::contracts::type_word;
use crate::defaults;
use crate::errors::did_you_mean;
use crate::expr::Want;
use crate::file::Sql;
use crate::file_stages::{Absence, Moment};
use crate::parse::Place;
use crate::stages::{Made, Uses};
use crate::yaml::{At, Pos};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::expr::ExprRef;
use ws_stream::op::absence_columns;
use ws_stream::spec::{AbsenceSpec, Clock, Endings, OpSpec, When};

impl Check<'_> {
    pub(crate) fn absence(&mut self, input: &Rows, a: &Absence) -> Option<Made> {
        let before = self.problems.count();
        let mut uses = Uses { passes: true, ..Uses::default() };
        let key = self.key(input, &a.key, "key");
        if let Some(key) = &key {
            self.same_task(input, key, a.key.first().map_or(Pos::NONE, |k| k.at), "the key");
        }
        let each = if a.each.is_empty() { Some(Vec::new()) } else { self.key(input, &a.each, "`each`") };
        let opens = self.condition(input, a.when.as_ref(), &mut uses);
        let met = self.condition(input, a.met.as_ref(), &mut uses);
        let cancel = self.condition(input, a.cancel.as_ref(), &mut uses);
        let due = a.due.as_ref().and_then(|d| self.moment(input, d, &mut uses));
        let not_before = a.not_before.as_ref().and_then(|d| self.moment(input, &d.value, &mut uses));
        if let (Some(n), None) = (&a.not_before, &a.met) {
            self.problems.hint(n.at, "`not_before` without `met`", "it says from when on a row meets what is expected");
        }
        if a.met.is_some() && a.when.is_none() && a.each.is_empty() && a.cancel.is_none() {
            self.problems.hint(
                a.at,
                "`met` without `when`",
                "say which rows open an expectation, e.g. `when: kind = 'planned'`; without `met`, every row puts the silence off",
            );
        }
        let emit = self.endings(a);
        self.repeats(a);
        let mut fields: Vec<Arc<Field>> = batch::user_fields(&input.schema).to_vec();
        let mut added = absence_columns();
        let mut take = Vec::new();
        if let (Some((first, _)), None, None) = (a.take.first(), &a.met, &a.cancel) {
            self.problems.hint(first.at, "`take` without `met` or `cancel`", "it takes columns of the row that closes an expectation");
        }
        for (column, name) in &a.take {
            if let Some(t) = self.column(&input.schema, column, "taken column", None) {
                added.push(Field::new(&name.value, t, true));
                take.push((column.value.clone(), name.value.clone()));
            }
        }
        for field in &added {
            if fields.iter().any(|f| f.name() == field.name()) {
                self.problems.hint(
                    a.at,
                    format!("the rows already have a column `{}`, which this stage adds", field.name()),
                    "leave it out in the stage before, or take it under another name",
                );
            }
            fields.push(Arc::new(field.clone()));
        }
        if self.problems.count() > before {
            return None;
        }
        let (key, each) = (key?, each?);
        uses.always.extend(key.iter().chain(&each).cloned().chain(take.iter().map(|(c, _)| c.clone())));
        uses.makes = added.iter().map(|f| f.name().clone()).collect();
        let spec = AbsenceSpec {
            each,
            opens,
            met,
            cancel,
            due: due?,
            not_before,
            repeat_ms: a.repeat_ms.as_ref().map(|r| r.value),
            give_up_ms: a.give_up_ms.unwrap_or(defaults::GIVE_UP_MS),
            clock: if a.processing { Clock::Processing } else { Clock::Event },
            emit,
            take,
            max_open: usize::try_from(a.max_open.unwrap_or(defaults::MAX_OPEN)).unwrap_or(1),
            key: key.clone(),
        };
        let rows = Rows { schema: batch::with_system(&non_null(&Schema::new(fields), &key)), ..input.clone() };
        Some(Made { op: Some(OpSpec::Absence(Box::new(spec))), rows, uses })
    }

    fn endings(&mut self, a: &Absence) -> Endings {
        let mut emit = Endings { absent: a.emit.is_empty(), met: false, cancelled: false };
        for word in &a.emit {
            match word.value.as_str() {
                "absent" => emit.absent = true,
                "met" if a.met.is_none() => self.problems.hint(word.at, "`met` in `emit`, but no `met:`", "say which rows meet what is expected"),
                "met" => emit.met = true,
                "cancelled" if a.cancel.is_none() => {
                    self.problems.hint(word.at, "`cancelled` in `emit`, but no `cancel:`", "say which rows cancel what is expected")
                }
                "cancelled" => emit.cancelled = true,
                other => self.problems.push(word.at, format!("unknown ending `{other}`"), did_you_mean(other, ["absent", "met", "cancelled"])),
            }
        }
        emit
    }

    fn repeats(&mut self, a: &Absence) {
        let give_up_ms = a.give_up_ms.unwrap_or(defaults::GIVE_UP_MS);
        let Some(repeat) = &a.repeat_ms else { return };
        if repeat.value > give_up_ms {
            self.problems.hint(repeat.at, "`repeat` is longer than `give_up`", "nothing would ever be told again: leave it out, or raise `give_up`");
        } else if give_up_ms / repeat.value > defaults::MAX_REPEATS {
            self.problems.hint(
                repeat.at,
                format!("an absence would be told {} times; {} is the limit", give_up_ms / repeat.value, defaults::MAX_REPEATS),
                "a longer `repeat`, or a shorter `give_up`",
            );
        }
    }

    fn moment(&mut self, input: &Rows, m: &Moment, uses: &mut Uses) -> Option<When> {
        match m {
            Moment::After(ms) => Some(When::After(*ms)),
            Moment::At(sql) => self.instant(input, Some(sql), uses).map(When::At),
        }
    }

    /// A condition over rows.
    pub(crate) fn condition(&mut self, input: &Rows, sql: Option<&Sql>, uses: &mut Uses) -> Option<ExprRef> {
        let (planned, _) = self.expression(sql?, &input.schema, Place::Rows, Want::Boolean)?;
        uses.always.extend(planned.columns);
        Some(planned.expr)
    }

    /// A time over rows: integers, UTC ms.
    pub(crate) fn instant(&mut self, input: &Rows, sql: Option<&Sql>, uses: &mut Uses) -> Option<ExprRef> {
        let sql = sql?;
        let (planned, _) = self.expression(sql, &input.schema, Place::Rows, Want::Any)?;
        let found = planned.expr.data_type();
        if found != DataType::Int64 {
            self.problems.hint(sql.at, format!("a time is needed, this yields {}", type_word(&found)), "times are integers, UTC milliseconds");
            return None;
        }
        uses.always.extend(planned.columns);
        Some(planned.expr)
    }

    /// Columns that somebody at the edge needs.
    pub(crate) fn needs(&mut self, input: &Rows, inputs: &[(String, DataType)], at: Pos, who: &str) {
        for (name, wanted) in inputs {
            match input.schema.field_with_name(name) {
                Err(_) => self.problems.hint(
                    at,
                    format!("{who} needs a column `{name}` ({})", type_word(wanted)),
                    did_you_mean(name, input.names()).unwrap_or_default(),
                ),
                Ok(f) if f.data_type() != wanted => self.problems.hint(
                    at,
                    format!("{who} needs `{name}` as {}, it is {}", type_word(wanted), type_word(f.data_type())),
                    "CAST it in the stage before",
                ),
                Ok(_) => {}
            }
        }
    }

    /// The columns of a stage that makes its rows itself; a name twice is a problem.
    pub(crate) fn made_columns(&mut self, fields: Vec<Field>, at: &At<String>) -> Schema {
        for (i, f) in fields.iter().enumerate() {
            if fields[..i].iter().any(|o| o.name() == f.name()) {
                self.problems.hint(at.at, format!("column `{}` would be there twice", f.name()), "rename it in the stage before");
            }
        }
        Schema::new(fields)
    }
}
