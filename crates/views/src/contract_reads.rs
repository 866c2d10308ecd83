//! What every view store must answer: the reading half of the contract in `contract`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use crate::contract::{applied, bin, bin_ids, page_ids, placed, progress, source};
use crate::*;

/// 1,200 bins on a lattice around a place, one batch.
fn lattice(view: &mut dyn ViewStore) -> Vec<(String, f64, f64)> {
    let mut bins = Vec::new();
    for row in 0..30 {
        for column in 0..40 {
            bins.push((format!("b{row:02}-{column:02}"), 48.0 + f64::from(row) * 0.0037, 11.4 + f64::from(column) * 0.0041));
        }
    }
    let updates = bins.iter().map(|(id, latitude_deg, longitude_deg)| placed(id, 100, *latitude_deg, *longitude_deg)).collect();
    applied(view.apply(&source(0), 1, 1200, progress(100), updates).unwrap());
    bins
}

pub(crate) fn bounding_boxes_find_exactly_what_lies_inside(view: &mut dyn ViewStore) {
    let bins = lattice(view);
    for text in ["11.4213,48.0151,11.4878,48.0649", "-180,-90,180,90", "11.4,48.0,11.4,48.0", "0,0,1,1"] {
        let bounds = BoundingBox::parse(text).unwrap();
        let mut found = page_ids(
            &view.bins(&BinQuery { list: ListQuery { limit: 5000, ..Default::default() }, bounds: Some(bounds), ..Default::default() }).unwrap().value,
        );
        found.sort();
        let expected: Vec<String> = bins.iter().filter(|bin| bounds.contains(bin.1, bin.2)).map(|bin| bin.0.clone()).collect();
        assert_eq!(found, expected, "{text}");
    }
    let filter = BinFilter { level_at_least: Some(0.6), ..Default::default() };
    assert!(view.bins(&BinQuery { list: ListQuery { limit: 9, ..Default::default() }, filter, ..Default::default() }).unwrap().value.records.is_empty());
    let filter = BinFilter { site_id: Some("s1".into()), level_at_least: Some(0.5), ..Default::default() };
    assert_eq!(view.bins(&BinQuery { list: ListQuery { limit: 9, ..Default::default() }, filter, ..Default::default() }).unwrap().value.records.len(), 9);
}

pub(crate) fn pages_follow_each_other_without_gap_or_overlap(view: &mut dyn ViewStore) {
    let bins = lattice(view);
    let bounds = Some(BoundingBox::parse("11.41,48.01,11.52,48.09").unwrap());
    for bounds in [None, bounds] {
        let expected = bins.iter().filter(|bin| bounds.is_none_or(|bounds| bounds.contains(bin.1, bin.2))).count();
        let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let list = ListQuery { limit: 97, cursor: cursor.take(), ..Default::default() };
            let page = view.bins(&BinQuery { list, bounds, ..Default::default() }).unwrap().value;
            found.extend(page_ids(&page));
            pages += 1;
            assert!(pages < 100, "the cursor does not move on");
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let listed = found.len();
        found.sort();
        found.dedup();
        assert_eq!((listed, found.len()), (expected, expected));
        assert!(pages > 3);
    }
    for cursor in ["zz", "616", "6162", "ü", "ff00"] {
        let list = ListQuery { limit: 5, cursor: Some(cursor.into()), ..Default::default() };
        assert!(matches!(view.list(Keyspace::Bin, &list), Err(ViewError::BadCursor)), "{cursor}");
    }
}

pub(crate) fn tenants_are_kept_apart(view: &mut dyn ViewStore) {
    let of = |tenant: &str, id: &str| bin(Part::Features, tenant, id, 100, json!({"latitude_deg": 48.0, "longitude_deg": 11.0}));
    // "acme" is a prefix of "acme-2", and must not see it.
    applied(view.apply(&source(0), 1, 9, progress(100), vec![of("acme", "b1"), of("acme-2", "b1"), of("acme-2", "b2")]).unwrap());
    let ids = |tenant: Option<&str>, limit| {
        let list = ListQuery { tenant: tenant.map(Into::into), limit, ..Default::default() };
        view.list(Keyspace::Bin, &list).unwrap().value
    };
    assert_eq!(page_ids(&ids(Some("acme"), 10)), ["b1"]);
    assert_eq!(page_ids(&ids(Some("acme-2"), 10)), ["b1", "b2"]);
    assert_eq!(page_ids(&ids(Some("ac"), 10)), Vec::<String>::new());
    assert_eq!(page_ids(&ids(None, 10)), ["b1", "b1", "b2"]);
    assert!(matches!(view.get(Keyspace::Bin, None, "b1"), Err(ViewError::Ambiguous { tenants: 2, .. })));
    assert_eq!(view.counts(Some("acme-2")).unwrap().value.bins, 2);
    assert_eq!(view.counts(None).unwrap().value.bins, 3);
    // A page that ends with one tenant goes on with the next.
    let first = ids(None, 1);
    let list = ListQuery { limit: 10, cursor: first.cursor, ..Default::default() };
    assert_eq!(page_ids(&view.list(Keyspace::Bin, &list).unwrap().value), ["b1", "b2"]);
}

