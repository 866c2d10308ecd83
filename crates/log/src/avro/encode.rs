//! Columns to Avro sinks: one framed value per row by the sink topic's newest schema, columns taken by name. What
//! cannot fit is refused when the topology is planned; what depends on a row's values (a null where the contract
//! wants a value, a symbol that an enum does not have) costs that row only.

use super::cursor::{put_bytes, put_long};
use super::encode_nested::Put;
use super::schema::{LongUnit, Named, Type, nullable};
use super::{AvroError, frame, value};
use crate::registry::{Registered, Registry};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema as ArrowSchema, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;
use ws_stream::codec::{Encode, EncodeError, Encoded, RowError};
use ws_stream::nested::{is_column_type, is_nested};

/// No union around the value.
const PLAIN: u8 = u8::MAX;

/// Encodes batches for one Avro sink.
#[derive(Debug)]
pub struct AvroEncoder {
    topic: String,
    sink: Arc<Registered>,
    fields: Vec<Plan>,
}

#[derive(Debug)]
struct Plan {
    name: String,
    null_branch: u8,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// A column of the batch and how to write it.
    Column { index: usize, given: DataType, native: DataType, write: Write },
    /// No column: the default, encoded already.
    Constant(Vec<u8>),
}

#[derive(Debug)]
pub(super) enum Write {
    Int,
    Long(i64),
    Float,
    Double,
    Bool,
    Bytes,
    Symbol(HashMap<Box<[u8]>, i64>),
    Fixed(usize),
    Nested(Box<Put>),
}

impl AvroEncoder {
    /// An encoder for `topic` from batches with these columns (`__` columns are the engine's own and left out).
    /// Columns that the schema does not have are not written: see [`AvroEncoder::ignored`].
    pub fn new(registry: &Registry, topic: &str, columns: &ArrowSchema) -> Result<AvroEncoder, AvroError> {
        let sink = registry.for_topic(topic)?.clone();
        let mut fields = Vec::new();
        for f in &sink.schema.record().fields {
            let type_name = || sink.schema.type_name(&f.ty);
            let (null_branch, inner) = match &f.ty {
                Type::Union(branches) => nullable(branches).map_or((PLAIN, &f.ty), |(null, inner)| (null as u8, inner)),
                ty => (PLAIN, ty),
            };
            let column = columns.fields().iter().position(|c| *c.name() == f.name);
            let source = match (column, &f.default) {
                (Some(index), _) => {
                    let given = columns.field(index).data_type().clone();
                    let (write, native) = if is_nested(&given) {
                        let unfit = |(path, found, wanted)| AvroError::ColumnType { topic: topic.into(), field: format!("{}{path}", f.name), found, wanted };
                        (Write::Nested(Box::new(Put::plan(&sink, inner, &given).map_err(unfit)?)), given.clone())
                    } else {
                        let plan = write_of(&sink, inner).and_then(|(write, native)| castable(&given, &native).then_some((write, native)));
                        plan.ok_or_else(|| AvroError::ColumnType { topic: topic.into(), field: f.name.clone(), found: given.to_string(), wanted: type_name() })?
                    };
                    Source::Column { index, given, native, write }
                }
                (None, Some(default)) => Source::Constant(value::encode_default(&sink.schema, &f.ty, default).map_err(|(path, message)| AvroError::Value {
                    topic: topic.into(),
                    path: format!("default of {}{path}", f.name),
                    message,
                })?),
                (None, None) if null_branch != PLAIN => {
                    let mut null = Vec::new();
                    put_long(&mut null, i64::from(null_branch));
                    Source::Constant(null)
                }
                (None, None) => {
                    return Err(AvroError::MissingField { topic: topic.into(), field: f.name.clone(), wanted: type_name() });
                }
            };
            // A constant has its union branch in it.
            let null_branch = if matches!(source, Source::Constant(_)) { PLAIN } else { null_branch };
            fields.push(Plan { name: f.name.clone(), null_branch, source });
        }
        Ok(AvroEncoder { topic: topic.to_string(), sink, fields })
    }

