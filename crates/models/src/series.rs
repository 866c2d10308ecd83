//! Rows of `bin.features` → one time series per device on a container: what the sensor said and when, when the
//! container was emptied, and which rows may become examples. Only a few numbers per row are kept; features are read
//! from the batches later, for the rows that are sampled.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch, StringArray};
use ws_inference::features::NumberColumn;
use ws_inference::{FeatureKind, FeatureSpec};

use crate::TrainError;

/// Milliseconds of an hour.
pub const HOUR_MS: f64 = 3_600_000.0;
/// A row this close to its reading was caused by it and not by a timer, hours.
const READING_AGE_H: f64 = 0.02;
/// An emptying this much later than the last known one is another one, hours.
const ANOTHER_EMPTYING_H: f64 = 0.25;

/// Where a row stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRef {
    /// Index of the batch.
    pub batch: usize,
    /// Index within the batch.
    pub row: usize,
}

/// A reading: what a label may rest on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Event time, UTC ms.
    pub at_ms: i64,
    /// Level, fraction.
    pub level: f64,
    /// Flagged stuck or jumping.
    pub faulty: bool,
}

/// A row that may become an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Event time, UTC ms.
    pub at_ms: i64,
    /// When it was received, UTC ms.
    pub received_ms: i64,
    /// Level, fraction.
    pub level: f64,
    /// Hours until the planned visit, NaN when there is none.
    pub hours_to_visit: f64,
    /// Hours between reports, NaN when unknown.
    pub report_interval_h: f64,
    /// Flagged stuck or jumping: its level cannot be trusted.
    pub faulty: bool,
    /// The sensor was silent.
    pub silent: bool,
    /// Where its features are.
    pub source: RowRef,
}

/// One device on one container.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// `device_id` and `container_id`.
    pub key: String,
    /// Readings by time, one per instant: a correction replaces what it corrects.
    pub readings: Vec<Reading>,
    /// Per reading the index of the first one from there on that is full, or the number of readings.
    pub next_full: Vec<usize>,
    /// Emptyings by time, UTC ms.
    pub emptyings: Vec<i64>,
    /// How many of them are falls of the level that no emptying explains.
    pub unexplained_falls: usize,
    /// Rows that were answered at their time: corrections came too late to be.
    pub candidates: Vec<Candidate>,
    /// Median hours between readings.
    pub spacing_h: f64,
}

/// How rows are read.
#[derive(Clone, Copy, Debug)]
pub struct SeriesOptions {
    /// The level that counts as full.
    pub full_level: f64,
    /// A fall of the level by this much without a known emptying ends windows as one would.
    pub unexplained_fall: f64,
}

struct Raw {
    at_ms: i64,
    received_ms: i64,
    level: f64,
    since_emptied_h: f64,
    silent_h: f64,
    hours_to_visit: f64,
    report_interval_h: f64,
    faulty: bool,
    silent: bool,
    corrected: bool,
    source: RowRef,
}

/// Reads all series, ordered by key.
///
/// # Errors
/// When a needed column is absent or of another type.
pub fn read(batches: &[RecordBatch], options: SeriesOptions) -> Result<Vec<Series>, TrainError> {
    let mut raw: BTreeMap<String, Vec<Raw>> = BTreeMap::new();
    for (index, batch) in batches.iter().enumerate() {
        read_batch(index, batch, &mut raw)?;
    }
    Ok(raw.into_iter().map(|(key, rows)| build(key, rows, options)).collect())
}

fn number(batch: &RecordBatch, name: &str) -> Result<NumberColumn, TrainError> {
    Ok(NumberColumn::find(batch, &FeatureSpec::number(name))?)
}

fn optional(batch: &RecordBatch, name: &str, kind: FeatureKind) -> Result<Option<NumberColumn>, TrainError> {
    if batch.column_by_name(name).is_none() {
        return Ok(None);
    }
    let spec = FeatureSpec { name: name.to_owned(), kind, categories: Vec::new() };
    Ok(Some(NumberColumn::find(batch, &spec)?))
}

fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, TrainError> {
    let column = batch.column_by_name(name).ok_or_else(|| TrainError::column(name, "is not in the rows"))?;
    column.as_any().downcast_ref().ok_or_else(|| TrainError::column(name, "is not a string"))
}

