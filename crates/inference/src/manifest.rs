//! A model bundle: a folder with `manifest.json` and one LightGBM text per role. The manifest says all that is needed
//! to answer, to judge the answer and to know where the model came from; checksums tie the texts to it, and golden
//! rows tie the code that reads it to the code that wrote it.
//!
//! Numbers that enter the arithmetic are rounded to nine significant digits when a bundle is made, so that their
//! decimal form reads back to the same bits.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::features::{FeatureSpec, feature_hash, fnv1a};
use crate::fill::FillShape;
use crate::path::Calibration;

/// Version of the bundle's format.
pub const FORMAT: u32 = 1;
/// File name of the manifest within a bundle.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Everything about a model except its trees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Name, e.g. `fill-forecast`.
    pub name: String,
    /// Version: the name and a hash of what decides the answers.
    pub version: String,
    /// When it was trained, UTC ms, as told by the caller.
    pub trained_at_ms: i64,
    /// Seed of sampling and training.
    pub seed: u64,
    /// Features in the order of the trees' inputs; a fill model appends the horizon in hours itself.
    pub features: Vec<FeatureSpec>,
    /// Hash of `features`.
    pub feature_hash: String,
    /// What it was trained on.
    pub data: DataRange,
    /// Where it may answer; a row outside is declined.
    pub domain: Vec<DomainRange>,
    /// How tree outputs become columns.
    pub decoder: Decoder,
    /// The tree models by role.
    pub models: BTreeMap<String, ModelFile>,
    /// The evaluation on held-out data, as the trainer wrote it.
    pub metrics: serde_json::Value,
    /// Rows with known answers, checked at each load.
    pub golden: Vec<GoldenRow>,
}

/// What a model was trained on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataRange {
    /// Earliest event time, UTC ms.
    pub from_ms: i64,
    /// Latest event time, UTC ms.
    pub to_ms: i64,
    /// Training examples.
    pub train_rows: u64,
    /// Calibration examples.
    pub calibration_rows: u64,
    /// Test examples.
    pub test_rows: u64,
    /// Distinct series (device on container).
    pub series: u64,
}

/// An inclusive range of a column within which a model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainRange {
    /// The column.
    pub column: String,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Whether a missing value is inside.
    pub missing_ok: bool,
}

/// A file of trees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Name within the bundle.
    pub file: String,
    /// FNV-1a of the text, 16 hex digits.
    pub checksum: String,
}

/// How tree outputs become columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Decoder {
    /// Roles `rate_p10`, `rate_p50`, `rate_p90`: quantiles of the mean fill rate (level fraction per hour) over a
    /// horizon, the horizon being the last feature.
    Fill {
        /// Horizons that are asked for, ascending, with their interval calibration.
        horizons: Vec<Horizon>,
        /// Labels reached up to here; longer horizons carry the trees' last rate on.
        trained_to_h: f64,
        /// Path → columns.
        shape: FillShape,
    },
    /// Role `score`: one calibrated probability.
    Score {
        /// Name of the output column.
        column: String,
        /// Calibration of the trees' probability.
        calibration: Calibration,
    },
    /// Role `score` (a probability) and, where `life` is, roles `life_p10`, `life_p50`, `life_p90`: the columns of
    /// [`crate::risk`], with the strongest contributions to the score as drivers.
    Risk {
        /// The horizon that the labels had, days.
        horizon_days: i64,
        /// Calibration of the trees' probability.
        calibration: Calibration,
        /// What is left of a life, in the unit of the labels; `None` when it is not predicted.
        life: Option<Life>,
        /// Drivers told at most.
        drivers: usize,
    },
}

/// How quantiles of a remaining life are told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// Labels were cut here: an answer at the cap means "this or longer".
    pub cap: f64,
    /// Conformal factor for the lower end.
    pub widen_low: f64,
    /// Conformal factor for the upper end.
    pub widen_high: f64,
}

/// A horizon with its conformal adjustment: an interval's end moves outwards by the factor times its width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Horizon {
    /// Hours ahead.
    pub hours: f64,
    /// Factor for the lower end.
    pub widen_low: f64,
    /// Factor for the upper end.
    pub widen_high: f64,
}

/// A row with a known answer; numbers as the hex of their bits, missing ones as null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenRow {
    /// Values in the order of the predictor's inputs.
    pub inputs: Vec<Option<String>>,
    /// Values of the output columns.
    pub outputs: Vec<Option<String>>,
}

/// `value` as the hex of its bits; NaN is `None`.
pub fn to_bits(value: f64) -> Option<String> {
    (!value.is_nan()).then(|| format!("{:016x}", value.to_bits()))
}

