//! The built `wastestream` binary as a user runs it: in a data folder of its own, found through its endpoint file,
//! asked through HTTP, killed or stopped like any process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::{Guarded, within};
use super::{discard, scratch_dir};

/// A first start on two busy cores; restores included.
const START_LIMIT: Duration = Duration::from_secs(90);
/// A graceful stop gives the last commit 15 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// A process that has ended: its exit code (128 + signal when killed) and all that it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// Standard output and standard error of this life, as they came.
    pub output: String,
}

/// A `wastestream` process with its data folder. Dropping it kills the process; a folder of its own goes with it.
pub struct App {
    /// Its data folder.
    pub data: PathBuf,
    /// `http://127.0.0.1:PORT`, of the current life.
    pub url: String,
    dir: PathBuf,
    command: Vec<String>,
    lives: u32,
    process: Option<Guarded>,
}

impl App {
    /// Starts `wastestream ARGS --data DIR --address 127.0.0.1:0` on a fresh folder and waits until it is ready.
    /// `args` begins with the command: `run` or `demo`.
    ///
    /// # Panics
    /// When it ends or is not ready in time; the message carries its output.
    pub fn start(args: &[&str], env: &[(&str, &str)]) -> App {
        let mut app = App::stopped(args, env);
        app.start_again();
        app
    }

    /// As [`App::start`], not started yet: to put something into its folder first.
    pub fn stopped(args: &[&str], env: &[(&str, &str)]) -> App {
        let dir = scratch_dir("app");
        let data = dir.join("data");
        std::fs::create_dir_all(&data).expect("a data folder");
        App::in_folder(dir, data, args, env)
    }

    /// As [`App::stopped`], on a data folder of the caller's, which stays when the app goes.
    pub fn stopped_at(data: &Path, args: &[&str], env: &[(&str, &str)]) -> App {
        App::in_folder(scratch_dir("app"), data.to_owned(), args, env)
    }

    fn in_folder(dir: PathBuf, data: PathBuf, args: &[&str], env: &[(&str, &str)]) -> App {
        let mut command = command_line(args, env);
        let data_text = data.display().to_string();
        command.extend(["--data", &data_text, "--address", "127.0.0.1:0"].map(String::from));
        App { data, url: String::new(), dir, command, lives: 0, process: None }
    }

    /// Starts it, or starts it again on the same folder with the same arguments, and waits until it is ready.
    ///
    /// # Panics
    /// As [`App::start`].
    pub fn start_again(&mut self) {
        self.launch();
        self.wait_ready(START_LIMIT);
    }

    /// Starts it and waits only until it listens: a member without tasks never becomes ready.
    ///
    /// # Panics
    /// When it ends or does not listen in time.
    pub fn launch(&mut self) {
        assert!(!self.is_running(), "it runs already");
        self.lives += 1;
        let name = format!("life-{}", self.lives);
        self.process = Some(Guarded::start(&name, &self.dir, &self.command));
        let url = self.wait_for("its endpoint file", START_LIMIT, |app| {
            let text = std::fs::read(app.data.join("endpoint.json")).ok()?;
            let endpoint: Value = serde_json::from_slice(&text).ok()?;
            // The file of a killed life stays until the next one writes its own.
            (endpoint["pid"].as_u64()? == u64::from(app.pid())).then(|| endpoint["url"].as_str().map(str::to_owned))?
        });
        self.url = url;
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Panics
    /// When it does not in time; the message says what was missing.
    pub fn wait_ready(&self, limit: Duration) {
        let mut said = String::new();
        self.wait_for("being ready", limit, |app| match app.try_get("/readyz") {
            Ok((200, _)) => Some(()),
            Ok((_, body)) | Err(body) => {
                if body != said {
                    said = body;
                }
                None
            }
        });
    }

    /// Asks every 20 ms until there is an answer.
    ///
    /// # Panics
    /// When the process ends first, or the time does; `what` is named and the output shown.
    pub fn wait_for<T>(&self, what: &str, limit: Duration, mut ask: impl FnMut(&App) -> Option<T>) -> T {
        let answer = within(limit, || match ask(self) {
            Some(answer) => Some(Some(answer)),
            None => (!self.is_running()).then_some(None),
        });
        match answer {
            Some(Some(answer)) => answer,
            Some(None) => panic!("the process ended before {what}:\n{}", self.output()),
            None => {
                let ready = self.try_get("/readyz");
                let pipeline = self.try_get("/v1/pipeline");
                panic!("no {what} within {limit:?}\nready: {ready:?}\npipeline: {pipeline:?}\noutput:\n{}", self.output())
            }
        }
    }

    /// Process id of the current life.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it was started").pid()
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(Guarded::is_running)
    }

