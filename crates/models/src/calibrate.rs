//! What makes intervals and probabilities mean what they say: a conformal adjustment per horizon and an isotonic
//! curve for probabilities, both fitted on the calibration part, which the trees have not seen.

use ws_inference::gbdt::WIDTH_FLOOR;
use ws_inference::manifest::{Horizon, rounded};
use ws_inference::path::Calibration;

use crate::metrics::quantile;

/// Below this many rows of either class a probability is left as it is.
const LEAST_OF_EACH_CLASS: usize = 30;
/// Groups that rows are binned into before the isotonic fit, so that it does not follow single rows.
const GROUPS: usize = 40;
/// Below this many rows a horizon's interval is left as it is.
const LEAST_ROWS: usize = 50;
/// An interval's end moves inwards by no more than this share of the width.
const MOST_INWARDS: f64 = -0.3;

/// One calibration row: raw `[p10, p50, p90]` and what happened.
pub type IntervalRow = ([f64; 3], f64);

/// Conformalized quantile regression (Romano et al. 2019), one-sided for each end and scaled by the interval's width:
/// each end moves by the factor that makes it hold for 90 % of the calibration rows. The guarantee is marginal and
/// assumes exchangeable rows; rows of one container are not independent, so coverage on new data is reported beside.
pub fn conformal(hours: f64, rows: &[IntervalRow]) -> Horizon {
    if rows.len() < LEAST_ROWS {
        return Horizon { hours, widen_low: 0.0, widen_high: 0.0 };
    }
    let share = (0.9 * (1.0 + 1.0 / rows.len() as f64)).min(1.0);
    let factor = |score: &dyn Fn(&IntervalRow) -> f64| {
        let mut scores: Vec<f64> = rows.iter().map(|row| score(row) / (row.0[2] - row.0[0] + WIDTH_FLOOR)).collect();
        rounded(quantile(&mut scores, share).max(MOST_INWARDS))
    };
    Horizon { hours, widen_low: factor(&|(q, actual)| q[0] - actual), widen_high: factor(&|(q, actual)| actual - q[2]) }
}

/// Isotonic regression of truth on raw probability: equal-count groups, then pooled until they do not decrease.
pub fn isotonic(rows: &[(f64, bool)]) -> Calibration {
    let positives = rows.iter().filter(|(_, truth)| *truth).count();
    if positives < LEAST_OF_EACH_CLASS || rows.len() - positives < LEAST_OF_EACH_CLASS {
        return Calibration::default();
    }
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    struct Pool {
        raw: f64,
        truth: f64,
        rows: f64,
    }
    let size = sorted.len().div_ceil(GROUPS);
    let mut pools: Vec<Pool> = Vec::new();
    for group in sorted.chunks(size) {
        let rows = group.len() as f64;
        let hits = group.iter().filter(|(_, truth)| *truth).count() as f64;
        pools.push(Pool { raw: group.iter().map(|(raw, _)| raw).sum(), truth: hits, rows });
        while let [.., a, b] = pools.as_slice() {
            if a.truth / a.rows < b.truth / b.rows {
                break;
            }
            let merged = Pool { raw: a.raw + b.raw, truth: a.truth + b.truth, rows: a.rows + b.rows };
            pools.truncate(pools.len() - 2);
            pools.push(merged);
        }
    }
    let mut knots: Vec<(f64, f64)> = Vec::new();
    for pool in &pools {
        // Half a row of each kind: no group of rows proves that a thing is impossible or certain.
        let calibrated = (pool.truth + 0.5) / (pool.rows + 1.0);
        let least = knots.last().map_or(0.0, |knot| knot.1);
        knots.push((rounded(pool.raw / pool.rows), rounded(calibrated.max(least))));
    }
    Calibration { knots }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;

    #[test]
    fn conformal_ends_hold_for_their_share_on_new_rows() {
        let mut random = SmallRng::seed_from_u64(5);
        // Far too narrow below, far too wide above.
        let mut draw = |count: usize| -> Vec<IntervalRow> { (0..count).map(|_| ([0.45, 0.5, 1.4], random.random::<f64>())).collect() };
        let horizon = conformal(24.0, &draw(4000));
        let new = draw(4000);
        let share = |hit: &dyn Fn(&IntervalRow, f64) -> bool| new.iter().filter(|row| hit(row, row.0[2] - row.0[0] + WIDTH_FLOOR)).count() as f64 / 4000.0;
        let below = share(&|(q, actual), width| *actual < q[0] - horizon.widen_low * width);
        assert!((below - 0.1).abs() < 0.02, "{below} {horizon:?}");
        // The upper end is pulled in as far as allowed.
        assert!((horizon.widen_high - MOST_INWARDS).abs() < 1e-9);
    }

    #[test]
    fn isotonic_mends_overconfidence_and_keeps_order() {
        let mut random = SmallRng::seed_from_u64(6);
        let rows: Vec<(f64, bool)> = (0..20_000)
            .map(|_| {
                let truth: f64 = random.random();
                // Overconfident: pushed away from one half.
                let raw = if truth > 0.5 { 1.0 - (1.0 - truth).powi(2) * 2.0 } else { truth.powi(2) * 2.0 };
                (raw, random.random::<f64>() < truth)
            })
            .collect();
        let calibration = isotonic(&rows);
        for raw in [0.02, 0.18, 0.5, 0.82] {
            let truth = if raw > 0.5 { 1.0 - ((1.0 - raw) / 2.0_f64).sqrt() } else { (raw / 2.0_f64).sqrt() };
            assert!((calibration.apply(raw) - truth).abs() < 0.05, "{raw} {} {truth}", calibration.apply(raw));
        }
        assert!(calibration.knots.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert!(calibration.apply(0.0) > 0.0 && calibration.apply(1.0) < 1.0);
    }

    #[test]
    fn too_few_of_a_class_leave_the_probability_alone() {
        let rows: Vec<(f64, bool)> = (0..500).map(|i| (0.3, i < 10)).collect();
        assert!(isotonic(&rows).knots.is_empty());
    }
}
