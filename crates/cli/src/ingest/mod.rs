//! `wastestream ingest`: files into topics by a mapping. A file goes [`read`] → [`map`] (columns to fields, checked when
//! the mapping is read by [`map_read`]) → [`feed`] (good rows encoded, bad ones told, references noted) → sorted by event time
//! or as it comes → [`pace`] → [`target`].
//!
//! Sorted (the default) all rows are in memory, so that the mapping and every row is checked before the first one is
//! sent and references know the first time of each id. `--stream` holds one batch only and relies on the lateness per
//! key of the topology.

pub mod cell;
pub mod convert;
pub mod date;
pub mod error;
pub mod feed;
pub mod filter;
pub mod map;
mod map_field;
pub mod map_read;
pub mod pace;
pub mod read;
mod read_parquet;
pub mod refs;
pub mod report;
pub mod target;
pub mod template;
#[cfg(test)]
mod tests;
pub mod units;

pub use error::IngestError;
pub use report::Summary;
pub use target::{HttpTarget, LogTarget, Row, Target};

use clap::Args;
use feed::Feed;
use map::{Format, Map};
use pace::Pacer;
use report::Report;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use ws_log::registry::Registry;

const BATCH_ROWS: usize = 5_000;
const BATCH_BYTES: usize = 1 << 20;
/// Shorter waits are not worth a batch of their own.
const LEAST_WAIT_MS: u64 = 20;
/// How often a wait looks whether the user wants to stop.
const LOOK_MS: u64 = 100;

/// Settings of an ingest.
#[derive(Args, Clone, Debug)]
pub struct IngestArgs {
    /// The mapping: which columns become which fields of which topic (see docs/ingest.md)
    #[arg(long)]
    pub map: PathBuf,
    /// The file; `-` is standard input
    pub file: String,
    /// How the file is written; otherwise its ending, or the mapping, tells
    #[arg(long)]
    pub format: Option<Format>,
    /// Configuration file (TOML)
    #[arg(long, env = "WS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data folder: its log takes the rows, through the process that owns it if there is one
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Kafka brokers to send to instead, host:port
    #[arg(long)]
    pub bootstrap: Option<String>,
    /// Partitions of topics that do not exist yet
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub partitions: u32,
    /// Send in the order of the file instead of sorting by event time: for files larger than memory
    #[arg(long)]
    pub stream: bool,
    /// Most rows that are sorted in memory
    #[arg(long, default_value_t = 5_000_000)]
    pub max_rows: usize,
    /// Event seconds a wall second; without it as fast as it goes
    #[arg(long, value_parser = speed)]
    pub speed: Option<f64>,
    /// Check everything, print the first records, send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Records that a dry run prints of each topic
    #[arg(long, default_value_t = 3)]
    pub show: usize,
    /// Bad rows that are printed; all are counted
    #[arg(long, default_value_t = 20)]
    pub show_bad: u64,
    /// Bad rows are a failure: nothing is sent (with --stream: the others are sent, and the exit code tells)
    #[arg(long)]
    pub strict: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x: &f64| x.is_finite() && *x > 0.0)
        .ok_or_else(|| format!("`{text}` is no speed: a number above 0, 60 sends a minute of the file each second"))
}

/// Reads a mapping file.
///
/// # Errors
/// When it cannot be read, or all its problems.
pub fn load_map(path: &Path, registry: &Registry) -> Result<Map, IngestError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| IngestError::file(&name, e, "--map wants a mapping file; there are some in topologies/maps/"))?;
    Ok(map_read::read_map(&name, &text, registry, &|name| std::env::var(name).ok())?)
}

/// The topics that a mapping sends to, references first.
pub fn topics(map: &Map) -> Vec<Arc<str>> {
    let all = map.refs.iter().map(|r| &r.output.topic).chain([&map.output.topic]);
    let mut seen = BTreeSet::new();
    all.filter(|t| seen.insert((*t).clone())).cloned().collect()
}

