//! Poisoned records, each between two good ones of the same device: one dead letter per bad one, with its position and
//! reason, all good ones through, and numbers that add up.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::world::{self, DAY_MS, HOUR_MS, MINUTE_MS, T0};
use crate::support::App;
use crate::support::app::{count, stage};
use crate::support::outputs::Folder;

/// Where the engine refuses it, and the code it gives.
struct Refused {
    stage: &'static str,
    reason: &'static str,
    /// Words that must stand in the explanation.
    says: &'static str,
}

const fn refused(stage: &'static str, reason: &'static str, says: &'static str) -> Refused {
    Refused { stage, reason, says }
}

struct Case {
    device: String,
    bytes: Option<Vec<u8>>,
    refused: Refused,
}

/// Every poisoned record; each belongs to a device of its own.
fn cases(folder: &Folder) -> Vec<Case> {
    let mut found = Vec::new();
    let mut add = |bytes: &dyn Fn(&str) -> Option<Vec<u8>>, refused: Refused| {
        let device = format!("d-{}", found.len() + 1);
        let bytes = bytes(&device);
        found.push(Case { device, bytes, refused });
    };
    let good = |device: &str| folder.encode("bin.telemetry", &world::reading(device, T0, 0.5));
    let level = |device: &str, level: f64| folder.encode("bin.telemetry", &world::reading(device, T0, level));
    let source = |reason, says| refused("readings", reason, says);

    // What the bytes may be.
    add(
        &|d| {
            let mut bytes = good(d);
            // A text of negative length.
            bytes[5] = 0x01;
            Some(bytes)
        },
        source("undecodable", "tenant"),
    );
    add(
        &|d| {
            let bytes = good(d);
            Some(bytes[..bytes.len() / 2].to_vec())
        },
        source("truncated", "field"),
    );
    add(
        &|d| {
            let mut bytes = good(d);
            bytes.extend([0; 3]);
            Some(bytes)
        },
        source("trailing_bytes", "3 bytes"),
    );
    add(&|d| Some(world::reading(d, T0, 0.5).to_string().into_bytes()), source("not_framed", "schema id"));
    add(
        &|d| {
            let mut bytes = good(d);
            bytes[1..5].copy_from_slice(&999_999_u32.to_be_bytes());
            Some(bytes)
        },
        source("unknown_schema", "999999"),
    );
    add(&|_| Some(Vec::new()), source("not_framed", ""));
    add(&|_| None, source("null_value", "without a value"));
    add(
        &|d| {
            let mut value = world::reading(d, T0, 0.5);
            value["source"] = "x".repeat(300_000).into();
            Some(folder.encode("bin.telemetry", &value))
        },
        source("oversized", "the limit is 65536"),
    );

    // What a reading may say.
    let sane = || refused("sane", "filling_level_out_of_range", "");
    add(
        &|d| {
            let mut bytes = level(d, MARK);
            let at = position(&bytes, &MARK.to_le_bytes());
            bytes[at..at + 8].copy_from_slice(&f64::NAN.to_le_bytes());
            Some(bytes)
        },
        sane(),
    );
    add(&|d| Some(level(d, 7.3)), sane());
    add(&|d| Some(level(d, -0.1)), sane());
    add(
        &|d| {
            let value = world::uploaded(d, T0 + 365 * DAY_MS, 0.5, T0);
            Some(folder.encode("bin.telemetry", &value))
        },
        source("future_clock", "ahead of"),
    );
    add(
        &|d| {
            let value = world::uploaded(d, T0 - 80 * HOUR_MS, 0.5, T0);
            Some(folder.encode("bin.telemetry", &value))
        },
        source("too_late", "behind its key's newest"),
    );
    found
}

/// A level that is easily found again among bytes.
const MARK: f64 = 0.123_456_789;

