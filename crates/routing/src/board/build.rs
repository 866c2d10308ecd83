//! The planning problem of the day, from facts and memo.

use super::facts::Facts;
use super::fleet::{Yard, fleet};
use super::memo::Memo;
use super::need::{Wanted, wanted};
use super::places::{Places, Roads, RoadsQuery};
use super::settings::Settings;
use super::{BoardError, zone};
use crate::plan::problem::{Facility, Job, LoadBasis, Lock, Need, Problem, Window};
use crate::plan::solve::ladder::overtime_needed;
use chrono::NaiveDate;
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Later than any plan.
const NEVER_MS: i64 = i64::MAX / 32;
/// Around the day's shifts, in which windows are looked for.
const MARGIN_MS: i64 = 12 * 3_600_000;

/// The time planned for.
#[derive(Debug, Clone)]
pub(super) struct Horizon {
    pub zone: Tz,
    pub day: NaiveDate,
    pub now_ms: i64,
    /// The local day, half-open.
    pub from_ms: i64,
    pub to_ms: i64,
    /// What was collected since then belongs to this day's routes.
    pub history_ms: i64,
    /// Around the middle of the work that is left.
    pub middle_ms: i64,
    /// Next chance of a site that is not served.
    pub chance_ms: i64,
    /// Within which windows are looked for.
    pub open_ms: i64,
    pub shut_ms: i64,
}

/// Which day is planned: that of the earliest shift that is not over; without one, today.
pub(super) fn horizon(facts: &Facts, memo: &Memo, settings: &Settings, now_ms: i64) -> Horizon {
    let zone = facts.sites.values().find_map(|s| s.time_zone.as_deref().and_then(|z| z.parse::<Tz>().ok())).unwrap_or_else(|| settings.zone());
    let today = zone::day_of(zone, now_ms);
    let shifts = || facts.trucks.values().filter_map(|t| t.shift.as_ref().map(|s| (t, s)));
    let unfinished = |(t, s): &(&super::facts::Truck, &super::facts::Shift)| t.ended_ms.is_none() && (s.to_ms > now_ms || t.started_ms.is_some());
    let mut day = shifts().filter(unfinished).map(|(_, s)| zone::day_of(zone, s.from_ms)).min().unwrap_or(today);
    // A day that is being planned is not left for an earlier one: what is over stays over.
    if let Ok(known) = memo.day.parse::<NaiveDate>() {
        day = day.max(known.min(today));
    }
    let of_day = || shifts().map(|(_, s)| s).filter(|s| zone::day_of(zone, s.from_ms) == day);
    let (from_ms, to_ms) = zone::day_bounds(zone, day);
    let first_ms = of_day().map(|s| s.from_ms).min().unwrap_or(from_ms).min(from_ms);
    let last_ms = of_day().map(|s| s.to_ms).max().unwrap_or(to_ms);
    let work_from_ms = of_day().map(|s| s.from_ms).min().unwrap_or(from_ms).max(now_ms);
    Horizon {
        zone,
        day,
        now_ms,
        from_ms,
        to_ms,
        history_ms: first_ms.min(from_ms),
        middle_ms: work_from_ms + (last_ms - work_from_ms).max(0) / 2,
        chance_ms: last_ms.max(now_ms) + settings.next_chance_ms,
        open_ms: first_ms - MARGIN_MS,
        shut_ms: last_ms.max(now_ms) + MARGIN_MS,
    }
}

/// The problem of a board.
pub(super) struct Built {
    pub problem: Problem,
}

