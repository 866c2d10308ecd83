//! Plans come back to the city: what `route.plan` says is in force, its trucks drive.
//!
//! The city lives the same life again after a restart, so what it was told, and when, is kept beside it: every plan is noted in
//! a journal before it is obeyed.

use crate::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use ws_city::{City, PlannedRoute, PlannedVisit, Visit};
use ws_log::registry::Registry;
use ws_stream::log::{Log, LogError, TopicPartition};

/// Where plans are published.
pub const TOPIC: &str = "route.plan";
/// Plans that wait for the city; a reader that is ahead waits.
const WAITING: usize = 256;
/// Wait for records.
const POLL_MS: u64 = 100;
/// Wait after a log that is away.
const RETRY: Duration = Duration::from_secs(1);

/// A plan, and when the city took it: UTC ms of its clock.
#[derive(Serialize, Deserialize)]
struct Taken {
    at_ms: i64,
    plan: Value,
}

/// What the city was told and will be told.
pub struct Orders {
    file: PathBuf,
    /// Of an earlier life, not lived again yet.
    again: VecDeque<Taken>,
    fresh: Receiver<Value>,
    /// Routes that the city took, and that it could not.
    pub counts: (u64, u64),
}

impl Orders {
    /// Reads the journal of a folder; new plans come from `fresh`.
    pub fn open(data: &Path, fresh: Receiver<Value>) -> Result<Orders, Failure> {
        let file = data.join("city-orders.jsonl");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(format!("{}: {e}", file.display()).into()),
        };
        // A line that was cut by a kill was not obeyed.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let again = whole.lines().map(serde_json::from_str).collect::<Result<_, _>>().map_err(|e| format!("{}: {e}", file.display()))?;
        if whole.len() < text.len() {
            std::fs::write(&file, whole)?;
        }
        Ok(Orders { file, again, fresh, counts: (0, 0) })
    }

    /// When the next plan of an earlier life is due, UTC ms.
    pub fn next_again_ms(&self) -> Option<i64> {
        self.again.front().map(|taken| taken.at_ms)
    }

    /// Lets the city do again what it did at this time, or tells it what has come.
    pub fn obey(&mut self, city: &mut City) -> Result<(), Failure> {
        while self.next_again_ms().is_some_and(|at_ms| at_ms <= city.now_ms()) {
            if let Some(taken) = self.again.pop_front() {
                self.drive(city, &taken.plan);
            }
        }
        if !self.again.is_empty() {
            return Ok(());
        }
        while let Ok(plan) = self.fresh.try_recv() {
            if !concerns(&plan, city.now_ms()) {
                continue;
            }
            let taken = Taken { at_ms: city.now_ms(), plan };
            let mut line = serde_json::to_vec(&taken)?;
            line.push(b'\n');
            std::fs::OpenOptions::new().create(true).append(true).open(&self.file)?.write_all(&line)?;
            self.drive(city, &taken.plan);
        }
        Ok(())
    }

    fn drive(&mut self, city: &mut City, plan: &Value) {
        for route in routes(plan, city.now_ms()) {
            match city.dispatch(&route) {
                Ok(()) => self.counts.0 += 1,
                Err(e) => {
                    self.counts.1 += 1;
                    tracing::info!(vehicle = route.vehicle_id, error = %e, "a truck cannot take its route");
                }
            }
        }
    }
}

/// Is it in force, and not over?
fn concerns(plan: &Value, now_ms: i64) -> bool {
    matches!(plan["state"].as_str(), Some("accepted" | "active")) && plan["valid_to"].as_i64().is_some_and(|to| to > now_ms)
}

/// The routes of a plan in the city's words; one that has ended by now sends nobody out again.
fn routes(plan: &Value, now_ms: i64) -> Vec<PlannedRoute> {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let text = |v: &Value| v.as_str().map(str::to_string);
    let mut all = Vec::new();
    for route in list(&plan["routes"]).into_iter().filter(|route| route["ends_at"].as_i64().is_none_or(|ends_ms| ends_ms > now_ms)) {
        let Some(vehicle_id) = text(&route["vehicle_id"]) else { continue };
        let stops = list(&route["stops"]);
        let visits = stops.iter().filter_map(|stop| {
            let visit = match stop["kind"].as_str()? {
                "site" => Visit::Site { site_id: text(&stop["site_id"])?, container_ids: list(&stop["container_ids"]).iter().filter_map(text).collect() },
                "disposal" => Visit::Disposal { facility_id: text(&stop["facility_id"])? },
                "lunch" => Visit::Break,
                _ => return None,
            };
            Some(PlannedVisit { visit, planned_ms: stop["arrives_at"].as_i64()? })
        });
        all.push(PlannedRoute {
            route_id: format!("{}/{vehicle_id}", plan["plan_id"].as_str().unwrap_or_default()),
            starts_ms: route["starts_at"].as_i64().unwrap_or_default(),
            visits: visits.collect(),
            vehicle_id,
        });
    }
    all
}

