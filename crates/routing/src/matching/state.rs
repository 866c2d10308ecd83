//! What is known of a vehicle between two rows, and its byte form. Bounded: a window of steps, a few hundred gathered rows.

use super::chain::{Chain, Decided, Step};
use super::drive::{Drive, Driving};
use super::model::Candidate;
use super::row::Fix;
use crate::bytes::{Reader, Writer};
use crate::roads::{Edge, Place, Point};

/// Gathered rows at most: an outage of hours at one a minute. When they are full they are matched as they are.
pub(super) const GATHERED_MAX: usize = 512;
/// Matched times remembered at most.
pub(super) const COVERED_MAX: usize = 64;
/// Steps in the byte form at most; a window larger than this is not stored whole.
const STEPS_MAX: usize = 64;
/// Number of the byte form.
const FORM: u8 = 1;

/// What is known of a vehicle.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VehicleState {
    /// Network whose indexes stand here.
    pub(super) network: u64,
    pub(super) newest_ms: Option<i64>,
    pub(super) chain: Chain,
    /// When the chain began; `None` without one.
    pub(super) chain_from_ms: Option<i64>,
    pub(super) covered_to_ms: i64,
    pub(super) drive: Drive,
    /// A row that the chain could not reach.
    pub(super) aside: Option<Fix>,
    pub(super) off_road: u8,
    /// Rows behind the newest one, by time of measuring.
    pub(super) gathered: Vec<Fix>,
    /// When the newest of them was received.
    pub(super) gathered_ms: i64,
    /// Times that were matched, ascending, apart from the chain's own.
    pub(super) covered: Vec<(i64, i64)>,
}

/// Why bytes are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Another form.
    #[error("matching state of form {found}, expected {FORM}; it was written by another version, and the vehicle must start afresh")]
    Form {
        /// What stands there.
        found: u8,
    },
    /// The bytes end early or contradict themselves.
    #[error("matching state is damaged; the vehicle must start afresh")]
    Damaged,
}

impl VehicleState {
    /// Time of the newest row, UTC ms.
    pub fn newest_ms(&self) -> Option<i64> {
        self.newest_ms
    }

    /// Its byte form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u8(FORM);
        to.u64(self.network);
        to.i64(self.newest_ms.unwrap_or(i64::MIN));
        to.i64(self.chain_from_ms.unwrap_or(i64::MIN));
        to.i64(self.covered_to_ms);
        to.u8(self.off_road);
        to.i64(self.gathered_ms);
        to.u8(u8::from(self.chain.told));
        to.u16(self.chain.steps.len() as u16);
        for step in &self.chain.steps {
            put_step(&mut to, step);
        }
        to.u8(u8::from(self.drive.foot.is_some()));
        if let Some(foot) = &self.drive.foot {
            to.u32(foot.edge.0);
            to.f64(foot.at_m);
            to.i64(foot.arrived_ms);
            to.i64(foot.left_ms);
            to.u8(u8::from(foot.standing) | u8::from(foot.first) << 1);
        }
        to.u8(u8::from(self.drive.driving.is_some()));
        if let Some(driving) = &self.drive.driving {
            to.u32(driving.edge.0);
            to.f64(driving.from_m);
            to.f64(driving.to_m);
            to.i64(driving.entered_ms);
            to.i64(driving.left_ms);
            to.u8(u8::from(driving.moving));
        }
        to.u8(u8::from(self.aside.is_some()));
        self.aside.iter().for_each(|fix| put_fix(&mut to, fix));
        to.u16(self.gathered.len() as u16);
        self.gathered.iter().for_each(|fix| put_fix(&mut to, fix));
        to.u16(self.covered.len() as u16);
        for (from_ms, to_ms) in &self.covered {
            to.i64(*from_ms);
            to.i64(*to_ms);
        }
        to.0
    }

    /// The state of a byte form; empty bytes are a vehicle never seen.
    pub fn from_bytes(bytes: &[u8]) -> Result<VehicleState, StateError> {
        match bytes.first() {
            None => Ok(VehicleState::default()),
            Some(&FORM) => read(&mut Reader(&bytes[1..])).ok_or(StateError::Damaged),
            Some(&found) => Err(StateError::Form { found }),
        }
    }
}

