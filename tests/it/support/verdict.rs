//! The judge of the tests on real Kafka. It reads topics as any consumer of committed records does and knows nothing
//! of the engine but its promise: every accepted reading has exactly one row in each output, in order per key; every
//! other one exactly one dead letter or one reason; and a run that was disturbed equals one that was not.
//!
//! Topics are compared partition by partition, a chunk at a time: five minutes of load do not fit into memory.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;
use ws_log::kafka::KafkaLog;
use ws_log::registry::Registry;
use ws_stream::log::{End, Log, Reader, TopicPartition};
use ws_stream::records::Records;

/// A topic that hands out nothing for so long before its end is broken.
const STALL: Duration = Duration::from_secs(30);

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Offset.
    pub offset: i64,
    /// Key.
    pub key: String,
    /// Value.
    pub value: Vec<u8>,
    /// Header `ws.input`, the reading that it stems from: topic/partition/offset.
    pub input: String,
    /// All headers.
    pub headers: Vec<(String, String)>,
}

/// The committed records of one partition, in order.
pub struct Partition {
    at: TopicPartition,
    reader: Box<dyn Reader>,
    next: i64,
    end: i64,
    rows: VecDeque<Row>,
}

impl Partition {
    /// Everything that is there now.
    pub fn open(log: &KafkaLog, topic: &str, partition: u32) -> Partition {
        let at = TopicPartition::new(topic, partition);
        let mut admin = log.admin().expect("an admin");
        let (next, end) = (admin.start(&at).expect("start"), admin.end(&at, End::Stable).expect("end"));
        let mut reader = log.reader().expect("a reader");
        reader.add(&at, next).expect("reading");
        Partition { at, reader, next, end, rows: VecDeque::new() }
    }

    fn take(&mut self, records: &Records) {
        self.next = records.next_offset;
        for (i, r) in records.rows.iter().enumerate() {
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            let headers: Vec<_> = records.headers(i).map(|(n, v)| (n.to_owned(), text(v))).collect();
            self.rows.push_back(Row {
                offset: r.offset,
                key: records.key(i).map(text).unwrap_or_default(),
                value: records.value(i).unwrap_or_default().to_vec(),
                input: headers.iter().find(|(n, _)| n == "ws.input").map(|(_, v)| v.clone()).unwrap_or_default(),
                headers,
            });
        }
    }
}

impl Iterator for Partition {
    type Item = Row;
    fn next(&mut self) -> Option<Row> {
        let started = Instant::now();
        while self.rows.is_empty() && self.next < self.end {
            for (_, records) in self.reader.poll(500).expect("records") {
                self.take(&records);
            }
            assert!(started.elapsed() < STALL, "{}: nothing comes at {} of {}", self.at, self.next, self.end);
        }
        self.rows.pop_front()
    }
}

/// Committed ends of all partitions of topics, added up.
pub fn visible(log: &KafkaLog, topics: &[String], partitions: u32) -> i64 {
    let mut admin = log.admin().expect("an admin");
    let all = topics.iter().flat_map(|t| (0..partitions).map(|p| TopicPartition::new(t.as_str(), p)));
    all.map(|at| admin.end(&at, End::Stable).expect("end")).sum()
}

/// What must become of a record of `bin.telemetry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// One row of features.
    Row,
    /// Behind its device's newest reading: one row if it changes what is known now, else folded in.
    Correction,
    /// One dead letter with this reason.
    Dead(&'static str),
    /// Nothing: it was there before.
    Twice,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Records of the input.
    pub inputs: u64,
    /// Rows that readings led to, one each.
    pub rows: u64,
    /// Of them: corrections.
    pub corrections: u64,
    /// Rows of timers: silent devices scored again.
    pub rescored: u64,
    /// Forecasts.
    pub forecasts: u64,
    /// Dead letters.
    pub dead: u64,
    /// Second deliveries dropped.
    pub twice: u64,
    /// What is wrong, first cases.
    pub faults: Vec<String>,
}

impl Tally {
    fn fault(&mut self, what: String) {
        if self.faults.len() < 20 {
            self.faults.push(what);
        }
    }

    /// Fails the test if anything is wrong.
    ///
    /// # Panics
    /// When there is a fault.
    pub fn assert_clean(&self) {
        assert!(self.faults.is_empty(), "{}\n{self:#?}", self.faults.join("\n"));
    }
}

/// Decodes an output's value.
pub type Decode<'a> = &'a dyn Fn(&[u8]) -> Value;

