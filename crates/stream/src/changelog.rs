//! The changelog's format: what a task writes so that its state can be rebuilt anywhere. One record per closed epoch
//! (more, if it is large) holds the rows that the epoch changed; now and then *base* records hold all rows of one key
//! range, so that everything before a full round of bases can be deleted. Applying records in order, from any start
//! at or before a full round, gives the state; rows are absolute, so applying one twice does no harm.
//!
//! Record value: `WSC1`, kind u8, state hash u64, epoch u64, last-part u8, then for a delta the positions
//! (count u16, then topic length u16, topic, partition u32, offset i64), then rows: state u16, key length u32, key,
//! sub i64, value length + 1 as u32 (0 = deleted), value. All little-endian.

use crate::log::TopicPartition;
use crate::store::StateError;
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// Key ranges that bases and snapshots are made of.
pub const CHUNKS: u8 = 16;
/// A record is cut behind this many bytes; with one row's overrun it stays below Kafka's 1 MB default.
pub const PART_BYTES: usize = 512 * 1024;

const MAGIC: &[u8; 4] = b"WSC1";

/// What a changelog record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows changed by an epoch.
    Delta,
    /// All rows of a key range as of the epoch before.
    Base(u8),
}

/// The key range of a state row.
pub fn chunk_of(key: &[u8]) -> u8 {
    let mut h = FxHasher::default();
    h.write(key);
    (h.finish() >> 40) as u8 % CHUNKS
}

/// Head of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Hash of the topology that wrote it.
    pub state_hash: u64,
    /// Epoch it was written in.
    pub epoch: u64,
    /// Is it the epoch's last delta part?
    pub last: bool,
    /// Input positions after the epoch (deltas only).
    pub positions: Vec<(TopicPartition, i64)>,
}

/// Writes records, cut at [`PART_BYTES`].
pub struct Writer {
    head: Head,
    parts: Vec<Vec<u8>>,
    current: Vec<u8>,
    rows: usize,
}

impl Writer {
    /// Starts a record.
    pub fn new(kind: Kind, state_hash: u64, epoch: u64, positions: Vec<(TopicPartition, i64)>) -> Self {
        let mut w = Writer { head: Head { kind, state_hash, epoch, last: true, positions }, parts: Vec::new(), current: Vec::new(), rows: 0 };
        w.begin();
        w
    }
    fn begin(&mut self) {
        let c = &mut self.current;
        c.extend_from_slice(MAGIC);
        c.push(match self.head.kind {
            Kind::Delta => 255,
            Kind::Base(c) => c,
        });
        c.extend_from_slice(&self.head.state_hash.to_le_bytes());
        c.extend_from_slice(&self.head.epoch.to_le_bytes());
        c.push(0);
        c.extend_from_slice(&(self.head.positions.len() as u16).to_le_bytes());
        for (tp, offset) in &self.head.positions {
            c.extend_from_slice(&(tp.topic.len() as u16).to_le_bytes());
            c.extend_from_slice(tp.topic.as_bytes());
            c.extend_from_slice(&tp.partition.to_le_bytes());
            c.extend_from_slice(&offset.to_le_bytes());
        }
    }
    /// Adds one state row.
    pub fn row(&mut self, state: u16, key: &[u8], sub: i64, value: Option<&[u8]>) {
        if self.current.len() >= PART_BYTES {
            let full = std::mem::take(&mut self.current);
            self.parts.push(full);
            self.begin();
        }
        let c = &mut self.current;
        c.extend_from_slice(&state.to_le_bytes());
        c.extend_from_slice(&(key.len() as u32).to_le_bytes());
        c.extend_from_slice(key);
        c.extend_from_slice(&sub.to_le_bytes());
        c.extend_from_slice(&value.map_or(0, |v| v.len() as u32 + 1).to_le_bytes());
        c.extend_from_slice(value.unwrap_or(&[]));
        self.rows += 1;
    }
    /// Rows written.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// The record values.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        self.current[LAST_AT] = 1;
        self.parts.push(self.current);
        self.parts
    }
}

/// Where the last-part flag stands: behind magic, kind, hash, epoch.
const LAST_AT: usize = 4 + 1 + 8 + 8;

/// Takes a row: state, key, sub-key, value.
pub type TakeRow<'a> = dyn FnMut(u16, &[u8], i64, Option<&[u8]>) -> Result<(), StateError> + 'a;

