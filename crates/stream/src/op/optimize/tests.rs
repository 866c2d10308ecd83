//! Boards under a clock: when they are asked about, what becomes of answers, and what survives.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::batch::with_system;
use crate::op::testing::{Col, Step, disturb, function, random, rows, show_column};
use crate::operator::{Call, Solved};
use crate::predict::{PredictError, Prediction};
use crate::solve::{Case, Refusal};
use crate::spec::TriggerSpec;

/// (area, entity, value, word, time): `gone` deletes, `now` is urgent, `aside` is quiet.
type R<'a> = (Option<&'a str>, Option<&'a str>, i64, &'a str, i64);

fn input(list: &[R<'_>]) -> RecordBatch {
    let times: Vec<i64> = list.iter().map(|r| r.4).collect();
    let columns = [
        ("area", Col::S(list.iter().map(|r| r.0).collect())),
        ("entity", Col::S(list.iter().map(|r| r.1).collect())),
        ("value", Col::I(list.iter().map(|r| Some(r.2)).collect())),
        ("word", Col::S(list.iter().map(|r| Some(r.3)).collect())),
    ];
    rows(&columns, &times)
}

fn word(wanted: &'static str) -> ExprRef {
    function(wanted, DataType::Boolean, move |r| {
        let k = r.column_by_name("word").unwrap().as_string::<i32>();
        Ok(Arc::new(k.iter().map(|v| v.map(|v| v == wanted)).collect::<BooleanArray>()))
    })
}

fn outputs() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("sum", DataType::Int64, false), Field::new("memo_len", DataType::Int64, true)]))
}

fn spec() -> OptimizeSpec {
    OptimizeSpec {
        solver: "best".into(),
        fallback: Some("quick".into()),
        key: vec!["area".into()],
        entity: vec!["entity".into()],
        deleted: Some(word("gone")),
        valid_until: None,
        ttl_ms: 1_000,
        trigger: TriggerSpec { debounce_ms: 30, max_wait_ms: 100, at_most_every_ms: 200, urgent: Some(word("now")), quiet: Some(word("aside")) },
        timeout_ms: 50,
        budget_ms: 40,
        iterations: Some(100),
        retry_ms: 300,
        with: BTreeMap::new(),
        outputs: outputs(),
        max_rows: 3,
        max_memo_bytes: 16,
        max_calls: 2,
    }
}

/// Refuses answers whose sum is not that of the board asked about.
struct Sums;

impl Accept for Sums {
    fn judge(&mut self, case: &Case<'_>) -> Result<(), Refusal> {
        let given = case.answer.rows.column(0).as_primitive::<Int64Type>().value(0);
        let true_sum = sum(case.asked);
        if given == true_sum { Ok(()) } else { Err(Refusal { code: "wrong_sum".into(), detail: format!("{given} is not {true_sum}") }) }
    }
}

fn sum(rows: &RecordBatch) -> i64 {
    rows.column_by_name("value").unwrap().as_primitive::<Int64Type>().iter().flatten().sum()
}

fn stage(spec: OptimizeSpec) -> Optimize {
    let mut fields = vec![Field::new("area", DataType::Utf8, false)];
    fields.extend(outputs().fields().iter().map(|f| f.as_ref().clone()));
    fields.extend(optimize_columns());
    let output = with_system(&Schema::new(fields));
    Optimize::new(spec, "t/plan".into(), Some(Box::new(Sums)), input(&[]).schema(), output).unwrap()
}

fn answer(call: &Call, sum: i64) -> Answer {
    let memo_len = call.solve.as_ref().unwrap().memo.len() as i64;
    let columns = RecordBatch::try_new(outputs(), vec![Arc::new(Int64Array::from(vec![sum])) as ArrayRef, Arc::new(Int64Array::from(vec![memo_len]))]).unwrap();
    let mut memo = call.solve.as_ref().unwrap().memo.to_vec();
    memo.push(1);
    Answer { solved: Some(Solved { memo, iterations: 7 }), ..Answer::predicted(call, Ok(Prediction { columns, declined: None }), "v1", "") }
}

/// A stage with a clock.
struct Bench {
    op: Optimize,
    cx: Context,
}

