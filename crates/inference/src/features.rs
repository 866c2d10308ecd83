//! Columns → the numbers a tree compares. A missing value is NaN, a flag 0 or 1, a category its place in the list
//! the model was trained with (unknown ones are missing). The ordered names, kinds and categories are hashed: rows
//! that were built differently show a different feature hash in every prediction.

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::ModelError;

/// How a column becomes a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureKind {
    /// A float or integer, taken as it is.
    Number,
    /// A boolean, 0 or 1.
    Flag,
    /// A string, its index in the list of categories.
    Category,
}

/// One feature of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureSpec {
    /// The column.
    pub name: String,
    /// How it becomes a number.
    pub kind: FeatureKind,
    /// Known categories, sorted, for [`FeatureKind::Category`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
}

impl FeatureSpec {
    /// A numeric feature.
    pub fn number(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: FeatureKind::Number, categories: Vec::new() }
    }

    /// The kind that fits a column's type, or `None` when it cannot be a feature.
    pub fn kind_of(data_type: &DataType) -> Option<FeatureKind> {
        match data_type {
            DataType::Float64 | DataType::Int64 => Some(FeatureKind::Number),
            DataType::Boolean => Some(FeatureKind::Flag),
            DataType::Utf8 => Some(FeatureKind::Category),
            _ => None,
        }
    }
}

/// FNV-1a, 64 bits: names content, protects against mistakes and not against malice.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Hash of ordered feature names, kinds and categories, 16 hex digits.
pub fn feature_hash(features: &[FeatureSpec]) -> String {
    let mut text = String::new();
    for feature in features {
        text.push_str(&feature.name);
        text.push(match feature.kind {
            FeatureKind::Number => '#',
            FeatureKind::Flag => '?',
            FeatureKind::Category => '$',
        });
        text.push_str(&feature.categories.join("|"));
        text.push('\n');
    }
    format!("{:016x}", fnv1a(text.as_bytes()))
}

/// One column, ready to be read as numbers row by row.
pub enum NumberColumn {
    /// Floats.
    Float(Float64Array),
    /// Integers.
    Int(Int64Array),
    /// Flags.
    Flag(BooleanArray),
    /// Categories with the codes of the model.
    Category(StringArray, Vec<String>),
}

impl NumberColumn {
    /// Finds the feature's column in the rows.
    ///
    /// # Errors
    /// When the column is absent or its type does not fit the feature's kind.
    pub fn find(rows: &RecordBatch, feature: &FeatureSpec) -> Result<Self, ModelError> {
        let column =
            rows.column_by_name(&feature.name).ok_or_else(|| ModelError::Column { column: feature.name.clone(), message: "is not in the rows".to_owned() })?;
        let wrong = || ModelError::Column {
            column: feature.name.clone(),
            message: format!("has type {}, the model takes it as {:?}", column.data_type(), feature.kind),
        };
        match feature.kind {
            FeatureKind::Number => {
                if let Some(floats) = downcast::<Float64Array>(column) {
                    return Ok(Self::Float(floats));
                }
                downcast::<Int64Array>(column).map(Self::Int).ok_or_else(wrong)
            }
            FeatureKind::Flag => downcast::<BooleanArray>(column).map(Self::Flag).ok_or_else(wrong),
            FeatureKind::Category => downcast::<StringArray>(column).map(|strings| Self::Category(strings, feature.categories.clone())).ok_or_else(wrong),
        }
    }

    /// The number of a row, NaN when missing.
    pub fn value(&self, row: usize) -> f64 {
        match self {
            Self::Float(values) if values.is_valid(row) => values.value(row),
            Self::Int(values) if values.is_valid(row) => values.value(row) as f64,
            Self::Flag(values) if values.is_valid(row) => f64::from(u8::from(values.value(row))),
            Self::Category(values, codes) if values.is_valid(row) => {
                codes.binary_search_by(|code| code.as_str().cmp(values.value(row))).map_or(f64::NAN, |index| index as f64)
            }
            _ => f64::NAN,
        }
    }
}

fn downcast<T: Array + Clone + 'static>(column: &ArrayRef) -> Option<T> {
    column.as_any().downcast_ref::<T>().cloned()
}

/// The rows as a row-major matrix in the order of `features`.
///
/// # Errors
/// When a column is absent or of another type.
pub fn matrix(rows: &RecordBatch, features: &[FeatureSpec]) -> Result<Vec<f64>, ModelError> {
    let columns = features.iter().map(|feature| NumberColumn::find(rows, feature)).collect::<Result<Vec<_>, ModelError>>()?;
    let mut values = Vec::with_capacity(rows.num_rows() * columns.len());
    for row in 0..rows.num_rows() {
        values.extend(columns.iter().map(|column| column.value(row)));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn rows() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("level", DataType::Float64, true),
            Field::new("stuck", DataType::Boolean, false),
            Field::new("waste_stream", DataType::Utf8, true),
        ]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(Float64Array::from(vec![Some(0.5), None])),
                Arc::new(BooleanArray::from(vec![true, false])),
                Arc::new(StringArray::from(vec!["paper", "unheard-of"])),
            ],
        )
        .unwrap()
    }

    #[test]
    fn nulls_and_unknown_categories_are_missing() {
        let features = [
            FeatureSpec::number("level"),
            FeatureSpec { name: "stuck".into(), kind: FeatureKind::Flag, categories: vec![] },
            FeatureSpec { name: "waste_stream".into(), kind: FeatureKind::Category, categories: vec!["glass".into(), "paper".into()] },
        ];
        let values = matrix(&rows(), &features).unwrap();
        assert_eq!(&values[..3], &[0.5, 1.0, 1.0]);
        assert!(values[3].is_nan() && values[4] == 0.0 && values[5].is_nan());
    }

    #[test]
    fn an_absent_column_is_named() {
        let error = matrix(&rows(), &[FeatureSpec::number("rate_24h_per_h")]).unwrap_err().to_string();
        assert!(error.contains("rate_24h_per_h") && error.contains("hint"), "{error}");
    }

    #[test]
    fn the_hash_depends_on_order_and_categories() {
        let (a, b) = (FeatureSpec::number("a"), FeatureSpec::number("b"));
        assert_ne!(feature_hash(&[a.clone(), b.clone()]), feature_hash(&[b, a.clone()]));
        let mut category = FeatureSpec { name: "a".into(), kind: FeatureKind::Category, categories: vec![] };
        let before = feature_hash(std::slice::from_ref(&category));
        category.categories.push("paper".into());
        assert_ne!(before, feature_hash(&[category]));
        assert_ne!(before, feature_hash(&[a]));
    }
}
