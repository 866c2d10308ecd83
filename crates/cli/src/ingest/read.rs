//! Files → rows of cells. Each reader yields the columns that the mapping uses, in its numbering, and tells the line;
//! a row that cannot be read is reported and the next one goes on.

use super::cell::Cell;
use super::error::IngestError;
use super::map::{Format, Map};
use super::read_parquet::ParquetRows;
use super::template::Columns;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use ws_plan::errors::did_you_mean;

/// A JSON line or CSV record longer than this is refused; larger ones are a broken file more often than a reading.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The cells are filled from this line (of Parquet: row).
    Row(u64),
    /// This line cannot be read.
    Bad(u64, String),
    /// There is no more.
    End,
}

/// A source of rows.
pub trait Rows {
    /// Reads the next row into `cells`, one for each column of the mapping.
    ///
    /// # Errors
    /// When the file as a whole cannot be read on.
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next, IngestError>;
}

/// Opens a file; `-` is standard input.
///
/// # Errors
/// When it cannot be opened, its format is unknown, or it lacks a column that the mapping needs.
pub fn open(path: &str, format: Option<Format>, map: &Map) -> Result<Box<dyn Rows>, IngestError> {
    let format = match format.or(map.format) {
        Some(format) => format,
        None => by_ending(path)?,
    };
    if format == Format::Parquet {
        if path == "-" {
            return Err(IngestError::file(path, "Parquet cannot be read from standard input", "give the file's name"));
        }
        return Ok(Box::new(ParquetRows::open(path, map)?));
    }
    let input: Box<dyn Read> = match path {
        "-" => Box::new(std::io::stdin()),
        _ => Box::new(file(path)?),
    };
    Ok(match format {
        Format::Csv => Box::new(CsvRows::new(path, input, map)?),
        _ => Box::new(JsonRows::new(path, input, map)),
    })
}

/// Opens a file with its name in the error.
///
/// # Errors
/// When it cannot be opened.
pub fn file(path: &str) -> Result<File, IngestError> {
    File::open(path).map_err(|e| IngestError::file(path, e, ""))
}

fn by_ending(path: &str) -> Result<Format, IngestError> {
    let ending = path.rsplit_once('.').map_or("", |(_, e)| e).to_ascii_lowercase();
    match ending.as_str() {
        "csv" | "tsv" | "txt" => Ok(Format::Csv),
        "jsonl" | "ndjson" | "json" => Ok(Format::Jsonl),
        "parquet" => Ok(Format::Parquet),
        "gz" | "zst" | "bz2" | "xz" => Err(IngestError::file(
            path,
            "compressed files are not read directly",
            "unpack it into standard input: `zcat FILE | wastestream ingest --format csv … -`",
        )),
        _ => Err(IngestError::file(path, "its name does not tell its format", "say `--format csv`, `jsonl` or `parquet`, or `format:` in the mapping")),
    }
}

/// Where each column of the mapping stands in the file.
///
/// # Errors
/// Names the needed columns that are absent.
pub fn positions(file: &str, columns: &Columns, there: &[String]) -> Result<Vec<Option<usize>>, IngestError> {
    let positions: Vec<Option<usize>> = columns.names().iter().map(|name| there.iter().position(|t| t == name)).collect();
    let missing: Vec<&str> =
        positions.iter().enumerate().filter(|(i, p)| p.is_none() && !columns.is_optional(*i)).map(|(i, _)| columns.names()[i].as_str()).collect();
    let Some(first) = missing.first() else {
        return Ok(positions);
    };
    let hint = did_you_mean(first, there.iter().map(String::as_str)).unwrap_or_else(|| "the file is empty".into());
    let missing = missing.iter().map(|m| format!("`{m}`")).collect::<Vec<_>>().join(", ");
    Err(IngestError::file(file, format!("it has no column {missing}"), hint))
}

struct CsvRows {
    reader: csv::Reader<Box<dyn Read>>,
    record: csv::ByteRecord,
    positions: Vec<Option<usize>>,
    width: usize,
    empty: Vec<String>,
    file: String,
}

