//! A mapping file → [`Map`]. All problems are collected and told together, each with its line and what to write.

use super::date;
use super::filter::{Condition, Filter, Test};
use super::map::{CsvOptions, Floor, Format, Map, Output, RefOutput};
use super::map_field::{Defaults, FieldReader};
use super::template::{Columns, Template};
use std::sync::Arc;
use ws_log::registry::{Registered, Registry};
use ws_plan::PlanErrors;
use ws_plan::duration::parse_ms;
use ws_plan::errors::{Problems, did_you_mean};
use ws_plan::yaml::{Fields, Node, Pos, Value, parse};

const MAP: [&str; 18] = [
    "map",
    "format",
    "csv",
    "topic",
    "tenant",
    "source",
    "time_zone",
    "empty",
    "sent_after",
    "received_after",
    "only",
    "skip",
    "suspect",
    "fields",
    "refs",
    "floor",
    "doc",
    "licence",
];
const CSV: [&str; 5] = ["header", "columns", "delimiter", "quote", "comment"];
const REF: [&str; 4] = ["topic", "once_per", "before", "fields"];
/// References are valid so long before the first row that shows them, unless the mapping says otherwise.
const BEFORE: &str = "1d";
/// Times that a reference takes from the start of its validity.
const REF_TIMES: [&str; 2] = ["valid_from", "observed_at"];

/// Reads and checks a mapping. `file` is its name in messages, `env` gives environment variables.
///
/// # Errors
/// Every problem that was found.
pub fn read_map(file: &str, text: &str, registry: &Registry, env: &dyn Fn(&str) -> Option<String>) -> Result<Map, PlanErrors> {
    let mut problems = Problems::new(file, text);
    let map = match parse(text, env, &mut problems) {
        Some(root) => Reader { registry, problems: &mut problems, columns: Columns::default() }.map(&root),
        None => None,
    };
    problems.into_result(map)
}

struct Reader<'a> {
    registry: &'a Registry,
    problems: &'a mut Problems,
    columns: Columns,
}

