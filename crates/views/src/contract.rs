//! What every view store must do, run against each implementation.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use crate::contract_reads;
use crate::*;

type Make<'a> = &'a mut dyn FnMut() -> Box<dyn ViewStore>;

pub(crate) fn source(partition: i32) -> PositionKey {
    PositionKey { cluster_id: "c1".into(), topic: "bin.forecast".into(), topic_id: "t1".into(), partition }
}

pub(crate) fn progress(ms: i64) -> Progress {
    Progress { watermark_ms: Some(ms - 10), observed_ms: Some(ms), applied_ms: ms + 5 }
}

pub(crate) fn bin(part: Part, tenant: &str, id: &str, observed_ms: i64, mut document: Value) -> Update {
    document["tenant"] = json!(tenant);
    Update::put(ViewKey::new(Keyspace::Bin, tenant, id).unwrap(), part, observed_ms, &document)
}

pub(crate) fn placed(id: &str, observed_ms: i64, latitude_deg: f64, longitude_deg: f64) -> Update {
    bin(Part::Features, "acme", id, observed_ms, json!({"latitude_deg": latitude_deg, "longitude_deg": longitude_deg, "filling_level": 0.5, "site_id": "s1"}))
}

fn alert(device: &str, state: &str, observed_ms: i64) -> Update {
    let key = ViewKey::new(Keyspace::Alert, "acme", format!("{device}/fire")).unwrap();
    Update::put(key, Part::Alert, observed_ms, &json!({"device_id": device, "alert": "fire", "state": state}))
}

pub(crate) fn applied(outcome: Outcome) -> Applied {
    match outcome {
        Outcome::Applied(applied) => applied,
        other => panic!("expected the batch to be applied, got {other:?}"),
    }
}

fn level(view: &dyn ViewReads, id: &str) -> Option<f64> {
    let record = view.get(Keyspace::Bin, Some("acme"), id).unwrap().value?;
    BinSummary::of(&record).filling_level
}

pub(crate) fn bin_ids(view: &dyn ViewReads) -> Vec<String> {
    page_ids(&view.bins(&BinQuery { list: ListQuery { limit: 1000, ..Default::default() }, ..Default::default() }).unwrap().value)
}

pub(crate) fn page_ids(page: &Page) -> Vec<String> {
    page.records.iter().map(|record| record.key.id.clone()).collect()
}

fn alert_ids(view: &dyn ViewReads) -> Vec<String> {
    page_ids(&view.list(Keyspace::Alert, &ListQuery { limit: 10, ..Default::default() }).unwrap().value)
}

/// Some bins, an alert and a truck.
pub(crate) fn fill(view: &mut dyn ViewStore) {
    let updates = vec![placed("b1", 100, 48.1, 11.5), placed("b2", 100, 48.2, 11.6), alert("b1", "raised", 100)];
    applied(view.apply(&source(0), 1, 3, progress(100), updates).unwrap());
}

/// Runs every case on a fresh store.
pub(crate) fn run(make: Make<'_>) {
    repeated_and_older_batches_change_nothing(&mut *make());
    older_owners_are_fenced(&mut *make());
    the_last_event_time_wins_per_part(&mut *make());
    sources_are_told_apart_by_topic_id(&mut *make());
    alerts_come_and_go_by_event_time(&mut *make());
    contract_reads::bounding_boxes_find_exactly_what_lies_inside(&mut *make());
    contract_reads::pages_follow_each_other_without_gap_or_overlap(&mut *make());
    contract_reads::tenants_are_kept_apart(&mut *make());
    contract_reads::bins_move_and_places_stay_known(&mut *make());
    contract_reads::freshness_tells_positions_and_times(&mut *make());
    a_cleared_view_is_empty_starts_at_zero_and_keeps_its_fence(&mut *make());
    deleted_parts_do_not_come_back(&mut *make());
    contract_reads::risks_come_highest_first_and_move_with_their_value(&mut *make());
    rebuilding_in_other_batches_gives_the_same_view(make);
}

/// What was applied is there after opening again.
pub(crate) fn survives(open: Make<'_>) {
    fill(&mut *open());
    let mut view = open();
    assert_eq!(bin_ids(&*view), ["b1", "b2"]);
    assert_eq!(view.position(&source(0)).unwrap().unwrap().next_offset, 3);
    let again = view.apply(&source(0), 1, 3, progress(100), vec![placed("b1", 900, 48.1, 11.5)]).unwrap();
    assert_eq!(again, Outcome::AlreadyApplied { next_offset: 3 });
}

