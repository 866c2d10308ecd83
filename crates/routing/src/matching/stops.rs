//! Stops without a map: where a vehicle stayed for a while. What remains between them are its moves, whose speed as the
//! crow flies is a lower bound of the true one.
//!
//! The method is the usual one of stay points (Li et al., 2008), made online: a stay is a run of positions within a radius
//! of their mean. A vehicle that says it moves ends it at once.

use super::row::Fix;
use crate::bytes::{Reader, Writer};
use crate::roads::{Place, Plane};

/// Settings of stop detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StopOptions {
    /// Shortest stop, ms.
    pub least_ms: i64,
    /// Positions of one stop lie within this distance of their mean, m.
    pub radius_m: f64,
    /// Time without a row after which nothing is known: it ends a stop and is no move.
    pub gap_ms: i64,
    /// A vehicle that tells at least this speed does not stand, m/s.
    pub moving_mps: f64,
}

impl Default for StopOptions {
    fn default() -> StopOptions {
        StopOptions { least_ms: 120_000, radius_m: 30.0, gap_ms: 600_000, moving_mps: 2.0 }
    }
}

/// A vehicle stayed somewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stop {
    /// First and last position there, UTC ms.
    pub from_ms: i64,
    /// Last position there.
    pub until_ms: i64,
    /// Mean of the positions.
    pub place: Place,
    /// Positions.
    pub fixes: u32,
}

/// From one position to the next, outside of stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Move {
    /// Time of the first position, UTC ms.
    pub from_ms: i64,
    /// Time of the second one.
    pub until_ms: i64,
    /// Distance as the crow flies, m: the road is not shorter.
    pub crow_m: f64,
}

impl Move {
    /// Speed as the crow flies, m/s.
    pub fn mps(&self) -> f64 {
        self.crow_m / ((self.until_ms - self.from_ms).max(1) as f64 / 1e3)
    }
}

/// What a row led to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stayed {
    /// A stop that has ended.
    pub stop: Option<Stop>,
    /// The move that led here.
    pub moved: Option<Move>,
    /// The row is older than one before it, or no position: nothing was done with it.
    pub dropped: bool,
}

/// Where a vehicle is and since when.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StopState {
    stay: Option<Stay>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Stay {
    from_ms: i64,
    until_ms: i64,
    /// Mean so far, and the newest position.
    mean: Place,
    newest: Place,
    fixes: u32,
}

impl StopState {
    /// Takes a row, in order of measuring; older ones are dropped.
    pub fn observe(&mut self, options: &StopOptions, fix: &Fix) -> Stayed {
        let fresh = Stay { from_ms: fix.observed_ms, until_ms: fix.observed_ms, mean: fix.place, newest: fix.place, fixes: 1 };
        if !fix.place.is_valid() || self.stay.is_some_and(|stay| fix.observed_ms <= stay.until_ms) {
            return Stayed { dropped: true, ..Stayed::default() };
        }
        let Some(stay) = self.stay.as_mut() else {
            self.stay = Some(fresh);
            return Stayed::default();
        };
        let gap = fix.observed_ms - stay.until_ms > options.gap_ms;
        let moving = fix.speed_mps.is_some_and(|mps| mps >= options.moving_mps);
        if !gap && !moving && stay.mean.distance_m(fix.place) <= options.radius_m {
            let share = 1.0 / f64::from(stay.fixes + 1);
            let plane = Plane::around(stay.mean);
            stay.mean = plane.place(plane.point(stay.mean).towards(plane.point(fix.place), share));
            (stay.until_ms, stay.newest) = (fix.observed_ms, fix.place);
            stay.fixes += 1;
            return Stayed::default();
        }
        let ended = *stay;
        *stay = fresh;
        let moved = Move { from_ms: ended.until_ms, until_ms: fix.observed_ms, crow_m: ended.newest.distance_m(fix.place) };
        Stayed { stop: ended.stop(options), moved: (!gap).then_some(moved), dropped: false }
    }

    /// Ends what is open.
    pub fn finish(&mut self, options: &StopOptions) -> Option<Stop> {
        self.stay.take()?.stop(options)
    }

