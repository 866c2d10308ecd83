//! Whose a truck is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::duty::Duty;
use super::testing::{HOUR_MS, MIDNIGHT_MS, rows};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use ws_stream::custom::{Cell, CustomOp, KeyContext};

/// A truck's operator with its state.
struct Truck {
    duty: Duty,
    state: Vec<u8>,
    timer: Option<i64>,
}

impl Truck {
    fn new() -> Truck {
        Truck { duty: Duty::new(&BTreeMap::from([("silent_min".into(), "30".into())])).unwrap(), state: Vec::new(), timer: None }
    }

    /// Takes rows; answers `area kind what` for each row that comes out.
    fn take(&mut self, all: &[(i64, Value)]) -> Vec<String> {
        let batch = rows(all);
        let mut out = Vec::new();
        for i in 0..all.len() {
            let mut cx = KeyContext::new(b"v1", &mut self.state, i64::MIN, &mut self.timer, &mut out);
            self.duty.row(&mut cx, &batch, i).unwrap();
        }
        shown(&out)
    }

    fn until(&mut self, at_ms: i64) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(due_ms) = self.timer.filter(|t| *t <= at_ms) {
            self.timer = None;
            let mut cx = KeyContext::new(b"v1", &mut self.state, at_ms, &mut self.timer, &mut out);
            self.duty.timer(&mut cx, due_ms).unwrap();
        }
        shown(&out)
    }
}

fn shown(out: &[(i64, Vec<Cell>)]) -> Vec<String> {
    let names: Vec<String> = Duty::contract().outputs.fields().iter().map(|f| f.name().clone()).collect();
    let of = |row: &[Cell], name: &str| row[names.iter().position(|n| n == name).unwrap()].clone();
    let text = |c: Cell| match c {
        Cell::Text(t) => t,
        _ => "-".into(),
    };
    out.iter()
        .map(|(_, row)| {
            let flags = ["gone", "urgent", "quiet", "silent"].iter().filter(|f| of(row, f) == Cell::Bool(true)).map(|f| format!(" {f}")).collect::<String>();
            let what = if text(of(row, "kind")) == "vehicle" { text(of(row, "shift_id")) } else { format!("elsewhere:{}", text(of(row, "other_area"))) };
            format!("{} {what}{flags}", text(of(row, "planning_area_id")))
        })
        .collect()
}

fn vehicle() -> (i64, Value) {
    (
        MIDNIGHT_MS,
        json!({"kind": "vehicle", "entity_id": "v1", "in_service": true, "payload_kg": 4000.0, "volume_l": 9000.0, "depot_id": "d-south", "streams": "glass,", "tenant": "t"}),
    )
}

fn shift(id: &str, area: &str, from_h: i64, to_h: i64, depot: &str) -> (i64, Value) {
    (
        MIDNIGHT_MS + 1,
        json!({"kind": "shift", "entity_id": id, "area": area, "depot_id": depot, "shift_from": MIDNIGHT_MS + from_h * HOUR_MS, "shift_to": MIDNIGHT_MS + to_h * HOUR_MS, "cancelled": false}),
    )
}

#[test]
fn two_areas_that_want_one_truck_are_resolved_by_rule_and_the_loser_is_told() {
    let all = [shift("s-n", "north", 6, 14, "d-north"), shift("s-s", "south", 6, 14, "d-south")];
    // At the same time: it drives for the area at whose depot it is at home, whichever shift was heard of first.
    let mut one = Truck::new();
    assert_eq!(one.take(&[vehicle(), all[0].clone()]), ["north s-n"]);
    assert_eq!(
        one.take(&[all[1].clone()]),
        ["north - gone urgent", "south s-s urgent", "north elsewhere:south"],
        "taken from one before it is given to the other"
    );
    let mut two = Truck::new();
    assert_eq!(two.take(&[vehicle(), all[1].clone(), all[0].clone()]), ["south s-s", "south s-s", "north elsewhere:south"]);
    // The earlier shift wins, and one that a crew has begun wins over all.
    let mut three = Truck::new();
    assert_eq!(
        three.take(&[vehicle(), shift("s-s", "south", 7, 14, "d-south"), shift("s-n", "north", 6, 14, "d-north")]),
        ["south s-s", "south - gone urgent", "north s-n urgent", "south elsewhere:north"]
    );
    let begun = (MIDNIGHT_MS + 7 * HOUR_MS, json!({"kind": "crew", "entity_id": "s-s", "shift_id": "s-s", "status": "started"}));
    assert_eq!(three.take(&[begun]), ["north - gone urgent", "south s-s urgent", "south elsewhere:- gone", "north elsewhere:south"]);
    // Cancelled, it leaves the other alone.
    let cancelled = (
        MIDNIGHT_MS + 8 * HOUR_MS,
        json!({"kind": "shift", "entity_id": "s-n", "area": "north", "shift_from": MIDNIGHT_MS + 6 * HOUR_MS, "shift_to": MIDNIGHT_MS + 14 * HOUR_MS, "cancelled": true}),
    );
    assert_eq!(three.take(&[cancelled]), ["south s-s", "north elsewhere:- gone"]);
}

