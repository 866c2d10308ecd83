//! This member's part in the group: a consumer that subscribes to the tasks topic and fetches nothing from it.
//!
//! Rebalances arrive inside its poll. What is assigned is taken at once; what is revoked is only noted, and given back
//! to the group when the engine has released all of it, so that open transactions can end before somebody else starts.

use super::wait::drop_within;
use super::{KafkaConfig, note};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use ws_stream::log::{LogError, Member, Membership, Ownership, TaskId};

/// Events served in one poll.
const EVENTS_AT_ONCE: usize = 16;

#[derive(Debug, Default)]
struct State {
    /// Tasks that may be committed: assigned, and neither released nor lost.
    owned: BTreeSet<TaskId>,
    /// What the group wants back; it waits until all of it is released.
    revoked: Vec<TaskId>,
    unreleased: BTreeSet<TaskId>,
    news: Vec<Ownership>,
    /// How often tasks were lost.
    losses: u64,
    /// Leaving: what is revoked is given back without asking.
    leaving: bool,
}

struct GroupContext {
    state: Mutex<State>,
}

impl GroupContext {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        note(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let tasks: Vec<TaskId> = list.elements().iter().map(|e| TaskId(e.partition() as u32)).collect();
        let done = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // An offset of our own: the committed one is an epoch number and no place to read at.
            let assigned = list.set_all_offsets(Offset::Offset(0)).and_then(|()| consumer.incremental_assign(list)).and_then(|()| consumer.pause(list));
            let mut state = self.state();
            if !tasks.is_empty() && !state.leaving {
                state.owned.extend(&tasks);
                state.news.push(Ownership::Assigned(tasks));
            }
            assigned
        } else {
            let lost = consumer.assignment_lost();
            let mut state = self.state();
            if !lost && !state.leaving && !tasks.is_empty() {
                state.unreleased = tasks.iter().copied().collect();
                state.revoked = tasks.clone();
                state.news.push(Ownership::Revoked(tasks));
                return;
            }
            state.owned.retain(|t| !tasks.contains(t));
            if !tasks.is_empty() {
                state.losses += 1;
                state.news.push(Ownership::Lost(tasks));
            }
            drop(state);
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::error!(%error, "taking part in a rebalance failed");
        }
    }
}

/// The membership's consumer, shared with the committer.
pub(super) struct Shared {
    config: Arc<KafkaConfig>,
    tasks_topic: String,
    group: String,
    /// Always there, but for the end of `drop`.
    consumer: Option<BaseConsumer<GroupContext>>,
}

/// Joins the group of a topology.
pub(super) fn join(config: Arc<KafkaConfig>, member: &Member) -> Result<Arc<Shared>, LogError> {
    let limits = &config.limits;
    let client = config.client(
        &[("heartbeat.interval.ms", "1000"), ("topic.metadata.refresh.interval.ms", "60000")],
        &[
            // Without `group.instance.id`: a static member would be back at once after a crash, but one whose request to
            // join meets a restarting broker is fenced by itself, for good (seen).
            ("group.id", member.group()),
            ("partition.assignment.strategy", "cooperative-sticky".into()),
            ("session.timeout.ms", limits.session_timeout_ms.to_string()),
            ("max.poll.interval.ms", limits.poll_interval_ms.max(limits.session_timeout_ms).to_string()),
            ("enable.auto.commit", "false".into()),
            ("enable.auto.offset.store", "false".into()),
            ("allow.auto.create.topics", "false".into()),
            // Nothing is ever fetched.
            ("queued.max.messages.kbytes", "64".into()),
            ("fetch.message.max.bytes", "1024".into()),
        ],
    );
    let context = GroupContext { state: Mutex::default() };
    let what = format!("joining {}", member.group());
    let consumer: BaseConsumer<GroupContext> = client.create_with_context(context).map_err(|e| config.failed(&what, &e))?;
    consumer.subscribe(&[&member.tasks_topic()]).map_err(|e| config.failed(&what, &e))?;
    Ok(Arc::new(Shared { config, tasks_topic: member.tasks_topic(), group: member.group(), consumer: Some(consumer) }))
}

impl Shared {
    /// Checks that all these tasks are owned and answers the group metadata of the same moment: a generation that ends
    /// later is refused by the broker.
    pub fn begin(&self, mut tasks: impl Iterator<Item = TaskId>, losses: u64) -> Result<ConsumerGroupMetadata, String> {
        let Some(consumer) = &self.consumer else {
            return Err("the membership is closed".into());
        };
        let state = consumer.context().state();
        if state.losses != losses {
            return Err(format!("tasks of {} were lost since the epochs were closed", self.group));
        }
        if let Some(task) = tasks.find(|t| !state.owned.contains(t)) {
            return Err(format!("lost task {} of {}", task.0, self.group));
        }
        consumer.group_metadata().ok_or_else(|| format!("not a member of {}", self.group))
    }

