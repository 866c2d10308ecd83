//! Several trips from one depot with time windows and release times (W. Yang, 2023), in the form of PyVRP's instances: a
//! trip may not begin before everything it carries is released. Distances and times are ten times the Euclidean ones,
//! cut to whole units, as the best-known costs have them.

use std::sync::Arc;

use super::{ONLY, ReadError, depot, facility, job, refuse, vehicle};
use crate::plan::problem::{LoadBasis, Problem, Window};
use crate::plan::travel::Table;

/// Reads an instance; a cost of 1 is one unit of the best-known cost, a tenth of a unit of the coordinates.
///
/// # Errors
/// [`ReadError`] with the line that is not as expected.
pub fn read(text: &str) -> Result<Problem, ReadError> {
    let mut section = "";
    let (mut vehicles, mut capacity, mut service) = (0.0, 0.0, 0.0);
    let (mut points, mut demands, mut windows, mut releases) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some((key, value)) = line.split_once(':') {
            let target = match key.trim() {
                "VEHICLES" => &mut vehicles,
                "CAPACITY" => &mut capacity,
                "SERVICE_TIME" => &mut service,
                _ => continue,
            };
            *target = value.trim().parse().or_else(|_| refuse(number + 1, value, "a number"))?;
        } else if line.ends_with("_SECTION") {
            section = line;
        } else if line != "EOF" && !line.is_empty() {
            let figures: Option<Vec<f64>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
            match (section, figures.as_deref()) {
                ("NODE_COORD_SECTION", Some([_, x, y])) => points.push((*x, *y)),
                ("DEMAND_SECTION", Some([_, demand])) => demands.push(*demand),
                ("TIME_WINDOW_SECTION", Some([_, from, to])) => windows.push((*from, *to)),
                ("RELEASE_TIME_SECTION", Some([_, release])) => releases.push(*release),
                ("VEHICLES_RELOAD_DEPOT_SECTION" | "DEPOT_SECTION", Some(_)) => {}
                _ => return refuse(number + 1, line, "a row of one of the known sections"),
            }
        }
    }
    let size = points.len();
    if size < 2 || [demands.len(), windows.len(), releases.len()] != [size; 3] {
        return refuse(0, format!("{size} points, {} demands, {} windows", demands.len(), windows.len()), "one of each for every node");
    }
    let units = |a: (f64, f64), b: (f64, f64)| (10.0 * (a.0 - b.0).hypot(a.1 - b.1)).trunc();
    let distances: Vec<f64> = points.iter().flat_map(|a| points.iter().map(move |b| units(*a, *b))).collect();
    let durations = distances.iter().map(|units| *units as i64).collect();
    let Some(travel) = Table::new(size, distances, durations) else { return refuse(0, "no table", "one row for each node") };
    let ms = |units: f64| (units * 10.0) as i64;
    let shift = Window { from_ms: ms(windows[0].0), to_ms: ms(windows[0].1) };
    let jobs = (1..size).map(|node| {
        let window = Window { from_ms: ms(windows[node].0), to_ms: ms(windows[node].1) };
        let mut job = job(format!("customer-{node}"), node as u32, demands[node], ms(service), window);
        job.trip_not_before_ms = ms(releases[node]);
        job
    });
    Ok(Problem {
        planning_area_id: ONLY.to_owned(),
        travel: Arc::new(travel),
        streams: vec!["goods".to_owned()],
        depots: vec![depot(0)],
        facilities: vec![facility("depot".to_owned(), 0, 0, shift)],
        vehicles: (1..=vehicles as usize).map(|number| vehicle(number, capacity, shift, 1000.0)).collect(),
        jobs: jobs.collect(),
        locks: Vec::new(),
        load_basis: LoadBasis::P50,
        change_cost: 0.0,
    })
}
