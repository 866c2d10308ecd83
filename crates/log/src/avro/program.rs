//! How one writer's records become the columns that a reader wants: a list of steps in the order of the writer's
//! fields, worked out once per writer schema by Avro's resolution rules (by name; a missing field takes the reader's
//! default; int → long → double). Fields that nobody wants become skips, so the whole record is still checked.

use super::columns::{Cell, Columns, Kind, Slot, to_millis};
use super::cursor::{Cursor, Fault};
use super::nested::{Literal, Read};
use super::schema::{Field, LongUnit, Named, Schema, Type, nullable};
use std::sync::Arc;

/// A column that a reader wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) field: Field,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    pub(crate) slot: Slot,
}

/// No union around the value.
const PLAIN: u8 = u8::MAX;

struct Step {
    /// Number of the null branch, 0 or 1, or [`PLAIN`].
    null_branch: u8,
    /// Column to fill; `None` skips.
    slot: Option<Slot>,
    action: Action,
    /// The writer's field, for errors.
    name: Box<str>,
}

enum Action {
    Int(usize),
    Long(usize),
    LongIn(usize, LongUnit),
    IntToFloat(usize),
    LongToFloat(usize),
    Float(usize),
    Double(usize),
    Bool(usize),
    Bytes(usize),
    Symbol(usize, Box<[Option<Box<[u8]>>]>),
    Fixed(usize, usize),
    /// A union that is more than "or null": one action per branch, `None` for null.
    Branches(Box<[Option<Action>]>),
    /// A field that the writer does not have.
    Default(Cell),
    /// A list or a record.
    Nested(usize, Read),
    /// The same, where the writer does not have it.
    NestedDefault(usize, Literal),
    SkipBytes(usize),
    Skip(Type),
}

/// The steps for one writer schema.
pub(crate) struct Program {
    writer: Arc<Schema>,
    steps: Vec<Step>,
}

impl Program {
    /// Resolves a writer's schema against the columns wanted; the error says which field does not fit and why.
    pub(crate) fn resolve(writer: &Arc<Schema>, reader: &Schema, wanted: &[Wanted]) -> Result<Program, String> {
        let mut steps: Vec<Step> = Vec::new();
        let mut found = vec![false; wanted.len()];
        for field in &writer.record().fields {
            let column = wanted.iter().position(|w| w.field.name == field.name || w.field.aliases.contains(&field.name));
            let Some(w) = column.map(|i| {
                found[i] = true;
                &wanted[i]
            }) else {
                push_skip(&mut steps, writer, field);
                continue;
            };
            let (null_branch, inner) = match &field.ty {
                Type::Union(branches) => match nullable(branches) {
                    Some((null, inner)) => (null as u8, inner),
                    None => (PLAIN, &field.ty),
                },
                ty => (PLAIN, ty),
            };
            let action = action(writer, reader, inner, w).ok_or_else(|| {
                format!("field `{}` was written as {}, the contract reads it as {}", field.name, writer.type_name(&field.ty), reader.type_name(&w.field.ty))
            })?;
            steps.push(Step { null_branch, slot: Some(w.slot), action, name: field.name.as_str().into() });
        }
        for (w, _) in wanted.iter().zip(&found).filter(|(_, found)| !**found) {
            let action = match w.kind {
                Kind::Nested => {
                    w.field.default.as_ref().and_then(|d| Literal::of(reader, &w.field.ty, d)).map(|literal| Action::NestedDefault(w.slot.at, literal))
                }
                _ => {
                    let cell = w.field.default.as_ref().and_then(|d| Cell::of_default(w.kind, &w.field.ty, d));
                    cell.filter(|c| w.nullable || *c != Cell::Null).map(Action::Default)
                }
            };
            let action = action.ok_or_else(|| format!("field `{}` is not in the writer's schema and has no default", w.field.name))?;
            steps.push(Step { null_branch: PLAIN, slot: Some(w.slot), action, name: w.field.name.as_str().into() });
        }
        Ok(Program { writer: writer.clone(), steps })
    }

