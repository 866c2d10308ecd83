//! The scenario with a `rekey`: ticks of devices, each in a zone, are put under the zone's key and counted there with
//! alarms that are keyed by zone already. Two slices, each with tasks, state and transactions of its own:
//!
//! ```text
//! tick → once → scored (infer, so that rows wait) → by_zone (rekey)                              slice zones
//!   by_zone ┬→ all (union) → limited (own table by zone) ┬→ sim.passed, one row per accepted record
//!   alarm  ─┘          │                                 └→ per_minute (window) → sim.zone    slice zones.by_zone
//!                      └→ calls, quiet (absence, see `zone_calls`)                → sim.call, sim.quiet
//! ```
//!
//! Rows of one device stay in order through the repartition topic; those of a zone come from many tasks in any order,
//! so its window adds whole numbers. A row that re-keying made late would be missing there and have a dead letter.

use crate::meter::{MeterEdge, column, extended, fields, named, predict};
use crate::rng::Rng;
use crate::scenario::{Expected, Feed, Letter, Scenario, Slice};
use crate::workload::{SPEED, START_MS, Size, read_letters, read_rows};
use crate::zone_calls::{self, CALL, Heard, QUIET};
use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::{DataType, SchemaRef};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ws_stream::batch::with_system;
use ws_stream::log::TopicSpec;
use ws_stream::op::infer::stage_columns;
use ws_stream::partition::partition_of;
use ws_stream::records::Appends;
use ws_stream::repartition::{format_hash, repartition_topic};
use ws_stream::spec::{
    AggCall, AggFn, From, InferSpec, InputSpec, Lateness, Missing, OpSpec, Otherwise, RekeySpec, Rekeyed, Rung, SinkFormat, SinkSpec, StageSpec, TableSpec,
    TimeSpec, Topology, WindowSpec,
};

/// Ticks, keyed by device.
pub const TICK: &str = "sim.tick";
/// Alarms, keyed by zone.
pub const ALARM: &str = "sim.alarm";
/// Limits by zone: a table that is partitioned as the alarms are.
pub const LIMIT: &str = "sim.limit";
/// Sink with one row per accepted record.
pub const PASSED: &str = "sim.passed";
/// Sink with a row per zone and minute.
pub const ZONE: &str = "sim.zone";
/// Dead letters of both slices.
pub const DEAD: &str = "dlq.zones";

const DEVICES: u64 = 30;
const ZONES: u64 = 7;
/// Partitions of everything that is keyed by zone: another number than that of devices.
const ZONE_TASKS: u32 = 3;
/// Watermarks stay this far behind, ms of event time.
const DELAY_MS: i64 = 20_000;
/// An input without rows for this long is idle, ms of processing time: longer than any pause of the feeds.
const IDLE_MS: i64 = 4_000;

fn columns() -> SchemaRef {
    use DataType::{Float64, Int64, Utf8};
    fields(&[("id", Utf8), ("device", Utf8), ("zone", Utf8), ("at", Int64), ("n", Float64)])
}

fn input(id: &str, topic: &str) -> InputSpec {
    InputSpec {
        id: id.into(),
        topic: topic.into(),
        schema: columns(),
        time: TimeSpec { column: "at".into(), future: None, watermark_delay_ms: DELAY_MS, lateness: Lateness::Watermark },
        max_value_bytes: 4096,
        idle_after_ms: Some(IDLE_MS),
        max_skew_ms: Some(90_000),
        rekeyed: None,
    }
}

fn stage(id: &str, from: Vec<From>, op: OpSpec, schema: SchemaRef) -> StageSpec {
    StageSpec { id: id.to_string(), from, op, schema }
}

fn sink(topic: &str, stage: usize, key: &str) -> SinkSpec {
    SinkSpec { topic: topic.into(), from: vec![From::Stage(stage)], key: Some(key.into()), format: SinkFormat::Json, header_columns: Vec::new(), lineage: true }
}

