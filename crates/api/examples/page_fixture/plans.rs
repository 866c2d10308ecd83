//! Invented plans of two areas: one with a proposal that waits, trucks on their way in both.

use serde_json::{Value, json};

use crate::{Dice, base, now_ms, with};

const REASONS: [&str; 4] = ["overflow_risk", "scheduled", "nearby", "ticket"];
const LEFT_OUT: [&str; 3] = ["not_needed", "capacity", "shift_end"];

/// A site: id, degrees north, degrees east.
pub type Site = (String, f64, f64);

fn site_stop(id: &str, at_ms: i64, load_kg: f64, n: usize) -> Value {
    json!({"kind": "site", "site_id": id, "facility_id": null, "container_ids": (0..=n % 3).map(|c| format!("{id}-{c}")).collect::<Vec<_>>(), "arrives_at": at_ms, "leaves_at": at_ms + 180_000,
        "load_kg": load_kg, "locked": n % 7 == 5, "reason": REASONS[n % REASONS.len()]})
}

fn other_stop(kind: &str, facility: Option<&str>, at_ms: i64, minutes: i64) -> Value {
    json!({"kind": kind, "site_id": null, "facility_id": facility, "container_ids": [], "arrives_at": at_ms, "leaves_at": at_ms + minutes * 60_000, "load_kg": 0.0, "locked": false, "reason": null})
}

/// Nearest neighbour from a corner on: a route that looks like one.
fn in_order(mut sites: Vec<Site>) -> Vec<Site> {
    let mut out: Vec<Site> = Vec::new();
    let (mut north, mut east) = sites.first().map_or((0.0, 0.0), |s| (s.1, s.2));
    while !sites.is_empty() {
        let far = |s: &Site| (s.1 - north).powi(2) * 2.7 + (s.2 - east).powi(2);
        let next = (0..sites.len()).min_by(|a, b| far(&sites[*a]).total_cmp(&far(&sites[*b]))).unwrap_or(0);
        let site = sites.swap_remove(next);
        (north, east) = (site.1, site.2);
        out.push(site);
    }
    out
}

fn route(vehicle: &str, sites: &[Site], depot: &str, dump: &str, from_ms: i64, share: f64) -> Value {
    let sites = in_order(sites.to_vec());
    let mut at_ms = from_ms;
    let mut stops = vec![other_stop("depot", Some(depot), at_ms, 0)];
    for (n, (id, _, _)) in sites.iter().enumerate() {
        at_ms += 420_000;
        stops.push(site_stop(id, at_ms, 140.0 * (n + 1) as f64, n));
        if n == sites.len() / 2 {
            stops.push(other_stop("disposal", Some(dump), at_ms + 900_000, 12));
            stops.push(other_stop("lunch", None, at_ms + 1_700_000, 30));
            at_ms += 3_600_000;
        }
    }
    stops.push(other_stop("disposal", Some(dump), at_ms + 800_000, 12));
    stops.push(other_stop("depot", Some(depot), at_ms + 2_400_000, 0));
    let (planned, distance_m) = (sites.len() as f64, 3_000.0 + 1_150.0 * sites.len() as f64);
    let served = (planned * share) as i64;
    let late = served / 6;
    // What a plan tells as driven has no reason.
    for (_, stop) in stops.iter_mut().filter(|stop| stop["kind"] == "site").enumerate().filter(|(n, _)| (*n as i64) < served && *n != BLOCKED) {
        stop["reason"] = Value::Null;
    }
    let driven = json!({"stops_planned": sites.len(), "stops_served": served, "stops_late": late, "stops_not_done": sites.len() as i64 - served, "stops_extra": served % 3 / 2,
        "planned_m": distance_m, "driven_m": distance_m * share * 1.04, "planned_s": (at_ms + 2_400_000 - from_ms) / 1_000, "driven_s": 9_000.0});
    json!({"vehicle_id": vehicle, "shift_id": format!("shift-{vehicle}"), "start_facility_id": depot, "end_facility_id": depot, "starts_at": from_ms, "ends_at": at_ms + 2_400_000,
        "distance_m": distance_m, "stops": stops, "driven": if share > 0.0 { driven } else { Value::Null }})
}

/// Which stop of every route was blocked.
const BLOCKED: usize = 3;

/// What the crew of a route has reported: the first stops are done, the fourth was blocked.
fn collections(route: &Value) -> Vec<(&'static str, Value)> {
    let done = route["driven"]["stops_served"].as_u64().unwrap_or(0) as usize;
    let sites = route["stops"].as_array().into_iter().flatten().filter(|stop| stop["kind"] == "site");
    let event = |(n, stop): (usize, &Value)| {
        let (outcome, reason) = if n == BLOCKED { ("skipped", json!("blocked")) } else { ("served", Value::Null) };
        let at_ms = if n == BLOCKED { now_ms() - 1_800_000 } else { stop["leaves_at"].as_i64().unwrap_or(0) };
        let of = json!({"site_id": stop["site_id"], "container_id": stop["container_ids"][0], "vehicle_id": route["vehicle_id"], "outcome": outcome, "reason": reason});
        ("collection.event", with(base(at_ms), of))
    };
    sites.take(done).enumerate().map(event).collect()
}

