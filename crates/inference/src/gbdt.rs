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
use crate::tree::TreeModel;

/// Roles of a fill model, in the order of the quantiles.
pub const FILL_ROLES: [&str; 3] = ["rate_p10", "rate_p50", "rate_p90"];
/// Role of a score model.
pub const SCORE_ROLE: &str = "score";
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
        }
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
        let outputs = self.answer(inputs).unwrap_or_else(|| vec![f64::NAN; self.outputs.fields().len()]);
        GoldenRow { inputs: inputs.iter().map(|value| to_bits(*value)).collect(), outputs: outputs.iter().map(|value| to_bits(*value)).collect() }
    }

    fn check_golden(&self, row: usize, golden: &GoldenRow) -> Result<(), ModelError> {
        let inputs: Vec<f64> = golden.inputs.iter().map(|bits| from_bits(bits.as_deref())).collect();
        if inputs.len() != self.inputs.len() || golden.outputs.len() != self.outputs.fields().len() {
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
