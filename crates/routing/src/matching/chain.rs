//! The chain of steps that are not decided yet: Viterbi's method over a sliding window.
//!
//! Every place of the newest step remembers the best place before it. Where the memories of all places of the newest step
//! meet, the past is decided, whatever comes.

use super::model::{Candidate, NONE, Pace, candidates};
use super::row::{Fix, Options};
use crate::roads::{Edge, FreeFlow, Point, RoadGraph, Search};
use crate::roads::{Limit, On};

/// A place this much less likely than the best cannot win any more, in practice.
const HOPELESS: f32 = 40.0;
/// A step that costs more than this is no step.
const IMPOSSIBLE: f32 = 45.0;
/// Slipping back by so much on the same edge is noise, m.
const SLIP_M: f64 = 30.0;

/// A position in the chain.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub at: Point,
    pub arrived_ms: i64,
    /// Last row that said it stands here; `arrived_ms` when it does not.
    pub left_ms: i64,
    pub odometer_m: Option<f64>,
    pub standing: bool,
    pub candidates: Vec<Candidate>,
}

/// A step that is decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decided {
    pub edge: Edge,
    pub at_m: f64,
    pub arrived_ms: i64,
    pub left_ms: i64,
    pub standing: bool,
    /// Whether it begins a chain.
    pub first: bool,
}

/// The undecided steps, oldest first. The oldest was told already when `told` is set, and is kept as the foot of the rest.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chain {
    pub steps: Vec<Step>,
    pub told: bool,
}

impl Step {
    /// The step of a row; without any place when no road is near.
    pub(super) fn new(graph: &RoadGraph, options: &Options, fix: &Fix, at: Point) -> Step {
        let standing = fix.speed_mps.is_some_and(|mps| mps < options.standing_mps);
        Step {
            at,
            arrived_ms: fix.observed_ms,
            left_ms: fix.observed_ms,
            odometer_m: fix.odometer_m,
            standing,
            candidates: candidates(graph, options, fix, at, !standing),
        }
    }
}

impl Chain {
    pub(super) fn last(&self) -> Option<&Step> {
        self.steps.last()
    }

    /// Puts a step behind the last one; gives it back if no way leads there. An empty chain begins with it.
    pub(super) fn extend(&mut self, graph: &RoadGraph, options: &Options, search: &mut Search, mut step: Step) -> Result<(), Step> {
        let Some(last) = self.steps.last() else {
            self.told = false;
            self.steps.push(step);
            return Ok(());
        };
        let pace = pace(options, last, &step);
        let targets: Vec<On> = step.candidates.iter().map(|to| On { edge: to.edge, at_m: f64::from(to.at_m) }).collect();
        let limit = Limit { seconds: f64::INFINITY, metres: pace.limit_m(options) };
        let mut best: Vec<Option<(f32, u8)>> = vec![None; targets.len()];
        for (from, foot) in last.candidates.iter().enumerate() {
            let seed = On { edge: foot.edge, at_m: f64::from(foot.at_m) };
            search.explore(graph, &FreeFlow, &[seed], &targets, limit, None);
            for (to, target) in targets.iter().enumerate() {
                let slip_m = seed.at_m - target.at_m;
                let way = match search.found[to] {
                    // Around the block and back to the same edge is not what happened.
                    _ if target.edge == seed.edge && (0.0..SLIP_M).contains(&slip_m) => Some((0.0, 0.0, slip_m / options.beta_m)),
                    found => found.map(|found| (found.metres, found.seconds, 0.0)),
                };
                let Some((metres, seconds, extra)) = way else { continue };
                let step_score = (pace.likelihood(options, metres, seconds) - extra) as f32 + step.candidates[to].score;
                if step_score > -IMPOSSIBLE && best[to].is_none_or(|(score, _)| foot.score + step_score > score) {
                    best[to] = Some((foot.score + step_score, from as u8));
                }
            }
        }
        if best.iter().all(Option::is_none) {
            return Err(step);
        }
        let top = best.iter().flatten().map(|(score, _)| *score).fold(f32::NEG_INFINITY, f32::max);
        let mut reached = Vec::with_capacity(step.candidates.len());
        for (candidate, way) in step.candidates.iter().zip(&best) {
            if let Some((score, back)) = way.filter(|(score, _)| *score > top - HOPELESS) {
                reached.push(Candidate { score: score - top, back, ..*candidate });
            }
        }
        step.candidates = reached;
        self.steps.push(step);
        Ok(())
    }

