//! What a solver is: all rows of a board and the memo of the last accepted answer in, rows and a new memo out. It may
//! think for seconds; the stage never waits for it. What it answers is judged ([`Accept`]) before anybody sees it.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The part of a call that only solvers need.
#[derive(Clone, Debug, PartialEq)]
pub struct SolveCall {
    /// The board's key as text; parts of a key of several columns are joined by `/`.
    pub key: String,
    /// Memo of the last accepted answer; empty before the first.
    pub memo: Arc<[u8]>,
    /// Where all of the solver's randomness comes from.
    pub seed: u64,
    /// Iterations after which it stops; `None`: by time alone.
    pub iterations: Option<u64>,
    /// Time that it may think, processing time.
    pub budget_ms: i64,
    /// The stage's watermark when it was asked, event time.
    pub watermark_ms: i64,
    /// Settings from the file.
    pub with: Arc<BTreeMap<String, String>>,
}

/// A problem as a solver sees it.
pub struct Problem<'a> {
    /// All rows of the board, with system columns, in an order that depends on them alone.
    pub rows: &'a RecordBatch,
    /// Memo, seed, limits.
    pub call: &'a SolveCall,
    /// True when the solver must come to an end: its time is over, or the process stops. Cheap to ask.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Problem<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Problem").field("rows", &self.rows.num_rows()).field("call", self.call).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// The rows to publish, in the contract's columns; may be none.
    pub rows: RecordBatch,
    /// What the next call is to start from, in the solver's own format.
    pub memo: Vec<u8>,
    /// Iterations taken: with the seed they replay it.
    pub iterations: u64,
}

/// A solver that found nothing usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("solver {solver}: {message}")]
pub struct SolveError {
    /// Who failed.
    pub solver: String,
    /// How.
    pub message: String,
}

/// What a solver needs and makes; the plan checks a topology against it.
#[derive(Clone, Debug)]
pub struct SolverContract {
    /// Columns that must be there, with engine types; empty when it takes what it finds.
    pub inputs: Vec<(String, DataType)>,
    /// Columns of its rows, nested ones included.
    pub outputs: SchemaRef,
}

/// A solver. Several threads may ask it at once.
pub trait Solver: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;
    /// The version that goes into every answer.
    fn version(&self) -> &str;
    /// Solves. The same rows, memo, seed and iterations must give the same answer, unless time ended it.
    fn solve(&self, problem: &Problem<'_>) -> Result<Solution, SolveError>;
}

/// An answer up for judgement.
#[derive(Debug)]
pub struct Case<'a> {
    /// The board's key as text.
    pub key: &'a str,
    /// The rows that the solver was given.
    pub asked: &'a RecordBatch,
    /// The rows of the board now: what came while it was thinking is in here.
    pub board: &'a RecordBatch,
    /// The memo that it was given.
    pub memo: &'a [u8],
    /// Its answer.
    pub answer: &'a Solution,
}

/// Why an answer is not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// A stable code, e.g. `time_window_missed`.
    pub code: String,
    /// Words for a person.
    pub detail: String,
}

/// Judges answers: a pure function of the case. It is the edge's; it should share no code with the solver.
pub trait Accept: Send {
    /// May this answer be published?
    fn judge(&mut self, case: &Case<'_>) -> Result<(), Refusal>;
}
