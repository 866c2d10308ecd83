//! The engine's pure core. It turns fetched records into closed epochs and tells its caller, by effects, what to
//! fetch, commit, predict and release. There is no clock, network, thread or file in here: time, randomness and
//! answers are passed in, which is what lets a simulator drive the very same code that runs in production.
//!
//! Read in this order: [`records`] (bytes from the log) → [`codec`] (bytes ⇄ columns) → [`batch`] (the system
//! columns) → [`operator`] (what a stage is) → [`store`] (a stage's keyed state) → [`task`] (one partition's slice of
//! a topology) → [`worker`] (many tasks, ownership and the commit machine) → [`log`] (what a log must offer).

pub mod aggregate;
pub mod batch;
pub mod build;
pub mod changelog;
pub mod codec;
pub mod custom;
pub mod epoch;
pub mod expr;
pub mod log;
pub mod nested;
pub mod op;
pub mod operator;
pub mod origin;
pub mod partition;
pub mod predict;
pub mod records;
pub mod repartition;
pub mod row;
pub mod solve;
pub mod source;
pub mod spec;
mod stage_specs;
pub mod store;
pub mod table;
pub mod task;
pub mod worker;
