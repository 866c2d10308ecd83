//! Ruin and recreate under simulated annealing: SISR's loop over the state of `state`. With an iteration budget, the same
//! seed gives the same plan on any machine, which no solver that is stopped or steered by a clock can promise.

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::index::Index;
use super::insert::{Look, best_slot, insert_by_regret, put};
use super::ruin::ruin;
use super::state::State;
use super::trips::split_again;
use super::{Budget, SolveError, Solved, Solver, build, warm};
use crate::plan::answer::Plan;
use crate::plan::problem::Problem;

/// How often a gap is overlooked.
const BLINK: f64 = 0.01;
/// Optional jobs that are left out and tried again in one step, at most.
const ABSENT_TRIED: usize = 12;
/// Steps assumed before anything is known of the pace.
const SLOW_PACE: u64 = 10_000;
/// Iterations between two looks at the clock.
const LOOK_AT_CLOCK: u64 = 16;

/// The search of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RuinRecreate {
    /// First and last temperature, in shares of the cost per served job of the first state; by the pace if absent: the
    /// more steps there will be for each job, the hotter the search may begin and the warmer it may end.
    pub temperature: Option<(f64, f64)>,
}

impl RuinRecreate {
    /// For repairs in the middle of a day: it begins cold, so that what need not change does not.
    pub fn repair() -> Self {
        Self { temperature: Some((0.002, 0.0005)) }
    }
}

/// Temperatures for a search that takes `steps_per_job` in all: found by trying on the public instances, where 5 steps
/// a job want a cold search and 1,700 a hot one.
fn by_pace(steps_per_job: f64) -> (f64, f64) {
    let hot = (steps_per_job / 1_500.0).clamp(0.02, 1.0);
    (hot, 0.01 * hot.powf(0.35))
}

impl Solver for RuinRecreate {
    fn name(&self) -> &'static str {
        "ruin-recreate"
    }

    fn solve(&self, problem: &Problem, budget: &Budget<'_>, seed: u64, warm_start: Option<&Plan>) -> Result<Solved, SolveError> {
        super::validate::validate(problem)?;
        let index = Index::new(problem)?;
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut state = match warm_start {
            Some(plan) => warm::state_of(&index, plan),
            None => State::empty(&index),
        };
        state.begin();
        insert_by_regret(&index, &mut state, &mut rng, &mut || budget.is_over());
        let (best, iterations) = self.anneal(&index, state, budget, &mut rng);
        let plan = build::plan(&index, best, &mut rng);
        Ok(Solved { plan, iterations, stopped: budget.is_over() })
    }
}

impl RuinRecreate {
    /// The best state found from `state` on, and how many steps were taken.
    pub(super) fn anneal(&self, index: &Index<'_>, mut state: State, budget: &Budget<'_>, rng: &mut SmallRng) -> (State, u64) {
        let served = index.open.len().saturating_sub(state.absent.len()).max(1) as f64;
        let routes: f64 = state.lines.iter().map(|line| line.cost).sum();
        let mut cost = state.cost(index);
        let mut best = state.clone();
        let mut best_cost = cost;
        let mut done = 0;
        let mut temperature = 0.0;
        while done < budget.iterations {
            if done.is_multiple_of(LOOK_AT_CLOCK) {
                let progress = budget.progress(done);
                if progress >= 1.0 {
                    break;
                }
                let steps = if done == 0 { budget.iterations.min(SLOW_PACE) as f64 } else { done as f64 / progress.max(1e-9) };
                let (hot, cold) = self.temperature.unwrap_or_else(|| by_pace(steps / index.open.len().max(1) as f64));
                temperature = routes / served * hot * (cold / hot).powf(progress);
            }
            state.begin();
            ruin(index, &mut state, rng);
            recreate(index, &mut state, rng);
            for truck in state.touched() {
                split_again(index, &mut state, truck);
            }
            let new = state.cost(index);
            if new < cost - temperature * rng.random::<f64>().max(f64::MIN_POSITIVE).ln() {
                cost = new;
                if new < best_cost - 1e-9 {
                    best_cost = new;
                    best.clone_from(&state);
                }
            } else {
                state.undo(index);
            }
            done += 1;
        }
        (best, done)
    }
}

/// Puts absent jobs back, one after the other, each where it is cheapest now.
fn recreate(index: &Index<'_>, state: &mut State, rng: &mut SmallRng) {
    // What was out before this step may be much where much is optional: a few of it are enough.
    let (new, old) = state.new_and_old_absent();
    let mut queue = new.to_vec();
    queue.extend(old.choose_multiple(rng, ABSENT_TRIED));
    queue.shuffle(rng);
    // Random, large first, far first, near first; then narrow windows, early and late ones.
    let window = |job: usize| (index.windows[job].first().map_or(0, |window| window.from_ms), index.windows[job].last().map_or(0, |window| window.to_ms));
    let key = |order: u32, job: usize| match order {
        0..4 => 0.0,
        4..8 => -index.collected[job].kg - index.collected[job].l,
        8..10 => -index.metres(job, index.trucks[0].end_node),
        10 => index.metres(job, index.trucks[0].end_node),
        11..13 => (window(job).1 - window(job).0) as f64,
        13..15 => window(job).0 as f64,
        _ => -(window(job).1 as f64),
    };
    let order = rng.random_range(0..17);
    queue.sort_by(|a, b| key(order, *a).total_cmp(&key(order, *b)));
    for job in queue {
        // An estimate may fail once where travel depends on the hour; then the job waits for the next step.
        if let (Some(slot), _) = best_slot(index, state, job, Look { blink: BLINK, below: index.penalty[job] }, rng) {
            put(index, state, job, slot);
        }
    }
}
