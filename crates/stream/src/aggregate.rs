//! Aggregates over panes. A pane is a fixed row of numbers; each aggregate call reads some of them, and calls with
//! the same argument share theirs. Panes are updated row by row, merged into windows, and read out at emission.
//!
//! Spread and slope are kept as means and centred moments (Welford, Chan et al.), not as sums of squares: two readings
//! a second apart, two weeks into a window, would drown in the rounding of Σt². Times inside a pane are seconds
//! relative to its start; merging shifts them. NaN is treated as null. The layout is part of the state format.

use crate::expr::{ExprError, ExprRef};
use crate::operator::OperatorError;
use crate::spec::{AggCall, AggFn};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, Int64Builder, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type};
use std::sync::Arc;

/// The slots of one argument. `count` counts its non-null values.
#[derive(Clone, Debug)]
struct ArgSlots {
    expr: Option<ExprRef>,
    count: usize,
    sum: Option<usize>,
    min: Option<usize>,
    max: Option<usize>,
    /// Time, value.
    first: Option<usize>,
    /// Time, value.
    last: Option<usize>,
    /// Time, value of the latest and of the one before it.
    latest_two: Option<usize>,
    /// Mean time, mean value, and the centred sums tt, tv, vv.
    moments: Option<usize>,
    /// Longest horizon of its calls, ms.
    reach_ms: i64,
    /// Only counted so far: the expression need not yield the values themselves, just null or not.
    presence: bool,
}

/// How a list of aggregate calls maps to slots of a pane.
#[derive(Clone, Debug)]
pub struct AggPlan {
    args: Vec<ArgSlots>,
    /// Function, argument, horizon (ms, `i64::MAX` for none).
    calls: Vec<(AggFn, usize, i64)>,
    template: Box<[f64]>,
}

/// The arguments of a batch, evaluated.
#[derive(Debug)]
pub struct Args {
    columns: Vec<Option<Float64Array>>,
}

impl AggPlan {
    /// Plans the calls; the first `reserved` slots of every pane stay zero, for the caller's own use.
    pub fn new(calls: &[AggCall], reserved: usize) -> Self {
        let mut template = vec![0.0; reserved];
        let mut slots = |initial: &[f64]| {
            template.extend_from_slice(initial);
            template.len() - initial.len()
        };
        let mut args: Vec<ArgSlots> = Vec::new();
        let mut planned = Vec::new();
        for call in calls {
            let reach_ms = call.horizon_ms.unwrap_or(i64::MAX);
            let text = |e: &Option<ExprRef>| e.as_ref().map(|e| e.text().to_string());
            let at = match args.iter().position(|a| text(&a.expr) == text(&call.arg)) {
                Some(at) => at,
                None => {
                    args.push(ArgSlots {
                        expr: call.arg.clone(),
                        count: slots(&[0.0]),
                        sum: None,
                        min: None,
                        max: None,
                        first: None,
                        last: None,
                        latest_two: None,
                        moments: None,
                        reach_ms,
                        presence: true,
                    });
                    args.len() - 1
                }
            };
            let arg = &mut args[at];
            arg.reach_ms = arg.reach_ms.max(reach_ms);
            if arg.presence && call.function != AggFn::Count {
                (arg.presence, arg.expr) = (false, call.arg.clone());
            }
            let (slot, initial): (&mut Option<usize>, &[f64]) = match call.function {
                AggFn::Count => (&mut None, &[]),
                AggFn::Sum | AggFn::Avg => (&mut arg.sum, &[0.0]),
                AggFn::Min => (&mut arg.min, &[f64::INFINITY]),
                AggFn::Max => (&mut arg.max, &[f64::NEG_INFINITY]),
                AggFn::First => (&mut arg.first, &[f64::INFINITY, 0.0]),
                AggFn::Last => (&mut arg.last, &[f64::NEG_INFINITY, 0.0]),
                AggFn::Previous => (&mut arg.latest_two, &[f64::NEG_INFINITY, 0.0, f64::NEG_INFINITY, 0.0]),
                AggFn::Stddev | AggFn::Slope | AggFn::Residual => (&mut arg.moments, &[0.0; 5]),
            };
            if slot.is_none() {
                *slot = Some(slots(initial));
            }
            planned.push((call.function, at, reach_ms));
        }
        AggPlan { args, calls: planned, template: template.into() }
    }

