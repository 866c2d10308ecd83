//! How predictions end in service: the account behind `prediction.outcome`. Per subject (a device, a customer, a part of a
//! vehicle) a [`Book`] keeps the facts that may decide predictions; a prediction is put to it once, when everything that
//! could arrive late has arrived, and ends as labelled, censored or expired. Waiting is the engine's work (a stage `absence`
//! keeps what is open), so that a book stays small however many predictions wait for it.
//!
//! Facts come in any order, and nothing is decided when one arrives: a collection reported three hours late and a reading
//! uploaded at night still count, and the answer does not depend on who came first. For the same reason an event that
//! comes early does not end its prediction early: the others of that day end weeks later, and whoever looked at what
//! has ended so far would see nothing but bad luck.
//!
//! Three questions are known (see [`Question`]); the rules of the first two are those by which training labels its
//! rows ([`crate::labels`]), those of the third are [`crate::risk_facts`]'. Read on in `level` and `event` (the
//! decisions) and `bytes` (how a book is kept).
//!
//! Pure: no clock; the watermark is an argument. Bounded: readings and other facts of a subject.

mod bytes;
mod event;
mod level;
#[cfg(test)]
mod tests;

pub use bytes::BookError;

/// Most readings kept of a subject: five days of one every ten minutes.
pub const MOST_READINGS: usize = 720;
/// So many of the newest readings are always kept: sensors that report once a day need old ones.
const ALWAYS_KEPT: usize = 24;
/// Most other facts kept of a subject.
pub const MOST_FACTS: usize = 128;

const HOUR_MS: i64 = 3_600_000;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The level at `due_ms`, given no emptying until then.
    Level,
    /// Whether the level reaches full before `due_ms`, the planned visit, or the truck if it comes a little earlier.
    Overflow,
    /// Whether the event comes until `due_ms`.
    Event,
}

/// A prediction as it was published.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// `prediction_id`.
    pub id: String,
    /// Topic that it was published to.
    pub topic: String,
    /// Which of its figures this is; with `id` it is unique.
    pub target: String,
    /// Tenant.
    pub tenant: String,
    /// What was asked.
    pub question: Question,
    /// Event time, UTC ms.
    pub at_ms: i64,
    /// Moment or end of the horizon, UTC ms.
    pub due_ms: i64,
    /// The level that it starts from.
    pub level: Option<f64>,
    /// p10, p50, p90; of a probability only the middle one.
    pub quantiles: [Option<f64>; 3],
    /// What a naive forecast says.
    pub baseline: Option<f64>,
    /// Container that the sensor sat on; empty where there is none.
    pub place: String,
    /// Usual time between readings, ms; 0 when unknown.
    pub interval_ms: i64,
    /// Whether the subject is held out of interventions.
    pub holdout: bool,
    /// Rung that had answered.
    pub rung: String,
    /// Version that had answered.
    pub model_version: String,
}

/// What happened to a subject.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A reading of the level.
    Reading {
        /// Level, fraction.
        level: f64,
        /// Container that the sensor sat on.
        place: String,
        /// When that container was last emptied, as known then, UTC ms.
        emptied_ms: Option<i64>,
    },
    /// The sensor is overdue.
    Silent,
    /// The event that was asked about.
    Came,
    /// Something else that ends questions about the event: code of why.
    Ended(String),
    /// Something was done because of a prediction. Does not touch subjects that are held out.
    Treated,
    /// The subject is still there.
    Heard,
}

