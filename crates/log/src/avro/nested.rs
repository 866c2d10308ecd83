//! Nested fields as whole columns: lists of records of lists. Reading is a tree of steps that mirrors the column,
//! worked out once per writer schema by the rules that flat fields have (see `program`); writing is in `encode_nested`.

use super::columns::to_millis;
use super::cursor::{Cursor, Fault};
use super::schema::{LongUnit, Named, Schema, Type, nullable};
use arrow::datatypes::{DataType, Field};
use serde_json::Value;
use std::sync::Arc;
use ws_stream::nested::{Column, MAX_DEPTH, is_column_type};

/// The column that a type becomes, flat or nested, and whether it may be null; `None` for maps, unions of several types
/// and schemas that contain themselves.
pub(crate) fn column_type(schema: &Schema, ty: &Type) -> Option<(DataType, bool)> {
    at_depth(schema, ty, 0).filter(|(t, _)| is_column_type(t))
}

fn at_depth(schema: &Schema, ty: &Type, depth: usize) -> Option<(DataType, bool)> {
    if depth > MAX_DEPTH {
        return None;
    }
    let data_type = match ty {
        Type::Int | Type::Long(_) => DataType::Int64,
        Type::Float | Type::Double => DataType::Float64,
        Type::Boolean => DataType::Boolean,
        Type::String => DataType::Utf8,
        Type::Bytes => DataType::Binary,
        Type::Array(item) => {
            let (t, null) = at_depth(schema, item, depth + 1)?;
            DataType::List(Arc::new(Field::new("item", t, null)))
        }
        Type::Union(branches) => return Some((at_depth(schema, nullable(branches)?.1, depth)?.0, true)),
        Type::Named(i) => match schema.named(*i) {
            Named::Enum(_) => DataType::Utf8,
            Named::Fixed { .. } => DataType::Binary,
            Named::Record(r) => {
                let field = |f: &super::schema::Field| at_depth(schema, &f.ty, depth + 1).map(|(t, null)| Field::new(&f.name, t, null));
                DataType::Struct(r.fields.iter().map(field).collect::<Option<Vec<_>>>()?.into())
            }
        },
        Type::Null | Type::Map(_) => return None,
    };
    Some((data_type, false))
}

const NULL: Fault = Fault::Malformed("it is null, the contract wants a value");
const UNFIT: Fault = Fault::Malformed("text is not UTF-8, or a batch has too much of it");

/// A default.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Int(i64),
    Float(f64),
    Bool(bool),
    Bytes(Box<[u8]>),
    List(Vec<Literal>),
    Record(Vec<Literal>),
}

