//! Two processes share the tasks of `bin-fill` on a real broker, under load: one joins, one is killed, it comes back,
//! it leaves in good order. The other one takes over each time, and the outputs (Avro, the real topics) hold every
//! reading exactly once.

use std::time::{Duration, Instant};

use ws_log::registry::Registry;

use crate::support::load::{Feed, Fleet, Seen, TASKS, Watch, create_inputs, log_on, recovery};
use crate::support::runs::{bin_fill, drain, tasks_of};
use crate::support::verdict::judge;
use crate::support::{App, Kafka};

const RATE: u32 = 500;
const SECONDS: u64 = 60;
/// Kafka gives the tasks of a dead member away after a session of 6 s; the rest is restoring.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(30);

/// Waits until the processes run these numbers of tasks; how long that took.
fn wait_shared(apps: &[(&App, std::ops::RangeInclusive<usize>)]) -> Duration {
    let started = Instant::now();
    loop {
        let found: Vec<usize> = apps.iter().map(|(app, _)| tasks_of(app)).collect();
        let all = apps.iter().zip(&found).all(|((_, wanted), n)| wanted.contains(n));
        if all && found.iter().sum::<usize>() == TASKS as usize {
            return started.elapsed();
        }
        let outputs = || apps.iter().map(|(app, _)| app.output()).collect::<Vec<_>>().join("\n---\n");
        assert!(started.elapsed() < TAKE_OVER_LIMIT, "tasks are shared as {found:?}:\n{}", outputs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// From a moment until every partition has shown new output.
fn all_partitions_back(from: Instant, watch: &Watch) -> Duration {
    let deadline = Instant::now() + TAKE_OVER_LIMIT;
    loop {
        let seen = watch.so_far();
        let of = |p: u32| recovery(from, seen.iter().filter(|s: &&Seen| s.partition == p));
        let back: Option<Vec<Duration>> = (0..TASKS).map(of).collect();
        if let Some(longest) = back.and_then(|b| b.into_iter().max()) {
            return longest;
        }
        assert!(Instant::now() < deadline, "partitions without output after {TAKE_OVER_LIMIT:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_processes_share_the_tasks_and_one_takes_over_from_the_other() {
    let Some(kafka) = Kafka::start(1) else { return };
    let (log, names) = (log_on(&kafka.bootstrap), bin_fill());
    let records = u64::from(RATE) * SECONDS;
    create_inputs(&log);
    let fleet = Fleet::new(200, records);
    fleet.append_references(&log);
    let app = |slot: &str| App::stopped(&["run", "--bootstrap", &kafka.bootstrap, "--create-outputs", "--slot", slot], &[]);
    let (mut first, mut second) = (app("0"), app("10"));

    first.start_again();
    let feed = Feed::start(&log, fleet, RATE, records);
    let watch = Watch::start(&log, &names.features);
    second.launch();
    let joined = wait_shared(&[(&first, 1..=7), (&second, 1..=7)]);
    let shared = (tasks_of(&first), tasks_of(&second));

    first.kill9();
    let killed = Instant::now();
    let taken = wait_shared(&[(&second, 8..=8)]);
    let back = all_partitions_back(killed, &watch);

    first.launch();
    let joined_again = wait_shared(&[(&first, 1..=7), (&second, 1..=7)]);

    let left = Instant::now();
    assert_eq!(first.stop().code, 0, "a graceful end");
    wait_shared(&[(&second, 8..=8)]);
    let after_leaving = all_partitions_back(left, &watch);

    let fed = feed.finish();
    watch.finish();
    drain(&[&second], &log, &names);
    assert_eq!(second.stop().code, 0, "a graceful end");

    let registry = Registry::embedded().expect("the contracts");
    let tally = judge(&log, &names, TASKS, &|bytes| registry.decode_to_json(bytes).expect("Avro of its contract"));
    println!(
        "two processes: {} records at {:.0}/s; shared {} + {} tasks {:.1} s after the second was started\n  \
         one killed: the other runs all tasks after {:.1} s, every partition has output again after {:.1} s\n  \
         started again: shared after {:.1} s; stopped in good order: every partition has output again after {:.1} s\n  \
         outputs: {} rows of readings, {} of timers, {} forecasts, {} dead letters; lost, twice or out of order: {}",
        fed.records,
        fed.rate(),
        shared.0,
        shared.1,
        joined.as_secs_f64(),
        taken.as_secs_f64(),
        back.as_secs_f64(),
        joined_again.as_secs_f64(),
        after_leaving.as_secs_f64(),
        tally.rows,
        tally.rescored,
        tally.forecasts,
        tally.dead,
        tally.faults.len(),
    );
    tally.assert_clean();
    assert!(tally.inputs >= records && tally.rescored > 0 && tally.dead > 0, "{tally:?}");
    // Nobody waits for a session to end when a member says goodbye.
    assert!(after_leaving < Duration::from_secs(15), "{after_leaving:?}");
}
