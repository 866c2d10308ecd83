//! The stored form of records: a *chunk* is the consecutive records that one commit or append wrote to one partition,
//! one value of the store with a checksum of its own. Its bytes do not depend on its offsets, which stand in the key:
//! so a chunk is encoded before its place is known, outside any lock.
//!
//! Key: topic id (16 bytes), partition (u32), first offset (u64), records (u32), newest timestamp (u64), all big
//! endian: keys sort by offset, and contiguity and look-ups by time need no values. Value: CRC-32 of what follows
//! (u32 LE), format (u8), then per record four varints — timestamp minus the previous one (zigzag), lengths of key,
//! value and header block plus one, 0 meaning absent — and those bytes.

use std::collections::BTreeMap;
use ws_stream::log::{TopicId, TopicPartition};
use ws_stream::records::{AppendRow, Appends, RecordRow, Span};

const FORMAT: u8 = 1;
const CRC_BYTES: usize = 4;
/// Length of a key in bytes.
pub(super) const KEY_BYTES: usize = 40;

/// An encoded chunk that has no place yet.
#[derive(Debug)]
pub(super) struct Chunk {
    pub rows: u32,
    pub newest_ms: i64,
    pub value: Vec<u8>,
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkKey {
    pub topic: TopicId,
    pub partition: u32,
    pub base: i64,
    pub rows: u32,
    pub newest_ms: i64,
}

impl ChunkKey {
    /// The smallest possible key of a chunk that begins at `base`.
    pub fn lowest(topic: TopicId, partition: u32, base: i64) -> [u8; KEY_BYTES] {
        // Timestamps are stored as their bits: zero is the smallest.
        ChunkKey { topic, partition, base, rows: 0, newest_ms: 0 }.encode()
    }

    pub fn encode(&self) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        key[..16].copy_from_slice(&self.topic);
        key[16..20].copy_from_slice(&self.partition.to_be_bytes());
        key[20..28].copy_from_slice(&(self.base as u64).to_be_bytes());
        key[28..32].copy_from_slice(&self.rows.to_be_bytes());
        key[32..].copy_from_slice(&(self.newest_ms as u64).to_be_bytes());
        key
    }

    pub fn decode(key: &[u8]) -> Option<ChunkKey> {
        let (topic, rest) = key.split_first_chunk::<16>()?;
        let (partition, rest) = rest.split_first_chunk::<4>()?;
        let (base, rest) = rest.split_first_chunk::<8>()?;
        let (rows, rest) = rest.split_first_chunk::<4>()?;
        let (newest, rest) = rest.split_first_chunk::<8>()?;
        rest.is_empty().then_some(ChunkKey {
            topic: *topic,
            partition: u32::from_be_bytes(*partition),
            base: u64::from_be_bytes(*base) as i64,
            rows: u32::from_be_bytes(*rows),
            newest_ms: u64::from_be_bytes(*newest) as i64,
        })
    }

    /// Offset after the chunk's last record.
    pub fn end(&self) -> i64 {
        self.base + i64::from(self.rows)
    }
}

/// Sorts records by partition, keeping their order, and encodes them; no chunk grows much beyond `max_bytes`.
pub(super) fn encode<'a>(appends: impl Iterator<Item = &'a Appends>, max_bytes: usize) -> Vec<(TopicPartition, Vec<Chunk>)> {
    let mut parts: BTreeMap<(&str, u32), Vec<Builder>> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for a in appends {
        names.insert(&*a.topic, &a.topic);
        for row in &a.rows {
            let builders = parts.entry((&a.topic, row.partition)).or_default();
            if builders.last().is_none_or(|b| b.value.len() >= max_bytes) {
                builders.push(Builder::new());
            }
            if let Some(b) = builders.last_mut() {
                b.push(row, &a.buffer);
            }
        }
    }
    parts
        .into_iter()
        .map(|((topic, partition), builders)| {
            let at = TopicPartition::new(names[topic].clone(), partition);
            (at, builders.into_iter().map(Builder::finish).collect())
        })
        .collect()
}

struct Builder {
    value: Vec<u8>,
    rows: u32,
    newest_ms: i64,
    previous_ms: i64,
}

impl Builder {
    fn new() -> Builder {
        let mut value = vec![0; CRC_BYTES];
        value.push(FORMAT);
        Builder { value, rows: 0, newest_ms: i64::MIN, previous_ms: 0 }
    }

    fn push(&mut self, row: &AppendRow, buffer: &[u8]) {
        let delta = row.timestamp_ms.wrapping_sub(self.previous_ms);
        put_varint(&mut self.value, ((delta << 1) ^ (delta >> 63)) as u64);
        let parts = [row.key, row.value, row.headers].map(|s| s.of(buffer));
        for part in parts {
            put_varint(&mut self.value, part.map_or(0, |p| p.len() as u64 + 1));
        }
        for part in parts.into_iter().flatten() {
            self.value.extend_from_slice(part);
        }
        self.previous_ms = row.timestamp_ms;
        self.newest_ms = self.newest_ms.max(row.timestamp_ms);
        self.rows += 1;
    }

    fn finish(mut self) -> Chunk {
        let crc = crc32fast::hash(&self.value[CRC_BYTES..]);
        self.value[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        Chunk { rows: self.rows, newest_ms: self.newest_ms, value: self.value }
    }
}

/// Why a chunk cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("its checksum does not match")]
    Checksum,
    #[error("its format is {0}, this version reads {FORMAT}")]
    Format(u8),
    #[error("its bytes end early or hold something else than its records")]
    Content,
}

