//! The contract suite, and what is the embedded log's own: damage, a second owner, a full disk, sharing of syncs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;
use ws_stream::log::contract::{self, history, members, topics};
use ws_stream::log::{Epoch, Outcome};

fn open(folder: &Path) -> EmbeddedLog {
    EmbeddedLog::open(EmbeddedConfig::new(folder)).expect("opening")
}

fn numbered(topic: &str, partition: u32, range: std::ops::Range<u32>) -> Appends {
    let mut a = Appends::new(topic.into());
    for i in range {
        a.push(partition, i64::from(i), Some(b"k"), Some(i.to_string().as_bytes()), &[]);
    }
    a
}

fn topic(log: &EmbeddedLog, name: &str, partitions: u32) {
    log.admin().unwrap().create(&[TopicSpec { name: name.into(), partitions, config: vec![] }]).unwrap();
}

fn all(log: &EmbeddedLog, at: &TopicPartition) -> Vec<String> {
    let mut reader = log.reader().unwrap();
    reader.add(at, 0).unwrap();
    let mut rows = Vec::new();
    loop {
        let got = reader.poll(0).unwrap();
        if got.is_empty() {
            return rows;
        }
        for (_, r) in got {
            rows.extend((0..r.rows.len()).map(|i| String::from_utf8(r.value(i).unwrap().to_vec()).unwrap()));
        }
    }
}

#[test]
fn fulfils_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    contract::run(&log, "c");
    topics::recreated_topic_has_another_id(&log, "again", &|name| log.delete_topic(name).unwrap());
}

#[test]
fn random_histories_agree_with_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for seed in 0..12 {
        history::random(&log, &format!("seed{seed}"), seed, 60);
    }
}

#[test]
fn everything_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    members::survives_reopening(&|| Box::new(open(dir.path())), "r");
}

#[test]
fn a_producer_epoch_that_was_superseded_cannot_commit_even_if_it_owns_the_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut group = lock(&log.core.groups);
    let member = group.join("g", 0, 1).unwrap();
    drop(group);
    let committer = || EmbeddedCommitter { core: log.core.clone(), group: "g".into(), identity: "g.0".into(), member, epoch: None };
    let set = |number| EpochSet { losses: 0, id: number, epochs: vec![Epoch { task: TaskId(0), incarnation: 1, number, positions: vec![], appends: vec![] }] };
    let (mut old, mut new) = (committer(), committer());
    old.open().unwrap();
    assert_eq!(old.commit(&set(1)), Outcome::Committed);
    new.open().unwrap();
    let refused = old.commit(&set(2));
    assert!(matches!(&refused, Outcome::Aborted(why) if why.contains("opened again")), "{refused:?}");
    assert_eq!(new.commit(&set(2)), Outcome::Committed);
}

#[test]
fn a_second_owner_is_refused_and_told_who_holds_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let error = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).err().expect("refused").to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    assert!(error.contains(&dir.path().display().to_string()), "{error}");
    drop(log);
    open(dir.path());
}

#[test]
fn a_missing_chunk_is_found_when_opening_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&log, "t", 2);
    let mut appender = log.appender().unwrap();
    for i in 0..5 {
        appender.append(&[numbered("t", 1, i * 10..i * 10 + 10)]).unwrap();
    }
    let (id, _) = lock(&log.core.index).find(&TopicPartition::new("t", 1)).unwrap();
    {
        let access = log.core.access();
        let files = access.files().unwrap();
        let place = files.at_or_before(id, 1, 25).unwrap().unwrap();
        assert_eq!((place.base, place.rows), (20, 10));
        let mut batch = files.batch();
        batch.remove(&files.chunks, place.encode());
        batch.commit().unwrap();
    }
    drop((log, appender));
    let error = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).err().expect("refused").to_string();
    assert!(error.contains("t[1]: offsets 20 to 29 are missing"), "{error}");
}

#[test]
fn a_changed_byte_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&log, "t", 1);
    let at = TopicPartition::new("t", 0);
    let mut appender = log.appender().unwrap();
    appender.append(&[numbered("t", 0, 0..10)]).unwrap();
    appender.append(&[numbered("t", 0, 10..20)]).unwrap();
    let (id, _) = lock(&log.core.index).find(&at).unwrap();
    let spoil = |offset| {
        let access = log.core.access();
        let files = access.files().unwrap();
        let place = files.at_or_before(id, 0, offset).unwrap().unwrap();
        let mut value = files.chunks.get(place.encode()).unwrap().unwrap().to_vec();
        value[9] ^= 4;
        let mut batch = files.batch();
        batch.insert(&files.chunks, place.encode(), value);
        batch.commit().unwrap();
    };
    spoil(3);
    let mut reader = log.reader().unwrap();
    reader.add(&at, 0).unwrap();
    let error = reader.poll(0).unwrap_err().to_string();
    assert!(error.contains("t[0]: the chunk with offsets 0 to 9 is damaged: its checksum does not match"), "{error}");
    spoil(13);
    drop((log, appender, reader));
    let error = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).err().expect("refused").to_string();
    assert!(error.contains("t[0]: the chunk with offsets 10 to 19 is damaged"), "{error}");
}

