//! The page in a real headless browser against a running demo: it comes alive, shows what the API says, can be
//! clicked, asks nobody else, complains about nothing, and says so when its server is gone.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::App;
use crate::support::app::{binary, count};
use crate::support::cdp::Page;

const SOON: Duration = Duration::from_secs(20);
/// Training on two busy cores.
const TRAINED: Duration = Duration::from_secs(240);
/// A plan's search on two busy cores.
const PLANNED: Duration = Duration::from_secs(240);

/// Where pictures stay, to be looked at.
pub fn pictures() -> PathBuf {
    let folder = binary().parent().and_then(|p| p.parent()).expect("target").join("pictures");
    std::fs::create_dir_all(&folder).expect("a folder for pictures");
    folder
}

#[test]
fn the_page_shows_a_living_city() {
    let Some(mut page) = Page::open("about:blank", (1440, 900)) else {
        return;
    };
    let mut app = App::start(&["demo", "--bins", "200", "--trucks", "8", "--backfill-h", "24", "--seed", "5"], &[]);
    page.go(&app.url);
    page.wait("document.body?.dataset.ready === 'yes' && document.body.dataset.connection === 'live'", SOON);
    // Bins appear as the back-fill is processed, without a reload by hand.
    page.wait("document.body.dataset.bins === '200'", Duration::from_secs(60));
    page.wait("document.querySelector('#truck-count').textContent === '8'", SOON);

    the_map(&mut page);
    the_strip(&mut page, &app);
    the_lists(&mut page, &app);
    a_bin(&mut page, &app);
    the_keyboard_and_a_link(&mut page, &app);
    a_route(&mut page, &app);

    let foreign: Vec<&String> = page.asked.iter().filter(|url| !url.starts_with(&app.url) && *url != "about:blank" && !url.starts_with("data:")).collect();
    assert!(foreign.is_empty(), "the page asks others: {foreign:?}");
    assert!(page.complaints.is_empty(), "{:#?}", page.complaints);

    app.kill9();
    page.wait("document.body.dataset.connection === 'lost' && !document.querySelector('#lost').hidden", SOON);
    assert!(page.text("#lost").starts_with("Connection lost. Shown is the state of"), "{}", page.text("#lost"));
    assert!(page.number_of("#next-rows .row") > 0, "what was known stays");
}

/// Dots in several colours, and a legend that counts every bin.
fn the_map(page: &mut Page) {
    let counted = page.value("[...document.querySelectorAll('.class-count')].reduce((sum, e) => sum + Number(e.textContent), 0)");
    assert_eq!(counted, 200, "the legend counts every bin");
    let colours = page.value(
        "(() => { const c = document.querySelector('canvas.marks'); const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
         const seen = new Set(); for (let i = 0; i < p.length; i += 4) if (p[i + 3] === 255) seen.add(p[i] << 16 | p[i + 1] << 8 | p[i + 2]); return seen.size; })()",
    );
    assert!(colours.as_u64().is_some_and(|n| n > 20), "the map is empty: {colours} colours");
    page.wait("document.querySelector('#empty').hidden", SOON);
    let file = pictures().join("page.png");
    page.picture(&file);
    let bytes = std::fs::read(&file).expect("the picture");
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 40_000, "{} bytes", bytes.len());
    assert_eq!((bytes[16..24]).to_vec(), [0, 0, 5, 160, 0, 0, 3, 132], "1440 × 900");

    // A class can be hidden, and comes back.
    page.click("#legend-classes li:nth-child(5) button");
    page.wait("document.querySelector('#legend-classes li:nth-child(5) button').getAttribute('aria-pressed') === 'false'", SOON);
    page.click("#legend-classes li:nth-child(5) button");
}

/// The numbers of the pipeline, and every stage adds up.
fn the_strip(page: &mut Page, app: &App) {
    page.wait("/^[0-9]/.test(document.querySelector('#h-events').textContent)", SOON);
    page.wait("document.querySelector('#h-ready').textContent === 'ready'", SOON);
    let p = app.pipeline();
    assert!(count(&p, "forecasts_total") > 200, "{p:#}");
    for id in ["#h-lag", "#h-forecasts", "#h-late", "#h-dead", "#h-commit"] {
        let text = page.text(id);
        assert!(text.starts_with(|c: char| c.is_ascii_digit()), "{id}: {text}");
    }
    assert!(page.text("#h-rungs-text").contains("heuristic"), "{}", page.text("#h-rungs-text"));
    page.click("#stages-button");
    page.wait("document.querySelectorAll('#stage-rows tr').length > 0", SOON);
    let stages = p["stages"].as_array().map_or(0, Vec::len) as u64;
    assert_eq!(page.number_of("#stage-rows tr"), stages);
    assert_eq!(page.number_of("#stage-rows td.good"), stages, "{}", page.text("#stage-rows"));
    let file = pictures().join("stages.png");
    page.picture(&file);
    page.click("#stages-button");
}

