//! A broker in memory, request by request, as close to Kafka's as the engine's correctness depends on: transactional
//! identities with producer epochs, transactions whose decision and whose markers are separate steps, group offsets
//! that are pending until a transaction ends, and a coordinator that checks the generation but not the ownership.
//! Nothing here waits or draws: whoever calls decides when a request arrives and which reply gets lost.

mod group;
mod partition;
mod txn;

pub use group::{Group, Message};
pub use partition::{Partition, Stored};
pub use txn::{MarkerAt, Sender, TxnError};

use std::collections::BTreeMap;
use std::sync::Arc;
use txn::Producer;
use ws_stream::log::{LogError, Progress, TaskId, TopicId, TopicInfo, TopicPartition, TopicSpec};
use ws_stream::records::Appends;

#[derive(Debug)]
struct Topic {
    id: TopicId,
    partitions: Vec<Partition>,
}

/// Committed progress and positions of a group, and what undecided transactions would make of them.
#[derive(Debug, Default)]
struct Offsets {
    numbers: BTreeMap<TaskId, u64>,
    positions: BTreeMap<TopicPartition, i64>,
    pending: BTreeMap<u64, Vec<EpochOffsets>>,
}

/// What an epoch writes as group offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochOffsets {
    /// The task.
    pub task: TaskId,
    /// Its epoch.
    pub number: u64,
    /// Its input positions.
    pub positions: Vec<(TopicPartition, i64)>,
}

/// The broker.
#[derive(Debug, Default)]
pub struct Broker {
    topics: BTreeMap<Arc<str>, Topic>,
    producers: BTreeMap<String, Producer>,
    groups: BTreeMap<String, Group>,
    offsets: BTreeMap<String, Offsets>,
    topics_made: u64,
    txns: u64,
}

impl Broker {
    /// Its identity.
    pub fn cluster_id(&self) -> &'static str {
        "simulated"
    }

    /// Creates a topic unless it exists.
    pub fn create(&mut self, spec: &TopicSpec) {
        if self.topics.contains_key(&spec.name) {
            return;
        }
        self.topics_made += 1;
        let mut id = [0x51u8; 16];
        id[..8].copy_from_slice(&self.topics_made.to_be_bytes());
        let partitions = (0..spec.partitions.max(1)).map(|_| Partition::default()).collect();
        self.topics.insert(spec.name.clone(), Topic { id, partitions });
    }

    /// Deletes a topic with all its records.
    pub fn delete(&mut self, name: &str) {
        self.topics.remove(name);
    }

    /// What is known of a topic.
    pub fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.topics.get(name).map(|t| TopicInfo { id: t.id, partitions: t.partitions.len() as u32 })
    }

    /// Ids and partition counts of all topics.
    pub fn topics(&self) -> BTreeMap<Arc<str>, (TopicId, u32)> {
        self.topics.iter().map(|(n, t)| (n.clone(), (t.id, t.partitions.len() as u32))).collect()
    }

    /// A partition.
    pub fn partition(&self, at: &TopicPartition) -> Result<&Partition, LogError> {
        let topic = self.topics.get(&at.topic).ok_or_else(|| LogError::NoTopic(at.topic.clone()))?;
        topic.partitions.get(at.partition as usize).ok_or_else(|| no_partition(&at.topic, at.partition))
    }

    fn partition_mut(&mut self, at: &TopicPartition) -> Result<&mut Partition, LogError> {
        let topic = self.topics.get_mut(&at.topic).ok_or_else(|| LogError::NoTopic(at.topic.clone()))?;
        topic.partitions.get_mut(at.partition as usize).ok_or_else(|| no_partition(&at.topic, at.partition))
    }

    /// Deletes records before an offset.
    pub fn truncate(&mut self, at: &TopicPartition, before: i64) -> Result<(), LogError> {
        self.partition_mut(at)?.truncate(before);
        Ok(())
    }

    /// Appends outside any transaction; all or nothing.
    pub fn append(&mut self, appends: &[Appends]) -> Result<(), LogError> {
        self.check_targets(appends)?;
        self.write(appends, 0);
        Ok(())
    }

    fn check_targets(&self, appends: &[Appends]) -> Result<(), LogError> {
        for a in appends {
            let topic = self.topics.get(&a.topic).ok_or_else(|| LogError::NoTopic(a.topic.clone()))?;
            if let Some(row) = a.rows.iter().find(|r| r.partition as usize >= topic.partitions.len()) {
                return Err(no_partition(&a.topic, row.partition));
            }
        }
        Ok(())
    }

    fn write(&mut self, appends: &[Appends], txn: u64) {
        for a in appends {
            let Some(topic) = self.topics.get_mut(&a.topic) else {
                continue;
            };
            for i in 0..a.rows.len() {
                if let Some(p) = topic.partitions.get_mut(a.rows[i].partition as usize) {
                    p.append(a, i, txn);
                }
            }
        }
    }

    /// A group, made at first sight.
    pub fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_string()).or_default()
    }

    /// Newest committed epoch of each task, in the order asked for; `None` while an undecided transaction holds one
    /// of them.
    pub fn progress(&self, group: &str, tasks: &[TaskId]) -> Option<Vec<Progress>> {
        let Some(offsets) = self.offsets.get(group) else {
            return Some(tasks.iter().map(|t| Progress { task: *t, number: 0 }).collect());
        };
        if offsets.pending.values().flatten().any(|e| tasks.contains(&e.task)) {
            return None;
        }
        Some(tasks.iter().map(|t| Progress { task: *t, number: offsets.numbers.get(t).copied().unwrap_or(0) }).collect())
    }

    /// Committed position of an input.
    pub fn position(&self, group: &str, at: &TopicPartition) -> Option<i64> {
        self.offsets.get(group)?.positions.get(at).copied()
    }
}

fn no_partition(topic: &str, partition: u32) -> LogError {
    LogError::Fatal {
        what: format!("append to {topic}[{partition}]"),
        cause: "there is no such partition".into(),
        hint: "compare the topic's partition count with the topology's".into(),
    }
}