/// By which rules predictions end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// A reading this far from a moment speaks for it; two readings around it may be twice as far apart, ms.
    pub gap_ms: i64,
    /// The level that counts as full.
    pub full: f64,
    /// A fall of the level by this much, to at most `fall_to`, is an emptying that nobody reported.
    pub fall_by: f64,
    /// See `fall_by`.
    pub fall_to: f64,
    /// A truck this much before its planned time is on time, ms.
    pub visit_tolerance_ms: i64,
    /// A subject of which nothing is heard for so long before the horizon's end is lost: that nothing came is not known, ms.
    pub quiet_ms: i64,
    /// Facts are kept so long behind the watermark: the longest horizon with its time to settle. A prediction that
    /// reaches further back finds nothing and expires, ms.
    pub keep_ms: i64,
    /// All readings are kept so long; of older ones those alone that tell something: full, emptied, moved, ms.
    pub recent_ms: i64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            gap_ms: 3 * HOUR_MS,
            full: 1.0,
            fall_by: 0.25,
            fall_to: 0.35,
            visit_tolerance_ms: 4 * HOUR_MS,
            quiet_ms: 7 * 24 * HOUR_MS,
            keep_ms: 10 * 24 * HOUR_MS,
            recent_ms: 36 * HOUR_MS,
        }
    }
}

/// How one ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// What came.
    Labelled {
        /// The level, or 0 and 1.
        actual: f64,
        /// Event that told.
        by: Option<String>,
    },
    /// Why it cannot be known.
    Censored {
        /// Code.
        reason: String,
        /// Of a level: the last one seen, a lower bound.
        bound: Option<f64>,
        /// Event that told.
        by: Option<String>,
    },
    /// Nobody told in time.
    Expired,
}

/// An ended prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The prediction.
    pub of: Prediction,
    /// How.
    pub end: End,
    /// Event time of the end, UTC ms.
    pub at_ms: i64,
}

impl Ended {
    /// What came, or a lower bound of it.
    pub fn actual(&self) -> Option<f64> {
        match &self.end {
            End::Labelled { actual, .. } => Some(*actual),
            End::Censored { bound, .. } => *bound,
            End::Expired => None,
        }
    }

    /// What came less what was said; `None` without a label.
    pub fn error(&self) -> Option<f64> {
        let End::Labelled { actual, .. } = self.end else { return None };
        self.of.quantiles[1].map(|said| actual - said)
    }

    /// Whether what came lies between p10 and p90; `None` without a label or without quantiles.
    pub fn covered(&self) -> Option<bool> {
        let (End::Labelled { actual, .. }, [Some(low), _, Some(high)]) = (&self.end, self.of.quantiles) else { return None };
        Some(low <= *actual && *actual <= high)
    }

    /// Weight in training: a bound tells half, nothing tells nothing. A bin that was full already is no question.
    pub fn weight(&self, rules: &Rules) -> f64 {
        match &self.end {
            End::Labelled { .. } if self.of.question == Question::Overflow && self.of.level.is_some_and(|level| level >= rules.full) => 0.0,
            End::Labelled { .. } => 1.0,
            End::Censored { bound: Some(_), .. } => 0.5,
            End::Censored { .. } | End::Expired => 0.0,
        }
    }
}

/// A reading that is kept.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    at_ms: i64,
    level: f64,
    place: String,
    event_id: String,
}

/// A fact about an event that is kept.
#[derive(Clone, Debug, PartialEq)]
struct Happened {
    at_ms: i64,
    fact: Fact,
    event_id: String,
}

/// What happened to one subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    /// By time.
    readings: Vec<Reading>,
    /// Emptyings by time: (UTC ms, container).
    emptied: Vec<(i64, String)>,
    /// By time.
    happened: Vec<Happened>,
    /// When the sensor was last told to be overdue, UTC ms.
    silent_ms: Option<i64>,
    /// When anything was last heard, UTC ms.
    heard_ms: Option<i64>,
}

