//! May a schema change? Readers of the new version must read everything that was written with the older ones
//! (backward compatible), and a field must go on meaning what it meant: units and the message key may not change.
//! Each difference is told with its place, so that the author knows what to mend.

use crate::avro::schema::{Named, Record, Schema, Type, nullable};
use crate::registry::Registry;
use std::collections::BTreeSet;
use std::fmt;

/// One thing that stops a new schema from reading an old record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Field, with its parents.
    pub path: String,
    /// What differs, and what would do.
    pub message: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What stops `new` from reading records written with `old`; empty when it can.
pub fn backward(new: &Schema, old: &Schema) -> Vec<Difference> {
    let mut check = Check { new, old, out: Vec::new(), seen: BTreeSet::new() };
    for attribute in ["key", "topic"] {
        let (n, o) = (new.record().attributes.get(attribute), old.record().attributes.get(attribute));
        if n != o && o.is_some() {
            let text = |v: Option<&serde_json::Value>| v.map_or("nothing".to_string(), |v| v.to_string());
            check.tell("", format!("`{attribute}` was {} and is {}: that is another topic", text(o), text(n)));
        }
    }
    check.record(new.record(), old.record(), "");
    check.out
}

/// A subject whose newest version cannot read an older one.
#[derive(Clone, Debug)]
pub struct Incompatible {
    /// `TOPIC-value`.
    pub subject: String,
    /// The version that cannot be read.
    pub version: u32,
    /// Why not.
    pub differences: Vec<Difference>,
}

/// Checks the newest version of every subject against all its older ones.
pub fn check_registry(registry: &Registry) -> Vec<Incompatible> {
    let mut out = Vec::new();
    for subject in registry.subjects() {
        let Some((newest, older)) = registry.versions(subject).split_last() else {
            continue;
        };
        for old in older {
            let differences = backward(&newest.schema, &old.schema);
            if !differences.is_empty() {
                out.push(Incompatible { subject: subject.to_string(), version: old.version, differences });
            }
        }
    }
    out
}

struct Check<'a> {
    new: &'a Schema,
    old: &'a Schema,
    out: Vec<Difference>,
    /// Pairs of named types compared already: schemas may refer to themselves.
    seen: BTreeSet<(usize, usize)>,
}

