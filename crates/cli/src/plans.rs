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
const TRAFFIC: &str = include_str!("../../../topologies/traffic.yaml");
const STOPS: &str = include_str!("../../../topologies/stops.yaml");

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

#[allow(dead_code, reason = "for whoever starts the built-in topologies")]
/// The built-in `traffic`. It needs a road network to run ([`RegistryEdge::with_roads`]), not to be planned.
pub fn traffic(edge: &RegistryEdge) -> Result<Plan, Failure> {
    Ok(load("topologies/traffic.yaml", TRAFFIC, edge, &env)?)
}

/// The same with other parameters, and with the traversals, which it keeps to itself, as JSON in a topic: to judge them.
pub fn traffic_to_judge(edge: &RegistryEdge, parameters: &[(&str, String)], traversals: &str) -> Result<Plan, Failure> {
    let (head, sinks) = TRAFFIC.split_once("\nsinks:\n").ok_or("topologies/traffic.yaml has no sinks")?;
    let text = format!("{head}\nsinks:\n  {traversals}: {{ from: matched, format: json, lineage: false }}\n{sinks}");
    let given = |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()).or_else(|| env(name));
    Ok(load("topologies/traffic.yaml", &text, edge, &given)?)
}

/// The built-in `stops`.
pub fn stops(edge: &RegistryEdge) -> Result<Plan, Failure> {
    Ok(load("topologies/stops.yaml", STOPS, edge, &env)?)
}
