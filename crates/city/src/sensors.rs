//! Sensors: what a device measures, when it reports, and how its messages travel.
//!
//! The order of things is that of reality: the device measures (noise, steps, blind zone), stamps by its own clock, and the network
//! delivers late, twice or not at all.

use crate::calendar::{DAY_MS, HOUR_MS, SECOND_MS};
use crate::city::{Action, City};
use crate::events::{Reading, Stamp, bin_telemetry};
use crate::faults::{Episode, FaultKind};
use crate::rng::Rng;

/// A maker's type of sensor.
#[derive(Debug)]
pub(crate) struct Model {
    pub name: &'static str,
    pub interval_s: i64,
    pub raw_unit: &'static str,
    /// Deviation of a measurement, share of the height.
    noise: f64,
    /// Distance of the sensor above the rim, m; heaps up to 1.15 stay below it.
    pub gap_m: f64,
    /// Share of the fleet.
    share: f64,
}

const MODELS: [Model; 5] = [
    Model { name: "sonic-10", interval_s: 600, raw_unit: "cm", noise: 0.010, gap_m: 0.45, share: 0.05 },
    Model { name: "sonic-30", interval_s: 1_800, raw_unit: "cm", noise: 0.015, gap_m: 0.45, share: 0.45 },
    Model { name: "sonic-60", interval_s: 3_600, raw_unit: "cm", noise: 0.020, gap_m: 0.45, share: 0.30 },
    Model { name: "radar-60", interval_s: 3_600, raw_unit: "%", noise: 0.012, gap_m: 0.50, share: 0.10 },
    Model { name: "daily-24", interval_s: 86_400, raw_unit: "/100", noise: 0.030, gap_m: 0.50, share: 0.10 },
];
/// Type of the devices that stand in no reference.
const UNKNOWN_MODEL: usize = 2;

/// A sensor and the life it leads.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub id: String,
    pub model: &'static Model,
    /// (from, container it really sits on), ascending; never empty.
    pub mounts: Vec<(i64, Option<usize>)>,
    /// It reports no more.
    pub retired: bool,
    pub calibration_version: i64,
    pub firmware: &'static str,
    pub episode: Option<Episode>,
    pub fault_rng: Rng,
    sequence: i64,
    bias: f64,
    tilt_deg: f64,
    rssi_dbm: f64,
    battery_v: f64,
    battery_drop_v_per_day: f64,
    born_ms: i64,
    /// Time on the network of its messages, median ms.
    latency_ms: f64,
    last: Option<(f64, f64)>,
    rng: Rng,
}

impl Device {
    pub(crate) fn container(&self) -> Option<usize> {
        self.mounts.last().and_then(|(_, container)| *container)
    }

    pub(crate) fn interval_ms(&self) -> i64 {
        self.model.interval_s * SECOND_MS
    }

    /// Level and raw value that this device makes of a true level in a container of this height.
    fn measure(&mut self, level: f64, height_m: f64) -> (f64, f64) {
        let noisy = level + self.bias + self.model.noise * self.rng.normal();
        if self.model.raw_unit == "cm" {
            let empty_cm = ((self.model.gap_m + height_m) * 100.0).round();
            let distance_cm = (empty_cm - noisy * height_m * 100.0).round().clamp(3.0, empty_cm);
            (((empty_cm - distance_cm) / (height_m * 100.0)).clamp(0.0, 1.15), distance_cm)
        } else {
            let percent = (noisy * 100.0).round().clamp(0.0, 115.0);
            (percent / 100.0, percent)
        }
    }

    fn battery_at(&mut self, at_ms: i64, ambient_degc: f64) -> f64 {
        let days = (at_ms - self.born_ms) as f64 / DAY_MS as f64;
        self.battery_v - self.battery_drop_v_per_day * days - 0.004 * (15.0 - ambient_degc).max(0.0) + 0.008 * self.rng.normal()
    }
}

