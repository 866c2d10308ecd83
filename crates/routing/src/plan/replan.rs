//! The rest of a day: from a plan and a moment to the problem that is left, as if everything had gone as planned. What
//! really happened is put in its place by whoever knows it (positions, collections, weighbridge).

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{Plan, Route, Stop, StopKind};
use super::problem::{Load, Problem, UnderWay, Vehicle};

/// What is left of `problem` at `now_ms` if `plan` was driven until then. A stop that a truck has set out for counts as
/// served: it will not be turned back on its way. Jobs remember the vehicle that `plan` gives them. Vehicles that are home again
/// are out of service; those that have not left can leave from now on.
pub fn at_moment(problem: &Problem, plan: &Plan, now_ms: i64) -> Problem {
    let mut rest = problem.clone();
    let mut served: BTreeSet<String> = BTreeSet::new();
    let mut vehicle_of: BTreeMap<&str, &str> = BTreeMap::new();
    for route in &plan.routes {
        vehicle_of.extend(route.sites().map(|(_, site)| (site, route.vehicle_id.as_str())));
    }
    for vehicle in &mut rest.vehicles {
        let route = plan.routes.iter().find(|route| route.vehicle_id == vehicle.vehicle_id);
        let Some(route) = route.filter(|route| route.starts_ms().is_some_and(|starts_ms| starts_ms <= now_ms)) else {
            vehicle.shift.from_ms = vehicle.shift.from_ms.max(now_ms);
            continue;
        };
        set_under_way(problem, vehicle, route, now_ms);
        let history = vehicle.under_way.iter().flat_map(|under_way| &under_way.served);
        served.extend(history.filter_map(Stop::site_id).map(str::to_owned));
    }
    rest.jobs.retain(|job| !served.contains(&job.site_id));
    for job in &mut rest.jobs {
        job.previous_vehicle_id = vehicle_of.get(job.site_id.as_str()).map(|vehicle| (*vehicle).to_owned());
    }
    rest.locks.retain(|lock| !served.contains(&lock.site_id));
    rest
}

fn set_under_way(problem: &Problem, vehicle: &mut Vehicle, route: &Route, now_ms: i64) {
    // Up to the first stop that is not yet left, and, if that is a break on the road, the one behind it.
    let left = route.stops.iter().take_while(|stop| stop.leaves_ms <= now_ms).count();
    let behind = route.stops[left.min(route.stops.len())..].iter().take_while(|stop| stop.location.is_none()).count();
    let count = (left + behind + 1).min(route.stops.len());
    let served = &route.stops[..count];
    let Some(last) = served.last() else { return };
    vehicle.out_of_service |= count == route.stops.len();
    let mut collected = Load::default();
    let mut collected_sites = 0;
    let mut driven_m = 0.0;
    let mut at = None;
    for stop in served {
        if let (Some(from), Some(to)) = (at, stop.location) {
            driven_m += problem.travel.distance_m(from, to).unwrap_or(0.0);
        }
        at = stop.location.or(at);
        let job = stop.site_id().and_then(|site| problem.jobs.iter().find(|job| job.site_id == site));
        for demand in job.iter().flat_map(|job| &job.demands) {
            let load = demand.load(problem.load_basis);
            collected = Load { kg: collected.kg + load.kg, l: collected.l + load.l };
        }
        collected_sites += u32::from(stop.site_id().is_some());
    }
    vehicle.under_way = Some(UnderWay {
        location: at.unwrap_or(problem.depots[vehicle.start_depot].location),
        time_ms: last.leaves_ms,
        load: last.load.clone(),
        served: served.to_vec(),
        driven_m,
        break_taken: served.iter().any(|stop| stop.kind == StopKind::Lunch),
        collected,
        collected_sites,
    });
}
