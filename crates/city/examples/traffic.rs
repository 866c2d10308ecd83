//! How well the traffic pipeline finds what the simulated city's trucks really drove and how fast its streets really are:
//! `cargo run -p ws-city --example traffic [DAYS] [SEED] [NAME]` prints a table for a city without and with faults, or
//! only for the cities whose name contains NAME.
//!
//! The last day is the examination: each way on it is predicted from what was known before the truck set out.
#![allow(clippy::disallowed_methods)] // it measures

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;
use ws_city::{City, CityConfig, Drive, Event, FaultRates};
use ws_routing::matching::{Fix, Matcher, Options, Traversal, VehicleState, Verdict};
use ws_routing::roads::{Edge, Place, RoadGraph};
use ws_routing::traffic::{AreaState, SpeedRow, Traffic, TrafficOptions, area_of};

const DAY_MS: i64 = 86_400_000;

fn main() {
    let only = std::env::args().nth(3).unwrap_or_default();
    let mut arguments = std::env::args().skip(1).map_while(|argument| argument.parse::<u64>().ok());
    let days = arguments.next().unwrap_or(5).max(2) as i64;
    let seed = arguments.next().unwrap_or(1);
    let none = FaultRates::none();
    let all = FaultRates::default();
    let many = FaultRates { buffered_upload_per_truck_day: 0.5, clock_behind_per_truck_day: 0.1, position_jump_share: 0.01, ..all.clone() };
    let bare = Options { odometer: false, ..Options::default() };
    println!("{days} days of 40 trucks, seed {seed}; the last day is predicted");
    for (name, faults, interval_s, options) in [
        ("no faults, 30 s", none.clone(), 30, Options::default()),
        ("usual faults, 30 s", all.clone(), 30, Options::default()),
        ("many faults, 30 s", many, 30, Options::default()),
        ("usual faults, 30 s, no odometer", all.clone(), 30, bare.clone()),
        ("usual faults, 60 s", all.clone(), 60, Options::default()),
        ("usual faults, 60 s, no odometer", all.clone(), 60, bare),
        ("usual faults, 10 s", all, 10, Options::default()),
    ]
    .into_iter()
    .filter(|(name, ..)| name.contains(&only))
    {
        println!("\n== {name}");
        Examination::new(CityConfig { seed, faults, position_interval_s: interval_s, ..CityConfig::default() }, options).run(days);
    }
}

/// A sum of errors.
#[derive(Default)]
struct Errors {
    absolute: f64,
    relative: f64,
    signed: f64,
    count: f64,
}

impl Errors {
    fn add(&mut self, found: f64, truth: f64) {
        self.absolute += (found - truth).abs();
        self.relative += (found - truth).abs() / truth;
        self.signed += (found - truth) / truth;
        self.count += 1.0;
    }

    fn print(&self, what: &str, unit: &str) {
        let count = self.count.max(1.0);
        let (absolute, relative, signed) = (self.absolute / count, 100.0 * self.relative / count, 100.0 * self.signed / count);
        println!("  {what:<44} MAE {absolute:>6.2} {unit:<3}  MAPE {relative:>5.1} %  bias {signed:>+5.1} %  n {:>7}", self.count);
    }
}

struct Examination {
    city: City,
    graph: Arc<RoadGraph>,
    matcher: Matcher,
    traffic: Traffic,
    vehicles: BTreeMap<String, VehicleState>,
    areas: BTreeMap<String, AreaState>,
    verdicts: BTreeMap<Verdict, usize>,
    traversals: BTreeMap<String, Vec<Traversal>>,
    rows: Vec<SpeedRow>,
    area_of: Vec<String>,
    state_bytes: usize,
    match_s: f64,
}

