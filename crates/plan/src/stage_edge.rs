//! Stages whose work the edge does: `apply` runs a custom operator, `optimize` asks a solver.

use crate::check::{Check, Rows};
use crate::contracts::engine_type;
use crate::defaults;
use crate::duration::format_ms;
use crate::errors::did_you_mean;
use crate::file_stages::{Apply, Optimize};
use crate::stages::{Made, Uses};
use crate::yaml::{At, Pos};
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::op::optimize_columns;
use ws_stream::solve::SolverContract;
use ws_stream::spec::{ApplySpec, OpSpec, OptimizeSpec, TriggerSpec};

fn engine_fields(schema: &Schema) -> Vec<Field> {
    schema.fields().iter().filter_map(|f| engine_type(f.data_type()).map(|t| Field::new(f.name(), t, f.is_nullable()))).collect()
}

fn bound(value: Option<i64>, default: i64) -> usize {
    usize::try_from(value.unwrap_or(default)).unwrap_or(1)
}

impl Check<'_> {
    pub(crate) fn apply(&mut self, input: &Rows, a: &Apply) -> Option<Made> {
        let before = self.problems.count();
        let key = self.key(input, &a.key, "key");
        if let Some(key) = &key {
            self.same_task(input, key, a.key.first().map_or(Pos::NONE, |k| k.at), "the key");
        }
        let contract = match self.contracts.operator(&a.operator.value, &a.with) {
            Some(Ok(contract)) => Some(contract),
            Some(Err(why)) => {
                self.problems.add(a.operator.at, format!("operator `{}` does not take these settings: {why}", a.operator.value));
                None
            }
            None => {
                let known = self.contracts.operators();
                self.problems.push(
                    a.operator.at,
                    format!("unknown operator `{}`", a.operator.value),
                    did_you_mean(&a.operator.value, known.iter().map(String::as_str)),
                );
                None
            }
        };
        for c in &a.carry {
            self.column(&input.schema, c, "carried column", None);
        }
        let (key, contract) = (key?, contract?);
        self.needs(input, &contract.inputs, a.operator.at, &format!("operator `{}`", a.operator.value));
        let carry: Vec<String> = a.carry.iter().map(|c| c.value.clone()).filter(|c| !key.contains(c)).collect();
        let outputs = engine_fields(&contract.outputs);
        let mut fields = Vec::new();
        for name in key.iter().chain(&carry) {
            let field = input.schema.field_with_name(name).ok()?.clone();
            let nullable = field.is_nullable() && !key.contains(name);
            fields.push(field.with_nullable(nullable));
        }
        fields.extend(outputs.iter().cloned());
        let schema = self.made_columns(fields, &a.operator);
        if self.problems.count() > before {
            return None;
        }
        let uses = Uses { always: key.iter().chain(&carry).cloned().chain(contract.inputs.iter().map(|(n, _)| n.clone())).collect(), ..Uses::default() };
        let spec = ApplySpec {
            operator: a.operator.value.clone(),
            key,
            with: a.with.clone(),
            carry,
            outputs: Arc::new(Schema::new(outputs)),
            max_state_bytes: bound(a.max_state_bytes, defaults::STATE_BYTES),
        };
        Some(Made { op: Some(OpSpec::Apply(spec)), rows: Rows { schema: batch::with_system(&schema), ..input.clone() }, uses })
    }

    fn solver(&mut self, name: &At<String>) -> Option<SolverContract> {
        let found = self.contracts.solver(&name.value);
        if found.is_none() {
            let known = self.contracts.solvers();
            self.problems.push(name.at, format!("unknown solver `{}`", name.value), did_you_mean(&name.value, known.iter().map(String::as_str)));
        }
        found
    }

    pub(crate) fn optimize(&mut self, input: &Rows, o: &Optimize) -> Option<Made> {
        let before = self.problems.count();
        let mut uses = Uses::default();
        let key = self.key(input, &o.key, "key");
        if let Some(key) = &key {
            self.same_task(input, key, o.key.first().map_or(Pos::NONE, |k| k.at), "the key");
        }
        let entity = self.key(input, &o.entity, "entity column");
        let contract = self.solver(&o.solver);
        if let (Some(fallback), Some(main)) = (&o.fallback, &contract)
            && let Some(other) = self.solver(fallback)
        {
            self.needs(input, &other.inputs, fallback.at, &format!("solver `{}`", fallback.value));
            if engine_fields(&other.outputs) != engine_fields(&main.outputs) {
                self.problems.hint(
                    fallback.at,
                    format!("solvers `{}` and `{}` make different columns", o.solver.value, fallback.value),
                    "a fallback answers in place of the other: same columns",
                );
            }
        }
        let deleted = self.condition(input, o.deleted.as_ref(), &mut uses);
        let urgent = self.condition(input, o.trigger.urgent.as_ref(), &mut uses);
        let quiet = self.condition(input, o.trigger.quiet.as_ref(), &mut uses);
        let valid_until = self.instant(input, o.valid_until.as_ref(), &mut uses);
        let debounce_ms = o.trigger.debounce_ms.unwrap_or(defaults::DEBOUNCE_MS);
        let max_wait_ms = o.trigger.max_wait_ms.unwrap_or(defaults::MAX_WAIT_MS.max(debounce_ms));
        if max_wait_ms < debounce_ms {
            let words = format!("`max_wait` {} is shorter than `debounce` {}", format_ms(max_wait_ms), format_ms(debounce_ms));
            self.problems.hint(o.at, words, "a board is asked about after `max_wait` at the latest, even if it never becomes quiet");
        }
        let timeout_ms = o.timeout_ms.unwrap_or(defaults::SOLVE_TIMEOUT_MS);
        let budget_ms = o.budget_ms.unwrap_or(defaults::SOLVE_BUDGET_MS.min(timeout_ms));
        if budget_ms > timeout_ms {
            let words = format!("`budget` {} is longer than `timeout` {}", format_ms(budget_ms), format_ms(timeout_ms));
            self.problems.hint(o.at, words, "the solver must have ended before its call is given up");
        }
        let (key, entity, contract) = (key?, entity?, contract?);
        self.needs(input, &contract.inputs, o.solver.at, &format!("solver `{}`", o.solver.value));
        let outputs = engine_fields(&contract.outputs);
        let mut fields = Vec::new();
        for name in &key {
            fields.push(input.schema.field_with_name(name).ok()?.clone().with_nullable(false));
        }
        fields.extend(outputs.iter().cloned());
        fields.extend(optimize_columns());
        let schema = self.made_columns(fields, &o.solver);
        if self.problems.count() > before {
            return None;
        }
        match contract.inputs.is_empty() {
            true => uses.always.extend(input.names().map(str::to_string)),
            false => uses.always.extend(contract.inputs.iter().map(|(n, _)| n.clone())),
        }
        uses.always.extend(key.iter().chain(&entity).cloned());
        let spec = OptimizeSpec {
            solver: o.solver.value.clone(),
            fallback: o.fallback.as_ref().map(|f| f.value.clone()),
            key,
            entity,
            deleted,
            valid_until,
            ttl_ms: o.ttl_ms.unwrap_or(defaults::BOARD_TTL_MS),
            trigger: TriggerSpec {
                debounce_ms,
                max_wait_ms,
                at_most_every_ms: o.trigger.at_most_every_ms.unwrap_or(defaults::AT_MOST_EVERY_MS),
                urgent,
                quiet,
            },
            timeout_ms,
            budget_ms,
            iterations: o.iterations.and_then(|n| u64::try_from(n).ok()),
            retry_ms: o.retry_ms.unwrap_or(defaults::SOLVE_RETRY_MS),
            with: o.with.clone(),
            outputs: Arc::new(Schema::new(outputs)),
            max_rows: bound(o.max_rows, defaults::BOARD_ROWS),
            max_memo_bytes: bound(o.max_memo_bytes, defaults::MEMO_BYTES),
            max_calls: bound(o.max_calls, defaults::MAX_CALLS),
        };
        Some(Made { op: Some(OpSpec::Optimize(Box::new(spec))), rows: Rows { schema: batch::with_system(&schema), ..input.clone() }, uses })
    }
}
