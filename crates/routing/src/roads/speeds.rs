//! How long an edge takes: speeds by hour of the week, a live factor beside them, closures; or plain free flow.
//!
//! A drive that crosses an hour's end goes on at the next hour's speed (the flow speed model of Sung, Bell, Seong and
//! Park, 2000), so that leaving later never means arriving earlier and Dijkstra's method stays right.

use super::class::RoadClass;
use super::closure::Closures;
use super::graph::{Edge, RoadGraph};
use rustc_hash::FxHashMap;

/// Hours of a week.
pub const HOURS_PER_WEEK: usize = 168;
/// Milliseconds of a week.
pub const WEEK_MS: i64 = 7 * 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// From Monday 1969-12-29 to Thursday 1970-01-01.
const EPOCH_WEEKDAY_MS: i64 = 3 * 86_400_000;
/// Slowest speed that is believed, m/s: no drive lasts for ever.
const CRAWL_MPS: f64 = 0.3;
/// Breakpoints that one edge may cross; a longer drive keeps its last speed.
const STEPS_MAX: usize = 400;

/// Hour of the week of a local time, ms since 1970 as the clock on the wall shows it: 0 is Monday from 0 to 1 h.
pub fn hour_of_week(local_ms: i64) -> usize {
    ((local_ms + EPOCH_WEEKDAY_MS).rem_euclid(WEEK_MS) / HOUR_MS) as usize
}

/// What an edge costs, asked by searches.
pub trait Weights {
    /// Seconds for some metres of an edge that is entered `after_s` seconds after departure; infinite where it may not be
    /// driven then. Leaving later must not mean arriving earlier.
    fn drive_s(&self, graph: &RoadGraph, edge: Edge, metres: f64, after_s: f64) -> f64;

    /// A speed that no edge exceeds, m/s: what A* hopes for.
    fn fastest_mps(&self, graph: &RoadGraph) -> f64;
}

/// Nothing in the way.
#[derive(Debug, Clone, Copy, Default)]
pub struct FreeFlow;

impl Weights for FreeFlow {
    fn drive_s(&self, graph: &RoadGraph, edge: Edge, metres: f64, _after_s: f64) -> f64 {
        metres / graph.free_flow_mps(edge.segment())
    }

    fn fastest_mps(&self, graph: &RoadGraph) -> f64 {
        graph.fastest_mps()
    }
}

/// Usual speeds by hour of the week: shares of free flow by class, and single edges that are known better.
#[derive(Debug, Clone)]
pub struct Profile {
    classes: Vec<[f32; HOURS_PER_WEEK]>,
    rows: FxHashMap<Edge, u32>,
    /// Shares of free flow, a week for each row.
    weeks: Vec<[f32; HOURS_PER_WEEK]>,
    greatest: f32,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile { classes: vec![[1.0; HOURS_PER_WEEK]; RoadClass::ALL.len()], rows: FxHashMap::default(), weeks: Vec::new(), greatest: 1.0 }
    }
}

impl Profile {
    /// Sets a class's share of free flow in an hour. Shares are cut to 0.02–3.
    pub fn set_class(&mut self, class: RoadClass, hour: usize, share: f64) {
        let share = self.cut(share);
        self.classes[class as usize][hour % HOURS_PER_WEEK] = share;
    }

    /// Sets an edge's share of free flow in an hour; its other hours begin with those of its class.
    pub fn set_edge(&mut self, graph: &RoadGraph, edge: Edge, hour: usize, share: f64) {
        let share = self.cut(share);
        let usual = self.classes[graph.class(edge.segment()) as usize];
        let row = *self.rows.entry(edge).or_insert_with(|| {
            self.weeks.push(usual);
            self.weeks.len() as u32 - 1
        });
        self.weeks[row as usize][hour % HOURS_PER_WEEK] = share;
    }

    fn cut(&mut self, share: f64) -> f32 {
        let share = if share.is_finite() { share.clamp(0.02, 3.0) as f32 } else { 1.0 };
        self.greatest = self.greatest.max(share);
        share
    }

    /// Share of free flow that an edge has in an hour.
    pub fn share(&self, graph: &RoadGraph, edge: Edge, hour: usize) -> f64 {
        match self.rows.get(&edge) {
            Some(row) => self.weeks[*row as usize][hour].into(),
            None => self.classes[graph.class(edge.segment()) as usize][hour].into(),
        }
    }

    /// Edges with a week of their own.
    pub fn known_edges(&self) -> usize {
        self.rows.len()
    }
}

/// Speeds at a departure: the usual week, what is live, what is closed.
#[derive(Debug, Clone)]
pub struct Speeds<'a> {
    /// Usual speeds.
    pub profile: &'a Profile,
    /// Closed edges.
    pub closures: &'a Closures,
    /// Share of the usual speed that edges have now, and until when that is believed, UTC ms.
    pub live: &'a FxHashMap<Edge, (f32, i64)>,
    /// Departure, UTC ms.
    pub at_ms: i64,
    /// Local time minus UTC, ms. A change of the clock on the way is not followed.
    pub offset_ms: i64,
}

