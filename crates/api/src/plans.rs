//! Plans over HTTP: what is in force in an area, what is proposed, why it differs, and what a vehicle is to do.

use axum::extract::{Path, State};
use serde_json::{Value, json};
use ws_views::{Keyspace, ListQuery, Part, Record, pending};

use crate::ApiError;
use crate::answer::Answer;
use crate::limits::{DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS, MAX_PLAN_ROWS};
use crate::params::Params;
use crate::state::ApiState;

type Answered = Result<Answer, ApiError>;

/// The plans of an area, as its record tells them.
pub(crate) struct AreaPlans {
    pub(crate) tenant: String,
    pub(crate) in_force: Option<Value>,
    /// Waits for a decision.
    pub(crate) proposal: Option<Value>,
    completed: Option<Value>,
}

impl AreaPlans {
    pub(crate) fn of(record: &Record) -> Self {
        let part = |part| record.document(part).cloned();
        let in_force = part(Part::InForce);
        let proposal = part(Part::Proposal).filter(|proposal| pending(in_force.as_ref(), proposal));
        Self { tenant: record.key.tenant.clone(), in_force, proposal, completed: part(Part::Completed) }
    }

    /// The plan of that id and version, if it is one of the current ones.
    pub(crate) fn current(&self, plan_id: &str, version: i64) -> Option<&Value> {
        let same = |plan: &&Value| plan["plan_id"] == plan_id && plan["plan_version"] == version;
        self.proposal.iter().chain(&self.in_force).find(same)
    }

    /// In words, for whoever comes too late.
    pub(crate) fn shown(&self) -> String {
        let name = |plan: &Value| format!("{} version {}", plan["plan_id"].as_str().unwrap_or("?"), plan["plan_version"]);
        match (&self.in_force, &self.proposal) {
            (Some(now), Some(next)) => format!("{} is in force, {} is proposed", name(now), name(next)),
            (Some(now), None) => format!("{} is in force, nothing is proposed", name(now)),
            (None, Some(next)) => format!("{} is proposed, nothing is in force", name(next)),
            (None, None) => "there is no current plan".into(),
        }
    }
}

/// The plans of an area.
///
/// # Errors
/// When the area has none.
pub(crate) async fn of_area(state: &ApiState, area: &str, tenant: Option<String>) -> Result<(AreaPlans, crate::answer::FreshnessAnswer), ApiError> {
    let wanted = area.to_owned();
    let (record, freshness) = state.fresh(move |views| views.get(Keyspace::Plan, tenant.as_deref(), &wanted)).await?;
    let Some(record) = record else {
        let shown: String = area.chars().take(80).collect();
        return Err(ApiError::not_found(format!("no plan of area {shown:?}"), "GET /v1/plans lists the areas that have one"));
    };
    Ok((AreaPlans::of(&record), freshness))
}

fn brief(plan: &Value) -> Value {
    let count = |field: &str| plan[field].as_array().map_or(0, Vec::len);
    let stops: usize = plan["routes"].as_array().into_iter().flatten().filter_map(|r| r["stops"].as_array()).flatten().filter(|s| s["kind"] == "site").count();
    json!({
        "plan_id": plan["plan_id"], "plan_version": plan["plan_version"], "state": plan["state"], "valid_from": plan["valid_from"], "valid_to": plan["valid_to"],
        "cost_minor": plan["cost_minor"], "distance_m": plan["distance_m"], "duration_s": plan["duration_s"], "rung": plan["rung"],
        "routes": count("routes"), "stops": stops, "skipped": count("skipped"),
    })
}

/// `GET /v1/plans`: the areas with what is in force and what is proposed, in short.
pub(crate) async fn plans(State(state): State<ApiState>, mut params: Params) -> Answered {
    let list = params.list(DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS)?;
    params.finish()?;
    let (page, freshness) = state.fresh(move |views| views.list(Keyspace::Plan, &list)).await?;
    let rows: Vec<Value> = page
        .records
        .iter()
        .map(|record| {
            let plans = AreaPlans::of(record);
            json!({"id": record.key.id, "tenant": plans.tenant, "in_force": plans.in_force.as_ref().map(brief), "proposal": plans.proposal.as_ref().map(brief)})
        })
        .collect();
    Ok(Answer::new(freshness).with("plans", rows).with("cursor", page.cursor))
}

