//! Configuration: a TOML file, then environment variables (`WS_LOG__BOOTSTRAP=…`: two underscores for a dot), then
//! flags. Unknown keys are refused; every value is checked before anything starts.

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// All settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of everything this process keeps: embedded log, views, snapshots, models, endpoint file.
    pub data: PathBuf,
    /// Topology files; empty: the built-in bin-fill.
    pub topologies: Vec<PathBuf>,
    /// Folder of schemas; none: those built in.
    pub schemas: Option<PathBuf>,
    /// The road network; none: `roads.geojsonl` in the data folder, for topologies that need one.
    pub roads: Option<PathBuf>,
    /// The log.
    pub log: LogConfig,
    /// The view.
    pub view: ViewConfig,
    /// HTTP.
    pub api: ApiConfig,
    /// The engine.
    pub engine: EngineConfig,
}

/// Where records are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `embedded` or `kafka`.
    pub kind: LogKind,
    /// Kafka's address list.
    pub bootstrap: String,
    /// Further librdkafka properties (security.protocol, sasl.…).
    pub properties: BTreeMap<String, String>,
}

/// Kinds of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// In this process, on disk.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

/// Where reads are served from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewConfig {
    /// `embedded` or `redis`.
    pub kind: ViewKind,
    /// Redis URL.
    pub url: String,
}

/// Kinds of view store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ViewKind {
    /// In this process, on disk.
    Embedded,
    /// Redis.
    Redis,
}

/// HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Address; port 0 picks a free one. Only loopback addresses are taken: there is no authentication yet.
    pub address: SocketAddr,
}

/// The engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Workers of this process.
    pub workers: u32,
    /// First slot; unique per process of a topology.
    pub slot: u32,
    /// Interval between commits, ms.
    pub commit_interval_ms: i64,
    /// Interval between snapshots, ms; 0: none.
    pub snapshot_interval_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: PathBuf::from("data"),
            topologies: Vec::new(),
            schemas: None,
            roads: None,
            log: LogConfig::default(),
            view: ViewConfig::default(),
            api: ApiConfig::default(),
            engine: EngineConfig::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { kind: LogKind::Embedded, bootstrap: "127.0.0.1:9092".into(), properties: BTreeMap::new() }
    }
}

impl Default for ViewConfig {
    fn default() -> Self {
        ViewConfig { kind: ViewKind::Embedded, url: "redis://127.0.0.1:6379/".into() }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        ApiConfig { address: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig { workers: 1, slot: 0, commit_interval_ms: 100, snapshot_interval_ms: 30_000 }
    }
}

/// A configuration that cannot be used: every problem found.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:\n{}", .0.iter().map(|p| format!("  - {p}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// The road network of a data folder, when no other is named.
pub const ROADS_FILE: &str = "roads.geojsonl";

impl Config {
    /// Where the road network is.
    pub fn roads_file(&self) -> PathBuf {
        self.roads.clone().unwrap_or_else(|| self.data.join(ROADS_FILE))
    }

