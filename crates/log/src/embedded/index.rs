//! What readers and writers must know at once and is kept in memory: the topics, and where each partition starts and
//! ends. Ends move only when what lies before them is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::log::{LogError, TopicId, TopicPartition};

#[derive(Debug)]
pub(super) struct Index {
    pub cluster_id: String,
    pub topics: BTreeMap<Arc<str>, Topic>,
}

#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub id: TopicId,
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Partition {
    /// First offset kept.
    pub start: i64,
    /// Offset after the newest record.
    pub end: i64,
}

impl Index {
    pub fn new(cluster_id: String) -> Index {
        Index { cluster_id, topics: BTreeMap::new() }
    }

    pub fn find(&self, at: &TopicPartition) -> Result<(TopicId, Partition), LogError> {
        let topic = self.topics.get(&at.topic).ok_or_else(|| LogError::NoTopic(at.topic.clone()))?;
        let partition = topic.partitions.get(at.partition as usize).ok_or_else(|| no_partition(at, topic.partitions.len()))?;
        Ok((topic.id, *partition))
    }

    pub fn find_mut(&mut self, at: &TopicPartition) -> Option<&mut Partition> {
        self.topics.get_mut(&at.topic)?.partitions.get_mut(at.partition as usize)
    }
}

fn no_partition(at: &TopicPartition, count: usize) -> LogError {
    LogError::Fatal {
        what: format!("finding {at}"),
        cause: format!("the topic has {count} partitions, numbered from 0"),
        hint: "correct the partition count in the topology, or make a topic with more partitions".into(),
    }
}
