//! The heuristic rung of the fill forecast: the level goes on at the best rate known. It answers from the first
//! reading on, before any model is trained, and says how little it knows by a wide interval: its width is declared
//! in [`FillHeuristicOptions`], not learned.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use ws_stream::predict::{PredictError, Prediction, Predictor};

use crate::ModelError;
use crate::features::{FeatureSpec, feature_hash, matrix};
use crate::fill::{self, FillShape, HORIZONS_H, HOURS_TO_VISIT, LEVEL, RowBuilder};
use crate::path::{Calibration, LevelPath};

/// What the heuristic assumes.
#[derive(Clone, Debug, PartialEq)]
pub struct FillHeuristicOptions {
    /// The level that counts as full.
    pub full_level: f64,
    /// p10 and p90 of the coming rate as multiples of a measured one.
    pub measured_spread: (f64, f64),
    /// p10 and p90 of the coming rate as multiples of the prior.
    pub prior_spread: (f64, f64),
    /// Noise of a level reading, added on both sides, fraction.
    pub reading_noise: f64,
    /// Least p90 of a rate, fraction per hour: a container that has not filled may begin to.
    pub least_high_rate_per_h: f64,
    /// Rate assumed when none is measured, fraction per hour, by UTC hour.
    pub prior_rate_per_h: [f64; 24],
}

impl Default for FillHeuristicOptions {
    fn default() -> Self {
        let mut prior_rate_per_h = [0.010; 24];
        prior_rate_per_h[..5].fill(0.002);
        prior_rate_per_h[22..].fill(0.004);
        Self { full_level: 1.0, measured_spread: (0.4, 1.8), prior_spread: (0.2, 3.0), reading_noise: 0.03, least_high_rate_per_h: 0.004, prior_rate_per_h }
    }
}

/// Measured rates, the preferred one first.
const RATES: [&str; 4] = ["rate_24h_per_h", "rate_7d_per_h", "rate_since_emptied_per_h", "rate_72h_per_h"];
const SILENT_H: &str = "silent_h";
const HOUR_OF_DAY: &str = "hour_of_day";

/// Level and rate, carried on.
pub struct FillHeuristic {
    options: FillHeuristicOptions,
    shape: FillShape,
    specs: Vec<FeatureSpec>,
    inputs: Vec<String>,
    feature_hash: String,
    outputs: SchemaRef,
}

impl FillHeuristic {
    /// Name of the predictor.
    pub const NAME: &'static str = "fill-heuristic";
    /// Version; changes with the rule.
    pub const VERSION: &'static str = "fill-heuristic-1";

    /// A heuristic with these assumptions.
    pub fn new(options: FillHeuristicOptions) -> Self {
        let inputs: Vec<String> = [LEVEL, HOURS_TO_VISIT, SILENT_H, HOUR_OF_DAY].into_iter().chain(RATES).map(str::to_owned).collect();
        let specs: Vec<FeatureSpec> = inputs.iter().map(FeatureSpec::number).collect();
        let shape = FillShape { full_level: options.full_level, overflow: Calibration::default() };
        let feature_hash = feature_hash(&specs);
        Self { options, shape, specs, inputs, feature_hash, outputs: fill::schema() }
    }

    /// The inputs as features, in the order of [`Predictor::inputs`].
    pub fn specs(&self) -> &[FeatureSpec] {
        &self.specs
    }

    /// Answers one row given in the order of [`Predictor::inputs`]; `None` when there is no level.
    pub fn answer(&self, inputs: &[f64]) -> Option<[f64; 13]> {
        let (level, hours_to_visit) = (inputs[0], inputs[1]);
        if !(0.0..=1.2).contains(&level) {
            return None;
        }
        Some(self.shape.row(&self.path(inputs), hours_to_visit))
    }

    /// The level's path for one row in the order of [`Predictor::inputs`].
    pub fn path(&self, inputs: &[f64]) -> LevelPath {
        let level = inputs[0];
        // A silent sensor's level is as old as its silence: the container went on filling meanwhile.
        let age_h = if inputs[2] > 0.0 { inputs[2] } else { 0.0 };
        let noise = self.options.reading_noise;
        let measured = inputs[4..].iter().copied().find(|rate| rate.is_finite()).map(|rate| rate.max(0.0));
        let levels = HORIZONS_H.map(|hours| {
            let passed_h = hours + age_h;
            let (rate, (low, high)) = match measured {
                Some(rate) => (rate, self.options.measured_spread),
                None => (self.prior_rate(inputs[3], passed_h), self.options.prior_spread),
            };
            let high_rate = (rate * high).max(self.options.least_high_rate_per_h);
            [level + rate * low * passed_h - noise, level + rate * passed_h, level + high_rate * passed_h + noise]
        });
        LevelPath::new(level, HORIZONS_H.to_vec(), levels.to_vec())
    }

