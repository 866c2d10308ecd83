//! The threads beside a driver: one that commits, one that asks predictors. Both answer into the driver's channel.

use crate::metrics;
use crate::models::Models;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};
use ws_stream::log::{Committer, EpochSet, LogError, Progress, TaskId};
use ws_stream::operator::Call;
use ws_stream::worker::Input;

/// Wait between tries to open the committer again after an undetermined commit.
const RESOLVE_RETRY: Duration = Duration::from_millis(500);

/// Work for the committer thread.
pub(crate) enum CommitWork {
    Commit(EpochSet),
    Resolve(Vec<TaskId>),
    Progress(Vec<TaskId>, SyncSender<Result<Vec<Progress>, LogError>>),
}

/// Commits one set after another until the channel closes.
pub(crate) fn commit_loop(mut committer: Box<dyn Committer>, work: Receiver<CommitWork>, out: SyncSender<Input>) {
    for w in work {
        let answer = match w {
            CommitWork::Commit(set) => {
                let started = Instant::now();
                let outcome = committer.commit(&set);
                metrics::commit(&outcome, started.elapsed(), set.epochs.len(), set.rows());
                if let ws_stream::log::Outcome::Aborted(why) | ws_stream::log::Outcome::Unknown(why) = &outcome {
                    tracing::warn!(commit = set.id, tasks = set.epochs.len(), why, "commit did not succeed");
                }
                Input::Outcome { id: set.id, outcome }
            }
            CommitWork::Resolve(tasks) => {
                let mut resolve = || {
                    committer.open()?;
                    committer.progress(&tasks)
                };
                loop {
                    match resolve() {
                        Ok(progress) => break Input::Resolved(progress),
                        Err(e) => {
                            tracing::warn!(error = %e, "an undetermined commit cannot be resolved yet");
                            std::thread::sleep(RESOLVE_RETRY);
                        }
                    }
                }
            }
            CommitWork::Progress(tasks, reply) => {
                let _ = reply.send(committer.progress(&tasks));
                continue;
            }
        };
        if out.send(answer).is_err() {
            return;
        }
    }
}

/// A call with the task that waits for it.
pub(crate) struct Asked {
    pub task: TaskId,
    pub incarnation: u64,
    pub stage: usize,
    pub call: Call,
}

/// Asks predictors until the channel closes.
pub(crate) fn predict_loop(models: Models, work: Receiver<Asked>, out: SyncSender<Input>) {
    for Asked { task, incarnation, stage, call } in work {
        let started = Instant::now();
        let answer = models.ask(&call, &|| false);
        metrics::predicted(&call.predictor, answer.result.is_ok(), call.rows.num_rows(), started.elapsed());
        if out.send(Input::Answer { task, incarnation, stage, answer }).is_err() {
            return;
        }
    }
}
