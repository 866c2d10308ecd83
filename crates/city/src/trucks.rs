//! Trucks on their rounds: what they do next, breaking down, tipping, going home.
//!
//! A truck on duty does one thing at a time; a token tells its timers apart, so that a timer of something given up is ignored. How
//! they drive is in `driving.rs`, what happens at a stop in `service.rs`.

use crate::calendar::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::city::{Action, City};
use crate::events_vehicles::{Weighing, fuel_event, weighbridge_ticket};
use crate::faults::FaultKind;
use crate::fleet::{Duty, DutyDone, Goal, Order, Phase, TANK_L, Task, driver_of, shift_id_of};
use crate::health::Health;
use crate::layout::Stream;
use crate::rounds::{SHIFT_STARTS_MS, STOP_MS};

/// Longest duty; the rest of the round is left.
const LONGEST_DUTY_MS: i64 = 9 * HOUR_MS + 30 * MINUTE_MS;
/// Duty after which the crew takes its break.
const BREAK_AFTER_MS: i64 = 4 * HOUR_MS;
/// The same when a break is told for later.
const BREAK_AT_LAST_MS: i64 = 5 * HOUR_MS + 30 * MINUTE_MS;
/// Share of the payload at which a truck goes to tip.
const FULL_SHARE: f64 = 0.95;
/// Below this share it has nothing to tip.
const EMPTY_SHARE: f64 = 0.02;

impl City {
    pub(crate) fn on_shift_start(&mut self, index: usize, day: i64, from_ms: i64) {
        let clock = &self.fill.clock;
        let shift_ms = clock.utc_ms(day, SHIFT_STARTS_MS[self.rounds.truck_shift[index]]);
        let planned = self.rounds.stops_on(clock, index, day);
        let stops = planned.iter().map(|stop| (stop.site, shift_ms + stop.offset_ms)).filter(|(_, planned_ms)| *planned_ms > from_ms);
        let whole = |site: usize| Task::Collect { site, containers: self.layout.sites[site].containers.clone() };
        let orders: Vec<Order> = stops.map(|(site, planned_ms)| Order { task: whole(site), planned_ms }).collect();
        if !orders.is_empty() {
            let route_id = format!("round-{}-{}", self.trucks[index].id, crate::calendar::weekday(day) + 1);
            self.start_duty(index, day, route_id, orders);
        }
    }

    /// The truck leaves its depot with something to do.
    pub(crate) fn start_duty(&mut self, index: usize, day: i64, route_id: String, orders: Vec<Order>) {
        let now_ms = self.now_ms;
        let truck = &mut self.trucks[index];
        let shift_id = shift_id_of(&truck.id, day);
        if truck.duty.is_some() {
            // Still out, or broken down: nobody drives this round.
            for order in orders {
                if let Some(site) = order.site() {
                    self.reschedule(site, order.planned_ms);
                }
            }
            return;
        }
        truck.duties += 1;
        let outage_share = self.config.faults.buffered_upload_per_truck_day;
        let outage = truck.rng.chance(outage_share).then(|| {
            let from_ms = now_ms + truck.rng.int(10 * MINUTE_MS, 2 * HOUR_MS);
            (from_ms, from_ms + truck.rng.int(10 * MINUTE_MS, 40 * MINUTE_MS))
        });
        let clock_behind = truck
            .gps_rng
            .chance(self.config.faults.clock_behind_per_truck_day)
            .then(|| (now_ms + truck.gps_rng.int(10 * MINUTE_MS, HOUR_MS), truck.gps_rng.int(HOUR_MS, 9 * HOUR_MS)));
        truck.duty = Some(Duty {
            route_id,
            shift_id,
            driver_id: driver_of(index, day),
            crew_size: 2,
            started_ms: now_ms,
            orders,
            next: 0,
            container: 0,
            arrived_ms: now_ms,
            phase: Phase::Break,
            leg: None,
            had_break: false,
            broken: false,
            outage,
            clock_behind,
            tally: DutyDone { vehicle_id: truck.id.clone(), started_ms: now_ms, ..DutyDone::default() },
        });
        let (duties, id) = (truck.duties, truck.id.clone());
        if let Some((until_ms, _)) = clock_behind {
            self.record_fault(FaultKind::VehicleClock, id.clone(), until_ms, None);
        }
        if let Some((from_ms, until_ms)) = outage {
            self.record_fault(FaultKind::VehicleBufferedUpload, id, until_ms, None);
            if let Some(fault) = self.history.faults.last_mut() {
                fault.from_ms = from_ms;
            }
        }
        self.tell_shift(index, "started", None);
        self.agenda.push(now_ms + 5 * MINUTE_MS, Action::TruckDiagnose(index, duties));
        self.agenda.push(now_ms, Action::TruckTick(index, duties));
        self.go_on(index);
    }

