//! A file through its mapping: good rows come out encoded, bad ones are told with their line, references are noted.

use super::cell::Cell;
use super::error::IngestError;
use super::map::{Map, Output};
use super::read::{Next, Rows};
use super::refs::Refs;
use super::report::Report;
use super::target::Row;
use serde_json::{Map as Object, Value};
use ws_log::registry::Registry;

/// Rows of a file, mapped.
pub struct Feed<'a> {
    map: &'a Map,
    registry: &'a Registry,
    rows: Box<dyn Rows>,
    cells: Vec<Cell>,
    refs: Refs,
}

impl<'a> Feed<'a> {
    /// Over an open file.
    pub fn new(map: &'a Map, registry: &'a Registry, rows: Box<dyn Rows>) -> Feed<'a> {
        Feed { map, registry, rows, cells: vec![Cell::Empty; map.columns.names().len()], refs: Refs::new(map) }
    }

    /// The next good row; what is bad goes to the report.
    ///
    /// # Errors
    /// When the file cannot be read on.
    pub fn next(&mut self, report: &mut Report<'_>) -> Result<Option<Row>, IngestError> {
        loop {
            let line = match self.rows.next(&mut self.cells)? {
                Next::End => return Ok(None),
                Next::Bad(line, reason) => {
                    report.summary.read_rows += 1;
                    report.bad(line, &reason)?;
                    continue;
                }
                Next::Row(line) => line,
            };
            report.summary.read_rows += 1;
            let counts = self.map.only.is_empty() || self.map.only.matches(&self.cells);
            if !counts || self.map.skip.matches(&self.cells) {
                report.summary.skipped_rows += 1;
                continue;
            }
            match self.row(line) {
                Ok(row) => {
                    for fault in self.refs.note(self.map, &self.cells, row.time_ms, line)? {
                        report.bad(line, &fault)?;
                    }
                    report.summary.suspect_rows += u64::from(row.suspect);
                    return Ok(Some(row));
                }
                Err(reason) => report.bad(line, &reason)?,
            }
        }
    }

    /// References that are new since the last call.
    ///
    /// # Errors
    /// When the report cannot be printed.
    pub fn references(&mut self, report: &mut Report<'_>) -> Result<Vec<Row>, IngestError> {
        let (rows, bad) = self.refs.take(self.map, self.registry);
        for (line, reason) in bad {
            report.bad(line, &reason)?;
        }
        Ok(rows)
    }

    fn row(&self, line: u64) -> Result<Row, String> {
        let object = self.map.output.object(&self.cells, &self.map.columns).map_err(|e| e.to_string())?;
        encode(self.registry, &self.map.output, object, line, self.map.suspect.matches(&self.cells))
    }
}

/// A record's fields, encoded by the topic's schema.
///
/// # Errors
/// The field that does not fit, and why.
pub fn encode(registry: &Registry, output: &Output, object: Object<String, Value>, line: u64, suspect: bool) -> Result<Row, String> {
    let key = match object.get(&output.key).and_then(Value::as_str) {
        Some(key) if !key.is_empty() => key.into(),
        _ => return Err(format!("{}: the key is empty", output.key)),
    };
    let time_ms = object.get("observed_at").and_then(Value::as_i64).unwrap_or_default();
    let value = registry.encode_json_value(&output.topic, &Value::Object(object)).map_err(|e| e.to_string())?;
    Ok(Row { topic: output.topic.clone(), key, value: value.into(), time_ms, line, suspect })
}