impl City {
    /// Makes a device and starts its reports; returns its index.
    pub(crate) fn add_device(&mut self, container: Option<usize>, from_ms: i64) -> usize {
        let index = self.devices.len();
        let mut rng = Rng::derive(self.config.seed, "device", index as u64);
        let model = &MODELS[rng.weighted(&MODELS.map(|model| model.share))];
        let fresh = from_ms > self.config.start_ms;
        // A worn battery is rare, a flat one rarer: the fleet is renewed at about 3 V.
        let battery_v = if fresh {
            3.65
        } else if rng.chance(0.012) {
            rng.between(2.75, 3.0)
        } else {
            rng.between(3.25, 3.65)
        };
        self.devices.push(Device {
            id: format!("dev-{:05}", index + 1),
            model,
            mounts: vec![(from_ms, container)],
            retired: false,
            calibration_version: if fresh { 1 } else { 1 + i64::from(rng.chance(0.2)) },
            firmware: ["1.8.2", "2.0.1", "2.1.0"][rng.index(3)],
            episode: None,
            fault_rng: Rng::derive(self.config.seed, "device-faults", index as u64),
            sequence: if fresh { 0 } else { rng.int(100, 60_000) },
            bias: 0.008 * rng.normal(),
            tilt_deg: rng.between(0.0, 4.0),
            rssi_dbm: rng.between(-118.0, -75.0),
            battery_v,
            battery_drop_v_per_day: rng.between(0.000_2, 0.000_6),
            born_ms: from_ms,
            latency_ms: rng.lognormal(1_200.0, 0.4),
            last: None,
            rng,
        });
        let device = &mut self.devices[index];
        let phase_ms = if fresh { 20 * SECOND_MS } else { device.rng.int(0, device.interval_ms()) };
        self.agenda.push(self.now_ms.max(from_ms) + phase_ms, Action::Report(index));
        self.plan_device_fault(index, self.now_ms.max(from_ms));
        index
    }

    /// A device that nobody registered.
    pub(crate) fn add_unknown_device(&mut self) {
        let index = self.devices.len();
        let mut rng = Rng::derive(self.config.seed, "unknown", index as u64);
        let start_ms = self.config.start_ms;
        let model = &MODELS[UNKNOWN_MODEL];
        let id = format!("dev-x{:04}", rng.int(1_000, 9_999));
        self.devices.push(Device {
            id: id.clone(),
            model,
            mounts: vec![(start_ms, None)],
            retired: false,
            calibration_version: 1,
            firmware: "1.8.2",
            episode: None,
            fault_rng: Rng::derive(self.config.seed, "device-faults", index as u64),
            sequence: 0,
            bias: 0.0,
            tilt_deg: 1.0,
            rssi_dbm: -105.0,
            battery_v: 3.6,
            battery_drop_v_per_day: 0.000_4,
            born_ms: start_ms,
            latency_ms: 1_500.0,
            last: None,
            rng,
        });
        self.record_fault(FaultKind::UnknownDevice, id, i64::MAX, None);
        let phase_ms = self.devices[index].rng.int(0, model.interval_s * SECOND_MS);
        self.agenda.push(start_ms + phase_ms, Action::Report(index));
    }

    /// The device's timer rang: report and set the next one.
    pub(crate) fn on_report(&mut self, device: usize) {
        if !self.devices[device].retired {
            // Cheap quartz: a report comes a second early or late.
            let known = &mut self.devices[device];
            let wait_ms = known.interval_ms() + known.rng.int(-SECOND_MS, SECOND_MS + 1);
            self.agenda.push(self.now_ms + wait_ms, Action::Report(device));
            self.report(device);
        }
    }

