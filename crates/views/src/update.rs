//! What a view is told: updates with the position behind them, and what became of them.

use std::collections::HashMap;

use serde_json::Value;

use crate::freshness::{PositionKey, SourcePosition};
use crate::key::{Keyspace, Part, ViewKey};
use crate::listing::Listing;
use crate::reads::ViewReads;
use crate::{MAX_UPDATES_PER_APPLY, ViewError};

/// The new content of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A JSON document, as text.
    Put(String),
    /// Nothing any more; the event time stays as a tombstone, so that an older document does not come back.
    Delete,
}

/// One change of one part of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub(crate) key: ViewKey,
    pub(crate) part: Part,
    pub(crate) observed_ms: i64,
    pub(crate) body: Body,
    pub(crate) listing: Listing,
    /// Event time of `listing`; older than `observed_ms` when it was taken over from an earlier update of the batch.
    pub(crate) listing_ms: i64,
}

impl Update {
    /// Puts a document; `observed_ms` is its event time. Where the record is listed follows from the document: bins, trucks and
    /// places by `latitude_deg` and `longitude_deg`, alerts by time while their `state` is not `cleared`.
    pub fn put(key: ViewKey, part: Part, observed_ms: i64, document: &Value) -> Self {
        let number = |field: &str| document.get(field).and_then(Value::as_f64);
        let listing = match key.keyspace {
            Keyspace::Alert if document.get("state").and_then(Value::as_str) == Some("cleared") => Listing::Unlist,
            Keyspace::Alert | Keyspace::Problem => Listing::by_time(&key, observed_ms),
            _ => Listing::by_place(&key, number("latitude_deg").zip(number("longitude_deg"))),
        };
        let observed_ms = observed_ms.max(0);
        Self { key, part, observed_ms, body: Body::Put(document.to_string()), listing, listing_ms: observed_ms }
    }

    /// Deletes a part and takes its record out of all lists.
    pub fn delete(key: ViewKey, part: Part, observed_ms: i64) -> Self {
        let observed_ms = observed_ms.max(0);
        Self { key, part, observed_ms, body: Body::Delete, listing: Listing::Unlist, listing_ms: observed_ms }
    }

    /// The record's key.
    pub fn key(&self) -> &ViewKey {
        &self.key
    }

    /// The part that changes.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Event time of the change, UTC ms.
    pub fn observed_ms(&self) -> i64 {
        self.observed_ms
    }

    /// The new content.
    pub fn body(&self) -> &Body {
        &self.body
    }
}

/// What the applier knows about time behind a batch; all UTC ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The source's watermark behind the batch.
    pub watermark_ms: Option<i64>,
    /// The newest event time in the batch.
    pub observed_ms: Option<i64>,
    /// The applier's clock.
    pub applied_ms: i64,
}

/// What an applied batch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Parts written.
    pub written: usize,
    /// Updates that lost: an older event time than the stored part's, or replaced by a later update of the same batch.
    pub outdated: usize,
    /// Records that changed, each once.
    pub changed: Vec<ViewKey>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Values and position were written together.
    Applied(Applied),
    /// The view was already there; no value changed.
    AlreadyApplied {
        /// The offset of the next record the view wants.
        next_offset: i64,
    },
    /// A newer owner has written; this one must stop.
    Fenced {
        /// The owner epoch that is in force.
        owner_epoch: u64,
    },
}

/// A view that can be written. One writer per source partition at a time; older ones are fenced by their owner epoch.
pub trait ViewStore: ViewReads {
    /// Writes a batch and its position as one unit, or nothing at all. `next_offset` is the offset behind the batch's last
    /// record; `updates` are in the order of their records.
    ///
    /// # Errors
    /// [`ViewError::is_retryable`] errors leave it open whether the batch was written: apply it again, a repetition changes nothing.
    fn apply(&mut self, source: &PositionKey, owner_epoch: u64, next_offset: i64, progress: Progress, updates: Vec<Update>) -> Result<Outcome, ViewError>;

    /// Where to read on for a source; none when nothing of it was applied.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn position(&self, source: &PositionKey) -> Result<Option<SourcePosition>, ViewError>;

