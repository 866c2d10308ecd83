//! What really happened, beside what the events say: levels at any time, every emptying, every fault, every true mounting.

use crate::billing::NOTICE_DAYS;
use crate::calendar::{DAY_MS, HOUR_MS};
use crate::city::City;
use crate::driving::Drive;
use crate::faults::{Fault, FaultKind};
use crate::fill::{FillSpec, physical_level};
use crate::fleet::DutyDone;
use crate::health::{ENGINE_H_PER_DAY, PARTS};
use ws_routing::roads::Direction;

/// An emptying that took place, whether or not anybody reported it.
#[derive(Debug, Clone, PartialEq)]
pub struct Emptying {
    /// Container emptied.
    pub container_id: String,
    /// When, UTC ms. The last one before the city began has a time before its start.
    pub at_ms: i64,
    /// Level found, 0 to 1.15.
    pub level_before: f64,
    /// Level left: next to nothing, or a third after a partial emptying.
    pub level_after: f64,
    /// Truck that did it; `None` for those before the start.
    pub vehicle_id: Option<String>,
    /// Whether a `collection.event` tells of it.
    pub reported: bool,
}

/// A container's past: enough to know its level at any time.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    /// (UTC ms, what was left in it as a share of the capacity), ascending; never empty.
    pub emptied: Vec<(i64, f64)>,
    /// Up to when `poured` is known.
    pub known_ms: i64,
    /// What was thrown in since the last emptying plus what that left.
    pub poured: f64,
    /// Fire: (start, end, hottest °C).
    pub fire: Option<(i64, i64, f64)>,
    /// Ticket about it that is still open.
    pub open_ticket: Option<usize>,
}

/// What the city keeps for [`Truth`].
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub emptyings: Vec<Emptying>,
    pub faults: Vec<Fault>,
    pub duties: Vec<DutyDone>,
}

/// Read access to what really happened. Ids are those of the events.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    city: &'a City,
}

impl<'a> Truth<'a> {
    pub(crate) fn new(city: &'a City) -> Truth<'a> {
        Truth { city }
    }

    /// Ids of all containers.
    pub fn container_ids(&self) -> impl Iterator<Item = &'a str> + 'a {
        self.city.layout.containers.iter().map(|container| container.id.as_str())
    }

    /// Level of a container now, 0 to 1.15; `None` for an unknown id.
    pub fn level(&self, container_id: &str) -> Option<f64> {
        self.level_at(container_id, self.city.now_ms)
    }

    /// Level of a container at a time, given the emptyings so far. Times ahead of the city are answered as if nobody came any more;
    /// times before the last emptying that precedes the start give `None`.
    pub fn level_at(&self, container_id: &str, at_ms: i64) -> Option<f64> {
        let index = self.city.container_index(container_id)?;
        let emptied = &self.city.contents[index].emptied;
        let (from_ms, left) = *emptied.get(emptied.partition_point(|(time_ms, _)| *time_ms <= at_ms).checked_sub(1)?)?;
        Some(physical_level(left + self.city.fill.poured(&self.city.layout.containers[index].fill, from_ms, at_ms)))
    }

    /// Level at `to_ms` if nobody had emptied the container after `from_ms`: what a forecast made at `from_ms` is measured by.
    pub fn level_if_left_alone(&self, container_id: &str, from_ms: i64, to_ms: i64) -> Option<f64> {
        let (index, poured) = self.poured_at(container_id, from_ms)?;
        Some(physical_level(poured + self.city.fill.poured(&self.city.layout.containers[index].fill, from_ms, to_ms)))
    }

    /// Hours from `from_ms` until the container is full (level 1) if nobody empties it; `None` beyond `horizon_h`.
    pub fn hours_to_full(&self, container_id: &str, from_ms: i64, horizon_h: f64) -> Option<f64> {
        let (index, poured) = self.poured_at(container_id, from_ms)?;
        self.city.fill.hours_to(&self.city.layout.containers[index].fill, poured, from_ms, 1.0, horizon_h)
    }

    /// Hours from `from_ms` until the container is full if it were empty then and nobody came; `None` beyond `horizon_h`.
    pub fn hours_to_full_from_empty(&self, container_id: &str, from_ms: i64, horizon_h: f64) -> Option<f64> {
        let index = self.city.container_index(container_id)?;
        self.city.fill.hours_to(&self.city.layout.containers[index].fill, 0.0, from_ms, 1.0, horizon_h)
    }

    /// When the container was last emptied before a time, UTC ms.
    pub fn emptied_ms(&self, container_id: &str, before_ms: i64) -> Option<i64> {
        let emptied = &self.city.contents[self.city.container_index(container_id)?].emptied;
        emptied.iter().rev().map(|(at_ms, _)| *at_ms).find(|at_ms| *at_ms < before_ms)
    }

    fn poured_at(&self, container_id: &str, at_ms: i64) -> Option<(usize, f64)> {
        let index = self.city.container_index(container_id)?;
        let emptied = &self.city.contents[index].emptied;
        let (from_ms, left) = *emptied.get(emptied.partition_point(|(time_ms, _)| *time_ms <= at_ms).checked_sub(1)?)?;
        Some((index, left + self.city.fill.poured(&self.city.layout.containers[index].fill, from_ms, at_ms)))
    }

    /// All emptyings so far, those before the start first.
    pub fn emptyings(&self) -> &'a [Emptying] {
        &self.city.history.emptyings
    }

