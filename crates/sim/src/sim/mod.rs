//! The simulation: real workers, a simulated broker, and time that jumps from event to event. All that is random is
//! drawn from streams of one seed; events of the same millisecond happen in the order in which they were planned.
//!
//! * `process` holds a process of a worker and executes its effects,
//! * `client` is its transactional client: requests, replies, and what a lost one makes of a commit,
//! * `reads` is its consumer and its restores,
//! * `chaos` plans faults, and carries the group's messages.

mod chaos;
mod client;
mod process;
mod reads;

pub use chaos::Profile;
pub(crate) use process::Disk;
pub(crate) use reads::disk_records;

use crate::broker::{Broker, MarkerAt, Message};
use crate::rng::Rng;
use crate::scenario::{Scenario, Tally};
use crate::trace::Trace;
use client::{Reply, Request};
use process::Process;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use ws_stream::log::{Member, TaskId, TopicPartition};
use ws_stream::records::{Appends, Records};
use ws_stream::spec::Topology;
use ws_stream::task::{Surroundings, Task, TaskError};
use ws_stream::worker::{Input, Planted, WorkerOptions};

/// A process' number; a restarted process is another one.
pub(crate) type Life = usize;

/// A member is out after this silence, ms.
const SESSION_MS: i64 = 1_500;
/// A transaction is aborted by the broker after this time, ms.
const TRANSACTION_MS: i64 = 2_500;
/// After the last fault and record, a run that is not at rest within this time is stuck, ms.
const PATIENCE_MS: i64 = 60_000;
/// At rest means: nothing left to do for this long, ms.
const REST_MS: i64 = 500;
/// A worker's counts are added up every so many of its steps.
const COUNT_STEPS: u64 = 8;

/// What can happen.
enum Event {
    Feed(usize),
    Housekeeping,
    Marker(String, MarkerAt),
    Chaos,
    Start(u32),
    Kill(Life),
    Heartbeat(Life),
    Tick(Life),
    Join(Life),
    Joined(Life, u64),
    SessionLost(Life, u64),
    Group(Life, u64, Message),
    Release(usize, u64, Vec<TaskId>),
    Leave(usize, u64),
    Fetch(Life, TopicPartition, u64),
    Purge(TopicPartition, i64),
    Restore(Life, TaskId, u64),
    Mark(Life, TaskId, u64),
    Truncate(TopicPartition, i64),
    ToWorker(Life, Box<Input>),
    Begin(Life, u64),
    Request(Box<Request>),
    Reply(Life, Reply),
    Timeout(Life, u64, u64),
    Resend(Life, u64, u64),
}

impl Event {
    /// The process that must be there and awake for it.
    fn target(&self) -> Option<Life> {
        match self {
            Event::Heartbeat(l) | Event::Tick(l) | Event::Join(l) | Event::Joined(l, _) | Event::SessionLost(l, _) | Event::Group(l, ..) => Some(*l),
            Event::Fetch(l, ..) | Event::Restore(l, ..) | Event::Mark(l, ..) | Event::ToWorker(l, _) => Some(*l),
            Event::Begin(l, _) | Event::Reply(l, _) | Event::Timeout(l, ..) | Event::Resend(l, ..) => Some(*l),
            _ => None,
        }
    }

    fn trace(&self, t: &mut Trace) {
        t.number(self.target().map_or(0, |l| l as u64 + 1));
        match self {
            Event::Feed(i) => t.number(1).number(*i as u64),
            Event::Housekeeping => t.number(2),
            Event::Marker(id, MarkerAt::Partition(at)) => t.number(3).text(id).at(at),
            Event::Marker(id, MarkerAt::Offsets(group)) => t.number(4).text(id).text(group),
            Event::Chaos => t.number(5),
            Event::Start(slot) => t.number(6).number(u64::from(*slot)),
            Event::Kill(life) => t.number(7).number(*life as u64),
            Event::Heartbeat(_) => t.number(8),
            Event::Tick(_) => t.number(9),
            Event::Join(_) => t.number(10),
            Event::Joined(_, member) => t.number(11).number(*member),
            Event::SessionLost(_, member) => t.number(12).number(*member),
            Event::Group(_, member, m) => t.number(13).number(*member).number(m.generation),
            Event::Release(slice, member, tasks) => t.number(14).number(*slice as u64).number(*member).number(tasks.len() as u64),
            Event::Leave(slice, member) => t.number(15).number(*slice as u64).number(*member),
            Event::Purge(at, before) => t.number(27).at(at).number(*before as u64),
            Event::Fetch(_, at, ticket) => t.number(16).at(at).number(*ticket),
            Event::Restore(_, task, incarnation) => t.number(17).number(u64::from(task.0)).number(*incarnation),
            Event::Mark(_, task, incarnation) => t.number(18).number(u64::from(task.0)).number(*incarnation),
            Event::Truncate(at, before) => t.number(19).at(at).number(*before as u64),
            Event::ToWorker(_, input) => match input.as_ref() {
                Input::Records { at, incarnation, records } => t.number(20).at(at).number(*incarnation).records(records),
                _ => t.number(21),
            },
            Event::Begin(_, token) => t.number(22).number(*token),
            Event::Request(_) => t.number(23),
            Event::Reply(..) => t.number(24),
            Event::Timeout(_, token, attempt) => t.number(25).number(*token).number(*attempt),
            Event::Resend(_, token, attempt) => t.number(26).number(*token).number(*attempt),
        };
    }
}

