//! A scenario for what is absent and what is optimised: areas with jobs that are planned, served and withdrawn, and a
//! toy solver that takes its time. Its answers form a chain — each knows the memo of the one before — so that a decision
//! that is lost, doubled or out of order breaks it visibly.
//!
//! ```text
//! job ─┬→ silent (absence, silence of an area)        → sim.silent
//!      ├→ visits (absence, a planned job not served)  → sim.visit
//!      └→ plan   (optimize, the jobs of an area)      → sim.plan
//! ```

use crate::json::{JsonDecoder, JsonEncoder};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::batch::with_system;
use ws_stream::codec::{Decode, Encode};
use ws_stream::expr::{Expr, ExprError, ExprRef};
use ws_stream::op::{absence_columns, optimize_columns};
use ws_stream::operator::Call;
use ws_stream::predict::Predictor;
use ws_stream::row::hash_row;
use ws_stream::solve::{Accept, Case, Refusal, Solution, SolveError};
use ws_stream::spec::{
    AbsenceSpec, Clock, Endings, From, FutureSpec, InputSpec, Lateness, OpSpec, OptimizeSpec, SinkFormat, SinkSpec, StageSpec, TimeSpec, Topology, TriggerSpec,
    When,
};
use ws_stream::task::Edge;

/// Input topic.
pub const JOB: &str = "sim.job";
/// Sink of silent areas.
pub const SILENT: &str = "sim.silent";
/// Sink of ended visits.
pub const VISIT: &str = "sim.visit";
/// Sink of decisions.
pub const PLAN: &str = "sim.plan";
/// Dead letters.
pub const DEAD: &str = "dlq.board";
/// How far behind its key's newest a row may be, ms of event time.
pub const LATENESS_MS: i64 = 60_000;
/// What a wrong answer adds to its total: acceptance must see it.
pub const WRONG: i64 = 1_000_000_000;

/// `kind = …`
#[derive(Debug)]
struct Is(&'static str);

impl Expr for Is {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let kind = rows.column_by_name("kind").and_then(|c| c.as_string_opt::<i32>());
        let kind = kind.ok_or_else(|| ExprError { expression: self.0.into(), message: "no column kind".into() })?;
        Ok(Arc::new(kind.iter().map(|k| k.map(|k| k == self.0)).collect::<BooleanArray>()))
    }
    fn data_type(&self) -> DataType {
        DataType::Boolean
    }
    fn nullable(&self) -> bool {
        true
    }
    fn text(&self) -> &str {
        self.0
    }
}

fn is(kind: &'static str) -> Option<ExprRef> {
    Some(Arc::new(Is(kind)))
}

fn fields(list: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(list.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
}

fn outputs() -> SchemaRef {
    fields(&[("total", DataType::Int64), ("jobs", DataType::Int64), ("before", DataType::Int64), ("chain", DataType::Int64)])
}

fn behind(input: &Schema, more: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(input.fields().iter().map(|f| f.as_ref().clone()).chain(more).collect::<Vec<_>>()))
}

/// The topology.
pub fn topology() -> Arc<Topology> {
    use DataType::{Int64, Utf8};
    let job = fields(&[("area", Utf8), ("job", Utf8), ("kind", Utf8), ("at", Int64), ("value", Int64)]);
    let rows = with_system(&job);
    let area = || vec!["area".to_string()];
    let silence = AbsenceSpec {
        key: area(),
        each: Vec::new(),
        opens: None,
        met: None,
        cancel: is("closed"),
        due: When::After(40_000),
        not_before: None,
        repeat_ms: Some(30_000),
        give_up_ms: 120_000,
        clock: Clock::Event,
        emit: Endings { absent: true, met: false, cancelled: true },
        take: Vec::new(),
        max_open: 4,
    };
    let visits = AbsenceSpec {
        each: vec!["job".into()],
        opens: is("planned"),
        met: is("served"),
        cancel: is("withdrawn"),
        due: When::After(90_000),
        not_before: Some(When::After(5_000)),
        repeat_ms: None,
        emit: Endings { absent: true, met: true, cancelled: true },
        take: vec![("value".into(), "closing_value".into())],
        max_open: 8,
        ..silence.clone()
    };
    let plan = OptimizeSpec {
        solver: "toy".into(),
        fallback: Some("toy-quick".into()),
        key: area(),
        entity: vec!["job".into()],
        deleted: is("withdrawn"),
        valid_until: None,
        ttl_ms: 365 * 86_400_000,
        trigger: TriggerSpec { debounce_ms: 150, max_wait_ms: 600, at_most_every_ms: 250, urgent: is("urgent"), quiet: is("closed") },
        timeout_ms: 700,
        budget_ms: 500,
        iterations: Some(100),
        retry_ms: 300,
        with: BTreeMap::new(),
        outputs: outputs(),
        max_rows: 100,
        max_memo_bytes: 1_000,
        max_calls: 2,
    };
    let mut planned = vec![Field::new("area", Utf8, false)];
    planned.extend(outputs().fields().iter().map(|f| f.as_ref().clone()));
    planned.extend(optimize_columns());
    let mut visit = absence_columns();
    visit.push(Field::new("closing_value", Int64, true));
    let stage = |id: &str, op: OpSpec, schema: SchemaRef| StageSpec { id: id.into(), from: vec![From::Input(0)], op, schema };
    let sink = |topic: &str, stage: usize| SinkSpec {
        topic: topic.into(),
        from: vec![From::Stage(stage)],
        key: Some("area".into()),
        format: SinkFormat::Json,
        header_columns: Vec::new(),
        lineage: true,
    };
    Arc::new(Topology {
        name: "board".into(),
        state_hash: 0x626f_6172_6401,
        inputs: vec![InputSpec {
            id: "jobs".into(),
            topic: JOB.into(),
            schema: job,
            time: TimeSpec {
                column: "at".into(),
                future: Some(FutureSpec { against: None, tolerance_ms: i64::MAX / 2 }),
                watermark_delay_ms: 20_000,
                lateness: Lateness::PerKey { key: area(), allowed_ms: LATENESS_MS },
            },
            max_value_bytes: 4096,
            idle_after_ms: None,
            max_skew_ms: None,
            rekeyed: None,
        }],
        tables: Vec::new(),
        stages: vec![
            stage("silent", OpSpec::Absence(Box::new(silence)), behind(&rows, absence_columns())),
            stage("visits", OpSpec::Absence(Box::new(visits)), behind(&rows, visit)),
            stage("plan", OpSpec::Optimize(Box::new(plan)), with_system(&Schema::new(planned))),
        ],
        rekeys: Vec::new(),
        sinks: vec![sink(SILENT, 0), sink(VISIT, 1), sink(PLAN, 2)],
        dead_letters: DEAD.into(),
        dead_format: SinkFormat::Json,
        models: Vec::new(),
    })
}

