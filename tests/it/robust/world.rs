//! A town of a few bins on one site, enough that readings become forecasts, and the readings themselves.

use serde_json::{Value, json};

use crate::support::outputs::Folder;

pub const SECOND_MS: i64 = 1_000;
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// Monday, 2026-01-05, 08:00 UTC.
pub const T0: i64 = 1_767_600_000_000;
/// References are valid from here on.
const VALID_FROM: i64 = T0 - 30 * DAY_MS;

/// Topics that bin-fill reads.
pub const INPUTS: [&str; 6] = ["bin.telemetry", "ref.device", "ref.container", "ref.site", "ref.schedule", "collection.event"];

/// A line of `/v1/admin/append`, which is also a record of [`put`].
pub fn line(topic: &str, key: &str, value: Value) -> Value {
    json!({ "topic": topic, "key": key, "value": value })
}

/// Site, containers and devices `d-1` to `d-N`, and the device `d-store`, which hangs on a wall of the depot.
pub fn references(devices: u32) -> Vec<Value> {
    let base = |id: String| {
        json!({
            "tenant": "town", "event_id": id, "observed_at": VALID_FROM, "sent_at": VALID_FROM, "received_at": VALID_FROM,
            "source": "test", "schema_version": 1, "valid_from": VALID_FROM,
        })
    };
    let with = |mut value: Value, more: Value| {
        let (Some(a), Value::Object(b)) = (value.as_object_mut(), more) else { panic!("objects") };
        a.extend(b);
        value
    };
    let device = |id: &str, container: Option<&str>| {
        let more = json!({
            "device_id": id, "container_id": container, "valid_to": null, "model": "m", "report_interval_s": 3600.0,
            "calibration_version": 1,
        });
        line("ref.device", id, with(base(format!("ref-{id}")), more))
    };
    let site = json!({
        "site_id": "s-1", "name": "Market", "latitude_deg": -37.81, "longitude_deg": 144.96, "zone_id": "z-1",
        "time_zone": "Australia/Melbourne",
    });
    let schedule = json!({
        "site_id": "s-1", "waste_stream": "general", "next_visit_at": T0 + 3 * DAY_MS, "visit_interval_h": 84.0,
    });
    let mut all = vec![
        line("ref.site", "s-1", with(base("ref-s-1".into()), site)),
        line("ref.schedule", "s-1", with(base("ref-v-1".into()), schedule)),
        device("d-store", None),
    ];
    for i in 1..=devices {
        let (id, container) = (format!("d-{i}"), format!("c-{i}"));
        let more = json!({
            "container_id": container, "site_id": "s-1", "waste_stream": "general", "capacity_l": 1100.0, "height_m": 1.2,
            "valid_to": null, "status": "ok",
        });
        all.push(line("ref.container", &container, with(base(format!("ref-{container}")), more)));
        all.push(device(&id, Some(&container)));
    }
    all
}

/// A reading that was sent and received within seconds.
pub fn reading(device: &str, observed_at: i64, level: f64) -> Value {
    uploaded(device, observed_at, level, observed_at + 2 * SECOND_MS)
}

/// A reading that was received at another time than it was taken.
pub fn uploaded(device: &str, observed_at: i64, level: f64, received_at: i64) -> Value {
    json!({
        "tenant": "town", "event_id": format!("{device}-{observed_at}"), "observed_at": observed_at,
        "sent_at": received_at - SECOND_MS, "received_at": received_at, "source": "test", "schema_version": 1,
        "device_id": device, "filling_level": level, "temperature_degc": 18.0, "battery_v": 3.6,
    })
}

/// Appends lines to the log of a process that does not run yet.
pub fn put(folder: &Folder, lines: &[Value]) {
    for l in lines {
        let (topic, key) = (text(l, "topic"), text(l, "key"));
        let bytes = folder.encode(topic, &l["value"]);
        folder.append(topic, key, Some(&bytes), T0);
    }
}

/// A text field that must be there.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field}: {value}"))
}