    /// Measures and sends. Also called outside the interval when the container burns.
    pub(crate) fn report(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let device = &mut self.devices[index];
        if device.retired {
            return;
        }
        device.sequence += 1;
        let episode = device.episode.filter(|episode| now_ms < episode.until_ms);
        device.episode = episode;
        let taken_ms = now_ms;
        let container = device.container();
        let ambient_degc = self.fill.weather.ambient_degc(&self.fill.clock, taken_ms);
        let (level, height_m) = match container {
            Some(container) => (self.level_now(container, taken_ms), self.layout.containers[container].height_m),
            None => ((taken_ms.rem_euclid(36 * HOUR_MS)) as f64 / (36 * HOUR_MS) as f64, 1.2),
        };
        if let Some(container) = container.filter(|_| level >= 1.0) {
            self.overflow_passed_by(container, self.devices[index].interval_ms());
        }
        let heat_degc = container.map_or(0.0, |container| self.heat_degc(container, taken_ms));
        let rates = &self.config.faults;
        let (absurd_share, lost_share, twice_share) = (rates.absurd_reading_share, rates.lost_reading_share, rates.duplicate_reading_share);
        let device = &mut self.devices[index];
        let kind = episode.map(|episode| episode.kind);
        if kind == Some(FaultKind::Silent) {
            return;
        }
        let mut measured = device.measure(level, height_m);
        match kind {
            Some(FaultKind::Stuck) => measured = device.last.unwrap_or(measured),
            Some(FaultKind::Jumping) => {
                let anywhere = device.rng.unit();
                measured = device.measure(anywhere, height_m);
            }
            _ => {}
        }
        device.last = Some(measured);
        let absurd = device.rng.chance(absurd_share);
        let lost = device.rng.chance(lost_share);
        let twice = device.rng.chance(twice_share);
        let sun_degc = (ambient_degc - 12.0).max(0.0) * 0.25;
        let reading = Reading {
            sequence: device.sequence,
            filling_level: if absurd { 7.3 } else { measured.0 },
            raw_value: if absurd { 65_535.0 } else { measured.1 },
            raw_unit: device.model.raw_unit,
            calibration_version: device.calibration_version,
            temperature_degc: ambient_degc + sun_degc + heat_degc + 0.4 * device.rng.normal(),
            battery_v: device.battery_at(taken_ms, ambient_degc),
            tilt_deg: (device.tilt_deg + 0.2 * device.rng.normal()).max(0.0),
            rssi_dbm: device.rssi_dbm + 3.0 * device.rng.normal(),
        };
        let stamp = device.stamp(taken_ms, episode);
        let (draft, event_id, id) = (bin_telemetry(&device.id, &reading), stamp.id.clone(), device.id.clone());
        let again_ms = stamp.received_ms + device.rng.int(2 * SECOND_MS, 600 * SECOND_MS);
        if absurd && !lost {
            self.record_fault(FaultKind::AbsurdReading, id.clone(), now_ms, Some(event_id.clone()));
        }
        if lost {
            self.record_fault(FaultKind::LostReading, id, now_ms, Some(event_id));
            return;
        }
        let event = draft.finish(&self.config.tenant, stamp);
        if twice {
            self.record_fault(FaultKind::DuplicateReading, id, now_ms, Some(event_id));
            let mut copy = event.clone();
            copy.received_at_ms = again_ms;
            self.outbox.push(copy);
        }
        self.outbox.push(event);
    }

    /// What a fire adds to the temperature inside a container, °C.
    fn heat_degc(&self, container: usize, at_ms: i64) -> f64 {
        match self.contents[container].fire {
            Some((from_ms, until_ms, hottest_degc)) if at_ms >= from_ms => {
                let rise = ((at_ms - from_ms) as f64 / (8 * 60 * SECOND_MS) as f64).min(1.0);
                let cooling = (-((at_ms - until_ms).max(0) as f64) / (20 * 60 * SECOND_MS) as f64).exp();
                hottest_degc * rise * cooling
            }
            _ => 0.0,
        }
    }
}

impl Device {
    /// Times of a message taken at `taken_ms`: the device's clock stamps it, the network and its outages deliver it.
    fn stamp(&mut self, taken_ms: i64, episode: Option<Episode>) -> Stamp {
        let clock_error_ms = episode.map_or(0, |episode| episode.clock_error_ms);
        let latency_ms = (self.rng.lognormal(self.latency_ms, 0.5) as i64).clamp(150, 90 * SECOND_MS);
        let wake_ms = self.rng.int(200, 1_500);
        let interval_ms = self.interval_ms();
        let (sent_ms, latency_ms) = match episode {
            // After an outage the messages go one by one; the network is the same for all of them.
            Some(Episode { kind: FaultKind::BufferedUpload, from_ms, until_ms, .. }) => {
                (until_ms + (taken_ms - from_ms) / interval_ms * 400, self.latency_ms as i64)
            }
            Some(Episode { kind: FaultKind::NewestFirstUpload, until_ms, .. }) => {
                (until_ms + ((until_ms - taken_ms) / interval_ms).max(0) * 400, self.latency_ms as i64)
            }
            _ => (taken_ms + wake_ms, latency_ms),
        };
        // A reading taken in the very last moment of an outage is not sent before it was taken.
        let sent_ms = sent_ms.max(taken_ms);
        Stamp {
            id: format!("{}-{}", self.id, self.sequence),
            source: "sensor-gateway",
            observed_ms: taken_ms + clock_error_ms,
            sent_ms: sent_ms + clock_error_ms,
            received_ms: sent_ms + latency_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_is_made_of_all_models() {
        let total: f64 = MODELS.iter().map(|model| model.share).sum();
        assert!((total - 1.0).abs() < 1e-9);
        assert!(MODELS.iter().all(|model| model.interval_s >= 600));
    }
}