#[test]
fn a_waiting_reader_is_woken_by_an_append() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&log, "t", 1);
    let mut reader = log.reader().unwrap();
    reader.add(&TopicPartition::new("t", 0), 0).unwrap();
    let started = std::time::Instant::now();
    let waiting = std::thread::spawn(move || reader.poll(20_000).unwrap());
    std::thread::sleep(Duration::from_millis(50));
    log.appender().unwrap().append(&[numbered("t", 0, 0..1)]).unwrap();
    assert_eq!(waiting.join().unwrap().len(), 1);
    assert!(started.elapsed() < Duration::from_secs(10), "it slept on: {:?}", started.elapsed());
}

#[test]
fn concurrent_writers_share_syncs_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&log, "t", 1);
    let (threads, each) = (8u32, 50u32);
    let joins: Vec<_> = (0..threads)
        .map(|t| {
            let mut appender = log.appender().unwrap();
            std::thread::spawn(move || (0..each).for_each(|i| appender.append(&[numbered("t", 0, t * 1000 + i..t * 1000 + i + 1)]).unwrap()))
        })
        .collect();
    joins.into_iter().for_each(|j| j.join().unwrap());
    let counts = log.write_counts();
    assert_eq!(counts.requests, u64::from(threads * each));
    assert!(counts.groups < counts.requests, "no two writes shared a sync: {counts:?}");
    let rows: Vec<u32> = all(&log, &TopicPartition::new("t", 0)).iter().map(|r| r.parse().unwrap()).collect();
    assert_eq!(rows.len() as u32, threads * each);
    for t in 0..threads {
        let of: Vec<u32> = rows.iter().copied().filter(|r| r / 1000 == t).collect();
        assert!(of.is_sorted(), "thread {t}'s records changed order");
    }
}

#[test]
fn large_chunks_are_handed_over_without_copying_and_small_ones_joined() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&log, "t", 1);
    let mut appender = log.appender().unwrap();
    for i in 0..10 {
        appender.append(&[numbered("t", 0, i..i + 1)]).unwrap();
    }
    let mut big = Appends::new("t".into());
    big.push(0, 1, None, Some(&[7; 100_000]), &[]);
    appender.append(&[big]).unwrap();
    appender.append(&[numbered("t", 0, 11..12)]).unwrap();
    let mut reader = log.reader().unwrap();
    reader.add(&TopicPartition::new("t", 0), 3).unwrap();
    let got = reader.poll(0).unwrap();
    let shape: Vec<(usize, i64, i64)> = got.iter().map(|(_, r)| (r.rows.len(), r.rows[0].offset, r.next_offset)).collect();
    assert_eq!(shape, [(7, 3, 10), (1, 10, 11), (1, 11, 12)]);
}

#[test]
fn truncating_frees_chunks_and_interrupted_truncation_is_finished_when_opening() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&log, "t", 1);
    let at = TopicPartition::new("t", 0);
    let mut appender = log.appender().unwrap();
    for i in 0..10 {
        appender.append(&[numbered("t", 0, i * 10..i * 10 + 10)]).unwrap();
    }
    let (id, _) = lock(&log.core.index).find(&at).unwrap();
    let chunks = |log: &EmbeddedLog| log.core.access().files().unwrap().places(id, 0, 0, i64::MAX).count();
    log.admin().unwrap().truncate(&at, 25).unwrap();
    assert_eq!(chunks(&log), 8, "two whole chunks lie before 25");
    log.core.change("as if interrupted", |files, batch| files.put_start(batch, id, 0, 60)).unwrap();
    drop((log, appender));
    let log = open(dir.path());
    assert_eq!(log.admin().unwrap().start(&at).unwrap(), 60);
    assert_eq!(chunks(&log), 4);
}

