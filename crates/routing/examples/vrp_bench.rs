//! Measures the solvers on public instances: `vrp_bench <kim|solomon|mtvrptwr|repair> <seconds> [solver] [name part]`.
//! Every plan goes through the checker; the figures are printed, one line an instance, tab-separated, for `benches/vrp/run`.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![allow(clippy::print_stdout)]

#[path = "vrp_bench/repair.rs"]
mod repair;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use ws_routing::bench::{data_folder, kim, mtvrptwr, solomon};
use ws_routing::plan::solve::vrp::VrpPragmatic;
use ws_routing::plan::{Budget, Problem, RuinRecreate, Solver, check};

const SEED: u64 = 1;

/// Milliseconds since the first call.
pub(crate) fn clock() -> i64 {
    static START: OnceLock<Instant> = OnceLock::new();
    i64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(i64::MAX)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let usage = "vrp_bench <kim|solomon|mtvrptwr|repair> <seconds> [ruin-recreate|vrp-pragmatic] [part of a name]";
    let (Some(set), Some(seconds)) = (args.first(), args.get(1).and_then(|text| text.parse::<i64>().ok())) else {
        return Err(usage.into());
    };
    let Some(folder) = data_folder() else {
        println!("SKIPPED: no instances; set WS_SHARED_DATA to the folder that holds vrp/");
        return Ok(());
    };
    if set == "repair" {
        return repair::run(&folder, seconds);
    }
    // `0.1,0.001` to try other temperatures.
    let temperature =
        std::env::var("VRP_TEMPERATURE").ok().and_then(|text| text.split_once(',').and_then(|(hot, cold)| Some((hot.parse().ok()?, cold.parse().ok()?))));
    let own = temperature.map_or_else(RuinRecreate::default, |temperature| RuinRecreate { temperature: Some(temperature) });
    let solvers: Vec<Box<dyn Solver>> = match args.get(2).map(String::as_str) {
        Some("vrp-pragmatic") => vec![Box::new(VrpPragmatic)],
        Some("ruin-recreate") => vec![Box::new(own)],
        _ => vec![Box::new(own), Box::new(VrpPragmatic)],
    };
    let part = args.get(3).map_or("", String::as_str);
    println!("set\tinstance\tsolver\tseconds\tcost\tbest known\tgap %\troutes\tskipped\tviolations\titerations\ttook s");
    for (name, problem, known) in instances(&folder, set)?.into_iter().filter(|(name, _, _)| name.contains(part)) {
        for solver in &solvers {
            measure(set, &name, &problem, known, solver.as_ref(), seconds)?;
        }
    }
    Ok(())
}

fn measure(set: &str, name: &str, problem: &Problem, known: f64, solver: &dyn Solver, seconds: i64) -> Result<(), Box<dyn Error>> {
    let began_ms = clock();
    let solved = solver.solve(problem, &Budget::time(seconds * 1000, &clock), SEED, None)?;
    let took_s = (clock() - began_ms) as f64 / 1000.0;
    let violations = check(problem, &solved.plan);
    let (cost, routes, skipped) = (solved.plan.cost, solved.plan.routes.len(), solved.plan.skipped.len());
    let gap = (cost / known - 1.0) * 100.0;
    let (solver, iterations) = (solver.name(), solved.iterations);
    println!("{set}\t{name}\t{solver}\t{seconds}\t{cost:.2}\t{known}\t{gap:+.2}\t{routes}\t{skipped}\t{}\t{iterations}\t{took_s:.1}", violations.len());
    for violation in violations.iter().take(5) {
        println!("# {violation}");
    }
    Ok(())
}

/// Name, problem and best known cost.
type Instance = (String, Problem, f64);

/// The instances of a set.
fn instances(folder: &Path, set: &str) -> Result<Vec<Instance>, Box<dyn Error>> {
    match set {
        "kim" => kim::PUBLISHED_MILES.iter().map(|(name, miles)| Ok((format!("kim-{name}"), kim_problem(folder, name)?, *miles))).collect(),
        "solomon" => {
            let known: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(folder.join("solomon/BKS.json"))?)?;
            let mut all = Vec::new();
            for path in files(&folder.join("solomon"), "txt")? {
                let name = stem(&path);
                // By distance alone, as our costs are; the older figures count vehicles first.
                let cost = known[format!("{name}_distance")]["best_known_cost"].as_f64().unwrap_or(f64::NAN);
                all.push((name, solomon::read(&std::fs::read_to_string(&path)?)?, cost));
            }
            Ok(all)
        }
        "mtvrptwr" => {
            let mut all = Vec::new();
            for path in files(&folder.join("mtvrptwr"), "vrp")? {
                let solution = std::fs::read_to_string(path.with_extension("sol"))?;
                let cost = solution.lines().find_map(|line| line.strip_prefix("Cost:")).and_then(|cost| cost.trim().parse().ok());
                all.push((stem(&path), mtvrptwr::read(&std::fs::read_to_string(&path)?)?, cost.unwrap_or(f64::NAN)));
            }
            Ok(all)
        }
        other => Err(format!("no set `{other}`").into()),
    }
}

/// Trucks offered: more than any published plan uses.
pub(crate) fn kim_problem(folder: &Path, name: &str) -> Result<Problem, Box<dyn Error>> {
    Ok(kim::read(&std::fs::read_to_string(folder.join(format!("kim2006/{name}_stop.txt")))?, 20)?)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    all.retain(|path| path.extension().is_some_and(|found| found == extension));
    all.sort();
    Ok(all)
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
