//! The open epoch of a task: outputs encoded and routed, dead letters, and the manifest of what was decided. Closing
//! it yields everything that one transaction must carry.

use crate::batch;
use crate::codec::{Encode, EncodeError, Encoded, RowError};
use crate::log::TopicPartition;
use crate::origin::Origins;
use crate::partition::partition_of;
use crate::records::{Appends, write_header};
use crate::spec::SinkSpec;
use arrow::array::{ArrayRef, AsArray, BinaryBuilder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::fmt::Write;
use std::sync::Arc;

/// Longest original value kept in a dead letter; the rest is cut and the error says so.
pub const DEAD_VALUE_BYTES: usize = 64 * 1024;

/// A sink with its encoder.
pub struct Sink {
    /// What it is.
    pub spec: SinkSpec,
    encoder: Box<dyn Encode>,
    /// Projection of the stage's columns to the value's.
    value_columns: Vec<usize>,
    key_column: Option<usize>,
    header_columns: Vec<(usize, String)>,
    partitions: u32,
    encoded: Encoded,
    out: Appends,
    /// Rows written since the start.
    pub rows: u64,
}

impl Sink {
    /// A sink for rows of `schema` (system columns included).
    pub fn new(spec: SinkSpec, encoder: Box<dyn Encode>, schema: &Schema, partitions: u32) -> Result<Self, EncodeError> {
        let find =
            |name: &str| schema.index_of(name).map_err(|_| EncodeError { topic: spec.topic.to_string(), message: format!("column `{name}` does not exist") });
        let header_columns = spec.header_columns.iter().map(|h| Ok((find(h)?, h.clone()))).collect::<Result<Vec<_>, EncodeError>>()?;
        let key_column = spec.key.as_deref().map(find).transpose()?;
        let value_columns = value_columns(&spec, schema);
        let out = Appends::new(spec.topic.clone());
        Ok(Sink { spec, encoder, value_columns, key_column, header_columns, partitions, encoded: Encoded::default(), out, rows: 0 })
    }

    /// Encodes and routes rows of a task. Rows that the sink's contract refuses are returned.
    pub fn write(&mut self, rows: &RecordBatch, task: u32, origins: &Origins) -> Result<Vec<RowError>, EncodeError> {
        let bad = |message: String| EncodeError { topic: self.spec.topic.to_string(), message };
        let value = rows.project(&self.value_columns).map_err(|e| bad(e.to_string()))?;
        self.encoded.clear();
        let refused = self.encoder.encode(&value, &mut self.encoded)?;
        let mut next_refused = refused.iter().map(|r| r.row).peekable();
        let keys = self.key_column.map(|k| rows.column(k).clone());
        if keys.as_ref().is_some_and(|k| k.data_type() != &DataType::Utf8) {
            return Err(bad("the message key must be a string column".into()));
        }
        let keys = keys.as_ref().map(|k| k.as_string::<i32>());
        let headers: Vec<(Vec<Option<String>>, &str)> = self.header_columns.iter().map(|(i, name)| (texts(rows.column(*i)), name.as_str())).collect();
        let (times, offsets) = (batch::times(rows), batch::offsets(rows));
        let mut block = Vec::new();
        let mut position = String::new();
        for i in 0..rows.num_rows() {
            if next_refused.next_if_eq(&i).is_some() {
                continue;
            }
            block.clear();
            for (values, name) in &headers {
                if let Some(v) = &values[i] {
                    write_header(&mut block, name, v.as_bytes());
                }
            }
            if self.spec.lineage {
                position.clear();
                let (topic, partition, offset) = origins.split(offsets[i]);
                let _ = write!(position, "{}/{partition}/{offset}", origins.topics().get(topic).map_or("", |t| t));
                write_header(&mut block, "ws.input", position.as_bytes());
            }
            let key = keys.filter(|k| arrow::array::Array::is_valid(k, i)).map(|k| k.value(i).as_bytes());
            let partition = key.map_or(task % self.partitions.max(1), |k| partition_of(k, self.partitions));
            self.out.push(partition, times[i], key, Some(self.encoded.row(i)), &block);
        }
        self.rows += (rows.num_rows() - refused.len()) as u64;
        Ok(refused)
    }

    /// What was written in the open epoch.
    pub fn take(&mut self) -> Appends {
        std::mem::replace(&mut self.out, Appends::new(self.spec.topic.clone()))
    }

    /// Bytes waiting in the open epoch.
    pub fn bytes(&self) -> usize {
        self.out.buffer.len()
    }
}

fn value_columns(spec: &SinkSpec, schema: &Schema) -> Vec<usize> {
    let json = spec.format == crate::spec::SinkFormat::Json;
    (batch::SYSTEM_COLUMNS..schema.fields().len()).filter(|i| !json || !spec.header_columns.iter().any(|h| h == schema.field(*i).name())).collect()
}

/// The columns a sink's encoder is made for: a JSON value is what its headers leave, an Avro value what its contract says.
pub fn value_schema(spec: &SinkSpec, schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(value_columns(spec, schema).into_iter().map(|i| schema.field(i).clone()).collect::<Vec<_>>()))
}

