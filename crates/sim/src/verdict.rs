//! The verdict over a run: what committed readers see against the undisturbed run and against the plain rules, and
//! the state of the running tasks against what the changelog and the snapshots alone give.

use crate::reference::{self, Outputs};
use crate::scenario::{Decided, Decisions, Letter, Row, Scenario, Wrong};
use crate::sim::{Simulation, all_records, disk_records};
use std::collections::BTreeMap;
use ws_stream::changelog;
use ws_stream::log::{TaskId, TopicPartition};
use ws_stream::task::{Snapshot, Task, changelog_topic};

/// Findings beyond these are only counted.
const SHOWN: usize = 12;

/// What a run did wrong. All zero and empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that are missing.
    pub lost: u64,
    /// Rows that are there too often.
    pub duplicate: u64,
    /// Keys whose rows are all there, in another order.
    pub reordered: u64,
    /// Predictions of the model that differ.
    pub differing: u64,
    /// Dead letters missing or too many.
    pub letters: u64,
    /// State rows that differ after a restore.
    pub state: u64,
    /// Everything else, and the first of the above, in words.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Is nothing wrong?
    pub fn clean(&self) -> bool {
        *self == Verdict::default()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.problems.len() < SHOWN {
            self.problems.push(what());
        }
    }
}

/// Judges a run that has come to rest.
pub(crate) fn judge(sim: &mut Simulation) -> Verdict {
    let mut v = Verdict { problems: std::mem::take(&mut sim.problems), ..Verdict::default() };
    let scenario = sim.scenario.clone();
    let got = Outputs::of_broker(&scenario, &sim.broker);
    // First, as only the first findings are told in words: these are in words that mean something.
    check_decisions(&mut v, &scenario, &got);
    match reference::run(&scenario, &sim.broker, &sim.surroundings) {
        Ok(wanted) => {
            if wanted.rows.is_empty() {
                v.note(|| "the undisturbed run yields nothing: there is nothing to compare".into());
            }
            compare_rows(&mut v, &scenario, &wanted, &got);
            compare_letters(&mut v, "the undisturbed run", wanted.letters, got.letters.clone());
        }
        Err(e) => v.note(|| format!("the undisturbed run failed: {e}")),
    }
    check_rules(&mut v, &scenario, &got);
    check_state(&mut v, sim);
    v
}

fn compare_rows(v: &mut Verdict, scenario: &Scenario, wanted: &Outputs, got: &Outputs) {
    let none = Vec::new();
    let mut keys: Vec<_> = wanted.rows.keys().chain(got.rows.keys()).collect();
    keys.retain(|k| scenario.decided.as_ref().is_none_or(|d| d.sink != k.0));
    keys.sort();
    keys.dedup();
    for key in keys {
        let (w, g) = (wanted.rows.get(key).unwrap_or(&none), got.rows.get(key).unwrap_or(&none));
        let name = || format!("{} key {}", key.0, String::from_utf8_lossy(key.1.as_deref().unwrap_or(b"(none)")));
        if w.len() == g.len() && w.iter().zip(g).all(|(a, b)| a.0.fixed == b.0.fixed && a.1 == b.1) {
            for (a, b) in w.iter().zip(g) {
                if let (Row { predicted: Some(x), .. }, Row { predicted: Some(y), .. }) = (&a.0, &b.0)
                    && x != y
                {
                    v.differing += 1;
                    v.note(|| format!("{}: the model's answer for {} is {y} instead of {x}", name(), b.1));
                }
            }
            continue;
        }
        let mut balance: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        w.iter().for_each(|(r, input)| *balance.entry((&r.fixed, input)).or_default() -= 1);
        g.iter().for_each(|(r, input)| *balance.entry((&r.fixed, input)).or_default() += 1);
        balance.retain(|_, n| *n != 0);
        if balance.is_empty() {
            v.reordered += 1;
            v.note(|| format!("{}: rows are in another order", name()));
        }
        for ((row, input), n) in balance {
            if n < 0 {
                v.lost += n.unsigned_abs();
                v.note(|| format!("{}: lost, from {input}: {row}", name()));
            } else {
                v.duplicate += n.unsigned_abs();
                v.note(|| format!("{}: {n} too many, from {input}: {row}", name()));
            }
        }
    }
}

