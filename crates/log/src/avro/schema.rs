//! Avro schemas as this crate reads them: a tree with named types in an arena (schemas may refer to themselves), the
//! custom attributes of our contracts kept. Only what decoding, encoding, compatibility and documents need.

use serde_json::{Map, Value};
use std::collections::HashMap;

/// What the 64 bits of a long mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongUnit {
    /// A number.
    Plain,
    /// `timestamp-millis`: UTC milliseconds since 1970.
    Millis,
    /// `timestamp-micros`.
    Micros,
    /// `timestamp-nanos`.
    Nanos,
}

/// An Avro type; named types are indexes into [`Schema::named`].
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Nothing.
    Null,
    /// One byte, 0 or 1.
    Boolean,
    /// Zigzag varint of 32 bits.
    Int,
    /// Zigzag varint of 64 bits.
    Long(LongUnit),
    /// 4 bytes, little endian.
    Float,
    /// 8 bytes, little endian.
    Double,
    /// Length and bytes.
    Bytes,
    /// Length and UTF-8.
    String,
    /// Blocks of items.
    Array(Box<Type>),
    /// Blocks of (string, value).
    Map(Box<Type>),
    /// Branch number and value.
    Union(Vec<Type>),
    /// A record, enum or fixed.
    Named(usize),
}

/// A type with a name.
#[derive(Clone, Debug)]
pub enum Named {
    /// Fields in order.
    Record(Record),
    /// One of some symbols.
    Enum(EnumType),
    /// That many bytes.
    Fixed {
        /// Name without namespace.
        name: String,
        /// Length in bytes.
        size: usize,
    },
}

/// A record type.
#[derive(Clone, Debug)]
pub struct Record {
    /// Name without namespace.
    pub name: String,
    /// What it is, for people.
    pub doc: String,
    /// Fields in the order written.
    pub fields: Vec<Field>,
    /// Everything of the JSON besides the fields: our contract's `key`, `group`, `cleanup` …
    pub attributes: Map<String, Value>,
}

/// A field of a record.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Older names.
    pub aliases: Vec<String>,
    /// Its type.
    pub ty: Type,
    /// What a reader puts where a writer had no such field.
    pub default: Option<Value>,
    /// What it is, for people.
    pub doc: String,
    /// `direct` or `indirect` for personal data.
    pub pii: Option<String>,
    /// Its name in FIWARE's vocabulary.
    pub fiware: Option<String>,
}

/// An enum type.
#[derive(Clone, Debug)]
pub struct EnumType {
    /// Name without namespace.
    pub name: String,
    /// Symbols in the order of their numbers.
    pub symbols: Vec<String>,
    /// What a reader takes for a symbol it does not know.
    pub default: Option<String>,
}

/// Why a text is no usable Avro schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct SchemaError {
    /// Where in the schema: `Record.field`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// A parsed schema whose root is a record.
#[derive(Clone, Debug)]
pub struct Schema {
    named: Vec<Named>,
    root: Record,
}

impl Schema {
    /// Parses an Avro schema in JSON. The root must be a record: that is what a topic's value is.
    pub fn parse(json: &str) -> Result<Schema, SchemaError> {
        let value: Value = serde_json::from_str(json).map_err(|e| SchemaError { path: "schema".into(), message: format!("not JSON: {e}") })?;
        let mut parser = Parser { named: Vec::new(), names: HashMap::new() };
        let root = match parser.parse(&value, "", "schema")? {
            Type::Named(i) => match parser.named.get(i) {
                Some(Named::Record(r)) => Some(r.clone()),
                _ => None,
            },
            _ => None,
        };
        let root = root.ok_or_else(|| SchemaError { path: "schema".into(), message: "the root must be a record: topics carry records".into() })?;
        Ok(Schema { named: parser.named, root })
    }

    /// The root record.
    pub fn record(&self) -> &Record {
        &self.root
    }

    /// A named type.
    pub fn named(&self, index: usize) -> &Named {
        &self.named[index]
    }

