//! Three slices on a real broker: readings keyed by device and visits keyed by container go through repartition topics
//! to their site; there readings are counted, and a bin that is filling up waits for the visit that empties it. All
//! visits are there long before the readings: a union of both is read as a back-log is. Under load the process is killed
//! (SIGKILL) every few seconds, and two processes share the tasks of all slices; nothing may be lost, stand twice or
//! change its place, no row may be late for having been re-keyed, and every output must equal those of a run that nobody
//! disturbed.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use ws_log::kafka::KafkaLog;
use ws_log::registry::Registry;
use ws_stream::log::{End, Log as _, TopicPartition, TopicSpec};

use crate::support::load::{Feed, Fleet, TASKS, Watch, create_inputs, figures, log_on, recovery};
use crate::support::runs::drain;
use crate::support::verdict::{Names, Partition};
use crate::support::{App, Kafka};

const RATE: u32 = 600;
const SECONDS: u64 = 45;
const SLICES: usize = 3;
const LIVES_MS: [u64; 4] = [9_000, 4_000, 11_000, 7_500];

/// A topology of two slices under a name of its own.
struct Run {
    name: String,
    names: Names,
    file: PathBuf,
}

impl Run {
    fn write(dir: &Path, name: &str) -> Run {
        // The watermark stays further behind than any device uploads late, so that windows see every row.
        let text = format!(
            "topology: {name}
sources:
  readings:
    topic: bin.telemetry
    event_time: observed_at
    watermark_delay: 3h
    lateness: {{ per_key: 72h }}
    future: {{ against: received_at, tolerance: 10m }}
    idle_after: 4s
  # Of days to come: as they are read first, their own watermark must not lead.
  visits:
    topic: collection.event
    event_time: emptied_at
    watermark_delay: 60d
    future: off
    idle_after: 4s
    max_skew: off
tables:
  devices: {{ topic: ref.device, key: device_id, valid_from: valid_from, global: true }}
  containers: {{ topic: ref.container, key: container_id, valid_from: valid_from, global: true }}
stages:
  - id: once
    from: readings
    dedup: {{ key: device_id, by: event_id, keep: 7d }}
  - id: sane
    from: once
    where: filling_level BETWEEN 0 AND 1.2
    otherwise: {{ dead_letter: filling_level_out_of_range }}
    add:
      percent: CAST(round(filling_level * 100) AS BIGINT)
  - id: placed
    from: sane
    join: {{ table: devices, on: device_id, take: [container_id], missing: {{ unmatched: unknown_device }} }}
  - id: sited
    from: placed
    join: {{ table: containers, on: container_id, take: [site_id], missing: {{ unmatched: unknown_container }} }}
  - id: by_site
    from: sited
    rekey: {{ key: site_id, partitions: {TASKS} }}
  - id: visits_by_site
    from: visits
    rekey: {{ key: site_id, partitions: {TASKS} }}
  - id: hourly
    from: by_site
    group_by: site_id
    window: {{ tumbling: 1h }}
    select: {{ site_id: site_id, hour: window_start, readings: count(), percent: sum(percent) }}
  - id: filling
    from: by_site
    where: percent BETWEEN 60 AND 70
    select: [event_id, container_id, site_id, {{ asked: event_id }}]
  - id: emptying
    from: visits_by_site
    select: [event_id, container_id, site_id]
  - id: both
    union: {{ of: [filling, emptying], missing: nulls }}
  - id: emptied
    from: both
    absence:
      key: [site_id, container_id]
      each: asked
      when: asked IS NOT NULL
      after: 5h
      met: asked IS NULL
      emit: [met, absent]
      take: {{ met_by: event_id }}
  - id: told
    from: emptied
    select: [event_id, container_id, ended, ended_at, met_by]
  - id: seen
    from: by_site
    select: [event_id, device_id, site_id, percent]
sinks:
  {name}.seen: {{ from: seen, key: device_id, format: json }}
  {name}.hour: {{ from: hourly, key: site_id, format: json }}
  {name}.emptied: {{ from: told, key: container_id, format: json }}
dead_letters: dlq.{name}
"
        );
        let file = dir.join(format!("{name}.yaml"));
        std::fs::write(&file, text).expect("the topology");
        let topic = |what: &str| format!("{name}.{what}");
        let names = Names { features: topic("seen"), forecast: topic("hour"), alert: topic("emptied"), dead: format!("dlq.{name}") };
        Run { name: name.to_owned(), names, file }
    }

    fn app(&self, bootstrap: &str, slot: &str) -> App {
        let file = self.file.display().to_string();
        let env = [("WS_ENGINE__SNAPSHOT_INTERVAL_MS", "2000")];
        App::stopped(&["run", "--bootstrap", bootstrap, "--topology", &file, "--create-outputs", "--slot", slot], &env)
    }
}

/// Rows by key, in their order: value and the reading they stem from. The names of runs differ, nothing else may.
type Rows = BTreeMap<String, Vec<(String, String)>>;

