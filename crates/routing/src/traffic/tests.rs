//! Rows and their privacy, habits against free flow, news, the byte form, and the book at the other end.

use super::*;
use crate::matching::Traversal;
use crate::roads::testing::grid_city;
use crate::roads::{Closure, Direction, Edge, Point, RoadClass, RoadGraph, Search};
use chrono_tz::Tz;
use std::sync::Arc;

/// Monday 2026-03-02, 00:00 UTC.
const MONDAY_MS: i64 = 1_772_409_600_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

fn traffic(min_vehicles: usize) -> (Arc<RoadGraph>, Traffic) {
    let graph = Arc::new(grid_city(9, 9, 150.0));
    let options = TrafficOptions { min_vehicles, ..TrafficOptions::default() };
    (graph.clone(), Traffic::new(graph, options))
}

fn passage(edge: Edge, vehicle: u64, left_ms: i64, mps: f64) -> Passage {
    Passage { edge, vehicle, left_ms, mps }
}

#[test]
fn a_window_becomes_a_row_when_enough_vehicles_drove_it() {
    let (graph, traffic) = traffic(3);
    let mut state = AreaState::default();
    let edge = graph.edges().next().unwrap();
    for (vehicle, minute, mps) in [(1, 1, 4.0), (2, 4, 5.0), (3, 9, 7.0), (3, 14, 6.0)] {
        assert!(traffic.observe(&mut state, &passage(edge, vehicle, MONDAY_MS + minute * MINUTE_MS, mps)).is_empty());
    }
    assert!(traffic.close(&mut state, MONDAY_MS + 15 * MINUTE_MS).is_empty(), "the grace is not over");
    let rows = traffic.close(&mut state, MONDAY_MS + 17 * MINUTE_MS);
    assert_eq!(rows.len(), 1);
    let row = rows[0];
    assert_eq!((row.edge, row.samples, row.vehicles), (edge, 4, 3));
    assert_eq!((row.from_ms, row.until_ms), (MONDAY_MS, MONDAY_MS + 15 * MINUTE_MS));
    assert!((row.mps - 5.5).abs() < 1e-6 && row.slow_mps.is_none());
    assert!(row.confidence > 0.4 && row.confidence < 0.7);
    assert!(traffic.close(&mut state, MONDAY_MS + HOUR_MS * 50).is_empty(), "told once");
}

#[test]
fn what_too_few_drove_waits_for_a_longer_window_and_one_vehicle_is_never_told() {
    let (graph, traffic) = traffic(2);
    let mut state = AreaState::default();
    let edges: Vec<Edge> = graph.edges().take(2).collect();
    let mut rows = Vec::new();
    for minute in [1_i64, 20, 21, 50] {
        // Two vehicles share the first edge's hour; the second has the same one again and again.
        rows.extend(traffic.observe(&mut state, &passage(edges[0], minute as u64 % 2, MONDAY_MS + minute * MINUTE_MS, 6.0)));
        rows.extend(traffic.observe(&mut state, &passage(edges[1], 7, MONDAY_MS + minute * MINUTE_MS, 6.0)));
    }
    rows.extend(traffic.close(&mut state, MONDAY_MS + 3 * HOUR_MS));
    // 20 and 21 share a quarter of an hour, 1 and 50 the hour.
    let windows: Vec<(i64, i64)> = rows.iter().map(|row| ((row.from_ms - MONDAY_MS) / MINUTE_MS, (row.until_ms - MONDAY_MS) / MINUTE_MS)).collect();
    assert_eq!(windows, [(15, 30), (0, 60)]);
    rows.extend(traffic.close(&mut state, MONDAY_MS + 100 * HOUR_MS));
    assert!(rows.iter().all(|row| row.edge == edges[0]), "{rows:?}");
    assert!(!traffic.may_be_told(&state, edges[1]) && traffic.may_be_told(&state, edges[0]));
}

#[test]
fn habits_are_learnt_by_hour_and_lent_to_neighbours() {
    let (graph, traffic) = traffic(1);
    let mut state = AreaState::default();
    let primary: Vec<Edge> = graph.edges().filter(|edge| graph.class(edge.segment()) == RoadClass::Primary).take(12).collect();
    let free_mps = graph.free_flow_mps(primary[0].segment());
    for day in 0..10 {
        for (index, edge) in primary[..10].iter().enumerate() {
            for (hour, share) in [(8, 0.5), (12, 0.9)] {
                let own = if index == 0 { 0.7 } else { 1.0 };
                traffic.observe(
                    &mut state,
                    &passage(*edge, index as u64, MONDAY_MS + (day * 24 + hour) * HOUR_MS + index as i64 * MINUTE_MS, free_mps * share * own),
                );
            }
        }
    }
    let share = |edge: Edge, day: i64, hour: i64| traffic.typical_mps(&state, edge, MONDAY_MS + (day * 24 + hour) * HOUR_MS) / free_mps;
    assert!((share(primary[3], 15, 8) - 0.5).abs() < 0.06, "{}", share(primary[3], 15, 8));
    assert!((share(primary[0], 15, 8) - 0.35).abs() < 0.07, "its own way: {}", share(primary[0], 15, 8));
    assert!((share(primary[11], 15, 8) - 0.5).abs() < 0.06, "never driven, believed by its class: {}", share(primary[11], 15, 8));
    assert!(share(primary[3], 15, 12) > 0.8);
    let other = graph.edges().find(|edge| graph.class(edge.segment()) == RoadClass::Residential).unwrap();
    assert_eq!(traffic.typical_mps(&state, other, MONDAY_MS), graph.free_flow_mps(other.segment()), "nothing known: free flow");
    assert!(traffic.samples(&state, primary[0], MONDAY_MS + 8 * HOUR_MS).0 > 15.0);
}

