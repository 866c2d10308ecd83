//! The operators that `apply` may name, and their translation: the stages of `ws_routing` speak in [`Value`]s and [`Step`]s,
//! the engine in cells and a timer.

use super::RegistryEdge;
use super::settings::Settings;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use std::collections::BTreeMap;
use ws_routing::matching::{MatchStage, Options, StopOptions, StopStage};
use ws_routing::stage::{Stage, Step, Value};
use ws_routing::traffic::{TrafficOptions, TrafficStage};
use ws_stream::custom::{Cell, CustomContract, CustomError, CustomOp, KeyContext};

/// Positions of a vehicle → traversals of road segments.
const MATCH_ROADS: &str = "match-roads";
/// Traversals in an area → speeds of its segments.
const ROAD_SPEEDS: &str = "road-speeds";
/// Positions of a vehicle → its stops and drives, without a map.
const FIND_STOPS: &str = "find-stops";
/// All operators that topologies may name.
pub const NAMES: [&str; 3] = [MATCH_ROADS, ROAD_SPEEDS, FIND_STOPS];

/// Whether an operator works on the road network.
pub fn needs_roads(operator: &str) -> bool {
    [MATCH_ROADS, ROAD_SPEEDS].contains(&operator)
}

/// The contract of an operator with these settings: the same on every road network, so none is needed to check a topology.
pub fn contract(operator: &str, with: &BTreeMap<String, String>) -> Option<Result<CustomContract, String>> {
    let named = |columns: Vec<(&'static str, DataType)>| columns.into_iter().map(|(name, kind)| (name.to_string(), kind)).collect();
    let of = |inputs, outputs: SchemaRef| CustomContract { inputs: named(inputs), outputs };
    Some(match operator {
        MATCH_ROADS => match_options(with).map(|_| {
            // What makes matching better must come along: columns that nobody names are not read.
            let welcome = MatchStage::welcome().map(|name| (name, DataType::Float64));
            of(MatchStage::inputs().into_iter().chain(welcome).collect(), MatchStage::outputs())
        }),
        ROAD_SPEEDS => traffic_options(with).map(|_| of(TrafficStage::inputs(), TrafficStage::outputs())),
        FIND_STOPS => stop_options(with).map(|_| of(StopStage::inputs(), StopStage::outputs())),
        _ => return None,
    })
}

/// An operator for one stage of one task.
pub fn build(operator: &str, with: &BTreeMap<String, String>, edge: &RegistryEdge) -> Result<Box<dyn CustomOp>, String> {
    let roads = || edge.network().map_err(|e| e.to_string());
    Ok(match operator {
        MATCH_ROADS => Box::new(Staged(MATCH_ROADS, MatchStage::new(roads()?, match_options(with)?))),
        ROAD_SPEEDS => Box::new(Staged(ROAD_SPEEDS, TrafficStage::new(roads()?, traffic_options(with)?))),
        FIND_STOPS => Box::new(Staged(FIND_STOPS, StopStage::new(stop_options(with)?))),
        _ => return Err(format!("there is no operator `{operator}` in this program")),
    })
}

const SECOND_MS: i64 = 1_000;
const DAY_MS: i64 = 86_400_000;

fn match_options(with: &BTreeMap<String, String>) -> Result<Options, String> {
    let (mut s, mut o) = (Settings::new(with), Options::default());
    s.duration("gap", &mut o.gap_ms, 10 * SECOND_MS..=3_600 * SECOND_MS);
    s.duration("lateness", &mut o.lateness_ms, 0..=7 * DAY_MS);
    s.duration("quiet", &mut o.quiet_ms, SECOND_MS..=3_600 * SECOND_MS);
    s.duration("clock_tolerance", &mut o.clock_tolerance_ms, SECOND_MS..=DAY_MS);
    s.duration("stop", &mut o.stop_ms, SECOND_MS..=3_600 * SECOND_MS);
    s.value("sigma_m", &mut o.sigma_m, 1.0..=50.0);
    s.value("reach_m", &mut o.reach_m, 10.0..=300.0);
    s.value("top_mps", &mut o.top_mps, 5.0..=70.0);
    s.flag("odometer", &mut o.odometer);
    s.done().map(|()| o)
}

fn traffic_options(with: &BTreeMap<String, String>) -> Result<TrafficOptions, String> {
    let (mut s, mut o) = (Settings::new(with), TrafficOptions::default());
    s.zone("zone", &mut o.zone);
    // One vehicle's speeds would tell of one driver.
    s.value("min_vehicles", &mut o.min_vehicles, 2..=64);
    s.duration("grace", &mut o.grace_ms, 0..=3_600 * SECOND_MS);
    s.duration("live", &mut o.live_ms, 60 * SECOND_MS..=DAY_MS);
    s.done().map(|()| o)
}

fn stop_options(with: &BTreeMap<String, String>) -> Result<StopOptions, String> {
    let (mut s, mut o) = (Settings::new(with), StopOptions::default());
    s.duration("least", &mut o.least_ms, SECOND_MS..=DAY_MS);
    s.duration("gap", &mut o.gap_ms, 10 * SECOND_MS..=DAY_MS);
    s.value("radius_m", &mut o.radius_m, 1.0..=1_000.0);
    s.value("moving_mps", &mut o.moving_mps, 0.1..=30.0);
    s.done().map(|()| o)
}

/// A stage of `ws_routing` as an operator, under its name.
struct Staged<S>(&'static str, S);

impl<S: Stage> CustomOp for Staged<S> {
    fn row(&mut self, cx: &mut KeyContext<'_>, rows: &RecordBatch, i: usize) -> Result<(), CustomError> {
        let step = self.1.row(cx.state, rows, i).map_err(|e| CustomError(e.to_string()))?;
        if let Some(verdict) = step.verdict {
            ws_runtime::metrics::operator_row(self.0, verdict);
        }
        put(cx, step);
        Ok(())
    }

    fn timer(&mut self, cx: &mut KeyContext<'_>, due_ms: i64) -> Result<(), CustomError> {
        let step = self.1.timer(cx.state, due_ms).map_err(|e| CustomError(e.to_string()))?;
        put(cx, step);
        Ok(())
    }
}

fn put(cx: &mut KeyContext<'_>, step: Step) {
    for (time_ms, values) in step.rows {
        cx.emit(time_ms, values.into_iter().map(cell).collect());
    }
    cx.set_timer(step.timer_ms);
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Int(v) => Cell::Int(v),
        Value::Float(v) => Cell::Float(v),
        Value::Bool(v) => Cell::Bool(v),
        Value::Text(v) => Cell::Text(v),
    }
}
