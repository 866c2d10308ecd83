//! The contract suite of the log trait: what the engine relies on, run against Kafka, the embedded and the simulated
//! log alike. Each check is a plain function that takes a fresh name prefix, so that one server serves all of them,
//! and panics with a message that says what was broken.
//!
//! [`run`] goes through [`CHECKS`]. Three more need something that the trait does not offer and are called by the
//! log's own tests: [`topics::recreated_topic_has_another_id`] (deleting), [`members::survives_reopening`] (opening
//! again) and [`history::random`] (a seed; its result may be compared between logs).
//!
//! No clock is read here: patience is counted in polls of an idle reader, which waits in whatever time its log lives.

// A failed expectation here is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{Committer, End, Epoch, EpochSet, Log, Member, Membership, Outcome, Ownership, Reader, TaskId, TopicPartition, TopicSpec};
use crate::records::{Appends, Headers, Records};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub mod commits;
pub mod history;
pub mod members;
pub mod reading;
pub mod topics;

/// A named check.
pub type Check = (&'static str, fn(&dyn Log, &str));

/// Every check that needs nothing but a log.
pub const CHECKS: &[Check] = &[
    ("create_describe", topics::create_describe),
    ("start_and_end", topics::start_and_end),
    ("offset_at_finds_the_first_record_at_or_after", topics::offset_at_finds_the_first_record_at_or_after),
    ("truncated_records_are_out_of_range", topics::truncated_records_are_out_of_range),
    ("unknown_topic_is_named", topics::unknown_topic_is_named),
    ("appends_keep_their_order", reading::appends_keep_their_order),
    ("records_survive_unchanged", reading::records_survive_unchanged),
    ("large_records_survive", reading::large_records_survive),
    ("reading_starts_where_asked", reading::reading_starts_where_asked),
    ("moving_hands_over_nothing_of_the_old_position", reading::moving_hands_over_nothing_of_the_old_position),
    ("paused_partitions_are_silent", reading::paused_partitions_are_silent),
    ("paused_at_the_end_nothing_is_skipped", reading::paused_at_the_end_nothing_is_skipped),
    ("removed_partitions_are_silent", reading::removed_partitions_are_silent),
    ("a_commit_is_atomic_over_partitions_and_progress", commits::a_commit_is_atomic_over_partitions_and_progress),
    ("a_failed_commit_leaves_nothing_visible", commits::a_failed_commit_leaves_nothing_visible),
    ("progress_of_an_epoch_without_inputs_or_outputs", commits::progress_of_an_epoch_without_inputs_or_outputs),
    ("several_tasks_commit_at_once", commits::several_tasks_commit_at_once),
    ("opening_again_fences_the_older_committer", commits::opening_again_fences_the_older_committer),
    ("positions_move_past_what_is_invisible", commits::positions_move_past_what_is_invisible),
    ("a_single_member_gets_all_tasks", members::a_single_member_gets_all_tasks),
    ("two_members_share_and_leaving_hands_over", members::two_members_share_and_leaving_hands_over),
    ("tasks_of_others_cannot_be_committed", members::tasks_of_others_cannot_be_committed),
    ("a_revoked_task_can_finish_its_commit", members::a_revoked_task_can_finish_its_commit),
];

/// Runs every check of [`CHECKS`], each with names of its own below `prefix`, and says which one is running.
pub fn run(log: &dyn Log, prefix: &str) {
    for (i, (name, check)) in CHECKS.iter().enumerate() {
        println!("contract: {name}");
        check(log, &format!("{prefix}.{i}"));
    }
}

/// How often an idle reader is polled before a check gives up, and for how long each time: half a minute where time
/// is real.
const PATIENCE_POLLS: usize = 600;
const POLL_MS: u64 = 50;
/// Polls after which something that must not come is taken not to come.
const SILENCE_POLLS: usize = 8;

/// A record as a check sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Offset.
    pub offset: i64,
    /// Timestamp, UTC milliseconds.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Seen {
    /// The value as text; absent ones as `<none>`.
    pub fn text(&self) -> String {
        self.value.as_deref().map_or("<none>".into(), |v| String::from_utf8_lossy(v).into_owned())
    }
}

fn owned_headers(headers: Headers<'_>) -> Vec<(String, Vec<u8>)> {
    headers.map(|(n, v)| (n.to_owned(), v.to_vec())).collect()
}

