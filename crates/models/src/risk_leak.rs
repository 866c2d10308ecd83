//! No feature of a risk may know its label. Two looks: a column that alone tells the label almost perfectly, or whose
//! being missing does. An honest column cannot: what happens within weeks is never that sure. Truncation
//! ([`crate::assert_no_future`]) is the other, sharper check, on the features themselves.

use crate::TrainError;
use crate::metrics::auc;

/// Ranking by a single column that no honest one reaches.
const MOST_AUC: f64 = 0.985;
/// The same for whether a column is missing.
const MOST_AUC_MISSING: f64 = 0.9;
/// Fewer labels of either class prove nothing.
const LEAST_OF_EACH: usize = 25;

/// Refuses a column that gives the label away. `values` are row-major in the order of `names`.
///
/// # Errors
/// Naming the column.
pub fn check_label_leaks(names: &[&str], values: &[f64], labels: &[bool]) -> Result<(), TrainError> {
    let hits = labels.iter().filter(|label| **label).count();
    if hits < LEAST_OF_EACH || labels.len() - hits < LEAST_OF_EACH {
        return Ok(());
    }
    for (at, name) in names.iter().enumerate() {
        let column = || values.iter().skip(at).step_by(names.len().max(1));
        let two_sided = |pairs: &[(f64, bool)]| {
            let one = auc(pairs);
            one.max(1.0 - one)
        };
        let known: Vec<(f64, bool)> = column().zip(labels).filter(|(value, _)| value.is_finite()).map(|(value, label)| (*value, *label)).collect();
        let known_hits = known.iter().filter(|(_, label)| *label).count();
        if known_hits >= LEAST_OF_EACH && known.len() - known_hits >= LEAST_OF_EACH {
            let alone = two_sided(&known);
            if alone >= MOST_AUC {
                return Err(TrainError::Leak { message: format!("column {name} alone ranks the label with AUC {alone:.3}") });
            }
        }
        let missing: Vec<(f64, bool)> = column().zip(labels).map(|(value, label)| (f64::from(u8::from(value.is_nan())), *label)).collect();
        let alone = two_sided(&missing);
        if alone >= MOST_AUC_MISSING {
            return Err(TrainError::Leak { message: format!("whether column {name} is missing ranks the label with AUC {alone:.3}") });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rows(leak: impl Fn(usize, bool) -> f64) -> (Vec<f64>, Vec<bool>) {
        let labels: Vec<bool> = (0..1000).map(|i| i % 9 == 0).collect();
        let values = labels.iter().enumerate().flat_map(|(i, label)| [f64::from(u8::from(*label)) * 2.0 + (i % 7) as f64, leak(i, *label)]).collect();
        (values, labels)
    }

    #[test]
    fn a_column_that_knows_the_label_is_named_and_a_good_one_is_not() {
        let (values, labels) = rows(|i, label| if label { 20.0 + (i % 5) as f64 } else { 90.0 });
        let error = check_label_leaks(&["honest", "days_until_end"], &values, &labels).unwrap_err().to_string();
        assert!(error.contains("days_until_end") && error.contains("know the future"), "{error}");
        let (values, labels) = rows(|i, label| if label { f64::NAN } else { i as f64 });
        let error = check_label_leaks(&["honest", "next_invoice"], &values, &labels).unwrap_err().to_string();
        assert!(error.contains("next_invoice is missing"), "{error}");
        let (values, labels) = rows(|i, label| f64::from(u8::from(label)) + ((i * 31) % 11) as f64 / 5.0);
        check_label_leaks(&["honest", "telling"], &values, &labels).unwrap();
    }
}
