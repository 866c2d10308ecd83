//! A plan: the answer to a problem. Ids instead of indices, since a plan outlives the problem it answers.

use serde::{Deserialize, Serialize};

use super::problem::{Load, ServiceReason};
use super::travel::Location;

/// What is done at a stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// A site is collected.
    Site {
        /// Which.
        site_id: String,
    },
    /// The truck unloads.
    Disposal {
        /// Where.
        facility_id: String,
    },
    /// The break.
    Lunch,
    /// The route's start or end.
    Depot {
        /// Which.
        depot_id: String,
    },
}

/// One stop of a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// What is done.
    pub kind: StopKind,
    /// Where; none for a break, which is taken wherever the truck is.
    pub location: Option<Location>,
    /// Arrival, UTC.
    pub arrives_ms: i64,
    /// Departure, UTC. Service at a site ends with it: it began `service_ms` before.
    pub leaves_ms: i64,
    /// Load of each stream when leaving.
    pub load: Vec<Load>,
    /// Whether a decision keeps it where it is.
    pub locked: bool,
    /// Why a site is served.
    pub reason: Option<ServiceReason>,
}

impl Stop {
    /// The site collected here, if it is one.
    pub fn site_id(&self) -> Option<&str> {
        match &self.kind {
            StopKind::Site { site_id } => Some(site_id),
            _ => None,
        }
    }
}

/// What one vehicle does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The vehicle.
    pub vehicle_id: String,
    /// Stops in the order driven: history, then from the start depot to the end depot.
    pub stops: Vec<Stop>,
    /// Metres, history included.
    pub distance_m: f64,
}

impl Route {
    /// When it begins.
    pub fn starts_ms(&self) -> Option<i64> {
        self.stops.first().map(|stop| stop.leaves_ms)
    }

    /// When it ends.
    pub fn ends_ms(&self) -> Option<i64> {
        self.stops.last().map(|stop| stop.arrives_ms)
    }

    /// The sites in the order collected, with their place among all stops.
    pub fn sites(&self) -> impl Iterator<Item = (usize, &str)> {
        self.stops.iter().enumerate().filter_map(|(place, stop)| Some((place, stop.site_id()?)))
    }
}

/// Why a job is left out. An *insertion* of a job into a plan puts its stop between two stops of a route that are not
/// history (or makes the route of an unused vehicle: start, stop, end), never before a site that is locked with an
/// order, alone or with a disposal directly before it, or one directly after it, or, for a job of several streams, two
/// directly after it. The break is put anew and the route driven as early as possible; the rest stays in its order. The
/// *cost of an insertion* is the fixed cost of a vehicle unused so far, plus added kilometres, plus the hours of added
/// driving and service (waiting and break aside; drives timed as if begun when the vehicle sets out), plus `change_cost` if the vehicle is not the one before.
///
/// Insertions are sieved in the order of the variants below from `Skill` on. The reason is the sieve through which none passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// A person decided so.
    Decision,
    /// No vehicle in service may take it: skills, streams, area or lock.
    Skill,
    /// No road leads to it, or away from it to where the truck must go.
    ClosedRoad,
    /// A compartment, the payload or a day's cap would be exceeded, or the truck would end loaded.
    Capacity,
    /// A window would be missed, of the site, of another one, or of a facility, even if there were no break and the
    /// shift had no end; or a trip could not begin in time for it.
    TimeWindow,
    /// With the break, where it is due, a window or the shift's end would be missed.
    ShiftEnd,
    /// It can be inserted, but costs at least its prize.
    NotNeeded,
}

impl SkipReason {
    /// The code in `route.plan`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Skill => "skill",
            Self::ClosedRoad => "closed_road",
            Self::Capacity => "capacity",
            Self::TimeWindow => "time_window",
            Self::ShiftEnd => "shift_end",
            Self::NotNeeded => "not_needed",
        }
    }
}

/// A job left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// The job.
    pub site_id: String,
    /// Why; the checker confirms it.
    pub reason: SkipReason,
    /// What its insertion would cost at least, where one is possible.
    pub insertion_cost: Option<f64>,
    /// Probability of an overflow before the next chance.
    pub p_overflow: Option<f64>,
}

/// The routes of a planning area.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The area.
    pub planning_area_id: String,
    /// One for each vehicle used, at most one per vehicle.
    pub routes: Vec<Route>,
    /// Every other job, with the reason.
    pub skipped: Vec<Skipped>,
    /// Cost as the problem defines it.
    pub cost: f64,
    /// Metres of all routes.
    pub distance_m: f64,
    /// Time from start to end of all routes.
    pub duration_ms: i64,
}
