//! The demo's risk models: a simulated past, before the demo's first day, goes through the maintenance and churn topologies
//! that serve, and what comes out trains the models, one after the other. Until then, and wherever a model is no better than
//! the rule on the past's last part, the rule answers: a young history teaches less than a score card knows.

use crate::Failure;
use crate::edge::{CHURN_MODEL, MAINTENANCE_MODEL};
use crate::train_risk::{History, Of};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use ws_city::CityConfig;
use ws_inference::GbdtPredictor;
use ws_log::registry::Registry;
use ws_models::{ModelStore, TrainedRisk};
use ws_runtime::models::Models;

const DAY_MS: i64 = 86_400_000;

/// Size of the past that is lived through.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// Days.
    pub days: i64,
    /// Bins; three of them make a site, and every site has a customer.
    pub bins: usize,
    /// Trucks.
    pub trucks: usize,
}

impl Past {
    /// What it takes to know more than the rule: of failures a large fleet for some months, of customers years.
    fn of(of: Of) -> Past {
        match of {
            Of::Maintenance => Past { days: 300, bins: 400, trucks: 40 },
            Of::Churn => Past { days: 640, bins: 720, trucks: 16 },
        }
    }
}

/// What became of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It was stored by an earlier start and answers now.
    Loaded {
        /// Version.
        version: String,
    },
    /// Trained, better than the rule, stored and answering.
    Answers {
        /// Version.
        version: String,
        /// Log loss of model and rule on the past's last part.
        log_loss: (f64, f64),
    },
    /// Trained and no better than the rule, which goes on answering.
    RuleStays {
        /// Log loss of model and rule on the past's last part.
        log_loss: (f64, f64),
    },
    /// Too little to learn from; the rule goes on answering.
    NotTrained {
        /// Why.
        why: String,
    },
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fate::Loaded { version } => write!(f, "{version}, stored by an earlier start"),
            Fate::Answers { version, log_loss: (model, rule) } => write!(f, "{version} answers: log loss {model:.4}, rule {rule:.4}"),
            Fate::RuleStays { log_loss: (model, rule) } => write!(f, "the rule stays: log loss {rule:.4}, model {model:.4}"),
            Fate::NotTrained { why } => write!(f, "the rule stays: {why}"),
        }
    }
}

/// Loads the risk models that the store holds; trains, judges and stores those that it does not, failures of parts first:
/// they take a third of the time. Returns what became of each, by model; those that `stop` ended are left out.
///
/// # Errors
/// When the store cannot be read or written, or the past cannot be computed.
pub fn train_risks(
    city: &CityConfig,
    registry: &Arc<Registry>,
    store: &ModelStore,
    models: &Models,
    stop: &AtomicBool,
) -> Result<Vec<(&'static str, Fate)>, Failure> {
    train_on(Past::of, city, registry, store, models, stop)
}

fn train_on(
    past: impl Fn(Of) -> Past,
    city: &CityConfig,
    registry: &Arc<Registry>,
    store: &ModelStore,
    models: &Models,
    stop: &AtomicBool,
) -> Result<Vec<(&'static str, Fate)>, Failure> {
    let (mut fates, mut wanted) = (Vec::new(), Vec::new());
    for of in [Of::Maintenance, Of::Churn] {
        match store.current(name(of))? {
            Some(version) => {
                models.put(name(of), Box::new(store.load(name(of), &version)?));
                fates.push((name(of), Fate::Loaded { version }));
            }
            None => wanted.push(of),
        }
    }
    for of in wanted {
        let (started, past) = (Instant::now(), past(of));
        // Positions teach neither of them: few will do.
        let config = CityConfig {
            start_ms: city.start_ms - past.days * DAY_MS,
            bins: past.bins,
            trucks: past.trucks,
            sites_per_customer: 1,
            position_interval_s: 300,
            ..city.clone()
        };
        let Some(history) = History::lived(&[of], config, past.days, false, registry, stop)?.and_then(|mut all| all.pop()) else { break };
        let lived_s = started.elapsed().as_secs_f64();
        let fate = match history.train(city.seed) {
            Ok(trained) => take(&trained, name(of), store, models)?,
            Err(e) => Fate::NotTrained { why: e.to_string() },
        };
        tracing::info!(model = name(of), past_days = past.days, lived_s, took_s = started.elapsed().as_secs_f64(), "{fate}");
        fates.push((name(of), fate));
    }
    Ok(fates)
}

fn name(of: Of) -> &'static str {
    match of {
        Of::Churn => CHURN_MODEL,
        Of::Maintenance => MAINTENANCE_MODEL,
    }
}

