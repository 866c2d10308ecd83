//! Trucks that follow routes given to them; and that what fills the containers and what sensors say does not depend on who drives.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use crate::calendar::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::tests_life::{config, live, long, of};
use crate::{City, CityConfig, Dispatch, DispatchError, Event, FaultKind, FaultRates, PlannedRoute, PlannedVisit, Visit};

fn external(bins: usize, trucks: usize, faults: FaultRates) -> City {
    City::new(CityConfig { dispatch: Dispatch::External, one_shift: true, ..config(bins, trucks, faults) })
}

fn site(number: usize, planned_ms: i64) -> PlannedVisit {
    PlannedVisit { visit: Visit::Site { site_id: format!("site-{number:05}"), container_ids: Vec::new() }, planned_ms }
}

fn tip(facility: &str, planned_ms: i64) -> PlannedVisit {
    PlannedVisit { visit: Visit::Disposal { facility_id: facility.to_owned() }, planned_ms }
}

fn route(truck: usize, starts_ms: i64, visits: Vec<PlannedVisit>) -> PlannedRoute {
    PlannedRoute { vehicle_id: format!("truck-{truck:02}"), route_id: "plan-1".to_owned(), starts_ms, visits }
}

/// Sites in the order in which a truck reported them, each once.
fn visited(events: &[Event], truck: &str) -> Vec<String> {
    let mut sites: Vec<String> = Vec::new();
    for event in of(events, "collection.event").filter(|event| event.value["vehicle_id"] == truck) {
        let site = event.value["site_id"].as_str().unwrap().to_owned();
        if sites.last() != Some(&site) {
            sites.push(site);
        }
    }
    sites
}

fn ids(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|number| format!("site-{number:05}")).collect()
}

#[test]
fn without_a_route_nobody_drives_and_with_one_it_is_driven_in_its_order() {
    let mut city = external(60, 2, FaultRates::none());
    let start_ms = city.now_ms();
    let still = live(&mut city, 24);
    assert_eq!(of(&still, "vehicle.position").count() + of(&still, "collection.event").count(), 0);
    assert_eq!(of(&still, "ref.shift").count(), 2, "crews are there all the same");

    let at_ms = start_ms + 30 * HOUR_MS;
    city.dispatch(&route(1, at_ms, vec![site(5, at_ms), site(2, at_ms), tip("disposal-2", at_ms), site(9, at_ms)])).unwrap();
    let events = live(&mut city, 24);
    assert_eq!(visited(&events, "truck-01"), ids(&[5, 2, 9]));
    assert!(visited(&events, "truck-02").is_empty());
    let collected: Vec<i64> = of(&events, "collection.event").map(|event| long(event, "observed_at")).collect();
    assert!(collected[0] > at_ms && collected[0] < at_ms + HOUR_MS, "it leaves when it was told");
    assert!(of(&events, "collection.event").all(|event| event.value["route_id"] == "plan-1"));
    let weighed: Vec<&str> = of(&events, "weighbridge.ticket").map(|event| event.value["facility_id"].as_str().unwrap()).collect();
    assert!(weighed.contains(&"disposal-2") && weighed.len() > 1, "tips where told, and before it goes home: {weighed:?}");
    let done = &city.truth().duties()[0];
    assert_eq!((done.sites_served, done.sites_skipped, done.disposals, done.load_home_kg), (3, 0, 2, 0.0));
    assert!(done.driven_m > 1_000.0 && done.ended_ms > done.started_ms + 30 * MINUTE_MS);
    assert_eq!(city.truth().duties().len(), 1);
}

#[test]
fn only_the_containers_named_are_emptied() {
    let mut city = external(60, 1, FaultRates::none());
    let references = city.references();
    let mut by_site: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in of(&references, "ref.container") {
        by_site.entry(event.value["site_id"].as_str().unwrap()).or_default().push(&event.key);
    }
    let (site_id, containers) = by_site.iter().find(|(_, containers)| containers.len() > 1).unwrap();
    let visit = Visit::Site { site_id: (*site_id).to_owned(), container_ids: vec![containers[1].to_owned()] };
    let now_ms = city.now_ms();
    city.dispatch(&route(1, now_ms, vec![PlannedVisit { visit, planned_ms: now_ms }])).unwrap();
    let events = live(&mut city, 10);
    let emptied: Vec<&str> = of(&events, "collection.event").map(|event| event.value["container_id"].as_str().unwrap()).collect();
    assert_eq!(emptied, [containers[1]]);
}

