//! The trucks of the day: what they can carry, when they drive, and what they have done already.

use super::build::Horizon;
use super::facts::{Facts, Shift, Truck, Visit};
use super::need::fits;
use super::places::Places;
use super::settings::Settings;
use crate::plan::answer::{Stop, StopKind};
use crate::plan::problem::{BreakRule, Compartment, Costs, DayCap, Depot, Job, Load, UnderWay, Vehicle, Window};
use std::collections::{BTreeMap, BTreeSet};

/// A truck that has not left this long before its shift ends does not leave any more.
const LAST_START_MS: i64 = 30 * 60_000;
/// Time that is left for an overdue break.
const BREAK_GRACE_MS: i64 = 60 * 60_000;
/// Crews may set out so long before their shift.
pub(super) const EARLY_MS: i64 = 2 * 3_600_000;

/// What the fleet is made from.
pub(super) struct Yard<'a> {
    pub area: &'a str,
    pub settings: &'a Settings,
    pub horizon: &'a Horizon,
    pub streams: &'a BTreeMap<String, usize>,
    /// Streams by load that they may share.
    pub classes: &'a [BTreeSet<usize>],
    /// Share of the area's litres of each class.
    pub shares: &'a [f64],
    pub jobs: &'a [Job],
}

/// Vehicles and depots. Trucks that cannot be planned are told.
pub(super) fn fleet(facts: &mut Facts, crews: &BTreeMap<String, Truck>, yard: &Yard<'_>, places: &mut Places) -> (Vec<Vehicle>, Vec<Depot>) {
    let (mut vehicles, mut depots): (Vec<Vehicle>, Vec<Depot>) = (Vec::new(), Vec::new());
    for truck in crews.values() {
        let Some(shift) = &truck.shift else { continue };
        let mut depot_of = |facts: &mut Facts, id: &str| -> Option<usize> {
            if let Some(known) = depots.iter().position(|d| d.depot_id == id) {
                return Some(known);
            }
            let Some(facility) = facts.facilities.get(id) else {
                facts.trouble("unknown_depot", "vehicle", &truck.id, truck.said.event_id.as_deref(), format!("its depot {id} does not exist"));
                return None;
            };
            let location = places.put("facility", id, facility.place);
            depots.push(Depot { depot_id: id.to_owned(), location });
            Some(depots.len() - 1)
        };
        let (Some(start), Some(end)) = (depot_of(facts, &shift.depot_id), depot_of(facts, &shift.end_depot_id)) else { continue };
        if let Some(vehicle) = one(facts, truck, shift, yard, places, &depots, (start, end)) {
            vehicles.push(vehicle);
        }
    }
    (vehicles, depots)
}

