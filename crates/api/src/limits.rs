//! Every bound of the HTTP interface, by name.

/// Bins, alerts or trucks in one page when the caller does not say.
pub const DEFAULT_PAGE_ROWS: usize = 200;
/// Most rows in one page.
pub const MAX_PAGE_ROWS: usize = 2_000;
/// Most rows of changes, and of problems, that are looked through for an area's plan.
pub const MAX_PLAN_ROWS: usize = 10_000;
/// Most features in one GeoJSON answer; beyond it the answer says `truncated`.
pub const MAX_GEOJSON_FEATURES: usize = 20_000;
/// Most event-stream clients at once; the next one gets 503.
pub const MAX_SSE_CLIENTS: usize = 64;
/// Events waiting for a slow client; beyond it the client gets `resync` instead.
pub const MAX_SSE_BACKLOG_EVENTS: usize = 16;
/// A client that falls behind this often in a row is disconnected.
pub const MAX_SSE_LAGS: u32 = 5;
/// Changed records gathered between two events; beyond it all clients get `resync`.
pub const MAX_CHANGES_PER_EVENT: usize = 5_000;
/// Changes are gathered for this long.
pub const SSE_COALESCE_MS: u64 = 1_000;
/// A heartbeat comes with every so many coalescing periods.
pub const HEARTBEAT_PERIODS: u64 = 5;
/// View reads running at once; more wait.
pub const MAX_CONCURRENT_READS: usize = 16;
/// Longest wait for a free read; then 503.
pub const MAX_READ_WAIT_MS: u64 = 5_000;
/// Largest request body.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Longest query string.
pub const MAX_QUERY_BYTES: usize = 8_192;
/// After the shutdown signal, open requests get this long.
pub const DRAIN_MS: u64 = 5_000;
