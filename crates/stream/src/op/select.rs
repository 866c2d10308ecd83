//! `Select` filters and projects; `Each` makes one row per alternative of every row. Neither holds state.

use super::{end, evaluate_columns, evaluate_input, evaluate_one, with_columns};
use crate::expr::{ExprError, ExprRef};
use crate::operator::{Context, Operator, OperatorError, SideKind};
use crate::spec::{Column, Otherwise};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use std::sync::Arc;

/// Filter and projection.
#[derive(Debug)]
pub struct Select {
    filter: Option<ExprRef>,
    otherwise: Otherwise,
    columns: Option<Vec<Column>>,
    output: SchemaRef,
}

impl Select {
    /// A stage that yields `columns` (`None`: all) of the rows for which `filter` is true. Schemas hold the system
    /// columns.
    pub fn new(
        filter: Option<ExprRef>,
        otherwise: Otherwise,
        columns: Option<Vec<Column>>,
        _input: SchemaRef,
        output: SchemaRef,
    ) -> Result<Self, OperatorError> {
        if let Some(f) = &filter
            && f.data_type() != DataType::Boolean
        {
            return Err(OperatorError::Column { column: f.text().to_string(), expected: "Boolean, as it is a filter" });
        }
        Ok(Select { filter, otherwise, columns, output })
    }

    fn filter(&self, cx: &mut Context, rows: &RecordBatch, filter: &ExprRef) -> Result<RecordBatch, OperatorError> {
        let (rows, mask) = evaluate_input(cx, rows, |r| evaluate_mask(filter, r))?;
        if mask.true_count() == rows.num_rows() {
            return Ok(rows);
        }
        let refused: Vec<u32> = (0..mask.len() as u32).filter(|i| !mask.value(*i as usize)).collect();
        match &self.otherwise {
            Otherwise::Drop => cx.counts.filtered += refused.len() as u64,
            Otherwise::DeadLetter(reason) => {
                end(cx, &rows, refused, SideKind::Dead, reason, &format!("not true: {}", filter.text()))?;
            }
        }
        Ok(arrow::compute::filter_record_batch(&rows, &mask)?)
    }
}

fn same_names(rows: &RecordBatch, output: &SchemaRef) -> bool {
    let (a, b) = (rows.schema_ref(), output);
    Arc::ptr_eq(a, b) || (a.fields().len() == b.fields().len() && a.fields().iter().zip(b.fields()).all(|(x, y)| x.name() == y.name()))
}

/// The columns of `output` by name; what the rows lack is null: a `union` of rows that do not have the same columns.
fn widened(rows: &RecordBatch, output: &SchemaRef) -> Result<RecordBatch, OperatorError> {
    let column = |f: &FieldRef| rows.column_by_name(f.name()).cloned().unwrap_or_else(|| new_null_array(f.data_type(), rows.num_rows()));
    Ok(RecordBatch::try_new(output.clone(), output.fields().iter().map(column).collect())?)
}

/// A filter's answers; null counts as false.
pub(crate) fn evaluate_mask(filter: &ExprRef, rows: &RecordBatch) -> Result<BooleanArray, ExprError> {
    let mask = evaluate_one(filter, rows)?;
    let mask = mask
        .as_boolean_opt()
        .ok_or_else(|| ExprError { expression: filter.text().to_string(), message: format!("{} instead of Boolean", mask.data_type()) })?;
    Ok(match mask.nulls() {
        None => mask.clone(),
        Some(valid) => BooleanArray::new(mask.values() & valid.inner(), None),
    })
}

impl Operator for Select {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        cx.counts.input += rows.num_rows() as u64;
        let mut rows = match &self.filter {
            Some(f) => self.filter(cx, rows, f)?,
            None => rows.clone(),
        };
        if let Some(columns) = &self.columns
            && rows.num_rows() > 0
        {
            let (kept, user) = evaluate_input(cx, &rows, |r| evaluate_columns(columns, r))?;
            rows = with_columns(&self.output, &kept, user)?;
        }
        if self.columns.is_none() && !same_names(&rows, &self.output) {
            rows = widened(&rows, &self.output)?;
        }
        cx.counts.emitted += rows.num_rows() as u64;
        cx.emit(rows);
        Ok(())
    }
}

/// One output row per alternative.
#[derive(Debug)]
pub struct Each {
    alternatives: Vec<Vec<Column>>,
    output: SchemaRef,
}

impl Each {
    /// A stage that yields, for every row, one row of each of the alternatives, in their order.
    pub fn new(alternatives: Vec<Vec<Column>>, _input: SchemaRef, output: SchemaRef) -> Result<Self, OperatorError> {
        Ok(Each { alternatives, output })
    }
}

