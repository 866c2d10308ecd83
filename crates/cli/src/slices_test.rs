//! A file with a `rekey` stage from end to end: topics made and checked, fixtures played through all slices, both slices
//! run on a log.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::edge::RegistryEdge;
use crate::engine::{Engine, EngineOptions};
use crate::plans;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ws_runtime::models::Models;
use ws_runtime::prepare::{PrepareError, check_formats, prepare_slices};
use ws_runtime::status::Board;
use ws_sim::SimLog;
use ws_stream::log::{Log, TopicPartition, TopicSpec};
use ws_stream::partition::partition_of;
use ws_stream::records::Appends;
use ws_stream::spec::{SinkFormat, Topology};
use ws_stream::worker::WorkerOptions;

const FILE: &str = "topology: t
sources:
  readings: { topic: bin.telemetry, event_time: observed_at, watermark_delay: 1m, idle_after: 2s, future: off }
tables:
  containers: { topic: ref.container, key: container_id, valid_from: valid_from }
  devices: { topic: ref.device, key: device_id, valid_from: valid_from, global: true }
stages:
  - id: placed
    from: readings
    join: { table: devices, on: device_id, take: [container_id], missing: { unmatched: unknown_device } }
  - id: by_container
    from: placed
    rekey: container_id
  - id: sited
    from: by_container
    join: { table: containers, on: container_id, take: [site_id], missing: nulls }
  - id: hourly
    from: sited
    group_by: [container_id, site_id]
    window: { tumbling: 1h }
    select: { container_id: container_id, site_id: site_id, hour: window_start, n: count(), percent: sum(round(filling_level * 100)) }
sinks:
  container.hour: { from: hourly, key: container_id, format: json }
  container.seen: { from: sited, key: container_id, format: json }
";

fn slices(text: &str) -> (Vec<Arc<Topology>>, RegistryEdge) {
    let edge = RegistryEdge::new(plans::registry(None).unwrap());
    (ws_plan::load("t.yaml", text, &edge, &|_| None).unwrap_or_else(|e| panic!("{e}")).into_slices(), edge)
}

fn log(topics: &[(&str, u32)]) -> SimLog {
    let log = SimLog::new();
    let specs: Vec<_> = topics.iter().map(|(name, partitions)| TopicSpec { name: (*name).into(), partitions: *partitions, config: Vec::new() }).collect();
    log.admin().unwrap().create(&specs).unwrap();
    log
}

#[test]
fn a_repartition_topic_is_made_to_fit_what_is_read_beside_it() {
    let (slices, _) = slices(FILE);
    assert!(slices.iter().all(|s| s.dead_format == SinkFormat::Json), "letters of one topology have one format");
    let log = log(&[("bin.telemetry", 4), ("ref.device", 1), ("ref.container", 3)]);
    let mut admin = log.admin().unwrap();
    let prepared = prepare_slices(&slices, admin.as_mut(), true).unwrap();
    assert_eq!(prepared.iter().map(|p| p.tasks).collect::<Vec<_>>(), [4, 3]);
    assert_eq!(admin.topic("ws.t.by_container.repartition").unwrap().unwrap().partitions, 3);
    assert_eq!(admin.topic("ws.t.by_container.changelog").unwrap().unwrap().partitions, 3);
    // A second start finds everything; another count is refused with the reason.
    prepare_slices(&slices, admin.as_mut(), true).unwrap();
    let (asked, _) = self::slices(&FILE.replace("rekey: container_id", "rekey: { key: container_id, partitions: 5 }"));
    let error = prepare_slices(&asked, admin.as_mut(), true).unwrap_err();
    assert!(matches!(&error, PrepareError::Repartitioned { found: 3, wanted: 5, .. }), "{error}");
    let fresh = self::log(&[("bin.telemetry", 4), ("ref.device", 1), ("ref.container", 3)]);
    let error = prepare_slices(&asked, fresh.admin().unwrap().as_mut(), true).unwrap_err();
    assert!(error.to_string().contains("must have equal partition counts") && error.to_string().contains("ref.container"), "{error}");
}

