//! `wastestream run` and `wastestream config check`: topologies on a log, with projection and HTTP.

use crate::config::{Config, LogKind, ViewKind};
use crate::edge::{MODELS, RegistryEdge};
use crate::endpoint::{self, EndpointFile};
use crate::engine::{Engine, EngineOptions};
use crate::process::ProcessStatus;
use crate::projection::{Projection, SHOWN};
use crate::serve::{self, Server};
use crate::{Failure, plans};
use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use ws_log::embedded::{EmbeddedConfig, EmbeddedLog};
use ws_log::kafka::{KafkaConfig, KafkaLog};
use ws_models::ModelStore;
use ws_runtime::models::Models;
use ws_runtime::now_ms;
use ws_stream::log::{Log, LogError, TopicSpec};
use ws_stream::spec::Topology;
use ws_stream::worker::WorkerOptions;
use ws_views::{EmbeddedView, RedisView, RedisViewOptions, ViewReads, ViewStore};

/// Partitions of topics that `run` makes on an embedded log.
const EMBEDDED_PARTITIONS: u32 = 4;

/// Settings of `run`; flags win over environment and file.
#[derive(Args)]
pub struct RunArgs {
    /// Configuration file (TOML)
    #[arg(long, env = "WS_CONFIG")]
    config: Option<PathBuf>,
    /// Topology: a built-in one by name (bin-fill, churn, …) or a file; repeatable; none: bin-fill
    #[arg(long)]
    topology: Vec<PathBuf>,
    /// Data folder
    #[arg(long)]
    data: Option<PathBuf>,
    /// Road network, for topologies that match positions to roads or plan routes on them; otherwise roads.geojsonl in the data folder
    #[arg(long)]
    roads: Option<PathBuf>,
    /// Kafka bootstrap servers; implies log.kind = kafka
    #[arg(long)]
    bootstrap: Option<String>,
    /// Address of HTTP
    #[arg(long)]
    address: Option<SocketAddr>,
    /// Slot of the first worker: unique among the processes of a topology
    #[arg(long)]
    slot: Option<u32>,
    /// Workers of this process
    #[arg(long)]
    workers: Option<u32>,
    /// Create missing output topics
    #[arg(long)]
    create_outputs: bool,
    /// Stop after so many seconds
    #[arg(long)]
    duration: Option<f64>,
}

/// Commands about the configuration.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Read file and environment, check everything, print the result
    Check {
        /// Configuration file (TOML)
        #[arg(long, env = "WS_CONFIG")]
        config: Option<PathBuf>,
    },
}

/// Checks the configuration.
pub fn config(command: &ConfigCommand) -> Result<(), Failure> {
    let ConfigCommand::Check { config } = command;
    let c = Config::load(config.as_deref(), Vec::new())?;
    let edge = RegistryEdge::new(plans::registry(c.schemas.as_deref())?);
    for topology in &c.topologies {
        plans::named(topology, &edge, c.roads.as_deref())?;
    }
    print!("{}", toml::to_string_pretty(&c)?);
    eprintln!("ok");
    Ok(())
}

/// The embedded log of a data folder. A second owner is told where the first one listens.
pub fn open_embedded(data: &Path) -> Result<EmbeddedLog, Failure> {
    Ok(EmbeddedLog::open(EmbeddedConfig::new(data.join("log"))).map_err(|e| match endpoint::find(data) {
        Some(found) => format!("{e}\n  process {} serves this folder at {}; stop it, or name another folder with --data", found.pid, found.url),
        None => e.to_string(),
    })?)
}

/// The log of a configuration.
pub fn open_log(c: &Config) -> Result<Arc<dyn Log>, Failure> {
    Ok(match c.log.kind {
        LogKind::Embedded => Arc::new(open_embedded(&c.data)?),
        LogKind::Kafka => {
            let mut kafka = KafkaConfig::new(c.log.bootstrap.clone());
            kafka.properties.extend(c.log.properties.iter().map(|(k, v)| (k.clone(), v.clone())));
            Arc::new(KafkaLog::new(kafka))
        }
    })
}

/// On the embedded log this process is the broker: inputs and tables that are missing are made, so that producers can
/// write through this process at once. Inputs that are read together get equal partition counts.
fn create_inputs<'a>(slices: impl Iterator<Item = &'a Arc<Topology>>, log: &dyn Log) -> Result<(), LogError> {
    let mut admin = log.admin()?;
    for topology in slices {
        // Repartition topics are made where they are written.
        let inputs = || topology.inputs.iter().filter(|i| i.rekeyed.is_none()).map(|i| &i.topic);
        let together = inputs().chain(topology.tables.iter().filter(|t| !t.global).map(|t| &t.topic));
        let mut partitions = EMBEDDED_PARTITIONS;
        for topic in together {
            if let Some(info) = admin.topic(topic)? {
                partitions = info.partitions;
                break;
            }
        }
        let read = inputs().chain(topology.tables.iter().map(|t| &t.topic));
        let specs: Vec<_> = read.map(|name| TopicSpec { name: name.clone(), partitions, config: Vec::new() }).collect();
        admin.create(&specs)?;
    }
    Ok(())
}

