//! What the decoder promises, case by case: reasons of dead letters, projection, evolution of schemas.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{AvroDecoder, AvroError};
use crate::registry::Registry;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use serde_json::{Value, json};
use std::sync::Arc;
use ws_stream::codec::Decode;
use ws_stream::records::{Records, RecordsBuilder};

fn records(values: &[Option<&[u8]>]) -> Records {
    let mut b = RecordsBuilder::default();
    for (i, v) in values.iter().enumerate() {
        b.push(10 + i as i64, 0, Some(b"k"), *v, &[]);
    }
    b.finish(10 + values.len() as i64)
}

fn reading(id: &str, level: Value) -> Vec<u8> {
    let v = json!({"tenant": "t", "event_id": "e", "observed_at": 5, "sent_at": 6, "received_at": 7, "source": "s", "device_id": id, "filling_level": level});
    Registry::embedded().unwrap().encode_json_value("bin.telemetry", &v).unwrap()
}

fn decoder(columns: &[&str]) -> AvroDecoder {
    AvroDecoder::new(Arc::new(Registry::embedded().unwrap()), "bin.telemetry", Some(columns)).unwrap()
}

#[test]
fn each_kind_of_poison_has_its_reason_and_costs_one_record() {
    let good = reading("d1", json!(0.5));
    let cut = &good[..good.len() - 3];
    let longer = [&good[..], &[0]].concat();
    let mut unknown = good.clone();
    unknown[1..5].copy_from_slice(&77u32.to_be_bytes());
    let big = reading(&"x".repeat(2_000), json!(0.5));
    let mut bent = good.clone();
    *bent.last_mut().unwrap() = 9; // a branch that the last union does not have
    let mut bad_text = good.clone();
    bad_text[6] = 0xff; // the tenant's only letter
    let values =
        [Some(&good[..]), Some(cut), Some(&longer), None, Some(&unknown), Some(b"{}"), Some(b""), Some(&big), Some(&bent), Some(&bad_text), Some(&good)];
    let mut decoder = decoder(&["device_id", "filling_level", "tenant"]).with_max_value_bytes(1_000);
    let d = decoder.decode(&records(&values));
    assert_eq!(d.index, [0, 10]);
    assert_eq!(d.tombstones, [3]);
    let reasons: Vec<_> = d.dead.iter().map(|e| (e.row, e.reason, e.schema_id)).collect();
    let id = Some(1001);
    assert_eq!(
        reasons,
        [
            (1, "truncated", id),
            (2, "trailing_bytes", id),
            (4, "unknown_schema", Some(77)),
            (5, "not_framed", None),
            (6, "not_framed", None),
            (7, "oversized", None),
            (8, "undecodable", id),
            (9, "undecodable", id)
        ]
    );
    assert_eq!(d.dead[1].error, "1 bytes follow the record");
    assert_eq!(d.dead[7].error, "field `tenant`: a string is not UTF-8");
    assert_eq!(d.rows.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["d1", "d1"]);
}

#[test]
fn only_the_columns_asked_for_come_in_the_order_asked_for() {
    let mut d = decoder(&["filling_level", "battery_v", "observed_at", "device_id"]);
    let types: Vec<_> = d.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone(), f.is_nullable())).collect();
    assert_eq!(
        types,
        [
            ("filling_level".into(), DataType::Float64, false),
            ("battery_v".into(), DataType::Float64, true),
            ("observed_at".into(), DataType::Int64, false),
            ("device_id".into(), DataType::Utf8, false)
        ]
    );
    let out = d.decode(&records(&[Some(&reading("a", json!("NaN"))), Some(&reading("b", json!(7.3)))]));
    let level = out.rows.column(0).as_primitive::<Float64Type>();
    assert!(level.value(0).is_nan(), "NaN is a value: judging it is the topology's business");
    assert_eq!(level.value(1), 7.3);
    assert_eq!(out.rows.column(1).null_count(), 2);
    assert_eq!(out.rows.column(2).as_primitive::<Int64Type>().values(), &[5, 5]);
}

#[test]
fn no_columns_still_counts_and_checks_the_rows() {
    let good = reading("a", json!(1));
    let out = decoder(&[]).decode(&records(&[Some(&good), Some(&good[..9])]));
    assert_eq!((out.rows.num_rows(), out.index, out.dead.len()), (1, vec![0], 1));
}

