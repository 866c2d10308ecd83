//! Training of a risk: gradient boosting on labelled rows, sizes chosen by cross-validation over subjects within the
//! training part, calibration on the scores that the same cross-validation gave, figures from a later part, beside the
//! rule, a dummy and (where the city is simulated) what its own hazard says.
//!
//! Why not a calibration part in between, as for fill forecasts? A horizon of months would leave nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, RecordBatch, StringArray};
use serde::Serialize;
use ws_inference::features::feature_hash;
use ws_inference::gbdt::{LIFE_ROLES, SCORE_ROLE};
use ws_inference::manifest::{Bundle, DataRange, Decoder, FORMAT, Life, Manifest, ModelFile, checksum};
use ws_inference::path::Calibration;
use ws_inference::risk_rule::MOST_DRIVERS;
use ws_inference::tree::TreeModel;
use ws_inference::{FeatureKind, FeatureSpec, GbdtPredictor, RiskRule};

use crate::TrainError;
use crate::assemble::version;
use crate::boost::{BoostOptions, Matrix, Objective, train};
use crate::calibrate::{conformal, isotonic};
use crate::churn_table::{RiskScore, Said, choose_calibration};
use crate::folds::grouped;
use crate::metrics::{log_loss, mean, quantile};
use crate::platt::platt;
use crate::questions::values;
use crate::risk_facts::RiskCounts;
use crate::risk_leak::check_label_leaks;
use crate::series::RowRef;
use crate::split::{Part, Split};

/// Sizes of the trees of a remaining life. Smaller leaves than a risk's: few rows are near their end, and they are the ones
/// that matter.
const LIFE_SIZES: BoostOptions =
    BoostOptions { trees: 150, leaves: 15, learning_rate: 0.05, least_leaf_rows: 20, feature_share: 0.6, row_share: 0.7, l2: 1.0, seed: 0 };

/// Few, small, slow trees with large leaves: a subject's rows repeat each other, so there is less to learn than there are
/// rows, and what tells subjects apart (a tenure, a fee) would be learned by heart.
pub fn cautious() -> Vec<BoostOptions> {
    let of = |leaves, trees, learning_rate, least_leaf_rows| BoostOptions {
        trees,
        leaves,
        learning_rate,
        least_leaf_rows,
        feature_share: 0.4,
        row_share: 0.5,
        l2: 20.0,
        seed: 0,
    };
    vec![of(2, 150, 0.06, 200), of(4, 120, 0.05, 200), of(4, 300, 0.03, 100), of(8, 200, 0.03, 80)]
}

/// A labelled row.
#[derive(Clone, Debug)]
pub struct RiskExample {
    /// Customer, or vehicle and part.
    pub subject: String,
    /// Event time of the row, UTC ms.
    pub at_ms: i64,
    /// End of the horizon, UTC ms: which part of the history it belongs to must not depend on its label.
    pub until_ms: i64,
    /// Whether it came.
    pub came: bool,
    /// What was left of the life, where it is known; from the cap on it may be a lower bound. Not cut: all labels alike
    /// would give the trees of a quantile nothing to split by.
    pub life: Option<f64>,
    /// The best that can be known, in a simulated city.
    pub truth: Option<f64>,
    /// Where its features are.
    pub source: RowRef,
}

/// How to train.
#[derive(Clone, Debug)]
pub struct RiskOptions {
    /// Name of the model.
    pub name: &'static str,
    /// Horizon of the labels, days.
    pub horizon_days: i64,
    /// Columns to learn from; those that are absent are left out.
    pub features: Vec<String>,
    /// Lives are cut here; `None`: no life is learned.
    pub life_cap: Option<f64>,
    /// Rows of the first so many days of the history are no examples: their trailing windows are not full.
    pub warm_up_days: i64,
    /// Seed.
    pub seed: u64,
    /// Written into the manifest, UTC ms.
    pub trained_at_ms: i64,
    /// Share of the time range to train on; the rest is the test.
    pub train_share: f64,
    /// Folds over subjects, for sizes and calibration.
    pub folds: usize,
    /// Sizes to choose from.
    pub candidates: Vec<BoostOptions>,
}