    /// An empty pane.
    pub fn empty(&self) -> Box<[f64]> {
        self.template.clone()
    }

    /// Slots of a pane, the reserved ones included.
    pub fn width(&self) -> usize {
        self.template.len()
    }

    /// Evaluates the arguments for a whole batch.
    pub fn evaluate(&self, rows: &RecordBatch) -> Result<Args, ExprError> {
        let columns = self.args.iter().map(|a| a.expr.as_ref().map(|e| evaluate_f64(e, rows)).transpose());
        Ok(Args { columns: columns.collect::<Result<_, _>>()? })
    }

    /// Takes row `i` of a batch into a pane. Time `t_ms` must not lie before `start_ms` by more than 2^53 ms.
    #[inline]
    pub fn update(&self, pane: &mut [f64], start_ms: i64, t_ms: i64, args: &Args, i: usize) {
        for (arg, column) in self.args.iter().zip(&args.columns) {
            let Some(column) = column else {
                pane[arg.count] += 1.0;
                continue;
            };
            let v = column.values()[i];
            if v.is_nan() || column.is_null(i) {
                continue;
            }
            pane[arg.count] += 1.0;
            if let Some(s) = arg.sum {
                pane[s] += v;
            }
            if let Some(s) = arg.min {
                pane[s] = pane[s].min(v);
            }
            if let Some(s) = arg.max {
                pane[s] = pane[s].max(v);
            }
            if let Some(s) = arg.first
                && (t_ms as f64) < pane[s]
            {
                (pane[s], pane[s + 1]) = (t_ms as f64, v);
            }
            if let Some(s) = arg.last
                && (t_ms as f64) >= pane[s]
            {
                (pane[s], pane[s + 1]) = (t_ms as f64, v);
            }
            if let Some(s) = arg.latest_two {
                insert_latest(&mut pane[s..s + 4], t_ms as f64, v);
            }
            if let Some(s) = arg.moments {
                let t = (t_ms - start_ms) as f64 / 1000.0;
                let n = pane[arg.count];
                let m = &mut pane[s..s + 5];
                let (dt, dv) = (t - m[0], v - m[1]);
                m[0] += dt / n;
                m[1] += dv / n;
                m[2] += dt * (t - m[0]);
                m[3] += dt * (v - m[1]);
                m[4] += dv * (v - m[1]);
            }
        }
    }

    /// Adds pane `from` (starting at `from_ms`) to `into` (whose times are relative to `into_ms`).
    pub fn merge(&self, into: &mut [f64], into_ms: i64, from: &[f64], from_ms: i64) {
        self.merge_within(into, into_ms, from, from_ms, i64::MIN);
    }

    /// As [`AggPlan::merge`], for a pane `age_ms` old: what only calls with shorter horizons read is left out.
    pub fn merge_within(&self, into: &mut [f64], into_ms: i64, from: &[f64], from_ms: i64, age_ms: i64) {
        for arg in &self.args {
            let more = from[arg.count];
            if more == 0.0 || arg.reach_ms < age_ms {
                continue;
            }
            if let Some(s) = arg.sum {
                into[s] += from[s];
            }
            if let Some(s) = arg.min {
                into[s] = into[s].min(from[s]);
            }
            if let Some(s) = arg.max {
                into[s] = into[s].max(from[s]);
            }
            if let Some(s) = arg.first
                && from[s] < into[s]
            {
                (into[s], into[s + 1]) = (from[s], from[s + 1]);
            }
            if let Some(s) = arg.last
                && from[s] > into[s]
            {
                (into[s], into[s + 1]) = (from[s], from[s + 1]);
            }
            if let Some(s) = arg.latest_two {
                for at in [s + 2, s] {
                    if from[at] > f64::NEG_INFINITY {
                        insert_latest(&mut into[s..s + 4], from[at], from[at + 1]);
                    }
                }
            }
            if let Some(s) = arg.moments {
                let shift = (from_ms - into_ms) as f64 / 1000.0;
                let n = into[arg.count];
                let (a, b) = (&mut into[s..s + 5], &from[s..s + 5]);
                let (dt, dv) = (b[0] + shift - a[0], b[1] - a[1]);
                let share = more / (n + more);
                a[0] += dt * share;
                a[1] += dv * share;
                let weight = n * share;
                a[2] += b[2] + dt * dt * weight;
                a[3] += b[3] + dt * dv * weight;
                a[4] += b[4] + dv * dv * weight;
            }
            into[arg.count] += more;
        }
    }

