//! Train, calibration and test by time. An example belongs to a part only if its label's last reading does too: an
//! example before a boundary whose label reaches over it is in no part. That is the gap, as long as each example's
//! own horizon, so that no label leaks into the next part and long horizons do not cost short ones their examples.

use serde::{Deserialize, Serialize};

/// A part of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Trees are grown on it.
    Train,
    /// Intervals and probabilities are calibrated on it.
    Calibration,
    /// Figures are reported on it.
    Test,
}

/// The boundaries, event time in UTC ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Calibration begins.
    pub calibration_ms: i64,
    /// Test begins.
    pub test_ms: i64,
}

impl Split {
    /// Cuts `[from_ms, to_ms]` by shares.
    pub fn by_share(from_ms: i64, to_ms: i64, train: f64, calibration: f64) -> Self {
        let at = |share: f64| from_ms + ((to_ms - from_ms) as f64 * share) as i64;
        Self { calibration_ms: at(train), test_ms: at(train + calibration) }
    }

    /// Where an example at `at_ms` whose label ends at `until_ms` belongs.
    pub fn part(&self, at_ms: i64, until_ms: i64) -> Option<Part> {
        if at_ms >= self.test_ms {
            Some(Part::Test)
        } else if at_ms >= self.calibration_ms {
            (until_ms < self.test_ms).then_some(Part::Calibration)
        } else {
            (until_ms < self.calibration_ms).then_some(Part::Train)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_reaches_into_the_next_part() {
        let split = Split::by_share(0, 1000, 0.6, 0.2);
        assert_eq!((split.calibration_ms, split.test_ms), (600, 800));
        let mut counts = [0; 3];
        for at in 0..1000 {
            for horizon in [1, 50, 150] {
                match split.part(at, at + horizon) {
                    Some(Part::Train) => {
                        assert!(at + horizon < 600);
                        counts[0] += 1;
                    }
                    Some(Part::Calibration) => {
                        assert!(at >= 600 && at + horizon < 800);
                        counts[1] += 1;
                    }
                    Some(Part::Test) => {
                        assert!(at >= 800);
                        counts[2] += 1;
                    }
                    None => assert!((at < 600 && at + horizon >= 600) || (at < 800 && at + horizon >= 800)),
                }
            }
        }
        assert_eq!(counts, [599 + 550 + 450, 199 + 150 + 50, 600]);
    }
}
