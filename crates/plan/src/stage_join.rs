//! Stages that look rows up by key: `join`, `dedup` and `changed`.

use crate::check::{Check, Rows};
use crate::contracts::type_word;
use crate::defaults;
use crate::errors::did_you_mean;
use crate::expr::Want;
use crate::file::Sql;
use crate::parse::Place;
use crate::stages::{Made, Uses};
use crate::yaml::{At, Pos};
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::spec::{Missing, OpSpec, TableSpec};

impl Check<'_> {
    pub(crate) fn join(
        &mut self,
        input: &Rows,
        tables: &[(At<String>, Option<TableSpec>)],
        table: &At<String>,
        on: &[At<String>],
        take: &[(At<String>, At<String>)],
        unmatched: Option<&At<String>>,
    ) -> Option<Made> {
        let Some(index) = tables.iter().position(|(id, _)| id.value == table.value) else {
            let hint = did_you_mean(&table.value, tables.iter().map(|(id, _)| id.value.as_str())).unwrap_or_else(|| "declare it under `tables:`".into());
            self.problems.hint(table.at, format!("unknown table `{}`", table.value), hint);
            return None;
        };
        let spec = tables[index].1.as_ref()?;
        if !input.sound {
            return None;
        }
        let before = self.problems.count();
        if on.len() != spec.key.len() {
            let at = on.first().map_or(table.at, |o| o.at);
            self.problems.hint(
                at,
                format!("`on` has {} columns, table `{}` has {} in its key", on.len(), spec.id, spec.key.len()),
                format!("one column of the row for each of [{}]", spec.key.join(", ")),
            );
            return None;
        }
        let key = self.key(input, on, "on")?;
        for (name, (of_row, of_table)) in on.iter().zip(key.iter().zip(&spec.key)) {
            let (a, b) = (input.schema.field_with_name(of_row).ok()?, spec.schema.field_with_name(of_table).ok()?);
            if a.data_type() != b.data_type() {
                self.problems.hint(
                    name.at,
                    format!("`{of_row}` is {}, the table's key `{of_table}` is {}", type_word(a.data_type()), type_word(b.data_type())),
                    "CAST it in a stage before",
                );
            }
        }
        if !spec.global && input.key.as_ref().is_some_and(|k| *k != key) {
            self.problems.hint(
                table.at,
                format!("table `{}` is spread over tasks by its key, the rows are not spread by [{}]", spec.id, key.join(", ")),
                "make the table `global: true`, so that every task has all of it",
            );
        }
        let mut fields: Vec<Arc<Field>> = batch::user_fields(&input.schema).to_vec();
        let mut uses = Uses { always: key.iter().cloned().collect(), passes: true, ..Uses::default() };
        let mut columns = Vec::new();
        for (column, name) in take {
            if self.column(&spec.schema, column, "take", None).is_none() {
                continue;
            }
            if fields.iter().any(|f| f.name() == &name.value) {
                self.problems.hint(
                    name.at,
                    format!("the rows already have a column `{}`", name.value),
                    format!("take it under another name: `take: [{{ {}_{}: {} }}]`", table.value.trim_end_matches('s'), name.value, column.value),
                );
                continue;
            }
            let Some((i, field)) = spec.schema.column_with_name(&column.value) else {
                continue;
            };
            fields.push(Arc::new(Field::new(&name.value, field.data_type().clone(), field.is_nullable() || unmatched.is_none())));
            columns.push((i, name.value.clone()));
            uses.makes.insert(name.value.clone());
            uses.takes.push((index, column.value.clone()));
        }
        if self.problems.count() > before {
            return None;
        }
        let missing = unmatched.map_or(Missing::Nulls, |reason| Missing::Unmatched(reason.value.clone()));
        let rows = Rows { schema: batch::with_system(&Schema::new(fields)), ..input.clone() };
        Some(Made { op: Some(OpSpec::Join { table: index, on: key, columns, missing }), rows, uses })
    }

    pub(crate) fn dedup(&mut self, input: &Rows, key: &[At<String>], id: &[At<String>], keep_ms: Option<i64>) -> Option<Made> {
        let at = key.first().map_or(Pos::NONE, |k| k.at);
        let (key, id) = (self.key(input, key, "key"), self.key(input, id, "by"));
        let (key, id) = (key?, id?);
        self.same_task(input, &key, at, "the key");
        let uses = Uses { always: key.iter().chain(&id).cloned().collect(), passes: true, ..Uses::default() };
        Some(Made { op: Some(OpSpec::Dedup { key, id, keep_ms: keep_ms.unwrap_or(defaults::DEDUP_KEEP_MS) }), rows: input.clone(), uses })
    }

    pub(crate) fn changed(&mut self, input: &Rows, key: &[At<String>], of: &[At<String>], first: Option<&Sql>) -> Option<Made> {
        let before = self.problems.count();
        let at = key.first().map_or(Pos::NONE, |k| k.at);
        let key = self.key(input, key, "key");
        let mut compared = Vec::new();
        for name in of {
            if self.column(&input.schema, name, "of", None).is_some() {
                compared.push(name.value.clone());
            }
        }
        let first = match first {
            None => None,
            Some(sql) => Some(self.expression(sql, &input.schema, Place::Rows, Want::Boolean)?.0),
        };
        let key = key?;
        self.same_task(input, &key, at, "the key");
        if self.problems.count() > before {
            return None;
        }
        let mut uses = Uses { always: key.iter().chain(&compared).cloned().collect(), passes: true, ..Uses::default() };
        uses.always.extend(first.iter().flat_map(|f| f.columns.iter().cloned()));
        Some(Made { op: Some(OpSpec::Changed { key, of: compared, first: first.map(|f| f.expr) }), rows: input.clone(), uses })
    }
}
