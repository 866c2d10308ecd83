//! Rows of features as questions: whom they are about, when, and where their columns are.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::TrainError;
use crate::leak::check_times;
use crate::series::RowRef;

/// A row to ask about.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedRow {
    /// The key columns, joined by `/`.
    pub subject: String,
    /// Event time, UTC ms.
    pub at_ms: i64,
    /// Where it is.
    pub source: RowRef,
}

/// All rows, by subject and time.
///
/// # Errors
/// When a column is absent or of another type, or rows were received before they were observed.
pub fn risk_rows(batches: &[RecordBatch], key: &[&str]) -> Result<Vec<AskedRow>, TrainError> {
    check_times(batches)?;
    let mut rows = Vec::new();
    for (batch, of) in batches.iter().enumerate() {
        let column = |name: &str| of.column_by_name(name).ok_or_else(|| TrainError::column(name, "is not in the rows"));
        let times = column("observed_at")?.as_primitive_opt::<Int64Type>().ok_or_else(|| TrainError::column("observed_at", "is not a time"))?;
        let mut keys = Vec::new();
        for name in key {
            keys.push(column(name)?.as_string_opt::<i32>().ok_or_else(|| TrainError::column(name, "is not a text"))?);
        }
        for row in 0..of.num_rows() {
            let subject = keys.iter().map(|key| key.value(row)).collect::<Vec<_>>().join("/");
            rows.push(AskedRow { subject, at_ms: times.value(row), source: RowRef { batch, row } });
        }
    }
    rows.sort_by(|a, b| a.subject.cmp(&b.subject).then(a.at_ms.cmp(&b.at_ms)));
    Ok(rows)
}

/// Rows of a subject at least so far apart.
pub fn thinned(rows: Vec<AskedRow>, apart_ms: i64) -> Vec<AskedRow> {
    let mut kept: Vec<AskedRow> = Vec::new();
    for row in rows {
        let near = kept.last().is_some_and(|last| last.subject == row.subject && row.at_ms - last.at_ms < apart_ms);
        if !near {
            kept.push(row);
        }
    }
    kept
}
