//! Boards for tests: rows as JSON, and a small area with a truck.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{Clock, GreatCircle, Mode, Question, Settings, answer, judge};
use crate::plan::RuinRecreate;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use ws_stream::batch;
use ws_stream::nested::Column;

/// Rows with their event times; a column has the type of its values.
pub(crate) fn rows(all: &[(i64, Value)]) -> RecordBatch {
    let mut types: BTreeMap<String, DataType> = ["kind", "entity_id", "event_id"].map(|n| (n.to_string(), DataType::Utf8)).into();
    for (name, value) in all.iter().flat_map(|(_, v)| v.as_object().unwrap()) {
        let t = match value {
            Value::Null => continue,
            Value::Bool(_) => DataType::Boolean,
            Value::String(_) => DataType::Utf8,
            Value::Number(n) if n.is_f64() => DataType::Float64,
            Value::Number(_) => DataType::Int64,
            other => panic!("{other}"),
        };
        let known = types.entry(name.clone()).or_insert(t.clone());
        if *known == DataType::Int64 && t == DataType::Float64 {
            *known = t;
        }
    }
    let mut arrays = Vec::new();
    for (name, t) in &types {
        let mut column = Column::new(t).unwrap();
        for (_, row) in all {
            let fits = match row.get(name) {
                Some(Value::Bool(b)) => column.push_bool(*b),
                Some(Value::String(s)) => column.push_bytes(s.as_bytes()),
                Some(Value::Number(n)) if *t == DataType::Float64 => column.push_float(n.as_f64().unwrap()),
                Some(Value::Number(n)) => column.push_int(n.as_i64().unwrap()),
                _ => {
                    column.push_null();
                    true
                }
            };
            assert!(fits, "{name}: {row}");
        }
        arrays.push(column.finish().unwrap());
    }
    let schema = Schema::new(types.iter().map(|(n, t)| Field::new(n, t.clone(), true)).collect::<Vec<_>>());
    let n = all.len();
    let times = all.iter().map(|(t, _)| *t).collect();
    batch::assemble(&batch::with_system(&schema), times, (0..n as i64).collect(), vec![false; n], arrays).unwrap()
}

pub(crate) const AREA: &str = "north";
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Monday 2026-11-02, midnight UTC.
pub(crate) const MIDNIGHT_MS: i64 = 1_793_577_600_000;

/// A board under construction: the newest row of each entity, as the engine keeps it.
#[derive(Clone, Default)]
pub(crate) struct Day {
    entities: BTreeMap<(String, String), (i64, Value)>,
}

impl Day {
    /// Sites 600 m apart on two streets, each with a container that is `hours` from full; trucks from 06:00 to 14:00; a
    /// depot and a tip.
    pub(crate) fn new(trucks: usize, hours: &[f64]) -> Day {
        let mut day = Day::default();
        let at = MIDNIGHT_MS + 4 * HOUR_MS;
        day.put(at, json!({"kind": "facility", "entity_id": "depot", "category": "depot", "latitude_deg": 48.10, "longitude_deg": 11.50}));
        day.put(at, json!({"kind": "facility", "entity_id": "tip", "category": "disposal", "latitude_deg": 48.13, "longitude_deg": 11.56, "streams": "residual,glass,", "service_s": 600.0}));
        day.put(at, json!({"kind": "stream", "entity_id": "residual", "density_kg_per_l": 0.1}));
        day.put(at, json!({"kind": "cost", "entity_id": "overflow", "cost_minor": 6000.0, "currency": "EUR"}));
        for (n, hours) in hours.iter().enumerate() {
            let (site, container) = (format!("s{n}"), format!("c{n}"));
            let (latitude, longitude) = (48.11 + 0.004 * (n % 2) as f64, 11.50 + 0.008 * (n / 2) as f64);
            day.put(
                at,
                json!({"kind": "site", "entity_id": site, "latitude_deg": latitude, "longitude_deg": longitude, "time_zone": "UTC", "service_s": 120.0}),
            );
            day.put(at, json!({"kind": "container", "entity_id": container, "site_id": site, "waste_stream": "residual", "capacity_l": 1100.0}));
            day.forecast(at, n, *hours);
        }
        for n in 0..trucks {
            day.truck(at, &format!("v{n}"), json!({}));
        }
        day
    }

    pub(crate) fn put(&mut self, at_ms: i64, mut row: Value) {
        let text = |n: &str| row[n].as_str().unwrap_or_default().to_string();
        let key = (text("kind"), text("entity_id"));
        let event = format!("{}-{}-{}", key.0, key.1, at_ms - MIDNIGHT_MS);
        let fields = row.as_object_mut().unwrap();
        fields.entry("event_id").or_insert(event.into());
        fields.entry("tenant").or_insert("t".into());
        if self.entities.get(&key).is_none_or(|(t, _)| *t <= at_ms) {
            self.entities.insert(key, (at_ms, row));
        }
    }

    pub(crate) fn forecast(&mut self, at_ms: i64, n: usize, hours: f64) {
        let level = (1.0 - hours / 100.0).clamp(0.05, 0.99);
        self.put(
            at_ms,
            json!({"kind": "forecast", "entity_id": format!("c{n}"), "container_id": format!("c{n}"), "site_id": format!("s{n}"), "filling_level": level,
                "level_6h_p50": level + 0.06, "level_6h_p90": level + 0.1, "level_24h_p50": level + 0.24, "level_24h_p90": level + 0.4,
                "hours_to_full_p10": hours * 0.7, "hours_to_full_p50": hours, "hours_to_full_p90": hours * 1.5}),
        );
    }

