//! A driver's manifest: the stops of a route in order, with names and places; as JSON, GPX 1.1 and GeoJSON. The line between
//! stops is straight: a plan says where to go and when, and the device in the cab knows the roads.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use ws_views::{Keyspace, Part, ViewKey};

use crate::ApiError;
use crate::answer::{Answer, FreshnessAnswer};
use crate::params::Params;
use crate::plans::of_vehicle;
use crate::state::ApiState;

struct Manifest {
    plan: Value,
    route: Value,
    /// Stops with `order`, `name`, `latitude_deg` and `longitude_deg`.
    stops: Vec<Value>,
    freshness: FreshnessAnswer,
}

async fn manifest(state: &ApiState, id: &str, mut params: Params) -> Result<Manifest, ApiError> {
    let tenant = params.text("tenant")?;
    params.finish()?;
    let (plan, mut route, tenant, freshness) = of_vehicle(state, id, tenant).await?;
    let mut stops = match route["stops"].take() {
        Value::Array(stops) => stops,
        _ => Vec::new(),
    };
    let key = |stop: &Value| {
        let (keyspace, id) = match stop["site_id"].as_str() {
            Some(site) => (Keyspace::Site, site),
            None => (Keyspace::Facility, stop["facility_id"].as_str()?),
        };
        ViewKey::new(keyspace, tenant.clone(), id).ok()
    };
    let mut keys: Vec<ViewKey> = stops.iter().filter_map(key).collect();
    keys.sort();
    keys.dedup();
    let (records, _) = state.fresh(move |views| views.get_many(&keys)).await?;
    for (order, stop) in stops.iter_mut().enumerate() {
        let known = key(&*stop).and_then(|key| records.iter().find(|record| record.key == key)).and_then(|record| record.document(Part::Reference).cloned());
        let name = known.as_ref().and_then(|place| place["name"].as_str()).map_or_else(|| stop["kind"].as_str().unwrap_or("stop").to_owned(), str::to_owned);
        stop["order"] = json!(order);
        stop["name"] = json!(name);
        for field in ["latitude_deg", "longitude_deg"] {
            stop[field] = known.as_ref().map(|place| place[field].clone()).unwrap_or_default();
        }
    }
    Ok(Manifest { plan, route, stops, freshness })
}

fn place(stop: &Value) -> Option<(f64, f64)> {
    stop["latitude_deg"].as_f64().zip(stop["longitude_deg"].as_f64())
}

/// `GET /v1/vehicles/{id}/manifest`.
pub(crate) async fn json(State(state): State<ApiState>, Path(id): Path<String>, params: Params) -> Result<Answer, ApiError> {
    let m = manifest(&state, &id, params).await?;
    let mut route = m.route;
    if let Value::Object(members) = &mut route {
        members.remove("stops");
    }
    Ok(Answer::new(m.freshness).with("vehicle_id", id).with("plan", m.plan).with("route", route).with("stops", m.stops))
}

/// `GET /v1/vehicles/{id}/manifest.geojson`: the line, then the stops as points. Stops without a known place (breaks) have no geometry.
pub(crate) async fn geojson(State(state): State<ApiState>, Path(id): Path<String>, params: Params) -> Result<Answer, ApiError> {
    let m = manifest(&state, &id, params).await?;
    let line: Vec<[f64; 2]> = m.stops.iter().filter_map(place).map(|(lat, lon)| [lon, lat]).collect();
    let geometry = if line.len() > 1 { json!({"type": "LineString", "coordinates": line}) } else { Value::Null };
    let head = json!({"vehicle_id": id, "plan_id": m.plan["plan_id"], "plan_version": m.plan["plan_version"], "distance_m": m.route["distance_m"]});
    let mut features = vec![json!({"type": "Feature", "id": "route", "geometry": geometry, "properties": head})];
    for stop in m.stops {
        let geometry = place(&stop).map(|(lat, lon)| json!({"type": "Point", "coordinates": [lon, lat]}));
        features.push(json!({"type": "Feature", "id": format!("stop-{}", stop["order"]), "geometry": geometry, "properties": stop}));
    }
    Ok(Answer::new(m.freshness).geo().with("type", "FeatureCollection").with("features", features))
}

/// `GET /v1/vehicles/{id}/manifest.gpx`: a route of GPX 1.1, for devices in cabs.
pub(crate) async fn gpx(State(state): State<ApiState>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let m = manifest(&state, &id, params).await?;
    let mut text =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gpx version=\"1.1\" creator=\"wastestream\" xmlns=\"http://www.topografix.com/GPX/1/1\">\n");
    let plan = format!("{} version {}", m.plan["plan_id"].as_str().unwrap_or(""), m.plan["plan_version"]);
    text.push_str(&format!("  <rte>\n    <name>{}</name>\n    <desc>{}</desc>\n", escaped(&id), escaped(&plan)));
    for stop in &m.stops {
        let Some((lat, lon)) = place(stop) else { continue };
        let kind = stop["kind"].as_str().unwrap_or("stop");
        let containers: Vec<&str> = stop["container_ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        text.push_str(&format!(
            "    <rtept lat=\"{lat}\" lon=\"{lon}\">\n      <name>{} {}</name>\n",
            stop["order"],
            escaped(stop["name"].as_str().unwrap_or(kind))
        ));
        if !containers.is_empty() {
            text.push_str(&format!("      <desc>{}</desc>\n", escaped(&containers.join(", "))));
        }
        text.push_str(&format!("      <type>{}</type>\n    </rtept>\n", escaped(kind)));
    }
    text.push_str("  </rte>\n</gpx>\n");
    let name: String = id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/gpx+xml".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.gpx\"")),
    ];
    Ok((headers, text).into_response())
}

/// Text as XML content.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
