//! `wastestream evaluate stops --map MAP FILE`: positions of a file go through their mapping and the `stops` topology, as they
//! would in service; what is in them without a map is told: stops, drives, and how fast these were at least.

use super::measure::quantile;
use crate::edge::RegistryEdge;
use crate::ingest::report::Report;
use crate::ingest::target::appends;
use crate::ingest::{Summary, load_map, read, sorted};
use crate::{Failure, plans};
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ws_log::registry::Registry;
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;
use ws_stream::operator::Counts;

const POSITIONS: &str = "vehicle.position";
const ACTIVITIES: &str = "vehicle.activity";
/// Longest silence after which a vehicle's last stop and drive are told: they must be, at the end of a file.
const SILENCE_MS: i64 = 86_400_000;

/// Settings.
#[derive(Args)]
pub struct StopsArgs {
    /// The mapping: which columns become which fields of vehicle.position
    #[arg(long)]
    map: PathBuf,
    /// The file
    file: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Stops and drives of a file.
#[derive(Debug)]
pub struct StopsEvaluation {
    /// Name of the mapping.
    pub name: String,
    /// Of the file.
    pub ingest: Summary,
    /// Vehicles.
    pub vehicles: usize,
    /// Length of each stop, min.
    pub stops_min: Vec<f64>,
    /// Of each drive: seconds, metres as the crow flies, positions.
    pub drives: Vec<(f64, f64, i64)>,
    /// Of inputs and stages.
    pub counts: BTreeMap<String, Counts>,
}

/// The command.
pub fn run(args: &StopsArgs) -> Result<(), Failure> {
    let found = evaluate(&args.map, &args.file, &plans::registry(None)?, &mut std::io::stderr())?;
    match args.json {
        true => println!("{}", found.to_json()),
        false => println!("{found}"),
    }
    Ok(())
}

/// Reads `file` by the mapping and plays it through the topology, in order of event time. Bad rows go to `notes`.
///
/// # Errors
/// When mapping or file cannot be used, or the topology stops.
pub fn evaluate(map: &Path, file: &str, registry: &Arc<Registry>, notes: &mut dyn Write) -> Result<StopsEvaluation, Failure> {
    let map = load_map(map, registry)?;
    if &*map.output.topic != POSITIONS {
        return Err(format!("the mapping `{}` fills {}; stops are found in {POSITIONS}", map.name, map.output.topic).into());
    }
    let mut report = Report::new(file, 20, notes);
    let (_, mut rows) = sorted(&map, registry, read::open(file, None, &map)?, usize::MAX, &mut report, |_| Ok(false))?;
    rows.retain(|row| &*row.topic == POSITIONS);
    let last_ms = rows.last().map_or(0, |row| row.time_ms);
    if let Some(first) = rows.first() {
        report.summary.at(first.time_ms);
        report.summary.at(last_ms);
    }
    report.summary.sent.insert(POSITIONS.to_owned(), rows.len() as u64);
    report.summary.dry_run = true;
    let edge = RegistryEdge::new(registry.clone());
    let slices = plans::stops(&edge)?.into_slices();
    let mut replay = Replay::of_slices(&slices, Arc::new(edge), Models::default(), 0)?;
    let topic: Arc<str> = POSITIONS.into();
    for moment in rows.chunk_by(|a, b| a.time_ms == b.time_ms) {
        let at_ms = moment[0].time_ms;
        replay.set_now_ms(at_ms);
        for set in appends(moment, at_ms, |_| 0) {
            replay.feed(&topic, (0..set.rows.len()).map(|i| (set.row(i).0, set.row(i).1, at_ms)))?;
        }
    }
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for (stage, of) in replay.counts() {
        counts.entry(stage).or_default().add(&of);
    }
    // A row without a place, a day later, lets the watermark pass: what is open at the end of the file is told.
    if !rows.is_empty() {
        let later = nowhere(last_ms + SILENCE_MS);
        let value = registry.encode_json_value(POSITIONS, &later)?;
        replay.set_now_ms(last_ms + SILENCE_MS);
        replay.feed(&topic, [(Some(&b"nobody"[..]), Some(value.as_slice()), last_ms + SILENCE_MS)])?;
    }
    let vehicles: BTreeSet<&str> = rows.iter().map(|row| &*row.key).collect();
    let mut found = StopsEvaluation { name: map.name, ingest: report.summary, vehicles: vehicles.len(), stops_min: Vec::new(), drives: Vec::new(), counts };
    let records = replay.take(ACTIVITIES);
    for i in 0..records.rows.len() {
        found.take(&registry.decode_to_json(records.value(i).unwrap_or(&[]))?)?;
    }
    Ok(found)
}

/// A position that is none, at a time.
fn nowhere(at_ms: i64) -> Value {
    json!({
        "tenant": "none", "event_id": "end-of-file", "observed_at": at_ms, "sent_at": at_ms, "received_at": at_ms, "source": "evaluate", "schema_version": 1,
        "vehicle_id": "nobody", "latitude_deg": 0.0, "longitude_deg": 0.0,
    })
}

impl StopsEvaluation {
    fn take(&mut self, row: &Value) -> Result<(), Failure> {
        let number = |name: &str| row[name].as_f64().ok_or_else(|| format!("a row without {name}: {row}"));
        let seconds = (number("ended_at")? - number("started_at")?) / 1e3;
        match row["kind"].as_str() {
            Some("stop") => self.stops_min.push(seconds / 60.0),
            _ => self.drives.push((seconds, number("crow_m")?, row["positions"].as_i64().unwrap_or_default())),
        }
        Ok(())
    }