/// All good records of a file: references, then rows by event time (of equal times in file order).
///
/// # Errors
/// When the file cannot be read, or has more rows than `max_rows`.
pub fn sorted(
    map: &Map,
    registry: &Registry,
    rows: Box<dyn read::Rows>,
    max_rows: usize,
    report: &mut Report<'_>,
    mut tick: impl FnMut(&mut Report<'_>) -> Result<bool, IngestError>,
) -> Result<(Vec<Row>, Vec<Row>), IngestError> {
    let mut feed = Feed::new(map, registry, rows);
    let mut good = Vec::new();
    while let Some(row) = feed.next(report)? {
        if good.len() == max_rows {
            return Err(IngestError::TooLarge { file: report.file().to_owned(), limit_rows: max_rows });
        }
        good.push(row);
        if good.len() % BATCH_ROWS == 0 && tick(report)? {
            break;
        }
    }
    good.sort_by_key(|row| row.time_ms);
    Ok((feed.references(report)?, good))
}

/// Runs an ingest. `connect` opens the target for the topics named, after mapping and file have been opened (sorted: and
/// every row checked); a dry run does not call it. Bad rows and progress go to `notes`, records of a dry run to `out`.
///
/// # Errors
/// When mapping, file, or target cannot be used. Bad rows alone are no error but with `strict`.
pub fn run(
    args: &IngestArgs,
    registry: &Registry,
    connect: impl FnOnce(&[Arc<str>]) -> Result<Box<dyn Target>, IngestError>,
    stop: &AtomicBool,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<Summary, IngestError> {
    let began = Instant::now();
    let map = load_map(&args.map, registry)?;
    let rows = read::open(&args.file, args.format, &map)?;
    let mut report = Report::new(&args.file, args.show_bad, notes);
    report.summary.dry_run = args.dry_run;
    let (dry_run, topics) = (args.dry_run, topics(&map));
    let open = move || -> Result<Box<dyn Target + '_>, IngestError> {
        if !dry_run {
            return connect(&topics);
        }
        Ok(Box::new(DryRun { registry, show: args.show, shown: Vec::new(), out }))
    };
    if args.stream {
        let mut sender = Sender::new(open()?, Pacer::new(args.speed), began, stop);
        let mut feed = Feed::new(&map, registry, rows);
        while let Some(row) = feed.next(&mut report)? {
            for reference in feed.references(&mut report)? {
                sender.push(reference, true, &mut report)?;
            }
            if sender.push(row, false, &mut report)? {
                break;
            }
        }
        sender.flush(&mut report)?;
    } else {
        let stopped = |report: &mut Report<'_>| {
            report.progress(began.elapsed().as_millis() as u64)?;
            report.summary.interrupted = stop.load(Ordering::Relaxed);
            Ok(report.summary.interrupted)
        };
        let (references, rows) = sorted(&map, registry, rows, args.max_rows, &mut report, stopped)?;
        if args.strict && report.summary.bad > 0 {
            return Err(IngestError::Strict { bad: report.summary.bad });
        }
        if !report.summary.interrupted {
            let mut sender = Sender::new(open()?, Pacer::new(args.speed), began, stop);
            for reference in references {
                sender.push(reference, true, &mut report)?;
            }
            sender.flush(&mut report)?;
            for row in rows {
                if sender.push(row, false, &mut report)? {
                    break;
                }
            }
            sender.flush(&mut report)?;
        }
    }
    report.summary.took_ms = began.elapsed().as_millis() as u64;
    Ok(report.summary)
}

/// Batches, paces and sends.
struct Sender<'a> {
    target: Box<dyn Target + 'a>,
    pacer: Pacer,
    began: Instant,
    stop: &'a AtomicBool,
    batch: Vec<Row>,
    references: u64,
    bytes: usize,
}

impl<'a> Sender<'a> {
    fn new(target: Box<dyn Target + 'a>, pacer: Pacer, began: Instant, stop: &'a AtomicBool) -> Sender<'a> {
        Sender { target, pacer, began, stop, batch: Vec::with_capacity(BATCH_ROWS), references: 0, bytes: 0 }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Takes a row when it is due; true when the user wants to stop. References do not wait: they begin before the first row.
    fn push(&mut self, row: Row, reference: bool, report: &mut Report<'_>) -> Result<bool, IngestError> {
        if !reference {
            report.summary.at(row.time_ms);
            let mut wait_ms = self.pacer.wait_ms(row.time_ms, self.now_ms());
            if wait_ms >= LEAST_WAIT_MS {
                self.flush(report)?;
                while wait_ms > 0 && !self.stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(wait_ms.min(LOOK_MS)));
                    report.progress(self.now_ms())?;
                    wait_ms = self.pacer.wait_ms(row.time_ms, self.now_ms());
                }
            }
        }
        if self.stop.load(Ordering::Relaxed) {
            report.summary.interrupted = true;
            return Ok(true);
        }
        self.bytes += row.value.len() + row.key.len();
        self.references += u64::from(reference);
        self.batch.push(row);
        if self.batch.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.flush(report)?;
        }
        Ok(false)
    }

    fn flush(&mut self, report: &mut Report<'_>) -> Result<(), IngestError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let sent = self.target.send(&self.batch)?;
        let mut refused = BTreeSet::new();
        for (index, reason) in sent.refused {
            if let Some(row) = self.batch.get(index).filter(|_| refused.insert(index)) {
                report.bad(row.line, &format!("{}: {reason}", row.topic))?;
            }
        }
        for (index, row) in self.batch.iter().enumerate() {
            if !refused.contains(&index) {
                *report.summary.sent.entry(row.topic.to_string()).or_default() += 1;
            }
        }
        report.summary.references += self.references;
        self.batch.clear();
        (self.bytes, self.references) = (0, 0);
        report.progress(self.now_ms())?;
        Ok(())
    }
}

/// Prints the first records of each topic.
struct DryRun<'a> {
    registry: &'a Registry,
    show: usize,
    shown: Vec<(Arc<str>, usize)>,
    out: &'a mut dyn Write,
}

impl Target for DryRun<'_> {
    fn send(&mut self, rows: &[Row]) -> Result<target::Sent, IngestError> {
        for row in rows {
            let at = match self.shown.iter().position(|(t, _)| *t == row.topic) {
                Some(at) => at,
                None => {
                    self.shown.push((row.topic.clone(), 0));
                    self.shown.len() - 1
                }
            };
            if self.shown[at].1 < self.show {
                self.shown[at].1 += 1;
                let value = self.registry.decode_to_json(&row.value).unwrap_or_default();
                writeln!(self.out, "{} {} {value}", row.topic, row.key)?;
            }
        }
        Ok(target::Sent::default())
    }
}
