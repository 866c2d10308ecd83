//! Drives a sequence of stops as early as possible, to see whether an insertion is possible. The break is placed by
//! trying the legs one after the other, as the definition says it, rather than by the labels that a solver would use.

use super::super::problem::{Job, Load, Vehicle, Window};
use super::super::travel::Location;
use super::Ids;

/// What stands in a sequence, without times.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Site(&'a Job),
    Disposal(&'a super::super::problem::Facility),
}

impl Step<'_> {
    pub(super) fn location(&self) -> Location {
        match self {
            Self::Site(job) => job.location,
            Self::Disposal(facility) => facility.location,
        }
    }

    pub(super) fn service_ms(&self) -> i64 {
        match self {
            Self::Site(job) => job.service_ms,
            Self::Disposal(facility) => facility.unload_ms,
        }
    }

    fn windows(&self) -> &[Window] {
        match self {
            Self::Site(job) => &job.windows,
            Self::Disposal(facility) => &facility.windows,
        }
    }
}

/// Where and when a vehicle sets out, and where it must go.
pub(super) struct Ends {
    pub(super) from: Location,
    pub(super) from_ms: i64,
    pub(super) began_ms: i64,
    pub(super) to: Location,
}

impl Ends {
    pub(super) fn of(ids: &Ids<'_>, vehicle: &Vehicle) -> Self {
        let to = ids.problem.depots[vehicle.end_depot].location;
        match &vehicle.under_way {
            Some(under_way) => {
                let began_ms = under_way.served.first().map_or(under_way.time_ms, |stop| stop.leaves_ms);
                Self { from: under_way.location, from_ms: under_way.time_ms, began_ms, to }
            }
            None => {
                let from_ms = vehicle.shift.from_ms;
                Self { from: ids.problem.depots[vehicle.start_depot].location, from_ms, began_ms: from_ms, to }
            }
        }
    }
}

/// How far an attempt gets through the sieves; the later the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// Some leg has no road.
    ClosedRoad,
    /// Too much on board, too much in the day, or not empty at the end.
    Capacity,
    /// A window is missed without any break.
    TimeWindow,
    /// With the break and the shift it does not fit.
    ShiftEnd,
    /// It is possible.
    Possible,
}

/// The sieve at which `steps` end for `vehicle`.
pub(super) fn depth(ids: &Ids<'_>, vehicle: &Vehicle, steps: &[Step<'_>]) -> Depth {
    let ends = Ends::of(ids, vehicle);
    if !has_roads(ids, &ends, steps) {
        return Depth::ClosedRoad;
    }
    if !carries(ids, vehicle, steps) {
        return Depth::Capacity;
    }
    let Some(end_ms) = drive(ids, &ends, steps, None) else { return Depth::TimeWindow };
    let taken = vehicle.under_way.as_ref().is_some_and(|under_way| under_way.break_taken);
    let rule = vehicle.break_rule.filter(|rule| !taken && ends.began_ms <= rule.latest_ms);
    if rule.is_none_or(|rule| end_ms <= rule.latest_ms) {
        return if end_ms <= vehicle.shift.to_ms { Depth::Possible } else { Depth::ShiftEnd };
    }
    let possible = (0..=steps.len()).rev().any(|leg| {
        let end_ms = rule.and_then(|rule| drive(ids, &ends, steps, Some((leg, rule))));
        end_ms.is_some_and(|end_ms| end_ms <= vehicle.shift.to_ms)
    });
    if possible { Depth::Possible } else { Depth::ShiftEnd }
}

fn has_roads(ids: &Ids<'_>, ends: &Ends, steps: &[Step<'_>]) -> bool {
    let mut at = ends.from;
    for to in steps.iter().map(Step::location).chain([ends.to]) {
        if ids.problem.travel.distance_m(at, to).is_none() {
            return false;
        }
        at = to;
    }
    true
}

fn carries(ids: &Ids<'_>, vehicle: &Vehicle, steps: &[Step<'_>]) -> bool {
    const SLACK: f64 = 1e-6;
    let under_way = vehicle.under_way.as_ref();
    let mut load = under_way.map_or_else(|| vec![Load::default(); ids.problem.streams.len()], |under_way| under_way.load.clone());
    let mut day = under_way.map_or_else(Load::default, |under_way| under_way.collected);
    let mut sites = under_way.map_or(0, |under_way| under_way.collected_sites);
    for step in steps {
        match step {
            Step::Disposal(facility) => facility.streams.iter().for_each(|stream| load[*stream] = Load::default()),
            Step::Site(job) => {
                sites += 1;
                for demand in &job.demands {
                    let more = demand.load(ids.problem.load_basis);
                    load[demand.stream] = Load { kg: load[demand.stream].kg + more.kg, l: load[demand.stream].l + more.l };
                    day = Load { kg: day.kg + more.kg, l: day.l + more.l };
                }
                let fits = vehicle.compartments.iter().all(|part| {
                    let kg: f64 = part.streams.iter().map(|stream| load[*stream].kg).sum();
                    let l: f64 = part.streams.iter().map(|stream| load[*stream].l).sum();
                    kg <= part.capacity.kg + SLACK && l <= part.capacity.l + SLACK
                });
                if !fits || load.iter().map(|load| load.kg).sum::<f64>() > vehicle.payload_kg + SLACK {
                    return false;
                }
            }
        }
    }
    let cap = &vehicle.day_cap;
    let within = day.kg <= cap.load.kg + SLACK && day.l <= cap.load.l + SLACK && sites <= cap.sites;
    within && load.iter().all(|load| load.kg <= SLACK && load.l <= SLACK)
}

/// When the end is reached, with the break on the given leg; `None` if a window is missed or the break cannot be there.
fn drive(ids: &Ids<'_>, ends: &Ends, steps: &[Step<'_>], pause: Option<(usize, super::super::problem::BreakRule)>) -> Option<i64> {
    let mut at = ends.from;
    let mut now_ms = ends.from_ms.max(trip_bound(steps, 0));
    for (leg, to) in steps.iter().map(Step::location).chain([ends.to]).enumerate() {
        let mut arrives_ms = now_ms + ids.problem.travel.duration_ms(at, to, now_ms)?;
        if let Some((_, rule)) = pause.filter(|(of, _)| *of == leg) {
            if now_ms > rule.latest_ms {
                return None;
            }
            arrives_ms = arrives_ms.max(rule.earliest_ms) + rule.duration_ms;
        }
        at = to;
        now_ms = arrives_ms;
        let Some(step) = steps.get(leg) else { break };
        let begins_ms = step.windows().iter().filter(|window| window.to_ms >= arrives_ms).map(|window| window.from_ms.max(arrives_ms)).min()?;
        now_ms = begins_ms + step.service_ms();
        if let Step::Disposal(_) = step {
            now_ms = now_ms.max(trip_bound(steps, leg + 1));
        }
    }
    Some(now_ms)
}

/// The earliest beginning of the trip whose first stop is `from`.
fn trip_bound(steps: &[Step<'_>], from: usize) -> i64 {
    let trip = steps[from..].iter().take_while(|step| matches!(step, Step::Site(_)));
    trip.map(|step| if let Step::Site(job) = step { job.trip_not_before_ms } else { i64::MIN }).max().unwrap_or(i64::MIN)
}
