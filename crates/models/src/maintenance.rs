//! Maintenance: will a part of a vehicle fail within the horizon, and how many engine hours are left of it? From rows of
//! `vehicle.features` (one per vehicle and part) and the facts of work orders.

use arrow::array::RecordBatch;
use ws_inference::RiskRule;

use crate::TrainError;
use crate::boost::BoostOptions;
use crate::risk_facts::{RiskCounts, RiskOutcome, VehicleFacts};
use crate::risk_rows::{risk_rows, thinned};
use crate::risk_train::{RiskExample, RiskOptions, TrainedRisk, cautious, train_risk};

/// Columns that the maintenance model takes where they exist. Left out on purpose: the vehicle and its age in hours, which
/// would be learned by heart in a small fleet.
pub const MAINTENANCE_FEATURES: [&str; 14] = [
    "component",
    "hours_since_repair",
    "signal_1d",
    "signal_7d",
    "signal_slope_7d",
    "signal_slope_30d",
    "signal_scatter_7d",
    "second_1d",
    "second_7d",
    "second_slope_30d",
    "codes_1d",
    "codes_7d",
    "codes_30d",
    "samples_7d",
];
const DAY_MS: i64 = 86_400_000;
/// Rows of a part closer than this to the one before are left out.
const APART_MS: i64 = 20 * 3_600_000;
/// Engine hours left are told up to here.
const LIFE_CAP_H: f64 = 120.0;

/// Options of the maintenance model.
pub fn maintenance_options(seed: u64, trained_at_ms: i64) -> RiskOptions {
    let mut candidates = cautious();
    // The same columns mean another thing for each part: trees must be deep enough to ask for the part first.
    candidates.extend([(12, 150, 60), (20, 150, 40)].map(|(leaves, trees, least_leaf_rows)| BoostOptions {
        leaves,
        trees,
        least_leaf_rows,
        learning_rate: 0.04,
        feature_share: 0.6,
        row_share: 0.6,
        l2: 10.0,
        seed: 0,
    }));
    RiskOptions {
        candidates,
        seed,
        trained_at_ms,
        life_cap: Some(LIFE_CAP_H),
        warm_up_days: 14,
        ..RiskOptions::new("maintenance-risk", 14, &MAINTENANCE_FEATURES)
    }
}

/// Trains and judges. `truth` gives the best that can be known of a vehicle's part at a time, in a simulated city.
///
/// # Errors
/// When columns are missing, there is too little history, or a feature knows its label.
pub fn train_maintenance(
    batches: &[RecordBatch],
    facts: &VehicleFacts,
    truth: &dyn Fn(&str, i64) -> Option<f64>,
    options: &RiskOptions,
) -> Result<TrainedRisk, TrainError> {
    let rows = thinned(risk_rows(batches, &["vehicle_id", "component"])?, APART_MS);
    let horizon_ms = options.horizon_days * DAY_MS;
    let warm_ms = rows.iter().map(|row| row.at_ms).min().unwrap_or(0) + options.warm_up_days * DAY_MS;
    let (mut counts, mut examples) = (RiskCounts::default(), Vec::new());
    for row in rows {
        let Some((vehicle, component)) = row.subject.split_once('/') else { continue };
        let outcome = facts.outcome(vehicle, component, row.at_ms, horizon_ms);
        let outcome = if row.at_ms < warm_ms { RiskOutcome::WarmingUp } else { outcome };
        counts.add(&outcome);
        if let RiskOutcome::Labelled { came, .. } = outcome {
            // Also where it came early: else the rows before a boundary that are in a part would be those that came.
            let until_ms = row.at_ms + horizon_ms;
            let life = options.life_cap.and_then(|cap| facts.remaining_h(vehicle, component, row.at_ms, cap));
            let truth = truth(&row.subject, row.at_ms);
            examples.push(RiskExample { at_ms: row.at_ms, until_ms, came, life, truth, source: row.source, subject: row.subject });
        }
    }
    train_risk(batches, &examples, counts, &RiskRule::maintenance(), options)
}
