//! What matching and traffic share as stages of a topology: reading columns, and rows put out in the engine's types.
//!
//! A stage here is a function of (settings, state in bytes, row): it has the form of the engine's custom operators, whose
//! glue is a translation of [`Value`] to its cells and of [`Step::timer_ms`] to its timer.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

/// A value of an output row, in engine types.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// None.
    Null,
    /// Int64.
    Int(i64),
    /// Float64.
    Float(f64),
    /// Boolean.
    Bool(bool),
    /// Utf8.
    Text(String),
}

impl From<Option<f64>> for Value {
    fn from(value: Option<f64>) -> Value {
        value.map_or(Value::Null, Value::Float)
    }
}

/// What a row or a timer led to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// Rows to put out, each with its event time, UTC ms.
    pub rows: Vec<(i64, Vec<Value>)>,
    /// The key's one timer, event time, UTC ms; `None` clears it.
    pub timer_ms: Option<i64>,
    /// What became of the row, for counters.
    pub verdict: Option<&'static str>,
}

/// A stage: a function of settings, state in bytes, and row. Empty bytes are a key never seen.
pub trait Stage: Send {
    /// Takes row `index` of a batch. After an error the state is as it was.
    ///
    /// # Errors
    /// When the row cannot be taken or the state cannot be read.
    fn row(&mut self, state: &mut Vec<u8>, rows: &RecordBatch, index: usize) -> Result<Step, StageError>;

    /// The key's timer came.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn timer(&mut self, state: &mut Vec<u8>, due_ms: i64) -> Result<Step, StageError>;
}

/// A row that cannot be taken; the state stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// A column is missing or of another type.
    #[error("column `{name}` is not there as {expected}; the stage before must yield it")]
    Column {
        /// Its name.
        name: &'static str,
        /// Its type.
        expected: DataType,
    },
    /// A value that must be there is null or unusable.
    #[error("column `{name}`: {what}")]
    Value {
        /// Column.
        name: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The stored state cannot be read.
    #[error(transparent)]
    Matching(#[from] crate::matching::StateError),
    /// The stored state cannot be read.
    #[error(transparent)]
    Traffic(#[from] crate::traffic::AreaStateError),
    /// The stored state cannot be read.
    #[error("state of stops is damaged or of another version; the vehicle must start afresh")]
    Stops,
}

/// A row of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub rows: &'a RecordBatch,
    pub index: usize,
}

impl<'a> Row<'a> {
    fn column(&self, name: &'static str, expected: DataType) -> Result<&'a dyn Array, StageError> {
        let column = self.rows.column_by_name(name).filter(|column| *column.data_type() == expected && self.index < column.len());
        column.map(|column| column.as_ref()).ok_or(StageError::Column { name, expected })
    }

    fn there(name: &'static str) -> StageError {
        StageError::Value { name, what: "is null".to_owned() }
    }

    pub(crate) fn int(&self, name: &'static str) -> Result<i64, StageError> {
        let column = self.column(name, DataType::Int64)?;
        column.is_valid(self.index).then(|| column.as_primitive::<Int64Type>().value(self.index)).ok_or_else(|| Row::there(name))
    }

    pub(crate) fn float(&self, name: &'static str) -> Result<Option<f64>, StageError> {
        let column = self.column(name, DataType::Float64)?;
        Ok(column.is_valid(self.index).then(|| column.as_primitive::<Float64Type>().value(self.index)))
    }

    /// A number where the column may be missing altogether.
    pub(crate) fn maybe(&self, name: &'static str) -> Option<f64> {
        self.float(name).ok().flatten()
    }

    pub(crate) fn bool(&self, name: &'static str) -> Result<bool, StageError> {
        let column = self.column(name, DataType::Boolean)?;
        Ok(column.is_valid(self.index) && column.as_boolean().value(self.index))
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<&'a str, StageError> {
        let column = self.column(name, DataType::Utf8)?;
        if column.is_valid(self.index) { Ok(column.as_string::<i32>().value(self.index)) } else { Err(Row::there(name)) }
    }
}
