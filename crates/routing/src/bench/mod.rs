//! Public instances as problems of ours, and what is published about them. Readers take text; whoever measures opens files.
//!
//! The data are not part of the project; `docs/routing.md` says what was measured on them.

pub mod kim;
pub mod mtvrptwr;
pub mod solomon;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;

use thiserror::Error;

use crate::plan::problem::{Compartment, Costs, DayCap, Demand, Depot, Facility, Job, Load, Need, ServiceReason, Vehicle, Window};
use crate::plan::travel::Location;

/// Name of the one area and the one stream of an instance.
const ONLY: &str = "instance";

/// A file that is not what its format says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {what}; hint: {hint}")]
pub struct ReadError {
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// What was found.
    pub what: String,
    /// What was expected.
    pub hint: &'static str,
}

fn refuse<T>(line: usize, what: impl Into<String>, hint: &'static str) -> Result<T, ReadError> {
    Err(ReadError { line, what: what.into(), hint })
}

/// The folder with the public instances: `WS_SHARED_DATA`, or `shared/data` beside the checkout.
pub fn data_folder() -> Option<PathBuf> {
    let named = std::env::var_os("WS_SHARED_DATA").map(PathBuf::from);
    // From a crate's folder, where tests run, and from the root of the checkout.
    let beside = ["../../../shared/data", "../shared/data"].map(|path| Some(PathBuf::from(path)));
    [named].into_iter().chain(beside).flatten().map(|folder| folder.join("vrp")).find(|path| path.is_dir())
}

/// A mandatory job with one stream counted in litres.
fn job(site_id: String, location: Location, litres: f64, service_ms: i64, window: Window) -> Job {
    let load = Load { kg: 0.0, l: litres };
    Job {
        site_id,
        container_ids: Vec::new(),
        location,
        demands: vec![Demand { stream: 0, p50: load, p90: load }],
        service_ms,
        windows: vec![window],
        need: Need::Mandatory,
        skills: BTreeSet::new(),
        trip_not_before_ms: i64::MIN,
        previous_vehicle_id: None,
        reason: ServiceReason::Scheduled,
        p_overflow: None,
    }
}

fn facility(facility_id: String, location: Location, unload_ms: i64, window: Window) -> Facility {
    Facility { facility_id, location, streams: BTreeSet::from([0]), unload_ms, windows: vec![window] }
}

fn depot(location: Location) -> Depot {
    Depot { depot_id: "depot".to_owned(), location }
}

/// A truck with one compartment that costs `per_km` and nothing else.
fn vehicle(number: usize, litres: f64, shift: Window, per_km: f64) -> Vehicle {
    Vehicle {
        vehicle_id: format!("truck-{number:02}"),
        shift_id: None,
        planning_area_ids: BTreeSet::from([ONLY.to_owned()]),
        start_depot: 0,
        end_depot: 0,
        shift,
        compartments: vec![Compartment { streams: BTreeSet::from([0]), capacity: Load { kg: f64::MAX, l: litres } }],
        payload_kg: f64::MAX,
        day_cap: DayCap::default(),
        break_rule: None,
        costs: Costs { fixed: 0.0, per_km, per_hour: 0.0 },
        skills: BTreeSet::new(),
        under_way: None,
        out_of_service: false,
    }
}
