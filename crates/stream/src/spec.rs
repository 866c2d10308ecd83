//! A checked topology, ready to run: what `plan` makes of a file and a task executes. Everything here is resolved:
//! names are indexes, durations are milliseconds, expressions are planned, limits are set.

use crate::expr::ExprRef;
pub use crate::stage_specs::{AbsenceSpec, ApplySpec, Clock, Endings, OptimizeSpec, TriggerSpec, When};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// A checked topology.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Name; topics, group and state are named after it.
    pub name: Arc<str>,
    /// Hash of everything that state depends on (stage ids, keys, windows, aggregates). State of another hash is refused.
    pub state_hash: u64,
    /// Streams read.
    pub inputs: Vec<InputSpec>,
    /// Versioned tables read.
    pub tables: Vec<TableSpec>,
    /// Stages in topological order.
    pub stages: Vec<StageSpec>,
    /// Outputs.
    pub sinks: Vec<SinkSpec>,
    /// Where dead and late rows go; default `dlq.<topology>`.
    pub dead_letters: Arc<str>,
    /// How they are written: the same in all slices of a file.
    pub dead_format: SinkFormat,
    /// Models that `infer` stages name.
    pub models: Vec<String>,
    /// Rows handed to later slices under another key.
    pub rekeys: Vec<RekeySpec>,
}

impl Topology {
    /// The topics that rows of this slice may stem from, in the order in which positions number them.
    pub fn origins(&self) -> Vec<Arc<str>> {
        let mut all: Vec<Arc<str>> = Vec::new();
        for input in &self.inputs {
            let of_input = input.rekeyed.as_ref().map_or(std::slice::from_ref(&input.topic), |r| &r.origins);
            for topic in of_input {
                if !all.contains(topic) {
                    all.push(topic.clone());
                }
            }
        }
        all
    }

    /// Do rows stem from one partition alone, the task's own of the only input?
    pub fn one_origin(&self) -> bool {
        self.inputs.len() <= 1 && self.inputs.iter().all(|i| i.rekeyed.is_none())
    }

    /// Does it matter to anybody when a partition is idle? With a single input only to those behind a `rekey`.
    pub fn minds_idleness(&self) -> bool {
        self.inputs.len() > 1 || !self.rekeys.is_empty()
    }
}

/// A stage that hands rows to a later slice under another key, through a topic of the engine's own.
#[derive(Clone, Debug)]
pub struct RekeySpec {
    /// Stage id.
    pub id: String,
    /// Where its rows come from.
    pub from: Vec<From>,
    /// Repartition topic.
    pub topic: Arc<str>,
    /// Partitions that the topic is made with; `None`: as many as what the reading slice reads beside it, else as many
    /// as this slice has tasks.
    pub partitions: Option<u32>,
    /// Column that becomes the message key, Utf8.
    pub key: String,
    /// Columns written, without system columns.
    pub schema: SchemaRef,
    /// Hash of the rows' format: columns and origins. Rows of another one are refused.
    pub format_hash: u64,
}

/// How an input is read that a `rekey` stage of an earlier slice writes.
#[derive(Clone, Debug)]
pub struct Rekeyed {
    /// Hash of the rows' format, as in [`RekeySpec`].
    pub format_hash: u64,
    /// Topics that rows stem from, as the writing slice numbers them.
    pub origins: Vec<Arc<str>>,
    /// A topic with as many partitions as the writing slice has tasks.
    pub counted_by: Arc<str>,
}

/// A stream that a topology reads.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// Name in the file.
    pub id: String,
    /// Topic.
    pub topic: Arc<str>,
    /// User columns that the topology uses, with engine types (without system columns).
    pub schema: SchemaRef,
    /// How event time is told.
    pub time: TimeSpec,
    /// Largest value taken, bytes; larger ones are dead letters.
    pub max_value_bytes: usize,
    /// A partition without new rows for this long (processing time) is idle: the watermark goes on without it. `None`:
    /// never.
    pub idle_after_ms: Option<i64>,
    /// Paused while its watermark is further than this ahead of the slowest input of the task. `None`: never.
    pub max_skew_ms: Option<i64>,
    /// Set when the topic is a repartition topic.
    pub rekeyed: Option<Rekeyed>,
}

/// Event time of an input.
#[derive(Clone, Debug)]
pub struct TimeSpec {
    /// Column, Int64 UTC ms. A null is a dead letter (`no_event_time`).
    pub column: String,
    /// Rows later than `column` + tolerance are quarantined as dead letters (`future_clock`).
    pub future: Option<FutureSpec>,
    /// How far behind its newest event the watermark of a partition stays.
    pub watermark_delay_ms: i64,
    /// What is too late, and what happens then.
    pub lateness: Lateness,
}