    /// All faults so far, in the order in which they began.
    pub fn faults(&self) -> &'a [Fault] {
        &self.city.history.faults
    }

    /// What the trucks did, duty by duty, in the order in which they came home.
    pub fn duties(&self) -> &'a [DutyDone] {
        &self.city.history.duties
    }

    /// Hours that containers stood full (level 1) between two times not after now, all containers together.
    pub fn full_h(&self, from_ms: i64, to_ms: i64) -> f64 {
        self.city.layout.containers.iter().zip(&self.city.contents).map(|(container, contents)| self.full_h_of(&container.fill, contents, from_ms, to_ms)).sum()
    }

    fn full_h_of(&self, spec: &FillSpec, contents: &Contents, from_ms: i64, to_ms: i64) -> f64 {
        let ends = contents.emptied.iter().skip(1).map(|(at_ms, _)| *at_ms).chain([to_ms]);
        let spans = contents.emptied.iter().zip(ends).map(|((at_ms, left), end_ms)| (*at_ms, *left, end_ms.min(to_ms)));
        let full_ms = |(at_ms, left, end_ms): (i64, f64, i64)| {
            if end_ms <= from_ms.max(at_ms) {
                return 0;
            }
            let within_h = (end_ms - at_ms) as f64 / HOUR_MS as f64;
            let full_h = self.city.fill.hours_to(spec, left, at_ms, 1.0, within_h);
            full_h.map_or(0, |hours| (end_ms - from_ms.max(at_ms + (hours * HOUR_MS as f64) as i64)).max(0))
        };
        spans.map(full_ms).sum::<i64>() as f64 / HOUR_MS as f64
    }

    /// Number of faults of one kind so far.
    pub fn fault_count(&self, kind: FaultKind) -> usize {
        self.city.history.faults.iter().filter(|fault| fault.kind == kind).count()
    }

    /// Container that a device really sat on at a time, whatever the references say; `None` for the devices that stand in no reference.
    pub fn container_of(&self, device_id: &str, at_ms: i64) -> Option<&'a str> {
        let numbered = device_id.strip_prefix("dev-").and_then(|number| number.parse::<usize>().ok()).and_then(|number| number.checked_sub(1));
        let device = numbered.and_then(|index| self.city.devices.get(index)).filter(|device| device.id == device_id)?;
        let index = device.mounts.partition_point(|(from_ms, _)| *from_ms <= at_ms).checked_sub(1)?;
        device.mounts[index].1.map(|container| self.city.layout.containers[container].id.as_str())
    }

    /// Site of a container.
    pub fn site_of(&self, container_id: &str) -> Option<&'a str> {
        let container = &self.city.layout.containers[self.city.container_index(container_id)?];
        Some(&self.city.layout.sites[container.site].id)
    }

    /// Next planned visit of a container's site, UTC ms; a little in the past while the truck is late.
    pub fn next_visit_ms(&self, container_id: &str) -> Option<i64> {
        let container = &self.city.layout.containers[self.city.container_index(container_id)?];
        self.city.next_visits[container.site]
    }

    /// Per customer: the probability that their contract ends of their own will within so many days, if nothing else
    /// happens to them and today's hazard stays: what a forecast can know at best. Those who have given notice or are gone
    /// are left out.
    pub fn voluntary_ends(&self, days: f64) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        let now_ms = self.city.now_ms;
        let staying = self.city.office.customers.iter().filter(|customer| customer.active && customer.ends_ms.is_none());
        staying.map(move |customer| {
            let hazard = customer.loyalty.hazard_per_day(customer.segment, customer.since_ms, now_ms);
            // Who gives notice now ends later.
            (customer.id.as_str(), 1.0 - (-hazard * (days - NOTICE_DAYS as f64).max(0.0)).exp())
        })
    }

    /// Per truck and part (`engine`, `hydraulics`, `brakes`, `compactor`, `battery`): the probability that it fails within so
    /// many days of usual work.
    pub fn failures(&self, days: f64) -> impl Iterator<Item = (&'a str, &'static str, f64)> + 'a {
        let lived_days = (self.city.now_ms - self.city.config.start_ms) as f64 / DAY_MS as f64;
        self.city.trucks.iter().flat_map(move |truck| {
            let per_day = if lived_days < 7.0 { ENGINE_H_PER_DAY } else { truck.health.worked_h / lived_days };
            let hours = days * per_day;
            (0..PARTS.len()).map(move |part| (truck.id.as_str(), PARTS[part], truck.health.failure_probability(part, hours)))
        })
    }

    /// True speed of a segment in a direction, m/s: what a vehicle that keeps up drives. `None` for an unknown segment. Incidents
    /// older than 8 days are forgotten.
    pub fn road_speed_mps(&self, segment_id: &str, direction: Direction, at_ms: i64) -> Option<f64> {
        let graph = &self.city.streets.graph;
        let edge = graph.segment(segment_id)?.edge(direction);
        Some(self.city.congestion.mps(graph, &self.city.fill.clock, edge, at_ms))
    }

    /// All drives since [`City::keep_drives`], segment by segment, each truck's in order of time.
    pub fn drives(&self) -> &'a [Drive] {
        self.city.drives.as_deref().unwrap_or_default()
    }
}
