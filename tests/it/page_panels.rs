//! The page's panels over records made for them, in a real headless browser: several topologies, risks, live accuracy. What
//! comes from data is text, whatever it looks like; everything can be reached by keyboard, on narrow screens too.

use std::time::Duration;

use serde_json::{Value, json};
use ws_api::status::{ModelStatus, ModelsStatus, OutputStatus, PipelineStatus, RungStatus, StageStatus};

use crate::page::pictures;
use crate::support::cdp::Page;
use crate::support::made::{Made, Told};

const SOON: Duration = Duration::from_secs(20);
const WIDE: (u32, u32) = (1400, 900);
const NARROW: (u32, u32) = (390, 844);
/// Looks like markup, and is the name of a customer.
pub const HOSTILE: &str = "<img src=x onerror=document.title='owned'>";

/// A page on a served view, alive.
pub fn opened(made: &Made, hash: &str) -> Option<Page> {
    let mut page = Page::open("about:blank", WIDE)?;
    page.go(&format!("{}/{hash}", made.url));
    page.wait("document.body?.dataset.ready === 'yes' && document.body.dataset.connection === 'live'", SOON);
    Some(page)
}

/// Nothing was complained about, nobody else was asked, no markup came to life; and a narrow window needs no sideways scrolling.
pub fn well_behaved(page: &mut Page, made: &Made) {
    page.resize(NARROW);
    std::thread::sleep(Duration::from_millis(400));
    assert!(page.value("document.documentElement.scrollWidth <= window.innerWidth") == true, "wider than the window");
    assert_eq!(page.value("document.title"), "wastestream", "markup from data came to life");
    assert!(page.complaints.is_empty(), "{:#?}", page.complaints);
    let foreign: Vec<&String> = page.asked.iter().filter(|url| !url.starts_with(&made.url) && *url != "about:blank" && !url.starts_with("data:")).collect();
    assert!(foreign.is_empty(), "the page asks others: {foreign:?}");
}

fn topology(name: &str, events: u64, dead: u64, outputs: &[(&str, u64)]) -> PipelineStatus {
    PipelineStatus {
        topology: name.into(),
        events_total: events,
        events_per_s: Some(12.0),
        lag_ms: Some(events),
        dead_total: dead,
        stages: vec![StageStatus { id: format!("{name}-in"), kind: "source".into(), rows_in: events, emitted: events - dead, dead, ..Default::default() }],
        outputs: outputs.iter().map(|(topic, rows)| OutputStatus { topic: (*topic).into(), rows: *rows }).collect(),
        rungs: vec![RungStatus { rung: "model".into(), answers: 3, p99_ms: None }, RungStatus { rung: "heuristic".into(), answers: 1, p99_ms: None }],
        ..Default::default()
    }
}

#[test]
fn each_topology_has_a_line_and_can_be_chosen() {
    let told = Told {
        pipelines: vec![
            topology("bin-fill", 2_000, 0, &[("bin.features", 1_990), ("bin.forecast", 1_980)]),
            topology("churn", 70_500, 4, &[("customer.churn-risk", 60)]),
        ],
        waiting: vec!["churn: 1 of 4 tasks restored".into()],
        ..Default::default()
    };
    let made = Made::start(told, |api| api);
    let Some(mut page) = opened(&made, "") else { return };
    page.wait("document.querySelector('#h-lag').textContent === '2.0 s'", SOON);
    assert_eq!(page.text("#topology"), "bin-fill\nchurn", "both can be chosen");
    page.click("#stages-button");
    page.wait("document.querySelectorAll('#topology-rows tr').length === 2", SOON);
    let line = |name: &str| format!("#topology-rows tr[data-topology={name}]");
    let first = page.text(&line("bin-fill"));
    assert!(first.contains("bin.features 1\u{202f}990") && first.contains("bin.forecast 1\u{202f}980") && first.contains("ready"), "{first}");
    let second = page.text(&line("churn"));
    for part in ["customer.churn-risk 60", "4", "71 s", "75 %", "1 of 4 tasks restored"] {
        assert!(second.contains(part), "{part} is missing: {second}");
    }
    assert_eq!(page.text("#stage-rows th"), "bin-fill-in");

    // By keyboard: the line's name is a button, and keeps the focus while figures come in every second.
    page.value(&format!("document.querySelector('{} button').focus()", line("churn")));
    page.press("Enter");
    page.wait("document.querySelector('#stage-rows th').textContent === 'churn-in'", SOON);
    assert_eq!((page.text("#h-dead"), page.text("#h-lag")), ("4".into(), "71 s".into()), "the strip tells of the chosen one");
    made.tell(|told| told.pipelines[1].dead_total = 9);
    page.wait("document.querySelector('#h-dead').textContent === '9'", SOON);
    assert_eq!(page.value("document.activeElement.textContent"), "churn", "the focus stays");
    assert_eq!(page.value("document.querySelector('#topology').value"), "churn");
    page.picture(&pictures().join("topologies.png"));

    // The choice outlasts a reload.
    page.go("about:blank");
    page.go(&made.url);
    page.wait("document.querySelector('#h-dead')?.textContent === '9'", SOON);
    well_behaved(&mut page, &made);
}

