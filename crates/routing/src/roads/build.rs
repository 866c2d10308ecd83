//! Making a network: segments go in with their points, nodes are where points coincide, and out come the sorted arrays.

use super::class::RoadClass;
use super::component::largest_strong_component;
use super::geo::{Place, Plane, Point};
use super::graph::RoadGraph;
use super::grid::Grid;
use std::collections::HashMap;

/// Segments at most: indexes of edges are 32 bits wide.
const SEGMENTS_MAX: usize = 1 << 28;
/// Points of one segment at most.
const POINTS_MAX: usize = 100_000;
/// Farthest corners of one network, m: beyond it the plane would lie.
const EXTENT_MAX_M: f64 = 400_000.0;
/// Two ends closer than this are one node: 1e-7 degrees, the grain of OpenStreetMap.
const GRAIN_PER_DEGREE: f64 = 1e7;

/// Directions in which a segment may be driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ways {
    /// Both.
    Both,
    /// In the order of its points only.
    Forward,
    /// Against the order of its points only.
    Backward,
}

/// A segment to add.
#[derive(Debug, Clone)]
pub struct NewSegment {
    /// Id, unique in the network.
    pub id: String,
    /// Class.
    pub class: RoadClass,
    /// Directions that may be driven.
    pub ways: Ways,
    /// Speed when nothing is in the way, m/s.
    pub free_flow_mps: f64,
    /// Length, m; `None` measures the points.
    pub length_m: Option<f64>,
    /// Points, at least two.
    pub points: Vec<Place>,
}

/// Why a network cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// Two segments with one id.
    #[error("segment id `{id}` occurs twice; ids must be unique, since speeds and closures name them")]
    Twice {
        /// The id.
        id: String,
    },
    /// A segment cannot be used.
    #[error("segment `{id}`: {what}")]
    Segment {
        /// Its id.
        id: String,
        /// What is wrong with it.
        what: String,
    },
    /// Nothing was added.
    #[error("the network has no segment; were the lines filtered to roads (`highway=*`)?")]
    Empty,
    /// Too much for one network.
    #[error("the network {what}; cut it to the region that is served")]
    TooLarge {
        /// What is too large.
        what: String,
    },
}

/// Collects segments.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    segments: Vec<NewSegment>,
}

impl GraphBuilder {
    /// Adds a segment.
    pub fn add(&mut self, segment: NewSegment) -> Result<(), BuildError> {
        let bad = |what: String| Err(BuildError::Segment { id: segment.id.clone(), what });
        if segment.id.is_empty() {
            return bad("the id is empty".to_owned());
        }
        if segment.points.len() < 2 || segment.points.len() > POINTS_MAX {
            return bad(format!("{} points; 2 to {POINTS_MAX} make a segment", segment.points.len()));
        }
        if let Some(place) = segment.points.iter().find(|place| !place.is_valid()) {
            return bad(format!("{}, {} is no place; GeoJSON has longitude first", place.latitude_deg, place.longitude_deg));
        }
        if !(0.3..=70.0).contains(&segment.free_flow_mps) {
            return bad(format!("free flow of {} m/s; 0.3 to 70 are usable", segment.free_flow_mps));
        }
        if segment.length_m.is_some_and(|length_m| !(length_m > 0.0 && length_m < 1e6)) {
            return bad(format!("length of {} m", segment.length_m.unwrap_or_default()));
        }
        if self.segments.len() >= SEGMENTS_MAX {
            return Err(BuildError::TooLarge { what: format!("has more than {SEGMENTS_MAX} segments") });
        }
        self.segments.push(segment);
        Ok(())
    }

    /// Segments so far.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The network. The order of adding does not matter: segments are sorted by place, so that what is near lies together.
    pub fn build(self) -> Result<RoadGraph, BuildError> {
        let mut segments = self.segments;
        let plane = plane_of(&segments)?;
        segments.sort_by_cached_key(|segment| (curve_place(&plane, segment.points[0]), segment.id.clone()));
        let mut graph = RoadGraph {
            plane,
            nodes: Vec::new(),
            id_text: String::new(),
            id_ends: Vec::with_capacity(segments.len()),
            by_id: (0..segments.len() as u32).collect(),
            ends: Vec::with_capacity(segments.len()),
            length_m: Vec::with_capacity(segments.len()),
            free_flow_mps: Vec::with_capacity(segments.len()),
            class: Vec::with_capacity(segments.len()),
            ways: Vec::with_capacity(segments.len()),
            shape: Vec::new(),
            shape_from: vec![0],
            out: Vec::new(),
            out_from: Vec::new(),
            main: Vec::new(),
            grid: Grid::default(),
            fingerprint: 0,
            fastest_mps: segments.iter().map(|segment| segment.free_flow_mps as f32).fold(1.0, f32::max),
        };
        let mut nodes: HashMap<(i64, i64), u32> = HashMap::new();
        for segment in &segments {
            push(&mut graph, &mut nodes, segment);
        }
        graph.fingerprint = fingerprint(&graph);
        let mut by_id = std::mem::take(&mut graph.by_id);
        by_id.sort_by(|a, b| segments[*a as usize].id.cmp(&segments[*b as usize].id));
        if let Some(pair) = by_id.windows(2).find(|pair| segments[pair[0] as usize].id == segments[pair[1] as usize].id) {
            return Err(BuildError::Twice { id: segments[pair[0] as usize].id.clone() });
        }
        graph.by_id = by_id;
        link(&mut graph);
        graph.main = largest_strong_component(&graph);
        graph.grid = Grid::new(&graph);
        Ok(graph)
    }
}

