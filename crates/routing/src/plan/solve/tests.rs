//! What solvers owe: accepted plans on days with something of everything, honesty where a day cannot be done, respect for
//! time, history and locks, and the same plan from the same seed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::ladder::{PlanError, Rung, overtime_needed, plan_checked};
use super::vrp::VrpPragmatic;
use super::{Budget, RuinRecreate, SolveError, Solved, Solver};
use crate::plan::answer::{Plan, SkipReason, StopKind};
use crate::plan::check::{Rule, check};
use crate::plan::diff::{Cause, Causes, ChangeKind, ChangeReason, diff};
use crate::plan::problem::{Compartment, Load, LoadBasis, Lock, Need, Problem};
use crate::plan::replan::at_moment;
use crate::plan::testkit::{FIRST_SITE, GLASS, HOUR_MS, MINUTE_MS, REFUSE, day, empty, hours, job, solved, truck};
use crate::plan::travel::{ByHour, Table};

fn accepted(problem: &Problem, plan: &Plan) {
    let found = check(problem, plan);
    assert!(found.is_empty(), "{}", found.iter().map(|violation| format!("{violation}\n")).collect::<String>());
}

#[test]
fn plans_of_mixed_days_are_accepted() {
    // More by hand: WS_PLAN_SEEDS=500 cargo test -p ws-routing mixed_days
    let seeds = std::env::var("WS_PLAN_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        let mut problem = day(seed, 30 + 10 * (seed as usize % 4));
        if seed % 2 == 1 {
            problem.load_basis = LoadBasis::P90;
        }
        let plan = solved(&problem, 150);
        let served: usize = plan.routes.iter().map(|route| route.sites().count()).sum();
        assert_eq!(served + plan.skipped.len(), problem.jobs.len());
        assert!(plan.skipped.iter().all(|skip| skip.reason == SkipReason::NotNeeded), "seed {seed}: all mandatory ones fit");
        // The rest of the same day from any moment on, with a truck less.
        let mut rest = at_moment(&problem, &plan, 6 * HOUR_MS + (seed as i64 * 37 % 400) * MINUTE_MS);
        let down = seed as usize % rest.vehicles.len();
        rest.vehicles[down].out_of_service = true;
        if overtime_needed(&rest).unwrap().is_empty() {
            let answer = RuinRecreate::repair().solve(&rest, &Budget::iterations(40), seed, Some(&plan)).unwrap();
            accepted(&rest, &answer.plan);
        }
    }
}

#[test]
fn the_library_behind_the_trait_is_accepted_too() {
    for seed in 0..3 {
        let problem = day(seed, 40);
        let solved = VrpPragmatic.solve(&problem, &Budget::iterations(60), seed, None).unwrap();
        accepted(&problem, &solved.plan);
        let rest = at_moment(&problem, &solved.plan, 9 * HOUR_MS);
        let later = VrpPragmatic.solve(&rest, &Budget::iterations(60), seed, Some(&solved.plan)).unwrap();
        accepted(&rest, &later.plan);
    }
    // More facilities than are offered to it.
    let mut many = day(0, 30);
    let first = many.facilities[0].clone();
    for number in 2..14 {
        many.facilities.push(crate::plan::problem::Facility { facility_id: format!("f{number}"), location: number % 4, ..first.clone() });
    }
    let solved = VrpPragmatic.solve(&many, &Budget::iterations(20), 1, None).unwrap();
    accepted(&many, &solved.plan);
    assert!(solved.iterations > 0);
}

#[test]
fn the_same_seed_and_iterations_make_the_same_plan() {
    let problem = day(5, 60);
    let run = |seed| RuinRecreate::default().solve(&problem, &Budget::iterations(400), seed, None).unwrap();
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).plan, run(4).plan);
}

#[test]
fn the_search_is_better_than_its_first_insertion() {
    let problem = day(2, 80);
    let cost = |iterations| RuinRecreate::default().solve(&problem, &Budget::iterations(iterations), 1, None).unwrap().plan.cost;
    let (first, long) = (cost(0), cost(3_000));
    assert!(long < first * 0.99, "{first} by insertion, {long} after the search");
}