/// Which clock guards against devices ahead of time.
#[derive(Clone, Debug)]
pub struct FutureSpec {
    /// Column to compare with (when the gateway received it); `None`: the log's record timestamp.
    pub against: Option<String>,
    /// How far ahead is still believed.
    pub tolerance_ms: i64,
}

/// Lateness rule of an input.
#[derive(Clone, Debug)]
pub enum Lateness {
    /// A row behind the partition's watermark is late: side output `too_late`.
    Watermark,
    /// Per key: a row older than its key's newest by more than `allowed_ms` goes to the side; one within it is a
    /// correction (`__late` = true).
    PerKey {
        /// Key columns.
        key: Vec<String>,
        /// How far behind its key's newest a row may be.
        allowed_ms: i64,
    },
}

/// A versioned table fed by a topic.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Name in the file.
    pub id: String,
    /// Topic.
    pub topic: Arc<str>,
    /// Key columns.
    pub key: Vec<String>,
    /// Column that says from when a version is valid, Int64 UTC ms.
    pub valid_from: String,
    /// Versions that ended longer ago than this, measured from the key's newest version, are dropped.
    pub history_ms: i64,
    /// True: every task reads all partitions. False: co-partitioned with the inputs.
    pub global: bool,
    /// User columns used.
    pub schema: SchemaRef,
}

/// Where a stage's or sink's rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Index into [`Topology::inputs`].
    Input(usize),
    /// Index into [`Topology::stages`], smaller than the stage's own.
    Stage(usize),
}

/// A stage.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// Stable id; state belongs to it.
    pub id: String,
    /// Where its rows come from.
    pub from: Vec<From>,
    /// What it does.
    pub op: OpSpec,
    /// Columns it yields, system columns included.
    pub schema: SchemaRef,
}

/// What happens to rows that a filter refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// Counted as filtered.
    Drop,
    /// Dead letter with this reason.
    DeadLetter(String),
}

/// What a join does without a partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nulls.
    Nulls,
    /// Side output with this reason, e.g. `unknown_device`.
    Unmatched(String),
}

/// A named output expression.
#[derive(Clone, Debug)]
pub struct Column {
    /// Output name.
    pub name: String,
    /// Its expression.
    pub expr: ExprRef,
}

/// One aggregate call of a window stage, e.g. `slope(filling_level, '24h')`.
#[derive(Clone, Debug)]
pub struct AggCall {
    /// Function.
    pub function: AggFn,
    /// Argument over the stage's input, Float64; `None` for `count()`.
    pub arg: Option<ExprRef>,
    /// Only panes within this time before the row count; `None`: the whole window.
    pub horizon_ms: Option<i64>,
}

/// Aggregate functions. Results are Float64 (null when nothing was seen), `Count` is Int64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AggFn {
    /// Rows, or non-null values.
    Count,
    /// Sum.
    Sum,
    /// Mean.
    Avg,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Earliest by event time.
    First,
    /// Latest by event time.
    Last,
    /// The one before the latest by event time.
    Previous,
    /// Sample standard deviation.
    Stddev,
    /// Least-squares slope per second of event time; null below two distinct times.
    Slope,
    /// Root mean square of the residuals about that line.
    Residual,
}

/// A window over event time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Length, ms.
    pub size_ms: i64,
    /// Distance of starts, ms; equal to the size for tumbling windows.
    pub slide_ms: i64,
}

/// A per-key window that starts at the key's last reset event.
#[derive(Clone, Debug)]
pub struct SinceSpec {
    /// Longest reach, ms.
    pub at_most_ms: i64,
    /// Pane length, ms.
    pub pane_ms: i64,
    /// Int64 column with the newest reset before the row (null: none), e.g. joined from a table of events.
    pub reset_at: Option<String>,
    /// A reset is also seen in the values themselves.
    pub drop: Option<DropSpec>,
    /// Emit again when nothing came for this long (event time), measured from the key's newest row.
    pub or_every_ms: Option<i64>,
    /// Stop re-emitting a key silent for longer than this.
    pub give_up_ms: i64,
    /// Answer a late row with its own columns instead of correcting the key's newest row: for windows that only add
    /// to rows what is known of their key, so that stages behind still see every row.
    pub answer_all: bool,
}