#[test]
fn rows_of_another_format_are_refused_at_start() {
    let (slices, edge) = slices(FILE);
    let log = log(&[("bin.telemetry", 2), ("ref.device", 1), ("ref.container", 2)]);
    let prepared = prepare_slices(&slices, log.admin().unwrap().as_mut(), true).unwrap();
    let mut writer = ws_stream::repartition::Writer::new(slices[0].rekeys[0].clone(), 0, &slices[0].stages[0].schema, 2).unwrap();
    let control = ws_stream::repartition::Control { task: 0, tasks: 2, incarnation: 1, epoch: 1, watermark_ms: 5, idle: false };
    writer.tell(control, true, 0);
    log.appender().unwrap().append(&[writer.take()]).unwrap();
    check_formats(&log, &slices, &prepared).unwrap();
    let (wider, _) = (self::slices(&FILE.replace("take: [container_id], ", "take: [container_id, model], ")).0, edge);
    let error = check_formats(&log, &wider, &prepared).unwrap_err().to_string();
    assert!(error.contains("the columns before the `rekey` stage changed") && error.contains("by_container.repartition"), "{error}");
}

fn reading(n: i64, device: &str, at: i64, level: f64) -> Value {
    json!({
        "tenant": "t", "event_id": format!("e{n}"), "observed_at": at, "sent_at": at, "received_at": at, "source": "test", "schema_version": 1,
        "device_id": device, "sequence": n, "filling_level": level,
    })
}

/// Both slices on one log, by the drivers that production uses.
#[test]
fn both_slices_run_and_the_result_is_by_the_new_key() {
    let (slices, edge) = slices(FILE);
    let registry = plans::registry(None).unwrap();
    let log = log(&[("bin.telemetry", 2), ("ref.device", 1), ("ref.container", 3)]);
    let start = 1_770_000_000_000i64 / 3_600_000 * 3_600_000;
    let mut appends = Vec::new();
    let mut put = |topic: &str, partitions: u32, key: &str, value: &Value| {
        let bytes = registry.encode_json_value(topic, value).unwrap();
        let mut a = Appends::new(topic.into());
        a.push(partition_of(key.as_bytes(), partitions), start, Some(key.as_bytes()), Some(&bytes), &[]);
        appends.push(a);
    };
    let base = |id: &str| json!({"tenant": "t", "event_id": id, "observed_at": 0, "sent_at": 0, "received_at": 0, "source": "test", "schema_version": 1, "valid_from": 0});
    for d in 0..6 {
        let (device, container) = (format!("d{d}"), format!("c{}", d % 2));
        let mut v = base(&device);
        v.as_object_mut().unwrap().extend(
            json!({"device_id": device, "container_id": container, "model": "m", "report_interval_s": 60.0, "calibration_version": 1})
                .as_object()
                .unwrap()
                .clone(),
        );
        put("ref.device", 1, &device, &v);
        let mut v = base(&container);
        v.as_object_mut().unwrap().extend(json!({"container_id": container, "site_id": format!("s-{container}"), "waste_stream": "general", "capacity_l": 1100.0, "height_m": 1.4, "status": "ok"}).as_object().unwrap().clone());
        put("ref.container", 3, &container, &v);
    }
    for n in 0..120i64 {
        let device = format!("d{}", n % 6);
        put("bin.telemetry", 2, &device, &reading(n, &device, start + n * 60_000, 0.5));
    }
    log.appender().unwrap().append(&appends).unwrap();
    let board = Board::default();
    let engine = Engine::start(EngineOptions {
        slices,
        log: Arc::new(log.clone()),
        edge: Arc::new(edge),
        models: Models::default(),
        first_slot: 0,
        workers: 1,
        create_outputs: true,
        snapshots: None,
        worker: WorkerOptions { commit_interval_ms: 20, ..WorkerOptions::default() },
        board: board.clone(),
    })
    .unwrap();
    let read = |topic: &str| {
        let mut reader = log.reader().unwrap();
        (0..3).for_each(|p| reader.add(&TopicPartition::new(topic, p), 0).unwrap());
        let mut rows: Vec<(Value, String)> = Vec::new();
        for _ in 0..3 {
            for (_, records) in reader.poll(0).unwrap() {
                rows.extend((0..records.rows.len()).map(|i| {
                    let input = String::from_utf8_lossy(records.headers(i).get("ws.input").unwrap()).into_owned();
                    (serde_json::from_slice(records.value(i).unwrap()).unwrap(), input)
                }));
            }
        }
        rows
    };
    let began = Instant::now();
    // The last hour closes when both partitions are idle: the watermark then is that of the furthest reading.
    let counted = |id: &str| board.summary().counts.iter().find(|(i, _)| i == id).map_or(0, |(_, c)| c.input);
    while (read("container.hour").len() < 2 || counted("hourly") < 120) && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!engine.ended(), "{:?}", board.summary().stopped);
    let counts = board.summary().counts;
    engine.stop().unwrap();
    let mut hours: Vec<String> =
        read("container.hour").iter().map(|(v, _)| format!("{} {} {} {}", v["container_id"], v["site_id"], v["n"], v["percent"])).collect();
    hours.sort();
    assert_eq!(hours, ["\"c0\" \"s-c0\" 30 1500.0", "\"c1\" \"s-c1\" 30 1500.0"], "one hour is final: the other ends after the last reading");
    let seen = read("container.seen");
    assert_eq!(seen.len(), 120);
    assert!(seen.iter().all(|(_, input)| input.starts_with("bin.telemetry/")), "rows lead to the original records");
    let of = |id: &str| counts.iter().find(|(i, _)| i == id).unwrap_or_else(|| panic!("{id}: {counts:?}")).1;
    assert_eq!((of("by_container").emitted, of("by_container.read").emitted, of("hourly").folded), (120, 120, 120));
    assert!(counts.iter().all(|(_, c)| c.balanced() && c.late == 0));
}

