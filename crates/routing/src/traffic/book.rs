//! The other end of `road.speed`: rows folded into speeds that a search can ask.

use super::area::area_of;
use super::options::SpeedRow;
use crate::roads::{Closure, Closures, Edge, Profile, RoadClass, RoadGraph, Speeds, hour_of_week};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row of a window longer than this tells what is usual, not what is now, ms.
const LIVE_WINDOW_MAX_MS: i64 = 3_600_000;
/// Imaginary edges that draw an area's news towards nothing new.
const LENT: f64 = 3.0;
/// Weight of a new row against what the book says of an hour.
const LEARN: f64 = 0.4;

/// Speeds and closures as told so far.
#[derive(Debug, Clone)]
pub struct SpeedBook {
    graph: Arc<RoadGraph>,
    profile: Profile,
    live: FxHashMap<Edge, (f32, i64)>,
    /// By area and class: of each edge, its share of the usual and until when that counts.
    areas: BTreeMap<(String, RoadClass), BTreeMap<Edge, (f32, i64)>>,
    members: BTreeMap<(String, RoadClass), Vec<Edge>>,
    closed: BTreeMap<String, Closure>,
    closures: Closures,
    /// How long a row counts after its window, ms.
    hold_ms: i64,
}

impl SpeedBook {
    /// A book in which nothing is written: free flow. A live row counts for `hold_ms` after its window.
    pub fn new(graph: Arc<RoadGraph>, hold_ms: i64) -> SpeedBook {
        let mut members: BTreeMap<(String, RoadClass), Vec<Edge>> = BTreeMap::new();
        for edge in graph.edges() {
            members.entry((area_of(&graph, edge.segment()), graph.class(edge.segment()))).or_default().push(edge);
        }
        SpeedBook {
            graph,
            profile: Profile::default(),
            live: FxHashMap::default(),
            areas: BTreeMap::new(),
            members,
            closed: BTreeMap::new(),
            closures: Closures::default(),
            hold_ms,
        }
    }

    /// Takes a row; `offset_ms` is local time minus UTC then.
    pub fn apply(&mut self, row: &SpeedRow, offset_ms: i64) {
        if !(row.mps > 0.0 && row.mps < 80.0 && row.typical_mps > 0.0 && row.typical_mps < 80.0) {
            return;
        }
        let free_mps = self.graph.free_flow_mps(row.edge.segment());
        let middle_ms = row.from_ms + (row.until_ms - row.from_ms) / 2;
        let hour = hour_of_week(middle_ms + offset_ms);
        if row.until_ms - row.from_ms <= LIVE_WINDOW_MAX_MS {
            let known = self.profile.share(&self.graph, row.edge, hour);
            let share = known + LEARN * row.confidence * (row.typical_mps / free_mps - known);
            self.profile.set_edge(&self.graph, row.edge, hour, share);
            let now = (row.mps / row.typical_mps) as f32;
            let key = (area_of(&self.graph, row.edge.segment()), self.graph.class(row.edge.segment()));
            self.areas.entry(key.clone()).or_default().insert(row.edge, (now, row.until_ms + self.hold_ms));
            self.spread(&key, row.until_ms);
        } else {
            // A day's median moves all its hours alike.
            for hour in (0..24).map(|step| hour_of_week(row.from_ms + offset_ms + step * 3_600_000)) {
                let known = self.profile.share(&self.graph, row.edge, hour);
                self.profile.set_edge(&self.graph, row.edge, hour, known + LEARN * row.confidence * (row.mps / free_mps - known) * 0.5);
            }
        }
    }

    /// What some roads of a class in an area have is likely for the others of it, less so the fewer they are.
    fn spread(&mut self, key: &(String, RoadClass), now_ms: i64) {
        let Some(told) = self.areas.get_mut(key) else { return };
        told.retain(|_, (_, until_ms)| *until_ms > now_ms);
        let count = told.len() as f64;
        let mean = told.values().map(|(share, _)| f64::from(*share).max(0.02).ln()).sum::<f64>() / (count + LENT);
        let until_ms = told.values().map(|(_, until_ms)| *until_ms).max().unwrap_or(now_ms);
        for edge in self.members.get(key).into_iter().flatten() {
            let live = told.get(edge).copied().unwrap_or((mean.exp() as f32, until_ms));
            self.live.insert(*edge, live);
        }
    }

    /// Takes the newest word on a closure; `None` withdraws it.
    pub fn close(&mut self, closure_id: &str, closure: Option<Closure>) {
        match closure {
            Some(closure) => self.closed.insert(closure_id.to_owned(), closure),
            None => self.closed.remove(closure_id),
        };
        self.closures = Closures::of(&self.graph, self.closed.values());
    }

    /// Forgets what ended before a time.
    pub fn forget_before(&mut self, at_ms: i64) {
        self.live.retain(|_, (_, until_ms)| *until_ms > at_ms);
        self.closed.retain(|_, closure| closure.until_ms > at_ms);
        self.closures = Closures::of(&self.graph, self.closed.values());
    }

    /// Speeds at a departure, for searches and matrices.
    pub fn speeds(&self, at_ms: i64, offset_ms: i64) -> Speeds<'_> {
        Speeds { profile: &self.profile, closures: &self.closures, live: &self.live, at_ms, offset_ms }
    }

    /// The network.
    pub fn graph(&self) -> &Arc<RoadGraph> {
        &self.graph
    }
}