#[test]
fn hours_are_those_of_the_zone_across_a_change_of_the_clock() {
    let graph = Arc::new(grid_city(5, 5, 150.0));
    let traffic = Traffic::new(graph.clone(), TrafficOptions { zone: Tz::Australia__Melbourne, min_vehicles: 1, ..TrafficOptions::default() });
    let edge = graph.edges().next().unwrap();
    let free_mps = graph.free_flow_mps(edge.segment());
    let mut state = AreaState::default();
    // In March 8 h is 21 h UTC of the day before; from April on, 22 h UTC.
    for day in 0..20 {
        traffic.observe(&mut state, &passage(edge, 1, MONDAY_MS + day * 24 * HOUR_MS - 3 * HOUR_MS, free_mps * 0.4));
        traffic.observe(&mut state, &passage(edge, 1, MONDAY_MS + day * 24 * HOUR_MS - 2 * HOUR_MS, free_mps));
    }
    let wednesday_in_june_ms = MONDAY_MS + 100 * 24 * HOUR_MS;
    let at = |hour_utc: i64| traffic.typical_mps(&state, edge, wednesday_in_june_ms + hour_utc * HOUR_MS) / free_mps;
    assert!(at(22) < 0.65 && at(23) > 0.75, "{} {}", at(22), at(23));
}

#[test]
fn news_moves_the_edge_and_its_kind_and_fades() {
    let (graph, traffic) = traffic(1);
    let mut state = AreaState::default();
    let primary: Vec<Edge> = graph.edges().filter(|edge| graph.class(edge.segment()) == RoadClass::Primary).take(8).collect();
    let free_mps = graph.free_flow_mps(primary[0].segment());
    for day in 0..14 {
        for edge in &primary {
            traffic.observe(&mut state, &passage(*edge, 1, MONDAY_MS + (day * 24 + 10) * HOUR_MS, free_mps));
        }
    }
    let now_ms = MONDAY_MS + (14 * 24 + 10) * HOUR_MS;
    for (step, edge) in primary[..5].iter().enumerate() {
        traffic.observe(&mut state, &passage(*edge, 2, now_ms + step as i64 * MINUTE_MS, free_mps * 0.3));
    }
    let share = |edge: Edge, minutes: i64| traffic.expected_mps(&state, edge, now_ms + minutes * MINUTE_MS) / free_mps;
    assert!(share(primary[0], 10) < 0.6, "{}", share(primary[0], 10));
    assert!(share(primary[7], 10) < 0.8 && share(primary[7], 10) > share(primary[0], 10), "{}", share(primary[7], 10));
    assert!(share(primary[0], 60) > 0.8, "old news: {}", share(primary[0], 60));
}

#[test]
fn a_late_upload_teaches_habits_and_is_no_news() {
    let (graph, traffic) = traffic(1);
    let mut state = AreaState::default();
    let edge = graph.edges().next().unwrap();
    let free_mps = graph.free_flow_mps(edge.segment());
    traffic.observe(&mut state, &passage(edge, 1, MONDAY_MS + 10 * HOUR_MS, free_mps));
    let before = traffic.expected_mps(&state, edge, MONDAY_MS + 10 * HOUR_MS);
    let rows = traffic.observe(&mut state, &passage(edge, 2, MONDAY_MS + 7 * HOUR_MS, free_mps * 0.3));
    assert_eq!(rows.len(), 1, "its window is over");
    let news = traffic.expected_mps(&state, edge, MONDAY_MS + 10 * HOUR_MS) / traffic.typical_mps(&state, edge, MONDAY_MS + 10 * HOUR_MS);
    assert!((before / free_mps - 1.0).abs() < 0.01 && news > 0.95, "{news}");
    assert!(traffic.typical_mps(&state, edge, MONDAY_MS + 31 * HOUR_MS) < free_mps);
}

#[test]
fn a_partition_that_is_read_first_does_not_close_the_windows_of_the_others() {
    let (graph, traffic) = traffic(2);
    let mut state = AreaState::default();
    let edge = graph.edges().next().unwrap();
    // Catching up: the whole day of one vehicle, then that of another one.
    for vehicle in [1, 2] {
        for hour in 6..14 {
            assert!(traffic.learn(&mut state, &passage(edge, vehicle, MONDAY_MS + hour * HOUR_MS + MINUTE_MS, 6.0)).is_empty());
        }
    }
    let rows = traffic.close(&mut state, MONDAY_MS + 24 * HOUR_MS);
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| row.until_ms - row.from_ms == 15 * MINUTE_MS && row.vehicles == 2));
}

