//! Stages without state: `where`, `select` and `add`; and `each`, one row per alternative.

use crate::check::{Check, Rows, non_null};
use crate::contracts::type_word;
use crate::expr::Want;
use crate::file::{Item, OtherwiseRule, Selection, Sql};
use crate::parse::Place;
use crate::stages::{Made, Uses, behind};
use crate::yaml::{At, Pos};
use arrow::datatypes::{Field, Schema};
use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr};
use std::collections::BTreeSet;
use ws_stream::batch;
use ws_stream::spec::{Column, OpSpec, Otherwise};

impl Check<'_> {
    pub(crate) fn select(&mut self, input: &Rows, filter: Option<&Sql>, otherwise: &OtherwiseRule, selection: &Selection, at: Pos) -> Option<Made> {
        let before = self.problems.count();
        let mut uses = Uses::default();
        let mut sure = Vec::new();
        let mut condition = None;
        if let Some(sql) = filter
            && let Some((planned, tree)) = self.expression(sql, &input.schema, Place::Rows, Want::Boolean)
        {
            uses.always.extend(planned.columns.iter().cloned());
            never_null(&tree, &mut sure);
            condition = Some(planned.expr);
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

    pub(crate) fn each(&mut self, input: &Rows, common: &Selection, alternatives: &[At<Vec<Item>>]) -> Option<Made> {
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
                let missing =
                    names.iter().filter(|n| !found.contains(n)).chain(found.iter().filter(|n| !names.contains(n))).copied().collect::<Vec<_>>().join(", ");
                let detail = if missing.is_empty() { "in another order".to_string() } else { format!("the difference: {missing}") };
                self.problems.hint(
                    alternative.at,
                    "the alternatives of `each` have different columns",
                    format!("every item needs the same names in the same order; {detail}"),
                );
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
                    self.problems.hint(
                        at,
                        format!("`{}` is {} here and {} in the first item", a.name(), type_word(b.data_type()), type_word(a.data_type())),
                        "CAST one of them",
                    );
                }
                fields.push(a.as_ref().clone().with_nullable(a.is_nullable() || b.is_nullable()));
            }
            rows.schema = batch::with_system(&Schema::new(fields));
        }
        let alternatives = all.into_iter().map(|columns| columns.into_iter().map(|(c, _)| c).collect()).collect();
        (self.problems.count() == before).then_some(Made { op: Some(OpSpec::Each { alternatives }), rows, uses })
    }
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
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq | BinaryOperator::NotEq | BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq,
            right,
        } => {
            column(left);
            column(right);
        }
        _ => {}
    }
}
