//! Levels and overflows: what the readings around a moment say, given no emptying before it.

use super::{Book, End, Prediction, Reading, Rules};

/// What a sensor said after a prediction, as far as it sat on the same container.
struct Seen<'a> {
    /// After the prediction, by time.
    readings: Vec<&'a Reading>,
    /// When the container was first emptied after the prediction, whether reported or seen by a fall of the level.
    emptied_ms: Option<i64>,
    /// When the sensor was first seen on another container.
    moved_ms: Option<i64>,
}

fn seen<'a>(of: &Prediction, book: &'a Book, rules: &Rules) -> Seen<'a> {
    let after = book.readings.partition_point(|reading| reading.at_ms <= of.at_ms);
    let moved_ms = book.readings[after..].iter().find(|reading| reading.place != of.place).map(|reading| reading.at_ms);
    let readings: Vec<&Reading> = book.readings[after..].iter().take_while(|reading| reading.place == of.place).collect();
    let told_ms = book.emptied.iter().filter(|(at_ms, place)| *at_ms > of.at_ms && *place == of.place).map(|(at_ms, _)| *at_ms).min();
    let mut before = of.level;
    let mut fell_ms = None;
    for reading in &readings {
        if before.is_some_and(|before| before - reading.level >= rules.fall_by && reading.level <= rules.fall_to) {
            fell_ms = Some(reading.at_ms);
            break;
        }
        before = Some(reading.level);
    }
    // A fall right behind an emptying that was told is that one.
    let emptied_ms = [told_ms, fell_ms].into_iter().flatten().min();
    Seen { readings, emptied_ms, moved_ms }
}

impl<'a> Seen<'a> {
    fn until(&self, at_ms: i64) -> Option<&'a Reading> {
        self.readings.iter().rev().find(|reading| reading.at_ms <= at_ms).copied()
    }

    /// The first reading from `at_ms` on that no emptying separates from it.
    fn from(&self, at_ms: i64) -> Option<&'a Reading> {
        let reading = self.readings.iter().find(|reading| reading.at_ms >= at_ms).copied()?;
        self.emptied_ms.is_none_or(|emptied_ms| emptied_ms > reading.at_ms).then_some(reading)
    }

    fn emptied(&self, of: &Prediction) -> Option<(End, i64)> {
        let emptied_ms = self.emptied_ms?;
        let last = self.readings.iter().rev().find(|reading| reading.at_ms < emptied_ms);
        let bound = last.map(|reading| reading.level).or(of.level);
        Some((End::Censored { reason: "emptied".into(), bound, by: last.map(|reading| reading.event_id.clone()) }, emptied_ms))
    }
}

/// The longest time between two readings that may stand on both sides of a moment.
fn span_ms(of: &Prediction, rules: &Rules) -> i64 {
    (2 * rules.gap_ms).max(of.interval_ms + of.interval_ms / 2)
}

/// Nobody knows: because the sensor is known to be lost, or because nothing was heard.
fn unknown(of: &Prediction, book: &Book, moved_ms: Option<i64>) -> (End, Option<i64>) {
    let lost = |at_ms| (End::Censored { reason: "sensor_lost".into(), bound: None, by: None }, Some(at_ms));
    match (moved_ms, book.silent_ms) {
        (Some(moved_ms), _) => lost(moved_ms),
        (_, Some(silent_ms)) if silent_ms > of.at_ms => lost(of.due_ms),
        _ => (End::Expired, None),
    }
}

/// The level at the moment itself.
pub(super) fn at_moment(of: &Prediction, book: &Book, rules: &Rules) -> (End, Option<i64>) {
    let seen = seen(of, book, rules);
    if let Some((end, at_ms)) = seen.emptied(of).filter(|(_, at_ms)| *at_ms <= of.due_ms) {
        return (end, Some(at_ms));
    }
    let moved_ms = seen.moved_ms.filter(|at_ms| *at_ms <= of.due_ms);
    if moved_ms.is_some() {
        return unknown(of, book, moved_ms);
    }
    let (before, after) = (seen.until(of.due_ms), seen.from(of.due_ms));
    let label = |actual: f64, by: &Reading| (End::Labelled { actual: actual.min(1.0), by: Some(by.event_id.clone()) }, Some(by.at_ms.max(of.due_ms)));
    match (before, after) {
        (_, Some(after)) if after.at_ms == of.due_ms => label(after.level, after),
        (Some(before), Some(after)) if after.at_ms - before.at_ms <= span_ms(of, rules) => {
            let share = (of.due_ms - before.at_ms) as f64 / (after.at_ms - before.at_ms) as f64;
            label(before.level + (after.level - before.level) * share, after)
        }
        (_, Some(after)) if after.at_ms - of.due_ms <= rules.gap_ms => label(after.level, after),
        (Some(before), _) if of.due_ms - before.at_ms <= rules.gap_ms => label(before.level, before),
        _ => unknown(of, book, seen.moved_ms),
    }
}

/// Whether it was full before the planned visit, or before the truck if that came within the tolerance.
pub(super) fn before_visit(of: &Prediction, book: &Book, rules: &Rules) -> (End, Option<i64>) {
    let full_already = of.level.is_some_and(|level| level >= rules.full);
    if full_already {
        return (End::Labelled { actual: 1.0, by: None }, Some(of.at_ms));
    }
    let seen = seen(of, book, rules);
    let on_time_ms = of.due_ms - rules.visit_tolerance_ms;
    if let Some((end, at_ms)) = seen.emptied(of).filter(|(_, at_ms)| *at_ms <= on_time_ms) {
        return (end, Some(at_ms));
    }
    let moved_ms = seen.moved_ms.filter(|at_ms| *at_ms <= of.due_ms);
    if moved_ms.is_some() {
        return unknown(of, book, moved_ms);
    }
    let end_ms = seen.emptied_ms.map_or(of.due_ms, |emptied_ms| emptied_ms.min(of.due_ms));
    let mut before = of.level.map(|level| (of.at_ms, level));
    for reading in seen.readings.iter().filter(|reading| seen.emptied_ms.is_none_or(|emptied_ms| reading.at_ms < emptied_ms)) {
        if reading.level >= rules.full {
            let crossed_ms = match before {
                Some((before_ms, low)) if reading.level > low => {
                    before_ms + ((reading.at_ms - before_ms) as f64 * (rules.full - low) / (reading.level - low)).max(0.0) as i64
                }
                _ => reading.at_ms,
            };
            if crossed_ms <= end_ms {
                return (End::Labelled { actual: 1.0, by: Some(reading.event_id.clone()) }, Some(crossed_ms));
            }
            break;
        }
        before = Some((reading.at_ms, reading.level));
    }
    let near = |at_ms: i64| (at_ms - end_ms).abs() <= span_ms(of, rules) / 2;
    let witness = seen.until(end_ms).filter(|reading| near(reading.at_ms)).or_else(|| seen.from(end_ms).filter(|reading| near(reading.at_ms)));
    match witness {
        Some(witness) => (End::Labelled { actual: 0.0, by: Some(witness.event_id.clone()) }, Some(end_ms)),
        None => unknown(of, book, seen.moved_ms),
    }
}
