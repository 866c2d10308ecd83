//! Versioned tables: what was known about a key, as of any time within the history kept. A topic feeds them; joins
//! look up the version that was valid at a row's event time. A deletion is a version too.

use crate::batch::write_key;
use crate::operator::{OperatorError, StateAccess};
use crate::row::{RowCodec, RowDecoder};
use crate::spec::TableSpec;
use crate::store::{KeyId, RowSink, StateError, Store};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

/// What a table knows about a key at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The version valid then, as written by the table's codec.
    Row(&'a [u8]),
    /// It was deleted by then.
    Deleted,
    /// All versions kept begin later: it did not exist yet, or what was valid then is forgotten.
    BeforeHistory,
    /// The key was never seen.
    Unknown,
}

impl<'a> Lookup<'a> {
    /// The row, if there is one.
    pub fn row(self) -> Option<&'a [u8]> {
        match self {
            Lookup::Row(row) => Some(row),
            _ => None,
        }
    }
}

/// A versioned table.
#[derive(Debug)]
pub struct Table {
    schema: SchemaRef,
    key: Vec<String>,
    valid_from: String,
    history_ms: i64,
    codec: RowCodec,
    /// Encoded rows under (key, valid from); empty bytes are a deletion.
    versions: Store<Vec<u8>>,
}

impl Table {
    /// An empty table. Fails for column types that rows cannot hold.
    pub fn new(spec: &TableSpec) -> Result<Self, OperatorError> {
        let from = spec.schema.field_with_name(&spec.valid_from).ok();
        if from.is_none_or(|f| *f.data_type() != DataType::Int64) {
            return Err(OperatorError::Column { column: spec.valid_from.clone(), expected: "Int64, UTC milliseconds" });
        }
        crate::op::key_indexes(&spec.schema, &spec.key)?;
        Ok(Table {
            schema: spec.schema.clone(),
            key: spec.key.clone(),
            valid_from: spec.valid_from.clone(),
            history_ms: spec.history_ms.max(0),
            codec: RowCodec::new(spec.schema.fields())?,
            versions: Store::default(),
        })
    }

    /// Takes versions in. Columns are found by name, so system columns may stand in front. A version with the key and
    /// time of an earlier one replaces it. Returns the indexes of rows without a key or a `valid_from`; the table is
    /// unchanged by them.
    pub fn apply(&mut self, rows: &RecordBatch) -> Result<Vec<u32>, OperatorError> {
        let find = |name: &str, expected| -> Result<ArrayRef, OperatorError> {
            rows.column_by_name(name).cloned().ok_or_else(|| OperatorError::Column { column: name.to_string(), expected })
        };
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for f in self.schema.fields() {
            let column = find(f.name(), "as the table declares it")?;
            if column.data_type() != f.data_type() {
                return Err(OperatorError::Column { column: f.name().clone(), expected: "as the table declares it" });
            }
            columns.push(column);
        }
        let key = self.key.iter().map(|k| find(k, "a key")).collect::<Result<Vec<_>, _>>()?;
        let from = find(&self.valid_from, "Int64")?;
        let from = from.as_primitive::<Int64Type>();
        let (mut refused, mut bytes, mut row) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..rows.num_rows() {
            if from.is_null(i) || !write_key(&key, i, &mut bytes) {
                refused.push(i as u32);
                continue;
            }
            row.clear();
            self.codec.write(&columns, i, &mut row);
            let id = self.versions.key(&bytes);
            self.put(id, from.value(i), row.clone());
        }
        Ok(refused)
    }

    /// Ends a key at a time; `key` is as [`write_key`] writes it, for a single text column the text.
    pub fn delete(&mut self, key: &[u8], at_ms: i64) {
        let id = self.versions.key(key);
        self.put(id, at_ms, Vec::new());
    }

    fn put(&mut self, key: KeyId, from_ms: i64, row: Vec<u8>) {
        self.versions.put(key, from_ms, row);
        let newest_ms = self.versions.values(key).next_back().map_or(from_ms, |v| v.0);
        let horizon_ms = newest_ms.saturating_sub(self.history_ms);
        // The version in force at the horizon stays: the ones before it had ended by then.
        let in_force = self.versions.values(key).rev().find(|(from, _)| *from <= horizon_ms).map(|v| v.0);
        if let Some(from) = in_force {
            self.versions.remove_below(key, from);
        }
    }

    /// The newest version of `key` with `valid_from` ≤ `at_ms`.
    pub fn lookup(&self, key: &[u8], at_ms: i64) -> Lookup<'_> {
        let Some(id) = self.versions.find(key) else {
            return Lookup::Unknown;
        };
        let mut versions = self.versions.values(id).rev().peekable();
        if versions.peek().is_none() {
            return Lookup::Unknown;
        }
        match versions.find(|(from, _)| *from <= at_ms) {
            None => Lookup::BeforeHistory,
            Some((_, row)) if row.is_empty() => Lookup::Deleted,
            Some((_, row)) => Lookup::Row(row),
        }
    }

    /// Its columns, without system columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A decoder of looked-up rows, for the columns at these indexes of [`Table::schema`].
    pub fn decoder_of(&self, columns: &[usize]) -> RowDecoder {
        self.codec.decoder_of(columns)
    }
}

