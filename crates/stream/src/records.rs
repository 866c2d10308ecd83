//! Records as byte ranges in one shared buffer: what a log hands over and what an epoch appends. No object per
//! message exists, so a log that parses its wire format in place can hand over its own buffer.

use bytes::Bytes;

/// A byte range of a record buffer; [`Span::NONE`] stands for an absent key or value (a tombstone).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Length in bytes, or `u32::MAX` for "absent".
    pub len: u32,
}

impl Span {
    /// An absent key, value or header block.
    pub const NONE: Span = Span { start: 0, len: u32::MAX };

    /// The bytes of this range, `None` when absent or out of bounds.
    pub fn of(self, buffer: &[u8]) -> Option<&[u8]> {
        if self.len == u32::MAX {
            return None;
        }
        buffer.get(self.start as usize..self.start as usize + self.len as usize)
    }
}

/// One record of [`Records`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// Offset in its partition.
    pub offset: i64,
    /// The log's timestamp, UTC milliseconds.
    pub timestamp_ms: i64,
    /// Message key.
    pub key: Span,
    /// Message value; absent is a tombstone.
    pub value: Span,
    /// Encoded headers, see [`Headers`].
    pub headers: Span,
}

/// Consecutive records of one partition, in offset order.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The bytes all rows point into.
    pub buffer: Bytes,
    /// The records.
    pub rows: Vec<RecordRow>,
    /// The position after these records. It may lie beyond the last row's offset + 1: transaction markers and
    /// aborted records take offsets too.
    pub next_offset: i64,
}

impl Records {
    /// Key bytes of row `i`.
    pub fn key(&self, i: usize) -> Option<&[u8]> {
        self.rows.get(i)?.key.of(&self.buffer)
    }
    /// Value bytes of row `i`; `None` is a tombstone.
    pub fn value(&self, i: usize) -> Option<&[u8]> {
        self.rows.get(i)?.value.of(&self.buffer)
    }
    /// Headers of row `i`.
    pub fn headers(&self, i: usize) -> Headers<'_> {
        Headers { rest: self.rows.get(i).and_then(|r| r.headers.of(&self.buffer)).unwrap_or(&[]) }
    }
}

/// Builds [`Records`] by copying keys and values into one buffer.
#[derive(Debug, Default)]
pub struct RecordsBuilder {
    buffer: Vec<u8>,
    rows: Vec<RecordRow>,
}

impl RecordsBuilder {
    /// Appends one record; `headers` is an encoded block of [`write_header`] or empty.
    pub fn push(&mut self, offset: i64, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[u8]) {
        let key = put(&mut self.buffer, key);
        let value = put(&mut self.buffer, value);
        let headers = if headers.is_empty() { Span::NONE } else { put(&mut self.buffer, Some(headers)) };
        self.rows.push(RecordRow { offset, timestamp_ms, key, value, headers });
    }
    /// Bytes collected so far.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }
    /// Records collected so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
    /// True when nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    /// The records, with the position after them.
    pub fn finish(self, next_offset: i64) -> Records {
        Records { buffer: Bytes::from(self.buffer), rows: self.rows, next_offset }
    }
}

fn put(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) -> Span {
    match bytes {
        None => Span::NONE,
        Some(b) => {
            let span = Span { start: buffer.len() as u32, len: b.len() as u32 };
            buffer.extend_from_slice(b);
            span
        }
    }
}

/// Reads an encoded header block: repeated (u16 LE name length, name, u32 LE value length, value).
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Reads an encoded block.
    pub fn new(block: &'a [u8]) -> Self {
        Headers { rest: block }
    }
    /// The first header of that name.
    pub fn get(mut self, name: &str) -> Option<&'a [u8]> {
        self.find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let (n, rest) = self.rest.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*n) as usize)?;
        let (n, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*n) as usize)?;
        self.rest = rest;
        Some((std::str::from_utf8(name).unwrap_or(""), value))
    }
}

