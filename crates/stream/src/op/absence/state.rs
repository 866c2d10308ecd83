//! State of an absence stage: open expectations, and rows that wait for the watermark, both per key, and the timers
//! derived from them.

use super::super::timers::Timers;
use super::arrived::{Arrived, long};
use crate::operator::StateAccess;
use crate::store::{KeyId, RowSink, StateError, Store};
use std::collections::BTreeSet;

/// First byte of a key of expectations.
const OPEN: u8 = b'e';
/// First byte of a key of rows that wait.
const WAITING: u8 = b'r';
/// Bytes in front of a stored row.
const OPEN_HEAD: usize = 6 * 8;

/// What is known of an open expectation beside the row that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) opened_ms: i64,
    pub(super) due_ms: i64,
    /// When it is told next, on the stage's clock.
    pub(super) next_ms: i64,
    pub(super) not_before_ms: i64,
    /// How often it was told: from 1 on it has ended as absent.
    pub(super) repeats: i64,
    pub(super) offset: i64,
}

impl Open {
    fn write(&self, row: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(OPEN_HEAD + row.len());
        for n in [self.opened_ms, self.due_ms, self.next_ms, self.not_before_ms, self.repeats, self.offset] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(row);
        out
    }

    fn read(bytes: &[u8]) -> Result<(Open, &[u8]), StateError> {
        let (head, row) = bytes.split_at_checked(OPEN_HEAD).ok_or_else(|| StateError("an expectation is too short".into()))?;
        let mut n = head.chunks_exact(8).map(long);
        let mut next = || n.next().unwrap_or_default();
        Ok((Open { opened_ms: next(), due_ms: next(), next_ms: next(), not_before_ms: next(), repeats: next(), offset: next() }, row))
    }
}

/// Expectations, rows that wait, timers.
#[derive(Debug, Default)]
pub(super) struct AbsenceState {
    rows: Store<Vec<u8>>,
    due: Timers,
    waiting: Timers,
    scratch: Vec<u8>,
}

/// An expectation whose time came.
pub(super) struct Due {
    pub(super) key: KeyId,
    pub(super) each: i64,
}

impl AbsenceState {
    fn key(&mut self, prefix: u8, key: &[u8]) -> KeyId {
        self.scratch.clear();
        self.scratch.push(prefix);
        self.scratch.extend_from_slice(key);
        self.rows.key(&self.scratch)
    }

    /// The place of a key's expectations.
    pub(super) fn of(&mut self, key: &[u8]) -> KeyId {
        self.key(OPEN, key)
    }

    /// The key's bytes, as its columns give them.
    pub(super) fn key_bytes(&self, of: KeyId) -> &[u8] {
        &self.rows.key_bytes(of)[1..]
    }

    pub(super) fn open(&self, of: KeyId, each: i64) -> Result<Option<Open>, StateError> {
        self.rows.get(of, each).map(|v| Open::read(v).map(|(open, _)| open)).transpose()
    }

    /// Has the key no room for another expectation? Rows that wait count for what they will open.
    pub(super) fn crowded(&mut self, key: &[u8], each: i64, most: usize) -> bool {
        let (of, at) = (self.of(key), self.key(WAITING, key));
        let (open, waiting) = (self.rows.values(of).len(), self.rows.values(at).len());
        if open + waiting < most || self.rows.get(of, each).is_some() {
            return false;
        }
        let mut others: BTreeSet<i64> = self.rows.values(at).filter_map(|(_, v)| Arrived::opens_of(v)).collect();
        if others.contains(&each) {
            return false;
        }
        others.retain(|e| self.rows.get(of, *e).is_none());
        open + others.len() >= most
    }

    /// Does a row wait that opens this expectation at that time or before?
    pub(super) fn waits_by(&mut self, key: &[u8], each: i64, time_ms: i64) -> bool {
        let at = self.key(WAITING, key);
        self.rows.values(at).any(|(_, v)| Arrived::opens_of(v) == Some(each) && Arrived::time_of(v) <= time_ms)
    }