#[test]
fn a_full_truck_tips_untold_and_goes_on() {
    let mut city = external(400, 1, FaultRates::none());
    let numbers: Vec<usize> = (1..=45).collect();
    live(&mut city, 4 * 24);
    let now_ms = city.now_ms();
    city.dispatch(&route(1, now_ms, numbers.iter().map(|number| site(*number, now_ms)).collect())).unwrap();
    let events = live(&mut city, 14);
    let done = &city.truth().duties()[0];
    assert!(done.disposals >= 2, "{done:?}");
    // The last container lifted may bring it over the brim, never more.
    assert!(done.peak_load < 1.25 && done.load_home_kg == 0.0, "{done:?}");
    assert_eq!(done.sites_served + done.sites_skipped, 45);
    assert!(visited(&events, "truck-01").len() >= 45);
    assert!(done.ended_ms - done.started_ms < 11 * HOUR_MS + 30 * MINUTE_MS, "the shift ends: {done:?}");
}

#[test]
fn a_new_plan_in_the_middle_of_the_day_keeps_what_was_served() {
    let mut city = external(120, 1, FaultRates::none());
    let now_ms = city.now_ms();
    let old: Vec<PlannedVisit> = (1..=12).map(|number| site(number, now_ms)).collect();
    city.dispatch(&route(1, now_ms, old)).unwrap();
    let before = live(&mut city, 1);
    let served = visited(&before, "truck-01").len();
    assert!((2..10).contains(&served), "{served}");
    // The whole plan anew: the past as it was, the rest turned round, two sites dropped and one added.
    let mut numbers: Vec<usize> = (1..=served).collect();
    numbers.extend((served + 3..=12).rev());
    numbers.push(30);
    let visits: Vec<PlannedVisit> = numbers.iter().map(|number| site(*number, now_ms)).collect();
    city.dispatch(&PlannedRoute { route_id: "plan-2".to_owned(), ..route(1, now_ms, visits) }).unwrap();
    let mut events = before;
    events.extend(live(&mut city, 12));
    let all = visited(&events, "truck-01");
    // The stop that it had set out for is not taken away.
    let mut expected = ids(&(1..=served + 1).collect::<Vec<_>>());
    expected.extend(ids(&(served + 3..=12).rev().collect::<Vec<_>>()));
    expected.extend(ids(&[30]));
    assert_eq!(all, expected);
    assert_eq!(city.truth().duties().len(), 1, "one duty");
}

#[test]
fn a_truck_on_its_way_home_turns_round_and_an_empty_plan_sends_it_home() {
    let mut city = external(60, 1, FaultRates::none());
    let now_ms = city.now_ms();
    city.dispatch(&route(1, now_ms, vec![site(1, now_ms), site(2, now_ms), site(3, now_ms)])).unwrap();
    // Minute by minute until a topic tells something, or the duty is over.
    let until = |city: &mut City, topic: &str| {
        let mut seen = Vec::new();
        while of(&seen, topic).next().is_none() && city.truth().duties().is_empty() {
            seen.extend(city.advance(city.now_ms() + MINUTE_MS));
        }
        seen
    };
    let first = until(&mut city, "collection.event");
    assert_eq!(visited(&first, "truck-01"), ids(&[1]));
    city.dispatch(&route(1, now_ms, Vec::new())).unwrap();
    let last = until(&mut city, "collection.event");
    assert_eq!(visited(&last, "truck-01"), ids(&[2]), "the stop that it had set out for, no other");
    // The site's other containers are told a little later.
    city.advance(city.now_ms() + 2 * MINUTE_MS);
    assert!(city.truth().duties().is_empty(), "it drives home");
    city.dispatch(&route(1, now_ms, vec![site(20, now_ms)])).unwrap();
    let events = live(&mut city, 8);
    assert_eq!(visited(&events, "truck-01"), ids(&[20]));
    assert_eq!(city.truth().duties().len(), 1);
}

