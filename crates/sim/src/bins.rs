//! The real `bin-fill` topology as a scenario: planned from its file, with the registry's Avro on both sides. Readings
//! of bin sensors come with the faults of real ones; references and emptyings are there beforehand, so that every run
//! joins the same versions.

use crate::board_data::board_scenario;
use crate::report::SimOptions;
use crate::rng::Rng;
use crate::scenario::{Expected, Feed, Letter, Model, Row, Scenario, Slice};
use crate::sim::Profile;
use crate::workload::{Size, meter_scenario};
use crate::zones::zone_scenario;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ws_inference::{FillHeuristic, FillHeuristicOptions, fill};
use ws_log::avro::{AvroDecoder, AvroEncoder, JsonEncoder};
use ws_log::registry::Registry;
use ws_plan::{Contracts, ModelContract, TopicContract, load};
use ws_stream::codec::{Decode, Encode};
use ws_stream::log::TopicSpec;
use ws_stream::partition::partition_of;
use ws_stream::predict::{PredictError, Prediction, Predictor};
use ws_stream::records::{Appends, Records};
use ws_stream::spec::{SinkFormat, Topology};
use ws_stream::task::Edge;
use ws_stream::worker::Planted;

const TOPOLOGY: &str = include_str!("../../../topologies/bin-fill.yaml");
const READINGS: &str = "bin.telemetry";
const START_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Event time runs this much faster: a run of 12 s is nearly three days.
const SPEED: i64 = 20_000;
const BINS: u64 = 16;
/// The file's `lateness` and `future.tolerance`.
const LATENESS_MS: i64 = 72 * HOUR_MS;
const FUTURE_MS: i64 = 10 * 60_000;

fn rule() -> FillHeuristic {
    FillHeuristic::new(FillHeuristicOptions::default())
}

/// Codecs, contracts and the rule, as the `wastestream` binary has them.
struct BinEdge(Arc<Registry>);

impl Edge for BinEdge {
    fn decoder(&self, topic: &str, schema: &SchemaRef) -> Result<Box<dyn Decode>, String> {
        let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        Ok(Box::new(AvroDecoder::new(self.0.clone(), topic, Some(&columns)).map_err(|e| e.to_string())?))
    }
    fn encoder(&self, topic: &str, format: &SinkFormat, schema: &SchemaRef) -> Result<Box<dyn Encode>, String> {
        Ok(match format {
            SinkFormat::Avro => Box::new(AvroEncoder::new(&self.0, topic, schema).map_err(|e| e.to_string())?),
            SinkFormat::Json => Box::new(JsonEncoder::new(topic, schema).map_err(|e| e.to_string())?),
        })
    }
    fn heuristic(&self, _model: &str) -> Option<Box<dyn Predictor>> {
        Some(Box::new(rule()))
    }
}

impl Contracts for BinEdge {
    fn topic(&self, topic: &str) -> Option<TopicContract> {
        let registered = self.0.for_topic(topic).ok()?;
        Some(TopicContract { schema: registered.columns(), key: registered.attribute("key").map(str::to_string), defaults: registered.defaults() })
    }
    fn model(&self, _model: &str) -> Option<ModelContract> {
        let outputs: Vec<_> = rule().outputs().fields().iter().cloned().collect();
        Some(ModelContract { inputs: Vec::new(), outputs: Arc::new(Schema::new(outputs)) })
    }
    fn topics(&self) -> Vec<String> {
        self.0.topics().map(str::to_string).collect()
    }
    fn models(&self) -> Vec<String> {
        vec!["fill-forecast".into()]
    }
}

/// The planned topology with its edge; made once for many seeds.
#[derive(Clone)]
pub struct BinFill {
    registry: Arc<Registry>,
    edge: Arc<BinEdge>,
    topology: Arc<Topology>,
}

impl BinFill {
    /// Plans the topology. Fails with the plan's own words.
    pub fn load() -> Result<BinFill, String> {
        let registry = Arc::new(Registry::embedded().map_err(|e| e.to_string())?);
        let edge = Arc::new(BinEdge(registry.clone()));
        let plan = load("topologies/bin-fill.yaml", TOPOLOGY, edge.as_ref(), &|_| None).map_err(|e| e.to_string())?;
        Ok(BinFill { registry, edge, topology: Arc::new(plan.topology) })
    }

