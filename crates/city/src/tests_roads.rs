//! Driving on the streets: positions lie on roads, drives take what the true speeds say, closed roads are driven around.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::MINUTE_MS;
use crate::tests_life::{config, live, long, of};
use crate::{City, CityConfig, Event, FaultKind, FaultRates};
use ws_routing::roads::{Direction, Place};

fn place(event: &Event) -> Place {
    Place::new(event.value["latitude_deg"].as_f64().unwrap(), event.value["longitude_deg"].as_f64().unwrap())
}

#[test]
fn positions_lie_on_roads_within_their_accuracy() {
    let mut city = City::new(config(300, 8, FaultRates::none()));
    let events = live(&mut city, 24);
    let graph = city.roads();
    let (mut near, mut count, mut standing) = (0, 0, 0);
    for event in of(&events, "vehicle.position") {
        let accuracy_m = event.value["accuracy_m"].as_f64().unwrap();
        let off_m = graph.near(graph.plane().point(place(event)), 60.0).first().expect("a road within 60 m").distance_m;
        near += usize::from(off_m <= accuracy_m);
        count += 1;
        standing += usize::from(event.value["heading_deg"].is_null());
    }
    assert!(near * 100 > count * 80, "{near} of {count}");
    assert!(standing * 4 > count && standing * 4 < count * 3, "{standing} of {count} while standing");
}

#[test]
fn drives_join_up_and_take_what_the_true_speeds_say() {
    let mut city = City::new(config(300, 8, FaultRates { road_incidents_per_day: 10.0, ..FaultRates::none() }));
    city.keep_drives();
    live(&mut city, 30);
    let truth = city.truth();
    let graph = city.roads();
    let mut last: BTreeMap<&str, (i64, u32)> = BTreeMap::new();
    let (mut ratios, mut joined) = (Vec::new(), 0);
    for drive in truth.drives() {
        let edge = graph.segment(&drive.segment_id).unwrap().edge(drive.direction);
        assert!(graph.is_open(edge), "{} against its one-way", drive.segment_id);
        if let Some((left_ms, head)) = last.insert(&drive.vehicle_id, (drive.left_ms, graph.head(edge))) {
            assert!(left_ms <= drive.entered_ms);
            joined += usize::from(left_ms == drive.entered_ms && head == graph.tail(edge));
        }
        if drive.whole {
            let mps = drive.metres / ((drive.left_ms - drive.entered_ms) as f64 / 1e3);
            ratios.push(mps / truth.road_speed_mps(&drive.segment_id, drive.direction, drive.entered_ms).unwrap());
        }
    }
    assert!(joined * 10 > truth.drives().len() * 7, "{joined} of {}", truth.drives().len());
    assert!(ratios.len() > 2_000 && ratios.iter().all(|ratio| (0.8..1.2).contains(ratio)), "{}", ratios.len());
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!((0.97..1.03).contains(&mean), "{mean}");
    assert!(truth.fault_count(FaultKind::RoadIncident) > 3);
    assert_eq!(truth.road_speed_mps("nowhere", Direction::Forward, 0), None);
}

#[test]
fn closed_roads_are_driven_around() {
    let rates = FaultRates { road_closures_per_day: 60.0, ..FaultRates::none() };
    let mut city = City::new(config(300, 8, rates));
    city.keep_drives();
    let events = live(&mut city, 48);
    let mut closed: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    let mut segments = BTreeSet::new();
    for event in of(&events, "road.closure") {
        for id in event.value["segment_ids"].as_array().unwrap() {
            let id = id.as_str().unwrap();
            assert!(city.roads().segment(id).is_some(), "{id} is in the network");
            closed.entry(id).or_default().push((long(event, "starts_at"), long(event, "ends_at")));
            segments.insert(id);
        }
    }
    assert!(segments.len() > 60);
    let entered = |from_ms: i64, until_ms: i64, id: &str| {
        city.truth().drives().iter().filter(|drive| drive.segment_id == id && (from_ms + 5 * MINUTE_MS..until_ms).contains(&drive.entered_ms)).count()
    };
    // Somebody whom the closure surprised on the road drives out of it.
    let inside: usize = closed.iter().flat_map(|(id, times)| times.iter().map(|(from, until)| entered(*from, *until, id))).sum();
    let all = city.truth().drives().iter().filter(|drive| closed.contains_key(drive.segment_id.as_str())).count();
    assert!(all > 50 && inside * 20 < all, "{inside} drives on closed roads, {all} on the same roads in all");
    assert!(of(&events, "collection.event").any(|event| event.value["reason"] == "no_access"));
}

#[test]
fn odometers_agree_with_the_drives() {
    let mut city = City::new(config(200, 5, FaultRates::none()));
    city.keep_drives();
    let before: Vec<f64> = city.trucks.iter().map(|truck| truck.odometer_m).collect();
    live(&mut city, 30);
    for (truck, before_m) in city.trucks.iter().zip(before) {
        let driven_m: f64 = city.truth().drives().iter().filter(|drive| drive.vehicle_id == truck.id).map(|drive| drive.metres).sum();
        assert!((truck.odometer_m - before_m - driven_m).abs() < 1.0 + driven_m * 1e-3, "{}", truck.id);
    }
}

#[test]
fn clocks_and_jumps_of_trucks_go_wrong_as_often_as_told() {
    let rates = FaultRates { clock_behind_per_truck_day: 0.5, position_jump_share: 0.02, ..FaultRates::none() };
    let mut city = City::new(CityConfig { position_interval_s: 20, ..config(300, 8, rates) });
    let events = live(&mut city, 72);
    let positions = of(&events, "vehicle.position").count() as f64;
    let jumps = city.truth().fault_count(FaultKind::PositionJump) as f64;
    assert!((jumps / positions - 0.02).abs() < 0.01, "{jumps} of {positions}");
    let behind = of(&events, "vehicle.position").filter(|event| long(event, "received_at") - long(event, "sent_at") > 50 * MINUTE_MS);
    assert!(behind.count() > 50 && city.truth().fault_count(FaultKind::VehicleClock) >= 5);
}
