//! The built-in scenario's topology, made in code: devices report levels that rise and fall. It holds one of each
//! kind of stage, so that each kind's state goes through kills, roll-backs and restores:
//!
//! ```text
//! reading → once → sane → placed (own table) → sited (global table) ─┬→ sim.placed
//!                                               per_minute (window) ←┤→ sim.minute
//!                                   trend (since, timers) → forecast (infer) → sim.forecast
//!                                     └→ shift (changed) → sim.shift
//! ```

use crate::json::{JsonDecoder, JsonEncoder};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use std::sync::Arc;
use ws_stream::batch::{self, with_system};
use ws_stream::codec::{Decode, Encode};
use ws_stream::expr::{Expr, ExprError, ExprRef};
use ws_stream::op::infer::stage_columns;
use ws_stream::predict::{PredictError, Prediction, Predictor};
use ws_stream::spec::{
    AggCall, AggFn, Column, DropSpec, From, FutureSpec, InferSpec, InputSpec, Lateness, Missing, OpSpec, Otherwise, Rung, SinceSpec, SinkFormat, SinkSpec,
    StageSpec, TableSpec, TimeSpec, Topology, WindowSpec,
};
use ws_stream::task::Edge;

/// Input topic.
pub const READING: &str = "sim.reading";
/// Table topic, partitioned as the input.
pub const DEVICE: &str = "sim.device";
/// Global table topic.
pub const SITE: &str = "sim.site";
/// Sink with one row per accepted reading.
pub const PLACED: &str = "sim.placed";
/// Sink with a row per device and minute.
pub const MINUTE: &str = "sim.minute";
/// Sink behind the model.
pub const FORECAST: &str = "sim.forecast";
/// Sink with changes of a device's health.
pub const SHIFT: &str = "sim.shift";
/// Dead letters.
pub const DEAD: &str = "dlq.meter";

/// How far behind its key's newest a reading may be, ms.
pub const LATENESS_MS: i64 = 60_000;
/// How far ahead of its sending time a reading may be, ms.
pub const FUTURE_MS: i64 = 600_000;
/// How long ids are remembered, ms of event time.
pub const REMEMBER_MS: i64 = 600_000;

type Function = fn(&RecordBatch) -> Result<ArrayRef, String>;

/// An expression in code.
pub(crate) struct Code {
    text: &'static str,
    kind: DataType,
    function: Function,
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

impl Expr for Code {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        (self.function)(rows).map_err(|message| ExprError { expression: self.text.to_string(), message })
    }
    fn data_type(&self) -> DataType {
        self.kind.clone()
    }
    fn nullable(&self) -> bool {
        true
    }
    fn text(&self) -> &str {
        self.text
    }
}

/// An expression in code.
pub(crate) fn code(text: &'static str, kind: DataType, function: Function) -> ExprRef {
    Arc::new(Code { text, kind, function })
}

/// A column by name.
#[derive(Debug)]
struct Named(&'static str, DataType);

impl Expr for Named {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        rows.column_by_name(self.0).cloned().ok_or_else(|| ExprError { expression: self.0.into(), message: "no such column".into() })
    }
    fn data_type(&self) -> DataType {
        self.1.clone()
    }
    fn nullable(&self) -> bool {
        true
    }
    fn text(&self) -> &str {
        self.0
    }
}

pub(crate) fn named(name: &'static str, kind: DataType) -> ExprRef {
    Arc::new(Named(name, kind))
}

pub(crate) fn column(output: &str, input: &'static str, kind: DataType) -> Column {
    Column { name: output.to_string(), expr: named(input, kind) }
}

fn numbers(rows: &RecordBatch, name: &str) -> Result<Float64Array, String> {
    let c = rows.column_by_name(name).ok_or_else(|| format!("no column {name}"))?;
    Ok(c.as_primitive_opt::<Float64Type>().ok_or("not a number")?.clone())
}

