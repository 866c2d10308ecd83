//! A full disk: writes are refused with the reason, nothing half-written stays, and with space again everything that
//! was taken is there once.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::world::{self, MINUTE_MS, T0};
use crate::support::app::{App, assert_adds_up};
use crate::support::outputs::Folder;
use crate::support::skip_for;

/// A file system of its own in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, and a visible word, where mounting is not allowed.
    fn mount(mebibytes: u32) -> Option<SmallDisk> {
        let dir = std::env::temp_dir().join(format!("ws-test-disk-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"]).arg(&dir).output();
        if mounted.is_ok_and(|o| o.status.success()) {
            return Some(SmallDisk(dir));
        }
        let _ = std::fs::remove_dir(&dir);
        skip_for("a small tmpfs cannot be mounted here (needs root)");
        None
    }

    /// Takes all space that is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).expect("a file");
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0_u8; size];
            while file.write_all(&piece).is_ok() {}
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a file may still be open if the test failed.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn minute(n: i64) -> Value {
    let device = format!("d-{}", n % 4 + 1);
    let value = world::reading(&device, T0 + n * MINUTE_MS, 0.2 + 0.0001 * n as f64);
    world::line("bin.telemetry", &device, value)
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(160) else {
        return;
    };
    let data: PathBuf = disk.0.join("data");
    let mut app = App::stopped_at(&data, &["run"], &[]);
    std::fs::create_dir_all(&data).expect("a folder");
    {
        let folder = Folder::open(&data);
        folder.create(&world::INPUTS, 2);
        world::put(&folder, &world::references(4));
    }
    app.start_again();
    let first: Vec<Value> = (0..200).map(minute).collect();
    app.append(&first);
    app.settled(200);

    let ballast = disk.fill();
    let mut refusals = Vec::new();
    let mut uncertain = Vec::new();
    // Journals have room for a while, files that grow do not: keep asking until somebody notices.
    for n in 200..400 {
        let mut line = minute(n);
        line["value"]["source"] = "x".repeat(60_000).into();
        match app.post("/v1/admin/append", &line.to_string()) {
            Ok((200, _)) => {}
            Ok((status, body)) => {
                uncertain.push(n);
                refusals.push((status, body));
                if refusals.len() >= 3 {
                    break;
                }
            }
            Err(e) => panic!("no answer at all: {e}\n{}", app.output()),
        }
    }
    let (status, body) = refusals.first().expect("a full disk is noticed");
    assert_eq!(*status, 503, "{body}");
    assert!(body.contains("space") || body.contains("full"), "the reason and what to do: {body}");
    let taken_full = uncertain.first().copied().expect("the first refused one");
    std::thread::sleep(Duration::from_millis(1_500));

    std::fs::remove_file(&ballast).expect("space again");
    if app.is_running() {
        // The same process goes on by itself. What was refused may stand in the log all the same: a producer repeats,
        // and the repeat is recognised.
        app.wait_for("taking records again", Duration::from_secs(30), |app| {
            let again = minute(taken_full).to_string();
            matches!(app.post("/v1/admin/append", &again), Ok((200, _))).then_some(())
        });
        caught_up(&app);
        let ended = app.stop();
        assert_eq!(ended.code, 0, "{}", ended.output);
        assert!(ended.output.contains("space"), "{}", ended.output);
    } else {
        let ended = app.ended(Duration::from_secs(1));
        assert!(ended.code == 1 && ended.output.contains("space"), "{}: {}", ended.code, ended.output);
    }
    app.start_again();
    app.append(&uncertain.iter().map(|n| minute(*n)).collect::<Vec<_>>());
    app.append(&(400..500).map(minute).collect::<Vec<_>>());
    caught_up(&app);
    assert_adds_up(&app.pipeline());
    assert_eq!(app.stop().code, 0);
    let accepted = (0..taken_full).chain(uncertain).chain(400..500);
    everything_once(&data, accepted);
}

/// Waits until nothing is left to read.
fn caught_up(app: &App) {
    let mut same = 0;
    let mut before = Value::Null;
    app.wait_for("catching up", Duration::from_secs(60), |app| {
        std::thread::sleep(Duration::from_millis(300));
        let now = app.pipeline();
        let stages = now["stages"].clone();
        same = if stages == before && now["lag_rows"] == 0 { same + 1 } else { 0 };
        before = stages;
        (same >= 4).then_some(())
    });
}

fn everything_once(data: &Path, minutes: impl Iterator<Item = i64>) {
    let features = Folder::open(data).by_event_id("bin.features");
    let missing: Vec<i64> = minutes
        .filter(|n| {
            let line = minute(*n);
            !features.contains_key(&format!("{}:f", world::text(&line["value"], "event_id")))
        })
        .collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
}
