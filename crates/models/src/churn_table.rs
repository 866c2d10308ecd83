//! Churn on a table of customers, judged by cross-validation: what gradient boosting is worth beside a dummy and a known
//! floor, and whether its probabilities need calibration. For public data sets that stand in for a city's customers;
//! whoever quotes the figures says so.
//!
//! Nothing is resampled. Sizes of the trees and the calibration are chosen anew inside every training part, by an
//! inner cross-validation: the figures contain the cost of choosing.

use serde::Serialize;
use ws_inference::path::Calibration;
use ws_inference::tree::TreeModel;

use crate::TrainError;
use crate::boost::{BoostOptions, Matrix, Objective, train};
use crate::calibrate::isotonic;
use crate::folds::stratified;
use crate::metrics::{auc, brier, calibration_error, lift, log_loss, mean};
use crate::platt::platt;
use crate::table::Table;

/// How to judge.
#[derive(Clone, Debug)]
pub struct ChurnTableOptions {
    /// Folds.
    pub folds: usize,
    /// Folds of the inner choice.
    pub inner_folds: usize,
    /// Whole cross-validations with other folds: tells what chance does.
    pub repeats: usize,
    /// Seed.
    pub seed: u64,
    /// Sizes of trees to choose from.
    pub candidates: Vec<BoostOptions>,
}

impl Default for ChurnTableOptions {
    fn default() -> Self {
        Self { folds: 5, inner_folds: 4, repeats: 3, seed: 1, candidates: shallow() }
    }
}

/// Small trees with strong shrinkage: a few thousand rows with mostly additive effects carry no more.
pub fn shallow() -> Vec<BoostOptions> {
    let of = |leaves, trees, learning_rate, feature_share, row_share, least_leaf_rows, l2| BoostOptions {
        trees,
        leaves,
        learning_rate,
        least_leaf_rows,
        feature_share,
        row_share,
        l2,
        seed: 0,
    };
    vec![of(2, 400, 0.1, 0.3, 0.8, 30, 5.0), of(4, 700, 0.02, 0.3, 0.5, 20, 10.0), of(6, 400, 0.02, 0.3, 0.7, 60, 10.0), of(8, 300, 0.03, 0.5, 0.8, 40, 5.0)]
}

/// Scores of out-of-fold probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RiskScore {
    /// Area under the ROC curve, mean over folds (over all rows where there are no folds).
    pub auc: f64,
    /// Brier score.
    pub brier: f64,
    /// Frequency among the highest tenth of the scores over the frequency overall.
    pub lift_10: f64,
    /// Expected calibration error, ten groups.
    pub calibration_error: f64,
    /// Logarithmic loss.
    pub log_loss: f64,
}

impl RiskScore {
    /// Of `(probability, truth)`.
    pub fn of(pairs: &[(f64, bool)]) -> Self {
        Self { auc: auc(pairs), brier: brier(pairs), lift_10: lift(pairs, 0.1), calibration_error: calibration_error(pairs), log_loss: log_loss(pairs) }
    }
}

impl std::fmt::Display for RiskScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { auc, brier, lift_10, calibration_error, log_loss } = self;
        write!(f, "AUC {auc:.4} Brier {brier:.4} lift@10% {lift_10:.2} ECE {calibration_error:.4} log loss {log_loss:.4}")
    }
}

