//! The driver of one worker: polls ownership and records, steps the worker, executes its effects. Poll and compute
//! share this thread; whatever blocks is on another one.

use crate::housekeeper::{Chore, Housekeeper};
use crate::models::Models;
use crate::patience::patiently;
use crate::prepare::Prepared;
use crate::solving::{SOLVER_THREADS, Work, solve_loop};
use crate::status::Board;
use crate::threads::{Asked, CommitWork, commit_loop, predict_loop};
use crate::{metrics, now_ms};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use ws_stream::log::{End, Log, LogError, Member, Membership, Outcome, Reader, TaskId, TopicPartition};
use ws_stream::records::Records;
use ws_stream::spec::{OpSpec, Topology};
use ws_stream::task::{Edge, TaskError};
use ws_stream::worker::{Effect, Input, Worker, WorkerOptions};

/// Inputs waiting for the driver from its other threads; senders wait when it is full.
const CHANNEL: usize = 1024;
/// Timers, budgets and snapshots are looked at this often.
const TICK: Duration = Duration::from_millis(20);
/// Ownership is polled this often.
const MEMBERSHIP: Duration = Duration::from_millis(50);
/// Status and gauges are written this often.
const STATUS: Duration = Duration::from_millis(500);
/// A log that stays away is told about this often.
const AWAY_TOLD: Duration = Duration::from_secs(5);
/// How long an idle reader waits for records.
const IDLE_WAIT_MS: u64 = 5;
/// Records of one step at most.
const PIECE_ROWS: usize = 4096;
/// Processing goes on for this long before other work is looked at.
const COMPUTE: Duration = Duration::from_millis(10);
/// How many commit times the status keeps.
const COMMIT_TIMES: usize = 512;
/// A shutdown that takes longer than this ends without waiting for the log.
const SHUTDOWN: Duration = Duration::from_secs(15);

/// What a worker runs on.
#[derive(Clone)]
pub struct DriverOptions {
    /// What to run.
    pub topology: Arc<Topology>,
    /// Where.
    pub log: Arc<dyn Log>,
    /// Codecs and rules.
    pub edge: Arc<dyn Edge>,
    /// Predictors.
    pub models: Models,
    /// Topics as found.
    pub prepared: Prepared,
    /// Stable place of this worker.
    pub slot: u32,
    /// Folder of snapshots; none: state is rebuilt from the changelog alone.
    pub snapshots: Option<PathBuf>,
    /// Intervals and limits.
    pub worker: WorkerOptions,
}

/// A worker that had to end.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The log refused for good.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The topology cannot run.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Lag that nobody has counted yet.
const UNKNOWN: i64 = -1;

