//! What the larger stages are made of: absence, custom operators, optimisation. Part of [`crate::spec`], which names
//! them; they stand here because each brings types of its own.

use crate::expr::ExprRef;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;

/// A point in time that belongs to a row.
#[derive(Clone, Debug)]
pub enum When {
    /// So many ms after the row's event time.
    After(i64),
    /// An Int64 expression over the row, UTC ms.
    At(ExprRef),
}

/// Which time an absence is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Event time: the watermark tells that nothing came.
    Event,
    /// Processing time as injected; each firing is a decision in the manifest.
    Processing,
}

/// Which ends of an expectation yield a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endings {
    /// Its time came and nothing had come.
    pub absent: bool,
    /// What was expected came.
    pub met: bool,
    /// It is no longer expected.
    pub cancelled: bool,
}

/// What did not arrive: a row opens an expectation of its key, another one meets or cancels it, time ends it.
#[derive(Clone, Debug)]
pub struct AbsenceSpec {
    /// Key columns.
    pub key: Vec<String>,
    /// Columns that tell expectations of one key apart; empty: a key has one, and a newer row takes its place.
    pub each: Vec<String>,
    /// Rows that open an expectation; `None`: all that neither meet nor cancel one.
    pub opens: Option<ExprRef>,
    /// Rows that are what was expected. `None`: silence is watched, every opening row puts it off.
    pub met: Option<ExprRef>,
    /// Rows after which nothing is expected any more.
    pub cancel: Option<ExprRef>,
    /// When an expectation ends as absent.
    pub due: When,
    /// Rows before this do not meet it; `None`: from its opening on.
    pub not_before: Option<When>,
    /// Tell again, so often.
    pub repeat_ms: Option<i64>,
    /// Tell no more, so long after the opening.
    pub give_up_ms: i64,
    /// Clock of `due`.
    pub clock: Clock,
    /// Ends that yield a row.
    pub emit: Endings,
    /// Columns of the closing row in the output: (input column, output name); null where time ended it.
    pub take: Vec<(String, String)>,
    /// Expectations, and remembered closings, of one key at most.
    pub max_open: usize,
}

/// A custom operator of the edge.
#[derive(Clone, Debug)]
pub struct ApplySpec {
    /// Its name at the edge.
    pub operator: String,
    /// Key columns: state and timers are per key.
    pub key: Vec<String>,
    /// Settings from the file, as texts.
    pub with: BTreeMap<String, String>,
    /// Input columns that go along unchanged: of the row at hand, of the key's newest row when a timer fires.
    pub carry: Vec<String>,
    /// Columns the operator makes.
    pub outputs: SchemaRef,
    /// State of one key at most, bytes.
    pub max_state_bytes: usize,
}

/// When changes of a board are answered; processing time.
#[derive(Clone, Debug)]
pub struct TriggerSpec {
    /// Wait until nothing changed for this long …
    pub debounce_ms: i64,
    /// … but no longer than this after the first change.
    pub max_wait_ms: i64,
    /// At least this between the starts of two calls for one key.
    pub at_most_every_ms: i64,
    /// Rows for which it is true are answered at once.
    pub urgent: Option<ExprRef>,
    /// Rows for which it is true change the board and call for nothing by themselves.
    pub quiet: Option<ExprRef>,
}

/// An optimisation: per key a board of rows, answered by a solver as a whole.
#[derive(Clone, Debug)]
pub struct OptimizeSpec {
    /// The solver asked first.
    pub solver: String,
    /// The one asked when that gives nothing usable: fast and simple.
    pub fallback: Option<String>,
    /// Key columns: one board, one memo and one call under way per key.
    pub key: Vec<String>,
    /// Columns that tell rows of a board apart: a newer row takes the place of the older.
    pub entity: Vec<String>,
    /// Rows for which it is true take their entity off the board.
    pub deleted: Option<ExprRef>,
    /// Int64 expression over the row, UTC ms of event time: from then on it is off the board. Null: `ttl_ms` counts.
    pub valid_until: Option<ExprRef>,
    /// A row leaves the board this long after its event time.
    pub ttl_ms: i64,
    /// When to ask.
    pub trigger: TriggerSpec,
    /// A call that takes longer is given up, processing time.
    pub timeout_ms: i64,
    /// Time that the solver may think, processing time; below `timeout_ms`.
    pub budget_ms: i64,
    /// Iterations after which it stops; `None`: by time alone.
    pub iterations: Option<u64>,
    /// After nobody answered usably, ask again so much later, doubled up to an hour.
    pub retry_ms: i64,
    /// Settings from the file, as texts.
    pub with: BTreeMap<String, String>,
    /// Columns that the solver's rows have.
    pub outputs: SchemaRef,
    /// Rows of one board at most, deletion marks included.
    pub max_rows: usize,
    /// Largest memo taken, bytes.
    pub max_memo_bytes: usize,
    /// Calls of one task under way at most.
    pub max_calls: usize,
}
