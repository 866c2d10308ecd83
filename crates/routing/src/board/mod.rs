//! From a board's rows to a plan and back: what the `route` topology's `optimize` stage asks and publishes. Pure: the
//! time comes from the rows, the solver's clock is the caller's, the road network comes in behind [`Roads`].
//!
//! The flow of one question, in the order of the files:
//! * `row`, `facts`, `read`: the wide rows of an area become typed facts; rows that say nothing usable become [`Trouble`];
//! * `zone`: local days and opening hours in absolute time, across clock changes;
//! * `memo`: what the last accepted answer left behind — the plan in force, the proposal, what persons decided;
//! * `decide`: decisions of persons, applied to exactly the version that they were made about;
//! * `need`, `fleet`, `places`, `build`: the planning problem of the day;
//! * `choose`: the solver's plan against the one that stands: changes must be worth it;
//! * `driven`: what was planned against what was driven;
//! * `columns`, `compose`: plans, changes and troubles as rows;
//! * `answer`: all of it in a row, and [`judge`], which repeats it without the solver and asks the checker.
//!
//! Beside it stand two operators of the topology: `duty` says which area plans a vehicle, `spread` brings what concerns
//! everybody to every area.

mod answer;
mod build;
mod choose;
mod columns;
mod compose;
mod decide;
mod driven;
pub mod duty;
mod facts;
mod fleet;
mod memo;
mod need;
pub mod pace;
mod packed;
mod places;
mod read;
mod row;
mod settings;
pub mod spread;
mod start;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_decisions;
#[cfg(test)]
mod tests_duty;
mod zone;

pub use answer::{Answered, Clock, Mode, Objection, Question, answer, judge};
pub use columns::output_columns;
pub use facts::Trouble;
pub use memo::Memo;
pub use places::{GreatCircle, Roads, RoadsQuery};
pub use settings::Settings;

/// The road network that an answer was made with, from its memo.
pub fn network_of(memo: &[u8]) -> String {
    Memo::read(memo).0.settings.network
}

/// A board that cannot be answered at all.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BoardError {
    /// A setting of the file.
    #[error("setting `{name}`: {why}; hint: see docs/routing.md, In the pipeline")]
    Setting {
        /// Which.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The rows are not those of a board.
    #[error("{0}; hint: the board needs the columns kind, entity_id and event_id")]
    Rows(String),
    /// The solver, or the checker refused everything.
    #[error(transparent)]
    Plan(#[from] crate::plan::solve::ladder::PlanError),
    /// The roads.
    #[error("roads: {0}")]
    Roads(String),
    /// The answer does not fit its columns: a defect here.
    #[error("the answer's rows: {0}")]
    Columns(String),
}
