//! Records of the bins, the crews and the sky: one constructor a topic, fields as in `schemas/`.
//!
//! A [`Draft`] holds the fields of one record; the city stamps it with tenant, id and times. Fields that a schema lets be null may be
//! left out; a test checks every record against its schema.

use serde_json::{Map, Value};

use crate::city::Event;
use crate::layout::Stream;

/// Version of the schemas that the city writes with.
const SCHEMA_VERSION: i64 = 1;

/// A record without its stamp.
#[derive(Debug)]
pub(crate) struct Draft {
    pub topic: &'static str,
    key: String,
    fields: Map<String, Value>,
}

/// Who sent a record and when.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub id: String,
    pub source: &'static str,
    /// Event time by the producer's clock.
    pub observed_ms: i64,
    /// When the producer sent it, by its clock.
    pub sent_ms: i64,
    /// When our edge received it, truly.
    pub received_ms: i64,
}

impl Draft {
    /// A record whose message key is the field `key_field`.
    pub(crate) fn new(topic: &'static str, key_field: &'static str, key: &str) -> Draft {
        let mut fields = Map::new();
        fields.insert(key_field.to_owned(), Value::from(key));
        Draft { topic, key: key.to_owned(), fields }
    }

    pub(crate) fn set(mut self, name: &'static str, value: impl Into<Value>) -> Draft {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// WGS 84 position.
    pub(crate) fn at(self, (latitude_deg, longitude_deg): (f64, f64)) -> Draft {
        self.set("latitude_deg", latitude_deg).set("longitude_deg", longitude_deg)
    }

    pub(crate) fn finish(mut self, tenant: &str, stamp: Stamp) -> Event {
        let base: [(&str, Value); 7] = [
            ("tenant", tenant.into()),
            ("event_id", stamp.id.into()),
            ("observed_at", stamp.observed_ms.into()),
            ("sent_at", stamp.sent_ms.into()),
            ("received_at", stamp.received_ms.into()),
            ("source", stamp.source.into()),
            ("schema_version", SCHEMA_VERSION.into()),
        ];
        for (name, value) in base {
            self.fields.insert(name.to_owned(), value);
        }
        Event { topic: self.topic, key: self.key, received_at_ms: stamp.received_ms, value: Value::Object(self.fields) }
    }
}

/// `value` to a number of decimals, so that records stay short.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

/// What a sensor says in one reading.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub sequence: i64,
    pub filling_level: f64,
    pub raw_value: f64,
    pub raw_unit: &'static str,
    pub calibration_version: i64,
    pub temperature_degc: f64,
    pub battery_v: f64,
    pub tilt_deg: f64,
    pub rssi_dbm: f64,
}

pub(crate) fn bin_telemetry(device_id: &str, reading: &Reading) -> Draft {
    Draft::new("bin.telemetry", "device_id", device_id)
        .set("sequence", reading.sequence)
        .set("filling_level", rounded(reading.filling_level, 4))
        .set("raw_value", reading.raw_value)
        .set("raw_unit", reading.raw_unit)
        .set("calibration_version", reading.calibration_version)
        .set("temperature_degc", rounded(reading.temperature_degc, 1))
        .set("battery_v", rounded(reading.battery_v, 2))
        .set("tilt_deg", rounded(reading.tilt_deg, 1))
        .set("rssi_dbm", rounded(reading.rssi_dbm, 0))
}

/// What a crew did at one container.
#[derive(Debug, Clone)]
pub(crate) struct Collection<'a> {
    pub container_id: &'a str,
    pub site_id: &'a str,
    pub vehicle_id: &'a str,
    pub route_id: &'a str,
    pub outcome: &'static str,
    pub reason: Option<&'static str>,
    pub emptied_at_ms: Option<i64>,
    pub weight_kg: Option<f64>,
    pub volume_l: Option<f64>,
    pub scan: &'static str,
    pub stop_sequence: usize,
    pub service_s: f64,
    pub at: (f64, f64),
}

pub(crate) fn collection_event(what: &Collection<'_>) -> Draft {
    Draft::new("collection.event", "container_id", what.container_id)
        .set("site_id", what.site_id)
        .set("vehicle_id", what.vehicle_id)
        .set("route_id", what.route_id)
        .set("outcome", what.outcome)
        .set("reason", what.reason)
        .set("emptied_at", what.emptied_at_ms)
        .set("weight_kg", what.weight_kg.map(|kg| rounded(kg, 1)))
        .set("volume_l", what.volume_l.map(|l| rounded(l, 0)))
        .set("scan", what.scan)
        .set("stop_sequence", what.stop_sequence)
        .set("service_s", rounded(what.service_s, 0))
        .at(what.at)
}

pub(crate) fn container_event(container_id: &str, site_id: &str, event: &'static str) -> Draft {
    Draft::new("container.event", "container_id", container_id).set("event", event).set("site_id", site_id)
}

pub(crate) fn contamination_event(container_id: &str, site_id: &str, expected: Stream, found: &'static str, share: f64) -> Draft {
    Draft::new("contamination.event", "container_id", container_id)
        .set("site_id", site_id)
        .set("expected_waste_stream", expected.code())
        .set("found_material", found)
        .set("share", rounded(share, 2))
        .set("detected_by", "crew")
        .set("action", "left")
}

/// Weather as measured or forecast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sky {
    pub temperature_degc: f64,
    pub rain_mm: f64,
    pub wind_mps: f64,
    /// Time that the rain fell in, s.
    pub period_s: f64,
}

pub(crate) fn weather_observed(zone_id: &str, sky: Sky, humidity: f64) -> Draft {
    Draft::new("weather.observed", "zone_id", zone_id)
        .set("station_id", "station-1")
        .set("temperature_degc", rounded(sky.temperature_degc, 1))
        .set("precipitation_mm", rounded(sky.rain_mm, 1))
        .set("wind_mps", rounded(sky.wind_mps, 1))
        .set("gust_mps", rounded(sky.wind_mps * 1.6, 1))
        .set("humidity", rounded(humidity, 2))
        .set("period_s", sky.period_s)
}

pub(crate) fn weather_forecast(zone_id: &str, issued_ms: i64, valid_ms: i64, sky: Sky, rain_probability: f64) -> Draft {
    Draft::new("weather.forecast", "zone_id", zone_id)
        .set("issued_at", issued_ms)
        .set("valid_at", valid_ms)
        .set("provider", "met-office")
        .set("temperature_degc", rounded(sky.temperature_degc, 1))
        .set("precipitation_mm", rounded(sky.rain_mm, 1))
        .set("precipitation_probability", rounded(rain_probability, 2))
        .set("wind_mps", rounded(sky.wind_mps, 1))
        .set("period_s", sky.period_s)
}

pub(crate) fn facility_status(facility_id: &str, open: bool, until_ms: Option<i64>) -> Draft {
    Draft::new("facility.status", "facility_id", facility_id)
        .set("status", if open { "open" } else { "closed" })
        .set("reason", if open { None } else { Some("breakdown") })
        .set("accepted_waste_streams", Value::Array(Vec::new()))
        .set("until_at", until_ms)
}

pub(crate) fn road_closure(closure_id: &str, segment_ids: Vec<String>, reason: &'static str, from_ms: i64, until_ms: i64, at: (f64, f64)) -> Draft {
    Draft::new("road.closure", "closure_id", closure_id)
        .set("segment_ids", segment_ids)
        .set("restriction", "closed")
        .set("direction", "both")
        .set("starts_at", from_ms)
        .set("ends_at", until_ms)
        .set("cancelled", false)
        .set("reason", reason)
        .at(at)
}
