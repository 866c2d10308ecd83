//! Optimisation on a real broker: the `route` topology plans two areas while tickets come in, and its process is killed
//! (SIGKILL) while solvers are thinking, and started again. When a plan is made, and so how many there are, depends on
//! time; what a killed run must share with an undisturbed one is what the stage promises: every area's plans are
//! numbered without a gap and each follows from the one before, nothing stands twice, nothing is refused, and the last
//! plan of an area knows all that was said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use ws_log::kafka::KafkaLog;
use ws_log::registry::Registry;
use ws_stream::log::{Append, End, Log as _, TopicPartition, TopicSpec};
use ws_stream::partition::partition_of;
use ws_stream::records::Appends;

use crate::support::load::log_on;
use crate::support::verdict::Partition;
use crate::support::{App, Kafka, repository};

const AREAS: [&str; 2] = ["north", "south"];
/// Sites of an area; the first ones are planned from the start, a ticket asks for each other one.
const SITES: usize = 13;
const KNOWN: usize = 3;
/// From one ticket to the next.
const EVERY: Duration = Duration::from_millis(1_300);
/// Lives of the process, at least, ms. Kafka gives a dead member's tasks away after 6 s: a short one ends before it owns any.
const LIVES_MS: [u64; 4] = [3_000, 1_200, 9_500, 9_500];
/// Since the last ticket: by then a call about it is out, and for some time longer.
const THINKING: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_millis(1_000);
/// Catching up on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);
/// Nothing new for so long is the end.
const QUIET: Duration = Duration::from_secs(3);
/// Tasks of the board; every other topic has one partition.
const BOARDS: u32 = 2;
const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// The sources of `route`.
const INPUTS: [&str; 18] = [
    "bin.forecast",
    "ref.schedule",
    "ref.container",
    "service.ticket",
    "collection.event",
    "ref.site",
    "ref.zone",
    "ref.facility",
    "facility.status",
    "road.closure",
    "road.speed",
    "ref.waste-stream",
    "ref.unit-cost",
    "ref.shift",
    "shift.event",
    "ref.vehicle",
    "vehicle.status",
    "vehicle.position",
];

/// `route` under a name of its own, with JSON outputs and a patience that fits a test.
struct Run {
    name: &'static str,
    file: PathBuf,
}

impl Run {
    fn write(dir: &Path, name: &'static str) -> Run {
        let mut text = std::fs::read_to_string(repository().join("topologies/route.yaml")).expect("route");
        let mut replace = |from: &str, to: String| {
            assert!(text.contains(from), "route.yaml has no `{from}` any more");
            text = text.replace(from, &to);
        };
        replace("topology: route\n", format!("topology: {name}\n"));
        replace("dlq.route", format!("dlq.{name}"));
        for sink in ["plan: { from: plans", "change: { from: changes", "problem: { from: problems"] {
            replace(&format!("route.{sink} }}"), format!("{name}.{sink}, key: planning_area_id, format: json }}"));
        }
        replace("debounce: 20s", "debounce: 300ms".into());
        replace("max_wait: 5m", "max_wait: 2s".into());
        replace("at_most_every: 2m", "at_most_every: 1s".into());
        // Time ends the search, on a fast machine too: a call is under way most of the time.
        replace("budget: 20s", "budget: 1500ms".into());
        replace("iterations: ${ROUTE_ITERATIONS:-3000}\n", "\n".into());
        let file = dir.join(format!("{name}.yaml"));
        std::fs::write(&file, text).expect("the copy");
        Run { name, file }
    }

    fn app(&self, bootstrap: &str) -> App {
        let file = self.file.display().to_string();
        let env = [("WS_ENGINE__SNAPSHOT_INTERVAL_MS", "2000"), ("ROUTE_AUTOMATIC", "true")];
        App::stopped(&["run", "--bootstrap", bootstrap, "--topology", &file, "--create-outputs", "--slot", "0"], &env)
    }