/// The slice by device.
fn by_device() -> Topology {
    let rows = with_system(&columns());
    let outputs = fields(&[("hours", DataType::Float64)]);
    let mut scored: Vec<_> = rows.fields().iter().cloned().collect();
    scored.extend(outputs.fields().iter().cloned());
    scored.extend(stage_columns().into_iter().map(Arc::new));
    let infer = InferSpec {
        model: "zones".into(),
        key: vec!["device".into()],
        outputs,
        ladder: vec![Rung::Cached],
        budget_ms: 250,
        cache_age_ms: 300_000,
        batch_rows: 8,
        max_pending_rows: 500,
    };
    let stages = vec![
        stage("once", vec![From::Input(0)], OpSpec::Dedup { key: vec!["device".into()], id: vec!["id".into()], keep_ms: 600_000 }, rows),
        stage("scored", vec![From::Stage(0)], OpSpec::Infer(infer), Arc::new(arrow::datatypes::Schema::new(scored))),
    ];
    let rekey = RekeySpec {
        id: "by_zone".into(),
        from: vec![From::Stage(1)],
        topic: repartition_topic("zones", "by_zone"),
        partitions: None,
        key: "zone".into(),
        schema: columns(),
        format_hash: format_hash("zone", &columns(), &[TICK.into()]),
    };
    Topology {
        name: "zones".into(),
        state_hash: 0x7a6f_6e65_0001,
        inputs: vec![input("ticks", TICK)],
        tables: Vec::new(),
        stages,
        sinks: Vec::new(),
        dead_letters: DEAD.into(),
        dead_format: SinkFormat::Json,
        models: vec!["zones".into()],
        rekeys: vec![rekey],
    }
}

/// The slice by zone.
fn by_zone(first: &Topology) -> Topology {
    let rekey = &first.rekeys[0];
    let mut read = input("by_zone.read", &rekey.topic);
    read.idle_after_ms = None;
    read.rekeyed = Some(Rekeyed { format_hash: rekey.format_hash, origins: first.origins(), counted_by: TICK.into() });
    let rows = with_system(&columns());
    let limited = extended(&rows, &[("limit", DataType::Float64)]);
    let sums = [("zone", DataType::Utf8), ("from", DataType::Int64), ("rows", DataType::Int64), ("sum", DataType::Float64)];
    let call = |function, arg: &'static str| AggCall { function, arg: (function != AggFn::Count).then(|| named(arg, DataType::Float64)), horizon_ms: None };
    let window = OpSpec::Window {
        group_by: vec!["zone".into()],
        window: WindowSpec { size_ms: 60_000, slide_ms: 60_000 },
        calls: vec![call(AggFn::Count, ""), call(AggFn::Sum, "n")],
        columns: vec![
            column("zone", "zone", DataType::Utf8),
            column("from", "window_start", DataType::Int64),
            column("rows", "agg0", DataType::Int64),
            column("sum", "agg1", DataType::Float64),
        ],
    };
    let mut stages = vec![
        stage("all", vec![From::Input(1), From::Input(0)], OpSpec::Select { filter: None, otherwise: Otherwise::Drop, columns: None }, rows.clone()),
        stage(
            "limited",
            vec![From::Stage(0)],
            OpSpec::Join { table: 0, on: vec!["zone".into()], columns: vec![(1, "limit".into())], missing: Missing::Unmatched("unknown_zone".into()) },
            limited,
        ),
        stage("per_minute", vec![From::Stage(1)], window, with_system(&fields(&sums))),
    ];
    let noted = stages.len();
    stages.extend(zone_calls::stages(From::Stage(0), noted, &rows));
    Topology {
        name: "zones.by_zone".into(),
        state_hash: 0x7a6f_6e65_0002,
        inputs: vec![input("alarms", ALARM), read],
        tables: vec![TableSpec {
            id: "limits".into(),
            topic: LIMIT.into(),
            key: vec!["zone".into()],
            valid_from: "valid_from".into(),
            history_ms: 90 * 86_400_000,
            global: false,
            schema: fields(&[("zone", DataType::Utf8), ("limit", DataType::Float64), ("valid_from", DataType::Int64)]),
        }],
        stages,
        sinks: vec![sink(PASSED, 1, "device"), sink(ZONE, 2, "zone"), sink(CALL, noted + 1, "zone"), sink(QUIET, noted + 2, "zone")],
        dead_letters: DEAD.into(),
        dead_format: SinkFormat::Json,
        models: Vec::new(),
        rekeys: Vec::new(),
    }
}

