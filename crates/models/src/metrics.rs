//! Scores: pure functions of predictions and truths.

/// Mean pinball loss of a quantile's predictions.
pub fn pinball(quantile: f64, pairs: &[(f64, f64)]) -> f64 {
    mean(pairs.iter().map(|(predicted, actual)| {
        let error = actual - predicted;
        if error >= 0.0 { quantile * error } else { (quantile - 1.0) * error }
    }))
}

/// Mean of an iterator, NaN when it is empty.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0u64);
    for value in values {
        sum += value;
        count += 1;
    }
    sum / count as f64
}

/// The value at a share of the sorted values (nearest rank), NaN when there are none.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil().max(1.0) as usize;
    values.get(rank.min(values.len()).wrapping_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Area under the ROC curve of `(score, truth)`; ties count half. NaN when one class is absent.
pub fn auc(pairs: &[(f64, bool)]) -> f64 {
    let scores: Vec<f64> = pairs.iter().map(|(score, _)| *score).collect();
    let ranks = ranks(&scores);
    let positives = pairs.iter().filter(|(_, truth)| *truth).count() as f64;
    let negatives = pairs.len() as f64 - positives;
    let sum: f64 = ranks.iter().zip(pairs).filter(|(_, (_, truth))| *truth).map(|(rank, _)| rank).sum();
    (sum - positives * (positives + 1.0) / 2.0) / (positives * negatives)
}

/// Average precision of `(score, truth)`: the mean precision at each positive, tied scores taken together.
pub fn average_precision(pairs: &[(f64, bool)]) -> f64 {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total = sorted.iter().filter(|(_, truth)| *truth).count() as f64;
    let (mut seen, mut hits, mut sum) = (0.0, 0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let new = tied.iter().filter(|(_, truth)| *truth).count() as f64;
        seen += tied.len() as f64;
        hits += new;
        sum += new * hits / seen;
    }
    sum / total
}

/// Brier score of `(probability, truth)`.
pub fn brier(pairs: &[(f64, bool)]) -> f64 {
    mean(pairs.iter().map(|(probability, truth)| (probability - f64::from(u8::from(*truth))).powi(2)))
}

/// Logarithmic loss of `(probability, truth)`; probabilities are kept off 0 and 1.
pub fn log_loss(pairs: &[(f64, bool)]) -> f64 {
    mean(pairs.iter().map(|(probability, truth)| {
        let p = probability.clamp(1e-9, 1.0 - 1e-9);
        if *truth { -p.ln() } else { -(1.0 - p).ln() }
    }))
}

/// How much more frequent the truth is among the highest `share` of the scores than overall. Ties at the border count
/// in proportion. NaN without any truth.
pub fn lift(pairs: &[(f64, bool)], share: f64) -> f64 {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let wanted = (pairs.len() as f64 * share).floor().max(1.0);
    let (mut seen, mut hits) = (0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let part = ((wanted - seen) / tied.len() as f64).clamp(0.0, 1.0);
        hits += part * tied.iter().filter(|(_, truth)| *truth).count() as f64;
        seen += tied.len() as f64;
    }
    let base = pairs.iter().filter(|(_, truth)| *truth).count() as f64 / pairs.len() as f64;
    hits / wanted / base
}

/// Expected calibration error of `(probability, truth)`: in ten groups of equal size, the mean distance between what was
/// said and what came.
pub fn calibration_error(pairs: &[(f64, bool)]) -> f64 {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = sorted.len().div_ceil(10).max(1);
    let sum: f64 = sorted
        .chunks(size)
        .map(|group| {
            let said: f64 = group.iter().map(|(probability, _)| probability).sum();
            let came = group.iter().filter(|(_, truth)| *truth).count() as f64;
            (said - came).abs()
        })
        .sum();
    sum / sorted.len() as f64
}

/// Root mean square of `predicted - actual`.
pub fn rmse(pairs: &[(f64, f64)]) -> f64 {
    mean(pairs.iter().map(|(predicted, actual)| (predicted - actual).powi(2))).sqrt()
}

/// NASA's score of remaining lives (Saxena et al. 2008, PHM data challenge): a sum in which a life told too long counts
/// more than one told too short.
pub fn nasa_score(pairs: &[(f64, f64)]) -> f64 {
    pairs
        .iter()
        .map(|(predicted, actual)| {
            let error = predicted - actual;
            if error < 0.0 { (-error / 13.0).exp() - 1.0 } else { (error / 10.0).exp() - 1.0 }
        })
        .sum()
}

/// Spearman's rank correlation of the pairs in which both are numbers; `None` below 30 of them or without spread.
pub fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let both: Vec<(f64, f64)> = a.iter().zip(b).filter(|(a, b)| a.is_finite() && b.is_finite()).map(|(a, b)| (*a, *b)).collect();
    if both.len() < 30 {
        return None;
    }
    let a = ranks(&both.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let b = ranks(&both.iter().map(|pair| pair.1).collect::<Vec<_>>());
    let middle = (both.len() as f64 + 1.0) / 2.0;
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        ab += (a - middle) * (b - middle);
        aa += (a - middle).powi(2);
        bb += (b - middle).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// Ranks from 1, ties share their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = first as f64 + (tied.len() as f64 + 1.0) / 2.0;
        for index in tied {
            ranks[*index] = rank;
        }
        first += tied.len();
    }
    ranks
}

