//! Transactions: atomic, fenced, and read back by progress.

use super::*;

/// A committed set is visible everywhere together with its progress.
pub fn a_commit_is_atomic_over_partitions_and_progress(log: &dyn Log, prefix: &str) {
    let (out, side) = (topic(log, &format!("{prefix}.out"), 2), topic(log, &format!("{prefix}.side"), 1));
    let input = TopicPartition::new(topic(log, &format!("{prefix}.in"), 1), 0);
    append(log, &[values(&input.topic, 0, &["i0", "i1"])]);
    let mut worker = Worker::alone(log, &format!("{prefix}-atomic"), 1);
    assert_eq!(worker.number(TaskId(0)), 0, "a task that never committed has no progress");
    for number in 1..=3u64 {
        let (a, b, c) = (format!("a{number}"), format!("b{number}"), format!("c{number}"));
        let appends = vec![values(&out, 0, &[&a]), values(&out, 1, &[&b]), values(&side, 0, &[&c])];
        worker.commit(&one(epoch(0, number, vec![(input.clone(), number as i64)], appends)));
        assert_eq!(worker.number(TaskId(0)), number, "progress is read back");
    }
    for (at, letter) in [(TopicPartition::new(out.clone(), 0), "a"), (TopicPartition::new(out, 1), "b"), (TopicPartition::new(side, 0), "c")] {
        let expected: Vec<String> = (1..=3).map(|n| format!("{letter}{n}")).collect();
        assert_eq!(texts(&read(log, &at, 0, 3)), expected);
    }
}

/// A set with an append that cannot be done fails as a whole, and the next one goes through.
pub fn a_failed_commit_leaves_nothing_visible(log: &dyn Log, prefix: &str) {
    let out = topic(log, &format!("{prefix}.out"), 2);
    let missing: Arc<str> = format!("{prefix}.missing").into();
    let mut worker = Worker::alone(log, &format!("{prefix}-failed"), 2);
    worker.commit(&one(epoch(0, 1, vec![], vec![values(&out, 0, &["first"])])));
    for (why, impossible) in [("the topic does not exist", values(&missing, 0, &["x"])), ("there is no such partition", values(&out, 77, &["x"]))] {
        let set = EpochSet {
            losses: 0,
            id: 2,
            epochs: vec![
                epoch(0, 2, vec![], vec![values(&out, 0, &["ghost"]), values(&out, 1, &["ghost"])]),
                epoch(1, 1, vec![], vec![values(&out, 1, &["ghost"]), impossible]),
            ],
        };
        let outcome = worker.committer.commit(&set);
        assert_ne!(outcome, Outcome::Committed, "{why}");
        if matches!(outcome, Outcome::Unknown(_)) {
            worker.committer.open().expect("opening again");
        }
        assert_eq!(worker.number(TaskId(0)), 1, "no progress from a failed commit: {why}");
        assert_eq!(worker.number(TaskId(1)), 0, "no progress from a failed commit: {why}");
    }
    worker.commit(&one(epoch(0, 2, vec![], vec![values(&out, 0, &["second"]), values(&out, 1, &["second"])])));
    assert_eq!(worker.number(TaskId(0)), 2);
    assert_eq!(texts(&all_visible(log, &TopicPartition::new(out.clone(), 0))), ["first", "second"]);
    assert_eq!(texts(&all_visible(log, &TopicPartition::new(out, 1))), ["second"]);
}

/// Progress moves also for an epoch that consumed or produced nothing.
pub fn progress_of_an_epoch_without_inputs_or_outputs(log: &dyn Log, prefix: &str) {
    let out = topic(log, &format!("{prefix}.out"), 1);
    let mut worker = Worker::alone(log, &format!("{prefix}-empty"), 1);
    worker.commit(&one(epoch(0, 1, vec![], vec![values(&out, 0, &["timer"])])));
    assert_eq!(worker.number(TaskId(0)), 1, "an epoch without inputs");
    worker.commit(&one(epoch(0, 2, vec![(TopicPartition::new(out.clone(), 0), 1)], vec![])));
    assert_eq!(worker.number(TaskId(0)), 2, "an epoch without outputs");
    worker.commit(&one(epoch(0, 3, vec![], vec![])));
    assert_eq!(worker.number(TaskId(0)), 3, "an epoch with neither");
}

