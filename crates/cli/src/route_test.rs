//! A day of a small city from end to end: sensors through `bin-fill`, its forecasts and everything else through `route`. What
//! the solvers answer is judged here once more, by the checker, before the stage gets it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::edge::RegistryEdge;
use crate::{edge_route, plans};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use ws_city::{City, CityConfig, Event};
use ws_log::registry::Registry;
use ws_routing::board::{GreatCircle, judge};
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;
use ws_stream::solve::{Problem, Solution, SolveError, Solver};
use ws_stream::spec::Topology;

const HOUR_MS: i64 = 3_600_000;
const ROUTE: &str = include_str!("../../../topologies/route.yaml");

fn route(edge: &RegistryEdge, settings: &'static [(&'static str, &'static str)]) -> Vec<Arc<Topology>> {
    let env = |name: &str| settings.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string());
    ws_plan::load("topologies/route.yaml", ROUTE, edge, &env).unwrap_or_else(|e| panic!("{e}")).into_slices()
}

/// What a solver said: its key, whether the checker accepts it, how many rows.
type Heard = Arc<Mutex<Vec<(String, String, usize)>>>;

/// Hands on to a solver and has its answers judged.
struct Witness {
    inner: Arc<dyn Solver>,
    heard: Heard,
}

impl Solver for Witness {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn version(&self) -> &str {
        self.inner.version()
    }
    fn solve(&self, problem: &Problem<'_>) -> Result<Solution, SolveError> {
        let answer = self.inner.solve(problem);
        let verdict = match &answer {
            Err(e) => format!("failed: {e}"),
            Ok(a) => match judge(problem.rows, problem.rows, &problem.call.memo, &a.rows, &a.memo, &problem.call.key, &GreatCircle) {
                Ok(()) => "accepted".to_string(),
                Err((code, why)) => format!("{code}: {why}"),
            },
        };
        let rows = answer.as_ref().map_or(0, |a| a.rows.num_rows());
        self.heard.lock().unwrap().push((format!("{} {}", self.name(), problem.call.key), verdict, rows));
        answer
    }
}

/// Solvers that never answer usably.
struct Broken;

impl Solver for Broken {
    fn name(&self) -> &str {
        edge_route::SOLVER
    }
    fn version(&self) -> &str {
        "0"
    }
    fn solve(&self, _: &Problem<'_>) -> Result<Solution, SolveError> {
        Err(SolveError { solver: edge_route::SOLVER.into(), message: "it went on for ever".into() })
    }
}

/// Key, value and log time of a record.
type Keyed = (Vec<u8>, Vec<u8>, i64);

struct Pipeline {
    registry: Arc<Registry>,
    bins: Replay,
    routes: Replay,
    out: BTreeMap<String, Vec<Value>>,
    forecasts: usize,
}

impl Pipeline {
    fn new(start_ms: i64, models: Models, settings: &'static [(&'static str, &'static str)]) -> Pipeline {
        let registry = plans::registry(None).unwrap();
        let edge = RegistryEdge::new(registry.clone());
        let bins = Replay::of_slices(&plans::bin_fill(&edge).unwrap().into_slices(), Arc::new(edge.clone()), Models::default(), start_ms).unwrap();
        let routes = Replay::of_slices(&route(&edge, settings), Arc::new(edge), models, start_ms).unwrap();
        Pipeline { registry, bins, routes, out: BTreeMap::new(), forecasts: 0 }
    }

    /// Events of a while through both topologies.
    fn feed(&mut self, until_ms: i64, events: &[Event]) {
        let mut by_topic: BTreeMap<&str, Vec<Keyed>> = BTreeMap::new();
        for e in events {
            let value = self.registry.encode_json_value(e.topic, &e.value).unwrap();
            by_topic.entry(e.topic).or_default().push((e.key.clone().into_bytes(), value, e.received_at_ms));
        }
        for (topic, rows) in &by_topic {
            let rows = || rows.iter().map(|(k, v, t)| (Some(k.as_slice()), Some(v.as_slice()), *t));
            self.bins.feed(&(*topic).into(), rows()).unwrap();
            self.routes.feed(&(*topic).into(), rows()).unwrap();
        }
        self.bins.set_now_ms(until_ms);
        self.bins.tick().unwrap();
        let forecasts = self.bins.take("bin.forecast");
        self.forecasts += forecasts.rows.len();
        let rows = (0..forecasts.rows.len()).map(|i| (forecasts.key(i), forecasts.value(i), until_ms));
        self.routes.feed(&"bin.forecast".into(), rows).unwrap();
        self.routes.set_now_ms(until_ms);
        self.routes.tick().unwrap();
        for topic in ["route.plan", "route.change", "route.problem", "dlq.route"] {
            let records = self.routes.take(topic);
            let rows = (0..records.rows.len()).map(|i| self.registry.decode_to_json(records.value(i).unwrap()).unwrap());
            self.out.entry(topic.to_string()).or_default().extend(rows);
        }
    }

