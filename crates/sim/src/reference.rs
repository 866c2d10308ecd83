//! The undisturbed run of the same input: tasks driven directly, one after the other, with whole chunks of records,
//! answers at once, and no worker, transaction, restore or fault. What it yields is what every disturbed run must.

use crate::broker::Broker;
use crate::scenario::{Letter, Row, Scenario, Slice};
use crate::sim::all_records;
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::log::{TaskId, TopicPartition};
use ws_stream::operator::Answer;
use ws_stream::records::{Appends, Records, RecordsBuilder};
use ws_stream::table::Table;
use ws_stream::task::{Surroundings, Task};

/// Input records processed at a time; another number than any fetch of the simulator.
const CHUNK_ROWS: usize = 97;

/// A key of an output topic.
pub(crate) type OutKey = (Arc<str>, Option<Vec<u8>>);

/// Outputs by topic and key, each in order with the input position it stems from; and dead letters.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) rows: BTreeMap<OutKey, Vec<(Row, String)>>,
    pub(crate) letters: Vec<Letter>,
}

impl Outputs {
    /// Adds the records of one partition of a topic.
    pub(crate) fn add(&mut self, scenario: &Scenario, topic: &Arc<str>, records: &Records) {
        if scenario.dead_letters().contains(topic) {
            self.letters.extend((scenario.read_letters)(records));
        } else if scenario.sinks().contains(topic) {
            for (i, row) in (scenario.read_rows)(topic, records).into_iter().enumerate() {
                let input = records.headers(i).get("ws.input").map(|v| String::from_utf8_lossy(v).into_owned()).unwrap_or_default();
                self.rows.entry((topic.clone(), records.key(i).map(<[u8]>::to_vec))).or_default().push((row, input));
            }
        }
    }

    /// What committed readers of a broker see.
    pub(crate) fn of_broker(scenario: &Scenario, broker: &Broker) -> Outputs {
        let mut outputs = Outputs::default();
        let mut topics = scenario.sinks();
        topics.extend(scenario.dead_letters());
        topics.sort();
        topics.dedup();
        for topic in topics {
            for p in 0..broker.topic(&topic).map_or(0, |t| t.partitions) {
                let records = all_records(broker, &TopicPartition::new(topic.clone(), p));
                outputs.add(scenario, &topic, &records);
            }
        }
        outputs
    }
}

/// Processing time by which every input without new rows is idle.
const LATER_MS: i64 = 86_400_000;

/// Runs the scenario's tasks over what the broker holds as input, slice after slice; what one slice writes for another
/// is kept here and never seen by the broker.
pub(crate) fn run(scenario: &Scenario, broker: &Broker, surroundings: &Surroundings) -> Result<Outputs, String> {
    let mut outputs = Outputs::default();
    let mut between: BTreeMap<TopicPartition, RecordsBuilder> = BTreeMap::new();
    for slice in &scenario.slices {
        let globals = globals(scenario, slice, broker)?;
        let rekeyed = |at: &TopicPartition| slice.topology.inputs.iter().any(|i| i.rekeyed.is_some() && i.topic == at.topic);
        for t in 0..slice.tasks {
            let mut task = Task::new(TaskId(t), slice.topology.clone(), scenario.edge.as_ref(), surroundings.clone()).map_err(|e| e.to_string())?;
            let (tables, inputs): (Vec<_>, Vec<_>) = task.partitions().into_iter().partition(|at| task.is_table(at));
            let mut appends = Vec::new();
            for at in tables.iter().chain(&inputs) {
                let all = match rekeyed(at) {
                    true => {
                        let b = between.remove(at).unwrap_or_default();
                        let n = b.len() as i64;
                        b.finish(n)
                    }
                    false => all_records(broker, at),
                };
                for records in chunks(&all) {
                    task.process(at, &records, scenario.start_ms, &globals).map_err(|e| e.to_string())?;
                    answer_all(scenario, &mut task, &globals)?;
                    close(&mut task, &mut appends)?;
                }
            }
            task.advance(scenario.start_ms, &globals).map_err(|e| e.to_string())?;
            answer_all(scenario, &mut task, &globals)?;
            close(&mut task, &mut appends)?;
            let later_ms = scenario.start_ms + LATER_MS;
            for at in task.quiet(later_ms) {
                let end = task.position(&at).unwrap_or(0);
                task.end_seen(&at, end, later_ms, &globals).map_err(|e| e.to_string())?;
            }
            close(&mut task, &mut appends)?;
            for a in &appends {
                outputs.add(scenario, &a.topic, &as_records(a));
                if slice.topology.rekeys.iter().any(|r| r.topic == a.topic) {
                    for (i, r) in a.rows.iter().enumerate() {
                        let b = between.entry(TopicPartition::new(a.topic.clone(), r.partition)).or_default();
                        let (key, value, _) = a.row(i);
                        b.push(b.len() as i64, r.timestamp_ms, key, value, &[]);
                    }
                }
            }
        }
    }
    Ok(outputs)
}

fn globals(scenario: &Scenario, slice: &Slice, broker: &Broker) -> Result<Vec<Option<Table>>, String> {
    let mut globals = Vec::new();
    for spec in &slice.topology.tables {
        if !spec.global {
            globals.push(None);
            continue;
        }
        let mut table = Table::new(spec).map_err(|e| e.to_string())?;
        let mut decoder = scenario.edge.decoder(&spec.topic, &spec.schema)?;
        for p in 0..broker.topic(&spec.topic).map_or(0, |t| t.partitions) {
            let decoded = decoder.decode(&all_records(broker, &TopicPartition::new(spec.topic.clone(), p)));
            table.apply(&decoded.rows).map_err(|e| e.to_string())?;
        }
        globals.push(Some(table));
    }
    Ok(globals)
}

fn chunks(all: &Records) -> Vec<Records> {
    let mut out: Vec<Records> = all
        .rows
        .chunks(CHUNK_ROWS)
        .map(|rows| Records { buffer: all.buffer.clone(), rows: rows.to_vec(), next_offset: rows.last().map_or(0, |r| r.offset + 1) })
        .collect();
    if let Some(last) = out.last_mut() {
        last.next_offset = all.next_offset;
    }
    out
}

fn answer_all(scenario: &Scenario, task: &mut Task, globals: &[Option<Table>]) -> Result<(), String> {
    loop {
        let calls = task.take_calls();
        if calls.is_empty() {
            return Ok(());
        }
        for (stage, call) in calls {
            let result = (scenario.model)(&call.predictor, &call.rows);
            let answer = Answer::predicted(&call, result, &scenario.model_version, "f");
            task.answer(stage, answer, scenario.start_ms, globals).map_err(|e| e.to_string())?;
        }
    }
}

fn close(task: &mut Task, appends: &mut Vec<Appends>) -> Result<(), String> {
    if let Some(epoch) = task.close(1, 0).map_err(|e| e.to_string())? {
        task.committed();
        appends.extend(epoch.appends);
    }
    Ok(())
}

fn as_records(a: &Appends) -> Records {
    let mut b = RecordsBuilder::default();
    for (i, r) in a.rows.iter().enumerate() {
        let (key, value, _) = a.row(i);
        b.push(i as i64, r.timestamp_ms, key, value, r.headers.of(&a.buffer).unwrap_or_default());
    }
    b.finish(a.rows.len() as i64)
}