    /// Mean of the prior over the coming hours.
    fn prior_rate(&self, hour_of_day: f64, hours: f64) -> f64 {
        let start = if hour_of_day.is_finite() { hour_of_day.rem_euclid(24.0) as usize } else { 0 };
        let count = (hours.clamp(1.0, 24.0)) as usize;
        let sum: f64 = (0..count).map(|step| self.options.prior_rate_per_h[(start + step) % 24]).sum();
        sum / count as f64
    }

    fn try_predict(&self, rows: &RecordBatch) -> Result<Prediction, ModelError> {
        let values = matrix(rows, &self.specs)?;
        let mut builder = RowBuilder::new(self.outputs.clone(), rows.num_rows());
        for inputs in values.chunks_exact(self.specs.len()) {
            builder.push(self.answer(inputs).as_ref().map(<[f64; 13]>::as_slice));
        }
        builder.finish()
    }
}

impl Default for FillHeuristic {
    fn default() -> Self {
        Self::new(FillHeuristicOptions::default())
    }
}

impl Predictor for FillHeuristic {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn version(&self) -> &str {
        Self::VERSION
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
        self.try_predict(rows).map_err(|error| error.for_predictor(Self::NAME))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use arrow::array::{Array, Float64Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// level, visit, silent, hour, rates 24h, 7d, since emptied, 72h
    fn answer(inputs: [f64; 8]) -> [f64; 13] {
        FillHeuristic::default().answer(&inputs).unwrap()
    }

    const NO: f64 = f64::NAN;

    #[test]
    fn the_level_goes_on_at_the_preferred_rate() {
        let row = answer([0.4, 24.0, 0.0, 12.0, NO, 0.01, 0.5, 0.5]);
        assert!((row[1] - 0.46).abs() < 1e-9 && (row[4] - 0.64).abs() < 1e-9 && (row[10] - 60.0).abs() < 1e-9, "{row:?}");
        let preferred = answer([0.4, 24.0, 0.0, 12.0, 0.02, 0.01, 0.5, 0.5]);
        assert!((preferred[1] - 0.52).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_ordered_and_full_is_full() {
        for level in [0.0, 0.3, 0.99, 1.0, 1.2] {
            let row = answer([level, 10.0, 0.0, 3.0, 0.01, NO, NO, NO]);
            for triple in row[..12].chunks(3) {
                assert!(triple[0] <= triple[1] && triple[1] <= triple[2], "{row:?}");
            }
            assert!((0.0..=1.0).contains(&row[12]));
            assert_eq!(row[9] == 0.0 && row[11] == 0.0, level >= 1.0);
        }
    }

    #[test]
    fn without_a_rate_the_prior_answers_wider() {
        let (prior, measured) = (answer([0.2, NO, 0.0, 8.0, NO, NO, NO, NO]), answer([0.2, NO, 0.0, 8.0, 0.01, NO, NO, NO]));
        assert!(prior[5] - prior[3] > measured[5] - measured[3]);
        assert!(prior[12].is_nan(), "no visit planned");
    }

    #[test]
    fn silence_raises_the_forecast() {
        let (fresh, silent) = (answer([0.4, 12.0, 0.0, 8.0, 0.01, NO, NO, NO]), answer([0.4, 12.0, 30.0, 8.0, 0.01, NO, NO, NO]));
        assert!(silent[1] > fresh[1] + 0.2 && silent[12] > fresh[12] && silent[10] < fresh[10]);
    }

    #[test]
    fn rows_without_a_level_are_declined_and_hold_nothing() {
        let mut heuristic = FillHeuristic::default();
        let fields: Vec<Field> = heuristic.inputs().iter().map(|name| Field::new(name, DataType::Float64, true)).collect();
        let columns = fields
            .iter()
            .map(|field| {
                let first = if field.name() == LEVEL { None } else { Some(0.01) };
                Arc::new(Float64Array::from(vec![first, Some(0.5), Some(7.3)])) as _
            })
            .collect();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let answer = heuristic.predict(&rows).unwrap();
        let declined = answer.declined.unwrap();
        assert_eq!([0, 1, 2].map(|row| declined.value(row)), [true, false, true]);
        assert!(answer.columns.column(0).is_null(0) && answer.columns.column(0).is_valid(1));
        assert_eq!(answer.columns.schema(), heuristic.outputs());
    }
}