    fn rows(&self, topic: &str) -> &[Value] {
        self.out.get(topic).map_or(&[], Vec::as_slice)
    }
}

/// The city has one planning area; here its zones and its trucks are those of two.
fn two_areas(mut events: Vec<Event>) -> Vec<Event> {
    let parity = |id: &str| id.bytes().rfind(u8::is_ascii_digit).map_or(0, |b| b % 2);
    for e in &mut events {
        let id = match e.topic {
            "ref.zone" | "ref.site" => e.value["zone_id"].as_str().unwrap().to_string(),
            "ref.shift" => e.value["vehicle_id"].as_str().unwrap_or("").to_string(),
            _ => continue,
        };
        e.value["planning_area_id"] = Value::from(if parity(&id) == 0 { "even" } else { "odd" });
    }
    events
}

fn small_city() -> CityConfig {
    CityConfig {
        seed: 5,
        bins: 60,
        trucks: 4,
        depots: 2,
        disposal_sites: 2,
        radius_m: 3_000.0,
        position_interval_s: 120,
        median_fill_days: 2.0,
        ..CityConfig::default()
    }
}

/// Lives from midnight until `hours` later, a minute at a time once trucks are out.
fn live(p: &mut Pipeline, config: &CityConfig, hours: i64) {
    let mut city = City::new(config.clone());
    p.feed(config.start_ms, &two_areas(city.references()));
    let end_ms = config.start_ms + hours * HOUR_MS;
    while city.now_ms() < end_ms {
        let until_ms = city.now_ms() + 5 * 60_000;
        let events = two_areas(city.advance(until_ms));
        p.feed(until_ms, &events);
    }
}

/// The newest plan in force of each area.
fn in_force(plans: &[Value]) -> BTreeMap<String, &Value> {
    plans.iter().filter(|p| p["state"] == "accepted").map(|p| (p["planning_area_id"].as_str().unwrap().to_string(), p)).collect()
}

