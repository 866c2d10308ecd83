//! Traffic as a stage: traversals, keyed by area, become rows of `road.speed`.

use super::area::Traffic;
use super::options::{SpeedRow, TrafficOptions};
use super::state::AreaState;
use crate::matching::Traversal;
use crate::roads::{Direction, RoadGraph};
use crate::stage::{Row, Stage, StageError, Step, Value};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// The stage.
#[derive(Debug, Clone)]
pub struct TrafficStage {
    graph: Arc<RoadGraph>,
    traffic: Traffic,
}

impl TrafficStage {
    /// The stage on a network.
    pub fn new(graph: Arc<RoadGraph>, options: TrafficOptions) -> TrafficStage {
        TrafficStage { traffic: Traffic::new(graph.clone(), options), graph }
    }

    /// Columns that must be there: what [`MatchStage`](crate::matching::MatchStage) makes, and the vehicle.
    pub fn inputs() -> Vec<(&'static str, DataType)> {
        vec![
            ("vehicle_id", DataType::Utf8),
            ("segment_id", DataType::Utf8),
            ("direction", DataType::Utf8),
            ("entered_at", DataType::Int64),
            ("left_at", DataType::Int64),
            ("metres", DataType::Float64),
            ("whole", DataType::Boolean),
            ("moving", DataType::Boolean),
        ]
    }

    /// Columns that it makes: those of `road.speed` but for its stamp, and the row's number in its area. Drives that an outage held
    /// back can make a second row of a window that was told.
    pub fn outputs() -> SchemaRef {
        let field = |name: &str, kind, nullable| Field::new(name, kind, nullable);
        Arc::new(Schema::new(vec![
            field("segment_id", DataType::Utf8, false),
            field("direction", DataType::Utf8, false),
            field("window_start", DataType::Int64, false),
            field("window_end", DataType::Int64, false),
            field("speed_mps", DataType::Float64, false),
            field("speed_p10_mps", DataType::Float64, true),
            field("typical_mps", DataType::Float64, true),
            field("free_flow_mps", DataType::Float64, true),
            field("samples", DataType::Int64, false),
            field("vehicles", DataType::Int64, true),
            field("confidence", DataType::Float64, true),
            field("number", DataType::Int64, false),
        ]))
    }

    fn step(&self, area: &mut AreaState, rows: Vec<SpeedRow>) -> Step {
        let first = area.told;
        area.told += rows.len() as u64;
        let rows = rows.iter().zip(first..).map(|(row, number)| (row.until_ms - 1, self.values(row, number))).collect();
        Step { rows, timer_ms: self.traffic.next_close_ms(area), verdict: None }
    }

    fn values(&self, row: &SpeedRow, number: u64) -> Vec<Value> {
        vec![
            Value::Text(self.graph.id(row.edge.segment()).to_owned()),
            Value::Text(row.edge.direction().name().to_owned()),
            Value::Int(row.from_ms),
            Value::Int(row.until_ms),
            Value::Float(row.mps),
            row.slow_mps.into(),
            Value::Float(row.typical_mps),
            Value::Float(row.free_flow_mps),
            Value::Int(row.samples as i64),
            Value::Int(row.vehicles as i64),
            Value::Float(row.confidence),
            Value::Int(number as i64),
        ]
    }
}

impl Stage for TrafficStage {
    /// Takes a traversal. One on a segment that the network does not have is an error, since its maker had another network.
    fn row(&mut self, state: &mut Vec<u8>, rows: &RecordBatch, index: usize) -> Result<Step, StageError> {
        let row = Row { rows, index };
        let unusable = |name, what: String| StageError::Value { name, what };
        let id = row.text("segment_id")?;
        let segment = self.graph.segment(id).ok_or_else(|| unusable("segment_id", format!("`{id}` is not in this road network")))?;
        let name = row.text("direction")?;
        let direction = Direction::of_name(name).ok_or_else(|| unusable("direction", format!("`{name}` is neither forward nor backward")))?;
        let traversal = Traversal {
            edge: segment.edge(direction),
            entered_ms: row.int("entered_at")?,
            left_ms: row.int("left_at")?,
            metres: row.float("metres")?.unwrap_or_default(),
            whole: row.bool("whole")?,
            moving: row.bool("moving")?,
        };
        let mut area = AreaState::from_bytes(state)?;
        let told = self.traffic.passage(number_of(row.text("vehicle_id")?), &traversal).map(|passage| self.traffic.learn(&mut area, &passage));
        let Some(rows) = told else {
            return Ok(Step { verdict: Some("no_speed"), ..self.step(&mut area, Vec::new()) });
        };
        let step = self.step(&mut area, rows);
        *state = area.to_bytes();
        Ok(Step { verdict: Some("speed"), ..step })
    }

