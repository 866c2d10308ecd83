//! What is compared: the city, the days, the policies with their knobs.

use super::policy::PolicyKind;
use super::run::Job;
use crate::Failure;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use ws_city::{CityConfig, FaultRates};

/// Monday 2026-03-02, midnight in Melbourne.
const START_MS: i64 = 1_772_370_000_000;

/// Settings of the comparison.
#[derive(Args, Clone)]
pub struct EffectArgs {
    /// Days that are measured
    #[arg(long, default_value_t = 30)]
    pub days: i64,
    /// Days before them under the same policy, not measured
    #[arg(long, default_value_t = 7)]
    pub warmup: i64,
    /// Cities: one for each seed
    #[arg(long, default_value_t = 10)]
    pub seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 1)]
    pub from: u64,
    /// Containers
    #[arg(long, default_value_t = 200)]
    pub bins: usize,
    /// Median time in which a container fills, days
    #[arg(long, default_value_t = 6.0)]
    pub fill_days: f64,
    /// Trucks
    #[arg(long, default_value_t = 2)]
    pub trucks: usize,
    /// Iterations of the solver for each morning's plan
    #[arg(long, default_value_t = 600)]
    pub iterations: u64,
    /// Threads: each takes a seed
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// Only this policy: fixed, fixed-routed, threshold, pipeline or clairvoyant; may be repeated
    #[arg(long)]
    pub policy: Vec<String>,
    /// Knob settings in place of the usual ones, for all policies chosen
    #[arg(long, value_delimiter = ',')]
    pub knobs: Vec<f64>,
    /// How much of a later visit's cost counts in the prize of a site whose cycle has run through, 0 to 1
    #[arg(long, default_value_t = 0.3)]
    pub visit_weight: f64,
    /// Days of another city's past that the forecast model is trained on
    #[arg(long, default_value_t = 14)]
    pub training_days: i64,
    /// Folder of the runs and tables; finished runs there are not run again
    #[arg(long, default_value = ".work/effect")]
    pub out: PathBuf,
    /// Forget the runs in the folder
    #[arg(long)]
    pub fresh: bool,
    /// Begin no run after so many minutes
    #[arg(long)]
    pub minutes: Option<f64>,
    /// Write the tables into this file, between its two marks
    #[arg(long)]
    pub markdown: Option<PathBuf>,
}

/// What a run depends on.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    pub days: i64,
    pub warmup_days: i64,
    #[serde(skip)]
    pub seeds: u64,
    #[serde(skip)]
    pub from: u64,
    pub bins: usize,
    pub fill_days: f64,
    pub trucks: usize,
    pub iterations: u64,
    pub training_days: i64,
    pub visit_weight: f64,
    #[serde(skip)]
    pub policies: Vec<(PolicyKind, Vec<f64>)>,
    /// No event reaches the policies: whatever they still decide, they decide by something else.
    #[serde(skip)]
    pub deaf: bool,
}

impl Settings {
    /// From the command line.
    pub fn of(args: &EffectArgs) -> Result<Settings, Failure> {
        let named: Vec<PolicyKind> = args.policy.iter().map(|name| PolicyKind::of_name(name)).collect::<Result<_, Failure>>()?;
        let kinds = if named.is_empty() { PolicyKind::ALL.to_vec() } else { named };
        let knobs = |kind: PolicyKind| if args.knobs.is_empty() { kind.usual_knobs().to_vec() } else { args.knobs.clone() };
        if args.days < 1 || args.warmup < 1 || args.seeds < 1 {
            return Err("--days, --warmup and --seeds are at least 1".into());
        }
        Ok(Settings {
            days: args.days,
            warmup_days: args.warmup,
            seeds: args.seeds,
            from: args.from,
            bins: args.bins,
            fill_days: args.fill_days,
            trucks: args.trucks,
            iterations: args.iterations,
            training_days: args.training_days,
            visit_weight: args.visit_weight,
            policies: kinds.into_iter().map(|kind| (kind, knobs(kind))).collect(),
            deaf: false,
        })
    }

    /// The seeds.
    pub fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        self.from..self.from + self.seeds
    }

    /// Every policy with every setting of its knob.
    pub fn jobs(&self) -> Vec<Job> {
        self.policies.iter().flat_map(|(policy, knobs)| knobs.iter().map(|knob| Job { policy: *policy, knob: *knob })).collect()
    }

    /// The city of a seed, whoever drives.
    pub fn city(&self, seed: u64) -> CityConfig {
        CityConfig {
            seed,
            bins: self.bins,
            trucks: self.trucks,
            median_fill_days: self.fill_days,
            depots: 1,
            disposal_sites: 2,
            start_ms: START_MS,
            radius_m: 4_500.0,
            one_shift: true,
            position_interval_s: 300,
            faults: FaultRates::default(),
            ..CityConfig::default()
        }
    }

    /// What tells runs apart that may not be mixed.
    pub fn fingerprint(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
