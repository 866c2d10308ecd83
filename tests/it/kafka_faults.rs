//! What a real broker does to a process: it is not there, restarts, is away for long; topics are missing, do not fit,
//! or were deleted. Each ends in a clear error or goes on by itself, and never begins anew silently.

use std::path::Path;
use std::time::{Duration, Instant};

use ws_log::kafka::KafkaLog;
use ws_stream::log::{Log, TopicSpec};

use crate::support::app::{Ended, run_to_end};
use crate::support::load::{Feed, Fleet, TASKS, Watch, create_inputs, log_on, longest_gap};
use crate::support::runs::{Copy, drain};
use crate::support::verdict::{judge, visible};
use crate::support::{App, Kafka};

/// A refused start must be told within this.
const REFUSED_LIMIT: Duration = Duration::from_secs(40);

/// `run` that is expected to be refused.
fn refused(bootstrap: &str, more: &[&str]) -> Ended {
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().display().to_string();
    let mut args = vec!["run", "--bootstrap", bootstrap, "--data", &folder, "--address", "127.0.0.1:0"];
    args.extend(more);
    let ended = run_to_end(&args, &[], REFUSED_LIMIT);
    assert_eq!(ended.code, 1, "{}", ended.output);
    assert!(ended.output.contains("error: ") && !ended.output.contains("panicked"), "{}", ended.output);
    ended
}

/// The one line that says why.
fn assert_says(ended: &Ended, all: &[&str]) {
    let line = ended.output.lines().find(|l| l.starts_with("error: ")).expect("a line with the error");
    for what in all {
        assert!(line.contains(what), "`{what}` is missing: {line}");
    }
}

#[test]
fn an_absent_broker_ends_a_start_with_its_address() {
    let started = Instant::now();
    let ended = refused("127.0.0.1:1", &[]);
    assert_says(&ended, &["127.0.0.1:1", "broker"]);
    println!("broker absent: refused after {:.1} s", started.elapsed().as_secs_f64());
}

#[test]
fn topics_that_are_missing_or_do_not_fit_are_named_with_what_to_do() {
    let Some(kafka) = Kafka::start(1) else { return };
    let (log, dir) = (log_on(&kafka.bootstrap), tempfile::tempdir().expect("a folder"));
    assert_says(&refused(&kafka.bootstrap, &[]), &["topic bin.telemetry does not exist", "create it"]);

    create_inputs(&log);
    assert_says(&refused(&kafka.bootstrap, &[]), &["topic bin.features does not exist", "--create-outputs"]);

    // ref.device has one partition, the readings eight: fine for a global table only.
    let local = Copy::write(dir.path(), "local");
    let text = std::fs::read_to_string(&local.file).expect("the copy");
    let global = "devices: { topic: ref.device, key: device_id, valid_from: valid_from, history: 90d, global: true }";
    assert!(text.contains(global), "bin-fill.yaml looks different");
    std::fs::write(&local.file, text.replace(global, &global.replace(", global: true", ""))).expect("written");
    let file = local.file.display().to_string();
    let ended = refused(&kafka.bootstrap, &["--create-outputs", "--topology", &file]);
    assert_says(&ended, &["bin.telemetry (8 partitions)", "ref.device (1)", "equal partition counts", "global: true"]);

    // The engine's own topics were made for four tasks: the readings had four partitions then.
    let grown = Copy::write(dir.path(), "grown");
    let own = ["tasks", "changelog", "manifest"].map(|t| spec(&format!("ws.grown.{t}"), 4));
    log.admin().expect("an admin").create(&own).expect("topics");
    let file = grown.file.display().to_string();
    let ended = refused(&kafka.bootstrap, &["--create-outputs", "--topology", &file]);
    assert_says(&ended, &["ws.grown.", "has 4 partitions", "bin.telemetry has 8", "new name"]);
}

fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, config: Vec::new() }
}

/// Runs a copy of `bin-fill` on what is in the input until all is processed, and stops it.
fn run_once(copy: &Copy, bootstrap: &str, log: &KafkaLog) -> App {
    let mut app = copy.app(bootstrap, 0);
    app.start_again();
    drain(&[&app], log, &copy.names);
    assert_eq!(app.stop().code, 0, "a graceful end");
    app
}

/// Starts it again and expects that all tasks stop, each with `reason`, and that nothing is written.
fn assert_stops(app: &mut App, copy: &Copy, log: &KafkaLog, reason: &str) {
    let before = visible(log, &copy.names.all(), TASKS);
    app.launch();
    let told = app.wait_for("a word about stopped tasks", Duration::from_secs(60), |app| match app.try_get("/readyz") {
        Ok((503, body)) if body.matches("is stopped").count() == TASKS as usize => Some(body),
        _ => None,
    });
    assert!(told.contains(reason), "{told}");
    assert!(app.is_running(), "it tells what is wrong while a person looks: {}", app.output());
    assert_eq!(visible(log, &copy.names.all(), TASKS), before, "it began anew");
    app.stop();
}

