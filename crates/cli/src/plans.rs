//! Loading topologies: files by path, or the ones this build carries by name.

use crate::Failure;
use crate::edge::RegistryEdge;
use std::path::Path;
use std::sync::Arc;
use ws_log::registry::Registry;
use ws_plan::{Plan, load, load_file};

/// The built-in topologies by name.
const BUILT_IN: [(&str, &str); 4] = [
    ("bin-fill", include_str!("../../../topologies/bin-fill.yaml")),
    ("churn", include_str!("../../../topologies/churn.yaml")),
    ("maintenance", include_str!("../../../topologies/maintenance.yaml")),
    ("outcome", include_str!("../../../topologies/outcome.yaml")),
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

/// A topology that a person names: a built-in one by its name, or a file.
pub fn named(what: &Path, edge: &RegistryEdge) -> Result<Plan, Failure> {
    match what.to_str() {
        Some(name) if what.extension().is_none() && !what.exists() => built_in(name, edge, &[]),
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
