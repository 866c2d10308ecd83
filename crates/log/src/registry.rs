//! The embedded schema registry: a folder of Avro schemas with stable ids, no server. Subjects are `TOPIC-value`; the
//! newest version stands in `TOPIC.avsc`, older ones in `history/`, and `registry.json` gives each its id for ever.

use crate::avro::columns_of;
use crate::avro::schema::{Schema, SchemaError};
use arrow::datatypes::SchemaRef;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// The contracts of this build: (file name, text).
static EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/schemas.rs"));

/// Name of the index file.
pub const INDEX: &str = "registry.json";

/// A schema with its place in the registry.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Id in the framing of values; never used again for another schema.
    pub id: u32,
    /// `TOPIC-value`.
    pub subject: String,
    /// Version within the subject, from 1.
    pub version: u32,
    /// File it came from.
    pub file: String,
    /// The parsed schema.
    pub schema: Arc<Schema>,
    /// Its text.
    pub json: Arc<str>,
}

impl Registered {
    /// A text attribute of the contract: `key`, `group`, `cleanup`, `topic`, `pii_subject`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.schema.record().attributes.get(name)?.as_str()
    }

    /// The engine columns of its fields, nested ones included; maps and unions of several types have none.
    pub fn columns(&self) -> SchemaRef {
        columns_of(&self.schema)
    }

    /// Fields that a sink may leave out: those with a default.
    pub fn defaults(&self) -> Vec<String> {
        self.schema.record().fields.iter().filter(|f| f.default.is_some()).map(|f| f.name.clone()).collect()
    }
}

/// Why the registry cannot be opened or has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file cannot be read.
    #[error("cannot read schema file {file}: {source}; a registry is a folder with {INDEX} and the files it names")]
    Io {
        /// File.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The index is wrong.
    #[error("{INDEX}: {message}")]
    Index {
        /// What is wrong.
        message: String,
    },
    /// A schema is wrong.
    #[error("{file}: {source}")]
    Schema {
        /// File.
        file: String,
        /// Cause.
        source: SchemaError,
    },
    /// No such subject.
    #[error("no schema for subject `{subject}`{hint}")]
    UnknownSubject {
        /// Subject asked for.
        subject: String,
        /// The nearest one there is, in words.
        hint: String,
    },
    /// No such id.
    #[error("no schema has id {id}; add the writer's schema to {INDEX}")]
    UnknownId {
        /// Id asked for.
        id: u32,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    subjects: BTreeMap<String, Vec<IndexEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexEntry {
    version: u32,
    id: u32,
    file: String,
}

/// All schemas, by subject and by id.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    subjects: BTreeMap<String, Vec<Arc<Registered>>>,
    by_id: HashMap<u32, Arc<Registered>>,
}

impl Registry {
    /// The contracts that this build was made with.
    pub fn embedded() -> Result<Registry, RegistryError> {
        Registry::from_files(|name| {
            let text = EMBEDDED.iter().find(|(n, _)| *n == name).map(|(_, text)| text.to_string());
            text.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
        })
    }

    /// The registry in a folder.
    pub fn open(folder: &Path) -> Result<Registry, RegistryError> {
        Registry::from_files(|name| std::fs::read_to_string(folder.join(name)))
    }

    /// A registry from whatever `read` finds under the names of the index.
    pub fn from_files(read: impl Fn(&str) -> std::io::Result<String>) -> Result<Registry, RegistryError> {
        let file = |name: &str| read(name).map_err(|source| RegistryError::Io { file: name.to_string(), source });
        let index: Index = serde_json::from_str(&file(INDEX)?).map_err(|e| RegistryError::Index { message: e.to_string() })?;
        let mut registry = Registry::default();
        for (subject, mut entries) in index.subjects {
            if entries.is_empty() {
                return Err(RegistryError::Index { message: format!("subject `{subject}` has no version") });
            }
            entries.sort_by_key(|e| e.version);
            for e in entries {
                registry.insert(&subject, e.version, e.id, &e.file, &file(&e.file)?)?;
            }
        }
        Ok(registry)
    }

    /// Adds a schema: the next version of its subject, under an id that is not taken.
    pub fn insert(&mut self, subject: &str, version: u32, id: u32, file: &str, json: &str) -> Result<(), RegistryError> {
        if let Some(other) = self.by_id.get(&id) {
            return Err(RegistryError::Index {
                message: format!("id {id} is given to {} version {} and to {subject} version {version}", other.subject, other.version),
            });
        }
        let versions = self.subjects.entry(subject.to_string()).or_default();
        if versions.len() as u32 + 1 != version {
            return Err(RegistryError::Index { message: format!("{subject}: version {version} stands where version {} is due", versions.len() + 1) });
        }
        let schema = Schema::parse(json).map_err(|source| RegistryError::Schema { file: file.to_string(), source })?;
        let registered =
            Arc::new(Registered { id, subject: subject.to_string(), version, file: file.to_string(), schema: Arc::new(schema), json: json.into() });
        versions.push(registered.clone());
        self.by_id.insert(id, registered);
        Ok(())
    }

    /// The newest schema of a subject.
    pub fn latest(&self, subject: &str) -> Result<&Arc<Registered>, RegistryError> {
        self.versions(subject).last().ok_or_else(|| RegistryError::UnknownSubject { subject: subject.to_string(), hint: self.hint(subject) })
    }

    /// The newest schema of a topic's values. All `dlq.*` topics share one contract.
    pub fn for_topic(&self, topic: &str) -> Result<&Arc<Registered>, RegistryError> {
        let subject = format!("{topic}-value");
        if topic.starts_with("dlq.") && !self.subjects.contains_key(&subject) {
            return self.latest("dlq-value");
        }
        self.latest(&subject)
    }

    /// The schema with that id: what a value was written with.
    pub fn by_id(&self, id: u32) -> Result<&Arc<Registered>, RegistryError> {
        self.by_id.get(&id).ok_or(RegistryError::UnknownId { id })
    }

    /// All versions of a subject, oldest first; empty when there is no such subject.
    pub fn versions(&self, subject: &str) -> &[Arc<Registered>] {
        self.subjects.get(subject).map_or(&[], Vec::as_slice)
    }

    /// All subjects in order of their names.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.subjects.keys().map(String::as_str)
    }

    /// All topics that have a contract, in order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.subjects().filter_map(|s| s.strip_suffix("-value"))
    }

    fn hint(&self, subject: &str) -> String {
        let near = self.subjects().map(|s| (distance(s, subject), s)).min();
        match near {
            Some((d, s)) if d <= 1 + subject.len() / 4 => format!("; did you mean `{s}`?"),
            _ => format!("; put TOPIC.avsc into the schema folder and name it in {INDEX}"),
        }
    }
}

