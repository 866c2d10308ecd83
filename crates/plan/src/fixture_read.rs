//! Reads fixture files. Problems are reported like those of topologies: with line, column and hint, all at once.

use crate::errors::{PlanErrors, Problems};
use crate::fixture::{Cell, Expect, Fixture, Payload, Row, Said, Step};
use crate::read;
use crate::yaml::{self, Fields, Node, Pos, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Most rows that one fixture may push, repetitions included.
const MAX_ROWS: usize = 100_000;
/// Processing time when a fixture names none: 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;

/// Reads a fixture file.
pub fn parse_file(path: &Path) -> Result<Fixture, PlanErrors> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&name, &text),
        Err(error) => {
            let mut problems = Problems::new(&name, "");
            problems.add(Pos::NONE, format!("cannot be read: {error}"));
            problems.into_result(None)
        }
    }
}

/// Reads the text of a fixture.
pub fn parse(name: &str, text: &str) -> Result<Fixture, PlanErrors> {
    let mut problems = Problems::new(name, text);
    let fixture = yaml::parse(text, &|_| None, &mut problems).and_then(|root| fixture(name, &root, &mut problems));
    problems.into_result(fixture)
}

fn fixture(name: &str, root: &Node, problems: &mut Problems) -> Option<Fixture> {
    let fields = Fields::of(root, "a fixture", &["about", "start", "tolerance", "defaults", "steps", "expect", "answers"], problems)?;
    let about = fields.need("about", "what this shows", problems).and_then(|n| read::text(n, "about", problems)).map(|t| t.value).unwrap_or_default();
    let start_ms = match fields.get("start") {
        None => START_MS,
        Some(node) => match cell(node) {
            Cell::Int(ms) => ms,
            _ => {
                problems.hint(node.at, "`start` is not a time", "2026-11-02T08:00:00Z");
                return None;
            }
        },
    };
    let tolerance = fields.get("tolerance").and_then(|n| read::number(n, "tolerance", problems)).unwrap_or(1e-6);
    let mut defaults = BTreeMap::new();
    if let Some(node) = fields.get("defaults") {
        for (topic, value) in entries(node, "defaults", problems) {
            defaults.insert(topic.clone(), row(value, problems)?);
        }
    }
    let mut reader = Steps { defaults, counts: BTreeMap::new(), steps: Vec::new(), rows: 0 };
    match fields.need("steps", "[{ push: my.topic, rows: [{…}] }]", problems)? {
        Node { value: Value::List(items), .. } => items.iter().for_each(|n| reader.step(n, problems)),
        other => problems.add(other.at, "`steps` must be a list"),
    }
    let mut expect = Vec::new();
    if let Some(node) = fields.need("expect", "{ my.topic: [{…}] }", problems) {
        for (topic, value) in entries(node, "expect", problems) {
            if let Some(e) = expectation(value, problems) {
                expect.push((topic.clone(), e));
            }
        }
    }
    let mut answers = Vec::new();
    if let Some(node) = fields.get("answers") {
        for (name, value) in entries(node, "answers", problems) {
            let Value::List(items) = &value.value else {
                problems.hint(value.at, format!("the answers of `{name}` must be a list, not {}", value.value.kind()), "one item per call: [{ rows: [{…}] }]");
                continue;
            };
            answers.push((name.clone(), items.iter().filter_map(|n| said(n, problems)).collect()));
        }
    }
    Some(Fixture { file: name.to_string(), about, start_ms, tolerance, steps: reader.steps, answers, expect })
}

fn entries<'a>(node: &'a Node, what: &str, problems: &mut Problems) -> Vec<(&'a String, &'a Node)> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|(k, v)| (&k.value, v)).collect(),
        other => {
            problems.add(node.at, format!("`{what}` must be a mapping, not {}", other.kind()));
            Vec::new()
        }
    }
}

