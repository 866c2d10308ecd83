//! Where everything is, as numbers of a travel table, and who makes that table.

use super::BoardError;
use super::pace::Pace;
use crate::plan::travel::{Location, Metric, Plane, Travel};
use crate::roads::{Closure, Place};
use chrono_tz::Tz;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a travel table is asked for.
#[derive(Debug, Clone)]
pub struct RoadsQuery {
    /// The places, in the order of the table.
    pub places: Vec<Place>,
    /// Closed roads.
    pub closures: Vec<Closure>,
    /// First departure, UTC ms.
    pub from_ms: i64,
    /// Zone whose hours traffic follows.
    pub zone: Tz,
    /// How fast roads are beside free flow.
    pub pace: Pace,
    /// Usual speed without a network, m/s.
    pub speed_mps: f64,
    /// Metres driven for a metre as the crow flies, without a network.
    pub detour: f64,
}

impl RoadsQuery {
    /// Local time minus UTC at the first departure, ms.
    pub fn offset_ms(&self) -> i64 {
        let at = chrono::DateTime::<chrono::Utc>::from_timestamp_millis(self.from_ms).unwrap_or_default();
        i64::from(chrono::Offset::fix(at.with_timezone(&self.zone).offset()).local_minus_utc()) * 1_000
    }
}

/// Makes travel tables.
///
/// Contract: a function of the query, so that who judges a plan drives on the same roads as who made it.
pub trait Roads: Send + Sync {
    /// Distances and times between the places.
    ///
    /// # Errors
    /// What keeps it from knowing them.
    fn travel(&self, query: &RoadsQuery) -> Result<Arc<dyn Travel>, BoardError>;

    /// Whether closures of roads mean anything to it.
    fn knows_closures(&self) -> bool {
        false
    }
}

/// As the crow flies, times a detour, at one speed: for areas without a road network.
#[derive(Debug, Clone, Copy, Default)]
pub struct GreatCircle;

impl Roads for GreatCircle {
    fn travel(&self, query: &RoadsQuery) -> Result<Arc<dyn Travel>, BoardError> {
        let n = query.places.len().max(1) as f64;
        let mean = |of: fn(&Place) -> f64| query.places.iter().map(of).sum::<f64>() / n;
        let plane = crate::roads::Plane::around(Place::new(mean(|p| p.latitude_deg), mean(|p| p.longitude_deg)));
        let points = query.places.iter().map(|p| plane.point(*p)).map(|p| (p.x_m * query.detour, p.y_m * query.detour)).collect();
        // The usual speed is told; what is unusual now is not in it.
        let live = query.pace.live(query.from_ms).map_or(1.0, |(share, _)| share);
        Ok(Arc::new(Plane::new(points, Metric::Euclid, query.speed_mps * live)))
    }
}

/// The table of places under construction; what has a name is in it once.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub list: Vec<Place>,
    names: BTreeMap<String, Location>,
}

impl Places {
    /// The number of a place.
    pub(super) fn put(&mut self, kind: &str, id: &str, place: Place) -> Location {
        let name = format!("{kind}/{id}");
        if let Some(known) = self.names.get(&name) {
            return *known;
        }
        let number = self.list.len() as Location;
        self.list.push(place);
        self.names.insert(name, number);
        number
    }
}
