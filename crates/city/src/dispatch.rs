//! Routes given from outside: a truck does what it was sent, in that order, instead of a fixed round.
//!
//! A route may be replaced while it is driven. What was served stays served and what the crew is at is finished; only what lies
//! ahead is exchanged, so that a whole new version of a plan can be handed in, its past included. Crews keep their habits:
//! a full truck tips at the nearest open place whether told or not, nobody works on after nine and a half hours or without a break,
//! a truck with anything in it tips before it goes home, and what is left over is reported as skipped.
//!
//! The rhythm of the rounds goes on as what was promised to customers (`ref.schedule`); a planned visit stands in place of it
//! until the site was visited.

use std::collections::BTreeSet;

use crate::calendar::MINUTE_MS;
use crate::city::{Action, City};
use crate::config::Dispatch;
use crate::fleet::{Goal, Order, Phase, StandingRoute, Task};
use crate::references::schedule_reference;
use crate::rng::{hash2, unit_of};

/// Crews leave so much after the planned time, at most.
const LATE_MS: f64 = 6.0 * MINUTE_MS as f64;
/// A visit that moves by less is not published anew.
const PUBLISHED_FROM_MS: i64 = 10 * MINUTE_MS;

/// What one truck is to do, from where it is on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRoute {
    /// Truck.
    pub vehicle_id: String,
    /// Id under which its collections are reported.
    pub route_id: String,
    /// When it leaves its depot, UTC ms; a time that has passed means now. Of no effect for a truck that is out.
    pub starts_ms: i64,
    /// In order. Visits that it has made on this duty may be among them. None: it comes home, or stays.
    pub visits: Vec<PlannedVisit>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedVisit {
    /// What.
    pub visit: Visit,
    /// Planned arrival, UTC ms. Nobody waits for it.
    pub planned_ms: i64,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Visit {
    /// Containers of a site are emptied.
    Site {
        /// Which site.
        site_id: String,
        /// Which of its containers; all of them if empty.
        container_ids: Vec<String>,
    },
    /// The load is tipped.
    Disposal {
        /// Where.
        facility_id: String,
    },
    /// The break is taken where the truck is.
    Break,
}

/// A route that no truck can be given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DispatchError {
    /// The city drives its own rounds.
    #[error("the trucks of this city drive fixed rounds; hint: set `dispatch` to `External`")]
    FixedRounds,
    /// An id that the city does not have.
    #[error("there is no {kind} {id}; hint: use the ids of the references")]
    Unknown {
        /// What it should be.
        kind: &'static str,
        /// The id.
        id: String,
    },
    /// A container that does not stand there.
    #[error("{container_id} does not stand at {site_id}; hint: see ref.container")]
    NotThere {
        /// Container.
        container_id: String,
        /// Site.
        site_id: String,
    },
    /// A site that is visited twice.
    #[error("{site_id} is twice in the route of {vehicle_id}; hint: one stop for all containers of a site")]
    Twice {
        /// Site.
        site_id: String,
        /// Truck.
        vehicle_id: String,
    },
    /// The truck stands at the roadside, or was just repaired and goes home.
    #[error("{vehicle_id} has broken down; hint: plan it again after its next shift.event")]
    BrokenDown {
        /// Truck.
        vehicle_id: String,
    },
}

