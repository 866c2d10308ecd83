//! What really happened after a row of `customer.features` or `vehicle.features`: every question ends as labelled,
//! censored or expired, and the counts add up. Facts come from the same topics that a city writes: contracts,
//! interventions, work orders.
//!
//! * *Labelled*: the whole horizon was seen, or the event came within it.
//! * *Censored*: something else ended the question: a move, an intervention, a part replaced in time.
//! * *Expired*: the history ends before the horizon does. Also where the event did come in what was seen of it: keeping
//!   only those would make the last weeks look dangerous.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use serde::Serialize;

use crate::TrainError;

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RiskOutcome {
    /// It came (`true`) or did not; known at `until_ms`.
    Labelled {
        /// Whether it came.
        came: bool,
        /// Event time at which that was known, UTC ms.
        until_ms: i64,
    },
    /// Something else ended it: code.
    Censored(&'static str),
    /// The history ends before the horizon.
    Expired,
    /// Nothing to ask: already leaving, already broken.
    NotAsked,
    /// Too early in the history: trailing windows are not full.
    WarmingUp,
}

/// How many questions ended how.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RiskCounts {
    /// Rows.
    pub rows: u64,
    /// Nothing to ask.
    pub not_asked: u64,
    /// Too early in the history.
    pub warming_up: u64,
    /// With a label.
    pub labelled: u64,
    /// Of these: it came.
    pub came: u64,
    /// By reason.
    pub censored: BTreeMap<&'static str, u64>,
    /// History too short.
    pub expired: u64,
}

impl RiskCounts {
    /// Counts an end.
    pub fn add(&mut self, outcome: &RiskOutcome) {
        self.rows += 1;
        match outcome {
            RiskOutcome::Labelled { came, .. } => {
                self.labelled += 1;
                self.came += u64::from(*came);
            }
            RiskOutcome::Censored(reason) => *self.censored.entry(reason).or_default() += 1,
            RiskOutcome::Expired => self.expired += 1,
            RiskOutcome::NotAsked => self.not_asked += 1,
            RiskOutcome::WarmingUp => self.warming_up += 1,
        }
    }

    /// Whether every row is in exactly one place.
    pub fn adds_up(&self) -> bool {
        self.rows == self.not_asked + self.warming_up + self.labelled + self.expired + self.censored.values().sum::<u64>() && self.came <= self.labelled
    }
}

impl std::fmt::Display for RiskCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows, labelled, came, expired, not_asked, warming_up, .. } = self;
        write!(f, "{rows} rows: {labelled} labelled ({came} came), {expired} expired, {not_asked} not asked, {warming_up} too early")?;
        for (reason, count) in &self.censored {
            write!(f, ", {count} censored by {reason}")?;
        }
        Ok(())
    }
}

/// What is known of a contract's life and of what was done about it.
#[derive(Clone, Debug, Default)]
pub struct CustomerFacts {
    /// Per customer: when notice was given.
    notices: BTreeMap<String, Vec<i64>>,
    /// Per customer: ends, with whether the customer wanted it.
    ends: BTreeMap<String, Vec<(i64, bool)>>,
    /// Per customer: interventions that were begun.
    treated: BTreeMap<String, Vec<i64>>,
    newest_ms: i64,
}

impl CustomerFacts {
    /// Rows of `contract.event`: `customer_id`, `event`, `voluntary`, `observed_at`.
    ///
    /// # Errors
    /// When a column is absent.
    pub fn add_contracts(&mut self, rows: &RecordBatch) -> Result<(), TrainError> {
        let (customers, events) = (text(rows, "customer_id")?, text(rows, "event")?);
        let times = times(rows, "observed_at")?;
        let voluntary = column(rows, "voluntary")?.as_boolean_opt().ok_or_else(|| TrainError::column("voluntary", "is not true/false"))?.clone();
        for (row, at_ms) in times.into_iter().enumerate() {
            let Some(at_ms) = at_ms else { continue };
            self.newest_ms = self.newest_ms.max(at_ms);
            let customer = customers.value(row).to_owned();
            match events.value(row) {
                "notice_given" => self.notices.entry(customer).or_default().push(at_ms),
                "ended" => self.ends.entry(customer).or_default().push((at_ms, voluntary.is_valid(row) && voluntary.value(row))),
                _ => {}
            }
        }
        Ok(())
    }

