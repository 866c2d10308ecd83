//! Serves the page over invented bins, for work on the page itself: `cargo run -p ws-api --example page_fixture [PORT]`.
//! Values change every second; nothing here is a model of anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

mod plans;
mod risks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use ws_api::status::{CommitStatus, ModelStatus, ModelsStatus, PipelineStatus, Readiness, RungStatus, SourceStatus, StageStatus};
use ws_api::{Api, Status};
use ws_views::{EmbeddedView, Outcome, PositionKey, Progress, Update, ViewStore, project};

const CENTRE: (f64, f64) = (52.26, 10.52);
const ZONES: [(&str, f64, f64); 6] =
    [("centre", 0.0, 0.0), ("north", 0.035, 0.005), ("east", 0.008, 0.065), ("south", -0.034, 0.012), ("west", -0.004, -0.066), ("harbour", 0.03, -0.058)];
const STREAMS: [&str; 5] = ["residual", "paper", "glass", "bio", "packaging"];

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
    fn spread(&mut self, width: f64) -> f64 {
        (self.unit() + self.unit() + self.unit() - 1.5) * width
    }
    fn pick(&mut self, below: usize) -> usize {
        (self.unit() * below as f64) as usize % below
    }
}

struct Bin {
    id: String,
    site: String,
    place: (f64, f64),
    level: f64,
    rate_per_h: f64,
    width: f64,
    health: &'static str,
    stream: &'static str,
    rung: &'static str,
}

struct Truck {
    id: String,
    place: (f64, f64),
    heading_deg: f64,
    status: &'static str,
    load: f64,
}

fn base(observed_ms: i64) -> Value {
    json!({"tenant": "demo", "event_id": "e", "observed_at": observed_ms, "sent_at": observed_ms, "received_at": observed_ms, "source": "fixture", "schema_version": 1})
}

fn with(mut record: Value, more: Value) -> Value {
    if let (Value::Object(record), Value::Object(more)) = (&mut record, more) {
        record.extend(more);
    }
    record
}

impl Bin {
    fn records(&self, now_ms: i64) -> Vec<(&'static str, Value)> {
        let silent_h = if self.health == "silent" { 31.5 } else { 0.2 };
        let observed_ms = now_ms - (silent_h * 3.6e6) as i64;
        let identity = json!({"device_id": self.id, "container_id": format!("c-{}", self.id), "site_id": self.site, "filling_level": self.level,
            "sensor_health": self.health, "latitude_deg": self.place.0, "longitude_deg": self.place.1, "corrected": false});
        let at = |hours: f64, side: f64| (self.level + self.rate_per_h * hours * (1.0 + side * self.width)).clamp(self.level, 1.2);
        let to_full = |side: f64| ((1.0 - self.level).max(0.0) / (self.rate_per_h * (1.0 - side * self.width))).min(240.0);
        let features = json!({"level_flag": "ok", "rate_6h_per_h": self.rate_per_h * 1.2, "rate_24h_per_h": self.rate_per_h, "rate_72h_per_h": self.rate_per_h * 0.95,
            "rate_7d_per_h": self.rate_per_h * 0.9, "rate_since_emptied_per_h": self.rate_per_h, "hours_since_emptied": self.level / self.rate_per_h, "readings_24h": 95.0,
            "silent_h": silent_h, "temperature_degc": if self.health == "hot" { 78.5 } else { 14.2 }, "battery_v": if self.health == "low_battery" { 2.9 } else { 3.6 },
            "capacity_l": 1100.0, "waste_stream": self.stream, "hours_to_visit": 18.0, "hot": self.health == "hot", "silent": self.health == "silent"});
        let forecast = json!({"prediction_id": format!("bin-fill/forecast/0/{}", self.id), "rung": self.rung,
            "model_version": if self.rung == "heuristic" { "heuristic-1" } else { "fill-20261122-7f3a" }, "feature_hash": "9c41b7e0d2f85a13", "age_ms": 140,
            "level_6h_p10": at(6.0, -1.0), "level_6h_p50": at(6.0, 0.0), "level_6h_p90": at(6.0, 1.0),
            "level_24h_p10": at(24.0, -1.0), "level_24h_p50": at(24.0, 0.0), "level_24h_p90": at(24.0, 1.0),
            "level_48h_p10": at(48.0, -1.0), "level_48h_p50": at(48.0, 0.0), "level_48h_p90": at(48.0, 1.0),
            "hours_to_full_p10": to_full(-1.0), "hours_to_full_p50": to_full(0.0), "hours_to_full_p90": to_full(1.0),
            "p_overflow": (self.level * 1.3 - 0.4).clamp(0.0, 1.0), "next_visit_at": now_ms + 64_800_000});
        vec![("bin.features", with(with(base(observed_ms), identity.clone()), features)), ("bin.forecast", with(with(base(now_ms), identity), forecast))]
    }

