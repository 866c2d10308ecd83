//! Transactions. An identity has a producer epoch; opening it again raises the epoch at once, which refuses every
//! later request of the older one, and aborts what that one left open. Ending decides first; the markers in the
//! partitions and in the group's offsets follow one by one, and until the last is there the identity is busy.

use super::{Broker, EpochOffsets};
use std::collections::BTreeSet;
use ws_stream::log::{LogError, TopicPartition};
use ws_stream::records::Appends;

/// Where a marker is still missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkerAt {
    /// In a partition.
    Partition(TopicPartition),
    /// In a group's offsets.
    Offsets(String),
}

/// Why a transactional request was refused.
#[derive(Clone, Debug)]
pub enum TxnError {
    /// The identity was opened by another, or its transaction timed out.
    Fenced,
    /// The transaction before is not complete yet: ask again.
    Busy,
    /// The group has another generation, or the member is not part of it.
    StaleGeneration,
    /// There is no transaction to end.
    NoTransaction,
    /// A target does not exist.
    Target(LogError),
}

impl std::fmt::Display for TxnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TxnError::Fenced => f.write_str("the producer epoch is no longer valid"),
            TxnError::Busy => f.write_str("the transaction before is not complete yet"),
            TxnError::StaleGeneration => f.write_str("the group has another generation"),
            TxnError::NoTransaction => f.write_str("no transaction is open"),
            TxnError::Target(e) => e.fmt(f),
        }
    }
}

/// Who sends a transactional request, and which one of its producer epoch it is, from 1.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Transactional identity.
    pub id: &'a str,
    /// Producer epoch.
    pub epoch: u32,
    /// Number of the request: a repeated or overtaken one is not applied again.
    pub step: u32,
}

#[derive(Debug)]
enum State {
    Open,
    Ending { commit: bool, left: BTreeSet<MarkerAt> },
}

#[derive(Debug)]
struct Txn {
    number: u64,
    began_ms: i64,
    touched: BTreeSet<MarkerAt>,
    state: State,
}

/// A transactional identity.
#[derive(Debug, Default)]
pub(super) struct Producer {
    epoch: u32,
    txn: Option<Txn>,
    /// Newest request applied in this producer epoch, so that a repeated or overtaken one is not applied again
    /// (sequence numbers of a Kafka producer).
    applied: u32,
    /// How the last transaction ended, for a repeated request to end it.
    last: Option<bool>,
}

impl Broker {
    /// Opens an identity: fences whoever held it, ends what was left open. `Busy` until that is complete; then the
    /// new producer epoch.
    pub fn init(&mut self, id: &str) -> Result<u32, TxnError> {
        let p = self.producers.entry(id.to_string()).or_default();
        match &mut p.txn {
            None => {
                p.epoch += 1;
                (p.last, p.applied) = (None, 0);
                Ok(p.epoch)
            }
            Some(t) => {
                if matches!(t.state, State::Open) {
                    p.epoch += 1;
                    t.end(false);
                    p.clean();
                }
                Err(TxnError::Busy)
            }
        }
    }

    /// The transaction that request `step` belongs to, begun if none is open; `None` if the request was applied before.
    fn ongoing(&mut self, from: Sender<'_>, now_ms: i64) -> Result<Option<&mut Txn>, TxnError> {
        let Sender { id, epoch, step } = from;
        let next = self.txns + 1;
        let p = self.producers.get_mut(id).filter(|p| p.epoch == epoch).ok_or(TxnError::Fenced)?;
        if step <= p.applied {
            return Ok(None);
        }
        if p.txn.as_ref().is_some_and(|t| !matches!(t.state, State::Open)) {
            return Err(TxnError::Busy);
        }
        if p.txn.is_none() {
            self.txns = next;
            p.last = None;
        }
        p.applied = step;
        Ok(Some(p.txn.get_or_insert_with(|| Txn { number: next, began_ms: now_ms, touched: BTreeSet::new(), state: State::Open })))
    }

    /// Appends within the identity's transaction, beginning one if none is open.
    pub fn append_txn(&mut self, from: Sender<'_>, appends: &[Appends], now_ms: i64) -> Result<(), TxnError> {
        self.check_targets(appends).map_err(TxnError::Target)?;
        let Some(txn) = self.ongoing(from, now_ms)? else {
            return Ok(());
        };
        for a in appends {
            txn.touched.extend(a.rows.iter().map(|r| MarkerAt::Partition(TopicPartition::new(a.topic.clone(), r.partition))));
        }
        let number = txn.number;
        self.write(appends, number);
        Ok(())
    }

