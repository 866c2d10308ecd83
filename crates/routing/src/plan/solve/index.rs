//! A problem compiled for search: ids become numbers, travel becomes a table, and what a vehicle may take is known
//! beforehand. Nodes are numbered jobs first, then facilities, then the places where vehicles start and end.

use std::collections::BTreeMap;

use super::super::problem::{BreakRule, Load, Need, Problem, Vehicle, Window};
use super::SolveError;

/// Beyond every time of a plan, yet far from overflow.
pub(super) const NEVER_MS: i64 = i64::MAX / 8;
/// More nodes would need more memory for the tables than a solver should take (24 bytes for each pair).
pub const MAX_NODES: usize = 2_000;

/// What a job puts into one compartment of a vehicle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub compartment: usize,
    pub load: Load,
}

/// Vehicles that have the same streams in the same compartments share the parts of all jobs.
#[derive(Debug)]
pub(super) struct Layout {
    /// For each job.
    pub parts: Vec<Vec<Part>>,
    /// For each facility, whether it empties each compartment wholly.
    pub empties: Vec<Vec<bool>>,
}

/// A vehicle as the search sees it.
#[derive(Debug)]
pub(super) struct Truck {
    pub start_node: usize,
    pub end_node: usize,
    pub start_ms: i64,
    /// When the route began: earlier than `start_ms` for a vehicle under way.
    pub began_ms: i64,
    pub end_by_ms: i64,
    /// The break, if it may still be due.
    pub pause: Option<BreakRule>,
    pub layout: usize,
    /// Load of each stream at the start.
    pub load: Vec<Load>,
    pub loaded: bool,
    pub per_m: f64,
    pub per_ms: f64,
    pub fixed: f64,
    /// Whether a route is due even without jobs.
    pub under_way: bool,
    pub driven_m: f64,
    pub collected: Load,
    pub sites: u32,
    /// Vehicles of one class are interchangeable while unused.
    pub class: usize,
    pub in_service: bool,
    /// Jobs that must come first, in order.
    pub head: Vec<usize>,
}

/// The compiled problem.
#[derive(Debug)]
pub(super) struct Index<'p> {
    pub problem: &'p Problem,
    pub jobs: usize,
    pub facilities: usize,
    pub nodes: usize,
    /// Location of each node.
    pub location: Vec<u32>,
    distance_m: Vec<f64>,
    duration_ms: Vec<i32>,
    /// The same by column, so that all ways *to* a node stand together.
    distance_to_m: Vec<f64>,
    duration_to_ms: Vec<i32>,
    pub service_ms: Vec<i64>,
    pub windows: Vec<&'p [Window]>,
    pub layouts: Vec<Layout>,
    pub trucks: Vec<Truck>,
    /// `may[job * trucks + truck]`.
    may: Vec<bool>,
    /// What it costs to leave a job out: its prize, or more than any detour.
    pub penalty: Vec<f64>,
    /// Jobs in the problem that may be served at all.
    pub open: Vec<usize>,
    pub previous: Vec<Option<usize>>,
    /// Order of jobs that are locked to the head of a route.
    pub order: Vec<Option<u32>>,
    pub collected: Vec<Load>,
    pub release_ms: Vec<i64>,
    pub has_release: bool,
    pub is_static: bool,
    /// Facilities by the length of the way from each job, the nearest first.
    pub near_facilities: Vec<Vec<usize>>,
    /// Jobs by the length of the way from each job, the nearest first.
    pub near_jobs: Vec<Vec<u32>>,
}

/// Neighbours kept for each job.
const NEIGHBOURS: usize = 200;