    fn rows(&self, log: &KafkaLog, sink: &str) -> Vec<Value> {
        values(log, &format!("{}.{sink}", self.name))
    }

    /// How far its plans go: moves with every one.
    fn end(&self, log: &KafkaLog) -> i64 {
        let (topic, mut admin) = (format!("{}.plan", self.name), log.admin().expect("an admin"));
        let partitions = admin.topic(&topic).expect("topics").map_or(0, |t| t.partitions);
        (0..partitions).map(|p| admin.end(&TopicPartition::new(topic.as_str(), p), End::Stable).expect("end")).sum()
    }

    /// Plans by area, in order.
    fn plans(&self, log: &KafkaLog) -> BTreeMap<String, Vec<Value>> {
        let mut plans: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for plan in self.rows(log, "plan") {
            plans.entry(text(&plan, "planning_area_id")).or_default().push(plan);
        }
        plans
    }
}

fn values(log: &KafkaLog, topic: &str) -> Vec<Value> {
    let Some(info) = log.admin().expect("an admin").topic(topic).expect("topics") else { return Vec::new() };
    let rows = (0..info.partitions).flat_map(|p| Partition::open(log, topic, p));
    rows.map(|r| serde_json::from_slice(&r.value).expect("JSON")).collect()
}

fn text(v: &Value, field: &str) -> String {
    v[field].as_str().unwrap_or_default().to_owned()
}

/// Sites that a plan visits, and those that it leaves out.
fn sites(plan: &Value) -> [BTreeSet<String>; 2] {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let stops = list(&plan["routes"]).iter().flat_map(|r| list(&r["stops"])).filter(|s| s["site_id"].is_string()).map(|s| text(&s, "site_id")).collect();
    [stops, list(&plan["skipped"]).iter().map(|s| text(s, "site_id")).collect()]
}

/// All sites that a plan tells of.
fn known(plan: &Value) -> BTreeSet<String> {
    sites(plan).into_iter().flatten().collect()
}

fn site(area: &str, i: usize) -> String {
    format!("{area}-s{i}")
}

/// What is said about the areas' day, and when.
struct Day {
    registry: Registry,
    appender: Box<dyn Append>,
    start_ms: i64,
    told: usize,
}

impl Day {
    fn new(log: &KafkaLog) -> Day {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as i64;
        let start_ms = now_ms - now_ms % DAY_MS - DAY_MS;
        Day { registry: Registry::embedded().expect("the contracts"), appender: log.appender().expect("an appender"), start_ms, told: 0 }
    }

    fn say(&mut self, topic: &str, key: &str, at_ms: i64, more: Value) {
        self.told += 1;
        let mut value = json!({
            "tenant": "city", "event_id": format!("e-{}", self.told), "observed_at": at_ms, "sent_at": at_ms, "received_at": at_ms, "source": "test",
            "schema_version": 1,
        });
        let (Some(all), Value::Object(more)) = (value.as_object_mut(), more) else { unreachable!("objects") };
        all.extend(more);
        if topic.starts_with("ref.") {
            all.insert("valid_from".into(), json!(at_ms));
        }
        let bytes = self.registry.encode_json_value(topic, &value).unwrap_or_else(|e| panic!("{topic}: {e}"));
        let partitions = if topic == "plan.decision" { BOARDS } else { 1 };
        let mut a = Appends::new(topic.into());
        // The broker's clock: old segments go.
        a.push(partition_of(key.as_bytes(), partitions), self.start_ms + DAY_MS, Some(key.as_bytes()), Some(&bytes), &[]);
        self.appender.append(&[a]).expect("an append");
    }

