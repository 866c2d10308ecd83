//! How good predictions are in service: a fold over rows of `prediction.outcome`, per topic, target, model version and rung.
//! Sums over rolling windows of event time, so that a version that has got worse shows within a day.
//!
//! Generic over targets: a row with p10 and p90 is a quantity (mean absolute error, bias, coverage, pinball loss, beside a
//! naive forecast), one with a middle value alone is a probability (Brier, log loss, calibration error, AUC, beside the
//! base rate). Outcomes land in panes of an hour by `observed_at`, the moment at which their end was settled: all
//! predictions of an hour with the same horizon settle together, whether the event came early or not at all.
//!
//! Pure: no clock; "now" is the newest outcome. Bounded: [`MOST_GROUPS`] groups of at most a pane an hour for the longest window;
//! versions beyond are summed up as [`OTHER_VERSIONS`]. Disposable: read the topic again and it is the same.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// Windows in which scores are told: name and length, ms.
pub const WINDOWS: [(&str, i64); 3] = [("24h", 24 * HOUR_MS), ("7d", 7 * 24 * HOUR_MS), ("28d", 28 * 24 * HOUR_MS)];
/// Most combinations of topic, target, version and rung.
pub const MOST_GROUPS: usize = 96;
/// Version of those that do not fit.
pub const OTHER_VERSIONS: &str = "other";
/// Stands for the sum over all versions or rungs.
pub const ALL: &str = "all";

const HOUR_MS: i64 = 3_600_000;
/// Probabilities are kept rounded to so many steps for AUC: within a step they count as ties.
const STEPS: f64 = 100.0;
/// Groups of the calibration error.
const TENTHS: usize = 10;
/// AUC needs so many of each class.
const LEAST_OF_CLASS: u64 = 10;

/// How a prediction ended, as a row of `prediction.outcome` says it.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeRow {
    /// `prediction_topic`.
    pub topic: String,
    /// `target`.
    pub target: String,
    /// `outcome`: labelled, censored or expired.
    pub outcome: String,
    /// `observed_at`: when it was settled, event time, UTC ms.
    pub settled_ms: i64,
    /// p10, p50, p90.
    pub predicted: [Option<f64>; 3],
    /// What came.
    pub actual: Option<f64>,
    /// What a naive forecast said.
    pub baseline: Option<f64>,
    /// 0: there was nothing to predict.
    pub weight: f64,
    /// Rung that had answered.
    pub rung: String,
    /// Version that had answered.
    pub model_version: String,
}

/// What is scored apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    topic: String,
    target: String,
    model_version: String,
    rung: String,
}

