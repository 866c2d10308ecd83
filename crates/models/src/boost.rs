//! LightGBM, fixed to one way of running: one thread, row-wise, seeded, so that training the same rows again gives
//! the same bytes.

use lightgbm3::{Booster, Dataset};
use serde_json::json;

use crate::TrainError;

/// What is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// A quantile, by pinball loss.
    Quantile(f64),
    /// A probability.
    Binary,
    /// A mean, by squared error.
    Regression,
}

/// Sizes of the trees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoostOptions {
    /// Trees.
    pub trees: u32,
    /// Leaves per tree, at most.
    pub leaves: u32,
    /// Step per tree.
    pub learning_rate: f64,
    /// Rows per leaf, at least.
    pub least_leaf_rows: u32,
    /// Share of features looked at per tree.
    pub feature_share: f64,
    /// Share of rows looked at per tree.
    pub row_share: f64,
    /// L2 penalty on leaves.
    pub l2: f64,
    /// Seed of all sampling.
    pub seed: u64,
}

/// A row-major matrix with labels and weights.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// Features per row.
    pub width: usize,
    /// `width` numbers per row, NaN where missing.
    pub values: Vec<f64>,
    /// One label per row.
    pub labels: Vec<f32>,
    /// One weight per row; empty means equal ones.
    pub weights: Vec<f32>,
}

impl Matrix {
    /// Rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }
}

/// Grows trees and returns LightGBM's text.
///
/// # Errors
/// When LightGBM refuses the data.
pub fn train(role: &str, names: &[String], matrix: &Matrix, objective: Objective, options: &BoostOptions) -> Result<String, TrainError> {
    let failed = |message: String| TrainError::Boost { role: role.to_owned(), message };
    if matrix.rows() == 0 || names.len() != matrix.width || matrix.values.len() != matrix.rows() * matrix.width {
        return Err(failed(format!("{} rows, {} names, {} columns", matrix.rows(), names.len(), matrix.width)));
    }
    let width = i32::try_from(matrix.width).map_err(|error| failed(error.to_string()))?;
    let mut dataset = Dataset::from_slice(&matrix.values, &matrix.labels, width, true).map_err(|error| failed(error.to_string()))?;
    dataset.set_feature_names(names).map_err(|error| failed(error.to_string()))?;
    if !matrix.weights.is_empty() {
        dataset.set_weights(&matrix.weights).map_err(|error| failed(error.to_string()))?;
    }
    // LightGBM takes a 32-bit seed.
    let seed = (options.seed ^ (options.seed >> 32)) & 0x7fff_ffff;
    let mut parameters = json!({
        "boosting": "gbdt",
        "num_iterations": options.trees,
        "num_leaves": options.leaves,
        "learning_rate": options.learning_rate,
        "min_data_in_leaf": options.least_leaf_rows,
        "feature_fraction": options.feature_share,
        "bagging_fraction": options.row_share,
        "bagging_freq": 1,
        "lambda_l2": options.l2,
        "seed": seed,
        "num_threads": 1,
        "deterministic": true,
        "force_row_wise": true,
        "verbose": -1,
    });
    match objective {
        Objective::Quantile(alpha) => {
            parameters["objective"] = json!("quantile");
            parameters["alpha"] = json!(alpha);
        }
        Objective::Binary => parameters["objective"] = json!("binary"),
        Objective::Regression => parameters["objective"] = json!("regression"),
    }
    let booster = Booster::train(dataset, &parameters).map_err(|error| failed(error.to_string()))?;
    booster.save_string().map_err(|error| failed(error.to_string()))
}
