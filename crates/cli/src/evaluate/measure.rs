//! Sums of errors, shares and quantiles, as evaluations print them.

use serde_json::{Value, json};
use std::fmt;

/// Part of a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// The part.
    pub part: f64,
    /// The whole.
    pub all: f64,
}

impl Share {
    /// Adds something that belongs to the part or not.
    pub fn add(&mut self, belongs: bool, weight: f64) {
        self.part += if belongs { weight } else { 0.0 };
        self.all += weight;
    }

    /// 0 to 1; NaN of nothing.
    pub fn value(&self) -> f64 {
        self.part / self.all
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", 100.0 * self.value())
    }
}

/// Errors of speeds against true ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errors {
    absolute: f64,
    relative: f64,
    signed: f64,
    /// How many.
    pub count: usize,
}

impl Errors {
    /// Takes one.
    pub fn add(&mut self, found: f64, truth: f64) {
        self.absolute += (found - truth).abs();
        self.relative += (found - truth).abs() / truth;
        self.signed += (found - truth) / truth;
        self.count += 1;
    }

    /// Mean absolute error.
    pub fn mae(&self) -> f64 {
        self.absolute / self.count as f64
    }

    /// Mean absolute relative error, 0 to 1 and more.
    pub fn mape(&self) -> f64 {
        self.relative / self.count as f64
    }

    /// Mean relative error with its sign.
    pub fn bias(&self) -> f64 {
        self.signed / self.count as f64
    }

    /// As JSON.
    pub fn to_json(self) -> Value {
        json!({ "n": self.count, "mae_mps": self.mae(), "mape": self.mape(), "bias": self.bias() })
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MAE {:>5.2} m/s  MAPE {:>5.1} %  bias {:>+5.1} %", self.mae(), 100.0 * self.mape(), 100.0 * self.bias())
    }
}

/// Quantile of values; NaN of none.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = share * values.len().saturating_sub(1) as f64;
    values.get(at.round() as usize).copied().unwrap_or(f64::NAN)
}
