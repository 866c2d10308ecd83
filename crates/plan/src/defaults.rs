//! Every limit that a topology file may leave out, by name. `docs/topology-reference.md` lists the same values and a
//! test compares them.

/// `watermark_delay` of a source, ms.
pub const WATERMARK_DELAY_MS: i64 = 60_000;
/// `future.tolerance` of a source, ms.
pub const FUTURE_TOLERANCE_MS: i64 = 600_000;
/// `max_value_bytes` of a source.
pub const MAX_VALUE_BYTES: i64 = 65_536;
/// `idle_after` of a source, ms.
pub const IDLE_AFTER_MS: i64 = 60_000;
/// `max_skew` of a source, ms.
pub const MAX_SKEW_MS: i64 = 6 * 3_600_000;
/// `history` of a table, ms.
pub const HISTORY_MS: i64 = 90 * 86_400_000;
/// `dedup.keep`, ms.
pub const DEDUP_KEEP_MS: i64 = 7 * 86_400_000;
/// `window.at_most` of a since-window, ms.
pub const SINCE_AT_MOST_MS: i64 = 28 * 86_400_000;
/// `window.panes` of a since-window, ms.
pub const PANE_MS: i64 = 900_000;
/// `emit.give_up`, ms.
pub const GIVE_UP_MS: i64 = 7 * 86_400_000;
/// `infer.budget`, ms.
pub const INFER_BUDGET_MS: i64 = 200;
/// `infer.cache_age`, ms.
pub const CACHE_AGE_MS: i64 = 6 * 3_600_000;
/// `infer.batch`, rows.
pub const INFER_BATCH_ROWS: i64 = 256;
/// `infer.max_pending`, rows.
pub const MAX_PENDING_ROWS: i64 = 20_000;
/// Most panes of one since-window: what a key may cost in memory.
pub const MAX_PANES: i64 = 10_000;
/// Most starts of a hopping window that one row may fall into.
pub const MAX_OVERLAP: i64 = 1_000;
/// Most partitions of a repartition topic.
pub const MAX_REKEY_PARTITIONS: i64 = 4_096;
/// Most columns of one stage.
pub const MAX_COLUMNS: usize = 512;
/// `absence.max_open`: expectations of one key.
pub const MAX_OPEN: i64 = 1_000;
/// Most times that one absence may be told.
pub const MAX_REPEATS: i64 = 10_000;
/// `apply.max_state`, bytes of one key.
pub const STATE_BYTES: i64 = 65_536;
/// `optimize.ttl`, ms.
pub const BOARD_TTL_MS: i64 = 24 * 3_600_000;
/// `optimize.trigger.debounce`, ms.
pub const DEBOUNCE_MS: i64 = 30_000;
/// `optimize.trigger.max_wait`, ms.
pub const MAX_WAIT_MS: i64 = 5 * 60_000;
/// `optimize.trigger.at_most_every`, ms.
pub const AT_MOST_EVERY_MS: i64 = 2 * 60_000;
/// `optimize.timeout`, ms.
pub const SOLVE_TIMEOUT_MS: i64 = 60_000;
/// `optimize.budget`, ms.
pub const SOLVE_BUDGET_MS: i64 = 30_000;
/// `optimize.retry`, ms.
pub const SOLVE_RETRY_MS: i64 = 60_000;
/// `optimize.max_rows` of one board.
pub const BOARD_ROWS: i64 = 20_000;
/// `optimize.max_memo`, bytes.
pub const MEMO_BYTES: i64 = 262_144;
/// `optimize.max_calls` of one task.
pub const MAX_CALLS: i64 = 4;
