//! What happens at a stop: containers are found, emptied or skipped, and the next visit is planned.
//!
//! Every container of a visited site is the crew's business: trucks have a compartment for each stream.

use crate::calendar::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::city::City;
use crate::config::Dispatch;
use crate::events::{Collection, collection_event, container_event, contamination_event};
use crate::faults::FaultKind;
use crate::references::schedule_reference;
use crate::rounds::CONTAINER_MS;
use crate::truth::Emptying;

/// Share of the level that a partial emptying leaves.
const PARTIAL_REST: f64 = 0.33;

/// What the crew found and did at a container.
struct Found {
    outcome: &'static str,
    reason: Option<&'static str>,
    /// Share of the level that stays; `None` when not emptied.
    rest: Option<f64>,
}

impl City {
    pub(crate) fn arrive_at_stop(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let blocked_share = self.config.faults.blocked_stop_share;
        let Some(duty) = self.trucks[index].duty.as_mut() else {
            return;
        };
        duty.arrived_ms = now_ms;
        let Some((site, ..)) = duty.stop() else {
            return;
        };
        // After tipping in the middle of a stop the truck comes back for the rest.
        let first_time = duty.container == 0;
        let closed = self.is_closed_off(site);
        let blocked = first_time && self.trucks[index].rng.chance(blocked_share);
        if closed || blocked {
            let site_id = self.layout.sites[site].id.clone();
            self.record_fault(FaultKind::BlockedStop, site_id, now_ms, None);
            self.tell_status(index, "collecting");
            self.skip_site(index, if closed { "no_access" } else { "blocked" });
            self.go_on(index);
            return;
        }
        self.at_stop(index);
        self.tell_status(index, "collecting");
        let wait_ms = self.stop_ms(index) + self.container_ms(index);
        self.wake_in(index, wait_ms);
    }

    fn container_ms(&mut self, index: usize) -> i64 {
        (CONTAINER_MS as f64 * self.trucks[index].rng.lognormal(0.9, 0.25)) as i64
    }

    /// The crew is done with the container at hand: books it and turns to the next one, or leaves.
    pub(crate) fn serve_next_container(&mut self, index: usize) {
        let Some(duty) = self.trucks[index].duty.as_ref() else {
            return;
        };
        let Some((site, containers, planned_ms)) = duty.stop() else {
            return;
        };
        let here = containers.len();
        if let Some(container) = containers.get(duty.container).copied() {
            self.serve(index, site, container);
        }
        let fullness = self.trucks[index].fullness();
        let Some(duty) = self.trucks[index].duty.as_mut() else {
            return;
        };
        duty.tally.peak_load = duty.tally.peak_load.max(fullness);
        duty.container += 1;
        if duty.container >= here {
            duty.container = 0;
            duty.next += 1;
            duty.tally.sites_served += 1;
            self.reschedule(site, planned_ms);
            self.go_on(index);
        } else if fullness > 1.0 {
            self.go_tip(index);
        } else {
            let wait_ms = self.container_ms(index);
            self.wake_in(index, wait_ms);
        }
    }

    fn serve(&mut self, index: usize, site: usize, container: usize) {
        let now_ms = self.now_ms;
        let level = self.level_now(container, now_ms);
        let found = self.find(index, container);
        let (capacity_l, stream, fill_id) = {
            let spec = &self.layout.containers[container];
            (spec.capacity_l, spec.stream, spec.id.clone())
        };
        let truck = &mut self.trucks[index];
        let taken_l = found.rest.map(|rest| level * (1.0 - rest) * capacity_l);
        let weight_kg = taken_l.map(|volume_l| volume_l * stream.density_kg_per_l() * truck.rng.lognormal(1.0, 0.15));
        if let (Some(volume_l), Some(kg)) = (taken_l, weight_kg) {
            truck.load_kg[stream as usize] += kg;
            truck.load_l += volume_l;
            truck.lift_cycles += 1;
        }
        let rates = &self.config.faults;
        let missed = found.rest.is_some() && truck.rng.chance(rates.missed_scan_share);
        let unscanned = found.rest.is_some() && !missed && truck.rng.chance(rates.no_scan_share);
        let late = found.rest.is_some() && !missed && truck.rng.chance(rates.late_scan_share);
        let scan = match unscanned {
            true => {
                if truck.rng.chance(0.5) {
                    "manual"
                } else {
                    "none"
                }
            }
            false if found.outcome == "not_found" => "none",
            false => "rfid",
        };
        let delay_ms = if late { truck.rng.int(10 * MINUTE_MS, 3 * HOUR_MS) } else { truck.rng.int(2 * SECOND_MS, 30 * SECOND_MS) };
        let vehicle_id = truck.id.clone();
        let mut event_id = None;
        if !missed {
            let Some(duty) = truck.duty.as_ref() else {
                return;
            };
            let draft = collection_event(&Collection {
                container_id: &fill_id,
                site_id: &self.layout.sites[site].id,
                vehicle_id: &vehicle_id,
                route_id: &duty.route_id,
                outcome: found.outcome,
                reason: found.reason,
                emptied_at_ms: found.rest.map(|_| now_ms),
                weight_kg,
                volume_l: taken_l,
                scan,
                stop_sequence: duty.sequence(),
                service_s: ((now_ms - duty.arrived_ms) / SECOND_MS) as f64,
                at: self.layout.degrees(self.layout.sites[site].at),
            });
            event_id = Some(self.emit(draft, "crew-app", now_ms, now_ms + delay_ms, now_ms + delay_ms + 300));
        }
        for (kind, occurred) in [(FaultKind::MissedScan, missed), (FaultKind::NoScan, unscanned), (FaultKind::LateScan, late)] {
            if occurred {
                let until_ms = if kind == FaultKind::LateScan { now_ms + delay_ms } else { now_ms };
                self.record_fault(kind, fill_id.clone(), until_ms, event_id.clone());
            }
        }
        match found.rest {
            Some(rest) => self.empty(index, container, level, rest, !missed),
            None => self.not_served(container),
        }
    }

