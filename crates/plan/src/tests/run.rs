//! Plays the shipped fixtures on real tasks: one partition, rows as JSON, a model that never answers, so that the rule
//! does. What the command line does with Avro and the simulated log is checked there.

use super::avsc::{Schemas, root};
use crate::contracts::Contracts;
use crate::fixture::{Cell, DEAD_LETTERS, Fixture, Payload, Row, Run, Script, parse, parse_file, play};
use crate::plan::{Plan, load, load_file};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::codec::{Decode, Decoded, Encode, EncodeError, Encoded, RowError};
use ws_stream::log::{TaskId, TopicId, TopicPartition};
use ws_stream::operator::{Answer, Call};
use ws_stream::predict::{PredictError, Prediction, Predictor};
use ws_stream::records::{Records, RecordsBuilder};
use ws_stream::solve::{Problem, Solver};
use ws_stream::spec::SinkFormat;
use ws_stream::table::Table;
use ws_stream::task::{Edge, Surroundings, Task};

type Object = Map<String, Value>;

struct Json(SchemaRef);

fn float(v: Option<&Value>) -> Option<f64> {
    v.and_then(|v| if v == "NaN" { Some(f64::NAN) } else { v.as_f64() })
}

impl Decode for Json {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }
    fn decode(&mut self, records: &Records) -> Decoded {
        let (mut objects, mut index, mut tombstones) = (Vec::<Object>::new(), Vec::new(), Vec::new());
        for i in 0..records.rows.len() {
            match records.value(i) {
                Some(v) => {
                    objects.push(serde_json::from_slice(v).unwrap());
                    index.push(i as u32);
                }
                None => tombstones.push(i as u32),
            }
        }
        let column = |name: &str, t: &DataType| -> ArrayRef {
            let cells = objects.iter().map(|o| o.get(name));
            match t {
                DataType::Int64 => Arc::new(Int64Array::from_iter(cells.map(|v| v.and_then(Value::as_i64)))),
                DataType::Float64 => Arc::new(Float64Array::from_iter(cells.map(float))),
                DataType::Boolean => Arc::new(BooleanArray::from_iter(cells.map(|v| v.and_then(Value::as_bool)))),
                _ => Arc::new(StringArray::from_iter(cells.map(|v| v.and_then(Value::as_str)))),
            }
        };
        let columns = self.0.fields().iter().map(|f| column(f.name(), f.data_type())).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(objects.len()));
        Decoded { rows: RecordBatch::try_new_with_options(self.0.clone(), columns, &options).unwrap(), index, tombstones, dead: Vec::new() }
    }
}

/// Encodes what the contract knows.
struct Objects(Option<Vec<String>>);

fn cell(column: &ArrayRef, i: usize) -> Value {
    if column.is_null(i) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(i).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(i).into(),
        DataType::Boolean => column.as_boolean().value(i).into(),
        DataType::Utf8 => column.as_string::<i32>().value(i).into(),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(i);
            Value::Array((0..items.len()).map(|j| cell(&items, j)).collect())
        }
        DataType::Struct(fields) => Value::Object(fields.iter().zip(column.as_struct().columns()).map(|(f, c)| (f.name().clone(), cell(c, i))).collect()),
        _ => Value::Null,
    }
}

impl Encode for Objects {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Encoded) -> Result<Vec<RowError>, EncodeError> {
        for i in 0..rows.num_rows() {
            let known = |n: &String| self.0.as_ref().is_none_or(|k| k.contains(n));
            let schema = rows.schema();
            let object: Object =
                schema.fields().iter().zip(rows.columns()).filter(|(f, _)| known(f.name())).map(|(f, c)| (f.name().clone(), cell(c, i))).collect();
            serde_json::to_writer(&mut out.buffer, &object).unwrap();
            out.ends.push(out.buffer.len() as u32);
        }
        Ok(Vec::new())
    }
}

/// A rule that knows nothing.
struct Nothing(Vec<String>, SchemaRef);

impl Predictor for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn feature_hash(&self) -> &str {
        "0"
    }
    fn inputs(&self) -> &[String] {
        &self.0
    }
    fn outputs(&self) -> SchemaRef {
        self.1.clone()
    }
    fn predict(&mut self, rows: &RecordBatch) -> Result<Prediction, PredictError> {
        let columns = self.1.fields().iter().map(|f| new_null_array(f.data_type(), rows.num_rows())).collect();
        Ok(Prediction { columns: RecordBatch::try_new(self.1.clone(), columns).unwrap(), declined: None })
    }
}

