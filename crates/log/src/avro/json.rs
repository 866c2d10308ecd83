//! Columns to JSON sinks: one object per row with the user columns under their names. JSON has no NaN and no
//! infinity: they become null, as do nulls. Bytes become Base64, lists arrays, records objects.

use super::AvroError;
use super::encode::{native_type, to_native};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, ListArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema as ArrowSchema};
use ws_stream::codec::{Encode, EncodeError, Encoded, RowError};

/// Encodes batches for one JSON sink.
#[derive(Debug)]
pub struct JsonEncoder {
    topic: String,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    index: usize,
    given: DataType,
    native: DataType,
    /// `{"name":` for the first column, `,"name":` for the others.
    label: Vec<u8>,
    name: String,
}

impl JsonEncoder {
    /// An encoder for batches with these columns (`__` columns are the engine's own and left out).
    pub fn new(topic: &str, columns: &ArrowSchema) -> Result<JsonEncoder, AvroError> {
        let mut out: Vec<Column> = Vec::new();
        for (index, c) in columns.fields().iter().enumerate().filter(|(_, c)| !c.name().starts_with("__")) {
            let native = native_type(c.data_type()).ok_or_else(|| AvroError::ColumnType {
                topic: topic.to_string(),
                field: c.name().clone(),
                found: c.data_type().to_string(),
                wanted: "a number, text, boolean, bytes, or lists and records of them".into(),
            })?;
            let mut label = vec![if out.is_empty() { b'{' } else { b',' }];
            put_text(&mut label, c.name());
            label.push(b':');
            out.push(Column { index, given: c.data_type().clone(), native, label, name: c.name().clone() });
        }
        Ok(JsonEncoder { topic: topic.to_string(), columns: out })
    }

    fn error(&self, message: String) -> EncodeError {
        EncodeError { topic: self.topic.clone(), message }
    }
}

impl Encode for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Encoded) -> Result<Vec<RowError>, EncodeError> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for c in &self.columns {
            match rows.columns().get(c.index) {
                Some(a) if *a.data_type() == c.given => arrays.push(to_native(a, &c.native).map_err(|e| self.error(format!("column `{}`: {e}", c.name)))?),
                _ => {
                    return Err(self.error(format!("column `{}` is not where it was when the topology was planned", c.name)));
                }
            }
        }
        let bound: Vec<(&[u8], Values<'_>, Option<&NullBuffer>)> =
            self.columns.iter().zip(&arrays).map(|(c, a)| (&c.label[..], Values::new(a), a.nulls())).collect();
        let mut numbers = Numbers { int: itoa::Buffer::new(), float: zmij::Buffer::new() };
        out.ends.reserve(rows.num_rows());
        for row in 0..rows.num_rows() {
            for (label, values, nulls) in &bound {
                out.buffer.extend_from_slice(label);
                match nulls {
                    Some(n) if n.is_null(row) => out.buffer.extend_from_slice(b"null"),
                    _ => values.put(row, &mut numbers, &mut out.buffer),
                }
            }
            out.buffer.extend_from_slice(if bound.is_empty() { b"{}" } else { b"}" });
            out.ends.push(u32::try_from(out.buffer.len()).map_err(|_| self.error("the values of one batch take more than 4 GiB".into()))?);
        }
        Ok(Vec::new())
    }
}

struct Numbers {
    int: itoa::Buffer,
    float: zmij::Buffer,
}

/// Values inside a list or a record: each may be null.
struct Items<'a> {
    values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

