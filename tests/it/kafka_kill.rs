//! Exactly-once on a real broker: `wastestream run` under load is killed (SIGKILL) every few seconds and started
//! again. Nothing may be lost, nothing stand twice, nothing change its place, and every column of every output must
//! equal those of a run that nobody disturbed.
//!
//! In `cargo test` this takes a bit more than a minute; `benches/sigkill` runs it for five minutes at 5,000 records a
//! second (`WS_KILL_SECONDS`, `WS_KILL_RATE`).

use std::time::{Duration, Instant};

use crate::support::load::{Feed, Fleet, Watch, create_inputs, figures, log_on, longest_gap, recovery};
use crate::support::runs::{Copy, commits, drain};
use crate::support::verdict::{assert_equal, judge};
use crate::support::{Kafka, load::TASKS};

/// Life times, ms, again and again. Kafka gives a dead member's tasks away after 6 s: the short ones end before that.
const LIVES_MS: [u64; 6] = [9_500, 12_000, 3_000, 10_500, 8_000, 11_000];

fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

#[test]
fn killed_every_few_seconds_under_load_equals_an_undisturbed_run() {
    let Some(kafka) = Kafka::start(1) else { return };
    let (seconds, rate) = (setting("WS_KILL_SECONDS", 60), setting("WS_KILL_RATE", 1_000));
    let records = seconds * rate;
    let log = log_on(&kafka.bootstrap);
    let dir = tempfile::tempdir().expect("a folder");
    let (storm, calm) = (Copy::write(dir.path(), "storm"), Copy::write(dir.path(), "calm"));
    create_inputs(&log);
    let fleet = Fleet::new((rate / 2).clamp(200, 2_000), records);
    fleet.append_references(&log);

    let mut app = storm.app(&kafka.bootstrap, 0);
    app.start_again();
    let feed = Feed::start(&log, fleet, u32::try_from(rate).expect("a rate"), records);
    let watch = Watch::start(&log, &storm.names.features);
    let (mut kills, mut ends) = (Vec::new(), [0; 3]);
    let mut note = |app: &crate::support::App| {
        let c = commits(app);
        (0..3).for_each(|i| ends[i] += c[i]);
    };
    for life_ms in LIVES_MS.iter().cycle() {
        let until = Instant::now() + Duration::from_millis(*life_ms);
        while Instant::now() < until && !feed.is_over() {
            assert!(app.is_running(), "it ended by itself:\n{}", app.output());
            std::thread::sleep(Duration::from_millis(20));
        }
        if feed.is_over() {
            break;
        }
        note(&app);
        app.kill9();
        kills.push(Instant::now());
        app.launch();
    }
    let fed = feed.finish();
    let fed_out = Instant::now();
    drain(&[&app], &log, &storm.names);
    let caught_up = fed_out.elapsed();
    note(&app);
    let seen = watch.finish();
    assert_eq!(app.stop().code, 0, "a graceful end");

    let started = Instant::now();
    let mut app = calm.app(&kafka.bootstrap, 0);
    app.start_again();
    drain(&[&app], &log, &calm.names);
    let undisturbed = started.elapsed();
    assert_eq!(app.stop().code, 0, "a graceful end");

    let json = |bytes: &[u8]| serde_json::from_slice(bytes).expect("JSON");
    let tally = judge(&log, &storm.names, TASKS, &json);
    let recovered: Vec<Duration> = kills.iter().filter_map(|at| recovery(*at, &seen)).collect();
    println!(
        "killed under load: {} records in {:.0} s ({:.0}/s), {} kills\n  \
         outputs: {} rows of readings ({} corrections), {} of timers, {} forecasts, {} dead letters, {} second deliveries dropped\n  \
         lost, twice or out of order: {}\n  \
         transactions: {} committed, {} aborted, {} undetermined (as told before each kill)\n  \
         from a kill to the next committed output: {}\n  \
         longest time without output: {:.1} s; caught up {:.1} s after the last record; the undisturbed run took {:.1} s",
        fed.records,
        fed.took.as_secs_f64(),
        fed.rate(),
        kills.len(),
        tally.rows,
        tally.corrections,
        tally.rescored,
        tally.forecasts,
        tally.dead,
        tally.twice,
        tally.faults.len(),
        ends[0],
        ends[1],
        ends[2],
        figures(&recovered),
        longest_gap(&seen).as_secs_f64(),
        caught_up.as_secs_f64(),
        undisturbed.as_secs_f64(),
    );
    tally.assert_clean();
    let compared = assert_equal(&log, (&calm.names, &calm.name), (&storm.names, &storm.name), TASKS);
    println!("  equal to the undisturbed run: all {compared} records of four outputs, all columns and headers");

    // A test in which nothing happened proves nothing.
    assert!(kills.len() as u64 >= seconds / 14, "only {} kills", kills.len());
    assert!(tally.inputs >= records && tally.twice > 0 && tally.dead > 0 && tally.corrections > 0 && tally.rescored > 0, "{tally:?}");
    assert!(recovered.iter().filter(|r| **r < Duration::from_secs(20)).count() * 2 > kills.len(), "{recovered:?}");
}
