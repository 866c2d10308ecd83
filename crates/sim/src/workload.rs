//! The built-in scenario's data from a seed, with the faults of real devices: out of order, too late, repeated, clocks
//! ahead, unknown devices, values out of range, bytes that are no record. A second, plain statement of the rules says
//! what must become of each record; it shares no code with the engine.

use crate::meter::{self, DEAD, DEVICE, FORECAST, FUTURE_MS, LATENESS_MS, MINUTE, MeterEdge, PLACED, READING, SHIFT, SITE};
use crate::rng::Rng;
use crate::scenario::{Expected, Feed, Letter, Row, Scenario, Slice};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ws_stream::log::TopicSpec;
use ws_stream::partition::partition_of;
use ws_stream::records::{Appends, Records};

/// Processing time at which runs start: some Friday in 2027, UTC.
pub(crate) const START_MS: i64 = 1_800_000_000_000;
/// Event time runs this much faster than processing time, so that a short run crosses many windows.
pub(crate) const SPEED: i64 = 40;
const DEVICES: u64 = 24;
const SITES: u64 = 5;

/// Size of a workload.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Partitions and tasks.
    pub tasks: u32,
    /// Readings.
    pub readings: u32,
    /// Processing time over which they come, ms.
    pub over_ms: i64,
}

/// One reading as generated, before it is bytes.
#[derive(Clone, Debug)]
enum Reading {
    Good { id: String, at: Option<i64>, sent: i64, level: f64 },
    Garbage,
}

/// The scenario of a seed.
pub fn meter_scenario(seed: u64, size: Size) -> Scenario {
    let mut rng = Rng::derive(seed, "data");
    let topic = |name: &str, partitions: u32| TopicSpec { name: name.into(), partitions, config: Vec::new() };
    let mut topics: Vec<TopicSpec> = [READING, DEVICE].into_iter().map(|t| topic(t, size.tasks)).collect();
    topics.push(topic(SITE, 2));
    topics.extend([PLACED, MINUTE, FORECAST, SHIFT, DEAD].into_iter().map(|t| topic(t, 3)));

    let mut model = Rules::default();
    let mut feeds = Vec::new();
    let mut recent: Vec<(String, Reading)> = Vec::new();
    let mut levels = vec![0.3f64; DEVICES as usize + 2];
    let mut now = 0i64;
    for n in 0..size.readings {
        now += rng.range(0, 2 * size.over_ms / i64::from(size.readings.max(1)));
        // The last two devices are in no table.
        let d = if rng.chance(0.02) { DEVICES + rng.below(2) } else { rng.below(DEVICES) };
        let device = format!("d{d}");
        let event = START_MS + now * SPEED;
        let level = &mut levels[d as usize];
        *level += rng.unit() * 0.06;
        if *level > 0.95 {
            *level = 0.05;
        }
        let (device, reading) = match rng.below(100) {
            0..=1 => (device, Reading::Garbage),
            2..=6 if !recent.is_empty() => recent[rng.below(recent.len() as u64) as usize].clone(),
            roll => {
                let lag = match roll {
                    7..=24 => rng.range(0, LATENESS_MS - 10_000),
                    25..=27 => rng.range(LATENESS_MS, 4 * LATENESS_MS),
                    28 => -rng.range(FUTURE_MS + 1, 10 * FUTURE_MS),
                    _ => rng.range(0, 2_000),
                };
                let at = (roll != 29).then_some(event - lag);
                let level = if roll == 30 { 7.3 } else { (*level * 1000.0).round() / 1000.0 };
                (device, Reading::Good { id: format!("r{n}"), at, sent: event, level })
            }
        };
        if recent.len() == 20 {
            recent.remove(0);
        }
        recent.push((device.clone(), reading.clone()));
        let mut appends = Appends::new(READING.into());
        let partition = partition_of(device.as_bytes(), size.tasks);
        appends.push(partition, START_MS + now, Some(device.as_bytes()), Some(&bytes(&device, &reading)), &[]);
        let aborted = rng.chance(0.01);
        model.take(partition, &device, &reading, aborted);
        feeds.push(Feed { at_ms: START_MS + now, appends: vec![appends], aborted });
        if rng.chance(0.01) {
            // A version that only becomes valid long after: the table's changelog moves, no output does.
            let mut a = Appends::new(DEVICE.into());
            let late = json!({"device": device, "site": "s9", "valid_from": START_MS + 30 * 86_400_000});
            a.push(partition, START_MS + now, Some(device.as_bytes()), Some(late.to_string().as_bytes()), &[]);
            feeds.push(Feed { at_ms: START_MS + now, appends: vec![a], aborted: false });
        }
    }
    Scenario {
        slices: vec![Slice { topology: meter::topology(), tasks: size.tasks }],
        edge: Arc::new(MeterEdge),
        topics,
        start_ms: START_MS,
        before: references(size.tasks),
        feeds,
        model: Arc::new(|_, rows| meter::predict(rows, 0.0)),
        model_version: "model-7".into(),
        solver: None,
        spoil: None,
        read_rows: Arc::new(read_rows),
        read_letters: Arc::new(read_letters),
        expected: model.expected,
        decided: None,
        told: Vec::new(),
        settle_ms: 0,
    }
}

