//! What the demo tells on standard output: a line while it runs, and at the end what went through.

use crate::process::ProcessStatus;
use std::io::Write;
use ws_api::Status;
use ws_api::status::PipelineStatus;

/// One line: the first topology in figures, the others' outputs.
pub fn line(status: &ProcessStatus, terminal: bool) {
    let all = status.pipelines();
    let Some(p) = all.first() else { return };
    let n = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.0}"));
    let lag = p.lag_ms.map_or("-".into(), |l| format!("{:.1}", l as f64 / 1e3));
    let others: Vec<String> = all[1..].iter().map(|p| format!("{} {}", p.topology, outputs(p))).collect();
    let text = format!(
        "{} | {} events/s | lag {lag} s | forecasts {} ({}) | late {} | dead {} | commit p99 {} ms | {}",
        clock(status.event_now_ms()),
        n(p.events_per_s),
        p.forecasts_total,
        rungs(p),
        p.late_total,
        all.iter().map(|p| p.dead_total).sum::<u64>(),
        n(p.commits.p99_ms),
        others.join(", "),
    );
    if terminal {
        print!("\r\x1b[2K{text}");
        let _ = std::io::stdout().flush();
    } else {
        println!("{text}");
    }
}

fn clock(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms).map_or_else(String::new, |t| t.format("%Y-%m-%d %H:%M").to_string())
}

fn outputs(p: &PipelineStatus) -> u64 {
    p.outputs.iter().map(|o| o.rows).sum()
}

fn rungs(p: &PipelineStatus) -> String {
    let rungs: Vec<String> = p.rungs.iter().map(|r| format!("{} {}", r.rung, r.answers)).collect();
    if rungs.is_empty() { "-".into() } else { rungs.join(", ") }
}

/// What went through each topology, stage by stage and as a whole; the counts add up.
pub fn summary(all: &[PipelineStatus]) {
    let mut balanced = true;
    for p in all {
        println!(
            "\n{:<22} {:>9} = {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7}",
            p.topology, "in", "emitted", "folded", "filtered", "duplicate", "unmatched", "late", "dead", "pending"
        );
        for s in &p.stages {
            balanced &= s.rows_in == s.emitted + s.folded + s.filtered + s.duplicate + s.unmatched + s.late + s.dead + s.pending;
            println!(
                "  {:<20} {:>9} = {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7}",
                s.id, s.rows_in, s.emitted, s.folded, s.filtered, s.duplicate, s.unmatched, s.late, s.dead, s.pending
            );
        }
    }
    println!(
        "\n{:<13} {:>9} {:>9} {:>11} {:>7} {:>8} {:>8}  rungs; outputs by topic",
        "topology", "inputs", "outputs", "lag p99 ms", "dead", "commits", "aborted"
    );
    for p in all {
        let topics: Vec<String> = p.outputs.iter().map(|o| format!("{} {}", o.topic, o.rows)).collect();
        let lag = p.lag_p99_ms.map_or("-".into(), |l| l.to_string());
        println!(
            "{:<13} {:>9} {:>9} {:>11} {:>7} {:>8} {:>8}  {}; {}",
            p.topology,
            p.events_total,
            outputs(p),
            lag,
            p.dead_total,
            p.commits.committed,
            p.commits.aborted,
            rungs(p),
            topics.join(", ")
        );
    }
    println!("counts {}", if balanced { "add up in every stage" } else { "DO NOT ADD UP" });
}
