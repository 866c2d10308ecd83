//! How fast the codec is on one core; prints, asserts nothing. Run it alone:
//! `cargo run -p ws-log --example codec_speed` (`--release` for the figures of a release build).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use arrow::array::RecordBatch;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use ws_log::avro::{AvroDecoder, AvroEncoder, JsonEncoder};
use ws_log::registry::Registry;
use ws_stream::codec::{Decode, Encode, Encoded};
use ws_stream::records::{Records, RecordsBuilder};

const ROWS: usize = 4096;

/// The record of the peers' benchmark: five fields, 37 bytes framed.
const PEERS: &str = r#"{"type":"record","name":"Telemetry","namespace":"bench","fields":[{"name":"bin_id","type":"string"},{"name":"ts","type":"long"},{"name":"fill_pct","type":"double"},
    {"name":"temp_c","type":"float"},{"name":"battery_v","type":"float"}]}"#;

fn records(values: Vec<Vec<u8>>) -> Records {
    let mut b = RecordsBuilder::default();
    for (i, v) in values.iter().enumerate() {
        b.push(i as i64, 0, Some(b"key"), Some(v), &[]);
    }
    b.finish(values.len() as i64)
}

/// Best of several rounds, in nanoseconds a row.
fn time(name: &str, mut work: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..60 {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_nanos() as f64 / ROWS as f64);
    }
    println!("{name:<48} {best:6.1} ns/row  {:6.2} M rows/s", 1_000.0 / best);
}

fn decode(name: &str, registry: &Arc<Registry>, topic: &str, columns: Option<&[&str]>, values: &Records) -> RecordBatch {
    let mut decoder = AvroDecoder::new(registry.clone(), topic, columns).unwrap();
    time(name, || assert_eq!(decoder.decode(values).index.len(), ROWS));
    decoder.decode(values).rows
}

fn encode(name: &str, mut encoder: impl Encode, rows: &RecordBatch) {
    let mut out = Encoded::default();
    time(name, || {
        out.clear();
        encoder.encode(rows, &mut out).unwrap();
    });
}

fn main() {
    let mut registry = Registry::embedded().unwrap();
    registry.insert("peers-value", 1, 1, "peers", PEERS).unwrap();
    let registry = Arc::new(registry);
    let peer = |i: usize| json!({"bin_id": format!("bin-{:05}", i % 10_000), "ts": 1_795_305_600_000i64 + i as i64, "fill_pct": (i % 10_000) as f64 / 1e4, "temp_c": 20.5 + i as f64 / 7.0, "battery_v": 3.25});
    let values = records((0..ROWS).map(|i| registry.encode_json_value("peers", &peer(i)).unwrap()).collect());
    let rows = decode("decode, 5 of 5 fields, 37 bytes", &registry, "peers", None, &values);
    decode("decode, 3 of 5 fields", &registry, "peers", Some(&["bin_id", "ts", "fill_pct"]), &values);
    encode("encode Avro, 5 fields", AvroEncoder::new(&registry, "peers", &rows.schema()).unwrap(), &rows);
    encode("encode JSON, 5 fields", JsonEncoder::new("peers", &rows.schema()).unwrap(), &rows);
    let three = rows.project(&[0, 1, 2]).unwrap();
    encode("encode JSON, string + long + double", JsonEncoder::new("peers", &three.schema()).unwrap(), &three);

    let reading = |i: usize| {
        json!({"tenant": "city", "event_id": format!("d{i}-1"), "observed_at": 1_795_305_600_000i64, "sent_at": 1_795_305_600_000i64, "received_at": 1_795_305_600_000i64, "source": "gateway",
            "device_id": format!("dev-{i:05}"), "sequence": i, "filling_level": 0.25, "temperature_degc": 11.5, "battery_v": 3.6})
    };
    let values = records((0..ROWS).map(|i| registry.encode_json_value("bin.telemetry", &reading(i)).unwrap()).collect());
    let used = ["tenant", "event_id", "observed_at", "sent_at", "received_at", "device_id", "filling_level", "temperature_degc", "battery_v"];
    decode("decode bin.telemetry, 17 of 17 fields", &registry, "bin.telemetry", None, &values);
    let rows = decode("decode bin.telemetry, 9 of 17 fields", &registry, "bin.telemetry", Some(&used), &values);
    encode("encode JSON, 9 fields of bin.telemetry", JsonEncoder::new("t", &rows.schema()).unwrap(), &rows);
}
