//! What a predictor is: a batch in, a batch out, with the version that answered. Implementations live in
//! `inference`; the ladder that chooses among them is the core's.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;

/// What a predictor answered for a batch.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The output columns, one row per input row.
    pub columns: RecordBatch,
    /// True where the predictor declines: the row is outside its declared domain. The values there mean nothing.
    pub declined: Option<BooleanArray>,
}

/// A predictor that failed for the whole batch; the ladder takes its next rung.
#[derive(Clone, Debug, thiserror::Error)]
#[error("predictor {predictor}: {message}")]
pub struct PredictError {
    /// Who failed.
    pub predictor: String,
    /// How.
    pub message: String,
}

/// A model, or a rule that stands in for one.
pub trait Predictor: Send {
    /// Its name, e.g. `fill-forecast`.
    fn name(&self) -> &str;
    /// The version that goes into every prediction's headers.
    fn version(&self) -> &str;
    /// Hash of the ordered feature names and types it was made for.
    fn feature_hash(&self) -> &str;
    /// Columns it needs from the rows.
    fn inputs(&self) -> &[String];
    /// Columns it adds.
    fn outputs(&self) -> SchemaRef;
    /// Predicts every row, independent of how rows are batched.
    fn predict(&mut self, rows: &RecordBatch) -> Result<Prediction, PredictError>;
}
