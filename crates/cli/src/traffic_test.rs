//! The `traffic` and `stops` topologies as a whole: planned without roads, refused at start without them, a faulty city's positions
//! against its truth, both slices on a log of several partitions, and a real city's trucks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::demo::encode;
use crate::edge::{NetworkError, RegistryEdge};
use crate::engine::{Engine, EngineOptions};
use crate::evaluate::traffic::{Faults, TrafficEvaluation, evaluate};
use crate::plans;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use ws_city::{City, CityConfig, FaultRates};
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;
use ws_runtime::status::Board;
use ws_sim::SimLog;
use ws_stream::log::{Log, TopicPartition, TopicSpec};
use ws_stream::partition::partition_of;
use ws_stream::records::{Appends, Records};
use ws_stream::task::Edge;
use ws_stream::worker::WorkerOptions;

fn edge() -> RegistryEdge {
    RegistryEdge::new(plans::registry(None).unwrap())
}

fn city(faults: FaultRates) -> CityConfig {
    CityConfig { seed: 5, bins: 700, trucks: 16, faults, ..CityConfig::default() }
}

/// A city in which trucks fail in every way, judged once for several tests.
fn faulty() -> &'static TrafficEvaluation {
    static FOUND: OnceLock<TrafficEvaluation> = OnceLock::new();
    FOUND.get_or_init(|| evaluate(city(Faults::Many.rates()), 3, 2, &plans::registry(None).unwrap()).unwrap())
}

#[test]
fn a_topology_is_checked_without_roads_and_does_not_start_without_them() {
    let edge = edge();
    let slices = plans::built_in("traffic", &edge, &[]).unwrap().into_slices();
    assert_eq!(slices.iter().map(|s| s.name.as_ref()).collect::<Vec<_>>(), ["traffic", "traffic.by_area"]);
    assert!(matches!(edge.ready_for(&slices), Err(NetworkError::Unnamed)));
    let absent = edge.clone().with_roads(PathBuf::from("nowhere/roads.geojsonl"));
    let error = absent.ready_for(&slices).unwrap_err().to_string();
    assert!(error.contains("nowhere/roads.geojsonl") && error.contains("WS_ROADS"), "{error}");
    let error = Edge::operator(&absent, "match-roads", &BTreeMap::new(), &slices[0].stages[0].schema).err().unwrap();
    assert!(error.contains("nowhere/roads.geojsonl"), "{error}");
    // Who needs no roads is not asked for them.
    absent.ready_for(&plans::stops(&edge).unwrap().into_slices()).unwrap();
}

#[test]
fn settings_of_operators_are_checked_where_they_stand() {
    let text = std::fs::read_to_string("../../topologies/traffic.yaml").unwrap();
    let errors = |text: &str| ws_plan::load("t.yaml", text, &edge(), &|_| None).map(|_| ()).unwrap_err().to_string();
    let told = errors(&text.replace("clock_tolerance: 5m", "clock_tolerence: 5m, gap: never"));
    assert!(told.contains("no setting `clock_tolerence` (did you mean `clock_tolerance`?)") && told.contains("`gap` is `never`: 10s to 1h"), "{told}");
    assert!(errors(&text.replace("${TRAFFIC_MIN_VEHICLES:-3}", "1")).contains("`min_vehicles` is `1`: 2 to 64"));
    assert!(errors(&text.replace("operator: match-roads", "operator: match-road")).contains("did you mean `match-roads`?"));
    let told = errors(&text.replace("    from: moving\n    rekey: area", "    from: shorter\n    rekey: area").replace(
        "  - id: by_area\n",
        "  - id: shorter\n    from: moving\n    select: [tenant, sent_at, received_at, area, vehicle_id, segment_id, direction, entered_at, left_at]\n  - id: by_area\n",
    ));
    assert!(told.contains("operator `road-speeds`") && told.contains("metres"), "{told}");
}

#[test]
fn what_a_faulty_citys_trucks_drove_is_found() {
    let found = faulty();
    assert!(found.positions > 10_000 && found.counts.values().all(|c| c.balanced()), "{found}");
    assert!(found.faults.values().all(|n| *n >= 5), "there was something to find: {found}");
    assert!(found.right.0.value() > 0.98 && found.right.0.all > 10_000.0, "{found}");
    assert!(found.found.0.value() > 0.95, "{found}");
    // Held positions came hours of rows late and are used: with those of the live drives nearly nothing is missing.
    assert_eq!((found.stage("matched").dead, found.stage("speeds").dead), (0, 0), "{found}");
}

