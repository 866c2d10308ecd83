//! A topology without a log: records in, output records out, in memory and at once. It drives the real worker with one
//! task, so training, back-tests and fixtures see exactly what production computes.

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

/// Runs one topology over records given to it.
pub struct Replay {
    worker: Worker,
    models: Models,
    incarnation: u64,
    offsets: BTreeMap<Arc<str>, i64>,
    globals: Vec<Arc<str>>,
    out: BTreeMap<Arc<str>, RecordsBuilder>,
    ends: BTreeMap<Arc<str>, i64>,
    now_ms: i64,
}

impl Replay {
    /// Ready to take records; infer stages ask `models`.
    pub fn new(topology: Arc<Topology>, edge: Arc<dyn Edge>, models: Models) -> Result<Replay, ReplayError> {
        let inputs = topology.inputs.iter().map(|i| &i.topic).chain(topology.tables.iter().map(|t| &t.topic));
        let outputs = topology.sinks.iter().map(|s| &s.topic).chain([&topology.dead_letters]);
        let own = [changelog_topic(&topology.name), manifest_topic(&topology.name)];
        let topics = inputs.chain(outputs).chain(&own).map(|t| (t.clone(), ([0; 16], 1))).collect();
        let surroundings = Surroundings { cluster_id: "replay".into(), topics };
        let globals = topology.tables.iter().filter(|t| t.global).map(|t| t.topic.clone()).collect();
        let options = WorkerOptions {
            snapshot_interval_ms: 0,
            commit_interval_ms: 0,
            pause_bytes: usize::MAX,
            pause_pending_rows: usize::MAX,
            ..WorkerOptions::default()
        };
        let worker = Worker::new(topology, edge, surroundings, options)?;
        let mut replay = Replay { worker, models, incarnation: 0, offsets: BTreeMap::new(), globals, out: BTreeMap::new(), ends: BTreeMap::new(), now_ms: 0 };
        replay.step(Input::GlobalEnds(Vec::new()))?;
        replay.step(Input::Ownership(Ownership::Assigned(vec![TaskId(0)])))?;
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
        let incarnation = if self.globals.contains(topic) { 0 } else { self.incarnation };
        self.step(Input::Records { at: TopicPartition::new(topic.clone(), 0), incarnation, records })?;
        self.step(Input::Tick)
    }

    /// Lets timers fire and budgets end.
    pub fn tick(&mut self) -> Result<(), ReplayError> {
        self.step(Input::Tick)
    }

    /// The outputs of a topic since the last call.
    pub fn take(&mut self, topic: &str) -> Records {
        let next = self.ends.get(topic).copied().unwrap_or(0);
        self.out.remove(topic).unwrap_or_default().finish(next)
    }

    /// Counts of inputs and stages.
    pub fn counts(&mut self) -> Vec<(String, Counts)> {
        self.worker.tasks().flat_map(|t| t.counts().into_iter().map(|(id, c)| (id.to_string(), c)).collect::<Vec<_>>()).collect()
    }

    fn step(&mut self, input: Input) -> Result<(), ReplayError> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.worker.step(self.now_ms, input) {
                match effect {
                    Effect::Restore { task, incarnation, .. } => {
                        self.incarnation = incarnation;
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
                    | Effect::Snapshot { .. }
                    | Effect::Finished => {}
                }
            }
        }
        Ok(())
    }

    fn collect(&mut self, appends: &Appends) {
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
