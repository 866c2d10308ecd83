//! Collects the answers of a since stage as columns.

use super::super::made::Made;
use super::walk::Found;
use crate::aggregate::{AggPlan, Results};
use crate::row::{RowCodec, RowDecoder};
use crate::store::StateError;
use arrow::array::{BooleanArray, Int64Array};
use std::sync::Arc;

/// Answers on their way out.
pub(super) struct Emission {
    rows: RowDecoder,
    results: Results,
    calls: usize,
    window_start: Vec<Option<i64>>,
    last_time: Vec<i64>,
    row_time: Vec<i64>,
    offset: Vec<i64>,
    late: Vec<bool>,
}

impl Emission {
    pub(super) fn new(codec: &RowCodec, plan: &AggPlan) -> Self {
        Emission {
            rows: codec.decoder(),
            results: plan.results(),
            calls: plan.calls(),
            window_start: Vec::new(),
            last_time: Vec::new(),
            row_time: Vec::new(),
            offset: Vec::new(),
            late: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.row_time.len()
    }

    pub(super) fn push(&mut self, row: &[u8], row_ms: i64, newest_ms: i64, offset: i64, late: bool, found: &Found) -> Result<(), StateError> {
        self.rows.push(row)?;
        for call in 0..self.calls {
            self.results.push(call, found.result(call));
        }
        self.window_start.push(found.window_start_ms);
        self.last_time.push(newest_ms);
        self.row_time.push(row_ms);
        self.offset.push(offset);
        self.late.push(late);
        Ok(())
    }

    /// All answers in the columns of [`super::since_schema`].
    pub(super) fn finish(&mut self) -> Made {
        let mut columns = self.rows.finish();
        let (time, late) = (std::mem::take(&mut self.row_time), std::mem::take(&mut self.late));
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.window_start))));
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.last_time))));
        columns.push(Arc::new(Int64Array::from(time.clone())));
        columns.push(Arc::new(BooleanArray::from(late.clone())));
        columns.extend(self.results.finish());
        Made { time, offset: std::mem::take(&mut self.offset), late, columns }
    }
}