#[test]
fn a_truck_is_in_one_area_at_any_time_whatever_comes() {
    // All orders of five rows: after each row the areas that hold the truck are one at most.
    let pool = [
        vehicle(),
        shift("s-n", "north", 6, 14, "d-north"),
        shift("s-s", "south", 8, 16, "d-south"),
        (MIDNIGHT_MS + 6 * HOUR_MS, json!({"kind": "crew", "entity_id": "s-s", "shift_id": "s-s", "status": "started"})),
        (MIDNIGHT_MS + 9 * HOUR_MS, json!({"kind": "crew", "entity_id": "s-s", "shift_id": "s-s", "status": "ended"})),
    ];
    let mut orders: Vec<Vec<usize>> = vec![vec![]];
    for _ in 0..pool.len() {
        orders =
            orders.into_iter().flat_map(|o| (0..pool.len()).filter(|n| !o.contains(n)).map(|n| [o.clone(), vec![n]].concat()).collect::<Vec<_>>()).collect();
    }
    assert_eq!(orders.len(), 120);
    let mut ends = std::collections::BTreeSet::new();
    for order in orders {
        let (mut truck, mut holds) = (Truck::new(), std::collections::BTreeSet::new());
        for n in order {
            for said in truck.take(&[pool[n].clone()]).into_iter().filter(|s| !s.contains("elsewhere")) {
                let area = said.split(' ').next().unwrap().to_string();
                if said.contains("gone") {
                    holds.remove(&area);
                } else {
                    holds.insert(area);
                }
                assert!(holds.len() <= 1, "{holds:?}");
            }
        }
        ends.insert(holds);
    }
    assert_eq!(ends.len(), 1, "the order of rows does not matter in the end: {ends:?}");
}

#[test]
fn a_truck_that_falls_silent_on_duty_is_told_once_and_a_sign_of_life_takes_it_back() {
    let mut truck = Truck::new();
    let at = |minutes: i64| MIDNIGHT_MS + 6 * HOUR_MS + minutes * 60_000;
    let position = |minutes: i64| {
        (
            at(minutes),
            json!({"kind": "position", "entity_id": "v1", "latitude_deg": 48.1, "longitude_deg": 11.5, "odometer_m": 1000.0 + minutes as f64 * 100.0}),
        )
    };
    truck.take(&[vehicle(), shift("s-n", "north", 6, 14, "d-south")]);
    assert_eq!(truck.until(at(300)), Vec::<String>::new(), "nobody misses a truck whose shift was not begun");
    truck.take(&[(at(0), json!({"kind": "crew", "entity_id": "s-n", "shift_id": "s-n", "status": "started"}))]);
    assert_eq!(truck.take(&[position(1), position(2)]), ["north s-n quiet", "north s-n quiet"]);
    assert_eq!(truck.take(&[(at(2) + 1_000, position(2).1)]), Vec::<String>::new(), "not every position is passed on");
    assert_eq!(truck.until(at(20)), Vec::<String>::new());
    assert_eq!(truck.until(at(40)), ["north s-n urgent silent"]);
    assert_eq!(truck.until(at(200)), Vec::<String>::new());
    assert_eq!(truck.take(&[position(201)]), ["north s-n urgent"]);
    // At the end of its shift it is shown for a while, then nobody's.
    truck.take(&[(at(240), json!({"kind": "crew", "entity_id": "s-n", "shift_id": "s-n", "status": "ended"}))]);
    assert_eq!(truck.until(at(260)), Vec::<String>::new());
    assert_eq!(truck.until(at(600)), ["north - gone urgent"]);
}