    /// Rows of `intervention.event`: `subject_id`, `arm`, `state`, `kind`, `observed_at`. Those that were begun or done count.
    ///
    /// # Errors
    /// When a column is absent.
    pub fn add_interventions(&mut self, rows: &RecordBatch) -> Result<(), TrainError> {
        let (subjects, arms, states, kinds) = (text(rows, "subject_id")?, text(rows, "arm")?, text(rows, "state")?, text(rows, "kind")?);
        let times = times(rows, "observed_at")?;
        for (row, at_ms) in times.into_iter().enumerate() {
            let Some(at_ms) = at_ms else { continue };
            if arms.value(row) == "treated" && matches!(states.value(row), "started" | "done") && kinds.value(row) != "none" {
                self.treated.entry(subjects.value(row).to_owned()).or_default().push(at_ms);
            }
        }
        Ok(())
    }

    /// Up to when the history is known; facts later than the newest contract event move it.
    pub fn known_until(&mut self, at_ms: i64) {
        self.newest_ms = self.newest_ms.max(at_ms);
    }

    /// Did the customer's contract end of their own will within `horizon_ms` after `at_ms`?
    pub fn outcome(&self, customer: &str, at_ms: i64, horizon_ms: i64) -> RiskOutcome {
        let until_ms = at_ms + horizon_ms;
        let ended = self.ends.get(customer).and_then(|ends| ends.iter().min());
        if self.notices.get(customer).is_some_and(|all| all.iter().any(|notice| *notice <= at_ms)) || ended.is_some_and(|(end, _)| *end <= at_ms) {
            return RiskOutcome::NotAsked;
        }
        if until_ms > self.newest_ms {
            return RiskOutcome::Expired;
        }
        let end = ended.filter(|(end, _)| *end <= until_ms);
        let last_ms = end.map_or(until_ms, |(end, _)| *end);
        if self.treated.get(customer).is_some_and(|all| all.iter().any(|treated| *treated > at_ms && *treated <= last_ms)) {
            return RiskOutcome::Censored("intervention");
        }
        match end {
            Some((end, true)) => RiskOutcome::Labelled { came: true, until_ms: *end },
            Some((_, false)) => RiskOutcome::Censored("contract_ended"),
            None => RiskOutcome::Labelled { came: false, until_ms },
        }
    }
}

/// A failure or a replacement of a part.
#[derive(Clone, Debug, PartialEq)]
struct Order {
    component: String,
    /// When it failed; `None` for a replacement in time.
    failed_ms: Option<i64>,
    ended_ms: i64,
}

/// What is known of vehicles' repairs and of the hours that their engines ran.
#[derive(Clone, Debug, Default)]
pub struct VehicleFacts {
    orders: BTreeMap<String, Vec<Order>>,
    /// Per vehicle, ascending: (UTC ms, engine hours).
    hours: BTreeMap<String, Vec<(i64, f64)>>,
    newest_ms: i64,
}

impl VehicleFacts {
    /// Rows of `workorder.event`: `asset_id`, `component`, `kind`, `state`, `failed_at`, `ends_at`, `observed_at`. Finished
    /// ones count; a failure whose order is not finished counts as lasting to the end.
    ///
    /// # Errors
    /// When a column is absent.
    pub fn add_orders(&mut self, rows: &RecordBatch) -> Result<(), TrainError> {
        let (assets, components, kinds, states) = (text(rows, "asset_id")?, text(rows, "component")?, text(rows, "kind")?, text(rows, "state")?);
        let (observed, failed, ended) = (times(rows, "observed_at")?, times(rows, "failed_at")?, times(rows, "ends_at")?);
        for row in 0..rows.num_rows() {
            self.newest_ms = self.newest_ms.max(observed[row].unwrap_or(i64::MIN));
            if components.is_null(row) {
                continue;
            }
            let (done, failed_ms) = (states.value(row) == "completed", failed[row].filter(|_| kinds.value(row) == "corrective"));
            let orders = self.orders.entry(assets.value(row).to_owned()).or_default();
            let component = components.value(row).to_owned();
            let known = orders.iter_mut().find(|order| order.component == component && order.failed_ms.is_some() && order.failed_ms == failed_ms);
            match (known, done, failed_ms) {
                (Some(known), true, _) => known.ended_ms = ended[row].or(observed[row]).unwrap_or(known.ended_ms),
                (None, true, _) => orders.push(Order { component, failed_ms, ended_ms: ended[row].or(observed[row]).unwrap_or(i64::MAX) }),
                (None, false, Some(_)) => orders.push(Order { component, failed_ms, ended_ms: i64::MAX }),
                _ => {}
            }
        }
        Ok(())
    }

