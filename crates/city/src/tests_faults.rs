//! Faults: they occur as often as their rates say, each looks like itself in the stream, and the truth knows of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::{DAY_MS, HOUR_MS};
use crate::tests_life::{config, level, live, long, of};
use crate::{City, Event, FaultKind, FaultRates};

#[test]
fn faults_occur_about_as_often_as_their_rates_say() {
    let rates = FaultRates {
        buffered_upload_per_device_day: 0.02,
        newest_first_upload_per_device_day: 0.02,
        stuck_per_device_day: 0.02,
        silent_per_device_day: 0.02,
        jumping_per_device_day: 0.02,
        clock_ahead_per_device_day: 0.01,
        clock_behind_per_device_day: 0.01,
        device_swap_per_device_day: 0.01,
        fire_per_device_day: 0.01,
        absurd_reading_share: 0.002,
        ..FaultRates::default()
    };
    let (bins, days) = (500, 10);
    let mut city = City::new(config(bins, 12, rates.clone()));
    let mut readings = 0;
    for _ in 0..days {
        readings += of(&live(&mut city, 24), "bin.telemetry").count();
    }
    let truth = city.truth();
    let device_days = bins as f64 * days as f64;
    // Devices have one episode at a time, which costs some of the rate.
    let near = |kind: FaultKind, expected: f64, slack: f64| {
        let count = truth.fault_count(kind) as f64;
        assert!((count - expected).abs() <= slack * expected + 3.0, "{kind:?}: {count} instead of {expected}");
    };
    near(FaultKind::BufferedUpload, rates.buffered_upload_per_device_day * device_days, 0.35);
    near(FaultKind::NewestFirstUpload, rates.newest_first_upload_per_device_day * device_days, 0.35);
    near(FaultKind::Stuck, rates.stuck_per_device_day * device_days, 0.35);
    near(FaultKind::Silent, rates.silent_per_device_day * device_days, 0.35);
    near(FaultKind::Jumping, rates.jumping_per_device_day * device_days, 0.35);
    near(FaultKind::ClockAhead, rates.clock_ahead_per_device_day * device_days, 0.45);
    near(FaultKind::ClockBehind, rates.clock_behind_per_device_day * device_days, 0.45);
    near(FaultKind::Fire, rates.fire_per_device_day * device_days, 0.45);
    near(FaultKind::DuplicateReading, rates.duplicate_reading_share * readings as f64, 0.25);
    near(FaultKind::LostReading, rates.lost_reading_share * readings as f64, 0.25);
    near(FaultKind::AbsurdReading, rates.absurd_reading_share * readings as f64, 0.3);
    let emptied = (truth.emptyings().len() - bins) as f64;
    near(FaultKind::MissedScan, rates.missed_scan_share * emptied, 0.5);
    near(FaultKind::NoScan, rates.no_scan_share * emptied, 0.35);
    near(FaultKind::RoadClosure, rates.road_closures_per_day * days as f64, 0.7);
    let swaps = truth.fault_count(FaultKind::DeviceSwap) + truth.fault_count(FaultKind::UnregisteredSwap);
    assert!((20..80).contains(&swaps), "{swaps}");
    let unreported = truth.emptyings().iter().filter(|emptying| emptying.vehicle_id.is_some() && !emptying.reported).count();
    assert_eq!(unreported, truth.fault_count(FaultKind::MissedScan));
}

#[test]
fn a_city_without_faults_has_none() {
    let mut city = City::new(config(200, 6, FaultRates::none()));
    live(&mut city, 72);
    assert_eq!(city.truth().faults(), []);
}

/// Readings of one device that were taken within a fault, in order of delivery.
fn readings_in<'a>(events: &'a [Event], city: &City, kind: FaultKind) -> Vec<Vec<&'a Event>> {
    let faults: Vec<_> = city.truth().faults().iter().filter(|fault| fault.kind == kind && fault.until_ms < city.now_ms() - HOUR_MS).cloned().collect();
    let within = |from: i64, until: i64, event: &&Event| event.value["received_at"].as_i64().is_some_and(|at| at >= from && at < until + HOUR_MS / 4);
    faults
        .iter()
        .map(|fault| of(events, "bin.telemetry").filter(|e| e.key == fault.subject).filter(|e| within(fault.from_ms, fault.until_ms, e)).collect())
        .collect()
}