/// Writes one header into an encoded block.
pub fn write_header(block: &mut Vec<u8>, name: &str, value: &[u8]) {
    block.extend_from_slice(&(name.len() as u16).to_le_bytes());
    block.extend_from_slice(name.as_bytes());
    block.extend_from_slice(&(value.len() as u32).to_le_bytes());
    block.extend_from_slice(value);
}

/// One record to append, inside [`Appends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendRow {
    /// Target partition.
    pub partition: u32,
    /// Record timestamp, UTC milliseconds.
    pub timestamp_ms: i64,
    /// Message key.
    pub key: Span,
    /// Message value.
    pub value: Span,
    /// Encoded headers.
    pub headers: Span,
}

/// Records to append to one topic, in order.
#[derive(Clone, Debug, Default)]
pub struct Appends {
    /// Target topic.
    pub topic: std::sync::Arc<str>,
    /// The bytes all rows point into.
    pub buffer: Vec<u8>,
    /// The records.
    pub rows: Vec<AppendRow>,
}

impl Appends {
    /// An empty set for `topic`.
    pub fn new(topic: std::sync::Arc<str>) -> Self {
        Appends { topic, buffer: Vec::new(), rows: Vec::new() }
    }
    /// Copies one record in.
    pub fn push(&mut self, partition: u32, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[u8]) {
        let key = put(&mut self.buffer, key);
        let value = put(&mut self.buffer, value);
        let headers = if headers.is_empty() { Span::NONE } else { put(&mut self.buffer, Some(headers)) };
        self.rows.push(AppendRow { partition, timestamp_ms, key, value, headers });
    }
    /// Moves `other` (same topic) behind this one's records.
    pub fn extend(&mut self, other: &Appends) {
        let shift = self.buffer.len() as u32;
        self.buffer.extend_from_slice(&other.buffer);
        let moved = |s: Span| if s == Span::NONE { s } else { Span { start: s.start + shift, len: s.len } };
        self.rows.extend(other.rows.iter().map(|r| AppendRow { key: moved(r.key), value: moved(r.value), headers: moved(r.headers), ..*r }));
    }
    /// Key, value and header bytes of row `i`.
    pub fn row(&self, i: usize) -> (Option<&[u8]>, Option<&[u8]>, Headers<'_>) {
        let r = self.rows[i];
        (r.key.of(&self.buffer), r.value.of(&self.buffer), Headers::new(r.headers.of(&self.buffer).unwrap_or(&[])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_tombstones_and_headers_apart_from_empty_values() {
        let mut block = Vec::new();
        write_header(&mut block, "rung", b"model");
        write_header(&mut block, "age", b"");
        let mut b = RecordsBuilder::default();
        b.push(4, 10, Some(b"k"), Some(b""), &block);
        b.push(5, 11, None, None, &[]);
        let r = b.finish(8);
        assert_eq!((r.key(0), r.value(0)), (Some(&b"k"[..]), Some(&b""[..])));
        assert_eq!((r.key(1), r.value(1)), (None, None));
        assert_eq!(r.headers(0).collect::<Vec<_>>(), vec![("rung", &b"model"[..]), ("age", &b""[..])]);
        assert_eq!(r.headers(1).count(), 0);
    }

    #[test]
    fn a_truncated_header_block_ends_instead_of_panicking() {
        let mut block = Vec::new();
        write_header(&mut block, "name", b"value");
        for cut in 0..block.len() {
            assert_eq!(Headers::new(&block[..cut]).count(), 0, "cut at {cut}");
        }
    }

    #[test]
    fn extending_appends_moves_every_range() {
        let mut a = Appends::new("t".into());
        a.push(0, 1, Some(b"a"), Some(b"1"), &[]);
        let mut b = Appends::new("t".into());
        b.push(1, 2, Some(b"b"), None, &[]);
        a.extend(&b);
        assert_eq!(a.row(1).0, Some(&b"b"[..]));
        assert_eq!(a.row(1).1, None);
        assert_eq!(a.rows[1].partition, 1);
    }
}