impl Reader<'_> {
    fn map(mut self, root: &Node) -> Option<Map> {
        let fields = Fields::of(root, "the mapping", &MAP, self.problems)?;
        let name = fields.need("map", "wyndham", self.problems).and_then(|n| self.text(n, "`map`"));
        let format = fields.get("format").and_then(|n| self.format(n));
        let csv = fields.get("csv").map_or_else(CsvOptions::default, |n| self.csv(n));
        let empty = fields.get("empty").map_or_else(Vec::new, |n| self.words(n));
        let defaults = self.defaults(&fields, name.as_deref());
        let topic = fields.need("topic", "bin.telemetry", self.problems).and_then(|n| self.topic(n));
        let given = fields.need("fields", "{ device_id: \"bin-{Bin ID}\", … }", self.problems);
        let output = match (topic, given) {
            (Some(topic), Some(given)) => self.output(&topic, given, &defaults, &[]).map(|(output, _)| output),
            _ => None,
        };
        let mut refs = Vec::new();
        match fields.get("refs") {
            None => {}
            Some(Node { value: Value::List(items), .. }) => {
                for item in items {
                    refs.extend(self.reference(item, &defaults));
                }
            }
            Some(other) => {
                self.problems.hint(other.at, format!("`refs` must be a list, not {}", other.value.kind()), "each entry begins with `- topic: ref.device`")
            }
        }
        let floor = fields.get("floor").and_then(|n| self.floor(n));
        let mut filter = |name: &str| fields.get(name).map_or_else(Filter::default, |n| self.filter(n, name));
        let (only, skip, suspect) = (filter("only"), filter("skip"), filter("suspect"));
        if !csv.header && !csv.columns.is_empty() {
            for column in self.columns.names().iter().enumerate().filter(|(i, _)| !self.columns.is_optional(*i)).map(|(_, n)| n) {
                if !csv.columns.contains(column) {
                    self.problems.push(
                        fields.key_at("csv"),
                        format!("column `{column}` is used but is not in `csv.columns`"),
                        did_you_mean(column, csv.columns.iter().map(String::as_str)),
                    );
                }
            }
        }
        Some(Map { name: name?, format, csv, empty, columns: self.columns, only, skip, suspect, output: output?, refs, floor })
    }

    fn defaults(&mut self, fields: &Fields<'_>, name: Option<&str>) -> Defaults {
        let mut text = |field: &str| fields.get(field).and_then(|n| self.text(n, &format!("`{field}`")));
        let (tenant, source) = (text("tenant"), text("source"));
        let zone = fields.get("time_zone").and_then(|n| {
            let zone = date::zone(&n.value.scalar_text().unwrap_or_default());
            self.settle(n.at, zone)
        });
        let mut after = |field: &str| fields.get(field).map_or(0, |n| self.duration(n));
        let (sent_after_ms, received_after_ms) = (after("sent_after"), after("received_after"));
        Defaults { tenant, source: source.or_else(|| name.map(str::to_owned)), zone, sent_after_ms, received_after_ms }
    }

    fn topic(&mut self, node: &Node) -> Option<Arc<Registered>> {
        let topic = self.text(node, "`topic`")?;
        match self.registry.for_topic(&topic) {
            Ok(registered) => Some(registered.clone()),
            Err(_) => {
                let hint = did_you_mean(&topic, self.registry.topics());
                self.problems.push(node.at, format!("no schema for topic `{topic}`"), hint);
                None
            }
        }
    }

    /// The output, and which of `times` it leaves to the caller.
    fn output(&mut self, topic: &Registered, given: &Node, defaults: &Defaults, times: &[&str]) -> Option<(Output, Vec<String>)> {
        let before = self.problems.count();
        let mut reader = FieldReader { topic, defaults, problems: self.problems, columns: &mut self.columns };
        let made = reader.output(given, times);
        made.filter(|_| self.problems.count() == before)
    }

    fn reference(&mut self, node: &Node, defaults: &Defaults) -> Option<RefOutput> {
        let fields = Fields::of(node, "a reference", &REF, self.problems)?;
        let topic = fields.need("topic", "ref.device", self.problems).and_then(|n| self.topic(n));
        let once_per = fields.need("once_per", "\"{Bin ID}\"", self.problems).and_then(|n| {
            let text = self.text(n, "`once_per`")?;
            let template = Template::parse(&text, &mut self.columns).map_err(|e| (e, "columns stand in braces: \"{Bin ID}\"".to_owned()));
            self.settle(n.at, template)
        });
        let before_ms = match fields.get("before") {
            Some(n) => self.duration(n),
            None => parse_ms(BEFORE).unwrap_or_default(),
        };
        let given = fields.need("fields", "{ device_id: \"bin-{Bin ID}\", … }", self.problems);
        let (topic, given) = (topic?, given?);
        let (output, left) = self.output(&topic, given, defaults, &["event_id", "valid_from", "observed_at"])?;
        let has = |name: &str| topic.schema.record().fields.iter().any(|f| f.name == name) && !output.fields.iter().any(|f| f.name == name);
        let times = REF_TIMES.iter().filter(|t| has(t)).map(|t| (*t).to_owned()).collect();
        let own_event_id = left.iter().any(|f| f == "event_id");
        Some(RefOutput { once_per: once_per?, before_ms, output, times, own_event_id })
    }

    fn floor(&mut self, node: &Node) -> Option<Floor> {
        let fields = Fields::of(node, "`floor`", &["auc", "average_precision"], self.problems)?;
        let mut score = |name: &str| {
            let node = fields.need(name, "0.85", self.problems)?;
            let x = node.value.scalar_text().and_then(|t| t.parse().ok()).filter(|x| (0.0..=1.0).contains(x));
            if x.is_none() {
                self.problems.add(node.at, format!("`{name}` is a number from 0 to 1"));
            }
            x
        };
        Some(Floor { auc: score("auc")?, average_precision: score("average_precision")? })
    }

    fn csv(&mut self, node: &Node) -> CsvOptions {
        let mut csv = CsvOptions::default();
        let Some(fields) = Fields::of(node, "`csv`", &CSV, self.problems) else {
            return csv;
        };
        match fields.get("header").map(|n| (n.at, &n.value)) {
            None => {}
            Some((_, Value::Bool(b))) => csv.header = *b,
            Some((at, other)) => self.problems.add(at, format!("`header` must be true or false, not {}", other.kind())),
        }
        if let Some(n) = fields.get("columns") {
            csv.columns = self.words(n);
            if csv.header {
                self.problems.hint(n.at, "`columns` names the columns of a file without a header", "add `header: false`, or take `columns` out");
            }
        }
        if let Some(n) = fields.get("delimiter") {
            csv.delimiter = self.byte(n, "delimiter").unwrap_or(csv.delimiter);
        }
        if let Some(n) = fields.get("quote") {
            csv.quote = (n.value != Value::Bool(false)).then(|| self.byte(n, "quote")).flatten();
        }
        if let Some(n) = fields.get("comment") {
            csv.comment = self.byte(n, "comment");
        }
        csv
    }

    fn byte(&mut self, node: &Node, what: &str) -> Option<u8> {
        let text = node.value.scalar_text().unwrap_or_default();
        match (text.as_str(), text.as_bytes()) {
            ("tab" | "\\t", _) => Some(b'\t'),
            (_, [byte]) if byte.is_ascii() => Some(*byte),
            _ => {
                self.problems.hint(node.at, format!("`{what}` must be one character"), "for example `\";\"`, `\"|\"` or `tab`");
                None
            }
        }
    }

    fn format(&mut self, node: &Node) -> Option<Format> {
        let text = self.text(node, "`format`")?;
        let format = <Format as clap::ValueEnum>::from_str(&text, false).ok();
        if format.is_none() {
            self.problems.push(node.at, format!("unknown format `{text}`"), did_you_mean(&text, ["csv", "jsonl", "parquet"]));
        }
        format
    }

    fn filter(&mut self, node: &Node, name: &str) -> Filter {
        let groups: Vec<&Node> = match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        let mut filter = Filter::default();
        for group in groups {
            match &group.value {
                Value::Map(entries) if !entries.is_empty() => {
                    filter.0.push(entries.iter().filter_map(|(column, value)| self.condition(&column.value, value)).collect());
                }
                other => self.problems.hint(
                    group.at,
                    format!("`{name}` wants columns and their values, not {}", other.kind()),
                    format!("for example `{name}: {{ reason: [ALERT] }}`"),
                ),
            }
        }
        filter
    }

    fn condition(&mut self, column: &str, node: &Node) -> Option<Condition> {
        let column = self.columns.need(column);
        if !matches!(node.value, Value::Map(_)) {
            return Some(Condition { column, test: Test::OneOf(self.words(node)) });
        }
        let fields = Fields::of(node, "a condition", &["not", "below", "above", "empty"], self.problems)?;
        let number = |name: &str| {
            let node = fields.get(name)?;
            Some((node.at, node.value.scalar_text().and_then(|t| t.parse::<f64>().ok())))
        };
        let test = match (fields.get("not"), number("below"), number("above"), fields.get("empty").map(|n| &n.value)) {
            (Some(n), None, None, None) => Test::NoneOf(self.words(n)),
            (None, Some((_, Some(x))), None, None) => Test::Below(x),
            (None, None, Some((_, Some(x))), None) => Test::Above(x),
            (None, None, None, Some(Value::Bool(b))) => Test::Empty(*b),
            _ => {
                self.problems.hint(
                    node.at,
                    "a condition has one test",
                    "one of `not: [a, b]`, `below: 5`, `above: 5`, `empty: true`; two tests of a column are two entries of the list",
                );
                return None;
            }
        };
        Some(Condition { column, test })
    }

    fn words(&mut self, node: &Node) -> Vec<String> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut words = Vec::new();
        for item in items {
            match item.value.scalar_text() {
                Some(word) => words.push(word.trim().to_owned()),
                None => self.problems.add(item.at, format!("a word or a number is wanted here, not {}", item.value.kind())),
            }
        }
        words
    }

    fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = node.value.scalar_text().filter(|t| !t.is_empty());
        if text.is_none() {
            self.problems.add(node.at, format!("{what} must be text, not {}", node.value.kind()));
        }
        text
    }

    fn duration(&mut self, node: &Node) -> i64 {
        let ms = parse_ms(&node.value.scalar_text().unwrap_or_default()).map_err(|e| (e, "for example `2s`, `6h`, `1d`".to_owned()));
        self.settle(node.at, ms).unwrap_or_default()
    }

    fn settle<T>(&mut self, at: Pos, result: Result<T, (String, String)>) -> Option<T> {
        result.map_err(|(message, hint)| self.problems.hint(at, message, hint)).ok()
    }
}
