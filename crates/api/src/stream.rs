//! `GET /v1/stream`: server-sent events.
//!
//! `hello` first (read the full state then), `changes` with the records that changed in the last second, `pipeline` every
//! second, `heartbeat` every few, `resync` when this client missed something. A client that keeps falling behind is
//! disconnected; EventSource reconnects by itself and starts with `hello` again.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::ApiError;
use crate::changes::{Event, Seat};
use crate::limits;
use crate::params::Params;
use crate::state::ApiState;

/// Events in a row after which earlier lags are forgiven.
const FORGIVEN_AFTER_EVENTS: u32 = 30;

struct Client {
    _seat: Seat,
    hello: Option<String>,
    events: broadcast::Receiver<Event>,
    closed: watch::Receiver<bool>,
    lags: u32,
    in_time: u32,
}

/// Subscribes to changes.
pub(crate) async fn subscribe(State(state): State<ApiState>, params: Params) -> Result<Response, ApiError> {
    params.finish()?;
    let Some((seat, events, closed)) = state.changes.sit() else {
        return Err(ApiError::busy(format!("{} event streams are open", limits::MAX_SSE_CLIENTS)));
    };
    let hello = json!({
        "event_now_ms": state.status.event_now_ms(),
        "coalesce_ms": limits::SSE_COALESCE_MS,
        "heartbeat_ms": limits::SSE_COALESCE_MS * limits::HEARTBEAT_PERIODS,
    });
    let client = Client { _seat: seat, hello: Some(hello.to_string()), events, closed, lags: 0, in_time: 0 };
    let mut response = Sse::new(stream::unfold(client, next)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

async fn next(mut client: Client) -> Option<(Result<SseEvent, Infallible>, Client)> {
    if let Some(hello) = client.hello.take() {
        let event = SseEvent::default().event("hello").retry(std::time::Duration::from_secs(2)).data(hello);
        return Some((Ok(event), client));
    }
    if *client.closed.borrow_and_update() {
        return None;
    }
    let received = tokio::select! {
        received = client.events.recv() => received,
        _ = client.closed.changed() => return None,
    };
    match received {
        Ok(event) => {
            client.in_time += 1;
            if client.in_time >= FORGIVEN_AFTER_EVENTS {
                client.lags = 0;
            }
            Some((Ok(SseEvent::default().event(event.name).data(&*event.data)), client))
        }
        Err(RecvError::Lagged(missed)) => {
            client.lags += 1;
            client.in_time = 0;
            if client.lags >= limits::MAX_SSE_LAGS {
                return None;
            }
            // What waits is older than the full state that the client reads next.
            client.events = client.events.resubscribe();
            let event = SseEvent::default().event("resync").data(json!({"reason": format!("{missed} events missed")}).to_string());
            Some((Ok(event), client))
        }
        Err(RecvError::Closed) => None,
    }
}
