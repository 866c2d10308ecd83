//! References found in the rows: one record for each distinct value of an expression, valid from a little before the
//! first row that shows it. In file order a later line may show an earlier time: then the reference is sent again with
//! the earlier start.

use super::cell::Cell;
use super::error::IngestError;
use super::feed::encode;
use super::map::{Map, RefOutput};
use super::target::Row;
use serde_json::{Map as Object, Value};
use std::collections::{BTreeMap, BTreeSet};
use ws_log::registry::Registry;

/// More distinct references than this are refused: `once_per` then names a column that is no id.
pub const MAX_REFERENCES: usize = 1_000_000;

#[derive(Default)]
struct Known {
    /// Time of the first row, its line, the record's fields.
    first: BTreeMap<String, (i64, u64, Object<String, Value>)>,
    /// Not sent yet, or with a start that has moved.
    changed: BTreeSet<String>,
    /// Values whose record could not be made: told once.
    refused: BTreeSet<String>,
}

/// References seen so far.
pub struct Refs {
    known: Vec<Known>,
    count: usize,
}

impl Refs {
    /// None seen yet.
    pub fn new(map: &Map) -> Refs {
        Refs { known: map.refs.iter().map(|_| Known::default()).collect(), count: 0 }
    }

    /// Takes note of a good row; the answer is why a reference cannot be made of it.
    ///
    /// # Errors
    /// When there are too many.
    pub fn note(&mut self, map: &Map, cells: &[Cell], time_ms: i64, line: u64) -> Result<Vec<String>, IngestError> {
        let mut faults = Vec::new();
        for (of, known) in map.refs.iter().zip(&mut self.known) {
            let Ok(value) = of.once_per.render(cells) else {
                continue;
            };
            if known.first.get(&value).is_some_and(|(first_ms, ..)| *first_ms <= time_ms) {
                continue;
            }
            match of.output.object(cells, &map.columns) {
                Ok(object) => {
                    self.count += usize::from(!known.first.contains_key(&value));
                    known.changed.insert(value.clone());
                    known.first.insert(value, (time_ms, line, object));
                }
                Err(fault) => {
                    if known.refused.insert(value) {
                        faults.push(format!("{}: {fault}", of.output.topic));
                    }
                }
            }
            if self.count > MAX_REFERENCES {
                return Err(IngestError::Setting(format!("more than {MAX_REFERENCES} references for {}: does `once_per` name an id?", of.output.topic)));
            }
        }
        Ok(faults)
    }

    /// The references that are new or have an earlier start than before, in the order of the mapping. The second list
    /// tells lines whose reference does not fit its schema.
    pub fn take(&mut self, map: &Map, registry: &Registry) -> (Vec<Row>, Vec<(u64, String)>) {
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        for (of, known) in map.refs.iter().zip(&mut self.known) {
            for value in std::mem::take(&mut known.changed) {
                let Some((first_ms, line, object)) = known.first.get(&value) else {
                    continue;
                };
                match row(of, object.clone(), *first_ms, *line, registry) {
                    Ok(row) => rows.push(row),
                    Err(message) => bad.push((*line, message)),
                }
            }
        }
        (rows, bad)
    }
}

fn row(of: &RefOutput, mut object: Object<String, Value>, first_ms: i64, line: u64, registry: &Registry) -> Result<Row, String> {
    let from_ms = first_ms.saturating_sub(of.before_ms);
    for field in &of.times {
        object.insert(field.clone(), Value::from(from_ms));
    }
    of.output.fill_later(&mut object);
    if of.own_event_id {
        let key = object.get(&of.output.key).and_then(Value::as_str).unwrap_or_default();
        object.insert("event_id".into(), format!("{}/{key}/{from_ms}", of.output.topic).into());
    }
    encode(registry, &of.output, object, line, false)
}
