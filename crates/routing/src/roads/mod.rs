//! The road network: a directed graph in compact arrays, read from and written to GeoJSON lines, with nearest-road
//! queries, shortest paths by time of the week, closures, and travel matrices.
//!
//! A *segment* is a piece of road between two crossings, with an id that stays. It has up to two *edges*: one for each
//! direction that may be driven. Everything works in metres on one plane ([`Plane`]) and in seconds; the hour of the week
//! and closures come in through [`Weights`]. No clock, file or thread is in here.
//!
//! Deliberately absent: turn restrictions and turn costs, the side of the street a truck stops on, and limits of height
//! and weight. What a network cannot say is not guessed.

mod build;
mod class;
mod closure;
mod component;
mod geo;
mod geojson;
mod graph;
mod grid;
mod matrix;
mod search;
mod snap;
mod speeds;
mod tags;
#[cfg(test)]
pub(crate) mod testing;
mod ways;

pub use build::{BuildError, GraphBuilder, NewSegment, Ways};
pub use class::RoadClass;
pub use closure::{Closure, Closures};
pub use geo::{Place, Plane, Point, nearest_on, turn_deg};
pub use geojson::{Import, ReadError, Reading, read, write};
pub use graph::{Direction, Edge, RoadGraph, Segment};
pub use matrix::{Matrix, matrix};
pub(crate) use search::{Limit, On};
pub use search::{Route, Search};
pub use snap::Snap;
pub use speeds::{FreeFlow, HOURS_PER_WEEK, Profile, Speeds, WEEK_MS, Weights, hour_of_week};
