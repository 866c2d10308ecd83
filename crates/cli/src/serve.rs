//! HTTP beside the engine: the API on a thread with its own runtime, metrics, and one place that says "stop".

use crate::Failure;
use crate::append::Routes;
use crate::status::EngineStatus;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use ws_api::{Api, ChangeHub, bind};
use ws_runtime::metrics::SECONDS_BUCKETS;
use ws_views::ViewReads;

/// How often the server looks whether to stop.
const STOP_POLL: Duration = Duration::from_millis(100);

/// A running server.
pub struct Server {
    /// Where it listens.
    pub url: String,
    /// Tells subscribers what changed.
    pub changes: ChangeHub,
    thread: JoinHandle<Result<(), String>>,
}

/// Installs the process-wide metrics recorder with real histograms.
pub fn metrics() -> Result<PrometheusHandle, Failure> {
    let handle = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)?.install_recorder()?;
    ws_runtime::metrics::describe();
    Ok(handle)
}

impl Server {
    /// Binds, then serves until `stop`. A port in use is told here, before anything else is started.
    pub fn start(
        address: SocketAddr,
        views: Arc<dyn ViewReads>,
        status: Arc<EngineStatus>,
        metrics: PrometheusHandle,
        routes: Routes,
        stop: Arc<AtomicBool>,
    ) -> Result<Server, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("http").build()?;
        let listener = runtime.block_on(bind(address)).map_err(|e| format!("{e}: {} (--address, or `api.address`)", e.hint()))?;
        let url = format!("http://{}", listener.local_addr()?);
        let asked = stop.clone();
        let api = Api::new(views, status)
            .metrics(move || metrics.render())
            .on_shutdown(move || asked.store(true, Ordering::Relaxed))
            .extend(routes.append)
            .decisions(routes.decide);
        let changes = api.changes();
        let until = async move {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(STOP_POLL).await;
            }
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(move || runtime.block_on(api.serve(listener, until)).map_err(|e| e.to_string()))?;
        Ok(Server { url, changes, thread })
    }

    /// Waits for open requests.
    pub fn join(self) -> Result<(), Failure> {
        match self.thread.join() {
            Ok(r) => Ok(r?),
            Err(_) => Err("the HTTP server panicked".into()),
        }
    }
}

/// A flag that Ctrl-C and SIGTERM set.
pub fn stop_on_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        // A second Ctrl-C ends at once: nothing is lost, what is uncommitted is computed again.
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(stop)
}
