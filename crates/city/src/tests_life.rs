//! The life of the city: same seed, same stream; order of delivery; physics; truth against what the events say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::calendar::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::{City, CityConfig, Event, FaultRates};

pub(crate) fn config(bins: usize, trucks: usize, faults: FaultRates) -> CityConfig {
    CityConfig { bins, trucks, faults, ..CityConfig::default() }
}

/// Lives for some hours in one step.
pub(crate) fn live(city: &mut City, hours: i64) -> Vec<Event> {
    city.advance(city.now_ms() + hours * HOUR_MS)
}

fn hash_of(events: &[Event]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for event in events {
        (event.topic, &event.key, event.received_at_ms, event.value.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}

pub(crate) fn long(event: &Event, field: &str) -> i64 {
    event.value[field].as_i64().unwrap()
}

pub(crate) fn level(event: &Event) -> f64 {
    event.value["filling_level"].as_f64().unwrap()
}

pub(crate) fn of<'a>(events: &'a [Event], topic: &'a str) -> impl Iterator<Item = &'a Event> {
    events.iter().filter(move |event| event.topic == topic)
}

#[test]
fn same_seed_same_stream_and_another_seed_another() {
    let stream = |seed: u64| {
        let mut city = City::new(CityConfig { seed, ..config(200, 6, FaultRates::default()) });
        let references = hash_of(&city.references());
        (references, hash_of(&live(&mut city, 60)))
    };
    assert_eq!(stream(7), stream(7));
    assert_ne!(stream(7).0, stream(8).0);
    assert_ne!(stream(7).1, stream(8).1);
}

#[test]
fn the_stream_depends_neither_on_the_steps_nor_on_who_asks_for_the_truth() {
    let mut whole = City::new(config(200, 6, FaultRates::default()));
    let expected = live(&mut whole, 50);
    let mut stepped = City::new(config(200, 6, FaultRates::default()));
    let end_ms = stepped.now_ms() + 50 * HOUR_MS;
    let mut events = Vec::new();
    let mut step_ms = 1;
    while stepped.now_ms() < end_ms {
        let until_ms = (stepped.now_ms() + step_ms).min(end_ms);
        let part = stepped.advance(until_ms);
        assert!(part.iter().all(|event| event.received_at_ms < until_ms));
        events.extend(part);
        stepped.truth().level("bin-00001");
        step_ms = (step_ms * 3) % (4 * HOUR_MS) + 1;
    }
    assert_eq!(events.len(), expected.len());
    assert_eq!(hash_of(&events), hash_of(&expected));
}

#[test]
fn events_come_in_order_of_delivery_and_not_before_they_happened() {
    let mut city = City::new(config(300, 8, FaultRates::default()));
    let mut last_ms = city.now_ms();
    for event in live(&mut city, 72) {
        assert!(event.received_at_ms >= last_ms, "{} at {}", event.topic, event.received_at_ms);
        last_ms = event.received_at_ms;
        let received_ms = long(&event, "received_at");
        assert!(received_ms <= event.received_at_ms);
        assert!(long(&event, "observed_at") <= long(&event, "sent_at"), "{}", event.value);
        let year_ahead = long(&event, "observed_at") > received_ms + 300 * DAY_MS;
        assert!(year_ahead || long(&event, "sent_at") <= received_ms, "{}", event.value);
    }
    assert!(city.advance(0).is_empty(), "the past returns nothing");
}

#[test]
fn every_bin_reports_about_as_often_as_its_reference_says() {
    let mut city = City::new(config(400, 10, FaultRates { unknown_devices: 2, ..FaultRates::none() }));
    let references = city.references();
    let interval_ms: BTreeMap<&str, f64> =
        of(&references, "ref.device").map(|event| (event.key.as_str(), event.value["report_interval_s"].as_f64().unwrap() * 1_000.0)).collect();
    let events = live(&mut city, 72);
    let mut times: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in of(&events, "bin.telemetry") {
        times.entry(&event.key).or_default().push(long(event, "observed_at"));
    }
    assert_eq!(times.len(), 402);
    assert_eq!(times.keys().filter(|device| !interval_ms.contains_key(*device)).count(), 2, "devices in no reference");
    let mut models = BTreeSet::new();
    for (device, times) in times {
        if let Some(interval_ms) = interval_ms.get(device) {
            let gaps_ms = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64);
            assert!(gaps_ms.clone().count() >= 1 && gaps_ms.into_iter().all(|gap_ms| (gap_ms - interval_ms).abs() <= 1_000.0), "{device}");
            models.insert(*interval_ms as i64);
        }
    }
    assert_eq!(models.into_iter().collect::<Vec<_>>(), [600_000, 1_800_000, 3_600_000, 86_400_000]);
}

#[test]
fn levels_fall_only_at_emptyings_and_stay_below_1_15() {
    let mut city = City::new(config(200, 6, FaultRates::default()));
    let start_ms = city.now_ms();
    live(&mut city, 96);
    let truth = city.truth();
    for id in truth.container_ids() {
        let emptied: Vec<i64> = truth.emptyings().iter().filter(|emptying| emptying.container_id == id).map(|emptying| emptying.at_ms).collect();
        let mut last = truth.level_at(id, start_ms).unwrap();
        for quarter in 1..96 * 4 {
            let at_ms = start_ms + quarter * 15 * MINUTE_MS;
            let now = truth.level_at(id, at_ms).unwrap();
            assert!((0.0..=1.15).contains(&now), "{now}");
            if now < last - 1e-9 {
                assert!(emptied.iter().any(|time_ms| (at_ms - 15 * MINUTE_MS..=at_ms).contains(time_ms)), "{id} fell at {at_ms} for no reason");
            }
            last = now;
        }
    }
    for emptying in truth.emptyings().iter().filter(|emptying| emptying.vehicle_id.is_some()) {
        assert!(emptying.level_after <= emptying.level_before * 0.34, "{emptying:?}");
        let after = truth.level_at(&emptying.container_id, emptying.at_ms).unwrap();
        assert!((after - emptying.level_after).abs() < 1e-9);
        let before = truth.level_at(&emptying.container_id, emptying.at_ms - 1).unwrap();
        assert!((before - emptying.level_before).abs() < 1e-3, "{before} {emptying:?}");
    }
    assert_eq!(truth.level_at("bin-99999", start_ms), None);
    assert_eq!(truth.level_at("bin-00001", start_ms - 60 * DAY_MS), None);
}

#[test]
fn the_truth_foresees_what_then_happens() {
    let mut city = City::new(config(150, 5, FaultRates::none()));
    let from_ms = city.now_ms() + 6 * HOUR_MS;
    city.advance(from_ms);
    let ids: Vec<String> = city.truth().container_ids().map(str::to_owned).collect();
    let foreseen: Vec<f64> = ids.iter().map(|id| city.truth().level_if_left_alone(id, from_ms, from_ms + 5 * HOUR_MS).unwrap()).collect();
    let hours: Vec<Option<f64>> = ids.iter().map(|id| city.truth().hours_to_full(id, from_ms, 300.0)).collect();
    city.advance(from_ms + 5 * HOUR_MS);
    let mut untouched = 0;
    for ((id, foreseen), hours) in ids.iter().zip(foreseen).zip(hours) {
        if !city.truth().emptyings().iter().any(|emptying| &emptying.container_id == id && emptying.at_ms > from_ms) {
            untouched += 1;
            let now = city.truth().level(id).unwrap();
            assert!((now - foreseen).abs() < 1e-9);
            assert_eq!(hours.is_some_and(|hours| hours < 5.0 - 1e-6), now > 1.0, "{id}: {hours:?} {now}");
        }
    }
    assert!(untouched > 50);
}

#[test]
fn healthy_sensors_say_the_truth_within_their_noise() {
    let mut city = City::new(config(300, 8, FaultRates::none()));
    let events = live(&mut city, 48);
    let (mut square, mut count, mut over) = (0.0, 0, 0);
    for event in of(&events, "bin.telemetry") {
        let at_ms = long(event, "observed_at");
        let truth = city.truth();
        let real = truth.level_at(truth.container_of(&event.key, at_ms).unwrap(), at_ms).unwrap();
        square += (level(event) - real).powi(2);
        count += 1;
        over += usize::from(level(event) > 1.02);
        assert!((0.0..=1.15).contains(&level(event)));
    }
    let deviation = (square / f64::from(count)).sqrt();
    assert!((0.008..0.03).contains(&deviation), "{deviation}");
    assert!(over > 0, "overfull containers read above 1");
}

#[test]
fn without_faults_every_emptying_is_reported_and_every_planned_visit_takes_place() {
    let mut city = City::new(config(300, 8, FaultRates::none()));
    let start_ms = city.now_ms();
    let events = live(&mut city, 16 * 24);
    let truth = city.truth();
    let served: BTreeSet<(&str, i64)> = of(&events, "collection.event")
        .filter(|event| event.value["outcome"] == "served")
        .map(|event| (event.key.as_str(), long(event, "emptied_at")))
        .collect();
    let real: BTreeSet<(&str, i64)> =
        truth.emptyings().iter().filter(|emptying| emptying.at_ms >= start_ms).map(|emptying| (emptying.container_id.as_str(), emptying.at_ms)).collect();
    // The last ones are still on their way to the broker.
    assert!(served.is_subset(&real) && real.len() - served.len() < 5);
    assert!(truth.emptyings().iter().filter(|emptying| emptying.at_ms >= start_ms).all(|emptying| emptying.reported));
    let visited: BTreeSet<&str> = real.iter().map(|(id, _)| *id).collect();
    assert_eq!(visited.len(), 300, "every container has its visit, even if a holiday cancels one");
    assert!(of(&events, "collection.event").all(|event| event.value["outcome"] == "served"));
    // The schedule told the visits in advance, by and large.
    let mut promised: BTreeMap<String, i64> = BTreeMap::new();
    let (mut kept, mut visits) = (0, 0);
    for event in city.references().iter().chain(&events) {
        if event.topic == "ref.schedule" {
            let now_ms = long(event, "valid_from");
            if let Some(planned_ms) = promised.insert(event.key.clone(), long(event, "next_visit_at")).filter(|_| now_ms > start_ms) {
                visits += 1;
                kept += usize::from((now_ms - planned_ms).abs() < 90 * MINUTE_MS);
            }
        }
    }
    assert!(visits > 300 && kept * 10 > visits * 9, "{kept} of {visits} within 90 minutes");
}

#[test]
fn overflow_is_a_problem_but_not_the_rule() {
    let mut city = City::new(CityConfig::default());
    let start_ms = city.now_ms();
    let mut day = 0;
    while day < 14 {
        live(&mut city, 24);
        day += 1;
    }
    let truth = city.truth();
    let found: Vec<f64> = truth.emptyings().iter().filter(|e| e.at_ms >= start_ms).map(|e| e.level_before).collect();
    let share = |condition: fn(f64) -> bool| found.iter().filter(|level| condition(**level)).count() as f64 / found.len() as f64;
    let overflowing = share(|level| level >= 1.0);
    assert!((0.02..0.10).contains(&overflowing), "{overflowing}");
    assert!(share(|level| level < 0.2) < 0.35, "too many useless visits");
    let per_day = found.len() as f64 / 14.0;
    assert!((500.0..2_000.0).contains(&per_day), "{per_day} emptyings a day");
}

#[test]
fn trucks_drive_tip_and_go_home() {
    let mut city = City::new(config(600, 12, FaultRates::none()));
    let events = live(&mut city, 72);
    let mut last: BTreeMap<&str, (i64, f64)> = BTreeMap::new();
    let mut positions = 0;
    for event in of(&events, "vehicle.position") {
        let (at_ms, odometer_m) = (long(event, "observed_at"), event.value["odometer_m"].as_f64().unwrap());
        if let Some((before_ms, before_m)) = last.insert(&event.key, (at_ms, odometer_m)) {
            assert!(odometer_m >= before_m && at_ms >= before_ms);
            assert!(odometer_m - before_m <= 20.0 * ((at_ms - before_ms) as f64 / 1_000.0) + 50.0, "faster than 72 km/h");
        }
        let (latitude, longitude) = (event.value["latitude_deg"].as_f64().unwrap(), event.value["longitude_deg"].as_f64().unwrap());
        assert!((latitude + 37.8136).abs() < 0.12 && (longitude - 144.9631).abs() < 0.15);
        positions += 1;
    }
    assert!(last.len() >= 10 && positions > 2_000, "{} trucks, {positions} positions", last.len());
    let collected: f64 = of(&events, "collection.event").filter_map(|event| event.value["weight_kg"].as_f64()).sum();
    let weighed: f64 = of(&events, "weighbridge.ticket").map(|event| event.value["net_kg"].as_f64().unwrap()).sum();
    let on_board: f64 = city.trucks.iter().map(|truck| truck.total_kg()).sum();
    assert!(collected > 5_000.0 && (collected - weighed - on_board).abs() < 0.05 * collected, "{collected} {weighed} {on_board}");
    let shifts = |kind: &str| of(&events, "shift.event").filter(|event| event.value["event"] == kind).count();
    assert!(shifts("started") >= 20 && shifts("started") - shifts("ended") <= 12);
    assert!(of(&events, "vehicle.status").any(|event| event.value["status"] == "parked"));
}

#[test]
fn odd_sizes_live_too() {
    for (bins, trucks, depots, disposal_sites) in [(0, 0, 0, 0), (1, 1, 1, 1), (7, 2, 5, 1), (300, 1, 1, 1)] {
        let mut city = City::new(CityConfig { bins, trucks, depots, disposal_sites, ..CityConfig::default() });
        let references = city.references();
        let events = live(&mut city, 72);
        assert!(!references.is_empty() && of(&events, "bin.telemetry").count() > 0);
    }
}
