//! A group as its coordinator keeps it: members, a generation that every change raises, and who owns which task.
//! As with cooperative rebalancing, a task is first revoked and goes to another member only once it was released;
//! a member whose session ended has lost everything at once, and learns of it when it next asks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use ws_stream::log::{Ownership, TaskId};

/// What the coordinator tells a member: the new generation, and what changed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Generation that the member has from now on.
    pub generation: u64,
    /// Change of ownership, if any.
    pub change: Option<Ownership>,
}

#[derive(Debug, Default)]
struct State {
    owned: BTreeSet<TaskId>,
    revoking: BTreeSet<TaskId>,
    inbox: VecDeque<Message>,
    seen_ms: i64,
}

/// One group.
#[derive(Debug, Default)]
pub struct Group {
    tasks: u32,
    generation: u64,
    members: BTreeMap<u64, State>,
    next_member: u64,
}

impl Group {
    /// A member joins a group of `tasks` tasks; answers its number.
    pub fn join(&mut self, tasks: u32, now_ms: i64) -> u64 {
        self.tasks = self.tasks.max(tasks);
        self.next_member += 1;
        self.members.insert(self.next_member, State { seen_ms: now_ms, ..State::default() });
        self.rebalance();
        self.next_member
    }

    /// The member's process said that it is alive; false when its session has ended.
    pub fn heartbeat(&mut self, member: u64, now_ms: i64) -> bool {
        self.members.get_mut(&member).map(|m| m.seen_ms = now_ms).is_some()
    }

    /// Members that were silent for longer than `session_ms` are out. Answers how many.
    pub fn expire(&mut self, now_ms: i64, session_ms: i64) -> usize {
        let before = self.members.len();
        self.members.retain(|_, m| now_ms - m.seen_ms <= session_ms);
        let gone = before - self.members.len();
        if gone > 0 {
            self.rebalance();
        }
        gone
    }

    /// Revoked tasks are free for others.
    pub fn release(&mut self, member: u64, tasks: &[TaskId]) {
        let Some(m) = self.members.get_mut(&member) else {
            return;
        };
        let mut freed = false;
        for t in tasks {
            m.revoking.remove(t);
            freed |= m.owned.remove(t);
        }
        if freed {
            self.rebalance();
        }
    }

    /// A member goes; what it owned is free at once.
    pub fn leave(&mut self, member: u64) {
        if self.members.remove(&member).is_some() {
            self.rebalance();
        }
    }

    /// Is that the member's present generation? Which tasks it owns is *not* asked, as no broker asks it either.
    pub fn accepts(&self, member: u64, generation: u64) -> bool {
        generation == self.generation && self.members.contains_key(&member)
    }

    /// Is the task the member's, by the coordinator's book?
    pub fn owns(&self, member: u64, task: TaskId) -> bool {
        self.members.get(&member).is_some_and(|m| m.owned.contains(&task))
    }

    /// What the member has not been told yet.
    pub fn messages(&mut self, member: u64) -> Vec<Message> {
        self.members.get_mut(&member).map(|m| m.inbox.drain(..).collect()).unwrap_or_default()
    }

    /// Members there are.
    pub fn members(&self) -> impl Iterator<Item = u64> + '_ {
        self.members.keys().copied()
    }

    /// Sticky and even: who has too many gives some up, who has too few gets the free ones.
    fn rebalance(&mut self) {
        self.generation += 1;
        let n = self.members.len() as u32;
        if n == 0 {
            return;
        }
        let (base, extra) = ((self.tasks / n) as usize, (self.tasks % n) as usize);
        let mut order: Vec<u64> = self.members.keys().copied().collect();
        order.sort_by_key(|m| (std::cmp::Reverse(self.members[m].owned.len()), *m));
        let quota: BTreeMap<u64, usize> = order.iter().enumerate().map(|(i, m)| (*m, base + usize::from(i < extra))).collect();
        let owned: BTreeSet<TaskId> = self.members.values().flat_map(|m| m.owned.iter().copied()).collect();
        let mut free: VecDeque<TaskId> = (0..self.tasks).map(TaskId).filter(|t| !owned.contains(t)).collect();
        for (id, m) in &mut self.members {
            let quota = quota[id];
            let mut change = None;
            let kept = m.owned.len() - m.revoking.len();
            if kept > quota {
                let too_many: Vec<TaskId> = m.owned.iter().rev().filter(|t| !m.revoking.contains(t)).take(kept - quota).copied().collect();
                m.revoking.extend(&too_many);
                change = Some(Ownership::Revoked(too_many));
            } else if kept < quota && !free.is_empty() {
                let got: Vec<TaskId> = (0..quota - kept).filter_map(|_| free.pop_front()).collect();
                m.owned.extend(&got);
                change = Some(Ownership::Assigned(got));
            }
            m.inbox.push_back(Message { generation: self.generation, change });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(g: &Group) -> Vec<usize> {
        g.members.values().map(|m| m.owned.len() - m.revoking.len()).collect()
    }

    #[test]
    fn tasks_move_only_after_release_and_at_once_after_a_session_ended() {
        let mut g = Group::default();
        let a = g.join(5, 0);
        let b = g.join(5, 0);
        assert_eq!(owned(&g), [3, 0], "the second waits for what the first gives up");
        let revoked = g.messages(a).into_iter().find_map(|m| match m.change {
            Some(Ownership::Revoked(t)) => Some(t),
            _ => None,
        });
        let revoked = revoked.expect("the first is asked to give up two");
        assert_eq!(revoked.len(), 2);
        g.release(a, &revoked);
        assert_eq!(owned(&g), [3, 2]);
        assert!(g.messages(b).iter().any(|m| m.change
            == Some(Ownership::Assigned({
                let mut r = revoked.clone();
                r.sort();
                r
            }))));
        let generation = g.generation;
        assert!(g.accepts(a, generation));
        g.heartbeat(b, 100);
        assert_eq!(g.expire(100, 50), 1);
        assert_eq!(owned(&g), [5]);
        assert!(!g.accepts(a, generation) && !g.accepts(b, generation), "every change raises the generation");
        assert!(!g.heartbeat(a, 101));
    }
}
