//! Rows as bytes: how a stage keeps a row that it may have to emit again (a table's version, the newest row of a
//! key). One row is a null bitmap followed by its values; nulls take no room. Lists are a count and their items, records
//! their values; inside them each value has a byte in front that says whether it is null. The layout is part of the
//! state format: it must not change between versions.

use crate::nested::{self, Column};
use crate::operator::OperatorError;
use crate::store::StateError;
use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, new_null_array};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use std::sync::Arc;

/// The types a stored column may have.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Int64,
    Float64,
    Boolean,
    Utf8,
    Binary,
    /// A list or a record; its bytes have their length in front.
    Nested(DataType),
}

impl Kind {
    fn of(field: &Field) -> Result<Kind, OperatorError> {
        Ok(match field.data_type() {
            DataType::Int64 => Kind::Int64,
            DataType::Float64 => Kind::Float64,
            DataType::Boolean => Kind::Boolean,
            DataType::Utf8 => Kind::Utf8,
            DataType::Binary => Kind::Binary,
            t if nested::is_nested(t) && nested::is_column_type(t) => Kind::Nested(t.clone()),
            _ => {
                return Err(OperatorError::Column {
                    column: field.name().clone(),
                    expected: "Int64, Float64, Boolean, Utf8, Binary, or lists and records of them",
                });
            }
        })
    }
}

/// Writes rows of fixed columns as bytes and makes decoders for them.
#[derive(Clone, Debug)]
pub struct RowCodec {
    kinds: Arc<[Kind]>,
}

impl RowCodec {
    /// A codec for these columns. Fails for a type that rows cannot hold.
    pub fn new(fields: &[Arc<Field>]) -> Result<Self, OperatorError> {
        Ok(RowCodec { kinds: fields.iter().map(|f| Kind::of(f)).collect::<Result<_, _>>()? })
    }

    /// At least one byte, so that an encoded row is never empty: empty bytes are free to mean "deleted".
    fn bitmap_bytes(&self) -> usize {
        self.kinds.len().div_ceil(8).max(1)
    }

    /// Appends row `i` of `columns`, which are the codec's columns in its order.
    pub fn write(&self, columns: &[ArrayRef], i: usize, out: &mut Vec<u8>) {
        debug_assert_eq!(columns.len(), self.kinds.len());
        let bitmap = out.len();
        out.resize(bitmap + self.bitmap_bytes(), 0);
        for (n, (kind, column)) in self.kinds.iter().zip(columns).enumerate() {
            if column.is_null(i) {
                out[bitmap + n / 8] |= 1 << (n % 8);
                continue;
            }
            match kind {
                Kind::Int64 => out.extend_from_slice(&column.as_primitive::<Int64Type>().value(i).to_le_bytes()),
                Kind::Float64 => out.extend_from_slice(&column.as_primitive::<Float64Type>().value(i).to_le_bytes()),
                Kind::Boolean => out.push(u8::from(column.as_boolean().value(i))),
                Kind::Utf8 => write_bytes(column.as_string::<i32>().value(i).as_bytes(), out),
                Kind::Binary => write_bytes(column.as_binary::<i32>().value(i), out),
                Kind::Nested(_) => {
                    let at = out.len();
                    out.extend_from_slice(&[0; 4]);
                    write_value(column, i, out);
                    let n = (out.len() - at - 4) as u32;
                    out[at..at + 4].copy_from_slice(&n.to_le_bytes());
                }
            }
        }
    }

    /// All columns of these encoded rows.
    pub fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, StateError> {
        let mut decoder = self.decoder();
        rows.into_iter().try_for_each(|r| decoder.push(r))?;
        Ok(decoder.finish())
    }

    /// A decoder of all columns.
    pub fn decoder(&self) -> RowDecoder {
        self.decoder_of(&(0..self.kinds.len()).collect::<Vec<_>>())
    }

    /// A decoder of the columns at these indexes, in that order; the others are skipped. Indexes that the codec does
    /// not have yield no column.
    pub fn decoder_of(&self, projection: &[usize]) -> RowDecoder {
        let mut cells: Vec<Cells> = self.kinds.iter().map(|_| Cells::Skip).collect();
        for &p in projection {
            if let Some(kind) = self.kinds.get(p) {
                cells[p] = Cells::new(kind);
            }
        }
        RowDecoder { codec: self.clone(), cells, projection: projection.to_vec(), rows: 0 }
    }
}