impl Literal {
    /// A field's default as a value of its column; `None` when it does not fit.
    pub(crate) fn of(schema: &Schema, ty: &Type, default: &Value) -> Option<Literal> {
        Some(match (ty, default) {
            (Type::Union(branches), Value::Null) if branches.contains(&Type::Null) => Literal::Null,
            (Type::Union(branches), v) => Literal::of(schema, nullable(branches)?.1, v)?,
            (Type::Int, v) => Literal::Int(v.as_i64()?),
            (Type::Long(unit), v) => Literal::Int(to_millis(*unit, v.as_i64()?)),
            (Type::Float | Type::Double, v) => Literal::Float(v.as_f64()?),
            (Type::Boolean, v) => Literal::Bool(v.as_bool()?),
            (Type::String, v) => Literal::Bytes(v.as_str()?.as_bytes().into()),
            (Type::Bytes, v) => Literal::Bytes(code_points(v)?),
            (Type::Array(item), Value::Array(list)) => Literal::List(list.iter().map(|v| Literal::of(schema, item, v)).collect::<Option<_>>()?),
            (Type::Named(i), v) => match (schema.named(*i), v) {
                (Named::Enum(e), v) => Literal::Bytes(v.as_str().filter(|s| e.symbols.iter().any(|x| x == s))?.as_bytes().into()),
                (Named::Fixed { size, .. }, v) => Literal::Bytes(code_points(v).filter(|b| b.len() == *size)?),
                (Named::Record(r), Value::Object(o)) => {
                    let field = |f: &super::schema::Field| Literal::of(schema, &f.ty, o.get(&f.name).or(f.default.as_ref())?);
                    Literal::Record(r.fields.iter().map(field).collect::<Option<_>>()?)
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    pub(crate) fn push(&self, into: &mut Column) -> Result<(), Fault> {
        let fits = match (self, into) {
            (Literal::Null, into) => {
                into.push_null();
                true
            }
            (Literal::Int(v), into) => into.push_int(*v),
            (Literal::Float(v), into) => into.push_float(*v),
            (Literal::Bool(v), into) => into.push_bool(*v),
            (Literal::Bytes(v), into) => into.push_bytes(v),
            (Literal::List(items), Column::List(list)) => {
                items.iter().try_for_each(|i| i.push(&mut list.item))?;
                list.close()
            }
            (Literal::Record(values), Column::Record(record)) => {
                values.iter().zip(&mut record.children).try_for_each(|(v, c)| v.push(c))?;
                record.close();
                true
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(UNFIT) }
    }
}

/// Avro writes bytes in JSON as a string of code points 0 to 255.
fn code_points(v: &Value) -> Option<Box<[u8]>> {
    v.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<_>>>().map(Into::into)
}

/// How a writer's value is read into a column.
#[derive(Debug)]
pub(crate) enum Read {
    Int,
    Long(LongUnit),
    IntToFloat,
    LongToFloat,
    Float,
    Double,
    Bool,
    Bytes,
    Symbol(Box<[Option<Box<[u8]>>]>),
    Fixed(usize),
    Array(Box<Read>),
    Record(Box<[Step]>),
    /// One per branch, `None` for null; whether the column may be null.
    Branches(Box<[Option<Read>]>, bool),
}

/// A field of a record.
#[derive(Debug)]
pub(crate) enum Step {
    /// Into that child.
    Child(usize, Read),
    /// Nobody wants it.
    Skip(Type),
    /// The writer does not have it.
    Default(usize, Literal),
}

impl Read {
    /// The steps from a writer's type to a reader's; `None` when Avro does not allow it.
    pub(crate) fn resolve(writer: &Schema, theirs: &Type, reader: &Schema, ours: &Type) -> Option<Read> {
        let (target, may_be_null) = match ours {
            Type::Union(branches) => (nullable(branches)?.1, true),
            t => (t, false),
        };
        if let Type::Union(branches) = theirs {
            let reads = branches.iter().map(|b| if *b == Type::Null { Some(None) } else { Read::resolve(writer, b, reader, target).map(Some) });
            return Some(Read::Branches(reads.collect::<Option<Vec<_>>>()?.into(), may_be_null));
        }
        Some(match (theirs, target) {
            (Type::Int, Type::Int | Type::Long(_)) => Read::Int,
            (Type::Long(unit), Type::Long(_)) => Read::Long(*unit),
            (Type::Int, Type::Float | Type::Double) => Read::IntToFloat,
            (Type::Long(_), Type::Float | Type::Double) => Read::LongToFloat,
            (Type::Float, Type::Float | Type::Double) => Read::Float,
            (Type::Double, Type::Double) => Read::Double,
            (Type::Boolean, Type::Boolean) => Read::Bool,
            (Type::String | Type::Bytes, Type::String | Type::Bytes) => Read::Bytes,
            (Type::Array(a), Type::Array(b)) => Read::Array(Box::new(Read::resolve(writer, a, reader, b)?)),
            (Type::Named(a), Type::Named(b)) => match (writer.named(*a), reader.named(*b)) {
                (Named::Enum(a), Named::Enum(b)) => {
                    let known = a.symbols.iter().map(|s| if b.symbols.contains(s) { Some(s) } else { b.default.as_ref() });
                    Read::Symbol(known.map(|s| s.map(|s| s.as_bytes().into())).collect())
                }
                (Named::Fixed { size: a, .. }, Named::Fixed { size: b, .. }) if a == b => Read::Fixed(*a),
                (Named::Record(a), Named::Record(b)) => {
                    let mut steps = Vec::new();
                    let mut found = vec![false; b.fields.len()];
                    for f in &a.fields {
                        let child = b.fields.iter().position(|w| w.name == f.name || w.aliases.contains(&f.name));
                        steps.push(match child {
                            None => Step::Skip(f.ty.clone()),
                            Some(i) => {
                                found[i] = true;
                                Step::Child(i, Read::resolve(writer, &f.ty, reader, &b.fields[i].ty)?)
                            }
                        });
                    }
                    for (i, f) in b.fields.iter().enumerate().filter(|(i, _)| !found[*i]) {
                        steps.push(Step::Default(i, Literal::of(reader, &f.ty, f.default.as_ref()?)?));
                    }
                    Read::Record(steps.into())
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Reads one value. On an error the column holds part of it: cut it back.
    pub(crate) fn run(&self, writer: &Schema, cursor: &mut Cursor<'_>, into: &mut Column) -> Result<(), Fault> {
        let fits = match (self, into) {
            (Read::Int, into) => into.push_int(i64::from(cursor.int()?)),
            (Read::Long(unit), into) => into.push_int(to_millis(*unit, cursor.long()?)),
            (Read::IntToFloat, into) => into.push_float(f64::from(cursor.int()?)),
            (Read::LongToFloat, into) => into.push_float(cursor.long()? as f64),
            (Read::Float, into) => into.push_float(f64::from(cursor.float()?)),
            (Read::Double, into) => into.push_float(cursor.double()?),
            (Read::Bool, into) => into.push_bool(cursor.boolean()?),
            (Read::Bytes, into) => into.push_bytes(cursor.bytes()?),
            (Read::Fixed(n), into) => into.push_bytes(cursor.take(*n)?),
            (Read::Symbol(symbols), into) => {
                let i = cursor.choice(symbols.len(), "an enum has no such symbol")?;
                into.push_bytes(symbols[i].as_ref().ok_or(Fault::Malformed("an enum's symbol is not in the contract"))?)
            }
            (Read::Array(item), Column::List(list)) => {
                cursor.blocks(|c| item.run(writer, c, &mut list.item))?;
                list.close()
            }
            (Read::Record(steps), Column::Record(record)) => {
                for step in steps {
                    match step {
                        Step::Child(i, read) => read.run(writer, cursor, &mut record.children[*i])?,
                        Step::Skip(ty) => cursor.skip(writer, ty)?,
                        Step::Default(i, literal) => literal.push(&mut record.children[*i])?,
                    }
                }
                record.close();
                true
            }
            (Read::Branches(branches, may_be_null), into) => {
                let i = cursor.choice(branches.len(), "a union has no such branch")?;
                return match &branches[i] {
                    Some(read) => read.run(writer, cursor, into),
                    None if *may_be_null => {
                        into.push_null();
                        Ok(())
                    }
                    None => Err(NULL),
                };
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(UNFIT) }
    }
}