    /// Adds group offsets to the transaction. The generation is checked, ownership is not.
    pub fn offsets_txn(
        &mut self,
        from: Sender<'_>,
        group: &str,
        (member, generation): (u64, u64),
        epochs: &[EpochOffsets],
        now_ms: i64,
    ) -> Result<(), TxnError> {
        if !self.group(group).accepts(member, generation) {
            return Err(TxnError::StaleGeneration);
        }
        let Some(txn) = self.ongoing(from, now_ms)? else {
            return Ok(());
        };
        txn.touched.insert(MarkerAt::Offsets(group.to_string()));
        let number = txn.number;
        self.offsets.entry(group.to_string()).or_default().pending.insert(number, epochs.to_vec());
        Ok(())
    }

    /// Decides the transaction. A repeated request with the same decision is answered as the first was.
    pub fn end(&mut self, id: &str, epoch: u32, commit: bool) -> Result<(), TxnError> {
        let p = self.producers.get_mut(id).filter(|p| p.epoch == epoch).ok_or(TxnError::Fenced)?;
        match &mut p.txn {
            Some(t) => match t.state {
                State::Open => {
                    t.end(commit);
                    p.last = Some(commit);
                    p.clean();
                    Ok(())
                }
                State::Ending { commit: c, .. } if c == commit => Ok(()),
                State::Ending { .. } => Err(TxnError::Busy),
            },
            None if p.last == Some(commit) => Ok(()),
            None => Err(TxnError::NoTransaction),
        }
    }

    /// Transactions open for longer than `timeout_ms` are aborted, and their producer epoch is raised. Answers how many.
    pub fn time_out(&mut self, now_ms: i64, timeout_ms: i64) -> usize {
        let mut ended = 0;
        for p in self.producers.values_mut() {
            if let Some(t) = p.txn.as_mut().filter(|t| matches!(t.state, State::Open) && now_ms - t.began_ms > timeout_ms) {
                p.epoch += 1;
                t.end(false);
                p.clean();
                ended += 1;
            }
        }
        ended
    }

    /// Markers still to be written, by identity.
    pub fn markers(&self) -> Vec<(String, MarkerAt)> {
        let left = |(id, p): (&String, &Producer)| match p.txn.as_ref().map(|t| &t.state) {
            Some(State::Ending { left, .. }) => left.iter().map(|m| (id.clone(), m.clone())).collect(),
            _ => Vec::new(),
        };
        self.producers.iter().flat_map(left).collect()
    }

    /// Writes one marker; the last one completes the transaction.
    pub fn mark(&mut self, id: &str, at: &MarkerAt) {
        let Some(p) = self.producers.get_mut(id) else {
            return;
        };
        let Some(Txn { number, state: State::Ending { commit, left }, .. }) = &mut p.txn else {
            return;
        };
        let (number, commit) = (*number, *commit);
        if !left.remove(at) {
            return;
        }
        if left.is_empty() {
            p.txn = None;
        }
        match at {
            MarkerAt::Partition(at) => {
                if let Ok(partition) = self.partition_mut(at) {
                    partition.mark(number, commit);
                }
            }
            MarkerAt::Offsets(group) => {
                let offsets = self.offsets.entry(group.clone()).or_default();
                for e in offsets.pending.remove(&number).filter(|_| commit).unwrap_or_default() {
                    offsets.numbers.insert(e.task, e.number);
                    offsets.positions.extend(e.positions);
                }
            }
        }
    }

    /// Writes every marker that is missing.
    pub fn settle(&mut self) {
        for (id, at) in self.markers() {
            self.mark(&id, &at);
        }
    }
}

impl Txn {
    fn end(&mut self, commit: bool) {
        self.state = State::Ending { commit, left: self.touched.clone() };
    }
}

