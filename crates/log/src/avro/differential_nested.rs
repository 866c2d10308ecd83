//! Nested columns against apache-avro, both ways: what the oracle writes must be read as the oracle reads it, whole or
//! damaged; what we write from the columns must be what the oracle reads as the same values.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{AvroDecoder, AvroEncoder, frame};
use crate::registry::Registry;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use ws_stream::codec::{Decode, Encode, Encoded};
use ws_stream::records::RecordsBuilder;

/// A plan of routes, with every kind of value somewhere inside.
const PLAN: &str = r#"{"type":"record","name":"Plan","fields":[
    {"name":"id","type":"string"},
    {"name":"routes","type":{"type":"array","items":{"type":"record","name":"Route","fields":[
        {"name":"vehicle","type":"string"},
        {"name":"shift","type":["null","string"],"default":null},
        {"name":"km","type":"float"},
        {"name":"stops","type":{"type":"array","items":{"type":"record","name":"Stop","fields":[
            {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["site","depot","lunch"]}},
            {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
            {"name":"load","type":["double","null"]},
            {"name":"locked","type":"boolean"},
            {"name":"n","type":"int"},
            {"name":"bins","type":{"type":"array","items":"string"},"default":[]},
            {"name":"raw","type":["null",{"type":"fixed","name":"F","size":2}]},
            {"name":"place","type":["null",{"type":"record","name":"Place","fields":[{"name":"x","type":"double"},{"name":"y","type":"bytes"}]}]}]}}}]}}},
    {"name":"tags","type":["null",{"type":"array","items":["null","long"]}],"default":null},
    {"name":"place","type":"Place"}]}"#;

/// What a newer contract makes of it: fields gone, come, renamed, wider.
const NEWER: &str = r#"{"type":"record","name":"Plan","fields":[
    {"name":"routes","type":{"type":"array","items":{"type":"record","name":"Route","fields":[
        {"name":"stops","type":{"type":"array","items":{"type":"record","name":"Stop","fields":[
            {"name":"n","type":"double"},
            {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["site","depot","other"],"default":"other"}},
            {"name":"why","type":{"type":"array","items":"string"},"default":["none"]}]}}},
        {"name":"truck","aliases":["vehicle"],"type":"string"}]}}},
    {"name":"more","type":{"type":"array","items":{"type":"record","name":"More","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","string"],"default":null}]}},"default":[{"a":7}]}]}"#;

fn registry() -> Arc<Registry> {
    let mut r = Registry::default();
    r.insert("plan-value", 1, 1, "plan", PLAN).unwrap();
    r.insert("newer-value", 1, 2, "newer", NEWER).unwrap();
    Arc::new(r)
}

fn text(rng: &mut StdRng) -> String {
    let n = rng.random_range(0..6);
    (0..n).map(|_| *['a', 'ä', '🗑', '\0', '"'].get(rng.random_range(0..5)).unwrap()).collect()
}

fn maybe(rng: &mut StdRng, null_first: bool, v: Value) -> Value {
    let (null, value) = if null_first { (0, 1) } else { (1, 0) };
    if rng.random() { Value::Union(value, Box::new(v)) } else { Value::Union(null, Box::new(Value::Null)) }
}

fn place(rng: &mut StdRng) -> Value {
    let x = *[0.0, -1.5, f64::NAN, f64::INFINITY].get(rng.random_range(0..4)).unwrap();
    Value::Record(vec![("x".into(), Value::Double(x)), ("y".into(), Value::Bytes(text(rng).into_bytes()))])
}

fn stop(rng: &mut StdRng) -> Value {
    let kind = rng.random_range(0..3usize);
    let (load, raw, there) = (Value::Double(rng.random()), Value::Fixed(2, vec![rng.random(), rng.random()]), place(rng));
    Value::Record(vec![
        ("kind".into(), Value::Enum(kind as u32, ["site", "depot", "lunch"][kind].into())),
        ("at".into(), Value::TimestampMillis(rng.random::<i64>() >> rng.random_range(0..64))),
        ("load".into(), maybe(rng, false, load)),
        ("locked".into(), Value::Boolean(rng.random())),
        ("n".into(), Value::Int(rng.random())),
        ("bins".into(), Value::Array((0..rng.random_range(0..3)).map(|_| Value::String(text(rng))).collect())),
        ("raw".into(), maybe(rng, true, raw)),
        ("place".into(), maybe(rng, true, there)),
    ])
}

