//! Bytes to columns and back, as the core sees it. Implementations live at the edge (Avro, JSON); they are pure
//! computations, so the core may call them in the middle of a step.

use crate::records::Records;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// Why a row cannot go on; the code stands in dead letters, metrics and counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Row index in the decoded [`Records`].
    pub row: usize,
    /// A stable code: `undecodable`, `truncated`, `unknown_schema`, `not_framed`, `trailing_bytes`, `oversized` …
    pub reason: &'static str,
    /// What was found, in words.
    pub error: String,
    /// Writer schema id, if the framing could be read.
    pub schema_id: Option<u32>,
}

/// What decoding a run of records gave. `rows.num_rows() == index.len()`, and every input row is in exactly one of
/// `index`, `tombstones` and `dead`.
#[derive(Debug)]
pub struct Decoded {
    /// The user columns asked for, in the decoder's schema.
    pub rows: RecordBatch,
    /// For each output row, its index in the records; ascending.
    pub index: Vec<u32>,
    /// Rows without a value: deletions of a table, nothing elsewhere.
    pub tombstones: Vec<u32>,
    /// Rows that could not be decoded. One bad row never costs another.
    pub dead: Vec<RowError>,
}

/// Decodes record values into columns.
pub trait Decode: Send {
    /// The columns it yields: Int64, Float64, Boolean, Utf8 or Binary, nullable as the contract says.
    fn schema(&self) -> SchemaRef;
    /// Decodes all rows; bad rows are reported, never an error of the whole.
    fn decode(&mut self, records: &Records) -> Decoded;
}

/// Encoded values of a batch, row by row.
#[derive(Debug, Default)]
pub struct Encoded {
    /// All values one behind the other.
    pub buffer: Vec<u8>,
    /// End of each row's value in `buffer`; row `i` starts where row `i - 1` ends.
    pub ends: Vec<u32>,
}

impl Encoded {
    /// The bytes of row `i`.
    pub fn row(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.buffer[start..self.ends[i] as usize]
    }
    /// Forgets all rows, keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.ends.clear();
    }
}

/// A batch that cannot be encoded at all: a contract between topology and sink that the plan should have refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode for {topic}: {message}")]
pub struct EncodeError {
    /// Sink topic.
    pub topic: String,
    /// What does not fit.
    pub message: String,
}

/// Encodes rows of columns into record values.
pub trait Encode: Send {
    /// Appends one value per row to `out`. Rows that do not fit the contract get an empty value and are reported.
    fn encode(&mut self, rows: &RecordBatch, out: &mut Encoded) -> Result<Vec<RowError>, EncodeError>;
}
