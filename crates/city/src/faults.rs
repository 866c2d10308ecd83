//! Faults: their kinds, the record of each one that occurred, and the episodes in which devices misbehave.
//!
//! A device has at most one episode at a time. Episodes begin as a Poisson process whose hazard is the sum of the configured rates.

use crate::calendar::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::city::{Action, City};
use crate::config::FaultRates;
use crate::events::container_event;
use crate::events_vehicles::{WorkOrder, workorder_event};
use crate::references::device_reference;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// Readings held back by a dead network, delivered oldest first.
    BufferedUpload,
    /// Readings held back, delivered newest first.
    NewestFirstUpload,
    /// The sensor repeats one value.
    Stuck,
    /// The sensor says nothing.
    Silent,
    /// The sensor reports arbitrary levels.
    Jumping,
    /// The device clock is a year ahead.
    ClockAhead,
    /// The device clock is hours behind.
    ClockBehind,
    /// A device was replaced or exchanged with another.
    DeviceSwap,
    /// An exchange of devices of which the references do not tell.
    UnregisteredSwap,
    /// A swap that the references told hours late.
    LateReference,
    /// The container burns.
    Fire,
    /// A reading was delivered twice.
    DuplicateReading,
    /// A reading was never delivered.
    LostReading,
    /// A reading with level 7.3.
    AbsurdReading,
    /// An emptying without a collection.event.
    MissedScan,
    /// An emptying that was reported without a scan.
    NoScan,
    /// An emptying that was reported late.
    LateScan,
    /// A stop that could not be reached.
    BlockedStop,
    /// A container skipped for a reason of its own.
    SkippedContainer,
    /// A container that was not there.
    NotFound,
    /// A container emptied by two thirds.
    PartialEmptying,
    /// A truck broke down on duty.
    Breakdown,
    /// A truck's positions were held back, delivered newest first.
    VehicleBufferedUpload,
    /// A truck's clock was behind.
    VehicleClock,
    /// A position far from the truck.
    PositionJump,
    /// A road was closed.
    RoadClosure,
    /// An incident slowed the roads around it.
    RoadIncident,
    /// A disposal site was closed.
    FacilityOutage,
    /// A device that stands in no reference reports.
    UnknownDevice,
}

/// A fault that occurred.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// Id of the device, container, vehicle, site, facility, segment or closure concerned.
    pub subject: String,
    /// When it began, true UTC ms.
    pub from_ms: i64,
    /// When it ends, true UTC ms; `from_ms` for single events, `i64::MAX` for what never ends.
    pub until_ms: i64,
    /// The one event concerned, for faults of single events that have one.
    pub event_id: Option<String>,
}

/// A time in which a device misbehaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Episode {
    pub kind: FaultKind,
    pub from_ms: i64,
    pub until_ms: i64,
    /// Error of the device clock, ms.
    pub clock_error_ms: i64,
}

/// The kinds that befall devices, with their rates a device and day.
fn device_hazards(rates: &FaultRates) -> [(FaultKind, f64); 9] {
    [
        (FaultKind::BufferedUpload, rates.buffered_upload_per_device_day),
        (FaultKind::NewestFirstUpload, rates.newest_first_upload_per_device_day),
        (FaultKind::Stuck, rates.stuck_per_device_day),
        (FaultKind::Silent, rates.silent_per_device_day),
        (FaultKind::Jumping, rates.jumping_per_device_day),
        (FaultKind::ClockAhead, rates.clock_ahead_per_device_day),
        (FaultKind::ClockBehind, rates.clock_behind_per_device_day),
        (FaultKind::DeviceSwap, rates.device_swap_per_device_day),
        (FaultKind::Fire, rates.fire_per_device_day),
    ]
}

impl City {
    /// Draws when the device's next fault begins.
    pub(crate) fn plan_device_fault(&mut self, device: usize, after_ms: i64) {
        let hazard_per_day: f64 = device_hazards(&self.config.faults).iter().map(|(_, rate)| rate).sum();
        if hazard_per_day > 0.0 {
            let wait_ms = self.devices[device].fault_rng.exponential(DAY_MS as f64 / hazard_per_day) as i64;
            self.agenda.push(after_ms + wait_ms.max(1), Action::DeviceFault(device));
        }
    }

    pub(crate) fn on_device_fault(&mut self, device: usize) {
        if self.devices[device].retired {
            return;
        }
        let now_ms = self.now_ms;
        let hazards = device_hazards(&self.config.faults);
        let rng = &mut self.devices[device].fault_rng;
        let kind = hazards[rng.weighted(&hazards.map(|(_, rate)| rate))].0;
        let mut hours = |low: f64, high: f64| (rng.between(low, high) * HOUR_MS as f64) as i64;
        let (lasts_ms, clock_error_ms) = match kind {
            FaultKind::BufferedUpload | FaultKind::NewestFirstUpload => (hours(2.0, 12.0), 0),
            FaultKind::Stuck => (hours(12.0, 72.0), 0),
            FaultKind::Silent => (hours(6.0, 72.0), 0),
            FaultKind::Jumping => (hours(6.0, 24.0), 0),
            FaultKind::ClockAhead => (hours(2.0, 24.0), 365 * DAY_MS),
            FaultKind::ClockBehind => (hours(12.0, 72.0), -hours(1.0, 9.0)),
            FaultKind::Fire => (hours(0.33, 1.0), 0),
            _ => (0, 0),
        };
        let until_ms = now_ms + lasts_ms;
        match kind {
            FaultKind::DeviceSwap => self.swap_device(device),
            FaultKind::Fire => self.set_on_fire(device, until_ms),
            _ => {
                self.devices[device].episode = Some(Episode { kind, from_ms: now_ms, until_ms, clock_error_ms });
                let id = self.devices[device].id.clone();
                self.record_fault(kind, id, until_ms, None);
            }
        }
        self.plan_device_fault(device, until_ms);
    }

