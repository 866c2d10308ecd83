//! Map matching: from a vehicle's positions to the segments it drove, row by row.
//!
//! A hidden Markov model after Newson and Krumm (*Hidden Markov Map Matching Through Noise and Sparseness*, 2009): the
//! hidden state is a place on an edge, a position is likely the nearer it is, a step is likely the closer the length of
//! its way is to what was driven — by the odometer where there is one, else as the crow flies. It runs *online*: a step
//! is told as soon as all ways that are still possible share it, or when the window is full (Goh et al., 2012).
//!
//! What telematics do to it, and what is done about that:
//!
//! | it happens | it is handled |
//! |---|---|
//! | no positions for minutes | the chain ends and a new one begins ([`Options::gap_ms`]) |
//! | an upload of held positions, newest first | rows behind the newest one are gathered, sorted, and matched as a chain of their own once no more come |
//! | duplicates, stragglers within what was matched | dropped and counted |
//! | a truck that stands | its rows are one step; a long stand ends the chain; time next to a stand tells no speed |
//! | a clock that is wrong | a row whose sending was stamped far from its reception is dropped |
//! | a jump | a row that no way leads to is set aside, and dropped when the next row goes on from before |
//! | off the road | the row is dropped; after a few the chain ends |
//!
//! [`Matcher::observe`] is a function of state and row: no clock, and the state has a byte form of bounded size.

mod chain;
mod drive;
mod matcher;
mod model;
mod row;
mod stage;
mod state;
mod stop_stage;
mod stops;
#[cfg(test)]
mod tests;

pub use matcher::{Matcher, Observed};
pub use row::{Fix, Options, Traversal, Verdict};
pub use stage::MatchStage;
pub use state::{StateError, VehicleState};
pub use stop_stage::StopStage;
pub use stops::{Move, Stayed, Stop, StopOptions, StopState};
