//! A plan for people: `mermaid` draws it, `explain` tells it with all defaults filled in.

use crate::aggregates;
use crate::contracts::type_word;
use crate::draw_stages;
use crate::duration::format_ms;
use crate::plan::Plan;
use std::fmt::Write;
use ws_stream::batch;
use ws_stream::spec::{AggCall, Column, From, Lateness, Missing, OpSpec, Otherwise, SinkFormat, StageSpec, Topology};

/// What a stage does, in one word.
fn kind(stage: &StageSpec) -> &'static str {
    match &stage.op {
        OpSpec::Select { filter: None, columns: None, .. } => "union",
        OpSpec::Select { columns: None, .. } => "filter",
        OpSpec::Select { .. } => "select",
        OpSpec::Each { .. } => "each",
        OpSpec::Dedup { .. } => "dedup",
        OpSpec::Join { .. } => "join",
        OpSpec::Window { .. } => "window",
        OpSpec::Since { .. } => "since",
        OpSpec::Changed { .. } => "changed",
        OpSpec::Infer(_) => "infer",
        OpSpec::Absence(_) => "absence",
        OpSpec::Apply(_) => "apply",
        OpSpec::Optimize(_) => "optimize",
    }
}

fn quoted(text: &str) -> String {
    text.replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}

impl Plan {
    /// The graph of the topology for Mermaid: sources and tables left, sinks and side outputs right. With `rekey` stages
    /// each slice is a box, and repartition topics stand between them.
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        let mut dead = false;
        for (n, t) in self.slices().enumerate() {
            if self.later.is_empty() {
                dead |= draw(t, "", &mut out);
            } else {
                let _ = writeln!(out, "  subgraph slice{n}[\"{}\"]", quoted(&t.name));
                dead |= draw(t, &format!("x{n}"), &mut out);
                out.push_str("  end\n");
            }
        }
        for (n, t) in self.slices().enumerate() {
            for r in &t.rekeys {
                let _ = writeln!(out, "  rekey_{}[/\"{}<br/><small>{}</small>\"/]", r.id, quoted(&r.topic), quoted(&r.key));
                for from in &r.from {
                    let _ = writeln!(out, "  {} --> rekey_{}", node(t, &format!("x{n}"), from), r.id);
                }
            }
        }
        if dead {
            let _ = writeln!(out, "  dead[\\\"{}\"\\]", quoted(&self.topology.dead_letters));
        }
        out
    }

    /// The plan in words, every default filled in.
    pub fn explain(&self) -> String {
        let t = &self.topology;
        let mut out = format!("topology {}   state {:016x}   dead letters to {}\n", t.name, t.state_hash, t.dead_letters);
        for (n, t) in self.slices().enumerate() {
            if n > 0 {
                let _ = writeln!(out, "\n──── slice {}   state {:016x}", t.name, t.state_hash);
            }
            self.explain_slice(t, &mut out);
        }
        out
    }

    fn explain_slice(&self, t: &Topology, out: &mut String) {
        for i in &t.inputs {
            if i.rekeyed.is_some() {
                let _ = writeln!(out, "\nsource {} from {}, the watermark of all tasks that write it", i.id, i.topic);
                let _ = writeln!(out, "  columns {}", columns(i.schema.fields()));
                continue;
            }
            let _ = writeln!(out, "\nsource {} from {}", i.id, i.topic);
            let _ = writeln!(
                out,
                "  event time {}, watermark {} behind, values up to {} bytes",
                i.time.column,
                format_ms(i.time.watermark_delay_ms),
                i.max_value_bytes
            );
            let late = match &i.time.lateness {
                Lateness::Watermark => "rows behind the watermark are late".to_string(),
                Lateness::PerKey { key, allowed_ms } => {
                    format!("rows up to {} behind the newest of their [{}] are corrections, older ones late", format_ms(*allowed_ms), key.join(", "))
                }
            };
            let _ = writeln!(out, "  {late}");
            if t.minds_idleness() {
                let idle = i.idle_after_ms.map_or_else(|| "never".to_string(), |ms| format!("after {}", format_ms(ms)));
                let skew = i.max_skew_ms.map_or_else(String::new, |ms| format!(", paused when {} ahead of the others", format_ms(ms)));
                let _ = writeln!(out, "  idle {idle}{}", if t.inputs.len() > 1 { skew } else { String::new() });
            }
            if let Some(f) = &i.time.future {
                let _ = writeln!(
                    out,
                    "  rows more than {} ahead of {} are dead letters",
                    format_ms(f.tolerance_ms),
                    f.against.as_deref().unwrap_or("the log's time")
                );
            }
            let _ = writeln!(out, "  columns {}", columns(i.schema.fields()));
        }
        for table in &t.tables {
            let kind = if table.global { "whole in every task" } else { "spread like the inputs" };
            let _ = writeln!(
                out,
                "\ntable {} from {} by [{}], versions by {}, {} of history, {kind}",
                table.id,
                table.topic,
                table.key.join(", "),
                table.valid_from,
                format_ms(table.history_ms)
            );
            let _ = writeln!(out, "  columns {}", columns(table.schema.fields()));
        }
        for stage in &t.stages {
            Self::explain_stage(t, stage, out);
        }
        for r in &t.rekeys {
            let from: Vec<&str> = r.from.iter().map(|f| name(t, f)).collect();
            let partitions = r.partitions.map_or_else(|| "as many partitions as tasks".to_string(), |n| format!("{n} partitions"));
            let _ = writeln!(out, "\nstage {} (rekey) from {}", r.id, from.join(", "));
            let _ = writeln!(out, "  by {} through {}, {partitions}, format {:016x}", r.key, r.topic, r.format_hash);
            let _ = writeln!(out, "  → {}", columns(r.schema.fields()));
        }
        for sink in &t.sinks {
            let from: Vec<&str> = sink.from.iter().map(|f| name(t, f)).collect();
            let format = if sink.format == SinkFormat::Json { "JSON" } else { "Avro" };
            let _ = writeln!(out, "\nsink {} from {}, {format}, key {}", sink.topic, from.join(", "), sink.key.as_deref().unwrap_or("none"));
            if !sink.header_columns.is_empty() {
                let _ = writeln!(out, "  in headers: {}", sink.header_columns.join(", "));
            }
            if let Some((_, names)) = self.left_out.iter().find(|(topic, _)| **topic == *sink.topic) {
                let _ = writeln!(out, "  not in the topic's schema, left out: {}", names.join(", "));
            }
        }
    }
}

