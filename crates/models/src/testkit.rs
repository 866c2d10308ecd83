//! Rows of `bin.features` for tests: single ones written by hand, and a small city whose containers fill by day,
//! are emptied on fixed rounds and have noisy sensors, some of them stuck.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// A row; unnamed columns are plausible constants.
#[derive(Clone, Debug)]
pub struct Row {
    pub device: String,
    pub hour: f64,
    pub received_delay_h: f64,
    pub level: f64,
    pub rate_24h: Option<f64>,
    pub rate_7d: Option<f64>,
    pub rate_since_emptied: Option<f64>,
    pub since_emptied_h: Option<f64>,
    pub silent_h: f64,
    pub hours_to_visit: Option<f64>,
    pub report_interval_s: f64,
    pub stuck: bool,
    pub jumping: bool,
    pub silent: bool,
    pub corrected: bool,
    pub waste_stream: &'static str,
    /// More columns by name, the same names in every row.
    pub extra: Vec<(&'static str, f64)>,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            device: "d1".to_owned(),
            hour: 0.0,
            received_delay_h: 0.0,
            level: 0.0,
            rate_24h: None,
            rate_7d: None,
            rate_since_emptied: None,
            since_emptied_h: None,
            silent_h: 0.0,
            hours_to_visit: None,
            report_interval_s: 3600.0,
            stuck: false,
            jumping: false,
            silent: false,
            corrected: false,
            waste_stream: "residual",
            extra: Vec::new(),
        }
    }
}

/// Rows as a batch.
pub fn batch(rows: &[Row]) -> RecordBatch {
    let ms = |hour: f64| (hour * 3_600_000.0).round() as i64;
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    let text = |f: &dyn Fn(&Row) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(f))) as ArrayRef;
    let time = |f: &dyn Fn(&Row) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(f))) as ArrayRef;
    let float = |f: &dyn Fn(&Row) -> Option<f64>| Arc::new(rows.iter().map(f).collect::<Float64Array>()) as ArrayRef;
    let flag = |f: &dyn Fn(&Row) -> bool| Arc::new(rows.iter().map(|row| Some(f(row))).collect::<BooleanArray>()) as ArrayRef;
    columns.push(("event_id", text(&|row| format!("{}-{}", row.device, row.hour))));
    columns.push(("device_id", text(&|row| row.device.clone())));
    columns.push(("container_id", text(&|row| format!("c-{}", row.device))));
    columns.push(("observed_at", time(&|row| ms(row.hour))));
    columns.push(("received_at", time(&|row| ms(row.hour + row.received_delay_h))));
    columns.push(("filling_level", float(&|row| Some(row.level))));
    columns.push(("rate_24h_per_h", float(&|row| row.rate_24h)));
    columns.push(("rate_7d_per_h", float(&|row| row.rate_7d)));
    columns.push(("rate_since_emptied_per_h", float(&|row| row.rate_since_emptied)));
    columns.push(("hours_since_emptied", float(&|row| row.since_emptied_h)));
    columns.push(("silent_h", float(&|row| Some(row.silent_h))));
    columns.push(("hour_of_day", float(&|row| Some(row.hour.rem_euclid(24.0)))));
    columns.push(("day_of_week", float(&|row| Some((row.hour / 24.0).floor().rem_euclid(7.0)))));
    columns.push(("hours_to_visit", float(&|row| row.hours_to_visit)));
    columns.push(("report_interval_s", float(&|row| Some(row.report_interval_s))));
    columns.push(("waste_stream", text(&|row| row.waste_stream.to_owned())));
    columns.push(("stuck", flag(&|row| row.stuck)));
    columns.push(("jumping", flag(&|row| row.jumping)));
    columns.push(("silent", flag(&|row| row.silent)));
    columns.push(("corrected", flag(&|row| row.corrected)));
    let extra = rows.first().map(|row| row.extra.clone()).unwrap_or_default();
    for (index, (name, _)) in extra.iter().enumerate() {
        columns.push((name, float(&|row| Some(row.extra[index].1).filter(|value| !value.is_nan()))));
    }
    let fields: Vec<Field> = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap_or_else(|error| panic!("{error}"))
}