/// A file system of a few megabytes: only root can make one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap().keep();
        let options = format!("size={megabytes}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&dir).output();
        if done.is_ok_and(|o| o.status.success()) {
            return Some(SmallDisk(dir));
        }
        let _ = std::fs::remove_dir(&dir);
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_disk_is_told_clearly_and_writing_goes_on_when_there_is_space_again() {
    let Some(disk) = SmallDisk::mount(24) else {
        // Not `eprintln!`: the harness would swallow it.
        let _ = writeln!(std::io::stderr(), "SKIPPED: only root can mount the small file system that this test fills");
        return;
    };
    let folder = disk.0.join("log");
    let log = open(&folder);
    topic(&log, "t", 1);
    let at = TopicPartition::new("t", 0);
    let member = Member { topology: "full".into(), slot: 0, tasks: 1 };
    let (mut committer, mut membership) = log.join(&member).unwrap();
    committer.open().unwrap();
    membership.poll().unwrap();
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; 12 << 20]).unwrap();

    // Random bytes: the journal compresses.
    let mut state = 1u32;
    let noise: Vec<u8> = (0..600_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let set = |number: u64| {
        let mut a = Appends::new("t".into());
        a.push(0, 1, Some(number.to_string().as_bytes()), Some(&noise), &[]);
        EpochSet { losses: 0, id: number, epochs: vec![Epoch { task: TaskId(0), incarnation: 1, number, positions: vec![], appends: vec![a] }] }
    };
    let mut committed = 0u64;
    let why = loop {
        match committer.commit(&set(committed + 1)) {
            Outcome::Committed => committed += 1,
            Outcome::Aborted(why) | Outcome::Unknown(why) => break why,
        }
        assert!(committed < 200, "the disk never became full");
    };
    assert!(why.contains("no space left") && why.contains(&format!("free space at {}", folder.display())), "{why}");
    let refused = committer.open().and_then(|()| match committer.commit(&set(1_000)) {
        Outcome::Committed => Ok(()),
        Outcome::Aborted(why) | Outcome::Unknown(why) => Err(LogError::Fenced(why)),
    });
    refused.expect_err("the disk is still full");

    std::fs::remove_file(&ballast).unwrap();
    committer.open().expect("with space again the identity can be opened");
    let number = committer.progress(&[TaskId(0)]).unwrap()[0].number;
    assert!(number == committed || number == committed + 1, "committed {committed}, progress {number}");
    assert_eq!(committer.commit(&set(number + 1)), Outcome::Committed);
    let keys = |log: &EmbeddedLog| {
        let mut reader = log.reader().unwrap();
        reader.add(&at, 0).unwrap();
        let mut keys: Vec<u64> = Vec::new();
        while let Some(got) = Some(reader.poll(0).unwrap()).filter(|g| !g.is_empty()) {
            keys.extend(got.iter().flat_map(|(_, r)| (0..r.rows.len()).map(|i| String::from_utf8_lossy(r.key(i).unwrap()).parse::<u64>().unwrap())));
        }
        keys
    };
    let expected: Vec<u64> = (1..=number + 1).collect();
    assert_eq!(keys(&log), expected, "progress and records agree");
    drop((log, committer, membership));
    let log = open(&folder);
    assert_eq!(keys(&log), expected, "and still do after opening again");
}

#[test]
fn killed_in_the_middle_of_writing_nothing_acknowledged_is_lost() {
    // The child is this very test binary, running the next test only.
    if std::env::var_os("WS_EMBEDDED_CHILD").is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut most = 0;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::child_that_writes_until_killed", "--nocapture", "--test-threads=1"])
            .env("WS_EMBEDDED_CHILD", dir.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(400 + 150 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged: u64 = std::fs::read_to_string(dir.path().join("acknowledged")).map_or(0, |s| s.trim().parse().unwrap_or(0));
        most = acknowledged.max(most);
        let log = open(&dir.path().join("log"));
        if log.admin().unwrap().topic("t").unwrap().is_none() {
            assert_eq!(acknowledged, 0);
            continue;
        }
        let (mut committer, _membership) = log.join(&Member { topology: "kill".into(), slot: 0, tasks: 1 }).unwrap();
        committer.open().unwrap();
        let number = committer.progress(&[TaskId(0)]).unwrap()[0].number;
        assert!(number >= acknowledged && number <= acknowledged + 1, "acknowledged {acknowledged}, progress {number}");
        for partition in 0..2 {
            let rows = all(&log, &TopicPartition::new("t", partition));
            assert_eq!(rows, (1..=number).map(|n| n.to_string()).collect::<Vec<_>>(), "partition {partition}");
        }
    }
    assert!(most > 0, "no round lasted until a commit was acknowledged");
}

#[test]
fn child_that_writes_until_killed() {
    let Some(dir) = std::env::var_os("WS_EMBEDDED_CHILD").map(PathBuf::from) else {
        return;
    };
    let log = open(&dir.join("log"));
    topic(&log, "t", 2);
    let (mut committer, mut membership) = log.join(&Member { topology: "kill".into(), slot: 0, tasks: 1 }).unwrap();
    committer.open().unwrap();
    membership.poll().unwrap();
    let mut number = committer.progress(&[TaskId(0)]).unwrap()[0].number;
    loop {
        number += 1;
        let appends = (0..2).map(|p| numbered("t", p, number as u32..number as u32 + 1)).collect();
        let set = EpochSet { losses: 0, id: number, epochs: vec![Epoch { task: TaskId(0), incarnation: 1, number, positions: vec![], appends }] };
        assert_eq!(committer.commit(&set), Outcome::Committed);
        let fresh = dir.join("acknowledged.new");
        std::fs::write(&fresh, number.to_string()).unwrap();
        std::fs::rename(&fresh, dir.join("acknowledged")).unwrap();
    }
}
