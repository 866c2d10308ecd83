//! A row of the board, column by name: a column that the topology leaves out is as good as null.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    rows: &'a RecordBatch,
    at: usize,
}

impl<'a> Row<'a> {
    pub(super) fn new(rows: &'a RecordBatch, at: usize) -> Self {
        Row { rows, at }
    }

    fn column(&self, name: &str) -> Option<&'a dyn Array> {
        self.rows.column_by_name(name).map(|c| c.as_ref()).filter(|c| c.is_valid(self.at))
    }

    /// A text; an empty one is none.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let column = self.column(name)?;
        let text = column.as_string_opt::<i32>()?.value(self.at);
        (!text.is_empty()).then_some(text)
    }

    /// A text of one's own.
    pub(super) fn string(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// A finite number.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let column = self.column(name)?;
        let value = match column.data_type() {
            DataType::Float64 => column.as_primitive::<Float64Type>().value(self.at),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(self.at) as f64,
            _ => return None,
        };
        value.is_finite().then_some(value)
    }

    /// A whole number: times, versions.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        let column = self.column(name)?;
        column.as_primitive_opt::<Int64Type>().map(|c| c.value(self.at))
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.column(name).and_then(|c| c.as_boolean_opt().map(|b| b.value(self.at))).unwrap_or(false)
    }

    /// The items of a text list as `list_text` writes it.
    pub(super) fn items(&self, name: &str) -> Vec<String> {
        self.text(name).into_iter().flat_map(|t| t.split(',')).filter(|i| !i.is_empty()).map(str::to_owned).collect()
    }

    /// A place on the globe.
    pub(super) fn place(&self) -> Option<crate::roads::Place> {
        let place = crate::roads::Place::new(self.number("latitude_deg")?, self.number("longitude_deg")?);
        place.is_valid().then_some(place)
    }
}
