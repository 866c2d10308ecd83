//! A worker: many tasks, their ownership and the commit machine. [`Worker::step`] takes one input and gives effects;
//! the runtime (or the simulator) executes them and feeds what came of it. One commit is in flight at a time, with
//! the closed epochs of all tasks that have any; computing the next epochs overlaps it.
//!
//! What keeps exactly-once: a task's epoch is closed only while it is owned; everything of a task carries its
//! incarnation, and what is of an older one is dropped; an aborted commit rolls its tasks back and reads their input
//! again; after an undetermined one nothing closes until the log has told how it ended.

use crate::codec::Decode;
use crate::log::{EpochSet, Outcome, Ownership, Progress, TaskId, TopicPartition};
use crate::operator::{Answer, Call};
use crate::records::Records;
use crate::spec::Topology;
use crate::table::Table;
use crate::task::{Edge, Snapshot, Surroundings, Task, TaskError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    /// Keep this snapshot; reading the changelog from `from_offset` and skipping deltas up to its epoch completes it.
    Snapshot { task: TaskId, from_offset: i64, positions: Vec<(TopicPartition, i64)>, snapshot: Snapshot },
    /// The task is stopped; a person must look.
    Stopped { task: TaskId, error: String },
    /// Rows of a global table that could not be taken.
    Rejected { at: TopicPartition, rows: usize, first: String },
    /// Everything is given up; the worker is done.
    Finished,
}

enum Phase {
    Restoring,
    /// Own tables catch up first: what is left to reach.
    Tables(BTreeMap<TopicPartition, i64>),
    Running,
}

struct Slot {
    task: Task,
    incarnation: u64,
    phase: Phase,
    /// Ends that its own tables must have reached before its inputs are read.
    table_ends: Vec<(TopicPartition, i64)>,
    /// An epoch of it is in the commit in flight.
    in_flight: bool,
    revoked: bool,
    paused: bool,
    mark_wanted: bool,
    /// An offset from before the next epoch, for a snapshot.
    mark: Option<i64>,
    snapshot_at_ms: i64,
}

impl Slot {
    /// Reads from the task's positions: only its tables until these have reached the ends seen at its start, also when
    /// a crash or a roll-back took them back behind those.
    fn read(&mut self) -> Vec<Effect> {
        let left: BTreeMap<_, _> = self.table_ends.iter().filter(|(at, end)| self.task.position(at).unwrap_or(0) < *end).cloned().collect();
        let wait = !left.is_empty();
        self.phase = if wait { Phase::Tables(left) } else { Phase::Running };
        let partitions = self.task.partitions().into_iter().filter(|at| !wait || self.task.is_table(at));
        partitions.map(|at| Effect::Read { offset: self.task.position(&at).unwrap_or(0), at, incarnation: self.incarnation }).collect()
    }
}

/// State of the one commit.
enum Commit {
    Idle,
    InFlight { id: u64, tasks: BTreeMap<TaskId, (u64, u64)> },
    Resolving { tasks: BTreeMap<TaskId, (u64, u64)> },
}

/// The machine.
pub struct Worker {
    topology: Arc<Topology>,
    edge: Arc<dyn Edge>,
    surroundings: Surroundings,
    options: WorkerOptions,
    planted: Planted,
    globals: Vec<Option<Table>>,
    global_decoders: Vec<Option<Box<dyn Decode>>>,
    global_left: Option<BTreeMap<TopicPartition, i64>>,
    slots: BTreeMap<TaskId, Slot>,
    /// Assigned before the global tables were complete.
    waiting: BTreeSet<TaskId>,
    /// Epochs (restored, committed) of restores that did not agree.
    mismatched: BTreeMap<TaskId, (u64, u64)>,
    commit: Commit,
    next_commit_ms: i64,
    retries: u32,
    next_incarnation: u64,
    next_id: u64,
    stopping: bool,
    finished: bool,
    effects: Vec<Effect>,
}