    /// What the current life has written so far.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Guarded::output).unwrap_or_default()
    }

    /// Status and body of a GET, or why there is none.
    pub fn try_get(&self, path: &str) -> Result<(u16, String), String> {
        let answer = agent().get(format!("{}{path}", self.url)).call();
        let mut answer = answer.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().map_err(|e| e.to_string())?;
        Ok((status, body))
    }

    /// The JSON of a GET that must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn get_json(&self, path: &str) -> Value {
        match self.try_get(path) {
            Ok((200, body)) => serde_json::from_str(&body).expect("JSON"),
            other => panic!("GET {path}: {other:?}\n{}", self.output()),
        }
    }

    /// Status and body of a POST.
    pub fn post(&self, path: &str, body: &str) -> Result<(u16, String), String> {
        let answer = agent().post(format!("{}{path}", self.url)).send(body);
        let mut answer = answer.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().map_err(|e| e.to_string())?;
        Ok((status, body))
    }

    /// Appends JSON Lines of `{"topic", "key", "value"}` through the process; every line must be taken.
    ///
    /// # Panics
    /// When one is not.
    pub fn append(&self, lines: &[Value]) {
        // The server takes a megabyte at once.
        for some in lines.chunks(1_000) {
            let body: Vec<String> = some.iter().map(Value::to_string).collect();
            let answer = self.post("/v1/admin/append", &body.join("\n"));
            let Ok((200, text)) = &answer else { panic!("append: {answer:?}\n{}", self.output()) };
            let told: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(told["appended"], some.len(), "{told}");
        }
    }

    /// The numbers of the pipeline.
    pub fn pipeline(&self) -> Value {
        self.get_json("/v1/pipeline")["pipeline"].take()
    }

    /// Waits until the pipeline's source has read `records` in this life and nothing is in flight; returns its numbers,
    /// which add up.
    ///
    /// # Panics
    /// When it does not, or they do not.
    pub fn settled(&self, records: u64) -> Value {
        let pipeline = self.wait_for("settled pipeline", START_LIMIT, |app| {
            let (status, body) = app.try_get("/v1/pipeline").ok()?;
            let mut p: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
            let p = p["pipeline"].take();
            let pending: u64 = stages(&p).map(|s| count(s, "pending")).sum();
            (count(&p, "events_total") >= records && pending == 0).then_some(p)
        });
        assert_eq!(count(&pipeline, "events_total"), records, "records read\n{}", self.output());
        assert_adds_up(&pipeline);
        pipeline
    }

    /// Kills it as `kill -9` would; its folder stays.
    pub fn kill9(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Sends a signal by name: `TERM`, `INT`, `STOP` …
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "SIG{name} was not sent");
    }

    /// Stops it by SIGTERM and waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self) -> Ended {
        self.signal("TERM");
        self.ended(STOP_LIMIT)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ended(&mut self, limit: Duration) -> Ended {
        let process = self.process.take().expect("it was started");
        let end = within(limit, || (!process.is_running()).then_some(()));
        let output = process.output();
        assert!(end.is_some(), "it did not end within {limit:?}:\n{output}");
        Ended { code: process.end(), output }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if std::thread::panicking() && self.process.is_some() {
            // Captured by the harness and shown with the failure.
            eprintln!("--- output of the process\n{}", self.output());
        }
        self.kill9();
        discard(&self.dir);
    }
}

/// Runs `wastestream ARGS` to its end.
///
/// # Panics
/// When it does not end within `limit`.
pub fn run_to_end(args: &[&str], env: &[(&str, &str)], limit: Duration) -> Ended {
    let dir = scratch_dir("app-run");
    let process = Guarded::start("run", &dir, &command_line(args, env));
    let end = within(limit, || (!process.is_running()).then_some(()));
    let output = process.output();
    let code = process.end();
    discard(&dir);
    assert!(end.is_some(), "wastestream {args:?} did not end within {limit:?}:\n{output}");
    Ended { code, output }
}

/// The binary that was built beside this test's.
///
/// # Panics
/// When there is none.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("this test's file");
    let folder = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let binary = folder.join("wastestream");
    assert!(binary.exists(), "{} is missing; build it first: cargo build -p ws-cli", binary.display());
    binary
}

fn command_line(args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let mut command = vec!["env".to_owned()];
    // A developer's own settings must not reach the process.
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("WS_") && !n.starts_with("WS_TEST_")) {
        command.extend(["-u".to_owned(), name]);
    }
    command.extend(env.iter().map(|(name, value)| format!("{name}={value}")));
    command.push(binary().display().to_string());
    command.extend(args.iter().map(|a| (*a).to_owned()));
    command
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(REQUEST_LIMIT)).http_status_as_error(false);
    config.build().into()
}

/// The stages of `/v1/pipeline`, in order, source first.
pub fn stages(pipeline: &Value) -> impl Iterator<Item = &Value> {
    pipeline["stages"].as_array().into_iter().flatten()
}

/// One stage of `/v1/pipeline`.
///
/// # Panics
/// When there is none of that id.
pub fn stage<'a>(pipeline: &'a Value, id: &str) -> &'a Value {
    stages(pipeline).find(|s| s["id"] == id).unwrap_or_else(|| panic!("no stage {id}: {pipeline:#}"))
}

/// A number of an object; 0 when it is absent.
pub fn count(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or(0)
}

/// Every row that went into a stage came out of it, or the numbers say where it is.
///
/// # Panics
/// When a stage does not add up.
pub fn assert_adds_up(pipeline: &Value) {
    assert!(stages(pipeline).count() > 0, "no stages: {pipeline:#}");
    for s in stages(pipeline) {
        let out: u64 = ["folded", "emitted", "filtered", "duplicate", "unmatched", "late", "dead", "pending"].iter().map(|n| count(s, n)).sum();
        assert_eq!(count(s, "rows_in"), out, "{s:#}");
    }
}