/// Checks the checksum and appends the chunk's records from offset `from` on to `rows`. Ranges point into a buffer in
/// which the value begins at `shift`.
pub(super) fn decode(key: &ChunkKey, value: &[u8], from: i64, shift: u32, rows: &mut Vec<RecordRow>) -> Result<(), Damage> {
    let (crc, body) = value.split_first_chunk::<CRC_BYTES>().ok_or(Damage::Content)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(Damage::Checksum);
    }
    match body.first() {
        Some(&FORMAT) => {}
        Some(&other) => return Err(Damage::Format(other)),
        None => return Err(Damage::Content),
    }
    rows.reserve(key.rows as usize);
    let mut at = CRC_BYTES + 1;
    let mut timestamp_ms = 0i64;
    for i in 0..key.rows {
        let zigzag = varint(value, &mut at)?;
        timestamp_ms = timestamp_ms.wrapping_add(((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64));
        let lengths = [varint(value, &mut at)?, varint(value, &mut at)?, varint(value, &mut at)?];
        let mut spans = [Span::NONE; 3];
        for (span, length) in spans.iter_mut().zip(lengths) {
            if let Some(length) = length.checked_sub(1) {
                *span = Span { start: shift + at as u32, len: length as u32 };
                at = at.checked_add(length as usize).filter(|end| *end <= value.len()).ok_or(Damage::Content)?;
            }
        }
        let offset = key.base + i64::from(i);
        if offset >= from {
            let [key, value, headers] = spans;
            rows.push(RecordRow { offset, timestamp_ms, key, value, headers });
        }
    }
    if at == value.len() { Ok(()) } else { Err(Damage::Content) }
}

fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, Damage> {
    let mut v = 0u64;
    for shift in (0..64).step_by(7) {
        let b = *bytes.get(*at).ok_or(Damage::Content)?;
        *at += 1;
        v |= u64::from(b & 0x7f) << shift;
        if b < 0x80 {
            return Ok(v);
        }
    }
    Err(Damage::Content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Appends {
        let mut a = Appends::new("t".into());
        a.push(0, 5_000, Some(b"key"), Some(b"value"), b"headers");
        a.push(1, 1, None, Some(b"other partition"), &[]);
        a.push(0, -3, Some(b""), None, &[]);
        a.push(0, i64::MAX, None, Some(b""), &[]);
        a
    }

    fn keyed(chunk: &Chunk, base: i64) -> ChunkKey {
        ChunkKey { topic: [7; 16], partition: 0, base, rows: chunk.rows, newest_ms: chunk.newest_ms }
    }

    #[test]
    fn records_come_back_with_absent_and_empty_apart() {
        let a = sample();
        let parts = encode([&a].into_iter(), 1 << 20);
        assert_eq!(parts.iter().map(|(at, c)| (at.partition, c.len())).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
        let chunk = &parts[0].1[0];
        assert_eq!((chunk.rows, chunk.newest_ms), (3, i64::MAX));
        let mut rows = Vec::new();
        decode(&keyed(chunk, 10), &chunk.value, 11, 0, &mut rows).unwrap();
        assert_eq!(rows.iter().map(|r| (r.offset, r.timestamp_ms)).collect::<Vec<_>>(), [(11, -3), (12, i64::MAX)]);
        assert_eq!((rows[0].key.of(&chunk.value), rows[0].value.of(&chunk.value)), (Some(&b""[..]), None));
        assert_eq!((rows[1].key.of(&chunk.value), rows[1].value.of(&chunk.value)), (None, Some(&b""[..])));
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let a = sample();
        let parts = encode([&a].into_iter(), 1 << 20);
        let chunk = &parts[0].1[0];
        let key = keyed(chunk, 0);
        for i in 0..chunk.value.len() {
            let mut bad = chunk.value.clone();
            bad[i] ^= 1;
            assert!(decode(&key, &bad, 0, 0, &mut Vec::new()).is_err(), "byte {i} changed");
            assert!(decode(&key, &chunk.value[..i], 0, 0, &mut Vec::new()).is_err(), "cut at {i}");
        }
        let more = ChunkKey { rows: key.rows + 1, ..key };
        assert_eq!(decode(&more, &chunk.value, 0, 0, &mut Vec::new()), Err(Damage::Content), "a key that promises more records");
    }

    #[test]
    fn chunks_are_split_by_size_without_splitting_records() {
        let mut a = Appends::new("t".into());
        for i in 0..10 {
            a.push(0, i, None, Some(&[1; 100]), &[]);
        }
        let parts = encode([&a].into_iter(), 250);
        let rows: Vec<u32> = parts[0].1.iter().map(|c| c.rows).collect();
        assert_eq!(rows, [3, 3, 3, 1]);
    }

    #[test]
    fn keys_sort_by_offset_and_come_back() {
        let key = |base| ChunkKey { topic: [1; 16], partition: 3, base, rows: 9, newest_ms: -1 };
        assert!(key(255).encode() < key(256).encode());
        assert!(ChunkKey::lowest([1; 16], 3, 256) <= key(256).encode() && key(255).encode() < ChunkKey::lowest([1; 16], 3, 256));
        assert_eq!(ChunkKey::decode(&key(256).encode()), Some(key(256)));
        assert_eq!(ChunkKey::decode(&[0; 39]), None);
    }
}