impl RiskOptions {
    /// Defaults for a model.
    pub fn new(name: &'static str, horizon_days: i64, features: &[&str]) -> Self {
        Self {
            name,
            horizon_days,
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            life_cap: None,
            warm_up_days: 0,
            seed: 1,
            trained_at_ms: 0,
            train_share: 0.7,
            folds: 4,
            candidates: cautious(),
        }
    }
}

/// Figures of remaining life on the test part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LifeFigures {
    /// Rows whose life is known.
    pub rows: usize,
    /// Of these: at the cap.
    pub capped: usize,
    /// Mean absolute error of p50.
    pub mae: f64,
    /// The same for the training part's median.
    pub mae_constant: f64,
    /// Both errors on the rows below the cap: the parts that were seen to fail.
    pub mae_failed: (f64, f64),
    /// Share within p10 to p90.
    pub coverage: f64,
}

/// The account.
#[derive(Clone, Debug, Serialize)]
pub struct RiskReport {
    /// Version of the model.
    pub model_version: String,
    /// How the questions ended.
    pub counts: RiskCounts,
    /// Rows to train on and to test on.
    pub rows: [usize; 2],
    /// Of the test rows: it came.
    pub came: usize,
    /// Features used.
    pub features: Vec<String>,
    /// Log loss of each candidate in the cross-validation over subjects; the least was taken.
    pub tried: Vec<f64>,
    /// Calibration: none, isotonic or Platt.
    pub calibration: &'static str,
    /// On the test rows.
    pub model: RiskScore,
    /// Without calibration.
    pub uncalibrated: RiskScore,
    /// The rule.
    pub rule: RiskScore,
    /// The training part's base rate for every row.
    pub dummy: RiskScore,
    /// The simulated city's own hazard, where it is known.
    pub truth: Option<RiskScore>,
    /// Remaining life.
    pub life: Option<LifeFigures>,
    /// How often a feature was the strongest driver among the tenth of the test rows at most risk.
    pub strongest: Vec<(String, usize)>,
}

/// A model with its account.
#[derive(Clone, Debug)]
pub struct TrainedRisk {
    /// What is stored.
    pub bundle: Bundle,
    /// Figures.
    pub report: RiskReport,
}