fn seen(records: &Records) -> Vec<Seen> {
    (0..records.rows.len())
        .map(|i| Seen {
            offset: records.rows[i].offset,
            timestamp_ms: records.rows[i].timestamp_ms,
            key: records.key(i).map(<[u8]>::to_vec),
            value: records.value(i).map(<[u8]>::to_vec),
            headers: owned_headers(records.headers(i)),
        })
        .collect()
}

fn texts(rows: &[Seen]) -> Vec<String> {
    rows.iter().map(Seen::text).collect()
}

/// Lets a little of the log's own time pass.
pub(crate) struct Idle(Box<dyn Reader>);

impl Idle {
    fn new(log: &dyn Log) -> Idle {
        Idle(log.reader().expect("a reader"))
    }
    fn rest(&mut self) {
        let rows = self.0.poll(POLL_MS).expect("polling a reader that reads nothing");
        assert!(rows.is_empty(), "a reader without partitions handed something over");
    }
}

fn topic(log: &dyn Log, name: &str, partitions: u32) -> Arc<str> {
    let name: Arc<str> = name.into();
    let spec = TopicSpec { name: name.clone(), partitions, config: Vec::new() };
    log.admin().expect("an admin").create(&[spec]).expect("creating a topic");
    name
}

fn values(topic: &Arc<str>, partition: u32, values: &[&str]) -> Appends {
    let mut a = Appends::new(topic.clone());
    for (i, v) in values.iter().enumerate() {
        a.push(partition, 1_000 + i as i64, Some(b"k"), Some(v.as_bytes()), &[]);
    }
    a
}

fn append(log: &dyn Log, appends: &[Appends]) {
    log.appender().expect("an appender").append(appends).expect("appending");
}

/// Reads `at` from `from` until `count` records are there, then makes sure that their offsets rise.
fn read(log: &dyn Log, at: &TopicPartition, from: i64, count: usize) -> Vec<Seen> {
    let mut reader = log.reader().expect("a reader");
    reader.add(at, from).expect("adding a partition");
    let rows = take(reader.as_mut(), at, count);
    check_order(at, &rows);
    rows
}

/// Polls until `count` records of `at` are there. Records of other partitions fail the check.
fn take(reader: &mut dyn Reader, at: &TopicPartition, count: usize) -> Vec<Seen> {
    let mut rows = Vec::new();
    let mut next = None;
    for _ in 0..PATIENCE_POLLS {
        for (tp, records) in reader.poll(POLL_MS).expect("polling") {
            assert_eq!(&tp, at, "records of a partition that is not being read");
            let last = records.rows.last().map(|r| r.offset + 1).or(next).unwrap_or(records.next_offset);
            assert!(records.next_offset >= last, "{at}: next_offset {} lies before {last}", records.next_offset);
            next = Some(records.next_offset);
            rows.extend(seen(&records));
        }
        if rows.len() >= count {
            return rows;
        }
    }
    panic!("{at}: {count} records expected, only {} came: {:?}", rows.len(), texts(&rows));
}

/// Makes sure that nothing comes for a while.
fn silent(reader: &mut dyn Reader, why: &str) {
    for _ in 0..SILENCE_POLLS {
        for (tp, records) in reader.poll(POLL_MS).expect("polling") {
            assert!(records.rows.is_empty(), "{why}, but {tp} handed over {:?}", texts(&seen(&records)));
        }
    }
}

fn check_order(at: &TopicPartition, rows: &[Seen]) {
    for pair in rows.windows(2) {
        assert!(pair[0].offset < pair[1].offset, "{at}: offset {} follows {}", pair[1].offset, pair[0].offset);
    }
}

/// Everything that is visible in a partition up to a marker that is appended for the purpose.
fn all_visible(log: &dyn Log, at: &TopicPartition) -> Vec<Seen> {
    let marker = "contract-marker";
    append(log, &[values(&at.topic, at.partition, &[marker])]);
    let mut reader = log.reader().expect("a reader");
    reader.add(at, 0).expect("adding a partition");
    let mut rows: Vec<Seen> = Vec::new();
    for _ in 0..PATIENCE_POLLS {
        for (_, records) in reader.poll(POLL_MS).expect("polling") {
            rows.extend(seen(&records));
        }
        if rows.last().is_some_and(|r| r.text() == marker) {
            check_order(at, &rows);
            rows.retain(|r| r.text() != marker);
            return rows;
        }
    }
    panic!("{at}: a record appended at the end never became visible; seen {:?}", texts(&rows));
}

