//! Builds the router, binds the port, serves until told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use ws_views::ViewReads;

use crate::state::ApiState;
use crate::{ApiError, ChangeHub, ServeError, Status, admin, changes, decisions, guard, limits, manifest, page, plans, plans_geo, reads, stream};

/// Listens on a loopback address.
///
/// # Errors
/// [`ServeError::PortInUse`], [`ServeError::NotLoopback`], or what else the system says.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback { address });
    }
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => ServeError::PortInUse { address },
        std::io::ErrorKind::PermissionDenied => ServeError::NotAllowed { address },
        _ => ServeError::Bind { address, cause: error.to_string() },
    })
}

/// The HTTP interface, before it is served.
pub struct Api {
    state: ApiState,
    extensions: Router,
}

impl Api {
    /// Answers from this view and this status.
    pub fn new(views: Arc<dyn ViewReads>, status: Arc<dyn Status>) -> Self {
        let state = ApiState {
            views,
            status,
            changes: ChangeHub::default(),
            metrics: None,
            on_shutdown: None,
            decide: None,
            reads: Arc::new(Semaphore::new(limits::MAX_CONCURRENT_READS)),
        };
        Self { state, extensions: Router::new() }
    }

    /// Renders `/metrics` (Prometheus text).
    pub fn metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.state.metrics = Some(Arc::new(render));
        self
    }

    /// Called on `POST /v1/admin/shutdown`; it should make the future given to [`Api::serve`] end.
    pub fn on_shutdown(mut self, stop: impl Fn() + Send + Sync + 'static) -> Self {
        self.state.on_shutdown = Some(Arc::new(stop));
        self
    }

    /// Where decisions about plans go; without it they are refused.
    pub fn decisions(mut self, decide: crate::Decide) -> Self {
        self.state.decide = Some(decide);
        self
    }

    /// Adds routes; they stand behind the same guard and limits. Paths must not collide with the ones here.
    pub fn extend(mut self, routes: Router) -> Self {
        self.extensions = self.extensions.merge(routes);
        self
    }

    /// Where the runtime publishes changed records.
    pub fn changes(&self) -> ChangeHub {
        self.state.changes.clone()
    }

    #[cfg(test)]
    pub(crate) fn state_for_tests(&self) -> ApiState {
        self.state.clone()
    }

    /// The routes, for tests and for embedding elsewhere. Events flow only under [`Api::serve`].
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(page::index))
            .route("/assets/{*path}", get(page::asset))
            .route("/v1/bins", get(reads::bins))
            .route("/v1/bins.geojson", get(reads::bins_geojson))
            .route("/v1/bins/{id}", get(reads::bin))
            .route("/v1/alerts", get(reads::alerts))
            .route("/v1/trucks", get(reads::trucks))
            .route("/v1/trucks.geojson", get(reads::trucks_geojson))
            .route("/v1/places.geojson", get(reads::places_geojson))
            .route("/v1/customers/churn-risk", get(reads::churn_risks))
            .route("/v1/vehicles/maintenance-risk", get(reads::maintenance_risks))
            .route("/v1/plans", get(plans::plans))
            .route("/v1/plans.geojson", get(plans_geo::plans_geojson))
            .route("/v1/plans/{area}", get(plans::plan))
            .route("/v1/plans/{area}/{plan}/{version}/decisions", post(decisions::decide))
            .route("/v1/vehicles/{id}/plan", get(plans::vehicle))
            .route("/v1/vehicles/{id}/manifest", get(manifest::json))
            .route("/v1/vehicles/{id}/manifest.gpx", get(manifest::gpx))
            .route("/v1/vehicles/{id}/manifest.geojson", get(manifest::geojson))
            .route("/v1/pipeline", get(admin::pipeline))
            .route("/v1/models", get(admin::models))
            .route("/v1/stream", get(stream::subscribe))
            .route("/v1/admin/shutdown", post(admin::shutdown))
            .route("/metrics", get(admin::metrics))
            .route("/healthz", get(admin::healthz))
            .route("/readyz", get(admin::readyz))
            .fallback(unknown_path)
            .method_not_allowed_fallback(wrong_method)
            .with_state(self.state)
            .merge(self.extensions)
            .layer(DefaultBodyLimit::max(limits::MAX_BODY_BYTES))
            .layer(axum::middleware::from_fn(guard::check))
    }

    /// Serves until `shutdown` ends, then lets open requests finish for [`limits::DRAIN_MS`].
    ///
    /// # Errors
    /// [`ServeError::Stopped`] when the system fails the server.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let stopped = |error: std::io::Error| ServeError::Stopped { cause: error.to_string() };
        let address = listener.local_addr().map_err(stopped)?;
        tracing::info!(%address, "listening on http://{address}/ without authentication: reachable from this machine only");

        let hub = self.changes();
        let ticking = tokio::spawn(tick_for_ever(self.state.clone()));
        let (draining, mut drain) = tokio::sync::watch::channel(false);
        let signal = async move {
            shutdown.await;
            hub.close();
            draining.send_replace(true);
        };
        let serving = axum::serve(listener, self.router()).with_graceful_shutdown(signal);
        let deadline = async move {
            // An error means that the signal was dropped with the server; then the other branch ends this.
            if drain.wait_for(|draining| *draining).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(limits::DRAIN_MS)).await;
        };
        let ended = tokio::select! {
            served = serving => served.map_err(stopped),
            () = deadline => {
                tracing::warn!(drain_ms = limits::DRAIN_MS, "requests were still open when the time to drain ended");
                Ok(())
            }
        };
        ticking.abort();
        ended
    }
}

async fn tick_for_ever(state: ApiState) {
    let mut interval = tokio::time::interval(Duration::from_millis(limits::SSE_COALESCE_MS));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for period in 1_u64.. {
        interval.tick().await;
        changes::tick(&state, period).await;
    }
}

async fn unknown_path(uri: Uri) -> ApiError {
    let shown: String = uri.path().chars().take(120).collect();
    ApiError::not_found(
        format!("no resource {shown}"),
        "the page is at /, reads are under /v1/ (bins, bins.geojson, alerts, trucks, plans, vehicles, customers/churn-risk, vehicles/maintenance-risk, pipeline, models, stream)",
    )
}

async fn wrong_method(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong-method",
        "The method is not allowed here",
        uri.path().chars().take(120).collect::<String>(),
        "reads are GET, admin actions are POST",
    )
}
