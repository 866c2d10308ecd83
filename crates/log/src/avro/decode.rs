//! Record values to columns. Each record is read inside its own bytes and must end exactly there; a bad one is cut
//! out of the columns again and reported, its neighbours never notice. Writers' schemas are looked up by the id in
//! the framing and resolved once each.

use super::columns::{Columns, Kind};
use super::cursor::{Cursor, Fault};
use super::nested::column_type;
use super::program::{Program, Wanted};
use super::schema::Field;
use super::{AvroError, MAX_VALUE_BYTES, unframe};
use crate::registry::{Registered, Registry};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use std::collections::HashMap;
use std::sync::Arc;
use ws_stream::codec::{Decode, Decoded, RowError};
use ws_stream::records::Records;

/// How many unknown schema ids are remembered, so that garbage ids cannot fill memory.
const MAX_REMEMBERED_IDS: usize = 1024;

/// Decodes a topic's Confluent-framed Avro values into the columns that a topology uses.
pub struct AvroDecoder {
    registry: Arc<Registry>,
    reader: Arc<Registered>,
    wanted: Vec<Wanted>,
    kinds: Vec<(Kind, bool)>,
    schema: SchemaRef,
    max_value_bytes: usize,
    programs: HashMap<u32, Result<Arc<Program>, (&'static str, String)>>,
}

impl AvroDecoder {
    /// A decoder for `topic`, reading by its newest schema. `columns` names what the topology uses, in the order
    /// wanted; `None` takes every flat field. A column that is missing, or of a type that no column has, is an error.
    pub fn new(registry: Arc<Registry>, topic: &str, columns: Option<&[&str]>) -> Result<AvroDecoder, AvroError> {
        let reader = registry.for_topic(topic)?.clone();
        let fields = &reader.schema.record().fields;
        let mut chosen = Vec::new();
        match columns {
            None => chosen.extend(fields.iter().filter_map(|f| Kind::of(&reader.schema, &f.ty).map(|(k, null)| (f, k, null)))),
            Some(names) => {
                for name in names {
                    let field = fields.iter().find(|f| f.name == *name).ok_or_else(|| AvroError::unknown_column(topic, name, &reader.schema))?;
                    let (_, null) = column_type(&reader.schema, &field.ty).ok_or_else(|| AvroError::NestedColumn {
                        topic: topic.to_string(),
                        column: field.name.clone(),
                        found: reader.schema.type_name(&field.ty),
                    })?;
                    let kind = Kind::of(&reader.schema, &field.ty).map_or(Kind::Nested, |(kind, _)| kind);
                    chosen.push((field, kind, null));
                }
            }
        }
        let kinds: Vec<(Kind, bool)> = chosen.iter().map(|(_, kind, null)| (*kind, *null)).collect();
        let column = |f: &Field, null: bool| column_type(&reader.schema, &f.ty).map(|(t, _)| ArrowField::new(&f.name, t, null));
        let schema = Arc::new(ArrowSchema::new(chosen.iter().filter_map(|(f, _, null)| column(f, *null)).collect::<Vec<_>>()));
        let slots = Columns::slots(&kinds, &schema);
        let wanted: Vec<Wanted> = chosen.iter().zip(slots).map(|(&(f, kind, nullable), slot)| Wanted { field: f.clone(), kind, nullable, slot }).collect();
        Ok(AvroDecoder { registry, reader, wanted, kinds, schema, max_value_bytes: MAX_VALUE_BYTES, programs: HashMap::new() })
    }

    /// Values longer than this become dead letters (`oversized`).
    pub fn with_max_value_bytes(mut self, bytes: usize) -> AvroDecoder {
        self.max_value_bytes = bytes;
        self
    }

    fn program(&mut self, id: u32) -> Result<Arc<Program>, (&'static str, String)> {
        if let Some(p) = self.programs.get(&id) {
            return p.clone();
        }
        let program = match self.registry.by_id(id) {
            Err(e) => Err(("unknown_schema", e.to_string())),
            Ok(writer) => Program::resolve(&writer.schema, &self.reader.schema, &self.wanted)
                .map(Arc::new)
                .map_err(|e| ("undecodable", format!("schema {id} ({} version {}): {e}", writer.subject, writer.version))),
        };
        if self.programs.len() < MAX_REMEMBERED_IDS {
            self.programs.insert(id, program.clone());
        }
        program
    }

    fn read(&mut self, records: &Records, strict: bool) -> (Columns, Vec<u32>, Vec<u32>, Vec<RowError>) {
        let n = records.rows.len();
        let mut columns = Columns::new(&self.kinds, &self.schema, n, strict);
        let (mut index, mut tombstones, mut dead) = (Vec::with_capacity(n), Vec::new(), Vec::new());
        let mut current: Option<(u32, Arc<Program>)> = None;
        let buffer: &[u8] = &records.buffer;
        for (i, row) in records.rows.iter().enumerate() {
            let Some(value) = row.value.of(buffer) else {
                tombstones.push(i as u32);
                continue;
            };
            let mut refuse = |reason: &'static str, error: String, schema_id: Option<u32>| dead.push(RowError { row: i, reason, error, schema_id });
            if value.len() > self.max_value_bytes {
                refuse("oversized", format!("the value has {} bytes, the limit is {}", value.len(), self.max_value_bytes), None);
                continue;
            }
            let Some((id, body)) = unframe(value) else {
                refuse("not_framed", "the value does not begin with 0x00 and a schema id".into(), None);
                continue;
            };
            if current.as_ref().is_none_or(|(known, _)| *known != id) {
                match self.program(id) {
                    Ok(program) => current = Some((id, program)),
                    Err((reason, error)) => {
                        refuse(reason, error, Some(id));
                        continue;
                    }
                }
            }
            let Some((_, program)) = &current else {
                continue;
            };
            let mut cursor = Cursor::new(body);
            let (reason, error) = match program.run(&mut cursor, &mut columns) {
                Ok(()) if cursor.left() == 0 => {
                    index.push(i as u32);
                    continue;
                }
                Ok(()) => ("trailing_bytes", format!("{} bytes follow the record", cursor.left())),
                Err((Fault::Truncated, field)) => ("truncated", format!("the value ends inside field `{field}`")),
                Err((Fault::Malformed(what), field)) => ("undecodable", format!("field `{field}`: {what}")),
            };
            columns.truncate(index.len());
            refuse(reason, error, Some(id));
        }
        (columns, index, tombstones, dead)
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Option<RecordBatch> {
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows))).ok()
    }
}

impl Decode for AvroDecoder {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn decode(&mut self, records: &Records) -> Decoded {
        for strict in [false, true] {
            let (columns, index, tombstones, dead) = self.read(records, strict);
            if let Some(rows) = columns.finish().ok().and_then(|c| self.batch(c, index.len())) {
                return Decoded { rows, index, tombstones, dead };
            }
        }
        // Every text was checked in the second round, so this is out of reach; were it not, no row would be lost.
        let all = (0..records.rows.len()).map(|row| RowError { row, reason: "undecodable", error: "the batch could not be built".into(), schema_id: None });
        Decoded { rows: RecordBatch::new_empty(self.schema.clone()), index: vec![], tombstones: vec![], dead: all.collect() }
    }
}
