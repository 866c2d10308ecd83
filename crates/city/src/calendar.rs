//! Local time without a clock: UTC milliseconds ↔ local days and hours of one IANA zone, and the public holidays.
//!
//! The offsets of the zone are tabulated once, because every hour of every container asks for its local hour.

use chrono::{Datelike, NaiveDate, Offset, TimeZone, Utc};
use chrono_tz::Tz;

pub(crate) const SECOND_MS: i64 = 1_000;
pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Hours tabulated after the start; later times repeat the last offset.
const TABLE_HOURS: i64 = 24 * 366 * 4;
/// Hours tabulated before the start.
const TABLE_BEFORE_HOURS: i64 = 24 * 90;
/// Days from 0001-01-01 to 1970-01-01 as chrono counts them.
const EPOCH_DAY: i64 = 719_163;

/// Local time of the city.
#[derive(Debug, Clone)]
pub(crate) struct LocalClock {
    /// (from this UTC ms on, offset of local time in ms), ascending.
    steps: Vec<(i64, i64)>,
    holidays: Vec<i64>,
}

impl LocalClock {
    /// Tabulates `zone` from a quarter before `start_ms` to four years after it.
    pub(crate) fn new(zone: Tz, start_ms: i64) -> LocalClock {
        let first_hour = start_ms.div_euclid(HOUR_MS) - TABLE_BEFORE_HOURS;
        let mut steps: Vec<(i64, i64)> = Vec::new();
        for hour in first_hour..first_hour + TABLE_BEFORE_HOURS + TABLE_HOURS {
            let at_ms = hour * HOUR_MS;
            let offset_ms = offset_of(zone, at_ms);
            if steps.last().is_none_or(|(_, last)| *last != offset_ms) {
                steps.push((at_ms, offset_ms));
            }
        }
        let year = date_of(start_ms.div_euclid(DAY_MS)).year();
        let mut holidays: Vec<i64> = (year - 1..year + 6).flat_map(holidays_of).collect();
        holidays.sort_unstable();
        LocalClock { steps, holidays }
    }

    /// Local time minus UTC, ms.
    pub(crate) fn offset_ms(&self, utc_ms: i64) -> i64 {
        let after = self.steps.partition_point(|(from, _)| *from <= utc_ms);
        self.steps.get(after.saturating_sub(1)).map_or(0, |(_, offset)| *offset)
    }

    fn local_ms(&self, utc_ms: i64) -> i64 {
        utc_ms + self.offset_ms(utc_ms)
    }

    /// Local day, in days since 1970-01-01.
    pub(crate) fn day(&self, utc_ms: i64) -> i64 {
        self.local_ms(utc_ms).div_euclid(DAY_MS)
    }

    /// Local hour of day with fraction, 0 to 24.
    pub(crate) fn hour(&self, utc_ms: i64) -> f64 {
        self.local_ms(utc_ms).rem_euclid(DAY_MS) as f64 / HOUR_MS as f64
    }

    /// (local day, local hour 0 to 23).
    pub(crate) fn day_and_hour(&self, utc_ms: i64) -> (i64, usize) {
        let local_ms = self.local_ms(utc_ms);
        (local_ms.div_euclid(DAY_MS), (local_ms.rem_euclid(DAY_MS) / HOUR_MS) as usize)
    }

    /// UTC time of a local time of day. A time that the clock change skips or repeats comes out within an hour of it.
    pub(crate) fn utc_ms(&self, day: i64, ms_of_day: i64) -> i64 {
        let local_ms = day * DAY_MS + ms_of_day;
        let guess_ms = local_ms - self.offset_ms(local_ms);
        local_ms - self.offset_ms(guess_ms)
    }

    pub(crate) fn is_holiday(&self, day: i64) -> bool {
        self.holidays.binary_search(&day).is_ok()
    }
}

