//! The `vrp-pragmatic` library behind the [`Solver`] trait.
//!
//! What it has: capacities in several dimensions, disposal trips as reloads, optional breaks, windows, heterogeneous
//! vehicles, skills, relations. What it lacks is modelled or repaired here:
//!
//! * a truck may end loaded → its end is a place that is reached through the best disposal (`model`);
//! * no load at the start → a mandatory pickup that is locked to the departure (`model`);
//! * no caps of a day, no trips that must not begin early, streams that share compartments differently from truck to
//!   truck → stops that break them are taken out afterwards and inserted anew by our own heuristic;
//! * prizes are compared lexicographically, not with costs → our heuristic chooses which optional jobs it is given;
//! * it is not repeatable, not even with a seed (its operators are rewarded by the time they took) → plans are recorded, never
//!   computed again.

mod model;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use vrp_core::models::problem::{JobIdDimension, VehicleIdDimension};
use vrp_core::prelude::{DefaultRandom, Environment, VrpConfigBuilder};
use vrp_core::rosomaxa::evolution::TelemetryMode;
use vrp_core::rosomaxa::utils::Parallelism;
use vrp_pragmatic::format::problem::PragmaticProblem;

use super::index::Index;
use super::insert::insert_by_regret;
use super::state::State;
use super::{Budget, SolveError, Solved, Solver, build, warm};
use crate::plan::answer::Plan;
use crate::plan::problem::Problem;

/// The library as a solver, on one thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct VrpPragmatic;

/// Generations when the budget has no bound of its own: far more than an hour holds.
const MAX_GENERATIONS: u64 = 1_000_000;

impl Solver for VrpPragmatic {
    fn name(&self) -> &'static str {
        "vrp-pragmatic 1.25"
    }

    fn solve(&self, problem: &Problem, budget: &Budget<'_>, seed: u64, warm_start: Option<&Plan>) -> Result<Solved, SolveError> {
        super::validate::validate(problem)?;
        let index = Index::new(problem)?;
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut first = match warm_start {
            Some(plan) => warm::state_of(&index, plan),
            None => State::empty(&index),
        };
        first.begin();
        insert_by_regret(&index, &mut first, &mut rng, &mut || budget.is_over());
        // The library counts whole seconds.
        let seconds = budget.left_ms().map(|left_ms| usize::try_from(left_ms / 1000).unwrap_or(0));
        if seconds == Some(0) {
            return Ok(Solved { plan: build::plan(&index, first, &mut rng), iterations: 0, stopped: true });
        }
        let (lines, iterations) = run(&index, &first, seconds, budget.iterations.min(MAX_GENERATIONS))?;
        let mut state = State::empty(&index);
        for (truck, nodes) in lines {
            warm::take_over(&index, &mut state, truck, nodes);
        }
        state.begin();
        insert_by_regret(&index, &mut state, &mut rng, &mut || false);
        let best = if state.cost(&index) <= first.cost(&index) { state } else { first };
        Ok(Solved { plan: build::plan(&index, best, &mut rng), iterations, stopped: budget.is_over() })
    }
}

/// Visits of each truck that drives.
type Visits = Vec<(usize, Vec<usize>)>;

/// Runs the library; returns the visits of each truck and the generations.
fn run(index: &Index<'_>, first: &State, seconds: Option<usize>, generations: u64) -> Result<(Visits, u64), SolveError> {
    let model = model::Model::new(index, first);
    let library = |message: String| SolveError::Library { library: "vrp-pragmatic", message };
    let core = (model.problem, vec![model.matrix]).read_pragmatic().map_err(|error| library(error.to_string()))?;
    let core = Arc::new(core);
    let environment = Environment::new(Arc::new(DefaultRandom::default()), None, Parallelism::new(1, 1), Arc::new(|_| ()), false);
    let config = VrpConfigBuilder::new(core.clone())
        .set_environment(Arc::new(environment))
        .set_telemetry_mode(TelemetryMode::OnlyMetrics { track_population: usize::MAX })
        .prebuild()
        .map_err(|error| library(error.to_string()))?
        .with_max_time(seconds)
        .with_max_generations(Some(generations as usize))
        .build()
        .map_err(|error| library(error.to_string()))?;
    let solution = vrp_core::solver::Solver::new(core, config).solve().map_err(|error| library(error.to_string()))?;
    let trucks: BTreeMap<&str, usize> = index.problem.vehicles.iter().enumerate().map(|(truck, vehicle)| (vehicle.vehicle_id.as_str(), truck)).collect();
    let mut lines = Vec::new();
    for route in &solution.routes {
        let truck = route.actor.vehicle.dimens.get_vehicle_id().and_then(|id| trucks.get(id.as_str()).copied());
        let Some(truck) = truck else { continue };
        let mut nodes = Vec::new();
        for activity in route.tour.all_activities() {
            let id = activity.job.as_ref().and_then(|job| job.dimens.get_job_id());
            let Some(id) = id else { continue };
            if let Some(job) = id.strip_prefix(model::JOB).and_then(|job| job.parse().ok()) {
                nodes.push(job);
            } else if id.contains("_reload_") {
                nodes.extend(model.nodes.get(activity.place.location).copied().filter(|node| index.is_facility(*node)));
            }
        }
        nodes.push(last_disposal(index, truck, nodes.last().copied()));
        lines.push((truck, nodes));
    }
    Ok((lines, solution.telemetry.map_or(0, |metrics| metrics.generations as u64)))
}

/// The facility through which the end was reached.
fn last_disposal(index: &Index<'_>, truck: usize, last: Option<usize>) -> usize {
    let from = last.unwrap_or(index.trucks[truck].start_node);
    model::way_home(index, truck, from).map_or(index.jobs, |(facility, _, _)| facility)
}