fn repeated_and_older_batches_change_nothing(view: &mut dyn ViewStore) {
    let batch = |level: f64| vec![bin(Part::Features, "acme", "b1", 100, json!({"filling_level": level}))];
    let first = applied(view.apply(&source(0), 1, 10, progress(100), batch(0.1)).unwrap());
    assert_eq!((first.written, first.outdated), (1, 0));
    assert_eq!(first.changed, [ViewKey::new(Keyspace::Bin, "acme", "b1").unwrap()]);
    // The values differ on purpose: a repetition must not even look at them.
    assert_eq!(view.apply(&source(0), 1, 10, progress(200), batch(0.7)).unwrap(), Outcome::AlreadyApplied { next_offset: 10 });
    assert_eq!(view.apply(&source(0), 1, 4, progress(200), batch(0.8)).unwrap(), Outcome::AlreadyApplied { next_offset: 10 });
    assert_eq!(level(view, "b1"), Some(0.1));
    applied(view.apply(&source(0), 1, 11, progress(200), batch(0.2)).unwrap());
    assert_eq!(level(view, "b1"), Some(0.2));
    assert_eq!(view.position(&source(0)).unwrap().unwrap().next_offset, 11);
    assert_eq!(view.position(&source(7)).unwrap(), None);
    // A batch without updates still moves the position.
    applied(view.apply(&source(0), 1, 20, progress(200), vec![]).unwrap());
    assert_eq!(view.position(&source(0)).unwrap().unwrap().next_offset, 20);
}

fn older_owners_are_fenced(view: &mut dyn ViewStore) {
    let batch = |level: f64| vec![bin(Part::Features, "acme", "b1", 100, json!({"filling_level": level}))];
    applied(view.apply(&source(0), 9, 10, progress(100), batch(0.1)).unwrap());
    applied(view.apply(&source(0), 10, 11, progress(100), batch(0.2)).unwrap());
    assert_eq!(view.apply(&source(0), 9, 12, progress(100), batch(0.9)).unwrap(), Outcome::Fenced { owner_epoch: 10 });
    // A new owner that repeats what is there fences the old one already.
    assert_eq!(view.apply(&source(0), u64::MAX, 11, progress(100), batch(0.9)).unwrap(), Outcome::AlreadyApplied { next_offset: 11 });
    assert_eq!(view.apply(&source(0), 10, 12, progress(100), batch(0.9)).unwrap(), Outcome::Fenced { owner_epoch: u64::MAX });
    assert_eq!(level(view, "b1"), Some(0.2));
    // Other partitions have their own owners.
    applied(view.apply(&source(1), 1, 5, progress(100), vec![]).unwrap());
}

fn the_last_event_time_wins_per_part(view: &mut dyn ViewStore) {
    let features = |ms, level: f64| bin(Part::Features, "acme", "b1", ms, json!({"filling_level": level, "waste_stream": "glass"}));
    let forecast = |ms, hours: f64| bin(Part::Forecast, "acme", "b1", ms, json!({"hours_to_full_p50": hours, "filling_level": 0.33}));
    applied(view.apply(&source(0), 1, 1, progress(100), vec![features(100, 0.5), forecast(90, 7.0)]).unwrap());
    let late = applied(view.apply(&source(0), 1, 2, progress(100), vec![features(99, 0.9), forecast(95, 6.0)]).unwrap());
    assert_eq!((late.written, late.outdated), (1, 1), "the older features lose, the newer forecast wins");
    // Of equal event times the later record wins: a correction.
    applied(view.apply(&source(0), 1, 3, progress(100), vec![features(100, 0.6)]).unwrap());
    let record = view.get(Keyspace::Bin, None, "b1").unwrap().value.unwrap();
    let bin = BinSummary::of(&record);
    assert_eq!((bin.filling_level, bin.hours_to_full_p50, bin.waste_stream.as_deref()), (Some(0.6), Some(6.0), Some("glass")));
    assert_eq!((bin.observed_ms, bin.forecast_ms), (Some(100), Some(95)));
    // Digits must not be compared as text: 1000 is later than 100.
    applied(view.apply(&source(0), 1, 4, progress(1000), vec![features(1000, 0.7)]).unwrap());
    assert_eq!(level(view, "b1"), Some(0.7));
    assert_eq!(view.get(Keyspace::Bin, None, "nowhere").unwrap().value, None);
}

fn sources_are_told_apart_by_topic_id(view: &mut dyn ViewStore) {
    applied(view.apply(&source(0), 5, 100, progress(100), vec![placed("b1", 100, 48.1, 11.5)]).unwrap());
    let anew = PositionKey { topic_id: "t2".into(), ..source(0) };
    assert_eq!(view.position(&anew).unwrap(), None);
    applied(view.apply(&anew, 1, 1, progress(200), vec![placed("b2", 200, 48.1, 11.5)]).unwrap());
    assert_eq!(bin_ids(view), ["b1", "b2"]);
}

