//! The planning problem of one planning area and one day: what there is to collect, with which trucks, and what has
//! already happened. These definitions are what the checker is written from; the solver is written from them as well, and
//! from nothing that the checker contains.
//!
//! All times are UTC milliseconds, windows are closed (`from_ms ..= to_ms`), loads are kilograms and litres, costs are in
//! the minor unit of one currency.
//!
//! # A route
//! A vehicle leaves its start depot within its shift (or goes on from where it is), collects *sites*, unloads at
//! *disposal* facilities, takes its *break*, and ends at its end depot within its shift, empty.
//!
//! * **Time.** It arrives at a stop no earlier than it left the one before plus the drive, asked for at that departure.
//!   Service begins no earlier than the arrival, within one of the stop's windows, and takes exactly the service time;
//!   then it leaves a site at once; at a disposal it may stay.
//! * **Load.** At a site the load of each stream grows by the job's demand in the problem's [`LoadBasis`]. A disposal
//!   empties every stream that the facility accepts. After each stop the load of each compartment is within its kilograms and
//!   litres, and the whole within the payload. At the end depot every stream is empty.
//! * **Break.** Due iff the route begins at or before `latest_ms` and ends after it, and the break was not taken before. It
//!   is a stop of its own between two others, begins within `earliest_ms ..= latest_ms`, lasts exactly its duration, may
//!   interrupt a drive (the arrival after it is then later by the duration) and is taken at most once. Nothing else happens in it.
//! * **Trips.** A trip begins with the departure from the start or from a disposal. It may not begin before
//!   `trip_not_before_ms` of any job collected in it (an exchange container is ready at the depot then).
//! * **Day.** Kilograms, litres and sites collected in the day, history included, are within the vehicle's [`DayCap`].
//!
//! # History and decisions
//! What a vehicle under way has served stands first in its route, unchanged. A [`Lock`] keeps a job with a vehicle, and,
//! where it has an order, among the first sites that vehicle visits from now on. A vehicle out of service keeps its
//! history and drives no more; its load is not this plan's concern.
//!
//! # Cost
//! Per route: fixed cost if it has any stop, plus kilometres, plus hours from its start to its end. Plus `change_cost` for each served
//! job whose vehicle is not the one it had in the plan before. Plus the prize of each optional job left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer::Stop;
use super::travel::{Location, Travel};

/// A closed span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First moment.
    pub from_ms: i64,
    /// Last moment.
    pub to_ms: i64,
}

/// Kilograms and litres of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Kilograms.
    pub kg: f64,
    /// Litres.
    pub l: f64,
}

/// What a job is expected to yield of one waste stream, all its containers together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Index into [`Problem::streams`].
    pub stream: usize,
    /// As likely more as less.
    pub p50: Load,
    /// More in one case of ten.
    pub p90: Load,
}

/// Which demand a plan must be able to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadBasis {
    /// The median: a truck may come to be full early.
    P50,
    /// The cautious figure for each job.
    P90,
}

/// Whether a job must be done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Need {
    /// It must be, if any vehicle can.
    Mandatory,
    /// It is worth `prize`: probability of an overflow before the next chance, times what an overflow costs.
    Optional {
        /// In the minor unit of the currency.
        prize: f64,
    },
    /// A person decided that it is not collected in this plan.
    Excluded,
}

/// Why a site is on the list; carried into the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceReason {
    /// Its schedule asks for it.
    Scheduled,
    /// It may overflow before the next chance.
    OverflowRisk,
    /// A customer asked.
    Ticket,
    /// The truck passes by anyway.
    Nearby,
}

/// A site to be collected: one stop, however many containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Stable id, unique among jobs.
    pub site_id: String,
    /// Containers to empty; passed through.
    pub container_ids: Vec<String>,
    /// Where.
    pub location: Location,
    /// One entry for each stream, none twice.
    pub demands: Vec<Demand>,
    /// Time at the site.
    pub service_ms: i64,
    /// When service may begin; never empty, in order, not overlapping.
    pub windows: Vec<Window>,
    /// Whether it must be done.
    pub need: Need,
    /// Skills a vehicle must have (rear loader, narrow, crane).
    pub skills: BTreeSet<String>,
    /// The trip that collects it may not begin earlier; `i64::MIN` for no bound.
    pub trip_not_before_ms: i64,
    /// Vehicle in the plan before, if there was one.
    pub previous_vehicle_id: Option<String>,
    /// Why it is on the list.
    pub reason: ServiceReason,
    /// Probability of an overflow before the next chance, where a forecast says so.
    pub p_overflow: Option<f64>,
}

