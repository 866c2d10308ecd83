//! The models that `infer` stages ask, by name; one can be put in or replaced while workers run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use ws_stream::operator::{Answer, Call};
use ws_stream::predict::{PredictError, Predictor};

type Slot = Arc<Mutex<Box<dyn Predictor>>>;

/// Named predictors, shared by all workers of a process.
#[derive(Clone, Default)]
pub struct Models(Arc<Mutex<BTreeMap<String, Slot>>>);

impl Models {
    /// Puts a predictor in, in place of the one that had its name.
    pub fn put(&self, name: &str, predictor: Box<dyn Predictor>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), Arc::new(Mutex::new(predictor)));
    }

    /// Version of the model that answers now, if there is one.
    pub fn version(&self, name: &str) -> Option<String> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()?;
        let version = slot.lock().unwrap_or_else(PoisonError::into_inner).version().to_string();
        Some(version)
    }

    /// Asks the model of a call. Without one, the answer is a failure and the ladder takes its next rung.
    pub fn ask(&self, call: &Call) -> Answer {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&call.predictor).cloned();
        let Some(slot) = slot else {
            let error = PredictError { predictor: call.predictor.clone(), message: "no model is loaded yet".into() };
            return Answer { id: call.id, result: Err(error), version: String::new(), feature_hash: String::new() };
        };
        let mut p = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let result = p.predict(&call.rows);
        Answer { id: call.id, result, version: p.version().to_string(), feature_hash: p.feature_hash().to_string() }
    }
}