fn alerts_come_and_go_by_event_time(view: &mut dyn ViewStore) {
    let updates = vec![alert("d1", "raised", 100), alert("d2", "raised", 200), alert("d3", "raised", 150)];
    applied(view.apply(&source(0), 1, 3, progress(200), updates).unwrap());
    assert_eq!(alert_ids(view), ["d2/fire", "d3/fire", "d1/fire"], "newest first");
    // Cleared at 300; a late "raised" of 250 must not bring it back.
    applied(view.apply(&source(0), 1, 4, progress(300), vec![alert("d2", "cleared", 300)]).unwrap());
    applied(view.apply(&source(0), 1, 5, progress(300), vec![alert("d2", "raised", 250)]).unwrap());
    assert_eq!(alert_ids(view), ["d3/fire", "d1/fire"]);
    let kept = view.get(Keyspace::Alert, Some("acme"), "d2/fire").unwrap().value.unwrap();
    assert_eq!(AlertSummary::of(&kept).state.as_deref(), Some("cleared"));
    applied(view.apply(&source(0), 1, 6, progress(400), vec![alert("d2", "raised", 400)]).unwrap());
    assert_eq!(alert_ids(view), ["d2/fire", "d3/fire", "d1/fire"]);
    assert_eq!(view.counts(None).unwrap().value.alerts, 3);
}

fn a_cleared_view_is_empty_starts_at_zero_and_keeps_its_fence(view: &mut dyn ViewStore) {
    fill(view);
    view.clear().unwrap();
    assert_eq!(bin_ids(view), Vec::<String>::new());
    assert_eq!(view.counts(None).unwrap().value, Counts::default());
    assert_eq!(view.get(Keyspace::Bin, Some("acme"), "b1").unwrap().value, None);
    let position = view.position(&source(0)).unwrap().unwrap();
    assert_eq!((position.next_offset, position.owner_epoch, position.observed_ms), (0, 1, None));
    assert_eq!(view.apply(&source(0), 0, 3, progress(100), vec![]).unwrap(), Outcome::Fenced { owner_epoch: 1 });
    fill(view);
    assert_eq!(bin_ids(view), ["b1", "b2"]);
}

fn deleted_parts_do_not_come_back(view: &mut dyn ViewStore) {
    fill(view);
    let key = ViewKey::new(Keyspace::Bin, "acme", "b1").unwrap();
    applied(view.apply(&source(0), 1, 4, progress(200), vec![Update::delete(key, Part::Features, 200)]).unwrap());
    applied(view.apply(&source(0), 1, 5, progress(200), vec![placed("b1", 150, 48.1, 11.5)]).unwrap());
    assert_eq!(bin_ids(view), ["b2"]);
    assert_eq!(view.get(Keyspace::Bin, None, "b1").unwrap().value, None);
    // A later reading lists the bin again, also while its place is unknown.
    applied(view.apply(&source(0), 1, 6, progress(300), vec![bin(Part::Features, "acme", "b1", 300, json!({"filling_level": 0.1}))]).unwrap());
    assert_eq!(bin_ids(view), ["b2", "b1"]);
}

fn rebuilding_in_other_batches_gives_the_same_view(make: Make<'_>) {
    // Rows of five bins with shuffled event times, cut into batches in two ways, once with a repetition in the middle.
    let rows: Vec<Update> = (0..60_i64)
        .map(|row| {
            let ms = 1000 + (row * 37) % 60;
            let part = if row % 2 == 0 { Part::Features } else { Part::Forecast };
            let document =
                if row % 3 == 0 { json!({"row": row}) } else { json!({"row": row, "latitude_deg": 48.0 + row as f64 * 0.01, "longitude_deg": 11.0}) };
            bin(part, "acme", &format!("b{}", row % 5), ms, document)
        })
        .collect();
    let dump = |view: &dyn ViewReads| {
        let page = view.bins(&BinQuery { list: ListQuery { limit: 100, ..Default::default() }, ..Default::default() }).unwrap().value;
        page.records.into_iter().map(|record| format!("{record:?}")).collect::<Vec<_>>()
    };
    let mut by_seven = make();
    for (batch, rows) in rows.chunks(7).enumerate() {
        let end = ((batch * 7) + rows.len()) as i64;
        by_seven.apply(&source(0), 1, end, progress(100), rows.to_vec()).unwrap();
        by_seven.apply(&source(0), 1, end, progress(100), rows.to_vec()).unwrap();
    }
    let mut at_once = make();
    applied(at_once.apply(&source(0), 1, 60, progress(100), rows).unwrap());
    assert_eq!(dump(&*by_seven), dump(&*at_once));
    assert_eq!(dump(&*at_once).len(), 5);
}