impl<'a> Items<'a> {
    fn new(array: &'a ArrayRef) -> Items<'a> {
        Items { values: Values::new(array), nulls: array.nulls() }
    }

    fn put(&self, row: usize, numbers: &mut Numbers, out: &mut Vec<u8>) {
        match self.nulls {
            Some(n) if n.is_null(row) => out.extend_from_slice(b"null"),
            _ => self.values.put(row, numbers, out),
        }
    }
}

enum Values<'a> {
    Int(&'a [i64]),
    Float(&'a [f64]),
    Bool(&'a BooleanArray),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    List(&'a ListArray, Box<Items<'a>>),
    Record(Vec<(Vec<u8>, Items<'a>)>),
    Null,
}

impl<'a> Values<'a> {
    fn new(array: &'a ArrayRef) -> Values<'a> {
        match array.data_type() {
            DataType::Int64 => Values::Int(array.as_primitive::<Int64Type>().values()),
            DataType::Float64 => Values::Float(array.as_primitive::<Float64Type>().values()),
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Utf8 => Values::Text(array.as_string()),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                Values::List(lists, Box::new(Items::new(lists.values())))
            }
            DataType::Struct(fields) => {
                let label = |i: usize, name: &str| {
                    let mut label = vec![if i == 0 { b'{' } else { b',' }];
                    put_text(&mut label, name);
                    label.push(b':');
                    label
                };
                let columns = array.as_struct().columns();
                Values::Record(fields.iter().zip(columns).enumerate().map(|(i, (f, c))| (label(i, f.name()), Items::new(c))).collect())
            }
            _ => Values::Null,
        }
    }

    #[inline(always)]
    fn put(&self, row: usize, numbers: &mut Numbers, out: &mut Vec<u8>) {
        match self {
            Values::Int(v) => out.extend_from_slice(numbers.int.format(v[row]).as_bytes()),
            Values::Float(v) if v[row].is_finite() => out.extend_from_slice(numbers.float.format_finite(v[row]).as_bytes()),
            Values::Text(v) => put_text(out, v.value(row)),
            Values::Bool(v) => out.extend_from_slice(if v.value(row) { b"true" } else { b"false" }),
            Values::Binary(v) => {
                out.push(b'"');
                put_base64(out, v.value(row));
                out.push(b'"');
            }
            Values::List(..) | Values::Record(_) => self.put_nested(row, numbers, out),
            Values::Float(_) | Values::Null => out.extend_from_slice(b"null"),
        }
    }

    #[inline(never)]
    fn put_nested(&self, row: usize, numbers: &mut Numbers, out: &mut Vec<u8>) {
        match self {
            Values::List(lists, items) => {
                out.push(b'[');
                let (from, to) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
                for j in from..to {
                    if j > from {
                        out.push(b',');
                    }
                    items.put(j, numbers, out);
                }
                out.push(b']');
            }
            Values::Record(fields) => {
                for (label, items) in fields {
                    out.extend_from_slice(label);
                    items.put(row, numbers, out);
                }
                out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
            }
            _ => {}
        }
    }
}

/// Appends a JSON string.
#[inline(always)]
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        put_escaped(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
}

#[cold]
fn put_escaped(out: &mut Vec<u8>, text: &str) {
    for b in text.bytes() {
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{b:04x}").as_bytes()),
            _ => out.push(b),
        }
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends Base64 (RFC 4648, padded).
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().enumerate().fold(0u32, |n, (i, b)| n | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            out.push(if i <= chunk.len() { BASE64[(n >> (18 - 6 * i)) as usize & 63] } else { b'=' });
        }
    }
}

/// Reads Base64 (RFC 4648, padded); `None` when it is not.
pub(super) fn read_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let body = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in body.chunks(4) {
        let mut n = 0u32;
        for (i, b) in chunk.iter().enumerate() {
            n |= (BASE64.iter().position(|x| x == b)? as u32) << (18 - 6 * i);
        }
        out.extend_from_slice(&n.to_be_bytes()[1..chunk.len().max(1)]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use arrow::array::{Float32Array, Float64Array, Int64Array};
    use arrow::datatypes::Field;
    use std::sync::Arc;

    fn encode(columns: Vec<(&str, ArrayRef)>) -> Vec<String> {
        let fields = columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect::<Vec<_>>();
        let schema = Arc::new(ArrowSchema::new(fields));
        let rows = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, c)| c).collect()).unwrap();
        let mut out = Encoded::default();
        JsonEncoder::new("t", &schema).unwrap().encode(&rows, &mut out).unwrap();
        (0..rows.num_rows()).map(|i| String::from_utf8(out.row(i).to_vec()).unwrap()).collect()
    }

    #[test]
    fn every_type_and_every_oddity_is_json() {
        let texts = vec!["plain", "quo\"te\\", "line\n\u{1}", "Müll 🗑"];
        let rows = encode(vec![
            ("__time", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
            ("t", Arc::new(StringArray::from(texts.clone()))),
            ("n", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(0), Some(i64::MAX)]))),
            ("f", Arc::new(Float64Array::from(vec![0.1, f64::NAN, f64::NEG_INFINITY, 1e300]))),
            ("h", Arc::new(Float32Array::from(vec![0.5, 1.0, -2.25, 0.0]))),
            ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]))),
            ("x", Arc::new(BinaryArray::from(vec![&b""[..], b"\xff", b"ab", b"abc"]))),
        ]);
        assert_eq!(rows[0], r#"{"t":"plain","n":-9223372036854775808,"f":0.1,"h":0.5,"b":true,"x":""}"#);
        for (i, (row, x)) in rows.iter().zip(["", "/w==", "YWI=", "YWJj"]).enumerate() {
            let v: serde_json::Value = serde_json::from_str(row).unwrap();
            assert_eq!(v["t"], texts[i]);
            assert_eq!(v["x"], x);
            assert_eq!(v["f"].is_null(), i == 1 || i == 2, "NaN and infinity are null");
        }
    }

    #[test]
    fn lists_and_records_are_arrays_and_objects() {
        use ws_stream::nested::Column;
        let bins = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let stop = DataType::Struct(
            vec![Field::new("site", DataType::Utf8, true), Field::new("load", DataType::Float64, true), Field::new("bins", bins, true)].into(),
        );
        let mut c = Column::new(&DataType::List(Arc::new(Field::new("item", stop, true)))).unwrap();
        let Column::List(list) = &mut c else { panic!() };
        let Column::Record(r) = list.item.as_mut() else { panic!() };
        assert!(r.children[0].push_bytes(b"a\"b") && r.children[1].push_float(f64::NAN));
        let Column::List(b) = &mut r.children[2] else { panic!() };
        assert!(b.item.push_bytes(b"c1"));
        b.item.push_null();
        assert!(b.close());
        r.close();
        list.item.push_null();
        assert!(list.close() && list.close());
        c.push_null();
        let rows = encode(vec![("stops", c.finish().unwrap())]);
        assert_eq!(rows, [r#"{"stops":[{"site":"a\"b","load":null,"bins":["c1",null]},null]}"#, r#"{"stops":[]}"#, r#"{"stops":null}"#]);
    }

    #[test]
    fn a_batch_of_system_columns_only_is_empty_objects() {
        assert_eq!(encode(vec![("__time", Arc::new(Int64Array::from(vec![1])))]), ["{}"]);
    }

    #[test]
    fn base64_comes_back() {
        for n in 0..40u8 {
            let bytes: Vec<u8> = (0..n).map(|i| i.wrapping_mul(37) ^ n).collect();
            let mut text = Vec::new();
            put_base64(&mut text, &bytes);
            assert_eq!(read_base64(std::str::from_utf8(&text).unwrap()), Some(bytes));
        }
        assert_eq!(read_base64("abc"), None);
        assert_eq!(read_base64("ab*="), None);
    }
}