struct TestEdge;

impl Edge for TestEdge {
    fn decoder(&self, _topic: &str, schema: &SchemaRef) -> Result<Box<dyn Decode>, String> {
        Ok(Box::new(Json(schema.clone())))
    }
    fn encoder(&self, topic: &str, format: &SinkFormat, _schema: &SchemaRef) -> Result<Box<dyn Encode>, String> {
        let names = (*format == SinkFormat::Avro && !topic.starts_with("dlq"))
            .then(|| Schemas.topic(topic).unwrap().schema.fields().iter().map(|f| f.name().clone()).collect());
        Ok(Box::new(Objects(names)))
    }
    fn heuristic(&self, model: &str) -> Option<Box<dyn Predictor>> {
        Schemas.model(model).map(|m| Box::new(Nothing(Vec::new(), m.outputs)) as Box<dyn Predictor>)
    }
}

struct OneTask {
    plan: Plan,
    task: Task,
    globals: Vec<Option<Table>>,
    offsets: BTreeMap<String, i64>,
    outputs: BTreeMap<String, Vec<Row>>,
    now_ms: i64,
    scripts: Vec<Script>,
}

impl OneTask {
    fn new(plan: Plan, fixture: &Fixture) -> Self {
        let topology = Arc::new(plan.topology.clone());
        let (now_ms, scripts) = (fixture.start_ms, fixture.scripts(std::slice::from_ref(&topology)).unwrap());
        let sinks = topology.sinks.iter().map(|s| s.topic.clone()).chain([topology.dead_letters.clone()]);
        let topics = sinks.chain(topology.inputs.iter().map(|i| i.topic.clone())).map(|t| (t, (TopicId::default(), 1))).collect();
        let mut task = Task::new(TaskId(0), topology.clone(), &TestEdge, Surroundings { cluster_id: "test".into(), topics }).unwrap();
        for input in &topology.inputs {
            task.start_at(&TopicPartition::new(input.topic.clone(), 0), 0);
        }
        let globals = topology.tables.iter().map(|t| t.global.then(|| Table::new(t).unwrap())).collect();
        OneTask { plan, task, globals, offsets: BTreeMap::new(), outputs: BTreeMap::new(), now_ms, scripts }
    }

    /// What the fixture says, or a failure.
    fn answer(&mut self, call: &Call) -> Answer {
        match self.scripts.iter_mut().find(|s| s.name() == call.predictor) {
            None => Answer::predicted(call, Err(PredictError { predictor: call.predictor.clone(), message: "no model".into() }), "", ""),
            Some(s) => match &call.solve {
                None => Answer::predicted(call, s.predict(&call.rows), "fixture", ""),
                Some(solve) => Answer::solution(call, s.solve(&Problem { rows: &call.rows, call: solve, stop: &|| false }), "fixture"),
            },
        }
    }

    fn settle(&mut self) {
        self.task.advance(self.now_ms, &self.globals).unwrap();
        loop {
            let calls = self.task.take_calls();
            if calls.is_empty() {
                break;
            }
            for (stage, call) in calls {
                let answer = self.answer(&call);
                self.task.answer(stage, answer, self.now_ms, &self.globals).unwrap();
            }
        }
        let Some(epoch) = self.task.close(1, self.now_ms).unwrap() else {
            return;
        };
        for appends in &epoch.appends {
            if appends.topic.starts_with("ws.") {
                continue;
            }
            for i in 0..appends.rows.len() {
                let Some(Ok(object)) = appends.row(i).1.map(serde_json::from_slice::<Object>) else {
                    continue;
                };
                let row = object.into_iter().map(|(k, v)| (k, from_json(&v))).collect();
                self.outputs.entry(appends.topic.to_string()).or_default().push(row);
            }
        }
        self.task.committed();
    }
}

