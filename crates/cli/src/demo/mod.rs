//! `wastestream demo`: the simulated city through the whole pipeline in one process — embedded log, all built-in
//! topologies, models trained at the first start, the view, HTTP and the page. Everything lives in one folder and survives
//! any end.

mod history;
mod orders;
mod producer;
mod told;

use crate::edge::{FILL_MODEL, RegistryEdge};
use crate::endpoint::EndpointFile;
use crate::engine::{Engine, EngineOptions};
use crate::process::ProcessStatus;
use crate::projection::{Projection, SHOWN};
use crate::run::open_embedded;
use crate::serve::{self, Server};
use crate::{Failure, data_folder, plans};
use clap::Args;
pub use history::features as history_features;
pub use producer::encode;
use producer::{Pace, Producer};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use ws_api::Status;
use ws_city::CityConfig;
use ws_models::ModelStore;
use ws_runtime::models::Models;
use ws_runtime::now_ms;
use ws_stream::log::Log;
use ws_stream::worker::WorkerOptions;
use ws_views::EmbeddedView;

/// Topologies that run, the one that the status line tells first.
const TOPOLOGIES: [&str; 6] = ["bin-fill", "traffic", "route", "churn", "maintenance", "outcome"];
/// Partitions of every topic of the demo.
const PARTITIONS: u32 = 4;
/// How often the status line is written.
const LINE: Duration = Duration::from_secs(1);
/// How often it is written where nobody looks at a terminal.
const PLAIN_LINE: Duration = Duration::from_secs(5);

/// Settings of the demo.
#[derive(Args)]
pub struct DemoArgs {
    /// Folder that keeps everything; made when missing
    #[arg(long, env = "WS_DATA")]
    data: Option<PathBuf>,
    /// Address of the page and the API
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Simulated seconds per second
    #[arg(long, default_value_t = 300.0)]
    speed: f64,
    /// Seed of the city; the same seed gives the same city
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bins of the city
    #[arg(long, default_value_t = 2_000)]
    bins: usize,
    /// Trucks of the city
    #[arg(long, default_value_t = 40)]
    trucks: usize,
    /// Stop after so many seconds of wall time
    #[arg(long)]
    duration: Option<f64>,
    /// Hours of history that go through the log first
    #[arg(long, default_value_t = 48)]
    backfill_h: i64,
    /// Trucks drive fixed rounds, whatever is planned
    #[arg(long)]
    fixed_rounds: bool,
    /// Leave the models out: heuristics answer
    #[arg(long)]
    no_model: bool,
}