/// A member with what it owns, following the protocol that the engine follows.
pub(crate) struct Worker {
    committer: Box<dyn Committer>,
    membership: Box<dyn Membership>,
    owned: BTreeSet<TaskId>,
    idle: Idle,
}

impl Worker {
    fn join(log: &dyn Log, topology: &str, slot: u32, tasks: u32) -> Worker {
        let member = Member { topology: topology.into(), slot, tasks };
        let (committer, membership) = log.join(&member).expect("joining");
        Worker { committer, membership, owned: BTreeSet::new(), idle: Idle::new(log) }
    }

    /// Joins as the only member, opens, and waits until all tasks are owned.
    fn alone(log: &dyn Log, topology: &str, tasks: u32) -> Worker {
        let mut worker = Worker::join(log, topology, 0, tasks);
        worker.committer.open().expect("opening the committer");
        settle(&mut [&mut worker], |w| w[0].owned.len() == tasks as usize, "the only member owns every task");
        worker
    }

    /// One poll of the membership; what is revoked is released at once. Answers what it released or lost.
    fn follow(&mut self) -> Vec<TaskId> {
        let mut gone = Vec::new();
        for change in self.membership.poll().expect("polling the membership") {
            match change {
                Ownership::Assigned(tasks) => {
                    for t in tasks {
                        assert!(self.owned.insert(t), "{t:?} was assigned twice");
                    }
                }
                Ownership::Revoked(tasks) => {
                    for t in &tasks {
                        assert!(self.owned.remove(t), "{t:?} was revoked but not owned");
                    }
                    self.membership.release(&tasks).expect("releasing");
                    gone.extend(tasks);
                }
                Ownership::Lost(tasks) => {
                    for t in &tasks {
                        self.owned.remove(t);
                    }
                    gone.extend(tasks);
                }
            }
        }
        gone
    }

    /// Commits as the engine does: again after an abort, by progress after an undetermined end.
    fn commit(&mut self, set: &EpochSet) {
        let mut last = String::new();
        for _ in 0..PATIENCE_POLLS {
            match self.committer.commit(set) {
                Outcome::Committed => return,
                Outcome::Aborted(why) => last = why,
                Outcome::Unknown(why) => {
                    last = why;
                    self.committer.open().expect("opening the committer again");
                    if set.epochs.iter().all(|e| self.number(e.task) == e.number) {
                        return;
                    }
                }
            }
            self.follow();
            self.idle.rest();
        }
        panic!("the commit never succeeded; last answer: {last}");
    }

    fn number(&mut self, task: TaskId) -> u64 {
        let progress = self.committer.progress(&[task]).expect("progress");
        assert_eq!(progress.len(), 1, "one answer for one task");
        assert_eq!(progress[0].task, task);
        progress[0].number
    }
}

/// Lets the workers follow their group until `done`; no task may ever have two owners.
fn settle(workers: &mut [&mut Worker], done: impl Fn(&[&mut Worker]) -> bool, what: &str) {
    for _ in 0..PATIENCE_POLLS {
        for w in workers.iter_mut() {
            w.follow();
        }
        let mut owners: BTreeMap<TaskId, usize> = BTreeMap::new();
        for t in workers.iter().flat_map(|w| &w.owned) {
            *owners.entry(*t).or_default() += 1;
        }
        assert!(owners.values().all(|n| *n == 1), "tasks with two owners: {owners:?}");
        if done(workers) {
            return;
        }
        if let Some(w) = workers.first_mut() {
            w.idle.rest();
        }
    }
    let owned: Vec<_> = workers.iter().map(|w| w.owned.clone()).collect();
    panic!("it never came about that {what}; owned in the end: {owned:?}");
}

fn epoch(task: u32, number: u64, positions: Vec<(TopicPartition, i64)>, appends: Vec<Appends>) -> Epoch {
    Epoch { task: TaskId(task), incarnation: 1, number, positions, appends }
}

fn one(epoch: Epoch) -> EpochSet {
    EpochSet { losses: 0, id: epoch.number, epochs: vec![epoch] }
}