    /// Its byte form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        if let Some(stay) = self.stay {
            to.i64(stay.from_ms);
            to.i64(stay.until_ms);
            for place in [stay.mean, stay.newest] {
                to.f64(place.latitude_deg);
                to.f64(place.longitude_deg);
            }
            to.u32(stay.fixes);
        }
        to.0
    }

    /// The state of a byte form; `None` for bytes that are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<StopState> {
        if bytes.is_empty() {
            return Some(StopState::default());
        }
        let mut from = Reader(bytes);
        let (from_ms, until_ms) = (from.i64()?, from.i64()?);
        let mean = Place::new(from.f64()?, from.f64()?);
        let newest = Place::new(from.f64()?, from.f64()?);
        let fixes = from.u32().filter(|_| from.0.is_empty())?;
        Some(StopState { stay: Some(Stay { from_ms, until_ms, mean, newest, fixes }) })
    }
}

impl Stay {
    fn stop(self, options: &StopOptions) -> Option<Stop> {
        (self.until_ms - self.from_ms >= options.least_ms).then_some(Stop {
            from_ms: self.from_ms,
            until_ms: self.until_ms,
            place: self.mean,
            fixes: self.fixes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roads::Point;

    fn fix(second: i64, x_m: f64, speed_mps: Option<f64>) -> Fix {
        let place = Plane::around(Place::new(40.7, -74.1)).place(Point { x_m, y_m: 0.0 });
        let at_ms = second * 1_000;
        Fix { observed_ms: at_ms, sent_ms: at_ms, received_ms: at_ms, place, speed_mps, heading_deg: None, accuracy_m: None, odometer_m: None }
    }

    fn observe(rows: &[(i64, f64, Option<f64>)]) -> (Vec<Stop>, Vec<Move>, usize) {
        let (options, mut bytes) = (StopOptions::default(), Vec::new());
        let (mut stops, mut moves, mut dropped) = (Vec::new(), Vec::new(), 0);
        for (second, x_m, mps) in rows {
            // Stored and read back after every row.
            let mut state = StopState::from_bytes(&bytes).unwrap();
            let stayed = state.observe(&options, &fix(*second, *x_m, *mps));
            stops.extend(stayed.stop);
            moves.extend(stayed.moved);
            dropped += usize::from(stayed.dropped);
            bytes = state.to_bytes();
        }
        stops.extend(StopState::from_bytes(&bytes).unwrap().finish(&options));
        (stops, moves, dropped)
    }

    #[test]
    fn a_stay_is_a_stop_from_its_shortest_length_on_and_moves_lie_between() {
        let rows = [(0, 0.0, None), (60, 400.0, None), (120, 410.0, None), (240, 395.0, None), (300, 900.0, None), (360, 905.0, None), (420, 1_500.0, None)];
        let (stops, moves, _) = observe(&rows);
        assert_eq!(stops.len(), 1, "a minute is no stop: {stops:?}");
        assert_eq!((stops[0].from_ms, stops[0].until_ms, stops[0].fixes), (60_000, 240_000, 3));
        assert_eq!(moves.len(), 3);
        assert!((moves[0].mps() - 400.0 / 60.0).abs() < 0.05 && (moves[1].crow_m - 505.0).abs() < 1.0);
    }

    #[test]
    fn who_says_that_it_moves_does_not_stand() {
        let rows: Vec<_> = (0..10).map(|step| (step * 20, step as f64 * 2.0, Some(4.0))).collect();
        assert!(observe(&rows).0.is_empty());
    }

    #[test]
    fn a_gap_ends_a_stop_and_is_no_move_and_older_rows_are_dropped() {
        let (stops, moves, dropped) = observe(&[(0, 0.0, None), (150, 5.0, None), (100, 3.0, None), (5_000, 5.0, None), (5_060, 500.0, None)]);
        assert_eq!((stops.len(), moves.len(), dropped), (1, 1, 1));
        assert_eq!(stops[0].until_ms, 150_000);
        assert!(StopState::from_bytes(&[1, 2, 3]).is_none());
    }
}
