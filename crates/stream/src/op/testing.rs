//! Shared by the tests of stages: small expressions, batches from literals, and the run that every stateful stage must
//! survive, in which epochs close, commit, roll back and restore at random.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::batch::{SYSTEM_COLUMNS, assemble, late, times, with_system};
use crate::expr::{Expr, ExprError, ExprRef};
use crate::operator::{Context, Counts, Operator, Side};
use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::BTreeMap;
use std::sync::Arc;

type Function = dyn Fn(&RecordBatch) -> Result<ArrayRef, String> + Send + Sync;

struct FnExpr {
    text: String,
    data_type: DataType,
    function: Box<Function>,
}

impl std::fmt::Debug for FnExpr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expr for FnExpr {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        (self.function)(rows).map_err(|message| ExprError { expression: self.text.clone(), message })
    }
    fn data_type(&self) -> DataType {
        self.data_type.clone()
    }
    fn nullable(&self) -> bool {
        true
    }
    fn text(&self) -> &str {
        &self.text
    }
}

/// An expression from a function.
pub(crate) fn function(text: &str, data_type: DataType, function: impl Fn(&RecordBatch) -> Result<ArrayRef, String> + Send + Sync + 'static) -> ExprRef {
    Arc::new(FnExpr { text: text.to_string(), data_type, function: Box::new(function) })
}

/// A column by name.
pub(crate) fn column(name: &str, data_type: DataType) -> ExprRef {
    let wanted = name.to_string();
    function(name, data_type, move |r| r.column_by_name(&wanted).cloned().ok_or_else(|| format!("no column {wanted}")))
}

/// All columns of a schema as output columns.
pub(crate) fn all_columns(schema: &Schema) -> Vec<crate::spec::Column> {
    schema.fields().iter().map(|f| crate::spec::Column { name: f.name().clone(), expr: column(f.name(), f.data_type().clone()) }).collect()
}

/// Literal columns.
pub(crate) enum Col<'a> {
    F(Vec<Option<f64>>),
    I(Vec<Option<i64>>),
    S(Vec<Option<&'a str>>),
}

/// A batch of user columns and event times; offsets count from 0, no row is late.
pub(crate) fn rows(columns: &[(&str, Col<'_>)], times: &[i64]) -> RecordBatch {
    let arrays: Vec<ArrayRef> = columns
        .iter()
        .map(|(_, c)| -> ArrayRef {
            match c {
                Col::F(v) => Arc::new(Float64Array::from(v.clone())),
                Col::I(v) => Arc::new(Int64Array::from(v.clone())),
                Col::S(v) => Arc::new(StringArray::from(v.clone())),
            }
        })
        .collect();
    let fields: Vec<Field> = columns.iter().zip(&arrays).map(|((n, _), a)| Field::new(*n, a.data_type().clone(), true)).collect();
    let offsets = (0..times.len() as i64).collect();
    assemble(&with_system(&Schema::new(fields)), times.to_vec(), offsets, vec![false; times.len()], arrays).unwrap()
}

/// The same rows with other late marks.
pub(crate) fn marked_late(rows: &RecordBatch, late: Vec<bool>) -> RecordBatch {
    let mut columns = rows.columns().to_vec();
    columns[2] = Arc::new(BooleanArray::from(late));
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

/// A batch's schema without system columns.
pub(crate) fn user_schema(rows: &RecordBatch) -> SchemaRef {
    Arc::new(Schema::new(rows.schema().fields()[SYSTEM_COLUMNS..].to_vec()))
}

/// The values of a column as text; null is empty.
pub(crate) fn show_column(rows: &RecordBatch, name: &str) -> Vec<String> {
    let column = rows.column_by_name(name).unwrap();
    let f = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).unwrap();
    (0..column.len()).map(|i| f.value(i).to_string()).collect()
}

fn show(rows: &RecordBatch) -> Vec<String> {
    let columns: Vec<Vec<String>> = rows.schema().fields().iter().map(|f| show_column(rows, f.name())).collect();
    (0..rows.num_rows()).map(|i| columns.iter().map(|c| c[i].as_str()).collect::<Vec<_>>().join("|")).collect()
}

/// What happens to a stage.
#[derive(Clone)]
pub(crate) enum Step {
    Rows(RecordBatch),
    Watermark(i64),
}

/// Numbers the rows of all steps as a log would.
fn numbered(steps: &[Step]) -> Vec<Step> {
    let mut next = 0;
    let number = |s: &Step| match s {
        Step::Watermark(ms) => Step::Watermark(*ms),
        Step::Rows(rows) => {
            let n = rows.num_rows() as i64;
            let mut columns = rows.columns().to_vec();
            columns[1] = Arc::new(Int64Array::from_iter_values(next..next + n));
            next += n;
            assert_eq!((times(rows).len(), late(rows).len()), (n as usize, n as usize));
            Step::Rows(RecordBatch::try_new(rows.schema(), columns).unwrap())
        }
    };
    steps.iter().map(number).collect()
}

/// What came of a run.
pub(crate) struct Run {
    pub(crate) out: Vec<RecordBatch>,
    pub(crate) sides: Vec<Side>,
    pub(crate) counts: Counts,
}

impl Run {
    /// A column of all outputs as text.
    pub(crate) fn column(&self, name: &str) -> Vec<String> {
        self.out.iter().flat_map(|b| show_column(b, name)).collect()
    }
    /// Several columns of all outputs, joined by spaces.
    pub(crate) fn columns(&self, names: &[&str]) -> Vec<String> {
        let columns: Vec<Vec<String>> = names.iter().map(|n| self.column(n)).collect();
        (0..columns[0].len()).map(|i| columns.iter().map(|c| c[i].as_str()).collect::<Vec<_>>().join(" ")).collect()
    }
    /// Rows of side outputs, with their reasons.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.sides.iter().flat_map(|s| show(&s.rows).into_iter().map(|r| format!("{}: {r}", s.reason))).collect()
    }
}

fn do_step(op: &mut dyn Operator, cx: &mut Context, step: &Step) {
    match step {
        Step::Rows(rows) => op.process(cx, rows).unwrap(),
        Step::Watermark(ms) => cx.watermark_ms = *ms,
    }
    op.advance(cx).unwrap();
    assert!(cx.counts.balanced(), "{:?}", cx.counts);
}

/// Runs a stage over steps.
pub(crate) fn run(op: &mut dyn Operator, steps: &[Step]) -> Run {
    let mut cx = Context::new();
    for step in &numbered(steps) {
        do_step(op, &mut cx, step);
    }
    let ended: u64 = cx.side.iter().map(|s| s.rows.num_rows() as u64).sum();
    assert_eq!(ended, cx.counts.late + cx.counts.dead + cx.counts.unmatched, "every row that ended is in the sides");
    let out: u64 = cx.out.iter().map(|b| b.num_rows() as u64).sum();
    assert_eq!(out, cx.counts.emitted + cx.counts.made, "every row out is counted");
    Run { out: cx.out, sides: cx.side, counts: cx.counts }
}

/// Numbers below the argument, from a seed.
pub(crate) fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut x = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |n| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) % n.max(1)
    }
}

