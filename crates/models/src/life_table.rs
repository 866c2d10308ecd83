//! Remaining life from rows of trailing features, one row per unit and cycle: a regression on a capped life, judged by
//! groups (a unit is never on both sides) while sizes are chosen, and once on a test set whose units were cut off
//! somewhere. For public data sets of machines that run to failure; whoever quotes the figures says what they are.

use serde::Serialize;
use ws_inference::tree::TreeModel;

use crate::TrainError;
use crate::boost::{BoostOptions, Matrix, Objective, train};
use crate::folds::grouped;
use crate::metrics::{mean, nasa_score, rmse};

/// Feature rows of many units, in order of time within each.
#[derive(Clone, Debug, Default)]
pub struct UnitRows {
    /// Names of the features.
    pub names: Vec<String>,
    /// Unit of each row.
    pub units: Vec<String>,
    /// Row-major features, NaN where missing.
    pub values: Vec<f64>,
}

impl UnitRows {
    /// A row's features.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.names.len()..(row + 1) * self.names.len()]
    }

    /// Cycles left after each row when every unit ran to its failure.
    fn left(&self) -> Vec<f64> {
        let mut left = vec![0.0; self.units.len()];
        for row in (0..self.units.len().saturating_sub(1)).rev() {
            left[row] = if self.units[row] == self.units[row + 1] { left[row + 1] + 1.0 } else { 0.0 };
        }
        left
    }

    /// The last row of each unit, in order of appearance.
    fn last_rows(&self) -> Vec<usize> {
        (0..self.units.len()).filter(|row| self.units.get(row + 1) != Some(&self.units[*row])).collect()
    }
}

/// How to learn.
#[derive(Clone, Debug)]
pub struct LifeTableOptions {
    /// Lives are cut here: a new machine does not show how new it is.
    pub cap: f64,
    /// Folds while sizes are chosen.
    pub folds: usize,
    /// Models with other seeds whose mean answers.
    pub members: usize,
    /// Seed.
    pub seed: u64,
    /// Sizes to choose from.
    pub candidates: Vec<BoostOptions>,
    /// Rows earlier in a unit's life are not judged while choosing, as the test set has none.
    pub least_cycles: usize,
}

impl Default for LifeTableOptions {
    fn default() -> Self {
        let of = |leaves, trees, learning_rate, feature_share, least_leaf_rows, l2| BoostOptions {
            trees,
            leaves,
            learning_rate,
            least_leaf_rows,
            feature_share,
            row_share: 0.7,
            l2,
            seed: 0,
        };
        Self {
            cap: 125.0,
            folds: 5,
            members: 3,
            seed: 1,
            candidates: vec![
                of(31, 200, 0.05, 0.4, 40, 5.0),
                of(15, 400, 0.03, 0.2, 100, 10.0),
                of(31, 300, 0.03, 0.2, 100, 10.0),
                of(63, 200, 0.05, 0.3, 40, 5.0),
            ],
            least_cycles: 30,
        }
    }
}

/// Errors of remaining lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LifeScore {
    /// Root mean square error, cycles.
    pub rmse: f64,
    /// NASA's asymmetric score, a sum over the rows.
    pub score: f64,
    /// Rows.
    pub rows: usize,
}

impl LifeScore {
    fn of(pairs: &[(f64, f64)]) -> Self {
        Self { rmse: rmse(pairs), score: nasa_score(pairs), rows: pairs.len() }
    }
}

/// The account.
#[derive(Clone, Debug, Serialize)]
pub struct LifeTableReport {
    /// Units and rows to train on.
    pub train: (usize, usize),
    /// Features.
    pub features: usize,
    /// Root mean square error in the cross-validation on the training units, per candidate.
    pub tried: Vec<f64>,
    /// The candidate chosen by it.
    pub chosen: usize,
    /// On the test units, each cut off somewhere: the model.
    pub test: LifeScore,
    /// The same with the mean capped life of the training rows judged for everybody.
    pub dummy: LifeScore,
    /// Test lives above the cap count as the cap; the model's figures with the lives as they are.
    pub test_uncapped: LifeScore,
}

impl std::fmt::Display for LifeTableReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tried: Vec<String> = self.tried.iter().map(|rmse| format!("{rmse:.2}")).collect();
        writeln!(f, "{} units, {} rows, {} features", self.train.0, self.train.1, self.features)?;
        writeln!(f, "sizes of trees tried on the training units alone, RMSE: {}; the {}. was taken", tried.join(", "), self.chosen + 1)?;
        writeln!(f, "{} test units, life capped:", self.test.rows)?;
        writeln!(f, "  model      RMSE {:.2} score {:.0}", self.test.rmse, self.test.score)?;
        writeln!(f, "  dummy      RMSE {:.2} score {:.0}", self.dummy.rmse, self.dummy.score)?;
        writeln!(f, "  (against uncapped lives: RMSE {:.2} score {:.0})", self.test_uncapped.rmse, self.test_uncapped.score)
    }
}

