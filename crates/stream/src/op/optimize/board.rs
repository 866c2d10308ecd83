//! State of an optimisation: per key a board of rows (the newest of each entity), how far it is decided, the memo of
//! the last accepted answer, and the call under way. All in one store, told apart by a key's first byte.

use super::super::timers::Timers;
use crate::operator::StateAccess;
use crate::store::{KeyId, RowSink, StateError, Store};
use std::collections::BTreeMap;

/// First bytes of keys. Calls under way carry the byte of all pending work.
const BOARD: u8 = b'b';
const KEY: u8 = b'k';
const MEMO: u8 = b'm';
const PENDING: u8 = b'p';
/// Bytes in front of a board row.
const ROW_HEAD: usize = 3 * 8 + 1;

/// Longest wait before a failed key is tried again.
pub(super) const MAX_RETRY_MS: i64 = 3_600_000;

/// No such time.
pub(super) const NEVER: i64 = i64::MIN;

/// A row of a board, or the mark that its entity was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoardRow {
    pub(super) time_ms: i64,
    pub(super) expires_ms: i64,
    pub(super) offset: i64,
    pub(super) deleted: bool,
    pub(super) row: Vec<u8>,
}

impl BoardRow {
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ROW_HEAD + self.row.len());
        for n in [self.time_ms, self.expires_ms, self.offset] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.push(u8::from(self.deleted));
        out.extend_from_slice(&self.row);
        out
    }

    fn read(bytes: &[u8]) -> Result<BoardRow, StateError> {
        let (head, row) = bytes.split_at_checked(ROW_HEAD).ok_or_else(|| StateError("a board row is too short".into()))?;
        let n: Vec<i64> = head[..24].chunks_exact(8).map(long).collect();
        Ok(BoardRow { time_ms: n[0], expires_ms: n[1], offset: n[2], deleted: head[24] != 0, row: row.to_vec() })
    }
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyState {
    /// Decisions published so far.
    pub(super) number: i64,
    /// Changes of the board so far.
    pub(super) position: i64,
    /// The position that the newest published decision knew.
    pub(super) decided: i64,
    /// Event time and input offset of the newest change.
    pub(super) newest_ms: i64,
    pub(super) offset: i64,
    /// Processing time of the first and last change that no call knows of; [`NEVER`]: none.
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// Processing time of the first urgent one of them.
    pub(super) urgent_ms: i64,
    /// Start of the last call.
    pub(super) asked_ms: i64,
    /// Calls in a row that nobody answered usably, and when to ask again.
    pub(super) failures: i64,
    pub(super) retry_ms: i64,
}

impl Default for KeyState {
    fn default() -> Self {
        KeyState {
            number: 0,
            position: 0,
            decided: 0,
            newest_ms: NEVER,
            offset: 0,
            first_ms: NEVER,
            last_ms: NEVER,
            urgent_ms: NEVER,
            asked_ms: NEVER,
            failures: 0,
            retry_ms: NEVER,
        }
    }
}

impl KeyState {
    fn fields(&self) -> [i64; 11] {
        [
            self.number,
            self.position,
            self.decided,
            self.newest_ms,
            self.offset,
            self.first_ms,
            self.last_ms,
            self.urgent_ms,
            self.asked_ms,
            self.failures,
            self.retry_ms,
        ]
    }

    fn read(bytes: &[u8]) -> Result<KeyState, StateError> {
        let n: Vec<i64> = bytes.chunks_exact(8).map(long).collect();
        let [number, position, decided, newest_ms, offset, first_ms, last_ms, urgent_ms, asked_ms, failures, retry_ms] = n[..] else {
            return Err(StateError(format!("{} bytes are no state of a board", bytes.len())));
        };
        Ok(KeyState { number, position, decided, newest_ms, offset, first_ms, last_ms, urgent_ms, asked_ms, failures, retry_ms })
    }

    /// Is there a change that no call knows of?
    pub(super) fn dirty(&self) -> bool {
        self.first_ms != NEVER
    }

