//! The heart of the embedded log: writes of many threads in groups, one sync for each group, and the index that tells
//! readers how far they may read.
//!
//! Whoever writes puts its request into a queue; if nobody is leading, it leads: it takes everything queued, gives
//! offsets, writes one batch with one sync, moves the ends, answers all. Those who come meanwhile form the next group.
//! A group is one atomic write, so nothing of a request is ever visible or durable without the rest of it.
//!
//! After a failed write the store refuses all others, as it must: what reached the disk is not known. The next request
//! then opens the files again, which settles it; a request that failed is reported as undetermined until then.

use super::EmbeddedConfig;
use super::chunk::{Chunk, ChunkKey};
use super::files::{self, Files, Owner};
use super::group::Groups;
use super::index::{Index, Partition, Topic};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use ws_stream::log::{LogError, TaskId, TopicPartition, TopicSpec};

pub(super) struct Core {
    pub config: EmbeddedConfig,
    _owner: Owner,
    files: RwLock<State>,
    pub index: Mutex<Index>,
    /// Told when an end moved.
    pub moved: Condvar,
    queue: Mutex<Queue>,
    answered: Condvar,
    writer: Mutex<Writer>,
    pub groups: Mutex<Groups>,
    groups_written: AtomicU64,
    requests_written: AtomicU64,
}

enum State {
    Open(Files),
    /// Must be opened again before anything else.
    Broken(LogError),
    /// Will not work again in this process.
    Dead(LogError),
}

#[derive(Default)]
struct Queue {
    waiting: Vec<(u64, Request)>,
    answers: HashMap<u64, Result<(), Failure>>,
    next_ticket: u64,
    leading: bool,
}

#[derive(Default)]
struct Writer {
    /// Newest producer epoch of each transactional identity.
    epochs: HashMap<String, u64>,
}

/// Something to write atomically.
pub(super) struct Request {
    pub parts: Vec<(TopicPartition, Vec<Chunk>)>,
    pub commit: Option<Commit>,
}

/// What makes a request a transaction.
pub(super) struct Commit {
    pub identity: String,
    pub epoch: u64,
    pub group: String,
    pub member: u64,
    pub numbers: Vec<(TaskId, u64)>,
    pub positions: Vec<(TopicPartition, i64)>,
}

/// How a request failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Nothing was written, and nothing will be.
    Nothing(LogError),
    /// It may or may not be there once the files are open again.
    Undetermined(LogError),
}

/// How well writes share syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteCounts {
    /// Groups written, each with one sync.
    pub groups: u64,
    /// Appends and commits in them.
    pub requests: u64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves nothing half-done behind these locks that later code relies on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The open files for as long as this lives.
pub(super) struct Access<'a>(RwLockReadGuard<'a, State>);

impl Access<'_> {
    pub fn files(&self) -> Result<&Files, LogError> {
        match &*self.0 {
            State::Open(files) => Ok(files),
            State::Broken(e) | State::Dead(e) => Err(e.clone()),
        }
    }
}

impl Core {
    pub fn open(config: EmbeddedConfig) -> Result<Core, LogError> {
        let owner = Owner::take(&config.folder)?;
        let files = Files::open(&config).map_err(|e| files::describe("opening the embedded log", &config.folder, &e))?;
        let index = files.load(&config.folder)?;
        Ok(Core {
            config,
            _owner: owner,
            files: RwLock::new(State::Open(files)),
            index: Mutex::new(index),
            moved: Condvar::new(),
            queue: Mutex::default(),
            answered: Condvar::new(),
            writer: Mutex::default(),
            groups: Mutex::default(),
            groups_written: AtomicU64::new(0),
            requests_written: AtomicU64::new(0),
        })
    }

    pub fn counts(&self) -> WriteCounts {
        WriteCounts { groups: self.groups_written.load(Ordering::Relaxed), requests: self.requests_written.load(Ordering::Relaxed) }
    }

