//! `wastestream evaluate traffic`: a simulated city's positions, with the faults of real ones, go through the `traffic` topology
//! as in service; what comes out is compared with what the trucks really drove and how fast the streets really were.

use super::measure::{Errors, Share};
use crate::demo::encode;
use crate::edge::RegistryEdge;
use crate::{Failure, plans};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use ws_city::{City, CityConfig, FaultKind, FaultRates, Truth};
use ws_log::registry::Registry;
use ws_routing::roads::Direction;
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;
use ws_stream::operator::Counts;
use ws_stream::records::Records;

const POSITIONS: &str = "vehicle.position";
const SPEEDS: &str = "road.speed";
const TRAVERSALS: &str = "evaluation.traversal";
const DEAD: &str = "dlq.traffic";
const DAY_MS: i64 = 86_400_000;
/// Simulated time between two portions: the truth about an incident is kept for days, so rows are judged as they come.
const STEP_MS: i64 = 300_000;
/// Times that differ by no more are the same drive, ms.
const SAME_MS: i64 = 30_000;
/// Traversals and drives below this are not judged, m: a truck that just turned in.
const LEAST_M: f64 = 10.0;

/// Settings of the evaluation.
#[derive(Args)]
pub struct TrafficArgs {
    /// Days of the city
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(1..=400))]
    days: i64,
    /// Seed of the city
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bins of the city
    #[arg(long, default_value_t = 2_000)]
    bins: usize,
    /// Trucks of the city
    #[arg(long, default_value_t = 40)]
    trucks: usize,
    /// Seconds between the positions of a truck that drives
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(5..=300))]
    interval_s: i64,
    /// Vehicles at least behind a row
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=64))]
    min_vehicles: u64,
    /// How often things go wrong
    #[arg(long, value_enum, default_value_t = Faults::Usual)]
    faults: Faults,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// How often things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Faults {
    /// Never
    None,
    /// As in the demo
    Usual,
    /// Half of the trucks lose the network on a day, a tenth has a wrong clock, a hundredth of the positions jumps
    Many,
}

impl Faults {
    /// Rates of a city.
    pub fn rates(self) -> FaultRates {
        match self {
            Faults::None => FaultRates::none(),
            Faults::Usual => FaultRates::default(),
            Faults::Many => {
                FaultRates { buffered_upload_per_truck_day: 0.5, clock_behind_per_truck_day: 0.1, position_jump_share: 0.01, ..FaultRates::default() }
            }
        }
    }
}

/// Speeds of one length of window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speeds {
    /// Rows.
    pub rows: usize,
    /// The row's speed.
    pub told: Errors,
    /// What was typical before it.
    pub typical: Errors,
    /// The map's free flow in the same rows: what is known without traffic.
    pub free_flow: Errors,
}

/// What was found, beside the truth.
#[derive(Debug, Default)]
pub struct TrafficEvaluation {
    /// Positions of the city.
    pub positions: usize,
    /// Faults of trucks that occurred: uploads, wrong clocks, jumps.
    pub faults: BTreeMap<&'static str, usize>,
    /// Rows put aside, by reason.
    pub aside: BTreeMap<String, usize>,
    /// Traversals on the right segment, in the right direction, at the right time: by number and by metres.
    pub right: (Share, Share),
    /// True drives that a traversal tells of, by number and by metres.
    pub found: (Share, Share),
    /// By the window's length, ms.
    pub speeds: BTreeMap<i64, Speeds>,
    /// Fewest vehicles behind a row.
    pub fewest_vehicles: Option<i64>,
    /// Of inputs and stages.
    pub counts: BTreeMap<String, Counts>,
    /// Wall time of the topology, s.
    pub took_s: f64,
}

/// The command.
pub fn run(args: &TrafficArgs) -> Result<(), Failure> {
    let config = CityConfig {
        seed: args.seed,
        bins: args.bins,
        trucks: args.trucks,
        position_interval_s: args.interval_s,
        faults: args.faults.rates(),
        ..CityConfig::default()
    };
    let found = evaluate(config, args.days, args.min_vehicles, &plans::registry(None)?)?;
    match args.json {
        true => println!("{}", found.to_json()),
        false => {
            println!("{} days of {} trucks, seed {}, a position every {} s while driving: a simulation", args.days, args.trucks, args.seed, args.interval_s);
            println!("{found}");
        }
    }
    Ok(())
}

/// Plays `days` of a city through the topology.
///
/// # Errors
/// When the topology stops, or writes what cannot be read back.
pub fn evaluate(config: CityConfig, days: i64, min_vehicles: u64, registry: &Arc<Registry>) -> Result<TrafficEvaluation, Failure> {
    let mut city = City::new(config);
    city.keep_drives();
    let mut playing = Playing::new(&city, min_vehicles, registry)?;
    let end_ms = city.now_ms() + days * DAY_MS;
    while city.now_ms() < end_ms {
        let mut events = city.advance(city.now_ms() + STEP_MS);
        events.retain(|e| e.topic == POSITIONS);
        playing.feed(&events)?;
        playing.judge_rows(&city.truth())?;
    }
    playing.end(&city)
}

