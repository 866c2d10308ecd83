//! What is wrong with a topology file, all of it at once: every problem has a file, a line, a column, words and, where
//! one can be given, a hint that says what to write instead.

use crate::yaml::Pos;
use std::fmt;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File name as given.
    pub file: String,
    /// Line, from 1; 0 when the problem concerns the whole file.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line's text, for people.
    pub excerpt: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        }
        if let Some(text) = &self.excerpt {
            let number = self.line.to_string();
            write!(f, "\n  {number} | {text}")?;
            let lead: String = text.chars().take(self.column.saturating_sub(1) as usize).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n  {:w$} | {lead}^", "", w = number.len())?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// All problems found in one file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct PlanErrors {
    /// The problems; never empty.
    pub problems: Vec<Problem>,
}

impl PlanErrors {
    fn text(&self) -> String {
        self.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// Most problems reported for one file: more than a screen helps nobody.
pub const MAX_PROBLEMS: usize = 50;

/// Collects problems while a file is read and checked.
#[derive(Debug)]
pub struct Problems {
    file: String,
    lines: Vec<String>,
    found: Vec<Problem>,
}

impl Problems {
    /// A collector for a file with this text.
    pub fn new(file: &str, text: &str) -> Self {
        Problems { file: file.to_string(), lines: text.lines().map(str::to_string).collect(), found: Vec::new() }
    }

    /// Notes a problem without a hint.
    pub fn add(&mut self, at: Pos, message: impl Into<String>) {
        self.push(at, message.into(), None);
    }

    /// Notes a problem and what to do about it.
    pub fn hint(&mut self, at: Pos, message: impl Into<String>, hint: impl Into<String>) {
        self.push(at, message.into(), Some(hint.into()));
    }

    /// Notes a problem with a hint that may be absent.
    pub fn push(&mut self, at: Pos, message: String, hint: Option<String>) {
        let excerpt = (at.line as usize).checked_sub(1).and_then(|i| self.lines.get(i)).cloned();
        let problem = Problem { file: self.file.clone(), line: at.line, column: at.column, message, hint, excerpt };
        if self.found.len() < MAX_PROBLEMS && !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// How many were found so far; equal counts before and after a check mean that it passed.
    pub fn count(&self) -> usize {
        self.found.len()
    }

    /// The text of a source line, from 1.
    pub fn line(&self, line: u32) -> Option<&str> {
        self.lines.get((line as usize).checked_sub(1)?).map(String::as_str)
    }

    /// The verdict.
    pub fn into_result<T>(mut self, value: Option<T>) -> Result<T, PlanErrors> {
        match value {
            Some(v) if self.found.is_empty() => Ok(v),
            _ => {
                if self.found.is_empty() {
                    self.add(Pos::NONE, "the file could not be read");
                }
                self.found.sort_by_key(|p| (p.line, p.column));
                Err(PlanErrors { problems: self.found })
            }
        }
    }
}

/// The known words nearest to a wrong one, as a hint: `did you mean …?`, or the list when none is near.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let limit = 1 + wrong.chars().count() / 3;
    let mut near: Vec<(usize, &str)> = known
        .iter()
        .map(|k| (distance(&wrong.to_lowercase(), &k.to_lowercase()), *k))
        .filter(|(d, k)| *d <= limit || (wrong.len() >= 4 && (k.contains(wrong) || (k.len() >= 4 && wrong.contains(k)))))
        .collect();
    near.sort();
    near.dedup();
    let ticked = |words: &[&str]| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    match near.as_slice() {
        [] if known.is_empty() => None,
        [] if known.len() <= 12 => Some(format!("one of {}", ticked(&known))),
        [] => Some(format!("there are {}, … ({} in all)", ticked(&known[..8]), known.len())),
        near => Some(format!("did you mean {}?", near.iter().take(3).map(|(_, k)| format!("`{k}`")).collect::<Vec<_>>().join(" or "))),
    }
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = (0..=a.len()).map(|i| (i..=i + b.len()).collect()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_far_ones_listed() {
        let known = ["filling_level", "device_id", "event_id"];
        assert_eq!(did_you_mean("filing_level", known).as_deref(), Some("did you mean `filling_level`?"));
        assert_eq!(did_you_mean("level", known).as_deref(), Some("did you mean `filling_level`?"));
        assert_eq!(did_you_mean("zzz", known).as_deref(), Some("one of `filling_level`, `device_id`, `event_id`"));
        assert_eq!(did_you_mean("x", []), None);
    }

    #[test]
    fn a_swap_is_one_edit() {
        assert_eq!(distance("wehre", "where"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
