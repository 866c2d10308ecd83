//! Churn: will a customer's contract end of their own will within the horizon? From rows of `customer.features` and the
//! facts of contracts and interventions.

use arrow::array::RecordBatch;
use ws_inference::RiskRule;

use crate::TrainError;
use crate::risk_facts::{CustomerFacts, RiskCounts, RiskOutcome};
use crate::risk_rows::{risk_rows, thinned};
use crate::risk_train::{RiskExample, RiskOptions, TrainedRisk, train_risk};

/// Columns that the churn model takes where they exist. Left out on purpose: ids (learned by heart) and currency.
pub const CHURN_FEATURES: [&str; 19] = [
    "segment",
    "tenure_days",
    "monthly_fee_minor",
    "fee_change_365d",
    "days_since_price_change",
    "days_to_term_end",
    "collections_per_week",
    "visits_90d",
    "missed_30d",
    "missed_90d",
    "missed_share_90d",
    "tickets_30d",
    "tickets_90d",
    "complaints_90d",
    "contacts_90d",
    "sentiment_90d",
    "late_days_180d",
    "payment_failures_180d",
    "reminders_180d",
];
const DAY_MS: i64 = 86_400_000;
/// Rows of a customer closer than this to the one before are left out: they say the same again.
const APART_MS: i64 = 6 * DAY_MS;

/// Options of the churn model.
pub fn churn_options(seed: u64, trained_at_ms: i64) -> RiskOptions {
    RiskOptions { seed, trained_at_ms, warm_up_days: 90, ..RiskOptions::new("churn-risk", 90, &CHURN_FEATURES) }
}

/// Trains and judges. `truth` gives the best that can be known of a customer at a time, in a simulated city.
///
/// # Errors
/// When columns are missing, there is too little history, or a feature knows its label.
pub fn train_churn(
    batches: &[RecordBatch],
    facts: &CustomerFacts,
    truth: &dyn Fn(&str, i64) -> Option<f64>,
    options: &RiskOptions,
) -> Result<TrainedRisk, TrainError> {
    let rows = thinned(risk_rows(batches, &["customer_id"])?, APART_MS);
    let horizon_ms = options.horizon_days * DAY_MS;
    let warm_ms = rows.iter().map(|row| row.at_ms).min().unwrap_or(0) + options.warm_up_days * DAY_MS;
    let (mut counts, mut examples) = (RiskCounts::default(), Vec::new());
    for row in rows {
        let outcome = facts.outcome(&row.subject, row.at_ms, horizon_ms);
        let outcome = if row.at_ms < warm_ms { RiskOutcome::WarmingUp } else { outcome };
        counts.add(&outcome);
        if let RiskOutcome::Labelled { came, .. } = outcome {
            // Also where it came early: else the rows before a boundary that are in a part would be those that came.
            let until_ms = row.at_ms + horizon_ms;
            let truth = truth(&row.subject, row.at_ms);
            examples.push(RiskExample { at_ms: row.at_ms, until_ms, came, life: None, truth, source: row.source, subject: row.subject });
        }
    }
    train_risk(batches, &examples, counts, &RiskRule::churn(), options)
}
