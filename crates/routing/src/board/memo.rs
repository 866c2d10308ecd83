//! What an accepted answer leaves for the next one: the engine keeps it as bytes. Everything that must outlive rows of the
//! board is in here: plans, decisions applied, what crews drove.

use super::facts::{Trouble, Truck};
use super::settings::Settings;
use crate::plan::Plan;
use crate::plan::problem::Lock;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The format; another one is started afresh.
const FORMAT: u32 = 1;

/// A plan that was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Issued {
    pub version: i64,
    /// Event time of the newest fact that it knows.
    pub made_ms: i64,
    #[serde(with = "super::packed")]
    pub plan: Plan,
    pub rung: String,
    pub solver: String,
    pub seed: i64,
    pub iterations: i64,
}

/// What a truck set out to do, taken when it set out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Departure {
    /// Sites with planned arrival.
    pub sites: Vec<(String, i64)>,
    pub distance_m: f64,
    pub duration_ms: i64,
}

/// State between answers; see the head of this file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memo {
    format: u32,
    /// Settings of the answer, for who judges it.
    pub(super) settings: Settings,
    /// Event time that the answer took for now.
    pub(super) now_ms: i64,
    /// What was collected since then belongs to this day.
    pub(super) history_ms: i64,
    /// The day planned for, YYYY-MM-DD.
    pub(super) day: String,
    /// The newest version given out, by day.
    pub(super) versions: BTreeMap<String, i64>,
    /// Accepted.
    pub(super) in_force: Option<Issued>,
    /// Waits for a person.
    pub(super) proposal: Option<Issued>,
    /// Whether the newest of both was made by this answer.
    pub(super) fresh: bool,
    /// Whether that one only tells new times.
    pub(super) retimed: bool,
    /// Decisions that were looked at.
    pub(super) decided: BTreeSet<String>,
    pub(super) locks: Vec<Lock>,
    /// Sites that a person took off the day's plan.
    pub(super) excluded: BTreeSet<String>,
    /// Sites that must not leave the plan: a person locked or placed them, or refused to drop them.
    pub(super) kept: BTreeSet<String>,
    /// Signatures of changes that a person refused.
    pub(super) refused: BTreeSet<String>,
    /// Trucks of the day as last seen: history outlives their row.
    pub(super) crews: BTreeMap<String, Truck>,
    pub(super) departures: BTreeMap<String, Departure>,
    /// Told on this day.
    pub(super) told: BTreeSet<String>,
}

impl Memo {
    /// Reads a memo; empty bytes are the first one. The second value tells that there was one which cannot be read.
    pub fn read(bytes: &[u8]) -> (Memo, bool) {
        if bytes.is_empty() {
            return (Memo::default(), false);
        }
        match serde_json::from_slice::<Memo>(bytes) {
            Ok(memo) if memo.format == FORMAT => (memo, false),
            _ => (Memo::default(), true),
        }
    }

    /// As bytes.
    pub(super) fn write(&mut self) -> Vec<u8> {
        self.format = FORMAT;
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The newest version: the proposal if there is one, else what is in force.
    pub(super) fn newest(&self) -> Option<&Issued> {
        self.proposal.as_ref().or(self.in_force.as_ref())
    }

    /// The id of the day's plan.
    pub(super) fn plan_id(&self, area: &str) -> String {
        format!("{area}-{}", self.day)
    }

    /// Begins another day. Decisions that were looked at stay: their rows may still be on the board.
    pub(super) fn begin_day(&mut self, day: String) {
        let decided = std::mem::take(&mut self.decided);
        let mut versions = std::mem::take(&mut self.versions);
        while versions.len() > DAYS_KEPT {
            versions.pop_first();
        }
        *self = Memo { day, decided, versions, ..Memo::default() };
    }

    /// The next version of the day's plan.
    pub(super) fn next_version(&mut self) -> i64 {
        let version = self.versions.entry(self.day.clone()).or_insert(0);
        *version += 1;
        *version
    }

    /// The troubles not told on this day yet; they count as told now.
    pub(super) fn news(&mut self, troubles: &[Trouble]) -> Vec<Trouble> {
        let name = |t: &Trouble| format!("{}/{}/{}/{}", t.code, t.entity_kind, t.entity_id, t.cause_event_id.as_deref().unwrap_or(""));
        troubles.iter().filter(|t| self.told.len() < MAX_TOLD && self.told.insert(name(t))).cloned().collect()
    }
}

/// Days whose version numbers are remembered: one that is planned again goes on counting.
const DAYS_KEPT: usize = 7;
/// Troubles told in a day: a flood of them says nothing more.
const MAX_TOLD: usize = 2_000;

/// Cuts the figures of a plan to what survives being written and read: who judges must see the very same plan.
pub(super) fn rounded(mut plan: Plan) -> Plan {
    let cut = |x: &mut f64, unit: f64| *x = (*x * unit).round() / unit;
    for route in &mut plan.routes {
        cut(&mut route.distance_m, 100.0);
        for load in route.stops.iter_mut().flat_map(|stop| &mut stop.load) {
            cut(&mut load.kg, 1e6);
            cut(&mut load.l, 1e6);
        }
    }
    for skipped in &mut plan.skipped {
        skipped.insertion_cost.iter_mut().for_each(|cost| cut(cost, 1e3));
    }
    cut(&mut plan.cost, 1e3);
    cut(&mut plan.distance_m, 100.0);
    plan
}