    /// The type in words, as people write it: `string?`, `timestamp`, `enum(a, b)`, `array of string`.
    pub fn type_name(&self, ty: &Type) -> String {
        match ty {
            Type::Null => "null".into(),
            Type::Boolean => "boolean".into(),
            Type::Int => "int".into(),
            Type::Long(LongUnit::Plain) => "long".into(),
            Type::Long(LongUnit::Millis) => "timestamp".into(),
            Type::Long(LongUnit::Micros) => "timestamp-micros".into(),
            Type::Long(LongUnit::Nanos) => "timestamp-nanos".into(),
            Type::Float => "float".into(),
            Type::Double => "double".into(),
            Type::Bytes => "bytes".into(),
            Type::String => "string".into(),
            Type::Array(t) => format!("array of {}", self.type_name(t)),
            Type::Map(t) => format!("map of {}", self.type_name(t)),
            Type::Union(branches) => match nullable(branches) {
                Some((_, inner)) => format!("{}?", self.type_name(inner)),
                None => format!("union({})", branches.iter().map(|b| self.type_name(b)).collect::<Vec<_>>().join(", ")),
            },
            Type::Named(i) => match self.named(*i) {
                Named::Record(r) => r.name.clone(),
                Named::Enum(e) => format!("enum({})", e.symbols.join(", ")),
                Named::Fixed { size, .. } => format!("fixed({size})"),
            },
        }
    }
}

/// For a union of null and one other type: the number of the null branch and the other type.
pub fn nullable(branches: &[Type]) -> Option<(usize, &Type)> {
    match branches {
        [Type::Null, other] if *other != Type::Null => Some((0, other)),
        [other, Type::Null] if *other != Type::Null => Some((1, other)),
        _ => None,
    }
}

struct Parser {
    named: Vec<Named>,
    names: HashMap<String, usize>,
}

impl Parser {
    fn parse(&mut self, value: &Value, namespace: &str, path: &str) -> Result<Type, SchemaError> {
        let error = |message: String| SchemaError { path: path.to_string(), message };
        match value {
            Value::String(name) => self.by_name(name, namespace).ok_or_else(|| error(format!("unknown type `{name}`"))),
            Value::Array(branches) => {
                let mut out = Vec::with_capacity(branches.len());
                for b in branches {
                    let t = self.parse(b, namespace, path)?;
                    if matches!(t, Type::Union(_)) {
                        return Err(error("a union may not contain a union".into()));
                    }
                    if out.contains(&t) {
                        return Err(error("a union has the same branch twice".into()));
                    }
                    out.push(t);
                }
                if out.is_empty() {
                    return Err(error("a union needs a branch".into()));
                }
                Ok(Type::Union(out))
            }
            Value::Object(o) => self.object(o, namespace, path),
            _ => Err(error("a type is a name, a list of branches or an object".into())),
        }
    }

    fn by_name(&self, name: &str, namespace: &str) -> Option<Type> {
        Some(match name {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long(LongUnit::Plain),
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::String,
            _ => Type::Named(*self.names.get(&full_name(name, namespace)).or_else(|| self.names.get(name))?),
        })
    }

    fn object(&mut self, o: &Map<String, Value>, namespace: &str, path: &str) -> Result<Type, SchemaError> {
        let error = |message: String| SchemaError { path: path.to_string(), message };
        let kind = match o.get("type") {
            Some(Value::String(k)) => k.as_str(),
            Some(inner) => return self.parse(inner, namespace, path),
            None => return Err(error("an object needs a `type`".into())),
        };
        match kind {
            "array" => Ok(Type::Array(Box::new(self.parse(o.get("items").ok_or_else(|| error("an array needs `items`".into()))?, namespace, path)?))),
            "map" => Ok(Type::Map(Box::new(self.parse(o.get("values").ok_or_else(|| error("a map needs `values`".into()))?, namespace, path)?))),
            "record" | "error" | "enum" | "fixed" => self.define(kind, o, namespace, path),
            "long" => Ok(Type::Long(match o.get("logicalType").and_then(Value::as_str) {
                Some("timestamp-millis") => LongUnit::Millis,
                Some("timestamp-micros") => LongUnit::Micros,
                Some("timestamp-nanos") => LongUnit::Nanos,
                _ => LongUnit::Plain,
            })),
            name => self.by_name(name, namespace).ok_or_else(|| error(format!("unknown type `{name}`"))),
        }
    }