    /// A window's grace is over.
    fn timer(&mut self, state: &mut Vec<u8>, due_ms: i64) -> Result<Step, StageError> {
        let mut area = AreaState::from_bytes(state)?;
        let rows = self.traffic.close(&mut area, due_ms);
        let step = self.step(&mut area, rows);
        *state = area.to_bytes();
        Ok(step)
    }
}

/// A number for a vehicle's id (FNV-1a): it tells vehicles apart and does not name them.
fn number_of(id: &str) -> u64 {
    id.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::{MatchStage, Options};
    use crate::roads::testing::grid_city;
    use crate::roads::{FreeFlow, Point, Search};
    use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};

    const MONDAY_MS: i64 = 1_772_409_600_000;

    /// Positions of a drive through the middle of the grid, one each 15 s, as a batch.
    fn positions(graph: &RoadGraph, start_ms: i64) -> RecordBatch {
        let snap = |x_m, y_m| graph.nearest(Point { x_m, y_m }, 500.0).unwrap();
        let route = Search::default().route(graph, &FreeFlow, snap(-700.0, 30.0), snap(700.0, 60.0)).unwrap();
        let (mut times, mut latitudes, mut longitudes, mut passed_s, mut next_s) = (Vec::new(), Vec::new(), Vec::new(), 0.0, 0.0);
        for (edge, from_m, to_m) in route.parts(graph) {
            let mps = 0.7 * graph.free_flow_mps(edge.segment());
            while next_s < passed_s + (to_m - from_m) / mps {
                let here_m = from_m + (next_s - passed_s) * mps;
                let along_m = if edge.direction() == Direction::Forward { here_m } else { graph.length_m(edge.segment()) - here_m };
                let place = graph.place(graph.at(edge.segment(), along_m, edge.direction()).0);
                times.push(start_ms + (next_s * 1e3) as i64);
                latitudes.push(place.latitude_deg);
                longitudes.push(place.longitude_deg);
                next_s += 15.0;
            }
            passed_s += (to_m - from_m) / mps;
        }
        let times: ArrayRef = Arc::new(Int64Array::from(times));
        RecordBatch::try_from_iter([
            ("observed_at", times.clone()),
            ("sent_at", times.clone()),
            ("received_at", times),
            ("latitude_deg", Arc::new(Float64Array::from(latitudes)) as ArrayRef),
            ("longitude_deg", Arc::new(Float64Array::from(longitudes)) as ArrayRef),
        ])
        .unwrap()
    }

    /// Output rows of the first stage as input of the second.
    fn batch(vehicle: &str, rows: &[(i64, Vec<Value>)]) -> RecordBatch {
        let text = |place: usize| -> ArrayRef {
            Arc::new(rows.iter().map(|(_, row)| if let Value::Text(text) = &row[place] { Some(text.clone()) } else { None }).collect::<StringArray>())
        };
        let int = |place: usize| -> ArrayRef {
            Arc::new(rows.iter().map(|(_, row)| if let Value::Int(value) = row[place] { Some(value) } else { None }).collect::<Int64Array>())
        };
        let bool = |place: usize| -> ArrayRef { Arc::new(rows.iter().map(|(_, row)| Some(row[place] == Value::Bool(true))).collect::<BooleanArray>()) };
        let metres = rows.iter().map(|(_, row)| if let Value::Float(value) = row[6] { Some(value) } else { None }).collect::<Float64Array>();
        let vehicles: ArrayRef = Arc::new(StringArray::from(vec![vehicle; rows.len()]));
        RecordBatch::try_from_iter([
            ("vehicle_id", vehicles),
            ("segment_id", text(0)),
            ("direction", text(1)),
            ("entered_at", int(4)),
            ("left_at", int(5)),
            ("metres", Arc::new(metres) as ArrayRef),
            ("whole", bool(7)),
            ("moving", bool(8)),
        ])
        .unwrap()
    }

    #[test]
    fn positions_become_speeds_through_both_stages() {
        let graph = Arc::new(grid_city(12, 12, 150.0));
        let mut matching = MatchStage::new(graph.clone(), Options::default());
        let mut traffic = TrafficStage::new(graph.clone(), TrafficOptions { min_vehicles: 2, ..TrafficOptions::default() });
        let (mut told, mut timer_ms, mut area) = (Vec::new(), None, Vec::new());
        for (vehicle, start_ms) in [("truck-1", MONDAY_MS), ("truck-2", MONDAY_MS + 60_000)] {
            let rows = positions(&graph, start_ms);
            let (mut state, mut traversals, mut silent_ms) = (Vec::new(), Vec::new(), None);
            for index in 0..rows.num_rows() {
                let step = matching.row(&mut state, &rows, index).unwrap();
                assert_eq!(step.verdict, Some("matched"));
                traversals.extend(step.rows);
                silent_ms = step.timer_ms;
            }
            traversals.extend(matching.timer(&mut state, silent_ms.unwrap()).unwrap().rows);
            assert!(traversals.len() > 6 && traversals.iter().all(|(_, row)| row.len() == MatchStage::outputs().fields().len()));
            let rows = batch(vehicle, &traversals);
            for index in 0..rows.num_rows() {
                let step = traffic.row(&mut area, &rows, index).unwrap();
                told.extend(step.rows);
                timer_ms = step.timer_ms;
            }
        }
        assert_eq!(timer_ms, Some(MONDAY_MS + 17 * 60_000), "when the window and its grace are over");
        told.extend(traffic.timer(&mut area, timer_ms.unwrap()).unwrap().rows);
        assert!(told.len() >= 6, "{}", told.len());
        assert!(told.iter().enumerate().all(|(number, (_, row))| row.last() == Some(&Value::Int(number as i64))), "each row has a number of its own");
        for (time_ms, row) in &told {
            assert_eq!(*time_ms, MONDAY_MS + 900_000 - 1);
            let (Value::Float(speed), Value::Float(free), Value::Int(vehicles)) = (&row[4], &row[7], &row[9]) else { unreachable!("{row:?}") };
            assert!((speed / free - 0.7).abs() < 0.15 && *vehicles == 2, "{row:?}");
        }
    }

    #[test]
    fn what_cannot_be_taken_is_said_and_changes_nothing() {
        let graph = Arc::new(grid_city(4, 4, 150.0));
        let mut traffic = TrafficStage::new(graph.clone(), TrafficOptions::default());
        let mut state = Vec::new();
        let row = |id: &str| {
            let values = [id, "forward", "", "", "", "", ""].map(|text| Value::Text(text.to_owned()));
            let mut row = values.to_vec();
            (row[4], row[5], row[6]) = (Value::Int(0), Value::Int(20_000), Value::Float(150.0));
            row.extend([Value::Bool(true), Value::Bool(true)]);
            batch("truck-1", &[(0, row)])
        };
        let message = traffic.row(&mut state, &row("elsewhere"), 0).unwrap_err().to_string();
        assert!(message.contains("`elsewhere` is not in this road network"), "{message}");
        assert!(state.is_empty());
        assert_eq!(traffic.row(&mut state, &row("h-0-1"), 0).unwrap().verdict, Some("speed"));
        let message = traffic.row(&mut state, &row("h-0-1").project(&[0, 1]).unwrap(), 0).unwrap_err().to_string();
        assert!(message.contains("`direction`"), "{message}");
        state.truncate(5);
        assert!(matches!(traffic.row(&mut state, &row("h-0-1"), 0), Err(StageError::Traffic(_))));
    }
}