/// A value that is not null.
fn write_value(array: &ArrayRef, i: usize, out: &mut Vec<u8>) {
    let maybe = |array: &ArrayRef, i: usize, out: &mut Vec<u8>| {
        out.push(u8::from(array.is_valid(i)));
        if array.is_valid(i) {
            write_value(array, i, out);
        }
    };
    match array.data_type() {
        DataType::Int64 => out.extend_from_slice(&array.as_primitive::<Int64Type>().value(i).to_le_bytes()),
        DataType::Float64 => out.extend_from_slice(&array.as_primitive::<Float64Type>().value(i).to_le_bytes()),
        DataType::Boolean => out.push(u8::from(array.as_boolean().value(i))),
        DataType::Utf8 => write_bytes(array.as_string::<i32>().value(i).as_bytes(), out),
        DataType::Binary => write_bytes(array.as_binary::<i32>().value(i), out),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let (from, to) = (lists.value_offsets()[i] as usize, lists.value_offsets()[i + 1] as usize);
            out.extend_from_slice(&((to - from) as u32).to_le_bytes());
            (from..to).for_each(|j| maybe(lists.values(), j, out));
        }
        // The codec takes no other types.
        _ => {
            if let Some(record) = array.as_struct_opt() {
                record.columns().iter().for_each(|c| maybe(c, i, out));
            }
        }
    }
}