    /// Takes note of a change; `quiet` ones call for nothing.
    pub(super) fn changed(&mut self, time_ms: i64, offset: i64, now_ms: i64, urgent: bool, quiet: bool) {
        self.position += 1;
        if time_ms >= self.newest_ms {
            (self.newest_ms, self.offset) = (time_ms, offset);
        }
        if quiet && !urgent {
            return;
        }
        if !self.dirty() {
            self.first_ms = now_ms;
        }
        self.last_ms = now_ms;
        if urgent && self.urgent_ms == NEVER {
            self.urgent_ms = now_ms;
        }
    }
}

/// A call under way, as state: enough to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// Number of the decision that it would become.
    pub(super) number: i64,
    /// How often it was asked, recoveries included.
    pub(super) attempt: i64,
    /// The fallback was asked.
    pub(super) fallback: bool,
    /// Position of the board that was asked about.
    pub(super) position: i64,
    pub(super) seed: i64,
    /// Event time of what comes of it.
    pub(super) as_of_ms: i64,
    pub(super) offset: i64,
    pub(super) asked_ms: i64,
}

impl Pending {
    fn read(bytes: &[u8]) -> Result<Pending, StateError> {
        let n: Vec<i64> = bytes.chunks_exact(8).map(long).collect();
        let [number, attempt, fallback, position, seed, as_of_ms, offset, asked_ms] = n[..] else {
            return Err(StateError(format!("{} bytes are no pending call", bytes.len())));
        };
        Ok(Pending { number, attempt, fallback: fallback != 0, position, seed, as_of_ms, offset, asked_ms })
    }
    fn fields(&self) -> [i64; 8] {
        [self.number, self.attempt, i64::from(self.fallback), self.position, self.seed, self.as_of_ms, self.offset, self.asked_ms]
    }
}

fn long(bytes: &[u8]) -> i64 {
    bytes.try_into().map_or(0, i64::from_le_bytes)
}

