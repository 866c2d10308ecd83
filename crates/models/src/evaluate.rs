//! What a fill forecast is worth, beside what costs nothing: persistence (the level stays), a constant (the mean
//! increment of the training part) and the heuristic rung. Once for all rows and once without the ones a fault
//! touches (stuck, jumping or silent), always with the counts of what was censored or expired.

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use ws_inference::manifest::Decoder;
use ws_inference::{FillHeuristic, GbdtPredictor};
use ws_stream::predict::Predictor;

use crate::TrainError;
use crate::labels::{Outcome, OutcomeCounts};
use crate::metrics::{auc, average_precision, brier, concordance, mean, pinball, quantile};
use crate::questions::{AskOptions, Example, Questions, ask, values};

/// Rows compared in pairs for the concordance.
const CONCORDANCE_ROWS: usize = 1500;

/// What the training part's increments were, without looking at a row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Per horizon that has labels.
    pub horizons: Vec<BaselineHorizon>,
}

/// Increments of the training part at a horizon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineHorizon {
    /// Hours.
    pub hours: f64,
    /// Mean increment.
    pub mean: f64,
    /// p10, p50, p90 of the increments.
    pub quantiles: [f64; 3],
}

impl Baseline {
    /// From the rates per horizon of the training part.
    pub(crate) fn of(questions: &Questions, rates: impl Fn(usize) -> Vec<f64>) -> Self {
        let mut horizons = Vec::new();
        for (index, hours) in questions.horizons_h.iter().enumerate() {
            let mut increments: Vec<f64> = rates(index).into_iter().map(|rate| rate * hours).collect();
            if increments.is_empty() {
                continue;
            }
            let mean = mean(increments.iter().copied());
            let quantiles = [0.1, 0.5, 0.9].map(|share| quantile(&mut increments, share));
            horizons.push(BaselineHorizon { hours: *hours, mean, quantiles });
        }
        Self { horizons }
    }
}

/// Who was asked.
pub const FORECASTERS: [&str; 4] = ["model", "persistence", "constant", "heuristic"];

/// The account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Version of the model.
    pub model_version: String,
    /// First and last event time of the rows judged, UTC ms.
    pub from_ms: i64,
    /// See `from_ms`.
    pub to_ms: i64,
    /// Rows judged (a sample when there are many).
    pub examples: u64,
    /// Rows the model declined: in no figure.
    pub declined: u64,
    /// How the questions of *all* sampled rows ended, per horizon.
    pub outcomes: Vec<(f64, OutcomeCounts)>,
    /// The same for overflow before the visit.
    pub overflow_outcomes: OutcomeCounts,
    /// Falls of a level that no emptying explains; they end windows.
    pub unexplained_falls: u64,
    /// Levels, per horizon: with all rows, then without faulty ones.
    pub levels: Vec<LevelScore>,
    /// Overflow before the visit: with all rows, then without faulty ones.
    pub overflow: Vec<OverflowScore>,
    /// Hours to full.
    pub hours_to_full: TimeScore,
}

/// Scores at a horizon; arrays are in the order of [`FORECASTERS`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelScore {
    /// Hours ahead.
    pub horizon_h: f64,
    /// Rows that a fault touches are in.
    pub with_faults: bool,
    /// The model saw no label this far ahead: it carries its last rate on.
    pub extrapolated: bool,
    /// Rows.
    pub rows: u64,
    /// Mean absolute error of the middle forecast, level fraction.
    pub mae: [Option<f64>; 4],
    /// Pinball loss, mean of p10, p50, p90; a forecaster without quantiles repeats its only answer.
    pub pinball: [Option<f64>; 4],
    /// Share of truths within p10 to p90.
    pub coverage: [Option<f64>; 4],
}

/// Scores of P(overflow before the next planned visit).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverflowScore {
    /// Rows that a fault touches are in.
    pub with_faults: bool,
    /// Rows.
    pub rows: u64,
    /// Share that overflowed.
    pub base_rate: Option<f64>,
    /// `model`, `heuristic`, `level alone`: ranking.
    pub auc: [Option<f64>; 3],
    /// The same: average precision.
    pub average_precision: [Option<f64>; 3],
    /// `model`, `heuristic`, `base rate`: Brier score.
    pub brier: [Option<f64>; 3],
}

/// Scores of hours to full. Most containers are emptied before: an error can be told only for those that were not,
/// which are the fast ones; the concordance uses the others for what they do tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TimeScore {
    /// Rows seen to become full.
    pub observed: u64,
    /// Rows emptied, or at the history's end, before.
    pub censored: u64,
    /// Share of comparable pairs that the model's p50 orders rightly.
    pub concordance: Option<f64>,
    /// The same for the heuristic.
    pub concordance_heuristic: Option<f64>,
    /// Median absolute error of p50 among rows seen to become full, hours: a look at the fast ones only.
    pub median_error_observed_h: Option<f64>,
}

