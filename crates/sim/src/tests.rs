//! The simulator judged: seeds pass, enough happens in them, runs repeat to the last event, and defects are found.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::report::{SimOptions, Summary, run_many, run_seed};
use crate::sim::Profile;
use ws_stream::worker::Planted;

/// Seeds within which every planted defect must be found.
const BOUND: u64 = 8;
/// The same for those of decisions: a forgotten question is seen only if nobody asks about the area again.
const DECISION_BOUND: u64 = 48;

#[test]
fn nothing_is_lost_twice_or_reordered_whatever_strikes() {
    let summary = run_many(0..40, &SimOptions::standard().expect("bin-fill plans"), 2);
    println!("{summary}");
    assert!(summary.passed(), "{summary}");
}

#[test]
fn without_faults_nothing_is_aborted_and_nothing_restored_twice() {
    let options = SimOptions { profile: |_| Profile::calm(), ..SimOptions::default() };
    let summary = run_many(0..6, &options, 2);
    assert!(summary.passed() && summary.faults.is_empty(), "{summary}");
    let tasks = 6 * 4;
    assert_eq!((summary.count("aborted"), summary.count("undetermined"), summary.count("restores done")), (0, 0, tasks));
}

#[test]
fn a_seed_repeats_to_the_last_event_and_another_does_not() {
    let options = SimOptions::default();
    let first: Vec<_> = [3, 4, 5].map(|s| run_seed(s, &options)).into();
    let again: Vec<_> = std::thread::spawn(move || [5, 4, 3].map(|s| run_seed(s, &options)).into_iter().rev().collect::<Vec<_>>()).join().unwrap();
    for (a, b) in first.iter().zip(&again) {
        assert_eq!((a.trace, &a.faults, &a.done, a.elapsed_ms), (b.trace, &b.faults, &b.done, b.elapsed_ms), "seed {}", a.seed);
    }
    assert_ne!(first[0].trace, first[1].trace);
    assert_ne!(first[1].trace, first[2].trace);
}

#[test]
fn a_summary_does_not_depend_on_threads() {
    let options = SimOptions::default();
    let (one, three) = (run_many(50..56, &options, 1), run_many(50..56, &options, 3));
    assert_eq!((one.trace, one.to_string()), (three.trace, three.to_string()));
}

#[test]
fn nothing_is_lost_twice_or_reordered_through_a_rekey() {
    let summary = run_many(0..40, &SimOptions::zones(SimOptions::ZONE_SIZE), 2);
    println!("{summary}");
    assert!(summary.failed.is_empty(), "{summary}");
    let [killed, purged, paused, ends] = ["process killed", "purges", "pauses", "ends asked for"].map(|what| summary.count(what));
    assert!(killed > 40 && purged > 100 && paused > 100 && ends > 200, "too little happened: {summary}");
    let again = run_many(0..40, &SimOptions::zones(SimOptions::ZONE_SIZE), 1);
    assert_eq!(summary.trace, again.trace, "the same seeds give the same traces");
}

/// What goes wrong when a watermark runs ahead of the rows, or stays behind for ever.
#[test]
fn defects_of_re_keying_are_found() {
    fn outside(seed: u64) -> Profile {
        Profile { control_outside: true, ..Profile::of(seed) }
    }
    let base = SimOptions::zones(SimOptions::ZONE_SIZE);
    assert!(run_many(0..BOUND, &base, 2).failed.is_empty(), "these seeds pass without a defect");
    let defects = [
        ("watermarks outside of the transaction", SimOptions { profile: outside, ..base.clone() }),
        ("minimum over the upstream tasks heard of", SimOptions { planted: Planted { min_of_seen: true, ..Planted::default() }, ..base.clone() }),
        ("an aborted epoch's state stays", SimOptions { planted: Planted { keep_state_on_abort: true, ..Planted::default() }, ..base }),
    ];
    for (name, options) in defects {
        let summary = run_many(0..BOUND, &options, 2);
        let letters: u64 = summary.failed.iter().map(|r| r.verdict.letters).sum();
        println!("{name}: {} of {BOUND} seeds fail, lost {}, duplicate {}, dead letters {letters}", summary.failed.len(), summary.lost, summary.duplicate);
        assert!(!summary.failed.is_empty(), "{name} was not found:\n{summary}");
    }
}

