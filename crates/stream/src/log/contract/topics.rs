//! Topics, their identity, their ends, and deleting from their start.

use super::*;
use crate::log::LogError;

/// Creating describes what was asked for, leaves existing topics alone, and every topic has an id of its own.
pub fn create_describe(log: &dyn Log, prefix: &str) {
    let mut admin = log.admin().expect("an admin");
    assert_eq!(admin.topic(&format!("{prefix}.none")).expect("describing"), None, "a topic nobody made");
    let a = topic(log, &format!("{prefix}.a"), 3);
    let b = topic(log, &format!("{prefix}.b"), 1);
    let found = admin.topic(&a).expect("describing").expect("the topic exists");
    assert_eq!(found.partitions, 3);
    assert_ne!(found.id, [0; 16], "a topic id is never zero");
    assert_ne!(found.id, admin.topic(&b).expect("describing").expect("the topic exists").id, "ids differ");
    append(log, &[values(&a, 2, &["kept"])]);
    topic(log, &a, 3);
    assert_eq!(admin.topic(&a).expect("describing"), Some(found), "creating again changes nothing");
    assert_eq!(texts(&read(log, &TopicPartition::new(a, 2), 0, 1)), ["kept"]);
    let cluster = admin.cluster_id().expect("the cluster's id");
    assert!(!cluster.is_empty());
    assert_eq!(log.admin().expect("an admin").cluster_id().expect("the cluster's id"), cluster, "the id is stable");
}

/// A topic deleted and made again has another id and begins empty.
pub fn recreated_topic_has_another_id(log: &dyn Log, prefix: &str, delete: &dyn Fn(&str)) {
    let mut admin = log.admin().expect("an admin");
    let name = topic(log, &format!("{prefix}.again"), 1);
    append(log, &[values(&name, 0, &["old"])]);
    let first = admin.topic(&name).expect("describing").expect("the topic exists");
    delete(&name);
    let mut idle = Idle::new(log);
    for _ in 0..PATIENCE_POLLS {
        if admin.topic(&name).expect("describing").is_none() {
            break;
        }
        idle.rest();
    }
    topic(log, &name, 1);
    let second = admin.topic(&name).expect("describing").expect("the topic exists");
    assert_ne!(first.id, second.id, "the topic is another one and must have another id");
    append(log, &[values(&name, 0, &["new"])]);
    let rows = read(log, &TopicPartition::new(name, 0), 0, 1);
    assert_eq!((rows[0].offset, texts(&rows)), (0, vec!["new".to_owned()]));
}

/// An empty partition starts and ends at 0; both ends come to lie after the last committed record.
pub fn start_and_end(log: &dyn Log, prefix: &str) {
    let at = TopicPartition::new(topic(log, &format!("{prefix}.ends"), 2), 1);
    let mut admin = log.admin().expect("an admin");
    assert_eq!(admin.start(&at).expect("start"), 0);
    assert_eq!(admin.end(&at, End::High).expect("end"), 0);
    assert_eq!(admin.end(&at, End::Stable).expect("end"), 0);
    append(log, &[values(&at.topic, 1, &["a", "b", "c"])]);
    assert_eq!(admin.end(&at, End::High).expect("end"), 3, "plain appends take offsets without gaps");
    assert_eq!(admin.end(&at, End::Stable).expect("end"), 3);
    let other = TopicPartition::new(at.topic.clone(), 0);
    assert_eq!(admin.end(&other, End::High).expect("end"), 0, "the other partition is untouched");

    let mut worker = Worker::alone(log, &format!("{prefix}-ends"), 1);
    worker.commit(&one(epoch(0, 1, vec![], vec![values(&at.topic, 1, &["d"])])));
    // The commit's marker may be written a little later.
    for _ in 0..PATIENCE_POLLS {
        let (stable, high) = (admin.end(&at, End::Stable).expect("end"), admin.end(&at, End::High).expect("end"));
        assert!(stable <= high && high >= 4, "stable {stable}, high {high}");
        if stable == high {
            return;
        }
        worker.idle.rest();
    }
    panic!("{at}: the stable end never reached the high one after a commit");
}

