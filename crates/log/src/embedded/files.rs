//! The files of the embedded log: a fjall database with three keyspaces, opened once per folder, checked when opened.

use super::EmbeddedConfig;
use super::chunk::{self, ChunkKey, Damage};
use super::index::{Index, Partition, Topic};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode, Slice};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ws_stream::log::{LogError, TopicId, TopicPartition};

/// Names below which the `topics` keyspace keeps things.
const TOPIC: u8 = b't';
const START: u8 = b's';
const CLUSTER: &[u8] = b"cluster";
/// Chunks removed in one write.
const REMOVE_AT_ONCE: usize = 1_000;

/// The open database.
pub(super) struct Files {
    db: Database,
    pub chunks: Keyspace,
    topics: Keyspace,
    pub progress: Keyspace,
}

impl Files {
    pub fn open(config: &EmbeddedConfig) -> Result<Files, fjall::Error> {
        let db = Database::builder(config.folder.join("data"))
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_max_bytes)
            // Every write names its durability itself.
            .manual_journal_persist(true)
            .worker_threads(2)
            .open()?;
        let memtable = config.memtable_bytes;
        let small = move || KeyspaceCreateOptions::default().max_memtable_size(memtable / 4).manual_journal_persist(true);
        // Chunks are written once and never change: kept apart from their keys, compaction need not rewrite them.
        let chunks = db.keyspace("chunks", move || {
            KeyspaceCreateOptions::default().max_memtable_size(memtable).manual_journal_persist(true).with_kv_separation(Some(KvSeparationOptions::default()))
        })?;
        let topics = db.keyspace("topics", small)?;
        let progress = db.keyspace("progress", small)?;
        Ok(Files { db, chunks, topics, progress })
    }

    /// A write that is durable when it returns.
    pub fn batch(&self) -> OwnedWriteBatch {
        self.db.batch().durability(Some(PersistMode::SyncData))
    }

    pub fn put_topic(&self, batch: &mut OwnedWriteBatch, name: &str, topic: &Topic) {
        let mut value = topic.id.to_vec();
        value.extend_from_slice(&(topic.partitions.len() as u32).to_be_bytes());
        batch.insert(&self.topics, topic_key(name), value);
    }

    pub fn remove_topic(&self, batch: &mut OwnedWriteBatch, name: &str, topic: &Topic) {
        batch.remove(&self.topics, topic_key(name));
        for partition in 0..topic.partitions.len() as u32 {
            batch.remove(&self.topics, start_key(topic.id, partition));
        }
    }

    pub fn put_start(&self, batch: &mut OwnedWriteBatch, topic: TopicId, partition: u32, start: i64) {
        batch.insert(&self.topics, start_key(topic, partition), start.to_be_bytes());
    }

    /// Keys of a partition's chunks that begin in a range of offsets.
    fn keys(&self, topic: TopicId, partition: u32, from: i64, to: i64) -> fjall::Iter {
        self.chunks.range(ChunkKey::lowest(topic, partition, from)..ChunkKey::lowest(topic, partition, to))
    }

    /// Chunks that begin in `from..to`, in order.
    pub fn chunks(&self, topic: TopicId, partition: u32, from: i64, to: i64) -> impl Iterator<Item = Result<(ChunkKey, Slice), fjall::Error>> {
        self.keys(topic, partition, from, to).filter_map(|g| match g.into_inner() {
            Ok((key, value)) => ChunkKey::decode(&key).map(|k| Ok((k, value))),
            Err(e) => Some(Err(e)),
        })
    }

    /// Where the chunks stand that begin in `from..to`, in order, without reading them.
    pub fn places(&self, topic: TopicId, partition: u32, from: i64, to: i64) -> impl DoubleEndedIterator<Item = Result<ChunkKey, fjall::Error>> {
        self.keys(topic, partition, from, to).filter_map(|g| match g.key() {
            Ok(key) => ChunkKey::decode(&key).map(Ok),
            Err(e) => Some(Err(e)),
        })
    }

    /// Where the chunk stands that holds `offset` or ends before it.
    pub fn at_or_before(&self, topic: TopicId, partition: u32, offset: i64) -> Result<Option<ChunkKey>, fjall::Error> {
        self.places(topic, partition, 0, offset.saturating_add(1)).next_back().transpose()
    }

    /// Removes the chunks that end at or before `before`; not necessarily all if it fails.
    pub fn remove_chunks(&self, topic: TopicId, partition: u32, before: i64) -> Result<(), fjall::Error> {
        loop {
            let mut batch = self.db.batch();
            for place in self.places(topic, partition, 0, before).take(REMOVE_AT_ONCE) {
                let place = place?;
                if place.end() <= before {
                    batch.remove(&self.chunks, place.encode());
                }
            }
            let done = batch.len() < REMOVE_AT_ONCE;
            batch.commit()?;
            if done {
                return Ok(());
            }
        }
    }

    /// Reads what topics there are and checks that each partition's chunks follow each other without a gap; the
    /// newest one of each, which a crash may have hit, is read and its checksum tested.
    pub fn load(&self, folder: &Path) -> Result<Index, LogError> {
        let failed = |e| describe("reading the embedded log", folder, &e);
        let cluster_id = match self.topics.get(CLUSTER).map_err(failed)? {
            Some(id) => String::from_utf8_lossy(&id).into_owned(),
            None => {
                let id = random_id(folder)?.iter().map(|b| format!("{b:02x}")).collect::<String>();
                let mut batch = self.batch();
                batch.insert(&self.topics, CLUSTER, id.as_bytes());
                batch.commit().map_err(failed)?;
                id
            }
        };
        let mut index = Index::new(cluster_id);
        for guard in self.topics.prefix([TOPIC]) {
            let (key, value) = guard.into_inner().map_err(failed)?;
            let name: Arc<str> = String::from_utf8_lossy(&key[1..]).into();
            let Some((id, count)) = value.split_first_chunk::<16>().and_then(|(id, n)| Some((*id, u32::from_be_bytes(n.try_into().ok()?)))) else {
                return Err(damaged(folder, &format!("the entry of topic {name} is unreadable")));
            };
            let mut topic = Topic { id, partitions: Vec::with_capacity(count as usize) };
            for partition in 0..count {
                topic.partitions.push(self.check(folder, &TopicPartition::new(name.clone(), partition), id)?);
            }
            index.topics.insert(name, topic);
        }
        Ok(index)
    }

    fn check(&self, folder: &Path, at: &TopicPartition, id: TopicId) -> Result<Partition, LogError> {
        let failed = |e| describe(&format!("checking {at}"), folder, &e);
        let start = self.topics.get(start_key(id, at.partition)).map_err(failed)?;
        let start = start.and_then(|v| Some(i64::from_be_bytes(v.as_ref().try_into().ok()?))).unwrap_or(0);
        // Truncating may have been interrupted after the new start was written.
        self.remove_chunks(id, at.partition, start).map_err(failed)?;
        let mut end = start;
        let mut newest = None;
        for place in self.places(id, at.partition, 0, i64::MAX) {
            let place = place.map_err(failed)?;
            let gap = if newest.is_none() { place.base > start } else { place.base != end };
            if gap {
                let cause = format!("{at}: offsets {end} to {} are missing", place.base - 1);
                return Err(damaged(folder, &cause));
            }
            end = place.end();
            newest = Some(place);
        }
        if let Some(place) = newest {
            let value = self.chunks.get(place.encode()).map_err(failed)?.unwrap_or_default();
            chunk::decode(&place, &value, place.base, 0, &mut Vec::new()).map_err(|d| damaged_chunk(folder, at, &place, d))?;
        }
        Ok(Partition { start, end })
    }
}

