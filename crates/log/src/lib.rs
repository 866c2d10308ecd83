//! The edge to the log: Kafka, the embedded log, the schema registry, Avro to Arrow and back.

#![allow(clippy::disallowed_methods, reason = "an edge crate: brokers are waited for by the wall clock")]

pub mod avro;
pub mod compat;
pub mod embedded;
pub mod kafka;
pub mod registry;
pub mod schema_docs;
