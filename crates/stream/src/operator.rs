//! What a stage is: a batch in, batches out through the [`Context`], keyed state behind [`StateAccess`]. A stage
//! never waits: work that takes time leaves as a [`Call`] and comes back as an answer.
//!
//! Contract: every input row is accounted for, exactly once per stage, in one of the counts of [`Counts`]; a stage
//! that aggregates counts `folded` for its inputs and nothing for the rows it makes.

use crate::predict::{PredictError, Prediction};
use crate::solve::{Solution, SolveCall, SolveError};
use crate::store::{RowSink, StateError};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;

/// Where a row went that did not go on. The reason is a stable code.
#[derive(Clone, Debug)]
pub struct Side {
    /// What kind of end.
    pub kind: SideKind,
    /// A stable code, e.g. `too_late`, `was_idle`, `filling_level_out_of_range`.
    pub reason: String,
    /// Words for a person.
    pub detail: String,
    /// The rows, with system columns.
    pub rows: RecordBatch,
}

/// Kinds of side output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideKind {
    /// Older than the lateness allows.
    Late,
    /// Unusable: goes to the dead-letter topic.
    Dead,
    /// No partner in a join that requires one.
    Unmatched,
}

/// Invariant 3 per stage: in = folded + emitted + filtered + duplicate + unmatched + late + dead + pending.
/// `made` counts rows that stem from timers or windows and not from one input row; `was_idle` those of `late` that
/// came from a partition that had been taken for idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub input: u64,
    pub folded: u64,
    pub emitted: u64,
    pub filtered: u64,
    pub duplicate: u64,
    pub unmatched: u64,
    pub late: u64,
    pub dead: u64,
    pub pending: u64,
    pub made: u64,
    pub was_idle: u64,
}

impl Counts {
    /// Do the counts add up?
    pub fn balanced(&self) -> bool {
        self.input == self.folded + self.emitted + self.filtered + self.duplicate + self.unmatched + self.late + self.dead + self.pending
    }
    /// Adds another stage's counts (or another task's of the same stage).
    pub fn add(&mut self, o: &Counts) {
        self.input += o.input;
        self.folded += o.folded;
        self.emitted += o.emitted;
        self.filtered += o.filtered;
        self.duplicate += o.duplicate;
        self.unmatched += o.unmatched;
        self.late += o.late;
        self.dead += o.dead;
        self.pending += o.pending;
        self.made += o.made;
        self.was_idle += o.was_idle;
    }
}

/// Work that leaves the task: a prediction or a solution, asked of somebody remote or slow.
#[derive(Clone, Debug)]
pub struct Call {
    /// Number within the stage and incarnation.
    pub id: u64,
    /// Name of the predictor or solver asked.
    pub predictor: String,
    /// The rows.
    pub rows: RecordBatch,
    /// Processing time by which an answer is of use, UTC milliseconds.
    pub deadline_ms: i64,
    /// What only solvers need; `None` asks a predictor.
    pub solve: Option<SolveCall>,
}

/// What came back for a [`Call`].
#[derive(Clone, Debug)]
pub struct Answer {
    /// The call's number.
    pub id: u64,
    /// Prediction or failure.
    pub result: Result<Prediction, PredictError>,
    /// Version that answered.
    pub version: String,
    /// Feature hash that it was made for.
    pub feature_hash: String,
    /// What a solver says beside its rows, which are the prediction's columns.
    pub solved: Option<Solved>,
}

/// What a solver says beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solved {
    /// What the next call is to start from.
    pub memo: Vec<u8>,
    /// Iterations taken.
    pub iterations: u64,
}

impl Answer {
    /// A predictor's answer to a call.
    pub fn predicted(call: &Call, result: Result<Prediction, PredictError>, version: &str, feature_hash: &str) -> Answer {
        Answer { id: call.id, result, version: version.to_string(), feature_hash: feature_hash.to_string(), solved: None }
    }

    /// A solver's answer to a call.
    pub fn solution(call: &Call, result: Result<Solution, SolveError>, version: &str) -> Answer {
        let (result, solved) = match result {
            Ok(s) => (Ok(Prediction { columns: s.rows, declined: None }), Some(Solved { memo: s.memo, iterations: s.iterations })),
            Err(e) => (Err(PredictError { predictor: e.solver, message: e.message }), None),
        };
        Answer { id: call.id, result, version: version.to_string(), feature_hash: String::new(), solved }
    }
}

