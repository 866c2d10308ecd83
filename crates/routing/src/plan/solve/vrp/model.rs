//! Our problem in the library's terms. Times become whole hundredths of a second from the first shift on, distances whole
//! centimetres, loads thousandths, rounded so that nothing becomes possible that is not.

use chrono::DateTime;
use vrp_pragmatic::format::Location;
use vrp_pragmatic::format::problem::{
    Fleet, Job as ApiJob, JobPlace, JobSkills, JobTask, Matrix, MatrixProfile, Objective, Plan as ApiPlan, Problem as ApiProblem, Relation, RelationType,
    ShiftEnd, ShiftStart, VehicleBreak, VehicleCosts, VehicleLimits, VehicleOptionalBreakPlace, VehicleOptionalBreakPolicy, VehicleOptionalBreakTime,
    VehicleProfile, VehicleReload, VehicleShift, VehicleType,
};

use super::super::index::Index;
use super::super::state::{ABSENT, State};
use crate::plan::problem::{Need, Vehicle, Window};

/// Jobs are named by this and their number.
pub(super) const JOB: &str = "job-";
/// Milliseconds of one of the library's seconds.
const TICK_MS: i64 = 10;
const PROFILE: &str = "truck";
/// Disposals offered for each facility of a truck; each is used once at most.
const MOST_RELOADS: usize = 6;
/// Facilities offered to a truck.
const MOST_FACILITIES: usize = 8;
/// Beyond what any truck loads, within 32 bits after scaling.
const MOST_LOAD: f64 = 2_000_000.0;

/// What is handed to the library.
pub(super) struct Model {
    pub problem: ApiProblem,
    pub matrix: Matrix,
    /// Our node of each of its locations; ends have none.
    pub nodes: Vec<usize>,
}

/// The cheapest way from a node to the truck's end through a disposal: facility, metres, milliseconds with unloading.
pub(super) fn way_home(index: &Index<'_>, truck: usize, from: usize) -> Option<(usize, f64, i64)> {
    let end = index.trucks[truck].end_node;
    let ways = (index.jobs..index.jobs + index.facilities).map(|facility| {
        let metres = index.metres(from, facility) + index.metres(facility, end);
        (facility, metres, index.drive_ms(from, facility) + index.service_ms[facility] + index.drive_ms(facility, end))
    });
    ways.filter(|(_, metres, _)| metres.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1))
}

impl Model {
    pub fn new(index: &Index<'_>, first: &State) -> Self {
        let base_ms = index.problem.vehicles.iter().map(|vehicle| vehicle.shift.from_ms).min().unwrap_or(0);
        // Only what is offered has a location, and locations are numbered without a gap.
        let offered: Vec<usize> = (0..index.jobs).filter(|job| first.truck_of[*job] != ABSENT || index.problem.jobs[*job].need == Need::Mandatory).collect();
        let trucks: Vec<usize> = (0..index.trucks.len()).filter(|truck| index.trucks[*truck].in_service && !first.lines[*truck].closed).collect();
        let mut nodes = offered.clone();
        for facility in trucks.iter().flat_map(|truck| reload_facilities(index, *truck)) {
            if !nodes.contains(&(index.jobs + facility)) {
                nodes.push(index.jobs + facility);
            }
        }
        for truck in &trucks {
            if !nodes.contains(&index.trucks[*truck].start_node) {
                nodes.push(index.trucks[*truck].start_node);
            }
        }
        // An end is a place of its own: it is reached through a disposal.
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for truck in &trucks {
            if !ends.iter().any(|(node, _)| *node == index.trucks[*truck].end_node) {
                ends.push((index.trucks[*truck].end_node, *truck));
            }
        }
        let build = Build { index, base_ms, nodes: &nodes, ends: &ends };
        let jobs: Vec<ApiJob> = offered.iter().map(|job| build.job(*job)).chain(trucks.iter().filter_map(|truck| build.initial(*truck))).collect();
        let relations: Vec<Relation> = trucks.iter().filter_map(|truck| build.relation(*truck, first)).collect();
        let problem = ApiProblem {
            plan: ApiPlan { jobs, relations: (!relations.is_empty()).then_some(relations), clustering: None },
            fleet: Fleet {
                vehicles: trucks.iter().map(|truck| build.vehicle(*truck)).collect(),
                profiles: vec![MatrixProfile { name: PROFILE.to_owned(), speed: None }],
                resources: None,
            },
            objectives: Some(vec![Objective::MinimizeUnassigned { breaks: Some(1.0) }, Objective::MinimizeCost]),
        };
        let matrix = build.matrix();
        Self { problem, matrix, nodes }
    }
}