impl Worker {
    /// A worker that owns nothing yet. `incarnation_base` must grow from life to life of the process.
    pub fn new(topology: Arc<Topology>, edge: Arc<dyn Edge>, surroundings: Surroundings, options: WorkerOptions) -> Result<Worker, TaskError> {
        let (mut globals, mut global_decoders) = (Vec::new(), Vec::new());
        for spec in &topology.tables {
            let made = if spec.global { Some(Table::new(spec).map_err(|error| TaskError::Stage { stage: spec.id.clone(), error })?) } else { None };
            let decoder = if spec.global { Some(edge.decoder(&spec.topic, &spec.schema).map_err(TaskError::Edge)?) } else { None };
            globals.push(made);
            global_decoders.push(decoder);
        }
        Ok(Worker {
            topology, edge, surroundings, options, planted: Planted::default(), globals, global_decoders, global_left: None,
            slots: BTreeMap::new(), waiting: BTreeSet::new(), mismatched: BTreeMap::new(), commit: Commit::Idle, next_commit_ms: i64::MIN, retries: 0,
            next_incarnation: 1, next_id: 1, stopping: false, finished: false, effects: Vec::new(),
        })
    }

    /// Plants defects; for tests of the simulator.
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// Partitions of global tables, to be read from their start with incarnation 0.
    pub fn global_partitions(&self) -> Vec<TopicPartition> {
        self.topology.tables.iter().filter(|t| t.global)
            .flat_map(|t| {
                let n = self.surroundings.topics.get(&t.topic).map_or(0, |x| x.1);
                (0..n).map(|p| TopicPartition::new(t.topic.clone(), p))
            })
            .collect()
    }

    /// Tasks that run, for status and metrics.
    pub fn tasks(&mut self) -> impl Iterator<Item = &mut Task> {
        self.slots.values_mut().map(|s| &mut s.task)
    }

    /// Rows of global tables.
    pub fn global_rows(&self) -> usize {
        self.globals.iter().flatten().map(crate::operator::StateAccess::rows).sum()
    }

    /// Is every assigned task running, with its tables complete?
    pub fn ready(&self) -> bool {
        self.global_left.as_ref().is_some_and(BTreeMap::is_empty) && self.waiting.is_empty() && self.slots.values().all(|s| matches!(s.phase, Phase::Running))
    }

    /// One step.
    pub fn step(&mut self, now_ms: i64, input: Input) -> Vec<Effect> {
        if self.finished {
            return Vec::new();
        }
        match input {
            Input::Tick => self.tick(now_ms),
            Input::Ownership(o) => self.ownership(o),
            Input::GlobalEnds(ends) => {
                let left = ends.into_iter().filter(|(_, end)| *end > 0).collect();
                self.global_left = Some(left);
                self.begin_waiting();
            }
            Input::State { task, incarnation, records, skip_through } => self.with(task, incarnation, |slot| {
                for i in 0..records.rows.len() {
                    if let Some(value) = records.value(i) {
                        slot.task.import(value, skip_through)?;
                    }
                }
                Ok(())
            }),
            Input::SnapshotTag { task, incarnation, epoch, positions } => self.with(task, incarnation, |slot| {
                slot.task.resume_at(epoch, positions);
                Ok(())
            }),
            Input::Restored { task, incarnation, committed, starts, table_ends } => self.restored(now_ms, task, incarnation, committed, starts, table_ends),
            Input::Records { at, incarnation, records } => self.records(now_ms, &at, incarnation, &records),
            Input::Answer { task, incarnation, stage, answer } => {
                if let Some(slot) = self.slots.get_mut(&task).filter(|s| s.incarnation == incarnation || self.planted.accept_stale) {
                    let result = slot.task.answer(stage, answer, now_ms, &self.globals);
                    self.after(task, result);
                }
            }
            Input::Outcome { id, outcome } => self.outcome(now_ms, id, outcome),
            Input::Resolved(progress) => self.resolved(now_ms, &progress),
            Input::Mark { task, incarnation, offset } => {
                if let Some(slot) = self.slots.get_mut(&task).filter(|s| s.incarnation == incarnation) {
                    slot.mark_wanted = false;
                    slot.mark = Some(offset);
                    if slot.task.wants_base() {
                        slot.task.begin_base(offset);
                    }
                }
            }
            Input::RestoreAgain { task, incarnation } => {
                if self.slots.get(&task).is_some_and(|s| s.incarnation == incarnation && matches!(s.phase, Phase::Restoring)) {
                    self.restore_again(task);
                }
            }
            Input::Failed { task, incarnation, error } => {
                if self.slots.get(&task).is_some_and(|s| s.incarnation == incarnation) {
                    self.stop(task, error);
                }
            }
            Input::Shutdown => self.stopping = true,
        }
        self.maybe_commit(now_ms);
        self.maybe_finish();
        std::mem::take(&mut self.effects)
    }

