//! The solver's plan against the one that stands. Crews and dispatchers pay for every change, so a plan changes when it
//! must, or when that is worth it; when only its times are off, it is told anew.

use super::BoardError;
use super::decide::signature;
use super::memo::{Memo, rounded};
use super::settings::Settings;
use crate::plan::check::check;
use crate::plan::diff::{Causes, ChangeKind, diff};
use crate::plan::problem::Problem;
use crate::plan::solve::ladder::{Accepted, PlanError};
use crate::plan::{Budget, Plan, RuinRecreate, Solver};

/// What is to be published.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub plan: Plan,
    pub rung: &'static str,
    pub solver: String,
    pub iterations: u64,
    /// Only times differ from the newest version: no choice for a person.
    pub retimed: bool,
}

/// The plan before with as little changed as the problem demands: what does not fit goes, what must be in comes in.
pub(super) fn kept(problem: &Problem, before: Option<&Plan>, seed: u64) -> Result<Option<Plan>, BoardError> {
    let Some(before) = before else { return Ok(None) };
    let solved = RuinRecreate::repair().solve(problem, &Budget::iterations(0), seed, Some(before)).map_err(PlanError::from)?;
    let plan = rounded(solved.plan);
    Ok(check(problem, &plan).is_empty().then_some(plan))
}

/// How two plans differ for those who drive them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    None,
    Times,
    Stops,
}

fn difference(before: &Plan, after: &Plan, settings: &Settings, now_ms: i64) -> Difference {
    let changes = diff(before, after, &Causes::default()).changes;
    if changes.iter().any(|c| c.kind != ChangeKind::Retimed) {
        return Difference::Stops;
    }
    // What is over cannot be late any more.
    let ahead = |c: &crate::plan::Change| {
        let route = after.routes.iter().find(|r| Some(&r.vehicle_id) == c.vehicle_id.as_ref());
        route.zip(c.position).and_then(|(r, p)| r.stops.get(p)).is_some_and(|s| s.arrives_ms >= now_ms)
    };
    let late = changes.iter().filter(|c| ahead(c)).filter_map(|c| c.shift_ms).any(|ms| ms.abs() >= settings.deviation_ms);
    if late { Difference::Times } else { Difference::None }
}

/// What to publish, if anything. `must` says that a person asked for a new plan.
pub(super) fn choose(memo: &Memo, settings: &Settings, kept: Option<Plan>, found: Accepted, now_ms: i64, must: bool) -> Option<Choice> {
    let newest = memo.newest();
    let in_force = memo.in_force.as_ref().map(|i| &i.plan);
    let searched = Choice { plan: found.plan, rung: found.rung.code(), solver: found.solver.to_string(), iterations: found.iterations, retimed: false };
    let standing = kept.map(|plan| Choice { plan, rung: "heuristic", solver: RuinRecreate::repair().name().to_string(), iterations: 0, retimed: false });
    let refused = |choice: &Choice| memo.refused.contains(&signature(in_force, &choice.plan));
    let Some(newest) = newest else { return Some(searched).filter(|c| !refused(c)) };
    let mut best = match standing {
        None => searched,
        Some(standing) => {
            let gain = standing.plan.cost - searched.plan.cost;
            let worth_it = gain >= settings.gain_minor.max(settings.gain_share * standing.plan.cost.abs());
            if worth_it && !refused(&searched) { searched } else { standing }
        }
    };
    match difference(&newest.plan, &best.plan, settings, now_ms) {
        Difference::None if !must => None,
        Difference::None | Difference::Times => {
            best.retimed = true;
            Some(best)
        }
        Difference::Stops => Some(best).filter(|c| !refused(c)),
    }
}
