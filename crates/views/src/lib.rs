//! Read models derived from committed outputs: embedded store and Redis.
//!
//! A view holds what dispatchers ask for (bins, alerts, trucks, sites, facilities) and nothing that is not in the log. The
//! runtime reads committed output records, turns each into [`Update`]s with [`project`], and hands them with the position
//! behind them to a [`ViewStore`], which writes values and position as one unit. That makes a view disposable and idempotent:
//! a batch applied twice changes nothing, an older position or an older owner is rejected, and a lost view is read again from
//! the log. Every read says how fresh it is ([`Read::freshness`]).
//!
//! Layout: `key` and `update` are the vocabulary, `project` maps topics to updates, `grid` orders bins by place, `reads` answers
//! questions over a `backend`, and `embedded` and `redis_store` are the two backends under one contract suite.

mod backend;
mod embedded;
mod error;
mod freshness;
mod grid;
mod key;
mod listing;
mod project;
mod project_plan;
mod reads;
mod redis_reads;
mod redis_store;
mod summary;
mod update;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_reads;
#[cfg(test)]
mod redis_server;

pub use embedded::EmbeddedView;
pub use error::ViewError;
pub use freshness::{Freshness, PositionKey, SourcePosition};
pub use grid::BoundingBox;
pub use key::{Keyspace, Part, ViewKey};
pub use project::{ProjectError, project};
pub use project_plan::pending;
pub use reads::{BinFilter, BinQuery, Counts, ListQuery, Page, Read, Record, ViewReads};
pub use redis_store::{RedisView, RedisViewOptions};
pub use summary::{AlertSummary, BinSummary, PlaceSummary, TruckSummary};
pub use update::{Applied, Body, Outcome, Progress, Update, ViewStore};

/// Most updates one [`ViewStore::apply`] accepts. Larger batches are cut by the caller at a record boundary, so that neither
/// a write batch in memory nor a script on a shared Redis grows without bound.
pub const MAX_UPDATES_PER_APPLY: usize = 10_000;

/// Most records one page holds, whatever a caller asks for.
pub const MAX_PAGE_ROWS: usize = 20_000;

/// Most index entries one read looks at before it returns a cursor, also when filters let little through.
pub const MAX_SCAN_ROWS: usize = 50_000;

/// Longest tenant or id accepted in a key.
pub const MAX_ID_BYTES: usize = 256;

/// Most tenants one view serves in reads that do not name a tenant.
pub const MAX_TENANTS: usize = 1_000;
