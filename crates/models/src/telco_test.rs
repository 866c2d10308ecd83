//! The telecom's customers (a public stand-in for a city's) by cross-validation, beside the floor that the data's
//! description gives. Skipped, and says so, where the data are absent.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use crate::churn_table::{ChurnTableOptions, judge_churn_table};
use crate::table::Table;

fn data() -> Option<PathBuf> {
    let file = "churn/telco_customer_churn.csv";
    let named = std::env::var_os("WS_SHARED_DATA").map(PathBuf::from);
    let beside = PathBuf::from("../../../shared/data");
    [named, Some(beside)].into_iter().flatten().map(|folder| folder.join(file)).find(|path| path.exists())
}

#[test]
fn a_telecoms_customers_are_ranked_far_better_than_by_chance() {
    let Some(path) = data() else {
        eprintln!("SKIPPED: the telco data are absent; set WS_SHARED_DATA to the folder that holds churn/");
        return;
    };
    let mut records = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_path(path)
        .unwrap()
        .into_records()
        .map(|record| -> Vec<String> { record.unwrap().iter().map(str::to_owned).collect() });
    let names = records.next().unwrap();
    let rows: Vec<Vec<String>> = records.collect();
    let table = Table::new(&names, &rows, "Churn", "Yes", &["customerID".to_owned()]).unwrap();
    assert_eq!((table.labels.len(), table.features.len()), (7043, 19));
    let mut options = ChurnTableOptions { repeats: 1, inner_folds: 2, ..ChurnTableOptions::default() };
    options.candidates.truncate(2);
    let report = judge_churn_table(&table, &options).unwrap();
    println!("a telecom's customers, in place of a city's (floor: AUC 0.8485 Brier 0.1339 lift@10% 2.88)\n{report}");
    assert!((report.dummy.auc - 0.5).abs() < 1e-9 && report.model.auc > 0.83, "{report}");
    assert!(report.model.brier < 0.15 && report.dummy.brier > 0.19 && report.model.lift_10 > 2.5 && report.model.calibration_error < 0.03, "{report}");
}
