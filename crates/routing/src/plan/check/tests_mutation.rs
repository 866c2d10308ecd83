//! Takes accepted plans, breaks one rule at a time, and expects the checker to name exactly that rule. A checker that
//! accepted everything, or that refused for another reason, fails here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::answer::{Plan, Route, Stop, StopKind};
use super::super::problem::{Lock, Need, Problem};
use super::super::replan::at_moment;
use super::super::testkit::{HOUR_MS, MINUTE_MS, day, hours, solved};
use super::super::travel::{Location, Travel};
use super::{Rule, Violation, check, check_fleet};

fn rules(problem: &Problem, plan: &Plan) -> Vec<Rule> {
    let mut rules: Vec<Rule> = check(problem, plan).into_iter().map(|violation: Violation| violation.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// A day and its accepted plan; `change` breaks something, the checker must say `rule` (among others, where one fault
/// cannot be had alone).
fn breaks(rule: Rule, change: impl Fn(&mut Problem, &mut Plan)) {
    let mut broken = 0;
    for seed in 0..3 {
        let mut problem = day(seed, 60);
        let mut plan = solved(&problem, 300);
        let before = (problem.clone(), plan.clone());
        change(&mut problem, &mut plan);
        assert!(before.1 != plan || format!("{:?}", before.0) != format!("{problem:?}"), "seed {seed}: nothing was changed");
        let found = rules(&problem, &plan);
        assert!(found.contains(&rule), "seed {seed}: expected {rule:?}, found {found:?}");
        broken += 1;
    }
    assert_eq!(broken, 3);
}

/// The first stop that `pick` likes: route and place.
fn find(plan: &Plan, pick: impl Fn(&Route, usize) -> bool) -> (usize, usize) {
    let all = plan.routes.iter().enumerate().flat_map(|(number, route)| (0..route.stops.len()).map(move |place| (number, place)));
    let mut all = all.filter(|(number, place)| pick(&plan.routes[*number], *place));
    all.next().expect("no such stop in the plan")
}

fn is_site(route: &Route, place: usize) -> bool {
    route.stops[place].site_id().is_some()
}

fn site_of(plan: &Plan, (route, place): (usize, usize)) -> String {
    plan.routes[route].stops[place].site_id().unwrap().to_owned()
}

fn job_at<'a>(problem: &'a mut Problem, plan: &Plan, at: (usize, usize)) -> &'a mut super::super::problem::Job {
    let site = site_of(plan, at);
    problem.jobs.iter_mut().find(|job| job.site_id == site).unwrap()
}

fn vehicle_of<'a>(problem: &'a mut Problem, plan: &Plan, route: usize) -> &'a mut super::super::problem::Vehicle {
    problem.vehicles.iter_mut().find(|vehicle| vehicle.vehicle_id == plan.routes[route].vehicle_id).unwrap()
}

#[test]
fn ids_areas_and_vehicles() {
    breaks(Rule::UnknownId, |_, plan| {
        let (route, place) = find(plan, is_site);
        plan.routes[route].stops[place].kind = StopKind::Site { site_id: "nowhere".to_owned() };
    });
    breaks(Rule::UnknownId, |_, plan| plan.routes[0].vehicle_id = "ghost".to_owned());
    breaks(Rule::WrongArea, |_, plan| plan.planning_area_id = "south".to_owned());
    breaks(Rule::WrongArea, |problem, plan| {
        vehicle_of(problem, plan, 0).planning_area_ids.clear();
    });
    breaks(Rule::VehicleTwice, |_, plan| plan.routes.push(plan.routes[0].clone()));
    breaks(Rule::OutOfService, |problem, plan| vehicle_of(problem, plan, 0).out_of_service = true);
}

#[test]
fn starts_ends_and_shifts() {
    breaks(Rule::Start, |_, plan| {
        plan.routes[0].stops.remove(0);
    });
    breaks(Rule::Start, |problem, plan| vehicle_of(problem, plan, 0).shift.from_ms = plan.routes[0].stops[0].leaves_ms + 1);
    breaks(Rule::End, |_, plan| {
        plan.routes[0].stops.pop();
    });
    breaks(Rule::End, |problem, plan| {
        let vehicle = vehicle_of(problem, plan, 0);
        vehicle.end_depot = 1 - vehicle.end_depot;
    });
    breaks(Rule::ShiftEnd, |problem, plan| vehicle_of(problem, plan, 0).shift.to_ms = plan.routes[0].ends_ms().unwrap() - 1);
    breaks(Rule::DepotInside, |_, plan| {
        let end = plan.routes[0].stops.last().unwrap().clone();
        plan.routes[0].stops.insert(1, end);
    });
}