impl<'p> Index<'p> {
    pub fn new(problem: &'p Problem) -> Result<Self, SolveError> {
        let (jobs, facilities) = (problem.jobs.len(), problem.facilities.len());
        let mut location: Vec<u32> = problem.jobs.iter().map(|job| job.location).chain(problem.facilities.iter().map(|facility| facility.location)).collect();
        let mut terminals: BTreeMap<u32, usize> = BTreeMap::new();
        let mut terminal = |at: u32, location: &mut Vec<u32>| {
            *terminals.entry(at).or_insert_with(|| {
                location.push(at);
                location.len() - 1
            })
        };
        let mut ends = Vec::new();
        for vehicle in &problem.vehicles {
            let from = vehicle.under_way.as_ref().map_or(problem.depots[vehicle.start_depot].location, |under_way| under_way.location);
            ends.push((terminal(from, &mut location), terminal(problem.depots[vehicle.end_depot].location, &mut location)));
        }
        let nodes = location.len();
        if nodes > MAX_NODES {
            return Err(SolveError::TooLarge { nodes, limit: MAX_NODES });
        }
        let (distance_m, duration_ms) = tables(problem, &location);
        let service = problem.jobs.iter().map(|job| job.service_ms).chain(problem.facilities.iter().map(|facility| facility.unload_ms));
        let windows = problem.jobs.iter().map(|job| job.windows.as_slice()).chain(problem.facilities.iter().map(|facility| facility.windows.as_slice()));
        let mut index = Self {
            problem,
            jobs,
            facilities,
            nodes,
            service_ms: service.chain(std::iter::repeat_n(0, nodes - jobs - facilities)).collect(),
            windows: windows.chain(std::iter::repeat_n(&[][..], nodes - jobs - facilities)).collect(),
            location,
            distance_to_m: transposed(&distance_m, nodes),
            duration_to_ms: transposed(&duration_ms, nodes),
            distance_m,
            duration_ms,
            layouts: Vec::new(),
            trucks: Vec::new(),
            may: Vec::new(),
            penalty: vec![0.0; jobs],
            open: (0..jobs).filter(|job| problem.jobs[*job].need != Need::Excluded).collect(),
            previous: previous(problem),
            order: orders(problem),
            collected: problem.jobs.iter().map(|job| total(job.demands.iter().map(|demand| demand.load(problem.load_basis)))).collect(),
            release_ms: problem.jobs.iter().map(|job| job.trip_not_before_ms).collect(),
            has_release: problem.jobs.iter().any(|job| job.trip_not_before_ms > i64::MIN),
            is_static: problem.travel.is_static(),
            near_facilities: Vec::new(),
            near_jobs: Vec::new(),
        };
        index.add_trucks(&ends);
        index.may = index.who_may();
        index.near_facilities = (0..jobs).map(|job| index.nearest(job, jobs..jobs + facilities, facilities)).collect();
        let near = |job| index.nearest(job, 0..jobs, NEIGHBOURS).into_iter().map(|job| job as u32).collect();
        index.near_jobs = (0..jobs).map(near).collect();
        index.set_penalties();
        Ok(index)
    }

    /// Metres from node to node; infinite without a road.
    #[inline]
    pub fn metres(&self, from: usize, to: usize) -> f64 {
        self.distance_m[from * self.nodes + to]
    }

    /// Milliseconds from node to node at the reference time; exact where travel is static.
    #[inline]
    pub fn drive_ms(&self, from: usize, to: usize) -> i64 {
        i64::from(self.duration_ms[from * self.nodes + to])
    }

    /// Metres and milliseconds from `node` to all, and from all to `node`.
    #[inline]
    pub fn around(&self, node: usize) -> [(&[f64], &[i32]); 2] {
        let row = node * self.nodes..(node + 1) * self.nodes;
        [(&self.distance_m[row.clone()], &self.duration_ms[row.clone()]), (&self.distance_to_m[row.clone()], &self.duration_to_ms[row])]
    }

    /// Milliseconds from node to node for who leaves then.
    #[inline]
    pub fn drive_at_ms(&self, from: usize, to: usize, depart_ms: i64) -> i64 {
        if self.is_static || depart_ms >= NEVER_MS {
            return self.drive_ms(from, to);
        }
        self.problem.travel.duration_ms(self.location[from], self.location[to], depart_ms).unwrap_or(i64::from(i32::MAX))
    }

