//! Real servers for tests, started on free ports in folders of their own and gone with the test.
//!
//! A server is a guard: dropping it kills the process and removes its folder, also when the test panics, and also when
//! the whole test process is killed (see [`process`]). Nothing is installed here; `scripts/servers/install` does that.

pub mod app;
mod browser;
pub mod cdp;
mod kafka;
pub mod load;
pub mod made;
pub mod outputs;
mod ports;
pub mod process;
mod redis;
pub mod runs;
pub mod verdict;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub use app::App;
pub use browser::Browser;
pub use kafka::Kafka;
pub use redis::Redis;

/// Where `scripts/servers/install` has put the servers.
pub fn tools_dir() -> PathBuf {
    match std::env::var_os("WS_TEST_TOOLS") {
        Some(dir) => PathBuf::from(dir),
        None => repository().join(".work/servers"),
    }
}

/// The checkout's root folder: cargo starts tests in their package's folder. Not a constant of the build, since one
/// build folder may serve several checkouts.
pub fn repository() -> PathBuf {
    std::env::current_dir().and_then(|package| package.join("..").canonicalize()).expect("the checkout's folder")
}

/// Says on the terminal that the running test is skipped for want of `what`, and how to get it.
///
/// `make test` sets `WS_REQUIRE_SERVERS`: it has just installed the servers, so there a missing one is a failure.
///
/// # Panics
/// When `WS_REQUIRE_SERVERS` is set.
pub fn skip(what: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let message = format!("{test}: SKIPPED, {what} is not installed. Run: scripts/servers/install");
    assert!(std::env::var_os("WS_REQUIRE_SERVERS").is_none(), "{message}");
    // Not `eprintln!`: the test harness would swallow it, and a skip must be seen.
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Says on the terminal that the running test is skipped because this machine does not allow it.
pub fn skip_for(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{test}: SKIPPED, {why}");
}

/// Whether servers' folders stay after the test, to look at a log: set `WS_TEST_KEEP`.
fn keep_folders() -> bool {
    std::env::var_os("WS_TEST_KEEP").is_some()
}

/// Removes a server's folder.
fn discard(dir: &Path) {
    if !keep_folders() {
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// A folder for one server, unique in this machine's temporary folder. The server's guard removes it.
fn scratch_dir(name: &str) -> PathBuf {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("ws-test-{name}-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder for the server");
    dir
}
