//! Takes strings of neighbouring stops out of neighbouring routes: the ruin of SISR, *Slack Induction by String Removals*
//! (Christiaens and Vanden Berghe, Transportation Science 54(2), 2020), with trips and locked heads.

use rand::Rng;
use rand::rngs::SmallRng;

use super::index::Index;
use super::state::{ABSENT, State};
use super::trips::without_idle_disposals;

/// Average number of stops taken out.
const AVERAGE_REMOVED: f64 = 10.0;
/// Longest string.
const LONGEST: usize = 10;
/// How often a string is taken with a piece in its middle left standing.
const SPLIT_STRING: f64 = 0.5;
/// How often a whole trip, from one disposal to the next, is taken out as well.
const WHOLE_TRIP: f64 = 0.03;
/// Longest trip taken out whole.
const LONGEST_TRIP: usize = 60;
/// How often that piece does not grow.
const PIECE_STAYS: f64 = 0.01;

/// Takes out jobs around a seed; they are absent afterwards.
pub(super) fn ruin(index: &Index<'_>, state: &mut State, rng: &mut SmallRng) {
    let served = index.open.len().saturating_sub(state.absent.len());
    let used = state.lines.iter().filter(|line| line.is_used()).count();
    if served == 0 || used == 0 {
        return;
    }
    let longest = (LONGEST as f64).min(served as f64 / used as f64);
    let most_strings = 4.0 * AVERAGE_REMOVED / (1.0 + longest) - 1.0;
    let strings = rng.random_range(1.0..most_strings.max(1.0) + 1.0) as usize;
    let seed = index.open[rng.random_range(0..index.open.len())];
    let neighbours = std::iter::once(seed).chain(index.near_jobs[seed].iter().map(|job| *job as usize));
    let mut done = 0;
    if rng.random_bool(WHOLE_TRIP) && state.truck_of[seed] != ABSENT {
        done += usize::from(take_trip(index, state, state.truck_of[seed], seed));
    }
    for job in neighbours {
        if done >= strings {
            break;
        }
        let truck = state.truck_of[job];
        if truck == ABSENT || state.is_touched(truck) {
            continue;
        }
        if take_string(index, state, truck, job, longest, rng) {
            done += 1;
        }
    }
}

/// Takes out the trip that collects `job`: strings alone hardly ever move one to another truck.
fn take_trip(index: &Index<'_>, state: &mut State, truck: usize, job: usize) -> bool {
    let line = &state.lines[truck];
    let Some(at) = line.nodes.iter().position(|node| *node == job).filter(|at| *at > line.free_from) else { return false };
    let is_job = |place: &usize| line.nodes[*place] < index.jobs;
    let first = (line.free_from + 1..=at).rev().take_while(is_job).last().unwrap_or(at);
    let last = (at..line.nodes.len() - 1).take_while(is_job).last().unwrap_or(at);
    last - first < LONGEST_TRIP && take_out(index, state, truck, &(first..=last).collect::<Vec<_>>())
}

fn take_string(index: &Index<'_>, state: &mut State, truck: usize, job: usize, longest: f64, rng: &mut SmallRng) -> bool {
    let line = &state.lines[truck];
    // Places of jobs that may go, in order.
    let free: Vec<usize> = (line.free_from + 1..line.nodes.len() - 1).filter(|place| line.nodes[*place] < index.jobs).collect();
    let Some(at) = free.iter().position(|place| line.nodes[*place] == job) else { return false };
    let most = (free.len() as f64).min(longest);
    let length = (rng.random_range(1.0..most + 1.0) as usize).clamp(1, free.len());
    let taken: Vec<usize> = if length > 1 && length < free.len() && rng.random_bool(SPLIT_STRING) {
        split_string(&free, at, length, rng)
    } else {
        let first = first_of(at, length, free.len(), rng);
        free[first..first + length].to_vec()
    };
    take_out(index, state, truck, &taken)
}

/// Takes the jobs at `places`, in rising order, out of the line.
fn take_out(index: &Index<'_>, state: &mut State, truck: usize, places: &[usize]) -> bool {
    let line = &state.lines[truck];
    let mut nodes = line.nodes.clone();
    let mut gone = Vec::with_capacity(places.len());
    for place in places.iter().rev() {
        gone.push(nodes.remove(*place));
    }
    let Some(nodes) = without_idle_disposals(index, truck, nodes, line.free_from) else { return false };
    if !state.try_nodes(index, truck, nodes) {
        return false;
    }
    for job in gone {
        state.settle(job, ABSENT);
    }
    true
}

/// Where a string of `length` that contains `at` begins, evenly chosen.
fn first_of(at: usize, length: usize, count: usize, rng: &mut SmallRng) -> usize {
    let lowest = (at + 1).saturating_sub(length);
    let highest = at.min(count - length);
    rng.random_range(lowest..=highest)
}

/// A longer string of which a piece in the middle stays.
fn split_string(free: &[usize], at: usize, length: usize, rng: &mut SmallRng) -> Vec<usize> {
    let mut stays = 1;
    while length + stays < free.len() && rng.random::<f64>() > PIECE_STAYS {
        stays += 1;
        if rng.random_bool(0.5) {
            break;
        }
    }
    let first = first_of(at, length + stays, free.len(), rng);
    let gap = rng.random_range(1..=length.max(2) - 1);
    let string = &free[first..first + length + stays];
    string[..gap].iter().chain(&string[gap + stays..]).copied().collect()
}
