//! `wastestream train`: history through the same topology that will use the model, then training and evaluation.

use crate::edge::{FILL_MODEL, RegistryEdge};
use crate::{Failure, data_folder, plans};
use arrow::array::RecordBatch;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use ws_city::CityConfig;
use ws_log::avro::AvroDecoder;
use ws_log::embedded::{EmbeddedConfig, EmbeddedLog};
use ws_log::registry::Registry;
use ws_models::{ModelStore, TrainOptions, train_fill};
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;
use ws_stream::codec::Decode;
use ws_stream::log::{End, Log, TopicPartition};
use ws_stream::records::Appends;
use ws_stream::spec::Topology;

/// Settings of training.
#[derive(Args)]
pub struct TrainArgs {
    /// Data folder: its log is the history, its models folder takes the result. It must not be in use
    #[arg(long, env = "WS_DATA")]
    data: Option<PathBuf>,
    /// Train on a simulated past of so many days instead of the log
    #[arg(long)]
    simulate_days: Option<i64>,
    /// Bins of the simulated past
    #[arg(long, default_value_t = 400)]
    bins: usize,
    /// Seed of sampling, boosting and the simulated past
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only evaluate; store nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the evaluation as JSON
    #[arg(long)]
    json: bool,
    /// What is learned
    #[arg(long, value_enum, default_value_t = Task::Fill)]
    task: Task,
    /// Mapping of FILE: evaluation only
    #[arg(long, requires = "file")]
    map: Option<PathBuf>,
    /// History in a file instead of the log
    #[arg(requires = "map")]
    file: Option<String>,
    /// Units that were cut off, for `--task maintenance` with a file
    #[arg(long, requires_all = ["file", "truth"])]
    test: Option<PathBuf>,
    /// What was left of each of them, one number a unit
    #[arg(long, requires = "test")]
    truth: Option<PathBuf>,
}

/// What is learned.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Task {
    /// Levels ahead, hours to full, P(overflow before the next visit)
    Fill,
    /// Full at the next daily reading (evaluation only, from a file)
    NextDay,
    /// Voluntary end of a contract; with a file: on a public table that stands in
    Churn,
    /// Failure of a vehicle's part; with a file: remaining life on public data that stand in
    Maintenance,
}

/// Options of the fill model.
pub fn fill_options(seed: u64, trained_at_ms: i64) -> TrainOptions {
    TrainOptions { name: FILL_MODEL.into(), seed, trained_at_ms, ..TrainOptions::default() }
}

/// Rows of a topic of features, computed by replaying records through the topology.
pub struct Features {
    replay: Replay,
    topic: &'static str,
    decoder: AvroDecoder,
    slices: Vec<Arc<Topology>>,
    batches: Vec<RecordBatch>,
    newest_ms: i64,
}

impl Features {
    /// Ready to take history.
    pub fn new(slices: Vec<Arc<Topology>>, edge: RegistryEdge, registry: Arc<Registry>, topic: &'static str) -> Result<Features, Failure> {
        let decoder = AvroDecoder::new(registry, topic, None)?;
        let replay = Replay::of_slices(&slices, Arc::new(edge), Models::default(), 0)?;
        Ok(Features { replay, topic, decoder, slices, batches: Vec::new(), newest_ms: 0 })
    }

    /// Whether the topology reads a topic.
    pub fn reads(&self, topic: &str) -> bool {
        self.slices.iter().any(|s| s.tables.iter().any(|t| &*t.topic == topic) || s.inputs.iter().any(|t| &*t.topic == topic))
    }

    /// Feeds records: tables first, so that references of the same moment are known.
    pub fn feed(&mut self, appends: &[Appends]) -> Result<(), Failure> {
        let is_table = |topic: &Arc<str>| self.slices.iter().any(|s| s.tables.iter().any(|t| t.topic == *topic));
        let is_input = |topic: &Arc<str>| self.slices.iter().any(|s| s.inputs.iter().any(|i| i.topic == *topic));
        let (tables, streams): (Vec<_>, Vec<_>) = appends.iter().partition(|a| is_table(&a.topic));
        for a in tables.into_iter().chain(streams) {
            if !is_table(&a.topic) && !is_input(&a.topic) {
                continue;
            }
            self.newest_ms = self.newest_ms.max(a.rows.iter().map(|r| r.timestamp_ms).max().unwrap_or(0));
            self.replay.set_now_ms(self.newest_ms);
            let rows = (0..a.rows.len()).map(|i| {
                let (k, v, _) = a.row(i);
                (k, v, a.rows[i].timestamp_ms)
            });
            self.replay.feed(&a.topic, rows)?;
        }
        let records = self.replay.take(self.topic);
        if !records.rows.is_empty() {
            let decoded = self.decoder.decode(&records);
            if let Some(bad) = decoded.dead.first() {
                return Err(format!("{} cannot be read back: {}", self.topic, bad.error).into());
            }
            self.batches.push(decoded.rows);
        }
        Ok(())
    }

    /// All rows so far.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Counts of inputs and stages, for tests that add them up.
    #[cfg(test)]
    pub fn counts(&mut self) -> Vec<(String, ws_stream::operator::Counts)> {
        self.replay.counts()
    }

    /// Newest time fed, UTC ms.
    pub fn newest_ms(&self) -> i64 {
        self.newest_ms
    }
}

