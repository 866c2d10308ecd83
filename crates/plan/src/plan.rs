//! Puts a plan together: reads the file, checks it twice — once with all columns of the sources, then with those that
//! something uses, so that nothing is decoded in vain — and keeps what people ask about it.

use crate::check::{Check, Rows, restrict};
use crate::contracts::{Contracts, type_word};
use crate::errors::{PlanErrors, Problems};
use crate::expr::Planner;
use crate::file::{File, Op};
use crate::graph::{self, Graph, Target};
use crate::sinks::MadeSink;
use crate::stages::{Made, Uses};
use crate::yaml::{At, Pos};
use crate::{read, slices, yaml};
use arrow::datatypes::{Field, Schema};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::spec::{InputSpec, TableSpec, Topology};

/// A checked topology and where it came from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Ready to run: the whole file, or, where it has `rekey` stages, its first slice.
    pub topology: Topology,
    /// The slices behind `rekey` stages, each after those that it reads from.
    pub later: Vec<Topology>,
    /// File name as given.
    pub file: String,
    /// The file's text.
    pub source: String,
    /// Columns that arrive at sinks and are not part of their contract, by topic.
    pub left_out: Vec<(String, Vec<String>)>,
}

impl Plan {
    /// All slices, each after those that it reads from.
    pub fn slices(&self) -> impl Iterator<Item = &Topology> {
        std::iter::once(&self.topology).chain(&self.later)
    }

    /// All slices to be run, in that order.
    pub fn into_slices(self) -> Vec<Arc<Topology>> {
        std::iter::once(self.topology).chain(self.later).map(Arc::new).collect()
    }
}

/// Reads and checks a topology file.
pub fn load_file(path: &Path, contracts: &dyn Contracts, env: &dyn Fn(&str) -> Option<String>) -> Result<Plan, PlanErrors> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => load(&name, &text, contracts, env),
        Err(error) => {
            let mut problems = Problems::new(&name, "");
            problems.add(Pos::NONE, format!("cannot be read: {error}"));
            problems.into_result(None)
        }
    }
}

/// Checks the text of a topology. `name` stands for the file in messages; `env` answers `${NAME}`.
pub fn load(name: &str, text: &str, contracts: &dyn Contracts, env: &dyn Fn(&str) -> Option<String>) -> Result<Plan, PlanErrors> {
    let mut problems = Problems::new(name, text);
    let plan = checked(name, text, contracts, env, &mut problems);
    problems.into_result(plan)
}

fn checked(name: &str, text: &str, contracts: &dyn Contracts, env: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) -> Option<Plan> {
    let root = yaml::parse(text, env, problems)?;
    let file = read::file(&root, problems)?;
    let graph = graph::resolve(&file, problems);
    let planner = Planner::new();
    let mut check = Check { contracts, planner: &planner, problems };
    let all = check.pass(&file, &graph, None);
    if check.problems.count() > 0 {
        return None;
    }
    let used = all.used(&file, &graph);
    let lean = check.pass(&file, &graph, Some(&used));
    if check.problems.count() > 0 {
        return None;
    }
    let left_out = lean.sinks.iter().flatten().filter(|s| !s.left_out.is_empty()).map(|s| (s.spec.topic.to_string(), s.left_out.clone())).collect();
    let mut slices = slices::assemble(lean, &file, &graph, check.problems)?.into_iter();
    Some(Plan { topology: slices.next()?, later: slices.collect(), file: name.to_string(), source: text.to_string(), left_out })
}

/// Columns that are used: per source, per table, and behind each stage.
struct Used {
    sources: Vec<BTreeSet<String>>,
    tables: Vec<BTreeSet<String>>,
    stages: Vec<BTreeSet<String>>,
}

/// What one pass over the file made, in the order of the file.
pub(crate) struct Pass {
    pub(crate) inputs: Vec<Option<(InputSpec, Rows)>>,
    pub(crate) tables: Vec<(At<String>, Option<TableSpec>)>,
    pub(crate) stages: Vec<Made>,
    pub(crate) sinks: Vec<Option<MadeSink>>,
}

