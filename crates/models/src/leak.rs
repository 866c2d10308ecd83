//! No feature may know the future. Three checks, each with a planted leak that it catches:
//!
//! * by structure: a row is received after it was observed, a label ends after its row;
//! * by statistics: a column that goes with what *will* happen much more closely than with what *has* happened knows
//!   more than the past can tell;
//! * by truncation, the strict one: computing the features again with the future removed must give the same rows
//!   ([`assert_no_future`]).

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use ws_inference::features::NumberColumn;
use ws_inference::{FeatureKind, FeatureSpec};

use crate::TrainError;
use crate::metrics::rank_correlation;

/// A received time this much before the observed one is a clock's inaccuracy, ms.
const CLOCK_TOLERANCE_MS: f64 = 300_000.0;
/// The share of rows that may have impossible times.
const IMPOSSIBLE_SHARE: f64 = 0.001;
/// Fewer rows prove nothing.
const LEAST_ROWS: usize = 200;
/// Columns that are functions of the calendar: they know the future honestly.
const CALENDAR: [&str; 3] = ["hour_of_day", "day_of_week", "hours_to_visit"];

/// Checks that rows were received after they were observed, up to a clock's tolerance.
///
/// # Errors
/// When more than one row in a thousand was not.
pub fn check_times(batches: &[RecordBatch]) -> Result<(), TrainError> {
    let (mut rows, mut impossible) = (0u64, 0u64);
    for batch in batches.iter().filter(|batch| batch.column_by_name("received_at").is_some()) {
        let observed = NumberColumn::find(batch, &FeatureSpec::number("observed_at"))?;
        let received = NumberColumn::find(batch, &FeatureSpec::number("received_at"))?;
        rows += batch.num_rows() as u64;
        for row in 0..batch.num_rows() {
            impossible += u64::from(received.value(row) < observed.value(row) - CLOCK_TOLERANCE_MS);
        }
    }
    if impossible as f64 > rows as f64 * IMPOSSIBLE_SHARE {
        let message = format!("{impossible} of {rows} rows were received before they were observed");
        return Err(TrainError::Leak { message });
    }
    Ok(())
}

/// Rows for the statistical check.
pub struct Probe<'a> {
    /// Feature names.
    pub names: Vec<&'a str>,
    /// Row-major features.
    pub values: &'a [f64],
    /// Level per row.
    pub levels: Vec<f64>,
    /// What the level did after the row.
    pub future: Vec<f64>,
    /// What the level did over as long a time before it, NaN when unknown.
    pub past: Vec<f64>,
}

/// A column that goes with the future more closely than the past allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspicion {
    /// The column.
    pub column: String,
    /// Rank correlation with the future increment, the past one held fixed, absolute.
    pub future: f64,
    /// Rank correlation with the past increment, the future one held fixed, in the same direction.
    pub past: f64,
}

/// Columns that look like leaks. Past and future increments are two noisy looks at one fill rate. A feature that knew
/// that rate perfectly would go with either, given the other, at 0.71 at most; one made of the past leans to the past.
/// A leak leans to the future. Each column is tried as it is and less the level, for a leaked level.
pub fn suspicious_columns(probe: &Probe<'_>) -> Vec<Suspicion> {
    let width = probe.names.len();
    let rows: Vec<usize> = (0..probe.future.len()).filter(|row| probe.future[*row].is_finite() && probe.past[*row].is_finite()).collect();
    let mut found = Vec::new();
    for (index, name) in probe.names.iter().enumerate() {
        if CALENDAR.contains(name) {
            continue;
        }
        let value = |row: usize| probe.values[row * width + index];
        let known: Vec<usize> = rows.iter().copied().filter(|row| value(*row).is_finite()).collect();
        if known.len() < LEAST_ROWS {
            continue;
        }
        let future: Vec<f64> = known.iter().map(|row| probe.future[*row]).collect();
        let past: Vec<f64> = known.iter().map(|row| probe.past[*row]).collect();
        let column: Vec<f64> = known.iter().map(|row| value(*row)).collect();
        let increments: Vec<f64> = known.iter().map(|row| value(*row) - probe.levels[*row]).collect();
        for values in [column, increments] {
            let (ahead, behind) = (partial(&values, &future, &past), partial(&values, &past, &future));
            // The direction of the future is the positive one.
            let (ahead, behind) = (ahead.abs(), behind * ahead.signum());
            if ahead >= 0.8 || (ahead >= 0.5 && ahead - behind >= 0.2) {
                found.push(Suspicion { column: (*name).to_owned(), future: ahead, past: behind });
                break;
            }
        }
    }
    found
}

/// Rank correlation of `a` and `b` with `fixed` held fixed; 0 where it cannot be told.
fn partial(a: &[f64], b: &[f64], fixed: &[f64]) -> f64 {
    let rank = |x, y| rank_correlation(x, y).unwrap_or(0.0);
    let (ab, af, bf) = (rank(a, b), rank(a, fixed), rank(b, fixed));
    let left = ((1.0 - af * af) * (1.0 - bf * bf)).sqrt();
    if left > 1e-9 { (ab - af * bf) / left } else { 0.0 }
}

/// Refuses suspicious columns.
///
/// # Errors
/// Naming the worst column.
pub fn check_columns(probe: &Probe<'_>) -> Result<(), TrainError> {
    let worst = suspicious_columns(probe).into_iter().max_by(|a, b| a.future.total_cmp(&b.future));
    match worst {
        None => Ok(()),
        Some(Suspicion { column, future, past }) => Err(TrainError::Leak {
            message: format!("column {column} goes with the future level at {future:.2}, given the past, and with the past at {past:.2}, given the future"),
        }),
    }
}

