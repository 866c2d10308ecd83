//! Which faults a run has, when they strike, and the group's messages with their delays. Each seed draws its own mix:
//! some runs have every fault, some only a few, some none of a kind, so that no fault always hides another.

use super::{Event, Life, Simulation};
use crate::broker::Message;
use crate::rng::Rng;
use ws_stream::log::Ownership;
use ws_stream::worker::{Input, WorkerOptions};

/// The faults of a run as probabilities, and the shape of its processes.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Processes, each with a slot of its own.
    pub processes: u32,
    /// A request or its reply gets lost (others than the end of a transaction).
    pub request_lost: f64,
    /// The request that commits gets lost.
    pub end_lost: f64,
    /// Its reply gets lost.
    pub end_reply_lost: f64,
    /// It arrives after its sender has given up.
    pub end_late: f64,
    /// The broker refuses a part of a transaction.
    pub refused: f64,
    /// A predictor fails, is late, or never answers.
    pub predictor: f64,
    /// A fetch takes up to half a second.
    pub slow_fetch: f64,
    /// Handing a commit to the committing thread takes up to 1.2 s.
    pub slow_handover: f64,
    /// A planted defect of the committer: it asks whether tasks are owned now, not whether they were lost meanwhile.
    pub forgetful_committer: bool,
    /// A planted defect: watermarks for later slices are written outside of the transaction of their epoch.
    pub control_outside: bool,
    /// Weights of kill, stall, cut from the coordinator, twin with the same identity, clean shutdown.
    pub strikes: [u64; 5],
    /// Mean time between strikes, ms.
    pub every_ms: i64,
    /// Small limits, so that inputs pause and epochs close early.
    pub tight: bool,
    /// Snapshots are taken this often, ms; 0: never.
    pub snapshot_ms: i64,
}

impl Profile {
    /// No faults at all.
    pub fn calm() -> Profile {
        Profile {
            processes: 1,
            request_lost: 0.0,
            end_lost: 0.0,
            end_reply_lost: 0.0,
            end_late: 0.0,
            refused: 0.0,
            predictor: 0.0,
            slow_fetch: 0.0,
            slow_handover: 0.0,
            forgetful_committer: false,
            control_outside: false,
            strikes: [0; 5],
            every_ms: 1_000,
            tight: false,
            snapshot_ms: 0,
        }
    }

    /// The mix of a seed.
    pub fn of(seed: u64) -> Profile {
        let mut r = Rng::derive(seed, "profile");
        let mut maybe = |p: f64, high: f64| if r.chance(p) { r.unit() * high } else { 0.0 };
        let (request_lost, end_lost, end_reply_lost) = (maybe(0.6, 0.03), maybe(0.7, 0.1), maybe(0.7, 0.1));
        let (end_late, refused, predictor, slow_fetch) = (maybe(0.6, 0.1), maybe(0.6, 0.05), maybe(0.7, 0.2), maybe(0.7, 0.3));
        let mut weight = |p: f64| if r.chance(p) { 1 + r.below(4) } else { 0 };
        let strikes = [weight(0.8), weight(0.6), weight(0.6), weight(0.4), weight(0.4)];
        Profile {
            processes: 1 + r.below(3) as u32,
            request_lost,
            end_lost,
            end_reply_lost,
            end_late,
            refused,
            predictor,
            slow_fetch,
            slow_handover: 0.03,
            forgetful_committer: false,
            control_outside: false,
            strikes,
            every_ms: r.range(300, 2_500),
            tight: r.chance(0.4),
            snapshot_ms: if r.chance(0.7) { r.range(200, 1_500) } else { 0 },
        }
    }

    pub(super) fn worker_options(&self) -> WorkerOptions {
        let mut o = WorkerOptions {
            commit_interval_ms: 100,
            retry_ms: 20,
            retry_max_ms: 400,
            snapshot_interval_ms: self.snapshot_ms,
            purge_interval_ms: 700,
            ..WorkerOptions::default()
        };
        if self.tight {
            o.epoch_bytes = 3_000;
            o.pause_bytes = 6_000;
            o.pause_pending_rows = 12;
        }
        o
    }
}

impl Simulation {
    pub(super) fn chaos_over(&self) -> bool {
        self.now_ms > self.last_feed_ms
    }

