//! An input of a task: a topic with a contract, or a repartition topic that an earlier slice writes.

use crate::operator::{Counts, OperatorError, StateAccess};
use crate::origin::Origins;
use crate::records::Records;
use crate::repartition::RekeyedSource;
use crate::source::{Refused, Run, Source};
use crate::spec::InputSpec;
use arrow::datatypes::SchemaRef;

pub(super) enum Input {
    Topic(Box<Source>),
    Rekeyed(Box<RekeyedSource>),
}

impl Input {
    pub(super) fn schema(&self) -> &SchemaRef {
        match self {
            Input::Topic(s) => s.schema(),
            Input::Rekeyed(s) => s.schema(),
        }
    }
    /// Its own watermark.
    pub(super) fn watermark_ms(&self) -> i64 {
        match self {
            Input::Topic(s) => s.watermark_ms(),
            Input::Rekeyed(s) => s.watermark_ms(),
        }
    }
    /// Idle by what its records say: only a repartition topic's do.
    pub(super) fn told_idle(&self) -> bool {
        match self {
            Input::Topic(_) => false,
            Input::Rekeyed(s) => s.idle(),
        }
    }
    /// After how long without rows the task takes it for idle.
    pub(super) fn idle_after_ms(&self, spec: &InputSpec) -> Option<i64> {
        match self {
            Input::Topic(_) => spec.idle_after_ms,
            Input::Rekeyed(_) => None,
        }
    }
    pub(super) fn counts(&self) -> Counts {
        match self {
            Input::Topic(s) => s.counts,
            Input::Rekeyed(s) => s.counts,
        }
    }
    pub(super) fn set_counts(&mut self, counts: Counts) {
        match self {
            Input::Topic(s) => s.counts = counts,
            Input::Rekeyed(s) => s.counts = counts,
        }
    }
    pub(super) fn process(&mut self, records: &Records, refused: &mut Vec<Refused>, floor_ms: i64, origins: &Origins) -> Result<Vec<Run>, OperatorError> {
        match self {
            Input::Topic(s) => s.process(records, refused, floor_ms),
            Input::Rekeyed(s) => s.process(records, refused, floor_ms, origins),
        }
    }
    pub(super) fn state(&mut self) -> &mut dyn StateAccess {
        match self {
            Input::Topic(s) => s.as_mut(),
            Input::Rekeyed(s) => s.as_mut(),
        }
    }
}
