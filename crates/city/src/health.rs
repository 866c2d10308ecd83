//! What wears in a truck and how it shows. Five parts wear with engine hours, each at a pace of its own; the hazard of a
//! failure grows with the sixth power of what is worn (a Weibull life), so most failures come late and some early. Long
//! before, the diagnostics begin to tell: temperatures, pressures and voltages drift, fault codes come and go ever more
//! often. A repair renews the part.
//!
//! Nothing in here is a model of a real component; shapes and sizes are assumptions, chosen so that a careful reader of
//! the diagnostics knows more than one who counts days, and never all.

use crate::rng::Rng;

/// Codes of the parts, as in work orders.
pub(crate) const PARTS: [&str; 5] = ["engine", "hydraulics", "brakes", "compactor", "battery"];
/// Fault codes that a part shows, two each.
const CODES: [[&str; 2]; 5] =
    [["SPN-110-0", "SPN-100-1"], ["SPN-1638-16", "SPN-1762-1"], ["SPN-521-3", "SPN-1099-17"], ["SPN-2602-18", "SPN-1762-16"], ["SPN-168-1", "SPN-168-18"]];
/// Codes that mean nothing.
const SPURIOUS: [&str; 3] = ["SPN-3361-18", "SPN-168-4", "SPN-639-9"];
/// Shape of the Weibull life over wear.
const SHAPE: f64 = 6.0;
/// Mean wear at failure, Γ(1 + 1/6).
const MEAN_WEAR_AT_FAILURE: f64 = 0.928;
/// Engine hours that a truck usually runs on a calendar day, before its own are known.
pub(crate) const ENGINE_H_PER_DAY: f64 = 2.6;
/// Wear from which the workshop may replace a part before it fails.
const REPLACED_FROM: f64 = 0.8;

/// The parts of one truck.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    /// Share of the usual life that is used up; failures cluster around 0.9.
    wear: [f64; PARTS.len()],
    /// Engine hours that wear a part from 0 to 1; infinite when nothing breaks down.
    life_h: [f64; PARTS.len()],
    median_life_h: f64,
    /// Engine hours since the city began.
    pub(crate) worked_h: f64,
    /// The part that has failed.
    pub(crate) failed: Option<usize>,
}

/// How worn parts shift what the diagnostics measure.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Drift {
    pub coolant_degc: f64,
    pub oil_pressure_kpa: f64,
    pub oil_degc: f64,
    pub battery_v: f64,
    pub hydraulic_pressure_kpa: f64,
    /// Factor on the scatter of the hydraulic pressure: a worn compactor makes it unsteady.
    pub hydraulic_scatter: f64,
    pub brake_wear: f64,
}

impl Health {
    /// A truck in mid-life. `failures_per_day` is what its parts together come to in the long run.
    pub(crate) fn new(failures_per_day: f64, rng: &mut Rng) -> Health {
        let days = PARTS.len() as f64 / failures_per_day.max(0.0);
        let median_life_h = days * ENGINE_H_PER_DAY / MEAN_WEAR_AT_FAILURE;
        let mut health = Health { wear: [0.0; PARTS.len()], life_h: [f64::INFINITY; PARTS.len()], median_life_h, worked_h: 0.0, failed: None };
        for part in 0..PARTS.len() {
            health.renew(part, rng);
            health.wear[part] = rng.between(0.0, 0.9);
        }
        health
    }

    fn renew(&mut self, part: usize, rng: &mut Rng) {
        self.wear[part] = rng.between(0.0, 0.03);
        let pace = rng.lognormal(1.0, 0.25);
        self.life_h[part] = self.median_life_h * pace;
    }

    /// Wears the parts by engine hours.
    pub(crate) fn work(&mut self, hours: f64) {
        self.worked_h += hours;
        for (wear, life_h) in self.wear.iter_mut().zip(&self.life_h) {
            *wear += hours / life_h;
        }
    }

    fn hazard(&self, part: usize, hours: f64) -> f64 {
        let until = self.wear[part] + hours / self.life_h[part];
        until.powf(SHAPE) - self.wear[part].powf(SHAPE)
    }

    /// Whether a part fails within these engine hours; it is noted as failed.
    pub(crate) fn fails(&mut self, hours: f64, rng: &mut Rng) -> bool {
        let hazards: Vec<f64> = (0..PARTS.len()).map(|part| self.hazard(part, hours)).collect();
        let sum: f64 = hazards.iter().sum();
        if !rng.chance(1.0 - (-sum).exp()) {
            return false;
        }
        self.failed = Some(rng.weighted(&hazards));
        true
    }

    /// Probability that a part fails within so many engine hours.
    pub(crate) fn failure_probability(&self, part: usize, hours: f64) -> f64 {
        1.0 - (-self.hazard(part, hours)).exp()
    }

