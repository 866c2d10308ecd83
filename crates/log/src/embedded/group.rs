//! Sharing a topology's tasks among the members within this process: Kafka's cooperative hand-over in small. A task
//! that is to move is revoked from its owner first and assigned to the next one only when the owner has released it.

use std::collections::{BTreeMap, VecDeque};
use ws_stream::log::{Ownership, TaskId};

/// All groups of a log, by name.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<String, Group>,
    next_member: u64,
}

#[derive(Debug, Default)]
struct Group {
    members: Vec<Member>,
    /// By task.
    tasks: Vec<Task>,
}

#[derive(Debug)]
struct Member {
    id: u64,
    slot: u32,
    /// A newer member took the slot over: it owns nothing any more, and only hears so.
    evicted: bool,
    news: VecDeque<Ownership>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Task {
    owner: Option<u64>,
    revoking: bool,
}

impl Groups {
    /// Adds a member and shares the tasks anew. A live member of the same slot loses everything at once: the slot's
    /// newer holder is the true one. Fails with the group's task count if that is another one.
    pub fn join(&mut self, name: &str, slot: u32, tasks: u32) -> Result<u64, u32> {
        let group = self.groups.entry(name.to_owned()).or_default();
        if group.members.iter().any(|m| !m.evicted) {
            if group.tasks.len() != tasks as usize {
                return Err(group.tasks.len() as u32);
            }
        } else {
            group.tasks = vec![Task::default(); tasks as usize];
        }
        group.evict(slot);
        self.next_member += 1;
        let id = self.next_member;
        group.members.push(Member { id, slot, evicted: false, news: VecDeque::new() });
        group.share();
        Ok(id)
    }

    /// What changed for a member since it last asked.
    pub fn news(&mut self, name: &str, member: u64) -> Vec<Ownership> {
        let found = self.groups.get_mut(name).and_then(|g| g.members.iter_mut().find(|m| m.id == member));
        found.map(|m| m.news.drain(..).collect()).unwrap_or_default()
    }

    /// Whether the member may commit the task: it owns it and has not released it yet.
    pub fn owns(&self, name: &str, member: u64, task: TaskId) -> bool {
        let task = self.groups.get(name).and_then(|g| g.tasks.get(task.0 as usize));
        task.is_some_and(|t| t.owner == Some(member))
    }

    /// The member has finished with revoked tasks.
    pub fn release(&mut self, name: &str, member: u64, tasks: &[TaskId]) {
        if let Some(group) = self.groups.get_mut(name) {
            for t in tasks {
                if let Some(task) = group.tasks.get_mut(t.0 as usize).filter(|t| t.owner == Some(member) && t.revoking) {
                    *task = Task::default();
                }
            }
            group.share();
        }
    }

    /// The member is gone; leaving twice is no harm.
    pub fn leave(&mut self, name: &str, member: u64) {
        if let Some(group) = self.groups.get_mut(name) {
            group.members.retain(|m| m.id != member);
            group.tasks.iter_mut().filter(|t| t.owner == Some(member)).for_each(|t| *t = Task::default());
            group.share();
            if group.members.is_empty() {
                self.groups.remove(name);
            }
        }
    }
}

impl Group {
    fn evict(&mut self, slot: u32) {
        for member in self.members.iter_mut().filter(|m| m.slot == slot && !m.evicted) {
            member.evicted = true;
            member.news.clear();
            let mut lost = Vec::new();
            for (i, task) in self.tasks.iter_mut().enumerate().filter(|(_, t)| t.owner == Some(member.id)) {
                *task = Task::default();
                lost.push(TaskId(i as u32));
            }
            if !lost.is_empty() {
                member.news.push_back(Ownership::Lost(lost));
            }
        }
    }