#[test]
fn wrong_clocks_are_put_aside_with_their_reason_and_nothing_else_is() {
    let found = faulty();
    assert!(found.aside["wrong_clock"] > 50, "{found}");
    let others: Vec<_> = found.aside.keys().filter(|reason| !["wrong_clock", "too_late"].contains(&reason.as_str())).collect();
    assert!(others.is_empty(), "{others:?}");
    let share = found.aside.values().sum::<usize>() as f64 / found.positions as f64;
    assert!(share < 0.05, "{found}");
}

#[test]
fn speeds_are_nearer_to_the_truth_than_the_map_and_tell_of_no_single_truck() {
    let found = faulty();
    let quarter = found.speeds[&900_000];
    assert!(quarter.rows > 300 && quarter.told.mape() < 0.12 && quarter.told.mape() * 1.5 < quarter.free_flow.mape(), "{found}");
    assert!(quarter.told.bias().abs() < 0.05, "{found}");
    assert!(found.fewest_vehicles >= Some(2), "{found}");
    assert!(found.speeds.contains_key(&3_600_000) && found.speeds.contains_key(&86_400_000), "what few drove waits for longer windows: {found}");
}

/// One record in its value.
fn values(records: &Records, read: impl Fn(&[u8]) -> Value) -> Vec<Value> {
    (0..records.rows.len()).filter_map(|i| records.value(i)).map(read).collect()
}

/// Rows of a quarter of an hour: median speed by segment, direction and window.
fn quarters(rows: &[Value]) -> BTreeMap<(String, String, i64), f64> {
    let of = |row: &Value| {
        let (from, until) = (row["window_start"].as_i64()?, row["window_end"].as_i64()?);
        let key = (row["segment_id"].as_str()?.to_owned(), row["direction"].as_str()?.to_owned(), from);
        (until - from == 900_000).then_some((key, row["speed_mps"].as_f64()?))
    };
    rows.iter().filter_map(of).collect()
}