    fn alert(&self, now_ms: i64) -> Option<Value> {
        let (alert, severity, message) = match self.health {
            "hot" => ("fire", "critical", "78.5 °C and rising: fire suspected"),
            "silent" => ("silent", "warning", "no reading for 31 h; the forecast goes on without one"),
            "stuck" => ("stuck", "info", "the same value for 3 days"),
            "low_battery" => ("low_battery", "info", "2.9 V left"),
            _ if self.level >= 0.97 => ("overflow", "warning", "full before the next planned visit"),
            _ => return None,
        };
        let details = json!({"device_id": self.id, "container_id": format!("c-{}", self.id), "site_id": self.site, "alert": alert, "state": "raised", "severity": severity,
            "message": message, "filling_level": self.level, "latitude_deg": self.place.0, "longitude_deg": self.place.1});
        Some(with(base(now_ms - 60_000 * i64::from(self.id.as_bytes()[self.id.len() - 1])), details))
    }
}

impl Truck {
    fn records(&self, now_ms: i64) -> Vec<(&'static str, Value)> {
        let moving = self.status == "driving";
        let position = json!({"vehicle_id": self.id, "latitude_deg": self.place.0, "longitude_deg": self.place.1, "speed_mps": if moving { 8.3 } else { 0.0 }, "heading_deg": self.heading_deg});
        let status = json!({"vehicle_id": self.id, "status": self.status, "load_level": self.load, "load_kg": self.load * 9800.0, "waste_stream": "residual"});
        vec![("vehicle.position", with(base(now_ms), position)), ("vehicle.status", with(base(now_ms), status))]
    }
}

struct FakeStatus {
    seconds: AtomicU64,
}

impl Status for FakeStatus {
    fn pipeline(&self) -> PipelineStatus {
        let seconds = self.seconds.load(Ordering::Relaxed);
        let events = 1_204_311 + seconds * 2_140;
        let stage = |id: &str, kind: &str, rows_in: u64, filtered: u64, late: u64, dead: u64, pending: u64| StageStatus {
            id: id.into(),
            kind: kind.into(),
            rows_in,
            filtered,
            late,
            dead,
            pending,
            emitted: rows_in - filtered - late - dead - pending,
            ..Default::default()
        };
        PipelineStatus {
            lag_p99_ms: Some(900),
            outputs: Vec::new(),
            topology: "bin-fill".into(),
            started_ms: Some(now_ms() - 600_000),
            watermark_ms: Some(now_ms() - 1_900),
            events_total: events,
            events_per_s: Some(2_140.0 + (seconds % 7) as f64 * 31.0),
            lag_ms: Some(800 + (seconds % 5) * 170),
            lag_rows: Some(1_800),
            forecasts_total: 408_112 + seconds * 690,
            forecasts_per_s: Some(690.0),
            late_total: 1_207,
            dead_total: 38,
            stages: vec![
                stage("readings", "source", events, 0, 1_207, 31, 0),
                stage("sane", "select", events - 1_238, 0, 0, 7, 0),
                stage("placed", "join", events - 1_245, 12, 0, 0, 0),
                stage("trend", "window", events - 1_257, 0, 0, 0, 0),
                stage("forecast", "infer", 408_150 + seconds * 690, 0, 0, 0, 38),
            ],
            sources: (0..4)
                .map(|partition| SourceStatus {
                    topic: "bin.telemetry".into(),
                    partition,
                    next_offset: 300_000,
                    end_offset: Some(300_450),
                    watermark_ms: Some(now_ms() - 1_900),
                })
                .collect(),
            rungs: vec![
                RungStatus { rung: "model".into(), answers: 391_000 + seconds * 650, p99_ms: Some(3.1) },
                RungStatus { rung: "cached".into(), answers: 11_012 + seconds * 25, p99_ms: Some(0.1) },
                RungStatus { rung: "heuristic".into(), answers: 6_100 + seconds * 15, p99_ms: Some(0.2) },
            ],
            model: Some(ModelStatus {
                name: "fill-forecast".into(),
                version: Some("fill-20261122-7f3a".into()),
                state: "ready".into(),
                trained_ms: Some(now_ms() - 3_600_000),
            }),
            commits: CommitStatus {
                committed: 5_980 + seconds * 10,
                aborted: 2,
                resolved: 1,
                p50_ms: Some(5.8),
                p99_ms: Some(21.4),
                last_ms: Some(now_ms() - 40),
            },
        }
    }