    /// Draws what the crew meets at a container.
    fn find(&mut self, index: usize, container: usize) -> Found {
        let rates = self.config.faults.clone();
        let rng = &mut self.trucks[index].rng;
        let luck = rng.unit();
        let contaminated = rng.chance(0.7);
        let rest = rng.between(0.0, 0.03);
        let (id, stream) = (self.layout.containers[container].id.clone(), self.layout.containers[container].stream);
        let site_id = self.layout.sites[self.layout.containers[container].site].id.clone();
        let (not_found, skipped, partial) = (
            rates.not_found_share,
            rates.not_found_share + rates.skipped_container_share,
            rates.not_found_share + rates.skipped_container_share + rates.partial_share,
        );
        if luck < not_found {
            self.record_fault(FaultKind::NotFound, id, self.now_ms, None);
            Found { outcome: "not_found", reason: Some("not_out"), rest: None }
        } else if luck < skipped {
            self.record_fault(FaultKind::SkippedContainer, id.clone(), self.now_ms, None);
            if contaminated {
                let material = ["plastic_bag", "hazardous", "electronic", "organic"][self.trucks[index].rng.index(4)];
                let share = self.trucks[index].rng.between(0.1, 0.6);
                self.emit_now(contamination_event(&id, &site_id, stream, material, share), "crew-app");
                Found { outcome: "skipped", reason: Some("contaminated"), rest: None }
            } else {
                self.emit_now(container_event(&id, &site_id, "damaged").set("reason", "lid"), "crew-app");
                Found { outcome: "skipped", reason: Some("broken"), rest: None }
            }
        } else if luck < partial {
            self.record_fault(FaultKind::PartialEmptying, id, self.now_ms, None);
            Found { outcome: "partial", reason: Some("overfull"), rest: Some(PARTIAL_REST) }
        } else {
            Found { outcome: "served", reason: None, rest: Some(rest) }
        }
    }

    fn empty(&mut self, index: usize, container: usize, level: f64, rest: f64, reported: bool) {
        let now_ms = self.now_ms;
        let left = level * rest;
        let contents = &mut self.contents[container];
        contents.emptied.push((now_ms, left));
        contents.known_ms = now_ms;
        contents.poured = left;
        if let Some(duty) = self.trucks[index].duty.as_mut() {
            duty.tally.containers_emptied += 1;
        }
        self.history.emptyings.push(Emptying {
            container_id: self.layout.containers[container].id.clone(),
            at_ms: now_ms,
            level_before: level,
            level_after: left,
            vehicle_id: Some(self.trucks[index].id.clone()),
            reported,
        });
        self.emptied_after_ticket(container);
    }

    /// Books all containers of the stop at hand as skipped and moves on.
    fn skip_site(&mut self, index: usize, reason: &'static str) {
        let now_ms = self.now_ms;
        let Some(duty) = self.trucks[index].duty.as_mut() else {
            return;
        };
        let Some((site, containers, planned_ms)) = duty.stop() else {
            return;
        };
        let containers = containers.to_vec();
        let first = std::mem::take(&mut duty.container);
        let (sequence, route_id) = (duty.sequence(), duty.route_id.clone());
        duty.next += 1;
        duty.tally.sites_skipped += 1;
        let vehicle_id = self.trucks[index].id.clone();
        for container in containers.into_iter().skip(first) {
            let draft = collection_event(&Collection {
                container_id: &self.layout.containers[container].id,
                site_id: &self.layout.sites[site].id,
                vehicle_id: &vehicle_id,
                route_id: &route_id,
                outcome: "skipped",
                reason: Some(reason),
                emptied_at_ms: None,
                weight_kg: None,
                volume_l: None,
                scan: "none",
                stop_sequence: sequence,
                service_s: 0.0,
                at: self.layout.degrees(self.layout.sites[site].at),
            });
            self.emit(draft, "crew-app", now_ms, now_ms + 2_000, now_ms + 2_400);
            self.not_served(container);
        }
        self.reschedule(site, planned_ms);
    }

    /// Books every stop that is left of the round as skipped.
    pub(crate) fn leave_out_the_rest(&mut self, index: usize, reason: &'static str) {
        while let Some(duty) = self.trucks[index].duty.as_mut().filter(|duty| duty.next < duty.orders.len()) {
            if duty.stop().is_some() { self.skip_site(index, reason) } else { duty.next += 1 }
        }
    }

    /// The visit planned at `planned_ms` is over, one way or the other: publishes the next one.
    pub(crate) fn reschedule(&mut self, site: usize, planned_ms: i64) {
        let now_ms = self.now_ms;
        let clock = &self.fill.clock;
        let after_ms = planned_ms.max(now_ms);
        // Who comes at another hour than the round would have come has been there today.
        let after_ms = if self.config.dispatch == Dispatch::External { clock.utc_ms(clock.day(after_ms) + 1, 0) - 1 } else { after_ms };
        let next_ms = self.rounds.next_visit_ms(clock, site, after_ms);
        self.next_visits[site] = next_ms;
        let draft = schedule_reference(&self.layout.sites[site].id, self.layout.main_stream(site), next_ms, self.rounds.interval_h(site), now_ms);
        self.emit_now(draft, "planning");
    }
}