impl Bench {
    fn new(spec: OptimizeSpec) -> Bench {
        Bench { op: stage(spec), cx: Context::new() }
    }
    fn push(&mut self, list: &[R<'_>]) {
        self.op.process(&mut self.cx, &input(list)).unwrap();
        self.at(self.cx.now_ms);
    }
    fn at(&mut self, now_ms: i64) {
        self.cx.now_ms = now_ms;
        self.op.advance(&mut self.cx).unwrap();
        assert!(self.cx.counts.balanced(), "{:?}", self.cx.counts);
    }
    fn calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.cx.calls)
    }
    fn one(&mut self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{:?}", self.cx.decisions);
        calls.remove(0)
    }
    fn answer(&mut self, call: &Call, sum: i64) {
        self.op.answer(&mut self.cx, answer(call, sum)).unwrap();
    }
    fn out(&mut self, columns: &[&str]) -> Vec<String> {
        let out = std::mem::take(&mut self.cx.out);
        let made: Vec<String> = out
            .iter()
            .flat_map(|b| {
                let all: Vec<Vec<String>> = columns.iter().map(|c| show_column(b, c)).collect();
                (0..b.num_rows()).map(|i| all.iter().map(|c| c[i].as_str()).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
            })
            .collect();
        made
    }
    fn decided(&mut self, kind: &str) -> Vec<String> {
        self.cx.decisions.iter().filter(|(k, _)| *k == kind).map(|(_, d)| d.clone()).collect()
    }
}

const A: Option<&str> = Some("a");

#[test]
fn a_board_is_asked_about_when_it_is_quiet_and_answered_as_a_whole() {
    let mut b = Bench::new(spec());
    b.push(&[(A, Some("x"), 1, "", 10), (A, Some("y"), 5, "", 11), (A, Some("x"), 2, "", 12), (A, Some("x"), 9, "", 5)]);
    b.at(29);
    assert!(b.calls().is_empty(), "it waits for more");
    b.at(30);
    let call = b.one();
    assert_eq!((call.predictor.as_str(), sum(&call.rows), call.rows.num_rows(), call.deadline_ms), ("best", 7, 2, 80));
    let solve = call.solve.clone().unwrap();
    assert_eq!((solve.key.as_str(), solve.memo.len(), solve.iterations, solve.budget_ms), ("a", 0, Some(100), 40));
    assert_eq!(b.op.oldest_pending_ms(), Some(12), "the watermark stays behind what will come of it");
    b.answer(&call, 7);
    assert_eq!(
        b.out(&["__time", "area", "sum", "rung", "solver", "solver_version", "iterations", "decision_id", "decision_no"]),
        ["12 a 7 model best v1 7 t/plan/a/1 1"]
    );
    assert_eq!((b.op.oldest_pending_ms(), b.op.pending_rows()), (None, 0));
    assert_eq!((b.cx.counts.folded, b.cx.counts.made), (4, 1));
    // What changes nothing calls for nothing.
    b.push(&[(A, Some("y"), 5, "", 20)]);
    b.at(10_000);
    assert!(b.calls().is_empty());
}

#[test]
fn changes_during_a_call_make_the_next_one_with_the_accepted_memo() {
    let mut b = Bench::new(spec());
    b.push(&[(A, Some("x"), 1, "", 10)]);
    b.at(30);
    let first = b.one();
    b.push(&[(A, Some("x"), 2, "", 20)]);
    b.at(75);
    assert!(b.calls().is_empty(), "one call of a key at a time");
    b.answer(&first, 1);
    b.at(229);
    assert!(b.calls().is_empty(), "at most every 200 ms");
    b.at(230);
    let second = b.one();
    assert_eq!(second.solve.as_ref().unwrap().memo.len(), 1);
    assert_ne!(second.solve.as_ref().unwrap().seed, first.solve.as_ref().unwrap().seed);
    b.answer(&second, 2);
    b.answer(&second, 2);
    assert_eq!(b.out(&["sum", "memo_len", "decision_no"]), ["1 0 1", "2 1 2"], "an answer that came twice counts once");
}

#[test]
fn urgent_rows_do_not_wait_quiet_ones_do_not_ask_and_none_waits_for_ever() {
    let mut b = Bench::new(spec());
    b.push(&[(A, Some("x"), 1, "aside", 10)]);
    b.at(1_000);
    assert!(b.calls().is_empty());
    b.push(&[(A, Some("y"), 1, "now", 10)]);
    let call = b.one();
    assert_eq!(call.rows.num_rows(), 2, "the quiet row is on the board");
    assert!(b.decided("asked")[0].contains("because urgent"), "{:?}", b.cx.decisions);
    b.answer(&call, 2);
    // A board that never becomes quiet is asked about all the same.
    for t in (0..12).map(|i| 2_000 + i * 20) {
        b.cx.now_ms = t;
        b.push(&[(A, Some("y"), t, "", t)]);
    }
    let asked = b.calls().remove(0);
    assert_eq!(sum(&asked.rows), 2_101, "100 ms after the first change");
}

