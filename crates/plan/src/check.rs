//! From a [`File`] to the pieces of a `Topology`: what everything refers to, with types. This file resolves sources and
//! tables and holds what all checks share; stages and sinks have files of their own.

use crate::contracts::{Contracts, TopicContract, engine_schema, type_word};
use crate::defaults;
use crate::errors::{Problems, did_you_mean};
use crate::expr::Planner;
use crate::file::{FutureRule, LatenessRule, Source, Table, Wait};
use crate::yaml::{At, Pos};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use std::collections::BTreeSet;
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::spec::{FutureSpec, InputSpec, Lateness, TableSpec, TimeSpec};

/// What checks need: contracts, the expression planner, and where to put problems.
pub struct Check<'a> {
    /// Contracts of topics and models.
    pub contracts: &'a dyn Contracts,
    /// Plans expressions.
    pub planner: &'a Planner,
    /// Collects what is wrong.
    pub problems: &'a mut Problems,
}

/// What is known about the rows behind a source or a stage.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Columns, system columns first.
    pub schema: SchemaRef,
    /// Columns that still hold the key by which rows are spread over tasks; `None` when that is not known.
    pub key: Option<Vec<String>>,
    /// False when problems were found before: then complaints about columns would be noise.
    pub sound: bool,
}

impl Rows {
    /// Rows about which nothing is known, behind something broken.
    pub fn unknown() -> Self {
        Rows { schema: batch::with_system(&Schema::empty()), key: None, sound: false }
    }
    /// Names of the user's columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        batch::user_fields(&self.schema).iter().map(|f| f.name().as_str())
    }
}

/// Key columns can be of these types.
pub fn can_be_key(t: &DataType) -> bool {
    matches!(t, DataType::Utf8 | DataType::Binary | DataType::Int64 | DataType::Boolean)
}

