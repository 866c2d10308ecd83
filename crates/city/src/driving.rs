//! Driving: the way a driver takes by habit, how long it takes by the true speeds, and the positions on it.

use crate::calendar::{MINUTE_MS, SECOND_MS};
use crate::city::{Action, City};
use crate::events_vehicles::{Fix, vehicle_position};
use crate::faults::FaultKind;
use crate::fleet::{Goal, Phase, TANK_L};
use crate::layout;
use ws_routing::roads::{Closures, Direction, Edge, Point, RoadGraph, Route, Snap, Speeds};

/// Before the wheels turn.
const START_MS: i64 = 8 * SECOND_MS;
/// From the last metre to the brake.
const PARK_MS: i64 = 12 * SECOND_MS;
/// No truck is faster, m/s.
const TOP_MPS: f64 = 19.0;
/// Setting out makes a position of its own, unless there was one just now.
const LEAST_TICK_MS: i64 = 5 * SECOND_MS;
/// Share of the error of one position that is still there in the next one.
const PUSH_KEPT: f64 = 0.75;
/// Time between the positions of a truck that stands with its engine on.
const STANDING_TICK_MS: i64 = MINUTE_MS;

/// A part of a drive on one edge.
#[derive(Debug, Clone, Copy)]
struct Part {
    edge: Edge,
    from_m: f64,
    to_m: f64,
    enter_ms: i64,
    leave_ms: i64,
}

/// One drive of a truck.
#[derive(Debug, Clone)]
pub(crate) struct Leg {
    parts: Vec<Part>,
    from: Snap,
    pub depart_ms: i64,
    pub arrive_ms: i64,
}

/// Where a truck is on its drive.
struct Now {
    on: Snap,
    point: Point,
    heading_deg: f64,
    mps: f64,
    driven_m: f64,
}

/// What really was driven on one segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Drive {
    /// Truck.
    pub vehicle_id: String,
    /// Segment.
    pub segment_id: String,
    /// Direction.
    pub direction: Direction,
    /// When the truck was first on it, UTC ms.
    pub entered_ms: i64,
    /// When it was last on it.
    pub left_ms: i64,
    /// Metres driven on it.
    pub metres: f64,
    /// Whether it was driven from end to end.
    pub whole: bool,
}

impl Leg {
    fn at(&self, graph: &RoadGraph, at_ms: i64) -> Now {
        let passed = self.parts.partition_point(|part| part.leave_ms <= at_ms);
        let driven_m: f64 = self.parts[..passed].iter().map(|part| part.to_m - part.from_m).sum();
        let standing = |on: Snap, driven_m: f64| Now { on, point: on.point(graph), heading_deg: 0.0, mps: 0.0, driven_m };
        let Some(part) = self.parts.get(passed) else {
            return standing(self.end(graph), driven_m);
        };
        if at_ms <= part.enter_ms {
            return standing(self.from, driven_m);
        }
        let part_m = part.to_m - part.from_m;
        let lasts_ms = (part.leave_ms - part.enter_ms).max(1) as f64;
        let here_m = part_m * (at_ms - part.enter_ms) as f64 / lasts_ms;
        let on = snap_on(graph, part.edge, part.from_m + here_m);
        let (point, heading_deg) = graph.at(on.segment, on.along_m, part.edge.direction());
        Now { on, point, heading_deg, mps: part_m / lasts_ms * 1e3, driven_m: driven_m + here_m }
    }

    fn end(&self, graph: &RoadGraph) -> Snap {
        self.parts.last().map_or(self.from, |part| snap_on(graph, part.edge, part.to_m))
    }
}

fn snap_on(graph: &RoadGraph, edge: Edge, from_start_m: f64) -> Snap {
    let segment = edge.segment();
    let along_m = if edge.direction() == Direction::Forward { from_start_m } else { graph.length_m(segment) - from_start_m };
    Snap { segment, along_m, distance_m: 0.0 }
}

