//! `wastestream train --task churn|maintenance --map MAP FILE`: public tables that stand in for a city's own history, judged
//! beside a dummy and a known floor. Every print says what the data are.
//!
//! Run-to-failure data go through a topology, as the fleet's do: the map describes the columns, a schema is made of them
//! for this process alone, and the rows are replayed cycle by cycle.

use crate::Failure;
use crate::edge::RegistryEdge;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ws_log::registry::Registry;
use ws_models::{ChurnTableOptions, LifeTableOptions, Table, UnitRows, judge_churn_table, judge_life_table};
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;

/// Topic that run-to-failure rows are replayed from.
const DAY_MS: i64 = 86_400_000;
/// Schema id of a topic that exists in this process alone.
const OWN_SCHEMA_ID: u32 = 9_001;

/// A mapping of a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableMap {
    map: String,
    #[serde(default)]
    doc: String,
    #[serde(default)]
    licence: String,
    stands_in: String,
    separator: Separator,
    /// Names of the columns; absent when the first line has them.
    #[serde(default)]
    columns: Vec<String>,
    label: Option<Label>,
    #[serde(default)]
    without: Vec<String>,
    unit: Option<String>,
    cycle: Option<String>,
    topology: Option<PathBuf>,
    #[serde(default)]
    floor: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Separator {
    Comma,
    Spaces,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    column: String,
    positive: String,
}

impl TableMap {
    /// Reads a mapping.
    pub fn read(path: &Path) -> Result<TableMap, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(serde_saphyr::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?)
    }

    /// Names and rows of a file.
    fn rows(&self, file: &Path) -> Result<(Vec<String>, Vec<Vec<String>>), Failure> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut rows: Vec<Vec<String>> = match self.separator {
            Separator::Spaces => text.lines().map(|line| line.split_ascii_whitespace().map(str::to_string).collect()).collect(),
            Separator::Comma => csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(text.as_bytes())
                .records()
                .map(|record| record.map(|r| r.iter().map(str::to_string).collect()))
                .collect::<Result<_, _>>()
                .map_err(|e| format!("{}: {e}", file.display()))?,
        };
        rows.retain(|row: &Vec<String>| !row.is_empty());
        let names = if self.columns.is_empty() && !rows.is_empty() { rows.remove(0) } else { self.columns.clone() };
        Ok((names, rows))
    }

    fn head(&self) -> String {
        format!("{}: {} ({})\nA stand-in: {}.", self.map, self.doc, self.licence, self.stands_in)
    }

    fn floor_line(&self) -> String {
        let all: Vec<String> = self.floor.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if all.is_empty() { String::new() } else { format!("  floor      {} (of the mapping)\n", all.join(", ")) }
    }
}

/// Churn on a table.
pub fn churn(map: &Path, file: &Path, seed: u64, json: bool) -> Result<(), Failure> {
    let map = TableMap::read(map)?;
    let label = map.label.as_ref().ok_or("the mapping names no `label: { column, positive }`")?;
    let (names, rows) = map.rows(file)?;
    let table = Table::new(&names, &rows, &label.column, &label.positive, &map.without)?;
    let report = judge_churn_table(&table, &ChurnTableOptions { seed, ..ChurnTableOptions::default() })?;
    match json {
        true => println!("{}", serde_json::json!({ "map": map.map, "stands_in": map.stands_in, "report": report, "floor": map.floor })),
        false => println!("{}\n{report}{}", map.head(), map.floor_line()),
    }
    Ok(())
}

/// Remaining life on run-to-failure data.
pub fn life(map_path: &Path, file: &Path, test: &Path, truth: &Path, seed: u64, json: bool) -> Result<(), Failure> {
    let map = TableMap::read(map_path)?;
    let runs = features(&map, map_path, file)?;
    let cut = features(&map, map_path, test)?;
    let text = std::fs::read_to_string(truth).map_err(|e| format!("{}: {e}", truth.display()))?;
    let left = text
        .split_ascii_whitespace()
        .map(|word| word.parse::<f64>().map_err(|_| format!("{}: `{word}` is no number", truth.display())))
        .collect::<Result<Vec<f64>, String>>()?;
    let report = judge_life_table(&runs, &cut, &left, &LifeTableOptions { seed, ..LifeTableOptions::default() })?;
    match json {
        true => println!("{}", serde_json::json!({ "map": map.map, "stands_in": map.stands_in, "report": report, "floor": map.floor })),
        false => println!("{}\n{report}{}", map.head(), map.floor_line()),
    }
    Ok(())
}

