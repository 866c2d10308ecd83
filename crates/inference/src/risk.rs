//! The columns of a risk, the same from every predictor: a probability within a horizon, what is left of a life where
//! it is known, and what raises the risk most. Churn and maintenance share them; what they mean is said by the
//! model's horizon and by the topic that they go to.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Float64Builder, Int64Builder, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use ws_stream::predict::Prediction;

use crate::ModelError;
use crate::features::{FeatureKind, FeatureSpec};

/// Probability within the horizon, 0 to 1.
pub const RISK: &str = "risk";
/// The horizon in days: whole number.
pub const HORIZON_DAYS: &str = "horizon_days";
/// Quantiles p10, p50, p90 of what is left, in the unit that the model's labels had (engine hours for vehicles).
pub const LIFE: [&str; 3] = ["remaining_life_h_p10", "remaining_life_h_p50", "remaining_life_h_p90"];
/// What raises the risk most, strongest first: a list of `{feature, contribution, text}`.
pub const DRIVERS: &str = "drivers";

/// Schema of the answer, with or without [`LIFE`].
pub fn schema(life: bool) -> SchemaRef {
    let mut fields = vec![Field::new(RISK, DataType::Float64, true), Field::new(HORIZON_DAYS, DataType::Int64, true)];
    if life {
        fields.extend(LIFE.map(|name| Field::new(name, DataType::Float64, true)));
    }
    fields.push(Field::new(DRIVERS, DataType::List(driver_item()), true));
    Arc::new(Schema::new(fields))
}

fn driver_fields() -> Fields {
    vec![Field::new("feature", DataType::Utf8, false), Field::new("contribution", DataType::Float64, false), Field::new("text", DataType::Utf8, true)].into()
}

fn driver_item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(driver_fields()), false))
}

/// One reason for a risk.
#[derive(Clone, Debug, PartialEq)]
pub struct Driver {
    /// The feature.
    pub feature: String,
    /// What it adds to the log-odds.
    pub contribution: f64,
    /// The feature and its value, in words.
    pub text: String,
}

/// The `most` features that raise the risk most, strongest first. Features that lower it are no drivers.
pub fn drivers(specs: &[FeatureSpec], values: &[f64], contributions: &[f64], most: usize) -> Vec<Driver> {
    let mut order: Vec<usize> = (0..specs.len().min(contributions.len())).filter(|index| contributions[*index] > 1e-4).collect();
    order.sort_by(|a, b| contributions[*b].total_cmp(&contributions[*a]).then(a.cmp(b)));
    order
        .into_iter()
        .take(most)
        .map(|index| Driver { feature: specs[index].name.clone(), contribution: contributions[index], text: in_words(&specs[index], values[index]) })
        .collect()
}

fn in_words(spec: &FeatureSpec, value: f64) -> String {
    let name = spec.name.replace('_', " ");
    match spec.kind {
        _ if value.is_nan() => format!("{name}: not known"),
        FeatureKind::Category => format!("{name}: {}", spec.categories.get(value as usize).map_or("other", String::as_str)),
        FeatureKind::Flag => format!("{name}: {}", if value == 0.0 { "no" } else { "yes" }),
        FeatureKind::Number if value.fract() == 0.0 && value.abs() < 1e15 => format!("{name}: {value:.0}"),
        FeatureKind::Number if value.abs() < 1.0 => format!("{name}: {value:.3}"),
        FeatureKind::Number => format!("{name}: {value:.1}"),
    }
}

/// Drivers as a column, null where there is no answer.
fn driver_column(rows: &[Option<Vec<Driver>>]) -> Result<ArrayRef, ModelError> {
    let all = || rows.iter().flatten().flatten();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(all().map(|driver| Some(driver.feature.as_str())).collect::<StringArray>()),
        // Four digits tell enough, and records stay short.
        Arc::new(all().map(|driver| Some((driver.contribution * 1e4).round() / 1e4)).collect::<Float64Array>()),
        Arc::new(all().map(|driver| Some(driver.text.as_str())).collect::<StringArray>()),
    ];
    let items = StructArray::try_new(driver_fields(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.as_ref().map_or(0, Vec::len)));
    let known: Vec<bool> = rows.iter().map(Option::is_some).collect();
    Ok(Arc::new(ListArray::try_new(driver_item(), offsets, Arc::new(items), Some(known.into()))?))
}

