//! A process: for each slice of the topology a driver with a worker of its own, which share life and death, and the
//! execution of what a worker wants done.

use super::client::Client;
use super::reads::{Reader, RestoreRun};
use super::{COUNT_STEPS, Event, Life, Simulation};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ws_stream::log::{EpochSet, Ownership, TaskId, TopicPartition};
use ws_stream::operator::{Answer, Call};
use ws_stream::predict::PredictError;
use ws_stream::solve::SolveError;
use ws_stream::task::Snapshot;
use ws_stream::worker::{Effect, Input, Worker};

/// A process' driver of one slice.
pub(super) struct Process {
    pub(super) slot: u32,
    pub(super) slice: usize,
    /// Number of the process: its drivers are killed and stalled together.
    pub(super) body: u64,
    pub(super) worker: Worker,
    pub(super) alive: bool,
    /// It does nothing at all until then.
    pub(super) stalled_until_ms: i64,
    /// The group's coordinator cannot be reached until then; everything else goes on.
    pub(super) cut_until_ms: i64,
    /// Messages of the coordinator arrive in order: the newest one's time.
    pub(super) link_ms: i64,
    pub(super) member: Option<u64>,
    pub(super) generation: u64,
    /// Tasks that this process believes to own, revoked but unreleased ones included.
    pub(super) owned: BTreeSet<TaskId>,
    /// How often each task was lost: an epoch closed before a loss must not be committed after it.
    pub(super) losses: BTreeMap<TaskId, u64>,
    pub(super) client: Client,
    pub(super) readers: BTreeMap<TopicPartition, Reader>,
    pub(super) restores: BTreeMap<TaskId, RestoreRun>,
    steps: u64,
    /// Running tasks: id, epoch, what waits in them.
    pub(super) summary: Vec<(TaskId, u64, usize)>,
}

impl Process {
    /// Why the process is not at rest; `None` when it is.
    pub(super) fn unrest(&self) -> Option<String> {
        if self.member.is_none() {
            return Some(format!("slot {} is not in the group", self.slot));
        }
        if self.client.busy() {
            return Some(format!("slot {} has a commit under way", self.slot));
        }
        (!self.worker.ready()).then(|| format!("slot {} is restoring", self.slot))
    }
}

/// A task's snapshot on a disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// From here on the changelog completes it.
    pub(crate) from_offset: i64,
    /// Its epoch.
    pub(crate) epoch: u64,
    /// Its positions.
    pub(crate) positions: Vec<(TopicPartition, i64)>,
    /// Newest records of each key range.
    pub(crate) chunks: BTreeMap<u8, Vec<Vec<u8>>>,
}

impl Simulation {
    /// A new process takes a slot; one that is there still goes on, not knowing.
    pub(super) fn start(&mut self, slot: u32) {
        self.bodies += 1;
        for slice in 0..self.groups.len() {
            self.start_slice(slot, slice, self.bodies);
        }
    }

    fn start_slice(&mut self, slot: u32, slice: usize, body: u64) {
        let s = &self.scenario;
        let worker = match Worker::new(s.slices[slice].topology.clone(), s.edge.clone(), self.surroundings.clone(), self.options.clone()) {
            Ok(w) => w,
            Err(e) => return self.problem(format!("a worker cannot start: {e}")),
        };
        self.count("starts");
        let life = self.lives.len();
        let mut process = Process {
            slot,
            slice,
            body,
            worker,
            alive: true,
            stalled_until_ms: 0,
            cut_until_ms: 0,
            link_ms: 0,
            member: None,
            generation: 0,
            owned: BTreeSet::new(),
            losses: BTreeMap::new(),
            client: Client::new(format!("{}.{slot}", self.groups[slice])),
            readers: BTreeMap::new(),
            restores: BTreeMap::new(),
            steps: 0,
            summary: Vec::new(),
        };
        process.worker.plant(self.planted);
        let globals = process.worker.global_partitions();
        self.lives.push(process);
        self.place(slot, slice).current = Some(life);
        let ends = globals.iter().map(|at| (at.clone(), self.broker.partition(at).map_or(0, |p| p.stable()))).collect();
        self.plan(1, Event::ToWorker(life, Box::new(Input::GlobalEnds(ends))));
        for at in globals {
            self.read_from(life, at, 0, 0);
        }
        let wait = self.pace.range(1, 60);
        self.plan(wait, Event::Tick(life));
        self.plan(wait, Event::Heartbeat(life));
        self.open_and_join(life);
    }

