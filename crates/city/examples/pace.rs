//! How fast the city lives: `cargo run -p ws-city --example pace [HOURS [FILE]]` prints the time to make it and to live,
//! and what it sent by topic; with a file, it writes the city's streets there first.
#![allow(clippy::disallowed_methods)] // it measures

use std::collections::BTreeMap;
use std::time::Instant;
use ws_city::{City, CityConfig};

fn main() -> std::io::Result<()> {
    let hours: i64 = std::env::args().nth(1).and_then(|hours| hours.parse().ok()).unwrap_or(48);
    let began = Instant::now();
    let mut city = City::new(CityConfig::default());
    println!("made in {:.2} s, {} segments of streets", began.elapsed().as_secs_f64(), city.roads().segments());
    if let Some(file) = std::env::args().nth(2) {
        ws_routing::roads::write(city.roads(), std::io::BufWriter::new(std::fs::File::create(file)?))?;
    }
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
    Ok(())
}
