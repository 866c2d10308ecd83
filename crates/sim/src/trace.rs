//! A rolling hash over everything that happens in a run. Two runs of one seed must end with the same hash: that is
//! what makes a failure found once a failure that can be looked at.

use ws_stream::log::{EpochSet, TopicPartition};
use ws_stream::operator::Call;
use ws_stream::records::Records;
use ws_stream::worker::Effect;

/// The hash so far. Order matters; no machine-dependent hasher is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace(u64);

impl Trace {
    /// The hash.
    pub fn value(self) -> u64 {
        self.0
    }

    /// Adds a number.
    pub fn number(&mut self, n: u64) -> &mut Self {
        let x = (self.0.rotate_left(23) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = x ^ (x >> 29);
        self
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for w in &mut words {
            self.number(u64::from_le_bytes([w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]]));
        }
        let mut last = [0u8; 8];
        last[..words.remainder().len()].copy_from_slice(words.remainder());
        self.number(u64::from_le_bytes(last))
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a partition.
    pub fn at(&mut self, at: &TopicPartition) -> &mut Self {
        self.text(&at.topic).number(u64::from(at.partition))
    }

    /// Adds records.
    pub fn records(&mut self, records: &Records) -> &mut Self {
        self.number(records.next_offset as u64).number(records.rows.len() as u64).bytes(&records.buffer)
    }

    fn epochs(&mut self, set: &EpochSet) {
        self.number(set.id);
        for e in &set.epochs {
            self.number(u64::from(e.task.0)).number(e.incarnation).number(e.number);
            for (at, offset) in &e.positions {
                self.at(at).number(*offset as u64);
            }
            for a in &e.appends {
                self.text(&a.topic).bytes(&a.buffer);
                for r in &a.rows {
                    self.number(u64::from(r.partition)).number(r.timestamp_ms as u64);
                }
            }
        }
    }

    fn call(&mut self, call: &Call) {
        self.number(call.id).text(&call.predictor).number(call.deadline_ms as u64);
        for (time, offset) in ws_stream::batch::times(&call.rows).iter().zip(ws_stream::batch::offsets(&call.rows)) {
            self.number(*time as u64).number(*offset as u64);
        }
        if let Some(s) = &call.solve {
            self.text(&s.key).bytes(&s.memo).number(s.seed).number(s.budget_ms as u64);
        }
    }

    /// Adds an effect.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Restore { task, incarnation, partitions, tables } => {
                self.number(1).number(u64::from(task.0)).number(*incarnation);
                partitions.iter().chain(tables).for_each(|at| {
                    self.at(at);
                });
            }
            Effect::Read { at, offset, incarnation } => {
                self.number(2).at(at).number(*offset as u64).number(*incarnation);
            }
            Effect::Stop { at } => {
                self.number(3).at(at);
            }
            Effect::Pause { at } => {
                self.number(4).at(at);
            }
            Effect::Resume { at } => {
                self.number(5).at(at);
            }
            Effect::Commit(set) => {
                self.number(6);
                self.epochs(set);
            }
            Effect::Resolve(tasks) => {
                self.number(7);
                tasks.iter().for_each(|t| {
                    self.number(u64::from(t.0));
                });
            }
            Effect::Call { task, incarnation, stage, call } => {
                self.number(8).number(u64::from(task.0)).number(*incarnation).number(*stage as u64);
                self.call(call);
            }
            Effect::Release(tasks) => {
                self.number(9);
                tasks.iter().for_each(|t| {
                    self.number(u64::from(t.0));
                });
            }
            Effect::Mark { task, incarnation } => {
                self.number(10).number(u64::from(task.0)).number(*incarnation);
            }
            Effect::Truncate { task, before } => {
                self.number(11).number(u64::from(task.0)).number(*before as u64);
            }
            Effect::Snapshot { task, from_offset, positions, snapshot } => {
                self.number(12).number(u64::from(task.0)).number(*from_offset as u64).number(snapshot.epoch);
                for (at, offset) in positions {
                    self.at(at).number(*offset as u64);
                }
                for (chunk, parts) in &snapshot.chunks {
                    self.number(u64::from(*chunk));
                    parts.iter().for_each(|p| {
                        self.bytes(p);
                    });
                }
            }
            Effect::Stopped { task, error } => {
                self.number(13).number(u64::from(task.0)).text(error);
            }
            Effect::Rejected { at, rows, first } => {
                self.number(14).at(at).number(*rows as u64).text(first);
            }
            Effect::Finished => {
                self.number(15);
            }
            Effect::Purge { at, before } => {
                self.number(16).at(at).number(*before as u64);
            }
            Effect::End { task, incarnation, at } => {
                self.number(17).number(u64::from(task.0)).number(*incarnation).at(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_length_and_content_all_count() {
        let of = |parts: &[&str]| {
            let mut t = Trace::default();
            parts.iter().for_each(|p| {
                t.text(p);
            });
            t.value()
        };
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        let all: std::collections::HashSet<u64> = [of(&["ab", "c"]), of(&["a", "bc"]), of(&["c", "ab"]), of(&["abc"]), of(&[])].into();
        assert_eq!(all.len(), 5);
    }
}
