//! A road network from a file, judged: `cargo run -p ws-routing --example network FILE` prints what was read, how fast it
//! answers, and how well drives on it are matched when their positions are noisy.
#![allow(clippy::disallowed_methods)] // it measures

use std::io::BufReader;
use std::sync::Arc;
use std::time::Instant;
use ws_routing::matching::{Fix, Matcher, Options, VehicleState};
use ws_routing::roads::{FreeFlow, Point, Profile, RoadClass, RoadGraph, Search, Snap, Speeds, matrix, read};

const SITES: usize = 300;
const TRIPS: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a file of GeoJSON lines; docs/roads.md tells how to make one")?;
    let began = Instant::now();
    let import = read(BufReader::new(std::fs::File::open(&path)?), Default::default())?;
    let graph = Arc::new(import.graph);
    println!("{path}: {} lines of roads ({} others, {} closed to trucks)", import.lines, import.not_roads, import.no_trucks);
    let length_km: f64 = graph.all().map(|segment| graph.length_m(segment)).sum::<f64>() / 1e3;
    println!("{} segments, {} nodes, {length_km:.0} km, read in {:.2} s", graph.segments(), graph.nodes(), began.elapsed().as_secs_f64());
    println!("{:.1} % in the part where every road reaches every other", 100.0 * graph.main_share());
    for class in RoadClass::ALL {
        let count = graph.all().filter(|segment| graph.class(*segment) == class).count();
        if count > 0 {
            println!("  {:<14} {count:>7}", class.name());
        }
    }
    let mut draw = Draw(0x5EED);
    let main: Vec<_> = graph.all().filter(|segment| graph.in_main(*segment)).collect();
    let place = |draw: &mut Draw| {
        let segment = main[draw.below(main.len())];
        Snap { segment, along_m: graph.length_m(segment) * draw.unit(), distance_m: 0.0 }
    };
    let sites: Vec<Snap> = (0..SITES).map(|_| place(&mut draw)).collect();
    let began = Instant::now();
    let free = matrix(&graph, &FreeFlow, &sites, &sites);
    println!("matrix {SITES} × {SITES} by free flow in {:.2} s", began.elapsed().as_secs_f64());
    let (profile, closures, live) = (Profile::default(), Default::default(), Default::default());
    let speeds = Speeds { profile: &profile, closures: &closures, live: &live, at_ms: 0, offset_ms: 0 };
    let began = Instant::now();
    let timed = matrix(&graph, &speeds, &sites, &sites);
    println!("matrix {SITES} × {SITES} by hour of the week in {:.2} s", began.elapsed().as_secs_f64());
    let most = free.seconds.iter().zip(&timed.seconds).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("  mean {:.0} s, {:.0} m; the two differ by {most:.2} s at most", mean(&free.seconds), mean(&free.metres));
    let mut search = Search::default();
    let began = Instant::now();
    let routes = (0..1_000).filter_map(|index| search.route(&graph, &FreeFlow, sites[index % SITES], sites[(index * 7 + 1) % SITES])).count();
    println!("{routes} of 1000 single routes found, {:.3} ms each", began.elapsed().as_secs_f64());
    for (every_s, bare) in [(10.0, false), (30.0, false), (60.0, false), (30.0, true)] {
        let (mut driven_m, mut right_m, mut found_m, mut fixes) = (0.0, 0.0, 0.0, 0);
        let mut seconds = 0.0;
        for _ in 0..TRIPS {
            let (from, to) = (place(&mut draw), place(&mut draw));
            let Some(route) = search.route(&graph, &FreeFlow, from, to) else { continue };
            let positions = drive(&graph, &route, every_s, bare, &mut draw);
            fixes += positions.len();
            let mut matcher = Matcher::new(graph.clone(), Options::default());
            let mut state = VehicleState::default();
            let began = Instant::now();
            let mut traversals: Vec<_> = positions.iter().flat_map(|fix| matcher.observe(&mut state, fix).traversals).collect();
            traversals.extend(matcher.finish(&mut state));
            seconds += began.elapsed().as_secs_f64();
            driven_m += route.metres;
            for traversal in traversals {
                found_m += traversal.metres;
                right_m += if route.edges.contains(&traversal.edge) { traversal.metres } else { 0.0 };
            }
        }
        let with = if bare { "positions alone" } else { "course, speed, odometer" };
        println!(
            "{TRIPS} drives, a position each {every_s} s, {with}: {:.1} % of the metres driven were found, {:.1} % of those found are right; {:.0} positions a second",
            100.0 * found_m.min(driven_m) / driven_m,
            100.0 * right_m / found_m,
            fixes as f64 / seconds
        );
    }
    Ok(())
}

/// A route driven at 80 % of free flow, measured with 6 m of noise.
fn drive(graph: &RoadGraph, route: &ws_routing::roads::Route, every_s: f64, bare: bool, draw: &mut Draw) -> Vec<Fix> {
    let (mut fixes, mut passed_s, mut passed_m, mut next_s) = (Vec::new(), 0.0, 0.0, 0.0);
    for (edge, from_m, to_m) in route.parts(graph) {
        let mps = 0.8 * graph.free_flow_mps(edge.segment());
        let lasts_s = (to_m - from_m) / mps;
        while next_s < passed_s + lasts_s {
            let here_m = from_m + (next_s - passed_s) * mps;
            let along_m = if edge.0.is_multiple_of(2) { here_m } else { graph.length_m(edge.segment()) - here_m };
            let (point, course_deg) = graph.at(edge.segment(), along_m, edge.direction());
            let off = Point { x_m: point.x_m + 6.0 * draw.normal(), y_m: point.y_m + 6.0 * draw.normal() };
            let at_ms = (next_s * 1e3) as i64;
            fixes.push(Fix {
                observed_ms: at_ms,
                sent_ms: at_ms,
                received_ms: at_ms,
                place: graph.place(off),
                speed_mps: (!bare).then_some(mps),
                heading_deg: (!bare).then(|| (course_deg + 8.0 * draw.normal()).rem_euclid(360.0)),
                accuracy_m: (!bare).then_some(9.0),
                odometer_m: (!bare).then_some(passed_m + here_m - from_m),
            });
            next_s += every_s;
        }
        passed_s += lasts_s;
        passed_m += to_m - from_m;
    }
    fixes
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
}

/// Random numbers from a seed (SplitMix64).
struct Draw(u64);

impl Draw {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        (self.word() % count.max(1) as u64) as usize
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}
