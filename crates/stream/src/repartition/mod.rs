//! Rows on their way to another key: what a `rekey` stage writes into its repartition topic and what the slice behind
//! it reads. The topic is the engine's own, so its records have the engine's own format: a row of columns with its
//! event time, its mark as a correction and the position that it stems from; or a *control* record, by which an
//! upstream task tells every partition its watermark and whether it is idle. Both stand in the transaction of the
//! epoch that made them: a reader sees rows and the watermark after them, or neither.
//!
//! Record value, little-endian: `WSR1`, kind u8, format hash u64, upstream task u32; a row goes on with event time
//! i64, correction u8, origin topic's number u8, origin partition u32, origin offset i64, columns by [`RowCodec`]; a
//! control with upstream tasks u32, incarnation u64, epoch u64, watermark i64, idle u8.
//!
//! [`RowCodec`]: crate::row::RowCodec

mod source;
mod writer;

pub use source::RekeyedSource;
pub use writer::Writer;

use arrow::datatypes::Schema;
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"WSR1";
const ROW: u8 = 0;
const CONTROL: u8 = 1;

/// A watermark is told to later slices when it moved by this much.
pub const TELL_MS: i64 = 1_000;

/// The repartition topic of a stage.
pub fn repartition_topic(topology: &str, stage: &str) -> Arc<str> {
    format!("ws.{topology}.{stage}.repartition").into()
}

/// Hash of the format of a stage's rows: key, columns with their types, and the topics that rows stem from. FNV-1a,
/// which never changes.
pub fn format_hash(key: &str, columns: &Schema, origins: &[Arc<str>]) -> u64 {
    let mut text = format!("v1 {key}");
    for f in columns.fields() {
        text.push_str(&format!("\n{}:{}", f.name(), f.data_type()));
    }
    for o in origins {
        text.push_str(&format!("\nfrom {o}"));
    }
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The format hash of a repartition topic's record; `None` when it is no such record.
pub fn format_of(value: &[u8]) -> Option<u64> {
    let rest = value.strip_prefix(MAGIC)?.get(1..)?;
    Some(u64::from_le_bytes(*rest.first_chunk()?))
}

/// What an upstream task tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// The upstream task.
    pub task: u32,
    /// How many tasks there are upstream.
    pub tasks: u32,
    /// Life of the task that told it; for people who look.
    pub incarnation: u64,
    /// Epoch that it was told in.
    pub epoch: u64,
    /// No row with an earlier event time will come from it; `i64::MIN`: it has seen none.
    pub watermark_ms: i64,
    /// It has nothing to read and does not hold the others up.
    pub idle: bool,
}

/// A row's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowHead {
    /// The upstream task.
    pub task: u32,
    /// Event time.
    pub time_ms: i64,
    /// A correction.
    pub late: bool,
    /// Number of the topic that it stems from, as the writing slice counts.
    pub topic: u8,
    /// Partition there.
    pub partition: u32,
    /// Offset there.
    pub offset: i64,
}

/// A record as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A row and its columns' bytes.
    Row(RowHead, &'a [u8]),
    /// What an upstream task tells.
    Control(Control),
}

/// Writes a row's head; the columns follow.
pub fn write_row_head(hash: u64, h: &RowHead, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    out.push(ROW);
    out.extend_from_slice(&hash.to_le_bytes());
    out.extend_from_slice(&h.task.to_le_bytes());
    out.extend_from_slice(&h.time_ms.to_le_bytes());
    out.extend_from_slice(&[u8::from(h.late), h.topic]);
    out.extend_from_slice(&h.partition.to_le_bytes());
    out.extend_from_slice(&h.offset.to_le_bytes());
}

/// Writes a control record.
pub fn write_control(hash: u64, c: &Control, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    out.push(CONTROL);
    out.extend_from_slice(&hash.to_le_bytes());
    out.extend_from_slice(&c.task.to_le_bytes());
    out.extend_from_slice(&c.tasks.to_le_bytes());
    out.extend_from_slice(&c.incarnation.to_le_bytes());
    out.extend_from_slice(&c.epoch.to_le_bytes());
    out.extend_from_slice(&c.watermark_ms.to_le_bytes());
    out.push(u8::from(c.idle));
}

/// Reads a record with its format hash; `None` when it is damaged or none of ours.
pub fn read(value: &[u8]) -> Option<(u64, Record<'_>)> {
    let mut r = Bytes(value.strip_prefix(MAGIC)?);
    let [kind] = r.array()?;
    let hash = u64::from_le_bytes(r.array()?);
    let task = u32::from_le_bytes(r.array()?);
    let record = match kind {
        ROW => {
            let time_ms = i64::from_le_bytes(r.array()?);
            let [late, topic] = r.array()?;
            let partition = u32::from_le_bytes(r.array()?);
            let offset = i64::from_le_bytes(r.array()?);
            Record::Row(RowHead { task, time_ms, late: late != 0, topic, partition, offset }, r.0)
        }
        CONTROL => {
            let tasks = u32::from_le_bytes(r.array()?);
            let incarnation = u64::from_le_bytes(r.array()?);
            let epoch = u64::from_le_bytes(r.array()?);
            let watermark_ms = i64::from_le_bytes(r.array()?);
            let [idle] = r.array()?;
            Record::Control(Control { task, tasks, incarnation, epoch, watermark_ms, idle: idle != 0 })
        }
        _ => return None,
    };
    Some((hash, record))
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (a, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*a)
    }
}

#[cfg(test)]
mod tests;