    /// Gives free tasks away and asks for what some members have too much of; everybody keeps what they can.
    fn share(&mut self) {
        let kept = |tasks: &[Task], id| tasks.iter().filter(|t| t.owner == Some(id) && !t.revoking).count();
        let mut live: Vec<usize> = (0..self.members.len()).filter(|i| !self.members[*i].evicted).collect();
        if live.is_empty() {
            return;
        }
        // Whoever owns more now is first to get one more than the others, then the lower slot.
        live.sort_by_key(|i| (usize::MAX - kept(&self.tasks, self.members[*i].id), self.members[*i].slot));
        let (each, more) = (self.tasks.len() / live.len(), self.tasks.len() % live.len());
        for (rank, i) in live.into_iter().enumerate() {
            let member = &mut self.members[i];
            let quota = each + usize::from(rank < more);
            let have = kept(&self.tasks, member.id);
            let mut revoked = Vec::new();
            let mut assigned = Vec::new();
            for (n, task) in self.tasks.iter_mut().enumerate().rev() {
                if have - revoked.len() > quota && task.owner == Some(member.id) && !task.revoking {
                    task.revoking = true;
                    revoked.push(TaskId(n as u32));
                }
            }
            for (n, task) in self.tasks.iter_mut().enumerate() {
                if have + assigned.len() < quota && task.owner.is_none() {
                    task.owner = Some(member.id);
                    assigned.push(TaskId(n as u32));
                }
            }
            revoked.reverse();
            if !revoked.is_empty() {
                member.news.push_back(Ownership::Revoked(revoked));
            }
            if !assigned.is_empty() {
                member.news.push_back(Ownership::Assigned(assigned));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(ids: &[u32]) -> Vec<TaskId> {
        ids.iter().copied().map(TaskId).collect()
    }

    #[test]
    fn a_task_moves_only_when_released() {
        let mut g = Groups::default();
        let a = g.join("g", 0, 3).unwrap();
        assert_eq!(g.news("g", a), [Ownership::Assigned(tasks(&[0, 1, 2]))]);
        let b = g.join("g", 1, 3).unwrap();
        assert_eq!(g.news("g", a), [Ownership::Revoked(tasks(&[2]))]);
        assert_eq!(g.news("g", b), []);
        assert!(g.owns("g", a, TaskId(2)), "until it is released the owner may finish");
        g.release("g", a, &tasks(&[2, 1]));
        assert!(g.owns("g", a, TaskId(1)), "a task that was not revoked cannot be released");
        assert_eq!(g.news("g", b), [Ownership::Assigned(tasks(&[2]))]);
        g.leave("g", a);
        assert_eq!(g.news("g", b), [Ownership::Assigned(tasks(&[0, 1]))]);
    }

    #[test]
    fn the_newer_holder_of_a_slot_takes_everything() {
        let mut g = Groups::default();
        let old = g.join("g", 0, 2).unwrap();
        g.news("g", old);
        let new = g.join("g", 0, 2).unwrap();
        assert_eq!(g.news("g", old), [Ownership::Lost(tasks(&[0, 1]))]);
        assert_eq!(g.news("g", new), [Ownership::Assigned(tasks(&[0, 1]))]);
        g.leave("g", old);
        assert!(g.owns("g", new, TaskId(0)) && !g.owns("g", old, TaskId(0)));
    }

    #[test]
    fn a_group_keeps_its_task_count_while_it_lives() {
        let mut g = Groups::default();
        let a = g.join("g", 0, 2).unwrap();
        assert_eq!(g.join("g", 1, 3), Err(2));
        g.leave("g", a);
        assert!(g.join("g", 1, 3).is_ok(), "with nobody left it may change");
    }

    #[test]
    fn any_coming_and_going_ends_even_with_one_owner_per_task() {
        let mut g = Groups::default();
        let mut live: Vec<(u64, Vec<TaskId>)> = Vec::new();
        for round in 0..200u32 {
            if live.len() < 2 || round * 7 % 5 < 3 {
                let id = g.join("g", round, 7).unwrap();
                live.push((id, Vec::new()));
            } else {
                let (id, _) = live.remove(round as usize % live.len());
                g.leave("g", id);
            }
            for _ in 0..3 {
                for (id, owned) in &mut live {
                    for news in g.news("g", *id) {
                        match news {
                            Ownership::Assigned(t) => owned.extend(t),
                            Ownership::Revoked(t) => {
                                owned.retain(|o| !t.contains(o));
                                g.release("g", *id, &t);
                            }
                            Ownership::Lost(_) => panic!("nobody took a slot over"),
                        }
                    }
                }
            }
            let mut all: Vec<TaskId> = live.iter().flat_map(|(_, o)| o.clone()).collect();
            all.sort();
            assert_eq!(all, tasks(&[0, 1, 2, 3, 4, 5, 6]), "round {round}");
            let counts: Vec<usize> = live.iter().map(|(_, o)| o.len()).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "round {round}: {counts:?}");
        }
    }
}