fn references(tasks: u32) -> Vec<Appends> {
    let day = 86_400_000;
    let (mut devices, mut sites) = (Appends::new(DEVICE.into()), Appends::new(SITE.into()));
    for d in 0..DEVICES {
        let key = format!("d{d}");
        for (site, valid_from) in [(d % SITES, START_MS - 9 * day), ((d + 1) % SITES, START_MS - day)] {
            let v = json!({"device": key, "site": format!("s{site}"), "valid_from": valid_from});
            devices.push(partition_of(key.as_bytes(), tasks), START_MS - day, Some(key.as_bytes()), Some(v.to_string().as_bytes()), &[]);
        }
    }
    for s in 0..SITES {
        let key = format!("s{s}");
        let v = json!({"site": key, "factor": 1.0 + s as f64, "valid_from": START_MS - 9 * day});
        sites.push((s % 2) as u32, START_MS - day, Some(key.as_bytes()), Some(v.to_string().as_bytes()), &[]);
    }
    vec![devices, sites]
}

fn bytes(device: &str, reading: &Reading) -> Vec<u8> {
    match reading {
        Reading::Garbage => b"{\"id\": \"half".to_vec(),
        Reading::Good { id, at, sent, level } => json!({"id": id, "device": device, "at": at, "sent": sent, "level": level}).to_string().into_bytes(),
    }
}

/// The rules once more, in the plainest form.
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
        // An aborted transaction's marker takes an offset too.
        *next += if aborted { 2 } else { 1 };
        self.expected.sink = Some(PLACED.into());
        self.expected.letter_stages = ["readings", "sane", "placed"].map(String::from).to_vec();
        if aborted {
            return;
        }
        let mut refuse = |stage: &str, reason: &str| {
            self.expected.letters.push(Letter { partition, offset, stage: stage.into(), reason: reason.into() });
        };
        let Reading::Good { id, at, sent, level } = reading else {
            return refuse("readings", "undecodable");
        };
        let Some(at) = *at else {
            return refuse("readings", "no_event_time");
        };
        if at > sent + FUTURE_MS {
            return refuse("readings", "future_clock");
        }
        let newest = self.newest.entry(device.to_string()).or_insert(at);
        if at < *newest - LATENESS_MS {
            return refuse("readings", "too_late");
        }
        *newest = (*newest).max(at);
        if !self.ids.insert((device.to_string(), id.clone())) {
            return;
        }
        if !(0.0..=1.2).contains(level) {
            return refuse("sane", "level_out_of_range");
        }
        let number: u64 = device[1..].parse().unwrap_or(u64::MAX);
        if number >= DEVICES {
            return refuse("placed", "unknown_device");
        }
        self.expected.accepted.push(format!("{READING}/{partition}/{offset}"));
    }
}

fn object(value: Option<&[u8]>) -> Map<String, Value> {
    value.and_then(|v| serde_json::from_slice(v).ok()).unwrap_or_default()
}

pub(crate) fn read_rows(_topic: &str, records: &Records) -> Vec<Row> {
    (0..records.rows.len())
        .map(|i| {
            let mut o = object(records.value(i));
            let hours = o.remove("hours");
            let rung = o.remove("rung");
            for transient in ["age_ms", "feature_hash", "model_version"] {
                o.remove(transient);
            }
            let by_model = rung.as_ref().and_then(Value::as_str) == Some("model");
            Row { fixed: Value::Object(o).to_string(), predicted: hours.filter(|_| by_model).map(|h| h.to_string()) }
        })
        .collect()
}

pub(crate) fn read_letters(records: &Records) -> Vec<Letter> {
    (0..records.rows.len())
        .map(|i| {
            let o = object(records.value(i));
            let text = |n: &str| o.get(n).and_then(Value::as_str).unwrap_or_default().to_string();
            let number = |n: &str| o.get(n).and_then(Value::as_i64).unwrap_or(-1);
            Letter { partition: number("partition") as u32, offset: number("offset"), stage: text("stage"), reason: text("reason") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_a_function_of_the_seed_and_hold_every_kind() {
        let size = Size { tasks: 3, readings: 1500, over_ms: 10_000 };
        let (a, b, c) = (meter_scenario(5, size), meter_scenario(5, size), meter_scenario(6, size));
        let flat = |s: &Scenario| s.feeds.iter().flat_map(|f| f.appends.iter().map(|a| a.buffer.clone())).collect::<Vec<_>>();
        assert_eq!(flat(&a), flat(&b));
        assert_ne!(flat(&a), flat(&c));
        let reasons: BTreeSet<&str> = a.expected.letters.iter().map(|l| l.reason.as_str()).collect();
        assert_eq!(
            reasons.into_iter().collect::<Vec<_>>(),
            ["future_clock", "level_out_of_range", "no_event_time", "too_late", "undecodable", "unknown_device"]
        );
        assert!(a.expected.accepted.len() > 1000 && a.feeds.iter().any(|f| f.aborted));
    }
}