pub(crate) fn fields(list: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(list.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
}

pub(crate) fn extended(schema: &SchemaRef, more: &[(&str, DataType)]) -> SchemaRef {
    let more = more.iter().map(|(n, t)| Arc::new(Field::new(*n, t.clone(), true)));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

fn call(function: AggFn, horizon_ms: Option<i64>) -> AggCall {
    let arg = (function != AggFn::Count).then(|| named("level", DataType::Float64));
    AggCall { function, arg, horizon_ms }
}

/// The topology.
pub fn topology() -> Arc<Topology> {
    use DataType::{Boolean, Float64, Int64, Utf8};
    let reading = fields(&[("id", Utf8), ("device", Utf8), ("at", Int64), ("sent", Int64), ("level", Float64)]);
    let rows = with_system(&reading);
    let placed = extended(&rows, &[("site", Utf8)]);
    let sited = extended(&placed, &[("factor", Float64)]);
    let minute = [("device", Utf8), ("from", Int64), ("to", Int64), ("n", Int64), ("mean", Float64), ("slope", Float64)];
    let trend = [
        ("device", Utf8),
        ("site", Utf8),
        ("since", Int64),
        ("newest", Int64),
        ("row", Int64),
        ("late", Boolean),
        ("n", Int64),
        ("level", Float64),
        ("slope", Float64),
        ("recent", Float64),
        ("high", Boolean),
    ];
    let outputs = fields(&[("hours", Float64)]);
    let trend_schema = with_system(&fields(&trend));
    let mut forecast: Vec<Arc<Field>> = trend_schema.fields().iter().cloned().collect();
    forecast.extend(outputs.fields().iter().cloned());
    forecast.extend(stage_columns().into_iter().map(Arc::new));
    let high = Code {
        text: "agg1 > 0.7",
        kind: Boolean,
        function: |rows| {
            let level = numbers(rows, "agg1")?;
            Ok(Arc::new(level.iter().map(|v| v.map(|v| v > 0.7)).collect::<BooleanArray>()))
        },
    };
    let in_range = Code {
        text: "level BETWEEN 0 AND 1.2",
        kind: Boolean,
        function: |rows| {
            let level = numbers(rows, "level")?;
            Ok(Arc::new(level.iter().map(|v| v.map(|v| (0.0..=1.2).contains(&v))).collect::<BooleanArray>()))
        },
    };
    let stage = |id: &str, from: From, op: OpSpec, schema: SchemaRef| StageSpec { id: id.to_string(), from: vec![from], op, schema };
    let device = || vec!["device".to_string()];
    let stages = vec![
        stage("once", From::Input(0), OpSpec::Dedup { key: device(), id: vec!["id".into()], keep_ms: REMEMBER_MS }, rows.clone()),
        stage(
            "sane",
            From::Stage(0),
            OpSpec::Select { filter: Some(Arc::new(in_range)), otherwise: Otherwise::DeadLetter("level_out_of_range".into()), columns: None },
            rows.clone(),
        ),
        stage(
            "placed",
            From::Stage(1),
            OpSpec::Join { table: 0, on: device(), columns: vec![(1, "site".into())], missing: Missing::Unmatched("unknown_device".into()) },
            placed,
        ),
        stage("sited", From::Stage(2), OpSpec::Join { table: 1, on: vec!["site".into()], columns: vec![(1, "factor".into())], missing: Missing::Nulls }, sited),
        stage(
            "per_minute",
            From::Stage(3),
            OpSpec::Window {
                group_by: device(),
                window: WindowSpec { size_ms: 60_000, slide_ms: 30_000 },
                calls: vec![call(AggFn::Count, None), call(AggFn::Avg, None), call(AggFn::Slope, None)],
                columns: vec![
                    column("device", "device", Utf8),
                    column("from", "window_start", Int64),
                    column("to", "window_end", Int64),
                    column("n", "agg0", Int64),
                    column("mean", "agg1", Float64),
                    column("slope", "agg2", Float64),
                ],
            },
            with_system(&fields(&minute)),
        ),
        stage(
            "trend",
            From::Stage(3),
            OpSpec::Since {
                group_by: device(),
                window: SinceSpec {
                    at_most_ms: 900_000,
                    pane_ms: 20_000,
                    reset_at: None,
                    drop: Some(DropSpec { value: named("level", Float64), by: 0.4, to_at_most: 0.2 }),
                    or_every_ms: Some(90_000),
                    give_up_ms: 600_000,
                    answer_all: false,
                },
                calls: vec![call(AggFn::Count, None), call(AggFn::Last, None), call(AggFn::Slope, None), call(AggFn::Avg, Some(120_000))],
                carry: vec!["device".into(), "site".into()],
                columns: vec![
                    column("device", "device", Utf8),
                    column("site", "site", Utf8),
                    column("since", "window_start", Int64),
                    column("newest", "last_time", Int64),
                    column("row", "row_time", Int64),
                    column("late", "is_late", Boolean),
                    column("n", "agg0", Int64),
                    column("level", "agg1", Float64),
                    column("slope", "agg2", Float64),
                    column("recent", "agg3", Float64),
                    Column { name: "high".into(), expr: Arc::new(high) },
                ],
            },
            trend_schema.clone(),
        ),
        stage("shift", From::Stage(5), OpSpec::Changed { key: device(), of: vec!["high".into()], first: None }, trend_schema),
        stage(
            "forecast",
            From::Stage(5),
            OpSpec::Infer(InferSpec {
                model: "meter".into(),
                key: device(),
                outputs,
                ladder: vec![Rung::Cached, Rung::Heuristic],
                budget_ms: 120,
                cache_age_ms: 300_000,
                batch_rows: 8,
                max_pending_rows: 500,
            }),
            Arc::new(Schema::new(forecast)),
        ),
    ];
    let sink = |topic: &str, stage: usize, header_columns: &[&str]| SinkSpec {
        topic: topic.into(),
        from: vec![From::Stage(stage)],
        key: Some("device".into()),
        format: SinkFormat::Json,
        header_columns: header_columns.iter().map(|h| (*h).to_string()).collect(),
        lineage: true,
    };
    Arc::new(Topology {
        name: "meter".into(),
        state_hash: 0x6d65_7465_7201,
        inputs: vec![InputSpec {
            id: "readings".into(),
            topic: READING.into(),
            schema: reading,
            time: TimeSpec {
                column: "at".into(),
                future: Some(FutureSpec { against: Some("sent".into()), tolerance_ms: FUTURE_MS }),
                watermark_delay_ms: 20_000,
                lateness: Lateness::PerKey { key: device(), allowed_ms: LATENESS_MS },
            },
            max_value_bytes: 4096,
            idle_after_ms: None,
            max_skew_ms: None,
            rekeyed: None,
        }],
        tables: vec![
            TableSpec {
                id: "devices".into(),
                topic: DEVICE.into(),
                key: device(),
                valid_from: "valid_from".into(),
                history_ms: 90 * 86_400_000,
                global: false,
                schema: fields(&[("device", Utf8), ("site", Utf8), ("valid_from", Int64)]),
            },
            TableSpec {
                id: "sites".into(),
                topic: SITE.into(),
                key: vec!["site".into()],
                valid_from: "valid_from".into(),
                history_ms: 90 * 86_400_000,
                global: true,
                schema: fields(&[("site", Utf8), ("factor", Float64), ("valid_from", Int64)]),
            },
        ],
        stages,
        sinks: vec![sink(PLACED, 3, &[]), sink(MINUTE, 4, &[]), sink(SHIFT, 6, &[]), sink(FORECAST, 7, &["model_version"])],
        dead_letters: DEAD.into(),
        dead_format: SinkFormat::Json,
        models: vec!["meter".into()],
        rekeys: Vec::new(),
    })
}

/// The scenario's model: a plain function of the row, so that every run must answer the same.
pub fn predict(rows: &RecordBatch, bias: f64) -> Result<Prediction, PredictError> {
    let bad = |message: String| PredictError { predictor: "meter".into(), message };
    let (level, slope) = (numbers(rows, "level").map_err(bad)?, numbers(rows, "slope").map_err(bad)?);
    let hours = level
        .iter()
        .zip(slope.iter())
        .zip(batch::times(rows))
        .map(|((l, s), t)| l.map(|l| bias + (1.0 - l) * 10.0 + s.unwrap_or(0.0) + (t % 1000) as f64 * 1e-3));
    let hours: ArrayRef = Arc::new(hours.collect::<Float64Array>());
    let columns = RecordBatch::try_new(fields(&[("hours", DataType::Float64)]), vec![hours]).map_err(|e| bad(e.to_string()))?;
    Ok(Prediction { columns, declined: None })
}

/// The rule that stands in for the model; it answers otherwise, so that a mix-up shows.
struct Rule {
    inputs: Vec<String>,
}

impl Predictor for Rule {
    fn name(&self) -> &str {
        "meter-rule"
    }
    fn version(&self) -> &str {
        "rule-1"
    }
    fn feature_hash(&self) -> &str {
        "0"
    }
    fn inputs(&self) -> &[String] {
        &self.inputs
    }
    fn outputs(&self) -> SchemaRef {
        fields(&[("hours", DataType::Float64)])
    }
    fn predict(&mut self, rows: &RecordBatch) -> Result<Prediction, PredictError> {
        predict(rows, 1_000.0)
    }
}

/// Codecs and rule of the scenario.
pub struct MeterEdge;

impl Edge for MeterEdge {
    fn decoder(&self, _topic: &str, schema: &SchemaRef) -> Result<Box<dyn Decode>, String> {
        Ok(Box::new(JsonDecoder(schema.clone())))
    }
    fn encoder(&self, topic: &str, _format: &SinkFormat, _schema: &SchemaRef) -> Result<Box<dyn Encode>, String> {
        Ok(Box::new(JsonEncoder { topic: topic.to_string() }))
    }
    fn heuristic(&self, _model: &str) -> Option<Box<dyn Predictor>> {
        Some(Box::new(Rule { inputs: vec!["level".into(), "slope".into()] }))
    }
}
