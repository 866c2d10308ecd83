//! A topology file as written: every field with its place, nothing resolved yet. Defaults are applied later, where
//! each has a name (`defaults.rs`); what stands here was in the file.

use crate::yaml::{At, Pos};

/// A whole file.
#[derive(Clone, Debug)]
pub struct File {
    /// `topology:`
    pub name: At<String>,
    /// `sources:`
    pub sources: Vec<(At<String>, Source)>,
    /// `tables:`
    pub tables: Vec<(At<String>, Table)>,
    /// `stages:`
    pub stages: Vec<Stage>,
    /// `sinks:`, by topic.
    pub sinks: Vec<(At<String>, Sink)>,
    /// `dead_letters:` topic.
    pub dead_letters: Option<At<String>>,
}

/// A stream read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Topic.
    pub topic: At<String>,
    /// Column that the topic is keyed by.
    pub key: Option<At<String>>,
    /// Event time column.
    pub event_time: At<String>,
    /// Delay of the watermark.
    pub watermark_delay_ms: Option<i64>,
    /// Lateness rule.
    pub lateness: Option<LatenessRule>,
    /// Guard against clocks ahead of time.
    pub future: Option<FutureRule>,
    /// Largest value.
    pub max_value_bytes: Option<i64>,
    /// When a quiet partition is idle.
    pub idle_after: Option<Wait>,
    /// How far ahead of the slowest input.
    pub max_skew: Option<Wait>,
}

/// A duration, or none at all: `idle_after: never`, `max_skew: off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// So long, ms.
    For(i64),
    /// For ever.
    Forever,
}

impl Wait {
    /// The duration, ms; the default where nothing was written.
    pub fn ms(wait: Option<Wait>, otherwise_ms: i64) -> Option<i64> {
        match wait {
            None => Some(otherwise_ms),
            Some(Wait::For(ms)) => Some(ms),
            Some(Wait::Forever) => None,
        }
    }
}

/// `lateness:`
#[derive(Clone, Debug)]
pub enum LatenessRule {
    /// `watermark`
    Watermark,
    /// `{ per_key: 72h, key: … }`
    PerKey {
        /// How late, ms.
        allowed_ms: i64,
        /// Key columns; the source's key when absent.
        key: Option<Vec<At<String>>>,
    },
}

/// `future:`
#[derive(Clone, Debug)]
pub enum FutureRule {
    /// `off`
    Off,
    /// `{ against: received_at, tolerance: 10m }`
    Guard {
        /// Column; the log's time when absent.
        against: Option<At<String>>,
        /// Tolerance, ms.
        tolerance_ms: Option<i64>,
    },
}

/// A versioned table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Topic.
    pub topic: At<String>,
    /// Key columns.
    pub key: Vec<At<String>>,
    /// Validity column.
    pub valid_from: At<String>,
    /// History kept.
    pub history_ms: Option<i64>,
    /// Read whole by every task?
    pub global: bool,
}

/// An expression as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Sql {
    /// The text.
    pub text: String,
    /// Where it starts.
    pub at: Pos,
}

/// One item of a `select:` list.
#[derive(Clone, Debug)]
pub struct Item {
    /// Output name.
    pub name: At<String>,
    /// Its expression.
    pub sql: Sql,
}

/// `select:` and `add:`
#[derive(Clone, Debug)]
pub enum Selection {
    /// Everything passes: no `select:`, or `'*'`.
    All,
    /// Everything passes, and these are added or replaced.
    Add(Vec<Item>),
    /// These alone.
    Only(Vec<Item>),
}

/// `otherwise:`
#[derive(Clone, Debug)]
pub enum OtherwiseRule {
    /// `drop`
    Drop,
    /// `{ dead_letter: reason }`
    DeadLetter(At<String>),
}

/// A stage.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Where the stage starts.
    pub at: Pos,
    /// Stable id.
    pub id: At<String>,
    /// Inputs.
    pub from: Vec<At<String>>,
    /// What it does.
    pub op: Op,
}