    /// Strikes, and plans the next strike.
    pub(super) fn chaos(&mut self) {
        let total: u64 = self.profile.strikes.iter().sum();
        if self.chaos_over() || total == 0 {
            return;
        }
        let wait = self.chaos.range(self.profile.every_ms / 4, 2 * self.profile.every_ms);
        self.plan(wait, Event::Chaos);
        let alive: Vec<Life> = (0..self.lives.len()).filter(|l| self.lives[*l].alive).collect();
        let Some(life) = self.chaos.pick(&alive).copied() else {
            return;
        };
        let mut roll = self.chaos.below(total);
        let kind = self.profile.strikes.iter().position(|w| {
            let hit = roll < *w;
            roll = roll.saturating_sub(*w);
            hit
        });
        match kind {
            Some(0) => self.kill(life),
            Some(1) => {
                self.fault("process stalled");
                let until = self.now_ms + self.chaos.range(50, 3_500);
                for l in self.drivers(self.lives[life].body) {
                    self.lives[l].stalled_until_ms = until;
                }
            }
            Some(2) => {
                self.fault("cut from the group");
                let until = self.now_ms + self.chaos.range(200, 4_000);
                self.lives[life].cut_until_ms = until;
            }
            Some(3) => {
                let slot = self.lives[life].slot;
                let slice = self.lives[life].slice;
                if self.place(slot, slice).current == Some(life) {
                    self.fault("twin with the same identity");
                    self.start(slot);
                    let wait = self.chaos.range(300, 3_000);
                    self.plan(wait, Event::Kill(life));
                }
            }
            _ => {
                for l in self.drivers(self.lives[life].body) {
                    self.plan(0, Event::ToWorker(l, Box::new(Input::Shutdown)));
                }
            }
        }
    }

    /// Messages of the coordinator arrive in order; while cut off, none does.
    fn link(&mut self, life: Life) -> i64 {
        let delay = self.net.range(1, 25);
        let p = &mut self.lives[life];
        p.link_ms = p.link_ms.max(self.now_ms.max(p.cut_until_ms) + delay);
        p.link_ms
    }

    pub(super) fn join(&mut self, life: Life) {
        let cut = self.lives[life].cut_until_ms - self.now_ms;
        if cut > 0 {
            return self.plan(cut + 1, Event::Join(life));
        }
        let (slice, now) = (self.lives[life].slice, self.now_ms);
        let member = self.broker.group(&self.groups[slice]).join(self.scenario.slices[slice].tasks, now);
        self.members.insert((slice, member), life);
        let at = self.link(life);
        self.plan_at(at, Event::Joined(life, member));
        self.tell_members(slice);
    }

    /// Sends what the coordinator has for its members.
    pub(super) fn tell_members(&mut self, slice: usize) {
        let members: Vec<u64> = self.broker.group(&self.groups[slice]).members().collect();
        for member in members {
            for message in self.broker.group(&self.groups[slice]).messages(member) {
                if let Some(life) = self.members.get(&(slice, member)).copied() {
                    let at = self.link(life);
                    self.plan_at(at, Event::Group(life, member, message));
                }
            }
        }
    }

    pub(super) fn heartbeat(&mut self, life: Life) {
        let wait = self.pace.range(150, 250);
        self.plan(wait, Event::Heartbeat(life));
        let p = &self.lives[life];
        let Some(member) = p.member.filter(|_| p.cut_until_ms <= self.now_ms) else {
            return;
        };
        let (now, slice) = (self.now_ms, p.slice);
        if !self.broker.group(&self.groups[slice]).heartbeat(member, now) {
            let at = self.link(life);
            self.plan_at(at, Event::SessionLost(life, member));
        }
    }

    pub(super) fn group_message(&mut self, life: Life, member: u64, message: Message) {
        let p = &mut self.lives[life];
        if p.member != Some(member) {
            return;
        }
        p.generation = message.generation;
        if let Some(Ownership::Assigned(tasks)) = &message.change {
            p.owned.extend(tasks);
        }
        if let Some(change) = message.change {
            match change {
                Ownership::Assigned(_) => self.count("assignments"),
                _ => self.count("revocations"),
            }
            self.step(life, Input::Ownership(change));
        }
    }
}
