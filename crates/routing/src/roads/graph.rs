//! The network in memory: arrays indexed by node, segment and edge; made once by [`GraphBuilder`](super::GraphBuilder)
//! and never changed, so that it can be shared.

use super::class::RoadClass;
use super::geo::{Place, Plane, Point};
use super::grid::Grid;

/// Index of a segment of one network. Only ids mean the same in another version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment(pub u32);

/// A segment in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge(pub u32);

/// Direction along a segment, by the order of its points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the first point to the last.
    Forward,
    /// From the last point to the first.
    Backward,
}

impl Direction {
    /// Name as in the contracts of `road.speed` and `road.closure`.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        }
    }

    /// The direction of a name.
    pub fn of_name(name: &str) -> Option<Direction> {
        [Direction::Forward, Direction::Backward].into_iter().find(|direction| direction.name() == name)
    }
}

impl Segment {
    /// The edge in a direction; whether it may be driven says [`RoadGraph::is_open`].
    pub fn edge(self, direction: Direction) -> Edge {
        Edge(self.0 * 2 + u32::from(direction == Direction::Backward))
    }
}

impl Edge {
    /// Its segment.
    pub fn segment(self) -> Segment {
        Segment(self.0 / 2)
    }

    /// Its direction.
    pub fn direction(self) -> Direction {
        if self.0.is_multiple_of(2) { Direction::Forward } else { Direction::Backward }
    }

    /// The same segment the other way.
    pub fn reversed(self) -> Edge {
        Edge(self.0 ^ 1)
    }
}

/// A road network.
#[derive(Debug, Clone)]
pub struct RoadGraph {
    pub(super) plane: Plane,
    pub(super) nodes: Vec<[f32; 2]>,
    /// Ids one after the other, with the end of each.
    pub(super) id_text: String,
    pub(super) id_ends: Vec<u32>,
    /// Segments in order of their ids.
    pub(super) by_id: Vec<u32>,
    /// Nodes of each segment: at its first and its last point.
    pub(super) ends: Vec<[u32; 2]>,
    pub(super) length_m: Vec<f32>,
    pub(super) free_flow_mps: Vec<f32>,
    pub(super) class: Vec<RoadClass>,
    /// Bit 0: forward may be driven; bit 1: backward.
    pub(super) ways: Vec<u8>,
    /// Points of each segment with its ends, and where each one's begin.
    pub(super) shape: Vec<[f32; 2]>,
    pub(super) shape_from: Vec<u32>,
    /// Edges that leave each node, and where each one's begin.
    pub(super) out: Vec<u32>,
    pub(super) out_from: Vec<u32>,
    /// Whether a node is in the largest part in which every node reaches every other.
    pub(super) main: Vec<bool>,
    pub(super) grid: Grid,
    pub(super) fingerprint: u64,
    /// Greatest free flow.
    pub(super) fastest_mps: f32,
}

