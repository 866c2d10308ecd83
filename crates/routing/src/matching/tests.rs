//! Drives on a grid of streets, measured with noise, and everything that telematics do to them.

use super::*;
use crate::roads::testing::grid_city;
use crate::roads::{Edge, FreeFlow, Plane, Point, RoadGraph, Route, Search};
use std::sync::Arc;

const START_MS: i64 = 1_772_409_600_000;

/// A drive with what really happened.
struct Trip {
    route: Route,
    fixes: Vec<Fix>,
    end_ms: i64,
}

fn noise(step: usize, axis: u64) -> f64 {
    let mut word = (step as u64 * 2 + axis).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((word >> 40) as f64 / (1u64 << 24) as f64 - 0.5) * 2.0
}

/// From one point to another at a share of free flow, with a position every so often.
fn trip(graph: &RoadGraph, from: (f64, f64), to: (f64, f64), share: f64, every_s: f64, start_ms: i64, odometer_m: f64) -> Trip {
    let snap = |(x_m, y_m)| graph.nearest(Point { x_m, y_m }, 1_000.0).unwrap();
    let route = Search::default().route(graph, &FreeFlow, snap(from), snap(to)).unwrap();
    let mut fixes = Vec::new();
    let (mut passed_s, mut passed_m) = (0.0, 0.0);
    let mut next_s = 0.0;
    for (edge, from_m, to_m) in route.parts(graph) {
        let mps = graph.free_flow_mps(edge.segment()) * share;
        let lasts_s = (to_m - from_m) / mps;
        while next_s < passed_s + lasts_s {
            let along_m = from_m + (next_s - passed_s) * mps;
            let from_first_m = if edge.0 % 2 == 0 { along_m } else { graph.length_m(edge.segment()) - along_m };
            let (point, course_deg) = graph.at(edge.segment(), from_first_m, edge.direction());
            let step = fixes.len();
            let off = Point { x_m: point.x_m + 7.0 * noise(step, 0), y_m: point.y_m + 7.0 * noise(step, 1) };
            let at_ms = start_ms + (next_s * 1e3) as i64;
            fixes.push(Fix {
                observed_ms: at_ms,
                sent_ms: at_ms + 100,
                received_ms: at_ms + 900,
                place: graph.place(off),
                speed_mps: Some(mps),
                heading_deg: Some((course_deg + 10.0 * noise(step, 5)).rem_euclid(360.0)),
                accuracy_m: Some(8.0),
                odometer_m: Some(odometer_m + passed_m + along_m - from_m),
            });
            next_s += every_s;
        }
        passed_s += lasts_s;
        passed_m += to_m - from_m;
    }
    Trip { route, fixes, end_ms: start_ms + (passed_s * 1e3) as i64 }
}

fn city() -> Arc<RoadGraph> {
    Arc::new(grid_city(16, 16, 140.0))
}

fn matched(graph: &Arc<RoadGraph>, fixes: &[Fix]) -> (Vec<Traversal>, Vec<Verdict>) {
    let mut matcher = Matcher::new(graph.clone(), Options::default());
    let mut state = VehicleState::default();
    let (mut traversals, mut verdicts) = (Vec::new(), Vec::new());
    for fix in fixes {
        let observed = matcher.observe(&mut state, fix);
        traversals.extend(observed.traversals);
        verdicts.push(observed.verdict);
    }
    traversals.extend(matcher.finish(&mut state));
    (traversals, verdicts)
}

fn edges(traversals: &[Traversal]) -> Vec<Edge> {
    traversals.iter().map(|traversal| traversal.edge).collect()
}

/// Share of the route's edges, but for the first and last, that were found in order.
fn found_share(route: &Route, traversals: &[Traversal]) -> f64 {
    let mut found = edges(traversals).into_iter();
    let inner = &route.edges[1..route.edges.len() - 1];
    let hits = inner.iter().filter(|edge| found.clone().any(|other| other == **edge) && found.any(|other| other == **edge)).count();
    hits as f64 / inner.len() as f64
}