fn name<'a>(t: &'a Topology, from: &From) -> &'a str {
    match from {
        From::Input(i) => &t.inputs[*i].id,
        From::Stage(i) => &t.stages[*i].id,
    }
}

/// The node of what a stage reads: a repartition topic stands for the input that it is.
fn node(t: &Topology, prefix: &str, from: &From) -> String {
    match from {
        From::Input(i) => match t.inputs[*i].id.strip_suffix(".read").filter(|_| t.inputs[*i].rekeyed.is_some()) {
            Some(stage) => format!("rekey_{stage}"),
            None => format!("{prefix}in{i}"),
        },
        From::Stage(i) => format!("{prefix}s{i}"),
    }
}

/// Draws one slice; true if rows of it may end as dead letters.
fn draw(t: &Topology, prefix: &str, out: &mut String) -> bool {
    for (i, input) in t.inputs.iter().enumerate().filter(|(_, i)| i.rekeyed.is_none()) {
        let _ = writeln!(out, "  {prefix}in{i}[/\"{}\"/]", quoted(&input.topic));
    }
    for (i, table) in t.tables.iter().enumerate() {
        let _ = writeln!(out, "  {prefix}table{i}[(\"{}\")]", quoted(&table.topic));
    }
    for (i, stage) in t.stages.iter().enumerate() {
        let detail = match &stage.op {
            OpSpec::Infer(s) => format!("<br/><small>{}</small>", quoted(&s.model)),
            OpSpec::Apply(s) => format!("<br/><small>{}</small>", quoted(&s.operator)),
            OpSpec::Optimize(s) => format!("<br/><small>{}</small>", quoted(&s.solver)),
            OpSpec::Window { window, .. } => {
                format!("<br/><small>{}</small>", format_ms(window.size_ms))
            }
            _ => String::new(),
        };
        let _ = writeln!(out, "  {prefix}s{i}[\"{}<br/><small>{}</small>{detail}\"]", quoted(&stage.id), kind(stage));
    }
    for (i, sink) in t.sinks.iter().enumerate() {
        let _ = writeln!(out, "  {prefix}out{i}[\\\"{}\"\\]", quoted(&sink.topic));
    }
    let mut dead = false;
    for (i, stage) in t.stages.iter().enumerate() {
        for from in &stage.from {
            let _ = writeln!(out, "  {} --> {prefix}s{i}", node(t, prefix, from));
        }
        match &stage.op {
            OpSpec::Join { table, missing, .. } => {
                let _ = writeln!(out, "  {prefix}table{table} -.-> {prefix}s{i}");
                if let Missing::Unmatched(reason) = missing {
                    let _ = writeln!(out, "  {prefix}s{i} -. {} .-> dead", quoted(reason));
                    dead = true;
                }
            }
            OpSpec::Select { otherwise: Otherwise::DeadLetter(reason), .. } => {
                let _ = writeln!(out, "  {prefix}s{i} -. {} .-> dead", quoted(reason));
                dead = true;
            }
            _ => {}
        }
    }
    for (i, sink) in t.sinks.iter().enumerate() {
        for from in &sink.from {
            let _ = writeln!(out, "  {} --> {prefix}out{i}", node(t, prefix, from));
        }
    }
    dead
}

