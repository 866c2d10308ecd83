//! Road networks for the planner: a file in the form of `docs/roads.md`, searched for the ways between the places of a plan.
//! Tables are kept for a while, since solver and acceptance ask for the same ones.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::sync::{Arc, Mutex, PoisonError};
use ws_routing::board::{BoardError, Roads, RoadsQuery};
use ws_routing::plan::travel::{Table, Travel};
use ws_routing::roads::{Closure, Closures, Profile, Reading, RoadGraph, Snap, Speeds, matrix, read};

/// A place further from every road than this is not on the network.
const REACH_M: f64 = 2_000.0;
/// How far ahead a table looks for closures.
const AHEAD_MS: i64 = 4 * 3_600_000;
/// Tables kept: one for each area that is planned at a time, and a few more.
const TABLES: usize = 8;

type Kept = (Vec<[u64; 2]>, Vec<String>, i64, Arc<dyn Travel>);

/// A road network as a source of travel tables.
pub struct NetworkRoads {
    graph: RoadGraph,
    profile: Profile,
    kept: Mutex<VecDeque<Kept>>,
}

impl NetworkRoads {
    /// Reads a network.
    pub fn open(path: &str) -> Result<NetworkRoads, String> {
        let file = File::open(path).map_err(|e| format!("road network {path}: {e}"))?;
        let import = read(BufReader::new(file), Reading::default()).map_err(|e| format!("road network {path}: {e}"))?;
        Ok(NetworkRoads { graph: import.graph, profile: Profile::default(), kept: Mutex::default() })
    }

    fn table(&self, query: &RoadsQuery) -> Result<Arc<dyn Travel>, BoardError> {
        // A place far from every road has no way to it: its row and column stay empty, and what stands there ends as closed_road.
        let all: Vec<Option<Snap>> = query.places.iter().map(|p| self.graph.nearest(self.graph.plane().point(*p), REACH_M)).collect();
        let snaps: Vec<Snap> = all.iter().flatten().copied().collect();
        // One table stands for hours: what is closed at any time in them is closed.
        let soon = |c: &&Closure| c.from_ms < query.from_ms + AHEAD_MS && c.until_ms > query.from_ms;
        let closed: Vec<Closure> = query.closures.iter().filter(soon).map(|c| Closure { from_ms: i64::MIN, until_ms: i64::MAX, ..c.clone() }).collect();
        let closures = Closures::of(&self.graph, &closed);
        let live = Default::default();
        let speeds = Speeds { profile: &self.profile, closures: &closures, live: &live, at_ms: query.from_ms, offset_ms: query.offset_ms() };
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
        let hour = query.from_ms / 3_600_000;
        let places: Vec<[u64; 2]> = query.places.iter().map(|p| [p.latitude_deg.to_bits(), p.longitude_deg.to_bits()]).collect();
        let closed: Vec<String> = query.closures.iter().map(|c| format!("{c:?}")).collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.iter().find(|(p, c, h, _)| *h == hour && *p == places && *c == closed) {
            return Ok(found.3.clone());
        }
        let made = self.table(&RoadsQuery { from_ms: hour * 3_600_000, ..query.clone() })?;
        kept.push_front((places, closed, hour, made.clone()));
        kept.truncate(TABLES);
        Ok(made)
    }

    fn knows_closures(&self) -> bool {
        true
    }
}
