//! What a store must offer for reads: positions, ordered index entries, records. The questions themselves are in `reads`.

use crate::ViewError;
use crate::freshness::SourcePosition;
use crate::key::{Keyspace, ViewKey};
use crate::reads::Record;

/// A store that can be read. Not part of the public interface: [`crate::ViewReads`] is.
pub trait Backend: Send + Sync {
    /// Starts a read. Positions are taken now; values seen through the session are at least as new.
    fn session(&self) -> Result<Box<dyn Session + '_>, ViewError>;
}

/// One read.
pub trait Session {
    /// Positions of all sources, as of the session's start.
    fn positions(&mut self) -> Result<Vec<SourcePosition>, ViewError>;

    /// Tenants with records, in order.
    fn tenants(&mut self) -> Result<Vec<String>, ViewError>;

    /// Up to `max_rows` index entries of a keyspace, in order, from `from` on (included).
    fn entries_from(&mut self, keyspace: Keyspace, from: &str, max_rows: usize) -> Result<Vec<String>, ViewError>;

    /// How many index entries a keyspace has, of one tenant or of all.
    fn count(&mut self, keyspace: Keyspace, tenant: Option<&str>) -> Result<u64, ViewError>;

    /// The records under these keys, in their order; none where a key has no part.
    fn records(&mut self, keys: &[ViewKey]) -> Result<Vec<Option<Record>>, ViewError>;
}
