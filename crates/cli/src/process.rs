//! What runs in this process, told to the API, to `wastestream status` and to the demo: each topology by itself, and the
//! process as a whole.

use crate::edge::MODELS;
use crate::scores::Scores;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use ws_api::Status;
use ws_api::status::{CommitStatus, ModelStatus, ModelsStatus, OutputStatus, PipelineStatus, Readiness, RungStatus, StageStatus};
use ws_runtime::models::Models;
use ws_runtime::now_ms;
use ws_runtime::status::{Board, WorkerStatus};
use ws_stream::spec::{From, OpSpec, Topology};

/// Order in which rungs are shown.
const RUNGS: [&str; 5] = ["model", "cached", "heuristic", "simplified", "manual"];
/// Samples of lag that are kept: an hour of one a second.
const LAG_SAMPLES: usize = 3_600;
/// Time between two of them.
const SAMPLE: Duration = Duration::from_secs(1);
/// A topology has caught up with its back-log when it is no more than this behind: lag before that tells how long the
/// back-log was, not how quick the topology is.
const CAUGHT_UP_MS: u64 = 2_000;
/// State of a model that nobody has spoken of.
const MISSING: &str = "missing";

/// The topologies of this process.
pub struct ProcessStatus {
    topologies: Vec<TopologyStatus>,
    /// Simulated time; 0: the wall clock counts.
    pub event_now_ms: AtomicI64,
    /// How good predictions are; somebody must let it follow the log.
    pub scores: Scores,
    models: Models,
    sampled: Mutex<Option<Instant>>,
}

/// One topology.
pub struct TopologyStatus {
    /// Its slices.
    pub slices: Vec<Arc<Topology>>,
    /// Where its workers tell how they are.
    pub board: Board,
    models: Models,
    started_ms: i64,
    /// Wall-clock milliseconds per event-time millisecond for lag: the demo's speed.
    speed: f64,
    /// State of its model, in words: ready, training, missing, failed.
    model_state: Mutex<String>,
    rates: Mutex<Rates>,
    lags: Mutex<Lags>,
}

#[derive(Default)]
struct Lags {
    caught_up: bool,
    ms: VecDeque<u64>,
}

#[derive(Default)]
struct Rates {
    last: Option<(Instant, u64, u64)>,
    events_per_s: Option<f64>,
    forecasts_per_s: Option<f64>,
}

impl ProcessStatus {
    /// Of topologies, each as its slices; the first one is what is shown where there is room for one.
    pub fn new(topologies: Vec<Vec<Arc<Topology>>>, models: Models, speed: f64) -> ProcessStatus {
        let topologies = topologies.into_iter().map(|slices| TopologyStatus::new(slices, models.clone(), speed)).collect();
        ProcessStatus { topologies, event_now_ms: AtomicI64::new(0), scores: Scores::default(), models, sampled: Mutex::new(None) }
    }

    /// All of them.
    pub fn topologies(&self) -> &[TopologyStatus] {
        &self.topologies
    }

    /// Sets the state of a model wherever it is used.
    pub fn set_model_state(&self, model: &str, state: &str) {
        for t in self.topologies.iter().filter(|t| t.model() == Some(model)) {
            *t.model_state.lock().unwrap_or_else(PoisonError::into_inner) = state.to_string();
        }
    }

    /// Notes every topology's lag, at most once a second; whoever waits for the process' end calls this.
    pub fn sample(&self) {
        let mut last = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|t| t.elapsed() < SAMPLE) {
            return;
        }
        *last = Some(Instant::now());
        let now_ms = self.event_now_ms();
        for t in &self.topologies {
            let Some(lag_ms) = t.lag_ms(now_ms) else { continue };
            let mut lags = t.lags.lock().unwrap_or_else(PoisonError::into_inner);
            if !lags.caught_up && lag_ms <= CAUGHT_UP_MS {
                lags.caught_up = true;
                lags.ms.clear();
            }
            if lags.ms.len() == LAG_SAMPLES {
                lags.ms.pop_front();
            }
            lags.ms.push_back(lag_ms);
        }
    }
}

