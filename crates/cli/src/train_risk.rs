//! `wastestream train --task churn|maintenance`: history through the same topology that will use the model, facts from the
//! same topics, then training and evaluation; on a simulated city also against its truth.

use crate::demo::encode;
use crate::edge::{CHURN_MODEL, MAINTENANCE_MODEL, RegistryEdge};
use crate::train::{Features, read_log, read_log_merged};
use crate::{Failure, plans};
use arrow::array::RecordBatch;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use ws_city::{City, CityConfig, Event};
use ws_log::avro::AvroDecoder;
use ws_log::registry::Registry;
use ws_models::risk_train::RiskOptions;
use ws_models::{CustomerFacts, ModelStore, TrainedRisk, VehicleFacts, churn_options, maintenance_options, train_churn, train_maintenance};
use ws_stream::codec::Decode;
use ws_stream::records::{Appends, RecordsBuilder};

const DAY_MS: i64 = 86_400_000;
/// Simulated time between two portions.
const STEP_MS: i64 = 900_000;

/// What is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Voluntary ends of contracts.
    Churn,
    /// Failures of parts.
    Maintenance,
}

impl Of {
    /// The topic of its features.
    pub fn features(self) -> &'static str {
        match self {
            Of::Churn => "customer.features",
            Of::Maintenance => "vehicle.features",
        }
    }

    /// Topics with facts, each with the columns that tell them.
    fn facts(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Of::Churn => &[
                ("contract.event", &["customer_id", "event", "voluntary", "observed_at"]),
                ("intervention.event", &["subject_id", "arm", "state", "kind", "observed_at"]),
            ],
            Of::Maintenance => &[("workorder.event", &["asset_id", "component", "kind", "state", "failed_at", "ends_at", "observed_at"])],
        }
    }
}

/// Features, facts and, of a simulated city, the truth by subject and day.
pub struct History {
    of: Of,
    registry: Arc<Registry>,
    /// Rows of features.
    pub features: Features,
    facts: Vec<(&'static str, RecordBatch)>,
    truth: HashMap<(String, i64), f64>,
}

impl History {
    /// Ready to take records.
    pub fn new(of: Of, registry: &Arc<Registry>) -> Result<History, Failure> {
        let edge = RegistryEdge::new(registry.clone());
        let plan = if of == Of::Churn { plans::churn(&edge)? } else { plans::maintenance(&edge)? };
        let features = Features::new(plan.into_slices(), edge, registry.clone(), of.features())?;
        Ok(History { of, registry: registry.clone(), features, facts: Vec::new(), truth: HashMap::new() })
    }

    /// Takes records: facts are kept, the topology computes features.
    pub fn feed(&mut self, appends: &[Appends]) -> Result<(), Failure> {
        for a in appends {
            let Some((topic, columns)) = self.of.facts().iter().find(|(topic, _)| **topic == *a.topic) else { continue };
            let mut b = RecordsBuilder::default();
            for i in 0..a.rows.len() {
                let (key, value, _) = a.row(i);
                b.push(i as i64, a.rows[i].timestamp_ms, key, value, &[]);
            }
            let decoded = AvroDecoder::new(self.registry.clone(), topic, Some(columns))?.decode(&b.finish(a.rows.len() as i64));
            self.facts.push((topic, decoded.rows));
        }
        self.features.feed(appends)
    }

    /// A simulated city's past of so many days, with its truth.
    pub fn simulated(of: Of, days: i64, bins: usize, seed: u64, registry: &Arc<Registry>) -> Result<History, Failure> {
        // A customer for every site, so that the past holds enough of them; trucks as many as the bins need.
        let base = CityConfig::default();
        let trucks = (base.trucks * bins / base.bins).max(4);
        let config = CityConfig { seed, bins, trucks, sites_per_customer: 1, ..base };
        let lived = History::lived(&[of], config, days, true, registry, &AtomicBool::new(false))?;
        lived.and_then(|mut histories| histories.pop()).ok_or_else(|| "stopped".into())
    }

