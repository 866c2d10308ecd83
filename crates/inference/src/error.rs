//! Errors of model bundles and predictors: each says what was expected and what to do about it.

use std::path::PathBuf;

use ws_stream::predict::PredictError;

/// What can be wrong with a model, its bundle or the rows given to it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file of the bundle or store could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: `read`, `write`, `rename` ….
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The manifest is not what this version understands.
    #[error("manifest of the model bundle: {message}; hint: {hint}")]
    Manifest {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// A LightGBM text model that cannot be evaluated here.
    #[error("tree model, line {line}: {message}; hint: {hint}")]
    Tree {
        /// 1-based line of the model text, 0 when it concerns the whole.
        line: usize,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// The bundle answers differently from when it was trained.
    #[error(
        "golden row {row}, column {column}: expected {expected}, got {actual}; hint: the bundle was altered or written \
         by an incompatible version, train it again"
    )]
    Golden {
        /// Which golden row.
        row: usize,
        /// Which output column.
        column: String,
        /// The value stored at training.
        expected: f64,
        /// The value computed now.
        actual: f64,
    },
    /// The rows lack a column or have it in a type that cannot become a number.
    #[error("column {column}: {message}; hint: compare the topology's select with the model's inputs")]
    Column {
        /// The column.
        column: String,
        /// What is wrong.
        message: String,
    },
    /// The store has no model where one was asked for.
    #[error("no model {name} in {}; hint: run `wastestream train` first", root.display())]
    Missing {
        /// The model's name or version.
        name: String,
        /// The store's folder.
        root: PathBuf,
    },
    /// A version that exists with other content.
    #[error("version {version} exists already with other content; hint: versions are immutable, choose another")]
    VersionTaken {
        /// The version.
        version: String,
    },
    /// Arrow refused the output.
    #[error("output batch: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl ModelError {
    /// The same as the error of a predictor's call.
    pub fn for_predictor(&self, predictor: &str) -> PredictError {
        PredictError { predictor: predictor.to_owned(), message: self.to_string() }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