/// The scenario of a seed.
pub fn zone_scenario(seed: u64, size: Size) -> Scenario {
    let mut rng = Rng::derive(seed, "data");
    let topic = |name: &str, partitions: u32| TopicSpec { name: name.into(), partitions, config: Vec::new() };
    let mut topics = vec![topic(TICK, size.tasks), topic(ALARM, ZONE_TASKS), topic(LIMIT, ZONE_TASKS)];
    topics.extend([PASSED, ZONE, CALL, QUIET, DEAD].into_iter().map(|t| topic(t, 2)));
    let mut limits = Appends::new(LIMIT.into());
    for z in 0..ZONES {
        let zone = format!("z{z}");
        let v = json!({"zone": zone, "limit": z as f64, "valid_from": START_MS - 86_400_000});
        limits.push(partition_of(zone.as_bytes(), ZONE_TASKS), START_MS, Some(zone.as_bytes()), Some(v.to_string().as_bytes()), &[]);
    }
    // One zone for each partition, so that no partition of alarms is ever without news for long.
    let regular: Vec<u64> = (0..ZONE_TASKS).filter_map(|p| (0..ZONES).find(|z| partition_of(format!("z{z}").as_bytes(), ZONE_TASKS) == p)).collect();

    // No two rows happen at the same time: which one comes first is nothing that rules could know.
    let mut used = BTreeSet::new();
    let mut unused = |mut at: i64| {
        while !used.insert(at) {
            at -= 1;
        }
        at
    };
    let (mut rules, mut feeds, mut now, mut recent) = (Rules::default(), Vec::new(), 0i64, Vec::<(String, Option<String>)>::new());
    for n in 0..size.readings {
        now += rng.range(0, 2 * size.over_ms / i64::from(size.readings.max(1)));
        let event = START_MS + now * SPEED;
        let mut feed = |topic: &str, key: &str, value: &str, partitions: u32, aborted: bool, rules: &mut Rules| {
            let partition = partition_of(key.as_bytes(), partitions);
            let mut a = Appends::new(topic.into());
            a.push(partition, START_MS + now, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
            rules.take(topic, partition, value, aborted);
            feeds.push(Feed { at_ms: START_MS + now, appends: vec![a], aborted });
        };
        if n % 8 == 0 {
            let zone = regular[(n / 8) as usize % regular.len()];
            let lag = if rng.chance(0.1) { rng.range(DELAY_MS, 4 * DELAY_MS) } else { rng.range(0, 5_000) };
            let v = json!({"id": format!("a{n}"), "device": format!("alarm-{zone}"), "zone": format!("z{zone}"), "at": unused(event - lag), "n": 1000.0});
            feed(ALARM, &format!("z{zone}"), &v.to_string(), ZONE_TASKS, false, &mut rules);
            continue;
        }
        // A device stays in its zone: only then is there an order for its rows to keep.
        let number = rng.below(DEVICES);
        let device = format!("d{number}");
        let (device, value) = match rng.below(50) {
            0 => (device, None),
            1..=3 if !recent.is_empty() => recent[rng.below(recent.len() as u64) as usize].clone(),
            roll => {
                let lag = match roll {
                    4..=6 => rng.range(DELAY_MS, 5 * DELAY_MS),
                    _ => rng.range(0, DELAY_MS - 6_000),
                };
                // The last zone is in no table; a device without a zone has no new key.
                let zone = match roll {
                    7 => json!(format!("z{ZONES}")),
                    8 => json!(null),
                    _ => json!(format!("z{}", number % ZONES)),
                };
                let v = json!({"id": format!("r{n}"), "device": device, "zone": zone, "at": unused(event - lag), "n": rng.below(10) as f64});
                (device, Some(v.to_string()))
            }
        };
        recent.push((device.clone(), value.clone()));
        if recent.len() > 20 {
            recent.remove(0);
        }
        let aborted = rng.chance(0.01);
        feed(TICK, &device, value.as_deref().unwrap_or("{\"id\": \"half"), size.tasks, aborted, &mut rules);
    }
    let first = by_device();
    let second = by_zone(&first);
    Scenario {
        slices: vec![Slice { topology: Arc::new(first), tasks: size.tasks }, Slice { topology: Arc::new(second), tasks: ZONE_TASKS }],
        edge: Arc::new(MeterEdge),
        topics,
        start_ms: START_MS,
        before: vec![limits],
        feeds,
        model: Arc::new(|_, rows| {
            // The meter's model wants a level and a slope; here there is a number.
            let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0; rows.num_rows()]));
            let with = |r: &arrow::array::RecordBatch| {
                let schema = extended(&r.schema(), &[("level", DataType::Float64), ("slope", DataType::Float64)]);
                let columns = r.columns().iter().cloned().chain([zeros.clone(), zeros.clone()]).collect();
                arrow::array::RecordBatch::try_new(schema, columns)
            };
            let rows = with(rows).map_err(|e| ws_stream::predict::PredictError { predictor: "zones".into(), message: e.to_string() })?;
            predict(&rows, 0.0)
        }),
        model_version: "model-7".into(),
        read_rows: Arc::new(read_rows),
        read_letters: Arc::new(read_letters),
        told: zone_calls::judged(&rules.heard, rules.sure_ms()),
        expected: rules.expected,
        solver: None,
        spoil: None,
        decided: None,
        settle_ms: 0,
    }
}

