//! YAML as a tree in which every key and value knows its line and column. Reading goes through this tree instead of
//! derived structs, because serde stops at its first error and a person who mends a file wants to see them all.
//!
//! `${NAME}` and `${NAME:-default}` are filled in after parsing, inside text values only: a variable can change a
//! value, never the structure of the file. `$${` stands for a literal `${`.

use crate::errors::{Problems, did_you_mean};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

/// A place in the file, both from 1; line 0 means the file as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl Pos {
    /// The file as a whole.
    pub const NONE: Pos = Pos { line: 0, column: 0 };
}

/// A value with the place where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub at: Pos,
}

impl<T> At<T> {
    /// Puts a value at a place.
    pub fn new(value: T, at: Pos) -> Self {
        At { value, at }
    }
}

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null or nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(At<String>, Node)>),
}

/// A value and its place.
pub type Node = At<Value>;

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
    /// A scalar as it would be written in SQL or as a name; `None` for lists, mappings and nothing.
    pub fn scalar_text(&self) -> Option<String> {
        match self {
            Value::Bool(b) => Some(b.to_string()),
            Value::Int(i) => Some(i.to_string()),
            Value::Float(x) => Some(format!("{x:?}")),
            Value::Text(t) => Some(t.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}

/// Parses `text` and fills in variables. Problems are noted; `None` when the text is not YAML at all.
pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) -> Option<Node> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(root) => Some(node(root, env, problems)),
        Err(error) => {
            let at = error.location().map_or(Pos::NONE, pos);
            let message = error.without_snippet().to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).trim_end_matches([',', ':', ' ']).to_string();
            let line = problems.line(at.line).unwrap_or_default();
            let hint = if line.contains("${") && line.contains('{') && !line.contains("\"${") {
                Some("inside { } a variable needs quotes: \"${NAME:-default}\"".to_string())
            } else if line.contains('{') && line.contains('(') && line.contains(',') {
                Some("a comma inside { } ends a field: put the expression in quotes or on a line of its own".to_string())
            } else if line.contains('\t') {
                Some("YAML is indented with spaces, not tabs".to_string())
            } else {
                None
            };
            problems.push(at, format!("not valid YAML: {message}"), hint);
            None
        }
    }
}

fn pos(location: serde_saphyr::Location) -> Pos {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Pos { line: small(location.line()), column: small(location.column()) }
}

fn node(raw: Spanned<Raw>, env: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) -> Node {
    let at = pos(raw.referenced);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(b) => Value::Bool(b),
        Raw::Int(i) => Value::Int(i),
        Raw::Float(x) => Value::Float(x),
        Raw::Text(t) => Value::Text(substitute(&t, at, env, problems)),
        Raw::List(items) => Value::List(items.into_iter().map(|i| node(i, env, problems)).collect()),
        Raw::Map(entries) => {
            let mut out: Vec<(At<String>, Node)> = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = At::new(key.value, pos(key.referenced));
                if let Some((first, _)) = out.iter().find(|(k, _)| k.value == key.value) {
                    problems.hint(key.at, format!("`{}` is written twice", key.value), format!("the first one is in line {}", first.at.line));
                    continue;
                }
                // Sink topics are keys, so variables are filled in there too.
                let key = At::new(substitute(&key.value, key.at, env, problems), key.at);
                let value = node(value, env, problems);
                out.push((key, value));
            }
            Value::Map(out)
        }
    };
    At::new(value, at)
}

fn substitute(text: &str, at: Pos, env: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find("${") {
        if start > 0 && rest.as_bytes()[start - 1] == b'$' {
            out.push_str(&rest[..start - 1]);
            out.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let Some(length) = rest[start..].find('}') else {
            problems.hint(at, "`${` without `}`", "write ${NAME} or ${NAME:-default}, and $${ for a literal ${");
            return out;
        };
        let inside = &rest[start + 2..start + length];
        rest = &rest[start + length + 1..];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            problems.hint(at, format!("`{name}` is not the name of a variable"), "write ${NAME} or ${NAME:-default}, and $${ for a literal ${");
            continue;
        }
        match (env(name).filter(|v| !v.is_empty()), default) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                problems.hint(at, format!("the environment variable {name} is not set"), format!("set it, or give a default: ${{{name}:-default}}"))
            }
        }
    }
    out.push_str(rest);
    out
}

/// Takes the fields of a mapping and refuses those that nobody knows.
#[derive(Debug)]
pub struct Fields<'a> {
    entries: &'a [(At<String>, Node)],
    /// Where the mapping stands.
    pub at: Pos,
    what: String,
    /// Were there fields that nobody knows?
    pub unknown: bool,
}