/// One answer of a model or solver.
fn said(node: &Node, problems: &mut Problems) -> Option<Said> {
    let f = Fields::of(node, "an answer", &["rows", "memo", "iterations", "fail"], problems)?;
    if let Some(why) = f.get("fail") {
        return read::text(why, "fail", problems).map(|t| Said::Fail(t.value));
    }
    let rows = f.need("rows", "[{ … }]", problems).map(|n| rows(n, problems))?;
    let memo = f.get("memo").and_then(|n| read::text(n, "memo", problems)).map(|t| t.value).unwrap_or_default();
    let iterations = f.get("iterations").and_then(|n| read::whole(n, "iterations", 0, i64::MAX, problems)).map_or(0, |n| n.value.unsigned_abs());
    Some(Said::Rows { rows, memo, iterations })
}

fn expectation(node: &Node, problems: &mut Problems) -> Option<Expect> {
    if let Value::List(_) = &node.value {
        return Some(Expect::Exactly(rows(node, problems)));
    }
    let f = Fields::of(node, "an expectation", &["contains", "none", "count"], problems)?;
    let list = |name: &str, problems: &mut Problems| f.get(name).map(|n| rows(n, problems)).unwrap_or_default();
    let count = f.get("count").and_then(|n| read::whole(n, "count", 0, MAX_ROWS as i64, problems)).and_then(|c| usize::try_from(c.value).ok());
    Some(Expect::Some { contains: list("contains", problems), none: list("none", problems), count })
}

fn rows(node: &Node, problems: &mut Problems) -> Vec<Row> {
    match &node.value {
        Value::List(items) => items.iter().filter_map(|n| row(n, problems)).collect(),
        Value::Map(_) => row(node, problems).into_iter().collect(),
        other => {
            problems.add(node.at, format!("rows must be a list, not {}", other.kind()));
            Vec::new()
        }
    }
}

fn row(node: &Node, problems: &mut Problems) -> Option<Row> {
    let Value::Map(entries) = &node.value else {
        problems.hint(node.at, format!("a row must be a mapping, not {}", node.value.kind()), "{ column: value, … }");
        return None;
    };
    Some(entries.iter().map(|(k, v)| (k.value.clone(), cell(v))).collect())
}

fn cell(node: &Node) -> Cell {
    match &node.value {
        Value::Null => Cell::Null,
        Value::Bool(b) => Cell::Bool(*b),
        Value::Int(i) => Cell::Int(*i),
        Value::Float(x) => Cell::Float(*x),
        Value::Text(t) => time_ms(t).map_or_else(|| Cell::Text(t.clone()), Cell::Int),
        Value::List(items) => Cell::List(items.iter().map(cell).collect()),
        Value::Map(entries) => Cell::Map(entries.iter().map(|(k, v)| (k.value.clone(), cell(v))).collect()),
    }
}

struct Steps {
    defaults: BTreeMap<String, Row>,
    counts: BTreeMap<String, i64>,
    steps: Vec<Step>,
    rows: usize,
}

impl Steps {
    fn step(&mut self, node: &Node, problems: &mut Problems) {
        let Some(f) = Fields::of(node, "a step", &["push", "key", "rows", "repeat", "step", "bytes", "delete", "advance"], problems) else {
            return;
        };
        if let Some(by) = f.get("advance") {
            if let Some(by_ms) = read::positive(by, problems) {
                self.steps.push(Step::Advance { by_ms });
            }
            return;
        }
        let Some(topic) = f.need("push", "my.topic", problems).and_then(|n| read::text(n, "push", problems)) else {
            return;
        };
        let key = f.get("key").and_then(|n| read::text(n, "key", problems)).map(|k| k.value);
        if let Some(bytes) = f.get("bytes") {
            match read::text(bytes, "bytes", problems).and_then(|t| hex(&t.value)) {
                Some(bytes) => self.steps.push(Step::Push { topic: topic.value, key, payload: Payload::Bytes(bytes) }),
                None => problems.hint(bytes.at, "`bytes` is not hexadecimal", "'00000003e9ff'"),
            }
            return;
        }
        if f.get("delete").is_some() {
            self.steps.push(Step::Push { topic: topic.value, key, payload: Payload::Deleted });
            return;
        }
        let repeat = f.get("repeat").and_then(|n| read::whole(n, "repeat", 1, MAX_ROWS as i64, problems)).map_or(1, |r| r.value);
        let steps = f.get("step").map(|n| entries(n, "step", problems)).unwrap_or_default();
        let mut change = Vec::new();
        for (column, value) in steps {
            match &value.value {
                Value::Int(i) => change.push((column.clone(), Cell::Int(*i))),
                Value::Float(x) => change.push((column.clone(), Cell::Float(*x))),
                _ => change.extend(read::duration(value, problems).map(|ms| (column.clone(), Cell::Int(ms)))),
            }
        }
        let Some(node) = f.need("rows", "[{ … }]", problems) else {
            return;
        };
        let rows = rows(node, problems);
        self.rows += rows.len() * usize::try_from(repeat).unwrap_or(usize::MAX / 1_000_000);
        if self.rows > MAX_ROWS {
            problems.add(node.at, format!("more than {MAX_ROWS} rows"));
            return;
        }
        for n in 0..repeat {
            for row in &rows {
                let moved = row.iter().map(|(c, v)| (c.clone(), shift(v, change.iter().find(|(name, _)| name == c).map(|(_, by)| by), n))).collect();
                let row = self.complete(&topic.value, moved);
                self.steps.push(Step::Push { topic: topic.value.clone(), key: key.clone(), payload: Payload::Row(row) });
            }
        }
    }

