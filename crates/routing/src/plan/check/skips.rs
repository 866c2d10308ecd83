//! Verifies why each site was left out, by trying every insertion that `answer::SkipReason` defines.

use super::super::answer::{Plan, SkipReason, Skipped, StopKind};
use super::super::problem::{Facility, Job, Need, Vehicle};
use super::redrive::{Depth, Ends, Step, depth};
use super::{Found, Ids, Rule};

/// A route as a sequence, and from which place on something may be put in.
struct Sequence<'a> {
    vehicle: &'a Vehicle,
    steps: Vec<Step<'a>>,
    free_from: usize,
    used: bool,
}

pub(super) fn check_skips(ids: &Ids<'_>, plan: &Plan, found: &mut Found) {
    let sequences: Vec<Sequence<'_>> =
        ids.problem.vehicles.iter().filter(|vehicle| !vehicle.out_of_service).map(|vehicle| sequence(ids, plan, vehicle)).collect();
    for skip in &plan.skipped {
        let Some(job) = ids.jobs.get(skip.site_id.as_str()) else { continue };
        let (reason, cost) = reason(ids, &sequences, job);
        judge(job, skip, reason, cost, found);
    }
}

fn judge(job: &Job, skip: &Skipped, reason: Option<SkipReason>, cost: f64, found: &mut Found) {
    let what = match (reason, job.need) {
        (None, Need::Optional { prize }) if cost < prize - 1e-6 * prize.abs() => format!("it can be inserted for {cost}, which is below its prize of {prize}"),
        (None, Need::Mandatory) => format!("it is mandatory and can be inserted for {cost}"),
        (None, _) if skip.reason == SkipReason::NotNeeded => return stated(skip, cost, found),
        (Some(reason), _) if skip.reason == reason => return,
        (None, _) => "an insertion is possible and costs at least its prize: not_needed".to_owned(),
        (Some(reason), _) => format!("the insertions end at {}", reason.code()),
    };
    found.site(Rule::Reason, &skip.site_id, format!("{} stated; {what}", skip.reason.code()));
}

/// The stated cost of the cheapest insertion.
fn stated(skip: &Skipped, cost: f64, found: &mut Found) {
    if skip.insertion_cost.is_some_and(|stated| (stated - cost).abs() > 0.01 + cost.abs() * 1e-6) {
        found.site(Rule::Reason, &skip.site_id, format!("the cheapest insertion costs {cost}, stated {:?}", skip.insertion_cost));
    }
}

/// The sequence of `vehicle` from now on.
fn sequence<'a>(ids: &Ids<'a>, plan: &Plan, vehicle: &'a Vehicle) -> Sequence<'a> {
    let route = plan.routes.iter().find(|route| route.vehicle_id == vehicle.vehicle_id);
    let history = vehicle.under_way.as_ref().map_or(0, |under_way| under_way.served.len());
    let mut steps: Vec<Step<'a>> = Vec::new();
    let mut free_from = 0;
    for stop in route.iter().flat_map(|route| route.stops.iter().skip(history)) {
        match &stop.kind {
            StopKind::Site { site_id } => {
                let Some(job) = ids.jobs.get(site_id.as_str()) else { continue };
                steps.push(Step::Site(job));
                if ids.locks.get(site_id.as_str()).is_some_and(|lock| lock.order.is_some()) {
                    free_from = steps.len();
                }
            }
            StopKind::Disposal { facility_id } => {
                let Some(facility) = ids.facilities.get(facility_id.as_str()) else { continue };
                steps.push(Step::Disposal(facility));
            }
            StopKind::Lunch | StopKind::Depot { .. } => {}
        }
    }
    Sequence { vehicle, steps, free_from, used: route.is_some() }
}

/// The reason why `job` cannot be inserted, or `None` and what the cheapest insertion costs.
fn reason(ids: &Ids<'_>, sequences: &[Sequence<'_>], job: &Job) -> (Option<SkipReason>, f64) {
    if job.need == Need::Excluded {
        return (Some(SkipReason::Decision), 0.0);
    }
    let mut deepest: Option<Depth> = None;
    let mut cheapest = f64::INFINITY;
    let order = ids.locks.get(job.site_id.as_str()).and_then(|lock| lock.order);
    for sequence in sequences.iter().filter(|sequence| may_take(ids, sequence.vehicle, job)) {
        // A site that is locked with an order has its place among the others of its kind.
        let places = match order {
            None => sequence.free_from..=sequence.steps.len(),
            Some(order) => {
                let (from, to) = ordered_places(ids, sequence, order);
                from..=to
            }
        };
        for place in places {
            for (before, after) in companions(ids, job) {
                let Some(cost) = cost(ids, sequence, job, place, before, &after) else {
                    deepest = deepest.max(Some(Depth::ClosedRoad));
                    continue;
                };
                if deepest == Some(Depth::Possible) && cost >= cheapest {
                    continue;
                }
                let mut steps = sequence.steps[..place].to_vec();
                steps.extend(before.map(Step::Disposal));
                steps.push(Step::Site(job));
                steps.extend(after.iter().map(|facility| Step::Disposal(facility)));
                steps.extend_from_slice(&sequence.steps[place..]);
                let reached = depth(ids, sequence.vehicle, &steps);
                deepest = deepest.max(Some(reached));
                if reached == Depth::Possible {
                    cheapest = cheapest.min(cost);
                }
            }
        }
    }
    let reason = match deepest {
        None => Some(SkipReason::Skill),
        Some(Depth::ClosedRoad) => Some(SkipReason::ClosedRoad),
        Some(Depth::Capacity) => Some(SkipReason::Capacity),
        Some(Depth::TimeWindow) => Some(SkipReason::TimeWindow),
        Some(Depth::ShiftEnd) => Some(SkipReason::ShiftEnd),
        Some(Depth::Possible) => None,
    };
    (reason, cheapest)
}

