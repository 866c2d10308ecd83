//! Short forms of records for lists, maps and event streams: the fields a map needs, by fixed names.

use serde::Serialize;
use serde_json::Value;

use crate::key::Part;
use crate::reads::Record;

pub(crate) fn number(document: Option<&Value>, field: &str) -> Option<f64> {
    document?.get(field)?.as_f64()
}

pub(crate) fn integer(document: Option<&Value>, field: &str) -> Option<i64> {
    let value = document?.get(field)?;
    value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))
}

pub(crate) fn text(document: Option<&Value>, field: &str) -> Option<String> {
    document?.get(field)?.as_str().map(str::to_owned)
}

/// A bin in short. Level and health come from the newer of features and forecast, the place from whichever knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BinSummary {
    /// The device's id.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// The container the device is mounted on.
    pub container_id: Option<String>,
    /// The site the container stands on.
    pub site_id: Option<String>,
    /// Degrees north.
    pub latitude_deg: Option<f64>,
    /// Degrees east.
    pub longitude_deg: Option<f64>,
    /// 0 (empty) to 1 (full).
    pub filling_level: Option<f64>,
    /// Event time of the newest part, UTC ms.
    pub observed_ms: Option<i64>,
    /// ok, silent, stuck, jumping, low_battery or hot.
    pub sensor_health: Option<String>,
    /// What the container is for.
    pub waste_stream: Option<String>,
    /// Volume, litres.
    pub capacity_l: Option<f64>,
    /// Hours to full, 10th percentile, from the forecast's event time on.
    pub hours_to_full_p10: Option<f64>,
    /// Hours to full, median.
    pub hours_to_full_p50: Option<f64>,
    /// Hours to full, 90th percentile.
    pub hours_to_full_p90: Option<f64>,
    /// Probability of an overflow before the next planned visit.
    pub p_overflow: Option<f64>,
    /// The next planned visit, UTC ms.
    pub next_visit_ms: Option<i64>,
    /// The ladder's rung that answered.
    pub rung: Option<String>,
    /// The model's version.
    pub model_version: Option<String>,
    /// Event time of the forecast, UTC ms.
    pub forecast_ms: Option<i64>,
}

impl BinSummary {
    /// The short form of a bin record.
    pub fn of(record: &Record) -> Self {
        let (features, forecast) = (record.document(Part::Features), record.document(Part::Forecast));
        let (features_ms, forecast_ms) = (record.observed_ms(Part::Features), record.observed_ms(Part::Forecast));
        let (newer, older) = if forecast_ms > features_ms { (forecast, features) } else { (features, forecast) };
        let either_text = |field: &str| text(newer, field).or_else(|| text(older, field));
        let place = [newer, older].into_iter().find_map(|part| number(part, "latitude_deg").zip(number(part, "longitude_deg")));
        Self {
            id: record.key.id.clone(),
            tenant: record.key.tenant.clone(),
            container_id: either_text("container_id"),
            site_id: either_text("site_id"),
            latitude_deg: place.map(|place| place.0),
            longitude_deg: place.map(|place| place.1),
            filling_level: number(newer, "filling_level").or_else(|| number(older, "filling_level")),
            observed_ms: features_ms.max(forecast_ms),
            sensor_health: either_text("sensor_health"),
            waste_stream: text(features, "waste_stream"),
            capacity_l: number(features, "capacity_l"),
            hours_to_full_p10: number(forecast, "hours_to_full_p10"),
            hours_to_full_p50: number(forecast, "hours_to_full_p50"),
            hours_to_full_p90: number(forecast, "hours_to_full_p90"),
            p_overflow: number(forecast, "p_overflow"),
            next_visit_ms: integer(forecast, "next_visit_at"),
            rung: text(forecast, "rung"),
            model_version: text(forecast, "model_version"),
            forecast_ms: forecast.and(forecast_ms),
        }
    }
}