fn compare_letters(v: &mut Verdict, with: &str, wanted: Vec<Letter>, got: Vec<Letter>) {
    let mut balance: BTreeMap<Letter, i64> = BTreeMap::new();
    wanted.into_iter().for_each(|l| *balance.entry(l).or_default() -= 1);
    got.into_iter().for_each(|l| *balance.entry(l).or_default() += 1);
    for (letter, n) in balance.into_iter().filter(|(_, n)| *n != 0) {
        v.letters += n.unsigned_abs();
        v.note(|| format!("dead letters, against {with}: {n:+} of {letter:?}"));
    }
}

/// The plain rules: every accepted input exactly once, dead letters exactly.
fn check_rules(v: &mut Verdict, scenario: &Scenario, got: &Outputs) {
    let expected = &scenario.expected;
    let of_stages = got.letters.iter().filter(|l| expected.letter_stages.contains(&l.stage)).cloned().collect();
    compare_letters(v, "the rules", expected.letters.clone(), of_stages);
    let Some(sink) = &expected.sink else { return };
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    expected.accepted.iter().for_each(|p| *balance.entry(p).or_default() -= 1);
    got.rows.iter().filter(|(k, _)| k.0 == *sink).flat_map(|(_, rows)| rows).for_each(|(_, p)| *balance.entry(p).or_default() += 1);
    for (position, n) in balance.into_iter().filter(|(_, n)| *n != 0) {
        if n < 0 {
            v.lost += n.unsigned_abs();
        } else {
            v.duplicate += n.unsigned_abs();
        }
        v.note(|| format!("{sink}, by the rules: {n:+} rows of input {position}"));
    }
}

/// Sinks with rules of their own.
fn check_decisions(v: &mut Verdict, scenario: &Scenario, got: &Outputs) {
    for decided in scenario.decided.iter().chain(&scenario.told) {
        check_decided(v, decided, got);
    }
}

fn check_decided(v: &mut Verdict, decided: &Decided, got: &Outputs) {
    let mut decisions = Decisions::new();
    for ((_, key), rows) in got.rows.iter().filter(|(k, _)| k.0 == decided.sink) {
        let key = String::from_utf8_lossy(key.as_deref().unwrap_or_default()).into_owned();
        decisions.insert(key, rows.iter().map(|(row, _)| row.clone()).collect());
    }
    for (wrong, what) in (decided.check)(&decisions) {
        match wrong {
            Wrong::Lost => v.lost += 1,
            Wrong::Duplicate => v.duplicate += 1,
            Wrong::Reordered => v.reordered += 1,
            Wrong::Other => v.differing += 1,
        }
        v.note(|| what);
    }
}

type StateRows = BTreeMap<(u16, Vec<u8>, i64), Vec<u8>>;

fn rows_of(snapshot: &Snapshot, chunks: &mut Vec<u8>) -> Result<StateRows, String> {
    let mut rows = StateRows::new();
    for (chunk, parts) in &snapshot.chunks {
        chunks.push(*chunk);
        for part in parts {
            let read = changelog::read(part, &mut |state, key, sub, value| {
                rows.insert((state, key.to_vec(), sub), value.unwrap_or_default().to_vec());
                Ok(())
            });
            read.map_err(|e| e.to_string())?;
        }
    }
    Ok(rows)
}

