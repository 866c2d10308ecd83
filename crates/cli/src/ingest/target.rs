//! Where rows go: a log opened by this process, or the process that owns the data folder.

use super::error::IngestError;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use ws_log::registry::Registry;
use ws_stream::log::{Append, Log, LogError, TopicSpec};
use ws_stream::partition::partition_of;
use ws_stream::records::Appends;

/// A record on its way to a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Topic.
    pub topic: Arc<str>,
    /// Message key.
    pub key: Box<str>,
    /// Framed Avro.
    pub value: Box<[u8]>,
    /// Event time, UTC ms.
    pub time_ms: i64,
    /// Line of the file it comes from.
    pub line: u64,
    /// The source itself doubts it.
    pub suspect: bool,
}

/// What became of rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Rows refused: index in the batch, and why.
    pub refused: Vec<(usize, String)>,
}

/// Takes rows.
pub trait Target {
    /// Takes a batch; durable when it returns. Rows that are refused do not stop the others.
    ///
    /// # Errors
    /// When nothing more can be taken; some of the batch may have been. Repeating is safe: event ids are the same.
    fn send(&mut self, rows: &[Row]) -> Result<Sent, IngestError>;
}

/// Appends to a log. Records carry the time of appending, not the event time: a broker deletes by record time, and
/// three-year-old readings would be gone before they are read.
pub struct LogTarget {
    appender: Box<dyn Append>,
    partitions: BTreeMap<Arc<str>, u32>,
}

impl LogTarget {
    /// Ready to append to `topics`; those that do not exist are created with `partitions` partitions.
    ///
    /// # Errors
    /// What the log says.
    pub fn new(log: &dyn Log, topics: &[Arc<str>], partitions: u32) -> Result<LogTarget, IngestError> {
        let mut admin = log.admin()?;
        let mut counts = BTreeMap::new();
        for topic in topics {
            let info = match admin.topic(topic)? {
                Some(info) => Some(info),
                None => {
                    admin.create(&[TopicSpec { name: topic.clone(), partitions, config: Vec::new() }])?;
                    admin.topic(topic)?
                }
            };
            let info = info.ok_or_else(|| LogError::NoTopic(topic.clone()))?;
            counts.insert(topic.clone(), info.partitions);
        }
        Ok(LogTarget { appender: log.appender()?, partitions: counts })
    }
}

impl Target for LogTarget {
    fn send(&mut self, rows: &[Row]) -> Result<Sent, IngestError> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        let appends = appends(rows, now_ms, |row| partition_of(row.key.as_bytes(), self.partitions.get(&row.topic).copied().unwrap_or(1)));
        self.appender.append(&appends)?;
        Ok(Sent::default())
    }
}

/// Rows as appends, one set a topic in the order of first appearance; the order within a topic stays.
pub fn appends(rows: &[Row], timestamp_ms: i64, partition: impl Fn(&Row) -> u32) -> Vec<Appends> {
    let mut sets: Vec<Appends> = Vec::new();
    for row in rows {
        let at = match sets.iter().position(|a| a.topic == row.topic) {
            Some(at) => at,
            None => {
                sets.push(Appends::new(row.topic.clone()));
                sets.len() - 1
            }
        };
        sets[at].push(partition(row), timestamp_ms, Some(row.key.as_bytes()), Some(&row.value), &[]);
    }
    sets
}

/// Posts JSON lines to the process that owns the data folder: `POST /v1/admin/append`.
pub struct HttpTarget {
    agent: ureq::Agent,
    url: String,
    registry: Arc<Registry>,
    patience_ms: u64,
}

const TRIES: u32 = 5;
/// A body ends after this many bytes, well below what servers take by default.
const BODY_BYTES: usize = 512 << 10;

#[derive(Deserialize)]
struct Answer {
    appended: u64,
    #[serde(default)]
    bad: Vec<BadLine>,
}

#[derive(Deserialize)]
struct BadLine {
    /// Line of the body, from 1.
    line: usize,
    error: String,
}

impl HttpTarget {
    /// Sends to a process at `http://host:port`.
    pub fn new(base: &str, registry: Arc<Registry>) -> HttpTarget {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).http_status_as_error(false).build();
        HttpTarget { agent: config.into(), url: format!("{}/v1/admin/append", base.trim_end_matches('/')), registry, patience_ms: 250 }
    }

    fn fault(&self, message: impl ToString, hint: &'static str) -> IngestError {
        IngestError::Http { url: self.url.clone(), message: message.to_string(), hint }
    }

    /// Posts one body; the answer accounts for each of its lines.
    fn post(&self, body: &str, lines: usize) -> Result<Answer, IngestError> {
        let mut tried = 0;
        let answer: Answer = loop {
            tried += 1;
            let response = self.agent.post(&self.url).header("content-type", "application/x-ndjson").send(body);
            let busy = match response {
                Ok(mut response) => {
                    let status = response.status();
                    let text = response.body_mut().read_to_string().unwrap_or_default();
                    if status.is_success() {
                        break serde_json::from_str(&text)
                            .map_err(|e| self.fault(format!("its answer cannot be read: {e}"), "is it the same version of wastestream?"))?;
                    }
                    let message = format!("it answered {status}: {}", super::convert::short(text.trim()));
                    if !matches!(status.as_u16(), 429 | 500..=599) {
                        return Err(self.fault(message, "look at that process' log"));
                    }
                    message
                }
                Err(e) => e.to_string(),
            };
            if tried == TRIES {
                return Err(self.fault(busy, "is the process that owns the data folder still running? `wastestream status` tells"));
            }
            // Rows that arrived although the answer did not are repeated with the same event ids, and dropped there.
            std::thread::sleep(Duration::from_millis(self.patience_ms << tried));
        };
        let refused = answer.bad.len() as u64;
        if answer.appended + refused != lines as u64 {
            return Err(self.fault(format!("it took {} and refused {refused} of {lines} rows", answer.appended), "is it the same version of wastestream?"));
        }
        Ok(answer)
    }
}

impl Target for HttpTarget {
    fn send(&mut self, rows: &[Row]) -> Result<Sent, IngestError> {
        let mut sent = Sent::default();
        // Bodies, and which row each of their lines is.
        let mut bodies: Vec<(String, Vec<usize>)> = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let value = match self.registry.decode_to_json(&row.value) {
                Ok(value) => value,
                Err(e) => {
                    sent.refused.push((i, e.to_string()));
                    continue;
                }
            };
            let line = json!({ "topic": &*row.topic, "key": &*row.key, "value": value }).to_string();
            match bodies.last_mut().filter(|(body, _)| body.len() + line.len() < BODY_BYTES) {
                Some((body, index)) => {
                    body.push('\n');
                    body.push_str(&line);
                    index.push(i);
                }
                None => bodies.push((line, vec![i])),
            }
        }
        for (body, index) in bodies {
            let answer = self.post(&body, index.len())?;
            let row = |b: BadLine| Some((*index.get(b.line.checked_sub(1)?)?, b.error));
            sent.refused.extend(answer.bad.into_iter().filter_map(row));
        }
        Ok(sent)
    }
}