/// Runs the demo until Ctrl-C, `--duration`, or an error.
pub fn run(args: DemoArgs) -> Result<(), Failure> {
    if !(args.speed > 0.0 && args.speed <= 100_000.0) {
        return Err(format!("--speed {} is not usable: more than 0, at most 100000", args.speed).into());
    }
    let data = data_folder(args.data.clone());
    std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}; name a folder that can be written with --data", data.display()))?;
    let stop = serve::stop_on_signal()?;
    let registry = plans::registry(None)?;
    // The map of the simulated city, for whoever plans and measures in it.
    let roads = data.join("roads.geojsonl");
    let edge = RegistryEdge::new(registry.clone()).with_roads(roads.clone());
    let parameters = [("ROUTE_AUTOMATIC", "true".to_string()), ("ROUTE_NETWORK", roads.display().to_string())];
    let topologies = TOPOLOGIES.iter().map(|t| Ok(plans::built_in(t, &edge, &parameters)?.into_slices())).collect::<Result<Vec<_>, Failure>>()?;
    let log = open_embedded(&data)?;
    let view = EmbeddedView::open(&data.join("view"))?;
    let log: Arc<dyn Log> = Arc::new(log);
    let metrics = serve::metrics()?;
    let models = Models::default();
    crate::edge::route::put_solvers(&models);
    let store = ModelStore::new(data.join("models"));

    let config = CityConfig { seed: args.seed, bins: args.bins, trucks: args.trucks, ..CityConfig::default() };
    let (plans, following) = orders::follow(log.clone(), registry.clone(), stop.clone())?;
    let orders = orders::Orders::open(&data, plans)?;
    let mut producer = Producer::open(&data, config.clone(), log.as_ref(), registry.clone(), PARTITIONS, orders)?;
    producer.write_roads(&roads)?;
    let status = Arc::new(ProcessStatus::new(topologies, models.clone(), args.speed));
    status.event_now_ms.store(producer.now_ms(), Ordering::Relaxed);
    let server =
        Server::start(args.address, Arc::new(view.clone()), status.clone(), metrics, crate::append::routes(log.as_ref(), registry.clone())?, stop.clone())?;
    let _endpoint = EndpointFile::write(&data, &server.url)?;
    println!("wastestream demo: {} bins, {} trucks, seed {}, {}× real time", args.bins, args.trucks, args.seed, args.speed);
    println!("  page      {}/", server.url);
    println!("  data      {} (state survives; delete it to start over)", data.display());

    let mut engines = Vec::new();
    for topology in status.topologies() {
        engines.push(Engine::start(EngineOptions {
            slices: topology.slices.clone(),
            log: log.clone(),
            edge: Arc::new(edge.clone()),
            models: models.clone(),
            first_slot: 0,
            workers: 1,
            create_outputs: true,
            snapshots: Some(data.join("snapshots")),
            worker: WorkerOptions::default(),
            board: topology.board.clone(),
        })?);
    }
    let (rejected, applied) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let projection = Projection {
        log: log.clone(),
        registry: registry.clone(),
        topics: SHOWN.map(String::from).to_vec(),
        owner_epoch: now_ms() as u64,
        changes: server.changes.clone(),
        rejected,
        applied,
    };
    let projecting = {
        let (stop, view) = (stop.clone(), Box::new(view));
        std::thread::Builder::new().name("project".into()).spawn(move || {
            let ended = projection.run(view, &stop);
            if let Err(e) = &ended {
                tracing::error!(error = %e, "the projection had to end");
                stop.store(true, Ordering::Relaxed);
            }
            ended
        })?
    };

    let scoring = status.scores.follow(log.clone(), registry.clone(), stop.clone())?;

    let started = Instant::now();
    let backfilled = producer.backfill(args.backfill_h, &stop)?;
    status.event_now_ms.store(producer.now_ms(), Ordering::Relaxed);
    println!("  back-fill {backfilled} events of {} h in {:.1} s", args.backfill_h, started.elapsed().as_secs_f64());
    let training = if args.no_model {
        None
    } else {
        if let Some(version) = store.current(FILL_MODEL)? {
            println!("  models    {version} and others, stored by an earlier start");
        } else {
            println!("  models    training on simulated history; until then the heuristic rung answers");
        }
        let (models, status, stop) = (models.clone(), status.clone(), stop.clone());
        Some(std::thread::Builder::new().name("train".into()).spawn(move || history::train(&config, &registry, &store, &models, &status, &stop))?)
    };

    if !args.fixed_rounds {
        producer.follow_plans()?;
    }
    let pace = Pace { speed: args.speed, started: Instant::now() };
    let status_of_city = status.clone();
    let producing = {
        let stop = stop.clone();
        std::thread::Builder::new().name("city".into()).spawn(move || {
            let ended = producer.live(pace, &stop, &status_of_city.event_now_ms);
            if let Err(e) = &ended {
                tracing::error!(error = %e, "the city had to end");
                stop.store(true, Ordering::Relaxed);
            }
            ended
        })?
    };
    let mut told = None::<Instant>;
    let terminal = std::io::stdout().is_terminal();
    while !stop.load(Ordering::Relaxed) && !engines.iter().any(Engine::ended) {
        std::thread::sleep(Duration::from_millis(50));
        status.sample();
        if args.duration.is_some_and(|d| started.elapsed().as_secs_f64() >= d) {
            stop.store(true, Ordering::Relaxed);
        }
        if told.is_none_or(|t| t.elapsed() >= if terminal { LINE } else { PLAIN_LINE }) {
            told = Some(Instant::now());
            told::line(&status, terminal);
        }
    }
    stop.store(true, Ordering::Relaxed);
    println!("{}stopping: committing what is closed", if terminal { "\n" } else { "" });
    producing.join().map_err(|_| "the city panicked")??;
    let last = status.pipelines();
    let mut first = Ok(());
    for engine in engines {
        let ended = engine.stop();
        first = first.and(ended);
    }
    first?;
    projecting.join().map_err(|_| "the projection panicked")??;
    if let Some(t) = training {
        t.join().map_err(|_| "training panicked")?.map_err(|e| e.to_string())?;
    }
    following.join().map_err(|_| "following plans panicked")?;
    scoring.join().map_err(|_| "scoring panicked")?;
    server.join()?;
    told::summary(&last);
    Ok(())
}

/// Stops at once when asked to.
fn stopped(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}