#[test]
fn what_cannot_be_driven_is_refused_and_changes_nothing() {
    let mut fixed = City::new(config(60, 1, FaultRates::none()));
    assert_eq!(fixed.dispatch(&route(1, 0, Vec::new())), Err(DispatchError::FixedRounds));
    let mut city = external(60, 1, FaultRates::none());
    let now_ms = city.now_ms();
    let refused = |city: &mut City, visits| city.dispatch(&route(1, now_ms, visits)).unwrap_err();
    assert!(matches!(refused(&mut city, vec![site(1, 0), site(9_999, 0)]), DispatchError::Unknown { kind: "site", .. }));
    assert!(matches!(refused(&mut city, vec![tip("disposal-9", 0)]), DispatchError::Unknown { kind: "disposal site", .. }));
    assert!(matches!(refused(&mut city, vec![site(1, 0), site(1, 0)]), DispatchError::Twice { .. }));
    let elsewhere = Visit::Site { site_id: "site-00001".to_owned(), container_ids: vec!["bin-00060".to_owned()] };
    assert!(matches!(refused(&mut city, vec![PlannedVisit { visit: elsewhere, planned_ms: 0 }]), DispatchError::NotThere { .. }));
    assert!(matches!(city.dispatch(&route(7, now_ms, Vec::new())).unwrap_err(), DispatchError::Unknown { kind: "vehicle", .. }));
    let events = live(&mut city, 12);
    assert_eq!(of(&events, "vehicle.position").count(), 0);
}

#[test]
fn a_breakdown_leaves_the_rest_out_and_the_truck_takes_no_route_until_it_is_home() {
    let mut city = external(200, 1, FaultRates { breakdown_per_truck_day: 2.0, ..FaultRates::none() });
    let mut refused = false;
    for _ in 0..12 {
        let now_ms = city.now_ms();
        let _ = city.dispatch(&route(1, now_ms, (1..=30).map(|number| site(number, now_ms)).collect()));
        for _ in 0..24 {
            live(&mut city, 1);
            let again = city.dispatch(&route(1, now_ms, vec![site(40, now_ms)]));
            refused |= matches!(again, Err(DispatchError::BrokenDown { .. }));
            if refused {
                break;
            }
        }
        if refused {
            break;
        }
    }
    assert!(refused && city.truth().fault_count(FaultKind::Breakdown) > 0);
    live(&mut city, 12);
    let now_ms = city.now_ms();
    assert_eq!(city.dispatch(&route(1, now_ms, vec![site(41, now_ms)])), Ok(()), "repaired and home, it drives again");
}

#[test]
fn planned_visits_are_published_and_withdrawn() {
    let mut city = external(60, 1, FaultRates::none());
    let at_ms = city.now_ms() + 20 * HOUR_MS;
    let next = |events: &[Event]| of(events, "ref.schedule").filter(|event| event.key == "site-00004").map(|event| long(event, "next_visit_at")).last();
    city.dispatch(&route(1, at_ms, vec![site(4, at_ms + HOUR_MS)])).unwrap();
    assert_eq!(next(&live(&mut city, 1)), Some(at_ms + HOUR_MS));
    city.dispatch(&route(1, at_ms, vec![site(4, at_ms + HOUR_MS + MINUTE_MS)])).unwrap();
    assert_eq!(next(&live(&mut city, 1)), None, "a minute is no news");
    city.dispatch(&route(1, at_ms, vec![site(5, at_ms)])).unwrap();
    let promised = next(&live(&mut city, 1)).unwrap();
    assert!(promised > city.now_ms() && promised != at_ms + HOUR_MS);
}

/// Levels as if nobody ever came, from the start on: what is thrown in, and nothing else.
fn thrown_in(city: &City, start_ms: i64) -> Vec<f64> {
    let truth = city.truth();
    truth.container_ids().flat_map(|id| [24, 60, 100].map(|hours| truth.level_if_left_alone(id, start_ms, start_ms + hours * HOUR_MS).unwrap())).collect()
}

