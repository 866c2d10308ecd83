//! `wastestream train --map MAP --task next-day FILE`: will a container be seen full at its next daily reading? A file
//! goes through its mapping and the topology into rows of `bin.features`, as it would in service, and the models' own
//! split by time judges; the scores stand beside the floor that the mapping gives for its data.

use crate::Failure;
use crate::edge::RegistryEdge;
use crate::ingest::map::{Floor, Map};
use crate::ingest::report::Report;
use crate::ingest::target::{Row, appends};
use crate::ingest::{Summary, load_map, read, sorted};
use crate::plans;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, or};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use ws_log::avro::AvroDecoder;
use ws_log::registry::Registry;
use ws_models::{NextDayOptions, NextDayReport, train_next_day};
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;
use ws_stream::codec::Decode;
use ws_stream::spec::Topology;

const FEATURES: &str = "bin.features";
/// A row this close to its reading was caused by it and not by a timer, hours.
const READING_AGE_H: f64 = 0.02;

/// Scores, with what they rest on.
#[derive(Debug)]
pub struct NextDayEvaluation {
    /// Name of the mapping.
    pub name: String,
    /// Of the file.
    pub ingest: Summary,
    /// Rows of `bin.features` that a reading caused.
    pub feature_rows: usize,
    /// Scores.
    pub report: NextDayReport,
    /// What to beat.
    pub floor: Option<Floor>,
}

impl fmt::Display for NextDayEvaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.ingest)?;
        writeln!(f, "{} rows of {FEATURES} caused by readings; those the source doubts count as faults", self.feature_rows)?;
        write!(f, "{}", self.report)?;
        if let Some(floor) = &self.floor {
            writeln!(f, "  floor      AUC {:.3} AP {:.3} (of the mapping, for all rows)", floor.auc, floor.average_precision)?;
        }
        write!(f, "features: {}", self.report.features.join(", "))
    }
}

impl NextDayEvaluation {
    /// As JSON: `all`, `without_faults` (null when none is flagged), `floor`, `features`, `rows`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "map": self.name,
            "rows": { "read": self.ingest.read_rows, "bad": self.ingest.bad, "suspect": self.ingest.suspect_rows, "features": self.feature_rows, "train": self.report.train_rows },
            "all": self.report.all,
            "without_faults": self.report.without_faults,
            "floor": self.floor.as_ref().map(|f| serde_json::json!({ "auc": f.auc, "average_precision": f.average_precision })),
            "features": self.report.features,
            "test_from_ms": self.report.test_from_ms,
        })
    }
}

/// The command: evaluates by the built-in `bin-fill` and prints, as JSON if wanted.
///
/// # Errors
/// As [`evaluate`].
pub fn run(map: &Path, file: &str, seed: u64, json: bool) -> Result<(), Failure> {
    let registry = plans::registry(None)?;
    let topology = plans::bin_fill(&RegistryEdge::new(registry.clone()))?.topology;
    let evaluation = evaluate(map, file, seed, Arc::new(topology), registry, &mut std::io::stderr())?;
    match json {
        true => println!("{}", evaluation.to_json()),
        false => println!("{evaluation}"),
    }
    Ok(())
}

/// Reads `file` by the mapping, replays it through `topology` (bin-fill), trains and judges. Bad rows go to `notes`.
///
/// # Errors
/// When mapping or file cannot be used, the topology stops, or there is too little to learn from.
pub fn evaluate(
    map: &Path,
    file: &str,
    seed: u64,
    topology: Arc<Topology>,
    registry: Arc<Registry>,
    notes: &mut dyn Write,
) -> Result<NextDayEvaluation, Failure> {
    let map = load_map(map, &registry)?;
    let mut report = Report::new(file, 20, notes);
    let rows = read::open(file, None, &map)?;
    let (references, rows) = sorted(&map, &registry, rows, usize::MAX, &mut report, |_| Ok(false))?;
    if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
        report.summary.at(first.time_ms);
        report.summary.at(last.time_ms);
    }
    for row in references.iter().chain(&rows) {
        *report.summary.sent.entry(row.topic.to_string()).or_default() += 1;
    }
    report.summary.references = references.len() as u64;
    report.summary.dry_run = true;
    let batches = features(&map, &references, &rows, topology, registry)?;
    let options = NextDayOptions { seed, trained_at_ms: report.summary.last_ms.unwrap_or_default(), ..NextDayOptions::default() };
    let feature_rows = batches.iter().map(RecordBatch::num_rows).sum();
    let trained = train_next_day(&batches, &options)?;
    Ok(NextDayEvaluation { name: map.name, ingest: report.summary, feature_rows, report: trained, floor: map.floor })
}