/// A city's positions on their way through the topology.
struct Playing {
    registry: Arc<Registry>,
    replay: Replay,
    traversals: Vec<Traversal>,
    found: TrafficEvaluation,
}

struct Traversal {
    vehicle: String,
    road: (String, Direction),
    entered_ms: i64,
    left_ms: i64,
    metres: f64,
}

impl Playing {
    fn new(city: &City, min_vehicles: u64, registry: &Arc<Registry>) -> Result<Playing, Failure> {
        let edge = RegistryEdge::new(registry.clone()).with_network(city.roads().clone());
        let parameters = [("TRAFFIC_ZONE", city.config().time_zone.name().to_string()), ("TRAFFIC_MIN_VEHICLES", min_vehicles.to_string())];
        let slices = plans::traffic_to_judge(&edge, &parameters, TRAVERSALS)?.into_slices();
        let replay = Replay::of_slices(&slices, Arc::new(edge), Models::default(), city.now_ms())?;
        Ok(Playing { registry: registry.clone(), replay, traversals: Vec::new(), found: TrafficEvaluation::default() })
    }

    fn feed(&mut self, events: &[ws_city::Event]) -> Result<(), Failure> {
        self.found.positions += events.len();
        for appends in encode(events, &self.registry, 1)? {
            let began = Instant::now();
            self.replay.set_now_ms(appends.rows.iter().map(|r| r.timestamp_ms).max().unwrap_or_default());
            let rows = (0..appends.rows.len()).map(|i| {
                let (key, value, _) = appends.row(i);
                (key, value, appends.rows[i].timestamp_ms)
            });
            self.replay.feed(&appends.topic, rows)?;
            self.found.took_s += began.elapsed().as_secs_f64();
        }
        Ok(())
    }

    /// Takes what came out so far.
    fn judge_rows(&mut self, truth: &Truth<'_>) -> Result<(), Failure> {
        for row in self.rows(TRAVERSALS)? {
            let road = (text(&row, "segment_id")?, direction(&row)?);
            let (entered_ms, left_ms) = (int(&row, "entered_at")?, int(&row, "left_at")?);
            self.traversals.push(Traversal { vehicle: text(&row, "vehicle_id")?, road, entered_ms, left_ms, metres: float(&row, "metres")? });
        }
        for row in self.rows(SPEEDS)? {
            self.judge_speed(&row, truth)?;
        }
        for row in self.rows(DEAD)? {
            *self.found.aside.entry(text(&row, "reason")?).or_default() += 1;
        }
        Ok(())
    }

    fn judge_speed(&mut self, row: &Value, truth: &Truth<'_>) -> Result<(), Failure> {
        let (from_ms, until_ms) = (int(row, "window_start")?, int(row, "window_end")?);
        let (segment, direction) = (text(row, "segment_id")?, direction(row)?);
        let vehicles = int(row, "vehicles")?;
        self.found.fewest_vehicles = Some(self.found.fewest_vehicles.map_or(vehicles, |fewest| fewest.min(vehicles)));
        let speeds = self.found.speeds.entry(until_ms - from_ms).or_default();
        speeds.rows += 1;
        // Nobody drives at night: the mean of a whole day is not what a row of a day tells.
        if until_ms - from_ms < DAY_MS {
            let steps = ((until_ms - from_ms) / STEP_MS).max(1);
            let middles = (0..steps).map(|step| from_ms + step * STEP_MS + STEP_MS / 2);
            let sum = middles.map(|at_ms| truth.road_speed_mps(&segment, direction, at_ms)).sum::<Option<f64>>();
            let mps = sum.ok_or_else(|| format!("{segment} is no street of the city"))? / steps as f64;
            speeds.told.add(float(row, "speed_mps")?, mps);
            speeds.typical.add(float(row, "typical_mps")?, mps);
            speeds.free_flow.add(float(row, "free_flow_mps")?, mps);
        }
        Ok(())
    }

    fn end(mut self, city: &City) -> Result<TrafficEvaluation, Failure> {
        self.judge_rows(&city.truth())?;
        self.judge_drives(&city.truth());
        let kinds = [("uploads newest first", FaultKind::VehicleBufferedUpload), ("wrong clocks", FaultKind::VehicleClock), ("jumps", FaultKind::PositionJump)];
        self.found.faults = kinds.map(|(name, kind)| (name, city.truth().fault_count(kind))).into();
        for (stage, counts) in self.replay.counts() {
            self.found.counts.entry(stage).or_default().add(&counts);
        }
        Ok(self.found)
    }