/// A place where trucks are parked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Depot {
    /// Stable id, unique among depots.
    pub depot_id: String,
    /// Where.
    pub location: Location,
}

/// A place where trucks unload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facility {
    /// Stable id, unique among facilities.
    pub facility_id: String,
    /// Where.
    pub location: Location,
    /// Streams it takes.
    pub streams: BTreeSet<usize>,
    /// Time to unload.
    pub unload_ms: i64,
    /// When unloading may begin; none while it is closed or full.
    pub windows: Vec<Window>,
}

/// A part of a truck.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compartment {
    /// Streams that may go in; a stream is in one compartment of a vehicle at most.
    pub streams: BTreeSet<usize>,
    /// Bounds.
    pub capacity: Load,
}

/// A break of a given length that begins within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakRule {
    /// It begins not before.
    pub earliest_ms: i64,
    /// It begins not after.
    pub latest_ms: i64,
    /// How long.
    pub duration_ms: i64,
}

/// What a vehicle costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// For being used at all.
    pub fixed: f64,
    /// For a kilometre.
    pub per_km: f64,
    /// For an hour between start and end.
    pub per_hour: f64,
}

/// What a vehicle may collect in a day, history included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DayCap {
    /// Kilograms and litres over all streams.
    pub load: Load,
    /// Sites.
    pub sites: u32,
}

impl Default for DayCap {
    fn default() -> Self {
        Self { load: Load { kg: f64::MAX, l: f64::MAX }, sites: u32::MAX }
    }
}

/// Where a vehicle stands in the middle of a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Where it is, or where the leg ends that it is on.
    pub location: Location,
    /// When it can go on from there.
    pub time_ms: i64,
    /// Load of each stream by then, in the order of [`Problem::streams`].
    pub load: Vec<Load>,
    /// What it has done, as driven, from its depot on: kept as the head of its route, which began when the first of
    /// them was left. Never empty.
    pub served: Vec<Stop>,
    /// Driven so far.
    pub driven_m: f64,
    /// Whether the break is behind it.
    pub break_taken: bool,
    /// Collected today so far, over all streams.
    pub collected: Load,
    /// Sites collected today so far.
    pub collected_sites: u32,
}

/// A truck with its shift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vehicle {
    /// Stable id, unique among vehicles.
    pub vehicle_id: String,
    /// Shift that drives it.
    pub shift_id: Option<String>,
    /// Planning areas that may plan it.
    pub planning_area_ids: BTreeSet<String>,
    /// Index of the depot where it starts.
    pub start_depot: usize,
    /// Index of the depot where it ends.
    pub end_depot: usize,
    /// It leaves the start depot not before, and is at the end depot not after.
    pub shift: Window,
    /// Its parts.
    pub compartments: Vec<Compartment>,
    /// Kilograms over all compartments.
    pub payload_kg: f64,
    /// Bounds of the day.
    pub day_cap: DayCap,
    /// Its break.
    pub break_rule: Option<BreakRule>,
    /// Its costs.
    pub costs: Costs,
    /// What it can do.
    pub skills: BTreeSet<String>,
    /// Set once it has left.
    pub under_way: Option<UnderWay>,
    /// Broken down or withdrawn: it drives no more.
    pub out_of_service: bool,
}

/// A decision that keeps a job with a vehicle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The job.
    pub site_id: String,
    /// The vehicle.
    pub vehicle_id: String,
    /// With an order, it is one of the first sites from now on: all such jobs of the vehicle come before its other
    /// sites, by rising order. Without one, anywhere in the route.
    pub order: Option<u32>,
}

/// What is to be planned.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The area; a plan is keyed by it.
    pub planning_area_id: String,
    /// Distances and times.
    pub travel: Arc<dyn Travel>,
    /// Names of the waste streams; elsewhere their index is used.
    pub streams: Vec<String>,
    /// Where trucks are parked.
    pub depots: Vec<Depot>,
    /// Where they unload.
    pub facilities: Vec<Facility>,
    /// The trucks.
    pub vehicles: Vec<Vehicle>,
    /// The sites that are not yet collected.
    pub jobs: Vec<Job>,
    /// Decisions to keep.
    pub locks: Vec<Lock>,
    /// Which demand counts.
    pub load_basis: LoadBasis,
    /// For each served job that changes its vehicle.
    pub change_cost: f64,
}

impl Demand {
    /// What counts under `basis`.
    pub fn load(&self, basis: LoadBasis) -> Load {
        match basis {
            LoadBasis::P50 => self.p50,
            LoadBasis::P90 => self.p90,
        }
    }
}
