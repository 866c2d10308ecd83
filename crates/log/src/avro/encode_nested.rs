//! Nested columns to Avro: lists to arrays, records by the names of their fields. What the schema has and the column
//! lacks takes its default; what depends on values (a null, a symbol) costs the row that has it.

use super::cursor::put_bytes;
use super::cursor::put_long;
use super::encode::{Write, write_of};
use super::schema::{Named, Type, nullable};
use super::value;
use crate::registry::Registered;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

/// No union around the value.
const PLAIN: u8 = u8::MAX;

/// How a column is written.
#[derive(Debug)]
pub(super) enum Put {
    Flat(Write),
    Array(Box<Maybe>),
    Record(Vec<Part>),
}

/// A value that may stand in a union with null.
#[derive(Debug)]
pub(super) struct Maybe {
    null_branch: u8,
    put: Put,
}

/// A field of a record.
#[derive(Debug)]
pub(super) struct Part {
    name: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// That column of the record.
    Child(usize, Maybe),
    /// No column: the default, encoded already.
    Constant(Vec<u8>),
}

/// Where a column does not fit: path below the field, the column's type there, what the schema wants.
pub(super) type Unfit = (String, String, String);

impl Maybe {
    /// The way from a column's type to an Avro type.
    fn plan(sink: &Registered, ty: &Type, given: &DataType) -> Result<Maybe, Unfit> {
        let (null_branch, inner) = match ty {
            Type::Union(branches) => nullable(branches).map_or((PLAIN, ty), |(null, inner)| (null as u8, inner)),
            t => (PLAIN, t),
        };
        Ok(Maybe { null_branch, put: Put::plan(sink, inner, given)? })
    }

    fn write(&self, array: &ArrayRef, i: usize, out: &mut Vec<u8>) -> Result<(), String> {
        match (self.null_branch, array.is_null(i)) {
            (PLAIN, false) => {}
            (PLAIN, true) => return Err(": it is null, the contract wants a value".into()),
            (branch, true) => {
                out.push(branch << 1); // zigzag of 0 or 1
                return Ok(());
            }
            (branch, false) => out.push((1 - branch) << 1),
        }
        self.put.write(array, i, out)
    }
}

impl Put {
    /// The way from a column's type to an Avro type that is no union with null.
    pub(super) fn plan(sink: &Registered, ty: &Type, given: &DataType) -> Result<Put, Unfit> {
        let unfit = || (String::new(), given.to_string(), sink.schema.type_name(ty));
        match (ty, given) {
            (Type::Array(item), DataType::List(field)) => {
                let item = Maybe::plan(sink, item, field.data_type()).map_err(|(path, found, wanted)| (format!("[]{path}"), found, wanted))?;
                Ok(Put::Array(Box::new(item)))
            }
            (Type::Named(i), DataType::Struct(fields)) => {
                let Named::Record(record) = sink.schema.named(*i) else { return Err(unfit()) };
                let mut parts = Vec::with_capacity(record.fields.len());
                for f in &record.fields {
                    let at = |(path, found, wanted): Unfit| (format!(".{}{path}", f.name), found, wanted);
                    let child = fields.iter().position(|c| *c.name() == f.name);
                    let source = match (child, &f.default) {
                        (Some(c), _) => Source::Child(c, Maybe::plan(sink, &f.ty, fields[c].data_type()).map_err(at)?),
                        (None, Some(default)) => {
                            let bytes =
                                value::encode_default(&sink.schema, &f.ty, default).map_err(|(path, message)| at((path, message, "its default".into())))?;
                            Source::Constant(bytes)
                        }
                        (None, None) => match &f.ty {
                            Type::Union(branches) if nullable(branches).is_some() => {
                                let mut null = Vec::new();
                                put_long(&mut null, nullable(branches).map_or(0, |(i, _)| i as i64));
                                Source::Constant(null)
                            }
                            ty => return Err(at((String::new(), "missing".into(), sink.schema.type_name(ty)))),
                        },
                    };
                    parts.push(Part { name: f.name.clone(), source });
                }
                Ok(Put::Record(parts))
            }
            _ => match write_of(sink, ty) {
                // Inside lists and records nothing is cast: their columns have engine types.
                Some((write, native)) if native == *given => Ok(Put::Flat(write)),
                _ => Err(unfit()),
            },
        }
    }

    /// Appends a value that is not null. The error begins with the path below the value.
    pub(super) fn write(&self, array: &ArrayRef, i: usize, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Put::Flat(write) => flat(write, array, i, out).map_err(|e| format!(": {e}")),
            Put::Array(item) => {
                let lists = array.as_list::<i32>();
                let (from, to) = (lists.value_offsets()[i] as usize, lists.value_offsets()[i + 1] as usize);
                if to > from {
                    put_long(out, (to - from) as i64);
                    for j in from..to {
                        item.write(lists.values(), j, out).map_err(|e| format!("[{}]{e}", j - from))?;
                    }
                }
                put_long(out, 0);
                Ok(())
            }
            Put::Record(parts) => {
                let record = array.as_struct();
                for part in parts {
                    match &part.source {
                        Source::Child(c, maybe) => maybe.write(record.column(*c), i, out).map_err(|e| format!(".{}{e}", part.name))?,
                        Source::Constant(bytes) => out.extend_from_slice(bytes),
                    }
                }
                Ok(())
            }
        }
    }
}

fn flat(write: &Write, array: &ArrayRef, i: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let long = || array.as_primitive::<Int64Type>().value(i);
    let float = || array.as_primitive::<Float64Type>().value(i);
    match write {
        Write::Int => put_long(out, i32::try_from(long()).map(i64::from).map_err(|_| format!("{} does not fit an int of 32 bits", long()))?),
        Write::Long(factor) => put_long(out, long().checked_mul(*factor).ok_or_else(|| format!("{} ms is out of range", long()))?),
        Write::Float => out.extend_from_slice(&(float() as f32).to_le_bytes()),
        Write::Double => out.extend_from_slice(&float().to_le_bytes()),
        Write::Bool => out.push(u8::from(array.as_boolean().value(i))),
        Write::Bytes if *array.data_type() == DataType::Utf8 => put_bytes(out, array.as_string::<i32>().value(i).as_bytes()),
        Write::Bytes => put_bytes(out, array.as_binary::<i32>().value(i)),
        Write::Symbol(symbols) => {
            let text = array.as_string::<i32>().value(i);
            put_long(out, *symbols.get(text.as_bytes()).ok_or_else(|| format!("`{text}` is none of the enum's symbols"))?);
        }
        Write::Fixed(n) => match array.as_binary::<i32>().value(i) {
            bytes if bytes.len() == *n => out.extend_from_slice(bytes),
            bytes => return Err(format!("{} bytes where the contract wants {n}", bytes.len())),
        },
        Write::Nested(put) => put.write(array, i, out)?,
    }
    Ok(())
}
