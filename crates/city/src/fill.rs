//! How containers fill: a random rate per hour around a habit of the district, the day's mood, the weather and special days.
//!
//! The noise is hashed from (container, hour) instead of drawn, so what was thrown in between two times is a pure function. That is
//! what lets the truth answer for any time, past or future, and what keeps the stream independent of who asks.

use crate::calendar::{HOUR_MS, LocalClock, weekday};
use crate::layout::{District, Stream};
use crate::rng::{hash2, rough_normal, unit_of};
use crate::weather::Weather;

/// What is peculiar to one container.
#[derive(Debug, Clone)]
pub(crate) struct FillSpec {
    /// Mean over a plain week, share of the capacity an hour.
    pub rate_per_h: f64,
    pub zone: usize,
    pub district: District,
    pub stream: Stream,
    pub salt: u64,
}

/// A special day of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpecialDay {
    /// Market from 7 to 15 h.
    Market,
    /// Concert, match or festival from 17 to 24 h.
    Festival,
}

/// The habits of the city.
#[derive(Debug, Clone)]
pub(crate) struct FillModel {
    seed: u64,
    pub clock: LocalClock,
    pub weather: Weather,
    /// Share of the week's waste in each hour × 168, so that the mean is 1; by district, weekday, hour.
    profile: Vec<[[f64; 24]; 7]>,
}

/// Level at which the lid no longer closes and the physics of overflow begins.
const BRIM: f64 = 0.95;
/// How much can be heaped on top of the brim.
const HEAP: f64 = 0.2;

/// The level seen when `poured` (share of the capacity) was thrown in: heaps up to 1.15, the rest lies beside the container.
pub(crate) fn physical_level(poured: f64) -> f64 {
    if poured <= BRIM { poured } else { BRIM + HEAP * (1.0 - (-(poured - BRIM) / HEAP).exp()) }
}

impl FillModel {
    pub(crate) fn new(seed: u64, clock: LocalClock, weather: Weather) -> FillModel {
        let profile = [District::Residential, District::Commercial, District::Park, District::Nightlife].map(normalized).to_vec();
        FillModel { seed: hash2(seed, 0xF111), clock, weather, profile }
    }

    /// Market or festival of a zone on a local day. Markets are weekly where there are any; festivals come about once in five weeks.
    pub(crate) fn special_day(&self, zone: usize, district: District, day: i64) -> Option<SpecialDay> {
        let trait_of_zone = hash2(self.seed ^ 0x3A, zone as u64);
        match district {
            District::Commercial if trait_of_zone.is_multiple_of(2) && weekday(day) == 2 + (trait_of_zone >> 8) as usize % 4 => Some(SpecialDay::Market),
            District::Park | District::Nightlife if weekday(day) >= 4 && hash2(trait_of_zone, day as u64).is_multiple_of(15) => Some(SpecialDay::Festival),
            _ => None,
        }
    }

    /// What the day does to a container, without its hours: mood of the zone and of the container, weather, holidays.
    fn day_factor(&self, spec: &FillSpec, day: i64) -> f64 {
        let zone_mood = (0.18 * rough_normal(hash2(self.seed ^ spec.zone as u64, day as u64))).exp();
        let own_mood = (0.28 * rough_normal(hash2(spec.salt, day as u64))).exp();
        let weather = self.weather.day(day);
        let sky = match spec.district {
            District::Park => {
                if weather.rain_mm > 2.0 {
                    0.5
                } else {
                    (1.0 + 0.06 * weather.departure_degc).clamp(0.6, 1.6)
                }
            }
            District::Nightlife => {
                if weather.rain_mm > 5.0 {
                    0.85
                } else {
                    1.03
                }
            }
            District::Residential | District::Commercial => 1.0,
        };
        let holiday = match (self.clock.is_holiday(day), spec.district) {
            (false, _) => 1.0,
            (true, District::Commercial) => 0.45,
            (true, District::Residential) => 1.25,
            (true, District::Park) => 1.8,
            (true, District::Nightlife) => 1.3,
        };
        zone_mood * own_mood * sky * holiday
    }

