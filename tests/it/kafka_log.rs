//! The Kafka log against real brokers: the contract suite, random histories beside the embedded log, and what happens
//! when the broker is absent, restarts, or is sent too large a record.

use crate::support::Kafka;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use ws_log::embedded::{EmbeddedConfig, EmbeddedLog};
use ws_log::kafka::{KafkaConfig, KafkaLog};
use ws_stream::log::contract::{self, history, members, topics};
use ws_stream::log::{Committer, End, Epoch, EpochSet, Log, LogError, Member, Membership, Outcome, Ownership, TaskId, TopicPartition, TopicSpec};
use ws_stream::records::Appends;

fn log_on(kafka: &Kafka) -> KafkaLog {
    KafkaLog::new(KafkaConfig::new(&kafka.bootstrap))
}

/// Names of this run alone: the shared broker may have seen others.
fn prefix(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

#[test]
fn kafka_fulfils_the_contract() {
    let Some(kafka) = Kafka::shared() else { return };
    let log = log_on(kafka);
    contract::run(&log, &prefix("contract"));
}

#[test]
fn topics_made_again_and_logs_opened_again_on_kafka() {
    let Some(kafka) = Kafka::shared() else { return };
    let log = log_on(kafka);
    topics::recreated_topic_has_another_id(&log, &prefix("again"), &|name| log.delete_topic(name).expect("deleting"));
    members::survives_reopening(&|| Box::new(log_on(kafka)), &prefix("reopen"));
}

#[test]
fn random_histories_on_kafka_agree_with_the_model_and_the_embedded_log() {
    let Some(kafka) = Kafka::shared() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let embedded = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("opening");
    for seed in [1, 2] {
        let name = prefix(&format!("history{seed}"));
        let there = history::random(&log_on(kafka), &name, seed, 40);
        assert_eq!(there, history::random(&embedded, &name, seed, 40), "seed {seed}");
    }
}

/// Nobody listens on port 1 of this machine.
const NOWHERE: &str = "127.0.0.1:1";

fn names_the_address(what: &str, started: Instant, error: LogError) {
    let text = error.to_string();
    assert!(matches!(error, LogError::Unavailable { .. }), "{what}: {text}");
    assert!(text.contains(NOWHERE) && text.contains("broker"), "{what} must name the address and what to do: {text}");
    assert!(started.elapsed() < Duration::from_secs(8), "{what} took {:?}", started.elapsed());
}

#[test]
fn an_absent_broker_is_named_in_time() {
    let mut config = KafkaConfig::new(NOWHERE);
    config.limits.request_timeout_ms = 1_500;
    config.limits.reader_silence_ms = 500;
    config.limits.close_ms = 500;
    let log = KafkaLog::new(config);
    let at = TopicPartition::new("nothing", 0);
    let mut admin = log.admin().expect("an admin needs no broker yet");
    let spec = TopicSpec { name: at.topic.clone(), partitions: 1, config: vec![] };
    let start = Instant::now;

    let t = start();
    names_the_address("describing", t, admin.topic("nothing").expect_err("no broker"));
    let t = start();
    names_the_address("the cluster's id", t, admin.cluster_id().expect_err("no broker"));
    let t = start();
    names_the_address("creating", t, admin.create(&[spec]).expect_err("no broker"));
    let t = start();
    names_the_address("asking for the end", t, admin.end(&at, End::Stable).expect_err("no broker"));
    let t = start();
    let mut one = Appends::new(at.topic.clone());
    one.push(0, 1, None, Some(b"x"), &[]);
    names_the_address("appending", t, log.appender().expect("an appender").append(&[one]).expect_err("no broker"));
    let t = start();
    let member = Member { topology: "absent".into(), slot: 0, tasks: 1 };
    names_the_address("joining", t, log.join(&member).err().expect("no broker"));
    let t = start();
    let mut reader = log.reader().expect("a reader");
    reader.add(&at, 0).expect("adding is only noted");
    let error = loop {
        if let Err(e) = reader.poll(100) {
            break e;
        }
    };
    names_the_address("reading", t, error);
}

#[test]
fn a_record_beyond_the_limit_is_refused_and_the_next_commit_succeeds() {
    let Some(kafka) = Kafka::shared() else { return };
    let log = log_on(kafka);
    let mut worker = Worker::start(&log, &prefix("large"));
    let mut large = Appends::new(worker.out.topic.clone());
    large.push(0, 1, None, Some(b"ghost"), &[]);
    large.push(0, 1, None, Some(&vec![1; 2_000_000]), &[]);
    match worker.committer.commit(&worker.set(1, large)) {
        Outcome::Aborted(why) => assert!(why.contains("2000000 bytes") && why.contains("message_max_bytes"), "{why}"),
        other => panic!("a record beyond the limit must abort: {other:?}"),
    }
    worker.commit(1);
    assert_eq!(worker.visible(&log, 1), ["1"]);
}

#[test]
fn commits_go_on_after_the_broker_restarted_and_nothing_is_lost_or_doubled() {
    let Some(mut kafka) = Kafka::start(1) else {
        return;
    };
    let mut config = KafkaConfig::new(&kafka.bootstrap);
    // Shorter than the second outage: commits must fail then, some of them undetermined.
    config.limits.transaction_timeout_ms = 3_000;
    let log = KafkaLog::new(config);
    let mut worker = Worker::start(&log, "restart");
    let over = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            kafka.restart();
            std::thread::sleep(Duration::from_millis(700));
            kafka.kill(0);
            std::thread::sleep(Duration::from_secs(5));
            kafka.start_again(0);
            over.store(true, Ordering::Relaxed);
        });
        let mut number = 0;
        while !over.load(Ordering::Relaxed) || number < 60 {
            number += 1;
            worker.commit(number);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(worker.failures > 0, "no commit met the outage");
        let expected: Vec<String> = (1..=number).map(|n| n.to_string()).collect();
        assert_eq!(worker.visible(&log, expected.len()), expected, "{:#?}", worker.history);
    });
}

