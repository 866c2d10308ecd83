//! Drives of an area become habits, news and rows.

use super::options::{Passage, SpeedRow, TrafficOptions};
use super::state::{AreaState, NEWS_MAX, News};
use crate::matching::Traversal;
use crate::roads::{Edge, RoadGraph, Segment, hour_of_week};
use chrono::{Offset, TimeZone, Utc};
use std::sync::Arc;

/// Side of an area, m.
const AREA_SIDE_M: f64 = 1_500.0;
/// A part of a segment tells its speed from this length on, m, or when it is all of it.
const PART_LEAST_M: f64 = 60.0;
/// Imaginary samples that draw news towards nothing new.
const LENT_LIVE_CLASS: f64 = 4.0;
const LENT_LIVE_EDGE: f64 = 4.0;

/// Id of the area that a segment's middle lies in.
pub fn area_of(graph: &RoadGraph, segment: Segment) -> String {
    let middle = graph.at(segment, graph.length_m(segment) / 2.0, crate::roads::Direction::Forward).0;
    let cell = |metres: f64| (metres / AREA_SIDE_M).floor() as i64 + 500;
    format!("area-{:03}-{:03}", cell(middle.x_m), cell(middle.y_m))
}

/// Speeds of one network; what is known of each area stands in its state.
#[derive(Debug, Clone)]
pub struct Traffic {
    graph: Arc<RoadGraph>,
    options: TrafficOptions,
}

impl Traffic {
    /// Traffic on a network.
    pub fn new(graph: Arc<RoadGraph>, options: TrafficOptions) -> Traffic {
        Traffic { graph, options }
    }

    /// The drive that a traversal tells of, if it tells a speed.
    pub fn passage(&self, vehicle: u64, traversal: &Traversal) -> Option<Passage> {
        let mps = traversal.mps()?;
        let share = mps / self.graph.free_flow_mps(traversal.edge.segment());
        let (least, most) = self.options.believed;
        let long = traversal.whole || traversal.metres >= PART_LEAST_M;
        (long && (least..=most).contains(&share)).then_some(Passage { edge: traversal.edge, vehicle, left_ms: traversal.left_ms, mps })
    }

    /// Takes a drive; windows that it shows to be over are closed. For drives in about the order of time.
    pub fn observe(&self, state: &mut AreaState, passage: &Passage) -> Vec<SpeedRow> {
        let mut rows = self.learn(state, passage);
        let newest_ms = state.newest_ms.unwrap_or(passage.left_ms);
        rows.extend(self.close(state, newest_ms));
        rows
    }

    /// Takes a drive and leaves its window open: a watermark that all vehicles have passed closes it. Only what is too much to
    /// hold is closed early.
    pub fn learn(&self, state: &mut AreaState, passage: &Passage) -> Vec<SpeedRow> {
        if state.network != self.graph.fingerprint() {
            *state = AreaState { network: self.graph.fingerprint(), ..AreaState::default() };
        }
        let free_mps = self.graph.free_flow_mps(passage.edge.segment());
        let value = (passage.mps / free_mps).max(1e-3).ln();
        let hour = self.hour(passage.left_ms);
        let typical = self.typical(state, passage.edge, hour);
        let class = state.classes.entry(self.graph.class(passage.edge.segment()) as u8).or_default();
        let of_class = class.typical(hour);
        class.add(hour, value);
        let own = state.edges.entry(passage.edge).or_default();
        own.add(hour, value - of_class);
        if own.vehicles.len() < self.options.min_vehicles && !own.vehicles.contains(&passage.vehicle) {
            own.vehicles.push(passage.vehicle);
        }
        state.windows.add(&self.options, passage, free_mps * typical.exp());
        let newest_ms = state.newest_ms.map_or(passage.left_ms, |newest_ms| newest_ms.max(passage.left_ms));
        state.newest_ms = Some(newest_ms);
        // News of long ago are none; whatever is older than the newest by more than that teaches habits alone.
        state.news.retain(|news| news.left_ms > newest_ms - self.options.live_ms);
        if passage.left_ms > newest_ms - self.options.live_ms {
            if state.news.len() >= NEWS_MAX {
                state.news.remove(0);
            }
            state.news.push(News { left_ms: passage.left_ms, edge: passage.edge, deviation: (value - typical) as f32 });
        }
        self.close(state, i64::MIN)
    }

    /// Closes the windows that a watermark has passed.
    pub fn close(&self, state: &mut AreaState, watermark_ms: i64) -> Vec<SpeedRow> {
        let mut rows = Vec::new();
        state.windows.close(&self.options, watermark_ms, |edge| self.graph.free_flow_mps(edge.segment()), &mut rows);
        rows
    }

    /// When the next window can be closed, UTC ms.
    pub fn next_close_ms(&self, state: &AreaState) -> Option<i64> {
        state.windows.next_close_ms(&self.options)
    }

    /// Typical speed of an edge at a time, m/s: by its own drives, those of its class around it, or free flow.
    pub fn typical_mps(&self, state: &AreaState, edge: Edge, at_ms: i64) -> f64 {
        self.graph.free_flow_mps(edge.segment()) * self.typical(state, edge, self.hour(at_ms)).exp()
    }

    /// Speed to expect now, m/s: what is typical, and how the last half hour differed on this edge and on others of its class.
    pub fn expected_mps(&self, state: &AreaState, edge: Edge, at_ms: i64) -> f64 {
        let class = self.graph.class(edge.segment());
        let (mut own, mut others) = ((0.0, 0.0), (0.0, 0.0));
        for news in state.news.iter().filter(|news| (at_ms - self.options.live_ms..=at_ms).contains(&news.left_ms)) {
            let sum = if news.edge == edge {
                &mut own
            } else if self.graph.class(news.edge.segment()) == class {
                &mut others
            } else {
                continue;
            };
            *sum = (sum.0 + f64::from(news.deviation), sum.1 + 1.0);
        }
        let of_class = others.0 / (others.1 + LENT_LIVE_CLASS);
        let of_edge = (own.0 + LENT_LIVE_EDGE * of_class) / (own.1 + LENT_LIVE_EDGE);
        self.typical_mps(state, edge, at_ms) * of_edge.exp()
    }

    /// Samples behind what is typical: of the edge, and of its class in the kind of day and hour.
    pub fn samples(&self, state: &AreaState, edge: Edge, at_ms: i64) -> (f64, f64) {
        let class = state.classes.get(&(self.graph.class(edge.segment()) as u8));
        (state.edges.get(&edge).map_or(0.0, |own| own.samples().into()), class.map_or(0.0, |class| class.samples(self.hour(at_ms)).into()))
    }

    /// Whether enough vehicles drove an edge that its typical speed tells of no single one.
    pub fn may_be_told(&self, state: &AreaState, edge: Edge) -> bool {
        state.edges.get(&edge).is_some_and(|own| own.vehicles.len() >= self.options.min_vehicles)
    }

    fn typical(&self, state: &AreaState, edge: Edge, hour: usize) -> f64 {
        let class = state.classes.get(&(self.graph.class(edge.segment()) as u8)).map_or(0.0, |class| class.typical(hour));
        class + state.edges.get(&edge).map_or(0.0, |own| own.deviation(hour))
    }

    fn hour(&self, at_ms: i64) -> usize {
        hour_of_week(at_ms + self.offset_ms(at_ms))
    }

    /// Local time minus UTC at a time, ms.
    pub fn offset_ms(&self, at_ms: i64) -> i64 {
        let Some(at) = Utc.timestamp_millis_opt(at_ms).single() else {
            return 0;
        };
        i64::from(self.options.zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()) * 1_000
    }
}