    #[inline]
    pub fn may(&self, job: usize, truck: usize) -> bool {
        self.may[job * self.trucks.len() + truck]
    }

    #[inline]
    pub fn parts(&self, truck: usize, job: usize) -> &[Part] {
        &self.layouts[self.trucks[truck].layout].parts[job]
    }

    #[inline]
    pub fn is_facility(&self, node: usize) -> bool {
        node >= self.jobs && node < self.jobs + self.facilities
    }

    /// When service begins for who arrives then; `NEVER_MS` after the last window.
    #[inline]
    pub fn begin_ms(&self, node: usize, arrives_ms: i64) -> i64 {
        for window in self.windows[node] {
            if arrives_ms <= window.to_ms {
                return arrives_ms.max(window.from_ms);
            }
        }
        NEVER_MS
    }

    /// The latest beginning of service that is not after `bound_ms`; `-NEVER_MS` if there is none.
    #[inline]
    pub fn latest_begin_ms(&self, node: usize, bound_ms: i64) -> i64 {
        for window in self.windows[node].iter().rev() {
            if window.from_ms <= bound_ms {
                return bound_ms.min(window.to_ms);
            }
        }
        -NEVER_MS
    }

    /// What it costs that `job` is not with the truck it had before.
    #[inline]
    pub fn change_cost(&self, job: usize, truck: usize) -> f64 {
        match self.previous[job] {
            Some(previous) if previous != truck => self.problem.change_cost,
            _ => 0.0,
        }
    }

    /// `limit` nodes of `range` by the length of the way from `node`, other than itself.
    fn nearest(&self, node: usize, range: std::ops::Range<usize>, limit: usize) -> Vec<usize> {
        let mut all: Vec<usize> = range.filter(|other| *other != node).collect();
        let key = |other: &usize| self.metres(node, *other) + self.metres(*other, node);
        all.sort_by(|a, b| key(a).total_cmp(&key(b)).then(a.cmp(b)));
        all.truncate(limit);
        all
    }

    fn add_trucks(&mut self, ends: &[(usize, usize)]) {
        let problem = self.problem;
        let mut layouts: Vec<(Vec<&std::collections::BTreeSet<usize>>, usize)> = Vec::new();
        for (number, vehicle) in problem.vehicles.iter().enumerate() {
            let streams: Vec<_> = vehicle.compartments.iter().map(|part| &part.streams).collect();
            let layout = layouts.iter().find(|(known, _)| *known == streams).map(|(_, layout)| *layout);
            let layout = layout.unwrap_or_else(|| {
                self.layouts.push(layout_of(problem, vehicle));
                layouts.push((streams, self.layouts.len() - 1));
                self.layouts.len() - 1
            });
            self.trucks.push(truck(problem, vehicle, ends[number], layout));
            let same = (0..number).find(|other| interchangeable(problem, &problem.vehicles[*other], vehicle));
            self.trucks[number].class = same.map_or(number, |other| self.trucks[other].class);
        }
        for (number, vehicle) in problem.vehicles.iter().enumerate() {
            let mut head: Vec<(u32, usize)> = Vec::new();
            for lock in problem.locks.iter().filter(|lock| lock.vehicle_id == vehicle.vehicle_id) {
                if let Some((order, job)) = lock.order.zip(problem.jobs.iter().position(|job| job.site_id == lock.site_id)) {
                    head.push((order, job));
                }
            }
            head.sort_unstable();
            self.trucks[number].head = head.into_iter().map(|(_, job)| job).collect();
        }
    }

