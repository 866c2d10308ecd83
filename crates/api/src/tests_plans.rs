//! Plans, manifests and decisions as clients see them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::fixture::Fixture;
use crate::tests::{assert_problem, fetch};

fn stop(kind: &str, site: Option<&str>, facility: Option<&str>) -> Value {
    json!({"kind": kind, "site_id": site, "facility_id": facility, "container_ids": if site.is_some() { json!(["c1", "c<2>"]) } else { json!([]) },
        "arrives_at": 1, "leaves_at": 2, "load_kg": 1.5, "locked": false, "reason": null})
}

fn plan(version: i64, state: &str) -> Value {
    let stops = [stop("depot", None, Some("f1")), stop("site", Some("s1"), None), stop("lunch", None, None), stop("depot", None, Some("f1"))];
    json!({"planning_area_id": "north", "plan_id": "north-2026-11-02", "plan_version": version, "state": state, "valid_from": 1, "valid_to": 9, "event_id": format!("p{version}"),
        "cost_minor": 900, "distance_m": 1200.0, "duration_s": 60.0, "rung": "model", "routes": [{"vehicle_id": "v1", "distance_m": 1200.0, "stops": stops}],
        "skipped": [{"site_id": "s9", "reason": "not_needed", "p_overflow": 0.01}]})
}

fn change(version: i64, n: i64, site: &str) -> Value {
    json!({"planning_area_id": "north", "plan_id": "north-2026-11-02", "plan_version": version, "event_id": format!("route/planned/north/1/change-{version}-{n}"),
        "change": "stop_added", "site_id": site, "reason": "ticket"})
}

/// Version 2 is in force, version 3 proposed.
fn fixture() -> Fixture {
    let mut fixture = Fixture::filled();
    fixture.put("route.plan", plan(1, "proposed"));
    fixture.put("route.change", change(2, 0, "old"));
    fixture.put("route.change", change(2, 11, "older"));
    fixture.put("route.plan", plan(2, "accepted"));
    fixture.put("route.plan", plan(3, "proposed"));
    for n in 0..11 {
        fixture.put("route.change", change(3, n, &format!("s{n}")));
    }
    fixture.put(
        "route.problem",
        json!({"planning_area_id": "north", "event_id": "x", "code": "unknown_site", "entity_kind": "ticket", "entity_id": "t1", "detail": "gone"}),
    );
    fixture.put(
        "route.problem",
        json!({"planning_area_id": "south", "event_id": "x", "code": "overtime", "entity_kind": "vehicle", "entity_id": "v9", "detail": "late"}),
    );
    fixture
}

#[tokio::test]
async fn an_area_shows_what_is_in_force_what_is_proposed_and_why() {
    let router = fixture().api().router();
    let list = fetch(&router, "/v1/plans").await.json();
    assert_eq!(
        (&list["plans"][0]["id"], &list["plans"][0]["in_force"]["plan_version"], &list["plans"][0]["proposal"]["plan_version"]),
        (&json!("north"), &json!(2), &json!(3))
    );
    assert_eq!((&list["plans"][0]["in_force"]["stops"], &list["plans"][0]["in_force"]["skipped"]), (&json!(1), &json!(1)));
    let one = fetch(&router, "/v1/plans/north").await;
    assert!(!one.header("x-wastestream-freshness-ms").is_empty());
    let one = one.json();
    assert_eq!((&one["in_force"]["plan_version"], &one["proposal"]["plan_version"]), (&json!(2), &json!(3)));
    let sites: Vec<&str> = one["changes"].as_array().unwrap().iter().map(|c| c["site_id"].as_str().unwrap()).collect();
    assert_eq!(sites, (0..11).map(|n| format!("s{n}")).collect::<Vec<_>>(), "those of version 3, in their order, none of version 2 left");
    assert_eq!(one["problems"].as_array().unwrap().len(), 1, "the area's own");
    assert_problem(&fetch(&router, "/v1/plans/atlantis").await, 404, "not-found", "atlantis");
    // Accepted: nothing is pending any more.
    let mut fixture = fixture();
    fixture.put("route.plan", plan(3, "accepted"));
    let one = fetch(&fixture.api().router(), "/v1/plans/north").await.json();
    assert_eq!((&one["in_force"]["plan_version"], &one["proposal"]), (&json!(3), &Value::Null));
}

