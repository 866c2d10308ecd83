//! Reads a key's window out of its panes: backwards from the newest one until a reset or the window's reach ends it.
//! Aggregates with a horizon are read out on the way, so one walk serves them all.

use super::blocks::Blocks;
use super::pane::{self, Fall};
use crate::aggregate::AggPlan;
use crate::store::{KeyId, Store};

/// What a walk found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// Bits of each call's result; `None` is null. Bits, so that equality is exact.
    results: Vec<Option<u64>>,
    /// The reset that the window starts at, if one is known within reach.
    pub(super) window_start_ms: Option<i64>,
}

impl Found {
    pub(super) fn result(&self, call: usize) -> Option<f64> {
        self.results[call].map(f64::from_bits)
    }
}

/// How to walk.
#[derive(Debug)]
pub(super) struct Walk {
    at_most_ms: i64,
    fall: Option<Fall>,
    /// Calls by horizon, ascending.
    horizons: Vec<(i64, Vec<usize>)>,
}

impl Walk {
    pub(super) fn new(plan: &AggPlan, at_most_ms: i64, fall: Option<Fall>) -> Self {
        let mut horizons: Vec<(i64, Vec<usize>)> = Vec::new();
        for call in 0..plan.calls() {
            let horizon = plan.horizon_ms(call);
            match horizons.binary_search_by_key(&horizon, |h| h.0) {
                Ok(at) => horizons[at].1.push(call),
                Err(at) => horizons.insert(at, (horizon, vec![call])),
            }
        }
        Walk { at_most_ms, fall, horizons }
    }

    /// The window of `key` as of `row_ms`, which is not before any of its rows. A pane counts for a horizon if all of
    /// its rows lie within.
    pub(super) fn window(&self, plan: &AggPlan, panes: &Store<Box<[f64]>>, blocks: &mut Blocks, key: KeyId, row_ms: i64, reset_ms: i64) -> Found {
        let mut results = vec![None; plan.calls()];
        let mut merged = plan.empty();
        let mut read_out = |merged: &[f64], calls: &[usize]| {
            for call in calls {
                results[*call] = plan.finish(*call, merged).map(f64::to_bits);
            }
        };
        let mut horizons = self.horizons.iter().peekable();
        let mut window_start_ms = None;
        // The earliest watched value so far, with its time: is there a fall to it from what is before?
        let mut later: Option<(f64, f64)> = None;
        let falls = |later: Option<(f64, f64)>, before: f64| later.filter(|l| self.fall.is_some_and(|f| f.is(before, l.1))).map(|l| l.0 as i64);
        let mut rest = panes.values(key).rev().peekable();
        // The newest block changes with every row: it is walked pane by pane.
        let mut begun = rest.peek().map(|p| blocks.start_of(p.0));
        while let Some((start, p)) = rest.peek() {
            let start = *start;
            if begun != Some(blocks.start_of(start)) {
                let block = blocks.get(plan, self.fall, panes, key, blocks.start_of(start));
                begun = Some(block.start_ms);
                let age_ms = row_ms.saturating_sub(block.first_row_ms);
                let whole = !block.divided && block.first_pane_ms >= reset_ms && age_ms <= self.at_most_ms;
                if whole && horizons.peek().is_none_or(|h| h.0 >= age_ms) {
                    if let Some((first, last)) = block.watched {
                        window_start_ms = falls(later, last);
                        if window_start_ms.is_some() {
                            break;
                        }
                        later = Some(first);
                    }
                    plan.merge_within(&mut merged, row_ms, &block.merged, block.start_ms, age_ms);
                    let block_ms = block.start_ms;
                    while rest.next_if(|p| p.0 >= block_ms).is_some() {}
                    continue;
                }
            }
            let age_ms = row_ms.saturating_sub(p[pane::FIRST_MS] as i64);
            if start < reset_ms || age_ms > self.at_most_ms {
                break;
            }
            if self.fall.is_some() && pane::watched(p) {
                window_start_ms = match p[pane::BROKEN] != 0.0 {
                    true => Some(pane::lowest_ms(p) as i64),
                    false => falls(later, pane::last(p)),
                };
                if window_start_ms.is_some() {
                    break;
                }
                later = Some(pane::first(p));
            }
            while let Some((_, calls)) = horizons.next_if(|h| h.0 < age_ms) {
                read_out(&merged, calls);
            }
            plan.merge_within(&mut merged, row_ms, p, start, age_ms);
            rest.next();
        }
        for (_, calls) in horizons {
            read_out(&merged, calls);
        }
        let told = (reset_ms != i64::MIN && row_ms.saturating_sub(reset_ms) <= self.at_most_ms).then_some(reset_ms);
        Found { results, window_start_ms: window_start_ms.or(told) }
    }
}
