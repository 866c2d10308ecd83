//! Appending and reading: order, positions, pausing, and what a record carries.

use super::*;
use crate::records::write_header;

/// Records come in the order of their appends, at rising offsets from 0, each in its partition.
pub fn appends_keep_their_order(log: &dyn Log, prefix: &str) {
    let name = topic(log, &format!("{prefix}.order"), 2);
    let mut appender = log.appender().expect("an appender");
    let mut expected = [Vec::new(), Vec::new()];
    for round in 0..5 {
        let mut a = Appends::new(name.clone());
        for i in 0..40u32 {
            let (partition, value) = (i % 2, format!("{round}-{i}"));
            a.push(partition, i64::from(i), Some(b"k"), Some(value.as_bytes()), &[]);
            expected[partition as usize].push(value);
        }
        appender.append(&[a]).expect("appending");
    }
    for partition in 0..2 {
        let rows = read(log, &TopicPartition::new(name.clone(), partition), 0, 100);
        assert_eq!(texts(&rows), expected[partition as usize]);
        assert_eq!(rows.iter().map(|r| r.offset).collect::<Vec<_>>(), (0..100).collect::<Vec<i64>>());
    }
}

/// Tombstones, empty values, absent and empty keys, headers, timestamps and any byte survive.
pub fn records_survive_unchanged(log: &dyn Log, prefix: &str) {
    let at = TopicPartition::new(topic(log, &format!("{prefix}.bytes"), 1), 0);
    let mut headers = Vec::new();
    write_header(&mut headers, "rung", b"model");
    write_header(&mut headers, "empty", b"");
    write_header(&mut headers, "rung", &[0, 255]);
    let every_byte: Vec<u8> = (0..=255).collect();
    type Case<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>, &'a [u8]);
    let cases: Vec<Case<'_>> = vec![
        (1_600_000_000_123, Some(b"k"), Some(b"v"), &headers),
        (1_600_000_000_001, Some(b"k"), None, &[]),
        (1_600_000_000_001, Some(b"k"), Some(b""), &[]),
        (1_500_000_000_000, None, Some(b"no key"), &headers),
        (1_600_000_000_500, Some(b""), None, &headers),
        (1_600_000_000_500, Some(&every_byte), Some(&every_byte), &[]),
    ];
    let mut a = Appends::new(at.topic.clone());
    for (time, key, value, headers) in &cases {
        a.push(0, *time, *key, *value, headers);
    }
    append(log, &[a.clone()]);
    let mut worker = Worker::alone(log, &format!("{prefix}-bytes"), 1);
    worker.commit(&one(epoch(0, 1, vec![], vec![a])));
    let rows = read(log, &at, 0, cases.len() * 2);
    for (i, row) in rows.iter().enumerate() {
        let (time, key, value, headers) = cases[i % cases.len()];
        let how = if i < cases.len() { "appended" } else { "committed" };
        assert_eq!(row.timestamp_ms, time, "timestamp of {how} record {i}");
        assert_eq!(row.key.as_deref(), key, "key of {how} record {i}");
        assert_eq!(row.value.as_deref(), value, "value of {how} record {i}");
        assert_eq!(row.headers, owned_headers(Headers::new(headers)), "headers of {how} record {i}");
    }
}

/// Records just below Kafka's default limit survive, among small ones.
pub fn large_records_survive(log: &dyn Log, prefix: &str) {
    let at = TopicPartition::new(topic(log, &format!("{prefix}.large"), 1), 0);
    let large: Vec<u8> = (0..900_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut a = values(&at.topic, 0, &["before"]);
    for _ in 0..3 {
        a.push(0, 5, Some(b"k"), Some(&large), &[]);
    }
    a.push(0, 6, Some(b"k"), Some(b"after"), &[]);
    append(log, &[a]);
    let rows = read(log, &at, 0, 5);
    assert_eq!((rows[0].text(), rows[4].text()), ("before".into(), "after".into()));
    for row in &rows[1..4] {
        assert!(row.value.as_deref() == Some(&large[..]), "a large value came back changed");
    }
}

/// Appends `0..n` one record at a time in a few calls, so that a log that stores in chunks has several.
fn numbered(log: &dyn Log, name: &str, n: usize) -> TopicPartition {
    let at = TopicPartition::new(topic(log, name, 1), 0);
    let mut appender = log.appender().expect("an appender");
    let all: Vec<String> = (0..n).map(|i| i.to_string()).collect();
    for part in all.chunks(n.div_ceil(7)) {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        appender.append(&[values(&at.topic, 0, &part)]).expect("appending");
    }
    at
}

fn expect_run(at: &TopicPartition, rows: &[Seen], from: usize) {
    check_order(at, rows);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!((row.offset, row.text()), ((from + i) as i64, (from + i).to_string()), "reading from {from}");
    }
}

