//! Models of the city: from rows of `bin.features` to a model bundle and an honest account of what it is worth.
//!
//! Read in this order: [`series`] (rows → one time series per device on a container) → [`labels`] (what really
//! happened after each row: labelled, censored or expired) → [`questions`] (sampled examples) → [`split`] (train, calibration, test by time) → [`leak`]
//! (no feature may know the future) → [`boost`] and [`calibrate`] (LightGBM, isotonic, conformal) → [`fill`]
//! (training) → [`mod@evaluate`] and [`report`] (baselines beside the model) → [`next_day`] (daily sensors: full
//! tomorrow?). Risks (churn, maintenance): [`risk_rows`] → [`risk_facts`] (labelled, censored or expired) → [`risk_leak`]
//! → [`risk_train`], with [`churn`] and [`maintenance`] on top; how predictions end in service: [`outcome`], and what they were worth: [`live`]; public
//! stand-ins: [`mod@table`], [`churn_table`], [`life_table`].
//! The reasons for the choices are in `docs/models.md`.
//!
//! Deliberately absent: any clock (the caller passes `trained_at_ms`), any file access besides the model store, and
//! feature computation: features come out of the topology, the same for training and serving.

mod assemble;
pub mod boost;
pub mod calibrate;
pub mod churn;
pub mod churn_table;
pub mod error;
pub mod evaluate;
pub mod fill;
#[cfg(test)]
mod fill_test;
pub mod folds;
pub mod labels;
pub mod leak;
pub mod life_table;
pub mod live;
pub mod maintenance;
pub mod metrics;
pub mod next_day;
pub mod outcome;
pub mod platt;
pub mod questions;
pub mod report;
pub mod risk_facts;
pub mod risk_leak;
pub mod risk_rows;
#[cfg(test)]
mod risk_test;
pub mod risk_train;
pub mod series;
pub mod split;
pub mod table;
#[cfg(test)]
mod telco_test;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod wyndham;

pub use churn::{churn_options, train_churn};
pub use churn_table::{ChurnTableOptions, ChurnTableReport, judge_churn_table};
pub use error::TrainError;
pub use evaluate::{Evaluation, evaluate};
pub use fill::{TrainOptions, TrainedModel, train_fill};
pub use leak::assert_no_future;
pub use life_table::{LifeTableOptions, LifeTableReport, UnitRows, judge_life_table};
pub use maintenance::{maintenance_options, train_maintenance};
pub use next_day::{NextDayOptions, NextDayReport, train_next_day};
pub use risk_facts::{CustomerFacts, VehicleFacts};
pub use risk_train::{RiskReport, TrainedRisk};
pub use table::Table;
pub use ws_inference::ModelStore;
