//! State of an absence stage: open expectations and closings that came before what they close, both per key, and the
//! timers derived from them.

use super::super::timers::Timers;
use crate::operator::StateAccess;
use crate::spec::Clock;
use crate::store::{KeyId, RowSink, StateError, Store};

/// First byte of a key of expectations.
const OPEN: u8 = b'e';
/// First byte of a key of remembered closings.
const CLOSING: u8 = b'c';
/// Bytes in front of a stored row.
const OPEN_HEAD: usize = 6 * 8;
const CLOSING_HEAD: usize = 1 + 3 * 8;

/// What is known of an open expectation beside the row that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) opened_ms: i64,
    pub(super) due_ms: i64,
    /// When it is told next, on the stage's clock.
    pub(super) next_ms: i64,
    pub(super) not_before_ms: i64,
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

/// A row that closes expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) cancels: bool,
    pub(super) time_ms: i64,
    pub(super) offset: i64,
    /// The one expectation that it closes; `None`: all of its key.
    pub(super) each: Option<i64>,
    /// Its taken columns.
    pub(super) taken: Vec<u8>,
}

impl Closing {
    /// Does it end that expectation?
    pub(super) fn closes(&self, each: i64, open: &Open) -> bool {
        let from_ms = if self.cancels { open.opened_ms } else { open.opened_ms.max(open.not_before_ms) };
        self.time_ms >= from_ms && self.each.is_none_or(|e| e == each)
    }

    fn write(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.cancels) | (u8::from(self.each.is_some()) << 1)];
        for n in [self.time_ms, self.offset, self.each.unwrap_or(0)] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&self.taken);
        out
    }

    fn read(bytes: &[u8]) -> Result<Closing, StateError> {
        let (head, taken) = bytes.split_at_checked(CLOSING_HEAD).ok_or_else(|| StateError("a closing is too short".into()))?;
        let mut n = head[1..].chunks_exact(8).map(long);
        let mut next = || n.next().unwrap_or_default();
        let (time_ms, offset, each) = (next(), next(), next());
        Ok(Closing { cancels: head[0] & 1 != 0, time_ms, offset, each: (head[0] & 2 != 0).then_some(each), taken: taken.to_vec() })
    }
}

fn long(bytes: &[u8]) -> i64 {
    bytes.try_into().map_or(0, i64::from_le_bytes)
}

/// Expectations, closings, timers.
#[derive(Debug)]
pub(super) struct AbsenceState {
    rows: Store<Vec<u8>>,
    clock: Clock,
    due: Timers,
    forget: Timers,
    scratch: Vec<u8>,
}

/// An expectation whose time came.
pub(super) struct Due {
    pub(super) key: KeyId,
    pub(super) each: i64,
    pub(super) open: Open,
}

impl AbsenceState {
    pub(super) fn new(clock: Clock) -> Self {
        AbsenceState { rows: Store::default(), clock, due: Timers::default(), forget: Timers::default(), scratch: Vec::new() }
    }

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

    pub(super) fn open(&self, of: KeyId, each: i64) -> Result<Option<(Open, &[u8])>, StateError> {
        self.rows.get(of, each).map(|v| Open::read(v)).transpose()
    }

    pub(super) fn count(&self, of: KeyId) -> usize {
        self.rows.values(of).len()
    }

    /// Expectations of a key that a closing ends, in order of their opening.
    pub(super) fn closed_by(&self, of: KeyId, closing: &Closing) -> Result<Vec<i64>, StateError> {
        let mut found = Vec::new();
        for (each, v) in self.rows.values(of) {
            let (open, _) = Open::read(v)?;
            if closing.closes(each, &open) {
                found.push((open.opened_ms, open.offset, each));
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, _, each)| each).collect())
    }

    pub(super) fn put(&mut self, of: KeyId, each: i64, open: &Open, row: &[u8]) {
        if let Ok(Some((old, _))) = self.open(of, each) {
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

    /// Keeps a closing for openings that precede it and come after it; of more than `most` per key the oldest goes.
    /// Returns whether one had to go.
    pub(super) fn remember(&mut self, key: &[u8], closing: &Closing, most: usize) -> Result<bool, StateError> {
        let at = self.key(CLOSING, key);
        let bytes = closing.write();
        let sub = crate::row::hash_row(&bytes) as i64;
        self.forget.set(closing.time_ms, at, sub);
        self.rows.put(at, sub, bytes);
        if self.rows.values(at).len() <= most {
            return Ok(false);
        }
        let mut oldest: Option<(i64, i64)> = None;
        for (sub, v) in self.rows.values(at) {
            let time_ms = Closing::read(v)?.time_ms;
            if oldest.is_none_or(|o| (time_ms, sub) < o) {
                oldest = Some((time_ms, sub));
            }
        }
        if let Some((time_ms, sub)) = oldest {
            self.forget.unset(time_ms, at, sub);
            self.rows.remove(at, sub);
        }
        Ok(true)
    }

    /// The earliest remembered closing that ends this expectation; with `not_itself`, another than the opening row.
    pub(super) fn closing_for(&mut self, key: &[u8], each: i64, open: &Open, not_itself: bool) -> Result<Option<Closing>, StateError> {
        let at = self.key(CLOSING, key);
        let mut first: Option<Closing> = None;
        for (_, v) in self.rows.values(at) {
            let c = Closing::read(v)?;
            if not_itself && (c.time_ms, c.offset) == (open.opened_ms, open.offset) {
                continue;
            }
            if c.closes(each, open) && first.as_ref().is_none_or(|f| (c.time_ms, c.offset) < (f.time_ms, f.offset)) {
                first = Some(c);
            }
        }
        Ok(first)
    }

    /// Forgets closings that no opening can precede any more, and tells which expectations are due, by time and key.
    pub(super) fn take_due(&mut self, watermark_ms: i64, now_ms: i64) -> Result<Vec<Due>, StateError> {
        for (_, key, sub) in self.forget.take(watermark_ms) {
            self.rows.remove(key, sub);
        }
        let limit_ms = match self.clock {
            Clock::Event => watermark_ms,
            Clock::Processing => now_ms,
        };
        let mut due = Vec::new();
        for (at_ms, key, each) in self.due.take(limit_ms) {
            if let Some((open, _)) = self.open(key, each)?.filter(|(o, _)| o.next_ms == at_ms) {
                due.push(Due { key, each, open });
            }
        }
        due.sort_by(|a, b| (a.open.next_ms, self.key_bytes(a.key), a.each).cmp(&(b.open.next_ms, self.key_bytes(b.key), b.each)));
        Ok(due)
    }

    fn rebuild(&mut self) -> Result<(), StateError> {
        self.due.clear();
        self.forget.clear();
        for key in self.rows.keys() {
            let kind = self.rows.key_bytes(key).first().copied();
            for (sub, v) in self.rows.values(key) {
                match kind {
                    Some(OPEN) => self.due.set(Open::read(v)?.0.next_ms, key, sub),
                    Some(CLOSING) => self.forget.set(Closing::read(v)?.time_ms, key, sub),
                    _ => return Err(StateError("an absence row of unknown kind".into())),
                }
            }
        }
        Ok(())
    }
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
