//! What models and solvers say in a fixture: answers written in its file, given one per call in order, the last one for
//! all later calls. They stand in for predictors and solvers, which a fixture does not have.

use crate::fixture::{Cell, Fixture, Row};
use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use std::sync::atomic::{AtomicUsize, Ordering};
use ws_stream::nested::Column;
use ws_stream::predict::{PredictError, Prediction, Predictor};
use ws_stream::solve::{Problem, Solution, SolveError, Solver};
use ws_stream::spec::{OpSpec, Topology};

/// One answer as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Rows, and what a solver says beside them.
    Rows {
        /// The rows.
        rows: Vec<Row>,
        /// A solver's memo.
        memo: String,
        /// A solver's iterations.
        iterations: u64,
    },
    /// It fails with these words.
    Fail(String),
}

/// The answers of one model or solver, in its columns.
#[derive(Debug)]
pub struct Script {
    name: String,
    outputs: SchemaRef,
    answers: Vec<Result<Solution, String>>,
    next: AtomicUsize,
    solver: bool,
}

impl Fixture {
    /// The answers of this fixture for the models and solvers of a topology, all its slices together. Fails for a name that
    /// no stage asks, and for rows that do not have the columns.
    pub fn scripts<T: std::borrow::Borrow<Topology>>(&self, slices: &[T]) -> Result<Vec<Script>, String> {
        let slices: Vec<&Topology> = slices.iter().map(|t| std::borrow::Borrow::<Topology>::borrow(t)).collect();
        let mut scripts = Vec::new();
        for (name, said) in &self.answers {
            let found = slices.iter().flat_map(|t| &t.stages).find_map(|s| match &s.op {
                OpSpec::Infer(i) if i.model == *name => Some((i.outputs.clone(), false)),
                OpSpec::Optimize(o) if o.solver == *name || o.fallback.as_ref() == Some(name) => Some((o.outputs.clone(), true)),
                _ => None,
            });
            let (outputs, solver) =
                found.ok_or_else(|| format!("{}: `answers` has `{name}`, which no stage of `{}` asks", self.file, slices.first().map_or("", |t| &*t.name)))?;
            let mut answers = Vec::new();
            for (i, s) in said.iter().enumerate() {
                answers.push(match s {
                    Said::Fail(why) => Err(why.clone()),
                    Said::Rows { rows, memo, iterations } => {
                        let rows = columns(rows, &outputs).map_err(|e| format!("{}: answer {} of `{name}`: {e}", self.file, i + 1))?;
                        Ok(Solution { rows, memo: memo.clone().into_bytes(), iterations: *iterations })
                    }
                });
            }
            scripts.push(Script { name: name.clone(), outputs, answers, next: AtomicUsize::new(0), solver });
        }
        Ok(scripts)
    }
}

impl Script {
    /// Whom it stands for.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// A solver, not a model?
    pub fn is_solver(&self) -> bool {
        self.solver
    }

    fn say(&self) -> Result<Solution, String> {
        let i = self.next.fetch_add(1, Ordering::Relaxed).min(self.answers.len().saturating_sub(1));
        self.answers.get(i).cloned().unwrap_or_else(|| Err("the fixture has no answer".into()))
    }
}

impl Solver for Script {
    fn name(&self) -> &str {
        &self.name
    }
    fn version(&self) -> &str {
        "fixture"
    }
    fn solve(&self, _problem: &Problem<'_>) -> Result<Solution, SolveError> {
        self.say().map_err(|message| SolveError { solver: self.name.clone(), message })
    }
}

impl Predictor for Script {
    fn name(&self) -> &str {
        &self.name
    }
    fn version(&self) -> &str {
        "fixture"
    }
    fn feature_hash(&self) -> &str {
        "fixture"
    }
    fn inputs(&self) -> &[String] {
        &[]
    }
    fn outputs(&self) -> SchemaRef {
        self.outputs.clone()
    }
    fn predict(&mut self, rows: &RecordBatch) -> Result<Prediction, PredictError> {
        let failed = |message: String| PredictError { predictor: self.name.clone(), message };
        let said = self.say().map_err(failed)?.rows;
        let columns = match said.num_rows() {
            1 => take_record_batch(&said, &UInt32Array::from(vec![0u32; rows.num_rows()])).map_err(|e| failed(e.to_string()))?,
            _ => said,
        };
        Ok(Prediction { columns, declined: None })
    }
}

/// Rows in the columns of a schema; what they do not name is null.
pub fn columns(rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch, String> {
    let mut arrays = Vec::new();
    for f in schema.fields() {
        let mut c = Column::new(f.data_type()).ok_or_else(|| format!("column `{}` is {}", f.name(), f.data_type()))?;
        for row in rows {
            let value = row.iter().find(|(n, _)| n == f.name()).map_or(&Cell::Null, |(_, v)| v);
            push(value, &mut c).map_err(|path| format!("`{}{path}` does not fit {}", f.name(), f.data_type()))?;
        }
        arrays.push(c.finish().map_err(|e| format!("column `{}`: {e}", f.name()))?);
    }
    if let Some((name, _)) = rows.iter().flatten().find(|(n, _)| schema.index_of(n).is_err()) {
        return Err(format!("there is no column `{name}`"));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(|e| e.to_string())
}

/// Pushes a value; the error is the path to what does not fit.
fn push(value: &Cell, into: &mut Column) -> Result<(), String> {
    let fits = match (value, into) {
        (Cell::Null, into) => {
            into.push_null();
            true
        }
        (Cell::Bool(v), into) => into.push_bool(*v),
        (Cell::Int(v), into @ Column::Float(..)) => into.push_float(*v as f64),
        (Cell::Int(v), into) => into.push_int(*v),
        (Cell::Float(v), into) => into.push_float(*v),
        (Cell::Text(v), into) => into.push_bytes(v.as_bytes()),
        (Cell::List(items), Column::List(list)) => {
            for (i, item) in items.iter().enumerate() {
                push(item, &mut list.item).map_err(|path| format!("[{i}]{path}"))?;
            }
            list.close()
        }
        (Cell::Map(values), Column::Record(record)) => {
            let fields = record.fields().clone();
            for (f, child) in fields.iter().zip(&mut record.children) {
                let v = values.iter().find(|(n, _)| n == f.name()).map_or(&Cell::Null, |(_, v)| v);
                push(v, child).map_err(|path| format!(".{}{path}", f.name()))?;
            }
            record.close();
            true
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(String::new()) }
}
