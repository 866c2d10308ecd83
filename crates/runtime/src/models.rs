//! The models that `infer` stages ask and the solvers that `optimize` stages ask, by name; one can be put in or
//! replaced while workers run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use ws_stream::operator::{Answer, Call};
use ws_stream::predict::{PredictError, Predictor};
use ws_stream::solve::{Problem, SolveError, Solver};

type Slot = Arc<Mutex<Box<dyn Predictor>>>;

/// Named predictors and solvers, shared by all workers of a process.
#[derive(Clone, Default)]
pub struct Models {
    predictors: Arc<Mutex<BTreeMap<String, Slot>>>,
    solvers: Arc<Mutex<BTreeMap<String, Arc<dyn Solver>>>>,
}

impl Models {
    /// Puts a predictor in, in place of the one that had its name.
    pub fn put(&self, name: &str, predictor: Box<dyn Predictor>) {
        self.predictors.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), Arc::new(Mutex::new(predictor)));
    }

    /// Puts a solver in, in place of the one that had its name.
    pub fn put_solver(&self, name: &str, solver: Arc<dyn Solver>) {
        self.solvers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), solver);
    }

    /// Version of the model that answers now, if there is one.
    pub fn version(&self, name: &str) -> Option<String> {
        let slot = self.predictors.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()?;
        let version = slot.lock().unwrap_or_else(PoisonError::into_inner).version().to_string();
        Some(version)
    }

    /// Asks whom a call is for, here and now. A solver is told to stop when `stop` says so.
    pub fn ask(&self, call: &Call, stop: &(dyn Fn() -> bool + Sync)) -> Answer {
        match &call.solve {
            None => self.predict(call),
            Some(_) => self.solve(call, stop),
        }
    }

    /// Asks the model of a call. Without one, the answer is a failure and the ladder takes its next rung.
    fn predict(&self, call: &Call) -> Answer {
        let slot = self.predictors.lock().unwrap_or_else(PoisonError::into_inner).get(&call.predictor).cloned();
        let Some(slot) = slot else {
            let error = PredictError { predictor: call.predictor.clone(), message: "no model is loaded yet".into() };
            return Answer::predicted(call, Err(error), "", "");
        };
        let mut p = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let result = p.predict(&call.rows);
        Answer::predicted(call, result, p.version(), p.feature_hash())
    }

    /// Asks the solver of a call. Without one, the answer is a failure and the fallback is asked.
    fn solve(&self, call: &Call, stop: &(dyn Fn() -> bool + Sync)) -> Answer {
        let failed = |message: &str| Err(SolveError { solver: call.predictor.clone(), message: message.to_string() });
        let solver = self.solvers.lock().unwrap_or_else(PoisonError::into_inner).get(&call.predictor).cloned();
        let (Some(solver), Some(solve)) = (solver, &call.solve) else {
            return Answer::solution(call, failed("no solver of this name is in this process"), "");
        };
        // A panic in a solver costs that answer; its thread has others to give.
        let problem = Problem { rows: &call.rows, call: solve, stop };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| solver.solve(&problem)));
        Answer::solution(call, result.unwrap_or_else(|_| failed("it panicked; see the log above")), solver.version())
    }
}
