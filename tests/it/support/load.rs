//! Load for the tests on real Kafka: a small fleet of sensors with the habits that matter to exactly-once (late
//! uploads, newest first; silence; repeated deliveries; absurd and undecodable values; devices nobody knows), fed at a
//! steady rate, and a clock that notes when outputs become visible.
//!
//! The fleet is a plain function of a counter, so two feeds are the same. References are appended before any reading:
//! tables are looked up as of event time, and what a reading finds must not depend on when it is processed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use ws_log::kafka::{KafkaConfig, KafkaLog};
use ws_log::registry::Registry;
use ws_stream::log::{Append, Log, LogError, TopicPartition, TopicSpec};
use ws_stream::partition::partition_of;
use ws_stream::records::Appends;

/// Partitions of the readings, so tasks.
pub const TASKS: u32 = 8;
/// Event time between two readings of a sensor.
const STEP_MS: i64 = 15 * 60_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Batches a second.
const BEATS: u32 = 20;
/// One reading in so many is sent twice.
const TWICE: u64 = 97;
/// A second delivery comes so many records later: often in another epoch.
const TWICE_AFTER: u64 = 1_500;
/// One reading in so many says 7.3.
const ABSURD: u64 = 499;
/// One record in so many is no Avro.
const GARBAGE: u64 = 4_999;
/// A buffering device uploads so many at once.
const UPLOAD: i64 = 6;

/// The reference topics of `bin-fill`; one partition each, every task reads them whole.
const TABLES: [&str; 5] = ["ref.device", "ref.container", "ref.site", "ref.schedule", "collection.event"];

/// Kafka as the tests' producer and judge see it.
pub fn log_on(bootstrap: &str) -> KafkaLog {
    KafkaLog::new(KafkaConfig::new(bootstrap))
}

/// Makes the input topics of `bin-fill`.
pub fn create_inputs(log: &KafkaLog) {
    let spec = |name: &str, partitions| TopicSpec { name: name.into(), partitions, config: Vec::new() };
    let mut specs = vec![spec("bin.telemetry", TASKS)];
    specs.extend(TABLES.iter().map(|t| spec(t, 1)));
    let mut admin = log.admin().expect("an admin");
    admin.create(&specs).expect("the input topics");
}

/// A fleet of sensors; hands out records, endlessly and always the same.
pub struct Fleet {
    devices: u64,
    start_ms: i64,
    registry: Registry,
    /// The next place in the round of the devices.
    at: u64,
    made: u64,
    ready: VecDeque<Reading>,
    again: VecDeque<(u64, Reading)>,
}

/// A record to send.
#[derive(Clone, Debug)]
pub struct Reading {
    key: String,
    received_ms: i64,
    value: Vec<u8>,
}

impl Fleet {
    /// A fleet whose readings, `records` of them, end about now: brokers refuse times far ahead.
    pub fn new(devices: u64, records: u64) -> Fleet {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let rounds = (records / devices + 2) as i64;
        let start_ms = now_ms.as_millis() as i64 - rounds * STEP_MS - DAY_MS;
        Fleet {
            devices,
            start_ms: start_ms - start_ms % DAY_MS,
            registry: Registry::embedded().expect("the contracts"),
            at: 0,
            made: 0,
            ready: VecDeque::new(),
            again: VecDeque::new(),
        }
    }

