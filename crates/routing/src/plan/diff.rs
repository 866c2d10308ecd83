//! What changed between two plans, in the words of `route.change`: what a driver is told, with the reason.

use std::collections::BTreeMap;

use super::answer::{Plan, Route};

/// What changed, as in `route.change`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// The site is served now.
    StopAdded,
    /// It is not any more.
    StopRemoved,
    /// Its place among the others of its route is another.
    StopMoved,
    /// The vehicle drives now.
    RouteAdded,
    /// It does not any more.
    RouteRemoved,
    /// Another vehicle serves the site.
    VehicleChanged,
    /// Same vehicle, same order, another time.
    Retimed,
}

impl ChangeKind {
    /// The symbol in the schema.
    pub fn code(self) -> &'static str {
        match self {
            Self::StopAdded => "stop_added",
            Self::StopRemoved => "stop_removed",
            Self::StopMoved => "stop_moved",
            Self::RouteAdded => "route_added",
            Self::RouteRemoved => "route_removed",
            Self::VehicleChanged => "vehicle_changed",
            Self::Retimed => "retimed",
        }
    }
}

/// Why something changed, as in `route.change`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeReason {
    /// A forecast.
    OverflowRisk,
    /// A customer asked.
    Ticket,
    /// A road is closed.
    Closure,
    /// A vehicle broke down.
    VehicleDown,
    /// A facility is full or closed.
    FacilityFull,
    /// A shift began, ended or changed.
    ShiftChanged,
    /// A person decided.
    Decision,
    /// The plan got better.
    Improved,
}

impl ChangeReason {
    /// The code in the schema.
    pub fn code(self) -> &'static str {
        match self {
            Self::OverflowRisk => "overflow_risk",
            Self::Ticket => "ticket",
            Self::Closure => "closure",
            Self::VehicleDown => "vehicle_down",
            Self::FacilityFull => "facility_full",
            Self::ShiftChanged => "shift_changed",
            Self::Decision => "decision",
            Self::Improved => "improved",
        }
    }
}

/// Something that happened and made a new plan due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The event, if one has an id.
    pub event_id: Option<String>,
    /// What it is.
    pub reason: ChangeReason,
}

/// What is known of causes: of a site, of a vehicle, and of the plan as a whole.
#[derive(Debug, Clone, Default)]
pub struct Causes {
    /// By site.
    pub sites: BTreeMap<String, Cause>,
    /// By vehicle: its breakdown or shift moves all of its sites.
    pub vehicles: BTreeMap<String, Cause>,
    /// Where nothing nearer is known; `Improved` if absent.
    pub plan: Option<Cause>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// Vehicle now.
    pub vehicle_id: Option<String>,
    /// Vehicle before.
    pub previous_vehicle_id: Option<String>,
    /// Site.
    pub site_id: Option<String>,
    /// Place among the stops of the route now.
    pub position: Option<usize>,
    /// Place before.
    pub previous_position: Option<usize>,
    /// Arrival now minus arrival before, where both are known.
    pub shift_ms: Option<i64>,
    /// Why.
    pub cause: Cause,
}

/// All differences between two plans.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// In the order of routes, then of kind.
    pub changes: Vec<Change>,
    /// Metres more than before.
    pub distance_m: f64,
    /// Milliseconds of paid time more than before.
    pub duration_ms: i64,
    /// Cost more than before.
    pub cost: f64,
    /// Of the sites in both plans, how many have another vehicle.
    pub vehicle_changed: usize,
    /// Sites in both plans.
    pub kept: usize,
}

impl Diff {
    /// Share of the sites in both plans that change their truck; 0 if there are none.
    pub fn share_changed(&self) -> f64 {
        if self.kept == 0 { 0.0 } else { self.vehicle_changed as f64 / self.kept as f64 }
    }
}

/// A stop that arrives this much earlier or later than before is worth telling.
pub const RETIMED_MS: i64 = 5 * 60_000;

struct Place<'a> {
    route: &'a Route,
    position: usize,
    arrives_ms: i64,
}

fn places(plan: &Plan) -> BTreeMap<&str, Place<'_>> {
    let of = |route| Route::sites(route).map(move |(position, site)| (site, Place { route, position, arrives_ms: route.stops[position].arrives_ms }));
    plan.routes.iter().flat_map(of).collect()
}