/// Rows of `bin.features` that readings cause; those whose reading the source doubts are flagged `jumping`.
fn features(map: &Map, references: &[Row], rows: &[Row], topology: Arc<Topology>, registry: Arc<Registry>) -> Result<Vec<RecordBatch>, Failure> {
    let edge = RegistryEdge::new(registry.clone());
    if !topology.inputs.iter().any(|i| i.topic == map.output.topic) {
        return Err(format!("the mapping `{}` fills {}, which the topology {} does not read", map.name, map.output.topic, topology.name).into());
    }
    let mut replay = Replay::new(topology, Arc::new(edge), Models::default())?;
    let mut decoder = AvroDecoder::new(registry, FEATURES, None)?;
    let suspects: BTreeSet<(&str, i64)> = rows.iter().filter(|r| r.suspect).map(|r| (&*r.key, r.time_ms)).collect();
    let mut batches = Vec::new();
    feed(&mut replay, references)?;
    // One moment at a time: watermark, timers and late rows are then what they are in service.
    for moment in rows.chunk_by(|a, b| a.time_ms == b.time_ms) {
        feed(&mut replay, moment)?;
        let records = replay.take(FEATURES);
        if records.rows.is_empty() {
            continue;
        }
        let decoded = decoder.decode(&records);
        if let Some(bad) = decoded.dead.first() {
            return Err(format!("{FEATURES} cannot be read back: {}", bad.error).into());
        }
        let batch = caused_by_readings(&decoded.rows)?;
        if batch.num_rows() > 0 {
            batches.push(with_suspects(&batch, &suspects)?);
        }
    }
    Ok(batches)
}

fn feed(replay: &mut Replay, rows: &[Row]) -> Result<(), Failure> {
    for set in appends(rows, 0, |_| 0) {
        let times = rows.iter().filter(|r| r.topic == set.topic).map(|r| r.time_ms);
        replay.set_now_ms(rows.iter().map(|r| r.time_ms).max().unwrap_or_default());
        let records = times.enumerate().map(|(i, time_ms)| {
            let (key, value, _) = set.row(i);
            (key, value, time_ms)
        });
        replay.feed(&set.topic, records)?;
    }
    Ok(())
}

fn caused_by_readings(rows: &RecordBatch) -> Result<RecordBatch, Failure> {
    let silent_h = rows.column_by_name("silent_h").ok_or("bin.features has no silent_h")?.as_primitive::<Float64Type>();
    let keep: BooleanArray = silent_h.iter().map(|h| Some(h.is_none_or(|h| h <= READING_AGE_H))).collect();
    Ok(filter_record_batch(rows, &keep)?)
}

/// The rows with `jumping` set where the reading is among `suspects`, by device and event time.
fn with_suspects(rows: &RecordBatch, suspects: &BTreeSet<(&str, i64)>) -> Result<RecordBatch, Failure> {
    let column = |name: &str| rows.column_by_name(name).ok_or_else(|| format!("{FEATURES} has no {name}"));
    let (devices, times) = (column("device_id")?.as_string::<i32>(), column("observed_at")?.as_primitive::<Int64Type>());
    let doubted: BooleanArray = (0..rows.num_rows()).map(|i| Some(devices.is_valid(i) && suspects.contains(&(devices.value(i), times.value(i))))).collect();
    let at = rows.schema().index_of("jumping")?;
    let mut columns = rows.columns().to_vec();
    columns[at] = Arc::new(or(columns[at].as_boolean(), &doubted)?);
    let fields: Vec<Field> = rows
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(i, f)| if i == at { Field::new("jumping", DataType::Boolean, true) } else { f.as_ref().clone() })
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
