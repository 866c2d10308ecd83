//! The log on Kafka 4, by librdkafka. One *membership* consumer per member subscribes to the tasks topic alone and
//! shares its partitions — the tasks — by the cooperative protocol; *readers* are assigned what they are told and know
//! no group; the *committer* is a transactional producer that sends positions and progress with the membership's
//! metadata, which is what fences a member that lost its tasks.
//!
//! Progress is kept as the group's committed offset on the task's partition of the tasks topic: its "offset" is the
//! epoch number. No record is ever written there; Kafka takes any number, and keeps it, since the group subscribes to
//! that topic.

// The edge: deadlines are in real time.
#![allow(clippy::disallowed_methods)]

mod admin;
mod batch;
mod committer;
mod errors;
mod membership;
mod producer;
mod reader;
mod wait;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use ws_stream::log::{Admin, Append, Joined, Log, LogError, Member, Reader};

/// Bounds of the Kafka log.
#[derive(Clone, Debug)]
pub struct KafkaLimits {
    /// Longest wait for an answer to a single question (metadata, offsets, topics).
    pub request_timeout_ms: u64,
    /// Longest transaction: the broker ends it then, and a commit answers at the latest then.
    pub transaction_timeout_ms: u64,
    /// Longest wait for taking a transactional identity over.
    pub open_timeout_ms: u64,
    /// A member that is not heard of for so long loses its tasks. Kafka refuses less than 6 s by default.
    pub session_timeout_ms: u64,
    /// A member that does not poll for so long loses its tasks.
    pub poll_interval_ms: u64,
    /// Largest record that is sent, headers included.
    pub message_max_bytes: u64,
    /// Records fetched ahead by one reader.
    pub reader_queue_bytes: u64,
    /// Records fetched ahead for one partition in one answer.
    pub reader_partition_bytes: u64,
    /// Records handed over in one poll of a reader.
    pub poll_max_records: usize,
    /// A reader to whom nothing came for so long asks whether a broker is there at all.
    pub reader_silence_ms: u64,
    /// Records waiting in one producer.
    pub producer_queue_bytes: u64,
    /// Longest wait for a client to close; it goes on in the background then.
    pub close_ms: u64,
}

impl Default for KafkaLimits {
    fn default() -> Self {
        KafkaLimits {
            request_timeout_ms: 10_000,
            transaction_timeout_ms: 10_000,
            open_timeout_ms: 30_000,
            session_timeout_ms: 6_000,
            poll_interval_ms: 120_000,
            message_max_bytes: 1_000_000,
            reader_queue_bytes: 64 << 20,
            reader_partition_bytes: 8 << 20,
            poll_max_records: 8_192,
            reader_silence_ms: 10_000,
            producer_queue_bytes: 128 << 20,
            close_ms: 5_000,
        }
    }
}

impl KafkaLimits {
    fn request(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
    fn close(&self) -> Duration {
        Duration::from_millis(self.close_ms)
    }
}

/// How to reach Kafka.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Addresses, `host:port,host:port`.
    pub bootstrap: String,
    /// Name of this client in the broker's logs; a worker's advertised URL.
    pub client_id: String,
    /// librdkafka properties for security and tuning (`security.protocol`, `sasl.*`, `ssl.*`, `compression.type`, …).
    /// What exactly-once depends on cannot be overridden.
    pub properties: BTreeMap<String, String>,
    /// Replicas of topics that are created; -1 is the broker's default.
    pub replication: i32,
    /// Bounds.
    pub limits: KafkaLimits,
}

impl KafkaConfig {
    /// Plain text to `bootstrap`, usual limits.
    pub fn new(bootstrap: impl Into<String>) -> KafkaConfig {
        KafkaConfig {
            bootstrap: bootstrap.into(),
            client_id: "wastestream".into(),
            properties: BTreeMap::new(),
            replication: -1,
            limits: KafkaLimits::default(),
        }
    }

    /// Settings that every client has, then `defaults`, then the user's properties, then `fixed`.
    fn client(&self, defaults: &[(&str, &str)], fixed: &[(&str, String)]) -> ClientConfig {
        let mut c = ClientConfig::new();
        c.set("client.id", &self.client_id);
        // A restarted broker is found again within a second, not ten.
        c.set("reconnect.backoff.max.ms", "1000");
        c.set("socket.keepalive.enable", "true");
        for (key, value) in defaults {
            c.set(*key, *value);
        }
        for (key, value) in &self.properties {
            c.set(key, value);
        }
        c.set("bootstrap.servers", &self.bootstrap);
        for (key, value) in fixed {
            c.set(*key, value);
        }
        c.set_log_level(RDKafkaLogLevel::Warning);
        c
    }

    /// A consumer that only asks questions. With a group it can also read committed offsets; it never joins.
    fn asking(&self, isolation: &str, group: Option<&str>) -> Result<BaseConsumer<Context>, LogError> {
        let mut fixed = vec![("isolation.level", isolation.to_owned()), ("enable.auto.commit", "false".into()), ("allow.auto.create.topics", "false".into())];
        if let Some(group) = group {
            fixed.push(("group.id", group.to_owned()));
        }
        self.client(&[], &fixed).create_with_context(Context).map_err(|e| self.failed("making a Kafka client", &e))
    }

    fn failed(&self, what: &str, error: &KafkaError) -> LogError {
        errors::failed(what, &self.bootstrap, error)
    }
}

/// Sends what librdkafka logs to this program's log.
#[derive(Clone, Debug)]
struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        note(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Context {}

fn note(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(facility, message, "librdkafka");
        }
        _ => tracing::debug!(facility, message, "librdkafka"),
    }
}

/// The log on Kafka. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KafkaLog {
    config: Arc<KafkaConfig>,
}

impl KafkaLog {
    /// Remembers where Kafka is; nothing is connected yet, the parts do that.
    pub fn new(config: KafkaConfig) -> KafkaLog {
        KafkaLog { config: Arc::new(config) }
    }

    /// Largest record that can be sent, in bytes with key and headers; larger ones belong in a dead-letter topic.
    pub fn message_max_bytes(&self) -> u64 {
        self.config.limits.message_max_bytes
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// `NoTopic`, or what the broker says.
    pub fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        admin::KafkaAdmin::new(self.config.clone())?.delete(name)
    }
}

impl Log for KafkaLog {
    fn admin(&self) -> Result<Box<dyn Admin>, LogError> {
        Ok(Box::new(admin::KafkaAdmin::new(self.config.clone())?))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(reader::KafkaReader::new(self.config.clone())?))
    }

    fn appender(&self) -> Result<Box<dyn Append>, LogError> {
        Ok(Box::new(producer::KafkaAppender::new(self.config.clone())?))
    }

    fn join(&self, member: &Member) -> Result<Joined, LogError> {
        admin::KafkaAdmin::new(self.config.clone())?.ensure_tasks_topic(member)?;
        let shared = membership::join(self.config.clone(), member)?;
        let committer = committer::KafkaCommitter::new(self.config.clone(), member, shared.clone())?;
        Ok((Box::new(committer), Box::new(membership::KafkaMembership::new(shared))))
    }
}