#[test]
fn places_roads_and_times() {
    breaks(Rule::Place, |_, plan| {
        let (route, place) = find(plan, is_site);
        plan.routes[route].stops[place].location = Some(0);
    });
    breaks(Rule::TooFast, |_, plan| {
        // Everything from the first site on one minute earlier than the drive allows.
        let (route, place) = find(plan, is_site);
        for stop in &mut plan.routes[route].stops[place..] {
            stop.arrives_ms -= MINUTE_MS;
            stop.leaves_ms -= MINUTE_MS;
        }
    });
    breaks(Rule::ServiceTime, |_, plan| {
        let (route, place) = find(plan, is_site);
        plan.routes[route].stops[place].leaves_ms -= MINUTE_MS;
    });
    breaks(Rule::ServiceTime, |problem, _| problem.facilities.iter_mut().for_each(|facility| facility.unload_ms += MINUTE_MS));
    breaks(Rule::TimeWindow, |problem, plan| {
        let at = find(plan, is_site);
        job_at(problem, plan, at).windows = vec![hours(20, 21)];
    });
    breaks(Rule::TimeWindow, |problem, _| problem.facilities.iter_mut().for_each(|facility| facility.windows.clear()));
    breaks(Rule::TripTooEarly, |problem, plan| {
        let at = find(plan, is_site);
        job_at(problem, plan, at).trip_not_before_ms = plan.routes[at.0].stops[0].leaves_ms + 1;
    });
    breaks(Rule::ClosedRoad, |problem, plan| {
        let (route, place) = find(plan, |route, place| place > 0 && is_site(route, place) && is_site(route, place - 1));
        let stops = &plan.routes[route].stops;
        let closed = (stops[place - 1].location.unwrap(), stops[place].location.unwrap());
        problem.travel = std::sync::Arc::new(Closed { open: problem.travel.clone(), closed });
    });
}

/// All roads but one.
#[derive(Debug)]
struct Closed {
    open: std::sync::Arc<dyn Travel>,
    closed: (Location, Location),
}

impl Travel for Closed {
    fn locations(&self) -> usize {
        self.open.locations()
    }

    fn distance_m(&self, from: Location, to: Location) -> Option<f64> {
        self.open.distance_m(from, to).filter(|_| (from, to) != self.closed)
    }

    fn duration_ms(&self, from: Location, to: Location, depart_ms: i64) -> Option<i64> {
        self.open.duration_ms(from, to, depart_ms).filter(|_| (from, to) != self.closed)
    }
}

fn lunch_of(plan: &Plan) -> (usize, usize) {
    find(plan, |route, place| route.stops[place].kind == StopKind::Lunch)
}

#[test]
fn breaks_are_taken_once_and_in_time() {
    breaks(Rule::BreakMissing, |_, plan| {
        let (route, place) = lunch_of(plan);
        plan.routes[route].stops.remove(place);
    });
    breaks(Rule::BreakWrong, |_, plan| {
        let (route, place) = lunch_of(plan);
        plan.routes[route].stops[place].leaves_ms -= MINUTE_MS;
    });
    breaks(Rule::BreakWrong, |problem, plan| {
        let (route, place) = lunch_of(plan);
        let begins_ms = plan.routes[route].stops[place].arrives_ms;
        vehicle_of(problem, plan, route).break_rule.as_mut().unwrap().latest_ms = begins_ms - 1;
    });
    breaks(Rule::BreakWrong, |problem, plan| {
        let (route, _) = lunch_of(plan);
        vehicle_of(problem, plan, route).break_rule = None;
    });
    breaks(Rule::BreakTwice, |_, plan| {
        let (route, place) = lunch_of(plan);
        let lunch = plan.routes[route].stops[place].clone();
        plan.routes[route].stops.insert(place, lunch);
    });
}

