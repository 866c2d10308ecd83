//! Shortest paths in time: Dijkstra's method for many targets, A* for one; both by edges that are entered at a time.
//!
//! A search keeps its arrays between queries and marks what it touched, so that a short path costs only what it looked at.

use super::geo::Point;
use super::graph::{Direction, Edge, RoadGraph};
use super::snap::Snap;
use super::speeds::Weights;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A drive along edges, from a place on the first to a place on the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Edges in order; at least one.
    pub edges: Vec<Edge>,
    /// Metres from the start of the first edge to where the drive begins.
    pub from_m: f64,
    /// Metres from the start of the last edge to where it ends.
    pub to_m: f64,
    /// Length, m.
    pub metres: f64,
    /// Duration, s.
    pub seconds: f64,
}

impl Route {
    /// Each edge with the metres of its part: (edge, from, to) from the edge's start.
    pub fn parts<'a>(&'a self, graph: &'a RoadGraph) -> impl Iterator<Item = (Edge, f64, f64)> + 'a {
        let last = self.edges.len().saturating_sub(1);
        self.edges.iter().enumerate().map(move |(index, edge)| {
            let from_m = if index == 0 { self.from_m } else { 0.0 };
            let to_m = if index == last { self.to_m } else { graph.length_m(edge.segment()) };
            (*edge, from_m, to_m)
        })
    }
}

/// Where a search begins or ends: an edge and the metres from its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct On {
    pub edge: Edge,
    pub at_m: f64,
}

/// How a target was reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub seconds: f64,
    pub metres: f64,
    /// Seed on the same edge, when no crossing was passed.
    direct: Option<u32>,
}

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub seconds: f64,
    pub metres: f64,
}

impl Limit {
    pub(crate) const NONE: Limit = Limit { seconds: f64::INFINITY, metres: f64::INFINITY };
}

#[derive(Debug, Clone, Copy)]
struct Label {
    stamp: u32,
    /// Edge that led here; with `SEED` set its tail lies before the start.
    parent: u32,
    seconds: f64,
    metres: f64,
    /// First target that is entered at this node, and the stamp of that.
    target: u32,
    target_stamp: u32,
}

const SEED: u32 = 1 << 31;
const NO_TARGET: u32 = u32::MAX;

/// A reusable search.
#[derive(Debug, Clone, Default)]
pub struct Search {
    labels: Vec<Label>,
    stamp: u32,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    next_target: Vec<u32>,
    pub(crate) found: Vec<Option<Found>>,
}

impl Search {
    /// The quickest drive between two positions; `None` if there is none. Both directions of both segments are tried.
    pub fn route(&mut self, graph: &RoadGraph, weights: &dyn Weights, from: Snap, to: Snap) -> Option<Route> {
        let (seeds, targets) = (positions(graph, from), positions(graph, to));
        self.explore(graph, weights, &seeds, &targets, Limit::NONE, Some(to.point(graph)));
        let best = (0..targets.len()).filter(|target| self.found[*target].is_some()).min_by(|a, b| {
            let seconds = |target: usize| self.found[target].map_or(f64::INFINITY, |found| found.seconds);
            seconds(*a).total_cmp(&seconds(*b))
        })?;
        self.path(graph, &seeds, &targets, best)
    }

    /// Goes from the seeds to all targets (or the nearest of them when a goal is given) within a limit; see `found`.
    pub(crate) fn explore(&mut self, graph: &RoadGraph, weights: &dyn Weights, seeds: &[On], targets: &[On], limit: Limit, goal: Option<Point>) {
        self.begin(graph, targets);
        let goal = goal.map(|goal| (goal, HOPE / weights.fastest_mps(graph)));
        let hope = |node: u32| goal.map_or(0.0, |(goal, s_per_m)| graph.node_point(node).distance_m(goal) * s_per_m);
        let mut best = f64::INFINITY;
        for (index, seed) in seeds.iter().enumerate() {
            for (target, on) in targets.iter().enumerate().filter(|(_, on)| on.edge == seed.edge && on.at_m >= seed.at_m) {
                let seconds = weights.drive_s(graph, seed.edge, on.at_m - seed.at_m, 0.0);
                self.offer(target, Found { seconds, metres: on.at_m - seed.at_m, direct: Some(index as u32) }, limit, &mut best);
            }
            let metres = (graph.length_m(seed.edge.segment()) - seed.at_m).max(0.0);
            let seconds = weights.drive_s(graph, seed.edge, metres, 0.0);
            let head = graph.head(seed.edge);
            self.relax(head, seconds, metres, seed.edge.0 | SEED, limit, hope(head));
        }
        let mut unsettled = targets.len();
        while let Some(Reverse((key, node))) = self.heap.pop() {
            let label = self.labels[node as usize];
            if f64::from_bits(key) > label.seconds + hope(node) {
                continue; // an older, longer way
            }
            if goal.is_some() && f64::from_bits(key) >= best {
                break;
            }
            let mut target = if label.target_stamp == self.stamp { label.target } else { NO_TARGET };
            while target != NO_TARGET {
                let on = targets[target as usize];
                let seconds = label.seconds + weights.drive_s(graph, on.edge, on.at_m, label.seconds);
                self.offer(target as usize, Found { seconds, metres: label.metres + on.at_m, direct: None }, limit, &mut best);
                unsettled -= 1;
                target = self.next_target[target as usize];
            }
            if unsettled == 0 && goal.is_none() {
                break;
            }
            for edge in graph.leaving(node) {
                let metres = graph.length_m(edge.segment());
                let seconds = label.seconds + weights.drive_s(graph, edge, metres, label.seconds);
                let head = graph.head(edge);
                if self.labels[head as usize].stamp != self.stamp || seconds < self.labels[head as usize].seconds {
                    self.relax(head, seconds, label.metres + metres, edge.0, limit, hope(head));
                }
            }
        }
    }