fn read_batch(index: usize, batch: &RecordBatch, raw: &mut BTreeMap<String, Vec<Raw>>) -> Result<(), TrainError> {
    let devices = strings(batch, "device_id")?;
    let containers = strings(batch, "container_id")?;
    let observed = number(batch, "observed_at")?;
    let level = number(batch, "filling_level")?;
    let received = optional(batch, "received_at", FeatureKind::Number)?;
    let since_emptied = optional(batch, "hours_since_emptied", FeatureKind::Number)?;
    let silent_h = optional(batch, "silent_h", FeatureKind::Number)?;
    let hours_to_visit = optional(batch, "hours_to_visit", FeatureKind::Number)?;
    let interval = optional(batch, "report_interval_s", FeatureKind::Number)?;
    let flags = ["stuck", "jumping", "silent", "corrected"].map(|name| optional(batch, name, FeatureKind::Flag));
    let [stuck, jumping, silent, corrected] = flags;
    let (stuck, jumping, silent, corrected) = (stuck?, jumping?, silent?, corrected?);
    let value = |column: &Option<NumberColumn>, row| column.as_ref().map_or(f64::NAN, |c| c.value(row));
    let mut key = String::new();
    for row in 0..batch.num_rows() {
        let (at, level) = (observed.value(row), level.value(row));
        if at.is_nan() || level.is_nan() {
            continue;
        }
        let container = if containers.is_valid(row) { containers.value(row) } else { "" };
        let device = if devices.is_valid(row) { devices.value(row) } else { "" };
        let received_ms = value(&received, row);
        key.clear();
        key.extend([device, "@", container]);
        if !raw.contains_key(key.as_str()) {
            raw.insert(key.clone(), Vec::new());
        }
        let Some(rows) = raw.get_mut(key.as_str()) else {
            continue;
        };
        rows.push(Raw {
            at_ms: at as i64,
            received_ms: if received_ms.is_nan() { at as i64 } else { received_ms as i64 },
            level,
            since_emptied_h: value(&since_emptied, row),
            silent_h: value(&silent_h, row),
            hours_to_visit: value(&hours_to_visit, row),
            report_interval_h: value(&interval, row) / 3600.0,
            faulty: value(&stuck, row) == 1.0 || value(&jumping, row) == 1.0,
            silent: value(&silent, row) == 1.0,
            corrected: value(&corrected, row) == 1.0,
            source: RowRef { batch: index, row },
        });
    }
    Ok(())
}

fn build(key: String, mut rows: Vec<Raw>, options: SeriesOptions) -> Series {
    // Stable: rows of one instant stay in input order, the last is the newest.
    rows.sort_by_key(|row| row.at_ms);
    let mut series = Series { key, ..Series::default() };
    let mut last_emptied_ms: Option<f64> = None;
    for instant in rows.chunk_by(|a, b| a.at_ms == b.at_ms) {
        if let Some(first) = instant.iter().find(|row| !row.corrected) {
            series.candidates.push(Candidate {
                at_ms: first.at_ms,
                received_ms: first.received_ms,
                level: first.level,
                hours_to_visit: first.hours_to_visit,
                report_interval_h: first.report_interval_h,
                faulty: first.faulty,
                silent: first.silent || first.silent_h > READING_AGE_H.max(2.0 * first.report_interval_h),
                source: first.source,
            });
        }
        let is_reading = |row: &&Raw| row.silent_h.is_nan() || row.silent_h <= READING_AGE_H;
        if let Some(newest) = instant.iter().rev().find(is_reading) {
            series.readings.push(Reading { at_ms: newest.at_ms, level: newest.level, faulty: newest.faulty });
        }
        for row in instant {
            let emptied_ms = row.at_ms as f64 - row.since_emptied_h * HOUR_MS;
            if emptied_ms.is_nan() {
                continue;
            }
            if last_emptied_ms.is_none_or(|last| emptied_ms > last + ANOTHER_EMPTYING_H * HOUR_MS) {
                series.emptyings.push(emptied_ms as i64);
                last_emptied_ms = Some(emptied_ms);
            }
        }
    }
    add_unexplained_falls(&mut series, options.unexplained_fall);
    series.next_full = next_full(&series.readings, options.full_level);
    series.spacing_h = median_spacing_h(&series.readings);
    series
}