/// Whether a topology writes or reads a topic.
fn touches(topology: &Topology, topic: &str) -> bool {
    let read = topology.inputs.iter().filter(|i| i.rekeyed.is_none()).map(|i| &i.topic).chain(topology.tables.iter().map(|t| &t.topic));
    read.chain(topology.sinks.iter().map(|s| &s.topic)).any(|t| **t == *topic)
}

/// Runs until a signal, `--duration`, or an error.
pub fn run(args: RunArgs) -> Result<(), Failure> {
    let mut flags = Vec::new();
    if let Some(b) = &args.bootstrap {
        flags.extend([("log.bootstrap", b.clone()), ("log.kind", "kafka".into())]);
    }
    if let Some(d) = &args.data {
        flags.push(("data", d.display().to_string()));
    }
    if let Some(r) = &args.roads {
        flags.push(("roads", r.display().to_string()));
    }
    if let Some(a) = &args.address {
        flags.push(("api.address", a.to_string()));
    }
    let mut c = Config::load(args.config.as_deref(), flags)?;
    c.engine.slot = args.slot.unwrap_or(c.engine.slot);
    c.engine.workers = args.workers.unwrap_or(c.engine.workers);
    if !args.topology.is_empty() {
        c.topologies.clone_from(&args.topology);
    }
    std::fs::create_dir_all(&c.data).map_err(|e| format!("{}: {e}; name a folder that can be written with --data", c.data.display()))?;
    let stop = serve::stop_on_signal()?;
    let registry = plans::registry(c.schemas.as_deref())?;
    let edge = RegistryEdge::new(registry.clone()).with_roads(c.roads_file());
    let mut topologies = Vec::new();
    for topology in &c.topologies {
        topologies.push(plans::named(topology, &edge, c.roads.as_deref())?.into_slices());
    }
    if topologies.is_empty() {
        topologies.push(plans::bin_fill(&edge)?.into_slices());
    }
    edge.ready_for(topologies.iter().flatten())?;
    let log = open_log(&c)?;
    if c.log.kind == LogKind::Embedded {
        create_inputs(topologies.iter().flatten(), log.as_ref())?;
    }
    let models = Models::default();
    crate::edge::route::put_solvers(&models);
    let store = ModelStore::new(c.data.join("models"));
    for model in MODELS {
        if let Some(version) = store.current(model)? {
            models.put(model, Box::new(store.load(model, &version)?));
            tracing::info!(model, version, "model loaded");
        }
    }
    let (view, reads): (Box<dyn ViewStore>, Arc<dyn ViewReads>) = match c.view.kind {
        ViewKind::Embedded => {
            let v = EmbeddedView::open(&c.data.join("view"))?;
            (Box::new(v.clone()), Arc::new(v))
        }
        ViewKind::Redis => {
            let options = RedisViewOptions::new(c.view.url.clone());
            (Box::new(RedisView::connect(&options)?), Arc::new(RedisView::connect(&options)?))
        }
    };
    let metrics = serve::metrics()?;
    let status = Arc::new(ProcessStatus::new(topologies.clone(), models.clone(), 1.0));
    let server = Server::start(c.api.address, reads, status.clone(), metrics, crate::append::routes(log.as_ref(), registry.clone())?, stop.clone())?;
    let _endpoint = EndpointFile::write(&c.data, &server.url)?;
    let worker =
        WorkerOptions { commit_interval_ms: c.engine.commit_interval_ms, snapshot_interval_ms: c.engine.snapshot_interval_ms, ..WorkerOptions::default() };
    let mut engines = Vec::new();
    for topology in status.topologies() {
        engines.push(Engine::start(EngineOptions {
            slices: topology.slices.clone(),
            log: log.clone(),
            edge: Arc::new(edge.clone()),
            models: models.clone(),
            first_slot: c.engine.slot,
            workers: c.engine.workers,
            create_outputs: args.create_outputs || c.log.kind == LogKind::Embedded,
            snapshots: Some(c.data.join("snapshots")),
            worker: worker.clone(),
            board: topology.board.clone(),
        })?);
    }
    let shown: Vec<String> = SHOWN.iter().filter(|t| topologies.iter().flatten().any(|x| touches(x, t))).map(|t| (*t).to_string()).collect();
    let projection = Projection {
        log,
        registry,
        topics: shown,
        owner_epoch: now_ms() as u64,
        changes: server.changes.clone(),
        rejected: Arc::new(AtomicU64::new(0)),
        applied: Arc::new(AtomicU64::new(0)),
    };
    let flag = stop.clone();
    let projecting = std::thread::Builder::new().name("project".into()).spawn(move || {
        let ended = projection.run(view, &flag);
        if let Err(e) = &ended {
            tracing::error!(error = %e, "the projection had to end");
            flag.store(true, Ordering::Relaxed);
        }
        ended
    })?;
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) && !engines.iter().any(Engine::ended) {
        std::thread::sleep(Duration::from_millis(50));
        status.sample();
        if args.duration.is_some_and(|d| started.elapsed().as_secs_f64() >= d) {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    tracing::info!("stopping: committing what is closed");
    let mut first = Ok(());
    for e in engines {
        let ended = e.stop();
        first = first.and(ended);
    }
    projecting.join().map_err(|_| "the projection panicked")??;
    server.join()?;
    Ok(first?)
}