    /// The part that failed, made new; `None` when none has.
    pub(crate) fn repair(&mut self, rng: &mut Rng) -> Option<usize> {
        let part = self.failed.take()?;
        self.renew(part, rng);
        Some(part)
    }

    /// A part that the workshop replaces in time, made new.
    pub(crate) fn replace_in_time(&mut self, rng: &mut Rng) -> Option<usize> {
        let worn = (1..PARTS.len()).find(|part| self.wear[*part] > REPLACED_FROM)?;
        if !rng.chance(0.03) {
            return None;
        }
        self.renew(worn, rng);
        Some(worn)
    }

    /// A fault code of a part.
    pub(crate) fn code(part: usize, rng: &mut Rng) -> &'static str {
        CODES[part][rng.index(2)]
    }

    /// Codes that are active now: a failed part's always, a worn one's at times, others by chance.
    pub(crate) fn codes(&self, rng: &mut Rng) -> Vec<&'static str> {
        let mut codes = Vec::new();
        for part in 0..PARTS.len() {
            let shown = 0.002 + 0.45 * ((self.wear[part] - 0.55) / 0.5).clamp(0.0, 1.0).powi(2);
            if self.failed == Some(part) || rng.chance(shown) {
                codes.push(Health::code(part, rng));
            }
        }
        if rng.chance(0.004) {
            codes.push(SPURIOUS[rng.index(SPURIOUS.len())]);
        }
        codes
    }

    /// What the wear does to the measurements.
    pub(crate) fn drift(&self) -> Drift {
        // Nothing shows below two fifths; from there on ever more.
        let effect = |part: usize| {
            let worn = ((self.wear[part] - 0.4) / 0.6).clamp(0.0, 1.2).powi(2);
            if self.failed == Some(part) { worn + 0.5 } else { worn }
        };
        let (engine, hydraulics, compactor, battery) = (effect(0), effect(1), effect(3), effect(4));
        Drift {
            coolant_degc: 9.0 * engine,
            oil_pressure_kpa: -70.0 * engine,
            oil_degc: 6.0 * engine,
            battery_v: -1.4 * battery,
            hydraulic_pressure_kpa: -2_200.0 * hydraulics,
            hydraulic_scatter: 1.0 + 2.5 * compactor,
            brake_wear: (0.9 * self.wear[2]).clamp(0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn failures_come_as_often_as_configured_and_late_in_a_parts_life() {
        let mut rng = Rng::derive(3, "health", 0);
        let (mut failures, mut worn) = (0, 0.0);
        let days = 400;
        for truck in 0..200 {
            let mut health = Health::new(0.02, &mut Rng::derive(3, "truck", truck));
            for _ in 0..days {
                if health.fails(ENGINE_H_PER_DAY, &mut rng) {
                    failures += 1;
                    worn += health.wear[health.failed.unwrap()];
                    health.repair(&mut rng).unwrap();
                }
                health.work(ENGINE_H_PER_DAY);
            }
        }
        let per_day = f64::from(failures) / 200.0 / f64::from(days);
        assert!((0.015..0.026).contains(&per_day), "{per_day}");
        assert!((0.8..1.0).contains(&(worn / f64::from(failures))), "{}", worn / f64::from(failures));
    }

    #[test]
    fn nothing_fails_where_nothing_breaks_down() {
        let mut rng = Rng::derive(4, "health", 0);
        let mut health = Health::new(0.0, &mut rng);
        health.work(1e6);
        assert!(!health.fails(1e6, &mut rng) && health.failure_probability(0, 1e6) == 0.0);
        assert!(health.wear.iter().all(|wear| wear.is_finite()));
    }

    #[test]
    fn wear_shows_long_before_the_failure_and_a_repair_ends_it() {
        let mut rng = Rng::derive(5, "health", 0);
        let mut health = Health::new(0.02, &mut rng);
        health.wear = [0.1; PARTS.len()];
        let fresh = health.drift();
        let count = |health: &Health, rng: &mut Rng| (0..500).map(|_| health.codes(rng).len()).sum::<usize>();
        let few = count(&health, &mut rng);
        health.wear[0] = 0.85;
        let old = health.drift();
        assert!(old.coolant_degc > fresh.coolant_degc + 3.0 && old.oil_pressure_kpa < fresh.oil_pressure_kpa - 25.0);
        assert_eq!(old.battery_v, fresh.battery_v, "other parts do not show it");
        assert!(count(&health, &mut rng) > 3 * few);
        assert!(health.failure_probability(0, 100.0) > 10.0 * health.failure_probability(1, 100.0));
        health.failed = Some(0);
        assert_eq!(health.repair(&mut rng), Some(0));
        assert!(health.wear[0] < 0.05 && health.drift().coolant_degc == 0.0);
    }
}