/// Facilities offered on the way: open, emptying the whole truck, those first that most jobs have nearest.
fn reload_facilities(index: &Index<'_>, truck: usize) -> Vec<usize> {
    let empties = &index.layouts[index.trucks[truck].layout].empties;
    let open = |facility: &usize| !index.problem.facilities[*facility].windows.is_empty();
    let mut facilities: Vec<usize> = (0..index.facilities).filter(|facility| empties[*facility].iter().all(|empties| *empties) && open(facility)).collect();
    let wanted = |facility: &usize| index.near_facilities.iter().filter(|near| near.first() == Some(&(index.jobs + facility))).count();
    facilities.sort_by_key(|facility| std::cmp::Reverse(wanted(facility)));
    facilities.truncate(MOST_FACILITIES);
    facilities
}

struct Build<'a, 'p> {
    index: &'a Index<'p>,
    base_ms: i64,
    nodes: &'a [usize],
    ends: &'a [(usize, usize)],
}

impl Build<'_, '_> {
    fn place(&self, node: usize) -> Location {
        Location::Reference { index: self.nodes.iter().position(|known| *known == node).unwrap_or(0) }
    }

    fn end(&self, truck: usize) -> Location {
        let end = self.ends.iter().position(|(node, _)| *node == self.index.trucks[truck].end_node).unwrap_or(0);
        Location::Reference { index: self.nodes.len() + end }
    }