/// Looking up by time finds the first record at or after it, and the end when there is none.
pub fn offset_at_finds_the_first_record_at_or_after(log: &dyn Log, prefix: &str) {
    let at = TopicPartition::new(topic(log, &format!("{prefix}.time"), 1), 0);
    let mut appender = log.appender().expect("an appender");
    let base = 1_700_000_000_000;
    for times in [[0, 10], [20, 20], [15, 40]] {
        let mut a = Appends::new(at.topic.clone());
        for t in times {
            a.push(0, base + t, None, Some(b"x"), &[]);
        }
        appender.append(&[a]).expect("appending");
    }
    let mut admin = log.admin().expect("an admin");
    for (time, offset) in [(-5, 0), (0, 0), (1, 1), (10, 1), (11, 2), (20, 2), (21, 5), (40, 5), (41, 6)] {
        assert_eq!(admin.offset_at(&at, base + time).expect("offset_at"), offset, "at +{time} ms");
    }
}

/// After truncating, the start has moved, what is left can be read, and what is gone is out of range.
pub fn truncated_records_are_out_of_range(log: &dyn Log, prefix: &str) {
    let at = TopicPartition::new(topic(log, &format!("{prefix}.cut"), 1), 0);
    append(log, &[values(&at.topic, 0, &["a", "b", "c"])]);
    append(log, &[values(&at.topic, 0, &["d", "e"])]);
    let mut admin = log.admin().expect("an admin");
    admin.truncate(&at, 2).expect("truncating");
    assert_eq!(admin.start(&at).expect("start"), 2);
    assert_eq!(admin.end(&at, End::High).expect("end"), 5);
    assert_eq!(texts(&read(log, &at, 2, 3)), ["c", "d", "e"]);
    out_of_range(log, &at, 1, (2, 5));
    out_of_range(log, &at, 9, (2, 5));
    admin.truncate(&at, 1).expect("truncating again further back is nothing to do");
    assert_eq!(admin.start(&at).expect("start"), 2, "the start never goes back");
    admin.truncate(&at, 5).expect("truncating to the end");
    assert_eq!(admin.start(&at).expect("start"), 5);
    append(log, &[values(&at.topic, 0, &["f"])]);
    let rows = read(log, &at, 5, 1);
    assert_eq!((rows[0].offset, texts(&rows)), (5, vec!["f".to_owned()]), "offsets go on after the deleted ones");
}

fn out_of_range(log: &dyn Log, at: &TopicPartition, from: i64, range: (i64, i64)) {
    let mut reader = log.reader().expect("a reader");
    let mut answer = reader.add(at, from).map(|()| Vec::new());
    for _ in 0..PATIENCE_POLLS {
        match answer {
            Err(LogError::OutOfRange { at: tp, offset, start, end }) => {
                assert_eq!((&tp, offset, (start, end)), (at, from, range), "the error says what was asked and what is there");
                return;
            }
            Err(e) => panic!("{at}: reading from {from} must be out of range, not: {e}"),
            Ok(rows) => {
                let rows: Vec<Seen> = rows.iter().flat_map(|(_, r): &(TopicPartition, Records)| seen(r)).collect();
                assert!(rows.is_empty(), "{at}: reading from {from} handed over {:?} instead of an error", texts(&rows));
            }
        }
        answer = reader.poll(POLL_MS);
    }
    panic!("{at}: reading from {from} was never refused");
}

/// Appending to a topic that does not exist is an error that names it.
pub fn unknown_topic_is_named(log: &dyn Log, prefix: &str) {
    let name: Arc<str> = format!("{prefix}.nowhere").into();
    let error = log.appender().expect("an appender").append(&[values(&name, 0, &["x"])]).expect_err("no such topic");
    assert!(matches!(&error, LogError::NoTopic(t) if *t == name), "unexpected error: {error}");
}