/// How many letters must change to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::collections::BTreeSet;

    fn folder() -> std::path::PathBuf {
        Path::new("../../schemas").into()
    }

    /// DATA.md's table: every topic is designed from the first day.
    const TOPICS: &str = "bin.telemetry vehicle.position vehicle.diagnostics vehicle.status \
        collection.event shift.event weighbridge.ticket facility.status road.closure container.event contamination.event fuel.event workorder.event weather.observed weather.forecast \
        customer.event service.ticket contract.event invoice.event payment.event consent.event csat.event \
        plan.decision intervention.event control.model control.flag control.experiment \
        ref.site ref.container ref.device ref.vehicle ref.facility ref.customer ref.zone ref.calendar ref.schedule ref.waste-stream ref.tariff ref.unit-cost ref.shift \
        bin.features bin.forecast bin.alert road.speed route.plan route.change route.problem customer.features customer.churn-risk \
        vehicle.features vehicle.maintenance-risk prediction.outcome dlq";

    #[test]
    fn every_topic_has_a_contract_and_every_file_is_registered() {
        let r = Registry::embedded().unwrap();
        let wanted: BTreeSet<String> = TOPICS.split_whitespace().map(|t| format!("{t}-value")).collect();
        assert_eq!(r.subjects().map(str::to_string).collect::<BTreeSet<_>>(), wanted);
        let named: BTreeSet<&str> = r.by_id.values().map(|s| s.file.as_str()).collect();
        let embedded: BTreeSet<&str> = EMBEDDED.iter().map(|(n, _)| *n).filter(|n| *n != INDEX).collect();
        assert_eq!(named, embedded, "files and {INDEX} agree");
    }

    #[test]
    fn the_folder_and_the_embedded_copy_say_the_same() {
        let (folder, embedded) = (Registry::open(&folder()).unwrap(), Registry::embedded().unwrap());
        assert!(folder.subjects().eq(embedded.subjects()));
        for s in folder.subjects() {
            assert_eq!(folder.latest(s).unwrap().json, embedded.latest(s).unwrap().json, "{s}");
        }
    }

    #[test]
    fn every_contract_keeps_the_rules_of_contracts() {
        let r = Registry::embedded().unwrap();
        for subject in r.subjects() {
            let latest = r.latest(subject).unwrap();
            let record = latest.schema.record();
            let topic = subject.strip_suffix("-value").unwrap();
            assert_eq!(latest.attribute("topic"), Some(topic), "{topic}: `topic` is its own name");
            assert!(!record.doc.is_empty(), "{topic} says what it is");
            let field = |name: &str| record.fields.iter().find(|f| f.name == name);
            let key = field(latest.attribute("key").unwrap()).expect(topic);
            assert!(topic == "dlq" || latest.schema.type_name(&key.ty) == "string", "{topic}: the key is a string that is always there");
            assert!(["telemetry", "operations", "customers", "decisions", "references", "outputs"].contains(&latest.attribute("group").unwrap()), "{topic}");
            assert!(["delete", "compact", "compact,delete"].contains(&latest.attribute("cleanup").unwrap()), "{topic}");
            for base in ["tenant", "event_id", "observed_at", "sent_at", "received_at", "source", "schema_version"] {
                assert!(topic == "dlq" || field(base).is_some(), "{topic} has {base}");
            }
            let personal = record.fields.iter().filter(|f| f.pii.is_some()).count();
            match latest.attribute("pii_subject") {
                Some(subject) => assert!(personal > 0 && field(subject).is_some(), "{topic}: pii_subject is a field, and there is personal data"),
                None => assert_eq!(personal, 0, "{topic}: personal fields need a pii_subject, by whose key they can be erased"),
            }
            for f in &record.fields {
                assert!(!f.doc.is_empty(), "{topic}.{} says what it is", f.name);
                assert!(f.pii.as_deref().is_none_or(|p| p == "direct" || p == "indirect"), "{topic}.{}", f.name);
                let type_name = latest.schema.type_name(&f.ty);
                assert!(
                    !type_name.ends_with('?') || f.default == Some(serde_json::Value::Null),
                    "{topic}.{}: nullable fields default to null, so that they can go again",
                    f.name
                );
                assert!(!f.name.ends_with("_at") || type_name.starts_with("timestamp"), "{topic}.{}: `_at` is a timestamp", f.name);
                assert!(!f.name.ends_with("_minor") || field("currency").is_some(), "{topic}.{}: money has a currency", f.name);
            }
        }
    }

    #[test]
    fn a_contract_tells_its_columns_and_what_may_be_left_out() {
        let r = Registry::embedded().unwrap();
        let plan = r.for_topic("route.plan").unwrap();
        let column = |name: &str| plan.columns().field_with_name(name).ok().map(|f| (f.data_type().to_string(), f.is_nullable()));
        assert_eq!(column("valid_from"), Some(("Int64".into(), false)));
        assert_eq!(column("supersedes"), Some(("Utf8".into(), true)));
        assert!(column("routes").is_some_and(|(t, _)| t.starts_with("List(non-null Struct(\"vehicle_id\": non-null Utf8")), "nested");
        assert_eq!(plan.defaults(), ["schema_version", "supersedes", "cost_minor", "currency", "routes", "skipped"]);
        assert!(r.topics().any(|t| t == "route.plan"));
    }

    #[test]
    fn drivers_are_not_in_vehicle_topics() {
        let r = Registry::embedded().unwrap();
        for topic in ["vehicle.position", "vehicle.status", "vehicle.diagnostics"] {
            assert!(r.for_topic(topic).unwrap().schema.record().fields.iter().all(|f| !f.name.contains("driver") && !f.name.contains("shift")), "{topic}");
        }
    }

    #[test]
    fn dead_letter_topics_share_one_contract_and_typos_get_a_hint() {
        let r = Registry::embedded().unwrap();
        assert_eq!(r.for_topic("dlq.bin-fill").unwrap().subject, "dlq-value");
        assert_eq!(r.for_topic("bin.telemetri").unwrap_err().to_string(), "no schema for subject `bin.telemetri-value`; did you mean `bin.telemetry-value`?");
        assert!(r.for_topic("orders").unwrap_err().to_string().contains("put TOPIC.avsc"));
        assert!(r.by_id(7).unwrap_err().to_string().contains("no schema has id 7"));
    }

    #[test]
    fn a_broken_registry_says_what_is_broken() {
        let open = |index: &str, schema: &str| {
            Registry::from_files(|n| match n {
                INDEX => Ok(index.to_string()),
                "t.avsc" => Ok(schema.to_string()),
                _ => Err(std::io::ErrorKind::NotFound.into()),
            })
            .unwrap_err()
            .to_string()
        };
        let record = r#"{"type":"record","name":"T","fields":[]}"#;
        let entry = r#"{"version":1,"id":1,"file":"t.avsc"}"#;
        assert!(open("{", record).starts_with("registry.json: "));
        assert!(open(&format!(r#"{{"subjects":{{"a":[{entry}],"b":[{entry}]}}}}"#), record).contains("id 1 is given to a version 1 and to b version 1"));
        assert!(open(r#"{"subjects":{"a":[{"version":2,"id":1,"file":"t.avsc"}]}}"#, record).contains("version 2 stands where version 1 is due"));
        assert!(open(r#"{"subjects":{"a":[{"version":1,"id":1,"file":"gone.avsc"}]}}"#, record).contains("cannot read schema file gone.avsc"));
        assert!(
            open(&format!(r#"{{"subjects":{{"a":[{entry}]}}}}"#), r#"{"type":"record","name":"T","fields":[{"name":"x","type":"strnig"}]}"#)
                .contains("t.avsc: T.x: unknown type `strnig`")
        );
    }
}