    /// Columns that the sink's schema has no field for, so that a plan can warn of them.
    pub fn ignored<'c>(&self, columns: &'c ArrowSchema) -> Vec<&'c str> {
        let known = |name: &str| self.fields.iter().any(|f| f.name == name);
        columns.fields().iter().map(|c| c.name().as_str()).filter(|c| !c.starts_with("__") && !known(c)).collect()
    }

    /// Appends one value per row to `out`. Rows that do not fit the contract get an empty value and are returned.
    pub fn encode_rows(&mut self, rows: &RecordBatch, out: &mut Encoded) -> Result<Vec<RowError>, EncodeError> {
        let columns = self.columns(rows)?;
        let bound: Vec<Bound<'_>> = self.fields.iter().zip(&columns).map(|(f, c)| Bound::new(f, c.as_ref())).collect();
        let mut bad = Vec::new();
        for row in 0..rows.num_rows() {
            let start = out.buffer.len();
            frame(&mut out.buffer, self.sink.id);
            for (field, plan) in bound.iter().zip(&self.fields) {
                if let Err(problem) = field.put(plan.null_branch, row, &mut out.buffer) {
                    out.buffer.truncate(start);
                    bad.push(RowError {
                        row,
                        reason: "unencodable",
                        error: format!("field `{}` of {}: {problem}", plan.name, self.topic),
                        schema_id: Some(self.sink.id),
                    });
                    break;
                }
            }
            out.ends.push(self.end(out.buffer.len())?);
        }
        Ok(bad)
    }

    fn end(&self, bytes: usize) -> Result<u32, EncodeError> {
        u32::try_from(bytes).map_err(|_| self.error("the values of one batch take more than 4 GiB"))
    }

    fn error(&self, message: impl Into<String>) -> EncodeError {
        EncodeError { topic: self.topic.clone(), message: message.into() }
    }

    /// The columns in the order of the fields, each in its native type.
    fn columns(&self, rows: &RecordBatch) -> Result<Vec<Option<ArrayRef>>, EncodeError> {
        let one = |f: &Plan| match &f.source {
            Source::Constant(_) => Ok(None),
            Source::Column { index, given, native, .. } => match rows.columns().get(*index) {
                Some(c) if c.data_type() == given => to_native(c, native).map(Some).map_err(|e| self.error(format!("column `{}`: {e}", f.name))),
                _ => Err(self.error(format!("column `{}` is not where it was when the topology was planned", f.name))),
            },
        };
        self.fields.iter().map(one).collect()
    }
}

impl Encode for AvroEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Encoded) -> Result<Vec<RowError>, EncodeError> {
        self.encode_rows(rows, out)
    }
}

/// How a flat Avro type is written, and from which Arrow type.
pub(super) fn write_of(sink: &Registered, ty: &Type) -> Option<(Write, DataType)> {
    Some(match ty {
        Type::Boolean => (Write::Bool, DataType::Boolean),
        Type::Int => (Write::Int, DataType::Int64),
        Type::Long(LongUnit::Plain | LongUnit::Millis) => (Write::Long(1), DataType::Int64),
        Type::Long(LongUnit::Micros) => (Write::Long(1_000), DataType::Int64),
        Type::Long(LongUnit::Nanos) => (Write::Long(1_000_000), DataType::Int64),
        Type::Float => (Write::Float, DataType::Float64),
        Type::Double => (Write::Double, DataType::Float64),
        Type::String => (Write::Bytes, DataType::Utf8),
        Type::Bytes => (Write::Bytes, DataType::Binary),
        Type::Named(i) => match sink.schema.named(*i) {
            Named::Enum(e) => (Write::Symbol(e.symbols.iter().zip(0..).map(|(s, i)| (s.as_bytes().into(), i)).collect()), DataType::Utf8),
            Named::Fixed { size, .. } => (Write::Fixed(*size), DataType::Binary),
            Named::Record(_) => return None,
        },
        _ => return None,
    })
}

/// Casts that lose nothing and hide no mistake.
pub(super) fn castable(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let sane = match to {
        Int64 => matches!(from, Null | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | Timestamp(_, _)),
        Float64 => matches!(from, Null | Float16 | Float32 | Float64 | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32),
        Boolean => matches!(from, Null | Boolean),
        Utf8 => matches!(from, Null | Utf8 | LargeUtf8 | Utf8View | Dictionary(_, _)),
        Binary => matches!(from, Null | Binary | LargeBinary | BinaryView | FixedSizeBinary(_) | Utf8),
        _ => false,
    };
    sane && (from == to || can_cast_types(from, to))
}

/// The column in one of the engine's types; timestamps become milliseconds.
pub(super) fn to_native(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    match column.data_type() {
        same if same == to => Ok(column.clone()),
        DataType::Timestamp(_, zone) => cast(&cast(column, &DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))?, to),
        _ => cast(column, to),
    }
}

/// The engine's column type that stands for an Arrow type.
pub(super) fn native_type(of: &DataType) -> Option<DataType> {
    if is_nested(of) {
        return is_column_type(of).then(|| of.clone());
    }
    [DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Utf8, DataType::Binary].into_iter().find(|k| castable(of, k))
}

