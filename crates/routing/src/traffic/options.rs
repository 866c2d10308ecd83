//! Settings, what goes in and what comes out.

use crate::roads::Edge;
use chrono_tz::Tz;

/// A drive along a segment that tells its speed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passage {
    /// Segment and direction.
    pub edge: Edge,
    /// Number that tells vehicles apart, stable for a vehicle.
    pub vehicle: u64,
    /// When the segment was left, UTC ms.
    pub left_ms: i64,
    /// Mean speed, m/s.
    pub mps: f64,
}

/// Settings of traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficOptions {
    /// Time zone of the hours.
    pub zone: Tz,
    /// Windows, each a multiple of the one before it: what too few vehicles drove waits for the next one.
    pub windows_ms: Vec<i64>,
    /// A window closes this long after its end, in event time.
    pub grace_ms: i64,
    /// Vehicles at least for a row: the privacy limit.
    pub min_vehicles: usize,
    /// Slowest and fastest speed over free flow that is believed; others are left out.
    pub believed: (f64, f64),
    /// How long a drive counts as news, ms.
    pub live_ms: i64,
}

impl Default for TrafficOptions {
    fn default() -> TrafficOptions {
        TrafficOptions {
            zone: Tz::UTC,
            windows_ms: vec![900_000, 3_600_000, 86_400_000],
            grace_ms: 120_000,
            min_vehicles: 3,
            believed: (0.05, 2.0),
            live_ms: 1_800_000,
        }
    }
}

/// A row of `road.speed`, with the segment as the network knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpeedRow {
    /// Segment and direction.
    pub edge: Edge,
    /// Start of the window, UTC ms.
    pub from_ms: i64,
    /// End of the window, exclusive.
    pub until_ms: i64,
    /// Median speed, m/s.
    pub mps: f64,
    /// Slow tenth; `None` below five samples.
    pub slow_mps: Option<f64>,
    /// Typical speed at the middle of the window's last hour, m/s, as known before the window.
    pub typical_mps: f64,
    /// Speed when nothing is in the way, m/s.
    pub free_flow_mps: f64,
    /// Drives in the window.
    pub samples: usize,
    /// Vehicles among them.
    pub vehicles: usize,
    /// 0 to 1, by samples and spread.
    pub confidence: f64,
}