impl RoadGraph {
    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.ends.len()
    }

    /// All segments.
    pub fn all(&self) -> impl Iterator<Item = Segment> + '_ {
        (0..self.ends.len() as u32).map(Segment)
    }

    /// All edges that may be driven.
    pub fn edges(&self) -> impl Iterator<Item = Edge> + '_ {
        (0..self.ends.len() as u32 * 2).map(Edge).filter(|edge| self.is_open(*edge))
    }

    /// Number that changes with ids, shapes, speeds or directions: state that speaks in indexes carries it.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The plane of all points.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Id of a segment.
    pub fn id(&self, segment: Segment) -> &str {
        let index = segment.0 as usize;
        let from = if index == 0 { 0 } else { self.id_ends[index - 1] as usize };
        &self.id_text[from..self.id_ends[index] as usize]
    }

    /// The segment of an id.
    pub fn segment(&self, id: &str) -> Option<Segment> {
        let place = self.by_id.binary_search_by(|index| self.id(Segment(*index)).cmp(id)).ok()?;
        Some(Segment(self.by_id[place]))
    }

    /// Length, m.
    pub fn length_m(&self, segment: Segment) -> f64 {
        f64::from(self.length_m[segment.0 as usize])
    }

    /// Speed when nothing is in the way, m/s.
    pub fn free_flow_mps(&self, segment: Segment) -> f64 {
        f64::from(self.free_flow_mps[segment.0 as usize])
    }

    /// Greatest free flow of all, m/s.
    pub fn fastest_mps(&self) -> f64 {
        self.fastest_mps.into()
    }

    /// Class of the road.
    pub fn class(&self, segment: Segment) -> RoadClass {
        self.class[segment.0 as usize]
    }

    /// Whether an edge may be driven.
    pub fn is_open(&self, edge: Edge) -> bool {
        self.ways[(edge.0 / 2) as usize] >> (edge.0 % 2) & 1 == 1
    }

    /// Node at the start of an edge.
    pub fn tail(&self, edge: Edge) -> u32 {
        self.ends[(edge.0 / 2) as usize][(edge.0 % 2) as usize]
    }

    /// Node at the end of an edge.
    pub fn head(&self, edge: Edge) -> u32 {
        self.ends[(edge.0 / 2) as usize][1 - (edge.0 % 2) as usize]
    }

    /// Edges that leave a node.
    pub fn leaving(&self, node: u32) -> impl Iterator<Item = Edge> + '_ {
        let (from, to) = (self.out_from[node as usize] as usize, self.out_from[node as usize + 1] as usize);
        self.out[from..to].iter().map(|edge| Edge(*edge))
    }

    /// Where a node is.
    pub fn node_point(&self, node: u32) -> Point {
        wide(self.nodes[node as usize])
    }

    /// Whether a segment lies in the main part, where every road reaches every other.
    pub fn in_main(&self, segment: Segment) -> bool {
        let [from, to] = self.ends[segment.0 as usize];
        self.main[from as usize] && self.main[to as usize]
    }

    /// Points of a segment, in its own order; at least two.
    pub fn shape(&self, segment: Segment) -> impl DoubleEndedIterator<Item = Point> + ExactSizeIterator + '_ {
        self.pieces(segment).iter().map(|at| wide(*at))
    }

    pub(super) fn pieces(&self, segment: Segment) -> &[[f32; 2]] {
        let index = segment.0 as usize;
        &self.shape[self.shape_from[index] as usize..self.shape_from[index + 1] as usize]
    }

    /// Point and course at a distance from a segment's first point, driving in a direction. The distance is cut to the segment.
    pub fn at(&self, segment: Segment, along_m: f64, direction: Direction) -> (Point, f64) {
        let shape = self.pieces(segment);
        // Lengths that were told may differ from those of the drawing: shares are what counts.
        let drawn_m: f64 = shape.windows(2).map(|pair| wide(pair[0]).distance_m(wide(pair[1]))).sum();
        let mut left_m = (along_m / self.length_m(segment).max(1e-6)).clamp(0.0, 1.0) * drawn_m;
        let last = shape.len() - 2;
        for (index, pair) in shape.windows(2).enumerate() {
            let (a, b) = (wide(pair[0]), wide(pair[1]));
            let piece_m = a.distance_m(b);
            if left_m <= piece_m || index == last {
                let share = if piece_m > 0.0 { (left_m / piece_m).min(1.0) } else { 0.0 };
                let course_deg = if direction == Direction::Forward { a.bearing_deg(b) } else { b.bearing_deg(a) };
                return (a.towards(b, share), course_deg);
            }
            left_m -= piece_m;
        }
        (wide(shape[0]), 0.0)
    }

    /// Place in degrees of a point of this network.
    pub fn place(&self, point: Point) -> Place {
        self.plane.place(point)
    }

    /// Share of the segments that lie in the main part.
    pub fn main_share(&self) -> f64 {
        let count = self.all().filter(|segment| self.in_main(*segment)).count();
        count as f64 / self.segments().max(1) as f64
    }

    /// Smallest and largest coordinates: south-west and north-east corner.
    pub fn bounds(&self) -> (Place, Place) {
        let fold = |pick: fn(f64, f64) -> f64, start: f64| {
            self.shape
                .iter()
                .map(|at| wide(*at))
                .fold(Point { x_m: start, y_m: start }, |known, at| Point { x_m: pick(known.x_m, at.x_m), y_m: pick(known.y_m, at.y_m) })
        };
        (self.place(fold(f64::min, f64::INFINITY)), self.place(fold(f64::max, f64::NEG_INFINITY)))
    }
}

/// A stored point.
pub(super) fn wide(at: [f32; 2]) -> Point {
    Point { x_m: f64::from(at[0]), y_m: f64::from(at[1]) }
}