    /// Appends what the tables must hold.
    pub fn append_references(&self, log: &KafkaLog) {
        let valid_from = self.start_ms - 30 * DAY_MS;
        let base = |id: String| {
            json!({
                "tenant": "city", "event_id": id, "observed_at": valid_from, "sent_at": valid_from, "received_at": valid_from,
                "source": "register", "schema_version": 1, "valid_from": valid_from,
            })
        };
        let with = |mut value: Value, more: Value| {
            let (Some(all), Value::Object(more)) = (value.as_object_mut(), more) else { unreachable!("objects") };
            all.extend(more);
            value
        };
        let mut rows: Vec<(&str, String, Value)> = Vec::new();
        for site in 0..self.devices.div_ceil(4) {
            let id = format!("s-{site}");
            let place = json!({"site_id": id, "name": id, "latitude_deg": -37.8 + site as f64 * 1e-4, "longitude_deg": 144.9, "zone_id": "z", "time_zone": "Australia/Melbourne"});
            rows.push(("ref.site", id.clone(), with(base(format!("site-{site}")), place)));
            let plan = json!({"site_id": id, "waste_stream": "general", "next_visit_at": self.start_ms + 3 * DAY_MS, "visit_interval_h": 72.0});
            rows.push(("ref.schedule", id.clone(), with(base(format!("plan-{site}")), plan)));
        }
        for i in 0..self.devices {
            let (device, container, site) = (device_id(i), format!("c-{i}"), format!("s-{}", i / 4));
            let mounted =
                json!({"device_id": device, "container_id": container, "model": "m", "report_interval_s": STEP_MS as f64 / 1e3, "calibration_version": 1});
            rows.push(("ref.device", device, with(base(format!("device-{i}")), mounted)));
            let bin = json!({"container_id": container, "site_id": site, "waste_stream": "general", "capacity_l": 1100.0, "height_m": 1.4, "status": "ok"});
            rows.push(("ref.container", container.clone(), with(base(format!("container-{i}")), bin)));
            // Every fifth is emptied at known times.
            for day in (0..40).filter(|_| i % 5 == 0) {
                let emptied = self.start_ms + day * DAY_MS + (i as i64 % 24) * HOUR_MS;
                let visit = json!({
                    "container_id": container, "site_id": site, "vehicle_id": "v-1", "outcome": "served", "scan": "rfid", "emptied_at": emptied,
                    "observed_at": emptied, "sent_at": emptied, "received_at": emptied,
                });
                let mut visit = with(base(format!("visit-{i}-{day}")), visit);
                visit.as_object_mut().expect("an object").remove("valid_from");
                rows.push(("collection.event", container.clone(), visit));
            }
        }
        let appends: Vec<Appends> = TABLES
            .iter()
            .map(|topic| {
                let mut a = Appends::new((*topic).into());
                for (_, key, value) in rows.iter().filter(|(t, _, _)| t == topic) {
                    let bytes = self.registry.encode_json_value(topic, value).expect("it fits its contract");
                    a.push(0, valid_from, Some(key.as_bytes()), Some(&bytes), &[]);
                }
                a
            })
            .collect();
        let mut appender = log.appender().expect("an appender");
        appender.append(&appends).expect("the references");
    }

    /// The next record.
    pub fn next(&mut self) -> Reading {
        if self.again.front().is_some_and(|(due, _)| *due <= self.made)
            && let Some((_, reading)) = self.again.pop_front()
        {
            return reading;
        }
        while self.ready.is_empty() {
            let (i, round) = (self.at % self.devices, (self.at / self.devices) as i64);
            self.at += 1;
            self.report(i, round);
        }
        let reading = self.ready.pop_front().expect("it was filled");
        self.made += 1;
        if self.made.is_multiple_of(TWICE) {
            self.again.push_back((self.made + TWICE_AFTER, reading.clone()));
        }
        if self.made.is_multiple_of(GARBAGE) {
            return Reading { value: b"\0\0\0\x03\xe9no such thing".to_vec(), ..reading };
        }
        reading
    }

    /// What device `i` sends in a round: nothing, one reading, or all that it kept.
    fn report(&mut self, i: u64, round: i64) {
        if i % 17 == 3 && (20..32).contains(&(round % 40)) {
            return;
        }
        if i % 13 != 5 {
            let reading = self.reading(i, round, round);
            self.ready.push_back(reading);
        } else if round % UPLOAD == UPLOAD - 1 {
            for kept in (0..UPLOAD).map(|k| round - k) {
                let reading = self.reading(i, kept, round);
                self.ready.push_back(reading);
            }
        }
    }

    fn reading(&self, i: u64, round: i64, sent_in: i64) -> Reading {
        let phase_ms = STEP_MS * i as i64 / self.devices as i64;
        let (observed, received) = (self.start_ms + round * STEP_MS + phase_ms, self.start_ms + sent_in * STEP_MS + phase_ms + 2_000);
        let number = round as u64 * self.devices + i;
        // Sawtooth with some noise: a full container is emptied.
        let level = (0.013 * i as f64 + round as f64 * (0.004 + 0.0001 * (i % 90) as f64)).fract() * 0.97;
        let noise = ((number.wrapping_mul(2_654_435_761) >> 7) % 100) as f64 / 1e4;
        let level = if number % ABSURD == 7 { 7.3 } else { ((level + noise) * 1e4).round() / 1e4 };
        // A few devices stand in no table.
        let device = if i % 211 == 13 { format!("x-{i}") } else { device_id(i) };
        let hot = i % 101 == 7 && round % 50 < 3;
        let value = json!({
            "tenant": "city", "event_id": format!("{device}-{round}"), "observed_at": observed, "sent_at": received - 1_000, "received_at": received,
            "source": "sensor", "schema_version": 1, "device_id": device, "sequence": round, "filling_level": level,
            "temperature_degc": if hot { 80.0 } else { 15.0 + (round % 40) as f64 / 4.0 }, "battery_v": if i % 50 == 1 { 3.1 } else { 3.6 },
        });
        let value = self.registry.encode_json_value("bin.telemetry", &value).expect("it fits its contract");
        Reading { key: device, received_ms: received, value }
    }
}