fn to_json(c: &Cell) -> Value {
    match c {
        Cell::Null => Value::Null,
        Cell::Bool(b) => (*b).into(),
        Cell::Int(i) => (*i).into(),
        Cell::Float(x) if x.is_nan() => "NaN".into(),
        Cell::Float(x) => (*x).into(),
        Cell::Text(t) => t.as_str().into(),
        Cell::List(items) => Value::Array(items.iter().map(to_json).collect()),
        Cell::Map(row) => Value::Object(row.iter().map(|(k, v)| (k.clone(), to_json(v))).collect()),
    }
}

fn from_json(v: &Value) -> Cell {
    match v {
        Value::Bool(b) => Cell::Bool(*b),
        Value::Number(n) => n.as_i64().map_or_else(|| Cell::Float(n.as_f64().unwrap()), Cell::Int),
        Value::String(s) => Cell::Text(s.clone()),
        Value::Array(items) => Cell::List(items.iter().map(from_json).collect()),
        Value::Object(o) => Cell::Map(o.iter().map(|(k, v)| (k.clone(), from_json(v))).collect()),
        _ => Cell::Null,
    }
}

impl Run for OneTask {
    type Error = String;

    fn push(&mut self, topic: &str, key: Option<&str>, payload: &Payload) -> Result<(), String> {
        let Payload::Row(row) = payload else {
            return Err("rows only".into());
        };
        let object: Object = row.iter().map(|(k, c)| (k.clone(), to_json(c))).collect();
        let contract = Schemas.topic(topic).unwrap();
        let key = key.map(str::to_string).or_else(|| object.get(&contract.key?)?.as_str().map(str::to_string));
        let offset = self.offsets.entry(topic.to_string()).or_default();
        let mut builder = RecordsBuilder::default();
        builder.push(*offset, self.now_ms, key.as_deref().map(str::as_bytes), Some(&serde_json::to_vec(&object).unwrap()), &[]);
        *offset += 1;
        let records = builder.finish(*offset);
        if let Some(i) = self.plan.topology.tables.iter().position(|t| *t.topic == *topic) {
            let rows = Json(self.plan.topology.tables[i].schema.clone()).decode(&records).rows;
            self.globals[i].as_mut().unwrap().apply(&rows).unwrap();
        } else {
            self.task.process(&TopicPartition::new(topic, 0), &records, self.now_ms, &self.globals).map_err(|e| e.to_string())?;
        }
        self.settle();
        Ok(())
    }
    fn advance(&mut self, by_ms: i64) -> Result<(), String> {
        self.now_ms += by_ms;
        self.settle();
        Ok(())
    }
    fn output(&mut self, topic: &str) -> Result<Vec<Row>, String> {
        let name = if topic == DEAD_LETTERS { self.plan.topology.dead_letters.to_string() } else { topic.to_string() };
        Ok(self.outputs.get(&name).cloned().unwrap_or_default())
    }
}

