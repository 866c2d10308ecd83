//! A task: one topology slice × one partition. It runs fetched records through its stages in memory and closes
//! epochs; it knows nothing of transactions. At most two of its epochs are unresolved: the closed one that is being
//! committed and the open one. A roll-back undoes both without restoring.

use crate::changelog::{self, CHUNKS, Kind, Writer};
use crate::codec::{Decode, Encode, EncodeError};
use crate::epoch::{DeadLetter, Manifest, Sink, value_schema, write_dead_letters};
use crate::log::{Epoch, TaskId, TopicId, TopicPartition};
use crate::op::Join;
use crate::operator::{Answer, Call, Context, Counts, Operator, OperatorError, Side, SideKind, StateAccess};
use crate::predict::Predictor;
use crate::records::{Appends, Records};
use crate::source::{Refused, Source};
use crate::spec::{From, SinkFormat, Topology};
use crate::store::StateError;
use crate::table::Table;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A new base round starts when this much delta was written since the last, or as much as the last round's size.
const BASE_AFTER_BYTES: usize = 4 * 1024 * 1024;

/// Makes the parts of a task that live at the edge. All are pure computations.
pub trait Edge: Send + Sync {
    /// A decoder of a topic's values into these columns.
    fn decoder(&self, topic: &str, schema: &SchemaRef) -> Result<Box<dyn Decode>, String>;
    /// An encoder of these columns for a topic.
    fn encoder(&self, topic: &str, format: &SinkFormat, schema: &SchemaRef) -> Result<Box<dyn Encode>, String>;
    /// The rule that stands in for a model.
    fn heuristic(&self, model: &str) -> Option<Box<dyn Predictor>>;
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
    sources: Vec<Source>,
    tables: Vec<Option<Table>>,
    table_decoders: Vec<Option<Box<dyn Decode>>>,
    stages: Vec<(String, Stage, Context)>,
    sinks: Vec<Sink>,
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
    letters: Vec<DeadLetter>,
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
        let mut sources = Vec::new();
        for (i, input) in topology.inputs.iter().enumerate() {
            feeds.insert(TopicPartition::new(input.topic.clone(), id.0), Feed::Input(i));
            sources.push(Source::new(input.clone(), edge.decoder(&input.topic, &input.schema).map_err(edge_error)?));
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
                From::Input(i) => sources[*i].schema().clone(),
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
        let json = topology.sinks.iter().all(|s| s.format == SinkFormat::Json) && !topology.sinks.is_empty();
        let format = if json { SinkFormat::Json } else { SinkFormat::Avro };
        let dead = edge.encoder(&topology.dead_letters, &format, &crate::epoch::dead_letter_schema()).map_err(TaskError::Edge)?;
        let inbox = vec![Vec::new(); stages.len()];
        let mut task = Task {
            id, topology, sources, tables, table_decoders, stages, sinks, dead, surroundings, feeds, inbox,
            open: Open::default(), number: 0, positions: BTreeMap::new(), committed: Committed::default(), closed: None,
            base: BaseRound::default(), dirty: (1 << CHUNKS) - 1, dirty_closed: 0,
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
    /// Number of the newest closed epoch.
    pub fn number(&self) -> u64 {
        self.number
    }
    /// Rows waiting in asynchronous stages.
    pub fn pending_rows(&self) -> usize {
        self.stages.iter().map(|(_, s, _)| match s { Stage::Op(o) => o.pending_rows(), Stage::Join(..) => 0 }).sum()
    }
    /// Bytes that the open epoch will append, without state.
    pub fn open_bytes(&self) -> usize {
        self.open.bytes + self.sinks.iter().map(Sink::bytes).sum::<usize>()
    }
    /// The task's watermark.
    pub fn watermark_ms(&self) -> i64 {
        self.sources.iter().map(Source::watermark_ms).min().unwrap_or(i64::MIN)
    }
    /// Counts per input and stage, by id.
    pub fn counts(&self) -> Vec<(&str, Counts)> {
        let inputs = self.topology.inputs.iter().zip(&self.sources).map(|(i, s)| (i.id.as_str(), s.counts));
        inputs.chain(self.stages.iter().map(|(id, _, cx)| (id.as_str(), cx.counts))).collect()
    }
    /// Rows answered by inference stages, by rung.
    pub fn rungs(&self) -> Vec<(&'static str, u64)> {
        self.stages.iter().flat_map(|(_, s, _)| match s { Stage::Op(o) => o.rungs(), Stage::Join(..) => Vec::new() }).collect()
    }
    /// Rows and bytes of state.
    pub fn state_size(&mut self) -> (usize, usize) {
        let mut size = (0, 0);
        self.each_state(|_, s| {
            size.0 += s.rows();
            size.1 += s.bytes();
            Ok(())
        }).ok();
        size
    }
    /// Calls to make since the last look.
    pub fn take_calls(&mut self) -> Vec<StageCall> {
        std::mem::take(&mut self.open.calls)
    }

    fn each_state(&mut self, mut f: impl FnMut(u16, &mut dyn StateAccess) -> Result<(), StateError>) -> Result<(), StateError> {
        let mut id = 0u16;
        for s in &mut self.sources {
            f(id, s)?;
            id += 1;
        }
        for t in &mut self.tables {
            if let Some(t) = t {
                f(id, t)?;
            }
            id += 1;
        }
        for (_, s, _) in &mut self.stages {
            if let Stage::Op(op) = s && let Some(state) = op.state() {
                f(id, state)?;
            }
            id += 1;
        }
        Ok(())
    }

    // ---- restore -------------------------------------------------------------------------------------------------

    /// Applies a changelog or snapshot record. Deltas at or before `skip_through` are already contained.
    pub fn import(&mut self, record: &[u8], skip_through: u64) -> Result<(), StateError> {
        let head = changelog::read_head(record)?;
        if head.state_hash != self.topology.state_hash {
            return Err(StateError(format!("it was written by a topology with state hash {:016x}, this one has {:016x}", head.state_hash, self.topology.state_hash)));
        }
        // Bases too: one of an epoch that the snapshot contains is older than the snapshot's rows.
        if head.epoch <= skip_through {
            return Ok(());
        }
        let (inputs, tables) = (self.sources.len(), self.tables.len());
        let (sources, local, stages) = (&mut self.sources, &mut self.tables, &mut self.stages);
        changelog::read(record, &mut |state, key, sub, value| {
            let i = state as usize;
            if i < inputs {
                return sources[i].import(key, sub, value);
            }
            if let Some(t) = local.get_mut(i - inputs) {
                return t.as_mut().map_or(Ok(()), |t| t.import(key, sub, value));
            }
            match stages.get_mut(i - inputs - tables) {
                Some((_, Stage::Op(op), _)) => op.state().map_or(Ok(()), |s| s.import(key, sub, value)),
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

    // ---- data ----------------------------------------------------------------------------------------------------

    /// Consumes records of one of its partitions.
    pub fn process(&mut self, at: &TopicPartition, records: &Records, now_ms: i64, globals: &[Option<Table>]) -> Result<(), TaskError> {
        let Some(feed) = self.feeds.get(at).copied() else { return Ok(()) };
        let from = self.positions.get(at).copied().unwrap_or(0);
        self.open.manifest.consumed(at, from, records.next_offset);
        self.positions.insert(at.clone(), records.next_offset);
        match feed {
            Feed::Table(t) => self.feed_table(t, at, records, now_ms),
            Feed::Input(i) => {
                let stage = self.topology.inputs[i].id.clone();
                let mut refused = Vec::new();
                let runs = self.sources[i].process(records, &mut refused).map_err(|error| TaskError::Stage { stage: stage.clone(), error })?;
                self.refuse(&stage, records, refused, now_ms);
                let others = self.sources.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| s.watermark_ms()).min().unwrap_or(i64::MAX);
                for run in runs {
                    if run.rows.num_rows() > 0 {
                        self.route(From::Input(i), run.rows, at, now_ms)?;
                    }
                    self.run(run.watermark_ms.min(others), now_ms, at, Some(records), globals)?;
                }
                self.flush(now_ms)
            }
        }
    }

    /// Lets timers fire and budgets end.
    pub fn advance(&mut self, now_ms: i64, globals: &[Option<Table>]) -> Result<(), TaskError> {
        let at = self.primary();
        self.run(self.watermark_ms(), now_ms, &at, None, globals)?;
        self.flush(now_ms)
    }

    /// Sends what stages held back to make larger calls.
    fn flush(&mut self, now_ms: i64) -> Result<(), TaskError> {
        for (i, (id, stage, cx)) in self.stages.iter_mut().enumerate() {
            if let Stage::Op(op) = stage {
                cx.now_ms = now_ms;
                op.flush(cx).map_err(|error| TaskError::Stage { stage: id.clone(), error })?;
            }
            self.open.calls.extend(cx.calls.drain(..).map(|c| (i, c)));
        }
        Ok(())
    }

    /// Takes an answer for a stage.
    pub fn answer(&mut self, stage: usize, answer: Answer, now_ms: i64, globals: &[Option<Table>]) -> Result<(), TaskError> {
        let at = self.primary();
        if let Some((id, Stage::Op(op), cx)) = self.stages.get_mut(stage) {
            cx.now_ms = now_ms;
            op.answer(cx, answer).map_err(|error| TaskError::Stage { stage: id.clone(), error })?;
        }
        self.drain(stage, &at, None, now_ms)?;
        self.run(self.watermark_ms(), now_ms, &at, None, globals)?;
        self.flush(now_ms)
    }

    fn primary(&self) -> TopicPartition {
        TopicPartition::new(self.topology.inputs.first().map_or_else(|| Arc::from(""), |i| i.topic.clone()), self.id.0)
    }

    fn feed_table(&mut self, t: usize, at: &TopicPartition, records: &Records, now_ms: i64) -> Result<(), TaskError> {
        let id = self.topology.tables[t].id.clone();
        let (Some(table), Some(decoder)) = (self.tables[t].as_mut(), self.table_decoders[t].as_mut()) else { return Ok(()) };
        let decoded = decoder.decode(records);
        table.apply(&decoded.rows).map_err(|error| TaskError::Stage { stage: id.clone(), error })?;
        for i in &decoded.tombstones {
            let row = *i as usize;
            if let Some(key) = records.key(row) {
                table.delete(key, records.rows[row].timestamp_ms);
            }
        }
        let refused = decoded.dead.into_iter().map(|e| Refused { row: e.row, reason: e.reason, error: e.error, schema_id: e.schema_id, late: false, time_ms: None }).collect();
        self.refuse(&id, records, refused, now_ms);
        let _ = at;
        Ok(())
    }

    /// Runs every stage once, in order: first what waits for it, then time.
    fn run(&mut self, watermark_ms: i64, now_ms: i64, at: &TopicPartition, records: Option<&Records>, globals: &[Option<Table>]) -> Result<(), TaskError> {
        let topology = self.topology.clone();
        let mut behind = vec![watermark_ms; self.stages.len()];
        for i in 0..self.stages.len() {
            let batches = std::mem::take(&mut self.inbox[i]);
            let (id, stage, cx) = &mut self.stages[i];
            cx.now_ms = now_ms;
            let reaches = topology.stages[i].from.iter().map(|f| match f { From::Input(_) => watermark_ms, From::Stage(j) => behind[*j] }).min();
            let failed = |error| TaskError::Stage { stage: id.clone(), error };
            for rows in &batches {
                match stage {
                    Stage::Op(op) => op.process(cx, rows),
                    Stage::Join(join, t) => match self.tables[*t].as_ref().or(globals.get(*t).and_then(Option::as_ref)) {
                        Some(table) => join.process_with(cx, rows, table),
                        None => Err(OperatorError::Limit { what: "tables of this worker", limit: 0, setting: "tables" }),
                    },
                }
                .map_err(failed)?;
            }
            // Rows meet the watermark that was there before them: what they see must not depend on how they were fetched.
            cx.watermark_ms = cx.watermark_ms.max(reaches.unwrap_or(watermark_ms));
            behind[i] = cx.watermark_ms;
            if let Stage::Op(op) = stage {
                op.advance(cx).map_err(failed)?;
                if let Some(oldest) = op.oldest_pending_ms() {
                    behind[i] = behind[i].min(oldest.saturating_sub(1));
                }
            }
            self.drain(i, at, records, now_ms)?;
        }
        Ok(())
    }

    /// Gives every stage the watermark of the restored state, as it was when that was committed.
    fn seed_watermarks(&mut self) {
        let watermark_ms = self.watermark_ms();
        let mut behind = vec![watermark_ms; self.stages.len()];
        for (i, (_, stage, cx)) in self.stages.iter_mut().enumerate() {
            let reaches = self.topology.stages[i].from.iter().map(|f| match f { From::Input(_) => watermark_ms, From::Stage(j) => behind[*j] }).min();
            cx.watermark_ms = reaches.unwrap_or(watermark_ms);
            behind[i] = cx.watermark_ms;
            if let Stage::Op(op) = stage && let Some(oldest) = op.oldest_pending_ms() {
                behind[i] = behind[i].min(oldest.saturating_sub(1));
            }
        }
    }

    /// Hands on what a stage put out.
    fn drain(&mut self, i: usize, at: &TopicPartition, records: Option<&Records>, now_ms: i64) -> Result<(), TaskError> {
        let Some((id, _, cx)) = self.stages.get_mut(i) else { return Ok(()) };
        let (out, side) = (std::mem::take(&mut cx.out), std::mem::take(&mut cx.side));
        self.open.calls.extend(cx.calls.drain(..).map(|c| (i, c)));
        for (kind, detail) in cx.decisions.drain(..) {
            self.open.manifest.decided(id, kind, detail);
        }
        if !side.is_empty() {
            let id = id.clone();
            for s in side {
                self.side(&id, s, records, now_ms);
            }
        }
        for rows in out {
            self.route(From::Stage(i), rows, at, now_ms)?;
        }
        Ok(())
    }

    fn route(&mut self, from: From, rows: RecordBatch, at: &TopicPartition, now_ms: i64) -> Result<(), TaskError> {
        let mut refused = Vec::new();
        for (j, spec) in self.topology.stages.iter().enumerate() {
            if spec.from.contains(&from) {
                self.inbox[j].push(rows.clone());
            }
        }
        for sink in &mut self.sinks {
            if sink.spec.from.contains(&from) {
                let bad = sink.write(&rows, at)?;
                refused.extend(bad.into_iter().map(|e| (format!("sink:{}", sink.spec.topic), e)));
            }
        }
        for (stage, e) in refused {
            self.letter(DeadLetter {
                offset: crate::batch::offsets(&rows)[e.row],
                stage,
                reason: e.reason.to_string(),
                error: e.error,
                schema_id: e.schema_id,
                observed_at: Some(crate::batch::times(&rows)[e.row]),
                received_at: now_ms,
                ..DeadLetter::default()
            });
        }
        Ok(())
    }

    fn refuse(&mut self, stage: &str, records: &Records, refused: Vec<Refused>, now_ms: i64) {
        for r in refused {
            let letter = DeadLetter {
                offset: records.rows[r.row].offset,
                key: records.key(r.row).map(<[u8]>::to_vec),
                value: records.value(r.row).map(<[u8]>::to_vec),
                stage: stage.to_string(),
                reason: r.reason.to_string(),
                error: r.error,
                schema_id: r.schema_id,
                observed_at: r.time_ms,
                received_at: now_ms,
                ..DeadLetter::default()
            };
            self.letter(letter);
        }
    }

    fn side(&mut self, stage: &str, side: Side, records: Option<&Records>, now_ms: i64) {
        let tenants = side.rows.column_by_name("tenant").and_then(|c| c.as_string_opt::<i32>());
        for i in 0..side.rows.num_rows() {
            let offset = crate::batch::offsets(&side.rows)[i];
            // The original bytes are at hand while the records are; otherwise the position leads to them.
            let row = records.and_then(|r| r.rows.binary_search_by_key(&offset, |x| x.offset).ok());
            self.letter(DeadLetter {
                offset,
                key: row.and_then(|x| records?.key(x)).map(<[u8]>::to_vec),
                value: row.and_then(|x| records?.value(x)).map(<[u8]>::to_vec),
                tenant: tenants.filter(|t| t.is_valid(i)).map(|t| t.value(i).to_string()).unwrap_or_default(),
                stage: stage.to_string(),
                reason: side.reason.clone(),
                error: if side.detail.is_empty() { kind_words(side.kind).to_string() } else { side.detail.clone() },
                schema_id: None,
                observed_at: Some(crate::batch::times(&side.rows)[i]),
                received_at: now_ms,
            });
        }
    }

    fn letter(&mut self, letter: DeadLetter) {
        self.open.bytes += 256 + letter.value.as_ref().map_or(0, Vec::len);
        self.open.letters.push(letter);
    }

    // ---- epochs --------------------------------------------------------------------------------------------------

    fn image(&self) -> Committed {
        let counts = self.sources.iter().map(|s| s.counts).chain(self.stages.iter().map(|(_, _, cx)| cx.counts)).collect();
        Committed { positions: self.positions.clone(), counts }
    }

    /// Closes the open epoch; `None` when nothing happened in it. The last one must be resolved.
    pub fn close(&mut self, incarnation: u64) -> Result<Option<Epoch>, TaskError> {
        debug_assert!(self.closed.is_none(), "the closed epoch must be resolved first");
        let number = self.number + 1;
        let positions: Vec<_> = self.positions.iter().map(|(k, v)| (k.clone(), *v)).collect();
        let mut appends: Vec<Appends> = self.sinks.iter_mut().map(Sink::take).filter(|a| !a.rows.is_empty()).collect();
        let letters = std::mem::take(&mut self.open.letters);
        if !letters.is_empty() {
            let at = self.primary();
            let topic_id = self.surroundings.topics.get(&at.topic).map_or_else(String::new, |t| hex(&t.0));
            let mut out = Appends::new(self.topology.dead_letters.clone());
            let partitions = self.surroundings.partitions(&self.topology.dead_letters);
            write_dead_letters(&letters, &at, &self.surroundings.cluster_id, &topic_id, partitions, self.dead.as_mut(), &mut out)?;
            appends.push(out);
        }
        let hash = self.topology.state_hash;
        let mut changelog = Appends::new(changelog_topic(&self.topology.name));
        let base = match self.base.active {
            Some((_, chunk)) => self.base_records(chunk, number)?,
            None => Vec::new(),
        };
        let mut delta = Writer::new(Kind::Delta, hash, number, positions.clone());
        let mut dirty = 0u64;
        self.each_state(|state, s| {
            s.close_epoch(&mut |key, sub, value| {
                dirty |= 1 << changelog::chunk_of(key);
                delta.row(state, key, sub, value);
            });
            Ok(())
        })?;
        let moved = self.positions != self.committed.positions;
        let manifest = std::mem::take(&mut self.open.manifest);
        self.open.bytes = 0;
        if !moved && appends.is_empty() && delta.rows() == 0 && manifest.is_empty() {
            self.each_state(|_, s| {
                s.committed();
                Ok(())
            })?;
            return Ok(None);
        }
        self.dirty_closed = dirty;
        let key = number.to_be_bytes();
        self.base.written = self.base.active.is_some();
        for part in base {
            self.base.round_bytes += part.len();
            changelog.push(self.id.0, 0, Some(&key), Some(&part), &[]);
        }
        for part in delta.finish() {
            self.base.delta_bytes += part.len();
            changelog.push(self.id.0, 0, Some(&key), Some(&part), &[]);
        }
        let mut manifests = Appends::new(manifest_topic(&self.topology.name));
        let watermarks: Vec<i64> = self.sources.iter().map(Source::watermark_ms).collect();
        manifests.push(self.id.0, 0, Some(&key), Some(manifest.to_json(number, &watermarks).as_bytes()), &[]);
        appends.extend([changelog, manifests]);
        self.number = number;
        self.closed = Some(self.image());
        Ok(Some(Epoch { task: self.id, incarnation, number, positions, appends }))
    }

    fn base_records(&mut self, chunk: u8, number: u64) -> Result<Vec<Vec<u8>>, StateError> {
        let mut base = Writer::new(Kind::Base(chunk), self.topology.state_hash, number, Vec::new());
        self.each_state(|state, s| {
            s.scan_committed(&mut |key, sub, value| {
                if changelog::chunk_of(key) == chunk {
                    base.row(state, key, sub, value);
                }
            });
            Ok(())
        })?;
        Ok(base.finish())
    }

    /// The closed epoch is committed.
    pub fn committed(&mut self) {
        let Some(image) = self.closed.take() else { return };
        self.committed = image;
        self.each_state(|_, s| {
            s.committed();
            Ok(())
        }).ok();
        self.dirty |= std::mem::take(&mut self.dirty_closed);
        // A round that began after the epoch was closed has nothing in it yet.
        if let Some((mark, chunk)) = self.base.active.filter(|_| std::mem::take(&mut self.base.written)) {
            if chunk + 1 < CHUNKS {
                self.base.active = Some((mark, chunk + 1));
            } else {
                self.base.active = None;
                self.base.finished = Some(mark);
                self.base.last_round_bytes = std::mem::take(&mut self.base.round_bytes);
            }
        }
    }

    /// Undoes the closed and the open epoch; inputs are to be read again from [`Task::position`].
    pub fn rollback(&mut self, now_ms: i64) -> Result<(), TaskError> {
        self.each_state(|_, s| s.rollback())?;
        if self.closed.take().is_some() {
            self.number -= 1;
        }
        self.positions = self.committed.positions.clone();
        let counts = &self.committed.counts;
        self.sources.iter_mut().zip(counts).for_each(|(s, c)| s.counts = *c);
        self.stages.iter_mut().zip(&counts[self.sources.len()..]).for_each(|((_, _, cx), c)| {
            *cx = Context { counts: *c, ..Context::new() };
        });
        self.seed_watermarks();
        self.sinks.iter_mut().for_each(|s| {
            s.take();
        });
        self.inbox.iter_mut().for_each(Vec::clear);
        self.open = Open::default();
        self.dirty_closed = 0;
        if let Some((mark, _)) = self.base.active {
            self.base.active = Some((mark, 0));
        }
        self.reissue(now_ms)
    }

    /// A planted defect's half of a roll-back: see [`crate::worker::Planted`].
    pub fn rollback_positions_only(&mut self, now_ms: i64) -> Result<(), TaskError> {
        self.each_state(|_, s| {
            s.committed();
            s.close_epoch(&mut |_, _, _| {});
            s.committed();
            Ok(())
        })?;
        self.rollback(now_ms)
    }
    /// A planted defect: see [`crate::worker::Planted`].
    pub fn forget_pending(&mut self, now_ms: i64) -> Result<(), TaskError> {
        self.open.calls.clear();
        for (_, stage, _) in &mut self.stages {
            let Stage::Op(op) = stage else { continue };
            if op.pending_rows() == 0 {
                continue;
            }
            let Some(state) = op.state() else { continue };
            let mut rows = Vec::new();
            state.scan_committed(&mut |key, sub, _| {
                if key.starts_with(b"p") {
                    rows.push((key.to_vec(), sub));
                }
            });
            for (key, sub) in rows {
                state.import(&key, sub, None)?;
            }
        }
        self.reissue(now_ms)
    }
    /// A planted defect: see [`crate::worker::Planted`].
    pub fn force_position(&mut self, at: &TopicPartition, offset: i64) {
        self.positions.insert(at.clone(), offset);
    }

    // ---- bases and snapshots -------------------------------------------------------------------------------------

    /// Should a new base round begin? Then ask for the changelog's end and call [`Task::begin_base`].
    pub fn wants_base(&self) -> bool {
        self.base.active.is_none() && self.base.delta_bytes >= BASE_AFTER_BYTES.max(self.base.last_round_bytes)
    }
    /// Starts a base round; `mark` is an offset at or before the round's first record.
    pub fn begin_base(&mut self, mark: i64) {
        if self.base.active.is_none() {
            self.base.delta_bytes = 0;
            self.base.round_bytes = 0;
            self.base.active = Some((mark, 0));
        }
    }
    /// Everything before this offset is no longer needed, once.
    pub fn take_truncation(&mut self) -> Option<i64> {
        self.base.finished.take()
    }
    /// The committed state, as far as it changed since the last snapshot. The closed epoch must be resolved.
    pub fn snapshot(&mut self) -> Result<Snapshot, StateError> {
        let (epoch, dirty) = (self.number, std::mem::take(&mut self.dirty));
        let mut chunks = Vec::new();
        for chunk in (0..CHUNKS).filter(|c| dirty & (1 << c) != 0) {
            chunks.push((chunk, self.base_records(chunk, epoch)?));
        }
        Ok(Snapshot { epoch, chunks })
    }
    /// Positions of the newest committed epoch.
    pub fn committed_positions(&self) -> Vec<(TopicPartition, i64)> {
        self.committed.positions.iter().map(|(k, v)| (k.clone(), *v)).collect()
    }
}

fn kind_words(kind: SideKind) -> &'static str {
    match kind {
        SideKind::Late => "older than the lateness allows",
        SideKind::Dead => "refused by the stage",
        SideKind::Unmatched => "no partner in the table",
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