    fn references(&mut self) {
        let at_ms = self.start_ms - DAY_MS;
        self.say("ref.unit-cost", "overflow", at_ms, json!({"cost_item": "overflow", "unit": "event", "currency": "EUR", "cost_minor": 30_000.0}));
        for (n, area) in AREAS.into_iter().enumerate() {
            let (zone, depot, tip) = (format!("{area}-z"), format!("{area}-depot"), format!("{area}-tip"));
            let latitude = 48.0 + n as f64 * 0.2;
            self.say("ref.zone", &zone, at_ms, json!({"zone_id": zone, "name": area, "time_zone": "UTC", "planning_area_id": area}));
            for (id, kind, east) in [(&depot, "depot", 0.0), (&tip, "disposal", 0.03)] {
                let place = json!({"facility_id": id, "name": id, "kind": kind, "latitude_deg": latitude, "longitude_deg": 11.5 + east, "time_zone": "UTC", "waste_streams": if kind == "depot" { json!([]) } else { json!(["residual"]) }});
                self.say("ref.facility", id, at_ms, place);
            }
            for truck in 0..2 {
                let id = format!("{area}-v{truck}");
                let vehicle = json!({"vehicle_id": id, "vehicle_type": "rear_loader", "home_depot_id": depot, "payload_kg": 8000.0, "volume_l": 15000.0, "compaction_ratio": 4.0, "waste_streams": ["residual"], "skills": [], "in_service": true});
                self.say("ref.vehicle", &id, at_ms, vehicle);
                let shift = json!({"shift_id": format!("{id}-early"), "planning_area_id": area, "vehicle_id": id, "depot_id": depot, "break_s": 0.0, "skills": [], "cancelled": false, "starts_at": self.start_ms + 6 * HOUR_MS, "ends_at": self.start_ms + 14 * HOUR_MS});
                self.say("ref.shift", &format!("{id}-early"), at_ms, shift);
            }
            for i in 0..SITES {
                let (id, container) = (site(area, i), format!("{area}-c{i}"));
                let place = json!({"site_id": id, "name": id, "latitude_deg": latitude + 0.004 * (i % 4) as f64, "longitude_deg": 11.5 + 0.006 * (i / 4) as f64, "zone_id": zone, "time_zone": "UTC", "service_s": 120.0});
                self.say("ref.site", &id, at_ms, place);
                let bin = json!({"container_id": container, "site_id": id, "waste_stream": "residual", "capacity_l": 1100.0, "height_m": 1.2, "status": "ok"});
                self.say("ref.container", &container, at_ms, bin);
                if i < KNOWN {
                    let device = format!("{area}-d{i}");
                    let forecast = json!({"prediction_id": format!("p-{device}"), "device_id": device, "container_id": container, "site_id": id, "filling_level": 0.9, "hours_to_full_p10": 5.0, "hours_to_full_p50": 8.0, "hours_to_full_p90": 12.0, "sensor_health": "ok", "rung": "model", "model_version": "m", "feature_hash": "h", "age_ms": 0, "corrected": false});
                    self.say("bin.forecast", &device, self.start_ms + 3 * HOUR_MS, forecast);
                }
            }
        }
    }

    /// The `n`th ticket: the areas in turn, half of the tickets do not wait.
    fn ticket(&mut self, n: usize) {
        let (area, i) = (AREAS[n % 2], KNOWN + n / 2);
        let at_ms = self.start_ms + 4 * HOUR_MS + n as i64 * 60_000;
        let priority = if n % 4 < 2 { "urgent" } else { "high" };
        let id = format!("t-{n}");
        let ticket =
            json!({"ticket_id": id, "site_id": site(area, i), "state": "opened", "opened_at": at_ms, "category": "missed_collection", "priority": priority});
        self.say("service.ticket", &id, at_ms, ticket);
    }
}