fn found(planted: Planted) -> Summary {
    run_many(0..BOUND, &SimOptions { planted, ..SimOptions::default() }, 2)
}

#[test]
fn planted_defects_are_found_where_the_sound_worker_passes() {
    assert!(found(Planted::default()).passed(), "these seeds pass without a defect");
    let defects = [
        ("trust_unknown", Planted { trust_unknown: true, ..Planted::default() }),
        ("keep_state_on_abort", Planted { keep_state_on_abort: true, ..Planted::default() }),
        ("accept_stale", Planted { accept_stale: true, ..Planted::default() }),
        ("ignore_lost", Planted { ignore_lost: true, ..Planted::default() }),
        ("forget_pending", Planted { forget_pending: true, ..Planted::default() }),
        ("no_rewind", Planted { no_rewind: true, ..Planted::default() }),
    ];
    for (name, planted) in defects {
        let summary = found(planted);
        let wrong = summary.lost + summary.duplicate + summary.reordered;
        println!(
            "{name}: {} of {BOUND} seeds fail, lost {}, duplicate {}, reordered {}",
            summary.failed.len(),
            summary.lost,
            summary.duplicate,
            summary.reordered
        );
        assert!(!summary.passed() && wrong > 0, "{name} was not found:\n{summary}");
    }
}

#[test]
fn no_decision_is_lost_doubled_or_out_of_order_and_every_board_is_decided() {
    let options = SimOptions::board();
    let summary = run_many(0..24, &SimOptions { scenario: options.scenario.clone(), ..options }, 2);
    println!("{summary}");
    assert!(summary.failed.is_empty(), "{summary}");
    for what in ["solution never came", "solution failed", "solution late", "solution wrong", "solution came twice", "process killed"] {
        assert!(summary.count(what) > 0, "{what} did not happen:\n{summary}");
    }
    let one = |seed| run_seed(seed, &SimOptions::board());
    assert_eq!(one(7).trace, one(7).trace, "the same seed, the same trace");
    assert_ne!(one(7).trace, one(8).trace);
}

#[test]
fn planted_defects_of_decisions_are_found() {
    let defects = [
        ("lenient acceptance", true, Planted::default()),
        ("forget_pending", false, Planted { forget_pending: true, ..Planted::default() }),
        ("keep_state_on_abort", false, Planted { keep_state_on_abort: true, ..Planted::default() }),
        ("no_rewind", false, Planted { no_rewind: true, ..Planted::default() }),
    ];
    for (name, lenient, planted) in defects {
        let summary = run_many(0..DECISION_BOUND, &SimOptions { planted, ..SimOptions::board_with(lenient) }, 2);
        let of_decisions = |r: &crate::report::Report| r.verdict.problems.iter().any(|p| p.contains("decision"));
        println!(
            "{name}: {} of {DECISION_BOUND} seeds fail, {} of them by their decisions, lost {}, duplicate {}, reordered {}",
            summary.failed.len(),
            summary.failed.iter().filter(|r| of_decisions(r)).count(),
            summary.lost,
            summary.duplicate,
            summary.reordered
        );
        assert!(summary.failed.iter().any(of_decisions), "{name} was not found:\n{summary}");
    }
}

/// Checking at begin that a task is owned is not enough: it may have been lost and won back since its epoch was closed.
#[test]
fn a_committer_that_forgets_losses_is_found() {
    fn slow(seed: u64) -> Profile {
        Profile { processes: 3, slow_handover: 0.3, strikes: [0, 2, 3, 0, 0], every_ms: 500, ..Profile::of(seed) }
    }
    fn forgetful(seed: u64) -> Profile {
        Profile { forgetful_committer: true, ..slow(seed) }
    }
    let run = |profile, seed| run_seed(seed, &SimOptions { profile, ..SimOptions::default() });
    let found = (0..60).find(|seed| run(forgetful, *seed).verdict.duplicate > 0).expect("the defect is found within 60 seeds");
    println!("found by seed {found}");
    let sound = run(slow, found);
    assert!(sound.verdict.clean(), "the same seed with the sound committer: {:?}", sound.verdict);
}
