//! Running seeds and adding up what came of them.

use crate::scenario::{Scenario, Tally};
use crate::sim::{Profile, Simulation};
use crate::trace::Trace;
use crate::verdict::{self, Verdict};
use crate::workload::{Size, meter_scenario};
use crate::zones::zone_scenario;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use ws_stream::worker::Planted;

/// What to simulate.
#[derive(Clone)]
pub struct SimOptions {
    /// The scenario of a seed.
    pub scenario: Arc<dyn Fn(u64) -> Result<Scenario, String> + Send + Sync>,
    /// The faults of a seed.
    pub profile: fn(u64) -> Profile,
    /// Defects planted into the workers, for tests of the simulator itself.
    pub planted: Planted,
}

impl SimOptions {
    /// Size of the built-in scenario that keeps a seed below half a second.
    pub const SIZE: Size = Size { tasks: 4, readings: 1_200, over_ms: 15_000 };

    /// Size of the scenario with two slices.
    pub const ZONE_SIZE: Size = Size { tasks: 4, readings: 900, over_ms: 12_000 };

    /// Two slices with a `rekey` between them.
    pub fn zones(size: Size) -> SimOptions {
        SimOptions { scenario: Arc::new(move |seed| Ok(zone_scenario(seed, size))), profile: Profile::of, planted: Planted::default() }
    }

    /// The built-in scenario.
    pub fn meter(size: Size) -> SimOptions {
        SimOptions { scenario: Arc::new(move |seed| Ok(meter_scenario(seed, size))), profile: Profile::of, planted: Planted::default() }
    }
}

impl Default for SimOptions {
    fn default() -> Self {
        SimOptions::meter(SimOptions::SIZE)
    }
}

impl std::fmt::Debug for SimOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimOptions").field("planted", &self.planted).finish_non_exhaustive()
    }
}

/// What one seed gave.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash of everything that happened.
    pub trace: u64,
    /// Input records.
    pub records: u64,
    /// Simulated time, ms.
    pub elapsed_ms: i64,
    /// Faults by kind.
    pub faults: Tally,
    /// What was done, by kind: `commits`, `aborted`, `undetermined`, `restores done`, …
    pub done: Tally,
    /// The verdict.
    pub verdict: Verdict,
}

impl Report {
    /// How often something was done.
    pub fn done(&self, what: &str) -> u64 {
        self.done.get(what).copied().unwrap_or(0)
    }
}

/// Runs one seed.
pub fn run_seed(seed: u64, options: &SimOptions) -> Report {
    let scenario = match (options.scenario)(seed) {
        Ok(s) => Arc::new(s),
        Err(e) => {
            let verdict = Verdict { problems: vec![format!("there is nothing to run: {e}")], ..Verdict::default() };
            return Report { seed, trace: 0, records: 0, elapsed_ms: 0, faults: Tally::new(), done: Tally::new(), verdict };
        }
    };
    let records = scenario.records();
    let mut sim = Simulation::new(seed, scenario, (options.profile)(seed), options.planted);
    sim.run();
    let verdict = verdict::judge(&mut sim);
    Report {
        seed,
        trace: sim.trace(),
        records,
        elapsed_ms: sim.elapsed_ms(),
        faults: std::mem::take(&mut sim.faults),
        done: std::mem::take(&mut sim.done),
        verdict,
    }
}

/// What many seeds gave.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds run.
    pub seeds: u64,
    /// Input records of all.
    pub records: u64,
    /// Simulated time of all, ms.
    pub elapsed_ms: i64,
    /// Faults by kind.
    pub faults: Tally,
    /// What was done, by kind.
    pub done: Tally,
    /// Hash over all traces, in the order of seeds.
    pub trace: u64,
    /// Sums of the verdicts.
    pub lost: u64,
    /// See [`Verdict::duplicate`].
    pub duplicate: u64,
    /// See [`Verdict::reordered`].
    pub reordered: u64,
    /// Reports of the seeds that failed.
    pub failed: Vec<Report>,
    /// What happened too rarely for the verdict to mean anything; judged from [`ENOUGH_SEEDS`] seeds on.
    pub too_rare: Vec<String>,
}

/// From so many seeds on, a summary also fails when faults were too rare.
pub const ENOUGH_SEEDS: u64 = 20;

