//! The API and its page over records that a test makes, in this process: for what a demo shows only by chance, such as a
//! customer in the holdout or a plan that moves on while somebody decides.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use ws_api::status::{ModelsStatus, PipelineStatus, Readiness};
use ws_api::{Api, ChangeHub, Status};
use ws_views::{EmbeddedView, Outcome, PositionKey, Progress, ViewKey, ViewStore, project};

use super::{discard, scratch_dir};

/// Event clock of everything made.
pub const NOW_MS: i64 = 1_772_437_200_000;

/// What a test lets the process tell of itself.
#[derive(Default)]
pub struct Told {
    /// Topologies.
    pub pipelines: Vec<PipelineStatus>,
    /// Reasons against readiness.
    pub waiting: Vec<String>,
    /// Scores.
    pub models: ModelsStatus,
}

#[derive(Default)]
struct MadeStatus(Mutex<Told>);

impl MadeStatus {
    fn told<T>(&self, of: impl FnOnce(&Told) -> T) -> T {
        of(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Status for MadeStatus {
    fn pipeline(&self) -> PipelineStatus {
        self.pipelines().into_iter().next().unwrap_or_default()
    }

    fn pipelines(&self) -> Vec<PipelineStatus> {
        self.told(|told| told.pipelines.clone())
    }

    fn readiness(&self) -> Readiness {
        self.told(|told| if told.waiting.is_empty() { Readiness::ready() } else { Readiness::waiting(told.waiting.clone()) })
    }

    fn models(&self) -> ModelsStatus {
        self.told(|told| told.models.clone())
    }

    fn event_now_ms(&self) -> i64 {
        NOW_MS
    }
}

/// A served view; it ends when this is dropped.
pub struct Made {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    store: EmbeddedView,
    changes: ChangeHub,
    status: Arc<MadeStatus>,
    offset: i64,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
    folder: std::path::PathBuf,
}

impl Made {
    /// Serves an empty view; `extend` may add to the interface.
    pub fn start(told: Told, extend: impl FnOnce(Api) -> Api) -> Made {
        let folder = scratch_dir("made");
        let store = EmbeddedView::open(&folder).expect("a view");
        let status = Arc::new(MadeStatus(Mutex::new(told)));
        let api = extend(Api::new(Arc::new(store.clone()), Arc::clone(&status) as Arc<dyn Status>));
        let changes = api.changes();
        let (stop, stopped) = oneshot::channel();
        let (listens, listening) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = ws_api::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
                listens.send(listener.local_addr().expect("an address")).expect("the test waits");
                let served = api.serve(listener, async move {
                    let _ = stopped.await;
                });
                served.await.expect("served to the end");
            });
        });
        let address = listening.recv().expect("it listens");
        Made { url: format!("http://{address}"), store, changes, status, offset: 0, stop: Some(stop), server: Some(server), folder }
    }

    /// Applies one record of a topic, observed `ago_ms` before now, and tells the page.
    pub fn put(&mut self, topic: &str, ago_ms: i64, record: Value) {
        let changed = self.put_unseen(topic, ago_ms, record);
        self.changes.publish(&changed);
    }

    /// As [`Made::put`], but nobody is told: the page comes to know only when it asks.
    pub fn put_unseen(&mut self, topic: &str, ago_ms: i64, mut record: Value) -> Vec<ViewKey> {
        let observed_ms = NOW_MS - ago_ms;
        for (name, value) in [("tenant", json!("city")), ("observed_at", json!(observed_ms))] {
            if record[name].is_null() {
                record[name] = value;
            }
        }
        self.offset += 1;
        let source = PositionKey { cluster_id: "made".into(), topic: "made".into(), topic_id: "t".into(), partition: 0 };
        let progress = Progress { watermark_ms: Some(NOW_MS - 500), observed_ms: Some(NOW_MS - 100), applied_ms: NOW_MS };
        let updates = project(topic, b"", &record).expect("a record that can be shown");
        match self.store.apply(&source, 1, self.offset, progress, updates).expect("the view takes it") {
            Outcome::Applied(applied) => applied.changed,
            other => panic!("{other:?}"),
        }
    }

    /// Changes what the process tells of itself.
    pub fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.status.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        discard(&self.folder);
    }
}
