//! How fresh a read is: the positions behind it, and the event times those positions stand for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ViewError;

/// Where an output record came from. Bare offsets are trusted nowhere: a topic made anew under the same name is another source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PositionKey {
    /// The log's cluster.
    pub cluster_id: String,
    /// The topic's name.
    pub topic: String,
    /// The topic's id, new each time a topic is created.
    pub topic_id: String,
    /// The partition.
    pub partition: i32,
}

impl PositionKey {
    /// The form used in stored keys.
    pub(crate) fn stored(&self) -> String {
        format!("{}|{}|{}|{}", self.cluster_id, self.topic, self.topic_id, self.partition)
    }

    /// Reads the stored form.
    pub(crate) fn parse(stored: &str) -> Result<Self, ViewError> {
        let pieces: Vec<&str> = stored.split('|').collect();
        if let [cluster_id, topic, topic_id, partition] = pieces[..]
            && let Ok(partition) = partition.parse()
        {
            return Ok(Self { cluster_id: cluster_id.into(), topic: topic.into(), topic_id: topic_id.into(), partition });
        }
        Err(ViewError::Corrupt { key: stored.into(), cause: "not a source position".into() })
    }

    /// Refuses names that the stored form could not hold.
    pub(crate) fn check(&self) -> Result<(), ViewError> {
        let named = [&self.cluster_id, &self.topic, &self.topic_id];
        if named.iter().any(|name| name.contains('|') || name.chars().any(char::is_control)) || self.topic.is_empty() {
            return Err(ViewError::Invalid { what: "source", detail: format!("{self}") });
        }
        Ok(())
    }
}

impl fmt::Display for PositionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} (topic id {}, cluster {})", self.topic, self.partition, self.topic_id, self.cluster_id)
    }
}

/// How far one source partition is in the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePosition {
    /// The source partition.
    pub source: PositionKey,
    /// The producer side's ownership epoch that wrote last.
    pub owner_epoch: u64,
    /// The offset of the next record to apply.
    pub next_offset: i64,
    /// The watermark behind the last batch, UTC ms.
    pub watermark_ms: Option<i64>,
    /// The newest event time applied, UTC ms.
    pub observed_ms: Option<i64>,
    /// When the last batch was applied, UTC ms of the applier's clock.
    pub applied_ms: Option<i64>,
}

/// How fresh a read is. Positions are read no later than the values, so the values are at least this fresh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Freshness {
    /// One entry per source partition, in the order of their names.
    pub positions: Vec<SourcePosition>,
    /// Event time up to which every source is complete: the lowest watermark, UTC ms.
    pub as_of_ms: Option<i64>,
    /// The newest event time in the view, UTC ms.
    pub newest_observed_ms: Option<i64>,
    /// When the view was last written, UTC ms of the applier's clock.
    pub applied_ms: Option<i64>,
}

impl Freshness {
    /// Freshness from the positions of a view.
    pub fn of(mut positions: Vec<SourcePosition>) -> Self {
        positions.sort_by(|a, b| a.source.cmp(&b.source));
        Self {
            as_of_ms: positions.iter().filter_map(|p| p.watermark_ms).min(),
            newest_observed_ms: positions.iter().filter_map(|p| p.observed_ms).max(),
            applied_ms: positions.iter().filter_map(|p| p.applied_ms).max(),
            positions,
        }
    }

    /// How far the view is behind an event clock at `event_now_ms`; never negative, none while the view is empty.
    pub fn lag_ms(&self, event_now_ms: i64) -> Option<i64> {
        self.newest_observed_ms.map(|newest| event_now_ms.saturating_sub(newest).max(0))
    }
}