/// Runs a worker until `stop` is set or it must end.
pub fn run(options: DriverOptions, board: &Board, stop: &AtomicBool) -> Result<(), DriverError> {
    let o = &options;
    let member = Member { topology: o.topology.name.clone(), slot: o.slot, tasks: o.prepared.tasks };
    let (mut committer, membership) = o.log.join(&member)?;
    committer.open()?;
    let (out, inbox) = sync_channel::<Input>(CHANNEL);
    let (commits, commit_work) = sync_channel::<CommitWork>(4);
    let (asks, ask_work) = sync_channel::<Asked>(CHANNEL);
    let (chores, chore_work) = sync_channel::<Chore>(CHANNEL);
    let spawn = |name: &str, f: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(format!("{name}-{}", o.slot)).spawn(f);
    let to = out.clone();
    spawn("commit", Box::new(move || commit_loop(committer, commit_work, to)))?;
    let (models, to) = (o.models.clone(), out.clone());
    spawn("predict", Box::new(move || predict_loop(models, ask_work, to)))?;
    let (solves, solve_work) = sync_channel::<Asked>(CHANNEL);
    let ending = Arc::new(AtomicBool::new(false));
    let solve_work = Work::new(solve_work, ending.clone());
    if asks_solvers(&o.topology) {
        for i in 0..SOLVER_THREADS {
            let (models, work, to) = (o.models.clone(), solve_work.clone(), out.clone());
            spawn(&format!("solve-{i}"), Box::new(move || solve_loop(&models, &work, &to)))?;
        }
    }
    let progress_of = commits.clone();
    let lag = Arc::new(AtomicI64::new(UNKNOWN));
    let keeper = Housekeeper {
        log: o.log.clone(),
        topology: o.topology.name.clone(),
        group_progress: Box::new(move |tasks| {
            let (reply, answer) = sync_channel(1);
            let gone = |_| LogError::Fenced("the committer has ended".into());
            progress_of.send(CommitWork::Progress(tasks.to_vec(), reply)).map_err(|_| gone(()))?;
            Ok(answer.recv().map_err(|_| gone(()))??.first().map_or(0, |p| p.number))
        }),
        surroundings: o.prepared.surroundings.clone(),
        snapshots: o.snapshots.clone(),
        out,
        lag: lag.clone(),
    };
    spawn("housekeep", Box::new(move || keeper.run(chore_work)))?;
    let worker = Worker::new(o.topology.clone(), o.edge.clone(), o.prepared.surroundings.clone(), o.worker.clone())?;
    let reader = o.log.reader()?;
    let ended = ending.clone();
    let result = Driver {
        worker,
        reader,
        membership,
        inbox,
        commits,
        asks,
        solves,
        ending,
        chores,
        board,
        reading: HashMap::new(),
        paused: HashMap::new(),
        commit_started: None,
        rungs: BTreeMap::new(),
        records: 0,
        finished: false,
        lag,
        backlog: VecDeque::new(),
        to_solve: VecDeque::new(),
        ready: VecDeque::new(),
        held: HashMap::new(),
        away_told: None,
        options: o,
    }
    .run(stop);
    ended.store(true, Ordering::Relaxed);
    result
}

struct Driver<'a> {
    options: &'a DriverOptions,
    worker: Worker,
    reader: Box<dyn Reader>,
    membership: Box<dyn Membership>,
    inbox: Receiver<Input>,
    commits: SyncSender<CommitWork>,
    asks: SyncSender<Asked>,
    solves: SyncSender<Asked>,
    /// Tells solvers to come to an end.
    ending: Arc<AtomicBool>,
    chores: SyncSender<Chore>,
    board: &'a Board,
    /// Incarnation and next offset of what is being read.
    reading: HashMap<TopicPartition, (u64, i64)>,
    paused: HashMap<TopicPartition, ()>,
    commit_started: Option<Instant>,
    rungs: BTreeMap<&'static str, u64>,
    records: u64,
    finished: bool,
    lag: Arc<AtomicI64>,
    /// Calls that the predictor thread has not taken yet.
    backlog: VecDeque<Asked>,
    /// The same for solver threads.
    to_solve: VecDeque<Asked>,
    /// Fetched and not processed yet, in order per partition.
    ready: VecDeque<(TopicPartition, u64, Records)>,
    /// Of paused partitions.
    held: HashMap<TopicPartition, VecDeque<(u64, Records)>>,
    /// When it was last told that the log is away.
    away_told: Option<Instant>,
}

/// Cuts fetched records, so that no step computes for long: heartbeats, answers and commits are looked at in between.
fn pieces(records: Records) -> impl Iterator<Item = Records> {
    let Records { buffer, rows, next_offset } = records;
    let n = rows.len().div_ceil(PIECE_ROWS).max(1);
    (0..n).map(move |i| {
        let (from, to) = (i * PIECE_ROWS, ((i + 1) * PIECE_ROWS).min(rows.len()));
        let next_offset = rows.get(to).map_or(next_offset, |r| r.offset);
        Records { buffer: buffer.clone(), rows: rows[from..to].to_vec(), next_offset }
    })
}

/// Has the topology a stage that asks solvers?
fn asks_solvers(topology: &Topology) -> bool {
    topology.stages.iter().any(|s| matches!(s.op, OpSpec::Optimize(_)))
}