#[test]
fn the_shipped_fixtures_pass() {
    let mut failed = String::new();
    for name in ["bin-fill", "hot-bins"] {
        let mut files: Vec<_> = std::fs::read_dir(root().join(format!("topologies/{name}.fixtures"))).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        for file in files {
            let fixture = parse_file(&file).unwrap_or_else(|e| panic!("{e}"));
            let plan = load_file(&root().join(format!("topologies/{name}.yaml")), &Schemas, &|_| None).unwrap_or_else(|e| panic!("{e}"));
            let mut run = OneTask::new(plan, &fixture);
            let report = play(&fixture, &mut run).unwrap();
            for f in &report.failures {
                failed.push_str(&format!("{}: {f}\n", file.file_name().unwrap().display()));
            }
            for (stage, counts) in run.task.counts() {
                assert!(counts.balanced(), "{}: {stage} {counts:?}", fixture.file);
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

/// Plays a fixture against a topology, both as text.
fn played(topology: &str, fixture: &str) -> Vec<String> {
    let plan = load("t.yaml", topology, &Schemas, &|_| None).unwrap_or_else(|e| panic!("{e}"));
    let fixture = parse("f.yaml", fixture).unwrap_or_else(|e| panic!("{e}"));
    let mut run = OneTask::new(plan, &fixture);
    let failures = play(&fixture, &mut run).unwrap().failures;
    for (stage, counts) in run.task.counts() {
        assert!(counts.balanced(), "{stage} {counts:?}");
    }
    failures
}

#[test]
fn a_fixture_shows_what_did_not_arrive() {
    let topology = "topology: test
sources:
  readings: { topic: bin.telemetry, key: device_id, event_time: observed_at, watermark_delay: 0s }
stages:
  - id: silent
    from: readings
    absence: { key: device_id, after: 6h, repeat: 6h, give_up: 12h }
sinks:
  out: { from: silent, format: json }
";
    let fixture = "about: silence is told, and told again
start: 2026-11-03T00:00:00Z
defaults:
  bin.telemetry: { tenant: t, event_id: '#', source: s, sent_at: =observed_at, received_at: =observed_at, schema_version: 1 }
steps:
  - push: bin.telemetry
    rows:
      - { device_id: a, observed_at: 2026-11-02T08:00:00Z, filling_level: 0.5 }
      - { device_id: b, observed_at: 2026-11-02T09:00:00Z, filling_level: 0.1 }
      - { device_id: b, observed_at: 2026-11-02T14:30:00Z, filling_level: 0.2 }
      - { device_id: b, observed_at: 2026-11-02T20:10:00Z, filling_level: 0.3 }
expect:
  out:
    - { device_id: a, filling_level: 0.5, ended: absent, opened_at: 2026-11-02T08:00:00Z, ended_at: 2026-11-02T14:00:00Z, repeats: 0 }
    - { device_id: a, ended_at: 2026-11-02T20:00:00Z, repeats: 1 }
";
    assert_eq!(played(topology, fixture), Vec::<String>::new());
}

#[test]
fn a_fixture_gives_the_answers_of_solvers_and_models() {
    let topology = "topology: test
sources:
  readings: { topic: bin.telemetry, key: device_id, event_time: observed_at }
stages:
  - id: plan
    from: readings
    optimize: { solver: rounds, fallback: nearest, key: device_id, entity: event_id, trigger: { debounce: 10s, at_most_every: 0s } }
  - id: forecast
    from: readings
    infer: { model: fill-forecast, key: device_id }
sinks:
  plans: { from: plan, format: json, key: device_id }
  forecasts: { from: forecast, format: json }
";
    let fixture = "about: answers in order, the fallback where the solver fails
defaults:
  bin.telemetry: { tenant: t, event_id: '#', source: s, sent_at: =observed_at, received_at: =observed_at, schema_version: 1, device_id: d }
steps:
  - push: bin.telemetry
    rows: [{ observed_at: 2026-01-01T00:00:00Z, filling_level: 0.5 }]
  - advance: 10s
  - push: bin.telemetry
    rows: [{ observed_at: 2026-01-01T00:00:05Z, filling_level: 0.6 }]
  - advance: 10s
answers:
  rounds:
    - { rows: [{ cost: 12, stops: [{ container_id: c1, at: 2026-01-01T01:00:00Z }, { container_id: c2, at: 5 }] }], memo: m, iterations: 40 }
    - { fail: no route fits }
  nearest: [{ rows: [{ cost: 20, stops: [] }] }]
  fill-forecast: [{ rows: [{ hours_to_full_p50: 8 }] }]
expect:
  plans:
    - { device_id: d, cost: 12, stops: [{ container_id: c1 }, { at: 5 }], rung: model, solver: rounds, solver_version: fixture, iterations: 40, decision_id: test/plan/d/1 }
    - { cost: 20, stops: [], rung: heuristic, solver: nearest, decision_no: 2 }
  forecasts: [{ rung: model, hours_to_full_p50: 8, level_6h_p10: null }, { rung: model, filling_level: 0.6 }]
";
    assert_eq!(played(topology, fixture), Vec::<String>::new());
    let wrong = fixture.replace("cost: 12, stops", "cost: cheap, stops");
    let plan = load("t.yaml", topology, &Schemas, &|_| None).unwrap();
    let error = parse("f.yaml", &wrong).unwrap().scripts(std::slice::from_ref(&plan.topology)).unwrap_err();
    assert_eq!(error, "f.yaml: answer 1 of `rounds`: `cost` does not fit Float64");
    let error = parse("f.yaml", &fixture.replace("  nearest:", "  neerest:")).unwrap().scripts(std::slice::from_ref(&plan.topology)).unwrap_err();
    assert!(error.contains("`answers` has `neerest`, which no stage of `test` asks"), "{error}");
}
