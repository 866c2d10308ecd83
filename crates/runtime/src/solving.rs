//! Threads that ask solvers. A solver may think for seconds, so it has threads apart from the predictors', and a board
//! that thinks long does not hold up another topology's predictions.

use crate::metrics;
use crate::models::Models;
use crate::threads::Asked;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use ws_stream::worker::Input;

/// Threads of one worker that ask solvers: boards solved at once.
pub(crate) const SOLVER_THREADS: usize = 2;

/// Where solver threads take their work from: one at a time waits on the channel.
#[derive(Clone)]
pub(crate) struct Work {
    queue: Arc<Mutex<Receiver<Asked>>>,
    ending: Arc<AtomicBool>,
}

impl Work {
    /// Work from this channel.
    pub(crate) fn new(queue: Receiver<Asked>, ending: Arc<AtomicBool>) -> Work {
        Work { queue: Arc::new(Mutex::new(queue)), ending }
    }

    fn next(&self) -> Option<Asked> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

/// Asks solvers until the channel closes. A solver is told to stop when its budget is over or the worker ends.
pub(crate) fn solve_loop(models: &Models, work: &Work, out: &SyncSender<Input>) {
    while let Some(Asked { task, incarnation, stage, call }) = work.next() {
        let started = Instant::now();
        let budget = Duration::from_millis(call.solve.as_ref().map_or(0, |s| s.budget_ms.max(0) as u64));
        let stop = || work.ending.load(Ordering::Relaxed) || started.elapsed() >= budget;
        let answer = models.ask(&call, &stop);
        metrics::predicted(&call.predictor, answer.result.is_ok(), call.rows.num_rows(), started.elapsed());
        if out.send(Input::Answer { task, incarnation, stage, answer }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use arrow::array::{RecordBatch, RecordBatchOptions};
    use arrow::datatypes::Schema;
    use std::sync::mpsc::sync_channel;
    use ws_stream::log::TaskId;
    use ws_stream::operator::{Answer, Call};
    use ws_stream::solve::{Problem, Solution, SolveCall, SolveError, Solver};

    /// Thinks until it is told to stop.
    struct Thinker;

    impl Solver for Thinker {
        fn name(&self) -> &str {
            "thinker"
        }
        fn version(&self) -> &str {
            "1"
        }
        fn solve(&self, problem: &Problem<'_>) -> Result<Solution, SolveError> {
            assert_ne!(problem.call.key, "fatal", "a defect of the solver");
            let mut iterations = 0;
            while !(problem.stop)() {
                iterations += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Solution { rows: problem.rows.clone(), memo: b"m".to_vec(), iterations })
        }
    }

    fn call(solver: &str, key: &str, budget_ms: i64) -> Asked {
        let options = RecordBatchOptions::new().with_row_count(Some(2));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        let solve = SolveCall { key: key.into(), memo: Arc::from(&[][..]), seed: 1, iterations: None, budget_ms, watermark_ms: 0, with: Arc::default() };
        Asked { task: TaskId(0), incarnation: 1, stage: 0, call: Call { id: 7, predictor: solver.into(), rows, deadline_ms: 0, solve: Some(solve) } }
    }

    struct Bench {
        ask: SyncSender<Asked>,
        answers: Receiver<Input>,
        ending: Arc<AtomicBool>,
    }

    fn bench() -> Bench {
        let ((ask, work), (out, answers)) = (sync_channel(10), sync_channel(10));
        let ending = Arc::new(AtomicBool::new(false));
        let (models, work) = (Models::default(), Work::new(work, ending.clone()));
        models.put_solver("thinker", Arc::new(Thinker));
        for _ in 0..SOLVER_THREADS {
            let (models, work, out) = (models.clone(), work.clone(), out.clone());
            std::thread::spawn(move || solve_loop(&models, &work, &out));
        }
        Bench { ask, answers, ending }
    }

    fn next(b: &Bench) -> Answer {
        match b.answers.recv_timeout(Duration::from_secs(20)).expect("an answer comes") {
            Input::Answer { answer, .. } => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_solver_that_thinks_long_holds_no_other_up_and_ends_when_told() {
        let b = bench();
        b.ask.send(call("thinker", "long", 600_000)).unwrap();
        b.ask.send(call("thinker", "short", 30)).unwrap();
        let first = next(&b);
        assert_eq!(first.result.unwrap().columns.num_rows(), 2);
        assert!(first.solved.unwrap().iterations > 0, "its budget ended it, the long one goes on");
        b.ending.store(true, Ordering::Relaxed);
        assert_eq!(next(&b).solved.unwrap().memo, b"m", "the end of the process ends the long one with what it has");
    }

    #[test]
    fn a_solver_that_panics_or_is_not_there_costs_its_answer_alone() {
        let b = bench();
        for (solver, key, words) in [("thinker", "fatal", "it panicked"), ("nobody", "x", "no solver of this name")] {
            for _ in 0..3 {
                b.ask.send(call(solver, key, 1)).unwrap();
                let answer = next(&b);
                let error = answer.result.unwrap_err().to_string();
                assert!(error.contains(words) && answer.solved.is_none(), "{error}");
            }
        }
        b.ask.send(call("thinker", "fine", 1)).unwrap();
        assert!(next(&b).result.is_ok());
    }
}
