//! Networks for tests: single lines, grids with main roads, random ones; and an exhaustive method to compare with.

use super::build::{GraphBuilder, NewSegment, Ways};
use super::class::RoadClass;
use super::geo::{Place, Plane, Point};
use super::graph::RoadGraph;

/// The plane of all test networks.
pub(crate) fn plane() -> Plane {
    Plane::around(Place::new(-37.8, 144.9))
}

/// A residential line by metres.
pub(crate) fn line(id: &str, points: &[(f64, f64)], ways: Ways) -> NewSegment {
    let points = points.iter().map(|(x_m, y_m)| plane().place(Point { x_m: *x_m, y_m: *y_m })).collect();
    NewSegment { id: id.to_owned(), class: RoadClass::Residential, ways, free_flow_mps: 8.0, length_m: None, points }
}

pub(crate) fn graph_of(segments: Vec<NewSegment>) -> RoadGraph {
    let mut builder = GraphBuilder::default();
    segments.into_iter().for_each(|segment| builder.add(segment).unwrap());
    builder.build().unwrap()
}

/// A grid of streets around the origin; every fifth one is a primary road with twice the speed. Ids `h-COLUMN-ROW` lead
/// east from a crossing, `v-COLUMN-ROW` north.
pub(crate) fn grid_city(columns: i32, rows: i32, block_m: f64) -> RoadGraph {
    let mut segments = Vec::new();
    let at = |column: i32, row: i32| {
        let middle = |count: i32| f64::from(count - 1) / 2.0;
        ((f64::from(column) - middle(columns)) * block_m, (f64::from(row) - middle(rows)) * block_m)
    };
    for column in 0..columns {
        for row in 0..rows {
            let mut put = |id: String, to: (f64, f64), main: bool| {
                let mut segment = line(&id, &[at(column, row), to], Ways::Both);
                if main {
                    (segment.class, segment.free_flow_mps) = (RoadClass::Primary, 16.0);
                }
                segments.push(segment);
            };
            if column + 1 < columns {
                put(format!("h-{column}-{row}"), at(column + 1, row), row % 5 == 0);
            }
            if row + 1 < rows {
                put(format!("v-{column}-{row}"), at(column, row + 1), column % 5 == 0);
            }
        }
    }
    graph_of(segments)
}

/// Crossings at random, joined at random; a third of the roads one-way.
pub(crate) fn random_city(seed: u64, nodes: usize) -> RoadGraph {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let places: Vec<(f64, f64)> = (0..nodes).map(|_| (draw(3_000) as f64 - 1_500.0, draw(3_000) as f64 - 1_500.0)).collect();
    let segments = (0..nodes * 2)
        .filter_map(|index| {
            let (a, b) = (places[draw(nodes)], places[draw(nodes)]);
            let ways = [Ways::Both, Ways::Both, Ways::Forward][draw(3)];
            let speed = 4.0 + draw(14) as f64;
            (a != b).then(|| NewSegment { free_flow_mps: speed, ..line(&format!("s{index}"), &[a, b], ways) })
        })
        .collect();
    graph_of(segments)
}

/// Seconds between all nodes by Floyd and Warshall's method.
pub(crate) fn all_pairs_s(graph: &RoadGraph) -> Vec<Vec<f64>> {
    let count = graph.nodes();
    let mut seconds = vec![vec![f64::INFINITY; count]; count];
    for (node, row) in seconds.iter_mut().enumerate() {
        row[node] = 0.0;
    }
    for edge in graph.edges() {
        let cell = &mut seconds[graph.tail(edge) as usize][graph.head(edge) as usize];
        *cell = cell.min(graph.length_m(edge.segment()) / graph.free_flow_mps(edge.segment()));
    }
    for middle in 0..count {
        for from in 0..count {
            for to in 0..count {
                seconds[from][to] = seconds[from][to].min(seconds[from][middle] + seconds[middle][to]);
            }
        }
    }
    seconds
}
