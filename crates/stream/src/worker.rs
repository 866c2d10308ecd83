//! A worker: many tasks, their ownership and the commit machine. [`Worker::step`] takes one input and gives effects;
//! the runtime (or the simulator) executes them and feeds what came of it. One commit is in flight at a time, with
//! the closed epochs of all tasks that have any; computing the next epochs overlaps it.
//!
//! What keeps exactly-once: a task's epoch is closed only while it is owned; everything of a task carries its
//! incarnation, and what is of an older one is dropped; an aborted commit rolls its tasks back and reads their input
//! again; after an undetermined one nothing closes until the log has told how it ended.

mod commits;
mod messages;

pub use messages::{Effect, Input, Planted, WorkerOptions};

use crate::codec::Decode;
use crate::log::{EpochSet, Outcome, Ownership, Progress, TaskId, TopicPartition};
use crate::operator::{Answer, Call};
use crate::records::Records;
use crate::spec::Topology;
use crate::table::Table;
use crate::task::{Edge, Snapshot, Surroundings, Task, TaskError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An end that was asked for and not told within this time is asked for again.
const ASK_AGAIN_MS: i64 = 5_000;

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
    /// Partitions whose input is held.
    paused: BTreeSet<TopicPartition>,
    /// Partitions whose end was asked for, and when: an answer may never come.
    asked: BTreeMap<TopicPartition, i64>,
    purge_at_ms: i64,
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
            topology,
            edge,
            surroundings,
            options,
            planted: Planted::default(),
            globals,
            global_decoders,
            global_left: None,
            slots: BTreeMap::new(),
            waiting: BTreeSet::new(),
            mismatched: BTreeMap::new(),
            commit: Commit::Idle,
            next_commit_ms: i64::MIN,
            retries: 0,
            next_incarnation: 1,
            next_id: 1,
            stopping: false,
            finished: false,
            effects: Vec::new(),
        })
    }

    /// Plants defects; for tests of the simulator.
    pub fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// Partitions of global tables, to be read from their start with incarnation 0.
    pub fn global_partitions(&self) -> Vec<TopicPartition> {
        self.topology
            .tables
            .iter()
            .filter(|t| t.global)
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
        // What arrives while stopping is processed by the next owner: otherwise there would always be one more epoch.
        let input = match input {
            Input::Tick | Input::Records { .. } | Input::Answer { .. } | Input::End { .. } if self.stopping => Input::Shutdown,
            other => other,
        };
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
            Input::End { task, incarnation, at, end } => {
                if let Some(slot) = self.slots.get_mut(&task).filter(|s| s.incarnation == incarnation && !s.revoked) {
                    slot.asked.remove(&at);
                    // A partition that was paused meanwhile may only look quiet.
                    if matches!(slot.phase, Phase::Running) && !slot.paused.contains(&at) {
                        let result = slot.task.end_seen(&at, end, now_ms, &self.globals);
                        self.after(task, result);
                    }
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
        if !matches!(slot.phase, Phase::Running) {
            return;
        }
        let full = slot.task.open_bytes() > self.options.pause_bytes || slot.task.pending_rows() > self.options.pause_pending_rows || slot.task.full();
        let held: BTreeSet<_> = if full { slot.task.partitions() } else { slot.task.ahead(&slot.paused) }.into_iter().collect();
        if held != slot.paused {
            self.effects.extend(held.difference(&slot.paused).map(|at| Effect::Pause { at: at.clone() }));
            self.effects.extend(slot.paused.difference(&held).map(|at| Effect::Resume { at: at.clone() }));
            slot.paused = held;
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
                Ok(mut task) => {
                    task.plant(self.planted);
                    let (tables, partitions) = task.partitions().into_iter().partition(|at| task.is_table(at));
                    self.effects.push(Effect::Restore { task: id, incarnation, partitions, tables });
                    self.slots.insert(
                        id,
                        Slot {
                            task,
                            incarnation,
                            phase: Phase::Restoring,
                            table_ends: Vec::new(),
                            in_flight: false,
                            revoked: false,
                            paused: BTreeSet::new(),
                            asked: BTreeMap::new(),
                            purge_at_ms: i64::MIN,
                            mark_wanted: false,
                            mark: None,
                            snapshot_at_ms: i64::MIN,
                        },
                    );
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

    fn restored(
        &mut self,
        now_ms: i64,
        id: TaskId,
        incarnation: u64,
        committed: u64,
        starts: Vec<(TopicPartition, i64)>,
        table_ends: Vec<(TopicPartition, i64)>,
    ) {
        let forget = self.planted.forget_pending;
        let Some(slot) = self.slots.get_mut(&id).filter(|s| s.incarnation == incarnation) else { return };
        let found = slot.task.number();
        if found != committed {
            // Also seen by a member that is no longer one and does not know yet, while the true owner goes on: then the
            // next attempt finds other numbers. Only the same twice is a damaged log.
            if self.mismatched.insert(id, (found, committed)) != Some((found, committed)) {
                return self.restore_again(id);
            }
            return self.stop(
                id,
                format!(
                    "the log says that epoch {committed} is the newest committed one, but the restored state ends with epoch {found}: \
                the changelog topic was deleted or cut, or the group's offsets expired; restore a backup, or reset the topology on purpose"
                ),
            );
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
            // Rows without a key or a time from which they are valid: the table has no place for them, which is usual
            // for topics that tell other things too.
            let skipped = table.apply(&decoded.rows).map(|skipped| skipped.len()).unwrap_or_else(|e| {
                bad.push(format!("table `{}`: {e}", spec.id));
                0
            });
            for row in decoded.tombstones.iter().map(|r| *r as usize) {
                if let Some(key) = records.key(row) {
                    table.delete(key, records.rows[row].timestamp_ms);
                }
            }
            // No roll-back ever touches a global table: its rows are committed as soon as they are read.
            let access: &mut dyn crate::operator::StateAccess = table;
            access.close_epoch(&mut |_, _, _| {});
            access.committed();
            if bad.len() + skipped > 0 {
                rejected = Some((bad.len() + skipped, bad.first().cloned().unwrap_or_default()));
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
            for at in slot.task.quiet(now_ms) {
                if !slot.paused.contains(&at) && slot.asked.get(&at).is_none_or(|asked_ms| now_ms - asked_ms >= ASK_AGAIN_MS) {
                    slot.asked.insert(at.clone(), now_ms);
                    self.effects.push(Effect::End { task: id, incarnation: slot.incarnation, at });
                }
            }
            let due = self.options.snapshot_interval_ms > 0 && now_ms >= slot.snapshot_at_ms;
            if !slot.mark_wanted && (slot.task.wants_base() || (due && slot.mark.is_none())) {
                slot.mark_wanted = true;
                self.effects.push(Effect::Mark { task: id, incarnation: slot.incarnation });
            }
            self.after(id, result);
        }
    }
}

#[cfg(test)]
mod tests;
