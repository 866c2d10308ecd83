//! The simulated log behind the log trait, without delays or faults: for the contract suite, for `topology test` and
//! for unit tests. It is the simulator's broker with every transaction completed at once.

use crate::broker::{Broker, EpochOffsets, Sender, TxnError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ws_stream::log::{
    Admin, Append, Committer, End, EpochSet, Joined, Log, LogError, Member, Membership, Outcome, Ownership, Progress, Reader, TaskId, TopicInfo,
    TopicPartition, TopicSpec,
};
use ws_stream::records::{Appends, Records};

/// Records handed over at most per partition and poll.
const POLL_ROWS: usize = 500;

/// An in-memory log. Clones share their contents.
#[derive(Clone, Debug, Default)]
pub struct SimLog {
    broker: Arc<Mutex<Broker>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere is that test's failure; the data are still whole, as every request is one call.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimLog {
    /// An empty log.
    pub fn new() -> Self {
        SimLog::default()
    }

    /// Deletes a topic with all its records.
    pub fn delete(&self, topic: &str) {
        lock(&self.broker).delete(topic);
    }
}

impl Log for SimLog {
    fn admin(&self) -> Result<Box<dyn Admin>, LogError> {
        Ok(Box::new(SimAdmin(self.broker.clone())))
    }
    fn reader(&self) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(SimReader { broker: self.broker.clone(), reading: BTreeMap::new() }))
    }
    fn appender(&self) -> Result<Box<dyn Append>, LogError> {
        Ok(Box::new(SimAdmin(self.broker.clone())))
    }
    fn join(&self, member: &Member) -> Result<Joined, LogError> {
        let number = lock(&self.broker).group(&member.group()).join(member.tasks, 0);
        let joined = Arc::new(Mutex::new(Joint { member: number, generation: 0, owned: BTreeSet::new() }));
        let committer =
            SimCommitter { broker: self.broker.clone(), joined: joined.clone(), group: member.group(), id: member.transactional_id(), epoch: None, step: 0 };
        let membership = SimMembership { broker: self.broker.clone(), joined, group: member.group() };
        Ok((Box::new(committer), Box::new(membership)))
    }
}

struct SimAdmin(Arc<Mutex<Broker>>);

impl Admin for SimAdmin {
    fn cluster_id(&mut self) -> Result<String, LogError> {
        Ok(lock(&self.0).cluster_id().to_string())
    }
    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>, LogError> {
        Ok(lock(&self.0).topic(name))
    }
    fn create(&mut self, specs: &[TopicSpec]) -> Result<(), LogError> {
        let mut broker = lock(&self.0);
        specs.iter().for_each(|s| broker.create(s));
        Ok(())
    }
    fn start(&mut self, at: &TopicPartition) -> Result<i64, LogError> {
        Ok(lock(&self.0).partition(at)?.start())
    }
    fn end(&mut self, at: &TopicPartition, end: End) -> Result<i64, LogError> {
        let broker = lock(&self.0);
        let p = broker.partition(at)?;
        Ok(match end {
            End::High => p.high(),
            End::Stable => p.stable(),
        })
    }
    fn offset_at(&mut self, at: &TopicPartition, time_ms: i64) -> Result<i64, LogError> {
        Ok(lock(&self.0).partition(at)?.offset_at(time_ms))
    }
    fn truncate(&mut self, at: &TopicPartition, before: i64) -> Result<(), LogError> {
        lock(&self.0).truncate(at, before)
    }
}

impl Append for SimAdmin {
    fn append(&mut self, appends: &[Appends]) -> Result<(), LogError> {
        lock(&self.0).append(appends)
    }
}

struct SimReader {
    broker: Arc<Mutex<Broker>>,
    /// Position, and whether it is paused.
    reading: BTreeMap<TopicPartition, (i64, bool)>,
}

impl Reader for SimReader {
    fn add(&mut self, at: &TopicPartition, offset: i64) -> Result<(), LogError> {
        lock(&self.broker).partition(at)?.read(at, offset, 0)?;
        self.reading.insert(at.clone(), (offset, false));
        Ok(())
    }
    fn remove(&mut self, at: &TopicPartition) -> Result<(), LogError> {
        self.reading.remove(at);
        Ok(())
    }
    fn pause(&mut self, at: &TopicPartition) -> Result<(), LogError> {
        self.reading.entry(at.clone()).and_modify(|r| r.1 = true);
        Ok(())
    }
    fn resume(&mut self, at: &TopicPartition) -> Result<(), LogError> {
        self.reading.entry(at.clone()).and_modify(|r| r.1 = false);
        Ok(())
    }
    fn poll(&mut self, _wait_ms: u64) -> Result<Vec<(TopicPartition, Records)>, LogError> {
        let broker = lock(&self.broker);
        let mut out = Vec::new();
        for (at, (offset, paused)) in &mut self.reading {
            if *paused {
                continue;
            }
            let records = broker.partition(at)?.read(at, *offset, POLL_ROWS)?;
            if records.next_offset > *offset {
                *offset = records.next_offset;
                out.push((at.clone(), records));
            }
        }
        Ok(out)
    }
}

