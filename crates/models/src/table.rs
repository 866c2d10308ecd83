//! A table of texts, one row per subject, as numbers for the trees: columns in which every value is a number stay
//! numbers, the others become categories. For data that have no time, so nothing for a topology to do.

use ws_inference::{FeatureKind, FeatureSpec};

use crate::TrainError;

/// A table ready to learn from.
#[derive(Clone, Debug)]
pub struct Table {
    /// The columns.
    pub features: Vec<FeatureSpec>,
    /// Row-major numbers, NaN where missing.
    pub values: Vec<f64>,
    /// What came, per row.
    pub labels: Vec<bool>,
}

impl Table {
    /// Rows of texts under `names`; empty ones are missing. `label` is the column to learn, true where it says
    /// `positive`; columns in `without` are left out.
    ///
    /// # Errors
    /// When the label's column is absent, a row is shorter than the names, or one class is absent.
    pub fn new(names: &[String], rows: &[Vec<String>], label: &str, positive: &str, without: &[String]) -> Result<Self, TrainError> {
        let absent = || TrainError::column(label, "is not in the file");
        let label_at = names.iter().position(|name| name == label).ok_or_else(absent)?;
        if let Some((line, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != names.len()) {
            return Err(TrainError::column(label, format!("row {} has {} values for {} columns", line + 1, row.len(), names.len())));
        }
        let chosen: Vec<usize> = (0..names.len()).filter(|at| *at != label_at && !without.contains(&names[*at])).collect();
        let features: Vec<FeatureSpec> = chosen
            .iter()
            .map(|at| {
                let known = || rows.iter().map(|row| row[*at].trim()).filter(|text| !text.is_empty());
                if known().all(|text| text.parse::<f64>().is_ok()) {
                    return FeatureSpec::number(names[*at].clone());
                }
                let mut categories: Vec<String> = known().map(str::to_owned).collect();
                categories.sort();
                categories.dedup();
                FeatureSpec { name: names[*at].clone(), kind: FeatureKind::Category, categories }
            })
            .collect();
        let mut values = Vec::with_capacity(rows.len() * chosen.len());
        for row in rows {
            for (spec, at) in features.iter().zip(&chosen) {
                let text = row[*at].trim();
                values.push(match spec.kind {
                    FeatureKind::Category => spec.categories.iter().position(|known| known == text).map_or(f64::NAN, |code| code as f64),
                    FeatureKind::Number | FeatureKind::Flag => text.parse().unwrap_or(f64::NAN),
                });
            }
        }
        let labels: Vec<bool> = rows.iter().map(|row| row[label_at].trim() == positive).collect();
        let hits = labels.iter().filter(|label| **label).count();
        if hits == 0 || hits == labels.len() {
            let message = format!("{hits} of {} rows have {label} = {positive}", labels.len());
            return Err(TrainError::TooLittle { message, hint: "name the value that is to be foretold" });
        }
        Ok(Self { features, values, labels })
    }

    /// A row's numbers.
    pub fn row(&self, row: usize) -> &[f64] {
        let width = self.features.len();
        &self.values[row * width..(row + 1) * width]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts(rows: &[[&str; 4]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|text| (*text).to_owned()).collect()).collect()
    }

    #[test]
    fn numbers_stay_numbers_and_words_become_sorted_categories() {
        let names = ["id", "plan", "fee", "left"].map(str::to_owned);
        let rows = texts(&[["a", "two year", "3.5", "No"], ["b", "monthly", " ", "Yes"], ["c", "monthly", "7", "No"]]);
        let table = Table::new(&names, &rows, "left", "Yes", &["id".to_owned()]).unwrap();
        assert_eq!(table.features[0].categories, ["monthly", "two year"]);
        assert_eq!((table.row(0), table.row(2)), ([1.0, 3.5].as_slice(), [0.0, 7.0].as_slice()));
        assert!(table.row(1)[1].is_nan());
        assert_eq!(table.labels, [false, true, false]);
        assert!(Table::new(&names, &rows, "gone", "Yes", &[]).unwrap_err().to_string().contains("gone"));
        assert!(Table::new(&names, &rows, "left", "yes", &[]).unwrap_err().to_string().contains("0 of 3"));
    }
}
