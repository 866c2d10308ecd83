//! Reads one stage. A stage does one thing: what it is follows from its fields, and two kinds in one stage are refused.

use crate::defaults;
use crate::errors::Problems;
use crate::file::{DropRule, Item, Op, OtherwiseRule, Stage};
use crate::read;
use crate::read_stages;
use crate::yaml::{At, Fields, Node, Value};

const STAGE_FIELDS: [&str; 19] = [
    "id",
    "from",
    "where",
    "otherwise",
    "select",
    "add",
    "each",
    "dedup",
    "join",
    "group_by",
    "window",
    "emit",
    "changed",
    "infer",
    "absence",
    "apply",
    "optimize",
    "rekey",
    "union",
];
/// Fields that decide what a stage is, and the fields that may stand beside them.
const KINDS: [(&str, &[&str]); 11] = [
    ("each", &["select"]),
    ("dedup", &[]),
    ("join", &[]),
    ("window", &["group_by", "emit", "select"]),
    ("changed", &[]),
    ("infer", &[]),
    ("absence", &[]),
    ("apply", &[]),
    ("optimize", &[]),
    ("rekey", &[]),
    ("union", &[]),
];

/// Reads a stage; `None` when it has no id to speak of it.
pub fn stage(node: &Node, problems: &mut Problems) -> Option<Stage> {
    let fields = Fields::of(node, "a stage", &STAGE_FIELDS, problems)?;
    let id = fields.need("id", "sane", problems).and_then(|n| read::text(n, "id", problems));
    let from = match fields.get("union") {
        Some(node) => union(&fields, node, problems),
        None => fields.need("from", "readings", problems).map(|n| read::names(n, "from", problems)).unwrap_or_default(),
    };
    if let Some(id) = &id {
        let fine = !id.value.is_empty() && id.value.len() <= 60 && id.value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !fine {
            problems.hint(id.at, format!("`{}` cannot be a stage id", id.value), "small letters, digits and `_`, at most 60: state is stored under it");
        }
    }
    let op = op(&fields, problems);
    Some(Stage { at: node.at, id: id?, from, op })
}

fn op(fields: &Fields<'_>, problems: &mut Problems) -> Op {
    let kinds: Vec<_> = KINDS.iter().filter(|(k, _)| fields.get(k).is_some()).collect();
    let op_fields = [
        "where",
        "otherwise",
        "select",
        "add",
        "each",
        "dedup",
        "join",
        "group_by",
        "window",
        "emit",
        "changed",
        "infer",
        "absence",
        "apply",
        "optimize",
        "rekey",
        "union",
    ];
    let (kind, companions): (&str, &[&str]) = match kinds.as_slice() {
        [] => ("select", &["where", "otherwise", "select", "add"]),
        [(kind, companions)] => (*kind, *companions),
        [(first, _), (second, _), ..] => {
            problems.hint(
                fields.key_at(second),
                format!("`{first}` and `{second}` in one stage"),
                "one stage does one thing: split it in two, the second with `from:` the first",
            );
            return Op::Broken;
        }
    };
    for field in op_fields.iter().filter(|f| **f != kind && !companions.contains(*f)) {
        if fields.get(field).is_some() {
            let message = if kind == "select" { format!("`{field}` needs a `window`") } else { format!("`{field}` does not go with `{kind}`") };
            let hint = if kind == "select" {
                "for example `window: { tumbling: 1m }`".to_string()
            } else {
                format!("put `{field}` into a stage of its own, `from:` this one")
            };
            problems.hint(fields.key_at(field), message, hint);
        }
    }
    let op = match kind {
        "each" => each(fields, problems),
        "dedup" => dedup(fields, problems),
        "join" => join(fields, problems),
        "window" => window(fields, problems),
        "changed" => changed(fields, problems),
        "infer" => infer(fields, problems),
        "absence" => read_stages::absence(fields, problems),
        "apply" => read_stages::apply(fields, problems),
        "optimize" => read_stages::optimize(fields, problems),
        "rekey" => rekey(fields, problems),
        "union" => Some(Op::Union { nulls: fields.get("union").is_some_and(|n| matches!(n.value, Value::Map(_))) }),
        _ => select(fields, problems),
    };
    op.unwrap_or(Op::Broken)
}

