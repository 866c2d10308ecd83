//! What stands in the embedded log of a stopped process, and what a test puts there before the process starts:
//! records by topic, values as JSON through the contracts, or raw bytes that no producer would send.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use ws_log::embedded::{EmbeddedConfig, EmbeddedLog};
use ws_log::registry::Registry;
use ws_stream::log::{End, Log as _, TopicPartition, TopicSpec};
use ws_stream::partition::partition_of;
use ws_stream::records::Appends;

/// A record as it stands in the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: i64,
    /// The value by its contract.
    pub value: Value,
}

impl Record {
    /// A text field; empty when it is absent or not text.
    pub fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or_default()
    }
}

/// The log of a data folder, opened by the test. No process may run on it meanwhile.
pub struct Folder {
    log: EmbeddedLog,
    registry: Registry,
}

impl Folder {
    /// Opens `DATA/log`.
    ///
    /// # Panics
    /// When another process has it, or it is damaged.
    pub fn open(data: &Path) -> Folder {
        Folder {
            log: EmbeddedLog::open(EmbeddedConfig::new(data.join("log"))).expect("the embedded log"),
            registry: Registry::embedded().expect("the contracts"),
        }
    }

    /// Makes topics where they are missing.
    pub fn create(&self, topics: &[&str], partitions: u32) {
        let spec = |topic: &&str| TopicSpec { name: (*topic).into(), partitions, config: Vec::new() };
        let specs: Vec<TopicSpec> = topics.iter().map(spec).collect();
        self.log.admin().expect("admin").create(&specs).expect("topics");
    }

    /// All records of a topic, in order per partition.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        let mut admin = self.log.admin().expect("admin");
        let info = admin.topic(topic).expect("topic").unwrap_or_else(|| panic!("no topic {topic}"));
        let mut found = Vec::new();
        for partition in 0..info.partitions {
            let at = TopicPartition::new(topic, partition);
            let (mut next, end) = (admin.start(&at).expect("start"), admin.end(&at, End::Stable).expect("end"));
            let mut reader = self.log.reader().expect("a reader");
            reader.add(&at, next).expect("reading");
            while next < end {
                for (_, records) in reader.poll(1_000).expect("records") {
                    next = records.next_offset;
                    for (i, row) in records.rows.iter().enumerate() {
                        let value = match records.value(i) {
                            Some(bytes) => self.registry.decode_to_json(bytes),
                            None => Ok(Value::Null),
                        };
                        found.push(Record { partition, offset: row.offset, value: value.unwrap_or_else(|e| panic!("{at}@{}: {e}", row.offset)) });
                    }
                }
            }
        }
        found
    }

    /// Values of a topic by their `event_id`; each id may stand there once.
    ///
    /// # Panics
    /// When one stands there twice.
    pub fn by_event_id(&self, topic: &str) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        for record in self.read(topic) {
            let id = record.text("event_id").to_owned();
            assert!(!id.is_empty(), "{topic}: {:#}", record.value);
            if let Some(first) = found.insert(id.clone(), record.value.clone()) {
                panic!("{id} stands twice in {topic}: {first:#}\nand {:#}", record.value);
            }
        }
        found
    }

    /// A value in its contract's bytes.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn encode(&self, topic: &str, value: &Value) -> Vec<u8> {
        self.registry.encode_json_value(topic, value).expect("a value that fits its contract")
    }

    /// Appends one record as it is, to its key's partition, and tells where it stands: (partition, offset).
    pub fn append(&self, topic: &str, key: &str, value: Option<&[u8]>, received_at_ms: i64) -> (u32, i64) {
        let mut admin = self.log.admin().expect("admin");
        let info = admin.topic(topic).expect("topic").expect("it is there");
        let partition = partition_of(key.as_bytes(), info.partitions);
        let end = admin.end(&TopicPartition::new(topic, partition), End::Stable);
        let mut appends = Appends::new(topic.into());
        appends.push(partition, received_at_ms, Some(key.as_bytes()), value, &[]);
        let mut appender = self.log.appender().expect("an appender");
        appender.append(&[appends]).expect("appended");
        (partition, end.expect("end"))
    }
}