#[test]
fn loads_and_caps() {
    breaks(Rule::EndsLoaded, |_, plan| {
        let route = &mut plan.routes[0];
        let place = route.stops.iter().rposition(|stop| matches!(stop.kind, StopKind::Disposal { .. })).unwrap();
        route.stops.remove(place);
    });
    breaks(Rule::Capacity, |problem, plan| {
        let kg = plan.routes[0].stops.iter().map(|stop| stop.load.iter().map(|load| load.kg).sum::<f64>()).fold(0.0, f64::max);
        vehicle_of(problem, plan, 0).payload_kg = kg - 1.0;
    });
    breaks(Rule::Capacity, |problem, plan| {
        let litres = plan.routes[0].stops.iter().map(|stop| stop.load[0].l).fold(0.0, f64::max);
        vehicle_of(problem, plan, 0).compartments[0].capacity.l = litres - 1.0;
    });
    breaks(Rule::LoadStated, |_, plan| {
        let (route, place) = find(plan, is_site);
        plan.routes[route].stops[place].load[0].kg += 1.0;
    });
    breaks(Rule::DayCap, |problem, plan| {
        let sites = plan.routes[0].sites().count() as u32;
        vehicle_of(problem, plan, 0).day_cap.sites = sites - 1;
    });
    breaks(Rule::DayCap, |problem, plan| vehicle_of(problem, plan, 0).day_cap.load.kg = 10.0);
    breaks(Rule::Stream, |problem, plan| {
        vehicle_of(problem, plan, 0).compartments[0].streams.remove(&0);
    });
    breaks(Rule::Skill, |problem, plan| {
        let at = find(plan, is_site);
        job_at(problem, plan, at).skills.insert("boat".to_owned());
    });
}

#[test]
fn jobs_locks_and_sums() {
    breaks(Rule::JobTwice, |_, plan| {
        let (route, place) = find(plan, is_site);
        let stop: Stop = plan.routes[route].stops[place].clone();
        plan.routes[route].stops.insert(place + 1, stop);
    });
    breaks(Rule::JobMissing, |_, plan| {
        let (route, place) = find(plan, is_site);
        plan.routes[route].stops.remove(place);
    });
    breaks(Rule::Excluded, |problem, plan| {
        let at = find(plan, is_site);
        job_at(problem, plan, at).need = Need::Excluded;
    });
    breaks(Rule::Lock, |problem, plan| {
        let at = find(plan, |route, place| is_site(route, place) && !route.stops[place].locked);
        let vehicle = &plan.routes[at.0].vehicle_id;
        let other = problem.vehicles.iter().find(|other| other.vehicle_id != *vehicle).unwrap().vehicle_id.clone();
        problem.locks.push(Lock { site_id: site_of(plan, at), vehicle_id: other, order: None });
    });
    breaks(Rule::Lock, |problem, plan| {
        // The last site of a route is locked to its head.
        let (route, _) = find(plan, |route, place| is_site(route, place) && route.sites().count() > 4);
        let (place, _) = plan.routes[route].sites().last().unwrap();
        let lock = Lock { site_id: site_of(plan, (route, place)), vehicle_id: plan.routes[route].vehicle_id.clone(), order: Some(0) };
        problem.locks.retain(|known| known.site_id != lock.site_id);
        problem.locks.push(lock);
    });
    breaks(Rule::Totals, |_, plan| plan.cost -= 1.0);
    breaks(Rule::Totals, |_, plan| plan.distance_m += 10.0);
    breaks(Rule::Totals, |_, plan| plan.duration_ms += 1);
    breaks(Rule::Totals, |_, plan| plan.routes[0].distance_m += 10.0);
}

#[test]
fn history_stays() {
    let problem = day(1, 60);
    let plan = solved(&problem, 300);
    let rest = at_moment(&problem, &plan, 9 * HOUR_MS);
    let accepted = solved(&rest, 200);
    let route = accepted.routes.iter().position(|route| rest.vehicles.iter().any(|v| v.vehicle_id == route.vehicle_id && v.under_way.is_some())).unwrap();
    assert!(rest.jobs.len() < problem.jobs.len(), "by nine o'clock something was served");

    let mut changed = accepted.clone();
    changed.routes[route].stops[1].leaves_ms += 1;
    assert!(rules(&rest, &changed).contains(&Rule::HistoryChanged));

    let mut gone = accepted.clone();
    gone.routes.remove(route);
    assert!(rules(&rest, &gone).contains(&Rule::RouteMissing));
}

#[test]
fn two_areas_cannot_have_one_truck() {
    let problem = day(0, 40);
    let north = solved(&problem, 100);
    let mut south = north.clone();
    south.planning_area_id = "south".to_owned();
    south.routes.truncate(1);
    let conflicts = check_fleet(&[&north, &south]);
    assert_eq!(conflicts.len(), 1);
    assert_eq!((conflicts[0].vehicle_id.as_str(), conflicts[0].planning_area_ids.len()), (south.routes[0].vehicle_id.as_str(), 2));
    assert!(check_fleet(&[&north]).is_empty());
}
