//! What a topology is checked against: the columns of topics and the outputs of models. The edge implements it from
//! the schema registry and the model store; the checks here only ask.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::custom::CustomContract;
use ws_stream::nested;
use ws_stream::solve::SolverContract;

/// The columns of a topic.
#[derive(Clone, Debug)]
pub struct TopicContract {
    /// User columns. Types may be the decoder's (`Timestamp`, `Int32`, `Float32`, dictionaries): they are mapped to
    /// the engine's, see [`engine_type`]. Columns of other types are not visible to topologies.
    pub schema: SchemaRef,
    /// Key column of the topic, where its contract names one.
    pub key: Option<String>,
    /// Columns with a default: a writer may leave them out although they are not nullable.
    pub defaults: Vec<String>,
}

/// What a model needs and gives.
#[derive(Clone, Debug)]
pub struct ModelContract {
    /// Columns that must be there, with engine types; empty when the model takes what it finds.
    pub inputs: Vec<(String, DataType)>,
    /// Columns it adds.
    pub outputs: SchemaRef,
}

/// Where contracts come from.
pub trait Contracts {
    /// The contract of a topic, `None` when nobody knows it.
    fn topic(&self, topic: &str) -> Option<TopicContract>;
    /// The contract of a model, `None` when nobody knows it.
    fn model(&self, model: &str) -> Option<ModelContract>;
    /// The contract of a custom operator with these settings: `None` when nobody knows it, an error when it does not take
    /// them.
    fn operator(&self, _operator: &str, _with: &BTreeMap<String, String>) -> Option<Result<CustomContract, String>> {
        None
    }
    /// The contract of a solver, `None` when nobody knows it.
    fn solver(&self, _solver: &str) -> Option<SolverContract> {
        None
    }
    /// All operators, to help with typing errors.
    fn operators(&self) -> Vec<String> {
        Vec::new()
    }
    /// All solvers, to help with typing errors.
    fn solvers(&self) -> Vec<String> {
        Vec::new()
    }
    /// All topics, to help with typing errors.
    fn topics(&self) -> Vec<String>;
    /// All models, to help with typing errors.
    fn models(&self) -> Vec<String>;
}

/// The engine's type for a decoder's type: Int64, Float64, Boolean, Utf8 or Binary, lists and records of them; `None` when
/// there is none.
pub fn engine_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        DataType::Timestamp(TimeUnit::Millisecond, _) => DataType::Int64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Boolean => DataType::Boolean,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, values) => return engine_type(values),
        DataType::List(item) | DataType::LargeList(item) => {
            let list = DataType::List(Arc::new(Field::new("item", engine_type(item.data_type())?, item.is_nullable())));
            return nested::is_column_type(&list).then_some(list);
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| engine_type(f.data_type()).map(|t| Field::new(f.name(), t, f.is_nullable()))).collect::<Option<Vec<_>>>()?;
            let record = DataType::Struct(fields.into());
            return nested::is_column_type(&record).then_some(record);
        }
        _ => return None,
    })
}

/// The columns of a schema that topologies can use, with engine types.
pub fn engine_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().filter_map(|f| engine_type(f.data_type()).map(|t| Field::new(f.name(), t, f.is_nullable()))).collect();
    Arc::new(Schema::new(fields))
}

/// The word for an engine type in messages.
pub fn type_word(data_type: &DataType) -> String {
    match data_type {
        DataType::Int64 => "integer".into(),
        DataType::Float64 => "number".into(),
        DataType::Boolean => "true/false".into(),
        DataType::Utf8 => "text".into(),
        DataType::Binary => "bytes".into(),
        DataType::List(item) => format!("list of {}", type_word(item.data_type())),
        DataType::Struct(fields) => format!("record({})", fields.iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Can values of `from` be written where `to` stands? Lists and records by their parts: what a record's contract needs
/// must be there by name, more is left out; nulls inside them are looked at row by row.
pub fn fits(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::List(a), DataType::List(b)) => fits(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => b.iter().all(|wanted| match a.iter().find(|f| f.name() == wanted.name()) {
            Some(f) => fits(f.data_type(), wanted.data_type()),
            // Whether a default stands for it, the encoder knows.
            None => true,
        }),
        (a, b) => a == b,
    }
}