type Rows = BTreeMap<(Vec<u8>, i64), Vec<u8>>;

/// Where a committed epoch ended.
#[derive(Clone, Default)]
struct Mark {
    step: usize,
    row: usize,
    watermark_ms: Option<i64>,
    counts: Counts,
    out: Vec<String>,
    sides: Vec<String>,
}

fn context(at: &Mark) -> Context {
    let mut cx = Context::new();
    cx.watermark_ms = at.watermark_ms.unwrap_or(i64::MIN);
    cx.counts = at.counts;
    cx
}

/// Runs the steps undisturbed, then with random closes, commits, roll-backs and restores (from the folded changelog,
/// which must equal a scan), and with batches cut at random where `cut` allows: what is committed in the end must be
/// the same.
pub(crate) fn disturb(seed: u64, steps: &[Step], cut: bool, make: impl Fn() -> Box<dyn Operator>) {
    let steps = numbered(steps);
    let plain = run(make().as_mut(), &steps);
    let mut r = random(seed ^ 0xD15_7042B);
    let (mut op, mut now, mut committed, mut closed) = (make(), Mark::default(), Mark::default(), None::<Mark>);
    let (mut changelog, mut delta) = (Rows::new(), Vec::new());
    let mut cx = context(&now);
    loop {
        let done = now.step == steps.len();
        let mut close = false;
        let mut commit = false;
        match r(12) {
            _ if done => (close, commit) = (true, true),
            0..=6 => {
                let step = match &steps[now.step] {
                    Step::Rows(rows) if cut => {
                        let n = (1 + r(8) as usize).min(rows.num_rows() - now.row);
                        let part = Step::Rows(rows.slice(now.row, n));
                        now.row += n;
                        if now.row == rows.num_rows() {
                            (now.step, now.row) = (now.step + 1, 0);
                        }
                        part
                    }
                    whole => {
                        now.step += 1;
                        whole.clone()
                    }
                };
                do_step(op.as_mut(), &mut cx, &step);
                now.watermark_ms = Some(cx.watermark_ms);
                now.counts = cx.counts;
                now.out.extend(cx.out.drain(..).flat_map(|b| show(&b)));
                now.sides.extend(cx.side.drain(..).flat_map(|s| show(&s.rows)));
            }
            7 | 8 => close = closed.is_none(),
            9 => commit = closed.is_some(),
            what => {
                if what == 10 || r(2) == 0 {
                    op.state().unwrap().rollback().unwrap();
                } else {
                    let mut scanned = Rows::new();
                    op.state().unwrap().scan_committed(&mut |k, s, v| {
                        assert!(scanned.insert((k.to_vec(), s), v.unwrap().to_vec()).is_none(), "a row is scanned once");
                    });
                    assert!(scanned == changelog, "seed {seed}: the changelog folds to what a scan of committed state gives");
                    op = make();
                    let state = op.state().unwrap();
                    scanned.iter().for_each(|((k, s), v)| state.import(k, *s, Some(v)).unwrap());
                    state.imported().unwrap();
                }
                closed = None;
                now = committed.clone();
                cx = context(&now);
            }
        }
        if commit && closed.is_none() {
            close = true;
        }
        if close && closed.is_none() {
            delta.clear();
            op.state().unwrap().close_epoch(&mut |k, s, v| delta.push((k.to_vec(), s, v.map(<[u8]>::to_vec))));
            closed = Some(now.clone());
        }
        if commit && let Some(mark) = closed.take() {
            op.state().unwrap().committed();
            for (k, s, v) in delta.drain(..) {
                match v {
                    Some(v) => changelog.insert((k, s), v),
                    None => changelog.remove(&(k, s)),
                };
            }
            committed = mark;
            if committed.step == steps.len() {
                break;
            }
        }
    }
    assert_eq!(committed.out, plain.out.iter().flat_map(show).collect::<Vec<_>>(), "seed {seed}");
    assert_eq!(committed.sides, plain.sides.iter().flat_map(|s| show(&s.rows)).collect::<Vec<_>>(), "seed {seed}");
    assert_eq!(committed.counts, plain.counts, "seed {seed}");
}
