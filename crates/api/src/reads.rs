//! Reads of the view over HTTP: bins, alerts, trucks and places, as JSON lists and as GeoJSON.

use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Map, Value, json};
use ws_views::{
    AlertSummary, BinQuery, BinSummary, ChurnRiskSummary, Keyspace, ListQuery, MaintenanceRiskSummary, Page, Part, PlaceSummary, Record, TruckSummary,
};

use crate::ApiError;
use crate::answer::{Answer, FreshnessAnswer, to_value};
use crate::limits::{DEFAULT_PAGE_ROWS, MAX_GEOJSON_FEATURES, MAX_PAGE_ROWS};
use crate::params::Params;
use crate::state::ApiState;

type Answered = Result<Answer, ApiError>;

/// `GET /v1/bins/{id}`: everything about one bin.
pub(crate) async fn bin(State(state): State<ApiState>, Path(id): Path<String>, mut params: Params) -> Answered {
    let tenant = params.text("tenant")?;
    params.finish()?;
    let wanted = id.clone();
    let (record, freshness) = state.fresh(move |views| views.get(Keyspace::Bin, tenant.as_deref(), &wanted)).await?;
    let Some(record) = record else {
        let shown: String = id.chars().take(80).collect();
        return Err(ApiError::not_found(format!("no bin {shown:?}"), "ids are device ids; GET /v1/bins lists them"));
    };
    Ok(Answer::new(freshness).with("bin", details(&record)))
}

/// A bin's summary with both parts in full.
fn details(record: &Record) -> Value {
    let mut bin = to_value(BinSummary::of(record));
    if let Value::Object(members) = &mut bin {
        for part in [Part::Features, Part::Forecast] {
            members.insert(part.as_str().to_owned(), record.document(part).cloned().unwrap_or_default());
        }
    }
    bin
}

/// `GET /v1/bins`: a page of bins, in short or (`detail=full`) with all fields.
pub(crate) async fn bins(State(state): State<ApiState>, mut params: Params) -> Answered {
    let bounds = params.bounds()?;
    let list = params.list(DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS)?;
    let filter = params.filter()?;
    let full = match params.text("detail")?.as_deref() {
        None | Some("short") => false,
        Some("full") => true,
        Some(other) => {
            return Err(ApiError::bad_parameter("detail", format!("{other:?}"), "give short or full"));
        }
    };
    params.finish()?;
    let (page, freshness) = state.fresh(move |views| views.bins(&BinQuery { list, bounds, filter })).await?;
    let rows: Vec<Value> = page.records.iter().map(|record| if full { details(record) } else { to_value(BinSummary::of(record)) }).collect();
    Ok(Answer::new(freshness).with("bins", rows).with("cursor", page.cursor))
}

/// `GET /v1/bins.geojson`: bins in an area as points.
pub(crate) async fn bins_geojson(State(state): State<ApiState>, mut params: Params) -> Answered {
    let bounds = params.bounds()?;
    let list = params.list(MAX_GEOJSON_FEATURES, MAX_GEOJSON_FEATURES)?;
    let filter = params.filter()?;
    params.finish()?;
    let (page, freshness) = state.fresh(move |views| views.bins(&BinQuery { list, bounds, filter })).await?;
    Ok(collection(freshness, &page, BinSummary::of))
}

/// `GET /v1/alerts`: raised alerts, newest first.
pub(crate) async fn alerts(State(state): State<ApiState>, mut params: Params) -> Answered {
    let list = params.list(DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS)?;
    params.finish()?;
    listed(&state, Keyspace::Alert, list, "alerts", AlertSummary::of).await
}

/// `GET /v1/trucks`: the fleet.
pub(crate) async fn trucks(State(state): State<ApiState>, mut params: Params) -> Answered {
    let list = params.list(DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS)?;
    params.finish()?;
    listed(&state, Keyspace::Truck, list, "trucks", TruckSummary::of).await
}

/// `GET /v1/trucks.geojson`: the fleet as points.
pub(crate) async fn trucks_geojson(State(state): State<ApiState>, mut params: Params) -> Answered {
    let list = params.list(MAX_GEOJSON_FEATURES, MAX_GEOJSON_FEATURES)?;
    params.finish()?;
    let (page, freshness) = state.fresh(move |views| views.list(Keyspace::Truck, &list)).await?;
    Ok(collection(freshness, &page, TruckSummary::of))
}

