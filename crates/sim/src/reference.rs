//! The undisturbed run of the same input: tasks driven directly, one after the other, with whole chunks of records,
//! answers at once, and no worker, transaction, restore or fault. What it yields is what every disturbed run must.

use crate::broker::Broker;
use crate::scenario::{Letter, Row, Scenario};
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
        if *topic == scenario.topology.dead_letters {
            self.letters.extend((scenario.read_letters)(records));
        } else if scenario.topology.sinks.iter().any(|s| s.topic == *topic) {
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
        topics.push(scenario.topology.dead_letters.clone());
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

/// Runs the scenario's tasks over what the broker holds as input.
pub(crate) fn run(scenario: &Scenario, broker: &Broker, surroundings: &Surroundings) -> Result<Outputs, String> {
    let globals = globals(scenario, broker)?;
    let mut outputs = Outputs::default();
    for t in 0..scenario.tasks {
        let mut task = Task::new(TaskId(t), scenario.topology.clone(), scenario.edge.as_ref(), surroundings.clone()).map_err(|e| e.to_string())?;
        let (tables, inputs): (Vec<_>, Vec<_>) = task.partitions().into_iter().partition(|at| task.is_table(at));
        let mut appends = Vec::new();
        for at in tables.iter().chain(&inputs) {
            for records in chunks(&all_records(broker, at)) {
                task.process(at, &records, scenario.start_ms, &globals).map_err(|e| e.to_string())?;
                answer_all(scenario, &mut task, &globals)?;
                close(&mut task, &mut appends)?;
            }
        }
        task.advance(scenario.start_ms, &globals).map_err(|e| e.to_string())?;
        answer_all(scenario, &mut task, &globals)?;
        close(&mut task, &mut appends)?;
        for a in &appends {
            outputs.add(scenario, &a.topic, &as_records(a));
        }
    }
    Ok(outputs)
}

fn globals(scenario: &Scenario, broker: &Broker) -> Result<Vec<Option<Table>>, String> {
    let mut globals = Vec::new();
    for spec in &scenario.topology.tables {
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
