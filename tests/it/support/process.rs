//! A child process that never outlives the test process.
//!
//! Destructors do not run for statics, nor when a test process is killed, and a parent-death signal
//! (`setpriv --pdeathsig`) fires when the *thread* that started the child ends, which for a server shared by many
//! tests is the end of the first test. So a small shell stands between: it holds the reading end of a pipe, and when
//! the pipe closes, for whatever reason, it kills its child and removes the child's folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

// $1 log, $2 file for the child's pid, $3 folder to remove at the end, then the command.
// Signals from the terminal reach the whole group: the shell ignores them, it ends when the pipe closes.
const KEEPER: &str = r#"
log=$1; pid_file=$2; scratch=$3; shift 3
"$@" </dev/null >>"$log" 2>&1 &
child=$!
trap '' INT TERM HUP QUIT
echo "$child" >"$pid_file.new"; mv "$pid_file.new" "$pid_file"
read -r order
kill -KILL "$child" 2>/dev/null
wait "$child" 2>/dev/null
echo $? >"$pid_file.code"
if [ "$order" != keep ] && [ -n "$scratch" ]; then rm -rf "$scratch"; fi
"#;

/// A running child; dropping it kills the child and removes its folder.
pub struct Guarded {
    keeper: Child,
    /// Closing this is the order to kill.
    lifeline: Option<ChildStdin>,
    pid: u32,
    log: PathBuf,
    code_file: PathBuf,
}

impl Guarded {
    /// Starts `command` with its output in `dir/NAME.log`. `dir` must exist and goes when the guard goes, unless
    /// `WS_TEST_KEEP` is set (to look at a server's log after a failure).
    pub fn start(name: &str, dir: &Path, command: &[String]) -> Guarded {
        let log = dir.join(format!("{name}.log"));
        let pid_file = dir.join(format!("{name}.pid"));
        let _ = std::fs::remove_file(&pid_file);
        let scratch = if super::keep_folders() { Path::new("") } else { dir };
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .args([log.as_path(), pid_file.as_path(), scratch])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell to watch over the server");
        let lifeline = keeper.stdin.take();
        let pid = within(Duration::from_secs(10), || std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok())
            .unwrap_or_else(|| panic!("{name} was not started: {command:?}"));
        Guarded { keeper, lifeline, pid, log, code_file: dir.join(format!("{name}.pid.code")) }
    }

    /// The child's process id (not the shell's).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the child is still running.
    pub fn is_running(&self) -> bool {
        is_running(self.pid)
    }

    /// What the child has written so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of the child's output, for a failure's message.
    pub fn last_lines(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// As [`Guarded::kill`], and tells the exit code: 137 if it had to be killed.
    pub fn end(self) -> i32 {
        let code_file = self.code_file.clone();
        self.kill();
        std::fs::read_to_string(code_file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(-1)
    }

    /// Kills the child as `kill -9` would and waits for its end; its folder stays.
    pub fn kill(mut self) {
        if let Some(mut lifeline) = self.lifeline.take() {
            let _ = lifeline.write_all(b"keep\n");
        }
        let _ = self.keeper.wait();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.lifeline.take();
        let _ = self.keeper.wait();
    }
}

/// Whether a process of this id exists and is not just waiting to be collected.
pub fn is_running(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) => false,
    }
}

/// Asks every 20 ms until there is an answer or the time is over.
pub fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() >= deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