/// Sums of an hour or a window.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    labelled: u64,
    censored: u64,
    expired: u64,
    /// Labelled with nothing to predict: counted, not scored.
    unscored: u64,
    quantity: Quantity,
    probability: Probability,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Quantity {
    rows: u64,
    error: f64,
    absolute: f64,
    pinball: [f64; 3],
    intervals: u64,
    covered: u64,
    below: u64,
    naive_rows: u64,
    naive: f64,
    /// The model's absolute error on the rows that have a naive forecast.
    beside_naive: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Probability {
    rows: u64,
    came: u64,
    said: f64,
    brier: f64,
    log_loss: f64,
    /// Per step of the probability: (rows, came, sum said).
    steps: BTreeMap<u8, (u64, u64, f64)>,
}

fn pinball(quantile: f64, said: f64, actual: f64) -> f64 {
    let error = actual - said;
    if error >= 0.0 { quantile * error } else { (quantile - 1.0) * error }
}

impl Sums {
    fn add(&mut self, row: &OutcomeRow) {
        match row.outcome.as_str() {
            "labelled" => self.labelled += 1,
            "censored" => self.censored += 1,
            _ => self.expired += 1,
        }
        if row.outcome != "labelled" {
            return;
        }
        let (Some(actual), Some(said)) = (row.actual, row.predicted[1]) else { return };
        if row.weight <= 0.0 {
            self.unscored += 1;
            return;
        }
        match row.predicted {
            [Some(low), _, Some(high)] => self.quantity.add([low, said, high], actual, row.baseline),
            _ => self.probability.add(said.clamp(0.0, 1.0), actual >= 0.5),
        }
    }

    fn merge(&mut self, other: &Sums) {
        self.labelled += other.labelled;
        self.censored += other.censored;
        self.expired += other.expired;
        self.unscored += other.unscored;
        let (q, o) = (&mut self.quantity, &other.quantity);
        q.rows += o.rows;
        q.error += o.error;
        q.absolute += o.absolute;
        q.pinball.iter_mut().zip(o.pinball).for_each(|(mine, more)| *mine += more);
        q.intervals += o.intervals;
        q.covered += o.covered;
        q.below += o.below;
        q.naive_rows += o.naive_rows;
        q.naive += o.naive;
        q.beside_naive += o.beside_naive;
        let (p, o) = (&mut self.probability, &other.probability);
        p.rows += o.rows;
        p.came += o.came;
        p.said += o.said;
        p.brier += o.brier;
        p.log_loss += o.log_loss;
        for (step, (rows, came, said)) in &o.steps {
            let mine = p.steps.entry(*step).or_default();
            *mine = (mine.0 + rows, mine.1 + came, mine.2 + said);
        }
    }
}

impl Quantity {
    fn add(&mut self, said: [f64; 3], actual: f64, naive: Option<f64>) {
        let absolute = (actual - said[1]).abs();
        self.rows += 1;
        self.error += said[1] - actual;
        self.absolute += absolute;
        for ((sum, quantile), said) in self.pinball.iter_mut().zip([0.1, 0.5, 0.9]).zip(said) {
            *sum += pinball(quantile, said, actual);
        }
        self.intervals += 1;
        self.covered += u64::from(said[0] <= actual && actual <= said[2]);
        self.below += u64::from(actual < said[0]);
        if let Some(naive) = naive {
            self.naive_rows += 1;
            self.naive += (actual - naive).abs();
            self.beside_naive += absolute;
        }
    }
}

impl Probability {
    fn add(&mut self, said: f64, came: bool) {
        let truth = f64::from(u8::from(came));
        let p = said.clamp(1e-9, 1.0 - 1e-9);
        self.rows += 1;
        self.came += u64::from(came);
        self.said += said;
        self.brier += (said - truth).powi(2);
        self.log_loss -= if came { p.ln() } else { (1.0 - p).ln() };
        let step = self.steps.entry((said * STEPS).round() as u8).or_default();
        *step = (step.0 + 1, step.1 + u64::from(came), step.2 + said);
    }

    /// Area under the ROC curve; rows of one step are ties and count half.
    fn auc(&self) -> Option<f64> {
        let (came, stayed) = (self.came, self.rows - self.came);
        if came < LEAST_OF_CLASS || stayed < LEAST_OF_CLASS {
            return None;
        }
        let (mut below, mut area) = (0.0, 0.0);
        for (rows, hits, _) in self.steps.values() {
            let misses = (rows - hits) as f64;
            area += *hits as f64 * (below + misses / 2.0);
            below += misses;
        }
        Some(area / (came as f64 * stayed as f64))
    }

    /// Expected calibration error over tenths of the probability: the mean distance of what was said from what came.
    fn calibration_error(&self) -> Option<f64> {
        let mut tenths = [(0.0, 0.0); TENTHS];
        for (step, (_, came, said)) in &self.steps {
            let tenth = &mut tenths[(usize::from(*step) / 10).min(TENTHS - 1)];
            *tenth = (tenth.0 + said, tenth.1 + *came as f64);
        }
        (self.rows > 0).then(|| tenths.iter().map(|(said, came)| (said - came).abs()).sum::<f64>() / self.rows as f64)
    }
}

/// Scores of one group in one window. What cannot be said yet is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LiveScore {
    /// Topic of the predictions.
    pub topic: String,
    /// Which of their figures.
    pub target: String,
    /// Model version; `all` for the sum.
    pub model_version: String,
    /// Rung; `all` for the sum.
    pub rung: String,
    /// Window: 24h, 7d or 28d of event time.
    pub window: &'static str,
    /// Ended with a label.
    pub labelled: u64,
    /// Ended by something else.
    pub censored: u64,
    /// Nobody told in time.
    pub expired: u64,
    /// Labels that scores rest on.
    pub scored: u64,
    /// Mean absolute error of the median.
    pub mae: Option<f64>,
    /// Mean of median less actual.
    pub bias: Option<f64>,
    /// Mean absolute error of the naive forecast on the same rows.
    pub baseline_mae: Option<f64>,
    /// 1 less the ratio of the two: above 0 the model is worth something.
    pub skill: Option<f64>,
    /// Share of the actual values within p10 to p90: 0.8 is wanted.
    pub coverage: Option<f64>,
    /// Share of them below p10: 0.1 is wanted.
    pub below_p10: Option<f64>,
    /// Mean pinball loss of p10, p50 and p90.
    pub pinball: Option<f64>,
    /// Share that came.
    pub base_rate: Option<f64>,
    /// Mean probability said.
    pub mean_said: Option<f64>,
    /// Brier score.
    pub brier: Option<f64>,
    /// Brier score of the window's own base rate: the best that a constant could have done, known only afterwards.
    pub baseline_brier: Option<f64>,
    /// Logarithmic loss.
    pub log_loss: Option<f64>,
    /// Expected calibration error, ten groups of equal width.
    pub calibration_error: Option<f64>,
    /// Area under the ROC curve, from steps of 0.01; with at least ten of each class.
    pub auc: Option<f64>,
}

