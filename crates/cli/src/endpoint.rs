//! The endpoint file: how other commands find the one process that owns a data folder.

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Who serves a data folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its process id.
    pub pid: u32,
    /// Its HTTP address, `http://127.0.0.1:PORT`.
    pub url: String,
}

/// The file; removed when dropped.
pub struct EndpointFile(PathBuf);

fn path(data: &Path) -> PathBuf {
    data.join("endpoint.json")
}

impl EndpointFile {
    /// Says who serves `data`.
    pub fn write(data: &Path, url: &str) -> Result<EndpointFile, Failure> {
        let file = path(data);
        let tmp = file.with_extension("json.new");
        std::fs::write(&tmp, serde_json::to_vec_pretty(&Endpoint { pid: std::process::id(), url: url.to_string() })?)?;
        std::fs::rename(tmp, &file)?;
        Ok(EndpointFile(file))
    }
}

impl Drop for EndpointFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Who serves `data`, if a process does.
pub fn find(data: &Path) -> Option<Endpoint> {
    serde_json::from_slice(&std::fs::read(path(data)).ok()?).ok()
}
