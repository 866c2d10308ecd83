//! Errors of the HTTP interface: problems for clients (RFC 9457), and failures to serve at all.

use std::net::SocketAddr;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use ws_views::ViewError;

/// A problem, as the client sees it: `application/problem+json` with a title, a detail and a hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable name for programs, in kebab-case.
    pub code: &'static str,
    /// What is wrong, the same for every case of this code.
    pub title: &'static str,
    /// What is wrong in this case.
    pub detail: String,
    /// What the client can do.
    pub hint: String,
}

impl ApiError {
    /// A problem of any kind, for routes added by [`crate::Api::extend`].
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), hint: hint.into() }
    }

    /// A request parameter that cannot be used.
    pub fn bad_parameter(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-parameter", "A parameter cannot be used", format!("{name}: {}", detail.into()), hint)
    }

    /// Nothing under this name.
    pub fn not_found(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", what, hint)
    }

    /// Too much at once.
    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many requests at once", detail, "try again in a few seconds")
    }

    /// A fault of ours.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed", detail, "the log has more; please report it")
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        let (status, code, title) = match &error {
            ViewError::BadCursor => (StatusCode::BAD_REQUEST, "bad-cursor", "The cursor cannot be used"),
            ViewError::Ambiguous { .. } => (StatusCode::CONFLICT, "ambiguous", "The id is not unique"),
            error if error.is_callers_fault() => (StatusCode::BAD_REQUEST, "bad-parameter", "A parameter cannot be used"),
            error if error.is_retryable() => (StatusCode::SERVICE_UNAVAILABLE, "view-unavailable", "The view cannot be read now"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "view-broken", "The view cannot be read"),
        };
        Self::new(status, code, title, error.to_string(), error.hint())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:wastestream:problem:{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

/// The server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process listens there.
    #[error("port {} on {} is in use by another process", address.port(), address.ip())]
    PortInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address would be reachable from outside, and there is no authentication.
    #[error("refusing to listen on {address}: there is no authentication yet")]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Ports below 1024 and the like.
    #[error("not allowed to listen on {address}")]
    NotAllowed {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Anything else the system says about the address.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        cause: String,
    },
    /// The server stopped by a failure.
    #[error("the HTTP server stopped: {cause}")]
    Stopped {
        /// What the system said.
        cause: String,
    },
}

impl ServeError {
    /// What the reader of the error can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::PortInUse { address } => {
                format!("stop that process (`ss -ltnp 'sport = :{}'` names it), or choose another port; port 0 takes a free one", address.port())
            }
            Self::NotLoopback { address } => format!("listen on 127.0.0.1:{} and put a proxy with authentication before it", address.port()),
            Self::NotAllowed { address } => format!("ports below 1024 need root; {} is one, or the system forbids it otherwise", address.port()),
            Self::Bind { .. } => "check that the address belongs to this machine".into(),
            Self::Stopped { .. } => "start it again; the log has more".into(),
        }
    }
}
