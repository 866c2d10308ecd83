//! Plays a fixture and compares. Pure: what runs the topology is behind the trait `Run`.

use crate::fixture::{Cell, Expect, Fixture, Row, Run, Step};

/// The result of a fixture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// File name.
    pub file: String,
    /// What it shows.
    pub about: String,
    /// What was not as expected; empty means passed.
    pub failures: Vec<String>,
}

impl Report {
    /// Was everything as expected?
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Plays the steps and compares what came out.
pub fn play<R: Run>(fixture: &Fixture, run: &mut R) -> Result<Report, R::Error> {
    for step in &fixture.steps {
        match step {
            Step::Push { topic, key, payload } => run.push(topic, key.as_deref(), payload)?,
            Step::Advance { by_ms } => run.advance(*by_ms)?,
        }
    }
    let mut failures = Vec::new();
    for (topic, expect) in &fixture.expect {
        let rows = run.output(topic)?;
        failures.extend(compare(expect, &rows, fixture.tolerance).into_iter().map(|f| format!("{topic}: {f}")));
    }
    Ok(Report { file: fixture.file.clone(), about: fixture.about.clone(), failures })
}

/// What differs between expected and actual rows.
pub fn compare(expect: &Expect, rows: &[Row], tolerance: f64) -> Vec<String> {
    let mut failures = Vec::new();
    match expect {
        Expect::Exactly(expected) => {
            for (i, (wanted, found)) in expected.iter().zip(rows).enumerate() {
                let differences = differences(wanted, found, tolerance);
                if !differences.is_empty() {
                    failures.push(format!("row {}: {}", i + 1, differences.join(", ")));
                }
            }
            for (i, row) in expected.iter().enumerate().skip(rows.len()) {
                failures.push(format!("row {} is missing: {}", i + 1, show(row, None)));
            }
            for (i, row) in rows.iter().enumerate().skip(expected.len()) {
                failures.push(format!("row {} was not expected: {}", i + 1, show(row, expected.first())));
            }
        }
        Expect::Some { contains, none, count } => {
            let mut from = 0;
            for (i, wanted) in contains.iter().enumerate() {
                match rows[from..].iter().position(|r| differences(wanted, r, tolerance).is_empty()) {
                    Some(n) => from += n + 1,
                    None => {
                        let nearest = rows[from..].iter().map(|r| differences(wanted, r, tolerance)).min_by_key(Vec::len);
                        let nearest = nearest.map_or_else(|| "there are no more rows".to_string(), |d| format!("the nearest differs in {}", d.join(", ")));
                        failures.push(format!("no row like {} (number {} of `contains`): {nearest}", show(wanted, None), i + 1));
                    }
                }
            }
            for unwanted in none {
                for row in rows.iter().filter(|r| differences(unwanted, r, tolerance).is_empty()) {
                    failures.push(format!("a row like {} came out: {}", show(unwanted, None), show(row, None)));
                }
            }
            if let Some(n) = count.filter(|n| *n != rows.len()) {
                failures.push(format!("{} rows instead of {n}", rows.len()));
            }
        }
    }
    failures
}

fn differences(wanted: &Row, found: &Row, tolerance: f64) -> Vec<String> {
    let mut out = Vec::new();
    for (column, value) in wanted {
        match found.iter().find(|(c, _)| c == column) {
            None => out.push(format!("{column} is not there, {value} expected")),
            Some((_, actual)) if same(value, actual, tolerance) => {}
            Some((_, actual)) => out.push(format!("{column} is {actual}, {value} expected")),
        }
    }
    out
}

fn same(wanted: &Cell, found: &Cell, tolerance: f64) -> bool {
    let number = |c: &Cell| match c {
        Cell::Int(i) => Some(*i as f64),
        Cell::Float(x) => Some(*x),
        _ => None,
    };
    match (wanted, found) {
        (Cell::List(a), Cell::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, tolerance)),
        // As with rows: what is named is compared.
        (Cell::Map(a), Cell::Map(b)) => a.iter().all(|(n, a)| b.iter().any(|(m, b)| n == m && same(a, b, tolerance))),
        (Cell::Int(a), Cell::Int(b)) => a == b,
        _ => match (number(wanted), number(found)) {
            (Some(a), Some(b)) => (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= tolerance * a.abs().max(1.0),
            _ => wanted == found,
        },
    }
}

/// A row for people; with `like`, only the columns that it names.
fn show(row: &Row, like: Option<&Row>) -> String {
    let named = |c: &str| like.is_none_or(|l| l.iter().any(|(n, _)| n == c));
    format!("{{ {} }}", row.iter().filter(|(c, _)| named(c)).map(|(c, v)| format!("{c}: {v}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixture::parse;
    use std::collections::BTreeMap;

    /// Copies every row of topic `a` to topic `b`.
    struct Copy(BTreeMap<String, Vec<Row>>, i64);
    impl Run for Copy {
        type Error = std::convert::Infallible;
        fn push(&mut self, topic: &str, _key: Option<&str>, payload: &crate::fixture::Payload) -> Result<(), Self::Error> {
            if let (crate::fixture::Payload::Row(row), "a") = (payload, topic) {
                self.0.entry("b".into()).or_default().push(row.clone());
            }
            Ok(())
        }
        fn advance(&mut self, by_ms: i64) -> Result<(), Self::Error> {
            self.1 += by_ms;
            Ok(())
        }
        fn output(&mut self, topic: &str) -> Result<Vec<Row>, Self::Error> {
            Ok(self.0.get(topic).cloned().unwrap_or_default())
        }
    }

    const GIVEN: &str = "
about: copies
start: 2026-11-02T08:00:00Z
defaults:
  a: { sent_at: =at, id: '#', x: 1.5 }
steps:
  - push: a
    repeat: 3
    step: { at: 1h, level: 0.1 }
    rows: [{ at: 2026-11-02T08:00:00.250Z, level: 0.1 }]
  - advance: 90s
";

    fn report(expect: &str) -> Vec<String> {
        let fixture = parse("f.yaml", &format!("{GIVEN}expect:\n  b: {expect}\n")).unwrap();
        assert_eq!(fixture.start_ms, 1_793_606_400_000);
        let mut run = Copy(BTreeMap::new(), 0);
        let report = play(&fixture, &mut run).unwrap();
        assert_eq!(run.1, 90_000);
        report.failures
    }

    #[test]
    fn rows_are_repeated_completed_and_compared_with_tolerance() {
        assert_eq!(report("[{ level: 0.1, id: a-1 }, { level: 0.2, sent_at: 2026-11-02T09:00:00.250Z }, { level: 0.3, x: 1.5 }]"), Vec::<String>::new());
        assert_eq!(report("{ contains: [{ level: 0.2 }], none: [{ level: 0.4 }], count: 3 }"), Vec::<String>::new());
    }

    #[test]
    fn differences_are_told_column_by_column() {
        assert_eq!(
            report("[{ level: 0.1 }, { level: 0.25, id: a-9 }]"),
            ["b: row 2: level is 0.2, 0.25 expected, id is \"a-2\", \"a-9\" expected", "b: row 3 was not expected: { level: 0.30000000000000004 }"]
        );
        assert_eq!(report("{ contains: [{ level: 0.3 }, { level: 0.1 }] }").len(), 1, "order counts");
        assert_eq!(report("{ none: [{ id: a-2 }], count: 2 }").len(), 2);
        assert_eq!(report("[{ level: 0.1 }, { level: 0.2 }, { level: 0.3 }, { level: 0.4 }]"), ["b: row 4 is missing: { level: 0.4 }"]);
    }

    #[test]
    fn a_broken_fixture_says_where() {
        let error = parse("f.yaml", "about: x\nsteps:\n  - psuh: a\n    rows: []\nexpect: {}\n").unwrap_err().to_string();
        assert!(error.contains("f.yaml:3:5: unknown field `psuh` in a step"), "{error}");
        assert!(error.contains("did you mean `push`?"), "{error}");
    }
}
