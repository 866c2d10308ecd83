//! Reading: partitions as a consumer fetches them, in pieces of any size and with delays, and the restore of a task.
//! What was fetched before a partition was stopped or moved still arrives afterwards, with the incarnation that it
//! was asked with.

use super::process::Disk;
use super::{Event, Life, Simulation};
use ws_stream::log::{LogError, TaskId, TopicPartition};
use ws_stream::records::{Records, RecordsBuilder};
use ws_stream::worker::Input;

/// A partition being read.
pub(super) struct Reader {
    ticket: u64,
    offset: i64,
    incarnation: u64,
    pub(super) paused: bool,
    planned: bool,
    /// Pieces arrive in order: the newest one's time.
    arrives_ms: i64,
}

/// A task being restored.
pub(super) struct RestoreRun {
    incarnation: u64,
    partitions: Vec<TopicPartition>,
    tables: Vec<TopicPartition>,
    /// The changelog's end after ownership was won; `None` before it was asked for.
    high: Option<i64>,
    position: i64,
    skip_through: u64,
}

impl RestoreRun {
    pub(super) fn new(incarnation: u64, partitions: Vec<TopicPartition>, tables: Vec<TopicPartition>) -> Self {
        RestoreRun { incarnation, partitions, tables, high: None, position: 0, skip_through: 0 }
    }
}

/// Snapshot parts as records.
pub(crate) fn disk_records(disk: &Disk) -> Vec<Records> {
    disk.chunks
        .values()
        .map(|parts| {
            let mut b = RecordsBuilder::default();
            parts.iter().for_each(|p| b.push(0, 0, None, Some(p), &[]));
            b.finish(0)
        })
        .collect()
}

impl Simulation {
    pub(super) fn read_from(&mut self, life: Life, at: TopicPartition, offset: i64, incarnation: u64) {
        self.tickets += 1;
        let ticket = self.tickets;
        self.lives[life].readers.insert(at.clone(), Reader { ticket, offset, incarnation, paused: false, planned: true, arrives_ms: 0 });
        let wait = self.net.range(1, 20);
        self.plan(wait, Event::Fetch(life, at, ticket));
    }

    pub(super) fn resume(&mut self, life: Life, at: &TopicPartition) {
        let Some(r) = self.lives[life].readers.get_mut(at) else {
            return;
        };
        r.paused = false;
        if !std::mem::replace(&mut r.planned, true) {
            let ticket = r.ticket;
            self.plan(1, Event::Fetch(life, at.clone(), ticket));
        }
    }

    pub(super) fn fetch(&mut self, life: Life, at: &TopicPartition, ticket: u64) {
        let rows = if self.pace.chance(0.2) { 1 } else { self.pace.range(1, 40) };
        let delay = if self.net.chance(self.profile.slow_fetch) { self.net.range(50, 500) } else { self.net.range(0, 12) };
        let again = self.pace.range(5, 25);
        let now = self.now_ms;
        let Some(r) = self.lives[life].readers.get_mut(at).filter(|r| r.ticket == ticket) else {
            return;
        };
        if r.paused {
            r.planned = false;
            return;
        }
        let records = match self.broker.partition(at).and_then(|p| p.read(at, r.offset, rows as usize)) {
            Ok(records) => records,
            Err(e) => {
                if matches!(e, LogError::OutOfRange { .. }) && !self.owns(life, TaskId(at.partition)) {
                    // Another owner went on and deleted what it had consumed; the news is still on its way to this one.
                    self.lives[life].readers.remove(at);
                    return self.count("reads behind a purge");
                }
                return self.problem(format!("reading: {e}"));
            }
        };
        let mut wait = again + 15;
        if records.next_offset > r.offset {
            r.offset = records.next_offset;
            r.arrives_ms = r.arrives_ms.max(now + delay);
            wait = again;
            let (incarnation, arrives) = (r.incarnation, r.arrives_ms);
            self.plan_at(arrives, Event::ToWorker(life, Box::new(Input::Records { at: at.clone(), incarnation, records })));
        }
        self.plan(wait, Event::Fetch(life, at.clone(), ticket));
    }

    /// Does the coordinator take this driver for the task's owner?
    fn owns(&mut self, life: Life, task: TaskId) -> bool {
        let (slice, member) = (self.lives[life].slice, self.lives[life].member);
        member.is_some_and(|m| self.broker.group(&self.groups[slice]).owns(m, task))
    }

    /// The next piece of a restore: the changelog's end and a snapshot first, then the changelog up to that end as a
    /// committed reader sees it, then the log's progress.
    pub(super) fn restore_step(&mut self, life: Life, task: TaskId, incarnation: u64) {
        let at = TopicPartition::new(ws_stream::task::changelog_topic(&self.topology(life).name), task.0);
        let Ok(changelog) = self.broker.partition(&at) else {
            return;
        };
        let (start, high) = (changelog.start(), changelog.high());
        let (slot, slice) = (self.lives[life].slot as usize, self.lives[life].slice);
        let place = slot * self.groups.len() + slice;
        let Some(run) = self.lives[life].restores.get_mut(&task).filter(|r| r.incarnation == incarnation) else {
            return;
        };
        let Some(end) = run.high else {
            run.high = Some(high);
            run.position = start;
            if let Some(disk) = self.places[place].disk.get(&task).filter(|d| d.from_offset >= start).cloned() {
                run.position = disk.from_offset;
                run.skip_through = disk.epoch;
                self.count("snapshots loaded");
                for records in disk_records(&disk) {
                    self.step(life, Input::State { task, incarnation, records, skip_through: 0 });
                }
                self.step(life, Input::SnapshotTag { task, incarnation, epoch: disk.epoch, positions: disk.positions });
            }
            return self.restore_again(life, task, incarnation);
        };
        if run.position < end {
            let (from, skip_through, rows) = (run.position, run.skip_through, self.pace.range(1, 60) as usize);
            match changelog.read(&at, from, rows) {
                Ok(records) if records.next_offset > from => {
                    run.position = records.next_offset;
                    self.step(life, Input::State { task, incarnation, records, skip_through });
                }
                Ok(_) => self.count("restores waiting for a transaction"),
                Err(_) => {
                    self.count("restores begun again");
                    self.lives[life].restores.remove(&task);
                    return self.step(life, Input::RestoreAgain { task, incarnation });
                }
            }
            return self.restore_again(life, task, incarnation);
        }
        let Some(progress) = self.broker.progress(&self.groups[slice], &[task]) else {
            self.count("restores waiting for progress");
            return self.restore_again(life, task, incarnation);
        };
        let start_of = |at: &TopicPartition| self.broker.partition(at).map_or(0, |p| p.start());
        let end_of = |at: &TopicPartition| self.broker.partition(at).map_or(0, |p| p.stable());
        let starts = run.partitions.iter().chain(&run.tables).map(|at| (at.clone(), start_of(at))).collect();
        let table_ends = run.tables.iter().map(|at| (at.clone(), end_of(at))).collect();
        self.lives[life].restores.remove(&task);
        self.count("restores done");
        self.step(life, Input::Restored { task, incarnation, committed: progress.first().map_or(0, |p| p.number), starts, table_ends });
    }

    fn restore_again(&mut self, life: Life, task: TaskId, incarnation: u64) {
        let wait = if self.net.chance(self.profile.slow_fetch) { self.net.range(50, 400) } else { self.net.range(2, 20) };
        self.plan(wait, Event::Restore(life, task, incarnation));
    }
}
