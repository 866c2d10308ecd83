//! The city as a producer: its events become records of the log. Where it is, is kept beside the log; after a kill,
//! the last moments are sent again and recognised by their event ids.

use super::orders::Orders;
use super::stopped;
use crate::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use ws_city::{City, CityConfig, Dispatch, Event};
use ws_log::registry::Registry;
use ws_stream::log::{Append, Log, TopicSpec};
use ws_stream::partition::partition_of;
use ws_stream::records::Appends;

/// Simulated time per append while catching up.
const BACKFILL_STEP_MS: i64 = 15 * 60_000;
/// Wall time per append when live.
const LIVE_STEP: Duration = Duration::from_millis(50);
/// The place is written this often, wall time.
const PLACE_EVERY: Duration = Duration::from_secs(1);

/// How fast simulated time goes.
pub struct Pace {
    /// Simulated seconds per second.
    pub speed: f64,
    /// When live time began.
    pub started: Instant,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Place {
    seed: u64,
    bins: usize,
    trucks: usize,
    start_ms: i64,
    sent_until_ms: i64,
    /// From when on trucks drive what plans say, UTC ms; never if none.
    #[serde(default)]
    plans_from_ms: Option<i64>,
}

/// The city and the log it writes to.
pub struct Producer {
    city: City,
    place: Place,
    file: PathBuf,
    registry: Arc<Registry>,
    partitions: u32,
    append: Box<dyn Append>,
    fresh: bool,
    orders: Orders,
}

impl Producer {
    /// Makes topics where missing, and brings the city to where it was when the folder was last used.
    pub fn open(data: &Path, config: CityConfig, log: &dyn Log, registry: Arc<Registry>, partitions: u32, orders: Orders) -> Result<Producer, Failure> {
        let names: Vec<String> = registry.subjects().filter_map(|s| s.strip_suffix("-value")).filter(|t| *t != "dlq").map(str::to_string).collect();
        let specs: Vec<_> = names.iter().map(|t| TopicSpec { name: t.as_str().into(), partitions, config: Vec::new() }).collect();
        log.admin()?.create(&specs)?;
        let file = data.join("city.json");
        let mut place = Place {
            seed: config.seed,
            bins: config.bins,
            trucks: config.trucks,
            start_ms: config.start_ms,
            sent_until_ms: config.start_ms,
            plans_from_ms: None,
        };
        let mut fresh = true;
        if let Ok(text) = std::fs::read(&file) {
            let old: Place = serde_json::from_slice(&text)?;
            if (old.seed, old.bins, old.trucks, old.start_ms) != (place.seed, place.bins, place.trucks, place.start_ms) {
                return Err(format!(
                    "{} holds a city of seed {} with {} bins and {} trucks; use these, or another --data folder",
                    data.display(),
                    old.seed,
                    old.bins,
                    old.trucks
                )
                .into());
            }
            place = old;
            fresh = false;
        }
        let until_ms = place.sent_until_ms;
        let mut producer = Producer { city: City::new(config), place, file, registry, partitions, append: log.appender()?, fresh, orders };
        // The same seed lives the same life, told the same: what was sent already is lived again and thrown away.
        while producer.city.now_ms() < until_ms {
            let next_ms = (producer.city.now_ms() + 3_600_000).min(until_ms);
            producer.live_until(next_ms)?;
        }
        Ok(producer)
    }

    /// Writes the city's streets as a map, if that was not done.
    pub fn write_roads(&self, file: &Path) -> Result<(), Failure> {
        if !file.exists() {
            let new = file.with_extension("new");
            let mut out = std::io::BufWriter::new(std::fs::File::create(&new)?);
            ws_routing::roads::write(self.city.roads(), &mut out)?;
            out.flush()?;
            std::fs::rename(new, file)?;
        }
        Ok(())
    }

    /// The city's time, UTC ms.
    pub fn now_ms(&self) -> i64 {
        self.city.now_ms()
    }