#[test]
fn two_trucks_too_few_and_the_plan_says_what_is_dropped_and_why() {
    let points: Vec<(f64, f64)> = (0..40).map(|number| (500.0 * f64::from(number % 8) + 4_000.0, 900.0 * f64::from(number / 8))).collect();
    let mut problem = empty(&points, vec![truck("v0", 1_500.0)]);
    problem.jobs = (0..40).map(|number| job(number, 250.0)).collect();
    for job in problem.jobs.iter_mut().step_by(2) {
        job.need = Need::Optional { prize: 50_000.0 };
    }
    problem.vehicles[0].day_cap.load.kg = 5_000.0;
    let short = RuinRecreate::default().solve(&problem, &Budget::iterations(300), 1, None).unwrap().plan;
    accepted(&problem, &short);
    // Twenty of 250 kg are what the cap allows: the mandatory ones, and nothing of the optional ones.
    assert_eq!(short.routes[0].sites().count(), 20);
    assert_eq!(short.skipped.len(), 20);
    assert!(short.skipped.iter().all(|skip| skip.reason == SkipReason::Capacity));
    let optional: BTreeSet<&str> = problem.jobs.iter().step_by(2).map(|job| job.site_id.as_str()).collect();
    assert!(short.skipped.iter().all(|skip| optional.contains(skip.site_id.as_str())), "mandatory ones come first");

    problem.vehicles[0].day_cap.load.kg = 1e9;
    problem.vehicles[0].shift.to_ms = problem.vehicles[0].shift.from_ms + 2 * HOUR_MS;
    let hurried = RuinRecreate::default().solve(&problem, &Budget::iterations(300), 1, None).unwrap().plan;
    accepted(&problem, &hurried);
    assert!(hurried.skipped.len() > 10 && hurried.skipped.iter().all(|skip| skip.reason == SkipReason::ShiftEnd));

    problem.vehicles.push(truck("v1", 1_500.0));
    problem.vehicles.push(truck("v2", 1_500.0));
    problem.vehicles[0] = truck("v0", 1_500.0);
    let enough = solved(&problem, 300);
    assert!(enough.skipped.is_empty());
}

#[test]
fn locks_and_history_stay_through_a_day_of_repairs() {
    for seed in 0..4 {
        let mut problem = day(seed, 60);
        let mut plan = solved(&problem, 200);
        for hour in 7..14 {
            let rest = at_moment(&problem, &plan, hour * HOUR_MS);
            let mut changed = rest.clone();
            for job in changed.jobs.iter_mut().skip(hour as usize % 3).step_by(9) {
                job.demands[0].p50.kg *= 1.2;
            }
            if overtime_needed(&changed).unwrap().is_empty() {
                let answer = RuinRecreate::repair().solve(&changed, &Budget::iterations(60), seed, Some(&plan)).unwrap();
                accepted(&changed, &answer.plan);
                plan = answer.plan;
                problem = changed;
            }
        }
        let vehicle_of = |site: &str| plan.routes.iter().find(|route| route.sites().any(|(_, found)| found == site)).map(|route| route.vehicle_id.clone());
        assert_eq!(vehicle_of("s7").as_deref(), Some("v2"), "seed {seed}");
        let head = plan.routes.iter().find(|route| route.vehicle_id == "v0").unwrap();
        assert_eq!(head.sites().take(2).map(|(_, site)| site).collect::<Vec<_>>(), vec!["s8", "s6"], "seed {seed}");
    }
}

#[test]
fn a_truck_breaks_down_and_its_sites_go_to_others() {
    let problem = day(1, 60);
    let plan = solved(&problem, 300);
    let mut rest = at_moment(&problem, &plan, 8 * HOUR_MS);
    let down =
        rest.vehicles.iter().position(|vehicle| vehicle.under_way.is_some() && !rest.locks.iter().any(|lock| lock.vehicle_id == vehicle.vehicle_id)).unwrap();
    rest.vehicles[down].out_of_service = true;
    let id = rest.vehicles[down].vehicle_id.clone();
    let answer = RuinRecreate::repair().solve(&rest, &Budget::iterations(100), 1, Some(&plan)).unwrap();
    accepted(&rest, &answer.plan);
    let causes = Causes { vehicles: [(id.clone(), Cause { event_id: Some("e1".to_owned()), reason: ChangeReason::VehicleDown })].into(), ..Causes::default() };
    let changes = diff(&plan, &answer.plan, &causes);
    let moved: Vec<_> =
        changes.changes.iter().filter(|change| change.kind == ChangeKind::VehicleChanged && change.previous_vehicle_id.as_deref() == Some(&id)).collect();
    assert!(!moved.is_empty() && moved.iter().all(|change| change.cause.reason == ChangeReason::VehicleDown && change.cause.event_id.is_some()));
    assert!(changes.share_changed() > 0.0);
}

#[test]
fn nothing_changes_where_nothing_happened() {
    let problem = day(3, 60);
    let plan = solved(&problem, 3_000);
    let mut rest = at_moment(&problem, &plan, 8 * HOUR_MS);
    rest.change_cost = 1e5;
    let answer = RuinRecreate::repair().solve(&rest, &Budget::iterations(0), 1, Some(&plan)).unwrap();
    accepted(&rest, &answer.plan);
    let changes = diff(&plan, &answer.plan, &Causes::default());
    assert_eq!(changes.share_changed(), 0.0, "{:?}", changes.changes);
    assert!(diff(&plan, &plan, &Causes::default()).changes.is_empty());
}

