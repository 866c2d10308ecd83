//! What is simulated: a topology with its edge, the records that producers append and when, a predictor, and what is
//! known beforehand about the outputs. The simulator itself knows nothing of any topology.

use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::log::TopicSpec;
use ws_stream::operator::Call;
use ws_stream::predict::{PredictError, Prediction};
use ws_stream::records::{Appends, Records};
use ws_stream::solve::{Solution, SolveError};
use ws_stream::spec::Topology;
use ws_stream::task::Edge;

/// Records that a producer appends at a time.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Processing time, UTC milliseconds.
    pub at_ms: i64,
    /// The records.
    pub appends: Vec<Appends>,
    /// Append them in a transaction that is then aborted: nobody may ever see them.
    pub aborted: bool,
}

/// A dead letter as the scenario reads it back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    /// Original partition.
    pub partition: u32,
    /// Original offset.
    pub offset: i64,
    /// Stage that refused the row.
    pub stage: String,
    /// Reason code.
    pub reason: String,
}

/// An output row as the scenario reads it back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// What must be the same in every run.
    pub fixed: String,
    /// What must be the same only where a model answered; `None`: another rung did.
    pub predicted: Option<String>,
}

/// What an independent model of the scenario's rules says must come out.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Sink with exactly one row per accepted input, if there is one.
    pub sink: Option<Arc<str>>,
    /// Input positions `topic/partition/offset` that this sink must have exactly once each.
    pub accepted: Vec<String>,
    /// Dead letters of these stages, exactly; other stages' are compared with the undisturbed run alone.
    pub letters: Vec<Letter>,
    /// The stages that `letters` is complete for.
    pub letter_stages: Vec<String>,
}

/// Answers a call; the same rows must give the same answer.
pub type Model = Arc<dyn Fn(&str, &RecordBatch) -> Result<Prediction, PredictError> + Send + Sync>;
/// Reads rows of a sink back.
pub type ReadRows = Arc<dyn Fn(&str, &Records) -> Vec<Row> + Send + Sync>;
/// Reads dead letters back.
pub type ReadLetters = Arc<dyn Fn(&Records) -> Vec<Letter> + Send + Sync>;

/// A slice of the topology: its tasks have a group, transactions and state of their own.
#[derive(Clone)]
pub struct Slice {
    /// What it runs.
    pub topology: Arc<Topology>,
    /// Tasks: partitions of its inputs.
    pub tasks: u32,
}

/// Answers a solver's call; the same board and memo must give the same answer.
pub type Solve = Arc<dyn Fn(&Call) -> Result<Solution, SolveError> + Send + Sync>;
/// Makes of a good answer one that acceptance must refuse.
pub type Spoil = Arc<dyn Fn(Solution) -> Solution + Send + Sync>;

/// What can be wrong with decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// One is missing.
    Lost,
    /// One is there too often.
    Duplicate,
    /// One does not follow the one before.
    Reordered,
    /// One should not be there at all.
    Other,
}

/// Decisions by key, in the order in which they were published.
pub type Decisions = BTreeMap<String, Vec<Row>>;
/// Tells what is wrong with them.
pub type CheckDecisions = Arc<dyn Fn(&Decisions) -> Vec<(Wrong, String)> + Send + Sync>;

/// A sink judged by rules of its own: its rows depend on when solvers answer, so that no undisturbed run has the same,
/// or an undisturbed run could be wrong in the same way.
#[derive(Clone)]
pub struct Decided {
    /// The sink.
    pub sink: Arc<str>,
    /// The rules.
    pub check: CheckDecisions,
}

/// Everything that one run needs beside faults.
#[derive(Clone)]
pub struct Scenario {
    /// The topology's slices, each after those that it reads from.
    pub slices: Vec<Slice>,
    /// Its codecs and rules.
    pub edge: Arc<dyn Edge>,
    /// Topics to create, internal ones excluded.
    pub topics: Vec<TopicSpec>,
    /// Processing time at which the run starts, UTC milliseconds.
    pub start_ms: i64,
    /// Appended before anything runs.
    pub before: Vec<Appends>,
    /// Appended during the run, in order of time.
    pub feeds: Vec<Feed>,
    /// The predictor that calls go to.
    pub model: Model,
    /// Its version.
    pub model_version: String,
    /// The solver that calls go to, if the topology has one.
    pub solver: Option<Solve>,
    /// How a solver can be wrong.
    pub spoil: Option<Spoil>,
    /// Reads sinks back.
    pub read_rows: ReadRows,
    /// Reads dead letters back.
    pub read_letters: ReadLetters,
    /// What must come out.
    pub expected: Expected,
    /// The sink with decisions, if there is one.
    pub decided: Option<Decided>,
    /// Sinks that are compared with the undisturbed run as all are, and that plain rules tell as well.
    pub told: Vec<Decided>,
    /// At rest means: nothing left to do for at least this long, ms.
    pub settle_ms: i64,
}

impl Scenario {
    /// Topics that the engine itself needs.
    pub fn internal_topics(&self) -> Vec<TopicSpec> {
        let spec = |name: Arc<str>, partitions: u32| TopicSpec { name, partitions, config: Vec::new() };
        let own = self.slices.iter().flat_map(|s| {
            let name = &s.topology.name;
            [spec(ws_stream::task::changelog_topic(name), s.tasks), spec(ws_stream::task::manifest_topic(name), s.tasks)]
        });
        // A repartition topic has a partition for each task that reads it.
        let readers = |topic: &Arc<str>| self.slices.iter().find(|s| s.topology.inputs.iter().any(|i| i.topic == *topic)).map_or(1, |s| s.tasks);
        let between = self.slices.iter().flat_map(|s| &s.topology.rekeys).map(|r| spec(r.topic.clone(), readers(&r.topic)));
        own.chain(between).collect()
    }

    /// Input records that producers append and that are not aborted.
    pub fn records(&self) -> u64 {
        self.feeds.iter().filter(|f| !f.aborted).flat_map(|f| &f.appends).map(|a| a.rows.len() as u64).sum()
    }

    /// Dead-letter topics.
    pub fn dead_letters(&self) -> Vec<Arc<str>> {
        let mut topics: Vec<Arc<str>> = self.slices.iter().map(|s| s.topology.dead_letters.clone()).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// Sink topics.
    pub fn sinks(&self) -> Vec<Arc<str>> {
        let mut topics: Vec<Arc<str>> = self.slices.iter().flat_map(|s| &s.topology.sinks).map(|s| s.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        topics
    }
}

/// Counts by name.
pub type Tally = BTreeMap<&'static str, u64>;