/// Sum of the values and number of jobs of a board.
fn totals(rows: &RecordBatch) -> Option<(i64, i64)> {
    let values = rows.column_by_name("value")?.as_primitive_opt::<Int64Type>()?;
    Some((values.iter().flatten().sum(), rows.num_rows() as i64))
}

/// The next link of the chain.
pub fn link(before: i64, total: i64, jobs: i64) -> i64 {
    (hash_row(&[before.to_le_bytes(), total.to_le_bytes(), jobs.to_le_bytes()].concat()) >> 1) as i64
}

/// The toy solver: a function of the board and the memo alone. The memo is the last link.
pub fn solve(call: &Call) -> Result<Solution, SolveError> {
    let failed = |message: &str| SolveError { solver: call.predictor.clone(), message: message.into() };
    let memo = call.solve.as_ref().map(|s| s.memo.clone()).ok_or_else(|| failed("no memo"))?;
    let before = if memo.is_empty() { 0 } else { i64::from_le_bytes(memo.as_ref().try_into().map_err(|_| failed("a memo of another solver"))?) };
    let (total, jobs) = totals(&call.rows).ok_or_else(|| failed("no values"))?;
    let chain = link(before, total, jobs);
    let one = |v: i64| Arc::new(Int64Array::from(vec![v])) as ArrayRef;
    let rows = RecordBatch::try_new(outputs(), vec![one(total), one(jobs), one(before), one(chain)]).map_err(|e| failed(&e.to_string()))?;
    Ok(Solution { rows, memo: chain.to_le_bytes().to_vec(), iterations: 100 })
}

/// An answer that acceptance must refuse: its total is not the board's.
pub fn spoil(solution: Solution) -> Solution {
    let mut columns = solution.rows.columns().to_vec();
    if let Some(total) = columns[0].as_primitive_opt::<Int64Type>() {
        columns[0] = Arc::new(total.iter().map(|v| v.map(|v| v + WRONG)).collect::<Int64Array>());
    }
    match RecordBatch::try_new(solution.rows.schema(), columns) {
        Ok(rows) => Solution { rows, ..solution },
        Err(_) => solution,
    }
}

/// Judges answers by the board that they were asked about; a lenient one, planted by tests, accepts all.
struct Totals {
    lenient: bool,
}

impl Accept for Totals {
    fn judge(&mut self, case: &Case<'_>) -> Result<(), Refusal> {
        let given = case.answer.rows.column(0).as_primitive_opt::<Int64Type>().filter(|c| !c.is_empty()).map(|c| c.value(0));
        match (given, totals(case.asked)) {
            _ if self.lenient => Ok(()),
            (Some(given), Some((total, _))) if given == total => Ok(()),
            (given, total) => Err(Refusal { code: "wrong_total".into(), detail: format!("{given:?} for {total:?}") }),
        }
    }
}

/// Codecs and acceptance of the scenario.
pub struct BoardEdge {
    /// A planted defect: every answer is accepted.
    pub lenient: bool,
}

impl Edge for BoardEdge {
    fn decoder(&self, _topic: &str, schema: &SchemaRef) -> Result<Box<dyn Decode>, String> {
        Ok(Box::new(JsonDecoder(schema.clone())))
    }
    fn encoder(&self, topic: &str, _format: &SinkFormat, _schema: &SchemaRef) -> Result<Box<dyn Encode>, String> {
        Ok(Box::new(JsonEncoder { topic: topic.to_string() }))
    }
    fn heuristic(&self, _model: &str) -> Option<Box<dyn Predictor>> {
        None
    }
    fn acceptance(&self, _solver: &str) -> Option<Box<dyn Accept>> {
        Some(Box::new(Totals { lenient: self.lenient }))
    }
}