#[test]
fn a_drive_is_matched_edge_by_edge_with_its_speeds() {
    let graph = city();
    for (every_s, to) in [(5.0, (900.0, 760.0)), (15.0, (900.0, -900.0)), (30.0, (100.0, 950.0)), (30.0, (-50.0, -900.0))] {
        let trip = trip(&graph, (-950.0, -620.0), to, 0.7, every_s, START_MS, 5e6);
        let (traversals, verdicts) = matched(&graph, &trip.fixes);
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Matched), "{verdicts:?}");
        assert!(found_share(&trip.route, &traversals) > 0.95, "{every_s} s: {}", found_share(&trip.route, &traversals));
        assert!(traversals.windows(2).all(|pair| pair[0].left_ms <= pair[1].entered_ms && graph.head(pair[0].edge) == graph.tail(pair[1].edge)));
        for traversal in traversals.iter().filter(|traversal| traversal.whole) {
            let share = traversal.mps().unwrap() / graph.free_flow_mps(traversal.edge.segment());
            assert!((share - 0.7).abs() < 0.2, "{share} {traversal:?}");
        }
        let driven_m: f64 = traversals.iter().map(|traversal| traversal.metres).sum();
        assert!((driven_m - trip.route.metres).abs() < every_s * 16.0 + 60.0, "{driven_m} of {}", trip.route.metres);
    }
}

#[test]
fn most_of_a_drive_is_told_before_it_ends() {
    let graph = city();
    let trip = trip(&graph, (-950.0, -620.0), (900.0, 760.0), 0.8, 15.0, START_MS, 5e6);
    let mut matcher = Matcher::new(graph.clone(), Options::default());
    let mut state = VehicleState::default();
    let told: usize = trip.fixes.iter().map(|fix| matcher.observe(&mut state, fix).traversals.len()).sum();
    assert!(told * 10 > trip.route.edges.len() * 6, "{told} of {}", trip.route.edges.len());
}

#[test]
fn state_may_be_stored_after_every_row() {
    let graph = city();
    let mut fixes = trip(&graph, (-950.0, -620.0), (900.0, 760.0), 0.8, 20.0, START_MS, 5e6).fixes;
    // An upload of held rows in the middle, so that every part of the state is in use.
    fixes[5..11].reverse();
    let (expected, _) = matched(&graph, &fixes);
    let mut matcher = Matcher::new(graph.clone(), Options::default());
    let (mut bytes, mut found, mut most) = (Vec::new(), Vec::new(), 0);
    for fix in &fixes {
        let mut state = VehicleState::from_bytes(&bytes).unwrap();
        found.extend(matcher.observe(&mut state, fix).traversals);
        bytes = state.to_bytes();
        most = most.max(bytes.len());
        assert_eq!(VehicleState::from_bytes(&bytes).unwrap(), state);
    }
    found.extend(matcher.finish(&mut VehicleState::from_bytes(&bytes).unwrap()));
    assert_eq!(found, expected);
    assert!(most < 8_000, "{most} bytes");
    for cut in 1..bytes.len() {
        assert_eq!(VehicleState::from_bytes(&bytes[..cut]), Err(StateError::Damaged));
    }
    assert_eq!(VehicleState::from_bytes(&[9, 9]), Err(StateError::Form { found: 9 }));
}

#[test]
fn newest_first_uploads_give_the_same_edges_as_rows_in_order() {
    let graph = city();
    let trip = trip(&graph, (-950.0, -900.0), (950.0, 900.0), 0.5, 20.0, START_MS, 5e6);
    let (plain, _) = matched(&graph, &trip.fixes);
    let mut fixes = trip.fixes.clone();
    let (from, to) = (6, fixes.len() - 4);
    fixes[from..to].reverse();
    // They are sent when the network is back, a moment before the next live one.
    let back_ms = fixes[to].received_ms - 15_000;
    for (index, fix) in fixes[from..to].iter_mut().enumerate() {
        fix.sent_ms = back_ms + index as i64 * 300;
        fix.received_ms = fix.sent_ms + 500;
    }
    fixes[to..].iter_mut().enumerate().for_each(|(index, fix)| fix.received_ms += 30_000 * (index as i64 + 1) / 30);
    let (mut turned, verdicts) = matched(&graph, &fixes);
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Gathered).count(), to - from - 1, "all but the newest");
    turned.sort_by_key(|traversal| traversal.entered_ms);
    let missing = edges(&plain).iter().filter(|edge| !edges(&turned).contains(edge)).count();
    assert!(missing <= 4, "{missing} of {} edges are lost at the seams", plain.len());
    assert!(edges(&turned).iter().all(|edge| edges(&plain).contains(edge)), "nothing is invented");
}

#[test]
fn duplicates_and_stragglers_are_dropped() {
    let graph = city();
    let trip = trip(&graph, (-950.0, -620.0), (900.0, 760.0), 0.8, 20.0, START_MS, 5e6);
    let mut fixes = trip.fixes.clone();
    fixes.insert(9, fixes[5]);
    fixes.insert(15, fixes[14]);
    let (traversals, verdicts) = matched(&graph, &fixes);
    assert_eq!((verdicts[9], verdicts[15]), (Verdict::Duplicate, Verdict::Duplicate));
    assert_eq!(traversals, matched(&graph, &trip.fixes).0);
}