impl LiveScore {
    fn of(group: &Group, window: &'static str, sums: &Sums) -> LiveScore {
        let (q, p) = (&sums.quantity, &sums.probability);
        let mean = |sum: f64, rows: u64| (rows > 0).then(|| sum / rows as f64);
        let base_rate = mean(p.came as f64, p.rows);
        let (brier, baseline_brier) = (mean(p.brier, p.rows), base_rate.map(|rate| rate * (1.0 - rate)));
        let skill_of = |score: Option<f64>, naive: Option<f64>| score.zip(naive).filter(|(_, naive)| *naive > 0.0).map(|(score, naive)| 1.0 - score / naive);
        let baseline_mae = mean(q.naive, q.naive_rows);
        LiveScore {
            topic: group.topic.clone(),
            target: group.target.clone(),
            model_version: group.model_version.clone(),
            rung: group.rung.clone(),
            window,
            labelled: sums.labelled,
            censored: sums.censored,
            expired: sums.expired,
            scored: q.rows + p.rows,
            mae: mean(q.absolute, q.rows),
            bias: mean(q.error, q.rows),
            skill: skill_of(mean(q.beside_naive, q.naive_rows), baseline_mae).or_else(|| skill_of(brier, baseline_brier)),
            baseline_mae,
            coverage: mean(q.covered as f64, q.intervals),
            below_p10: mean(q.below as f64, q.intervals),
            pinball: mean(q.pinball.iter().sum::<f64>() / 3.0, q.rows),
            base_rate,
            mean_said: mean(p.said, p.rows),
            brier,
            baseline_brier,
            log_loss: mean(p.log_loss, p.rows),
            calibration_error: p.calibration_error(),
            auc: p.auc(),
        }
    }
}

/// How many predictions of a topic's target ended how, since the topic's beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LiveCounts {
    /// Topic of the predictions.
    pub topic: String,
    /// Which of their figures.
    pub target: String,
    /// Ended with a label.
    pub labelled: u64,
    /// Ended by something else.
    pub censored: u64,
    /// Nobody told in time.
    pub expired: u64,
}