/// Judges the outputs of a run against its input: nothing lost, nothing twice, nothing out of order.
pub fn judge(log: &KafkaLog, names: &Names, partitions: u32, decode: Decode<'_>) -> Tally {
    let registry = Registry::embedded().expect("the contracts");
    let mut tally = Tally::default();
    for p in 0..partitions {
        let fates = fates(log, &registry, p, &mut tally);
        letters(log, names, p, &fates, decode, &mut tally);
        let features = features(log, names, p, &fates, decode, &mut tally);
        forecasts(log, names, p, &features, decode, &mut tally);
    }
    tally
}

/// Topics of a run.
#[derive(Clone, Debug)]
pub struct Names {
    /// Features.
    pub features: String,
    /// Forecasts.
    pub forecast: String,
    /// Alerts.
    pub alert: String,
    /// Dead letters.
    pub dead: String,
}

impl Names {
    /// Outputs that are rows, without the dead letters.
    pub fn rows(&self) -> [&str; 3] {
        [&self.features, &self.forecast, &self.alert]
    }

    /// All of them.
    pub fn all(&self) -> Vec<String> {
        [&self.features, &self.forecast, &self.alert, &self.dead].map(Clone::clone).to_vec()
    }
}

fn fates(log: &KafkaLog, registry: &Registry, partition: u32, tally: &mut Tally) -> BTreeMap<i64, Fate> {
    let mut fates = BTreeMap::new();
    let mut ids: HashSet<String> = HashSet::new();
    let mut newest: HashMap<String, i64> = HashMap::new();
    for row in Partition::open(log, "bin.telemetry", partition) {
        tally.inputs += 1;
        let Ok(v) = registry.decode_to_json(&row.value) else {
            fates.insert(row.offset, Fate::Dead("undecodable"));
            continue;
        };
        let observed = v["observed_at"].as_i64().unwrap_or_default();
        let fate = if !ids.insert(v["event_id"].as_str().unwrap_or_default().to_owned()) {
            tally.twice += 1;
            Fate::Twice
        } else if v["filling_level"].as_f64().is_none_or(|l| !(0.0..=1.2).contains(&l)) {
            Fate::Dead("filling_level_out_of_range")
        } else if !row.key.starts_with("d-") {
            Fate::Dead("unknown_device")
        } else {
            let newest = newest.entry(row.key.clone()).or_insert(i64::MIN);
            let fate = if observed >= *newest { Fate::Row } else { Fate::Correction };
            *newest = observed.max(*newest);
            fate
        };
        fates.insert(row.offset, fate);
    }
    fates
}

fn letters(log: &KafkaLog, names: &Names, partition: u32, fates: &BTreeMap<i64, Fate>, decode: Decode<'_>, tally: &mut Tally) {
    let mut found: BTreeMap<i64, u32> = BTreeMap::new();
    for row in Partition::open(log, &names.dead, partition) {
        let v = decode(&row.value);
        let (offset, reason) = (v["offset"].as_i64().unwrap_or(-1), v["reason"].as_str().unwrap_or_default());
        tally.dead += 1;
        *found.entry(offset).or_default() += 1;
        match fates.get(&offset) {
            // How the decoder calls it is its own affair.
            Some(Fate::Dead("undecodable")) => {}
            Some(Fate::Dead(wanted)) if *wanted == reason => {}
            other => tally.fault(format!("dead letter of {partition}/{offset} with reason {reason}: {other:?} was expected: {v}")),
        }
    }
    for (offset, _) in fates.iter().filter(|(_, f)| matches!(f, Fate::Dead(_))) {
        match found.get(offset) {
            Some(1) => {}
            n => tally.fault(format!("dead reading {partition}/{offset} has {} letters", n.unwrap_or(&0))),
        }
    }
}