/// Follows the plans in the log on a thread of its own: first the newest of each area, then each as it comes.
pub fn follow(log: Arc<dyn Log>, registry: Arc<Registry>, stop: Arc<AtomicBool>) -> std::io::Result<(Receiver<Value>, JoinHandle<()>)> {
    let (send, receive) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("orders".into()).spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            match read(log.as_ref(), &registry, &send, &stop) {
                Ok(()) => {}
                // Not made yet.
                Err(LogError::NoTopic(_)) => std::thread::sleep(RETRY),
                Err(e) => {
                    tracing::warn!(error = %e, "plans cannot be read; trying again");
                    std::thread::sleep(RETRY);
                }
            }
        }
    })?;
    Ok((receive, thread))
}

fn read(log: &dyn Log, registry: &Registry, send: &SyncSender<Value>, stop: &AtomicBool) -> Result<(), LogError> {
    let mut admin = log.admin()?;
    let Some(info) = admin.topic(TOPIC)? else { return Err(LogError::NoTopic(TOPIC.into())) };
    let mut reader = log.reader()?;
    let mut ends = BTreeMap::new();
    for partition in 0..info.partitions {
        let at = TopicPartition::new(TOPIC, partition);
        let (start, end) = (admin.start(&at)?, admin.end(&at, ws_stream::log::End::Stable)?);
        reader.add(&at, start)?;
        if start < end {
            ends.insert(at, end);
        }
    }
    // What was superseded before the start is nobody's order any more.
    let mut newest: BTreeMap<String, Value> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        for (at, records) in reader.poll(POLL_MS)? {
            let plans = (0..records.rows.len()).filter_map(|i| records.value(i)).filter_map(|v| registry.decode_to_json(v).ok());
            for plan in plans.filter(|plan| plan["state"] == "accepted" || plan["state"] == "active") {
                if ends.is_empty() {
                    let _ = send.send(plan);
                } else if let Some(area) = plan["planning_area_id"].as_str() {
                    newest.insert(area.to_string(), plan);
                }
            }
            if ends.get(&at).is_some_and(|end| records.next_offset >= *end) {
                ends.remove(&at);
            }
        }
        if ends.is_empty() {
            for plan in std::mem::take(&mut newest).into_values() {
                let _ = send.send(plan);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use ws_city::{CityConfig, Dispatch};

    fn city() -> City {
        City::new(CityConfig { bins: 60, trucks: 4, dispatch: Dispatch::External, ..CityConfig::default() })
    }

    /// A plan with one stop at the first site, for the first truck, an hour from now.
    fn plan(city: &mut City) -> Value {
        let references = city.references();
        let first = |topic: &str, field: &str| references.iter().find(|e| e.topic == topic).map(|e| e.value[field].clone()).unwrap();
        let at_ms = city.now_ms() + 8 * 3_600_000;
        let stop = json!({"kind": "site", "site_id": first("ref.site", "site_id"), "container_ids": [], "arrives_at": at_ms});
        let route =
            json!({"vehicle_id": first("ref.vehicle", "vehicle_id"), "starts_at": at_ms - 3_600_000, "stops": [{"kind": "depot"}, stop, {"kind": "depot"}]});
        json!({"state": "accepted", "plan_id": "p", "planning_area_id": "a", "valid_to": at_ms + 36_000_000, "routes": [route]})
    }

    #[test]
    fn a_route_that_has_ended_sends_nobody_out_again() {
        let mut city = city();
        let mut plan = plan(&mut city);
        plan["routes"][0]["ends_at"] = json!(city.now_ms() + 1);
        assert_eq!(routes(&plan, city.now_ms()).len(), 1);
        assert_eq!(routes(&plan, city.now_ms() + 1).len(), 0);
    }

    #[test]
    fn a_city_obeys_and_after_a_restart_does_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, day_ms) = (city(), 24 * 3_600_000);
        let start_ms = first.now_ms();
        let (send, fresh) = sync_channel(4);
        let mut orders = Orders::open(dir.path(), fresh).unwrap();
        let mut events = first.advance(start_ms + 3_600_000);
        let plan = plan(&mut first);
        send.send(json!({"state": "proposed", "routes": plan["routes"], "valid_to": plan["valid_to"]})).unwrap();
        send.send(plan).unwrap();
        orders.obey(&mut first).unwrap();
        assert_eq!(orders.counts, (1, 0), "what is only proposed is not driven");
        events.extend(first.advance(start_ms + day_ms));
        let collected = |events: &[ws_city::Event]| events.iter().filter(|e| e.topic == "collection.event").count();
        assert!(collected(&events) > 0);

        let mut second = city();
        let (_send, fresh) = sync_channel(4);
        let mut orders = Orders::open(dir.path(), fresh).unwrap();
        assert_eq!(orders.next_again_ms(), Some(start_ms + 3_600_000));
        let mut again = second.advance(start_ms + 3_600_000);
        second.references();
        orders.obey(&mut second).unwrap();
        again.extend(second.advance(start_ms + day_ms));
        assert_eq!(again.len(), events.len());
        assert!(again.iter().zip(&events).all(|(a, b)| a.value == b.value), "the same life");
    }
}
