//! A cell → the JSON value that a schema's field wants. Each refusal says what was found and what was wanted; the
//! caller adds field, column and line.

use super::cell::Cell;
use super::date::DateFormat;
use super::units::Step;
use serde_json::{Number, Value};
use std::collections::BTreeMap;
use ws_log::avro::schema::{LongUnit, Named, Schema, Type, nullable};

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Text.
    Text,
    /// True or false.
    Bool,
    /// A whole number between the limits.
    Whole(i64, i64),
    /// A number.
    Number,
    /// A moment, UTC ms.
    Time,
    /// One of these.
    Symbol(Vec<String>),
    /// A list, a mapping or a record, taken as it is; its type in words.
    Nested(String),
}

impl Kind {
    /// The kind of a field's type, and whether it may be null.
    pub fn of(schema: &Schema, ty: &Type) -> (Kind, bool) {
        if let Type::Union(branches) = ty {
            return match nullable(branches) {
                Some((_, inner)) => (Kind::of(schema, inner).0, true),
                None => (Kind::Nested(schema.type_name(ty)), branches.contains(&Type::Null)),
            };
        }
        let kind = match ty {
            Type::String => Kind::Text,
            Type::Boolean => Kind::Bool,
            Type::Int => Kind::Whole(i64::from(i32::MIN), i64::from(i32::MAX)),
            Type::Long(LongUnit::Plain) => Kind::Whole(i64::MIN, i64::MAX),
            Type::Long(LongUnit::Millis) => Kind::Time,
            Type::Float | Type::Double => Kind::Number,
            Type::Named(index) => match schema.named(*index) {
                Named::Enum(e) => Kind::Symbol(e.symbols.clone()),
                _ => Kind::Nested(schema.type_name(ty)),
            },
            _ => Kind::Nested(schema.type_name(ty)),
        };
        (kind, false)
    }

    /// In words.
    pub fn name(&self) -> String {
        match self {
            Kind::Text => "text".into(),
            Kind::Bool => "true or false".into(),
            Kind::Whole(..) => "a whole number".into(),
            Kind::Number => "a number".into(),
            Kind::Time => "a moment".into(),
            Kind::Symbol(symbols) => format!("one of {}", symbols.join(", ")),
            Kind::Nested(words) => words.clone(),
        }
    }
}

/// How a cell becomes a value.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// What the field holds.
    pub kind: Kind,
    /// Arithmetic, for numbers.
    pub steps: Vec<Step>,
    /// Numbers are written `1.234,5`.
    pub decimal_comma: bool,
    /// How moments are written.
    pub date: DateFormat,
    /// Words → values; words that are not in it are refused, or take `otherwise`.
    pub table: Option<BTreeMap<String, Value>>,
    /// What words outside the table become.
    pub otherwise: Option<Value>,
}

impl Conversion {
    /// The plain conversion to a kind.
    pub fn plain(kind: Kind) -> Conversion {
        Conversion { kind, steps: Vec::new(), decimal_comma: false, date: DateFormat::default(), table: None, otherwise: None }
    }

    /// The value of a cell that is not empty.
    ///
    /// # Errors
    /// What was found and what was wanted.
    pub fn value(&self, cell: &Cell) -> Result<Value, String> {
        if let Some(table) = &self.table {
            let word = cell.to_text();
            return match (table.get(word.as_ref()), &self.otherwise) {
                (Some(value), _) => Ok(value.clone()),
                (None, Some(value)) => Ok(value.clone()),
                (None, None) => Err(format!("`{}` is not in the table", short(&word))),
            };
        }
        let unfit = || format!("`{}` is not {}", short(&cell.to_text()), self.kind.name());
        match &self.kind {
            Kind::Text => match cell {
                Cell::Nested(_) => Err(unfit()),
                _ => Ok(Value::String(cell.to_text().into_owned())),
            },
            Kind::Bool => match (cell, cell.to_text().to_ascii_lowercase().as_str()) {
                (Cell::Bool(b), _) => Ok(Value::Bool(*b)),
                (_, "true" | "yes" | "1") => Ok(Value::Bool(true)),
                (_, "false" | "no" | "0") => Ok(Value::Bool(false)),
                _ => Err(unfit()),
            },
            Kind::Symbol(symbols) => {
                let word = cell.to_text();
                match symbols.iter().any(|s| *s == word) {
                    true => Ok(Value::String(word.into_owned())),
                    false => Err(unfit()),
                }
            }
            Kind::Whole(least, most) => {
                if self.steps.is_empty() {
                    let whole = match cell {
                        Cell::Int(n) => Some(*n),
                        Cell::Text(text) => text.parse().ok(),
                        _ => None,
                    };
                    if let Some(n) = whole.filter(|n| (least..=most).contains(&n)) {
                        return Ok(Value::from(n));
                    }
                }
                let x = self.number(cell)?;
                let fits = x.fract() == 0.0 && x.abs() < 9e15;
                let whole = fits.then_some(x as i64).filter(|n| (least..=most).contains(&n));
                whole.map(Value::from).ok_or_else(unfit)
            }
            Kind::Number => Number::from_f64(self.number(cell)?).map(Value::Number).ok_or_else(unfit),
            Kind::Time => match cell {
                Cell::Time(ms) => Ok(Value::from(*ms)),
                Cell::Local(ms) => self.date.wall_ms(*ms).map(Value::from),
                Cell::Text(text) => self.date.parse_ms(text).map(Value::from),
                Cell::Int(_) | Cell::Float(_) => self.date.number_ms(&cell.to_text()).map(Value::from),
                _ => Err(unfit()),
            },
            Kind::Nested(_) => match cell {
                Cell::Nested(json) => Ok(json.clone()),
                _ => Err(unfit()),
            },
        }
    }

