//! The `fields:` of a mapping → [`Output`]: each field of the topic's schema gets a column, a template, a constant or a
//! default, and what is missing is told before the first row is read.

use super::cell::Cell;
use super::convert::{Conversion, Kind};
use super::date::{self, DateFormat};
use super::map::{Field, From, Output};
use super::template::{Columns, Template};
use super::units::{self, Step};
use chrono_tz::Tz;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use ws_log::avro::schema::Field as SchemaField;
use ws_log::registry::Registered;
use ws_plan::duration::parse_ms;
use ws_plan::errors::{Problems, did_you_mean};
use ws_plan::yaml::{Fields, Node, Pos, Value};

const SPEC: [&str; 15] =
    ["column", "value", "hash", "after", "by", "scale", "offset", "unit", "decimal", "date", "at", "time_zone", "table", "else", "default"];
const OPTIONAL: &str = "optional";

/// What a mapping says once for all fields.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `tenant`.
    pub tenant: Option<String>,
    /// `source`.
    pub source: Option<String>,
    /// Zone of moments written without one.
    pub zone: Option<Tz>,
    /// `sent_at` − `observed_at`, ms.
    pub sent_after_ms: i64,
    /// `received_at` − `observed_at`, ms.
    pub received_after_ms: i64,
}

/// Reads the fields of one output.
pub struct FieldReader<'a> {
    /// The topic's contract.
    pub topic: &'a Registered,
    /// What holds for all fields.
    pub defaults: &'a Defaults,
    /// Problems found.
    pub problems: &'a mut Problems,
    /// Columns used.
    pub columns: &'a mut Columns,
}