impl CsvRows {
    fn new(file: &str, input: Box<dyn Read>, map: &Map) -> Result<CsvRows, IngestError> {
        let csv = &map.csv;
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(csv.header)
            .flexible(true)
            .delimiter(csv.delimiter)
            .quote(csv.quote.unwrap_or(b'"'))
            .quoting(csv.quote.is_some())
            .comment(csv.comment)
            .from_reader(input);
        let fault = |e: csv::Error| IngestError::file(file, e, "");
        let there: Vec<String> = if csv.header {
            let header = reader.byte_headers().map_err(fault)?;
            header.iter().map(|h| String::from_utf8_lossy(h).trim_start_matches('\u{feff}').trim().to_owned()).collect()
        } else if csv.columns.is_empty() {
            let width = map.columns.names().iter().filter_map(|n| n.parse::<usize>().ok()).max().unwrap_or(0);
            (1..=width).map(|n| n.to_string()).collect()
        } else {
            csv.columns.clone()
        };
        let named = csv.header || !csv.columns.is_empty();
        Ok(CsvRows {
            reader,
            record: csv::ByteRecord::new(),
            positions: positions(file, &map.columns, &there)?,
            width: if named { there.len() } else { 0 },
            empty: map.empty.clone(),
            file: file.to_owned(),
        })
    }
}

impl Rows for CsvRows {
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next, IngestError> {
        if !self.reader.read_byte_record(&mut self.record).map_err(|e| IngestError::file(&self.file, e, ""))? {
            return Ok(Next::End);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        if self.record.as_slice().len() > MAX_LINE_BYTES {
            return Ok(Next::Bad(line, format!("the record is longer than {MAX_LINE_BYTES} bytes: is a quote left open?")));
        }
        if self.width > 0 && self.record.len() != self.width {
            return Ok(Next::Bad(line, format!("it has {} fields, not {}", self.record.len(), self.width)));
        }
        for (cell, position) in cells.iter_mut().zip(&self.positions) {
            let raw = position.and_then(|p| self.record.get(p)).unwrap_or_default();
            *cell = match std::str::from_utf8(raw) {
                Ok(text) => Cell::text(text, &self.empty),
                Err(_) => return Ok(Next::Bad(line, "it is not UTF-8".into())),
            };
        }
        Ok(Next::Row(line))
    }
}

struct JsonRows {
    input: BufReader<Box<dyn Read>>,
    buffer: Vec<u8>,
    line: u64,
    columns: Vec<String>,
    empty: Vec<String>,
    file: String,
}

impl JsonRows {
    fn new(file: &str, input: Box<dyn Read>, map: &Map) -> JsonRows {
        JsonRows {
            input: BufReader::with_capacity(1 << 16, input),
            buffer: Vec::new(),
            line: 0,
            columns: map.columns.names().to_vec(),
            empty: map.empty.clone(),
            file: file.to_owned(),
        }
    }

    /// Reads a line; false at the end. Of a line over the limit only the limit is kept.
    fn line(&mut self) -> Result<bool, IngestError> {
        self.buffer.clear();
        let fault = |e: std::io::Error| IngestError::file(&self.file, e, "");
        let n = self.input.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut self.buffer).map_err(fault)?;
        if n > MAX_LINE_BYTES && self.buffer.last() != Some(&b'\n') {
            self.input.skip_until(b'\n').map_err(fault)?;
        }
        self.line += 1;
        Ok(n > 0)
    }
}

impl Rows for JsonRows {
    fn next(&mut self, cells: &mut [Cell]) -> Result<Next, IngestError> {
        loop {
            if !self.line()? {
                return Ok(Next::End);
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                return Ok(Next::Bad(self.line, format!("the line is longer than {MAX_LINE_BYTES} bytes")));
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        let object: serde_json::Map<String, serde_json::Value> = match serde_json::from_slice(&self.buffer) {
            Ok(object) => object,
            Err(e) => {
                let hint = if self.buffer.trim_ascii_start().starts_with(b"[") { ": JSON Lines have one object a line, no list" } else { "" };
                return Ok(Next::Bad(self.line, format!("it is no JSON object ({e}){hint}")));
            }
        };
        for (cell, name) in cells.iter_mut().zip(&self.columns) {
            *cell = json_cell(at_path(&object, name), &self.empty);
        }
        Ok(Next::Row(self.line))
    }
}

/// A member of an object: by its name, or along dots (`payload.level`).
fn at_path<'a>(object: &'a serde_json::Map<String, serde_json::Value>, name: &str) -> Option<&'a serde_json::Value> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    at_path(object.get(first)?.as_object()?, rest)
}

fn json_cell(value: Option<&serde_json::Value>, empty: &[String]) -> Cell {
    use serde_json::Value;
    match value {
        None | Some(Value::Null) => Cell::Empty,
        Some(Value::Bool(b)) => Cell::Bool(*b),
        Some(Value::Number(n)) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => Cell::Int(n),
            (None, Some(x)) => Cell::Float(x),
            (None, None) => Cell::Text(n.to_string()),
        },
        Some(Value::String(text)) => Cell::text(text, empty),
        Some(other) => Cell::Nested(other.clone()),
    }
}
