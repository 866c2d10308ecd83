//! Which edges are closed when, told apart by closure so that one can be changed or withdrawn.

use super::graph::{Direction, Edge, RoadGraph};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// A closure as `road.closure` tells it; its newest word counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Closure {
    /// Segments concerned; ids that the network does not know are passed over.
    pub segment_ids: Vec<String>,
    /// The one direction concerned; `None` for both.
    pub direction: Option<Direction>,
    /// From when, UTC ms.
    pub from_ms: i64,
    /// Until when, exclusive, UTC ms; `i64::MAX` while unknown.
    pub until_ms: i64,
}

/// The closures in force, by edge.
#[derive(Debug, Clone, Default)]
pub struct Closures {
    edges: FxHashMap<Edge, Vec<(i64, i64)>>,
}

impl Closures {
    /// The closures of a table by closure id.
    pub fn of<'a>(graph: &RoadGraph, table: impl IntoIterator<Item = &'a Closure>) -> Closures {
        let mut closures = Closures::default();
        for closure in table {
            for segment in closure.segment_ids.iter().filter_map(|id| graph.segment(id)) {
                for direction in [Direction::Forward, Direction::Backward] {
                    if closure.direction.is_none_or(|only| only == direction) {
                        closures.close(segment.edge(direction), closure.from_ms, closure.until_ms);
                    }
                }
            }
        }
        closures
    }

    /// Closes an edge for a time, half-open.
    pub fn close(&mut self, edge: Edge, from_ms: i64, until_ms: i64) {
        if from_ms < until_ms {
            self.edges.entry(edge).or_default().push((from_ms, until_ms));
        }
    }

    /// Whether an edge is closed at a time.
    pub fn is_closed(&self, edge: Edge, at_ms: i64) -> bool {
        !self.edges.is_empty() && self.edges.get(&edge).is_some_and(|times| times.iter().any(|(from_ms, until_ms)| (*from_ms..*until_ms).contains(&at_ms)))
    }

    /// Whether nothing is closed, ever.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Forgets what ended before a time.
    pub fn forget_before(&mut self, at_ms: i64) {
        self.edges.retain(|_, times| {
            times.retain(|(_, until_ms)| *until_ms > at_ms);
            !times.is_empty()
        });
    }

    /// Every closed edge with its times, in order of edges.
    pub fn all(&self) -> BTreeMap<Edge, Vec<(i64, i64)>> {
        self.edges.iter().map(|(edge, times)| (*edge, times.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roads::testing::grid_city;

    #[test]
    fn closures_name_segments_and_may_close_one_direction() {
        let graph = grid_city(3, 3, 100.0);
        let segment = graph.all().next().unwrap();
        let closure = |direction| Closure { segment_ids: vec![graph.id(segment).to_owned(), "unknown".to_owned()], direction, from_ms: 10, until_ms: 20 };
        let both = Closures::of(&graph, [&closure(None)]);
        assert_eq!(both.all().len(), 2);
        let one = Closures::of(&graph, [&closure(Some(Direction::Backward))]);
        assert!(!one.is_closed(segment.edge(Direction::Forward), 15) && one.is_closed(segment.edge(Direction::Backward), 15));
        assert!(!one.is_closed(segment.edge(Direction::Backward), 20), "half-open");
        let mut later = both.clone();
        later.forget_before(20);
        assert!(later.is_empty() && !both.is_empty());
    }
}
