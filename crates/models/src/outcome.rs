//! How predictions end: the ledger behind `prediction.outcome`. Predictions and facts go in, in event time; each
//! prediction comes out once, as labelled, censored or expired. What is still open is counted too, so that at any
//! moment predicted = open + labelled + censored + expired.
//!
//! Three questions are known. A *level* some hours ahead, given no emptying: labelled by the readings around the moment,
//! censored by an emptying before. An *event* within a horizon (a voluntary end of contract, a failure): labelled
//! when it comes, or when the horizon is over; censored by what ends the question otherwise. A subject that nobody
//! hears of any more lets its levels expire; events need no witness, their absence is the label.
//!
//! Pure: no clock; the watermark is an argument. Bounded: at most so many open predictions a subject, the oldest of
//! which expire.

use std::collections::BTreeMap;

use serde::Serialize;

/// Readings further than this from a level's moment on either side tell nothing of it, ms.
const READING_GAP_MS: i64 = 6 * 3_600_000;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Question {
    /// The level at `predicted_at + ahead_ms`, given no emptying until then.
    Level {
        /// How far ahead, ms.
        ahead_ms: i64,
    },
    /// Whether the event comes within `horizon_ms`.
    Event {
        /// Horizon, ms.
        horizon_ms: i64,
    },
}

/// A prediction as it was published.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    /// `prediction_id` with the target, as one prediction may carry several.
    pub id: String,
    /// Device, customer, or vehicle and part.
    pub subject: String,
    /// Event time, UTC ms.
    pub at_ms: i64,
    /// What was asked.
    pub question: Question,
    /// p10, p50, p90; of an event only the middle one, its probability.
    pub quantiles: [f64; 3],
    /// Whether the subject is held out of interventions.
    pub holdout: bool,
}

/// What happened to a subject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happened {
    /// A reading of the level.
    Reading(f64),
    /// The container was emptied.
    Emptied,
    /// The event that was asked about.
    Came,
    /// Something else that ends questions about the event: code of why.
    EndedOtherwise(&'static str),
    /// Something was done because of a prediction. Does not touch subjects that are held out.
    Treated,
}

/// How one ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// What came.
    Labelled(f64),
    /// Why it cannot be known; for a level the last one seen, which is a lower bound.
    Censored(&'static str, Option<f64>),
    /// Nobody told in time.
    Expired,
}

/// An ended prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The prediction.
    pub of: Predicted,
    /// How.
    pub end: End,
    /// Event time of the end, UTC ms.
    pub at_ms: i64,
}

impl Outcome {
    /// What came less what was said; of an event, of its probability.
    pub fn error(&self) -> Option<f64> {
        match self.end {
            End::Labelled(actual) => Some(actual - self.of.quantiles[1]),
            End::Censored(..) | End::Expired => None,
        }
    }

    /// Whether what came lies between p10 and p90; `None` without a label or without quantiles.
    pub fn covered(&self) -> Option<bool> {
        let [low, _, high] = self.of.quantiles;
        match self.end {
            End::Labelled(actual) if low.is_finite() && high.is_finite() => Some(low <= actual && actual <= high),
            _ => None,
        }
    }
}

/// Where predictions are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerCounts {
    /// Taken in.
    pub predicted: u64,
    /// Repeats of an id that is open: not taken in again.
    pub repeated: u64,
    /// Waiting for their end.
    pub open: u64,
    /// Ended with a label.
    pub labelled: u64,
    /// Ended by something else.
    pub censored: u64,
    /// Ended without anybody telling.
    pub expired: u64,
}

impl LedgerCounts {
    /// Whether every prediction is in exactly one place.
    pub fn adds_up(&self) -> bool {
        self.predicted == self.open + self.labelled + self.censored + self.expired
    }
}

#[derive(Clone, Debug, Default)]
struct Subject {
    open: Vec<Predicted>,
    /// The newest reading: event time and level.
    reading: Option<(i64, f64)>,
}