fn one(
    facts: &mut Facts,
    truck: &Truck,
    shift: &Shift,
    yard: &Yard<'_>,
    places: &mut Places,
    depots: &[Depot],
    (start_depot, end_depot): (usize, usize),
) -> Option<Vehicle> {
    let now_ms = yard.horizon.now_ms;
    let cause = truck.said.event_id.as_deref();
    // On the board now, or only remembered: then it drives no more for this area.
    let here = facts.trucks.get(&truck.id).is_some_and(|t| t.shift.as_ref().is_some_and(|s| s.id == shift.id));
    let mut out_of_service = truck.is_down() || truck.ended_ms.is_some() || !here;
    let sound = truck.payload_kg > 0.0 && truck.volume_l > 0.0;
    if !sound {
        facts.trouble("vehicle_without_capacity", "vehicle", &truck.id, cause, format!("payload {} kg, volume {} l", truck.payload_kg, truck.volume_l));
        out_of_service = true;
    }
    let streams: BTreeSet<usize> = truck.streams.iter().filter_map(|s| yard.streams.get(s)).copied().collect();
    if sound && streams.is_empty() {
        facts.trouble("vehicle_without_streams", "vehicle", &truck.id, cause, format!("it carries {:?}, nothing of which is collected here", truck.streams));
        out_of_service = true;
    }
    let visits: Vec<Visit> =
        facts.visits.iter().filter(|v| v.vehicle_id == truck.id && v.said.at_ms >= shift.from_ms - EARLY_MS && !v.not_reached).cloned().collect();
    let departed_ms = truck.started_ms.or(visits.first().map(|v| v.said.at_ms - v.service_ms));
    // A crew that began hours before its shift, as it seems, does not get a day that long.
    let departed_ms = departed_ms.map(|ms| ms.max(shift.from_ms - EARLY_MS).min(now_ms));
    if departed_ms.is_none() && (out_of_service || now_ms > shift.to_ms - LAST_START_MS) {
        return None;
    }
    let load = departed_ms.map_or_else(Vec::new, |_| loads(truck, &visits, yard, &streams));
    let compartments = compartments(truck, yard, &streams, &load);
    let payload_kg = truck.payload_kg.max(load.iter().map(|l| l.kg).sum());
    let under_way = departed_ms.map(|departed_ms| {
        let served = served(facts, truck, shift, &visits, places, depots, (start_depot, end_depot), departed_ms, yard.streams.len());
        let place = truck.place().or_else(|| visits.last().and_then(|v| facts.sites.get(&v.site_id)).map(|s| s.place));
        let location = match place {
            Some(place) => places.put("vehicle", &truck.id, place),
            None => depots[start_depot].location,
        };
        let sites: BTreeSet<&str> = visits.iter().filter(|v| v.served).map(|v| v.site_id.as_str()).collect();
        UnderWay {
            location,
            time_ms: now_ms.max(departed_ms),
            driven_m: ((truck.driven_m.unwrap_or_else(|| chain_m(facts, &visits, yard.settings))).max(0.0) * 100.0).round() / 100.0,
            served,
            break_taken: truck.break_taken,
            collected: load.iter().fold(Load::default(), |sum, l| Load { kg: sum.kg + l.kg, l: sum.l + l.l }),
            collected_sites: sites.len() as u32,
            load,
        }
    });
    let mut break_rule = (shift.break_ms > 0).then(|| {
        let earliest_ms = shift.break_from_ms.unwrap_or(shift.from_ms + 3 * 3_600_000);
        BreakRule { earliest_ms, latest_ms: shift.break_to_ms.unwrap_or(shift.from_ms + 6 * 3_600_000).max(earliest_ms), duration_ms: shift.break_ms }
    });
    if let Some(rule) = break_rule.as_mut().filter(|rule| under_way.is_some() && !truck.break_taken && !out_of_service && rule.latest_ms < now_ms) {
        facts.trouble("break_overdue", "vehicle", &truck.id, cause, "its crew has not taken its break in time");
        rule.latest_ms = now_ms + BREAK_GRACE_MS;
    }
    let cost = |item: &str, default: f64| facts.costs.get(item).copied().unwrap_or(default);
    let costs =
        Costs { fixed: yard.settings.truck_minor, per_km: cost("driving_km", yard.settings.km_minor), per_hour: cost("paid_hour", yard.settings.hour_minor) };
    let mut skills: BTreeSet<String> = truck.skills.iter().cloned().collect();
    for skill in yard.jobs.iter().flat_map(|job| &job.skills) {
        let short = facts.sites.values().filter_map(|s| s.max_vehicle_m).any(|m| fits(m) == *skill && truck.length_m.is_some_and(|length_m| length_m <= m));
        if short {
            skills.insert(skill.clone());
        }
    }
    Some(Vehicle {
        vehicle_id: truck.id.clone(),
        shift_id: Some(shift.id.clone()),
        planning_area_ids: BTreeSet::from([yard.area.to_owned()]),
        start_depot,
        end_depot,
        shift: Window {
            from_ms: if under_way.is_some() { shift.from_ms.min(departed_ms.unwrap_or(shift.from_ms)) } else { shift.from_ms.max(now_ms) },
            to_ms: shift.to_ms,
        },
        compartments,
        payload_kg,
        day_cap: DayCap::default(),
        break_rule,
        costs,
        skills,
        under_way,
        out_of_service,
    })
}

/// One compartment for each class of streams that may share a load; the body is divided as the area's waste is.
fn compartments(truck: &Truck, yard: &Yard<'_>, streams: &BTreeSet<usize>, load: &[Load]) -> Vec<Compartment> {
    let mine: Vec<(BTreeSet<usize>, f64)> = yard
        .classes
        .iter()
        .zip(yard.shares)
        .map(|(class, share)| (class.intersection(streams).copied().collect::<BTreeSet<usize>>(), *share))
        .filter(|(class, _)| !class.is_empty())
        .collect();
    let total: f64 = mine.iter().map(|(_, share)| share).sum();
    mine.into_iter()
        .map(|(class, share)| {
            let part = if total > 0.0 { share / total } else { 1.0 };
            let held = |of: fn(&Load) -> f64| class.iter().filter_map(|s| load.get(*s)).map(of).sum::<f64>();
            let capacity = Load { kg: truck.payload_kg.max(held(|l| l.kg)), l: (truck.volume_l * part).max(held(|l| l.l)) };
            Compartment { streams: class, capacity }
        })
        .collect()
}

