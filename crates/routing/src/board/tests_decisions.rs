//! What persons decide, and for which version.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::testing::{Day, HOUR_MS, MIDNIGHT_MS, Said, ask, automatic};
use super::{Memo, Settings};
use serde_json::json;

const FULL: f64 = 8.0;
const AT: i64 = MIDNIGHT_MS + 5 * HOUR_MS;

fn by_hand() -> Settings {
    Settings::default()
}

fn version(memo: &[u8]) -> (Option<i64>, Option<i64>) {
    let memo = Memo::read(memo).0;
    (memo.in_force.map(|i| i.version), memo.proposal.map(|i| i.version))
}

#[test]
fn a_proposal_waits_for_a_person_and_is_accepted_by_its_version() {
    let mut day = Day::new(2, &[FULL; 6]);
    let first = ask(&day, &[], &by_hand());
    assert_eq!((first.plan()["state"].as_str(), version(&first.memo)), (Some("proposed"), (None, Some(1))));
    day.decide(AT, "d1", "accepted", 1, json!({}));
    let accepted = ask(&day, &first.memo, &by_hand());
    let plan = accepted.plan();
    assert_eq!((plan["state"].as_str(), plan["plan_version"].as_i64(), version(&accepted.memo)), (Some("accepted"), Some(1), (Some(1), None)));
    assert_eq!(plan["routes"], first.plan()["routes"], "what was seen is what is in force");
    assert!(accepted.of("change").is_empty(), "it changes nothing");
    assert!(ask(&day, &accepted.memo, &by_hand()).rows.is_empty(), "a decision is applied once");
}

#[test]
fn a_decision_for_an_old_version_is_not_applied_and_the_person_is_told() {
    let mut day = Day::new(2, &[FULL; 6]);
    let first = ask(&day, &[], &by_hand());
    // A pressing ticket makes version 2; meanwhile somebody accepts version 1.
    day.forecast(AT, 1, 900.0);
    day.put(AT, json!({"kind": "site", "entity_id": "s6", "latitude_deg": 48.12, "longitude_deg": 11.53, "time_zone": "UTC"}));
    day.put(AT, json!({"kind": "ticket", "entity_id": "t", "site_id": "s6", "status": "opened", "category": "spill", "priority": "urgent"}));
    let second = ask(&day, &first.memo, &by_hand());
    assert_eq!((second.plan()["plan_version"].as_i64(), second.plan()["supersedes"].as_str()), (Some(2), Some("north-2026-11-02:1")));
    day.decide(AT + 1, "late", "accepted", 1, json!({}));
    let said = ask(&day, &second.memo, &by_hand());
    assert!(said.of("plan").is_empty() && version(&said.memo) == (None, Some(2)), "nothing is in force");
    let problem = said.of("problem")[0];
    assert_eq!(
        (problem["code"].as_str(), problem["cause_event_id"].as_str(), problem["entity_kind"].as_str()),
        (Some("old_version"), Some("late"), Some("decision"))
    );
    assert!(problem["detail"].as_str().unwrap().contains("version 2 is proposed"), "{problem}");
    for (id, kind, with) in
        [("l", "locked", json!({"site_id": "s0"})), ("e", "edited", json!({"site_id": "s0", "vehicle_id": "v1"})), ("r", "rejected", json!({}))]
    {
        day.decide(AT + 2, id, kind, 1, with);
    }
    day.decide(AT + 2, "other-day", "accepted", 2, json!({"plan_id": "north-2026-11-01"}));
    let said = ask(&day, &said.memo, &by_hand());
    assert_eq!(said.problems(), ["old_version e", "old_version l", "old_version other-day", "old_version r"]);
    assert_eq!(version(&said.memo), (None, Some(2)));
}

/// The plan in force, a change that is proposed on top of it, and the site that it adds.
fn with_a_change() -> (Day, Said, Said) {
    let mut day = Day::new(2, &[FULL, FULL, FULL, 900.0]);
    let first = ask(&day, &[], &by_hand());
    day.decide(AT, "d1", "accepted", 1, json!({}));
    let accepted = ask(&day, &first.memo, &by_hand());
    assert!(!first.sites("").contains(&"s3".to_string()));
    day.forecast(AT + 1, 3, FULL);
    let proposed = ask(&day, &accepted.memo, &by_hand());
    assert_eq!((proposed.plan()["state"].as_str(), proposed.plan()["plan_version"].as_i64()), (Some("proposed"), Some(2)));
    let added = proposed.of("change").into_iter().find(|c| c["change"] == "stop_added").expect("s3 is added").clone();
    assert_eq!((added["site_id"].as_str(), added["reason"].as_str()), (Some("s3"), Some("overflow_risk")));
    assert_eq!((added["previous_plan_version"].as_i64(), added["cause_event_id"].as_str()), (Some(1), Some("forecast-c3-18000001")));
    (day, first, proposed)
}