    fn begin(&mut self, graph: &RoadGraph, targets: &[On]) {
        const FRESH: Label = Label { stamp: 0, parent: 0, seconds: 0.0, metres: 0.0, target: NO_TARGET, target_stamp: 0 };
        if self.labels.len() != graph.nodes() || self.stamp == u32::MAX {
            self.labels = vec![FRESH; graph.nodes()];
            self.stamp = 0;
        }
        self.stamp += 1;
        self.heap.clear();
        self.found.clear();
        self.found.resize(targets.len(), None);
        self.next_target.clear();
        self.next_target.resize(targets.len(), NO_TARGET);
        for (index, on) in targets.iter().enumerate() {
            let label = &mut self.labels[graph.tail(on.edge) as usize];
            if label.target_stamp == self.stamp {
                self.next_target[index] = label.target;
            }
            (label.target, label.target_stamp) = (index as u32, self.stamp);
        }
    }

    fn relax(&mut self, node: u32, seconds: f64, metres: f64, parent: u32, limit: Limit, hope_s: f64) {
        let label = &mut self.labels[node as usize];
        if seconds <= limit.seconds && metres <= limit.metres && (label.stamp != self.stamp || seconds < label.seconds) {
            *label = Label { stamp: self.stamp, parent, seconds, metres, ..*label };
            self.heap.push(Reverse(((seconds + hope_s).to_bits(), node)));
        }
    }

    fn offer(&mut self, target: usize, found: Found, limit: Limit, best: &mut f64) {
        let better = self.found[target].is_none_or(|known| found.seconds < known.seconds);
        if better && found.seconds.is_finite() && found.seconds <= limit.seconds && found.metres <= limit.metres {
            self.found[target] = Some(found);
            *best = best.min(found.seconds);
        }
    }

    /// The way to a target of the last exploration.
    pub(crate) fn path(&self, graph: &RoadGraph, seeds: &[On], targets: &[On], target: usize) -> Option<Route> {
        let (found, on) = (self.found.get(target).copied().flatten()?, targets[target]);
        if let Some(seed) = found.direct {
            let from_m = seeds[seed as usize].at_m;
            return Some(Route { edges: vec![on.edge], from_m, to_m: on.at_m, metres: found.metres, seconds: found.seconds });
        }
        let mut edges = vec![on.edge];
        let mut node = graph.tail(on.edge);
        let from_m = loop {
            let parent = self.labels[node as usize].parent;
            let edge = Edge(parent & !SEED);
            edges.push(edge);
            if parent & SEED != 0 {
                break seeds.iter().find(|seed| seed.edge == edge).map_or(0.0, |seed| seed.at_m);
            }
            node = graph.tail(edge);
        };
        edges.reverse();
        Some(Route { edges, from_m, to_m: on.at_m, metres: found.metres, seconds: found.seconds })
    }
}

/// A little less than the truth, so that rounding of points never makes A* too hopeful.
const HOPE: f64 = 0.999;

