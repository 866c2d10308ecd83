//! Every prediction ends once: the `outcome` topology behind `bin-fill` on the simulated city, compared with the city's
//! truth, and on random contracts and work orders, compared with the accounts by which training labels.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::demo::encode;
use crate::edge::RegistryEdge;
use crate::plans;
use crate::scores::Scores;
use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ws_city::{City, CityConfig, Event, Truth};
use ws_log::registry::Registry;
use ws_models::risk_facts::RiskOutcome;
use ws_models::{CustomerFacts, VehicleFacts};
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;
use ws_stream::records::Records;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Topologies in memory, one behind the other.
struct Line {
    registry: Arc<Registry>,
    bin_fill: Replay,
    outcome: Replay,
    predictions: Vec<Value>,
    outcomes: Vec<Value>,
}

impl Line {
    fn new() -> Line {
        let registry = plans::registry(None).unwrap();
        let edge = RegistryEdge::new(registry.clone());
        let replay = |slices: &[_]| Replay::of_slices(slices, Arc::new(edge.clone()), Models::default(), 0).unwrap();
        let bin_fill = replay(&plans::bin_fill(&edge).unwrap().into_slices());
        let outcome = replay(&plans::built_in("outcome", &edge, &[]).unwrap().into_slices());
        Line { registry, bin_fill, outcome, predictions: Vec::new(), outcomes: Vec::new() }
    }

    fn values(&self, records: &Records) -> Vec<Value> {
        (0..records.rows.len()).map(|i| self.registry.decode_to_json(records.value(i).unwrap()).unwrap()).collect()
    }

    /// Events through both topologies; forecasts go from the first to the second.
    fn send(&mut self, events: &[Event], now_ms: i64) {
        self.bin_fill.set_now_ms(now_ms);
        self.outcome.set_now_ms(now_ms);
        let mut appends = encode(events, &self.registry, 1).unwrap();
        // References and collections first, so that what they say is known at the readings.
        appends.sort_by_key(|a| !a.topic.starts_with("ref.") as u8 + u8::from(&*a.topic != "collection.event"));
        for a in &appends {
            let rows = || (0..a.rows.len()).map(|i| (a.row(i).0, a.row(i).1, a.rows[i].timestamp_ms));
            self.bin_fill.feed(&a.topic, rows()).unwrap();
            self.outcome.feed(&a.topic, rows()).unwrap();
        }
        self.bin_fill.tick().unwrap();
        let forecasts = self.bin_fill.take("bin.forecast");
        self.predictions.extend(self.values(&forecasts));
        let rows = (0..forecasts.rows.len()).map(|i| (forecasts.key(i), forecasts.value(i), now_ms));
        self.outcome.feed(&"bin.forecast".into(), rows).unwrap();
        self.collect();
    }

    /// One record of a topic.
    fn push(&mut self, topic: &str, key: &str, value: &Value, now_ms: i64) {
        let value = self.registry.encode_json_value(topic, value).unwrap();
        self.outcome.set_now_ms(now_ms);
        self.outcome.feed(&topic.into(), [(Some(key.as_bytes()), Some(&value[..]), now_ms)]).unwrap();
        self.collect();
    }

    fn collect(&mut self) {
        self.outcome.tick().unwrap();
        let records = self.outcome.take("prediction.outcome");
        let values = self.values(&records);
        self.outcomes.extend(values);
    }

