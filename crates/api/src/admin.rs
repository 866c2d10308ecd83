//! Health, readiness, pipeline numbers, metrics, and the local shutdown.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::ApiError;
use crate::answer::Answer;
use crate::guard;
use crate::limits;
use crate::params::Params;
use crate::state::ApiState;
use crate::status::Readiness;

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// `GET /readyz`: 200 when ready, otherwise 503 with the reasons.
pub(crate) async fn readyz(State(state): State<ApiState>) -> Response {
    let readiness = readiness(&state).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// The runtime's readiness, and whether the view can be read.
pub(crate) async fn readiness(state: &ApiState) -> Readiness {
    let mut readiness = state.status.readiness();
    if let Err(error) = state.read(|views| views.freshness()).await {
        readiness.ready = false;
        readiness.reasons.push(error.detail);
    }
    readiness
}

/// `GET /v1/pipeline`: counts per stage, lag, rungs, model, commits; of the first topology, and of all in `pipelines`.
pub(crate) async fn pipeline(State(state): State<ApiState>, params: Params) -> Result<Answer, ApiError> {
    params.finish()?;
    let readiness = readiness(&state).await;
    let (counts, freshness) = state.fresh(|views| views.counts(None)).await?;
    Ok(Answer::new(freshness)
        .with("pipeline", state.status.pipeline())
        .with("pipelines", state.status.pipelines())
        .with("readiness", readiness)
        .with("counts", counts)
        .with("stream_clients", state.changes.clients()))
}

/// `GET /v1/models`: models in use, and how good their predictions were lately. `topic`, `target`, `window`, `rung` and
/// `model_version` (`all` for the sums) leave out other scores.
pub(crate) async fn models(State(state): State<ApiState>, mut params: Params) -> Result<Answer, ApiError> {
    let mut wanted = Vec::new();
    for name in ["topic", "target", "window", "rung", "model_version"] {
        if let Some(text) = params.text(name)? {
            wanted.push((name, text));
        }
    }
    params.finish()?;
    let (_, freshness) = state.fresh(|views| views.counts(None)).await?;
    let status = state.status.models();
    let scores: Vec<_> = status.scores.into_iter().filter(|row| wanted.iter().all(|(name, text)| row[*name].as_str() == Some(text))).collect();
    Ok(Answer::new(freshness).with("models", status.models).with("scores", scores).with("outcomes", status.outcomes).with("newest_ms", status.newest_ms))
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let Some(render) = &state.metrics else {
        return Err(ApiError::not_found("this process has no metrics", "start it through the wastestream command"));
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render()).into_response())
}

/// `POST /v1/admin/shutdown`: asks the process to stop after finishing its work.
pub(crate) async fn shutdown(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    guard::deliberate(&headers)?;
    let Some(on_shutdown) = &state.on_shutdown else {
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "no-shutdown", "Not available", "this process does not stop on request", "send it SIGTERM"));
    };
    tracing::info!("shutdown requested over HTTP");
    on_shutdown();
    Ok((StatusCode::ACCEPTED, Json(json!({"status": "stopping", "drain_ms": limits::DRAIN_MS}))).into_response())
}
