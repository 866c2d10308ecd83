//! The quantiles of a filling level over the coming hours, and what follows from them: hours until full and the
//! probability of being full by a time. Model and heuristic share it, so that both mean the same by each column.
//!
//! The level here is *latent*: it keeps rising past full, which is what makes the path invertible. Only additions,
//! products, comparisons and square roots are used: the same bits on every machine.

/// Quantiles p10, p50, p90 of the latent level at growing horizons, made consistent on construction.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelPath {
    level: f64,
    hours: Vec<f64>,
    /// Per horizon `[p10, p50, p90]`.
    levels: Vec<[f64; 3]>,
}

impl LevelPath {
    /// From the level now and raw quantiles at ascending horizons in hours. At each horizon the quantiles are sorted
    /// (separately trained ones may cross); along the horizons each is made non-decreasing, because a container that
    /// is not emptied does not get emptier. The first horizon may lie below the level now: a reading has noise.
    pub fn new(level: f64, hours: Vec<f64>, mut levels: Vec<[f64; 3]>) -> Self {
        debug_assert!(hours.len() == levels.len() && hours.windows(2).all(|pair| pair[0] < pair[1]));
        let mut floor = [f64::NEG_INFINITY; 3];
        for quantiles in &mut levels {
            quantiles.sort_by(f64::total_cmp);
            for (value, floor) in quantiles.iter_mut().zip(&mut floor) {
                *value = value.max(*floor);
                *floor = *value;
            }
        }
        Self { level, hours, levels }
    }

    /// The latent level's `[p10, p50, p90]` after `hours`: linear between horizons, beyond the last one on with the
    /// mean rate up to it (never falling).
    pub fn at(&self, hours: f64) -> [f64; 3] {
        [0, 1, 2].map(|quantile| self.quantile_at(hours, quantile))
    }

    fn quantile_at(&self, hours: f64, quantile: usize) -> f64 {
        let (mut from_hours, mut from) = (0.0, self.level);
        for (to_hours, levels) in self.hours.iter().zip(&self.levels) {
            let to = levels[quantile];
            if hours <= *to_hours {
                return from + (to - from) * ((hours - from_hours) / (to_hours - from_hours)).max(0.0);
            }
            (from_hours, from) = (*to_hours, to);
        }
        from + self.tail_rate(quantile) * (hours - from_hours)
    }

    fn tail_rate(&self, quantile: usize) -> f64 {
        match (self.hours.last(), self.levels.last()) {
            (Some(hours), Some(levels)) => ((levels[quantile] - self.level) / hours).max(0.0),
            _ => 0.0,
        }
    }

    /// Hours until the latent level reaches `full`, `[p10, p50, p90]`, at most `cap_hours`: the early quantile
    /// belongs to the high levels. 0 when it is full now.
    pub fn hours_to(&self, full: f64, cap_hours: f64) -> [f64; 3] {
        [2, 1, 0].map(|quantile| self.hours_to_quantile(full, cap_hours, quantile))
    }

    fn hours_to_quantile(&self, full: f64, cap_hours: f64, quantile: usize) -> f64 {
        if self.level >= full {
            return 0.0;
        }
        let (mut from_hours, mut from) = (0.0, self.level);
        for (to_hours, levels) in self.hours.iter().zip(&self.levels) {
            let to = levels[quantile];
            if to >= full {
                return (from_hours + (to_hours - from_hours) * ((full - from) / (to - from))).min(cap_hours);
            }
            (from_hours, from) = (*to_hours, to);
        }
        let rate = self.tail_rate(quantile);
        if rate > 0.0 { (from_hours + (full - from) / rate).min(cap_hours) } else { cap_hours }
    }

    /// Probability that the latent level has reached `full` after `hours`, from a distribution with the three
    /// quantiles of that time: two halves of Student's t with 2 degrees of freedom, whose distribution function
    /// needs a square root only and whose tails are honest about what three quantiles do not say.
    pub fn probability_full(&self, hours: f64, full: f64) -> f64 {
        if self.level >= full {
            return 1.0;
        }
        let [low, middle, high] = self.at(hours.max(0.0));
        let distance = middle - full;
        let width = if distance > 0.0 { middle - low } else { high - middle }.max(1e-6);
        let scaled = distance / width * (4.0 / 3.0);
        0.5 * (1.0 + scaled / (1.0 + scaled * scaled).sqrt())
    }
}