impl TopologyStatus {
    fn new(slices: Vec<Arc<Topology>>, models: Models, speed: f64) -> TopologyStatus {
        TopologyStatus {
            slices,
            board: Board::default(),
            models,
            started_ms: now_ms(),
            speed,
            model_state: Mutex::new(MISSING.into()),
            rates: Mutex::default(),
            lags: Mutex::default(),
        }
    }

    fn model(&self) -> Option<&str> {
        self.slices.iter().find_map(|t| t.models.first()).map(String::as_str)
    }

    fn state_of_model(&self) -> String {
        self.model_state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wall-clock milliseconds by which the watermark (without its delay) of the last slice is behind event-time now. It has
    /// come through all others; theirs may stand for long where nothing but references is read.
    fn lag_ms(&self, event_now_ms: i64) -> Option<u64> {
        let watermark_ms = self.board.watermark_of(self.slices.len().saturating_sub(1) as u32)?;
        let delay_ms = self
            .slices
            .iter()
            .flat_map(|t| &t.inputs)
            .map(|i| i.time.watermark_delay_ms + (i.time.watermark_delay_ms / 4).clamp(1_000, 300_000))
            .max()
            .unwrap_or(0);
        let behind = (event_now_ms - watermark_ms - delay_ms).max(0);
        Some((behind as f64 / self.speed) as u64)
    }

    fn lag_p99_ms(&self) -> Option<u64> {
        let mut lags: Vec<u64> = self.lags.lock().unwrap_or_else(PoisonError::into_inner).ms.iter().copied().collect();
        lags.sort_unstable();
        let last = lags.len().checked_sub(1)?;
        lags.get((last as f64 * 0.99).ceil() as usize).copied()
    }

    fn rates(&self, events: u64, forecasts: u64) -> (Option<f64>, Option<f64>) {
        let mut r = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match r.last {
            None => r.last = Some((now, events, forecasts)),
            Some((at, e, f)) => {
                let dt_s = now.duration_since(at).as_secs_f64();
                if dt_s >= 1.0 {
                    r.events_per_s = Some(events.saturating_sub(e) as f64 / dt_s);
                    r.forecasts_per_s = Some(forecasts.saturating_sub(f) as f64 / dt_s);
                    r.last = Some((now, events, forecasts));
                }
            }
        }
        (r.events_per_s, r.forecasts_per_s)
    }

    fn kind(&self, id: &str) -> &'static str {
        match self.slices.iter().flat_map(|t| &t.stages).find(|x| x.id == id).map(|x| &x.op) {
            None if self.slices.iter().any(|t| t.rekeys.iter().any(|r| r.id == id)) => "rekey",
            None => "source",
            Some(OpSpec::Select { .. }) => "select",
            Some(OpSpec::Each { .. }) => "each",
            Some(OpSpec::Dedup { .. }) => "dedup",
            Some(OpSpec::Join { .. }) => "join",
            Some(OpSpec::Window { .. } | OpSpec::Since { .. }) => "window",
            Some(OpSpec::Changed { .. }) => "changed",
            Some(OpSpec::Infer(_)) => "infer",
            Some(OpSpec::Absence(_)) => "absence",
            Some(OpSpec::Apply(_)) => "apply",
            Some(OpSpec::Optimize(_)) => "optimize",
        }
    }

    /// Rows that went to each sink: what its stages emitted.
    fn outputs(&self, s: &WorkerStatus) -> Vec<OutputStatus> {
        let emitted = |id: &str| s.counts.iter().find(|(i, _)| i == id).map_or(0, |(_, c)| c.emitted);
        let mut all = Vec::new();
        for t in &self.slices {
            for sink in &t.sinks {
                let of = |from: &From| match from {
                    From::Input(i) => emitted(&t.inputs[*i].id),
                    From::Stage(i) => emitted(&t.stages[*i].id),
                };
                all.push(OutputStatus { topic: sink.topic.to_string(), rows: sink.from.iter().map(of).sum() });
            }
        }
        all
    }

