//! The records of the city against the Avro contracts in `schemas/`: every field exists there with a value of its type, nothing that may
//! not be null is missing, and the message key is the field that the schema names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::calendar::{DAY_MS, HOUR_MS};
use crate::{City, CityConfig, Event, FaultRates};

struct Contract {
    key: String,
    fields: BTreeMap<String, Value>,
}

fn contracts() -> BTreeMap<String, Contract> {
    let folder = Path::new("../../schemas");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("schemas/ is there") {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "avsc") {
            let schema: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let fields = schema["fields"].as_array().unwrap().iter();
            let fields = fields.map(|field| (field["name"].as_str().unwrap().to_owned(), field["type"].clone())).collect();
            let key = schema["key"].as_str().unwrap_or_default().to_owned();
            found.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), Contract { key, fields });
        }
    }
    found
}

/// Whether a value is one of an Avro type (in its JSON form).
fn fits(kind: &Value, value: &Value) -> bool {
    match kind {
        Value::Array(union) => union.iter().any(|kind| fits(kind, value)),
        Value::String(name) => match name.as_str() {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "int" | "long" => value.is_i64(),
            "float" | "double" => value.is_f64(),
            other => panic!("type {other} is new to this test"),
        },
        Value::Object(object) => match object["type"].as_str() {
            Some("enum") => object["symbols"].as_array().unwrap().contains(value),
            Some("array") => value.as_array().is_some_and(|items| items.iter().all(|item| fits(&object["items"], item))),
            _ => fits(&object["type"], value),
        },
        other => panic!("no type: {other}"),
    }
}

fn check(contracts: &BTreeMap<String, Contract>, event: &Event) {
    let contract = contracts.get(event.topic).unwrap_or_else(|| panic!("no schema for {}", event.topic));
    let record = event.value.as_object().unwrap();
    for (name, value) in record {
        let kind = contract.fields.get(name).unwrap_or_else(|| panic!("{}: no field {name} in the schema", event.topic));
        assert!(fits(kind, value), "{}: {name} = {value} is not {kind}", event.topic);
    }
    for (name, kind) in &contract.fields {
        let optional = kind.as_array().is_some_and(|union| union.iter().any(|kind| kind == "null"));
        assert!(optional || record.contains_key(name), "{}: {name} is missing", event.topic);
    }
    assert_eq!(record[&contract.key], event.key.as_str(), "{}: key", event.topic);
}

#[test]
fn every_record_keeps_its_contract() {
    let contracts = contracts();
    let rates = FaultRates::default();
    // Everything rare happens often, so that every kind of record occurs within the month.
    let faults = FaultRates {
        device_swap_per_device_day: 0.02,
        fire_per_device_day: 0.005,
        skipped_container_share: 0.05,
        breakdown_per_truck_day: 0.2,
        facility_outage_per_facility_day: 0.5,
        ..rates
    };
    let config = CityConfig { bins: 150, trucks: 4, faults, ..CityConfig::default() };
    let start_ms = config.start_ms;
    let mut city = City::new(config);
    let mut topics = BTreeSet::new();
    let mut events = city.references();
    for day in 1..=35 {
        for event in events.drain(..) {
            check(&contracts, &event);
            topics.insert(event.topic);
        }
        events = city.advance(start_ms + day * DAY_MS);
    }
    // Contracts end rarely; the flow of it is made to happen.
    let customer = 0;
    city.office.customers[customer].ends_ms = Some(city.now_ms());
    for event in city.advance(start_ms + 37 * DAY_MS) {
        check(&contracts, &event);
        topics.insert(event.topic);
    }
    let expected = [
        "bin.telemetry",
        "collection.event",
        "consent.event",
        "container.event",
        "contamination.event",
        "contract.event",
        "csat.event",
        "customer.event",
        "facility.status",
        "fuel.event",
        "invoice.event",
        "payment.event",
        "ref.calendar",
        "ref.container",
        "ref.customer",
        "ref.device",
        "ref.facility",
        "ref.schedule",
        "ref.shift",
        "ref.site",
        "ref.tariff",
        "ref.unit-cost",
        "ref.vehicle",
        "ref.waste-stream",
        "ref.zone",
        "road.closure",
        "service.ticket",
        "shift.event",
        "vehicle.diagnostics",
        "vehicle.position",
        "vehicle.status",
        "weather.forecast",
        "weather.observed",
        "weighbridge.ticket",
        "workorder.event",
    ];
    assert_eq!(topics.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn references_come_first_and_do_not_change_with_the_life_of_the_city() {
    let config = CityConfig { bins: 100, trucks: 3, ..CityConfig::default() };
    let start_ms = config.start_ms;
    let mut city = City::new(config);
    let before = city.references();
    city.advance(start_ms + 12 * HOUR_MS);
    assert_eq!(before, city.references());
    assert!(before.iter().all(|event| event.received_at_ms < start_ms));
    for (topic, count) in [("ref.container", 100), ("ref.device", 100), ("ref.vehicle", 3), ("ref.facility", 5)] {
        let found: BTreeSet<&str> = before.iter().filter(|event| event.topic == topic).map(|event| event.key.as_str()).collect();
        assert_eq!(found.len(), count, "{topic}");
    }
    let ids: BTreeSet<&str> = before.iter().map(|event| event.value["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), before.len(), "event ids are unique");
}
