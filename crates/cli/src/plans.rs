//! Loading topologies: files by path, or the ones this build carries by name.

use crate::Failure;
use crate::edge::RegistryEdge;
use std::path::Path;
use std::sync::Arc;
use ws_log::registry::Registry;
use ws_plan::{Plan, load, load_file};

/// The built-in topologies.
const BIN_FILL: &str = include_str!("../../../topologies/bin-fill.yaml");
const CHURN: &str = include_str!("../../../topologies/churn.yaml");
const MAINTENANCE: &str = include_str!("../../../topologies/maintenance.yaml");
const OUTCOME: &str = include_str!("../../../topologies/outcome.yaml");

/// The registry: a folder, or the schemas built in.
pub fn registry(folder: Option<&Path>) -> Result<Arc<Registry>, Failure> {
    Ok(Arc::new(match folder {
        Some(f) => Registry::open(f)?,
        None => Registry::embedded()?,
    }))
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The plan of a file.
pub fn file(path: &Path, edge: &RegistryEdge) -> Result<Plan, Failure> {
    Ok(load_file(path, edge, &env)?)
}

/// The built-in `bin-fill`.
pub fn bin_fill(edge: &RegistryEdge) -> Result<Plan, Failure> {
    Ok(load("topologies/bin-fill.yaml", BIN_FILL, edge, &env)?)
}

/// The built-in `churn`.
pub fn churn(edge: &RegistryEdge) -> Result<Plan, Failure> {
    Ok(load("topologies/churn.yaml", CHURN, edge, &env)?)
}

/// The built-in `maintenance`.
pub fn maintenance(edge: &RegistryEdge) -> Result<Plan, Failure> {
    Ok(load("topologies/maintenance.yaml", MAINTENANCE, edge, &env)?)
}

/// The built-in `outcome`.
#[allow(dead_code, reason = "started by the demo")]
pub fn outcome(edge: &RegistryEdge) -> Result<Plan, Failure> {
    Ok(load("topologies/outcome.yaml", OUTCOME, edge, &env)?)
}
