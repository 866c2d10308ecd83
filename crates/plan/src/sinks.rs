//! Outputs: what arrives at a sink must fit its topic's contract. Columns that the contract does not know stay behind;
//! `explain` lists them.

use crate::check::{Check, Rows};
use crate::contracts::{engine_schema, fits, type_word};
use crate::errors::did_you_mean;
use crate::file::Sink;
use crate::yaml::At;
use arrow::datatypes::{DataType, Schema};
use std::collections::BTreeSet;
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::nested::is_nested;
use ws_stream::spec::{From, SinkFormat, SinkSpec};

/// A checked sink.
#[derive(Debug)]
pub struct MadeSink {
    /// For the engine.
    pub spec: SinkSpec,
    /// Columns it uses.
    pub reads: BTreeSet<String>,
    /// Columns that the contract does not know and that are left out.
    pub left_out: Vec<String>,
}

impl Check<'_> {
    /// Checks a sink over the rows of its stages.
    pub fn sink(&mut self, topic: &At<String>, sink: &Sink, from: Vec<From>, rows: &Rows) -> Option<MadeSink> {
        let before = self.problems.count();
        let contract = self.contracts.topic(&topic.value);
        let contract_schema = contract.as_ref().map(|c| engine_schema(&c.schema));
        if contract.is_none() && !sink.json {
            let topics = self.contracts.topics();
            let hint = did_you_mean(&topic.value, topics.iter().map(String::as_str)).unwrap_or_default();
            self.problems.hint(
                topic.at,
                format!("no schema for topic `{}`", topic.value),
                format!("{hint}{}without a schema only `format: json` is possible", if hint.is_empty() { "" } else { " " }),
            );
        }
        if !rows.sound {
            return None;
        }
        for header in &sink.headers {
            if let Some(t) = self.column(&rows.schema, header, "header", None).filter(|t| *t == DataType::Binary || *t == DataType::Float64 || is_nested(t)) {
                self.problems.hint(header.at, format!("header `{}` is {}", header.value, type_word(&t)), "headers are texts, integers, true/false");
            }
        }
        let key = match &sink.key {
            Some(key) => self.key(rows, std::slice::from_ref(key), "key").and_then(|k| k.into_iter().next()),
            None => contract.as_ref().and_then(|c| c.key.clone()).filter(|k| rows.schema.index_of(k).is_ok()),
        };
        if let (Some(named), Some(of_topic)) = (&sink.key, contract.as_ref().and_then(|c| c.key.as_ref()))
            && named.value != *of_topic
        {
            self.problems.hint(named.at, format!("topic `{}` is keyed by `{of_topic}`, not `{}`", topic.value, named.value), format!("key: {of_topic}"));
        }
        if let Some(t) = key.as_ref().and_then(|k| rows.schema.field_with_name(k).ok()).map(|f| f.data_type().clone()).filter(|t| *t != DataType::Utf8) {
            let at = sink.key.as_ref().map_or(sink.at, |k| k.at);
            self.problems.hint(
                at,
                format!("the key of `{}` is {}", topic.value, type_word(&t)),
                "message keys are texts: CAST(… AS VARCHAR) in the stage's `select`",
            );
        }
        let headers: Vec<String> = sink.headers.iter().map(|h| h.value.clone()).collect();
        let value: Vec<String> = rows
            .names()
            // A JSON value is what its headers leave; an Avro value is what its contract says.
            .filter(|n| !sink.json || !headers.iter().any(|h| h == n))
            .map(str::to_string)
            .collect();
        let (mut reads, mut left_out) = (BTreeSet::new(), Vec::new());
        match (&contract_schema, sink.json) {
            (Some(schema), false) => {
                let defaults = contract.as_ref().map(|c| c.defaults.clone()).unwrap_or_default();
                self.fits(topic, sink, rows, schema, &defaults);
                for name in value {
                    if schema.index_of(&name).is_ok() {
                        reads.insert(name);
                    } else {
                        left_out.push(name);
                    }
                }
            }
            _ => reads.extend(value),
        }
        reads.extend(headers.iter().cloned());
        reads.extend(key.clone());
        if self.problems.count() > before {
            return None;
        }
        let format = if sink.json { SinkFormat::Json } else { SinkFormat::Avro };
        Some(MadeSink {
            spec: SinkSpec { topic: Arc::from(topic.value.as_str()), from, key, format, header_columns: headers, lineage: sink.lineage },
            reads,
            left_out,
        })
    }

    fn fits(&mut self, topic: &At<String>, sink: &Sink, rows: &Rows, contract: &Schema, defaults: &[String]) {
        let at = sink.from.first().map_or(sink.at, |f| f.at);
        for field in contract.fields() {
            let name = field.name();
            let optional = field.is_nullable() || defaults.contains(name);
            let found = batch::user_fields(&rows.schema).iter().find(|f| f.name() == name);
            match found {
                None if optional => {}
                None => {
                    let near = did_you_mean(name, rows.names()).filter(|h| h.starts_with("did you mean")).map(|h| format!("; {h}")).unwrap_or_default();
                    self.problems.hint(
                        at,
                        format!("`{}` needs a column `{name}` ({}), which does not arrive", topic.value, type_word(field.data_type())),
                        format!("add it to the `select` of the stage{near}"),
                    );
                }
                Some(f) if !fits(f.data_type(), field.data_type()) => {
                    let cast = match field.data_type() {
                        DataType::Float64 => "CAST(… AS DOUBLE)",
                        DataType::Int64 => "CAST(… AS BIGINT)",
                        DataType::Utf8 => "CAST(… AS VARCHAR)",
                        DataType::Boolean => "a comparison",
                        _ => "another expression",
                    };
                    self.problems.hint(
                        at,
                        format!("`{}` has `{name}` as {}, what arrives is {}", topic.value, type_word(field.data_type()), type_word(f.data_type())),
                        format!("make it {cast} in the stage's `select`"),
                    );
                }
                Some(f) if f.is_nullable() && !field.is_nullable() => {
                    self.problems.hint(
                        at,
                        format!("`{}` needs a value in `{name}`, what arrives may be null", topic.value),
                        format!("`coalesce({name}, …)`, or a `where: {name} IS NOT NULL` before"),
                    );
                }
                Some(_) => {}
            }
        }
    }
}
