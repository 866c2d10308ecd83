//! The decoder against apache-avro: random records, cut and bent, must give the same answer, and a bad record must
//! never touch its neighbours.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::AvroDecoder;
use super::frame;
use crate::registry::Registry;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use ws_stream::codec::{Decode, Decoded};
use ws_stream::records::{Records, RecordsBuilder};

/// Every flat type, nullable on either side.
const FLAT: &str = r#"{"type":"record","name":"Flat","fields":[
    {"name":"s","type":"string"},{"name":"l","type":"long"},{"name":"d","type":"double"},{"name":"i","type":"int"},{"name":"f","type":"float"},{"name":"b","type":"boolean"},
    {"name":"e","type":{"type":"enum","name":"E","symbols":["x","y","z"]}},{"name":"y","type":"bytes"},{"name":"x","type":{"type":"fixed","name":"F","size":3}},
    {"name":"t","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"ns","type":["null","string"],"default":null},{"name":"nl","type":["long","null"],"default":0},{"name":"nd","type":["null","double"],"default":null},{"name":"nb","type":["null","boolean"],"default":null}]}"#;

/// Flat fields around things that the decoder must skip.
const NESTED: &str = r#"{"type":"record","name":"Nested","fields":[
    {"name":"a","type":"string"},
    {"name":"list","type":{"type":"array","items":{"type":"record","name":"Item","fields":[{"name":"p","type":"long"},{"name":"q","type":["null","string"]}]}}},
    {"name":"map","type":{"type":"map","values":"double"}},
    {"name":"u","type":["null","long","string",{"type":"array","items":"int"}]},
    {"name":"z","type":"long"}]}"#;

fn registry() -> Arc<Registry> {
    let mut r = Registry::default();
    r.insert("flat-value", 1, 1, "flat", FLAT).unwrap();
    r.insert("nested-value", 1, 2, "nested", NESTED).unwrap();
    Arc::new(r)
}

fn text(rng: &mut StdRng) -> String {
    let n = rng.random_range(0..12);
    (0..n).map(|_| *['a', 'Z', '0', 'ä', '🗑', '\0', '"'].get(rng.random_range(0..7)).unwrap()).collect()
}

fn number(rng: &mut StdRng) -> i64 {
    rng.random::<i64>() >> rng.random_range(0..64)
}

fn real(rng: &mut StdRng) -> f64 {
    *[0.0, -1.5, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 0.1].get(rng.random_range(0..6)).unwrap()
}

fn record(rng: &mut StdRng, nested: bool) -> Value {
    let union = |i: u32, v: Value| Value::Union(i, Box::new(v));
    let maybe = |rng: &mut StdRng, v: Value| {
        if rng.random() { union(1, v) } else { union(0, Value::Null) }
    };
    let fields = if nested {
        let items = (0..rng.random_range(0..4)).map(|_| {
            let q = Value::String(text(rng));
            Value::Record(vec![("p".into(), Value::Long(number(rng))), ("q".into(), maybe(rng, q))])
        });
        let items = items.collect();
        let map = (0..rng.random_range(0..3)).map(|i| (format!("k{i}"), Value::Double(real(rng)))).collect();
        let u = match rng.random_range(0..4) {
            0 => union(0, Value::Null),
            1 => union(1, Value::Long(number(rng))),
            2 => union(2, Value::String(text(rng))),
            _ => union(3, Value::Array(vec![Value::Int(7), Value::Int(-7)])),
        };
        vec![("a", Value::String(text(rng))), ("list", Value::Array(items)), ("map", Value::Map(map)), ("u", u), ("z", Value::Long(number(rng)))]
    } else {
        let e = rng.random_range(0..3usize);
        let (ns, nd, nb) = (Value::String(text(rng)), Value::Double(real(rng)), Value::Boolean(rng.random()));
        vec![
            ("s", Value::String(text(rng))),
            ("l", Value::Long(number(rng))),
            ("d", Value::Double(real(rng))),
            ("i", Value::Int(number(rng) as i32)),
            ("f", Value::Float(real(rng) as f32)),
            ("b", Value::Boolean(rng.random())),
            ("e", Value::Enum(e as u32, ["x", "y", "z"][e].into())),
            ("y", Value::Bytes(text(rng).into_bytes())),
            ("x", Value::Fixed(3, vec![rng.random(), rng.random(), rng.random()])),
            ("t", Value::TimestampMillis(number(rng))),
            ("ns", maybe(rng, ns)),
            ("nl", if rng.random() { union(0, Value::Long(number(rng))) } else { union(1, Value::Null) }),
            ("nd", maybe(rng, nd)),
            ("nb", maybe(rng, nb)),
        ]
    };
    Value::Record(fields.into_iter().map(|(k, v)| (k.to_string(), v)).collect())
}

/// Bytes that remember being read past their end.
struct Bytes<'a> {
    rest: &'a [u8],
    overrun: bool,
}

impl std::io::Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.rest.read(buffer)?;
        self.overrun |= n == 0 && !buffer.is_empty();
        Ok(n)
    }
}

/// What apache-avro makes of a body: the record, if the body is one and nothing else. It takes a union whose branch
/// number is cut off for a null; reading past the end gives that away.
fn oracle(schema: &apache_avro::Schema, body: &[u8]) -> Option<Value> {
    let mut bytes = Bytes { rest: body, overrun: false };
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut bytes).ok()?;
    (bytes.rest.is_empty() && !bytes.overrun).then_some(value)
}