#[test]
fn what_is_held_has_a_bound_and_so_has_the_state() {
    let (graph, traffic) = traffic(3);
    let mut state = AreaState::default();
    let edges: Vec<Edge> = graph.edges().collect();
    for index in 0..30_000 {
        // A week of one vehicle on every street: nothing may be told of it, and no watermark comes.
        let at_ms = MONDAY_MS + index as i64 * 20_000;
        assert!(traffic.learn(&mut state, &passage(edges[index * 7 % edges.len()], 1, at_ms, 5.0)).is_empty());
    }
    let bytes = state.to_bytes().len();
    assert!(bytes < 262_144, "{bytes} bytes for {} edges", edges.len());
}

#[test]
fn which_traversals_tell_a_speed() {
    let (graph, traffic) = traffic(1);
    let edge = graph.edges().next().unwrap();
    let whole = Traversal { edge, entered_ms: 0, left_ms: 20_000, metres: 150.0, whole: true, moving: true };
    assert!((traffic.passage(1, &whole).unwrap().mps - 7.5).abs() < 1e-9);
    assert_eq!(traffic.passage(1, &Traversal { moving: false, ..whole }), None);
    assert_eq!(traffic.passage(1, &Traversal { metres: 20.0, whole: false, ..whole }), None, "too short a part");
    assert!(traffic.passage(1, &Traversal { metres: 90.0, whole: false, ..whole }).is_some());
    assert_eq!(traffic.passage(1, &Traversal { left_ms: 2_000, ..whole }), None, "nobody drives that fast");
}

#[test]
fn state_comes_back_from_its_bytes() {
    let (graph, traffic) = traffic(3);
    let mut state = AreaState::default();
    for (index, edge) in graph.edges().enumerate() {
        let at_ms = MONDAY_MS + index as i64 * 7 * MINUTE_MS;
        let mut again = AreaState::from_bytes(&state.to_bytes()).unwrap();
        let drive = passage(edge, index as u64 % 5, at_ms, 3.0 + index as f64 % 5.0);
        assert_eq!(traffic.observe(&mut again, &drive), traffic.observe(&mut state, &drive));
        assert_eq!(again, state);
    }
    let bytes = state.to_bytes();
    assert!(bytes.len() < 40_000, "{}", bytes.len());
    for cut in (1..bytes.len()).step_by(13) {
        assert_eq!(AreaState::from_bytes(&bytes[..cut]), Err(AreaStateError::Damaged));
    }
    assert_eq!(AreaState::from_bytes(&[7]), Err(AreaStateError::Form { found: 7 }));
}

#[test]
fn rows_of_a_jam_move_routes_to_other_roads_until_they_are_old() {
    let graph = Arc::new(grid_city(12, 12, 150.0));
    let mut book = SpeedBook::new(graph.clone(), 30 * MINUTE_MS);
    let snap = |x_m, y_m| graph.nearest(Point { x_m, y_m }, 500.0).unwrap();
    let main_roads = |book: &SpeedBook, at_ms: i64| {
        let route = Search::default().route(&graph, &book.speeds(at_ms, 0), snap(-800.0, -70.0), snap(800.0, -70.0)).unwrap();
        route.edges.iter().filter(|edge| graph.class(edge.segment()) == RoadClass::Primary).count()
    };
    let until_ms = MONDAY_MS + HOUR_MS;
    assert!(main_roads(&book, until_ms) >= 5);
    for edge in graph.edges().filter(|edge| graph.class(edge.segment()) == RoadClass::Primary) {
        let row = SpeedRow {
            edge,
            from_ms: until_ms - 15 * MINUTE_MS,
            until_ms,
            mps: 2.0,
            slow_mps: None,
            typical_mps: 16.0,
            free_flow_mps: 16.0,
            samples: 6,
            vehicles: 4,
            confidence: 0.8,
        };
        book.apply(&row, 0);
    }
    assert!(main_roads(&book, until_ms) <= 2, "{}", main_roads(&book, until_ms));
    assert!(main_roads(&book, until_ms + 31 * MINUTE_MS) >= 5);
    book.forget_before(until_ms + HOUR_MS);
    // A closure is the stronger word, and can be withdrawn.
    let closed = |direction| Closure { segment_ids: vec!["h-5-5".to_owned()], direction, from_ms: 0, until_ms: i64::MAX };
    let segment = graph.segment("h-5-5").unwrap();
    let passes = |book: &SpeedBook| book.speeds(until_ms, 0).closures.is_closed(segment.edge(Direction::Forward), until_ms);
    book.close("c-1", Some(closed(None)));
    assert!(passes(&book));
    book.close("c-1", Some(closed(Some(Direction::Backward))));
    assert!(!passes(&book));
    book.close("c-1", None);
    assert!(book.speeds(until_ms, 0).closures.is_empty());
}
