//! What goes in, what comes out, and the settings in between.

use crate::roads::{Edge, Place};

/// A position as `vehicle.position` tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fix {
    /// When it was measured, UTC ms by the device.
    pub observed_ms: i64,
    /// When it was sent, UTC ms by the device.
    pub sent_ms: i64,
    /// When it was received, UTC ms by the gateway.
    pub received_ms: i64,
    /// Where.
    pub place: Place,
    /// Speed over ground, m/s.
    pub speed_mps: Option<f64>,
    /// Course over ground, degrees clockwise from north.
    pub heading_deg: Option<f64>,
    /// Radius of the 68 % circle, m.
    pub accuracy_m: Option<f64>,
    /// Distance driven in the vehicle's life, m.
    pub odometer_m: Option<f64>,
}

/// A drive along one edge, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traversal {
    /// The segment and the direction.
    pub edge: Edge,
    /// When it was entered, UTC ms; between two positions in proportion to free flow.
    pub entered_ms: i64,
    /// When it was left.
    pub left_ms: i64,
    /// Metres driven on it.
    pub metres: f64,
    /// Whether it was driven from end to end.
    pub whole: bool,
    /// Whether the vehicle moved all the time: only then the speed is the traffic's.
    pub moving: bool,
}

impl Traversal {
    /// Mean speed, m/s; `None` where it says nothing about traffic.
    pub fn mps(&self) -> Option<f64> {
        let seconds = (self.left_ms - self.entered_ms) as f64 / 1e3;
        (self.moving && seconds > 0.5).then(|| self.metres / seconds)
    }
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It is a step of the chain.
    Matched,
    /// The vehicle stands where it stood.
    Standing,
    /// Behind the newest row: gathered, to be matched with its like.
    Gathered,
    /// Within a time that was matched already, or measured twice.
    Duplicate,
    /// Older than the lateness allows.
    TooOld,
    /// The device's clock is not to be trusted.
    WrongClock,
    /// No road is near.
    OffRoad,
    /// No way leads there in the time; dropped unless the next row confirms it.
    SetAside,
    /// Its numbers are no position.
    Invalid,
}

impl Verdict {
    /// Name for counters.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Matched => "matched",
            Verdict::Standing => "standing",
            Verdict::Gathered => "gathered",
            Verdict::Duplicate => "duplicate",
            Verdict::TooOld => "too_old",
            Verdict::WrongClock => "wrong_clock",
            Verdict::OffRoad => "off_road",
            Verdict::SetAside => "set_aside",
            Verdict::Invalid => "invalid",
        }
    }
}

/// Settings. The defaults suit trucks with a position every 10 to 90 s.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Time without a row that ends a chain.
    pub gap_ms: i64,
    /// How far behind the newest row an older one may be.
    pub lateness_ms: i64,
    /// Gathered rows are matched when none came for so long, by the gateway's time.
    pub quiet_ms: i64,
    /// Error of a device's clock that is let pass, by its stamp of sending against the gateway's of receiving.
    pub clock_tolerance_ms: i64,
    /// A stand of this length is a stop: what comes after is another drive.
    pub stop_ms: i64,
    /// Below this speed a vehicle stands.
    pub standing_mps: f64,
    /// Positions within this distance are the same place for one that stands, m.
    pub standing_radius_m: f64,
    /// Least deviation of a position, with the drawing of the map, m.
    pub sigma_m: f64,
    /// Farthest road from a position, m.
    pub reach_m: f64,
    /// Scale of the difference between way and crow's flight, m; grows with the distance.
    pub beta_m: f64,
    /// Places considered for a position.
    pub candidates: usize,
    /// Steps that may stay undecided.
    pub window: usize,
    /// Use the odometer where rows have one.
    pub odometer: bool,
    /// Fastest drive that is believed, m/s.
    pub top_mps: f64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            gap_ms: 240_000,
            lateness_ms: 6 * 3_600_000,
            quiet_ms: 20_000,
            clock_tolerance_ms: 300_000,
            stop_ms: 45_000,
            standing_mps: 0.8,
            standing_radius_m: 25.0,
            sigma_m: 5.0,
            reach_m: 60.0,
            beta_m: 8.0,
            candidates: 8,
            window: 12,
            odometer: true,
            top_mps: 33.0,
        }
    }
}
