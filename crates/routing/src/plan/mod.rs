//! Planning: a problem's definition, plans, the checker, solvers, and what changed between two plans.
//!
//! [`problem`] defines precisely what a plan must keep; [`check()`] is written from it alone, and every solver behind
//! [`solve::Solver`] is judged by it before a plan leaves this module.

pub mod answer;
pub mod check;
pub mod diff;
pub mod prize;
pub mod problem;
pub mod reliability;
pub mod replan;
pub mod solve;
#[cfg(test)]
pub(crate) mod testkit;
pub mod travel;

pub use answer::{Plan, Route, SkipReason, Skipped, Stop, StopKind};
pub use check::{FleetConflict, Rule, Violation, check, check_fleet};
pub use diff::{Cause, Causes, Change, ChangeKind, ChangeReason, Diff, diff};
pub use prize::{Outlook, Prices, Prize, prize};
pub use problem::Problem;
pub use reliability::Reliability;
pub use solve::{Budget, RuinRecreate, SolveError, Solved, Solver};