impl Book {
    /// Notes a fact. A repeated one changes nothing; a reading of the same moment takes the place of the one before.
    pub fn tell(&mut self, at_ms: i64, fact: Fact, event_id: String) {
        if fact == Fact::Silent {
            self.silent_ms = self.silent_ms.max(Some(at_ms));
            return;
        }
        self.heard_ms = self.heard_ms.max(Some(at_ms));
        match fact {
            Fact::Reading { level, place, emptied_ms } => {
                if let Some(emptied_ms) = emptied_ms {
                    let at = self.emptied.partition_point(|known| (known.0, known.1.as_str()) < (emptied_ms, place.as_str()));
                    if self.emptied.get(at).is_none_or(|known| known.0 != emptied_ms || known.1 != place) {
                        self.emptied.insert(at, (emptied_ms, place.clone()));
                    }
                }
                let reading = Reading { at_ms, level, place, event_id };
                let at = self.readings.partition_point(|known| known.at_ms < at_ms);
                match self.readings.get_mut(at).filter(|known| known.at_ms == at_ms) {
                    Some(known) => *known = reading,
                    None => self.readings.insert(at, reading),
                }
                trim(&mut self.readings, MOST_READINGS);
                trim(&mut self.emptied, MOST_FACTS);
            }
            Fact::Silent | Fact::Heard => {}
            fact => {
                let happened = Happened { at_ms, fact, event_id };
                let at = self.happened.partition_point(|known| known.at_ms < at_ms);
                if !self.happened[at..].iter().take_while(|known| known.at_ms == at_ms).any(|known| *known == happened) {
                    self.happened.insert(at, happened);
                    trim(&mut self.happened, MOST_FACTS);
                }
            }
        }
    }

    /// How a prediction ends, everything known that will be: at `decided_ms`.
    pub fn end(&self, of: Prediction, decided_ms: i64, rules: &Rules) -> Ended {
        let (end, at_ms) = match of.question {
            Question::Level => level::at_moment(&of, self, rules),
            Question::Overflow => level::before_visit(&of, self, rules),
            Question::Event => event::within_horizon(&of, self, rules),
        };
        Ended { of, end, at_ms: at_ms.unwrap_or(decided_ms) }
    }

    /// When there is nothing left to know, event time; `None` for an empty book.
    pub fn over_ms(&self, rules: &Rules) -> Option<i64> {
        let of =
            [self.readings.last().map(|r| r.at_ms), self.happened.last().map(|h| h.at_ms), self.emptied.last().map(|e| e.0), self.silent_ms, self.heard_ms];
        of.into_iter().flatten().max().map(|newest_ms| newest_ms.saturating_add(rules.keep_ms))
    }

    /// Forgets what no prediction can need any more.
    pub fn forget(&mut self, watermark_ms: i64, rules: &Rules) {
        if self.over_ms(rules).is_none_or(|over_ms| over_ms <= watermark_ms) {
            *self = Book::default();
            return;
        }
        let from_ms = watermark_ms.saturating_sub(rules.keep_ms);
        self.readings.drain(..self.readings.partition_point(|reading| reading.at_ms < from_ms));
        self.emptied.retain(|(at_ms, _)| *at_ms >= from_ms);
        self.happened.retain(|happened| happened.at_ms >= from_ms);
        self.thin(watermark_ms.saturating_sub(rules.recent_ms), rules);
    }

    /// Drops readings before `until_ms` that lie between two others and tell no more than these: neither that it was full, nor
    /// emptied, nor that the sensor moved.
    fn thin(&mut self, until_ms: i64, rules: &Rules) {
        let old = self.readings.partition_point(|reading| reading.at_ms < until_ms).min(self.readings.len().saturating_sub(ALWAYS_KEPT));
        if old < 2 {
            return;
        }
        let newer = self.readings.split_off(old);
        let mut kept: Vec<Reading> = Vec::with_capacity(self.readings.len());
        let mut rest = std::mem::take(&mut self.readings).into_iter().chain(newer.first().cloned()).peekable();
        while let Some(reading) = rest.next() {
            let dull = kept.last().zip(rest.peek()).is_some_and(|(before, after)| {
                before.place == reading.place
                    && after.place == reading.place
                    && (reading.level < rules.full || before.level >= rules.full)
                    && before.level - reading.level.min(after.level) < rules.fall_by
                    && reading.level - after.level < rules.fall_by
            });
            if !dull {
                kept.push(reading);
            }
        }
        // The first of the newer ones stood at the end, so that the last of the old ones had a neighbour.
        kept.truncate(kept.len() - 1);
        kept.extend(newer);
        self.readings = kept;
    }
}

/// The oldest go.
fn trim<T>(facts: &mut Vec<T>, most: usize) {
    let over = facts.len().saturating_sub(most);
    facts.drain(..over);
}
