//! Real data through the binary: the smart bins of Wyndham (daily, 33 bins, 2018 to 2021) become features, forecasts and
//! scores; the trucks of Jersey City become positions. Without the files the tests say so and pass.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::app::{App, run_to_end, stage};
use crate::support::outputs::Folder;
use crate::support::{repository, skip_for};

const BINS: &str = "bins/wyndham_smartbin_2018_2021.csv";
const TRUCKS: &str = "gps/jersey_city_garbage_trucks_2015.csv";
const LIMIT: Duration = Duration::from_secs(240);
const INPUTS: [&str; 6] = ["bin.telemetry", "ref.device", "ref.container", "ref.site", "ref.schedule", "collection.event"];

/// A file of the shared data: in `WS_SHARED_DATA`, or beside the checkout.
fn shared(file: &str) -> Option<PathBuf> {
    let named = std::env::var_os("WS_SHARED_DATA").map(PathBuf::from);
    let beside = repository().join("../shared/data");
    let found = named.into_iter().chain([beside]).map(|folder| folder.join(file)).find(|path| path.exists());
    if found.is_none() {
        skip_for(&format!("{file} is absent; set WS_SHARED_DATA to the folder that holds it"));
    }
    found
}

fn map(name: &str) -> String {
    let path = repository().join(format!("topologies/maps/{name}.yaml"));
    path.display().to_string()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn daily_bins_are_foretold_better_than_the_floor() {
    let Some(file) = shared(BINS) else { return };
    let (map, file) = (map("wyndham"), text(&file));
    let ended = run_to_end(&["train", "--task", "next-day", "--json", "--map", &map, &file], &[], LIMIT);
    assert_eq!(ended.code, 0, "{}", ended.output);
    let line = ended.output.lines().find(|l| l.starts_with('{'));
    let scores: Value = serde_json::from_str(line.expect("scores as JSON")).expect("JSON");
    let score = |part: &str, name: &str| scores[part][name].as_f64().unwrap_or_else(|| panic!("no {part}.{name}: {scores:#}"));
    let (auc, ap) = (score("all", "auc"), score("all", "average_precision"));
    // Not through the harness' capture: the figures are what this test is for.
    let _ = writeln!(
        std::io::stderr(),
        "full the next day, Wyndham: AUC {auc:.3} (floor {:.3}), AP {ap:.3} (floor {:.3}); without doubted readings AUC {:.3}, AP {:.3}",
        score("floor", "auc"),
        score("floor", "average_precision"),
        score("without_faults", "auc"),
        score("without_faults", "average_precision"),
    );
    let rows = &scores["rows"];
    assert_eq!((&rows["read"], &rows["bad"], &rows["suspect"]), (&31427.into(), &0.into(), &1415.into()));
    assert_eq!(rows["features"], 31427 - 768, "each bin and day counts once");
    assert!((0.15..0.18).contains(&score("all", "base_rate")), "{scores:#}");
    assert!(score("all", "rows") > 5_000.0 && score("without_faults", "rows") < score("all", "rows"));
    assert!(auc > score("floor", "auc") && ap > score("floor", "average_precision"), "below the floor: {scores:#}");
}

#[test]
fn real_bins_come_out_as_forecasts() {
    let Some(file) = shared(BINS) else { return };
    let all = std::fs::read_to_string(file).expect("the file");
    // The last days of the file: every bin, and all within the topology's lateness, so that a repeat is a duplicate.
    let days = ["01-05-2021", "02-05-2021", "03-05-2021"];
    let rows: Vec<&str> = all.lines().filter(|l| days.iter().any(|d| l.contains(d))).collect();
    let bins: std::collections::BTreeSet<&str> = rows.iter().filter_map(|l| l.split(',').next()).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let recent = folder.path().join("recent.csv");
    let bad = "1510830,full,6,03-05-2021,NOT_READY";
    let header = all.lines().next().expect("a header");
    std::fs::write(&recent, format!("{header}\n{}\n{bad}\n", rows.join("\n"))).expect("a file");

    let mut app = App::stopped(&["run"], &[]);
    Folder::open(&app.data).create(&INPUTS, 2);
    app.start_again();
    let (map, recent, data) = (map("wyndham"), text(&recent), text(&app.data));
    let ingest = ["ingest", "--map", &map, "--data", &data, &recent];
    let ended = run_to_end(&ingest, &[], LIMIT);
    assert_eq!(ended.code, 0, "{}", ended.output);
    let line = rows.len() + 2;
    assert!(ended.output.contains(&format!("recent.csv:{line}: filling_level: column `Fullness`: `full` is not a number")), "{}", ended.output);
    app.settled(rows.len() as u64);
    let id = format!("/v1/bins/wyndham-{}", bins.first().expect("a bin"));
    let bin = app.wait_for("a forecast", LIMIT, |app| {
        let (status, body) = app.try_get(&id).ok()?;
        let bin: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
        body.contains("hours_to_full").then_some(bin)
    });
    let listed = app.get_json("/v1/bins?limit=100");
    assert_eq!(listed["bins"].as_array().map_or(0, Vec::len), bins.len(), "{bin:#}\n{listed:#}");

    // The same file again: the same event ids, so nothing comes out twice.
    assert_eq!(run_to_end(&ingest, &[], LIMIT).code, 0);
    let pipeline = app.settled(2 * rows.len() as u64);
    assert_eq!(stage(&pipeline, "once")["duplicate"], rows.len(), "{pipeline:#}");
    let strict = run_to_end(&["ingest", "--strict", "--map", &map, "--data", &data, &recent], &[], LIMIT);
    assert_ne!(strict.code, 0);
    assert!(strict.output.contains("nothing was sent"), "{}", strict.output);
    app.stop();
}

#[test]
fn a_folder_that_nobody_owns_takes_the_rows_directly() {
    let Some(file) = shared(TRUCKS) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (map, file, data) = (map("jersey-city"), text(&file), text(folder.path()));
    let ended = run_to_end(&["ingest", "--map", &map, "--data", &data, &file], &[], LIMIT);
    assert_eq!(ended.code, 0, "{}", ended.output);
    let positions = Folder::open(folder.path()).read("vehicle.position");
    assert_eq!(positions.len(), 7_971);
    let trucks: std::collections::BTreeSet<&str> = positions.iter().map(|r| r.text("vehicle_id")).collect();
    assert_eq!(trucks.len(), 68);
    for partition in 0..4 {
        let times: Vec<i64> = positions.iter().filter(|r| r.partition == partition).filter_map(|r| r.value["observed_at"].as_i64()).collect();
        assert!(times.is_sorted() && !times.is_empty(), "sorted by event time, spread over partitions");
    }
}
