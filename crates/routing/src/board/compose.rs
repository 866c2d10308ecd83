//! Plans, changes and troubles as rows. A function of what was decided alone: who judges composes the same rows again and
//! compares, so that what is published is what was checked.

use super::build::Horizon;
use super::driven::driven;
use super::facts::{Facts, Trouble};
use super::memo::{Issued, Memo};
use super::settings::Settings;
use super::zone;
use crate::plan::diff::{Causes, diff};
use crate::plan::{Plan, Route, Stop, StopKind};
use serde_json::{Map, Value, json};

/// What all rows of an answer share.
pub(super) struct Page<'a> {
    pub area: &'a str,
    pub facts: &'a Facts,
    pub settings: &'a Settings,
    pub rows: Vec<Map<String, Value>>,
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl Page<'_> {
    /// A plan in a state.
    pub(super) fn plan(&mut self, memo: &Memo, horizon: &Horizon, issued: &Issued, state: &str, supersedes: Option<i64>) {
        let plan_id = memo.plan_id(self.area);
        let routes: Vec<Value> = issued.plan.routes.iter().filter(|r| !r.stops.is_empty()).map(|r| self.route(memo, r)).collect();
        let skipped: Vec<Value> =
            issued.plan.skipped.iter().map(|s| json!({"site_id": s.site_id, "reason": s.reason.code(), "p_overflow": s.p_overflow})).collect();
        let last_ms = issued.plan.routes.iter().filter_map(Route::ends_ms).max();
        let (valid_from, valid_to) = day_of(memo, horizon);
        self.rows.push(object(json!({
            "row_kind": "plan",
            "row_id": format!("plan-{}-{state}", issued.version),
            "tenant": self.facts.tenant,
            "plan_id": plan_id,
            "plan_version": issued.version,
            "supersedes": supersedes.map(|v| format!("{plan_id}:{v}")),
            "state": state,
            "valid_from": valid_from,
            "valid_to": last_ms.map_or(valid_to, |ms| valid_to.max(ms + 1)),
            "time_zone": horizon.zone.name(),
            "plan_solver": issued.solver,
            "plan_seed": issued.seed,
            "plan_iterations": issued.iterations,
            "plan_rung": issued.rung,
            "cost_minor": issued.plan.cost.round() as i64,
            "currency": self.facts.currency,
            "distance_m": issued.plan.distance_m,
            "duration_s": issued.plan.duration_ms as f64 / 1e3,
            "routes": routes,
            "skipped": skipped,
        })));
    }

    fn route(&self, memo: &Memo, route: &Route) -> Value {
        let crew = memo.crews.get(&route.vehicle_id);
        let depot = |stop: Option<&Stop>| match stop.map(|s| &s.kind) {
            Some(StopKind::Depot { depot_id }) => Some(depot_id.clone()),
            _ => None,
        };
        let shift = crew.and_then(|t| t.shift.as_ref());
        let figures = driven(memo, self.facts, self.settings, route).map(|d| {
            json!({"stops_planned": d.stops_planned, "stops_served": d.stops_served, "stops_late": d.stops_late, "stops_not_done": d.stops_not_done,
                "stops_extra": d.stops_extra, "planned_m": d.planned_m, "driven_m": d.driven_m, "planned_s": d.planned_s, "driven_s": d.driven_s})
        });
        let stops: Vec<Value> = route.stops.iter().map(|s| self.stop(memo, s)).collect();
        json!({
            "vehicle_id": route.vehicle_id,
            "shift_id": shift.map(|s| s.id.as_str()),
            "start_facility_id": depot(route.stops.first()).or(shift.map(|s| s.depot_id.clone())).unwrap_or_default(),
            "end_facility_id": depot(route.stops.last()).or(shift.map(|s| s.end_depot_id.clone())).unwrap_or_default(),
            "starts_at": route.starts_ms().unwrap_or(0),
            "ends_at": route.ends_ms().unwrap_or(0),
            "distance_m": route.distance_m,
            "stops": stops,
            "driven": figures,
        })
    }

    fn stop(&self, memo: &Memo, stop: &Stop) -> Value {
        let (kind, site, facility) = match &stop.kind {
            StopKind::Site { site_id } => ("site", Some(site_id), None),
            StopKind::Disposal { facility_id } => ("disposal", None, Some(facility_id)),
            StopKind::Lunch => ("lunch", None, None),
            StopKind::Depot { depot_id } => ("depot", None, Some(depot_id)),
        };
        let containers: Vec<&str> = site.and_then(|s| self.facts.containers.get(s)).map_or_else(Vec::new, |all| all.iter().map(|c| c.id.as_str()).collect());
        let load_kg: f64 = stop.load.iter().map(|l| l.kg).sum();
        json!({
            "kind": kind,
            "site_id": site,
            "facility_id": facility,
            "container_ids": containers,
            "arrives_at": stop.arrives_ms,
            "leaves_at": stop.leaves_ms,
            "load_kg": (load_kg * 1e3).round() / 1e3,
            "locked": site.is_some_and(|s| memo.locks.iter().any(|l| l.site_id == *s)),
            "reason": stop.reason.map(reason),
        })
    }

    /// What is new in a plan against the one that is in force (or was before it).
    pub(super) fn changes(&mut self, memo: &Memo, before: Option<&Issued>, issued: &Issued, causes: &Causes) {
        let plan_id = memo.plan_id(self.area);
        let nothing = Plan { planning_area_id: self.area.to_owned(), routes: Vec::new(), skipped: Vec::new(), cost: 0.0, distance_m: 0.0, duration_ms: 0 };
        for (n, change) in diff(before.map_or(&nothing, |b| &b.plan), &issued.plan, causes).changes.into_iter().enumerate() {
            self.rows.push(object(json!({
                "row_kind": "change",
                "row_id": format!("change-{}-{n}", issued.version),
                "tenant": self.facts.tenant,
                "plan_id": plan_id,
                "plan_version": issued.version,
                "previous_plan_id": before.map(|_| &plan_id),
                "previous_plan_version": before.map(|b| b.version),
                "change": change.kind.code(),
                "vehicle_id": change.vehicle_id,
                "previous_vehicle_id": change.previous_vehicle_id,
                "site_id": change.site_id,
                "position": change.position,
                "previous_position": change.previous_position,
                "reason": change.cause.reason.code(),
                "cause_event_id": change.cause.event_id,
            })));
        }
    }

    /// What a person should know.
    pub(super) fn troubles(&mut self, memo: &Memo, troubles: &[Trouble]) {
        for (n, t) in troubles.iter().enumerate() {
            self.rows.push(object(json!({
                "row_kind": "problem",
                "row_id": format!("problem-{n}"),
                "tenant": self.facts.tenant,
                "plan_id": memo.plan_id(self.area),
                "plan_version": memo.newest().map(|i| i.version),
                "code": t.code,
                "entity_kind": t.entity_kind,
                "entity_id": t.entity_id,
                "cause_event_id": t.cause_event_id,
                "detail": t.detail,
            })));
        }
    }
}

/// The local day of a memo's plan; that of the horizon where it is the same.
fn day_of(memo: &Memo, horizon: &Horizon) -> (i64, i64) {
    match memo.day.parse() {
        Ok(day) => zone::day_bounds(horizon.zone, day),
        Err(_) => (horizon.from_ms, horizon.to_ms),
    }
}

fn reason(reason: crate::plan::problem::ServiceReason) -> &'static str {
    use crate::plan::problem::ServiceReason::{Nearby, OverflowRisk, Scheduled, Ticket};
    match reason {
        Scheduled => "scheduled",
        OverflowRisk => "overflow_risk",
        Ticket => "ticket",
        Nearby => "nearby",
    }
}