/// The account.
#[derive(Clone, Debug, Serialize)]
pub struct ChurnTableReport {
    /// Rows.
    pub rows: usize,
    /// Share that left.
    pub base_rate: f64,
    /// Features.
    pub features: usize,
    /// Folds × repeats.
    pub folds: usize,
    /// See `folds`.
    pub repeats: usize,
    /// As chosen inside each training part, mean over repeats.
    pub model: RiskScore,
    /// Smallest and largest AUC and Brier score of a repeat.
    pub auc_range: (f64, f64),
    /// See `auc_range`.
    pub brier_range: (f64, f64),
    /// The same trees with the calibrations that could be chosen: none, isotonic, Platt.
    pub calibrations: Vec<(&'static str, RiskScore)>,
    /// The training part's base rate for everybody.
    pub dummy: RiskScore,
    /// How often each of the candidates was chosen.
    pub chosen: Vec<usize>,
    /// How often each calibration was chosen.
    pub chosen_calibration: Vec<usize>,
}

const CALIBRATIONS: [&str; 3] = ["none", "isotonic", "Platt"];

/// Judges gradient boosting on a table.
///
/// # Errors
/// When there are too few rows, or LightGBM fails.
pub fn judge_churn_table(table: &Table, options: &ChurnTableOptions) -> Result<ChurnTableReport, TrainError> {
    let count = table.labels.len();
    let hits = table.labels.iter().filter(|label| **label).count();
    if hits.min(count - hits) < options.folds * options.inner_folds * 2 {
        let message = format!("{hits} of {count} rows are of one class");
        return Err(TrainError::TooLittle { message, hint: "a cross-validation needs some of each in every fold" });
    }
    let names: Vec<String> = table.features.iter().map(|feature| feature.name.replace(' ', "_")).collect();
    let learner = Learner { table, names, options };
    let mut repeats: Vec<Vec<RiskScore>> = Vec::new();
    let (mut chosen, mut chosen_calibration) = (vec![0; options.candidates.len()], vec![0; CALIBRATIONS.len()]);
    for repeat in 0..options.repeats.max(1) {
        let folds = stratified(&table.labels, options.folds, options.seed.wrapping_add(repeat as u64 * 1_000));
        // Chosen calibration, then each calibration, then the dummy.
        let mut said: Vec<Vec<(f64, bool)>> = vec![Vec::new(); CALIBRATIONS.len() + 2];
        let mut aucs: Vec<Vec<f64>> = vec![Vec::new(); said.len()];
        for fold in 0..options.folds {
            let inside: Vec<usize> = (0..count).filter(|row| folds[*row] != fold).collect();
            let outside: Vec<usize> = (0..count).filter(|row| folds[*row] == fold).collect();
            let fitted = learner.fit(&inside, options.seed + fold as u64)?;
            chosen[fitted.candidate] += 1;
            chosen_calibration[fitted.calibration] += 1;
            let base = inside.iter().filter(|row| table.labels[**row]).count() as f64 / inside.len() as f64;
            let mut here: Vec<Vec<(f64, bool)>> = vec![Vec::new(); said.len()];
            for row in outside {
                let (raw, truth) = (fitted.trees.predict(table.row(row)), table.labels[row]);
                here[0].push((fitted.calibrations[fitted.calibration].apply(raw), truth));
                for (at, calibration) in fitted.calibrations.iter().enumerate() {
                    here[at + 1].push((calibration.apply(raw), truth));
                }
                here[CALIBRATIONS.len() + 1].push((base, truth));
            }
            for (at, pairs) in here.into_iter().enumerate() {
                aucs[at].push(auc(&pairs));
                said[at].extend(pairs);
            }
        }
        let scores = said.iter().zip(&aucs).map(|(pairs, aucs)| RiskScore { auc: mean(aucs.iter().copied()), ..RiskScore::of(pairs) });
        repeats.push(scores.collect());
    }
    let average = |at: usize| {
        let of = |f: fn(&RiskScore) -> f64| mean(repeats.iter().map(|scores| f(&scores[at])));
        RiskScore {
            auc: of(|s| s.auc),
            brier: of(|s| s.brier),
            lift_10: of(|s| s.lift_10),
            calibration_error: of(|s| s.calibration_error),
            log_loss: of(|s| s.log_loss),
        }
    };
    let range = |f: fn(&RiskScore) -> f64| {
        let all = repeats.iter().map(|scores| f(&scores[0]));
        (all.clone().fold(f64::INFINITY, f64::min), all.fold(f64::NEG_INFINITY, f64::max))
    };
    Ok(ChurnTableReport {
        rows: count,
        base_rate: hits as f64 / count as f64,
        features: table.features.len(),
        folds: options.folds,
        repeats: repeats.len(),
        model: average(0),
        auc_range: range(|score| score.auc),
        brier_range: range(|score| score.brier),
        calibrations: CALIBRATIONS.iter().enumerate().map(|(at, name)| (*name, average(at + 1))).collect(),
        dummy: average(CALIBRATIONS.len() + 1),
        chosen,
        chosen_calibration,
    })
}

/// Probabilities with what came.
pub(crate) type Said = Vec<(f64, bool)>;

struct Fitted {
    trees: TreeModel,
    candidate: usize,
    calibration: usize,
    /// In the order of [`CALIBRATIONS`].
    calibrations: [Calibration; 3],
}

struct Learner<'a> {
    table: &'a Table,
    names: Vec<String>,
    options: &'a ChurnTableOptions,
}