    /// Decides what the truck does next, now that it stands free.
    pub(crate) fn go_on(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let fullness = self.trucks[index].fullness();
        let Some(duty) = self.trucks[index].duty.as_mut() else {
            return;
        };
        if duty.broken || now_ms - duty.started_ms > LONGEST_DUTY_MS {
            let reason = if duty.broken { "vehicle_breakdown" } else { "shift_end" };
            self.leave_out_the_rest(index, reason);
        }
        let Some(duty) = self.trucks[index].duty.as_mut() else {
            return;
        };
        // What was told and is done already (the break of who was hungry, the trip of who was full) is left out.
        while duty.orders.get(duty.next).is_some_and(|order| match order.task {
            Task::Collect { .. } => false,
            Task::Tip(_) => fullness < EMPTY_SHARE,
            Task::Break => duty.had_break,
        }) {
            duty.next += 1;
        }
        let ahead = &duty.orders[duty.next..];
        let hungry_ms = if ahead.iter().any(|order| order.task == Task::Break) { BREAK_AT_LAST_MS } else { BREAK_AFTER_MS };
        let Some(order) = ahead.first() else {
            return if fullness > EMPTY_SHARE { self.go_tip(index) } else { self.drive(index, Goal::Home) };
        };
        match order.task {
            _ if !duty.had_break && now_ms - duty.started_ms > hungry_ms => self.start_break(index),
            Task::Break => {
                duty.next += 1;
                self.start_break(index);
            }
            Task::Tip(facility) => {
                duty.next += 1;
                self.drive(index, Goal::Tip(facility));
            }
            Task::Collect { .. } if fullness > FULL_SHARE => self.go_tip(index),
            Task::Collect { .. } => self.drive(index, Goal::Stop),
        }
    }

    fn start_break(&mut self, index: usize) {
        let Some(duty) = self.trucks[index].duty.as_mut() else {
            return;
        };
        duty.had_break = true;
        duty.phase = Phase::Break;
        let length_ms = self.trucks[index].rng.int(30 * MINUTE_MS, 45 * MINUTE_MS);
        self.tell_shift(index, "break_started", None);
        self.tell_status(index, "on_break");
        self.wake_in(index, length_ms);
    }

    /// To the nearest disposal site that is open; to the nearest one if none is.
    pub(crate) fn go_tip(&mut self, index: usize) {
        let (at, now_ms) = (self.point_of(self.trucks[index].on), self.now_ms);
        let mut best: Option<(bool, f64, usize)> = None;
        for (facility, site) in self.layout.disposals.iter().enumerate() {
            let rank = (self.closed_until_ms[facility] > now_ms, at.street_m(site.at), facility);
            if best.is_none_or(|known| (rank.0, rank.1) < (known.0, known.1)) {
                best = Some(rank);
            }
        }
        self.drive(index, Goal::Tip(best.map_or(0, |(_, _, facility)| facility)));
    }

    /// Sets the truck's timer; what was set before no longer counts.
    pub(crate) fn wake_in(&mut self, index: usize, wait_ms: i64) {
        self.trucks[index].token += 1;
        self.agenda.push(self.now_ms + wait_ms, Action::TruckWake(index, self.trucks[index].token));
    }

    pub(crate) fn on_truck_wake(&mut self, index: usize, token: u64) {
        if self.trucks[index].token != token {
            return;
        }
        let now_ms = self.now_ms;
        let Some(duty) = self.trucks[index].duty.as_ref() else {
            return;
        };
        match duty.phase {
            Phase::Driving(_) if duty.broken && duty.leg.as_ref().is_some_and(|leg| now_ms < leg.arrive_ms) => self.break_down(index),
            Phase::Driving(goal) => {
                self.arrive(index);
                match goal {
                    Goal::Stop => self.arrive_at_stop(index),
                    Goal::Tip(facility) => self.start_tipping(index, facility),
                    Goal::Home => self.end_duty(index),
                }
            }
            Phase::AtStop => self.serve_next_container(index),
            Phase::Tipping(facility) => self.finish_tipping(index, facility),
            Phase::Break => {
                self.tell_shift(index, "break_ended", None);
                self.go_on(index);
            }
            Phase::Broken => self.repaired(index),
        }
    }

    pub(crate) fn at_stop(&mut self, index: usize) {
        if let Some(duty) = self.trucks[index].duty.as_mut() {
            duty.phase = Phase::AtStop;
        }
    }

