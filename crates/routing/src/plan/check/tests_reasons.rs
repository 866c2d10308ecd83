//! Reasons of sites left out: each code where it holds and, on the same day, where it does not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::answer::{Plan, SkipReason, Skipped};
use super::super::problem::{Load, Need, Problem};
use super::super::solve::{Budget, RuinRecreate, Solver};
use super::super::testkit::{FIRST_SITE, HOUR_MS, MINUTE_MS, empty, hours, job, truck};
use super::super::travel::{Location, Travel};
use super::{Rule, check};

const ALL: [SkipReason; 7] = [
    SkipReason::Decision,
    SkipReason::Skill,
    SkipReason::ClosedRoad,
    SkipReason::Capacity,
    SkipReason::TimeWindow,
    SkipReason::ShiftEnd,
    SkipReason::NotNeeded,
];

/// Two sites near one another, one truck.
fn two_sites() -> Problem {
    let mut problem = empty(&[(5_000.0, 1_000.0), (6_000.0, 1_500.0)], vec![truck("v0", 1_000.0)]);
    problem.jobs = vec![job(0, 300.0), job(1, 300.0)];
    problem
}

/// The solver must leave `s1` out for `reason`, the checker must accept that, and refuse every other reason.
fn only(problem: &Problem, reason: SkipReason) -> Plan {
    let plan = RuinRecreate::default().solve(problem, &Budget::iterations(50), 1, None).unwrap().plan;
    assert_eq!(plan.skipped.iter().map(|skip| (skip.site_id.as_str(), skip.reason)).collect::<Vec<_>>(), vec![("s1", reason)]);
    let found = check(problem, &plan);
    assert!(found.is_empty(), "{reason:?}: {found:?}");
    for other in ALL.into_iter().filter(|other| *other != reason) {
        let mut wrong = plan.clone();
        wrong.skipped[0].reason = other;
        let rules: Vec<Rule> = check(problem, &wrong).iter().map(|violation| violation.rule).collect();
        assert_eq!(rules, vec![Rule::Reason], "{other:?} instead of {reason:?}");
    }
    plan
}

#[test]
fn a_decision() {
    let mut problem = two_sites();
    problem.jobs[1].need = Need::Excluded;
    only(&problem, SkipReason::Decision);
}

#[test]
fn a_skill_that_no_truck_has() {
    let mut problem = two_sites();
    problem.jobs[1].skills = BTreeSet::from(["boat".to_owned()]);
    only(&problem, SkipReason::Skill);
}

/// All roads but those to one place.
#[derive(Debug)]
struct CutOff(Arc<dyn Travel>, Location);

impl Travel for CutOff {
    fn locations(&self) -> usize {
        self.0.locations()
    }

    fn distance_m(&self, from: Location, to: Location) -> Option<f64> {
        self.0.distance_m(from, to).filter(|_| to != self.1 || from == to)
    }

    fn duration_ms(&self, from: Location, to: Location, depart_ms: i64) -> Option<i64> {
        self.0.duration_ms(from, to, depart_ms).filter(|_| to != self.1 || from == to)
    }
}

#[test]
fn a_site_that_no_road_leads_to() {
    let mut problem = two_sites();
    problem.travel = Arc::new(CutOff(problem.travel, FIRST_SITE + 1));
    only(&problem, SkipReason::ClosedRoad);
}

#[test]
fn more_than_a_truck_holds_or_may_collect_in_a_day() {
    let mut heavy = two_sites();
    heavy.jobs[1].demands[0].p50.kg = 1_001.0;
    only(&heavy, SkipReason::Capacity);

    let mut capped = two_sites();
    capped.vehicles[0].day_cap.load = Load { kg: 350.0, l: 1e9 };
    capped.jobs[1].need = Need::Optional { prize: 1e9 };
    only(&capped, SkipReason::Capacity);
}

#[test]
fn a_window_that_is_over_before_the_truck_can_be_there() {
    let mut problem = two_sites();
    problem.jobs[1].windows = vec![hours(5, 6)];
    only(&problem, SkipReason::TimeWindow);
}

#[test]
fn a_shift_too_short_for_both() {
    let mut problem = two_sites();
    // Depot, s0, disposal and home: about an hour. The second site is worth less and far away.
    problem.jobs[1].service_ms = 9 * HOUR_MS;
    problem.jobs[1].need = Need::Optional { prize: 1e9 };
    let plan = only(&problem, SkipReason::ShiftEnd);
    assert_eq!(plan.routes.len(), 1);
}

#[test]
fn a_prize_below_the_detour_and_one_above_it() {
    let mut problem = two_sites();
    problem.jobs[1].need = Need::Optional { prize: 1.0 };
    problem.jobs[1].p_overflow = Some(0.01);
    let plan = only(&problem, SkipReason::NotNeeded);
    let cost = plan.skipped[0].insertion_cost.unwrap();
    assert!(cost > 1.0 && plan.skipped[0].p_overflow == Some(0.01));
    // A cent more than the detour, and it is served: the boundary is where the cost says it is.
    problem.jobs[1].need = Need::Optional { prize: cost + 0.01 };
    let served = RuinRecreate::default().solve(&problem, &Budget::iterations(50), 1, None).unwrap().plan;
    assert!(served.skipped.is_empty() && check(&problem, &served).is_empty());
    // And a plan that leaves it out all the same is refused.
    let mut left_out = plan;
    left_out.cost += cost + 0.01 - 1.0;
    let refused = check(&problem, &left_out);
    assert!(refused.iter().any(|violation| violation.rule == Rule::Reason), "{refused:?}");
}

#[test]
fn a_mandatory_site_left_out_without_need_is_found() {
    let problem = two_sites();
    let mut one = problem.clone();
    one.jobs.truncate(1);
    let mut plan = RuinRecreate::default().solve(&one, &Budget::iterations(20), 1, None).unwrap().plan;
    for reason in ALL {
        plan.skipped = vec![Skipped { site_id: "s1".to_owned(), reason, insertion_cost: None, p_overflow: None }];
        assert_eq!(check(&problem, &plan).iter().map(|violation| violation.rule).collect::<Vec<_>>(), vec![Rule::Reason], "{reason:?}");
    }
}

#[test]
fn a_break_that_makes_the_shift_too_short_is_the_shifts_fault() {
    let mut problem = two_sites();
    problem.jobs.truncate(2);
    problem.jobs[0].windows = vec![hours(9, 9)];
    problem.jobs[1].windows = vec![hours(12, 13)];
    problem.vehicles[0].shift.to_ms = 12 * HOUR_MS + 50 * MINUTE_MS;
    problem.vehicles[0].break_rule.as_mut().unwrap().earliest_ms = 12 * HOUR_MS;
    problem.jobs[1].need = Need::Optional { prize: 1e9 };
    problem.jobs[0].need = Need::Optional { prize: 2e9 };
    only(&problem, SkipReason::ShiftEnd);
}
