//! Each job once, each vehicle once, locks, and the stated sums.

use std::collections::{BTreeMap, BTreeSet};

use super::super::answer::{Plan, Route};
use super::super::problem::Need;
use super::{Found, Ids, Rule};

pub(super) fn check_totals(ids: &Ids<'_>, plan: &Plan, found: &mut Found) {
    let mut routes: BTreeMap<&str, &Route> = BTreeMap::new();
    for route in &plan.routes {
        if routes.insert(route.vehicle_id.as_str(), route).is_some() {
            found.route(Rule::VehicleTwice, route, "it has two routes");
        }
    }
    for vehicle in ids.problem.vehicles.iter().filter(|vehicle| vehicle.under_way.is_some()) {
        if !routes.contains_key(vehicle.vehicle_id.as_str()) {
            found.plan(Rule::RouteMissing, format!("vehicle {} is under way, yet has no route", vehicle.vehicle_id));
        }
    }
    let served = jobs(ids, plan, found);
    locks(ids, plan, &served, found);
    sums(ids, plan, &served, found);
}

/// How many stops of a route are history.
fn history(ids: &Ids<'_>, route: &Route) -> usize {
    let vehicle = ids.vehicles.get(route.vehicle_id.as_str());
    vehicle.and_then(|vehicle| vehicle.under_way.as_ref()).map_or(0, |under_way| under_way.served.len())
}

/// Which vehicle serves each site from now on.
fn jobs<'a>(ids: &Ids<'a>, plan: &'a Plan, found: &mut Found) -> BTreeMap<&'a str, &'a str> {
    let mut served: BTreeMap<&str, &str> = BTreeMap::new();
    for route in &plan.routes {
        for (_, site_id) in route.sites().filter(|(place, _)| *place >= history(ids, route)) {
            if served.insert(site_id, route.vehicle_id.as_str()).is_some() {
                found.site(Rule::JobTwice, site_id, "it is served twice");
            }
            if ids.jobs.get(site_id).is_some_and(|job| job.need == Need::Excluded) {
                found.site(Rule::Excluded, site_id, "a decision excludes it");
            }
        }
    }
    let mut skipped = BTreeSet::new();
    for skip in &plan.skipped {
        let site_id = skip.site_id.as_str();
        if !ids.jobs.contains_key(site_id) {
            found.site(Rule::UnknownId, site_id, "the problem has no such site to skip");
        }
        if !skipped.insert(site_id) || served.contains_key(site_id) {
            found.site(Rule::JobTwice, site_id, "it is skipped twice, or served as well");
        }
    }
    for site_id in ids.jobs.keys().filter(|site_id| !served.contains_key(*site_id) && !skipped.contains(*site_id)) {
        found.site(Rule::JobMissing, site_id, "it is neither served nor skipped");
    }
    served
}

fn locks(ids: &Ids<'_>, plan: &Plan, served: &BTreeMap<&str, &str>, found: &mut Found) {
    for lock in &ids.problem.locks {
        if let Some(vehicle_id) = served.get(lock.site_id.as_str())
            && *vehicle_id != lock.vehicle_id
        {
            found.site(Rule::Lock, &lock.site_id, format!("locked to {}, served by {vehicle_id}", lock.vehicle_id));
        }
    }
    for route in &plan.routes {
        let sites: Vec<&str> = route.sites().filter(|(place, _)| *place >= history(ids, route)).map(|(_, site)| site).collect();
        // Sites without an order come last, as if their order were beyond all.
        let order = |site: &&str| ids.locks.get(*site).filter(|lock| lock.vehicle_id == route.vehicle_id).and_then(|lock| lock.order);
        let ranks: Vec<u64> = sites.iter().map(|site| order(site).map_or(u64::MAX, u64::from)).collect();
        if let Some(at) = ranks.windows(2).position(|pair| pair[0] > pair[1]) {
            found.site(Rule::Lock, sites[at + 1], format!("its lock puts it before {} on {}", sites[at], route.vehicle_id));
        }
    }
}

fn sums(ids: &Ids<'_>, plan: &Plan, served: &BTreeMap<&str, &str>, found: &mut Found) {
    let (mut distance_m, mut duration_ms, mut cost) = (0.0, 0, 0.0);
    for route in plan.routes.iter().filter(|route| !route.stops.is_empty()) {
        let Some(vehicle) = ids.vehicles.get(route.vehicle_id.as_str()) else { continue };
        let paid_ms = route.ends_ms().unwrap_or(0) - route.starts_ms().unwrap_or(0);
        distance_m += route.distance_m;
        duration_ms += paid_ms;
        let costs = vehicle.costs;
        cost += costs.fixed + costs.per_km * route.distance_m / 1000.0 + costs.per_hour * paid_ms as f64 / 3_600_000.0;
    }
    for (site_id, vehicle_id) in served {
        let before = ids.jobs.get(site_id).and_then(|job| job.previous_vehicle_id.as_deref());
        if before.is_some_and(|before| before != *vehicle_id) {
            cost += ids.problem.change_cost;
        }
    }
    for job in ids.jobs.values().filter(|job| !served.contains_key(job.site_id.as_str())) {
        if let Need::Optional { prize } = job.need {
            cost += prize;
        }
    }
    let off = |stated: f64, found: f64, slack: f64| (stated - found).abs() > slack + found.abs() * 1e-6;
    if off(plan.distance_m, distance_m, 0.5) {
        found.plan(Rule::Totals, format!("{} m stated, its routes have {distance_m} m", plan.distance_m));
    }
    if plan.duration_ms != duration_ms {
        found.plan(Rule::Totals, format!("{} ms stated, its routes take {duration_ms} ms", plan.duration_ms));
    }
    if off(plan.cost, cost, 0.01) {
        found.plan(Rule::Totals, format!("cost {} stated, it is {cost}", plan.cost));
    }
}
