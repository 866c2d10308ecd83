//! What a topology calls for a plan: a quick answer first, then the search with what is left of the time, and nothing
//! leaves that the checker has not accepted.
//!
//! The quick answer is the plan before, repaired: what was served stays, what does not fit any more is inserted anew. So there is a
//! checked plan within the repair's time, whatever the search does with the rest.

use thiserror::Error;

use super::index::{Index, NEVER_MS};
use super::state::State;
use super::{Budget, RuinRecreate, SolveError, Solver, validate};
use crate::plan::answer::Plan;
use crate::plan::check::{Violation, check};
use crate::plan::problem::Problem;

/// Who made the plan that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// The search.
    Model,
    /// The quick repair.
    Heuristic,
}

impl Rung {
    /// The code in `route.plan`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Heuristic => "heuristic",
        }
    }
}

/// An accepted plan with how it came about.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The plan; the checker finds nothing.
    pub plan: Plan,
    /// Who made it.
    pub rung: Rung,
    /// Solver that made it.
    pub solver: &'static str,
    /// Its iterations.
    pub iterations: u64,
    /// Whether the search used up its time or went beyond it.
    pub stopped: bool,
    /// What the search's plan was refused for, if it was.
    pub refused: Vec<Violation>,
    /// Why the search had no answer at all, if so.
    pub failed: Option<SolveError>,
}

/// No plan was accepted.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PlanError {
    /// The problem cannot be solved at all.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// Both the repair and the search were refused.
    #[error("no plan was accepted, the first of {} faults: {}; hint: see `overtime_needed` for trucks that cannot be home in time", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Refused(Vec<Violation>),
}

/// Steps of the repair: enough to mend what a day's events break, few enough for tens of milliseconds.
pub const REPAIR_ITERATIONS: u64 = 300;

/// The best accepted plan within `budget`.
///
/// # Errors
/// [`PlanError`] if the problem is invalid, or the checker refuses every answer.
pub fn plan_checked(problem: &Problem, solver: &dyn Solver, budget: &Budget<'_>, seed: u64, before: Option<&Plan>) -> Result<Accepted, PlanError> {
    let repair = RuinRecreate::repair();
    let quick = repair.solve(problem, &Budget::iterations(REPAIR_ITERATIONS), seed, before)?;
    let faults = check(problem, &quick.plan);
    let mut accepted = faults.is_empty().then(|| Accepted {
        plan: quick.plan.clone(),
        rung: Rung::Heuristic,
        solver: repair.name(),
        iterations: quick.iterations,
        stopped: budget.is_over(),
        refused: Vec::new(),
        failed: None,
    });
    if !budget.is_over() {
        let start = if faults.is_empty() { Some(&quick.plan) } else { before };
        match solver.solve(problem, budget, seed, start) {
            Ok(solved) => {
                let refused = check(problem, &solved.plan);
                let better = accepted.as_ref().is_none_or(|accepted| solved.plan.cost <= accepted.plan.cost);
                let stopped = solved.stopped || budget.is_over();
                if refused.is_empty() && better {
                    accepted = Some(Accepted {
                        plan: solved.plan,
                        rung: Rung::Model,
                        solver: solver.name(),
                        iterations: solved.iterations,
                        stopped,
                        refused,
                        failed: None,
                    });
                } else if let Some(accepted) = &mut accepted {
                    accepted.refused = refused;
                    accepted.stopped = stopped;
                }
            }
            Err(error) => {
                if let Some(accepted) = &mut accepted {
                    accepted.failed = Some(error);
                }
            }
        }
    }
    accepted.ok_or(PlanError::Refused(faults))
}

/// A truck that cannot be home by the end of its shift whatever is planned, and when it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overtime {
    /// The vehicle.
    pub vehicle_id: String,
    /// Its earliest end if it collects nothing more, unloads and goes home.
    pub ends_ms: i64,
}

/// Trucks under way for which no plan can be accepted as their shifts stand. Whoever plans decides: extend the shift to
/// `ends_ms` (and have it recorded), or take the truck out of service.
///
/// # Errors
/// As [`validate`].
pub fn overtime_needed(problem: &Problem) -> Result<Vec<Overtime>, SolveError> {
    validate(problem)?;
    let mut eased = problem.clone();
    eased.locks.clear();
    for vehicle in &mut eased.vehicles {
        vehicle.shift.to_ms = NEVER_MS / 2;
    }
    let index = Index::new(&eased)?;
    let state = State::empty(&index);
    let mut late = Vec::new();
    for (truck, vehicle) in problem.vehicles.iter().enumerate().filter(|(truck, vehicle)| vehicle.under_way.is_some() && index.trucks[*truck].in_service) {
        let line = &state.lines[truck];
        let end = line.leave.last().copied();
        let due = |before_ms: i64| index.trucks[truck].pause.is_some_and(|rule| before_ms > rule.latest_ms);
        let ends_ms = end.map_or(NEVER_MS, |end| if due(end.before_ms) { end.after_ms } else { end.before_ms });
        if line.closed || ends_ms > vehicle.shift.to_ms {
            late.push(Overtime { vehicle_id: vehicle.vehicle_id.clone(), ends_ms });
        }
    }
    Ok(late)
}
