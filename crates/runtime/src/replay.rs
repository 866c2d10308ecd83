//! A topology without a log: records in, output records out, in memory and at once. It drives the real workers with one
//! task a slice, so training, back-tests and fixtures see exactly what production computes; what a slice writes into a
//! repartition topic is read by the slice behind it at once.

use crate::models::Models;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use ws_stream::log::{Outcome, Ownership, TaskId, TopicPartition};
use ws_stream::operator::Counts;
use ws_stream::records::{Appends, Records, RecordsBuilder};
use ws_stream::spec::Topology;
use ws_stream::task::{Edge, Surroundings, TaskError, changelog_topic, manifest_topic};
use ws_stream::worker::{Effect, Input, Worker, WorkerOptions};

/// A replay that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The topology cannot run.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A stage failed on the data.
    #[error("{0}")]
    Stopped(String),
}

/// One slice with its worker.
struct Slice {
    worker: Worker,
    incarnation: u64,
    /// Topics it reads, and whether the topic is a global table.
    reads: BTreeMap<Arc<str>, bool>,
}

/// Runs one topology over records given to it.
pub struct Replay {
    slices: Vec<Slice>,
    models: Models,
    offsets: BTreeMap<Arc<str>, i64>,
    /// Repartition topics, and what was written to them and is not read yet.
    between: BTreeMap<Arc<str>, VecDeque<Records>>,
    out: BTreeMap<Arc<str>, RecordsBuilder>,
    ends: BTreeMap<Arc<str>, i64>,
    now_ms: i64,
}

impl Replay {
    /// A topology of one slice, ready to take records; infer stages ask `models`.
    pub fn new(topology: Arc<Topology>, edge: Arc<dyn Edge>, models: Models) -> Result<Replay, ReplayError> {
        Replay::of_slices(&[topology], edge, models, 0)
    }

    /// All slices of a topology, each after those that it reads from. `now_ms` is processing time at the start, UTC ms.
    pub fn of_slices(slices: &[Arc<Topology>], edge: Arc<dyn Edge>, models: Models, now_ms: i64) -> Result<Replay, ReplayError> {
        let mut topics = BTreeMap::new();
        for t in slices {
            let inputs = t.inputs.iter().map(|i| &i.topic).chain(t.tables.iter().map(|t| &t.topic));
            let outputs = t.sinks.iter().map(|s| &s.topic).chain([&t.dead_letters]).chain(t.rekeys.iter().map(|r| &r.topic));
            let own = [changelog_topic(&t.name), manifest_topic(&t.name)];
            topics.extend(inputs.chain(outputs).chain(&own).map(|t| (t.clone(), ([0; 16], 1))));
        }
        let between = slices.iter().flat_map(|t| &t.rekeys).map(|r| (r.topic.clone(), VecDeque::new())).collect();
        let surroundings = Surroundings { cluster_id: "replay".into(), topics };
        let options = WorkerOptions {
            snapshot_interval_ms: 0,
            purge_interval_ms: 0,
            commit_interval_ms: 0,
            pause_bytes: usize::MAX,
            pause_pending_rows: usize::MAX,
            ..WorkerOptions::default()
        };
        let mut replay = Replay { slices: Vec::new(), models, offsets: BTreeMap::new(), between, out: BTreeMap::new(), ends: BTreeMap::new(), now_ms };
        for (n, t) in slices.iter().enumerate() {
            let worker = Worker::new(t.clone(), edge.clone(), surroundings.clone(), options.clone())?;
            let reads = t.inputs.iter().map(|i| (i.topic.clone(), false)).chain(t.tables.iter().map(|t| (t.topic.clone(), t.global))).collect();
            replay.slices.push(Slice { worker, incarnation: 0, reads });
            replay.step(n, Input::GlobalEnds(Vec::new()))?;
            replay.step(n, Input::Ownership(Ownership::Assigned(vec![TaskId(0)])))?;
        }
        Ok(replay)
    }

    /// Sets processing time, UTC ms.
    pub fn set_now_ms(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Takes records of a topic: (key, value, log timestamp). Topics that the topology does not read are ignored.
    pub fn feed<'a>(&mut self, topic: &Arc<str>, rows: impl IntoIterator<Item = (Option<&'a [u8]>, Option<&'a [u8]>, i64)>) -> Result<(), ReplayError> {
        let next = self.offsets.entry(topic.clone()).or_insert(0);
        let mut b = RecordsBuilder::default();
        for (key, value, timestamp_ms) in rows {
            b.push(*next, timestamp_ms, key, value, &[]);
            *next += 1;
        }
        let records = b.finish(*next);
        self.give(topic, &records)?;
        self.tick()
    }