/// Builds the problem; what cannot be part of it is told among the facts' troubles.
pub(super) fn build(facts: &mut Facts, memo: &Memo, settings: &Settings, horizon: &Horizon, area: &str, roads: &dyn Roads) -> Result<Built, BoardError> {
    let names: BTreeSet<String> =
        facts.containers.values().flatten().map(|c| c.stream.clone()).chain(facts.trucks.values().flat_map(|t| t.streams.iter().cloned())).collect();
    let streams: BTreeMap<String, usize> = names.iter().enumerate().map(|(i, s)| (s.clone(), i)).collect();
    let mut jobs = wanted(facts, memo, settings, horizon, &streams);
    limit(facts, &mut jobs, settings.max_sites);
    let mut jobs: Vec<Job> = jobs.into_iter().map(|w| w.job).collect();
    let mut places = Places::default();
    for job in &mut jobs {
        if let Some(site) = facts.sites.get(&job.site_id) {
            job.location = places.put("site", &job.site_id, site.place);
        }
        // A site that can never be entered on this day is not forgotten: it has a window in the past, and ends as time_window.
        if job.windows.is_empty() {
            job.windows.push(Window { from_ms: horizon.open_ms - 1, to_ms: horizon.open_ms - 1 });
        }
    }
    let classes = classes(facts, &names, &streams);
    let litres = |class: &BTreeSet<usize>| jobs.iter().flat_map(|j| &j.demands).filter(|d| class.contains(&d.stream)).map(|d| d.p50.l).sum::<f64>();
    let total: f64 = classes.iter().map(litres).sum();
    // No part is smaller than a twentieth: what there is little of must still find room.
    let shares: Vec<f64> = classes.iter().map(|c| if total > 0.0 { (litres(c) / total).max(0.05) } else { 1.0 }).collect();
    let yard = Yard { area, settings, horizon, streams: &streams, classes: &classes, shares: &shares, jobs: &jobs };
    let (vehicles, depots) = fleet(facts, &memo.crews, &yard, &mut places);
    let facilities = facilities(facts, horizon, &streams, &mut places);
    previous(&mut jobs, memo);
    let locks = locks(facts, memo, &jobs, &vehicles);
    if !facts.closures.is_empty() && !roads.knows_closures() {
        facts.trouble("closure_without_network", "plan", area, None, "roads are closed, but there is no road network to drive around them: see `network`");
    }
    let travel = roads.travel(&RoadsQuery {
        places: places.list.clone(),
        closures: facts.closures.iter().map(|c| c.closure.clone()).filter(|c| c.until_ms > horizon.now_ms).collect(),
        from_ms: horizon.now_ms.max(horizon.from_ms),
        zone: horizon.zone,
        pace: facts.pace.clone(),
        speed_mps: settings.speed_mps,
        detour: settings.detour,
    })?;
    let load_basis = if settings.cautious { LoadBasis::P90 } else { LoadBasis::P50 };
    let mut problem = Problem {
        planning_area_id: area.to_owned(),
        travel: Arc::clone(&travel),
        streams: names.into_iter().collect(),
        depots,
        facilities,
        vehicles,
        jobs,
        locks,
        load_basis,
        change_cost: settings.change_minor,
    };
    overtime(facts, &mut problem)?;
    Ok(Built { problem })
}

/// The most urgent sites, by id; the others are told.
fn limit(facts: &mut Facts, jobs: &mut Vec<Wanted>, most: usize) {
    if jobs.len() <= most {
        return;
    }
    jobs.sort_by(|a, b| b.worth.total_cmp(&a.worth).then_with(|| a.job.site_id.cmp(&b.job.site_id)));
    let left = jobs.len() - most;
    jobs.truncate(most);
    jobs.sort_by(|a, b| a.job.site_id.cmp(&b.job.site_id));
    facts.trouble("too_many_sites", "plan", "", None, format!("the {left} least urgent sites are not looked at: split the planning area"));
}

/// Streams that may share a load, greedily in the order of their names.
fn classes(facts: &Facts, names: &BTreeSet<String>, streams: &BTreeMap<String, usize>) -> Vec<BTreeSet<usize>> {
    let apart = |a: &str, b: &str| facts.apart.get(a).is_some_and(|all| all.iter().any(|x| x == b));
    let mut classes: Vec<Vec<&String>> = Vec::new();
    for name in names {
        match classes.iter_mut().find(|class| class.iter().all(|other| !apart(name, other) && !apart(other, name))) {
            Some(class) => class.push(name),
            None => classes.push(vec![name]),
        }
    }
    classes.into_iter().map(|class| class.into_iter().filter_map(|n| streams.get(n)).copied().collect()).collect()
}

