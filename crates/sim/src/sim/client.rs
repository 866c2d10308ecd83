//! A process' transactional client: one operation at a time, one request at a time. A request or its reply may get
//! lost, or come late; the client then does what the Kafka client of this engine does: it repeats what is safe to
//! repeat, and takes everything else for undetermined, gives the producer up and opens the identity again.

use super::{Event, Life, Simulation};
use crate::broker::{Sender, TxnError};
use crate::log::offsets_of;
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::log::{EpochSet, LogError, Outcome, Progress, TaskId};
use ws_stream::records::Appends;
use ws_stream::repartition;
use ws_stream::worker::Input;

/// A request is given up or repeated after this time, ms.
const REQUEST_MS: i64 = 300;
/// Requests that are safe to repeat are sent this often.
const ATTEMPTS: u32 = 3;

#[derive(Clone)]
enum Body {
    Init,
    Append { step: u32, set: Arc<EpochSet>, index: usize },
    Offsets { step: u32, set: Arc<EpochSet>, member: u64, generation: u64 },
    End { commit: bool },
    Progress { tasks: Vec<TaskId> },
}

/// A request on its way to the broker.
pub(super) struct Request {
    life: Life,
    token: u64,
    attempt: u64,
    id: String,
    epoch: u32,
    body: Body,
    reply_lost: bool,
}

enum Answered {
    Epoch(u32),
    Done,
    Progress(Vec<Progress>),
}

/// The broker's reply.
pub(super) struct Reply {
    token: u64,
    attempt: u64,
    result: Result<Answered, TxnError>,
}

enum Then {
    Join,
    Resolve(Vec<TaskId>),
    Commit(Arc<EpochSet>),
}

enum Op {
    Idle,
    Opening(Then),
    Committing { set: Arc<EpochSet>, losses: BTreeMap<TaskId, u64>, group: (u64, u64) },
    Aborting { id: u64, why: String },
    Asking,
}

/// The client.
pub(super) struct Client {
    id: String,
    /// Producer epoch; `None` when the producer was given up.
    epoch: Option<u32>,
    step: u32,
    op: Op,
    /// Number of the operation, and of its newest request.
    token: u64,
    attempt: u64,
    tries: u32,
    body: Body,
}

impl Client {
    pub(super) fn new(id: String) -> Client {
        Client { id, epoch: None, step: 0, op: Op::Idle, token: 0, attempt: 0, tries: 0, body: Body::Init }
    }

    pub(super) fn busy(&self) -> bool {
        !matches!(self.op, Op::Idle)
    }
}

impl Simulation {
    pub(super) fn open_and_join(&mut self, life: Life) {
        self.open(life, Then::Join);
    }

    fn open(&mut self, life: Life, then: Then) {
        let c = &mut self.lives[life].client;
        c.token += 1;
        c.epoch = None;
        c.op = Op::Opening(then);
        self.send(life, Body::Init);
    }

    pub(super) fn resolve(&mut self, life: Life, tasks: Vec<TaskId>) {
        self.count("resolves");
        self.open(life, Then::Resolve(tasks));
    }

    pub(super) fn commit(&mut self, life: Life, set: Arc<EpochSet>) {
        if self.lives[life].client.busy() {
            return self.problem("a second commit while one is under way".into());
        }
        self.count("commits begun");
        let set = if self.profile.control_outside { self.control_outside(&set) } else { set };
        let losses = self.lives[life].losses.clone();
        let c = &mut self.lives[life].client;
        c.token += 1;
        let token = c.token;
        c.op = Op::Committing { set, losses, group: (0, 0) };
        // Handing over to the committing thread takes no time, or quite some.
        let wait = if self.net.chance(self.profile.slow_handover) { self.net.range(50, 1_200) } else { self.net.range(0, 3) };
        self.plan(wait, Event::Begin(life, token));
    }

    /// The planted defect: control records go out at once, the rest of the epochs in their transaction.
    fn control_outside(&mut self, set: &EpochSet) -> Arc<EpochSet> {
        let mut rest = set.clone();
        for appends in rest.epochs.iter_mut().flat_map(|e| &mut e.appends) {
            let whole = std::mem::replace(appends, Appends::new(appends.topic.clone()));
            let mut control = Appends::new(whole.topic.clone());
            for (i, row) in whole.rows.iter().enumerate() {
                let (key, value, _) = whole.row(i);
                let outside = matches!(value.and_then(repartition::read), Some((_, repartition::Record::Control(_))));
                let to = if outside { &mut control } else { &mut *appends };
                to.push(row.partition, row.timestamp_ms, key, value, row.headers.of(&whole.buffer).unwrap_or_default());
            }
            if let Err(e) = self.broker.append(&[control]) {
                self.problem(format!("a control record cannot be appended: {e}"));
            }
        }
        Arc::new(rest)
    }

