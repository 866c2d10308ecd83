//! `wastestream status`: asks the process that owns a data folder how its topologies are.

use crate::{Failure, data_folder, endpoint};
use clap::Args;
use std::path::PathBuf;
use ws_api::status::PipelineStatus;

/// `wastestream status`.
#[derive(Args)]
pub struct StatusArgs {
    /// Data folder of the process
    #[arg(long, env = "WS_DATA")]
    data: Option<PathBuf>,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
}

/// Asks the process that owns a data folder.
pub fn run(args: &StatusArgs) -> Result<(), Failure> {
    let data = data_folder(args.data.clone());
    let found = endpoint::find(&data).ok_or_else(|| {
        format!("no process serves {}: start one with `wastestream demo` or `wastestream run`, or name its folder with --data", data.display())
    })?;
    let url = format!("{}/v1/pipeline", found.url);
    let text = ureq::get(&url).call().map_err(|e| format!("{url}: {e}; process {} may have died: start it again", found.pid))?.body_mut().read_to_string()?;
    if args.json {
        println!("{text}");
        return Ok(());
    }
    let mut answer: serde_json::Value = serde_json::from_str(&text)?;
    let all: Vec<PipelineStatus> = serde_json::from_value(answer["pipelines"].take())?;
    println!("pid {}  {}", found.pid, found.url);
    for p in &all {
        println!();
        one(p);
    }
    Ok(())
}

fn one(p: &PipelineStatus) {
    let ms = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.1}"));
    println!(
        "{}  lag {} ms  commits {}  aborted {}  resolved {}  p50 {} ms  p99 {} ms",
        p.topology,
        p.lag_ms.map_or("-".into(), |l| l.to_string()),
        p.commits.committed,
        p.commits.aborted,
        p.commits.resolved,
        ms(p.commits.p50_ms),
        ms(p.commits.p99_ms)
    );
    println!(
        "{:<20} {:<8} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8}",
        "stage", "kind", "in", "emitted", "folded", "filtered", "duplicate", "unmatched", "late", "dead", "pending"
    );
    for s in &p.stages {
        println!(
            "{:<20} {:<8} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8}",
            s.id, s.kind, s.rows_in, s.emitted, s.folded, s.filtered, s.duplicate, s.unmatched, s.late, s.dead, s.pending
        );
    }
}
