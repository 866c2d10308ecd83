//! A mapping, checked: which columns become which fields of a topic's schema. What is here cannot fail any more for
//! reasons of the mapping file, only for reasons of a row.

use super::cell::{self, Cell};
use super::convert::Conversion;
use super::filter::Filter;
use super::template::{Columns, Template};
use serde_json::{Map as Object, Value};
use std::sync::Arc;

/// How rows are stored in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated or the like.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// How a CSV file is written.
#[derive(Clone, Debug)]
pub struct CsvOptions {
    /// Whether the first line names the columns.
    pub header: bool,
    /// Names of the columns when there is no header; without names they are called `1`, `2`, ….
    pub columns: Vec<String>,
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold the delimiter; none: quotes mean nothing.
    pub quote: Option<u8>,
    /// Lines that begin with this are left out.
    pub comment: Option<u8>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions { header: true, columns: Vec::new(), delimiter: b',', quote: Some(b'"'), comment: None }
    }
}

/// A checked mapping.
#[derive(Clone, Debug)]
pub struct Map {
    /// Its name: the default of `source`.
    pub name: String,
    /// The format, if the mapping gives one; otherwise the file's ending tells.
    pub format: Option<Format>,
    /// How CSV is written.
    pub csv: CsvOptions,
    /// Words that stand for no value.
    pub empty: Vec<String>,
    /// Columns used, by number.
    pub columns: Columns,
    /// Only these rows count; empty: all.
    pub only: Filter,
    /// These rows do not count.
    pub skip: Filter,
    /// These rows the source itself doubts: sent all the same, left out where an evaluation says "without faults".
    pub suspect: Filter,
    /// What each row becomes.
    pub output: Output,
    /// References found in the rows.
    pub refs: Vec<RefOutput>,
    /// Scores that a simple model reaches on these data, for evaluations to print beside their own.
    pub floor: Option<Floor>,
}

/// Known scores of a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Area under the ROC curve.
    pub auc: f64,
    /// Average precision.
    pub average_precision: f64,
}

/// A record of one topic, from one row.
#[derive(Clone, Debug)]
pub struct Output {
    /// Topic.
    pub topic: Arc<str>,
    /// The field whose value is the message key.
    pub key: String,
    /// The fields that the mapping fills.
    pub fields: Vec<Field>,
    /// Time fields that follow another: (field, of, ms later).
    pub later: Vec<(String, String, i64)>,
}

/// A reference: one record for each distinct value of an expression.
#[derive(Clone, Debug)]
pub struct RefOutput {
    /// What must differ.
    pub once_per: Template,
    /// Valid since so many ms before the first row that shows it.
    pub before_ms: i64,
    /// The record; the fields in `times` are filled with the start of its validity.
    pub output: Output,
    /// Fields that take the start of validity.
    pub times: Vec<String>,
    /// Whether `event_id` is made of topic, key and start of validity.
    pub own_event_id: bool,
}

/// One field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub from: From,
    /// When there is no value in the row; `None`: such a row is bad.
    pub missing: Option<Value>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum From {
    /// It is always this.
    Constant(Value),
    /// A column.
    Column(usize, Box<Conversion>),
    /// Text with columns in it.
    Template(Template, Box<Conversion>),
    /// A hash of columns.
    Hash(Vec<usize>),
}

/// Why a row cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct RowFault {
    /// Field that could not be filled.
    pub field: String,
    /// Why.
    pub message: String,
}

impl Output {
    /// The fields of a row as a JSON object; times that follow others included where those are known.
    ///
    /// # Errors
    /// The first field that cannot be filled.
    pub fn object(&self, cells: &[Cell], columns: &Columns) -> Result<Object<String, Value>, RowFault> {
        let mut object = Object::new();
        for field in &self.fields {
            let value = field.value(cells, columns).map_err(|message| RowFault { field: field.name.clone(), message })?;
            object.insert(field.name.clone(), value);
        }
        self.fill_later(&mut object);
        Ok(object)
    }

    /// Fills times that follow others.
    pub fn fill_later(&self, object: &mut Object<String, Value>) {
        for (field, of, by_ms) in &self.later {
            if let Some(ms) = object.get(of).and_then(Value::as_i64) {
                object.insert(field.clone(), Value::from(ms.saturating_add(*by_ms)));
            }
        }
    }
}

impl Field {
    fn value(&self, cells: &[Cell], columns: &Columns) -> Result<Value, String> {
        let name = |index: usize| columns.names().get(index).map_or("", String::as_str);
        let missing = |index: usize| self.missing.clone().ok_or_else(|| format!("column `{}` has no value", name(index)));
        match &self.from {
            From::Constant(value) => Ok(value.clone()),
            From::Column(index, conversion) => match cells.get(*index).unwrap_or(&Cell::Empty) {
                Cell::Empty => missing(*index),
                cell => conversion.value(cell).map_err(|e| format!("column `{}`: {e}", name(*index))),
            },
            From::Template(template, conversion) => match template.render(cells) {
                Ok(text) => conversion.value(&Cell::Text(text)),
                Err(index) => missing(index),
            },
            From::Hash(indices) => {
                let cells = indices.iter().map(|i| cells.get(*i).unwrap_or(&Cell::Empty).to_text());
                Ok(Value::String(cell::hash(cells)))
            }
        }
    }
}