    /// The transaction begins: ownership is checked here, and the generation is read in the same turn.
    pub(super) fn begin(&mut self, life: Life, token: u64) {
        let p = &self.lives[life];
        let Op::Committing { set, losses, .. } = &p.client.op else {
            return;
        };
        if p.client.token != token {
            return;
        }
        let set = set.clone();
        if let Err(why) = self.still_owned(life, &set, losses) {
            self.fault("commit refused at begin");
            return self.finish(life, set.id, Outcome::Aborted(why));
        }
        let (Some(member), generation) = (p.member, p.generation) else {
            return self.finish(life, set.id, Outcome::Aborted("not in the group".into()));
        };
        let c = &mut self.lives[life].client;
        if c.epoch.is_none() {
            return self.open(life, Then::Commit(set));
        }
        if let Op::Committing { group, .. } = &mut c.op {
            *group = (member, generation);
        }
        self.append(life, set, 0);
    }

    fn append(&mut self, life: Life, set: Arc<EpochSet>, index: usize) {
        let c = &mut self.lives[life].client;
        c.step += 1;
        let step = c.step;
        self.send(life, Body::Append { step, set, index });
    }

    fn send(&mut self, life: Life, body: Body) {
        let c = &mut self.lives[life].client;
        c.body = body;
        c.tries = 0;
        self.transmit(life);
    }

    /// Sends the newest request (again), with the fate that the profile draws for it.
    fn transmit(&mut self, life: Life) {
        let (request_lost, reply_lost, late) = match self.lives[life].client.body {
            Body::End { commit: true } => {
                (self.net.chance(self.profile.end_lost), self.net.chance(self.profile.end_reply_lost), self.net.chance(self.profile.end_late))
            }
            _ => (self.net.chance(self.profile.request_lost), self.net.chance(self.profile.request_lost), false),
        };
        let c = &mut self.lives[life].client;
        c.attempt += 1;
        c.tries += 1;
        let (token, attempt, epoch) = (c.token, c.attempt, c.epoch.unwrap_or(0));
        let (id, body) = (c.id.clone(), c.body.clone());
        let is_end = matches!(body, Body::End { commit: true });
        self.plan(REQUEST_MS, Event::Timeout(life, token, attempt));
        if request_lost {
            return self.fault(if is_end { "end request lost" } else { "request lost" });
        }
        if reply_lost {
            self.fault(if is_end { "end reply lost" } else { "reply lost" });
        }
        let mut wait = self.net.range(1, 12);
        if late {
            self.fault("end request delayed");
            wait = self.net.range(REQUEST_MS, 3 * REQUEST_MS);
        }
        self.plan(wait, Event::Request(Box::new(Request { life, token, attempt, id, epoch, body, reply_lost })));
    }

    /// A request reaches the broker, whether or not its sender still lives.
    pub(super) fn request(&mut self, r: Request) {
        let now = self.now_ms;
        let done = |()| Answered::Done;
        let refused = matches!(r.body, Body::Append { .. } | Body::Offsets { .. }) && self.net.chance(self.profile.refused);
        let result = match r.body {
            _ if refused => {
                self.fault("broker refused");
                Err(TxnError::Target(LogError::Unavailable { what: "append".into(), cause: "not enough replicas".into(), hint: "simulated".into() }))
            }
            Body::Init => self.broker.init(&r.id).map(Answered::Epoch),
            Body::Append { step, ref set, index } => {
                self.broker.append_txn(Sender { id: &r.id, epoch: r.epoch, step }, &set.epochs[index].appends, now).map(done)
            }
            Body::Offsets { step, ref set, member, generation } => self
                .broker
                .offsets_txn(Sender { id: &r.id, epoch: r.epoch, step }, &self.groups[self.lives[r.life].slice], (member, generation), &offsets_of(set), now)
                .map(done),
            Body::End { commit } => {
                let result = self.broker.end(&r.id, r.epoch, commit).map(done);
                if commit && result.is_err() {
                    self.fault("end refused");
                }
                result
            }
            Body::Progress { ref tasks } => self.broker.progress(&self.groups[self.lives[r.life].slice], tasks).map(Answered::Progress).ok_or(TxnError::Busy),
        };
        self.plan_markers();
        if !r.reply_lost {
            let wait = self.net.range(1, 12);
            self.plan(wait, Event::Reply(r.life, Reply { token: r.token, attempt: r.attempt, result }));
        }
    }

