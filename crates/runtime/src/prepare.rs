//! Before a worker starts: every topic must exist with fitting partition counts; the engine's own topics are made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ws_stream::log::{Admin, End, Log, LogError, TopicPartition, TopicSpec};
use ws_stream::repartition::format_of;
use ws_stream::spec::{RekeySpec, Topology};
use ws_stream::task::{Surroundings, changelog_topic, manifest_topic};

/// How long the first records of repartition topics are waited for; then tasks find out themselves.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_POLL_MS: u64 = 100;

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
    /// Rows of another version of the topology wait in a repartition topic.
    #[error(
        "{topic} holds rows of the format {found:016x}, this version of the topology reads and writes {wanted:016x}: the columns before the `rekey` stage changed. Let the version that wrote them run until it has read the topic to its end, or give the stage another id, which makes a topic of its own"
    )]
    Format {
        /// Repartition topic.
        topic: Arc<str>,
        /// Format of its first record.
        found: u64,
        /// Format of the topology.
        wanted: u64,
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

/// Topics that a topology of one slice needs: see [`prepare_slices`].
pub fn prepare(topology: &Topology, admin: &mut dyn Admin, create_outputs: bool) -> Result<Prepared, PrepareError> {
    prepare_slice(topology, &[], admin, create_outputs)
}

/// Outputs and the engine's own topics are made where they are missing (`create_outputs`); inputs never are. Slices
/// come after those that they read from, so a repartition topic is there before it is looked for.
pub fn prepare_slices(slices: &[Arc<Topology>], admin: &mut dyn Admin, create_outputs: bool) -> Result<Vec<Prepared>, PrepareError> {
    slices.iter().map(|t| prepare_slice(t, slices, admin, create_outputs)).collect()
}

/// Partitions that a repartition topic is made with: those of what the reading slice reads beside it, so that they fit
/// together; else as many as there are tasks that write it.
fn partitions_of(rekey: &RekeySpec, slices: &[Arc<Topology>], admin: &mut dyn Admin, tasks: u32) -> Result<u32, LogError> {
    if let Some(n) = rekey.partitions {
        return Ok(n);
    }
    let reader = slices.iter().find(|s| s.inputs.iter().any(|i| i.topic == rekey.topic));
    let beside = reader.into_iter().flat_map(|s| {
        let inputs = s.inputs.iter().filter(|i| i.rekeyed.is_none()).map(|i| &i.topic);
        inputs.chain(s.tables.iter().filter(|t| !t.global).map(|t| &t.topic))
    });
    for topic in beside {
        if let Some(info) = admin.topic(topic)? {
            return Ok(info.partitions);
        }
    }
    Ok(tasks)
}

/// Refuses repartition topics that hold rows of another format. Only the first record of each partition is looked at:
/// what was consumed is deleted, and a task checks every record.
pub fn check_formats(log: &dyn Log, slices: &[Arc<Topology>], prepared: &[Prepared]) -> Result<(), PrepareError> {
    let (mut admin, mut reader) = (log.admin()?, log.reader()?);
    for (topology, prepared) in slices.iter().zip(prepared) {
        for input in &topology.inputs {
            let Some(rekeyed) = &input.rekeyed else { continue };
            let mut left = BTreeMap::new();
            for p in 0..prepared.tasks {
                let at = TopicPartition::new(input.topic.clone(), p);
                let start = admin.start(&at)?;
                let end = admin.end(&at, End::Stable)?;
                if start < end {
                    reader.add(&at, start)?;
                    left.insert(at, end);
                }
            }
            let deadline = Instant::now() + LOOK;
            while !left.is_empty() && Instant::now() < deadline {
                let polled = match reader.poll(LOOK_POLL_MS) {
                    // Another process consumed them and had them deleted meanwhile: it has checked them.
                    Err(LogError::OutOfRange { at, .. }) if left.remove(&at).is_some() => {
                        reader.remove(&at)?;
                        continue;
                    }
                    polled => polled?,
                };
                for (at, records) in polled {
                    if let Some(found) = (0..records.rows.len()).find_map(|i| records.value(i).and_then(format_of)).filter(|f| *f != rekeyed.format_hash) {
                        return Err(PrepareError::Format { topic: input.topic.clone(), found, wanted: rekeyed.format_hash });
                    }
                    // Markers and what was aborted may come first.
                    if left.get(&at).is_some_and(|end| !records.rows.is_empty() || records.next_offset >= *end) {
                        left.remove(&at);
                        reader.remove(&at)?;
                    }
                }
            }
            left.keys().try_for_each(|at| reader.remove(at))?;
        }
    }
    Ok(())
}

fn prepare_slice(topology: &Topology, slices: &[Arc<Topology>], admin: &mut dyn Admin, create_outputs: bool) -> Result<Prepared, PrepareError> {
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
    let known = topology.tables.iter().filter(|t| t.global).map(|t| t.topic.clone());
    // Positions of rows that came through repartition topics name the topics they stem from.
    let counted = topology.inputs.iter().filter_map(|i| i.rekeyed.as_ref().map(|r| r.counted_by.clone()));
    for topic in known.chain(topology.origins()).chain(counted) {
        let info = admin.topic(&topic)?.ok_or_else(|| LogError::NoTopic(topic.clone()))?;
        topics.insert(topic, (info.id, info.partitions));
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
    let mut between = Vec::new();
    for rekey in &topology.rekeys {
        let partitions = partitions_of(rekey, slices, admin, tasks)?;
        // The tasks that read it delete what they have consumed; time must not.
        between.push(TopicSpec { partitions, ..keep(rekey.topic.clone(), "-1") });
    }
    admin.create(&between)?;
    for spec in between {
        let info = admin.topic(&spec.name)?.ok_or_else(|| LogError::NoTopic(spec.name.clone()))?;
        if info.partitions != spec.partitions {
            return Err(PrepareError::Repartitioned { topic: spec.name, found: info.partitions, input, wanted: spec.partitions });
        }
        topics.insert(spec.name, (info.id, info.partitions));
    }
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