impl Check<'_> {
    /// A column of `schema` that must exist; with `of`, also have that type.
    pub fn column(&mut self, schema: &Schema, name: &At<String>, what: &str, of: Option<&DataType>) -> Option<DataType> {
        match schema.field_with_name(&name.value) {
            Ok(field) => {
                let found = field.data_type();
                if let Some(wanted) = of.filter(|w| *w != found) {
                    let hint = (*wanted == DataType::Int64).then(|| "times are integers, UTC milliseconds".to_string());
                    self.problems.push(name.at, format!("{what} `{}` is {}, not {}", name.value, type_word(found), type_word(wanted)), hint);
                    return None;
                }
                Some(found.clone())
            }
            Err(_) => {
                let known: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).filter(|n| !n.starts_with("__")).collect();
                self.problems.push(name.at, format!("unknown column `{}`", name.value), did_you_mean(&name.value, known));
                None
            }
        }
    }

    /// Key columns: they exist and have types that can be keys.
    pub fn key(&mut self, rows: &Rows, names: &[At<String>], what: &str) -> Option<Vec<String>> {
        if !rows.sound {
            return None;
        }
        let mut out = Vec::with_capacity(names.len());
        for name in names {
            let t = self.column(&rows.schema, name, what, None)?;
            if !can_be_key(&t) {
                self.problems.hint(
                    name.at,
                    format!("{what} `{}` is {}", name.value, type_word(&t)),
                    "keys are texts, integers, true/false or bytes: a fraction is never twice the same",
                );
                return None;
            }
            out.push(name.value.clone());
        }
        (!out.is_empty()).then_some(out)
    }

    /// State of one key must lie in one task: the columns must contain the key that spreads the rows.
    pub fn same_task(&mut self, rows: &Rows, key: &[String], at: Pos, what: &str) {
        let Some(spread) = &rows.key else { return };
        if spread.iter().any(|s| !key.contains(s)) {
            let spread = spread.join(", ");
            self.problems.hint(
                at,
                format!("{what} [{}] does not contain `{spread}`, by which the rows are spread over tasks", key.join(", ")),
                format!(
                    "rows of one group would be counted apart: add `{spread}`, put `rekey: …` before this stage, or read a topic that is keyed by the group"
                ),
            );
        }
    }

    fn contract(&mut self, topic: &At<String>) -> Option<TopicContract> {
        let found = self.contracts.topic(&topic.value);
        if found.is_none() {
            let topics = self.contracts.topics();
            let hint = did_you_mean(&topic.value, topics.iter().map(String::as_str));
            self.problems.push(topic.at, format!("no schema for topic `{}`", topic.value), hint);
        }
        found
    }

    /// A source. `keep`: columns that something uses; `None` before that is known.
    pub fn source(&mut self, id: &At<String>, source: &Source, keep: Option<&BTreeSet<String>>) -> Option<(InputSpec, Rows)> {
        let before = self.problems.count();
        let contract = self.contract(&source.topic)?;
        let full = engine_schema(&contract.schema);
        self.column(&full, &source.event_time, "event_time", Some(&DataType::Int64));
        let key = match &source.key {
            Some(key) => {
                self.column(&full, key, "key", None);
                if let Some(of_topic) = contract.key.as_ref().filter(|k| **k != key.value) {
                    self.problems.hint(
                        key.at,
                        format!("topic `{}` is keyed by `{of_topic}`, not `{}`", source.topic.value, key.value),
                        format!("key: {of_topic}"),
                    );
                }
                Some(key.value.clone())
            }
            None => contract.key.clone(),
        };
        let mut needs: BTreeSet<String> = [source.event_time.value.clone()].into();
        let future = match &source.future {
            Some(FutureRule::Off) => None,
            Some(FutureRule::Guard { against, tolerance_ms }) => {
                if let Some(c) = against {
                    self.column(&full, c, "against", Some(&DataType::Int64));
                    needs.insert(c.value.clone());
                }
                Some(FutureSpec { against: against.as_ref().map(|c| c.value.clone()), tolerance_ms: tolerance_ms.unwrap_or(defaults::FUTURE_TOLERANCE_MS) })
            }
            None => Some(FutureSpec { against: None, tolerance_ms: defaults::FUTURE_TOLERANCE_MS }),
        };
        let lateness = match &source.lateness {
            None | Some(LatenessRule::Watermark) => Lateness::Watermark,
            Some(LatenessRule::PerKey { allowed_ms, key: named }) => {
                let columns = match (named, &key) {
                    (Some(named), _) => {
                        for n in named {
                            self.column(&full, n, "lateness key", None);
                        }
                        named.iter().map(|n| n.value.clone()).collect()
                    }
                    (None, Some(key)) => vec![key.clone()],
                    (None, None) => {
                        self.problems.hint(
                            source.topic.at,
                            format!("source `{}` has lateness per key but no key", id.value),
                            "add `key: device_id` to the source",
                        );
                        Vec::new()
                    }
                };
                needs.extend(columns.iter().cloned());
                Lateness::PerKey { key: columns, allowed_ms: *allowed_ms }
            }
        };
        if self.problems.count() > before {
            return None;
        }
        let schema = restrict(&full, |name| keep.is_none_or(|k| k.contains(name)) || needs.contains(name));
        let time = TimeSpec {
            column: source.event_time.value.clone(),
            future,
            watermark_delay_ms: source.watermark_delay_ms.unwrap_or(defaults::WATERMARK_DELAY_MS),
            lateness,
        };
        // A row without event time has become a dead letter before any stage sees it.
        let visible = non_null(&schema, std::slice::from_ref(&source.event_time.value));
        let rows = Rows { schema: batch::with_system(&visible), key: key.map(|k| vec![k]), sound: true };
        let max_value_bytes = usize::try_from(source.max_value_bytes.unwrap_or(defaults::MAX_VALUE_BYTES)).unwrap_or(usize::MAX);
        let input = InputSpec {
            id: id.value.clone(),
            topic: Arc::from(source.topic.value.as_str()),
            schema,
            time,
            max_value_bytes,
            idle_after_ms: Wait::ms(source.idle_after, defaults::IDLE_AFTER_MS),
            max_skew_ms: Wait::ms(source.max_skew, defaults::MAX_SKEW_MS),
            rekeyed: None,
        };
        Some((input, rows))
    }

    /// A table. `taken`: columns that joins take; `None` before that is known.
    pub fn table(&mut self, id: &At<String>, table: &Table, taken: Option<&BTreeSet<String>>) -> Option<TableSpec> {
        let before = self.problems.count();
        let contract = self.contract(&table.topic)?;
        let full = engine_schema(&contract.schema);
        for key in &table.key {
            if let Some(t) = self.column(&full, key, "key", None).filter(|t| !can_be_key(t)) {
                self.problems.add(key.at, format!("key `{}` is {}", key.value, type_word(&t)));
            }
        }
        self.column(&full, &table.valid_from, "valid_from", Some(&DataType::Int64));
        if self.problems.count() > before {
            return None;
        }
        let key: Vec<String> = table.key.iter().map(|k| k.value.clone()).collect();
        let schema = restrict(&full, |name| taken.is_none_or(|t| t.contains(name)) || key.iter().any(|k| k == name) || table.valid_from.value == name);
        Some(TableSpec {
            id: id.value.clone(),
            topic: Arc::from(table.topic.value.as_str()),
            key,
            valid_from: table.valid_from.value.clone(),
            history_ms: table.history_ms.unwrap_or(defaults::HISTORY_MS),
            global: table.global,
            schema,
        })
    }
}

/// The columns of a schema whose names pass.
pub fn restrict(schema: &Schema, pass: impl Fn(&str) -> bool) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().filter(|f| pass(f.name())).cloned().collect();
    Arc::new(Schema::new(fields))
}

/// The schema with these columns never null.
pub fn non_null(schema: &Schema, names: &[String]) -> SchemaRef {
    let fields: Vec<_> =
        schema.fields().iter().map(|f| if names.contains(f.name()) { Arc::new(f.as_ref().clone().with_nullable(false)) } else { f.clone() }).collect();
    Arc::new(Schema::new(fields))
}
