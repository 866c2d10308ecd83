//! What really happened after a row: every question ends as labelled, censored or expired, and the counts add up.
//!
//! * *Labelled*: the container was not emptied within the horizon and readings around its end tell the level.
//! * *Censored*: it was emptied within the horizon. Excluded whatever the level was until then: keeping those that
//!   were seen to fill up before the truck came would make long horizons look faster than they are.
//! * *Expired*: no reading near the horizon's end, the history ends before it, or the row was received after it.
//!
//! The label is the *mean fill rate until full*, not the level: a sensor stops at full, a rate does not.

use serde::{Deserialize, Serialize};

use crate::series::{Candidate, HOUR_MS, Reading, Series};

/// The shortest time a rate is measured over, hours.
const LEAST_RATE_TIME_H: f64 = 0.25;

/// How questions are answered.
#[derive(Clone, Copy, Debug)]
pub struct LabelOptions {
    /// The level that counts as full.
    pub full_level: f64,
    /// The longest gap between the two readings around a horizon's end, hours; sensors that report less often get
    /// one and a half of their own spacing.
    pub max_gap_h: f64,
    /// A truck this much before its planned time is on time, hours.
    pub visit_tolerance_h: f64,
    /// Whether rows received after a horizon's end are expired. Off for imported history, which is received long after.
    pub respect_received_at: bool,
}

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// A label.
    Labelled(Label),
    /// Emptied before it could be seen.
    Censored,
    /// The gap between the readings around the end is too long.
    ExpiredGap,
    /// The history ends before the horizon does.
    ExpiredEnd,
    /// The row was received after the horizon's end.
    ExpiredLate,
    /// The container was full already: nothing to predict.
    AlreadyFull,
}

/// A label with the time of the last reading it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// The value: a rate (fraction per hour) or 0 and 1.
    pub value: f64,
    /// Event time of the last reading used, UTC ms.
    pub until_ms: i64,
    /// It rests on a reading flagged stuck or jumping.
    pub faulty: bool,
}

/// How many questions ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCounts {
    /// Asked in all.
    pub asked: u64,
    /// Labelled.
    pub labelled: u64,
    /// Emptied within the horizon.
    pub censored: u64,
    /// Expired: no reading near the end.
    pub expired_gap: u64,
    /// Expired: the history ends before.
    pub expired_end: u64,
    /// Expired: received after the horizon's end.
    pub expired_late: u64,
    /// Full already.
    pub already_full: u64,
}

impl OutcomeCounts {
    /// Counts one more.
    pub fn add(&mut self, outcome: &Outcome) {
        self.asked += 1;
        *match outcome {
            Outcome::Labelled(_) => &mut self.labelled,
            Outcome::Censored => &mut self.censored,
            Outcome::ExpiredGap => &mut self.expired_gap,
            Outcome::ExpiredEnd => &mut self.expired_end,
            Outcome::ExpiredLate => &mut self.expired_late,
            Outcome::AlreadyFull => &mut self.already_full,
        } += 1;
    }

    /// Whether nothing is missing.
    pub fn adds_up(&self) -> bool {
        self.asked == self.labelled + self.censored + self.expired_gap + self.expired_end + self.expired_late + self.already_full
    }
}

fn after(ms: i64, hours: f64) -> i64 {
    ms + (hours * HOUR_MS).round() as i64
}

fn hours_between(from_ms: i64, to_ms: i64) -> f64 {
    (to_ms - from_ms) as f64 / HOUR_MS
}

/// The mean fill rate over `horizon_h` from a row on, until full, given no emptying.
pub fn rate_after(series: &Series, from: &Candidate, horizon_h: f64, options: &LabelOptions) -> Outcome {
    let end_ms = after(from.at_ms, horizon_h);
    let around = match window_end(series, from, end_ms, end_ms, options) {
        Ok(around) => around,
        Err(outcome) => return outcome,
    };
    let label = |value, faulty| Outcome::Labelled(Label { value, until_ms: around.until_ms(), faulty });
    if let Some((crossed_ms, faulty)) = crossing(series, from, around.last_index, options.full_level)
        && crossed_ms <= end_ms
    {
        let hours = hours_between(from.at_ms, crossed_ms).max(LEAST_RATE_TIME_H);
        return label((options.full_level - from.level) / hours, faulty);
    }
    let (before, next) = (around.before, around.next);
    match next {
        Some(next) => {
            let share = hours_between(before.at_ms, end_ms) / hours_between(before.at_ms, next.at_ms);
            let level = before.level + (next.level - before.level) * share;
            label((level - from.level) / horizon_h, before.faulty || next.faulty)
        }
        None => {
            // The next reading is behind an emptying: the one before must be near enough to speak for the end.
            let hours = hours_between(from.at_ms, before.at_ms);
            if hours < 0.9 * horizon_h {
                return Outcome::ExpiredGap;
            }
            label((before.level - from.level) / hours, before.faulty)
        }
    }
}