    /// Rows of `vehicle.features`: `vehicle_id`, `engine_hours_h`, `observed_at`.
    ///
    /// # Errors
    /// When a column is absent.
    pub fn add_hours(&mut self, rows: &RecordBatch) -> Result<(), TrainError> {
        let vehicles = text(rows, "vehicle_id")?;
        let times = times(rows, "observed_at")?;
        let hours =
            column(rows, "engine_hours_h")?.as_primitive_opt::<Float64Type>().ok_or_else(|| TrainError::column("engine_hours_h", "is not a number"))?.clone();
        for (row, at_ms) in times.into_iter().enumerate() {
            let Some(at_ms) = at_ms else { continue };
            self.newest_ms = self.newest_ms.max(at_ms);
            if hours.is_valid(row) {
                self.hours.entry(vehicles.value(row).to_owned()).or_default().push((at_ms, hours.value(row)));
            }
        }
        Ok(())
    }

    /// Call once after all facts are in.
    pub fn sort(&mut self) {
        for hours in self.hours.values_mut() {
            hours.sort_by_key(|(at_ms, _)| *at_ms);
            hours.dedup_by_key(|(at_ms, _)| *at_ms);
        }
    }

    fn hours_at(&self, vehicle: &str, at_ms: i64) -> Option<f64> {
        let hours = self.hours.get(vehicle)?;
        hours.get(hours.partition_point(|(time_ms, _)| *time_ms <= at_ms).checked_sub(1)?).map(|(_, hours)| *hours)
    }

    /// The first failure of a part and the first replacement in time after `at_ms`.
    fn next(&self, vehicle: &str, component: &str, at_ms: i64) -> (Option<i64>, Option<i64>) {
        let of_part = || self.orders.get(vehicle).into_iter().flatten().filter(|order| order.component == component);
        let failure = of_part().filter_map(|order| order.failed_ms).filter(|failed| *failed > at_ms).min();
        let replaced = of_part().filter(|order| order.failed_ms.is_none()).map(|order| order.ended_ms).filter(|ended| *ended > at_ms).min();
        (failure, replaced)
    }

    /// Did a part fail within `horizon_ms` after `at_ms`?
    pub fn outcome(&self, vehicle: &str, component: &str, at_ms: i64, horizon_ms: i64) -> RiskOutcome {
        let until_ms = at_ms + horizon_ms;
        let broken = |order: &Order| order.failed_ms.is_some_and(|failed| failed <= at_ms && at_ms < order.ended_ms);
        if self.orders.get(vehicle).is_some_and(|orders| orders.iter().any(broken)) {
            return RiskOutcome::NotAsked;
        }
        if until_ms > self.newest_ms {
            return RiskOutcome::Expired;
        }
        let (failure, replaced) = self.next(vehicle, component, at_ms);
        match (failure.filter(|at| *at <= until_ms), replaced.filter(|at| *at <= until_ms)) {
            (Some(failed), replaced) if replaced.is_none_or(|replaced| failed <= replaced) => RiskOutcome::Labelled { came: true, until_ms: failed },
            (_, Some(_)) => RiskOutcome::Censored("replaced"),
            _ => RiskOutcome::Labelled { came: false, until_ms },
        }
    }

