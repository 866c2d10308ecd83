//! What the rows of a board say, typed. Every fact remembers the event that told it and when.

use crate::roads::Place;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which event said it, and its event time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Said {
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    #[serde(rename = "t")]
    pub at_ms: i64,
}

/// Something that a person should know: it was not dropped silently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Trouble {
    /// A stable code, e.g. `unknown_site`, `old_version`.
    pub code: String,
    /// What it is about: site, vehicle, ticket, facility, decision, plan.
    pub entity_kind: String,
    /// Which one.
    pub entity_id: String,
    /// Event that it came with.
    pub cause_event_id: Option<String>,
    /// In words.
    pub detail: String,
}

#[derive(Debug, Clone)]
pub(super) struct Site {
    pub place: Place,
    pub time_zone: Option<String>,
    pub service_ms: Option<i64>,
    /// Seconds after local midnight.
    pub access_s: (Option<f64>, Option<f64>),
    pub max_vehicle_m: Option<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct Container {
    pub id: String,
    pub stream: String,
    pub capacity_l: f64,
}

#[derive(Debug, Clone)]
pub(super) struct Forecast {
    pub said: Said,
    pub level: f64,
    /// (hours ahead, p50, p90), rising.
    pub levels: Vec<(f64, f64, f64)>,
    pub hours_to_full: Option<(f64, f64, f64)>,
}

#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub next_visit_ms: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub id: String,
    pub said: Said,
    pub site_id: Option<String>,
    pub pressing: bool,
    pub due_ms: Option<i64>,
    pub opened_ms: i64,
}

/// A truck as `duty` tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Truck {
    pub id: String,
    pub said: Said,
    pub in_service: bool,
    pub length_m: Option<f64>,
    pub payload_kg: f64,
    pub volume_l: f64,
    pub streams: Vec<String>,
    pub skills: Vec<String>,
    pub shift: Option<Shift>,
    pub started_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    pub break_taken: bool,
    pub status: Option<String>,
    pub seen_ms: Option<i64>,
    pub latitude_deg: Option<f64>,
    pub longitude_deg: Option<f64>,
    pub load_kg: Option<f64>,
    pub load_l: Option<f64>,
    pub loaded_stream: Option<String>,
    pub disposed_ms: Option<i64>,
    pub next_stop_site_id: Option<String>,
    /// Metres driven since the shift began, by the odometer.
    pub driven_m: Option<f64>,
    pub silent: bool,
}

/// A shift that a truck is planned for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Shift {
    pub id: String,
    pub depot_id: String,
    pub end_depot_id: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub break_ms: i64,
    pub break_from_ms: Option<i64>,
    pub break_to_ms: Option<i64>,
}

impl Truck {
    /// Where it was last seen.
    pub(super) fn place(&self) -> Option<Place> {
        let place = Place::new(self.latitude_deg?, self.longitude_deg?);
        place.is_valid().then_some(place)
    }
    /// Broken down, withdrawn or lost.
    pub(super) fn is_down(&self) -> bool {
        !self.in_service || self.silent || matches!(self.status.as_deref(), Some("broken_down" | "offline"))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Facility {
    pub kind: String,
    pub place: Place,
    pub time_zone: Option<String>,
    pub hours_s: (Option<f64>, Option<f64>),
    pub streams: Vec<String>,
    pub unload_ms: i64,
}

#[derive(Debug, Clone)]
pub(super) struct FacilityState {
    pub said: Said,
    pub status: String,
    pub streams: Vec<String>,
    pub wait_ms: i64,
    pub until_ms: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct RoadClosure {
    pub said: Said,
    pub closure: crate::roads::Closure,
}

/// What a person decided.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub said: Said,
    pub plan_id: String,
    pub version: i64,
    pub kind: String,
    pub vehicle_id: Option<String>,
    pub site_id: Option<String>,
    pub position: Option<i64>,
}

/// A crew was at a container.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Visit {
    pub said: Said,
    pub site_id: String,
    pub vehicle_id: String,
    pub served: bool,
    /// The crew was not there at all: the shift ended, the truck was full or broke down.
    pub not_reached: bool,
    pub weight_kg: Option<f64>,
    pub volume_l: Option<f64>,
    pub stream: Option<String>,
    pub service_ms: i64,
}

/// Everything that a board says.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub tenant: String,
    pub sites: BTreeMap<String, Site>,
    /// By site.
    pub containers: BTreeMap<String, Vec<Container>>,
    /// By container.
    pub forecasts: BTreeMap<String, Forecast>,
    /// By site.
    pub schedules: BTreeMap<String, Schedule>,
    pub tickets: Vec<Ticket>,
    pub trucks: BTreeMap<String, Truck>,
    pub facilities: BTreeMap<String, Facility>,
    pub facility_states: BTreeMap<String, FacilityState>,
    pub closures: Vec<RoadClosure>,
    /// Trucks that drive for another area, with that area.
    pub elsewhere: BTreeMap<String, String>,
    /// In the order in which they were made.
    pub decisions: Vec<Decision>,
    /// In the order of time.
    pub visits: Vec<Visit>,
    /// Kilograms a litre.
    pub densities: BTreeMap<String, f64>,
    /// Streams that may not share a load with it.
    pub apart: BTreeMap<String, Vec<String>>,
    /// Minor units.
    pub costs: BTreeMap<String, f64>,
    pub currency: Option<String>,
    pub pace: super::pace::Pace,
    /// Newest event time of what happened (references and decisions aside), UTC ms.
    pub newest_ms: i64,
    pub troubles: Vec<Trouble>,
}

impl Facts {
    pub(super) fn trouble(&mut self, code: &str, kind: &str, id: &str, cause: Option<&str>, detail: impl Into<String>) {
        self.troubles.push(Trouble {
            code: code.into(),
            entity_kind: kind.into(),
            entity_id: id.into(),
            cause_event_id: cause.map(str::to_owned),
            detail: detail.into(),
        });
    }
}