/// Puts a model to work if it beats the rule.
fn take(trained: &TrainedRisk, name: &'static str, store: &ModelStore, models: &Models) -> Result<Fate, Failure> {
    let log_loss = (trained.report.model.log_loss, trained.report.rule.log_loss);
    // Not a number is not better.
    if log_loss.0 < log_loss.1 {
        let version = trained.bundle.manifest.version.clone();
        let predictor = GbdtPredictor::new(&trained.bundle)?;
        store.save(&trained.bundle)?;
        store.set_current(name, &version)?;
        models.put(name, Box::new(predictor));
        return Ok(Fate::Answers { version, log_loss });
    }
    Ok(Fate::RuleStays { log_loss })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::demo::encode;
    use crate::edge::RegistryEdge;
    use crate::plans;
    use std::collections::BTreeSet;
    use std::sync::atomic::Ordering;
    use ws_city::{City, Event};
    use ws_runtime::replay::Replay;

    #[test]
    fn a_short_past_leaves_the_rule_and_a_stop_ends_it_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (store, models, stop) = (ModelStore::new(dir.path()), Models::default(), AtomicBool::new(false));
        let registry = plans::registry(None).unwrap();
        let past = |_: Of| Past { days: 10, bins: 30, trucks: 4 };
        let fates = train_on(past, &CityConfig::default(), &registry, &store, &models, &stop).unwrap();
        assert_eq!(fates.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [MAINTENANCE_MODEL, CHURN_MODEL]);
        assert!(fates.iter().all(|(_, fate)| matches!(fate, Fate::NotTrained { why } if why.contains("longer history"))), "{fates:?}");
        assert!(models.version(CHURN_MODEL).is_none() && store.current(CHURN_MODEL).unwrap().is_none());
        stop.store(true, Ordering::Relaxed);
        assert_eq!(train_risks(&CityConfig::default(), &registry, &store, &models, &stop).unwrap(), []);
    }
    /// The back-fill of the demo, on a smaller city: what the page can show before any model is there.
    #[test]
    fn two_days_show_every_customer_and_vehicle_by_the_rule() {
        let registry = plans::registry(None).unwrap();
        let edge = RegistryEdge::new(registry.clone());
        let replay = |slices: Vec<_>| Replay::of_slices(&slices, Arc::new(edge.clone()), Models::default(), 0).unwrap();
        let topologies = [plans::churn(&edge).unwrap().into_slices(), plans::maintenance(&edge).unwrap().into_slices()];
        let mut replays = topologies.map(replay);
        let mut city = City::new(CityConfig { bins: 200, trucks: 6, ..CityConfig::default() });
        let end_ms = city.now_ms() + 2 * DAY_MS;
        let mut send = |events: &[Event], now_ms: i64| {
            for a in encode(events, &registry, 1).unwrap() {
                for replay in &mut replays {
                    replay.set_now_ms(now_ms);
                    replay.feed(&a.topic, (0..a.rows.len()).map(|i| (a.row(i).0, a.row(i).1, a.rows[i].timestamp_ms))).unwrap();
                }
            }
        };
        let references = city.references();
        send(&references, city.now_ms());
        while city.now_ms() < end_ms {
            let events = city.advance(city.now_ms() + 3_600_000);
            send(&events, city.now_ms());
        }
        let customers = references.iter().filter(|e| e.topic == "ref.customer").map(|e| e.key.clone()).collect::<BTreeSet<_>>();
        let mut told = |n: usize, topic: &str| {
            replays[n].tick().unwrap();
            let records = replays[n].take(topic);
            let rows: Vec<serde_json::Value> = (0..records.rows.len()).map(|i| registry.decode_to_json(records.value(i).unwrap()).unwrap()).collect();
            rows.into_iter()
                .map(|row| (row["customer_id"].to_string() + &row["vehicle_id"].to_string() + &row["component"].to_string(), row["rung"].to_string()))
                .collect::<Vec<_>>()
        };
        let (churn, parts) = (told(0, "customer.churn-risk"), told(1, "vehicle.maintenance-risk"));
        assert!(churn.iter().chain(&parts).all(|(_, rung)| rung == "\"heuristic\""));
        let of = |rows: &[(String, String)]| rows.iter().map(|(id, _)| id.clone()).collect::<BTreeSet<_>>().len();
        println!("{} of {} customers, {} of {} parts; {} and {} rows", of(&churn), customers.len(), of(&parts), 6 * 5, churn.len(), parts.len());
        assert!(of(&churn) * 10 >= customers.len() * 9 && of(&parts) >= 25);
    }
}