    /// Empties the view so that it can be rebuilt: every position goes back to 0, owner epochs stay in force. An interrupted
    /// clear is finished when the view is opened next.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn clear(&mut self) -> Result<(), ViewError>;
}

/// Checks a batch and keeps, per part, the update that would win: the latest event time, and of equal ones the last. The
/// result leaves the view as if the updates had been applied one by one, so that cutting batches differently changes nothing.
pub(crate) fn coalesce(source: &PositionKey, next_offset: i64, updates: Vec<Update>) -> Result<(Vec<Update>, usize), ViewError> {
    source.check()?;
    if next_offset < 0 {
        return Err(ViewError::Invalid { what: "position", detail: format!("next offset {next_offset}") });
    }
    if updates.len() > MAX_UPDATES_PER_APPLY {
        return Err(ViewError::TooLarge { updates: updates.len(), limit: MAX_UPDATES_PER_APPLY });
    }
    let given = updates.len();
    let mut places: HashMap<(ViewKey, Part), usize> = HashMap::with_capacity(given);
    let mut kept: Vec<Update> = Vec::with_capacity(given);
    for update in updates {
        match places.entry((update.key.clone(), update.part)) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push(update);
            }
            std::collections::hash_map::Entry::Occupied(place) => {
                if let Some(present) = kept.get_mut(*place.get())
                    && update.observed_ms >= present.observed_ms
                {
                    let (listing, listing_ms) = match (&update.listing, &present.listing) {
                        // A winner that does not know the place keeps the place the loser knew.
                        (Listing::IfAbsent(_), Listing::List(_)) => (present.listing.clone(), present.listing_ms),
                        // Taken out and then listed again, place unknown.
                        (Listing::IfAbsent(entry), Listing::Unlist) => (Listing::List(entry.clone()), present.listing_ms),
                        _ => (update.listing.clone(), update.listing_ms),
                    };
                    *present = Update { listing, listing_ms, ..update };
                }
            }
        }
    }
    let outdated = given - kept.len();
    Ok((kept, outdated))
}

/// The records among `written`, each once, in order.
pub(crate) fn changed_keys<'a>(written: impl Iterator<Item = &'a Update>) -> Vec<ViewKey> {
    let mut keys: Vec<ViewKey> = written.map(|update| update.key.clone()).collect();
    keys.sort();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn source() -> PositionKey {
        PositionKey { cluster_id: "c".into(), topic: "bin.features".into(), topic_id: "t1".into(), partition: 0 }
    }

    fn update(id: &str, observed_ms: i64, level: f64) -> Update {
        Update::put(ViewKey::new(Keyspace::Bin, "acme", id).unwrap(), Part::Features, observed_ms, &json!({"filling_level": level}))
    }

    #[test]
    fn a_batch_keeps_the_latest_event_time_and_of_equal_ones_the_last() {
        let (kept, outdated) = coalesce(&source(), 9, vec![update("a", 5, 0.5), update("b", 1, 0.1), update("a", 4, 0.4), update("a", 5, 0.6)]).unwrap();
        assert_eq!(kept, vec![update("a", 5, 0.6), update("b", 1, 0.1)]);
        assert_eq!(outdated, 2);
    }

    #[test]
    fn what_no_store_could_hold_is_refused() {
        assert!(matches!(coalesce(&source(), -1, vec![]), Err(ViewError::Invalid { .. })));
        let many = vec![update("a", 1, 0.1); MAX_UPDATES_PER_APPLY + 1];
        assert!(matches!(coalesce(&source(), 1, many), Err(ViewError::TooLarge { .. })));
        let odd = PositionKey { topic: "a|b".into(), ..source() };
        assert!(coalesce(&odd, 1, vec![]).is_err());
        assert!(ViewKey::new(Keyspace::Bin, "acme", "a\0b").is_err());
        assert!(ViewKey::new(Keyspace::Bin, "", "a").is_err());
        assert!(ViewKey::new(Keyspace::Bin, "a/b", "c").is_err());
    }
}
