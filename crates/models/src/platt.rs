//! Platt's calibration: a logistic curve of the raw log-odds, `1 / (1 + exp(-(a·x + b)))`, fitted by Newton's method on
//! smoothed targets (Platt 1999; Lin, Lin, Weng 2007). Stored as knots of the curve, so that serving knows one kind of
//! calibration only.

use ws_inference::manifest::rounded;
use ws_inference::path::Calibration;

/// Newton steps at most.
const MOST_STEPS: usize = 100;
/// Knots that stand for the curve, evenly spaced in log-odds from -7 to 7.
const KNOTS: i32 = 57;

fn log_odds(probability: f64) -> f64 {
    let p = probability.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Fits the curve to `(raw probability, truth)`; without both classes the raw value stays.
pub fn platt(rows: &[(f64, bool)]) -> Calibration {
    let hits = rows.iter().filter(|(_, truth)| *truth).count() as f64;
    let misses = rows.len() as f64 - hits;
    if hits < 1.0 || misses < 1.0 {
        return Calibration::default();
    }
    let (high, low) = ((hits + 1.0) / (hits + 2.0), 1.0 / (misses + 2.0));
    let points: Vec<(f64, f64)> = rows.iter().map(|(raw, truth)| (log_odds(*raw), if *truth { high } else { low })).collect();
    let (mut a, mut b) = (1.0, 0.0);
    for _ in 0..MOST_STEPS {
        let (mut ga, mut gb, mut aa, mut ab, mut bb) = (0.0, 0.0, 1e-9, 0.0, 1e-9);
        for (x, target) in &points {
            let p = logistic(a * x + b);
            let (error, curve) = (p - target, p * (1.0 - p));
            ga += error * x;
            gb += error;
            aa += curve * x * x;
            ab += curve * x;
            bb += curve;
        }
        let determinant = aa * bb - ab * ab;
        if determinant.abs() < 1e-12 {
            break;
        }
        let (da, db) = ((bb * ga - ab * gb) / determinant, (aa * gb - ab * ga) / determinant);
        a -= da;
        b -= db;
        if da.abs() + db.abs() < 1e-10 {
            break;
        }
    }
    if !(a.is_finite() && b.is_finite()) || a <= 0.0 {
        return Calibration::default();
    }
    let knots = (0..KNOTS).map(|at| {
        let x = -7.0 + f64::from(at) * 14.0 / f64::from(KNOTS - 1);
        (rounded(logistic(x)), rounded(logistic(a * x + b)))
    });
    Calibration { knots: knots.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overconfident_score_is_pulled_back_and_order_stays() {
        // Raw log-odds are twice the true ones.
        let rows: Vec<(f64, bool)> = (0..20_000)
            .map(|i| {
                let x = f64::from(i % 200) / 50.0 - 2.0;
                let draw = f64::from((i * 7919) % 20_000) / 20_000.0;
                (logistic(2.0 * x), draw < logistic(x))
            })
            .collect();
        let calibration = platt(&rows);
        for x in [-1.5, -0.5, 0.0, 1.0] {
            assert!((calibration.apply(logistic(2.0 * x)) - logistic(x)).abs() < 0.02, "{x}");
        }
        assert!(calibration.knots.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
    }

    #[test]
    fn a_score_that_points_the_wrong_way_is_left_alone() {
        let rows: Vec<(f64, bool)> = (0..100).map(|i| (f64::from(i) / 100.0, i < 50)).collect();
        assert!(platt(&rows).knots.is_empty());
        assert!(platt(&[(0.3, true)]).knots.is_empty());
    }
}
