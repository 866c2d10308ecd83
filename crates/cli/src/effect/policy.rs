//! Who decides each morning what is visited, and by what. Every policy has one knob that trades driving against
//! overflow. What each may know is in the arguments of its function: the truth is given to the clairvoyant alone.

use super::forecasts::Forecasts;
use super::reported::Reported;
use super::statements::Statements;
use super::town::{Site, Town, Wanted};
use crate::Failure;
use serde::{Deserialize, Serialize};
use ws_city::{Event, Truth};
use ws_routing::plan::problem::{Need, ServiceReason};
use ws_routing::plan::{Outlook, Plan, Prices, prize};

/// A policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// The city's own rounds, driven as the city drives them.
    Fixed,
    /// The sites that are due by the same rhythm, routed by the solver.
    FixedRouted,
    /// Sites with a container whose last reported level is at least the threshold.
    Threshold,
    /// Forecasts from the topology that serves, prizes from them.
    Pipeline,
    /// The same prizes from what will really be thrown in.
    Clairvoyant,
}

impl PolicyKind {
    /// All of them, the comparison's base first.
    pub const ALL: [PolicyKind; 5] = [PolicyKind::Fixed, PolicyKind::FixedRouted, PolicyKind::Threshold, PolicyKind::Pipeline, PolicyKind::Clairvoyant];

    /// Name on the command line and in the tables.
    pub fn name(self) -> &'static str {
        match self {
            PolicyKind::Fixed => "fixed",
            PolicyKind::FixedRouted => "fixed-routed",
            PolicyKind::Threshold => "threshold",
            PolicyKind::Pipeline => "pipeline",
            PolicyKind::Clairvoyant => "clairvoyant",
        }
    }

    /// By its name.
    pub fn of_name(name: &str) -> Result<PolicyKind, Failure> {
        let known = PolicyKind::ALL.into_iter().find(|kind| kind.name() == name);
        Ok(known.ok_or_else(|| format!("there is no policy {name}; there are {}", PolicyKind::ALL.map(PolicyKind::name).join(", ")))?)
    }

    /// What its knob is.
    pub fn knob(self) -> &'static str {
        match self {
            PolicyKind::Fixed | PolicyKind::FixedRouted => "level that the rhythm lets a site reach",
            PolicyKind::Threshold => "reported level from which a site is visited",
            PolicyKind::Pipeline | PolicyKind::Clairvoyant => "price of a container full for a day",
        }
    }

    /// Settings that span the overflow of interest.
    pub fn usual_knobs(self) -> &'static [f64] {
        match self {
            PolicyKind::Fixed | PolicyKind::FixedRouted => &[0.5, 0.62, 0.74, 0.9, 1.15, 1.5],
            PolicyKind::Threshold => &[0.35, 0.45, 0.55, 0.65, 0.75, 0.85],
            PolicyKind::Pipeline => &[3_000.0, 5_000.0, 8_000.0, 14_000.0, 30_000.0],
            PolicyKind::Clairvoyant => &[2_000.0, 3_000.0, 4_500.0, 8_000.0, 16_000.0],
        }
    }

    /// Whether the city drives its own rounds.
    pub fn is_fixed(self) -> bool {
        self == PolicyKind::Fixed
    }
}

/// The setting of the knob with which fixed rounds are compared.
pub const FIXED_AS_CONFIGURED: f64 = 0.74;

/// When things can be done.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The plan is made.
    pub plan_ms: i64,
    /// A site in the plan is visited, about.
    pub visit_ms: i64,
    /// A site that is not in it can be visited, about.
    pub next_ms: i64,
}

/// What a visit costs beside its service: learned from the plans so far.
#[derive(Debug, Clone, Copy)]
pub struct Detour {
    per_stop: f64,
    weight: f64,
}

/// Before the first plan: five minutes and two kilometres.
const FIRST_DETOUR: f64 = 850.0;
/// Weight of the newest plan.
const NEWEST: f64 = 0.1;
/// Of the mean way to a site, this share is saved by one site fewer: the ways to and from the area remain.
const SAVED_SHARE: f64 = 0.6;

impl Detour {
    /// Before any plan; `weight` is how much of a later visit's cost counts.
    pub fn new(weight: f64) -> Detour {
        Detour { per_stop: FIRST_DETOUR, weight }
    }

    /// Learns from a plan.
    pub fn learn(&mut self, town: &Town, plan: &Plan) {
        let sites: Vec<&Site> = plan.routes.iter().flat_map(|route| route.sites()).filter_map(|(_, id)| town.sites.get(id)).collect();
        if sites.is_empty() {
            return;
        }
        let all = plan.distance_m / 1e3 * town.costs.per_km + plan.duration_ms as f64 / 3.6e6 * town.costs.per_hour;
        let service: f64 = sites.iter().map(|site| town.service_cost(site)).sum();
        self.per_stop += NEWEST * ((all - service).max(0.0) / sites.len() as f64 - self.per_stop);
    }

    fn visit(&self, town: &Town, site: &Site) -> f64 {
        self.weight * (town.service_cost(site) + SAVED_SHARE * self.per_stop)
    }
}

/// Sites whose rhythm asks for a visit within the day.
pub fn by_rhythm(town: &Town, moment: Moment) -> Vec<Wanted> {
    let day = moment.plan_ms..moment.plan_ms + 24 * 3_600_000;
    let due = town.sites.iter().filter(|(_, site)| site.next_visit_ms.is_some_and(|visit_ms| day.contains(&visit_ms)));
    due.map(|(id, site)| Wanted {
        site_id: id.clone(),
        need: Need::Mandatory,
        reason: ServiceReason::Scheduled,
        p_overflow: None,
        levels: vec![EXPECTED_LEVEL; site.containers.len()],
    })
    .collect()
}

