//! Answers with their freshness: in the body as `freshness`, and in a header for whoever does not read bodies.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use ws_views::Freshness;

/// Event-time lag of the view behind the event clock, ms; absent while the view is empty.
pub(crate) const FRESHNESS_HEADER: HeaderName = HeaderName::from_static("x-wastestream-freshness-ms");

/// Freshness as clients see it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FreshnessAnswer {
    /// How far the newest row in the view is behind the event clock, ms.
    pub(crate) lag_ms: Option<i64>,
    /// The event clock when the answer was made, UTC ms.
    pub(crate) event_now_ms: i64,
    #[serde(flatten)]
    pub(crate) freshness: Freshness,
}

impl FreshnessAnswer {
    pub(crate) fn new(freshness: Freshness, event_now_ms: i64) -> Self {
        Self { lag_ms: freshness.lag_ms(event_now_ms), event_now_ms, freshness }
    }

    /// Without positions, for events that come every second.
    pub(crate) fn brief(mut self) -> Self {
        self.freshness.positions.clear();
        self
    }
}

/// A JSON object with a `freshness` member, and the header.
pub(crate) struct Answer {
    members: Map<String, Value>,
    freshness: FreshnessAnswer,
    content_type: &'static str,
}

impl Answer {
    pub(crate) fn new(freshness: FreshnessAnswer) -> Self {
        Self { members: Map::new(), freshness, content_type: "application/json" }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.members.insert(name.to_owned(), to_value(value));
        self
    }

    /// As `application/geo+json`.
    pub(crate) fn geo(mut self) -> Self {
        self.content_type = "application/geo+json";
        self
    }
}

/// Plain data of ours always has a JSON form; a failure would show as null rather than take the process down.
pub(crate) fn to_value(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

impl IntoResponse for Answer {
    fn into_response(mut self) -> Response {
        let lag_ms = self.freshness.lag_ms;
        self.members.insert("freshness".into(), to_value(self.freshness));
        let mut response = Json(Value::Object(self.members)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(lag_ms) = lag_ms {
            headers.insert(FRESHNESS_HEADER, HeaderValue::from(lag_ms));
        }
        response
    }
}