    /// The scenario of a seed.
    pub fn scenario(&self, seed: u64, size: Size) -> Result<Scenario, String> {
        let mut rng = Rng::derive(seed, "data");
        let topic = |name: &str, partitions: u32| TopicSpec { name: name.into(), partitions, config: Vec::new() };
        let mut topics: Vec<TopicSpec> = self.topology.inputs.iter().map(|i| topic(&i.topic, size.tasks)).collect();
        let tables: BTreeSet<&str> = self.topology.tables.iter().map(|t| &*t.topic).collect();
        topics.extend(tables.into_iter().map(|t| topic(t, 2)));
        topics.extend(self.topology.sinks.iter().map(|s| topic(&s.topic, 3)));
        topics.push(topic(&self.topology.dead_letters, 2));
        let mut world = World { registry: &self.registry, rules: Rules::default(), tasks: size.tasks };
        let before = world.references(&mut rng, size.over_ms * SPEED)?;
        let feeds = world.readings(&mut rng, size)?;
        let (rows, letters) = (self.registry.clone(), self.registry.clone());
        let model: Model = Arc::new(|_, rows| answer(rows));
        Ok(Scenario {
            slices: vec![Slice { topology: self.topology.clone(), tasks: size.tasks }],
            edge: self.edge.clone(),
            topics,
            start_ms: START_MS,
            before,
            feeds,
            model,
            model_version: "model-7".into(),
            solver: None,
            spoil: None,
            read_rows: Arc::new(move |_, r| read_rows(&rows, r)),
            read_letters: Arc::new(move |r| read_letters(&letters, r)),
            expected: world.rules.expected,
            decided: None,
            told: Vec::new(),
            settle_ms: 0,
        })
    }
}

/// The model: the rule's answer, with its levels lowered, so that a mix-up of rungs shows.
fn answer(rows: &RecordBatch) -> Result<Prediction, PredictError> {
    let mut p = rule().predict(rows)?;
    let (schema, mut columns) = (p.columns.schema(), p.columns.columns().to_vec());
    columns.swap(0, 1);
    p.columns = RecordBatch::try_new(schema, columns).map_err(|e| PredictError { predictor: "fill-forecast".into(), message: e.to_string() })?;
    Ok(p)
}

struct World<'a> {
    registry: &'a Registry,
    rules: Rules,
    tasks: u32,
}

/// One reading before it is bytes.
#[derive(Clone)]
enum Reading {
    Good(Map<String, Value>),
    Bytes(Vec<u8>, &'static str),
}

impl World<'_> {
    fn encode(&self, topic: &str, at_ms: i64, id: &str, fields: Value) -> Result<Vec<u8>, String> {
        self.registry.encode_json_value(topic, &Value::Object(base(at_ms, id, fields))).map_err(|e| e.to_string())
    }

