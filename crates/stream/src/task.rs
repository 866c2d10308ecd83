//! A task: one topology slice × one partition. It runs fetched records through its stages in memory and closes
//! epochs; it knows nothing of transactions. At most two of its epochs are unresolved: the closed one that is being
//! committed and the open one. A roll-back undoes both without restoring.

mod clock;
mod closing;
mod data;
mod input;

use crate::changelog::{self, CHUNKS, Kind, Writer};
use crate::codec::{Decode, Encode, EncodeError};
use crate::custom::CustomOp;
use crate::epoch::{DeadLetter, Manifest, Sink, value_schema, write_dead_letters};
use crate::log::{Epoch, TaskId, TopicId, TopicPartition};
use crate::op::Join;
use crate::operator::{Answer, Call, Context, Counts, Operator, OperatorError, Side, SideKind, StateAccess};
use crate::origin::{MAX_PARTITIONS, Origins};
use crate::predict::Predictor;
use crate::records::{Appends, Records};
use crate::repartition::{RekeyedSource, Writer as RekeyWriter};
use crate::solve::Accept;
use crate::source::{Refused, Source};
use crate::spec::{From, SinkFormat, Topology};
use crate::store::StateError;
use crate::table::Table;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use clock::Clock;
use input::Input;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A new base round starts when this much delta was written since the last, or twice the last round's size.
const BASE_AFTER_BYTES: usize = 16 * 1024 * 1024;

/// Makes the parts of a task that live at the edge. All are pure computations.
pub trait Edge: Send + Sync {
    /// A decoder of a topic's values into these columns.
    fn decoder(&self, topic: &str, schema: &SchemaRef) -> Result<Box<dyn Decode>, String>;
    /// An encoder of these columns for a topic.
    fn encoder(&self, topic: &str, format: &SinkFormat, schema: &SchemaRef) -> Result<Box<dyn Encode>, String>;
    /// The rule that stands in for a model.
    fn heuristic(&self, model: &str) -> Option<Box<dyn Predictor>>;
    /// A custom operator for rows of `input` (system columns included).
    fn operator(&self, name: &str, _with: &BTreeMap<String, String>, _input: &SchemaRef) -> Result<Box<dyn CustomOp>, String> {
        Err(format!("there is no operator `{name}` in this program"))
    }
    /// Judges a solver's answers before they are published; `None`: nobody does.
    fn acceptance(&self, _solver: &str) -> Option<Box<dyn Accept>> {
        None
    }
}

/// What a task must know of its surroundings.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Identity of the log.
    pub cluster_id: String,
    /// Partition count and id of every topic read or written.
    pub topics: BTreeMap<Arc<str>, (TopicId, u32)>,
}

impl Surroundings {
    fn partitions(&self, topic: &str) -> u32 {
        self.topics.get(topic).map_or(1, |t| t.1)
    }
}

/// A task that cannot go on; the others do.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A stage failed.
    #[error("stage `{stage}`: {error}")]
    Stage {
        /// Stage id.
        stage: String,
        /// Failure.
        error: OperatorError,
    },
    /// A sink does not take its rows.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// State cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The edge could not make a part.
    #[error("{0}")]
    Edge(String),
}

enum Stage {
    Op(Box<dyn Operator>),
    Join(Box<Join>, usize),
}

#[derive(Clone, Copy)]
enum Feed {
    Input(usize),
    Table(usize),
}

/// A call to a predictor with the stage that waits for it.
pub type StageCall = (usize, Call);

/// A committed image of a task's state.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Epoch whose state it is.
    pub epoch: u64,
    /// Key ranges that changed since the last snapshot, each as changelog base records.
    pub chunks: Vec<(u8, Vec<Vec<u8>>)>,
}

/// One task.
pub struct Task {
    /// Its id: the partition.
    pub id: TaskId,
    topology: Arc<Topology>,
    inputs: Vec<Input>,
    clock: Clock,
    origins: Origins,
    tables: Vec<Option<Table>>,
    table_decoders: Vec<Option<Box<dyn Decode>>>,
    stages: Vec<(String, Stage, Context)>,
    /// Per stage: its watermark as those behind it see it, after the newest step.
    behind: Vec<i64>,
    sinks: Vec<Sink>,
    rekeys: Vec<RekeyWriter>,
    dead: Box<dyn Encode>,
    surroundings: Surroundings,
    feeds: BTreeMap<TopicPartition, Feed>,
    inbox: Vec<Vec<RecordBatch>>,
    open: Open,
    number: u64,
    positions: BTreeMap<TopicPartition, i64>,
    committed: Committed,
    closed: Option<Committed>,
    base: BaseRound,
    dirty: u64,
    dirty_closed: u64,
}

