//! Why a job stays out, by the definition of `answer::SkipReason`: the cheapest insertion that is possible, or the sieve
//! through which none passes.

use super::index::{Index, NEVER_MS};
use super::route::{Line, Moment};
use super::state::State;
use crate::plan::answer::SkipReason;

/// An insertion: the nodes to put into a gap of a truck's line.
#[derive(Debug, Clone)]
pub(super) struct Insertion {
    pub truck: usize,
    pub gap: usize,
    pub nodes: Vec<usize>,
    pub cost: f64,
}

/// What keeps a job out.
pub(super) enum Finding {
    /// Nothing: this is the cheapest insertion.
    Possible(Insertion),
    /// None is possible.
    Impossible(SkipReason),
}

/// Looks at every insertion of `job`.
pub(super) fn find(index: &Index<'_>, state: &State, job: usize) -> Finding {
    let trucks: Vec<usize> = (0..index.trucks.len()).filter(|truck| index.may(job, *truck)).collect();
    if trucks.is_empty() {
        return Finding::Impossible(SkipReason::Skill);
    }
    let mut insertions: Vec<Insertion> = Vec::new();
    for truck in &trucks {
        list(index, &state.lines[*truck], *truck, job, &mut insertions);
    }
    insertions.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    for insertion in &insertions {
        let line = &state.lines[insertion.truck];
        // Where travel is static the labels are exact on time: most insertions end here, before anything is computed anew.
        let late = index.is_static && !line.closed && !line.in_time(index, insertion.truck, insertion.gap, &insertion.nodes);
        if !late && line.within_day(index, insertion.truck, job) && possible(index, line, insertion) {
            return Finding::Possible(insertion.clone());
        }
    }
    let mut deepest = SkipReason::ClosedRoad;
    for insertion in &insertions {
        deepest = deepest.max(sieve(index, &state.lines[insertion.truck], insertion));
        if deepest == SkipReason::ShiftEnd {
            break;
        }
    }
    Finding::Impossible(deepest)
}

/// All insertions of `job` into one line that have roads.
fn list(index: &Index<'_>, line: &Line, truck: usize, job: usize, insertions: &mut Vec<Insertion>) {
    let facilities = index.jobs..index.jobs + index.facilities;
    let (first, last) = gaps(index, line, job);
    for gap in first..=last {
        let mut add = |nodes: Vec<usize>| {
            if let Some(cost) = cost(index, line, truck, gap, job, &nodes) {
                insertions.push(Insertion { truck, gap, nodes, cost });
            }
        };
        add(vec![job]);
        for facility in facilities.clone() {
            add(vec![facility, job]);
            add(vec![job, facility]);
            if index.problem.jobs[job].demands.len() > 1 {
                facilities.clone().for_each(|second| add(vec![job, facility, second]));
            }
        }
    }
}

/// The gaps in which `job` may stand.
fn gaps(index: &Index<'_>, line: &Line, job: usize) -> (usize, usize) {
    let last = line.nodes.len() - 2;
    let Some(order) = index.order[job] else { return (line.free_from, last) };
    let rank = |node: usize| (node < index.jobs).then(|| index.order[node].map_or(u64::MAX, u64::from));
    let places = 1..=last;
    let first = places.clone().rev().find(|place| rank(line.nodes[*place]).is_some_and(|rank| rank < u64::from(order)));
    let behind = places.into_iter().find(|place| rank(line.nodes[*place]).is_some_and(|rank| rank > u64::from(order)));
    (first.unwrap_or(0), behind.map_or(last, |place| place - 1))
}

/// What the insertion costs, by the definition: drives timed at the moment the truck sets out, waiting and break aside.
fn cost(index: &Index<'_>, line: &Line, truck: usize, gap: usize, job: usize, nodes: &[usize]) -> Option<f64> {
    let end = &index.trucks[truck];
    let idle = !line.is_used() && !end.under_way;
    let (from, to) = (line.nodes[gap], line.nodes[gap + 1]);
    let leg = |from: usize, to: usize| {
        let metres = index.metres(from, to);
        metres.is_finite().then(|| (metres, index.drive_at_ms(from, to, end.start_ms)))
    };
    let (mut at, mut metres, mut work_ms) = (from, 0.0, 0);
    for node in nodes {
        let (leg_m, leg_ms) = leg(at, *node)?;
        (at, metres, work_ms) = (*node, metres + leg_m, work_ms + leg_ms + index.service_ms[*node]);
    }
    let (last_m, last_ms) = leg(at, to)?;
    (metres, work_ms) = (metres + last_m, work_ms + last_ms);
    if !idle {
        let (old_m, old_ms) = leg(from, to)?;
        metres -= old_m;
        work_ms -= old_ms;
    }
    let fixed = if idle { end.fixed } else { 0.0 };
    Some(fixed + index.change_cost(job, truck) + end.per_m * metres + end.per_ms * work_ms as f64)
}

fn with(line: &Line, insertion: &Insertion) -> Line {
    let mut nodes = line.nodes.clone();
    nodes.splice(insertion.gap + 1..insertion.gap + 1, insertion.nodes.iter().copied());
    Line::of(nodes, 0)
}

fn possible(index: &Index<'_>, line: &Line, insertion: &Insertion) -> bool {
    with(line, insertion).evaluate(index, insertion.truck)
}

/// The sieve at which an impossible insertion ends.
fn sieve(index: &Index<'_>, line: &Line, insertion: &Insertion) -> SkipReason {
    let mut trial = with(line, insertion);
    if !trial.carries(index, insertion.truck) {
        SkipReason::Capacity
    } else if misses_window(index, &trial, insertion.truck) {
        SkipReason::TimeWindow
    } else {
        SkipReason::ShiftEnd
    }
}

/// Whether a window is missed even without a break and with no end of the shift.
fn misses_window(index: &Index<'_>, line: &Line, truck: usize) -> bool {
    let release = |nodes: &[usize]| {
        let trip = nodes.iter().take_while(|node| **node < index.jobs);
        trip.map(|node| index.release_ms[*node]).max().unwrap_or(i64::MIN)
    };
    let last = line.nodes.len() - 1;
    let start_ms = index.trucks[truck].start_ms.max(release(&line.nodes[1..]));
    let mut moment = Moment { before_ms: start_ms, after_ms: NEVER_MS };
    for place in 1..last {
        let (from, node) = (line.nodes[place - 1], line.nodes[place]);
        let arrives_ms = moment.before_ms + index.drive_at_ms(from, node, moment.before_ms);
        moment = Moment { before_ms: arrives_ms, after_ms: NEVER_MS }.serve(index, node);
        if moment.before_ms >= NEVER_MS {
            return true;
        }
        if index.is_facility(node) {
            moment.before_ms = moment.before_ms.max(release(&line.nodes[place + 1..last]));
        }
    }
    false
}
