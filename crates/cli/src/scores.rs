//! Live accuracy: follows `prediction.outcome` and folds it into scores ([`ws_models::live`]), which `/v1/models` and the metrics
//! tell. Nothing is kept: a process that starts reads the topic again, as far back as the longest window needs.

use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use ws_api::status::ModelsStatus;
use ws_log::registry::Registry;
use ws_models::live::{LiveScore, LiveScores, OutcomeRow};
use ws_runtime::metrics::{ModelScore, model_outcomes, model_score};
use ws_stream::log::{Log, LogError, TopicPartition};

/// What is followed.
pub const TOPIC: &str = "prediction.outcome";
/// Wait for records.
const POLL_MS: u64 = 250;
/// Wait for a topic that nobody has made yet, or a log that is away.
const RETRY: Duration = Duration::from_secs(1);
/// Metrics are written so often.
const TELL: Duration = Duration::from_secs(2);

/// Scores that others may read while they are followed. Clones share them.
#[derive(Clone, Default)]
pub struct Scores {
    live: Arc<Mutex<LiveScores>>,
}

/// Why a record is not taken.
fn row(value: &Value) -> Option<OutcomeRow> {
    let text = |name: &str| value.get(name)?.as_str().map(str::to_string);
    let number = |name: &str| value.get(name).and_then(Value::as_f64);
    Some(OutcomeRow {
        topic: text("prediction_topic")?,
        target: text("target")?,
        outcome: text("outcome")?,
        settled_ms: value.get("observed_at")?.as_i64()?,
        predicted: [number("predicted_p10"), number("predicted_p50"), number("predicted_p90")],
        actual: number("actual"),
        baseline: number("baseline"),
        weight: number("weight").unwrap_or(1.0),
        rung: text("rung")?,
        model_version: text("model_version")?,
    })
}

impl Scores {
    /// Takes a row of `prediction.outcome` as JSON; tells whether it is one.
    pub fn take(&self, value: &Value) -> bool {
        let Some(row) = row(value) else { return false };
        self.live.lock().unwrap_or_else(PoisonError::into_inner).add(&row);
        true
    }

    /// The scores as the API tells them, without the models in use.
    pub fn status(&self) -> ModelsStatus {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
        ModelsStatus {
            models: Vec::new(),
            scores: live.scores().iter().map(|score| json(serde_json::to_value(score))).collect(),
            outcomes: live.counts().iter().map(|counts| json(serde_json::to_value(counts))).collect(),
            newest_ms: live.newest_ms(),
        }
    }

    /// Writes the metrics: of all versions together, per rung.
    fn tell(&self, told: &mut BTreeSet<(String, String, &'static str)>) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for c in live.counts() {
            model_outcomes(&c.target, [c.labelled, c.censored, c.expired]);
        }
        let mut gone = std::mem::take(told);
        for s in live.scores().iter().filter(|s| s.model_version == ws_models::live::ALL) {
            let labels = (s.target.clone(), s.rung.clone(), s.window);
            gone.remove(&labels);
            told.insert(labels);
            model_score(&s.target, &s.rung, s.window, s.scored, &figures(s));
        }
        for (target, rung, window) in gone {
            model_score(&target, &rung, window, 0, &[]);
        }
    }

    /// Follows the topic on a thread of its own until `stop`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn follow(&self, log: Arc<dyn Log>, registry: Arc<Registry>, stop: Arc<AtomicBool>) -> std::io::Result<JoinHandle<()>> {
        let scores = self.clone();
        std::thread::Builder::new().name("scores".into()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // What was folded stays; positions are asked anew, so nothing may be taken twice.
                *scores.live.lock().unwrap_or_else(PoisonError::into_inner) = LiveScores::default();
                match scores.read(log.as_ref(), &registry, &stop) {
                    Ok(()) => {}
                    Err(LogError::NoTopic(_)) => std::thread::sleep(RETRY),
                    Err(e) => {
                        tracing::warn!(error = %e, "{TOPIC} cannot be followed; trying again");
                        std::thread::sleep(RETRY);
                    }
                }
            }
        })
    }

    fn read(&self, log: &dyn Log, registry: &Registry, stop: &AtomicBool) -> Result<(), LogError> {
        let mut admin = log.admin()?;
        let Some(info) = admin.topic(TOPIC)? else { return Err(LogError::NoTopic(TOPIC.into())) };
        let mut reader = log.reader()?;
        for partition in 0..info.partitions {
            let at = TopicPartition::new(TOPIC, partition);
            let start = admin.start(&at)?;
            reader.add(&at, start)?;
        }
        let (mut told, mut labels, mut refused) = (None::<Instant>, BTreeSet::new(), 0u64);
        while !stop.load(Ordering::Relaxed) {
            for (at, records) in reader.poll(POLL_MS)? {
                for i in 0..records.rows.len() {
                    let taken = records.value(i).and_then(|value| registry.decode_to_json(value).ok()).is_some_and(|value| self.take(&value));
                    refused += u64::from(!taken);
                    if !taken && refused.is_power_of_two() {
                        tracing::warn!(source = %at, offset = records.rows[i].offset, refused, "an outcome cannot be read");
                    }
                }
            }
            if told.is_none_or(|at| at.elapsed() >= TELL) {
                told = Some(Instant::now());
                self.tell(&mut labels);
            }
        }
        Ok(())
    }
}