fn add_unexplained_falls(series: &mut Series, fall: f64) {
    let mut falls = Vec::new();
    for pair in series.readings.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        if before.level - after.level < fall || before.faulty || after.faulty {
            continue;
        }
        if !series.emptied_within(before.at_ms, after.at_ms) {
            // Somewhere between the two: right after the first is the careful choice.
            falls.push(before.at_ms + 1);
        }
    }
    series.unexplained_falls = falls.len();
    series.emptyings.extend(falls);
    series.emptyings.sort_unstable();
}

fn next_full(readings: &[Reading], full_level: f64) -> Vec<usize> {
    let mut next = vec![readings.len(); readings.len()];
    for index in (0..readings.len()).rev() {
        if readings[index].level >= full_level {
            next[index] = index;
        } else if index + 1 < readings.len() {
            next[index] = next[index + 1];
        }
    }
    next
}

fn median_spacing_h(readings: &[Reading]) -> f64 {
    let mut gaps: Vec<i64> = readings.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).map_or(f64::NAN, |gap| *gap as f64 / HOUR_MS)
}

impl Series {
    /// The first emptying after `ms`.
    pub fn emptied_after(&self, ms: i64) -> Option<i64> {
        self.emptyings.get(self.emptyings.partition_point(|at| *at <= ms)).copied()
    }

    /// Whether the container was emptied in `(from_ms, to_ms]`.
    pub fn emptied_within(&self, from_ms: i64, to_ms: i64) -> bool {
        self.emptied_after(from_ms).is_some_and(|at| at <= to_ms)
    }

    /// Index of the first reading after `ms`.
    pub fn reading_after(&self, ms: i64) -> usize {
        self.readings.partition_point(|reading| reading.at_ms <= ms)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::testkit::{Row, batch};

    const OPTIONS: SeriesOptions = SeriesOptions { full_level: 1.0, unexplained_fall: 0.15 };

    fn row(hour: f64, level: f64, since_emptied_h: Option<f64>) -> Row {
        Row { hour, level, since_emptied_h, ..Row::default() }
    }

    #[test]
    fn an_emptying_is_found_once_although_every_row_tells_of_it() {
        let rows = [row(0.0, 0.5, None), row(1.0, 0.1, Some(0.5)), row(2.0, 0.2, Some(1.5)), row(9.0, 0.1, Some(0.1))];
        let series = &read(&[batch(&rows)], OPTIONS).unwrap()[0];
        assert_eq!(series.emptyings, [1_800_000, 32_040_000]);
        assert_eq!(series.unexplained_falls, 0);
        assert!(series.emptied_within(0, 3_600_000) && !series.emptied_within(3_600_000, 7_200_000));
    }

    #[test]
    fn a_fall_that_no_emptying_explains_ends_windows_too_unless_the_sensor_jumps() {
        let mut rows = [row(0.0, 0.9, None), row(1.0, 0.1, None), row(2.0, 0.15, None)];
        assert_eq!(read(&[batch(&rows)], OPTIONS).unwrap()[0].emptyings, [1]);
        rows[1].jumping = true;
        assert!(read(&[batch(&rows)], OPTIONS).unwrap()[0].emptyings.is_empty());
    }

    #[test]
    fn a_correction_mends_labels_and_is_no_example() {
        let mut corrected = row(1.0, 0.4, None);
        corrected.corrected = true;
        let rows = [row(0.0, 0.1, None), row(1.0, 0.2, None), corrected, row(2.0, 0.5, None)];
        let series = &read(&[batch(&rows)], OPTIONS).unwrap()[0];
        assert_eq!(series.readings.iter().map(|r| r.level).collect::<Vec<_>>(), [0.1, 0.4, 0.5]);
        assert_eq!(series.candidates.iter().map(|c| c.level).collect::<Vec<_>>(), [0.1, 0.2, 0.5]);
    }

    #[test]
    fn a_timers_row_is_an_example_and_no_reading() {
        let mut timer = row(3.0, 0.2, None);
        timer.silent_h = 2.0;
        let series = &read(&[batch(&[row(1.0, 0.2, None), timer])], OPTIONS).unwrap()[0];
        assert_eq!((series.readings.len(), series.candidates.len()), (1, 2));
    }
}