/// Epochs of several tasks in one set: each task's own number moves, tasks not in the set stay.
pub fn several_tasks_commit_at_once(log: &dyn Log, prefix: &str) {
    let out = topic(log, &format!("{prefix}.out"), 1);
    let mut worker = Worker::alone(log, &format!("{prefix}-several"), 3);
    let set = |a: u64, c: u64| EpochSet {
        losses: 0,
        id: a,
        epochs: vec![epoch(0, a, vec![], vec![values(&out, 0, &[&format!("0-{a}")])]), epoch(2, c, vec![], vec![values(&out, 0, &[&format!("2-{c}")])])],
    };
    worker.commit(&set(1, 5));
    worker.commit(&set(2, 6));
    let progress = worker.committer.progress(&[TaskId(2), TaskId(0), TaskId(1)]).expect("progress");
    assert_eq!(progress.iter().map(|p| (p.task.0, p.number)).collect::<Vec<_>>(), [(2, 6), (0, 2), (1, 0)], "in the order asked for");
    assert_eq!(texts(&all_visible(log, &TopicPartition::new(out, 0))), ["0-1", "2-5", "0-2", "2-6"]);
}

/// Once another has opened the same identity, the older one's commits fail and leave nothing.
pub fn opening_again_fences_the_older_committer(log: &dyn Log, prefix: &str) {
    let out = topic(log, &format!("{prefix}.out"), 1);
    let topology = format!("{prefix}-fence");
    let mut old = Worker::alone(log, &topology, 1);
    old.commit(&one(epoch(0, 1, vec![], vec![values(&out, 0, &["old"])])));

    let mut new = Worker::join(log, &topology, 0, 1);
    new.committer.open().expect("taking the identity over");
    let outcome = old.committer.commit(&one(epoch(0, 2, vec![], vec![values(&out, 0, &["ghost"])])));
    assert_ne!(outcome, Outcome::Committed, "a fenced committer must not commit");
    assert_eq!(new.number(TaskId(0)), 1, "the older one's progress is there, the fenced commit's is not");

    // The old process ends; the new one owns the task and goes on.
    let _ = old.membership.leave();
    drop(old);
    settle(&mut [&mut new], |w| w[0].owned.len() == 1, "the new holder of the slot owns the task");
    new.commit(&one(epoch(0, 2, vec![], vec![values(&out, 0, &["new"])])));
    assert_eq!(new.number(TaskId(0)), 2);
    assert_eq!(texts(&all_visible(log, &TopicPartition::new(out, 0))), ["old", "new"]);
}

/// A reader gets to the stable end, also past markers and aborted records: restoring waits for that.
pub fn positions_move_past_what_is_invisible(log: &dyn Log, prefix: &str) {
    let at = TopicPartition::new(topic(log, &format!("{prefix}.past"), 1), 0);
    let mut worker = Worker::alone(log, &format!("{prefix}-past"), 1);
    worker.commit(&one(epoch(0, 1, vec![], vec![values(&at.topic, 0, &["one"])])));
    let failed = worker.committer.commit(&one(epoch(0, 2, vec![], vec![values(&at.topic, 0, &["ghost"]), values(&at.topic, 77, &["x"])])));
    assert_ne!(failed, Outcome::Committed);
    if matches!(failed, Outcome::Unknown(_)) {
        worker.committer.open().expect("opening again");
    }
    let mut admin = log.admin().expect("an admin");
    let mut reader = log.reader().expect("a reader");
    reader.add(&at, 0).expect("adding");
    let (mut next, mut rows, mut high) = (0, Vec::new(), 0);
    for _ in 0..PATIENCE_POLLS {
        for (_, records) in reader.poll(POLL_MS).expect("polling") {
            assert!(records.next_offset >= next, "the position went back from {next} to {}", records.next_offset);
            next = records.next_offset;
            rows.extend(seen(&records));
        }
        high = admin.end(&at, End::High).expect("end");
        if next >= high && !rows.is_empty() {
            assert_eq!(texts(&rows), ["one"]);
            return;
        }
    }
    panic!("{at}: the reader's position stayed at {next}, the end is {high}");
}