fn texts(column: &ArrayRef) -> Vec<Option<String>> {
    (0..column.len())
        .map(|i| {
            if column.is_null(i) {
                return None;
            }
            match column.data_type() {
                DataType::Utf8 => Some(column.as_string::<i32>().value(i).to_string()),
                DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(i).to_string()),
                _ => arrow::util::display::array_value_to_string(column, i).ok(),
            }
        })
        .collect()
}

/// One row that ended before its time.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct DeadLetter {
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub tenant: String,
    pub stage: String,
    pub reason: String,
    pub error: String,
    pub schema_id: Option<u32>,
    pub observed_at: Option<i64>,
    pub received_at: i64,
}

/// Columns of a dead letter, as the encoder of the dead-letter topic sees them.
pub fn dead_letter_schema() -> SchemaRef {
    let f = Field::new;
    Arc::new(Schema::new(vec![
        f("tenant", DataType::Utf8, false),
        f("cluster_id", DataType::Utf8, false),
        f("topic", DataType::Utf8, false),
        f("topic_id", DataType::Utf8, false),
        f("partition", DataType::Int64, false),
        f("offset", DataType::Int64, false),
        f("key", DataType::Binary, true),
        f("value", DataType::Binary, true),
        f("stage", DataType::Utf8, false),
        f("reason", DataType::Utf8, false),
        f("error", DataType::Utf8, false),
        f("schema_id", DataType::Int64, true),
        f("observed_at", DataType::Int64, true),
        f("received_at", DataType::Int64, false),
    ]))
}