fn read(from: &mut Reader<'_>) -> Option<VehicleState> {
    let time = |ms: i64| (ms != i64::MIN).then_some(ms);
    let mut state = VehicleState {
        network: from.u64()?,
        newest_ms: time(from.i64()?),
        chain_from_ms: time(from.i64()?),
        covered_to_ms: from.i64()?,
        off_road: from.u8()?,
        gathered_ms: from.i64()?,
        ..VehicleState::default()
    };
    state.chain.told = from.u8()? == 1;
    for _ in 0..from.count(STEPS_MAX)? {
        let step = get_step(from)?;
        // A step remembers places of the one before it.
        let before = state.chain.steps.last().map_or(usize::from(u8::MAX) + 1, |last: &Step| last.candidates.len());
        if step.candidates.is_empty() || step.candidates.iter().any(|candidate| usize::from(candidate.back) >= before) {
            return None;
        }
        state.chain.steps.push(step);
    }
    if from.u8()? == 1 {
        let (edge, at_m, arrived_ms, left_ms, flags) = (Edge(from.u32()?), from.f64()?, from.i64()?, from.i64()?, from.u8()?);
        state.drive.foot = Some(Decided { edge, at_m, arrived_ms, left_ms, standing: flags & 1 == 1, first: flags & 2 == 2 });
    }
    if from.u8()? == 1 {
        let edge = Edge(from.u32()?);
        let (from_m, to_m, entered_ms, left_ms) = (from.f64()?, from.f64()?, from.i64()?, from.i64()?);
        state.drive.driving = Some(Driving { edge, from_m, to_m, entered_ms, left_ms, moving: from.u8()? == 1 });
    }
    if from.u8()? == 1 {
        state.aside = Some(get_fix(from)?);
    }
    for _ in 0..from.count(GATHERED_MAX)? {
        state.gathered.push(get_fix(from)?);
    }
    for _ in 0..from.count(COVERED_MAX)? {
        state.covered.push((from.i64()?, from.i64()?));
    }
    from.0.is_empty().then_some(state)
}

fn put_step(to: &mut Writer, step: &Step) {
    to.f64(step.at.x_m);
    to.f64(step.at.y_m);
    to.i64(step.arrived_ms);
    to.i64(step.left_ms);
    to.maybe(step.odometer_m);
    to.u8(u8::from(step.standing));
    to.u16(step.candidates.len() as u16);
    for candidate in &step.candidates {
        to.u32(candidate.edge.0);
        to.f32(candidate.at_m);
        to.f32(candidate.score);
        to.u8(candidate.back);
    }
}

fn get_step(from: &mut Reader<'_>) -> Option<Step> {
    let at = Point { x_m: from.f64()?, y_m: from.f64()? };
    let (arrived_ms, left_ms) = (from.i64()?, from.i64()?);
    let (odometer_m, standing) = (from.maybe()?, from.u8()? == 1);
    let mut candidates = Vec::new();
    for _ in 0..from.count(usize::from(u8::MAX))? {
        candidates.push(Candidate { edge: Edge(from.u32()?), at_m: from.f32()?, score: from.f32()?, back: from.u8()? });
    }
    Some(Step { at, arrived_ms, left_ms, odometer_m, standing, candidates })
}

fn put_fix(to: &mut Writer, fix: &Fix) {
    to.i64(fix.observed_ms);
    to.i64(fix.sent_ms);
    to.i64(fix.received_ms);
    to.f64(fix.place.latitude_deg);
    to.f64(fix.place.longitude_deg);
    for number in [fix.speed_mps, fix.heading_deg, fix.accuracy_m, fix.odometer_m] {
        to.maybe(number);
    }
}

fn get_fix(from: &mut Reader<'_>) -> Option<Fix> {
    Some(Fix {
        observed_ms: from.i64()?,
        sent_ms: from.i64()?,
        received_ms: from.i64()?,
        place: Place::new(from.f64()?, from.f64()?),
        speed_mps: from.maybe()?,
        heading_deg: from.maybe()?,
        accuracy_m: from.maybe()?,
        odometer_m: from.maybe()?,
    })
}
