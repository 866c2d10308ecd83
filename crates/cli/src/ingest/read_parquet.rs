//! Parquet files → rows of cells. Only the columns that the mapping uses are read; batch by batch.

use super::cell::Cell;
use super::error::IngestError;
use super::map::Map;
use super::read::{Next, Rows, file, positions};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

/// Rows of a Parquet file.
pub struct ParquetRows {
    reader: ParquetRecordBatchReader,
    /// Column of the mapping → column of the batches.
    columns: Vec<Option<usize>>,
    batch: Vec<ArrayRef>,
    rows: usize,
    next: usize,
    row: u64,
    empty: Vec<String>,
    file: String,
}

impl ParquetRows {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is no Parquet file, or lacks columns, or has them in a type that no mapping can use.
    pub fn open(path: &str, map: &Map) -> Result<ParquetRows, IngestError> {
        let fault = |e: parquet::errors::ParquetError| IngestError::file(path, e, "is it a Parquet file, completely written?");
        let builder = ParquetRecordBatchReaderBuilder::try_new(file(path)?).map_err(fault)?;
        let schema = builder.schema().clone();
        let there: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let at = positions(path, &map.columns, &there)?;
        let mut used: Vec<usize> = at.iter().flatten().copied().collect();
        used.sort_unstable();
        used.dedup();
        for index in &used {
            let field = schema.field(*index);
            if target(field.data_type()).is_none() {
                return Err(IngestError::file(
                    path,
                    format!("column `{}` is {}, which no field can take", field.name(), field.data_type()),
                    "flatten it before",
                ));
            }
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), used.iter().copied());
        let reader = builder.with_projection(mask).with_batch_size(4096).build().map_err(fault)?;
        let columns = at.iter().map(|p| p.and_then(|p| used.binary_search(&p).ok())).collect();
        Ok(ParquetRows { reader, columns, batch: Vec::new(), rows: 0, next: 0, row: 0, empty: map.empty.clone(), file: path.to_owned() })
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), IngestError> {
        let normal = |column: &ArrayRef| {
            let wanted = target(column.data_type()).unwrap_or(DataType::Utf8);
            cast(column, &wanted).map_err(|e| IngestError::file(&self.file, e, ""))
        };
        self.batch = batch.columns().iter().map(normal).collect::<Result<_, _>>()?;
        (self.rows, self.next) = (batch.num_rows(), 0);
        Ok(())
    }
}

/// The type that a column is cast to before its values are taken; `None`: it cannot be used.
fn target(ty: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match ty {
        T::Boolean => T::Boolean,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 => T::Int64,
        T::UInt64 | T::Float16 | T::Float32 | T::Float64 | T::Decimal128(..) | T::Decimal256(..) => T::Float64,
        T::Timestamp(_, zone) => T::Timestamp(TimeUnit::Millisecond, zone.clone()),
        T::Date32 | T::Date64 | T::Utf8 | T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::Dictionary(_, values) => target(values)?,
        _ => return None,
    })
}

fn cell(column: &ArrayRef, i: usize, empty: &[String]) -> Cell {
    if column.is_null(i) {
        return Cell::Empty;
    }
    match column.data_type() {
        DataType::Boolean => Cell::Bool(column.as_boolean().value(i)),
        DataType::Int64 => Cell::Int(column.as_primitive::<Int64Type>().value(i)),
        DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(i)),
        DataType::Timestamp(_, zone) => {
            let ms = column.as_primitive::<TimestampMillisecondType>().value(i);
            if zone.is_some() { Cell::Time(ms) } else { Cell::Local(ms) }
        }
        DataType::Utf8 => Cell::text(column.as_string::<i32>().value(i), empty),
        _ => Cell::Empty,
    }
}

impl Rows for ParquetRows {
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next, IngestError> {
        while self.next == self.rows {
            match self.reader.next() {
                None => return Ok(Next::End),
                Some(Ok(batch)) => self.take(&batch)?,
                Some(Err(e)) => {
                    return Err(IngestError::file(&self.file, e, "the file is damaged"));
                }
            }
        }
        for (target, column) in cells.iter_mut().zip(&self.columns) {
            *target = column.and_then(|c| self.batch.get(c)).map_or(Cell::Empty, |c| cell(c, self.next, &self.empty));
        }
        self.next += 1;
        self.row += 1;
        Ok(Next::Row(self.row))
    }
}
