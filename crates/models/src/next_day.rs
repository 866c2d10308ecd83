//! Daily sensors: will the container be full at tomorrow's reading? A classifier on rows of `bin.features`, one per
//! day, judged on the last fifth of the days by AUC and average precision.
//!
//! The label is the *next* reading within 36 hours, whatever happens until then: daily sensors know no emptying time,
//! and what a dispatcher asks is whether the container will be seen full.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use serde::Serialize;
use ws_inference::features::feature_hash;
use ws_inference::gbdt::SCORE_ROLE;
use ws_inference::manifest::{Bundle, DataRange, Decoder, DomainRange, FORMAT, Manifest, ModelFile, checksum};
use ws_inference::path::Calibration;
use ws_inference::{FeatureSpec, GbdtPredictor};

use crate::TrainError;
use crate::assemble::version;
use crate::boost::{BoostOptions, Matrix, Objective, train};
use crate::metrics::{auc, average_precision, brier};
use crate::questions::values;
use crate::series::{HOUR_MS, RowRef, SeriesOptions, read};

/// Columns taken where they exist.
pub const NEXT_DAY_FEATURES: [&str; 23] = [
    "filling_level",
    "rate_24h_per_h",
    "rate_72h_per_h",
    "rate_7d_per_h",
    "rate_since_emptied_per_h",
    "hours_since_emptied",
    "level_min_24h",
    "level_max_24h",
    "day_of_week",
    "level_lag_1d",
    "level_mean_7d",
    "level_mean_28d",
    "level_mean_90d",
    "level_max_28d",
    "level_min_72h",
    "full_share_28d",
    "full_share_90d",
    "empty_share_28d",
    "empty_share_90d",
    "increment_mean_7d",
    "increment_mean_28d",
    "level_mean_next_weekday_90d",
    "reading_gap_h",
];

/// How to train and judge.
#[derive(Clone, Debug)]
pub struct NextDayOptions {
    /// The level that counts as full.
    pub full_level: f64,
    /// Share of the rows, by time, to train on.
    pub train_share: f64,
    /// The next reading counts within this time, hours.
    pub next_within_h: f64,
    /// Columns to use; those that are absent are left out.
    pub features: Vec<String>,
    /// Seed.
    pub seed: u64,
    /// Written into the manifest, UTC ms.
    pub trained_at_ms: i64,
    /// Sizes of the trees; its seed is replaced by `seed`.
    pub boost: BoostOptions,
}

impl Default for NextDayOptions {
    fn default() -> Self {
        Self {
            full_level: 0.8,
            train_share: 0.8,
            next_within_h: 36.0,
            features: NEXT_DAY_FEATURES.map(str::to_owned).to_vec(),
            seed: 1,
            trained_at_ms: 0,
            boost: BoostOptions { trees: 250, leaves: 15, learning_rate: 0.03, least_leaf_rows: 60, feature_share: 0.6, row_share: 0.8, l2: 5.0, seed: 0 },
        }
    }
}

/// Scores on the test rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NextDayScore {
    /// Rows.
    pub rows: u64,
    /// Share that was full the next day.
    pub base_rate: f64,
    /// Area under the ROC curve.
    pub auc: f64,
    /// Average precision.
    pub average_precision: f64,
    /// Brier score.
    pub brier: f64,
    /// Area under the ROC curve of today's level alone.
    pub auc_level: f64,
    /// Average precision of today's level alone.
    pub average_precision_level: f64,
}

/// A model with its scores.
#[derive(Clone, Debug)]
pub struct NextDayReport {
    /// The bundle, loadable by [`GbdtPredictor`].
    pub bundle: Bundle,
    /// Training rows.
    pub train_rows: u64,
    /// Test begins, UTC ms.
    pub test_from_ms: i64,
    /// Columns used.
    pub features: Vec<String>,
    /// On all test rows.
    pub all: NextDayScore,
    /// Without rows flagged stuck or jumping, today or tomorrow; `None` when none is flagged.
    pub without_faults: Option<NextDayScore>,
}

impl std::fmt::Display for NextDayReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |score: &NextDayScore| {
            format!(
                "{} rows, base rate {:.3}: AUC {:.3} AP {:.3} Brier {:.3} (level alone: AUC {:.3} AP {:.3})",
                score.rows, score.base_rate, score.auc, score.average_precision, score.brier, score.auc_level, score.average_precision_level
            )
        };
        writeln!(f, "full the next day, {} training rows, {} features", self.train_rows, self.features.len())?;
        writeln!(f, "  all rows   {}", line(&self.all))?;
        match &self.without_faults {
            Some(score) => writeln!(f, "  no faults  {}", line(score)),
            None => writeln!(f, "  no faults  (none is flagged)"),
        }
    }
}

struct Row {
    at_ms: i64,
    until_ms: i64,
    source: RowRef,
    level: f64,
    truth: bool,
    faulty: bool,
}

