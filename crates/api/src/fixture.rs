//! A small view and status for the handlers' tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use ws_views::{EmbeddedView, Outcome, PositionKey, Progress, ViewKey, ViewStore, project};

use crate::status::{ModelsStatus, PipelineStatus, Readiness, RungStatus, StageStatus};
use crate::{Api, Status};

/// Event clock of the fixture.
pub(crate) const NOW_MS: i64 = 1_700_000_100_000;
pub(crate) const OBSERVED_MS: i64 = NOW_MS - 2_500;

pub(crate) struct FakeStatus {
    pub(crate) readiness: Mutex<Readiness>,
}

impl Status for FakeStatus {
    fn pipeline(&self) -> PipelineStatus {
        PipelineStatus {
            topology: "bin-fill".into(),
            events_total: 1_000,
            late_total: 3,
            dead_total: 2,
            stages: vec![StageStatus { id: "sane".into(), rows_in: 10, emitted: 8, dead: 2, ..Default::default() }],
            rungs: vec![RungStatus { rung: "model".into(), answers: 90, p99_ms: None }],
            ..Default::default()
        }
    }

    fn models(&self) -> ModelsStatus {
        let score = |window: &str, mae: f64| json!({"topic": "bin.forecast", "target": "level_24h", "window": window, "rung": "all", "model_version": "all", "mae": mae});
        ModelsStatus {
            scores: vec![score("24h", 0.04), score("7d", 0.05)],
            outcomes: vec![json!({"target": "level_24h", "labelled": 9})],
            newest_ms: Some(NOW_MS),
            models: Vec::new(),
        }
    }

    fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap().clone()
    }

    fn event_now_ms(&self) -> i64 {
        NOW_MS
    }
}

pub(crate) struct Fixture {
    pub(crate) store: EmbeddedView,
    pub(crate) status: Arc<FakeStatus>,
    offset: i64,
    _folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedView::open(folder.path()).unwrap();
        Self { store, status: Arc::new(FakeStatus { readiness: Mutex::new(Readiness::ready()) }), offset: 0, _folder: folder }
    }

    /// Five bins in a row to the east (the last without a place), two alerts, a truck, a site and a depot.
    pub(crate) fn filled() -> Self {
        let mut fixture = Self::empty();
        for number in 0..5 {
            let mut features = json!({"device_id": format!("d{number}"), "site_id": "s1", "filling_level": f64::from(number) * 0.2, "waste_stream": "glass", "sensor_health": "ok"});
            if number < 4 {
                features["latitude_deg"] = json!(48.1);
                features["longitude_deg"] = json!(11.5 + f64::from(number) * 0.1);
            }
            fixture.put("bin.features", features);
            fixture
                .put("bin.forecast", json!({"device_id": format!("d{number}"), "hours_to_full_p50": 40 - number * 10, "rung": "model", "model_version": "m1"}));
        }
        fixture.put("bin.alert", json!({"device_id": "d1", "alert": "fire", "state": "raised", "severity": "critical", "message": "hot"}));
        fixture.put("bin.alert", json!({"device_id": "d2", "alert": "silent", "state": "cleared"}));
        fixture.put("vehicle.position", json!({"vehicle_id": "v1", "latitude_deg": 48.2, "longitude_deg": 11.6, "heading_deg": 90.0}));
        fixture.put("ref.site", json!({"site_id": "s1", "name": "Market", "zone_id": "z1", "latitude_deg": 48.1, "longitude_deg": 11.5}));
        fixture.put("ref.facility", json!({"facility_id": "f1", "kind": "depot", "name": "North", "latitude_deg": 48.3, "longitude_deg": 11.5}));
        for (number, risk) in [0.1, 0.7, 0.3].into_iter().enumerate() {
            let drivers = json!([{"feature": "missed_90d", "contribution": 0.8, "text": "4 missed collections"}]);
            fixture.put(
                "customer.churn-risk",
                json!({"customer_id": format!("u{number}"), "risk": risk, "band": "high", "drivers": drivers, "intervention": "call", "rung": "heuristic"}),
            );
            let action = if risk > 0.6 { json!("stop") } else { json!(null) };
            let component = ["engine", "brakes", "battery"][number];
            fixture.put("vehicle.maintenance-risk", json!({"vehicle_id": "v1", "component": component, "risk": risk, "drivers": drivers, "action": action}));
        }
        fixture
    }

    /// Applies one record and returns what changed.
    pub(crate) fn put(&mut self, topic: &str, record: Value) -> Vec<ViewKey> {
        self.put_at(topic, record, OBSERVED_MS)
    }

    /// The same, for a record of another event time.
    pub(crate) fn put_at(&mut self, topic: &str, mut record: Value, observed_ms: i64) -> Vec<ViewKey> {
        record["tenant"] = json!("acme");
        record["observed_at"] = json!(observed_ms);
        self.offset += 1;
        let source = PositionKey { cluster_id: "c".into(), topic: "out".into(), topic_id: "t".into(), partition: 0 };
        let progress = Progress { watermark_ms: Some(OBSERVED_MS - 500), observed_ms: Some(OBSERVED_MS), applied_ms: OBSERVED_MS + 100 };
        match self.store.apply(&source, 1, self.offset, progress, project(topic, b"", &record).unwrap()).unwrap() {
            Outcome::Applied(applied) => applied.changed,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(Arc::new(self.store.clone()), Arc::clone(&self.status) as Arc<dyn Status>)
    }
}