/// Checks that rows do not change when the future is removed: `history_until(ms)` computes the feature rows from the
/// events up to `ms` alone (`i64::MAX` for all). Every row that a truncated run gives must be in the full run with the
/// same values in all columns except `ignore`. Corrections are left out: they are made to know better. Gives the number
/// of rows compared.
///
/// # Errors
/// At the first row that differs, at a cut that gives no rows at all, or when computing fails.
pub fn assert_no_future<F>(history_until: F, cuts_ms: &[i64], ignore: &[&str]) -> Result<usize, TrainError>
where
    F: Fn(i64) -> Result<Vec<RecordBatch>, TrainError>,
{
    let full = first_rows(&history_until(i64::MAX)?, ignore)?;
    let mut compared = 0;
    for cut_ms in cuts_ms {
        let truncated = first_rows(&history_until(*cut_ms)?, ignore)?;
        if truncated.is_empty() {
            return Err(TrainError::TooLittle { message: format!("no rows up to {cut_ms}"), hint: "choose cuts within the history" });
        }
        for (key, row) in &truncated {
            let differs = match full.get(key) {
                None => Some("the row is missing".to_owned()),
                Some(other) => {
                    row.iter().zip(other).find(|(a, b)| a != b).map(|((column, a), (_, b))| format!("{column} is {a} without the future and {b} with it"))
                }
            };
            if let Some(how) = differs {
                return Err(TrainError::Leak { message: format!("row {} at {}, cut at {cut_ms}: {how}", key.0, key.1) });
            }
            compared += 1;
        }
    }
    Ok(compared)
}

/// A row's columns as `(name, text)`, floats in their shortest exact form.
type RowText = Vec<(String, String)>;

/// What rows can be about.
const SUBJECTS: [&str; 5] = ["device_id", "container_id", "customer_id", "vehicle_id", "component"];

/// The first uncorrected row per subject and time.
fn first_rows(batches: &[RecordBatch], ignore: &[&str]) -> Result<BTreeMap<(String, i64, bool), RowText>, TrainError> {
    let mut rows = BTreeMap::new();
    for batch in batches {
        let schema = batch.schema();
        let options = FormatOptions::new().with_null("null");
        let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<Vec<_>, _>>()?;
        let text = |name: &str, row: usize| schema.index_of(name).map(|index| formatters[index].value(row).to_string()).unwrap_or_default();
        let observed = NumberColumn::find(batch, &FeatureSpec::number("observed_at"))?;
        let corrected = batch.column_by_name("corrected").is_some().then(|| {
            let spec = FeatureSpec { name: "corrected".into(), kind: FeatureKind::Flag, categories: Vec::new() };
            NumberColumn::find(batch, &spec)
        });
        let corrected = corrected.transpose()?;
        for row in 0..batch.num_rows() {
            if corrected.as_ref().is_some_and(|corrected| corrected.value(row) == 1.0) {
                continue;
            }
            let timer = text("silent_h", row).parse::<f64>().is_ok_and(|hours| hours > 0.0);
            let subject = SUBJECTS.map(|name| text(name, row)).into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("@");
            let key = (subject, observed.value(row) as i64, timer);
            rows.entry(key).or_insert_with(|| {
                schema
                    .fields()
                    .iter()
                    .zip(&formatters)
                    .filter(|(field, _)| !ignore.contains(&field.name().as_str()))
                    .map(|(field, formatter)| (field.name().clone(), formatter.value(row).to_string()))
                    .collect()
            });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::testkit::{City, Row, batch};

    #[test]
    fn honest_features_survive_truncation() {
        let city = City { bins: 5, days: 4, ..City::default() };
        let until = |ms: i64| Ok(vec![city.features(ms)]);
        let compared = assert_no_future(until, &[50 * 3_600_000, 80 * 3_600_000], &["event_id"]).unwrap();
        assert!(compared > 500, "{compared}");
    }

    #[test]
    fn a_column_smoothed_over_the_future_is_caught_by_truncation() {
        let until = |ms: i64| {
            let mut rows: Vec<Row> = (0..48)
                .filter(|hour| hour * 3_600_000 <= ms)
                .map(|hour| Row { hour: hour as f64, level: (hour * hour) as f64 / 3000.0, ..Row::default() })
                .collect();
            // A centred mean: the classic accident.
            let levels: Vec<f64> = rows.iter().map(|row| row.level).collect();
            for (index, row) in rows.iter_mut().enumerate() {
                let next = levels.get(index + 1).copied().unwrap_or(row.level);
                row.rate_24h = Some((next - levels[index.saturating_sub(1)]) / 2.0);
            }
            Ok(vec![batch(&rows)])
        };
        let error = assert_no_future(until, &[20 * 3_600_000], &[]).unwrap_err().to_string();
        assert!(error.contains("rate_24h_per_h") && error.contains("with it"), "{error}");
    }

    #[test]
    fn rows_received_before_they_were_observed_are_refused() {
        let mut rows = vec![Row::default(); 10];
        assert!(check_times(&[batch(&rows)]).is_ok());
        rows[4].received_delay_h = -1.0;
        assert!(check_times(&[batch(&rows)]).unwrap_err().to_string().contains("1 of 10"));
    }
}