/// The rules in the plainest form: which record is accepted, which one ends where.
#[derive(Default)]
struct Rules {
    offsets: BTreeMap<(String, u32), i64>,
    newest: BTreeMap<(String, u32), i64>,
    ids: BTreeSet<String>,
    heard: Vec<Heard>,
    expected: Expected,
}

impl Rules {
    /// By then at least the watermarks of all tasks have come, however their inputs end.
    fn sure_ms(&self) -> i64 {
        self.newest.values().min().map_or(i64::MIN, |newest| newest - 2 * DELAY_MS)
    }

    fn take(&mut self, topic: &str, partition: u32, value: &str, aborted: bool) {
        let next = self.offsets.entry((topic.to_string(), partition)).or_default();
        let offset = *next;
        *next += if aborted { 2 } else { 1 };
        self.expected.sink = Some(PASSED.into());
        self.expected.letter_stages = ["ticks", "alarms", "by_zone", "by_zone.read", "limited", "per_minute"].map(String::from).to_vec();
        if aborted {
            return;
        }
        let source = if topic == TICK { "ticks" } else { "alarms" };
        let mut refuse = |stage: &str, reason: &str| {
            self.expected.letters.push(Letter { partition, offset, stage: stage.into(), reason: reason.into() });
        };
        let Ok(o) = serde_json::from_str::<serde_json::Value>(value) else {
            return refuse(source, "undecodable");
        };
        let at = o["at"].as_i64().unwrap_or_default();
        let newest = self.newest.entry((topic.to_string(), partition)).or_insert(at);
        if at < *newest - DELAY_MS {
            return refuse(source, "too_late");
        }
        *newest = (*newest).max(at);
        if topic == TICK && !self.ids.insert(o["id"].as_str().unwrap_or_default().to_string()) {
            return;
        }
        let text = |name: &str| o[name].as_str().unwrap_or_default().to_string();
        if let Some(zone) = o["zone"].as_str() {
            let n = o["n"].as_f64().unwrap_or_default();
            self.heard.push(Heard { zone: zone.to_string(), device: text("device"), id: text("id"), at, n });
        }
        match o["zone"].as_str() {
            None => refuse("by_zone", "no_key"),
            Some(z) if z == format!("z{ZONES}") => refuse("limited", "unknown_zone"),
            Some(_) => self.expected.accepted.push(format!("{topic}/{partition}/{offset}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_a_function_of_the_seed_and_hold_every_kind() {
        let size = Size { tasks: 4, readings: 1_500, over_ms: 12_000 };
        let (a, b) = (zone_scenario(5, size), zone_scenario(5, size));
        let flat = |s: &Scenario| s.feeds.iter().flat_map(|f| f.appends.iter().map(|a| a.buffer.clone())).collect::<Vec<_>>();
        assert_eq!(flat(&a), flat(&b));
        let ends: BTreeSet<(&str, &str)> = a.expected.letters.iter().map(|l| (l.stage.as_str(), l.reason.as_str())).collect();
        let wanted = [("alarms", "too_late"), ("by_zone", "no_key"), ("limited", "unknown_zone"), ("ticks", "too_late"), ("ticks", "undecodable")];
        assert_eq!(ends.into_iter().collect::<Vec<_>>(), wanted);
        assert!(a.expected.accepted.iter().any(|p| p.starts_with(ALARM)) && a.expected.accepted.len() > 1_000);
        assert_eq!(a.told.len(), 2);
    }
}
