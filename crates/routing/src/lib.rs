//! Routes for waste collection: the road network and what the fleet's own positions say about it, the planning problem,
//! solvers behind one trait, and a checker that shares no code with them.

pub mod bench;
pub mod board;
mod bytes;
pub mod matching;
pub mod plan;
pub mod roads;
pub mod stage;
pub mod traffic;