impl Examination {
    fn new(config: CityConfig, options: Options) -> Examination {
        let traffic_options = TrafficOptions { zone: config.time_zone, min_vehicles: 2, ..TrafficOptions::default() };
        let mut city = City::new(config);
        city.keep_drives();
        let graph = city.roads().clone();
        Examination {
            // The classes of an area share nothing: each has a state of its own, as in the topology.
            area_of: graph.all().map(|segment| format!("{}/{}", area_of(&graph, segment), graph.class(segment).name())).collect(),
            matcher: Matcher::new(graph.clone(), options),
            traffic: Traffic::new(graph.clone(), traffic_options),
            graph,
            city,
            vehicles: BTreeMap::new(),
            areas: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            traversals: BTreeMap::new(),
            rows: Vec::new(),
            state_bytes: 0,
            match_s: 0.0,
        }
    }

    fn run(mut self, days: i64) {
        let exam_ms = self.city.now_ms() + (days - 1) * DAY_MS;
        let mut seen = 0;
        let mut live = Predictions::default();
        while self.city.now_ms() < exam_ms + DAY_MS {
            let before_ms = self.city.now_ms();
            for event in self.city.advance(before_ms + 300_000).iter().filter(|event| event.topic == "vehicle.position") {
                self.take(event);
            }
            let ended = self.city.truth().drives()[seen..].to_vec();
            seen += ended.len();
            if before_ms >= exam_ms {
                live.take(&self, &ended);
            }
            if self.city.now_ms() >= exam_ms {
                live.remember(self.city.now_ms(), &self.areas);
            }
        }
        for (vehicle, state) in &mut self.vehicles {
            let rest = self.matcher.finish(state);
            self.traversals.entry(vehicle.clone()).or_default().extend(rest);
        }
        self.print_matching();
        self.print_speeds();
        live.print();
    }

    fn take(&mut self, event: &Event) {
        let fix = fix_of(event);
        let state = self.vehicles.entry(event.key.clone()).or_default();
        let began = Instant::now();
        let observed = self.matcher.observe(state, &fix);
        self.match_s += began.elapsed().as_secs_f64();
        *self.verdicts.entry(observed.verdict).or_default() += 1;
        self.state_bytes = self.state_bytes.max(state.to_bytes().len());
        let vehicle = event.key.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        for traversal in &observed.traversals {
            if let Some(passage) = self.traffic.passage(vehicle, traversal) {
                let area = self.area_of[traversal.edge.segment().0 as usize].clone();
                self.rows.extend(self.traffic.observe(self.areas.entry(area).or_default(), &passage));
            }
        }
        self.traversals.entry(event.key.clone()).or_default().extend(observed.traversals);
    }

    fn edge(&self, drive: &Drive) -> Option<Edge> {
        Some(self.graph.segment(&drive.segment_id)?.edge(drive.direction))
    }

    fn print_matching(&self) {
        let fixes: usize = self.verdicts.values().sum();
        let verdicts: Vec<String> = self.verdicts.iter().map(|(verdict, count)| format!("{} {count}", verdict.name())).collect();
        println!("  positions {fixes}: {}", verdicts.join(", "));
        println!("  matched at {:.0} positions a second; state of a vehicle at most {} bytes", fixes as f64 / self.match_s, self.state_bytes);
        let areas: Vec<usize> = self.areas.values().map(|area| area.to_bytes().len()).collect();
        let (most, sum) = (areas.iter().max().copied().unwrap_or_default(), areas.iter().sum::<usize>());
        println!("  {} areas by class of road, state of one at most {most} bytes, {} in the mean", areas.len(), sum / areas.len().max(1));
        let mut truth: HashMap<(&str, Edge), Vec<(i64, i64)>> = HashMap::new();
        for drive in self.city.truth().drives() {
            if let Some(edge) = self.edge(drive) {
                truth.entry((&drive.vehicle_id, edge)).or_default().push((drive.entered_ms, drive.left_ms));
            }
        }
        // Right: the same segment and direction, at times that overlap within 30 s.
        let overlaps = |times: Option<&Vec<(i64, i64)>>, from_ms: i64, to_ms: i64| {
            times.is_some_and(|times| times.iter().any(|(from, to)| *from <= to_ms + 30_000 && from_ms <= *to + 30_000))
        };
        let mut found: HashMap<(&str, Edge), Vec<(i64, i64)>> = HashMap::new();
        let (mut right, mut right_m, mut all, mut all_m) = (0, 0.0, 0, 0.0);
        for (vehicle, traversals) in &self.traversals {
            for traversal in traversals.iter().filter(|traversal| traversal.metres >= 10.0) {
                found.entry((vehicle, traversal.edge)).or_default().push((traversal.entered_ms, traversal.left_ms));
                let is_right = overlaps(truth.get(&(vehicle.as_str(), traversal.edge)), traversal.entered_ms, traversal.left_ms);
                all += 1;
                all_m += traversal.metres;
                right += usize::from(is_right);
                right_m += if is_right { traversal.metres } else { 0.0 };
            }
        }
        println!("  traversals {all}: {:.1} % on the right segment ({:.1} % of the metres)", share(right, all), 100.0 * right_m / all_m);
        let (mut hit, mut hit_m, mut driven, mut driven_m) = (0, 0.0, 0, 0.0);
        for drive in self.city.truth().drives().iter().filter(|drive| drive.metres >= 10.0) {
            let Some(edge) = self.edge(drive) else { continue };
            let is_found = overlaps(found.get(&(drive.vehicle_id.as_str(), edge)), drive.entered_ms, drive.left_ms);
            driven += 1;
            driven_m += drive.metres;
            hit += usize::from(is_found);
            hit_m += if is_found { drive.metres } else { 0.0 };
        }
        println!("  true drives {driven}: {:.1} % found ({:.1} % of the metres)", share(hit, driven), 100.0 * hit_m / driven_m);
    }