/// Open predictions by subject.
#[derive(Clone, Debug)]
pub struct Ledger {
    subjects: BTreeMap<String, Subject>,
    most_open: usize,
    counts: LedgerCounts,
}

impl Ledger {
    /// A ledger with at most so many open predictions a subject.
    pub fn new(most_open_rows: usize) -> Self {
        Self { subjects: BTreeMap::new(), most_open: most_open_rows.max(1), counts: LedgerCounts::default() }
    }

    /// Where predictions are.
    pub fn counts(&self) -> LedgerCounts {
        self.counts
    }

    /// Takes a prediction in. At the bound the oldest open one of the subject expires.
    pub fn predict(&mut self, prediction: Predicted) -> Option<Outcome> {
        let subject = self.subjects.entry(prediction.subject.clone()).or_default();
        if subject.open.iter().any(|open| open.id == prediction.id) {
            self.counts.repeated += 1;
            return None;
        }
        self.counts.predicted += 1;
        self.counts.open += 1;
        let at_ms = prediction.at_ms;
        subject.open.push(prediction);
        if subject.open.len() <= self.most_open {
            return None;
        }
        let oldest = (0..subject.open.len()).min_by_key(|at| subject.open[*at].at_ms)?;
        let of = subject.open.remove(oldest);
        Some(self.close(of, End::Expired, at_ms))
    }

    /// Something happened to a subject at `at_ms`. Facts of a subject come in order of event time; what is older than a
    /// prediction says nothing about it.
    pub fn happened(&mut self, subject: &str, what: Happened, at_ms: i64) -> Vec<Outcome> {
        let Some(known) = self.subjects.get_mut(subject) else {
            return Vec::new();
        };
        let before = known.reading;
        let mut ended = Vec::new();
        known.open.retain(|open| match end_by(open, what, at_ms, before) {
            Some(end) => {
                ended.push((open.clone(), end));
                false
            }
            None => true,
        });
        match what {
            Happened::Reading(level) if before.is_none_or(|(time_ms, _)| time_ms <= at_ms) => known.reading = Some((at_ms, level)),
            Happened::Emptied => known.reading = None,
            _ => {}
        }
        ended.into_iter().map(|(of, end)| self.close(of, end, at_ms)).collect()
    }

    /// No fact with an earlier event time is expected: what is due ends. Events that did not come are labelled, levels
    /// that nobody read expire.
    pub fn advance(&mut self, watermark_ms: i64) -> Vec<Outcome> {
        let mut ended = Vec::new();
        for subject in self.subjects.values_mut() {
            subject.open.retain(|open| {
                let end = match open.question {
                    Question::Event { horizon_ms } if open.at_ms + horizon_ms < watermark_ms => Some((End::Labelled(0.0), open.at_ms + horizon_ms)),
                    Question::Level { ahead_ms } if open.at_ms + ahead_ms + READING_GAP_MS < watermark_ms => {
                        Some((End::Expired, open.at_ms + ahead_ms + READING_GAP_MS))
                    }
                    _ => None,
                };
                if let Some((end, at_ms)) = end {
                    ended.push((open.clone(), end, at_ms));
                }
                end.is_none()
            });
        }
        self.subjects.retain(|_, subject| !subject.open.is_empty());
        ended.into_iter().map(|(of, end, at_ms)| self.close(of, end, at_ms)).collect()
    }

    fn close(&mut self, of: Predicted, end: End, at_ms: i64) -> Outcome {
        self.counts.open -= 1;
        match end {
            End::Labelled(_) => self.counts.labelled += 1,
            End::Censored(..) => self.counts.censored += 1,
            End::Expired => self.counts.expired += 1,
        }
        Outcome { of, end, at_ms }
    }
}

