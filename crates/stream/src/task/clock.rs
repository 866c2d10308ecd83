//! A task's watermark over its inputs: which of them are idle, how far the watermark got, which input is too far ahead
//! of the others. It never goes back: an input that was idle and comes back behind it does not take it along, and
//! where the watermark stands then can no longer be told from the inputs alone. So both are state.

use crate::operator::StateAccess;
use crate::source::combined;
use crate::store::{RowSink, StateError, Store};

/// Keys: the watermark under sub 0, and the idle inputs, each under its number.
const FLOOR: &[u8] = b"t";
const IDLE: &[u8] = b"i";

/// The watermark of a task and what it depends on beside its inputs.
#[derive(Debug)]
pub(super) struct Clock {
    state: Store<i64>,
    /// With one plain input the watermark is that input's: nothing is stored.
    stores: bool,
    /// Since when (processing time) each input has had nothing new.
    quiet_since_ms: Vec<i64>,
}

impl Clock {
    pub(super) fn new(inputs: usize, stores: bool) -> Self {
        Clock { state: Store::default(), stores, quiet_since_ms: vec![i64::MAX; inputs] }
    }

    /// How far the watermark got; `i64::MIN` when that is not stored.
    pub(super) fn floor_ms(&self) -> i64 {
        self.state.find(FLOOR).and_then(|k| self.state.get(k, 0).copied()).unwrap_or(i64::MIN)
    }

    pub(super) fn is_idle(&self, input: usize) -> bool {
        self.state.find(IDLE).is_some_and(|k| self.state.get(k, input as i64).is_some())
    }

    /// The task's watermark, from each input's own and whether it is idle.
    pub(super) fn watermark_ms(&self, inputs: impl IntoIterator<Item = (i64, bool)>) -> i64 {
        combined(inputs).0.max(self.floor_ms())
    }

    /// The stages were stepped to this watermark.
    pub(super) fn reached(&mut self, watermark_ms: i64) {
        if self.stores && watermark_ms > self.floor_ms() {
            let key = self.state.key(FLOOR);
            self.state.put(key, 0, watermark_ms);
        }
    }

    /// An input has rows: it is not idle. True if it was.
    pub(super) fn busy(&mut self, input: usize, now_ms: i64) -> bool {
        self.quiet_since_ms[input] = now_ms;
        match self.state.find(IDLE) {
            Some(key) => self.state.remove(key, input as i64).is_some(),
            None => false,
        }
    }

    /// An input is idle from now on.
    pub(super) fn idle(&mut self, input: usize) {
        let key = self.state.key(IDLE);
        self.state.put(key, input as i64, 1);
    }

    /// How long an input has had nothing new, ms.
    pub(super) fn quiet_ms(&self, input: usize, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.quiet_since_ms[input])
    }

    /// A new beginning: nothing is known of how long inputs were quiet before.
    pub(super) fn begin(&mut self, now_ms: i64) {
        self.quiet_since_ms.fill(now_ms);
    }
}

impl StateAccess for Clock {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.state.close_epoch(rows);
    }
    fn committed(&mut self) {
        self.state.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.state.rollback()
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        self.state.import(key, sub, value)
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        self.state.scan_committed_where(wanted, rows);
    }
    fn rows(&self) -> usize {
        self.state.len()
    }
    fn bytes(&self) -> usize {
        StateAccess::bytes(&self.state)
    }
}