    fn pipelines(&self) -> Vec<PipelineStatus> {
        risks::topologies(&self.pipeline())
    }

    fn models(&self) -> ModelsStatus {
        risks::models()
    }

    fn readiness(&self) -> Readiness {
        Readiness::ready()
    }
}

fn invent(dice: &mut Dice) -> (Vec<Bin>, Vec<Truck>, Vec<(&'static str, Value)>) {
    let (mut bins, mut places) = (Vec::new(), Vec::new());
    for site in 0..210 {
        let (zone, north, east) = ZONES[dice.pick(ZONES.len())];
        let place = (CENTRE.0 + north + dice.spread(0.024), CENTRE.1 + east + dice.spread(0.04));
        let site_id = format!("site-{site:03}");
        places.push((
            "ref.site",
            with(base(1), json!({"site_id": site_id, "name": format!("Site {site}"), "zone_id": zone, "latitude_deg": place.0, "longitude_deg": place.1})),
        ));
        for number in 0..=dice.pick(5) {
            let health = match dice.pick(100) {
                0 if site < 150 => "hot",
                1..=5 => "silent",
                6 => "stuck",
                7 | 8 => "low_battery",
                _ => "ok",
            };
            let rung = if dice.pick(20) == 0 {
                "heuristic"
            } else if dice.pick(20) == 0 {
                "cached"
            } else {
                "model"
            };
            bins.push(Bin {
                id: format!("bin-{site:03}-{number}"),
                site: site_id.clone(),
                place,
                level: dice.unit().powf(1.2),
                rate_per_h: 0.004 + dice.unit().powi(3) * 0.05,
                width: 0.12 + dice.unit() * 0.7,
                health,
                stream: STREAMS[number % STREAMS.len()],
                rung,
            });
        }
    }
    let facilities = [
        ("depot", "Depot North", 0.05, 0.03),
        ("depot", "Depot West", -0.012, -0.1),
        ("depot", "Depot South", -0.055, 0.05),
        ("disposal", "Incinerator", 0.048, -0.085),
        ("disposal", "Transfer station", -0.05, -0.045),
    ];
    for (number, (kind, name, north, east)) in facilities.into_iter().enumerate() {
        places.push((
            "ref.facility",
            with(
                base(1),
                json!({"facility_id": format!("f{number}"), "kind": kind, "name": name, "latitude_deg": CENTRE.0 + north, "longitude_deg": CENTRE.1 + east}),
            ),
        ));
    }
    let trucks = (0..24)
        .map(|number| Truck {
            id: format!("truck-{number:02}"),
            place: (CENTRE.0 + dice.spread(0.07), CENTRE.1 + dice.spread(0.12)),
            heading_deg: dice.unit() * 360.0,
            status: ["driving", "driving", "collecting", "disposing", "on_break"][dice.pick(5)],
            load: dice.unit(),
        })
        .collect();
    (bins, trucks, places)
}

fn updates(records: &[(&'static str, Value)]) -> Vec<Update> {
    records.iter().flat_map(|(topic, value)| project(topic, b"", value).unwrap()).collect()
}

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8980);
    let folder = tempfile::tempdir().unwrap();
    let mut store = EmbeddedView::open(folder.path()).unwrap();
    let mut dice = Dice(42);
    let (mut bins, mut trucks, places) = invent(&mut dice);
    println!("{} bins, {} trucks", bins.len(), trucks.len());

    let status = Arc::new(FakeStatus { seconds: AtomicU64::new(0) });
    let stop = Arc::new(tokio::sync::Notify::new());
    let stopping = Arc::clone(&stop);
    let api = Api::new(Arc::new(store.clone()), Arc::clone(&status) as Arc<dyn Status>)
        .metrics(|| "fixture_up 1\n".into())
        .on_shutdown(move || stopping.notify_one())
        // Nobody plans here: decisions are printed, and nothing comes of them.
        .decisions(Arc::new(|area, event| {
            println!("{area}: {event}");
            Ok(())
        }));
    let changes = api.changes();

    std::thread::spawn(move || {
        let source = PositionKey { cluster_id: "fixture".into(), topic: "bin.forecast".into(), topic_id: "t1".into(), partition: 0 };
        let mut offset = 0;
        let mut apply = |records: &[(&'static str, Value)]| {
            offset += records.len() as i64;
            let progress = Progress { watermark_ms: Some(now_ms() - 1_900), observed_ms: Some(now_ms() - 400), applied_ms: now_ms() };
            match store.apply(&source, 1, offset, progress, updates(records)).unwrap() {
                Outcome::Applied(applied) => changes.publish(&applied.changed),
                other => panic!("{other:?}"),
            }
        };
        apply(&places);
        let all: Vec<_> = bins.iter().flat_map(|bin| bin.records(now_ms()).into_iter().chain(bin.alert(now_ms()).map(|alert| ("bin.alert", alert)))).collect();
        apply(&all);
        let fleet: Vec<String> = trucks.iter().map(|truck| truck.id.clone()).collect();
        apply(&risks::records(&mut dice, &fleet));
        let number = |record: &Value, name: &str| record[name].as_f64().unwrap_or(0.0);
        let sites: Vec<plans::Site> = places
            .iter()
            .filter(|(topic, _)| *topic == "ref.site")
            .map(|(_, site)| (site["site_id"].as_str().unwrap().to_owned(), number(site, "latitude_deg"), number(site, "longitude_deg")))
            .collect();
        apply(&plans::records(&mut dice, &sites, &fleet));
        loop {
            for truck in &mut trucks {
                if truck.status == "driving" {
                    let heading = truck.heading_deg.to_radians();
                    truck.place.0 += heading.cos() * 0.00012;
                    truck.place.1 += heading.sin() * 0.0002;
                    truck.heading_deg = (truck.heading_deg + dice.spread(14.0)).rem_euclid(360.0);
                }
            }
            let mut records: Vec<_> = trucks.iter().flat_map(|truck| truck.records(now_ms())).collect();
            for _ in 0..30 {
                let chosen = dice.pick(bins.len());
                let bin = &mut bins[chosen];
                bin.level = if bin.level > 1.02 { 0.03 } else { bin.level + bin.rate_per_h * 0.1 };
                records.extend(bin.records(now_ms()));
            }
            apply(&records);
            status.seconds.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(1));
        }
    });

    let listener = ws_api::bind(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap_or_else(|error| panic!("{error}: {}", error.hint()));
    println!("http://{}/", listener.local_addr().unwrap());
    api.serve(listener, async move { stop.notified().await }).await.unwrap();
}