#[tokio::test]
async fn what_crews_reported_since_a_plan_was_made_is_told_with_its_stops() {
    let came = |vehicle: &str, outcome: &str| json!({"container_id": "c1", "site_id": "s1", "vehicle_id": vehicle, "outcome": outcome, "reason": "blocked"});
    let mut fixture = fixture();
    let mut today = plan(4, "accepted");
    today["valid_to"] = json!(crate::fixture::OBSERVED_MS + 1);
    today["routes"][0]["stops"][1]["reason"] = json!("ticket");
    fixture.put("route.plan", today);
    let told = async |fixture: &Fixture| {
        let one = fetch(&fixture.api().router(), "/v1/plans/north").await.json();
        let route = one["in_force"]["routes"][0].clone();
        assert_eq!(route["stops"][0]["visit"], Value::Null, "a depot is not served");
        (route["so_far"].clone(), route["stops"][1]["visit"].clone())
    };
    assert_eq!(told(&fixture).await, (json!({"sites": 1, "served": 0, "not_served": 0, "to_go": 1}), Value::Null));
    fixture.put("collection.event", came("v9", "skipped"));
    assert_eq!(told(&fixture).await.0["to_go"], 1, "another crew's visit in vain leaves the stop ahead");
    fixture.put("collection.event", came("v1", "skipped"));
    let (so_far, visit) = told(&fixture).await;
    assert_eq!((&so_far["not_served"], &visit["outcome"], &visit["reason"]), (&json!(1), &json!("skipped"), &json!("blocked")));
    fixture.put("collection.event", came("v9", "partial"));
    let (so_far, visit) = told(&fixture).await;
    assert_eq!(so_far, json!({"sites": 1, "served": 1, "not_served": 0, "to_go": 0}));
    // Emptied in the morning, and due again in a plan that was made since: that stop lies ahead.
    let mut again = plan(5, "accepted");
    (again["valid_to"], again["routes"][0]["stops"][1]["reason"]) = (json!(crate::fixture::OBSERVED_MS * 2), json!("ticket"));
    let mut later = Fixture::filled();
    later.put("collection.event", came("v9", "served"));
    later.put_at("route.plan", again, crate::fixture::OBSERVED_MS + 60_000);
    assert_eq!(told(&later).await.0["to_go"], 1, "another crew's emptying before the plan was made");
    later.put("collection.event", came("v1", "served"));
    assert_eq!(told(&later).await.0["served"], 1, "its own report may be older than the plan");
    assert_eq!((&visit["vehicle_id"], &visit["at"]), (&json!("v9"), &json!(crate::fixture::OBSERVED_MS)));
}

#[tokio::test]
async fn what_was_collected_on_an_earlier_day_is_not_this_plans() {
    let mut fixture = fixture();
    fixture.put("collection.event", json!({"container_id": "c1", "site_id": "s1", "vehicle_id": "v1", "outcome": "served"}));
    let mut later = plan(4, "accepted");
    (later["valid_from"], later["valid_to"]) = (json!(crate::fixture::OBSERVED_MS + 1), json!(crate::fixture::OBSERVED_MS + 9));
    later["routes"][0]["starts_at"] = later["valid_from"].clone();
    fixture.put("route.plan", later);
    let mut before = plan(9, "completed");
    before["routes"][0]["driven"] = json!({"stops_served": 1});
    fixture.put("route.plan", before);
    let one = fetch(&fixture.api().router(), "/v1/plans/north").await.json();
    assert_eq!((&one["in_force"]["plan_version"], &one["in_force"]["routes"][0]["so_far"]["to_go"]), (&json!(4), &json!(1)));
    // A day as driven needs no event: its stops are what was done.
    let visit = &one["completed"]["routes"][0]["stops"][1]["visit"];
    assert_eq!((&visit["outcome"], &visit["at"], &visit["vehicle_id"]), (&json!("served"), &json!(2), &json!("v1")));
}