enum Bound<'a> {
    Int(&'a [i64], Option<&'a NullBuffer>),
    Long(&'a [i64], Option<&'a NullBuffer>, i64),
    Float(&'a [f64], Option<&'a NullBuffer>),
    Double(&'a [f64], Option<&'a NullBuffer>),
    Bool(&'a BooleanArray, Option<&'a NullBuffer>),
    Text(&'a StringArray, Option<&'a NullBuffer>),
    Binary(&'a BinaryArray, Option<&'a NullBuffer>),
    Symbol(&'a StringArray, Option<&'a NullBuffer>, &'a HashMap<Box<[u8]>, i64>),
    Fixed(&'a BinaryArray, Option<&'a NullBuffer>, usize),
    Nested(&'a ArrayRef, Option<&'a NullBuffer>, &'a Put),
    Constant(&'a [u8]),
}

impl<'a> Bound<'a> {
    fn new(plan: &'a Plan, column: Option<&'a ArrayRef>) -> Bound<'a> {
        let (write, c) = match (&plan.source, column) {
            (Source::Column { write, .. }, Some(c)) => (write, c),
            (Source::Constant(bytes), _) => return Bound::Constant(bytes),
            (Source::Column { .. }, None) => return Bound::Constant(&[]),
        };
        let nulls = c.nulls();
        match write {
            Write::Int => Bound::Int(c.as_primitive::<Int64Type>().values(), nulls),
            Write::Long(factor) => Bound::Long(c.as_primitive::<Int64Type>().values(), nulls, *factor),
            Write::Float => Bound::Float(c.as_primitive::<Float64Type>().values(), nulls),
            Write::Double => Bound::Double(c.as_primitive::<Float64Type>().values(), nulls),
            Write::Bool => Bound::Bool(c.as_boolean(), nulls),
            Write::Bytes if *c.data_type() == DataType::Utf8 => Bound::Text(c.as_string(), nulls),
            Write::Bytes => Bound::Binary(c.as_binary(), nulls),
            Write::Symbol(symbols) => Bound::Symbol(c.as_string(), nulls, symbols),
            Write::Fixed(n) => Bound::Fixed(c.as_binary(), nulls, *n),
            Write::Nested(put) => Bound::Nested(c, nulls, put),
        }
    }

    #[inline(always)]
    fn put(&self, null_branch: u8, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let nulls = match self {
            Bound::Constant(bytes) => {
                out.extend_from_slice(bytes);
                return Ok(());
            }
            Bound::Int(_, n) | Bound::Long(_, n, _) | Bound::Float(_, n) | Bound::Double(_, n) | Bound::Bool(_, n) => n,
            Bound::Text(_, n) | Bound::Binary(_, n) | Bound::Symbol(_, n, _) | Bound::Fixed(_, n, _) | Bound::Nested(_, n, _) => n,
        };
        let null = nulls.is_some_and(|n| n.is_null(row));
        match (null_branch, null) {
            (PLAIN, false) => {}
            (PLAIN, true) => return Err("it is null, the contract wants a value".into()),
            (branch, true) => {
                out.push(branch << 1); // zigzag of 0 or 1
                return Ok(());
            }
            (branch, false) => out.push((1 - branch) << 1),
        }
        match self {
            Bound::Long(v, _, 1) => put_long(out, v[row]),
            Bound::Double(v, _) => out.extend_from_slice(&v[row].to_le_bytes()),
            Bound::Text(v, _) => put_bytes(out, v.value(row).as_bytes()),
            Bound::Long(v, _, factor) => put_long(out, v[row].checked_mul(*factor).ok_or_else(|| format!("{} ms is out of range", v[row]))?),
            Bound::Int(v, _) => put_long(out, i32::try_from(v[row]).map(i64::from).map_err(|_| format!("{} does not fit an int of 32 bits", v[row]))?),
            Bound::Float(v, _) => out.extend_from_slice(&(v[row] as f32).to_le_bytes()),
            Bound::Bool(v, _) => out.push(u8::from(v.value(row))),
            Bound::Binary(v, _) => put_bytes(out, v.value(row)),
            Bound::Symbol(v, _, symbols) => {
                let text = v.value(row);
                put_long(out, *symbols.get(text.as_bytes()).ok_or_else(|| format!("`{text}` is none of the enum's symbols"))?);
            }
            Bound::Fixed(v, _, n) if v.value(row).len() == *n => out.extend_from_slice(v.value(row)),
            Bound::Fixed(v, _, n) => {
                return Err(format!("{} bytes where the contract wants {n}", v.value(row).len()));
            }
            Bound::Nested(v, _, nested) => nested.write(v, row, out)?,
            Bound::Constant(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::decode::AvroDecoder;
    use super::*;
    use arrow::array::{Float64Array, Int32Array, Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::Field;
    use ws_stream::codec::Decode;
    use ws_stream::records::RecordsBuilder;

    const SINK: &str = r#"{"type":"record","name":"S","fields":[
        {"name":"id","type":"string"},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"n","type":["null","int"],"default":null},
        {"name":"v","type":["double","null"],"default":1.5},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["a","b"]}},
        {"name":"list","type":{"type":"array","items":"string"},"default":["x"]}]}"#;

    fn registry() -> Arc<Registry> {
        let mut r = Registry::default();
        r.insert("s-value", 1, 9, "s.avsc", SINK).unwrap();
        Arc::new(r)
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let fields = columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect::<Vec<_>>();
        RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns.into_iter().map(|(_, c)| c).collect()).unwrap()
    }

    fn columns(n: Vec<Option<i64>>, e: Vec<&str>) -> RecordBatch {
        let rows = e.len();
        batch(vec![
            ("__time", Arc::new(Int64Array::from(vec![7; rows]))),
            ("e", Arc::new(StringArray::from(e))),
            ("id", Arc::new(StringArray::from(vec!["ä"; rows]))),
            ("n", Arc::new(Int64Array::from(n))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![5_000; rows]))),
            ("extra", Arc::new(Int32Array::from(vec![1; rows]))),
        ])
    }

    #[test]
    fn what_is_written_reads_back_with_defaults_for_what_has_no_column() {
        let registry = registry();
        let rows = columns(vec![Some(-3), None], vec!["b", "a"]);
        let mut encoder = AvroEncoder::new(&registry, "s", &rows.schema()).unwrap();
        assert_eq!(encoder.ignored(&rows.schema()), ["extra"]);
        let mut out = Encoded::default();
        encoder.encode(&rows, &mut out).unwrap();
        let mut b = RecordsBuilder::default();
        for i in 0..2 {
            b.push(i as i64, 0, None, Some(out.row(i)), &[]);
        }
        let decoded = AvroDecoder::new(registry.clone(), "s", None).unwrap().decode(&b.finish(2));
        assert!(decoded.dead.is_empty(), "{:?}", decoded.dead);
        let want = batch(vec![
            ("id", Arc::new(StringArray::from(vec!["ä", "ä"]))),
            ("at", Arc::new(Int64Array::from(vec![5, 5]))),
            ("n", Arc::new(Int64Array::from(vec![Some(-3), None]))),
            ("v", Arc::new(Float64Array::from(vec![1.5, 1.5]))),
            ("e", Arc::new(StringArray::from(vec!["b", "a"]))),
        ]);
        assert_eq!(decoded.rows.columns(), want.columns());
        assert_eq!(registry.decode_to_json(out.row(0)).unwrap()["list"], serde_json::json!(["x"]));
    }

    #[test]
    fn one_row_that_does_not_fit_costs_one_row() {
        let rows = columns(vec![Some(1), Some(1 << 40), Some(2)], vec!["a", "a", "c"]);
        let mut encoder = AvroEncoder::new(&registry(), "s", &rows.schema()).unwrap();
        let mut out = Encoded::default();
        let bad = encoder.encode_rows(&rows, &mut out).unwrap();
        assert_eq!(
            bad.iter().map(|b| b.error.as_str()).collect::<Vec<_>>(),
            ["field `n` of s: 1099511627776 does not fit an int of 32 bits", "field `e` of s: `c` is none of the enum's symbols"]
        );
        assert!(!out.row(0).is_empty() && out.row(1).is_empty() && out.row(2).is_empty());
    }

    #[test]
    fn a_plan_that_cannot_fit_is_refused_by_name() {
        let rows = columns(vec![None], vec!["a"]);
        let without = |name: &str| {
            let keep: Vec<usize> = (0..rows.num_columns()).filter(|i| rows.schema().field(*i).name() != name).collect();
            rows.project(&keep).unwrap().schema()
        };
        let e = AvroEncoder::new(&registry(), "s", &without("id")).unwrap_err();
        assert_eq!(e.to_string(), "s: required field `id` (string) has no column; select it under that name");
        assert!(AvroEncoder::new(&registry(), "s", &without("n")).is_ok());
        let wrong = batch(vec![("id", Arc::new(StringArray::from(vec!["x"]))), ("at", Arc::new(Float64Array::from(vec![1.0])))]);
        let e = AvroEncoder::new(&registry(), "s", &wrong.schema()).unwrap_err();
        assert_eq!(e.to_string(), "s: column `at` is Float64, the schema wants timestamp; cast it in the topology");
    }
}