/// Whether a fact ends a prediction, and how.
fn end_by(open: &Predicted, what: Happened, at_ms: i64, before: Option<(i64, f64)>) -> Option<End> {
    if at_ms <= open.at_ms {
        return None;
    }
    match (open.question, what) {
        (Question::Level { ahead_ms }, Happened::Reading(level)) => {
            let due_ms = open.at_ms + ahead_ms;
            if at_ms < due_ms {
                return None;
            }
            let from = before.filter(|(time_ms, _)| *time_ms <= due_ms && *time_ms >= open.at_ms);
            match from {
                _ if at_ms == due_ms => Some(End::Labelled(level)),
                Some((time_ms, low)) if at_ms - time_ms <= READING_GAP_MS * 2 => {
                    let share = (due_ms - time_ms) as f64 / (at_ms - time_ms) as f64;
                    Some(End::Labelled(low + (level - low) * share))
                }
                _ if at_ms - due_ms <= READING_GAP_MS => Some(End::Labelled(level)),
                _ => Some(End::Expired),
            }
        }
        (Question::Level { ahead_ms }, Happened::Emptied) if at_ms <= open.at_ms + ahead_ms => {
            Some(End::Censored("emptied", before.filter(|(time_ms, _)| *time_ms >= open.at_ms).map(|(_, level)| level)))
        }
        // After the moment: the reading before it must do, what follows is another filling.
        (Question::Level { ahead_ms }, Happened::Emptied) => {
            let near = before.filter(|(time_ms, _)| *time_ms >= open.at_ms && (open.at_ms + ahead_ms - time_ms).abs() <= READING_GAP_MS);
            Some(near.map_or(End::Expired, |(_, level)| End::Labelled(level)))
        }
        (Question::Event { horizon_ms }, _) if at_ms > open.at_ms + horizon_ms => Some(End::Labelled(0.0)),
        (Question::Event { .. }, Happened::Came) => Some(End::Labelled(1.0)),
        (Question::Event { .. }, Happened::EndedOtherwise(reason)) => Some(End::Censored(reason, None)),
        (Question::Event { .. }, Happened::Treated) if !open.holdout => Some(End::Censored("intervention", None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;

    const H: i64 = 3_600_000;
    const DAY: i64 = 24 * H;

    fn level(id: &str, at_ms: i64) -> Predicted {
        Predicted { id: id.into(), subject: "d".into(), at_ms, question: Question::Level { ahead_ms: 24 * H }, quantiles: [0.4, 0.5, 0.6], holdout: false }
    }

    fn churn(id: &str, subject: &str, holdout: bool) -> Predicted {
        let question = Question::Event { horizon_ms: 90 * DAY };
        Predicted { id: id.into(), subject: subject.into(), at_ms: 0, question, quantiles: [f64::NAN, 0.2, f64::NAN], holdout }
    }

    #[test]
    fn a_level_is_read_between_the_readings_around_its_moment() {
        let mut ledger = Ledger::new(10);
        ledger.predict(level("a", 0));
        assert!(ledger.happened("d", Happened::Reading(0.40), 22 * H).is_empty());
        let ended = ledger.happened("d", Happened::Reading(0.52), 26 * H);
        assert_eq!(ended.len(), 1);
        let End::Labelled(actual) = ended[0].end else { panic!("{ended:?}") };
        assert!((actual - 0.46).abs() < 1e-12 && ended[0].covered() == Some(true) && (ended[0].error().unwrap() + 0.04).abs() < 1e-12);
    }

    #[test]
    fn an_emptying_before_the_moment_censors_and_one_after_does_not() {
        let mut ledger = Ledger::new(10);
        ledger.predict(level("a", 0));
        ledger.happened("d", Happened::Reading(0.7), 10 * H);
        let ended = ledger.happened("d", Happened::Emptied, 12 * H);
        assert_eq!(ended[0].end, End::Censored("emptied", Some(0.7)));
        ledger.predict(level("b", 20 * H));
        ledger.happened("d", Happened::Reading(0.3), 43 * H);
        let ended = ledger.happened("d", Happened::Emptied, 44 * H + 1);
        assert_eq!(ended[0].end, End::Labelled(0.3), "the moment was before, the reading before it is near");
        assert!(ledger.happened("d", Happened::Reading(0.02), 46 * H).is_empty());
    }

    #[test]
    fn a_silent_sensor_lets_its_levels_expire() {
        let mut ledger = Ledger::new(10);
        ledger.predict(level("a", 0));
        assert!(ledger.advance(30 * H).is_empty());
        assert_eq!(ledger.advance(30 * H + 1)[0].end, End::Expired);
        assert!(ledger.counts().adds_up() && ledger.counts().open == 0);
    }

    #[test]
    fn events_come_are_absent_or_end_otherwise_and_the_holdout_is_not_censored_by_treatment() {
        let mut ledger = Ledger::new(10);
        for (id, subject, holdout) in [("1", "leaves", false), ("2", "stays", false), ("3", "moves", false), ("4", "treated", false), ("5", "held", true)] {
            ledger.predict(churn(id, subject, holdout));
        }
        assert_eq!(ledger.happened("leaves", Happened::Came, 40 * DAY)[0].end, End::Labelled(1.0));
        assert_eq!(ledger.happened("moves", Happened::EndedOtherwise("contract_ended"), 40 * DAY)[0].end, End::Censored("contract_ended", None));
        assert_eq!(ledger.happened("treated", Happened::Treated, 40 * DAY)[0].end, End::Censored("intervention", None));
        assert!(ledger.happened("held", Happened::Treated, 40 * DAY).is_empty());
        assert!(ledger.happened("stays", Happened::Came, 0).is_empty(), "what was before says nothing");
        let ended = ledger.advance(90 * DAY + 1);
        assert!(ended.len() == 2 && ended.iter().all(|outcome| outcome.end == End::Labelled(0.0) && outcome.at_ms == 90 * DAY));
        let counts = ledger.counts();
        assert_eq!((counts.predicted, counts.labelled, counts.censored, counts.open), (5, 3, 2, 0));
    }

    #[test]
    fn whatever_happens_the_counts_add_up_and_every_prediction_ends_once() {
        let mut random = SmallRng::seed_from_u64(11);
        let mut ledger = Ledger::new(5);
        let mut ids = std::collections::BTreeSet::new();
        let (mut ended, mut made) = (0u64, 0u64);
        let mut end = |outcomes: Vec<Outcome>| {
            for outcome in outcomes {
                assert!(ids.insert(outcome.of.id.clone()), "{} ended twice", outcome.of.id);
                ended += 1;
            }
        };
        for step in 0..20_000i64 {
            let at_ms = step * H / 3;
            let subject = format!("s{}", random.random_range(0..20u32));
            let question = if random.random() { Question::Level { ahead_ms: 24 * H } } else { Question::Event { horizon_ms: 10 * DAY } };
            match random.random_range(0..8u32) {
                0..=2 => {
                    made += 1;
                    let quantiles = [0.1, 0.2, 0.3];
                    end(ledger
                        .predict(Predicted { id: format!("p{step}"), subject, at_ms, question, quantiles, holdout: step % 9 == 0 })
                        .into_iter()
                        .collect());
                }
                3 => end(ledger.happened(&subject, Happened::Reading(random.random()), at_ms)),
                4 => end(ledger.happened(&subject, Happened::Emptied, at_ms)),
                5 => end(ledger.happened(&subject, Happened::Came, at_ms)),
                6 => end(ledger.happened(&subject, Happened::Treated, at_ms)),
                _ => end(ledger.advance(at_ms - H)),
            }
            assert!(ledger.counts().adds_up(), "{:?}", ledger.counts());
        }
        end(ledger.advance(i64::MAX / 2));
        let counts = ledger.counts();
        assert_eq!((counts.predicted, counts.open, counts.labelled + counts.censored + counts.expired), (made, 0, ended));
        assert!(counts.labelled > 100 && counts.censored > 100 && counts.expired > 100, "{counts:?}");
    }

    #[test]
    fn a_repeated_prediction_counts_once() {
        let mut ledger = Ledger::new(10);
        ledger.predict(level("a", 0));
        ledger.predict(level("a", 0));
        assert_eq!((ledger.counts().predicted, ledger.counts().repeated), (1, 1));
        assert!(ledger.counts().adds_up());
    }
}
