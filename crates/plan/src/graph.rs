//! Which stage reads which: names to indexes, and an order in which every stage comes after what it reads.

use crate::errors::{Problems, did_you_mean};
use crate::file::File;
use crate::yaml::At;
use std::collections::BTreeMap;

/// What a name in `from:` stands for, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Index in the file's sources.
    Source(usize),
    /// Index in the file's stages.
    Stage(usize),
}

/// The resolved references of a file.
#[derive(Debug)]
pub struct Graph {
    /// Per stage of the file: what it reads. Unknown names are left out.
    pub reads: Vec<Vec<Target>>,
    /// Stages in an order in which they can run; those in a cycle are left out.
    pub order: Vec<usize>,
    /// Names to targets.
    names: BTreeMap<String, Target>,
    tables: Vec<String>,
}

/// Resolves references and sorts the stages. Duplicate names, unknown names and cycles are noted.
pub fn resolve(file: &File, problems: &mut Problems) -> Graph {
    let mut names: BTreeMap<String, Target> = BTreeMap::new();
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    let sources = file.sources.iter().enumerate().map(|(i, (n, _))| (n, Target::Source(i)));
    let stages = file.stages.iter().enumerate().map(|(i, s)| (&s.id, Target::Stage(i)));
    for (name, target) in sources.chain(stages) {
        if let Some(line) = places.get(name.value.as_str()) {
            problems.hint(
                name.at,
                format!("the id `{}` is used twice", name.value),
                format!("the first one is in line {line}; state belongs to an id, so each is used once"),
            );
        } else {
            places.insert(&name.value, name.at.line);
            names.insert(name.value.clone(), target);
        }
    }
    let tables = file.tables.iter().map(|(n, _)| n.value.clone()).collect();
    let mut graph = Graph { reads: Vec::new(), order: Vec::new(), names, tables };
    for stage in &file.stages {
        let targets = stage.from.iter().filter_map(|n| graph.target(n, problems)).collect();
        graph.reads.push(targets);
    }
    graph.sort(file, problems);
    graph
}

impl Graph {
    /// What a name stands for; an unknown one is noted.
    pub fn target(&self, name: &At<String>, problems: &mut Problems) -> Option<Target> {
        let found = self.names.get(&name.value).copied();
        if found.is_none() {
            if self.tables.contains(&name.value) {
                problems.hint(
                    name.at,
                    format!("`{}` is a table, not a stream of rows", name.value),
                    format!("rows reach it with `join: {{ table: {}, … }}`", name.value),
                );
            } else {
                problems.push(name.at, format!("unknown stage or source `{}`", name.value), did_you_mean(&name.value, self.names.keys().map(String::as_str)));
            }
        }
        found
    }

    /// First come, first placed, once everything it reads is placed: the order of the file where possible.
    fn sort(&mut self, file: &File, problems: &mut Problems) {
        let n = file.stages.len();
        let mut placed = vec![false; n];
        loop {
            let ready =
                (0..n).find(|i| !placed[*i] && self.reads[*i].iter().all(|t| matches!(t, Target::Source(_)) || matches!(t, Target::Stage(s) if placed[*s])));
            let Some(i) = ready else { break };
            placed[i] = true;
            self.order.push(i);
        }
        if let Some(start) = (0..n).find(|i| !placed[*i] && self.cycle(*i).is_some()) {
            let cycle = self.cycle(start).unwrap_or_default();
            let words: Vec<&str> = cycle.iter().map(|i| file.stages[*i].id.value.as_str()).collect();
            let at = file.stages[start].from.first().map_or(file.stages[start].at, |f| f.at);
            problems.hint(
                at,
                format!("stages in a circle: {}", words.join(" ← ")),
                "rows flow from sources to sinks; a stage cannot read what comes behind it",
            );
        }
    }

    /// The path from a stage along what it reads back to itself.
    fn cycle(&self, start: usize) -> Option<Vec<usize>> {
        let mut paths = vec![vec![start]];
        let mut seen = vec![false; self.reads.len()];
        while let Some(path) = paths.pop() {
            let last = *path.last()?;
            for target in &self.reads[last] {
                let Target::Stage(s) = target else { continue };
                let mut longer = path.clone();
                longer.push(*s);
                if *s == start {
                    return Some(longer);
                }
                if !seen[*s] {
                    seen[*s] = true;
                    paths.push(longer);
                }
            }
        }
        None
    }
}
