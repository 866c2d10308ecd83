//! Event time against wall time: with `--speed 60` a minute of the file takes a second. Pure: the time is passed in.

/// Paces rows.
#[derive(Debug)]
pub struct Pacer {
    speed: Option<f64>,
    start: Option<(i64, u64)>,
}

impl Pacer {
    /// `None`: as fast as it goes.
    pub fn new(speed: Option<f64>) -> Pacer {
        Pacer { speed, start: None }
    }

    /// How long a row with this event time has to wait at `now_ms` of a steady clock, ms. The first row waits for nothing, and
    /// rows of earlier event times neither.
    pub fn wait_ms(&mut self, event_ms: i64, now_ms: u64) -> u64 {
        let Some(speed) = self.speed else { return 0 };
        let (first_ms, started_ms) = *self.start.get_or_insert((event_ms, now_ms));
        let due_ms = started_ms as f64 + event_ms.saturating_sub(first_ms) as f64 / speed;
        (due_ms - now_ms as f64).max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_at_speed_3600_takes_a_second() {
        let mut p = Pacer::new(Some(3600.0));
        assert_eq!(p.wait_ms(1_000_000, 50), 0);
        assert_eq!(p.wait_ms(1_000_000 + 3_600_000, 50), 1_000);
        assert_eq!(p.wait_ms(1_000_000 + 3_600_000, 900), 150);
        assert_eq!(p.wait_ms(1_000_000 + 3_600_000, 2_000), 0, "late rows go at once");
        assert_eq!(p.wait_ms(0, 2_000), 0, "older rows too");
    }

    #[test]
    fn without_a_speed_nothing_waits() {
        assert_eq!(Pacer::new(None).wait_ms(i64::MAX, 0), 0);
    }
}
