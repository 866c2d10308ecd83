//! The upstream half of a `rekey` stage: rows go to the partition of their new key, and at the end of an epoch every
//! partition is told the watermark behind the stage, when it has moved.

use super::{Control, RowHead, TELL_MS, write_control, write_row_head};
use crate::batch;
use crate::operator::{Counts, OperatorError};
use crate::origin::{MAX_OFFSET, Origins};
use crate::partition::partition_of;
use crate::records::Appends;
use crate::row::RowCodec;
use crate::spec::RekeySpec;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};

/// Writes one stage's rows and watermarks.
pub struct Writer {
    /// What it is.
    pub spec: RekeySpec,
    task: u32,
    key: usize,
    columns: Vec<usize>,
    codec: RowCodec,
    partitions: u32,
    out: Appends,
    /// Watermark and idleness as last told; `None`: not since the start or a roll-back.
    told: Option<(i64, bool)>,
    /// What became of its rows.
    pub counts: Counts,
}

impl Writer {
    /// A writer of rows of `input` (system columns included) for a task.
    pub fn new(spec: RekeySpec, task: u32, input: &Schema, partitions: u32) -> Result<Self, OperatorError> {
        let find = |name: &str, expected| input.index_of(name).map_err(|_| OperatorError::Column { column: name.to_string(), expected });
        let key = find(&spec.key, "Utf8, as rows are re-keyed by it")?;
        if input.field(key).data_type() != &DataType::Utf8 {
            return Err(OperatorError::Column { column: spec.key.clone(), expected: "Utf8, as rows are re-keyed by it" });
        }
        let columns = spec.schema.fields().iter().map(|f| find(f.name(), "any, as it is written to a repartition topic")).collect::<Result<_, _>>()?;
        let codec = RowCodec::new(spec.schema.fields())?;
        let out = Appends::new(spec.topic.clone());
        Ok(Writer { spec, task, key, columns, codec, partitions: partitions.max(1), out, told: None, counts: Counts::default() })
    }

    /// Writes rows; answers the indexes of those whose key is null, which are not written.
    pub fn write(&mut self, rows: &RecordBatch, origins: &Origins, now_ms: i64) -> Vec<usize> {
        let keys = rows.column(self.key).as_string::<i32>();
        let columns: Vec<ArrayRef> = self.columns.iter().map(|c| rows.column(*c).clone()).collect();
        let (times, codes, late) = (batch::times(rows), batch::offsets(rows), batch::late(rows));
        let (mut keyless, mut value) = (Vec::new(), Vec::new());
        for i in 0..rows.num_rows() {
            if keys.is_null(i) {
                keyless.push(i);
                continue;
            }
            let (topic, partition, offset) = origins.split(codes[i]);
            let head = RowHead { task: self.task, time_ms: times[i], late: late.value(i), topic: topic as u8, partition, offset: offset.min(MAX_OFFSET - 1) };
            value.clear();
            write_row_head(self.spec.format_hash, &head, &mut value);
            self.codec.write(&columns, i, &mut value);
            let key = keys.value(i).as_bytes();
            // The record's own time is that of writing: brokers refuse times far from theirs, and nothing reads it.
            self.out.push(partition_of(key, self.partitions), now_ms, Some(key), Some(&value), &[]);
        }
        self.counts.input += rows.num_rows() as u64;
        self.counts.dead += keyless.len() as u64;
        self.counts.emitted += (rows.num_rows() - keyless.len()) as u64;
        keyless
    }

    /// Tells every partition the watermark if it moved by [`TELL_MS`], or at all and `settled` (nothing holds it back
    /// for now), or if idleness changed. Behind the rows of the epoch.
    pub fn tell(&mut self, control: Control, settled: bool, now_ms: i64) {
        let (watermark_ms, idle) = self.told.unwrap_or((i64::MIN, false));
        let moved_ms = control.watermark_ms.saturating_sub(watermark_ms);
        // Not told yet: what is known may have been told in an earlier life; once more does no harm.
        let moved = moved_ms >= TELL_MS || (settled && moved_ms > 0) || (self.told.is_none() && control.watermark_ms > i64::MIN);
        if !moved && control.idle == idle {
            return;
        }
        self.told = Some((control.watermark_ms.max(watermark_ms), control.idle));
        let mut value = Vec::new();
        write_control(self.spec.format_hash, &control, &mut value);
        for partition in 0..self.partitions {
            self.out.push(partition, now_ms, None, Some(&value), &[]);
        }
    }

    /// What was written in the open epoch.
    pub fn take(&mut self) -> Appends {
        std::mem::replace(&mut self.out, Appends::new(self.spec.topic.clone()))
    }

    /// Bytes waiting in the open epoch.
    pub fn bytes(&self) -> usize {
        self.out.buffer.len()
    }

    /// Forgets what the open and the closed epoch wrote and told.
    pub fn rollback(&mut self) {
        self.take();
        self.told = None;
    }
}