    fn with(&mut self, task: TaskId, incarnation: u64, f: impl FnOnce(&mut Slot) -> Result<(), TaskError>) {
        let Some(slot) = self.slots.get_mut(&task).filter(|s| s.incarnation == incarnation) else { return };
        let result = f(slot);
        self.after(task, result);
    }

    /// Errors stop the task; otherwise its calls go out and back-pressure is applied.
    fn after(&mut self, task: TaskId, result: Result<(), TaskError>) {
        if let Err(e) = result {
            return self.stop(task, e.to_string());
        }
        let Some(slot) = self.slots.get_mut(&task) else { return };
        for (stage, call) in slot.task.take_calls() {
            self.effects.push(Effect::Call { task, incarnation: slot.incarnation, stage, call });
        }
        let full = slot.task.open_bytes() > self.options.pause_bytes || slot.task.pending_rows() > self.options.pause_pending_rows;
        if full != slot.paused && matches!(slot.phase, Phase::Running) {
            slot.paused = full;
            for at in slot.task.partitions() {
                self.effects.push(if full { Effect::Pause { at } } else { Effect::Resume { at } });
            }
        }
    }

    /// Drops a task that cannot go on; what it has in flight resolves without it.
    fn stop(&mut self, task: TaskId, error: String) {
        if let Some(slot) = self.slots.remove(&task) {
            self.effects.extend(slot.task.partitions().into_iter().map(|at| Effect::Stop { at }));
            self.effects.push(Effect::Stopped { task, error });
            if slot.revoked {
                // It was to be given up anyway: the group waits for that.
                self.effects.push(Effect::Release(vec![task]));
            }
        }
    }

    // ---- ownership and restore -----------------------------------------------------------------------------------

    fn ownership(&mut self, change: Ownership) {
        match change {
            Ownership::Assigned(tasks) => {
                self.waiting.extend(tasks);
                self.begin_waiting();
            }
            Ownership::Revoked(tasks) => {
                let mut free = Vec::new();
                for t in tasks {
                    self.waiting.remove(&t);
                    match self.slots.get_mut(&t) {
                        Some(slot) if slot.in_flight => {
                            slot.revoked = true;
                            self.effects.extend(slot.task.partitions().into_iter().map(|at| Effect::Stop { at }));
                        }
                        _ => {
                            self.drop_task(t);
                            free.push(t);
                        }
                    }
                }
                if !free.is_empty() {
                    self.effects.push(Effect::Release(free));
                }
            }
            Ownership::Lost(tasks) => {
                if self.planted.ignore_lost {
                    return;
                }
                for t in tasks {
                    self.waiting.remove(&t);
                    self.drop_task(t);
                }
            }
        }
    }

    fn drop_task(&mut self, task: TaskId) {
        if let Some(slot) = self.slots.remove(&task)
            && !slot.revoked
        {
            self.effects.extend(slot.task.partitions().into_iter().map(|at| Effect::Stop { at }));
        }
    }

    fn begin_waiting(&mut self) {
        if self.global_left.as_ref().is_none_or(|left| !left.is_empty()) || self.stopping {
            return;
        }
        for id in std::mem::take(&mut self.waiting) {
            if self.slots.contains_key(&id) {
                continue;
            }
            let incarnation = self.incarnation();
            match Task::new(id, self.topology.clone(), self.edge.as_ref(), self.surroundings.clone()) {
                Ok(task) => {
                    let (tables, partitions) = task.partitions().into_iter().partition(|at| task.is_table(at));
                    self.effects.push(Effect::Restore { task: id, incarnation, partitions, tables });
                    self.slots.insert(id, Slot { task, incarnation, phase: Phase::Restoring, table_ends: Vec::new(), in_flight: false, revoked: false, paused: false, mark_wanted: false, mark: None, snapshot_at_ms: i64::MIN });
                }
                Err(e) => self.effects.push(Effect::Stopped { task: id, error: e.to_string() }),
            }
        }
    }