    /// What so many days of a city tell, for one or several models at once; with `truth` also what the city knows of itself.
    /// `None`: stopped.
    pub fn lived(of: &[Of], config: CityConfig, days: i64, truth: bool, registry: &Arc<Registry>, stop: &AtomicBool) -> Result<Option<Vec<History>>, Failure> {
        let mut histories = of.iter().map(|of| History::new(*of, registry)).collect::<Result<Vec<_>, _>>()?;
        let horizons: Vec<f64> = histories.iter().map(|h| h.horizon_days(config.seed)).collect();
        let mut city = City::new(config);
        let send = |histories: &mut [History], mut events: Vec<Event>| -> Result<(), Failure> {
            events.retain(|e| histories.iter().any(|h| h.wants(e.topic)));
            let appends = encode(&events, registry, 1)?;
            histories.iter_mut().try_for_each(|h| h.feed(&appends))
        };
        send(&mut histories, city.references())?;
        let end_ms = city.now_ms() + days * DAY_MS;
        let mut told_day = i64::MIN;
        while city.now_ms() < end_ms {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let day = city.now_ms().div_euclid(DAY_MS);
            if truth && day != told_day {
                told_day = day;
                histories.iter_mut().zip(&horizons).for_each(|(h, days)| h.note_truth(&city, day, *days));
            }
            let events = city.advance(city.now_ms() + STEP_MS);
            send(&mut histories, events)?;
        }
        Ok(Some(histories))
    }

    fn horizon_days(&self, seed: u64) -> f64 {
        match self.of {
            Of::Churn => churn_options(seed, 0).horizon_days as f64,
            Of::Maintenance => maintenance_options(seed, 0).horizon_days as f64,
        }
    }

    /// Whether records of a topic are of use.
    fn wants(&self, topic: &str) -> bool {
        self.features.reads(topic) || self.of.facts().iter().any(|(fact, _)| *fact == topic)
    }

    fn note_truth(&mut self, city: &City, day: i64, horizon_days: f64) {
        match self.of {
            Of::Churn => self.truth.extend(city.truth().voluntary_ends(horizon_days).map(|(id, p)| ((id.to_string(), day), p))),
            Of::Maintenance => self.truth.extend(city.truth().failures(horizon_days).map(|(id, part, p)| ((format!("{id}/{part}"), day), p))),
        }
    }

    /// The history in a folder's log.
    pub fn of_log(of: Of, data: &Path, registry: &Arc<Registry>) -> Result<History, Failure> {
        let mut history = History::new(of, registry)?;
        let edge = RegistryEdge::new(registry.clone());
        let plan = if of == Of::Churn { plans::churn(&edge)? } else { plans::maintenance(&edge)? };
        let (global, streams): (Vec<_>, Vec<_>) = plan.topology.tables.iter().map(|t| (t.global, t.topic.clone())).partition(|(global, _)| *global);
        let global: Vec<Arc<str>> = global.into_iter().map(|(_, topic)| topic).collect();
        let mut streams: Vec<Arc<str>> = streams.into_iter().map(|(_, topic)| topic).chain(plan.topology.inputs.iter().map(|i| i.topic.clone())).collect();
        streams.extend(of.facts().iter().map(|(topic, _)| Arc::from(*topic)).filter(|topic| !history.features.reads(topic)));
        streams.sort();
        streams.dedup();
        read_log(data, &global, &mut |a| history.feed(&[a]))?;
        read_log_merged(data, &streams, &mut |a| history.feed(&[a]))?;
        Ok(history)
    }

    /// Trains and judges on what was fed, with the usual options.
    pub fn train(&self, seed: u64) -> Result<TrainedRisk, Failure> {
        self.train_with(seed, |_| {})
    }

