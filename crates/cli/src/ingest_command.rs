//! `wastestream ingest` as a command: which log takes the rows. Kafka by configuration or `--bootstrap`; otherwise the
//! data folder's embedded log, through the process that owns it if there is one.

use crate::config::{Config, LogKind};
use crate::ingest::{self, HttpTarget, IngestArgs, IngestError, LogTarget, Target};
use crate::{Failure, endpoint, plans, run, serve};
use std::sync::Arc;
use std::time::Duration;
use ws_log::registry::Registry;

/// Runs the command; the summary goes to standard error.
///
/// # Errors
/// When mapping, file or target cannot be used; when rows are bad and `--strict`; when stopped before the end.
pub fn run(args: &IngestArgs) -> Result<(), Failure> {
    let mut flags = Vec::new();
    if let Some(b) = &args.bootstrap {
        flags.extend([("log.bootstrap", b.clone()), ("log.kind", "kafka".into())]);
    }
    if let Some(d) = &args.data {
        flags.push(("data", d.display().to_string()));
    }
    let config = Config::load(args.config.as_deref(), flags)?;
    let registry = plans::registry(config.schemas.as_deref())?;
    let stop = serve::stop_on_signal()?;
    let connect = |topics: &[Arc<str>]| connect(&config, topics, args.partitions, &registry);
    let summary = ingest::run(args, &registry, connect, &stop, &mut std::io::stdout().lock(), &mut std::io::stderr())?;
    eprintln!("{summary}");
    match (summary.interrupted, summary.failed(args.strict)) {
        (true, _) => Err("stopped before the end".into()),
        (false, true) => Err(format!("{} bad rows and --strict", summary.bad).into()),
        (false, false) => Ok(()),
    }
}

fn connect(config: &Config, topics: &[Arc<str>], partitions: u32, registry: &Arc<Registry>) -> Result<Box<dyn Target>, IngestError> {
    if config.log.kind == LogKind::Embedded
        && let Some(owner) = endpoint::find(&config.data)
        && answers(&owner.url)
    {
        return Ok(Box::new(HttpTarget::new(&owner.url, registry.clone())));
    }
    let log = run::open_log(config).map_err(|e| IngestError::Setting(e.to_string()))?;
    Ok(Box::new(LogTarget::new(log.as_ref(), topics, partitions)?))
}

/// A killed process leaves its endpoint file behind.
fn answers(url: &str) -> bool {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).http_status_as_error(false).build();
    ureq::Agent::from(config).get(format!("{url}/healthz")).call().is_ok()
}
