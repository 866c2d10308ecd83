//! What a stage makes of operators, good ones and others, and that no disturbance changes it.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::batch::{user_fields, with_system};
use crate::op::testing::{Col, Step, disturb, random, rows, run};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Field, Int64Type, Schema};
use std::collections::BTreeMap;

/// Sums `n` per key; ten ms after a key's first row it tells the sum and begins anew. A negative number is refused.
struct Summing;

impl CustomOp for Summing {
    fn row(&mut self, cx: &mut KeyContext<'_>, rows: &RecordBatch, i: usize) -> Result<(), CustomError> {
        let n = rows.column_by_name("n").unwrap().as_primitive::<Int64Type>();
        let n = if n.is_valid(i) { n.value(i) } else { return Err(CustomError("no number".into())) };
        let before = cx.state.first().copied().unwrap_or(0);
        cx.state.clear();
        cx.state.resize(before as usize + n.max(0) as usize, 7);
        if let Some(f) = cx.state.first_mut() {
            *f = before + n.max(0) as u8;
        }
        if n < 0 {
            return Err(CustomError(format!("{n} is negative")));
        }
        if cx.timer_ms().is_none() {
            cx.set_timer(Some(times(rows)[i] + 10));
        }
        if n == 3 {
            cx.emit(times(rows)[i], vec![Cell::Text("three".into()), Cell::Int(n)]);
        }
        Ok(())
    }
    fn timer(&mut self, cx: &mut KeyContext<'_>, due_ms: i64) -> Result<(), CustomError> {
        cx.emit(due_ms, vec![Cell::Null, Cell::Int(i64::from(cx.state.first().copied().unwrap_or(0)))]);
        cx.state.clear();
        Ok(())
    }
}

fn input(list: &[(Option<&str>, Option<i64>, i64)]) -> RecordBatch {
    let times: Vec<i64> = list.iter().map(|r| r.2).collect();
    rows(
        &[
            ("k", Col::S(list.iter().map(|r| r.0).collect())),
            ("n", Col::I(list.iter().map(|r| r.1).collect())),
            ("tag", Col::I((0..list.len() as i64).map(Some).collect())),
        ],
        &times,
    )
}

fn stage(max_state_bytes: usize) -> Apply {
    let outputs = Arc::new(Schema::new(vec![Field::new("what", DataType::Utf8, true), Field::new("sum", DataType::Int64, false)]));
    let spec = ApplySpec {
        operator: "summing".into(),
        key: vec!["k".into()],
        with: BTreeMap::new(),
        carry: vec!["tag".into()],
        outputs: outputs.clone(),
        max_state_bytes,
    };
    let input = input(&[]).schema();
    let mut fields: Vec<_> = user_fields(&input).iter().filter(|f| f.name() != "n").cloned().collect();
    fields.extend(outputs.fields().iter().cloned());
    Apply::new(spec, Box::new(Summing), input, with_system(&Schema::new(fields))).unwrap()
}

#[test]
fn rows_and_timers_make_rows_with_what_is_carried() {
    let steps = [
        Step::Rows(input(&[(Some("b"), Some(1), 0), (Some("a"), Some(3), 0), (Some("a"), Some(2), 4), (None, Some(1), 4)])),
        Step::Watermark(10),
        Step::Rows(input(&[(Some("a"), Some(4), 11)])),
        Step::Watermark(30),
    ];
    let r = run(&mut stage(100), &steps);
    assert_eq!(r.columns(&["__time", "k", "tag", "what", "sum"]), ["0 a 1 three 3", "10 a 2  5", "10 b 0  1", "21 a 0  4"]);
    assert_eq!((r.counts.folded, r.counts.made, r.counts.dead), (4, 4, 1));
}

#[test]
fn a_refused_row_costs_itself_and_leaves_the_state_as_it_was() {
    let steps = [
        Step::Rows(input(&[(Some("a"), Some(2), 0), (Some("a"), Some(-1), 1), (Some("a"), None, 2), (Some("a"), Some(50), 3), (Some("a"), Some(3), 4)])),
        Step::Watermark(100),
    ];
    let r = run(&mut stage(20), &steps);
    assert_eq!(r.column("sum"), ["3", "5"]);
    let reasons: Vec<String> = r.ended().iter().map(|e| e.split(':').next().unwrap().to_string()).collect();
    assert_eq!(reasons, ["operator_failed", "operator_failed", "state_too_large"]);
}

/// An operator that breaks its contract.
struct Liar;

impl CustomOp for Liar {
    fn row(&mut self, cx: &mut KeyContext<'_>, _rows: &RecordBatch, i: usize) -> Result<(), CustomError> {
        cx.set_timer(Some(0));
        cx.state.push(1);
        cx.emit(0, if i == 0 { vec![Cell::Int(1)] } else { vec![Cell::Null, Cell::Null] });
        Ok(())
    }
    fn timer(&mut self, cx: &mut KeyContext<'_>, due_ms: i64) -> Result<(), CustomError> {
        cx.set_timer(Some(due_ms));
        Ok(())
    }
}

#[test]
fn an_operator_that_breaks_its_contract_costs_rows_and_never_the_task() {
    let mut op = stage(100);
    op.op = Box::new(Liar);
    let r = run(&mut op, &[Step::Rows(input(&[(Some("a"), Some(1), 0), (Some("a"), Some(1), 0)])), Step::Watermark(5)]);
    assert_eq!((r.counts.dead, r.counts.made), (2, 0));
    assert!(r.ended()[0].starts_with("operator_failed") && r.ended()[1].starts_with("operator_failed"));
}

#[test]
fn undisturbed_by_rollbacks_restores_and_other_batches() {
    for seed in 0..80 {
        let mut r = random(seed);
        let (mut time, mut watermark) = (0i64, 0i64);
        let steps: Vec<Step> = (0..25)
            .map(|_| {
                if r(3) == 0 {
                    watermark = watermark.max(time - 5 + r(12) as i64);
                    return Step::Watermark(watermark);
                }
                let list: Vec<_> = (0..r(6))
                    .map(|_| {
                        time += r(5) as i64;
                        (Some(["a", "b", "c"][r(3) as usize]), Some(r(6) as i64 - 1), time - r(20) as i64)
                    })
                    .collect();
                Step::Rows(input(&list))
            })
            .collect();
        disturb(seed, &steps, true, || Box::new(stage(12)));
    }
}