#[test]
fn what_is_rejected_leaves_the_accepted_plan_in_force_and_is_not_proposed_again() {
    let (mut day, _, proposed) = with_a_change();
    day.decide(AT + 2, "no", "rejected", 2, json!({}));
    let said = ask(&day, &proposed.memo, &by_hand());
    let states: Vec<_> = said.of("plan").iter().map(|p| (p["state"].as_str().unwrap().to_owned(), p["plan_version"].as_i64().unwrap())).collect();
    assert_eq!(states[0], ("rejected".to_string(), 2));
    assert_eq!(version(&said.memo).0, Some(1), "the accepted one stays");
    let again = ask(&day, &said.memo, &by_hand());
    assert!(again.of("plan").is_empty(), "{:?}", again.rows);
    // Whatever is proposed next, the refused stop is not in it, and a checker can see why.
    day.put(AT + 2, json!({"kind": "site", "entity_id": "s6", "latitude_deg": 48.12, "longitude_deg": 11.53, "time_zone": "UTC"}));
    day.put(AT + 2, json!({"kind": "ticket", "entity_id": "t", "site_id": "s6", "status": "opened", "category": "spill", "priority": "urgent"}));
    let again = ask(&day, &again.memo, &by_hand());
    assert_eq!((again.plan()["state"].as_str(), again.plan()["plan_version"].as_i64()), (Some("proposed"), Some(3)));
    assert!(again.sites("").contains(&"s6".to_string()) && !again.sites("").contains(&"s3".to_string()), "{:?}", again.sites(""));
    assert_eq!(again.skipped("decision"), ["s3"]);
    // An accepted plan cannot be rejected any more.
    day.decide(AT + 3, "too-late", "rejected", 1, json!({}));
    assert_eq!(ask(&day, &again.memo, &by_hand()).problems(), ["already_in_force too-late"]);
}

#[test]
fn locked_stops_stay_edited_ones_move_and_both_are_shown() {
    let mut day = Day::new(2, &[FULL; 6]);
    let first = ask(&day, &[], &automatic());
    let truck = if first.sites("v0").is_empty() { "v1" } else { "v0" };
    let other = if truck == "v0" { "v1" } else { "v0" };
    let sites = first.sites(truck);
    let (locked, moved) = (sites[0].clone(), sites[1].clone());
    day.decide(AT, "lock", "locked", 1, json!({"site_id": locked}));
    let second = ask(&day, &first.memo, &automatic());
    let stop = |said: &Said, site: &str| {
        let routes = said.plan()["routes"].as_array().unwrap().clone();
        let found = routes.iter().flat_map(|r| r["stops"].as_array().unwrap().iter().map(move |s| (r["vehicle_id"].clone(), s.clone())));
        found
            .into_iter()
            .find(|(_, s)| s["site_id"] == site)
            .unwrap_or_else(|| panic!("{site} is served: {} {}", said.plan()["routes"], said.plan()["skipped"]))
    };
    let (vehicle, shown) = stop(&second, &locked);
    assert_eq!((vehicle.as_str(), shown["locked"].as_bool()), (Some(truck), Some(true)), "a lock is told with the plan");
    day.decide(AT + 1, "edit", "edited", 2, json!({"site_id": moved, "vehicle_id": other, "position": 1}));
    let third = ask(&day, &second.memo, &automatic());
    assert_eq!(third.sites(other).first(), Some(&moved), "first site behind the depot");
    assert_eq!(stop(&third, &locked).0.as_str(), Some(truck));
    let change = third.of("change").into_iter().find(|c| c["site_id"] == moved.as_str() && c["change"] == "vehicle_changed").expect("it is told").clone();
    assert_eq!((change["reason"].as_str(), change["cause_event_id"].as_str()), (Some("decision"), Some("edit")));
    // Unlocked, it may go where it is cheapest again; a second unlock has nothing to do.
    day.decide(AT + 2, "unlock", "unlocked", 3, json!({"site_id": moved}));
    let fourth = ask(&day, &third.memo, &automatic());
    day.decide(AT + 3, "again", "unlocked", Memo::read(&fourth.memo).0.in_force.unwrap().version, json!({"site_id": moved}));
    assert_eq!(ask(&day, &fourth.memo, &automatic()).problems(), ["not_locked again"]);
    // A truck that breaks down cannot keep its lock, and that is told.
    day.truck(AT + 4, truck, json!({"status": "broken_down"}));
    let down = ask(&day, &fourth.memo, &automatic());
    assert!(down.problems().contains(&format!("lock_without_vehicle {locked}")), "{:?}", down.problems());
    assert!(down.sites(other).contains(&locked), "it is served by the other");
}

#[test]
fn decisions_that_mean_nothing_are_told_with_what_is_missing() {
    let mut day = Day::new(1, &[FULL; 3]);
    let first = ask(&day, &[], &automatic());
    for (id, kind, with) in [
        ("a", "locked", json!({"site_id": "atlantis"})),
        ("b", "locked", json!({"vehicle_id": "v9"})),
        ("c", "edited", json!({"vehicle_id": "v0"})),
        ("d", "cancelled", json!({})),
        ("e", "accepted", json!({"vehicle_id": "v0"})),
        ("f", "edited", json!({"site_id": "s0", "vehicle_id": "v0", "position": -1})),
    ] {
        day.decide(AT, id, kind, 1, with);
    }
    let said = ask(&day, &first.memo, &automatic());
    let mut problems = said.problems();
    problems.sort();
    assert_eq!(problems, ["incomplete_decision c", "incomplete_decision f", "not_supported d", "not_supported e", "unknown_stop a", "unknown_vehicle b"]);
    // A stop that a person takes off the plan is skipped for that reason.
    day.decide(AT + 1, "off", "cancelled", 1, json!({"site_id": "s1"}));
    let off = ask(&day, &said.memo, &automatic());
    assert_eq!(off.skipped("decision"), ["s1"]);
}
