//! Plans on the page, over records made for them, in a real headless browser: what is in force, what is proposed and why, what
//! was driven, and decisions: they reach the log as events, and one that comes too late is told to the person.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::page::pictures;
use crate::page_panels::{HOSTILE, opened, well_behaved};
use crate::support::cdp::Page;
use crate::support::made::{Made, NOW_MS, Told};

const SOON: Duration = Duration::from_secs(20);
const MINUTE_MS: i64 = 60_000;
/// 07:00 of the day, where the trucks drive.
const START_MS: i64 = NOW_MS - 120 * MINUTE_MS;
const PLAN: &str = "north-2026-03-02";

type Taken = Arc<Mutex<Vec<(String, Value)>>>;

/// A process whose decisions a test can read.
fn deciding() -> (Made, Taken) {
    let taken = Taken::default();
    let log = Arc::clone(&taken);
    let made = Made::start(Told::default(), move |api| {
        api.decisions(Arc::new(move |area: &str, event: &Value| {
            log.lock().expect("the log").push((area.to_owned(), event.clone()));
            Ok(())
        }))
    });
    (made, taken)
}

fn last(taken: &Taken) -> Value {
    taken.lock().expect("the log").last().map(|(_, event)| event.clone()).unwrap_or_default()
}

fn site(id: &str, minute: i64, locked: bool) -> Value {
    json!({"kind": "site", "site_id": id, "facility_id": null, "container_ids": [format!("c-{id}")], "arrives_at": START_MS + minute * MINUTE_MS,
        "leaves_at": START_MS + (minute + 3) * MINUTE_MS, "load_kg": 120.0, "locked": locked, "reason": "overflow_risk"})
}

fn route(vehicle: &str, sites: &[&str], locked: &str, driven: Value) -> Value {
    let depot = |minute: i64| json!({"kind": "depot", "site_id": null, "facility_id": "depot-1", "container_ids": [], "arrives_at": START_MS + minute * MINUTE_MS, "leaves_at": START_MS + minute * MINUTE_MS, "load_kg": 0.0, "locked": false, "reason": null});
    let mut stops = vec![depot(0)];
    stops.extend(sites.iter().enumerate().map(|(n, id)| site(id, 10 * (n as i64 + 1), *id == locked)));
    stops.push(depot(10 * (sites.len() as i64 + 1)));
    json!({"vehicle_id": vehicle, "shift_id": "shift-1", "start_facility_id": "depot-1", "end_facility_id": "depot-1", "starts_at": START_MS,
        "ends_at": START_MS + 10 * (sites.len() as i64 + 1) * MINUTE_MS, "distance_m": 9_000.0, "stops": stops, "driven": driven})
}

fn plan(version: i64, state: &str, distance_m: f64, duration_s: f64, routes: Value, skipped: Value) -> Value {
    json!({"planning_area_id": "north", "plan_id": PLAN, "plan_version": version, "state": state, "event_id": format!("p{version}{state}"), "valid_from": START_MS - 420 * MINUTE_MS,
        "valid_to": START_MS + 1_020 * MINUTE_MS, "time_zone": "Etc/UTC", "solver": "made", "seed": 1, "iterations": 10, "rung": "model", "cost_minor": 10_000, "currency": "EUR",
        "distance_m": distance_m, "duration_s": duration_s, "routes": routes, "skipped": skipped})
}

fn in_force() -> Value {
    let driven = json!({"stops_planned": 3, "stops_served": 2, "stops_late": 1, "stops_not_done": 1, "stops_extra": 0, "planned_m": 9_000.0, "driven_m": 5_400.0, "planned_s": 2_400.0, "driven_s": 1_500.0});
    let routes = json!([route("truck-1", &["s1", "s2", "s3"], "s2", driven), route("truck-2", &["s4", "s5"], "", Value::Null)]);
    plan(2, "accepted", 18_000.0, 7_200.0, routes, json!([{"site_id": "s6", "reason": "not_needed", "p_overflow": 0.012}]))
}

fn proposed(version: i64) -> Value {
    let routes = json!([route("truck-1", &["s1", "s2", "s6"], "s2", Value::Null), route("truck-2", &["s3", "s4"], "", Value::Null)]);
    plan(version, "proposed", 20_400.0, 6_480.0, routes, json!([{"site_id": "s5", "reason": "capacity", "p_overflow": 0.4}]))
}

