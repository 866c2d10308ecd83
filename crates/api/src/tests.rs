//! The interface as clients see it: requests against the router, without a network where possible.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::routing::get;
use serde_json::Value;
use tower::ServiceExt;

use crate::ApiError;
use crate::fixture::{Fixture, NOW_MS};
use crate::status::Readiness;

pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        &self.body
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The ids in a list or a feature collection.
    fn ids(&self, list: &str) -> Vec<String> {
        self.json()[list].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }
}

async fn send(router: &Router, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
    Reply { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

pub(crate) async fn fetch(router: &Router, path: &str) -> Reply {
    send(router, Method::GET, path, &[("host", "127.0.0.1:8080")]).await
}

/// A problem must say what, in detail, and what to do.
pub(crate) fn assert_problem(reply: &Reply, status: u16, code: &str, detail: &str) {
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (status, "application/problem+json"), "{}", reply.body);
    let problem = reply.json();
    assert_eq!((problem["code"].as_str().unwrap(), problem["status"].as_u64().unwrap()), (code, u64::from(status)));
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    assert!(!problem["hint"].as_str().unwrap().is_empty() && !problem["title"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn one_bin_comes_with_both_parts_and_its_freshness() {
    let router = Fixture::filled().api().router();
    let reply = fetch(&router, "/v1/bins/d3").await;
    let body = reply.json();
    assert_eq!(body["bin"]["features"]["waste_stream"], "glass");
    assert_eq!(body["bin"]["forecast"]["model_version"], "m1");
    assert_eq!(body["bin"]["hours_to_full_p50"], 10.0);
    assert_eq!((&body["freshness"]["lag_ms"], &body["freshness"]["event_now_ms"]), (&2_500.into(), &NOW_MS.into()));
    assert_eq!(body["freshness"]["positions"][0]["source"]["topic_id"], "t");
    assert_eq!(reply.header("x-wastestream-freshness-ms"), "2500");
    assert_problem(&fetch(&router, "/v1/bins/nowhere").await, 404, "not-found", "nowhere");
}

#[tokio::test]
async fn every_read_tells_how_fresh_it_is_and_an_empty_view_does_not_pretend() {
    let router = Fixture::filled().api().router();
    for path in ["/v1/bins", "/v1/bins.geojson", "/v1/bins/d1", "/v1/alerts", "/v1/trucks", "/v1/trucks.geojson", "/v1/places.geojson", "/v1/pipeline"] {
        let reply = fetch(&router, path).await;
        assert_eq!((reply.status, reply.header("x-wastestream-freshness-ms"), reply.header("cache-control")), (StatusCode::OK, "2500", "no-store"), "{path}");
        assert_eq!(reply.json()["freshness"]["as_of_ms"], NOW_MS - 3_000, "{path}");
    }
    let empty = fetch(&Fixture::empty().api().router(), "/v1/bins").await;
    assert_eq!((empty.json()["freshness"]["lag_ms"].clone(), empty.header("x-wastestream-freshness-ms")), (Value::Null, ""));
}

#[tokio::test]
async fn bins_are_listed_by_area_filter_and_page() {
    let router = Fixture::filled().api().router();
    assert_eq!(fetch(&router, "/v1/bins").await.ids("bins"), ["d0", "d1", "d2", "d3", "d4"]);
    assert_eq!(fetch(&router, "/v1/bins?bbox=11.55,48,11.75,49").await.ids("bins"), ["d1", "d2"]);
    assert_eq!(fetch(&router, "/v1/bins?hours_to_full_below=25&level_at_least=0.5").await.ids("bins"), ["d3", "d4"]);
    assert_eq!(fetch(&router, "/v1/bins?tenant=other").await.ids("bins"), Vec::<String>::new());
    let first = fetch(&router, "/v1/bins?limit=2&bbox=11,48,12,49").await;
    assert_eq!(first.ids("bins"), ["d0", "d1"]);
    let cursor = first.json()["cursor"].as_str().unwrap().to_owned();
    assert_eq!(fetch(&router, &format!("/v1/bins?limit=2&bbox=11,48,12,49&cursor={cursor}")).await.ids("bins"), ["d2", "d3"]);
    let full = fetch(&router, "/v1/bins?limit=1&detail=full").await.json();
    assert_eq!(full["bins"][0]["forecast"]["rung"], "model");
}

#[tokio::test]
async fn geojson_has_points_and_leaves_unknown_places_without_geometry() {
    let router = Fixture::filled().api().router();
    let reply = fetch(&router, "/v1/bins.geojson").await;
    assert_eq!(reply.header("content-type"), "application/geo+json");
    let body = reply.json();
    assert_eq!((&body["type"], &body["truncated"]), (&"FeatureCollection".into(), &false.into()));
    assert_eq!(body["features"][1]["geometry"]["coordinates"], serde_json::json!([11.6, 48.1]));
    assert_eq!(body["features"][1]["properties"]["hours_to_full_p50"], 30.0);
    assert_eq!(body["features"][4]["geometry"], Value::Null);
    assert_eq!(fetch(&router, "/v1/bins.geojson?limit=2").await.json()["truncated"], true);
    assert_eq!(fetch(&router, "/v1/trucks.geojson").await.json()["features"][0]["properties"]["heading_deg"], 90.0);
    let places = fetch(&router, "/v1/places.geojson").await.json();
    assert_eq!((&places["features"][0]["properties"]["kind"], &places["features"][1]["properties"]["zone_id"]), (&"depot".into(), &"z1".into()));
}

#[tokio::test]
async fn alerts_show_what_is_raised() {
    let router = Fixture::filled().api().router();
    assert_eq!(fetch(&router, "/v1/alerts").await.ids("alerts"), ["d1/fire"]);
    assert_eq!(fetch(&router, "/v1/trucks").await.ids("trucks"), ["v1"]);
}

#[tokio::test]
async fn unusable_and_misspelt_parameters_are_named() {
    let router = Fixture::filled().api().router();
    for (path, detail) in [
        ("/v1/bins?bbox=1,2,3", "bbox: 3 numbers"),
        ("/v1/bins?bbox=13,48,11,49", "bbox: the western"),
        ("/v1/bins?limit=0", "limit: 0"),
        ("/v1/bins?limit=999999", "limit: 999999"),
        ("/v1/bins?limit=many", "limit: \"many\""),
        ("/v1/bins?limit=1&limit=2", "limit: given twice"),
        ("/v1/bins?wastestream=glass", "wastestream: there is no such parameter"),
        ("/v1/bins?detail=all", "detail"),
        ("/v1/alerts?bbox=1,2,3,4", "bbox: there is no such parameter"),
    ] {
        assert_problem(&fetch(&router, path).await, 400, "bad-parameter", detail);
    }
    assert_problem(&fetch(&router, "/v1/bins?cursor=zz").await, 400, "bad-cursor", "cursor");
    assert_problem(&fetch(&router, "/v1/nothing").await, 404, "not-found", "/v1/nothing");
    assert_problem(&send(&router, Method::POST, "/v1/bins", &[]).await, 405, "wrong-method", "/v1/bins");
}

#[tokio::test]
async fn pipeline_health_and_metrics() {
    let fixture = Fixture::filled();
    let router = fixture.api().metrics(|| "rows_total 7\n".into()).router();
    let body = fetch(&router, "/v1/pipeline").await.json();
    assert_eq!((&body["pipeline"]["stages"][0]["dead"], &body["counts"]["bins"], &body["counts"]["alerts"]), (&2.into(), &5.into(), &1.into()));
    assert_eq!(body["pipeline"]["lag_ms"], Value::Null, "unknown is not zero");
    let metrics = fetch(&router, "/metrics").await;
    assert_eq!((metrics.body.as_str(), metrics.header("content-type").starts_with("text/plain")), ("rows_total 7\n", true));
    assert_problem(&fetch(&fixture.api().router(), "/metrics").await, 404, "not-found", "metrics");
    assert_eq!(fetch(&router, "/healthz").await.status, StatusCode::OK);
    assert_eq!(fetch(&router, "/readyz").await.status, StatusCode::OK);
    *fixture.status.readiness.lock().unwrap() = Readiness::waiting(vec!["restoring task 3".into()]);
    let waiting = fetch(&router, "/readyz").await;
    assert_eq!((waiting.status, waiting.json()["reasons"][0].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("restoring task 3")));
}

#[tokio::test]
async fn other_web_pages_cannot_reach_it_through_a_browser() {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    let router = Fixture::filled().api().on_shutdown(move || flag.store(true, Ordering::SeqCst)).router();
    let local = ("host", "localhost:8080");
    for foreign in ["evil.example", "127.0.0.1.evil.example", "10.0.0.5:8080", "user@evil"] {
        assert_problem(&send(&router, Method::GET, "/v1/bins", &[("host", foreign)]).await, 403, "foreign-request", "Host");
    }
    for host in ["localhost", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3"] {
        assert_eq!(send(&router, Method::GET, "/healthz", &[("host", host)]).await.status, StatusCode::OK, "{host}");
    }
    let shutdown = "/v1/admin/shutdown";
    assert_problem(&send(&router, Method::POST, shutdown, &[local]).await, 403, "admin-header-missing", "header");
    let with_origin = [local, ("x-wastestream-admin", "1"), ("origin", "http://evil.example")];
    assert_problem(&send(&router, Method::POST, shutdown, &with_origin).await, 403, "foreign-request", "Origin");
    assert!(!stopped.load(Ordering::SeqCst));
    let own = [local, ("x-wastestream-admin", "1"), ("origin", "http://localhost:8080")];
    assert_eq!(send(&router, Method::POST, shutdown, &own).await.status, StatusCode::ACCEPTED);
    assert!(stopped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn the_page_is_served_with_a_strict_policy_and_says_that_there_is_no_authentication() {
    let router = Fixture::empty().api().router();
    let page = fetch(&router, "/").await;
    assert!(page.header("content-type").starts_with("text/html") && page.header("content-security-policy").starts_with("default-src 'self';"));
    assert!(page.body.contains("without authentication"));
    let script = fetch(&router, "/assets/js/main.js").await;
    assert!(script.header("content-type").starts_with("text/javascript"));
    let again = send(&router, Method::GET, "/assets/js/main.js", &[("if-none-match", script.header("etag"))]).await;
    assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert_problem(&fetch(&router, "/assets/../Cargo.toml").await, 404, "not-found", "");
}

#[tokio::test]
async fn added_routes_stand_behind_the_same_guard() {
    let extra = Router::new().route("/v1/extra", get(|| async { Err::<(), _>(ApiError::not_found("nothing yet", "wait")) }));
    let router = Fixture::empty().api().extend(extra).router();
    assert_problem(&fetch(&router, "/v1/extra").await, 404, "not-found", "nothing yet");
    assert_eq!(send(&router, Method::GET, "/v1/extra", &[("host", "evil.example")]).await.status, StatusCode::FORBIDDEN);
}
