//! Reads the larger stages: `absence`, `apply`, `optimize`.

use crate::duration;
use crate::errors::{Problems, did_you_mean};
use crate::file::{Op, Sql};
use crate::file_stages::{Absence, Apply, Moment, Optimize, Trigger};
use crate::read;
use crate::read_stage::take;
use crate::yaml::{At, Fields, Node, Value};
use std::collections::BTreeMap;

const ABSENCE_FIELDS: [&str; 14] =
    ["key", "each", "when", "after", "due", "met", "cancel", "not_before", "repeat", "give_up", "clock", "emit", "take", "max_open"];
const OPTIMIZE_FIELDS: [&str; 16] = [
    "solver",
    "fallback",
    "key",
    "entity",
    "deleted",
    "valid_until",
    "ttl",
    "trigger",
    "timeout",
    "budget",
    "iterations",
    "retry",
    "with",
    "max_rows",
    "max_memo",
    "max_calls",
];

fn sql(f: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<Sql> {
    f.get(name).and_then(|n| read::sql(n, name, problems))
}

fn positive(f: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<i64> {
    f.get(name).and_then(|n| read::positive(n, problems))
}

fn whole(f: &Fields<'_>, name: &str, to: i64, problems: &mut Problems) -> Option<i64> {
    f.get(name).and_then(|n| read::whole(n, name, 1, to, problems)).map(|n| n.value)
}

fn names(f: &Fields<'_>, name: &str, problems: &mut Problems) -> Vec<At<String>> {
    f.get(name).map(|n| read::names(n, name, problems)).unwrap_or_default()
}

/// `with: { name: value }`: texts for the edge.
fn with(f: &Fields<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    match f.get("with") {
        None => {}
        Some(Node { value: Value::Map(entries), .. }) => {
            for (name, value) in entries {
                if let Some(text) = read::text(value, &name.value, problems) {
                    out.insert(name.value.clone(), text.value);
                }
            }
        }
        Some(other) => problems.hint(other.at, format!("`with` must be a mapping, not {}", other.value.kind()), "with: { setting: value }"),
    }
    out
}

/// `absence: { … }`
pub fn absence(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let node = fields.get("absence")?;
    let f = Fields::of(node, "absence", &ABSENCE_FIELDS, problems)?;
    let key = f.need("key", "device_id", problems).map(|n| read::names(n, "key", problems));
    let due = match (f.get("after"), f.get("due")) {
        (Some(after), None) => read::positive(after, problems).map(Moment::After),
        (None, Some(due)) => read::sql(due, "due", problems).map(Moment::At),
        (Some(_), Some(_)) => {
            problems.hint(f.key_at("due"), "`after` and `due` in one absence", "`after: 15m` counts from the opening row, `due: column` names the time itself");
            None
        }
        (None, None) => {
            problems.hint(f.at, "absence lacks `after` or `due`", "for example `after: 15m`: how long nothing may come");
            None
        }
    };
    let not_before = f.get("not_before").and_then(|n| {
        let moment = match n.value.scalar_text().and_then(|t| duration::parse_ms(&t).ok()) {
            Some(ms) => Some(Moment::After(ms)),
            None => read::sql(n, "not_before", problems).map(Moment::At),
        };
        moment.map(|m| At::new(m, n.at))
    });
    let processing = match f.get("clock").and_then(|n| read::text(n, "clock", problems)) {
        None => false,
        Some(c) if c.value == "event" => false,
        Some(c) if c.value == "processing" => true,
        Some(c) => {
            problems.push(c.at, format!("unknown clock `{}`", c.value), did_you_mean(&c.value, ["event", "processing"]));
            false
        }
    };
    Some(Op::Absence(Box::new(Absence {
        at: node.at,
        key: key?,
        each: names(&f, "each", problems),
        when: sql(&f, "when", problems),
        due,
        met: sql(&f, "met", problems),
        cancel: sql(&f, "cancel", problems),
        not_before,
        repeat_ms: f.get("repeat").and_then(|n| read::positive(n, problems).map(|ms| At::new(ms, n.at))),
        give_up_ms: positive(&f, "give_up", problems),
        processing,
        emit: names(&f, "emit", problems),
        take: f.get("take").map(|n| take(n, problems)).unwrap_or_default(),
        max_open: whole(&f, "max_open", 1_000_000, problems),
    })))
}

/// `apply: { … }`
pub fn apply(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let f = Fields::of(fields.get("apply")?, "apply", &["operator", "key", "with", "carry", "max_state"], problems)?;
    let operator = f.need("operator", "my-operator", problems).and_then(|n| read::text(n, "operator", problems));
    let key = f.need("key", "vehicle_id", problems).map(|n| read::names(n, "key", problems));
    let with = with(&f, problems);
    let carry = names(&f, "carry", problems);
    let max_state_bytes = whole(&f, "max_state", 256 << 10, problems);
    Some(Op::Apply(Box::new(Apply { operator: operator?, key: key?, with, carry, max_state_bytes })))
}

/// `optimize: { … }`
pub fn optimize(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let node = fields.get("optimize")?;
    let f = Fields::of(node, "optimize", &OPTIMIZE_FIELDS, problems)?;
    let solver = f.need("solver", "my-solver", problems).and_then(|n| read::text(n, "solver", problems));
    let key = f.need("key", "planning_area_id", problems).map(|n| read::names(n, "key", problems));
    let entity = f.need("entity", "[kind, entity_id]", problems).map(|n| read::names(n, "entity", problems));
    let trigger = match f.get("trigger") {
        None => Trigger::default(),
        Some(n) => {
            let t = Fields::of(n, "trigger", &["debounce", "max_wait", "at_most_every", "urgent", "quiet"], problems)?;
            Trigger {
                debounce_ms: t.get("debounce").and_then(|n| read::duration(n, problems)),
                max_wait_ms: positive(&t, "max_wait", problems),
                at_most_every_ms: t.get("at_most_every").and_then(|n| read::duration(n, problems)),
                urgent: sql(&t, "urgent", problems),
                quiet: sql(&t, "quiet", problems),
            }
        }
    };
    Some(Op::Optimize(Box::new(Optimize {
        at: node.at,
        fallback: f.get("fallback").and_then(|n| read::text(n, "fallback", problems)),
        deleted: sql(&f, "deleted", problems),
        valid_until: sql(&f, "valid_until", problems),
        ttl_ms: positive(&f, "ttl", problems),
        trigger,
        timeout_ms: positive(&f, "timeout", problems),
        budget_ms: positive(&f, "budget", problems),
        iterations: whole(&f, "iterations", i64::MAX, problems),
        retry_ms: positive(&f, "retry", problems),
        with: with(&f, problems),
        max_rows: whole(&f, "max_rows", 1_000_000, problems),
        max_memo_bytes: whole(&f, "max_memo", 384 << 10, problems),
        max_calls: whole(&f, "max_calls", 1_000, problems),
        solver: solver?,
        key: key?,
        entity: entity?,
    })))
}
