//! The third log: simulated, with a clock and faults from one seed. It drives the very worker that runs in production
//! through kills, lost and delayed replies, aborts, fencing and rebalances, and judges what committed readers see.
//!
//! Read in this order: [`broker`] (what a broker promises and what it does not) → [`log`] (the log trait on it) →
//! [`sim`] (time, processes, faults) → [`scenario`], [`workload`] (what is run) → [`verdict`] (what must hold) →
//! [`report`] (many seeds). How to read a failing seed: `docs/simulation.md`.

pub mod bins;
pub mod board;
mod board_data;
pub mod broker;
pub mod json;
pub mod log;
pub mod meter;
mod reference;
pub mod report;
pub mod rng;
pub mod scenario;
pub mod sim;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod verdict;
pub mod workload;
pub mod zone_calls;
pub mod zones;

pub use log::SimLog;
pub use report::{Report, SimOptions, Summary, run_many, run_seed};
pub use scenario::Scenario;
pub use sim::Profile;
pub use verdict::Verdict;
pub use workload::Size;