    pub(super) fn reply(&mut self, life: Life, reply: Reply) {
        let c = &mut self.lives[life].client;
        if c.token != reply.token || c.attempt != reply.attempt {
            return;
        }
        // The timeout of this request is void now.
        c.attempt += 1;
        if let Err(TxnError::Busy) = reply.result {
            let (token, attempt) = (c.token, c.attempt);
            let wait = self.net.range(5, 30);
            return self.plan(wait, Event::Resend(life, token, attempt));
        }
        match std::mem::replace(&mut c.op, Op::Idle) {
            Op::Idle => {}
            Op::Opening(then) => match reply.result {
                Ok(Answered::Epoch(epoch)) => self.opened(life, epoch, then),
                _ => self.open(life, then),
            },
            Op::Asking => match reply.result {
                Ok(Answered::Progress(progress)) => self.step(life, Input::Resolved(progress)),
                _ => self.problem("progress cannot be refused".into()),
            },
            Op::Aborting { id, why } => match reply.result {
                Ok(_) | Err(TxnError::NoTransaction) => self.finish(life, id, Outcome::Aborted(why)),
                Err(e) => self.finish(life, id, Outcome::Unknown(e.to_string())),
            },
            op @ Op::Committing { .. } => {
                c.op = op;
                self.committing(life, reply.result);
            }
        }
    }

    fn committing(&mut self, life: Life, result: Result<Answered, TxnError>) {
        let c = &mut self.lives[life].client;
        let Op::Committing { set, group, .. } = &c.op else {
            return;
        };
        let (set, (member, generation)) = (set.clone(), *group);
        match (&c.body, result) {
            (Body::Append { index, .. }, Ok(_)) if index + 1 < set.epochs.len() => {
                let next = index + 1;
                self.append(life, set, next);
            }
            (Body::Append { .. }, Ok(_)) => {
                c.step += 1;
                let step = c.step;
                self.send(life, Body::Offsets { step, set, member, generation });
            }
            (Body::Offsets { .. }, Ok(_)) => self.send(life, Body::End { commit: true }),
            (Body::End { .. }, Ok(_)) => {
                self.count("commits");
                self.finish(life, set.id, Outcome::Committed);
            }
            (Body::Append { .. } | Body::Offsets { .. }, Err(e @ (TxnError::StaleGeneration | TxnError::Target(_) | TxnError::NoTransaction))) => {
                if matches!(e, TxnError::StaleGeneration) {
                    self.fault("stale generation");
                }
                self.lives[life].client.op = Op::Aborting { id: set.id, why: e.to_string() };
                self.send(life, Body::End { commit: false });
            }
            (_, Err(e)) => {
                if matches!(e, TxnError::Fenced) {
                    self.fault("fenced");
                }
                self.finish(life, set.id, Outcome::Unknown(e.to_string()));
            }
            (Body::Init | Body::Progress { .. }, Ok(_)) => {}
        }
    }

    fn opened(&mut self, life: Life, epoch: u32, then: Then) {
        let c = &mut self.lives[life].client;
        (c.epoch, c.step) = (Some(epoch), 0);
        match then {
            Then::Join => {
                let wait = self.net.range(1, 30);
                self.plan(wait, Event::Join(life));
            }
            Then::Resolve(tasks) => {
                c.op = Op::Asking;
                self.send(life, Body::Progress { tasks });
            }
            Then::Commit(set) => self.commit(life, set),
        }
    }

    fn finish(&mut self, life: Life, id: u64, outcome: Outcome) {
        let c = &mut self.lives[life].client;
        c.token += 1;
        c.op = Op::Idle;
        match &outcome {
            Outcome::Committed => {}
            Outcome::Aborted(_) => self.count("aborted"),
            Outcome::Unknown(_) => {
                c.epoch = None;
                self.count("undetermined");
            }
        }
        let wait = self.net.range(0, 4);
        self.plan(wait, Event::ToWorker(life, Box::new(Input::Outcome { id, outcome })));
    }

    pub(super) fn timeout(&mut self, life: Life, token: u64, attempt: u64) {
        let c = &mut self.lives[life].client;
        if c.token != token || c.attempt != attempt {
            return;
        }
        let repeat = match c.body {
            Body::Init | Body::Progress { .. } => true,
            Body::Append { .. } | Body::Offsets { .. } => c.tries < ATTEMPTS,
            Body::End { .. } => false,
        };
        if repeat {
            return self.transmit(life);
        }
        let id = match &c.op {
            Op::Committing { set, .. } => set.id,
            Op::Aborting { id, .. } => *id,
            _ => return,
        };
        self.finish(life, id, Outcome::Unknown("no reply".into()));
    }

    pub(super) fn resend(&mut self, life: Life, token: u64, attempt: u64) {
        let c = &self.lives[life].client;
        if c.token == token && c.attempt == attempt {
            self.transmit(life);
        }
    }
}