    /// A truck as `duty` tells it; `with` overrides.
    pub(crate) fn truck(&mut self, at_ms: i64, id: &str, with: Value) {
        let mut row = json!({"kind": "vehicle", "entity_id": id, "in_service": true, "length_m": 8.0, "payload_kg": 4000.0, "volume_l": 40000.0,
            "streams": "residual,", "skills": "", "shift_id": format!("{id}-early"), "depot_id": "depot", "shift_from": MIDNIGHT_MS + 6 * HOUR_MS,
            "shift_to": MIDNIGHT_MS + 14 * HOUR_MS, "break_ms": 1_800_000, "break_from": MIDNIGHT_MS + 9 * HOUR_MS, "break_to": MIDNIGHT_MS + 11 * HOUR_MS});
        row.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        self.put(at_ms, row);
    }

    pub(crate) fn served(&mut self, at_ms: i64, vehicle: &str, n: usize) {
        self.put(
            at_ms,
            json!({"kind": "collection", "entity_id": format!("{vehicle}/c{n}"), "site_id": format!("s{n}"), "vehicle_id": vehicle, "status": "served",
                "load_kg": 80.0, "load_l": 800.0, "service_s": 120.0}),
        );
    }

    pub(crate) fn decide(&mut self, at_ms: i64, id: &str, kind: &str, version: i64, with: Value) {
        let mut row =
            json!({"kind": "decision", "entity_id": id, "event_id": id, "plan_id": format!("{AREA}-2026-11-02"), "plan_version": version, "decision": kind});
        row.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        self.put(at_ms, row);
    }

    pub(crate) fn remove(&mut self, kind: &str, id: &str) {
        self.entities.remove(&(kind.to_string(), id.to_string())).expect("it is there");
    }

    pub(crate) fn rows(&self) -> RecordBatch {
        rows(&self.entities.values().cloned().collect::<Vec<_>>())
    }
}

/// What an answer publishes, as JSON, with the memo; judged before it is handed out, as the engine does.
pub(crate) struct Said {
    pub rows: Vec<Value>,
    pub memo: Vec<u8>,
}

impl Said {
    pub(crate) fn of(&self, kind: &str) -> Vec<&Value> {
        self.rows.iter().filter(|r| r["row_kind"] == kind).collect()
    }
    pub(crate) fn plan(&self) -> &Value {
        let plans = self.of("plan");
        assert_eq!(plans.len(), 1, "{plans:?}");
        plans[0]
    }
    /// Sites of a route (all routes for an empty name), in order.
    pub(crate) fn sites(&self, vehicle: &str) -> Vec<String> {
        let routes = self.plan()["routes"].as_array().unwrap().iter().filter(|r| vehicle.is_empty() || r["vehicle_id"] == vehicle);
        routes.flat_map(|r| r["stops"].as_array().unwrap()).filter_map(|s| s["site_id"].as_str().map(str::to_owned)).collect()
    }
    pub(crate) fn skipped(&self, reason: &str) -> Vec<String> {
        self.plan()["skipped"].as_array().unwrap().iter().filter(|s| s["reason"] == reason).map(|s| s["site_id"].as_str().unwrap().to_owned()).collect()
    }
    pub(crate) fn problems(&self) -> Vec<String> {
        self.of("problem").iter().map(|p| format!("{} {}", p["code"].as_str().unwrap(), p["entity_id"].as_str().unwrap())).collect()
    }
}

pub(crate) fn automatic() -> Settings {
    Settings { automatic: true, ..Settings::default() }
}

/// Answers a board in 200 steps and has the answer judged.
pub(crate) fn ask(day: &Day, memo: &[u8], settings: &Settings) -> Said {
    let clock = || 0;
    let search = RuinRecreate::default();
    ask_as(day, memo, settings, Mode::Search(&search, Clock { now_ms: &clock, budget_ms: 1_000, iterations: Some(200) }))
}

pub(crate) fn ask_as(day: &Day, memo: &[u8], settings: &Settings, mode: Mode<'_>) -> Said {
    let rows = day.rows();
    let question = Question { rows: &rows, memo, settings, hint_ms: 0, area: AREA, roads: &GreatCircle, seed: 7 };
    let answered = answer(&question, mode).unwrap_or_else(|e| panic!("{e}"));
    judge(&rows, &rows, memo, &answered.rows, &answered.memo, AREA, &GreatCircle).unwrap_or_else(|(code, why)| panic!("{code}: {why}"));
    Said { rows: to_json(&answered.rows), memo: answered.memo }
}

/// Rows as JSON objects.
pub(crate) fn to_json(rows: &RecordBatch) -> Vec<Value> {
    (0..rows.num_rows())
        .map(|i| {
            rows.schema().fields().iter().zip(rows.columns()).map(|(f, c)| (f.name().clone(), value(c.as_ref(), i))).collect::<serde_json::Map<_, _>>().into()
        })
        .collect()
}

fn value(column: &dyn Array, i: usize) -> Value {
    if column.is_null(i) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(i).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(i).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(i).into(),
        DataType::Boolean => column.as_boolean().value(i).into(),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(i);
            (0..items.len()).map(|j| value(items.as_ref(), j)).collect::<Vec<_>>().into()
        }
        DataType::Struct(_) => {
            let record = column.as_struct();
            record.fields().iter().zip(record.columns()).map(|(f, c)| (f.name().clone(), value(c.as_ref(), i))).collect::<serde_json::Map<_, _>>().into()
        }
        other => panic!("{other}"),
    }
}
