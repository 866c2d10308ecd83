//! Sending records and waiting until the broker has them: what the appender and the committer share.

use super::admin::Topics;
use super::wait::drop_within;
use super::{Context, KafkaConfig, note};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use ws_stream::log::{Append, LogError};
use ws_stream::records::Appends;

/// Between two looks whether everything has arrived.
const NAP: Duration = Duration::from_micros(200);
/// Records sent between two looks at what has arrived.
const SERVE_EVERY: usize = 1_000;
/// Records further ahead of the wall clock take its time; a little below what brokers allow.
const MAX_AHEAD_MS: i64 = 55 * 60 * 1000;

/// Remembers the first record that did not arrive.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    failed: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl Deliveries {
    fn first_failure(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        note(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "librdkafka");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.is_none() {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                *failed = Some((code, format!("{}[{}]: {error}", message.topic(), message.partition())));
            }
        }
    }
}

pub(super) type Sender = BaseProducer<Deliveries>;

/// A producer that keeps order and repeats without doubling.
pub(super) fn make(config: &KafkaConfig, identity: Option<&str>) -> Result<Sender, LogError> {
    let limits = &config.limits;
    let mut fixed = vec![
        ("enable.idempotence", "true".to_owned()),
        ("acks", "all".into()),
        ("message.max.bytes", limits.message_max_bytes.to_string()),
        ("queue.buffering.max.kbytes", (limits.producer_queue_bytes / 1024).max(1).to_string()),
        // Bytes are the limit.
        ("queue.buffering.max.messages", "0".into()),
        ("message.timeout.ms", limits.transaction_timeout_ms.to_string()),
        // Only what failed is looked at; that nothing is left on its way says the rest.
        ("delivery.report.only.error", "true".into()),
    ];
    if let Some(identity) = identity {
        fixed.push(("transactional.id", identity.to_owned()));
        fixed.push(("transaction.timeout.ms", limits.transaction_timeout_ms.to_string()));
    }
    // Back-to-back transactions meet the end of the one before: come back soon.
    let defaults = [("linger.ms", "1"), ("retry.backoff.ms", "5"), ("retry.backoff.max.ms", "100")];
    config.client(&defaults, &fixed).create_with_context(Deliveries::default()).map_err(|e| config.failed("making a Kafka producer", &e))
}

/// How sending failed.
#[derive(Debug)]
pub(super) struct SendError {
    pub code: RDKafkaErrorCode,
    pub text: String,
}

/// Sends everything and waits until it has arrived, or the first failure, or the deadline.
pub(super) fn send<'a>(producer: &Sender, appends: impl Iterator<Item = &'a Appends>, deadline: Instant) -> Result<(), SendError> {
    let deliveries = producer.client().context();
    // What an earlier, given-up attempt left.
    deliveries.first_failure();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let mut since_served = 0;
    for a in appends {
        for i in 0..a.rows.len() {
            enqueue(producer, a, i, now_ms, deadline)?;
            since_served += 1;
            if since_served >= SERVE_EVERY {
                since_served = 0;
                producer.poll(Duration::ZERO);
            }
        }
    }
    arrive(producer, deadline)?;
    match deliveries.first_failure() {
        Some((code, text)) => Err(SendError { code, text }),
        None => Ok(()),
    }
}

/// The timestamp to send. librdkafka takes 0 for "now", Kafka refuses negative ones and, by default, whatever is more
/// than an hour ahead: one absurd clock must not abort every transaction. The event's own time is in its value.
fn sendable_ms(timestamp_ms: i64, now_ms: i64) -> i64 {
    let latest_ms = now_ms + MAX_AHEAD_MS;
    if timestamp_ms > latest_ms { now_ms } else { timestamp_ms.max(1) }
}