/// Trains and judges.
///
/// # Errors
/// When columns are missing, there are too few rows, or LightGBM fails.
pub fn train_next_day(batches: &[RecordBatch], options: &NextDayOptions) -> Result<NextDayReport, TrainError> {
    let rows = labelled_rows(batches, options)?;
    let mut times: Vec<i64> = rows.iter().map(|row| row.at_ms).collect();
    times.sort_unstable();
    let cut = ((times.len() as f64) * options.train_share) as usize;
    let Some(test_from_ms) = times.get(cut).copied().filter(|_| times.len() >= 500) else {
        return Err(TrainError::TooLittle { message: format!("{} rows have a next reading", times.len()), hint: "500 are the least" });
    };
    let features: Vec<FeatureSpec> =
        options.features.iter().filter(|name| batches.iter().all(|batch| batch.column_by_name(name).is_some())).map(FeatureSpec::number).collect();
    let names: Vec<String> = features.iter().map(|feature| feature.name.clone()).collect();
    let sources: Vec<RowRef> = rows.iter().map(|row| row.source).collect();
    let numbers = values(batches, &sources, &features, false)?;
    let width = features.len();
    let mut matrix = Matrix { width, ..Matrix::default() };
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.until_ms < test_from_ms) {
        matrix.values.extend_from_slice(&numbers[index * width..(index + 1) * width]);
        matrix.labels.push(f32::from(u8::from(row.truth)));
    }
    let boost = BoostOptions { seed: options.seed, ..options.boost };
    let text = train(SCORE_ROLE, &names, &matrix, Objective::Binary, &boost)?;
    let bundle = bundle(options, features, text, &rows, matrix.rows());
    let predictor = GbdtPredictor::without_golden(&bundle)?;
    let tested: Vec<(&Row, f64)> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.at_ms >= test_from_ms)
        .filter_map(|(index, row)| {
            let answer = predictor.answer(&numbers[index * width..(index + 1) * width])?;
            Some((row, answer[0]))
        })
        .collect();
    let clean: Vec<(&Row, f64)> = tested.iter().filter(|(row, _)| !row.faulty).copied().collect();
    let mut report = NextDayReport {
        train_rows: matrix.rows() as u64,
        test_from_ms,
        features: names,
        all: score(&tested),
        without_faults: (clean.len() < tested.len()).then(|| score(&clean)),
        bundle,
    };
    report.bundle.manifest.data.test_rows = report.all.rows;
    report.bundle.manifest.metrics = serde_json::json!({ "all": report.all, "without_faults": report.without_faults });
    report.bundle.manifest.golden = numbers.chunks_exact(width).step_by(rows.len().div_ceil(16)).map(|row| predictor.golden(row)).collect();
    Ok(report)
}

fn labelled_rows(batches: &[RecordBatch], options: &NextDayOptions) -> Result<Vec<Row>, TrainError> {
    let series_options = SeriesOptions { full_level: options.full_level, unexplained_fall: f64::INFINITY };
    let mut rows = Vec::new();
    for series in read(batches, series_options)? {
        for candidate in &series.candidates {
            let Some(next) = series.readings.get(series.reading_after(candidate.at_ms)) else {
                continue;
            };
            if (next.at_ms - candidate.at_ms) as f64 > options.next_within_h * HOUR_MS || candidate.silent {
                continue;
            }
            rows.push(Row {
                at_ms: candidate.at_ms,
                until_ms: next.at_ms,
                source: candidate.source,
                level: candidate.level,
                truth: next.level >= options.full_level - 1e-9,
                faulty: candidate.faulty || next.faulty,
            });
        }
    }
    Ok(rows)
}

fn score(rows: &[(&Row, f64)]) -> NextDayScore {
    let model: Vec<(f64, bool)> = rows.iter().map(|(row, score)| (*score, row.truth)).collect();
    let level: Vec<(f64, bool)> = rows.iter().map(|(row, _)| (row.level, row.truth)).collect();
    NextDayScore {
        rows: rows.len() as u64,
        base_rate: model.iter().filter(|(_, truth)| *truth).count() as f64 / rows.len() as f64,
        auc: auc(&model),
        average_precision: average_precision(&model),
        brier: brier(&model),
        auc_level: auc(&level),
        average_precision_level: average_precision(&level),
    }
}

fn bundle(options: &NextDayOptions, features: Vec<FeatureSpec>, text: String, rows: &[Row], trained: usize) -> Bundle {
    let decoder = Decoder::Score { column: "p_full_next_day".to_owned(), calibration: Calibration::default() };
    let name = "full-next-day".to_owned();
    let texts = BTreeMap::from([(SCORE_ROLE.to_owned(), text)]);
    let models = texts.iter().map(|(role, text)| (role.clone(), ModelFile { file: format!("{role}.txt"), checksum: checksum(text) })).collect();
    let manifest = Manifest {
        format: FORMAT,
        version: version(&name, &features, &decoder, &texts),
        name,
        trained_at_ms: options.trained_at_ms,
        seed: options.seed,
        feature_hash: feature_hash(&features),
        features,
        data: DataRange {
            from_ms: rows.iter().map(|row| row.at_ms).min().unwrap_or(0),
            to_ms: rows.iter().map(|row| row.until_ms).max().unwrap_or(0),
            train_rows: trained as u64,
            ..DataRange::default()
        },
        domain: vec![DomainRange { column: "filling_level".to_owned(), min: 0.0, max: 1.2, missing_ok: false }],
        decoder,
        models,
        metrics: serde_json::Value::Null,
        golden: Vec::new(),
    };
    Bundle { manifest, texts }
}