    /// Reads a file (if given), the environment, and flags; checks the result.
    pub fn load(file: Option<&Path>, flags: Vec<(&str, String)>) -> Result<Config, ConfigError> {
        let mut f = Figment::from(Serialized::defaults(Config::default()));
        if let Some(path) = file {
            if !path.exists() {
                return Err(ConfigError(vec![format!("{} does not exist; name another file, or leave --config out", path.display())]));
            }
            f = f.merge(Toml::file_exact(path));
        }
        // Flags read some variables themselves, tests and benchmarks others: not all that begins with WS_ is a setting.
        let is_setting =
            |name: &str| !["config", "log_filter", "shared_data"].contains(&name) && !["test_", "require_", "kill_"].iter().any(|p| name.starts_with(p));
        f = f.merge(Env::prefixed("WS_").filter(move |k| is_setting(&k.as_str().to_ascii_lowercase())).split("__"));
        for (key, value) in flags {
            f = f.merge((key, value));
        }
        let config: Config = f.extract().map_err(|e| {
            ConfigError(
                e.into_iter()
                    .map(|e| {
                        let at = e.path.join(".");
                        let from = e.metadata.as_ref().map(|m| format!(" (from {})", m.name)).unwrap_or_default();
                        format!("{}{}{from}", if at.is_empty() { String::new() } else { format!("`{at}`: ") }, e.kind)
                    })
                    .collect(),
            )
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut bad = Vec::new();
        let mut need = |ok: bool, what: String| {
            if !ok {
                bad.push(what);
            }
        };
        need(
            self.api.address.ip().is_loopback(),
            format!("`api.address` is {}: only loopback addresses are taken, because there is no authentication yet; put a proxy in front", self.api.address),
        );
        need((1..=64).contains(&self.engine.workers), format!("`engine.workers` is {}: 1 to 64, about one per core", self.engine.workers));
        need((1..=60_000).contains(&self.engine.commit_interval_ms), format!("`engine.commit_interval_ms` is {}: 1 to 60000", self.engine.commit_interval_ms));
        need(
            self.engine.snapshot_interval_ms == 0 || self.engine.snapshot_interval_ms >= 1_000,
            format!("`engine.snapshot_interval_ms` is {}: 0 (none) or at least 1000", self.engine.snapshot_interval_ms),
        );
        need(self.log.kind != LogKind::Kafka || !self.log.bootstrap.trim().is_empty(), "`log.bootstrap` is empty: host:port of a Kafka broker".into());
        need(self.view.kind != ViewKind::Redis || self.view.url.starts_with("redis"), format!("`view.url` is {}: redis://host:port/", self.view.url));
        if let Some(roads) = &self.roads {
            need(roads.is_file(), format!("`roads` is {}: there is no such file; docs/roads.md tells where one comes from", roads.display()));
        }
        for t in &self.topologies {
            need(t.exists(), format!("`topologies`: {} does not exist", t.display()));
        }
        if bad.is_empty() { Ok(()) } else { Err(ConfigError(bad)) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn from(text: &str) -> Result<Config, ConfigError> {
        let file =
            std::env::temp_dir().join(format!("ws-config-{}-{:x}.toml", std::process::id(), text.len() * 31 + text.bytes().map(usize::from).sum::<usize>()));
        std::fs::write(&file, text).unwrap();
        let c = Config::load(Some(&file), Vec::new());
        std::fs::remove_file(file).unwrap();
        c
    }

    #[test]
    fn a_file_changes_only_what_it_names() {
        let c = from("[log]\nkind = \"kafka\"\nbootstrap = \"k:1\"\n").unwrap();
        assert_eq!((c.log.kind, c.log.bootstrap.as_str(), c.engine.commit_interval_ms), (LogKind::Kafka, "k:1", 100));
    }

    #[test]
    fn every_problem_is_told_at_once_with_what_to_do() {
        let e = from("[engine]\nworkers = 0\ncommit_interval_ms = 0\n[api]\naddress = \"0.0.0.0:80\"\n").unwrap_err();
        assert_eq!(e.0.len(), 3, "{e}");
        assert!(e.to_string().contains("no authentication yet"), "{e}");
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let e = from("[engine]\nworkes = 2\n").unwrap_err().to_string();
        assert!(e.contains("workes"), "{e}");
    }

    #[test]
    fn roads_lie_in_the_data_folder_unless_a_file_is_named() {
        assert_eq!(from("data = \"d\"\n").unwrap().roads_file(), Path::new("d").join(ROADS_FILE));
        let e = from("roads = \"/nowhere/roads.geojsonl\"\n").unwrap_err().to_string();
        assert!(e.contains("`roads` is /nowhere/roads.geojsonl: there is no such file"), "{e}");
    }

    #[test]
    fn flags_win() {
        let c = Config::load(None, vec![("log.bootstrap", "x:1".into())]).unwrap();
        assert_eq!(c.log.bootstrap, "x:1");
    }
}