impl City {
    /// Gives a truck its route, or another one in place of what lies ahead of it.
    ///
    /// # Errors
    /// [`DispatchError`] says why the truck cannot take it; nothing has changed then.
    pub fn dispatch(&mut self, route: &PlannedRoute) -> Result<(), DispatchError> {
        if self.config.dispatch == Dispatch::Fixed {
            return Err(DispatchError::FixedRounds);
        }
        let unknown = || DispatchError::Unknown { kind: "vehicle", id: route.vehicle_id.clone() };
        let index = self.trucks.iter().position(|truck| truck.id == route.vehicle_id).ok_or_else(unknown)?;
        let orders = self.orders_of(route)?;
        let clock = &self.fill.clock;
        let starts_ms = route.starts_ms.max(self.now_ms);
        let later_day = |started_ms: i64| clock.day(starts_ms) > clock.day(started_ms);
        match &self.trucks[index].duty {
            // For the day after: it waits in the depot.
            Some(duty) if later_day(duty.started_ms) && route.starts_ms > self.now_ms => self.stand(index, route, orders),
            // A drive on which it will break down is a drive like any other until then.
            Some(duty) if duty.broken && (duty.phase == Phase::Broken || self.trucks[index].health.failed.is_none()) => {
                return Err(DispatchError::BrokenDown { vehicle_id: route.vehicle_id.clone() });
            }
            Some(_) => self.replace(index, route, orders),
            None => self.stand(index, route, orders),
        }
        Ok(())
    }

    fn orders_of(&self, route: &PlannedRoute) -> Result<Vec<Order>, DispatchError> {
        let mut seen = BTreeSet::new();
        let mut orders = Vec::with_capacity(route.visits.len());
        for planned in &route.visits {
            let task = match &planned.visit {
                Visit::Break => Task::Break,
                Visit::Disposal { facility_id } => {
                    let facility = self.layout.disposals.iter().position(|site| site.id == *facility_id);
                    Task::Tip(facility.ok_or_else(|| DispatchError::Unknown { kind: "disposal site", id: facility_id.clone() })?)
                }
                Visit::Site { site_id, container_ids } => {
                    let site = self.site_index(site_id).ok_or_else(|| DispatchError::Unknown { kind: "site", id: site_id.clone() })?;
                    if !seen.insert(site) {
                        return Err(DispatchError::Twice { site_id: site_id.clone(), vehicle_id: route.vehicle_id.clone() });
                    }
                    Task::Collect { site, containers: self.containers_of(site, site_id, container_ids)? }
                }
            };
            orders.push(Order { task, planned_ms: planned.planned_ms });
        }
        Ok(orders)
    }

    /// Sites are numbered in their ids; the check makes sure that this one is ours.
    fn site_index(&self, site_id: &str) -> Option<usize> {
        let index = site_id.strip_prefix("site-")?.parse::<usize>().ok()?.checked_sub(1)?;
        self.layout.sites.get(index).filter(|site| site.id == site_id).map(|_| index)
    }

    fn containers_of(&self, site: usize, site_id: &str, container_ids: &[String]) -> Result<Vec<usize>, DispatchError> {
        let here = &self.layout.sites[site].containers;
        if container_ids.is_empty() {
            return Ok(here.clone());
        }
        let mut containers = Vec::with_capacity(container_ids.len());
        for id in container_ids {
            let known = self.container_index(id).ok_or_else(|| DispatchError::Unknown { kind: "container", id: id.clone() })?;
            if !here.contains(&known) {
                return Err(DispatchError::NotThere { container_id: id.clone(), site_id: site_id.to_owned() });
            }
            if !containers.contains(&known) {
                containers.push(known);
            }
        }
        Ok(containers)
    }

    /// The truck will leave at the planned time, or a few minutes later as crews do.
    fn stand(&mut self, index: usize, route: &PlannedRoute, orders: Vec<Order>) {
        let before = self.trucks[index].standing.take().map(|standing| standing.orders).unwrap_or_default();
        self.publish(&before, &orders);
        let truck = &mut self.trucks[index];
        truck.routes_given += 1;
        if orders.is_empty() {
            return;
        }
        let number = truck.routes_given;
        truck.standing = Some(StandingRoute { route_id: route.route_id.clone(), orders, number });
        // The same on a day however often the route changes, and nothing that other draws depend on.
        let day = self.fill.clock.day(route.starts_ms.max(self.now_ms));
        let late_ms = (unit_of(hash2(self.config.seed ^ 0x1A7E, hash2(index as u64, day as u64))) * LATE_MS) as i64;
        self.agenda.push((route.starts_ms + late_ms).max(self.now_ms), Action::Depart(index, number));
    }