    fn hour_factor(&self, spec: &FillSpec, day: i64, hour: usize) -> f64 {
        let habit = self.profile[spec.district as usize][weekday(day)][hour];
        let special = match self.special_day(spec.zone, spec.district, day) {
            Some(SpecialDay::Market) if (7..15).contains(&hour) => 2.2,
            Some(SpecialDay::Festival) if hour >= 17 => {
                if spec.stream == Stream::Glass {
                    2.5
                } else {
                    2.0
                }
            }
            _ => 1.0,
        };
        habit * special
    }

    /// What is thrown into a container in `[from_ms, to_ms)`, share of its capacity.
    pub(crate) fn poured(&self, spec: &FillSpec, from_ms: i64, to_ms: i64) -> f64 {
        let mut sum = 0.0;
        let mut at_ms = from_ms;
        let mut day_seen = i64::MIN;
        let mut day_factor = 1.0;
        while at_ms < to_ms {
            let hour_number = at_ms.div_euclid(HOUR_MS);
            let end_ms = ((hour_number + 1) * HOUR_MS).min(to_ms);
            let (day, hour) = self.clock.day_and_hour(hour_number * HOUR_MS);
            if day != day_seen {
                day_factor = self.day_factor(spec, day);
                day_seen = day;
            }
            // Bags come in lumps: an hour brings from a third of the usual to several times it.
            let lumps = 0.35 - 0.65 * (1.0 - unit_of(hash2(spec.salt, hour_number as u64))).ln();
            sum += spec.rate_per_h * day_factor * self.hour_factor(spec, day, hour) * lumps * ((end_ms - at_ms) as f64 / HOUR_MS as f64);
            at_ms = end_ms;
        }
        sum
    }

    /// Hours after `from_ms` at which `level` is reached if nobody empties the container; `None` beyond `horizon_h`.
    pub(crate) fn hours_to(&self, spec: &FillSpec, poured: f64, from_ms: i64, level: f64, horizon_h: f64) -> Option<f64> {
        let mut sum = poured;
        let mut at_ms = from_ms;
        let end_ms = from_ms + (horizon_h * HOUR_MS as f64) as i64;
        while physical_level(sum) < level {
            if at_ms >= end_ms {
                return None;
            }
            let next_ms = ((at_ms.div_euclid(HOUR_MS) + 1) * HOUR_MS).min(end_ms);
            let step = self.poured(spec, at_ms, next_ms);
            if physical_level(sum + step) >= level {
                // Within an hour the rate is constant: the crossing is found by halving.
                let (mut low, mut high) = (0.0, 1.0);
                for _ in 0..30 {
                    let middle = (low + high) / 2.0;
                    if physical_level(sum + step * middle) >= level { high = middle } else { low = middle }
                }
                return Some((at_ms - from_ms) as f64 / HOUR_MS as f64 + high * (next_ms - at_ms) as f64 / HOUR_MS as f64);
            }
            sum += step;
            at_ms = next_ms;
        }
        Some((at_ms - from_ms) as f64 / HOUR_MS as f64)
    }
}

/// Relative amounts by hour; a bell around each peak over a base that sleeps at night.
fn bells(night: f64, peaks: &[(f64, f64, f64)]) -> [f64; 24] {
    let mut hours = [0.0; 24];
    for (hour, amount) in hours.iter_mut().enumerate() {
        let middle = hour as f64 + 0.5;
        *amount = night;
        for (at, width, height) in peaks {
            let around_midnight = (middle - at).abs().min(24.0 - (middle - at).abs());
            *amount += height * (-0.5 * (around_midnight / width).powi(2)).exp();
        }
    }
    hours
}

