//! Behaviour of windows since a reset: by hand, against a definition, and under random roll-backs and restores.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::batch::with_system;
use crate::op::testing::{Col, Run, Step, all_columns, column, disturb, marked_late, random, rows, run};
use crate::spec::{AggFn, DropSpec};

/// Minutes in tests, milliseconds in the engine.
const M: i64 = 60_000;

/// Time in minutes, level, reset in minutes, note that is carried.
type Reading<'a> = (i64, Option<f64>, Option<i64>, &'a str);

fn keyed(values: &[(&str, Reading<'_>)]) -> RecordBatch {
    let times: Vec<i64> = values.iter().map(|v| v.1.0 * M).collect();
    let columns = [
        ("k", Col::S(values.iter().map(|v| Some(v.0)).collect())),
        ("level", Col::F(values.iter().map(|v| v.1.1).collect())),
        ("reset", Col::I(values.iter().map(|v| v.1.2.map(|r| r * M)).collect())),
        ("note", Col::S(values.iter().map(|v| Some(v.1.3)).collect())),
    ];
    rows(&columns, &times)
}
fn readings(values: &[Reading<'_>]) -> Step {
    Step::Rows(keyed(&values.iter().map(|v| ("a", *v)).collect::<Vec<_>>()))
}
fn levels(values: &[(i64, f64)]) -> Step {
    readings(&values.iter().map(|(t, v)| (*t, Some(*v), None, "")).collect::<Vec<_>>())
}
fn watermark(minutes: i64) -> Step {
    Step::Watermark(minutes * M)
}

fn spec() -> SinceSpec {
    SinceSpec {
        at_most_ms: 1_000 * M,
        pane_ms: 15 * M,
        reset_at: Some("reset".to_string()),
        drop: Some(DropSpec { value: column("level", DataType::Float64), by: 0.3, to_at_most: 0.3 }),
        or_every_ms: Some(60 * M),
        give_up_ms: 180 * M,
        answer_all: false,
    }
}

/// agg0 count, agg1 first, agg2 last, agg3 slope, agg4 count within 60 minutes.
fn since(spec: SinceSpec) -> Since {
    let level = column("level", DataType::Float64);
    let call = |function, arg: Option<&_>, horizon_ms| AggCall { function, arg: arg.cloned(), horizon_ms };
    let calls = [
        call(AggFn::Count, None, None),
        call(AggFn::First, Some(&level), None),
        call(AggFn::Last, Some(&level), None),
        call(AggFn::Slope, Some(&level), None),
        call(AggFn::Count, Some(&level), Some(60 * M)),
    ];
    let input = keyed(&[]).schema();
    let carry = ["k".to_string(), "note".to_string()];
    let inner = since_schema(&input, &["k".to_string()], &carry, &calls).unwrap();
    Since::new(&["k".to_string()], spec, &calls, &carry, &all_columns(&inner), input, with_system(&inner)).unwrap()
}

fn check(steps: &[Step]) -> Run {
    run(&mut since(spec()), steps)
}

/// Row time and window start in minutes, count, first, last.
fn shown(r: &Run) -> Vec<String> {
    let minutes = |name: &str| r.column(name).iter().map(|v| v.parse::<i64>().map_or("-".to_string(), |v| (v / M).to_string())).collect::<Vec<_>>();
    let (row, start) = (minutes("row_time"), minutes("window_start"));
    let rest = r.columns(&["agg0", "agg1", "agg2"]);
    (0..row.len()).map(|i| format!("{} {} {}", row[i], start[i], rest[i])).collect()
}

#[test]
fn every_row_is_answered_with_the_window_as_of_itself() {
    let r = check(&[levels(&[(0, 0.1), (10, 0.2), (100, 0.4)])]);
    assert_eq!(shown(&r), ["0 - 1 0.1 0.1", "10 - 2 0.1 0.2", "100 - 3 0.1 0.4"]);
    assert_eq!(r.column("agg4"), ["1", "2", "1"], "the horizon ends an hour before the row");
    let slope: Vec<f64> = r.column("agg3")[1..].iter().map(|s| s.parse().unwrap()).collect();
    assert!((slope[0] - 0.1 / 600.0).abs() < 1e-15);
    assert_eq!((r.counts.emitted, r.counts.folded, r.counts.made), (3, 0, 0));
}

#[test]
fn a_fall_between_rows_in_order_starts_a_window_at_the_lower_row() {
    // 31 and 38 share a cell of the grid: the pane is divided at the fall.
    let r = check(&[levels(&[(0, 0.6), (31, 0.9), (38, 0.1), (44, 0.2), (60, 0.3)])]);
    assert_eq!(shown(&r), ["0 - 1 0.6 0.6", "31 - 2 0.6 0.9", "38 38 1 0.1 0.1", "44 38 2 0.1 0.2", "60 38 3 0.1 0.3"]);
}

#[test]
fn a_small_fall_or_one_that_ends_high_is_no_reset() {
    let r = check(&[levels(&[(0, 0.5), (20, 0.25), (40, 1.0), (60, 0.6)])]);
    assert_eq!(shown(&r)[3], "60 - 4 0.5 0.6");
}

#[test]
fn a_told_reset_takes_out_what_is_before_and_the_pane_it_falls_into() {
    let r = check(&[readings(&[
        (0, Some(0.5), None, ""),
        (16, Some(0.55), None, ""),
        (29, Some(0.56), None, ""),
        (32, Some(0.57), Some(20), ""), // learnt late: the pane [15, 30) straddles it
        (33, Some(0.58), Some(33), ""), // learnt at once: its pane is divided, the row counts
        (40, Some(0.59), Some(33), ""),
        (50, Some(0.60), Some(20), ""), // an older one is no news
        (51, Some(0.61), Some(99), ""), // one in the future is none of the row's business
    ])]);
    let expected = [
        "0 - 1 0.5 0.5",
        "16 - 2 0.5 0.55",
        "29 - 3 0.5 0.56",
        "32 20 1 0.57 0.57",
        "33 33 1 0.58 0.58",
        "40 33 2 0.58 0.59",
        "50 33 3 0.58 0.6",
        "51 33 4 0.58 0.61",
    ];
    assert_eq!(shown(&r), expected);
}

#[test]
fn a_told_reset_explains_the_fall_after_it() {
    let r = check(&[readings(&[(0, Some(0.9), None, ""), (60, Some(0.1), Some(20), ""), (61, Some(0.12), Some(20), "")])]);
    assert_eq!(shown(&r)[1..], ["60 20 1 0.1 0.1", "61 20 2 0.1 0.12"], "since the emptying, not since the first reading after it");
}

#[test]
fn a_fall_that_shows_only_afterwards_ends_the_window_too() {
    let r = check(&[levels(&[(0, 0.1), (100, 0.2)]), levels(&[(50, 0.9)]), levels(&[(70, 0.15)]), levels(&[(101, 0.21)])]);
    let expected = [
        "0 - 1 0.1 0.1",
        "100 - 2 0.1 0.2",
        "100 100 1 0.2 0.2", // the reading of 50 puts a fall before 100
        "100 70 2 0.15 0.2", // that of 70 moves it before 70
        "101 70 3 0.15 0.21",
    ];
    assert_eq!(shown(&r), expected);
    assert_eq!(r.column("is_late"), ["false", "false", "true", "true", "false"]);
    assert_eq!(r.column("__late"), r.column("is_late"));
    assert_eq!(r.column("__offset"), ["0", "1", "2", "3", "4"], "a correction stems from the late row");
}

#[test]
fn a_pane_in_which_a_fall_shows_afterwards_is_left_out() {
    let r = check(&[levels(&[(0, 0.1), (25, 0.1)]), levels(&[(20, 0.8)]), levels(&[(26, 0.12)]), levels(&[(22, 0.11)]), levels(&[(40, 0.13)])]);
    let expected = [
        "0 - 1 0.1 0.1",
        "25 - 2 0.1 0.1",
        "25 25 0  ",         // nothing certain is left of [15, 30), and nothing before it counts
        "26 25 1 0.12 0.12", // a new pane begins behind the broken one
        "40 25 2 0.12 0.13", // 22 went into the broken pane: no correction
    ];
    assert_eq!(shown(&r), expected);
    assert_eq!(r.counts.folded, 1);
}

#[test]
fn two_levels_at_one_moment_are_a_fall_inside_a_pane() {
    let r = check(&[levels(&[(0, 0.9), (0, 0.1), (5, 0.12)])]);
    assert_eq!(shown(&r), ["0 - 1 0.9 0.9", "0 0 0  ", "5 0 1 0.12 0.12"]);
}

#[test]
fn an_upload_with_the_newest_first_ends_where_one_in_order_does() {
    let values: Vec<(i64, f64)> = (0..40).map(|i| (i * 20, 0.1 + 0.02 * i as f64)).collect();
    let ordered = check(&[levels(&values)]);
    let reversed = check(&[levels(&values.iter().rev().copied().collect::<Vec<_>>())]);
    assert_eq!(shown(&ordered).last(), shown(&reversed).last());
    assert_eq!(ordered.counts.emitted, 40);
    assert_eq!(reversed.counts.emitted, 40, "each one corrects the newest");
    assert!(reversed.column("row_time").iter().all(|t| *t == (780 * M).to_string()));
}

#[test]
fn a_late_row_corrects_only_what_it_changes() {
    let late = |step| match step {
        Step::Rows(r) => Step::Rows(marked_late(&r, vec![true; r.num_rows()])),
        other => other,
    };
    let r = check(&[
        readings(&[(0, Some(0.2), None, "old"), (500, Some(0.9), None, "full"), (510, Some(0.1), None, "emptied")]),
        late(readings(&[(505, Some(0.95), None, "late")])),      // before the emptying
        late(readings(&[(-600, Some(0.95), None, "late")])),     // out of reach
        late(readings(&[(510, Some(0.12), None, "same time")])), // not older than the newest: an answer of its own
        readings(&[(509, Some(0.95), Some(509), "late")]),       // tells of a reset, but an older one than known
    ]);
    assert_eq!(shown(&r)[2..], ["510 510 1 0.1 0.1", "510 510 2 0.1 0.12"]);
    assert_eq!(r.column("is_late")[3], "true", "the mark of the input goes on");
    assert_eq!((r.counts.emitted, r.counts.folded), (4, 3));
    let told = check(&[readings(&[(0, Some(0.2), None, "a"), (100, Some(0.3), None, "newest")]), readings(&[(50, Some(0.25), Some(40), "late")])]);
    assert_eq!(shown(&told)[2], "100 40 2 0.25 0.3", "a reset told by a late row counts");
    assert_eq!(told.column("note")[2], "newest", "a correction carries the newest row's columns");
}

#[test]
fn silence_is_answered_on_time_until_it_lasts_too_long() {
    let mut s = since(spec());
    let r = run(&mut s, &[readings(&[(0, Some(0.2), None, "x")]), watermark(59), watermark(60), watermark(130), watermark(1_000), watermark(1_060)]);
    assert_eq!(shown(&r), ["0 - 1 0.2 0.2", "60 - 1 0.2 0.2", "120 - 1 0.2 0.2", "180 - 1 0.2 0.2"]);
    assert_eq!(r.column("__time")[1..], [60, 120, 180].map(|m| (m * M).to_string()));
    assert_eq!(r.column("last_time"), vec!["0"; 4]);
    assert_eq!(r.column("note"), vec!["x"; 4]);
    assert_eq!(r.counts.made, 3);
    assert_eq!(s.state.rows(), 2, "still known");
    run(&mut s, &[watermark(1_181)]);
    assert_eq!((s.state.rows(), s.state.due.len()), (0, 0), "beyond the window's reach the key is forgotten");
}

#[test]
fn a_row_puts_the_timer_off_and_timers_fire_in_order_of_time_and_key() {
    let r = check(&[
        Step::Rows(keyed(&[("b", (0, Some(0.2), None, "")), ("a", (0, Some(0.2), None, "")), ("c", (-30, Some(0.1), None, ""))])),
        Step::Rows(keyed(&[("b", (50, Some(0.3), None, ""))])),
        watermark(110),
    ]);
    let fired: Vec<String> = r.columns(&["k", "row_time"])[4..].to_vec();
    assert_eq!(
        fired,
        ["c 30", "a 60", "c 90", "b 110"].map(|f| {
            let (k, t) = f.split_once(' ').unwrap();
            format!("{k} {}", t.parse::<i64>().unwrap() * M)
        })
    );
}

#[test]
fn an_upload_of_the_past_sets_off_no_timers_for_it() {
    let r = check(&[watermark(10_000), levels(&[(0, 0.1)]), levels(&[(600, 0.2)]), levels(&[(9_950, 0.3)]), watermark(10_059), watermark(10_060)]);
    assert_eq!(r.column("row_time"), [0, 600, 9_950, 10_060].map(|m| (m * M).to_string()));
}

#[test]
fn panes_beyond_reach_and_before_a_reset_are_removed() {
    let mut s = since(spec());
    run(&mut s, &[levels(&(0..400).map(|i| (i * 15, 0.5)).collect::<Vec<_>>())]);
    assert!(s.state.stored.panes.len() <= 1_000 / 15 + 2, "{} panes", s.state.stored.panes.len());
    run(&mut s, &[levels(&[(6_001, 0.05)])]);
    assert_eq!(s.state.stored.panes.len(), 1);
    let short = run(&mut since(SinceSpec { at_most_ms: 100 * M, ..spec() }), &[levels(&[(0, 0.1), (100, 0.2), (101, 0.3)])]);
    assert_eq!(shown(&short)[1..], ["100 - 2 0.1 0.2", "101 - 2 0.2 0.3"]);
}

#[test]
fn times_before_1970_work() {
    let r = check(&[levels(&[(-31, 0.9), (-29, 0.1), (-1, 0.2), (1, 0.25)]), levels(&[(-20, 0.15)])]);
    assert_eq!(shown(&r)[3..], ["1 -29 3 0.1 0.25", "1 -29 4 0.1 0.25"]);
}

#[test]
fn without_drop_reset_and_timers_it_is_a_window_of_fixed_reach() {
    let plain = SinceSpec { reset_at: None, drop: None, or_every_ms: None, ..spec() };
    let r = run(&mut since(plain), &[levels(&[(0, 0.9), (20, 0.1), (40, 0.2)]), watermark(900)]);
    assert_eq!(shown(&r), ["0 - 1 0.9 0.9", "20 - 2 0.9 0.1", "40 - 3 0.9 0.2"]);
}

/// Against the definition, over windows of many panes: one row a pane, so that horizons are exact.
#[test]
fn long_windows_are_what_their_definition_says() {
    for seed in 0..30 {
        let mut r = random(seed);
        let mut at = -500i64;
        let values: Vec<(i64, f64)> = (0..300)
            .map(|i| {
                at += 15 * (1 + r(3) as i64 * i64::from(r(10) == 0));
                (at, if r(70) == 0 { 0.05 } else { 0.31 + 0.001 * i as f64 + 0.1 * (r(100) as f64 / 100.0) })
            })
            .collect();
        let r = check(&[levels(&values)]);
        let slopes = r.column("agg3");
        let (all, hour, window_start) = (r.column("agg0"), r.column("agg4"), r.column("window_start"));
        for (i, (t, v)) in values.iter().enumerate() {
            let reset = (1..=i).rev().find(|j| values[*j].1 <= 0.3 && values[j - 1].1 - values[*j].1 >= 0.3);
            let inside = |reach: i64| (0..=i).filter(|j| reset.is_none_or(|r| *j >= r) && t - values[*j].0 <= reach).collect::<Vec<_>>();
            let window: Vec<(f64, f64)> = inside(1_000).into_iter().map(|j| ((values[j].0 - t) as f64 * 60.0, values[j].1)).collect();
            assert_eq!(all[i], window.len().to_string(), "seed {seed} row {i} {v}");
            assert_eq!(hour[i], inside(60).len().to_string(), "seed {seed} row {i}");
            let told = reset.filter(|j| t - values[*j].0 <= 1_000).map_or(String::new(), |j| (values[j].0 * M).to_string());
            assert_eq!(window_start[i], told, "seed {seed} row {i}");
            let n = window.len() as f64;
            let (mt, mv) = (window.iter().map(|w| w.0).sum::<f64>() / n, window.iter().map(|w| w.1).sum::<f64>() / n);
            let (tv, tt) = window.iter().fold((0.0, 0.0), |s, w| (s.0 + (w.0 - mt) * (w.1 - mv), s.1 + (w.0 - mt) * (w.0 - mt)));
            match slopes[i].parse::<f64>() {
                Ok(slope) => assert!((slope - tv / tt).abs() <= 1e-9 * slope.abs().max(1e-6), "seed {seed} row {i}: {slope} and {}", tv / tt),
                Err(_) => assert!(window.len() < 2, "seed {seed} row {i}"),
            }
        }
    }
}

fn wild(seed: u64) -> Vec<Step> {
    let mut r = random(seed);
    let mut now = 0i64;
    (0..40)
        .map(|_| match r(4) {
            0 => watermark(now - 60 + r(60) as i64),
            _ => {
                let values: Vec<(&str, Reading<'_>)> = (0..r(8))
                    .map(|_| {
                        now += r(20) as i64 * i64::from(r(3) > 0) + 300 * i64::from(r(60) == 0);
                        let t = now - r(4).pow(4) as i64;
                        let level = [None, Some(f64::NAN), Some(0.05), Some(0.1), Some(0.5), Some(0.9)][r(6) as usize];
                        let reset = (r(12) == 0).then_some(t - r(40) as i64);
                        (["a", "b", "c"][r(3) as usize], (t, level, reset, ["x", "y"][r(2) as usize]))
                    })
                    .collect();
                Step::Rows(keyed(&values))
            }
        })
        .collect()
}

#[test]
fn undisturbed_by_rollbacks_restores_and_other_batches() {
    for seed in 0..120 {
        disturb(seed, &wild(seed), true, || Box::new(since(spec())));
    }
}

/// Whatever the order of rows, no answer's window contains a fall between two rows that came in order.
#[test]
fn no_window_crosses_a_reset_that_was_told() {
    for seed in 0..60 {
        let steps = wild(seed);
        let r = run(&mut since(spec()), &steps);
        // All (key, time, level, reset) by offset, as far as the answer's input position.
        let mut seen: Vec<(String, i64, Option<i64>)> = Vec::new();
        for step in &steps {
            if let Step::Rows(b) = step {
                let (k, reset) = (b.column_by_name("k").unwrap().as_string::<i32>(), b.column_by_name("reset").unwrap().as_primitive::<Int64Type>());
                seen.extend((0..b.num_rows()).map(|i| (k.value(i).to_string(), times(b)[i], reset.is_valid(i).then(|| reset.value(i)))));
            }
        }
        let made = r.columns(&["k", "__offset", "row_time", "agg0"]);
        for (line, start) in made.iter().zip(r.column("window_start")) {
            let parts: Vec<&str> = line.split(' ').collect();
            let (key, offset, row_time) = (parts[0], parts[1].parse::<usize>().unwrap(), parts[2].parse::<i64>().unwrap());
            let told = seen[..=offset].iter().filter(|s| s.0 == key).filter_map(|s| s.2).max();
            let Some(told) = told.filter(|t| row_time - t <= spec().at_most_ms) else {
                continue;
            };
            assert!(start.parse::<i64>().unwrap() >= told, "seed {seed}: {line} starts at {start}, before the reset {told}");
            let possible = seen.iter().filter(|s| s.0 == key && s.1 >= told && s.1 <= row_time).count();
            assert!(parts[3].parse::<usize>().unwrap() <= possible, "seed {seed}: {line}");
        }
    }
}
