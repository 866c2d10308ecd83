//! What the search starts from. A site alone is seldom worth a truck that leaves the depot, tips and comes home, and a search
//! that puts sites in one by one would never send one, although many sites together are worth it. So one start is a plan in which
//! whatever is worth something must be served: from there on what does not pay is taken out.

use super::BoardError;
use crate::plan::problem::{Need, Problem};
use crate::plan::solve::ladder::PlanError;
use crate::plan::{Budget, Plan, RuinRecreate, Solver};

/// A prize counts as something from this share of the largest on.
const WORTH: f64 = 0.1;

/// The plan in which everything of worth is served as far as it can be; `None` where nothing is optional.
pub(super) fn eager(problem: &Problem, before: Option<&Plan>, seed: u64) -> Result<Option<Plan>, BoardError> {
    let prize = |need: &Need| match need {
        Need::Optional { prize } => *prize,
        _ => 0.0,
    };
    let most = problem.jobs.iter().map(|job| prize(&job.need)).fold(0.0, f64::max);
    if most <= 0.0 || problem.vehicles.is_empty() {
        return Ok(None);
    }
    let mut all = problem.clone();
    for job in all.jobs.iter_mut().filter(|job| prize(&job.need) >= WORTH * most) {
        job.need = Need::Mandatory;
    }
    Ok(Some(as_problem(&all, before, seed)?))
}

/// A plan as an answer to a problem: what does not fit goes, what pays or must be served comes in.
pub(super) fn as_problem(problem: &Problem, plan: Option<&Plan>, seed: u64) -> Result<Plan, BoardError> {
    let solved = RuinRecreate::repair().solve(problem, &Budget::iterations(0), seed, plan).map_err(PlanError::from)?;
    Ok(solved.plan)
}

/// The starts, cheapest first: from the plan before, from the eager one, from nothing.
pub(super) fn starts(problem: &Problem, before: Option<&Plan>, seed: u64) -> Result<Vec<Plan>, BoardError> {
    let eager = eager(problem, before, seed)?;
    let mut all = vec![as_problem(problem, before, seed)?];
    if let Some(eager) = &eager {
        all.push(as_problem(problem, Some(eager), seed)?);
    }
    if before.is_some() {
        all.push(as_problem(problem, None, seed)?);
    }
    all.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    Ok(all)
}