#[test]
fn a_citys_day_becomes_plans_that_the_checker_accepts_and_changes_that_explain() {
    let config = small_city();
    let (heard, models, real) = (Heard::default(), Models::default(), edge_route::solvers());
    for solver in real {
        models.put_solver(solver.name(), Arc::new(Witness { inner: solver.clone(), heard: heard.clone() }));
    }
    let mut p = Pipeline::new(config.start_ms, models, &[("ROUTE_AUTOMATIC", "true"), ("ROUTE_ITERATIONS", "40"), ("ROUTE_TIME_ZONE", "Australia/Melbourne")]);
    live(&mut p, &config, 20);
    let heard = heard.lock().unwrap();
    let refused: Vec<_> = heard.iter().filter(|h| h.1 != "accepted").collect();
    let plans = p.rows("route.plan");
    let (changes, problems) = (p.rows("route.change"), p.rows("route.problem"));
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    changes.iter().for_each(|c| *reasons.entry(c["reason"].as_str().unwrap()).or_default() += 1);
    let mut dead: BTreeMap<String, usize> = BTreeMap::new();
    p.rows("dlq.route")
        .iter()
        .for_each(|d| *dead.entry(format!("{} {}", d["stage"].as_str().unwrap_or(""), d["reason"].as_str().unwrap_or(""))).or_default() += 1);
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    problems.iter().for_each(|c| *codes.entry(c["code"].as_str().unwrap()).or_default() += 1);
    println!(
        "{} forecasts, {} answers, {} refused or failed, {} plans, {} changes {reasons:?}, problems {codes:?}, dead letters {dead:?}",
        p.forecasts,
        heard.len(),
        refused.len(),
        plans.len(),
        changes.len(),
    );
    assert!(p.forecasts > 300 && heard.len() > 50, "{} {}", p.forecasts, heard.len());
    assert!(refused.is_empty(), "{} of {}, the first: {:?}", refused.len(), heard.len(), refused[0]);
    let areas = in_force(plans);
    assert_eq!(areas.keys().map(String::as_str).collect::<Vec<_>>(), ["even", "odd"]);
    assert!(plans.iter().any(|plan| plan["routes"].as_array().unwrap().iter().any(|r| r["stops"].as_array().unwrap().len() > 3)), "trucks have work");
    // Versions count up without a gap, and each names what it supersedes.
    for area in areas.keys() {
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for plan in plans.iter().filter(|plan| plan["planning_area_id"] == area.as_str() && plan["state"] == "accepted") {
            let (id, version) = (plan["plan_id"].as_str().unwrap(), plan["plan_version"].as_i64().unwrap());
            let before = last.insert(id, version);
            assert_eq!(before.unwrap_or(0) + 1, version, "{id}");
            assert_eq!(plan["supersedes"].as_str().map(str::to_string), before.map(|b| format!("{id}:{b}")));
        }
    }
    // A vehicle is in one current plan.
    let mut of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (area, plan) in &areas {
        for route in plan["routes"].as_array().unwrap() {
            of.entry(route["vehicle_id"].as_str().unwrap()).or_default().insert(area);
        }
    }
    assert!(of.values().all(|areas| areas.len() == 1), "{of:?}");
    // Changes after the first plan of a day have a cause, or the plan got better.
    let explained = changes.iter().filter(|c| !c["previous_plan_version"].is_null());
    let (with, without): (Vec<_>, Vec<_>) =
        explained.partition(|c| !c["cause_event_id"].is_null() || c["reason"] == "improved" || c["reason"] == "vehicle_down");
    assert!(!with.is_empty() && without.is_empty(), "{} with, {} without, e.g. {:?}", with.len(), without.len(), without.first());
    // Every site left out says why.
    let known = ["decision", "skill", "closed_road", "capacity", "time_window", "shift_end", "not_needed"];
    assert!(plans.iter().flat_map(|plan| plan["skipped"].as_array().unwrap()).all(|s| known.contains(&s["reason"].as_str().unwrap())));
    // What was driven stands beside what was planned.
    let driven = plans.iter().flat_map(|plan| plan["routes"].as_array().unwrap()).filter(|r| !r["driven"].is_null()).count();
    assert!(driven > 0, "trucks set out");
    let counts = p.routes.counts();
    assert!(counts.iter().all(|(_, c)| c.balanced()), "{counts:?}");
}

#[test]
fn the_same_day_again_gives_the_same_plans() {
    let config = CityConfig { trucks: 2, ..small_city() };
    let run = || {
        let models = Models::default();
        edge_route::put_solvers(&models);
        let mut p =
            Pipeline::new(config.start_ms, models, &[("ROUTE_AUTOMATIC", "true"), ("ROUTE_ITERATIONS", "30"), ("ROUTE_TIME_ZONE", "Australia/Melbourne")]);
        live(&mut p, &config, 22);
        p.out
    };
    let (a, b) = (run(), run());
    assert!(!a["route.plan"].is_empty());
    assert_eq!(a, b);
}

#[test]
fn without_the_search_plans_come_from_the_fallback_and_are_checked_too() {
    let config = CityConfig { trucks: 2, ..small_city() };
    let (heard, models) = (Heard::default(), Models::default());
    models.put_solver(edge_route::SOLVER, Arc::new(Broken));
    let quick = edge_route::solvers().into_iter().find(|s| s.name() == edge_route::QUICK_SOLVER).unwrap();
    models.put_solver(edge_route::QUICK_SOLVER, Arc::new(Witness { inner: quick, heard: heard.clone() }));
    let mut p = Pipeline::new(config.start_ms, models, &[("ROUTE_TIME_ZONE", "Australia/Melbourne")]);
    live(&mut p, &config, 22);
    let heard = heard.lock().unwrap();
    assert!(heard.len() > 3 && heard.iter().all(|h| h.1 == "accepted"), "{:?}", heard.iter().find(|h| h.1 != "accepted"));
    let plans = p.rows("route.plan");
    assert!(!plans.is_empty() && plans.iter().all(|plan| plan["rung"] == "heuristic" && plan["state"] == "proposed"), "nobody accepted anything");
}