/// Position, event id and kind of each features row, in order.
fn features(log: &KafkaLog, names: &Names, partition: u32, fates: &BTreeMap<i64, Fate>, decode: Decode<'_>, tally: &mut Tally) -> Vec<(i64, String)> {
    let mut found: BTreeMap<i64, u32> = BTreeMap::new();
    let mut rows = Vec::new();
    let mut last: HashMap<String, i64> = HashMap::new();
    for row in Partition::open(log, &names.features, partition) {
        let (offset, v) = (position(&row, partition, tally), decode(&row.value));
        let id = v["event_id"].as_str().unwrap_or_default().to_owned();
        rows.push((offset, id.clone()));
        if !(id.contains(":f") || id.contains(":c")) {
            tally.rescored += 1;
            continue;
        }
        tally.rows += 1;
        *found.entry(offset).or_default() += 1;
        let last = last.entry(row.key.clone()).or_insert(-1);
        if offset <= *last {
            tally.fault(format!("{}: reading {partition}/{offset} comes after {last}", row.key));
        }
        *last = offset;
        match fates.get(&offset) {
            Some(Fate::Row) => {}
            Some(Fate::Correction) => tally.corrections += 1,
            other => tally.fault(format!("a row for {partition}/{offset}, {other:?} was expected: {v}")),
        }
    }
    for (offset, fate) in fates {
        let n = found.get(offset).copied().unwrap_or(0);
        match fate {
            Fate::Row if n == 0 => tally.fault(format!("reading {partition}/{offset} is LOST")),
            Fate::Row | Fate::Correction if n > 1 => tally.fault(format!("reading {partition}/{offset} has {n} rows")),
            _ => {}
        }
    }
    rows
}

/// Each row of features has one forecast, and they leave in the same order.
fn forecasts(log: &KafkaLog, names: &Names, partition: u32, features: &[(i64, String)], decode: Decode<'_>, tally: &mut Tally) {
    let mut ids = HashSet::new();
    let mut wanted = features.iter();
    for row in Partition::open(log, &names.forecast, partition) {
        tally.forecasts += 1;
        let (offset, v) = (position(&row, partition, tally), decode(&row.value));
        if !ids.insert(v["event_id"].to_string()) {
            tally.fault(format!("forecast {} stands twice", v["event_id"]));
        }
        match wanted.next() {
            Some((o, _)) if *o == offset => {}
            other => tally.fault(format!("forecast for {partition}/{offset} where {other:?} was expected")),
        }
    }
    if let Some((o, id)) = wanted.next() {
        tally.fault(format!("features row {id} of {partition}/{o} has no forecast"));
    }
}

fn position(row: &Row, partition: u32, tally: &mut Tally) -> i64 {
    match row.input.rsplit_once('/').map(|(at, o)| (at == format!("bin.telemetry/{partition}"), o.parse())) {
        Some((true, Ok(offset))) => offset,
        _ => {
            tally.fault(format!("record {} of {} says that it stems from {:?}", row.offset, row.key, row.input));
            -1
        }
    }
}

/// Compares two runs of one topology, whose names differ: all columns and headers of all outputs, in order. What may
/// differ, and why: the topology's name inside ids; and of dead letters `received_at`, which is when one was written,
/// and their order among themselves (those of a fetch's decoder come before those of its stages).
pub fn assert_equal(log: &KafkaLog, calm: (&Names, &str), storm: (&Names, &str), partitions: u32) -> u64 {
    let renamed = |text: &str| text.replace(&format!("{}/", storm.1), &format!("{}/", calm.1));
    let shown = |row: Row| {
        let headers: Vec<_> = row.headers.iter().map(|(n, v)| format!("{n}={}", renamed(v))).collect();
        format!("{} {} {headers:?}", row.key, renamed(&String::from_utf8_lossy(&row.value)))
    };
    let letters = |names: &Names, p: u32| {
        let mut all: Vec<(i64, String)> = Partition::open(log, &names.dead, p).map(|row| letter(&row)).collect();
        all.sort();
        all
    };
    let mut compared = 0;
    for p in 0..partitions {
        for (a, b) in calm.0.rows().into_iter().zip(storm.0.rows()) {
            let (mut left, mut right) = (Partition::open(log, a, p), Partition::open(log, b, p));
            loop {
                let (l, r) = (left.next().map(shown), right.next().map(shown));
                assert_eq!(l, r, "{a}[{p}] and {b}[{p}] differ after {compared} records");
                if l.is_none() {
                    break;
                }
                compared += 1;
            }
        }
        let (left, right) = (letters(calm.0, p), letters(storm.0, p));
        assert_eq!(left, right, "dead letters of partition {p} differ");
        compared += left.len() as u64;
    }
    compared
}

fn letter(row: &Row) -> (i64, String) {
    let mut v: Value = serde_json::from_slice(&row.value).expect("JSON");
    v.as_object_mut().expect("an object").remove("received_at");
    (v["offset"].as_i64().expect("an offset"), format!("{} {v} {:?}", row.key, row.headers))
}
