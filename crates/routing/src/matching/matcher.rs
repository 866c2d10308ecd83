//! The matcher: decides for each row whether it goes on with the chain, waits, or is dropped.

use super::chain::{Chain, Step};
use super::drive::Drive;
use super::row::{Fix, Options, Traversal, Verdict};
use super::state::{COVERED_MAX, GATHERED_MAX, VehicleState};
use crate::roads::{RoadGraph, Search};
use std::sync::Arc;

/// Rows off the road after which a chain ends.
const OFF_ROAD_MAX: u8 = 3;

/// Matches the positions of any number of vehicles to one network; what it knows of each stands in its state.
#[derive(Debug, Clone)]
pub struct Matcher {
    graph: Arc<RoadGraph>,
    options: Options,
    search: Search,
}

/// What a row led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// What became of the row.
    pub verdict: Verdict,
    /// Traversals that are decided by now: of this row, or of rows before it.
    pub traversals: Vec<Traversal>,
}

impl Matcher {
    /// A matcher on a network.
    pub fn new(graph: Arc<RoadGraph>, options: Options) -> Matcher {
        Matcher { graph, options, search: Search::default() }
    }

    /// The network.
    pub fn graph(&self) -> &Arc<RoadGraph> {
        &self.graph
    }

    /// Takes a row of a vehicle, in order of arrival.
    pub fn observe(&mut self, state: &mut VehicleState, fix: &Fix) -> Observed {
        let mut traversals = Vec::new();
        if state.network != self.graph.fingerprint() {
            // Indexes of another network mean nothing here.
            *state = VehicleState { network: self.graph.fingerprint(), ..VehicleState::default() };
        }
        let verdict = self.take(state, fix, &mut traversals);
        Observed { verdict, traversals }
    }

    /// Ends what is open: the vehicle is not expected to send more, or a test wants to see everything.
    pub fn finish(&mut self, state: &mut VehicleState) -> Vec<Traversal> {
        let mut out = Vec::new();
        self.match_gathered(state, &mut out);
        self.end_chain(state, &mut out);
        out
    }

    fn take(&mut self, state: &mut VehicleState, fix: &Fix, out: &mut Vec<Traversal>) -> Verdict {
        if !fix.place.is_valid() {
            return Verdict::Invalid;
        }
        let tolerance_ms = self.options.clock_tolerance_ms;
        if (fix.received_ms - fix.sent_ms).abs() > tolerance_ms || fix.observed_ms - fix.received_ms > tolerance_ms {
            return Verdict::WrongClock;
        }
        let quiet = !state.gathered.is_empty() && fix.received_ms - state.gathered_ms > self.options.quiet_ms;
        if quiet {
            self.match_gathered(state, out);
        }
        match state.newest_ms {
            Some(newest_ms) if fix.observed_ms <= newest_ms => self.gather(state, fix, newest_ms, out),
            _ => {
                state.newest_ms = Some(fix.observed_ms);
                self.go_on(state, fix, out)
            }
        }
    }

    /// A row behind the newest one.
    fn gather(&mut self, state: &mut VehicleState, fix: &Fix, newest_ms: i64, out: &mut Vec<Traversal>) -> Verdict {
        if newest_ms - fix.observed_ms > self.options.lateness_ms {
            return Verdict::TooOld;
        }
        let begun_ms = state.chain_from_ms.unwrap_or(i64::MAX);
        let covered = state.covered.iter().chain([&(begun_ms, newest_ms)]).any(|(from_ms, to_ms)| (*from_ms..=*to_ms).contains(&fix.observed_ms));
        let place = match state.gathered.binary_search_by_key(&fix.observed_ms, |known| known.observed_ms) {
            Err(place) if !covered => place,
            _ => return Verdict::Duplicate,
        };
        if state.gathered.len() >= GATHERED_MAX {
            self.match_gathered(state, out);
            state.gathered.push(*fix);
        } else {
            state.gathered.insert(place, *fix);
        }
        state.gathered_ms = fix.received_ms;
        Verdict::Gathered
    }

    /// Matches what was gathered as chains of their own, beside the live one.
    fn match_gathered(&mut self, state: &mut VehicleState, out: &mut Vec<Traversal>) {
        let rows = std::mem::take(&mut state.gathered);
        let mut past = VehicleState { network: state.network, ..VehicleState::default() };
        for fix in &rows {
            self.go_on(&mut past, fix, out);
        }
        self.end_chain(&mut past, out);
        for time in past.covered {
            cover(&mut state.covered, time);
        }
    }

