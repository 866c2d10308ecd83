//! What runs, told three ways: to the API, to `wastestream status`, and as the demo's line.

use crate::{Failure, data_folder, endpoint};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;
use ws_api::Status;
use ws_api::status::{CommitStatus, ModelStatus, PipelineStatus, Readiness, RungStatus, StageStatus};
use ws_runtime::models::Models;
use ws_runtime::now_ms;
use ws_runtime::status::{Board, WorkerStatus};
use ws_stream::spec::{OpSpec, Topology};

/// Order in which rungs are shown.
const RUNGS: [&str; 5] = ["model", "cached", "heuristic", "simplified", "manual"];

/// Implements the API's status from the board.
pub struct EngineStatus {
    board: Board,
    slices: Vec<Arc<Topology>>,
    models: Models,
    started_ms: i64,
    /// Simulated time; 0: the wall clock counts.
    pub event_now_ms: AtomicI64,
    /// Wall-clock milliseconds per event-time millisecond for lag: the demo's speed.
    pub speed: f64,
    /// State of the model, in words: ready, training, missing, failed.
    pub model_state: Mutex<String>,
    rates: Mutex<Rates>,
}

#[derive(Default)]
struct Rates {
    last: Option<(Instant, u64, u64)>,
    events_per_s: Option<f64>,
    forecasts_per_s: Option<f64>,
}

impl EngineStatus {
    /// Over a board.
    pub fn new(board: Board, slices: Vec<Arc<Topology>>, models: Models, speed: f64) -> EngineStatus {
        EngineStatus {
            board,
            slices,
            models,
            started_ms: now_ms(),
            event_now_ms: AtomicI64::new(0),
            speed,
            model_state: Mutex::new("missing".into()),
            rates: Mutex::new(Rates::default()),
        }
    }

    /// Sets the model's state.
    pub fn set_model_state(&self, state: &str) {
        *self.model_state.lock().unwrap_or_else(PoisonError::into_inner) = state.to_string();
    }

    /// Wall-clock milliseconds by which the watermark (without its delay) is behind event-time now.
    pub fn lag_ms(&self, s: &WorkerStatus) -> Option<u64> {
        let delay = self
            .slices
            .iter()
            .flat_map(|t| &t.inputs)
            .map(|i| i.time.watermark_delay_ms + (i.time.watermark_delay_ms / 4).clamp(1_000, 300_000))
            .max()
            .unwrap_or(0);
        let behind = (self.event_now_ms() - s.watermark_ms? - delay).max(0);
        Some((behind as f64 / self.speed) as u64)
    }

    /// Sums up a board.
    pub fn summary(&self) -> WorkerStatus {
        self.board.summary()
    }

    fn forecasts(s: &WorkerStatus) -> u64 {
        s.rungs.values().sum()
    }
}

impl Status for EngineStatus {
    fn pipeline(&self) -> PipelineStatus {
        let s = self.summary();
        let events = s.records;
        let forecasts = Self::forecasts(&s);
        let (events_per_s, forecasts_per_s) = {
            let mut r = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if let Some((at, e, f)) = r.last {
                let dt = now.duration_since(at).as_secs_f64();
                if dt >= 1.0 {
                    r.events_per_s = Some(events.saturating_sub(e) as f64 / dt);
                    r.forecasts_per_s = Some(forecasts.saturating_sub(f) as f64 / dt);
                    r.last = Some((now, events, forecasts));
                }
            } else {
                r.last = Some((now, events, forecasts));
            }
            (r.events_per_s, r.forecasts_per_s)
        };
        let kind = |id: &str| match self.slices.iter().flat_map(|t| &t.stages).find(|x| x.id == id).map(|x| &x.op) {
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
        };
        let stages: Vec<StageStatus> = s
            .counts
            .iter()
            .map(|(id, c)| StageStatus {
                id: id.clone(),
                kind: kind(id).into(),
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
        let model = self.slices.iter().find_map(|t| t.models.first()).map(|name| ModelStatus {
            name: name.clone(),
            version: self.models.version(name),
            state: if self.models.version(name).is_some() { "ready".into() } else { self.model_state.lock().unwrap_or_else(PoisonError::into_inner).clone() },
            trained_ms: None,
        });
        PipelineStatus {
            topology: self.slices.first().map_or_else(String::new, |t| t.name.to_string()),
            started_ms: Some(self.started_ms),
            watermark_ms: s.watermark_ms,
            events_total: events,
            events_per_s,
            lag_ms: self.lag_ms(&s),
            lag_rows: s.lag_records.map(|n| n.max(0) as u64),
            forecasts_total: forecasts,
            forecasts_per_s,
            late_total: stages.iter().map(|x| x.late).sum(),
            dead_total: stages.iter().map(|x| x.dead + x.unmatched).sum(),
            stages,
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

    fn readiness(&self) -> Readiness {
        let s = self.summary();
        let mut reasons: Vec<String> = s.stopped.iter().map(|(t, e)| format!("task {t} is stopped: {e}")).collect();
        if !s.ready {
            reasons.push(s.waiting_for);
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

/// `wastestream status`.
#[derive(Args)]
pub struct StatusArgs {
    /// Data folder of the process
    #[arg(long, env = "WS_DATA")]
    data: Option<PathBuf>,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
}

/// Asks the process that owns a data folder.
pub fn run(args: &StatusArgs) -> Result<(), Failure> {
    let data = data_folder(args.data.clone());
    let found = endpoint::find(&data).ok_or_else(|| {
        format!("no process serves {}: start one with `wastestream demo` or `wastestream run`, or name its folder with --data", data.display())
    })?;
    let url = format!("{}/v1/pipeline", found.url);
    let text = ureq::get(&url).call().map_err(|e| format!("{url}: {e}; process {} may have died: start it again", found.pid))?.body_mut().read_to_string()?;
    if args.json {
        println!("{text}");
        return Ok(());
    }
    let mut answer: serde_json::Value = serde_json::from_str(&text)?;
    let p: PipelineStatus = serde_json::from_value(answer["pipeline"].take())?;
    println!("{}  pid {}  {}", p.topology, found.pid, found.url);
    println!(
        "{:<14} {:<8} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8}",
        "stage", "kind", "in", "emitted", "folded", "filtered", "duplicate", "unmatched", "late", "dead", "pending"
    );
    for s in &p.stages {
        println!(
            "{:<14} {:<8} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8}",
            s.id, s.kind, s.rows_in, s.emitted, s.folded, s.filtered, s.duplicate, s.unmatched, s.late, s.dead, s.pending
        );
    }
    let ms = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.1}"));
    println!(
        "commits {}  aborted {}  resolved {}  p50 {} ms  p99 {} ms",
        p.commits.committed,
        p.commits.aborted,
        p.commits.resolved,
        ms(p.commits.p50_ms),
        ms(p.commits.p99_ms)
    );
    Ok(())
}