/// What must happen at least so often per hundred seeds.
const MINIMUM: &[(&str, u64)] = &[
    ("commits", 4_000),
    ("aborted", 500),
    ("undetermined", 500),
    ("restores done", 1_000),
    ("snapshots loaded", 100),
    ("pauses", 500),
    ("truncations", 20),
    ("counts checked", 10_000),
    ("process killed", 150),
    ("process stalled", 100),
    ("cut from the group", 80),
    ("twin with the same identity", 40),
    ("clean shutdowns", 40),
    ("session expired", 200),
    ("ownership lost", 50),
    ("fenced", 100),
    ("stale generation", 200),
    ("broker refused", 100),
    ("end request lost", 80),
    ("end reply lost", 80),
    ("end request delayed", 80),
    ("end refused", 50),
    ("transaction timed out", 3),
    ("solver calls", 1_000),
    ("solution never came", 5),
    ("solution failed", 5),
    ("solution late", 5),
    ("solution wrong", 5),
    ("prediction never came", 200),
    ("prediction failed", 200),
    ("prediction late", 200),
];

impl Summary {
    /// Did every seed pass, and did enough happen?
    pub fn passed(&self) -> bool {
        self.failed.is_empty() && self.too_rare.is_empty()
    }

    /// How often something was done, or a fault struck.
    pub fn count(&self, what: &str) -> u64 {
        self.done.get(what).or_else(|| self.faults.get(what)).copied().unwrap_or(0)
    }

    fn add(&mut self, trace: &mut Trace, r: &Report) {
        self.seeds += 1;
        self.records += r.records;
        self.elapsed_ms += r.elapsed_ms;
        r.faults.iter().for_each(|(k, n)| *self.faults.entry(k).or_default() += n);
        r.done.iter().for_each(|(k, n)| *self.done.entry(k).or_default() += n);
        self.trace = trace.number(r.trace).value();
        self.lost += r.verdict.lost;
        self.duplicate += r.verdict.duplicate;
        self.reordered += r.verdict.reordered;
        if !r.verdict.clean() {
            self.failed.push(r.clone());
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total: u64 = self.faults.values().sum();
        writeln!(
            f,
            "{} seeds, {} records, {:.0} s simulated, {} commits, {total} faults",
            self.seeds,
            self.records,
            self.elapsed_ms as f64 / 1000.0,
            self.count("commits")
        )?;
        let list = |t: &Tally| t.iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>().join(", ");
        writeln!(f, "faults: {}", list(&self.faults))?;
        writeln!(f, "done: {}", list(&self.done))?;
        writeln!(f, "lost {}, duplicate {}, reordered {}, failed seeds {}", self.lost, self.duplicate, self.reordered, self.failed.len())?;
        for r in self.failed.iter().take(5) {
            writeln!(f, "seed {} failed:", r.seed)?;
            for p in r.verdict.problems.iter().take(6) {
                writeln!(f, "  {p}")?;
            }
        }
        for rare in &self.too_rare {
            writeln!(f, "too rare: {rare}")?;
        }
        write!(f, "trace {:016x}", self.trace)
    }
}

/// Runs seeds on `threads` threads; the summary does not depend on how many.
pub fn run_many(seeds: std::ops::Range<u64>, options: &SimOptions, threads: usize) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let worker = || {
        let mut reports = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return reports;
            }
            reports.push(run_seed(seed, options));
        }
    };
    let mut reports: BTreeMap<u64, Report> = BTreeMap::new();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(worker)).collect();
        for h in handles {
            match h.join() {
                Ok(list) => reports.extend(list.into_iter().map(|r| (r.seed, r))),
                // A panic in a run is a finding of its own: let it be seen as one.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let (mut summary, mut trace) = (Summary::default(), Trace::default());
    reports.values().for_each(|r| summary.add(&mut trace, r));
    if summary.seeds >= ENOUGH_SEEDS {
        let rare = MINIMUM.iter().filter(|(what, n)| summary.count(what) * 100 < n * summary.seeds);
        summary.too_rare = rare.map(|(what, n)| format!("{what} {}, expected {n} per hundred seeds", summary.count(what))).collect();
    }
    summary
}