    /// A row ahead of all others of its chain.
    fn go_on(&mut self, state: &mut VehicleState, fix: &Fix, out: &mut Vec<Traversal>) -> Verdict {
        let at = self.graph.plane().point(fix.place);
        if state.chain.last().is_some_and(|last| fix.observed_ms - last.left_ms > self.options.gap_ms) {
            self.end_chain(state, out);
        }
        if let Some(last) = state.chain.steps.last_mut() {
            let slow = fix.speed_mps.is_none_or(|mps| mps < self.options.standing_mps);
            let still = last.odometer_m.zip(fix.odometer_m).filter(|_| self.options.odometer).is_none_or(|(from_m, to_m)| to_m - from_m < 10.0);
            if slow && still && last.at.distance_m(at) < self.options.standing_radius_m {
                last.standing = true;
                last.left_ms = fix.observed_ms;
                state.aside = None;
                state.covered_to_ms = fix.observed_ms;
                return Verdict::Standing;
            }
        }
        let step = Step::new(&self.graph, &self.options, fix, at);
        if step.candidates.is_empty() {
            state.off_road += 1;
            if state.off_road >= OFF_ROAD_MAX {
                self.end_chain(state, out);
            }
            return Verdict::OffRoad;
        }
        state.off_road = 0;
        self.leave_stop(state, out);
        match state.chain.extend(&self.graph, &self.options, &mut self.search, step) {
            Ok(()) => state.aside = None,
            Err(step) => match state.aside.take() {
                None => {
                    state.aside = Some(*fix);
                    return Verdict::SetAside;
                }
                Some(aside) => self.begin_again(state, &aside, step, out),
            },
        }
        state.chain_from_ms.get_or_insert(fix.observed_ms);
        state.covered_to_ms = fix.observed_ms;
        self.tell(state, out);
        Verdict::Matched
    }

    /// Two rows in turn that the chain cannot reach: it has ended. The new one begins with the first of them, if that leads on.
    fn begin_again(&mut self, state: &mut VehicleState, aside: &Fix, step: Step, out: &mut Vec<Traversal>) {
        self.end_chain(state, out);
        let first = Step::new(&self.graph, &self.options, aside, self.graph.plane().point(aside.place));
        let from_ms = first.arrived_ms;
        if !first.candidates.is_empty() && state.chain.extend(&self.graph, &self.options, &mut self.search, first).is_ok() {
            state.chain_from_ms = Some(from_ms);
        }
        if let Err(step) = state.chain.extend(&self.graph, &self.options, &mut self.search, step) {
            self.end_chain(state, out);
            state.chain_from_ms = Some(step.arrived_ms);
            state.chain = Chain { steps: vec![step], told: false };
        }
    }

    /// After a long stand the next drive is another one: it may leave in any direction.
    fn leave_stop(&mut self, state: &mut VehicleState, out: &mut Vec<Traversal>) {
        let Some(last) = state.chain.last().filter(|last| last.left_ms - last.arrived_ms >= self.options.stop_ms) else {
            return;
        };
        // Its course on arrival says nothing of the departure.
        let fix = Fix {
            observed_ms: last.left_ms,
            sent_ms: last.left_ms,
            received_ms: last.left_ms,
            place: self.graph.place(last.at),
            speed_mps: Some(0.0),
            heading_deg: None,
            accuracy_m: None,
            odometer_m: last.odometer_m,
        };
        let foot = Step::new(&self.graph, &self.options, &fix, last.at);
        let (from_ms, to_ms) = (state.chain_from_ms, state.covered_to_ms);
        self.end_chain(state, out);
        if !foot.candidates.is_empty() {
            state.chain = Chain { steps: vec![foot], told: false };
            (state.chain_from_ms, state.covered_to_ms) = (from_ms.map(|_| to_ms), to_ms);
        }
    }

    fn end_chain(&mut self, state: &mut VehicleState, out: &mut Vec<Traversal>) {
        for decided in state.chain.finish() {
            state.drive.go(&self.graph, &mut self.search, decided, out);
        }
        state.drive.end(&self.graph, out);
        state.drive = Drive::default();
        if let Some(from_ms) = state.chain_from_ms.take() {
            cover(&mut state.covered, (from_ms, state.covered_to_ms));
        }
        state.off_road = 0;
    }

    fn tell(&mut self, state: &mut VehicleState, out: &mut Vec<Traversal>) {
        for decided in state.chain.decide(self.options.window) {
            state.drive.go(&self.graph, &mut self.search, decided, out);
        }
    }
}

/// Notes a time as matched; touching times become one, and the oldest ones are forgotten.
fn cover(covered: &mut Vec<(i64, i64)>, (from_ms, to_ms): (i64, i64)) {
    let place = covered.partition_point(|(_, known_to_ms)| *known_to_ms < from_ms);
    let mut merged = (from_ms, to_ms);
    while let Some(known) = covered.get(place).copied().filter(|known| known.0 <= merged.1) {
        merged = (merged.0.min(known.0), merged.1.max(known.1));
        covered.remove(place);
    }
    covered.insert(place, merged);
    if covered.len() > COVERED_MAX {
        covered.remove(0);
    }
}