#[test]
fn fill_sensors_and_the_world_do_not_depend_on_who_drives() {
    let base = CityConfig { one_shift: true, ..config(120, 3, FaultRates::default()) };
    let mut fixed = City::new(base.clone());
    let mut rare = City::new(CityConfig { rounds_target_level: 2.0, ..base.clone() });
    let mut nobody = City::new(CityConfig { dispatch: Dispatch::External, ..base });
    let start_ms = fixed.now_ms();
    let levels: Vec<Vec<f64>> = [&fixed, &rare, &nobody].iter().map(|city| thrown_in(city, start_ms)).collect();
    assert!(levels[0] == levels[1] && levels[0] == levels[2], "the same start, the same to come");
    let streams = [&mut fixed, &mut rare, &mut nobody].map(|city| live(city, 5 * 24));
    let visits = streams.each_ref().map(|events| of(events, "collection.event").count());
    assert!(visits[0] > visits[1] && visits[1] > 0 && visits[2] == 0, "{visits:?}");
    assert!([&fixed, &rare, &nobody].iter().all(|city| thrown_in(city, start_ms) == levels[0]), "and afterwards");
    // What reports, when, how late, how warm: everything but the level.
    let reports = |events: &[Event]| -> Vec<(String, i64, i64, String)> {
        let telemetry = of(events, "bin.telemetry");
        telemetry.map(|e| (e.key.clone(), long(e, "observed_at"), e.received_at_ms, e.value["temperature_degc"].to_string())).collect()
    };
    let world = |events: &[Event]| -> Vec<String> {
        let of_the_world = |e: &&Event| ["weather.observed", "road.closure", "facility.status"].contains(&e.topic);
        events.iter().filter(of_the_world).map(|e| format!("{} {} {} {}", e.topic, e.key, e.value["observed_at"], e.value["temperature_degc"])).collect()
    };
    for other in &streams[1..] {
        assert_eq!(reports(&streams[0]), reports(other));
        let (left, right) = (world(&streams[0]), world(other));
        let apart: Vec<_> = left.iter().filter(|e| !right.contains(e)).chain(right.iter().filter(|e| !left.contains(e))).collect();
        assert!(apart.is_empty() && left.len() == right.len(), "{apart:?}");
    }
}

#[test]
fn hours_full_are_what_the_levels_say() {
    let mut city = City::new(CityConfig { rounds_target_level: 1.5, ..config(80, 3, FaultRates::default()) });
    let (from_ms, to_ms) = (city.now_ms() + DAY_MS, city.now_ms() + 5 * DAY_MS);
    live(&mut city, 6 * 24);
    let truth = city.truth();
    let step_ms = 2 * MINUTE_MS;
    let full = |id: &str| (from_ms..to_ms).step_by(step_ms as usize).filter(|at_ms| truth.level_at(id, *at_ms).unwrap() >= 1.0).count();
    let counted_h = truth.container_ids().map(full).sum::<usize>() as f64 * step_ms as f64 / HOUR_MS as f64;
    let said_h = truth.full_h(from_ms, to_ms);
    assert!(said_h > 20.0 && (said_h - counted_h).abs() < 0.02 * counted_h, "{said_h} {counted_h}");
    let parts = truth.full_h(from_ms, from_ms + DAY_MS) + truth.full_h(from_ms + DAY_MS, to_ms);
    assert!((parts - said_h).abs() < 0.01);
    assert_eq!(truth.full_h(to_ms, from_ms), 0.0);
}

#[test]
fn the_same_routes_give_the_same_stream() {
    let run = || {
        let mut city = external(100, 2, FaultRates::default());
        let now_ms = city.now_ms();
        city.dispatch(&route(1, now_ms + HOUR_MS, (1..=20).map(|number| site(number, now_ms)).collect())).unwrap();
        let mut events = live(&mut city, 3);
        city.dispatch(&route(1, now_ms + HOUR_MS, (1..=25).map(|number| site(number, now_ms)).collect())).unwrap();
        events.extend(live(&mut city, 20));
        events
    };
    assert_eq!(run(), run());
}