/// Between which places a site with `order` may be put: after the last with a lower order, up to the first that must follow it.
fn ordered_places(ids: &Ids<'_>, sequence: &Sequence<'_>, order: u32) -> (usize, usize) {
    let rank = |step: &Step<'_>| match step {
        Step::Site(job) => Some(ids.locks.get(job.site_id.as_str()).and_then(|lock| lock.order).map_or(u64::MAX, u64::from)),
        Step::Disposal(_) => None,
    };
    let order = u64::from(order);
    let from = sequence.steps.iter().rposition(|step| rank(step).is_some_and(|rank| rank < order)).map_or(0, |place| place + 1);
    let to = sequence.steps.iter().position(|step| rank(step).is_some_and(|rank| rank > order)).unwrap_or(sequence.steps.len());
    (from, to)
}

fn may_take(ids: &Ids<'_>, vehicle: &Vehicle, job: &Job) -> bool {
    let here = vehicle.planning_area_ids.contains(&ids.problem.planning_area_id);
    let skilled = job.skills.is_subset(&vehicle.skills);
    let streams = job.demands.iter().all(|demand| vehicle.compartments.iter().any(|part| part.streams.contains(&demand.stream)));
    let locked = ids.locks.get(job.site_id.as_str()).is_none_or(|lock| lock.vehicle_id == vehicle.vehicle_id);
    here && skilled && streams && locked
}

/// Disposals that may come with the site: none, one before, one after, or two after if it has several streams.
fn companions<'a>(ids: &Ids<'a>, job: &Job) -> Vec<(Option<&'a Facility>, Vec<&'a Facility>)> {
    let facilities: &'a [Facility] = &ids.problem.facilities;
    let mut all = vec![(None, Vec::new())];
    for facility in facilities {
        all.push((Some(facility), Vec::new()));
        all.push((None, vec![facility]));
        if job.demands.len() > 1 {
            all.extend(facilities.iter().map(|second| (None, vec![facility, second])));
        }
    }
    all
}

/// What the insertion costs, `None` where a leg of it has no road.
fn cost(ids: &Ids<'_>, sequence: &Sequence<'_>, job: &Job, place: usize, before: Option<&Facility>, after: &[&Facility]) -> Option<f64> {
    let ends = Ends::of(ids, sequence.vehicle);
    let travel = &ids.problem.travel;
    let from = if place == 0 { ends.from } else { sequence.steps[place - 1].location() };
    let to = sequence.steps.get(place).map_or(ends.to, Step::location);
    let stops = before.iter().map(|facility| (facility.location, facility.unload_ms)).chain([(job.location, job.service_ms)]);
    let stops = stops.chain(after.iter().map(|facility| (facility.location, facility.unload_ms)));
    // Drives are timed as if all began with the shift, or now: the cost of an insertion is not to hang on its schedule.
    let leg = |from, to| Some((travel.distance_m(from, to)?, travel.duration_ms(from, to, ends.from_ms)?));
    let (mut at, mut metres, mut work_ms) = (from, 0.0, 0);
    for (location, service_ms) in stops {
        let (leg_m, leg_ms) = leg(at, location)?;
        (at, metres, work_ms) = (location, metres + leg_m, work_ms + leg_ms + service_ms);
    }
    let (last_m, last_ms) = leg(at, to)?;
    (metres, work_ms) = (metres + last_m, work_ms + last_ms);
    if sequence.used {
        let (old_m, old_ms) = leg(from, to)?;
        (metres, work_ms) = (metres - old_m, work_ms - old_ms);
    }
    let costs = sequence.vehicle.costs;
    let fixed = if sequence.used { 0.0 } else { costs.fixed };
    let changes = job.previous_vehicle_id.as_deref().is_some_and(|before| before != sequence.vehicle.vehicle_id);
    let change = if changes { ids.problem.change_cost } else { 0.0 };
    Some(fixed + change + costs.per_km * metres / 1000.0 + costs.per_hour * work_ms as f64 / 3_600_000.0)
}
