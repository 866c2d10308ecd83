//! Loading topologies: files by path, or the ones this build carries by name.

use crate::Failure;
use crate::edge::RegistryEdge;
use std::path::Path;
use std::sync::Arc;
use ws_log::registry::Registry;
use ws_plan::{Plan, load, load_file};

/// The built-in `traffic` as text.
const TRAFFIC: &str = include_str!("../../../topologies/traffic.yaml");
/// The built-in topologies by name.
const BUILT_IN: [(&str, &str); 7] = [
    ("bin-fill", include_str!("../../../topologies/bin-fill.yaml")),
    ("churn", include_str!("../../../topologies/churn.yaml")),
    ("maintenance", include_str!("../../../topologies/maintenance.yaml")),
    ("outcome", include_str!("../../../topologies/outcome.yaml")),
    ("route", include_str!("../../../topologies/route.yaml")),
    ("stops", include_str!("../../../topologies/stops.yaml")),
    ("traffic", TRAFFIC),
];

/// Parameters of topologies that win over the environment.
pub type Parameters<'a> = &'a [(&'a str, String)];

/// The registry: a folder, or the schemas built in.
pub fn registry(folder: Option<&Path>) -> Result<Arc<Registry>, Failure> {
    Ok(Arc::new(match folder {
        Some(f) => Registry::open(f)?,
        None => Registry::embedded()?,
    }))
}

/// Parameter of `route`: the road network that plans are made on.
const NETWORK: &str = "ROUTE_NETWORK";

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The plan of a file.
pub fn file(path: &Path, edge: &RegistryEdge) -> Result<Plan, Failure> {
    Ok(load_file(path, edge, &env)?)
}

/// A built-in topology's plan.
pub fn built_in(name: &str, edge: &RegistryEdge, parameters: Parameters<'_>) -> Result<Plan, Failure> {
    let Some((_, text)) = BUILT_IN.iter().find(|(n, _)| *n == name) else {
        let known: Vec<&str> = BUILT_IN.iter().map(|(n, _)| *n).collect();
        return Err(format!("there is no built-in topology `{name}`: use one of {}, or the path of a file", known.join(", ")).into());
    };
    let value = |name: &str| parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).or_else(|| env(name));
    Ok(load(&format!("topologies/{name}.yaml"), text, edge, &value)?)
}

/// A topology that a person names: a built-in one by its name, or a file. Where a road network is named, plans are made on it as well,
/// unless the environment names another one for them.
pub fn named(what: &Path, edge: &RegistryEdge, roads: Option<&Path>) -> Result<Plan, Failure> {
    let network = roads.filter(|_| env(NETWORK).is_none()).map(|file| (NETWORK, file.display().to_string()));
    match what.to_str() {
        Some(name) if what.extension().is_none() && !what.exists() => built_in(name, edge, network.as_slice()),
        _ => file(what, edge),
    }
}

/// The built-in `bin-fill`.
pub fn bin_fill(edge: &RegistryEdge) -> Result<Plan, Failure> {
    built_in("bin-fill", edge, &[])
}

/// The built-in `churn`.
pub fn churn(edge: &RegistryEdge) -> Result<Plan, Failure> {
    built_in("churn", edge, &[])
}

/// The built-in `maintenance`.
pub fn maintenance(edge: &RegistryEdge) -> Result<Plan, Failure> {
    built_in("maintenance", edge, &[])
}

/// The built-in `traffic` with other parameters, and with the traversals, which it keeps to itself, as JSON in a topic: to judge them.
pub fn traffic_to_judge(edge: &RegistryEdge, parameters: &[(&str, String)], traversals: &str) -> Result<Plan, Failure> {
    let (head, sinks) = TRAFFIC.split_once("\nsinks:\n").ok_or("topologies/traffic.yaml has no sinks")?;
    let text = format!("{head}\nsinks:\n  {traversals}: {{ from: matched, format: json, lineage: false }}\n{sinks}");
    let given = |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()).or_else(|| env(name));
    Ok(load("topologies/traffic.yaml", &text, edge, &given)?)
}

/// The built-in `stops`.
pub fn stops(edge: &RegistryEdge) -> Result<Plan, Failure> {
    built_in("stops", edge, &[])
}
