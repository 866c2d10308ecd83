//! A small day for tests: sites on a plane, two depots, two facilities, trucks of two kinds, seven hours.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::answer::Plan;
use super::check::check;
use super::problem::{
    BreakRule, Compartment, Costs, DayCap, Demand, Depot, Facility, Job, Load, LoadBasis, Lock, Need, Problem, ServiceReason, Vehicle, Window,
};
use super::solve::{Budget, RuinRecreate, Solver};
use super::travel::{Location, Metric, Plane};

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const MINUTE_MS: i64 = 60_000;
/// Locations before the sites: two depots, two facilities.
pub(crate) const FIRST_SITE: u32 = 4;
pub(crate) const REFUSE: usize = 0;
pub(crate) const GLASS: usize = 1;

pub(crate) fn hours(from: i64, to: i64) -> Window {
    Window { from_ms: from * HOUR_MS, to_ms: to * HOUR_MS }
}

pub(crate) fn job(number: usize, kg: f64) -> Job {
    Job {
        site_id: format!("s{number}"),
        container_ids: vec![format!("c{number}")],
        location: FIRST_SITE + number as u32,
        demands: vec![Demand { stream: REFUSE, p50: Load { kg, l: kg * 8.0 }, p90: Load { kg: kg * 1.3, l: kg * 10.0 } }],
        service_ms: 4 * MINUTE_MS,
        windows: vec![hours(0, 24)],
        need: Need::Mandatory,
        skills: BTreeSet::new(),
        trip_not_before_ms: i64::MIN,
        previous_vehicle_id: None,
        reason: ServiceReason::Scheduled,
        p_overflow: None,
    }
}

pub(crate) fn truck(id: &str, kg: f64) -> Vehicle {
    Vehicle {
        vehicle_id: id.to_owned(),
        shift_id: Some(format!("{id}-early")),
        planning_area_ids: BTreeSet::from(["north".to_owned()]),
        start_depot: 0,
        end_depot: 0,
        shift: hours(6, 15),
        compartments: vec![Compartment { streams: BTreeSet::from([REFUSE, GLASS]), capacity: Load { kg, l: kg * 10.0 } }],
        payload_kg: kg,
        day_cap: DayCap { load: Load { kg: 20_000.0, l: 200_000.0 }, sites: 100 },
        break_rule: Some(BreakRule { earliest_ms: 10 * HOUR_MS, latest_ms: 12 * HOUR_MS, duration_ms: HOUR_MS / 2 }),
        costs: Costs { fixed: 5_000.0, per_km: 100.0, per_hour: 3_000.0 },
        skills: BTreeSet::from(["rear".to_owned()]),
        under_way: None,
        out_of_service: false,
    }
}

/// Depots, facilities, trucks; no jobs. The plane is 20 km wide, driven at 10 m/s.
pub(crate) fn empty(points_m: &[(f64, f64)], vehicles: Vec<Vehicle>) -> Problem {
    let mut points = vec![(0.0, 0.0), (1_000.0, 0.0), (10_000.0, 2_000.0), (3_000.0, 12_000.0)];
    points.extend_from_slice(points_m);
    let facility = |id: &str, location: Location, streams: &[usize]| Facility {
        facility_id: id.to_owned(),
        location,
        streams: streams.iter().copied().collect(),
        unload_ms: 15 * MINUTE_MS,
        windows: vec![hours(6, 16)],
    };
    Problem {
        planning_area_id: "north".to_owned(),
        travel: Arc::new(Plane::new(points, Metric::Manhattan, 10.0)),
        streams: vec!["refuse".to_owned(), "glass".to_owned()],
        depots: vec![Depot { depot_id: "d0".to_owned(), location: 0 }, Depot { depot_id: "d1".to_owned(), location: 1 }],
        facilities: vec![facility("f0", 2, &[REFUSE, GLASS]), facility("f1", 3, &[REFUSE, GLASS])],
        vehicles,
        jobs: Vec::new(),
        locks: Vec::new(),
        load_basis: LoadBasis::P50,
        change_cost: 200.0,
    }
}

/// A day with something of everything: windows, skills, two streams, optional jobs, a lock, several trips.
pub(crate) fn day(seed: u64, sites: usize) -> Problem {
    let mut rng = SmallRng::seed_from_u64(seed);
    let points: Vec<(f64, f64)> = (0..sites).map(|_| (rng.random_range(0.0..15_000.0), rng.random_range(0.0..15_000.0))).collect();
    let mut vehicles: Vec<Vehicle> = (0..4).map(|number| truck(&format!("v{number}"), 3_000.0)).collect();
    vehicles[1].skills.insert("crane".to_owned());
    vehicles[2].start_depot = 1;
    vehicles[2].end_depot = 0;
    vehicles[3].compartments = vec![
        Compartment { streams: BTreeSet::from([REFUSE]), capacity: Load { kg: 2_000.0, l: 20_000.0 } },
        Compartment { streams: BTreeSet::from([GLASS]), capacity: Load { kg: 1_500.0, l: 15_000.0 } },
    ];
    let mut problem = empty(&points, vehicles);
    for number in 0..sites {
        let mut job = job(number, rng.random_range(50.0..400.0));
        job.service_ms = 12 * MINUTE_MS;
        match number % 10 {
            0 => job.windows = vec![hours(6, 9), hours(13, 15)],
            1 => job.skills = BTreeSet::from(["crane".to_owned()]),
            2 => {
                let p50 = Load { kg: 60.0, l: 300.0 };
                job.demands.push(Demand { stream: GLASS, p50, p90: p50 });
            }
            3..=5 => job.need = Need::Optional { prize: rng.random_range(20.0..1_500.0) },
            _ => {}
        }
        problem.jobs.push(job);
    }
    if sites > 8 {
        problem.locks.push(Lock { site_id: "s7".to_owned(), vehicle_id: "v2".to_owned(), order: None });
        problem.locks.push(Lock { site_id: "s8".to_owned(), vehicle_id: "v0".to_owned(), order: Some(1) });
        problem.locks.push(Lock { site_id: "s6".to_owned(), vehicle_id: "v0".to_owned(), order: Some(2) });
    }
    problem
}

/// An accepted plan for `problem`.
pub(crate) fn solved(problem: &Problem, iterations: u64) -> Plan {
    let solved = RuinRecreate::default().solve(problem, &Budget::iterations(iterations), 7, None).unwrap();
    let found = check(problem, &solved.plan);
    assert!(found.is_empty(), "{}", found.iter().map(|violation| format!("{violation}\n")).collect::<String>());
    solved.plan
}
