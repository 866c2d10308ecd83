//! The shape of every batch between stages: three system columns first, the user's columns behind them. Keeping them
//! in the `RecordBatch` means that a filter, a take or a concat can never separate a row from its time and position.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::sync::Arc;

/// Event time, Int64, UTC milliseconds.
pub const TIME: &str = "__time";
/// Input offset the row stems from, Int64; for a row made by a timer, that of the key's newest input.
pub const OFFSET: &str = "__offset";
/// True for a correction: the row is older than its key's newest, but within the lateness allowed.
pub const LATE: &str = "__late";
/// How many system columns stand in front.
pub const SYSTEM_COLUMNS: usize = 3;

/// The schema of a batch with these user fields.
pub fn with_system(user: &Schema) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = vec![
        Arc::new(Field::new(TIME, DataType::Int64, false)),
        Arc::new(Field::new(OFFSET, DataType::Int64, false)),
        Arc::new(Field::new(LATE, DataType::Boolean, false)),
    ];
    fields.extend(user.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// The user's part of a schema.
pub fn user_fields(schema: &Schema) -> &[Arc<Field>] {
    &schema.fields()[SYSTEM_COLUMNS.min(schema.fields().len())..]
}

/// Event times of a batch.
pub fn times(rows: &RecordBatch) -> &[i64] {
    rows.column(0).as_primitive::<Int64Type>().values()
}

/// Input offsets of a batch.
pub fn offsets(rows: &RecordBatch) -> &[i64] {
    rows.column(1).as_primitive::<Int64Type>().values()
}

/// Which rows are corrections.
pub fn late(rows: &RecordBatch) -> &BooleanArray {
    rows.column(2).as_boolean()
}

/// Puts a batch together from system and user columns. All columns must have one length.
pub fn assemble(schema: &SchemaRef, time: Vec<i64>, offset: Vec<i64>, late: Vec<bool>, user: Vec<ArrayRef>) -> Result<RecordBatch, arrow::error::ArrowError> {
    let n = time.len();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(time)), Arc::new(Int64Array::from(offset)), Arc::new(BooleanArray::from(late))];
    columns.extend(user);
    RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(n)))
}

/// Writes row `i`'s values of `columns` as one key: a single string or binary column is its bytes, several are each
/// prefixed by a u32 LE length; numbers are 8 bytes LE. Returns false when a part is null (a row without a key).
pub fn write_key(columns: &[ArrayRef], i: usize, out: &mut Vec<u8>) -> bool {
    out.clear();
    for c in columns {
        if c.is_null(i) {
            return false;
        }
        let start = out.len();
        if columns.len() > 1 {
            out.extend_from_slice(&[0; 4]);
        }
        match c.data_type() {
            DataType::Utf8 => out.extend_from_slice(c.as_string::<i32>().value(i).as_bytes()),
            DataType::Binary => out.extend_from_slice(c.as_binary::<i32>().value(i)),
            DataType::Int64 => out.extend_from_slice(&c.as_primitive::<Int64Type>().value(i).to_le_bytes()),
            DataType::Boolean => out.push(u8::from(c.as_boolean().value(i))),
            _ => return false,
        }
        if columns.len() > 1 {
            let n = (out.len() - start - 4) as u32;
            out[start..start + 4].copy_from_slice(&n.to_le_bytes());
        }
    }
    true
}

/// Splits a key of [`write_key`] made of `parts` columns.
pub fn read_key(key: &[u8], parts: usize) -> Vec<&[u8]> {
    if parts == 1 {
        return vec![key];
    }
    let (mut rest, mut out) = (key, Vec::with_capacity(parts));
    while let Some((n, r)) = rest.split_first_chunk::<4>() {
        let Some((part, r)) = r.split_at_checked(u32::from_le_bytes(*n) as usize) else { break };
        out.push(part);
        rest = r;
    }
    out
}
