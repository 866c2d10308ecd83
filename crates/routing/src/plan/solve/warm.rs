//! From a plan back to a state: what still holds of an older plan under a changed problem.

use std::collections::BTreeMap;

use super::index::Index;
use super::state::{ABSENT, State};
use super::trips::without_idle_disposals;
use crate::plan::answer::{Plan, Route, StopKind};

/// The state that keeps as much of `plan` as the problem allows. Each route is taken over as it is, if it can be; otherwise
/// stop by stop, leaving out those that do not fit.
pub(super) fn state_of(index: &Index<'_>, plan: &Plan) -> State {
    let problem = index.problem;
    let jobs: BTreeMap<&str, usize> = problem.jobs.iter().enumerate().map(|(number, job)| (job.site_id.as_str(), number)).collect();
    let facilities: BTreeMap<&str, usize> = problem.facilities.iter().enumerate().map(|(number, facility)| (facility.facility_id.as_str(), number)).collect();
    let mut state = State::empty(index);
    for (truck, vehicle) in problem.vehicles.iter().enumerate() {
        if !index.trucks[truck].in_service {
            continue;
        }
        let Some(route) = plan.routes.iter().find(|route| route.vehicle_id == vehicle.vehicle_id) else { continue };
        let nodes = nodes_of(index, &state, truck, route, &jobs, &facilities);
        take_over(index, &mut state, truck, nodes);
    }
    state
}

/// The free part of the route that still means something: jobs of the problem that this truck may take, not yet placed.
fn nodes_of(index: &Index<'_>, state: &State, truck: usize, route: &Route, jobs: &BTreeMap<&str, usize>, facilities: &BTreeMap<&str, usize>) -> Vec<usize> {
    let history = index.problem.vehicles[truck].under_way.as_ref().map_or(0, |under_way| under_way.served.len());
    // An older plan's head may have been driven since then: what is history is not in the problem's jobs any more, and
    // disposals before the first job that is left belong to it.
    let mut nodes = Vec::new();
    let mut seen = vec![false; index.jobs];
    for stop in route.stops.iter().skip(history) {
        match &stop.kind {
            StopKind::Site { site_id } => {
                if let Some(job) = jobs.get(site_id.as_str()).copied()
                    && index.may(job, truck)
                    && state.truck_of[job] == ABSENT
                    && !std::mem::replace(&mut seen[job], true)
                {
                    nodes.push(job);
                }
            }
            StopKind::Disposal { facility_id } => nodes.extend(facilities.get(facility_id.as_str()).map(|facility| index.jobs + facility)),
            StopKind::Lunch | StopKind::Depot { .. } => {}
        }
    }
    nodes
}

/// Puts `nodes` into the free part of a line, as they are if they can be, else as many as can be.
pub(super) fn take_over(index: &Index<'_>, state: &mut State, truck: usize, nodes: Vec<usize>) {
    let line = &state.lines[truck];
    if line.closed {
        return;
    }
    let free_from = line.free_from;
    let nodes: Vec<usize> = nodes.into_iter().filter(|node| *node >= index.jobs || state.truck_of[*node] == ABSENT).collect();
    let (head, tail) = (line.nodes[..=free_from].to_vec(), line.nodes[free_from + 1..].to_vec());
    let with = |middle: &[usize], tail: &[usize]| {
        let mut all = head.clone();
        all.extend_from_slice(middle);
        all.extend_from_slice(tail);
        all
    };
    // The old disposals first; where they do not do, those of the line behind them.
    let end = [index.trucks[truck].end_node];
    let mut middle = nodes;
    for tail in [&end[..], &tail[..]] {
        if let Some(nodes) = without_idle_disposals(index, truck, with(&middle, tail), free_from) {
            return set(index, state, truck, nodes);
        }
    }
    // Something does not fit any more. Stops are dropped from the end until the rest is possible: halving first, since
    // each trial computes the line.
    let mut kept = 0;
    let mut step = middle.len().next_power_of_two();
    while step > 0 {
        let trial = (kept + step).min(middle.len());
        if trial > kept && without_idle_disposals(index, truck, with(&middle[..trial], &tail), free_from).is_some() {
            kept = trial;
        }
        step /= 2;
    }
    let rest = middle.split_off(kept);
    if let Some(nodes) = without_idle_disposals(index, truck, with(&middle, &tail), free_from) {
        set(index, state, truck, nodes);
    }
    for job in rest {
        if job >= index.jobs {
            continue;
        }
        // Where it stood, if that is possible: just before the tail.
        let line = &state.lines[truck];
        for gap in (line.free_from..line.nodes.len() - 1).rev() {
            if line.within_day(index, truck, job) && line.has_room(index.parts(truck, job), gap) && line.in_time(index, truck, gap, &[job]) {
                let mut nodes = line.nodes.clone();
                nodes.insert(gap + 1, job);
                set(index, state, truck, nodes);
                break;
            }
        }
    }
}

fn set(index: &Index<'_>, state: &mut State, truck: usize, nodes: Vec<usize>) {
    let jobs: Vec<usize> = nodes.iter().copied().filter(|node| *node < index.jobs).collect();
    if state.try_nodes(index, truck, nodes) {
        for job in jobs {
            state.settle(job, truck);
        }
    }
}
