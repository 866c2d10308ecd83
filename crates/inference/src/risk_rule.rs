//! The heuristic rung of risks: a score card with declared points. It answers from the first event on, before any model
//! is trained; nothing in it is learned, so its probabilities are rough and its drivers are its own points.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use ws_stream::predict::{PredictError, Prediction, Predictor};

use crate::ModelError;
use crate::features::{FeatureSpec, feature_hash, matrix};
use crate::risk::{self, RiskBuilder, RiskRow};

/// Drivers told at most.
pub const MOST_DRIVERS: usize = 5;

/// Points for a feature: `per_unit × clamp(value − from, 0, span)`; a missing value gives none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// The column.
    pub feature: &'static str,
    /// Value from which points are given; with a negative `per_unit` and `falling`, below which.
    pub from: f64,
    /// The value counts no further than this from `from`.
    pub span: f64,
    /// Log-odds per unit.
    pub per_unit: f64,
    /// Points for values *below* `from` instead of above.
    pub falling: bool,
}

const fn above(feature: &'static str, from: f64, span: f64, per_unit: f64) -> Term {
    Term { feature, from, span, per_unit, falling: false }
}

const fn below(feature: &'static str, from: f64, span: f64, per_unit: f64) -> Term {
    Term { feature, from, span, per_unit, falling: true }
}

/// Points of `churn-risk`. Missed collections and price rises weigh most: they are what a customer can be asked about.
const CHURN: [Term; 8] = [
    above("missed_30d", 0.0, 4.0, 0.35),
    above("missed_90d", 0.0, 6.0, 0.15),
    above("tickets_90d", 0.0, 4.0, 0.25),
    above("fee_change_365d", 0.0, 0.2, 6.0),
    above("payment_failures_180d", 0.0, 3.0, 0.3),
    above("late_days_180d", 5.0, 20.0, 0.03),
    below("tenure_days", 365.0, 365.0, 0.002),
    below("days_to_term_end", 90.0, 60.0, 0.012),
];

/// Points of `maintenance-risk`: active fault codes and a part that behaves worse than it did after its last repair.
const MAINTENANCE: [Term; 4] = [
    above("codes_1d", 0.0, 20.0, 0.06),
    above("codes_7d", 0.0, 60.0, 0.03),
    above("codes_30d", 0.0, 100.0, 0.01),
    above("hours_since_repair", 300.0, 900.0, 0.0012),
];

/// A score card.
pub struct RiskRule {
    name: &'static str,
    version: &'static str,
    base_log_odds: f64,
    horizon_days: i64,
    life: bool,
    terms: &'static [Term],
    specs: Vec<FeatureSpec>,
    inputs: Vec<String>,
    feature_hash: String,
    outputs: SchemaRef,
}

impl RiskRule {
    /// Voluntary end of contract within 90 days; about 2 % without any points.
    pub fn churn() -> Self {
        Self::new("churn-heuristic", "churn-heuristic-1", -3.9, 90, false, &CHURN)
    }

    /// Failure of a part within 14 days; about 3 % without any points.
    pub fn maintenance() -> Self {
        Self::new("maintenance-heuristic", "maintenance-heuristic-1", -3.5, 14, true, &MAINTENANCE)
    }

    fn new(name: &'static str, version: &'static str, base_log_odds: f64, horizon_days: i64, life: bool, terms: &'static [Term]) -> Self {
        let specs: Vec<FeatureSpec> = terms.iter().map(|term| FeatureSpec::number(term.feature)).collect();
        let inputs = specs.iter().map(|spec| spec.name.clone()).collect();
        let feature_hash = feature_hash(&specs);
        Self { name, version, base_log_odds, horizon_days, life, terms, specs, inputs, feature_hash, outputs: risk::schema(life) }
    }

    /// The columns it reads.
    pub fn specs(&self) -> &[FeatureSpec] {
        &self.specs
    }

    /// Answers one row in the order of [`Predictor::inputs`]. What is left of a life it does not know.
    pub fn answer(&self, values: &[f64]) -> RiskRow {
        let points: Vec<f64> = self
            .terms
            .iter()
            .zip(values)
            .map(|(term, value)| {
                let over = if term.falling { term.from - value } else { value - term.from };
                if over.is_nan() { 0.0 } else { term.per_unit * over.clamp(0.0, term.span) }
            })
            .collect();
        let log_odds = self.base_log_odds + points.iter().sum::<f64>();
        RiskRow { risk: 1.0 / (1.0 + (-log_odds).exp()), life: [f64::NAN; 3], drivers: risk::drivers(&self.specs, values, &points, MOST_DRIVERS) }
    }

    fn try_predict(&self, rows: &RecordBatch) -> Result<Prediction, ModelError> {
        let values = matrix(rows, &self.specs)?;
        let mut builder = RiskBuilder::new(self.horizon_days, self.life);
        for row in values.chunks_exact(self.specs.len()) {
            builder.push(Some(&self.answer(row)));
        }
        builder.finish()
    }
}

impl Predictor for RiskRule {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        self.version
    }

    fn feature_hash(&self) -> &str {
        &self.feature_hash
    }

    fn inputs(&self) -> &[String] {
        &self.inputs
    }

    fn outputs(&self) -> SchemaRef {
        self.outputs.clone()
    }

    fn predict(&mut self, rows: &RecordBatch) -> Result<Prediction, PredictError> {
        self.try_predict(rows).map_err(|error| error.for_predictor(self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: f64 = f64::NAN;

    #[test]
    fn each_trouble_raises_the_risk_and_is_told_as_a_driver() {
        let rule = RiskRule::churn();
        let calm = rule.answer(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2000.0, 300.0]);
        assert!((0.01..0.03).contains(&calm.risk) && calm.drivers.is_empty(), "{calm:?}");
        for (at, value) in [(0, 2.0), (1, 3.0), (2, 1.0), (3, 0.1), (4, 1.0), (5, 15.0), (6, 100.0), (7, 40.0)] {
            let mut row = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2000.0, 300.0];
            row[at] = value;
            let worse = rule.answer(&row);
            assert!(worse.risk > calm.risk && worse.drivers.len() == 1 && worse.drivers[0].feature == rule.inputs()[at], "{worse:?}");
        }
    }

    #[test]
    fn what_is_not_known_gives_no_points_and_much_trouble_no_certainty() {
        let rule = RiskRule::churn();
        assert!(rule.answer(&[NO; 8]).risk < 0.03);
        let all = rule.answer(&[99.0, 99.0, 99.0, 9.0, 99.0, 99.0, -5.0, -9.0]);
        assert!((0.9..1.0).contains(&all.risk) && all.drivers.len() == MOST_DRIVERS, "{all:?}");
        assert!(all.drivers.windows(2).all(|pair| pair[0].contribution >= pair[1].contribution));
    }
}
