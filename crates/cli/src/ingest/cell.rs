//! One value of a row as the file has it, before the mapping says what it means.

use std::borrow::Cow;

/// A value of a file's row.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell {
    /// Absent, null, or one of the mapping's `empty` words.
    #[default]
    Empty,
    /// Text, trimmed.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A moment, UTC ms.
    Time(i64),
    /// A date and time without a zone, as milliseconds of the wall clock.
    Local(i64),
    /// A list or an object, as JSON.
    Nested(serde_json::Value),
}

impl Cell {
    /// Text as read from a file: trimmed, and empty when it is one of `empty`.
    pub fn text(raw: &str, empty: &[String]) -> Cell {
        let text = raw.trim();
        if text.is_empty() || empty.iter().any(|e| e == text) { Cell::Empty } else { Cell::Text(text.to_owned()) }
    }

    /// True when there is no value.
    pub fn is_empty(&self) -> bool {
        *self == Cell::Empty
    }

    /// As text, for templates, filters, tables and hashes.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Cell::Empty => "".into(),
            Cell::Text(text) => text.into(),
            Cell::Int(n) => n.to_string().into(),
            Cell::Float(x) => x.to_string().into(),
            Cell::Bool(b) => b.to_string().into(),
            Cell::Time(ms) => moment(*ms, "Z").into(),
            Cell::Local(ms) => moment(*ms, "").into(),
            Cell::Nested(json) => json.to_string().into(),
        }
    }

    /// As a number, if it is one; text in the English way of writing.
    pub fn to_number(&self) -> Option<f64> {
        match self {
            Cell::Int(n) => Some(*n as f64),
            Cell::Float(x) => Some(*x),
            Cell::Text(text) => text.parse().ok(),
            _ => None,
        }
        .filter(|x: &f64| x.is_finite())
    }
}

fn moment(ms: i64, zone: &str) -> String {
    match chrono::DateTime::from_timestamp_millis(ms) {
        Some(t) => format!("{}{zone}", t.format("%Y-%m-%dT%H:%M:%S%.3f")),
        None => format!("{ms} ms"),
    }
}

/// A stable 128-bit hash (FNV-1a) of values and their borders, as 32 hexadecimal digits: the same row of the same
/// file gives the same event id on every machine and in every version.
pub fn hash<'a>(parts: impl IntoIterator<Item = Cow<'a, str>>) -> String {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut state: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut take = |byte: u8| state = (state ^ u128::from(byte)).wrapping_mul(PRIME);
    for part in parts {
        (part.len() as u32).to_le_bytes().into_iter().for_each(&mut take);
        part.bytes().for_each(&mut take);
    }
    format!("{state:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fixed_and_knows_borders() {
        let of = |parts: &[&'static str]| hash(parts.iter().map(|p| Cow::Borrowed(*p)));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab", ""]), of(&["ab"]));
        assert_eq!(of(&[]), "6c62272e07bb014262b821756295c58d");
    }

    #[test]
    fn empty_words_and_blanks_are_no_values() {
        let empty = ["NA".to_owned()];
        assert!(Cell::text("  ", &empty).is_empty() && Cell::text(" NA ", &empty).is_empty());
        assert_eq!(Cell::text(" x ", &empty), Cell::Text("x".into()));
    }

    #[test]
    fn moments_are_written_with_their_zone() {
        assert_eq!(Cell::Time(0).to_text(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Cell::Local(500).to_text(), "1970-01-01T00:00:00.500");
    }
}
