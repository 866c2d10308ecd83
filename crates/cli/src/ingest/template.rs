//! Text with columns in it: `wyndham-{Bin ID}`. `{{` and `}}` stand for braces.

use super::cell::Cell;
use std::fmt::Write as _;

/// The columns that a mapping uses, numbered in the order of their first use.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    names: Vec<String>,
    optional: Vec<bool>,
}

impl Columns {
    /// The number of a column that the file must have.
    pub fn need(&mut self, name: &str) -> usize {
        let index = self.index(name);
        self.optional[index] = false;
        index
    }

    /// The number of a column that the file may lack, unless it is needed elsewhere.
    pub fn may(&mut self, name: &str) -> usize {
        self.index(name)
    }

    fn index(&mut self, name: &str) -> usize {
        if let Some(index) = self.names.iter().position(|n| n == name) {
            return index;
        }
        self.names.push(name.to_owned());
        self.optional.push(true);
        self.names.len() - 1
    }

    /// All names, by number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the file may lack a column.
    pub fn is_optional(&self, index: usize) -> bool {
        self.optional.get(index).copied().unwrap_or(true)
    }
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Column(usize),
}

impl Template {
    /// Parses a text.
    ///
    /// # Errors
    /// What is wrong with its braces.
    pub fn parse(text: &str, columns: &mut Columns) -> Result<Template, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let end = (brace == "{").then(|| rest.find(['{', '}'])).flatten().filter(|end| rest[*end..].starts_with('}'));
            let Some(end) = end else {
                return Err(format!("`{text}` has a single `{brace}`"));
            };
            if rest[..end].is_empty() {
                return Err(format!("`{text}` names no column between its braces"));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Column(columns.need(&rest[..end])));
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template(parts))
    }

    /// The text, when no column is in it.
    pub fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The column, when it is nothing but one.
    pub fn column(&self) -> Option<usize> {
        match self.0.as_slice() {
            [Part::Column(index)] => Some(*index),
            _ => None,
        }
    }

    /// The text of a row; `Err` is the number of the column that is empty.
    ///
    /// # Errors
    /// The first of its columns without a value.
    pub fn render(&self, cells: &[Cell]) -> Result<String, usize> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Column(index) => match cells.get(*index) {
                    Some(cell) if !cell.is_empty() => {
                        let _ = out.write_str(&cell.to_text());
                    }
                    _ => return Err(*index),
                },
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_are_put_in_and_double_braces_stay() {
        let mut columns = Columns::default();
        let t = Template::parse("wyndham-{Bin ID}/{{{day}}}", &mut columns).unwrap();
        assert_eq!(columns.names(), ["Bin ID", "day"]);
        let cells = [Cell::Int(7), Cell::Text("x".into())];
        assert_eq!(t.render(&cells).unwrap(), "wyndham-7/{x}");
        assert_eq!(t.render(&[Cell::Int(7), Cell::Empty]), Err(1), "an id is never made of half its parts");
        assert_eq!((t.constant(), t.column()), (None, None));
    }

    #[test]
    fn plain_text_and_single_columns_are_told_apart() {
        let mut columns = Columns::default();
        assert_eq!(Template::parse("litter", &mut columns).unwrap().constant(), Some("litter"));
        assert_eq!(Template::parse("{a}", &mut columns).unwrap().column(), Some(0));
    }

    #[test]
    fn lone_braces_are_refused() {
        for wrong in ["{a", "a}", "{}", "{a{b}}", "}{"] {
            assert!(Template::parse(wrong, &mut Columns::default()).is_err(), "{wrong}");
        }
    }
}
