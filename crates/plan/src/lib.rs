//! Topology files to checked plans; SQL to expressions. A file goes through four steps: YAML with places (`yaml`),
//! the file as written (`file`, `read`), checks against the contracts with everything resolved (`check`, `stages`,
//! `windows`, `sinks`), and the plan (`plan`). Problems of all steps are collected and reported together.
//!
//! Architecture invariant: nothing here reads a clock, a network or a thread; only this crate and `views` see
//! DataFusion, and what leaves this crate are `ws_stream` types.

pub mod aggregates;
mod check;
pub mod contracts;
pub mod defaults;
mod draw;
mod draw_stages;
pub mod duration;
pub mod errors;
mod expr;
mod file;
mod file_stages;
pub mod fixture;
mod fixture_answers;
mod fixture_read;
mod fixture_run;
mod functions;
mod graph;
mod hash_share;
mod list_text;
mod parse;
mod plan;
mod read;
mod read_stage;
mod read_stages;
mod sinks;
mod slices;
mod stage_absence;
mod stage_edge;
mod stage_infer;
mod stage_join;
mod stage_select;
mod stages;
mod state_hash;
mod windows;
pub mod yaml;

pub use contracts::{Contracts, ModelContract, TopicContract};
pub use errors::{PlanErrors, Problem};
pub use plan::{Plan, load, load_file};

#[cfg(test)]
mod tests;
