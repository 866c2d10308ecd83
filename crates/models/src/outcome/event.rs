//! Events within a horizon: the first thing that happened decides; where nothing did, somebody must have been heard.

use super::{Book, End, Fact, Prediction, Rules};

/// Whether the event came until the horizon's end.
pub(super) fn within_horizon(of: &Prediction, book: &Book, rules: &Rules) -> (End, Option<i64>) {
    let counts = |fact: &Fact| match fact {
        Fact::Came | Fact::Ended(_) => true,
        Fact::Treated => !of.holdout,
        Fact::Reading { .. } | Fact::Silent | Fact::Heard => false,
    };
    let within = book.happened.iter().filter(|happened| happened.at_ms > of.at_ms && happened.at_ms <= of.due_ms && counts(&happened.fact));
    // Of what happened at one time, the event itself counts.
    let first = within.min_by_key(|happened| (happened.at_ms, happened.fact != Fact::Came));
    let Some(first) = first else {
        let heard = book.heard_ms.is_some_and(|heard_ms| heard_ms >= of.due_ms.saturating_sub(rules.quiet_ms));
        return match heard {
            true => (End::Labelled { actual: 0.0, by: None }, Some(of.due_ms)),
            false => (End::Expired, None),
        };
    };
    let by = Some(first.event_id.clone());
    let end = match &first.fact {
        Fact::Came => End::Labelled { actual: 1.0, by },
        Fact::Ended(reason) => End::Censored { reason: reason.clone(), bound: None, by },
        _ => End::Censored { reason: "intervention".into(), bound: None, by },
    };
    (end, Some(first.at_ms))
}
