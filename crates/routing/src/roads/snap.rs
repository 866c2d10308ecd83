//! A position on a segment: where a site, a depot or a truck meets the network.

use super::geo::Point;
use super::graph::{Direction, RoadGraph, Segment};

/// A position on a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snap {
    /// The segment.
    pub segment: Segment,
    /// Distance from its first point, m.
    pub along_m: f64,
    /// Distance from the point that was snapped, m.
    pub distance_m: f64,
}

impl Snap {
    /// Metres from the start of the edge in a direction to here.
    pub fn from_start_m(&self, graph: &RoadGraph, direction: Direction) -> f64 {
        match direction {
            Direction::Forward => self.along_m,
            Direction::Backward => graph.length_m(self.segment) - self.along_m,
        }
    }

    /// Where it is.
    pub fn point(&self, graph: &RoadGraph) -> Point {
        graph.at(self.segment, self.along_m, Direction::Forward).0
    }
}
