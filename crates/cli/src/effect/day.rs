//! One policy's days in one city: the city lives, the policy hears, each morning it plans, and the trucks drive it.

use super::policy::{Detour, Moment, Pipeline, PolicyKind, by_rhythm, by_threshold, by_truth};
use super::reported::Reported;
use super::run::Calibration;
use super::settings::Settings;
use super::town::{Town, UnitCosts};
use crate::Failure;
use ws_city::{City, Dispatch, DispatchError, Event, PlannedRoute, PlannedVisit, Visit};
use ws_routing::plan::answer::{Route, StopKind};
use ws_routing::plan::solve::ladder::plan_checked;
use ws_routing::plan::{Budget, Plan, RuinRecreate};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Plans are made so long before the first shift.
const LEAD_MS: i64 = 30 * MINUTE_MS;
/// The middle of a shift's visits.
const MIDDLE_MS: i64 = 3 * HOUR_MS;
/// The city lives in such steps, and is heard after each.
const STEP_MS: i64 = 2 * HOUR_MS;

/// What a policy works with.
pub enum Mind {
    Fixed,
    Rhythm,
    Threshold(Reported),
    Pipeline(Box<Pipeline>),
    Clairvoyant { detour: Detour },
}

impl Mind {
    fn hear(&mut self, events: &[Event]) -> Result<(), Failure> {
        match self {
            Mind::Fixed | Mind::Rhythm | Mind::Clairvoyant { .. } => {}
            Mind::Threshold(reported) => reported.hear(events),
            Mind::Pipeline(pipeline) => pipeline.hear(events)?,
        }
        Ok(())
    }
}

/// A city under a policy.
pub struct Life<'a> {
    settings: &'a Settings,
    pub city: City,
    town: Town,
    mind: Mind,
    knob: f64,
    planned_ms: i64,
    /// Planned time of all routes.
    pub planned_route_ms: i64,
    /// Searches whose plan the checker refused.
    pub refused: usize,
    /// Plans made.
    pub plans: usize,
    /// P(overflow) as said before each plan against what was to come.
    pub calibration: Calibration,
}

impl<'a> Life<'a> {
    /// At the start of the city's days.
    pub fn new(settings: &'a Settings, seed: u64, kind: PolicyKind, knob: f64, mut mind: Mind) -> Result<Life<'a>, Failure> {
        let mut config = settings.city(seed);
        if matches!(kind, PolicyKind::Fixed | PolicyKind::FixedRouted) {
            config.rounds_target_level = knob;
        }
        config.dispatch = if kind.is_fixed() { Dispatch::Fixed } else { Dispatch::External };
        let city = City::new(config);
        let references = city.references();
        let town = Town::new(&references, city.roads())?;
        mind.hear(&references)?;
        Ok(Life { settings, planned_ms: city.now_ms(), city, town, mind, knob, planned_route_ms: 0, refused: 0, plans: 0, calibration: Calibration::default() })
    }

    /// What the city's driving costs.
    pub fn costs(&self) -> UnitCosts {
        self.town.costs
    }

    /// Lives until a time, planning each morning.
    pub fn live(&mut self, until_ms: i64) -> Result<(), Failure> {
        while self.city.now_ms() < until_ms {
            let now_ms = self.city.now_ms();
            let morning = self.town.shifts(self.planned_ms.max(now_ms + LEAD_MS + 1), now_ms + 2 * DAY_MS);
            let plan_ms = morning.iter().map(|shift| shift.starts_ms - LEAD_MS).min().filter(|_| !matches!(self.mind, Mind::Fixed));
            let next_ms = [Some(now_ms + STEP_MS), plan_ms, Some(until_ms)].into_iter().flatten().min().unwrap_or(until_ms);
            let events = self.city.advance(next_ms);
            if !matches!(self.mind, Mind::Fixed) {
                self.town.hear(&events);
            }
            if !self.settings.deaf {
                self.mind.hear(&events)?;
            }
            if plan_ms == Some(next_ms) {
                self.plan(next_ms)?;
            }
        }
        Ok(())
    }

    fn plan(&mut self, plan_ms: i64) -> Result<(), Failure> {
        let shifts = self.town.shifts(plan_ms, plan_ms + DAY_MS);
        let first_ms = shifts.iter().map(|shift| shift.starts_ms).min().unwrap_or(plan_ms);
        self.planned_ms = first_ms + 1;
        let moment = Moment { plan_ms, visit_ms: first_ms + MIDDLE_MS, next_ms: first_ms + MIDDLE_MS + DAY_MS };
        let town = &self.town;
        let wanted = match &mut self.mind {
            Mind::Fixed => return Ok(()),
            Mind::Rhythm => by_rhythm(town, moment),
            Mind::Threshold(reported) => by_threshold(town, reported, self.knob),
            Mind::Pipeline(pipeline) => {
                let wanted = pipeline.wanted(town, moment, self.knob);
                // Only to be judged by: what was decided above is not changed by what will be.
                for id in town.sites.values().flat_map(|site| &site.containers) {
                    if let Some(said) = pipeline.p_full(id, moment.next_ms) {
                        let level = self.city.truth().level_if_left_alone(id, plan_ms, moment.next_ms);
                        self.calibration.add(said, level.is_some_and(|level| level >= 1.0));
                    }
                }
                wanted
            }
            Mind::Clairvoyant { detour } => by_truth(town, &self.city.truth(), detour, moment, self.knob),
        };
        if wanted.is_empty() {
            return Ok(());
        }
        let problem = town.problem(&wanted, &shifts)?;
        let seed = self.city.config().seed ^ (plan_ms as u64);
        let accepted = plan_checked(&problem, &RuinRecreate::default(), &Budget::iterations(self.settings.iterations), seed, None)?;
        self.plans += 1;
        self.refused += usize::from(!accepted.refused.is_empty());
        self.planned_route_ms += accepted.plan.duration_ms;
        match &mut self.mind {
            Mind::Pipeline(pipeline) => pipeline.detour.learn(&self.town, &accepted.plan),
            Mind::Clairvoyant { detour } => detour.learn(&self.town, &accepted.plan),
            Mind::Fixed | Mind::Rhythm | Mind::Threshold(_) => {}
        }
        self.send(&accepted.plan)
    }

    /// Hands the routes to the trucks; one that broke down keeps none.
    fn send(&mut self, plan: &Plan) -> Result<(), Failure> {
        for route in &plan.routes {
            match self.city.dispatch(&as_sent(route)) {
                Ok(()) | Err(DispatchError::BrokenDown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A route of a plan as trucks are told it.
pub fn as_sent(route: &Route) -> PlannedRoute {
    let visits = route.stops.iter().filter_map(|stop| {
        let visit = match &stop.kind {
            StopKind::Site { site_id } => Visit::Site { site_id: site_id.clone(), container_ids: Vec::new() },
            StopKind::Disposal { facility_id } => Visit::Disposal { facility_id: facility_id.clone() },
            StopKind::Lunch => Visit::Break,
            StopKind::Depot { .. } => return None,
        };
        Some(PlannedVisit { visit, planned_ms: stop.arrives_ms })
    });
    PlannedRoute {
        vehicle_id: route.vehicle_id.clone(),
        route_id: format!("plan-{}-{}", route.vehicle_id, route.starts_ms().unwrap_or_default()),
        starts_ms: route.starts_ms().unwrap_or_default(),
        visits: visits.collect(),
    }
}