/// The fold.
#[derive(Clone, Debug, Default)]
pub struct LiveScores {
    groups: BTreeMap<Group, VecDeque<(i64, Sums)>>,
    totals: BTreeMap<(String, String), [u64; 3]>,
    newest_ms: Option<i64>,
}

impl LiveScores {
    /// Takes an outcome in. One that settled before the longest window counts in the totals alone.
    pub fn add(&mut self, row: &OutcomeRow) {
        let known = self.totals.len() < MOST_GROUPS || self.totals.contains_key(&(row.topic.clone(), row.target.clone()));
        if known {
            let totals = self.totals.entry((row.topic.clone(), row.target.clone())).or_default();
            totals[match row.outcome.as_str() {
                "labelled" => 0,
                "censored" => 1,
                _ => 2,
            }] += 1;
        }
        let newest_ms = self.newest_ms.map_or(row.settled_ms, |newest_ms| newest_ms.max(row.settled_ms));
        self.newest_ms = Some(newest_ms);
        let longest_ms = WINDOWS[WINDOWS.len() - 1].1;
        if row.settled_ms <= newest_ms - longest_ms {
            return;
        }
        let Some(panes) = self.panes(row) else { return };
        let hour = row.settled_ms.div_euclid(HOUR_MS);
        let at = panes.partition_point(|(of, _)| *of < hour);
        if panes.get(at).is_none_or(|(of, _)| *of != hour) {
            panes.insert(at, (hour, Sums::default()));
        }
        if let Some((_, sums)) = panes.get_mut(at) {
            sums.add(row);
        }
        let first = (newest_ms - longest_ms).div_euclid(HOUR_MS);
        while panes.front().is_some_and(|(of, _)| *of < first) {
            panes.pop_front();
        }
    }

    fn panes(&mut self, row: &OutcomeRow) -> Option<&mut VecDeque<(i64, Sums)>> {
        let mut group = Group { topic: row.topic.clone(), target: row.target.clone(), model_version: row.model_version.clone(), rung: row.rung.clone() };
        if !self.groups.contains_key(&group) && self.groups.len() >= MOST_GROUPS {
            let first = self.newest_ms.unwrap_or(0).saturating_sub(WINDOWS[WINDOWS.len() - 1].1).div_euclid(HOUR_MS);
            self.groups.retain(|_, panes| panes.back().is_some_and(|(of, _)| *of >= first));
            if self.groups.len() >= MOST_GROUPS {
                group.model_version = OTHER_VERSIONS.into();
                // Twice the bound at most: one sum per topic, target and rung.
                if !self.groups.contains_key(&group) && self.groups.len() >= 2 * MOST_GROUPS {
                    return None;
                }
            }
        }
        Some(self.groups.entry(group).or_default())
    }

    /// The newest outcome, event time, UTC ms.
    pub fn newest_ms(&self) -> Option<i64> {
        self.newest_ms
    }

    /// Scores per window: of each group, per rung of all versions together, and of all rungs and versions.
    pub fn scores(&self) -> Vec<LiveScore> {
        let Some(newest_ms) = self.newest_ms else { return Vec::new() };
        let mut out = Vec::new();
        for (name, length_ms) in WINDOWS {
            let first = (newest_ms - length_ms).div_euclid(HOUR_MS) + 1;
            let mut together: BTreeMap<(&str, &str, &str), Sums> = BTreeMap::new();
            for (group, panes) in &self.groups {
                let mut sums = Sums::default();
                panes.iter().filter(|(hour, _)| *hour >= first).for_each(|(_, pane)| sums.merge(pane));
                if sums == Sums::default() {
                    continue;
                }
                for rung in [ALL, &group.rung] {
                    together.entry((&group.topic, &group.target, rung)).or_default().merge(&sums);
                }
                out.push(LiveScore::of(group, name, &sums));
            }
            for ((topic, target, rung), sums) in together {
                let group = Group { topic: topic.into(), target: target.into(), model_version: ALL.into(), rung: rung.into() };
                out.push(LiveScore::of(&group, name, &sums));
            }
        }
        out
    }

