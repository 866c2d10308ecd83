//! The board scenario's data from a seed, and its rules once more in the plainest form: what every area's board must be
//! in the end, and what a sound chain of decisions looks like. Shares no code with the engine.

use crate::board::{self, BoardEdge, DEAD, JOB, LATENESS_MS, PLAN, SILENT, VISIT, WRONG};
use crate::report::SimOptions;
use crate::rng::Rng;
use crate::scenario::{Decided, Expected, Feed, Letter, Row, Scenario, Slice, Wrong};
use crate::sim::Profile;
use crate::workload::Size;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::log::TopicSpec;
use ws_stream::partition::partition_of;
use ws_stream::predict::PredictError;
use ws_stream::records::{Appends, Records};
use ws_stream::worker::Planted;

/// Processing time at which runs start.
const START_MS: i64 = 1_800_000_000_000;
/// Event time runs this much faster than processing time.
const SPEED: i64 = 40;
const AREAS: u64 = 6;
const JOBS: u64 = 9;
/// Nothing may be left to decide for so long before a run is at rest.
const SETTLE_MS: i64 = 4_000;

/// A job on an area's board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Job {
    at: i64,
    /// `None`: withdrawn.
    value: Option<i64>,
}

/// Boards by area and job, as the plain rules have them.
type Boards = BTreeMap<String, BTreeMap<String, Job>>;

/// The scenario of a seed; `lenient` plants an acceptance that accepts all.
pub fn board_scenario(seed: u64, size: Size, lenient: bool) -> Scenario {
    let mut rng = Rng::derive(seed, "data");
    let topic = |name: &str, partitions: u32| TopicSpec { name: name.into(), partitions, config: Vec::new() };
    let mut topics = vec![topic(JOB, size.tasks)];
    topics.extend([SILENT, VISIT, PLAN, DEAD].into_iter().map(|t| topic(t, 3)));
    let (mut feeds, mut boards, mut newest) = (Vec::new(), Boards::new(), BTreeMap::<String, i64>::new());
    let mut now = 0i64;
    for n in 0..size.readings {
        now += rng.range(0, 2 * size.over_ms / i64::from(size.readings.max(1)));
        let area = format!("a{}", rng.below(AREAS));
        let job = format!("j{}", rng.below(JOBS));
        let kind = match rng.below(20) {
            0..=7 => "planned",
            8..=12 => "served",
            13..=15 => "withdrawn",
            16 => "urgent",
            17 => "closed",
            _ => "note",
        };
        let lag = if rng.chance(0.2) { rng.range(0, LATENESS_MS / 3) } else { rng.range(0, 2_000) };
        let (at, value) = (START_MS + now * SPEED - lag, rng.range(0, 50));
        let aborted = rng.chance(0.02);
        let mut a = Appends::new(JOB.into());
        let row = json!({"area": area, "job": job, "kind": kind, "at": at, "value": value});
        a.push(partition_of(area.as_bytes(), size.tasks), START_MS + now, Some(area.as_bytes()), Some(row.to_string().as_bytes()), &[]);
        if !aborted {
            let known = newest.entry(area.clone()).or_insert(at);
            let late = at < *known - LATENESS_MS;
            *known = (*known).max(at);
            let board = boards.entry(area).or_default();
            if !late && board.get(&job).is_none_or(|j| j.at <= at) {
                board.insert(job, Job { at, value: (kind != "withdrawn").then_some(value) });
            }
        }
        feeds.push(Feed { at_ms: START_MS + now, appends: vec![a], aborted });
        debug_assert!(n < size.readings);
    }
    // In the end every area is told something that calls for an answer: what came quietly before is known to it, too.
    for area in 0..AREAS {
        let (area, job, at) = (format!("a{area}"), "last".to_string(), START_MS + now * SPEED);
        let mut a = Appends::new(JOB.into());
        let row = json!({"area": area, "job": job, "kind": "planned", "at": at, "value": 1});
        a.push(partition_of(area.as_bytes(), size.tasks), START_MS + now, Some(area.as_bytes()), Some(row.to_string().as_bytes()), &[]);
        boards.entry(area).or_default().insert(job, Job { at, value: Some(1) });
        feeds.push(Feed { at_ms: START_MS + now, appends: vec![a], aborted: false });
    }
    Scenario {
        slices: vec![Slice { topology: board::topology(), tasks: size.tasks }],
        edge: Arc::new(BoardEdge { lenient }),
        topics,
        start_ms: START_MS,
        before: Vec::new(),
        feeds,
        model: Arc::new(|name, _| Err(PredictError { predictor: name.into(), message: "there is no model here".into() })),
        model_version: "toy-3".into(),
        solver: Some(Arc::new(board::solve)),
        spoil: Some(Arc::new(board::spoil)),
        read_rows: Arc::new(read_rows),
        read_letters: Arc::new(read_letters),
        expected: Expected::default(),
        decided: Some(Decided { sink: PLAN.into(), check: Arc::new(move |decisions| check(&boards, decisions)) }),
        told: Vec::new(),
        settle_ms: SETTLE_MS,
    }
}