impl City {
    /// Sets out for a goal.
    pub(crate) fn drive(&mut self, index: usize, goal: Goal) {
        let now_ms = self.now_ms;
        let Some(duty) = self.trucks[index].duty.as_ref() else {
            return;
        };
        let to = match goal {
            Goal::Stop => match duty.stop() {
                Some((site, ..)) => self.streets.sites[site],
                None => return,
            },
            Goal::Tip(facility) => self.streets.disposals[facility],
            Goal::Home => self.streets.depots[self.trucks[index].depot],
        };
        let from = self.trucks[index].on;
        let route = self.way(from, to, goal);
        let pace = self.trucks[index].rng.lognormal(1.0, 0.05).clamp(0.85, 1.15);
        let leg = self.leg(from, route.as_ref(), pace);
        let takes_ms = leg.arrive_ms - now_ms;
        let truck = &mut self.trucks[index];
        let breaks_down = truck.health.fails(takes_ms as f64 / 3.6e6, &mut truck.rng);
        let stops_after_ms = if breaks_down { (takes_ms as f64 * truck.rng.unit()) as i64 } else { takes_ms };
        if let Some(duty) = truck.duty.as_mut() {
            duty.phase = Phase::Driving(goal);
            duty.leg = Some(leg);
            duty.broken |= breaks_down;
        }
        self.tell_status(index, "driving");
        self.wake_in(index, stops_after_ms.max(SECOND_MS));
        if now_ms - self.trucks[index].position_ms >= LEAST_TICK_MS {
            self.send_position(index);
        }
    }

    /// The way a driver takes: the quickest by habit, around what is closed. A stop that only a closed road leads to is driven
    /// towards as far as it goes; other goals have the right to pass.
    fn way(&mut self, from: Snap, to: Snap, goal: Goal) -> Option<Route> {
        let (graph, mut search) = (self.streets.graph.clone(), std::mem::take(&mut self.search));
        let (live, open) = (Default::default(), Closures::default());
        let speeds = |closures| Speeds { profile: &self.habit, closures, live: &live, at_ms: self.now_ms, offset_ms: self.fill.clock.offset_ms(self.now_ms) };
        let around = search.route(&graph, &speeds(&self.closed), from, to);
        let route = around.or_else(|| {
            let mut route = search.route(&graph, &speeds(&open), from, to)?;
            let closed = |edge: &Edge| self.closed.is_closed(*edge, self.now_ms);
            if let Some(blocked) = route.edges.iter().skip(1).position(closed).filter(|_| goal == Goal::Stop) {
                route.edges.truncate(blocked + 1);
                route.to_m = graph.length_m(route.edges[blocked].segment());
            }
            Some(route)
        });
        self.search = search;
        route
    }

    /// A route with its times by the true speeds; without a route the truck stays where it is.
    fn leg(&self, from: Snap, route: Option<&Route>, pace: f64) -> Leg {
        let graph = &self.streets.graph;
        let mut enter_ms = self.now_ms + START_MS;
        let parts = route.iter().flat_map(|route| route.parts(graph));
        let parts = parts
            .map(|(edge, from_m, to_m)| {
                let mps = (self.congestion.mps(graph, &self.fill.clock, edge, enter_ms) * pace).min(TOP_MPS);
                let leave_ms = enter_ms + ((to_m - from_m).max(0.0) / mps * 1e3) as i64;
                let part = Part { edge, from_m, to_m: to_m.max(from_m), enter_ms, leave_ms };
                enter_ms = leave_ms;
                part
            })
            .collect();
        Leg { parts, from, depart_ms: self.now_ms, arrive_ms: enter_ms + PARK_MS }
    }

    /// Ends the leg: what it cost in distance, fuel and wear.
    pub(crate) fn arrive(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let truck = &mut self.trucks[index];
        let Some(leg) = truck.duty.as_mut().and_then(|duty| duty.leg.take()) else {
            return;
        };
        let graph = &self.streets.graph;
        let now = leg.at(graph, now_ms);
        truck.on = now.on;
        truck.odometer_m += now.driven_m;
        if let Some(duty) = truck.duty.as_mut() {
            duty.tally.driven_m += now.driven_m;
        }
        truck.engine_h += (now_ms - leg.depart_ms) as f64 / 3.6e6;
        truck.fuel_level = (truck.fuel_level - now.driven_m / 1_000.0 * 0.45 / TANK_L).max(0.02);
        truck.health.work((now_ms - leg.depart_ms) as f64 / 3.6e6);
        if let Some(drives) = self.drives.as_mut() {
            for part in leg.parts.iter().filter(|part| part.enter_ms < now_ms && part.to_m > part.from_m) {
                let left_ms = part.leave_ms.min(now_ms);
                let share = (left_ms - part.enter_ms) as f64 / (part.leave_ms - part.enter_ms).max(1) as f64;
                let metres = (part.to_m - part.from_m) * share;
                drives.push(Drive {
                    vehicle_id: truck.id.clone(),
                    segment_id: graph.id(part.edge.segment()).to_owned(),
                    direction: part.edge.direction(),
                    entered_ms: part.enter_ms,
                    left_ms,
                    metres,
                    whole: metres >= graph.length_m(part.edge.segment()) - 0.01,
                });
            }
        }
    }

