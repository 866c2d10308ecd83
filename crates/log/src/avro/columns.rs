//! Columns under construction: typed vectors that a row is pushed into value by value, and cut back from when the row
//! turns out to be bad. Text is checked for UTF-8 once per column at the end, which costs a tenth of checking each
//! value; only when that fails is the batch read again with each value checked.

use super::cursor::Fault;
use super::nested::column_type;
use super::schema::{LongUnit, Named, Schema, Type, nullable};
use arrow::array::builder::{BooleanBufferBuilder, NullBufferBuilder};
use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use arrow::error::ArrowError;
use serde_json::Value;
use std::sync::Arc;
use ws_stream::nested;

/// The engine's column types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Float,
    Bool,
    Text,
    Binary,
    /// A list or a record.
    Nested,
}

impl Kind {
    /// The kind of column that a flat Avro type becomes, and whether it may be null; `None` for nested types.
    pub(crate) fn of(schema: &Schema, ty: &Type) -> Option<(Kind, bool)> {
        Some(match ty {
            Type::Int | Type::Long(_) => (Kind::Int, false),
            Type::Float | Type::Double => (Kind::Float, false),
            Type::Boolean => (Kind::Bool, false),
            Type::String => (Kind::Text, false),
            Type::Bytes => (Kind::Binary, false),
            Type::Named(i) => match schema.named(*i) {
                Named::Enum(_) => (Kind::Text, false),
                Named::Fixed { .. } => (Kind::Binary, false),
                Named::Record(_) => return None,
            },
            Type::Union(branches) => (Kind::of(schema, nullable(branches)?.1)?.0, true),
            Type::Null | Type::Array(_) | Type::Map(_) => return None,
        })
    }
}

/// The columns that a schema's fields become, nested ones included; maps and unions of several types have none.
pub(crate) fn columns_of(schema: &Schema) -> SchemaRef {
    let column = |f: &super::schema::Field| column_type(schema, &f.ty).map(|(t, null)| Field::new(&f.name, t, null));
    Arc::new(ArrowSchema::new(schema.record().fields.iter().filter_map(column).collect::<Vec<_>>()))
}

/// One value, for defaults.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Float(f64),
    Bool(bool),
    Bytes(Box<[u8]>),
}

impl Cell {
    /// A field's default as a value of its column; `None` when it does not fit.
    pub(crate) fn of_default(kind: Kind, ty: &Type, default: &Value) -> Option<Cell> {
        Some(match (kind, default) {
            (_, Value::Null) => Cell::Null,
            (Kind::Int, v) => Cell::Int(to_millis(unit_of(ty), v.as_i64()?)),
            (Kind::Float, v) => Cell::Float(v.as_f64()?),
            (Kind::Bool, v) => Cell::Bool(v.as_bool()?),
            (Kind::Text, v) => Cell::Bytes(v.as_str()?.as_bytes().into()),
            // Avro writes bytes in JSON as a string of code points 0 to 255.
            (Kind::Nested, _) => return None,
            (Kind::Binary, v) => Cell::Bytes(v.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<_>>>()?.into()),
        })
    }
}

fn unit_of(ty: &Type) -> LongUnit {
    match ty {
        Type::Long(unit) => *unit,
        Type::Union(branches) => nullable(branches).map_or(LongUnit::Plain, |(_, t)| unit_of(t)),
        _ => LongUnit::Plain,
    }
}

/// A long of that unit in the engine's milliseconds.
pub(crate) fn to_millis(unit: LongUnit, n: i64) -> i64 {
    match unit {
        LongUnit::Plain | LongUnit::Millis => n,
        LongUnit::Micros => n.div_euclid(1_000),
        LongUnit::Nanos => n.div_euclid(1_000_000),
    }
}

/// Where a column is: its kind and its place among the columns of that storage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
}

#[derive(Debug)]
pub(crate) struct Validity(Option<NullBufferBuilder>);

impl Validity {
    #[inline(always)]
    fn valid(&mut self) {
        if let Some(n) = &mut self.0 {
            n.append_non_null();
        }
    }
    fn null(&mut self) -> bool {
        self.0.as_mut().map(NullBufferBuilder::append_null).is_some()
    }
    fn truncate(&mut self, rows: usize) {
        if let Some(n) = &mut self.0 {
            n.truncate(rows);
        }
    }
    fn finish(&mut self) -> Option<arrow::buffer::NullBuffer> {
        self.0.as_mut().and_then(NullBufferBuilder::finish)
    }
}

