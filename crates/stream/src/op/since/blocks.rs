//! Merged runs of panes, so that a walk over a long window does not visit every pane: readings every quarter of an
//! hour for two weeks are 1,344 panes, but 84 blocks. Blocks are derived, made when first walked and dropped when one
//! of their panes changes. What a block holds depends on its panes alone, so a walk gives the same bits whether its
//! blocks were kept, dropped or never made.

use super::pane::{self, Fall};
use crate::aggregate::AggPlan;
use crate::store::{KeyId, Store};

/// Cells of the pane grid in a block.
const CELLS: i64 = 16;

/// A run of panes, merged.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) start_ms: i64,
    /// Start of its first pane.
    pub(super) first_pane_ms: i64,
    /// Event time of its earliest row.
    pub(super) first_row_ms: i64,
    /// Aggregates, times relative to `start_ms`.
    pub(super) merged: Box<[f64]>,
    /// Earliest watched value with its time, and the latest value.
    pub(super) watched: Option<((f64, f64), f64)>,
    /// A fall is inside: only its panes tell where.
    pub(super) divided: bool,
}

/// The blocks made so far, by key number.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    keys: Vec<Vec<Block>>,
    cells_ms: i64,
}

impl Blocks {
    pub(super) fn new(pane_ms: i64) -> Self {
        Blocks { keys: Vec::new(), cells_ms: pane_ms.saturating_mul(CELLS) }
    }

    /// Start of the block that a pane belongs to.
    pub(super) fn start_of(&self, pane_ms: i64) -> i64 {
        pane_ms.saturating_sub(pane_ms.rem_euclid(self.cells_ms))
    }

    /// The block of `key` that starts at `start_ms`, of panes that are there now.
    pub(super) fn get(&mut self, plan: &AggPlan, fall: Option<Fall>, panes: &Store<Box<[f64]>>, key: KeyId, start_ms: i64) -> &Block {
        let n = key.0 as usize;
        if self.keys.len() <= n {
            self.keys.resize_with(n + 1, Vec::new);
        }
        let blocks = &mut self.keys[n];
        let at = match blocks.binary_search_by_key(&start_ms, |b| b.start_ms) {
            Ok(at) => at,
            Err(at) => {
                blocks.insert(at, make(plan, fall, panes, key, start_ms, start_ms.saturating_add(self.cells_ms)));
                at
            }
        };
        &blocks[at]
    }

    /// A pane changed.
    pub(super) fn changed(&mut self, key: KeyId, pane_ms: i64) {
        let start_ms = self.start_of(pane_ms);
        if let Some(blocks) = self.keys.get_mut(key.0 as usize)
            && let Ok(at) = blocks.binary_search_by_key(&start_ms, |b| b.start_ms)
        {
            blocks.remove(at);
        }
    }

    /// The panes that started before `below_ms` were removed.
    pub(super) fn removed_below(&mut self, key: KeyId, below_ms: i64) {
        if let Some(blocks) = self.keys.get_mut(key.0 as usize) {
            blocks.retain(|b| b.start_ms >= below_ms);
        }
    }

    /// Anything may have changed.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
    }
}

fn make(plan: &AggPlan, fall: Option<Fall>, panes: &Store<Box<[f64]>>, key: KeyId, start_ms: i64, end_ms: i64) -> Block {
    let mut b = Block { start_ms, first_pane_ms: i64::MAX, first_row_ms: i64::MAX, merged: plan.empty(), watched: None, divided: false };
    let inside = panes.values(key).rev().skip_while(|p| p.0 >= end_ms).take_while(|p| p.0 >= start_ms);
    for (start, p) in inside {
        b.first_pane_ms = start;
        b.first_row_ms = b.first_row_ms.min(p[pane::FIRST_MS] as i64);
        plan.merge(&mut b.merged, start_ms, p, start);
        if let Some(fall) = fall
            && pane::watched(p)
        {
            // From the newest pane backwards, as a walk goes.
            b.divided |= p[pane::BROKEN] != 0.0 || b.watched.is_some_and(|((_, first), _)| fall.is(pane::last(p), first));
            b.watched = Some((pane::first(p), b.watched.map_or(pane::last(p), |w| w.1)));
        }
    }
    b
}
