//! Drops rows that were seen before: the id columns are hashed, and a key remembers the hashes of its rows for a time
//! measured against its own newest row. A device that uploads a week late is judged against its own past, not against
//! the fleet's watermark.

use super::paired::META;
use super::{Keys, end_without_key, indexes, key_indexes, take};
use crate::operator::{Context, Operator, OperatorError, StateAccess};
use crate::row::{RowCodec, hash_row};
use crate::store::{KeyId, Store};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

/// Drops repeated rows.
#[derive(Debug)]
pub struct Dedup {
    key: Vec<usize>,
    id: Vec<usize>,
    codec: RowCodec,
    keep_ms: i64,
    /// Hash → event time of the row first seen with it; under [`META`] the key's newest event time.
    seen: Store<i64>,
}

impl Dedup {
    /// A stage that passes a row unless its key has seen its id within `keep_ms` of event time. A row with a null id
    /// passes; one with a null key is a dead letter.
    pub fn new(key: &[String], id: &[String], keep_ms: i64, input: SchemaRef, _output: SchemaRef) -> Result<Self, OperatorError> {
        let id = indexes(&input, id)?;
        let fields: Vec<_> = id.iter().map(|i| input.fields()[*i].clone()).collect();
        Ok(Dedup { key: key_indexes(&input, key)?, id, codec: RowCodec::new(&fields)?, keep_ms: keep_ms.max(0), seen: Store::default() })
    }

    /// Remembers a row; false if it was seen before.
    fn first_sight(&mut self, key: KeyId, hash: u64, t_ms: i64) -> bool {
        // The hash is the sub-key; the one value that marks the newest time is moved out of the way.
        let hash = (hash as i64).max(META + 1);
        if let Some(seen_ms) = self.seen.get(key, hash)
            && (t_ms.saturating_sub(*seen_ms)).saturating_abs() <= self.keep_ms
        {
            return false;
        }
        self.seen.put(key, hash, t_ms);
        match self.seen.get(key, META).copied() {
            Some(newest_ms) if newest_ms >= t_ms => {}
            newest_ms => {
                self.seen.put(key, META, t_ms);
                // Forgetting walks all of a key's rows, so it is done a few times per memory length, not per row.
                let round = (self.keep_ms / 4).max(1);
                if newest_ms.is_some_and(|n| n.div_euclid(round) != t_ms.div_euclid(round)) {
                    self.forget(key, t_ms.saturating_sub(self.keep_ms));
                }
            }
        }
        true
    }

    fn forget(&mut self, key: KeyId, before_ms: i64) {
        // The mark under META is the newest time, so it stays.
        let old: Vec<i64> = self.seen.values(key).filter(|(_, t)| **t < before_ms).map(|(sub, _)| sub).collect();
        for sub in old {
            self.seen.remove(key, sub);
        }
    }
}

impl Operator for Dedup {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        let n = rows.num_rows();
        cx.counts.input += n as u64;
        let keys = Keys::new(rows, &self.key);
        let ids: Vec<ArrayRef> = self.id.iter().map(|i| rows.column(*i).clone()).collect();
        let times = crate::batch::times(rows);
        let (mut fresh, mut keyless, mut key, mut id) = (Vec::with_capacity(n), Vec::new(), Vec::new(), Vec::new());
        for (i, t_ms) in times.iter().enumerate() {
            let Some(key) = keys.get(i, &mut key) else {
                keyless.push(i as u32);
                continue;
            };
            let first = ids.iter().any(|c| c.is_null(i)) || {
                id.clear();
                self.codec.write(&ids, i, &mut id);
                let key = self.seen.key(key);
                self.first_sight(key, hash_row(&id), *t_ms)
            };
            match first {
                true => fresh.push(i as u32),
                false => cx.counts.duplicate += 1,
            }
        }
        end_without_key(cx, rows, keyless)?;
        cx.counts.emitted += fresh.len() as u64;
        let out = if fresh.len() == n { rows.clone() } else { take(rows, fresh)? };
        cx.emit(out);
        Ok(())
    }

    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        Some(&mut self.seen)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::op::testing::{Col, Step, disturb, random, rows, run};

    fn dedup() -> Dedup {
        let input = input(&[]).schema();
        Dedup::new(&["k".to_string()], &["id".to_string()], 100, input.clone(), input).unwrap()
    }
    fn input(values: &[(i64, Option<&str>, Option<&str>)]) -> RecordBatch {
        let times: Vec<i64> = values.iter().map(|v| v.0).collect();
        rows(&[("k", Col::S(values.iter().map(|v| v.1).collect())), ("id", Col::S(values.iter().map(|v| v.2).collect()))], &times)
    }

    #[test]
    fn a_row_passes_once_per_key_and_memory() {
        let steps = [Step::Rows(input(&[
            (0, Some("a"), Some("1")),
            (0, Some("a"), Some("1")),  // the same
            (0, Some("b"), Some("1")),  // another key
            (90, Some("a"), Some("1")), // sent again with another time
            (5, Some("a"), None),
            (5, Some("a"), None), // without an id there is nothing to compare
            (7, None, Some("2")),
            (250, Some("a"), Some("1")), // forgotten by now
        ]))];
        let r = run(&mut dedup(), &steps);
        assert_eq!(r.column("__offset"), ["0", "2", "4", "5", "7"]);
        assert_eq!((r.counts.duplicate, r.counts.dead), (2, 1));
        assert_eq!(r.sides[0].reason, super::super::NO_KEY);
    }

    #[test]
    fn memory_is_bounded_by_time() {
        let mut d = dedup();
        let ids: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
        let values: Vec<_> = ids.iter().enumerate().map(|(i, id)| (i as i64 * 10, Some("a"), Some(id.as_str()))).collect();
        run(&mut d, &[Step::Rows(input(&values))]);
        assert!(d.seen.len() <= 1 + 10 + 3 + 1, "{} hashes are kept", d.seen.len());
    }

    #[test]
    fn undisturbed_by_rollbacks_and_restores() {
        for seed in 0..60 {
            let mut r = random(seed);
            let steps: Vec<Step> = (0..12)
                .map(|s| {
                    let texts: Vec<(i64, String, String)> = (0..r(12)).map(|_| (s * 15 + r(60) as i64, r(3).to_string(), r(12).to_string())).collect();
                    Step::Rows(input(&texts.iter().map(|(t, k, id)| (*t, Some(k.as_str()), Some(id.as_str()))).collect::<Vec<_>>()))
                })
                .collect();
            disturb(seed, &steps, true, || Box::new(dedup()));
        }
    }
}