/// An alert in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertSummary {
    /// `device/alert`.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// The device.
    pub device_id: Option<String>,
    /// The container.
    pub container_id: Option<String>,
    /// The site.
    pub site_id: Option<String>,
    /// fire, overflow, stuck, silent, jumping or low_battery.
    pub alert: Option<String>,
    /// raised or cleared.
    pub state: Option<String>,
    /// info, warning or critical.
    pub severity: Option<String>,
    /// What happened, for a person.
    pub message: Option<String>,
    /// 0 (empty) to 1 (full).
    pub filling_level: Option<f64>,
    /// Degrees north.
    pub latitude_deg: Option<f64>,
    /// Degrees east.
    pub longitude_deg: Option<f64>,
    /// Event time, UTC ms.
    pub observed_ms: Option<i64>,
}

impl AlertSummary {
    /// The short form of an alert record.
    pub fn of(record: &Record) -> Self {
        let document = record.document(Part::Alert);
        Self {
            id: record.key.id.clone(),
            tenant: record.key.tenant.clone(),
            device_id: text(document, "device_id"),
            container_id: text(document, "container_id"),
            site_id: text(document, "site_id"),
            alert: text(document, "alert"),
            state: text(document, "state"),
            severity: text(document, "severity"),
            message: text(document, "message"),
            filling_level: number(document, "filling_level"),
            latitude_deg: number(document, "latitude_deg"),
            longitude_deg: number(document, "longitude_deg"),
            observed_ms: record.observed_ms(Part::Alert),
        }
    }
}

/// A truck in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TruckSummary {
    /// The vehicle's id.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// Degrees north.
    pub latitude_deg: Option<f64>,
    /// Degrees east.
    pub longitude_deg: Option<f64>,
    /// Degrees clockwise from north.
    pub heading_deg: Option<f64>,
    /// Metres per second.
    pub speed_mps: Option<f64>,
    /// parked, driving, collecting, disposing, on_break, broken_down, offline or unknown.
    pub status: Option<String>,
    /// Load, kilograms.
    pub load_kg: Option<f64>,
    /// Load, 0 (empty) to 1 (full).
    pub load_level: Option<f64>,
    /// What is being collected.
    pub waste_stream: Option<String>,
    /// The next stop's site.
    pub next_stop_site_id: Option<String>,
    /// Event time of the newest part, UTC ms.
    pub observed_ms: Option<i64>,
}

impl TruckSummary {
    /// The short form of a truck record.
    pub fn of(record: &Record) -> Self {
        let (position, status) = (record.document(Part::Position), record.document(Part::Status));
        let place = [position, status].into_iter().find_map(|part| number(part, "latitude_deg").zip(number(part, "longitude_deg")));
        Self {
            id: record.key.id.clone(),
            tenant: record.key.tenant.clone(),
            latitude_deg: place.map(|place| place.0),
            longitude_deg: place.map(|place| place.1),
            heading_deg: number(position, "heading_deg"),
            speed_mps: number(position, "speed_mps"),
            status: text(status, "status"),
            load_kg: number(status, "load_kg"),
            load_level: number(status, "load_level"),
            waste_stream: text(status, "waste_stream"),
            next_stop_site_id: text(status, "next_stop_site_id"),
            observed_ms: record.observed_ms(Part::Position).max(record.observed_ms(Part::Status)),
        }
    }
}

/// A site or facility in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlaceSummary {
    /// The site's or facility's id.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// `site`, or a facility's kind: depot, disposal, …
    pub kind: String,
    /// Its name.
    pub name: Option<String>,
    /// The zone it lies in.
    pub zone_id: Option<String>,
    /// Degrees north.
    pub latitude_deg: Option<f64>,
    /// Degrees east.
    pub longitude_deg: Option<f64>,
}

impl PlaceSummary {
    /// The short form of a site or facility record.
    pub fn of(record: &Record) -> Self {
        let document = record.document(Part::Reference);
        Self {
            id: record.key.id.clone(),
            tenant: record.key.tenant.clone(),
            kind: text(document, "kind").unwrap_or_else(|| record.key.keyspace.as_str().to_owned()),
            name: text(document, "name"),
            zone_id: text(document, "zone_id"),
            latitude_deg: number(document, "latitude_deg"),
            longitude_deg: number(document, "longitude_deg"),
        }
    }
}