/// The reverse of [`to_bits`].
pub fn from_bits(bits: Option<&str>) -> f64 {
    bits.and_then(|text| u64::from_str_radix(text, 16).ok()).map_or(f64::NAN, f64::from_bits)
}

/// `value` with nine significant digits: short enough that decimal text reads back exactly.
pub fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// A manifest with the texts of its tree models by role.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// The manifest.
    pub manifest: Manifest,
    /// LightGBM texts by role.
    pub texts: BTreeMap<String, String>,
}

/// Checksum of a file's text.
pub fn checksum(text: &str) -> String {
    format!("{:016x}", fnv1a(text.as_bytes()))
}

impl Bundle {
    /// Reads a bundle's folder and checks format, feature hash and checksums.
    ///
    /// # Errors
    /// When a file is missing, altered or of another format.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(MANIFEST_FILE);
        let text = std::fs::read_to_string(&path).map_err(ModelError::io("read", &path))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| ModelError::Manifest {
            message: format!("{}: {error}", path.display()),
            hint: "the bundle was made by another version, train it again",
        })?;
        let mut texts = BTreeMap::new();
        for (role, model) in &manifest.models {
            if model.file.contains(['/', '\\']) {
                return Err(ModelError::Manifest {
                    message: format!("file {} is not a plain name", model.file),
                    hint: "a bundle's files stand beside its manifest",
                });
            }
            let path = folder.join(&model.file);
            texts.insert(role.clone(), std::fs::read_to_string(&path).map_err(ModelError::io("read", &path))?);
        }
        let bundle = Self { manifest, texts };
        bundle.check()?;
        Ok(bundle)
    }

    /// Checks format, feature hash and checksums.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self) -> Result<(), ModelError> {
        let manifest = &self.manifest;
        let wrong = |message: String, hint| Err(ModelError::Manifest { message, hint });
        if manifest.format != FORMAT {
            return wrong(format!("format {} instead of {FORMAT}", manifest.format), "train the model again");
        }
        if feature_hash(&manifest.features) != manifest.feature_hash {
            return wrong("features do not fit their hash".to_owned(), "the manifest was altered, train the model again");
        }
        for (role, model) in &manifest.models {
            let Some(text) = self.texts.get(role) else {
                return wrong(format!("role {role} has no model"), "train the model again");
            };
            if checksum(text) != model.checksum {
                return wrong(format!("{} does not fit its checksum", model.file), "copy the bundle again, whole");
            }
        }
        Ok(())
    }

    /// The bundle's files, `(name, content)`, in a fixed order.
    ///
    /// # Errors
    /// When the manifest cannot be written as JSON.
    pub fn files(&self) -> Result<Vec<(String, String)>, ModelError> {
        let mut json = serde_json::to_string_pretty(&self.manifest)
            .map_err(|error| ModelError::Manifest { message: error.to_string(), hint: "a number in it is not finite" })?;
        json.push('\n');
        let mut files = vec![(MANIFEST_FILE.to_owned(), json)];
        for (role, model) in &self.manifest.models {
            if let Some(text) = self.texts.get(role) {
                files.push((model.file.clone(), text.clone()));
            }
        }
        Ok(files)
    }

    /// Writes the bundle into a folder, which is created; existing files are replaced. For a store that several
    /// processes read use [`crate::ModelStore`].
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(ModelError::io("create", folder))?;
        for (name, content) in self.files()? {
            let path = folder.join(name);
            std::fs::write(&path, content).map_err(ModelError::io("write", &path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn rounded_numbers_survive_json_bit_for_bit() {
        let mut value: f64 = 0.123_456_789_012_345_67;
        for _ in 0..2000 {
            value = (value * 3.999 * (1.0 - value)).abs();
            for scale in [1e-9, 1e-3, 1.0, 1e6] {
                let short = rounded(value * scale);
                let back: f64 = serde_json::from_str(&serde_json::to_string(&short).unwrap()).unwrap();
                assert_eq!(back.to_bits(), short.to_bits());
                assert!((short - value * scale).abs() <= value * scale * 1e-8);
            }
        }
    }

    #[test]
    fn bits_keep_every_number_and_missing() {
        for value in [0.1 + 0.2, -0.0, f64::INFINITY, 5e-324] {
            assert_eq!(from_bits(to_bits(value).as_deref()).to_bits(), value.to_bits());
        }
        assert!(to_bits(f64::NAN).is_none() && from_bits(None).is_nan());
    }
}
