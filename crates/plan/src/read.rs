//! From the YAML tree to [`File`]: the shape of the file is checked here, field by field, and nothing else. What
//! cannot be read is noted and left out, so that one mistake does not hide the next.

use crate::duration;
use crate::errors::{Problems, did_you_mean};
use crate::file::{File, FutureRule, Item, LatenessRule, Selection, Sink, Source, Sql, Table, Wait};
use crate::yaml::{At, Fields, Node, Pos, Value};

const FILE_FIELDS: [&str; 6] = ["topology", "sources", "tables", "stages", "sinks", "dead_letters"];
const SOURCE_FIELDS: [&str; 9] = ["topic", "key", "event_time", "watermark_delay", "lateness", "future", "max_value_bytes", "idle_after", "max_skew"];
const TABLE_FIELDS: [&str; 5] = ["topic", "key", "valid_from", "history", "global"];
const SINK_FIELDS: [&str; 5] = ["from", "key", "format", "headers", "lineage"];

/// Reads a whole file.
pub fn file(root: &Node, problems: &mut Problems) -> Option<File> {
    let fields = Fields::of(root, "a topology", &FILE_FIELDS, problems)?;
    let name = fields.need("topology", "bin-fill", problems).and_then(|n| topology_name(n, problems));
    let sources =
        fields.need("sources", "{ readings: { topic: …, event_time: … } }", problems).map(|n| named(n, "sources", problems, source)).unwrap_or_default();
    let tables = fields.get("tables").map(|n| named(n, "tables", problems, table)).unwrap_or_default();
    let stages = match fields.get("stages") {
        None => Vec::new(),
        Some(Node { value: Value::List(items), .. }) => items.iter().filter_map(|n| crate::read_stage::stage(n, problems)).collect(),
        Some(other) => {
            problems.hint(other.at, format!("stages must be a list, not {}", other.value.kind()), "start every stage with `- id: …`");
            Vec::new()
        }
    };
    let sinks = fields.need("sinks", "{ my.topic: { from: last_stage } }", problems).map(|n| named(n, "sinks", problems, sink)).unwrap_or_default();
    let dead_letters = fields.get("dead_letters").and_then(|n| text(n, "dead_letters", problems));
    // A bad name does not hide what else is wrong.
    let name = name.unwrap_or_else(|| At::new("unnamed".to_string(), root.at));
    Some(File { name, sources, tables, stages, sinks, dead_letters })
}

fn topology_name(node: &Node, problems: &mut Problems) -> Option<At<String>> {
    let name = text(node, "topology", problems)?;
    let fine = !name.value.is_empty() && name.value.len() <= 60 && name.value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !fine {
        problems.hint(
            name.at,
            format!("`{}` cannot name a topology", name.value),
            "small letters, digits and `-`, at most 60: topics and state are named after it",
        );
        return None;
    }
    Some(name)
}

/// A mapping from names to things.
fn named<T>(node: &Node, what: &str, problems: &mut Problems, read: fn(&Node, &str, &mut Problems) -> Option<T>) -> Vec<(At<String>, T)> {
    let Value::Map(entries) = &node.value else {
        problems.hint(node.at, format!("{what} must be a mapping, not {}", node.value.kind()), "a name, a colon, and its fields");
        return Vec::new();
    };
    entries.iter().filter_map(|(name, value)| Some((name.clone(), read(value, &name.value, problems)?))).collect()
}

fn source(node: &Node, name: &str, problems: &mut Problems) -> Option<Source> {
    let what = format!("source `{name}`");
    let fields = Fields::of(node, &what, &SOURCE_FIELDS, problems)?;
    let topic = fields.need("topic", "bin.telemetry", problems).and_then(|n| text(n, "topic", problems));
    let event_time = fields.need("event_time", "observed_at", problems).and_then(|n| text(n, "event_time", problems));
    let key = fields.get("key").and_then(|n| text(n, "key", problems));
    let watermark_delay_ms = fields.get("watermark_delay").and_then(|n| duration(n, problems));
    let lateness = fields.get("lateness").and_then(|n| lateness(n, problems));
    let future = fields.get("future").and_then(|n| future(n, problems));
    let max_value_bytes = fields.get("max_value_bytes").and_then(|n| whole(n, "max_value_bytes", 1, 16 << 20, problems)).map(|n| n.value);
    let idle_after = fields.get("idle_after").and_then(|n| wait(n, "never", problems));
    let max_skew = fields.get("max_skew").and_then(|n| wait(n, "off", problems));
    Some(Source { topic: topic?, key, event_time: event_time?, watermark_delay_ms, lateness, future, max_value_bytes, idle_after, max_skew })
}