#[derive(Default)]
struct Open {
    manifest: Manifest,
    /// By the position that their rows stem from.
    letters: BTreeMap<TopicPartition, Vec<DeadLetter>>,
    calls: Vec<StageCall>,
    bytes: usize,
}

#[derive(Clone, Default)]
struct Committed {
    positions: BTreeMap<TopicPartition, i64>,
    counts: Vec<Counts>,
}

/// Progress of rewriting the changelog's base.
#[derive(Default)]
struct BaseRound {
    delta_bytes: usize,
    last_round_bytes: usize,
    round_bytes: usize,
    /// Offset before the round's first record, and the next key range to write.
    active: Option<(i64, u8)>,
    /// The closed epoch holds the next key range.
    written: bool,
    finished: Option<i64>,
}

impl Task {
    /// A task with empty state, to be restored or started.
    pub fn new(id: TaskId, topology: Arc<Topology>, edge: &dyn Edge, surroundings: Surroundings) -> Result<Task, TaskError> {
        let edge_error = TaskError::Edge;
        let mut feeds = BTreeMap::new();
        let of_topology = |error| TaskError::Stage { stage: topology.name.to_string(), error };
        let origins = Origins::new(topology.origins(), id.0).map_err(of_topology)?;
        let many = !topology.rekeys.is_empty() || topology.inputs.iter().any(|i| i.rekeyed.is_some());
        if let Some(topic) = origins.topics().iter().find(|t| many && surroundings.partitions(t) > MAX_PARTITIONS) {
            return Err(TaskError::Edge(format!("rows of {topic} are re-keyed: it may have {MAX_PARTITIONS} partitions at most")));
        }
        let mut inputs = Vec::new();
        for (i, input) in topology.inputs.iter().enumerate() {
            feeds.insert(TopicPartition::new(input.topic.clone(), id.0), Feed::Input(i));
            inputs.push(match &input.rekeyed {
                None => {
                    let high = origins.high(origins.number(&input.topic).unwrap_or(0), id.0);
                    Input::Topic(Box::new(Source::new(input.clone(), edge.decoder(&input.topic, &input.schema).map_err(edge_error)?, high)))
                }
                Some(r) => {
                    let (_, tasks) = surroundings.topics.get(&r.counted_by).ok_or_else(|| TaskError::Edge(format!("{} was not looked up", r.counted_by)))?;
                    let source = RekeyedSource::new(input.clone(), r, *tasks, &origins);
                    Input::Rekeyed(Box::new(source.map_err(|error| TaskError::Stage { stage: input.id.clone(), error })?))
                }
            });
        }
        let (mut tables, mut table_decoders) = (Vec::new(), Vec::new());
        for (i, spec) in topology.tables.iter().enumerate() {
            let local = !spec.global;
            if local {
                feeds.insert(TopicPartition::new(spec.topic.clone(), id.0), Feed::Table(i));
            }
            tables.push(if local { Some(Table::new(spec).map_err(|error| TaskError::Stage { stage: spec.id.clone(), error })?) } else { None });
            table_decoders.push(if local { Some(edge.decoder(&spec.topic, &spec.schema).map_err(TaskError::Edge)?) } else { None });
        }
        let schema_of = |from: &From| -> SchemaRef {
            match from {
                From::Input(i) => inputs[*i].schema().clone(),
                From::Stage(i) => topology.stages[*i].schema.clone(),
            }
        };
        let mut stages = Vec::new();
        for spec in &topology.stages {
            let input = spec.from.first().map_or_else(|| Arc::new(Schema::empty()), schema_of);
            let at = |error| TaskError::Stage { stage: spec.id.clone(), error };
            let ident = format!("{}/{}/{}", topology.name, spec.id, id.0);
            let stage = match crate::build::build(spec, &input, &topology, ident, edge).map_err(at)? {
                crate::build::Built::Op(op) => Stage::Op(op),
                crate::build::Built::Join(join, table) => Stage::Join(join, table),
            };
            stages.push((spec.id.clone(), stage, Context::new()));
        }
        let mut sinks = Vec::new();
        for spec in &topology.sinks {
            let schema = spec.from.first().map_or_else(|| Arc::new(Schema::empty()), schema_of);
            let encoder = edge.encoder(&spec.topic, &spec.format, &value_schema(spec, &schema)).map_err(TaskError::Edge)?;
            sinks.push(Sink::new(spec.clone(), encoder, &schema, surroundings.partitions(&spec.topic))?);
        }
        let mut rekeys = Vec::new();
        for spec in &topology.rekeys {
            let schema = spec.from.first().map_or_else(|| Arc::new(Schema::empty()), schema_of);
            let writer = RekeyWriter::new(spec.clone(), id.0, &schema, surroundings.partitions(&spec.topic));
            rekeys.push(writer.map_err(|error| TaskError::Stage { stage: spec.id.clone(), error })?);
        }
        let dead = edge.encoder(&topology.dead_letters, &topology.dead_format, &crate::epoch::dead_letter_schema()).map_err(TaskError::Edge)?;
        let inbox = vec![Vec::new(); stages.len()];
        let behind = vec![i64::MIN; stages.len()];
        let mut task = Task {
            id,
            clock: Clock::new(inputs.len(), !topology.one_origin()),
            topology,
            inputs,
            origins,
            tables,
            table_decoders,
            stages,
            behind,
            sinks,
            rekeys,
            dead,
            surroundings,
            feeds,
            inbox,
            open: Open::default(),
            number: 0,
            positions: BTreeMap::new(),
            committed: Committed::default(),
            closed: None,
            base: BaseRound::default(),
            dirty: (1 << CHUNKS) - 1,
            dirty_closed: 0,
        };
        task.committed = task.image();
        Ok(task)
    }