/// Reading from an offset begins exactly there; reading from the end waits for what comes.
pub fn reading_starts_where_asked(log: &dyn Log, prefix: &str) {
    let at = numbered(log, &format!("{prefix}.from"), 50);
    for from in [0usize, 1, 7, 8, 25, 49] {
        let rows = read(log, &at, from as i64, 50 - from);
        assert_eq!(rows.len(), 50 - from);
        expect_run(&at, &rows, from);
    }
    let mut reader = log.reader().expect("a reader");
    reader.add(&at, 50).expect("adding at the end");
    silent(reader.as_mut(), "nothing lies after the end");
    append(log, &[values(&at.topic, 0, &["50"])]);
    expect_run(&at, &take(reader.as_mut(), &at, 1), 50);
}

/// Adding again moves at once, forwards and backwards, whatever was fetched ahead.
pub fn moving_hands_over_nothing_of_the_old_position(log: &dyn Log, prefix: &str) {
    let n = 2_000usize;
    let at = numbered(log, &format!("{prefix}.move"), n);
    let mut reader = log.reader().expect("a reader");
    for (round, from) in [0, 1_500, 3, 1_999, 700, 0].into_iter().enumerate() {
        if round % 2 == 1 {
            reader.remove(&at).expect("removing");
        }
        reader.add(&at, from as i64).expect("moving");
        // Not to the end: the rest stays fetched ahead and must be forgotten.
        let rows = take(reader.as_mut(), &at, 1);
        expect_run(&at, &rows, from);
    }
}

/// A paused partition hands nothing over and goes on where it was; others are not held up.
pub fn paused_partitions_are_silent(log: &dyn Log, prefix: &str) {
    let name = topic(log, &format!("{prefix}.pause"), 2);
    let (a, b) = (TopicPartition::new(name.clone(), 0), TopicPartition::new(name.clone(), 1));
    append(log, &[values(&name, 0, &["a0", "a1"])]);
    let mut reader = log.reader().expect("a reader");
    reader.add(&a, 0).expect("adding");
    assert_eq!(texts(&take(reader.as_mut(), &a, 2)), ["a0", "a1"]);
    reader.pause(&a).expect("pausing");
    append(log, &[values(&name, 0, &["a2"]), values(&name, 1, &["b0"])]);
    silent(reader.as_mut(), "the partition is paused");
    reader.add(&b, 0).expect("adding");
    assert_eq!(texts(&take(reader.as_mut(), &b, 1)), ["b0"], "a partition beside a paused one");
    silent(reader.as_mut(), "the partition is paused");
    reader.resume(&a).expect("resuming");
    let rows = take(reader.as_mut(), &a, 1);
    assert_eq!((rows[0].offset, texts(&rows)), (2, vec!["a2".to_owned()]), "nothing lost, nothing twice");
}

/// Paused when it had been read to its end, a partition goes on with the first record that comes, and when none came,
/// there is nothing to tell.
pub fn paused_at_the_end_nothing_is_skipped(log: &dyn Log, prefix: &str) {
    let name = topic(log, &format!("{prefix}.pause-end"), 1);
    let at = TopicPartition::new(name.clone(), 0);
    append(log, &[values(&name, 0, &["a0", "a1"])]);
    let mut reader = log.reader().expect("a reader");
    reader.add(&at, 0).expect("adding");
    assert_eq!(texts(&take(reader.as_mut(), &at, 2)), ["a0", "a1"]);
    for round in 0..3i64 {
        silent(reader.as_mut(), "it was read to its end");
        reader.pause(&at).expect("pausing");
        silent(reader.as_mut(), "the partition is paused");
        if round > 0 {
            append(log, &[values(&name, 0, &["b", "c"])]);
        }
        reader.resume(&at).expect("resuming");
        if round > 0 {
            let rows = take(reader.as_mut(), &at, 2);
            assert_eq!((rows[0].offset, texts(&rows)), (2 * round, vec!["b".to_owned(), "c".to_owned()]), "nothing lost, nothing twice");
        }
    }
}

/// After removing, nothing of the partition is handed over, also not what was fetched ahead.
pub fn removed_partitions_are_silent(log: &dyn Log, prefix: &str) {
    let at = numbered(log, &format!("{prefix}.remove"), 500);
    let other = TopicPartition::new(topic(log, &format!("{prefix}.other"), 1), 0);
    let mut reader = log.reader().expect("a reader");
    reader.add(&at, 0).expect("adding");
    take(reader.as_mut(), &at, 1);
    reader.remove(&at).expect("removing");
    silent(reader.as_mut(), "the partition was removed");
    append(log, &[values(&at.topic, 0, &["500"]), values(&other.topic, 0, &["other"])]);
    silent(reader.as_mut(), "the partition was removed");
    reader.add(&other, 0).expect("adding another");
    assert_eq!(texts(&take(reader.as_mut(), &other, 1)), ["other"]);
}