    /// All of a process' memory is gone; requests already sent still arrive.
    pub(super) fn kill(&mut self, life: Life) {
        let body = self.lives[life].body;
        if !self.lives.iter().any(|p| p.alive && p.body == body) {
            return;
        }
        let slot = self.lives[life].slot;
        self.fault("process killed");
        let mut current = false;
        for l in self.drivers(body) {
            self.lives[l].alive = false;
            let slice = self.lives[l].slice;
            if self.place(slot, slice).current == Some(l) {
                current = true;
                self.lose_disk(slot, slice);
            }
        }
        if current {
            let wait = self.chaos.range(50, 1_500);
            self.plan(wait, Event::Start(slot));
        }
    }

    /// The drivers of a process.
    pub(super) fn drivers(&self, body: u64) -> Vec<Life> {
        (0..self.lives.len()).filter(|l| self.lives[*l].body == body).collect()
    }

    fn lose_disk(&mut self, slot: u32, slice: usize) {
        let n = slot as usize * self.groups.len() + slice;
        let (chaos, disk) = (&mut self.chaos, &mut self.places[n].disk);
        let before = disk.len();
        disk.retain(|_, _| !chaos.chance(0.25));
        for _ in disk.len()..before {
            self.fault("snapshot lost");
        }
    }

    /// One step of the worker, and its effects.
    pub(super) fn step(&mut self, life: Life, input: Input) {
        let now = self.now_ms;
        let p = &mut self.lives[life];
        let effects = p.worker.step(now, input);
        p.steps += 1;
        let look = p.steps.is_multiple_of(COUNT_STEPS);
        p.summary.clear();
        let mut unbalanced = None;
        for t in p.worker.tasks() {
            p.summary.push((t.id, t.number(), t.pending_rows() + t.open_bytes() + t.awake()));
            if look && let Some((stage, counts)) = t.counts().into_iter().find(|(_, c)| !c.balanced()) {
                unbalanced.get_or_insert(format!("task {}, stage `{stage}`: the counts do not add up: {counts:?}", t.id.0));
            }
        }
        if look {
            self.count("counts checked");
        }
        if let Some(what) = unbalanced.filter(|_| !std::mem::replace(&mut self.unbalanced, true)) {
            self.problem(what);
        }
        self.count("steps");
        for effect in effects {
            self.trace.effect(&effect);
            self.execute(life, effect);
        }
    }