pub(crate) fn bins_move_and_places_stay_known(view: &mut dyn ViewStore) {
    let near =
        |text: &str| BinQuery { list: ListQuery { limit: 10, ..Default::default() }, bounds: Some(BoundingBox::parse(text).unwrap()), ..Default::default() };
    let unplaced = |ms| bin(Part::Forecast, "acme", "b1", ms, json!({"hours_to_full_p50": 3.0}));
    applied(view.apply(&source(0), 1, 1, progress(100), vec![unplaced(50)]).unwrap());
    assert_eq!(bin_ids(view), ["b1"], "listed although nobody knows where it is");
    applied(view.apply(&source(0), 1, 2, progress(100), vec![placed("b1", 100, 48.1, 11.5)]).unwrap());
    applied(view.apply(&source(0), 1, 3, progress(100), vec![unplaced(120)]).unwrap());
    assert_eq!(page_ids(&view.bins(&near("11.4,48.0,11.6,48.2")).unwrap().value), ["b1"]);
    applied(view.apply(&source(0), 1, 4, progress(200), vec![placed("b1", 200, 49.1, 12.5)]).unwrap());
    assert!(view.bins(&near("11.4,48.0,11.6,48.2")).unwrap().value.records.is_empty());
    assert_eq!(page_ids(&view.bins(&near("12.4,49.0,12.6,49.2")).unwrap().value), ["b1"]);
    assert_eq!(bin_ids(view), ["b1"], "listed once");
}

pub(crate) fn freshness_tells_positions_and_times(view: &mut dyn ViewStore) {
    assert_eq!(view.freshness().unwrap(), Freshness::default());
    applied(view.apply(&source(1), 1, 7, progress(500), vec![]).unwrap());
    applied(view.apply(&source(0), 3, 9, progress(300), vec![]).unwrap());
    // Times never go back, and a batch that does not know them leaves them.
    applied(view.apply(&source(0), 3, 10, Progress { watermark_ms: Some(5), observed_ms: None, applied_ms: 600 }, vec![]).unwrap());
    let freshness = view.counts(None).unwrap().freshness;
    assert_eq!((freshness.as_of_ms, freshness.newest_observed_ms, freshness.applied_ms), (Some(290), Some(500), Some(600)));
    assert_eq!(freshness.positions.iter().map(|p| (p.source.partition, p.owner_epoch, p.next_offset)).collect::<Vec<_>>(), [(0, 3, 10), (1, 1, 7)]);
    assert_eq!((freshness.lag_ms(700), freshness.lag_ms(0)), (Some(200), Some(0)));
}

pub(crate) fn risks_come_highest_first_and_move_with_their_value(view: &mut dyn ViewStore) {
    let risk = |id: &str, ms: i64, risk: f64| {
        let key = ViewKey::new(Keyspace::ChurnRisk, "acme", id).unwrap();
        Update::put(key, Part::Risk, ms, &json!({"risk": risk, "drivers": [{"feature": "missed_90d", "contribution": 0.4, "text": "3 missed"}]}))
    };
    let updates = (0..50).map(|i| risk(&format!("c{i}"), 100, f64::from((i * 37) % 50) / 50.0)).collect();
    applied(view.apply(&source(0), 1, 50, progress(100), updates).unwrap());
    let ids = |view: &dyn ViewReads, least: f64, limit: usize, cursor: Option<String>| {
        let page = view.risks(Keyspace::ChurnRisk, &ListQuery { limit, cursor, ..Default::default() }, least).unwrap().value;
        let risks: Vec<f64> = page.records.iter().map(|record| ChurnRiskSummary::of(record).risk.unwrap()).collect();
        (risks, page.cursor)
    };
    let (first, cursor) = ids(view, 0.5, 10, None);
    assert_eq!((first[0], first[9]), (0.98, 0.8));
    let (rest, end) = ids(view, 0.5, 100, cursor);
    assert_eq!((rest[0], *rest.last().unwrap(), rest.len(), end), (0.78, 0.5, 15, None));
    assert!(ids(view, 0.5, 100, None).0.windows(2).all(|pair| pair[0] >= pair[1]));
    // A newer value moves its record, an older one does not; a deletion takes it out.
    let key = |id: &str| ViewKey::new(Keyspace::ChurnRisk, "acme", id).unwrap();
    let changes = vec![risk("c0", 200, 0.99), risk("c1", 50, 0.995), Update::delete(key("c2"), Part::Risk, 200)];
    applied(view.apply(&source(0), 1, 53, progress(200), changes).unwrap());
    let page = view.list(Keyspace::ChurnRisk, &ListQuery { limit: 100, ..Default::default() }).unwrap().value;
    assert_eq!((page.records[0].key.id.as_str(), page.records.len()), ("c0", 49));
    assert!(!page_ids(&page).contains(&"c2".to_string()));
    let driver = &ChurnRiskSummary::of(&page.records[0]).drivers[0];
    assert_eq!((driver.feature.as_str(), driver.text.as_deref()), ("missed_90d", Some("3 missed")));
    assert_eq!(view.counts(None).unwrap().value.churn_risks, 49);
    assert_eq!(ids(view, 1.1, 10, None).0, Vec::<f64>::new());
}
