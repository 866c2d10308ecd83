//! Reads partitions of the embedded log: chunks as they were stored, without copying records; tiny ones joined.

use super::chunk;
use super::core::{Shared, lock};
use super::files::{Files, damaged_chunk};
use super::index::Partition;
use bytes::Bytes;
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use ws_stream::log::{LogError, Reader, TopicId, TopicPartition};
use ws_stream::records::{RecordRow, Records};

/// Smaller chunks are joined into one buffer: a batch per handful of records would cost the engine more than the copy.
const JOIN_BELOW_BYTES: usize = 16 * 1024;

pub(super) struct EmbeddedReader {
    core: Shared,
    parts: Vec<Part>,
    /// Which partition is served first; goes round so that a full one does not starve the others.
    first: usize,
}

struct Part {
    at: TopicPartition,
    topic: TopicId,
    offset: i64,
    paused: bool,
}

impl EmbeddedReader {
    pub fn new(core: Shared) -> EmbeddedReader {
        EmbeddedReader { core, parts: Vec::new(), first: 0 }
    }

    fn part(&mut self, at: &TopicPartition) -> Option<&mut Part> {
        self.parts.iter_mut().find(|p| p.at == *at)
    }

    /// How far each partition may be read; an error if one is not where it was.
    fn known(&self) -> Result<Vec<Partition>, LogError> {
        let index = lock(&self.core.index);
        self.parts
            .iter()
            .map(|part| {
                let (topic, known) = index.find(&part.at)?;
                let Partition { start, end } = known;
                if topic != part.topic || part.offset < start || part.offset > end {
                    return Err(LogError::OutOfRange { at: part.at.clone(), offset: part.offset, start, end });
                }
                Ok(known)
            })
            .collect()
    }

    fn collect(&mut self) -> Result<Vec<(TopicPartition, Records)>, LogError> {
        let known = self.known()?;
        let count = self.parts.len();
        let mut out = Vec::new();
        let mut budget = self.core.config.poll_max_bytes;
        for n in 0..count {
            let i = (self.first + n) % count;
            let (part, end) = (&mut self.parts[i], known[i].end);
            if part.paused || part.offset >= end {
                continue;
            }
            if budget == 0 {
                self.first = i;
                return Ok(out);
            }
            let access = self.core.access();
            let read = read(&self.core, access.files()?, part, end, &mut budget)?;
            out.extend(read.into_iter().map(|r| (part.at.clone(), r)));
        }
        Ok(out)
    }
}

/// Reads one partition from its position on until `end` or until the budget is used up, and moves the position.
fn read(core: &Shared, files: &Files, part: &mut Part, end: i64, budget: &mut usize) -> Result<Vec<Records>, LogError> {
    let failed = |e| core.describe(&format!("reading {}", part.at), &e);
    let from = part.offset;
    let place = files.at_or_before(part.topic, part.at.partition, from).map_err(failed)?;
    let mut out: Vec<Records> = Vec::new();
    let mut joined: Option<(Vec<u8>, Vec<RecordRow>)> = None;
    let flush = |joined: &mut Option<(Vec<u8>, Vec<RecordRow>)>, out: &mut Vec<Records>, next_offset| {
        if let Some((buffer, rows)) = joined.take() {
            out.push(Records { buffer: Bytes::from(buffer), rows, next_offset });
        }
    };
    for found in files.chunks(part.topic, part.at.partition, place.map_or(from, |p| p.base), end) {
        let (key, value) = found.map_err(failed)?;
        if key.end() <= part.offset {
            continue;
        }
        if key.base > part.offset {
            break;
        }
        let damaged = |d| damaged_chunk(&core.config.folder, &part.at, &key, d);
        let size = value.len();
        if size < JOIN_BELOW_BYTES {
            let (buffer, rows) = joined.get_or_insert_default();
            chunk::decode(&key, &value, from, buffer.len() as u32, rows).map_err(damaged)?;
            buffer.extend_from_slice(&value);
        } else {
            flush(&mut joined, &mut out, part.offset);
            let mut rows = Vec::new();
            chunk::decode(&key, &value, from, 0, &mut rows).map_err(damaged)?;
            out.push(Records { buffer: Bytes::from_owner(value), rows, next_offset: key.end() });
        }
        part.offset = key.end();
        *budget = budget.saturating_sub(size);
        if *budget == 0 || part.offset >= end {
            break;
        }
    }
    flush(&mut joined, &mut out, part.offset);
    if part.offset == from {
        return Err(LogError::Fatal {
            what: format!("reading {} at {}", part.at, core.config.folder.display()),
            cause: format!("offset {from} is missing, though the partition ends at {end}"),
            hint: "its files are damaged: restore the folder from a backup, or move it away and start empty".into(),
        });
    }
    Ok(out)
}

impl Reader for EmbeddedReader {
    fn add(&mut self, at: &TopicPartition, offset: i64) -> Result<(), LogError> {
        let (topic, Partition { start, end }) = lock(&self.core.index).find(at)?;
        if offset < start || offset > end {
            return Err(LogError::OutOfRange { at: at.clone(), offset, start, end });
        }
        let part = Part { at: at.clone(), topic, offset, paused: false };
        match self.part(at) {
            Some(known) => *known = part,
            None => self.parts.push(part),
        }
        Ok(())
    }

    fn remove(&mut self, at: &TopicPartition) -> Result<(), LogError> {
        self.parts.retain(|p| p.at != *at);
        self.first = 0;
        Ok(())
    }

    fn pause(&mut self, at: &TopicPartition) -> Result<(), LogError> {
        if let Some(part) = self.part(at) {
            part.paused = true;
        }
        Ok(())
    }

    fn resume(&mut self, at: &TopicPartition) -> Result<(), LogError> {
        if let Some(part) = self.part(at) {
            part.paused = false;
        }
        Ok(())
    }

    fn poll(&mut self, wait_ms: u64) -> Result<Vec<(TopicPartition, Records)>, LogError> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        loop {
            let out = self.collect()?;
            if !out.is_empty() {
                return Ok(out);
            }
            let core = self.core.clone();
            let mut index = lock(&core.index);
            // Asked again under the lock: an end that moved meanwhile has notified nobody.
            let waiting = |index: &super::index::Index| {
                self.parts.iter().filter(|p| !p.paused).all(|p| index.find(&p.at).is_ok_and(|(id, k)| id == p.topic && k.end == p.offset))
            };
            while waiting(&index) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(Vec::new());
                }
                index = core.moved.wait_timeout(index, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}