/// The rows of a file through the mapping's topology, unit by unit.
fn features(map: &TableMap, map_path: &Path, file: &Path) -> Result<UnitRows, Failure> {
    let (Some(unit), Some(cycle), Some(topology)) = (&map.unit, &map.cycle, &map.topology) else {
        return Err("the mapping names no `unit`, `cycle` and `topology`".into());
    };
    let (names, rows) = map.rows(file)?;
    let place = |name: &str| names.iter().position(|n| n == name).ok_or_else(|| format!("{}: no column `{name}`", file.display()));
    let (unit_at, cycle_at) = (place(unit)?, place(cycle)?);
    let values: Vec<usize> = (0..names.len()).filter(|at| *at != unit_at && *at != cycle_at).collect();

    // The plan tells which topic is wanted; the schema must be there before it is checked.
    let path = map_path.parent().unwrap_or(Path::new(".")).join(topology);
    let topic: Arc<str> = format!("proxy.{}", path.file_stem().and_then(|s| s.to_str()).unwrap_or("table")).into();
    let fields: Vec<serde_json::Value> =
        values.iter().map(|at| serde_json::json!({ "name": names[*at], "type": ["null", "double"], "default": null })).collect();
    let time = serde_json::json!({ "name": "observed_at", "type": { "type": "long", "logicalType": "timestamp-millis" } });
    let key = serde_json::json!({ "name": unit, "type": "string" });
    let fields: Vec<serde_json::Value> = [key, time].into_iter().chain(fields).collect();
    let schema = serde_json::json!({ "type": "record", "name": "ProxyRow", "key": unit, "fields": fields });
    let mut registry = Registry::embedded()?;
    registry.insert(&format!("{topic}-value"), 1, OWN_SCHEMA_ID, "proxy.avsc", &schema.to_string())?;
    let registry = Arc::new(registry);
    let edge = RegistryEdge::new(registry.clone());
    let plan = crate::plans::file(&path, &edge)?;
    let mut replay = Replay::of_slices(&plan.into_slices(), Arc::new(edge), Models::default(), 0)?;

    // Cycle by cycle over all units: event time is then what it is in service.
    let mut moments: BTreeMap<i64, Vec<(String, Vec<u8>)>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for (line, row) in rows.iter().enumerate() {
        let bad = |what: &str| format!("{}: line {}: {what}", file.display(), line + 1);
        if row.len() != names.len() {
            return Err(bad(&format!("{} values for {} columns", row.len(), names.len())).into());
        }
        let cycle: i64 = row[cycle_at].parse().map_err(|_| bad("the cycle is no whole number"))?;
        let mut object = serde_json::Map::new();
        object.insert(unit.clone(), row[unit_at].clone().into());
        object.insert("observed_at".into(), (cycle * DAY_MS).into());
        for at in &values {
            object.insert(names[*at].clone(), row[*at].parse::<f64>().map_err(|_| bad(&format!("`{}` is no number", row[*at])))?.into());
        }
        if order.last() != Some(&row[unit_at]) {
            order.push(row[unit_at].clone());
        }
        moments.entry(cycle).or_default().push((row[unit_at].clone(), registry.encode_json_value(&topic, &object.into())?));
    }
    let mut out: BTreeMap<String, Vec<serde_json::Map<String, serde_json::Value>>> = BTreeMap::new();
    for (cycle, rows) in &moments {
        replay.set_now_ms(cycle * DAY_MS);
        replay.feed(&topic, rows.iter().map(|(k, v)| (Some(k.as_bytes()), Some(v.as_slice()), cycle * DAY_MS)))?;
        let records = replay.take(&format!("{topic}.features"));
        for i in 0..records.rows.len() {
            if let serde_json::Value::Object(row) = serde_json::from_slice(records.value(i).unwrap_or(b"null"))? {
                out.entry(row.get(unit).and_then(|u| u.as_str()).unwrap_or_default().to_string()).or_default().push(row);
            }
        }
    }
    let mut all = UnitRows::default();
    for name in order {
        for row in out.remove(&name).unwrap_or_default() {
            if all.names.is_empty() {
                all.names = row.keys().filter(|k| *k != unit).cloned().collect();
            }
            all.units.push(name.clone());
            all.values.extend(all.names.iter().map(|n| row.get(n).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN)));
        }
    }
    if all.units.len() != rows.len() {
        return Err(format!("{}: {} rows went in, {} feature rows came out", file.display(), rows.len(), all.units.len()).into());
    }
    Ok(all)
}