#[test]
fn asking_for_what_is_not_there_is_an_error_with_names() {
    let r = Arc::new(Registry::embedded().unwrap());
    let e = AvroDecoder::new(r.clone(), "bin.telemetry", Some(&["fill"])).err().unwrap();
    assert!(e.to_string().starts_with("bin.telemetry has no field `fill`; it has: tenant, event_id"), "{e}");
    assert!(AvroDecoder::new(r.clone(), "route.plan", Some(&["routes"])).is_ok(), "lists of records are columns");
    assert!(AvroDecoder::new(r, "route.plan", None).is_ok(), "without a list, nested fields are left out");
    let odd =
        evolving(&[r#"{"name":"m","type":{"type":"map","values":"long"}},{"name":"u","type":["null","long","string"]},{"name":"self","type":["null","T"]}"#]);
    for column in ["m", "u", "self"] {
        let e = AvroDecoder::new(odd.clone(), "t", Some(&[column])).err().unwrap();
        assert!(matches!(&e, AvroError::NestedColumn { column: c, .. } if c == column), "{e}");
    }
}

/// A subject with one version per text; ids 1, 2, …
fn evolving(versions: &[&str]) -> Arc<Registry> {
    let mut r = Registry::default();
    for (i, v) in versions.iter().enumerate() {
        let n = i as u32 + 1;
        r.insert("t-value", n, n, "t", &format!(r#"{{"type":"record","name":"T","fields":[{v}]}}"#)).unwrap();
    }
    Arc::new(r)
}

/// Encodes by the registry's newest version.
fn encode(registry: &Registry, value: Value) -> Vec<u8> {
    registry.encode_json_value("t", &value).unwrap()
}

#[test]
fn records_of_older_versions_read_by_the_newest_side_by_side() {
    let v1 = r#"{"name":"gone","type":["null","string"]},{"name":"n","type":"int"},{"name":"e","type":{"type":"enum","name":"E","symbols":["old","a"]}},{"name":"was","type":"long"},
        {"name":"micros","type":{"type":"long","logicalType":"timestamp-micros"}}"#;
    let v2 = r#"{"name":"e","type":{"type":"enum","name":"E","symbols":["a","other"],"default":"other"}},{"name":"n","type":["null","double"],"default":null},{"name":"is","aliases":["was"],"type":"long"},
        {"name":"fresh","type":"string","default":"none"},{"name":"empty","type":["null","long"],"default":null},{"name":"micros","type":{"type":"long","logicalType":"timestamp-micros"}}"#;
    let both = evolving(&[v1, v2]);
    let old = |e: &str| encode(&evolving(&[v1]), json!({"gone": "x", "n": 3, "e": e, "was": 8, "micros": 4}));
    let new = encode(&both, json!({"e": "a", "n": 0.5, "is": 9, "fresh": "f", "empty": 1, "micros": 5}));
    let mut d = AvroDecoder::new(both, "t", None).unwrap();
    let out = d.decode(&records(&[Some(&old("a")), Some(&new), Some(&old("old"))]));
    assert!(out.dead.is_empty(), "{:?}", out.dead);
    let column = |name: &str| out.rows.column_by_name(name).unwrap().clone();
    assert_eq!(column("n").as_primitive::<Float64Type>().values(), &[3.0, 0.5, 3.0]);
    assert_eq!(column("e").as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "a", "other"]);
    assert_eq!(column("is").as_primitive::<Int64Type>().values(), &[8, 9, 8]);
    assert_eq!(column("fresh").as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["none", "f", "none"]);
    assert_eq!(column("empty").as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [None, Some(1), None]);
    assert_eq!(column("micros").as_primitive::<Int64Type>().values(), &[4, 5, 4], "microseconds become milliseconds");
}

#[test]
fn a_writers_schema_that_does_not_fit_is_named_and_costs_its_records_only() {
    let registry = evolving(&[r#"{"name":"n","type":"string"}"#, r#"{"name":"n","type":"long"}"#]);
    let old = encode(&evolving(&[r#"{"name":"n","type":"string"}"#]), json!({"n": "x"}));
    let new = encode(&registry, json!({"n": 1}));
    let out = AvroDecoder::new(registry, "t", None).unwrap().decode(&records(&[Some(&old), Some(&new), Some(&old)]));
    assert_eq!(out.index, [1]);
    assert_eq!(out.dead[0].error, "schema 1 (t-value version 1): field `n` was written as string, the contract reads it as long");
}

#[test]
fn a_null_where_the_contract_wants_a_value_is_a_dead_letter() {
    let registry = evolving(&[r#"{"name":"n","type":["null","long"]}"#, r#"{"name":"n","type":"long"}"#]);
    let old = evolving(&[r#"{"name":"n","type":["null","long"]}"#]);
    let (null, one) = (encode(&old, json!({"n": null})), encode(&old, json!({"n": 1})));
    let out = AvroDecoder::new(registry, "t", None).unwrap().decode(&records(&[Some(&one), Some(&null), Some(&one)]));
    assert_eq!(out.index, [0, 2]);
    assert_eq!((out.dead[0].reason, out.dead[0].error.as_str()), ("undecodable", "field `n`: it is null, the contract wants a value"));
}