#[derive(Debug)]
pub(crate) struct Ints(Vec<i64>, Validity);
#[derive(Debug)]
pub(crate) struct Floats(Vec<f64>, Validity);
#[derive(Debug)]
pub(crate) struct Bools(BooleanBufferBuilder, Validity);
#[derive(Debug)]
pub(crate) struct Texts {
    offsets: Vec<i32>,
    data: Vec<u8>,
    validity: Validity,
    text: bool,
}

impl Ints {
    #[inline(always)]
    pub(crate) fn push(&mut self, v: i64) {
        self.0.push(v);
        self.1.valid();
    }
}

impl Floats {
    #[inline(always)]
    pub(crate) fn push(&mut self, v: f64) {
        self.0.push(v);
        self.1.valid();
    }
}

impl Bools {
    #[inline(always)]
    pub(crate) fn push(&mut self, v: bool) {
        self.0.append(v);
        self.1.valid();
    }
}

impl Texts {
    #[inline(always)]
    pub(crate) fn push(&mut self, v: &[u8], strict: bool) -> Result<(), Fault> {
        if strict && self.text && std::str::from_utf8(v).is_err() {
            return Err(Fault::Malformed("a string is not UTF-8"));
        }
        let end = i32::try_from(self.data.len() + v.len()).map_err(|_| Fault::Malformed("a batch has more than 2 GiB of text"))?;
        self.data.extend_from_slice(v);
        self.offsets.push(end);
        self.validity.valid();
        Ok(())
    }
}

/// All columns of a batch under construction.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) ints: Vec<Ints>,
    pub(crate) floats: Vec<Floats>,
    pub(crate) bools: Vec<Bools>,
    pub(crate) texts: Vec<Texts>,
    /// Lists and records, and whether each may be null.
    pub(crate) nested: Vec<(nested::Column, bool)>,
    slots: Vec<Slot>,
    /// Whether each text is checked as it comes, see the head of this file.
    pub(crate) strict: bool,
}

impl Columns {
    /// Columns of these kinds and types; `true` stands for nullable.
    pub(crate) fn new(kinds: &[(Kind, bool)], types: &ArrowSchema, rows: usize, strict: bool) -> Columns {
        let mut c = Columns { ints: vec![], floats: vec![], bools: vec![], texts: vec![], nested: vec![], slots: vec![], strict };
        for (&(kind, null), field) in kinds.iter().zip(types.fields()) {
            let validity = Validity(null.then(|| NullBufferBuilder::new(rows)));
            let at = match kind {
                Kind::Int => push_at(&mut c.ints, Ints(Vec::with_capacity(rows), validity)),
                Kind::Float => push_at(&mut c.floats, Floats(Vec::with_capacity(rows), validity)),
                Kind::Bool => push_at(&mut c.bools, Bools(BooleanBufferBuilder::new(rows), validity)),
                // A type that no column may have is refused before.
                Kind::Nested => push_at(&mut c.nested, (nested::Column::new(field.data_type()).unwrap_or(nested::Column::Int(vec![], vec![])), null)),
                Kind::Text | Kind::Binary => {
                    let mut offsets = Vec::with_capacity(rows + 1);
                    offsets.push(0);
                    push_at(&mut c.texts, Texts { offsets, data: Vec::with_capacity(rows * 8), validity, text: kind == Kind::Text })
                }
            };
            c.slots.push(Slot { kind, at });
        }
        c
    }

    /// The place of each column of `kinds`, without building anything.
    pub(crate) fn slots(kinds: &[(Kind, bool)], types: &ArrowSchema) -> Vec<Slot> {
        Columns::new(kinds, types, 0, false).slots
    }

    /// Pushes a null; false when the column may not be null.
    pub(crate) fn push_null(&mut self, slot: Slot) -> bool {
        match slot.kind {
            Kind::Int => {
                self.ints[slot.at].1.null() && {
                    self.ints[slot.at].0.push(0);
                    true
                }
            }
            Kind::Float => {
                self.floats[slot.at].1.null() && {
                    self.floats[slot.at].0.push(0.0);
                    true
                }
            }
            Kind::Bool => {
                self.bools[slot.at].1.null() && {
                    self.bools[slot.at].0.append(false);
                    true
                }
            }
            Kind::Nested => {
                let (column, null) = &mut self.nested[slot.at];
                if *null {
                    column.push_null();
                }
                *null
            }
            Kind::Text | Kind::Binary => {
                let t = &mut self.texts[slot.at];
                t.validity.null() && {
                    t.offsets.push(t.data.len() as i32);
                    true
                }
            }
        }
    }