    fn break_down(&mut self, index: usize) {
        self.arrive(index);
        let repair_ms = self.trucks[index].rng.int(90 * MINUTE_MS, 5 * HOUR_MS);
        let truck = &mut self.trucks[index];
        let part = truck.health.failed.unwrap_or(0);
        let code = Health::code(part, &mut truck.rng);
        truck.fault_code = Some(code);
        if let Some(duty) = truck.duty.as_mut() {
            duty.phase = Phase::Broken;
        }
        let id = truck.id.clone();
        self.record_fault(FaultKind::Breakdown, id, self.now_ms + repair_ms, None);
        self.tell_status(index, "broken_down");
        self.tell_repair(index, part, "opened", None);
        self.leave_out_the_rest(index, "vehicle_breakdown");
        self.wake_in(index, repair_ms);
    }

    fn repaired(&mut self, index: usize) {
        let truck = &mut self.trucks[index];
        let part = truck.health.repair(&mut truck.rng).unwrap_or(0);
        self.tell_repair(index, part, "completed", Some(self.now_ms));
        self.trucks[index].fault_code = None;
        self.go_on(index);
    }

    fn start_tipping(&mut self, index: usize, facility: usize) {
        let now_ms = self.now_ms;
        let truck = &mut self.trucks[index];
        let queue_ms = (self.closed_until_ms[facility] - now_ms).max(0) + truck.rng.int(2 * MINUTE_MS, 12 * MINUTE_MS);
        let takes_ms = queue_ms + truck.rng.int(6 * MINUTE_MS, 12 * MINUTE_MS);
        if let Some(duty) = truck.duty.as_mut() {
            duty.phase = Phase::Tipping(facility);
        }
        if let Some(duty) = truck.duty.as_mut() {
            duty.tally.disposals += 1;
        }
        self.tell_status(index, "disposing");
        self.wake_in(index, takes_ms);
    }

    /// One ticket a stream: the compartments are tipped and weighed one after the other.
    fn finish_tipping(&mut self, index: usize, facility: usize) {
        let truck = &mut self.trucks[index];
        let mut gross_kg = ((truck.empty_kg() + truck.total_kg()) / 20.0).round() * 20.0;
        let loads = std::mem::take(&mut truck.load_kg);
        truck.load_l = 0.0;
        let vehicle_id = truck.id.clone();
        for (stream, net_kg) in Stream::ALL.iter().zip(loads).filter(|(_, kg)| *kg > 10.0) {
            let net_kg = ((net_kg / 20.0).round() * 20.0).max(20.0);
            let ticket_id = self.next_id("wb");
            let fee_minor = (net_kg
                * match stream {
                    Stream::General => 15.0,
                    Stream::Organic => 9.0,
                    Stream::Paper | Stream::Glass => 3.0,
                }) as i64;
            let draft = weighbridge_ticket(
                &vehicle_id,
                &Weighing {
                    ticket_id: &ticket_id,
                    facility_id: &self.layout.disposals[facility].id,
                    waste_stream: stream.code(),
                    gross_kg,
                    tare_kg: gross_kg - net_kg,
                    fee_minor,
                    currency: &self.config.currency,
                },
            );
            self.emit_now(draft, "weighbridge");
            gross_kg -= net_kg;
        }
        self.go_on(index);
    }

    fn end_duty(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let paid_s = self.trucks[index].duty.as_ref().map(|duty| (now_ms - duty.started_ms) as f64 / SECOND_MS as f64);
        self.tell_status(index, "parked");
        self.tell_shift(index, "ended", paid_s);
        let truck = &mut self.trucks[index];
        let load_home_kg = truck.total_kg();
        let done = truck.duty.take().map(|duty| DutyDone { ended_ms: now_ms, load_home_kg, ..duty.tally });
        self.history.duties.extend(done);
        truck.token += 1;
        let replaced = truck.health.replace_in_time(&mut truck.rng);
        if truck.fuel_level < 0.45 {
            let volume_l = (1.0 - truck.fuel_level) * TANK_L;
            truck.fuel_level = 1.0;
            let draft = fuel_event(&truck.id, volume_l, truck.odometer_m, &self.config.currency, &self.layout.depots[truck.depot].id);
            self.emit_now(draft, "fuel-card");
        }
        if let Some(part) = replaced {
            self.tell_part_replaced(index, part);
        }
    }

    /// Time that a stop takes before the first container.
    pub(crate) fn stop_ms(&mut self, index: usize) -> i64 {
        (STOP_MS as f64 * 0.5 * self.trucks[index].rng.lognormal(1.0, 0.3)) as i64
    }
}
