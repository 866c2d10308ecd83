//! What was planned against what was driven, for each route. The plan counted is the one that the truck set out with: later
//! versions know what happened and would always be right.

use super::facts::{Facts, Truck, Visit};
use super::fleet::{EARLY_MS, chain_m};
use super::memo::{Departure, Memo};
use super::settings::Settings;
use crate::plan::Route;
use std::collections::BTreeMap;

/// Planned against driven, of one route.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Driven {
    pub stops_planned: i64,
    pub stops_served: i64,
    pub stops_late: i64,
    /// Planned, and visited in vain or not at all so far.
    pub stops_not_done: i64,
    /// Served without having been planned.
    pub stops_extra: i64,
    pub planned_m: f64,
    pub driven_m: f64,
    pub planned_s: f64,
    pub driven_s: f64,
}

/// What a truck served on this duty: not what it did on an earlier one that ended on the same day.
fn served_by<'a>(memo: &Memo, facts: &'a Facts, truck: &'a Truck) -> impl Iterator<Item = &'a Visit> {
    let from_ms = truck.shift.as_ref().map_or(memo.history_ms, |shift| shift.from_ms - EARLY_MS);
    facts.visits.iter().filter(move |v| v.vehicle_id == truck.id && v.served && v.said.at_ms >= from_ms)
}

/// Notes what trucks set out with: once for each, from the plan in force then. A truck that left before there was one set out
/// with nothing: the day's first plan knows what it has done already.
pub(super) fn note_departures(memo: &mut Memo, facts: &Facts) {
    for (id, truck) in &memo.crews {
        let left = truck.started_ms.is_some() || served_by(memo, facts, truck).next().is_some();
        if !left || memo.departures.contains_key(id) {
            continue;
        }
        let route = memo.in_force.iter().flat_map(|issued| &issued.plan.routes).find(|r| r.vehicle_id == *id);
        let departure = route.map_or_else(Departure::default, |route| Departure {
            sites: route.sites().map(|(place, site)| (site.to_owned(), route.stops[place].arrives_ms)).collect(),
            distance_m: route.distance_m,
            duration_ms: route.ends_ms().unwrap_or(0) - route.starts_ms().unwrap_or(0),
        });
        memo.departures.insert(id.clone(), departure);
    }
}

/// The figures of a route; none before the truck has left.
pub(super) fn driven(memo: &Memo, facts: &Facts, settings: &Settings, route: &Route) -> Option<Driven> {
    let truck: &Truck = memo.crews.get(&route.vehicle_id)?;
    let departure = memo.departures.get(&route.vehicle_id)?;
    let mut served: BTreeMap<&str, i64> = BTreeMap::new();
    for visit in served_by(memo, facts, truck) {
        served.entry(visit.site_id.as_str()).or_insert(visit.said.at_ms - visit.service_ms);
    }
    let planned: BTreeMap<&str, i64> = departure.sites.iter().map(|(s, at)| (s.as_str(), *at)).collect();
    let done = planned.iter().filter_map(|(site, at_ms)| served.get(site).map(|served_ms| served_ms - at_ms));
    let (mut stops_served, mut stops_late) = (0, 0);
    for behind_ms in done {
        stops_served += 1;
        stops_late += i64::from(behind_ms > settings.late_ms);
    }
    let until_ms = truck.ended_ms.unwrap_or(memo.now_ms);
    let from_ms = truck.started_ms.or_else(|| served.values().min().copied()).unwrap_or(until_ms);
    Some(Driven {
        stops_planned: planned.len() as i64,
        stops_served,
        stops_late,
        stops_not_done: planned.len() as i64 - stops_served,
        stops_extra: served.keys().filter(|site| !planned.contains_key(*site)).count() as i64,
        planned_m: departure.distance_m,
        // Without an odometer: from stop to stop, which is at least not nothing.
        driven_m: truck.driven_m.unwrap_or_else(|| chain_m(facts, served_by(memo, facts, truck), settings)),
        planned_s: departure.duration_ms as f64 / 1e3,
        driven_s: (until_ms - from_ms).max(0) as f64 / 1e3,
    })
}