impl Plan {
    fn explain_stage(t: &Topology, stage: &StageSpec, out: &mut String) {
        let from: Vec<&str> = stage.from.iter().map(|f| name(t, f)).collect();
        let _ = writeln!(out, "\nstage {} ({}) from {}", stage.id, kind(stage), from.join(", "));
        match &stage.op {
            OpSpec::Select { filter, otherwise, columns } => {
                if let Some(f) = filter {
                    let other = match otherwise {
                        Otherwise::Drop => "others are counted as filtered".to_string(),
                        Otherwise::DeadLetter(reason) => {
                            format!("others are dead letters, {reason}")
                        }
                    };
                    let _ = writeln!(out, "  where {}; {other}", f.text());
                }
                for c in columns.iter().flatten() {
                    expression(c, out);
                }
            }
            OpSpec::Each { alternatives } => {
                for (i, alternative) in alternatives.iter().enumerate() {
                    let _ = writeln!(out, "  row {}:", i + 1);
                    alternative.iter().for_each(|c| expression(c, out));
                }
            }
            OpSpec::Dedup { key, id, keep_ms } => {
                let _ = writeln!(out, "  one row for each [{}] of a [{}], remembered for {}", id.join(", "), key.join(", "), format_ms(*keep_ms));
            }
            OpSpec::Join { table, on, columns, missing } => {
                let table = &t.tables[*table];
                let taken: Vec<String> = columns
                    .iter()
                    .map(|(i, name)| if table.schema.field(*i).name() == name { name.clone() } else { format!("{} as {name}", table.schema.field(*i).name()) })
                    .collect();
                let without = match missing {
                    Missing::Nulls => "nulls".to_string(),
                    Missing::Unmatched(reason) => format!("dead letter, {reason}"),
                };
                let _ =
                    writeln!(out, "  table {} on [{}] as of the row's time, takes {}; without a partner: {without}", table.id, on.join(", "), taken.join(", "));
            }
            OpSpec::Window { group_by, window, calls, columns } => {
                let _ = writeln!(
                    out,
                    "  by [{}], {} long, every {}, final when the watermark passes the end",
                    group_by.join(", "),
                    format_ms(window.size_ms),
                    format_ms(window.slide_ms)
                );
                aggregates_of(calls, columns, out);
            }
            OpSpec::Since { group_by, window, calls, carry, columns } => {
                let _ = writeln!(out, "  by [{}], at most {}, panes of {}", group_by.join(", "), format_ms(window.at_most_ms), format_ms(window.pane_ms));
                if let Some(c) = &window.reset_at {
                    let _ = writeln!(out, "  starts anew at {c}");
                }
                if let Some(d) = &window.drop {
                    let _ = writeln!(out, "  starts anew when {} falls by {} to {} or less", d.value.text(), d.by, d.to_at_most);
                }
                match window.or_every_ms {
                    Some(every) => {
                        let _ = writeln!(out, "  emits per row, and every {} in silence, for {}", format_ms(every), format_ms(window.give_up_ms));
                    }
                    None => out.push_str("  emits per row\n"),
                }
                let _ = writeln!(out, "  carries {}", carry.join(", "));
                aggregates_of(calls, columns, out);
            }
            OpSpec::Changed { key, of, first } => {
                let first = first.as_ref().map_or_else(|| "always".to_string(), |f| format!("where {}", f.text()));
                let _ = writeln!(out, "  per [{}] when [{}] differs from the last one emitted; the first {first}", key.join(", "), of.join(", "));
            }
            OpSpec::Absence(s) => draw_stages::absence(s, out),
            OpSpec::Apply(s) => draw_stages::apply(s, out),
            OpSpec::Optimize(s) => draw_stages::optimize(s, out),
            OpSpec::Infer(s) => {
                let rungs: Vec<&str> = s.ladder.iter().map(|r| r.name()).collect();
                let _ = writeln!(
                    out,
                    "  model {} per [{}], then {}",
                    s.model,
                    s.key.join(", "),
                    if rungs.is_empty() { "nothing".to_string() } else { rungs.join(", then ") }
                );
                let _ = writeln!(
                    out,
                    "  {} a row, cached answers up to {} old, {} rows a call, {} pending at most",
                    format_ms(s.budget_ms),
                    format_ms(s.cache_age_ms),
                    s.batch_rows,
                    s.max_pending_rows
                );
            }
        }
        let _ = writeln!(out, "  → {}", columns(batch::user_fields(&stage.schema).iter()));
    }
}

fn expression(c: &Column, out: &mut String) {
    if c.expr.text() != c.name {
        let _ = writeln!(out, "  {} = {}", c.name, c.expr.text().split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

fn aggregates_of(calls: &[AggCall], columns: &[Column], out: &mut String) {
    for (i, call) in calls.iter().enumerate() {
        let horizon = call.horizon_ms.map(|h| format!(" over {}", format_ms(h))).unwrap_or_default();
        let _ = writeln!(out, "  {} = {}({}){horizon}", aggregates::column(i), aggregates::name(call.function), call.arg.as_ref().map_or("", |a| a.text()));
    }
    columns.iter().for_each(|c| expression(c, out));
}

fn columns<'a>(fields: impl IntoIterator<Item = &'a std::sync::Arc<arrow::datatypes::Field>>) -> String {
    fields.into_iter().map(|f| format!("{}: {}{}", f.name(), type_word(f.data_type()), if f.is_nullable() { "?" } else { "" })).collect::<Vec<_>>().join(", ")
}
