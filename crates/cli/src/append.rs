//! `POST /v1/admin/append`: how other commands of this binary write to the log of the process that owns it. The body
//! is JSON Lines of `{"topic": …, "key": …, "value": {…}}`; the answer counts what was appended and names bad lines.
//! It answers after the log's commit.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use ws_api::Decide;
use ws_log::registry::Registry;
use ws_runtime::now_ms;
use ws_stream::log::{Admin, Append, Log, LogError};
use ws_stream::partition::partition_of;
use ws_stream::records::Appends;

#[derive(Deserialize)]
struct Line {
    topic: String,
    key: String,
    value: Value,
}

#[derive(Serialize)]
struct BadLine {
    line: usize,
    error: String,
}

#[derive(Serialize)]
struct Answer {
    appended: usize,
    bad: Vec<BadLine>,
}

struct Doors {
    registry: Arc<Registry>,
    log: Mutex<(Box<dyn Admin>, Box<dyn Append>)>,
}

/// Ways into the log over HTTP.
pub struct Routes {
    /// `POST /v1/admin/append`.
    pub append: Router,
    /// Decisions about plans, through the same path.
    pub decide: Decide,
}

/// The routes, over a log.
pub fn routes(log: &dyn Log, registry: Arc<Registry>) -> Result<Routes, LogError> {
    let doors = Arc::new(Doors { registry, log: Mutex::new((log.admin()?, log.appender()?)) });
    let deciding = doors.clone();
    let decide: Decide = Arc::new(move |area, event| {
        let line = serde_json::json!({"topic": "plan.decision", "key": area, "value": event}).to_string();
        let answer = deciding.append(&line).map_err(|e| e.to_string())?;
        answer.bad.first().map_or(Ok(()), |bad| Err(bad.error.clone()))
    });
    Ok(Routes { append: Router::new().route("/v1/admin/append", post(append)).with_state(doors), decide })
}

async fn append(State(doors): State<Arc<Doors>>, body: String) -> Response {
    // Encoding and the log's sync block: off the HTTP threads.
    match tokio::task::spawn_blocking(move || doors.append(&body)).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(e)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}

impl Doors {
    fn append(&self, body: &str) -> Result<Answer, LogError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (admin, append) = &mut *log;
        let mut answer = Answer { appended: 0, bad: Vec::new() };
        let mut by_topic: BTreeMap<String, (u32, Appends)> = BTreeMap::new();
        for (i, text) in body.lines().enumerate().filter(|(_, t)| !t.trim().is_empty()) {
            let mut bad = |error: String| answer.bad.push(BadLine { line: i + 1, error });
            let line: Line = match serde_json::from_str(text) {
                Ok(l) => l,
                Err(e) => {
                    bad(e.to_string());
                    continue;
                }
            };
            let value = match self.registry.encode_json_value(&line.topic, &line.value) {
                Ok(v) => v,
                Err(e) => {
                    bad(e.to_string());
                    continue;
                }
            };
            if !by_topic.contains_key(&line.topic) {
                match admin.topic(&line.topic)? {
                    Some(info) => by_topic.insert(line.topic.clone(), (info.partitions, Appends::new(line.topic.as_str().into()))),
                    None => {
                        bad(LogError::NoTopic(line.topic.as_str().into()).to_string());
                        continue;
                    }
                };
            }
            if let Some((partitions, a)) = by_topic.get_mut(&line.topic) {
                let received = line.value.get("received_at").and_then(Value::as_i64).unwrap_or_else(now_ms);
                a.push(partition_of(line.key.as_bytes(), *partitions), received, Some(line.key.as_bytes()), Some(&value), &[]);
                answer.appended += 1;
            }
        }
        let appends: Vec<Appends> = by_topic.into_values().map(|(_, a)| a).filter(|a| !a.rows.is_empty()).collect();
        if !appends.is_empty() {
            append.append(&appends)?;
        }
        Ok(answer)
    }
}
