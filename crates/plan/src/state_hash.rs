//! The hash of all that state depends on. State of another hash is refused at start, because its meaning changed;
//! filters, projections, budgets and sinks may change freely.

use crate::aggregates;
use arrow::datatypes::Schema;
use std::fmt::Write;
use ws_stream::spec::{From, InputSpec, Lateness, OpSpec, StageSpec, TableSpec};

/// Hashes what state depends on. The text hashed is a stable format: changing it orphans the state of every user.
pub fn of(inputs: &[InputSpec], tables: &[TableSpec], stages: &[StageSpec]) -> u64 {
    fnv1a(describe(inputs, tables, stages).as_bytes())
}

fn describe(inputs: &[InputSpec], tables: &[TableSpec], stages: &[StageSpec]) -> String {
    let mut out = String::from("v1\n");
    for i in inputs {
        // Per-key lateness keeps the newest time of each key.
        let key = match &i.time.lateness {
            Lateness::Watermark => String::new(),
            // Of a repartition topic only the upstream watermarks are kept.
            Lateness::PerKey { .. } if i.rekeyed.is_some() => String::new(),
            Lateness::PerKey { key, .. } => key.join(","),
        };
        let _ = writeln!(out, "input {} {} [{key}]", i.id, i.topic);
    }
    for t in tables {
        let columns: Vec<String> = t.schema.fields().iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect();
        let _ = writeln!(out, "table {} {} [{}] {} [{}]", t.id, t.topic, t.key.join(","), t.valid_from, columns.join(","));
    }
    // Panes of windows over several inputs keep which of them a row was from.
    let origins = if inputs.len() > 1 || inputs.iter().any(|i| i.rekeyed.is_some()) { " origins" } else { "" };
    for stage in stages {
        let id = &stage.id;
        let calls = |calls: &[ws_stream::spec::AggCall]| -> String {
            let text = |c: &ws_stream::spec::AggCall| {
                format!("{}({};{})", aggregates::name(c.function), c.arg.as_ref().map(|a| a.text().to_string()).unwrap_or_default(), c.horizon_ms.unwrap_or(0))
            };
            calls.iter().map(text).collect::<Vec<_>>().join(",")
        };
        let _ = match &stage.op {
            OpSpec::Select { .. } | OpSpec::Each { .. } | OpSpec::Join { .. } => Ok(()),
            OpSpec::Dedup { key, id: by, .. } => {
                writeln!(out, "dedup {id} [{}] [{}]", key.join(","), by.join(","))
            }
            OpSpec::Window { group_by, window, calls: c, .. } => {
                writeln!(out, "window {id} [{}] {} {} {}{origins}", group_by.join(","), window.size_ms, window.slide_ms, calls(c))
            }
            OpSpec::Since { group_by, window, calls: c, carry, .. } => {
                let field = |n: &String| n.clone();
                writeln!(out, "since {id} [{}] {} {} [{}]", group_by.join(","), window.pane_ms, calls(c), carry.iter().map(field).collect::<Vec<_>>().join(","))
            }
            OpSpec::Changed { key, of, .. } => {
                writeln!(out, "changed {id} [{}] [{}]", key.join(","), of.join(","))
            }
            OpSpec::Infer(i) => {
                let outputs: Vec<String> = i.outputs.fields().iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect();
                // Pending rows hold all columns of the input.
                let columns: Vec<String> = stage.schema.fields().iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect();
                writeln!(out, "infer {id} [{}] [{}] [{}]", i.key.join(","), outputs.join(","), columns.join(","))
            }
            // Rows that opened an expectation are kept whole; rows ahead of the watermark wait.
            OpSpec::Absence(a) => {
                writeln!(out, "absence {id} [{}] [{}] {:?} [{}] waiting", a.key.join(","), a.each.join(","), a.clock, columns_of(&stage.schema))
            }
            OpSpec::Apply(a) => {
                let with: Vec<String> = a.with.iter().map(|(k, v)| format!("{k}={v}")).collect();
                writeln!(out, "apply {id} {} [{}] [{}] [{}]", a.operator, a.key.join(","), a.carry.join(","), with.join(","))
            }
            // Boards hold all columns of the input.
            OpSpec::Optimize(o) => {
                let input = match stage.from.first() {
                    Some(From::Input(i)) => inputs.get(*i).map(|i| columns_of(&i.schema)),
                    Some(From::Stage(s)) => stages.get(*s).map(|s| columns_of(&s.schema)),
                    None => None,
                };
                writeln!(out, "optimize {id} [{}] [{}] [{}]", o.key.join(","), o.entity.join(","), input.unwrap_or_default())
            }
        };
    }
    out
}

fn columns_of(schema: &Schema) -> String {
    schema.fields().iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect::<Vec<_>>().join(",")
}

/// FNV-1a, 64 bits: small, stable for ever, and no defence against malice is needed here.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
