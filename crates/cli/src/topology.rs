//! `wastestream topology validate | graph | explain | test`.

use crate::config::ROADS_FILE;
use crate::edge::RegistryEdge;
use crate::{Failure, plans};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ws_log::avro::schema::{Named, Type, nullable};
use ws_log::registry::{Registered, Registry};
use ws_plan::Plan;
use ws_plan::fixture::{Cell, DEAD_LETTERS, Fixture, Payload, Row, Run};
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;
use ws_stream::spec::Topology;

/// Commands about topology files.
#[derive(Subcommand)]
pub enum TopologyCommand {
    /// Check files; every problem is told with line, what and what to do
    Validate(Files),
    /// Draw a file as a Mermaid graph
    Graph(OneFile),
    /// Tell what a file does, stage by stage
    Explain(OneFile),
    /// Run the fixtures beside the files
    Test(Files),
}

/// Files.
#[derive(Args)]
pub struct Files {
    /// Topology files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Folder of schemas instead of those built in
    #[arg(long)]
    schemas: Option<PathBuf>,
}

/// One file.
#[derive(Args)]
pub struct OneFile {
    /// Topology file
    file: PathBuf,
    /// Folder of schemas instead of those built in
    #[arg(long)]
    schemas: Option<PathBuf>,
}

/// Runs a command.
pub fn run(command: TopologyCommand) -> Result<(), Failure> {
    match command {
        TopologyCommand::Validate(args) => {
            let edge = RegistryEdge::new(plans::registry(args.schemas.as_deref())?);
            let mut bad = 0;
            for path in &args.files {
                match plans::file(path, &edge) {
                    Ok(plan) => {
                        let sum = |f: fn(&Topology) -> usize| plan.slices().map(f).sum::<usize>();
                        println!(
                            "{}: ok: {} sources, {} tables, {} stages, {} sinks",
                            path.display(),
                            sum(|t| t.inputs.iter().filter(|i| i.rekeyed.is_none()).count()),
                            sum(|t| t.tables.len()),
                            sum(|t| t.stages.len() + t.rekeys.len()),
                            sum(|t| t.sinks.len())
                        );
                        for t in plan.slices().filter(|_| !plan.later.is_empty()) {
                            let from = t.inputs.iter().map(|i| &*i.topic).collect::<Vec<_>>().join(", ");
                            let to = t.rekeys.iter().map(|r| &*r.topic).chain(t.sinks.iter().map(|s| &*s.topic)).collect::<Vec<_>>().join(", ");
                            println!("  slice {}: {from} → {to}", t.name);
                        }
                    }
                    Err(e) => {
                        bad += 1;
                        eprintln!("{e}");
                    }
                }
            }
            if bad > 0 { Err(format!("{bad} of {} files cannot be used", args.files.len()).into()) } else { Ok(()) }
        }
        TopologyCommand::Graph(args) => one(&args, |plan| plan.mermaid()),
        TopologyCommand::Explain(args) => one(&args, |plan| plan.explain()),
        TopologyCommand::Test(args) => play(&args.files, args.schemas.as_deref()),
    }
}

fn one(args: &OneFile, show: impl FnOnce(&Plan) -> String) -> Result<(), Failure> {
    let edge = RegistryEdge::new(plans::registry(args.schemas.as_deref())?);
    print!("{}", show(&plans::file(&args.file, &edge)?));
    Ok(())
}

/// Plays the fixtures beside the files.
pub fn play(files: &[PathBuf], schemas: Option<&Path>) -> Result<(), Failure> {
    let registry = plans::registry(schemas)?;
    let (mut played, mut failed) = (0, 0);
    for path in files {
        // A small road network may stand beside the fixtures.
        let edge = RegistryEdge::new(registry.clone()).with_roads(path.with_extension("fixtures").join(ROADS_FILE));
        let plan = plans::file(path, &edge)?;
        for fixture in fixtures_of(path)? {
            let fixture = ws_plan::fixture::parse_file(&fixture)?;
            let mut run = FixtureRun::new(&plan, &edge, &registry, &fixture)?;
            let report = ws_plan::fixture::play(&fixture, &mut run)?;
            played += 1;
            if report.passed() {
                println!("ok    {}  {}", report.file, report.about);
            } else {
                failed += 1;
                println!("FAIL  {}  {}", report.file, report.about);
                report.failures.iter().for_each(|f| println!("      {f}"));
            }
        }
    }
    println!("{played} fixtures, {failed} failed");
    if played == 0 {
        return Err("no fixture stands beside these files: put NAME.fixtures/*.yaml beside NAME.yaml".into());
    }
    if failed > 0 { Err(format!("{failed} of {played} fixtures failed").into()) } else { Ok(()) }
}

fn fixtures_of(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = path.with_extension("fixtures");
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut files = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    Ok(files)
}

/// A topology in memory, for a fixture.
struct FixtureRun {
    replay: Replay,
    registry: Arc<Registry>,
    dead_letters: Arc<str>,
    now_ms: i64,
    out: BTreeMap<String, Vec<Row>>,
}