/// The plane around the middle of all first points.
fn plane_of(segments: &[NewSegment]) -> Result<Plane, BuildError> {
    let first = segments.first().map(|segment| segment.points[0]).ok_or(BuildError::Empty)?;
    // Measured from one of them, so that a network on the date line has its middle there and not in Greenwich.
    let rough = Plane::around(first);
    let (mut low, mut high) = (Point::default(), Point::default());
    for point in segments.iter().flat_map(|segment| &segment.points).map(|place| rough.point(*place)) {
        low = Point { x_m: low.x_m.min(point.x_m), y_m: low.y_m.min(point.y_m) };
        high = Point { x_m: high.x_m.max(point.x_m), y_m: high.y_m.max(point.y_m) };
    }
    let extent_m = low.distance_m(high);
    if extent_m > EXTENT_MAX_M {
        return Err(BuildError::TooLarge { what: format!("spans {:.0} km, {:.0} at most", extent_m / 1e3, EXTENT_MAX_M / 1e3) });
    }
    Ok(Plane::around(rough.place(low.towards(high, 0.5))))
}

/// Place along a Z curve with cells of about 30 m.
fn curve_place(plane: &Plane, place: Place) -> u64 {
    let point = plane.point(place);
    let cell = |metres: f64| ((metres + EXTENT_MAX_M) / 30.0) as u64;
    let spread = |value: u64| (0..24).fold(0, |sum, bit| sum | (value >> bit & 1) << (2 * bit));
    spread(cell(point.x_m)) | spread(cell(point.y_m)) << 1
}

fn push(graph: &mut RoadGraph, nodes: &mut HashMap<(i64, i64), u32>, segment: &NewSegment) {
    let plane = graph.plane;
    let narrow = |place: Place| {
        let point = plane.point(place);
        [point.x_m as f32, point.y_m as f32]
    };
    let mut node_at = |place: Place| {
        let key = ((place.latitude_deg * GRAIN_PER_DEGREE).round() as i64, (place.longitude_deg * GRAIN_PER_DEGREE).round() as i64);
        *nodes.entry(key).or_insert_with(|| {
            graph.nodes.push(narrow(place));
            graph.nodes.len() as u32 - 1
        })
    };
    let points = &segment.points;
    let ends = [node_at(points[0]), node_at(points[points.len() - 1])];
    let drawn_m: f64 = points.windows(2).map(|pair| plane.point(pair[0]).distance_m(plane.point(pair[1]))).sum();
    graph.id_text.push_str(&segment.id);
    graph.id_ends.push(graph.id_text.len() as u32);
    graph.ends.push(ends);
    graph.length_m.push(segment.length_m.unwrap_or(drawn_m).max(0.1) as f32);
    graph.free_flow_mps.push(segment.free_flow_mps as f32);
    graph.class.push(segment.class);
    graph.ways.push(match segment.ways {
        Ways::Both => 3,
        Ways::Forward => 1,
        Ways::Backward => 2,
    });
    graph.shape.extend(points.iter().map(|place| narrow(*place)));
    graph.shape_from.push(graph.shape.len() as u32);
}

/// The edges that leave each node, by counting.
fn link(graph: &mut RoadGraph) {
    let mut from = vec![0_u32; graph.nodes.len() + 1];
    let edges: Vec<_> = graph.edges().collect();
    for edge in &edges {
        from[graph.tail(*edge) as usize + 1] += 1;
    }
    for node in 1..from.len() {
        from[node] += from[node - 1];
    }
    let mut next = from.clone();
    let mut out = vec![0; edges.len()];
    for edge in edges {
        let place = &mut next[graph.tail(edge) as usize];
        out[*place as usize] = edge.0;
        *place += 1;
    }
    (graph.out, graph.out_from) = (out, from);
}