/// What is expected in a container of which nothing is known.
const EXPECTED_LEVEL: f64 = 0.6;

/// Sites with a container that was last reported at the threshold or above.
pub fn by_threshold(town: &Town, reported: &Reported, threshold: f64) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (id, site) in &town.sites {
        let levels: Vec<Option<f64>> = site.containers.iter().map(|container| reported.level(container)).collect();
        if levels.iter().flatten().any(|level| *level >= threshold) {
            let levels = levels.into_iter().map(|level| level.unwrap_or(EXPECTED_LEVEL)).collect();
            wanted.push(Wanted { site_id: id.clone(), need: Need::Mandatory, reason: ServiceReason::OverflowRisk, p_overflow: None, levels });
        }
    }
    wanted
}

/// What the pipeline decides by: forecasts, what was reported, and what it learned from its own past.
pub struct Pipeline {
    pub forecasts: Forecasts,
    pub reported: Reported,
    pub statements: Statements,
    pub detour: Detour,
}

impl Pipeline {
    /// With forecasts of a topology that has heard nothing yet.
    pub fn new(forecasts: Forecasts, detour: Detour) -> Pipeline {
        Pipeline { forecasts, reported: Reported::default(), statements: Statements::default(), detour }
    }

    /// Takes events in the order of their arrival.
    pub fn hear(&mut self, events: &[Event]) -> Result<(), Failure> {
        self.reported.hear(events);
        self.statements.hear(events, &self.reported);
        self.forecasts.hear(events)
    }

    /// What is known of a container.
    pub fn outlook(&self, container_id: &str) -> Option<Outlook> {
        self.forecasts.outlook(container_id, self.reported.emptied_ms(container_id))
    }

    /// Probability that a container is full at a time, for what such probabilities were worth so far.
    pub fn p_full(&self, container_id: &str, at_ms: i64) -> Option<f64> {
        Some(self.statements.past.worth(self.outlook(container_id)?.p_full(at_ms)))
    }

    /// Sites whose prize may be worth the visit.
    pub fn wanted(&mut self, town: &Town, moment: Moment, price: f64) -> Vec<Wanted> {
        self.statements.past.learn();
        let mut wanted = Vec::new();
        for (id, site) in &town.sites {
            let outlooks: Vec<Outlook> = site.containers.iter().filter_map(|container| self.outlook(container)).collect();
            let prices = Prices { overflow_per_day: price, visit: self.detour.visit(town, site) };
            let prize = prize(&outlooks, moment.visit_ms, moment.next_ms, prices, &self.statements.past);
            let emptied = |container: &String| self.reported.emptied_ms(container);
            let level = |container: &String| self.forecasts.level(container, moment.visit_ms, emptied(container)).unwrap_or(EXPECTED_LEVEL);
            let levels = site.containers.iter().map(level).collect();
            wanted.extend(optional(town, id, site, prize.amount, prize.p_overflow, levels));
        }
        for container in town.sites.values().flat_map(|site| &site.containers) {
            if let Some(outlook) = self.forecasts.outlook(container, self.reported.emptied_ms(container)) {
                for at_ms in [moment.visit_ms, moment.next_ms] {
                    self.statements.say(container, moment.plan_ms, at_ms, outlook.p_full(at_ms));
                }
            }
        }
        wanted
    }
}

/// Sites whose prize, by what will be thrown in, may be worth the visit. The formula is that of [`prize()`] with the truth in place of
/// probabilities.
pub fn by_truth(town: &Town, truth: &Truth<'_>, detour: &Detour, moment: Moment, price: f64) -> Vec<Wanted> {
    const FAR_H: f64 = 1_000.0;
    const HOUR_MS: f64 = 3_600_000.0;
    let Moment { plan_ms, visit_ms, next_ms } = moment;
    let full_h = |full_ms: f64| ((next_ms as f64 - full_ms.max(visit_ms as f64)) / HOUR_MS).max(0.0);
    let mut wanted = Vec::new();
    for (id, site) in &town.sites {
        let (mut saved_h, mut share, mut overflows) = (0.0, 0.0_f64, false);
        for container in &site.containers {
            let full_ms = plan_ms as f64 + truth.hours_to_full(container, plan_ms, FAR_H).unwrap_or(FAR_H) * HOUR_MS;
            let again_ms = visit_ms as f64 + truth.hours_to_full_from_empty(container, visit_ms, FAR_H).unwrap_or(FAR_H) * HOUR_MS;
            saved_h += (full_h(full_ms) - full_h(again_ms)).max(0.0);
            overflows |= full_ms < next_ms as f64;
            let emptied_ms = truth.emptied_ms(container, plan_ms).unwrap_or(plan_ms) as f64;
            share = share.max(((visit_ms as f64 - emptied_ms) / (full_ms - emptied_ms).max(HOUR_MS)).clamp(0.0, 1.0));
        }
        let amount = saved_h / 24.0 * price + share * detour.visit(town, site);
        let level = |container: &String| truth.level_if_left_alone(container, plan_ms, visit_ms).unwrap_or(EXPECTED_LEVEL);
        wanted.extend(optional(town, id, site, amount, f64::from(u8::from(overflows)), site.containers.iter().map(level).collect()));
    }
    wanted
}

/// A site with a prize; none if it cannot even pay for the service.
fn optional(town: &Town, id: &str, site: &Site, amount: f64, p_overflow: f64, levels: Vec<f64>) -> Option<Wanted> {
    let worth = amount > town.service_cost(site);
    worth.then(|| Wanted {
        site_id: id.to_owned(),
        need: Need::Optional { prize: amount },
        reason: ServiceReason::OverflowRisk,
        p_overflow: Some(p_overflow),
        levels,
    })
}
