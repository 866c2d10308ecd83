//! What a custom operator is: keyed state in opaque bytes, rows in, rows out, one timer per key. Implementations live
//! at the edge; the `apply` stage keeps their state, so pre-images, changelog, snapshots and restores come for free.
//!
//! Contract: a pure function of (settings, state, row). No clock, no randomness, no memory of its own between calls:
//! after a roll-back the same rows come again with the state as it was, and must give the same.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};

/// What an operator needs and makes; the plan checks a topology against it.
#[derive(Clone, Debug)]
pub struct CustomContract {
    /// Columns that must be there, with engine types.
    pub inputs: Vec<(String, DataType)>,
    /// Columns that it makes, engine types. Key and carried columns stand before them in the stage's output.
    pub outputs: SchemaRef,
}

/// A value of an output row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
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
    /// Binary.
    Bytes(Vec<u8>),
}

/// A row that an operator cannot take: it ends as a dead letter, `operator_failed`, and the state stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CustomError(pub String);

/// What an operator sees of the key at hand, and where it puts its results.
#[derive(Debug)]
pub struct KeyContext<'a> {
    /// The key's bytes: a single text column is its text (see [`crate::batch::write_key`]).
    pub key: &'a [u8],
    /// The key's state; empty at first. What is left here is kept; left empty, the key is forgotten.
    pub state: &'a mut Vec<u8>,
    /// The stage's watermark, event time; `i64::MIN` before the first.
    pub watermark_ms: i64,
    pub(crate) timer: &'a mut Option<i64>,
    pub(crate) out: &'a mut Vec<(i64, Vec<Cell>)>,
}

impl KeyContext<'_> {
    /// A context over plain parts, for tests of operators.
    pub fn new<'a>(key: &'a [u8], state: &'a mut Vec<u8>, watermark_ms: i64, timer: &'a mut Option<i64>, out: &'a mut Vec<(i64, Vec<Cell>)>) -> KeyContext<'a> {
        KeyContext { key, state, watermark_ms, timer, out }
    }

    /// Puts out a row with this event time; `values` in the order of the contract's outputs.
    pub fn emit(&mut self, time_ms: i64, values: Vec<Cell>) {
        self.out.push((time_ms, values));
    }

    /// The key's timer, event time.
    pub fn timer_ms(&self) -> Option<i64> {
        *self.timer
    }

    /// Sets the key's one timer; `None` clears it. It fires once when the watermark reaches it.
    pub fn set_timer(&mut self, at_ms: Option<i64>) {
        *self.timer = at_ms;
    }
}

/// A custom operator.
pub trait CustomOp: Send {
    /// Takes row `i` of a batch. Rows of a key come in the order of the input.
    fn row(&mut self, cx: &mut KeyContext<'_>, rows: &RecordBatch, i: usize) -> Result<(), CustomError>;

    /// The key's timer came; it is cleared before. Setting it again to the same time or before puts it 1 ms later.
    fn timer(&mut self, _cx: &mut KeyContext<'_>, _due_ms: i64) -> Result<(), CustomError> {
        Ok(())
    }
}
