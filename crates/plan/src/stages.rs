//! One stage: its operator with everything resolved, the columns behind it, and what it reads. Windows have a file of
//! their own.

use crate::check::{Check, Rows, non_null};
use crate::contracts::{engine_type, type_word};
use crate::defaults;
use crate::errors::did_you_mean;
use crate::expr::{Planned, Want};
use crate::file::{Item, Op, OtherwiseRule, Selection, Sql, Stage};
use crate::parse::{self, Place};
use crate::yaml::{At, Pos};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr};
use std::collections::BTreeSet;
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::spec::{Column, InferSpec, Missing, OpSpec, Otherwise, Rung, TableSpec};

/// What a stage reads of its input, for telling which input columns are used at all.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// Columns it needs itself.
    pub always: BTreeSet<String>,
    /// Whether columns that are used behind it come through it.
    pub passes: bool,
    /// Columns that it makes: used behind it, they are not asked of its input.
    pub makes: BTreeSet<String>,
    /// Table columns it takes: (table, column).
    pub takes: Vec<(usize, String)>,
}

/// A planned stage.
#[derive(Debug)]
pub struct Made {
    /// Operator; `None` when something was wrong.
    pub op: Option<OpSpec>,
    /// Rows behind it.
    pub rows: Rows,
    /// What it reads.
    pub uses: Uses,
}

impl Made {
    pub(crate) fn broken() -> Self {
        Made { op: None, rows: Rows::unknown(), uses: Uses::default() }
    }
}