fn hand_over(backlog: &mut VecDeque<Asked>, to: &SyncSender<Asked>, what: &str) -> Result<(), DriverError> {
    while let Some(asked) = backlog.pop_front() {
        match to.try_send(asked) {
            Ok(()) => {}
            Err(TrySendError::Full(asked)) => {
                backlog.push_front(asked);
                break;
            }
            Err(TrySendError::Disconnected(_)) => {
                return Err(LogError::Fatal { what: what.into(), cause: "its thread has ended".into(), hint: "see the log above".into() }.into());
            }
        }
    }
    Ok(())
}

impl Driver<'_> {
    fn run(mut self, stop: &AtomicBool) -> Result<(), DriverError> {
        self.start_globals()?;
        let (mut ticked, mut polled, mut told) = (Instant::now(), None::<Instant>, Instant::now());
        let mut stopping: Option<Instant> = None;
        while !self.finished {
            if stopping.is_none() && stop.load(Ordering::Relaxed) {
                stopping = Some(Instant::now());
                self.ending.store(true, Ordering::Relaxed);
                self.step(Input::Shutdown)?;
            }
            if stopping.is_some_and(|s| s.elapsed() > SHUTDOWN) {
                tracing::warn!("the last commit did not end in time; what it held is processed again at the next start");
                break;
            }
            if polled.is_none_or(|p| p.elapsed() >= MEMBERSHIP) {
                polled = Some(Instant::now());
                for change in self.membership.poll()? {
                    tracing::info!(?change, "ownership");
                    self.step(Input::Ownership(change))?;
                }
            }
            while let Ok(input) = self.inbox.try_recv() {
                self.step(input)?;
            }
            self.ask()?;
            if self.ready.is_empty() {
                for (at, records) in self.fetched()? {
                    if let Some((incarnation, _)) = self.reading.get(&at) {
                        self.ready.extend(pieces(records).map(|r| (at.clone(), *incarnation, r)));
                    }
                }
            }
            let until = Instant::now() + COMPUTE;
            while let Some((at, incarnation, records)) = self.ready.pop_front() {
                if self.paused.contains_key(&at) {
                    self.held.entry(at).or_default().push_back((incarnation, records));
                    continue;
                }
                let Some((current, next)) = self.reading.get_mut(&at).filter(|(i, _)| *i == incarnation) else { continue };
                *next = records.next_offset;
                let incarnation = *current;
                // Rows between slices are no new input of the topology.
                let own = !self.options.topology.inputs.iter().any(|i| i.rekeyed.is_some() && i.topic == at.topic);
                if self.records == 0 && !records.rows.is_empty() && incarnation > 0 && own {
                    self.board.update(self.options.slot, |s| s.first_record_ms = now_ms());
                }
                if incarnation > 0 && own {
                    self.records += records.rows.len() as u64;
                }
                self.step(Input::Records { at, incarnation, records })?;
                if Instant::now() >= until {
                    break;
                }
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.step(Input::Tick)?;
            }
            if told.elapsed() >= STATUS {
                told = Instant::now();
                self.tell();
            }
        }
        self.tell();
        self.membership.leave()?;
        Ok(())
    }

    /// Records that have come. A log that is away is waited for: what is in flight is resolved when it is back.
    fn fetched(&mut self) -> Result<Vec<(TopicPartition, Records)>, LogError> {
        match self.reader.poll(IDLE_WAIT_MS) {
            Err(LogError::OutOfRange { at, offset, start, end }) if self.reading.contains_key(&at) => {
                // An earlier owner that does not know it yet reads what the present one has consumed and deleted: losing
                // the task is news on its way. If it is the present one, a person must look. The other tasks go on.
                let error = LogError::OutOfRange { at: at.clone(), offset, start, end };
                let incarnation = self.reading.remove(&at).map_or(0, |(incarnation, _)| incarnation);
                self.reader.remove(&at)?;
                self.step(Input::Failed { task: TaskId(at.partition), incarnation, error: error.to_string() }).map_err(|e| match e {
                    DriverError::Log(e) => e,
                    other => LogError::Fatal { what: "reading".into(), cause: other.to_string(), hint: "see the log above".into() },
                })?;
                Ok(Vec::new())
            }
            Err(e @ LogError::Unavailable { .. }) => {
                // Some logs answer so at once: no spinning, and not a line for every turn.
                if self.away_told.is_none_or(|t| t.elapsed() >= AWAY_TOLD) {
                    self.away_told = Some(Instant::now());
                    tracing::warn!(error = %e, "the log is away; waiting for it");
                }
                std::thread::sleep(TICK);
                Ok(Vec::new())
            }
            other => other,
        }
    }

    fn start_globals(&mut self) -> Result<(), DriverError> {
        let mut admin = self.options.log.admin()?;
        let mut ends = Vec::new();
        for at in self.worker.global_partitions() {
            let start = patiently(|| admin.start(&at))?;
            let end = patiently(|| admin.end(&at, End::Stable))?;
            self.reader.add(&at, start)?;
            self.reading.insert(at.clone(), (0, start));
            if end > start {
                ends.push((at, end));
            }
        }
        self.step(Input::GlobalEnds(ends))
    }

    fn step(&mut self, input: Input) -> Result<(), DriverError> {
        if let Input::Outcome { outcome, .. } = &input {
            let took = self.commit_started.take().map(|s| s.elapsed().as_secs_f64() * 1e3);
            self.board.update(self.options.slot, |s| {
                s.commits[match outcome {
                    Outcome::Committed => 0,
                    Outcome::Aborted(_) => 1,
                    Outcome::Unknown(_) => 2,
                }] += 1;
                if s.commit_ms.len() >= COMMIT_TIMES {
                    s.commit_ms.remove(0);
                }
                s.commit_ms.extend(took);
            });
        }
        let committed = matches!(&input, Input::Outcome { outcome: Outcome::Committed, .. });
        for effect in self.worker.step(now_ms(), input) {
            self.execute(effect)?;
        }
        if committed {
            let position = self.worker.tasks().flat_map(|t| t.committed_positions()).map(|(_, o)| o).sum();
            self.board.update(self.options.slot, |s| s.committed_position = position);
        }
        Ok(())
    }

    fn execute(&mut self, effect: Effect) -> Result<(), DriverError> {
        let gone = |what: &str| DriverError::Log(LogError::Fatal { what: what.into(), cause: "its thread has ended".into(), hint: "see the log above".into() });
        match effect {
            Effect::Read { at, offset, incarnation } => {
                self.reader.add(&at, offset)?;
                self.paused.remove(&at);
                self.held.remove(&at);
                self.reading.insert(at, (incarnation, offset));
            }
            Effect::Stop { at } => {
                self.paused.remove(&at);
                self.held.remove(&at);
                if self.reading.remove(&at).is_some() {
                    self.reader.remove(&at)?;
                }
            }
            Effect::Pause { at } => {
                if self.reading.contains_key(&at) {
                    self.reader.pause(&at)?;
                    self.paused.insert(at, ());
                }
            }
            Effect::Resume { at } => {
                if self.paused.remove(&at).is_some() {
                    for (incarnation, records) in self.held.remove(&at).unwrap_or_default().into_iter().rev() {
                        self.ready.push_front((at.clone(), incarnation, records));
                    }
                    self.reader.resume(&at)?;
                }
            }
            Effect::Commit(mut set) => {
                set.losses = self.membership.losses();
                self.commit_started = Some(Instant::now());
                self.count_rungs();
                self.commits.send(CommitWork::Commit(set)).map_err(|_| gone("commit"))?;
            }
            Effect::Resolve(tasks) => self.commits.send(CommitWork::Resolve(tasks)).map_err(|_| gone("resolve"))?,
            Effect::Call { task, incarnation, stage, call } => {
                let queue = if call.solve.is_some() { &mut self.to_solve } else { &mut self.backlog };
                queue.push_back(Asked { task, incarnation, stage, call });
                self.ask()?;
            }
            Effect::Release(tasks) => self.membership.release(&tasks)?,
            Effect::Restore { task, incarnation, partitions, tables } => {
                self.chores.send(Chore::Restore { task, incarnation, partitions, tables }).map_err(|_| gone("restore"))?;
            }
            Effect::Mark { task, incarnation } => self.chores.send(Chore::Mark { task, incarnation }).map_err(|_| gone("mark"))?,
            // Both are asked for again when they were dropped because the housekeeper is busy.
            Effect::Purge { at, before } => drop(self.chores.try_send(Chore::Purge { at, before })),
            Effect::End { task, incarnation, at } => drop(self.chores.try_send(Chore::End { task, incarnation, at })),
            Effect::Truncate { task, before } => self.chores.send(Chore::Truncate { task, before }).map_err(|_| gone("truncate"))?,
            Effect::Snapshot { task, from_offset, positions, snapshot } => {
                self.chores.send(Chore::Snapshot { task, from_offset, positions, snapshot }).map_err(|_| gone("snapshot"))?;
            }
            Effect::Stopped { task, error } => {
                tracing::error!(task = task.0, error, "task stopped; the others go on");
                metrics::task_stopped(&self.options.topology.name);
                self.board.update(self.options.slot, |s| {
                    s.stopped.insert(task.0, error);
                });
            }
            Effect::Rejected { at, rows, first } => {
                if !first.is_empty() {
                    tracing::warn!(%at, rows, first, "rows of a global table were not taken");
                }
                metrics::table_rejected(&at.topic, rows);
            }
            Effect::Finished => self.finished = true,
        }
        Ok(())
    }

    /// Hands calls to the predictor and solver threads as far as these take them. Waiting for them here could wait for
    /// ever: they may be waiting for this thread to take their answers. The backlogs are bounded by what a task may have
    /// pending.
    fn ask(&mut self) -> Result<(), DriverError> {
        hand_over(&mut self.backlog, &self.asks, "predict")?;
        hand_over(&mut self.to_solve, &self.solves, "solve")
    }

    fn count_rungs(&mut self) {
        self.rungs.clear();
        for task in self.worker.tasks() {
            for (rung, n) in task.rungs() {
                *self.rungs.entry(rung).or_default() += n;
            }
        }
    }

    fn tell(&mut self) {
        let topology = &self.options.topology.name;
        self.count_rungs();
        let mut counts: Vec<(String, ws_stream::operator::Counts)> = Vec::new();
        let (mut watermark, mut state, mut tasks) = (None::<i64>, (0, 0), Vec::new());
        for task in self.worker.tasks() {
            tasks.push(task.id.0);
            for (i, (id, c)) in task.counts().into_iter().enumerate() {
                match counts.get_mut(i) {
                    Some((_, sum)) => sum.add(&c),
                    None => counts.push((id.to_string(), c)),
                }
            }
            let w = task.watermark_ms();
            if w != i64::MIN {
                watermark = Some(watermark.map_or(w, |x| x.min(w)));
            }
            let (rows, bytes) = task.state_size();
            state = (state.0 + rows, state.1 + bytes);
        }
        let ready = self.worker.ready() && !tasks.is_empty();
        for (id, c) in &counts {
            metrics::stage(topology, id, c);
        }
        for (rung, n) in &self.rungs {
            metrics::rung(topology, rung, *n);
        }
        // Dropped when the housekeeper is busy: the next one asks again.
        let positions = self.reading.iter().filter(|(_, (incarnation, _))| *incarnation > 0).map(|(at, (_, next))| (at.clone(), *next)).collect();
        let _ = self.chores.try_send(Chore::Lag(positions));
        let lag = Some(self.lag.load(Ordering::Relaxed)).filter(|lag| *lag != UNKNOWN);
        metrics::process(topology, watermark.unwrap_or(i64::MIN), lag, tasks.len(), state);
        let (rungs, records) = (self.rungs.clone(), self.records);
        self.board.update(self.options.slot, |s| {
            s.ready = ready;
            s.waiting_for = if ready { String::new() } else { "tasks are being assigned, restored, or their tables read".into() };
            s.tasks = tasks;
            s.counts = counts;
            s.watermark_ms = watermark;
            s.lag_records = lag;
            s.rungs = rungs;
            s.state = state;
            s.records = records;
        });
    }
}
