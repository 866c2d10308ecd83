//! Local days and hours of the day in absolute time. A day has 23 or 25 hours when the clock changes: an hour of the day
//! is what the clock on the wall shows, never so many milliseconds after midnight.

use crate::plan::problem::Window;
use chrono::{DateTime, Days, Duration, LocalResult, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

/// The local day of a moment.
pub(super) fn day_of(zone: Tz, at_ms: i64) -> NaiveDate {
    let utc = DateTime::<Utc>::from_timestamp_millis(at_ms).unwrap_or_default();
    utc.with_timezone(&zone).date_naive()
}

/// The day as text, YYYY-MM-DD.
pub(super) fn text(day: NaiveDate) -> String {
    day.format("%Y-%m-%d").to_string()
}

/// The moment when the clock shows so many seconds after midnight of a day; 86400 and more is the next day. A time that the
/// clock leaps over is the first moment after the leap; one that it shows twice is the first of both.
pub(super) fn clock_ms(zone: Tz, day: NaiveDate, seconds: f64) -> i64 {
    let whole = seconds.clamp(0.0, 172_800.0) as i64;
    let local = day.and_time(NaiveTime::MIN) + Duration::seconds(whole);
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) => at.timestamp_millis(),
        LocalResult::Ambiguous(first, second) => first.timestamp_millis().min(second.timestamp_millis()),
        LocalResult::None => {
            // No leap is longer than a few hours; the first minute that exists again ends it.
            let after = (1..=240).find_map(|minutes| zone.from_local_datetime(&(local + Duration::minutes(minutes))).earliest());
            after.map_or_else(|| local.and_utc().timestamp_millis(), |at| at.timestamp_millis())
        }
    }
}

/// From midnight to midnight, half-open.
pub(super) fn day_bounds(zone: Tz, day: NaiveDate) -> (i64, i64) {
    (clock_ms(zone, day, 0.0), clock_ms(zone, next(day), 0.0))
}

/// The day after.
pub(super) fn next(day: NaiveDate) -> NaiveDate {
    day.checked_add_days(Days::new(1)).unwrap_or(day)
}

/// Daily hours (seconds after local midnight; none: always) as windows that touch `from_ms ..= to_ms`. Hours that end before
/// they begin go on past midnight.
pub(super) fn daily(zone: Tz, hours_s: (Option<f64>, Option<f64>), from_ms: i64, to_ms: i64) -> Vec<Window> {
    let (Some(opens_s), Some(closes_s)) = (hours_s.0.or(hours_s.1.map(|_| 0.0)), hours_s.1.or(hours_s.0.map(|_| 86_400.0))) else {
        return vec![Window { from_ms, to_ms }];
    };
    let closes_s = if closes_s <= opens_s { closes_s + 86_400.0 } else { closes_s };
    let mut windows: Vec<Window> = Vec::new();
    let mut day = day_of(zone, from_ms).checked_sub_days(Days::new(1)).unwrap_or_default();
    let last = day_of(zone, to_ms);
    while day <= last && windows.len() < 8 {
        let (opens_ms, closes_ms) = (clock_ms(zone, day, opens_s).max(from_ms), clock_ms(zone, day, closes_s).min(to_ms));
        if opens_ms <= closes_ms {
            match windows.last_mut().filter(|w| opens_ms <= w.to_ms) {
                Some(w) => w.to_ms = w.to_ms.max(closes_ms),
                None => windows.push(Window { from_ms: opens_ms, to_ms: closes_ms }),
            }
        }
        day = next(day);
    }
    windows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use chrono_tz::Europe::Berlin;

    const HOUR_MS: i64 = 3_600_000;

    fn utc(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }
    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_clock_change_at_night_makes_a_day_of_23_or_25_hours_and_moves_no_opening() {
        // 2026-10-25: at 03:00 summer time the clock goes back to 02:00. 2026-03-29: at 02:00 it leaps to 03:00.
        let (from, to) = day_bounds(Berlin, day("2026-10-25"));
        assert_eq!((from, to - from), (utc("2026-10-24T22:00:00Z"), 25 * HOUR_MS));
        let (from, to) = day_bounds(Berlin, day("2026-03-29"));
        assert_eq!((from, to - from), (utc("2026-03-28T23:00:00Z"), 23 * HOUR_MS));
        assert_eq!(clock_ms(Berlin, day("2026-10-25"), 6.0 * 3600.0), utc("2026-10-25T05:00:00Z"), "06:00 on the wall, not 6 h after midnight");
        assert_eq!(clock_ms(Berlin, day("2026-10-25"), 2.5 * 3600.0), utc("2026-10-25T00:30:00Z"), "shown twice: the first");
        assert_eq!(clock_ms(Berlin, day("2026-03-29"), 2.5 * 3600.0), utc("2026-03-29T01:00:00Z"), "leapt over: the moment after");
        // A night shift over the change: the gate opens at 22:00 and closes at 06:00 by the clock, nine hours later.
        let night = daily(Berlin, (Some(22.0 * 3600.0), Some(6.0 * 3600.0)), utc("2026-10-24T12:00:00Z"), utc("2026-10-25T12:00:00Z"));
        assert_eq!(night, [Window { from_ms: utc("2026-10-24T20:00:00Z"), to_ms: utc("2026-10-25T05:00:00Z") }]);
        assert_eq!(day_of(Berlin, utc("2026-10-24T22:30:00Z")), day("2026-10-25"));
    }

    #[test]
    fn windows_are_cut_to_the_time_asked_about_and_never_overlap() {
        let (from, to) = (utc("2026-11-02T09:00:00Z"), utc("2026-11-03T20:00:00Z"));
        let windows = daily(Berlin, (Some(7.0 * 3600.0), Some(18.0 * 3600.0)), from, to);
        assert_eq!(windows.len(), 2);
        assert!(windows[0].from_ms == from && windows[0].to_ms < windows[1].from_ms);
        assert_eq!(daily(Berlin, (None, None), from, to), [Window { from_ms: from, to_ms: to }]);
        assert_eq!(daily(Berlin, (None, Some(12.0 * 3600.0)), from, to)[0], Window { from_ms: from, to_ms: utc("2026-11-02T11:00:00Z") });
    }
}
