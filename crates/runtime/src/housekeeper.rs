//! The housekeeper: the slow, rare work of a worker on a thread of its own — restoring tasks from snapshot and
//! changelog, answering where a changelog ends, cutting it, writing snapshots.

use crate::now_ms;
use crate::patience::{RETRY, patiently};
use crate::snapshots::TaskSnapshots;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};
use ws_stream::log::{Admin, End, Log, LogError, TaskId, TopicPartition};
use ws_stream::records::{Records, RecordsBuilder};
use ws_stream::task::{Snapshot, Surroundings, changelog_topic, hex, manifest_topic};
use ws_stream::worker::Input;

/// How long a restore may go without any progress before it is given up and tried again.
const RESTORE_STALL: Duration = Duration::from_secs(30);

/// Work for the housekeeper.
pub(crate) enum Chore {
    Restore {
        task: TaskId,
        incarnation: u64,
        partitions: Vec<TopicPartition>,
        tables: Vec<TopicPartition>,
    },
    Mark {
        task: TaskId,
        incarnation: u64,
    },
    Truncate {
        task: TaskId,
        before: i64,
    },
    Snapshot {
        task: TaskId,
        from_offset: i64,
        positions: Vec<(TopicPartition, i64)>,
        snapshot: Snapshot,
    },
    /// Delete what was consumed of a repartition topic.
    Purge {
        at: TopicPartition,
        before: i64,
    },
    /// Where a partition that looks idle ends.
    End {
        task: TaskId,
        incarnation: u64,
        at: TopicPartition,
    },
    /// How far these positions are behind the ends.
    Lag(Vec<(TopicPartition, i64)>),
}

/// Asks the committer's thread for the newest committed epoch of a task.
pub(crate) type AskProgress = Box<dyn Fn(&[TaskId]) -> Result<u64, LogError> + Send>;

/// What the housekeeper needs.
pub(crate) struct Housekeeper {
    pub log: Arc<dyn Log>,
    pub topology: Arc<str>,
    pub group_progress: AskProgress,
    pub surroundings: Surroundings,
    pub snapshots: Option<PathBuf>,
    pub out: SyncSender<Input>,
    /// Input records not consumed yet.
    pub lag: Arc<AtomicI64>,
}

impl Housekeeper {
    /// Works until the channel closes.
    pub fn run(self, chores: Receiver<Chore>) {
        let mut admin = None;
        for chore in chores {
            let (task, incarnation) = match &chore {
                Chore::Restore { task, incarnation, .. } | Chore::Mark { task, incarnation } | Chore::End { task, incarnation, .. } => (*task, *incarnation),
                Chore::Purge { at, .. } => (TaskId(at.partition), 0),
                Chore::Truncate { task, .. } | Chore::Snapshot { task, .. } => (*task, 0),
                Chore::Lag(_) => (TaskId(0), 0),
            };
            let restore = matches!(chore, Chore::Restore { .. });
            let Err(e) = self.chore(&mut admin, chore) else { continue };
            tracing::warn!(task = task.0, error = %e, "housekeeping failed");
            if !restore {
                continue;
            }
            // Away for long, or cut by the task's owner before: neither is the task's fault. It begins again.
            let _ = self.out.send(if matches!(e, LogError::Unavailable { .. } | LogError::OutOfRange { .. }) {
                std::thread::sleep(RETRY);
                Input::RestoreAgain { task, incarnation }
            } else {
                Input::Failed { task, incarnation, error: format!("restore: {e}") }
            });
        }
    }

    fn changelog(&self, task: TaskId) -> TopicPartition {
        TopicPartition::new(changelog_topic(&self.topology), task.0)
    }

    fn chore(&self, admin: &mut Option<Box<dyn Admin>>, chore: Chore) -> Result<(), LogError> {
        let admin = match admin {
            Some(a) => a,
            None => admin.insert(self.log.admin()?),
        };
        match chore {
            Chore::Restore { task, incarnation, partitions, tables } => self.restore(admin.as_mut(), task, incarnation, &partitions, &tables),
            Chore::Mark { task, incarnation } => {
                let offset = patiently(|| admin.end(&self.changelog(task), End::Stable))?;
                let _ = self.out.send(Input::Mark { task, incarnation, offset });
                Ok(())
            }
            Chore::Lag(positions) => {
                let mut lag = 0;
                for (at, position) in positions {
                    lag += (admin.end(&at, End::Stable)? - position).max(0);
                }
                self.lag.store(lag, Ordering::Relaxed);
                Ok(())
            }
            Chore::Purge { at, before } => {
                // Deleted already, by an earlier life that was further: nothing is lost.
                match admin.truncate(&at, before) {
                    Err(LogError::OutOfRange { start, .. }) if start >= before => Ok(()),
                    other => other,
                }
            }
            Chore::End { task, incarnation, at } => {
                let end = admin.end(&at, End::Stable)?;
                let _ = self.out.send(Input::End { task, incarnation, at, end });
                Ok(())
            }
            Chore::Truncate { task, before } => patiently(|| admin.truncate(&self.changelog(task), before)),
            Chore::Snapshot { task, from_offset, positions, snapshot } => {
                if let Some((root, topic_id)) = self.snapshots.as_ref().zip(self.topic_id()) {
                    let saved = TaskSnapshots::open(root, &self.topology, task.0)
                        .and_then(|s| s.save(&snapshot, from_offset, &positions, &self.surroundings.cluster_id, &topic_id, now_ms()));
                    if let Err(e) = saved {
                        tracing::warn!(task = task.0, error = %e, folder = %root.display(), "snapshot not written; a restore will read more of the changelog");
                    }
                }
                Ok(())
            }
        }
    }

