//! Expressions as the core sees them: planned once elsewhere, evaluated per batch. Only immutable expressions exist
//! here; the plan refuses `now()`, `random()` and their like.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;

/// An expression that failed on a batch, e.g. an overflowing cast.
#[derive(Debug, thiserror::Error)]
#[error("expression `{expression}`: {message}")]
pub struct ExprError {
    /// The expression as written.
    pub expression: String,
    /// What went wrong.
    pub message: String,
}

/// A planned scalar expression.
pub trait Expr: Send + Sync + std::fmt::Debug {
    /// One value per row.
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError>;
    /// Type of the values.
    fn data_type(&self) -> DataType;
    /// May a value be null?
    fn nullable(&self) -> bool;
    /// As written in the topology.
    fn text(&self) -> &str;
}

/// A shared planned expression.
pub type ExprRef = std::sync::Arc<dyn Expr>;