fn record(rng: &mut StdRng) -> Value {
    let routes = (0..rng.random_range(0..3)).map(|_| {
        let shift = Value::String(text(rng));
        Value::Record(vec![
            ("vehicle".into(), Value::String(text(rng))),
            ("shift".into(), maybe(rng, true, shift)),
            ("km".into(), Value::Float(rng.random())),
            ("stops".into(), Value::Array((0..rng.random_range(0..4)).map(|_| stop(rng)).collect())),
        ])
    });
    let routes = routes.collect();
    let tags = Value::Array((0..rng.random_range(0..3)).map(|i| maybe(rng, true, Value::Long(i))).collect());
    Value::Record(vec![
        ("id".into(), Value::String(text(rng))),
        ("routes".into(), Value::Array(routes)),
        ("tags".into(), maybe(rng, true, tags)),
        ("place".into(), place(rng)),
    ])
}

/// A cell as text, floats by their bits.
fn cell(array: &ArrayRef, i: usize) -> String {
    if array.is_null(i) {
        return "null".into();
    }
    match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(i).to_string(),
        DataType::Float64 => format!("{:x}", array.as_primitive::<Float64Type>().value(i).to_bits()),
        DataType::Boolean => array.as_boolean().value(i).to_string(),
        DataType::Utf8 => format!("{:?}", array.as_string::<i32>().value(i)),
        DataType::Binary => format!("{:?}", array.as_binary::<i32>().value(i)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(i);
            format!("[{}]", (0..items.len()).map(|j| cell(&items, j)).collect::<Vec<_>>().join(","))
        }
        _ => {
            let record = array.as_struct();
            let named = record.fields().iter().zip(record.columns()).map(|(f, c)| format!("{}:{}", f.name(), cell(c, i)));
            format!("{{{}}}", named.collect::<Vec<_>>().join(","))
        }
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
        Value::Array(items) => format!("[{}]", items.iter().map(expected).collect::<Vec<_>>().join(",")),
        Value::Record(fields) => format!("{{{}}}", fields.iter().map(|(n, v)| format!("{n}:{}", expected(v))).collect::<Vec<_>>().join(",")),
        other => panic!("{other:?}"),
    }
}

fn fields(value: &Value) -> Vec<String> {
    let Value::Record(fields) = value else { panic!() };
    fields.iter().map(|(_, v)| expected(v)).collect()
}

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

fn oracle(schema: &apache_avro::Schema, body: &[u8]) -> Option<Value> {
    let mut bytes = Bytes { rest: body, overrun: false };
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut bytes).ok()?;
    (bytes.rest.is_empty() && !bytes.overrun).then_some(value)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut v = Vec::new();
    frame(&mut v, 1);
    v.extend_from_slice(body);
    v
}

fn records(bodies: &[Vec<u8>]) -> ws_stream::records::Records {
    let mut b = RecordsBuilder::default();
    bodies.iter().enumerate().for_each(|(i, body)| b.push(i as i64, 0, None, Some(&framed(body)), &[]));
    b.finish(bodies.len() as i64)
}

const ALL: [&str; 4] = ["id", "routes", "tags", "place"];