    /// Sites, containers, devices and schedules; emptyings over the whole span of event time.
    fn references(&self, rng: &mut Rng, span_ms: i64) -> Result<Vec<Appends>, String> {
        let mut out: BTreeMap<&str, Appends> = BTreeMap::new();
        let begin = START_MS - 20 * DAY_MS;
        let mut put = |topic: &'static str, key: &str, at_ms: i64, fields: Value| -> Result<(), String> {
            let value = self.encode(topic, at_ms, &format!("{topic}-{key}-{at_ms}"), fields)?;
            let a = out.entry(topic).or_insert_with(|| Appends::new(topic.into()));
            a.push(partition_of(key.as_bytes(), 2), at_ms, Some(key.as_bytes()), Some(&value), &[]);
            Ok(())
        };
        for s in 0..4 {
            let site = format!("s{s}");
            let place = json!({"site_id": site, "name": site, "latitude_deg": 53.0 + f64::from(s) * 0.01, "longitude_deg": 10.0, "zone_id": "z", "time_zone": "Europe/Berlin", "valid_from": begin});
            put("ref.site", &site, begin, place)?;
            let visit =
                json!({"site_id": site, "waste_stream": "paper", "next_visit_at": START_MS + span_ms / 2, "visit_interval_h": 72.0, "valid_from": begin});
            put("ref.schedule", &site, begin, visit)?;
        }
        for b in 0..BINS {
            let (container, device) = (format!("c{b}"), format!("d{b}"));
            let bin = json!({"container_id": container, "site_id": format!("s{}", b % 4), "waste_stream": "paper", "capacity_l": 1100.0, "height_m": 1.3, "valid_from": begin, "valid_to": null, "status": "ok"});
            put("ref.container", &container, begin, bin)?;
            let unit = |container: Option<&str>| json!({"device_id": device, "container_id": container, "valid_from": begin, "valid_to": null, "model": "m", "report_interval_s": 3600.0, "calibration_version": 1});
            put("ref.device", &device, begin, unit((b != 1).then_some(container.as_str())))?;
            for _ in 0..3 {
                let at = START_MS + rng.range(-DAY_MS, span_ms);
                let served = rng.chance(0.8);
                let outcome = if served { "served" } else { "skipped" };
                let visit = json!({"container_id": container, "site_id": format!("s{}", b % 4), "vehicle_id": "v1", "outcome": outcome, "emptied_at": served.then_some(at), "scan": "rfid"});
                put("collection.event", &container, at, visit)?;
            }
        }
        Ok(out.into_values().collect())
    }

    fn readings(&mut self, rng: &mut Rng, size: Size) -> Result<Vec<Feed>, String> {
        let (mut feeds, mut now) = (Vec::new(), 0i64);
        let mut recent: Vec<(String, Reading)> = Vec::new();
        let mut levels = [0.2f64; BINS as usize + 1];
        for n in 0..size.readings {
            now += rng.range(0, 2 * size.over_ms / i64::from(size.readings.max(1)));
            // The last one is in no table.
            let bin = rng.below(BINS + 1);
            let event = START_MS + now * SPEED;
            let level = &mut levels[bin as usize];
            *level = if *level > 0.98 { 0.02 } else { *level + rng.unit() * 0.08 };
            let (mut device, mut reading) = (format!("d{bin}"), self.reading(rng, bin, n, event, *level)?);
            if rng.chance(0.05)
                && let Some((d, r)) = rng.pick(&recent).cloned()
            {
                (device, reading) = (d, r);
            }
            if recent.len() == 12 {
                recent.remove(0);
            }
            recent.push((device.clone(), reading.clone()));
            let bytes = match &reading {
                Reading::Good(o) => self.registry.encode_json_value(READINGS, &Value::Object(o.clone())).map_err(|e| e.to_string())?,
                Reading::Bytes(b, _) => b.clone(),
            };
            let partition = partition_of(device.as_bytes(), self.tasks);
            let mut a = Appends::new(READINGS.into());
            a.push(partition, START_MS + now, Some(device.as_bytes()), Some(&bytes), &[]);
            let aborted = rng.chance(0.01);
            self.rules.take(partition, &device, &reading, aborted);
            feeds.push(Feed { at_ms: START_MS + now, appends: vec![a], aborted });
        }
        Ok(feeds)
    }

    fn reading(&self, rng: &mut Rng, bin: u64, n: u32, event: i64, level: f64) -> Result<Reading, String> {
        let roll = rng.below(100);
        let lag = match roll {
            0..=11 => rng.range(0, LATENESS_MS / 2),
            12..=13 => rng.range(LATENESS_MS, 2 * LATENESS_MS),
            14 => -rng.range(FUTURE_MS + 1, 300 * DAY_MS),
            _ => 0,
        };
        let level = match roll {
            15 => 7.3,
            16..=17 => 1.05,
            _ => (level * 1000.0).round() / 1000.0,
        };
        let temperature = if roll == 18 { 80.0 } else { 15.0 + rng.unit() * 5.0 };
        let battery = if roll == 19 { 3.0 } else { 3.6 };
        let mut fields = base(
            event - lag,
            &format!("r{n}"),
            json!({"device_id": format!("d{bin}"), "sequence": n, "filling_level": level, "temperature_degc": temperature, "battery_v": battery}),
        );
        fields.insert("sent_at".into(), event.into());
        fields.insert("received_at".into(), event.into());
        Ok(match roll {
            20 => Reading::Bytes(b"no frame".to_vec(), "not_framed"),
            21 => Reading::Bytes(vec![0, 0, 9, 9, 9, 1, 2, 3], "unknown_schema"),
            22 => {
                let mut b = self.registry.encode_json_value(READINGS, &Value::Object(fields)).map_err(|e| e.to_string())?;
                b.truncate(b.len() / 2);
                Reading::Bytes(b, "truncated")
            }
            _ => Reading::Good(fields),
        })
    }
}

/// What every record has.
fn base(at_ms: i64, id: &str, fields: Value) -> Map<String, Value> {
    let mut o = Map::new();
    for (k, v) in [
        ("tenant", json!("t")),
        ("event_id", json!(id)),
        ("observed_at", json!(at_ms)),
        ("sent_at", json!(at_ms)),
        ("received_at", json!(at_ms)),
        ("source", json!("sim")),
        ("schema_version", json!(1)),
    ] {
        o.insert(k.into(), v);
    }
    if let Value::Object(more) = fields {
        o.extend(more);
    }
    o
}

/// The file's rules for what ends before the windows, in the plainest form.
#[derive(Default)]
struct Rules {
    offsets: BTreeMap<u32, i64>,
    newest: BTreeMap<String, i64>,
    ids: BTreeSet<(String, String)>,
    expected: Expected,
}