    fn number(&self, cell: &Cell) -> Result<f64, String> {
        let number = match cell {
            Cell::Text(text) if self.decimal_comma => text.replace('.', "").replace(',', ".").parse().ok(),
            _ => cell.to_number(),
        };
        let number = number.ok_or_else(|| {
            let hint = match cell {
                Cell::Text(text) if !self.decimal_comma && text.contains(',') => "; for numbers such as `1.234,5` say `decimal: \",\"`",
                Cell::Text(text) if text.parse::<f64>().is_ok() => "; where it stands for no value, list it under `empty`",
                _ => "",
            };
            format!("`{}` is not a number{hint}", short(&cell.to_text()))
        })?;
        Ok(self.steps.iter().fold(number, |x, step| step.apply(x)))
    }
}

/// A text short enough for a message.
pub fn short(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn text(t: &str) -> Cell {
        Cell::Text(t.into())
    }

    #[test]
    fn numbers_are_read_scaled_and_refused_with_what_was_found() {
        let mut c = Conversion::plain(Kind::Number);
        c.steps = vec![Step::By(10.0)];
        assert_eq!(c.value(&text("6")).unwrap(), json!(0.6));
        assert!(c.value(&text("full")).unwrap_err().contains("`full` is not a number"));
        assert!(c.value(&text("NaN")).unwrap_err().contains("empty"));
        assert!(c.value(&text("1,5")).unwrap_err().contains("decimal"));
        c.decimal_comma = true;
        assert_eq!(c.value(&text("1.234,5")).unwrap(), json!(123.45));
    }

    #[test]
    fn whole_numbers_keep_all_digits_and_their_limits() {
        let long = Conversion::plain(Kind::Whole(i64::MIN, i64::MAX));
        assert_eq!(long.value(&text("9007199254740993")).unwrap(), json!(9_007_199_254_740_993_i64));
        assert_eq!(long.value(&text("3.0")).unwrap(), json!(3));
        assert!(long.value(&text("3.5")).is_err());
        let int = Conversion::plain(Kind::Whole(i64::from(i32::MIN), i64::from(i32::MAX)));
        assert!(int.value(&Cell::Int(3_000_000_000)).is_err());
    }

    #[test]
    fn tables_and_symbols_refuse_what_they_do_not_know() {
        let mut c = Conversion::plain(Kind::Symbol(vec!["served".into(), "skipped".into()]));
        assert!(c.value(&text("done")).unwrap_err().contains("one of served, skipped"));
        c.table = Some(BTreeMap::from([("done".to_owned(), json!("served"))]));
        assert_eq!(c.value(&text("done")).unwrap(), json!("served"));
        assert!(c.value(&text("late")).unwrap_err().contains("not in the table"));
        c.otherwise = Some(json!("skipped"));
        assert_eq!(c.value(&text("late")).unwrap(), json!("skipped"));
    }

    #[test]
    fn ids_that_are_numbers_in_the_file_become_text() {
        let c = Conversion::plain(Kind::Text);
        assert_eq!(c.value(&Cell::Int(1_511_202)).unwrap(), json!("1511202"));
        assert_eq!(Conversion::plain(Kind::Bool).value(&text("YES")).unwrap(), json!(true));
    }
}
