//! The demo as a visitor meets it: something to see within seconds, state that survives Ctrl-C and `kill -9`, every
//! reading exactly once in what comes out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::support::App;
use crate::support::app::{assert_adds_up, count};
use crate::support::outputs::{Folder, Record};

/// A small city in a hurry; no model, so that nothing but the pipeline takes time.
const CITY: [&str; 9] = ["demo", "--bins", "200", "--trucks", "8", "--backfill-h", "24", "--no-model", "--seed"];

fn city(more: &[&str]) -> Vec<&'static str> {
    let more: Vec<&'static str> = more.iter().map(|text| &*Box::leak((*text).to_owned().into_boxed_str())).collect();
    [&CITY[..], &more].concat()
}

#[test]
fn a_killed_demo_goes_on_and_each_reading_counts_once() {
    let started = Instant::now();
    let mut app = App::stopped(&city(&["7"]), &[]);
    app.launch();
    let told = app.output();
    assert!(told.contains(&format!("{}/", app.url)), "where to look: {told}");
    assert!(started.elapsed() < Duration::from_secs(10), "too slow");

    // First life: killed in the middle of the back-fill's processing.
    app.wait_for("the first forecasts", Duration::from_secs(60), |app| {
        let (_, body) = app.try_get("/v1/bins?limit=5").ok()?;
        body.contains("\"rung\":\"heuristic\"").then_some(())
    });
    app.kill9();

    // Second life: killed while live.
    app.start_again();
    let clock = live(&app);
    std::thread::sleep(Duration::from_secs(2));
    app.kill9();

    // Third life: lives on from there and ends by Ctrl-C.
    app.start_again();
    let later = live(&app);
    assert!(later >= clock - 600_000, "the city went back from {clock} to {later}");
    app.wait_for("time to go on", Duration::from_secs(20), |app| (event_now(app) > clock).then_some(()));
    app.signal("INT");
    let ended = app.ended(Duration::from_secs(30));
    assert_eq!(ended.code, 0, "{}", ended.output);
    assert!(ended.output.contains("counts add up in every stage"), "{}", ended.output);

    // Fourth: nobody produces any more; what was left is processed.
    let mut rest = App::stopped_at(&app.data, &["run"], &[]);
    rest.start_again();
    drained(&rest);
    assert_adds_up(&rest.pipeline());
    assert_eq!(rest.stop().code, 0);
    check(&Folder::open(&app.data));
}

#[test]
fn the_demo_ends_by_itself_after_its_duration_and_refuses_another_city_in_its_folder() {
    let mut app = App::start(&city(&["3", "--duration", "6"]), &[]);
    let ended = app.ended(Duration::from_secs(60));
    assert_eq!(ended.code, 0, "{}", ended.output);
    assert!(ended.output.contains("add up"), "{}", ended.output);
    assert!(!app.data.join("endpoint.json").exists());

    let data = app.data.display().to_string();
    let other = city(&["4", "--address", "127.0.0.1:0", "--data", &data]);
    let ended = crate::support::app::run_to_end(&other, &[], Duration::from_secs(30));
    assert_eq!(ended.code, 1, "{}", ended.output);
    assert!(ended.output.contains("seed 3"), "{}", ended.output);
}

fn event_now(app: &App) -> i64 {
    app.get_json("/v1/pipeline")["freshness"]["event_now_ms"].as_i64().expect("a clock")
}

/// Waits until the back-fill is through and the city lives; returns its time.
fn live(app: &App) -> i64 {
    app.wait_for("the back-fill to be through", Duration::from_secs(90), |app| {
        let p = app.pipeline();
        let near = p["lag_ms"].as_u64().is_some_and(|lag| lag < 3_000);
        (near && count(&p, "events_total") > 0).then(|| event_now(app))
    })
}

/// Waits until nothing is left to read.
fn drained(app: &App) {
    let (mut before, mut same) = (serde_json::Value::Null, 0);
    app.wait_for("an end of the input", Duration::from_secs(90), |app| {
        std::thread::sleep(Duration::from_millis(300));
        let now = app.pipeline();
        let quiet = now["lag_rows"] == 0 && now["stages"] == before;
        same = if quiet { same + 1 } else { 0 };
        before = now["stages"].clone();
        (same >= 4).then_some(())
    });
}

/// Position of a record.
fn place(record: &Record) -> (u32, i64) {
    (record.partition, record.offset)
}

/// What must have come out, told from what stands in the input.
fn check(folder: &Folder) {
    let mut dead: BTreeMap<(u32, i64), String> = BTreeMap::new();
    for letter in folder.read("dlq.bin-fill") {
        let number = |field: &str| letter.value[field].as_i64().expect("a number");
        let at = (u32::try_from(number("partition")).expect("small"), number("offset"));
        assert_eq!(letter.text("topic"), "bin.telemetry");
        let twice = dead.insert(at, letter.text("stage").to_owned());
        assert!(twice.is_none(), "two dead letters of {at:?}");
    }
    // The first copy of an event counts. One that is older than its device's newest corrects an earlier answer.
    let (mut on_time, mut late) = (BTreeSet::new(), BTreeSet::new());
    let (mut seen, mut newest): (BTreeSet<String>, HashMap<String, i64>) = Default::default();
    let mut repeats = 0;
    for record in folder.read("bin.telemetry") {
        let refused = dead.remove(&place(&record));
        if refused.as_deref() == Some("readings") {
            continue;
        }
        let time = record.value["observed_at"].as_i64().expect("a time");
        let known = newest.entry(record.text("device_id").to_owned()).or_insert(time);
        let is_late = time < *known;
        *known = time.max(*known);
        if !seen.insert(record.text("event_id").to_owned()) {
            repeats += 1;
            continue;
        }
        if refused.is_some() {
            continue;
        }
        match is_late {
            false => on_time.insert(format!("{}:f", record.text("event_id"))),
            true => late.insert(place(&record)),
        };
    }
    assert!(dead.is_empty(), "dead letters of records that are not there: {dead:?}");
    assert!(on_time.len() > 5_000, "only {} readings", on_time.len());
    assert!(repeats > 0, "neither the city nor its killed producer repeats itself");

    // No id twice: `by_event_id` sees to that.
    let features = folder.by_event_id("bin.features");
    let told: BTreeSet<String> = features.keys().filter(|id| id.ends_with(":f")).cloned().collect();
    let lost: Vec<&String> = on_time.difference(&told).take(5).collect();
    let invented: Vec<&String> = told.difference(&on_time).take(5).collect();
    assert!(lost.is_empty() && invented.is_empty(), "lost {lost:?}, invented {invented:?} of {} readings, {} late", on_time.len(), late.len());
    let forecasts = folder.by_event_id("bin.forecast");
    assert_eq!(forecasts.len(), features.len(), "a forecast for each row of features");
    folder.by_event_id("bin.alert");
}