/// Scores by the names of their metrics.
fn figures(s: &LiveScore) -> [(ModelScore, Option<f64>); 9] {
    [
        (ModelScore::AbsoluteError, s.mae),
        (ModelScore::Bias, s.bias),
        (ModelScore::BaselineError, s.baseline_mae.or(s.baseline_brier)),
        (ModelScore::Coverage, s.coverage),
        (ModelScore::Pinball, s.pinball),
        (ModelScore::Brier, s.brier),
        (ModelScore::LogLoss, s.log_loss),
        (ModelScore::CalibrationError, s.calibration_error),
        (ModelScore::Auc, s.auc),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plans;
    use serde_json::json;
    use ws_log::embedded::{EmbeddedConfig, EmbeddedLog};
    use ws_stream::log::TopicSpec;
    use ws_stream::records::Appends;

    fn outcome(i: i64) -> Value {
        json!({"tenant": "t", "event_id": format!("p{i}/level_24h"), "observed_at": i * 60_000, "sent_at": 0, "received_at": 0, "source": "outcome", "schema_version": 2,
            "prediction_id": format!("p{i}"), "prediction_topic": "bin.forecast", "subject_id": "d1", "target": "level_24h", "outcome": "labelled",
            "predicted_at": 0, "resolved_at": 0, "predicted_p10": 0.4, "predicted_p50": 0.5, "predicted_p90": 0.6, "actual": 0.55, "weight": 1.0,
            "baseline": 0.3, "rung": "model", "model_version": "v1"})
    }

    #[test]
    fn outcomes_in_the_log_become_scores_and_what_is_no_outcome_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"))).unwrap();
        let registry = plans::registry(None).unwrap();
        let (scores, stop, log) = (Scores::default(), Arc::new(AtomicBool::new(false)), Arc::new(log) as Arc<dyn Log>);
        let following = scores.follow(log.clone(), registry.clone(), stop.clone()).unwrap();
        // Nobody has made the topic yet: it is waited for.
        std::thread::sleep(Duration::from_millis(50));
        log.admin().unwrap().create(&[TopicSpec { name: TOPIC.into(), partitions: 2, config: Vec::new() }]).unwrap();
        let mut append = log.appender().unwrap();
        let mut batch = Appends::new(TOPIC.into());
        for i in 0..100 {
            let value = registry.encode_json_value(TOPIC, &outcome(i)).unwrap();
            batch.push((i % 2) as u32, i, Some(b"p"), Some(&value), &[]);
        }
        batch.push(0, 0, Some(b"p"), Some(b"poison"), &[]);
        append.append(&[batch]).unwrap();
        let began = Instant::now();
        let told = || scores.status().outcomes.first().map_or(0, |o| o["labelled"].as_u64().unwrap());
        while told() < 100 && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        following.join().unwrap();
        let status = scores.status();
        assert_eq!((told(), status.newest_ms), (100, Some(99 * 60_000)));
        let day = status.scores.iter().find(|s| s["window"] == "24h" && s["rung"] == "model").unwrap();
        assert!((day["mae"].as_f64().unwrap() - 0.05).abs() < 1e-9 && day["coverage"] == 1.0 && day["scored"] == 100, "{day}");
        assert!(day["skill"].as_f64().unwrap() > 0.7 && day["brier"].is_null());
        assert!(!scores.take(&json!({"target": "level_24h"})), "a row without its columns is refused");
    }
}