/// Trains and judges. `rule` is the rung below.
///
/// # Errors
/// When there is too little to learn from, a feature knows its label, or LightGBM fails.
pub fn train_risk(
    batches: &[RecordBatch],
    examples: &[RiskExample],
    counts: RiskCounts,
    rule: &RiskRule,
    options: &RiskOptions,
) -> Result<TrainedRisk, TrainError> {
    let (from_ms, to_ms) = (examples.iter().map(|e| e.at_ms).min().unwrap_or(0), examples.iter().map(|e| e.at_ms).max().unwrap_or(0));
    let split = Split::by_share(from_ms, to_ms, options.train_share, 0.0);
    let part =
        |wanted: Part| -> Vec<usize> { (0..examples.len()).filter(|at| split.part(examples[*at].at_ms, examples[*at].until_ms) == Some(wanted)).collect() };
    let (training, testing) = (part(Part::Train), part(Part::Test));
    let came = |rows: &[usize]| rows.iter().filter(|at| examples[**at].came).count();
    if came(&training) < 20 || came(&training) + 20 > training.len() || testing.is_empty() {
        return Err(TrainError::TooLittle {
            message: format!("{} training rows ({} came), {} to test, of {counts}", training.len(), came(&training), testing.len()),
            hint: "give it a longer history: several times the horizon, with at least 20 events in its first part",
        });
    }
    let features = specs(batches, &options.features);
    let sources: Vec<RowRef> = examples.iter().map(|example| example.source).collect();
    let width = features.len();
    let numbers = values(batches, &sources, &features, false)?;
    let names: Vec<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
    let labels: Vec<bool> = examples.iter().map(|example| example.came).collect();
    check_label_leaks(&names, &numbers, &labels)?;
    let learner = Learner { examples, numbers: &numbers, names: names.iter().map(|name| (*name).to_owned()).collect(), seed: options.seed };

    let groups: Vec<&str> = training.iter().map(|at| examples[*at].subject.as_str()).collect();
    let folds = grouped(&groups, options.folds, options.seed);
    let held_out = |role: &str, objective: Objective, sizes: &BoostOptions| learner.held_out(role, &training, &folds, options.folds, objective, sizes);
    let (mut tried, mut best): (Vec<f64>, Option<(usize, Said)>) = (Vec::new(), None);
    for (candidate, sizes) in options.candidates.iter().enumerate() {
        let scores = held_out(SCORE_ROLE, Objective::Binary, sizes)?;
        let said: Said = training.iter().zip(scores).map(|(at, score)| (score, examples[*at].came)).collect();
        let loss = log_loss(&said);
        if tried.iter().all(|other| loss < *other) {
            best = Some((candidate, said));
        }
        tried.push(loss);
    }
    let Some((best, said)) = best else {
        return Err(TrainError::TooLittle { message: "no sizes of trees to choose from".to_owned(), hint: "name at least one" });
    };
    let sizes = &options.candidates[best];
    let mut texts = BTreeMap::new();
    texts.insert(SCORE_ROLE.to_owned(), learner.grow(SCORE_ROLE, &training, Objective::Binary, sizes)?);
    let chosen = choose_calibration(&said, options.seed);
    let calibration = match chosen {
        1 => isotonic(&said),
        2 => platt(&said),
        _ => Calibration::default(),
    };
    let mut life = None;
    if let Some(cap) = options.life_cap {
        let known: Vec<usize> = (0..training.len()).filter(|at| examples[training[*at]].life.is_some()).collect();
        if known.len() >= 200 {
            let rows: Vec<usize> = known.iter().map(|at| training[*at]).collect();
            let of: Vec<usize> = known.iter().map(|at| folds[*at]).collect();
            let mut said: Vec<Vec<f64>> = Vec::new();
            for (role, alpha) in LIFE_ROLES.into_iter().zip([0.1, 0.5, 0.9]) {
                said.push(learner.held_out(role, &rows, &of, options.folds, Objective::Quantile(alpha), &LIFE_SIZES)?);
                texts.insert(role.to_owned(), learner.grow(role, &rows, Objective::Quantile(alpha), &LIFE_SIZES)?);
            }
            let intervals: Vec<_> = rows
                .iter()
                .enumerate()
                .filter_map(|(at, row)| {
                    let mut quantiles = [said[0][at], said[1][at], said[2][at]];
                    quantiles.sort_by(f64::total_cmp);
                    Some((quantiles.map(|value| value.min(cap)), examples[*row].life?.min(cap)))
                })
                .collect();
            let fitted = conformal(0.0, &intervals);
            life = Some(Life { cap, widen_low: fitted.widen_low, widen_high: fitted.widen_high });
        }
    }
    let draft = Draft { options, features: features.clone(), texts, calibration, life, range: (from_ms, to_ms) };

    let mut bundle = draft.bundle([training.len(), testing.len()]);
    let predictor = GbdtPredictor::without_golden(&bundle)?;
    let said: Vec<(f64, bool)> =
        testing.iter().map(|at| (predictor.answer(learner.row(*at)).map_or(f64::NAN, |answer| answer[0]), examples[*at].came)).collect();
    let rule_rows = values(batches, &testing.iter().map(|at| examples[*at].source).collect::<Vec<_>>(), rule.specs(), true)?;
    let rule_said: Vec<(f64, bool)> =
        rule_rows.chunks_exact(rule.specs().len()).zip(&testing).map(|(row, at)| (rule.answer(row).risk, examples[*at].came)).collect();
    let base = came(&training) as f64 / training.len() as f64;
    // Who appeared on that very day has no truth of its morning.
    let truth: Vec<(f64, bool)> = testing.iter().filter_map(|at| Some((examples[*at].truth?, examples[*at].came))).collect();
    let report = RiskReport {
        model_version: bundle.manifest.version.clone(),
        counts,
        rows: [training.len(), testing.len()],
        came: came(&testing),
        features: learner.names.clone(),
        tried,
        calibration: ["none", "isotonic", "Platt"][chosen],
        model: RiskScore::of(&said),
        uncalibrated: RiskScore::of(&testing.iter().map(|at| (predictor.raw_score(learner.row(*at)), examples[*at].came)).collect::<Vec<_>>()),
        rule: RiskScore::of(&rule_said),
        dummy: RiskScore::of(&testing.iter().map(|at| (base, examples[*at].came)).collect::<Vec<_>>()),
        truth: (truth.len() * 10 >= testing.len() * 9).then(|| RiskScore::of(&truth)),
        life: life.map(|_| life_figures(&predictor, &learner, &training, &testing, options.life_cap.unwrap_or(f64::INFINITY))),
        strongest: strongest(&predictor, &learner, &testing, &said),
    };
    bundle.manifest.metrics = serde_json::to_value(&report).unwrap_or_default();
    let step = examples.len().div_ceil(16).max(1);
    bundle.manifest.golden = numbers.chunks_exact(width.max(1)).step_by(step).map(|row| predictor.golden(row)).collect();
    Ok(TrainedRisk { bundle, report })
}

