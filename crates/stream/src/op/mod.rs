//! The stages, one file each. What they share stands here: how a row's key is read, and how an expression that fails
//! on some rows costs those rows and not the batch.

mod absence;
mod apply;
mod changed;
mod dedup;
pub mod infer;
mod join;
mod made;
mod optimize;
mod paired;
mod select;
mod since;
#[cfg(test)]
pub(crate) mod testing;
mod timers;
mod window;

pub use absence::{Absence, absence_columns};
pub use apply::Apply;
pub use changed::Changed;
pub use dedup::Dedup;
pub use join::Join;
pub use optimize::{Optimize, optimize_columns};
pub use select::{Each, Select};
pub use since::{Since, since_schema};
pub use window::{Window, window_schema};

use crate::batch::write_key;
use crate::expr::{ExprError, ExprRef};
use crate::operator::{Context, OperatorError, Side, SideKind};
use crate::spec::Column;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema};

/// Reason of rows whose key is null.
pub(crate) const NO_KEY: &str = "no_key";
/// Reason of rows on which an expression failed.
pub(crate) const EXPRESSION_FAILED: &str = "expression_failed";

/// Indexes of named columns.
pub(crate) fn indexes(schema: &Schema, names: &[String]) -> Result<Vec<usize>, OperatorError> {
    let find = |n: &String| schema.index_of(n).map_err(|_| OperatorError::Column { column: n.clone(), expected: "any" });
    names.iter().map(find).collect()
}

/// Indexes of key columns, which must have a type that [`write_key`] can write.
pub(crate) fn key_indexes(schema: &Schema, names: &[String]) -> Result<Vec<usize>, OperatorError> {
    let found = indexes(schema, names)?;
    for (i, name) in found.iter().zip(names) {
        if !matches!(schema.field(*i).data_type(), DataType::Utf8 | DataType::Binary | DataType::Int64 | DataType::Boolean) {
            return Err(OperatorError::Column { column: name.clone(), expected: "Utf8, Binary, Int64 or Boolean, as it is a key" });
        }
    }
    Ok(found)
}

/// The key columns of a batch. One string column, the common case, is read in place.
pub(crate) enum Keys<'a> {
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Any(Vec<ArrayRef>),
}

impl<'a> Keys<'a> {
    pub(crate) fn new(rows: &'a RecordBatch, columns: &[usize]) -> Self {
        if let [only] = columns {
            let column = rows.column(*only);
            match column.data_type() {
                DataType::Utf8 => return Keys::Text(column.as_string::<i32>()),
                DataType::Binary => return Keys::Bytes(column.as_binary::<i32>()),
                _ => {}
            }
        }
        Keys::Any(columns.iter().map(|c| rows.column(*c).clone()).collect())
    }

    /// The key of row `i`, `None` when a part is null. `scratch` is the caller's, so that no row allocates.
    #[inline]
    pub(crate) fn get<'b>(&'b self, i: usize, scratch: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        match self {
            Keys::Text(c) => c.is_valid(i).then(|| c.value(i).as_bytes()),
            Keys::Bytes(c) => c.is_valid(i).then(|| c.value(i)),
            Keys::Any(c) => write_key(c, i, scratch).then_some(scratch),
        }
    }
}

/// The rows at these indexes.
pub(crate) fn take(rows: &RecordBatch, indexes: Vec<u32>) -> Result<RecordBatch, OperatorError> {
    Ok(take_record_batch(rows, &UInt32Array::from(indexes))?)
}

/// Ends the rows at these indexes here.
pub(crate) fn end(cx: &mut Context, rows: &RecordBatch, indexes: Vec<u32>, kind: SideKind, reason: &str, detail: &str) -> Result<(), OperatorError> {
    if !indexes.is_empty() {
        cx.side(kind, reason, detail.to_string(), take(rows, indexes)?);
    }
    Ok(())
}

/// Ends rows whose key is null as dead letters.
pub(crate) fn end_without_key(cx: &mut Context, rows: &RecordBatch, indexes: Vec<u32>) -> Result<(), OperatorError> {
    end(cx, rows, indexes, SideKind::Dead, NO_KEY, "a key column is null")
}

/// What an evaluation gave: the rows that it worked for, its value for them, and the others.
pub(crate) struct Evaluated<T> {
    pub(crate) rows: RecordBatch,
    pub(crate) value: T,
    pub(crate) failed: Option<Side>,
}

/// Evaluates `f` over a batch. If it fails, the rows at fault are found by halving and set apart.
pub(crate) fn evaluate<T>(rows: &RecordBatch, f: impl Fn(&RecordBatch) -> Result<T, ExprError>) -> Result<Evaluated<T>, OperatorError> {
    fn search<T>(rows: &RecordBatch, from: usize, f: &impl Fn(&RecordBatch) -> Result<T, ExprError>, bad: &mut Vec<u32>, why: &mut String) {
        if let Err(e) = f(rows) {
            let n = rows.num_rows();
            if n <= 1 {
                if why.is_empty() {
                    *why = e.to_string();
                }
                bad.push(from as u32);
            } else {
                search(&rows.slice(0, n / 2), from, f, bad, why);
                search(&rows.slice(n / 2, n - n / 2), from + n / 2, f, bad, why);
            }
        }
    }
    match f(rows) {
        Ok(value) => Ok(Evaluated { rows: rows.clone(), value, failed: None }),
        Err(e) if rows.num_rows() == 0 => Err(e.into()),
        Err(_) => {
            let (mut bad, mut why) = (Vec::new(), String::new());
            search(rows, 0, &f, &mut bad, &mut why);
            let good = (0..rows.num_rows() as u32).filter(|i| bad.binary_search(i).is_err()).collect();
            let good = take(rows, good)?;
            let value = f(&good)?;
            let failed = Side { kind: SideKind::Dead, reason: EXPRESSION_FAILED.to_string(), detail: why, rows: take(rows, bad)? };
            Ok(Evaluated { rows: good, value, failed: Some(failed) })
        }
    }
}

/// As [`evaluate`], for input rows: the failed ones end as dead letters and are counted.
pub(crate) fn evaluate_input<T>(
    cx: &mut Context,
    rows: &RecordBatch,
    f: impl Fn(&RecordBatch) -> Result<T, ExprError>,
) -> Result<(RecordBatch, T), OperatorError> {
    let e = evaluate(rows, f)?;
    if let Some(side) = e.failed {
        cx.side(side.kind, &side.reason, side.detail, side.rows);
    }
    Ok((e.rows, e.value))
}

/// One array per output column.
pub(crate) fn evaluate_columns(columns: &[Column], rows: &RecordBatch) -> Result<Vec<ArrayRef>, ExprError> {
    columns.iter().map(|c| evaluate_one(&c.expr, rows)).collect()
}

/// Evaluates one expression and checks that it gave a value per row.
pub(crate) fn evaluate_one(expr: &ExprRef, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
    let values = expr.evaluate(rows)?;
    if values.len() != rows.num_rows() {
        let message = format!("{} values for {} rows", values.len(), rows.num_rows());
        return Err(ExprError { expression: expr.text().to_string(), message });
    }
    Ok(values)
}

/// System columns followed by `user`, in the shape of `schema`.
pub(crate) fn with_columns(schema: &arrow::datatypes::SchemaRef, rows: &RecordBatch, user: Vec<ArrayRef>) -> Result<RecordBatch, OperatorError> {
    let mut columns = rows.columns()[..crate::batch::SYSTEM_COLUMNS].to_vec();
    columns.extend(user);
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