    /// Steps from position to position while driving.
    pub fn moves(&self) -> i64 {
        self.drives.iter().map(|(_, _, positions)| positions - 1).sum()
    }

    /// Quantiles (10 %, 50 %, 90 %) of stops in minutes and of drives in metres a second.
    fn quantiles(&self) -> ([f64; 3], [f64; 3]) {
        let mut stops = self.stops_min.clone();
        let mut drives: Vec<f64> = self.drives.iter().filter(|(seconds, ..)| *seconds > 0.0).map(|(seconds, metres, _)| metres / seconds).collect();
        ([0.1, 0.5, 0.9].map(|share| quantile(&mut stops, share)), [0.1, 0.5, 0.9].map(|share| quantile(&mut drives, share)))
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let (stops, drives) = self.quantiles();
        json!({
            "map": self.name,
            "rows": { "read": self.ingest.read_rows, "bad": self.ingest.bad, "late": self.late(), "dead": self.dead() },
            "vehicles": self.vehicles,
            "stops": { "n": self.stops_min.len(), "hours": self.stops_min.iter().sum::<f64>() / 60.0, "minutes_p10_p50_p90": stops },
            "drives": {
                "n": self.drives.len(), "moves": self.moves(), "hours": self.driven_h(), "km_at_least": self.driven_km(), "mps_at_least_p10_p50_p90": drives,
            },
        })
    }

    fn late(&self) -> u64 {
        self.counts.values().map(|c| c.late).sum()
    }

    fn dead(&self) -> u64 {
        self.counts.values().map(|c| c.dead).sum()
    }

    fn driven_h(&self) -> f64 {
        self.drives.iter().map(|(seconds, ..)| seconds).sum::<f64>() / 3_600.0
    }

    fn driven_km(&self) -> f64 {
        self.drives.iter().map(|(_, metres, _)| metres).sum::<f64>() / 1e3
    }
}

impl fmt::Display for StopsEvaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([s10, s50, s90], [d10, d50, d90]) = self.quantiles();
        writeln!(f, "{}: {}", self.name, self.ingest)?;
        writeln!(f, "{} vehicles; {} rows late, {} dead letters", self.vehicles, self.late(), self.dead())?;
        writeln!(
            f,
            "{} stops, {:.1} h; minutes of a stop: p10 {s10:.1}, median {s50:.1}, p90 {s90:.1}",
            self.stops_min.len(),
            self.stops_min.iter().sum::<f64>() / 60.0
        )?;
        writeln!(
            f,
            "{} drives of {} moves, {:.1} h, {:.0} km at least; m/s of a drive, at least: p10 {d10:.1}, median {d50:.1}, p90 {d90:.1}",
            self.drives.len(),
            self.moves(),
            self.driven_h(),
            self.driven_km()
        )?;
        write!(f, "distances are as the crow flies: without a map of the city nothing is matched, and no speed is that of a road")
    }
}
