//! Cuts a file at its `rekey` stages into slices: sub-topologies with tasks, state and transactions of their own, that
//! hand rows on through repartition topics. A file without `rekey` is one slice, named as the file is, so its state is
//! what it always was; later slices are named after the stage that feeds them.
//!
//! What is read together by one stage is in one slice, and so is everything that reads one source. A `rekey` stage
//! stands in two: its writing end in the slice of what it reads, its reading end in that of what reads it.

use crate::defaults;
use crate::errors::Problems;
use crate::file::{File, Op};
use crate::graph::{Graph, Target};
use crate::plan::Pass;
use crate::state_hash;
use arrow::datatypes::Schema;
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::repartition::{format_hash, repartition_topic};
use ws_stream::spec::{From, InputSpec, Lateness, OpSpec, RekeySpec, Rekeyed, SinkFormat, SinkSpec, StageSpec, TableSpec, TimeSpec, Topology};

/// Makes the slices, each after those that it reads from; the first one is named as the file.
pub(crate) fn assemble(pass: Pass, file: &File, graph: &Graph, problems: &mut Problems) -> Option<Vec<Topology>> {
    let parts = Parts::of(file, graph);
    let groups = parts.groups(file, graph, problems)?;
    let name = file.name.value.as_str();
    let mut made: Vec<Topology> = Vec::new();
    // Per rekey stage: the slice that writes it.
    let mut written: Vec<Option<usize>> = vec![None; file.stages.len()];
    for (n, group) in groups.iter().enumerate() {
        let slice_name = match n {
            0 => name.to_string(),
            _ => format!("{name}.{}", group.feeds(file)),
        };
        let topology = Slice { pass: &pass, file, graph, group, made: &made, written: &written }.topology(slice_name)?;
        group.writes.iter().for_each(|s| written[*s] = Some(n));
        made.push(topology);
    }
    Some(made)
}

/// Who belongs together: a forest over sources, stages and the reading ends of rekey stages.
struct Parts {
    parent: Vec<usize>,
    sources: usize,
    stages: usize,
}

impl Parts {
    fn of(file: &File, graph: &Graph) -> Parts {
        let (sources, stages) = (file.sources.len(), file.stages.len());
        let mut parts = Parts { parent: (0..sources + 2 * stages).collect(), sources, stages };
        for (i, reads) in graph.reads.iter().enumerate() {
            for target in reads {
                let (a, b) = (parts.stage(i), parts.behind(file, *target));
                parts.join(a, b);
            }
        }
        if !file.stages.iter().any(|s| matches!(s.op, Op::Rekey { .. })) {
            (1..sources + stages).for_each(|i| parts.join(0, i));
        }
        parts
    }
    fn stage(&self, i: usize) -> usize {
        self.sources + i
    }
    fn reading_end(&self, i: usize) -> usize {
        self.sources + self.stages + i
    }
    fn behind(&self, file: &File, target: Target) -> usize {
        match target {
            Target::Source(s) => s,
            Target::Stage(s) if matches!(file.stages[s].op, Op::Rekey { .. }) => self.reading_end(s),
            Target::Stage(s) => self.stage(s),
        }
    }
    fn root(&self, mut i: usize) -> usize {
        while self.parent[i] != i {
            i = self.parent[i];
        }
        i
    }
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }

    /// The groups in an order in which each comes after those it reads from.
    fn groups(&self, file: &File, graph: &Graph, problems: &mut Problems) -> Option<Vec<Group>> {
        let mut groups: Vec<(usize, Group)> = Vec::new();
        let mut at = |root: usize| match groups.iter().position(|(r, _)| *r == root) {
            Some(i) => i,
            None => {
                groups.push((root, Group::default()));
                groups.len() - 1
            }
        };
        let places: Vec<usize> = (0..self.sources + 2 * self.stages).map(|n| at(self.root(n))).collect();
        for s in 0..self.sources {
            groups[places[s]].1.sources.push(s);
        }
        for i in &graph.order {
            let rekey = matches!(file.stages[*i].op, Op::Rekey { .. });
            let group = &mut groups[places[self.stage(*i)]].1;
            if rekey {
                group.writes.push(*i)
            } else {
                group.stages.push(*i)
            }
            if rekey {
                groups[places[self.reading_end(*i)]].1.reads.push(*i);
            }
        }
        for (s, (_, sink)) in file.sinks.iter().enumerate() {
            let mut ignored = Problems::new("", "");
            for target in sink.from.iter().filter_map(|n| graph.target(n, &mut ignored)) {
                let sinks = &mut groups[places[self.behind(file, target)]].1.sinks;
                if !sinks.contains(&s) {
                    sinks.push(s);
                }
            }
        }
        let alone = groups.len() == 1;
        let mut left: Vec<Group> =
            groups.into_iter().map(|(_, g)| g).filter(|g| alone || !(g.stages.is_empty() && g.writes.is_empty() && g.sinks.is_empty())).collect();
        left.iter_mut().for_each(|g| g.reads.sort_unstable());
        let mut ordered: Vec<Group> = Vec::new();
        while !left.is_empty() {
            let done = |s: &usize| ordered.iter().any(|g: &Group| g.writes.contains(s));
            match left.iter().position(|g| g.reads.iter().all(done)) {
                Some(i) => ordered.push(left.remove(i)),
                None => {
                    let stage = left.iter().flat_map(|g| &g.reads).copied().min().unwrap_or(0);
                    let id = &file.stages[stage].id;
                    problems.hint(
                        id.at,
                        format!("rows from before and from behind `{}` come together in one stage", id.value),
                        "a slice would wait for its own watermark: let everything that is put together go through a `rekey`",
                    );
                    return None;
                }
            }
        }
        Some(ordered)
    }
}

