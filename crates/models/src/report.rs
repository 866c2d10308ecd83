//! An evaluation as text for a person; as JSON it is what serde makes of the structs.

use std::fmt::{self, Display, Formatter};

use crate::evaluate::{Evaluation, FORECASTERS};
use crate::labels::OutcomeCounts;

/// A number with three decimals, or a dash.
fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

fn faults(with: bool) -> &'static str {
    if with { "all rows" } else { "no faults" }
}

fn counts(f: &mut Formatter<'_>, name: &str, counts: &OutcomeCounts) -> fmt::Result {
    writeln!(
        f,
        "  {name:<10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        counts.asked, counts.labelled, counts.censored, counts.expired_gap, counts.expired_end, counts.expired_late, counts.already_full
    )
}

impl Display for Evaluation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let days = (self.to_ms - self.from_ms) as f64 / 86_400_000.0;
        writeln!(f, "model {} on {} rows of {days:.1} later days ({} declined)", self.model_version, self.examples, self.declined)?;
        writeln!(f, "\nlevel ahead, given no emptying: mean absolute error | pinball loss | p10-p90 coverage")?;
        write!(f, "  {:<8} {:<10} {:>6}", "horizon", "rows", "n")?;
        for _ in 0..2 {
            write!(f, " |")?;
            for name in FORECASTERS {
                write!(f, " {:>11}", name)?;
            }
        }
        writeln!(f, " | {:>6} {:>9}", "model", "heuristic")?;
        for score in &self.levels {
            let mark = if score.extrapolated { "*" } else { "" };
            write!(f, "  {:<8} {:<10} {:>6}", format!("{} h{mark}", score.horizon_h), faults(score.with_faults), score.rows)?;
            for scores in [&score.mae, &score.pinball] {
                write!(f, " |")?;
                for value in scores {
                    write!(f, " {:>11}", cell(*value))?;
                }
            }
            writeln!(f, " | {:>6} {:>9}", cell(score.coverage[0]), cell(score.coverage[3]))?;
        }
        if self.levels.iter().any(|score| score.extrapolated) {
            writeln!(f, "  * no label this far ahead was seen in training: the last rate is carried on")?;
        }
        writeln!(f, "\noverflow before the next planned visit:   AUC model heuristic level | AP model heuristic level | Brier model heuristic base rate")?;
        for score in &self.overflow {
            write!(f, "  {:<10} n {:>6} base rate {}", faults(score.with_faults), score.rows, cell(score.base_rate))?;
            for scores in [&score.auc, &score.average_precision, &score.brier] {
                write!(f, " |")?;
                for value in scores {
                    write!(f, " {:>6}", cell(*value))?;
                }
            }
            writeln!(f)?;
        }
        let time = &self.hours_to_full;
        writeln!(
            f,
            "\nhours to full: {} seen, {} censored; concordance model {} heuristic {}; median error of those seen (the fast ones) {} h",
            time.observed,
            time.censored,
            cell(time.concordance),
            cell(time.concordance_heuristic),
            cell(time.median_error_observed_h)
        )?;
        writeln!(
            f,
            "\nhow the questions ended (all parts)\n  {:<10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "", "asked", "labelled", "censored", "gap", "end", "late", "full"
        )?;
        for (hours, outcome) in &self.outcomes {
            counts(f, &format!("{hours} h"), outcome)?;
        }
        counts(f, "overflow", &self.overflow_outcomes)?;
        writeln!(f, "  falls of a level that no emptying explains: {}", self.unexplained_falls)
    }
}

impl Evaluation {
    /// The evaluation as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
