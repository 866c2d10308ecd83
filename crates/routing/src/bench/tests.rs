//! Readers against the files themselves, and short searches on them; skipped, saying so, where the data are absent.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{data_folder, kim, mtvrptwr, solomon};
use crate::plan::{Budget, RuinRecreate, Solver, check};

const HOUR_MS: i64 = 3_600_000;

fn file(path: &str) -> Option<String> {
    let found = data_folder().and_then(|folder| std::fs::read_to_string(folder.join(path)).ok());
    if found.is_none() {
        eprintln!("SKIPPED: {path} is absent; set WS_SHARED_DATA to the folder that holds vrp/");
    }
    found
}

#[test]
fn kims_files_are_read_with_their_traps() {
    for (name, stops, facilities, yards) in
        [("102", 99, 2, 897.0), ("277", 275, 1, 2132.5), ("335", 330, 4, 2011.0), ("444", 442, 1, 3991.3), ("804", 784, 19, 4620.0)]
    {
        let Some(text) = file(&format!("kim2006/{name}_stop.txt")) else { return };
        let problem = kim::read(&text, 3).unwrap();
        assert_eq!((problem.jobs.len(), problem.facilities.len(), problem.vehicles.len()), (stops, facilities, 3), "{name}");
        let litres: f64 = problem.jobs.iter().map(|job| job.demands[0].p50.l).sum();
        assert!((litres / 764.554_857_984 - yards).abs() < 1e-6, "{name}: {litres} l");
    }
    let Some(text) = file("kim2006/335_stop.txt") else { return };
    let problem = kim::read(&text, 1).unwrap();
    assert_eq!(problem.vehicles[0].shift.from_ms, 6 * HOUR_MS, "`600` is six o'clock");
    let Some(text) = file("kim2006/804_stop.txt") else { return };
    let problem = kim::read(&text, 1).unwrap();
    let seventh = problem.facilities.iter().find(|facility| facility.facility_id == "disposal-7").unwrap();
    assert_eq!(seventh.windows[0].to_ms, 15 * HOUR_MS + 50 * 60_000, "`1550` is ten to four");
}

#[test]
fn other_formats_are_read() {
    if let Some(text) = file("solomon/R101.txt") {
        let problem = solomon::read(&text).unwrap();
        assert_eq!((problem.jobs.len(), problem.vehicles.len(), problem.jobs[0].windows[0].from_ms), (100, 25, 161_000));
    }
    if let Some(text) = file("mtvrptwr/RC204R0.25.vrp") {
        let problem = mtvrptwr::read(&text).unwrap();
        assert_eq!((problem.jobs.len(), problem.vehicles.len(), problem.jobs[0].trip_not_before_ms), (100, 8, 4310));
    }
    assert!(solomon::read("VEHICLE\n 25 200\n 1 2 3\n").unwrap_err().to_string().contains("line 3"));
    assert!(kim::read("no heads", 1).unwrap_err().to_string().contains("0 heads"));
    assert!(mtvrptwr::read("DEMAND_SECTION\nx y\n").unwrap_err().to_string().contains("line 2"));
}

#[test]
fn short_searches_are_accepted_on_every_kind() {
    let problems = [
        file("kim2006/102_stop.txt").map(|text| kim::read(&text, 10).unwrap()),
        file("kim2006/335_stop.txt").map(|text| kim::read(&text, 10).unwrap()),
        file("solomon/C101.txt").map(|text| solomon::read(&text).unwrap()),
        file("mtvrptwr/C201R0.25.vrp").map(|text| mtvrptwr::read(&text).unwrap()),
    ];
    for problem in problems.into_iter().flatten() {
        let solved = RuinRecreate::default().solve(&problem, &Budget::iterations(500), 1, None).unwrap();
        let found = check(&problem, &solved.plan);
        assert!(found.is_empty(), "{found:?}");
        assert!(solved.plan.skipped.is_empty(), "{:?}", solved.plan.skipped.len());
    }
}