/// Alerts and trucks as the API tells them.
fn the_lists(page: &mut Page, app: &App) {
    page.click("#tab-alerts");
    page.wait("!document.querySelector('#panel-alerts').hidden", SOON);
    page.wait("document.querySelectorAll('#alert-rows .row').length === Number(document.querySelector('#alert-count').textContent)", SOON);
    let alerts = app.get_json("/v1/alerts?limit=2000")["alerts"].as_array().map_or(0, Vec::len);
    assert!(alerts > 0 && page.number_of("#alert-rows .row") > 0, "a city without any trouble: {alerts}");
    let file = pictures().join("alerts.png");
    page.picture(&file);
    page.click("#tab-trucks");
    page.wait("document.querySelectorAll('#truck-rows .row').length === 8", SOON);
    page.click("#tab-next");
    page.wait("document.querySelectorAll('#next-rows .row').length > 10", SOON);
}

/// A plan as the API tells it, with what its crews have done.
fn a_route(page: &mut Page, app: &App) {
    page.click("#tab-routes");
    page.wait("document.querySelectorAll('#route-rows > li').length > 0", PLANNED);
    // Plans move on while they are read: asked until both tell of the same version.
    app.wait_for("a plan on the page as the API tells it", SOON, |app| {
        let area = page.value("document.querySelector('#area').value.split('/').slice(1).join('/')");
        let plan = app.get_json(&format!("/v1/plans/{}", area.as_str()?))["in_force"].clone();
        let routes = plan["routes"].as_array()?.clone();
        let same = page.text("#routes-note").contains(&format!("{}, version {},", plan["plan_id"].as_str()?, plan["plan_version"]));
        let shown = routes.iter().all(|route| {
            let sites = count(&route["so_far"], "sites");
            assert_eq!(sites, ["served", "not_served", "to_go"].iter().map(|name| count(&route["so_far"], name)).sum::<u64>(), "{route:#}");
            let text = page.text(&format!("#route-rows li[data-vehicle={}]", route["vehicle_id"]));
            text.contains(&format!("of {sites} done")) || text.contains(&format!("{sites} stops, not set out yet"))
        });
        (same && shown && page.number_of("#route-rows > li") == routes.len() as u64).then_some(())
    });
    page.picture(&pictures().join("demo-routes.png"));
}

/// A click in the list opens a bin: level, uncertainty, who answered, the picture of what is ahead.
fn a_bin(page: &mut Page, app: &App) {
    // With the model's forecasts, so that the picture has three horizons of its own.
    page.wait("document.querySelector('#h-model-state').textContent === 'ready'", TRAINED);
    let version = page.text("#h-model");
    assert!(version.starts_with("fill"), "{version}");
    let answered = app.wait_for("a bin that the model answered", TRAINED, |app| {
        let bins = app.get_json("/v1/bins?limit=2000");
        let of_model = bins["bins"].as_array()?.iter().find(|b| b["rung"] == "model")?.clone();
        Some(of_model)
    });
    page.click("#next-rows .row");
    page.wait("!document.querySelector('#details').hidden && document.querySelector('#details svg.chart')", SOON);
    assert!(page.value("location.hash").as_str().is_some_and(|h| h.starts_with("#bin=")));

    let key = |bin: &Value, field: &str| bin[field].as_str().expect("text").to_owned();
    let (tenant, id) = (key(&answered, "tenant"), key(&answered, "id"));
    page.go("about:blank");
    page.go(&format!("{}/#bin={tenant}%2F{id}", app.url));
    page.wait(&format!("document.querySelector('#details h2')?.textContent === '{id}'"), SOON);
    page.wait("document.querySelectorAll('#details .quantiles tbody tr').length === 3", SOON);
    let text = page.text("#details");
    for part in ["%", "80 % interval", "Next visit", "Sensor", "Battery", "model ·", &version, "features "] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(page.number_of("#details svg.gauge") == 1 && page.number_of("#details svg.chart polygon") == 1);
    std::thread::sleep(Duration::from_millis(500));
    page.picture(&pictures().join("bin.png"));
}

/// Escape closes; a name that is typed is found.
fn the_keyboard_and_a_link(page: &mut Page, app: &App) {
    let id = page.text("#details h2");
    page.click("#details .close");
    page.wait("document.querySelector('#details').hidden", SOON);
    page.value(&format!(
        "(() => {{ const t = document.querySelector('#search-text'); t.value = '{id}';
           t.form.requestSubmit(); }})()"
    ));
    page.wait(&format!("document.querySelector('#details h2')?.textContent === '{id}'"), SOON);
    page.value("document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }))");
    page.wait("document.querySelector('#details').hidden", SOON);
    assert!(app.is_running());
}
