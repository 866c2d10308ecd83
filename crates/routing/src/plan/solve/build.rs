//! From a state to a plan: last insertions, times of every stop, and the reason of each job that stays out.

use rand::rngs::SmallRng;

use super::index::{Index, NEVER_MS};
use super::insert::insert_by_regret;
use super::reasons::{Finding, Insertion, find};
use super::route::Line;
use super::state::{ABSENT, State};
use crate::plan::answer::{Plan, Route, SkipReason, Skipped, Stop, StopKind};
use crate::plan::problem::{BreakRule, Load, Need};

/// The plan of `state`. Jobs that can still be put in at a cost below their prize (mandatory ones at any) are put in
/// first, so that every reason given holds.
pub(super) fn plan(index: &Index<'_>, mut state: State, rng: &mut SmallRng) -> Plan {
    state.begin();
    insert_by_regret(index, &mut state, rng, &mut || false);
    let skipped = settle_rest(index, &mut state);
    let mut plan = Plan { planning_area_id: index.problem.planning_area_id.clone(), routes: Vec::new(), skipped, cost: 0.0, distance_m: 0.0, duration_ms: 0 };
    for (truck, vehicle) in index.problem.vehicles.iter().enumerate() {
        let line = &state.lines[truck];
        let end = &index.trucks[truck];
        let route = if end.in_service && (line.is_used() || end.under_way) {
            timed_route(index, line, truck)
        } else if let Some(under_way) = &vehicle.under_way {
            Route { vehicle_id: vehicle.vehicle_id.clone(), stops: under_way.served.clone(), distance_m: under_way.driven_m }
        } else {
            continue;
        };
        let paid_ms = route.ends_ms().unwrap_or(0) - route.starts_ms().unwrap_or(0);
        plan.cost += vehicle.costs.fixed + vehicle.costs.per_km * route.distance_m / 1000.0 + vehicle.costs.per_hour * paid_ms as f64 / 3_600_000.0;
        plan.distance_m += route.distance_m;
        plan.duration_ms += paid_ms;
        plan.routes.push(route);
    }
    for job in 0..index.jobs {
        plan.cost += match (state.truck_of[job], index.problem.jobs[job].need) {
            (ABSENT, Need::Optional { prize }) => prize,
            (ABSENT, _) => 0.0,
            (truck, _) => index.change_cost(job, truck),
        };
    }
    plan
}

/// Puts in what still can be and pays; the reasons of the rest. Each round but the last places a job.
fn settle_rest(index: &Index<'_>, state: &mut State) -> Vec<Skipped> {
    loop {
        let mut skipped = Vec::new();
        let mut placed = false;
        for job in (0..index.jobs).filter(|job| state.truck_of[*job] == ABSENT).collect::<Vec<_>>() {
            let (reason, insertion_cost) = match index.problem.jobs[job].need {
                Need::Excluded => (SkipReason::Decision, None),
                need => match find(index, state, job) {
                    Finding::Impossible(reason) => (reason, None),
                    Finding::Possible(insertion) => {
                        let pays = match need {
                            Need::Optional { prize } => insertion.cost < prize,
                            _ => true,
                        };
                        if pays && put(index, state, job, &insertion) {
                            placed = true;
                            continue;
                        }
                        (SkipReason::NotNeeded, Some(insertion.cost))
                    }
                },
            };
            let details = &index.problem.jobs[job];
            skipped.push(Skipped { site_id: details.site_id.clone(), reason, insertion_cost, p_overflow: details.p_overflow });
        }
        // What was found before a job was put in may have changed by it.
        if !placed {
            return skipped;
        }
    }
}

fn put(index: &Index<'_>, state: &mut State, job: usize, insertion: &Insertion) -> bool {
    let mut nodes = state.lines[insertion.truck].nodes.clone();
    nodes.splice(insertion.gap + 1..insertion.gap + 1, insertion.nodes.iter().copied());
    if !state.try_nodes(index, insertion.truck, nodes) {
        return false;
    }
    if index.order[job].is_some() {
        let head = insertion.gap + 1 + insertion.nodes.iter().position(|node| *node == job).unwrap_or(0);
        let line = &mut state.lines[insertion.truck];
        line.free_from = head.max(if line.free_from > insertion.gap { line.free_from + insertion.nodes.len() } else { 0 });
    }
    state.settle(job, insertion.truck);
    true
}

/// Times of one line: arrival, beginning of service and departure of each place, and the break.
struct Times {
    places: Vec<(i64, i64)>,
    starts_ms: i64,
    ends_ms: i64,
    /// Leg on which it is taken, and when it begins.
    pause: Option<(usize, i64)>,
}

