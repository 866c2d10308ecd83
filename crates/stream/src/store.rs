//! A stage's keyed state: values under (key, sub-key), the sub-key being a time or a number. The first touch of a
//! value in an epoch keeps its pre-image, so that an abort rolls back in memory without restoring; what an epoch
//! touched is also exactly what its changelog delta holds.

use crate::operator::StateAccess;
use hashbrown::{HashTable, hash_table::Entry as TableEntry};
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// State that cannot be read: another format, or damaged.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "state of stage cannot be read: {0}; the changelog or snapshot was written by another version of the topology: restore from a matching one, or reset the topology on purpose"
)]
pub struct StateError(pub String);

/// Receives state rows.
pub type RowSink<'a> = dyn FnMut(&[u8], i64, Option<&[u8]>) + 'a;

/// A value that can be written to the changelog and read back, byte for byte.
pub trait Value: Clone {
    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads what [`Value::write`] wrote.
    fn read(bytes: &[u8]) -> Result<Self, StateError>;
}

impl Value for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(bytes: &[u8]) -> Result<Self, StateError> {
        Ok(bytes.to_vec())
    }
}

impl Value for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read(bytes: &[u8]) -> Result<Self, StateError> {
        Ok(i64::from_le_bytes(bytes.try_into().map_err(|_| StateError(format!("{} bytes instead of 8", bytes.len())))?))
    }
}

impl Value for Box<[f64]> {
    fn write(&self, out: &mut Vec<u8>) {
        for v in self.iter() {
            out.extend_from_slice(&v.to_le_bytes());
        }
    }
    fn read(bytes: &[u8]) -> Result<Self, StateError> {
        if !bytes.len().is_multiple_of(8) {
            return Err(StateError(format!("{} bytes are no row of numbers", bytes.len())));
        }
        Ok(bytes.chunks_exact(8).map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])).collect())
    }
}

/// A key's number within one incarnation. Numbers depend on arrival order: never let their order reach an effect. The
/// number of a key that holds nothing may be given to another key once the epoch that emptied it is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

#[derive(Clone, Debug)]
struct Entry<V> {
    sub: i64,
    touched: u64,
    value: V,
}

#[derive(Clone, Debug)]
struct Group<V> {
    key: Box<[u8]>,
    /// Ascending by sub-key.
    entries: Vec<Entry<V>>,
}

#[derive(Clone, Debug)]
struct Undo<V> {
    key: KeyId,
    sub: i64,
    before: Option<V>,
}

/// Keyed state with two unresolved epochs.
#[derive(Debug)]
pub struct Store<V> {
    index: HashTable<u32>,
    groups: Vec<Group<V>>,
    epoch: u64,
    open: Vec<Undo<V>>,
    closed: Vec<Undo<V>>,
    rows: usize,
    /// Groups that held nothing at some time in the open epoch, and in the closed one: to be freed if they still do.
    emptied: Vec<u32>,
    emptied_closed: Vec<u32>,
    /// Places of groups to be used again.
    free: Vec<u32>,
}

fn hash(key: &[u8]) -> u64 {
    let mut h = FxHasher::default();
    h.write(key);
    h.finish()
}

