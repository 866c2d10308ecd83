//! The columns of an answer: plans, changes and troubles share them, `row_kind` tells them apart and the topology's stages
//! pick theirs. Rows are written as JSON objects first, since a plan is a tree.

use super::BoardError;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Map, Value};
use std::sync::Arc;
use ws_stream::nested::Column;

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

fn record(fields: Vec<Field>) -> DataType {
    DataType::Struct(fields.into())
}

fn field(name: &str, data_type: DataType, nullable: bool) -> Field {
    Field::new(name, data_type, nullable)
}

/// The columns that a solver of boards makes; key columns and those of the engine stand beside them.
pub fn output_columns() -> SchemaRef {
    use DataType::{Boolean, Float64, Int64, Utf8};
    let stop = record(vec![
        field("kind", Utf8, false),
        field("site_id", Utf8, true),
        field("facility_id", Utf8, true),
        field("container_ids", list(Utf8), false),
        field("arrives_at", Int64, false),
        field("leaves_at", Int64, false),
        field("load_kg", Float64, true),
        field("locked", Boolean, false),
        field("reason", Utf8, true),
    ]);
    let figures = record(
        ["stops_planned", "stops_served", "stops_late", "stops_not_done", "stops_extra"]
            .map(|n| field(n, Int64, false))
            .into_iter()
            .chain(["planned_m", "driven_m", "planned_s", "driven_s"].map(|n| field(n, Float64, false)))
            .collect(),
    );
    let route = record(vec![
        field("vehicle_id", Utf8, false),
        field("shift_id", Utf8, true),
        field("start_facility_id", Utf8, false),
        field("end_facility_id", Utf8, false),
        field("starts_at", Int64, false),
        field("ends_at", Int64, false),
        field("distance_m", Float64, false),
        field("stops", list(stop), false),
        field("driven", figures, true),
    ]);
    let skipped = record(vec![field("site_id", Utf8, false), field("reason", Utf8, false), field("p_overflow", Float64, true)]);
    let texts = |names: &[&str]| names.iter().map(|n| field(n, Utf8, true)).collect::<Vec<_>>();
    let mut fields = vec![field("row_kind", Utf8, false), field("row_id", Utf8, false), field("tenant", Utf8, true)];
    fields.extend(texts(&["plan_id"]));
    fields.push(field("plan_version", Int64, true));
    fields.extend(texts(&["supersedes", "state", "time_zone", "plan_solver", "plan_rung", "currency"]));
    fields.extend(["valid_from", "valid_to", "plan_seed", "plan_iterations", "cost_minor"].map(|n| field(n, Int64, true)));
    fields.extend(["distance_m", "duration_s"].map(|n| field(n, Float64, true)));
    fields.push(field("routes", list(route), true));
    fields.push(field("skipped", list(skipped), true));
    // Changes.
    fields.extend(texts(&["previous_plan_id"]));
    fields.push(field("previous_plan_version", Int64, true));
    fields.extend(texts(&["change", "vehicle_id", "previous_vehicle_id", "site_id", "reason", "cause_event_id"]));
    fields.extend(["position", "previous_position"].map(|n| field(n, Int64, true)));
    // Troubles.
    fields.extend(texts(&["code", "entity_kind", "entity_id", "detail"]));
    Arc::new(Schema::new(fields))
}

/// Rows in the columns; what an object does not name is null.
pub(super) fn batch(rows: &[Map<String, Value>]) -> Result<RecordBatch, BoardError> {
    let schema = output_columns();
    let mut arrays = Vec::with_capacity(schema.fields().len());
    for f in schema.fields() {
        let fail = |why: String| BoardError::Columns(format!("column `{}`: {why}", f.name()));
        let mut column = Column::new(f.data_type()).ok_or_else(|| fail("no column has its type".into()))?;
        for row in rows {
            push(row.get(f.name()).unwrap_or(&Value::Null), &mut column).map_err(&fail)?;
        }
        arrays.push(column.finish().map_err(|e| fail(e.to_string()))?);
    }
    if let Some(name) = rows.iter().flat_map(Map::keys).find(|n| schema.index_of(n).is_err()) {
        return Err(BoardError::Columns(format!("there is no column `{name}`")));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema, arrays, &options).map_err(|e| BoardError::Columns(e.to_string()))
}

fn push(value: &Value, into: &mut Column) -> Result<(), String> {
    let fits = match (value, &mut *into) {
        (Value::Null, column) => {
            column.push_null();
            true
        }
        (Value::Bool(v), column) => column.push_bool(*v),
        (Value::String(v), column) => column.push_bytes(v.as_bytes()),
        (Value::Number(v), column @ Column::Float(..)) => v.as_f64().is_some_and(|v| column.push_float(v)),
        (Value::Number(v), column) => v.as_i64().is_some_and(|v| column.push_int(v)),
        (Value::Array(items), Column::List(list)) => {
            for item in items {
                push(item, &mut list.item)?;
            }
            list.close()
        }
        (Value::Object(values), Column::Record(record)) => {
            let fields = record.fields().clone();
            for (f, child) in fields.iter().zip(&mut record.children) {
                push(values.get(f.name()).unwrap_or(&Value::Null), child).map_err(|why| format!("{}: {why}", f.name()))?;
            }
            record.close();
            true
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("{value} does not fit")) }
}