    fn execute(&mut self, life: Life, effect: Effect) {
        match effect {
            Effect::Restore { task, incarnation, partitions, tables } => {
                self.count("restores");
                self.lives[life].restores.insert(task, RestoreRun::new(incarnation, partitions, tables));
                let wait = self.net.range(1, 40);
                self.plan(wait, Event::Restore(life, task, incarnation));
            }
            Effect::Read { at, offset, incarnation } => self.read_from(life, at, offset, incarnation),
            Effect::Stop { at } => {
                self.lives[life].readers.remove(&at);
            }
            Effect::Pause { at } => {
                self.count("pauses");
                self.lives[life].readers.entry(at).and_modify(|r| r.paused = true);
            }
            Effect::Resume { at } => self.resume(life, &at),
            Effect::Commit(set) => self.commit(life, Arc::new(set)),
            Effect::Resolve(tasks) => self.resolve(life, tasks),
            Effect::Call { task, incarnation, stage, call } => self.call(life, task, incarnation, stage, &call),
            Effect::Release(tasks) => {
                let p = &mut self.lives[life];
                tasks.iter().for_each(|t| {
                    p.owned.remove(t);
                });
                if let Some(member) = p.member {
                    let (cut, slice) = ((p.cut_until_ms - self.now_ms).max(0), p.slice);
                    let wait = cut + self.net.range(1, 30);
                    self.plan(wait, Event::Release(slice, member, tasks));
                }
            }
            Effect::Mark { task, incarnation } => {
                let wait = self.net.range(1, 20);
                self.plan(wait, Event::Mark(life, task, incarnation));
            }
            Effect::Truncate { task, before } => {
                let at = TopicPartition::new(ws_stream::task::changelog_topic(&self.topology(life).name), task.0);
                let wait = if self.net.chance(0.2) { self.net.range(20, 600) } else { self.net.range(1, 20) };
                self.plan(wait, Event::Truncate(at, before));
            }
            Effect::Purge { at, before } => {
                let wait = if self.net.chance(0.2) { self.net.range(20, 600) } else { self.net.range(1, 20) };
                self.plan(wait, Event::Purge(at, before));
            }
            Effect::End { task, incarnation, at } => {
                self.count("ends asked for");
                let end = self.broker.partition(&at).map_or(0, |p| p.stable());
                let wait = self.net.range(1, 60);
                self.plan(wait, Event::ToWorker(life, Box::new(Input::End { task, incarnation, at, end })));
            }
            Effect::Snapshot { task, from_offset, positions, snapshot } => self.keep(life, task, from_offset, positions, snapshot),
            Effect::Stopped { task, error } => {
                // Told before the group's own message came: another owner went on. Anything else is a defect.
                if error.contains("another owner went on") {
                    self.count("tasks given up after resolving");
                } else {
                    self.problem(format!("task {} stopped: {error}", task.0));
                }
            }
            Effect::Rejected { rows, .. } => {
                for _ in 0..rows {
                    self.count("global rows rejected");
                }
            }
            Effect::Finished => self.finished(life),
        }
    }

    fn finished(&mut self, life: Life) {
        self.count("clean shutdowns");
        let p = &mut self.lives[life];
        p.alive = false;
        let (slot, slice, body, member) = (p.slot, p.slice, p.body, p.member);
        if let Some(member) = member {
            self.plan(5, Event::Leave(slice, member));
        }
        // The process ends when its last driver has.
        let over = !self.lives.iter().any(|p| p.alive && p.body == body);
        if over && self.place(slot, slice).current == Some(life) {
            let wait = self.chaos.range(50, 1_000);
            self.plan(wait, Event::Start(slot));
        }
    }

    fn keep(&mut self, life: Life, task: TaskId, from_offset: i64, positions: Vec<(TopicPartition, i64)>, snapshot: Snapshot) {
        let (slot, slice) = (self.lives[life].slot, self.lives[life].slice);
        // The data folder is locked by the newest process of the slot.
        if self.place(slot, slice).current != Some(life) {
            return;
        }
        self.count("snapshots");
        let disk = self.place(slot, slice).disk.entry(task).or_insert_with(|| Disk { from_offset, epoch: 0, positions: Vec::new(), chunks: BTreeMap::new() });
        disk.from_offset = from_offset;
        disk.epoch = snapshot.epoch;
        disk.positions = positions;
        disk.chunks.extend(snapshot.chunks);
    }

    pub(super) fn mark(&mut self, life: Life, task: TaskId, incarnation: u64) {
        let at = TopicPartition::new(ws_stream::task::changelog_topic(&self.topology(life).name), task.0);
        let offset = self.broker.partition(&at).map_or(0, |p| p.high());
        let wait = self.net.range(1, 120);
        self.plan(wait, Event::ToWorker(life, Box::new(Input::Mark { task, incarnation, offset })));
    }