#[tokio::test]
async fn a_vehicle_has_its_route_and_the_driver_a_manifest() {
    let router = fixture().api().router();
    let body = fetch(&router, "/v1/vehicles/v1/plan").await.json();
    assert_eq!((&body["plan"]["plan_version"], &body["route"]["vehicle_id"]), (&json!(2), &json!("v1")), "of the plan in force, not of the proposal");
    let body = fetch(&router, "/v1/vehicles/v1/manifest").await.json();
    let names: Vec<&str> = body["stops"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["North", "Market", "lunch", "North"]);
    assert_eq!((&body["stops"][1]["order"], &body["stops"][1]["latitude_deg"], &body["stops"][1]["container_ids"][0]), (&json!(1), &json!(48.1), &json!("c1")));
    let geo = fetch(&router, "/v1/vehicles/v1/manifest.geojson").await;
    assert_eq!(geo.header("content-type"), "application/geo+json");
    let geo = geo.json();
    assert_eq!(geo["features"][0]["geometry"]["coordinates"], json!([[11.5, 48.3], [11.5, 48.1], [11.5, 48.3]]));
    assert_eq!((geo["features"].as_array().unwrap().len(), &geo["features"][3]["geometry"]), (5, &Value::Null), "a break is nowhere");
    let gpx = fetch(&router, "/v1/vehicles/v1/manifest.gpx").await;
    assert_eq!(gpx.header("content-type"), "application/gpx+xml");
    assert!(gpx.header("content-disposition").contains("v1.gpx"));
    let text = gpx.text();
    assert!(text.contains("<rtept lat=\"48.1\" lon=\"11.5\">") && text.contains("c1, c&lt;2&gt;") && text.matches("<rtept").count() == 3, "{text}");
    assert_problem(&fetch(&router, "/v1/vehicles/v7/manifest").await, 404, "not-found", "v7");
}

async fn post(router: &Router, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", "127.0.0.1:8080")
        .header("x-wastestream-admin", "1")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap())
}

