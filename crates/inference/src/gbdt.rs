//! The predictor of a model bundle: gradient-boosted trees. Each row is answered on its own, in plain `f64`
//! arithmetic on one thread, so that the batch a row came in cannot show in its answer. At load the bundle's golden
//! rows are answered and compared: bit by bit for fill models, within 1e-12 for scores (they pass through `exp`).

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use ws_stream::predict::{PredictError, Prediction, Predictor};

use crate::ModelError;
use crate::features::{FeatureSpec, matrix};
use crate::fill::{self, HOURS_TO_VISIT, LEVEL, RowBuilder};
use crate::manifest::{Bundle, Decoder, GoldenRow, Manifest, from_bits, to_bits};
use crate::path::LevelPath;
use crate::risk::{self, Driver, RiskBuilder, RiskRow};
use crate::tree::TreeModel;

/// Roles of a fill model, in the order of the quantiles.
pub const FILL_ROLES: [&str; 3] = ["rate_p10", "rate_p50", "rate_p90"];
/// Role of a score model.
pub const SCORE_ROLE: &str = "score";
/// Roles of a remaining life, in the order of the quantiles.
pub const LIFE_ROLES: [&str; 3] = ["life_p10", "life_p50", "life_p90"];
/// Roles of a risk model that also tells a remaining life.
const RISK_ROLES: [&str; 4] = [SCORE_ROLE, LIFE_ROLES[0], LIFE_ROLES[1], LIFE_ROLES[2]];
/// Added to an interval's width before it is scaled, so that a zero width can grow: level fraction.
pub const WIDTH_FLOOR: f64 = 0.01;

/// Gradient-boosted trees out of a bundle.
pub struct GbdtPredictor {
    manifest: Manifest,
    trees: Vec<TreeModel>,
    /// The features, then columns that only the decoder or the domain reads.
    specs: Vec<FeatureSpec>,
    inputs: Vec<String>,
    outputs: SchemaRef,
    /// Index into the inputs, minimum, maximum, whether missing is allowed.
    domain: Vec<(usize, f64, f64, bool)>,
    level: usize,
    hours_to_visit: usize,
}

