//! Public tables that stand in for a city's own history, through the binary: a telecom's customers and NASA's simulated
//! turbofan engines. The figures are printed; asserted is only that something was learned. Without the files the tests say
//! so and pass.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::app::run_to_end;
use crate::support::{repository, skip_for};

const LIMIT: Duration = Duration::from_secs(280);

fn shared(file: &str) -> Option<String> {
    let named = std::env::var_os("WS_SHARED_DATA").map(PathBuf::from);
    let beside = repository().join("../shared/data");
    let found = named.into_iter().chain([beside]).map(|folder| folder.join(file)).find(|path| path.exists());
    if found.is_none() {
        skip_for(&format!("{file} is absent; set WS_SHARED_DATA to the folder that holds it"));
    }
    found.map(|path| path.display().to_string())
}

fn scores(args: &[&str]) -> Value {
    let ended = run_to_end(args, &[], LIMIT);
    assert_eq!(ended.code, 0, "{}", ended.output);
    let line = ended.output.lines().find(|line| line.starts_with('{')).expect("scores as JSON");
    let scores: Value = serde_json::from_str(line).expect("JSON");
    assert!(scores["stands_in"].as_str().is_some_and(|what| what.contains("in place of")), "it says what the data are: {scores:#}");
    // Not through the harness' capture: the figures are what this test is for.
    let _ = writeln!(std::io::stderr(), "{}: {}", scores["stands_in"], scores["report"]);
    scores
}

#[test]
fn simulated_engines_remaining_life_is_foretold_from_features_of_a_topology() {
    let files = ["train_FD001", "test_FD001", "RUL_FD001"].map(|name| shared(&format!("maintenance/cmapss_{name}.txt")));
    let [Some(runs), Some(cut), Some(left)] = files else { return };
    let map = repository().join("topologies/maps/cmapss.yaml").display().to_string();
    let scores = scores(&["train", "--task", "maintenance", "--json", "--map", &map, &runs, "--test", &cut, "--truth", &left]);
    let figure = |who: &str, name: &str| scores["report"][who][name].as_f64().expect("a figure");
    assert_eq!(scores["report"]["train"], serde_json::json!([100, 20631]), "every cycle became a row of features");
    assert!(figure("test", "rmse") < 0.5 * figure("dummy", "rmse") && figure("test", "score") < 0.1 * figure("dummy", "score"), "{scores:#}");
}

#[test]
fn a_table_without_its_files_says_what_is_missing() {
    let map = repository().join("topologies/maps/cmapss.yaml").display().to_string();
    let ended = run_to_end(&["train", "--task", "maintenance", "--map", &map, "nowhere.txt"], &[], LIMIT);
    assert!(ended.code != 0 && ended.output.contains("--test"), "{}", ended.output);
    let telco = repository().join("topologies/maps/telco.yaml").display().to_string();
    let ended = run_to_end(&["train", "--task", "churn", "--map", &telco, "nowhere.csv"], &[], LIMIT);
    assert!(ended.code != 0 && ended.output.contains("nowhere.csv"), "{}", ended.output);
}
