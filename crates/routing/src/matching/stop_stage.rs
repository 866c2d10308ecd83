//! Stops as a stage: rows of `vehicle.position`, keyed by vehicle, become stops and the drives between them. It needs no map.
//!
//! Rows behind a vehicle's newest one are dropped: unlike matching, a stay cannot be cut open again. What a truck did while it
//! had no network is a gap here.

use super::row::Fix;
use super::stops::{Move, Stop, StopOptions, StopState};
use crate::bytes::{Reader, Writer};
use crate::roads::Place;
use crate::stage::{Row, Stage, StageError, Step, Value};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// Number of the byte form.
const FORM: u8 = 1;

/// The stage.
#[derive(Debug, Clone)]
pub struct StopStage {
    options: StopOptions,
}

/// Moves since the last stop or gap.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Drive {
    from_ms: i64,
    until_ms: i64,
    crow_m: f64,
    to: Place,
    moves: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct State {
    newest_ms: Option<i64>,
    drive: Option<Drive>,
    stay: StopState,
}

impl StopStage {
    /// The stage.
    pub fn new(options: StopOptions) -> StopStage {
        StopStage { options }
    }

    /// Columns that must be there.
    pub fn inputs() -> Vec<(&'static str, DataType)> {
        vec![("observed_at", DataType::Int64), ("latitude_deg", DataType::Float64), ("longitude_deg", DataType::Float64), ("speed_mps", DataType::Float64)]
    }

    /// Columns that it makes: `kind` is `stop` or `drive`, the place that of the stop or where the drive ended.
    pub fn outputs() -> SchemaRef {
        let field = |name: &str, kind| Field::new(name, kind, false);
        Arc::new(Schema::new(vec![
            field("kind", DataType::Utf8),
            field("started_at", DataType::Int64),
            field("ended_at", DataType::Int64),
            field("latitude_deg", DataType::Float64),
            field("longitude_deg", DataType::Float64),
            field("crow_m", DataType::Float64),
            field("positions", DataType::Int64),
        ]))
    }
}

impl Stage for StopStage {
    /// Takes a row of a vehicle. What it ends has the event time of the row.
    fn row(&mut self, state: &mut Vec<u8>, rows: &RecordBatch, index: usize) -> Result<Step, StageError> {
        let row = Row { rows, index };
        let place = |name| row.float(name).map(|degrees| degrees.unwrap_or(f64::NAN));
        let observed_ms = row.int("observed_at")?;
        let fix = Fix {
            observed_ms,
            sent_ms: observed_ms,
            received_ms: observed_ms,
            place: Place::new(place("latitude_deg")?, place("longitude_deg")?),
            speed_mps: row.float("speed_mps")?,
            heading_deg: None,
            accuracy_m: None,
            odometer_m: None,
        };
        let mut known = State::from_bytes(state).ok_or(StageError::Stops)?;
        let silent_from_ms = known.newest_ms.map(|newest_ms| newest_ms + self.options.gap_ms);
        if !fix.place.is_valid() || known.newest_ms.is_some_and(|newest_ms| observed_ms <= newest_ms) {
            return Ok(Step { rows: Vec::new(), timer_ms: silent_from_ms, verdict: Some("dropped") });
        }
        let mut out = Vec::new();
        let stayed = known.stay.observe(&self.options, &fix);
        let gap = silent_from_ms.is_some_and(|silent_ms| observed_ms > silent_ms);
        if gap || stayed.stop.is_some() {
            out.extend(known.drive.take().map(drive_row));
        }
        out.extend(stayed.stop.map(stop_row));
        if let Some(moved) = stayed.moved {
            known.go_on(moved, fix.place);
        }
        known.newest_ms = Some(observed_ms);
        *state = known.to_bytes();
        let rows = out.into_iter().map(|values| (observed_ms, values)).collect();
        Ok(Step { rows, timer_ms: Some(observed_ms + self.options.gap_ms), verdict: Some(if stayed.moved.is_some() { "moved" } else { "stayed" }) })
    }

    /// The vehicle has been silent for the gap: what is open is told.
    fn timer(&mut self, state: &mut Vec<u8>, due_ms: i64) -> Result<Step, StageError> {
        let mut known = State::from_bytes(state).ok_or(StageError::Stops)?;
        let stop = known.stay.finish(&self.options);
        let rows = known.drive.take().map(drive_row).into_iter().chain(stop.map(stop_row)).map(|values| (due_ms, values)).collect();
        *state = known.to_bytes();
        Ok(Step { rows, timer_ms: None, verdict: None })
    }
}

fn stop_row(stop: Stop) -> Vec<Value> {
    values("stop", (stop.from_ms, stop.until_ms), stop.place, 0.0, stop.fixes)
}

fn drive_row(drive: Drive) -> Vec<Value> {
    values("drive", (drive.from_ms, drive.until_ms), drive.to, drive.crow_m, drive.moves + 1)
}

fn values(kind: &str, (from_ms, until_ms): (i64, i64), place: Place, crow_m: f64, positions: u32) -> Vec<Value> {
    vec![
        Value::Text(kind.to_owned()),
        Value::Int(from_ms),
        Value::Int(until_ms),
        Value::Float(place.latitude_deg),
        Value::Float(place.longitude_deg),
        Value::Float(crow_m),
        Value::Int(positions.into()),
    ]
}