    fn print_speeds(&self) {
        let truth = self.city.truth();
        let true_mps = |edge: Edge, at_ms: i64| truth.road_speed_mps(self.graph.id(edge.segment()), edge.direction(), at_ms).unwrap_or(1.0);
        let mean_mps = |edge: Edge, from_ms: i64, until_ms: i64| {
            let steps = ((until_ms - from_ms) / 300_000).max(1);
            (0..steps).map(|step| true_mps(edge, from_ms + step * 300_000 + 150_000)).sum::<f64>() / steps as f64
        };
        let (mut single, mut free) = (Errors::default(), Errors::default());
        let mut windows: BTreeMap<(Edge, i64), Vec<f64>> = BTreeMap::new();
        for traversal in self.traversals.values().flatten() {
            if let Some(passage) = self.traffic.passage(0, traversal) {
                single.add(passage.mps, true_mps(passage.edge, (traversal.entered_ms + traversal.left_ms) / 2));
                windows.entry((passage.edge, passage.left_ms.div_euclid(900_000))).or_default().push(passage.mps);
            }
        }
        let mut by_window = Errors::default();
        for ((edge, window), mut speeds) in windows {
            speeds.sort_by(f64::total_cmp);
            let truth = mean_mps(edge, window * 900_000, (window + 1) * 900_000);
            by_window.add(speeds[speeds.len() / 2], truth);
            free.add(self.graph.free_flow_mps(edge.segment()), truth);
        }
        single.print("speed of a drive on a segment", "m/s");
        by_window.print("segment and 15 minutes, any vehicles", "m/s");
        free.print("   the same by free flow", "m/s");
        for (window_ms, name) in [(900_000, "rows of 15 minutes, 2 vehicles"), (3_600_000, "rows of an hour"), (DAY_MS, "rows of a day")] {
            let (mut rows, mut typical) = (Errors::default(), Errors::default());
            for row in self.rows.iter().filter(|row| row.until_ms - row.from_ms == window_ms) {
                let truth = mean_mps(row.edge, row.from_ms, row.until_ms);
                if window_ms < DAY_MS {
                    rows.add(row.mps, truth);
                    typical.add(row.typical_mps, truth);
                } else {
                    // Nobody drives at night: the day's mean speed is not what was asked.
                    rows.count += 1.0;
                }
            }
            if window_ms < DAY_MS {
                rows.print(name, "m/s");
                typical.print("   typical speed in the same rows", "m/s");
            } else {
                println!("  {name:<44} n {:>7}", rows.count);
            }
        }
    }
}

