//! The Wyndham smart bins (33 real daily sensors, 2018 to 2021) through feature rows into the next-day model, beside
//! the floor that the data's description gives. Skipped, and says so, where the data are absent.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::next_day::{NextDayOptions, train_next_day};
use crate::testkit::{Row, batch};

const FLOOR_AUC: f64 = 0.854;
const FLOOR_AP: f64 = 0.649;

fn data() -> Option<PathBuf> {
    let file = "bins/wyndham_smartbin_2018_2021.csv";
    let named = std::env::var_os("WS_SHARED_DATA").map(PathBuf::from);
    let beside = PathBuf::from("../../../shared/data");
    [named, Some(beside)].into_iter().flatten().map(|folder| folder.join(file)).find(|path| path.exists())
}

/// Days since 1970 of `dd-mm-yyyy` (Howard Hinnant's `days_from_civil`).
fn day(text: &str) -> i64 {
    let parts: Vec<i64> = text.split('-').map(|part| part.parse().unwrap()).collect();
    let (day, month, year) = (parts[0], parts[1], parts[2]);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[derive(Clone, Copy)]
struct Reading {
    day: i64,
    level: f64,
    alert: bool,
}

/// Readings per bin; of several for a bin and day the last counts.
fn bins(path: &PathBuf) -> (BTreeMap<String, Vec<Reading>>, usize) {
    let mut bins: BTreeMap<String, BTreeMap<i64, Reading>> = BTreeMap::new();
    let mut duplicates = 0;
    for record in csv::Reader::from_path(path).unwrap().records() {
        let record = record.unwrap();
        let reading = Reading {
            day: day(&record[3]),
            level: record[1].parse::<f64>().unwrap() / 10.0,
            alert: &record[4] == "ALERT" && (&record[1] == "0" || &record[1] == "10"),
        };
        let known = bins.entry(record[0].to_owned()).or_default().insert(reading.day, reading);
        duplicates += usize::from(known.is_some());
    }
    (bins.into_iter().map(|(bin, readings)| (bin, readings.into_values().collect())).collect(), duplicates)
}

/// Mean of `value` over the readings of the last `days` (today included) that `pick` chooses; NaN when there is none.
fn mean_over(past: &[Reading], days: i64, pick: impl Fn(usize) -> bool, value: impl Fn(usize) -> f64) -> f64 {
    let today = past.last().map_or(0, |reading| reading.day);
    let chosen: Vec<f64> = (0..past.len()).filter(|index| past[*index].day > today - days && pick(*index)).map(value).collect();
    chosen.iter().sum::<f64>() / chosen.len() as f64
}

/// The feature rows of one bin, each from its past alone.
fn rows(bin: &str, readings: &[Reading]) -> Vec<Row> {
    let weekday = |day: i64| (day + 3).rem_euclid(7);
    let mut emptied_day: Option<i64> = None;
    let mut rows = Vec::new();
    for (index, reading) in readings.iter().enumerate() {
        let past = &readings[..=index];
        let previous = index.checked_sub(1).map(|index| readings[index]);
        if previous.is_some_and(|previous| reading.level <= previous.level - 0.2 + 1e-9) {
            emptied_day = Some(reading.day);
        }
        let rise = |at: usize| {
            if at == 0 { f64::NAN } else { past[at].level - past[at - 1].level }
        };
        let tomorrow = weekday(reading.day + 1);
        let rate = |days: i64| {
            let rise = mean_over(past, days, |at| at > 0 && rise(at) >= -0.1 - 1e-9, rise);
            Some(rise / 24.0).filter(|rate| rate.is_finite())
        };
        rows.push(Row {
            device: bin.to_owned(),
            hour: reading.day as f64 * 24.0 + 12.0,
            level: reading.level,
            rate_24h: rate(1),
            rate_7d: rate(7),
            since_emptied_h: emptied_day.map(|day| (reading.day - day) as f64 * 24.0),
            report_interval_s: 86_400.0,
            jumping: reading.alert,
            extra: vec![
                ("weekday", weekday(reading.day) as f64),
                ("level_lag_1d", previous.map_or(f64::NAN, |previous| previous.level)),
                ("reading_gap_h", previous.map_or(f64::NAN, |p| (reading.day - p.day) as f64 * 24.0)),
                ("level_mean_28d", mean_over(past, 28, |_| true, |at| past[at].level)),
                ("full_share_28d", mean_over(past, 28, |_| true, |at| f64::from(u8::from(past[at].level > 0.79)))),
                ("increment_mean_28d", mean_over(past, 28, |at| at > 0 && rise(at) >= -0.1 - 1e-9, rise)),
                ("empty_share_90d", mean_over(past, 90, |_| true, |at| f64::from(u8::from(past[at].level <= 0.0)))),
                ("level_mean_next_weekday_90d", mean_over(past, 90, |at| weekday(past[at].day) == tomorrow, |at| past[at].level)),
            ],
            ..Row::default()
        });
    }
    rows
}

#[test]
fn real_daily_sensors_beat_the_floor() {
    let Some(path) = data() else {
        eprintln!("SKIPPED: the Wyndham data are absent; set WS_SHARED_DATA to the folder that holds bins/");
        return;
    };
    let (bins, duplicates) = bins(&path);
    assert_eq!((bins.len(), duplicates), (33, 768));
    let rows: Vec<Row> = bins.iter().flat_map(|(bin, readings)| rows(bin, readings)).collect();
    let batch = batch(&rows);
    let only = |names: &[&str]| NextDayOptions { features: names.iter().map(|name| (*name).to_owned()).collect(), ..NextDayOptions::default() };
    let today = ["filling_level", "rate_24h_per_h", "rate_7d_per_h", "hours_since_emptied", "weekday"];
    let brief = train_next_day(std::slice::from_ref(&batch), &only(&today)).unwrap();
    let wide = [
        "filling_level",
        "hours_since_emptied",
        "weekday",
        "level_lag_1d",
        "reading_gap_h",
        "level_mean_28d",
        "full_share_28d",
        "increment_mean_28d",
        "empty_share_90d",
        "level_mean_next_weekday_90d",
    ];
    let report = train_next_day(std::slice::from_ref(&batch), &only(&wide)).unwrap();
    println!("floor: AUC {FLOOR_AUC} AP {FLOOR_AP}\nwith bin.features as they are: {brief}with history aggregates: {report}");
    assert!(report.all.rows > 5000 && (0.15..0.18).contains(&report.all.base_rate));
    assert!(report.all.auc > FLOOR_AUC && report.all.average_precision > FLOOR_AP, "{report}");
    let without = report.without_faults.unwrap();
    assert!(without.rows < report.all.rows && without.auc > 0.8, "{report}");
}
