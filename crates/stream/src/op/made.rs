//! Rows that a stage makes itself: group columns back from key bytes, and output expressions over columns that no
//! input has.

use super::{evaluate, evaluate_columns, with_columns};
use crate::batch::{SYSTEM_COLUMNS, assemble, read_key, with_system};
use crate::expr::ExprError;
use crate::operator::{Context, OperatorError};
use crate::spec::Column;
use crate::store::StateError;
use arrow::array::{ArrayRef, BinaryBuilder, BooleanBuilder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use std::sync::Arc;

/// Rows that a stage made, before its output expressions.
pub(super) struct Made {
    pub(super) time: Vec<i64>,
    pub(super) offset: Vec<i64>,
    pub(super) late: Vec<bool>,
    /// The inner columns.
    pub(super) columns: Vec<ArrayRef>,
}

impl Made {
    /// Evaluates the output expressions. Rows for which they fail go to the dead side, with the inner columns and
    /// *uncounted*: only the caller knows whether input rows stand behind them.
    pub(super) fn project(self, cx: &mut Context, inner: &SchemaRef, columns: &[Column], output: &SchemaRef) -> Result<RecordBatch, OperatorError> {
        let whole = assemble(&with_system(inner), self.time, self.offset, self.late, self.columns)?;
        let user: Vec<usize> = (SYSTEM_COLUMNS..whole.num_columns()).collect();
        let e = evaluate(&whole, |r| {
            // The expressions are planned over the inner columns alone.
            let r = r.project(&user).and_then(|p| p.with_schema(inner.clone()));
            let r = r.map_err(|e| ExprError { expression: "inner columns".into(), message: e.to_string() })?;
            evaluate_columns(columns, &r)
        })?;
        cx.side.extend(e.failed);
        with_columns(output, &e.rows, e.value)
    }
}

/// Keys as the group columns they were made of; these are the first `parts` fields of `schema`.
pub(super) fn key_columns(keys: &[&[u8]], schema: &Schema, parts: usize) -> Result<Vec<ArrayRef>, OperatorError> {
    let split: Vec<Vec<&[u8]>> = keys.iter().map(|k| read_key(k, parts)).collect();
    let damaged = || StateError("a key does not have the parts of the group columns".to_string());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(parts);
    for part in 0..parts {
        let values = split.iter().map(|k| k.get(part).copied().ok_or_else(damaged));
        columns.push(match schema.field(part).data_type() {
            DataType::Binary => {
                let mut b = BinaryBuilder::new();
                values.into_iter().try_for_each(|v| v.map(|v| b.append_value(v)))?;
                Arc::new(b.finish())
            }
            DataType::Int64 => {
                let mut b = Int64Builder::new();
                for v in values {
                    b.append_value(i64::from_le_bytes(v?.try_into().map_err(|_| damaged())?));
                }
                Arc::new(b.finish())
            }
            DataType::Boolean => {
                let mut b = BooleanBuilder::new();
                values.into_iter().try_for_each(|v| v.map(|v| b.append_value(v != [0])))?;
                Arc::new(b.finish())
            }
            _ => {
                let mut b = StringBuilder::new();
                for v in values {
                    b.append_value(std::str::from_utf8(v?).map_err(|_| damaged())?);
                }
                Arc::new(b.finish())
            }
        });
    }
    Ok(columns)
}
