//! The one specification of metric names. Everything is recorded through the functions here, so that dashboards,
//! alert rules and code cannot drift apart; [`SPECIFICATION`] is what documents and exporters are made from.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;
use ws_stream::log::Outcome;

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets.
    Histogram,
}

/// One metric: name, kind, unit, labels, meaning.
pub type Metric = (&'static str, Kind, Unit, &'static [&'static str], &'static str);

/// Upper bounds of the histograms in seconds.
pub const SECONDS_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Every metric of the engine.
pub const SPECIFICATION: &[Metric] = &[
    (
        "ws_stage_rows_total",
        Kind::Counter,
        Unit::Count,
        &["topology", "stage", "result"],
        "Rows by stage and what became of them; result is input, folded, emitted, filtered, duplicate, unmatched, late, dead or made; was_idle is the part of late whose partition had been taken for idle",
    ),
    ("ws_stage_pending_rows", Kind::Gauge, Unit::Count, &["topology", "stage"], "Rows waiting in an asynchronous stage"),
    ("ws_commit_seconds", Kind::Histogram, Unit::Seconds, &["outcome"], "Time of a transaction from begin to its end"),
    ("ws_commit_epochs_total", Kind::Counter, Unit::Count, &["outcome"], "Task epochs by how their transaction ended"),
    ("ws_commit_records_total", Kind::Counter, Unit::Count, &["outcome"], "Records appended by transactions"),
    ("ws_predict_seconds", Kind::Histogram, Unit::Seconds, &["model", "result"], "Time of a predictor call"),
    ("ws_predict_rows_total", Kind::Counter, Unit::Count, &["model", "result"], "Rows asked of a predictor"),
    ("ws_rung_rows_total", Kind::Counter, Unit::Count, &["topology", "rung"], "Predictions by the rung that answered"),
    ("ws_watermark_ms", Kind::Gauge, Unit::Milliseconds, &["topology"], "Lowest watermark of the tasks owned, UTC ms"),
    ("ws_input_lag_records", Kind::Gauge, Unit::Count, &["topology"], "Input records not consumed yet by the tasks owned"),
    ("ws_tasks_running", Kind::Gauge, Unit::Count, &["topology"], "Tasks running in this process"),
    ("ws_tasks_stopped_total", Kind::Counter, Unit::Count, &["topology"], "Tasks stopped by an error"),
    ("ws_state_rows", Kind::Gauge, Unit::Count, &["topology"], "State rows of the tasks owned"),
    ("ws_state_bytes", Kind::Gauge, Unit::Bytes, &["topology"], "Rough bytes of state of the tasks owned"),
    ("ws_table_rejected_rows_total", Kind::Counter, Unit::Count, &["topic"], "Rows of global tables that could not be taken"),
];

/// Registers descriptions with the exporter in place.
pub fn describe() {
    for (name, kind, unit, _, help) in SPECIFICATION {
        match kind {
            Kind::Counter => describe_counter!(*name, *unit, *help),
            Kind::Gauge => describe_gauge!(*name, *unit, *help),
            Kind::Histogram => describe_histogram!(*name, *unit, *help),
        }
    }
}

pub(crate) fn commit(outcome: &Outcome, took: Duration, epochs: usize, records: usize) {
    let outcome = match outcome {
        Outcome::Committed => "committed",
        Outcome::Aborted(_) => "aborted",
        Outcome::Unknown(_) => "unknown",
    };
    histogram!("ws_commit_seconds", "outcome" => outcome).record(took);
    counter!("ws_commit_epochs_total", "outcome" => outcome).increment(epochs as u64);
    counter!("ws_commit_records_total", "outcome" => outcome).increment(records as u64);
}

pub(crate) fn predicted(model: &str, ok: bool, rows: usize, took: Duration) {
    let result = if ok { "ok" } else { "failed" };
    histogram!("ws_predict_seconds", "model" => model.to_string(), "result" => result).record(took);
    counter!("ws_predict_rows_total", "model" => model.to_string(), "result" => result).increment(rows as u64);
}

pub(crate) fn rung(topology: &str, rung: &'static str, total: u64) {
    counter!("ws_rung_rows_total", "topology" => topology.to_string(), "rung" => rung).absolute(total);
}

pub(crate) fn stage(topology: &str, stage: &str, c: &ws_stream::operator::Counts) {
    let rows = [
        ("input", c.input),
        ("folded", c.folded),
        ("emitted", c.emitted),
        ("filtered", c.filtered),
        ("duplicate", c.duplicate),
        ("unmatched", c.unmatched),
        ("late", c.late),
        ("dead", c.dead),
        ("made", c.made),
        ("was_idle", c.was_idle),
    ];
    for (result, n) in rows {
        counter!("ws_stage_rows_total", "topology" => topology.to_string(), "stage" => stage.to_string(), "result" => result).absolute(n);
    }
    gauge!("ws_stage_pending_rows", "topology" => topology.to_string(), "stage" => stage.to_string()).set(c.pending as f64);
}

pub(crate) fn process(topology: &str, watermark_ms: i64, lag: Option<i64>, tasks: usize, state: (usize, usize)) {
    let topology = topology.to_string();
    if watermark_ms != i64::MIN {
        gauge!("ws_watermark_ms", "topology" => topology.clone()).set(watermark_ms as f64);
    }
    if let Some(lag) = lag {
        gauge!("ws_input_lag_records", "topology" => topology.clone()).set(lag as f64);
    }
    gauge!("ws_tasks_running", "topology" => topology.clone()).set(tasks as f64);
    gauge!("ws_state_rows", "topology" => topology.clone()).set(state.0 as f64);
    gauge!("ws_state_bytes", "topology" => topology).set(state.1 as f64);
}

pub(crate) fn task_stopped(topology: &str) {
    counter!("ws_tasks_stopped_total", "topology" => topology.to_string()).increment(1);
}

pub(crate) fn table_rejected(topic: &str, rows: usize) {
    counter!("ws_table_rejected_rows_total", "topic" => topic.to_string()).increment(rows as u64);
}