impl Check<'_> {
    fn tell(&mut self, path: &str, message: String) {
        self.out.push(Difference { path: if path.is_empty() { self.new.record().name.clone() } else { path.to_string() }, message });
    }

    fn record(&mut self, new: &Record, old: &Record, path: &str) {
        for f in &new.fields {
            let at = if path.is_empty() { f.name.clone() } else { format!("{path}.{}", f.name) };
            match old.fields.iter().find(|o| o.name == f.name || f.aliases.contains(&o.name)) {
                Some(o) => self.types(&f.ty, &o.ty, &at),
                None if f.default.is_none() => {
                    self.tell(&at, "is new and has no default: old records do not have it; give it a default (null, for a nullable field)".into())
                }
                None => {}
            }
        }
    }

    fn types(&mut self, new: &Type, old: &Type, path: &str) {
        match (new, old) {
            (_, Type::Union(branches)) => {
                for b in branches {
                    if !self.readable(new, b) {
                        let (was, is) = (self.old.type_name(b), self.new.type_name(new));
                        self.tell(path, format!("was written as {was} at times, which {is} does not take; keep that branch"));
                    }
                }
                if let Some((n, o)) = self.same_branch(new, branches) {
                    self.types(&n, &o, path);
                }
            }
            (Type::Union(branches), _) => match branches.iter().find(|b| self.readable(b, old)) {
                Some(b) => self.types(&b.clone(), old, path),
                None => self.changed(new, old, path),
            },
            (Type::Array(n), Type::Array(o)) => self.types(n, o, &format!("{path}[]")),
            (Type::Map(n), Type::Map(o)) => self.types(n, o, &format!("{path}{{}}")),
            (Type::Long(n), Type::Long(o)) if n != o => {
                let (was, is) = (self.old.type_name(old), self.new.type_name(new));
                self.tell(path, format!("was {was} and is {is}: the numbers mean something else; add a field with a new name"));
            }
            (Type::Named(n), Type::Named(o)) => self.named(*n, *o, path),
            _ if self.readable(new, old) => {}
            _ => self.changed(new, old, path),
        }
    }

    fn changed(&mut self, new: &Type, old: &Type, path: &str) {
        let (was, is) = (self.old.type_name(old), self.new.type_name(new));
        self.tell(path, format!("was {was} and is {is}, which does not read it; add a field with a new name"));
    }

    fn named(&mut self, n: usize, o: usize, path: &str) {
        if !self.seen.insert((n, o)) {
            return;
        }
        let (new, old) = (self.new, self.old);
        match (new.named(n), old.named(o)) {
            (Named::Record(n), Named::Record(o)) if n.name == o.name => self.record(n, o, path),
            (Named::Enum(n), Named::Enum(o)) if n.name == o.name => {
                let gone: Vec<&str> = o.symbols.iter().filter(|s| !n.symbols.contains(s)).map(String::as_str).collect();
                if !gone.is_empty() && n.default.is_none() {
                    self.tell(path, format!("no longer has the symbols {}; keep them, or give the enum a default", gone.join(", ")));
                }
            }
            (Named::Fixed { name: n, size: ns }, Named::Fixed { name: o, size: os }) if n == o && ns == os => {}
            _ => self.changed(&Type::Named(n), &Type::Named(o), path),
        }
    }

    /// Whether a value of `old` fits `new` by its outer type: names and primitives, not what is inside.
    fn readable(&self, new: &Type, old: &Type) -> bool {
        match (new, old) {
            (Type::Union(branches), old) => branches.iter().any(|b| self.readable(b, old)),
            (new, Type::Union(branches)) => branches.iter().all(|b| self.readable(new, b)),
            (Type::Long(_), Type::Int | Type::Long(_)) => true,
            (Type::Float, Type::Int | Type::Long(_) | Type::Float) => true,
            (Type::Double, Type::Int | Type::Long(_) | Type::Float | Type::Double) => true,
            (Type::String | Type::Bytes, Type::String | Type::Bytes) => true,
            (Type::Array(_), Type::Array(_)) | (Type::Map(_), Type::Map(_)) => true,
            (Type::Named(n), Type::Named(o)) => match (self.new.named(*n), self.old.named(*o)) {
                (Named::Record(n), Named::Record(o)) => n.name == o.name,
                (Named::Enum(n), Named::Enum(o)) => n.name == o.name,
                (Named::Fixed { name: n, .. }, Named::Fixed { name: o, .. }) => n == o,
                _ => false,
            },
            (n, o) => n == o,
        }
    }

    /// For two unions of null and one type: those types, to be compared inside.
    fn same_branch(&self, new: &Type, old: &[Type]) -> Option<(Type, Type)> {
        let (_, o) = nullable(old)?;
        let n = match new {
            Type::Union(branches) => nullable(branches)?.1,
            other => other,
        };
        (self.readable(n, o)).then(|| (n.clone(), o.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use apache_avro::schema_compatibility::SchemaCompatibility;

    const OLD: &str = r#"{"type":"record","name":"R","key":"id","fields":[
        {"name":"id","type":"string"},
        {"name":"n","type":"int"},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["a","b"]}},
        {"name":"o","type":["null","double"],"default":null}]}"#;

    fn check(change: impl Fn(&str) -> String) -> (Vec<String>, bool) {
        let new = change(OLD);
        assert_ne!(new, OLD, "the test changes something");
        let ours = backward(&Schema::parse(&new).unwrap(), &Schema::parse(OLD).unwrap());
        let parse = |s: &str| apache_avro::Schema::parse_str(s).unwrap();
        let theirs = SchemaCompatibility::can_read(&parse(OLD), &parse(&new));
        (ours.iter().map(Difference::to_string).collect(), theirs.is_ok())
    }

    #[test]
    fn all_subjects_read_their_history() {
        let registry = Registry::embedded().unwrap();
        let bad: Vec<String> = check_registry(&registry)
            .iter()
            .map(|i| {
                format!(
                    "{} cannot read its version {}:\n  {}",
                    i.subject,
                    i.version,
                    i.differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("\n  ")
                )
            })
            .collect();
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    }

    #[test]
    fn harmless_changes_pass() {
        let id = r#"{"name":"id","type":"string"},"#;
        for (from, to) in [
            (id, format!(r#"{id}{{"name":"new","type":["null","string"],"default":null}},"#)),
            (r#"{"name":"n","type":"int"},"#, String::new()),
            (r#""type":"int""#, r#""type":"long""#.to_string()),
            (r#""type":"int""#, r#""type":["null","long"]"#.to_string()),
            (r#"["a","b"]"#, r#"["a","b","c"]"#.to_string()),
            (r#"["a","b"]"#, r#"["a","c"],"default":"c""#.to_string()),
            (r#"{"name":"n","#, r#"{"name":"count","aliases":["n"],"#.to_string()),
        ] {
            let (ours, _) = check(|old| old.replace(from, &to));
            assert!(ours.is_empty(), "{to}: {ours:?}");
        }
    }

    #[test]
    fn harmful_changes_are_refused_with_what_differs() {
        for (from, to, what) in [
            (r#""type":"int""#, r#""type":"string""#, "n: was int and is string, which does not read it"),
            (r#"{"name":"n","#, r#"{"name":"count","#, "count: is new and has no default"),
            (r#"["a","b"]"#, r#"["a"]"#, "e: no longer has the symbols b"),
            (r#"["null","double"],"default":null"#, r#""double""#, "o: was written as null at times"),
            ("timestamp-millis", "timestamp-micros", "at: was timestamp and is timestamp-micros: the numbers mean something else"),
            (r#""key":"id""#, r#""key":"n""#, "R: `key` was \"id\" and is \"n\""),
        ] {
            let (ours, _) = check(|old| old.replace(from, to));
            assert!(ours.len() == 1 && ours[0].starts_with(what), "{to}: {ours:?}");
        }
    }

    #[test]
    fn removing_a_default_of_a_real_contract_is_refused() {
        let registry = Registry::embedded().unwrap();
        let now = registry.for_topic("bin.telemetry").unwrap();
        let mut old: serde_json::Value = serde_json::from_str(&now.json).unwrap();
        let mut new = old.clone();
        // The version before did not have battery_v; the new one adds it and forgets the default.
        old["fields"].as_array_mut().unwrap().retain(|f| f["name"] != "battery_v");
        let field = new["fields"].as_array_mut().unwrap().iter_mut().find(|f| f["name"] == "battery_v").unwrap();
        assert_eq!(backward(&now.schema, &Schema::parse(&old.to_string()).unwrap()), vec![], "with its default it may come");
        field.as_object_mut().unwrap().remove("default");
        let found = backward(&Schema::parse(&new.to_string()).unwrap(), &Schema::parse(&old.to_string()).unwrap());
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("battery_v: is new and has no default"), "{}", found[0]);
    }

    /// Avro's own rules are the oracle where they speak: units and keys are our rules.
    #[test]
    fn agrees_with_avro_on_what_can_be_read() {
        for (from, to) in [
            (r#""type":"int""#, r#""type":"double""#),
            (r#""type":"int""#, r#""type":"boolean""#),
            (r#""type":"int""#, r#""type":"bytes""#),
            (r#""type":"string""#, r#""type":"bytes""#),
            (r#""type":"string""#, r#""type":"long""#),
            (r#"["a","b"]"#, r#"["b","a"]"#),
            (r#"["null","double"]"#, r#"["null","double","string"]"#),
            (r#"["null","double"]"#, r#"["null","float"]"#),
            (r#"{"name":"n","type":"int"},"#, r#"{"name":"n","type":{"type":"array","items":"int"}},"#),
            (r#"{"name":"n","type":"int"},"#, r#"{"name":"m","type":"int","default":1},"#),
            (r#"{"name":"n","type":"int"},"#, r#"{"name":"m","type":"int"},"#),
        ] {
            let (ours, theirs) = check(|old| old.replace(from, to));
            // A union that fits for some values only is "partial" there and refused here.
            let partial = to.contains("\"float\"]");
            assert!(ours.is_empty() == theirs || (partial && !ours.is_empty()), "{from} → {to}: ours {ours:?}, Avro {theirs}");
        }
    }
}
