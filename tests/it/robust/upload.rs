//! A device without signal keeps its readings and uploads them later, newest first. All of them count, none moves the
//! others' time, and in the end the features say what they would have said had they come in order.

use serde_json::Value;

use super::world::{self, HOUR_MS, MINUTE_MS, T0};
use crate::support::App;
use crate::support::app::{count, stage};
use crate::support::outputs::Folder;

const READINGS: i64 = 12;

fn level(hour: i64) -> f64 {
    0.1 + 0.05 * hour as f64
}

#[test]
fn an_upload_newest_first_ends_in_the_same_features_as_one_in_order() {
    let mut app = App::start(&["run"], &[]);
    app.append(&world::references(3));
    let telemetry = |device: &str, value: Value| world::line("bin.telemetry", device, value);
    let at = |hour: i64| T0 + hour * HOUR_MS;
    // The table must be there before the readings; the process reads it as it comes.
    app.wait_for("references", std::time::Duration::from_secs(20), |app| {
        let probe = world::reading("d-3", T0 - HOUR_MS, 0.2);
        app.append(&[telemetry("d-3", probe)]);
        std::thread::sleep(std::time::Duration::from_millis(600));
        (count(stage(&app.pipeline(), "trend"), "rows_in") > 0).then_some(())
    });
    let probes = count(&app.pipeline(), "events_total");

    let upload = at(READINGS) + MINUTE_MS;
    let in_order = (0..READINGS).map(|h| ("d-1", h));
    let newest_first = (0..READINGS).rev().map(|h| ("d-2", h));
    let lines: Vec<Value> = in_order.chain(newest_first).map(|(device, h)| telemetry(device, world::uploaded(device, at(h), level(h), upload))).collect();
    app.append(&lines);
    let pipeline = app.settled(probes + lines.len() as u64);
    assert_eq!(count(&pipeline, "late_total"), 0, "{pipeline:#}");
    assert_eq!(count(stage(&pipeline, "readings"), "dead"), 0);
    assert_eq!(app.stop().code, 0);

    let features = Folder::open(&app.data).read("bin.features");
    let last = |device: &str| -> Value {
        let mut rows = features.iter().filter(|f| f.text("device_id") == device);
        rows.next_back().expect("rows of the device").value.clone()
    };
    let (first, second) = (last("d-1"), last("d-2"));
    assert_eq!(first["corrected"], false, "{first:#}");
    assert_eq!(second["corrected"], true, "{second:#}");
    assert_eq!(first["readings_24h"], READINGS as f64, "{first:#}");
    for field in [
        "observed_at",
        "filling_level",
        "readings_24h",
        "level_min_24h",
        "level_max_24h",
        "hours_since_emptied",
        "rate_6h_per_h",
        "rate_24h_per_h",
        "rate_since_emptied_per_h",
        "sensor_health",
    ] {
        match (first[field].as_f64(), second[field].as_f64()) {
            (Some(a), Some(b)) => assert!((a - b).abs() < 1e-9, "{field}: {a} and {b}"),
            _ => assert_eq!(first[field], second[field], "{field}"),
        }
    }
    let corrections = features.iter().filter(|f| f.text("device_id") == "d-2" && f.value["corrected"] == true);
    assert_eq!(corrections.count() as i64, READINGS - 1, "each older reading corrects once");
}