/// The small city.
#[derive(Clone, Copy, Debug)]
pub struct City {
    pub bins: usize,
    pub days: usize,
    pub seed: u64,
    pub step_h: f64,
    /// Whether each row gets a column `future_hint`, the reading of a day later: the label.
    pub planted_leak: bool,
}

impl Default for City {
    fn default() -> Self {
        Self { bins: 60, days: 21, seed: 1, step_h: 1.0, planted_leak: false }
    }
}

impl City {
    /// Feature rows from readings up to `until_ms`, computed row by row from the past.
    pub fn features(&self, until_ms: i64) -> RecordBatch {
        let mut rows = Vec::new();
        for bin in 0..self.bins {
            self.bin(bin, until_ms, &mut rows);
        }
        batch(&rows)
    }

    fn bin(&self, bin: usize, until_ms: i64, rows: &mut Vec<Row>) {
        let mut random = SmallRng::seed_from_u64(self.seed * 1000 + bin as u64);
        let base = 0.004 + 0.014 * random.random::<f64>();
        let round_h = 24.0 * (2.0 + (bin % 4) as f64);
        let (mut truth, mut emptied_h): (f64, Option<f64>) = (0.3 * random.random::<f64>(), None);
        let mut next_visit_h = round_h * random.random::<f64>() + 8.0;
        let stuck_from_h = if bin % 12 == 5 { 200.0 } else { f64::INFINITY };
        let mut history: Vec<(f64, f64)> = Vec::new();
        let mut all: Vec<(f64, f64)> = Vec::new();
        let first = rows.len();
        let steps = (self.days as f64 * 24.0 / self.step_h) as usize;
        for step in 0..steps {
            let hour = step as f64 * self.step_h;
            let by_day = if (6.0..22.0).contains(&hour.rem_euclid(24.0)) { 1.5 } else { 0.0 };
            truth += base * by_day * self.step_h * (0.4 + 1.2 * random.random::<f64>());
            let (noise, lost, delay): (f64, f64, f64) = (random.random(), random.random(), random.random());
            if hour >= next_visit_h {
                truth = 0.02;
                emptied_h = Some(next_visit_h);
                next_visit_h += round_h;
                history.clear();
            }
            if lost < 0.03 || hour * 3_600_000.0 > until_ms as f64 {
                continue;
            }
            let stuck = hour >= stuck_from_h;
            let level = if stuck { 0.4 } else { (truth + (noise - 0.5) * 0.03).clamp(0.0, 1.0) };
            history.push((hour, level));
            all.push((hour, level));
            let rate = |window_h: f64| {
                let (from_h, from) = *history.iter().find(|(at, _)| *at >= hour - window_h)?;
                (hour - from_h >= 3.0).then(|| (level - from) / (hour - from_h))
            };
            rows.push(Row {
                device: format!("d{bin:03}"),
                hour,
                received_delay_h: delay * 0.02,
                level,
                rate_24h: rate(24.0),
                rate_7d: rate(168.0),
                rate_since_emptied: emptied_h.map(|at| level / (hour - at).max(1.0)),
                since_emptied_h: emptied_h.map(|at| hour - at),
                hours_to_visit: Some(next_visit_h - hour),
                report_interval_s: self.step_h * 3600.0,
                stuck,
                waste_stream: if bin.is_multiple_of(2) { "residual" } else { "paper" },
                ..Row::default()
            });
        }
        if self.planted_leak {
            for row in &mut rows[first..] {
                let later = all.iter().find(|(hour, _)| *hour >= row.hour + 24.0).map_or(f64::NAN, |(_, t)| *t);
                row.extra.push(("future_hint", later));
            }
        }
    }
}