    /// A reading far ahead moves the watermark over everything that is open.
    fn flush(&mut self, at_ms: i64) {
        let reading = json!({"tenant": "t", "event_id": "flush", "observed_at": at_ms, "sent_at": at_ms, "received_at": at_ms, "source": "test",
            "schema_version": 1, "device_id": "flush", "filling_level": 0.5});
        self.push("bin.telemetry", "flush", &reading, at_ms);
        for _ in 0..3 {
            self.outcome.set_now_ms(at_ms + HOUR_MS);
            self.collect();
        }
    }
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

fn ms(row: &Value, name: &str) -> i64 {
    row[name].as_i64().unwrap_or_else(|| panic!("{name} of {row}"))
}

/// Questions asked: (prediction, target).
fn asked(predictions: &[Value]) -> Vec<(String, &'static str)> {
    let mut all = Vec::new();
    for p in predictions {
        if !p["level_24h_p50"].is_null() {
            all.push((text(p, "prediction_id").to_string(), "level_24h"));
        }
        if !p["p_overflow"].is_null() && p["next_visit_at"].as_i64().is_some_and(|at| at > ms(p, "observed_at")) {
            all.push((text(p, "prediction_id").to_string(), "overflow"));
        }
    }
    all
}

/// How many ended how; none twice, none that nobody asked.
fn count(line: &Line, asked: &[(String, &'static str)]) -> BTreeMap<String, u64> {
    let questions: BTreeSet<(&str, &str)> = asked.iter().map(|(id, target)| (id.as_str(), *target)).collect();
    assert_eq!(questions.len(), asked.len(), "ids of predictions are unique");
    let (mut seen, mut ends) = (BTreeSet::new(), BTreeMap::new());
    for row in &line.outcomes {
        let question = (text(row, "prediction_id"), text(row, "target"));
        assert!(questions.contains(&question), "nobody asked {question:?}");
        assert!(seen.insert(question), "{question:?} ended twice");
        *ends.entry(format!("{} {}", text(row, "target"), text(row, "outcome"))).or_default() += 1;
    }
    ends
}

#[test]
fn forecasts_of_a_simulated_city_end_once_and_their_labels_are_what_really_came() {
    let config = CityConfig { seed: 7, bins: 60, trucks: 4, position_interval_s: 300, ..CityConfig::default() };
    let (mut city, mut line) = (City::new(config), Line::new());
    let end_ms = city.now_ms() + 5 * DAY_MS;
    line.send(&city.references(), city.now_ms());
    while city.now_ms() < end_ms {
        let events = city.advance(city.now_ms() + HOUR_MS / 4);
        line.send(&events, city.now_ms());
    }
    let asked = asked(&line.predictions);
    let ends = count(&line, &asked);
    let of = |what: &str| ends.get(what).copied().unwrap_or(0);
    println!("{} asked, ends: {ends:?}", asked.len());
    assert!(asked.len() > 10_000, "{}", asked.len());
    assert!(of("level_24h labelled") > 1_000 && of("level_24h censored") > 500 && of("overflow labelled") > 500, "{ends:?}");
    let ended: BTreeSet<(&str, &str)> = line.outcomes.iter().map(|row| (text(row, "prediction_id"), text(row, "target"))).collect();
    let pending = asked.iter().filter(|(id, target)| !ended.contains(&(id.as_str(), *target))).count();
    assert_eq!(asked.len(), line.outcomes.len() + pending);
    assert!(pending > 60 * 24, "what was predicted in the last day is open: {pending}");
    compare(&line, city.truth());

    // What `/v1/models` would tell of the rule that answered.
    let scores = Scores::default();
    assert!(line.outcomes.iter().all(|row| scores.take(row)));
    let told = scores.status();
    let score = |target: &str| told.scores.iter().find(|s| s["target"] == target && s["window"] == "7d" && s["rung"] == "heuristic").unwrap();
    let (level, overflow) = (score("level_24h"), score("overflow"));
    println!("level_24h {level}\noverflow {overflow}");
    assert_eq!((level["labelled"].as_u64(), overflow["labelled"].as_u64()), (Some(of("level_24h labelled")), Some(of("overflow labelled"))));
    assert!(level["mae"].as_f64() < level["baseline_mae"].as_f64(), "the rule knows more than that nothing changes");
    assert!(level["coverage"].as_f64() > Some(0.5) && overflow["brier"].as_f64() < Some(0.25));

    // Everything settles: nothing is left, nothing is lost.
    let reading = line.outcomes.len();
    line.flush(end_ms + 20 * DAY_MS);
    let ends = count(&line, &asked);
    assert_eq!(ends.values().sum::<u64>() as usize, asked.len(), "{ends:?}");
    assert!(line.outcomes.len() > reading);
    let counts: BTreeMap<String, _> = line.outcome.counts().into_iter().collect();
    assert!(counts.values().all(|c| c.balanced()), "{counts:?}");
    let (open, ends) = (&counts["open_of_bins"], &counts["ends_of_bins"]);
    let engine = (open.folded as usize, open.dead, open.made as usize, ends.made as usize);
    assert_eq!(engine, (asked.len(), 0, asked.len(), asked.len()), "the engine counts the same");
}

/// Labels beside the truth. Sensors lie at times (stuck, jumping, wrong clocks), so shares are compared, not rows.
fn compare(line: &Line, truth: Truth<'_>) {
    let predicted: BTreeMap<&str, &Value> = line.predictions.iter().map(|p| (text(p, "prediction_id"), p)).collect();
    let (mut near, mut labels, mut right, mut overflows, mut really, mut emptied) = (0, 0, 0, 0, 0, 0);
    for row in &line.outcomes {
        let p = predicted[text(row, "prediction_id")];
        let container = text(p, "container_id");
        let (from_ms, at_ms) = (ms(row, "predicted_at"), ms(p, "observed_at") + DAY_MS);
        let due_ms = if text(row, "target") == "level_24h" { at_ms } else { ms(p, "next_visit_at") };
        match (text(row, "target"), text(row, "outcome")) {
            ("level_24h", "labelled") => {
                labels += 1;
                let Some(level) = truth.level_at(container, due_ms) else { continue };
                near += usize::from((row["actual"].as_f64().unwrap() - level.min(1.0)).abs() < 0.06);
                assert_eq!(row["error"].as_f64().unwrap(), row["actual"].as_f64().unwrap() - p["level_24h_p50"].as_f64().unwrap());
            }
            ("overflow", "labelled") if row["weight"].as_f64() > Some(0.0) => {
                overflows += 1;
                let until_ms = ms(row, "resolved_at").min(due_ms);
                let level = truth.level_at(container, until_ms - 1).unwrap_or(f64::NAN);
                right += usize::from(if row["actual"] == 1.0 { level >= 0.95 } else { level < 1.03 });
            }
            (_, "censored") if text(row, "censor_reason") == "emptied" => {
                emptied += 1;
                let resolved_ms = ms(row, "resolved_at");
                assert!(resolved_ms > from_ms && resolved_ms <= due_ms, "{row}");
                really += usize::from(truth.emptyings().iter().any(|e| e.container_id == container && e.at_ms > from_ms && e.at_ms <= resolved_ms + HOUR_MS));
            }
            _ => {}
        }
    }
    println!("levels {near} of {labels} within 0.06, overflows {right} of {overflows} right, emptyings {really} of {emptied} real");
    assert!(near as f64 >= 0.95 * labels as f64, "{near} of {labels}");
    assert!(right as f64 >= 0.97 * overflows as f64, "{right} of {overflows}");
    assert!(really as f64 >= 0.95 * emptied as f64, "{really} of {emptied}");
}

/// A small generator, so that the stories below are the same on every machine.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn base(event_id: String, at_ms: i64) -> Value {
    json!({"tenant": "t", "event_id": event_id, "observed_at": at_ms, "sent_at": at_ms, "received_at": at_ms, "source": "test", "schema_version": 1})
}

fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

fn columns(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// (subject, when asked) → what came of it, from the rows of `prediction.outcome`.
fn ends(line: &Line, target: &str) -> BTreeMap<String, String> {
    let told = |row: &Value| match text(row, "outcome") {
        "labelled" => format!("{}", row["actual"]),
        "censored" => text(row, "censor_reason").to_string(),
        other => other.to_string(),
    };
    let rows: Vec<&Value> = line.outcomes.iter().filter(|row| text(row, "target") == target).collect();
    let map: BTreeMap<String, String> = rows.iter().map(|row| (text(row, "prediction_id").to_string(), told(row))).collect();
    assert_eq!(map.len(), rows.len(), "each ended once");
    map
}

fn account(outcome: RiskOutcome) -> Option<String> {
    match outcome {
        RiskOutcome::Labelled { came, .. } => Some(if came { "1.0" } else { "0.0" }.into()),
        RiskOutcome::Censored(reason) => Some(reason.into()),
        _ => None,
    }
}

#[test]
fn churn_risks_end_as_training_labels_them() {
    let (mut line, mut draw) = (Line::new(), Draw(3));
    let (customers, days) = (40u64, 200i64);
    // Facts by day; half of the customers stay.
    let mut facts: Vec<(i64, u64, &str)> = Vec::new();
    for c in 0..customers {
        let day = 20 + draw.below(150) as i64;
        match draw.below(8) {
            0 | 1 => facts.extend([(day, c, "notice_given"), (day + 20, c, "ended")]),
            2 => facts.push((day, c, "moved")),
            3 => facts.push((day, c, "call")),
            4 => facts.extend([(day, c, "call"), (day + 20, c, "ended")]),
            _ => {}
        }
    }
    facts.sort();
    let (mut known, mut asked) = (CustomerFacts::default(), Vec::new());
    let (mut who, mut what, mut when, mut wanted) = (vec![], vec![], vec![], vec![]);
    let (mut treated, mut treated_ms) = (vec![], vec![]);
    for day in 0..days {
        let now_ms = day * DAY_MS + 1_000 * HOUR_MS;
        for (_, c, fact) in facts.iter().filter(|(on, ..)| *on == day) {
            let (id, at_ms) = (format!("c{c}"), now_ms - HOUR_MS);
            let event = |name: &str| with(base(format!("{id}-{name}"), at_ms), json!({"customer_id": id, "contract_id": "k", "event": name}));
            match *fact {
                "call" => {
                    let call = json!({"subject_id": id, "subject_type": "customer", "kind": "call", "arm": "treated", "state": "done"});
                    line.push("intervention.event", &id, &with(base(format!("{id}-call"), at_ms), call), now_ms);
                    treated.push(id.clone());
                    treated_ms.push(at_ms);
                }
                fact => {
                    let name = if fact == "moved" { "ended" } else { fact };
                    line.push("contract.event", &id, &with(event(name), json!({"voluntary": fact != "moved"})), now_ms);
                    who.push(id.clone());
                    what.push(name);
                    when.push(at_ms);
                    wanted.push(fact != "moved");
                }
            }
        }
        let left = |c: u64| facts.iter().any(|(on, of, fact)| *of == c && *on <= day && matches!(*fact, "ended" | "moved" | "notice_given"));
        for c in (0..customers).filter(|c| (day + *c as i64) % 7 == 0 && !left(*c)) {
            let (id, prediction) = (format!("c{c}"), format!("churn/{c}/{day}"));
            let arm = if c % 4 == 0 { "holdout" } else { "treated" };
            let risk = json!({"prediction_id": prediction, "customer_id": id, "risk": 0.1, "horizon_days": 60, "band": "low", "drivers": [], "arm": arm,
                "rung": "heuristic", "model_version": "rule", "feature_hash": "h", "age_ms": 0});
            line.push("customer.churn-risk", &id, &with(base(prediction.clone(), now_ms), risk), now_ms);
            asked.push((prediction, id, now_ms, c % 4 == 0));
        }
    }
    line.flush((days + 400) * DAY_MS);
    let strings = |v: Vec<String>| Arc::new(StringArray::from(v)) as ArrayRef;
    known
        .add_contracts(&columns(vec![
            ("customer_id", strings(who)),
            ("event", Arc::new(StringArray::from(what))),
            ("observed_at", Arc::new(Int64Array::from(when))),
            ("voluntary", Arc::new(BooleanArray::from(wanted))),
        ]))
        .unwrap();
    // Those held out may be called by mistake: training censors them by the arm of the intervention, service by the prediction's.
    let n = treated.len();
    let same = |text: &str| Arc::new(StringArray::from(vec![text; n])) as ArrayRef;
    let calls = vec![("subject_id", strings(treated)), ("arm", same("treated")), ("state", same("done")), ("kind", same("call"))];
    known.add_interventions(&columns(calls.into_iter().chain([("observed_at", Arc::new(Int64Array::from(treated_ms)) as ArrayRef)]).collect())).unwrap();
    known.known_until((days + 400) * DAY_MS);
    let ended = ends(&line, "churn");
    assert_eq!(ended.len(), asked.len(), "all ended");
    let mut tally: BTreeMap<&str, u64> = BTreeMap::new();
    for (prediction, customer, at_ms, holdout) in &asked {
        let told = ended[prediction].as_str();
        *tally.entry(told).or_default() += 1;
        let wanted = account(known.outcome(customer, *at_ms, 60 * DAY_MS)).unwrap();
        // Who was not heard of for 45 days before the horizon's end is not known to have stayed.
        if told != "expired" && !(*holdout && wanted == "intervention") {
            assert_eq!(told, wanted, "{prediction}");
        }
    }
    println!("churn: {tally:?}");
    assert!(["1.0", "0.0", "contract_ended", "intervention"].iter().all(|told| tally.get(told).is_some_and(|n| *n > 5)), "{tally:?}");
    assert!(tally.get("expired").copied().unwrap_or(0) < asked.len() as u64 / 3, "{tally:?}");
}

#[test]
fn failure_risks_end_as_training_labels_them() {
    let (mut line, mut draw) = (Line::new(), Draw(9));
    let parts = ["engine", "brakes"];
    let (mut known, mut asked) = (VehicleFacts::default(), Vec::new());
    let (mut assets, mut components, mut kinds, mut observed, mut failed, mut ended_at) = (vec![], vec![], vec![], vec![], vec![], vec![]);
    let days = 90i64;
    for day in 0..days {
        let now_ms = day * DAY_MS + 1_000 * HOUR_MS;
        for vehicle in 0..6 {
            let (id, part) = (format!("v{vehicle}"), parts[draw.below(2) as usize]);
            let kind = match draw.below(25) {
                0 => "corrective",
                1 => "preventive",
                _ => continue,
            };
            let at_ms = now_ms - 5 * HOUR_MS;
            let failed_at = (kind == "corrective").then_some(at_ms);
            for (state, ends_at) in [("opened", None), ("completed", Some(at_ms + 2 * HOUR_MS))] {
                let order = json!({"asset_id": id, "asset_type": "vehicle", "workorder_id": format!("w{day}-{vehicle}"), "state": state, "kind": kind,
                    "component": part, "failed_at": failed_at, "ends_at": ends_at});
                line.push("workorder.event", &id, &with(base(format!("w{day}-{vehicle}-{state}"), at_ms + 2 * HOUR_MS), order), now_ms);
                assets.push(id.clone());
                components.push(part);
                kinds.push((kind, state));
                observed.push(at_ms + 2 * HOUR_MS);
                failed.push(failed_at);
                ended_at.push(ends_at);
            }
        }
        for vehicle in 0..6 {
            for part in parts {
                let (id, prediction) = (format!("v{vehicle}"), format!("m/{vehicle}/{day}/{part}"));
                let risk = json!({"prediction_id": prediction, "vehicle_id": id, "component": part, "risk": 0.1, "horizon_days": 14, "drivers": [],
                    "rung": "heuristic", "model_version": "rule", "feature_hash": "h", "age_ms": 0});
                line.push("vehicle.maintenance-risk", &id, &with(base(prediction.clone(), now_ms), risk), now_ms);
                asked.push((prediction, id, part, now_ms));
            }
        }
    }
    line.flush((days + 60) * DAY_MS);
    let n = assets.len();
    known
        .add_orders(&columns(vec![
            ("asset_id", Arc::new(StringArray::from(assets))),
            ("component", Arc::new(StringArray::from(components))),
            ("kind", Arc::new(StringArray::from(kinds.iter().map(|k| k.0).collect::<Vec<_>>()))),
            ("state", Arc::new(StringArray::from(kinds.iter().map(|k| k.1).collect::<Vec<_>>()))),
            ("observed_at", Arc::new(Int64Array::from(observed))),
            ("failed_at", Arc::new(Int64Array::from(failed))),
            ("ends_at", Arc::new(Int64Array::from(ended_at))),
        ]))
        .unwrap();
    assert!(n > 40);
    // Up to when the account knows: the newest row that it saw.
    let last_ms = (days + 60) * DAY_MS + 1_000 * HOUR_MS;
    known
        .add_hours(&columns(vec![
            ("vehicle_id", Arc::new(StringArray::from(vec!["v0"]))),
            ("observed_at", Arc::new(Int64Array::from(vec![last_ms]))),
            ("engine_hours_h", Arc::new(arrow::array::Float64Array::from(vec![1.0]))),
        ]))
        .unwrap();
    let ended = ends(&line, "failure");
    assert_eq!(ended.len(), asked.len(), "all ended");
    let mut tally: BTreeMap<&str, u64> = BTreeMap::new();
    for (prediction, vehicle, part, at_ms) in &asked {
        let told = ended[prediction].as_str();
        *tally.entry(told).or_default() += 1;
        if let Some(wanted) = account(known.outcome(vehicle, part, *at_ms, 14 * DAY_MS)).filter(|_| told != "expired") {
            assert_eq!(told, wanted, "{prediction}");
        }
    }
    println!("failures: {tally:?}");
    assert!(["1.0", "0.0", "replaced"].iter().all(|told| tally.get(told).is_some_and(|n| *n > 20)), "{tally:?}");
    assert!(tally["expired"] > 0, "after the last day nobody was heard of any more: {tally:?}");
}