/// What the stage decided, as its manifest tells: kind and words.
fn decided(log: &KafkaLog, run: &Run) -> Vec<(String, String)> {
    let slices = ["sites_by_area", "places_by_area", "common_by_area", "vehicles_by_area"];
    let manifests = slices.iter().flat_map(|slice| values(log, &format!("ws.{}.{slice}.manifest", run.name)));
    let decided = manifests.flat_map(|m| m["decisions"].as_array().cloned().unwrap_or_default());
    let word = |d: &Value, i: usize| d[i].as_str().unwrap_or_default().to_owned();
    decided.filter(|d| d[0] == "planned").map(|d| (word(&d, 1), word(&d, 2))).collect()
}

/// Does the last plan of every area visit all that was asked for?
fn covered(log: &KafkaLog, run: &Run) -> bool {
    let plans = run.plans(log);
    AREAS.iter().all(|area| plans.get(*area).and_then(|p| p.last()).is_some_and(|p| (KNOWN..SITES).all(|i| sites(p)[0].contains(&site(area, i)))))
}

#[test]
fn killed_while_solvers_think_every_area_keeps_one_line_of_plans_that_knows_all() {
    let Some(kafka) = Kafka::start(1) else { return };
    let log = log_on(&kafka.bootstrap);
    let dir = tempfile::tempdir().expect("a folder");
    let (storm, calm) = (Run::write(dir.path(), "storm-route"), Run::write(dir.path(), "calm-route"));
    let mut specs: Vec<TopicSpec> = INPUTS.iter().map(|t| TopicSpec { name: (*t).into(), partitions: 1, config: Vec::new() }).collect();
    specs.push(TopicSpec { name: "plan.decision".into(), partitions: BOARDS, config: Vec::new() });
    log.admin().expect("an admin").create(&specs).expect("the input topics");
    let mut day = Day::new(&log);
    day.references();

    let (mut killed, mut undisturbed) = (storm.app(&kafka.bootstrap), calm.app(&kafka.bootstrap));
    undisturbed.start_again();
    killed.start_again();
    let tickets = (SITES - KNOWN) * AREAS.len();
    let (mut n, mut last) = (0, Instant::now());
    // Tells the next ticket when its time has come; how long ago the last one was told, while there are more.
    let mut feed = |day: &mut Day| {
        if n < tickets && (n == 0 || last.elapsed() >= EVERY) {
            day.ticket(n);
            (n, last) = (n + 1, Instant::now());
        }
        (n < tickets).then(|| last.elapsed())
    };
    let mut kills = 0;
    for life_ms in LIVES_MS {
        let least = Instant::now() + Duration::from_millis(life_ms);
        // A solver thinks: something was just said.
        while feed(&mut day).is_some_and(|since| Instant::now() < least || !THINKING.contains(&since)) {
            assert!(killed.is_running(), "it ended by itself:\n{}", killed.output());
            std::thread::sleep(Duration::from_millis(20));
        }
        killed.kill9();
        kills += 1;
        killed.launch();
    }
    while feed(&mut day).is_some() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let fed = Instant::now();
    // Reading a topic takes a second or two: only when there is something new.
    let (mut seen, mut quiet, mut done) = ([0; 2], Instant::now(), [false; 2]);
    while done.contains(&false) || quiet.elapsed() < QUIET {
        let ends = [&storm, &calm].map(|run| run.end(&log));
        for (i, run) in [&storm, &calm].into_iter().enumerate().filter(|(i, _)| ends[*i] != seen[*i]) {
            (done[i], quiet) = (covered(&log, run), Instant::now());
        }
        seen = ends;
        let told = || [&storm, &calm].map(|r| (r.rows(&log, "problem"), decided(&log, r)));
        assert!(fed.elapsed() < LIMIT, "not all is planned {done:?}: {:#?}\n{}", told(), killed.output());
        std::thread::sleep(Duration::from_millis(200));
    }
    let caught_up = fed.elapsed();
    assert_eq!((killed.stop().code, undisturbed.stop().code), (0, 0), "graceful ends");

    let counts = [&storm, &calm].map(|run| judge(&log, run));
    // Calls that were under way when the process ended.
    let again = decided(&log, &storm).iter().filter(|(kind, words)| kind == "asked" && words.contains("because recovered")).count();
    let last = |run: &Run| run.plans(&log).into_iter().map(|(area, p)| (area, known(p.last().expect("a plan")))).collect::<BTreeMap<_, _>>();
    assert_eq!(last(&storm), last(&calm), "the last plans know the same sites");
    let plans = counts.map(|c| c.plans);
    println!(
        "plans under SIGKILL: {tickets} tickets, {kills} kills, {again} calls asked again; plans of {AREAS:?}: {:?}, undisturbed {:?}; \
         changes {} and {}; all planned {:.1} s after the last ticket",
        plans[0],
        plans[1],
        counts[0].changes,
        counts[1].changes,
        (caught_up - QUIET).as_secs_f64(),
    );
    assert!(again >= 2, "too few calls were under way when the process was killed: {again}");
    assert!(plans.iter().flatten().all(|n| *n >= 3), "too few plans to tell: {plans:?}");
}