    /// How many ended how, since the topic's beginning.
    pub fn counts(&self) -> Vec<LiveCounts> {
        let of = |((topic, target), [labelled, censored, expired]): (&(String, String), &[u64; 3])| LiveCounts {
            topic: topic.clone(),
            target: target.clone(),
            labelled: *labelled,
            censored: *censored,
            expired: *expired,
        };
        self.totals.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;
    use crate::metrics;

    fn level(settled_ms: i64, predicted: [f64; 3], actual: f64, baseline: f64) -> OutcomeRow {
        OutcomeRow {
            topic: "bin.forecast".into(),
            target: "level_24h".into(),
            outcome: "labelled".into(),
            settled_ms,
            predicted: predicted.map(Some),
            actual: Some(actual),
            baseline: Some(baseline),
            weight: 1.0,
            rung: "model".into(),
            model_version: "v1".into(),
        }
    }

    fn churn(settled_ms: i64, said: f64, came: bool) -> OutcomeRow {
        let actual = Some(f64::from(u8::from(came)));
        OutcomeRow {
            topic: "customer.churn-risk".into(),
            target: "churn".into(),
            predicted: [None, Some(said), None],
            actual,
            baseline: None,
            ..level(settled_ms, [0.0; 3], 0.0, 0.0)
        }
    }

    fn of<'a>(scores: &'a [LiveScore], target: &str, window: &str, rung: &str) -> &'a LiveScore {
        scores.iter().find(|s| s.target == target && s.window == window && s.rung == rung).unwrap()
    }

    #[test]
    fn quantities_are_scored_as_the_plain_metrics_say() {
        let mut random = SmallRng::seed_from_u64(3);
        let mut live = LiveScores::default();
        let rows: Vec<([f64; 3], f64, f64)> = (0..2_000)
            .map(|_| {
                let actual: f64 = random.random();
                let middle = actual + 0.1 * (random.random::<f64>() - 0.4);
                ([middle - 0.04, middle, middle + 0.04], actual, actual - 0.2)
            })
            .collect();
        for (i, (said, actual, naive)) in rows.iter().enumerate() {
            live.add(&level(i as i64 * 30_000, *said, *actual, *naive));
        }
        let scores = live.scores();
        let score = of(&scores, "level_24h", "24h", "model");
        let column = |q: usize| rows.iter().map(|(said, actual, _)| (said[q], *actual)).collect::<Vec<_>>();
        let near = |a: Option<f64>, b: f64| (a.unwrap() - b).abs() < 1e-9;
        assert!(near(score.mae, metrics::mean(rows.iter().map(|(s, a, _)| (s[1] - a).abs()))));
        assert!(near(score.bias, metrics::mean(rows.iter().map(|(s, a, _)| s[1] - a))) && score.bias.unwrap() > 0.0);
        assert!(near(score.pinball, [0.1, 0.5, 0.9].into_iter().enumerate().map(|(q, a)| metrics::pinball(a, &column(q))).sum::<f64>() / 3.0));
        assert!(near(score.coverage, metrics::mean(rows.iter().map(|(s, a, _)| f64::from(u8::from(s[0] <= *a && *a <= s[2]))))));
        assert!(near(score.baseline_mae, 0.2) && score.skill.unwrap() > 0.5);
        assert_eq!((score.scored, score.labelled, score.brier), (2_000, 2_000, None));
    }

    #[test]
    fn probabilities_are_scored_as_the_plain_metrics_say() {
        let mut random = SmallRng::seed_from_u64(5);
        let mut live = LiveScores::default();
        let pairs: Vec<(f64, bool)> = (0..5_000)
            .map(|_| {
                let said = f64::from(random.random_range(0..100u32)) / 100.0;
                (said, random.random::<f64>() < 0.7 * said)
            })
            .collect();
        pairs.iter().enumerate().for_each(|(i, (said, came))| live.add(&churn(i as i64 * 1_000, *said, *came)));
        let scores = live.scores();
        let score = of(&scores, "churn", "7d", ALL);
        let near = |a: Option<f64>, b: f64| (a.unwrap() - b).abs() < 1e-9;
        assert!(near(score.brier, metrics::brier(&pairs)) && near(score.log_loss, metrics::log_loss(&pairs)) && near(score.auc, metrics::auc(&pairs)));
        assert!((score.calibration_error.unwrap() - metrics::calibration_error(&pairs)).abs() < 0.02, "groups of equal width beside groups of equal size");
        assert!(score.calibration_error.unwrap() > 0.1, "it says more than comes");
        let base = score.base_rate.unwrap();
        assert!(near(score.baseline_brier, base * (1.0 - base)) && score.skill.unwrap() > 0.0 && score.mae.is_none());
    }

    #[test]
    fn windows_roll_by_event_time_and_what_is_older_counts_in_the_totals_alone() {
        let mut live = LiveScores::default();
        for day in 0..40 {
            live.add(&level(day * 24 * HOUR_MS, [0.4, 0.5, 0.6], if day == 39 { 0.9 } else { 0.5 }, 0.5));
        }
        live.add(&level(0, [0.4, 0.5, 0.6], 0.0, 0.5));
        let scores = live.scores();
        let n = |window| of(&scores, "level_24h", window, "model").scored;
        assert_eq!((n("24h"), n("7d"), n("28d")), (1, 7, 28));
        assert!((of(&scores, "level_24h", "24h", "model").mae.unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(of(&scores, "level_24h", "7d", "model").coverage, Some(6.0 / 7.0));
        assert_eq!(live.counts()[0].labelled, 41);
    }

    #[test]
    fn only_labels_are_scored_and_rungs_and_versions_stand_apart() {
        let mut live = LiveScores::default();
        let row = level(0, [0.4, 0.5, 0.6], 0.7, 0.5);
        live.add(&row);
        live.add(&OutcomeRow { rung: "heuristic".into(), model_version: "rule".into(), actual: Some(0.5), ..row.clone() });
        live.add(&OutcomeRow { outcome: "censored".into(), actual: Some(0.1), ..row.clone() });
        live.add(&OutcomeRow { outcome: "expired".into(), actual: None, ..row.clone() });
        live.add(&OutcomeRow { weight: 0.0, actual: Some(9.0), ..row });
        let scores = live.scores();
        let model = of(&scores, "level_24h", "24h", "model");
        assert_eq!((model.labelled, model.censored, model.expired, model.scored), (2, 1, 1, 1));
        assert!((model.mae.unwrap() - 0.2).abs() < 1e-12 && of(&scores, "level_24h", "24h", "heuristic").mae == Some(0.0));
        assert!((of(&scores, "level_24h", "24h", ALL).mae.unwrap() - 0.1).abs() < 1e-12);
        assert!(of(&scores, "level_24h", "24h", ALL).auc.is_none());
    }

    #[test]
    fn versions_without_end_stay_bounded() {
        let mut live = LiveScores::default();
        for i in 0..1_000 {
            live.add(&OutcomeRow { model_version: format!("v{i}"), ..level(i * 60_000, [0.4, 0.5, 0.6], 0.5, 0.5) });
        }
        assert!(live.groups.len() <= MOST_GROUPS + 1, "{}", live.groups.len());
        let scores = live.scores();
        assert_eq!(of(&scores, "level_24h", "28d", ALL).scored, 1_000, "nothing is lost");
        assert!(scores.iter().any(|s| s.model_version == OTHER_VERSIONS && s.scored > 800));
    }
}
