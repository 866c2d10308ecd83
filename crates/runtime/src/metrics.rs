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

/// Labels of scores: targets and rungs are few, versions stand in `/v1/models` alone.
const MODEL_LABELS: &[&str] = &["target", "rung", "window"];

/// A score of predictions in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelScore {
    /// Mean absolute error.
    AbsoluteError,
    /// Mean of said less actual.
    Bias,
    /// What a naive forecast has.
    BaselineError,
    /// Share within p10 to p90.
    Coverage,
    /// Mean pinball loss.
    Pinball,
    /// Brier score.
    Brier,
    /// Logarithmic loss.
    LogLoss,
    /// Expected calibration error.
    CalibrationError,
    /// Area under the ROC curve.
    Auc,
}

impl ModelScore {
    fn name(self) -> &'static str {
        match self {
            ModelScore::AbsoluteError => "ws_model_absolute_error",
            ModelScore::Bias => "ws_model_bias",
            ModelScore::BaselineError => "ws_model_baseline_error",
            ModelScore::Coverage => "ws_model_coverage_ratio",
            ModelScore::Pinball => "ws_model_pinball_loss",
            ModelScore::Brier => "ws_model_brier_score",
            ModelScore::LogLoss => "ws_model_log_loss",
            ModelScore::CalibrationError => "ws_model_calibration_error_ratio",
            ModelScore::Auc => "ws_model_auc_ratio",
        }
    }
}

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
    ("ws_model_outcomes_total", Kind::Counter, Unit::Count, &["target", "outcome"], "Predictions by how they ended: labelled, censored or expired"),
    (
        "ws_model_scored_rows",
        Kind::Gauge,
        Unit::Count,
        &["target", "rung", "window"],
        "Labels that the window's scores rest on; window is 24h, 7d or 28d of event time, rung all or the one that answered; the same labels stand on all ws_model_* scores",
    ),
    ("ws_model_absolute_error", Kind::Gauge, Unit::Count, MODEL_LABELS, "Mean absolute error of the median, in the target's unit"),
    ("ws_model_bias", Kind::Gauge, Unit::Count, MODEL_LABELS, "Mean of median less actual, in the target's unit"),
    (
        "ws_model_baseline_error",
        Kind::Gauge,
        Unit::Count,
        MODEL_LABELS,
        "The naive forecast's mean absolute error, or for probabilities the Brier score of the window's base rate",
    ),
    ("ws_model_coverage_ratio", Kind::Gauge, Unit::Count, MODEL_LABELS, "Share of what came that lies within p10 to p90; 0.8 is wanted"),
    ("ws_model_pinball_loss", Kind::Gauge, Unit::Count, MODEL_LABELS, "Mean pinball loss of p10, p50 and p90, in the target's unit"),
    ("ws_model_brier_score", Kind::Gauge, Unit::Count, MODEL_LABELS, "Brier score of a probability"),
    ("ws_model_log_loss", Kind::Gauge, Unit::Count, MODEL_LABELS, "Logarithmic loss of a probability, natural logarithm"),
    ("ws_model_calibration_error_ratio", Kind::Gauge, Unit::Count, MODEL_LABELS, "Expected calibration error of a probability, ten groups"),
    ("ws_model_auc_ratio", Kind::Gauge, Unit::Count, MODEL_LABELS, "Area under the ROC curve of a probability; with at least ten of each class"),
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

/// How many predictions of a target ended labelled, censored, expired.
pub fn model_outcomes(target: &str, totals: [u64; 3]) {
    for (outcome, total) in ["labelled", "censored", "expired"].into_iter().zip(totals) {
        counter!("ws_model_outcomes_total", "target" => target.to_string(), "outcome" => outcome).absolute(total);
    }
}

/// Scores of a target's predictions in a window; what cannot be said is left as it was: the number of rows tells.
pub fn model_score(target: &str, rung: &str, window: &'static str, rows: u64, scores: &[(ModelScore, Option<f64>)]) {
    let labels = [("target", target.to_string()), ("rung", rung.to_string()), ("window", window.to_string())];
    gauge!("ws_model_scored_rows", &labels).set(rows as f64);
    for (score, value) in scores {
        if let Some(value) = value {
            gauge!(score.name(), &labels).set(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_is_in_the_specification_with_its_labels() {
        use ModelScore::*;
        for score in [AbsoluteError, Bias, BaselineError, Coverage, Pinball, Brier, LogLoss, CalibrationError, Auc] {
            let found = SPECIFICATION.iter().find(|m| m.0 == score.name());
            assert!(found.is_some_and(|m| m.1 == Kind::Gauge && m.3 == MODEL_LABELS), "{}", score.name());
        }
        let mut names: Vec<&str> = SPECIFICATION.iter().map(|m| m.0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SPECIFICATION.len(), "a name stands once");
    }
}