    /// A moment as text, rounded up or down to whole ticks.
    fn time(&self, ms: i64, up: bool) -> String {
        const MOST_TICKS: i64 = 40 * 365 * 86_400;
        let since_ms = (ms.saturating_sub(self.base_ms)).clamp(-86_400_000, MOST_TICKS * TICK_MS);
        let ticks = if up { -(-since_ms).div_euclid(TICK_MS) } else { since_ms.div_euclid(TICK_MS) };
        // 2000-01-03, so that a little before the base is still a valid date.
        DateTime::from_timestamp(946_857_600 + ticks, 0).unwrap_or_default().format("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    fn windows(&self, windows: &[Window]) -> Option<Vec<Vec<String>>> {
        Some(windows.iter().map(|window| vec![self.time(window.from_ms, true), self.time(window.to_ms, false)]).collect())
    }

    fn ticks(ms: i64) -> f64 {
        (ms + TICK_MS - 1).div_euclid(TICK_MS) as f64
    }

    /// Dimensions that bind: kilograms and litres of each compartment where all trucks have the same, otherwise of the whole; and the payload.
    fn capacity(&self, vehicle: &Vehicle) -> Vec<i32> {
        let scaled = |amount: f64| (amount.min(MOST_LOAD) * 1000.0 + 0.5) as i32;
        let mut dimensions = Vec::new();
        if self.by_compartment() {
            dimensions.extend(vehicle.compartments.iter().flat_map(|part| [scaled(part.capacity.kg), scaled(part.capacity.l)]));
        } else {
            dimensions.push(scaled(vehicle.compartments.iter().map(|part| part.capacity.kg).sum()));
            dimensions.push(scaled(vehicle.compartments.iter().map(|part| part.capacity.l).sum()));
        }
        dimensions.push(scaled(vehicle.payload_kg));
        dimensions
    }

    fn by_compartment(&self) -> bool {
        self.index.layouts.len() == 1 && self.index.problem.vehicles.iter().all(|vehicle| vehicle.compartments.len() <= 3)
    }

    fn demand(&self, job: usize) -> Vec<i32> {
        let scaled = |amount: f64| (amount.min(MOST_LOAD) * 1000.0).round() as i32;
        let total = self.index.collected[job];
        let mut dimensions = Vec::new();
        if self.by_compartment() {
            let width = self.index.problem.vehicles.first().map_or(0, |vehicle| vehicle.compartments.len());
            dimensions.resize(2 * width, 0);
            for part in self.index.parts(0, job) {
                dimensions[2 * part.compartment] = scaled(part.load.kg);
                dimensions[2 * part.compartment + 1] = scaled(part.load.l);
            }
        } else {
            dimensions.extend([scaled(total.kg), scaled(total.l)]);
        }
        dimensions.push(scaled(total.kg));
        dimensions
    }

    fn pickup(&self, id: String, location: Location, service_ms: i64, windows: Option<Vec<Vec<String>>>, demand: Vec<i32>) -> ApiJob {
        let place = JobPlace { location, duration: Self::ticks(service_ms), times: windows, tag: None };
        let task = JobTask { places: vec![place], demand: Some(demand), order: None };
        let (deliveries, replacements, services, skills, value, group, compatibility) = Default::default();
        ApiJob { id, pickups: Some(vec![task]), deliveries, replacements, services, skills, value, group, compatibility }
    }

    fn job(&self, job: usize) -> ApiJob {
        let details = &self.index.problem.jobs[job];
        let api = self.pickup(format!("{JOB}{job}"), self.place(job), details.service_ms, self.windows(&details.windows), self.demand(job));
        let may: Vec<usize> = (0..self.index.trucks.len()).filter(|truck| self.index.may(job, *truck)).collect();
        if may.len() == self.index.trucks.iter().filter(|truck| truck.in_service).count() {
            return api;
        }
        let one_of = if may.is_empty() { vec!["nobody".to_owned()] } else { may.iter().map(|truck| format!("truck-{truck}")).collect() };
        ApiJob { skills: Some(JobSkills { all_of: None, one_of: Some(one_of), none_of: None }), ..api }
    }

    /// What is on board at the start, as a pickup where the truck stands.
    fn initial(&self, truck: usize) -> Option<ApiJob> {
        let end = &self.index.trucks[truck];
        if !end.loaded {
            return None;
        }
        let vehicle = &self.index.problem.vehicles[truck];
        let scaled = |amount: f64| (amount.min(MOST_LOAD) * 1000.0).round() as i32;
        let sum = |streams: &mut dyn Iterator<Item = usize>| streams.fold((0.0, 0.0), |sum, stream| (sum.0 + end.load[stream].kg, sum.1 + end.load[stream].l));
        let (kg, l) = sum(&mut (0..end.load.len()));
        let mut demand = Vec::new();
        if self.by_compartment() {
            for part in &vehicle.compartments {
                let (kg, l) = sum(&mut part.streams.iter().copied());
                demand.extend([scaled(kg), scaled(l)]);
            }
        } else {
            demand.extend([scaled(kg), scaled(l)]);
        }
        demand.push(scaled(kg));
        Some(self.pickup(format!("load-{truck}"), self.place(end.start_node), 0, None, demand))
    }

    /// Initial load and locked head in their order at the departure.
    fn relation(&self, truck: usize, first: &State) -> Option<Relation> {
        let mut jobs = vec!["departure".to_owned()];
        jobs.extend(self.index.trucks[truck].loaded.then(|| format!("load-{truck}")));
        let head = self.index.trucks[truck].head.iter().filter(|job| first.truck_of[**job] == truck);
        jobs.extend(head.map(|job| format!("{JOB}{job}")));
        let vehicle_id = self.index.problem.vehicles[truck].vehicle_id.clone();
        (jobs.len() > 1).then_some(Relation { type_field: RelationType::Strict, jobs, vehicle_id, shift_index: None })
    }

    fn vehicle(&self, truck: usize) -> VehicleType {
        let (end, vehicle) = (&self.index.trucks[truck], &self.index.problem.vehicles[truck]);
        let start = ShiftStart {
            earliest: self.time(end.start_ms, true),
            latest: end.under_way.then(|| self.time(end.start_ms, true)),
            location: self.place(end.start_node),
        };
        let pause = end.pause.map(|rule| VehicleBreak::Optional {
            time: VehicleOptionalBreakTime::TimeWindow(vec![self.time(rule.earliest_ms, true), self.time(rule.latest_ms, false)]),
            places: vec![VehicleOptionalBreakPlace { duration: Self::ticks(rule.duration_ms), location: None, tag: None }],
            policy: Some(VehicleOptionalBreakPolicy::SkipIfArrivalBeforeEnd),
        });
        let sites = vehicle.day_cap.sites.saturating_sub(end.sites) as usize;
        let limits = (sites < self.index.jobs).then_some(VehicleLimits { max_distance: None, max_duration: None, tour_size: Some(sites.max(1)) });
        VehicleType {
            type_id: format!("type-{truck}"),
            vehicle_ids: vec![vehicle.vehicle_id.clone()],
            profile: VehicleProfile { matrix: PROFILE.to_owned(), scale: None },
            costs: VehicleCosts {
                fixed: Some(end.fixed),
                distance: end.per_m / 100.0,
                // Something must tell two equal distances apart, and the library refuses two zeros.
                time: (end.per_ms * TICK_MS as f64).max(1e-9),
            },
            shifts: vec![VehicleShift {
                start,
                end: Some(ShiftEnd { earliest: None, latest: self.time(end.end_by_ms, false), location: self.end(truck) }),
                breaks: pause.map(|pause| vec![pause]),
                reloads: self.reloads(truck),
                recharges: None,
            }],
            capacity: self.capacity(vehicle),
            skills: Some(vec![format!("truck-{truck}")]),
            limits,
        }
    }

    /// Disposals on the way: as many of each facility as the day may need.
    fn reloads(&self, truck: usize) -> Option<Vec<VehicleReload>> {
        let vehicle = &self.index.problem.vehicles[truck];
        let litres: f64 = vehicle.compartments.iter().map(|part| part.capacity.l.min(MOST_LOAD)).sum();
        let all: f64 = self.index.collected.iter().map(|load| load.l).sum();
        let trips = all / litres.max(1.0) / self.index.trucks.len() as f64;
        let each = (trips.ceil() as usize + 1).clamp(1, MOST_RELOADS);
        let reload = |facility: usize| {
            let details = &self.index.problem.facilities[facility];
            let location = self.place(self.index.jobs + facility);
            VehicleReload { location, duration: Self::ticks(details.unload_ms), times: self.windows(&details.windows), tag: None, resource_id: None }
        };
        let facilities = reload_facilities(self.index, truck);
        let reloads: Vec<VehicleReload> = facilities.into_iter().flat_map(|facility| std::iter::repeat_n(facility, each)).map(reload).collect();
        (!reloads.is_empty()).then_some(reloads)
    }

    fn matrix(&self) -> Matrix {
        let size = self.nodes.len() + self.ends.len();
        let (mut travel_times, mut distances, mut codes) = (Vec::with_capacity(size * size), Vec::with_capacity(size * size), Vec::with_capacity(size * size));
        for from in 0..size {
            for to in 0..size {
                let way = match (self.nodes.get(from), self.nodes.get(to)) {
                    (Some(from), Some(to)) => Some((self.index.metres(*from, *to), self.index.drive_ms(*from, *to))),
                    (Some(from), None) => {
                        let (node, truck) = self.ends[to - self.nodes.len()];
                        if self.index.is_facility(*from) {
                            Some((self.index.metres(*from, node), self.index.drive_ms(*from, node)))
                        } else {
                            way_home(self.index, truck, *from).map(|(_, metres, ms)| (metres, ms))
                        }
                    }
                    // Nothing leaves an end.
                    (None, _) => Some((0.0, 0)),
                };
                let way = way.filter(|(metres, _)| metres.is_finite());
                codes.push(i64::from(way.is_none()));
                let (metres, ms) = way.unwrap_or((0.0, 0));
                distances.push((metres * 100.0).round() as i64);
                travel_times.push(Self::ticks(ms) as i64);
            }
        }
        let error_codes = codes.contains(&1).then_some(codes);
        Matrix { profile: Some(PROFILE.to_owned()), timestamp: None, travel_times, distances, error_codes }
    }
}