    /// A solver's answer, with the faults of solvers: it thinks long, fails, is wrong, or never comes to an end.
    fn solve(&mut self, life: Life, task: TaskId, incarnation: u64, stage: usize, call: &Call) {
        self.count("solver calls");
        let failed = |message: &str| Err(SolveError { solver: call.predictor.clone(), message: message.to_string() });
        let mut result = self.scenario.solver.as_ref().map_or_else(|| failed("there is no solver here"), |s| s(call));
        let mut wait = self.net.range(20, 500);
        let mut times = 1;
        if self.net.chance(self.profile.predictor) {
            match self.net.below(5) {
                0 => return self.fault("solution never came"),
                1 => {
                    self.fault("solution failed");
                    result = failed("simulated");
                }
                2 => {
                    self.fault("solution late");
                    wait = self.net.range(650, 2_000);
                }
                3 => {
                    self.fault("solution wrong");
                    result = match (result, &self.scenario.spoil) {
                        (Ok(s), Some(spoil)) => Ok(spoil(s)),
                        (other, _) => other,
                    };
                }
                _ => {
                    self.fault("solution came twice");
                    times = 2;
                }
            }
        }
        for _ in 0..times {
            let answer = Answer::solution(call, result.clone(), &self.scenario.model_version);
            self.plan(wait, Event::ToWorker(life, Box::new(Input::Answer { task, incarnation, stage, answer })));
            wait += self.net.range(1, 300);
        }
    }

    fn call(&mut self, life: Life, task: TaskId, incarnation: u64, stage: usize, call: &Call) {
        if call.solve.is_some() {
            return self.solve(life, task, incarnation, stage, call);
        }
        self.count("calls");
        let predict = |rows| (self.scenario.model)(&call.predictor, rows);
        let mut result = predict(&call.rows);
        let mut wait = self.net.range(2, 60);
        let mut times = 1;
        if self.net.chance(self.profile.predictor) {
            match self.net.below(5) {
                0 => {
                    self.fault("prediction never came");
                    return;
                }
                1 => {
                    self.fault("prediction failed");
                    result = Err(PredictError { predictor: call.predictor.clone(), message: "simulated".into() });
                }
                2 => {
                    self.fault("prediction late");
                    wait = self.net.range(130, 600);
                }
                3 => {
                    self.fault("prediction for other rows");
                    result = (self.scenario.model)(&call.predictor, &call.rows.slice(0, call.rows.num_rows() / 2));
                }
                _ => {
                    self.fault("prediction came twice");
                    times = 2;
                }
            }
        }
        for _ in 0..times {
            let answer = Answer::predicted(call, result.clone(), &self.scenario.model_version, "f");
            self.plan(wait, Event::ToWorker(life, Box::new(Input::Answer { task, incarnation, stage, answer })));
            wait += self.net.range(1, 90);
        }
    }

    /// What a commit must still own when it begins.
    pub(super) fn still_owned(&self, life: Life, set: &EpochSet, losses: &BTreeMap<TaskId, u64>) -> Result<(), String> {
        let p = &self.lives[life];
        for e in &set.epochs {
            if !p.owned.contains(&e.task) {
                return Err(format!("task {} is not owned", e.task.0));
            }
            if !self.profile.forgetful_committer && p.losses.get(&e.task) != losses.get(&e.task) {
                return Err(format!("task {} was lost since its epoch was closed", e.task.0));
            }
        }
        Ok(())
    }

    /// Everything is lost at once: the session ended.
    pub(super) fn session_lost(&mut self, life: Life, member: u64) {
        let p = &mut self.lives[life];
        if p.member != Some(member) {
            return;
        }
        p.member = None;
        let tasks: Vec<TaskId> = std::mem::take(&mut p.owned).into_iter().collect();
        for t in &tasks {
            *p.losses.entry(*t).or_default() += 1;
        }
        self.fault("ownership lost");
        self.step(life, Input::Ownership(Ownership::Lost(tasks)));
        if self.lives[life].alive {
            let wait = self.net.range(10, 200);
            self.plan(wait, Event::Join(life));
        }
    }
}
