//! Training of the fill forecast. Three boosters learn quantiles of the *mean fill rate until full* over a horizon
//! that is itself a feature; levels, hours to full and the overflow probability follow from the same path. Interval
//! ends are adjusted per horizon and the probability is calibrated on a later part of the history, and the figures
//! come from a part later still. Why this shape: see `docs/models.md`.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, RecordBatch, StringArray};
use ws_inference::fill::{HORIZONS_H, LEVEL};
use ws_inference::gbdt::FILL_ROLES;
use ws_inference::manifest::{Bundle, DataRange, DomainRange, Horizon, rounded};
use ws_inference::path::Calibration;
use ws_inference::{FeatureKind, FeatureSpec, GbdtPredictor};

use crate::TrainError;
use crate::assemble::{Draft, calibrate, golden, labelled};
use crate::boost::{BoostOptions, Matrix, Objective, train};
use crate::evaluate::{Baseline, Evaluation, judge};
use crate::labels::Outcome;
use crate::leak::{Probe, check_columns, check_times};
use crate::questions::{AskOptions, Questions, ask, values};
use crate::split::{Part, Split};

/// Columns that the fill model takes where they exist. Left out on purpose: ids and positions (they would be learned
/// by heart), `hours_to_visit` (it tells when a row is censored, not how fast a container fills) and health flags.
pub const FILL_FEATURES: [&str; 23] = [
    LEVEL,
    "rate_6h_per_h",
    "rate_24h_per_h",
    "rate_72h_per_h",
    "rate_7d_per_h",
    "rate_since_emptied_per_h",
    "hours_since_emptied",
    "readings_24h",
    "level_min_24h",
    "level_max_24h",
    "silent_h",
    "temperature_degc",
    "hour_of_day",
    "day_of_week",
    "capacity_l",
    "waste_stream",
    "report_interval_s",
    "level_lag_1d",
    "level_mean_28d",
    "increment_mean_28d",
    "full_share_28d",
    "empty_share_90d",
    "level_mean_next_weekday_90d",
];
/// Name of the horizon among the trees' features.
const HORIZON: &str = "horizon_h";
/// A horizon is learned from at least this many training examples.
const LEAST_TRAIN: usize = 200;
/// A horizon is learned if at least this many calibration examples can check it.
const LEAST_CALIBRATION: usize = 50;

/// How to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Name of the model.
    pub name: String,
    /// Seed of sampling and boosting.
    pub seed: u64,
    /// Written into the manifest, UTC ms.
    pub trained_at_ms: i64,
    /// The level that counts as full.
    pub full_level: f64,
    /// Horizons to learn, ascending, hours; those the history is too short for are carried on from shorter ones.
    pub horizons_h: Vec<f64>,
    /// Examples at most; more rows are sampled.
    pub max_examples: usize,
    /// Share of the history to train on.
    pub train_share: f64,
    /// Share of the history to calibrate on; the rest is the test.
    pub calibration_share: f64,
    /// Columns to use besides [`FILL_FEATURES`].
    pub extra_features: Vec<String>,
    /// Sizes of the trees; its seed is replaced by `seed`.
    pub boost: BoostOptions,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            name: "fill-forecast".to_owned(),
            seed: 1,
            trained_at_ms: 0,
            full_level: 1.0,
            horizons_h: vec![6.0, 12.0, 24.0, 48.0, 96.0, 168.0],
            max_examples: 24_000,
            train_share: 0.6,
            calibration_share: 0.2,
            extra_features: Vec::new(),
            boost: BoostOptions { trees: 80, leaves: 24, learning_rate: 0.1, least_leaf_rows: 40, feature_share: 0.8, row_share: 0.8, l2: 1.0, seed: 0 },
        }
    }
}

/// A trained model with its account.
#[derive(Clone, Debug)]
pub struct TrainedModel {
    /// What is stored.
    pub bundle: Bundle,
    /// Figures on the test part.
    pub evaluation: Evaluation,
}