impl State {
    fn go_on(&mut self, moved: Move, to: Place) {
        let drive = self.drive.get_or_insert(Drive { from_ms: moved.from_ms, until_ms: moved.until_ms, crow_m: 0.0, to, moves: 0 });
        drive.until_ms = moved.until_ms;
        drive.crow_m += moved.crow_m;
        drive.to = to;
        drive.moves += 1;
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u8(FORM);
        to.i64(self.newest_ms.unwrap_or(i64::MIN));
        to.u8(u8::from(self.drive.is_some()));
        if let Some(drive) = self.drive {
            to.i64(drive.from_ms);
            to.i64(drive.until_ms);
            for number in [drive.crow_m, drive.to.latitude_deg, drive.to.longitude_deg] {
                to.f64(number);
            }
            to.u32(drive.moves);
        }
        to.0.extend(self.stay.to_bytes());
        to.0
    }

    fn from_bytes(bytes: &[u8]) -> Option<State> {
        if bytes.is_empty() {
            return Some(State::default());
        }
        let mut from = Reader(bytes);
        if from.u8()? != FORM {
            return None;
        }
        let newest_ms = Some(from.i64()?).filter(|ms| *ms != i64::MIN);
        let drive = match from.u8()? {
            0 => None,
            _ => {
                let (from_ms, until_ms, crow_m) = (from.i64()?, from.i64()?, from.f64()?);
                let to = Place::new(from.f64()?, from.f64()?);
                Some(Drive { from_ms, until_ms, crow_m, to, moves: from.u32()? })
            }
        };
        Some(State { newest_ms, drive, stay: StopState::from_bytes(from.0)? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array};

    /// Minutes and places, 0.001° (111 m) apart along a meridian.
    fn play(stage: &mut StopStage, state: &mut Vec<u8>, rows: &[(i64, i64)]) -> (Vec<String>, Option<i64>) {
        let int = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let float = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("observed_at", int(rows.iter().map(|(minute, _)| minute * 60_000).collect()), false),
            ("latitude_deg", float(rows.iter().map(|(_, place)| *place as f64 / 1e3).collect()), true),
            ("longitude_deg", float(vec![0.0; rows.len()]), true),
            ("speed_mps", Arc::new(Float64Array::from(vec![None; rows.len()])) as ArrayRef, true),
        ])
        .unwrap();
        let (mut out, mut timer_ms) = (Vec::new(), None);
        for index in 0..rows.len() {
            let step = stage.row(state, &batch, index).unwrap();
            out.extend(step.rows.iter().map(|(_, values)| told(values)));
            timer_ms = step.timer_ms;
        }
        (out, timer_ms)
    }

    fn told(values: &[Value]) -> String {
        let (Value::Text(kind), Value::Int(from), Value::Int(until), Value::Float(crow_m), Value::Int(positions)) =
            (&values[0], &values[1], &values[2], &values[5], &values[6])
        else {
            return format!("{values:?}");
        };
        format!("{kind} {}-{} {:.0} m {positions}", from / 60_000, until / 60_000, crow_m)
    }

    #[test]
    fn stops_and_the_drives_between_them_are_told_when_they_end() {
        let (mut stage, mut state) = (StopStage::new(StopOptions::default()), Vec::new());
        let (out, timer_ms) = play(&mut stage, &mut state, &[(0, 0), (1, 0), (2, 0), (3, 10), (4, 20), (5, 30), (6, 30), (7, 30), (8, 30), (9, 50)]);
        assert_eq!(out, ["stop 0-2 0 m 3", "drive 2-5 3336 m 4", "stop 5-8 0 m 4"]);
        assert_eq!(timer_ms, Some(19 * 60_000), "when the silence is a gap");
        let step = stage.timer(&mut state, 19 * 60_000).unwrap();
        assert_eq!(step.rows.iter().map(|(_, values)| told(values)).collect::<Vec<_>>(), ["drive 8-9 2224 m 2"]);
        assert_eq!(step.timer_ms, None);
    }

    #[test]
    fn a_gap_ends_a_drive_and_older_rows_are_dropped_without_a_trace() {
        let (mut stage, mut state) = (StopStage::new(StopOptions::default()), Vec::new());
        play(&mut stage, &mut state, &[(0, 0), (1, 10), (2, 20)]);
        let before = state.clone();
        let (out, timer_ms) = play(&mut stage, &mut state, &[(2, 50), (1, 50)]);
        assert!(out.is_empty() && state == before && timer_ms == Some(12 * 60_000), "the timer stays");
        // The distance over the gap is nobody's drive.
        let (out, _) = play(&mut stage, &mut state, &[(60, 90), (61, 100), (62, 100), (63, 100), (64, 110)]);
        assert_eq!(out, ["drive 0-2 2224 m 3", "drive 60-61 1112 m 2", "stop 61-63 0 m 3"]);
        state.truncate(12);
        let batch = RecordBatch::try_from_iter([("observed_at", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
        assert!(matches!(stage.row(&mut Vec::new(), &batch, 0), Err(StageError::Column { .. })));
        assert_eq!(stage.timer(&mut state, 0), Err(StageError::Stops));
    }
}
