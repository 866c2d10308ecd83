//! Walks one route as stated and verifies each time, load and place on the way.

use super::super::answer::{Route, Stop, StopKind};
use super::super::problem::{Load, Vehicle, Window};
use super::super::travel::Location;
use super::{Found, Ids, Rule};

/// Kilograms and litres may differ by this much, which is far below what any scale shows.
const LOAD_SLACK: f64 = 1e-6;

/// The truck between two stops.
struct Truck {
    at: Location,
    left_ms: i64,
    load: Vec<Load>,
    /// A break since the last place, with the moment it ended.
    paused_ms: i64,
    pause_ended_ms: i64,
    breaks: u32,
    break_taken: bool,
    trip_began_ms: i64,
    collected: Load,
    sites: u32,
    driven_m: f64,
}

pub(super) fn check_route(ids: &Ids<'_>, route: &Route, found: &mut Found) {
    let Some(vehicle) = ids.vehicles.get(route.vehicle_id.as_str()) else {
        return found.route(Rule::UnknownId, route, "the problem has no such vehicle");
    };
    if !vehicle.planning_area_ids.contains(&ids.problem.planning_area_id) {
        found.route(Rule::WrongArea, route, format!("the vehicle is not of area {}", ids.problem.planning_area_id));
    }
    let history = vehicle.under_way.as_ref().map_or(&[][..], |under_way| &under_way.served);
    if route.stops.len() < history.len() || route.stops[..history.len()] != *history {
        return found.route(Rule::HistoryChanged, route, format!("its first {} stops must be those already served", history.len()));
    }
    if vehicle.out_of_service {
        if route.stops.len() > history.len() {
            found.route(Rule::OutOfService, route, "it is out of service, yet has stops ahead");
        }
        return;
    }
    let Some((mut truck, first)) = set_out(ids, vehicle, route, found) else { return };
    let last = route.stops.len() - 1;
    for place in first..=last {
        let stop = &route.stops[place];
        match &stop.kind {
            StopKind::Lunch => lunch(vehicle, &mut truck, route, place, found),
            StopKind::Site { site_id } => site(ids, vehicle, &mut truck, route, place, site_id, found),
            StopKind::Disposal { facility_id } => disposal(ids, &mut truck, route, place, facility_id, found),
            StopKind::Depot { .. } if place < last => found.stop(Rule::DepotInside, route, place, "a depot stands at the start or the end"),
            StopKind::Depot { depot_id } => end(ids, vehicle, &mut truck, route, depot_id, found),
        }
        bounds(ids, vehicle, &truck, route, place, found);
    }
    if !matches!(route.stops[last].kind, StopKind::Depot { .. }) {
        found.route(Rule::End, route, "it does not end at a depot");
    }
    due_break(vehicle, &truck, route, found);
    let cap = &vehicle.day_cap;
    if truck.collected.kg > cap.load.kg + LOAD_SLACK || truck.collected.l > cap.load.l + LOAD_SLACK || truck.sites > cap.sites {
        let (kg, l, sites) = (truck.collected.kg, truck.collected.l, truck.sites);
        found.route(Rule::DayCap, route, format!("{kg} kg, {l} l, {sites} sites in the day; allowed {} kg, {} l, {}", cap.load.kg, cap.load.l, cap.sites));
    }
    if (truck.driven_m - route.distance_m).abs() > 0.5 + truck.driven_m * 1e-6 {
        found.route(Rule::Totals, route, format!("{} m stated, {} m driven", route.distance_m, truck.driven_m));
    }
}

/// The truck as it begins or goes on, and the place of the first stop to walk to.
fn set_out(ids: &Ids<'_>, vehicle: &Vehicle, route: &Route, found: &mut Found) -> Option<(Truck, usize)> {
    let mut truck = Truck {
        at: 0,
        left_ms: 0,
        load: vec![Load::default(); ids.problem.streams.len()],
        paused_ms: 0,
        pause_ended_ms: i64::MIN,
        breaks: 0,
        break_taken: false,
        trip_began_ms: 0,
        collected: Load::default(),
        sites: 0,
        driven_m: 0.0,
    };
    let first = if let Some(under_way) = &vehicle.under_way {
        truck.at = under_way.location;
        truck.left_ms = under_way.time_ms;
        truck.load.clone_from(&under_way.load);
        truck.break_taken = under_way.break_taken;
        truck.collected = under_way.collected;
        truck.sites = under_way.collected_sites;
        truck.driven_m = under_way.driven_m;
        under_way.served.len()
    } else {
        let depot = &ids.problem.depots[vehicle.start_depot];
        let start = route.stops.first();
        let Some(start) = start.filter(|start| matches!(&start.kind, StopKind::Depot { depot_id } if *depot_id == depot.depot_id)) else {
            found.route(Rule::Start, route, format!("it must begin at depot {}", depot.depot_id));
            return None;
        };
        if start.location != Some(depot.location) {
            found.stop(Rule::Place, route, 0, format!("depot {} is at location {}", depot.depot_id, depot.location));
        }
        if start.leaves_ms < vehicle.shift.from_ms {
            found.stop(Rule::Start, route, 0, format!("leaves at {}, the shift begins at {}", start.leaves_ms, vehicle.shift.from_ms));
        }
        if start.load.iter().any(|load| load.kg != 0.0 || load.l != 0.0) {
            found.stop(Rule::LoadStated, route, 0, "it begins empty");
        }
        truck.at = depot.location;
        truck.left_ms = start.leaves_ms;
        1
    };
    truck.trip_began_ms = truck.left_ms;
    if route.stops.len() <= first {
        found.route(Rule::End, route, "it does not return to a depot");
        return None;
    }
    Some((truck, first))
}

