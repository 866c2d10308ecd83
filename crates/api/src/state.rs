//! What the handlers share: the view, the runtime's status, the change hub, and the bound on concurrent reads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use ws_views::{Freshness, Read, ViewError, ViewReads};

use crate::answer::FreshnessAnswer;
use crate::{ApiError, ChangeHub, Status, limits};

/// Renders `/metrics`.
pub(crate) type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;
/// Asks the process to shut down.
pub(crate) type OnShutdown = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) views: Arc<dyn ViewReads>,
    pub(crate) status: Arc<dyn Status>,
    pub(crate) changes: ChangeHub,
    pub(crate) metrics: Option<RenderMetrics>,
    pub(crate) on_shutdown: Option<OnShutdown>,
    pub(crate) decide: Option<crate::Decide>,
    pub(crate) reads: Arc<Semaphore>,
}

impl ApiState {
    /// Runs a blocking view read off the async threads, within the bound on concurrent reads.
    pub(crate) async fn read<T: Send + 'static>(&self, question: impl FnOnce(&dyn ViewReads) -> Result<T, ViewError> + Send + 'static) -> Result<T, ApiError> {
        let wait = Duration::from_millis(limits::MAX_READ_WAIT_MS);
        let permit = match tokio::time::timeout(wait, Arc::clone(&self.reads).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(closed)) => return Err(ApiError::internal(closed.to_string())),
            Err(_) => {
                return Err(ApiError::busy(format!("{} reads are running", limits::MAX_CONCURRENT_READS)));
            }
        };
        let views = Arc::clone(&self.views);
        let answer = tokio::task::spawn_blocking(move || {
            // Held by the read itself: a client that goes away does not free the slot early.
            let _permit = permit;
            question(&*views)
        });
        match answer.await {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(ApiError::internal(error.to_string())),
        }
    }

    /// A read together with its freshness as clients see it.
    pub(crate) async fn fresh<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn ViewReads) -> Result<Read<T>, ViewError> + Send + 'static,
    ) -> Result<(T, FreshnessAnswer), ApiError> {
        let read = self.read(question).await?;
        Ok((read.value, self.told(read.freshness)))
    }

    pub(crate) fn told(&self, freshness: Freshness) -> FreshnessAnswer {
        FreshnessAnswer::new(freshness, self.status.event_now_ms())
    }
}