#[test]
fn the_ladder_goes_from_refused_to_the_fallback_to_what_there_was() {
    let mut b = Bench::new(spec());
    b.push(&[(A, Some("x"), 4, "", 10)]);
    b.at(30);
    let call = b.one();
    b.answer(&call, 5);
    assert!(b.decided("refused")[0].contains("wrong_sum: 5 is not 4"), "{:?}", b.cx.decisions);
    let fallback = b.one();
    assert_eq!(fallback.predictor, "quick");
    b.answer(&fallback, 4);
    assert_eq!(b.out(&["rung", "solver", "decision_no"]), ["heuristic quick 1"]);
    // Next time nobody answers.
    b.cx.now_ms = 1_000;
    b.push(&[(A, Some("x"), 6, "now", 20)]);
    let call = b.one();
    b.at(1_051);
    assert!(b.decided("timed_out")[0].contains("no answer within 50 ms"));
    let fallback = b.one();
    b.answer(&call, 6);
    let error = PredictError { predictor: "quick".into(), message: "no".into() };
    b.op.answer(&mut b.cx, Answer::predicted(&fallback, Err(error), "", "")).unwrap();
    assert!(b.out(&["rung"]).is_empty(), "an answer after its time is none");
    assert_eq!((b.decided("kept").len(), b.op.pending_rows()), (1, 0));
    b.at(1_350);
    assert!(b.calls().is_empty());
    b.at(1_351);
    let again = b.one();
    assert_eq!((again.predictor.as_str(), again.solve.as_ref().unwrap().memo.len()), ("best", 1), "from the last accepted memo");
    b.answer(&again, 6);
    assert_eq!(b.out(&["rung", "decision_no"]), ["model 2"]);
    assert_eq!(b.op.rungs(), [("failed", 1), ("heuristic", 1), ("kept", 1), ("model", 1), ("refused", 1), ("timed_out", 1)]);
}

#[test]
fn a_memo_or_columns_out_of_bounds_are_refused_and_cost_no_task() {
    let mut b = Bench::new(OptimizeSpec { fallback: None, ..spec() });
    b.push(&[(A, Some("x"), 4, "now", 10)]);
    let call = b.one();
    let mut huge = answer(&call, 4);
    huge.solved.as_mut().unwrap().memo = vec![0; 17];
    b.op.answer(&mut b.cx, huge).unwrap();
    assert!(b.decided("refused")[0].contains("memo_too_large"));
    b.at(300);
    let call = b.one();
    let mut wrong = answer(&call, 4);
    wrong.result = Ok(Prediction { columns: RecordBatch::new_empty(Arc::new(Schema::empty())), declined: None });
    b.op.answer(&mut b.cx, wrong).unwrap();
    assert!(b.decided("refused")[1].contains("wrong_columns: column `sum` is missing"), "{:?}", b.cx.decisions);
    assert_eq!(b.cx.counts.made, 0);
}

#[test]
fn rows_leave_by_deletion_and_by_time_and_old_ones_do_not_come_back() {
    let mut b = Bench::new(spec());
    b.push(&[(A, Some("x"), 1, "", 10), (A, Some("y"), 2, "", 500), (A, Some("x"), 0, "gone", 20), (A, Some("x"), 7, "", 15)]);
    b.at(30);
    let call = b.one();
    assert_eq!(sum(&call.rows), 2);
    b.answer(&call, 2);
    b.cx.watermark_ms = 1_500;
    b.at(400);
    b.at(430);
    let call = b.one();
    assert_eq!((call.rows.num_rows(), b.op.oldest_pending_ms()), (0, Some(1_500)), "its time to live is over");
    b.answer(&call, 0);
    b.push(&[(A, Some("z"), 3, "", 400)]);
    b.at(1_000);
    assert!(b.calls().is_empty(), "a row that is over when it comes changes nothing");
}

#[test]
fn what_has_no_place_ends_as_a_dead_letter() {
    let mut b = Bench::new(spec());
    b.push(&[(None, Some("x"), 1, "", 1), (A, None, 1, "", 1)]);
    b.push(&[(A, Some("1"), 1, "", 1), (A, Some("2"), 1, "", 1), (A, Some("3"), 1, "", 1), (A, Some("4"), 1, "", 1), (A, Some("1"), 2, "", 2)]);
    let reasons: Vec<(&str, usize)> = b.cx.side.iter().map(|s| (s.reason.as_str(), s.rows.num_rows())).collect();
    assert_eq!(reasons, [("no_key", 1), ("no_entity", 1), ("board_full", 1)]);
    assert_eq!((b.cx.counts.folded, b.cx.counts.dead), (4, 3));
}

#[test]
fn calls_under_way_are_bounded_and_none_is_forgotten() {
    let mut b = Bench::new(spec());
    b.push(&[(Some("c"), Some("x"), 1, "now", 1), (Some("a"), Some("x"), 1, "now", 1), (Some("b"), Some("x"), 1, "now", 1)]);
    let calls = b.calls();
    assert_eq!(calls.iter().map(|c| c.solve.as_ref().unwrap().key.as_str()).collect::<Vec<_>>(), ["a", "b"], "by time and key");
    assert_eq!(b.op.pending_rows(), 3);
    b.answer(&calls[1], 1);
    assert_eq!(b.one().solve.unwrap().key, "c");
}

