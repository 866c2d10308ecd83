//! One stage: its operator with everything resolved, the columns behind it, and what it reads. The kinds stand in
//! files of their own: `stage_select`, `stage_join`, `stage_infer`, `stage_absence`,
//! `stage_edge`, `windows`.

use crate::check::{Check, Rows, non_null};
use crate::contracts::type_word;
use crate::defaults;
use crate::expr::{Planned, Want};
use crate::file::{Op, Sql, Stage};
use crate::parse::{self, Place};
use crate::yaml::At;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_sql::sqlparser::ast::Expr;
use std::collections::BTreeSet;
use ws_stream::batch;
use ws_stream::spec::{Column, OpSpec, Otherwise, TableSpec};

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

/// All rows as they are.
fn pass_all() -> OpSpec {
    OpSpec::Select { filter: None, otherwise: Otherwise::Drop, columns: None }
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
            Op::Rekey { key, .. } => self.rekey(input, key),
            Op::Union { .. } => Some(Made { op: Some(pass_all()), rows: input.clone(), uses: Uses { passes: true, ..Uses::default() } }),
            Op::Absence(a) => self.absence(input, a),
            Op::Apply(a) => self.apply(input, a),
            Op::Optimize(o) => self.optimize(input, o),
        };
        let made = made.unwrap_or_else(Made::broken);
        if made.rows.schema.fields().len() > defaults::MAX_COLUMNS {
            self.problems.hint(
                stage.at,
                format!("stage `{}` has more than {} columns", stage.id.value, defaults::MAX_COLUMNS),
                "name those that are needed with `select`",
            );
        }
        made
    }

    /// Rows under another key. There is no operator: the stage is where slices meet (`slices`), and what stands here
    /// is only seen by checks.
    fn rekey(&mut self, input: &Rows, key: &At<String>) -> Option<Made> {
        let t = self.column(&input.schema, key, "rekey", None)?;
        if t != DataType::Utf8 {
            self.problems.hint(
                key.at,
                format!("rows are re-keyed by texts, `{}` is {}", key.value, type_word(&t)),
                "CAST(… AS VARCHAR) in a stage before: message keys are texts",
            );
            return None;
        }
        let name = vec![key.value.clone()];
        let schema = non_null(&Schema::new(batch::user_fields(&input.schema).to_vec()), &name);
        let uses = Uses { always: name.iter().cloned().collect(), passes: true, ..Uses::default() };
        Some(Made { op: Some(pass_all()), rows: Rows { schema: batch::with_system(&schema), key: Some(name), sound: true }, uses })
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
