//! Before a worker starts: every topic must exist with fitting partition counts; the engine's own topics are made.

use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::log::{Admin, LogError, TopicSpec};
use ws_stream::spec::Topology;
use ws_stream::task::{Surroundings, changelog_topic, manifest_topic};

/// A topology that cannot start on this log.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Inputs that must be read together have different partition counts.
    #[error(
        "topics {first} ({first_partitions} partitions) and {second} ({second_partitions}) are read together by topology {topology} and must have equal partition counts; re-create one of them, or declare the table `global: true`"
    )]
    NotCopartitioned {
        /// Topology.
        topology: Arc<str>,
        /// One topic.
        first: Arc<str>,
        /// Its partitions.
        first_partitions: u32,
        /// The other.
        second: Arc<str>,
        /// Its partitions.
        second_partitions: u32,
    },
    /// The engine's own topic was made for another partition count.
    #[error(
        "{topic} has {found} partitions, but {input} has {wanted}: partitions were added to the input after the topology first ran; its keys moved, so its state does not fit. Reset the topology on purpose, or give it a new name"
    )]
    Repartitioned {
        /// Own topic.
        topic: Arc<str>,
        /// Its partitions.
        found: u32,
        /// Input topic.
        input: Arc<str>,
        /// Its partitions.
        wanted: u32,
    },
    /// The topology reads nothing.
    #[error("topology {0} has no source")]
    NoInput(Arc<str>),
}

/// What was found: identities and counts for the core, and the task count.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// For tasks.
    pub surroundings: Surroundings,
    /// Number of tasks: partitions of the inputs.
    pub tasks: u32,
}

/// Outputs and the engine's own topics are made where they are missing (`create_outputs`); inputs never are.
pub fn prepare(topology: &Topology, admin: &mut dyn Admin, create_outputs: bool) -> Result<Prepared, PrepareError> {
    let mut topics = BTreeMap::new();
    let mut first: Option<(Arc<str>, u32)> = None;
    let inputs = topology.inputs.iter().map(|i| &i.topic).chain(topology.tables.iter().filter(|t| !t.global).map(|t| &t.topic));
    for topic in inputs {
        let info = admin.topic(topic)?.ok_or_else(|| LogError::NoTopic(topic.clone()))?;
        match &first {
            Some((name, n)) if *n != info.partitions => {
                return Err(PrepareError::NotCopartitioned {
                    topology: topology.name.clone(),
                    first: name.clone(),
                    first_partitions: *n,
                    second: topic.clone(),
                    second_partitions: info.partitions,
                });
            }
            Some(_) => {}
            None => first = Some((topic.clone(), info.partitions)),
        }
        topics.insert(topic.clone(), (info.id, info.partitions));
    }
    let (input, tasks) = first.ok_or_else(|| PrepareError::NoInput(topology.name.clone()))?;
    for t in topology.tables.iter().filter(|t| t.global) {
        let info = admin.topic(&t.topic)?.ok_or_else(|| LogError::NoTopic(t.topic.clone()))?;
        topics.insert(t.topic.clone(), (info.id, info.partitions));
    }
    let keep = |name: Arc<str>, retention: &str| TopicSpec {
        name,
        partitions: tasks,
        config: vec![("cleanup.policy".into(), "delete".into()), ("retention.ms".into(), retention.into())],
    };
    // The changelog is cut by the tasks themselves; time must not do it.
    let own = vec![
        keep(format!("ws.{}.tasks", topology.name).into(), "-1"),
        keep(changelog_topic(&topology.name), "-1"),
        keep(manifest_topic(&topology.name), "604800000"),
    ];
    admin.create(&own)?;
    let outputs: Vec<Arc<str>> = topology.sinks.iter().map(|s| s.topic.clone()).chain([topology.dead_letters.clone()]).collect();
    if create_outputs {
        let specs: Vec<_> = outputs.iter().map(|name| TopicSpec { name: name.clone(), partitions: tasks, config: Vec::new() }).collect();
        admin.create(&specs)?;
    }
    for name in own.iter().map(|s| s.name.clone()).chain(outputs) {
        let info = admin.topic(&name)?.ok_or_else(|| LogError::NoTopic(name.clone()))?;
        if own.iter().any(|s| s.name == name) && info.partitions != tasks {
            return Err(PrepareError::Repartitioned { topic: name, found: info.partitions, input, wanted: tasks });
        }
        topics.insert(name, (info.id, info.partitions));
    }
    Ok(Prepared { surroundings: Surroundings { cluster_id: admin.cluster_id()?, topics }, tasks })
}
