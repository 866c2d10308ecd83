//! What happened, for people: bad rows as they come, progress, and the summary at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

/// Counts of an ingest. `read = skipped + sent + refused + bad` of rows, references apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows in the file.
    pub read_rows: u64,
    /// Left out by `only` and `skip`.
    pub skipped_rows: u64,
    /// Rows that could not be used, and references that could not be made.
    pub bad: u64,
    /// Rows that the source itself doubts, among those sent.
    pub suspect_rows: u64,
    /// Records sent to each topic, references included.
    pub sent: BTreeMap<String, u64>,
    /// Of those, references.
    pub references: u64,
    /// Earliest event time, UTC ms.
    pub first_ms: Option<i64>,
    /// Latest event time, UTC ms.
    pub last_ms: Option<i64>,
    /// Stopped by the user before the end.
    pub interrupted: bool,
    /// Nothing was sent on purpose.
    pub dry_run: bool,
    /// Wall time, ms.
    pub took_ms: u64,
}

impl Summary {
    /// Takes note of an event time.
    pub fn at(&mut self, time_ms: i64) {
        self.first_ms = Some(self.first_ms.map_or(time_ms, |t| t.min(time_ms)));
        self.last_ms = Some(self.last_ms.map_or(time_ms, |t| t.max(time_ms)));
    }

    /// Whether the command has to end with a failure.
    pub fn failed(&self, strict: bool) -> bool {
        self.interrupted || strict && self.bad > 0
    }

    fn records(&self) -> u64 {
        self.sent.values().sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |ms: Option<i64>| {
            let t = ms.and_then(chrono::DateTime::from_timestamp_millis);
            t.map_or_else(|| "?".to_owned(), |t| t.format("%Y-%m-%d %H:%M").to_string())
        };
        writeln!(
            f,
            "rows read {}, left out by the mapping {}, bad {}, doubted by the source {}",
            self.read_rows, self.skipped_rows, self.bad, self.suspect_rows
        )?;
        if self.first_ms.is_some() {
            writeln!(f, "event time {} to {} UTC", day(self.first_ms), day(self.last_ms))?;
        }
        let verb = if self.dry_run { "would send" } else { "sent" };
        let topics: Vec<String> = self.sent.iter().map(|(topic, n)| format!("{topic} {n}")).collect();
        write!(f, "{verb} {} ({} references): {}", self.records(), self.references, if topics.is_empty() { "nothing".to_owned() } else { topics.join(", ") })?;
        let seconds = self.took_ms as f64 / 1000.0;
        if !self.dry_run && seconds > 0.0 {
            write!(f, "; {seconds:.1} s, {:.0} a second", self.records() as f64 / seconds)?;
        }
        if self.interrupted {
            write!(f, "\nstopped before the end: running it again sends the same event ids, so nothing counts twice")?;
        }
        Ok(())
    }
}

/// Prints while an ingest runs.
pub struct Report<'a> {
    /// Counts so far.
    pub summary: Summary,
    notes: &'a mut dyn Write,
    file: String,
    show: u64,
    every_ms: u64,
    told_ms: u64,
}

impl<'a> Report<'a> {
    /// Notes about `file` go to `notes`; of bad rows the first `show` are printed.
    pub fn new(file: &str, show: u64, notes: &'a mut dyn Write) -> Report<'a> {
        Report { summary: Summary::default(), notes, file: file.to_owned(), show, every_ms: 2_000, told_ms: 0 }
    }

    /// The file that is read.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// A row that cannot be used.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub fn bad(&mut self, line: u64, reason: &str) -> Result<(), std::io::Error> {
        self.summary.bad += 1;
        if self.summary.bad <= self.show {
            writeln!(self.notes, "{}:{line}: {reason}", self.file)?;
        } else if self.summary.bad == self.show + 1 {
            writeln!(self.notes, "{}: further bad rows are only counted (--show-bad {} shows more)", self.file, self.show * 10)?;
        }
        Ok(())
    }

    /// Says every two seconds how far it is.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub fn progress(&mut self, now_ms: u64) -> Result<(), std::io::Error> {
        if now_ms < self.told_ms + self.every_ms {
            return Ok(());
        }
        self.told_ms = now_ms;
        let s = &self.summary;
        writeln!(self.notes, "{} rows read, {} bad, {} records sent", s.read_rows, s.bad, s.records())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bad_rows_are_shown_up_to_a_limit_and_all_counted() {
        let mut notes = Vec::new();
        let mut report = Report::new("f.csv", 2, &mut notes);
        for line in 2..7 {
            report.bad(line, "no").unwrap();
        }
        assert_eq!(report.summary.bad, 5);
        assert!(report.summary.failed(true) && !report.summary.failed(false));
        let text = String::from_utf8(notes).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("f.csv:2: no\nf.csv:3: no\n"), "{text}");
    }

    #[test]
    fn progress_comes_at_most_every_two_seconds() {
        let mut notes = Vec::new();
        let mut report = Report::new("f.csv", 2, &mut notes);
        for now_ms in [0, 1_000, 2_000, 2_100, 4_500] {
            report.progress(now_ms).unwrap();
        }
        assert_eq!(String::from_utf8(notes).unwrap().lines().count(), 2);
    }
}