/// Trains, prints the evaluation, stores the model.
pub fn run(args: &TrainArgs) -> Result<(), Failure> {
    if args.task == Task::NextDay {
        let (Some(map), Some(file)) = (&args.map, &args.file) else { return Err("--task next-day needs --map MAP.yaml and a FILE".into()) };
        return crate::evaluate_next_day::run(map, file, args.seed, args.json);
    }
    if let (Some(map), Some(file)) = (&args.map, &args.file) {
        let file = std::path::Path::new(file);
        match (args.task, &args.test, &args.truth) {
            (Task::Churn, ..) => return crate::train_table::churn(map, file, args.seed, args.json),
            (Task::Maintenance, Some(test), Some(truth)) => return crate::train_table::life(map, file, test, truth, args.seed, args.json),
            (Task::Maintenance, ..) => return Err("--task maintenance with a file needs --test FILE and --truth FILE".into()),
            _ => {}
        }
    }
    if args.task == Task::Churn || args.task == Task::Maintenance {
        let of = if args.task == Task::Churn { crate::train_risk::Of::Churn } else { crate::train_risk::Of::Maintenance };
        let data = data_folder(args.data.clone());
        return crate::train_risk::run(of, &data, args.simulate_days, args.bins, args.seed, args.dry_run, args.json);
    }
    let registry = plans::registry(None)?;
    let data = data_folder(args.data.clone());
    let features = match args.simulate_days {
        Some(days) => {
            let city = CityConfig { seed: args.seed, ..CityConfig::default() };
            crate::demo::history_features(&city, days, args.bins, &registry, &AtomicBool::new(false))?.ok_or("stopped")?
        }
        None => from_log(&data, &registry)?,
    };
    let rows: usize = features.batches().iter().map(RecordBatch::num_rows).sum();
    eprintln!("{rows} rows of bin.features");
    let trained = train_fill(features.batches(), &fill_options(args.seed, features.newest_ms()))?;
    if args.json {
        println!("{}", trained.evaluation.to_json());
    } else {
        println!("{}", trained.evaluation);
    }
    if !args.dry_run {
        let store = ModelStore::new(data.join("models"));
        let path = store.save(&trained.bundle)?;
        store.set_current(FILL_MODEL, &trained.bundle.manifest.version)?;
        eprintln!("stored {} as the current {FILL_MODEL}; a running process takes it at its next start", path.display());
    }
    Ok(())
}

/// History from the folder's log.
fn from_log(data: &std::path::Path, registry: &Arc<Registry>) -> Result<Features, Failure> {
    let edge = RegistryEdge::new(registry.clone());
    let slices = plans::bin_fill(&edge)?.into_slices();
    let mut features = Features::new(slices.clone(), edge, registry.clone(), "bin.features")?;
    let tables: Vec<_> = slices.iter().flat_map(|s| &s.tables).map(|t| t.topic.clone()).collect();
    let inputs: Vec<_> = slices.iter().flat_map(|s| &s.inputs).filter(|i| i.rekeyed.is_none()).map(|i| i.topic.clone()).collect();
    read_log(data, &tables, &mut |a| features.feed(&[a]))?;
    read_log(data, &inputs, &mut |a| features.feed(&[a]))?;
    Ok(features)
}

/// Records of topics in the folder's log, topic by topic, partition by partition in log order, merged by log time.
pub fn read_log(data: &std::path::Path, topics: &[Arc<str>], take: &mut dyn FnMut(Appends) -> Result<(), Failure>) -> Result<(), Failure> {
    let log = EmbeddedLog::open(EmbeddedConfig::new(data.join("log")))?;
    let mut admin = log.admin()?;
    for topic in topics {
        for a in topic_of_log(&log, admin.as_mut(), topic)? {
            take(a)?;
        }
    }
    Ok(())
}

/// The same of several topics, merged by log time over all of them: for topologies that read many streams.
pub fn read_log_merged(data: &std::path::Path, topics: &[Arc<str>], take: &mut dyn FnMut(Appends) -> Result<(), Failure>) -> Result<(), Failure> {
    let log = EmbeddedLog::open(EmbeddedConfig::new(data.join("log")))?;
    let mut admin = log.admin()?;
    let mut all: Vec<(i64, Appends)> = Vec::new();
    for topic in topics {
        for a in topic_of_log(&log, admin.as_mut(), topic)? {
            for i in 0..a.rows.len() {
                let (key, value, _) = a.row(i);
                let mut one = Appends::new(topic.clone());
                one.push(0, a.rows[i].timestamp_ms, key, value, &[]);
                all.push((a.rows[i].timestamp_ms, one));
            }
        }
    }
    all.sort_by_key(|(t, _)| *t);
    all.into_iter().try_for_each(|(_, a)| take(a))
}

fn topic_of_log(log: &EmbeddedLog, admin: &mut dyn ws_stream::log::Admin, topic: &Arc<str>) -> Result<Vec<Appends>, Failure> {
    let Some(info) = admin.topic(topic)? else { return Ok(Vec::new()) };
    let mut merged: Vec<(i64, Appends)> = Vec::new();
    for partition in 0..info.partitions {
        let at = TopicPartition::new(topic.clone(), partition);
        let (start, end) = (admin.start(&at)?, admin.end(&at, End::Stable)?);
        let mut reader = log.reader()?;
        reader.add(&at, start)?;
        let mut position = start;
        while position < end {
            for (_, records) in reader.poll(100)? {
                position = records.next_offset;
                let mut a = Appends::new(topic.clone());
                for (i, r) in records.rows.iter().enumerate() {
                    a.push(0, r.timestamp_ms, records.key(i), records.value(i), &[]);
                }
                merged.push((records.rows.first().map_or(0, |r| r.timestamp_ms), a));
            }
        }
    }
    merged.sort_by_key(|(t, _)| *t);
    Ok(merged.into_iter().map(|(_, a)| a).collect())
}