/// Harrell's concordance of predicted with observed times, of which some are censored (`true` = observed): the share
/// of comparable pairs in the right order. NaN when there are none. Quadratic: give it a sample.
pub fn concordance(rows: &[(f64, f64, bool)]) -> f64 {
    let (mut right, mut pairs) = (0.0, 0u64);
    for (predicted, time, observed) in rows {
        if !observed {
            continue;
        }
        for (other_predicted, other_time, other_observed) in rows {
            if other_time > time || (other_time == time && !other_observed) {
                pairs += 1;
                right += match predicted.total_cmp(other_predicted) {
                    std::cmp::Ordering::Less => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Greater => 0.0,
                };
            }
        }
    }
    right / pairs as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_and_average_precision_match_worked_examples() {
        let pairs = [(0.1, false), (0.4, false), (0.35, true), (0.8, true)];
        assert!((auc(&pairs) - 0.75).abs() < 1e-12);
        assert!((average_precision(&pairs) - 0.833_333_333).abs() < 1e-6);
        let tied = [(0.5, false), (0.5, true), (0.5, false), (0.5, true)];
        assert!((auc(&tied) - 0.5).abs() < 1e-12 && (average_precision(&tied) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn pinball_is_least_at_the_quantile() {
        let actual: Vec<f64> = (0..1000).map(|i| f64::from(i) / 1000.0).collect();
        let loss = |guess: f64| pinball(0.9, &actual.iter().map(|a| (guess, *a)).collect::<Vec<_>>());
        assert!(loss(0.9) < loss(0.85) && loss(0.9) < loss(0.95));
        assert!((quantile(&mut actual.clone(), 0.9) - 0.899).abs() < 1e-9);
    }

    #[test]
    fn lift_and_calibration_match_worked_examples() {
        // 20 rows, 4 true; the best two are true: lift 1 / 0.2.
        let pairs: Vec<(f64, bool)> = (0..20).map(|i| (1.0 - f64::from(i) / 20.0, [0, 1, 7, 15].contains(&i))).collect();
        assert!((lift(&pairs, 0.1) - 5.0).abs() < 1e-12);
        let tied: Vec<(f64, bool)> = (0..20).map(|i| (0.2, i < 4)).collect();
        assert!((lift(&tied, 0.1) - 1.0).abs() < 1e-12, "who cannot rank lifts nothing");
        assert!(calibration_error(&[(0.0, false), (1.0, true)]) < 1e-12);
        let over: Vec<(f64, bool)> = (0..1000).map(|i| (0.9, i % 10 < 7)).collect();
        assert!((calibration_error(&over) - 0.2).abs() < 1e-9);
        assert!((log_loss(&[(0.5, true), (0.5, false)]) - 2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_life_told_too_long_scores_worse_than_one_told_too_short() {
        assert!((nasa_score(&[(10.0, 20.0)]) - ((10.0f64 / 13.0).exp() - 1.0)).abs() < 1e-12);
        assert!(nasa_score(&[(30.0, 20.0)]) > nasa_score(&[(10.0, 20.0)]));
        assert!((rmse(&[(1.0, 4.0), (2.0, 6.0)]) - 12.5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn rank_correlation_sees_order_and_not_scale() {
        let a: Vec<f64> = (0..50).map(f64::from).collect();
        let b: Vec<f64> = a.iter().map(|x| x.exp()).collect();
        assert!((rank_correlation(&a, &b).unwrap_or(0.0) - 1.0).abs() < 1e-9);
        assert!(rank_correlation(&a[..20], &b[..20]).is_none());
    }

    #[test]
    fn concordance_uses_censored_rows_only_where_they_tell_something() {
        // The censored row outlived the first; against the second nothing is known.
        let rows = [(1.0, 5.0, true), (2.0, 9.0, true), (3.0, 7.0, false)];
        assert!((concordance(&rows) - 1.0).abs() < 1e-12);
        let wrong = [(9.0, 5.0, true), (2.0, 9.0, true), (3.0, 7.0, false)];
        assert!(concordance(&wrong).abs() < 1e-12);
    }
}
