//! Solvers behind one trait. None of them reads a clock: what time it is is asked of the budget's function.
//!
//! * [`RuinRecreate`]: this crate's own search, made for the problem as `problem` defines it; repeatable.
//! * [`vrp::VrpPragmatic`]: the `vrp-pragmatic` library, with what it cannot express repaired afterwards.
//! * [`ladder::plan_checked`]: what a topology calls; nothing leaves it that the checker has not accepted.

mod build;
mod index;
mod insert;
pub mod ladder;
mod reasons;
mod route;
mod ruin;
mod search;
mod state;
#[cfg(test)]
mod tests;
mod trips;
mod validate;
pub mod vrp;
mod warm;

use thiserror::Error;

use super::answer::Plan;
use super::problem::Problem;

pub use index::MAX_NODES;
pub use search::RuinRecreate;
pub use validate::validate;

/// Why a problem could not be solved at all.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SolveError {
    /// More nodes than the tables are made for.
    #[error("the problem has {nodes} jobs, facilities and depots, at most {limit} fit; hint: split the planning area")]
    TooLarge {
        /// Found.
        nodes: usize,
        /// Allowed.
        limit: usize,
    },
    /// The problem contradicts itself.
    #[error("{what}; hint: {hint}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// The library behind a solver failed.
    #[error("{library}: {message}; hint: the built-in solver takes every valid problem")]
    Library {
        /// Its name.
        library: &'static str,
        /// What it said.
        message: String,
    },
}

/// How long a solver may go on: whichever bound is reached first.
pub struct Budget<'a> {
    /// Steps of the solver.
    pub iterations: u64,
    /// Milliseconds on `clock`; `None` for no bound by time, as a replay needs it.
    pub time_ms: Option<i64>,
    clock: Option<&'a (dyn Fn() -> i64 + Send + Sync)>,
    began_ms: i64,
}

impl<'a> Budget<'a> {
    /// By iterations alone.
    pub fn iterations(iterations: u64) -> Self {
        Self { iterations, time_ms: None, clock: None, began_ms: 0 }
    }

    /// By time from now on, `clock` telling milliseconds that never go back.
    pub fn time(time_ms: i64, clock: &'a (dyn Fn() -> i64 + Send + Sync)) -> Self {
        Self { iterations: u64::MAX, time_ms: Some(time_ms), began_ms: clock(), clock: Some(clock) }
    }

    /// The same, with a bound on iterations as well.
    pub fn at_most(self, iterations: u64) -> Self {
        Self { iterations, ..self }
    }

    /// Milliseconds used; 0 without a clock.
    pub fn used_ms(&self) -> i64 {
        self.clock.map_or(0, |clock| clock() - self.began_ms)
    }

    /// Milliseconds left, if time is bounded.
    pub fn left_ms(&self) -> Option<i64> {
        self.time_ms.map(|time_ms| (time_ms - self.used_ms()).max(0))
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.left_ms() == Some(0)
    }

    /// How much of the budget is used after `done` iterations, from 0 to 1.
    pub fn progress(&self, done: u64) -> f64 {
        let by_steps = done as f64 / self.iterations.max(1) as f64;
        let by_time = self.time_ms.map_or(0.0, |time_ms| self.used_ms() as f64 / time_ms.max(1) as f64);
        by_steps.max(by_time).min(1.0)
    }
}

/// A solver's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Solved {
    /// The best plan found.
    pub plan: Plan,
    /// Iterations used; for a solver that is repeatable, they and the seed make the plan again.
    pub iterations: u64,
    /// Whether the time was over before the search came to its own end.
    pub stopped: bool,
}

/// Answers problems.
///
/// Contract: a plan keeps every definition of `problem`, as far as the solver knows (the checker has the last word); jobs that
/// cannot be served are skipped with their reason, never an error; the budget's time is kept up to the finishing of the plan in hand.
pub trait Solver: Send + Sync {
    /// Name, as recorded in plans.
    fn name(&self) -> &'static str;

    /// The best plan within `budget`, from `warm_start` on if there is one (any plan of the area; what does not fit the
    /// problem any more is left out of it).
    fn solve(&self, problem: &Problem, budget: &Budget<'_>, seed: u64, warm_start: Option<&Plan>) -> Result<Solved, SolveError>;
}
