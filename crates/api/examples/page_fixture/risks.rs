//! Invented risks, scores and further topologies.

use serde_json::{Value, json};
use ws_api::status::{ModelStatus, ModelsStatus, OutputStatus, PipelineStatus, RungStatus};

use crate::{Dice, base, now_ms, with};

const WHY_LEAVE: [(&str, &str); 6] = [
    ("missed_90d", "4 missed collections in 90 days"),
    ("days_late", "the last invoice was paid 23 days late"),
    ("price_change_365d", "the price went up 12 % within a year"),
    ("contract_ends_days", "the contract ends in 40 days"),
    ("tickets_open", "2 complaints, one still open"),
    ("csat_last", "satisfaction 3 of 10"),
];
const WHY_FAIL: [(&str, &str); 5] = [
    ("vibration_z", "vibration is 40 % above its own mean of 30 days"),
    ("fault_codes_7d", "fault code P0128 came 6 times this week"),
    ("oil_temperature_trend", "oil temperature rises by 1.2 °C a day"),
    ("cranking_v_min", "the battery fell to 23.4 V at the last start"),
    ("hours_since_service", "1,480 engine hours since the last service"),
];
const PARTS: [&str; 5] = ["engine", "hydraulics", "brakes", "compactor", "battery"];

fn drivers(dice: &mut Dice, of: &[(&str, &str)]) -> Value {
    let first = dice.pick(of.len());
    let one = |n: usize| {
        let (feature, text) = of[(first + n) % of.len()];
        json!({"feature": feature, "contribution": ([1.3, 0.7, -0.3][n]), "text": text})
    };
    json!([one(0), one(1), one(2)])
}

/// Customers and parts with their risks.
pub fn records(dice: &mut Dice, trucks: &[String]) -> Vec<(&'static str, Value)> {
    let now_ms = now_ms();
    let mut records = Vec::new();
    for number in 0..180 {
        let risk = (0.94 * (-f64::from(number) / 26.0).exp() + dice.unit() * 0.01).min(1.0);
        let (band, intervention, arm) = match risk {
            _ if number % 9 == 4 => ("medium", "none", "holdout"),
            r if r > 0.5 => ("high", "call", "treated"),
            r if r > 0.2 => ("medium", "discount", "treated"),
            _ => ("low", "none", "none"),
        };
        let of = json!({"prediction_id": format!("churn/scored/{number}"), "customer_id": format!("customer-{:04}", 1_000 + dice.pick(9_000)), "risk": risk, "horizon_days": 90,
            "band": band, "drivers": drivers(dice, &WHY_LEAVE), "intervention": intervention, "arm": arm, "value_minor": 40_000 + dice.pick(900_000),
            "currency": "EUR", "expected_value_minor": if arm == "treated" { 2_000 + dice.pick(60_000) } else { 0 }, "rung": "model", "model_version": "churn-1f9b22",
            "feature_hash": "5e0a", "age_ms": 20});
        records.push(("customer.churn-risk", with(base(now_ms - 60_000 * dice.pick(300) as i64), of)));
    }
    for vehicle_id in trucks {
        for component in PARTS {
            let risk = dice.unit().powi(5);
            let action = match risk {
                r if r > 0.5 => Some("stop"),
                r if r > 0.2 => Some("schedule"),
                r if r > 0.05 => Some("inspect"),
                _ => None,
            };
            let left_h = 900.0 * (1.0 - risk) + 40.0;
            let of = json!({"prediction_id": format!("maintenance/{vehicle_id}/{component}"), "vehicle_id": vehicle_id, "component": component, "risk": risk, "horizon_days": 14,
                "remaining_life_h_p10": left_h * 0.5, "remaining_life_h_p50": left_h, "remaining_life_h_p90": left_h * 1.7, "drivers": drivers(dice, &WHY_FAIL),
                "action": action, "due_at": action.map(|_| now_ms + 90_000_000), "rung": "model", "model_version": "maintenance-77aa01", "feature_hash": "77", "age_ms": 20});
            records.push(("vehicle.maintenance-risk", with(base(now_ms - 60_000 * dice.pick(300) as i64), of)));
        }
    }
    records
}

