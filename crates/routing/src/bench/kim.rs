//! Waste collection as B.-I. Kim, S. Kim and S. Sahoo give it (*Waste collection vehicle routing problem with time
//! windows*, Computers & Operations Research 33, 2006): disposal trips, an hour for lunch that begins between 11:00 and
//! 12:00, caps of a day, trucks that end empty; Manhattan miles at 40 mph.
//!
//! Traps of the files: `102_stop` has 99 stops, a depot and two disposal sites; columns are separated by spaces, tabs or
//! both; `600` means `0600`; titles of columns stand on one line or are quoted over several words.

use std::sync::Arc;

use super::{ONLY, ReadError, depot, facility, job, refuse, vehicle};
use crate::plan::problem::{BreakRule, DayCap, Load, LoadBasis, Problem, Window};
use crate::plan::travel::{Metric, Plane};

/// Litres of a cubic yard.
const LITRES_PER_YARD: f64 = 764.554_857_984;
const METRES_PER_FOOT: f64 = 0.3048;
/// Metres of a mile.
pub const METRES_PER_MILE: f64 = 1609.344;
const HOUR_MS: i64 = 3_600_000;

/// Published miles of the adaptive large neighbourhood search of Buhrkal, Larsen and Ropke (*The waste collection vehicle
/// routing problem with time windows in a city logistics context*, 2012), as the data's description quotes them: not
/// verified by us, since the routes are not published.
pub const PUBLISHED_MILES: [(&str, f64); 5] = [("102", 174.5), ("277", 447.6), ("335", 182.1), ("444", 78.3), ("804", 604.1)];

/// Reads an instance; as many trucks as `vehicles`. A cost of 1 is a mile.
///
/// # Errors
/// [`ReadError`] with the line that is not as expected.
pub fn read(text: &str, vehicles: usize) -> Result<Problem, ReadError> {
    let mut heads = Vec::new();
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.contains("//") {
            heads.push(figure(number + 1, words.first().copied())?);
        } else if words.first().is_some_and(|word| word.parse::<u32>().is_ok()) {
            if words.len() < 8 {
                return refuse(number + 1, format!("{} columns", words.len()), "id, x, y, early, late, service, load, type");
            }
            let figures: Result<Vec<f64>, ReadError> = words[..8].iter().map(|word| figure(number + 1, Some(*word))).collect();
            rows.push((number + 1, figures?));
        }
    }
    let [capacity, day_load, day_stops, lunch_s, mph] = heads[..] else {
        return refuse(0, format!("{} heads", heads.len()), "capacity, load a day, stops a day, lunch, speed, each with a // comment");
    };
    let points = rows.iter().map(|(_, row)| (row[1] * METRES_PER_FOOT, row[2] * METRES_PER_FOOT)).collect();
    let (mut depots, mut facilities, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    let mut shift = None;
    for (location, (line, row)) in rows.iter().enumerate() {
        let window = Window { from_ms: clock_ms(row[3]), to_ms: clock_ms(row[4]) };
        let (at, service_ms) = (location as u32, (row[5] * 1000.0) as i64);
        match row[7] as i64 {
            0 => {
                depots.push(depot(at));
                shift = Some(window);
            }
            1 => jobs.push(job(format!("stop-{}", row[0] as i64), at, row[6] * LITRES_PER_YARD, service_ms, window)),
            2 => facilities.push(facility(format!("disposal-{}", row[0] as i64), at, service_ms, window)),
            other => return refuse(*line, format!("type {other}"), "0 for a depot, 1 for a stop, 2 for a disposal site"),
        }
    }
    let Some(shift) = shift.filter(|_| depots.len() == 1 && !facilities.is_empty()) else {
        return refuse(0, format!("{} depots, {} disposal sites", depots.len(), facilities.len()), "one depot and at least one disposal site");
    };
    let truck = |number| {
        let mut truck = vehicle(number, capacity * LITRES_PER_YARD, shift, 1000.0 / METRES_PER_MILE);
        truck.day_cap = DayCap { load: Load { kg: f64::MAX, l: day_load * LITRES_PER_YARD }, sites: day_stops as u32 };
        truck.break_rule = Some(BreakRule { earliest_ms: 11 * HOUR_MS, latest_ms: 12 * HOUR_MS, duration_ms: (lunch_s * 1000.0) as i64 });
        truck
    };
    Ok(Problem {
        planning_area_id: ONLY.to_owned(),
        travel: Arc::new(Plane::new(points, Metric::Manhattan, mph * METRES_PER_MILE / 3600.0)),
        streams: vec!["refuse".to_owned()],
        depots,
        facilities,
        vehicles: (1..=vehicles).map(truck).collect(),
        jobs,
        locks: Vec::new(),
        load_basis: LoadBasis::P50,
        change_cost: 0.0,
    })
}

fn figure(line: usize, word: Option<&str>) -> Result<f64, ReadError> {
    let word = word.unwrap_or("");
    word.parse().or_else(|_| refuse(line, format!("`{word}`"), "a number"))
}

/// `HHMM`, with or without leading zeros.
fn clock_ms(hhmm: f64) -> i64 {
    let hhmm = hhmm as i64;
    (hhmm / 100) * HOUR_MS + (hhmm % 100) * 60_000
}