/// What one run published.
#[derive(Clone, Copy, Debug)]
struct Counted {
    plans: [usize; 2],
    changes: usize,
}

fn judge(log: &KafkaLog, run: &Run) -> Counted {
    let mut ids = BTreeSet::new();
    let sinks = ["plan", "change", "problem"].map(|sink| run.rows(log, sink));
    for row in sinks.iter().flatten() {
        let id = text(row, "event_id");
        assert!(!id.is_empty() && ids.insert(id.clone()), "{}: {id} stands twice: {row}", run.name);
    }
    let mut by_area = BTreeMap::new();
    let plans = run.plans(log);
    for (area, plans) in &plans {
        let mut decision = 0;
        for (i, plan) in plans.iter().enumerate() {
            let told = (plan["plan_version"].as_u64(), text(plan, "state"), text(plan, "supersedes"));
            let version = i as u64 + 1;
            let before = if i == 0 { String::new() } else { format!("{}:{i}", text(plan, "plan_id")) };
            assert_eq!(told, (Some(version), "accepted".to_owned(), before), "{}, {area}: plan {version}", run.name);
            let number = number_of(&text(plan, "event_id"));
            assert!(number > decision, "{}, {area}: decision {number} after {decision}", run.name);
            decision = number;
            let [stops, skipped] = sites(plan);
            assert!(stops.is_disjoint(&skipped), "{}, {area}: both visited and left out: {plan}", run.name);
        }
        by_area.insert(area.as_str(), plans.len());
    }
    for change in &sinks[1] {
        let (area, version) = (text(change, "planning_area_id"), change["plan_version"].as_u64().unwrap_or(0));
        assert!((1..=by_area.get(area.as_str()).copied().unwrap_or(0) as u64).contains(&version), "{}: a change of no plan: {change}", run.name);
    }
    // At first a board may be asked about before other slices have read its references; the last plan knows them all.
    for problem in &sinks[2] {
        let last = plans.get(&text(problem, "planning_area_id")).and_then(|p| p.last()).map_or(0, |p| number_of(&text(p, "event_id")));
        let passing = ["unknown_site", "unknown_depot", "no_vehicles", "vehicle_without_streams"].contains(&text(problem, "code").as_str())
            && number_of(&text(problem, "event_id")) < last;
        assert!(passing, "{}: {problem}", run.name);
    }
    assert_eq!(values(log, &format!("dlq.{}", run.name)), Vec::<Value>::new(), "{}: dead letters", run.name);
    Counted { plans: AREAS.map(|a| by_area.get(a).copied().unwrap_or(0)), changes: sinks[1].len() }
}

/// The number of a decision, from `topology/stage/key/number/row`.
fn number_of(event_id: &str) -> u64 {
    let number = event_id.split('/').nth(3).and_then(|n| n.parse().ok());
    number.unwrap_or_else(|| panic!("{event_id} names no decision"))
}
