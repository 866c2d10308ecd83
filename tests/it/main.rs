//! End-to-end tests: everything that needs a real server, and the tidy check, in one binary.
//!
//! One binary on purpose: each one that links the whole stack costs half a gigabyte of disk and many seconds.
//! `make test` installs the servers first; without them the tests that need one say so and pass.

// This is test code from end to end: a failed `expect` is a failed test, and real servers live in real time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod demo;
mod kafka_faults;
mod kafka_kill;
mod kafka_log;
mod kafka_optimize;
mod kafka_rekey;
mod kafka_share;
mod page;
mod page_panels;
mod page_routes;
mod robust;
mod servers;
mod stand_ins;
mod support;
mod tidy;
mod wyndham;