impl Operator for Each {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        cx.counts.input += rows.num_rows() as u64;
        if self.alternatives.is_empty() {
            cx.counts.filtered += rows.num_rows() as u64;
            return Ok(());
        }
        let all = |r: &RecordBatch| self.alternatives.iter().map(|a| evaluate_columns(a, r)).collect::<Result<Vec<_>, _>>();
        let (rows, made) = evaluate_input(cx, rows, all)?;
        let (n, alternatives) = (rows.num_rows(), made.len());
        if n == 0 {
            return Ok(());
        }
        // Row by row, not alternative by alternative: the order must not depend on how rows are batched.
        let order: Vec<(usize, usize)> = (0..n).flat_map(|i| (0..alternatives).map(move |a| (a, i))).collect();
        let weave = |arrays: Vec<&dyn Array>| -> Result<ArrayRef, OperatorError> { Ok(interleave(&arrays, &order)?) };
        let user: Vec<ArrayRef> = (0..made[0].len()).map(|c| weave(made.iter().map(|m| m[c].as_ref()).collect())).collect::<Result<_, _>>()?;
        let repeated: arrow::array::UInt32Array = (0..n as u32).flat_map(|i| (0..alternatives).map(move |_| i)).collect();
        let system = rows.project(&[0, 1, 2])?;
        let system = arrow::compute::take_record_batch(&system, &repeated)?;
        cx.counts.emitted += n as u64;
        cx.counts.made += (n * (alternatives - 1)) as u64;
        let out = with_columns(&self.output, &system, user)?;
        cx.emit(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::batch::with_system;
    use crate::op::testing::{Col, Run, Step, column, function, rows, run};
    use arrow::array::Float64Array;
    use arrow::datatypes::{Field, Float64Type, Schema};
    use std::sync::Arc;

    fn input() -> RecordBatch {
        rows(&[("v", Col::F(vec![Some(0.5), None, Some(7.3), Some(-1.0)]))], &[10, 20, 30, 40])
    }
    fn sane() -> ExprRef {
        function("v BETWEEN 0 AND 1", DataType::Boolean, |r| {
            let v = r.column(3).as_primitive::<Float64Type>();
            Ok(Arc::new(v.iter().map(|v| v.map(|v| (0.0..=1.0).contains(&v))).collect::<BooleanArray>()))
        })
    }
    fn times_two(fails_at: Option<f64>) -> ExprRef {
        function("v * 2", DataType::Float64, move |r| {
            let v = r.column(3).as_primitive::<Float64Type>();
            match v.iter().any(|v| v.is_some() && v == fails_at) {
                true => Err("overflow".to_string()),
                false => Ok(Arc::new(v.iter().map(|v| v.map(|v| v * 2.0)).collect::<Float64Array>())),
            }
        })
    }
    fn output() -> SchemaRef {
        with_system(&Schema::new(vec![Field::new("w", DataType::Float64, true)]))
    }
    fn select(filter: bool, otherwise: Otherwise, fails_at: Option<f64>) -> Run {
        let columns = vec![Column { name: "w".into(), expr: times_two(fails_at) }];
        let mut s = Select::new(filter.then(sane), otherwise, Some(columns), input().schema(), output()).unwrap();
        run(&mut s, &[Step::Rows(input())])
    }

    #[test]
    fn rows_that_are_not_true_are_dropped_or_dead_and_null_is_not_true() {
        let dropped = select(true, Otherwise::Drop, None);
        assert_eq!(dropped.columns(&["__time", "__offset", "w"]), ["10 0 1.0"]);
        assert_eq!(dropped.counts.filtered, 3);
        let dead = select(true, Otherwise::DeadLetter("out_of_range".into()), None);
        assert_eq!((dead.counts.filtered, dead.counts.dead), (0, 3));
        assert_eq!(dead.ended()[1], "out_of_range: 30|2|false|7.3");
    }

    #[test]
    fn a_row_that_an_expression_fails_on_costs_only_itself() {
        let r = select(false, Otherwise::Drop, Some(7.3));
        assert_eq!(r.columns(&["__offset", "w"]), ["0 1.0", "1 ", "3 -2.0"]);
        assert_eq!(r.ended(), ["expression_failed: 30|2|false|7.3"]);
        assert!(r.sides[0].detail.contains("overflow"));
    }

    #[test]
    fn alternatives_leave_row_by_row() {
        let one = |expr| vec![Column { name: "w".into(), expr }];
        let alternatives = vec![one(column("v", DataType::Float64)), one(times_two(Some(-1.0)))];
        let r = run(&mut Each::new(alternatives, input().schema(), output()).unwrap(), &[Step::Rows(input())]);
        assert_eq!(r.columns(&["__offset", "w"]), ["0 0.5", "0 1.0", "1 ", "1 ", "2 7.3", "2 14.6"]);
        assert_eq!((r.counts.emitted, r.counts.made, r.counts.dead), (3, 3, 1));
    }
}