    /// Engine hours left of a part; from `cap` on perhaps a lower bound only: "so many or more". `None` when neither its
    /// failure nor `cap` hours were seen.
    pub fn remaining_h(&self, vehicle: &str, component: &str, at_ms: i64, cap: f64) -> Option<f64> {
        let now = self.hours_at(vehicle, at_ms)?;
        let (failure, replaced) = self.next(vehicle, component, at_ms);
        let failed = failure.filter(|failed| replaced.is_none_or(|replaced| *failed <= replaced));
        let seen_ms = failed.or(replaced).unwrap_or(self.newest_ms);
        let left = self.hours_at(vehicle, seen_ms)? - now;
        if failed.is_some() || left >= cap { Some(left.max(0.0)) } else { None }
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::ArrayRef, TrainError> {
    rows.column_by_name(name).ok_or_else(|| TrainError::column(name, "is not in the rows"))
}

fn text(rows: &RecordBatch, name: &str) -> Result<arrow::array::StringArray, TrainError> {
    Ok(column(rows, name)?.as_string_opt::<i32>().ok_or_else(|| TrainError::column(name, "is not a text"))?.clone())
}

fn times(rows: &RecordBatch, name: &str) -> Result<Vec<Option<i64>>, TrainError> {
    Ok(column(rows, name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| TrainError::column(name, "is not a time"))?.iter().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn customers_leave_move_are_treated_or_stay() {
        let mut facts = CustomerFacts::default();
        facts.notices.insert("a".into(), vec![40 * DAY_MS]);
        facts.ends.insert("a".into(), vec![(70 * DAY_MS, true)]);
        facts.ends.insert("b".into(), vec![(70 * DAY_MS, false)]);
        facts.treated.insert("c".into(), vec![20 * DAY_MS]);
        facts.known_until(200 * DAY_MS);
        let of = |facts: &CustomerFacts, customer: &str, day: i64| facts.outcome(customer, day * DAY_MS, 90 * DAY_MS);
        let ask = |customer: &str, day: i64| of(&facts, customer, day);
        assert_eq!(ask("a", 10), RiskOutcome::Labelled { came: true, until_ms: 70 * DAY_MS });
        assert_eq!(ask("a", 41), RiskOutcome::NotAsked, "notice was given: no forecast any more");
        assert_eq!(ask("b", 10), RiskOutcome::Censored("contract_ended"), "a move is not churn");
        assert_eq!(ask("c", 10), RiskOutcome::Censored("intervention"));
        assert_eq!(ask("c", 30), RiskOutcome::Labelled { came: false, until_ms: 120 * DAY_MS });
        assert_eq!(ask("d", 111), RiskOutcome::Expired, "the history ends before the horizon");
        let mut counts = RiskCounts::default();
        for customer in ["a", "b", "c", "d"] {
            for day in 0..200 {
                counts.add(&ask(customer, day));
            }
        }
        assert!(counts.adds_up() && counts.rows == 800 && counts.came > 0 && counts.expired > 0, "{counts}");
    }

    #[test]
    fn an_end_that_was_seen_does_not_count_when_the_horizon_was_not() {
        let mut facts = CustomerFacts::default();
        facts.ends.insert("a".into(), vec![(20 * DAY_MS, true)]);
        facts.known_until(50 * DAY_MS);
        assert_eq!(facts.outcome("a", 10 * DAY_MS, 90 * DAY_MS), RiskOutcome::Expired);
    }

    #[test]
    fn parts_fail_are_replaced_or_go_on() {
        let order = |component: &str, failed: Option<i64>, ended: i64| Order { component: component.into(), failed_ms: failed, ended_ms: ended };
        let mut facts = VehicleFacts::default();
        facts.orders.insert("v".into(), vec![order("engine", Some(20), 25), order("brakes", None, 30), order("brakes", Some(60), 65)]);
        facts.hours.insert("v".into(), (0..=100).map(|at| (at, at as f64 / 2.0)).collect());
        facts.newest_ms = 100;
        assert_eq!(facts.outcome("v", "engine", 10, 14), RiskOutcome::Labelled { came: true, until_ms: 20 });
        assert_eq!(facts.outcome("v", "engine", 5, 14), RiskOutcome::Labelled { came: false, until_ms: 19 });
        assert_eq!(facts.outcome("v", "battery", 22, 14), RiskOutcome::NotAsked, "the vehicle stands broken");
        assert_eq!(facts.outcome("v", "brakes", 27, 14), RiskOutcome::Censored("replaced"));
        assert_eq!(facts.outcome("v", "engine", 90, 14), RiskOutcome::Expired);
        assert_eq!(facts.remaining_h("v", "engine", 10, 100.0), Some(5.0));
        assert_eq!(facts.remaining_h("v", "brakes", 10, 100.0), None, "replaced before it failed");
        assert_eq!(facts.remaining_h("v", "brakes", 10, 8.0), Some(10.0), "at least the cap was seen");
        assert_eq!(facts.remaining_h("v", "brakes", 40, 100.0), Some(10.0));
    }
}