/// What is on the truck, by stream: what its scale says, divided as it was collected; else what was collected since it tipped.
fn loads(truck: &Truck, visits: &[Visit], yard: &Yard<'_>, streams: &BTreeSet<usize>) -> Vec<Load> {
    let mut load = vec![Load::default(); yard.streams.len()];
    for visit in visits.iter().filter(|v| v.served && truck.disposed_ms.is_none_or(|disposed_ms| v.said.at_ms > disposed_ms)) {
        let stream = visit.stream.as_ref().and_then(|s| yard.streams.get(s)).copied().filter(|s| streams.contains(s));
        if let Some(sum) = stream.and_then(|s| load.get_mut(s)) {
            *sum = Load { kg: sum.kg + visit.weight_kg.unwrap_or(0.0).max(0.0), l: sum.l + visit.volume_l.unwrap_or(0.0).max(0.0) };
        }
    }
    let own = truck.loaded_stream.as_ref().and_then(|s| yard.streams.get(s)).copied().filter(|s| streams.contains(s));
    let fit = |load: &mut Vec<Load>, told: Option<f64>, get: fn(&Load) -> f64, set: fn(&mut Load, f64)| {
        let Some(told) = told.filter(|t| *t >= 0.0) else { return };
        let sum: f64 = load.iter().map(get).sum();
        if sum > 0.0 {
            load.iter_mut().for_each(|l| set(l, get(l) * told / sum));
        } else if let Some(l) = own.or(streams.first().copied()).and_then(|s| load.get_mut(s)) {
            set(l, told);
        }
    };
    fit(&mut load, truck.load_kg, |l| l.kg, |l, v| l.kg = v);
    fit(&mut load, truck.load_l, |l| l.l, |l, v| l.l = v);
    load.iter().map(|l| Load { kg: (l.kg * 1e3).round() / 1e3, l: (l.l * 1e3).round() / 1e3 }).collect()
}

/// What the truck has done, as driven: one stop for each site, from its first to its last container.
#[allow(clippy::too_many_arguments, reason = "the parts of one truck's day, used once")]
fn served(
    facts: &Facts,
    truck: &Truck,
    shift: &Shift,
    visits: &[Visit],
    places: &mut Places,
    depots: &[Depot],
    (start, end): (usize, usize),
    departed_ms: i64,
    streams: usize,
) -> Vec<Stop> {
    let empty = vec![Load::default(); streams];
    let depot = |depot: &Depot, at_ms: i64| Stop {
        kind: StopKind::Depot { depot_id: depot.depot_id.clone() },
        location: Some(depot.location),
        arrives_ms: at_ms,
        leaves_ms: at_ms,
        load: empty.clone(),
        locked: false,
        reason: None,
    };
    let mut stops = vec![depot(&depots[start], departed_ms)];
    for visit in visits.iter().filter(|v| v.served) {
        let leaves_ms = visit.said.at_ms.max(departed_ms);
        match stops.last_mut().filter(|s| s.site_id() == Some(visit.site_id.as_str())) {
            Some(stop) => stop.leaves_ms = stop.leaves_ms.max(leaves_ms),
            None => stops.push(Stop {
                kind: StopKind::Site { site_id: visit.site_id.clone() },
                location: facts.sites.get(&visit.site_id).map(|s| places.put("site", &visit.site_id, s.place)),
                arrives_ms: (leaves_ms - visit.service_ms).max(departed_ms),
                leaves_ms,
                load: empty.clone(),
                locked: false,
                reason: None,
            }),
        }
    }
    if let Some(ended_ms) = truck.ended_ms.filter(|ended_ms| *ended_ms >= shift.from_ms) {
        stops.push(depot(&depots[end], ended_ms.max(departed_ms)));
    }
    stops
}

/// Metres between the sites visited, where no odometer tells.
pub(super) fn chain_m<'a>(facts: &Facts, visits: impl IntoIterator<Item = &'a Visit>, settings: &Settings) -> f64 {
    let places: Vec<_> = visits.into_iter().filter_map(|v| facts.sites.get(&v.site_id)).map(|s| s.place).collect();
    places.windows(2).map(|pair| pair[0].distance_m(pair[1]) * settings.detour).sum()
}