impl StateAccess for Table {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.versions.close_epoch(rows);
    }
    fn committed(&mut self) {
        self.versions.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.versions.rollback()
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        self.versions.import(key, sub, value)
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        self.versions.scan_committed_where(wanted, rows);
    }
    fn rows(&self) -> usize {
        self.versions.rows()
    }
    fn bytes(&self) -> usize {
        self.versions.bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::op::testing::{Col, random, rows, user_schema};

    fn versions(values: &[(Option<&str>, Option<i64>, &str)]) -> RecordBatch {
        let columns = [
            ("k", Col::S(values.iter().map(|v| v.0).collect())),
            ("valid_from", Col::I(values.iter().map(|v| v.1).collect())),
            ("site", Col::S(values.iter().map(|v| Some(v.2)).collect())),
        ];
        rows(&columns, &vec![0; values.len()])
    }
    fn table(history_ms: i64) -> Table {
        Table::new(&TableSpec {
            id: "t".into(),
            topic: "ref.t".into(),
            key: vec!["k".into()],
            valid_from: "valid_from".into(),
            history_ms,
            global: false,
            schema: user_schema(&versions(&[])),
        })
        .unwrap()
    }
    fn site(t: &Table, key: &str, at_ms: i64) -> String {
        match t.lookup(key.as_bytes(), at_ms) {
            Lookup::Row(row) => {
                let mut d = t.decoder_of(&[2]);
                d.push(row).unwrap();
                d.finish()[0].as_string::<i32>().value(0).to_string()
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_version_valid_at_the_time_is_found_in_any_order_of_arrival() {
        let mut t = table(1_000_000);
        let refused = t.apply(&versions(&[(Some("a"), Some(200), "B"), (None, Some(1), "x"), (Some("a"), Some(100), "A"), (Some("a"), None, "x")])).unwrap();
        assert_eq!(refused, [1, 3]);
        t.delete(b"a", 300);
        t.apply(&versions(&[(Some("a"), Some(400), "D"), (Some("a"), Some(400), "E")])).unwrap();
        let at = |ms| site(&t, "a", ms);
        assert_eq!([at(99), at(100), at(199), at(200), at(299)], ["BeforeHistory", "A", "A", "B", "B"]);
        assert_eq!([at(300), at(399), at(400), at(i64::MAX)], ["Deleted", "Deleted", "E", "E"]);
        assert_eq!(site(&t, "b", 0), "Unknown");
    }

    #[test]
    fn history_is_trimmed_but_what_was_in_force_at_its_start_stays() {
        let mut t = table(100);
        t.apply(&versions(&[(Some("a"), Some(0), "A"), (Some("a"), Some(50), "B"), (Some("a"), Some(120), "C"), (Some("a"), Some(200), "D")])).unwrap();
        assert_eq!(t.rows(), 3, "A ended at 50, before 200 - 100");
        assert_eq!([site(&t, "a", 100), site(&t, "a", 49)], ["B", "BeforeHistory"]);
        t.apply(&versions(&[(Some("a"), Some(10), "old news")])).unwrap();
        assert_eq!(t.rows(), 3);
    }

    #[test]
    fn a_restored_table_answers_alike_and_a_rolled_back_one_too() {
        let mut t = table(100);
        t.apply(&versions(&[(Some("a"), Some(0), "A"), (Some("a"), Some(150), "B"), (Some("b"), Some(5), "C")])).unwrap();
        t.delete(b"b", 7);
        t.close_epoch(&mut |_, _, _| {});
        t.committed();
        t.apply(&versions(&[(Some("a"), Some(400), "later")])).unwrap();
        t.delete(b"a", 401);
        let mut u = table(100);
        t.scan_committed(&mut |k, s, v| u.import(k, s, v).unwrap());
        t.rollback().unwrap();
        for table in [&t, &u] {
            assert_eq!(["0", "149", "150", "999"].map(|ms| site(table, "a", ms.parse().unwrap())), ["A", "A", "B", "B"]);
            assert_eq!([site(table, "b", 6), site(table, "b", 7)], ["C", "Deleted"]);
        }
    }

    /// Random versions, deletions, roll-backs and restores against a plain map.
    #[test]
    fn lookups_agree_with_a_plain_map_through_rollbacks_and_restores() {
        for seed in 0..40 {
            let mut r = random(seed);
            let mut t = table(1_000);
            let mut now = std::collections::BTreeMap::<(&str, i64), String>::new();
            let mut committed = now.clone();
            for n in 0..80 {
                let (key, from) = (["a", "b"][r(2) as usize], r(30) as i64);
                match r(8) {
                    0..=3 => {
                        t.apply(&versions(&[(Some(key), Some(from), &n.to_string())])).unwrap();
                        now.insert((key, from), n.to_string());
                    }
                    4 => {
                        t.delete(key.as_bytes(), from);
                        now.insert((key, from), "Deleted".to_string());
                    }
                    5 => {
                        t.close_epoch(&mut |_, _, _| {});
                        t.committed();
                        committed = now.clone();
                    }
                    6 => {
                        t.rollback().unwrap();
                        now = committed.clone();
                    }
                    _ => {
                        let mut fresh = table(1_000);
                        t.scan_committed(&mut |k, s, v| fresh.import(k, s, v).unwrap());
                        (t, now) = (fresh, committed.clone());
                    }
                }
                for key in ["a", "b"] {
                    for at in 0..30 {
                        let known = now.range((key, i64::MIN)..=(key, i64::MAX)).count();
                        let expected = match now.range((key, i64::MIN)..=(key, at)).next_back() {
                            Some((_, v)) => v.as_str(),
                            None if known > 0 => "BeforeHistory",
                            None => "Unknown",
                        };
                        assert_eq!(site(&t, key, at), expected, "seed {seed} step {n}");
                    }
                }
            }
        }
    }
}
