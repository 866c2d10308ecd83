//! The `outcome` operator: rows that are facts go into their subject's book ([`ws_models::outcome`]); rows that are
//! predictions, put when their moment has settled, come out as rows of `prediction.outcome`. Which row is what, the
//! topology says in `kind`.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_models::outcome::{Book, End, Ended, Fact, Prediction, Question, Rules};
use ws_stream::custom::{Cell, CustomContract, CustomError, CustomOp, KeyContext};

/// Its name in topologies.
pub const OPERATOR: &str = "outcome";
/// What `kind` may say.
const KINDS: &str = "prediction, reading, silent, came, ended, treated or heard";
const HOUR_MS: f64 = 3_600_000.0;

/// Columns that it needs: of predictions, of facts, or of both.
fn inputs() -> Vec<(String, DataType)> {
    let texts = ["kind", "tenant", "event_id", "prediction_id", "prediction_topic", "target", "place", "reason", "rung", "model_version"];
    let numbers = ["p10", "p50", "p90", "level", "baseline", "interval_s"];
    let of = |names: &[&str], t: DataType| names.iter().map(|n| (n.to_string(), t.clone())).collect::<Vec<_>>();
    let mut all = of(&texts, DataType::Utf8);
    all.extend(of(&numbers, DataType::Float64));
    all.extend(of(&["until_at", "happened_at", "emptied_at"], DataType::Int64));
    all.extend(of(&["holdout"], DataType::Boolean));
    all
}

/// Columns that it makes: those of `prediction.outcome` but the subject, which is the key.
fn outputs() -> Schema {
    use DataType::{Boolean, Float64, Int64, Utf8};
    let must = |name: &str, t: DataType| Field::new(name, t, false);
    let may = |name: &str, t: DataType| Field::new(name, t, true);
    Schema::new(vec![
        must("tenant", Utf8),
        must("event_id", Utf8),
        must("observed_at", Int64),
        must("prediction_id", Utf8),
        must("prediction_topic", Utf8),
        must("target", Utf8),
        must("outcome", Utf8),
        may("censor_reason", Utf8),
        must("predicted_at", Int64),
        must("resolved_at", Int64),
        may("predicted_p10", Float64),
        may("predicted_p50", Float64),
        may("predicted_p90", Float64),
        may("actual", Float64),
        may("error", Float64),
        may("covered", Boolean),
        may("baseline", Float64),
        must("weight", Float64),
        must("holdout", Boolean),
        must("rung", Utf8),
        must("model_version", Utf8),
        may("label_event_id", Utf8),
    ])
}

/// The contract with these settings, if this is the operator meant.
pub fn contract(operator: &str, with: &BTreeMap<String, String>) -> Option<Result<CustomContract, String>> {
    (operator == OPERATOR).then(|| OutcomeOp::new(with).map(|_| CustomContract { inputs: inputs(), outputs: Arc::new(outputs()) }))
}

/// The operator with these settings.
///
/// # Errors
/// When a setting is unknown or unusable; the text names it.
pub fn operator(with: &BTreeMap<String, String>) -> Result<Box<dyn CustomOp>, String> {
    Ok(Box::new(OutcomeOp::new(with)?))
}

/// Predictions and facts of one subject after another.
#[derive(Debug)]
struct OutcomeOp {
    rules: Rules,
    /// Question of each target.
    questions: BTreeMap<String, Question>,
}

