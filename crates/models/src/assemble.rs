//! From boosters to a bundle: interval ends and the overflow probability are fitted on the calibration part, each on
//! top of what was fitted before it, then the version is named after everything that decides an answer.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use ws_inference::features::{feature_hash, fnv1a};
use ws_inference::fill::FillShape;
use ws_inference::manifest::{Bundle, DataRange, Decoder, DomainRange, FORMAT, GoldenRow, Horizon, Manifest, ModelFile, checksum};
use ws_inference::path::Calibration;
use ws_inference::{FeatureSpec, GbdtPredictor};

use crate::TrainError;
use crate::calibrate::{IntervalRow, conformal, isotonic};
use crate::fill::TrainOptions;
use crate::labels::{Label, Outcome};
use crate::questions::{Example, Questions, values};
use crate::split::{Part, Split};

/// Golden rows in a bundle.
const GOLDEN_ROWS: usize = 16;

/// The examples of a part that are labelled at a horizon, trustworthy ones only.
pub(crate) fn labelled<'a>(questions: &'a Questions, horizon: usize, split: &Split, part: Part) -> impl Iterator<Item = (usize, &'a Example, Label)> {
    let split = *split;
    questions.examples.iter().enumerate().filter_map(move |(index, example)| match example.rates[horizon] {
        Outcome::Labelled(label) if !label.faulty && !example.row.faulty && split.part(example.row.at_ms, label.until_ms) == Some(part) => {
            Some((index, example, label))
        }
        _ => None,
    })
}

/// What a bundle is made of while it is being calibrated.
pub(crate) struct Draft<'a> {
    pub(crate) options: &'a TrainOptions,
    pub(crate) features: Vec<FeatureSpec>,
    pub(crate) texts: BTreeMap<String, String>,
    pub(crate) trained_to_h: f64,
    pub(crate) horizons: Vec<Horizon>,
    pub(crate) overflow: Calibration,
    pub(crate) data: DataRange,
    pub(crate) domain: Vec<DomainRange>,
}

impl Draft<'_> {
    /// The bundle as it stands, without metrics and golden rows.
    pub(crate) fn bundle(&self) -> Bundle {
        let decoder = Decoder::Fill {
            horizons: self.horizons.clone(),
            trained_to_h: self.trained_to_h,
            shape: FillShape { full_level: self.options.full_level, overflow: self.overflow.clone() },
        };
        let models = self.texts.iter().map(|(role, text)| (role.clone(), ModelFile { file: format!("{role}.txt"), checksum: checksum(text) })).collect();
        let version = version(&self.options.name, &self.features, &decoder, &self.texts);
        let manifest = Manifest {
            format: FORMAT,
            name: self.options.name.clone(),
            version,
            trained_at_ms: self.options.trained_at_ms,
            seed: self.options.seed,
            feature_hash: feature_hash(&self.features),
            features: self.features.clone(),
            data: self.data.clone(),
            domain: self.domain.clone(),
            decoder,
            models,
            metrics: serde_json::Value::Null,
            golden: Vec::new(),
        };
        Bundle { manifest, texts: self.texts.clone() }
    }
}

/// The name and a hash of everything that decides an answer.
pub(crate) fn version(name: &str, features: &[FeatureSpec], decoder: &Decoder, texts: &BTreeMap<String, String>) -> String {
    let mut all = feature_hash(features);
    all.push_str(&serde_json::to_string(decoder).unwrap_or_default());
    for text in texts.values() {
        all.push_str(&checksum(text));
    }
    format!("{name}-{:012x}", fnv1a(all.as_bytes()) >> 16)
}

/// Fits intervals, then the overflow probability on top of them, on the calibration part.
pub(crate) fn calibrate(draft: &mut Draft<'_>, questions: &Questions, learned: &[usize], split: &Split, numbers: &[f64]) -> Result<(), TrainError> {
    let width = draft.features.len();
    let row = |index: usize| &numbers[index * width..(index + 1) * width];
    let raw = GbdtPredictor::without_golden(&draft.bundle())?;
    for horizon in learned {
        let hours = questions.horizons_h[*horizon];
        let rows: Vec<IntervalRow> = labelled(questions, *horizon, split, Part::Calibration)
            .map(|(index, example, label)| {
                let level = example.row.level;
                (raw.raw_quantiles(row(index), level, hours), level + label.value * hours)
            })
            .collect();
        draft.data.calibration_rows += rows.len() as u64;
        let fitted = conformal(hours, &rows);
        for target in &mut draft.horizons {
            // Horizons beyond the learned ones take the factors of the longest.
            if target.hours >= hours {
                *target = Horizon { hours: target.hours, ..fitted };
            }
        }
    }
    let calibrated = GbdtPredictor::without_golden(&draft.bundle())?;
    let rows: Vec<(f64, bool)> = questions
        .examples
        .iter()
        .enumerate()
        .filter_map(|(index, example)| match example.overflow {
            Some(Outcome::Labelled(label))
                if !label.faulty && !example.row.faulty && split.part(example.row.at_ms, label.until_ms) == Some(Part::Calibration) =>
            {
                let path = calibrated.path(row(index), example.row.level);
                let raw = path.probability_full(example.row.hours_to_visit, draft.options.full_level);
                Some((raw, label.value == 1.0))
            }
            _ => None,
        })
        .collect();
    draft.overflow = isotonic(&rows);
    Ok(())
}

/// Golden rows out of the examples.
pub(crate) fn golden(batches: &[RecordBatch], questions: &Questions, predictor: &GbdtPredictor) -> Result<Vec<GoldenRow>, TrainError> {
    let step = questions.examples.len().div_ceil(GOLDEN_ROWS).max(1);
    let sources: Vec<_> = questions.examples.iter().step_by(step).map(|example| example.row.source).collect();
    let specs = predictor.specs();
    let rows = values(batches, &sources, specs, true)?;
    Ok(rows.chunks_exact(specs.len()).map(|row| predictor.golden(row)).collect())
}
