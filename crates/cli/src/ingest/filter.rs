//! Which rows of a file count: `only`, `skip` and `suspect` of a mapping. A filter is a list of groups; within a group
//! every condition must hold, and one group is enough.

use super::cell::Cell;

/// A filter; without groups it matches nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter(pub Vec<Vec<Condition>>);

/// A condition on one column.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The column's number.
    pub column: usize,
    /// What must hold.
    pub test: Test,
}

/// What a column must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// One of these words.
    OneOf(Vec<String>),
    /// None of these words; a column without a value is none of them.
    NoneOf(Vec<String>),
    /// A number below this.
    Below(f64),
    /// A number above this.
    Above(f64),
    /// Without a value (true), or with one (false).
    Empty(bool),
}

impl Filter {
    /// Whether there is anything to match.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row matches.
    pub fn matches(&self, cells: &[Cell]) -> bool {
        self.0.iter().any(|group| group.iter().all(|c| c.holds(cells)))
    }
}

impl Condition {
    fn holds(&self, cells: &[Cell]) -> bool {
        let cell = cells.get(self.column).unwrap_or(&Cell::Empty);
        let is = |words: &[String]| {
            let text = cell.to_text();
            words.iter().any(|w| same(w, &text))
        };
        match &self.test {
            Test::OneOf(words) => is(words),
            Test::NoneOf(words) => !is(words),
            Test::Below(limit) => cell.to_number().is_some_and(|x| x < *limit),
            Test::Above(limit) => cell.to_number().is_some_and(|x| x > *limit),
            Test::Empty(empty) => cell.is_empty() == *empty,
        }
    }
}

/// Equal as text, or as numbers: 10 is 10.0.
fn same(word: &str, text: &str) -> bool {
    word == text || matches!((word.parse::<f64>(), text.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_a_group_hold_together_and_one_group_is_enough() {
        let condition = |column, test| Condition { column, test };
        let words = |w: &[&str]| w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let f = Filter(vec![
            vec![condition(0, Test::OneOf(words(&["ALERT"]))), condition(1, Test::OneOf(words(&["0", "10"])))],
            vec![condition(1, Test::Above(10.0))],
        ]);
        let row = |reason: &str, level: &str| [Cell::Text(reason.into()), Cell::Text(level.into())];
        assert!(f.matches(&row("ALERT", "10.0")));
        assert!(!f.matches(&row("ALERT", "4")));
        assert!(f.matches(&row("x", "11")));
        assert!(!Filter::default().matches(&row("ALERT", "0")));
    }

    #[test]
    fn a_missing_value_is_empty_and_below_nothing() {
        let holds = |test| Filter(vec![vec![Condition { column: 0, test }]]).matches(&[Cell::Empty]);
        assert!(holds(Test::Empty(true)) && !holds(Test::Empty(false)));
        assert!(!holds(Test::Below(5.0)) && !holds(Test::Above(-5.0)));
        assert!(holds(Test::NoneOf(vec!["a".into()])));
    }
}