#[test]
fn each_poisoned_record_costs_one_dead_letter_and_no_neighbour() {
    let mut app = App::stopped(&["run"], &[]);
    let mut good: BTreeSet<String> = BTreeSet::new();
    // Position → what must be told of the record there.
    let mut bad: BTreeMap<(u32, i64), Case> = BTreeMap::new();
    let mut records = 0;
    {
        let folder = Folder::open(&app.data);
        folder.create(&world::INPUTS, 2);
        let mut put = |device: &str, bytes: Option<&[u8]>| {
            records += 1;
            folder.append("bin.telemetry", device, bytes, T0)
        };
        let mut put_good = |device: &str, time: i64, level: f64| {
            let value = world::reading(device, time, level);
            good.insert(format!("{}:f", world::text(&value, "event_id")));
            put(device, Some(&folder.encode("bin.telemetry", &value)));
        };
        let cases = cases(&folder);
        let devices = u32::try_from(cases.len()).expect("few");
        world::put(&folder, &world::references(devices + 2));
        // A poisoned reference costs itself: the versions before it stay.
        folder.append("ref.container", "c-1", Some(b"garbage"), T0);
        folder.append("ref.container", "c-2", Some(&[0, 0, 0]), T0);
        for case in &cases {
            put_good(&case.device, T0 - 10 * MINUTE_MS, 0.30);
        }
        // The reading of 1.02 is a good one.
        let heap = format!("d-{}", devices + 1);
        put_good(&heap, T0, 1.02);
        put_good(&format!("d-{}", devices + 2), T0, 0.4);
        // A device that no reference knows, and one that hangs on no container.
        let strangers = [("d-stranger", refused("on_device", "unknown_device", "")), ("d-store", refused("mounted", "device_not_mounted", ""))];
        let mut put = |device: &str, bytes: Option<&[u8]>| {
            records += 1;
            folder.append("bin.telemetry", device, bytes, T0)
        };
        for (device, refused) in strangers {
            let bytes = folder.encode("bin.telemetry", &world::reading(device, T0, 0.5));
            let at = put(device, Some(&bytes));
            let case = Case { device: device.into(), bytes: Some(bytes), refused };
            bad.insert(at, case);
        }
        // The same event twice is one event.
        let twice = world::reading(&heap, T0, 1.02);
        put(&heap, Some(&folder.encode("bin.telemetry", &twice)));
        for case in cases {
            let at = put(&case.device, case.bytes.as_deref());
            let value = world::reading(&case.device, T0 + 10 * MINUTE_MS, 0.35);
            good.insert(format!("{}:f", world::text(&value, "event_id")));
            put(&case.device, Some(&folder.encode("bin.telemetry", &value)));
            bad.insert(at, case);
        }
    }
    app.start_again();
    let pipeline = app.settled(records);
    let health = app.try_get("/healthz");
    assert!(matches!(health, Ok((200, _))), "{health:?}");
    let metrics = app.try_get("/metrics").expect("metrics").1;
    let ended = app.stop();
    assert_eq!(ended.code, 0, "{}", ended.output);

    let at = |name: &str| {
        let of_stage = bad.values().filter(|c| c.refused.stage == name);
        of_stage.count() as u64
    };
    let source = stage(&pipeline, "readings");
    assert_eq!(count(source, "late"), 1, "{source:#}");
    assert_eq!(count(source, "dead"), at("readings") - 1, "{source:#}");
    assert_eq!(count(stage(&pipeline, "once"), "duplicate"), 1);
    assert_eq!(count(stage(&pipeline, "sane"), "dead"), at("sane"));
    assert_eq!(count(stage(&pipeline, "on_device"), "unmatched"), 1);
    assert_eq!(count(stage(&pipeline, "mounted"), "dead"), 1);
    assert_eq!(count(stage(&pipeline, "trend"), "rows_in"), good.len() as u64);
    assert_eq!(count(&pipeline, "dead_total"), bad.len() as u64 - 1);
    assert_eq!(count(&pipeline, "late_total"), 1);
    let watermark = pipeline["watermark_ms"].as_i64().expect("a watermark");
    assert!(watermark <= T0 + 10 * MINUTE_MS, "a clock a year ahead moved the watermark to {watermark}");
    assert!(metrics.lines().any(|l| l.contains("dead") && l.contains("sane") && l.ends_with(" 3")), "{metrics}");

    let rejected = metrics.lines().find(|l| l.starts_with("ws_table_rejected_rows_total{topic=\"ref.container\"}"));
    assert!(rejected.is_some_and(|l| l.ends_with(" 2")), "{rejected:?}");

    let folder = Folder::open(&app.data);
    letters(&folder, &mut bad);
    let features = folder.by_event_id("bin.features");
    let of_readings: BTreeSet<String> = features.keys().filter(|id| id.ends_with(":f")).cloned().collect();
    assert_eq!(of_readings, good, "every good reading once");
    assert_eq!(folder.by_event_id("bin.forecast").len(), features.len(), "one forecast for each row of features");
    let heaps: Vec<&Value> = features.values().filter(|f| f["level_flag"] == "clamped").collect();
    assert_eq!(heaps.len(), 1, "{heaps:#?}");
    assert_eq!(heaps[0]["filling_level"], 1.0);
}

/// Every dead letter tells one of `bad`, and every one of `bad` is told.
fn letters(folder: &Folder, bad: &mut BTreeMap<(u32, i64), Case>) {
    let cluster: BTreeSet<String> = folder
        .read("dlq.bin-fill")
        .into_iter()
        .map(|letter| {
            let partition = u32::try_from(letter.value["partition"].as_u64().expect("partition"));
            let offset = letter.value["offset"].as_i64().expect("offset");
            let case = bad
                .remove(&(partition.expect("small"), offset))
                .unwrap_or_else(|| panic!("told twice, or of a good record: {:#}", without_bytes(&letter.value)));
            let shown = without_bytes(&letter.value);
            let expected = &case.refused;
            assert_eq!((letter.text("stage"), letter.text("reason")), (expected.stage, expected.reason), "{}: {shown:#}", case.device);
            assert!(letter.text("error").contains(expected.says), "{shown:#}");
            assert_eq!(letter.text("topic"), "bin.telemetry");
            assert_eq!(letter.text("topic_id").len(), 32, "{shown:#}");
            assert_eq!(letter.text("key"), base64(case.device.as_bytes()));
            match &case.bytes {
                None => assert!(letter.value["value"].is_null(), "{shown:#}"),
                Some(bytes) => {
                    let kept = base64(&bytes[..bytes.len().min(16_384)]);
                    assert!(letter.text("value").starts_with(&kept[..kept.len() / 4 * 3]), "{}: the bytes as they were read: {shown:#}", case.device);
                }
            }
            letter.text("cluster_id").to_owned()
        })
        .collect();
    let left: Vec<&str> = bad.values().map(|c| c.refused.reason).collect();
    assert!(left.is_empty(), "not told: {left:?}");
    assert_eq!(cluster.len(), 1);
    assert!(!cluster.contains(""));
}

fn without_bytes(letter: &Value) -> Value {
    let mut shown = letter.clone();
    shown["value"] = "…".into();
    shown
}

fn position(bytes: &[u8], of: &[u8]) -> usize {
    bytes.windows(of.len()).position(|w| w == of).expect("the mark is there")
}

/// Bytes as the registry shows them.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for some in bytes.chunks(3) {
        let group = some.iter().chain([0, 0].iter()).take(3).fold(0_u32, |g, b| g << 8 | u32::from(*b));
        for i in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= some.len() { letter as char } else { '=' });
        }
    }
    out
}