fn bytes_of(fields: &[i64]) -> Vec<u8> {
    fields.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// The store, and what leaves boards when. A key is known by the place of its [`KeyState`].
#[derive(Debug, Default)]
pub(super) struct Boards {
    rows: Store<Vec<u8>>,
    expiry: Timers,
    /// Event time of what comes of each call under way.
    as_of: BTreeMap<KeyId, i64>,
    scratch: Vec<u8>,
}

impl Boards {
    fn at(&mut self, prefix: u8, key: &[u8]) -> KeyId {
        self.scratch.clear();
        self.scratch.push(prefix);
        self.scratch.extend_from_slice(key);
        self.rows.key(&self.scratch)
    }
    fn other(&mut self, prefix: u8, of: KeyId) -> KeyId {
        let key = self.key_bytes(of).to_vec();
        self.at(prefix, &key)
    }
    fn find(&self, prefix: u8, of: KeyId) -> Option<KeyId> {
        self.rows.find(&[&[prefix], self.key_bytes(of)].concat())
    }

    /// The place of a key.
    pub(super) fn of(&mut self, key: &[u8]) -> KeyId {
        self.at(KEY, key)
    }
    /// The key's bytes, as its columns give them.
    pub(super) fn key_bytes(&self, of: KeyId) -> &[u8] {
        &self.rows.key_bytes(of)[1..]
    }

    pub(super) fn state(&self, of: KeyId) -> Result<KeyState, StateError> {
        self.rows.get(of, 0).map_or_else(|| Ok(KeyState::default()), |v| KeyState::read(v))
    }
    pub(super) fn set_state(&mut self, of: KeyId, state: &KeyState) {
        self.rows.put(of, 0, bytes_of(&state.fields()));
    }

    /// Processing times that are ahead of this process' clock become its now: another process' clock must not hold a
    /// board up.
    pub(super) fn set_clock(&mut self, of: KeyId, now_ms: i64) -> Result<(), StateError> {
        let before = self.state(of)?;
        let mut state = before.clone();
        for at_ms in [&mut state.first_ms, &mut state.last_ms, &mut state.urgent_ms, &mut state.asked_ms] {
            *at_ms = (*at_ms).min(now_ms);
        }
        state.retry_ms = state.retry_ms.min(now_ms.saturating_add(MAX_RETRY_MS));
        if state != before {
            self.set_state(of, &state);
        }
        Ok(())
    }

    pub(super) fn memo(&self, of: KeyId) -> &[u8] {
        self.find(MEMO, of).and_then(|k| self.rows.get(k, 0)).map_or(&[], Vec::as_slice)
    }
    pub(super) fn set_memo(&mut self, of: KeyId, memo: Vec<u8>) {
        let at = self.other(MEMO, of);
        self.rows.put(at, 0, memo);
    }

    pub(super) fn pending(&self, of: KeyId) -> Result<Option<Pending>, StateError> {
        self.find(PENDING, of).and_then(|k| self.rows.get(k, 0)).map(|v| Pending::read(v)).transpose()
    }
    pub(super) fn set_pending(&mut self, of: KeyId, pending: Option<&Pending>) {
        let at = self.other(PENDING, of);
        match pending {
            Some(p) => {
                self.rows.put(at, 0, bytes_of(&p.fields()));
                self.as_of.insert(at, p.as_of_ms);
            }
            None => {
                self.rows.remove(at, 0);
                self.as_of.remove(&at);
            }
        }
    }

    /// Event time of the oldest call under way.
    pub(super) fn oldest_pending_ms(&self) -> Option<i64> {
        self.as_of.values().copied().min()
    }

    /// Rows of a key's board with deletion marks, in an order that depends on the entities alone.
    pub(super) fn board(&self, of: KeyId) -> Result<Vec<BoardRow>, StateError> {
        let Some(at) = self.find(BOARD, of) else { return Ok(Vec::new()) };
        self.rows.values(at).map(|(_, v)| BoardRow::read(v)).collect()
    }
    pub(super) fn board_len(&mut self, of: KeyId) -> usize {
        let at = self.other(BOARD, of);
        self.rows.values(at).len()
    }
    pub(super) fn row(&self, of: KeyId, entity: i64) -> Result<Option<BoardRow>, StateError> {
        let Some(at) = self.find(BOARD, of) else { return Ok(None) };
        self.rows.get(at, entity).map(|v| BoardRow::read(v)).transpose()
    }
    pub(super) fn put_row(&mut self, of: KeyId, entity: i64, row: &BoardRow) {
        let at = self.other(BOARD, of);
        self.rows.put(at, entity, row.write());
        self.expiry.set(row.expires_ms, at, entity);
    }

    /// Takes off what ended by this watermark: (key, event time, offset) of live rows, in order of time, key and entity.
    pub(super) fn expire(&mut self, watermark_ms: i64) -> Result<Vec<(KeyId, i64, i64)>, StateError> {
        let mut ended = Vec::new();
        for (at_ms, at, entity) in self.expiry.take(watermark_ms) {
            let Some(row) = self.rows.get(at, entity).map(|v| BoardRow::read(v)).transpose()? else { continue };
            if row.expires_ms != at_ms {
                continue;
            }
            self.rows.remove(at, entity);
            if !row.deleted {
                ended.push((at_ms, self.rows.key_bytes(at)[1..].to_vec(), entity, row.offset));
            }
        }
        ended.sort();
        Ok(ended.into_iter().map(|(at_ms, key, _, offset)| (self.at(KEY, &key), at_ms, offset)).collect())
    }

    /// All keys with a state, by their bytes.
    pub(super) fn keys(&self) -> Vec<KeyId> {
        let mut keys: Vec<KeyId> = self.rows.keys().filter(|k| self.rows.key_bytes(*k).first() == Some(&KEY) && self.rows.get(*k, 0).is_some()).collect();
        keys.sort_by(|a, b| self.rows.key_bytes(*a).cmp(self.rows.key_bytes(*b)));
        keys
    }

    fn rebuild(&mut self) -> Result<(), StateError> {
        self.expiry.clear();
        self.as_of.clear();
        for key in self.rows.keys() {
            match self.rows.key_bytes(key).first() {
                Some(&BOARD) => {
                    for (entity, v) in self.rows.values(key) {
                        self.expiry.set(BoardRow::read(v)?.expires_ms, key, entity);
                    }
                }
                Some(&PENDING) => {
                    for (_, v) in self.rows.values(key) {
                        self.as_of.insert(key, Pending::read(v)?.as_of_ms);
                    }
                }
                Some(&(KEY | MEMO)) => {}
                _ => return Err(StateError("an optimise row of unknown kind".into())),
            }
        }
        Ok(())
    }
}

impl StateAccess for Boards {
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