/// Two trucks on six sites; version 2 is in force, version 3 proposed.
fn fill(made: &mut Made) {
    for (n, name) in ["Market", "Harbour", "School", "Baker", HOSTILE, "Mill"].into_iter().enumerate() {
        let n = n as f64;
        made.put("ref.site", 10 * MINUTE_MS, json!({"site_id": format!("s{}", n as i64 + 1), "name": name, "zone_id": "z1", "latitude_deg": 52.2 + (n % 3.0) * 0.02, "longitude_deg": 10.5 + n * 0.015}));
    }
    made.put(
        "ref.facility",
        10 * MINUTE_MS,
        json!({"facility_id": "depot-1", "kind": "depot", "name": "Depot", "latitude_deg": 52.25, "longitude_deg": 10.48}),
    );
    for truck in ["truck-1", "truck-2"] {
        made.put("vehicle.position", MINUTE_MS, json!({"vehicle_id": truck, "latitude_deg": 52.21, "longitude_deg": 10.51}));
    }
    made.put("route.plan", 9 * MINUTE_MS, in_force());
    // Reported since the plan was made: the first stop is done, the second was blocked.
    collected(made, "s1", "truck-1", "served", Value::Null);
    collected(made, "s2", "truck-1", "skipped", json!("blocked"));
    propose(made, MINUTE_MS, 3);
    made.put("route.problem", MINUTE_MS, json!({"planning_area_id": "north", "plan_id": PLAN, "plan_version": 3, "event_id": "x", "code": "unknown_site", "entity_kind": "ticket", "entity_id": "t-9", "detail": "ticket t-9 names a site that does not exist"}));
}

fn collected(made: &mut Made, site: &str, vehicle: &str, outcome: &str, reason: Value) {
    made.put(
        "collection.event",
        MINUTE_MS,
        json!({"site_id": site, "container_id": format!("c-{site}"), "vehicle_id": vehicle, "outcome": outcome, "reason": reason}),
    );
}

fn changes(version: i64) -> Vec<Value> {
    let of = |number: usize, what: Value| {
        let mut change = json!({"planning_area_id": "north", "plan_id": PLAN, "plan_version": version, "previous_plan_id": PLAN, "previous_plan_version": 2,
            "event_id": format!("route/planned/north/1/change-{version}-{number}"), "vehicle_id": null, "previous_vehicle_id": null, "site_id": null, "position": null, "previous_position": null});
        if let (Value::Object(change), Value::Object(what)) = (&mut change, what) {
            change.extend(what);
        }
        change
    };
    vec![
        of(0, json!({"change": "stop_added", "site_id": "s6", "vehicle_id": "truck-1", "position": 3, "reason": "ticket"})),
        of(1, json!({"change": "stop_removed", "site_id": "s5", "previous_vehicle_id": "truck-2", "previous_position": 2, "reason": "improved"})),
        of(
            2,
            json!({"change": "vehicle_changed", "site_id": "s3", "previous_vehicle_id": "truck-1", "vehicle_id": "truck-2", "position": 1, "previous_position": 3, "reason": "vehicle_down"}),
        ),
    ]
}

fn propose(made: &mut Made, ago_ms: i64, version: i64) {
    made.put("route.plan", ago_ms, proposed(version));
    for change in changes(version) {
        made.put("route.change", ago_ms, change);
    }
}

fn ready(made: &Made) -> Option<Page> {
    let mut page = opened(made, "#routes")?;
    page.wait("document.querySelectorAll('#route-rows > li').length === 2 && !document.querySelector('#accept').disabled", SOON);
    Some(page)
}

/// Pixels of the map that have the first truck's colour.
const BLUE: &str = "(() => { const c = document.querySelector('canvas.marks'); const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
    for (let i = 0; i < p.length; i += 4) if (p[i + 3] > 180 && Math.abs(p[i] - 31) < 26 && Math.abs(p[i + 1] - 92) < 26 && Math.abs(p[i + 2] - 153) < 26) n += 1; return n; })()";