/// How to judge later data.
#[derive(Clone, Debug)]
pub struct EvaluateOptions {
    /// Rows from this event time on, UTC ms.
    pub from_ms: i64,
    /// Rows at most; more are sampled.
    pub max_examples: usize,
    /// Seed of the sample.
    pub seed: u64,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self { from_ms: i64::MIN, max_examples: 24_000, seed: 1 }
    }
}

/// Judges a fill model on rows of `bin.features`, with the constant baseline that its training stored.
///
/// # Errors
/// When a column is missing or nothing is left to judge.
pub fn evaluate(predictor: &GbdtPredictor, batches: &[RecordBatch], options: &EvaluateOptions) -> Result<Evaluation, TrainError> {
    let Decoder::Fill { horizons, shape, .. } = &predictor.manifest().decoder else {
        return Err(TrainError::TooLittle { message: "not a fill model".to_owned(), hint: "give a fill forecast" });
    };
    let questions = ask(
        batches,
        &AskOptions {
            horizons_h: horizons.iter().map(|horizon| horizon.hours).collect(),
            full_level: shape.full_level,
            max_examples: options.max_examples,
            seed: options.seed,
            from_ms: options.from_ms,
        },
    )?;
    let stored = predictor.manifest().metrics.get("baseline").cloned().unwrap_or_default();
    let baseline: Baseline = serde_json::from_value(stored).unwrap_or_default();
    judge(batches, &questions, predictor, &baseline, options.from_ms)
}

/// One row with what each forecaster says.
struct Judged<'a> {
    example: &'a Example,
    model: Says,
    heuristic: Says,
}

struct Says {
    path: ws_inference::path::LevelPath,
    hours_to_full: f64,
    overflow: f64,
}

/// Judges the examples from `from_ms` on.
pub(crate) fn judge(
    batches: &[RecordBatch],
    questions: &Questions,
    predictor: &GbdtPredictor,
    baseline: &Baseline,
    from_ms: i64,
) -> Result<Evaluation, TrainError> {
    let Decoder::Fill { trained_to_h, shape, .. } = &predictor.manifest().decoder else {
        return Err(TrainError::TooLittle { message: "not a fill model".to_owned(), hint: "give a fill forecast" });
    };
    let later: Vec<&Example> = questions.examples.iter().filter(|example| example.row.at_ms >= from_ms).collect();
    if later.is_empty() {
        return Err(TrainError::TooLittle { message: "no rows to judge".to_owned(), hint: "give later rows" });
    }
    let sources: Vec<_> = later.iter().map(|example| example.row.source).collect();
    let heuristic = FillHeuristic::default();
    let model_rows = values(batches, &sources, predictor.specs(), true)?;
    let heuristic_rows = values(batches, &sources, heuristic.specs(), true)?;
    let width = predictor.manifest().features.len();
    let mut judged = Vec::with_capacity(later.len());
    let mut declined = 0;
    for ((example, row), rule_row) in
        later.iter().zip(model_rows.chunks_exact(predictor.specs().len())).zip(heuristic_rows.chunks_exact(heuristic.specs().len()))
    {
        let (Some(answer), Some(rule)) = (predictor.answer(row), heuristic.answer(rule_row)) else {
            declined += 1;
            continue;
        };
        judged.push(Judged {
            example,
            model: Says { path: predictor.path(&row[..width], example.row.level), hours_to_full: answer[10], overflow: answer[12] },
            heuristic: Says { path: heuristic.path(rule_row), hours_to_full: rule[10], overflow: rule[12] },
        });
    }
    let mut levels = Vec::new();
    let mut overflow = Vec::new();
    for with_faults in [true, false] {
        for (index, hours) in questions.horizons_h.iter().enumerate() {
            let extrapolated = hours > trained_to_h;
            levels.extend(level_score(&judged, index, *hours, with_faults, extrapolated, baseline));
        }
        overflow.push(overflow_score(&judged, with_faults));
    }
    levels.sort_by(|a, b| a.horizon_h.total_cmp(&b.horizon_h).then(b.with_faults.cmp(&a.with_faults)));
    Ok(Evaluation {
        model_version: predictor.version().to_owned(),
        from_ms: later.iter().map(|example| example.row.at_ms).min().unwrap_or(from_ms),
        to_ms: questions.range_ms.1,
        examples: later.len() as u64,
        declined,
        outcomes: questions.horizons_h.iter().copied().zip(questions.counts.iter().copied()).collect(),
        overflow_outcomes: questions.overflow_counts,
        unexplained_falls: questions.unexplained_falls,
        levels,
        overflow,
        hours_to_full: time_score(&judged, shape.full_level),
    })
}

