//! The `infer` stage: a model, the ladder below it, and the columns that both add.

use crate::check::{Check, Rows};
use crate::contracts::engine_type;
use crate::defaults;
use crate::errors::did_you_mean;
use crate::file::Op;
use crate::stages::{Made, Uses};
use crate::yaml::Pos;
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::BTreeSet;
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::spec::{InferSpec, OpSpec, Rung};

impl Check<'_> {
    pub(crate) fn infer(&mut self, input: &Rows, op: &Op) -> Option<Made> {
        let Op::Infer { model, key, ladder, budget_ms, cache_age_ms, batch_rows, max_pending_rows } = op else {
            return None;
        };
        let before = self.problems.count();
        let at = key.first().map_or(Pos::NONE, |k| k.at);
        let key = self.key(input, key, "key")?;
        self.same_task(input, &key, at, "the key");
        let mut rungs = Vec::new();
        for word in ladder {
            match [Rung::Cached, Rung::Heuristic].into_iter().find(|r| r.name() == word.value) {
                Some(rung) if rungs.contains(&rung) => self.problems.add(word.at, format!("rung `{}` is written twice", word.value)),
                Some(rung) => rungs.push(rung),
                None if word.value == "model" => {
                    self.problems.hint(word.at, "`model` is not part of the ladder", "the model is always asked first; the ladder is what comes below it")
                }
                None if matches!(word.value.as_str(), "simplified" | "manual") => {
                    self.problems.hint(word.at, format!("the rung `{}` is not available yet", word.value), "one of `cached`, `heuristic`")
                }
                None => self.problems.push(word.at, format!("unknown rung `{}`", word.value), did_you_mean(&word.value, ["cached", "heuristic"])),
            }
        }
        let Some(contract) = self.contracts.model(&model.value) else {
            let models = self.contracts.models();
            self.problems.push(model.at, format!("unknown model `{}`", model.value), did_you_mean(&model.value, models.iter().map(String::as_str)));
            return None;
        };
        self.needs(input, &contract.inputs, model.at, &format!("model `{}`", model.value));
        let (batch_size, pending) =
            (batch_rows.as_ref().map_or(defaults::INFER_BATCH_ROWS, |b| b.value), max_pending_rows.as_ref().map_or(defaults::MAX_PENDING_ROWS, |p| p.value));
        if batch_size > pending {
            self.problems.hint(
                max_pending_rows.as_ref().or(batch_rows.as_ref()).map_or(at, |v| v.at),
                format!("max_pending {pending} is smaller than batch {batch_size}"),
                "a batch must fit into what may be pending",
            );
        }
        let mut fields: Vec<Arc<Field>> = batch::user_fields(&input.schema).to_vec();
        let own = [
            ("rung", DataType::Utf8),
            ("model_version", DataType::Utf8),
            ("feature_hash", DataType::Utf8),
            ("age_ms", DataType::Int64),
            ("prediction_id", DataType::Utf8),
        ];
        let outputs: Vec<Field> = contract.outputs.fields().iter().filter_map(|f| engine_type(f.data_type()).map(|t| Field::new(f.name(), t, true))).collect();
        let added: Vec<Field> = outputs.iter().cloned().chain(own.map(|(n, t)| Field::new(n, t, false))).collect();
        for field in &added {
            if fields.iter().any(|f| f.name() == field.name()) {
                self.problems.hint(
                    model.at,
                    format!("the rows already have a column `{}`, which this stage adds", field.name()),
                    "leave it out in the stage before",
                );
            }
            fields.push(Arc::new(field.clone()));
        }
        if self.problems.count() > before {
            return None;
        }
        let always = if contract.inputs.is_empty() {
            input.names().map(str::to_string).collect()
        } else {
            contract.inputs.iter().map(|(n, _)| n.clone()).collect::<BTreeSet<_>>()
        };
        let uses = Uses {
            always: always.into_iter().chain(key.iter().cloned()).collect(),
            passes: true,
            makes: added.iter().map(|f| f.name().clone()).collect(),
            takes: Vec::new(),
        };
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
