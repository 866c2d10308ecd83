//! One partition as a broker keeps it: plain and transactional records in offset order, markers that take an offset
//! of their own, and the last stable offset that open transactions hold back.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use ws_stream::log::{LogError, TopicPartition};
use ws_stream::records::{Appends, Records, RecordsBuilder};

/// A stored record. Key, value and headers are kept as the bytes that were appended.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Offset.
    pub offset: i64,
    /// The record's timestamp, UTC milliseconds.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<Bytes>,
    /// Value; absent is a tombstone.
    pub value: Option<Bytes>,
    /// Encoded headers.
    pub headers: Bytes,
    /// Transaction it belongs to, 0 for none.
    txn: u64,
}

/// One partition.
#[derive(Debug, Default)]
pub struct Partition {
    start: i64,
    end: i64,
    records: Vec<Stored>,
    /// Undecided transactions here, with their first offset.
    open: BTreeMap<u64, i64>,
    aborted: BTreeSet<u64>,
}

impl Partition {
    /// First offset kept.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// End offset: after the newest record or marker.
    pub fn high(&self) -> i64 {
        self.end
    }

    /// The last stable offset: before the first record of the oldest undecided transaction.
    pub fn stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Appends row `i` of `appends`, for transaction `txn` (0: none).
    pub fn append(&mut self, appends: &Appends, i: usize, txn: u64) {
        let row = appends.rows[i];
        let copy = |s: ws_stream::records::Span| s.of(&appends.buffer).map(Bytes::copy_from_slice);
        if txn != 0 {
            self.open.entry(txn).or_insert(self.end);
        }
        self.records.push(Stored {
            offset: self.end,
            timestamp_ms: row.timestamp_ms,
            key: copy(row.key),
            value: copy(row.value),
            headers: copy(row.headers).unwrap_or_default(),
            txn,
        });
        self.end += 1;
    }

    /// Writes a transaction's marker: its records here become visible, or never will.
    pub fn mark(&mut self, txn: u64, commit: bool) {
        if self.open.remove(&txn).is_some() && !commit {
            self.aborted.insert(txn);
        }
        self.end += 1;
    }

    /// Deletes records before `before`; never goes back.
    pub fn truncate(&mut self, before: i64) {
        self.start = self.start.max(before.min(self.end));
        let gone = self.records.partition_point(|r| r.offset < self.start);
        self.records.drain(..gone);
    }

    /// First offset whose record's timestamp is at or after `time_ms`; the end when there is none.
    pub fn offset_at(&self, time_ms: i64) -> i64 {
        self.records.iter().find(|r| r.timestamp_ms >= time_ms).map_or(self.end, |r| r.offset)
    }

    /// What a committed reader sees from `from`, at most `max_rows` visible records.
    pub fn visible(&self, from: i64, max_rows: usize) -> (Vec<&Stored>, i64) {
        let stable = self.stable();
        let (mut rows, mut next) = (Vec::new(), from);
        for r in &self.records[self.records.partition_point(|r| r.offset < from)..] {
            if r.offset >= stable || rows.len() >= max_rows {
                return (rows, next.max(from));
            }
            if r.txn == 0 || !self.aborted.contains(&r.txn) {
                rows.push(r);
            }
            next = r.offset + 1;
        }
        // Markers behind the last record are passed too.
        (rows, stable.max(from))
    }

    /// Reads as a committed reader, at most `max_rows` visible records.
    pub fn read(&self, at: &TopicPartition, from: i64, max_rows: usize) -> Result<Records, LogError> {
        if from < self.start || from > self.end {
            return Err(LogError::OutOfRange { at: at.clone(), offset: from, start: self.start, end: self.end });
        }
        let (rows, next) = self.visible(from, max_rows);
        let mut b = RecordsBuilder::default();
        for r in rows {
            b.push(r.offset, r.timestamp_ms, r.key.as_deref(), r.value.as_deref(), &r.headers);
        }
        Ok(b.finish(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(p: &mut Partition, text: &str, txn: u64) {
        let mut a = Appends::new("t".into());
        a.push(0, 5, None, Some(text.as_bytes()), &[]);
        p.append(&a, 0, txn);
    }
    fn texts(p: &Partition) -> (Vec<String>, i64) {
        let (rows, next) = p.visible(0, 100);
        (rows.iter().map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap_or(b"")).into_owned()).collect(), next)
    }

    #[test]
    fn open_transactions_hold_back_what_comes_behind_them() {
        let mut p = Partition::default();
        one(&mut p, "a", 0);
        one(&mut p, "b", 1);
        one(&mut p, "c", 2);
        one(&mut p, "d", 0);
        assert_eq!((texts(&p), p.stable(), p.high()), ((vec!["a".into()], 1), 1, 4));
        p.mark(2, true);
        assert_eq!(p.stable(), 1, "a decided transaction behind an undecided one stays invisible");
        p.mark(1, false);
        assert_eq!((texts(&p), p.stable(), p.high()), ((vec!["a".into(), "c".into(), "d".into()], 6), 6, 6));
    }

    #[test]
    fn a_limited_read_goes_on_where_it_stopped() {
        let mut p = Partition::default();
        for t in ["a", "b", "c"] {
            one(&mut p, t, 1);
        }
        p.mark(1, true);
        let at = TopicPartition::new("t", 0);
        let (mut from, mut n) = (0, 0);
        while from < p.stable() {
            let r = p.read(&at, from, 2).expect("in range");
            n += r.rows.len();
            assert!(r.next_offset > from);
            from = r.next_offset;
        }
        assert_eq!((n, from), (3, 4));
        p.truncate(2);
        assert!(p.read(&at, 1, 1).is_err());
        assert_eq!(p.read(&at, 2, 9).expect("in range").rows.len(), 1);
    }
}