#[test]
fn changing_trucks_is_avoided_as_far_as_it_is_worth() {
    let problem = day(4, 80);
    let plan = solved(&problem, 50);
    let mut rest = at_moment(&problem, &plan, 7 * HOUR_MS);
    let changed = |rest: &Problem| {
        let answer = RuinRecreate::default().solve(rest, &Budget::iterations(1_500), 1, Some(&plan)).unwrap();
        accepted(rest, &answer.plan);
        diff(&plan, &answer.plan, &Causes::default()).vehicle_changed
    };
    rest.change_cost = 0.0;
    let free = changed(&rest);
    rest.change_cost = 1e6;
    assert!(free > 0 && changed(&rest) == 0, "{free} changes where they are free");
}

#[test]
fn compartments_and_streams_are_kept_apart() {
    let mut two = truck("v0", 2_000.0);
    two.compartments = vec![
        Compartment { streams: BTreeSet::from([REFUSE]), capacity: Load { kg: 1_000.0, l: 1e6 } },
        Compartment { streams: BTreeSet::from([GLASS]), capacity: Load { kg: 300.0, l: 1e6 } },
    ];
    let points: Vec<(f64, f64)> = (0..6).map(|number| (4_000.0 + 800.0 * f64::from(number), 1_000.0)).collect();
    let mut problem = empty(&points, vec![two]);
    problem.facilities[0].streams = BTreeSet::from([REFUSE]);
    problem.facilities[1].streams = BTreeSet::from([GLASS]);
    problem.jobs = (0..6).map(|number| job(number, 100.0)).collect();
    for job in &mut problem.jobs {
        let mut glass = job.demands[0];
        glass.stream = GLASS;
        job.demands.push(glass);
    }
    let plan = solved(&problem, 200);
    assert!(plan.skipped.is_empty());
    let disposals = |id: &str| plan.routes[0].stops.iter().filter(|stop| matches!(&stop.kind, StopKind::Disposal { facility_id } if facility_id == id)).count();
    // 600 kg of glass into 300: twice; refuse fits at once.
    assert_eq!((disposals("f0"), disposals("f1")), (1, 2));
}

#[test]
fn traffic_by_the_hour_is_planned_for() {
    let mut problem = day(6, 40);
    let size = problem.travel.locations() as u32;
    let pairs = || (0..size).flat_map(|from| (0..size).map(move |to| (from, to)));
    let metres = pairs().map(|(from, to)| problem.travel.distance_m(from, to).unwrap()).collect();
    let times = pairs().map(|(from, to)| problem.travel.duration_ms(from, to, 0).unwrap()).collect();
    let mut factor = [1.0; 24];
    factor[7] = 2.5;
    factor[8] = 3.0;
    problem.travel = Arc::new(ByHour::new(Table::new(size as usize, metres, times).unwrap(), factor, 0).unwrap());
    let plan = solved(&problem, 200);
    assert!(!plan.routes.is_empty());
    let rest = at_moment(&problem, &plan, 9 * HOUR_MS);
    let answer = RuinRecreate::repair().solve(&rest, &Budget::iterations(50), 1, Some(&plan)).unwrap();
    accepted(&rest, &answer.plan);
}

/// A solver that goes on until its time is over, on a clock of the test's.
struct Slow<'a> {
    clock: &'a AtomicI64,
    answer: Option<Plan>,
}

impl Solver for Slow<'_> {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn solve(&self, problem: &Problem, budget: &Budget<'_>, seed: u64, warm_start: Option<&Plan>) -> Result<Solved, SolveError> {
        while !budget.is_over() {
            self.clock.fetch_add(100, Ordering::Relaxed);
        }
        match &self.answer {
            Some(plan) => Ok(Solved { plan: plan.clone(), iterations: 1, stopped: true }),
            None => RuinRecreate::default().solve(problem, budget, seed, warm_start),
        }
    }
}