/// Monotone, piecewise linear calibration of a probability.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Calibration {
    /// `(raw, calibrated)`, both non-decreasing; empty means that the raw value is used as it is.
    pub knots: Vec<(f64, f64)>,
}

impl Calibration {
    /// The calibrated probability.
    pub fn apply(&self, raw: f64) -> f64 {
        let (Some(first), Some(last)) = (self.knots.first(), self.knots.last()) else {
            return raw;
        };
        if raw <= first.0 {
            return first.1;
        }
        for pair in self.knots.windows(2) {
            let ((from, low), (to, high)) = (pair[0], pair[1]);
            if raw <= to {
                return if to > from { low + (high - low) * ((raw - from) / (to - from)) } else { high };
            }
        }
        last.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> LevelPath {
        LevelPath::new(0.4, vec![6.0, 24.0, 48.0], vec![[0.45, 0.5, 0.6], [0.6, 0.7, 1.0], [0.8, 1.0, 1.6]])
    }

    #[test]
    fn crossing_quantiles_are_sorted_and_no_horizon_falls_below_an_earlier_one() {
        let path = LevelPath::new(0.4, vec![6.0, 24.0], vec![[0.6, 0.5, 0.45], [0.3, 0.9, 0.55]]);
        assert_eq!(path.at(6.0), [0.45, 0.5, 0.6]);
        assert_eq!(path.at(24.0), [0.45, 0.55, 0.9]);
    }

    #[test]
    fn hours_to_full_invert_the_path() {
        let path = path();
        let hours = path.hours_to(1.0, 336.0);
        assert!(hours[0] <= hours[1] && hours[1] <= hours[2]);
        assert_eq!(hours[0], 24.0);
        assert_eq!(hours[1], 48.0);
        // p10 goes on at its mean rate, (0.8 - 0.4) / 48 per hour.
        assert!((hours[2] - 72.0).abs() < 1e-9, "{hours:?}");
        assert_eq!(path.at(hours[2])[0], 1.0);
        assert_eq!(path.hours_to(1.0, 50.0)[2], 50.0);
    }

    #[test]
    fn a_full_container_is_full_now() {
        let path = LevelPath::new(1.0, vec![6.0], vec![[0.9, 1.0, 1.1]]);
        assert_eq!(path.hours_to(1.0, 336.0), [0.0; 3]);
        assert_eq!(path.probability_full(0.0, 1.0), 1.0);
    }

    #[test]
    fn a_path_that_never_rises_ends_at_the_cap() {
        let path = LevelPath::new(0.4, vec![6.0], vec![[0.3, 0.4, 0.5]]);
        assert_eq!(path.hours_to(1.0, 336.0)[1..], [336.0, 336.0]);
    }

    #[test]
    fn the_probability_matches_the_three_quantiles() {
        let path = path();
        assert!((path.probability_full(24.0, 1.0) - 0.1).abs() < 1e-9, "p90 is at full");
        assert!((path.probability_full(48.0, 1.0) - 0.5).abs() < 1e-9, "p50 is at full");
        assert!((path.probability_full(72.0, 1.0) - 0.9).abs() < 1e-9, "p10 is at full");
        let probabilities: Vec<f64> = (0..200).map(|hour| path.probability_full(f64::from(hour), 1.0)).collect();
        assert!(probabilities.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12), "{probabilities:?}");
    }

    #[test]
    fn calibration_interpolates_and_holds_its_ends() {
        let calibration = Calibration { knots: vec![(0.2, 0.1), (0.4, 0.1), (0.6, 0.9)] };
        assert_eq!([0.0, 0.3, 0.5, 1.0].map(|raw| calibration.apply(raw)), [0.1, 0.1, 0.5, 0.9]);
        assert_eq!(Calibration::default().apply(0.37), 0.37);
    }
}
