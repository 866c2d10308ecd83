//! Behaviour of tumbling and hopping windows: by hand, against a definition, and under random roll-backs and restores.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::batch::with_system;
use crate::op::testing::{Col, Step, all_columns, column, disturb, function, random, rows, run};
use crate::spec::AggFn;
use arrow::array::AsArray;

type Row<'a> = (i64, Option<&'a str>, Option<f64>);

fn input(values: &[Row<'_>]) -> RecordBatch {
    let times: Vec<i64> = values.iter().map(|v| v.0).collect();
    rows(&[("k", Col::S(values.iter().map(|v| v.1).collect())), ("v", Col::F(values.iter().map(|v| v.2).collect()))], &times)
}

fn calls() -> Vec<AggCall> {
    let v = column("v", DataType::Float64);
    let call = |function, arg: Option<&_>| AggCall { function, arg: arg.cloned(), horizon_ms: None };
    vec![call(AggFn::Count, None), call(AggFn::Avg, Some(&v)), call(AggFn::Max, Some(&v)), call(AggFn::Slope, Some(&v))]
}

fn window(size_ms: i64, slide_ms: i64) -> Window {
    let input = input(&[]).schema();
    let group_by = ["k".to_string()];
    let inner = window_schema(&input, &group_by, &calls()).unwrap();
    let spec = WindowSpec { size_ms, slide_ms };
    Window::new(&group_by, spec, &calls(), &all_columns(&inner), input, with_system(&inner)).unwrap()
}

const SHOWN: [&str; 5] = ["k", "window_start", "window_end", "agg0", "agg2"];

#[test]
fn a_tumbling_window_closes_once_when_the_watermark_reaches_its_end() {
    let steps = [
        Step::Rows(input(&[(0, Some("b"), Some(1.0)), (59, Some("b"), Some(3.0)), (60, Some("b"), Some(9.0)), (10, Some("a"), None)])),
        Step::Watermark(59),
        Step::Watermark(60),
        Step::Watermark(119),
        Step::Rows(input(&[(70, Some("a"), Some(7.0))])),
        Step::Watermark(1_000),
    ];
    let mut w = window(60, 60);
    let r = run(&mut w, &steps);
    assert_eq!(r.columns(&SHOWN), ["a 0 60 1 ", "b 0 60 2 3.0", "a 60 120 1 7.0", "b 60 120 1 9.0"], "by end, then by key");
    assert_eq!(r.column("__time"), ["59", "59", "119", "119"], "event time is the last moment of the window");
    assert_eq!(r.column("__offset"), ["3", "1", "4", "2"], "that of the newest row in it");
    assert_eq!(r.column("agg1"), ["", "2.0", "7.0", "9.0"]);
    assert_eq!((r.counts.input, r.counts.folded, r.counts.made, r.counts.late), (5, 5, 4, 0));
    assert_eq!(w.state.stored.panes.len(), 0, "closed windows leave nothing behind");
    assert!(w.state.index.is_empty());
}

#[test]
fn a_row_is_late_only_when_all_of_its_windows_are_closed() {
    let steps = [
        Step::Rows(input(&[(5, Some("a"), Some(1.0)), (25, Some("a"), Some(2.0))])),
        Step::Watermark(35), // [-20,10), [-10,20), [0,30) closed; [10,40), [20,50) open
        Step::Rows(input(&[(9, Some("a"), Some(8.0)), (10, Some("a"), Some(4.0)), (29, Some("a"), Some(5.0))])),
        Step::Watermark(100),
    ];
    let r = run(&mut window(30, 10), &steps);
    let expected = ["a -20 10 1 1.0", "a -10 20 1 1.0", "a 0 30 2 2.0", "a 10 40 3 5.0", "a 20 50 2 5.0"];
    assert_eq!(r.columns(&SHOWN), expected);
    assert_eq!(r.ended(), ["too_late: 9|2|false|a|8.0"]);
    assert_eq!(r.counts.late, 1);
}

#[test]
fn windows_before_1970_are_on_the_same_grid() {
    let steps = [
        Step::Rows(input(&[(-1, Some("a"), Some(1.0)), (-60, Some("a"), Some(2.0)), (-61, Some("a"), Some(3.0)), (0, Some("a"), Some(4.0))])),
        Step::Watermark(60),
    ];
    let r = run(&mut window(60, 60), &steps);
    assert_eq!(r.columns(&SHOWN), ["a -120 -60 1 3.0", "a -60 0 2 2.0", "a 0 60 1 4.0"]);
}

#[test]
fn a_slide_longer_than_the_window_leaves_gaps_that_are_counted() {
    let steps = [Step::Rows(input(&[(5, Some("a"), Some(1.0)), (15, Some("a"), Some(2.0)), (105, Some("a"), Some(3.0))])), Step::Watermark(1_000)];
    let r = run(&mut window(10, 100), &steps);
    assert_eq!(r.columns(&SHOWN), ["a 0 10 1 1.0", "a 100 110 1 3.0"]);
    assert_eq!((r.counts.filtered, r.counts.folded), (1, 2));
}

#[test]
fn keys_of_several_columns_come_back_and_rows_without_a_key_are_dead() {
    let batch = rows(&[("k", Col::S(vec![Some("x"), None, Some("")])), ("n", Col::I(vec![Some(-5), Some(1), Some(7)]))], &[1, 2, 3]);
    let group_by = ["n".to_string(), "k".to_string()];
    let count = [AggCall { function: AggFn::Count, arg: None, horizon_ms: None }];
    let inner = window_schema(&batch.schema(), &group_by, &count).unwrap();
    let spec = WindowSpec { size_ms: 10, slide_ms: 10 };
    let mut w = Window::new(&group_by, spec, &count, &all_columns(&inner), batch.schema(), with_system(&inner)).unwrap();
    let r = run(&mut w, &[Step::Rows(batch), Step::Watermark(10)]);
    let mut got = r.columns(&["n", "k", "agg0"]);
    got.sort();
    assert_eq!(got, ["-5 x 1", "7  1"]);
    assert_eq!((r.sides[0].reason.as_str(), r.counts.dead), (super::super::NO_KEY, 1));
}

#[test]
fn one_row_that_breaks_an_argument_costs_only_itself() {
    let picky = function("picky(v)", DataType::Float64, |r| {
        let v = r.column_by_name("v").unwrap();
        let bad = v.as_primitive::<arrow::datatypes::Float64Type>().iter().flatten().any(|v| v == 7.3);
        if bad { Err("absurd".to_string()) } else { Ok(v.clone()) }
    });
    let batch = input(&[(1, Some("a"), Some(1.0)), (2, Some("a"), Some(7.3)), (3, Some("a"), Some(2.0)), (4, Some("a"), Some(7.3))]);
    let sum = [AggCall { function: AggFn::Sum, arg: Some(picky), horizon_ms: None }];
    let group_by = ["k".to_string()];
    let inner = window_schema(&batch.schema(), &group_by, &sum).unwrap();
    let spec = WindowSpec { size_ms: 10, slide_ms: 10 };
    let mut w = Window::new(&group_by, spec, &sum, &all_columns(&inner), batch.schema(), with_system(&inner)).unwrap();
    let r = run(&mut w, &[Step::Rows(batch), Step::Watermark(10)]);
    assert_eq!(r.column("agg0"), ["3.0"]);
    assert_eq!(r.ended(), ["expression_failed: 2|1|false|a|7.3", "expression_failed: 4|3|false|a|7.3"]);
}

/// Against the definition: each window's rows, collected by hand.
#[test]
fn hopping_windows_are_what_their_definition_says() {
    for seed in 0..40 {
        let mut r = random(seed);
        let (size, slide) = [(30, 10), (25, 10), (60, 60), (7, 3), (40, 20)][seed as usize % 5];
        let texts: Vec<(i64, &str, f64)> = (0..60).map(|_| (r(300) as i64 - 100, ["a", "b", "c"][r(3) as usize], r(100) as f64)).collect();
        let batch = input(&texts.iter().map(|(t, k, v)| (*t, Some(*k), Some(*v))).collect::<Vec<_>>());
        let mut steps = vec![Step::Rows(batch)];
        let mut watermark = -150;
        while watermark < 400 {
            watermark += 1 + r(60) as i64;
            steps.push(Step::Watermark(watermark));
        }
        let mut expected = Vec::new();
        for start in (-300..400i64).filter(|s| s.rem_euclid(slide) == 0) {
            for key in ["a", "b", "c"] {
                let inside: Vec<f64> = texts.iter().filter(|(t, k, _)| *k == key && (start..start + size).contains(t)).map(|x| x.2).collect();
                if let Some(max) = inside.iter().copied().reduce(f64::max) {
                    expected.push(format!("{key} {start} {} {} {max:?}", start + size, inside.len()));
                }
            }
        }
        assert_eq!(run(&mut window(size, slide), &steps).columns(&SHOWN), expected, "seed {seed}");
    }
}

#[test]
fn undisturbed_by_rollbacks_and_restores() {
    for seed in 0..80 {
        let mut r = random(seed);
        let (size, slide) = [(30, 10), (25, 10), (20, 20), (10, 15)][seed as usize % 4];
        let mut watermark = -40;
        let steps: Vec<Step> = (0..30)
            .map(|_| match r(2) {
                0 => {
                    watermark += r(25) as i64;
                    Step::Watermark(watermark)
                }
                _ => {
                    let keys = [Some("a"), Some("b"), Some(""), None];
                    let values: Vec<Row<'_>> = (0..r(10)).map(|_| (watermark - 20 + r(60) as i64, keys[r(15) as usize % 4], Some(r(9) as f64))).collect();
                    Step::Rows(input(&values))
                }
            })
            .collect();
        // Late and keyless rows leave in one batch each, so cutting batches may change only their order.
        disturb(seed, &steps, false, || Box::new(window(size, slide)));
    }
}