impl FixtureRun {
    fn new(plan: &Plan, edge: &RegistryEdge, registry: &Arc<Registry>, fixture: &Fixture) -> Result<FixtureRun, Failure> {
        let dead_letters = plan.topology.dead_letters.clone();
        let slices = plan.clone().into_slices();
        let (start_ms, models) = (fixture.start_ms, Models::default());
        // The real solvers of this program, unless the fixture scripts them.
        crate::edge::route::put_solvers(&models);
        for script in fixture.scripts(&slices)? {
            let name = script.name().to_string();
            if script.is_solver() {
                models.put_solver(&name, Arc::new(script));
            } else {
                models.put(&name, Box::new(script));
            }
        }
        let replay = Replay::of_slices(&slices, Arc::new(edge.clone()), models, start_ms)?;
        Ok(FixtureRun { replay, registry: registry.clone(), dead_letters, now_ms: start_ms, out: BTreeMap::new() })
    }

    /// A value as a row: Avro in Confluent framing, or JSON.
    fn row(&self, value: &[u8]) -> Result<Row, Failure> {
        let json: Value = match self.registry.decode_to_json(value) {
            Ok(v) => v,
            Err(_) => serde_json::from_slice(value)?,
        };
        let fields = json.as_object().cloned().unwrap_or_default();
        Ok(fields.into_iter().map(|(k, v)| (k, cell(v))).collect())
    }
}

fn cell(v: Value) -> Cell {
    match v {
        Value::Null => Cell::Null,
        Value::Bool(b) => Cell::Bool(b),
        Value::Number(n) => n.as_i64().map_or_else(|| Cell::Float(n.as_f64().unwrap_or(f64::NAN)), Cell::Int),
        Value::String(s) => Cell::Text(s),
        Value::Array(items) => Cell::List(items.into_iter().map(cell).collect()),
        Value::Object(o) => Cell::Map(o.into_iter().map(|(k, v)| (k, cell(v))).collect()),
    }
}

/// A cell as the field's value: an array, map or record is written as JSON text.
fn value_of(registered: &Registered, field: &str, c: &Cell) -> Value {
    let declared = registered.schema.record().fields.iter().find(|f| f.name == field).map(|f| match &f.ty {
        Type::Union(branches) => nullable(branches).map_or(&f.ty, |(_, inner)| inner),
        ty => ty,
    });
    let nested = match declared {
        Some(Type::Array(_) | Type::Map(_)) => true,
        Some(Type::Named(i)) => matches!(registered.schema.named(*i), Named::Record(_)),
        _ => false,
    };
    match c {
        Cell::Text(t) if nested => serde_json::from_str(t).unwrap_or_else(|_| Value::from(t.as_str())),
        c => json(c),
    }
}

fn json(c: &Cell) -> Value {
    match c {
        Cell::Null => Value::Null,
        Cell::Bool(b) => Value::Bool(*b),
        Cell::Int(i) => Value::from(*i),
        Cell::Float(f) if f.is_nan() => Value::from("NaN"),
        Cell::Float(f) => Value::from(*f),
        Cell::Text(t) => Value::from(t.as_str()),
        Cell::List(items) => Value::Array(items.iter().map(json).collect()),
        Cell::Map(row) => Value::Object(row.iter().map(|(k, v)| (k.clone(), json(v))).collect()),
    }
}

impl Run for FixtureRun {
    type Error = Failure;

    fn push(&mut self, topic: &str, key: Option<&str>, payload: &Payload) -> Result<(), Failure> {
        let registered = self.registry.for_topic(topic)?;
        let mut key = key.map(str::to_string);
        let value = match payload {
            Payload::Deleted => None,
            Payload::Bytes(b) => Some(b.clone()),
            Payload::Row(row) => {
                let object: serde_json::Map<String, Value> = row.iter().map(|(k, c)| (k.clone(), value_of(registered, k, c))).collect();
                if key.is_none() {
                    key = registered.attribute("key").and_then(|k| object.get(k)).and_then(Value::as_str).map(str::to_string);
                }
                Some(self.registry.encode_json_value(topic, &Value::Object(object))?)
            }
        };
        self.replay.feed(&topic.into(), [(key.as_deref().map(str::as_bytes), value.as_deref(), self.now_ms)])?;
        Ok(())
    }

    fn advance(&mut self, by_ms: i64) -> Result<(), Failure> {
        self.now_ms += by_ms;
        self.replay.set_now_ms(self.now_ms);
        Ok(self.replay.tick()?)
    }

    fn output(&mut self, topic: &str) -> Result<Vec<Row>, Failure> {
        let name = if topic == DEAD_LETTERS { self.dead_letters.to_string() } else { topic.to_string() };
        let records = self.replay.take(&name);
        let mut rows = Vec::new();
        for i in 0..records.rows.len() {
            rows.push(self.row(records.value(i).unwrap_or(&[]))?);
        }
        let all = self.out.entry(name).or_default();
        all.extend(rows);
        Ok(all.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_shipped_topology_passes_its_fixtures() {
        let folder = Path::new("../../topologies");
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.with_extension("fixtures").is_dir()).collect();
        files.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
        assert!(files.len() >= 6, "{files:?}");
        play(&files, None).unwrap_or_else(|e| panic!("{e}"));
    }
}
