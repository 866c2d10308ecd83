//! Window stages: `select` is split into the aggregates over the rows and the expressions over their results. What
//! those expressions may see is told in the documentation of `OpSpec::Window` and `OpSpec::Since`.

use crate::aggregates::{self, Calls, columns_of, mentions};
use crate::check::{Check, Rows};
use crate::defaults;
use crate::duration::format_ms;
use crate::expr::Want;
use crate::file::{DropRule, Item, Op, Sql, Stage};
use crate::parse::{self, Place};
use crate::stages::{Made, Uses, behind};
use crate::yaml::{At, Pos};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_sql::sqlparser::ast::Expr;
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::spec::{AggCall, AggFn, Column, DropSpec, OpSpec, SinceSpec, WindowSpec};

/// Columns that windows add to what expressions see.
const WINDOW_COLUMNS: [(&str, DataType, bool); 2] = [("window_start", DataType::Int64, false), ("window_end", DataType::Int64, false)];
const SINCE_COLUMNS: [(&str, DataType, bool); 4] = [
    ("window_start", DataType::Int64, true),
    ("last_time", DataType::Int64, false),
    ("row_time", DataType::Int64, false),
    ("is_late", DataType::Boolean, false),
];

impl Check<'_> {
    /// Plans a window stage.
    pub fn window(&mut self, stage: &Stage, input: &Rows) -> Option<Made> {
        match &stage.op {
            Op::Window { group_by, size_ms, slide_ms, at, select } => {
                let group = self.group(input, group_by)?;
                if slide_ms > size_ms {
                    self.problems.hint(
                        *at,
                        format!("windows of {} every {} leave gaps", format_ms(*size_ms), format_ms(*slide_ms)),
                        "`every` is at most the length of the window",
                    );
                    return None;
                }
                if size_ms / slide_ms > defaults::MAX_OVERLAP {
                    self.problems.add(*at, format!("each row falls into {} windows; {} is the limit", size_ms / slide_ms, defaults::MAX_OVERLAP));
                    return None;
                }
                let output = self.output(input, &group, select, Place::Window)?;
                let op = OpSpec::Window {
                    group_by: group,
                    window: WindowSpec { size_ms: *size_ms, slide_ms: *slide_ms },
                    calls: output.calls,
                    columns: output.columns,
                };
                Some(Made { op: Some(op), rows: output.rows, uses: output.uses })
            }
            Op::Since { group_by, column, drop, select, .. } => {
                let group = self.group(input, group_by)?;
                let before = self.problems.count();
                let mut window = self.limits(&stage.op)?;
                if let Some(c) = column {
                    self.column(&input.schema, c, "the reset column", Some(&DataType::Int64));
                    window.reset_at = Some(c.value.clone());
                }
                let mut drop_reads = Vec::new();
                if let Some(rule) = drop {
                    window.drop = self.drop_rule(input, rule, &mut drop_reads);
                }
                let output = self.output(input, &group, select, Place::Since);
                if self.problems.count() > before {
                    return None;
                }
                let mut output = output?;
                for (call, at) in output.calls.iter().zip(&output.places) {
                    let Some(h) = call.horizon_ms else { continue };
                    if h > window.at_most_ms || h < window.pane_ms {
                        let (bound, value) = if h > window.at_most_ms { ("at_most", window.at_most_ms) } else { ("panes", window.pane_ms) };
                        self.problems.add(
                            *at,
                            format!(
                                "the horizon {} of `{}` is {} than `{bound}`, {}",
                                format_ms(h),
                                aggregates::name(call.function),
                                if bound == "at_most" { "longer" } else { "shorter" },
                                format_ms(value)
                            ),
                        );
                        return None;
                    }
                }
                output.uses.always.extend(drop_reads);
                output.uses.always.extend(window.reset_at.clone());
                window.answer_all = window.reset_at.is_none() && window.drop.is_none();
                let op = OpSpec::Since { group_by: group, window, calls: output.calls, carry: output.carry, columns: output.columns };
                Some(Made { op: Some(op), rows: output.rows, uses: output.uses })
            }
            _ => None,
        }
    }

    fn group(&mut self, input: &Rows, names: &[At<String>]) -> Option<Vec<String>> {
        let group = self.key(input, names, "group column")?;
        self.same_task(input, &group, names.first().map_or(Pos::NONE, |n| n.at), "group_by");
        Some(group)
    }

    fn limits(&mut self, op: &Op) -> Option<SinceSpec> {
        let Op::Since { at_most_ms, pane_ms, or_every_ms, give_up_ms, at, .. } = op else {
            return None;
        };
        let at_most_ms = at_most_ms.unwrap_or(defaults::SINCE_AT_MOST_MS);
        let pane_ms = pane_ms.unwrap_or(defaults::PANE_MS);
        let give_up_ms = give_up_ms.unwrap_or(defaults::GIVE_UP_MS);
        if pane_ms > at_most_ms {
            self.problems.add(*at, format!("`panes` {} is longer than `at_most` {}", format_ms(pane_ms), format_ms(at_most_ms)));
            return None;
        }
        if at_most_ms / pane_ms > defaults::MAX_PANES {
            self.problems.hint(
                *at,
                format!(
                    "{} in panes of {} are {} panes a key; {} is the limit",
                    format_ms(at_most_ms),
                    format_ms(pane_ms),
                    at_most_ms / pane_ms,
                    defaults::MAX_PANES
                ),
                "longer panes, or a smaller `at_most`",
            );
            return None;
        }
        if let Some(every) = or_every_ms.filter(|e| *e > give_up_ms) {
            self.problems.hint(
                *at,
                format!("`or_every` {} is longer than `give_up` {}", format_ms(every), format_ms(give_up_ms)),
                "nothing would ever be emitted in silence: leave `emit` out, or raise `give_up`",
            );
            return None;
        }
        Some(SinceSpec { at_most_ms, pane_ms, reset_at: None, drop: None, or_every_ms: *or_every_ms, give_up_ms, answer_all: false })
    }

    fn drop_rule(&mut self, input: &Rows, rule: &DropRule, reads: &mut Vec<String>) -> Option<DropSpec> {
        let (planned, _) = self.expression(&rule.of, &input.schema, Place::Rows, Want::Float)?;
        reads.extend(planned.columns);
        if rule.by <= 0.0 {
            self.problems.add(rule.of.at, "`drop.by` must be more than 0");
            return None;
        }
        Some(DropSpec { value: planned.expr, by: rule.by, to_at_most: rule.to_at_most })
    }

    fn output(&mut self, input: &Rows, group: &[String], items: &[Item], place: Place) -> Option<Output> {
        let before = self.problems.count();
        let own: &[(&str, DataType, bool)] = if place == Place::Since { &SINCE_COLUMNS } else { &WINDOW_COLUMNS };
        let user = batch::user_fields(&input.schema);
        // In scope before it is known what is used: group columns, with since-windows all others, and the window's own.
        let mut scope: Vec<Arc<Field>> =
            user.iter().filter(|f| (place == Place::Since || group.contains(f.name())) && !own.iter().any(|(n, ..)| n == f.name())).cloned().collect();
        scope.extend(own.iter().map(|(n, t, nullable)| Arc::new(Field::new(*n, t.clone(), *nullable))));

        let mut calls = Calls::default();
        let mut trees: Vec<(&Item, Expr)> = Vec::new();
        for item in items {
            let names = Schema::new(scope.clone());
            let Some(mut tree) = parse::parse(&item.sql, &names, self.problems) else {
                continue;
            };
            if !calls.extract(&mut tree, &item.sql, place == Place::Since, self.problems) {
                continue;
            }
            let with_calls = with_calls(&scope, &calls);
            if self.ungrouped(&tree, &item.sql, input, &with_calls)
                || !parse::check(&mut tree, &item.sql, &with_calls, place, &self.planner.functions, self.problems)
            {
                continue;
            }
            trees.push((item, tree));
        }
        if self.problems.count() > before {
            // Arguments may be wrong too: say so at once.
            for call in &calls.list {
                self.argument(call, input);
            }
            return None;
        }
        let mut uses = Uses::default();
        let mut planned_calls = Vec::new();
        for call in &calls.list {
            let (arg, reads) = self.argument(call, input)?;
            uses.always.extend(reads);
            planned_calls.push(AggCall { function: call.function, arg, horizon_ms: call.horizon_ms });
        }
        let used: Vec<String> = trees.iter().flat_map(|(_, t)| columns_of(t)).chain(group.iter().cloned()).collect();
        let carry: Vec<String> = user.iter().map(|f| f.name().clone()).filter(|n| used.contains(n) && !own.iter().any(|(o, ..)| o == n)).collect();
        uses.always.extend(carry.iter().cloned());
        let front: Vec<String> = if place == Place::Since { carry.clone() } else { group.to_vec() };
        let mut fields: Vec<Arc<Field>> = Vec::new();
        for name in &front {
            let field = input.schema.field_with_name(name).ok()?.clone();
            fields.push(Arc::new(if group.contains(name) { field.with_nullable(false) } else { field }));
        }
        fields.extend(own.iter().map(|(n, t, nullable)| Arc::new(Field::new(*n, t.clone(), *nullable))));
        let inner: SchemaRef = Arc::new(with_calls(&fields, &calls));

        let mut columns = Vec::new();
        for (item, tree) in &trees {
            if let Some(planned) = self.planner.plan(tree, &item.sql, &inner, Want::Any, self.problems) {
                columns.push((Column { name: item.name.value.clone(), expr: planned.expr }, planned.bare));
            }
        }
        if self.problems.count() > before {
            return None;
        }
        let rows = behind(input, &columns);
        let columns = columns.into_iter().map(|(c, _)| c).collect();
        let places = calls.list.iter().map(|c| c.sql.at).collect();
        Some(Output { calls: planned_calls, places, carry, columns, rows, uses })
    }

    /// Columns of the input that are neither grouped nor aggregated.
    fn ungrouped(&mut self, tree: &Expr, sql: &Sql, input: &Rows, scope: &Schema) -> bool {
        let mut found = false;
        for (name, location) in mentions(tree) {
            if scope.index_of(&name).is_err() && batch::user_fields(&input.schema).iter().any(|f| *f.name() == name) {
                let at = parse::place(sql, Some(location), self.problems);
                self.problems.hint(
                    at,
                    format!("column `{name}` is neither grouped nor aggregated"),
                    format!("`last({name})` or another aggregate, or add it to `group_by`"),
                );
                found = true;
            }
        }
        found
    }

    /// Plans the argument of a call over the rows.
    #[allow(clippy::type_complexity)]
    fn argument(&mut self, call: &aggregates::Call, input: &Rows) -> Option<(Option<ws_stream::expr::ExprRef>, Vec<String>)> {
        let Some(tree) = &call.arg else {
            return Some((None, Vec::new()));
        };
        let mut tree = tree.clone();
        if !parse::check(&mut tree, &call.sql, &input.schema, Place::Argument, &self.planner.functions, self.problems) {
            return None;
        }
        let want = if call.function == AggFn::Count { Want::Presence } else { Want::Float };
        let text = Sql { text: tree.to_string(), at: call.sql.at };
        let planned = self.planner.plan(&tree, &text, &input.schema, want, self.problems)?;
        Some((Some(planned.expr), planned.columns))
    }
}

struct Output {
    calls: Vec<AggCall>,
    /// Where each call was written.
    places: Vec<Pos>,
    carry: Vec<String>,
    columns: Vec<Column>,
    rows: Rows,
    uses: Uses,
}

fn with_calls(fields: &[Arc<Field>], calls: &Calls) -> Schema {
    let mut fields = fields.to_vec();
    for (i, call) in calls.list.iter().enumerate() {
        let (t, nullable) = if call.function == AggFn::Count { (DataType::Int64, false) } else { (DataType::Float64, true) };
        let name = aggregates::column(i);
        fields.retain(|f| *f.name() != name);
        fields.push(Arc::new(Field::new(name, t, nullable)));
    }
    Schema::new(fields)
}