/// Encodes dead letters of one input partition.
pub fn write_dead_letters(
    letters: &[DeadLetter],
    at: &TopicPartition,
    cluster_id: &str,
    topic_id: &str,
    partitions: u32,
    encoder: &mut dyn Encode,
    out: &mut Appends,
) -> Result<(), EncodeError> {
    let n = letters.len();
    let text = |f: &dyn Fn(&DeadLetter) -> String| {
        let mut b = StringBuilder::new();
        letters.iter().for_each(|l| b.append_value(f(l)));
        Arc::new(b.finish()) as ArrayRef
    };
    let long = |f: &dyn Fn(&DeadLetter) -> Option<i64>| {
        let mut b = Int64Builder::with_capacity(n);
        letters.iter().for_each(|l| b.append_option(f(l)));
        Arc::new(b.finish()) as ArrayRef
    };
    let bytes = |f: &dyn Fn(&DeadLetter) -> Option<Vec<u8>>| {
        let mut b = BinaryBuilder::new();
        letters.iter().for_each(|l| b.append_option(f(l)));
        Arc::new(b.finish()) as ArrayRef
    };
    let cut = |v: &Vec<u8>| v[..v.len().min(DEAD_VALUE_BYTES)].to_vec();
    let columns = vec![
        text(&|l| l.tenant.clone()),
        text(&|_| cluster_id.to_string()),
        text(&|_| at.topic.to_string()),
        text(&|_| topic_id.to_string()),
        long(&|_| Some(i64::from(at.partition))),
        long(&|l| Some(l.offset)),
        bytes(&|l| l.key.clone()),
        bytes(&|l| l.value.as_ref().map(cut)),
        text(&|l| l.stage.clone()),
        text(&|l| l.reason.clone()),
        text(&|l| match &l.value {
            Some(v) if v.len() > DEAD_VALUE_BYTES => format!("{} (value of {} bytes cut to {DEAD_VALUE_BYTES})", l.error, v.len()),
            _ => l.error.clone(),
        }),
        long(&|l| l.schema_id.map(i64::from)),
        long(&|l| l.observed_at),
        long(&|l| Some(l.received_at)),
    ];
    let rows = RecordBatch::try_new(dead_letter_schema(), columns).map_err(|e| EncodeError { topic: out.topic.to_string(), message: e.to_string() })?;
    let mut encoded = Encoded::default();
    if let Some(refused) = encoder.encode(&rows, &mut encoded)?.first() {
        return Err(EncodeError { topic: out.topic.to_string(), message: format!("a dead letter itself does not fit: {}", refused.error) });
    }
    for (i, l) in letters.iter().enumerate() {
        let partition = l.key.as_deref().map_or(at.partition % partitions.max(1), |k| partition_of(k, partitions));
        out.push(partition, l.received_at, l.key.as_deref(), Some(encoded.row(i)), &[]);
    }
    Ok(())
}

/// What an epoch decided, for exact replay.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Input ranges in consumption order: (partition, from, to).
    inputs: Vec<(TopicPartition, i64, i64)>,
    decisions: Vec<(String, &'static str, String)>,
}

impl Manifest {
    /// Records that offsets `from..to` were consumed next.
    pub fn consumed(&mut self, at: &TopicPartition, from: i64, to: i64) {
        match self.inputs.last_mut() {
            Some((tp, _, end)) if tp == at && *end == from => *end = to,
            _ => self.inputs.push((at.clone(), from, to)),
        }
    }
    /// Records a decision of a stage.
    pub fn decided(&mut self, stage: &str, kind: &'static str, detail: String) {
        self.decisions.push((stage.to_string(), kind, detail));
    }
    /// Nothing to tell?
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.decisions.is_empty()
    }
    /// As one JSON object.
    pub fn to_json(&self, epoch: u64, watermarks: &[i64]) -> String {
        let mut s = format!("{{\"epoch\":{epoch},\"inputs\":[");
        for (i, (tp, from, to)) in self.inputs.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(s, "{comma}[{},{},{from},{to}]", quote(&tp.topic), tp.partition);
        }
        s.push_str("],\"watermarks\":[");
        for (i, w) in watermarks.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if *w == i64::MIN {
                let _ = write!(s, "{comma}null");
            } else {
                let _ = write!(s, "{comma}{w}");
            }
        }
        s.push_str("],\"decisions\":[");
        for (i, (stage, kind, detail)) in self.decisions.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(s, "{comma}[{},{},{}]", quote(stage), quote(kind), quote(detail));
        }
        s.push_str("]}");
        s
    }
}

/// A JSON string literal.
fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_merges_ranges_and_escapes() {
        let mut m = Manifest::default();
        let (a, b) = (TopicPartition::new("a", 0), TopicPartition::new("b", 0));
        m.consumed(&a, 0, 5);
        m.consumed(&a, 5, 9);
        m.consumed(&b, 1, 2);
        m.consumed(&a, 9, 10);
        m.decided("forecast", "rung", "say \"x\"\n".into());
        assert_eq!(
            m.to_json(3, &[7, i64::MIN]),
            r#"{"epoch":3,"inputs":[["a",0,0,9],["b",0,1,2],["a",0,9,10]],"watermarks":[7,null],"decisions":[["forecast","rung","say \"x\"\u000a"]]}"#
        );
    }
}
