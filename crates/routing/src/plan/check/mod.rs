//! The independent checker: accepts a plan for a problem, or says precisely what is violated. It is written from
//! `problem`'s and `answer`'s definitions and shares no code with any solver, not even a helper, so that a mistake in a
//! solver's idea of a schedule cannot hide in it.
//!
//! * `drive` walks each route as stated and verifies every time, load and place;
//! * `totals` verifies that each job is accounted for once, locks, sums and costs;
//! * `skips` tries every insertion of every job left out and verifies the stated reason;
//! * `fleet` looks across the plans of several areas.

mod drive;
mod fleet;
mod redrive;
mod skips;
#[cfg(test)]
mod tests_mutation;
#[cfg(test)]
mod tests_reasons;
mod totals;

use std::collections::BTreeMap;
use std::fmt;

use super::answer::{Plan, Route};
use super::problem::{Facility, Job, Problem, Vehicle};

pub use fleet::{FleetConflict, check_fleet};

/// The rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An id that the problem does not have.
    UnknownId,
    /// A vehicle has two routes.
    VehicleTwice,
    /// The plan or the vehicle is of another area.
    WrongArea,
    /// A vehicle under way has no route.
    RouteMissing,
    /// What was served does not stand first, unchanged.
    HistoryChanged,
    /// A vehicle out of service goes on driving.
    OutOfService,
    /// The route does not begin at the start depot, or before the shift.
    Start,
    /// The route does not end at the end depot.
    End,
    /// The end is after the shift's end.
    ShiftEnd,
    /// A depot in the middle of a route.
    DepotInside,
    /// The stop is not where its site or facility is.
    Place,
    /// No road leads there.
    ClosedRoad,
    /// Arrival earlier than the drive allows.
    TooFast,
    /// Service is cut short, or begins before the arrival.
    ServiceTime,
    /// Service begins outside every window.
    TimeWindow,
    /// A trip begins before what it needs is ready.
    TripTooEarly,
    /// The break is due and not taken.
    BreakMissing,
    /// The break begins outside its window, has another length, or there is no rule for one.
    BreakWrong,
    /// A second break.
    BreakTwice,
    /// No compartment takes a stream of the site.
    Stream,
    /// A compartment or the payload is exceeded.
    Capacity,
    /// The stated load is not what was collected.
    LoadStated,
    /// The truck ends loaded.
    EndsLoaded,
    /// The day's cap is exceeded.
    DayCap,
    /// A skill is lacking.
    Skill,
    /// A site is served twice, skipped twice, or both.
    JobTwice,
    /// A site is neither served nor skipped.
    JobMissing,
    /// A site is served that a decision excludes.
    Excluded,
    /// A locked site is with another vehicle, or not in its order.
    Lock,
    /// The reason of a site left out does not hold.
    Reason,
    /// A stated distance, time or cost is not the sum of its parts.
    Totals,
}

/// One thing that is wrong with a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The vehicle whose route it is in.
    pub vehicle_id: Option<String>,
    /// Place of the stop in the route, from 0.
    pub stop: Option<usize>,
    /// The site concerned.
    pub site_id: Option<String>,
    /// What was found, and what had to be.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.rule)?;
        if let Some(vehicle) = &self.vehicle_id {
            write!(f, " vehicle {vehicle}")?;
        }
        if let Some(stop) = self.stop {
            write!(f, " stop {stop}")?;
        }
        if let Some(site) = &self.site_id {
            write!(f, " site {site}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// What is looked up by id.
struct Ids<'a> {
    problem: &'a Problem,
    jobs: BTreeMap<&'a str, &'a Job>,
    vehicles: BTreeMap<&'a str, &'a Vehicle>,
    facilities: BTreeMap<&'a str, &'a Facility>,
    locks: BTreeMap<&'a str, &'a super::problem::Lock>,
}

impl<'a> Ids<'a> {
    fn new(problem: &'a Problem) -> Self {
        Self {
            problem,
            jobs: problem.jobs.iter().map(|job| (job.site_id.as_str(), job)).collect(),
            vehicles: problem.vehicles.iter().map(|vehicle| (vehicle.vehicle_id.as_str(), vehicle)).collect(),
            facilities: problem.facilities.iter().map(|facility| (facility.facility_id.as_str(), facility)).collect(),
            locks: problem.locks.iter().map(|lock| (lock.site_id.as_str(), lock)).collect(),
        }
    }
}

/// What is wrong so far, with a hand to add to it.
#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn plan(&mut self, rule: Rule, detail: impl Into<String>) {
        self.0.push(Violation { rule, vehicle_id: None, stop: None, site_id: None, detail: detail.into() });
    }

    fn site(&mut self, rule: Rule, site_id: &str, detail: impl Into<String>) {
        self.0.push(Violation { rule, vehicle_id: None, stop: None, site_id: Some(site_id.to_owned()), detail: detail.into() });
    }

    fn route(&mut self, rule: Rule, route: &Route, detail: impl Into<String>) {
        self.0.push(Violation { rule, vehicle_id: Some(route.vehicle_id.clone()), stop: None, site_id: None, detail: detail.into() });
    }

    fn stop(&mut self, rule: Rule, route: &Route, stop: usize, detail: impl Into<String>) {
        let site_id = route.stops.get(stop).and_then(|stop| stop.site_id()).map(str::to_owned);
        self.0.push(Violation { rule, vehicle_id: Some(route.vehicle_id.clone()), stop: Some(stop), site_id, detail: detail.into() });
    }
}

/// Everything that is wrong with `plan` as an answer to `problem`; empty when it is accepted. Reasons of sites left out
/// are looked at only if the routes are sound: an insertion into an unsound route means nothing.
pub fn check(problem: &Problem, plan: &Plan) -> Vec<Violation> {
    let ids = Ids::new(problem);
    let mut found = Found::default();
    if plan.planning_area_id != problem.planning_area_id {
        found.plan(Rule::WrongArea, format!("the plan is for {}, the problem for {}", plan.planning_area_id, problem.planning_area_id));
    }
    for route in &plan.routes {
        drive::check_route(&ids, route, &mut found);
    }
    totals::check_totals(&ids, plan, &mut found);
    if found.0.is_empty() {
        skips::check_skips(&ids, plan, &mut found);
    }
    found.0
}