    /// Reads one record into the columns. On an error the columns hold part of the row: cut them back. The error
    /// names the field.
    #[inline]
    pub(crate) fn run<'p>(&'p self, cursor: &mut Cursor<'_>, columns: &mut Columns) -> Result<(), (Fault, &'p str)> {
        for step in &self.steps {
            if let Err(fault) = self.step(step, cursor, columns) {
                return Err((fault, &step.name));
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn step(&self, step: &Step, cursor: &mut Cursor<'_>, columns: &mut Columns) -> Result<(), Fault> {
        if step.null_branch != PLAIN {
            let branch = cursor.choice(2, "a union has no such branch")?;
            if branch == usize::from(step.null_branch) {
                return match step.slot {
                    Some(slot) => push_null(slot, columns),
                    None => Ok(()),
                };
            }
        }
        self.act(&step.action, step.slot, cursor, columns)
    }

    #[inline(always)]
    fn act(&self, action: &Action, slot: Option<Slot>, cursor: &mut Cursor<'_>, columns: &mut Columns) -> Result<(), Fault> {
        match action {
            Action::Long(at) => columns.ints[*at].push(cursor.long()?),
            Action::Double(at) => columns.floats[*at].push(cursor.double()?),
            Action::Bytes(at) => columns.texts[*at].push(cursor.bytes()?, columns.strict)?,
            Action::Float(at) => columns.floats[*at].push(f64::from(cursor.float()?)),
            Action::Int(at) => columns.ints[*at].push(i64::from(cursor.int()?)),
            Action::Bool(at) => columns.bools[*at].push(cursor.boolean()?),
            Action::SkipBytes(n) => {
                cursor.take(*n)?;
            }
            other => return self.act_rarely(other, slot, cursor, columns),
        }
        Ok(())
    }

    fn act_rarely(&self, action: &Action, slot: Option<Slot>, cursor: &mut Cursor<'_>, columns: &mut Columns) -> Result<(), Fault> {
        match action {
            Action::LongIn(at, unit) => columns.ints[*at].push(to_millis(*unit, cursor.long()?)),
            Action::IntToFloat(at) => columns.floats[*at].push(f64::from(cursor.int()?)),
            Action::LongToFloat(at) => columns.floats[*at].push(cursor.long()? as f64),
            Action::Fixed(at, n) => columns.texts[*at].push(cursor.take(*n)?, false)?,
            Action::Symbol(at, symbols) => {
                let i = cursor.choice(symbols.len(), "an enum has no such symbol")?;
                let symbol = symbols[i].as_ref().ok_or(Fault::Malformed("an enum's symbol is not in the contract"))?;
                columns.texts[*at].push(symbol, false)?;
            }
            Action::Branches(branches) => {
                let i = cursor.choice(branches.len(), "a union has no such branch")?;
                match (&branches[i], slot) {
                    (Some(action), _) => {
                        return self.act_rarely_or_not(action, slot, cursor, columns);
                    }
                    (None, Some(slot)) => return push_null(slot, columns),
                    (None, None) => {}
                }
            }
            Action::Default(cell) => {
                if let Some(slot) = slot {
                    columns.push_cell(slot, cell)?;
                }
            }
            Action::Skip(ty) => cursor.skip(&self.writer, ty)?,
            Action::Nested(at, read) => read.run(&self.writer, cursor, &mut columns.nested[*at].0)?,
            Action::NestedDefault(at, literal) => literal.push(&mut columns.nested[*at].0)?,
            _ => {}
        }
        Ok(())
    }

    /// A branch's action, out of line: the fast path must not contain itself.
    #[inline(never)]
    fn act_rarely_or_not(&self, action: &Action, slot: Option<Slot>, cursor: &mut Cursor<'_>, columns: &mut Columns) -> Result<(), Fault> {
        self.act(action, slot, cursor, columns)
    }
}

fn push_null(slot: Slot, columns: &mut Columns) -> Result<(), Fault> {
    if columns.push_null(slot) { Ok(()) } else { Err(Fault::Malformed("it is null, the contract wants a value")) }
}

/// A skip of `field`, joined with the one before it where both have a fixed length.
fn push_skip(steps: &mut Vec<Step>, writer: &Schema, field: &Field) {
    let name: Box<str> = field.name.as_str().into();
    let step = match &field.ty {
        Type::Union(branches) => match nullable(branches) {
            Some((null, inner)) => {
                let action = fixed_width(writer, inner).map_or_else(|| Action::Skip(inner.clone()), Action::SkipBytes);
                Step { null_branch: null as u8, slot: None, action, name }
            }
            None => Step { null_branch: PLAIN, slot: None, action: Action::Skip(field.ty.clone()), name },
        },
        ty => match fixed_width(writer, ty) {
            Some(n) => {
                if let Some(Step { null_branch: PLAIN, action: Action::SkipBytes(before), .. }) = steps.last_mut() {
                    *before += n;
                    return;
                }
                Step { null_branch: PLAIN, slot: None, action: Action::SkipBytes(n), name }
            }
            None => Step { null_branch: PLAIN, slot: None, action: Action::Skip(ty.clone()), name },
        },
    };
    steps.push(step);
}

fn fixed_width(schema: &Schema, ty: &Type) -> Option<usize> {
    match ty {
        Type::Float => Some(4),
        Type::Double => Some(8),
        Type::Named(i) => match schema.named(*i) {
            Named::Fixed { size, .. } => Some(*size),
            _ => None,
        },
        _ => None,
    }
}

/// The action that reads a writer's type into the column; `None` when Avro does not allow it.
fn action(writer: &Schema, reader: &Schema, ty: &Type, wanted: &Wanted) -> Option<Action> {
    let at = wanted.slot.at;
    let target = match &wanted.field.ty {
        Type::Union(branches) => nullable(branches)?.1,
        ty => ty,
    };
    if let Type::Union(branches) = ty {
        let actions = branches.iter().map(|b| if *b == Type::Null { Some(None) } else { action(writer, reader, b, wanted).map(Some) });
        return Some(Action::Branches(actions.collect::<Option<Vec<_>>>()?.into()));
    }
    Some(match (wanted.kind, ty) {
        (Kind::Nested, ty) => Action::Nested(at, Read::resolve(writer, ty, reader, target)?),
        (Kind::Int, Type::Int) => Action::Int(at),
        (Kind::Int, Type::Long(unit)) if !matches!(target, Type::Int) => match unit {
            LongUnit::Plain | LongUnit::Millis => Action::Long(at),
            unit => Action::LongIn(at, *unit),
        },
        (Kind::Float, Type::Int) => Action::IntToFloat(at),
        (Kind::Float, Type::Long(_)) => Action::LongToFloat(at),
        (Kind::Float, Type::Float) => Action::Float(at),
        (Kind::Float, Type::Double) if !matches!(target, Type::Float) => Action::Double(at),
        (Kind::Bool, Type::Boolean) => Action::Bool(at),
        (Kind::Text | Kind::Binary, Type::String | Type::Bytes) if !matches!(target, Type::Named(_)) => Action::Bytes(at),
        (Kind::Text | Kind::Binary, Type::Named(w)) => match (writer.named(*w), target) {
            (Named::Enum(theirs), Type::Named(r)) => match reader.named(*r) {
                Named::Enum(ours) => {
                    let known = theirs.symbols.iter().map(|s| if ours.symbols.contains(s) { Some(s) } else { ours.default.as_ref() });
                    Action::Symbol(at, known.map(|s| s.map(|s| s.as_bytes().into())).collect())
                }
                _ => return None,
            },
            (Named::Fixed { size, .. }, Type::Named(r)) if matches!(reader.named(*r), Named::Fixed { size: s, .. } if s == size) => Action::Fixed(at, *size),
            _ => return None,
        },
        _ => return None,
    })
}