impl OutcomeOp {
    fn new(with: &BTreeMap<String, String>) -> Result<OutcomeOp, String> {
        let (mut rules, mut questions) = (Rules::default(), BTreeMap::new());
        for (name, text) in with {
            let number =
                || text.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0).ok_or_else(|| format!("`{name}: {text}` is not a number of 0 or more"));
            let hours = || number().map(|v| (v * HOUR_MS) as i64);
            match name.as_str() {
                "levels" | "overflows" | "events" => {
                    let question = match name.as_str() {
                        "levels" => Question::Level,
                        "overflows" => Question::Overflow,
                        _ => Question::Event,
                    };
                    questions.extend(text.split_whitespace().map(|target| (target.to_string(), question)));
                }
                "gap_h" => rules.gap_ms = hours()?,
                "quiet_h" => rules.quiet_ms = hours()?,
                "keep_h" => rules.keep_ms = hours()?,
                "recent_h" => rules.recent_ms = hours()?,
                "visit_tolerance_h" => rules.visit_tolerance_ms = hours()?,
                "full" => rules.full = number()?,
                "fall_by" => rules.fall_by = number()?,
                "fall_to" => rules.fall_to = number()?,
                _ => {
                    return Err(format!(
                        "there is no setting `{name}`; known are levels, overflows, events (targets), gap_h, quiet_h, keep_h, recent_h, visit_tolerance_h, full, fall_by, fall_to"
                    ));
                }
            }
        }
        if questions.is_empty() {
            return Err("no target is named: give levels, overflows or events, e.g. `levels: level_24h`".into());
        }
        Ok(OutcomeOp { rules, questions })
    }
}

/// One row of a batch.
struct Row<'a> {
    rows: &'a RecordBatch,
    i: usize,
}

impl Row<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        let column = self.rows.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(self.i).then(|| column.value(self.i))
    }
    fn number(&self, name: &str) -> Option<f64> {
        let column = self.rows.column_by_name(name)?.as_primitive_opt::<Float64Type>()?;
        column.is_valid(self.i).then(|| column.value(self.i)).filter(|v| v.is_finite())
    }
    fn time(&self, name: &str) -> Option<i64> {
        let column = self.rows.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
        column.is_valid(self.i).then(|| column.value(self.i))
    }
    fn flag(&self, name: &str) -> bool {
        self.rows.column_by_name(name).and_then(|c| c.as_boolean_opt()).is_some_and(|c| c.is_valid(self.i) && c.value(self.i))
    }
    fn must(&self, name: &str) -> Result<String, CustomError> {
        self.text(name).map(str::to_string).ok_or_else(|| CustomError(format!("`{name}` is null")))
    }

    fn prediction(&self, at_ms: i64, questions: &BTreeMap<String, Question>) -> Result<Prediction, CustomError> {
        let target = self.must("target")?;
        let question = *questions.get(&target).ok_or_else(|| CustomError(format!("no rule for target `{target}`; name it in levels, overflows or events")))?;
        let due_ms =
            self.time("until_at").filter(|due_ms| *due_ms >= at_ms).ok_or_else(|| CustomError("`until_at` is null or before the prediction".into()))?;
        Ok(Prediction {
            id: self.must("prediction_id")?,
            topic: self.must("prediction_topic")?,
            target,
            tenant: self.must("tenant")?,
            question,
            at_ms,
            due_ms,
            level: self.number("level"),
            quantiles: [self.number("p10"), self.number("p50"), self.number("p90")],
            baseline: self.number("baseline"),
            place: self.text("place").unwrap_or_default().to_string(),
            interval_ms: self.number("interval_s").map_or(0, |s| (s.clamp(0.0, 30.0 * 86_400.0) * 1e3) as i64),
            holdout: self.flag("holdout"),
            rung: self.must("rung")?,
            model_version: self.must("model_version")?,
        })
    }

    fn fact(&self, kind: &str) -> Result<Fact, CustomError> {
        Ok(match kind {
            "reading" => Fact::Reading {
                level: self.number("level").ok_or_else(|| CustomError("a reading without `level`".into()))?,
                place: self.text("place").unwrap_or_default().to_string(),
                emptied_ms: self.time("emptied_at"),
            },
            "silent" => Fact::Silent,
            "came" => Fact::Came,
            "ended" => Fact::Ended(self.must("reason")?),
            "treated" => Fact::Treated,
            "heard" => Fact::Heard,
            other => return Err(CustomError(format!("`kind` is {other}; known are {KINDS}"))),
        })
    }
}