/// Reads what [`write_value`] wrote and returns the rest; `None` for other bytes.
fn read_value<'a>(bytes: &'a [u8], into: &mut Column) -> Option<&'a [u8]> {
    fn maybe<'a>(bytes: &'a [u8], into: &mut Column) -> Option<&'a [u8]> {
        match bytes.split_first()? {
            (0, rest) => {
                into.push_null();
                Some(rest)
            }
            (1, rest) => read_value(rest, into),
            _ => None,
        }
    }
    match into {
        Column::Int(..) => {
            let (v, rest) = bytes.split_first_chunk::<8>()?;
            into.push_int(i64::from_le_bytes(*v)).then_some(rest)
        }
        Column::Float(..) => {
            let (v, rest) = bytes.split_first_chunk::<8>()?;
            into.push_float(f64::from_le_bytes(*v)).then_some(rest)
        }
        Column::Bool(..) => {
            let (v, rest) = bytes.split_first()?;
            into.push_bool(*v != 0).then_some(rest)
        }
        Column::Text(_) | Column::Binary(_) => {
            let (n, rest) = bytes.split_first_chunk::<4>()?;
            let (v, rest) = rest.split_at_checked(u32::from_le_bytes(*n) as usize)?;
            into.push_bytes(v).then_some(rest)
        }
        Column::List(list) => {
            let (n, mut rest) = bytes.split_first_chunk::<4>()?;
            for _ in 0..u32::from_le_bytes(*n) {
                rest = maybe(rest, &mut list.item)?;
            }
            list.close().then_some(rest)
        }
        Column::Record(record) => {
            let mut rest = bytes;
            for child in &mut record.children {
                rest = maybe(rest, child)?;
            }
            record.close();
            Some(rest)
        }
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// MurmurHash64A. State holds its results, so it is written out here instead of taken from a crate that may change.
pub fn hash_row(row: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut h: u64 = 0x9747_b28c ^ (row.len() as u64).wrapping_mul(M);
    let mut words = row.chunks_exact(8);
    for w in &mut words {
        let mut k = u64::from_le_bytes([w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]]).wrapping_mul(M);
        k ^= k >> 47;
        h = (h ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, b) in rest.iter().enumerate() {
            h ^= u64::from(*b) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 47;
    h = h.wrapping_mul(M);
    h ^ (h >> 47)
}

#[derive(Debug)]
enum Cells {
    Skip,
    Int64(Int64Builder),
    Float64(Float64Builder),
    Boolean(BooleanBuilder),
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
    Nested(DataType, Box<Column>),
}

impl Cells {
    fn new(kind: &Kind) -> Cells {
        match kind {
            Kind::Int64 => Cells::Int64(Int64Builder::new()),
            Kind::Float64 => Cells::Float64(Float64Builder::new()),
            Kind::Boolean => Cells::Boolean(BooleanBuilder::new()),
            Kind::Utf8 => Cells::Utf8(StringBuilder::new()),
            Kind::Binary => Cells::Binary(BinaryBuilder::new()),
            Kind::Nested(t) => Column::new(t).map_or(Cells::Skip, |c| Cells::Nested(t.clone(), Box::new(c))),
        }
    }
    fn push_null(&mut self) {
        match self {
            Cells::Skip => {}
            Cells::Int64(b) => b.append_null(),
            Cells::Float64(b) => b.append_null(),
            Cells::Boolean(b) => b.append_null(),
            Cells::Utf8(b) => b.append_null(),
            Cells::Binary(b) => b.append_null(),
            Cells::Nested(_, c) => c.push_null(),
        }
    }
    fn finish(&mut self) -> Option<ArrayRef> {
        Some(match self {
            Cells::Skip => return None,
            Cells::Int64(b) => Arc::new(b.finish()),
            Cells::Float64(b) => Arc::new(b.finish()),
            Cells::Boolean(b) => Arc::new(b.finish()),
            Cells::Utf8(b) => Arc::new(b.finish()),
            Cells::Binary(b) => Arc::new(b.finish()),
            Cells::Nested(t, c) => {
                let n = c.len();
                // What was written came from an array of this type, so its nulls are where they may be.
                c.finish().unwrap_or_else(|_| new_null_array(t, n))
            }
        })
    }
}

/// Collects encoded rows into columns. After [`RowDecoder::finish`] it is empty and can be used again.
#[derive(Debug)]
pub struct RowDecoder {
    codec: RowCodec,
    cells: Vec<Cells>,
    projection: Vec<usize>,
    rows: usize,
}

impl RowDecoder {
    /// Appends one encoded row. Fails for bytes that [`RowCodec::write`] did not write; the decoder is of no further
    /// use then.
    pub fn push(&mut self, row: &[u8]) -> Result<(), StateError> {
        let damaged = || StateError(format!("a row of {} bytes does not fit its columns", row.len()));
        let (bitmap, mut rest) = row.split_at_checked(self.codec.bitmap_bytes()).ok_or_else(damaged)?;
        for (n, (kind, cells)) in self.codec.kinds.iter().zip(&mut self.cells).enumerate() {
            if bitmap[n / 8] & (1 << (n % 8)) != 0 {
                cells.push_null();
                continue;
            }
            let length = match kind {
                Kind::Int64 | Kind::Float64 => 8,
                Kind::Boolean => 1,
                Kind::Utf8 | Kind::Binary | Kind::Nested(_) => {
                    let (length, r) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
                    rest = r;
                    u32::from_le_bytes(*length) as usize
                }
            };
            let (value, r) = rest.split_at_checked(length).ok_or_else(damaged)?;
            rest = r;
            match cells {
                Cells::Skip => {}
                Cells::Int64(b) => b.append_value(i64::from_le_bytes(value.try_into().map_err(|_| damaged())?)),
                Cells::Float64(b) => b.append_value(f64::from_le_bytes(value.try_into().map_err(|_| damaged())?)),
                Cells::Boolean(b) => b.append_value(value[0] != 0),
                Cells::Utf8(b) => b.append_value(std::str::from_utf8(value).map_err(|_| damaged())?),
                Cells::Binary(b) => b.append_value(value),
                Cells::Nested(_, c) => {
                    if read_value(value, c).is_none_or(|rest| !rest.is_empty()) {
                        return Err(damaged());
                    }
                }
            }
        }
        if !rest.is_empty() {
            return Err(damaged());
        }
        self.rows += 1;
        Ok(())
    }

    /// Appends a row of nulls.
    pub fn push_nulls(&mut self) {
        self.cells.iter_mut().for_each(Cells::push_null);
        self.rows += 1;
    }

    /// Rows collected.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True when no row was collected.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The columns asked for.
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.rows = 0;
        let arrays: Vec<Option<ArrayRef>> = self.cells.iter_mut().map(Cells::finish).collect();
        self.projection.iter().filter_map(|p| arrays.get(*p).cloned().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use arrow::array::{BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray};

    fn columns() -> (Vec<Arc<Field>>, Vec<ArrayRef>) {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(-1), None, Some(i64::MAX), Some(0)])),
            Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::INFINITY), None, Some(-0.0)])),
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)])),
            Arc::new(StringArray::from(vec![Some(""), Some("größer"), None, Some("x")])),
            Arc::new(BinaryArray::from(vec![Some(&b"\0\xff"[..]), None, Some(b""), Some(b"abc")])),
        ];
        let fields = columns.iter().enumerate();
        (fields.map(|(i, c)| Arc::new(Field::new(format!("c{i}"), c.data_type().clone(), true))).collect(), columns)
    }

    #[test]
    fn what_was_written_is_read_back_whole_or_in_part() {
        let (fields, columns) = columns();
        let codec = RowCodec::new(&fields).unwrap();
        let (mut all, mut some) = (codec.decoder(), codec.decoder_of(&[3, 0, 3]));
        for i in 0..4 {
            let mut row = Vec::new();
            codec.write(&columns, i, &mut row);
            all.push(&row).unwrap();
            some.push(&row).unwrap();
        }
        assert_eq!((all.len(), some.len()), (4, 4));
        assert_eq!(all.finish(), columns);
        assert_eq!(some.finish(), vec![columns[3].clone(), columns[0].clone(), columns[3].clone()]);
        some.push_nulls();
        assert_eq!(some.finish().iter().map(|c| c.null_count()).collect::<Vec<_>>(), vec![1, 1, 1]);
    }

    /// Lists of records with lists in them, nulls at every level.
    fn nested_column() -> ArrayRef {
        let texts = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let record =
            DataType::Struct(vec![Field::new("n", DataType::Int64, true), Field::new("t", texts, true), Field::new("b", DataType::Boolean, false)].into());
        let mut c = Column::new(&DataType::List(Arc::new(Field::new("item", record, true)))).unwrap();
        for row in 0..3 {
            let Column::List(list) = &mut c else { panic!() };
            for item in 0..row {
                if item == 1 {
                    list.item.push_null();
                    continue;
                }
                let Column::Record(r) = list.item.as_mut() else { panic!() };
                if row == 1 {
                    r.children[0].push_null()
                } else {
                    assert!(r.children[0].push_int(row))
                }
                let Column::List(t) = &mut r.children[1] else { panic!() };
                assert!(t.item.push_bytes("größer".as_bytes()));
                t.item.push_null();
                assert!(t.close() && r.children[2].push_bool(true));
                r.close();
            }
            assert!(list.close());
        }
        c.push_null();
        c.finish().unwrap()
    }

    #[test]
    fn nested_columns_are_read_back_and_damage_is_refused() {
        let columns = vec![nested_column(), columns().1[0].clone()];
        let fields: Vec<Arc<Field>> = columns.iter().map(|c| Arc::new(Field::new("c", c.data_type().clone(), true))).collect();
        let codec = RowCodec::new(&fields).unwrap();
        let (mut all, mut second) = (codec.decoder(), codec.decoder_of(&[1]));
        let mut rows = Vec::new();
        for i in 0..4 {
            let mut row = Vec::new();
            codec.write(&columns, i, &mut row);
            all.push(&row).unwrap();
            second.push(&row).unwrap();
            rows.push(row);
        }
        assert_eq!(all.finish(), columns);
        assert_eq!(second.finish(), columns[1..]);
        for cut in 0..rows[2].len() {
            assert!(codec.decoder().push(&rows[2][..cut]).is_err(), "cut at {cut}");
        }
        // Bent bytes are an error or another row, never a panic.
        for at in 0..rows[2].len() {
            for bit in 0..8 {
                let mut bent = rows[2].clone();
                bent[at] ^= 1 << bit;
                let mut decoder = codec.decoder();
                if decoder.push(&bent).is_ok() {
                    assert_eq!(decoder.finish()[0].len(), 1);
                }
            }
        }
        // A slice of an array is as good as the array.
        let sliced = vec![columns[0].slice(2, 2), columns[1].slice(2, 2)];
        let mut row = Vec::new();
        codec.write(&sliced, 0, &mut row);
        assert_eq!(row, rows[2]);
    }

    #[test]
    fn damaged_rows_are_refused_and_none_is_ever_empty() {
        let (fields, columns) = columns();
        let codec = RowCodec::new(&fields).unwrap();
        let mut row = Vec::new();
        codec.write(&columns, 0, &mut row);
        for cut in 0..row.len() {
            assert!(codec.decoder().push(&row[..cut]).is_err(), "cut at {cut}");
        }
        row.push(0);
        assert!(codec.decoder().push(&row).is_err(), "trailing byte");
        let mut empty = Vec::new();
        RowCodec::new(&[]).unwrap().write(&[], 0, &mut empty);
        assert!(!empty.is_empty());
        assert!(RowCodec::new(&[Arc::new(Field::new("x", DataType::Float32, true))]).is_err());
    }

    #[test]
    fn hashes_are_fixed_and_tell_lengths_apart() {
        assert_eq!(hash_row(b""), hash_row(b""));
        let all: std::collections::HashSet<u64> = (0..40).map(|n| hash_row(&vec![0; n])).collect();
        assert_eq!(all.len(), 40);
        assert_eq!(hash_row(b"0123456789"), HASH_OF_DIGITS, "a change here would lose what state remembers");
    }
    const HASH_OF_DIGITS: u64 = 1_980_011_046_217_467_677;
}
