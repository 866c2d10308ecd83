//! Columns under construction of any type that rows may have, nested ones included. Values are pushed one by one and can
//! be cut back, so that a row that turns out to be bad leaves no trace. Decoders of formats, state and fixtures share it.

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Records and lists nested deeper than this are no column.
pub const MAX_DEPTH: usize = 16;

/// Is this a type that a column may have: Int64, Float64, Boolean, Utf8, Binary, or lists and records of them?
pub fn is_column_type(data_type: &DataType) -> bool {
    fn within(t: &DataType, depth: usize) -> bool {
        depth <= MAX_DEPTH
            && match t {
                DataType::Int64 | DataType::Float64 | DataType::Boolean | DataType::Utf8 | DataType::Binary => true,
                DataType::List(item) => within(item.data_type(), depth + 1),
                DataType::Struct(fields) => fields.iter().all(|f| within(f.data_type(), depth + 1)),
                _ => false,
            }
    }
    within(data_type, 0)
}

/// Is it a list or a record?
pub fn is_nested(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::Struct(_))
}

/// A column under construction.
#[derive(Clone, Debug)]
pub enum Column {
    /// Int64.
    Int(Vec<i64>, Vec<bool>),
    /// Float64.
    Float(Vec<f64>, Vec<bool>),
    /// Boolean.
    Bool(Vec<bool>, Vec<bool>),
    /// Utf8.
    Text(Bytes),
    /// Binary.
    Binary(Bytes),
    /// A list.
    List(List),
    /// A record.
    Record(Record),
}

/// Values of some length.
#[derive(Clone, Debug)]
pub struct Bytes {
    ends: Vec<i32>,
    data: Vec<u8>,
    valid: Vec<bool>,
}

/// Lists: push items into `item`, then [`List::close`].
#[derive(Clone, Debug)]
pub struct List {
    field: FieldRef,
    ends: Vec<i32>,
    valid: Vec<bool>,
    /// The items of all lists.
    pub item: Box<Column>,
}

/// Records: push a value into each child, then [`Record::close`].
#[derive(Clone, Debug)]
pub struct Record {
    fields: Fields,
    valid: Vec<bool>,
    /// A column per field.
    pub children: Vec<Column>,
}

impl Bytes {
    fn new() -> Bytes {
        Bytes { ends: Vec::new(), data: Vec::new(), valid: Vec::new() }
    }
    fn push(&mut self, v: &[u8], valid: bool) -> bool {
        let Ok(end) = i32::try_from(self.data.len() + v.len()) else { return false };
        self.data.extend_from_slice(v);
        self.ends.push(end);
        self.valid.push(valid);
        true
    }
    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.valid.truncate(rows);
        self.data.truncate(self.ends.last().copied().unwrap_or(0) as usize);
    }
    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        let offsets = offsets(&mut self.ends);
        (offsets, Buffer::from(std::mem::take(&mut self.data)), nulls(&mut self.valid))
    }
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let ends = std::mem::take(ends);
    let mut all = Vec::with_capacity(ends.len() + 1);
    all.push(0);
    all.extend(ends);
    OffsetBuffer::new(ScalarBuffer::from(all))
}

fn nulls(valid: &mut Vec<bool>) -> Option<NullBuffer> {
    let valid = std::mem::take(valid);
    valid.contains(&false).then(|| NullBuffer::from(valid))
}

impl List {
    /// Ends the list whose items were pushed since the last one. False beyond 2³¹ items.
    pub fn close(&mut self) -> bool {
        let Ok(end) = i32::try_from(self.item.len()) else { return false };
        self.ends.push(end);
        self.valid.push(true);
        true
    }
}

impl Record {
    /// Ends the record whose values were pushed.
    pub fn close(&mut self) {
        self.valid.push(true);
    }
    /// The fields.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }
}

impl Column {
    /// An empty column; `None` for a type that no column may have.
    pub fn new(data_type: &DataType) -> Option<Column> {
        if !is_column_type(data_type) {
            return None;
        }
        Some(match data_type {
            DataType::Int64 => Column::Int(Vec::new(), Vec::new()),
            DataType::Float64 => Column::Float(Vec::new(), Vec::new()),
            DataType::Boolean => Column::Bool(Vec::new(), Vec::new()),
            DataType::Utf8 => Column::Text(Bytes::new()),
            DataType::Binary => Column::Binary(Bytes::new()),
            DataType::List(field) => {
                Column::List(List { field: field.clone(), ends: Vec::new(), valid: Vec::new(), item: Box::new(Column::new(field.data_type())?) })
            }
            DataType::Struct(fields) => Column::Record(Record {
                fields: fields.clone(),
                valid: Vec::new(),
                children: fields.iter().map(|f| Column::new(f.data_type())).collect::<Option<Vec<_>>>()?,
            }),
            _ => return None,
        })
    }

    /// Values so far.
    pub fn len(&self) -> usize {
        match self {
            Column::Int(_, valid) | Column::Float(_, valid) | Column::Bool(_, valid) => valid.len(),
            Column::Text(b) | Column::Binary(b) => b.valid.len(),
            Column::List(l) => l.valid.len(),
            Column::Record(r) => r.valid.len(),
        }
    }

    /// None yet?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pushes a null.
    pub fn push_null(&mut self) {
        match self {
            Column::Int(v, valid) => {
                v.push(0);
                valid.push(false);
            }
            Column::Float(v, valid) => {
                v.push(0.0);
                valid.push(false);
            }
            Column::Bool(v, valid) => {
                v.push(false);
                valid.push(false);
            }
            Column::Text(b) | Column::Binary(b) => {
                b.push(&[], false);
            }
            Column::List(l) => {
                l.ends.push(l.ends.last().copied().unwrap_or(0));
                l.valid.push(false);
            }
            Column::Record(r) => {
                r.children.iter_mut().for_each(Column::push_null);
                r.valid.push(false);
            }
        }
    }