/// What a stage does.
#[derive(Clone, Debug)]
pub enum Op {
    /// `where` / `select` / `add`
    Select {
        /// Filter.
        filter: Option<Sql>,
        /// What happens to refused rows.
        otherwise: OtherwiseRule,
        /// Output.
        selection: Selection,
    },
    /// `each`
    Each {
        /// Columns common to all alternatives.
        common: Selection,
        /// Alternatives.
        alternatives: Vec<At<Vec<Item>>>,
    },
    /// `dedup`
    Dedup {
        /// Key columns.
        key: Vec<At<String>>,
        /// Id columns.
        id: Vec<At<String>>,
        /// Memory.
        keep_ms: Option<i64>,
    },
    /// `rekey`
    Rekey {
        /// New key column.
        key: At<String>,
        /// Partitions of the repartition topic.
        partitions: Option<i64>,
    },
    /// `union`; with `nulls`, what an input lacks is null.
    Union {
        /// Columns may differ.
        nulls: bool,
    },
    /// `join`
    Join {
        /// Table.
        table: At<String>,
        /// Columns of the row.
        on: Vec<At<String>>,
        /// Columns taken: (table column, output name).
        take: Vec<(At<String>, At<String>)>,
        /// Reason for rows without a partner; `None`: nulls.
        unmatched: Option<At<String>>,
    },
    /// `window: { tumbling | hopping }`
    Window {
        /// Group columns.
        group_by: Vec<At<String>>,
        /// Length.
        size_ms: i64,
        /// Distance of starts.
        slide_ms: i64,
        /// Where `window:` stands.
        at: Pos,
        /// Output.
        select: Vec<Item>,
    },
    /// `window: { since }`
    Since {
        /// Group columns.
        group_by: Vec<At<String>>,
        /// Reset column.
        column: Option<At<String>>,
        /// Reset seen in the values.
        drop: Option<DropRule>,
        /// Longest reach.
        at_most_ms: Option<i64>,
        /// Pane length.
        pane_ms: Option<i64>,
        /// Emit in silence.
        or_every_ms: Option<i64>,
        /// End of that.
        give_up_ms: Option<i64>,
        /// Where `window:` stands.
        at: Pos,
        /// Output.
        select: Vec<Item>,
    },
    /// `changed`
    Changed {
        /// Key columns.
        key: Vec<At<String>>,
        /// Compared columns.
        of: Vec<At<String>>,
        /// Condition for a key's first row.
        first: Option<Sql>,
    },
    /// `infer`
    Infer {
        /// Model.
        model: At<String>,
        /// Key columns.
        key: Vec<At<String>>,
        /// Rungs below the model.
        ladder: Vec<At<String>>,
        /// Time a row may take.
        budget_ms: Option<i64>,
        /// Oldest cached answer.
        cache_age_ms: Option<i64>,
        /// Rows per call.
        batch_rows: Option<At<i64>>,
        /// Rows in flight.
        max_pending_rows: Option<At<i64>>,
    },
    /// `absence`
    Absence(Box<crate::file_stages::Absence>),
    /// `apply`
    Apply(Box<crate::file_stages::Apply>),
    /// `optimize`
    Optimize(Box<crate::file_stages::Optimize>),
    /// Could not be read; its problems are noted.
    Broken,
}

/// `drop: { of, by, to_at_most }`
#[derive(Clone, Debug)]
pub struct DropRule {
    /// Value.
    pub of: Sql,
    /// Fall.
    pub by: f64,
    /// Level after it.
    pub to_at_most: f64,
}

/// An output.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Where it stands.
    pub at: Pos,
    /// Stages or sources.
    pub from: Vec<At<String>>,
    /// Key column.
    pub key: Option<At<String>>,
    /// `json` instead of Avro.
    pub json: bool,
    /// Columns that go into headers.
    pub headers: Vec<At<String>>,
    /// Input position in the headers?
    pub lineage: bool,
}
