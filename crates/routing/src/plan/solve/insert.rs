//! Where a job fits best: every gap of every truck that may take it, alone or with a disposal beside it.

use rand::Rng;
use rand::rngs::SmallRng;

use super::index::Index;
use super::route::Line;
use super::state::State;

/// A place for a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub truck: usize,
    pub gap: usize,
    /// Disposal before and behind.
    pub before: Option<usize>,
    pub after: Option<usize>,
    pub cost: f64,
}

/// Facilities tried beside a job when the trip is full; the rest are farther away.
const FACILITIES_TRIED: usize = 3;

/// How the search looks for slots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Probability to overlook a gap, which keeps a greedy search from always doing the same.
    pub blink: f64,
    /// Nothing that costs as much is of interest.
    pub below: f64,
}

/// The cheapest slot for `job` that the labels allow, and that of the second best truck's cost for regret.
pub(super) fn best_slot(index: &Index<'_>, state: &State, job: usize, look: Look, rng: &mut SmallRng) -> (Option<Slot>, f64) {
    let mut best: Option<Slot> = None;
    let (mut lowest, mut second) = (look.below, f64::INFINITY);
    for truck in candidates(index, state, job) {
        let found = best_in_line(index, &state.lines[truck], truck, job, lowest, look.blink, rng);
        if let Some(slot) = found {
            second = best.map_or(second, |best: Slot| best.cost);
            lowest = slot.cost;
            best = Some(slot);
        }
    }
    (best, second)
}

/// Trucks to try: those that may take the job; of interchangeable ones that are unused only the first, and the one it had.
pub(super) fn candidates<'a>(index: &'a Index<'_>, state: &'a State, job: usize) -> impl Iterator<Item = usize> + 'a {
    let mut class_tried = vec![false; index.trucks.len()];
    (0..index.trucks.len()).filter(move |truck| {
        if !index.may(job, *truck) {
            return false;
        }
        let used = state.lines[*truck].is_used() || index.trucks[*truck].under_way;
        if used || index.previous[job] == Some(*truck) {
            return true;
        }
        !std::mem::replace(&mut class_tried[index.trucks[*truck].class], true)
    })
}

/// The cheapest slot in one line that costs less than `below`.
pub(super) fn best_in_line(index: &Index<'_>, line: &Line, truck: usize, job: usize, below: f64, blink: f64, rng: &mut SmallRng) -> Option<Slot> {
    if line.closed || !line.within_day(index, truck, job) {
        return None;
    }
    let end = &index.trucks[truck];
    let idle = !line.is_used() && !end.under_way;
    let base = index.change_cost(job, truck) + if idle { end.fixed } else { 0.0 };
    let (mut best, mut lowest) = (None, below);
    let price = |metres: f64, ms: i64| end.per_m * metres + end.per_ms * ms as f64;
    let service_ms = index.service_ms[job];
    let (facilities, parts) = (&index.near_facilities[job], index.parts(truck, job));
    let [(from_job_m, from_job_ms), (to_job_m, to_job_ms)] = index.around(job);
    for gap in line.free_from..line.nodes.len() - 1 {
        let (from, to) = (line.nodes[gap], line.nodes[gap + 1]);
        let (old_m, old_ms) = if idle { (0.0, 0) } else { line.legs[gap] };
        let (to_m, to_ms) = (to_job_m[from], i64::from(to_job_ms[from]));
        let metres = to_m + from_job_m[to] - old_m;
        let cost = base + price(metres, to_ms + i64::from(from_job_ms[to]) + service_ms - old_ms);
        // A disposal beside it makes it no cheaper: what is too dear alone is too dear.
        if cost >= lowest || (blink > 0.0 && rng.random::<f64>() < blink) {
            continue;
        }
        if line.has_room(parts, gap) {
            let early = index.release_ms[job] > line.trip_began_ms[gap];
            let fits = if early { exact(index, line, truck, gap, &[job]) } else { line.in_time(index, truck, gap, &[job]) };
            if fits {
                lowest = cost;
                best = Some(Slot { truck, gap, before: None, after: None, cost });
            }
            continue;
        }
        for facility in facilities.iter().take(FACILITIES_TRIED.max(if idle { facilities.len() } else { 0 })) {
            let unload_ms = index.service_ms[*facility];
            // Behind it: the trip so far and the job are unloaded at once.
            let metres = to_m + index.metres(job, *facility) + index.metres(*facility, to) - old_m;
            let drive_ms = to_ms + index.drive_ms(job, *facility) + index.drive_ms(*facility, to) - old_ms;
            let cost = base + price(metres, drive_ms + service_ms + unload_ms);
            if cost < lowest && line.in_time(index, truck, gap, &[job, *facility]) && exact(index, line, truck, gap, &[job, *facility]) {
                lowest = cost;
                best = Some(Slot { truck, gap, before: None, after: Some(*facility), cost });
            }
            // Before it: the trip so far is unloaded, the job goes with what follows.
            let metres = index.metres(from, *facility) + index.metres(*facility, job) + index.metres(job, to) - old_m;
            let drive_ms = index.drive_ms(from, *facility) + index.drive_ms(*facility, job) + index.drive_ms(job, to) - old_ms;
            let cost = base + price(metres, drive_ms + service_ms + unload_ms);
            if cost < lowest && line.in_time(index, truck, gap, &[*facility, job]) && exact(index, line, truck, gap, &[*facility, job]) {
                lowest = cost;
                best = Some(Slot { truck, gap, before: Some(*facility), after: None, cost });
            }
        }
    }
    best
}