/// Drives to the stop; verifies its place and arrival.
fn arrive(ids: &Ids<'_>, truck: &mut Truck, route: &Route, place: usize, to: Location, found: &mut Found) {
    let stop = &route.stops[place];
    if stop.location != Some(to) {
        found.stop(Rule::Place, route, place, format!("stated at {:?}, it is at location {to}", stop.location));
    }
    let travel = &ids.problem.travel;
    match (travel.duration_ms(truck.at, to, truck.left_ms), travel.distance_m(truck.at, to)) {
        (Some(drive_ms), Some(metres)) => {
            truck.driven_m += metres;
            let earliest_ms = (truck.left_ms + drive_ms + truck.paused_ms).max(truck.pause_ended_ms);
            if stop.arrives_ms < earliest_ms {
                found.stop(Rule::TooFast, route, place, format!("arrives at {}, cannot before {earliest_ms}", stop.arrives_ms));
            }
        }
        _ => found.stop(Rule::ClosedRoad, route, place, format!("no road from location {} to {to}", truck.at)),
    }
    truck.at = to;
    truck.left_ms = stop.leaves_ms;
    truck.paused_ms = 0;
    truck.pause_ended_ms = i64::MIN;
}

/// Verifies that service has its time within one of the windows.
fn serve(route: &Route, place: usize, stop: &Stop, service_ms: i64, windows: &[Window], found: &mut Found) {
    let begins_ms = stop.leaves_ms - service_ms;
    if begins_ms < stop.arrives_ms {
        found.stop(Rule::ServiceTime, route, place, format!("{} ms of service do not fit between {} and {}", service_ms, stop.arrives_ms, stop.leaves_ms));
    }
    if !windows.iter().any(|window| (window.from_ms..=window.to_ms).contains(&begins_ms)) {
        found.stop(Rule::TimeWindow, route, place, format!("service begins at {begins_ms}, allowed: {windows:?}"));
    }
}

/// Verifies that unloading has its time and a beginning within one of the windows; the truck may stay longer.
fn unload(route: &Route, place: usize, unload_ms: i64, windows: &[Window], found: &mut Found) {
    let stop = &route.stops[place];
    let last_ms = stop.leaves_ms - unload_ms;
    if last_ms < stop.arrives_ms {
        found.stop(Rule::ServiceTime, route, place, format!("{unload_ms} ms to unload do not fit between {} and {}", stop.arrives_ms, stop.leaves_ms));
    } else if !windows.iter().any(|window| window.from_ms <= last_ms && window.to_ms >= stop.arrives_ms) {
        found.stop(Rule::TimeWindow, route, place, format!("there from {} to {}, open: {windows:?}", stop.arrives_ms, stop.leaves_ms));
    }
}

fn site(ids: &Ids<'_>, vehicle: &Vehicle, truck: &mut Truck, route: &Route, place: usize, site_id: &str, found: &mut Found) {
    let Some(job) = ids.jobs.get(site_id) else {
        return found.stop(Rule::UnknownId, route, place, "the problem has no such site");
    };
    let stop = &route.stops[place];
    arrive(ids, truck, route, place, job.location, found);
    serve(route, place, stop, job.service_ms, &job.windows, found);
    if truck.trip_began_ms < job.trip_not_before_ms {
        found.stop(Rule::TripTooEarly, route, place, format!("its trip began at {}, allowed from {}", truck.trip_began_ms, job.trip_not_before_ms));
    }
    let lacking: Vec<&String> = job.skills.difference(&vehicle.skills).collect();
    if !lacking.is_empty() {
        found.stop(Rule::Skill, route, place, format!("the vehicle lacks {lacking:?}"));
    }
    for demand in &job.demands {
        let load = demand.load(ids.problem.load_basis);
        truck.load[demand.stream].kg += load.kg;
        truck.load[demand.stream].l += load.l;
        truck.collected.kg += load.kg;
        truck.collected.l += load.l;
        if !vehicle.compartments.iter().any(|part| part.streams.contains(&demand.stream)) {
            found.stop(Rule::Stream, route, place, format!("no compartment takes {}", ids.problem.streams[demand.stream]));
        }
    }
    truck.sites += 1;
}

