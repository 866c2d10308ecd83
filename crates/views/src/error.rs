//! What can go wrong in a view, each with a message, and a hint that says what to do next.

use std::path::PathBuf;

/// A failure of a view store. [`ViewError::is_retryable`] tells an outage from a fault that stays.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The folder of an embedded view could not be opened.
    #[error("cannot open the view in {}: {cause}", path.display())]
    Open {
        /// The view's folder.
        path: PathBuf,
        /// What the storage engine said.
        cause: String,
    },
    /// Another process owns the folder.
    #[error("the view in {} is in use by another process", path.display())]
    Locked {
        /// The view's folder.
        path: PathBuf,
    },
    /// Redis does not answer.
    #[error("the view's Redis at {address} is unavailable: {cause}")]
    Unavailable {
        /// Host and port, without credentials.
        address: String,
        /// What the client said.
        cause: String,
    },
    /// The store answered, with a failure.
    #[error("the view store failed while {doing}: {cause}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        cause: String,
    },
    /// A stored value cannot be read.
    #[error("the view holds an unreadable value at {key}: {cause}")]
    Corrupt {
        /// The key it stands under.
        key: String,
        /// Why it cannot be read.
        cause: String,
    },
    /// More updates in one batch than a store accepts.
    #[error("{updates} updates in one batch, at most {limit} are accepted")]
    TooLarge {
        /// How many were given.
        updates: usize,
        /// How many are accepted.
        limit: usize,
    },
    /// A key or position that no store could hold.
    #[error("invalid {what}: {detail}")]
    Invalid {
        /// What is invalid.
        what: &'static str,
        /// Why.
        detail: String,
    },
    /// A cursor that this view did not hand out.
    #[error("the cursor is not one that this view handed out")]
    BadCursor,
    /// The same id exists for several tenants, and the read named none.
    #[error("{id} exists for {tenants} tenants")]
    Ambiguous {
        /// The id asked for.
        id: String,
        /// How many tenants have it.
        tenants: usize,
    },
}

impl ViewError {
    /// What the reader of the error can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { .. } => "check that the folder exists and is writable; a view can be deleted, it is rebuilt from the log",
            Self::Locked { .. } => "stop the other process, or ask it over HTTP: its endpoint file lies in the data folder",
            Self::Unavailable { .. } => "check that Redis runs and the address is right; the batch is retried and nothing is lost",
            Self::Store { .. } => "check free space and the store's log; the batch can be applied again",
            Self::Corrupt { .. } => "clear the view and let it be rebuilt from the log",
            Self::TooLarge { .. } => "cut the batch at a record boundary and apply the parts in order",
            Self::Invalid { .. } => "correct the value; ids are 1 to 256 bytes without control characters, tenants have no slash, positions are not negative",
            Self::BadCursor => "start again without a cursor",
            Self::Ambiguous { .. } => "name the tenant",
        }
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Store { .. })
    }

    /// Whether the caller's request is at fault, rather than the store.
    pub fn is_callers_fault(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Invalid { .. } | Self::BadCursor | Self::Ambiguous { .. })
    }
}
