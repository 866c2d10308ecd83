//! Road networks for the planner: a file in the form of `docs/roads.md`, searched for the ways between the places of a plan.
//! Tables are kept for a while, since solver and acceptance ask for the same ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use ws_routing::board::pace::Pace;
use ws_routing::board::{BoardError, Roads, RoadsQuery};
use ws_routing::plan::travel::{Table, Travel};
use ws_routing::roads::{Closure, Closures, HOURS_PER_WEEK, Profile, RoadClass, RoadGraph, Snap, Speeds, hour_of_week, matrix};

/// A place further from every road than this is not on the network.
const REACH_M: f64 = 2_000.0;
/// How far ahead a table looks for closures and usual speeds.
const AHEAD_MS: i64 = 4 * HOUR_MS;
const HOUR_MS: i64 = 3_600_000;
/// Tables kept: one for each area that is planned at a time, and a few more.
const TABLES: usize = 8;

/// What a table was asked for, and the table.
struct Kept {
    places: Vec<[u64; 2]>,
    closed: Vec<String>,
    hour: i64,
    pace: Pace,
    table: Arc<dyn Travel>,
}

/// A road network as a source of travel tables.
pub struct NetworkRoads {
    graph: Arc<RoadGraph>,
    kept: Mutex<VecDeque<Kept>>,
}

/// Usual speeds on these roads in the coming hours, for which one table stands: a class of road has the mean pace of roads as
/// fast as it.
fn profile(pace: &Pace, local_ms: i64) -> Profile {
    let mut profile = Profile::default();
    let hours = AHEAD_MS / HOUR_MS;
    for class in RoadClass::ALL {
        let share = |ahead: i64| pace.share(class.usual_mps(), hour_of_week(local_ms + ahead * HOUR_MS));
        let mean = (0..hours).map(share).sum::<f64>() / hours as f64;
        for hour in 0..HOURS_PER_WEEK {
            profile.set_class(class, hour, mean);
        }
    }
    profile
}

impl NetworkRoads {
    /// On a network.
    pub fn new(graph: Arc<RoadGraph>) -> NetworkRoads {
        NetworkRoads { graph, kept: Mutex::default() }
    }

    fn table(&self, query: &RoadsQuery) -> Result<Arc<dyn Travel>, BoardError> {
        // A place far from every road has no way to it: its row and column stay empty, and what stands there ends as closed_road.
        let all: Vec<Option<Snap>> = query.places.iter().map(|p| self.graph.nearest(self.graph.plane().point(*p), REACH_M)).collect();
        let snaps: Vec<Snap> = all.iter().flatten().copied().collect();
        // One table stands for hours: what is closed at any time in them is closed.
        let soon = |c: &&Closure| c.from_ms < query.from_ms + AHEAD_MS && c.until_ms > query.from_ms;
        let closed: Vec<Closure> = query.closures.iter().filter(soon).map(|c| Closure { from_ms: i64::MIN, until_ms: i64::MAX, ..c.clone() }).collect();
        let closures = Closures::of(&self.graph, &closed);
        let profile = profile(&query.pace, query.from_ms + query.offset_ms());
        let live = query.pace.live(query.from_ms).map(|(share, until_ms)| self.graph.edges().map(|edge| (edge, (share as f32, until_ms))).collect());
        let live = live.unwrap_or_default();
        let speeds = Speeds { profile: &profile, closures: &closures, live: &live, at_ms: query.from_ms, offset_ms: query.offset_ms() };
        let found = matrix(&self.graph, &speeds, &snaps, &snaps);
        let n = all.len();
        let mut metres = vec![f64::NAN; n * n];
        let mut millis = vec![0; n * n];
        let on: Vec<usize> = all.iter().enumerate().filter(|(_, s)| s.is_some()).map(|(i, _)| i).collect();
        for (row, from) in on.iter().enumerate() {
            for (column, to) in on.iter().enumerate().filter(|(column, _)| found.seconds(row, *column).is_finite()) {
                metres[from * n + to] = found.metres(row, column);
                millis[from * n + to] = (found.seconds(row, column) * 1e3) as i64;
            }
        }
        for place in 0..n {
            (metres[place * n + place], millis[place * n + place]) = (0.0, 0);
        }
        let table = Table::new(n, metres, millis).ok_or_else(|| BoardError::Roads("the table is not square".into()))?;
        Ok(Arc::new(table))
    }
}

impl Roads for NetworkRoads {
    fn travel(&self, query: &RoadsQuery) -> Result<Arc<dyn Travel>, BoardError> {
        // Within an hour the roads are the same: what is kept is found again although time went on.
        let hour = query.from_ms / HOUR_MS;
        let places: Vec<[u64; 2]> = query.places.iter().map(|p| [p.latitude_deg.to_bits(), p.longitude_deg.to_bits()]).collect();
        let closed: Vec<String> = query.closures.iter().map(|c| format!("{c:?}")).collect();
        // What was live is not asked for any more once it is old, so tables with and without it are not mistaken for each other.
        let from_ms = hour * HOUR_MS;
        let pace = query.pace.at(query.from_ms);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.iter().find(|k| k.hour == hour && k.places == places && k.closed == closed && k.pace == pace) {
            return Ok(found.table.clone());
        }
        let table = self.table(&RoadsQuery { from_ms, pace: pace.clone(), ..query.clone() })?;
        kept.push_front(Kept { places, closed, hour, pace, table: table.clone() });
        kept.truncate(TABLES);
        Ok(table)
    }

    fn knows_closures(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ws_city::{City, CityConfig};
    use ws_routing::roads::Place;

    /// Monday 2026-11-02, midnight UTC.
    const MONDAY_MS: i64 = 1_793_577_600_000;

    #[test]
    fn slow_hours_and_jams_cost_time() {
        let city = City::new(CityConfig { bins: 10, trucks: 1, radius_m: 2_000.0, ..CityConfig::default() });
        let graph = city.roads().clone();
        let places: Vec<Place> = [3, 2].map(|part| graph.place(graph.node_point(graph.nodes() as u32 / part))).to_vec();
        let roads = NetworkRoads::new(graph);
        let way = |pace: &str, from_ms: i64| {
            let pace = Pace::read(pace).unwrap();
            let query = RoadsQuery { places: places.clone(), closures: Vec::new(), from_ms, zone: chrono_tz::UTC, pace, speed_mps: 7.0, detour: 1.35 };
            roads.travel(&query).unwrap().duration_ms(0, 1, from_ms).unwrap() as f64
        };
        let (six, noon) = (MONDAY_MS + 6 * HOUR_MS, MONDAY_MS + 12 * HOUR_MS);
        let free = way(";;;", six);
        // Half of free flow from 6 to 10 h, all of it from 12 to 17 h.
        let hours = (6..10).map(|h| format!("{h}:50")).chain((12..17).map(|h| format!("{h}:100"))).collect::<Vec<_>>().join(",");
        let usual = format!(";{hours};{hours};{hours}");
        assert!((way(&usual, six) / free - 2.0).abs() < 0.01, "{} for {free}", way(&usual, six));
        assert!((way(&usual, noon) / free - 1.0).abs() < 0.01);
        // A jam now is known for an hour, and forgotten after it.
        let jam = format!("50,{}{usual}", noon + HOUR_MS);
        assert!((way(&jam, noon + 60_000) / free - 2.0).abs() < 0.01, "{} for {free}", way(&jam, noon));
        assert!((way(&jam, noon + HOUR_MS) / free - 1.0).abs() < 0.01);
    }
}