fn select(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let filter = fields.get("where").and_then(|n| read::sql(n, "where", problems));
    let otherwise = match fields.get("otherwise") {
        None => OtherwiseRule::Drop,
        Some(node) => {
            if fields.get("where").is_none() {
                problems.hint(fields.key_at("otherwise"), "`otherwise` without `where`", "it says what happens to rows that `where` refuses");
            }
            match &node.value {
                Value::Text(word) if word == "drop" => OtherwiseRule::Drop,
                Value::Map(_) => {
                    let f = Fields::of(node, "otherwise", &["dead_letter"], problems)?;
                    let reason = f.need("dead_letter", "level_out_of_range", problems).and_then(|n| read::text(n, "dead_letter", problems))?;
                    reason_code(&reason, problems);
                    OtherwiseRule::DeadLetter(reason)
                }
                _ => {
                    problems.hint(node.at, "`otherwise` is not understood", "`drop`, or `{ dead_letter: a_reason }`");
                    return None;
                }
            }
        }
    };
    let selection = read::selection(fields, problems);
    if !fields.unknown && fields.get("where").is_none() && fields.get("select").is_none() && fields.get("add").is_none() {
        problems.hint(
            fields.at,
            "this stage does nothing",
            "give it one of where, select, add, each, dedup, join, window, changed, infer, absence, apply, optimize, rekey, union",
        );
    }
    Some(Op::Select { filter, otherwise, selection })
}

/// `union: [a, b]` or `union: { of: [a, b], missing: nulls }` says where its rows come from.
fn union(fields: &Fields<'_>, node: &Node, problems: &mut Problems) -> Vec<At<String>> {
    if fields.get("from").is_some() {
        problems.hint(fields.key_at("from"), "`from` beside `union`", "`union: [a, b]` names the stages itself");
    }
    let mut names = Vec::new();
    if let Value::Map(_) = &node.value {
        let Some(f) = Fields::of(node, "union", &["of", "missing"], problems) else { return names };
        names = f.need("of", "[a, b]", problems).map(|n| read::names(n, "of", problems)).unwrap_or_default();
        let missing = f.need("missing", "nulls", problems).and_then(|n| read::text(n, "missing", problems));
        if let Some(word) = missing.filter(|m| m.value != "nulls") {
            problems.hint(word.at, format!("`missing: {}` is not understood", word.value), "missing: nulls");
        }
    } else {
        names.extend(read::names(node, "union", problems));
    }
    if names.len() == 1 {
        problems.hint(node.at, "a `union` of one", "name two stages or more, or leave it out");
    }
    names
}

/// `rekey: planning_area` or `rekey: { key: planning_area, partitions: 8 }`.
fn rekey(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let node = fields.get("rekey")?;
    if let Value::Map(_) = &node.value {
        let f = Fields::of(node, "rekey", &["key", "partitions"], problems)?;
        let key = f.need("key", "planning_area", problems).and_then(|n| read::text(n, "key", problems));
        let partitions = f.get("partitions").and_then(|n| read::whole(n, "partitions", 1, defaults::MAX_REKEY_PARTITIONS, problems)).map(|p| p.value);
        return Some(Op::Rekey { key: key?, partitions });
    }
    if let Value::List(_) = &node.value {
        problems.hint(node.at, "`rekey` takes one column", "put the parts together in a stage before: `add: { place: area || '/' || stream }`");
        return None;
    }
    read::text(node, "rekey", problems).map(|key| Op::Rekey { key, partitions: None })
}

/// Reasons are stable codes: they end up in metrics and dead letters.
fn reason_code(reason: &At<String>, problems: &mut Problems) {
    if reason.value.is_empty() || reason.value.len() > 60 || !reason.value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        problems.hint(
            reason.at,
            format!("`{}` cannot be a reason", reason.value),
            "a code of small letters, digits and `_`, at most 60: it is counted in metrics",
        );
    }
}

fn each(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let common = read::selection(fields, problems);
    let node = fields.get("each")?;
    let Value::List(list) = &node.value else {
        problems.hint(node.at, format!("`each` must be a list, not {}", node.value.kind()), "one item per output row, each with the same columns");
        return None;
    };
    let alternatives: Vec<At<Vec<Item>>> = list.iter().map(|n| At::new(read::items(n, problems), n.at)).collect();
    if alternatives.is_empty() {
        problems.add(node.at, "`each` is empty");
        return None;
    }
    Some(Op::Each { common, alternatives })
}

