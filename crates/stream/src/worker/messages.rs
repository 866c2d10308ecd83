//! What goes in and out of a worker: inputs, effects, limits.

use super::*;

/// Named limits and intervals of a worker; processing time.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Epochs are closed this long after the last commit began.
    pub commit_interval_ms: i64,
    /// Epochs are closed early when a task's open epoch holds this many bytes of output.
    pub epoch_bytes: usize,
    /// A task's input pauses above this many bytes of output in its open epoch.
    pub pause_bytes: usize,
    /// A task's input pauses above this many rows waiting in asynchronous stages.
    pub pause_pending_rows: usize,
    /// After an aborted commit, the next one waits this long, doubled up to `retry_max_ms`.
    pub retry_ms: i64,
    /// Longest wait between aborted commits.
    pub retry_max_ms: i64,
    /// A snapshot is taken this often; 0: never.
    pub snapshot_interval_ms: i64,
    /// What was consumed of repartition topics is deleted this often; 0: never.
    pub purge_interval_ms: i64,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        WorkerOptions {
            commit_interval_ms: 100,
            epoch_bytes: 4 << 20,
            pause_bytes: 32 << 20,
            pause_pending_rows: 20_000,
            retry_ms: 50,
            retry_max_ms: 2_000,
            snapshot_interval_ms: 30_000,
            purge_interval_ms: 10_000,
        }
    }
}

/// Defects that tests plant to see that the simulator finds them. All off outside such tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// Take an undetermined commit for a committed one.
    pub trust_unknown: bool,
    /// Do not roll state back after an abort, only rewind the input.
    pub keep_state_on_abort: bool,
    /// Accept records and answers of an older incarnation.
    pub accept_stale: bool,
    /// Go on with tasks whose ownership was lost.
    pub ignore_lost: bool,
    /// Forget pending rows when a task is restored.
    pub forget_pending: bool,
    /// Do not read the input again after an abort.
    pub no_rewind: bool,
    /// Behind a `rekey`: take the minimum over the upstream tasks heard of, not over all.
    pub min_of_seen: bool,
}

/// What happens to a worker.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants' texts name their fields")]
pub enum Input {
    /// Time went by.
    Tick,
    /// Ownership changed.
    Ownership(Ownership),
    /// At start: the ends that global tables must reach before any task begins.
    GlobalEnds(Vec<(TopicPartition, i64)>),
    /// Records of the changelog or a snapshot, for a task being restored.
    State { task: TaskId, incarnation: u64, records: Records, skip_through: u64 },
    /// A snapshot was loaded: its epoch and positions.
    SnapshotTag { task: TaskId, incarnation: u64, epoch: u64, positions: Vec<(TopicPartition, i64)> },
    /// All state was handed over. `committed` is the log's progress; `starts` are the offsets where inputs begin that
    /// were never read; `table_ends` what the task's own tables must reach before its inputs start.
    Restored { task: TaskId, incarnation: u64, committed: u64, starts: Vec<(TopicPartition, i64)>, table_ends: Vec<(TopicPartition, i64)> },
    /// Records of an input, a table or a global table (incarnation 0).
    Records { at: TopicPartition, incarnation: u64, records: Records },
    /// A predictor answered.
    Answer { task: TaskId, incarnation: u64, stage: usize, answer: Answer },
    /// How a commit ended.
    Outcome { id: u64, outcome: Outcome },
    /// The log's progress, after an undetermined commit and re-opening.
    Resolved(Vec<Progress>),
    /// The end of a task's changelog, as asked for by [`Effect::Mark`].
    Mark { task: TaskId, incarnation: u64, offset: i64 },
    /// What a task was restoring from was truncated meanwhile (by its owner before): it begins again, from nothing.
    RestoreAgain { task: TaskId, incarnation: u64 },
    /// A task's restore or read failed for good.
    Failed { task: TaskId, incarnation: u64, error: String },
    /// The committed end of a partition, as asked for by [`Effect::End`].
    End { task: TaskId, incarnation: u64, at: TopicPartition, end: i64 },
    /// Finish: commit what is closed, then give everything up.
    Shutdown,
}

/// What a worker wants done.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants' texts name their fields")]
pub enum Effect {
    /// Load snapshot and changelog of a task, hand them over, then [`Input::Restored`].
    Restore { task: TaskId, incarnation: u64, partitions: Vec<TopicPartition>, tables: Vec<TopicPartition> },
    /// Read a partition from an offset (again); records carry the incarnation.
    Read { at: TopicPartition, offset: i64, incarnation: u64 },
    /// Stop reading a partition.
    Stop { at: TopicPartition },
    /// Hand nothing of it over for now.
    Pause { at: TopicPartition },
    /// Undo [`Effect::Pause`].
    Resume { at: TopicPartition },
    /// Commit in one transaction, then [`Input::Outcome`].
    Commit(EpochSet),
    /// Open the committer again and read the progress of these tasks, until it works; then [`Input::Resolved`].
    Resolve(Vec<TaskId>),
    /// Ask a predictor, then [`Input::Answer`].
    Call { task: TaskId, incarnation: u64, stage: usize, call: Call },
    /// These tasks are free for others.
    Release(Vec<TaskId>),
    /// Tell the end of the task's changelog: [`Input::Mark`].
    Mark { task: TaskId, incarnation: u64 },
    /// The task's changelog before this offset is no longer needed.
    Truncate { task: TaskId, before: i64 },
    /// Nobody needs what stands before this offset of a repartition topic any more.
    Purge { at: TopicPartition, before: i64 },
    /// Tell the committed end of an input's partition: [`Input::End`].
    End { task: TaskId, incarnation: u64, at: TopicPartition },
    /// Keep this snapshot; reading the changelog from `from_offset` and skipping deltas up to its epoch completes it.
    Snapshot { task: TaskId, from_offset: i64, positions: Vec<(TopicPartition, i64)>, snapshot: Snapshot },
    /// The task is stopped; a person must look.
    Stopped { task: TaskId, error: String },
    /// Rows of a global table that were not taken; `first` tells of the first broken one, empty when none is broken.
    Rejected { at: TopicPartition, rows: usize, first: String },
    /// Everything is given up; the worker is done.
    Finished,
}