fn facilities(facts: &mut Facts, horizon: &Horizon, streams: &BTreeMap<String, usize>, places: &mut Places) -> Vec<Facility> {
    let mut all = Vec::new();
    for (id, facility) in facts.facilities.clone() {
        if !matches!(facility.kind.as_str(), "disposal" | "transfer" | "recycling") {
            continue;
        }
        let state = facts.facility_states.get(&id).cloned();
        let accepted = state.as_ref().map(|s| &s.streams).filter(|s| !s.is_empty()).unwrap_or(&facility.streams);
        let accepted: BTreeSet<usize> = accepted.iter().filter_map(|s| streams.get(s)).copied().collect();
        let zone = facility.time_zone.as_deref().and_then(|z| z.parse().ok()).unwrap_or(horizon.zone);
        let mut windows = zone::daily(zone, facility.hours_s, horizon.open_ms, horizon.shut_ms);
        let wait_ms = state.as_ref().map_or(0, |s| s.wait_ms);
        if let Some(s) = state.filter(|s| matches!(s.status.as_str(), "closed" | "full")) {
            let until_ms = s.until_ms.unwrap_or(horizon.to_ms);
            windows.retain(|w| w.to_ms >= until_ms);
            windows.iter_mut().for_each(|w| w.from_ms = w.from_ms.max(until_ms));
        }
        let location = places.put("facility", &id, facility.place);
        all.push(Facility { facility_id: id, location, streams: accepted, unload_ms: facility.unload_ms + wait_ms, windows });
    }
    all
}

/// Which truck had a site in the newest plan.
fn previous(jobs: &mut [Job], memo: &Memo) {
    let mut of: BTreeMap<&str, &str> = BTreeMap::new();
    for route in memo.newest().iter().flat_map(|issued| &issued.plan.routes) {
        of.extend(route.sites().map(|(_, site)| (site, route.vehicle_id.as_str())));
    }
    for job in jobs {
        job.previous_vehicle_id = of.get(job.site_id.as_str()).map(|v| (*v).to_owned());
    }
}

/// Decisions of persons that can still be kept, and the stop that a truck is on its way to.
fn locks(facts: &mut Facts, memo: &Memo, jobs: &[Job], vehicles: &[crate::plan::problem::Vehicle]) -> Vec<Lock> {
    let planned = |site: &str| jobs.iter().any(|j| j.site_id == site && j.need != Need::Excluded);
    let drives = |id: &str| vehicles.iter().any(|v| v.vehicle_id == id && !v.out_of_service);
    let mut locks: Vec<Lock> = Vec::new();
    for lock in memo.locks.iter().filter(|l| planned(&l.site_id)) {
        if drives(&lock.vehicle_id) {
            locks.push(lock.clone());
        } else {
            let words = format!("it was locked to {}, which does not drive", lock.vehicle_id);
            facts.trouble("lock_without_vehicle", "site", &lock.site_id, None, words);
        }
    }
    for truck in memo.crews.values() {
        let Some(site) = truck.next_stop_site_id.as_deref().filter(|site| planned(site)) else { continue };
        let under_way = vehicles.iter().any(|v| v.vehicle_id == truck.id && !v.out_of_service && v.under_way.is_some());
        let before = memo.newest().and_then(|i| i.plan.routes.iter().find(|r| r.vehicle_id == truck.id)).is_some_and(|r| r.sites().any(|(_, s)| s == site));
        let free = !locks.iter().any(|l| l.site_id == site || (l.vehicle_id == truck.id && l.order.is_some()));
        if under_way && before && free {
            locks.push(Lock { site_id: site.to_owned(), vehicle_id: truck.id.clone(), order: Some(0) });
        }
    }
    locks
}

/// Trucks that cannot be home in time whatever is planned get the time that they need, and it is told.
fn overtime(facts: &mut Facts, problem: &mut Problem) -> Result<(), BoardError> {
    if !problem.vehicles.iter().any(|v| v.under_way.is_some() && !v.out_of_service) {
        return Ok(());
    }
    for late in overtime_needed(problem).map_err(crate::plan::solve::ladder::PlanError::from)? {
        let Some(vehicle) = problem.vehicles.iter_mut().find(|v| v.vehicle_id == late.vehicle_id) else { continue };
        if late.ends_ms >= NEVER_MS {
            facts.trouble("cannot_go_home", "vehicle", &late.vehicle_id, None, "no open facility takes its load, or no road leads home: it is planned no more");
            vehicle.out_of_service = true;
        } else {
            let minutes = (late.ends_ms - vehicle.shift.to_ms) / 60_000 + 1;
            facts.trouble(
                "overtime",
                "vehicle",
                &late.vehicle_id,
                None,
                format!("it cannot be home before the end of its shift: about {minutes} minutes more"),
            );
            vehicle.shift.to_ms = late.ends_ms;
        }
    }
    Ok(())
}
