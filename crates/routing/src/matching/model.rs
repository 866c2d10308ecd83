//! Likelihoods, as logarithms: of a position given a place on the road, of a step given its way.

use super::row::{Fix, Options};
use crate::roads::{Direction, Edge, Point, RoadGraph, turn_deg};

/// Deviation of a course, degrees: noise, and roads drawn with corners.
const COURSE_SIGMA_DEG: f64 = 25.0;
/// What a course against the road costs at most: a course can be plainly wrong.
const COURSE_COST_MAX: f64 = 9.0;
/// Courses are noise below this speed, m/s.
const COURSE_FROM_MPS: f64 = 2.0;
/// Extra cost for each free-flow time beyond the time there was.
const HASTE_COST: f64 = 12.0;
/// Share of the time that free flow may exceed for nothing: maps know speeds roughly.
const HASTE_FREE: f64 = 1.25;

/// A place on an edge with its likelihood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub edge: Edge,
    /// Metres from the edge's start.
    pub at_m: f32,
    /// Logarithm of the likelihood of the best chain that ends here.
    pub score: f32,
    /// Its place in the step before; `NONE` at the beginning of a chain.
    pub back: u8,
}

/// No predecessor.
pub(super) const NONE: u8 = u8::MAX;

/// The likeliest places of a position, best first.
pub(super) fn candidates(graph: &RoadGraph, options: &Options, fix: &Fix, at: Point, with_course: bool) -> Vec<Candidate> {
    // The 68 % circle of a plane's normal error has a radius of 1.5 deviations.
    let sigma_m = fix.accuracy_m.filter(|m| m.is_finite()).map_or(options.sigma_m, |accuracy_m| (accuracy_m / 1.5).clamp(options.sigma_m, 30.0));
    let reach_m = options.reach_m.max(3.0 * sigma_m);
    let course = fix.heading_deg.filter(|_| with_course && fix.speed_mps.is_none_or(|mps| mps >= COURSE_FROM_MPS));
    let mut found = Vec::new();
    for snap in graph.near(at, reach_m) {
        for direction in [Direction::Forward, Direction::Backward] {
            let edge = snap.segment.edge(direction);
            if !graph.is_open(edge) {
                continue;
            }
            let distance = (snap.distance_m / sigma_m).powi(2) / 2.0;
            let turn = course.map_or(0.0, |course_deg| {
                let road_deg = graph.at(snap.segment, snap.along_m, direction).1;
                ((turn_deg(course_deg, road_deg) / COURSE_SIGMA_DEG).powi(2) / 2.0).min(COURSE_COST_MAX)
            });
            let at_m = snap.from_start_m(graph, direction) as f32;
            found.push(Candidate { edge, at_m, score: -(distance + turn) as f32, back: NONE });
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.edge.cmp(&b.edge)));
    found.truncate(options.candidates.min(usize::from(NONE) - 1));
    found
}

/// What is known of a step before its way is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub seconds: f64,
    pub crow_m: f64,
    pub odometer_m: Option<f64>,
}

impl Pace {
    /// The farthest way worth looking at, m.
    pub(super) fn limit_m(&self, options: &Options) -> f64 {
        let wanted_m = self.odometer_m.map_or(self.crow_m * 3.0 + 300.0, |driven_m| driven_m * 1.1 + 100.0);
        wanted_m.min(self.seconds * options.top_mps + 100.0)
    }

    /// Logarithm of the likelihood of a way.
    pub(super) fn likelihood(&self, options: &Options, metres: f64, free_s: f64) -> f64 {
        let (expected_m, beta_m) = match self.odometer_m {
            Some(driven_m) => (driven_m, options.beta_m + 0.02 * driven_m),
            // Streets make ways longer than the crow's, the more the farther.
            None => (self.crow_m, options.beta_m + 0.15 * self.crow_m),
        };
        let haste = (free_s / self.seconds.max(1.0) - HASTE_FREE).max(0.0) * HASTE_COST;
        -(metres - expected_m).abs() / beta_m - haste
    }
}