/// What a member's committer and membership share.
struct Joint {
    member: u64,
    generation: u64,
    owned: BTreeSet<TaskId>,
}

struct SimCommitter {
    broker: Arc<Mutex<Broker>>,
    joined: Arc<Mutex<Joint>>,
    group: String,
    id: String,
    epoch: Option<u32>,
    step: u32,
}

/// What an epoch set writes as group offsets.
pub(crate) fn offsets_of(set: &EpochSet) -> Vec<EpochOffsets> {
    set.epochs.iter().map(|e| EpochOffsets { task: e.task, number: e.number, positions: e.positions.clone() }).collect()
}

impl SimCommitter {
    fn transaction(&mut self, broker: &mut Broker, epoch: u32, joint: (u64, u64), set: &EpochSet) -> Result<(), TxnError> {
        for e in &set.epochs {
            self.step += 1;
            broker.append_txn(Sender { id: &self.id, epoch, step: self.step }, &e.appends, 0)?;
        }
        self.step += 1;
        broker.offsets_txn(Sender { id: &self.id, epoch, step: self.step }, &self.group, joint, &offsets_of(set), 0)?;
        broker.end(&self.id, epoch, true)
    }
}

impl Committer for SimCommitter {
    fn open(&mut self) -> Result<(), LogError> {
        let mut broker = lock(&self.broker);
        let epoch = broker.init(&self.id).or_else(|_| {
            broker.settle();
            broker.init(&self.id)
        });
        self.epoch = Some(epoch.map_err(|e| LogError::Fenced(e.to_string()))?);
        self.step = 0;
        Ok(())
    }

    fn commit(&mut self, set: &EpochSet) -> Outcome {
        let foreign = set.epochs.iter().find(|e| !lock(&self.joined).owned.contains(&e.task));
        if let Some(e) = foreign {
            return Outcome::Aborted(format!("task {} is not owned by this member", e.task.0));
        }
        let Some(epoch) = self.epoch else {
            return Outcome::Unknown("the committer is not open".into());
        };
        // Read before the broker is locked: a membership that is polled meanwhile holds this and waits for the broker. One that is
        // outdated by then aborts the transaction.
        let joint = {
            let joined = lock(&self.joined);
            (joined.member, joined.generation)
        };
        let broker = self.broker.clone();
        let mut broker = lock(&broker);
        let result = self.transaction(&mut broker, epoch, joint, set);
        let outcome = match result {
            Ok(()) => Outcome::Committed,
            Err(e @ TxnError::Fenced) => Outcome::Unknown(e.to_string()),
            Err(e) => {
                let _ = broker.end(&self.id, epoch, false);
                Outcome::Aborted(e.to_string())
            }
        };
        broker.settle();
        outcome
    }

    fn progress(&mut self, tasks: &[TaskId]) -> Result<Vec<Progress>, LogError> {
        lock(&self.broker).progress(&self.group, tasks).ok_or_else(|| LogError::Unavailable {
            what: "reading progress".into(),
            cause: "a transaction of these tasks is undecided".into(),
            hint: "ask again".into(),
        })
    }
}

struct SimMembership {
    broker: Arc<Mutex<Broker>>,
    joined: Arc<Mutex<Joint>>,
    group: String,
}

impl Membership for SimMembership {
    fn poll(&mut self) -> Result<Vec<Ownership>, LogError> {
        let mut joined = lock(&self.joined);
        let messages = lock(&self.broker).group(&self.group).messages(joined.member);
        let mut changes = Vec::new();
        for m in messages {
            joined.generation = m.generation;
            if let Some(Ownership::Assigned(tasks)) = &m.change {
                joined.owned.extend(tasks);
            }
            changes.extend(m.change);
        }
        Ok(changes)
    }
    fn release(&mut self, tasks: &[TaskId]) -> Result<(), LogError> {
        let mut joined = lock(&self.joined);
        tasks.iter().for_each(|t| {
            joined.owned.remove(t);
        });
        lock(&self.broker).group(&self.group).release(joined.member, tasks);
        Ok(())
    }
    fn leave(&mut self) -> Result<(), LogError> {
        let mut joined = lock(&self.joined);
        joined.owned.clear();
        lock(&self.broker).group(&self.group).leave(joined.member);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ws_stream::log::contract;

    #[test]
    fn the_simulated_log_keeps_the_contract() {
        contract::run(&SimLog::new(), "contract");
    }

    #[test]
    fn a_topic_made_again_has_another_id() {
        let log = SimLog::new();
        contract::topics::recreated_topic_has_another_id(&log, "again", &|name| log.delete(name));
    }

    #[test]
    fn a_reopened_log_is_the_same() {
        let log = SimLog::new();
        contract::members::survives_reopening(&|| Box::new(log.clone()), "reopen");
    }

    #[test]
    fn random_histories_agree_with_the_model() {
        for seed in 0..40 {
            contract::history::random(&SimLog::new(), "history", seed, 60);
        }
    }
}