#[test]
fn a_solver_beyond_its_time_is_stopped_and_there_is_a_plan() {
    let problem = day(0, 40);
    let now_ms = AtomicI64::new(0);
    let clock = || now_ms.load(Ordering::Relaxed);
    let budget = Budget::time(10_000, &clock);
    // It answers with what it has: the repaired plan it was given, which is accepted.
    let in_time = plan_checked(&problem, &Slow { clock: &now_ms, answer: None }, &budget, 1, None).unwrap();
    assert!(in_time.stopped && (10_000..10_200).contains(&now_ms.load(Ordering::Relaxed)));
    accepted(&problem, &in_time.plan);
    // A clock that runs on while the search works: the search looks at it and ends by itself.
    let ticking = AtomicI64::new(0);
    let clock = || ticking.fetch_add(50, Ordering::Relaxed);
    let solved = RuinRecreate::default().solve(&problem, &Budget::time(5_000, &clock), 1, None).unwrap();
    assert!(solved.stopped && solved.iterations < 2_000 && ticking.load(Ordering::Relaxed) < 10_000);
    accepted(&problem, &solved.plan);
}

#[test]
fn a_plan_that_the_checker_refuses_never_leaves() {
    let problem = day(0, 40);
    let now_ms = AtomicI64::new(0);
    let clock = || now_ms.load(Ordering::Relaxed);
    let mut bad = solved(&problem, 50);
    bad.routes[0].stops[1].arrives_ms -= HOUR_MS;
    bad.cost = 0.0;
    let answer = plan_checked(&problem, &Slow { clock: &now_ms, answer: Some(bad) }, &Budget::time(1_000, &clock), 1, None).unwrap();
    assert_eq!(answer.rung, Rung::Heuristic);
    assert!(answer.refused.iter().any(|violation| violation.rule == Rule::TooFast));
    accepted(&problem, &answer.plan);
}

#[test]
fn no_time_left_gives_the_repaired_plan() {
    let problem = day(0, 40);
    let clock = || 0;
    let answer = plan_checked(&problem, &RuinRecreate::default(), &Budget::time(0, &clock), 1, None).unwrap();
    assert_eq!(answer.rung, Rung::Heuristic);
}

#[test]
fn a_truck_that_cannot_be_home_in_time_is_named() {
    let problem = day(1, 60);
    let plan = solved(&problem, 200);
    let mut rest = at_moment(&problem, &plan, 9 * HOUR_MS);
    let late = rest.vehicles.iter().position(|vehicle| vehicle.under_way.is_some()).unwrap();
    rest.vehicles[late].shift.to_ms = rest.vehicles[late].under_way.as_ref().unwrap().time_ms + MINUTE_MS;
    let needed = overtime_needed(&rest).unwrap();
    assert_eq!(needed.len(), 1);
    assert_eq!(needed[0].vehicle_id, rest.vehicles[late].vehicle_id);
    assert!(
        matches!(plan_checked(&rest, &RuinRecreate::default(), &Budget::iterations(50), 1, Some(&plan)), Err(PlanError::Refused(found)) if !found.is_empty())
    );
    rest.vehicles[late].shift.to_ms = needed[0].ends_ms;
    rest.locks.retain(|lock| lock.vehicle_id != rest.vehicles[late].vehicle_id);
    let answer = plan_checked(&rest, &RuinRecreate::default(), &Budget::iterations(50), 1, Some(&plan)).unwrap();
    accepted(&rest, &answer.plan);
}

#[test]
fn nonsense_is_refused_with_a_hint() {
    let refused = |change: &dyn Fn(&mut Problem)| {
        let mut problem = day(0, 20);
        change(&mut problem);
        let error = RuinRecreate::default().solve(&problem, &Budget::iterations(1), 1, None).unwrap_err();
        assert!(error.to_string().contains("hint: "), "{error}");
        error.to_string()
    };
    assert!(refused(&|problem| problem.jobs[3].site_id = "s4".to_owned()).contains("s4 is there twice"));
    assert!(refused(&|problem| problem.jobs[3].location = 9_999).contains("location 9999"));
    assert!(refused(&|problem| problem.jobs[3].windows = vec![hours(9, 8)]).contains("windows of s3"));
    assert!(refused(&|problem| problem.vehicles[0].end_depot = 7).contains("depot of vehicle v0"));
    assert!(refused(&|problem| problem.jobs[3].demands[0].p50.kg = f64::NAN).contains("demand of site s3"));
    assert!(refused(&|problem| problem.locks.push(Lock { site_id: "nowhere".to_owned(), vehicle_id: "v0".to_owned(), order: None })).contains("nowhere"));
}

#[test]
fn a_site_at_the_facility_and_one_at_the_depot_cost_nothing_extra() {
    let mut problem = empty(&[(0.0, 0.0), (10_000.0, 2_000.0)], vec![truck("v0", 1_000.0)]);
    problem.jobs = vec![job(0, 100.0), job(1, 100.0)];
    assert_eq!(problem.jobs[0].location, FIRST_SITE);
    let plan = solved(&problem, 20);
    assert_eq!(plan.distance_m, 24_000.0);
}
