//! Rows as JSON objects: the codec of the built-in scenario, so that the simulator needs no schema registry.

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use serde_json::{Map, Value};
use std::sync::Arc;
use ws_stream::codec::{Decode, Decoded, Encode, EncodeError, Encoded, RowError};
use ws_stream::records::Records;

/// Decodes objects into the columns of a schema; what is absent is null.
pub struct JsonDecoder(pub SchemaRef);

impl JsonDecoder {
    fn object(&self, value: &[u8]) -> Result<Map<String, Value>, String> {
        let object: Map<String, Value> = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        for f in self.0.fields() {
            let v = object.get(f.name()).unwrap_or(&Value::Null);
            let fits = v.is_null()
                || match f.data_type() {
                    DataType::Int64 => v.is_i64(),
                    DataType::Float64 => v.is_number(),
                    DataType::Boolean => v.is_boolean(),
                    _ => v.is_string(),
                };
            if !fits {
                return Err(format!("`{}` is {v}", f.name()));
            }
        }
        Ok(object)
    }

    fn column(rows: &[Map<String, Value>], name: &str, kind: &DataType) -> ArrayRef {
        let cells = rows.iter().map(|r| r.get(name).unwrap_or(&Value::Null));
        match kind {
            DataType::Int64 => {
                let mut b = Int64Builder::new();
                cells.for_each(|v| b.append_option(v.as_i64()));
                Arc::new(b.finish())
            }
            DataType::Float64 => {
                let mut b = Float64Builder::new();
                cells.for_each(|v| b.append_option(v.as_f64()));
                Arc::new(b.finish())
            }
            DataType::Boolean => {
                let mut b = BooleanBuilder::new();
                cells.for_each(|v| b.append_option(v.as_bool()));
                Arc::new(b.finish())
            }
            _ => {
                let mut b = StringBuilder::new();
                cells.for_each(|v| b.append_option(v.as_str()));
                Arc::new(b.finish())
            }
        }
    }
}

impl Decode for JsonDecoder {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    fn decode(&mut self, records: &Records) -> Decoded {
        let (mut objects, mut index, mut tombstones, mut dead) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for i in 0..records.rows.len() {
            match records.value(i).map(|v| self.object(v)) {
                None => tombstones.push(i as u32),
                Some(Ok(o)) => {
                    objects.push(o);
                    index.push(i as u32);
                }
                Some(Err(error)) => dead.push(RowError { row: i, reason: "undecodable", error, schema_id: None }),
            }
        }
        let columns = self.0.fields().iter().map(|f| Self::column(&objects, f.name(), f.data_type())).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(objects.len()));
        match RecordBatch::try_new_with_options(self.0.clone(), columns, &options) {
            Ok(rows) => Decoded { rows, index, tombstones, dead },
            Err(e) => {
                dead.extend(index.iter().map(|i| RowError { row: *i as usize, reason: "undecodable", error: e.to_string(), schema_id: None }));
                Decoded { rows: RecordBatch::new_empty(self.0.clone()), index: Vec::new(), tombstones, dead }
            }
        }
    }
}

/// One cell as JSON; bytes as hexadecimal text.
fn cell(column: &ArrayRef, i: usize) -> Value {
    if column.is_null(i) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(i).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(i).into(),
        DataType::Boolean => column.as_boolean().value(i).into(),
        DataType::Utf8 => column.as_string::<i32>().value(i).into(),
        DataType::Binary => ws_stream::task::hex(column.as_binary::<i32>().value(i)).into(),
        _ => Value::Null,
    }
}

/// Encodes rows as objects.
pub struct JsonEncoder {
    /// Topic, for errors.
    pub topic: String,
}

impl Encode for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Encoded) -> Result<Vec<RowError>, EncodeError> {
        for i in 0..rows.num_rows() {
            let object: Map<String, Value> = rows.schema().fields().iter().zip(rows.columns()).map(|(f, c)| (f.name().clone(), cell(c, i))).collect();
            serde_json::to_writer(&mut out.buffer, &object).map_err(|e| EncodeError { topic: self.topic.clone(), message: e.to_string() })?;
            out.ends.push(out.buffer.len() as u32);
        }
        Ok(Vec::new())
    }
}