fn cells(ended: &Ended, decided_ms: i64, rules: &Rules) -> Vec<Cell> {
    let of = &ended.of;
    let text = |t: &str| Cell::Text(t.to_string());
    let float = |v: Option<f64>| v.map_or(Cell::Null, Cell::Float);
    let (outcome, reason, by) = match &ended.end {
        End::Labelled { by, .. } => ("labelled", None, by.as_deref()),
        End::Censored { reason, by, .. } => ("censored", Some(reason.as_str()), by.as_deref()),
        End::Expired => ("expired", None, None),
    };
    vec![
        text(&of.tenant),
        Cell::Text(format!("{}/{}", of.id, of.target)),
        Cell::Int(decided_ms),
        text(&of.id),
        text(&of.topic),
        text(&of.target),
        text(outcome),
        reason.map_or(Cell::Null, text),
        Cell::Int(of.at_ms),
        Cell::Int(ended.at_ms),
        float(of.quantiles[0]),
        float(of.quantiles[1]),
        float(of.quantiles[2]),
        float(ended.actual()),
        float(ended.error()),
        ended.covered().map_or(Cell::Null, Cell::Bool),
        float(of.baseline),
        Cell::Float(ended.weight(rules)),
        Cell::Bool(of.holdout),
        text(&of.rung),
        text(&of.model_version),
        by.map_or(Cell::Null, text),
    ]
}

impl CustomOp for OutcomeOp {
    fn row(&mut self, cx: &mut KeyContext<'_>, rows: &RecordBatch, i: usize) -> Result<(), CustomError> {
        let row = Row { rows, i };
        let time_ms = ws_stream::batch::times(rows)[i];
        let at_ms = row.time("happened_at").unwrap_or(time_ms);
        let mut book = Book::read(cx.state).map_err(|e| CustomError(e.to_string()))?;
        match row.text("kind").unwrap_or_default() {
            "prediction" => {
                let ended = book.end(row.prediction(at_ms, &self.questions)?, time_ms, &self.rules);
                cx.emit(time_ms, cells(&ended, time_ms, &self.rules));
            }
            kind => {
                book.tell(at_ms, row.fact(kind)?, row.text("event_id").unwrap_or_default().to_string());
                book.forget(cx.watermark_ms, &self.rules);
                *cx.state = book.write();
                cx.set_timer(book.over_ms(&self.rules));
            }
        }
        Ok(())
    }

    fn timer(&mut self, cx: &mut KeyContext<'_>, due_ms: i64) -> Result<(), CustomError> {
        let mut book = Book::read(cx.state).map_err(|e| CustomError(e.to_string()))?;
        book.forget(due_ms, &self.rules);
        *cx.state = book.write();
        cx.set_timer(book.over_ms(&self.rules));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn settings_are_checked_by_name_and_value() {
        let error = |settings: &[(&str, &str)]| OutcomeOp::new(&with(settings)).unwrap_err();
        assert!(error(&[]).contains("no target"));
        assert!(error(&[("levels", "level_24h"), ("gap", "3")]).contains("`gap`"));
        assert!(error(&[("levels", "level_24h"), ("gap_h", "-3")]).contains("gap_h"));
        let op = OutcomeOp::new(&with(&[("levels", "level_6h level_24h"), ("overflows", "overflow"), ("gap_h", "0.5"), ("full", "0.9")])).unwrap();
        assert_eq!((op.rules.gap_ms, op.rules.full, op.questions.len()), (1_800_000, 0.9, 3));
        assert!(contract("something", &with(&[])).is_none());
        assert_eq!(contract(OPERATOR, &with(&[("events", "churn")])).unwrap().unwrap().outputs.fields().len(), cells(&ended(), 0, &Rules::default()).len());
    }

    fn ended() -> Ended {
        let of = Prediction {
            id: "p".into(),
            topic: "bin.forecast".into(),
            target: "level_24h".into(),
            tenant: "t".into(),
            question: Question::Level,
            at_ms: 0,
            due_ms: 10,
            level: None,
            quantiles: [None; 3],
            baseline: None,
            place: String::new(),
            interval_ms: 0,
            holdout: false,
            rung: "model".into(),
            model_version: "v".into(),
        };
        Ended { of, end: End::Expired, at_ms: 10 }
    }
}
