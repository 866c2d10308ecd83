//! The trucks themselves: types, loads, wear, and the duty that each is on. What they do with it is in `trucks.rs`.

use crate::calendar::day_text;
use crate::config::CityConfig;
use crate::driving::Leg;
use crate::health::Health;
use crate::layout::Layout;
use crate::rng::Rng;
use crate::streets::Streets;
use ws_routing::roads::Snap;

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
    /// Where it stands, or began its drive.
    pub on: Snap,
    pub load_kg: [f64; 4],
    pub load_l: f64,
    pub rng: Rng,
    /// Errors of its positions: apart, so that they do not change what it does.
    pub gps_rng: Rng,
    /// Error that its positions share for a while, m east and north.
    pub gps_push_m: [f64; 2],
    /// When it last sent its position.
    pub position_ms: i64,
    pub duty: Option<Duty>,
    /// The route that it will leave for.
    pub standing: Option<StandingRoute>,
    /// Routes that it was given so far.
    pub routes_given: u64,
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
    /// What it has done and is to do, in order.
    pub orders: Vec<Order>,
    /// The order that is driven to or carried out.
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
    /// Until when its clock is behind, and by how much, ms: then the clock is set right and times repeat.
    pub clock_behind: Option<(i64, i64)>,
    /// What it did so far.
    pub tally: DutyDone,
}

/// One thing that a truck is to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub task: Task,
    /// Planned arrival, UTC ms.
    pub planned_ms: i64,
}

/// What an order is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Task {
    /// Containers of a site are emptied.
    Collect { site: usize, containers: Vec<usize> },
    /// The load is tipped at a disposal site.
    Tip(usize),
    /// The break is taken.
    Break,
}

impl Order {
    /// The site, if it is a stop.
    pub(crate) fn site(&self) -> Option<usize> {
        match self.task {
            Task::Collect { site, .. } => Some(site),
            Task::Tip(_) | Task::Break => None,
        }
    }
}

impl Duty {
    /// The stop at hand: site, its containers of this visit, planned arrival.
    pub(crate) fn stop(&self) -> Option<(usize, &[usize], i64)> {
        let order = self.orders.get(self.next)?;
        match &order.task {
            Task::Collect { site, containers } => Some((*site, containers, order.planned_ms)),
            Task::Tip(_) | Task::Break => None,
        }
    }

    /// Number of the stop at hand among the stops of the round, from 1.
    pub(crate) fn sequence(&self) -> usize {
        self.orders[..self.next.min(self.orders.len())].iter().filter(|order| order.site().is_some()).count() + 1
    }
}

/// What a truck did from leaving its depot to coming home.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DutyDone {
    /// Truck.
    pub vehicle_id: String,
    /// When it began, UTC ms.
    pub started_ms: i64,
    /// When it was home, UTC ms; before that, 0.
    pub ended_ms: i64,
    /// Metres driven.
    pub driven_m: f64,
    /// Sites at which the crew did its work.
    pub sites_served: usize,
    /// Sites left out: blocked, closed off, breakdown, end of the shift.
    pub sites_skipped: usize,
    /// Containers emptied.
    pub containers_emptied: usize,
    /// Trips to a disposal site.
    pub disposals: usize,
    /// Fullest that it was, share of its payload or body, whichever is more.
    pub peak_load: f64,
    /// Load with which it came home, kg.
    pub load_home_kg: f64,
}

/// A route given to a truck that has not left.
#[derive(Debug, Clone)]
pub(crate) struct StandingRoute {
    pub route_id: String,
    pub orders: Vec<Order>,
    /// Number by which its departure is known.
    pub number: u64,
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

impl Truck {
    pub(crate) fn fleet(config: &CityConfig, layout: &Layout, streets: &Streets) -> Vec<Truck> {
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
                    on: streets.depots[depot],
                    load_kg: [0.0; 4],
                    load_l: 0.0,
                    duty: None,
                    standing: None,
                    routes_given: 0,
                    lift_cycles: (odometer_m / 400.0) as i64,
                    duties: 0,
                    token: 0,
                    odometer_m,
                    engine_h: odometer_m / 1_000.0 / 18.0,
                    fuel_level: rng.between(0.4, 1.0),
                    health: Health::new(config.faults.breakdown_per_truck_day, &mut rng),
                    fault_code: None,
                    gps_push_m: [0.0; 2],
                    position_ms: config.start_ms,
                    gps_rng: Rng::derive(config.seed, "gps", index as u64),
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