impl Rules {
    fn take(&mut self, partition: u32, device: &str, reading: &Reading, aborted: bool) {
        let next = self.offsets.entry(partition).or_default();
        let offset = *next;
        *next += if aborted { 2 } else { 1 };
        self.expected.letter_stages = ["readings", "sane", "on_device", "mounted"].map(String::from).to_vec();
        if aborted {
            return;
        }
        let mut refuse = |stage: &str, reason: &str| self.expected.letters.push(Letter { partition, offset, stage: stage.into(), reason: reason.into() });
        let o = match reading {
            Reading::Bytes(_, reason) => return refuse("readings", reason),
            Reading::Good(o) => o,
        };
        let long = |name: &str| o.get(name).and_then(Value::as_i64).unwrap_or(0);
        let (at, received) = (long("observed_at"), long("received_at"));
        if at > received + FUTURE_MS {
            return refuse("readings", "future_clock");
        }
        let newest = self.newest.entry(device.to_string()).or_insert(at);
        if at < *newest - LATENESS_MS {
            return refuse("readings", "too_late");
        }
        *newest = (*newest).max(at);
        let id = o.get("event_id").and_then(Value::as_str).unwrap_or_default().to_string();
        if !self.ids.insert((device.to_string(), id)) {
            return;
        }
        if o.get("filling_level").and_then(Value::as_f64).is_none_or(|l| l > 1.2) {
            refuse("sane", "filling_level_out_of_range");
        } else if device == format!("d{BINS}") {
            refuse("on_device", "unknown_device");
        } else if device == "d1" {
            refuse("mounted", "device_not_mounted");
        }
    }
}

fn object(registry: &Registry, value: Option<&[u8]>) -> Map<String, Value> {
    match value.and_then(|v| registry.decode_to_json(v).ok()) {
        Some(Value::Object(o)) => o,
        _ => Map::new(),
    }
}

fn read_rows(registry: &Registry, records: &Records) -> Vec<Row> {
    (0..records.rows.len())
        .map(|i| {
            let mut o = object(registry, records.value(i));
            let predicted: Vec<String> = fill::COLUMNS.iter().filter_map(|c| o.remove(*c)).map(|v| v.to_string()).collect();
            // Rung and version stand in the headers, or in the value if the contract has them.
            let rung = records.headers(i).get("rung").map(|v| String::from_utf8_lossy(v).into_owned());
            let rung = o.remove("rung").and_then(|v| v.as_str().map(str::to_string)).or(rung);
            for transient in ["age_ms", "feature_hash", "model_version"] {
                o.remove(transient);
            }
            Row { fixed: Value::Object(o).to_string(), predicted: (rung.as_deref() == Some("model")).then(|| predicted.join(" ")) }
        })
        .collect()
}

fn read_letters(registry: &Registry, records: &Records) -> Vec<Letter> {
    (0..records.rows.len())
        .map(|i| {
            let o = object(registry, records.value(i));
            let text = |n: &str| o.get(n).and_then(Value::as_str).unwrap_or_default().to_string();
            let number = |n: &str| o.get(n).and_then(Value::as_i64).unwrap_or(-1);
            Letter { partition: number("partition") as u32, offset: number("offset"), stage: text("stage"), reason: text("reason") }
        })
        .collect()
}

impl SimOptions {
    /// In turn: the built-in scenario, which is small and strict; the real `bin-fill`; two slices with a `rekey` between
    /// them; boards with a solver. Fails when the topology does not plan.
    pub fn standard() -> Result<SimOptions, String> {
        let bins = BinFill::load()?;
        let scenario = move |seed: u64| match seed % 4 {
            0 => Ok(meter_scenario(seed, SimOptions::SIZE)),
            1 => bins.scenario(seed, BinFill::SIZE),
            2 => Ok(zone_scenario(seed, SimOptions::ZONE_SIZE)),
            _ => Ok(board_scenario(seed, SimOptions::BOARD_SIZE, false)),
        };
        Ok(SimOptions { scenario: Arc::new(scenario), profile: Profile::of, planted: Planted::default() })
    }

    /// `bin-fill` alone. Fails when the topology does not plan.
    pub fn bin_fill() -> Result<SimOptions, String> {
        let bins = BinFill::load()?;
        Ok(SimOptions { scenario: Arc::new(move |seed| bins.scenario(seed, BinFill::SIZE)), profile: Profile::of, planted: Planted::default() })
    }
}

impl BinFill {
    /// A size that keeps a seed below a second or two.
    pub const SIZE: Size = Size { tasks: 3, readings: 500, over_ms: 12_000 };
}