/// Whether the container was full before its next planned visit: 1 or 0.
pub fn overflow_before_visit(series: &Series, from: &Candidate, options: &LabelOptions) -> Option<Outcome> {
    if from.hours_to_visit.is_nan() || from.hours_to_visit <= 0.0 {
        return None;
    }
    let planned_ms = after(from.at_ms, from.hours_to_visit);
    let on_time_ms = after(planned_ms, -options.visit_tolerance_h).max(from.at_ms);
    let end_ms = match series.emptied_after(from.at_ms) {
        Some(at) if at > on_time_ms => planned_ms.min(at),
        _ => planned_ms,
    };
    let around = match window_end(series, from, end_ms, end_ms - 1, options) {
        Ok(around) => around,
        Err(outcome) => return Some(outcome),
    };
    let crossed = crossing(series, from, around.last_index, options.full_level).filter(|(at, _)| *at <= end_ms);
    let faulty = crossed.map_or(around.before.faulty, |(_, faulty)| faulty);
    let value = f64::from(u8::from(crossed.is_some()));
    Some(Outcome::Labelled(Label { value, until_ms: around.until_ms(), faulty }))
}

/// The readings around a window's end.
struct Around {
    before: Reading,
    /// Absent when an emptying lies between the end and it.
    next: Option<Reading>,
    /// Index of the last reading that may be looked at.
    last_index: usize,
}

impl Around {
    fn until_ms(&self) -> i64 {
        self.next.unwrap_or(self.before).at_ms
    }
}

/// Finds the readings around `end_ms`; an emptying in `(from, censored_until_ms]` censors.
fn window_end(series: &Series, from: &Candidate, end_ms: i64, censored_until_ms: i64, options: &LabelOptions) -> Result<Around, Outcome> {
    if from.level >= options.full_level {
        return Err(Outcome::AlreadyFull);
    }
    if options.respect_received_at && from.received_ms >= end_ms {
        return Err(Outcome::ExpiredLate);
    }
    if series.emptied_within(from.at_ms, censored_until_ms) {
        return Err(Outcome::Censored);
    }
    let next_index = series.reading_after(end_ms - 1);
    let Some(next) = series.readings.get(next_index).copied() else {
        return Err(Outcome::ExpiredEnd);
    };
    let before = match next_index.checked_sub(1).map(|index| series.readings[index]) {
        Some(before) if before.at_ms >= from.at_ms => before,
        // No reading since: a timer's row stands on the level it repeats.
        _ => Reading { at_ms: from.at_ms, level: from.level, faulty: from.faulty },
    };
    let spacing_h = if series.spacing_h.is_nan() { 0.0 } else { series.spacing_h };
    if hours_between(before.at_ms, next.at_ms) > options.max_gap_h.max(1.5 * spacing_h) {
        return Err(Outcome::ExpiredGap);
    }
    if series.emptied_within(from.at_ms, next.at_ms) {
        return Ok(Around { before, next: None, last_index: next_index.saturating_sub(1) });
    }
    Ok(Around { before, next: Some(next), last_index: next_index })
}