    /// Trains and judges on what was fed; `adjust` may change the options.
    pub fn train_with(&self, seed: u64, adjust: impl Fn(&mut RiskOptions)) -> Result<TrainedRisk, Failure> {
        let truth = |subject: &str, at_ms: i64| self.truth.get(&(subject.to_string(), at_ms.div_euclid(DAY_MS))).copied();
        let newest_ms = self.features.newest_ms();
        let mut options = if self.of == Of::Churn { churn_options(seed, newest_ms) } else { maintenance_options(seed, newest_ms) };
        adjust(&mut options);
        Ok(match self.of {
            Of::Churn => {
                let mut facts = CustomerFacts::default();
                for (topic, rows) in &self.facts {
                    if *topic == "contract.event" { facts.add_contracts(rows)? } else { facts.add_interventions(rows)? }
                }
                facts.known_until(newest_ms);
                train_churn(self.features.batches(), &facts, &truth, &options)?
            }
            Of::Maintenance => {
                let mut facts = VehicleFacts::default();
                for (_, rows) in &self.facts {
                    facts.add_orders(rows)?;
                }
                for rows in self.features.batches() {
                    facts.add_hours(rows)?;
                }
                facts.sort();
                train_maintenance(self.features.batches(), &facts, &truth, &options)?
            }
        })
    }
}

/// Trains, prints the evaluation, stores the model.
pub fn run(of: Of, data: &Path, simulate_days: Option<i64>, bins: usize, seed: u64, dry_run: bool, json: bool) -> Result<(), Failure> {
    let registry = plans::registry(None)?;
    let history = match simulate_days {
        Some(days) => History::simulated(of, days, bins, seed, &registry)?,
        None => History::of_log(of, data, &registry)?,
    };
    let rows: usize = history.features.batches().iter().map(RecordBatch::num_rows).sum();
    eprintln!("{rows} rows of {}", of.features());
    let trained = history.train(seed)?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&trained.report)?),
        false => println!("{}{}", if simulate_days.is_some() { "A simulated city.\n" } else { "" }, trained.report),
    }
    if !dry_run {
        let name = if of == Of::Churn { CHURN_MODEL } else { MAINTENANCE_MODEL };
        let store = ModelStore::new(data.join("models"));
        let path = store.save(&trained.bundle)?;
        store.set_current(name, &trained.bundle.manifest.version)?;
        eprintln!("stored {} as the current {name}; a running process takes it at its next start", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use arrow::array::AsArray;
    use std::collections::BTreeSet;
    use ws_models::TrainError;

    /// What a small city sent in so many days.
    fn lived(of: Of, days: i64, registry: &Arc<Registry>) -> Vec<Event> {
        let history = History::new(of, registry).unwrap();
        let mut city = City::new(CityConfig { seed: 3, bins: 60, trucks: 6, sites_per_customer: 1, ..CityConfig::default() });
        let mut events = city.references();
        let end_ms = city.now_ms() + days * DAY_MS;
        while city.now_ms() < end_ms {
            events.extend(city.advance(city.now_ms() + DAY_MS));
        }
        events.retain(|e| history.features.reads(e.topic) || of.facts().iter().any(|(fact, _)| *fact == e.topic));
        events
    }

    /// Rows of features from what arrived up to a time. Global tables go in first and whole, as they do when a log is read:
    /// versions of the future are there, and must not be used.
    fn rows_until(of: Of, events: &[Event], until_ms: i64, registry: &Arc<Registry>) -> Result<Vec<RecordBatch>, Failure> {
        let mut history = History::new(of, registry)?;
        let global = |topic: &str| topic.starts_with("ref.");
        let (tables, streams): (Vec<_>, Vec<_>) = events.iter().filter(|e| e.received_at_ms <= until_ms).cloned().partition(|e| global(e.topic));
        history.feed(&encode(&tables, registry, 1)?)?;
        for portion in streams.chunk_by(|a, b| a.received_at_ms.div_euclid(STEP_MS) == b.received_at_ms.div_euclid(STEP_MS)) {
            history.feed(&encode(portion, registry, 1)?)?;
        }
        Ok(history.features.batches().to_vec())
    }

    fn does_not_know_the_future(of: Of, days: i64, least: usize) {
        let registry = plans::registry(None).unwrap();
        let events = lived(of, days, &registry);
        let start_ms = CityConfig::default().start_ms;
        let until = |ms: i64| rows_until(of, &events, ms, &registry).map_err(|e| TrainError::TooLittle { message: e.to_string(), hint: "" });
        let cuts = [start_ms + days / 3 * DAY_MS, start_ms + days * 2 / 3 * DAY_MS];
        let compared = ws_models::assert_no_future(until, &cuts, &["event_id"]).unwrap();
        assert!(compared > least, "{compared} rows of {}", of.features());
    }

    #[test]
    fn features_of_customers_do_not_know_the_future() {
        does_not_know_the_future(Of::Churn, 45, 100);
    }

    #[test]
    fn features_of_vehicles_do_not_know_the_future() {
        does_not_know_the_future(Of::Maintenance, 12, 200);
    }

    #[test]
    fn a_simulated_past_gives_rows_facts_and_truth() {
        let registry = plans::registry(None).unwrap();
        let mut history = History::simulated(Of::Churn, 30, 60, 3, &registry).unwrap();
        let customers: BTreeSet<String> = history
            .features
            .batches()
            .iter()
            .flat_map(|b| b.column_by_name("customer_id").unwrap().as_string::<i32>().iter().flatten().map(str::to_string).collect::<Vec<_>>())
            .collect();
        assert!(customers.len() > 20, "{customers:?}");
        assert!(history.facts.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>() >= customers.len());
        assert!(history.truth.len() > 25 * customers.len() && history.truth.values().all(|p| (0.0..1.0).contains(p)));
        let counts = history.features.counts();
        assert!(counts.len() > 10 && counts.iter().all(|(_, c)| c.balanced()), "{counts:?}");
        assert!(counts.iter().all(|(_, c)| c.dead == 0), "nothing in the city's events is refused: {counts:?}");
        let error = history.train(1).err().unwrap().to_string();
        assert!(error.contains("longer history"), "{error}");
    }
}