fn disposal(ids: &Ids<'_>, truck: &mut Truck, route: &Route, place: usize, facility_id: &str, found: &mut Found) {
    let Some(facility) = ids.facilities.get(facility_id) else {
        return found.stop(Rule::UnknownId, route, place, format!("the problem has no facility {facility_id}"));
    };
    arrive(ids, truck, route, place, facility.location, found);
    unload(route, place, facility.unload_ms, &facility.windows, found);
    for stream in &facility.streams {
        truck.load[*stream] = Load::default();
    }
    truck.trip_began_ms = truck.left_ms;
}

fn lunch(vehicle: &Vehicle, truck: &mut Truck, route: &Route, place: usize, found: &mut Found) {
    let stop = &route.stops[place];
    let Some(rule) = vehicle.break_rule else {
        return found.stop(Rule::BreakWrong, route, place, "the vehicle has no rule for a break");
    };
    truck.breaks += 1;
    if truck.breaks > 1 || truck.break_taken {
        found.stop(Rule::BreakTwice, route, place, "the break was taken before");
    }
    if stop.leaves_ms - stop.arrives_ms != rule.duration_ms || !(rule.earliest_ms..=rule.latest_ms).contains(&stop.arrives_ms) {
        let (from_ms, to_ms) = (stop.arrives_ms, stop.leaves_ms);
        found.stop(
            Rule::BreakWrong,
            route,
            place,
            format!("from {from_ms} to {to_ms}; {} ms beginning in {}..={}", rule.duration_ms, rule.earliest_ms, rule.latest_ms),
        );
    }
    if stop.arrives_ms < truck.left_ms {
        found.stop(Rule::TooFast, route, place, format!("the break begins at {}, the stop before is left at {}", stop.arrives_ms, truck.left_ms));
    }
    truck.paused_ms += stop.leaves_ms - stop.arrives_ms;
    truck.pause_ended_ms = stop.leaves_ms;
}

fn end(ids: &Ids<'_>, vehicle: &Vehicle, truck: &mut Truck, route: &Route, depot_id: &str, found: &mut Found) {
    let place = route.stops.len() - 1;
    let depot = &ids.problem.depots[vehicle.end_depot];
    if depot.depot_id != depot_id {
        found.stop(Rule::End, route, place, format!("ends at depot {depot_id}, must at {}", depot.depot_id));
    }
    arrive(ids, truck, route, place, depot.location, found);
    let stop = &route.stops[place];
    if stop.arrives_ms > vehicle.shift.to_ms {
        found.stop(Rule::ShiftEnd, route, place, format!("ends at {}, the shift at {}", stop.arrives_ms, vehicle.shift.to_ms));
    }
    if truck.load.iter().any(|load| load.kg > LOAD_SLACK || load.l > LOAD_SLACK) {
        found.stop(Rule::EndsLoaded, route, place, format!("ends with {:?}", truck.load));
    }
}

/// Loads within bounds, and as stated.
fn bounds(ids: &Ids<'_>, vehicle: &Vehicle, truck: &Truck, route: &Route, place: usize, found: &mut Found) {
    for (number, part) in vehicle.compartments.iter().enumerate() {
        let kg: f64 = part.streams.iter().map(|stream| truck.load[*stream].kg).sum();
        let l: f64 = part.streams.iter().map(|stream| truck.load[*stream].l).sum();
        if kg > part.capacity.kg + LOAD_SLACK || l > part.capacity.l + LOAD_SLACK {
            found.stop(Rule::Capacity, route, place, format!("{kg} kg, {l} l in compartment {number} of {} kg, {} l", part.capacity.kg, part.capacity.l));
        }
    }
    let kg: f64 = truck.load.iter().map(|load| load.kg).sum();
    if kg > vehicle.payload_kg + LOAD_SLACK {
        found.stop(Rule::Capacity, route, place, format!("{kg} kg of a payload of {} kg", vehicle.payload_kg));
    }
    let stated = &route.stops[place].load;
    let same = |(a, b): (&Load, &Load)| (a.kg - b.kg).abs() <= LOAD_SLACK && (a.l - b.l).abs() <= LOAD_SLACK;
    if stated.len() != ids.problem.streams.len() || !stated.iter().zip(&truck.load).all(same) {
        found.stop(Rule::LoadStated, route, place, format!("stated {stated:?}, collected {:?}", truck.load));
    }
}

fn due_break(vehicle: &Vehicle, truck: &Truck, route: &Route, found: &mut Found) {
    let (Some(rule), Some(starts_ms), Some(ends_ms)) = (vehicle.break_rule, route.starts_ms(), route.ends_ms()) else { return };
    if starts_ms <= rule.latest_ms && ends_ms > rule.latest_ms && truck.breaks == 0 && !truck.break_taken {
        found.route(Rule::BreakMissing, route, format!("under way from {starts_ms} to {ends_ms}; the break must begin by {}", rule.latest_ms));
    }
}