    fn define(&mut self, kind: &str, o: &Map<String, Value>, namespace: &str, path: &str) -> Result<Type, SchemaError> {
        let error = |message: String| SchemaError { path: path.to_string(), message };
        let raw = o.get("name").and_then(Value::as_str).ok_or_else(|| error(format!("a {kind} needs a `name`")))?;
        let namespace = match (raw.rsplit_once('.'), o.get("namespace").and_then(Value::as_str)) {
            (Some((ns, _)), _) => ns,
            (None, Some(ns)) => ns,
            (None, None) => namespace,
        }
        .to_string();
        let name = raw.rsplit('.').next().unwrap_or(raw).to_string();
        let full = full_name(&name, &namespace);
        let index = self.named.len();
        if self.names.insert(full.clone(), index).is_some() {
            return Err(error(format!("`{full}` is defined twice")));
        }
        // The place is taken before the fields are read, so that a record may refer to itself.
        self.named.push(Named::Fixed { name: name.clone(), size: 0 });
        self.named[index] = match kind {
            "enum" => {
                let symbols: Vec<String> = strings(o.get("symbols")).ok_or_else(|| error("an enum needs `symbols`".into()))?;
                let default = o.get("default").and_then(Value::as_str).map(str::to_string);
                if symbols.is_empty() {
                    return Err(error("an enum needs a symbol".into()));
                }
                if default.as_ref().is_some_and(|d| !symbols.contains(d)) {
                    return Err(error("the enum's default is none of its symbols".into()));
                }
                Named::Enum(EnumType { name, symbols, default })
            }
            "fixed" => {
                let size = o.get("size").and_then(Value::as_u64).ok_or_else(|| error("a fixed needs a `size`".into()))?;
                Named::Fixed { name, size: size as usize }
            }
            _ => Named::Record(self.record(o, name, &namespace)?),
        };
        Ok(Type::Named(index))
    }

    fn record(&mut self, o: &Map<String, Value>, name: String, namespace: &str) -> Result<Record, SchemaError> {
        let error = |message: &str| SchemaError { path: name.clone(), message: message.to_string() };
        let list = o.get("fields").and_then(Value::as_array).ok_or_else(|| error("a record needs `fields`"))?;
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        for f in list {
            let f = f.as_object().ok_or_else(|| error("a field is an object"))?;
            let field = f.get("name").and_then(Value::as_str).ok_or_else(|| error("a field needs a `name`"))?;
            let path = format!("{name}.{field}");
            if fields.iter().any(|x| x.name == field) {
                return Err(SchemaError { path, message: "the field stands there twice".into() });
            }
            let ty =
                self.parse(f.get("type").ok_or_else(|| SchemaError { path: path.clone(), message: "a field needs a `type`".into() })?, namespace, &path)?;
            let text = |k: &str| f.get(k).and_then(Value::as_str).map(str::to_string);
            fields.push(Field {
                name: field.to_string(),
                aliases: strings(f.get("aliases")).unwrap_or_default(),
                ty,
                default: f.get("default").cloned(),
                doc: text("doc").unwrap_or_default(),
                pii: text("pii"),
                fiware: text("fiware"),
            });
        }
        let attributes = o.iter().filter(|(k, _)| *k != "fields").map(|(k, v)| (k.clone(), v.clone())).collect();
        let doc = o.get("doc").and_then(Value::as_str).unwrap_or_default().to_string();
        Ok(Record { name, doc, fields, attributes })
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_string() } else { format!("{namespace}.{name}") }
}

fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|v| v.as_str().map(str::to_string)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn reads_named_types_once_and_by_reference() {
        let s = Schema::parse(
            r#"{"type":"record","name":"a.R","key":"x","fields":[
                {"name":"x","type":{"type":"enum","name":"E","symbols":["p","q"],"default":"q"}},
                {"name":"y","type":["null","E"],"default":null},
                {"name":"t","type":{"type":"long","logicalType":"timestamp-millis"}},
                {"name":"next","type":["null","R"]}]}"#,
        )
        .unwrap();
        let r = s.record();
        assert_eq!(r.attributes["key"], "x");
        assert_eq!(r.fields.iter().map(|f| s.type_name(&f.ty)).collect::<Vec<_>>(), ["enum(p, q)", "enum(p, q)?", "timestamp", "R?"]);
    }

    #[test]
    fn says_where_a_schema_is_wrong() {
        for (fields, path, message) in [
            (r#"[{"name":"a","type":"strin"}]"#, "R.a", "unknown type `strin`"),
            (r#"[{"name":"a","type":"int"},{"name":"a","type":"int"}]"#, "R.a", "the field stands there twice"),
            (r#"[{"name":"a"}]"#, "R.a", "a field needs a `type`"),
            (r#"[{"name":"a","type":["null","null"]}]"#, "R.a", "a union has the same branch twice"),
        ] {
            let e = Schema::parse(&format!(r#"{{"type":"record","name":"R","fields":{fields}}}"#)).unwrap_err();
            assert_eq!((e.path.as_str(), e.message.as_str()), (path, message));
        }
        assert!(Schema::parse("\"string\"").unwrap_err().to_string().contains("root must be a record"));
    }
}