fn dedup(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let f = Fields::of(fields.get("dedup")?, "dedup", &["key", "by", "keep"], problems)?;
    let key = f.need("key", "device_id", problems).map(|n| read::names(n, "key", problems));
    let id = f.need("by", "event_id", problems).map(|n| read::names(n, "by", problems));
    let keep_ms = f.get("keep").and_then(|n| read::positive(n, problems));
    Some(Op::Dedup { key: key?, id: id?, keep_ms })
}

fn join(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let f = Fields::of(fields.get("join")?, "join", &["table", "on", "take", "missing"], problems)?;
    let table = f.need("table", "devices", problems).and_then(|n| read::text(n, "table", problems));
    let on = f.need("on", "device_id", problems).map(|n| read::names(n, "on", problems));
    let take = f.need("take", "[container_id]", problems).map(|n| take(n, problems));
    let unmatched = match f.get("missing") {
        None => {
            problems.hint(
                f.at,
                "join lacks `missing`",
                "`missing: nulls`, or `missing: { unmatched: a_reason }`: what happens to rows without a partner is a decision",
            );
            None
        }
        Some(Node { value: Value::Text(word), .. }) if word == "nulls" => None,
        Some(node @ Node { value: Value::Map(_), .. }) => {
            let m = Fields::of(node, "missing", &["unmatched"], problems)?;
            let reason = m.need("unmatched", "unknown_device", problems).and_then(|n| read::text(n, "unmatched", problems))?;
            reason_code(&reason, problems);
            Some(reason)
        }
        Some(node) => {
            problems.hint(node.at, "`missing` is not understood", "`nulls`, or `{ unmatched: a_reason }`");
            None
        }
    };
    Some(Op::Join { table: table?, on: on?, take: take?, unmatched })
}

/// `take: [a, b]` or `take: [a, { new_name: b }]` or `take: { new_name: b }`.
pub(crate) fn take(node: &Node, problems: &mut Problems) -> Vec<(At<String>, At<String>)> {
    let mut out = Vec::new();
    let mut renamed = |entries: &[(At<String>, Node)], problems: &mut Problems| {
        for (name, value) in entries {
            if let Some(column) = read::text(value, "take", problems) {
                out.push((column, name.clone()));
            }
        }
    };
    match &node.value {
        Value::Map(entries) => renamed(entries, problems),
        Value::List(items) => {
            for item in items {
                match &item.value {
                    Value::Map(entries) => renamed(entries, problems),
                    _ => {
                        if let Some(column) = read::text(item, "take", problems) {
                            renamed(&[(column.clone(), Node::new(Value::Text(column.value), column.at))], problems);
                        }
                    }
                }
            }
        }
        _ => {
            if let Some(column) = read::text(node, "take", problems) {
                out.push((column.clone(), column));
            }
        }
    }
    out
}

