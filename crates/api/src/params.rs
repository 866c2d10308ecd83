//! Query parameters, read strictly: unknown and unusable ones are errors that name the parameter.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use ws_views::{BinFilter, BoundingBox, ListQuery};

use crate::ApiError;
use crate::limits;

/// The parameters of a request; each is taken once, what is left at the end is unknown.
pub(crate) struct Params {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let length = parts.uri.query().map_or(0, str::len);
        if length > limits::MAX_QUERY_BYTES {
            return Err(ApiError::bad_parameter("query", format!("{length} bytes"), format!("at most {} bytes", limits::MAX_QUERY_BYTES)));
        }
        let Query(left) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::bad_parameter("query", error.to_string(), "encode the query as name=value&name=value"))?;
        Ok(Self { left, known: Vec::new() })
    }
}

impl Params {
    /// A parameter's text; empty counts as absent.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        self.known.push(name);
        let Some(at) = self.left.iter().position(|(given, _)| given == name) else {
            return Ok(None);
        };
        let (_, value) = self.left.remove(at);
        if self.left.iter().any(|(given, _)| given == name) {
            return Err(ApiError::bad_parameter(name, "given twice", "give it once"));
        }
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// A parameter read as a number or the like.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &'static str, expected: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| ApiError::bad_parameter(name, format!("{text:?} is not {expected}"), format!("give {expected}")))
    }

    /// `bbox=minlon,minlat,maxlon,maxlat`.
    pub(crate) fn bounds(&mut self) -> Result<Option<BoundingBox>, ApiError> {
        let Some(text) = self.text("bbox")? else {
            return Ok(None);
        };
        let hint = "give bbox=minlon,minlat,maxlon,maxlat in degrees, for example bbox=11.4,48.0,11.7,48.2";
        BoundingBox::parse(&text).map(Some).map_err(|detail| ApiError::bad_parameter("bbox", detail, hint))
    }

    /// `tenant`, `limit` and `cursor`; a larger limit than allowed is an error, not cut silently.
    pub(crate) fn list(&mut self, default_rows: usize, max_rows: usize) -> Result<ListQuery, ApiError> {
        let limit = self.parsed("limit", "a whole number")?.unwrap_or(default_rows);
        if !(1..=max_rows).contains(&limit) {
            return Err(ApiError::bad_parameter("limit", format!("{limit}"), format!("give 1 to {max_rows}, and follow the cursor for more")));
        }
        Ok(ListQuery { tenant: self.text("tenant")?, limit, cursor: self.text("cursor")? })
    }

    /// The filters of bin lists.
    pub(crate) fn filter(&mut self) -> Result<BinFilter, ApiError> {
        Ok(BinFilter {
            waste_stream: self.text("waste_stream")?,
            sensor_health: self.text("sensor_health")?,
            site_id: self.text("site_id")?,
            level_at_least: self.parsed("level_at_least", "a number from 0 to 1")?,
            hours_to_full_below: self.parsed("hours_to_full_below", "a number of hours")?,
            rung: self.text("rung")?,
        })
    }

    /// Refuses what nobody took: a misspelt filter must not return everything.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => {
                let shown: String = name.chars().take(60).collect();
                Err(ApiError::bad_parameter(&shown, "there is no such parameter here", format!("known are: {}", self.known.join(", "))))
            }
        }
    }
}
