//! The trucks themselves: types, loads, wear, and the duty that each is on. What they do with it is in `trucks.rs`.

use crate::calendar::day_text;
use crate::config::CityConfig;
use crate::health::Health;
use crate::layout::{Layout, Point};
use crate::rng::Rng;

/// Volume of the fuel tank, l.
pub(crate) const TANK_L: f64 = 220.0;

/// (type, payload kg, body l, empty weight kg, length m, weight in the fleet)
const TYPES: [(&str, f64, f64, f64, f64, f64); 3] = [
    ("rear_loader", 5_500.0, 14_000.0, 10_500.0, 8.6, 5.0),
    ("side_loader", 4_200.0, 11_000.0, 9_200.0, 7.9, 3.0),
    ("crane", 3_200.0, 9_000.0, 9_800.0, 8.2, 2.0),
];

/// A truck and its life.
#[derive(Debug, Clone)]
pub(crate) struct Truck {
    pub id: String,
    pub kind: usize,
    pub depot: usize,
    pub plate: String,
    pub at: Point,
    pub load_kg: [f64; 4],
    pub load_l: f64,
    pub rng: Rng,
    pub duty: Option<Duty>,
    pub lift_cycles: i64,
    pub duties: u64,
    pub token: u64,
    pub odometer_m: f64,
    pub engine_h: f64,
    pub fuel_level: f64,
    pub health: Health,
    /// Code under which the present breakdown was reported.
    pub fault_code: Option<&'static str>,
}

/// One shift of a truck.
#[derive(Debug, Clone)]
pub(crate) struct Duty {
    pub shift_id: String,
    pub route_id: String,
    pub driver_id: String,
    pub crew_size: i64,
    pub started_ms: i64,
    /// (site, planned arrival UTC ms)
    pub stops: Vec<(usize, i64)>,
    /// Stop that is driven to or served.
    pub next: usize,
    /// Container of the stop that comes next.
    pub container: usize,
    pub arrived_ms: i64,
    pub phase: Phase,
    pub leg: Option<Leg>,
    pub had_break: bool,
    pub broken: bool,
    /// Network outage: positions of this time arrive at its end, newest first.
    pub outage: Option<(i64, i64)>,
}

/// Where a truck drives to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Stop,
    Tip(usize),
    Home,
}

/// What a truck on duty does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Driving(Goal),
    AtStop,
    Tipping(usize),
    Break,
    Broken,
}

/// One drive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leg {
    pub from: Point,
    pub to: Point,
    pub depart_ms: i64,
    pub arrive_ms: i64,
    pub length_m: f64,
}

impl Leg {
    /// Position along the street grid (east first, then north), heading in degrees, share driven.
    pub(crate) fn at(&self, at_ms: i64) -> (Point, f64, f64) {
        let share = ((at_ms - self.depart_ms) as f64 / (self.arrive_ms - self.depart_ms).max(1) as f64).clamp(0.0, 1.0);
        let (east_m, north_m) = (self.to.x_m - self.from.x_m, self.to.y_m - self.from.y_m);
        let done_m = share * (east_m.abs() + north_m.abs());
        if done_m < east_m.abs() {
            let at = Point { x_m: self.from.x_m + done_m * east_m.signum(), y_m: self.from.y_m };
            (at, if east_m > 0.0 { 90.0 } else { 270.0 }, share)
        } else {
            let at = Point { x_m: self.to.x_m, y_m: self.from.y_m + (done_m - east_m.abs()) * north_m.signum() };
            (at, if north_m >= 0.0 { 0.0 } else { 180.0 }, share)
        }
    }
}

impl Truck {
    pub(crate) fn fleet(config: &CityConfig, layout: &Layout) -> Vec<Truck> {
        (0..config.trucks)
            .map(|index| {
                let mut rng = Rng::derive(config.seed, "truck", index as u64);
                let depot = index % layout.depots.len();
                let odometer_m = rng.between(2.0e7, 3.5e8);
                Truck {
                    id: format!("truck-{:02}", index + 1),
                    kind: rng.weighted(&TYPES.map(|kind| kind.5)),
                    depot,
                    plate: format!("WST {:03}", rng.int(100, 999)),
                    at: layout.depots[depot].at,
                    load_kg: [0.0; 4],
                    load_l: 0.0,
                    duty: None,
                    lift_cycles: (odometer_m / 400.0) as i64,
                    duties: 0,
                    token: 0,
                    odometer_m,
                    engine_h: odometer_m / 1_000.0 / 18.0,
                    fuel_level: rng.between(0.4, 1.0),
                    health: Health::new(config.faults.breakdown_per_truck_day, &mut rng),
                    fault_code: None,
                    rng,
                }
            })
            .collect()
    }

    pub(crate) fn kind_name(&self) -> &'static str {
        TYPES[self.kind].0
    }

    pub(crate) fn payload_kg(&self) -> f64 {
        TYPES[self.kind].1
    }

    pub(crate) fn body_l(&self) -> f64 {
        TYPES[self.kind].2
    }

    pub(crate) fn empty_kg(&self) -> f64 {
        TYPES[self.kind].3
    }

    pub(crate) fn length_m(&self) -> f64 {
        TYPES[self.kind].4
    }

    pub(crate) fn total_kg(&self) -> f64 {
        self.load_kg.iter().sum()
    }

    /// Share of payload or body used, whichever is more. Bodies compact four to one.
    pub(crate) fn fullness(&self) -> f64 {
        (self.total_kg() / self.payload_kg()).max(self.load_l / (4.0 * self.body_l()))
    }
}

/// Pseudonymous driver of a truck on a day: two drivers share a truck through the week.
pub(crate) fn driver_of(truck: usize, day: i64) -> String {
    format!("driver-{:03}", truck * 2 + usize::from(crate::calendar::weekday(day) >= 4) + 1)
}

/// Id of a truck's shift on a local day.
pub(crate) fn shift_id_of(truck_id: &str, day: i64) -> String {
    format!("shift-{truck_id}-{}", day_text(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_follows_the_streets_east_first() {
        let leg = Leg { from: Point { x_m: 0.0, y_m: 0.0 }, to: Point { x_m: -300.0, y_m: 100.0 }, depart_ms: 0, arrive_ms: 40_000, length_m: 400.0 };
        assert_eq!(leg.at(0).0, Point { x_m: 0.0, y_m: 0.0 });
        assert_eq!((leg.at(20_000).0, leg.at(20_000).1), (Point { x_m: -200.0, y_m: 0.0 }, 270.0));
        assert_eq!((leg.at(35_000).0, leg.at(35_000).1), (Point { x_m: -300.0, y_m: 50.0 }, 0.0));
        assert_eq!(leg.at(99_000).0, leg.to);
    }
}