    /// Pushes a default.
    pub(crate) fn push_cell(&mut self, slot: Slot, cell: &Cell) -> Result<(), Fault> {
        match cell {
            Cell::Null if self.push_null(slot) => {}
            Cell::Null => return Err(Fault::Malformed("it is null, the contract wants a value")),
            Cell::Int(v) => self.ints[slot.at].push(*v),
            Cell::Float(v) => self.floats[slot.at].push(*v),
            Cell::Bool(v) => self.bools[slot.at].push(*v),
            Cell::Bytes(v) => self.texts[slot.at].push(v, false)?,
        }
        Ok(())
    }

    /// Forgets everything behind the first `rows` rows: what a bad row left half-written.
    pub(crate) fn truncate(&mut self, rows: usize) {
        for c in &mut self.ints {
            c.0.truncate(rows);
            c.1.truncate(rows);
        }
        for c in &mut self.floats {
            c.0.truncate(rows);
            c.1.truncate(rows);
        }
        for c in &mut self.bools {
            c.0.truncate(rows);
            c.1.truncate(rows);
        }
        for c in &mut self.texts {
            c.offsets.truncate(rows + 1);
            c.data.truncate(c.offsets.last().copied().unwrap_or(0) as usize);
            c.validity.truncate(rows);
        }
        self.nested.iter_mut().for_each(|(c, _)| c.truncate(rows));
    }

    /// The arrays, in the order of the kinds. Fails when a text is not UTF-8.
    pub(crate) fn finish(mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let slots = std::mem::take(&mut self.slots);
        slots.iter().map(|s| self.finish_one(*s)).collect()
    }

    fn finish_one(&mut self, slot: Slot) -> Result<ArrayRef, ArrowError> {
        Ok(match slot.kind {
            Kind::Int => {
                let c = &mut self.ints[slot.at];
                Arc::new(Int64Array::try_new(std::mem::take(&mut c.0).into(), c.1.finish())?)
            }
            Kind::Float => {
                let c = &mut self.floats[slot.at];
                Arc::new(Float64Array::try_new(std::mem::take(&mut c.0).into(), c.1.finish())?)
            }
            Kind::Bool => {
                let c = &mut self.bools[slot.at];
                Arc::new(BooleanArray::new(c.0.finish(), c.1.finish()))
            }
            Kind::Nested => self.nested[slot.at].0.finish()?,
            Kind::Text | Kind::Binary => {
                let c = &mut self.texts[slot.at];
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::take(&mut c.offsets)));
                let (data, nulls) = (Buffer::from(std::mem::take(&mut c.data)), c.validity.finish());
                if c.text { Arc::new(StringArray::try_new(offsets, data, nulls)?) } else { Arc::new(BinaryArray::try_new(offsets, data, nulls)?) }
            }
        })
    }
}

fn push_at<T>(list: &mut Vec<T>, item: T) -> usize {
    list.push(item);
    list.len() - 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::DataType;

    #[test]
    fn a_row_cut_back_leaves_no_trace_in_any_kind_of_column() {
        let kinds = [(Kind::Int, true), (Kind::Float, false), (Kind::Bool, true), (Kind::Text, true), (Kind::Binary, false)];
        let types = [DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Utf8, DataType::Binary];
        let types = ArrowSchema::new(types.into_iter().map(|t| Field::new("c", t, true)).collect::<Vec<_>>());
        let slots = Columns::slots(&kinds, &types);
        let mut c = Columns::new(&kinds, &types, 2, false);
        let good = [Cell::Int(1), Cell::Float(2.0), Cell::Bool(true), Cell::Bytes((*b"ab").into()), Cell::Bytes((*b"\xff").into())];
        for (s, v) in slots.iter().zip(&good) {
            c.push_cell(*s, v).unwrap();
        }
        // A second row that stops in the middle.
        assert!(c.push_null(slots[0]));
        assert!(!c.push_null(slots[1]), "a required column takes no null");
        assert!(c.push_null(slots[3]));
        c.truncate(1);
        let arrays = c.finish().unwrap();
        assert!(arrays.iter().all(|a| a.len() == 1 && a.null_count() == 0));
        assert_eq!(arrays[3].as_string::<i32>().value(0), "ab");
        assert_eq!(arrays[4].as_binary::<i32>().value(0), b"\xff");
    }
}