/// `GET /v1/places.geojson`: facilities, then sites, as points.
pub(crate) async fn places_geojson(State(state): State<ApiState>, mut params: Params) -> Answered {
    let list = params.list(MAX_GEOJSON_FEATURES, MAX_GEOJSON_FEATURES)?;
    if list.cursor.is_some() {
        return Err(ApiError::bad_parameter("cursor", "places come in one answer", "leave it out"));
    }
    params.finish()?;
    let sites = ListQuery { limit: list.limit, ..list.clone() };
    let (mut page, freshness) = state.fresh(move |views| views.list(Keyspace::Facility, &list)).await?;
    let (more, _) = state.fresh(move |views| views.list(Keyspace::Site, &sites)).await?;
    page.records.extend(more.records);
    page.cursor = page.cursor.or(more.cursor);
    Ok(collection(freshness, &page, PlaceSummary::of))
}

/// `GET /v1/customers/churn-risk`: customers by their risk of leaving, the highest first; `min` leaves out lower ones.
pub(crate) async fn churn_risks(State(state): State<ApiState>, params: Params) -> Answered {
    risks(&state, params, Keyspace::ChurnRisk, "customers", ChurnRiskSummary::of).await
}

/// `GET /v1/vehicles/maintenance-risk`: parts of vehicles by their risk of failure, the highest first; `min` leaves out
/// lower ones.
pub(crate) async fn maintenance_risks(State(state): State<ApiState>, params: Params) -> Answered {
    risks(&state, params, Keyspace::MaintenanceRisk, "parts", MaintenanceRiskSummary::of).await
}

async fn risks<T: Serialize>(state: &ApiState, mut params: Params, keyspace: Keyspace, name: &str, short: impl Fn(&Record) -> T) -> Answered {
    let list = params.list(DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS)?;
    let least = params.parsed::<f64>("min", "a probability from 0 to 1")?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&least) {
        return Err(ApiError::bad_parameter("min", format!("{least}"), "give a probability from 0 to 1"));
    }
    params.finish()?;
    let (page, freshness) = state.fresh(move |views| views.risks(keyspace, &list, least)).await?;
    let rows: Vec<T> = page.records.iter().map(short).collect();
    Ok(Answer::new(freshness).with(name, rows).with("cursor", page.cursor))
}

async fn listed<T: Serialize>(state: &ApiState, keyspace: Keyspace, list: ListQuery, name: &str, short: impl Fn(&Record) -> T) -> Answered {
    let (page, freshness) = state.fresh(move |views| views.list(keyspace, &list)).await?;
    let rows: Vec<T> = page.records.iter().map(short).collect();
    Ok(Answer::new(freshness).with(name, rows).with("cursor", page.cursor))
}

/// A GeoJSON FeatureCollection (RFC 7946) with `truncated`, `cursor` and `freshness` as foreign members. Records without a
/// known place are features without geometry.
fn collection<T: Serialize>(freshness: FreshnessAnswer, page: &Page, short: impl Fn(&Record) -> T) -> Answer {
    let features: Vec<Value> = page.records.iter().map(|record| feature(to_value(short(record)))).collect();
    Answer::new(freshness)
        .geo()
        .with("type", "FeatureCollection")
        .with("features", features)
        .with("truncated", page.cursor.is_some())
        .with("cursor", page.cursor.clone())
}

fn feature(short: Value) -> Value {
    let mut properties = match short {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let (latitude_deg, longitude_deg) = (properties.remove("latitude_deg"), properties.remove("longitude_deg"));
    let geometry = match (longitude_deg.as_ref().and_then(Value::as_f64), latitude_deg.as_ref().and_then(Value::as_f64)) {
        (Some(longitude_deg), Some(latitude_deg)) => {
            json!({"type": "Point", "coordinates": [longitude_deg, latitude_deg]})
        }
        _ => Value::Null,
    };
    json!({"type": "Feature", "id": properties.get("id"), "geometry": geometry, "properties": properties})
}