#[test]
fn each_fault_of_a_sensor_looks_like_itself() {
    let rates = FaultRates {
        buffered_upload_per_device_day: 0.1,
        newest_first_upload_per_device_day: 0.1,
        stuck_per_device_day: 0.05,
        jumping_per_device_day: 0.05,
        clock_ahead_per_device_day: 0.05,
        clock_behind_per_device_day: 0.05,
        duplicate_reading_share: 0.02,
        fire_per_device_day: 0.02,
        ..FaultRates::none()
    };
    let mut city = City::new(config(200, 6, rates));
    let events = live(&mut city, 120);
    let observed = |event: &&Event| long(event, "observed_at");
    for (kind, ascending) in [(FaultKind::BufferedUpload, true), (FaultKind::NewestFirstUpload, false)] {
        let mut held = 0;
        for fault in city.truth().faults().iter().filter(|f| f.kind == kind && f.until_ms < city.now_ms() - HOUR_MS) {
            let mut seen = BTreeSet::new();
            let late: Vec<i64> = of(&events, "bin.telemetry")
                .filter(|event| event.key == fault.subject && (fault.from_ms..fault.until_ms).contains(&long(event, "observed_at")))
                .filter(|event| seen.insert(event.value["event_id"].to_string()))
                .map(|event| observed(&event))
                .collect();
            assert!(late.windows(2).all(|pair| (pair[0] < pair[1]) == ascending), "{kind:?} {late:?}");
            held += usize::from(late.len() > 3);
        }
        assert!(held > 10, "{kind:?}: {held}");
    }
    let stuck = readings_in(&events, &city, FaultKind::Stuck);
    let flat = stuck.iter().filter(|run| run.len() > 10).filter(|run| run[1..run.len() - 2].windows(2).all(|pair| level(pair[0]) == level(pair[1]))).count();
    assert!(flat > 3 && flat * 10 >= stuck.iter().filter(|run| run.len() > 10).count() * 9, "{flat}");
    let jumps = readings_in(&events, &city, FaultKind::Jumping);
    assert!(jumps.iter().filter(|run| run.len() > 10).all(|run| { run.windows(2).any(|pair| (level(pair[0]) - level(pair[1])).abs() > 0.4) }));
    let ahead = events.iter().filter(|event| event.topic == "bin.telemetry" && long(event, "observed_at") > city.now_ms() + 300 * DAY_MS).count();
    assert!(ahead > 10, "{ahead}");
    let hottest = of(&events, "bin.telemetry").map(|event| event.value["temperature_degc"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!(hottest > 100.0 && city.truth().fault_count(FaultKind::Fire) > 5, "{hottest}");
    let mut copies: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in of(&events, "bin.telemetry") {
        copies.entry(event.value["event_id"].to_string()).or_default().push(event);
    }
    let twice: Vec<&Vec<&Event>> = copies.values().filter(|copies| copies.len() > 1).collect();
    assert!(twice.len() > 50 && twice.iter().all(|copies| copies.len() == 2 && copies[0].value == copies[1].value));
}

#[test]
fn swaps_change_the_references_and_the_truth_knows_better() {
    let rates = FaultRates { device_swap_per_device_day: 0.05, late_reference_share: 0.5, unregistered_swap_share: 0.5, ..FaultRates::none() };
    let mut city = City::new(config(200, 6, rates));
    let mut events = city.references();
    events.extend(live(&mut city, 120));
    let mut known: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    of(&events, "ref.device").for_each(|event| {
        known.insert(&event.key, event.value["container_id"].as_str());
    });
    let truth = city.truth();
    assert!(known.len() > 215, "new devices were registered: {}", known.len());
    let wrong = known.iter().filter(|(device, container)| truth.container_of(device, city.now_ms()) != **container).count();
    let unregistered = truth.fault_count(FaultKind::UnregisteredSwap);
    assert!(unregistered > 1 && wrong >= 1 && wrong <= 2 * unregistered + 6, "{wrong} wrong, {unregistered} unregistered");
    let late = of(&events, "ref.device").filter(|event| long(event, "received_at") - long(event, "valid_from") > HOUR_MS);
    assert!(late.filter(|event| long(event, "valid_from") >= city.config().start_ms).count() > 5);
    // Nobody reports from where nothing sits.
    let silent: Vec<&str> = known.iter().filter(|(_, container)| container.is_none()).map(|(device, _)| *device).collect();
    for device in silent {
        let unmounted_ms = of(&events, "ref.device").filter(|event| event.key == device).map(|event| long(event, "valid_from")).max().unwrap();
        assert!(of(&events, "bin.telemetry").filter(|event| event.key == device).all(|event| long(event, "observed_at") <= unmounted_ms));
    }
}

#[test]
fn breakdowns_leave_stops_unserved_and_people_complain() {
    let rates = FaultRates { breakdown_per_truck_day: 0.5, skipped_container_share: 0.1, ..FaultRates::none() };
    let mut city = City::new(config(400, 10, rates));
    let events = live(&mut city, 120);
    assert!(city.truth().fault_count(FaultKind::Breakdown) >= 5);
    let skipped = |reason: &str| of(&events, "collection.event").filter(|event| event.value["outcome"] == "skipped" && event.value["reason"] == reason).count();
    assert!(skipped("vehicle_breakdown") > 10 && skipped("contaminated") > 10);
    assert!(of(&events, "collection.event").filter(|event| event.value["outcome"] == "skipped").all(|event| event.value["emptied_at"].is_null()));
    let states: BTreeSet<&str> = of(&events, "service.ticket").map(|event| event.value["state"].as_str().unwrap()).collect();
    assert_eq!(states.into_iter().collect::<Vec<_>>(), ["done", "opened", "planned"]);
    assert!(of(&events, "workorder.event").any(|event| event.value["state"] == "completed"));
}