/// `GET /v1/plans/{area}`: in force, proposed, completed, with the changes of the newest version and the area's problems. The
/// plans that are driven tell what has been done: see [`crate::visits`].
pub(crate) async fn plan(State(state): State<ApiState>, Path(area): Path<String>, mut params: Params) -> Answered {
    let tenant = params.text("tenant")?;
    params.finish()?;
    let (mut plans, freshness) = of_area(&state, &area, tenant).await?;
    for plan in plans.in_force.iter_mut().chain(&mut plans.completed) {
        crate::visits::add(&state, &plans.tenant, plan).await?;
    }
    let newest = plans.proposal.as_ref().or(plans.in_force.as_ref()).map(|plan| (plan["plan_id"].clone(), plan["plan_version"].clone()));
    let mut changes = rows(&state, Keyspace::Change, Part::Change, &plans.tenant, &area).await?;
    changes.retain(|change| newest.as_ref().is_some_and(|(id, version)| change["plan_id"] == *id && change["plan_version"] == *version));
    let number = |change: &Value| change["event_id"].as_str().and_then(|id| id.rsplit('-').next()?.parse::<u64>().ok()).unwrap_or(u64::MAX);
    changes.sort_by_key(number);
    let problems = rows(&state, Keyspace::Problem, Part::Problem, &plans.tenant, &area).await?;
    Ok(Answer::new(freshness)
        .with("in_force", plans.in_force)
        .with("proposal", plans.proposal)
        .with("completed", plans.completed)
        .with("changes", changes)
        .with("problems", problems))
}

/// The documents of a keyspace that belong to an area.
async fn rows(state: &ApiState, keyspace: Keyspace, part: Part, tenant: &str, area: &str) -> Result<Vec<Value>, ApiError> {
    let list = ListQuery { tenant: Some(tenant.to_owned()), limit: MAX_PLAN_ROWS, cursor: None };
    let (page, _) = state.fresh(move |views| views.list(keyspace, &list)).await?;
    let prefix = format!("{area}/");
    Ok(page.records.iter().filter(|record| record.key.id.starts_with(&prefix)).filter_map(|record| record.document(part).cloned()).collect())
}

/// The plan in force that has a vehicle, and its route there.
pub(crate) async fn of_vehicle(state: &ApiState, id: &str, tenant: Option<String>) -> Result<(Value, Value, String, crate::answer::FreshnessAnswer), ApiError> {
    let shown: String = id.chars().take(80).collect();
    let none = || ApiError::not_found(format!("vehicle {shown:?} is in no plan that is in force"), "GET /v1/plans/{area} shows plans with their vehicles");
    let (wanted, of) = (id.to_owned(), tenant.clone());
    let (record, _) = state.fresh(move |views| views.get(Keyspace::Truck, of.as_deref(), &wanted)).await?;
    let record = record.ok_or_else(none)?;
    let area = record.document(Part::Duty).and_then(|duty| duty["planning_area_id"].as_str()).ok_or_else(none)?.to_owned();
    let (plans, freshness) = of_area(state, &area, Some(record.key.tenant.clone())).await?;
    let mut plan = plans.in_force.ok_or_else(none)?;
    let route = plan["routes"].as_array().into_iter().flatten().find(|route| route["vehicle_id"] == id).cloned().ok_or_else(none)?;
    if let Value::Object(members) = &mut plan {
        members.remove("routes");
        members.remove("skipped");
    }
    Ok((plan, route, record.key.tenant, freshness))
}

/// `GET /v1/vehicles/{id}/plan`: the plan in force that has the vehicle, with its route.
pub(crate) async fn vehicle(State(state): State<ApiState>, Path(id): Path<String>, mut params: Params) -> Answered {
    let tenant = params.text("tenant")?;
    params.finish()?;
    let (plan, route, _, freshness) = of_vehicle(&state, &id, tenant).await?;
    Ok(Answer::new(freshness).with("plan", plan).with("route", route))
}