struct Planned {
    at_ms: i64,
    seq: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, o: &Self) -> bool {
        self.seq == o.seq
    }
}
impl Eq for Planned {}
impl PartialOrd for Planned {
    fn partial_cmp(&self, o: &Self) -> Option<Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Planned {
    fn cmp(&self, o: &Self) -> Ordering {
        (self.at_ms, self.seq).cmp(&(o.at_ms, o.seq))
    }
}

/// A driver's place, one for each slot and slice: its disk outlives the processes.
#[derive(Default)]
struct Place {
    current: Option<Life>,
    disk: BTreeMap<TaskId, Disk>,
}

/// One run.
pub struct Simulation {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) broker: Broker,
    pub(crate) surroundings: Surroundings,
    profile: Profile,
    options: WorkerOptions,
    planted: Planted,
    /// Per slice.
    groups: Vec<String>,
    now_ms: i64,
    last_feed_ms: i64,
    seq: u64,
    queue: BinaryHeap<Reverse<Planned>>,
    lives: Vec<Process>,
    bodies: u64,
    places: Vec<Place>,
    members: BTreeMap<(usize, u64), Life>,
    markers: BTreeSet<(String, MarkerAt)>,
    net: Rng,
    chaos: Rng,
    pace: Rng,
    rest_since_ms: Option<i64>,
    tickets: u64,
    /// Counts that do not add up are told once.
    unbalanced: bool,
    trace: Trace,
    /// Faults by kind.
    pub(crate) faults: Tally,
    /// What was done, by kind.
    pub(crate) done: Tally,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
}

impl Simulation {
    /// A run that has not begun. Faults are drawn from `seed` by `profile`.
    pub fn new(seed: u64, scenario: Arc<Scenario>, profile: Profile, planted: Planted) -> Simulation {
        let mut broker = Broker::default();
        scenario.topics.iter().chain(&scenario.internal_topics()).for_each(|t| broker.create(t));
        let mut problems = Vec::new();
        if let Err(e) = broker.append(&scenario.before) {
            problems.push(format!("the scenario's references cannot be appended: {e}"));
        }
        let surroundings = Surroundings { cluster_id: broker.cluster_id().to_string(), topics: broker.topics() };
        let groups = scenario.slices.iter().map(|s| Member { topology: s.topology.name.clone(), slot: 0, tasks: s.tasks }.group()).collect();
        let options = profile.worker_options();
        let places = (0..profile.processes as usize * scenario.slices.len()).map(|_| Place::default()).collect();
        let last_feed_ms = scenario.feeds.last().map_or(scenario.start_ms, |f| f.at_ms);
        let mut sim = Simulation {
            broker,
            surroundings,
            options,
            planted,
            groups,
            now_ms: scenario.start_ms,
            last_feed_ms,
            seq: 0,
            queue: BinaryHeap::new(),
            lives: Vec::new(),
            bodies: 0,
            places,
            members: BTreeMap::new(),
            markers: BTreeSet::new(),
            net: Rng::derive(seed, "network"),
            chaos: Rng::derive(seed, "chaos"),
            pace: Rng::derive(seed, "pace"),
            rest_since_ms: None,
            tickets: 0,
            unbalanced: false,
            trace: Trace::default(),
            faults: Tally::new(),
            done: Tally::new(),
            problems,
            profile,
            scenario,
        };
        for (i, at_ms) in sim.scenario.feeds.iter().map(|f| f.at_ms).enumerate().collect::<Vec<_>>() {
            sim.plan_at(at_ms, Event::Feed(i));
        }
        for slot in 0..sim.profile.processes {
            let wait = sim.pace.range(0, 400);
            sim.plan(wait, Event::Start(slot));
        }
        sim.plan(10, Event::Housekeeping);
        sim.plan(300, Event::Chaos);
        sim
    }