impl FieldReader<'_> {
    /// The output, and which of `left` the mapping leaves out for the caller to fill.
    pub fn output(&mut self, given: &Node, left: &[&str]) -> Option<(Output, Vec<String>)> {
        let topic = self.topic;
        let record = topic.schema.record();
        let name = topic.subject.trim_end_matches("-value");
        let Value::Map(entries) = &given.value else {
            self.problems.hint(
                given.at,
                format!("`fields` must be a mapping, not {}", given.value.kind()),
                "a line for each field: `device_id: \"bin-{Bin ID}\"`",
            );
            return None;
        };
        let key = topic.attribute("key").unwrap_or("event_id").to_owned();
        let mut output = Output { topic: name.into(), key, fields: Vec::new(), later: Vec::new() };
        for (field, node) in entries {
            match record.fields.iter().find(|f| f.name == field.value) {
                Some(schema) => self.field(schema, node, &mut output),
                None => {
                    let hint = did_you_mean(&field.value, record.fields.iter().map(|f| f.name.as_str()));
                    self.problems.push(field.at, format!("{name} has no field `{}`", field.value), hint);
                }
            }
        }
        let mut open = Vec::new();
        for schema in &record.fields {
            let filled = output.fields.iter().any(|f| f.name == schema.name) || output.later.iter().any(|(f, ..)| *f == schema.name);
            let mentioned = entries.iter().any(|(k, _)| k.value == schema.name);
            if filled || mentioned || self.by_default(schema, &mut output) {
                continue;
            }
            if left.contains(&schema.name.as_str()) {
                open.push(schema.name.clone());
                continue;
            }
            let (kind, nullable) = Kind::of(&topic.schema, &schema.ty);
            if nullable || schema.default.is_some() {
                continue;
            }
            let hint = match schema.name.as_str() {
                "tenant" => "add `tenant: NAME` at the top of the mapping".to_owned(),
                "event_id" => {
                    "a repeat of a row must give the same id, another row another: `event_id: { hash: [COLUMN, …] }` or `event_id: \"{COLUMN}/{…}\"`".to_owned()
                }
                _ => format!("it is {} ({}); columns stand in braces, constants are written as they are", kind.name(), schema.doc),
            };
            self.problems.hint(given.at, format!("{name} needs `{}`", schema.name), hint);
        }
        Some((output, open))
    }

    /// Fills the fields that every record has, where the mapping says nothing of them.
    fn by_default(&mut self, schema: &SchemaField, output: &mut Output) -> bool {
        let (name, d) = (schema.name.clone(), self.defaults);
        let value = match name.as_str() {
            "tenant" => d.tenant.clone().map(Json::String),
            "source" => d.source.clone().map(Json::String),
            "schema_version" => Some(Json::from(self.topic.version)),
            "sent_at" | "received_at" => {
                let by_ms = if name == "sent_at" { d.sent_after_ms } else { d.received_after_ms };
                output.later.push((name, "observed_at".into(), by_ms));
                return true;
            }
            _ => None,
        };
        let Some(value) = value else { return false };
        output.fields.push(Field { name, from: From::Constant(value), missing: None });
        true
    }

    fn field(&mut self, schema: &SchemaField, node: &Node, output: &mut Output) {
        let (kind, nullable) = Kind::of(&self.topic.schema, &schema.ty);
        let missing = if nullable { Some(Json::Null) } else { schema.default.clone() };
        let name = schema.name.clone();
        let plain = |kind: &Kind, zone| Conversion { date: plain_date(kind, zone), ..Conversion::plain(kind.clone()) };
        let from = match &node.value {
            Value::Map(_) => return self.spec(schema, &kind, missing, node, output),
            Value::Text(text) => self.template(text, node.at).and_then(|t| match (t.constant(), t.column()) {
                (Some(text), _) => self.constant(&kind, &Cell::Text(text.to_owned()), node.at).map(From::Constant),
                (_, Some(column)) => Some(From::Column(column, Box::new(plain(&kind, self.defaults.zone)))),
                _ => Some(From::Template(t, Box::new(plain(&kind, self.defaults.zone)))),
            }),
            Value::Null if nullable => Some(From::Constant(Json::Null)),
            Value::Null | Value::List(_) => {
                self.problems.hint(node.at, format!("`{name}` cannot be {}", node.value.kind()), format!("it is {}", kind.name()));
                None
            }
            Value::Bool(b) => self.constant(&kind, &Cell::Bool(*b), node.at).map(From::Constant),
            Value::Int(n) => self.constant(&kind, &Cell::Int(*n), node.at).map(From::Constant),
            Value::Float(x) => self.constant(&kind, &Cell::Float(*x), node.at).map(From::Constant),
        };
        output.fields.extend(from.map(|from| Field { name, from, missing }));
    }

    fn spec(&mut self, schema: &SchemaField, kind: &Kind, missing: Option<Json>, node: &Node, output: &mut Output) {
        let what = format!("`{}`", schema.name);
        let mut known: Vec<&str> = SPEC.to_vec();
        known.push(OPTIONAL);
        let Some(fields) = Fields::of(node, &what, &known, self.problems) else {
            return;
        };
        let sources: Vec<&str> = ["column", "value", "hash", "after"].into_iter().filter(|s| fields.get(s).is_some()).collect();
        let [source] = sources[..] else {
            self.problems.hint(node.at, format!("{what} needs one of `column`, `value`, `hash`, `after`"), "for example `{ column: Fullness, scale: /10 }`");
            return;
        };
        let Some(from) = fields.get(source) else {
            return;
        };
        let text = from.value.scalar_text().unwrap_or_default();
        if source == "after" {
            self.after(schema, kind, &fields, from, &text, output);
            return;
        }
        let Some(conversion) = self.conversion(schema, kind, &fields) else {
            return;
        };
        let optional = matches!(fields.get(OPTIONAL), Some(Node { value: Value::Bool(true), .. }));
        let made = match source {
            "column" if text.is_empty() => {
                self.problems.add(from.at, format!("`column` must be a name, not {}", from.value.kind()));
                None
            }
            "column" => {
                let index = if optional { self.columns.may(&text) } else { self.columns.need(&text) };
                Some(From::Column(index, Box::new(conversion)))
            }
            "value" => self.template(&text, from.at).and_then(|t| match t.constant() {
                Some(text) => conversion.value(&Cell::Text(text.to_owned())).map_err(|e| self.problems.add(from.at, e)).ok().map(From::Constant),
                None => Some(From::Template(t, Box::new(conversion))),
            }),
            _ => self.hash(from, kind),
        };
        let missing = match fields.get("default") {
            None => missing,
            Some(n) => match self.literal(kind, n) {
                Some(value) => Some(value),
                None => return,
            },
        };
        if optional && missing.is_none() {
            self.problems.hint(node.at, format!("{what} cannot be optional: the schema wants it"), "add `default: VALUE`");
        }
        output.fields.extend(made.map(|from| Field { name: schema.name.clone(), from, missing }));
    }

    fn after(&mut self, schema: &SchemaField, kind: &Kind, fields: &Fields<'_>, from: &Node, of: &str, output: &mut Output) {
        let times: Vec<&str> = self
            .topic
            .schema
            .record()
            .fields
            .iter()
            .filter(|f| Kind::of(&self.topic.schema, &f.ty).0 == Kind::Time && f.name != schema.name)
            .map(|f| f.name.as_str())
            .collect();
        if *kind != Kind::Time || !times.contains(&of) {
            self.problems.push(from.at, format!("`after` puts a time after another of the same record, and `{of}` is none"), did_you_mean(of, times));
            return;
        }
        let Some(by) = fields.need("by", "2s", self.problems) else {
            return;
        };
        match parse_ms(&by.value.scalar_text().unwrap_or_default()) {
            Ok(ms) => output.later.push((schema.name.clone(), of.to_owned(), ms)),
            Err(e) => self.problems.hint(by.at, e, "for example `2s`"),
        }
    }

    fn hash(&mut self, from: &Node, kind: &Kind) -> Option<From> {
        let names: Option<Vec<String>> = match &from.value {
            Value::List(items) => items.iter().map(|i| i.value.scalar_text()).collect(),
            _ => None,
        };
        match names.filter(|n| !n.is_empty()) {
            Some(names) if *kind == Kind::Text => Some(From::Hash(names.iter().map(|n| self.columns.need(n)).collect())),
            Some(_) => {
                self.problems.add(from.at, format!("a hash is text, and this field is {}", kind.name()));
                None
            }
            None => {
                self.problems.hint(from.at, "`hash` wants a list of columns", "for example `hash: [Bin ID, timestamp]`");
                None
            }
        }
    }

    fn conversion(&mut self, schema: &SchemaField, kind: &Kind, fields: &Fields<'_>) -> Option<Conversion> {
        let before = self.problems.count();
        let mut c = Conversion::plain(kind.clone());
        let numeric = matches!(kind, Kind::Number | Kind::Whole(..));
        for name in ["scale", "offset", "unit", "decimal"] {
            if fields.get(name).is_some() && !numeric {
                self.problems.add(fields.key_at(name), format!("`{name}` is for numbers, and `{}` is {}", schema.name, kind.name()));
            }
        }
        for name in ["date", "at", "time_zone"] {
            if fields.get(name).is_some() && *kind != Kind::Time {
                self.problems.add(fields.key_at(name), format!("`{name}` is for moments, and `{}` is {}", schema.name, kind.name()));
            }
        }
        if self.problems.count() > before {
            return None;
        }
        let text = |name: &str| fields.get(name).map(|n| (n.at, n.value.scalar_text().unwrap_or_default()));
        if let Some((at, unit)) = text("unit") {
            let steps = units::steps(&schema.name, &unit);
            c.steps.extend_from_slice(self.settle(at, steps).unwrap_or_default());
        }
        if let Some((at, scale)) = text("scale") {
            let step = units::scale(&scale).ok_or_else(|| (format!("`{scale}` is no scale"), "for example `/10`, `*0.1` or `0.1`".to_owned()));
            c.steps.extend(self.settle(at, step));
        }
        if let Some((at, offset)) = text("offset") {
            let step = offset
                .parse()
                .ok()
                .filter(|x: &f64| x.is_finite())
                .map(Step::Plus)
                .ok_or_else(|| (format!("`{offset}` is no number"), "for example `-40`".to_owned()));
            c.steps.extend(self.settle(at, step));
        }
        match text("decimal") {
            Some((_, sign)) if sign == "," => c.decimal_comma = true,
            Some((_, sign)) if sign == "." => {}
            Some((at, _)) => self.problems.add(at, "`decimal` is \",\" or \".\""),
            None => {}
        }
        if *kind == Kind::Time {
            c.date = self.date(fields);
        }
        self.table(kind, fields, &mut c);
        (self.problems.count() == before).then_some(c)
    }

    fn date(&mut self, fields: &Fields<'_>) -> DateFormat {
        let text = |name: &str| fields.get(name).map(|n| (n.at, n.value.scalar_text().unwrap_or_default()));
        let zone = match text("time_zone") {
            Some((at, name)) => self.settle(at, date::zone(&name)),
            None => self.defaults.zone,
        };
        let at = text("at").and_then(|(at, t)| self.settle(at, date::time_of_day(&t)));
        let (place, form) = text("date").unwrap_or((fields.at, "iso".to_owned()));
        self.settle(place, DateFormat::new(&form, zone, at)).unwrap_or_default()
    }

    fn table(&mut self, kind: &Kind, fields: &Fields<'_>, c: &mut Conversion) {
        match fields.get("table").map(|n| (n.at, &n.value)) {
            None => {}
            Some((_, Value::Map(entries))) => {
                let mut table = BTreeMap::new();
                for (word, node) in entries {
                    if let Some(value) = self.literal(kind, node) {
                        table.insert(word.value.clone(), value);
                    }
                }
                c.table = Some(table);
            }
            Some((at, other)) => self.problems.hint(at, format!("`table` must be a mapping, not {}", other.kind()), "word of the file: value of the field"),
        }
        if let Some(n) = fields.get("else") {
            if c.table.is_none() {
                self.problems.add(n.at, "`else` is for words outside a `table`");
            }
            c.otherwise = self.literal(kind, n);
        }
    }

    /// A value written in the mapping itself.
    fn literal(&mut self, kind: &Kind, node: &Node) -> Option<Json> {
        let cell = match &node.value {
            Value::Bool(b) => Cell::Bool(*b),
            Value::Int(n) => Cell::Int(*n),
            Value::Float(x) => Cell::Float(*x),
            Value::Text(t) => Cell::Text(t.clone()),
            other => {
                self.problems.add(node.at, format!("a value is wanted here, not {}", other.kind()));
                return None;
            }
        };
        self.constant(kind, &cell, node.at)
    }

    fn constant(&mut self, kind: &Kind, cell: &Cell, at: Pos) -> Option<Json> {
        Conversion::plain(kind.clone()).value(cell).map_err(|e| self.problems.add(at, e)).ok()
    }

    fn template(&mut self, text: &str, at: Pos) -> Option<Template> {
        let template = Template::parse(text, self.columns).map_err(|e| (e, "columns stand in braces, {{ and }} are braces themselves".to_owned()));
        self.settle(at, template)
    }

    fn settle<T>(&mut self, at: Pos, result: Result<T, (String, String)>) -> Option<T> {
        result.map_err(|(message, hint)| self.problems.hint(at, message, hint)).ok()
    }
}

/// How moments are written where only the column is named: ISO, in the mapping's zone when they have none.
fn plain_date(kind: &Kind, zone: Option<Tz>) -> DateFormat {
    match kind {
        Kind::Time => DateFormat::new("iso", zone, None).unwrap_or_default(),
        _ => DateFormat::default(),
    }
}