fn customer(id: &str, risk: f64, band: &str, arm: &str, text: &str) -> Value {
    json!({"customer_id": id, "risk": risk, "horizon_days": 90, "band": band, "intervention": "call", "arm": arm, "value_minor": 480_000, "expected_value_minor": 31_200,
        "currency": "EUR", "rung": "model", "model_version": "churn-1", "prediction_id": "p",
        "drivers": [{"feature": "missed_90d", "contribution": 1.2, "text": text}, {"feature": "days_late", "contribution": -0.3, "text": "pays on time"}]})
}

fn part(vehicle: &str, component: &str, risk: f64, action: Value) -> Value {
    json!({"vehicle_id": vehicle, "component": component, "risk": risk, "horizon_days": 14, "remaining_life_h_p50": 212.0, "action": action, "due_at": 1_772_600_400_000_i64,
        "drivers": [{"feature": "vibration_z", "contribution": 0.9, "text": "vibration is 40 % above its own mean"}], "rung": "heuristic", "model_version": "rule-1"})
}

#[test]
fn risks_tell_how_likely_why_and_what_to_do() {
    let mut made = Made::start(Told { pipelines: vec![topology("churn", 10, 0, &[])], ..Default::default() }, |api| api);
    made.put("customer.churn-risk", 60_000, customer("cust-7", 0.31, "medium", "treated", "4 missed collections"));
    made.put("customer.churn-risk", 60_000, customer("cust-8", 0.72, "high", "holdout", "price went up 12 %"));
    made.put("customer.churn-risk", 60_000, customer(HOSTILE, 0.004, "low", "none", "<b>nothing</b>"));
    made.put("vehicle.maintenance-risk", 60_000, part("truck-1", "brakes", 0.64, json!("stop")));
    made.put("vehicle.maintenance-risk", 60_000, part("truck-2", "engine", 0.02, Value::Null));
    let Some(mut page) = opened(&made, "") else { return };

    // Arrow keys lead along the tabs.
    page.click("#tab-trucks");
    page.press("ArrowRight");
    page.wait("!document.querySelector('#panel-routes').hidden", SOON);
    page.press("ArrowRight");
    page.wait("!document.querySelector('#panel-risks').hidden", SOON);
    page.wait("document.querySelectorAll('#customer-rows .row').length === 3", SOON);
    let names = page.value("[...document.querySelectorAll('#customer-rows .name')].map((e) => e.textContent)");
    assert_eq!(names, json!(["cust-8", "cust-7", HOSTILE]), "the highest first, as text");
    let row = |n: u32| format!("#customer-rows li:nth-child({n})");
    let first = page.text(&row(1));
    assert!(first.contains("72 %") && first.contains("holdout") && first.contains("price went up 12 %"), "{first}");
    assert!(!first.contains("Call"), "who is held out is not to be called: {first}");
    let second = page.text(&row(2));
    assert!(second.contains("31 %") && second.contains("Call them") && second.contains("€312") && second.contains("4 missed collections"), "{second}");
    assert!(page.text(&row(3)).contains("0.4 %") && page.text(&row(3)).contains("<b>nothing</b>"));
    let width = page.value("document.querySelector('#customer-rows .fill').style.width");
    assert_eq!(width, "72%", "the bar says the same as the number");
    assert!(page.text("#risk-note").contains("All 3: 1 high, 1 medium, 1 in the holdout"), "{}", page.text("#risk-note"));

    // A row opens by keyboard and tells the rest.
    page.value("document.querySelector('#customer-rows li:nth-child(2) button').focus()");
    page.press("Enter");
    page.wait("document.querySelector('#customer-rows li:nth-child(2) button').getAttribute('aria-expanded') === 'true'", SOON);
    let more = page.text(&format!("{} .row-more", row(2)));
    for wanted in ["pays on time", "€4,800", "90 days", "model · churn-1"] {
        assert!(more.contains(wanted), "{wanted} is missing: {more}");
    }

    // A new risk is told by the event stream, long before the list would be asked again.
    made.put("customer.churn-risk", 1_000, customer("cust-7", 0.93, "high", "treated", "gave a 1 of 10"));
    page.wait("document.querySelector('#customer-rows')?.innerText.includes('93 %')", Duration::from_secs(8));
    page.wait("document.querySelector('#customer-rows')?.innerText.includes('gave a 1 of 10')", SOON);
    page.picture(&pictures().join("risks.png"));

    page.click("#show-parts");
    page.wait("document.querySelectorAll('#part-rows .row').length === 2", SOON);
    let first = page.text("#part-rows li:nth-child(1)");
    for wanted in ["truck-1 · brakes", "64 %", "Take it off the road by Wed 04 Mar 05:00", "vibration is 40 % above its own mean"] {
        assert!(first.contains(wanted), "{wanted} is missing: {first}");
    }
    assert!(page.text("#part-rows li:nth-child(2)").contains("Nothing suggested"));
    assert_eq!(page.number_of("#part-rows img, #customer-rows img, #customer-rows b"), 0);
    well_behaved(&mut page, &made);
}

