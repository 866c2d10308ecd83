//! What the runtime tells about itself: the numbers behind `/v1/pipeline`, `/readyz` and the page's health strip.
//!
//! Plain data with defaults: what a runtime does not know yet stays empty and is shown as unknown, not as zero.

use serde::{Deserialize, Serialize};

/// Implemented by whoever runs the pipeline. Called often (once a second per process, and per request): it must not block.
pub trait Status: Send + Sync {
    /// The numbers, now.
    fn pipeline(&self) -> PipelineStatus;

    /// Of every topology that runs here, the first one being [`Status::pipeline`].
    fn pipelines(&self) -> Vec<PipelineStatus> {
        vec![self.pipeline()]
    }

    /// Whether the process serves what it should.
    fn readiness(&self) -> Readiness;

    /// How good predictions are in service, and how they ended.
    fn models(&self) -> ModelsStatus {
        ModelsStatus::default()
    }

    /// "Now" in event time, UTC ms: the wall clock, or the simulated city's clock. Freshness is told against it.
    fn event_now_ms(&self) -> i64 {
        wall_clock_ms()
    }
}

/// How good predictions are in service: what `/v1/models` answers. Rows are ready-made JSON objects: their columns belong to
/// whoever computes them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ModelsStatus {
    /// Models in use.
    pub models: Vec<ModelStatus>,
    /// Per topic, target, version, rung and window: counts and scores.
    pub scores: Vec<serde_json::Value>,
    /// Per topic and target: how many predictions ended how, since the topic's beginning.
    pub outcomes: Vec<serde_json::Value>,
    /// Event time of the newest outcome, UTC ms.
    pub newest_ms: Option<i64>,
}

/// Whether the process serves what it should, and if not, why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Ready for traffic.
    pub ready: bool,
    /// What is missing; empty when ready.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// Ready.
    pub fn ready() -> Self {
        Self { ready: true, reasons: Vec::new() }
    }

    /// Not ready, for these reasons.
    pub fn waiting(reasons: Vec<String>) -> Self {
        Self { ready: false, reasons }
    }
}

/// The pipeline in numbers. Totals count from the process's start unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PipelineStatus {
    /// The topology's name.
    pub topology: String,
    /// Start of the process, UTC ms.
    pub started_ms: Option<i64>,
    /// The slowest task's watermark, UTC ms.
    pub watermark_ms: Option<i64>,
    /// Input records read.
    pub events_total: u64,
    /// Input records per second, lately.
    pub events_per_s: Option<f64>,
    /// How far processing is behind the input, wall-clock ms.
    pub lag_ms: Option<u64>,
    /// 99th percentile of it over the last hour, sampled once a second since it had caught up with its back-log.
    pub lag_p99_ms: Option<u64>,
    /// Input records not read yet.
    pub lag_rows: Option<u64>,
    /// Predictions made.
    pub forecasts_total: u64,
    /// Predictions per second, lately.
    pub forecasts_per_s: Option<f64>,
    /// Late rows, whether corrected or set aside.
    pub late_total: u64,
    /// Dead letters.
    pub dead_total: u64,
    /// Per stage, in the order of the topology.
    pub stages: Vec<StageStatus>,
    /// Rows that went out, by topic.
    pub outputs: Vec<OutputStatus>,
    /// Per input partition.
    pub sources: Vec<SourceStatus>,
    /// Answers per rung of the fallback ladder, best rung first.
    pub rungs: Vec<RungStatus>,
    /// The model in use.
    pub model: Option<ModelStatus>,
    /// Commits.
    pub commits: CommitStatus,
}

/// One stage's counts. They add up: in = folded + emitted + filtered + duplicate + unmatched + late + dead + pending.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageStatus {
    /// The stage's id in the topology file.
    pub id: String,
    /// source, select, join, window, infer, sink …
    pub kind: String,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that went into state.
    pub folded: u64,
    /// Rows that went on.
    pub emitted: u64,
    /// Rows that a condition left out.
    pub filtered: u64,
    /// Rows seen before.
    pub duplicate: u64,
    /// Rows without a partner in a join.
    pub unmatched: u64,
    /// Rows behind the watermark that were set aside.
    pub late: u64,
    /// Dead letters.
    pub dead: u64,
    /// Rows in flight.
    pub pending: u64,
}

/// One output topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputStatus {
    /// Topic.
    pub topic: String,
    /// Rows that stages gave to it.
    pub rows: u64,
}

/// One input partition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The next offset to read.
    pub next_offset: i64,
    /// The partition's end.
    pub end_offset: Option<i64>,
    /// Its watermark, UTC ms.
    pub watermark_ms: Option<i64>,
}

/// One rung of the fallback ladder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RungStatus {
    /// model, cached, heuristic, simplified or manual.
    pub rung: String,
    /// Answers given.
    pub answers: u64,
    /// 99th percentile of its answering time, ms.
    pub p99_ms: Option<f64>,
}

/// The model in use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelStatus {
    /// Its name in the topology.
    pub name: String,
    /// Its version; none until the first one is trained.
    pub version: Option<String>,
    /// ready, training, missing or failed.
    pub state: String,
    /// When it was trained, UTC ms of event time.
    pub trained_ms: Option<i64>,
}

/// Commits of task epochs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommitStatus {
    /// Committed transactions.
    pub committed: u64,
    /// Aborted ones.
    pub aborted: u64,
    /// Ones whose end had to be looked up.
    pub resolved: u64,
    /// Median time to commit, ms.
    pub p50_ms: Option<f64>,
    /// 99th percentile, ms.
    pub p99_ms: Option<f64>,
    /// The last commit, UTC ms of the wall clock.
    pub last_ms: Option<i64>,
}

/// The wall clock, UTC ms.
pub(crate) fn wall_clock_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