fn window(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let node = fields.get("window")?;
    let f = Fields::of(node, "window", &["tumbling", "hopping", "every", "since", "trailing", "at_most", "panes"], problems)?;
    let at = node.at;
    let group_by = fields.need("group_by", "device_id", problems).map(|n| read::names(n, "group_by", problems));
    let select = fields.need("select", "{ n: count() }", problems).map(|n| read::items(n, problems));
    let shapes: Vec<&str> = ["tumbling", "hopping", "since", "trailing"].into_iter().filter(|k| f.get(k).is_some()).collect();
    let [shape] = shapes.as_slice() else {
        problems.hint(at, "a window needs exactly one of `tumbling`, `hopping`, `since`, `trailing`", "for example `window: { tumbling: 1m }`");
        return None;
    };
    let allowed: &[&str] = match *shape {
        "tumbling" => &["tumbling"],
        "hopping" => &["hopping", "every"],
        "trailing" => &["trailing", "panes"],
        _ => &["since", "at_most", "panes"],
    };
    for other in ["every", "at_most", "panes"] {
        if f.get(other).is_some() && !allowed.contains(&other) {
            problems.add(f.key_at(other), format!("`{other}` does not go with `{shape}`"));
        }
    }
    if *shape == "since" || *shape == "trailing" {
        let (column, drop) = match f.get("since") {
            Some(n) => since(n, problems)?,
            None => (None, None),
        };
        let reach = f.get("trailing").or_else(|| f.get("at_most"));
        let at_most_ms = reach.and_then(|n| read::positive(n, problems));
        let pane_ms = f.get("panes").and_then(|n| read::positive(n, problems));
        let emit = fields.get("emit").and_then(|n| Fields::of(n, "emit", &["or_every", "give_up"], problems));
        let or_every_ms = emit.as_ref().and_then(|e| e.get("or_every")).and_then(|n| read::positive(n, problems));
        let give_up_ms = emit.as_ref().and_then(|e| e.get("give_up")).and_then(|n| read::positive(n, problems));
        return Some(Op::Since { group_by: group_by?, column, drop, at_most_ms, pane_ms, or_every_ms, give_up_ms, at, select: select? });
    }
    if fields.get("emit").is_some() {
        problems.hint(
            fields.key_at("emit"),
            format!("`emit` does not go with `{shape}`"),
            "tumbling and hopping windows give their final result when the watermark passes their end",
        );
    }
    let size_ms = f.get(shape).and_then(|n| read::positive(n, problems));
    let slide_ms = match *shape {
        "hopping" => f.need("every", "10m", problems).and_then(|n| read::positive(n, problems)),
        _ => size_ms,
    };
    Some(Op::Window { group_by: group_by?, size_ms: size_ms?, slide_ms: slide_ms?, at, select: select? })
}

type Since = (Option<At<String>>, Option<DropRule>);

fn since(node: &Node, problems: &mut Problems) -> Option<Since> {
    if let Value::Text(column) = &node.value {
        return Some((Some(At::new(column.clone(), node.at)), None));
    }
    let f = Fields::of(node, "since", &["column", "drop"], problems)?;
    let column = f.get("column").and_then(|n| read::text(n, "column", problems));
    let drop = match f.get("drop") {
        None => None,
        Some(n) => {
            let d = Fields::of(n, "drop", &["of", "by", "to_at_most"], problems)?;
            let of = d.need("of", "filling_level", problems).and_then(|n| read::sql(n, "of", problems));
            let by = d.need("by", "0.25", problems).and_then(|n| read::number(n, "by", problems));
            let to_at_most = d.need("to_at_most", "0.35", problems).and_then(|n| read::number(n, "to_at_most", problems));
            Some(DropRule { of: of?, by: by?, to_at_most: to_at_most? })
        }
    };
    if column.is_none() && drop.is_none() {
        problems.hint(node.at, "`since` needs `column` or `drop`", "`column: emptied_at` resets at the newest such time, `drop: {…}` when the values fall");
        return None;
    }
    Some((column, drop))
}

fn changed(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let f = Fields::of(fields.get("changed")?, "changed", &["key", "of", "first"], problems)?;
    let key = f.need("key", "device_id", problems).map(|n| read::names(n, "key", problems));
    let of = f.need("of", "active", problems).map(|n| read::names(n, "of", problems));
    let first = f.get("first").and_then(|n| read::sql(n, "first", problems));
    Some(Op::Changed { key: key?, of: of?, first })
}

fn infer(fields: &Fields<'_>, problems: &mut Problems) -> Option<Op> {
    let f = Fields::of(fields.get("infer")?, "infer", &["model", "key", "budget", "ladder", "cache_age", "batch", "max_pending"], problems)?;
    let model = f.need("model", "fill-forecast", problems).and_then(|n| read::text(n, "model", problems));
    let key = f.need("key", "device_id", problems).map(|n| read::names(n, "key", problems));
    let ladder = f.get("ladder").map(|n| if n.value == Value::List(Vec::new()) { Vec::new() } else { read::names(n, "ladder", problems) }).unwrap_or_default();
    let budget_ms = f.get("budget").and_then(|n| read::positive(n, problems));
    let cache_age_ms = f.get("cache_age").and_then(|n| read::positive(n, problems));
    let batch_rows = f.get("batch").and_then(|n| read::whole(n, "batch", 1, 65_536, problems));
    let max_pending_rows = f.get("max_pending").and_then(|n| read::whole(n, "max_pending", 1, 10_000_000, problems));
    Some(Op::Infer { model: model?, key: key?, ladder, budget_ms, cache_age_ms, batch_rows, max_pending_rows })
}