fn rows(log: &KafkaLog, topic: &str) -> Rows {
    let mut found = Rows::new();
    for p in 0..TASKS {
        for row in Partition::open(log, topic, p) {
            found.entry(row.key).or_default().push((String::from_utf8_lossy(&row.value).into_owned(), row.input));
        }
    }
    found
}

/// Reasons of dead letters by the position that they are about.
fn letters(log: &KafkaLog, topic: &str) -> BTreeMap<(i64, i64), String> {
    let mut found = BTreeMap::new();
    for p in 0..TASKS {
        for row in Partition::open(log, topic, p) {
            let v: Value = serde_json::from_slice(&row.value).expect("JSON");
            assert_eq!(v["topic"], "bin.telemetry", "a letter leads to the original record: {v}");
            let at = (v["partition"].as_i64().expect("a partition"), v["offset"].as_i64().expect("an offset"));
            let why = format!("{} {}", v["stage"].as_str().unwrap_or_default(), v["reason"].as_str().unwrap_or_default());
            assert!(found.insert(at, why).is_none(), "two letters about {at:?}");
        }
    }
    found
}

/// Every accepted reading exactly once behind the rekey, in order per device; every other one in a letter or a repeat.
/// Answers readings accepted and second deliveries.
fn judge(log: &KafkaLog, run: &Run) -> (usize, usize) {
    let registry = Registry::embedded().expect("the contracts");
    let letters = letters(log, &run.names.dead);
    let seen = rows(log, &run.names.features);
    let mut by_input: BTreeMap<String, usize> = BTreeMap::new();
    seen.values().flatten().for_each(|(_, input)| *by_input.entry(input.clone()).or_default() += 1);
    let (mut accepted, mut twice) = (0, 0);
    for p in 0..TASKS {
        let mut ids = HashSet::new();
        for row in Partition::open(log, "bin.telemetry", p) {
            let input = format!("bin.telemetry/{p}/{}", row.offset);
            let letter = letters.get(&(i64::from(p), row.offset));
            let first = registry.decode_to_json(&row.value).map(|v| ids.insert(v["event_id"].to_string())).unwrap_or(true);
            match (by_input.remove(&input), letter) {
                (Some(1), None) if first => accepted += 1,
                (None, Some(why)) => assert!(!why.contains("late") && !why.contains("idle"), "{input} is late: {why}"),
                (None, None) if !first => twice += 1,
                other => panic!("{input}, first delivery {first}: {other:?}"),
            }
        }
    }
    assert!(by_input.is_empty(), "rows of no reading: {by_input:?}");
    for (device, rows) in &seen {
        let offsets: Vec<i64> = rows.iter().map(|(_, input)| input.rsplit_once('/').expect("a position").1.parse().expect("an offset")).collect();
        assert!(offsets.windows(2).all(|w| w[0] < w[1]), "{device} is out of order: {offsets:?}");
    }
    (accepted, twice)
}

fn assert_equal(log: &KafkaLog, calm: &Run, other: &Run) -> usize {
    let mut compared = 0;
    let outputs = |n: &Names| [n.features.clone(), n.forecast.clone(), n.alert.clone()];
    for (a, b) in outputs(&calm.names).iter().zip(&outputs(&other.names)) {
        let (left, right) = (rows(log, a), rows(log, b));
        assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "keys of {a} and {b}");
        for (key, rows) in &left {
            assert_eq!(rows, &right[key], "{a} and {b} differ for {key}");
            compared += rows.len();
        }
    }
    let (left, right) = (letters(log, &calm.names.dead), letters(log, &other.names.dead));
    assert_eq!(left, right, "dead letters differ");
    compared + left.len()
}

/// How often a bin was emptied in time, and how often not; a visit that came later than that meets nothing.
fn endings(log: &KafkaLog, run: &Run) -> [usize; 2] {
    let mut told = [0; 2];
    for (value, _) in rows(log, &run.names.alert).values().flatten() {
        let v: Value = serde_json::from_str(value).expect("JSON");
        let met = v["ended"] == "met";
        assert_eq!(met, v["met_by"].is_string(), "{v}");
        told[usize::from(!met)] += 1;
    }
    told
}

/// What is left in the repartition topic: records that nobody will ask for again are deleted.
fn kept(log: &KafkaLog, run: &Run) -> (i64, i64) {
    let mut admin = log.admin().expect("an admin");
    let topic = format!("ws.{}.by_site.repartition", run.name);
    let at = |p| TopicPartition::new(topic.as_str(), p);
    let start: i64 = (0..TASKS).map(|p| admin.start(&at(p)).expect("start")).sum();
    let end: i64 = (0..TASKS).map(|p| admin.end(&at(p), End::Stable).expect("end")).sum();
    (end - start, end)
}

