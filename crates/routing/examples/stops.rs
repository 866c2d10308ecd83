//! What positions tell without a map: `cargo run -p ws-routing --example stops FILE` reads Jersey City's refuse trucks
//! (`latitude|longitude|truck|address|time`, no header) and prints their stops and moves.

use std::collections::BTreeMap;
use ws_routing::matching::{Fix, StopOptions, StopState};
use ws_routing::roads::Place;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name the file of positions")?;
    let text = std::fs::read_to_string(&path)?;
    let mut trucks: BTreeMap<&str, Vec<Fix>> = BTreeMap::new();
    let (mut rows, mut unusable) = (0, 0);
    for line in text.lines() {
        rows += 1;
        match row(line) {
            Some((truck, fix)) => trucks.entry(truck).or_default().push(fix),
            None => unusable += 1,
        }
    }
    println!("{path}: {rows} rows, {unusable} unusable, {} trucks", trucks.len());
    for (least_s, radius_m) in [(60, 30.0), (120, 30.0), (300, 50.0)] {
        let options = StopOptions { least_ms: least_s * 1_000, radius_m, ..StopOptions::default() };
        let (mut stops, mut moves, mut dropped) = (Vec::new(), Vec::new(), 0);
        let mut covered_ms = 0;
        for fixes in trucks.values_mut() {
            // The file is not in order of time.
            fixes.sort_by_key(|fix| fix.observed_ms);
            covered_ms += fixes.last().map_or(0, |last| last.observed_ms - fixes[0].observed_ms);
            let mut state = StopState::default();
            for fix in fixes.iter() {
                let stayed = state.observe(&options, fix);
                stops.extend(stayed.stop);
                moves.extend(stayed.moved);
                dropped += usize::from(stayed.dropped);
            }
            stops.extend(state.finish(&options));
        }
        let stood_ms: i64 = stops.iter().map(|stop| stop.until_ms - stop.from_ms).sum();
        let moved_ms: i64 = moves.iter().map(|one| one.until_ms - one.from_ms).sum();
        let moved_km: f64 = moves.iter().map(|one| one.crow_m).sum::<f64>() / 1e3;
        println!(
            "\nstops of {least_s} s and more within {radius_m} m: {} ({:.1} a truck), {dropped} rows dropped",
            stops.len(),
            per(stops.len(), trucks.len())
        );
        println!("  {:.1} h standing, {:.1} h moving, of {:.1} h from first to last row", hours(stood_ms), hours(moved_ms), hours(covered_ms));
        let lengths: Vec<f64> = stops.iter().map(|stop| (stop.until_ms - stop.from_ms) as f64 / 60_000.0).collect();
        println!("  minutes of a stop:                p10 {:.1}, median {:.1}, p90 {:.1}", at(&lengths, 0.1), at(&lengths, 0.5), at(&lengths, 0.9));
        let gaps: Vec<f64> = moves.iter().map(|one| (one.until_ms - one.from_ms) as f64 / 1e3).collect();
        println!("  seconds between moving positions: p10 {:.0}, median {:.0}, p90 {:.0}", at(&gaps, 0.1), at(&gaps, 0.5), at(&gaps, 0.9));
        let speeds: Vec<f64> = moves.iter().map(|one| one.mps()).collect();
        println!("  m/s as the crow flies (at least): p10 {:.1}, median {:.1}, p90 {:.1}", at(&speeds, 0.1), at(&speeds, 0.5), at(&speeds, 0.9));
        println!("  {} moves, {moved_km:.0} km at least; {} faster than 33 m/s", moves.len(), speeds.iter().filter(|mps| **mps > 33.0).count());
    }
    println!("\nNo road map of that city is at hand: nothing is matched, and a speed is not that of a road.");
    Ok(())
}

fn row(line: &str) -> Option<(&str, Fix)> {
    let fields: Vec<&str> = line.split('|').collect();
    let [latitude, longitude, truck, _, time] = fields[..] else { return None };
    let place = Place::new(latitude.parse().ok()?, longitude.parse().ok()?);
    // Local time is good enough for lengths of time: the day has no change of the clock.
    let at_ms = chrono::NaiveDateTime::parse_from_str(time.trim(), "%Y-%m-%dT%H:%M:%S").ok()?.and_utc().timestamp_millis();
    let fix = Fix { observed_ms: at_ms, sent_ms: at_ms, received_ms: at_ms, place, speed_mps: None, heading_deg: None, accuracy_m: None, odometer_m: None };
    place.is_valid().then_some((truck, fix))
}

fn per(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64
}

fn hours(ms: i64) -> f64 {
    ms as f64 / 3.6e6
}

fn at(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((share * sorted.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(f64::NAN)
}