fn normalized(district: District) -> [[f64; 24]; 7] {
    let (hours, days) = match district {
        District::Residential => (bells(0.08, &[(8.0, 1.5, 0.9), (19.0, 2.8, 1.6)]), [1.0, 0.9, 0.9, 0.95, 1.0, 1.25, 1.3]),
        District::Commercial => (bells(0.05, &[(12.5, 2.2, 1.6), (17.5, 1.5, 1.2)]), [1.05, 1.05, 1.05, 1.1, 1.2, 1.0, 0.6]),
        District::Park => (bells(0.02, &[(13.0, 2.5, 1.2), (17.0, 2.0, 1.0)]), [0.75, 0.75, 0.8, 0.8, 1.0, 1.5, 1.5]),
        District::Nightlife => (bells(0.06, &[(13.0, 1.5, 0.6), (23.0, 2.6, 2.2)]), [0.65, 0.7, 0.8, 0.95, 1.45, 1.6, 0.85]),
    };
    let mut week = [[0.0; 24]; 7];
    for (day, row) in week.iter_mut().enumerate() {
        for (hour, amount) in row.iter_mut().enumerate() {
            *amount = hours[hour] * days[day];
        }
    }
    let mean = week.iter().flatten().sum::<f64>() / 168.0;
    week.iter_mut().flatten().for_each(|amount| *amount /= mean);
    week
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::DAY_MS;

    const START_MS: i64 = 1_772_409_600_000;

    fn model() -> FillModel {
        FillModel::new(1, LocalClock::new(chrono_tz::Australia::Melbourne, START_MS), Weather::new(1, true))
    }

    fn spec(district: District, salt: u64) -> FillSpec {
        FillSpec { rate_per_h: 1.0 / 72.0, zone: 2, district, stream: Stream::General, salt }
    }

    #[test]
    fn pouring_is_additive_and_never_negative() {
        let (model, spec) = (model(), spec(District::Residential, 42));
        let whole = model.poured(&spec, START_MS + 123, START_MS + 3 * DAY_MS + 456);
        let mut parts = 0.0;
        let mut at_ms = START_MS + 123;
        while at_ms < START_MS + 3 * DAY_MS + 456 {
            let next_ms = (at_ms + 1_234_567).min(START_MS + 3 * DAY_MS + 456);
            let part = model.poured(&spec, at_ms, next_ms);
            assert!(part >= 0.0);
            parts += part;
            at_ms = next_ms;
        }
        assert!((whole - parts).abs() < 1e-9, "{whole} {parts}");
        assert_eq!(model.poured(&spec, START_MS, START_MS), 0.0);
    }

    #[test]
    fn the_mean_rate_holds_over_many_containers() {
        let model = model();
        for district in [District::Residential, District::Commercial, District::Nightlife, District::Park] {
            let weeks: f64 = (0..200).map(|salt| model.poured(&spec(district, salt * 7_919), START_MS, START_MS + 28 * DAY_MS)).sum();
            let per_h = weeks / 200.0 / (28.0 * 24.0);
            assert!((0.75..1.35).contains(&(per_h * 72.0)), "{district:?}: {}", per_h * 72.0);
        }
    }

    #[test]
    fn bars_fill_at_night_and_offices_at_noon() {
        let model = model();
        let at = |district, day: i64, hour: i64| {
            let from_ms = model.clock.utc_ms(model.clock.day(START_MS) + day, hour * HOUR_MS);
            (0..100).map(|salt| model.poured(&spec(district, salt), from_ms, from_ms + HOUR_MS)).sum::<f64>()
        };
        assert!(at(District::Nightlife, 4, 23) > 3.0 * at(District::Nightlife, 4, 6));
        assert!(at(District::Commercial, 1, 12) > 5.0 * at(District::Commercial, 1, 3));
        assert!(at(District::Nightlife, 4, 23) > 1.4 * at(District::Nightlife, 1, 23));
    }

    #[test]
    fn the_level_heaps_to_1_15_and_no_further() {
        assert_eq!(physical_level(0.5), 0.5);
        assert!(physical_level(1.05) > 1.0);
        assert!(physical_level(20.0) <= 1.15);
        let mut last = 0.0;
        for step in 0..400 {
            let level = physical_level(f64::from(step) * 0.01);
            assert!(level >= last);
            last = level;
        }
    }

    #[test]
    fn hours_to_full_agrees_with_the_level_then() {
        let (model, spec) = (model(), spec(District::Commercial, 9));
        let hours = model.hours_to(&spec, 0.2, START_MS, 1.0, 400.0).unwrap_or(-1.0);
        assert!(hours > 0.0);
        let then_ms = START_MS + (hours * HOUR_MS as f64) as i64;
        let level = physical_level(0.2 + model.poured(&spec, START_MS, then_ms));
        assert!((level - 1.0).abs() < 1e-3, "{level}");
        assert_eq!(model.hours_to(&spec, 0.2, START_MS, 1.0, 1.0), None);
        assert_eq!(model.hours_to(&spec, 3.0, START_MS, 1.0, 1.0), Some(0.0));
    }
}