/// As early as possible from `start_ms`, with the break on `leg`. Unless `strict`, as it will be, whatever it breaks.
fn times(index: &Index<'_>, line: &Line, truck: usize, start_ms: i64, leg: Option<(usize, BreakRule)>, strict: bool) -> Option<Times> {
    let release = |nodes: &[usize]| {
        let trip = nodes.iter().take_while(|node| **node < index.jobs);
        trip.map(|node| index.release_ms[*node]).max().unwrap_or(i64::MIN)
    };
    let last = line.nodes.len() - 1;
    let starts_ms = start_ms.max(release(&line.nodes[1..]));
    let mut times = Times { places: Vec::with_capacity(last), starts_ms, ends_ms: 0, pause: None };
    let mut now_ms = starts_ms;
    for place in 1..=last {
        let (from, node) = (line.nodes[place - 1], line.nodes[place]);
        let mut arrives_ms = now_ms + index.drive_at_ms(from, node, now_ms);
        if let Some((_, rule)) = leg.filter(|(leg, _)| *leg == place - 1) {
            if now_ms > rule.latest_ms {
                return None;
            }
            times.pause = Some((place - 1, now_ms.max(rule.earliest_ms)));
            arrives_ms = arrives_ms.max(rule.earliest_ms) + rule.duration_ms;
        }
        if place == last {
            times.ends_ms = arrives_ms;
            break;
        }
        let mut begins_ms = index.begin_ms(node, arrives_ms);
        if begins_ms >= NEVER_MS {
            if strict {
                return None;
            }
            begins_ms = arrives_ms;
        }
        now_ms = begins_ms + index.service_ms[node];
        if index.is_facility(node) {
            now_ms = now_ms.max(release(&line.nodes[place + 1..last]));
        }
        times.places.push((arrives_ms, now_ms));
    }
    let end = &index.trucks[truck];
    let due = end.pause.is_some_and(|rule| times.ends_ms > rule.latest_ms);
    (!strict || (times.ends_ms <= end.end_by_ms && (!due || times.pause.is_some()))).then_some(times)
}

/// The earliest end, then the latest start that keeps it: waiting at the depot costs nothing.
fn best_times(index: &Index<'_>, line: &Line, truck: usize) -> Option<Times> {
    let end = &index.trucks[truck];
    let legs = 0..line.nodes.len() - 1;
    let with_break = |rule: BreakRule| legs.clone().filter_map(move |leg| Some((leg, times(index, line, truck, end.start_ms, Some((leg, rule)), true)?)));
    let (leg, best) = match times(index, line, truck, end.start_ms, None, true) {
        Some(best) => (None, best),
        None => {
            let rule = end.pause?;
            let (leg, best) = with_break(rule).min_by_key(|(leg, times)| (times.ends_ms, *leg))?;
            (Some((leg, rule)), best)
        }
    };
    if end.under_way {
        return Some(best);
    }
    let bound_ms = end.pause.map_or(i64::MAX, |rule| rule.latest_ms);
    let (mut low_ms, mut high_ms) = (best.starts_ms, best.ends_ms.min(bound_ms));
    let mut latest = best;
    while low_ms < high_ms {
        let middle_ms = low_ms + (high_ms - low_ms + 1) / 2;
        match times(index, line, truck, middle_ms, leg, true).filter(|times| times.ends_ms <= latest.ends_ms) {
            Some(times) => {
                low_ms = middle_ms;
                latest = times;
            }
            None => high_ms = middle_ms - 1,
        }
    }
    Some(latest)
}

/// The route with the times of every stop. A line that is not possible (a truck that cannot be home in time whatever it
/// does) is timed as it will be; the checker says what is wrong with it.
fn timed_route(index: &Index<'_>, line: &Line, truck: usize) -> Route {
    let problem = index.problem;
    let vehicle = &problem.vehicles[truck];
    let end = &index.trucks[truck];
    let times = best_times(index, line, truck).or_else(|| times(index, line, truck, end.start_ms, None, false));
    let times = times.unwrap_or(Times { places: Vec::new(), starts_ms: end.start_ms, ends_ms: end.start_ms, pause: None });
    let mut load = end.load.clone();
    let mut stops = match &vehicle.under_way {
        Some(under_way) => under_way.served.clone(),
        None => vec![depot(problem, vehicle.start_depot, times.starts_ms, &load)],
    };
    let last = line.nodes.len() - 1;
    let mut distance_m = end.driven_m;
    for place in 1..=last {
        let node = line.nodes[place];
        distance_m += index.metres(line.nodes[place - 1], node);
        if let Some((_, begins_ms)) = times.pause.filter(|(leg, _)| *leg == place - 1) {
            let leaves_ms = begins_ms + end.pause.map_or(0, |rule| rule.duration_ms);
            stops.push(Stop { kind: StopKind::Lunch, location: None, arrives_ms: begins_ms, leaves_ms, load: load.clone(), locked: false, reason: None });
        }
        if place == last {
            stops.push(depot(problem, vehicle.end_depot, times.ends_ms, &load));
            break;
        }
        let (arrives_ms, leaves_ms) = times.places.get(place - 1).copied().unwrap_or((end.start_ms, end.start_ms));
        let location = Some(index.location[node]);
        let (kind, locked, reason) = if node < index.jobs {
            let job = &problem.jobs[node];
            for demand in &job.demands {
                let more = demand.load(problem.load_basis);
                load[demand.stream] = Load { kg: load[demand.stream].kg + more.kg, l: load[demand.stream].l + more.l };
            }
            let locked = problem.locks.iter().any(|lock| lock.site_id == job.site_id);
            (StopKind::Site { site_id: job.site_id.clone() }, locked, Some(job.reason))
        } else {
            let facility = &problem.facilities[node - index.jobs];
            facility.streams.iter().for_each(|stream| load[*stream] = Load::default());
            (StopKind::Disposal { facility_id: facility.facility_id.clone() }, false, None)
        };
        stops.push(Stop { kind, location, arrives_ms, leaves_ms, load: load.clone(), locked, reason });
    }
    Route { vehicle_id: vehicle.vehicle_id.clone(), stops, distance_m }
}

fn depot(problem: &crate::plan::problem::Problem, depot: usize, at_ms: i64, load: &[Load]) -> Stop {
    let depot = &problem.depots[depot];
    let kind = StopKind::Depot { depot_id: depot.depot_id.clone() };
    Stop { kind, location: Some(depot.location), arrives_ms: at_ms, leaves_ms: at_ms, load: load.to_vec(), locked: false, reason: None }
}