/// Scores as a process that follows `prediction.outcome` would tell them.
pub fn models() -> ModelsStatus {
    let model = |name: &str, version: Option<&str>, state: &str| ModelStatus {
        name: name.into(),
        version: version.map(str::to_owned),
        state: state.into(),
        trained_ms: version.map(|_| now_ms() - 7_200_000),
    };
    let row = |topic: &str, target: &str, window: &str, rung: &str, version: &str, figures: Value| {
        let of = json!({"topic": topic, "target": target, "window": window, "rung": rung, "model_version": version});
        with(of, figures)
    };
    let level = |mae: f64, scored: u64| json!({"mae": mae, "baseline_mae": 0.0633, "bias": -0.006, "coverage": 0.783, "labelled": scored, "censored": 402, "expired": 31, "scored": scored});
    let chance = |brier: f64, constant: f64, n: u64| json!({"brier": brier, "baseline_brier": constant, "calibration_error": 0.018, "auc": 0.91, "base_rate": 0.071, "mean_said": 0.082, "labelled": n, "censored": 90, "expired": 4, "scored": n});
    let mut scores = Vec::new();
    for (window, times) in [("24h", 1), ("7d", 7), ("28d", 23)] {
        scores.push(row("bin.forecast", "level_24h", window, "all", "all", level(0.0412, 1_841 * times)));
        scores.push(row("bin.forecast", "level_24h", window, "model", "fill-20261122-7f3a", level(0.0398, 1_700 * times)));
        scores.push(row("bin.forecast", "level_24h", window, "heuristic", "heuristic-1", level(0.0571, 141 * times)));
        scores.push(row("bin.forecast", "overflow", window, "all", "all", chance(0.041, 0.066, 880 * times)));
        scores.push(row("customer.churn-risk", "churn", window, "all", "all", chance(0.061, 0.066, 31 * times)));
        scores.push(row("vehicle.maintenance-risk", "failure", window, "all", "all", chance(0.031, 0.029, 12 * times)));
    }
    let ended = |topic: &str, target: &str, counts: [u64; 3]| json!({"topic": topic, "target": target, "labelled": counts[0], "censored": counts[1], "expired": counts[2]});
    ModelsStatus {
        models: vec![
            model("fill-forecast", Some("fill-20261122-7f3a"), "ready"),
            model("churn-risk", Some("churn-1f9b22"), "ready"),
            model("maintenance-risk", None, "training"),
        ],
        scores,
        outcomes: vec![
            ended("bin.forecast", "level_24h", [58_410, 14_020, 1_311]),
            ended("bin.forecast", "overflow", [51_000, 20_000, 2_741]),
            ended("customer.churn-risk", "churn", [713, 44, 0]),
            ended("vehicle.maintenance-risk", "failure", [276, 31, 2]),
        ],
        newest_ms: Some(now_ms() - 240_000),
    }
}

/// Topologies beside the first one.
pub fn topologies(first: &PipelineStatus) -> Vec<PipelineStatus> {
    let of = |name: &str, events: u64, dead: u64, model: Option<(&str, Option<&str>, &str)>, outputs: &[(&str, u64)]| PipelineStatus {
        topology: name.into(),
        events_total: events,
        events_per_s: Some(events as f64 / 600.0),
        lag_ms: Some(120 + events % 900),
        lag_p99_ms: Some(2_100 + events % 700),
        forecasts_total: 0,
        forecasts_per_s: None,
        late_total: 0,
        dead_total: dead,
        outputs: outputs.iter().map(|(topic, rows)| OutputStatus { topic: (*topic).into(), rows: *rows }).collect(),
        rungs: vec![
            RungStatus { rung: "model".into(), answers: events / 9, p99_ms: Some(40.0) },
            RungStatus { rung: "heuristic".into(), answers: events / 80, p99_ms: Some(1.0) },
        ],
        model: model.map(|(name, version, state)| ModelStatus {
            name: name.into(),
            version: version.map(str::to_owned),
            state: state.into(),
            trained_ms: None,
        }),
        ..first.clone()
    };
    vec![
        PipelineStatus {
            outputs: [("bin.features", first.events_total - 1_257), ("bin.forecast", first.forecasts_total), ("bin.alert", 412)]
                .map(|(topic, rows)| OutputStatus { topic: topic.into(), rows })
                .to_vec(),
            lag_p99_ms: Some(2_350),
            ..first.clone()
        },
        of("traffic", 88_410, 0, None, &[("road.speed", 24_100)]),
        of("route", 51_207, 3, None, &[("route.plan", 43), ("route.change", 512), ("route.problem", 2)]),
        of("churn", 9_120, 0, Some(("churn-risk", Some("churn-1f9b22"), "ready")), &[("customer.features", 1_204), ("customer.churn-risk", 1_204)]),
        of("maintenance", 12_880, 1, Some(("maintenance-risk", None, "training")), &[("vehicle.features", 2_300), ("vehicle.maintenance-risk", 2_300)]),
        of("outcome", 402_000, 0, None, &[("prediction.outcome", 148_548)]),
    ]
}
