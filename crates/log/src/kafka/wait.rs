//! Waiting with an end: for a future of the admin client, and for clients to close.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread; `None` when the time is over first.
pub(super) fn block_on<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    let deadline = Instant::now() + limit;
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(out) = future.as_mut().poll(&mut context) {
            return Some(out);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

/// Drops a client on a thread of its own and waits at most `limit` for that: closing may wait for a broker, or for
/// ever.
pub(super) fn drop_within<T: Send + 'static>(what: &'static str, client: T, limit: Duration) {
    let (done, wait) = mpsc::sync_channel::<()>(1);
    let spawned = thread::Builder::new().name(format!("close-{what}")).spawn(move || {
        drop(client);
        let _ = done.send(());
    });
    match spawned {
        Ok(_) => {
            if wait.recv_timeout(limit).is_err() {
                tracing::warn!(what, limit_ms = limit.as_millis() as u64, "closing takes too long; it goes on in the background");
            }
        }
        Err(error) => tracing::warn!(what, %error, "no thread to close it on; it was closed here"),
    }
}