    /// Fills in defaults, running numbers and copies.
    fn complete(&mut self, topic: &str, mut row: Row) -> Row {
        for (column, value) in self.defaults.get(topic).into_iter().flatten() {
            if !row.iter().any(|(c, _)| c == column) {
                row.push((column.clone(), value.clone()));
            }
        }
        let count = self.counts.entry(topic.to_string()).or_default();
        *count += 1;
        let number = *count;
        let before = row.clone();
        for (_, value) in &mut row {
            let Cell::Text(text) = value else { continue };
            if text == "#" {
                *value = Cell::Text(format!("{topic}-{number}"));
            } else if let Some((_, of)) = text.strip_prefix('=').and_then(|name| before.iter().find(|(c, _)| c == name)) {
                *value = of.clone();
            }
        }
        row
    }
}

fn shift(value: &Cell, by: Option<&Cell>, n: i64) -> Cell {
    match (value, by) {
        (Cell::Int(v), Some(Cell::Int(by))) => Cell::Int(v.saturating_add(by.saturating_mul(n))),
        (Cell::Int(v), Some(Cell::Float(by))) => Cell::Float(*v as f64 + by * n as f64),
        (Cell::Float(v), Some(Cell::Float(by))) => Cell::Float(v + by * n as f64),
        (Cell::Float(v), Some(Cell::Int(by))) => Cell::Float(v + (by * n) as f64),
        _ => value.clone(),
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|p| p[0] * 16 + p[1]).collect())
}

/// UTC ms of `2026-11-02T07:50:00Z` or `2026-11-02T07:50:00.250Z`.
pub fn time_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |s: &str, by: char, widths: [usize; 3]| -> Option<[i64; 3]> {
        let parts: Vec<&str> = s.split(by).collect();
        let fits = parts.len() == 3 && parts.iter().zip(widths).all(|(p, w)| p.len() == w && p.chars().all(|c| c.is_ascii_digit()));
        if !fits {
            return None;
        }
        Some([parts[0].parse().ok()?, parts[1].parse().ok()?, parts[2].parse().ok()?])
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [y, m, d] = numbers(date, '-', [4, 2, 2])?;
    let [h, min, s] = numbers(time, ':', [2, 2, 2])?;
    if fraction.is_empty()
        || fraction.len() > 3
        || !fraction.chars().all(|c| c.is_ascii_digit())
        || !(1..=12).contains(&m)
        || !(1..=31).contains(&d)
        || h > 23
        || min > 59
        || s > 59
    {
        return None;
    }
    let fraction_ms: i64 = format!("{fraction:0<3}").parse().ok()?;
    // Days from civil, proleptic Gregorian.
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let of_era = y - era * 400;
    let of_year = (153 * (m + if m > 2 { -3 } else { 9 }) + 2) / 5 + d - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(((days * 24 + h) * 60 + min) * 60_000 + s * 1000 + fraction_ms)
}
