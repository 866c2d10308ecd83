//! Contracts for tests, read from the Avro schemas of the repository: just enough Avro for records, nested ones included.

use crate::contracts::{Contracts, ModelContract, TopicContract};
use crate::plan::{Plan, load};
use crate::{PlanErrors, defaults};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use ws_stream::custom::CustomContract;
use ws_stream::solve::SolverContract;

/// The repository's root.
pub fn root() -> PathBuf {
    "../..".into()
}

/// Contracts from `schemas/`, and one model.
pub struct Schemas;

fn data_type(t: &Value) -> (DataType, bool) {
    match t {
        Value::String(s) => {
            let t = match s.as_str() {
                "int" => DataType::Int32,
                "long" => DataType::Int64,
                "float" => DataType::Float32,
                "double" => DataType::Float64,
                "boolean" => DataType::Boolean,
                "bytes" => DataType::Binary,
                _ => DataType::Utf8,
            };
            (t, s == "null")
        }
        Value::Array(branches) => {
            let found = branches.iter().find(|b| *b != "null").map(|b| data_type(b).0).unwrap();
            (found, branches.iter().any(|b| b == "null"))
        }
        Value::Object(o) => match (o.get("logicalType").and_then(Value::as_str), o["type"].as_str()) {
            (Some("timestamp-millis"), _) => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
            (_, Some("enum")) => (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), false),
            (_, Some("array")) => {
                let (item, null) = data_type(&o["items"]);
                (DataType::List(Arc::new(Field::new("item", item, null))), false)
            }
            (_, Some("record")) => (DataType::Struct(columns(&o["fields"]).into()), false),
            // Not visible to topologies.
            (_, Some("map")) => (DataType::Null, false),
            (_, Some(inner)) => data_type(&Value::String(inner.to_string())),
            _ => panic!("{t}"),
        },
        _ => panic!("{t}"),
    }
}

fn columns(fields: &Value) -> Vec<Field> {
    let field = |f: &Value| {
        let (t, nullable) = data_type(&f["type"]);
        Field::new(f["name"].as_str().unwrap(), t, nullable)
    };
    fields.as_array().unwrap().iter().map(field).collect()
}

/// The contract of an Avro record.
pub fn contract(json: &str) -> TopicContract {
    let schema: Value = serde_json::from_str(json).unwrap();
    let fields = schema["fields"].as_array().unwrap();
    let defaults = fields.iter().filter(|f| f.get("default").is_some()).map(|f| f["name"].as_str().unwrap().to_string()).collect();
    TopicContract { schema: Arc::new(Schema::new(columns(&schema["fields"]))), key: schema["key"].as_str().map(str::to_string), defaults }
}

impl Contracts for Schemas {
    fn topic(&self, topic: &str) -> Option<TopicContract> {
        let file = if topic.starts_with("dlq.") { "dlq".to_string() } else { topic.to_string() };
        std::fs::read_to_string(root().join(format!("schemas/{file}.avsc"))).ok().map(|json| contract(&json))
    }
    fn model(&self, model: &str) -> Option<ModelContract> {
        let levels = ["level_6h", "level_24h", "level_48h", "hours_to_full"].into_iter().flat_map(|l| ["p10", "p50", "p90"].map(|p| format!("{l}_{p}")));
        let outputs: Vec<Field> = levels.chain(["p_overflow".to_string()]).map(|n| Field::new(n, DataType::Float64, true)).collect();
        if matches!(model, "churn-risk" | "maintenance-risk") {
            let life = ["p10", "p50", "p90"].map(|p| Field::new(format!("remaining_life_h_{p}"), DataType::Float64, true));
            let mut outputs = vec![Field::new("risk", DataType::Float64, true), Field::new("horizon_days", DataType::Int64, true)];
            outputs.extend(life.into_iter().filter(|_| model == "maintenance-risk"));
            let driver = vec![
                Field::new("feature", DataType::Utf8, false),
                Field::new("contribution", DataType::Float64, false),
                Field::new("text", DataType::Utf8, true),
            ];
            outputs.push(Field::new("drivers", DataType::List(Arc::new(Field::new("item", DataType::Struct(driver.into()), false))), true));
            return Some(ModelContract { inputs: Vec::new(), outputs: Arc::new(Schema::new(outputs)) });
        }
        (model == "fill-forecast").then(|| ModelContract { inputs: vec![("filling_level".into(), DataType::Float64)], outputs: Arc::new(Schema::new(outputs)) })
    }
    fn topics(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(root().join("schemas"))
            .unwrap()
            .filter_map(|e| e.unwrap().file_name().to_str()?.strip_suffix(".avsc").map(str::to_string))
            .collect();
        names.sort();
        names
    }
    fn models(&self) -> Vec<String> {
        vec!["fill-forecast".into()]
    }
    fn operator(&self, operator: &str, with: &BTreeMap<String, String>) -> Option<Result<CustomContract, String>> {
        let outputs = Arc::new(Schema::new(vec![Field::new("smooth", DataType::Float64, true), Field::new("rows", DataType::Int64, false)]));
        let contract = CustomContract { inputs: vec![("filling_level".into(), DataType::Float64)], outputs };
        (operator == "smoothing").then(|| match with.get("over").map(|n| n.parse::<u32>()) {
            Some(Ok(_)) => Ok(contract),
            _ => Err("it needs `over`, a whole number".into()),
        })
    }
    fn solver(&self, solver: &str) -> Option<SolverContract> {
        let stop = DataType::Struct(vec![Field::new("container_id", DataType::Utf8, false), Field::new("at", DataType::Int64, false)].into());
        let mut outputs =
            vec![Field::new("cost", DataType::Float64, false), Field::new("stops", DataType::List(Arc::new(Field::new("item", stop, false))), false)];
        if solver == "other" {
            outputs.pop();
        }
        let inputs = vec![("filling_level".into(), DataType::Float64), ("device_id".into(), DataType::Utf8)];
        matches!(solver, "rounds" | "nearest" | "other").then(|| SolverContract { inputs, outputs: Arc::new(Schema::new(outputs)) })
    }
    fn operators(&self) -> Vec<String> {
        vec!["smoothing".into()]
    }
    fn solvers(&self) -> Vec<String> {
        vec!["rounds".into(), "nearest".into(), "other".into()]
    }
}

