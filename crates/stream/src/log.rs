//! What a log must offer: partitioned, ordered, durable records; transactions that carry appends and progress
//! together; ownership of tasks. Three implementations pass one contract suite (module `contract`): Kafka, the embedded
//! log and the simulated one.
//!
//! The unit of commit is an [`EpochSet`]: closed epochs of several tasks in one transaction. Progress is the
//! committed epoch number of each task, kept by the log beside the input positions *in the same transaction*; reading
//! it back after an undetermined end tells whether the transaction happened, even for an epoch that consumed nothing.

use crate::records::{Appends, Records};
use std::sync::Arc;

#[cfg(any(test, feature = "contract"))]
pub mod contract;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: u32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A topic's identity: a topic deleted and made again under its name has another one.
pub type TopicId = [u8; 16];

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its identity.
    pub id: TopicId,
    /// Its partition count.
    pub partitions: u32,
}

/// How a topic that the engine creates is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: Arc<str>,
    /// Partition count.
    pub partitions: u32,
    /// Broker settings (`cleanup.policy`, `retention.ms`, …); logs without such settings ignore them.
    pub config: Vec<(String, String)>,
}

/// Which end of a partition is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After the newest record, committed or not.
    High,
    /// After the newest record that a committed reader can see.
    Stable,
}

/// One task: a slice of a topology × a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u32);

/// A task's closed epoch: all that must become visible together.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// Whose epoch.
    pub task: TaskId,
    /// The life of the task that closed it.
    pub incarnation: u64,
    /// Its number; the task's committed number becomes this. Starts at 1.
    pub number: u64,
    /// Next offsets to read of inputs that only this task reads.
    pub positions: Vec<(TopicPartition, i64)>,
    /// Outputs, changelog and manifest.
    pub appends: Vec<Appends>,
}

/// Epochs of several tasks that commit in one transaction.
#[derive(Clone, Debug, Default)]
pub struct EpochSet {
    /// Number of the commit, for matching the answer.
    pub id: u64,
    /// The epochs, at most one per task.
    pub epochs: Vec<Epoch>,
    /// [`Membership::losses`] when the set was handed over. A task lost since then is not this member's to commit, even
    /// if it was won back meanwhile: another owner may have gone on in between.
    pub losses: u64,
}

impl EpochSet {
    /// Records to append.
    pub fn rows(&self) -> usize {
        self.epochs.iter().flat_map(|e| &e.appends).map(|a| a.rows.len()).sum()
    }
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is visible.
    Committed,
    /// Nothing is, and never will be.
    Aborted(String),
    /// Cannot be told: the committer must be opened again (which fences the old one) and progress read back.
    Unknown(String),
}

/// A failed log operation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Worth another try: broker away, timeout.
    #[error("{what}: {cause} ({hint})")]
    Unavailable {
        /// Operation.
        what: String,
        /// Cause as reported.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// The position asked for is not there any more, or not yet.
    #[error(
        "{at}: offset {offset} is out of range {start}..{end}; the records were deleted or the topic was made again: restore from a snapshot or reset the topology on purpose"
    )]
    OutOfRange {
        /// Where.
        at: TopicPartition,
        /// Asked for.
        offset: i64,
        /// First offset kept.
        start: i64,
        /// End offset.
        end: i64,
    },
    /// The topic does not exist.
    #[error(
        "topic {0} does not exist: create it with your broker's tool (a missing output: also by `wastestream run --create-outputs`), or correct the name in the topology"
    )]
    NoTopic(Arc<str>),
    /// Another process or incarnation took over.
    #[error("fenced: {0}")]
    Fenced(String),
    /// Nothing helps but a person.
    #[error("{what}: {cause} ({hint})")]
    Fatal {
        /// Operation.
        what: String,
        /// Cause as reported.
        cause: String,
        /// What to do.
        hint: String,
    },
}

/// Topics and offsets.
pub trait Admin: Send {
    /// Identity of the cluster or log.
    fn cluster_id(&mut self) -> Result<String, LogError>;
    /// What is known of a topic; `None` when it does not exist.
    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>, LogError>;
    /// Creates topics that do not exist yet; existing ones are left alone.
    fn create(&mut self, specs: &[TopicSpec]) -> Result<(), LogError>;
    /// First offset kept.
    fn start(&mut self, at: &TopicPartition) -> Result<i64, LogError>;
    /// End offset.
    fn end(&mut self, at: &TopicPartition, end: End) -> Result<i64, LogError>;
    /// First offset whose record's timestamp is at or after `time_ms`; the end when there is none.
    fn offset_at(&mut self, at: &TopicPartition, time_ms: i64) -> Result<i64, LogError>;
    /// Deletes all records before `before`.
    fn truncate(&mut self, at: &TopicPartition, before: i64) -> Result<(), LogError>;
}