fn lateness(node: &Node, problems: &mut Problems) -> Option<LatenessRule> {
    if let Value::Text(word) = &node.value {
        if word == "watermark" {
            return Some(LatenessRule::Watermark);
        }
        problems.hint(node.at, format!("`{word}` is not a lateness rule"), "`watermark`, or `{ per_key: 72h }`");
        return None;
    }
    let fields = Fields::of(node, "lateness", &["per_key", "key"], problems)?;
    let allowed_ms = fields.need("per_key", "72h", problems).and_then(|n| duration(n, problems));
    let key = fields.get("key").map(|n| names(n, "key", problems));
    Some(LatenessRule::PerKey { allowed_ms: allowed_ms?, key })
}

fn future(node: &Node, problems: &mut Problems) -> Option<FutureRule> {
    if let Value::Text(word) = &node.value {
        if word == "off" {
            return Some(FutureRule::Off);
        }
        problems.hint(node.at, format!("`{word}` is not a rule for clocks ahead of time"), "`off`, or `{ against: received_at, tolerance: 10m }`");
        return None;
    }
    let fields = Fields::of(node, "future", &["against", "tolerance"], problems)?;
    let against = fields.get("against").and_then(|n| text(n, "against", problems));
    let tolerance_ms = fields.get("tolerance").and_then(|n| duration(n, problems));
    Some(FutureRule::Guard { against, tolerance_ms })
}

fn table(node: &Node, name: &str, problems: &mut Problems) -> Option<Table> {
    let what = format!("table `{name}`");
    let fields = Fields::of(node, &what, &TABLE_FIELDS, problems)?;
    let topic = fields.need("topic", "ref.device", problems).and_then(|n| text(n, "topic", problems));
    let key = fields.need("key", "device_id", problems).map(|n| names(n, "key", problems));
    let valid_from = fields.need("valid_from", "valid_from", problems).and_then(|n| text(n, "valid_from", problems));
    let history_ms = fields.get("history").and_then(|n| duration(n, problems));
    let global = fields.get("global").and_then(|n| flag(n, "global", problems)).unwrap_or(false);
    Some(Table { topic: topic?, key: key?, valid_from: valid_from?, history_ms, global })
}

fn sink(node: &Node, name: &str, problems: &mut Problems) -> Option<Sink> {
    let what = format!("sink `{name}`");
    let fields = Fields::of(node, &what, &SINK_FIELDS, problems)?;
    let from = fields.need("from", "last_stage", problems).map(|n| names(n, "from", problems));
    let key = fields.get("key").and_then(|n| text(n, "key", problems));
    let json = match fields.get("format").and_then(|n| text(n, "format", problems)) {
        None => false,
        Some(f) if f.value == "avro" => false,
        Some(f) if f.value == "json" => true,
        Some(f) => {
            problems.push(f.at, format!("unknown format `{}`", f.value), did_you_mean(&f.value, ["avro", "json"]));
            false
        }
    };
    let headers = fields.get("headers").map(|n| names(n, "headers", problems)).unwrap_or_default();
    let lineage = fields.get("lineage").and_then(|n| flag(n, "lineage", problems)).unwrap_or(true);
    Some(Sink { at: node.at, from: from?, key, json, headers, lineage })
}

/// Text.
pub fn text(node: &Node, what: &str, problems: &mut Problems) -> Option<At<String>> {
    match node.value.scalar_text() {
        Some(t) => Some(At::new(t, node.at)),
        None => {
            problems.add(node.at, format!("`{what}` must be text, not {}", node.value.kind()));
            None
        }
    }
}

/// One name or a list of names.
pub fn names(node: &Node, what: &str, problems: &mut Problems) -> Vec<At<String>> {
    let Value::List(items) = &node.value else {
        return text(node, what, problems).into_iter().collect();
    };
    if items.is_empty() {
        problems.add(node.at, format!("`{what}` is empty"));
    }
    items.iter().filter_map(|n| text(n, what, problems)).collect()
}

/// A duration in milliseconds.
pub fn duration(node: &Node, problems: &mut Problems) -> Option<i64> {
    let Some(text) = node.value.scalar_text() else {
        problems.hint(node.at, format!("a duration was expected, not {}", node.value.kind()), "a number and a unit: 250ms, 10s, 15m, 6h, 14d");
        return None;
    };
    duration::parse_ms(&text).map_err(|message| problems.hint(node.at, message, "a number and a unit: 250ms, 10s, 15m, 6h, 14d")).ok()
}

/// A duration above zero.
pub fn positive(node: &Node, problems: &mut Problems) -> Option<i64> {
    let ms = duration(node, problems)?;
    if ms <= 0 {
        problems.add(node.at, "this duration must be longer than 0");
        return None;
    }
    Some(ms)
}

