//! State of a since stage: panes and notes, and the timers derived from the notes. A key stands in the timer index at
//! a time no later than its next deed; when that comes, the note says what is really due. So a row that only puts
//! the deed off, as nearly all do, costs the index nothing.

use super::super::paired::{META, Paired};
use super::blocks::Blocks;
use super::pane::Note;
use crate::operator::StateAccess;
use crate::store::{KeyId, RowSink, StateError};
use std::collections::{BTreeMap, HashMap};

/// When a silent key is answered again, and when it is forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    every_ms: Option<i64>,
    give_up_ms: i64,
    at_most_ms: i64,
}

impl Timers {
    pub(super) fn new(every_ms: Option<i64>, give_up_ms: i64, at_most_ms: i64) -> Self {
        Timers { every_ms, give_up_ms, at_most_ms }
    }

    /// When the key is to be answered next, if it is not given up by then.
    fn answer_ms(&self, note: &Note) -> Option<i64> {
        let due_ms = note.quiet_from_ms.saturating_add(self.every_ms?);
        (due_ms.saturating_sub(note.newest_ms) <= self.give_up_ms).then_some(due_ms)
    }

    /// When nothing in the key's state can matter any more.
    fn forget_ms(&self, note: &Note) -> i64 {
        note.quiet_from_ms.saturating_add(self.at_most_ms.max(self.give_up_ms)).saturating_add(1)
    }

    fn next_ms(&self, note: &Note) -> i64 {
        self.answer_ms(note).unwrap_or_else(|| self.forget_ms(note))
    }
}

/// What a watermark set off.
#[derive(Debug)]
pub(super) struct Fired {
    /// Answers due, as (due time, key of the note), ascending by time and key bytes.
    pub(super) due: Vec<(i64, KeyId)>,
    /// Keys that have been silent for too long: to be forgotten once the answers are out.
    pub(super) forgotten: Vec<KeyId>,
}

/// Panes, notes, timers. Keys are numbered in both stores apart.
#[derive(Debug)]
pub(super) struct SinceState {
    pub(super) stored: Paired<Box<[f64]>, Vec<u8>>,
    /// Derived from the panes.
    pub(super) blocks: Blocks,
    timers: Timers,
    pub(super) due: BTreeMap<i64, Vec<KeyId>>,
    /// Where each note stands in `due`; its other places there are void.
    armed: HashMap<KeyId, i64, rustc_hash::FxBuildHasher>,
}

impl SinceState {
    pub(super) fn new(timers: Timers, pane_ms: i64) -> Self {
        SinceState { stored: Paired::default(), blocks: Blocks::new(pane_ms), timers, due: BTreeMap::new(), armed: HashMap::default() }
    }

    /// Removes the panes of a key that start before a time.
    pub(super) fn remove_below(&mut self, key: KeyId, below_ms: i64) {
        if self.stored.panes.remove_below(key, below_ms) > 0 {
            self.blocks.removed_below(key, below_ms);
        }
    }

    /// The note of a key and the carried columns of its newest row.
    pub(super) fn note(&self, key: KeyId) -> Result<Option<(Note, &[u8])>, StateError> {
        self.stored.notes.get(key, META).map(|bytes| Note::read(bytes)).transpose()
    }

    /// Writes a key's note, and its newest row if that is new.
    pub(super) fn put(&mut self, key: KeyId, note: &Note, row: Option<&[u8]>) {
        let bytes = self.stored.notes.entry(key, META, Vec::new);
        match row {
            Some(row) => note.write_row(bytes, row),
            None => note.write(bytes),
        }
        self.arm(key, note);
    }

    fn arm(&mut self, key: KeyId, note: &Note) {
        let next_ms = self.timers.next_ms(note);
        if self.armed.get(&key).is_none_or(|at_ms| next_ms < *at_ms) {
            self.armed.insert(key, next_ms);
            self.due.entry(next_ms).or_default().push(key);
        }
    }

    /// Fires what is due at this watermark.
    pub(super) fn fire(&mut self, watermark_ms: i64) -> Result<Fired, StateError> {
        let (mut fired, mut forgotten) = (Vec::new(), Vec::new());
        while let Some(first) = self.due.first_entry().filter(|e| *e.key() <= watermark_ms) {
            let at_ms = *first.key();
            for key in first.remove() {
                if self.armed.get(&key) != Some(&at_ms) {
                    continue;
                }
                self.armed.remove(&key);
                let Some((mut note, _)) = self.note(key)? else {
                    continue;
                };
                let quiet_from_ms = note.quiet_from_ms;
                while let Some(due_ms) = self.timers.answer_ms(&note).filter(|d| *d <= watermark_ms) {
                    fired.push((due_ms, key));
                    note.quiet_from_ms = due_ms;
                }
                if self.timers.next_ms(&note) <= watermark_ms {
                    forgotten.push(key);
                } else if note.quiet_from_ms != quiet_from_ms {
                    self.put(key, &note, None);
                } else {
                    self.arm(key, &note);
                }
            }
        }
        let notes = &self.stored.notes;
        fired.sort_unstable_by(|a, b| (a.0, notes.key_bytes(a.1)).cmp(&(b.0, notes.key_bytes(b.1))));
        Ok(Fired { due: fired, forgotten })
    }

    /// Removes all state of these keys.
    pub(super) fn forget(&mut self, keys: &[KeyId]) {
        for key in keys {
            if let Some(panes) = self.stored.panes.find(self.stored.notes.key_bytes(*key)) {
                self.remove_below(panes, i64::MAX);
            }
            self.stored.notes.remove(*key, META);
        }
    }
}

impl StateAccess for SinceState {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.stored.close_epoch(rows);
    }
    fn committed(&mut self) {
        self.stored.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.stored.rollback()?;
        self.imported()
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        self.stored.import(key, sub, value)
    }
    fn imported(&mut self) -> Result<(), StateError> {
        self.blocks.clear();
        self.due.clear();
        self.armed.clear();
        for key in self.stored.notes.keys().collect::<Vec<_>>() {
            if let Some((note, _)) = self.note(key)? {
                self.arm(key, &note);
            }
        }
        Ok(())
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        self.stored.scan_committed_where(wanted, rows);
    }
    fn rows(&self) -> usize {
        self.stored.rows()
    }
    fn bytes(&self) -> usize {
        self.stored.bytes()
    }
}
