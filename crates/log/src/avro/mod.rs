//! Avro in Confluent's framing (0x00, schema id as u32 BE, body) to Arrow columns and back. The decoder is our own:
//! it is bounded by each record's bytes, which no streaming reader is, and writes the engine's column types without a
//! detour: five flat ones, and lists and records of them (`nested`, `encode_nested`).
//!
//! [`decode`] reads columns, [`encode`] writes Avro sinks, [`json`] writes JSON sinks, [`value`] is the slow and
//! friendly way through `serde_json` for tools, ingest and HTTP.

pub mod decode;
pub mod encode;
pub mod json;
pub mod schema;
pub mod value;

mod columns;
mod cursor;
#[cfg(test)]
mod decode_tests;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod differential_nested;
mod encode_nested;
mod nested;
mod program;

pub(crate) use columns::columns_of;
pub use decode::AvroDecoder;
pub use encode::AvroEncoder;
pub use json::JsonEncoder;

use crate::registry::RegistryError;
use schema::Schema;

/// Values longer than this are refused unless the decoder is told otherwise: Kafka's default limit of a message.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// Bytes of the framing.
pub const FRAME_BYTES: usize = 5;

/// What does not fit between a topology, a schema and a value.
#[derive(Debug, thiserror::Error)]
pub enum AvroError {
    /// A column that the topic's schema does not have.
    #[error("{topic} has no field `{column}`; it has: {known}")]
    UnknownColumn {
        /// Topic.
        topic: String,
        /// Column asked for.
        column: String,
        /// Fields there are.
        known: String,
    },
    /// A field that cannot be a column: a map, a union of several types, a schema that contains itself.
    #[error("{topic}: field `{column}` is {found}; columns are flat values, lists and records of them: leave it out")]
    NestedColumn {
        /// Topic.
        topic: String,
        /// Column asked for.
        column: String,
        /// Its Avro type.
        found: String,
    },
    /// A sink lacks a required field.
    #[error("{topic}: required field `{field}` ({wanted}) has no column; select it under that name")]
    MissingField {
        /// Sink topic.
        topic: String,
        /// Field without a column.
        field: String,
        /// Its Avro type.
        wanted: String,
    },
    /// A column of another type.
    #[error("{topic}: column `{field}` is {found}, the schema wants {wanted}; cast it in the topology")]
    ColumnType {
        /// Sink topic.
        topic: String,
        /// Field and column.
        field: String,
        /// The column's Arrow type.
        found: String,
        /// The field's Avro type.
        wanted: String,
    },
    /// A JSON value that does not fit the schema, or bytes that do not fit theirs.
    #[error("{topic}: {path}: {message}")]
    Value {
        /// Topic or subject.
        topic: String,
        /// Field, with its parents: `routes[0].stops[2].kind`.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A value without framing.
    #[error("the value does not begin with 0x00 and a schema id: it is not Avro in Confluent's framing")]
    NotFramed,
    /// Registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl AvroError {
    fn unknown_column(topic: &str, column: &str, schema: &Schema) -> AvroError {
        let known = schema.record().fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
        AvroError::UnknownColumn { topic: topic.to_string(), column: column.to_string(), known }
    }
}

/// Splits a framed value into schema id and body; `None` when it is not framed.
pub fn unframe(value: &[u8]) -> Option<(u32, &[u8])> {
    let (head, body) = value.split_first_chunk::<FRAME_BYTES>()?;
    let [0, a, b, c, d] = *head else { return None };
    Some((u32::from_be_bytes([a, b, c, d]), body))
}

/// Appends the framing of a schema id.
pub fn frame(out: &mut Vec<u8>, schema_id: u32) {
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
}
