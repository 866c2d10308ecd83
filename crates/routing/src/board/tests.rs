//! Days of a small area: what the planner makes of them, and that it tells what it cannot use.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::testing::{AREA, Day, HOUR_MS, MIDNIGHT_MS, ask, ask_as, automatic};
use super::{Clock, GreatCircle, Mode, Question, Settings, answer, judge};
use crate::plan::RuinRecreate;
use serde_json::json;
use std::sync::atomic::{AtomicI64, Ordering};

const FULL: f64 = 8.0;
const EMPTY: f64 = 900.0;

#[test]
fn a_day_is_planned_for_what_may_overflow_and_every_site_left_out_has_its_reason() {
    let day = Day::new(2, &[FULL, EMPTY, FULL, EMPTY, FULL, FULL]);
    let said = ask(&day, &[], &automatic());
    let plan = said.plan();
    assert_eq!((plan["state"].as_str(), plan["plan_version"].as_i64(), plan["plan_id"].as_str()), (Some("accepted"), Some(1), Some("north-2026-11-02")));
    assert_eq!((plan["valid_from"].as_i64(), plan["valid_to"].as_i64()), (Some(MIDNIGHT_MS), Some(MIDNIGHT_MS + 24 * HOUR_MS)));
    let mut sites = said.sites("");
    sites.sort();
    for urgent in ["s0", "s2", "s4", "s5"] {
        assert!(sites.contains(&urgent.to_string()), "{sites:?}");
    }
    let left_out = plan["skipped"].as_array().unwrap();
    assert_eq!(sites.len() + left_out.len(), 6);
    assert!(left_out.iter().all(|s| s["reason"] == "not_needed"), "{left_out:?}");
    let route = &plan["routes"][0];
    let kinds: Vec<&str> = route["stops"].as_array().unwrap().iter().map(|s| s["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], *kinds.last().unwrap()), ("depot", "depot"));
    assert!(kinds[kinds.len() - 2] == "disposal", "it ends empty: {kinds:?}");
    assert!(said.of("change").iter().any(|c| c["change"] == "route_added" && c["previous_plan_version"].is_null()));
    // The same board again: nothing to say, and nobody is bothered.
    let again = ask(&day, &said.memo, &automatic());
    assert!(again.rows.is_empty(), "{:?}", again.rows);
}

#[test]
fn an_infeasible_day_says_what_is_dropped_and_why() {
    let mut day = Day::new(1, &[FULL; 12]);
    // A shift of an hour and a quarter: too short for twelve sites and a tip.
    day.truck(MIDNIGHT_MS + 5 * HOUR_MS, "v0", json!({"shift_to": MIDNIGHT_MS + 6 * HOUR_MS + 75 * 60_000}));
    for n in 0..12 {
        day.put(MIDNIGHT_MS + 5 * HOUR_MS, json!({"kind": "ticket", "entity_id": format!("t{n}"), "site_id": format!("s{n}"), "status": "opened", "category": "missed_collection", "priority": "urgent"}));
    }
    let said = ask(&day, &[], &automatic());
    let (served, dropped) = (said.sites(""), said.skipped("shift_end"));
    assert!(!served.is_empty() && !dropped.is_empty(), "{served:?} {dropped:?}");
    assert_eq!(served.len() + dropped.len(), 12, "all others are named with the violated bound: {}", said.plan()["skipped"]);
    // No truck at all, yet a plan was there: everything is dropped since nobody may take it.
    day.truck(MIDNIGHT_MS + 6 * HOUR_MS, "v0", json!({"in_service": false}));
    let none = ask(&day, &said.memo, &automatic());
    assert_eq!(none.skipped("skill").len(), 12);
    assert!(none.of("change").iter().any(|c| c["change"] == "stop_removed" && c["reason"] == "vehicle_down" && c["cause_event_id"] == "vehicle-v0-21600000"));
}

#[test]
fn a_truck_that_vanishes_hands_its_stops_to_others_and_keeps_what_it_did() {
    let mut day = Day::new(2, &[FULL; 10]);
    // Shifts so short that neither truck does it all.
    for id in ["v0", "v1"] {
        day.truck(MIDNIGHT_MS + 5 * HOUR_MS, id, json!({"shift_to": MIDNIGHT_MS + 7 * HOUR_MS}));
    }
    let first = ask(&day, &[], &automatic());
    let (gone, stays) = ("v0", "v1");
    let mut lost = first.sites(gone);
    assert!(lost.len() >= 3 && first.sites(stays).len() >= 3, "both drive: {}", first.plan()["routes"]);
    let done = lost.remove(0);
    let at = MIDNIGHT_MS + 6 * HOUR_MS + 15 * 60_000;
    for id in [gone, stays] {
        // Who stays works longer, as it happens on such days.
        day.truck(at, id, json!({"started_at": MIDNIGHT_MS + 6 * HOUR_MS, "latitude_deg": 48.11, "longitude_deg": 11.51, "load_kg": 0.0, "load_l": 0.0}));
    }
    day.served(at, gone, done[1..].parse().unwrap());
    // Its row is gone from the board altogether.
    day.remove("vehicle", gone);
    let said = ask(&day, &first.memo, &automatic());
    assert_eq!(said.sites(gone), std::slice::from_ref(&done), "history stays, nothing else");
    let now = said.sites(stays);
    assert!(lost.iter().all(|s| now.contains(s)), "{lost:?} are with {stays} now: {now:?}, left out {}", said.plan()["skipped"]);
    assert!(!now.contains(&done));
    let moved: Vec<_> = said.of("change").into_iter().filter(|c| c["change"] == "vehicle_changed").collect();
    assert!(moved.iter().all(|c| c["reason"] == "vehicle_down" && c["previous_vehicle_id"] == gone), "{moved:?}");
    assert_eq!(moved.len(), lost.len());
}

#[test]
fn a_jam_makes_the_day_longer() {
    let mut day = Day::new(1, &[FULL; 4]);
    let free = ask(&day, &[], &automatic()).plan()["duration_s"].as_f64().unwrap();
    let at = MIDNIGHT_MS + 6 * HOUR_MS;
    day.put(at, json!({"kind": "pace", "entity_id": "pace", "pace": format!("50,{};;;", at + HOUR_MS)}));
    let slow = ask(&day, &[], &automatic()).plan()["duration_s"].as_f64().unwrap();
    assert!(slow > free * 1.2, "{slow} s for {free} s");
    day.put(at, json!({"kind": "pace", "entity_id": "pace", "pace": "fast"}));
    assert_eq!(ask(&day, &[], &automatic()).problems(), ["unusable_row pace"]);
}

#[test]
fn what_names_a_site_that_does_not_exist_is_told_once_and_the_rest_is_planned() {
    let mut day = Day::new(1, &[FULL, FULL]);
    let at = MIDNIGHT_MS + 5 * HOUR_MS;
    day.put(at, json!({"kind": "ticket", "entity_id": "lost", "site_id": "atlantis", "status": "opened", "category": "spill", "priority": "urgent"}));
    day.put(at, json!({"kind": "ticket", "entity_id": "nowhere", "status": "opened", "category": "spill", "priority": "urgent"}));
    day.put(at, json!({"kind": "container", "entity_id": "c9", "site_id": "elsewhere", "waste_stream": "residual", "capacity_l": 240.0}));
    day.put(at, json!({"kind": "container", "entity_id": "c8", "site_id": "s0", "waste_stream": "residual", "capacity_l": -1.0}));
    day.put(at, json!({"kind": "site", "entity_id": "moon", "latitude_deg": 148.0, "longitude_deg": 11.0}));
    day.put(at, json!({"kind": "riddle", "entity_id": "sphinx"}));
    day.truck(at, "v7", json!({"payload_kg": 0.0}));
    day.truck(at, "v8", json!({"depot_id": "ruin"}));
    day.truck(at, "v9", json!({"shift_to": MIDNIGHT_MS}));
    let said = ask(&day, &[], &automatic());
    let mut sites = said.sites("");
    sites.sort();
    assert_eq!(sites, ["s0", "s1"]);
    let mut problems = said.problems();
    problems.sort();
    assert_eq!(
        problems,
        [
            "ticket_without_site nowhere",
            "unknown_depot v8",
            "unknown_site elsewhere",
            "unknown_site lost",
            "unusable_row c8",
            "unusable_row moon",
            "unusable_row sphinx",
            "unusable_row v9",
            "vehicle_without_capacity v7"
        ]
    );
    let cause = said.of("problem").into_iter().find(|p| p["entity_id"] == "lost").unwrap();
    assert_eq!(cause["cause_event_id"], "ticket-lost-18000000");
    assert!(cause["detail"].as_str().unwrap().contains("atlantis"));
    assert!(ask(&day, &said.memo, &automatic()).rows.is_empty(), "told once a day");
}

#[test]
fn a_clock_change_at_night_moves_no_window_and_plans_the_right_day() {
    // Berlin, Sunday 2026-10-25: 25 hours. A night shift from Saturday 22:00 to Sunday 06:00 by the clock lasts nine hours.
    let saturday = 1_792_792_800_000i64; // 2026-10-23T22:00Z: midnight of Saturday the 24th
    let mut board = Day::new(0, &[]);
    for n in 0..2 {
        board.put(
            saturday,
            json!({"kind": "container", "entity_id": format!("c{n}"), "site_id": format!("s{n}"), "waste_stream": "residual", "capacity_l": 1100.0}),
        );
        board.forecast(saturday, n, FULL);
        board.put(saturday, json!({"kind": "site", "entity_id": format!("s{n}"), "latitude_deg": 48.11, "longitude_deg": 11.50 + 0.001 * n as f64, "time_zone": "Europe/Berlin", "service_s": 120.0}));
    }
    // s1 may be entered from 04:00 to 05:00 by the clock.
    let hours = json!({"kind": "site", "entity_id": "s1", "latitude_deg": 48.11, "longitude_deg": 11.501, "time_zone": "Europe/Berlin", "service_s": 120.0, "access_from_s": 14400.0, "access_to_s": 18000.0});
    board.put(saturday + 1, hours);
    board.put(saturday + 2, json!({"kind": "ticket", "entity_id": "t", "site_id": "s1", "status": "opened", "category": "spill", "priority": "urgent"}));
    board.truck(saturday, "v0", json!({"shift_from": saturday + 22 * HOUR_MS, "shift_to": saturday + 31 * HOUR_MS, "break_ms": 0}));
    let settings = Settings { time_zone: "Europe/Berlin".into(), ..automatic() };
    let said = ask(&board, &[], &settings);
    let plan = said.plan();
    assert_eq!(plan["plan_id"], "north-2026-10-24", "the night belongs to the day on which it begins");
    assert_eq!(plan["time_zone"], "Europe/Berlin");
    let stop = plan["routes"][0]["stops"].as_array().unwrap().iter().find(|s| s["site_id"] == "s1").expect("s1 is served").clone();
    let begins = stop["leaves_at"].as_i64().unwrap() - 120_000;
    let sunday_3z = saturday + 29 * HOUR_MS;
    assert!((sunday_3z..=sunday_3z + HOUR_MS).contains(&begins), "04:00 by the clock is 03:00Z after the change, not 02:00Z: {begins}");
    assert!(plan["valid_to"].as_i64().unwrap() > saturday + 24 * HOUR_MS, "valid until the truck is home");
}

#[test]
fn a_solver_that_exceeds_its_time_still_answers_with_a_checked_plan() {
    let day = Day::new(2, &[FULL; 10]);
    // Over before it began: what leaves is the quick repair.
    let calls = AtomicI64::new(0);
    let over = || calls.fetch_add(1_000, Ordering::Relaxed);
    let search = RuinRecreate::default();
    let said = ask_as(&day, &[], &automatic(), Mode::Search(&search, Clock { now_ms: &over, budget_ms: 0, iterations: None }));
    assert_eq!(said.plan()["plan_rung"], "heuristic");
    assert!(!said.sites("").is_empty());
    // And the fallback, which the stage asks when a solver never comes back.
    let quick = ask_as(&day, &[], &automatic(), Mode::Quick);
    assert_eq!((quick.plan()["plan_rung"].as_str(), quick.plan()["plan_iterations"].as_i64()), (Some("heuristic"), Some(0)));
    let repaired = ask_as(&day, &said.memo, &automatic(), Mode::Quick);
    assert!(repaired.rows.is_empty(), "the last plan holds: nothing to repair");
}

#[test]
fn what_was_not_checked_is_refused() {
    let day = Day::new(2, &[FULL; 6]);
    let rows = day.rows();
    let search = RuinRecreate::default();
    let clock = || 0;
    let mode = Mode::Search(&search, Clock { now_ms: &clock, budget_ms: 1_000, iterations: Some(100) });
    let settings = automatic();
    let question = Question { rows: &rows, memo: &[], settings: &settings, hint_ms: 0, area: AREA, roads: &GreatCircle, seed: 7 };
    let answered = answer(&question, mode).unwrap();
    let refused = |asked: &Day, board: &Day, memo: &[u8]| judge(&asked.rows(), &board.rows(), &[], &answered.rows, memo, AREA, &GreatCircle).unwrap_err().0;
    judge(&rows, &rows, &[], &answered.rows, &answered.memo, AREA, &GreatCircle).unwrap();
    // Times, order, a stop less, another state: the memo holds the plan.
    let text = String::from_utf8(answered.memo.clone()).unwrap();
    let mut early: serde_json::Value = serde_json::from_str(&text).unwrap();
    let second = &mut early["in_force"]["plan"][4][0][2][1];
    assert_eq!(second[0], "s", "{second}");
    second[3] = (second[3].as_i64().unwrap() - 600_000).into();
    assert_eq!(refused(&day, &day, early.to_string().as_bytes()), "not_accepted");
    assert_eq!(refused(&day, &day, text.replace("\"fresh\":true", "\"fresh\":false").as_bytes()), "not_what_was_checked");
    assert_eq!(refused(&day, &day, b"{}"), "memo_unreadable");
    // Another question than the one asked.
    let mut other = day.clone();
    other.forecast(MIDNIGHT_MS + 5 * HOUR_MS, 0, EMPTY);
    assert_ne!(refused(&other, &day, &answered.memo), "");
    // What came meanwhile.
    let mut down = day.clone();
    down.truck(MIDNIGHT_MS + 5 * HOUR_MS, "v0", json!({"status": "broken_down"}));
    down.truck(MIDNIGHT_MS + 5 * HOUR_MS, "v1", json!({"status": "broken_down"}));
    assert_eq!(refused(&day, &down, &answered.memo), "vehicle_lost_meanwhile");
    let mut gone = day.clone();
    (0..6).for_each(|n| gone.remove("site", &format!("s{n}")));
    assert_eq!(refused(&day, &gone, &answered.memo), "site_gone_meanwhile");
    let mut decided = day.clone();
    decided.decide(MIDNIGHT_MS + 5 * HOUR_MS, "d1", "locked", 1, json!({"site_id": "s0"}));
    assert_eq!(refused(&day, &decided, &answered.memo), "decision_meanwhile");
    let mut shut = day.clone();
    shut.put(MIDNIGHT_MS + 5 * HOUR_MS, json!({"kind": "facility_status", "entity_id": "tip", "status": "full"}));
    assert_eq!(refused(&day, &shut, &answered.memo), "facility_closed_meanwhile");
}

#[test]
fn the_same_question_gets_the_same_answer() {
    let day = Day::new(3, &[FULL, 20.0, 30.0, FULL, 12.0, 40.0, FULL, 15.0]);
    let (a, b) = (ask(&day, &[], &automatic()), ask(&day, &[], &automatic()));
    assert_eq!((a.rows, a.memo), (b.rows, b.memo));
}

#[test]
fn a_truck_that_left_before_the_first_plan_set_out_with_nothing_planned() {
    let mut day = Day::new(1, &[FULL; 4]);
    let out =
        json!({"started_at": MIDNIGHT_MS + 6 * HOUR_MS, "latitude_deg": 48.11, "longitude_deg": 11.51, "load_kg": 80.0, "load_l": 800.0, "driven_m": 4000.0});
    day.truck(MIDNIGHT_MS + 7 * HOUR_MS, "v0", out);
    day.served(MIDNIGHT_MS + 7 * HOUR_MS, "v0", 0);
    let first = ask(&day, &[], &automatic());
    day.served(MIDNIGHT_MS + 8 * HOUR_MS, "v0", 1);
    let next = ask(&day, &first.memo, &automatic());
    for answer in [&first, &next] {
        let Some(plan) = answer.of("plan").into_iter().next() else { continue };
        let driven = &plan["routes"][0]["driven"];
        assert_eq!(["stops_planned", "stops_served", "stops_late"].map(|name| driven[name].as_i64()), [Some(0); 3], "{driven}");
        assert!(driven["stops_extra"].as_i64() >= Some(1) && driven["planned_m"] == 0.0, "{driven}");
    }
}

#[test]
fn planned_against_driven_is_told_and_the_day_is_completed() {
    let mut day = Day::new(1, &[FULL; 4]);
    let first = ask(&day, &[], &automatic());
    let sites = first.sites("v0");
    assert_eq!(sites.len(), 4);
    let number = |site: &String| site[1..].parse::<usize>().unwrap();
    let at = MIDNIGHT_MS + 8 * HOUR_MS;
    let started =
        json!({"started_at": MIDNIGHT_MS + 6 * HOUR_MS, "latitude_deg": 48.11, "longitude_deg": 11.51, "load_kg": 240.0, "load_l": 2400.0, "driven_m": 9000.0});
    day.truck(at, "v0", started);
    for (i, site) in sites[..3].iter().enumerate() {
        day.served(MIDNIGHT_MS + 7 * HOUR_MS + i as i64 * 20 * 60_000, "v0", number(site));
    }
    let midday = ask(&day, &first.memo, &automatic());
    let home = MIDNIGHT_MS + 10 * HOUR_MS;
    day.truck(home, "v0", json!({"started_at": MIDNIGHT_MS + 6 * HOUR_MS, "ended_at": home, "load_kg": 0.0, "load_l": 0.0, "driven_m": 15000.0}));
    let evening = ask(&day, &midday.memo, &automatic());
    // Tomorrow's shift: the day is closed, with its figures, and the next one begins with version 1.
    day.truck(home + HOUR_MS, "v0", json!({"shift_id": "v0-tomorrow", "shift_from": MIDNIGHT_MS + 30 * HOUR_MS, "shift_to": MIDNIGHT_MS + 38 * HOUR_MS, "break_from": null, "break_to": null}));
    let next = ask(&day, &evening.memo, &automatic());
    let completed = next.of("plan").into_iter().find(|p| p["state"] == "completed").expect("the day is completed").clone();
    assert_eq!(completed["plan_id"], "north-2026-11-02");
    let driven = &completed["routes"][0]["driven"];
    let figure = |name: &str| driven[name].as_f64().unwrap();
    assert_eq!(["stops_planned", "stops_served", "stops_not_done", "stops_extra"].map(figure), [4.0, 3.0, 1.0, 0.0], "{driven}");
    assert_eq!((figure("driven_m"), figure("driven_s")), (15_000.0, 4.0 * 3600.0));
    assert!(figure("planned_m") > 0.0 && figure("planned_s") > 0.0 && figure("stops_late") <= 3.0);
    let tomorrow = next.of("plan").into_iter().find(|p| p["state"] == "accepted").expect("the next day is planned").clone();
    assert_eq!((tomorrow["plan_id"].as_str(), tomorrow["plan_version"].as_i64()), (Some("north-2026-11-03"), Some(1)));
}