#[test]
fn a_call_under_way_is_asked_again_after_a_rollback_and_a_restore() {
    let mut b = Bench::new(spec());
    let epoch = |op: &mut Optimize, log: &mut BTreeMap<(Vec<u8>, i64), Vec<u8>>| {
        let mut rows = Vec::new();
        op.close_epoch(&mut |k, s, v| rows.push((k.to_vec(), s, v.map(<[u8]>::to_vec))));
        op.committed();
        for (k, s, v) in rows {
            match v {
                Some(v) => log.insert((k, s), v),
                None => log.remove(&(k, s)),
            };
        }
    };
    let mut log = BTreeMap::new();
    b.push(&[(A, Some("x"), 4, "now", 10)]);
    let call = b.one();
    epoch(&mut b.op, &mut log);
    // The answer's epoch is undone.
    b.answer(&call, 4);
    assert_eq!(b.out(&["decision_no"]), ["1"]);
    b.op.rollback().unwrap();
    b.op.reissue(&mut b.cx).unwrap();
    let again = b.one();
    let (first, second) = (call.solve.clone().unwrap(), again.solve.clone().unwrap());
    assert_eq!((first.seed, &first.memo, &call.rows), (second.seed, &second.memo, &again.rows), "the same question");
    assert!(b.decided("asked")[1].contains("attempt 2") && b.decided("asked")[1].contains("because recovered"));
    b.push(&[(A, Some("y"), 1, "", 12)]);
    epoch(&mut b.op, &mut log);
    // Another process takes over: it asks about the board as it is then.
    let mut c = Bench::new(spec());
    c.cx.now_ms = 5_000;
    log.iter().for_each(|((k, s), v)| c.op.import(k, *s, Some(v)).unwrap());
    c.op.imported().unwrap();
    assert_eq!(c.op.oldest_pending_ms(), Some(10), "known before anything is asked again");
    c.op.reissue(&mut c.cx).unwrap();
    let third = c.one();
    assert_eq!((sum(&third.rows), third.solve.as_ref().unwrap().seed, third.predictor.as_str()), (5, first.seed, "best"));
    c.answer(&third, 5);
    assert_eq!(c.out(&["sum", "decision_no"]), ["5 1"]);
    c.at(50_000);
    assert!(c.calls().is_empty(), "that call knew of all changes");
    // A question that nobody survives goes to the fallback.
    for _ in 0..2 {
        b.op.reissue(&mut b.cx).unwrap();
    }
    let tired: Vec<String> = b.calls().into_iter().map(|c| c.predictor).collect();
    assert_eq!(tired, ["best", "quick"]);
}

#[test]
fn a_clock_behind_that_of_the_process_before_does_not_hold_a_board_up() {
    let mut b = Bench::new(spec());
    b.cx.now_ms = 1_000_000;
    b.push(&[(A, Some("x"), 4, "", 10)]);
    b.op.close_epoch(&mut |_, _, _| {});
    b.op.committed();
    let mut c = Bench::new(spec());
    b.op.scan_committed_where(&|_| true, &mut |k, s, v| c.op.import(k, s, v).unwrap());
    c.op.imported().unwrap();
    c.cx.now_ms = 500;
    c.op.reissue(&mut c.cx).unwrap();
    c.at(530);
    assert_eq!(c.calls().len(), 1, "quiet for 30 ms by this clock");
}

#[test]
fn boards_are_undisturbed_by_rollbacks_restores_and_other_batches() {
    for seed in 0..60 {
        let mut r = random(seed);
        let (mut time, mut watermark) = (0i64, -100i64);
        let steps: Vec<Step> = (0..20)
            .map(|_| {
                if r(3) == 0 {
                    watermark = watermark.max(time - 100 + r(150) as i64 - 900);
                    return Step::Watermark(watermark);
                }
                let list: Vec<R<'_>> = (0..r(6))
                    .map(|_| {
                        time += r(80) as i64;
                        let entity = [Some("1"), Some("2"), Some("3"), Some("4")][r(4) as usize];
                        ([Some("a"), Some("b")][r(2) as usize], entity, r(4) as i64, ["", "gone", "aside", "now"][r(4) as usize], time - r(300) as i64)
                    })
                    .collect();
                Step::Rows(input(&list))
            })
            .collect();
        // Processing time stands still here, and so does the trigger: urgent changes wait for their gap.
        disturb(seed, &steps, true, || {
            let mut s = spec();
            (s.trigger.urgent, s.trigger.at_most_every_ms) = (None, 1_000);
            Box::new(stage(s))
        });
    }
}