/// A duration above zero, or the word for none.
fn wait(node: &Node, none: &str, problems: &mut Problems) -> Option<Wait> {
    match &node.value {
        Value::Text(word) if word == none => Some(Wait::Forever),
        _ => positive(node, problems).map(Wait::For),
    }
}

/// A whole number within bounds.
pub fn whole(node: &Node, what: &str, from: i64, to: i64, problems: &mut Problems) -> Option<At<i64>> {
    let value = match &node.value {
        Value::Int(i) => Some(*i),
        // A variable was filled in.
        Value::Text(t) => t.parse().ok(),
        _ => None,
    };
    match value {
        Some(n) if (from..=to).contains(&n) => Some(At::new(n, node.at)),
        _ => {
            problems.add(node.at, format!("`{what}` must be a whole number from {from} to {to}"));
            None
        }
    }
}

/// A number.
pub fn number(node: &Node, what: &str, problems: &mut Problems) -> Option<f64> {
    let value = match &node.value {
        Value::Int(i) => Some(*i as f64),
        Value::Float(x) => Some(*x),
        Value::Text(t) => t.parse().ok(),
        _ => None,
    };
    let value = value.filter(|x| x.is_finite());
    if value.is_none() {
        problems.add(node.at, format!("`{what}` must be a number"));
    }
    value
}

fn flag(node: &Node, what: &str, problems: &mut Problems) -> Option<bool> {
    match &node.value {
        Value::Bool(b) => Some(*b),
        Value::Text(t) if t == "true" || t == "false" => Some(t == "true"),
        _ => {
            problems.add(node.at, format!("`{what}` must be true or false"));
            None
        }
    }
}

/// An expression.
pub fn sql(node: &Node, what: &str, problems: &mut Problems) -> Option<Sql> {
    match node.value.scalar_text() {
        Some(text) if !text.trim().is_empty() => Some(Sql { text, at: node.at }),
        _ => {
            problems.add(node.at, format!("`{what}` must be an SQL expression, not {}", node.value.kind()));
            None
        }
    }
}

/// The columns of a `select:`: a mapping `name: sql`, or a list whose items are column names or such mappings.
pub fn items(node: &Node, problems: &mut Problems) -> Vec<Item> {
    let mut out: Vec<Item> = Vec::new();
    let mut put = |name: At<String>, sql: Option<Sql>, problems: &mut Problems| {
        if let Some(first) = out.iter().find(|i| i.name.value == name.value) {
            problems.hint(name.at, format!("column `{}` is written twice", name.value), format!("the first one is in line {}", first.name.at.line));
        } else if name.value.starts_with("__") {
            problems.hint(name.at, format!("column `{}`: names starting with `__` belong to the engine", name.value), "choose another name");
        } else if let Some(sql) = sql {
            out.push(Item { name, sql });
        }
    };
    match &node.value {
        Value::Map(entries) => {
            for (name, value) in entries {
                let expression = if value.value == Value::Null { Some(bare(&name.value, name.at)) } else { sql(value, &name.value, problems) };
                put(name.clone(), expression, problems);
            }
        }
        Value::List(list) => {
            for item in list {
                match &item.value {
                    Value::Map(entries) => {
                        for (name, value) in entries {
                            let expression = sql(value, &name.value, problems);
                            put(name.clone(), expression, problems);
                        }
                    }
                    _ => {
                        if let Some(name) = text(item, "select", problems) {
                            let expression = bare(&name.value, name.at);
                            put(name, Some(expression), problems);
                        }
                    }
                }
            }
        }
        other => problems.hint(
            node.at,
            format!("columns must be a list or a mapping, not {}", other.kind()),
            "`- device_id` keeps a column, `- level: last(filling_level)` computes one",
        ),
    }
    out
}

/// A column passed on under its own name. An exact column name is a column even where it is a word of SQL.
fn bare(name: &str, at: Pos) -> Sql {
    Sql { text: name.to_string(), at }
}

/// `select:` and `add:` together.
pub fn selection(fields: &Fields<'_>, problems: &mut Problems) -> Selection {
    let select = fields.get("select");
    let add = fields.get("add");
    if let (Some(_), Some(_)) = (select, add) {
        problems.hint(
            fields.key_at("add"),
            "`select` and `add` in one stage",
            "`select` names all columns that go on, `add` keeps those that are there and adds some: use one of them",
        );
    }
    match (select, add) {
        (Some(Node { value: Value::Text(all), .. }), None) if all == "*" => Selection::All,
        (Some(node), _) => Selection::Only(items(node, problems)),
        (None, Some(node)) => Selection::Add(items(node, problems)),
        (None, None) => Selection::All,
    }
}