    /// Compares what was driven with what was found, both ways.
    fn judge_drives(&mut self, truth: &Truth<'_>) {
        type Times<'a> = HashMap<(&'a str, &'a str, Direction), Vec<(i64, i64)>>;
        let overlap = |times: Option<&Vec<(i64, i64)>>, from_ms: i64, until_ms: i64| {
            times.is_some_and(|times| times.iter().any(|(from, until)| *from <= until_ms + SAME_MS && from_ms <= *until + SAME_MS))
        };
        let (mut driven, mut told): (Times<'_>, Times<'_>) = (HashMap::new(), HashMap::new());
        for drive in truth.drives() {
            driven.entry((&drive.vehicle_id, &drive.segment_id, drive.direction)).or_default().push((drive.entered_ms, drive.left_ms));
        }
        for t in self.traversals.iter().filter(|t| t.metres >= LEAST_M) {
            let key = (t.vehicle.as_str(), t.road.0.as_str(), t.road.1);
            told.entry(key).or_default().push((t.entered_ms, t.left_ms));
            let right = overlap(driven.get(&key), t.entered_ms, t.left_ms);
            self.found.right.0.add(right, 1.0);
            self.found.right.1.add(right, t.metres);
        }
        for drive in truth.drives().iter().filter(|drive| drive.metres >= LEAST_M) {
            let key = (drive.vehicle_id.as_str(), drive.segment_id.as_str(), drive.direction);
            let found = overlap(told.get(&key), drive.entered_ms, drive.left_ms);
            self.found.found.0.add(found, 1.0);
            self.found.found.1.add(found, drive.metres);
        }
    }

    fn rows(&mut self, topic: &str) -> Result<Vec<Value>, Failure> {
        let records: Records = self.replay.take(topic);
        let values = (0..records.rows.len()).filter_map(|i| records.value(i));
        // JSON of the tap and of dead letters, or framed Avro.
        let read = |value: &[u8]| match value.first() {
            Some(b'{') => serde_json::from_slice(value).map_err(|e| format!("{topic} cannot be read back: {e}").into()),
            _ => self.registry.decode_to_json(value).map_err(|e| format!("{topic} cannot be read back: {e}").into()),
        };
        values.map(read).collect()
    }
}

fn text(row: &Value, name: &str) -> Result<String, Failure> {
    row[name].as_str().map(str::to_owned).ok_or_else(|| format!("a row without {name}: {row}").into())
}

fn int(row: &Value, name: &str) -> Result<i64, Failure> {
    row[name].as_i64().ok_or_else(|| format!("a row without {name}: {row}").into())
}

fn float(row: &Value, name: &str) -> Result<f64, Failure> {
    row[name].as_f64().ok_or_else(|| format!("a row without {name}: {row}").into())
}

fn direction(row: &Value) -> Result<Direction, Failure> {
    let name = text(row, "direction")?;
    Direction::of_name(&name).ok_or_else(|| format!("`{name}` is no direction").into())
}

impl TrafficEvaluation {
    /// Counts of a stage.
    pub fn stage(&self, id: &str) -> Counts {
        self.counts.get(id).copied().unwrap_or_default()
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let shares = |(number, metres): (Share, Share)| json!({ "n": number.all, "share": number.value(), "metres_share": metres.value() });
        let speeds = |s: &Speeds| json!({ "rows": s.rows, "told": s.told.to_json(), "typical": s.typical.to_json(), "free_flow": s.free_flow.to_json() });
        json!({
            "positions": self.positions,
            "faults": self.faults,
            "aside": self.aside,
            "duplicates": self.stage("once").duplicate,
            "traversals_right": shares(self.right),
            "drives_found": shares(self.found),
            "speeds_by_window_ms": self.speeds.iter().map(|(window, s)| (window.to_string(), speeds(s))).collect::<BTreeMap<_, _>>(),
            "fewest_vehicles": self.fewest_vehicles,
            "took_s": self.took_s,
        })
    }
}

impl fmt::Display for TrafficEvaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |of: Vec<String>| if of.is_empty() { "none".to_owned() } else { of.join(", ") };
        let faults = list(self.faults.iter().map(|(name, n)| format!("{n} {name}")).collect());
        let aside = list(self.aside.iter().map(|(reason, n)| format!("{reason} {n}")).collect());
        writeln!(f, "  positions {}, {:.0} a second through the topology; faults: {faults}", self.positions, self.positions as f64 / self.took_s)?;
        writeln!(f, "  doubled {}; put aside: {aside}", self.stage("once").duplicate)?;
        let of = |(number, metres): (Share, Share)| format!("{:>7.0}: {number} ({metres} of the metres)", number.all);
        writeln!(f, "  traversals on the right segment and direction {}", of(self.right))?;
        writeln!(f, "  true drives that were found                   {}", of(self.found))?;
        for (window_ms, s) in &self.speeds {
            let name = ws_plan::duration::format_ms(*window_ms);
            if s.told.count == 0 {
                writeln!(f, "  rows of {name:<4} {:>7}", s.rows)?;
                continue;
            }
            writeln!(f, "  rows of {name:<4} {:>7}  speed told            {}", s.rows, s.told)?;
            writeln!(f, "  {:>20}  typical before        {}", "", s.typical)?;
            writeln!(f, "  {:>20}  free flow of the map  {}", "", s.free_flow)?;
        }
        let balanced = self.counts.values().all(Counts::balanced);
        write!(f, "  at least {} vehicles in each row; counts {}", self.fewest_vehicles.unwrap_or_default(), if balanced { "add up" } else { "DO NOT ADD UP" })
    }
}
