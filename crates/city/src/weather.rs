//! Weather as a pure function of seed and time: a seasonal curve, a daily curve, and one draw a day.
//!
//! Containers, sensors and forecasts all ask for it at arbitrary times, so it keeps no state.

use crate::calendar::{HOUR_MS, LocalClock, day_of_year};
use crate::rng::{hash2, rough_normal, unit_of};

/// Weather of the city; one sky for all zones.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    seed: u64,
    southern: bool,
}

/// Weather of one local day.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DayWeather {
    /// Departure from the season's mean, °C.
    pub departure_degc: f64,
    /// Rain of the day, mm.
    pub rain_mm: f64,
    /// First hour of the rain, local; it lasts six hours.
    pub rain_from_h: f64,
    /// Mean wind, m/s.
    pub wind_mps: f64,
}

const RAIN_HOURS: f64 = 6.0;

impl Weather {
    pub(crate) fn new(seed: u64, southern: bool) -> Weather {
        Weather { seed: hash2(seed, 0x0057_EA7E_4000), southern }
    }

    pub(crate) fn day(&self, day: i64) -> DayWeather {
        let hash = |what: u64| hash2(self.seed ^ what, day as u64);
        let wet = unit_of(hash(1)) < 0.28;
        // Neighbouring days share half of their departure: warm spells last.
        let own = |d: i64| rough_normal(hash2(self.seed ^ 2, d as u64));
        DayWeather {
            departure_degc: 2.6 * (own(day) + 0.8 * own(day - 1)) - if wet { 1.5 } else { 0.0 },
            rain_mm: if wet { 1.0 - 7.0 * (1.0 - unit_of(hash(3))).ln() } else { 0.0 },
            rain_from_h: 18.0 * unit_of(hash(4)),
            wind_mps: 2.0 + 5.0 * unit_of(hash(5)) + if wet { 2.0 } else { 0.0 },
        }
    }

    /// Air temperature, °C.
    pub(crate) fn ambient_degc(&self, clock: &LocalClock, at_ms: i64) -> f64 {
        let day = clock.day(at_ms);
        let hour = clock.hour(at_ms);
        let turn = std::f64::consts::TAU;
        let hottest = if self.southern { 25.0 } else { 205.0 };
        let season = 14.5 + 6.0 * (turn * (f64::from(day_of_year(day)) - hottest) / 365.25).cos();
        // Blend the departures of yesterday and today, so that midnight has no step.
        let weight = (hour / 8.0).min(1.0);
        let departure = self.day(day - 1).departure_degc * (1.0 - weight) + self.day(day).departure_degc * weight;
        season + departure + 5.0 * (turn * (hour - 15.0) / 24.0).cos()
    }

    /// Rain in the hour that ends at `at_ms`, mm.
    pub(crate) fn rain_in_hour_mm(&self, clock: &LocalClock, at_ms: i64) -> f64 {
        let middle_ms = at_ms - HOUR_MS / 2;
        let day = self.day(clock.day(middle_ms));
        let since = clock.hour(middle_ms) - day.rain_from_h;
        if (0.0..RAIN_HOURS).contains(&since) { day.rain_mm / RAIN_HOURS } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{DAY_MS, MINUTE_MS};

    #[test]
    fn temperature_is_mild_and_without_steps() {
        let start_ms = 1_768_478_400_000;
        let clock = LocalClock::new(chrono_tz::Australia::Melbourne, start_ms);
        let weather = Weather::new(5, true);
        let mut last = weather.ambient_degc(&clock, start_ms);
        for step in 1..(365 * DAY_MS / (10 * MINUTE_MS)) {
            let now = weather.ambient_degc(&clock, start_ms + step * 10 * MINUTE_MS);
            assert!((-12.0..48.0).contains(&now), "{now}");
            // The clock change moves the daily curve by an hour.
            assert!((now - last).abs() < 2.0, "{last} → {now}");
            last = now;
        }
    }

    #[test]
    fn about_every_fourth_day_is_wet() {
        let weather = Weather::new(5, true);
        let wet = (0..1_000).filter(|day| weather.day(*day).rain_mm > 0.0).count();
        assert!((220..350).contains(&wet), "{wet}");
    }
}
