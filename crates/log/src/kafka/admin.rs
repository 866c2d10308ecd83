//! Topics and offsets of Kafka. Two asking consumers tell the two ends apart: one that reads committed records, one
//! that reads all.

use super::batch;
use super::errors::failed_code;
use super::wait::block_on;
use super::{Context, KafkaConfig};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ws_stream::log::{Admin, End, LogError, Member, TopicInfo, TopicPartition, TopicSpec};

/// Which topics exist, asked once per topic.
#[derive(Debug, Default)]
pub(super) struct Topics(BTreeMap<Arc<str>, u32>);

impl Topics {
    /// The topic's partition count.
    pub fn partitions(&mut self, config: &KafkaConfig, client: &BaseConsumer<Context>, name: &Arc<str>) -> Result<u32, LogError> {
        if let Some(count) = self.0.get(name) {
            return Ok(*count);
        }
        let count = look_up(config, client, name)?.ok_or_else(|| LogError::NoTopic(name.clone()))?;
        self.0.insert(name.clone(), count);
        Ok(count)
    }

    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// The partition count of a topic that exists and has leaders.
fn look_up(config: &KafkaConfig, client: &BaseConsumer<Context>, name: &str) -> Result<Option<u32>, LogError> {
    let what = || format!("asking for topic {name}");
    let metadata = client.fetch_metadata(Some(name), config.limits.request()).map_err(|e| config.failed(&what(), &e))?;
    let Some(topic) = metadata.topics().iter().find(|t| t.name() == name) else {
        return Ok(None);
    };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(topic.partitions().len() as u32)),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(code) => Err(failed_code(&what(), &config.bootstrap, code, &code.to_string())),
    }
}

pub(super) struct KafkaAdmin {
    config: Arc<KafkaConfig>,
    committed: BaseConsumer<Context>,
    all: BaseConsumer<Context>,
    /// Made when first needed: it has a thread of its own.
    client: Option<AdminClient<Context>>,
    topics: Topics,
}

impl KafkaAdmin {
    pub fn new(config: Arc<KafkaConfig>) -> Result<KafkaAdmin, LogError> {
        let (committed, all) = (config.asking("read_committed", None)?, config.asking("read_uncommitted", None)?);
        Ok(KafkaAdmin { config, committed, all, client: None, topics: Topics::default() })
    }

    fn client(&mut self) -> Result<&AdminClient<Context>, LogError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.config.client(&[], &[]).create_with_context(Context).map_err(|e| self.config.failed("making a Kafka client", &e))?,
        };
        Ok(self.client.insert(client))
    }

    fn options(&self) -> AdminOptions {
        let limit = self.config.limits.request();
        AdminOptions::new().request_timeout(Some(limit)).operation_timeout(Some(limit))
    }

    /// A little longer than the operation, which has its own limit.
    fn patience(&self) -> Duration {
        self.config.limits.request() + Duration::from_secs(2)
    }

    fn timed_out(&self, what: &str) -> LogError {
        failed_code(what, &self.config.bootstrap, RDKafkaErrorCode::OperationTimedOut, "no answer in time")
    }

    pub fn delete(&mut self, name: &str) -> Result<(), LogError> {
        let what = format!("deleting topic {name}");
        let (options, patience) = (self.options(), self.patience());
        let done = block_on(self.client()?.delete_topics(&[name], &options), patience).ok_or_else(|| self.timed_out(&what))?;
        self.topics.forget();
        let done = done.map_err(|e| self.config.failed(&what, &e))?;
        match done.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => Err(LogError::NoTopic(name.into())),
            Some(Err((_, code))) => Err(failed_code(&what, &self.config.bootstrap, code, &code.to_string())),
            _ => Ok(()),
        }
    }

    /// The tasks topic has one partition per task; only the group's offsets on it are used.
    pub fn ensure_tasks_topic(&mut self, member: &Member) -> Result<(), LogError> {
        let name: Arc<str> = member.tasks_topic().into();
        let config = vec![("cleanup.policy".to_owned(), "delete".to_owned())];
        self.create(&[TopicSpec { name: name.clone(), partitions: member.tasks, config }])?;
        let found = self.topics.partitions(&self.config, &self.committed, &name)?;
        if found == member.tasks {
            return Ok(());
        }
        Err(LogError::Fatal {
            what: format!("joining {}", member.group()),
            cause: format!("topic {name} has {found} partitions, the topology has {} tasks", member.tasks),
            hint: format!(
                "the topology's task count was changed: reset the topology on purpose, which also means deleting {name} and the group {}",
                member.group()
            ),
        })
    }

    /// Checks that the partition exists: asking for offsets of one that does not would wait in vain.
    fn known(&mut self, at: &TopicPartition) -> Result<i32, LogError> {
        let count = self.topics.partitions(&self.config, &self.committed, &at.topic)?;
        if at.partition < count {
            return Ok(at.partition as i32);
        }
        Err(LogError::Fatal {
            what: format!("finding {at}"),
            cause: format!("the topic has {count} partitions, numbered from 0"),
            hint: "correct the partition count in the topology, or add partitions".into(),
        })
    }

    fn watermarks(&mut self, at: &TopicPartition, end: End) -> Result<(i64, i64), LogError> {
        let partition = self.known(at)?;
        let client = match end {
            End::High => &self.all,
            End::Stable => &self.committed,
        };
        // Serves what has gathered in the client's queue.
        let _ = client.poll(Duration::ZERO);
        client.fetch_watermarks(&at.topic, partition, self.config.limits.request()).map_err(|e| self.config.failed(&format!("asking for the ends of {at}"), &e))
    }
}

