//! Keeps foreign web pages out while there is no authentication.
//!
//! The server listens on the loopback interface, but browsers on this machine can be led there: by a name that resolves to
//! 127.0.0.1 (then `Host` is that name), or by a script on another page (then `Origin` is that page). Both are refused. What
//! changes something needs a header besides, which forms cannot send.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::ApiError;

/// Browsers send this header across origins only after asking, and they are refused then.
pub(crate) const ADMIN_HEADER: &str = "x-wastestream-admin";

/// Whoever changes something says so with [`ADMIN_HEADER`]: a form on another page cannot.
pub(crate) fn deliberate(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(ADMIN_HEADER) {
        return Ok(());
    }
    let hint = format!("send the header {ADMIN_HEADER}: 1; it keeps other web pages from acting in your name");
    Err(ApiError::new(StatusCode::FORBIDDEN, "admin-header-missing", "Not allowed", "the admin header is missing", hint))
}

/// Refuses foreign hosts and origins, and puts the security headers on every answer.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    let mut response = match refuse(request.headers()) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refuse(headers: &HeaderMap) -> Option<ApiError> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let foreign = |what: &'static str, value: &str| {
        let shown: String = value.chars().take(100).collect();
        let hint = "there is no authentication yet: open it as http://127.0.0.1:PORT/ or http://localhost:PORT/ on this machine";
        Some(ApiError::new(StatusCode::FORBIDDEN, "foreign-request", "Only requests from this machine are answered", format!("{what}: {shown}"), hint))
    };
    // Programs may leave both out; browsers always send Host.
    let host = text(header::HOST);
    if let Some(host) = host
        && !is_loopback(host)
    {
        return foreign("Host", host);
    }
    if let Some(origin) = text(header::ORIGIN) {
        let same = origin.strip_prefix("http://").is_some_and(|from| Some(from) == host);
        if !same {
            return foreign("Origin", origin);
        }
    }
    None
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