impl TrainedModel {
    /// Writes the bundle into a folder; [`ws_inference::ModelStore::save`] keeps versions.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&self, folder: &std::path::Path) -> Result<(), TrainError> {
        Ok(self.bundle.write(folder)?)
    }

    /// The predictor, as serving would load it.
    ///
    /// # Errors
    /// When the bundle does not answer its golden rows, which would be a bug.
    pub fn predictor(&self) -> Result<GbdtPredictor, TrainError> {
        Ok(GbdtPredictor::new(&self.bundle)?)
    }
}

/// Trains a fill forecast from rows of `bin.features`.
///
/// # Errors
/// When columns are missing, the history is too short, a feature knows the future, or LightGBM fails.
pub fn train_fill(batches: &[RecordBatch], options: &TrainOptions) -> Result<TrainedModel, TrainError> {
    check_times(batches)?;
    let questions = ask(
        batches,
        &AskOptions {
            horizons_h: options.horizons_h.clone(),
            full_level: options.full_level,
            max_examples: options.max_examples,
            seed: options.seed,
            from_ms: i64::MIN,
        },
    )?;
    let (from_ms, to_ms) = questions.range_ms;
    let split = Split::by_share(from_ms, to_ms, options.train_share, options.calibration_share);
    let learned: Vec<usize> = (0..options.horizons_h.len())
        .filter(|horizon| {
            labelled(&questions, *horizon, &split, Part::Train).count() >= LEAST_TRAIN
                && labelled(&questions, *horizon, &split, Part::Calibration).count() >= LEAST_CALIBRATION
        })
        .collect();
    let Some(longest) = learned.last() else {
        return Err(TrainError::TooLittle {
            message: format!(
                "{} examples of {} rows give no horizon {LEAST_TRAIN} labels to train and {LEAST_CALIBRATION} to calibrate",
                questions.examples.len(),
                questions.rows
            ),
            hint: "give it a longer history; the shortest horizon needs about five times its length",
        });
    };
    let features = specs(batches, &options.extra_features);
    let sources: Vec<_> = questions.examples.iter().map(|example| example.row.source).collect();
    let numbers = values(batches, &sources, &features, false)?;
    check_leaks(&questions, &features, &numbers)?;

    let matrix = matrix(&questions, &learned, &split, &numbers, features.len());
    let mut names: Vec<String> = features.iter().map(|feature| feature.name.clone()).collect();
    names.push(HORIZON.to_owned());
    let boost = BoostOptions { seed: options.seed, ..options.boost };
    let mut texts = BTreeMap::new();
    for (role, alpha) in FILL_ROLES.into_iter().zip([0.1, 0.5, 0.9]) {
        texts.insert(role.to_owned(), train(role, &names, &matrix, Objective::Quantile(alpha), &boost)?);
    }

    let trained_to_h = options.horizons_h[*longest];
    let mut asked: Vec<f64> = learned.iter().map(|horizon| options.horizons_h[*horizon]).collect();
    asked.extend(HORIZONS_H.iter().filter(|hours| **hours > trained_to_h));
    asked.sort_by(f64::total_cmp);
    asked.dedup();
    let plain = |hours: &f64| Horizon { hours: *hours, widen_low: 0.0, widen_high: 0.0 };
    let mut draft = Draft {
        options,
        features,
        texts,
        trained_to_h,
        horizons: asked.iter().map(plain).collect(),
        overflow: Calibration::default(),
        data: DataRange { from_ms, to_ms, train_rows: matrix.rows() as u64, calibration_rows: 0, test_rows: 0, series: questions.series },
        domain: domain(&questions, &split, options),
    };
    calibrate(&mut draft, &questions, &learned, &split, &numbers)?;

    let mut bundle = draft.bundle();
    let predictor = GbdtPredictor::without_golden(&bundle)?;
    let baseline = Baseline::of(&questions, |horizon| labelled(&questions, horizon, &split, Part::Train).map(|(_, _, label)| label.value).collect());
    let evaluation = judge(batches, &questions, &predictor, &baseline, split.test_ms)?;
    bundle.manifest.data.test_rows = evaluation.examples;
    bundle.manifest.metrics = serde_json::json!({ "baseline": baseline, "test": evaluation });
    bundle.manifest.golden = golden(batches, &questions, &predictor)?;
    Ok(TrainedModel { bundle, evaluation })
}

