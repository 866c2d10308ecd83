//! How fast the city lives: `cargo run -p ws-city --example pace [HOURS]` prints the time to make it and to live, and
//! what it sent by topic.
#![allow(clippy::disallowed_methods)] // it measures

use std::collections::BTreeMap;
use std::time::Instant;
use ws_city::{City, CityConfig};

fn main() {
    let hours: i64 = std::env::args().nth(1).and_then(|hours| hours.parse().ok()).unwrap_or(48);
    let began = Instant::now();
    let mut city = City::new(CityConfig::default());
    println!("made in {:.2} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let mut topics: BTreeMap<&'static str, usize> = BTreeMap::new();
    for _ in 0..hours * 4 {
        for event in city.advance(city.now_ms() + 900_000) {
            *topics.entry(event.topic).or_default() += 1;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let events: usize = topics.values().sum();
    println!("{hours} h lived in {seconds:.2} s: {events} events, {:.0} a second", events as f64 / seconds);
    for (topic, count) in topics {
        println!("  {topic:<22} {count:>8}");
    }
}