/// What a stage sees and where it puts its results.
#[derive(Debug)]
pub struct Context {
    /// The task's watermark, event time; `i64::MIN` before the first.
    pub watermark_ms: i64,
    /// Processing time as injected, UTC milliseconds.
    pub now_ms: i64,
    /// Batches for the stages behind, in order.
    pub out: Vec<RecordBatch>,
    /// Rows that end here.
    pub side: Vec<Side>,
    /// Calls to make.
    pub calls: Vec<Call>,
    /// This stage's counts since the task started.
    pub counts: Counts,
    /// Decisions for the manifest, as `(kind, detail)`.
    pub decisions: Vec<(&'static str, String)>,
}

impl Context {
    /// A context for a stage.
    pub fn new() -> Self {
        Context { watermark_ms: i64::MIN, now_ms: 0, out: Vec::new(), side: Vec::new(), calls: Vec::new(), counts: Counts::default(), decisions: Vec::new() }
    }
    /// Hands a batch on; empty ones vanish. The caller counts.
    pub fn emit(&mut self, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.out.push(rows);
        }
    }
    /// Ends rows here and counts them.
    pub fn side(&mut self, kind: SideKind, reason: &str, detail: String, rows: RecordBatch) {
        let n = rows.num_rows() as u64;
        if n == 0 {
            return;
        }
        match kind {
            SideKind::Late => self.counts.late += n,
            SideKind::Dead => self.counts.dead += n,
            SideKind::Unmatched => self.counts.unmatched += n,
        }
        self.side.push(Side { kind, reason: reason.to_string(), detail, rows });
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// A stage that cannot go on. This stops the task, never the process: data that a stage cannot take must have ended
/// as a dead letter before.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// An expression failed on a whole batch.
    #[error(transparent)]
    Expr(#[from] crate::expr::ExprError),
    /// A column operation failed: a defect of the plan.
    #[error("column operation: {0}")]
    Arrow(#[from] ArrowError),
    /// State that cannot be read back.
    #[error(transparent)]
    State(#[from] StateError),
    /// A bound was reached that the stage cannot wait out.
    #[error("{what}: limit {limit} reached; raise `{setting}` or reduce the input")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: u64,
        /// The setting that moves it.
        setting: &'static str,
    },
    /// Records of the engine's own that were written for another version of the topology.
    #[error("{0}")]
    Format(String),
    /// The edge cannot make a part of the stage.
    #[error("{0}")]
    Edge(String),
    /// A column that the plan promised is missing or of another type.
    #[error("stage expects column `{column}` of type {expected}")]
    Column {
        /// Name.
        column: String,
        /// Type.
        expected: &'static str,
    },
}

/// The keyed state of a stage, as the task handles it at epoch boundaries. At most two epochs are unresolved: the
/// closed one (being committed) and the open one.
pub trait StateAccess {
    /// Ends the open epoch: writes what it touched to `rows` and keeps the pre-images until it is resolved.
    fn close_epoch(&mut self, rows: &mut RowSink<'_>);
    /// The closed epoch is committed: its pre-images are dropped.
    fn committed(&mut self);
    /// Undoes the open and the closed epoch.
    fn rollback(&mut self) -> Result<(), StateError>;
    /// Puts one row in, while restoring. `None` deletes.
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError>;
    /// Called once after the last [`StateAccess::import`]: derived indexes are built here.
    fn imported(&mut self) -> Result<(), StateError> {
        Ok(())
    }
    /// Writes every committed row, for snapshots and bases.
    fn scan_committed(&self, rows: &mut RowSink<'_>) {
        self.scan_committed_where(&|_| true, rows);
    }
    /// As [`StateAccess::scan_committed`], for wanted keys only; the others cost no encoding.
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>);
    /// Rows held, for limits and metrics.
    fn rows(&self) -> usize;
    /// Bytes held, roughly.
    fn bytes(&self) -> usize;
}

/// A stage.
pub trait Operator: Send {
    /// Takes rows of its input.
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError>;
    /// Watermark or processing time moved: close windows, fire timers. Called at least once per step.
    fn advance(&mut self, _cx: &mut Context) -> Result<(), OperatorError> {
        Ok(())
    }
    /// The rows at hand have all been given: what was held back to make larger calls goes out. Called before an epoch
    /// can close.
    fn flush(&mut self, _cx: &mut Context) -> Result<(), OperatorError> {
        Ok(())
    }
    /// An answer to one of its calls; answers to calls it does not know are ignored.
    fn answer(&mut self, _cx: &mut Context, _answer: Answer) -> Result<(), OperatorError> {
        Ok(())
    }
    /// After restore or roll-back: ask again what is pending.
    fn reissue(&mut self, _cx: &mut Context) -> Result<(), OperatorError> {
        Ok(())
    }
    /// Rows that wait in it, so that the caller can pause the input at a bound.
    fn pending_rows(&self) -> usize {
        0
    }
    /// Has it reached its own bound of what may wait in it? Then the task's input pauses.
    fn full(&self) -> bool {
        false
    }
    /// Event time of the oldest row that waits: the watermark behind this stage stays before it.
    fn oldest_pending_ms(&self) -> Option<i64> {
        None
    }
    /// Rows answered so far, by rung; of an optimisation its decisions, and what became of the answers it could not use.
    fn rungs(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
    /// Its state, if it has any.
    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        None
    }
}