    /// Sends references and `hours` of history, if this is a fresh folder. Returns the events sent.
    pub fn backfill(&mut self, hours: i64, stop: &AtomicBool) -> Result<usize, Failure> {
        if !self.fresh {
            return Ok(0);
        }
        let references = self.city.references();
        let mut sent = references.len();
        self.send(&references)?;
        let end = self.place.start_ms + hours * 3_600_000;
        while self.city.now_ms() < end && !stopped(stop) {
            sent += self.advance((self.city.now_ms() + BACKFILL_STEP_MS).min(end))?;
        }
        self.keep_place()?;
        Ok(sent)
    }

    /// Lives on at the pace given until `stop`; tells its clock.
    pub fn live(&mut self, pace: Pace, stop: &AtomicBool, clock: &AtomicI64) -> Result<(), Failure> {
        let from = self.city.now_ms();
        let mut kept = Instant::now();
        while !stopped(stop) {
            let now = from + (pace.started.elapsed().as_secs_f64() * pace.speed * 1e3) as i64;
            if now > self.city.now_ms() {
                self.advance(now)?;
                clock.store(now, Ordering::Relaxed);
            }
            if kept.elapsed() >= PLACE_EVERY {
                kept = Instant::now();
                self.keep_place()?;
            }
            std::thread::sleep(LIVE_STEP);
        }
        self.keep_place()
    }

    /// Lets plans tell the trucks where to go, from now on.
    pub fn follow_plans(&mut self) -> Result<(), Failure> {
        if self.place.plans_from_ms.is_none() {
            self.place.plans_from_ms = Some(self.city.now_ms());
            self.keep_place()?;
        }
        Ok(())
    }

    /// The city's life up to a time, with what it is told on the way.
    fn live_until(&mut self, until_ms: i64) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        loop {
            if self.place.plans_from_ms.is_some_and(|from_ms| from_ms <= self.city.now_ms()) {
                if self.city.config().dispatch == Dispatch::Fixed {
                    self.city.end_rounds();
                }
                self.orders.obey(&mut self.city)?;
            }
            let turns = [self.place.plans_from_ms, self.orders.next_again_ms()];
            let next_ms = turns.into_iter().flatten().filter(|at_ms| *at_ms > self.city.now_ms()).fold(until_ms, i64::min);
            if self.city.now_ms() >= until_ms {
                return Ok(events);
            }
            events.extend(self.city.advance(next_ms));
        }
    }

    fn advance(&mut self, until_ms: i64) -> Result<usize, Failure> {
        let events = self.live_until(until_ms)?;
        self.send(&events)?;
        self.place.sent_until_ms = until_ms;
        Ok(events.len())
    }

    fn send(&mut self, events: &[Event]) -> Result<(), Failure> {
        let appends = encode(events, &self.registry, self.partitions)?;
        if !appends.is_empty() {
            self.append.append(&appends)?;
        }
        Ok(())
    }

    fn keep_place(&self) -> Result<(), Failure> {
        let tmp = self.file.with_extension("json.new");
        std::fs::write(&tmp, serde_json::to_vec(&self.place)?)?;
        Ok(std::fs::rename(tmp, &self.file)?)
    }
}

/// Events as records, by topic, each in the order given.
pub fn encode(events: &[Event], registry: &Registry, partitions: u32) -> Result<Vec<Appends>, Failure> {
    let mut by_topic: BTreeMap<&str, Appends> = BTreeMap::new();
    for e in events {
        let value = registry.encode_json_value(e.topic, &e.value)?;
        let appends = by_topic.entry(e.topic).or_insert_with(|| Appends::new(e.topic.into()));
        appends.push(partition_of(e.key.as_bytes(), partitions), e.received_at_ms, Some(e.key.as_bytes()), Some(&value), &[]);
    }
    Ok(by_topic.into_values().collect())
}