    /// Hands records to the slices that read the topic.
    fn give(&mut self, topic: &Arc<str>, records: &Records) -> Result<(), ReplayError> {
        for n in 0..self.slices.len() {
            let slice = &self.slices[n];
            let Some(global) = slice.reads.get(topic) else { continue };
            let incarnation = if *global { 0 } else { slice.incarnation };
            self.step(n, Input::Records { at: TopicPartition::new(topic.clone(), 0), incarnation, records: records.clone() })?;
        }
        Ok(())
    }

    /// Lets timers fire and budgets end, and rows flow on to later slices until none is on its way.
    pub fn tick(&mut self) -> Result<(), ReplayError> {
        for n in 0..self.slices.len() {
            self.step(n, Input::Tick)?;
        }
        while let Some((topic, records)) = self.between.iter_mut().find_map(|(t, waiting)| Some((t.clone(), waiting.pop_front()?))) {
            self.give(&topic, &records)?;
        }
        Ok(())
    }

    /// The outputs of a topic since the last call.
    pub fn take(&mut self, topic: &str) -> Records {
        let next = self.ends.get(topic).copied().unwrap_or(0);
        self.out.remove(topic).unwrap_or_default().finish(next)
    }

    /// Counts of inputs and stages.
    pub fn counts(&mut self) -> Vec<(String, Counts)> {
        let tasks = self.slices.iter_mut().flat_map(|s| s.worker.tasks());
        tasks.flat_map(|t| t.counts().into_iter().map(|(id, c)| (id.to_string(), c)).collect::<Vec<_>>()).collect()
    }

    fn step(&mut self, n: usize, input: Input) -> Result<(), ReplayError> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.slices[n].worker.step(self.now_ms, input) {
                match effect {
                    Effect::Restore { task, incarnation, .. } => {
                        self.slices[n].incarnation = incarnation;
                        inputs.push_back(Input::Restored { task, incarnation, committed: 0, starts: Vec::new(), table_ends: Vec::new() });
                    }
                    Effect::Call { task, incarnation, stage, call } => {
                        let answer = self.models.ask(&call, &|| false);
                        inputs.push_back(Input::Answer { task, incarnation, stage, answer });
                    }
                    Effect::Commit(set) => {
                        for a in set.epochs.iter().flat_map(|e| &e.appends) {
                            self.collect(a);
                        }
                        inputs.push_back(Input::Outcome { id: set.id, outcome: Outcome::Committed });
                    }
                    Effect::Mark { task, incarnation } => inputs.push_back(Input::Mark { task, incarnation, offset: 0 }),
                    Effect::End { task, incarnation, at } => {
                        let end = self.offsets.get(&at.topic).copied().unwrap_or(0);
                        inputs.push_back(Input::End { task, incarnation, at, end });
                    }
                    Effect::Stopped { error, .. } => return Err(ReplayError::Stopped(error)),
                    Effect::Rejected { at, first, .. } if !first.is_empty() => return Err(ReplayError::Stopped(format!("{at}: {first}"))),
                    Effect::Read { .. }
                    | Effect::Stop { .. }
                    | Effect::Pause { .. }
                    | Effect::Resume { .. }
                    | Effect::Resolve(_)
                    | Effect::Release(_)
                    | Effect::Rejected { .. }
                    | Effect::Truncate { .. }
                    | Effect::Purge { .. }
                    | Effect::Snapshot { .. }
                    | Effect::Finished => {}
                }
            }
        }
        Ok(())
    }

    fn collect(&mut self, appends: &Appends) {
        if let Some(waiting) = self.between.get_mut(&appends.topic) {
            let next = self.offsets.entry(appends.topic.clone()).or_insert(0);
            let mut b = RecordsBuilder::default();
            for (i, row) in appends.rows.iter().enumerate() {
                let (key, value, _) = appends.row(i);
                b.push(*next, row.timestamp_ms, key, value, &[]);
                *next += 1;
            }
            waiting.push_back(b.finish(*next));
            return;
        }
        if appends.topic.starts_with("ws.") {
            return;
        }
        let end = self.ends.entry(appends.topic.clone()).or_insert(0);
        let out = self.out.entry(appends.topic.clone()).or_default();
        for (i, row) in appends.rows.iter().enumerate() {
            let (key, value, _) = appends.row(i);
            out.push(*end, row.timestamp_ms, key, value, row.headers.of(&appends.buffer).unwrap_or(&[]));
            *end += 1;
        }
    }
}
