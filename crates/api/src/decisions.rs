//! `POST /v1/plans/{area}/{plan}/{version}/decisions`: a person's decision becomes a `plan.decision` event. It is optimistic:
//! whoever decides about a version that is not current any more gets 409 and the current one; whether a decision could be
//! applied, the next version tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ApiError;
use crate::guard;
use crate::params::Params;
use crate::plans::{AreaPlans, of_area};
use crate::state::ApiState;

/// Appends a `plan.decision` event under a key and returns when the log has it; the error is words.
pub type Decide = Arc<dyn Fn(&str, &Value) -> Result<(), String> + Send + Sync>;

/// Longest note.
const MAX_NOTE_CHARS: usize = 1_000;
/// Reasons of the contract.
const REASONS: [&str; 6] = ["local_knowledge", "customer_call", "driver_request", "safety", "wrong_forecast", "other"];
const ROLES: [&str; 4] = ["dispatcher", "driver", "supervisor", "system"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    decision: String,
    site_id: Option<String>,
    vehicle_id: Option<String>,
    position: Option<i64>,
    reason: Option<String>,
    note: Option<String>,
    actor_id: String,
    actor_role: Option<String>,
}

/// The word in the contract; verbs of the interface are understood too.
fn word(decision: &str) -> Option<&'static str> {
    Some(match decision {
        "accept" | "accepted" => "accepted",
        "reject" | "rejected" => "rejected",
        "lock" | "locked" => "locked",
        "unlock" | "unlocked" => "unlocked",
        "edit" | "edited" => "edited",
        "cancel" | "cancelled" => "cancelled",
        _ => return None,
    })
}

fn bad(field: &str, detail: impl Into<String>, hint: &str) -> ApiError {
    ApiError::bad_parameter(field, detail, hint)
}

/// Takes a decision.
pub(crate) async fn decide(
    State(state): State<ApiState>,
    Path((area, plan, version)): Path<(String, String, i64)>,
    mut params: Params,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    guard::deliberate(&headers)?;
    let tenant = params.text("tenant")?;
    params.finish()?;
    let Some(decide) = state.decide.clone() else {
        let (title, hint) = ("Decisions cannot be taken here", "ask the process that owns the log");
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "no-decisions", title, "this process has no way into the log", hint));
    };
    let example = "give for example {\"decision\": \"lock\", \"site_id\": \"s1\", \"vehicle_id\": \"v1\", \"actor_id\": \"p7\"}";
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| bad("body", error.to_string(), example))?;
    let (plans, _) = of_area(&state, &area, tenant).await?;
    let kind = checked(&wanted, &plans, &plan, version)?;
    let now_ms = state.status.event_now_ms();
    let event_id = event_id();
    let event = json!({
        "tenant": plans.tenant, "event_id": event_id, "observed_at": now_ms, "sent_at": now_ms, "received_at": now_ms, "source": "api", "schema_version": 1,
        "planning_area_id": area, "plan_id": plan, "plan_version": version, "decision": kind,
        "vehicle_id": wanted.vehicle_id, "site_id": wanted.site_id, "container_id": null, "position": wanted.position,
        "reason": wanted.reason, "note": wanted.note, "actor_id": wanted.actor_id, "actor_role": wanted.actor_role.as_deref().unwrap_or("dispatcher"),
    });
    let told = event.clone();
    // The log's sync blocks: off the HTTP threads.
    match tokio::task::spawn_blocking(move || decide(&area, &event)).await {
        Ok(Ok(())) => Ok((StatusCode::ACCEPTED, Json(json!({"decision": told}))).into_response()),
        Ok(Err(why)) => {
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "log-unavailable", "The log cannot be written now", why, "try again in a few seconds"))
        }
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}

/// The contract's word for a decision that can be taken about this version.
fn checked(wanted: &Wanted, plans: &AreaPlans, plan_id: &str, version: i64) -> Result<&'static str, ApiError> {
    let kind = word(&wanted.decision).ok_or_else(|| bad("decision", format!("{:?}", wanted.decision), "give accept, reject, lock, unlock, edit or cancel"))?;
    if wanted.actor_id.trim().is_empty() || wanted.actor_id.len() > 200 {
        return Err(bad("actor_id", "empty, or longer than 200 bytes", "give a pseudonymous id of who decides"));
    }
    if let Some(reason) = wanted.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
        return Err(bad("reason", format!("{reason:?}"), &format!("give one of {}", REASONS.join(", "))));
    }
    if let Some(role) = wanted.actor_role.as_deref().filter(|role| !ROLES.contains(role)) {
        return Err(bad("actor_role", format!("{role:?}"), &format!("give one of {}", ROLES.join(", "))));
    }
    if wanted.note.as_ref().is_some_and(|note| note.chars().count() > MAX_NOTE_CHARS) {
        return Err(bad("note", "too long", "at most 1000 characters"));
    }
    let (site, vehicle) = (wanted.site_id.as_deref(), wanted.vehicle_id.as_deref());
    match (kind, site, vehicle, wanted.position) {
        ("accepted", None, None, None) | ("rejected", None, None, None) => {}
        ("accepted", ..) => return Err(bad("decision", "a plan is accepted as a whole", "leave site_id, vehicle_id and position out")),
        ("rejected" | "cancelled", Some(_), _, None) => {}
        ("rejected" | "cancelled", ..) => return Err(bad("site_id", "missing, or a position is given", "name the stop that shall not be served")),
        ("locked" | "unlocked", None, None, _) => return Err(bad("site_id", "missing", "name a stop, or a vehicle for its whole route")),
        ("locked" | "unlocked", _, _, Some(_)) => return Err(bad("position", "means nothing here", "use edit to give a stop a place")),
        ("edited", Some(_), Some(_), position) if position.is_none_or(|position| (0..10_000).contains(&position)) => {}
        ("edited", ..) => return Err(bad("site_id", "an edit names a stop, a vehicle, and maybe a position from 0", "give site_id, vehicle_id and position")),
        _ => {}
    }
    let Some(plan) = plans.current(plan_id, version) else {
        return Err(conflict("not-current", format!("{plan_id} version {version} is not current: {}", plans.shown())));
    };
    if matches!(kind, "accepted" | "rejected") && site.is_none() && plan["state"] != "proposed" {
        return Err(conflict("already-in-force", format!("{plan_id} version {version} is in force: {}", plans.shown())));
    }
    let routes = || plan["routes"].as_array().into_iter().flatten();
    let has_site = |id: &str| {
        let served = routes().filter_map(|route| route["stops"].as_array()).flatten().any(|stop| stop["site_id"] == id);
        served || plan["skipped"].as_array().into_iter().flatten().any(|skipped| skipped["site_id"] == id)
    };
    if let Some(site) = site.filter(|site| !has_site(site)) {
        return Err(bad("site_id", format!("the plan knows no site {site:?}"), "ids are in routes[].stops and skipped of the plan"));
    }
    if let (None, Some(vehicle)) = (site, vehicle.filter(|vehicle| !routes().any(|route| route["vehicle_id"] == *vehicle))) {
        return Err(bad("vehicle_id", format!("the plan has no route of {vehicle:?}"), "ids are in routes of the plan"));
    }
    Ok(kind)
}

fn conflict(code: &'static str, detail: String) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code, "The plan has changed meanwhile", detail, "read the plan again, and decide about the version that is current")
}

/// Unique among processes and calls: time, process, number.
fn event_id() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("decision-{nanos:x}-{:x}-{:x}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed))
}
