//! `wastestream sim`: the real worker under simulated faults, many seeds.

use crate::Failure;
use clap::Args;
use std::time::Instant;
use ws_sim::{SimOptions, run_many};

/// Settings of the simulation.
#[derive(Args)]
pub struct SimArgs {
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// First seed; a failing seed alone is `--from SEED --seeds 1`
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Threads; the result does not depend on it
    #[arg(long)]
    threads: Option<usize>,
}

/// Runs the seeds; fails when any is wrong.
pub fn run(args: &SimArgs) -> Result<(), Failure> {
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let started = Instant::now();
    let summary = run_many(args.from..args.from + args.seeds, &SimOptions::standard()?, threads);
    println!("{summary}");
    println!("took {:.1} s", started.elapsed().as_secs_f64());
    if summary.passed() { Ok(()) } else { Err(format!("{} of {} seeds failed", summary.failed.len(), summary.seeds).into()) }
}