/// Reads a record: its head, then every row.
pub fn read(record: &[u8], row: &mut TakeRow<'_>) -> Result<Head, StateError> {
    let head = read_head(record)?;
    let mut r = Cursor(record, "row");
    r.skip_head()?;
    while !r.0.is_empty() {
        let state = u16::from_le_bytes(r.array()?);
        let n = u32::from_le_bytes(r.array()?) as usize;
        let key = r.take(n)?;
        let sub = i64::from_le_bytes(r.array()?);
        let n = u32::from_le_bytes(r.array()?) as usize;
        let value = if n == 0 { None } else { Some(r.take(n - 1)?) };
        row(state, key, sub, value)?;
    }
    Ok(head)
}

/// Reads only a record's head.
pub fn read_head(record: &[u8]) -> Result<Head, StateError> {
    let mut r = Cursor(record, "head");
    if &r.array::<4>()? != MAGIC {
        return Err(StateError("a changelog record of an unknown format".into()));
    }
    let kind = match r.array::<1>()? {
        [255] => Kind::Delta,
        [c] => Kind::Base(c),
    };
    let state_hash = u64::from_le_bytes(r.array()?);
    let epoch = u64::from_le_bytes(r.array()?);
    let last = r.array::<1>()? == [1];
    let mut positions = Vec::new();
    for _ in 0..u16::from_le_bytes(r.array()?) {
        let n = u16::from_le_bytes(r.array()?) as usize;
        let topic = std::str::from_utf8(r.take(n)?).map_err(|e| StateError(e.to_string()))?.to_string();
        let partition = u32::from_le_bytes(r.array()?);
        positions.push((TopicPartition::new(topic, partition), i64::from_le_bytes(r.array()?)));
    }
    Ok(Head { kind, state_hash, epoch, last, positions })
}

struct Cursor<'a>(&'a [u8], &'static str);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], StateError> {
        let (a, b) = self.0.split_at_checked(n).ok_or_else(|| StateError(format!("a changelog record ends within a {}", self.1)))?;
        self.0 = b;
        Ok(a)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        self.take(N)?.try_into().map_err(|_| StateError("short read".into()))
    }
    fn skip_head(&mut self) -> Result<(), StateError> {
        self.take(LAST_AT + 1)?;
        for _ in 0..u16::from_le_bytes(self.array()?) {
            let n = u16::from_le_bytes(self.array()?) as usize;
            self.take(n + 12)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_positions_survive_and_large_epochs_are_cut() {
        let at = vec![(TopicPartition::new("bin.telemetry", 3), 42)];
        let mut w = Writer::new(Kind::Delta, 7, 9, at.clone());
        let big = vec![1u8; 200_000];
        for i in 0..5 {
            w.row(2, b"key", i, Some(&big));
        }
        w.row(3, b"", -1, None);
        w.row(3, b"empty", 0, Some(b""));
        let parts = w.finish();
        assert_eq!(parts.len(), 2);
        let mut rows = Vec::new();
        let mut last = Vec::new();
        for p in &parts {
            let head = read(p, &mut |s, k, sub, v| {
                rows.push((s, k.to_vec(), sub, v.map(<[u8]>::len)));
                Ok(())
            })
            .unwrap();
            assert_eq!((head.kind, head.state_hash, head.epoch, &head.positions), (Kind::Delta, 7, 9, &at));
            last.push(head.last);
        }
        assert_eq!(last, [false, true]);
        assert_eq!(rows.len(), 7);
        assert_eq!(rows[5], (3, vec![], -1, None));
        assert_eq!(rows[6], (3, b"empty".to_vec(), 0, Some(0)));
    }

    #[test]
    fn truncated_records_are_errors_not_panics() {
        let mut w = Writer::new(Kind::Base(3), 7, 9, vec![(TopicPartition::new("t", 0), 1)]);
        w.row(1, b"k", 5, Some(b"v"));
        let record = w.finish().remove(0);
        let rows_at = record.len() - (2 + 4 + 1 + 8 + 4 + 1);
        for cut in 0..record.len() {
            let r = read(&record[..cut], &mut |_, _, _, _| Ok(()));
            assert_eq!(r.is_ok(), cut == rows_at, "cut at {cut}");
        }
    }
}
