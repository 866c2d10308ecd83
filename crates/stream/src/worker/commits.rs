//! The commit machine: one transaction in flight, and what its end means for every task in it.

use super::*;

impl Worker {
    pub(super) fn maybe_commit(&mut self, now_ms: i64) {
        if !matches!(self.commit, Commit::Idle) {
            return;
        }
        let early = self.retries == 0 && self.slots.values().any(|s| s.task.open_bytes() >= self.options.epoch_bytes);
        if now_ms < self.next_commit_ms && !early && !(self.stopping && self.retries == 0) {
            return;
        }
        let mut set = EpochSet { losses: 0, id: self.next_id, epochs: Vec::new() };
        let mut failed = Vec::new();
        for (id, slot) in self.slots.iter_mut().filter(|(_, s)| !matches!(s.phase, Phase::Restoring) && !s.revoked) {
            match slot.task.close(slot.incarnation, now_ms) {
                Ok(Some(epoch)) => {
                    slot.in_flight = true;
                    set.epochs.push(epoch);
                }
                Ok(None) => {}
                Err(e) => failed.push((*id, e.to_string())),
            }
        }
        for (id, error) in failed {
            self.stop(id, error);
        }
        if set.epochs.is_empty() {
            // Looking for something to commit is not free; once an interval is enough.
            self.next_commit_ms = self.next_commit_ms.max(now_ms.saturating_add(self.options.commit_interval_ms));
            return;
        }
        self.next_id += 1;
        self.next_commit_ms = now_ms.saturating_add(self.options.commit_interval_ms);
        let tasks = set.epochs.iter().map(|e| (e.task, (e.incarnation, e.number))).collect();
        self.commit = Commit::InFlight { id: set.id, tasks };
        self.effects.push(Effect::Commit(set));
    }

    pub(super) fn outcome(&mut self, now_ms: i64, id: u64, outcome: Outcome) {
        let tasks = match std::mem::replace(&mut self.commit, Commit::Idle) {
            Commit::InFlight { id: i, tasks } if i == id => tasks,
            other => {
                self.commit = other;
                return;
            }
        };
        match outcome {
            Outcome::Committed => {
                self.retries = 0;
                for (task, (incarnation, _)) in tasks {
                    self.task_committed(now_ms, task, incarnation, true);
                }
            }
            Outcome::Aborted(_) => {
                self.back_off(now_ms);
                for (task, (incarnation, _)) in tasks {
                    self.task_aborted(now_ms, task, incarnation);
                }
            }
            Outcome::Unknown(_) if self.planted.trust_unknown => {
                for (task, (incarnation, _)) in tasks {
                    self.task_committed(now_ms, task, incarnation, true);
                }
            }
            Outcome::Unknown(_) => {
                self.effects.push(Effect::Resolve(tasks.keys().copied().collect()));
                self.commit = Commit::Resolving { tasks };
            }
        }
    }

    pub(super) fn back_off(&mut self, now_ms: i64) {
        let wait = self.options.retry_ms.saturating_mul(1 << self.retries.min(16)).min(self.options.retry_max_ms);
        self.retries += 1;
        self.next_commit_ms = now_ms.saturating_add(wait);
    }

    pub(super) fn resolved(&mut self, now_ms: i64, progress: &[Progress]) {
        let tasks = match std::mem::replace(&mut self.commit, Commit::Idle) {
            Commit::Resolving { tasks } => tasks,
            other => {
                self.commit = other;
                return;
            }
        };
        self.back_off(now_ms);
        for (task, (incarnation, number)) in tasks {
            let found = progress.iter().find(|p| p.task == task).map_or(0, |p| p.number);
            if found == number {
                self.task_committed(now_ms, task, incarnation, false);
            } else if found + 1 == number {
                self.task_aborted(now_ms, task, incarnation);
            } else if self.slots.get(&task).is_some_and(|s| s.incarnation == incarnation) {
                self.stop(
                    task,
                    format!("after an undetermined commit of epoch {number} the log holds epoch {found}: another owner went on; this task is dropped here"),
                );
            }
        }
    }

    /// `told`: the log said so of this very commit. Found out by reading progress back, the epoch may also be another
    /// owner's of the same number, if this task was lost and the news is still on its way; then nothing here can commit
    /// any more, but a snapshot or a truncation now would outlive the mistake. Both wait for the next commit.
    pub(super) fn task_committed(&mut self, now_ms: i64, id: TaskId, incarnation: u64, told: bool) {
        let Some(slot) = self.slots.get_mut(&id).filter(|s| s.incarnation == incarnation) else { return };
        slot.in_flight = false;
        slot.task.committed();
        if told && let Some(before) = slot.task.take_truncation() {
            self.effects.push(Effect::Truncate { task: id, before });
        }
        if slot.revoked {
            return self.release(id);
        }
        let interval = self.options.purge_interval_ms;
        if told && interval > 0 && now_ms >= slot.purge_at_ms {
            slot.purge_at_ms = now_ms.saturating_add(interval);
            self.effects.extend(slot.task.consumed().into_iter().map(|(at, before)| Effect::Purge { at, before }));
        }
        let interval = self.options.snapshot_interval_ms;
        if told
            && interval > 0
            && now_ms >= slot.snapshot_at_ms
            && let Some(from_offset) = slot.mark.take()
        {
            slot.snapshot_at_ms = now_ms.saturating_add(interval);
            match slot.task.snapshot() {
                Ok(snapshot) => {
                    let positions = slot.task.committed_positions();
                    self.effects.push(Effect::Snapshot { task: id, from_offset, positions, snapshot });
                }
                Err(e) => return self.stop(id, e.to_string()),
            }
        }
        self.after(id, Ok(()));
    }

    pub(super) fn task_aborted(&mut self, now_ms: i64, id: TaskId, incarnation: u64) {
        if self.slots.get(&id).is_none_or(|s| s.incarnation != incarnation) {
            return;
        }
        let renewed = self.incarnation();
        let (keep_state, no_rewind) = (self.planted.keep_state_on_abort, self.planted.no_rewind);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.in_flight = false;
        if slot.revoked {
            return self.release(id);
        }
        let positions: Vec<_> = slot.task.partitions().into_iter().map(|at| (slot.task.position(&at), at)).collect();
        let result = if keep_state { slot.task.rollback_positions_only(now_ms) } else { slot.task.rollback(now_ms) };
        if no_rewind {
            for (p, at) in positions {
                if let Some(p) = p {
                    slot.task.force_position(&at, p);
                }
            }
        } else {
            slot.incarnation = renewed;
            slot.paused.clear();
            slot.asked.clear();
            slot.mark = None;
            slot.mark_wanted = false;
            let reads = slot.read();
            self.effects.extend(reads);
        }
        self.after(id, result);
    }

    pub(super) fn release(&mut self, id: TaskId) {
        self.slots.remove(&id);
        self.effects.push(Effect::Release(vec![id]));
    }

    pub(super) fn maybe_finish(&mut self) {
        if !self.stopping || !matches!(self.commit, Commit::Idle) {
            return;
        }
        // The last commit was offered above and nothing was left to commit: what async stages hold is state.
        let tasks: Vec<TaskId> = self.slots.keys().copied().collect();
        for t in &tasks {
            self.drop_task(*t);
        }
        self.effects.push(Effect::Finished);
        self.finished = true;
    }
}
