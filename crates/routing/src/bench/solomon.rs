//! M. M. Solomon's instances with time windows (Operations Research 35, 1987). One unit is a metre and a second, distances
//! are exact and times cut to milliseconds. Goods go out there; here they come in, and the depot unloads in no time.

use std::sync::Arc;

use super::{ONLY, ReadError, depot, facility, job, refuse, vehicle};
use crate::plan::problem::{LoadBasis, Problem, Window};
use crate::plan::travel::{Metric, Plane};

/// Reads an instance; a cost of 1 is one unit of distance.
///
/// # Errors
/// [`ReadError`] with the line that is not as expected.
pub fn read(text: &str) -> Result<Problem, ReadError> {
    let mut fleet = None;
    let mut rows: Vec<[f64; 7]> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let figures: Option<Vec<f64>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
        match figures.as_deref() {
            Some([vehicles, capacity]) => fleet = Some((*vehicles as usize, *capacity)),
            Some([id, x, y, demand, ready, due, service]) => rows.push([*id, *x, *y, *demand, *ready, *due, *service]),
            Some([]) | None => {}
            Some(other) => return refuse(number + 1, format!("{} figures", other.len()), "two for the fleet or seven for a customer"),
        }
    }
    let Some((vehicles, capacity)) = fleet else { return refuse(0, "no fleet", "number and capacity of vehicles") };
    let Some((first, customers)) = rows.split_first() else { return refuse(0, "no customers", "a depot and customers") };
    let ms = |units: f64| (units * 1000.0) as i64;
    let shift = Window { from_ms: ms(first[4]), to_ms: ms(first[5]) };
    let points = rows.iter().map(|row| (row[1], row[2])).collect();
    let customer = |(at, row): (usize, &[f64; 7])| {
        let window = Window { from_ms: ms(row[4]), to_ms: ms(row[5]) };
        job(format!("customer-{}", row[0] as i64), at as u32 + 1, row[3], ms(row[6]), window)
    };
    Ok(Problem {
        planning_area_id: ONLY.to_owned(),
        travel: Arc::new(Plane::new(points, Metric::Euclid, 1.0)),
        streams: vec!["goods".to_owned()],
        depots: vec![depot(0)],
        // It may be needed at the very end of the shift only, since a vehicle unloads once, where it ends.
        facilities: vec![facility("depot".to_owned(), 0, 0, shift)],
        vehicles: (1..=vehicles).map(|number| vehicle(number, capacity, shift, 1000.0)).collect(),
        jobs: customers.iter().enumerate().map(customer).collect(),
        locks: Vec::new(),
        load_basis: LoadBasis::P50,
        change_cost: 0.0,
    })
}
