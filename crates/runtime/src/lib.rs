//! The edge around the pure core: threads that execute a worker's effects on a real log, disk and predictors.
//!
//! One driver thread polls, computes and steps the worker; blocking work has threads of its own — the committer (one
//! transaction at a time), the housekeeper (restore, snapshots, truncation) and the predictors — and comes back
//! through one bounded channel. So a slow stage, disk or broker never stops polling or heartbeats.
#![allow(clippy::disallowed_methods, reason = "an edge crate: clocks are read here and handed to the core")]

pub mod driver;
pub mod housekeeper;
pub mod metrics;
pub mod models;
pub mod patience;
pub mod prepare;
pub mod replay;
pub mod snapshots;
mod solving;
pub mod status;
mod threads;

/// Processing time, UTC milliseconds.
pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