    fn restore_again(&mut self, task: TaskId) {
        self.slots.remove(&task);
        self.waiting.insert(task);
        self.begin_waiting();
    }

    fn incarnation(&mut self) -> u64 {
        self.next_incarnation += 1;
        self.next_incarnation - 1
    }

    fn restored(&mut self, now_ms: i64, id: TaskId, incarnation: u64, committed: u64, starts: Vec<(TopicPartition, i64)>, table_ends: Vec<(TopicPartition, i64)>) {
        let forget = self.planted.forget_pending;
        let Some(slot) = self.slots.get_mut(&id).filter(|s| s.incarnation == incarnation) else { return };
        let found = slot.task.number();
        if found != committed {
            // Also seen by a member that is no longer one and does not know yet, while the true owner goes on: then the
            // next attempt finds other numbers. Only the same twice is a damaged log.
            if self.mismatched.insert(id, (found, committed)) != Some((found, committed)) {
                return self.restore_again(id);
            }
            return self.stop(id, format!("the log says that epoch {committed} is the newest committed one, but the restored state ends with epoch {found}: \
                the changelog topic was deleted or cut, or the group's offsets expired; restore a backup, or reset the topology on purpose"));
        }
        self.mismatched.remove(&id);
        for (at, offset) in starts {
            slot.task.start_at(&at, offset);
        }
        let mut result = slot.task.restored(now_ms);
        if forget {
            result = result.and_then(|()| slot.task.forget_pending(now_ms));
        }
        slot.snapshot_at_ms = now_ms.saturating_add(self.options.snapshot_interval_ms);
        slot.table_ends = table_ends;
        let reads = slot.read();
        self.effects.extend(reads);
        self.after(id, result);
    }

    // ---- data ----------------------------------------------------------------------------------------------------

    fn records(&mut self, now_ms: i64, at: &TopicPartition, incarnation: u64, records: &Records) {
        if incarnation == 0 {
            return self.global_records(at, records);
        }
        let id = TaskId(at.partition);
        let accept_stale = self.planted.accept_stale;
        let Some(slot) = self.slots.get_mut(&id).filter(|s| (s.incarnation == incarnation || accept_stale) && !s.revoked) else { return };
        let result = slot.task.process(at, records, now_ms, &self.globals);
        if let Phase::Tables(left) = &mut slot.phase {
            if left.get(at).is_some_and(|end| records.next_offset >= *end) {
                left.remove(at);
            }
            if left.is_empty() {
                slot.phase = Phase::Running;
                for at in slot.task.partitions().into_iter().filter(|at| !slot.task.is_table(at)) {
                    let offset = slot.task.position(&at).unwrap_or(0);
                    self.effects.push(Effect::Read { at, offset, incarnation: slot.incarnation });
                }
            }
        }
        self.after(id, result);
    }

    fn global_records(&mut self, at: &TopicPartition, records: &Records) {
        let mut rejected: Option<(usize, String)> = None;
        for (i, spec) in self.topology.tables.iter().enumerate().filter(|(_, t)| t.global && t.topic == at.topic) {
            let (Some(table), Some(decoder)) = (self.globals[i].as_mut(), self.global_decoders[i].as_mut()) else { continue };
            let decoded = decoder.decode(records);
            let mut bad: Vec<String> = decoded.dead.iter().map(|e| format!("offset {}: {}: {}", records.rows[e.row].offset, e.reason, e.error)).collect();
            if let Err(e) = table.apply(&decoded.rows) {
                bad.push(format!("table `{}`: {e}", spec.id));
            }
            for row in decoded.tombstones.iter().map(|r| *r as usize) {
                if let Some(key) = records.key(row) {
                    table.delete(key, records.rows[row].timestamp_ms);
                }
            }
            // No roll-back ever touches a global table: its rows are committed as soon as they are read.
            let access: &mut dyn crate::operator::StateAccess = table;
            access.close_epoch(&mut |_, _, _| {});
            access.committed();
            if let Some(first) = bad.first() {
                rejected = Some((bad.len(), first.clone()));
            }
        }
        if let Some((rows, first)) = rejected {
            self.effects.push(Effect::Rejected { at: at.clone(), rows, first });
        }
        if let Some(left) = &mut self.global_left {
            if left.get(at).is_some_and(|end| records.next_offset >= *end) {
                left.remove(at);
            }
            if left.is_empty() {
                self.begin_waiting();
            }
        }
    }

