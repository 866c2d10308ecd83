//! Tests of the crate as a user sees it: whole files in, plans or messages out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod avsc;
mod broken;
mod expressions;
mod rekeys;
mod run;
mod shipped;
mod stages;
mod windows;