fn plan(area: &str, version: i64, state: &str, routes: Vec<Value>, skipped: Vec<Value>) -> Value {
    let now_ms = now_ms();
    let distance_m: f64 = routes.iter().filter_map(|r| r["distance_m"].as_f64()).sum();
    let duration_s: i64 = routes.iter().map(|r| (r["ends_at"].as_i64().unwrap_or(0) - r["starts_at"].as_i64().unwrap_or(0)) / 1_000).sum();
    with(
        base(now_ms - 240_000),
        json!({"planning_area_id": area, "plan_id": format!("{area}-today"), "plan_version": version, "supersedes": null, "state": state, "valid_from": now_ms - 36_000_000, "valid_to": now_ms + 50_000_000,
            "time_zone": "Europe/Berlin", "solver": "waste-collection 1", "seed": 1, "iterations": 3_000, "rung": "model", "cost_minor": (distance_m * 1.9) as i64, "currency": "EUR",
            "distance_m": distance_m, "duration_s": duration_s, "routes": routes, "skipped": skipped}),
    )
}

/// Plans, changes and a problem over these sites and trucks.
pub fn records(dice: &mut Dice, sites: &[Site], trucks: &[String]) -> Vec<(&'static str, Value)> {
    let from_ms = now_ms() - 3 * 3_600_000;
    let mut records = Vec::new();
    for (area, west, first) in [("west", true, 0), ("east", false, 5)] {
        // Neighbours go together: by angle around the middle of the area.
        let mut mine: Vec<Site> = sites.iter().filter(|s| (s.2 < crate::CENTRE.1) == west).cloned().collect();
        let middle = mine.iter().fold((0.0, 0.0), |sum, s| (sum.0 + s.1 / mine.len() as f64, sum.1 + s.2 / mine.len() as f64));
        mine.sort_by(|a, b| (a.1 - middle.0).atan2(a.2 - middle.1).total_cmp(&(b.1 - middle.0).atan2(b.2 - middle.1)));
        let chosen: Vec<Site> = mine.iter().filter(|_| dice.unit() < 0.62).cloned().collect();
        let left: Vec<Site> = mine.iter().filter(|s| !chosen.contains(s)).take(14).cloned().collect();
        let per = chosen.len().div_ceil(5);
        let skipped = |left: &[Site]| -> Vec<Value> {
            let one = |(n, s): (usize, &Site)| json!({"site_id": s.0, "reason": LEFT_OUT[n % LEFT_OUT.len()], "p_overflow": 0.004 * (n + 1) as f64});
            left.iter().enumerate().map(one).collect()
        };
        let routes = |split: &[Vec<Site>], dice: &mut Dice| -> Vec<Value> {
            let one = |(n, part): (usize, &Vec<Site>)| {
                let share = if n == 4 { 0.0 } else { 0.35 + 0.12 * n as f64 + dice.unit() * 0.05 };
                route(&trucks[first + n], part, ["f0", "f1", "f2"][n % 3], ["f3", "f4"][usize::from(!west)], from_ms + 600_000 * n as i64, share)
            };
            split.iter().enumerate().map(one).collect()
        };
        let split: Vec<Vec<Site>> = chosen.chunks(per).map(<[Site]>::to_vec).collect();
        let driven = routes(&split, dice);
        records.extend(driven.iter().flat_map(collections));
        records.push(("route.plan", plan(area, 3, "accepted", driven, skipped(&left))));
        if !west {
            continue;
        }
        let mut new = split.clone();
        let (added, gone) = ([left[0].clone(), left[1].clone()], new[1].remove(2));
        new[0].push(added[0].clone());
        new[2].push(added[1].clone());
        let handed = new[3].remove(1);
        new[2].push(handed.clone());
        let mut proposal = plan(area, 4, "proposed", routes(&new, dice), skipped(&[gone.clone(), left[2].clone(), left[3].clone()]));
        let planned = |v: &Value, field: &str| v[field].as_f64().unwrap_or(0.0);
        let before = records.iter().find(|(topic, _)| *topic == "route.plan").map_or(Value::Null, |(_, plan)| plan.clone());
        let (metres, seconds) = (planned(&before, "distance_m") + 1_850.0, planned(&before, "duration_s") - 720.0);
        (proposal["distance_m"], proposal["duration_s"]) = (json!(metres), json!(seconds));
        records.push(("route.plan", proposal));
        let change = |number: usize, what: Value| {
            let of = json!({"event_id": format!("route/planned/{area}/1/change-4-{number}"), "planning_area_id": area, "plan_id": format!("{area}-today"), "plan_version": 4,
                "previous_plan_id": format!("{area}-today"), "previous_plan_version": 3, "cause_event_id": "e", "vehicle_id": null, "previous_vehicle_id": null, "site_id": null,
                "position": null, "previous_position": null});
            ("route.change", with(base(now_ms() - 240_000), with(of, what)))
        };
        let truck = |n: usize| trucks[first + n].as_str();
        records.push(change(0, json!({"change": "stop_added", "site_id": added[0].0, "vehicle_id": truck(0), "position": 9, "reason": "overflow_risk"})));
        records.push(change(1, json!({"change": "stop_added", "site_id": added[1].0, "vehicle_id": truck(2), "position": 4, "reason": "ticket"})));
        records.push(change(
            2,
            json!({"change": "stop_removed", "site_id": gone.0, "previous_vehicle_id": truck(1), "previous_position": 3, "reason": "improved"}),
        ));
        records.push(change(3, json!({"change": "vehicle_changed", "site_id": handed.0, "previous_vehicle_id": truck(3), "vehicle_id": truck(2), "position": 7, "previous_position": 2, "reason": "vehicle_down"})));
        let problem = json!({"planning_area_id": area, "plan_id": format!("{area}-today"), "plan_version": 4, "code": "unknown_site", "entity_kind": "ticket", "entity_id": "ticket-88",
            "detail": "ticket-88 names the site site-999, which does not exist"});
        records.push(("route.problem", with(base(now_ms() - 200_000), problem)));
    }
    records
}
