//! The projection: reads committed outputs and keeps the view. Values and position are written together, so a
//! projection that dies goes on where the view is; one that lost its view reads the log again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use ws_api::ChangeHub;
use ws_log::registry::Registry;
use ws_runtime::now_ms;
use ws_runtime::patience::patiently;
use ws_stream::log::{Log, LogError, TopicPartition};
use ws_stream::records::Records;
use ws_stream::task::hex;
use ws_views::{Outcome, PositionKey, Progress, ViewError, ViewStore, project};

/// Wait for records.
const POLL_MS: u64 = 50;
/// Wait after a view that is away.
const RETRY: std::time::Duration = std::time::Duration::from_millis(500);
/// Updates per write.
const BATCH: usize = 2_000;

/// A projection that must end.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The log refused for good.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The view refused for good.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Topics that the view shows, where they are written or read.
pub const SHOWN: [&str; 14] = [
    "bin.features",
    "bin.forecast",
    "bin.alert",
    "vehicle.position",
    "vehicle.status",
    "ref.site",
    "ref.facility",
    "customer.churn-risk",
    "contract.event",
    "vehicle.maintenance-risk",
    "route.plan",
    "route.change",
    "route.problem",
    "collection.event",
];

/// What a projection works with.
pub struct Projection {
    /// Where outputs are read.
    pub log: Arc<dyn Log>,
    /// To decode them.
    pub registry: Arc<Registry>,
    /// Topics to show.
    pub topics: Vec<String>,
    /// Grows with each owner of the view.
    pub owner_epoch: u64,
    /// Tells subscribers what changed.
    pub changes: ChangeHub,
    /// Records that could not be shown.
    pub rejected: Arc<AtomicU64>,
    /// Records applied.
    pub applied: Arc<AtomicU64>,
}

impl Projection {
    /// Runs until `stop`.
    pub fn run(self, mut view: Box<dyn ViewStore>, stop: &AtomicBool) -> Result<(), ProjectionError> {
        let mut admin = self.log.admin()?;
        let cluster_id = patiently(|| admin.cluster_id())?;
        let mut reader = self.log.reader()?;
        let mut keys: HashMap<TopicPartition, PositionKey> = HashMap::new();
        for topic in &self.topics {
            let Some(info) = patiently(|| admin.topic(topic))? else { return Err(LogError::NoTopic(topic.as_str().into()).into()) };
            for partition in 0..info.partitions {
                let at = TopicPartition::new(topic.as_str(), partition);
                let key = PositionKey { cluster_id: cluster_id.clone(), topic: topic.clone(), topic_id: hex(&info.id), partition: partition as i32 };
                let start = patiently(|| admin.start(&at))?;
                let from = view.position(&key)?.map_or(start, |p| p.next_offset.max(start));
                reader.add(&at, from)?;
                keys.insert(at, key);
            }
        }
        while !stop.load(Ordering::Relaxed) {
            let records = match reader.poll(POLL_MS) {
                Err(e @ LogError::Unavailable { .. }) => {
                    tracing::warn!(error = %e, "the log is away; the projection waits for it");
                    continue;
                }
                other => other?,
            };
            for (at, records) in records {
                if let Some(key) = keys.get(&at) {
                    self.apply(view.as_mut(), key, &records, stop)?;
                }
            }
        }
        Ok(())
    }

    fn apply(&self, view: &mut dyn ViewStore, key: &PositionKey, records: &Records, stop: &AtomicBool) -> Result<(), ProjectionError> {
        let n = records.rows.len();
        let mut from = 0;
        while from < n || (n == 0 && from == 0) {
            let mut updates = Vec::new();
            let mut to = from;
            let mut observed_ms = None;
            while to < n && updates.len() < BATCH {
                if let Some(value) = records.value(to) {
                    let shown = self
                        .registry
                        .decode_to_json(value)
                        .map_err(|e| e.to_string())
                        .and_then(|v| project(&key.topic, records.key(to).unwrap_or(&[]), &v).map_err(|e| format!("{e}; {}", e.hint())));
                    match shown {
                        Ok(u) => {
                            observed_ms = observed_ms.max(u.iter().map(ws_views::Update::observed_ms).max());
                            updates.extend(u);
                        }
                        Err(e) => {
                            self.rejected.fetch_add(1, Ordering::Relaxed);
                            tracing::warn!(source = %key, offset = records.rows[to].offset, error = e, "a record cannot be shown");
                        }
                    }
                }
                to += 1;
            }
            let next_offset = if to == n { records.next_offset } else { records.rows[to].offset };
            let progress = Progress { watermark_ms: None, observed_ms, applied_ms: now_ms() };
            let outcome = loop {
                match view.apply(key, self.owner_epoch, next_offset, progress, updates.clone()) {
                    Err(e) if e.is_retryable() && !stop.load(Ordering::Relaxed) => {
                        tracing::warn!(error = %e, "the view is away; trying again");
                        std::thread::sleep(RETRY);
                    }
                    other => break other?,
                }
            };
            match outcome {
                Outcome::Applied(a) => self.changes.publish(&a.changed),
                Outcome::AlreadyApplied { .. } => {}
                Outcome::Fenced { owner_epoch } => {
                    return Err(LogError::Fenced(format!("owner epoch {owner_epoch} writes the view now, this projection has {}", self.owner_epoch)).into());
                }
            }
            self.applied.fetch_add((to - from) as u64, Ordering::Relaxed);
            if n == 0 {
                break;
            }
            from = to;
        }
        Ok(())
    }
}