    /// The result of call `call` over a merged pane; `None` is null.
    pub fn finish(&self, call: usize, pane: &[f64]) -> Option<f64> {
        let (function, arg, _) = self.calls[call];
        let arg = &self.args[arg];
        let n = pane[arg.count];
        if function == AggFn::Count {
            return Some(n);
        }
        if n == 0.0 {
            return None;
        }
        let slots = |s: Option<usize>| s.map_or(&[0.0; 5][..], |s| &pane[s..]);
        match function {
            AggFn::Count => None,
            AggFn::Sum => Some(slots(arg.sum)[0]),
            AggFn::Avg => Some(slots(arg.sum)[0] / n),
            AggFn::Min => Some(slots(arg.min)[0]),
            AggFn::Max => Some(slots(arg.max)[0]),
            AggFn::First => Some(slots(arg.first)[1]),
            AggFn::Last => Some(slots(arg.last)[1]),
            AggFn::Previous => {
                let two = slots(arg.latest_two);
                (two[2] > f64::NEG_INFINITY).then(|| two[3])
            }
            AggFn::Stddev => (n > 1.0).then(|| (slots(arg.moments)[4] / (n - 1.0)).sqrt()),
            AggFn::Slope | AggFn::Residual => {
                let m = slots(arg.moments);
                let (tt, tv, vv) = (m[2], m[3], m[4]);
                match (tt > 0.0, function) {
                    (false, _) => None,
                    (true, AggFn::Slope) => Some(tv / tt),
                    (true, _) => Some(((vv - tv * tv / tt).max(0.0) / n).sqrt()),
                }
            }
        }
    }

    /// Number of calls.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The horizon of a call, ms; `i64::MAX` without one.
    pub fn horizon_ms(&self, call: usize) -> i64 {
        self.calls[call].2
    }

    /// Fields `agg0`, `agg1` … of the results: Int64 for `count`, nullable Float64 for the others.
    pub fn fields(calls: &[AggCall]) -> Vec<Field> {
        let field = |(i, c): (usize, &AggCall)| match c.function {
            AggFn::Count => Field::new(format!("agg{i}"), DataType::Int64, false),
            _ => Field::new(format!("agg{i}"), DataType::Float64, true),
        };
        calls.iter().enumerate().map(field).collect()
    }

    /// A collector of results, one row per emission.
    pub fn results(&self) -> Results {
        let column = |(function, _, _): &(AggFn, usize, i64)| match function {
            AggFn::Count => ResultColumn::Count(Int64Builder::new()),
            _ => ResultColumn::Value(Float64Builder::new()),
        };
        Results { columns: self.calls.iter().map(column).collect() }
    }
}

/// Takes a value into (latest time, value, time before, value): of equal times the later arrival counts as later.
fn insert_latest(two: &mut [f64], t: f64, v: f64) {
    if t >= two[0] {
        (two[2], two[3]) = (two[0], two[1]);
        (two[0], two[1]) = (t, v);
    } else if t >= two[2] {
        (two[2], two[3]) = (t, v);
    }
}

#[derive(Debug)]
enum ResultColumn {
    Count(Int64Builder),
    Value(Float64Builder),
}

/// Results of all calls as columns, in the types of [`AggPlan::fields`].
#[derive(Debug)]
pub struct Results {
    columns: Vec<ResultColumn>,
}

impl Results {
    /// Appends the result of one call; each row needs one of every call.
    pub fn push(&mut self, call: usize, value: Option<f64>) {
        match &mut self.columns[call] {
            ResultColumn::Count(b) => b.append_value(value.unwrap_or(0.0) as i64),
            ResultColumn::Value(b) => b.append_option(value),
        }
    }
    /// The columns; empty afterwards.
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        let finish = |c: &mut ResultColumn| -> ArrayRef {
            match c {
                ResultColumn::Count(b) => Arc::new(b.finish()),
                ResultColumn::Value(b) => Arc::new(b.finish()),
            }
        };
        self.columns.iter_mut().map(finish).collect()
    }
}

