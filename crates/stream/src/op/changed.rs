//! Emits a row only when what matters in it differs from the key's last emitted row: states become transitions, e.g.
//! alerts that are raised once and cleared once.

use super::select::evaluate_mask;
use super::{Keys, end_without_key, evaluate_input, indexes, key_indexes, take};
use crate::batch::times;
use crate::expr::ExprRef;
use crate::operator::{Context, Operator, OperatorError, StateAccess};
use crate::row::RowCodec;
use crate::store::Store;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

/// Drops rows that say nothing new.
#[derive(Debug)]
pub struct Changed {
    key: Vec<usize>,
    of: Vec<usize>,
    codec: RowCodec,
    first: Option<ExprRef>,
    /// Event time and compared columns of the key's last emitted row, under sub-key 0.
    last: Store<Vec<u8>>,
}

impl Changed {
    /// A stage that compares the columns `of` per `key`, in order of arrival; a row
    /// older than the last emitted one says nothing about now. A key's first row is emitted where
    /// `first` is true (`None`: always); until then the key has no last row. A null key is a dead letter.
    pub fn new(key: &[String], of: &[String], first: Option<ExprRef>, input: SchemaRef, _output: SchemaRef) -> Result<Self, OperatorError> {
        if let Some(f) = &first
            && f.data_type() != DataType::Boolean
        {
            return Err(OperatorError::Column { column: f.text().to_string(), expected: "Boolean, as it is a condition" });
        }
        let of = indexes(&input, of)?;
        let fields: Vec<_> = of.iter().map(|i| input.fields()[*i].clone()).collect();
        Ok(Changed { key: key_indexes(&input, key)?, of, codec: RowCodec::new(&fields)?, first, last: Store::default() })
    }
}

fn at_ms(bytes: &[u8]) -> i64 {
    bytes.try_into().map_or(i64::MIN, i64::from_le_bytes)
}

impl Operator for Changed {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        cx.counts.input += rows.num_rows() as u64;
        let (rows, first) = evaluate_input(cx, rows, |r| self.first.as_ref().map(|f| evaluate_mask(f, r)).transpose())?;
        let keys = Keys::new(&rows, &self.key);
        let of: Vec<ArrayRef> = self.of.iter().map(|i| rows.column(*i).clone()).collect();
        let times = times(&rows);
        let (mut news, mut keyless, mut key, mut row) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (i, time_ms) in times.iter().enumerate() {
            let Some(key) = keys.get(i, &mut key) else {
                keyless.push(i as u32);
                continue;
            };
            row.clear();
            row.extend_from_slice(&time_ms.to_le_bytes());
            self.codec.write(&of, i, &mut row);
            let key = self.last.key(key);
            let emit = match self.last.get(key, 0).map(|last| last.split_at(8)) {
                Some((at, last)) => at_ms(at) <= *time_ms && *last != row[8..],
                None => first.as_ref().is_none_or(|f| f.value(i)),
            };
            if emit {
                self.last.put(key, 0, row.clone());
                news.push(i as u32);
            } else {
                cx.counts.filtered += 1;
            }
        }
        end_without_key(cx, &rows, keyless)?;
        cx.counts.emitted += news.len() as u64;
        let out = take(&rows, news)?;
        cx.emit(out);
        Ok(())
    }

    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        Some(&mut self.last)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::op::testing::{Col, Step, disturb, function, random, rows, run};
    use arrow::array::{AsArray, BooleanArray};
    use std::sync::Arc;

    fn input(values: &[(&str, Option<&str>)]) -> RecordBatch {
        let times: Vec<i64> = (0..values.len() as i64).collect();
        rows(&[("k", Col::S(values.iter().map(|v| Some(v.0)).collect())), ("s", Col::S(values.iter().map(|v| v.1).collect()))], &times)
    }
    fn changed(first: bool) -> Changed {
        let raised = function("s = 'raised'", DataType::Boolean, |r| {
            let s = r.column_by_name("s").unwrap().as_string::<i32>();
            Ok(Arc::new(s.iter().map(|v| v.map(|v| v == "raised")).collect::<BooleanArray>()))
        });
        let schema = input(&[]).schema();
        Changed::new(&["k".to_string()], &["s".to_string()], first.then_some(raised), schema.clone(), schema).unwrap()
    }

    #[test]
    fn only_transitions_go_on_and_the_first_row_has_its_own_condition() {
        let values =
            [("a", Some("cleared")), ("a", Some("raised")), ("a", Some("raised")), ("b", None), ("b", None), ("a", Some("cleared")), ("b", Some("raised"))];
        let every = run(&mut changed(false), &[Step::Rows(input(&values))]);
        assert_eq!(every.column("__offset"), ["0", "1", "3", "5", "6"]);
        let first = run(&mut changed(true), &[Step::Rows(input(&values))]);
        assert_eq!(first.column("__offset"), ["1", "5", "6"]);
        assert_eq!(first.counts.filtered, 4);
    }

    #[test]
    fn undisturbed_by_rollbacks_and_restores() {
        for seed in 0..60 {
            let mut r = random(seed);
            let words = [Some("cleared"), Some("raised"), None];
            let steps: Vec<Step> =
                (0..12).map(|_| Step::Rows(input(&(0..r(8)).map(|_| (["a", "b", "c"][r(3) as usize], words[r(3) as usize])).collect::<Vec<_>>()))).collect();
            disturb(seed, &steps, true, || Box::new(changed(seed % 2 == 0)));
        }
    }
}