    /// The files for reading.
    pub fn access(&self) -> Access<'_> {
        Access(self.files.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn describe(&self, what: &str, error: &fjall::Error) -> LogError {
        files::describe(what, &self.config.folder, error)
    }

    /// Writes one request, together with those of other threads.
    pub fn write(&self, request: Request) -> Result<(), Failure> {
        let mut queue = lock(&self.queue);
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push((ticket, request));
        loop {
            if let Some(answer) = queue.answers.remove(&ticket) {
                return answer;
            }
            if queue.leading {
                queue = self.answered.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.leading = true;
            let (tickets, requests): (Vec<u64>, Vec<Request>) = queue.waiting.drain(..).unzip();
            drop(queue);
            let answers = self.write_group(requests);
            queue = lock(&self.queue);
            queue.leading = false;
            queue.answers.extend(tickets.into_iter().zip(answers));
            self.answered.notify_all();
        }
    }

    fn write_group(&self, requests: Vec<Request>) -> Vec<Result<(), Failure>> {
        let writer = lock(&self.writer);
        if let Err(e) = self.make_ready() {
            return requests.iter().map(|_| Err(Failure::Nothing(e.clone()))).collect();
        }
        let access = self.access();
        let files = match access.files() {
            Ok(files) => files,
            Err(e) => {
                return requests.iter().map(|_| Err(Failure::Nothing(e.clone()))).collect();
            }
        };
        let mut batch = files.batch();
        let mut ends: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let answers: Vec<Result<(), Failure>> =
            requests.into_iter().map(|r| self.place(files, &writer, r, &mut ends, &mut batch).map_err(Failure::Nothing)).collect();
        if batch.is_empty() {
            return answers;
        }
        if let Err(e) = batch.commit() {
            drop(access);
            let failure = self.broken("writing to the embedded log", &e);
            return answers.into_iter().map(|a| a.and(Err(failure.clone()))).collect();
        }
        self.groups_written.fetch_add(1, Ordering::Relaxed);
        self.requests_written.fetch_add(answers.iter().filter(|a| a.is_ok()).count() as u64, Ordering::Relaxed);
        let mut index = lock(&self.index);
        for (at, end) in ends {
            if let Some(partition) = index.find_mut(&at) {
                partition.end = end;
            }
        }
        self.moved.notify_all();
        answers
    }

    /// Checks one request and gives its records their offsets.
    fn place(
        &self,
        files: &Files,
        writer: &Writer,
        request: Request,
        ends: &mut BTreeMap<TopicPartition, i64>,
        batch: &mut fjall::OwnedWriteBatch,
    ) -> Result<(), LogError> {
        if let Some(commit) = &request.commit {
            self.check_commit(writer, commit)?;
        }
        let mut found = Vec::with_capacity(request.parts.len());
        let mut positions = Vec::new();
        {
            let index = lock(&self.index);
            for (at, _) in &request.parts {
                found.push(index.find(at)?);
            }
            for (at, offset) in request.commit.iter().flat_map(|c| &c.positions) {
                positions.push((index.find(at)?.0, at.partition, *offset));
            }
        }
        for ((at, chunks), (topic, known)) in request.parts.into_iter().zip(found) {
            let partition = at.partition;
            let end = ends.entry(at).or_insert(known.end);
            for chunk in chunks {
                let key = ChunkKey { topic, partition, base: *end, rows: chunk.rows, newest_ms: chunk.newest_ms };
                *end = key.end();
                batch.insert(&files.chunks, key.encode(), chunk.value);
            }
        }
        if let Some(commit) = &request.commit {
            for (task, number) in &commit.numbers {
                batch.insert(&files.progress, number_key(&commit.group, *task), number.to_be_bytes());
            }
            for (topic, partition, offset) in positions {
                let key = [b"o", commit.group.as_bytes(), &[0], &topic, &partition.to_be_bytes()].concat();
                batch.insert(&files.progress, key, offset.to_be_bytes());
            }
        }
        Ok(())
    }

    fn check_commit(&self, writer: &Writer, commit: &Commit) -> Result<(), LogError> {
        if writer.epochs.get(&commit.identity) != Some(&commit.epoch) {
            return Err(LogError::Fenced(format!("{} was opened again elsewhere", commit.identity)));
        }
        let groups = lock(&self.groups);
        match commit.numbers.iter().find(|(task, _)| !groups.owns(&commit.group, commit.member, *task)) {
            Some((task, _)) => Err(LogError::Fenced(format!("lost task {} of {}", task.0, commit.group))),
            None => Ok(()),
        }
    }

    /// Takes a transactional identity over: commits under an older producer epoch fail from here on.
    pub fn open_identity(&self, identity: &str) -> Result<u64, LogError> {
        let mut writer = lock(&self.writer);
        self.make_ready()?;
        let key = [b"e", identity.as_bytes()].concat();
        let epoch = {
            let access = self.access();
            let files = access.files()?;
            let stored = files.progress.get(&key).map_err(|e| self.describe("reading the embedded log", &e))?;
            let epoch = stored.map_or(0, |v| number(&v)) + 1;
            let mut batch = files.batch();
            batch.insert(&files.progress, key, epoch.to_be_bytes());
            batch.commit().map(|()| epoch)
        };
        let epoch = epoch.map_err(|e| self.broken_error("opening a transactional identity", &e))?;
        writer.epochs.insert(identity.to_owned(), epoch);
        Ok(epoch)
    }

    /// Newest committed epoch number of a task, 0 when there is none.
    pub fn progress(&self, group: &str, task: TaskId) -> Result<u64, LogError> {
        let _settled = lock(&self.writer);
        self.make_ready()?;
        let access = self.access();
        let stored = access.files()?.progress.get(number_key(group, task)).map_err(|e| self.describe("reading progress", &e))?;
        Ok(stored.map_or(0, |v| number(&v)))
    }

    pub fn create(&self, specs: &[TopicSpec]) -> Result<(), LogError> {
        let _only = lock(&self.writer);
        self.make_ready()?;
        let mut made = BTreeMap::new();
        {
            let index = lock(&self.index);
            for spec in specs.iter().filter(|s| !index.topics.contains_key(&s.name)) {
                let topic = Topic { id: files::random_id(&self.config.folder)?, partitions: vec![Partition::default(); spec.partitions.max(1) as usize] };
                made.insert(spec.name.clone(), topic);
            }
        }
        self.change("creating topics", |files, batch| made.iter().for_each(|(name, topic)| files.put_topic(batch, name, topic)))?;
        lock(&self.index).topics.extend(made);
        Ok(())
    }

    /// Deletes a topic and its records.
    pub fn delete(&self, name: &str) -> Result<(), LogError> {
        let _only = lock(&self.writer);
        self.make_ready()?;
        let topic = lock(&self.index).topics.get(name).cloned().ok_or_else(|| LogError::NoTopic(name.into()))?;
        self.change("deleting a topic", |files, batch| files.remove_topic(batch, name, &topic))?;
        lock(&self.index).topics.remove(name);
        self.moved.notify_all();
        for partition in 0..topic.partitions.len() as u32 {
            self.remove_chunks(topic.id, partition, i64::MAX)?;
        }
        Ok(())
    }

    /// Moves the start of a partition forward and deletes the chunks that lie before it.
    pub fn truncate(&self, at: &TopicPartition, before: i64) -> Result<(), LogError> {
        let _only = lock(&self.writer);
        self.make_ready()?;
        let (topic, known) = lock(&self.index).find(at)?;
        if before > known.end {
            return Err(LogError::OutOfRange { at: at.clone(), offset: before, start: known.start, end: known.end });
        }
        if before <= known.start {
            return Ok(());
        }
        self.change("truncating", |files, batch| files.put_start(batch, topic, at.partition, before))?;
        if let Some(partition) = lock(&self.index).find_mut(at) {
            partition.start = before;
        }
        self.remove_chunks(topic, at.partition, before)
    }

    pub fn change(&self, what: &str, fill: impl FnOnce(&Files, &mut fjall::OwnedWriteBatch)) -> Result<(), LogError> {
        let written = {
            let access = self.access();
            let files = access.files()?;
            let mut batch = files.batch();
            fill(files, &mut batch);
            batch.commit()
        };
        written.map_err(|e| self.broken_error(what, &e))
    }

    fn remove_chunks(&self, topic: [u8; 16], partition: u32, before: i64) -> Result<(), LogError> {
        let removed = self.access().files()?.remove_chunks(topic, partition, before);
        removed.map_err(|e| self.broken_error("deleting old records", &e))
    }

    /// Notes that a write failed; the files must be opened again, or cannot be used any more.
    fn broken(&self, what: &str, error: &fjall::Error) -> Failure {
        let described = self.describe(what, error);
        let mut state = self.files.write().unwrap_or_else(PoisonError::into_inner);
        tracing::error!(error = %described, "the embedded log stopped writing");
        *state = if files::may_recover(error) { State::Broken(described.clone()) } else { State::Dead(described.clone()) };
        // The store checks for this before it writes.
        if matches!(error, fjall::Error::Poisoned) { Failure::Nothing(described) } else { Failure::Undetermined(described) }
    }

    fn broken_error(&self, what: &str, error: &fjall::Error) -> LogError {
        match self.broken(what, error) {
            Failure::Nothing(e) | Failure::Undetermined(e) => e,
        }
    }

    /// Opens the files again if a write had failed. Needs the writer's lock.
    fn make_ready(&self) -> Result<(), LogError> {
        match &*self.files.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(_) => return Ok(()),
            State::Dead(e) => return Err(e.clone()),
            State::Broken(_) => {}
        }
        let mut state = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let opened = Files::open(&self.config).map_err(|e| self.describe("opening the embedded log again", &e));
        let (files, index) = opened.and_then(|files| files.load(&self.config.folder).map(|index| (files, index)))?;
        *lock(&self.index) = index;
        *state = State::Open(files);
        tracing::info!(folder = %self.config.folder.display(), "the embedded log is open again");
        self.moved.notify_all();
        Ok(())
    }
}

fn number_key(group: &str, task: TaskId) -> Vec<u8> {
    [b"n", group.as_bytes(), &[0], &task.0.to_be_bytes()].concat()
}

fn number(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}

/// Shared by everything that the log hands out.
pub(super) type Shared = Arc<Core>;
