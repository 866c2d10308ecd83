//! Where a line unloads. After sites went, disposals may be superfluous; for a given order of sites the cheapest places
//! and facilities for disposals are found by dynamic programming (the *split* of Prins, 2004, with several facilities).

use super::index::Index;
use super::route::Line;
use super::state::State;

/// Takes disposals behind place `keep` out of `nodes` that are not needed; `None` if the rest is not possible.
pub(super) fn without_idle_disposals(index: &Index<'_>, truck: usize, nodes: Vec<usize>, keep: usize) -> Option<Vec<usize>> {
    let jobs = nodes[1..nodes.len() - 1].iter().any(|node| *node < index.jobs);
    if !jobs && !index.trucks[truck].loaded {
        return Some(vec![nodes[0], nodes[nodes.len() - 1]]);
    }
    let mut line = Line::of(nodes, 0);
    let mut possible = line.evaluate(index, truck);
    let mut place = line.nodes.len() - 2;
    while place > keep {
        if index.is_facility(line.nodes[place]) {
            let node = line.nodes.remove(place);
            let mut trial = Line::of(line.nodes.clone(), 0);
            if trial.evaluate(index, truck) {
                possible = true;
            } else {
                line.nodes.insert(place, node);
            }
        }
        place -= 1;
    }
    possible.then_some(line.nodes)
}

/// Chooses anew where the line unloads. Only for trucks that begin empty, have no locked head, and that every
/// facility empties wholly.
pub(super) fn split_again(index: &Index<'_>, state: &mut State, truck: usize) {
    let line = &state.lines[truck];
    let end = &index.trucks[truck];
    if line.closed || !line.is_used() || end.loaded || line.free_from > 0 {
        return;
    }
    let layout = &index.layouts[end.layout];
    let facilities: Vec<usize> = (0..index.facilities).filter(|facility| layout.empties[*facility].iter().all(|empties| *empties)).collect();
    if facilities.len() != index.facilities {
        return;
    }
    let jobs: Vec<usize> = line.jobs().filter(|node| *node < index.jobs).collect();
    let disposals = line.visits().len() - jobs.len();
    if jobs.is_empty() || (facilities.len() == 1 && disposals == 1) {
        return;
    }
    if let Some(nodes) = split(index, truck, &jobs, &facilities) {
        let old = line.cost;
        let mut trial = Line::of(nodes, line.free_from);
        if trial.nodes == line.nodes || !trial.evaluate(index, truck) || trial.cost >= old - 1e-9 {
            return;
        }
        state.try_nodes(index, truck, trial.nodes);
    }
}

/// The cheapest sequence that serves `jobs` in this order, by kilometres and hours, without regard to time windows.
fn split(index: &Index<'_>, truck: usize, jobs: &[usize], facilities: &[usize]) -> Option<Vec<usize>> {
    let (end, vehicle) = (&index.trucks[truck], &index.problem.vehicles[truck]);
    let price = |from: usize, to: usize| end.per_m * index.metres(from, to) + end.per_ms * index.drive_ms(from, to) as f64;
    let count = jobs.len();
    let mut along = vec![0.0; count];
    for at in 1..count {
        along[at] = along[at - 1] + price(jobs[at - 1], jobs[at]);
    }
    // enter[j]: cheapest to stand at jobs[j] having begun a trip with it; by[j]: facility before it.
    let mut enter = vec![f64::INFINITY; count + 1];
    let mut by = vec![usize::MAX; count + 1];
    let mut begun_at = vec![usize::MAX; count + 1];
    let mut facility_of = vec![usize::MAX; count + 1];
    enter[0] = price(end.start_node, jobs[0]);
    let width = vehicle.compartments.len();
    let mut total = f64::INFINITY;
    for last in 0..count {
        // The trip ends after jobs[last]: where did it begin?
        let mut loads = vec![[0.0_f64; 2]; width];
        let mut best = (f64::INFINITY, usize::MAX);
        for first in (0..=last).rev() {
            for part in index.parts(truck, jobs[first]) {
                loads[part.compartment][0] += part.load.kg;
                loads[part.compartment][1] += part.load.l;
            }
            let kg: f64 = loads.iter().map(|load| load[0]).sum();
            let fits = loads.iter().zip(&vehicle.compartments).all(|(load, part)| load[0] <= part.capacity.kg && load[1] <= part.capacity.l);
            if !fits || kg > vehicle.payload_kg {
                break;
            }
            let cost = enter[first] + along[last] - along[first];
            if cost < best.0 {
                best = (cost, first);
            }
        }
        if best.1 == usize::MAX {
            continue;
        }
        let next = jobs.get(last + 1).copied().unwrap_or(end.end_node);
        for facility in facilities {
            let node = index.jobs + facility;
            let cost = best.0 + price(jobs[last], node) + end.per_ms * index.service_ms[node] as f64 + price(node, next);
            let known = if last + 1 == count { &mut total } else { &mut enter[last + 1] };
            if cost < *known {
                *known = cost;
                by[last + 1] = node;
            }
        }
        begun_at[last] = best.1;
        facility_of[last] = by[last + 1];
    }
    if !total.is_finite() {
        return None;
    }
    let mut nodes = vec![end.end_node];
    let mut last = count - 1;
    loop {
        nodes.push(facility_of[last]);
        let first = begun_at[last];
        nodes.extend(jobs[first..=last].iter().rev());
        if first == 0 {
            break;
        }
        last = first - 1;
    }
    nodes.push(end.start_node);
    nodes.reverse();
    Some(nodes)
}