/// Evaluates an expression as Float64, whatever number type it yields.
pub fn evaluate_f64(expr: &ExprRef, rows: &RecordBatch) -> Result<Float64Array, ExprError> {
    let values = expr.evaluate(rows)?;
    let fail = |message: String| ExprError { expression: expr.text().to_string(), message };
    if values.len() != rows.num_rows() {
        return Err(fail(format!("{} values for {} rows", values.len(), rows.num_rows())));
    }
    let values = match values.data_type() {
        DataType::Float64 => values,
        _ => arrow::compute::cast(&values, &DataType::Float64).map_err(|e| fail(e.to_string()))?,
    };
    Ok(values.as_primitive::<Float64Type>().clone())
}

/// A column as Float64 is what every aggregate takes; the plan promises it.
pub fn check_numeric(calls: &[AggCall]) -> Result<(), OperatorError> {
    for arg in calls.iter().filter_map(|c| c.arg.as_ref()) {
        if !arg.data_type().is_numeric() && arg.data_type() != DataType::Boolean {
            return Err(OperatorError::Column { column: arg.text().to_string(), expected: "a number" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::op::testing::{Col, column, rows};

    const ALL: [AggFn; 10] =
        [AggFn::Count, AggFn::Sum, AggFn::Avg, AggFn::Min, AggFn::Max, AggFn::First, AggFn::Last, AggFn::Stddev, AggFn::Slope, AggFn::Residual];

    fn plan() -> AggPlan {
        let arg = column("v", DataType::Float64);
        let call = |function| AggCall { function, arg: Some(arg.clone()), horizon_ms: None };
        AggPlan::new(&ALL.map(call), 2)
    }

    /// Folds (time, value) pairs into panes of `pane_ms` and merges them in ascending order.
    fn over(values: &[(i64, Option<f64>)], pane_ms: i64) -> Vec<Option<f64>> {
        let plan = plan();
        let batch = rows(&[("v", Col::F(values.iter().map(|v| v.1).collect()))], &values.iter().map(|v| v.0).collect::<Vec<_>>());
        let args = plan.evaluate(&batch).unwrap();
        let mut panes = std::collections::BTreeMap::new();
        for (i, (t, _)) in values.iter().enumerate() {
            let start = t - t.rem_euclid(pane_ms);
            plan.update(panes.entry(start).or_insert_with(|| plan.empty()), start, *t, &args, i);
        }
        let base = panes.keys().next().copied().unwrap_or(0);
        let mut whole = plan.empty();
        for (start, pane) in &panes {
            plan.merge(&mut whole, base, pane, *start);
        }
        (0..ALL.len()).map(|c| plan.finish(c, &whole)).collect()
    }

    fn close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() <= 1e-9 * b.abs().max(1e-9))
    }

    #[test]
    fn panes_of_any_size_give_what_the_definitions_say() {
        let base = 1_700_000_000_000i64;
        let values: Vec<(i64, f64)> = (0..200).map(|i| (base + i * 61_007, 5.0 + (i as f64 * 0.7).sin() + i as f64 * 0.01)).collect();
        let n = values.len() as f64;
        let (mt, mv) = (values.iter().map(|v| (v.0 - base) as f64 / 1e3).sum::<f64>() / n, values.iter().map(|v| v.1).sum::<f64>() / n);
        let sum = |f: &dyn Fn(f64, f64) -> f64| values.iter().map(|v| f((v.0 - base) as f64 / 1e3 - mt, v.1 - mv)).sum::<f64>();
        let (tt, tv, vv) = (sum(&|t, _| t * t), sum(&|t, v| t * v), sum(&|_, v| v * v));
        for pane_ms in [1, 1_000, 60_000, 3_600_000, i64::MAX / 2] {
            let got = over(&values.iter().map(|v| (v.0, Some(v.1))).collect::<Vec<_>>(), pane_ms);
            assert_eq!(got[0], Some(n));
            assert!(close(got[1], mv * n) && close(got[2], mv), "sum and mean");
            assert_eq!(got[3], values.iter().map(|v| v.1).reduce(f64::min));
            assert_eq!(got[4], values.iter().map(|v| v.1).reduce(f64::max));
            assert_eq!((got[5], got[6]), (Some(values[0].1), Some(values[199].1)));
            assert!(close(got[7], (vv / (n - 1.0)).sqrt()), "deviation in panes of {pane_ms}");
            assert!(close(got[8], tv / tt), "slope in panes of {pane_ms}: {:?} and {}", got[8], tv / tt);
            assert!(close(got[9], ((vv - tv * tv / tt) / n).sqrt()), "residual in panes of {pane_ms}");
        }
    }

    #[test]
    fn two_close_readings_far_from_the_window_start_keep_their_slope() {
        let mut v = vec![(0, None), (1_209_600_000, Some(0.25)), (1_209_601_000, Some(0.75))];
        assert!(close(over(&v, 900_000)[8], 0.5));
        v.push((1_209_602_000, Some(1.25)));
        assert!(close(over(&v, 500)[8], 0.5));
    }

    #[test]
    fn the_previous_value_does_not_depend_on_panes_or_arrival() {
        let calls = [AggCall { function: AggFn::Previous, arg: Some(column("v", DataType::Float64)), horizon_ms: None }];
        let p = AggPlan::new(&calls, 0);
        let (mut a, mut b) = (p.empty(), p.empty());
        insert_latest(&mut a[1..5], 30.0, 3.0);
        insert_latest(&mut a[1..5], 10.0, 1.0);
        a[0] = 2.0;
        insert_latest(&mut b[1..5], 20.0, 2.0);
        b[0] = 1.0;
        assert_eq!((p.finish(0, &a), p.finish(0, &b)), (Some(1.0), None));
        for (first, second) in [(&a, &b), (&b, &a)] {
            let mut all = p.empty();
            p.merge(&mut all, 0, first, 0);
            p.merge(&mut all, 0, second, 0);
            assert_eq!(p.finish(0, &all), Some(2.0));
        }
    }

    #[test]
    fn nulls_and_nan_are_not_there() {
        let empty = over(&[(5, None), (6, Some(f64::NAN))], 10);
        assert_eq!(empty[0], Some(0.0));
        assert!(empty[1..].iter().all(Option::is_none));
        let one = over(&[(5, None), (6, Some(2.0)), (7, Some(f64::NAN))], 1);
        assert_eq!(one[..7], [Some(1.0), Some(2.0), Some(2.0), Some(2.0), Some(2.0), Some(2.0), Some(2.0)]);
        assert!(one[7..].iter().all(Option::is_none), "no spread or line through one value");
        let same_time = over(&[(6, Some(1.0)), (6, Some(3.0))], 10);
        assert_eq!((same_time[5], same_time[6]), (Some(1.0), Some(3.0)), "ties: first and last as they came");
        assert!(same_time[7].is_some() && same_time[8].is_none() && same_time[9].is_none());
    }

    #[test]
    fn calls_share_slots_and_reserved_ones_stay_free() {
        let v = column("v", DataType::Float64);
        let calls = [(AggFn::Avg, Some(&v)), (AggFn::Sum, Some(&v)), (AggFn::Count, Some(&v)), (AggFn::Count, None)];
        let plan = AggPlan::new(&calls.map(|(function, arg)| AggCall { function, arg: arg.cloned(), horizon_ms: None }), 3);
        assert_eq!(plan.width(), 3 + 2 + 1);
        assert_eq!(plan.empty()[..3], [0.0; 3]);
    }

    #[test]
    fn a_count_planned_as_mere_presence_does_not_replace_the_values() {
        let v = column("v", DataType::Float64);
        let presence = crate::op::testing::function("v", DataType::Float64, |r| Ok(Arc::new(Float64Array::from(vec![1.0; r.num_rows()]))));
        let count = AggCall { function: AggFn::Count, arg: Some(presence), horizon_ms: None };
        let sum = AggCall { function: AggFn::Sum, arg: Some(v), horizon_ms: None };
        for calls in [[count.clone(), sum.clone()], [sum.clone(), count.clone()]] {
            let plan = AggPlan::new(&calls, 0);
            let batch = rows(&[("v", Col::F(vec![Some(5.0), Some(7.0)]))], &[0, 1]);
            let args = plan.evaluate(&batch).unwrap();
            let mut pane = plan.empty();
            (0..2).for_each(|i| plan.update(&mut pane, 0, i as i64, &args, i));
            let mut results = [plan.finish(0, &pane), plan.finish(1, &pane)];
            results.sort_by(|a, b| a.partial_cmp(b).unwrap());
            assert_eq!((plan.width(), results), (2, [Some(2.0), Some(12.0)]));
        }
    }
}