    /// Runs to rest. Afterwards the broker holds what committed readers see.
    pub fn run(&mut self) {
        let deadline = self.last_feed_ms.max(self.scenario.start_ms) + PATIENCE_MS;
        while let Some(Reverse(Planned { at_ms, event, .. })) = self.queue.pop() {
            self.now_ms = self.now_ms.max(at_ms);
            if self.now_ms > deadline {
                self.problem(format!("not at rest {PATIENCE_MS} ms after the last record: {}", self.unrest()));
                return;
            }
            if let Some(life) = event.target() {
                let p = &self.lives[life];
                if !p.alive {
                    continue;
                }
                if p.stalled_until_ms > self.now_ms {
                    let until = p.stalled_until_ms;
                    self.plan_at(until, event);
                    continue;
                }
            }
            self.trace.number(self.now_ms as u64);
            event.trace(&mut self.trace);
            self.happen(event);
            if self.rest_since_ms.is_some_and(|since| self.now_ms - since >= REST_MS.max(self.scenario.settle_ms)) || self.problems.len() > 20 {
                return;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Feed(i) => self.feed(i),
            Event::Housekeeping => self.housekeeping(),
            Event::Marker(id, at) => {
                self.broker.mark(&id, &at);
                self.markers.remove(&(id, at));
            }
            Event::Chaos => self.chaos(),
            Event::Start(slot) => self.start(slot),
            Event::Kill(life) => self.kill(life),
            Event::Heartbeat(life) => self.heartbeat(life),
            Event::Tick(life) => {
                let wait = self.pace.range(30, 70);
                self.plan(wait, Event::Tick(life));
                self.step(life, Input::Tick);
            }
            Event::Join(life) => self.join(life),
            Event::Joined(life, member) => self.lives[life].member = Some(member),
            Event::SessionLost(life, member) => self.session_lost(life, member),
            Event::Group(life, member, message) => self.group_message(life, member, message),
            Event::Release(slice, member, tasks) => {
                self.broker.group(&self.groups[slice]).release(member, &tasks);
                self.tell_members(slice);
            }
            Event::Leave(slice, member) => {
                self.broker.group(&self.groups[slice]).leave(member);
                self.tell_members(slice);
            }
            Event::Purge(at, before) => {
                self.count("purges");
                if let Err(e) = self.broker.truncate(&at, before) {
                    self.problem(format!("purging: {e}"));
                }
            }
            Event::Fetch(life, at, ticket) => self.fetch(life, &at, ticket),
            Event::Restore(life, task, incarnation) => self.restore_step(life, task, incarnation),
            Event::Mark(life, task, incarnation) => self.mark(life, task, incarnation),
            Event::Truncate(at, before) => {
                self.count("truncations");
                if let Err(e) = self.broker.truncate(&at, before) {
                    self.problem(format!("truncating: {e}"));
                }
            }
            Event::ToWorker(life, input) => self.step(life, *input),
            Event::Begin(life, token) => self.begin(life, token),
            Event::Request(request) => self.request(*request),
            Event::Reply(life, reply) => self.reply(life, reply),
            Event::Timeout(life, token, attempt) => self.timeout(life, token, attempt),
            Event::Resend(life, token, attempt) => self.resend(life, token, attempt),
        }
    }

    fn plan(&mut self, wait_ms: i64, event: Event) {
        self.plan_at(self.now_ms + wait_ms.max(0), event);
    }

    fn plan_at(&mut self, at_ms: i64, event: Event) {
        self.seq += 1;
        self.queue.push(Reverse(Planned { at_ms, seq: self.seq, event }));
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn fault(&mut self, what: &'static str) {
        *self.faults.entry(what).or_default() += 1;
    }

    fn problem(&mut self, what: String) {
        if self.problems.len() < 50 {
            self.problems.push(format!("at +{} ms: {what}", self.now_ms - self.scenario.start_ms));
        }
    }

    fn feed(&mut self, i: usize) {
        let scenario = self.scenario.clone();
        let Some(feed) = scenario.feeds.get(i) else {
            return;
        };
        let result = if feed.aborted { self.feed_aborted(&feed.appends) } else { self.broker.append(&feed.appends) };
        if let Err(e) = result {
            self.problem(format!("a producer cannot append: {e}"));
        }
    }

    /// A producer's own transaction that ends in nothing: readers must pass its records and its marker.
    fn feed_aborted(&mut self, appends: &[Appends]) -> Result<(), ws_stream::log::LogError> {
        let id = "a producer";
        self.count("aborted feeds");
        let Ok(epoch) = self.broker.init(id) else {
            return Ok(());
        };
        let fatal = |e: crate::broker::TxnError| ws_stream::log::LogError::Fenced(e.to_string());
        self.broker.append_txn(crate::broker::Sender { id, epoch, step: 1 }, appends, self.now_ms).map_err(fatal)?;
        self.broker.end(id, epoch, false).map_err(fatal)?;
        for (who, at) in self.broker.markers().into_iter().filter(|(who, _)| who == id) {
            self.broker.mark(&who, &at);
        }
        Ok(())
    }

    fn housekeeping(&mut self) {
        self.plan(50, Event::Housekeeping);
        for slice in 0..self.groups.len() {
            let expired = self.broker.group(&self.groups[slice]).expire(self.now_ms, SESSION_MS);
            for _ in 0..expired {
                self.fault("session expired");
            }
            if expired > 0 {
                self.tell_members(slice);
            }
        }
        for _ in 0..self.broker.time_out(self.now_ms, TRANSACTION_MS) {
            self.fault("transaction timed out");
        }
        self.plan_markers();
        let resting = self.now_ms > self.last_feed_ms + 200 && self.chaos_over() && self.unrest().is_empty();
        self.rest_since_ms = if resting { self.rest_since_ms.or(Some(self.now_ms)) } else { None };
    }

    /// Decided transactions write their markers soon, each partition by itself.
    fn plan_markers(&mut self) {
        for marker in self.broker.markers() {
            if self.markers.insert(marker.clone()) {
                let wait = if self.net.chance(0.05) { self.net.range(20, 300) } else { self.net.range(0, 15) };
                self.plan(wait, Event::Marker(marker.0, marker.1));
            }
        }
    }

    /// What is not done yet; empty at rest.
    fn unrest(&self) -> String {
        if let Some(why) = self.lives.iter().filter(|p| p.alive).find_map(Process::unrest) {
            return why;
        }
        (0..self.groups.len()).map(|slice| self.unrest_of(slice)).find(|why| !why.is_empty()).unwrap_or_default()
    }

    fn unrest_of(&self, slice: usize) -> String {
        let (group, of) = (&self.groups[slice], &self.scenario.slices[slice]);
        let tasks: Vec<TaskId> = (0..of.tasks).map(TaskId).collect();
        let Some(progress) = self.broker.progress(group, &tasks) else {
            return "progress is undecided".into();
        };
        for input in &of.topology.inputs {
            for t in &tasks {
                let at = TopicPartition::new(input.topic.clone(), t.0);
                let end = self.broker.partition(&at).map_or(0, |p| p.stable());
                let position = self.broker.position(group, &at).unwrap_or(0);
                if position < end {
                    return format!("{at}: position {position} of {end}");
                }
            }
        }
        let mut owners: BTreeMap<TaskId, usize> = BTreeMap::new();
        for p in self.lives.iter().filter(|p| p.alive && p.slice == slice) {
            for (id, number, waiting) in &p.summary {
                *owners.entry(*id).or_default() += 1;
                let committed = progress.iter().find(|x| x.task == *id).map_or(0, |x| x.number);
                if *waiting > 0 || *number != committed {
                    return format!("{group}, task {}: {waiting} rows, bytes or inputs wait, epoch {number} of {committed}", id.0);
                }
            }
        }
        for t in &tasks {
            let n = owners.get(t).copied().unwrap_or(0);
            if n != 1 {
                return format!("{group}, task {} has {n} owners", t.0);
            }
        }
        String::new()
    }

    /// The hash of everything that happened.
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// Processing time that went by, ms.
    pub fn elapsed_ms(&self) -> i64 {
        self.now_ms - self.scenario.start_ms
    }

    /// The running tasks at the end, with their slices.
    pub(crate) fn live_tasks(&mut self) -> impl Iterator<Item = (usize, &mut Task)> {
        self.lives.iter_mut().filter(|p| p.alive).flat_map(|p| {
            let slice = p.slice;
            p.worker.tasks().map(move |t| (slice, t))
        })
    }

    /// Snapshots on the disks at the end, with the offset from which the changelog completes them.
    pub(crate) fn disks(&self) -> impl Iterator<Item = ((usize, TaskId), &Disk)> {
        let slices = self.groups.len();
        self.places.iter().enumerate().flat_map(move |(n, p)| p.disk.iter().map(move |(t, d)| ((n % slices, *t), d)))
    }

    /// The place of a slot's driver of a slice.
    fn place(&mut self, slot: u32, slice: usize) -> &mut Place {
        let n = slot as usize * self.groups.len() + slice;
        &mut self.places[n]
    }

    /// The topology that a driver runs.
    fn topology(&self, life: Life) -> &Arc<Topology> {
        &self.scenario.slices[self.lives[life].slice].topology
    }

    /// A task as a process that never saw it would begin it.
    pub(crate) fn fresh_task(&self, slice: usize, id: TaskId) -> Result<Task, TaskError> {
        Task::new(id, self.scenario.slices[slice].topology.clone(), self.scenario.edge.as_ref(), self.surroundings.clone())
    }
}

/// Whole visible contents of a partition as records.
pub(crate) fn all_records(broker: &Broker, at: &TopicPartition) -> Records {
    let Ok(p) = broker.partition(at) else {
        return Records::default();
    };
    p.read(at, p.start(), usize::MAX).unwrap_or_default()
}
