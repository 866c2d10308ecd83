//! `GET /v1/plans.geojson`: routes as lines, one for each vehicle, for maps of any kind. Between stops the line is straight: a
//! plan says where to go and when, not which street.

use std::collections::{BTreeSet, HashMap};

use axum::extract::State;
use serde_json::{Value, json};
use ws_views::{Keyspace, Part, ViewKey};

use crate::ApiError;
use crate::answer::Answer;
use crate::limits::{MAX_GEOJSON_FEATURES, MAX_PAGE_ROWS};
use crate::params::Params;
use crate::plans::AreaPlans;
use crate::state::ApiState;

/// The key of the place where a stop is; a break is nowhere.
fn key(tenant: &str, stop: &Value) -> Option<ViewKey> {
    let (keyspace, id) = match stop["site_id"].as_str() {
        Some(site) => (Keyspace::Site, site),
        None => (Keyspace::Facility, stop["facility_id"].as_str()?),
    };
    ViewKey::new(keyspace, tenant, id).ok()
}

fn routes(plan: &Value) -> impl Iterator<Item = &Value> {
    plan["routes"].as_array().into_iter().flatten()
}

fn stops(route: &Value) -> impl Iterator<Item = &Value> {
    route["stops"].as_array().into_iter().flatten()
}

/// `GET /v1/plans.geojson`: the routes of all areas' plans; `which` is `in_force` (if left out) or `proposal`.
pub(crate) async fn plans_geojson(State(state): State<ApiState>, mut params: Params) -> Result<Answer, ApiError> {
    let list = params.list(MAX_PAGE_ROWS, MAX_PAGE_ROWS)?;
    let proposed = match params.text("which")?.as_deref() {
        None | Some("in_force") => false,
        Some("proposal") => true,
        Some(other) => return Err(ApiError::bad_parameter("which", format!("{other:?}"), "give in_force or proposal")),
    };
    params.finish()?;
    let (page, freshness) = state.fresh(move |views| views.list(Keyspace::Plan, &list)).await?;
    let plans: Vec<(String, Value)> = page
        .records
        .iter()
        .map(AreaPlans::of)
        .filter_map(|area| {
            let plan = if proposed { area.proposal } else { area.in_force };
            Some((area.tenant, plan?))
        })
        .collect();
    let keys: BTreeSet<ViewKey> = plans.iter().flat_map(|(tenant, plan)| routes(plan).flat_map(stops).filter_map(move |stop| key(tenant, stop))).collect();
    let keys: Vec<ViewKey> = keys.into_iter().collect();
    let (records, _) = state.fresh(move |views| views.get_many(&keys)).await?;
    let places: HashMap<ViewKey, [f64; 2]> = records
        .into_iter()
        .filter_map(|record| {
            let place = record.document(Part::Reference)?;
            let at = [place["longitude_deg"].as_f64()?, place["latitude_deg"].as_f64()?];
            Some((record.key, at))
        })
        .collect();
    let lines = plans.iter().flat_map(|(tenant, plan)| routes(plan).map(move |route| (tenant, plan, route)));
    let mut features: Vec<Value> = lines
        .take(MAX_GEOJSON_FEATURES + 1)
        .map(|(tenant, plan, route)| {
            let line: Vec<[f64; 2]> = stops(route).filter_map(|stop| places.get(&key(tenant, stop)?).copied()).collect();
            // A line has two ends (RFC 7946): fewer known places have none.
            let geometry = if line.len() > 1 { json!({"type": "LineString", "coordinates": line}) } else { Value::Null };
            let sites = stops(route).filter(|stop| stop["kind"] == "site").count();
            json!({"type": "Feature", "id": format!("{tenant}/{}", route["vehicle_id"].as_str().unwrap_or("?")), "geometry": geometry, "properties": {
                "tenant": tenant, "planning_area_id": plan["planning_area_id"], "plan_id": plan["plan_id"], "plan_version": plan["plan_version"], "state": plan["state"],
                "vehicle_id": route["vehicle_id"], "starts_at": route["starts_at"], "ends_at": route["ends_at"], "distance_m": route["distance_m"], "stops": sites,
                "driven": route["driven"]}})
        })
        .collect();
    let truncated = features.len() > MAX_GEOJSON_FEATURES || page.cursor.is_some();
    features.truncate(MAX_GEOJSON_FEATURES);
    Ok(Answer::new(freshness).geo().with("type", "FeatureCollection").with("features", features).with("truncated", truncated).with("cursor", page.cursor))
}