#[test]
fn a_gap_breaks_the_chain_and_nothing_is_told_of_it() {
    let graph = city();
    let trip = trip(&graph, (-950.0, -620.0), (900.0, 760.0), 0.3, 20.0, START_MS, 5e6);
    let mut fixes = trip.fixes.clone();
    let middle = fixes.len() / 2;
    fixes.drain(middle - 9..middle + 9);
    let (from_ms, to_ms) = (fixes[middle - 10].observed_ms, fixes[middle - 9].observed_ms);
    let (traversals, _) = matched(&graph, &fixes);
    assert!(traversals.iter().all(|traversal| traversal.left_ms <= from_ms || traversal.entered_ms >= to_ms));
    assert!(traversals.iter().any(|traversal| traversal.left_ms <= from_ms) && traversals.iter().any(|traversal| traversal.entered_ms >= to_ms));
}

#[test]
fn standing_at_a_stop_is_no_traffic() {
    let graph = city();
    let first = trip(&graph, (-950.0, -620.0), (0.0, 80.0), 0.8, 15.0, START_MS, 5e6);
    let mut fixes = first.fixes.clone();
    let stop = *fixes.last().unwrap();
    for minute in 1..=6 {
        let at_ms = first.end_ms + minute * 60_000;
        let place = graph.place(Point { x_m: 4.0 * noise(minute as usize, 7), ..graph.plane().point(stop.place) });
        let place = crate::roads::Place { longitude_deg: stop.place.longitude_deg, ..place };
        fixes.push(Fix {
            observed_ms: at_ms,
            sent_ms: at_ms,
            received_ms: at_ms + 500,
            place,
            speed_mps: Some(0.1),
            heading_deg: None,
            odometer_m: stop.odometer_m,
            ..stop
        });
    }
    let start = graph.plane().point(stop.place);
    let second = trip(&graph, (start.x_m, start.y_m), (-900.0, 900.0), 0.8, 15.0, first.end_ms + 400_000, stop.odometer_m.unwrap());
    fixes.extend(second.fixes.iter().skip(1));
    let (traversals, verdicts) = matched(&graph, &fixes);
    assert!(verdicts.iter().filter(|verdict| **verdict == Verdict::Standing).count() >= 5, "{verdicts:?}");
    for traversal in &traversals {
        if let Some(mps) = traversal.mps() {
            let share = mps / graph.free_flow_mps(traversal.edge.segment());
            assert!((0.5..1.2).contains(&share), "{share} {traversal:?}");
        }
    }
    let still = |traversal: &&Traversal| traversal.mps().is_none();
    assert!((1..=12).contains(&traversals.iter().filter(still).count()), "what touches the stop tells no speed");
    assert!(found_share(&second.route, &traversals) > 0.8);
}

#[test]
fn a_jump_is_dropped_and_a_ferry_is_followed() {
    let graph = city();
    let trip1 = trip(&graph, (-950.0, -620.0), (900.0, 760.0), 0.8, 20.0, START_MS, 5e6);
    let mut fixes = trip1.fixes.clone();
    let far = graph.place(Point { x_m: -900.0, y_m: 900.0 });
    fixes[9].place = far;
    let (traversals, verdicts) = matched(&graph, &fixes);
    assert_eq!(verdicts[9], Verdict::SetAside);
    assert_eq!(verdicts[10], Verdict::Matched);
    assert!(found_share(&trip1.route, &traversals) > 0.9);
    // Taken away on a trailer, it goes on elsewhere.
    let elsewhere = trip(&graph, (-900.0, 900.0), (0.0, 950.0), 0.8, 20.0, trip1.fixes[9].observed_ms, 5e6);
    let moved: Vec<Fix> = trip1.fixes[..9].iter().chain(&elsewhere.fixes).copied().collect();
    let (traversals, verdicts) = matched(&graph, &moved);
    assert_eq!(verdicts[9..12], [Verdict::SetAside, Verdict::Matched, Verdict::Matched]);
    assert!(found_share(&elsewhere.route, &traversals) > 0.9);
    assert!(traversals.iter().all(|traversal| traversal.mps().is_none_or(|mps| mps < 20.0)), "nobody flew");
}

