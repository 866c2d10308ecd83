//! Fixtures: a topology's tests as files beside it. Each gives input rows and names the rows that must come out. This
//! file has the types; `fixture_read` reads them, `fixture_run` plays them against anything that can run a topology.
//!
//! ```yaml
//! about: a reading becomes a feature row
//! start: 2026-11-02T08:00:00Z            # processing time at the start
//! defaults:                              # under every row of a topic
//!   bin.telemetry: { tenant: t1, source: test, sent_at: =observed_at, event_id: "#" }
//! steps:
//!   - push: bin.telemetry
//!     rows: [{ device_id: d1, observed_at: 2026-11-02T07:50:00Z, filling_level: 0.4 }]
//!   - push: bin.telemetry                # 24 rows, an hour apart, the level rising
//!     repeat: 24
//!     step: { observed_at: 1h, filling_level: 0.01 }
//!     rows: [{ device_id: d1, observed_at: 2026-11-02T09:00:00Z, filling_level: 0.4 }]
//!   - advance: 2h
//! expect:
//!   bin.features:                        # a list: these rows in this order and no others
//!     - { device_id: d1, filling_level: 0.4, rate_24h_per_h: null }
//!   bin.alert: { contains: [{ alert: fire }], none: [{ alert: stuck }], count: 2 }
//!   dead_letters: [{ reason: filling_level_out_of_range, stage: sane }]
//! answers:                               # what models and solvers say; without it they fail and the ladder goes on
//!   waste-collection: [{ rows: [{ distance_m: 1200 }], memo: first, iterations: 10 }, { fail: no route fits }]
//! ```
//!
//! In rows, texts that look like `2026-11-02T07:50:00Z` are times in UTC ms; `=column` copies another column of the
//! row; `#` is a number that counts the rows of the topic. Named columns are compared, others are not.

use std::fmt;

pub use crate::fixture_answers::{Said, Script, columns};
pub use crate::fixture_read::{parse, parse_file};
pub use crate::fixture_run::{Report, play};

/// A value of a row, in or out.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Null.
    Null,
    /// True or false.
    Bool(bool),
    /// Integer; times are UTC ms.
    Int(i64),
    /// Any other number, NaN included.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Cell>),
    /// A record, or a mapping.
    Map(Row),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => f.write_str("null"),
            Cell::Bool(b) => write!(f, "{b}"),
            Cell::Int(i) => write!(f, "{i}"),
            Cell::Float(x) => write!(f, "{x}"),
            Cell::Text(t) => write!(f, "{t:?}"),
            Cell::List(items) => write!(f, "[{}]", items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            Cell::Map(row) => write!(f, "{{ {} }}", row.iter().map(|(n, v)| format!("{n}: {v}")).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// A row: columns and values in order.
pub type Row = Vec<(String, Cell)>;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A record arrives.
    Push {
        /// Topic.
        topic: String,
        /// Key; `None`: the runner takes it from the topic's key column.
        key: Option<String>,
        /// Value.
        payload: Payload,
    },
    /// Processing time passes.
    Advance {
        /// So many ms.
        by_ms: i64,
    },
}

/// The value of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Encoded by the topic's schema.
    Row(Row),
    /// As it is, to test poison.
    Bytes(Vec<u8>),
    /// A tombstone.
    Deleted,
}

/// What must come out of one place.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// These rows in this order and no others.
    Exactly(Vec<Row>),
    /// A looser statement.
    Some {
        /// These rows are there, in this order; others may stand between them.
        contains: Vec<Row>,
        /// No row looks like one of these.
        none: Vec<Row>,
        /// So many rows in all.
        count: Option<usize>,
    },
}

/// The place of dead letters and late rows in `expect:`; the runner answers with columns `topic`, `stage`, `reason`,
/// `error`, `key` and what else it knows.
pub const DEAD_LETTERS: &str = "dead_letters";

/// One fixture.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixture {
    /// File name.
    pub file: String,
    /// What it shows.
    pub about: String,
    /// Processing time at the start, UTC ms.
    pub start_ms: i64,
    /// Relative tolerance for fractions.
    pub tolerance: f64,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// What models and solvers answer, by name.
    pub answers: Vec<(String, Vec<Said>)>,
    /// What comes out: topic (or [`DEAD_LETTERS`]) and expectation.
    pub expect: Vec<(String, Expect)>,
}

/// Something that runs a topology: the simulated log with a real worker, in the command line.
pub trait Run {
    /// What can go wrong, other than a wrong result.
    type Error: fmt::Display;
    /// A record arrives. Partition and offset are the runner's.
    fn push(&mut self, topic: &str, key: Option<&str>, payload: &Payload) -> Result<(), Self::Error>;
    /// Processing time passes, and everything that is due happens.
    fn advance(&mut self, by_ms: i64) -> Result<(), Self::Error>;
    /// All committed rows of a topic so far, decoded, oldest first; [`DEAD_LETTERS`] for the dead-letter topic.
    fn output(&mut self, topic: &str) -> Result<Vec<Row>, Self::Error>;
}