/// When the level first reached full after a row, looking at readings up to `last_index`, and whether the reading
/// that says so is faulty.
fn crossing(series: &Series, from: &Candidate, last_index: usize, full_level: f64) -> Option<(i64, bool)> {
    let first = series.reading_after(from.at_ms);
    let index = *series.next_full.get(first)?;
    if index > last_index {
        return None;
    }
    let full = *series.readings.get(index)?;
    let (before_ms, before_level) = match index.checked_sub(1).map(|index| series.readings[index]) {
        Some(before) if before.at_ms > from.at_ms => (before.at_ms, before.level),
        _ => (from.at_ms, from.level),
    };
    let share = if full.level > before_level { (full_level - before_level) / (full.level - before_level) } else { 1.0 };
    Some((before_ms + ((full.at_ms - before_ms) as f64 * share.clamp(0.0, 1.0)) as i64, full.faulty))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::series::{SeriesOptions, read};
    use crate::testkit::{Row, batch};

    const OPTIONS: LabelOptions = LabelOptions { full_level: 1.0, max_gap_h: 6.0, visit_tolerance_h: 4.0, respect_received_at: true };

    /// Hourly readings at a rate, emptied at one hour (if any), as the features tell it.
    fn series(rate: f64, hours: usize, emptied: Option<f64>) -> Series {
        let rows: Vec<Row> = (0..=hours)
            .map(|hour| {
                let hour = hour as f64;
                let since = emptied.map(|at| hour - at).filter(|since| *since >= 0.0);
                let level = since.map_or(hour * rate, |since| since * rate).min(1.0);
                Row { hour, level, since_emptied_h: since, hours_to_visit: Some(30.0 - hour), ..Row::default() }
            })
            .collect();
        let options = SeriesOptions { full_level: 1.0, unexplained_fall: 0.15 };
        read(&[batch(&rows)], options).unwrap().remove(0)
    }

    fn rate(series: &Series, from: usize, horizon_h: f64) -> Outcome {
        rate_after(series, &series.candidates[from], horizon_h, &OPTIONS)
    }

    fn value(outcome: Outcome) -> f64 {
        match outcome {
            Outcome::Labelled(label) => label.value,
            other => panic!("not labelled: {other:?}"),
        }
    }

    #[test]
    fn the_rate_is_the_increment_over_the_horizon() {
        assert!((value(rate(&series(0.02, 40, None), 3, 6.5)) - 0.02).abs() < 1e-9);
    }

    #[test]
    fn a_sensor_that_stops_at_full_does_not_slow_the_rate() {
        assert!((value(rate(&series(0.05, 60, None), 4, 48.0)) - 0.05).abs() < 1e-6);
    }

    #[test]
    fn an_emptying_within_the_horizon_censors_even_after_full() {
        let series = series(0.05, 60, Some(30.5));
        assert_eq!(rate(&series, 4, 48.0), Outcome::Censored);
        assert!((value(rate(&series, 4, 24.0)) - 0.05).abs() < 1e-6);
    }

    #[test]
    fn no_label_looks_across_an_emptying_right_after_the_horizon() {
        let series = series(0.02, 60, Some(30.5));
        // The end is hour 30.2, the next reading at 31 is behind the emptying.
        let Outcome::Labelled(label) = rate(&series, 20, 10.2) else { panic!() };
        assert_eq!(label.until_ms, 30 * 3_600_000);
        assert!((label.value - 0.02).abs() < 1e-9);
    }

    #[test]
    fn the_end_of_history_and_gaps_expire() {
        let mut series = series(0.01, 40, None);
        assert_eq!(rate(&series, 35, 6.0), Outcome::ExpiredEnd);
        series.readings.retain(|reading| !(12 * 3_600_000..22 * 3_600_000).contains(&reading.at_ms));
        series.next_full = vec![series.readings.len(); series.readings.len()];
        assert_eq!(rate(&series, 10, 6.0), Outcome::ExpiredGap);
    }

    #[test]
    fn a_row_received_after_its_horizon_is_no_forecast() {
        let mut series = series(0.01, 40, None);
        series.candidates[3].received_ms = 10 * 3_600_000;
        assert_eq!(rate(&series, 3, 6.0), Outcome::ExpiredLate);
        assert!(matches!(rate(&series, 3, 12.0), Outcome::Labelled(_)));
    }

    fn overflow(series: &Series, from: usize) -> Outcome {
        overflow_before_visit(series, &series.candidates[from], &OPTIONS).unwrap()
    }

    #[test]
    fn overflow_is_seen_until_the_planned_visit() {
        assert_eq!(value(overflow(&series(0.04, 60, Some(30.5)), 2)), 1.0);
        assert_eq!(value(overflow(&series(0.02, 60, Some(30.5)), 2)), 0.0);
        // Full at hour 33, after the visit planned for hour 30 that did not come.
        assert_eq!(value(overflow(&series(1.0 / 33.0, 60, None), 2)), 0.0);
    }

    #[test]
    fn a_truck_an_hour_early_still_labels_and_one_ten_hours_early_censors() {
        assert_eq!(value(overflow(&series(0.04, 60, Some(28.6)), 2)), 1.0);
        assert_eq!(value(overflow(&series(0.02, 60, Some(28.6)), 2)), 0.0);
        assert_eq!(overflow(&series(0.06, 60, Some(20.0)), 2), Outcome::Censored);
    }

    #[test]
    fn every_question_is_counted_once() {
        let mut counts = OutcomeCounts::default();
        let series = series(0.03, 60, Some(30.5));
        for candidate in &series.candidates {
            for horizon_h in [6.0, 24.0, 48.0] {
                counts.add(&rate_after(&series, candidate, horizon_h, &OPTIONS));
            }
        }
        assert_eq!(counts.asked, 61 * 3);
        assert!(counts.adds_up() && counts.labelled > 0 && counts.censored > 0 && counts.expired_end > 0);
    }
}
