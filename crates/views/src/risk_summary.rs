//! Short forms of risks for lists: how likely, why, what is suggested, and who answered.

use serde::Serialize;
use serde_json::Value;

use crate::key::Part;
use crate::reads::Record;
use crate::summary::{integer, number, text};

/// One reason of a risk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RiskDriver {
    /// Feature, as the model calls it.
    pub feature: String,
    /// What it adds to the score (log odds).
    pub contribution: Option<f64>,
    /// The reason in words.
    pub text: Option<String>,
}

fn drivers(document: Option<&Value>) -> Vec<RiskDriver> {
    let listed = document.and_then(|d| d.get("drivers")).and_then(Value::as_array);
    let of = |driver: &Value| {
        let feature = text(Some(driver), "feature")?;
        Some(RiskDriver { feature, contribution: number(Some(driver), "contribution"), text: text(Some(driver), "text") })
    };
    listed.into_iter().flatten().filter_map(of).collect()
}

/// How likely a customer leaves, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChurnRiskSummary {
    /// Customer.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// Probability of a voluntary end of contract within `horizon_days`.
    pub risk: Option<f64>,
    /// Horizon, days.
    pub horizon_days: Option<i64>,
    /// low, medium or high.
    pub band: Option<String>,
    /// Strongest first.
    pub drivers: Vec<RiskDriver>,
    /// What is suggested: call, discount, service_check or none.
    pub intervention: Option<String>,
    /// treated, holdout or none.
    pub arm: Option<String>,
    /// Yearly revenue at stake, minor units of `currency`.
    pub value_minor: Option<i64>,
    /// What the intervention is expected to bring in a year, less its cost, minor units of `currency`.
    pub expected_value_minor: Option<i64>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// The ladder's rung that answered.
    pub rung: Option<String>,
    /// The model's version.
    pub model_version: Option<String>,
    /// The prediction's id; decisions and outcomes refer to it.
    pub prediction_id: Option<String>,
    /// Event time, UTC ms.
    pub observed_ms: Option<i64>,
}

impl ChurnRiskSummary {
    /// The short form of a record.
    pub fn of(record: &Record) -> Self {
        let document = record.document(Part::Risk);
        Self {
            id: record.key.id.clone(),
            tenant: record.key.tenant.clone(),
            risk: number(document, "risk"),
            horizon_days: integer(document, "horizon_days"),
            band: text(document, "band"),
            drivers: drivers(document),
            intervention: text(document, "intervention"),
            arm: text(document, "arm"),
            value_minor: integer(document, "value_minor"),
            expected_value_minor: integer(document, "expected_value_minor"),
            currency: text(document, "currency"),
            rung: text(document, "rung"),
            model_version: text(document, "model_version"),
            prediction_id: text(document, "prediction_id"),
            observed_ms: record.observed_ms(Part::Risk),
        }
    }
}

/// How likely a part of a vehicle fails, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaintenanceRiskSummary {
    /// `vehicle/part`.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// Vehicle.
    pub vehicle_id: Option<String>,
    /// Code of the part.
    pub component: Option<String>,
    /// Probability of a failure within `horizon_days`.
    pub risk: Option<f64>,
    /// Horizon, days.
    pub horizon_days: Option<i64>,
    /// Engine hours left, 10th percentile.
    pub remaining_life_h_p10: Option<f64>,
    /// Engine hours left, median.
    pub remaining_life_h_p50: Option<f64>,
    /// Engine hours left, 90th percentile.
    pub remaining_life_h_p90: Option<f64>,
    /// Strongest first.
    pub drivers: Vec<RiskDriver>,
    /// What is suggested: inspect, schedule or stop.
    pub action: Option<String>,
    /// When it should be done, UTC ms.
    pub due_ms: Option<i64>,
    /// The ladder's rung that answered.
    pub rung: Option<String>,
    /// The model's version.
    pub model_version: Option<String>,
    /// The prediction's id.
    pub prediction_id: Option<String>,
    /// Event time, UTC ms.
    pub observed_ms: Option<i64>,
}

impl MaintenanceRiskSummary {
    /// The short form of a record.
    pub fn of(record: &Record) -> Self {
        let document = record.document(Part::Risk);
        Self {
            id: record.key.id.clone(),
            tenant: record.key.tenant.clone(),
            vehicle_id: text(document, "vehicle_id"),
            component: text(document, "component"),
            risk: number(document, "risk"),
            horizon_days: integer(document, "horizon_days"),
            remaining_life_h_p10: number(document, "remaining_life_h_p10"),
            remaining_life_h_p50: number(document, "remaining_life_h_p50"),
            remaining_life_h_p90: number(document, "remaining_life_h_p90"),
            drivers: drivers(document),
            action: text(document, "action"),
            due_ms: integer(document, "due_at"),
            rung: text(document, "rung"),
            model_version: text(document, "model_version"),
            prediction_id: text(document, "prediction_id"),
            observed_ms: record.observed_ms(Part::Risk),
        }
    }
}
