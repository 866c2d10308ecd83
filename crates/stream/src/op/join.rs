//! As-of join: a row meets the version of a table that was valid at the row's event time. Tables belong to the task,
//! so a join is no [`crate::operator::Operator`]: it is handed the table with the rows.

use super::{Keys, end, key_indexes, take};
use crate::batch::times;
use crate::operator::{Context, OperatorError, SideKind};
use crate::spec::{Missing, TableSpec};
use crate::table::{Lookup, Table};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// As-of join with a versioned table.
#[derive(Debug)]
pub struct Join {
    on: Vec<usize>,
    columns: Vec<usize>,
    missing: Missing,
    output: SchemaRef,
}

impl Join {
    /// A stage that adds table columns (index in the table's schema, output name) to rows, found by the row's columns
    /// `on`. The output has the input's columns followed by the added ones, nullable if `missing` is nulls.
    pub fn new(
        on: &[String],
        columns: &[(usize, String)],
        missing: Missing,
        table: &TableSpec,
        input: SchemaRef,
        output: SchemaRef,
    ) -> Result<Self, OperatorError> {
        for (index, name) in columns {
            if *index >= table.schema.fields().len() {
                return Err(OperatorError::Column { column: name.clone(), expected: "any, in the joined table" });
            }
        }
        if on.len() != table.key.len() {
            return Err(OperatorError::Column { column: on.join(", "), expected: "the joined table's key, part by part" });
        }
        let on = key_indexes(&input, on)?;
        for (i, key) in on.iter().zip(&table.key) {
            // Keys are compared as bytes: an Int64 never meets a Utf8.
            let of_table = table.schema.field_with_name(key).map(|f| f.data_type()).ok();
            if of_table != Some(input.field(*i).data_type()) {
                return Err(OperatorError::Column { column: input.field(*i).name().clone(), expected: "the type of the joined table's key" });
            }
        }
        Ok(Join { on, columns: columns.iter().map(|c| c.0).collect(), missing, output })
    }

    /// Joins a batch. A null key has no partner. Every row ends as emitted or unmatched.
    pub fn process_with(&mut self, cx: &mut Context, rows: &RecordBatch, table: &Table) -> Result<(), OperatorError> {
        let n = rows.num_rows();
        cx.counts.input += n as u64;
        let keys = Keys::new(rows, &self.on);
        let mut decoder = table.decoder_of(&self.columns);
        let (mut kept, mut unknown, mut too_old, mut scratch) = (Vec::with_capacity(n), Vec::new(), Vec::new(), Vec::new());
        for (i, t_ms) in times(rows).iter().enumerate() {
            let found = keys.get(i, &mut scratch).map_or(Lookup::Unknown, |key| table.lookup(key, *t_ms));
            match (found, &self.missing) {
                (Lookup::Row(row), _) => decoder.push(row)?,
                (_, Missing::Nulls) => decoder.push_nulls(),
                (Lookup::BeforeHistory, _) => {
                    too_old.push(i as u32);
                    continue;
                }
                _ => {
                    unknown.push(i as u32);
                    continue;
                }
            }
            kept.push(i as u32);
        }
        if let Missing::Unmatched(reason) = &self.missing {
            end(cx, rows, unknown, SideKind::Unmatched, reason, "the table has no such key at the row's time")?;
            end(cx, rows, too_old, SideKind::Unmatched, reason, "the row is older than every version that the table keeps")?;
        }
        let base = if kept.len() == n { rows.clone() } else { take(rows, kept)? };
        if base.num_rows() == 0 {
            return Ok(());
        }
        cx.counts.emitted += base.num_rows() as u64;
        let mut columns = base.columns().to_vec();
        columns.extend(decoder.finish());
        let out = RecordBatch::try_new(self.output.clone(), columns)?;
        cx.emit(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::op::testing::{Col, rows, show_column, user_schema};
    use arrow::array::RecordBatch;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn input() -> RecordBatch {
        let keys = vec![Some("a"), Some("b"), None, Some("a"), Some("a")];
        rows(&[("device", Col::S(keys))], &[100, 100, 100, 99, 500])
    }
    fn table() -> (TableSpec, Table) {
        let versions =
            rows(&[("k", Col::S(vec![Some("a"), Some("a")])), ("f", Col::I(vec![Some(100), Some(400)])), ("site", Col::S(vec![Some("s1"), None]))], &[0, 0]);
        let spec = TableSpec {
            id: "devices".into(),
            topic: "ref.device".into(),
            key: vec!["k".into()],
            valid_from: "f".into(),
            history_ms: 1_000,
            global: false,
            schema: user_schema(&versions),
        };
        let mut t = Table::new(&spec).unwrap();
        t.apply(&versions).unwrap();
        (spec, t)
    }
    fn join(missing: Missing) -> Context {
        let (spec, t) = table();
        let schema = input().schema();
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(Field::new("site_id", DataType::Utf8, true)));
        fields.push(Arc::new(Field::new("since", DataType::Int64, true)));
        let columns = [(2, "site_id".to_string()), (1, "since".to_string())];
        let mut j = Join::new(&["device".to_string()], &columns, missing, &spec, schema, Arc::new(Schema::new(fields))).unwrap();
        let mut cx = Context::new();
        j.process_with(&mut cx, &input(), &t).unwrap();
        assert!(cx.counts.balanced(), "{:?}", cx.counts);
        cx
    }

    #[test]
    fn without_a_partner_rows_get_nulls() {
        let cx = join(Missing::Nulls);
        assert_eq!(show_column(&cx.out[0], "site_id"), ["s1", "", "", "", ""]);
        assert_eq!(show_column(&cx.out[0], "since"), ["100", "", "", "", "400"]);
    }

    #[test]
    fn or_they_end_with_a_reason_and_the_detail_tells_old_from_unknown() {
        let cx = join(Missing::Unmatched("unknown_device".into()));
        assert_eq!(show_column(&cx.out[0], "__offset"), ["0", "4"]);
        let sides: Vec<_> = cx.side.iter().map(|s| (s.reason.as_str(), show_column(&s.rows, "__offset").join(","))).collect();
        assert_eq!(sides, [("unknown_device", "1,2".to_string()), ("unknown_device", "3".to_string())]);
        assert_ne!(cx.side[0].detail, cx.side[1].detail);
    }
}
