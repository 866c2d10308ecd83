//! `spread`: what concerns everybody — facilities, closed roads, their pace, waste streams, costs — for every planning area. It is keyed
//! by tenant and learns of areas as they occur; an area that comes later gets everything that is known.

use super::row::Row;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::custom::{Cell, CustomContract, CustomError, CustomOp, KeyContext};

const TEXTS: [&str; 11] = ["kind", "entity_id", "event_id", "category", "time_zone", "streams", "status", "direction", "segments", "currency", "pace"];
const NUMBERS: [&str; 7] = ["latitude_deg", "longitude_deg", "access_from_s", "access_to_s", "service_s", "density_kg_per_l", "cost_minor"];
const INTS: [&str; 3] = ["starts_at", "ends_at", "expires_at"];
/// The last one is of the hour: an area that comes later is told without.
const FLAGS: [&str; 3] = ["gone", "quiet", "urgent"];
/// Rows of this kind name an area, in `entity_id`.
const AREA: &str = "area";

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    areas: BTreeSet<String>,
    /// Event time and values, by kind and id.
    rows: BTreeMap<String, (i64, Vec<Value>)>,
}

/// The operator.
#[derive(Debug, Default)]
pub struct Spread;

impl Spread {
    /// What it needs and makes.
    pub fn contract() -> CustomContract {
        let of = |names: &[&str], t: DataType| names.iter().map(|n| Field::new(*n, t.clone(), true)).collect::<Vec<_>>();
        let mut fields = of(&["planning_area_id"], DataType::Utf8);
        fields.extend(of(&TEXTS, DataType::Utf8));
        fields.extend(of(&NUMBERS, DataType::Float64));
        fields.extend(of(&INTS, DataType::Int64));
        fields.extend(of(&FLAGS, DataType::Boolean));
        // All that it passes on: what no input is named for does not come through a repartition topic.
        let inputs = fields.iter().skip(1).map(|f| (f.name().clone(), f.data_type().clone())).collect();
        CustomContract { inputs, outputs: Arc::new(Schema::new(fields)) }
    }
}

fn values(row: Row<'_>) -> Vec<Value> {
    let texts = TEXTS.iter().map(|n| row.text(n).map_or(Value::Null, Value::from));
    let numbers = NUMBERS.iter().map(|n| row.number(n).map_or(Value::Null, Value::from));
    let ints = INTS.iter().map(|n| row.int(n).map_or(Value::Null, Value::from));
    texts.chain(numbers).chain(ints).chain(FLAGS.iter().map(|n| Value::from(row.flag(n)))).collect()
}

fn cells(area: &str, values: &[Value], urgent: bool) -> Vec<Cell> {
    let mut cells = vec![Cell::Text(area.to_owned())];
    for (i, value) in values.iter().enumerate() {
        let is_number = (TEXTS.len()..TEXTS.len() + NUMBERS.len()).contains(&i);
        cells.push(match value {
            Value::String(t) => Cell::Text(t.clone()),
            Value::Bool(b) => Cell::Bool(*b && (urgent || i != values.len() - 1)),
            Value::Number(n) if is_number => n.as_f64().map_or(Cell::Null, Cell::Float),
            Value::Number(n) => n.as_i64().map_or(Cell::Null, Cell::Int),
            _ => Cell::Null,
        });
    }
    cells
}

impl CustomOp for Spread {
    fn row(&mut self, cx: &mut KeyContext<'_>, rows: &RecordBatch, i: usize) -> Result<(), CustomError> {
        let mut state: State = match cx.state.is_empty() {
            true => State::default(),
            false => serde_json::from_slice(cx.state).map_err(|e| CustomError(format!("stored state: {e}")))?,
        };
        let (row, at_ms) = (Row::new(rows, i), batch::times(rows)[i]);
        let (Some(kind), Some(id)) = (row.text("kind"), row.text("entity_id")) else { return Err(CustomError("a row without kind or entity_id".into())) };
        if kind == AREA {
            if !state.areas.insert(id.to_owned()) {
                return Ok(());
            }
            for (time_ms, values) in state.rows.values() {
                cx.emit(*time_ms, cells(id, values, false));
            }
        } else {
            let name = format!("{kind}/{id}");
            if state.rows.get(&name).is_some_and(|(time_ms, _)| *time_ms > at_ms) {
                return Ok(());
            }
            let values = values(row);
            for area in &state.areas {
                cx.emit(at_ms, cells(area, &values, true));
            }
            match row.flag("gone") {
                true => state.rows.remove(&name),
                false => state.rows.insert(name, (at_ms, values)),
            };
            // What expired is of no use to an area that comes later.
            let expires = TEXTS.len() + NUMBERS.len() + 2;
            let watermark_ms = cx.watermark_ms;
            state.rows.retain(|_, (_, v)| v.get(expires).and_then(Value::as_i64).is_none_or(|ms| ms > watermark_ms));
        }
        *cx.state = serde_json::to_vec(&state).map_err(|e| CustomError(e.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::board::testing::rows;
    use serde_json::json;

    #[test]
    fn every_area_gets_everything_whichever_comes_first() {
        let batch = rows(&[
            (10, json!({"kind": "facility", "entity_id": "tip", "latitude_deg": 48.0, "streams": "glass,", "event_id": "e1"})),
            (11, json!({"kind": "area", "entity_id": "north"})),
            (12, json!({"kind": "facility_status", "entity_id": "tip", "status": "closed", "urgent": true})),
            (13, json!({"kind": "area", "entity_id": "south"})),
            (9, json!({"kind": "facility_status", "entity_id": "tip", "status": "open"})),
            (14, json!({"kind": "area", "entity_id": "south"})),
        ]);
        let (mut state, mut timer, mut out) = (Vec::new(), None, Vec::new());
        for i in 0..batch.num_rows() {
            Spread.row(&mut KeyContext::new(b"t", &mut state, 0, &mut timer, &mut out), &batch, i).unwrap();
        }
        let said: Vec<String> = out
            .iter()
            .map(|(t, c)| format!("{t} {:?} {:?} {:?} {:?}", c[0], c[1], c[7], c.last().unwrap()))
            .map(|s| s.replace("Text(\"", "").replace("\")", "").replace("Bool", ""))
            .collect();
        assert_eq!(
            said,
            [
                "10 north facility Null (false)",
                "12 north facility_status closed (true)",
                "10 south facility Null (false)",
                "12 south facility_status closed (false)"
            ],
            "an older status is passed over, an area told twice gets nothing twice, and old news are not urgent"
        );
    }
}
