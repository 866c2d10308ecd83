//! Waiting for a log that is away for a moment: a leader moves, a topic that was just made is not known everywhere yet,
//! a broker restarts.

use std::time::{Duration, Instant};
use ws_stream::log::LogError;

/// How long an operation is repeated.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Wait between two tries.
pub const RETRY: Duration = Duration::from_millis(500);

/// Repeats while the log is unavailable, within [`PATIENCE`]; then its error, or any other error at once.
pub fn patiently<T>(mut ask: impl FnMut() -> Result<T, LogError>) -> Result<T, LogError> {
    let started = Instant::now();
    loop {
        match ask() {
            Err(LogError::Unavailable { .. }) if started.elapsed() < PATIENCE => std::thread::sleep(RETRY),
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_moment_is_waited_for_and_a_lasting_fault_told_at_once() {
        let away = || LogError::Unavailable { what: "asking".into(), cause: "moving".into(), hint: "wait".into() };
        let mut left = 2;
        let answer = patiently(|| {
            left -= 1;
            if left > 0 { Err(away()) } else { Ok(7) }
        });
        assert_eq!(answer.unwrap(), 7);
        let mut asked = 0;
        let refused = patiently(|| -> Result<(), LogError> {
            asked += 1;
            Err(LogError::NoTopic("t".into()))
        });
        assert!(matches!(refused, Err(LogError::NoTopic(_))) && asked == 1);
    }
}
