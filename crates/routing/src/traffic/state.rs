//! What is known of an area, and its byte form.

use super::habits::{ClassHabits, EdgeHabits};
use super::windows::Windows;
use crate::bytes::{Reader, Writer};
use crate::roads::{Edge, RoadClass};
use std::collections::BTreeMap;

/// Number of the byte form.
const FORM: u8 = 2;
/// News at most.
pub(super) const NEWS_MAX: usize = 2_000;
/// Edges of one area at most, in the byte form.
const EDGES_MAX: usize = u16::MAX as usize;
/// Vehicles remembered for an edge at most.
const VEHICLES_MAX: usize = 64;

/// A recent drive: how far it was from what is typical.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct News {
    pub left_ms: i64,
    pub edge: Edge,
    /// Logarithm of speed over typical speed.
    pub deviation: f32,
}

/// What is known of an area.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AreaState {
    /// Network whose indexes stand here.
    pub(super) network: u64,
    /// Newest drive, UTC ms.
    pub(super) newest_ms: Option<i64>,
    /// Rows told so far: their numbers tell two rows of one window apart.
    pub(super) told: u64,
    pub(super) classes: BTreeMap<u8, ClassHabits>,
    pub(super) edges: BTreeMap<Edge, EdgeHabits>,
    pub(super) windows: Windows,
    /// By time of arrival.
    pub(super) news: Vec<News>,
}

/// Why bytes are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AreaStateError {
    /// Another form.
    #[error("traffic state of form {found}, expected {FORM}; it was written by another version, and the area must start afresh")]
    Form {
        /// What stands there.
        found: u8,
    },
    /// The bytes end early or contradict themselves.
    #[error("traffic state is damaged; the area must start afresh")]
    Damaged,
}

impl AreaState {
    /// Its byte form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u8(FORM);
        to.u64(self.network);
        to.i64(self.newest_ms.unwrap_or(i64::MIN));
        to.u64(self.told);
        to.u8(self.classes.len() as u8);
        for (class, habits) in &self.classes {
            to.u8(*class);
            habits.put(&mut to);
        }
        to.u16(self.edges.len().min(EDGES_MAX) as u16);
        for (edge, habits) in self.edges.iter().take(EDGES_MAX) {
            to.u32(edge.0);
            habits.put(&mut to);
        }
        self.windows.put(&mut to);
        to.u16(self.news.len() as u16);
        for news in &self.news {
            to.i64(news.left_ms);
            to.u32(news.edge.0);
            to.f32(news.deviation);
        }
        to.0
    }

    /// The state of a byte form; empty bytes are an area never seen.
    pub fn from_bytes(bytes: &[u8]) -> Result<AreaState, AreaStateError> {
        match bytes.first() {
            None => Ok(AreaState::default()),
            Some(&FORM) => read(&mut Reader(&bytes[1..])).ok_or(AreaStateError::Damaged),
            Some(&found) => Err(AreaStateError::Form { found }),
        }
    }
}

fn read(from: &mut Reader<'_>) -> Option<AreaState> {
    let mut state = AreaState { network: from.u64()?, ..AreaState::default() };
    state.newest_ms = Some(from.i64()?).filter(|ms| *ms != i64::MIN);
    state.told = from.u64()?;
    for _ in 0..from.u8()? {
        let class = from.u8().filter(|class| usize::from(*class) < RoadClass::ALL.len())?;
        state.classes.insert(class, ClassHabits::get(from)?);
    }
    for _ in 0..from.count(EDGES_MAX)? {
        let edge = Edge(from.u32()?);
        state.edges.insert(edge, EdgeHabits::get(from, VEHICLES_MAX)?);
    }
    state.windows = Windows::get(from)?;
    for _ in 0..from.count(NEWS_MAX)? {
        state.news.push(News { left_ms: from.i64()?, edge: Edge(from.u32()?), deviation: from.f32()? });
    }
    from.0.is_empty().then_some(state)
}