/// One answered row.
#[derive(Clone, Debug, PartialEq)]
pub struct RiskRow {
    /// Probability.
    pub risk: f64,
    /// p10, p50, p90, NaN when not known.
    pub life: [f64; 3],
    /// Reasons.
    pub drivers: Vec<Driver>,
}

/// Collects rows; `None` is a declined one.
pub struct RiskBuilder {
    horizon_days: i64,
    risk: Float64Builder,
    horizon: Int64Builder,
    life: Option<[Float64Builder; 3]>,
    drivers: Vec<Option<Vec<Driver>>>,
    declined: Vec<bool>,
}

impl RiskBuilder {
    /// For rows with this horizon.
    pub fn new(horizon_days: i64, life: bool) -> Self {
        Self {
            horizon_days,
            risk: Float64Builder::new(),
            horizon: Int64Builder::new(),
            life: life.then(Default::default),
            drivers: Vec::new(),
            declined: Vec::new(),
        }
    }

    /// Adds one row.
    pub fn push(&mut self, row: Option<&RiskRow>) {
        self.declined.push(row.is_none());
        self.risk.append_option(row.map(|row| row.risk));
        self.horizon.append_option(row.map(|_| self.horizon_days));
        if let Some(life) = &mut self.life {
            for (at, column) in life.iter_mut().enumerate() {
                column.append_option(row.map(|row| row.life[at]).filter(|value| !value.is_nan()));
            }
        }
        self.drivers.push(row.map(|row| row.drivers.clone()));
    }

    /// The answer.
    ///
    /// # Errors
    /// When arrow refuses the columns.
    pub fn finish(mut self) -> Result<Prediction, ModelError> {
        let schema = schema(self.life.is_some());
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.risk.finish()), Arc::new(self.horizon.finish())];
        for column in self.life.iter_mut().flatten() {
            arrays.push(Arc::new(column.finish()));
        }
        arrays.push(driver_column(&self.drivers)?);
        let columns = RecordBatch::try_new(schema, arrays)?;
        let declined = self.declined.contains(&true).then(|| BooleanArray::from(self.declined));
        Ok(Prediction { columns, declined })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};

    #[test]
    fn only_what_raises_the_risk_is_a_driver_strongest_first() {
        let specs = [
            FeatureSpec::number("missed_90d"),
            FeatureSpec::number("tenure_days"),
            FeatureSpec { name: "segment".into(), kind: FeatureKind::Category, categories: vec!["business".into(), "public".into()] },
            FeatureSpec::number("fee_change_365d"),
        ];
        let found = drivers(&specs, &[3.0, 700.0, 0.0, f64::NAN], &[0.4, -2.0, 0.9, 0.1], 2);
        assert_eq!(found.iter().map(|driver| driver.text.as_str()).collect::<Vec<_>>(), ["segment: business", "missed 90d: 3"]);
        assert_eq!(drivers(&specs, &[3.0, 700.0, 0.0, f64::NAN], &[0.0, -2.0, -0.9, 0.1], 5)[0].text, "fee change 365d: not known");
    }

    #[test]
    fn declined_rows_are_null_and_rows_without_reasons_have_an_empty_list() {
        let driver = |feature: &str| Driver { feature: feature.into(), contribution: 0.123_456, text: format!("{feature}: 1") };
        let row = |drivers: Vec<Driver>| RiskRow { risk: 0.5, life: [f64::NAN; 3], drivers };
        let mut builder = RiskBuilder::new(90, false);
        for row in [Some(row(vec![driver("a"), driver("b")])), None, Some(row(Vec::new()))] {
            builder.push(row.as_ref());
        }
        let answer = builder.finish().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(answer.columns.schema(), schema(false));
        let lists = answer.columns.column(2).as_list::<i32>();
        assert_eq!([0, 1, 2].map(|at| lists.is_valid(at).then(|| lists.value(at).len())), [Some(2), None, Some(0)]);
        let first = lists.value(0);
        let contributions = first.as_struct().column(1).as_primitive::<arrow::datatypes::Float64Type>();
        assert_eq!(contributions.values(), &[0.1235, 0.1235]);
        assert_eq!(answer.declined.map(|declined| declined.true_count()), Some(1));
    }
}
