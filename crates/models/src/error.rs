//! Errors of training and evaluation.

use ws_inference::ModelError;

/// Why a model could not be trained or judged.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A column is absent or of another type.
    #[error("column {column}: {message}; hint: training takes rows of bin.features as the topology emits them")]
    Column {
        /// The column.
        column: String,
        /// What is wrong.
        message: String,
    },
    /// Not enough history.
    #[error("too little to learn from: {message}; hint: {hint}")]
    TooLittle {
        /// What is missing.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// A feature knows the future.
    #[error("the features know the future: {message}; hint: compute the column from readings up to the row's time only")]
    Leak {
        /// Which column or row, and how it shows.
        message: String,
    },
    /// LightGBM refused.
    #[error("training {role}: {message}; hint: check the training parameters")]
    Boost {
        /// Which of the models.
        role: String,
        /// LightGBM's message.
        message: String,
    },
    /// The model bundle.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Arrow refused.
    #[error("rows: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl TrainError {
    pub(crate) fn column(column: &str, message: impl Into<String>) -> Self {
        Self::Column { column: column.to_owned(), message: message.into() }
    }
}