/// A forecaster's middle, its `[p10, p50, p90]`, and the truth.
type Said = (f64, [f64; 3], f64);

fn some(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn level_score(judged: &[Judged<'_>], index: usize, hours: f64, with_faults: bool, extrapolated: bool, baseline: &Baseline) -> Option<LevelScore> {
    let clamp = |level: f64| level.clamp(0.0, 1.0);
    let constant = baseline.horizons.iter().find(|horizon| horizon.hours == hours);
    let mut said: [Vec<Said>; 4] = Default::default();
    for row in judged {
        let Outcome::Labelled(label) = row.example.rates[index] else {
            continue;
        };
        let level = row.example.row.level;
        let touched = label.faulty || row.example.row.faulty || row.example.row.silent;
        if touched && !with_faults {
            continue;
        }
        let truth = clamp(level + label.value * hours);
        let model = row.model.path.at(hours).map(clamp);
        let rule = row.heuristic.path.at(hours).map(clamp);
        said[0].push((model[1], model, truth));
        said[1].push((clamp(level), [clamp(level); 3], truth));
        if let Some(constant) = constant {
            let quantiles = constant.quantiles.map(|increment| clamp(level + increment));
            said[2].push((clamp(level + constant.mean), quantiles, truth));
        }
        said[3].push((rule[1], rule, truth));
    }
    if said[0].is_empty() {
        return None;
    }
    let score = |f: &dyn Fn(&[Said]) -> f64| [0, 1, 2, 3].map(|who| some(f(&said[who])));
    Some(LevelScore {
        horizon_h: hours,
        with_faults,
        extrapolated,
        rows: said[0].len() as u64,
        mae: score(&|rows| mean(rows.iter().map(|(middle, _, truth)| (middle - truth).abs()))),
        pinball: score(&|rows| {
            mean(
                [0.1, 0.5, 0.9]
                    .into_iter()
                    .enumerate()
                    .map(|(at, share)| pinball(share, &rows.iter().map(|(_, quantiles, truth)| (quantiles[at], *truth)).collect::<Vec<_>>())),
            )
        }),
        coverage: score(&|rows| mean(rows.iter().map(|(_, q, truth)| f64::from(u8::from(q[0] <= *truth && *truth <= q[2]))))),
    })
}

fn overflow_score(judged: &[Judged<'_>], with_faults: bool) -> OverflowScore {
    let mut rows: [Vec<(f64, bool)>; 3] = Default::default();
    for row in judged {
        let Some(Outcome::Labelled(label)) = row.example.overflow else {
            continue;
        };
        if (label.faulty || row.example.row.faulty || row.example.row.silent) && !with_faults {
            continue;
        }
        let truth = label.value == 1.0;
        rows[0].push((row.model.overflow, truth));
        rows[1].push((row.heuristic.overflow, truth));
        rows[2].push((row.example.row.level, truth));
    }
    let base_rate = mean(rows[0].iter().map(|(_, truth)| f64::from(u8::from(*truth))));
    let constant: Vec<(f64, bool)> = rows[0].iter().map(|(_, truth)| (base_rate, *truth)).collect();
    OverflowScore {
        with_faults,
        rows: rows[0].len() as u64,
        base_rate: some(base_rate),
        auc: [0, 1, 2].map(|who| some(auc(&rows[who]))),
        average_precision: [0, 1, 2].map(|who| some(average_precision(&rows[who]))),
        brier: [some(brier(&rows[0])), some(brier(&rows[1])), some(brier(&constant))],
    }
}

fn time_score(judged: &[Judged<'_>], full_level: f64) -> TimeScore {
    let rows: Vec<&Judged<'_>> = judged.iter().filter(|row| !row.example.row.faulty && row.example.row.level < full_level).collect();
    let observed = rows.iter().filter(|row| row.example.to_full.1).count();
    let step = rows.len().div_ceil(CONCORDANCE_ROWS).max(1);
    let order = |f: &dyn Fn(&Judged<'_>) -> f64| {
        let sample: Vec<(f64, f64, bool)> = rows.iter().step_by(step).map(|row| (f(row), row.example.to_full.0, row.example.to_full.1)).collect();
        some(concordance(&sample))
    };
    let mut errors: Vec<f64> = rows.iter().filter(|row| row.example.to_full.1).map(|row| (row.model.hours_to_full - row.example.to_full.0).abs()).collect();
    TimeScore {
        observed: observed as u64,
        censored: (rows.len() - observed) as u64,
        concordance: order(&|row| row.model.hours_to_full),
        concordance_heuristic: order(&|row| row.heuristic.hours_to_full),
        median_error_observed_h: some(quantile(&mut errors, 0.5)),
    }
}