/// The features that exist, categories collected from the data.
fn specs(batches: &[RecordBatch], extra: &[String]) -> Vec<FeatureSpec> {
    let Some(first) = batches.first() else {
        return Vec::new();
    };
    let schema = first.schema();
    let wanted = FILL_FEATURES.into_iter().chain(extra.iter().map(String::as_str));
    let mut specs: Vec<FeatureSpec> = Vec::new();
    for name in wanted {
        let Some(kind) = schema.field_with_name(name).ok().and_then(|f| FeatureSpec::kind_of(f.data_type())) else {
            continue;
        };
        if specs.iter().any(|spec| spec.name == name) {
            continue;
        }
        let categories = if kind == FeatureKind::Category { categories(batches, name) } else { Vec::new() };
        specs.push(FeatureSpec { name: name.to_owned(), kind, categories });
    }
    specs
}

fn categories(batches: &[RecordBatch], name: &str) -> Vec<String> {
    let mut known = BTreeSet::new();
    for batch in batches {
        let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<StringArray>());
        known.extend(column.into_iter().flat_map(|column| column.iter().flatten()).map(str::to_owned));
    }
    known.into_iter().collect()
}

fn check_leaks(questions: &Questions, features: &[FeatureSpec], numbers: &[f64]) -> Result<(), TrainError> {
    // The horizon nearest to a day: over a whole one the time of day cancels out.
    let nearest = (0..questions.horizons_h.len()).filter(|horizon| questions.counts[*horizon].labelled > 0).min_by(|a, b| {
        let distance = |horizon: &usize| (questions.horizons_h[*horizon] - 24.0).abs();
        distance(a).total_cmp(&distance(b))
    });
    let Some(horizon) = nearest else {
        return Ok(());
    };
    let future = questions.examples.iter().map(|example| match example.rates[horizon] {
        Outcome::Labelled(label) if !label.faulty && !example.row.faulty => label.value,
        _ => f64::NAN,
    });
    check_columns(&Probe {
        names: features.iter().map(|feature| feature.name.as_str()).collect(),
        values: numbers,
        levels: questions.examples.iter().map(|example| example.row.level).collect(),
        future: future.collect(),
        past: questions.examples.iter().map(|example| example.past_24h).collect(),
    })
}

fn matrix(questions: &Questions, learned: &[usize], split: &Split, numbers: &[f64], width: usize) -> Matrix {
    let mut matrix = Matrix { width: width + 1, ..Matrix::default() };
    for horizon in learned {
        let hours = questions.horizons_h[*horizon];
        for (index, _, label) in labelled(questions, *horizon, split, Part::Train) {
            matrix.values.extend_from_slice(&numbers[index * width..(index + 1) * width]);
            matrix.values.push(hours);
            matrix.labels.push(label.value as f32);
            // Pinball loss of a rate times the horizon is pinball loss of the increment, which is what counts.
            matrix.weights.push((hours / 24.0) as f32);
        }
    }
    matrix
}

fn domain(questions: &Questions, split: &Split, options: &TrainOptions) -> Vec<DomainRange> {
    let mut ranges = vec![DomainRange { column: LEVEL.to_owned(), min: 0.0, max: options.full_level.max(1.2), missing_ok: false }];
    let intervals = questions
        .examples
        .iter()
        .filter(|example| example.row.at_ms < split.calibration_ms)
        .map(|example| example.row.report_interval_h * 3600.0)
        .filter(|seconds| seconds.is_finite());
    let (min, max) = intervals.fold((f64::INFINITY, 0.0f64), |(min, max), s| (min.min(s), max.max(s)));
    if max > 0.0 {
        // A model of quarter-hourly sensors knows nothing of daily ones.
        let column = "report_interval_s".to_owned();
        ranges.push(DomainRange { column, min: rounded(min / 2.0), max: rounded(max * 2.0), missing_ok: true });
    }
    ranges
}