/// Reads partitions given to it; knows nothing of groups. Only committed records are seen.
pub trait Reader: Send {
    /// Starts reading `at` from `offset`, or moves there if it is being read already.
    fn add(&mut self, at: &TopicPartition, offset: i64) -> Result<(), LogError>;
    /// Stops reading; nothing of it is handed over afterwards.
    fn remove(&mut self, at: &TopicPartition) -> Result<(), LogError>;
    /// Keeps the position but hands nothing over until [`Reader::resume`].
    fn pause(&mut self, at: &TopicPartition) -> Result<(), LogError>;
    /// Undoes [`Reader::pause`].
    fn resume(&mut self, at: &TopicPartition) -> Result<(), LogError>;
    /// Records of any partition being read; waits up to `wait_ms` for the first. An empty answer is not an end. When
    /// only invisible records were passed, `rows` may be empty and `next_offset` still move.
    fn poll(&mut self, wait_ms: u64) -> Result<Vec<(TopicPartition, Records)>, LogError>;
}

/// Appends records outside any task, for producers and tools: durable when it returns, in order per partition.
pub trait Append: Send {
    /// Appends all, or says why not (some may have been written: producers repeat, consumers drop by event id).
    fn append(&mut self, appends: &[Appends]) -> Result<(), LogError>;
}

/// Progress that the log holds of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The task.
    pub task: TaskId,
    /// Number of its newest committed epoch, 0 when there is none.
    pub number: u64,
}

/// Commits epoch sets under one fixed identity (topology + slot). One commit at a time.
pub trait Committer: Send {
    /// Takes the identity over: whoever held it before can never commit again, and what it left open is ended.
    fn open(&mut self) -> Result<(), LogError>;
    /// One transaction: appends, positions, progress. Blocks at most for the transaction timeout.
    fn commit(&mut self, set: &EpochSet) -> Outcome;
    /// Newest committed epoch of each task; only stable values (no transaction of these tasks is undecided).
    fn progress(&mut self, tasks: &[TaskId]) -> Result<Vec<Progress>, LogError>;
}

/// What happened to the ownership of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// These tasks are this member's now.
    Assigned(Vec<TaskId>),
    /// These are to be given up: finish the transaction they are in, then [`Membership::release`].
    Revoked(Vec<TaskId>),
    /// These were taken already: whatever is open of them must not commit.
    Lost(Vec<TaskId>),
}

/// This member's part in the group that shares a topology's tasks.
pub trait Membership: Send {
    /// Heartbeats, and tells what changed.
    fn poll(&mut self) -> Result<Vec<Ownership>, LogError>;
    /// How often tasks were lost so far; logs that never take tasks away stay at 0.
    fn losses(&self) -> u64 {
        0
    }
    /// Tells the group that revoked tasks are free for others.
    fn release(&mut self, tasks: &[TaskId]) -> Result<(), LogError>;
    /// Leaves the group, so that others take over at once.
    fn leave(&mut self) -> Result<(), LogError>;
}

/// A group's identity in a log: the topology whose tasks are shared and the slot of this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Topology name; the group and the tasks topic are named after it.
    pub topology: Arc<str>,
    /// Stable place of this worker, unique among the live ones.
    pub slot: u32,
    /// Task count of the topology.
    pub tasks: u32,
}

impl Member {
    /// The group's name.
    pub fn group(&self) -> String {
        format!("ws.{}", self.topology)
    }
    /// The topic whose partitions stand for the tasks.
    pub fn tasks_topic(&self) -> String {
        format!("ws.{}.tasks", self.topology)
    }
    /// The transactional identity of the slot.
    pub fn transactional_id(&self) -> String {
        format!("ws.{}.{}", self.topology, self.slot)
    }
}

/// The committer and the membership of one member; the committer needs the membership's generation for fencing.
pub type Joined = (Box<dyn Committer>, Box<dyn Membership>);

/// A log: makes the parts, each to be used by one thread.
pub trait Log: Send + Sync {
    /// Topics and offsets.
    fn admin(&self) -> Result<Box<dyn Admin>, LogError>;
    /// A reader of committed records.
    fn reader(&self) -> Result<Box<dyn Reader>, LogError>;
    /// An appender for producers.
    fn appender(&self) -> Result<Box<dyn Append>, LogError>;
    /// Joins the group of a topology.
    fn join(&self, member: &Member) -> Result<Joined, LogError>;
}
