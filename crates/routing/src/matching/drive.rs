//! From decided places to traversals: the way between two of them, its time shared out over its edges, and edges that go
//! on over several places put together again.

use super::chain::Decided;
use super::row::Traversal;
use crate::roads::{Edge, FreeFlow, Limit, On, RoadGraph, Search};

/// Driving an edge short by this still counts as all of it, m.
const WHOLE_SLACK_M: f64 = 1.0;

/// An edge that is being driven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Driving {
    pub edge: Edge,
    pub from_m: f64,
    pub to_m: f64,
    pub entered_ms: i64,
    pub left_ms: i64,
    pub moving: bool,
}

/// The drive so far: the newest decided place and the edge under the wheels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Drive {
    pub foot: Option<Decided>,
    pub driving: Option<Driving>,
}

impl Drive {
    /// Goes on to a decided place; puts the edges that were left into `out`.
    pub(super) fn go(&mut self, graph: &RoadGraph, search: &mut Search, to: Decided, out: &mut Vec<Traversal>) {
        if to.first {
            self.end(graph, out);
        }
        if let Some(from) = self.foot.replace(to).filter(|_| !to.first) {
            self.drive(graph, search, from, to, out);
        }
    }

    /// The chain has ended: tells the edge that was not driven to its end.
    pub(super) fn end(&mut self, graph: &RoadGraph, out: &mut Vec<Traversal>) {
        self.foot = None;
        if let Some(driving) = self.driving.take() {
            tell(graph, driving, out);
        }
    }

    fn drive(&mut self, graph: &RoadGraph, search: &mut Search, from: Decided, to: Decided, out: &mut Vec<Traversal>) {
        let (seeds, targets) = ([On { edge: from.edge, at_m: from.at_m }], [On { edge: to.edge, at_m: to.at_m }]);
        // Beside a stand, nobody knows when the wheels began to turn.
        let moving = !from.standing && !to.standing;
        if from.edge == to.edge && to.at_m <= from.at_m {
            // A slip back: time passes, and no metre.
            self.add(graph, Driving { edge: to.edge, from_m: from.at_m, to_m: from.at_m, entered_ms: from.left_ms, left_ms: to.arrived_ms, moving }, out);
            return;
        }
        search.explore(graph, &FreeFlow, &seeds, &targets, Limit::NONE, None);
        let Some(route) = search.path(graph, &seeds, &targets, 0) else {
            return;
        };
        let free_s = route.seconds.max(1e-3);
        let lasts_ms = (to.arrived_ms - from.left_ms) as f64;
        let mut passed_s = 0.0;
        for (edge, from_m, to_m) in route.parts(graph) {
            let entered_ms = from.left_ms + (lasts_ms * passed_s / free_s).round() as i64;
            passed_s += (to_m - from_m) / graph.free_flow_mps(edge.segment());
            let left_ms = from.left_ms + (lasts_ms * (passed_s / free_s).min(1.0)).round() as i64;
            self.add(graph, Driving { edge, from_m, to_m, entered_ms, left_ms, moving }, out);
        }
    }

    fn add(&mut self, graph: &RoadGraph, part: Driving, out: &mut Vec<Traversal>) {
        match self.driving.as_mut() {
            // The same edge again further on; from its start again only after a turn around the block.
            Some(driving) if driving.edge == part.edge && (part.from_m - driving.to_m).abs() < 1.0 => {
                driving.to_m = part.to_m;
                driving.left_ms = part.left_ms;
                driving.moving &= part.moving;
            }
            _ => {
                if let Some(driving) = self.driving.replace(part) {
                    tell(graph, driving, out);
                }
            }
        }
    }
}

fn tell(graph: &RoadGraph, driving: Driving, out: &mut Vec<Traversal>) {
    let metres = driving.to_m - driving.from_m;
    if metres > 0.0 {
        let whole = metres >= graph.length_m(driving.edge.segment()) - WHOLE_SLACK_M;
        out.push(Traversal { edge: driving.edge, entered_ms: driving.entered_ms, left_ms: driving.left_ms, metres, whole, moving: driving.moving });
    }
}