/// One cell as text, floats by their bits.
fn cell(rows: &RecordBatch, column: usize, row: usize) -> String {
    let c = rows.column(column);
    if c.is_null(row) {
        return "null".into();
    }
    match c.data_type() {
        DataType::Int64 => c.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:x}", c.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Boolean => c.as_boolean().value(row).to_string(),
        DataType::Utf8 => format!("{:?}", c.as_string::<i32>().value(row)),
        _ => format!("{:?}", c.as_binary::<i32>().value(row)),
    }
}

/// The same of the oracle's value.
fn expected(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Boolean(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Long(n) | Value::TimestampMillis(n) => n.to_string(),
        Value::Float(f) => format!("{:x}", f64::from(*f).to_bits()),
        Value::Double(f) => format!("{:x}", f.to_bits()),
        Value::String(s) | Value::Enum(_, s) => format!("{s:?}"),
        Value::Bytes(b) | Value::Fixed(_, b) => format!("{b:?}"),
        Value::Union(_, v) => expected(v),
        other => panic!("no flat value: {other:?}"),
    }
}

fn assert_row(decoded: &Decoded, row: usize, want: &Value) {
    let Value::Record(fields) = want else { panic!("no record") };
    for (i, f) in decoded.rows.schema().fields().iter().enumerate() {
        let (_, v) = fields.iter().find(|(k, _)| k == f.name()).unwrap();
        assert_eq!(cell(&decoded.rows, i, row), expected(v), "field {}", f.name());
    }
}

fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    let mut v = Vec::new();
    frame(&mut v, id);
    v.extend_from_slice(body);
    v
}

fn records(values: &[Option<Vec<u8>>]) -> Records {
    let mut b = RecordsBuilder::default();
    for (i, v) in values.iter().enumerate() {
        b.push(i as i64, 0, Some(b"k"), v.as_deref(), &[]);
    }
    b.finish(values.len() as i64)
}

/// Cuts, bends or lengthens a body.
fn damage(rng: &mut StdRng, body: &[u8]) -> Vec<u8> {
    let mut b = body.to_vec();
    match rng.random_range(0..4) {
        0 => b.truncate(rng.random_range(0..=b.len())),
        1 => b.extend((0..rng.random_range(1..4)).map(|_| rng.random::<u8>())),
        2 => (0..rng.random_range(1..4)).for_each(|_| {
            let i = rng.random_range(0..b.len());
            b[i] ^= 1 << rng.random_range(0..8);
        }),
        _ => (0..rng.random_range(1..3)).for_each(|_| {
            let i = rng.random_range(0..b.len());
            b[i] = *[0x00, 0x01, 0x7f, 0x80, 0xff].get(rng.random_range(0..5)).unwrap();
        }),
    }
    b
}

#[test]
fn damaged_records_get_the_oracles_answer_and_their_neighbours_survive() {
    let registry = registry();
    let mut rng = StdRng::seed_from_u64(7);
    let (mut good, mut bad) = (0, 0);
    for nested in [false, true] {
        let (topic, id, schema) = if nested { ("nested", 2, NESTED) } else { ("flat", 1, FLAT) };
        let schema = apache_avro::Schema::parse_str(schema).unwrap();
        let writer = GenericDatumWriter::builder(&schema).build().unwrap();
        let mut decoder = AvroDecoder::new(registry.clone(), topic, None).unwrap();
        for round in 0..6_000 {
            let neighbours = [record(&mut rng, nested), record(&mut rng, nested)];
            let bodies = neighbours.clone().map(|v| writer.write_value_to_vec(v).unwrap());
            let original = writer.write_value_to_vec(record(&mut rng, nested)).unwrap();
            let damaged = if round % 8 == 0 { original } else { damage(&mut rng, &original) };
            let decoded = decoder.decode(&records(&[Some(framed(id, &bodies[0])), Some(framed(id, &damaged)), Some(framed(id, &bodies[1]))]));
            assert_row(&decoded, 0, &neighbours[0]);
            assert_row(&decoded, decoded.rows.num_rows() - 1, &neighbours[1]);
            assert_eq!(decoded.index.len() + decoded.dead.len(), 3);
            // The oracle drops the bits of a number beyond the 64th; we refuse it.
            let overlong = decoded.dead.first().is_some_and(|e| e.error.contains("more than 64 bits"));
            match oracle(&schema, &damaged).filter(|_| !overlong) {
                Some(value) => {
                    assert_eq!(decoded.index, [0, 1, 2], "{:?}, the oracle read {value:?}", decoded.dead);
                    assert_row(&decoded, 1, &value);
                    good += 1;
                }
                None => {
                    // Text inside skipped values is not looked at: such a record may pass here.
                    assert!(nested || decoded.index == [0, 2], "round {round}: decoded what the oracle refuses: {damaged:?}");
                    bad += 1;
                }
            }
        }
    }
    assert!(good > 2_000 && bad > 4_000, "the test sees both: {good} good, {bad} bad");
}

#[test]
fn random_bytes_never_panic_nor_hang() {
    let registry = registry();
    let mut rng = StdRng::seed_from_u64(8);
    for (topic, id) in [("flat", 1), ("nested", 2)] {
        let mut decoder = AvroDecoder::new(registry.clone(), topic, None).unwrap();
        for _ in 0..3_000 {
            let body = |rng: &mut StdRng| (0..rng.random_range(0..60)).map(|_| rng.random_range(0..=3u8) * rng.random_range(0..85u8)).collect::<Vec<u8>>();
            let values: Vec<_> = (0..4).map(|_| Some(framed(id, &body(&mut rng)))).collect();
            let decoded = decoder.decode(&records(&values));
            assert_eq!(decoded.index.len() + decoded.dead.len(), 4);
            for v in values.iter().flatten() {
                let _ = registry.decode_to_json(v);
            }
        }
    }
}
