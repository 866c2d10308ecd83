//! What expectations become of rows, and that no disturbance changes it.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod order;

use super::*;
use crate::batch::with_system;
use crate::op::testing::{Col, Run, Step, column, disturb, function, random, rows, run};
use crate::spec::Endings;
use arrow::array::BooleanArray;
use arrow::datatypes::Schema;

fn is(kind: &'static str) -> ExprRef {
    function(kind, DataType::Boolean, move |r| {
        let k = r.column_by_name("kind").unwrap().as_string::<i32>();
        Ok(Arc::new(k.iter().map(|v| v.map(|v| v == kind)).collect::<BooleanArray>()))
    })
}

fn spec() -> AbsenceSpec {
    AbsenceSpec {
        key: vec!["k".into()],
        each: Vec::new(),
        opens: None,
        met: None,
        cancel: None,
        due: When::After(100),
        not_before: None,
        repeat_ms: None,
        give_up_ms: 1_000,
        clock: Clock::Event,
        emit: Endings { absent: true, met: true, cancelled: true },
        take: Vec::new(),
        max_open: 4,
    }
}

/// (key, kind, id, n, time)
type R<'a> = (&'a str, &'a str, Option<&'a str>, Option<i64>, i64);

fn input(list: &[R<'_>]) -> RecordBatch {
    let times: Vec<i64> = list.iter().map(|r| r.4).collect();
    let columns = [
        ("k", Col::S(list.iter().map(|r| Some(r.0)).collect())),
        ("kind", Col::S(list.iter().map(|r| Some(r.1)).collect())),
        ("id", Col::S(list.iter().map(|r| r.2).collect())),
        ("n", Col::I(list.iter().map(|r| r.3).collect())),
    ];
    rows(&columns, &times)
}

fn stage(spec: AbsenceSpec) -> Absence {
    let input = input(&[]).schema();
    let mut fields: Vec<Field> = user_fields(&input).iter().map(|f| f.as_ref().clone()).collect();
    fields.extend(absence_columns());
    fields.extend(spec.take.iter().map(|(from, to)| input.field_with_name(from).unwrap().clone().with_name(to).with_nullable(true)));
    Absence::new(spec, input, with_system(&Schema::new(fields))).unwrap()
}

fn ends(run: &Run) -> Vec<String> {
    run.columns(&["k", "ended", "opened_at", "ended_at", "repeats"])
}

#[test]
fn silence_is_told_once_and_every_row_puts_it_off() {
    let steps = [
        Step::Rows(input(&[("a", "x", None, Some(1), 10), ("b", "x", None, None, 20), ("a", "x", None, Some(2), 90)])),
        Step::Watermark(150),
        Step::Watermark(500),
        Step::Rows(input(&[("b", "x", None, None, 480)])),
        Step::Watermark(590),
    ];
    let r = run(&mut stage(spec()), &steps);
    assert_eq!(ends(&r), ["b absent 20 120 0", "a absent 90 190 0"], "a row from behind the watermark does not set it off");
    assert_eq!(r.column("n"), ["", "2"], "the newest row's columns");
    assert_eq!((r.counts.folded, r.counts.made), (4, 2));
}

#[test]
fn an_absence_is_told_again_until_it_is_given_up() {
    let mut s = spec();
    (s.repeat_ms, s.give_up_ms) = (Some(50), 120);
    let steps = [Step::Rows(input(&[("a", "x", None, None, 0)])), Step::Watermark(160), Step::Watermark(10_000)];
    assert_eq!(ends(&run(&mut stage(s), &steps)), ["a absent 0 100 0", "a absent 0 150 1", "a absent 0 200 2"]);
}

fn visits() -> AbsenceSpec {
    let mut s = spec();
    s.each = vec!["id".into()];
    (s.opens, s.met, s.cancel) = (Some(is("planned")), Some(is("served")), Some(is("dropped")));
    s.due = When::At(column("n", DataType::Int64));
    s.take = vec![("kind".into(), "closed_by".into())];
    s
}

#[test]
fn every_expectation_ends_once_as_met_cancelled_or_absent() {
    let steps = [
        Step::Rows(input(&[
            ("s", "planned", Some("1"), Some(200), 0),
            ("s", "planned", Some("2"), Some(200), 1),
            ("s", "planned", Some("3"), Some(300), 2),
            ("s", "noise", None, None, 3),
            ("s", "planned", Some("4"), None, 4),
            ("s", "served", Some("2"), None, 150),
        ])),
        Step::Watermark(250),
        Step::Rows(input(&[("s", "dropped", None, None, 260), ("s", "served", Some("1"), None, 270)])),
        Step::Watermark(400),
    ];
    let r = run(&mut stage(visits()), &steps);
    assert_eq!(r.columns(&["id", "ended", "ended_at", "closed_by"]), ["2 met 150 served", "1 absent 200 ", "3 cancelled 260 dropped"]);
    assert!(r.ended()[0].starts_with("no_due_time"), "{:?}", r.ended());
    assert_eq!((r.counts.folded, r.counts.filtered, r.counts.dead), (6, 1, 1));
}

#[test]
fn what_came_before_its_expectation_was_read_still_meets_it() {
    // Another input was read first: the watermark is not there yet.
    let served = input(&[("s", "served", Some("1"), None, 150), ("s", "served", Some("1"), None, 160)]);
    let planned = input(&[("s", "planned", Some("1"), Some(200), 0), ("s", "planned", Some("2"), Some(180), 170)]);
    for rows in [[served.clone(), planned.clone()], [planned.clone(), served.clone()]] {
        let r = run(&mut stage(visits()), &[Step::Rows(rows[0].clone()), Step::Rows(rows[1].clone()), Step::Watermark(500)]);
        assert_eq!(r.columns(&["id", "ended", "ended_at"]), ["1 met 150", "2 absent 180"]);
    }
    // Behind the watermark nothing is remembered: no opening that precedes it can come in time.
    let r = run(&mut stage(visits()), &[Step::Watermark(170), Step::Rows(served), Step::Rows(planned), Step::Watermark(500)]);
    assert_eq!(r.columns(&["id", "ended"]), ["2 absent", "1 absent"]);
}

#[test]
fn what_comes_after_the_due_time_meets_nothing_however_early_it_was_read() {
    let planned = [("s", "planned", Some("1"), Some(200), 0), ("s", "planned", Some("2"), Some(400), 10), ("s", "planned", Some("3"), Some(250), 20)];
    // One for each, and one for all that are left.
    let closing = [("s", "served", Some("1"), None, 201), ("s", "served", Some("3"), None, 250), ("s", "dropped", None, None, 300)];
    let wanted = ["1 absent 200 ", "3 met 250 served", "2 cancelled 300 dropped"];
    let all = |first: &[R<'_>], then: &[R<'_>]| input(&[first, then].concat());
    let live = [Step::Rows(input(&planned)), Step::Watermark(190), Step::Rows(input(&closing)), Step::Watermark(1_000)];
    let backlog = [Step::Rows(all(&planned, &closing)), Step::Watermark(1_000)];
    let reversed = [Step::Rows(all(&closing, &planned)), Step::Watermark(1_000)];
    let by_step =
        [Step::Rows(all(&closing, &planned)), Step::Watermark(200), Step::Watermark(201), Step::Watermark(250), Step::Watermark(251), Step::Watermark(1_000)];
    for steps in [&live[..], &backlog, &reversed, &by_step] {
        assert_eq!(run(&mut stage(visits()), steps).columns(&["id", "ended", "ended_at", "closed_by"]), wanted);
    }
}

#[test]
fn nothing_is_told_before_the_watermark_has_passed_it() {
    let rows = || Step::Rows(input(&[("s", "planned", Some("1"), Some(200), 0), ("s", "served", Some("1"), None, 150)]));
    let met = |watermark_ms| run(&mut stage(visits()), &[rows(), Step::Watermark(watermark_ms)]).counts.made;
    assert_eq!((met(150), met(151)), (0, 1), "at 150 another row of 150 may still come");
    let absent = |watermark_ms| {
        let steps = [Step::Rows(input(&[("s", "planned", Some("1"), Some(200), 0)])), Step::Watermark(watermark_ms)];
        run(&mut stage(visits()), &steps).counts.made
    };
    assert_eq!((absent(200), absent(201)), (0, 1), "what comes at 200 meets it");
}

#[test]
fn what_comes_later_ends_the_repeats_after_those_before_it_and_meets_nothing() {
    let mut s = visits();
    (s.due, s.repeat_ms) = (When::After(100), Some(50));
    let rows = [("s", "planned", Some("1"), None, 0), ("s", "planned", Some("2"), None, 20), ("s", "served", Some("1"), None, 170)];
    let wanted = ["1 absent 100 0", "2 absent 120 0", "1 absent 150 1", "2 absent 170 1", "2 absent 220 2"];
    let read_early = [Step::Rows(input(&rows)), Step::Watermark(230)];
    let read_in_time = [Step::Rows(input(&rows[..2])), Step::Watermark(160), Step::Rows(input(&rows[2..])), Step::Watermark(230)];
    for steps in [&read_early[..], &read_in_time] {
        assert_eq!(run(&mut stage(s.clone()), steps).columns(&["id", "ended", "ended_at", "repeats"]), wanted);
    }
    // From behind the watermark it ends what is left of them.
    let read_late = [Step::Rows(input(&rows[..2])), Step::Watermark(210), Step::Rows(input(&rows[2..])), Step::Watermark(230)];
    let told = run(&mut stage(s), &read_late).columns(&["id", "ended", "ended_at", "repeats"]);
    assert_eq!(told, ["1 absent 100 0", "2 absent 120 0", "1 absent 150 1", "2 absent 170 1", "1 absent 200 2", "2 absent 220 2"]);
}

#[test]
fn a_silence_in_a_backlog_is_told_though_later_rows_were_read_before() {
    for cancelled in [true, false] {
        let mut s = spec();
        (s.cancel, s.emit.cancelled) = (Some(is("dropped")), cancelled);
        let rows = [("a", "x", None, Some(1), 0), ("a", "x", None, Some(2), 60), ("a", "x", None, Some(3), 161), ("a", "x", None, Some(4), 200)];
        let steps = [Step::Rows(input(&rows)), Step::Watermark(1_000)];
        assert_eq!(ends(&run(&mut stage(s.clone()), &steps)), ["a absent 60 160 0", "a absent 200 300 0"]);
        let rows: Vec<R<'_>> = rows.into_iter().rev().collect();
        let steps = [Step::Rows(input(&rows[..2])), Step::Watermark(0), Step::Rows(input(&rows[2..])), Step::Watermark(1_000)];
        assert_eq!(ends(&run(&mut stage(s), &steps)), ["a absent 60 160 0", "a absent 200 300 0"]);
    }
}

#[test]
fn a_silence_that_is_put_off_needs_no_row_to_wait() {
    let mut op = stage(spec());
    let later: Vec<R<'_>> = (1..40).map(|i| ("a", "x", None, None, i)).collect();
    run(&mut op, &[Step::Rows(input(&[("a", "x", None, None, 0)])), Step::Watermark(1), Step::Rows(input(&later))]);
    assert_eq!(op.state().unwrap().rows(), 1);
}

#[test]
fn an_opening_is_written_once_also_ahead_of_the_watermark() {
    let mut op = stage(visits());
    let rows = [("s", "planned", Some("1"), Some(90), 10), ("s", "planned", Some("2"), Some(90), 20)];
    run(&mut op, &[Step::Rows(input(&rows))]);
    let mut written = |steps: &[Step]| {
        let mut n = 0;
        run(&mut op, steps);
        op.state().unwrap().close_epoch(&mut |_, _, _| n += 1);
        op.state().unwrap().committed();
        n
    };
    assert_eq!((written(&[]), written(&[Step::Watermark(50)])), (2, 0));
}

#[test]
fn of_too_many_rows_ahead_of_the_watermark_the_earliest_takes_effect_at_once() {
    let mut s = visits();
    s.due = When::After(100);
    let rows: Vec<R<'_>> = (0..20).map(|i| ("s", if i % 2 == 0 { "planned" } else { "served" }, Some("1"), None, 10 * i)).collect();
    let (mut op, mut cx) = (stage(s), Context::new());
    op.process(&mut cx, &input(&rows)).unwrap();
    assert_eq!(op.state().unwrap().rows(), 4, "`max_open` wait");
    assert_eq!(cx.decisions, [("decided_early", "15 rows: more than 4 of a key were ahead of the watermark".to_string())]);
    cx.watermark_ms = 1_000;
    op.advance(&mut cx).unwrap();
    let ended: Vec<String> = cx.out.iter().flat_map(|b| crate::op::testing::show_column(b, "ended_at")).collect();
    assert_eq!(ended, (0..10).map(|i| (20 * i + 10).to_string()).collect::<Vec<_>>(), "each is met all the same");
}

#[test]
fn a_label_counts_from_its_horizon_on_and_never_before() {
    let mut s = visits();
    (s.due, s.not_before) = (When::After(300), Some(When::After(100)));
    let steps = [
        Step::Rows(input(&[
            ("s", "planned", Some("1"), None, 0),
            ("s", "served", None, None, 99),
            ("s", "planned", Some("2"), None, 50),
            ("s", "served", None, None, 120),
        ])),
        Step::Watermark(1_000),
    ];
    assert_eq!(run(&mut stage(s), &steps).columns(&["id", "ended", "ended_at"]), ["1 met 120", "2 absent 350"]);
}

#[test]
fn expectations_of_a_key_are_bounded() {
    let list: Vec<(String, i64)> = (0..6).map(|i| (i.to_string(), i)).collect();
    let list: Vec<R<'_>> = list.iter().map(|(id, t)| ("s", "planned", Some(id.as_str()), Some(100), *t)).collect();
    let r = run(&mut stage(visits()), &[Step::Rows(input(&list)), Step::Watermark(101)]);
    assert_eq!((r.counts.made, r.counts.dead), (4, 2));
    assert!(r.ended().iter().all(|e| e.starts_with("too_many_open")));
}

#[test]
fn processing_time_fires_without_a_watermark_and_says_so() {
    let mut s = spec();
    s.clock = Clock::Processing;
    let mut op = stage(s);
    let mut cx = Context::new();
    cx.now_ms = 1_000;
    op.process(&mut cx, &input(&[("a", "x", None, None, 5)])).unwrap();
    cx.now_ms = 1_099;
    op.advance(&mut cx).unwrap();
    assert!(cx.out.is_empty());
    cx.now_ms = 1_107;
    op.advance(&mut cx).unwrap();
    assert_eq!(crate::op::testing::show_column(&cx.out[0], "ended_at"), ["1107"]);
    assert_eq!(times(&cx.out[0]), [5], "event time stays event time");
    assert_eq!(cx.decisions, [("absent", "a opened 5 due 1100 told 1107".to_string())]);
}

#[test]
fn with_the_processing_clock_the_event_time_of_what_meets_may_be_any() {
    let mut s = visits();
    (s.clock, s.due, s.repeat_ms) = (Clock::Processing, When::After(100), Some(50));
    let (mut op, mut cx) = (stage(s), Context::new());
    cx.now_ms = 1_000;
    op.process(&mut cx, &input(&[("s", "planned", Some("1"), None, 5), ("s", "planned", Some("2"), None, 6)])).unwrap();
    // Long after in event time, in time by the clock.
    op.process(&mut cx, &input(&[("s", "served", Some("1"), None, 9_000)])).unwrap();
    cx.now_ms = 1_100;
    op.advance(&mut cx).unwrap();
    // Read too late by the clock: it has been told as absent, and is not told again.
    op.process(&mut cx, &input(&[("s", "served", Some("2"), None, 50), ("s", "planned", Some("1"), None, 8_000)])).unwrap();
    cx.now_ms = 5_000;
    op.advance(&mut cx).unwrap();
    let of = |name| cx.out.iter().flat_map(|b| crate::op::testing::show_column(b, name)).collect::<Vec<_>>();
    assert_eq!((of("id"), of("ended")), (vec!["1".to_string(), "2".into(), "1".into()], vec!["met".to_string(), "absent".into(), "met".into()]));
    assert_eq!(of("opened_at"), ["5", "6", "8000"], "what meets is remembered until the watermark has passed it");
}

#[test]
fn undisturbed_by_rollbacks_restores_and_other_batches() {
    for seed in 0..80 {
        let mut r = random(seed);
        let mut time = 0i64;
        let mut watermark = -50i64;
        let steps: Vec<Step> = (0..25)
            .map(|_| {
                if r(3) == 0 {
                    watermark = watermark.max(time - 30 + r(60) as i64);
                    return Step::Watermark(watermark);
                }
                let list: Vec<R<'_>> = (0..r(6))
                    .map(|_| {
                        time += r(20) as i64;
                        let kind = ["planned", "served", "dropped", "noise", "planned"][r(5) as usize];
                        let id = [Some("1"), Some("2"), None, Some("3")][r(4) as usize];
                        let t = time - r(40) as i64;
                        (["a", "b"][r(2) as usize], kind, id, (r(9) > 0).then_some(t + r(150) as i64), t)
                    })
                    .collect();
                Step::Rows(input(&list))
            })
            .collect();
        let mut silence = spec();
        (silence.repeat_ms, silence.cancel) = (Some(40), Some(is("dropped")));
        let specs = [visits(), silence];
        disturb(seed, &steps, true, || Box::new(stage(specs[seed as usize % 2].clone())));
    }
}
