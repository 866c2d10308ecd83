//! Matching as a stage: rows of `vehicle.position`, keyed by vehicle, become traversals.

use super::matcher::Matcher;
use super::row::{Fix, Options, Traversal};
use super::state::VehicleState;
use crate::roads::{Place, RoadGraph};
use crate::stage::{Row, Stage, StageError, Step, Value};
use crate::traffic::area_of;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// The stage.
#[derive(Debug, Clone)]
pub struct MatchStage {
    matcher: Matcher,
    gap_ms: i64,
}

impl MatchStage {
    /// The stage on a network.
    pub fn new(graph: Arc<RoadGraph>, options: Options) -> MatchStage {
        MatchStage { gap_ms: options.gap_ms, matcher: Matcher::new(graph, options) }
    }

    /// Columns that must be there.
    pub fn inputs() -> Vec<(&'static str, DataType)> {
        vec![
            ("observed_at", DataType::Int64),
            ("sent_at", DataType::Int64),
            ("received_at", DataType::Int64),
            ("latitude_deg", DataType::Float64),
            ("longitude_deg", DataType::Float64),
        ]
    }

    /// Columns (Float64) that make it better where they are and are not null.
    pub fn welcome() -> [&'static str; 4] {
        ["speed_mps", "heading_deg", "accuracy_m", "odometer_m"]
    }

    /// Columns that it makes.
    pub fn outputs() -> SchemaRef {
        let field = |name: &str, kind, nullable| Field::new(name, kind, nullable);
        Arc::new(Schema::new(vec![
            field("segment_id", DataType::Utf8, false),
            field("direction", DataType::Utf8, false),
            field("area_id", DataType::Utf8, false),
            field("road_class", DataType::Utf8, false),
            field("entered_at", DataType::Int64, false),
            field("left_at", DataType::Int64, false),
            field("metres", DataType::Float64, false),
            field("whole", DataType::Boolean, false),
            field("moving", DataType::Boolean, false),
        ]))
    }

    fn values(&self, traversal: &Traversal) -> Vec<Value> {
        let (graph, segment) = (self.matcher.graph(), traversal.edge.segment());
        vec![
            Value::Text(graph.id(segment).to_owned()),
            Value::Text(traversal.edge.direction().name().to_owned()),
            Value::Text(area_of(graph, segment)),
            Value::Text(graph.class(segment).name().to_owned()),
            Value::Int(traversal.entered_ms),
            Value::Int(traversal.left_ms),
            Value::Float(traversal.metres),
            Value::Bool(traversal.whole),
            Value::Bool(traversal.moving),
        ]
    }
}

impl Stage for MatchStage {
    /// Takes a row of a vehicle. Traversals have the event time of the row that decided them, so that one of an upload of held
    /// rows is not late to whoever reads them; `left_at` tells when it was.
    fn row(&mut self, state: &mut Vec<u8>, rows: &RecordBatch, index: usize) -> Result<Step, StageError> {
        let row = Row { rows, index };
        let place = |name| row.float(name).map(|degrees| degrees.unwrap_or(f64::NAN));
        let fix = Fix {
            observed_ms: row.int("observed_at")?,
            sent_ms: row.int("sent_at")?,
            received_ms: row.int("received_at")?,
            place: Place::new(place("latitude_deg")?, place("longitude_deg")?),
            speed_mps: row.maybe("speed_mps"),
            heading_deg: row.maybe("heading_deg"),
            accuracy_m: row.maybe("accuracy_m"),
            odometer_m: row.maybe("odometer_m"),
        };
        let mut vehicle = VehicleState::from_bytes(state)?;
        let observed = self.matcher.observe(&mut vehicle, &fix);
        *state = vehicle.to_bytes();
        let rows = observed.traversals.iter().map(|traversal| (fix.observed_ms, self.values(traversal))).collect();
        Ok(Step { rows, timer_ms: vehicle.newest_ms().map(|newest_ms| newest_ms + self.gap_ms), verdict: Some(observed.verdict.name()) })
    }

    /// The vehicle has been silent for the gap: what is open is told.
    fn timer(&mut self, state: &mut Vec<u8>, due_ms: i64) -> Result<Step, StageError> {
        let mut vehicle = VehicleState::from_bytes(state)?;
        let traversals = self.matcher.finish(&mut vehicle);
        *state = vehicle.to_bytes();
        Ok(Step { rows: traversals.iter().map(|traversal| (due_ms, self.values(traversal))).collect(), timer_ms: None, verdict: None })
    }
}