struct Learner<'a> {
    examples: &'a [RiskExample],
    numbers: &'a [f64],
    names: Vec<String>,
    seed: u64,
}

impl Learner<'_> {
    fn row(&self, at: usize) -> &[f64] {
        let width = self.names.len();
        &self.numbers[at * width..(at + 1) * width]
    }

    fn grow(&self, role: &str, rows: &[usize], objective: Objective, sizes: &BoostOptions) -> Result<String, TrainError> {
        let mut matrix = Matrix { width: self.names.len(), ..Matrix::default() };
        for at in rows {
            matrix.values.extend_from_slice(self.row(*at));
            let example = &self.examples[*at];
            matrix.labels.push(match objective {
                Objective::Binary => f32::from(u8::from(example.came)),
                Objective::Quantile(_) | Objective::Regression => example.life.unwrap_or_default() as f32,
            });
        }
        train(role, &self.names, &matrix, objective, &BoostOptions { seed: self.seed, ..*sizes })
    }
}

impl Learner<'_> {
    /// What each of `rows` is told by trees that did not see its subject.
    fn held_out(&self, role: &str, rows: &[usize], folds: &[usize], count: usize, objective: Objective, sizes: &BoostOptions) -> Result<Vec<f64>, TrainError> {
        let mut said = vec![f64::NAN; rows.len()];
        for fold in 0..count {
            let inside: Vec<usize> = rows.iter().zip(folds).filter(|(_, of)| **of != fold).map(|(at, _)| *at).collect();
            let trees = TreeModel::parse(&self.grow(role, &inside, objective, sizes)?)?;
            for (at, row) in rows.iter().enumerate().filter(|(at, _)| folds[*at] == fold) {
                said[at] = trees.predict(self.row(*row));
            }
        }
        Ok(said)
    }
}

struct Draft<'a> {
    options: &'a RiskOptions,
    features: Vec<FeatureSpec>,
    texts: BTreeMap<String, String>,
    calibration: Calibration,
    life: Option<Life>,
    range: (i64, i64),
}

impl Draft<'_> {
    fn bundle(&self, rows: [usize; 2]) -> Bundle {
        let decoder = Decoder::Risk { horizon_days: self.options.horizon_days, calibration: self.calibration.clone(), life: self.life, drivers: MOST_DRIVERS };
        let models = self.texts.iter().map(|(role, text)| (role.clone(), ModelFile { file: format!("{role}.txt"), checksum: checksum(text) })).collect();
        let manifest = Manifest {
            format: FORMAT,
            name: self.options.name.to_owned(),
            version: version(self.options.name, &self.features, &decoder, &self.texts),
            trained_at_ms: self.options.trained_at_ms,
            seed: self.options.seed,
            feature_hash: feature_hash(&self.features),
            features: self.features.clone(),
            data: DataRange {
                from_ms: self.range.0,
                to_ms: self.range.1,
                train_rows: rows[0] as u64,
                calibration_rows: rows[0] as u64,
                test_rows: rows[1] as u64,
                series: 0,
            },
            domain: Vec::new(),
            decoder,
            models,
            metrics: serde_json::Value::Null,
            golden: Vec::new(),
        };
        Bundle { manifest, texts: self.texts.clone() }
    }
}