    /// Pushes an integer; false when the column holds something else.
    pub fn push_int(&mut self, v: i64) -> bool {
        match self {
            Column::Int(values, valid) => {
                values.push(v);
                valid.push(true);
                true
            }
            _ => false,
        }
    }

    /// Pushes a number; false when the column holds something else.
    pub fn push_float(&mut self, v: f64) -> bool {
        match self {
            Column::Float(values, valid) => {
                values.push(v);
                valid.push(true);
                true
            }
            _ => false,
        }
    }

    /// Pushes true or false; false when the column holds something else.
    pub fn push_bool(&mut self, v: bool) -> bool {
        match self {
            Column::Bool(values, valid) => {
                values.push(v);
                valid.push(true);
                true
            }
            _ => false,
        }
    }

    /// Pushes text or bytes. False when the column holds something else, the text is not UTF-8, or the column is full.
    pub fn push_bytes(&mut self, v: &[u8]) -> bool {
        match self {
            Column::Text(b) => std::str::from_utf8(v).is_ok() && b.push(v, true),
            Column::Binary(b) => b.push(v, true),
            _ => false,
        }
    }

    /// Forgets everything behind the first `rows` values, also what a bad one left half-written.
    pub fn truncate(&mut self, rows: usize) {
        match self {
            Column::Int(v, valid) => {
                v.truncate(rows);
                valid.truncate(rows);
            }
            Column::Float(v, valid) => {
                v.truncate(rows);
                valid.truncate(rows);
            }
            Column::Bool(v, valid) => {
                v.truncate(rows);
                valid.truncate(rows);
            }
            Column::Text(b) | Column::Binary(b) => b.truncate(rows),
            Column::List(l) => {
                l.ends.truncate(rows);
                l.valid.truncate(rows);
                l.item.truncate(l.ends.last().copied().unwrap_or(0) as usize);
            }
            Column::Record(r) => {
                r.valid.truncate(rows);
                r.children.iter_mut().for_each(|c| c.truncate(rows));
            }
        }
    }

    /// The array; afterwards the column is empty. Fails where a value is null that may not be.
    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Column::Int(v, valid) => Arc::new(Int64Array::try_new(std::mem::take(v).into(), nulls(valid))?),
            Column::Float(v, valid) => Arc::new(Float64Array::try_new(std::mem::take(v).into(), nulls(valid))?),
            Column::Bool(v, valid) => Arc::new(BooleanArray::new(std::mem::take(v).into(), nulls(valid))),
            Column::Text(b) => {
                let (offsets, data, nulls) = b.finish();
                Arc::new(StringArray::try_new(offsets, data, nulls)?)
            }
            Column::Binary(b) => {
                let (offsets, data, nulls) = b.finish();
                Arc::new(BinaryArray::try_new(offsets, data, nulls)?)
            }
            Column::List(l) => Arc::new(ListArray::try_new(l.field.clone(), offsets(&mut l.ends), l.item.finish()?, nulls(&mut l.valid))?),
            Column::Record(r) => {
                let n = r.valid.len();
                let children = r.children.iter_mut().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
                let nulls = nulls(&mut r.valid);
                if r.fields.is_empty() {
                    Arc::new(StructArray::new_empty_fields(n, nulls))
                } else {
                    Arc::new(StructArray::try_new(r.fields.clone(), children, nulls)?)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Field;

    fn orders() -> DataType {
        let order = DataType::Struct(
            vec![Field::new("name", DataType::Utf8, false), Field::new("weight", DataType::Float64, true), Field::new("parts", list(DataType::Utf8), false)]
                .into(),
        );
        list(order)
    }
    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", item, false)))
    }

    #[test]
    fn a_value_cut_back_half_written_leaves_no_trace() {
        let mut c = Column::new(&orders()).unwrap();
        let push = |c: &mut Column, name: &str, parts: &[&str], whole: bool| {
            let Column::List(l) = c else { panic!() };
            let Column::Record(r) = l.item.as_mut() else { panic!() };
            assert!(r.children[0].push_bytes(name.as_bytes()) && !r.children[0].push_int(1));
            if !whole {
                return;
            }
            r.children[1].push_null();
            let Column::List(b) = &mut r.children[2] else { panic!() };
            parts.iter().for_each(|x| assert!(b.item.push_bytes(x.as_bytes())));
            b.close();
            r.close();
        };
        push(&mut c, "s1", &["a", "b"], true);
        push(&mut c, "s2", &[], true);
        if let Column::List(l) = &mut c {
            l.close();
        }
        push(&mut c, "s3", &["c"], true);
        push(&mut c, "half", &[], false);
        c.truncate(1);
        c.push_null();
        assert_eq!(c.len(), 2);
        let array = c.finish().unwrap();
        let lists = array.as_list::<i32>();
        assert!(lists.is_null(1) && lists.value(0).len() == 2 && lists.values().len() == 2);
        assert!(c.is_empty());
    }

    #[test]
    fn types_that_no_column_has_are_refused() {
        assert!(is_column_type(&orders()) && is_nested(&orders()));
        assert!(Column::new(&DataType::Float32).is_none() && Column::new(&list(DataType::Date32)).is_none());
        let deep = (0..20).fold(DataType::Int64, |t, _| list(t));
        assert!(Column::new(&deep).is_none());
        let mut text = Column::new(&DataType::Utf8).unwrap();
        assert!(!text.push_bytes(&[0xff]) && text.is_empty());
    }
}
