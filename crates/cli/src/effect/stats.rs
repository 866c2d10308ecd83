//! The few statistics of the comparison: means with intervals over seeds, and a figure at a given overflow.

/// 97.5 % quantile of Student's t by degrees of freedom, from 1; beyond the table that of the normal distribution.
const T_975: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074,
    2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// A mean over seeds and half of its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    pub mean: f64,
    /// Infinite for a single value.
    pub half: f64,
    pub count: usize,
}

/// Mean and t interval; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<Mean> {
    let count = values.len();
    if count == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count as f64;
    let half = match count {
        1 => f64::INFINITY,
        _ => {
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1) as f64;
            T_975.get(count - 2).copied().unwrap_or(1.96) * (variance / count as f64).sqrt()
        }
    };
    Some(Mean { mean, half, count })
}

/// The figure that a policy would have at `overflow`: between the neighbouring settings of its knob, linear in the
/// logarithm of the overflow. `points` are (overflow, figure) in the order of the knob. `None` outside of what was run: nothing
/// is extrapolated. Where noise makes the line cross more than once, the mean of the crossings.
pub fn at_overflow(points: &[(f64, f64)], overflow: f64) -> Option<f64> {
    let scale = |overflow: f64| (overflow + LEAST_DAYS).ln();
    let wanted = scale(overflow);
    let mut found = Vec::new();
    for pair in points.windows(2) {
        let (from, to) = (scale(pair[0].0), scale(pair[1].0));
        let (low, high) = (from.min(to), from.max(to));
        if (low..=high).contains(&wanted) {
            let share = if high > low { (wanted - from) / (to - from) } else { 0.5 };
            found.push(pair[0].1 + (pair[1].1 - pair[0].1) * share);
        }
    }
    (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
}

/// Bin-days below which differences of overflow do not matter.
const LEAST_DAYS: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        let of = mean(&[1.0, 2.0, 3.0, 4.0]).unwrap_or(Mean { mean: 0.0, half: 0.0, count: 0 });
        assert!((of.mean - 2.5).abs() < 1e-12 && (of.half - 3.182 * (5.0_f64 / 3.0 / 4.0).sqrt()).abs() < 1e-9 && of.count == 4);
        assert_eq!(mean(&[7.0]).map(|of| (of.mean, of.half.is_infinite())), Some((7.0, true)));
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn figures_are_read_off_between_settings_and_never_beyond() {
        let points = [(99.0, 10.0), (9.0, 20.0), (0.0, 30.0)];
        assert_eq!(at_overflow(&points, 9.0), Some(20.0));
        // ln 10 lies between ln 1 and ln 100.
        assert!((at_overflow(&[(99.0, 10.0), (0.0, 30.0)], 9.0).unwrap_or(0.0) - 20.0).abs() < 1e-9);
        assert!(at_overflow(&points, 30.0).is_some_and(|figure| (10.0..20.0).contains(&figure)));
        assert_eq!(at_overflow(&points, 100.0), None);
        assert_eq!(at_overflow(&points[..1], 99.0), None);
        assert_eq!(at_overflow(&[(5.0, 1.0), (5.0, 3.0)], 5.0), Some(2.0));
    }
}
