//! Runs of `bin-fill` on real Kafka: copies of the topology under names of their own, and processes that run them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use ws_log::kafka::KafkaLog;

use super::app::{self, App};
use super::load::TASKS;
use super::repository;
use super::verdict::{Names, visible};

/// Catching up after the load, on two busy cores.
const DRAIN_LIMIT: Duration = Duration::from_secs(300);
/// Nothing new for so long, with nothing left to read, is the end.
const QUIET: Duration = Duration::from_secs(3);

/// A copy of `bin-fill` with outputs of its own, as JSON: contracts go by topic name.
pub struct Copy {
    /// The topology's name.
    pub name: String,
    /// Its outputs.
    pub names: Names,
    /// Its file.
    pub file: PathBuf,
}

impl Copy {
    /// Writes the copy into a folder.
    ///
    /// # Panics
    /// When `bin-fill.yaml` does not look as expected any more.
    pub fn write(dir: &Path, name: &str) -> Copy {
        let mut text = std::fs::read_to_string(repository().join("topologies/bin-fill.yaml")).expect("bin-fill");
        let mut replace = |from: &str, to: String| {
            assert!(text.contains(from), "bin-fill.yaml has no `{from}` any more");
            text = text.replace(from, &to);
        };
        replace("topology: bin-fill", format!("topology: {name}"));
        replace("dlq.bin-fill", format!("dlq.{name}"));
        // With time enough, no answer is cut short: the rung of a row does not depend on the machine's load.
        replace("budget: 200ms", "budget: 60s".into());
        for sink in ["features", "forecast", "alert"] {
            replace(&format!("bin.{sink}: {{"), format!("{name}.{sink}: {{ format: json,"));
        }
        let file = dir.join(format!("{name}.yaml"));
        std::fs::write(&file, text).expect("the copy");
        let topic = |what: &str| format!("{name}.{what}");
        Copy {
            name: name.to_owned(),
            names: Names { features: topic("features"), forecast: topic("forecast"), alert: topic("alert"), dead: format!("dlq.{name}") },
            file,
        }
    }

    /// A process that runs it, not started yet.
    pub fn app(&self, bootstrap: &str, slot: u32) -> App {
        let (file, slot) = (self.file.display().to_string(), slot.to_string());
        // Snapshots often: a restore from one, and from one that is behind, is part of what is tested.
        let env = [("WS_ENGINE__SNAPSHOT_INTERVAL_MS", "2000")];
        App::stopped(&["run", "--bootstrap", bootstrap, "--topology", &file, "--create-outputs", "--slot", &slot], &env)
    }
}

/// The topics of `bin-fill` itself.
pub fn bin_fill() -> Names {
    Names { features: "bin.features".into(), forecast: "bin.forecast".into(), alert: "bin.alert".into(), dead: "dlq.bin-fill".into() }
}

/// Waits until these processes have read everything and written what came of it.
///
/// # Panics
/// When they do not in time.
pub fn drain(apps: &[&App], log: &KafkaLog, names: &Names) {
    let (deadline, all) = (Instant::now() + DRAIN_LIMIT, names.all());
    let (mut last, mut since) = (visible(log, &all, TASKS), Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = visible(log, &all, TASKS);
        if now != last || !apps.iter().all(|app| is_idle(app)) {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() >= QUIET {
            return;
        }
        if Instant::now() >= deadline {
            let told: Vec<_> = apps.iter().map(|a| (a.try_get("/readyz"), a.try_get("/v1/pipeline"), a.output())).collect();
            panic!("not all was processed within {DRAIN_LIMIT:?}; visible are {now}: {told:#?}");
        }
    }
}

fn is_idle(app: &App) -> bool {
    assert!(app.is_running(), "the process ended:\n{}", app.output());
    let Ok((200, text)) = app.try_get("/v1/pipeline") else { return false };
    let p = serde_json::from_str::<Value>(&text).expect("JSON")["pipeline"].take();
    let pending: u64 = app::stages(&p).map(|s| app::count(s, "pending")).sum();
    pending == 0 && p["lag_rows"] == 0 && matches!(app.try_get("/readyz"), Ok((200, _)))
}

/// Transactions of a process: committed, aborted, undetermined. Zeros when it does not answer.
pub fn commits(app: &App) -> [u64; 3] {
    let Ok((200, text)) = app.try_get("/metrics") else { return [0; 3] };
    let of = |outcome: &str| {
        let name = format!("ws_commit_seconds_count{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|l| l.strip_prefix(&name)?.trim().parse().ok()).unwrap_or(0)
    };
    [of("committed"), of("aborted"), of("unknown")]
}

/// Tasks that a process runs, as its metrics tell (twice a second).
pub fn tasks_of(app: &App) -> usize {
    assert!(app.is_running(), "the process ended:\n{}", app.output());
    let Ok((200, text)) = app.try_get("/metrics") else { return 0 };
    let value = |l: &str| l.strip_prefix("ws_tasks_running{")?.rsplit_once(' ')?.1.parse::<f64>().ok();
    text.lines().find_map(value).map_or(0, |n| n as usize)
}