/// Whether the line is possible with `nodes` in `gap`, by computing it anew.
pub(super) fn exact(index: &Index<'_>, line: &Line, truck: usize, gap: usize, nodes: &[usize]) -> bool {
    let mut trial = Line::of(with(line, gap, nodes), 0);
    trial.evaluate(index, truck)
}

fn with(line: &Line, gap: usize, nodes: &[usize]) -> Vec<usize> {
    let mut all = Vec::with_capacity(line.nodes.len() + nodes.len());
    all.extend_from_slice(&line.nodes[..=gap]);
    all.extend_from_slice(nodes);
    all.extend_from_slice(&line.nodes[gap + 1..]);
    all
}

/// Puts `job` into `slot`; `false`, and nothing changed, if the line turns out impossible (labels are estimates where
/// travel depends on the hour).
pub(super) fn put(index: &Index<'_>, state: &mut State, job: usize, slot: Slot) -> bool {
    let nodes: Vec<usize> = slot.before.into_iter().chain([job]).chain(slot.after).collect();
    let nodes = with(&state.lines[slot.truck], slot.gap, &nodes);
    if !state.try_nodes(index, slot.truck, nodes) {
        return false;
    }
    state.settle(job, slot.truck);
    true
}

/// Inserts every absent job that is worth it, the one first that would lose most by waiting (regret).
/// Bounded: each round places a job or ends it. `stop` is asked once a round.
pub(super) fn insert_by_regret(index: &Index<'_>, state: &mut State, rng: &mut SmallRng, stop: &mut dyn FnMut() -> bool) {
    const AT_ONCE: usize = 64;
    let mut refused = vec![false; index.jobs];
    loop {
        let mut round: Vec<usize> = state.absent.iter().copied().filter(|job| !refused[*job]).collect();
        // Mandatory and dear ones first; the rest waits for its turn.
        round.sort_by(|a, b| index.penalty[*b].total_cmp(&index.penalty[*a]).then(a.cmp(b)));
        round.truncate(AT_ONCE);
        let mut choice: Option<(f64, usize, Slot)> = None;
        for job in &round {
            let (slot, second) = best_slot(index, state, *job, Look { blink: 0.0, below: index.penalty[*job] }, rng);
            let Some(slot) = slot else {
                refused[*job] = true;
                continue;
            };
            let regret = second.min(index.penalty[*job]) - slot.cost;
            if choice.is_none_or(|(best, _, _)| regret > best) {
                choice = Some((regret, *job, slot));
            }
        }
        let Some((_, job, slot)) = choice else {
            if round.is_empty() {
                return;
            }
            continue;
        };
        if !put(index, state, job, slot) {
            refused[job] = true;
        }
        if stop() {
            return;
        }
    }
}