fn score(topic: &str, target: &str, window: &str, rung: &str, figures: Value) -> Value {
    let mut score = json!({"topic": topic, "target": target, "window": window, "rung": rung, "model_version": if rung == "all" { "all" } else { "v-1" },
        "labelled": 40, "censored": 7, "expired": 1, "scored": 39});
    if let (Value::Object(score), Value::Object(figures)) = (&mut score, figures) {
        score.extend(figures);
    }
    score
}

#[test]
fn accuracy_stands_beside_its_baseline_and_all_predictions_are_accounted_for() {
    let level = |mae: f64| json!({"mae": mae, "baseline_mae": 0.063, "bias": -0.012, "coverage": 0.66});
    let models = ModelsStatus {
        models: vec![
            ModelStatus { name: "fill-forecast".into(), version: Some("fill-1".into()), state: "ready".into(), trained_ms: None },
            ModelStatus { name: "churn-risk".into(), version: None, state: "training".into(), trained_ms: None },
        ],
        scores: vec![
            score("bin.forecast", "level_24h", "24h", "all", level(0.041)),
            score("bin.forecast", "level_24h", "24h", "heuristic", level(0.055)),
            score("bin.forecast", "level_24h", "7d", "all", level(0.071)),
            score(
                "customer.churn-risk",
                "churn",
                "24h",
                "all",
                json!({"brier": 0.081, "baseline_brier": 0.070, "calibration_error": 0.031, "auc": null, "base_rate": 0.1, "mean_said": 0.2}),
            ),
        ],
        outcomes: vec![
            json!({"topic": "bin.forecast", "target": "level_24h", "labelled": 1_400, "censored": 70, "expired": 31}),
            json!({"topic": "customer.churn-risk", "target": "churn", "labelled": 31, "censored": 4, "expired": 0}),
        ],
        newest_ms: None,
    };
    let made = Made::start(Told { pipelines: vec![topology("bin-fill", 10, 0, &[])], models, ..Default::default() }, |api| api);
    let Some(mut page) = opened(&made, "#accuracy") else { return };
    page.wait("document.querySelectorAll('#scores section').length === 2", SOON);
    let models = page.text("#model-rows");
    assert!(models.contains("fill-1") && models.contains("no version yet: rules answer") && models.contains("training"), "{models}");

    let card = "#scores section[data-target=level_24h]";
    let text = page.text(card);
    for wanted in ["4.1", "naive 6.3: better", "−1.2", "says too little", "66 %", "wanted 80 %", "39", "of 40 labelled"] {
        assert!(text.contains(wanted), "{wanted} is missing: {text}");
    }
    assert!(text.contains("1\u{202f}400 labelled + 70 censored + 31 expired = 1\u{202f}501 ended"), "{text}");
    let added = page.value(
        "[...document.querySelectorAll('#scores section')].every((card) => [...card.querySelectorAll('[data-count]')]
           .reduce((sum, e) => sum + Number(e.dataset.count), 0) === Number(card.querySelector('[data-total]').dataset.total))",
    );
    assert_eq!(added, true, "every prediction ended once");
    let churn = page.text("#scores section[data-target=churn]");
    for wanted in ["0.081", "constant 0.070: worse", "needs 10 of each", "said 20 %"] {
        assert!(churn.contains(wanted), "{wanted} is missing: {churn}");
    }

    page.click(&format!("{card} summary"));
    page.wait("document.querySelector('#scores .versions tbody tr')?.innerText.includes('heuristic')", SOON);
    page.picture(&pictures().join("accuracy.png"));
    // Another window, by keyboard: other figures, and the opened part stays open.
    page.value("document.querySelector('#windows button:nth-child(2)').focus()");
    page.press("Enter");
    page.wait("document.querySelector('#scores section').innerText.includes('naive 6.3: worse')", SOON);
    assert!(page.text("#scores section[data-target=churn]").contains("Nothing ended in the last 7 days"));
    assert_eq!(page.value("document.querySelector('#windows button:nth-child(2)').getAttribute('aria-pressed')"), "true");
    well_behaved(&mut page, &made);
}

#[test]
fn empty_lists_say_so() {
    let made = Made::start(Told { pipelines: vec![topology("bin-fill", 10, 0, &[])], ..Default::default() }, |api| api);
    let Some(mut page) = opened(&made, "#risks") else { return };
    page.wait("document.querySelector('#customer-rows').innerText.includes('No customer has been scored yet')", SOON);
    page.click("#tab-accuracy");
    page.wait("document.querySelector('#accuracy-note').innerText.includes('No prediction has ended yet')", SOON);
    well_behaved(&mut page, &made);
}
