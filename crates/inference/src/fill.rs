//! The columns of a fill forecast, the same from every predictor: levels at three horizons, hours to full, the
//! probability of overflowing before the next planned visit.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Builder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use ws_stream::predict::Prediction;

use crate::ModelError;
use crate::path::{Calibration, LevelPath};

/// Horizons of the `level_*` columns, hours.
pub const HORIZONS_H: [f64; 3] = [6.0, 24.0, 48.0];
/// Hours to full are given up to here: "this or later".
pub const HOURS_TO_FULL_CAP_H: f64 = 336.0;
/// The filling level, a fraction.
pub const LEVEL: &str = "filling_level";
/// Hours until the next planned visit.
pub const HOURS_TO_VISIT: &str = "hours_to_visit";

/// Names of the forecast's columns, all Float64 and nullable, in order.
pub const COLUMNS: [&str; 13] = [
    "level_6h_p10",
    "level_6h_p50",
    "level_6h_p90",
    "level_24h_p10",
    "level_24h_p50",
    "level_24h_p90",
    "level_48h_p10",
    "level_48h_p50",
    "level_48h_p90",
    "hours_to_full_p10",
    "hours_to_full_p50",
    "hours_to_full_p90",
    "p_overflow",
];

/// Schema of [`COLUMNS`].
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(COLUMNS.map(|name| Field::new(name, DataType::Float64, true)).to_vec()))
}

/// How a path becomes columns.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FillShape {
    /// The level that counts as full.
    pub full_level: f64,
    /// Calibration of the overflow probability.
    pub overflow: Calibration,
}

impl FillShape {
    /// One row of [`COLUMNS`]; `p_overflow` is NaN when no visit is planned. Levels end at full, where a sensor's
    /// do, and at 0.
    pub fn row(&self, path: &LevelPath, hours_to_visit: f64) -> [f64; 13] {
        let mut row = [f64::NAN; 13];
        for (index, hours) in HORIZONS_H.iter().enumerate() {
            row[index * 3..index * 3 + 3].copy_from_slice(&path.at(*hours).map(|level| level.clamp(0.0, 1.0)));
        }
        row[9..12].copy_from_slice(&path.hours_to(self.full_level, HOURS_TO_FULL_CAP_H));
        if !hours_to_visit.is_nan() {
            let raw = path.probability_full(hours_to_visit, self.full_level);
            row[12] = if raw >= 1.0 { 1.0 } else { self.overflow.apply(raw) };
        }
        row
    }
}

/// Collects rows of named Float64 columns; NaN becomes null, `None` a declined row.
pub struct RowBuilder {
    schema: SchemaRef,
    columns: Vec<Float64Builder>,
    declined: Vec<bool>,
}

impl RowBuilder {
    /// For rows of `schema`, whose fields are Float64.
    pub fn new(schema: SchemaRef, rows: usize) -> Self {
        let columns = schema.fields().iter().map(|_| Float64Builder::with_capacity(rows)).collect();
        Self { schema, columns, declined: Vec::with_capacity(rows) }
    }

    /// Adds one row.
    pub fn push(&mut self, row: Option<&[f64]>) {
        self.declined.push(row.is_none());
        for (index, column) in self.columns.iter_mut().enumerate() {
            column.append_option(row.and_then(|row| row.get(index).copied()).filter(|value| !value.is_nan()));
        }
    }

    /// The answer; `declined` is present when a row was.
    ///
    /// # Errors
    /// When arrow refuses the columns.
    pub fn finish(mut self) -> Result<Prediction, ModelError> {
        let arrays = self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        let columns = RecordBatch::try_new(self.schema, arrays)?;
        let declined = self.declined.contains(&true).then(|| BooleanArray::from(self.declined));
        Ok(Prediction { columns, declined })
    }
}