    /// Expectations of a key that a row ends, in order of their opening.
    pub(super) fn ended_by(&self, of: KeyId, row: &Arrived) -> Result<Vec<i64>, StateError> {
        let mut found = Vec::new();
        for (each, v) in self.rows.values(of) {
            let (open, _) = Open::read(v)?;
            if row.ends(each, open.opened_ms, open.not_before_ms) {
                found.push((open.opened_ms, open.offset, each));
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, _, each)| each).collect())
    }

    pub(super) fn put(&mut self, of: KeyId, each: i64, open: &Open, row: &[u8]) {
        if let Ok(Some(old)) = self.open(of, each) {
            self.due.unset(old.next_ms, of, each);
        }
        self.rows.put(of, each, open.write(row));
        self.due.set(open.next_ms, of, each);
    }

    pub(super) fn remove(&mut self, of: KeyId, each: i64) -> Result<Option<(Open, Vec<u8>)>, StateError> {
        let Some(bytes) = self.rows.remove(of, each) else { return Ok(None) };
        let (open, row) = Open::read(&bytes)?;
        self.due.unset(open.next_ms, of, each);
        Ok(Some((open, row.to_vec())))
    }

    /// Keeps a row until the watermark passes it. Of more than `most` per key the earliest is taken out and returned.
    pub(super) fn wait(&mut self, key: &[u8], row: &Arrived, most: usize) -> Result<Option<Arrived>, StateError> {
        let at = self.key(WAITING, key);
        let bytes = row.write();
        let sub = crate::row::hash_row(&bytes) as i64;
        self.waiting.set(row.time_ms, at, sub);
        self.rows.put(at, sub, bytes);
        if self.rows.values(at).len() <= most {
            return Ok(None);
        }
        let Some(first_ms) = self.rows.values(at).map(|(_, v)| Arrived::time_of(v)).min() else { return Ok(None) };
        let mut first: Option<(i64, Arrived)> = None;
        for (sub, v) in self.rows.values(at).filter(|(_, v)| Arrived::time_of(v) == first_ms) {
            let row = Arrived::read(v)?;
            if first.as_ref().is_none_or(|(_, f)| row.place() < f.place()) {
                first = Some((sub, row));
            }
        }
        if let Some((sub, _)) = &first {
            self.waiting.unset(first_ms, at, *sub);
            self.rows.remove(at, *sub);
        }
        Ok(first.map(|(_, row)| row))
    }

    /// The earliest closing among the rows kept that ends this expectation; with `not_itself`, another than the opening
    /// row.
    pub(super) fn closing_for(&mut self, key: &[u8], each: i64, open: &Open, not_itself: bool) -> Result<Option<Arrived>, StateError> {
        let at = self.key(WAITING, key);
        let mut first: Option<Arrived> = None;
        for (_, v) in self.rows.values(at) {
            let c = Arrived::read(v)?;
            if not_itself && (c.time_ms, c.offset) == (open.opened_ms, open.offset) {
                continue;
            }
            if c.ends(each, open.opened_ms, open.not_before_ms) && first.as_ref().is_none_or(|f| (c.time_ms, c.offset) < (f.time_ms, f.offset)) {
                first = Some(c);
            }
        }
        Ok(first)
    }

    /// Forgets the rows that the watermark has passed.
    pub(super) fn forget(&mut self, watermark_ms: i64) {
        for (_, at, sub) in before(&mut self.waiting, watermark_ms) {
            self.rows.remove(at, sub);
        }
    }

    /// Takes out the rows that the watermark has passed, with the places of their keys' expectations, in the order in
    /// which they happened.
    pub(super) fn passed(&mut self, watermark_ms: i64) -> Result<Vec<(KeyId, Arrived)>, StateError> {
        let mut passed = Vec::new();
        for (_, at, sub) in before(&mut self.waiting, watermark_ms) {
            if let Some(bytes) = self.rows.remove(at, sub) {
                passed.push((self.key_bytes(at).to_vec(), Arrived::read(&bytes)?));
            }
        }
        passed.sort_by_cached_key(|(key, row)| (row.time_ms, key.clone(), row.place()));
        Ok(passed.into_iter().map(|(key, row)| (self.of(&key), row)).collect())
    }

    /// The expectations that are due first, all at one time before `limit_ms`, by key.
    pub(super) fn due_before(&mut self, limit_ms: i64) -> Result<Vec<Due>, StateError> {
        let mut due = Vec::new();
        while let Some(at_ms) = self.due.first_ms().filter(|at| *at < limit_ms) {
            for (_, key, each) in self.due.take(at_ms) {
                if self.open(key, each)?.is_some_and(|o| o.next_ms == at_ms) {
                    due.push(Due { key, each });
                }
            }
            if !due.is_empty() {
                break;
            }
        }
        due.sort_by(|a, b| (self.key_bytes(a.key), a.each).cmp(&(self.key_bytes(b.key), b.each)));
        Ok(due)
    }

    /// The expectation of a key that is due first, before `limit_ms`.
    pub(super) fn due_of(&self, of: KeyId, limit_ms: i64) -> Result<Option<Due>, StateError> {
        let mut first: Option<(i64, i64)> = None;
        for (each, v) in self.rows.values(of) {
            let next = (Open::read(v)?.0.next_ms, each);
            if next.0 < limit_ms && first.is_none_or(|f| next < f) {
                first = Some(next);
            }
        }
        Ok(first.map(|(_, each)| Due { key: of, each }))
    }

    fn rebuild(&mut self) -> Result<(), StateError> {
        self.due.clear();
        self.waiting.clear();
        for key in self.rows.keys() {
            let kind = self.rows.key_bytes(key).first().copied();
            for (sub, v) in self.rows.values(key) {
                match kind {
                    Some(OPEN) => self.due.set(Open::read(v)?.0.next_ms, key, sub),
                    Some(WAITING) => self.waiting.set(Arrived::read(v)?.time_ms, key, sub),
                    _ => return Err(StateError("an absence row of unknown kind".into())),
                }
            }
        }
        Ok(())
    }
}

/// Takes out every place before a time: the watermark says that nothing earlier comes, not that nothing of its time does.
fn before(timers: &mut Timers, ms: i64) -> Vec<(i64, KeyId, i64)> {
    ms.checked_sub(1).map_or_else(Vec::new, |last| timers.take(last))
}

impl StateAccess for AbsenceState {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.rows.close_epoch(rows);
    }
    fn committed(&mut self) {
        self.rows.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.rows.rollback()?;
        self.rebuild()
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        self.rows.import(key, sub, value)
    }
    fn imported(&mut self) -> Result<(), StateError> {
        self.rebuild()
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        self.rows.scan_committed_where(wanted, rows);
    }
    fn rows(&self) -> usize {
        self.rows.len()
    }
    fn bytes(&self) -> usize {
        self.rows.bytes()
    }
}
