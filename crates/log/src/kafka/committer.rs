//! Commits epoch sets as Kafka transactions: begin, records, positions and progress, end.
//!
//! Every error is one of three: *retriable*, tried again until the deadline; *abortable*, the transaction is aborted
//! and its end known; anything else, and every timeout, makes the end unknowable through this producer. It is
//! destroyed then: a delayed request of it could otherwise end a later transaction (librdkafka has no KIP-890). Opening
//! again makes another one under the same identity, which fences the old, and progress tells what became of it.

use super::admin::Topics;
use super::membership::Shared;
use super::producer::{self, Sender};
use super::wait::drop_within;
use super::{Context, KafkaConfig};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ws_stream::log::{Committer, EpochSet, LogError, Member, Outcome, Progress, TaskId};

/// Between two tries of a retriable operation.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Time to abort in when the transaction's own is used up.
const ABORT_AT_LEAST: Duration = Duration::from_secs(2);
/// One call of an abort; between two, deliveries are served.
const ABORT_STEP: Duration = Duration::from_millis(100);

pub(super) struct KafkaCommitter {
    config: Arc<KafkaConfig>,
    identity: String,
    tasks_topic: String,
    shared: Arc<Shared>,
    producer: Option<Sender>,
    /// Reads the group's stable offsets; never joins.
    asking: BaseConsumer<Context>,
    topics: Topics,
}

/// What to do about an error.
enum Next {
    Retry,
    Abort,
    Destroy,
}

fn classify(error: &KafkaError) -> Next {
    match error {
        KafkaError::Transaction(e) if e.is_fatal() => Next::Destroy,
        KafkaError::Transaction(e) if e.txn_requires_abort() => Next::Abort,
        KafkaError::Transaction(e) if e.is_retriable() => Next::Retry,
        _ => Next::Destroy,
    }
}

/// How a step of a transaction failed.
enum Failed {
    /// It can be aborted.
    Abort(String),
    /// Only another producer can find out.
    Destroy(String),
}

/// Repeats a step while its errors are retriable and there is time.
fn repeat(what: &str, deadline: Instant, mut step: impl FnMut(Duration) -> KafkaResult<()>) -> Result<(), Failed> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Err(error) = step(left.max(Duration::from_millis(1))) else {
            return Ok(());
        };
        let text = format!("{what}: {error}");
        match classify(&error) {
            Next::Retry if Instant::now() + RETRY_PAUSE < deadline => std::thread::sleep(RETRY_PAUSE),
            Next::Abort => return Err(Failed::Abort(text)),
            Next::Retry | Next::Destroy => return Err(Failed::Destroy(text)),
        }
    }
}

impl KafkaCommitter {
    pub fn new(config: Arc<KafkaConfig>, member: &Member, shared: Arc<Shared>) -> Result<KafkaCommitter, LogError> {
        // Reading committed offsets with this isolation asks for stable ones (KIP-447).
        let asking = config.asking("read_committed", Some(&member.group()))?;
        Ok(KafkaCommitter {
            config,
            identity: member.transactional_id(),
            tasks_topic: member.tasks_topic(),
            shared,
            producer: None,
            asking,
            topics: Topics::default(),
        })
    }

    fn destroy(&mut self) {
        if let Some(producer) = self.producer.take() {
            drop_within("producer", producer, self.config.limits.close());
        }
    }

    fn check_topics(&mut self, set: &EpochSet) -> Result<(), LogError> {
        // The producer would create them, if the broker lets it.
        set.epochs.iter().flat_map(|e| &e.appends).try_for_each(|a| self.topics.partitions(&self.config, &self.asking, &a.topic).map(drop))
    }

