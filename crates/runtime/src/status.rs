//! What runs, for people: counts per stage, watermark, lag, commits, rungs. Each worker of a process keeps its part
//! up to date about twice a second; [`Board::summary`] adds the parts up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use ws_stream::operator::Counts;

/// One worker's part.
#[derive(Clone, Debug, Default)]
pub struct WorkerStatus {
    /// Is every task running?
    pub ready: bool,
    /// Why not, in words.
    pub waiting_for: String,
    /// Tasks owned and running.
    pub tasks: Vec<u32>,
    /// Tasks stopped by an error, with the error.
    pub stopped: BTreeMap<u32, String>,
    /// Counts per input and stage, in topology order.
    pub counts: Vec<(String, Counts)>,
    /// Lowest watermark, UTC ms.
    pub watermark_ms: Option<i64>,
    /// Input records not consumed yet; unknown until they were first counted.
    pub lag_records: Option<i64>,
    /// Transactions committed, aborted, undetermined.
    pub commits: [u64; 3],
    /// Times of the last commits, milliseconds.
    pub commit_ms: Vec<f64>,
    /// Rows by rung.
    pub rungs: BTreeMap<&'static str, u64>,
    /// State rows and bytes.
    pub state: (usize, usize),
    /// Records consumed.
    pub records: u64,
    /// Wall clock at the first record, UTC ms; 0 before.
    pub first_record_ms: i64,
    /// Sum of the committed input positions of the tasks owned.
    pub committed_position: i64,
}

/// The parts of all workers of a process, by slice of the topology and slot.
#[derive(Clone, Default)]
pub struct Board {
    parts: Arc<Mutex<BTreeMap<(u32, u32), WorkerStatus>>>,
    slice: u32,
}

impl Board {
    /// The same board for workers of another slice.
    pub fn of_slice(&self, slice: u32) -> Board {
        Board { parts: self.parts.clone(), slice }
    }

    /// Changes a worker's part.
    pub fn update(&self, slot: u32, f: impl FnOnce(&mut WorkerStatus)) {
        f(self.parts.lock().unwrap_or_else(PoisonError::into_inner).entry((self.slice, slot)).or_default());
    }

    /// A worker's part.
    pub fn of(&self, slot: u32) -> Option<WorkerStatus> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).get(&(self.slice, slot)).cloned()
    }

    /// All parts added up.
    pub fn summary(&self) -> WorkerStatus {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = WorkerStatus { ready: !parts.is_empty(), lag_records: (!parts.is_empty()).then_some(0), ..WorkerStatus::default() };
        for p in parts.values() {
            all.ready &= p.ready;
            if !p.ready {
                all.waiting_for.clone_from(&p.waiting_for);
            }
            all.tasks.extend(&p.tasks);
            all.stopped.extend(p.stopped.iter().map(|(k, v)| (*k, v.clone())));
            for (id, c) in &p.counts {
                match all.counts.iter_mut().find(|(i, _)| i == id) {
                    Some((_, sum)) => sum.add(c),
                    None => all.counts.push((id.clone(), *c)),
                }
            }
            all.watermark_ms = match (all.watermark_ms, p.watermark_ms) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            all.lag_records = all.lag_records.zip(p.lag_records).map(|(a, b)| a + b);
            (0..3).for_each(|i| all.commits[i] += p.commits[i]);
            all.commit_ms.extend(&p.commit_ms);
            for (r, n) in &p.rungs {
                *all.rungs.entry(r).or_default() += n;
            }
            all.state.0 += p.state.0;
            all.state.1 += p.state.1;
            all.records += p.records;
            all.committed_position += p.committed_position;
            if p.first_record_ms > 0 && (all.first_record_ms == 0 || p.first_record_ms < all.first_record_ms) {
                all.first_record_ms = p.first_record_ms;
            }
        }
        all
    }
}

impl WorkerStatus {
    /// The p-quantile of the last commits' times, milliseconds.
    pub fn commit_quantile_ms(&self, p: f64) -> Option<f64> {
        let mut v = self.commit_ms.clone();
        v.sort_by(f64::total_cmp);
        v.get(((v.len() as f64 * p) as usize).min(v.len().saturating_sub(1))).copied()
    }
}
