//! The event stream and the server's start and stop, as clients see them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::fixture::Fixture;
use crate::tests::{assert_problem, fetch};
use crate::{ServeError, bind, changes, limits};

/// Reads events from a stream's body until `events` are there.
async fn events(body: &mut axum::body::BodyDataStream, wanted: usize) -> Vec<(String, Value)> {
    let mut text = String::new();
    let mut found = Vec::new();
    while found.len() < wanted {
        let chunk = tokio::time::timeout(Duration::from_secs(5), body.next()).await.expect("an event within 5 s");
        let Some(chunk) = chunk else { break };
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        found = text
            .split("\n\n")
            .filter_map(|block| {
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                Some((field("event:")?.to_owned(), serde_json::from_str(field("data:")?).ok()?))
            })
            .collect();
    }
    found
}

async fn stream_of(router: &Router) -> axum::body::BodyDataStream {
    let request = Request::builder().uri("/v1/stream").body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().into_data_stream()
}

#[tokio::test]
async fn the_stream_says_hello_then_tells_changes_once() {
    let mut fixture = Fixture::filled();
    let api = fixture.api();
    let (hub, state) = (api.changes(), api.state_for_tests());
    let router = api.router();
    let before = fixture.put("bin.features", serde_json::json!({"device_id": "d9", "filling_level": 0.1}));
    hub.publish(&before);
    let mut stream = stream_of(&router).await;
    let changed = fixture.put("bin.features", serde_json::json!({"device_id": "d1", "filling_level": 0.9, "latitude_deg": 48.1, "longitude_deg": 11.6}));
    hub.publish(&changed);
    hub.publish(&changed);
    hub.publish(&fixture.put("bin.alert", serde_json::json!({"device_id": "d1", "alert": "fire", "state": "cleared"})));
    hub.publish(&fixture.put("customer.churn-risk", serde_json::json!({"customer_id": "u1", "risk": 0.9})));
    changes::tick(&state, limits::HEARTBEAT_PERIODS).await;
    let found = events(&mut stream, 4).await;
    assert_eq!(found.iter().map(|event| event.0.as_str()).collect::<Vec<_>>(), ["hello", "changes", "pipeline", "heartbeat"]);
    let told = &found[1].1;
    assert_eq!(
        (told["bins"].as_array().unwrap().len(), &told["bins"][0]["filling_level"]),
        (1, &0.9.into()),
        "what changed before the client came is in its first full read"
    );
    assert_eq!(told["alerts"][0]["state"], "cleared");
    assert_eq!(told["others"], serde_json::json!({"churn_risk": 1}), "of ranked lists how many changed");
    assert_eq!((&told["freshness"]["lag_ms"], &found[3].1["counts"]["alerts"]), (&2_500.into(), &0.into()));
    drop(stream);
    assert_eq!(hub.clients(), 0);
}

#[tokio::test]
async fn slow_clients_are_told_to_resync_and_then_let_go() {
    let fixture = Fixture::filled();
    let api = fixture.api();
    let hub = api.changes();
    let router = api.router();
    let mut stream = stream_of(&router).await;
    assert_eq!(events(&mut stream, 1).await[0].0, "hello");
    let mut seen = Vec::new();
    for _ in 0..limits::MAX_SSE_LAGS {
        for number in 0..=limits::MAX_SSE_BACKLOG_EVENTS {
            hub.send("pipeline", &number.into());
        }
        seen.extend(events(&mut stream, 1).await.into_iter().map(|event| event.0));
    }
    assert_eq!(seen, ["resync"; limits::MAX_SSE_LAGS as usize - 1], "then the stream ends");
}

#[tokio::test]
async fn seats_are_bounded_and_given_back() {
    let api = Fixture::empty().api();
    let router = api.router();
    let mut open = Vec::new();
    for _ in 0..limits::MAX_SSE_CLIENTS {
        open.push(stream_of(&router).await);
    }
    let refused = fetch(&router, "/v1/stream").await;
    assert_problem(&refused, 503, "busy", "64 event streams");
    assert_eq!(refused.header("retry-after"), "2");
    open.pop();
    open.push(stream_of(&router).await);
}

#[tokio::test]
async fn too_many_changes_become_a_resync() {
    let fixture = Fixture::empty();
    let api = fixture.api();
    let (hub, state) = (api.changes(), api.state_for_tests());
    let mut stream = stream_of(&api.router()).await;
    let keys: Vec<_> = (0..=limits::MAX_CHANGES_PER_EVENT).map(|n| ws_views::ViewKey::new(ws_views::Keyspace::Bin, "acme", format!("b{n}")).unwrap()).collect();
    hub.publish(&keys);
    changes::tick(&state, 1).await;
    assert_eq!(events(&mut stream, 2).await[1].0, "resync");
}

#[tokio::test]
async fn a_port_in_use_and_outside_addresses_are_refused_with_a_way_out() {
    let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(address).await.unwrap_err();
    assert!(matches!(error, ServeError::PortInUse { .. }) && error.to_string().contains(&address.port().to_string()), "{error}");
    assert!(error.hint().contains("port 0"));
    assert!(matches!(bind(SocketAddr::from(([0, 0, 0, 0], 0))).await, Err(ServeError::NotLoopback { .. })));
}

#[tokio::test]
async fn shutting_down_ends_open_streams_at_once() {
    let api = Fixture::filled().api();
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(api.serve(listener, async move {
        let _ = stopped.await;
    }));
    let client = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut connection = std::net::TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        connection.write_all(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut buffer = [0; 4096];
        let mut text = String::new();
        while !text.contains("event: pipeline") {
            let bytes = connection.read(&mut buffer).unwrap();
            assert!(bytes > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
        }
        stop.send(()).unwrap();
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).unwrap();
        text
    });
    let text = client.await.unwrap();
    assert!(text.contains("event: hello"), "{text}");
    tokio::time::timeout(Duration::from_millis(limits::DRAIN_MS - 1_000), serving).await.expect("no need to wait for the drain to end").unwrap().unwrap();
}
