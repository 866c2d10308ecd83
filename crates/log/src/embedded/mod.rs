//! The embedded log: in process, durable, transactional, on one folder of files. For the demo, development and small
//! sites; whoever wants Kafka's protocol runs Kafka.
//!
//! `core` groups writes and keeps the index, `files` stores *chunks* (see `chunk`) in fjall, `reader` hands
//! them over, `group` shares tasks among the members within the process. What is not here on purpose: isolation
//! levels (nothing uncommitted is ever stored, so both ends are the same), retention by time, compaction.
//!
//! One process owns the folder. A file `owner` in it is locked and holds the owner's process id.

// The edge: readers wait in real time.
#![allow(clippy::disallowed_methods)]

mod chunk;
mod core;
mod files;
mod group;
mod index;
mod reader;
#[cfg(test)]
mod tests;

pub use self::core::WriteCounts;
use self::core::{Commit, Core, Failure, Request, Shared, lock};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ws_stream::log::{
    Admin, Append, Committer, End, EpochSet, Joined, Log, LogError, Member, Membership, Outcome, Ownership, Progress, Reader, TaskId, TopicInfo,
    TopicPartition, TopicSpec,
};
use ws_stream::records::Appends;

/// Where an embedded log lives and what it may use.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The folder; made if absent.
    pub folder: PathBuf,
    /// A chunk that has reached this many bytes takes no further record.
    pub chunk_max_bytes: usize,
    /// A poll stops after this many bytes, give or take a chunk.
    pub poll_max_bytes: usize,
    /// Cache of stored blocks, in bytes.
    pub cache_bytes: u64,
    /// Records held in memory before they are sorted into files, in bytes.
    pub memtable_bytes: u64,
    /// Journals on disk, in bytes; also what is read again when the log is opened. At least 64 MiB.
    pub journal_max_bytes: u64,
}

impl EmbeddedConfig {
    /// Usual sizes for `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> EmbeddedConfig {
        EmbeddedConfig {
            folder: folder.into(),
            chunk_max_bytes: 1 << 20,
            poll_max_bytes: 4 << 20,
            cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
            journal_max_bytes: 256 << 20,
        }
    }
}

/// A log in this process. Cheap to clone; clones are the same log.
#[derive(Clone)]
pub struct EmbeddedLog {
    core: Shared,
}

impl EmbeddedLog {
    /// Opens the folder, checks every partition for gaps, and keeps it until the last clone and part is dropped.
    ///
    /// # Errors
    /// `Fatal` naming the process that has the folder open already, or the topic, partition and offset that are
    /// damaged; `Unavailable` when the disk is full.
    pub fn open(config: EmbeddedConfig) -> Result<EmbeddedLog, LogError> {
        Ok(EmbeddedLog { core: Arc::new(Core::open(config)?) })
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// `NoTopic`, or what the disk says.
    pub fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        self.core.delete(name)
    }

    /// Folder of this log.
    pub fn folder(&self) -> &Path {
        &self.core.config.folder
    }

    /// How many writes shared how many syncs since opening.
    pub fn write_counts(&self) -> WriteCounts {
        self.core.counts()
    }
}

impl Log for EmbeddedLog {
    fn admin(&self) -> Result<Box<dyn Admin>, LogError> {
        Ok(Box::new(EmbeddedAdmin(self.core.clone())))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(reader::EmbeddedReader::new(self.core.clone())))
    }

    fn appender(&self) -> Result<Box<dyn Append>, LogError> {
        Ok(Box::new(EmbeddedAppender(self.core.clone())))
    }

    fn join(&self, member: &Member) -> Result<Joined, LogError> {
        let group = member.group();
        let id = lock(&self.core.groups).join(&group, member.slot, member.tasks).map_err(|tasks| LogError::Fatal {
            what: format!("joining {group}"),
            cause: format!("its members share {tasks} tasks, this one would have {}", member.tasks),
            hint: "run the same version of the topology everywhere, or stop the others first".into(),
        })?;
        let committer = EmbeddedCommitter { core: self.core.clone(), group: group.clone(), identity: member.transactional_id(), member: id, epoch: None };
        Ok((Box::new(committer), Box::new(EmbeddedMembership { core: self.core.clone(), group, member: id })))
    }
}

struct EmbeddedAdmin(Shared);

impl Admin for EmbeddedAdmin {
    fn cluster_id(&mut self) -> Result<String, LogError> {
        Ok(lock(&self.0.index).cluster_id.clone())
    }

    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>, LogError> {
        let index = lock(&self.0.index);
        Ok(index.topics.get(name).map(|t| TopicInfo { id: t.id, partitions: t.partitions.len() as u32 }))
    }