fn enqueue(producer: &Sender, a: &Appends, i: usize, now_ms: i64, deadline: Instant) -> Result<(), SendError> {
    let row = &a.rows[i];
    let (key, value, headers) = a.row(i);
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&a.topic).partition(row.partition as i32).timestamp(sendable_ms(row.timestamp_ms, now_ms));
    record.key = key;
    record.payload = value;
    let mut owned: Option<OwnedHeaders> = None;
    for (name, value) in headers {
        owned = Some(owned.unwrap_or_default().insert(Header { key: name, value: Some(value) }));
    }
    record.headers = owned;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((error, back)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                if code != RDKafkaErrorCode::QueueFull || Instant::now() >= deadline {
                    let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                    return Err(SendError { code, text: format!("{}[{}], a record of {size} bytes: {error}", a.topic, row.partition) });
                }
                record = back;
                producer.poll(Duration::from_millis(1));
            }
        }
    }
}

/// Waits until nothing is on its way. Not by `flush`: that sleeps in long polls when deliveries are events.
pub(super) fn arrive(producer: &Sender, deadline: Instant) -> Result<(), SendError> {
    loop {
        producer.poll(Duration::ZERO);
        if producer.in_flight_count() == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let text = format!("{} records had not arrived in time", producer.in_flight_count());
            return Err(SendError { code: RDKafkaErrorCode::OperationTimedOut, text });
        }
        std::thread::sleep(NAP);
    }
}

/// Appends outside transactions.
pub(super) struct KafkaAppender {
    config: Arc<KafkaConfig>,
    producer: Option<Sender>,
    asking: BaseConsumer<Context>,
    topics: Topics,
}

impl KafkaAppender {
    pub fn new(config: Arc<KafkaConfig>) -> Result<KafkaAppender, LogError> {
        let (producer, asking) = (make(&config, None)?, config.asking("read_committed", None)?);
        Ok(KafkaAppender { config, producer: Some(producer), asking, topics: Topics::default() })
    }
}

impl Append for KafkaAppender {
    fn append(&mut self, appends: &[Appends]) -> Result<(), LogError> {
        for a in appends {
            self.topics.partitions(&self.config, &self.asking, &a.topic)?;
        }
        let producer = match self.producer.take() {
            // A fatal error ends a producer for good.
            Some(p) if p.client().fatal_error().is_none() => p,
            _ => make(&self.config, None)?,
        };
        let producer = self.producer.insert(producer);
        let deadline = Instant::now() + self.config.limits.request() + Duration::from_millis(self.config.limits.transaction_timeout_ms);
        let sent = send(producer, appends.iter(), deadline);
        sent.map_err(|e| {
            self.topics.forget();
            too_large(&self.config, &e).unwrap_or_else(|| super::errors::failed_code("appending", &self.config.bootstrap, e.code, &e.text))
        })
    }
}

/// A clear word for a record beyond the limit: trying again does not help.
pub(super) fn too_large(config: &KafkaConfig, error: &SendError) -> Option<LogError> {
    matches!(error.code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize).then(|| LogError::Fatal {
        what: "sending".into(),
        cause: error.text.clone(),
        hint: format!(
            "the limit message_max_bytes is {}: put such records into a dead-letter topic, or raise it here and max.message.bytes on the topic",
            config.limits.message_max_bytes
        ),
    })
}

impl Drop for KafkaAppender {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            drop_within("appender", producer, self.config.limits.close());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_that_kafka_refuses_are_replaced() {
        let now = 1_800_000_000_000;
        assert_eq!(sendable_ms(1_700_000_000_000, now), 1_700_000_000_000, "the past stays");
        assert_eq!(sendable_ms(now + 60_000, now), now + 60_000, "a little ahead stays");
        assert_eq!(sendable_ms(now + 365 * 86_400_000, now), now, "a year ahead");
        assert_eq!(sendable_ms(i64::MAX, now), now);
        assert_eq!((sendable_ms(0, now), sendable_ms(-7, now)), (1, 1), "before 1970");
    }
}