#[test]
fn clocks_that_lie_and_rows_that_are_nothing_are_dropped() {
    let graph = city();
    let trip = trip(&graph, (-950.0, -620.0), (900.0, 760.0), 0.8, 20.0, START_MS, 5e6);
    let mut matcher = Matcher::new(graph.clone(), Options::default());
    let mut state = VehicleState::default();
    let hour_ms = 3_600_000;
    let good = trip.fixes[0];
    let mut verdict = |fix: Fix| matcher.observe(&mut state, &fix).verdict;
    assert_eq!(verdict(Fix { observed_ms: good.observed_ms - hour_ms, sent_ms: good.sent_ms - hour_ms, ..good }), Verdict::WrongClock);
    assert_eq!(verdict(Fix { observed_ms: good.observed_ms + hour_ms, ..good }), Verdict::WrongClock, "measured after it was received");
    assert_eq!(verdict(good), Verdict::Matched, "and it moved nothing");
    assert_eq!(verdict(Fix { observed_ms: good.observed_ms - 7 * hour_ms, ..good }), Verdict::TooOld);
    assert_eq!(verdict(Fix { place: crate::roads::Place::new(f64::NAN, 0.0), ..good }), Verdict::Invalid);
    let sea = Plane::around(good.place).place(Point { x_m: 0.0, y_m: -40_000.0 });
    assert_eq!(verdict(Fix { observed_ms: good.observed_ms + 20_000, place: sea, speed_mps: Some(9.0), ..good }), Verdict::OffRoad);
}

#[test]
fn state_of_another_network_is_not_used() {
    let graph = city();
    let trip = trip(&graph, (-950.0, -620.0), (900.0, 760.0), 0.8, 20.0, START_MS, 5e6);
    let mut state = VehicleState::default();
    let mut matcher = Matcher::new(Arc::new(grid_city(16, 16, 141.0)), Options::default());
    trip.fixes[..10].iter().for_each(|fix| {
        matcher.observe(&mut state, fix);
    });
    let mut other = Matcher::new(graph.clone(), Options::default());
    let (mut fresh, mut found) = (VehicleState::default(), (Vec::new(), Vec::new()));
    for fix in &trip.fixes[10..] {
        found.0.extend(other.observe(&mut state, fix).traversals);
        found.1.extend(other.observe(&mut fresh, fix).traversals);
    }
    assert_eq!(found.0, found.1);
    assert!(!found.0.is_empty());
}

#[test]
fn without_odometer_course_or_speed_most_of_it_is_still_right() {
    let graph = city();
    let trip = trip(&graph, (-950.0, -620.0), (900.0, -100.0), 0.7, 20.0, START_MS, 5e6);
    let bare: Vec<Fix> = trip.fixes.iter().map(|fix| Fix { speed_mps: None, heading_deg: None, accuracy_m: None, odometer_m: None, ..*fix }).collect();
    let (traversals, _) = matched(&graph, &bare);
    assert!(found_share(&trip.route, &traversals) > 0.8, "{}", found_share(&trip.route, &traversals));
}

/// A network of OpenStreetMap, which has bends, roundabouts, bridges and short pieces that no grid has.
/// `scripts/roads-sample FOLDER` makes one.
#[test]
fn drives_on_a_real_network_are_found() {
    let Ok(path) = std::env::var("WS_ROADS_FILE") else {
        eprintln!("SKIPPED: no road network is at hand; make one with scripts/roads-sample and set WS_ROADS_FILE to it");
        return;
    };
    let text = std::fs::read(path).unwrap();
    let graph = Arc::new(crate::roads::read(text.as_slice(), Default::default()).unwrap().graph);
    assert!(graph.main_share() > 0.7, "{}", graph.main_share());
    let main: Vec<_> = graph.all().filter(|segment| graph.in_main(*segment)).collect();
    let at = |index: usize| {
        let point = graph.at(main[index % main.len()], 10.0, crate::roads::Direction::Forward).0;
        (point.x_m, point.y_m)
    };
    let (mut right_m, mut found_m) = (0.0, 0.0);
    for index in 0..60 {
        let trip = trip(&graph, at(index * 97), at(index * 61 + 300), 0.7, 20.0, START_MS, 5e6);
        for traversal in matched(&graph, &trip.fixes).0 {
            found_m += traversal.metres;
            right_m += if trip.route.edges.contains(&traversal.edge) { traversal.metres } else { 0.0 };
        }
    }
    assert!(found_m > 20_000.0 && right_m > 0.95 * found_m, "{right_m} of {found_m}");
}
