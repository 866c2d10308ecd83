//! The larger stages as written: `absence`, `apply`, `optimize`. Part of [`crate::file`].

use crate::file::Sql;
use crate::yaml::{At, Pos};
use std::collections::BTreeMap;

/// A point in time that belongs to a row.
#[derive(Clone, Debug)]
pub enum Moment {
    /// A duration after its event time.
    After(i64),
    /// An expression, UTC ms.
    At(Sql),
}

/// `absence`
#[derive(Clone, Debug)]
pub struct Absence {
    /// Where the stage's field stands.
    pub at: Pos,
    /// Key columns.
    pub key: Vec<At<String>>,
    /// Columns that tell expectations of a key apart.
    pub each: Vec<At<String>>,
    /// Rows that open one.
    pub when: Option<Sql>,
    /// When it ends; `None`: noted as missing.
    pub due: Option<Moment>,
    /// Rows that meet it.
    pub met: Option<Sql>,
    /// Rows that cancel it.
    pub cancel: Option<Sql>,
    /// Rows before this do not meet it.
    pub not_before: Option<At<Moment>>,
    /// Told again so often …
    pub repeat_ms: Option<At<i64>>,
    /// … for so long.
    pub give_up_ms: Option<i64>,
    /// `processing` instead of event time.
    pub processing: bool,
    /// Ends that yield a row.
    pub emit: Vec<At<String>>,
    /// Columns of the closing row: (column, output name).
    pub take: Vec<(At<String>, At<String>)>,
    /// Bound per key.
    pub max_open: Option<i64>,
}

/// `apply`
#[derive(Clone, Debug)]
pub struct Apply {
    /// Operator.
    pub operator: At<String>,
    /// Key columns.
    pub key: Vec<At<String>>,
    /// Settings.
    pub with: BTreeMap<String, String>,
    /// Columns that go along.
    pub carry: Vec<At<String>>,
    /// Bound of a key's state, bytes.
    pub max_state_bytes: Option<i64>,
}

/// `optimize`
#[derive(Clone, Debug)]
pub struct Optimize {
    /// Where the stage's field stands.
    pub at: Pos,
    /// Solver.
    pub solver: At<String>,
    /// Solver asked when that one gives nothing usable.
    pub fallback: Option<At<String>>,
    /// Key columns.
    pub key: Vec<At<String>>,
    /// Columns that tell rows of a board apart.
    pub entity: Vec<At<String>>,
    /// Rows that take their entity off the board.
    pub deleted: Option<Sql>,
    /// When a row leaves the board.
    pub valid_until: Option<Sql>,
    /// The same after its event time.
    pub ttl_ms: Option<i64>,
    /// `trigger:`
    pub trigger: Trigger,
    /// A call's longest time.
    pub timeout_ms: Option<i64>,
    /// The solver's time.
    pub budget_ms: Option<i64>,
    /// The solver's iterations.
    pub iterations: Option<i64>,
    /// Wait after nobody answered.
    pub retry_ms: Option<i64>,
    /// Settings.
    pub with: BTreeMap<String, String>,
    /// Bounds.
    pub max_rows: Option<i64>,
    /// Bytes.
    pub max_memo_bytes: Option<i64>,
    /// Calls under way.
    pub max_calls: Option<i64>,
}

/// `trigger:`
#[derive(Clone, Debug, Default)]
pub struct Trigger {
    /// Quiet time before a call.
    pub debounce_ms: Option<i64>,
    /// Longest wait for that.
    pub max_wait_ms: Option<i64>,
    /// Between calls of one key.
    pub at_most_every_ms: Option<i64>,
    /// Rows that do not wait.
    pub urgent: Option<Sql>,
    /// Rows that call for nothing.
    pub quiet: Option<Sql>,
}