/// A fall of a value that means a reset.
#[derive(Clone, Debug)]
pub struct DropSpec {
    /// The value, Float64.
    pub value: ExprRef,
    /// A fall by at least this …
    pub by: f64,
    /// … to at most this.
    pub to_at_most: f64,
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum OpSpec {
    /// Filter and projection. `columns: None` keeps all.
    Select {
        /// Rows for which it is true go on.
        filter: Option<ExprRef>,
        /// What happens to the others.
        otherwise: Otherwise,
        /// Output columns.
        columns: Option<Vec<Column>>,
    },
    /// One output row per alternative for every input row.
    Each {
        /// Alternatives: each has the same column names and types.
        alternatives: Vec<Vec<Column>>,
    },
    /// Drops rows whose id was seen for its key within `keep_ms` of event time.
    Dedup {
        /// Key columns.
        key: Vec<String>,
        /// Id columns (hashed together).
        id: Vec<String>,
        /// Memory, ms of event time.
        keep_ms: i64,
    },
    /// As-of join with a versioned table: the version valid at the row's event time.
    Join {
        /// Index into [`Topology::tables`].
        table: usize,
        /// Columns of the row that make the table's key.
        on: Vec<String>,
        /// Table columns added: (index in the table's schema, output name).
        columns: Vec<(usize, String)>,
        /// Without a partner.
        missing: Missing,
    },
    /// Tumbling or hopping window with final results when the watermark passes its end.
    Window {
        /// Group columns.
        group_by: Vec<String>,
        /// Window.
        window: WindowSpec,
        /// Aggregates.
        calls: Vec<AggCall>,
        /// Output over (group columns…, `window_start`, `window_end`, `agg0`…); event time = window end − 1.
        columns: Vec<Column>,
    },
    /// Window since a reset, emitted per row and when silent.
    Since {
        /// Group columns.
        group_by: Vec<String>,
        /// Window.
        window: SinceSpec,
        /// Aggregates.
        calls: Vec<AggCall>,
        /// Input columns carried from the key's newest row, in input-schema order.
        carry: Vec<String>,
        /// Output over (carried columns…, `window_start` (null: no reset known), `last_time`, `row_time`,
        /// `is_late`, `agg0`…). `last_time` is the newest input row's event time, `row_time` the emission's.
        columns: Vec<Column>,
    },
    /// Emits a row only when the compared columns differ from the key's last emitted one.
    Changed {
        /// Key columns.
        key: Vec<String>,
        /// Compared columns.
        of: Vec<String>,
        /// Emit a key's first row only where this is true; `None`: always.
        first: Option<ExprRef>,
    },
    /// Asks a predictor; adds its output columns and `rung`, `model_version`, `feature_hash`, `age_ms`, `prediction_id`.
    Infer(InferSpec),
    /// Tells what did not arrive, and, if asked, what did.
    Absence(Box<AbsenceSpec>),
    /// A custom operator of the edge, with keyed state and timers.
    Apply(ApplySpec),
    /// Asks a solver about a whole board of rows per key.
    Optimize(Box<OptimizeSpec>),
}

/// An inference stage.
#[derive(Clone, Debug)]
pub struct InferSpec {
    /// Model name.
    pub model: String,
    /// Key columns: the cached rung answers per key.
    pub key: Vec<String>,
    /// Columns the model adds (without the five of the stage itself).
    pub outputs: SchemaRef,
    /// Rungs below the model, in order: `cached`, `heuristic`.
    pub ladder: Vec<Rung>,
    /// Time a row may take, processing time.
    pub budget_ms: i64,
    /// Oldest cached answer taken, event time.
    pub cache_age_ms: i64,
    /// Rows per call at most.
    pub batch_rows: usize,
    /// Rows in flight at most; then the input pauses.
    pub max_pending_rows: usize,
}

/// A step of the fallback ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// The model itself.
    Model,
    /// The key's last model answer.
    Cached,
    /// A rule.
    Heuristic,
    /// A cheaper model.
    Simplified,
    /// A person corrects later; the row leaves marked provisional.
    Manual,
}

impl Rung {
    /// The word used in files, headers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Model => "model",
            Rung::Cached => "cached",
            Rung::Heuristic => "heuristic",
            Rung::Simplified => "simplified",
            Rung::Manual => "manual",
        }
    }
}

/// An output.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// Topic.
    pub topic: Arc<str>,
    /// Stages (or inputs) whose rows go there; all have the same columns.
    pub from: Vec<From>,
    /// Column that is the message key; `None`: the input's key is not kept and rows go to the task's own partition.
    pub key: Option<String>,
    /// Encoding.
    pub format: SinkFormat,
    /// Columns that go into headers; a JSON value then leaves them out, an Avro value has what its contract names.
    pub header_columns: Vec<String>,
    /// Write the input position (`ws.input` = topic/partition/offset) into each record's headers; on by default.
    pub lineage: bool,
}

/// Encoding of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkFormat {
    /// Confluent-framed Avro by the topic's schema.
    Avro,
    /// A JSON object per row.
    Json,
}