#[test]
fn an_area_shows_its_plan_its_proposal_and_what_was_driven() {
    let (mut made, _) = deciding();
    fill(&mut made);
    let Some(mut page) = ready(&made) else { return };
    assert_eq!(page.text("#plan-count"), "1", "one proposal waits");
    let proposal = page.text(".proposal");
    for wanted in [
        "Proposed: version 3",
        "against version 2 in force",
        "+2.4 km",
        "−12 min",
        "1 added",
        "Mill",
        "truck-1, stop 3",
        "a ticket asks for it",
        "1 dropped",
        HOSTILE,
        "from truck-2",
        "no truck has room for it, overflow 40 %",
        "1 to another truck",
        "truck-1 → truck-2, stop 1",
        "a truck is out",
    ] {
        assert!(proposal.contains(wanted), "{wanted} is missing:\n{proposal}");
    }
    let first = page.text("#route-rows li[data-vehicle=truck-1]");
    for wanted in ["1 of 3 done · 1 missed · 1 to go", "25 min of 40 min", "1 late", "5.4 km", "of 9.0 km"] {
        assert!(first.contains(wanted), "{wanted} is missing: {first}");
    }
    assert!(page.text("#route-rows li[data-vehicle=truck-2]").contains("2 stops, not set out yet"));
    let figures = page.text(".plan-figures");
    for wanted in
        ["2 trucks · 5 stops · 18.0 km · 2 h 00 paid · €100", "1 of 5 done · 1 missed · 3 to go · 1 of 2 trucks out", "Driven by 07:31: 5.4 km of 9.0 km"]
    {
        assert!(figures.contains(wanted), "{wanted} is missing: {figures}");
    }
    assert_eq!(page.text(".left-out summary"), "1 site left out, and why");

    // The map: lines in the trucks' colours while routes are looked at, or when the legend says so.
    page.wait(&format!("{BLUE} > 150"), SOON);
    page.picture(&pictures().join("routes.png"));
    page.click("#tab-trucks");
    page.wait(&format!("{BLUE} < 100"), SOON);
    page.click("#show-routes");
    page.wait(&format!("{BLUE} > 150"), SOON);
    page.click("#show-routes");
    page.click("#tab-routes");

    // A route opens by keyboard: stops in order, at the area's time, with what is locked; the driver's manifest can be fetched.
    page.value("document.querySelector('#route-rows li[data-vehicle=truck-1] button').focus()");
    page.press("Enter");
    page.wait("document.querySelectorAll('#route-rows .stops .stop').length === 5", SOON);
    let stops = page.value("[...document.querySelectorAll('#route-rows .stops .name')].map((e) => e.textContent)");
    assert_eq!(stops, json!(["Depot", "Market", "Harbour", "School", "Depot"]));
    let second = page.text("#route-rows .stop[data-site=s2]");
    assert!(second.contains("locked") && second.contains("Unlock") && second.contains("missed") && second.contains("07:39 not emptied: blocked"), "{second}");
    let done = page.text("#route-rows .stop[data-site=s1]");
    assert!(done.contains("05:50") && done.contains("done 07:39") && !done.contains("Lock"), "what is done cannot be moved: {done}");
    // Another crew empties the third one: counted as it is reported, without a new plan.
    collected(&mut made, "s3", "truck-2", "served", Value::Null);
    page.wait("document.querySelector('#route-rows li[data-vehicle=truck-1]').innerText.includes('2 of 3 done · 1 missed')", SOON);
    assert!(page.text("#route-rows .stop[data-site=s3]").contains("done by truck-2 07:39"));
    for (format, kind) in [(".gpx", "application/gpx+xml"), (".geojson", "application/geo+json"), ("", "application/json")] {
        let link = format!("document.querySelector('.manifest a[href*=\"manifest{format}?\"]').href");
        let told = page.value(&format!("fetch({link}).then((r) => r.status + ' ' + r.headers.get('content-type'))"));
        assert_eq!(told, format!("200 {kind}"), "the manifest {format}");
    }
    page.picture(&pictures().join("route.png"));

    // The proposal's own routes.
    page.click("[data-key=which-proposal]");
    page.wait("document.querySelector('#route-rows .stop[data-site=s6]')", SOON);
    assert!(page.text("#routes-note").contains("version 3, proposed"));
    assert_eq!(page.number_of(".manifest"), 0, "a driver gets what is in force");
    assert_eq!(page.number_of("#panel-routes img"), 0, "names are text");
    well_behaved(&mut page, &made);
}