    /// Steps that are decided by now, oldest first; they leave the chain but for the newest of them. At most `window` steps stay.
    pub(super) fn decide(&mut self, window: usize) -> Vec<Decided> {
        let mut decided = Vec::new();
        if let Some((step, candidate)) = self.meeting() {
            self.tell(step, candidate, &mut decided);
        }
        if self.steps.len() > window.max(2) {
            // The likeliest way decides the oldest half.
            let step = self.steps.len() / 2;
            let candidate = self.likeliest(step);
            self.tell(step, candidate, &mut decided);
        }
        decided
    }

    /// Everything that is left, by the likeliest way; the chain is empty afterwards.
    pub(super) fn finish(&mut self) -> Vec<Decided> {
        let mut decided = Vec::new();
        if let Some(newest) = self.steps.len().checked_sub(1) {
            let candidate = self.likeliest(newest);
            self.tell(newest, candidate, &mut decided);
        }
        self.steps.clear();
        self.told = false;
        decided
    }

    /// The newest step, other than the last one, in which all ways meet, and where.
    fn meeting(&self) -> Option<(usize, usize)> {
        let mut step = self.steps.len().checked_sub(1)?;
        let mut alive: Vec<usize> = (0..self.steps[step].candidates.len()).collect();
        while step > 0 {
            let mut before: Vec<usize> = alive.iter().map(|place| usize::from(self.steps[step].candidates[*place].back)).collect();
            before.sort_unstable();
            before.dedup();
            step -= 1;
            if let [only] = before[..] {
                return Some((step, only));
            }
            alive = before;
        }
        None
    }

    /// The place of a step on the likeliest way.
    fn likeliest(&self, step: usize) -> usize {
        let newest = self.steps.len() - 1;
        let candidates = &self.steps[newest].candidates;
        let mut place = (0..candidates.len()).max_by(|a, b| candidates[*a].score.total_cmp(&candidates[*b].score).then(b.cmp(a))).unwrap_or(0);
        for later in (step + 1..=newest).rev() {
            place = usize::from(self.steps[later].candidates[place].back);
        }
        place
    }

    /// Decides all steps up to one of which the place is known, and forgets what it contradicts.
    fn tell(&mut self, step: usize, candidate: usize, decided: &mut Vec<Decided>) {
        let mut places = vec![candidate; step + 1];
        for later in (1..=step).rev() {
            places[later - 1] = usize::from(self.steps[later].candidates[places[later]].back);
        }
        for (index, place) in places.iter().enumerate().skip(usize::from(self.told)) {
            let known = &self.steps[index];
            let at = known.candidates[*place];
            decided.push(Decided {
                edge: at.edge,
                at_m: at.at_m.into(),
                arrived_ms: known.arrived_ms,
                left_ms: known.left_ms,
                standing: known.standing,
                first: index == 0,
            });
        }
        self.steps.drain(..step);
        let foot = self.steps[0].candidates[candidate];
        self.steps[0].candidates = vec![Candidate { back: NONE, ..foot }];
        self.told = true;
        // Ways that began elsewhere are gone; the indexes of the rest move.
        let mut kept = vec![None; usize::from(NONE)];
        kept[candidate] = Some(0);
        for later in 1..self.steps.len() {
            let mut next = vec![None; usize::from(NONE)];
            let mut alive = Vec::new();
            for (place, known) in self.steps[later].candidates.iter().enumerate() {
                if let Some(back) = kept[usize::from(known.back)] {
                    next[place] = Some(alive.len() as u8);
                    alive.push(Candidate { back, ..*known });
                }
            }
            self.steps[later].candidates = alive;
            kept = next;
        }
    }
}

fn pace(options: &Options, last: &Step, step: &Step) -> Pace {
    let seconds = (step.arrived_ms - last.left_ms).max(1) as f64 / 1e3;
    let driven_m = last.odometer_m.zip(step.odometer_m).filter(|_| options.odometer).map(|(from_m, to_m)| to_m - from_m);
    // An odometer that runs back or away was exchanged or broken.
    let odometer_m = driven_m.filter(|driven_m| (-1.0..seconds * options.top_mps + 200.0).contains(driven_m)).map(|driven_m| driven_m.max(0.0));
    Pace { seconds, crow_m: last.at.distance_m(step.at), odometer_m }
}
