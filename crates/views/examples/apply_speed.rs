//! How many updates a view takes a second: `cargo run -p ws-views --example apply_speed [redis://…]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

use std::time::Instant;

use serde_json::json;
use ws_views::{EmbeddedView, PositionKey, Progress, RedisView, RedisViewOptions, ViewStore, project};

const BINS: usize = 2_000;
const BATCH_ROWS: usize = 500;
const BATCHES: usize = 200;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let mut view: Box<dyn ViewStore> = match std::env::args().nth(1) {
        Some(url) => Box::new(RedisView::connect(&RedisViewOptions::new(url)).unwrap()),
        None => Box::new(EmbeddedView::open(folder.path()).unwrap()),
    };
    let source = PositionKey { cluster_id: "c".into(), topic: "bin.features".into(), topic_id: "t".into(), partition: 0 };
    let started = Instant::now();
    for batch in 0..BATCHES {
        let updates = (0..BATCH_ROWS)
            .flat_map(|row| {
                let n = batch * BATCH_ROWS + row;
                let id = format!("bin-{}", n % BINS);
                let record = json!({"tenant": "demo", "device_id": id, "observed_at": n, "container_id": "c-1", "site_id": "s-1", "filling_level": 0.4, "rate_6h_per_h": 0.01,
                    "rate_24h_per_h": 0.01, "rate_72h_per_h": 0.01, "hours_since_emptied": 20.0, "latitude_deg": 52.0 + (n % BINS) as f64 * 1e-4, "longitude_deg": 10.0, "sensor_health": "ok"});
                project("bin.features", b"", &record).unwrap()
            })
            .collect();
        let progress = Progress { watermark_ms: None, observed_ms: Some(1), applied_ms: 1 };
        view.apply(&source, 1, ((batch + 1) * BATCH_ROWS) as i64, progress, updates).unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{:.0} updates/s, {:.1} ms per batch of {BATCH_ROWS}", (BATCHES * BATCH_ROWS) as f64 / seconds, seconds * 1e3 / BATCHES as f64);
}