#[test]
fn decisions_reach_the_log_and_the_next_version_is_shown() {
    let (mut made, taken) = deciding();
    fill(&mut made);
    let Some(mut page) = ready(&made) else { return };
    page.value("(() => { const a = document.querySelector('#actor'); a.value = 'dana'; a.dispatchEvent(new Event('change')); })()");

    // A stop is locked where it is, and unlocked.
    page.click("#route-rows li[data-vehicle=truck-1] button");
    page.click("#route-rows .stop[data-site=s3] .stop-buttons button");
    page.wait("document.querySelector('#decision-told').innerText.startsWith('Locked')", SOON);
    let event = last(&taken);
    assert_eq!(
        (&event["decision"], &event["site_id"], &event["vehicle_id"], &event["plan_version"], &event["actor_id"]),
        (&json!("locked"), &json!("s3"), &json!("truck-1"), &json!(2), &json!("dana"))
    );
    page.click("#route-rows .stop[data-site=s2] .stop-buttons button");
    page.wait("document.querySelector('#decision-told').innerText.startsWith('Unlocked')", SOON);
    assert_eq!((&last(&taken)["decision"], &last(&taken)["site_id"]), (&json!("unlocked"), &json!("s2")));

    // A stop is moved behind another one of another truck, all by keyboard; Escape gives up.
    page.value("document.querySelector('#route-rows .stop[data-site=s3] [aria-label^=Move]').focus()");
    page.press("Enter");
    page.wait("document.activeElement.tagName === 'SELECT'", SOON);
    page.press("Escape");
    page.wait("!document.querySelector('form.move')", SOON);
    page.press("Enter");
    page.wait("document.querySelector('form.move')", SOON);
    page.value("(() => { const s = document.querySelector('form.move select'); s.value = 'truck-2'; s.dispatchEvent(new Event('change')); })()");
    page.value(
        "(() => { const s = document.querySelectorAll('form.move select')[1]; s.value = [...s.options].find((o) => o.text.includes('Baker')).value; })()",
    );
    page.click("form.move button[type=submit]");
    page.wait("document.querySelector('#decision-told').innerText.startsWith('Sent')", SOON);
    let event = last(&taken);
    assert_eq!(
        (&event["decision"], &event["site_id"], &event["vehicle_id"], &event["position"]),
        (&json!("edited"), &json!("s3"), &json!("truck-2"), &json!(2))
    );

    // The proposal is accepted; the planner answers, and the page shows it without being asked.
    page.value("(() => { const n = document.querySelector('#decision-note'); n.value = 'looks right'; document.querySelector('#accept').focus(); })()");
    page.press("Enter");
    page.wait("document.querySelector('#decision-told').innerText.startsWith('Accepted')", SOON);
    let event = last(&taken);
    assert_eq!(
        (&event["decision"], &event["plan_version"], &event["note"], &event["site_id"]),
        (&json!("accepted"), &json!(3), &json!("looks right"), &Value::Null)
    );
    let mut accepted = proposed(3);
    (accepted["state"], accepted["event_id"]) = (json!("accepted"), json!("p3a"));
    made.put("route.plan", 0, accepted);
    page.wait("document.querySelector('#decision-told').innerText === 'Version 3 is in force.'", SOON);
    page.wait("!document.querySelector('.proposal') && document.querySelector('#plan-count').hidden", SOON);
    assert_eq!(taken.lock().expect("the log").iter().filter(|(area, _)| area == "north").count(), 4, "each decision once");
    well_behaved(&mut page, &made);
}

#[test]
fn a_decision_that_comes_too_late_is_told_and_what_is_current_is_shown() {
    let (mut made, taken) = deciding();
    fill(&mut made);
    let Some(mut page) = ready(&made) else { return };
    // The plan moves on, and the page does not hear of it: as in a tab that lies behind another one.
    page.value("Object.defineProperty(document, 'hidden', { get: () => true, configurable: true }) && null");
    assert!(page.text(".proposal h3").contains("version 3"));
    made.put_unseen("route.plan", 30_000, proposed(4));
    for change in changes(4) {
        made.put_unseen("route.change", 30_000, change);
    }
    page.click("#reject");
    page.wait("document.querySelector('#decision-told').dataset.kind === 'bad'", SOON);
    let told = page.text("#decision-told");
    assert!(told.contains("the plan moved on") && told.contains("version 4 is proposed"), "{told}");
    assert!(taken.lock().expect("the log").is_empty(), "nothing reached the log");
    page.wait("document.querySelector('.proposal h3').innerText.includes('version 4')", SOON);
    page.picture(&pictures().join("too-late.png"));

    page.value("delete document.hidden");
    page.wait("!document.querySelector('#accept').disabled", SOON);

    // While a form is filled in, a newer plan is announced and waits.
    page.click("#route-rows li[data-vehicle=truck-2] button");
    page.click("#route-rows .stop[data-site=s4] [aria-label^=Move]");
    page.wait("document.querySelector('form.move')", SOON);
    propose(&mut made, 0, 5);
    page.wait("!document.querySelector('#newer').hidden", SOON);
    assert!(page.number_of("form.move") == 1 && page.text(".proposal h3").contains("version 4"), "the form is left alone");
    page.click("#newer");
    page.wait("document.querySelector('.proposal h3').innerText.includes('version 5') && document.querySelector('#newer').hidden", SOON);

    // The browser notes the refusal; nothing else was wrong.
    let (refused, others): (Vec<String>, Vec<String>) = std::mem::take(&mut page.complaints).into_iter().partition(|c| c.contains("409"));
    assert_eq!((refused.len(), others.len()), (1, 0), "{others:#?}");
    well_behaved(&mut page, &made);
}

#[test]
fn without_plans_the_panel_says_where_they_come_from() {
    let (made, _) = deciding();
    let Some(mut page) = opened(&made, "#routes") else { return };
    page.wait("document.querySelector('#routes-note').innerText.includes('No area has a plan yet')", SOON);
    well_behaved(&mut page, &made);
}