#[test]
fn columns_go_in_and_out_as_the_oracle_reads_and_writes_them() {
    let registry = registry();
    let schema = apache_avro::Schema::parse_str(PLAN).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let mut rng = StdRng::seed_from_u64(41);
    let mut decoder = AvroDecoder::new(registry.clone(), "plan", Some(&ALL)).unwrap();
    let mut encoder = AvroEncoder::new(&registry, "plan", &decoder.schema()).unwrap();
    for _ in 0..300 {
        let values: Vec<Value> = (0..5).map(|_| record(&mut rng)).collect();
        let bodies: Vec<Vec<u8>> = values.iter().map(|v| writer.write_value_to_vec(v.clone()).unwrap()).collect();
        let decoded = decoder.decode(&records(&bodies));
        assert!(decoded.dead.is_empty(), "{:?}", decoded.dead);
        for (i, v) in values.iter().enumerate() {
            let row: Vec<String> = decoded.rows.columns().iter().map(|c| cell(c, i)).collect();
            assert_eq!(row, fields(v));
        }
        let mut out = Encoded::default();
        assert!(encoder.encode(&decoded.rows.slice(1, 4), &mut out).unwrap().is_empty());
        for i in 0..4 {
            let back = oracle(&schema, &out.row(i)[5..]).expect("the oracle reads what we wrote");
            assert_eq!(fields(&back), fields(&values[i + 1]));
        }
    }
}

#[test]
fn damaged_records_get_the_oracles_answer_and_their_neighbours_survive() {
    let registry = registry();
    let schema = apache_avro::Schema::parse_str(PLAN).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let mut rng = StdRng::seed_from_u64(42);
    let (mut good, mut bad) = (0, 0);
    for round in 0..4_000 {
        // A decoder of its own now and then: nothing of a bad record may stay behind in it.
        let mut decoder = AvroDecoder::new(registry.clone(), "plan", Some(&ALL)).unwrap();
        let values: Vec<Value> = (0..3).map(|_| record(&mut rng)).collect();
        let mut bodies: Vec<Vec<u8>> = values.iter().map(|v| writer.write_value_to_vec(v.clone()).unwrap()).collect();
        if round % 8 > 0 {
            let body = &mut bodies[1];
            match rng.random_range(0..4) {
                0 => body.truncate(rng.random_range(0..body.len())),
                1 => body.push(rng.random()),
                _ => {
                    for _ in 0..rng.random_range(1..3) {
                        let at = rng.random_range(0..body.len());
                        body[at] ^= 1 << rng.random_range(0..8);
                    }
                }
            }
        }
        let decoded = decoder.decode(&records(&bodies));
        let row = |i: usize| decoded.rows.columns().iter().map(|c| cell(c, i)).collect::<Vec<_>>();
        assert_eq!(row(0), fields(&values[0]));
        assert_eq!(row(decoded.rows.num_rows() - 1), fields(&values[2]));
        let stricter = decoded.dead.first().is_some_and(|e| e.error.contains("more than 64 bits"));
        match oracle(&schema, &bodies[1]).filter(|_| !stricter) {
            Some(value) => {
                assert_eq!(decoded.index, [0, 1, 2], "{:?}, the oracle read {value:?}", decoded.dead);
                assert_eq!(row(1), fields(&value));
                good += 1;
            }
            None => {
                assert_eq!(decoded.index, [0, 2], "round {round}: decoded what the oracle refuses: {:?}", bodies[1]);
                bad += 1;
            }
        }
    }
    assert!(good > 800 && bad > 1_500, "the test sees both: {good} good, {bad} bad");
}

#[test]
fn random_bytes_never_panic_nor_hang() {
    let registry = registry();
    let mut rng = StdRng::seed_from_u64(43);
    let mut decoder = AvroDecoder::new(registry.clone(), "plan", Some(&ALL)).unwrap();
    for _ in 0..3_000 {
        let bodies: Vec<Vec<u8>> =
            (0..4).map(|_| (0..rng.random_range(0..80)).map(|_| rng.random_range(0..=3u8) * rng.random_range(0..85u8)).collect()).collect();
        let decoded = decoder.decode(&records(&bodies));
        assert_eq!(decoded.index.len() + decoded.dead.len(), 4);
    }
}

