//! A Redis server that keeps nothing on disk.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use super::process::{Guarded, within};
use super::{discard, ports, scratch_dir, skip, tools_dir};

/// A running server, empty at the start.
pub struct Redis {
    /// For a client: `redis://127.0.0.1:PORT/`.
    pub url: String,
    port: u16,
    dir: PathBuf,
    lives: u32,
    process: Option<Guarded>,
}

impl Redis {
    /// Starts a server for one test alone. `None`, and a visible word, when Redis is not installed.
    ///
    /// # Panics
    /// When the server does not come up; the message ends with its log.
    pub fn start() -> Option<Redis> {
        if !tools_dir().join("redis/redis-server").exists() {
            skip("Redis");
            return None;
        }
        let [port] = ports::free();
        let url = format!("redis://127.0.0.1:{port}/");
        let mut redis = Redis { url, port, dir: scratch_dir("redis"), lives: 0, process: None };
        redis.launch();
        Some(redis)
    }

    /// Kills the server as `kill -9` would: what it held is lost, as in a fail-over to an empty replica.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Kills the server if it runs and starts an empty one on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// Sends one inline command such as `DBSIZE` and returns the start of the raw reply.
    pub fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut reply = [0; 512];
        let length = stream.read(&mut reply).ok()?;
        Some(String::from_utf8_lossy(&reply[..length]).into_owned())
    }

    fn launch(&mut self) {
        let server = tools_dir().join("redis/redis-server");
        let port = self.port.to_string();
        let dir = self.dir.display().to_string();
        let mut command = vec![server.display().to_string()];
        for argument in ["--port", &port, "--bind", "127.0.0.1", "--dir", &dir, "--save", "", "--appendonly", "no"] {
            command.push(argument.to_owned());
        }
        self.lives += 1;
        let process = Guarded::start(&format!("life-{}", self.lives), &self.dir, &command);
        let up = within(Duration::from_secs(20), || self.ask("PING").filter(|reply| reply.starts_with("+PONG")));
        assert!(up.is_some(), "Redis did not come up:\n{}", process.last_lines());
        self.process = Some(process);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        discard(&self.dir);
    }
}
