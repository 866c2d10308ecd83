//! Examples and what became of them: rows are sampled by a hash, so that the same rows and seed give the same
//! examples, and each is asked for its rate at every horizon, its overflow before the visit and its time to full.

use arrow::array::RecordBatch;
use ws_inference::FeatureSpec;
use ws_inference::features::{NumberColumn, fnv1a};

use crate::TrainError;
use crate::labels::{LabelOptions, Outcome, OutcomeCounts, overflow_before_visit, rate_after};
use crate::series::{Candidate, HOUR_MS, RowRef, Series, SeriesOptions, read};

/// Received this long after observed on the median row: an import of history, not live data. Hours.
const IMPORT_DELAY_H: f64 = 48.0;
/// A fall of the level that counts as an emptying nobody reported, fraction.
const UNEXPLAINED_FALL: f64 = 0.15;

/// An example with the ends of its questions.
#[derive(Clone, Debug)]
pub struct Example {
    /// The row.
    pub row: Candidate,
    /// Per horizon.
    pub rates: Vec<Outcome>,
    /// Full before the visit; `None` when no visit is planned.
    pub overflow: Option<Outcome>,
    /// What the level did in the 24 h before, NaN when unknown or emptied within.
    pub past_24h: f64,
    /// Hours until full (`true`) or until that could no longer be seen (`false`).
    pub to_full: (f64, bool),
}

/// All examples with counts.
#[derive(Clone, Debug)]
pub struct Questions {
    /// Horizons in hours.
    pub horizons_h: Vec<f64>,
    /// Examples by series and time.
    pub examples: Vec<Example>,
    /// Per horizon.
    pub counts: Vec<OutcomeCounts>,
    /// Of overflow.
    pub overflow_counts: OutcomeCounts,
    /// Rows that could have been examples.
    pub rows: u64,
    /// Series.
    pub series: u64,
    /// Falls of a level that no emptying explains.
    pub unexplained_falls: u64,
    /// Whether this is imported history.
    pub import: bool,
    /// Event time of the first and last reading, UTC ms.
    pub range_ms: (i64, i64),
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct AskOptions {
    /// Horizons in hours.
    pub horizons_h: Vec<f64>,
    /// The level that counts as full.
    pub full_level: f64,
    /// Examples at most; more rows are sampled.
    pub max_examples: usize,
    /// Seed of the sample.
    pub seed: u64,
    /// Only rows from this event time on, UTC ms.
    pub from_ms: i64,
}

/// Samples rows and asks.
///
/// # Errors
/// When a column is absent.
pub fn ask(batches: &[RecordBatch], options: &AskOptions) -> Result<Questions, TrainError> {
    let series_options = SeriesOptions { full_level: options.full_level, unexplained_fall: UNEXPLAINED_FALL };
    let all = read(batches, series_options)?;
    let import = is_import(&all);
    let label_options = LabelOptions { full_level: options.full_level, max_gap_h: 6.0, visit_tolerance_h: 4.0, respect_received_at: !import };
    let in_range = |row: &&Candidate| row.at_ms >= options.from_ms;
    let rows = all.iter().flat_map(|series| series.candidates.iter().filter(in_range)).count();
    let share = options.max_examples as f64 / rows.max(1) as f64;
    let mut questions = Questions {
        horizons_h: options.horizons_h.clone(),
        examples: Vec::new(),
        counts: vec![OutcomeCounts::default(); options.horizons_h.len()],
        overflow_counts: OutcomeCounts::default(),
        rows: rows as u64,
        series: all.len() as u64,
        unexplained_falls: all.iter().map(|series| series.unexplained_falls as u64).sum(),
        import,
        range_ms: range(&all),
    };
    for series in &all {
        let series_hash = fnv1a(series.key.as_bytes()) ^ options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for row in series.candidates.iter().filter(in_range) {
            if unit_interval(series_hash, row.at_ms) >= share {
                continue;
            }
            let example = answer(series, row, options, &label_options);
            for (counts, outcome) in questions.counts.iter_mut().zip(&example.rates) {
                counts.add(outcome);
            }
            if let Some(outcome) = &example.overflow {
                questions.overflow_counts.add(outcome);
            }
            questions.examples.push(example);
        }
    }
    Ok(questions)
}

fn answer(series: &Series, row: &Candidate, options: &AskOptions, labels: &LabelOptions) -> Example {
    let rates = options.horizons_h.iter().map(|hours| rate_after(series, row, *hours, labels)).collect();
    let overflow = overflow_before_visit(series, row, labels);
    Example { row: *row, rates, overflow, past_24h: past_24h(series, row), to_full: to_full(series, row) }
}

fn past_24h(series: &Series, row: &Candidate) -> f64 {
    let start_ms = row.at_ms - (24.0 * HOUR_MS) as i64;
    if series.emptied_within(start_ms, row.at_ms) {
        return f64::NAN;
    }
    let before = series.reading_after(start_ms).checked_sub(1).map(|index| series.readings[index]);
    before.map_or(f64::NAN, |before| row.level - before.level)
}

fn to_full(series: &Series, row: &Candidate) -> (f64, bool) {
    let hours = |ms: i64| ((ms - row.at_ms) as f64 / HOUR_MS).max(0.0);
    let last_ms = series.readings.last().map_or(row.at_ms, |reading| reading.at_ms);
    let end_ms = series.emptied_after(row.at_ms).map_or(last_ms, |at| at.min(last_ms));
    let full = series.next_full.get(series.reading_after(row.at_ms)).and_then(|index| series.readings.get(*index));
    match full {
        Some(full) if full.at_ms <= end_ms => (hours(full.at_ms), true),
        _ => (hours(end_ms), false),
    }
}

/// A number in `[0, 1)` out of a hash of series and time (splitmix64's finish).
fn unit_interval(series_hash: u64, at_ms: i64) -> f64 {
    let mut mixed = series_hash ^ (at_ms as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn is_import(all: &[Series]) -> bool {
    let mut delays: Vec<i64> = all.iter().flat_map(|series| &series.candidates).map(|row| row.received_ms - row.at_ms).collect();
    delays.sort_unstable();
    delays.get(delays.len() / 2).is_some_and(|delay| *delay as f64 > IMPORT_DELAY_H * HOUR_MS)
}

fn range(all: &[Series]) -> (i64, i64) {
    let times = || all.iter().flat_map(|series| &series.readings).map(|reading| reading.at_ms);
    (times().min().unwrap_or(0), times().max().unwrap_or(0))
}

/// The numbers of rows, row-major in the order of `specs`. A column that is absent is missing everywhere when
/// `lenient`.
///
/// # Errors
/// When a column is absent and not `lenient`, or of another type.
pub fn values(batches: &[RecordBatch], rows: &[RowRef], specs: &[FeatureSpec], lenient: bool) -> Result<Vec<f64>, TrainError> {
    let mut columns: Vec<Vec<Option<NumberColumn>>> = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut found = Vec::with_capacity(specs.len());
        for spec in specs {
            let absent = lenient && batch.column_by_name(&spec.name).is_none();
            found.push(if absent { None } else { Some(NumberColumn::find(batch, spec)?) });
        }
        columns.push(found);
    }
    let mut values = Vec::with_capacity(rows.len() * specs.len());
    for at in rows {
        values.extend(columns[at.batch].iter().map(|c| c.as_ref().map_or(f64::NAN, |c| c.value(at.row))));
    }
    Ok(values)
}