impl<V: Value> Default for Store<V> {
    fn default() -> Self {
        Store {
            index: HashTable::new(),
            groups: Vec::new(),
            epoch: 1,
            open: Vec::new(),
            closed: Vec::new(),
            rows: 0,
            emptied: Vec::new(),
            emptied_closed: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<V: Value> Store<V> {
    /// The number of `key`, given out at its first sight.
    pub fn key(&mut self, key: &[u8]) -> KeyId {
        let groups = &mut self.groups;
        match self.index.entry(hash(key), |g| *groups[*g as usize].key == *key, |g| hash(&groups[*g as usize].key)) {
            TableEntry::Occupied(e) => KeyId(*e.get()),
            TableEntry::Vacant(e) => {
                let group = Group { key: key.into(), entries: Vec::new() };
                let id = match self.free.pop() {
                    Some(id) => {
                        e.insert(id);
                        groups[id as usize] = group;
                        id
                    }
                    None => {
                        let id = groups.len() as u32;
                        e.insert(id);
                        groups.push(group);
                        id
                    }
                };
                self.emptied.push(id);
                KeyId(id)
            }
        }
    }

    /// Frees the groups among these that hold nothing and to which nothing will be rolled back.
    fn free_empty(&mut self, candidates: Vec<u32>) {
        let mut empty: Vec<u32> = candidates.into_iter().filter(|g| self.groups[*g as usize].entries.is_empty()).collect();
        if empty.is_empty() {
            return;
        }
        empty.sort_unstable();
        empty.dedup();
        // What the open epoch touched stays: it is looked at again when that one is resolved.
        let mut kept: Vec<u32> = self.open.iter().chain(&self.closed).map(|u| u.key.0).filter(|g| empty.binary_search(g).is_ok()).collect();
        kept.sort_unstable();
        for g in empty.into_iter().filter(|g| kept.binary_search(g).is_err()) {
            let group = &mut self.groups[g as usize];
            if let Ok(entry) = self.index.find_entry(hash(&group.key), |i| *i == g) {
                entry.remove();
                *group = Group { key: Box::default(), entries: Vec::new() };
                self.free.push(g);
            }
        }
    }

    /// The number of `key` if it is known.
    pub fn find(&self, key: &[u8]) -> Option<KeyId> {
        self.index.find(hash(key), |g| *self.groups[*g as usize].key == *key).map(|g| KeyId(*g))
    }

    /// The bytes of a key.
    pub fn key_bytes(&self, key: KeyId) -> &[u8] {
        &self.groups[key.0 as usize].key
    }

    /// All keys, in no meaningful order; some may hold nothing.
    pub fn keys(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.index.iter().map(|g| KeyId(*g))
    }

    fn at(&self, key: KeyId, sub: i64) -> Result<usize, usize> {
        let entries = &self.groups[key.0 as usize].entries;
        match entries.last() {
            None => Err(0),
            Some(e) if e.sub < sub => Err(entries.len()),
            Some(e) if e.sub == sub => Ok(entries.len() - 1),
            _ => entries.binary_search_by_key(&sub, |e| e.sub),
        }
    }

    /// A value.
    pub fn get(&self, key: KeyId, sub: i64) -> Option<&V> {
        self.at(key, sub).ok().map(|i| &self.groups[key.0 as usize].entries[i].value)
    }

    /// All values of a key, ascending by sub-key.
    pub fn values(&self, key: KeyId) -> impl DoubleEndedIterator<Item = (i64, &V)> + ExactSizeIterator {
        self.groups[key.0 as usize].entries.iter().map(|e| (e.sub, &e.value))
    }

    /// Keeps the pre-image of entry `i` of `key` at its first touch in the open epoch.
    fn touch(&mut self, key: KeyId, i: usize) -> &mut V {
        let e = &mut self.groups[key.0 as usize].entries[i];
        if e.touched != self.epoch {
            e.touched = self.epoch;
            self.open.push(Undo { key, sub: e.sub, before: Some(e.value.clone()) });
        }
        &mut e.value
    }

    fn insert(&mut self, key: KeyId, i: usize, sub: i64, value: V) -> &mut V {
        let entries = &mut self.groups[key.0 as usize].entries;
        entries.insert(i, Entry { sub, touched: self.epoch, value });
        self.open.push(Undo { key, sub, before: None });
        self.rows += 1;
        &mut entries[i].value
    }

    /// A value to change, made by `default` if absent; its pre-image is kept.
    pub fn entry(&mut self, key: KeyId, sub: i64, default: impl FnOnce() -> V) -> &mut V {
        match self.at(key, sub) {
            Ok(i) => self.touch(key, i),
            Err(i) => self.insert(key, i, sub, default()),
        }
    }

    /// Sets a value; the old one is kept as pre-image.
    pub fn put(&mut self, key: KeyId, sub: i64, value: V) {
        match self.at(key, sub) {
            Ok(i) => *self.touch(key, i) = value,
            Err(i) => {
                self.insert(key, i, sub, value);
            }
        }
    }

    /// Removes a value and returns it; it is kept as pre-image.
    pub fn remove(&mut self, key: KeyId, sub: i64) -> Option<V> {
        let i = self.at(key, sub).ok()?;
        let e = self.groups[key.0 as usize].entries.remove(i);
        // Undoing in reverse order ends at the epoch's oldest pre-image, so a second one does no harm.
        self.open.push(Undo { key, sub, before: Some(e.value.clone()) });
        self.rows -= 1;
        self.note_empty(key);
        Some(e.value)
    }

    /// Removes all values of `key` with a sub-key below `sub`; returns how many.
    pub fn remove_below(&mut self, key: KeyId, sub: i64) -> usize {
        let n = self.groups[key.0 as usize].entries.partition_point(|e| e.sub < sub);
        for e in self.groups[key.0 as usize].entries.drain(..n) {
            self.open.push(Undo { key, sub: e.sub, before: Some(e.value) });
        }
        self.rows -= n;
        self.note_empty(key);
        n
    }

    fn note_empty(&mut self, key: KeyId) {
        if self.groups[key.0 as usize].entries.is_empty() {
            self.emptied.push(key.0);
        }
    }

    /// Values held.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True when nothing is held.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn set(&mut self, key: KeyId, sub: i64, value: Option<V>) {
        let at = self.at(key, sub);
        let entries = &mut self.groups[key.0 as usize].entries;
        match (at, value) {
            (Ok(i), Some(v)) => entries[i] = Entry { sub, touched: 0, value: v },
            (Ok(i), None) => {
                entries.remove(i);
                self.rows -= 1;
                self.note_empty(key);
            }
            (Err(i), Some(v)) => {
                entries.insert(i, Entry { sub, touched: 0, value: v });
                self.rows += 1;
            }
            (Err(_), None) => {}
        }
    }
}

impl<V: Value> StateAccess for Store<V> {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        debug_assert!(self.closed.is_empty(), "at most two epochs are unresolved");
        let mut bytes = Vec::new();
        for u in &self.open {
            match self.get(u.key, u.sub) {
                Some(v) => {
                    bytes.clear();
                    v.write(&mut bytes);
                    rows(self.key_bytes(u.key), u.sub, Some(&bytes));
                }
                // Made and removed within the epoch: never known outside.
                None if u.before.is_none() => {}
                None => rows(self.key_bytes(u.key), u.sub, None),
            }
        }
        self.closed = std::mem::take(&mut self.open);
        self.emptied_closed.append(&mut self.emptied);
        self.epoch += 1;
    }

    fn committed(&mut self) {
        self.closed.clear();
        let candidates = std::mem::take(&mut self.emptied_closed);
        self.free_empty(candidates);
    }

    fn rollback(&mut self) -> Result<(), StateError> {
        for undo in [std::mem::take(&mut self.open), std::mem::take(&mut self.closed)] {
            for u in undo.into_iter().rev() {
                self.set(u.key, u.sub, u.before);
            }
        }
        let mut candidates = std::mem::take(&mut self.emptied_closed);
        candidates.append(&mut self.emptied);
        self.free_empty(candidates);
        self.epoch += 1;
        Ok(())
    }

    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        let key = self.key(key);
        let value = value.map(V::read).transpose()?;
        self.set(key, sub, value);
        Ok(())
    }

    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        // Values as of the last committed epoch: current ones, but pre-images where an unresolved epoch touched them.
        let mut before: hashbrown::HashMap<(u32, i64), &Option<V>, rustc_hash::FxBuildHasher> = hashbrown::HashMap::default();
        for u in self.closed.iter().chain(&self.open) {
            before.entry((u.key.0, u.sub)).or_insert(&u.before);
        }
        let mut bytes = Vec::new();
        let mut put = |key: &[u8], sub: i64, v: &V| {
            bytes.clear();
            v.write(&mut bytes);
            rows(key, sub, Some(&bytes));
        };
        for (g, group) in self.groups.iter().enumerate() {
            if !wanted(&group.key) {
                continue;
            }
            for e in &group.entries {
                match before.remove(&(g as u32, e.sub)) {
                    None => put(&group.key, e.sub, &e.value),
                    Some(Some(v)) => put(&group.key, e.sub, v),
                    Some(None) => {}
                }
            }
        }
        let mut removed: Vec<_> =
            before.into_iter().filter(|((g, _), _)| wanted(&self.groups[*g as usize].key)).filter_map(|((g, s), v)| v.as_ref().map(|v| (g, s, v))).collect();
        removed.sort_by_key(|(g, s, _)| (*g, *s));
        for (g, sub, v) in removed {
            put(&self.groups[g as usize].key, sub, v);
        }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn bytes(&self) -> usize {
        self.rows * (size_of::<Entry<V>>() + 16) + self.groups.len() * (size_of::<Group<V>>() + 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(s: &Store<i64>) -> Vec<(Vec<u8>, i64, i64)> {
        let mut out = Vec::new();
        s.scan_committed(&mut |k, sub, v| out.push((k.to_vec(), sub, i64::read(v.unwrap()).unwrap())));
        out.sort();
        out
    }
    fn current(s: &Store<i64>) -> Vec<(Vec<u8>, i64, i64)> {
        let mut out: Vec<_> = s.keys().flat_map(|k| s.values(k).map(move |(sub, v)| (s.key_bytes(k).to_vec(), sub, *v))).collect();
        out.sort();
        out
    }

    /// Random histories of puts, removals, closes, commits and roll-backs against a plain model that copies maps.
    #[test]
    fn rolls_back_two_epochs_and_scans_only_what_is_committed() {
        use std::collections::BTreeMap;
        type Model = BTreeMap<(Vec<u8>, i64), i64>;
        let flat = |m: &Model| m.iter().map(|((k, s), v)| (k.clone(), *s, *v)).collect::<Vec<_>>();
        for seed in 0..200u64 {
            let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut rnd = move |n: u64| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                x % n
            };
            let mut s = Store::<i64>::default();
            let (mut base, mut now, mut closed) = (Model::new(), Model::new(), None::<Model>);
            let mut log = Model::new(); // what the changelog says, applied at commit
            let mut delta: Vec<(Vec<u8>, i64, Option<i64>)> = Vec::new();
            for _ in 0..200 {
                let (k, sub) = (vec![b'a' + rnd(4) as u8], rnd(5) as i64);
                match rnd(10) {
                    0..=4 => {
                        let id = s.key(&k);
                        let v = rnd(1000) as i64;
                        s.put(id, sub, v);
                        now.insert((k, sub), v);
                    }
                    5 => {
                        let id = s.key(&k);
                        assert_eq!(s.remove(id, sub), now.remove(&(k, sub)));
                    }
                    6 => {
                        let id = s.key(&k);
                        s.remove_below(id, sub);
                        now.retain(|(kk, ss), _| kk != &k || *ss >= sub);
                    }
                    7 if closed.is_none() => {
                        delta.clear();
                        s.close_epoch(&mut |k, sub, v| delta.push((k.to_vec(), sub, v.map(|v| i64::read(v).unwrap()))));
                        closed = Some(now.clone());
                    }
                    8 if closed.is_some() => {
                        s.committed();
                        base = closed.take().unwrap();
                        for (k, sub, v) in delta.drain(..) {
                            match v {
                                Some(v) => log.insert((k, sub), v),
                                None => log.remove(&(k, sub)),
                            };
                        }
                        assert_eq!(flat(&log), flat(&base), "the changelog folds to the committed state");
                    }
                    9 if rnd(3) == 0 => {
                        s.rollback().unwrap();
                        now = base.clone();
                        closed = None;
                    }
                    _ => {}
                }
                assert_eq!(current(&s), flat(&now), "seed {seed}");
                assert_eq!(committed(&s), flat(&base), "seed {seed}");
                assert_eq!(s.len(), now.len());
            }
        }
    }

    #[test]
    fn keys_that_hold_nothing_are_freed_once_no_rollback_can_bring_them_back() {
        let mut s = Store::<i64>::default();
        // A stream of new keys, each gone again three epochs later.
        for n in 0..1_000i64 {
            let id = s.key(format!("k{n}").as_bytes());
            s.put(id, 0, n);
            s.key(format!("looked at {n}").as_bytes());
            if let Some(old) = s.find(format!("k{}", n - 3).as_bytes()) {
                s.remove(old, 0);
            }
            s.close_epoch(&mut |_, _, _| {});
            let touched = s.key(b"again and again");
            s.put(touched, n, n);
            s.remove(touched, n);
            s.committed();
        }
        assert_eq!(s.len(), 3);
        assert!(s.groups.len() < 20, "{} places for 3 keys", s.groups.len());
        let id = s.find(b"k999").unwrap();
        s.remove(id, 0);
        s.close_epoch(&mut |_, _, _| {});
        s.rollback().unwrap();
        assert_eq!(s.find(b"k999").and_then(|k| s.get(k, 0).copied()), Some(999), "rolled back under its own key");
        s.key(b"never filled");
        s.rollback().unwrap();
        assert_eq!(s.find(b"never filled"), None);
        let mut left: Vec<_> = s.keys().map(|k| s.key_bytes(k).to_vec()).collect();
        left.sort();
        assert_eq!(left, [b"k997", b"k998", b"k999"], "freed places are no keys");
    }

    #[test]
    fn a_restored_store_equals_the_scanned_one() {
        let mut s = Store::<i64>::default();
        for (k, sub, v) in [(&b"x"[..], 3, 1), (b"x", 1, 2), (b"y", 0, 3)] {
            let id = s.key(k);
            s.put(id, sub, v);
        }
        s.close_epoch(&mut |_, _, _| {});
        s.committed();
        let mut t = Store::<i64>::default();
        s.scan_committed(&mut |k, sub, v| t.import(k, sub, v).unwrap());
        assert_eq!(current(&s), current(&t));
    }

    #[test]
    fn damaged_values_are_refused() {
        assert!(Store::<i64>::default().import(b"k", 0, Some(b"short")).is_err());
        assert!(<Box<[f64]> as Value>::read(&[1, 2, 3]).is_err());
    }
}