#[test]
fn fixtures_play_through_all_slices() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.yaml");
    std::fs::write(&file, FILE).unwrap();
    std::fs::create_dir(dir.path().join("t.fixtures")).unwrap();
    let fixture = "about: readings of two devices are counted in their container
start: 2026-11-02T08:00:00Z
defaults:
  bin.telemetry: { tenant: t1, source: test, schema_version: 1, sent_at: =observed_at, received_at: =observed_at, event_id: '#' }
  ref.container: { tenant: t1, source: test, schema_version: 1, observed_at: 0, sent_at: 0, received_at: 0, valid_from: 0, event_id: '#', waste_stream: general, capacity_l: 1100.0, height_m: 1.4, status: ok }
  ref.device: { tenant: t1, source: test, schema_version: 1, observed_at: 0, sent_at: 0, received_at: 0, valid_from: 0, event_id: '#', model: m, report_interval_s: 60.0, calibration_version: 1 }
steps:
  - push: ref.device
    rows: [{ device_id: d1, container_id: c1 }, { device_id: d2, container_id: c1 }]
  - push: ref.container
    rows: [{ container_id: c1, site_id: s1 }]
  - push: bin.telemetry
    rows:
      - { device_id: d1, observed_at: 2026-11-02T07:10:00Z, filling_level: 0.25 }
      - { device_id: d2, observed_at: 2026-11-02T07:20:00Z, filling_level: 0.5 }
      - { device_id: d1, observed_at: 2026-11-02T08:20:00Z, filling_level: 0.5 }
  - advance: 5s
expect:
  container.hour: [{ container_id: c1, site_id: s1, n: 2, percent: 75 }]
  container.seen: { count: 3 }
  dead_letters: []
";
    std::fs::write(dir.path().join("t.fixtures/one.yaml"), fixture).unwrap();
    let files: Vec<PathBuf> = vec![file];
    crate::topology::play(&files, None).unwrap();
}