impl Check<'_> {
    /// Plans a stage over `input`. `tables`: those that could be resolved, in the order of the file.
    pub fn stage(&mut self, stage: &Stage, input: &Rows, tables: &[(At<String>, Option<TableSpec>)]) -> Made {
        let made = match &stage.op {
            Op::Broken => None,
            Op::Join { table, on, take, unmatched } => self.join(input, tables, table, on, take, unmatched.as_ref()),
            _ if !input.sound => None,
            Op::Select { filter, otherwise, selection } => self.select(input, filter.as_ref(), otherwise, selection, stage.at),
            Op::Each { common, alternatives } => self.each(input, common, alternatives),
            Op::Dedup { key, id, keep_ms } => self.dedup(input, key, id, *keep_ms),
            Op::Window { .. } | Op::Since { .. } => self.window(stage, input),
            Op::Changed { key, of, first } => self.changed(input, key, of, first.as_ref()),
            Op::Infer { .. } => self.infer(input, &stage.op),
        };
        let made = made.unwrap_or_else(Made::broken);
        if made.rows.schema.fields().len() > defaults::MAX_COLUMNS {
            self.problems.hint(stage.at, format!("stage `{}` has more than {} columns", stage.id.value, defaults::MAX_COLUMNS), "name those that are needed with `select`");
        }
        made
    }

    /// Plans an expression over rows.
    pub fn expression(&mut self, sql: &Sql, schema: &SchemaRef, place: Place, want: Want) -> Option<(Planned, Expr)> {
        let mut tree = parse::parse(sql, schema, self.problems)?;
        if !parse::check(&mut tree, sql, schema, place, &self.planner.functions, self.problems) {
            return None;
        }
        let planned = self.planner.plan(&tree, sql, schema, want, self.problems)?;
        Some((planned, tree))
    }

    fn select(&mut self, input: &Rows, filter: Option<&Sql>, otherwise: &OtherwiseRule, selection: &Selection, at: Pos) -> Option<Made> {
        let before = self.problems.count();
        let mut uses = Uses::default();
        let mut sure = Vec::new();
        let mut condition = None;
        if let Some(sql) = filter {
            if let Some((planned, tree)) = self.expression(sql, &input.schema, Place::Rows, Want::Boolean) {
                uses.always.extend(planned.columns.iter().cloned());
                never_null(&tree, &mut sure);
                condition = Some(planned.expr);
            }
        }
        // What passes the filter is known better than what went in.
        let passed = Rows { schema: non_null(&input.schema, &sure), ..input.clone() };
        let columns = self.selection(&passed, selection, &mut uses);
        if self.problems.count() > before {
            return None;
        }
        let otherwise = match otherwise {
            OtherwiseRule::Drop => Otherwise::Drop,
            OtherwiseRule::DeadLetter(reason) => Otherwise::DeadLetter(reason.value.clone()),
        };
        let (columns, rows) = match columns {
            None => (None, passed),
            Some(columns) if columns.is_empty() => {
                self.problems.add(at, "this stage yields no columns");
                return None;
            }
            Some(columns) => {
                let rows = behind(&passed, &columns);
                (Some(columns.into_iter().map(|(c, _)| c).collect()), rows)
            }
        };
        Some(Made { op: Some(OpSpec::Select { filter: condition, otherwise, columns }), rows, uses })
    }

    /// The columns of a selection; `None`: everything passes as it is.
    fn selection(&mut self, input: &Rows, selection: &Selection, uses: &mut Uses) -> Option<Vec<(Column, Option<String>)>> {
        match selection {
            Selection::All => {
                uses.passes = true;
                None
            }
            Selection::Only(items) => Some(self.items(input, items, uses)),
            Selection::Add(items) => {
                uses.passes = true;
                uses.makes.extend(items.iter().map(|i| i.name.value.clone()));
                let mut columns = self.kept(input, &items.iter().map(|i| i.name.value.as_str()).collect());
                columns.extend(self.items(input, items, uses));
                Some(columns)
            }
        }
    }

    /// All columns of the input but those that are replaced.
    fn kept(&mut self, input: &Rows, replaced: &BTreeSet<&str>) -> Vec<(Column, Option<String>)> {
        let names: Vec<String> = input.names().filter(|n| !replaced.contains(n)).map(str::to_string).collect();
        names
            .into_iter()
            .filter_map(|name| {
                let (planned, _) = self.expression(&Sql { text: name.clone(), at: Pos::NONE }, &input.schema, Place::Rows, Want::Any)?;
                Some((Column { name, expr: planned.expr }, planned.bare))
            })
            .collect()
    }

    fn items(&mut self, input: &Rows, items: &[Item], uses: &mut Uses) -> Vec<(Column, Option<String>)> {
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            if let Some((planned, _)) = self.expression(&item.sql, &input.schema, Place::Rows, Want::Any) {
                uses.always.extend(planned.columns);
                out.push((Column { name: item.name.value.clone(), expr: planned.expr }, planned.bare));
            }
        }
        out
    }

    fn each(&mut self, input: &Rows, common: &Selection, alternatives: &[At<Vec<Item>>]) -> Option<Made> {
        let before = self.problems.count();
        let mut uses = Uses::default();
        let first = alternatives.first()?;
        let names: Vec<&str> = first.value.iter().map(|i| i.name.value.as_str()).collect();
        let shared = match common {
            Selection::All | Selection::Add(_) => {
                uses.passes = true;
                uses.makes.extend(names.iter().map(|n| n.to_string()));
                self.kept(input, &names.iter().copied().collect())
            }
            Selection::Only(items) => {
                for item in items.iter().filter(|i| names.contains(&i.name.value.as_str())) {
                    self.problems.add(item.name.at, format!("column `{}` is both in `select` and in `each`", item.name.value));
                }
                self.items(input, items, &mut uses)
            }
        };
        let mut all: Vec<Vec<(Column, Option<String>)>> = Vec::new();
        for alternative in alternatives {
            let found: Vec<&str> = alternative.value.iter().map(|i| i.name.value.as_str()).collect();
            if found != names {
                let missing = names.iter().filter(|n| !found.contains(n)).chain(found.iter().filter(|n| !names.contains(n))).copied().collect::<Vec<_>>().join(", ");
                let detail = if missing.is_empty() { "in another order".to_string() } else { format!("the difference: {missing}") };
                self.problems.hint(alternative.at, "the alternatives of `each` have different columns", format!("every item needs the same names in the same order; {detail}"));
                continue;
            }
            let mut columns = shared.clone();
            columns.extend(self.items(input, &alternative.value, &mut uses));
            all.push(columns);
        }
        if self.problems.count() > before {
            return None;
        }
        // Types must agree; a column may be null if it may be in one of the alternatives.
        let mut rows = behind(input, &all[0]);
        for (columns, alternative) in all.iter().zip(alternatives).skip(1) {
            let other = behind(input, columns);
            let mut fields: Vec<Field> = Vec::new();
            for (a, b) in batch::user_fields(&rows.schema).iter().zip(batch::user_fields(&other.schema)) {
                if a.data_type() != b.data_type() {
                    let at = alternative.value.iter().find(|i| i.name.value == *a.name()).map_or(alternative.at, |i| i.sql.at);
                    self.problems.hint(at, format!("`{}` is {} here and {} in the first item", a.name(), type_word(b.data_type()), type_word(a.data_type())), "CAST one of them");
                }
                fields.push(a.as_ref().clone().with_nullable(a.is_nullable() || b.is_nullable()));
            }
            rows.schema = batch::with_system(&Schema::new(fields));
        }
        let alternatives = all.into_iter().map(|columns| columns.into_iter().map(|(c, _)| c).collect()).collect();
        (self.problems.count() == before).then_some(Made { op: Some(OpSpec::Each { alternatives }), rows, uses })
    }

    fn dedup(&mut self, input: &Rows, key: &[At<String>], id: &[At<String>], keep_ms: Option<i64>) -> Option<Made> {
        let at = key.first().map_or(Pos::NONE, |k| k.at);
        let (key, id) = (self.key(input, key, "key"), self.key(input, id, "by"));
        let (key, id) = (key?, id?);
        self.same_task(input, &key, at, "the key");
        let uses = Uses { always: key.iter().chain(&id).cloned().collect(), passes: true, ..Uses::default() };
        Some(Made { op: Some(OpSpec::Dedup { key, id, keep_ms: keep_ms.unwrap_or(defaults::DEDUP_KEEP_MS) }), rows: input.clone(), uses })
    }

    fn join(&mut self, input: &Rows, tables: &[(At<String>, Option<TableSpec>)], table: &At<String>, on: &[At<String>], take: &[(At<String>, At<String>)], unmatched: Option<&At<String>>) -> Option<Made> {
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
            self.problems.hint(at, format!("`on` has {} columns, table `{}` has {} in its key", on.len(), spec.id, spec.key.len()), format!("one column of the row for each of [{}]", spec.key.join(", ")));
            return None;
        }
        let key = self.key(input, on, "on")?;
        for (name, (of_row, of_table)) in on.iter().zip(key.iter().zip(&spec.key)) {
            let (a, b) = (input.schema.field_with_name(of_row).ok()?, spec.schema.field_with_name(of_table).ok()?);
            if a.data_type() != b.data_type() {
                self.problems.hint(name.at, format!("`{of_row}` is {}, the table's key `{of_table}` is {}", type_word(a.data_type()), type_word(b.data_type())), "CAST it in a stage before");
            }
        }
        if !spec.global && input.key.as_ref().is_some_and(|k| *k != key) {
            self.problems.hint(table.at, format!("table `{}` is spread over tasks by its key, the rows are not spread by [{}]", spec.id, key.join(", ")), "make the table `global: true`, so that every task has all of it");
        }
        let mut fields: Vec<Arc<Field>> = batch::user_fields(&input.schema).to_vec();
        let mut uses = Uses { always: key.iter().cloned().collect(), passes: true, ..Uses::default() };
        let mut columns = Vec::new();
        for (column, name) in take {
            if self.column(&spec.schema, column, "take", None).is_none() {
                continue;
            }
            if fields.iter().any(|f| f.name() == &name.value) {
                self.problems.hint(name.at, format!("the rows already have a column `{}`", name.value), format!("take it under another name: `take: [{{ {}_{}: {} }}]`", table.value.trim_end_matches('s'), name.value, column.value));
                continue;
            }
            let Some((i, field)) = spec.schema.column_with_name(&column.value) else { continue };
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

    fn changed(&mut self, input: &Rows, key: &[At<String>], of: &[At<String>], first: Option<&Sql>) -> Option<Made> {
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

    fn infer(&mut self, input: &Rows, op: &Op) -> Option<Made> {
        let Op::Infer { model, key, ladder, budget_ms, cache_age_ms, batch_rows, max_pending_rows } = op else { return None };
        let before = self.problems.count();
        let at = key.first().map_or(Pos::NONE, |k| k.at);
        let key = self.key(input, key, "key")?;
        self.same_task(input, &key, at, "the key");
        let mut rungs = Vec::new();
        for word in ladder {
            match [Rung::Cached, Rung::Heuristic].into_iter().find(|r| r.name() == word.value) {
                Some(rung) if rungs.contains(&rung) => self.problems.add(word.at, format!("rung `{}` is written twice", word.value)),
                Some(rung) => rungs.push(rung),
                None if word.value == "model" => self.problems.hint(word.at, "`model` is not part of the ladder", "the model is always asked first; the ladder is what comes below it"),
                None if matches!(word.value.as_str(), "simplified" | "manual") => self.problems.hint(word.at, format!("the rung `{}` is not available yet", word.value), "one of `cached`, `heuristic`"),
                None => self.problems.push(word.at, format!("unknown rung `{}`", word.value), did_you_mean(&word.value, ["cached", "heuristic"])),
            }
        }
        let Some(contract) = self.contracts.model(&model.value) else {
            let models = self.contracts.models();
            self.problems.push(model.at, format!("unknown model `{}`", model.value), did_you_mean(&model.value, models.iter().map(String::as_str)));
            return None;
        };
        for (name, wanted) in &contract.inputs {
            match input.schema.field_with_name(name) {
                Err(_) => self.problems.hint(model.at, format!("model `{}` needs a column `{name}` ({})", model.value, type_word(wanted)), did_you_mean(name, input.names()).unwrap_or_default()),
                Ok(f) if f.data_type() != wanted => self.problems.hint(model.at, format!("model `{}` needs `{name}` as {}, it is {}", model.value, type_word(wanted), type_word(f.data_type())), "CAST it in the stage before"),
                Ok(_) => {}
            }
        }
        let (batch_size, pending) = (batch_rows.as_ref().map_or(defaults::INFER_BATCH_ROWS, |b| b.value), max_pending_rows.as_ref().map_or(defaults::MAX_PENDING_ROWS, |p| p.value));
        if batch_size > pending {
            self.problems.hint(max_pending_rows.as_ref().or(batch_rows.as_ref()).map_or(at, |v| v.at), format!("max_pending {pending} is smaller than batch {batch_size}"), "a batch must fit into what may be pending");
        }
        let mut fields: Vec<Arc<Field>> = batch::user_fields(&input.schema).to_vec();
        let own = [("rung", DataType::Utf8), ("model_version", DataType::Utf8), ("feature_hash", DataType::Utf8), ("age_ms", DataType::Int64), ("prediction_id", DataType::Utf8)];
        let outputs: Vec<Field> = contract.outputs.fields().iter().filter_map(|f| engine_type(f.data_type()).map(|t| Field::new(f.name(), t, true))).collect();
        let added: Vec<Field> = outputs.iter().cloned().chain(own.map(|(n, t)| Field::new(n, t, false))).collect();
        for field in &added {
            if fields.iter().any(|f| f.name() == field.name()) {
                self.problems.hint(model.at, format!("the rows already have a column `{}`, which this stage adds", field.name()), "leave it out in the stage before");
            }
            fields.push(Arc::new(field.clone()));
        }
        if self.problems.count() > before {
            return None;
        }
        let always = if contract.inputs.is_empty() { input.names().map(str::to_string).collect() } else { contract.inputs.iter().map(|(n, _)| n.clone()).collect::<BTreeSet<_>>() };
        let uses = Uses { always: always.into_iter().chain(key.iter().cloned()).collect(), passes: true, makes: added.iter().map(|f| f.name().clone()).collect(), takes: Vec::new() };
        let spec = InferSpec {
            model: model.value.clone(),
            key,
            outputs: Arc::new(Schema::new(outputs)),
            ladder: rungs,
            budget_ms: budget_ms.unwrap_or(defaults::INFER_BUDGET_MS),
            cache_age_ms: cache_age_ms.unwrap_or(defaults::CACHE_AGE_MS),
            batch_rows: usize::try_from(batch_size).unwrap_or(1),
            max_pending_rows: usize::try_from(pending).unwrap_or(1),
        };
        let rows = Rows { schema: batch::with_system(&Schema::new(fields)), ..input.clone() };
        Some(Made { op: Some(OpSpec::Infer(spec)), rows, uses })
    }
}

/// The rows behind a projection. The key that spreads rows over tasks stays known under the name it is passed on.
pub fn behind(input: &Rows, columns: &[(Column, Option<String>)]) -> Rows {
    let fields: Vec<Field> = columns.iter().map(|(c, _)| Field::new(&c.name, c.expr.data_type(), c.expr.nullable())).collect();
    let renamed = |k: &String| match columns.iter().find(|(_, bare)| bare.as_ref() == Some(k)) {
        Some((c, _)) => c.name.clone(),
        // Lost: later stages that keep state by key will miss it, and say so.
        None if columns.iter().any(|(c, _)| c.name == *k) => format!("{k} (as it was before)"),
        None => k.clone(),
    };
    let key = input.key.as_ref().map(|key| key.iter().map(renamed).collect());
    Rows { schema: batch::with_system(&Schema::new(fields)), key, sound: true }
}

/// Columns that cannot be null where the condition is true.
fn never_null(condition: &Expr, out: &mut Vec<String>) {
    let mut column = |e: &Expr| {
        if let Expr::Identifier(i) = e {
            out.push(i.value.clone());
        }
    };
    match condition {
        Expr::Nested(e) => never_null(e, out),
        Expr::IsNotNull(e) => column(e),
        Expr::Between { expr, negated: false, .. } => column(expr),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            never_null(left, out);
            never_null(right, out);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq | BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq, right } => {
            column(left);
            column(right);
        }
        _ => {}
    }
}
