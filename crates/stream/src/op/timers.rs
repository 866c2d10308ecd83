//! An index of what is due when, derived from a stage's state: rebuilt after a restore or a roll-back. A place in it
//! is a hint; the state says what is really due, so that putting something off need not search for its old place.

use crate::store::KeyId;
use std::collections::BTreeSet;

/// Places by time.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(i64, KeyId, i64)>);

impl Timers {
    /// Something of (key, sub-key) is due then.
    pub(crate) fn set(&mut self, at_ms: i64, key: KeyId, sub: i64) {
        self.0.insert((at_ms, key, sub));
    }

    /// It is no longer, for certain.
    pub(crate) fn unset(&mut self, at_ms: i64, key: KeyId, sub: i64) {
        self.0.remove(&(at_ms, key, sub));
    }

    /// The time of the first place.
    pub(crate) fn first_ms(&self) -> Option<i64> {
        self.0.first().map(|(at, _, _)| *at)
    }

    /// Takes out every place at or before `now_ms`. The order of keys in it means nothing: sort by their bytes.
    pub(crate) fn take(&mut self, now_ms: i64) -> Vec<(i64, KeyId, i64)> {
        if self.0.first().is_none_or(|(at, _, _)| *at > now_ms) {
            return Vec::new();
        }
        let later = match now_ms.checked_add(1) {
            Some(next) => self.0.split_off(&(next, KeyId(0), i64::MIN)),
            None => BTreeSet::new(),
        };
        std::mem::replace(&mut self.0, later).into_iter().collect()
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
