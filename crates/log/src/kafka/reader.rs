//! Reads partitions of Kafka that it is told to; knows no group. The consumer has a group name only because librdkafka
//! gives its queue to none without one; it never joins or commits.
//!
//! What was fetched before a move or a removal is dropped by librdkafka itself (its messages carry the version of the
//! assignment they were fetched under), and once more here: a record below the position expected next is never
//! handed over.

use super::batch::{Batches, Message};
use super::errors::failed_code;
use super::wait::drop_within;
use super::{Context, KafkaConfig};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ws_stream::log::{LogError, Reader, TopicPartition};
use ws_stream::records::{Records, RecordsBuilder, write_header};

/// How long the question takes at most that a silent reader asks.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct KafkaReader {
    config: Arc<KafkaConfig>,
    /// Always there, but for the end of `drop`.
    batches: Option<Batches<Context>>,
    parts: Vec<Part>,
    last_news: Instant,
}

struct Part {
    at: TopicPartition,
    /// The offset expected next; gaps are normal, going back is not.
    next: i64,
    paused: bool,
    failed: Option<Failure>,
}

#[derive(Clone, Copy)]
enum Failure {
    OutOfRange,
    Code(RDKafkaErrorCode),
}

impl KafkaReader {
    pub fn new(config: Arc<KafkaConfig>) -> Result<KafkaReader, LogError> {
        let limits = &config.limits;
        let mut client = config.client(
            &[
                // At the default of one second a full queue stalls catching up.
                ("fetch.queue.backoff.ms", "5"),
                ("queued.min.messages", "1000000"),
                ("fetch.wait.max.ms", "100"),
            ],
            &[
                ("group.id", "ws.readers".into()),
                ("isolation.level", "read_committed".into()),
                ("enable.auto.commit", "false".into()),
                ("enable.auto.offset.store", "false".into()),
                // Nobody decides silently where to go on.
                ("auto.offset.reset", "error".into()),
                ("check.crcs", "true".into()),
                // The position at the end, past markers and aborted records.
                ("enable.partition.eof", "true".into()),
                ("allow.auto.create.topics", "false".into()),
                ("queued.max.messages.kbytes", (limits.reader_queue_bytes / 1024).max(1).to_string()),
                ("max.partition.fetch.bytes", limits.reader_partition_bytes.to_string()),
            ],
        );
        // Batches bypass the binding's log; librdkafka would write such lines to the terminal itself.
        client.set_log_level(RDKafkaLogLevel::Emerg);
        let consumer: BaseConsumer<Context> = client.create_with_context(Context).map_err(|e| config.failed("making a Kafka reader", &e))?;
        let batches = Batches::new(Arc::new(consumer), limits.poll_max_records);
        Ok(KafkaReader { config, batches, parts: Vec::new(), last_news: Instant::now() })
    }

    fn consumer(&self) -> Option<&BaseConsumer<Context>> {
        self.batches.as_ref().map(Batches::consumer)
    }

    fn change(
        &self,
        what: &str,
        at: &TopicPartition,
        offset: Offset,
        how: impl FnOnce(&BaseConsumer<Context>, &TopicPartitionList) -> KafkaResult<()>,
    ) -> Result<(), LogError> {
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&at.topic, at.partition as i32, offset);
        let Some(consumer) = self.consumer() else {
            return Ok(());
        };
        added.and_then(|()| how(consumer, &list)).map_err(|e| self.config.failed(&format!("{what} {at}"), &e))
    }

    /// What to tell about a partition that cannot be read.
    fn explain(&self, part: &Part, failure: Failure) -> LogError {
        let at = &part.at;
        let code = match failure {
            Failure::Code(code) => code,
            Failure::OutOfRange => {
                let ends = self.config.asking("read_uncommitted", None).and_then(|client| {
                    let ends = client.fetch_watermarks(&at.topic, at.partition as i32, self.config.limits.request());
                    ends.map_err(|e| self.config.failed(&format!("asking for the ends of {at}"), &e))
                });
                return match ends {
                    Ok((start, end)) => LogError::OutOfRange { at: at.clone(), offset: part.next, start, end },
                    Err(e) => e,
                };
            }
        };
        match code {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition => {
                LogError::NoTopic(at.topic.clone())
            }
            code => failed_code(&format!("reading {at}"), &self.config.bootstrap, code, &code.to_string()),
        }
    }

    /// After a long silence: is anybody there?
    fn check_alive(&mut self) -> Result<(), LogError> {
        if self.parts.iter().all(|p| p.paused) || self.last_news.elapsed() < Duration::from_millis(self.config.limits.reader_silence_ms) {
            return Ok(());
        }
        self.last_news = Instant::now();
        let (Some(consumer), Some(part)) = (self.consumer(), self.parts.first()) else {
            return Ok(());
        };
        match consumer.fetch_metadata(Some(&part.at.topic), ALIVE_TIMEOUT) {
            Ok(_) => Ok(()),
            Err(e) => Err(self.config.failed("reading", &e)),
        }
    }
}