    fn who_may(&self) -> Vec<bool> {
        let problem = self.problem;
        let locks: BTreeMap<&str, &str> = problem.locks.iter().map(|lock| (lock.site_id.as_str(), lock.vehicle_id.as_str())).collect();
        let mut may = Vec::with_capacity(self.jobs * self.trucks.len());
        for job in &problem.jobs {
            for (truck, vehicle) in self.trucks.iter().zip(&problem.vehicles) {
                let streams = job.demands.iter().all(|demand| vehicle.compartments.iter().any(|part| part.streams.contains(&demand.stream)));
                let locked = locks.get(job.site_id.as_str()).is_none_or(|to| *to == vehicle.vehicle_id);
                may.push(truck.in_service && streams && locked && job.need != Need::Excluded && job.skills.is_subset(&vehicle.skills));
            }
        }
        may
    }

    /// Leaving a mandatory job out costs more than all prizes, and ten times the dearest way to serve a job with a truck
    /// of its own.
    fn set_penalties(&mut self) {
        let prizes = self.problem.jobs.iter().map(|job| if let Need::Optional { prize } = job.need { prize } else { 0.0 });
        let prizes: f64 = prizes.sum();
        let mut dearest: f64 = 1.0;
        for truck in self.trucks.iter().filter(|truck| truck.in_service) {
            for job in 0..self.jobs {
                let facility = self.near_facilities[job].first().copied().unwrap_or(job);
                let metres = self.metres(truck.start_node, job) + self.metres(job, facility) + self.metres(facility, truck.end_node);
                let drive_ms = self.drive_ms(truck.start_node, job) + self.drive_ms(job, facility) + self.drive_ms(facility, truck.end_node);
                if metres.is_finite() {
                    dearest = dearest.max(truck.fixed + truck.per_m * metres + truck.per_ms * drive_ms as f64);
                }
            }
        }
        for (job, penalty) in self.penalty.iter_mut().enumerate() {
            *penalty = match self.problem.jobs[job].need {
                Need::Mandatory => 10.0 * (dearest + self.problem.change_cost) + prizes,
                Need::Optional { prize } => prize,
                Need::Excluded => 0.0,
            };
        }
    }
}

fn transposed<T: Copy>(table: &[T], size: usize) -> Vec<T> {
    (0..size).flat_map(|column| (0..size).map(move |row| table[row * size + column])).collect()
}

fn total(loads: impl Iterator<Item = Load>) -> Load {
    loads.fold(Load::default(), |sum, load| Load { kg: sum.kg + load.kg, l: sum.l + load.l })
}

/// Tables over all nodes. Times that change by the hour are taken at the middle of the shifts.
fn tables(problem: &Problem, location: &[u32]) -> (Vec<f64>, Vec<i32>) {
    let first_ms = problem.vehicles.iter().map(|vehicle| vehicle.shift.from_ms).min().unwrap_or(0);
    let last_ms = problem.vehicles.iter().map(|vehicle| vehicle.shift.to_ms).max().unwrap_or(0);
    let reference_ms = first_ms + (last_ms - first_ms) / 2;
    let mut distance_m = Vec::with_capacity(location.len() * location.len());
    let mut duration_ms = Vec::with_capacity(location.len() * location.len());
    for from in location {
        for to in location {
            let road = problem.travel.distance_m(*from, *to).zip(problem.travel.duration_ms(*from, *to, reference_ms));
            distance_m.push(road.map_or(f64::INFINITY, |(metres, _)| metres));
            duration_ms.push(road.map_or(i32::MAX / 4, |(_, ms)| i32::try_from(ms).unwrap_or(i32::MAX / 4)));
        }
    }
    (distance_m, duration_ms)
}

