//! Workers of one topology in this process, for each of its slices, with what stands around them: topics checked, models, status.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use ws_runtime::driver::{DriverError, DriverOptions, run};
use ws_runtime::models::Models;
use ws_runtime::prepare::{PrepareError, check_formats, prepare_slices};
use ws_runtime::status::Board;
use ws_stream::log::Log;
use ws_stream::spec::Topology;
use ws_stream::task::Edge;
use ws_stream::worker::WorkerOptions;

/// What an engine runs on.
pub struct EngineOptions {
    /// The topology's slices, each after those that it reads from.
    pub slices: Vec<Arc<Topology>>,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Codecs.
    pub edge: Arc<dyn Edge>,
    /// Predictors.
    pub models: Models,
    /// First slot of this process; workers take this and the next ones.
    pub first_slot: u32,
    /// Workers: about one per core.
    pub workers: u32,
    /// Create missing outputs.
    pub create_outputs: bool,
    /// Snapshot folder.
    pub snapshots: Option<PathBuf>,
    /// Intervals and limits.
    pub worker: WorkerOptions,
    /// Where workers tell how they are.
    pub board: Board,
}

/// Running workers.
pub struct Engine {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), DriverError>>>,
}

/// An engine that cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Topics do not fit.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The log.
    #[error(transparent)]
    Log(#[from] ws_stream::log::LogError),
    /// A worker ended.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl Engine {
    /// Checks topics and starts the workers.
    pub fn start(options: EngineOptions) -> Result<Engine, EngineError> {
        let mut admin = options.log.admin()?;
        let all = prepare_slices(&options.slices, admin.as_mut(), options.create_outputs)?;
        check_formats(options.log.as_ref(), &options.slices, &all)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let workers = options
            .slices
            .iter()
            .zip(&all)
            .zip(0u32..)
            .flat_map(|((topology, prepared), n)| (0..options.workers.clamp(1, prepared.tasks.max(1))).map(move |i| (topology, prepared, n, i)));
        for (topology, prepared, n, i) in workers {
            let driver = DriverOptions {
                topology: topology.clone(),
                log: options.log.clone(),
                edge: options.edge.clone(),
                models: options.models.clone(),
                prepared: prepared.clone(),
                slot: options.first_slot + i,
                snapshots: options.snapshots.clone(),
                worker: options.worker.clone(),
            };
            let (board, stop) = (options.board.of_slice(n), stop.clone());
            board.update(driver.slot, |s| s.waiting_for = "workers are starting".into());
            let name = format!("worker-{}-{}", driver.topology.name, driver.slot);
            threads.push(std::thread::Builder::new().name(name).spawn(move || {
                let ended = run(driver, &board, &stop);
                if let Err(e) = &ended {
                    tracing::error!(error = %e, "a worker had to end");
                }
                // One worker's end is the process' end: its tasks go to others, and a supervisor starts it again.
                stop.store(true, Ordering::Relaxed);
                ended
            })?);
        }
        Ok(Engine { stop, threads })
    }

    /// Has a worker ended by itself?
    pub fn ended(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Commits what is closed, gives tasks up, and waits.
    pub fn stop(self) -> Result<(), EngineError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut first = Ok(());
        for t in self.threads {
            match t.join() {
                Ok(Ok(())) => {}
                Ok(Err(e)) if first.is_ok() => first = Err(e.into()),
                Ok(Err(_)) => {}
                Err(_) => first = Err(EngineError::Thread(std::io::Error::other("a worker panicked; see the log above"))),
            }
        }
        first
    }
}
