//! The road network of a process: named in the configuration, read once when the first operator asks, shared by all tasks.
//! Checking a topology never reads it: what an operator takes and makes is the same on every network.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use ws_routing::roads::{ReadError, Reading, RoadGraph, read};

/// Roads that cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NetworkError {
    /// Nobody said where they are.
    #[error("no road network is named\n  name a file with `roads` in the configuration, WS_ROADS or --roads; docs/roads.md tells where one comes from")]
    Unnamed,
    /// There is no such file, or it may not be read.
    #[error("the road network {} cannot be opened: {why}\n  put a file there, or name another one with `roads` in the configuration, WS_ROADS or --roads", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: Arc<std::io::Error>,
    },
    /// It is no network.
    #[error("{} is no road network: {why}\n  docs/roads.md tells the format, and how to make such a file from OpenStreetMap", .file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: Arc<ReadError>,
    },
}

/// Roads, or where they will be read from.
#[derive(Debug, Default)]
pub struct Network {
    file: Option<PathBuf>,
    read: OnceLock<Result<Arc<RoadGraph>, NetworkError>>,
}

impl Network {
    /// Roads in a file.
    pub fn of_file(file: PathBuf) -> Network {
        Network { file: Some(file), read: OnceLock::new() }
    }

    /// Roads in a file, read once in this process: operators and solvers that name the same file drive on the same roads.
    pub fn shared(file: PathBuf) -> Arc<Network> {
        static KNOWN: OnceLock<Mutex<BTreeMap<PathBuf, Arc<Network>>>> = OnceLock::new();
        let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(file.clone()).or_insert_with(|| Arc::new(Network::of_file(file))).clone()
    }

    /// Roads that are at hand.
    pub fn of_graph(graph: Arc<RoadGraph>) -> Network {
        Network { file: None, read: OnceLock::from(Ok(graph)) }
    }

    /// The roads. What was found at the first call is the answer to all later ones: tasks of one process never see two networks.
    ///
    /// # Errors
    /// When none are named, or the file cannot be read.
    pub fn graph(&self) -> Result<Arc<RoadGraph>, NetworkError> {
        self.read.get_or_init(|| self.load()).clone()
    }

    fn load(&self) -> Result<Arc<RoadGraph>, NetworkError> {
        let file = self.file.clone().ok_or(NetworkError::Unnamed)?;
        let opened = File::open(&file).map_err(|why| NetworkError::File { file: file.clone(), why: Arc::new(why) })?;
        let import = read(BufReader::new(opened), Reading::default()).map_err(|why| NetworkError::Content { file: file.clone(), why: Arc::new(why) })?;
        let (graph, passed_over) = (import.graph, import.not_roads + import.no_trucks);
        tracing::info!(file = %file.display(), segments = graph.segments(), nodes = graph.nodes(), passed_over, "road network read");
        Ok(Arc::new(graph))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_missing_or_bad_is_said_with_the_file_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let message = |network: Network| network.graph().unwrap_err().to_string();
        assert!(message(Network::default()).contains("WS_ROADS"));
        let absent = message(Network::of_file(folder.path().join("none.geojsonl")));
        assert!(absent.contains("none.geojsonl") && absent.contains("cannot be opened"), "{absent}");
        let bad = folder.path().join("bad.geojsonl");
        std::fs::write(&bad, "nonsense\n").unwrap();
        let bad = message(Network::of_file(bad));
        assert!(bad.contains("bad.geojsonl is no road network: line 1") && bad.contains("docs/roads.md"), "{bad}");
    }

    #[test]
    fn a_file_is_read_once_and_shared() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roads.geojsonl");
        std::fs::write(
            &file,
            r#"{"type":"Feature","geometry":{"type":"LineString","coordinates":[[0,0],[0.001,0]]},"properties":{"segment_id":"a","class":"primary"}}"#,
        )
        .unwrap();
        let network = Network::of_file(file.clone());
        let first = network.graph().unwrap();
        std::fs::remove_file(file).unwrap();
        assert!(Arc::ptr_eq(&first, &network.graph().unwrap()) && first.segment("a").is_some());
    }
}