impl Admin for KafkaAdmin {
    fn cluster_id(&mut self) -> Result<String, LogError> {
        let id = self.committed.client().fetch_cluster_id(self.config.limits.request());
        id.ok_or_else(|| self.timed_out("asking for the cluster's id"))
    }

    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>, LogError> {
        batch::describe_topic(&self.committed, name, self.config.limits.request_timeout_ms)
            .map_err(|e| failed_code(&format!("describing topic {name}"), &self.config.bootstrap, e.code, &e.text))
    }

    fn create(&mut self, specs: &[TopicSpec]) -> Result<(), LogError> {
        self.topics.forget();
        let mut missing = Vec::new();
        for spec in specs {
            if look_up(&self.config, &self.committed, &spec.name)?.is_none() {
                missing.push(spec);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let replicas = self.config.replication;
        let new: Vec<NewTopic<'_>> = missing
            .iter()
            .map(|s| s.config.iter().fold(NewTopic::new(&s.name, s.partitions.max(1) as i32, TopicReplication::Fixed(replicas)), |t, (k, v)| t.set(k, v)))
            .collect();
        let (options, patience) = (self.options(), self.patience());
        let done = block_on(self.client()?.create_topics(&new, &options), patience).ok_or_else(|| self.timed_out("creating topics"))?;
        for result in done.map_err(|e| self.config.failed("creating topics", &e))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(failed_code(&format!("creating topic {name}"), &self.config.bootstrap, code, &code.to_string()));
                }
            }
        }
        // The answer comes before every broker knows the topic.
        let deadline = Instant::now() + self.config.limits.request();
        for spec in missing {
            while look_up(&self.config, &self.committed, &spec.name)?.is_none() {
                if Instant::now() >= deadline {
                    return Err(self.timed_out(&format!("waiting for topic {} to appear", spec.name)));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn start(&mut self, at: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.watermarks(at, End::High)?.0)
    }

    fn end(&mut self, at: &TopicPartition, end: End) -> Result<i64, LogError> {
        Ok(self.watermarks(at, end)?.1)
    }

    fn offset_at(&mut self, at: &TopicPartition, time_ms: i64) -> Result<i64, LogError> {
        let partition = self.known(at)?;
        let what = format!("looking up a time in {at}");
        let failed = |e: KafkaError| self.config.failed(&what, &e);
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset(&at.topic, partition, Offset::Offset(time_ms.max(0))).map_err(failed)?;
        let found = self.committed.offsets_for_times(asked, self.config.limits.request()).map_err(failed)?;
        for element in found.elements() {
            element.error().map_err(failed)?;
            if let Offset::Offset(offset) = element.offset() {
                return Ok(offset);
            }
        }
        self.end(at, End::Stable)
    }

    fn truncate(&mut self, at: &TopicPartition, before: i64) -> Result<(), LogError> {
        let partition = self.known(at)?;
        let what = format!("deleting records of {at} before {before}");
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&at.topic, partition, Offset::Offset(before)).map_err(|e| self.config.failed(&what, &e))?;
        let (options, patience) = (self.options(), self.patience());
        let done = block_on(self.client()?.delete_records(&offsets, &options), patience).ok_or_else(|| self.timed_out(&what))?;
        let done = done.and_then(|list| list.elements().into_iter().try_for_each(|e| e.error()));
        match done {
            Ok(()) => Ok(()),
            Err(e) if e.rdkafka_error_code() == Some(RDKafkaErrorCode::OffsetOutOfRange) => {
                let (start, end) = self.watermarks(at, End::High)?;
                Err(LogError::OutOfRange { at: at.clone(), offset: before, start, end })
            }
            Err(e) => Err(self.config.failed(&what, &e)),
        }
    }
}