#[test]
fn killed_and_shared_three_slices_equal_an_undisturbed_run() {
    let Some(kafka) = Kafka::start(1) else { return };
    let records = u64::from(RATE) * SECONDS;
    let log = log_on(&kafka.bootstrap);
    let dir = tempfile::tempdir().expect("a folder");
    let (storm, shared, calm) = (Run::write(dir.path(), "storm-zones"), Run::write(dir.path(), "shared-zones"), Run::write(dir.path(), "calm-zones"));
    // As many partitions of the visits as of the readings: a process without a task of some slice is never ready.
    let visits = TopicSpec { name: "collection.event".into(), partitions: TASKS, config: Vec::new() };
    log.admin().expect("an admin").create(&[visits]).expect("the visits");
    create_inputs(&log);
    let fleet = Fleet::new(300, records);
    fleet.append_references(&log);

    // Killed again and again, under load.
    let mut app = storm.app(&kafka.bootstrap, "0");
    app.start_again();
    let feed = Feed::start(&log, fleet, RATE, records);
    let watch = Watch::start(&log, &storm.names.features);
    let mut kills = Vec::new();
    for life_ms in LIVES_MS.iter().cycle() {
        let until = Instant::now() + Duration::from_millis(*life_ms);
        while Instant::now() < until && !feed.is_over() {
            assert!(app.is_running(), "it ended by itself:\n{}", app.output());
            std::thread::sleep(Duration::from_millis(20));
        }
        if feed.is_over() {
            break;
        }
        app.kill9();
        kills.push(Instant::now());
        app.launch();
    }
    let fed = feed.finish();
    drain(&[&app], &log, &storm.names);
    settle();
    let seen = watch.finish();
    let left = kept(&log, &storm);
    assert_eq!(app.stop().code, 0, "a graceful end");

    // Two processes share the tasks of all slices; one is killed while it works through the backlog.
    let (mut first, mut second) = (shared.app(&kafka.bootstrap, "0"), shared.app(&kafka.bootstrap, "10"));
    first.start_again();
    second.start_again();
    std::thread::sleep(Duration::from_secs(3));
    let parts = [tasks_of(&first), tasks_of(&second)];
    second.kill9();
    drain(&[&first], &log, &shared.names);
    second.launch();
    let both = wait_shared(&first, &second);
    drain(&[&first, &second], &log, &shared.names);
    settle();
    assert_eq!((first.stop().code, second.stop().code), (0, 0), "graceful ends");

    let mut app = calm.app(&kafka.bootstrap, "0");
    app.start_again();
    drain(&[&app], &log, &calm.names);
    settle();
    assert_eq!(app.stop().code, 0, "a graceful end");

    let (accepted, twice) = judge(&log, &storm);
    let compared = [&storm, &shared].map(|run| assert_equal(&log, &calm, run));
    let windows: usize = rows(&log, &calm.names.forecast).values().map(Vec::len).sum();
    let told = endings(&log, &calm);
    let recovered: Vec<Duration> = kills.iter().filter_map(|at| recovery(*at, &seen)).collect();
    println!(
        "three slices: {} records at {:.0}/s, {} kills; {accepted} readings went through the repartition topic once each and in order, {twice} second \
         deliveries dropped, {windows} windows by site, {} times a bin was emptied in time, {} times not\n  from a kill to the next committed row behind the rekey: {}\n  \
         shared by two processes: tasks of each slice {parts:?}, after one was killed and came back {both:?}\n  \
         equal to the undisturbed run: {} and {} records; repartition topic: {} of {} records left",
        fed.records,
        fed.rate(),
        kills.len(),
        told[0],
        told[1],
        figures(&recovered),
        compared[0],
        compared[1],
        left.0,
        left.1,
    );
    assert!(kills.len() as u64 >= SECONDS / 14 && accepted as u64 > records * 9 / 10 && twice > 0 && windows > 100);
    assert!(told.iter().all(|n| *n > 20), "emptied in time and not: {told:?}");
    assert!(parts.iter().all(|p| p.iter().all(|n| *n > 0)) && both.iter().flatten().all(|n| *n > 0), "{parts:?} {both:?}");
    assert!(left.0 < left.1 / 2, "what was consumed is still there: {left:?}");
}

/// Until inputs are idle and the last windows are closed: `idle_after` and a few commits.
fn settle() {
    std::thread::sleep(Duration::from_secs(9));
}

/// Tasks that a process runs of each slice, by name.
fn tasks_of(app: &App) -> Vec<usize> {
    assert!(app.is_running(), "the process ended:\n{}", app.output());
    let Ok((200, text)) = app.try_get("/metrics") else { return vec![0; SLICES] };
    let value = |l: &str| l.strip_prefix("ws_tasks_running{")?.rsplit_once(' ')?.1.parse::<f64>().ok();
    text.lines().filter_map(value).map(|n| n as usize).collect()
}

/// Waits until both processes run tasks of all slices.
fn wait_shared(first: &App, second: &App) -> [Vec<usize>; 2] {
    let started = Instant::now();
    loop {
        let parts = [tasks_of(first), tasks_of(second)];
        if parts.iter().all(|p| p.len() == SLICES && p.iter().all(|n| *n > 0)) && parts.iter().flatten().sum::<usize>() == SLICES * TASKS as usize {
            return parts;
        }
        assert!(started.elapsed() < Duration::from_secs(40), "tasks are shared as {parts:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