    /// Partitions that this task alone reads.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.feeds.keys().cloned().collect()
    }
    /// Is that partition one of a table?
    pub fn is_table(&self, at: &TopicPartition) -> bool {
        matches!(self.feeds.get(at), Some(Feed::Table(_)))
    }
    /// Next offset to consume.
    pub fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.positions.get(at).copied()
    }
    /// Partitions of repartition topics among them, with the offset before which everything is consumed and committed.
    pub fn consumed(&self) -> Vec<(TopicPartition, i64)> {
        let of = self.topology.inputs.iter().filter(|i| i.rekeyed.is_some()).map(|i| TopicPartition::new(i.topic.clone(), self.id.0));
        of.filter_map(|at| self.committed.positions.get(&at).copied().map(|offset| (at, offset))).collect()
    }
    /// Number of the newest closed epoch.
    pub fn number(&self) -> u64 {
        self.number
    }
    /// Plants defects; for tests of the simulator.
    pub fn plant(&mut self, planted: crate::worker::Planted) {
        for input in &mut self.inputs {
            if let Input::Rekeyed(s) = input {
                s.min_of_seen = planted.min_of_seen;
            }
        }
    }
    /// Rows waiting in asynchronous stages.
    pub fn pending_rows(&self) -> usize {
        self.stages
            .iter()
            .map(|(_, s, _)| match s {
                Stage::Op(o) => o.pending_rows(),
                Stage::Join(..) => 0,
            })
            .sum()
    }
    /// Has one of its stages reached its own bound?
    pub fn full(&self) -> bool {
        self.stages.iter().any(|(_, s, _)| matches!(s, Stage::Op(o) if o.full()))
    }
    /// Bytes that the open epoch will append, without state.
    pub fn open_bytes(&self) -> usize {
        self.open.bytes + self.sinks.iter().map(Sink::bytes).sum::<usize>() + self.rekeys.iter().map(RekeyWriter::bytes).sum::<usize>()
    }
    /// The task's watermark.
    pub fn watermark_ms(&self) -> i64 {
        self.clock.watermark_ms(self.input_clocks())
    }
    /// Counts per input and stage, by id.
    pub fn counts(&self) -> Vec<(&str, Counts)> {
        let inputs = self.topology.inputs.iter().zip(&self.inputs).map(|(i, s)| (i.id.as_str(), s.counts()));
        let stages = self.stages.iter().map(|(id, _, cx)| (id.as_str(), cx.counts));
        inputs.chain(stages).chain(self.rekeys.iter().map(|r| (r.spec.id.as_str(), r.counts))).collect()
    }
    /// Rows answered by inference stages, by rung.
    pub fn rungs(&self) -> Vec<(&'static str, u64)> {
        self.stages
            .iter()
            .flat_map(|(_, s, _)| match s {
                Stage::Op(o) => o.rungs(),
                Stage::Join(..) => Vec::new(),
            })
            .collect()
    }
    /// Rows and bytes of state.
    pub fn state_size(&mut self) -> (usize, usize) {
        let mut size = (0, 0);
        self.each_state(|_, s| {
            size.0 += s.rows();
            size.1 += s.bytes();
            Ok(())
        })
        .ok();
        size
    }
    /// Calls to make since the last look.
    pub fn take_calls(&mut self) -> Vec<StageCall> {
        std::mem::take(&mut self.open.calls)
    }

    fn each_state(&mut self, mut f: impl FnMut(u16, &mut dyn StateAccess) -> Result<(), StateError>) -> Result<(), StateError> {
        let mut id = 0u16;
        for s in &mut self.inputs {
            f(id, s.state())?;
            id += 1;
        }
        for t in &mut self.tables {
            if let Some(t) = t {
                f(id, t)?;
            }
            id += 1;
        }
        for (_, s, _) in &mut self.stages {
            if let Stage::Op(op) = s
                && let Some(state) = op.state()
            {
                f(id, state)?;
            }
            id += 1;
        }
        f(id, &mut self.clock)
    }

    /// Applies a changelog or snapshot record. Deltas at or before `skip_through` are already contained.
    pub fn import(&mut self, record: &[u8], skip_through: u64) -> Result<(), StateError> {
        let head = changelog::read_head(record)?;
        if head.state_hash != self.topology.state_hash {
            return Err(StateError(format!(
                "it was written by a topology with state hash {:016x}, this one has {:016x}",
                head.state_hash, self.topology.state_hash
            )));
        }
        // Bases too: one of an epoch that the snapshot contains is older than the snapshot's rows.
        if head.epoch <= skip_through {
            return Ok(());
        }
        let (inputs, tables, ops) = (self.inputs.len(), self.tables.len(), self.stages.len());
        let (sources, local, stages, clock) = (&mut self.inputs, &mut self.tables, &mut self.stages, &mut self.clock);
        changelog::read(record, &mut |state, key, sub, value| {
            let i = state as usize;
            if i < inputs {
                return sources[i].state().import(key, sub, value);
            }
            if let Some(t) = local.get_mut(i - inputs) {
                return t.as_mut().map_or(Ok(()), |t| t.import(key, sub, value));
            }
            match stages.get_mut(i - inputs - tables) {
                Some((_, Stage::Op(op), _)) => op.state().map_or(Ok(()), |s| s.import(key, sub, value)),
                None if i == inputs + tables + ops => clock.import(key, sub, value),
                _ => Err(StateError(format!("a row of state {state}, which does not exist"))),
            }
        })?;
        if head.kind == Kind::Delta {
            self.positions.extend(head.positions);
            if head.last {
                self.number = head.epoch;
            }
        }
        Ok(())
    }

    /// Takes positions and number of a snapshot's tag, or of the log's progress.
    pub fn resume_at(&mut self, number: u64, positions: impl IntoIterator<Item = (TopicPartition, i64)>) {
        self.number = number;
        self.positions.extend(positions);
    }

    /// Sets where a partition that was never read starts.
    pub fn start_at(&mut self, at: &TopicPartition, offset: i64) {
        self.positions.entry(at.clone()).or_insert(offset);
    }

    /// Ends the restore: derived indexes are built, pending rows are asked for again.
    pub fn restored(&mut self, now_ms: i64) -> Result<(), TaskError> {
        self.each_state(|_, s| s.imported())?;
        self.clock.begin(now_ms);
        self.seed_watermarks();
        self.base.delta_bytes = BASE_AFTER_BYTES;
        self.reissue(now_ms)?;
        self.committed = self.image();
        Ok(())
    }

    fn reissue(&mut self, now_ms: i64) -> Result<(), TaskError> {
        for (i, (id, stage, cx)) in self.stages.iter_mut().enumerate() {
            cx.now_ms = now_ms;
            if let Stage::Op(op) = stage {
                op.reissue(cx).map_err(|error| TaskError::Stage { stage: id.clone(), error })?;
            }
            self.open.calls.extend(cx.calls.drain(..).map(|c| (i, c)));
        }
        Ok(())
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The topology's changelog topic.
pub fn changelog_topic(topology: &str) -> Arc<str> {
    format!("ws.{topology}.changelog").into()
}

/// The topology's manifest topic.
pub fn manifest_topic(topology: &str) -> Arc<str> {
    format!("ws.{topology}.manifest").into()
}
