//! Gathers what changed in the view and tells all event-stream clients once a second.
//!
//! The runtime publishes keys after each applied batch; values are read once per period, whatever the number of clients, and
//! sent as ready-made text. Both the set of keys and each client's backlog are bounded: beyond that a client is told to read
//! everything anew (`resync`), which is always right because a view is small and disposable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::sync::{broadcast, watch};
use ws_views::{AlertSummary, BinSummary, Keyspace, Record, TruckSummary, ViewKey};

use crate::limits;
use crate::state::ApiState;

/// One event, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: &'static str,
    pub(crate) data: Arc<str>,
}

#[derive(Default)]
struct Dirty {
    keys: BTreeSet<ViewKey>,
    overflowed: bool,
}

struct Inner {
    dirty: Mutex<Dirty>,
    events: broadcast::Sender<Event>,
    closed: watch::Sender<bool>,
    clients: AtomicUsize,
}

/// Where the runtime says what changed. Cheap to clone.
#[derive(Clone)]
pub struct ChangeHub {
    inner: Arc<Inner>,
}

impl Default for ChangeHub {
    fn default() -> Self {
        let (events, _) = broadcast::channel(limits::MAX_SSE_BACKLOG_EVENTS);
        let (closed, _) = watch::channel(false);
        Self { inner: Arc::new(Inner { dirty: Mutex::default(), events, closed, clients: AtomicUsize::new(0) }) }
    }
}

/// A client's place among [`limits::MAX_SSE_CLIENTS`]; given back when dropped.
pub(crate) struct Seat {
    hub: ChangeHub,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.inner.clients.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ChangeHub {
    /// Notes changed records ([`ws_views::Applied::changed`]). Never blocks for long; does nothing while nobody listens.
    pub fn publish(&self, keys: &[ViewKey]) {
        if keys.is_empty() || self.clients() == 0 {
            return;
        }
        let mut dirty = self.inner.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if dirty.keys.len() >= limits::MAX_CHANGES_PER_EVENT && !dirty.keys.contains(key) {
                dirty.overflowed = true;
                break;
            }
            dirty.keys.insert(key.clone());
        }
    }

    /// How many clients listen.
    pub fn clients(&self) -> usize {
        self.inner.clients.load(Ordering::SeqCst)
    }

    /// A seat for a new client, or none when all are taken.
    pub(crate) fn sit(&self) -> Option<(Seat, broadcast::Receiver<Event>, watch::Receiver<bool>)> {
        let one_more = |clients: usize| (clients < limits::MAX_SSE_CLIENTS).then_some(clients + 1);
        self.inner.clients.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some((Seat { hub: self.clone() }, self.inner.events.subscribe(), self.inner.closed.subscribe()))
    }

    /// Ends all streams, so that the server can shut down.
    pub(crate) fn close(&self) {
        self.inner.closed.send_replace(true);
    }

    pub(crate) fn send(&self, name: &'static str, data: &serde_json::Value) {
        // An error means that nobody listens.
        let _ = self.inner.events.send(Event { name, data: data.to_string().into() });
    }

    fn take(&self) -> Dirty {
        std::mem::take(&mut *self.inner.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One period: tells what changed, the pipeline's state, and now and then a heartbeat.
pub(crate) async fn tick(state: &ApiState, period: u64) {
    let hub = &state.changes;
    let dirty = hub.take();
    if hub.clients() == 0 {
        return;
    }
    if dirty.overflowed {
        hub.send("resync", &json!({"reason": "more records changed than one event holds"}));
    } else if !dirty.keys.is_empty() {
        let keys: Vec<ViewKey> = dirty.keys.into_iter().collect();
        // Of the other lists only how many changed: they are ranked, so a client that shows one reads it anew.
        let mut others: BTreeMap<&str, usize> = BTreeMap::new();
        for key in keys.iter().filter(|key| !matches!(key.keyspace, Keyspace::Bin | Keyspace::Alert | Keyspace::Truck)) {
            *others.entry(key.keyspace.as_str()).or_default() += 1;
        }
        match state.fresh(move |views| views.get_many(&keys)).await {
            Ok((records, freshness)) => {
                let of = |keyspace: Keyspace| records.iter().filter(move |record| record.key.keyspace == keyspace);
                let bins: Vec<BinSummary> = of(Keyspace::Bin).map(BinSummary::of).collect();
                let alerts: Vec<AlertSummary> = of(Keyspace::Alert).map(|record: &Record| AlertSummary::of(record)).collect();
                let trucks: Vec<TruckSummary> = of(Keyspace::Truck).map(TruckSummary::of).collect();
                hub.send("changes", &json!({"bins": bins, "alerts": alerts, "trucks": trucks, "others": others, "freshness": freshness.brief()}));
            }
            Err(error) => {
                tracing::warn!(%error, "changes could not be read; clients are told to resync");
                hub.send("resync", &json!({"reason": error.detail}));
            }
        }
    }
    hub.send(
        "pipeline",
        &json!({"pipeline": state.status.pipeline(), "pipelines": state.status.pipelines(), "readiness": crate::admin::readiness(state).await}),
    );
    if period.is_multiple_of(limits::HEARTBEAT_PERIODS) {
        match state.fresh(|views| views.counts(None)).await {
            Ok((counts, freshness)) => hub.send("heartbeat", &json!({"counts": counts, "freshness": freshness.brief()})),
            Err(error) => hub.send("heartbeat", &json!({"problem": error.detail})),
        }
    }
}
