//! What is kept of the runs: one line of JSON each as soon as it is finished, so that a long comparison can be cut short
//! and taken up again; the same as CSV; and the tables.

use super::run::{Job, RunRecord};
use super::settings::Settings;
use crate::Failure;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const RUNS: &str = "runs.jsonl";
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// The finished runs of a folder.
pub struct Kept {
    path: PathBuf,
    records: Mutex<Vec<RunRecord>>,
}

impl Kept {
    /// Opens a folder, and refuses one whose runs were made with other settings.
    pub fn open(folder: &Path, settings: &Settings, fresh: bool) -> Result<Kept, Failure> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(RUNS);
        let fingerprint = settings.fingerprint();
        if fresh || !path.exists() {
            writeln!(File::create(&path)?, "{fingerprint}")?;
        }
        let text = std::fs::read_to_string(&path)?;
        let mut lines = text.lines();
        if lines.next() != Some(fingerprint.as_str()) {
            return Err(format!("{} holds runs of other settings; hint: --fresh forgets them, --out takes another folder", path.display()).into());
        }
        // A line that was cut off when the process ended is run again.
        let records = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Kept { path, records: Mutex::new(records) })
    }

    /// Whether a run is there.
    pub fn has(&self, seed: u64, job: &Job) -> bool {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().any(|run| run.seed == seed && run.policy == job.policy.name() && run.knob == job.knob)
    }

    /// Keeps a run.
    pub fn add(&self, record: &RunRecord) -> Result<(), Failure> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let line = serde_json::to_string(record)?;
        writeln!(OpenOptions::new().append(true).open(&self.path)?, "{line}")?;
        records.push(record.clone());
        Ok(())
    }

    /// All runs, in the order of seed, policy and knob.
    pub fn records(&self) -> Vec<RunRecord> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        records.sort_by(|a, b| (a.seed, &a.policy).cmp(&(b.seed, &b.policy)).then(a.knob.total_cmp(&b.knob)));
        records
    }
}

/// The runs as CSV and the tables as Markdown, beside the lines of JSON.
pub fn tables(folder: &Path, settings: &Settings, records: &[RunRecord], report: &str) -> Result<(), Failure> {
    let mut csv = String::from(
        "seed,policy,knob,km,hours,cost,visits,containers_emptied,disposals,sites_skipped,duties,overflow_days,overflow_share,longest_h,peak_load,level_at_end,planned_h\n",
    );
    let bin_days = settings.bins as f64 * settings.days as f64;
    for run in records {
        writeln!(
            csv,
            "{},{},{},{:.1},{:.2},{:.2},{},{},{},{},{},{:.3},{:.6},{:.2},{:.3},{:.4},{:.1}",
            run.seed,
            run.policy,
            run.knob,
            run.km,
            run.hours,
            run.cost_minor / 100.0,
            run.visits,
            run.containers_emptied,
            run.disposals,
            run.sites_skipped,
            run.duties,
            run.overflow_days,
            run.overflow_days / bin_days,
            run.longest_h,
            run.peak_load,
            run.level_at_end,
            run.planned_h
        )?;
    }
    std::fs::write(folder.join("runs.csv"), csv)?;
    Ok(std::fs::write(folder.join("effect.md"), report)?)
}

/// Puts the tables between the two marks of a file; the words around them stay.
pub fn into_markdown(file: &Path, report: &str) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file)?;
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        return Err(format!("{} lacks the marks {BEGIN} and {END}", file.display()).into());
    };
    let text = format!("{}{BEGIN}\n\n{report}\n{}", &text[..begin], &text[end..]);
    Ok(std::fs::write(file, text)?)
}