/// The differences from `old` to `new`, each with the nearest cause known.
pub fn diff(old: &Plan, new: &Plan, causes: &Causes) -> Diff {
    let (before, now) = (places(old), places(new));
    let mut changes = Vec::new();
    routes(old, new, causes, &mut changes);
    let mut result = Diff {
        changes: Vec::new(),
        distance_m: new.distance_m - old.distance_m,
        duration_ms: new.duration_ms - old.duration_ms,
        cost: new.cost - old.cost,
        vehicle_changed: 0,
        kept: 0,
    };
    for route in &new.routes {
        let moved = moved(&before, route);
        for (position, site) in route.sites() {
            let previous = before.get(site);
            let previous_vehicle = previous.map(|place| place.route.vehicle_id.as_str());
            let shift_ms = previous.map(|place| route.stops[position].arrives_ms - place.arrives_ms);
            result.kept += usize::from(previous.is_some());
            let kind = match previous_vehicle {
                None => ChangeKind::StopAdded,
                Some(vehicle) if vehicle != route.vehicle_id => ChangeKind::VehicleChanged,
                Some(_) if moved.contains(&site) => ChangeKind::StopMoved,
                Some(_) if shift_ms.is_some_and(|shift_ms| shift_ms.abs() >= RETIMED_MS) => ChangeKind::Retimed,
                Some(_) => continue,
            };
            result.vehicle_changed += usize::from(kind == ChangeKind::VehicleChanged);
            changes.push(Change {
                kind,
                vehicle_id: Some(route.vehicle_id.clone()),
                previous_vehicle_id: previous_vehicle.map(str::to_owned),
                site_id: Some(site.to_owned()),
                position: Some(position),
                previous_position: previous.map(|place| place.position),
                shift_ms,
                cause: cause(causes, Some(site), previous_vehicle.into_iter().chain([route.vehicle_id.as_str()])),
            });
        }
    }
    for (site, place) in before.iter().filter(|(site, _)| !now.contains_key(*site)) {
        changes.push(Change {
            kind: ChangeKind::StopRemoved,
            vehicle_id: None,
            previous_vehicle_id: Some(place.route.vehicle_id.clone()),
            site_id: Some((*site).to_owned()),
            position: None,
            previous_position: Some(place.position),
            shift_ms: None,
            cause: cause(causes, Some(site), [place.route.vehicle_id.as_str()].into_iter()),
        });
    }
    result.changes = changes;
    result
}

fn routes(old: &Plan, new: &Plan, causes: &Causes, changes: &mut Vec<Change>) {
    let has = |plan: &Plan, id: &str| plan.routes.iter().any(|route| route.vehicle_id == id);
    let mut add = |kind, now: Option<&str>, before: Option<&str>| {
        let vehicles = now.into_iter().chain(before);
        changes.push(Change {
            kind,
            vehicle_id: now.map(str::to_owned),
            previous_vehicle_id: before.map(str::to_owned),
            site_id: None,
            position: None,
            previous_position: None,
            shift_ms: None,
            cause: cause(causes, None, vehicles),
        });
    };
    for route in new.routes.iter().filter(|route| !has(old, &route.vehicle_id)) {
        add(ChangeKind::RouteAdded, Some(&route.vehicle_id), None);
    }
    for route in old.routes.iter().filter(|route| !has(new, &route.vehicle_id)) {
        add(ChangeKind::RouteRemoved, None, Some(&route.vehicle_id));
    }
}

/// Sites that stay with their vehicle and must be told as moved: all but a longest run that keeps its order.
fn moved<'a>(before: &BTreeMap<&str, Place<'_>>, route: &'a Route) -> Vec<&'a str> {
    let stayed: Vec<(&str, usize)> = route
        .sites()
        .filter_map(|(_, site)| before.get(site).filter(|place| place.route.vehicle_id == route.vehicle_id).map(|place| (site, place.position)))
        .collect();
    // Longest increasing subsequence by patience sorting: the last element of each length, and whom each follows.
    let mut tails: Vec<usize> = Vec::new();
    let mut follows: Vec<Option<usize>> = vec![None; stayed.len()];
    for (at, (_, position)) in stayed.iter().enumerate() {
        let length = tails.partition_point(|tail| stayed[*tail].1 < *position);
        follows[at] = length.checked_sub(1).map(|shorter| tails[shorter]);
        if length == tails.len() {
            tails.push(at);
        } else {
            tails[length] = at;
        }
    }
    let mut keeps = vec![false; stayed.len()];
    let mut at = tails.last().copied();
    while let Some(kept) = at {
        keeps[kept] = true;
        at = follows[kept];
    }
    stayed.iter().zip(keeps).filter(|(_, keeps)| !keeps).map(|((site, _), _)| *site).collect()
}

fn cause<'a>(causes: &Causes, site: Option<&str>, vehicles: impl Iterator<Item = &'a str>) -> Cause {
    let of_site = site.and_then(|site| causes.sites.get(site));
    let of_vehicle = || vehicles.into_iter().find_map(|vehicle| causes.vehicles.get(vehicle));
    let known = of_site.or_else(of_vehicle).or(causes.plan.as_ref());
    known.cloned().unwrap_or(Cause { event_id: None, reason: ChangeReason::Improved })
}