#[test]
fn a_newer_contract_reads_older_records_by_name_with_defaults() {
    let registry = registry();
    let schema = apache_avro::Schema::parse_str(PLAN).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let mut rng = StdRng::seed_from_u64(44);
    let mut decoder = AvroDecoder::new(registry, "newer", Some(&["routes", "more"])).unwrap();
    for _ in 0..200 {
        let value = record(&mut rng);
        let decoded = decoder.decode(&records(&[writer.write_value_to_vec(value.clone()).unwrap()]));
        let Value::Record(top) = &value else { panic!() };
        let Value::Array(routes) = &top[1].1 else { panic!() };
        let routes: Vec<String> = routes
            .iter()
            .map(|r| {
                let Value::Record(r) = r else { panic!() };
                let Value::Array(stops) = &r[3].1 else { panic!() };
                let stops = stops.iter().map(|s| {
                    let Value::Record(s) = s else { panic!() };
                    let Value::Int(n) = s[4].1 else { panic!() };
                    let kind = if expected(&s[0].1) == "\"lunch\"" { "\"other\"".to_string() } else { expected(&s[0].1) };
                    format!("{{n:{:x},kind:{kind},why:[\"none\"]}}", f64::from(n).to_bits())
                });
                format!("{{stops:[{}],truck:{}}}", stops.collect::<Vec<_>>().join(","), expected(&r[0].1))
            })
            .collect();
        assert_eq!(cell(decoded.rows.column(0), 0), format!("[{}]", routes.join(",")));
        assert_eq!(cell(decoded.rows.column(1), 0), "[{a:7,b:null}]");
    }
}

#[test]
fn what_does_not_fit_is_told_with_its_path() {
    let registry = registry();
    let decoder = AvroDecoder::new(registry.clone(), "newer", Some(&["routes"])).unwrap();
    let column = decoder.schema();
    let e = AvroEncoder::new(&registry, "plan", &column).unwrap_err().to_string();
    assert!(e.contains("required field `id`"), "{e}");
    let only = arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new("id", DataType::Utf8, false), column.field(0).clone()]);
    let e = AvroEncoder::new(&registry, "plan", &only).unwrap_err().to_string();
    assert_eq!(e, "plan: column `routes[].vehicle` is missing, the schema wants string; cast it in the topology");
}

#[test]
fn the_contract_of_a_route_plan_is_written_from_columns() {
    let registry = Arc::new(Registry::embedded().unwrap());
    let contract = registry.for_topic("route.plan").unwrap().clone();
    let routes = contract.columns().field_with_name("routes").unwrap().clone();
    assert!(matches!(routes.data_type(), DataType::List(_)), "{routes:?}");
    let stop = serde_json::json!({"kind": "site", "site_id": "s1", "facility_id": null, "container_ids": ["c1", "c2"], "arrives_at": 1, "leaves_at": 2, "load_kg": 7.5, "locked": true, "reason": null});
    let route = serde_json::json!({"vehicle_id": "v", "shift_id": null, "start_facility_id": "d", "end_facility_id": "d", "starts_at": 1, "ends_at": 9, "distance_m": 12.5, "stops": [stop, stop]});
    let plan = serde_json::json!({"tenant": "t", "event_id": "e", "observed_at": 1, "sent_at": 1, "received_at": 1, "source": "route", "planning_area_id": "p", "plan_id": "x", "plan_version": 3, "state": "proposed",
        "valid_from": 1, "valid_to": 2, "time_zone": "Europe/Vienna", "solver": "s", "seed": 1, "iterations": 10, "rung": "model", "distance_m": 1.0, "duration_s": 2.0, "routes": [route],
        "skipped": [{"site_id": "s9", "reason": "not_needed", "p_overflow": null}]});
    let value = registry.encode_json_value("route.plan", &plan).unwrap();
    let all = contract.columns();
    let names: Vec<&str> = all.fields().iter().map(|f| f.name().as_str()).collect();
    assert!(names.contains(&"skipped"));
    let mut decoder = AvroDecoder::new(registry.clone(), "route.plan", Some(&names)).unwrap();
    let mut b = RecordsBuilder::default();
    b.push(0, 0, None, Some(&value), &[]);
    let decoded = decoder.decode(&b.finish(1));
    assert!(decoded.dead.is_empty(), "{:?}", decoded.dead);
    let mut out = Encoded::default();
    assert!(AvroEncoder::new(&registry, "route.plan", &decoder.schema()).unwrap().encode(&decoded.rows, &mut out).unwrap().is_empty());
    assert_eq!(out.row(0), value, "byte for byte");
}