#[test]
fn deleted_topics_of_the_engine_stop_the_tasks_and_never_reset_them() {
    let Some(kafka) = Kafka::start(1) else { return };
    let (log, dir) = (log_on(&kafka.bootstrap), tempfile::tempdir().expect("a folder"));
    create_inputs(&log);
    let fleet = Fleet::new(100, 3_000);
    fleet.append_references(&log);
    Feed::start(&log, fleet, 10_000, 3_000).finish();
    let copy = |name: &str| Copy::write(Path::new(dir.path()), name);
    let delete = |name: String| log.delete_topic(&name).expect("deleted");

    let changelog = copy("nolog");
    let mut app = run_once(&changelog, &kafka.bootstrap, &log);
    delete("ws.nolog.changelog".into());
    assert_stops(&mut app, &changelog, &log, "the changelog topic was deleted or cut");

    let progress = copy("notasks");
    let mut app = run_once(&progress, &kafka.bootstrap, &log);
    delete("ws.notasks.tasks".into());
    assert_stops(&mut app, &progress, &log, "the group's offsets expired");

    let both = copy("nothing");
    let mut app = run_once(&both, &kafka.bootstrap, &log);
    delete("ws.nothing.tasks".into());
    delete("ws.nothing.changelog".into());
    assert_stops(&mut app, &both, &log, "ws.nothing.manifest tells of committed epochs");
}

/// What a broker says that drops the end of a transaction: it has started, but does not know yet that it leads its
/// partitions (a node alone is its own only replica). Aborted records of such partitions stay open, or are committed with
/// the next transaction of their producer. No client can prevent or see that, so nothing can be judged then.
const MARKERS_DROPPED: &str = "likely deleted already and hence can be skipped";

#[test]
fn a_broker_that_restarts_or_is_away_for_long_costs_nothing_but_time() {
    for _ in 0..2 {
        match restarted_and_away() {
            Some(true) => println!("the broker dropped markers of transactions at its start: nothing can be told of this run"),
            _ => return,
        }
    }
    eprintln!("SKIPPED: the broker dropped markers of transactions at its start, twice");
}

/// Answers whether the broker dropped markers; `None` when there is no Kafka.
fn restarted_and_away() -> Option<bool> {
    const RATE: u32 = 500;
    const RECORDS: u64 = 25_000;
    let mut kafka = Kafka::start(1)?;
    let (log, dir) = (log_on(&kafka.bootstrap), tempfile::tempdir().expect("a folder"));
    let copy = Copy::write(dir.path(), "restarts");
    create_inputs(&log);
    let fleet = Fleet::new(200, RECORDS);
    fleet.append_references(&log);
    let mut app = copy.app(&kafka.bootstrap, 0);
    app.start_again();
    let pid = app.pid();
    let feed = Feed::start(&log, fleet, RATE, RECORDS);
    let watch = Watch::start(&log, &copy.names.features);

    std::thread::sleep(Duration::from_secs(8));
    kafka.restart();
    std::thread::sleep(Duration::from_secs(10));
    // Longer than a transaction, a session, and the patience of a reader.
    kafka.kill(0);
    std::thread::sleep(Duration::from_secs(20));
    assert!(app.is_running(), "it ended while the broker was away:\n{}", app.output());
    kafka.start_again(0);

    let fed = feed.finish();
    if !kafka.told(MARKERS_DROPPED).is_empty() {
        return Some(true);
    }
    drain(&[&app], &log, &copy.names);
    let gap = longest_gap(&watch.finish());
    assert_eq!(app.pid(), pid, "one life");
    assert_eq!(app.stop().code, 0, "a graceful end");
    let tally = judge(&log, &copy.names, TASKS, &|bytes| serde_json::from_slice(bytes).expect("JSON"));
    println!(
        "broker restarted, then away for 20 s: {} records, {} batches sent again; longest time without output {:.1} s\n  \
         outputs: {} rows of readings, {} forecasts, {} dead letters, {} second deliveries dropped; lost, twice or out of order: {}",
        fed.records,
        fed.repeats,
        gap.as_secs_f64(),
        tally.rows,
        tally.forecasts,
        tally.dead,
        tally.twice,
        tally.faults.len(),
    );
    tally.assert_clean();
    assert!(tally.inputs >= RECORDS, "{tally:?}");
    Some(false)
}
