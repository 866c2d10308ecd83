//! Where a row stems from, in one number. The system column `__offset` must lead every row back to the record that it
//! was made of (lineage, dead letters), also where a task reads several inputs and where rows came through a
//! repartition topic and stem from partitions that the task never sees. Topic, partition and offset are packed into
//! it, so that whatever carries a row or keeps its `__offset` as state carries the whole position.
//!
//! From the top: a zero bit, the topic's number (5 bits), the partition's distance from the task's own (12 bits), the
//! offset (46 bits: at 100,000 records a second on one partition, 22 years). Rows of a task's first input from its
//! own partition have the plain offset.

use crate::log::TopicPartition;
use crate::operator::OperatorError;
use std::sync::Arc;

const OFFSET_BITS: u32 = 46;
const PARTITION_BITS: u32 = 12;
/// First offset that does not fit.
pub const MAX_OFFSET: i64 = 1 << OFFSET_BITS;
/// Partitions that a topic may have whose rows are re-keyed.
pub const MAX_PARTITIONS: u32 = 1 << PARTITION_BITS;
/// Topics from which one slice's rows may stem.
pub const MAX_TOPICS: usize = 32;

/// The offset's part of a position code.
pub fn offset_of(code: i64) -> i64 {
    code & (MAX_OFFSET - 1)
}

/// What stands above the offset: 0 for the first input's own partition.
pub fn high_of(code: i64) -> i64 {
    code >> OFFSET_BITS
}

/// The inverse of [`offset_of`] and [`high_of`].
pub fn code_of(high: i64, offset: i64) -> i64 {
    (high << OFFSET_BITS) | offset
}

/// The topics that a task's rows may stem from; packs and unpacks positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    topics: Arc<[Arc<str>]>,
    task: u32,
}

impl Origins {
    /// Of these topics, for the task of this number.
    pub fn new(topics: Vec<Arc<str>>, task: u32) -> Result<Self, OperatorError> {
        if topics.len() > MAX_TOPICS {
            return Err(OperatorError::Limit { what: "topics from which the rows of one slice stem", limit: MAX_TOPICS as u64, setting: "sources" });
        }
        Ok(Origins { topics: topics.into(), task })
    }

    /// What stands above the offset for a partition of a topic (by its number).
    pub fn high(&self, topic: usize, partition: u32) -> i64 {
        let away = partition.wrapping_sub(self.task) & (MAX_PARTITIONS - 1);
        ((topic as i64) << PARTITION_BITS) | i64::from(away)
    }

    /// Topic (by its number), partition and offset of a code.
    pub fn split(&self, code: i64) -> (usize, u32, i64) {
        let high = high_of(code);
        let away = (high & i64::from(MAX_PARTITIONS - 1)) as u32;
        // The own partition is told exactly, whatever its number.
        let partition = if away == 0 { self.task } else { (self.task + away) & (MAX_PARTITIONS - 1) };
        ((high >> PARTITION_BITS) as usize, partition, offset_of(code))
    }

    /// The position that a code stands for.
    pub fn position(&self, code: i64) -> (TopicPartition, i64) {
        let (topic, partition, offset) = self.split(code);
        (TopicPartition::new(self.topic(topic), partition), offset)
    }

    /// The name of a topic by its number; empty when there is none.
    pub fn topic(&self, number: usize) -> Arc<str> {
        self.topics.get(number).cloned().unwrap_or_else(|| Arc::from(""))
    }

    /// The number of a topic.
    pub fn number(&self, topic: &str) -> Option<usize> {
        self.topics.iter().position(|t| &**t == topic)
    }

    /// All topics, by their numbers.
    pub fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn positions_survive_and_the_first_inputs_own_partition_is_the_plain_offset() {
        let o = Origins::new(vec!["a".into(), "b".into()], 3).unwrap();
        assert_eq!(code_of(o.high(0, 3), 77), 77);
        let mut seen = std::collections::BTreeSet::new();
        for topic in 0..2 {
            for partition in [0, 1, 2, 3, 4, 4095] {
                for offset in [0, 1, MAX_OFFSET - 1] {
                    let code = code_of(o.high(topic, partition), offset);
                    assert!(code >= 0 && seen.insert(code));
                    assert_eq!(o.split(code), (topic, partition, offset));
                    assert_eq!((high_of(code), offset_of(code)), (o.high(topic, partition), offset));
                }
            }
        }
        let (at, offset) = o.position(code_of(o.high(1, 0), 9));
        assert_eq!((at, offset), (TopicPartition::new("b", 0), 9));
    }

    #[test]
    fn a_task_beyond_the_packed_range_still_knows_its_own_partition() {
        let o = Origins::new(vec!["a".into()], 9_000).unwrap();
        assert_eq!(o.split(code_of(o.high(0, 9_000), 5)), (0, 9_000, 5));
    }
}