    fn tick(&mut self, now_ms: i64) {
        let ids: Vec<TaskId> = self.slots.iter().filter(|(_, s)| matches!(s.phase, Phase::Running) && !s.revoked).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let result = slot.task.advance(now_ms, &self.globals);
            let due = self.options.snapshot_interval_ms > 0 && now_ms >= slot.snapshot_at_ms;
            if !slot.mark_wanted && (slot.task.wants_base() || (due && slot.mark.is_none())) {
                slot.mark_wanted = true;
                self.effects.push(Effect::Mark { task: id, incarnation: slot.incarnation });
            }
            self.after(id, result);
        }
    }

    // ---- commits -------------------------------------------------------------------------------------------------

    fn maybe_commit(&mut self, now_ms: i64) {
        if !matches!(self.commit, Commit::Idle) {
            return;
        }
        let early = self.retries == 0 && self.slots.values().any(|s| s.task.open_bytes() >= self.options.epoch_bytes);
        if now_ms < self.next_commit_ms && !early && !(self.stopping && self.retries == 0) {
            return;
        }
        let mut set = EpochSet { id: self.next_id, epochs: Vec::new() };
        let mut failed = Vec::new();
        for (id, slot) in self.slots.iter_mut().filter(|(_, s)| !matches!(s.phase, Phase::Restoring) && !s.revoked) {
            match slot.task.close(slot.incarnation) {
                Ok(Some(epoch)) => {
                    slot.in_flight = true;
                    set.epochs.push(epoch);
                }
                Ok(None) => {}
                Err(e) => failed.push((*id, e.to_string())),
            }
        }
        for (id, error) in failed {
            self.stop(id, error);
        }
        if set.epochs.is_empty() {
            // Looking for something to commit is not free; once an interval is enough.
            self.next_commit_ms = self.next_commit_ms.max(now_ms.saturating_add(self.options.commit_interval_ms));
            return;
        }
        self.next_id += 1;
        self.next_commit_ms = now_ms.saturating_add(self.options.commit_interval_ms);
        let tasks = set.epochs.iter().map(|e| (e.task, (e.incarnation, e.number))).collect();
        self.commit = Commit::InFlight { id: set.id, tasks };
        self.effects.push(Effect::Commit(set));
    }

    fn outcome(&mut self, now_ms: i64, id: u64, outcome: Outcome) {
        let tasks = match std::mem::replace(&mut self.commit, Commit::Idle) {
            Commit::InFlight { id: i, tasks } if i == id => tasks,
            other => {
                self.commit = other;
                return;
            }
        };
        match outcome {
            Outcome::Committed => {
                self.retries = 0;
                for (task, (incarnation, _)) in tasks {
                    self.task_committed(now_ms, task, incarnation, true);
                }
            }
            Outcome::Aborted(_) => {
                self.back_off(now_ms);
                for (task, (incarnation, _)) in tasks {
                    self.task_aborted(now_ms, task, incarnation);
                }
            }
            Outcome::Unknown(_) if self.planted.trust_unknown => {
                for (task, (incarnation, _)) in tasks {
                    self.task_committed(now_ms, task, incarnation, true);
                }
            }
            Outcome::Unknown(_) => {
                self.effects.push(Effect::Resolve(tasks.keys().copied().collect()));
                self.commit = Commit::Resolving { tasks };
            }
        }
    }

    fn back_off(&mut self, now_ms: i64) {
        let wait = self.options.retry_ms.saturating_mul(1 << self.retries.min(16)).min(self.options.retry_max_ms);
        self.retries += 1;
        self.next_commit_ms = now_ms.saturating_add(wait);
    }

    fn resolved(&mut self, now_ms: i64, progress: &[Progress]) {
        let tasks = match std::mem::replace(&mut self.commit, Commit::Idle) {
            Commit::Resolving { tasks } => tasks,
            other => {
                self.commit = other;
                return;
            }
        };
        self.back_off(now_ms);
        for (task, (incarnation, number)) in tasks {
            let found = progress.iter().find(|p| p.task == task).map_or(0, |p| p.number);
            if found == number {
                self.task_committed(now_ms, task, incarnation, false);
            } else if found + 1 == number {
                self.task_aborted(now_ms, task, incarnation);
            } else if self.slots.get(&task).is_some_and(|s| s.incarnation == incarnation) {
                self.stop(task, format!("after an undetermined commit of epoch {number} the log holds epoch {found}: another owner went on; this task is dropped here"));
            }
        }
    }

    /// `told`: the log said so of this very commit. Found out by reading progress back, the epoch may also be another
    /// owner's of the same number, if this task was lost and the news is still on its way; then nothing here can commit
    /// any more, but a snapshot or a truncation now would outlive the mistake. Both wait for the next commit.
    fn task_committed(&mut self, now_ms: i64, id: TaskId, incarnation: u64, told: bool) {
        let Some(slot) = self.slots.get_mut(&id).filter(|s| s.incarnation == incarnation) else { return };
        slot.in_flight = false;
        slot.task.committed();
        if told && let Some(before) = slot.task.take_truncation() {
            self.effects.push(Effect::Truncate { task: id, before });
        }
        if slot.revoked {
            return self.release(id);
        }
        let interval = self.options.snapshot_interval_ms;
        if told && interval > 0 && now_ms >= slot.snapshot_at_ms && let Some(from_offset) = slot.mark.take() {
            slot.snapshot_at_ms = now_ms.saturating_add(interval);
            match slot.task.snapshot() {
                Ok(snapshot) => {
                    let positions = slot.task.committed_positions();
                    self.effects.push(Effect::Snapshot { task: id, from_offset, positions, snapshot });
                }
                Err(e) => return self.stop(id, e.to_string()),
            }
        }
        self.after(id, Ok(()));
    }

    fn task_aborted(&mut self, now_ms: i64, id: TaskId, incarnation: u64) {
        if self.slots.get(&id).is_none_or(|s| s.incarnation != incarnation) {
            return;
        }
        let renewed = self.incarnation();
        let (keep_state, no_rewind) = (self.planted.keep_state_on_abort, self.planted.no_rewind);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.in_flight = false;
        if slot.revoked {
            return self.release(id);
        }
        let positions: Vec<_> = slot.task.partitions().into_iter().map(|at| (slot.task.position(&at), at)).collect();
        let result = if keep_state { slot.task.rollback_positions_only(now_ms) } else { slot.task.rollback(now_ms) };
        if no_rewind {
            for (p, at) in positions {
                if let Some(p) = p {
                    slot.task.force_position(&at, p);
                }
            }
        } else {
            slot.incarnation = renewed;
            slot.paused = false;
            slot.mark = None;
            slot.mark_wanted = false;
            let reads = slot.read();
            self.effects.extend(reads);
        }
        self.after(id, result);
    }

    fn release(&mut self, id: TaskId) {
        self.slots.remove(&id);
        self.effects.push(Effect::Release(vec![id]));
    }

    fn maybe_finish(&mut self) {
        if !self.stopping || !matches!(self.commit, Commit::Idle) {
            return;
        }
        // The last commit was offered above and nothing was left to commit: what async stages hold is state.
        let tasks: Vec<TaskId> = self.slots.keys().copied().collect();
        for t in &tasks {
            self.drop_task(*t);
        }
        self.effects.push(Effect::Finished);
        self.finished = true;
    }
}