/// A member with one task that writes its epoch numbers into one partition, as the engine would.
struct Worker {
    committer: Box<dyn Committer>,
    membership: Box<dyn Membership>,
    out: TopicPartition,
    owned: bool,
    failures: u32,
    /// What did not go well, for the message of a failure.
    history: Vec<String>,
}

impl Worker {
    fn start(log: &KafkaLog, topology: &str) -> Worker {
        let out = TopicPartition::new(format!("{topology}.out"), 0);
        let spec = TopicSpec { name: out.topic.clone(), partitions: 1, config: vec![] };
        log.admin().expect("an admin").create(&[spec]).expect("creating");
        let member = Member { topology: topology.into(), slot: 0, tasks: 1 };
        let (mut committer, membership) = log.join(&member).expect("joining");
        committer.open().expect("opening");
        let mut worker = Worker { committer, membership, out, owned: false, failures: 0, history: Vec::new() };
        worker.wait_owned();
        worker
    }

    fn wait_owned(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            for change in self.membership.poll().expect("polling") {
                match change {
                    Ownership::Assigned(_) => self.owned = true,
                    Ownership::Lost(_) => self.owned = false,
                    Ownership::Revoked(tasks) => {
                        self.owned = false;
                        self.membership.release(&tasks).expect("releasing");
                    }
                }
            }
            if self.owned {
                return;
            }
            assert!(Instant::now() < deadline, "the task was never assigned");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn set(&self, number: u64, appends: Appends) -> EpochSet {
        EpochSet {
            losses: self.membership.losses(),
            id: number,
            epochs: vec![Epoch { task: TaskId(0), incarnation: 1, number, positions: vec![], appends: vec![appends] }],
        }
    }

    /// Until it is certain that the epoch is committed.
    fn commit(&mut self, number: u64) {
        let mut appends = Appends::new(self.out.topic.clone());
        appends.push(0, number as i64, Some(b"k"), Some(number.to_string().as_bytes()), &[]);
        let mut set = self.set(number, appends);
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            assert!(Instant::now() < deadline, "epoch {number} was never committed");
            match self.committer.commit(&set) {
                Outcome::Committed => return,
                Outcome::Aborted(why) => self.history.push(format!("{number} aborted: {why}")),
                Outcome::Unknown(why) => {
                    self.history.push(format!("{number} undetermined: {why}"));
                    while self.committer.open().is_err() {
                        assert!(Instant::now() < deadline, "the identity could not be opened again");
                    }
                    let progress = loop {
                        match self.committer.progress(&[TaskId(0)]) {
                            Ok(p) => break p[0].number,
                            Err(e) => assert!(Instant::now() < deadline, "progress could not be read: {e}"),
                        }
                    };
                    self.history.push(format!("progress is {progress}"));
                    if progress == number {
                        return;
                    }
                    assert_eq!(progress, number - 1, "the end of an undetermined commit");
                }
            }
            self.failures += 1;
            self.wait_owned();
            // This worker hands the same epoch over anew, as its task was not lost to anybody else.
            set.losses = self.membership.losses();
        }
    }

    /// The first `count` visible values, and whatever comes with them.
    fn visible(&self, log: &KafkaLog, count: usize) -> Vec<String> {
        let mut reader = log.reader().expect("a reader");
        reader.add(&self.out, 0).expect("adding");
        let mut values = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut after = 0;
        while after < 5 {
            for (_, records) in reader.poll(100).expect("polling") {
                values.extend((0..records.rows.len()).map(|i| String::from_utf8_lossy(records.value(i).unwrap_or_default()).into_owned()));
            }
            after += usize::from(values.len() >= count);
            assert!(Instant::now() < deadline, "only these came: {values:?}");
        }
        values
    }
}