/// The features that exist, categories collected from the data.
fn specs(batches: &[RecordBatch], wanted: &[String]) -> Vec<FeatureSpec> {
    let Some(schema) = batches.first().map(RecordBatch::schema) else {
        return Vec::new();
    };
    let of = |name: &String| {
        let kind = FeatureSpec::kind_of(schema.field_with_name(name).ok()?.data_type())?;
        let mut known = BTreeSet::new();
        if kind == FeatureKind::Category {
            for batch in batches {
                let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<StringArray>());
                known.extend(column.into_iter().flat_map(|column| column.iter().flatten()).map(str::to_owned));
            }
        }
        Some(FeatureSpec { name: name.clone(), kind, categories: known.into_iter().collect() })
    };
    wanted.iter().filter_map(of).collect()
}

fn life_figures(predictor: &GbdtPredictor, learner: &Learner<'_>, training: &[usize], testing: &[usize], cap: f64) -> LifeFigures {
    let mut lives: Vec<f64> = training.iter().filter_map(|at| learner.examples[*at].life).map(|life| life.min(cap)).collect();
    let median = quantile(&mut lives, 0.5);
    let rows: Vec<([f64; 3], f64)> =
        testing.iter().filter_map(|at| Some((predictor.remaining_life(learner.row(*at))?, learner.examples[*at].life?.min(cap)))).collect();
    LifeFigures {
        rows: rows.len(),
        capped: rows.iter().filter(|(_, life)| *life >= cap).count(),
        mae: mean(rows.iter().map(|(said, life)| (said[1] - life).abs())),
        mae_constant: mean(rows.iter().map(|(_, life)| (median - life).abs())),
        mae_failed: {
            let failed = || rows.iter().filter(|(_, life)| *life < cap);
            (mean(failed().map(|(said, life)| (said[1] - life).abs())), mean(failed().map(|(_, life)| (median - life).abs())))
        },
        coverage: mean(rows.iter().map(|(said, life)| f64::from(u8::from(said[0] <= *life && *life <= said[2])))),
    }
}

fn strongest(predictor: &GbdtPredictor, learner: &Learner<'_>, testing: &[usize], said: &[(f64, bool)]) -> Vec<(String, usize)> {
    let mut order: Vec<usize> = (0..testing.len()).collect();
    order.sort_by(|a, b| said[*b].0.total_cmp(&said[*a].0));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for at in order.into_iter().take(testing.len() / 10 + 1) {
        if let Some(first) = predictor.drivers(learner.row(testing[at]), 1).pop() {
            *counts.entry(first.feature).or_default() += 1;
        }
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
    counts.truncate(6);
    counts
}

impl std::fmt::Display for RiskReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "model {}", self.model_version)?;
        writeln!(f, "{}", self.counts)?;
        writeln!(
            f,
            "{} rows to train on, {} later ones to test ({} came, {:.2} %), {} features; calibration {}",
            self.rows[0],
            self.rows[1],
            self.came,
            100.0 * self.came as f64 / self.rows[1] as f64,
            self.features.len(),
            self.calibration
        )?;
        writeln!(f, "  model      {}", self.model)?;
        writeln!(f, "  uncalibr.  {}", self.uncalibrated)?;
        writeln!(f, "  rule       {}", self.rule)?;
        writeln!(f, "  dummy      {}", self.dummy)?;
        if let Some(truth) = &self.truth {
            writeln!(f, "  truth      {truth} (the simulated hazard of that moment, as if it stayed)")?;
        }
        if let Some(life) = &self.life {
            writeln!(
                f,
                "remaining life, {} rows ({} at the cap): mean absolute error {:.1} h, constant {:.1} h; below the cap {:.1} h, constant {:.1} h; {:.0} % within p10 to p90 (80 % wanted)",
                life.rows,
                life.capped,
                life.mae,
                life.mae_constant,
                life.mae_failed.0,
                life.mae_failed.1,
                100.0 * life.coverage
            )?;
        }
        let strongest: Vec<String> = self.strongest.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(f, "strongest driver of the tenth at most risk: {}", strongest.join(", "))
    }
}