impl Producer {
    /// A transaction that touched nothing has no markers to wait for.
    fn clean(&mut self) {
        if matches!(&self.txn, Some(Txn { state: State::Ending { left, .. }, .. }) if left.is_empty()) {
            self.txn = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ws_stream::log::{TaskId, TopicSpec};

    fn broker() -> (Broker, TopicPartition, u64) {
        let mut b = Broker::default();
        b.create(&TopicSpec { name: "out".into(), partitions: 1, config: vec![] });
        let member = b.group("g").join(1, 0);
        (b, TopicPartition::new("out", 0), member)
    }
    fn rows(text: &str) -> Vec<Appends> {
        let mut a = Appends::new("out".into());
        a.push(0, 1, None, Some(text.as_bytes()), &[]);
        vec![a]
    }
    fn visible(b: &Broker, at: &TopicPartition) -> usize {
        b.partition(at).expect("exists").visible(0, 99).0.len()
    }
    fn offsets(number: u64) -> Vec<EpochOffsets> {
        vec![EpochOffsets { task: TaskId(0), number, positions: vec![] }]
    }

    #[test]
    fn a_delayed_end_is_refused_once_the_identity_was_opened_again() {
        let (mut b, at, member) = broker();
        let epoch = b.init("t").expect("first");
        b.append_txn(Sender { id: "t", epoch, step: 1 }, &rows("x"), 0).expect("append");
        b.offsets_txn(Sender { id: "t", epoch, step: 2 }, "g", (member, 1), &offsets(1), 0).expect("offsets");
        assert!(b.progress("g", &[TaskId(0)]).is_none(), "undecided progress is not told");
        assert!(matches!(b.init("t"), Err(TxnError::Busy)));
        assert!(matches!(b.end("t", epoch, true), Err(TxnError::Fenced)), "the delayed end comes too late");
        b.settle();
        b.init("t").expect("complete now");
        assert_eq!(visible(&b, &at), 0);
        assert_eq!(b.progress("g", &[TaskId(0)]).expect("decided")[0].number, 0);
    }

    #[test]
    fn markers_make_each_part_visible_by_itself_and_keep_the_identity_busy() {
        let (mut b, at, member) = broker();
        let epoch = b.init("t").expect("first");
        b.append_txn(Sender { id: "t", epoch, step: 1 }, &rows("x"), 0).expect("append");
        b.append_txn(Sender { id: "t", epoch, step: 1 }, &rows("x"), 0).expect("the repeated request is answered");
        b.offsets_txn(Sender { id: "t", epoch, step: 2 }, "g", (member, 1), &offsets(1), 0).expect("offsets");
        b.end("t", epoch, true).expect("decided");
        b.end("t", epoch, true).expect("a repeated end is answered as the first");
        assert_eq!(visible(&b, &at), 0);
        b.mark("t", &MarkerAt::Partition(at.clone()));
        assert_eq!(visible(&b, &at), 1, "applied once");
        assert!(b.progress("g", &[TaskId(0)]).is_none());
        assert!(matches!(b.append_txn(Sender { id: "t", epoch, step: 3 }, &rows("y"), 0), Err(TxnError::Busy)));
        b.mark("t", &MarkerAt::Offsets("g".into()));
        assert_eq!(b.progress("g", &[TaskId(0)]).expect("decided")[0].number, 1);
        b.append_txn(Sender { id: "t", epoch, step: 3 }, &rows("y"), 0).expect("the next transaction");
    }

    #[test]
    fn a_timeout_fences_and_a_stale_generation_is_refused() {
        let (mut b, at, member) = broker();
        let epoch = b.init("t").expect("first");
        b.append_txn(Sender { id: "t", epoch, step: 1 }, &rows("x"), 0).expect("append");
        assert_eq!(b.time_out(50, 100), 0);
        assert_eq!(b.time_out(101, 100), 1);
        b.settle();
        assert!(matches!(b.end("t", epoch, true), Err(TxnError::Fenced)));
        assert_eq!(visible(&b, &at), 0);
        let epoch = b.init("t").expect("again");
        b.group("g").join(1, 0);
        assert!(matches!(b.offsets_txn(Sender { id: "t", epoch, step: 2 }, "g", (member, 1), &offsets(1), 0), Err(TxnError::StaleGeneration)));
        b.offsets_txn(Sender { id: "t", epoch, step: 2 }, "g", (member, 2), &offsets(1), 0).expect("the present generation");
    }

    /// Why an undetermined end must open the identity again: without that, a delayed end hits the next transaction.
    #[test]
    fn a_delayed_end_would_end_a_later_transaction_of_the_same_epoch() {
        let (mut b, at, _) = broker();
        let epoch = b.init("t").expect("first");
        b.append_txn(Sender { id: "t", epoch, step: 1 }, &rows("x"), 0).expect("append");
        b.end("t", epoch, false).expect("aborted");
        b.settle();
        b.append_txn(Sender { id: "t", epoch, step: 2 }, &rows("half"), 0).expect("append");
        b.end("t", epoch, true).expect("the delayed end of the first");
        b.settle();
        assert_eq!(visible(&b, &at), 1);
    }
}