/// What must agree when the rows of several stages become one stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unite {
    /// Columns and key.
    Same,
    /// Columns.
    AnyKey,
    /// The types of columns that several have; others are null where they are missing. The key may differ.
    Nulls,
}

/// Stands for the key of rows that are spread by different keys: no stage that keeps state by key finds it among its own.
const SEVERAL_KEYS: &str = "(several keys)";

impl Check<'_> {
    fn pass(&mut self, file: &File, graph: &Graph, used: Option<&Used>) -> Pass {
        let inputs: Vec<_> = file.sources.iter().enumerate().map(|(i, (id, s))| self.source(id, s, used.map(|u| &u.sources[i]))).collect();
        let tables: Vec<_> = file.tables.iter().enumerate().map(|(i, (id, t))| (id.clone(), self.table(id, t, used.map(|u| &u.tables[i])))).collect();
        let mut pass = Pass { inputs, tables, stages: file.stages.iter().map(|_| Made::broken()).collect(), sinks: Vec::new() };
        for i in &graph.order {
            let stage = &file.stages[*i];
            let rekey = matches!(stage.op, Op::Rekey { .. });
            let unite = match stage.op {
                Op::Rekey { .. } => Unite::AnyKey,
                Op::Union { nulls: true } => Unite::Nulls,
                _ => Unite::Same,
            };
            let input = self.union(&stage.from, &graph.reads[*i], &pass, unite);
            let mut made = self.stage(stage, &input, &pass.tables);
            if let Some(used) = used.filter(|_| rekey && made.op.is_some()) {
                // Only what somebody behind it wants goes through the repartition topic.
                let wanted = &made.uses.always;
                let user = Schema::new(batch::user_fields(&made.rows.schema).to_vec());
                made.rows.schema = batch::with_system(&restrict(&user, |c| wanted.contains(c) || used.stages[*i].contains(c)));
            }
            pass.stages[*i] = made;
        }
        for (topic, sink) in &file.sinks {
            let targets: Vec<Target> = sink.from.iter().filter_map(|n| graph.target(n, self.problems)).collect();
            let rows = self.union(&sink.from, &targets, &pass, Unite::Same);
            let made = self.sink(topic, sink, Vec::new(), &rows);
            pass.sinks.push(made);
        }
        if file.sinks.is_empty() && self.problems.count() == 0 {
            self.problems.hint(file.name.at, "a topology without sinks has no effect", "sinks: { my.topic: { from: last_stage } }");
        }
        pass
    }

    /// The rows of several stages as one.
    fn union(&mut self, names: &[At<String>], targets: &[Target], pass: &Pass, unite: Unite) -> Rows {
        let behind = |t: &Target| match t {
            Target::Source(i) => pass.inputs[*i].as_ref().map_or_else(Rows::unknown, |(_, rows)| rows.clone()),
            Target::Stage(i) => pass.stages[*i].rows.clone(),
        };
        let Some(first) = targets.first() else {
            return Rows::unknown();
        };
        let mut rows = behind(first);
        if targets.len() < names.len() {
            rows.sound = false;
        }
        for (target, name) in targets.iter().zip(names).skip(1) {
            let other = behind(target);
            if !(other.sound && rows.sound) {
                rows.sound = false;
                continue;
            }
            if unite == Unite::Nulls {
                self.widen(&mut rows, &other, name);
                continue;
            }
            let shape = |r: &Rows| batch::user_fields(&r.schema).iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>();
            let (a, b) = (shape(&rows), shape(&other));
            if a != b {
                let only = |x: &[(String, _)], y: &[(String, _)]| {
                    x.iter().filter(|c| !y.contains(c)).map(|(n, t)| format!("{n} ({})", type_word(t))).collect::<Vec<_>>()
                };
                let (left, right) = (only(&a, &b), only(&b, &a));
                let detail = if left.is_empty() && right.is_empty() {
                    "they come in another order".to_string()
                } else {
                    format!("only in `{}`: [{}]; only in `{}`: [{}]", names[0].value, left.join(", "), name.value, right.join(", "))
                };
                self.problems.hint(
                    name.at,
                    format!("`{}` and `{}` have different columns", names[0].value, name.value),
                    format!("give both the same `select`; {detail}"),
                );
                rows.sound = false;
                continue;
            }
            if rows.key != other.key && unite == Unite::Same {
                self.problems.hint(
                    name.at,
                    format!("`{}` and `{}` are spread over tasks by different keys", names[0].value, name.value),
                    "streams can be put together when they are keyed alike: `rekey:` one of them first",
                );
            }
            let fields: Vec<Field> = batch::user_fields(&rows.schema)
                .iter()
                .zip(batch::user_fields(&other.schema))
                .map(|(a, b)| a.as_ref().clone().with_nullable(a.is_nullable() || b.is_nullable()))
                .collect();
            rows.schema = batch::with_system(&Schema::new(fields));
        }
        rows
    }

    /// Adds the columns of `other` that `rows` lacks; what not all have may be null.
    fn widen(&mut self, rows: &mut Rows, other: &Rows, name: &At<String>) {
        let (mine, theirs) = (Schema::new(batch::user_fields(&rows.schema).to_vec()), Schema::new(batch::user_fields(&other.schema).to_vec()));
        let mut fields: Vec<Field> = Vec::new();
        for field in mine.fields() {
            let twin = theirs.field_with_name(field.name()).ok();
            if let Some(twin) = twin.filter(|t| t.data_type() != field.data_type()) {
                let (a, b) = (type_word(field.data_type()), type_word(twin.data_type()));
                self.problems.hint(name.at, format!("column `{}` is {a} before `{}` and {b} in it", field.name(), name.value), "CAST one of them");
                rows.sound = false;
                return;
            }
            fields.push(field.as_ref().clone().with_nullable(field.is_nullable() || twin.is_none_or(|t| t.is_nullable())));
        }
        fields.extend(theirs.fields().iter().filter(|f| mine.field_with_name(f.name()).is_err()).map(|f| f.as_ref().clone().with_nullable(true)));
        rows.schema = batch::with_system(&Schema::new(fields));
        if rows.key != other.key {
            rows.key = Some(vec![SEVERAL_KEYS.to_string()]);
        }
    }
}

