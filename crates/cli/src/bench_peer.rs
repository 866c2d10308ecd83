//! One peer of the side-by-side benchmark harness: reads its settings from the environment, runs one topology over a
//! pre-loaded topic, prints `BENCH first <ms>` at the first record and `BENCH done <ms>` when the last output and its
//! positions are committed.

use crate::edge::RegistryEdge;
use crate::engine::{Engine, EngineOptions};
use crate::{Failure, plans};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ws_log::kafka::{KafkaConfig, KafkaLog};
use ws_log::registry::Registry;
use ws_runtime::models::Models;
use ws_runtime::now_ms;
use ws_runtime::status::Board;
use ws_stream::log::{End, Log, TopicPartition};
use ws_stream::worker::WorkerOptions;

fn var(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| format!("{name} is not set: this command is started by the benchmark harness (`make bench-peers`)").into())
}

/// Runs the peer.
pub fn run() -> Result<(), Failure> {
    let (bootstrap, topic) = (var("BOOTSTRAP")?, var("IN_TOPIC")?);
    let workers: u32 = std::env::var("THREADS").ok().and_then(|v| v.parse().ok()).unwrap_or(2);
    let commit_interval_ms: i64 = std::env::var("COMMIT_MS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000);
    let mut registry = Registry::default();
    let schema = var("SCHEMA")?;
    registry.insert(&format!("{topic}-value"), 1, 1, &schema, &std::fs::read_to_string(&schema)?)?;
    let registry = Arc::new(registry);
    let edge = RegistryEdge::new(registry);
    let plan = plans::file(Path::new(&var("TOPOLOGY")?), &edge)?;
    let mut topology = plan.topology;
    // A run of its own: group, state and internal topics are named after it.
    topology.name = var("GROUP")?.into();
    topology.dead_letters = format!("dlq.{}", topology.name).into();
    let log: Arc<dyn Log> = Arc::new(KafkaLog::new(KafkaConfig::new(bootstrap)));
    let mut admin = log.admin()?;
    let partitions: u32 = var("PARTITIONS")?.parse()?;
    let mut ends = Vec::new();
    for p in 0..partitions {
        let at = TopicPartition::new(topic.as_str(), p);
        ends.push((p, admin.end(&at, End::Stable)?));
    }
    let board = Board::default();
    let snapshots: Option<PathBuf> = None;
    let engine = Engine::start(EngineOptions {
        slices: vec![Arc::new(topology)],
        log: log.clone(),
        edge: Arc::new(edge),
        models: Models::default(),
        first_slot: 0,
        workers,
        create_outputs: true,
        snapshots,
        worker: WorkerOptions { commit_interval_ms, snapshot_interval_ms: 0, ..WorkerOptions::default() },
        board: board.clone(),
    })?;
    let total: i64 = ends.iter().map(|(_, e)| *e).sum();
    let mut first = false;
    loop {
        std::thread::sleep(Duration::from_millis(5));
        let s = board.summary();
        if !first && s.first_record_ms > 0 {
            first = true;
            println!("BENCH first {}", s.first_record_ms);
        }
        if s.committed_position >= total {
            println!("BENCH done {}", now_ms());
            break;
        }
        if engine.ended() {
            break;
        }
    }
    engine.stop()?;
    Ok(())
}
