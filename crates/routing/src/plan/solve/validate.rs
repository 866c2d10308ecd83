//! Whether a problem makes sense, before anything is searched: a contradiction is an error with a hint, never a bad plan.

use std::collections::BTreeSet;

use super::SolveError;
use crate::plan::problem::{Load, Problem, Window};

/// Far more than an area has; a count beyond it is a mistake upstream.
const MAX_WINDOWS: usize = 16;

/// Checks ids, indices, windows and figures.
///
/// # Errors
/// [`SolveError::Invalid`] names the first contradiction found.
pub fn validate(problem: &Problem) -> Result<(), SolveError> {
    unique("depot", problem.depots.iter().map(|depot| depot.depot_id.as_str()))?;
    unique("facility", problem.facilities.iter().map(|facility| facility.facility_id.as_str()))?;
    unique("vehicle", problem.vehicles.iter().map(|vehicle| vehicle.vehicle_id.as_str()))?;
    unique("site", problem.jobs.iter().map(|job| job.site_id.as_str()))?;
    let locations = problem.travel.locations();
    let places = problem.jobs.iter().map(|job| job.location).chain(problem.depots.iter().map(|depot| depot.location));
    let places = places.chain(problem.facilities.iter().map(|facility| facility.location));
    let under_way = problem.vehicles.iter().filter_map(|vehicle| vehicle.under_way.as_ref());
    for place in places.chain(under_way.map(|under_way| under_way.location)) {
        if place as usize >= locations {
            return invalid(format!("location {place} of {locations}"), "every site, depot, facility and position needs a row in the travel table");
        }
    }
    vehicles(problem)?;
    jobs(problem)?;
    let sites: BTreeSet<&str> = problem.jobs.iter().map(|job| job.site_id.as_str()).collect();
    let trucks: BTreeSet<&str> = problem.vehicles.iter().map(|vehicle| vehicle.vehicle_id.as_str()).collect();
    unique("lock on site", problem.locks.iter().map(|lock| lock.site_id.as_str()))?;
    for lock in &problem.locks {
        if !sites.contains(lock.site_id.as_str()) || !trucks.contains(lock.vehicle_id.as_str()) {
            return invalid(format!("a lock of {} to {}", lock.site_id, lock.vehicle_id), "drop decisions on sites and vehicles that are not planned");
        }
    }
    Ok(())
}

fn vehicles(problem: &Problem) -> Result<(), SolveError> {
    for facility in &problem.facilities {
        windows(&facility.facility_id, &facility.windows)?;
        if facility.unload_ms < 0 || facility.streams.iter().any(|stream| *stream >= problem.streams.len()) {
            return invalid(format!("facility {}", facility.facility_id), "unloading takes no negative time, and streams are indices into the problem's");
        }
    }
    for vehicle in &problem.vehicles {
        let id = &vehicle.vehicle_id;
        if vehicle.start_depot >= problem.depots.len() || vehicle.end_depot >= problem.depots.len() {
            return invalid(format!("depot of vehicle {id}"), "start and end are indices into the problem's depots");
        }
        let mut seen = BTreeSet::new();
        for part in &vehicle.compartments {
            if !part.streams.iter().all(|stream| *stream < problem.streams.len() && seen.insert(*stream)) {
                return invalid(format!("compartments of vehicle {id}"), "a stream is in one compartment at most, and an index into the problem's");
            }
            if !is_load(part.capacity) {
                return invalid(format!("capacity of vehicle {id}"), "kilograms and litres are numbers from 0 up");
            }
        }
        let costs = vehicle.costs;
        if [costs.fixed, costs.per_km, costs.per_hour, vehicle.payload_kg].iter().any(|figure| figure.is_nan() || *figure < 0.0) {
            return invalid(format!("costs or payload of vehicle {id}"), "figures are numbers from 0 up");
        }
        if vehicle.break_rule.is_some_and(|rule| rule.earliest_ms > rule.latest_ms || rule.duration_ms < 0) {
            return invalid(format!("break of vehicle {id}"), "it begins between earliest and latest and takes no negative time");
        }
        if let Some(under_way) = &vehicle.under_way
            && (under_way.load.len() != problem.streams.len() || under_way.served.is_empty() || !under_way.load.iter().all(|load| is_load(*load)))
        {
            return invalid(format!("state of vehicle {id}"), "a vehicle under way has a load for each stream and at least its start as history");
        }
    }
    Ok(())
}

fn jobs(problem: &Problem) -> Result<(), SolveError> {
    for job in &problem.jobs {
        let id = &job.site_id;
        if job.windows.is_empty() {
            return invalid(format!("site {id} has no window"), "give it the whole day");
        }
        windows(id, &job.windows)?;
        let mut seen = BTreeSet::new();
        for demand in &job.demands {
            if demand.stream >= problem.streams.len() || !seen.insert(demand.stream) || !is_load(demand.p50) || !is_load(demand.p90) {
                return invalid(format!("demand of site {id}"), "one entry per stream, in numbers from 0 up");
            }
        }
        if job.service_ms < 0 {
            return invalid(format!("service time of site {id}"), "no negative time");
        }
        if let crate::plan::problem::Need::Optional { prize } = job.need
            && (prize.is_nan() || prize < 0.0)
        {
            return invalid(format!("prize of site {id}"), "a number from 0 up");
        }
    }
    Ok(())
}

fn windows(id: &str, windows: &[Window]) -> Result<(), SolveError> {
    let ordered = windows.windows(2).all(|pair| pair[0].to_ms < pair[1].from_ms);
    if !ordered || windows.len() > MAX_WINDOWS || windows.iter().any(|window| window.from_ms > window.to_ms) {
        return invalid(format!("windows of {id}"), "at most 16, in order, not overlapping, none ending before it begins");
    }
    Ok(())
}

fn is_load(load: Load) -> bool {
    load.kg >= 0.0 && load.l >= 0.0
}

fn unique<'a>(what: &str, ids: impl Iterator<Item = &'a str>) -> Result<(), SolveError> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            return invalid(format!("{what} {id} is there twice"), "ids are unique among their kind");
        }
    }
    Ok(())
}

fn invalid(what: String, hint: &'static str) -> Result<(), SolveError> {
    Err(SolveError::Invalid { what, hint })
}