/// Four partitions of positions, both slices by the drivers that production uses, beside one replay of the same positions.
#[test]
fn both_slices_on_a_log_find_what_a_replay_finds() {
    let registry = plans::registry(None).unwrap();
    let mut city = City::new(city(FaultRates::default()));
    let edge = edge().with_network(city.roads().clone());
    let parameters = [("TRAFFIC_MIN_VEHICLES", "2".to_string())];
    let slices = plans::traffic_to_judge(&edge, &parameters, "traversals").unwrap().into_slices();
    let log = SimLog::new();
    log.admin().unwrap().create(&[TopicSpec { name: "vehicle.position".into(), partitions: 4, config: Vec::new() }]).unwrap();
    let mut replay = Replay::of_slices(&slices, Arc::new(edge.clone()), Models::default(), city.now_ms()).unwrap();
    let (mut appender, mut total) = (log.appender().unwrap(), 0);
    let end_ms = city.now_ms() + 86_400_000;
    while city.now_ms() < end_ms {
        let mut events = city.advance(city.now_ms() + 600_000);
        events.retain(|e| e.topic == "vehicle.position");
        total += events.len() as u64;
        appender.append(&encode(&events, &registry, 4).unwrap()).unwrap();
        for a in encode(&events, &registry, 1).unwrap() {
            let rows = (0..a.rows.len()).map(|i| (a.row(i).0, a.row(i).1, a.rows[i].timestamp_ms));
            replay.feed(&a.topic, rows).unwrap();
        }
    }
    // The day's end in every partition, by rows without a place: no window stays open.
    for partition in 0..4 {
        let key = (0..).map(|n| format!("end-{n}")).find(|key| partition_of(key.as_bytes(), 4) == partition).unwrap();
        let at_ms = end_ms + 3_600_000;
        let row = serde_json::json!({
            "tenant": "t", "event_id": key, "observed_at": at_ms, "sent_at": at_ms, "received_at": at_ms, "source": "test", "schema_version": 1,
            "vehicle_id": key, "latitude_deg": 0.0, "longitude_deg": 0.0,
        });
        let value = registry.encode_json_value("vehicle.position", &row).unwrap();
        let mut last = Appends::new("vehicle.position".into());
        last.push(partition, at_ms, Some(key.as_bytes()), Some(&value), &[]);
        appender.append(&[last]).unwrap();
        replay.feed(&"vehicle.position".into(), [(Some(key.as_bytes()), Some(value.as_slice()), at_ms)]).unwrap();
        total += 1;
    }
    drop(appender);
    let board = Board::default();
    let engine = Engine::start(EngineOptions {
        slices,
        log: Arc::new(log.clone()),
        edge: Arc::new(edge),
        models: Models::default(),
        first_slot: 0,
        workers: 2,
        create_outputs: true,
        snapshots: None,
        worker: WorkerOptions { commit_interval_ms: 20, ..WorkerOptions::default() },
        board: board.clone(),
    })
    .unwrap();
    let (began, mut same, mut before) = (Instant::now(), 0, 0);
    // Everything is read, and what was re-keyed has arrived behind the topic.
    while same < 10 && began.elapsed() < Duration::from_secs(120) && !engine.ended() {
        std::thread::sleep(Duration::from_millis(50));
        let counts = board.summary().counts;
        let of = |id: &str| counts.iter().find(|(i, _)| i == id).map_or((0, 0), |(_, c)| (c.input, c.emitted));
        let done = of("positions").0 == total && of("by_area").1 == of("by_area.read").1;
        same = if done && of("speeds").0 == before { same + 1 } else { 0 };
        before = of("speeds").0;
    }
    assert!(!engine.ended() && same == 10, "{:?} {:?}", board.summary().stopped, board.summary().counts);
    engine.stop().unwrap();
    let read = |topic: &str, decode: &dyn Fn(&[u8]) -> Value| {
        let info = log.admin().unwrap().topic(topic).unwrap().unwrap();
        let mut reader = log.reader().unwrap();
        (0..info.partitions).for_each(|p| reader.add(&TopicPartition::new(topic, p), 0).unwrap());
        let mut rows = Vec::new();
        loop {
            let polled = reader.poll(0).unwrap();
            if polled.iter().all(|(_, records)| records.rows.is_empty()) {
                return rows;
            }
            rows.extend(polled.iter().flat_map(|(_, records)| values(records, decode)));
        }
    };
    let json = |v: &[u8]| -> Value { serde_json::from_slice(v).unwrap() };
    let avro = |v: &[u8]| -> Value { registry.decode_to_json(v).unwrap() };
    let (traversals, wanted) = (read("traversals", &json), values(&replay.take("traversals"), json));
    assert!(wanted.len() > 3_000 && traversals.len().abs_diff(wanted.len()) * 100 < wanted.len(), "{} {}", traversals.len(), wanted.len());
    let (found, wanted) = (quarters(&read("road.speed", &avro)), quarters(&values(&replay.take("road.speed"), avro)));
    let alike = wanted.iter().filter(|(key, mps)| found.get(*key).is_some_and(|other| (other / **mps - 1.0).abs() < 0.02)).count();
    assert!(wanted.len() > 50 && alike * 20 > wanted.len() * 19, "{alike} of {} ({} found)", wanted.len(), found.len());
    assert!(board.summary().counts.iter().all(|(_, c)| c.balanced()));
}

fn shared(file: &str) -> Option<String> {
    let named = std::env::var_os("WS_SHARED_DATA").map(PathBuf::from);
    let found = named.into_iter().chain([PathBuf::from("../../../shared/data")]).map(|folder| folder.join(file)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: {file} is absent; set WS_SHARED_DATA to the folder that holds gps/");
    }
    found.map(|path| path.display().to_string())
}

#[test]
fn the_trucks_of_jersey_city_become_stops_and_drives() {
    let Some(file) = shared("gps/jersey_city_garbage_trucks_2015.csv") else { return };
    let map = Path::new("../../topologies/maps/jersey-city.yaml");
    let mut notes = Vec::new();
    let found = crate::evaluate::stops::evaluate(map, &file, &plans::registry(None).unwrap(), &mut notes).unwrap();
    eprintln!("{found}");
    assert_eq!((found.ingest.read_rows, found.ingest.bad, found.vehicles), (7_971, 0, 68), "{}", String::from_utf8_lossy(&notes));
    // Every position goes in and none is late: rows of one truck are sorted, and lateness is by truck.
    assert!(found.counts.values().all(|c| c.balanced() && c.late == 0 && c.dead == 0), "{:?}", found.counts);
    // What the library finds in the file without any engine.
    let (stops, moves) = (found.stops_min.len(), found.moves());
    assert_eq!((stops, moves), (62, 6_470));
    assert!(found.stops_min.iter().all(|minutes| *minutes >= 2.0) && found.drives.iter().all(|(seconds, metres, _)| *seconds > 0.0 && *metres >= 0.0));
}
