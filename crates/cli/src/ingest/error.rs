//! Why an ingest cannot start or go on. Bad rows are no errors: they are reported and counted.

use ws_plan::PlanErrors;
use ws_stream::log::LogError;

/// An ingest that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The mapping file has problems.
    #[error("{0}")]
    Map(#[from] PlanErrors),
    /// A file cannot be read.
    #[error("{file}: {message}{}", with_hint(.hint))]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// More rows than are sorted in memory.
    #[error(
        "{file} has more than {limit_rows} rows, the most that are sorted in memory; hint: raise --max-rows (about 250 bytes a row), split the file by time, or send in file order with --stream if each key's rows are in order or within its lateness"
    )]
    TooLarge {
        /// The file.
        file: String,
        /// The limit.
        limit_rows: usize,
    },
    /// Bad rows under `--strict`.
    #[error("{bad} bad rows and --strict: nothing was sent; hint: mend the rows or the mapping, or leave --strict out")]
    Strict {
        /// How many.
        bad: u64,
    },
    /// The log refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The process that owns the data folder refused.
    #[error("{url}: {message}; hint: {hint}")]
    Http {
        /// Where.
        url: String,
        /// What it said.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// Printing failed.
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
}

fn with_hint(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("; hint: {text}") }
}

impl IngestError {
    /// A file's error.
    pub fn file(file: &str, message: impl ToString, hint: impl Into<String>) -> Self {
        IngestError::File { file: file.to_owned(), message: message.to_string(), hint: hint.into() }
    }
}