    fn status(&self, event_now_ms: i64) -> PipelineStatus {
        let s = self.board.summary();
        let forecasts = s.rungs.values().sum();
        let (events_per_s, forecasts_per_s) = self.rates(s.records, forecasts);
        let stages: Vec<StageStatus> = s
            .counts
            .iter()
            .map(|(id, c)| StageStatus {
                id: id.clone(),
                kind: self.kind(id).into(),
                rows_in: c.input,
                folded: c.folded,
                emitted: c.emitted,
                filtered: c.filtered,
                duplicate: c.duplicate,
                unmatched: c.unmatched,
                late: c.late,
                dead: c.dead,
                pending: c.pending,
            })
            .collect();
        let model = self.model().map(|name| ModelStatus {
            name: name.to_string(),
            version: self.models.version(name),
            state: if self.models.version(name).is_some() { "ready".into() } else { self.state_of_model() },
            trained_ms: None,
        });
        PipelineStatus {
            topology: self.slices.first().map_or_else(String::new, |t| t.name.to_string()),
            started_ms: Some(self.started_ms),
            watermark_ms: s.watermark_ms,
            events_total: s.records,
            events_per_s,
            lag_ms: self.lag_ms(event_now_ms),
            lag_p99_ms: self.lag_p99_ms(),
            lag_rows: s.lag_records.map(|n| n.max(0) as u64),
            forecasts_total: forecasts,
            forecasts_per_s,
            late_total: stages.iter().map(|x| x.late).sum(),
            dead_total: stages.iter().map(|x| x.dead + x.unmatched).sum(),
            stages,
            outputs: self.outputs(&s),
            sources: Vec::new(),
            rungs: RUNGS.iter().filter_map(|r| s.rungs.get(r).map(|n| RungStatus { rung: (*r).into(), answers: *n, p99_ms: None })).collect(),
            model,
            commits: CommitStatus {
                committed: s.commits[0],
                aborted: s.commits[1],
                resolved: s.commits[2],
                p50_ms: s.commit_quantile_ms(0.5),
                p99_ms: s.commit_quantile_ms(0.99),
                last_ms: None,
            },
        }
    }
}

impl Status for ProcessStatus {
    fn pipeline(&self) -> PipelineStatus {
        self.topologies.first().map(|t| t.status(self.event_now_ms())).unwrap_or_default()
    }

    fn pipelines(&self) -> Vec<PipelineStatus> {
        self.topologies.iter().map(|t| t.status(self.event_now_ms())).collect()
    }

    fn models(&self) -> ModelsStatus {
        let state_of = |name: &str| self.topologies.iter().find(|t| t.model() == Some(name)).map(TopologyStatus::state_of_model);
        let of = |name: &str| {
            let version = self.models.version(name);
            let state = if version.is_some() { "ready".into() } else { state_of(name).unwrap_or_else(|| MISSING.into()) };
            ModelStatus { name: name.into(), version, state, trained_ms: None }
        };
        ModelsStatus { models: MODELS.map(of).to_vec(), ..self.scores.status() }
    }

    fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        for t in &self.topologies {
            let (s, name) = (t.board.summary(), t.slices.first().map_or("", |t| &*t.name));
            reasons.extend(s.stopped.iter().map(|(task, e)| format!("{name}: task {task} is stopped: {e}")));
            if !s.ready {
                reasons.push(format!("{name}: {}", s.waiting_for));
            }
        }
        if reasons.is_empty() { Readiness::ready() } else { Readiness::waiting(reasons) }
    }

    fn event_now_ms(&self) -> i64 {
        match self.event_now_ms.load(Ordering::Relaxed) {
            0 => now_ms(),
            t => t,
        }
    }
}