impl<'a> Fields<'a> {
    /// The fields of `node`, of which only `known` are allowed; `None` (and a problem) if it is no mapping.
    pub fn of(node: &'a Node, what: &str, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            problems.push(node.at, format!("{what} must be a mapping, not {}", node.value.kind()), Some(format!("its fields: {}", known.join(", "))));
            return None;
        };
        let mut unknown = false;
        for (key, _) in entries {
            if !known.contains(&key.value.as_str()) {
                unknown = true;
                let hint = if key.value.contains(')') || key.value.contains('(') {
                    Some("a comma inside { } ends a field: put the expression in quotes or on a line of its own".to_string())
                } else {
                    did_you_mean(&key.value, known.iter().copied())
                };
                problems.push(key.at, format!("unknown field `{}` in {what}", key.value), hint);
            }
        }
        Some(Fields { entries, at: node.at, what: what.to_string(), unknown })
    }

    /// A field, if it is there (an explicit null counts as absent).
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(k, v)| k.value == name && v.value != Value::Null).map(|(_, v)| v)
    }

    /// Where the field's name stands.
    pub fn key_at(&self, name: &str) -> Pos {
        self.entries.iter().find(|(k, _)| k.value == name).map_or(self.at, |(k, _)| k.at)
    }

    /// A field that must be there.
    pub fn need(&self, name: &str, example: &str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.get(name);
        if found.is_none() {
            problems.hint(self.at, format!("{} lacks `{name}`", self.what), format!("for example `{name}: {example}`"));
        }
        found
    }
}

/// The tree as serde sees it, before variables.
enum Raw {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tree;
        impl<'de> Visitor<'de> for Tree {
            type Value = Raw;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
                Ok(Raw::Int(v))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
                Ok(i64::try_from(v).map_or(Raw::Float(v as f64), Raw::Int))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Raw, E> {
                Ok(Raw::Float(v))
            }
            fn visit_str<E>(self, v: &str) -> Result<Raw, E> {
                Ok(Raw::Text(v.to_string()))
            }
            fn visit_string<E>(self, v: String) -> Result<Raw, E> {
                Ok(Raw::Text(v))
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }
        deserializer.deserialize_any(Tree)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut problems = Problems::new("t.yaml", text);
        let node = parse(text, &|name| (name == "TOPIC").then(|| "a: b".to_string()), &mut problems);
        let found = problems.into_result::<()>(None).unwrap_err().problems.into_iter().map(|p| p.to_string()).collect();
        (node, found)
    }

    fn at<'a>(node: &'a Node, path: &[&str]) -> &'a Node {
        path.iter().fold(node, |n, key| match &n.value {
            Value::Map(entries) => &entries.iter().find(|(k, _)| k.value == *key).unwrap().1,
            Value::List(items) => &items[key.parse::<usize>().unwrap()],
            _ => panic!("no {key} in {n:?}"),
        })
    }

    #[test]
    fn places_and_kinds() {
        let (tree, _) = read("a: 5m\nb: { on: x, n: 1.0 }\nc:\n  - no\n  - true\n  - .nan\n  - '7'\n");
        let tree = tree.unwrap();
        assert_eq!(*at(&tree, &["a"]), At::new(Value::Text("5m".into()), Pos { line: 1, column: 4 }));
        assert_eq!(at(&tree, &["b", "on"]).at, Pos { line: 2, column: 10 });
        assert_eq!(at(&tree, &["b", "n"]).value.scalar_text().unwrap(), "1.0");
        assert_eq!(at(&tree, &["c", "0"]).value, Value::Text("no".into()));
        assert_eq!(at(&tree, &["c", "1"]).value, Value::Bool(true));
        assert!(matches!(at(&tree, &["c", "2"]).value, Value::Float(x) if x.is_nan()));
        assert_eq!(at(&tree, &["c", "3"]).value, Value::Text("7".into()));
    }

    #[test]
    fn a_variable_changes_a_value_and_never_the_structure() {
        let (tree, _) = read("t: \"${TOPIC}\"\nd: ${NOPE:-x}/${TOPIC}\ne: $${TOPIC}\n");
        let tree = tree.unwrap();
        assert_eq!(at(&tree, &["t"]).value, Value::Text("a: b".into()));
        assert_eq!(at(&tree, &["d"]).value, Value::Text("x/a: b".into()));
        assert_eq!(at(&tree, &["e"]).value, Value::Text("${TOPIC}".into()));
    }

    #[test]
    fn an_unset_variable_and_a_double_key_are_problems() {
        let (_, found) = read("a: ${NOPE}\nb: 1\nb: 2\n");
        assert!(found.iter().any(|f| f.contains("t.yaml:1:4: the environment variable NOPE is not set")), "{found:?}");
        assert!(found.iter().any(|f| f.contains("t.yaml:3:1: `b` is written twice")), "{found:?}");
    }
}