    /// Positions of inputs, and each task's epoch number on its partition of the tasks topic.
    fn offsets(&self, set: &EpochSet) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for epoch in &set.epochs {
            for (at, offset) in &epoch.positions {
                list.add_partition_offset(&at.topic, at.partition as i32, Offset::Offset(*offset))?;
            }
            list.add_partition_offset(&self.tasks_topic, epoch.task.0 as i32, Offset::Offset(epoch.number as i64))?;
        }
        Ok(list)
    }

    fn transact(
        &self,
        producer: &Sender,
        set: &EpochSet,
        offsets: &TopicPartitionList,
        metadata: &ConsumerGroupMetadata,
        deadline: Instant,
    ) -> Result<(), Failed> {
        repeat("beginning a transaction", deadline, |_| producer.begin_transaction())?;
        producer::send(producer, set.epochs.iter().flat_map(|e| &e.appends), deadline).map_err(|e| {
            let clear = producer::too_large(&self.config, &e);
            Failed::Abort(clear.map_or(e.text, |e| e.to_string()))
        })?;
        repeat("sending positions", deadline, |left| producer.send_offsets_to_transaction(offsets, metadata, left))?;
        repeat("committing", deadline, |left| producer.commit_transaction(left))
    }

    /// Ends the open transaction, or says why it cannot be told whether it ended.
    fn abort(&self, producer: &Sender, deadline: Instant) -> Result<(), String> {
        loop {
            match producer.abort_transaction(ABORT_STEP) {
                Ok(()) => return Ok(()),
                Err(e) if matches!(classify(&e), Next::Retry) && Instant::now() < deadline => {
                    // A producer that nobody polls cannot abort.
                    let _ = producer::arrive(producer, Instant::now() + ABORT_STEP);
                }
                Err(e) => return Err(format!("aborting: {e}")),
            }
        }
    }
}

impl Committer for KafkaCommitter {
    fn open(&mut self) -> Result<(), LogError> {
        self.destroy();
        self.topics.forget();
        let producer = producer::make(&self.config, Some(&self.identity))?;
        let deadline = Instant::now() + Duration::from_millis(self.config.limits.open_timeout_ms);
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match producer.init_transactions(left) {
                Ok(()) => break,
                Err(e) if matches!(classify(&e), Next::Retry) && Instant::now() < deadline => std::thread::sleep(RETRY_PAUSE),
                Err(e) => {
                    drop_within("producer", producer, self.config.limits.close());
                    return Err(self.config.failed(&format!("taking over the transactional id {}", self.identity), &e));
                }
            }
        }
        self.producer = Some(producer);
        Ok(())
    }

    fn commit(&mut self, set: &EpochSet) -> Outcome {
        if self.producer.is_none() {
            return Outcome::Aborted("the committer is not open".into());
        }
        let deadline = Instant::now() + Duration::from_millis(self.config.limits.transaction_timeout_ms);
        if let Err(e) = self.check_topics(set) {
            return Outcome::Aborted(e.to_string());
        }
        let offsets = match self.offsets(set) {
            Ok(offsets) => offsets,
            Err(e) => return Outcome::Aborted(format!("positions: {e}")),
        };
        // The broker checks the generation but not who owns the partitions: that is checked here, at the same moment.
        let metadata = match self.shared.begin(set.epochs.iter().map(|e| e.task), set.losses) {
            Ok(metadata) => metadata,
            Err(why) => return Outcome::Aborted(why),
        };
        let Some(producer) = &self.producer else {
            return Outcome::Aborted("the committer is not open".into());
        };
        let why = match self.transact(producer, set, &offsets, &metadata, deadline) {
            Ok(()) => return Outcome::Committed,
            Err(Failed::Abort(why)) => match self.abort(producer, deadline.max(Instant::now() + ABORT_AT_LEAST)) {
                Ok(()) => {
                    self.topics.forget();
                    return Outcome::Aborted(why);
                }
                Err(how) => format!("{why}; {how}"),
            },
            Err(Failed::Destroy(why)) => why,
        };
        self.destroy();
        Outcome::Unknown(format!("{why} (Kafka at {})", self.config.bootstrap))
    }

    fn progress(&mut self, tasks: &[TaskId]) -> Result<Vec<Progress>, LogError> {
        let failed = |e: KafkaError| self.config.failed("reading progress", &e);
        let mut list = TopicPartitionList::new();
        for task in tasks {
            list.add_partition(&self.tasks_topic, task.0 as i32);
        }
        let _ = self.asking.poll(Duration::ZERO);
        let found = self.asking.committed_offsets(list, self.config.limits.request()).map_err(failed)?;
        let mut progress = Vec::with_capacity(tasks.len());
        for task in tasks {
            let Some(element) = found.find_partition(&self.tasks_topic, task.0 as i32) else {
                return Err(failed(KafkaError::MetadataFetch(rdkafka::error::RDKafkaErrorCode::UnknownPartition)));
            };
            element.error().map_err(failed)?;
            let number = match element.offset() {
                Offset::Offset(n) => n as u64,
                _ => 0,
            };
            progress.push(Progress { task: *task, number });
        }
        Ok(progress)
    }
}

impl Drop for KafkaCommitter {
    fn drop(&mut self) {
        self.destroy();
    }
}