/// Predictions of the drives of the last day.
#[derive(Default)]
struct Predictions {
    free: Errors,
    typical: Errors,
    expected: Errors,
    leg_free: Errors,
    leg_typical: Errors,
    leg_expected: Errors,
    /// By truck: when it set out, when it left its newest segment, sums of seconds.
    open: BTreeMap<String, (i64, i64, [f64; 4])>,
    /// What was known at times, newest last.
    known: Vec<(i64, BTreeMap<String, AreaState>)>,
}

impl Predictions {
    /// Keeps what is known now, for an hour and a half: no way lasts longer.
    fn remember(&mut self, now_ms: i64, areas: &BTreeMap<String, AreaState>) {
        self.known.retain(|(known_ms, _)| now_ms - known_ms <= 5_400_000);
        self.known.push((now_ms, areas.clone()));
    }

    fn take(&mut self, exam: &Examination, drives: &[Drive]) {
        for drive in drives {
            let Some(edge) = exam.edge(drive) else { continue };
            // Drives that follow one another without a pause are one way.
            let open = self.open.get(&drive.vehicle_id).copied();
            let goes_on = open.filter(|(_, left_ms, _)| *left_ms == drive.entered_ms);
            let from_ms = goes_on.map_or(drive.entered_ms, |(from_ms, _, _)| from_ms);
            let Some((_, areas)) = self.known.iter().rev().find(|(known_ms, _)| *known_ms <= from_ms) else { continue };
            let area = areas.get(&exam.area_of[edge.segment().0 as usize]).cloned().unwrap_or_default();
            let free = exam.graph.free_flow_mps(edge.segment());
            let typical = exam.traffic.typical_mps(&area, edge, drive.entered_ms);
            let expected = exam.traffic.expected_mps(&area, edge, drive.entered_ms);
            let truth = exam.city.truth().road_speed_mps(&drive.segment_id, drive.direction, drive.entered_ms).unwrap_or(1.0);
            self.free.add(free, truth);
            self.typical.add(typical, truth);
            self.expected.add(expected, truth);
            let seconds = (drive.left_ms - drive.entered_ms) as f64 / 1e3;
            let own = [seconds, drive.metres / free, drive.metres / typical, drive.metres / expected];
            let sums = goes_on.map_or([0.0; 4], |(_, _, sums)| sums);
            let sums = [0, 1, 2, 3].map(|place| sums[place] + own[place]);
            self.open.insert(drive.vehicle_id.clone(), (from_ms, drive.left_ms, sums));
            if let Some((_, _, sums)) = open.filter(|_| goes_on.is_none()) {
                self.end(sums);
            }
        }
    }

    fn end(&mut self, [seconds, free, typical, expected]: [f64; 4]) {
        if seconds >= 60.0 {
            self.leg_free.add(free, seconds);
            self.leg_typical.add(typical, seconds);
            self.leg_expected.add(expected, seconds);
        }
    }

    fn print(mut self) {
        for (_, _, sums) in std::mem::take(&mut self.open).into_values() {
            self.end(sums);
        }
        self.free.print("last day, true speeds by free flow", "m/s");
        self.typical.print("   by what is typical", "m/s");
        self.expected.print("   by what is typical and live", "m/s");
        self.leg_free.print("last day, times of ways by free flow", "s");
        self.leg_typical.print("   by what is typical", "s");
        self.leg_expected.print("   by what is typical and live", "s");
    }
}

fn share(part: usize, all: usize) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}

fn fix_of(event: &Event) -> Fix {
    let number = |name: &str| event.value[name].as_f64();
    let time = |name: &str| event.value[name].as_i64().unwrap_or_default();
    Fix {
        observed_ms: time("observed_at"),
        sent_ms: time("sent_at"),
        received_ms: time("received_at"),
        place: Place::new(number("latitude_deg").unwrap_or(f64::NAN), number("longitude_deg").unwrap_or(f64::NAN)),
        speed_mps: number("speed_mps"),
        heading_deg: number("heading_deg"),
        accuracy_m: number("accuracy_m"),
        odometer_m: number("odometer_m"),
    }
}