fn object(value: Option<&[u8]>) -> Map<String, Value> {
    value.and_then(|v| serde_json::from_slice(v).ok()).unwrap_or_default()
}

fn read_rows(_topic: &str, records: &Records) -> Vec<Row> {
    (0..records.rows.len()).map(|i| Row { fixed: Value::Object(object(records.value(i))).to_string(), predicted: None }).collect()
}

fn read_letters(records: &Records) -> Vec<Letter> {
    (0..records.rows.len())
        .map(|i| {
            let o = object(records.value(i));
            let text = |n: &str| o.get(n).and_then(Value::as_str).unwrap_or_default().to_string();
            let number = |n: &str| o.get(n).and_then(Value::as_i64).unwrap_or(-1);
            Letter { partition: number("partition") as u32, offset: number("offset"), stage: text("stage"), reason: text("reason") }
        })
        .collect()
}

/// Every area's decisions form one chain, numbered without a gap, each accepted rightly; the last one knows the area's
/// final board.
fn check(boards: &Boards, decisions: &BTreeMap<String, Vec<Row>>) -> Vec<(Wrong, String)> {
    let mut wrong = Vec::new();
    for (area, rows) in decisions {
        let (mut number, mut chain) = (0, 0);
        for row in rows {
            let o = object(Some(row.fixed.as_bytes()));
            let get = |n: &str| o.get(n).and_then(Value::as_i64).unwrap_or(i64::MIN);
            let (no, before, total, jobs) = (get("decision_no"), get("before"), get("total"), get("jobs"));
            match no - number {
                1 => {}
                d if d <= 0 => wrong.push((Wrong::Duplicate, format!("{area}: decision {no} after decision {number}"))),
                d => (1..d).for_each(|_| wrong.push((Wrong::Lost, format!("{area}: decision {no} after decision {number}")))),
            }
            if before != chain {
                wrong.push((Wrong::Reordered, format!("{area}: decision {no} stems from link {before}, the one before it is {chain}")));
            }
            if total >= WRONG || board::link(before, total, jobs) != get("chain") {
                wrong.push((Wrong::Other, format!("{area}: decision {no} should have been refused: total {total}")));
            }
            let id = format!("board/plan/{area}/{no}");
            if o.get("decision_id").and_then(Value::as_str) != Some(&id) {
                wrong.push((Wrong::Other, format!("{area}: decision {no} is called {:?} instead of {id}", o.get("decision_id"))));
            }
            (number, chain) = (no, get("chain"));
        }
    }
    for (area, board) in boards {
        let live: Vec<i64> = board.values().filter_map(|j| j.value).collect();
        let wanted = (live.iter().sum::<i64>(), live.len() as i64);
        let last = decisions.get(area).and_then(|d| d.last()).map(|r| object(Some(r.fixed.as_bytes())));
        let found = last.map(|o| (o.get("total").and_then(Value::as_i64).unwrap_or(-1), o.get("jobs").and_then(Value::as_i64).unwrap_or(-1)));
        if found != Some(wanted) {
            wrong.push((Wrong::Lost, format!("{area}: the last decision knows {found:?}, its board is {wanted:?}")));
        }
    }
    wrong
}

impl SimOptions {
    /// A size that keeps a seed of the board scenario below half a second.
    pub const BOARD_SIZE: Size = Size { tasks: 3, readings: 500, over_ms: 12_000 };

    /// The board scenario.
    pub fn board() -> SimOptions {
        SimOptions::board_with(false)
    }

    /// The board scenario, with an acceptance that accepts all if `lenient`.
    pub fn board_with(lenient: bool) -> SimOptions {
        SimOptions {
            scenario: Arc::new(move |seed| Ok(board_scenario(seed, SimOptions::BOARD_SIZE, lenient))),
            profile: Profile::of,
            planted: Planted::default(),
        }
    }
}