    /// Notes a fault that begins now.
    pub(crate) fn record_fault(&mut self, kind: FaultKind, subject: String, until_ms: i64, event_id: Option<String>) {
        self.history.faults.push(Fault { kind, subject, from_ms: self.now_ms, until_ms, event_id });
    }

    fn set_on_fire(&mut self, device: usize, until_ms: i64) {
        let Some(container) = self.devices[device].container() else {
            return;
        };
        let hottest_degc = self.devices[device].fault_rng.between(110.0, 320.0);
        self.contents[container].fire = Some((self.now_ms, until_ms, hottest_degc));
        let id = self.layout.containers[container].id.clone();
        self.record_fault(FaultKind::Fire, id, until_ms, None);
        // Sensors wake up when it gets hot: they report every 5 minutes until it is over.
        let mut at_ms = self.now_ms + 3 * MINUTE_MS;
        while at_ms < until_ms + 10 * MINUTE_MS {
            self.agenda.push(at_ms, Action::AlarmReport(device));
            at_ms += 5 * MINUTE_MS;
        }
        self.report_fire(container);
    }

    /// Replaces the device by a new one, or exchanges it with the neighbour's on the same site.
    fn swap_device(&mut self, device: usize) {
        let Some(container) = self.devices[device].container() else {
            return;
        };
        let site = self.layout.containers[container].site;
        let neighbour = self.layout.sites[site].containers.iter().copied().find(|other| *other != container);
        let rates = self.config.faults.clone();
        let rng = &mut self.devices[device].fault_rng;
        let exchange = neighbour.filter(|_| rng.chance(0.4));
        let unregistered = exchange.is_some() && rng.chance(rates.unregistered_swap_share);
        let late = !unregistered && rng.chance(rates.late_reference_share);
        let delay_ms = if late { rng.int(HOUR_MS, 10 * HOUR_MS) } else { rng.int(1_000, 60_000) };
        let id = self.devices[device].id.clone();
        let kind = if unregistered { FaultKind::UnregisteredSwap } else { FaultKind::DeviceSwap };
        self.record_fault(kind, id.clone(), self.now_ms, None);
        if late {
            self.record_fault(FaultKind::LateReference, id, self.now_ms + delay_ms, None);
        }
        match exchange {
            Some(other_container) => {
                let other = self.device_on[other_container];
                self.mount(device, Some(other_container));
                self.mount(other, Some(container));
                if !unregistered {
                    self.tell_mounting(device, delay_ms);
                    self.tell_mounting(other, delay_ms);
                }
            }
            None => {
                let fresh = self.add_device(Some(container), self.now_ms);
                self.mount(device, None);
                self.devices[device].retired = true;
                self.device_on[container] = fresh;
                self.tell_mounting(device, delay_ms);
                self.tell_mounting(fresh, delay_ms);
                self.tell_replacement(device, fresh, container, delay_ms);
            }
        }
    }

    fn mount(&mut self, device: usize, container: Option<usize>) {
        let now_ms = self.now_ms;
        self.devices[device].mounts.push((now_ms, container));
        if let Some(container) = container {
            self.device_on[container] = device;
        }
    }

    /// A new version of `ref.device`, valid from now, that arrives `delay_ms` later.
    fn tell_mounting(&mut self, device: usize, delay_ms: i64) {
        let now_ms = self.now_ms;
        let known = &self.devices[device];
        let container_id = known.container().map(|container| self.layout.containers[container].id.clone());
        let draft = device_reference(known, container_id.as_deref(), now_ms);
        self.emit(draft, "asset-register", now_ms, now_ms + delay_ms, now_ms + delay_ms + 200);
    }

    fn tell_replacement(&mut self, old: usize, fresh: usize, container: usize, delay_ms: i64) {
        let now_ms = self.now_ms;
        let container_id = self.layout.containers[container].id.clone();
        let site_id = self.layout.sites[self.layout.containers[container].site].id.clone();
        let (old_id, fresh_id) = (self.devices[old].id.clone(), self.devices[fresh].id.clone());
        for (event, device_id) in [("sensor_unmounted", &old_id), ("sensor_mounted", &fresh_id)] {
            let draft = container_event(&container_id, &site_id, event).set("device_id", device_id.as_str()).set("reason", "defect");
            self.emit(draft, "asset-register", now_ms, now_ms + delay_ms, now_ms + delay_ms + 250);
        }
        let workorder_id = self.next_id("wo");
        let draft = workorder_event(&WorkOrder {
            asset_id: &old_id,
            asset_type: "device",
            workorder_id: &workorder_id,
            state: "completed",
            kind: "corrective",
            component: "sensor",
            fault_code: None,
            failed_at_ms: None,
            ended_at_ms: Some(now_ms),
            downtime_s: None,
            odometer_m: None,
        });
        self.emit(draft, "asset-register", now_ms, now_ms + delay_ms, now_ms + delay_ms + 300);
    }
}