impl Speeds<'_> {
    /// Speed of an edge at a time, m/s, and until when it stays so, UTC ms.
    pub fn at(&self, graph: &RoadGraph, edge: Edge, at_ms: i64) -> (f64, i64) {
        let local_ms = at_ms + self.offset_ms;
        let mut until_ms = (local_ms.div_euclid(HOUR_MS) + 1) * HOUR_MS - self.offset_ms;
        let mut share = self.profile.share(graph, edge, hour_of_week(local_ms));
        if let Some((factor, live_until_ms)) = self.live.get(&edge).filter(|(_, live_until_ms)| at_ms < *live_until_ms) {
            share *= f64::from(*factor).clamp(0.02, 2.0);
            until_ms = until_ms.min(*live_until_ms);
        }
        ((graph.free_flow_mps(edge.segment()) * share).max(CRAWL_MPS), until_ms)
    }
}

impl Weights for Speeds<'_> {
    fn drive_s(&self, graph: &RoadGraph, edge: Edge, metres: f64, after_s: f64) -> f64 {
        let mut now_ms = self.at_ms as f64 + after_s * 1e3;
        // Behind a closed edge nothing is ever reached.
        if !after_s.is_finite() || self.closures.is_closed(edge, now_ms as i64) {
            return f64::INFINITY;
        }
        let (mut left_m, mut seconds) = (metres, 0.0);
        for _ in 0..STEPS_MAX {
            let (mps, until_ms) = self.at(graph, edge, now_ms as i64);
            let window_s = (until_ms as f64 - now_ms) / 1e3;
            if left_m <= mps * window_s {
                return seconds + left_m / mps;
            }
            left_m -= mps * window_s;
            seconds += window_s;
            now_ms = until_ms as f64;
        }
        seconds + left_m / CRAWL_MPS
    }

    fn fastest_mps(&self, graph: &RoadGraph) -> f64 {
        let live = self.live.values().map(|(factor, _)| factor.min(2.0)).fold(1.0, f32::max);
        graph.fastest_mps() * f64::from(self.profile.greatest) * f64::from(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roads::testing::grid_city;

    #[test]
    fn the_week_begins_on_monday() {
        assert_eq!(hour_of_week(0), 3 * 24, "1970-01-01 was a Thursday");
        assert_eq!(hour_of_week(4 * 86_400_000), 0);
        assert_eq!(hour_of_week(4 * 86_400_000 - 1), 167);
        assert_eq!(hour_of_week(-86_400_000), 2 * 24);
    }

    #[test]
    fn what_is_never_left_is_never_reached() {
        let graph = grid_city(2, 2, 1_000.0);
        let (profile, closures, live) = (Profile::default(), Closures::default(), FxHashMap::default());
        let speeds = Speeds { profile: &profile, closures: &closures, live: &live, at_ms: 0, offset_ms: 3_600_000 };
        let edge = graph.edges().next().unwrap();
        assert_eq!(speeds.drive_s(&graph, edge, 100.0, f64::INFINITY), f64::INFINITY);
    }

    #[test]
    fn a_drive_over_the_hour_changes_speed_on_the_way_and_leaving_later_is_never_earlier() {
        let graph = grid_city(2, 2, 1_000.0);
        let edge = graph.edges().next().unwrap();
        let (mut profile, closures, live) = (Profile::default(), Closures::default(), FxHashMap::default());
        let free = graph.free_flow_mps(edge.segment());
        profile.set_edge(&graph, edge, 72, 0.1);
        let speeds = |at_ms| Speeds { profile: &profile, closures: &closures, live: &live, at_ms, offset_ms: 0 };
        assert!((speeds(HOUR_MS).drive_s(&graph, edge, 1_000.0, 0.0) - 1_000.0 / free).abs() < 1e-6);
        // Half a minute at a tenth, the rest freely.
        let slow = speeds(HOUR_MS - 30_000).drive_s(&graph, edge, 1_000.0, 0.0);
        assert!((slow - (30.0 + (1_000.0 - 3.0 * free) / free)).abs() < 1e-6, "{slow}");
        let mut last = 0.0;
        for second in 0..7_200 {
            let arrival = f64::from(second) + speeds(0).drive_s(&graph, edge, 1_000.0, f64::from(second));
            assert!(arrival >= last, "left at {second}");
            last = arrival;
        }
    }

    #[test]
    fn what_is_live_ends_and_what_is_closed_cannot_be_entered() {
        let graph = grid_city(2, 2, 100.0);
        let edge = graph.edges().next().unwrap();
        let (profile, mut closures) = (Profile::default(), Closures::default());
        let live = FxHashMap::from_iter([(edge, (0.5_f32, 10_000_i64))]);
        let free_s = 100.0 / graph.free_flow_mps(edge.segment());
        let drive = |closures: &Closures, at_ms| Speeds { profile: &profile, closures, live: &live, at_ms, offset_ms: 0 }.drive_s(&graph, edge, 100.0, 0.0);
        assert!((drive(&closures, 0) - 2.0 * free_s).abs() < 10.0 && drive(&closures, 0) > free_s);
        assert!((drive(&closures, 10_000) - free_s).abs() < 1e-9);
        closures.close(edge, 20_000, 30_000);
        assert!(drive(&closures, 19_999).is_finite() && drive(&closures, 20_000).is_infinite());
        assert!(drive(&closures, 30_000).is_finite());
    }
}