    fn topic_id(&self) -> Option<String> {
        self.surroundings.topics.get(&changelog_topic(&self.topology)).map(|t| hex(&t.0))
    }

    fn send(&self, input: Input) -> Result<(), LogError> {
        self.out.send(input).map_err(|_| LogError::Fenced("the worker has ended".into()))
    }

    fn restore(&self, admin: &mut dyn Admin, task: TaskId, incarnation: u64, partitions: &[TopicPartition], tables: &[TopicPartition]) -> Result<(), LogError> {
        let at = self.changelog(task);
        let started = Instant::now();
        let start = patiently(|| admin.start(&at))?;
        let end = patiently(|| admin.end(&at, End::High))?;
        let (mut from, mut skip_through) = (start, 0);
        if let Some((root, topic_id)) = self.snapshots.as_ref().zip(self.topic_id())
            && let Ok(folder) = TaskSnapshots::open(root, &self.topology, task.0)
        {
            match folder.load(&self.surroundings.cluster_id, &topic_id) {
                Ok(Some((tag, records))) if tag.from_offset >= start && tag.from_offset <= end => {
                    let mut b = RecordsBuilder::default();
                    records.iter().for_each(|r| b.push(0, 0, None, Some(r), &[]));
                    self.send(Input::State { task, incarnation, records: b.finish(0), skip_through: 0 })?;
                    (from, skip_through) = (tag.from_offset, tag.epoch);
                    self.send(Input::SnapshotTag { task, incarnation, epoch: tag.epoch, positions: tag.positions() })?;
                }
                Ok(Some(_)) => tracing::info!(task = task.0, "snapshot is older than the changelog's start; restoring from the changelog"),
                Ok(None) => {}
                Err(e) => {
                    tracing::warn!(task = task.0, error = %e, "snapshot refused; restoring from the changelog");
                    let _ = folder.set_aside();
                }
            }
        }
        let mut records_read = 0usize;
        if from < end {
            let mut reader = self.log.reader()?;
            reader.add(&at, from)?;
            let (mut position, mut moved) = (from, Instant::now());
            while position < end {
                for (tp, records) in reader.poll(100)? {
                    if tp == at && records.next_offset > position {
                        (position, moved) = (records.next_offset, Instant::now());
                        records_read += records.rows.len();
                        self.state(task, incarnation, records, skip_through)?;
                    }
                }
                if moved.elapsed() > RESTORE_STALL {
                    return Err(LogError::Unavailable {
                        what: format!("restore of task {} from {at}", task.0),
                        cause: format!("no progress at offset {position} of {end} for {} s", RESTORE_STALL.as_secs()),
                        hint: "is a transaction of a dead process still open? it ends by its timeout; the restore is tried again".into(),
                    });
                }
            }
        }
        let mut starts = Vec::new();
        for tp in partitions.iter().chain(tables) {
            starts.push((tp.clone(), patiently(|| admin.start(tp))?));
        }
        let mut table_ends = Vec::new();
        for tp in tables {
            table_ends.push((tp.clone(), patiently(|| admin.end(tp, End::Stable))?));
        }
        let committed = patiently(|| (self.group_progress)(&[task]))?;
        if committed == 0 && records_read == 0 && skip_through == 0 && self.has_manifest(admin, task)? {
            return Err(LogError::Fatal {
                what: format!("starting task {} of {}", task.0, self.topology),
                cause: format!("{} tells of committed epochs, but there is neither progress nor changelog", manifest_topic(&self.topology)),
                hint: "topics of the engine were deleted: to begin anew on purpose, delete that topic too (outputs are then written again), or give the topology a new name".into(),
            });
        }
        tracing::info!(task = task.0, epoch = committed, records = records_read, ms = started.elapsed().as_millis() as u64, "task restored");
        self.send(Input::Restored { task, incarnation, committed, starts, table_ends })
    }

    /// Does the task's manifest hold a committed record? Only an aborted first epoch leaves some that do not count.
    fn has_manifest(&self, admin: &mut dyn Admin, task: TaskId) -> Result<bool, LogError> {
        let at = TopicPartition::new(manifest_topic(&self.topology), task.0);
        let (mut position, end) = (patiently(|| admin.start(&at))?, patiently(|| admin.end(&at, End::Stable))?);
        if position >= end {
            return Ok(false);
        }
        let mut reader = self.log.reader()?;
        reader.add(&at, position)?;
        let started = Instant::now();
        while position < end && started.elapsed() < RESTORE_STALL {
            for (_, records) in reader.poll(100)? {
                if !records.rows.is_empty() {
                    return Ok(true);
                }
                position = records.next_offset;
            }
        }
        Ok(false)
    }

    fn state(&self, task: TaskId, incarnation: u64, records: Records, skip_through: u64) -> Result<(), LogError> {
        self.send(Input::State { task, incarnation, records, skip_through })
    }
}