/// A position as places on the edges that may be driven there.
pub(crate) fn positions(graph: &RoadGraph, snap: Snap) -> Vec<On> {
    [Direction::Forward, Direction::Backward]
        .into_iter()
        .map(|direction| On { edge: snap.segment.edge(direction), at_m: snap.from_start_m(graph, direction) })
        .filter(|on| graph.is_open(on.edge))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roads::closure::Closures;
    use crate::roads::speeds::{FreeFlow, Profile, Speeds};
    use crate::roads::testing::{all_pairs_s, graph_of, grid_city, line, random_city};
    use crate::roads::{RoadClass, Ways};
    use rustc_hash::FxHashMap;

    #[test]
    fn routes_agree_with_an_exhaustive_method_on_random_networks() {
        for seed in 0..6 {
            let graph = random_city(seed, 60);
            let expected = all_pairs_s(&graph);
            let mut search = Search::default();
            let segments: Vec<_> = graph.all().collect();
            for (index, from) in segments.iter().enumerate().step_by(3) {
                let to = segments[(index * 7 + 3) % segments.len()];
                let snap = |segment, share: f64| Snap { segment, along_m: graph.length_m(segment) * share, distance_m: 0.0 };
                let (a, b) = (snap(*from, 0.3), snap(to, 0.6));
                // By hand: leave by either end, come in by either end, or stay on the segment.
                let mut best = f64::INFINITY;
                for start in positions(&graph, a) {
                    for end in positions(&graph, b) {
                        let free = |on: On| graph.free_flow_mps(on.edge.segment());
                        if start.edge == end.edge && end.at_m >= start.at_m {
                            best = best.min((end.at_m - start.at_m) / free(start));
                        }
                        let out_s = (graph.length_m(start.edge.segment()) - start.at_m) / free(start);
                        best = best.min(out_s + expected[graph.head(start.edge) as usize][graph.tail(end.edge) as usize] + end.at_m / free(end));
                    }
                }
                match search.route(&graph, &FreeFlow, a, b) {
                    Some(route) => {
                        assert!((route.seconds - best).abs() < 1e-6 * best.max(1.0), "seed {seed}: {} {best}", route.seconds);
                        let sum_s: f64 = route.parts(&graph).map(|(edge, from_m, to_m)| (to_m - from_m) / graph.free_flow_mps(edge.segment())).sum();
                        let sum_m: f64 = route.parts(&graph).map(|(_, from_m, to_m)| to_m - from_m).sum();
                        assert!((sum_s - route.seconds).abs() < 1e-6 * best.max(1.0) && (sum_m - route.metres).abs() < 1e-3);
                        assert!(route.edges.windows(2).all(|pair| graph.head(pair[0]) == graph.tail(pair[1])));
                        assert!(route.edges.iter().all(|edge| graph.is_open(*edge)));
                    }
                    None => assert!(best.is_infinite()),
                }
            }
        }
    }

    #[test]
    fn a_closure_is_driven_around_and_a_closed_only_road_has_no_route() {
        let graph = graph_of(vec![
            line("direct", &[(0.0, 0.0), (300.0, 0.0)], Ways::Both),
            line("up", &[(0.0, 0.0), (0.0, 200.0)], Ways::Both),
            line("over", &[(0.0, 200.0), (300.0, 200.0)], Ways::Both),
            line("down", &[(300.0, 200.0), (300.0, 0.0)], Ways::Both),
            line("in", &[(-100.0, 0.0), (0.0, 0.0)], Ways::Both),
            line("out", &[(300.0, 0.0), (400.0, 0.0)], Ways::Both),
        ]);
        let snap = |id: &str| Snap { segment: graph.segment(id).unwrap(), along_m: 50.0, distance_m: 0.0 };
        let (profile, live, mut closures) = (Profile::default(), FxHashMap::default(), Closures::default());
        let direct = graph.segment("direct").unwrap().edge(Direction::Forward);
        closures.close(direct, 1_000, 2_000);
        let ids = |closures: &Closures, at_ms| {
            let speeds = Speeds { profile: &profile, closures, live: &live, at_ms, offset_ms: 0 };
            let route = Search::default().route(&graph, &speeds, snap("in"), snap("out"))?;
            Some(route.edges.iter().map(|edge| graph.id(edge.segment()).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(ids(&closures, 900_000).unwrap(), ["in", "direct", "out"], "over again");
        // The crossing is reached within the closure if one leaves at once.
        closures.close(direct, 0, 60_000);
        assert_eq!(ids(&closures, 0).unwrap(), ["in", "up", "over", "down", "out"]);
        closures.close(graph.segment("over").unwrap().edge(Direction::Forward), 0, 60_000);
        assert_eq!(ids(&closures, 0), None);
    }

    #[test]
    fn the_hour_decides_which_way_is_quicker() {
        let graph = grid_city(12, 12, 150.0);
        let mut profile = Profile::default();
        (0..168).for_each(|hour| profile.set_class(RoadClass::Primary, hour, if (7..10).contains(&(hour % 24)) { 0.2 } else { 1.0 }));
        let (closures, live) = (Closures::default(), FxHashMap::default());
        let snap = |x_m, y_m| graph.nearest(Point { x_m, y_m }, 500.0).unwrap();
        let primary = |at_h: i64| {
            let speeds = Speeds { profile: &profile, closures: &closures, live: &live, at_ms: at_h * 3_600_000, offset_ms: 0 };
            let route = Search::default().route(&graph, &speeds, snap(-800.0, -70.0), snap(800.0, -70.0)).unwrap();
            route.edges.iter().filter(|edge| graph.class(edge.segment()) == RoadClass::Primary).count()
        };
        assert!(primary(3) >= 5, "at night along the main road: {}", primary(3));
        assert!(primary(8) <= 2, "not in the jam: {}", primary(8));
    }
}