/// Learns from units that ran to failure and judges on units that were cut off, with what was left of them.
///
/// # Errors
/// When the test's truth does not fit its units, there are too few units, or LightGBM fails.
pub fn judge_life_table(runs: &UnitRows, test: &UnitRows, test_left: &[f64], options: &LifeTableOptions) -> Result<LifeTableReport, TrainError> {
    let ends = test.last_rows();
    let units = runs.last_rows().len();
    if ends.len() != test_left.len() || runs.names != test.names || units < options.folds * 2 {
        return Err(TrainError::TooLittle {
            message: format!("{units} training units, {} test units with {} lives", ends.len(), test_left.len()),
            hint: "one life per test unit, in their order, and the same features",
        });
    }
    let left: Vec<f64> = runs.left();
    let capped: Vec<f64> = left.iter().map(|life| life.min(options.cap)).collect();
    let groups: Vec<&str> = runs.units.iter().map(String::as_str).collect();
    let folds = grouped(&groups, options.folds, options.seed);
    let age = ages(runs);
    // What a test unit looks like: some cycles old, not yet at its very end.
    let judged: Vec<bool> = (0..left.len()).map(|row| age[row] >= options.least_cycles && left[row] >= 5.0 && left[row] <= options.cap + 20.0).collect();
    let mut tried = Vec::new();
    for sizes in &options.candidates {
        let mut pairs = Vec::new();
        for fold in 0..options.folds {
            let inside: Vec<usize> = (0..left.len()).filter(|row| folds[*row] != fold).collect();
            let trees = grow(runs, &capped, &inside, &BoostOptions { seed: options.seed, ..*sizes })?;
            let outside = (0..left.len()).filter(|row| folds[*row] == fold && judged[*row]);
            pairs.extend(outside.map(|row| (trees.predict(runs.row(row)).clamp(0.0, options.cap), capped[row])));
        }
        tried.push(rmse(&pairs));
    }
    let chosen = (0..tried.len()).min_by(|a, b| tried[*a].total_cmp(&tried[*b])).unwrap_or(0);
    let all: Vec<usize> = (0..left.len()).collect();
    let members = (0..options.members.max(1))
        .map(|member| grow(runs, &capped, &all, &BoostOptions { seed: options.seed + member as u64, ..options.candidates[chosen] }))
        .collect::<Result<Vec<_>, _>>()?;
    let said: Vec<f64> = ends.iter().map(|row| mean(members.iter().map(|trees| trees.predict(test.row(*row)))).clamp(0.0, options.cap)).collect();
    let dummy = mean((0..left.len()).filter(|row| judged[*row]).map(|row| capped[row]));
    let pairs = |cap: f64| said.iter().zip(test_left).map(|(said, left)| (*said, left.min(cap))).collect::<Vec<_>>();
    let dummies: Vec<(f64, f64)> = test_left.iter().map(|left| (dummy, left.min(options.cap))).collect();
    Ok(LifeTableReport {
        train: (units, left.len()),
        features: runs.names.len(),
        tried,
        chosen,
        test: LifeScore::of(&pairs(options.cap)),
        dummy: LifeScore::of(&dummies),
        test_uncapped: LifeScore::of(&pairs(f64::INFINITY)),
    })
}

/// Rows of the same unit before each row.
fn ages(runs: &UnitRows) -> Vec<usize> {
    let mut age = vec![0; runs.units.len()];
    for row in 1..age.len() {
        age[row] = if runs.units[row] == runs.units[row - 1] { age[row - 1] + 1 } else { 0 };
    }
    age
}

fn grow(runs: &UnitRows, labels: &[f64], rows: &[usize], sizes: &BoostOptions) -> Result<TreeModel, TrainError> {
    let mut matrix = Matrix { width: runs.names.len(), ..Matrix::default() };
    for row in rows {
        matrix.values.extend_from_slice(runs.row(*row));
        matrix.labels.push(labels[*row] as f32);
    }
    Ok(TreeModel::parse(&train("life", &runs.names, &matrix, Objective::Regression, sizes)?)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Units that fail when a hidden wear reaches 1; one feature shows it with noise.
    fn worn(units: usize, seed: u64, cut: bool) -> (UnitRows, Vec<f64>) {
        let mut rows = UnitRows { names: vec!["wear".to_owned(), "noise".to_owned()], ..UnitRows::default() };
        let mut lives = Vec::new();
        for unit in 0..units {
            let mix = |salt: usize| ((unit * 7919 + salt * 104_729 + seed as usize * 15_485_863) % 1009) as f64 / 1009.0;
            let life = 100 + (mix(1) * 100.0) as usize;
            let until = if cut { 40 + (mix(2) * (life - 50) as f64) as usize } else { life };
            for cycle in 0..until {
                rows.units.push(format!("{unit}"));
                let wear = (cycle as f64 / life as f64).powi(2);
                rows.values.extend([wear + 0.02 * (mix(cycle + 3) - 0.5), mix(cycle + 999)]);
            }
            lives.push((life - until) as f64);
        }
        (rows, lives)
    }

    #[test]
    fn what_wear_shows_is_learned_and_the_dummy_is_beaten() {
        let (runs, _) = worn(40, 1, false);
        let (test, left) = worn(30, 2, true);
        let options = LifeTableOptions { members: 1, ..LifeTableOptions::default() };
        let report = judge_life_table(&runs, &test, &left, &options).unwrap();
        assert!(report.test.rmse < 0.6 * report.dummy.rmse && report.test.rows == 30, "{report}");
        assert!(report.test.score < report.dummy.score && report.tried.len() == 4);
        assert!(judge_life_table(&runs, &test, &left[1..], &options).is_err());
    }
}