/// FNV-1a over everything that a stored index or speed could depend on.
fn fingerprint(graph: &RoadGraph) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    };
    feed(graph.id_text.as_bytes());
    for index in 0..graph.ends.len() {
        feed(&graph.id_ends[index].to_le_bytes());
        feed(&[graph.ways[index], graph.class[index] as u8]);
        feed(&graph.length_m[index].to_le_bytes());
        feed(&graph.free_flow_mps[index].to_le_bytes());
    }
    for at in &graph.shape {
        feed(&at[0].to_le_bytes());
        feed(&at[1].to_le_bytes());
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roads::graph::{Direction, Segment};
    use crate::roads::testing::line;

    fn build(segments: Vec<NewSegment>) -> Result<RoadGraph, BuildError> {
        let mut builder = GraphBuilder::default();
        for segment in segments {
            builder.add(segment)?;
        }
        builder.build()
    }

    #[test]
    fn ends_that_coincide_are_one_node_and_crossings_without_one_are_none() {
        // a and b meet; c passes over a's middle like a bridge.
        let graph = build(vec![
            line("a", &[(0.0, 0.0), (200.0, 0.0)], Ways::Both),
            line("b", &[(200.0, 0.0), (200.0, 100.0)], Ways::Forward),
            line("c", &[(100.0, -50.0), (100.0, 50.0)], Ways::Both),
        ])
        .unwrap();
        assert_eq!((graph.nodes(), graph.segments()), (5, 3));
        let (a, b) = (graph.segment("a").unwrap(), graph.segment("b").unwrap());
        assert_eq!(graph.head(a.edge(Direction::Forward)), graph.tail(b.edge(Direction::Forward)));
        assert!(graph.is_open(a.edge(Direction::Backward)) && !graph.is_open(b.edge(Direction::Backward)));
        assert_eq!(graph.leaving(graph.head(a.edge(Direction::Forward))).count(), 2, "back along a, on along b");
        assert!((graph.length_m(a) - 200.0).abs() < 0.1);
        assert_eq!(graph.segment("d"), None);
        let ids: Vec<&str> = graph.all().map(|segment| graph.id(segment)).collect();
        assert!(ids.iter().all(|id| graph.segment(id).is_some_and(|segment| graph.id(segment) == *id)));
    }

    #[test]
    fn the_order_of_adding_does_not_matter_and_a_change_does() {
        let lines = || vec![line("a", &[(0.0, 0.0), (90.0, 0.0)], Ways::Both), line("b", &[(90.0, 0.0), (90.0, 90.0)], Ways::Both)];
        let (one, mut turned) = (build(lines()).unwrap(), lines());
        turned.reverse();
        assert_eq!(build(turned).unwrap().fingerprint(), one.fingerprint());
        let mut slower = lines();
        slower[0].free_flow_mps = 3.0;
        assert_ne!(build(slower).unwrap().fingerprint(), one.fingerprint());
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let twice = build(vec![line("a", &[(0.0, 0.0), (90.0, 0.0)], Ways::Both), line("a", &[(0.0, 0.0), (0.0, 50.0)], Ways::Both)]);
        assert_eq!(twice.unwrap_err(), BuildError::Twice { id: "a".to_owned() });
        assert_eq!(build(Vec::new()).unwrap_err(), BuildError::Empty);
        let turned = NewSegment { points: vec![Place::new(144.9, -37.8), Place::new(144.9, -37.9)], ..line("t", &[(0.0, 0.0), (1.0, 0.0)], Ways::Both) };
        assert!(build(vec![turned]).unwrap_err().to_string().contains("longitude first"));
        let far = NewSegment { points: vec![Place::new(10.0, 10.0), Place::new(50.0, 10.0)], ..line("f", &[(0.0, 0.0), (1.0, 0.0)], Ways::Both) };
        assert!(matches!(build(vec![far]).unwrap_err(), BuildError::TooLarge { .. }));
    }

    #[test]
    fn a_point_along_a_bent_segment_has_its_course() {
        let graph = build(vec![line("a", &[(0.0, 0.0), (100.0, 0.0), (100.0, 50.0)], Ways::Both)]).unwrap();
        let at = |along_m, direction| graph.at(Segment(0), along_m, direction);
        let start = graph.at(Segment(0), 0.0, Direction::Forward).0;
        let (point, course_deg) = at(40.0, Direction::Forward);
        assert!((point.x_m - start.x_m - 40.0).abs() < 0.1 && (course_deg - 90.0).abs() < 0.1);
        let (point, course_deg) = at(125.0, Direction::Backward);
        assert!((point.y_m - start.y_m - 25.0).abs() < 0.1 && (course_deg - 180.0).abs() < 0.1);
        assert!((at(900.0, Direction::Forward).0.y_m - start.y_m - 50.0).abs() < 0.1, "cut to the end");
    }
}