#[tokio::test]
async fn a_decision_becomes_an_event_and_one_about_an_old_version_conflicts() {
    let taken: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let log = taken.clone();
    let router = fixture().api().decisions(Arc::new(move |key, event| {
        log.lock().unwrap().push((key.to_owned(), event.clone()));
        Ok(())
    }));
    let router = router.router();
    let of = |version: i64| format!("/v1/plans/north/north-2026-11-02/{version}/decisions");
    let by = |mut body: Value| {
        body["actor_id"] = json!("p7");
        body
    };
    let (status, answer) = post(&router, &of(3), &by(json!({"decision": "accept"}))).await;
    assert_eq!((status, &answer["decision"]["decision"]), (202, &json!("accepted")), "{answer}");
    let lock = by(json!({"decision": "lock", "site_id": "s1", "vehicle_id": "v1", "reason": "safety", "note": "narrow today"}));
    assert_eq!(post(&router, &of(2), &lock).await.0, 202, "what is in force can be locked too");
    assert_eq!(post(&router, &of(3), &by(json!({"decision": "edit", "site_id": "s9", "vehicle_id": "v1", "position": 1}))).await.0, 202);
    {
        let taken = taken.lock().unwrap();
        assert_eq!(taken.len(), 3);
        assert!(taken.iter().all(|(key, e)| key == "north" && e["tenant"] == "acme" && e["plan_id"] == "north-2026-11-02" && e["actor_role"] == "dispatcher"));
        let ids: std::collections::BTreeSet<_> = taken.iter().map(|(_, e)| e["event_id"].to_string()).collect();
        assert_eq!(ids.len(), 3);
        assert_eq!((&taken[1].1["decision"], &taken[1].1["plan_version"], &taken[1].1["note"]), (&json!("locked"), &json!(2), &json!("narrow today")));
    }
    let cases = [
        (of(1), json!({"decision": "accept"}), 409, "not-current"),
        (of(4), json!({"decision": "lock", "site_id": "s1"}), 409, "not-current"),
        ("/v1/plans/north/north-2026-11-01/3/decisions".to_owned(), json!({"decision": "accept"}), 409, "not-current"),
        (of(2), json!({"decision": "reject"}), 409, "already-in-force"),
        (of(3), json!({"decision": "shred"}), 400, "bad-parameter"),
        (of(3), json!({"decision": "accept", "site_id": "s1"}), 400, "bad-parameter"),
        (of(3), json!({"decision": "lock"}), 400, "bad-parameter"),
        (of(3), json!({"decision": "lock", "site_id": "atlantis"}), 400, "bad-parameter"),
        (of(3), json!({"decision": "lock", "vehicle_id": "v9"}), 400, "bad-parameter"),
        (of(3), json!({"decision": "edit", "site_id": "s1", "vehicle_id": "v1", "position": -1}), 400, "bad-parameter"),
        (of(3), json!({"decision": "accept", "mood": "good"}), 400, "bad-parameter"),
        (of(3), json!({"decision": "accept", "reason": "because"}), 400, "bad-parameter"),
        ("/v1/plans/south/x/1/decisions".to_owned(), json!({"decision": "accept"}), 404, "not-found"),
    ];
    for (path, body, status, code) in cases {
        let (found, problem) = post(&router, &path, &by(body.clone())).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{path} {body}: {problem}");
        assert!(!problem["hint"].as_str().unwrap().is_empty());
    }
    assert_eq!(post(&router, &of(3), &json!({"decision": "accept"})).await.0, 400, "somebody must have decided");
    let (_, conflict) = post(&router, &of(1), &by(json!({"decision": "accept"}))).await;
    assert!(conflict["detail"].as_str().unwrap().contains("version 2 is in force") && conflict["detail"].as_str().unwrap().contains("version 3 is proposed"));
    assert_eq!(taken.lock().unwrap().len(), 3, "nothing of that reached the log");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_told_and_a_process_without_one_says_so() {
    let body = json!({"decision": "accept", "actor_id": "p7"});
    let path = "/v1/plans/north/north-2026-11-02/3/decisions";
    let broken = fixture().api().decisions(Arc::new(|_, _| Err("disk full".into()))).router();
    let (status, problem) = post(&broken, path, &body).await;
    assert_eq!((status, problem["detail"].as_str()), (503, Some("disk full")));
    let (status, problem) = post(&fixture().api().router(), path, &body).await;
    assert_eq!((status, problem["code"].as_str()), (501, Some("no-decisions")));
}

#[tokio::test]
async fn a_decision_needs_the_header_that_other_pages_cannot_send() {
    let taken: Arc<Mutex<Vec<Value>>> = Arc::default();
    let log = taken.clone();
    let router = fixture()
        .api()
        .decisions(Arc::new(move |_, event| {
            log.lock().unwrap().push(event.clone());
            Ok(())
        }))
        .router();
    let path = "/v1/plans/north/north-2026-11-02/3/decisions";
    let send = |headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(Method::POST).uri(path).header("host", "127.0.0.1:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        router.clone().oneshot(request.body(Body::from(json!({"decision": "accept", "actor_id": "p7"}).to_string())).unwrap())
    };
    for headers in [&[][..], &[("origin", "http://evil.example"), ("x-wastestream-admin", "1")], &[("origin", "null"), ("content-type", "text/plain")]] {
        assert_eq!(send(headers).await.unwrap().status().as_u16(), 403, "{headers:?}");
    }
    assert!(taken.lock().unwrap().is_empty(), "nothing reached the log");
    assert_eq!(send(&[("origin", "http://127.0.0.1:8080"), ("x-wastestream-admin", "1")]).await.unwrap().status().as_u16(), 202);
}

#[tokio::test]
async fn all_routes_are_lines_for_other_maps() {
    let router = fixture().api().router();
    let reply = fetch(&router, "/v1/plans.geojson").await;
    assert_eq!(reply.header("content-type"), "application/geo+json");
    let body = reply.json();
    let line = &body["features"][0];
    assert_eq!((body["features"].as_array().unwrap().len(), &line["id"], &body["truncated"]), (1, &json!("acme/v1"), &json!(false)));
    assert_eq!(
        line["geometry"],
        json!({"type": "LineString", "coordinates": [[11.5, 48.3], [11.5, 48.1], [11.5, 48.3]]}),
        "depot, site, depot; a break is nowhere"
    );
    assert_eq!((&line["properties"]["plan_version"], &line["properties"]["state"], &line["properties"]["stops"]), (&json!(2), &json!("accepted"), &json!(1)));
    let proposed = fetch(&router, "/v1/plans.geojson?which=proposal").await.json();
    assert_eq!(proposed["features"][0]["properties"]["plan_version"], 3);
    assert_problem(&fetch(&router, "/v1/plans.geojson?which=best").await, 400, "bad-parameter", "which");
}
