//! How far and how long it is from one location to another: the one thing a problem asks of the world. Geometry and
//! tables are here; a road network with speeds by hour implements the same trait.

use std::fmt::Debug;

/// Place in a problem's table of locations.
pub type Location = u32;

/// Distances and times between the locations `0..locations()`.
///
/// Contract: answers never change while a problem lives; from a location to itself it is 0 m and 0 ms; whoever leaves
/// later arrives no earlier (first in, first out). `None` means that no road leads there.
pub trait Travel: Debug + Send + Sync {
    /// How many locations there are.
    fn locations(&self) -> usize;

    /// Metres of the drive.
    fn distance_m(&self, from: Location, to: Location) -> Option<f64>;

    /// Milliseconds of the drive for who leaves at `depart_ms` (UTC).
    fn duration_ms(&self, from: Location, to: Location, depart_ms: i64) -> Option<i64>;

    /// Whether `duration_ms` is the same at any time of day.
    fn is_static(&self) -> bool {
        true
    }
}

/// How a plane is crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Along the axes: |dx| + |dy|.
    Manhattan,
    /// As the crow flies.
    Euclid,
}

/// Points on a plane, driven between at one speed. Times are cut to whole milliseconds.
#[derive(Debug, Clone)]
pub struct Plane {
    points_m: Vec<(f64, f64)>,
    metric: Metric,
    speed_mps: f64,
}

impl Plane {
    /// Points in metres and a speed above 0.
    pub fn new(points_m: Vec<(f64, f64)>, metric: Metric, speed_mps: f64) -> Self {
        Self { points_m, metric, speed_mps }
    }
}

impl Travel for Plane {
    fn locations(&self) -> usize {
        self.points_m.len()
    }

    fn distance_m(&self, from: Location, to: Location) -> Option<f64> {
        let (a, b) = (self.points_m.get(from as usize)?, self.points_m.get(to as usize)?);
        let (dx, dy) = (a.0 - b.0, a.1 - b.1);
        Some(match self.metric {
            Metric::Manhattan => dx.abs() + dy.abs(),
            Metric::Euclid => dx.hypot(dy),
        })
    }

    fn duration_ms(&self, from: Location, to: Location, _depart_ms: i64) -> Option<i64> {
        Some((self.distance_m(from, to)? / self.speed_mps * 1000.0) as i64)
    }
}

/// A table: row by row, `NaN` metres where no road leads.
#[derive(Debug, Clone)]
pub struct Table {
    locations: usize,
    distance_m: Vec<f64>,
    duration_ms: Vec<i64>,
}

impl Table {
    /// `None` unless both tables are square with `locations` rows.
    pub fn new(locations: usize, distance_m: Vec<f64>, duration_ms: Vec<i64>) -> Option<Self> {
        let cells = locations.checked_mul(locations)?;
        (distance_m.len() == cells && duration_ms.len() == cells).then_some(Self { locations, distance_m, duration_ms })
    }

    fn cell(&self, from: Location, to: Location) -> Option<usize> {
        let (from, to) = (from as usize, to as usize);
        (from < self.locations && to < self.locations).then_some(from * self.locations + to)
    }
}

impl Travel for Table {
    fn locations(&self) -> usize {
        self.locations
    }

    fn distance_m(&self, from: Location, to: Location) -> Option<f64> {
        Some(self.distance_m[self.cell(from, to)?]).filter(|metres| metres.is_finite())
    }

    fn duration_ms(&self, from: Location, to: Location, _depart_ms: i64) -> Option<i64> {
        let cell = self.cell(from, to)?;
        self.distance_m[cell].is_finite().then(|| self.duration_ms[cell])
    }
}

/// A table whose times are stretched by the hour of departure, as traffic does it. Within an hour the factor is constant;
/// a drive that begins in one hour and ends in the next is driven piece by piece, so that who leaves later arrives later.
#[derive(Debug, Clone)]
pub struct ByHour {
    base: Table,
    factor: [f64; 24],
    offset_ms: i64,
}

const HOUR_MS: i64 = 3_600_000;

impl ByHour {
    /// `factor[h]` is how much longer than in the table a drive takes in hour `h` of a day that begins `offset_ms` after
    /// midnight UTC. `None` where a factor is not above 0.
    pub fn new(base: Table, factor: [f64; 24], offset_ms: i64) -> Option<Self> {
        factor.iter().all(|factor| factor.is_finite() && *factor > 0.0).then_some(Self { base, factor, offset_ms })
    }
}

impl Travel for ByHour {
    fn locations(&self) -> usize {
        self.base.locations()
    }

    fn distance_m(&self, from: Location, to: Location) -> Option<f64> {
        self.base.distance_m(from, to)
    }

    fn duration_ms(&self, from: Location, to: Location, depart_ms: i64) -> Option<i64> {
        let mut left_ms = self.base.duration_ms(from, to, depart_ms)? as f64;
        let mut now_ms = depart_ms;
        // A week of hours is far beyond any drive; what is left then is taken at the last factor.
        for _ in 0..168 {
            let of_day_ms = (now_ms - self.offset_ms).rem_euclid(24 * HOUR_MS);
            let factor = self.factor[(of_day_ms / HOUR_MS) as usize];
            let until_next_ms = HOUR_MS - of_day_ms.rem_euclid(HOUR_MS);
            let needed_ms = left_ms * factor;
            if needed_ms <= until_next_ms as f64 {
                return Some(now_ms - depart_ms + needed_ms.round() as i64);
            }
            left_ms -= until_next_ms as f64 / factor;
            now_ms += until_next_ms;
        }
        Some(now_ms - depart_ms + left_ms.round() as i64)
    }

    fn is_static(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_and_tables_answer_and_know_what_they_do_not() {
        let plane = Plane::new(vec![(0.0, 0.0), (3000.0, 4000.0)], Metric::Manhattan, 10.0);
        assert_eq!((plane.distance_m(0, 1), plane.duration_ms(0, 1, 0)), (Some(7000.0), Some(700_000)));
        assert_eq!(plane.distance_m(0, 2), None);
        let table = Table::new(2, vec![0.0, f64::NAN, 5.0, 0.0], vec![0, 0, 7, 0]).unwrap();
        assert_eq!((table.distance_m(0, 1), table.duration_ms(0, 1, 0), table.duration_ms(1, 0, 0)), (None, None, Some(7)));
        assert!(Table::new(2, vec![0.0; 3], vec![0; 4]).is_none());
    }

    #[test]
    fn who_leaves_later_in_the_rush_hour_arrives_no_earlier() {
        let base = Table::new(2, vec![0.0, 1000.0, 1000.0, 0.0], vec![0, HOUR_MS / 2, HOUR_MS / 2, 0]).unwrap();
        let mut factor = [1.0; 24];
        factor[8] = 3.0;
        let travel = ByHour::new(base, factor, 0).unwrap();
        let mut last = 0;
        for minute in 0..240 {
            let depart_ms = 7 * HOUR_MS + minute * 60_000;
            let arrive_ms = depart_ms + travel.duration_ms(0, 1, depart_ms).unwrap();
            assert!(arrive_ms >= last, "at minute {minute}");
            last = arrive_ms;
        }
        // Half of it before 8:00, the other half three times as slow.
        assert_eq!(travel.duration_ms(0, 1, 7 * HOUR_MS + 45 * 60_000), Some(HOUR_MS));
    }
}
