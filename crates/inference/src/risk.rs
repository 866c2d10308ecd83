//! The columns of a risk, the same from every predictor: a probability within a horizon, what is left of a life where
//! it is known, and what raises the risk most. Churn and maintenance share them; what they mean is said by the
//! model's horizon and by the topic that they go to.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Builder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use ws_stream::predict::Prediction;

use crate::ModelError;
use crate::features::{FeatureKind, FeatureSpec};

/// Probability within the horizon, 0 to 1.
pub const RISK: &str = "risk";
/// The horizon in days: whole number.
pub const HORIZON_DAYS: &str = "horizon_days";
/// Quantiles p10, p50, p90 of what is left, in the unit that the model's labels had (engine hours for vehicles).
pub const LIFE: [&str; 3] = ["remaining_life_h_p10", "remaining_life_h_p50", "remaining_life_h_p90"];
/// What raises the risk most, strongest first: a JSON array of `{feature, contribution, text}`.
pub const DRIVERS: &str = "drivers";

/// Schema of the answer, with or without [`LIFE`].
pub fn schema(life: bool) -> SchemaRef {
    let mut fields = vec![Field::new(RISK, DataType::Float64, true), Field::new(HORIZON_DAYS, DataType::Int64, true)];
    if life {
        fields.extend(LIFE.map(|name| Field::new(name, DataType::Float64, true)));
    }
    fields.push(Field::new(DRIVERS, DataType::Utf8, true));
    Arc::new(Schema::new(fields))
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

/// Drivers as the JSON text that the output's schema takes.
pub fn to_json(drivers: &[Driver]) -> String {
    let list: Vec<serde_json::Value> = drivers
        .iter()
        .map(|driver| serde_json::json!({ "feature": driver.feature, "contribution": (driver.contribution * 1e4).round() / 1e4, "text": driver.text }))
        .collect();
    serde_json::Value::Array(list).to_string()
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
    drivers: StringBuilder,
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
            drivers: StringBuilder::new(),
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
        self.drivers.append_option(row.map(|row| to_json(&row.drivers)));
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
        arrays.push(Arc::new(self.drivers.finish()));
        let columns = RecordBatch::try_new(schema, arrays)?;
        let declined = self.declined.contains(&true).then(|| BooleanArray::from(self.declined));
        Ok(Prediction { columns, declined })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            to_json(&found),
            r#"[{"contribution":0.9,"feature":"segment","text":"segment: business"},{"contribution":0.4,"feature":"missed_90d","text":"missed 90d: 3"}]"#
        );
        assert_eq!(drivers(&specs, &[3.0, 700.0, 0.0, f64::NAN], &[0.0, -2.0, -0.9, 0.1], 5)[0].text, "fee change 365d: not known");
    }
}
