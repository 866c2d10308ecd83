//! Predictors: what the `infer` stage calls. Everything here implements [`ws_stream::predict::Predictor`]: columns
//! in, columns out, row by row, so that an answer never depends on how rows were batched.
//!
//! Read in this order: [`features`] (columns → numbers, the feature hash) → [`tree`] (LightGBM's text models,
//! evaluated in plain Rust) → [`path`] (quantiles of a level over time and what follows from them) → [`fill`] (the
//! forecast's columns) → [`manifest`] (a model bundle) → [`gbdt`] and [`heuristic`] (the two predictors) →
//! [`store`] (versions on disk and which one is current). Risks (churn, maintenance): [`risk`] (the columns),
//! [`shap`] (why: exact contributions per row), [`risk_rule`] (the rule below the model).
//!
//! Deliberately absent: the ladder, budgets and pending rows (the engine's core has them) and any training (see
//! `models`). LightGBM itself is not linked in here: its C++ handle cannot move between threads, and serving needs
//! only comparisons and additions.

pub mod error;
pub mod features;
pub mod fill;
pub mod gbdt;
pub mod heuristic;
pub mod manifest;
pub mod path;
pub mod risk;
pub mod risk_rule;
pub mod shap;
pub mod store;
pub mod tree;

pub use error::ModelError;
pub use features::{FeatureKind, FeatureSpec};
pub use gbdt::GbdtPredictor;
pub use heuristic::{FillHeuristic, FillHeuristicOptions};
pub use manifest::{Bundle, Manifest};
pub use risk_rule::RiskRule;
pub use store::ModelStore;