/// A task as the changelog alone gives it, or a snapshot and the changelog behind it.
fn restored(sim: &Simulation, (slice, id): (usize, TaskId), disk: Option<&crate::sim::Disk>) -> Result<Task, String> {
    let mut task = sim.fresh_task(slice, id).map_err(|e| e.to_string())?;
    let at = TopicPartition::new(changelog_topic(&sim.scenario.slices[slice].topology.name), id.0);
    let mut log = all_records(&sim.broker, &at);
    let mut skip_through = 0;
    if let Some(d) = disk {
        for records in disk_records(d) {
            for i in 0..records.rows.len() {
                task.import(records.value(i).unwrap_or_default(), 0).map_err(|e| e.to_string())?;
            }
        }
        task.resume_at(d.epoch, d.positions.clone());
        skip_through = d.epoch;
        log.rows.retain(|r| r.offset >= d.from_offset);
    }
    for i in 0..log.rows.len() {
        task.import(log.value(i).unwrap_or_default(), skip_through).map_err(|e| e.to_string())?;
    }
    Ok(task)
}

/// Live state, changelog alone and snapshots with changelog must agree.
fn check_state(v: &mut Verdict, sim: &mut Simulation) {
    let mut live = BTreeMap::new();
    for (slice, t) in sim.live_tasks() {
        let mut chunks = Vec::new();
        let (id, positions) = (t.id, t.committed_positions());
        match t.snapshot().map_err(|e| e.to_string()).and_then(|s| rows_of(&s, &mut chunks)) {
            Ok(rows) => {
                live.insert((slice, id), (rows, chunks, positions));
            }
            Err(e) => v.note(|| format!("task {}: its state cannot be scanned: {e}", id.0)),
        }
    }
    for ((slice, id), (rows, chunks, positions)) in live {
        let disks: Vec<_> = sim.disks().filter(|(t, _)| *t == (slice, id)).map(|(_, d)| Some(d.clone())).collect();
        let at = TopicPartition::new(changelog_topic(&sim.scenario.slices[slice].topology.name), id.0);
        let start = sim.broker.partition(&at).map_or(0, |p| p.start());
        let mut first: Option<StateRows> = None;
        for disk in std::iter::once(None).chain(disks.into_iter().filter(|d| d.as_ref().is_some_and(|d| d.from_offset >= start))) {
            let from = if disk.is_some() { "a snapshot and the changelog" } else { "the changelog alone" };
            let scanned = restored(sim, (slice, id), disk.as_ref()).and_then(|mut t| {
                if let Some((at, offset)) = positions.iter().find(|(at, offset)| t.position(at) != Some(*offset)) {
                    return Err(format!("position of {at} is {:?} instead of {offset}", t.position(at)));
                }
                t.snapshot().map_err(|e| e.to_string()).and_then(|s| rows_of(&s, &mut Vec::new()))
            });
            let found = match scanned {
                Ok(found) => found,
                Err(e) => {
                    v.note(|| format!("task {}: cannot be restored from {from}: {e}", id.0));
                    continue;
                }
            };
            let wanted = match &first {
                // Running tasks tell only what changed since their last snapshot.
                None => rows.clone(),
                Some(all) => all.clone(),
            };
            let part: StateRows = found
                .iter()
                .filter(|((_, key, _), _)| first.is_some() || chunks.contains(&changelog::chunk_of(key)))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            if part != wanted {
                let mut keys: Vec<_> = part.keys().chain(wanted.keys()).filter(|k| part.get(*k) != wanted.get(*k)).collect();
                keys.sort();
                keys.dedup();
                v.state += keys.len() as u64;
                let (state, key, sub) = keys[0].clone();
                let side = |m: &StateRows| m.get(&(state, key.clone(), sub)).map_or("absent".to_string(), |v| ws_stream::task::hex(&v[..v.len().min(40)]));
                let (a, b) = (side(&part), side(&wanted));
                let n = keys.len();
                v.note(|| {
                    format!(
                        "task {}: {n} rows differ when restored from {from}; the first: state {state} key {} sub {sub}: {a} instead of {b}",
                        id.0,
                        String::from_utf8_lossy(&key)
                    )
                });
            }
            first.get_or_insert(found);
        }
    }
}
