//! Two stores behind one [`StateAccess`]: a stage's panes, and one small row per key about them. They share the key
//! space; the sub-key `i64::MIN`, which is no time, marks the rows of the second.

use crate::operator::StateAccess;
use crate::store::{RowSink, StateError, Store, Value};

/// The sub-key of rows of the second store.
pub(crate) const META: i64 = i64::MIN;

/// Panes under (key, start) and a note per key.
#[derive(Debug)]
pub(crate) struct Paired<A, B> {
    pub(crate) panes: Store<A>,
    /// Holds the sub-key [`META`] only.
    pub(crate) notes: Store<B>,
}

impl<A: Value, B: Value> Default for Paired<A, B> {
    fn default() -> Self {
        Paired { panes: Store::default(), notes: Store::default() }
    }
}

impl<A: Value, B: Value> StateAccess for Paired<A, B> {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.panes.close_epoch(rows);
        self.notes.close_epoch(rows);
    }
    fn committed(&mut self) {
        self.panes.committed();
        self.notes.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.panes.rollback()?;
        self.notes.rollback()
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        match sub {
            META => self.notes.import(key, sub, value),
            _ => self.panes.import(key, sub, value),
        }
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        self.panes.scan_committed_where(wanted, rows);
        self.notes.scan_committed_where(wanted, rows);
    }
    fn rows(&self) -> usize {
        self.panes.rows() + self.notes.rows()
    }
    fn bytes(&self) -> usize {
        self.panes.bytes() + self.notes.bytes()
    }
}
