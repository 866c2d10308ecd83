//! HTTP: reads, events, metrics, the page.
//!
//! [`Api`] answers from a view ([`ws_views::ViewReads`]) and from the runtime's [`Status`]; it holds no data of its own. Every
//! read says how fresh it is, errors are RFC 9457 problems with a hint, and everything is bounded by a named [`limits`].
//! There is no authentication yet: the server binds to the loopback interface and refuses foreign `Host` and `Origin` headers,
//! so that a web page elsewhere cannot reach it through a browser.
//!
//! Layout: `server` binds and serves, `state` is what handlers share, `reads`, `plans`, `plans_geo`, `manifest`, `decisions`, `stream` and `admin` are the handlers, `changes`
//! gathers what changed for the event stream, `guard` refuses foreign requests, `page` serves the embedded files.

#![allow(clippy::disallowed_methods, reason = "an edge crate: HTTP needs the wall clock and timers")]

mod admin;
mod answer;
mod changes;
mod decisions;
mod error;
mod guard;
pub mod limits;
mod manifest;
mod page;
mod params;
mod plans;
mod plans_geo;
mod reads;
mod server;
mod state;
pub mod status;
mod stream;
mod visits;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_plans;
#[cfg(test)]
mod tests_stream;

pub use changes::ChangeHub;
pub use decisions::Decide;
pub use error::{ApiError, ServeError};
pub use server::{Api, bind};
pub use status::Status;