fn offset_of(zone: Tz, at_ms: i64) -> i64 {
    match Utc.timestamp_millis_opt(at_ms).single() {
        Some(at) => i64::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()) * SECOND_MS,
        None => 0,
    }
}

/// Weekday of a day: 0 is Monday.
pub(crate) fn weekday(day: i64) -> usize {
    (day + 3).rem_euclid(7) as usize
}

fn date_of(day: i64) -> NaiveDate {
    i32::try_from(day + EPOCH_DAY).ok().and_then(NaiveDate::from_num_days_from_ce_opt).unwrap_or_default()
}

fn day_of(year: i32, month: u32, day: u32) -> i64 {
    NaiveDate::from_ymd_opt(year, month, day).map_or(0, |date| i64::from(date.num_days_from_ce()) - EPOCH_DAY)
}

/// `YYYY-MM-DD`.
pub(crate) fn day_text(day: i64) -> String {
    date_of(day).format("%Y-%m-%d").to_string()
}

/// Day of the month, from 1.
pub(crate) fn day_of_month(day: i64) -> u32 {
    date_of(day).day()
}

/// Day of the year, from 1.
pub(crate) fn day_of_year(day: i64) -> u32 {
    date_of(day).ordinal()
}

/// Public holidays of a year as in Victoria (without those of single towns): fixed days, Easter, and Mondays and Tuesdays by count.
fn holidays_of(year: i32) -> Vec<i64> {
    let easter = easter_sunday(year);
    let nth = |month, wanted: usize, count: i64| {
        let first = day_of(year, month, 1);
        first + (wanted as i64 - weekday(first) as i64).rem_euclid(7) + 7 * (count - 1)
    };
    vec![
        day_of(year, 1, 1),
        day_of(year, 1, 26),
        nth(3, 0, 2),
        easter - 2,
        easter,
        easter + 1,
        day_of(year, 4, 25),
        nth(6, 0, 2),
        nth(11, 1, 1),
        day_of(year, 12, 25),
        day_of(year, 12, 26),
    ]
}

/// Easter Sunday by the anonymous Gregorian rule.
fn easter_sunday(year: i32) -> i64 {
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (8 * b + 13) / 25;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let month = (h + l - 7 * m + 114) / 31;
    let day = (h + l - 7 * m + 114) % 31 + 1;
    day_of(year, month.unsigned_abs(), day.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_2026_01_15_UTC_MS: i64 = 1_768_478_400_000;

    #[test]
    fn local_days_follow_the_zone_across_the_clock_change() {
        let clock = LocalClock::new(chrono_tz::Australia::Melbourne, NOON_2026_01_15_UTC_MS);
        assert_eq!(clock.day_and_hour(NOON_2026_01_15_UTC_MS).1, 23); // UTC+11 in summer
        let winter_ms = NOON_2026_01_15_UTC_MS + 180 * DAY_MS;
        assert_eq!(clock.day_and_hour(winter_ms).1, 22); // UTC+10
        for hours in 0..24 * 300 {
            let at_ms = NOON_2026_01_15_UTC_MS + hours * HOUR_MS;
            let (day, hour) = clock.day_and_hour(at_ms);
            let back_ms = clock.utc_ms(day, hour as i64 * HOUR_MS);
            assert!((back_ms - at_ms).abs() <= HOUR_MS, "at {at_ms}");
        }
    }

    #[test]
    fn weekdays_and_holidays() {
        assert_eq!(weekday(0), 3); // 1970-01-01 was a Thursday
        assert_eq!(day_text(easter_sunday(2026)), "2026-04-05");
        assert_eq!(day_text(easter_sunday(2027)), "2027-03-28");
        let clock = LocalClock::new(chrono_tz::Australia::Melbourne, NOON_2026_01_15_UTC_MS);
        assert!(clock.is_holiday(day_of(2026, 11, 3))); // first Tuesday of November
        assert!(clock.is_holiday(day_of(2026, 12, 25)));
        assert!(!clock.is_holiday(day_of(2026, 11, 4)));
    }
}