fn device_id(i: u64) -> String {
    format!("d-{i}")
}

/// What was fed.
#[derive(Clone, Copy, Debug)]
pub struct Fed {
    /// Records, second deliveries and repeats included.
    pub records: u64,
    /// Batches sent again because the broker was away.
    pub repeats: u64,
    /// How long it took.
    pub took: Duration,
}

impl Fed {
    /// Records a second.
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64()
    }
}

/// A running feed.
pub struct Feed {
    thread: JoinHandle<Fed>,
}

impl Feed {
    /// Feeds `records` at `rate` a second. A broker that is away is waited for, and the batch sent again.
    pub fn start(log: &KafkaLog, mut fleet: Fleet, rate: u32, records: u64) -> Feed {
        let mut appender = log.appender().expect("an appender");
        let feed = move || {
            let (started, mut beat) = (Instant::now(), 0u32);
            let mut fed = Fed { records: 0, repeats: 0, took: Duration::ZERO };
            while fed.records < records {
                beat += 1;
                let due = (u64::from(rate) * u64::from(beat) / u64::from(BEATS)).min(records);
                let mut batch = Appends::new("bin.telemetry".into());
                while fed.records < due {
                    let r = fleet.next();
                    batch.push(partition_of(r.key.as_bytes(), TASKS), r.received_ms, Some(r.key.as_bytes()), Some(&r.value), &[]);
                    fed.records += 1;
                }
                fed.repeats += append(appender.as_mut(), &[batch]);
                let next = started + Duration::from_secs(1) * beat / BEATS;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            fed.took = started.elapsed();
            fed
        };
        let thread = std::thread::Builder::new().name("feed".into()).spawn(feed).expect("a thread");
        Feed { thread }
    }

    /// Is all of it sent?
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end.
    pub fn finish(self) -> Fed {
        self.thread.join().expect("the feed ended well")
    }
}

/// Appends until it works; how often it was tried again.
fn append(appender: &mut dyn Append, batch: &[Appends]) -> u64 {
    let mut repeats = 0;
    loop {
        match appender.append(batch) {
            Ok(()) => return repeats,
            Err(LogError::Unavailable { .. }) if repeats < 100 => repeats += 1,
            Err(e) => panic!("the feed cannot append: {e}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// When some records of a partition became visible.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// Where.
    pub partition: u32,
    /// How many.
    pub rows: u64,
}

/// Notes when records of a topic become visible to a reader of committed records.
pub struct Watch {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Watches a topic from its start.
    pub fn start(log: &KafkaLog, topic: &str) -> Watch {
        let mut reader = log.reader().expect("a reader");
        for p in 0..TASKS {
            reader.add(&TopicPartition::new(topic, p), 0).expect("reading");
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (notes, until) = (seen.clone(), stop.clone());
        let watch = move || {
            while !until.load(Ordering::Relaxed) {
                // A broker that restarts is away for a while.
                let records = reader.poll(20).unwrap_or_default();
                let at = Instant::now();
                let new = records.iter().map(|(tp, r)| Seen { at, partition: tp.partition, rows: r.rows.len() as u64 });
                notes.lock().unwrap_or_else(PoisonError::into_inner).extend(new.filter(|s| s.rows > 0));
            }
        };
        let thread = std::thread::Builder::new().name("watch".into()).spawn(watch).expect("a thread");
        Watch { seen, stop, thread }
    }

    /// What was seen so far.
    pub fn so_far(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the watch.
    pub fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.so_far();
        self.thread.join().expect("the watch ended well");
        seen
    }
}

/// From a moment to the first output seen after it; records that were on their way do not count as such.
pub fn recovery<'a>(from: Instant, seen: impl IntoIterator<Item = &'a Seen>) -> Option<Duration> {
    const ON_THEIR_WAY: Duration = Duration::from_millis(300);
    seen.into_iter().find(|s| s.at > from + ON_THEIR_WAY).map(|s| s.at - from)
}

/// The longest time without any output.
pub fn longest_gap(seen: &[Seen]) -> Duration {
    seen.windows(2).map(|w| w[1].at - w[0].at).max().unwrap_or_default()
}

/// Median and maximum, for print.
pub fn figures(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort();
    match (sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(median), Some(max)) => format!("median {:.1} s, longest {:.1} s", median.as_secs_f64(), max.as_secs_f64()),
        _ => "none".into(),
    }
}
