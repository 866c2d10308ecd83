//! The demo's models: a city's past days are replayed through the very topologies that serve, and the features that
//! come out train the models. The past is another stretch of the same city, before the demo's first day.

use super::producer::encode;
use super::stopped;
use crate::demo_risks::{Fate, train_risks};
use crate::edge::{CHURN_MODEL, FILL_MODEL, MAINTENANCE_MODEL, RegistryEdge};
use crate::process::ProcessStatus;
use crate::train::{Features, fill_options};
use crate::{Failure, plans};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use ws_city::{City, CityConfig};
use ws_log::registry::Registry;
use ws_models::{ModelStore, train_fill};
use ws_runtime::models::Models;

/// Days of history that the demo trains on.
const DAYS: i64 = 12;
/// Bins of it: enough for the trees, quick enough for a first start.
const BINS: usize = 400;

/// Features of a simulated past: `days` before the city's start.
pub fn features(city: &CityConfig, days: i64, bins: usize, registry: &Arc<Registry>, stop: &AtomicBool) -> Result<Option<Features>, Failure> {
    let edge = RegistryEdge::new(registry.clone());
    let slices = plans::bin_fill(&edge)?.into_slices();
    let start_ms = city.start_ms - days * 86_400_000;
    let trucks = (city.trucks * bins / city.bins.max(1)).max(4);
    let mut past = City::new(CityConfig { start_ms, bins: bins.min(city.bins), trucks, ..city.clone() });
    let mut features = Features::new(slices, edge, registry.clone(), "bin.features")?;
    let references = past.references();
    features.feed(&encode(&references, registry, 1)?)?;
    while past.now_ms() < city.start_ms {
        if stopped(stop) {
            return Ok(None);
        }
        let events = past.advance(past.now_ms() + 900_000);
        features.feed(&encode(&events, registry, 1)?)?;
    }
    Ok(Some(features))
}

/// Puts the stored models to work, and trains those that are missing: fill first, as everything else follows from it.
pub fn train(
    city: &CityConfig,
    registry: &Arc<Registry>,
    store: &ModelStore,
    models: &Models,
    status: &ProcessStatus,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let done = (|| -> Result<(), Failure> {
        if let Some(version) = store.current(FILL_MODEL)? {
            models.put(FILL_MODEL, Box::new(store.load(FILL_MODEL, &version)?));
            return Ok(());
        }
        status.set_model_state(FILL_MODEL, "training");
        let Some(features) = features(city, DAYS, BINS, registry, stop)? else { return Ok(()) };
        let trained = train_fill(features.batches(), &fill_options(city.seed, city.start_ms))?;
        let version = trained.bundle.manifest.version.clone();
        store.save(&trained.bundle)?;
        store.set_current(FILL_MODEL, &version)?;
        models.put(FILL_MODEL, Box::new(trained.predictor()?));
        tracing::info!(version, "model trained");
        Ok(())
    })();
    if let Err(e) = &done {
        status.set_model_state(FILL_MODEL, "failed");
        tracing::error!(error = %e, "training failed; the heuristic rung goes on answering");
    }
    done?;
    let risks = [CHURN_MODEL, MAINTENANCE_MODEL];
    risks.iter().for_each(|m| status.set_model_state(m, "training"));
    let fates = train_risks(city, registry, store, models, stop).inspect_err(|_| risks.iter().for_each(|m| status.set_model_state(m, "failed")))?;
    for (model, fate) in fates {
        let state = match fate {
            Fate::Loaded { .. } | Fate::Answers { .. } => "ready",
            Fate::RuleStays { .. } => "the rule is better",
            Fate::NotTrained { .. } => "too little history",
        };
        status.set_model_state(model, state);
    }
    Ok(())
}