impl GbdtPredictor {
    /// Reads a bundle's folder.
    ///
    /// # Errors
    /// When the bundle is damaged or answers its golden rows differently.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        Self::new(&Bundle::read(folder)?)
    }

    /// From a bundle in memory.
    ///
    /// # Errors
    /// When the bundle is damaged or answers its golden rows differently.
    pub fn new(bundle: &Bundle) -> Result<Self, ModelError> {
        let predictor = Self::without_golden(bundle)?;
        for (row, golden) in bundle.manifest.golden.iter().enumerate() {
            predictor.check_golden(row, golden)?;
        }
        Ok(predictor)
    }

    /// Like [`Self::new`] without asking the golden rows: for the trainer, which writes them.
    ///
    /// # Errors
    /// When the bundle is damaged.
    pub fn without_golden(bundle: &Bundle) -> Result<Self, ModelError> {
        bundle.check()?;
        let manifest = bundle.manifest.clone();
        let (roles, width, outputs): (&[&str], usize, SchemaRef) = match &manifest.decoder {
            Decoder::Fill { .. } => (&FILL_ROLES, manifest.features.len() + 1, fill::schema()),
            Decoder::Score { column, .. } => (&[SCORE_ROLE], manifest.features.len(), Arc::new(Schema::new(vec![Field::new(column, DataType::Float64, true)]))),
            Decoder::Risk { life, .. } => (if life.is_some() { &RISK_ROLES } else { &RISK_ROLES[..1] }, manifest.features.len(), risk::schema(life.is_some())),
        };
        let mut trees = Vec::new();
        for role in roles {
            let text =
                bundle.texts.get(*role).ok_or_else(|| ModelError::Manifest { message: format!("role {role} is missing"), hint: "train the model again" })?;
            let model = TreeModel::parse(text)?;
            if model.features() != width {
                return Err(ModelError::Manifest {
                    message: format!("{role} takes {} features, the manifest lists {width}", model.features()),
                    hint: "train the model again",
                });
            }
            trees.push(model);
        }
        let mut specs = manifest.features.clone();
        let mut place = |name: &str| {
            specs.iter().position(|spec| spec.name == name).unwrap_or_else(|| {
                specs.push(FeatureSpec::number(name));
                specs.len() - 1
            })
        };
        let (mut level, mut hours_to_visit) = (0, 0);
        if matches!(manifest.decoder, Decoder::Fill { .. }) {
            level = place(LEVEL);
            hours_to_visit = place(HOURS_TO_VISIT);
        }
        let domain = manifest.domain.iter().map(|range| (place(&range.column), range.min, range.max, range.missing_ok)).collect();
        let inputs = specs.iter().map(|spec| spec.name.clone()).collect();
        Ok(Self { manifest, trees, specs, inputs, outputs, domain, level, hours_to_visit })
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Answers rows given as numbers in the order of [`Predictor::inputs`]; `None` where it declines.
    pub fn answer(&self, inputs: &[f64]) -> Option<Vec<f64>> {
        let outside = self.domain.iter().any(|(index, min, max, missing_ok)| {
            let value = inputs[*index];
            if value.is_nan() { !missing_ok } else { value < *min || value > *max }
        });
        if outside {
            return None;
        }
        let features = &inputs[..self.manifest.features.len()];
        match &self.manifest.decoder {
            Decoder::Fill { shape, .. } => {
                if inputs[self.level].is_nan() {
                    return None;
                }
                let path = self.path(features, inputs[self.level]);
                Some(shape.row(&path, inputs[self.hours_to_visit]).to_vec())
            }
            Decoder::Score { calibration, .. } => self.trees.first().map(|trees| vec![calibration.apply(trees.predict(features))]),
            Decoder::Risk { calibration, .. } => {
                let mut answer = vec![calibration.apply(self.trees.first()?.predict(features))];
                answer.extend(self.remaining_life(features).into_iter().flatten());
                Some(answer)
            }
        }
    }

    /// Quantiles of what is left of a life, ordered, between 0 and the cap; `None` when the model does not tell it.
    pub fn remaining_life(&self, features: &[f64]) -> Option<[f64; 3]> {
        let Decoder::Risk { life: Some(life), .. } = &self.manifest.decoder else {
            return None;
        };
        let mut quantiles = self.raw_life(features)?;
        let width = quantiles[2] - quantiles[0] + WIDTH_FLOOR;
        quantiles[0] -= life.widen_low * width;
        quantiles[2] += life.widen_high * width;
        quantiles.sort_by(f64::total_cmp);
        Some(quantiles.map(|value| value.clamp(0.0, life.cap)))
    }

    /// The same without interval calibration: what the trainer calibrates.
    pub fn raw_life(&self, features: &[f64]) -> Option<[f64; 3]> {
        let [_, low, middle, high] = self.trees.as_slice() else {
            return None;
        };
        let mut quantiles = [low, middle, high].map(|trees| trees.predict(features));
        quantiles.sort_by(f64::total_cmp);
        Some(quantiles)
    }

    /// The score before calibration, for score and risk models: what the trainer calibrates.
    pub fn raw_score(&self, features: &[f64]) -> f64 {
        self.trees.first().map_or(f64::NAN, |trees| trees.predict(features))
    }

    /// What raises the score most for one row of features, strongest first.
    pub fn drivers(&self, features: &[f64], most: usize) -> Vec<Driver> {
        let Some(trees) = self.trees.first() else {
            return Vec::new();
        };
        risk::drivers(&self.manifest.features, features, &trees.contributions(features).features, most)
    }

    /// A whole row of a risk model.
    fn risk_row(&self, inputs: &[f64], drivers: usize) -> Option<RiskRow> {
        let answer = self.answer(inputs)?;
        let life = answer.get(1..4).and_then(|life| <[f64; 3]>::try_from(life).ok()).unwrap_or([f64::NAN; 3]);
        Some(RiskRow { risk: answer[0], life, drivers: self.drivers(&inputs[..self.manifest.features.len()], drivers) })
    }

    /// The inputs with how each becomes a number, in the order of [`Predictor::inputs`].
    pub fn specs(&self) -> &[FeatureSpec] {
        &self.specs
    }

    /// Raw level quantiles `[p10, p50, p90]` at one horizon, sorted, without interval calibration: what the trainer
    /// calibrates. `features` are the model's own, in order.
    pub fn raw_quantiles(&self, features: &[f64], level: f64, hours: f64) -> [f64; 3] {
        let mut row = Vec::with_capacity(features.len() + 1);
        row.extend_from_slice(features);
        row.push(hours);
        let mut levels = [f64::NAN; 3];
        for (value, trees) in levels.iter_mut().zip(&self.trees) {
            *value = level + trees.predict(&row) * hours;
        }
        levels.sort_by(f64::total_cmp);
        levels
    }

    /// The level's calibrated path for one row of features.
    pub fn path(&self, features: &[f64], level: f64) -> LevelPath {
        let Decoder::Fill { horizons, .. } = &self.manifest.decoder else {
            return LevelPath::new(level, Vec::new(), Vec::new());
        };
        let levels = horizons
            .iter()
            .map(|horizon| {
                let mut quantiles = self.raw_quantiles(features, level, horizon.hours);
                let width = quantiles[2] - quantiles[0] + WIDTH_FLOOR;
                quantiles[0] -= horizon.widen_low * width;
                quantiles[2] += horizon.widen_high * width;
                quantiles
            })
            .collect();
        LevelPath::new(level, horizons.iter().map(|horizon| horizon.hours).collect(), levels)
    }

    /// The golden row of an input, as the trainer stores it.
    pub fn golden(&self, inputs: &[f64]) -> GoldenRow {
        let outputs = self.answer(inputs).unwrap_or_else(|| vec![f64::NAN; self.numbers()]);
        GoldenRow { inputs: inputs.iter().map(|value| to_bits(*value)).collect(), outputs: outputs.iter().map(|value| to_bits(*value)).collect() }
    }

    /// Numbers that an answer has.
    fn numbers(&self) -> usize {
        match &self.manifest.decoder {
            Decoder::Risk { life, .. } => {
                if life.is_some() {
                    4
                } else {
                    1
                }
            }
            Decoder::Fill { .. } | Decoder::Score { .. } => self.outputs.fields().len(),
        }
    }

    fn check_golden(&self, row: usize, golden: &GoldenRow) -> Result<(), ModelError> {
        let inputs: Vec<f64> = golden.inputs.iter().map(|bits| from_bits(bits.as_deref())).collect();
        if inputs.len() != self.inputs.len() || golden.outputs.len() != self.numbers() {
            return Err(ModelError::Manifest { message: format!("golden row {row} has another shape than the model"), hint: "train the model again" });
        }
        let exact = matches!(self.manifest.decoder, Decoder::Fill { .. });
        let actual = self.golden(&inputs);
        for (index, (expected, actual)) in golden.outputs.iter().zip(&actual.outputs).enumerate() {
            let (a, b) = (from_bits(expected.as_deref()), from_bits(actual.as_deref()));
            let close = !exact && (a - b).abs() <= 1e-12;
            if expected != actual && !close {
                let column = self.outputs.field(index).name().clone();
                return Err(ModelError::Golden { row, column, expected: a, actual: b });
            }
        }
        Ok(())
    }

    fn try_predict(&self, rows: &RecordBatch) -> Result<Prediction, ModelError> {
        let values = matrix(rows, &self.specs)?;
        if let Decoder::Risk { horizon_days, life, drivers, .. } = &self.manifest.decoder {
            let mut builder = RiskBuilder::new(*horizon_days, life.is_some());
            for inputs in values.chunks_exact(self.specs.len().max(1)) {
                builder.push(self.risk_row(inputs, *drivers).as_ref());
            }
            return builder.finish();
        }
        let mut builder = RowBuilder::new(self.outputs.clone(), rows.num_rows());
        for inputs in values.chunks_exact(self.specs.len().max(1)) {
            builder.push(self.answer(inputs).as_deref());
        }
        builder.finish()
    }
}

impl Predictor for GbdtPredictor {
    fn name(&self) -> &str {
        &self.manifest.name
    }

    fn version(&self) -> &str {
        &self.manifest.version
    }

    fn feature_hash(&self) -> &str {
        &self.manifest.feature_hash
    }

    fn inputs(&self) -> &[String] {
        &self.inputs
    }

    fn outputs(&self) -> SchemaRef {
        self.outputs.clone()
    }

    fn predict(&mut self, rows: &RecordBatch) -> Result<Prediction, PredictError> {
        self.try_predict(rows).map_err(|error| error.for_predictor(&self.manifest.name))
    }
}