    /// Sends the position and sets the timer for the next one, as long as the duty lasts.
    pub(crate) fn on_truck_tick(&mut self, index: usize, duty_number: u64) {
        let truck = &self.trucks[index];
        let Some(duty) = truck.duty.as_ref().filter(|_| truck.duties == duty_number) else {
            return;
        };
        let wait_ms = match duty.phase {
            Phase::Driving(_) => self.config.position_interval_s * SECOND_MS,
            _ => STANDING_TICK_MS,
        };
        // On a break or broken down the ignition is off and the device sleeps.
        if !matches!(duty.phase, Phase::Break | Phase::Broken) && self.now_ms - truck.position_ms >= LEAST_TICK_MS {
            self.send_position(index);
        }
        self.agenda.push(self.now_ms + wait_ms, Action::TruckTick(index, duty_number));
    }

    /// One GPS fix, with its error, over the network as it is.
    fn send_position(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let graph = &self.streets.graph;
        let truck = &mut self.trucks[index];
        let Some(duty) = truck.duty.as_ref() else {
            return;
        };
        let standing = || Now { on: truck.on, point: truck.on.point(graph), heading_deg: 0.0, mps: 0.0, driven_m: 0.0 };
        let now = duty.leg.as_ref().map_or_else(standing, |leg| leg.at(graph, now_ms));
        let outage = duty.outage.filter(|(from_ms, until_ms)| (*from_ms..*until_ms).contains(&now_ms));
        let behind_ms = duty.clock_behind.filter(|(until_ms, _)| now_ms < *until_ms).map_or(0, |(_, behind_ms)| behind_ms);
        truck.position_ms = now_ms;
        let rng = &mut truck.gps_rng;
        // Reflections push all positions of a minute the same way, most between the high houses of the middle.
        let from_middle = now.point.x_m.hypot(now.point.y_m) / self.config.radius_m;
        let push_m = 2.5 + 6.0 * (1.0 - 2.0 * from_middle).clamp(0.0, 1.0);
        let (kept, fresh) = (PUSH_KEPT, push_m * (1.0 - PUSH_KEPT * PUSH_KEPT).sqrt());
        truck.gps_push_m = truck.gps_push_m.map(|push_m| push_m * kept + fresh * rng.normal());
        let noise_m = rng.between(1.5, 5.5);
        let accuracy_m = 1.5 * noise_m.hypot(push_m);
        let jump_m = if rng.chance(self.config.faults.position_jump_share) { rng.between(150.0, 1_500.0) } else { 0.0 };
        let turn = rng.unit() * std::f64::consts::TAU;
        let off = [turn.cos(), turn.sin()].map(|part| noise_m * rng.normal() + jump_m * part);
        let point = Point { x_m: now.point.x_m + truck.gps_push_m[0] + off[0], y_m: now.point.y_m + truck.gps_push_m[1] + off[1] };
        let moving = now.mps > 0.0;
        let heading_deg = (now.heading_deg + 6.0 * rng.normal()).rem_euclid(360.0).min(359.4);
        let speed_mps = if moving { now.mps * rng.between(0.9, 1.1) } else { 0.15 * rng.normal().abs() };
        let fix =
            Fix { at: degrees(graph, point), speed_mps, heading_deg: moving.then_some(heading_deg), accuracy_m, odometer_m: truck.odometer_m + now.driven_m };
        let latency_ms = rng.int(300, 2_500);
        let vehicle_id = truck.id.clone();
        let sent_ms = match outage {
            Some((_, until_ms)) => until_ms + (until_ms - now_ms) / MINUTE_MS * 300,
            None => now_ms + 100,
        };
        let received_ms = sent_ms + if outage.is_some() { 1_000 } else { latency_ms };
        let draft = vehicle_position(&vehicle_id, fix);
        // A clock that is behind stamps both times.
        let event_id = self.emit(draft, "telematics", now_ms - behind_ms, sent_ms - behind_ms, received_ms);
        if jump_m > 0.0 {
            self.record_fault(FaultKind::PositionJump, vehicle_id, now_ms, Some(event_id));
        }
    }

    /// WGS 84 (latitude, longitude) of a position on the streets, degrees.
    pub(crate) fn degrees_of(&self, on: Snap) -> (f64, f64) {
        degrees(&self.streets.graph, on.point(&self.streets.graph))
    }

    /// A position on the streets in metres from the centre.
    pub(crate) fn point_of(&self, on: Snap) -> layout::Point {
        let graph = &self.streets.graph;
        self.layout.point(graph.place(on.point(graph)))
    }
}

fn degrees(graph: &RoadGraph, point: Point) -> (f64, f64) {
    let place = graph.place(point);
    ((place.latitude_deg * 1e6).round() / 1e6, (place.longitude_deg * 1e6).round() / 1e6)
}