fn topic_key(name: &str) -> Vec<u8> {
    [&[TOPIC], name.as_bytes()].concat()
}

fn start_key(topic: TopicId, partition: u32) -> Vec<u8> {
    [&[START][..], &topic, &partition.to_be_bytes()].concat()
}

/// A random 128-bit id.
pub(super) fn random_id(folder: &Path) -> Result<TopicId, LogError> {
    let mut id = [0; 16];
    File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut id)).map_err(|e| LogError::Fatal {
        what: format!("making a random id for {}", folder.display()),
        cause: format!("/dev/urandom: {e}"),
        hint: "make /dev/urandom readable".into(),
    })?;
    Ok(id)
}

/// What a failed operation of the store means to its user.
pub(super) fn describe(what: &str, folder: &Path, error: &fjall::Error) -> LogError {
    let what = format!("{what} at {}", folder.display());
    if disk_full(error) {
        let hint = format!("free space at {}; the log goes on by itself then", folder.display());
        return LogError::Unavailable { what, cause: "no space left on the disk".into(), hint };
    }
    match error {
        fjall::Error::Poisoned => LogError::Unavailable {
            what,
            cause: "an earlier write failed".into(),
            hint: format!("see whether the disk of {} is full or failing; the files are opened again with the next try", folder.display()),
        },
        fjall::Error::Locked => LogError::Fatal { what, cause: "the files are in use".into(), hint: "stop the process that uses them".into() },
        other => {
            LogError::Fatal { what, cause: other.to_string(), hint: format!("check the disk and the permissions of {}, then start again", folder.display()) }
        }
    }
}

/// Whether opening the files again may help: the disk was full, in the foreground or behind our back.
pub(super) fn may_recover(error: &fjall::Error) -> bool {
    disk_full(error) || matches!(error, fjall::Error::Poisoned)
}

fn disk_full(error: &fjall::Error) -> bool {
    let io = match error {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => e,
        _ => return false,
    };
    matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn damaged(folder: &Path, cause: &str) -> LogError {
    LogError::Fatal {
        what: format!("reading the embedded log at {}", folder.display()),
        cause: cause.into(),
        hint: "its files are damaged: restore the folder from a backup, or move it away and start empty".into(),
    }
}

/// The error for a chunk that cannot be used.
pub(super) fn damaged_chunk(folder: &Path, at: &TopicPartition, key: &ChunkKey, damage: Damage) -> LogError {
    damaged(folder, &format!("{at}: the chunk with offsets {} to {} is damaged: {damage}", key.base, key.end() - 1))
}

/// Holds the folder for this process: an exclusive lock on a file that says who has it.
#[derive(Debug)]
pub(super) struct Owner {
    _locked: File,
}

impl Owner {
    pub fn take(folder: &Path) -> Result<Owner, LogError> {
        let path: PathBuf = folder.join("owner");
        let failed = |e: std::io::Error| {
            let full = e.kind() == ErrorKind::StorageFull;
            let what = format!("opening the embedded log at {}", folder.display());
            let (cause, hint) = (e.to_string(), format!("free space at {} or correct its permissions", folder.display()));
            if full { LogError::Unavailable { what, cause, hint } } else { LogError::Fatal { what, cause, hint } }
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let who = if holder.is_empty() { "another process".to_owned() } else { format!("process {holder}") };
                return Err(LogError::Fatal {
                    what: format!("opening the embedded log at {}", folder.display()),
                    cause: format!("{who} has it open, and only one process can"),
                    hint: "stop that process, talk to it over HTTP, or use another folder".into(),
                });
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(failed(e)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).and_then(|()| file.flush()).map_err(failed)?;
        Ok(Owner { _locked: file })
    }
}