/// What a poll has collected of one partition.
struct Collected {
    topic_key: usize,
    partition: i32,
    /// Index of the part, `None` if it is not being read any more.
    part: Option<usize>,
    rows: RecordsBuilder,
    next: i64,
}

fn collect(parts: &mut [Part], collected: &mut Vec<Collected>, last: &mut usize, headers: &mut Vec<u8>, message: &Message<'_>) {
    let (topic_key, partition) = (message.topic_key(), message.partition());
    let fits = |c: &Collected| c.topic_key == topic_key && c.partition == partition;
    if !collected.get(*last).is_some_and(fits) {
        *last = collected.iter().position(fits).unwrap_or_else(|| {
            let topic = message.topic();
            let part = parts.iter().position(|p| p.at.partition as i32 == partition && *p.at.topic == *topic);
            let next = part.map_or(0, |i| parts[i].next);
            collected.push(Collected { topic_key, partition, part, rows: RecordsBuilder::default(), next });
            collected.len() - 1
        });
    }
    let c = &mut collected[*last];
    let Some(i) = c.part else { return };
    match message.error() {
        None if message.offset() >= c.next => {
            headers.clear();
            message.headers(|name, value| write_header(headers, name, value));
            c.rows.push(message.offset(), message.timestamp_ms(), message.key(), message.value(), headers);
            c.next = message.offset() + 1;
        }
        None => {}
        Some(RDKafkaErrorCode::PartitionEOF) => c.next = c.next.max(message.offset()),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => parts[i].failed = Some(Failure::OutOfRange),
        Some(
            code @ (RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed),
        ) => {
            parts[i].failed = Some(Failure::Code(code));
        }
        // The rest is librdkafka's to repeat: a leader moves, a broker comes back.
        Some(code) => tracing::debug!(at = %parts[i].at, %code, "a reader's event"),
    }
}

impl Reader for KafkaReader {
    fn add(&mut self, at: &TopicPartition, offset: i64) -> Result<(), LogError> {
        self.remove(at)?;
        self.change("adding", at, Offset::Offset(offset), |c, list| c.incremental_assign(list))?;
        self.parts.push(Part { at: at.clone(), next: offset, paused: false, failed: None });
        self.last_news = Instant::now();
        Ok(())
    }

    fn remove(&mut self, at: &TopicPartition) -> Result<(), LogError> {
        let Some(i) = self.parts.iter().position(|p| p.at == *at) else {
            return Ok(());
        };
        // The pause would outlive the assignment.
        self.resume(at)?;
        self.change("removing", at, Offset::Invalid, |c, list| c.incremental_unassign(list))?;
        self.parts.remove(i);
        Ok(())
    }

    fn pause(&mut self, at: &TopicPartition) -> Result<(), LogError> {
        match self.parts.iter().position(|p| p.at == *at && !p.paused) {
            Some(i) => {
                self.change("pausing", at, Offset::Invalid, |c, list| c.pause(list))?;
                self.parts[i].paused = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn resume(&mut self, at: &TopicPartition) -> Result<(), LogError> {
        match self.parts.iter().position(|p| p.at == *at && p.paused) {
            Some(i) => {
                // librdkafka's batches count the event "end of partition" as a record of that offset: paused there, it would
                // go on one record too far, past one that has come meanwhile or beyond the end.
                self.change("moving", at, Offset::Offset(self.parts[i].next), |c, list| c.seek_partitions(list.clone(), Duration::ZERO).map(drop))?;
                self.change("resuming", at, Offset::Invalid, |c, list| c.resume(list))?;
                self.parts[i].paused = false;
                self.last_news = Instant::now();
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn poll(&mut self, wait_ms: u64) -> Result<Vec<(TopicPartition, Records)>, LogError> {
        if let Some((part, failure)) = self.parts.iter().find_map(|p| Some((p, p.failed?))) {
            return Err(self.explain(part, failure));
        }
        let (mut collected, mut last, mut headers) = (Vec::new(), 0, Vec::new());
        if let Some(batches) = &mut self.batches {
            let parts = &mut self.parts;
            batches.poll(wait_ms, |message| collect(parts, &mut collected, &mut last, &mut headers, &message));
        }
        let mut out = Vec::new();
        for c in collected {
            let Some(part) = c.part.map(|i| &mut self.parts[i]) else {
                continue;
            };
            if !c.rows.is_empty() || c.next > part.next {
                part.next = c.next;
                out.push((part.at.clone(), c.rows.finish(c.next)));
            }
        }
        if out.is_empty() {
            self.check_alive()?;
        } else {
            self.last_news = Instant::now();
        }
        Ok(out)
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        if let Some(batches) = self.batches.take() {
            drop_within("reader", batches, self.config.limits.close());
        }
    }
}