/// Loads a text against these contracts, without any environment.
pub fn plan(text: &str) -> Result<Plan, PlanErrors> {
    load("t.yaml", text, &Schemas, &|_| None)
}

/// A topology whose stages are given, reading bin.telemetry and writing JSON from stage `last`.
pub fn staged(stages: &str) -> String {
    format!(
        "topology: test\nsources:\n  readings: {{ topic: bin.telemetry, key: device_id, event_time: observed_at }}\ntables:\n  devices: {{ topic: ref.device, key: device_id, valid_from: valid_from, global: true }}\nstages:\n{stages}sinks:\n  out: {{ from: last, format: json }}\n"
    )
}

/// Error messages of a broken file.
pub fn errors(text: &str) -> String {
    match plan(text) {
        Ok(_) => "the file is accepted".to_string(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn the_reference_names_every_default() {
    let text = std::fs::read_to_string(root().join("docs/topology-reference.md")).unwrap();
    let f = crate::duration::format_ms;
    for (setting, value) in [
        ("watermark_delay", f(defaults::WATERMARK_DELAY_MS)),
        ("future.tolerance", f(defaults::FUTURE_TOLERANCE_MS)),
        ("idle_after", f(defaults::IDLE_AFTER_MS)),
        ("max_skew", f(defaults::MAX_SKEW_MS)),
        ("max_value_bytes", defaults::MAX_VALUE_BYTES.to_string()),
        ("history", f(defaults::HISTORY_MS)),
        ("dedup.keep", f(defaults::DEDUP_KEEP_MS)),
        ("window.at_most", f(defaults::SINCE_AT_MOST_MS)),
        ("window.panes", f(defaults::PANE_MS)),
        ("emit.give_up", f(defaults::GIVE_UP_MS)),
        ("infer.budget", f(defaults::INFER_BUDGET_MS)),
        ("infer.cache_age", f(defaults::CACHE_AGE_MS)),
        ("infer.batch", defaults::INFER_BATCH_ROWS.to_string()),
        ("infer.max_pending", defaults::MAX_PENDING_ROWS.to_string()),
        ("absence.give_up", f(defaults::GIVE_UP_MS)),
        ("absence.max_open", defaults::MAX_OPEN.to_string()),
        ("apply.max_state", defaults::STATE_BYTES.to_string()),
        ("optimize.ttl", f(defaults::BOARD_TTL_MS)),
        ("trigger.debounce", f(defaults::DEBOUNCE_MS)),
        ("trigger.max_wait", f(defaults::MAX_WAIT_MS)),
        ("trigger.at_most_every", f(defaults::AT_MOST_EVERY_MS)),
        ("optimize.timeout", f(defaults::SOLVE_TIMEOUT_MS)),
        ("optimize.budget", f(defaults::SOLVE_BUDGET_MS)),
        ("optimize.retry", f(defaults::SOLVE_RETRY_MS)),
        ("optimize.max_rows", defaults::BOARD_ROWS.to_string()),
        ("optimize.max_memo", defaults::MEMO_BYTES.to_string()),
        ("optimize.max_calls", defaults::MAX_CALLS.to_string()),
    ] {
        assert!(text.contains(&format!("| `{setting}` | {value} |")), "{setting} {value}");
    }
}