    pub(crate) fn on_depart(&mut self, index: usize, number: u64) {
        let standing = self.trucks[index].standing.take_if(|standing| standing.number == number);
        if let Some(standing) = standing {
            let day = self.fill.clock.day(self.now_ms);
            self.start_duty(index, day, standing.route_id, standing.orders);
        }
    }

    /// Exchanges what lies ahead of a truck that is out.
    fn replace(&mut self, index: usize, route: &PlannedRoute, orders: Vec<Order>) {
        let Some(duty) = self.trucks[index].duty.as_mut() else {
            return;
        };
        let at_stop = duty.container > 0 || matches!(duty.phase, Phase::Driving(Goal::Stop) | Phase::AtStop);
        let begun = (duty.next + usize::from(at_stop)).min(duty.orders.len());
        let before = duty.orders.split_off(begun);
        let behind = what_is_behind(&duty.orders, matches!(duty.phase, Phase::Driving(Goal::Tip(_)) | Phase::Tipping(_)), &orders);
        let ahead: Vec<Order> = orders.into_iter().zip(behind).filter(|(_, behind)| !behind).map(|(order, _)| order).collect();
        duty.orders.extend(ahead.iter().cloned());
        duty.route_id.clone_from(&route.route_id);
        let turns = !ahead.is_empty() && !duty.broken && duty.phase == Phase::Driving(Goal::Home);
        self.publish(&before, &ahead);
        if turns {
            self.arrive(index);
            self.go_on(index);
        }
    }

    /// Tells when sites are visited next: those planned now, and those no longer planned.
    fn publish(&mut self, before: &[Order], now: &[Order]) {
        let planned: BTreeSet<usize> = now.iter().filter_map(Order::site).collect();
        for site in before.iter().filter_map(Order::site).filter(|site| !planned.contains(site)) {
            self.reschedule(site, self.now_ms);
        }
        for order in now {
            let Some(site) = order.site() else { continue };
            let known = self.next_visits[site].filter(|known_ms| (known_ms - order.planned_ms).abs() < PUBLISHED_FROM_MS);
            if known.is_none() {
                self.next_visits[site] = Some(order.planned_ms);
                let (stream, interval_h) = (self.layout.main_stream(site), self.rounds.interval_h(site));
                let draft = schedule_reference(&self.layout.sites[site].id, stream, Some(order.planned_ms), interval_h, self.now_ms);
                self.emit_now(draft, "planning");
            }
        }
    }

    /// At midnight: sites that the rhythm promised and nobody sent a truck to get their next promise.
    pub(crate) fn renew_promises(&mut self) {
        if self.config.dispatch == Dispatch::Fixed {
            return;
        }
        for site in 0..self.next_visits.len() {
            if self.next_visits[site].is_some_and(|visit_ms| visit_ms <= self.now_ms) {
                self.reschedule(site, self.now_ms);
            }
        }
    }
}

/// Which of a plan's orders a truck has behind it that began `begun`: sites that it went to, trips and breaks that the plan puts
/// before the last of those, and a trip right after it if that is what the truck is on, or did last.
fn what_is_behind(begun: &[Order], tipping: bool, plan: &[Order]) -> Vec<bool> {
    let visited: BTreeSet<usize> = begun.iter().filter_map(Order::site).collect();
    let was_there = |order: &Order| order.site().is_some_and(|site| visited.contains(&site));
    let last = plan.iter().rposition(was_there);
    let tipped = tipping || matches!(begun.last(), Some(Order { task: Task::Tip(_), .. }));
    let mut behind: Vec<bool> =
        plan.iter().enumerate().map(|(place, order)| was_there(order) || (order.site().is_none() && last.is_some_and(|last| place < last))).collect();
    let first_ahead = last.map_or(0, |last| last + 1);
    if tipped && matches!(plan.get(first_ahead), Some(Order { task: Task::Tip(_), .. })) {
        behind[first_ahead] = true;
    }
    behind
}
