//! `wastestream`: the one binary. Each command stands in its own file; errors carry what, where and what to do.
#![allow(clippy::disallowed_methods, reason = "an edge crate: it reads the clock and waits")]

mod append;
mod bench_peer;
mod config;
mod demo;
mod demo_risks;
mod edge;
mod effect;
mod endpoint;
mod engine;
mod evaluate;
mod evaluate_next_day;
mod ingest;
mod ingest_command;
#[cfg(test)]
mod outcome_test;
mod plans;
mod process;
mod projection;
#[cfg(test)]
mod route_test;
mod run;
mod schema;
mod scores;
mod serve;
mod simulate;
#[cfg(test)]
mod slices_test;
mod status;
mod topology;
#[cfg(test)]
mod traffic_test;
mod train;
mod train_risk;
mod train_table;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The Kafka-native stream processor in which a model is an operator like any other.
#[derive(Parser)]
#[command(name = "wastestream", version, about, max_term_width = 100)]
struct Cli {
    /// Log level or filter, e.g. `info`, `ws_runtime=debug`
    #[arg(long, global = true, env = "WS_LOG_FILTER", default_value = "info")]
    log: String,
    /// Log as JSON lines
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the simulated city through the whole pipeline, on the embedded log and view
    Demo(demo::DemoArgs),
    /// Run topologies on a log, with projection and HTTP
    Run(run::RunArgs),
    /// Send files (CSV, JSON Lines, Parquet) into topics by a mapping
    Ingest(Box<ingest::IngestArgs>),
    /// Train a model by replaying history through the topology that will use it
    Train(train::TrainArgs),
    /// Judge what topologies find, against the truth of a simulated city or on files
    #[command(subcommand)]
    Evaluate(evaluate::EvaluateCommand),
    /// Check, draw and test topology files
    #[command(subcommand)]
    Topology(topology::TopologyCommand),
    /// Show the schemas that this build carries
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Check the configuration without starting anything
    #[command(subcommand)]
    Config(run::ConfigCommand),
    /// Drive the real worker through simulated faults
    Sim(simulate::SimArgs),
    /// Compare fixed rounds, threshold dispatch, the pipeline and a clairvoyant in a simulated city
    Effect(Box<effect::EffectArgs>),
    /// What runs in the data folder's process
    Status(status::StatusArgs),
    /// One peer of the side-by-side benchmark; settings come from its environment
    #[command(hide = true)]
    BenchPeer,
}

/// What a command ends with when it fails.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the process keeps its files.
fn data_folder(flag: Option<PathBuf>) -> PathBuf {
    flag.unwrap_or_else(|| PathBuf::from("data"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli.log, cli.log_json, matches!(cli.command, Command::Demo(_)));
    let done = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => run::run(args),
        Command::Ingest(args) => ingest_command::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Evaluate(command) => evaluate::run(command),
        Command::Topology(command) => topology::run(command),
        Command::Schema(command) => schema::run(&command),
        Command::Config(command) => run::config(&command),
        Command::Sim(args) => simulate::run(&args),
        Command::Effect(args) => effect::run(&args),
        Command::Status(args) => status::run(&args),
        Command::BenchPeer => bench_peer::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            let mut cause = e.source();
            while let Some(c) = cause {
                eprintln!("  caused by: {c}");
                cause = c.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error. The demo shows a status line instead, so its log starts at warnings.
fn start_log(filter: &str, json: bool, quiet: bool) {
    let level = if quiet && filter == "info" { "warn" } else { filter };
    let filter = tracing_subscriber::EnvFilter::try_new(level).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_target(false).init();
    }
}