    fn create(&mut self, specs: &[TopicSpec]) -> Result<(), LogError> {
        self.0.create(specs)
    }

    fn start(&mut self, at: &TopicPartition) -> Result<i64, LogError> {
        Ok(lock(&self.0.index).find(at)?.1.start)
    }

    fn end(&mut self, at: &TopicPartition, _: End) -> Result<i64, LogError> {
        Ok(lock(&self.0.index).find(at)?.1.end)
    }

    fn offset_at(&mut self, at: &TopicPartition, time_ms: i64) -> Result<i64, LogError> {
        let (topic, known) = lock(&self.0.index).find(at)?;
        let failed = |e| self.0.describe(&format!("looking up a time in {at}"), &e);
        let access = self.0.access();
        let files = access.files()?;
        for place in files.places(topic, at.partition, 0, known.end) {
            let place = place.map_err(failed)?;
            if place.newest_ms < time_ms || place.end() <= known.start {
                continue;
            }
            let value = files.chunks.get(place.encode()).map_err(failed)?.unwrap_or_default();
            let mut rows = Vec::new();
            chunk::decode(&place, &value, known.start, 0, &mut rows).map_err(|d| files::damaged_chunk(&self.0.config.folder, at, &place, d))?;
            if let Some(row) = rows.iter().find(|r| r.timestamp_ms >= time_ms) {
                return Ok(row.offset);
            }
        }
        Ok(known.end)
    }

    fn truncate(&mut self, at: &TopicPartition, before: i64) -> Result<(), LogError> {
        self.0.truncate(at, before)
    }
}

struct EmbeddedAppender(Shared);

impl Append for EmbeddedAppender {
    fn append(&mut self, appends: &[Appends]) -> Result<(), LogError> {
        let parts = chunk::encode(appends.iter(), self.0.config.chunk_max_bytes);
        let written = self.0.write(Request { parts, commit: None });
        written.map_err(|f| match f {
            Failure::Nothing(e) | Failure::Undetermined(e) => e,
        })
    }
}

struct EmbeddedCommitter {
    core: Shared,
    group: String,
    identity: String,
    member: u64,
    /// Producer epoch, once opened.
    epoch: Option<u64>,
}

impl Committer for EmbeddedCommitter {
    fn open(&mut self) -> Result<(), LogError> {
        self.epoch = None;
        self.epoch = Some(self.core.open_identity(&self.identity)?);
        Ok(())
    }

    fn commit(&mut self, set: &EpochSet) -> Outcome {
        let Some(epoch) = self.epoch else {
            return Outcome::Aborted("the committer is not open".into());
        };
        let parts = chunk::encode(set.epochs.iter().flat_map(|e| &e.appends), self.core.config.chunk_max_bytes);
        let commit = Commit {
            identity: self.identity.clone(),
            epoch,
            group: self.group.clone(),
            member: self.member,
            numbers: set.epochs.iter().map(|e| (e.task, e.number)).collect(),
            positions: set.epochs.iter().flat_map(|e| e.positions.iter().cloned()).collect(),
        };
        match self.core.write(Request { parts, commit: Some(commit) }) {
            Ok(()) => Outcome::Committed,
            Err(Failure::Nothing(e)) => Outcome::Aborted(e.to_string()),
            Err(Failure::Undetermined(e)) => {
                self.epoch = None;
                Outcome::Unknown(e.to_string())
            }
        }
    }

    fn progress(&mut self, tasks: &[TaskId]) -> Result<Vec<Progress>, LogError> {
        tasks.iter().map(|&task| Ok(Progress { task, number: self.core.progress(&self.group, task)? })).collect()
    }
}

struct EmbeddedMembership {
    core: Shared,
    group: String,
    member: u64,
}

impl Membership for EmbeddedMembership {
    fn poll(&mut self) -> Result<Vec<Ownership>, LogError> {
        Ok(lock(&self.core.groups).news(&self.group, self.member))
    }

    fn release(&mut self, tasks: &[TaskId]) -> Result<(), LogError> {
        lock(&self.core.groups).release(&self.group, self.member, tasks);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), LogError> {
        lock(&self.core.groups).leave(&self.group, self.member);
        Ok(())
    }
}

impl Drop for EmbeddedMembership {
    fn drop(&mut self) {
        lock(&self.core.groups).leave(&self.group, self.member);
    }
}