    fn list(&self, tasks: &[TaskId]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for task in tasks {
            list.add_partition(&self.tasks_topic, task.0 as i32);
        }
        list
    }

    /// Gives revoked tasks back to the group.
    fn give_back(&self, consumer: &BaseConsumer<GroupContext>, tasks: &[TaskId]) -> Result<(), LogError> {
        consumer.incremental_unassign(&self.list(tasks)).map_err(|e| self.config.failed(&format!("releasing tasks of {}", self.group), &e))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            consumer.context().state().leaving = true;
            drop_within("membership", consumer, self.config.limits.close());
        }
    }
}

pub(super) struct KafkaMembership {
    shared: Arc<Shared>,
}

impl KafkaMembership {
    pub fn new(shared: Arc<Shared>) -> KafkaMembership {
        KafkaMembership { shared }
    }
}

impl Membership for KafkaMembership {
    fn poll(&mut self) -> Result<Vec<Ownership>, LogError> {
        let Some(consumer) = &self.shared.consumer else {
            return Ok(Vec::new());
        };
        for _ in 0..EVENTS_AT_ONCE {
            // Also an event that was served answers `None`.
            if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
                report(&self.shared, &error)?;
            }
        }
        let mut state = consumer.context().state();
        // Lost while waiting to be released: no further event tells.
        if !state.revoked.is_empty() && consumer.assignment_lost() {
            let revoked = std::mem::take(&mut state.revoked);
            let lost: Vec<TaskId> = std::mem::take(&mut state.unreleased).into_iter().collect();
            state.owned.retain(|t| !lost.contains(t));
            if !lost.is_empty() {
                state.losses += 1;
                state.news.push(Ownership::Lost(lost));
            }
            drop(state);
            self.shared.give_back(consumer, &revoked)?;
            state = consumer.context().state();
        }
        Ok(std::mem::take(&mut state.news))
    }

    fn losses(&self) -> u64 {
        self.shared.consumer.as_ref().map_or(u64::MAX, |c| c.context().state().losses)
    }

    fn release(&mut self, tasks: &[TaskId]) -> Result<(), LogError> {
        let Some(consumer) = &self.shared.consumer else {
            return Ok(());
        };
        let mut state = consumer.context().state();
        for task in tasks {
            if state.unreleased.remove(task) {
                state.owned.remove(task);
            }
        }
        // librdkafka takes one answer for one revocation.
        if !state.unreleased.is_empty() || state.revoked.is_empty() {
            return Ok(());
        }
        let revoked = std::mem::take(&mut state.revoked);
        drop(state);
        self.shared.give_back(consumer, &revoked)
    }

    fn leave(&mut self) -> Result<(), LogError> {
        let Some(consumer) = &self.shared.consumer else {
            return Ok(());
        };
        let revoked = {
            let mut state = consumer.context().state();
            state.leaving = true;
            state.owned.clear();
            state.unreleased.clear();
            std::mem::take(&mut state.revoked)
        };
        if !revoked.is_empty() {
            self.shared.give_back(consumer, &revoked)?;
        }
        consumer.unsubscribe();
        let deadline = Instant::now() + self.shared.config.limits.close();
        while Instant::now() < deadline {
            let _ = consumer.poll(Duration::from_millis(20));
            if consumer.assignment().is_ok_and(|a| a.count() == 0) {
                break;
            }
        }
        Ok(())
    }
}

/// Most errors of a membership pass by themselves; these do not.
fn report(shared: &Shared, error: &KafkaError) -> Result<(), LogError> {
    use RDKafkaErrorCode as E;
    let lasting = matches!(
        error.rdkafka_error_code(),
        Some(
            E::GroupAuthorizationFailed
                | E::TopicAuthorizationFailed
                | E::SaslAuthenticationFailed
                | E::Authentication
                | E::InconsistentGroupProtocol
                | E::InvalidSessionTimeout
                | E::FencedInstanceId
        )
    );
    if lasting || matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return Err(shared.config.failed(&format!("taking part in {}", shared.group), error));
    }
    tracing::debug!(%error, group = shared.group, "a membership's event");
    Ok(())
}