/// What is in a slice: indexes in the order of the file; stages in the order of the graph.
#[derive(Debug, Default)]
struct Group {
    sources: Vec<usize>,
    stages: Vec<usize>,
    /// Rekey stages read.
    reads: Vec<usize>,
    /// Rekey stages written.
    writes: Vec<usize>,
    sinks: Vec<usize>,
}

impl Group {
    /// The stage, or else the source, after which a later slice is named.
    fn feeds<'a>(&self, file: &'a File) -> &'a str {
        match (self.reads.first(), self.sources.first()) {
            (Some(s), _) => &file.stages[*s].id.value,
            (None, Some(s)) => &file.sources[*s].0.value,
            (None, None) => "",
        }
    }
}

/// A slice being made.
struct Slice<'a> {
    pass: &'a Pass,
    file: &'a File,
    graph: &'a Graph,
    group: &'a Group,
    made: &'a [Topology],
    written: &'a [Option<usize>],
}

impl Slice<'_> {
    fn topology(&self, name: String) -> Option<Topology> {
        let g = self.group;
        let mut inputs: Vec<InputSpec> = g.sources.iter().map(|s| self.pass.inputs[*s].as_ref().map(|(spec, _)| spec.clone())).collect::<Option<_>>()?;
        inputs.extend(g.reads.iter().map(|s| self.read(*s)).collect::<Option<Vec<_>>>()?);
        // Without `rekey` all tables are here, used or not, as state numbers them.
        let wanted: Vec<usize> = match g.reads.is_empty() && g.writes.is_empty() {
            true => (0..self.pass.tables.len()).collect(),
            false => (0..self.pass.tables.len()).filter(|t| g.stages.iter().any(|s| self.joins(*s) == Some(*t))).collect(),
        };
        let tables: Vec<TableSpec> = wanted.iter().map(|t| self.pass.tables[*t].1.clone()).collect::<Option<_>>()?;
        let mut stages = Vec::new();
        for i in &g.stages {
            let made = &self.pass.stages[*i];
            let mut op = made.op.clone()?;
            if let OpSpec::Join { table, .. } = &mut op {
                *table = wanted.iter().position(|t| t == table)?;
            }
            stages.push(StageSpec { id: self.file.stages[*i].id.value.clone(), from: self.from(&self.graph.reads[*i])?, op, schema: made.rows.schema.clone() });
        }
        let sinks = g.sinks.iter().map(|s| self.sink(*s)).collect::<Option<Vec<_>>>()?;
        let mut models: Vec<String> = Vec::new();
        for stage in &stages {
            if let OpSpec::Infer(i) = &stage.op
                && !models.contains(&i.model)
            {
                models.push(i.model.clone());
            }
        }
        let dead_letters: Arc<str> = match &self.file.dead_letters {
            Some(topic) => Arc::from(topic.value.as_str()),
            None => Arc::from(format!("dlq.{}", self.file.name.value)),
        };
        // Of the whole file: every slice writes into the same topic.
        let all = &self.file.sinks;
        let dead_format = if !all.is_empty() && all.iter().all(|(_, s)| s.json) { SinkFormat::Json } else { SinkFormat::Avro };
        let state_hash = state_hash::of(&inputs, &tables, &stages);
        let mut topology = Topology { name: Arc::from(name), state_hash, inputs, tables, stages, sinks, dead_letters, dead_format, models, rekeys: Vec::new() };
        let origins = topology.origins();
        topology.rekeys = g.writes.iter().map(|s| self.write(*s, &origins)).collect::<Option<_>>()?;
        Some(topology)
    }

    fn joins(&self, stage: usize) -> Option<usize> {
        match &self.pass.stages[stage].op {
            Some(OpSpec::Join { table, .. }) => Some(*table),
            _ => None,
        }
    }

    /// Places in this slice; targets of other slices are left out.
    fn places(&self, targets: &[Target]) -> Vec<From> {
        let g = self.group;
        let place = |t: &Target| match t {
            Target::Source(s) => g.sources.iter().position(|x| x == s).map(From::Input),
            Target::Stage(s) => match g.reads.iter().position(|x| x == s) {
                Some(i) => Some(From::Input(g.sources.len() + i)),
                None => g.stages.iter().position(|x| x == s).map(From::Stage),
            },
        };
        targets.iter().filter_map(place).collect()
    }

    fn from(&self, targets: &[Target]) -> Option<Vec<From>> {
        let places = self.places(targets);
        (places.len() == targets.len()).then_some(places)
    }

    /// A sink's part in this slice.
    fn sink(&self, s: usize) -> Option<SinkSpec> {
        let mut ignored = Problems::new("", "");
        let targets: Vec<Target> = self.file.sinks[s].1.from.iter().filter_map(|n| self.graph.target(n, &mut ignored)).collect();
        let made = self.pass.sinks[s].as_ref()?;
        Some(SinkSpec { from: self.places(&targets), ..made.spec.clone() })
    }

    fn key_of(&self, stage: usize) -> Option<(&str, Option<u32>)> {
        match &self.file.stages[stage].op {
            Op::Rekey { key, partitions } => Some((&key.value, partitions.and_then(|p| u32::try_from(p).ok()))),
            _ => None,
        }
    }

    fn columns(&self, stage: usize) -> Arc<Schema> {
        Arc::new(Schema::new(batch::user_fields(&self.pass.stages[stage].rows.schema).to_vec()))
    }

    fn write(&self, stage: usize, origins: &[Arc<str>]) -> Option<RekeySpec> {
        let (id, schema) = (&self.file.stages[stage].id.value, self.columns(stage));
        let (key, partitions) = self.key_of(stage)?;
        Some(RekeySpec {
            id: id.clone(),
            from: self.from(&self.graph.reads[stage])?,
            topic: repartition_topic(&self.file.name.value, id),
            partitions,
            key: key.to_string(),
            format_hash: format_hash(key, &schema, origins),
            schema,
        })
    }

    fn read(&self, stage: usize) -> Option<InputSpec> {
        let upstream = self.made.get(self.written[stage]?)?;
        let id = &self.file.stages[stage].id.value;
        let rekey = upstream.rekeys.iter().find(|r| r.id == *id)?;
        // A row that per-key lateness let pass is behind the watermark and yet not late.
        let strict = upstream.inputs.iter().all(|i| matches!(i.time.lateness, Lateness::Watermark));
        let lateness = if strict { Lateness::Watermark } else { Lateness::PerKey { key: Vec::new(), allowed_ms: i64::MAX } };
        Some(InputSpec {
            id: format!("{id}.read"),
            topic: rekey.topic.clone(),
            schema: rekey.schema.clone(),
            time: TimeSpec { column: batch::TIME.into(), future: None, watermark_delay_ms: 0, lateness },
            max_value_bytes: usize::MAX,
            idle_after_ms: None,
            max_skew_ms: Some(defaults::MAX_SKEW_MS),
            rekeyed: Some(Rekeyed { format_hash: rekey.format_hash, origins: upstream.origins(), counted_by: upstream.inputs.first()?.topic.clone() }),
        })
    }
}