impl Pass {
    /// Follows the columns from the sinks back to the sources and tables.
    fn used(&self, file: &File, graph: &Graph) -> Used {
        let mut of_stage: Vec<BTreeSet<String>> = vec![BTreeSet::new(); file.stages.len()];
        let mut used = Used { sources: vec![BTreeSet::new(); file.sources.len()], tables: vec![BTreeSet::new(); file.tables.len()], stages: Vec::new() };
        let mut want = |target: &Target, columns: &BTreeSet<String>, of_stage: &mut Vec<BTreeSet<String>>| match target {
            Target::Source(i) => used.sources[*i].extend(columns.iter().cloned()),
            Target::Stage(i) => of_stage[*i].extend(columns.iter().cloned()),
        };
        for ((_, sink), made) in file.sinks.iter().zip(&self.sinks) {
            let Some(made) = made else { continue };
            let mut ignored = Problems::new("", "");
            for name in &sink.from {
                if let Some(t) = graph.target(name, &mut ignored) {
                    want(&t, &made.reads, &mut of_stage);
                }
            }
        }
        let mut taken = Vec::new();
        for i in graph.order.iter().rev() {
            let uses: &Uses = &self.stages[*i].uses;
            let mut needs = uses.always.clone();
            if uses.passes {
                needs.extend(of_stage[*i].difference(&uses.makes).cloned());
            }
            for target in &graph.reads[*i] {
                want(target, &needs, &mut of_stage);
            }
            taken.extend(uses.takes.iter().cloned());
        }
        for (table, column) in taken {
            used.tables[table].insert(column);
        }
        used.stages = of_stage;
        used
    }
}
