//! One run: a seed, a policy, a setting of its knob; and what it came to between the first and the last midnight.

use super::day::{Life, Mind};
use super::forecasts::{Forecasts, trained};
use super::policy::{Detour, Pipeline, PolicyKind};
use super::reported::Reported;
use super::settings::Settings;
use crate::{Failure, plans};
use chrono::{Days, NaiveTime, TimeZone};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use ws_city::{CityConfig, DutyDone, Truth};
use ws_log::registry::Registry;
use ws_models::TrainedModel;

/// A policy with a setting of its knob.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    pub policy: PolicyKind,
    pub knob: f64,
}

/// How often what was said to be likely came: ten classes of probability.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Number, sum of the probabilities, how many came.
    pub classes: [(usize, f64, usize); 10],
}

impl Calibration {
    /// Notes one statement.
    pub fn add(&mut self, probability: f64, came: bool) {
        let class = &mut self.classes[((probability * 10.0) as usize).min(9)];
        *class = (class.0 + 1, class.1 + probability, class.2 + usize::from(came));
    }

    /// Takes in another's statements.
    pub fn merge(&mut self, other: &Calibration) {
        for (class, more) in self.classes.iter_mut().zip(&other.classes) {
            *class = (class.0 + more.0, class.1 + more.1, class.2 + more.2);
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub seed: u64,
    pub policy: String,
    pub knob: f64,
    pub km: f64,
    /// Paid time of the trucks.
    pub hours: f64,
    /// Kilometres and hours at the prices that all plans are made with, minor unit.
    pub cost_minor: f64,
    /// Sites served.
    pub visits: usize,
    pub containers_emptied: usize,
    pub disposals: usize,
    pub sites_skipped: usize,
    /// Shifts that were driven.
    pub duties: usize,
    /// Days that containers stood full, all together.
    pub overflow_days: f64,
    /// Longest shift, hours.
    pub longest_h: f64,
    /// Fullest truck, share of its capacity.
    pub peak_load: f64,
    /// Most that a truck brought home, kg.
    pub load_home_kg: f64,
    /// Mean level of the containers at the end: what a policy leaves behind.
    pub level_at_end: f64,
    /// Planned time of the routes, hours, over all days; 0 for rounds.
    pub planned_h: f64,
    /// Searches whose plan the checker refused; the repair's was driven then.
    pub refused: usize,
    pub plans: usize,
    /// What is thrown in, as a figure that must be the same for all policies of a seed.
    pub waste: f64,
    pub calibration: Calibration,
}

/// Runs the jobs of one seed; what they share is made once.
pub struct Runner {
    settings: Settings,
    seed: u64,
    registry: Arc<Registry>,
    model: Option<TrainedModel>,
}

impl Runner {
    /// For a seed.
    pub fn new(settings: Settings, seed: u64) -> Result<Runner, Failure> {
        Ok(Runner { settings, seed, registry: plans::registry(None)?, model: None })
    }

    /// One run.
    pub fn run(&mut self, job: &Job) -> Result<RunRecord, Failure> {
        let detour = Detour::new(self.settings.visit_weight);
        let mind = match job.policy {
            PolicyKind::Fixed => Mind::Fixed,
            PolicyKind::FixedRouted => Mind::Rhythm,
            PolicyKind::Threshold => Mind::Threshold(Reported::default()),
            PolicyKind::Pipeline => {
                let registry = self.registry.clone();
                Mind::Pipeline(Box::new(Pipeline::new(Forecasts::new(self.model()?, &registry)?, detour)))
            }
            PolicyKind::Clairvoyant => Mind::Clairvoyant { detour },
        };
        let city = self.settings.city(self.seed);
        let from_ms = midnight_ms(&city, self.settings.warmup_days)?;
        let to_ms = midnight_ms(&city, self.settings.warmup_days + self.settings.days)?;
        let mut life = Life::new(&self.settings, self.seed, job.policy, job.knob, mind)?;
        let waste = waste(&life.city.truth(), city.start_ms, from_ms);
        life.live(to_ms)?;
        let costs = life.costs();
        let truth = life.city.truth();
        let duties: Vec<&DutyDone> = truth.duties().iter().filter(|duty| (from_ms..to_ms).contains(&duty.started_ms)).collect();
        let sum = |of: fn(&DutyDone) -> f64| duties.iter().map(|duty| of(duty)).sum::<f64>();
        let most = |of: fn(&DutyDone) -> f64| duties.iter().map(|duty| of(duty)).fold(0.0, f64::max);
        let levels: Vec<f64> = truth.container_ids().filter_map(|id| truth.level(id)).collect();
        Ok(RunRecord {
            seed: self.seed,
            policy: job.policy.name().to_owned(),
            knob: job.knob,
            km: sum(|duty| duty.driven_m) / 1e3,
            hours: sum(hours),
            cost_minor: sum(|duty| duty.driven_m) / 1e3 * costs.per_km + sum(hours) * costs.per_hour,
            visits: sum(|duty| duty.sites_served as f64) as usize,
            containers_emptied: sum(|duty| duty.containers_emptied as f64) as usize,
            disposals: sum(|duty| duty.disposals as f64) as usize,
            sites_skipped: sum(|duty| duty.sites_skipped as f64) as usize,
            duties: duties.len(),
            overflow_days: truth.full_h(from_ms, to_ms) / 24.0,
            longest_h: most(hours),
            peak_load: most(|duty| duty.peak_load),
            load_home_kg: most(|duty| duty.load_home_kg),
            level_at_end: levels.iter().sum::<f64>() / levels.len().max(1) as f64,
            planned_h: life.planned_route_ms as f64 / 3.6e6,
            refused: life.refused,
            plans: life.plans,
            waste,
            calibration: life.calibration.clone(),
        })
    }

    fn model(&mut self) -> Result<&TrainedModel, Failure> {
        if self.model.is_none() {
            self.model = Some(trained(&self.settings.city(self.seed), self.settings.training_days, &self.registry)?);
        }
        Ok(self.model.as_ref().ok_or("no model")?)
    }
}

fn hours(duty: &DutyDone) -> f64 {
    (duty.ended_ms - duty.started_ms) as f64 / 3.6e6
}

/// Midnight of the city after so many days.
fn midnight_ms(city: &CityConfig, days: i64) -> Result<i64, Failure> {
    let start = city.time_zone.timestamp_millis_opt(city.start_ms).single().ok_or("the start is no time")?;
    let day = start.date_naive().checked_add_days(Days::new(days.max(0) as u64)).ok_or("too many days")?;
    let midnight = city.time_zone.from_local_datetime(&day.and_time(NaiveTime::MIN)).earliest().ok_or("a day without a midnight")?;
    Ok(midnight.timestamp_millis())
}

/// What is thrown into the containers, whoever empties them: when each one would be full from empty, on two days.
fn waste(truth: &Truth<'_>, start_ms: i64, from_ms: i64) -> f64 {
    let hours = |id: &str, at_ms: i64| truth.hours_to_full_from_empty(id, at_ms, 400.0).unwrap_or(400.0);
    let levels = |id: &str| truth.level_if_left_alone(id, start_ms, start_ms + 24 * 3_600_000).unwrap_or(0.0);
    truth.container_ids().map(|id| hours(id, from_ms) + hours(id, from_ms + 10 * 86_400_000) + levels(id)).sum()
}