impl Learner<'_> {
    /// Chooses sizes and calibration on these rows alone, then grows the trees on all of them.
    fn fit(&self, rows: &[usize], seed: u64) -> Result<Fitted, TrainError> {
        let labels: Vec<bool> = rows.iter().map(|row| self.table.labels[*row]).collect();
        let folds = stratified(&labels, self.options.inner_folds, seed.wrapping_add(77));
        let mut best: Option<(f64, usize, Said)> = None;
        for (candidate, sizes) in self.options.candidates.iter().enumerate() {
            let mut said = vec![(0.0, false); rows.len()];
            for fold in 0..self.options.inner_folds {
                let inside: Vec<usize> = (0..rows.len()).filter(|at| folds[*at] != fold).map(|at| rows[at]).collect();
                let trees = self.grow(&inside, sizes, seed)?;
                for at in (0..rows.len()).filter(|at| folds[*at] == fold) {
                    said[at] = (trees.predict(self.table.row(rows[at])), labels[at]);
                }
            }
            let loss = log_loss(&said);
            if best.as_ref().is_none_or(|(least, ..)| loss < *least) {
                best = Some((loss, candidate, said));
            }
        }
        let Some((_, candidate, said)) = best else {
            return Err(TrainError::TooLittle { message: "no sizes of trees to choose from".to_owned(), hint: "name at least one" });
        };
        let calibrations = [Calibration::default(), isotonic(&said), platt(&said)];
        Ok(Fitted { trees: self.grow(rows, &self.options.candidates[candidate], seed)?, candidate, calibration: choose_calibration(&said, seed), calibrations })
    }

    fn grow(&self, rows: &[usize], sizes: &BoostOptions, seed: u64) -> Result<TreeModel, TrainError> {
        let mut matrix = Matrix { width: self.names.len(), ..Matrix::default() };
        for row in rows {
            matrix.values.extend_from_slice(self.table.row(*row));
            matrix.labels.push(f32::from(u8::from(self.table.labels[*row])));
        }
        let text = train("score", &self.names, &matrix, Objective::Binary, &BoostOptions { seed, ..*sizes })?;
        Ok(TreeModel::parse(&text)?)
    }
}

/// The calibration (index into none, isotonic, Platt) with the least loss when fitted on one half of the out-of-fold
/// scores and judged on the other. None unless another one is clearly better: a curve that is not needed adds noise.
pub(crate) fn choose_calibration(said: &[(f64, bool)], seed: u64) -> usize {
    let labels: Vec<bool> = said.iter().map(|(_, truth)| *truth).collect();
    let halves = stratified(&labels, 2, seed.wrapping_add(5));
    let mut losses = [0.0; 3];
    for half in 0..2 {
        let part = |wanted: bool| -> Vec<(f64, bool)> { said.iter().zip(&halves).filter(|(_, of)| (**of == half) == wanted).map(|(pair, _)| *pair).collect() };
        let (fitting, judging) = (part(true), part(false));
        for (loss, calibration) in losses.iter_mut().zip([Calibration::default(), isotonic(&fitting), platt(&fitting)]) {
            *loss += log_loss(&judging.iter().map(|(raw, truth)| (calibration.apply(*raw), *truth)).collect::<Vec<_>>());
        }
    }
    let best = if losses[1] < losses[2] { 1 } else { 2 };
    if losses[best] < losses[0] * 0.995 { best } else { 0 }
}

impl std::fmt::Display for ChurnTableReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} rows, {:.1} % left, {} features; {}-fold cross-validation, {} times, nothing resampled",
            self.rows,
            100.0 * self.base_rate,
            self.features,
            self.folds,
            self.repeats
        )?;
        writeln!(f, "  model      {}", self.model)?;
        writeln!(
            f,
            "             AUC {:.4} to {:.4}, Brier {:.4} to {:.4} from repeat to repeat",
            self.auc_range.0, self.auc_range.1, self.brier_range.0, self.brier_range.1
        )?;
        writeln!(f, "  dummy      {}", self.dummy)?;
        writeln!(f, "calibration of the same trees (chosen within each training part: {:?} of none, isotonic, Platt)", self.chosen_calibration)?;
        for (name, score) in &self.calibrations {
            writeln!(f, "  {name:<10} {score}")?;
        }
        writeln!(f, "sizes of trees, how often chosen: {:?}", self.chosen)
    }
}