fn layout_of(problem: &Problem, vehicle: &Vehicle) -> Layout {
    let compartment = |stream: usize| vehicle.compartments.iter().position(|part| part.streams.contains(&stream));
    let parts = problem.jobs.iter().map(|job| {
        let mut parts: Vec<Part> = Vec::new();
        for demand in &job.demands {
            let load = demand.load(problem.load_basis);
            let Some(compartment) = compartment(demand.stream) else { continue };
            match parts.iter_mut().find(|part| part.compartment == compartment) {
                Some(part) => part.load = Load { kg: part.load.kg + load.kg, l: part.load.l + load.l },
                None => parts.push(Part { compartment, load }),
            }
        }
        parts
    });
    let empties = problem.facilities.iter().map(|facility| vehicle.compartments.iter().map(|part| part.streams.is_subset(&facility.streams)).collect());
    Layout { parts: parts.collect(), empties: empties.collect() }
}

fn truck(problem: &Problem, vehicle: &Vehicle, (start_node, end_node): (usize, usize), layout: usize) -> Truck {
    let under_way = vehicle.under_way.as_ref();
    let start_ms = under_way.map_or(vehicle.shift.from_ms, |under_way| under_way.time_ms);
    let began_ms = under_way.and_then(|under_way| under_way.served.first()).map_or(start_ms, |stop| stop.leaves_ms);
    let taken = under_way.is_some_and(|under_way| under_way.break_taken);
    let load = under_way.map_or_else(|| vec![Load::default(); problem.streams.len()], |under_way| under_way.load.clone());
    Truck {
        start_node,
        end_node,
        start_ms,
        began_ms,
        end_by_ms: vehicle.shift.to_ms,
        pause: vehicle.break_rule.filter(|rule| !taken && began_ms <= rule.latest_ms),
        layout,
        loaded: load.iter().any(|load| load.kg > 0.0 || load.l > 0.0),
        load,
        per_m: vehicle.costs.per_km / 1000.0,
        per_ms: vehicle.costs.per_hour / 3_600_000.0,
        fixed: vehicle.costs.fixed,
        under_way: under_way.is_some(),
        driven_m: under_way.map_or(0.0, |under_way| under_way.driven_m),
        collected: under_way.map_or_else(Load::default, |under_way| under_way.collected),
        sites: under_way.map_or(0, |under_way| under_way.collected_sites),
        class: 0,
        in_service: !vehicle.out_of_service && vehicle.planning_area_ids.contains(&problem.planning_area_id),
        head: Vec::new(),
    }
}

/// Whether two vehicles that have not left can stand for one another.
fn interchangeable(problem: &Problem, a: &Vehicle, b: &Vehicle) -> bool {
    let locked = |vehicle: &Vehicle| problem.locks.iter().any(|lock| lock.vehicle_id == vehicle.vehicle_id);
    let fresh = a.under_way.is_none() && b.under_way.is_none() && a.out_of_service == b.out_of_service;
    let same = a.start_depot == b.start_depot && a.end_depot == b.end_depot && a.shift == b.shift && a.compartments == b.compartments;
    let bounds = a.payload_kg == b.payload_kg && a.day_cap == b.day_cap && a.break_rule == b.break_rule && a.costs == b.costs;
    fresh && same && bounds && a.skills == b.skills && a.planning_area_ids == b.planning_area_ids && !locked(a) && !locked(b)
}

fn previous(problem: &Problem) -> Vec<Option<usize>> {
    let vehicles: BTreeMap<&str, usize> = problem.vehicles.iter().enumerate().map(|(number, vehicle)| (vehicle.vehicle_id.as_str(), number)).collect();
    // A vehicle that is not in the problem any more counts as another one, whoever takes the job.
    let number = |id: &str| vehicles.get(id).copied().unwrap_or(usize::MAX);
    problem.jobs.iter().map(|job| job.previous_vehicle_id.as_deref().map(number)).collect()
}

fn orders(problem: &Problem) -> Vec<Option<u32>> {
    let orders: BTreeMap<&str, Option<u32>> = problem.locks.iter().map(|lock| (lock.site_id.as_str(), lock.order)).collect();
    problem.jobs.iter().map(|job| orders.get(job.site_id.as_str()).copied().flatten()).collect()
}
