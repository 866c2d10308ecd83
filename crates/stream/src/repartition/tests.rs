//! Two slices in memory: upstream tasks keyed by device, downstream ones keyed by zone. Values are `zone,time,number`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::batch::with_system;
use crate::codec::{Decode, Decoded, Encode, EncodeError, Encoded, RowError};
use crate::log::{Epoch, TaskId, TopicPartition};
use crate::op::testing::{all_columns, column};
use crate::op::window_schema;
use crate::operator::Counts;
use crate::predict::Predictor;
use crate::records::{Appends, Headers, Records, RecordsBuilder};
use crate::spec::{AggCall, AggFn, From, InputSpec, Lateness, OpSpec, RekeySpec, Rekeyed, SinkFormat, SinkSpec, StageSpec, TimeSpec, Topology, WindowSpec};
use crate::task::{Edge, Surroundings, Task};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use std::collections::{BTreeMap, BTreeSet};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

struct Csv(SchemaRef);

impl Decode for Csv {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }
    fn decode(&mut self, records: &Records) -> Decoded {
        let (mut zone, mut at, mut n, mut index, mut dead) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for i in 0..records.rows.len() {
            let text = String::from_utf8_lossy(records.value(i).unwrap()).into_owned();
            let parts: Vec<&str> = text.split(',').collect();
            if parts.len() != 3 {
                dead.push(RowError { row: i, reason: "undecodable", error: text.clone(), schema_id: None });
                continue;
            }
            zone.push((parts[0] != "-").then(|| parts[0].to_string()));
            at.push(parts[1].parse::<i64>().unwrap());
            n.push(parts[2].parse::<i64>().unwrap());
            index.push(i as u32);
        }
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(zone)), Arc::new(Int64Array::from(at)), Arc::new(Int64Array::from(n))];
        Decoded { rows: RecordBatch::try_new(self.0.clone(), columns).unwrap(), index, tombstones: Vec::new(), dead }
    }
}

struct Shown;

impl Encode for Shown {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Encoded) -> Result<Vec<RowError>, EncodeError> {
        for i in 0..rows.num_rows() {
            let cells = rows.columns().iter().map(|c| arrow::util::display::array_value_to_string(c, i).unwrap());
            out.buffer.extend_from_slice(cells.collect::<Vec<_>>().join(",").as_bytes());
            out.ends.push(out.buffer.len() as u32);
        }
        Ok(Vec::new())
    }
}

struct Codecs;

impl Edge for Codecs {
    fn decoder(&self, _: &str, schema: &SchemaRef) -> Result<Box<dyn Decode>, String> {
        Ok(Box::new(Csv(schema.clone())))
    }
    fn encoder(&self, _: &str, _: &SinkFormat, _: &SchemaRef) -> Result<Box<dyn Encode>, String> {
        Ok(Box::new(Shown))
    }
    fn heuristic(&self, _: &str) -> Option<Box<dyn Predictor>> {
        None
    }
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("zone", DataType::Utf8, true), Field::new("at", DataType::Int64, true), Field::new("n", DataType::Int64, true)]))
}

fn source(id: &str, topic: &str, lateness: Lateness) -> InputSpec {
    InputSpec {
        id: id.into(),
        topic: topic.into(),
        schema: columns(),
        time: TimeSpec { column: "at".into(), future: None, watermark_delay_ms: 0, lateness },
        max_value_bytes: 1_000,
        idle_after_ms: Some(5_000),
        max_skew_ms: None,
        rekeyed: None,
    }
}

fn sink(topic: &str, from: From, key: &str) -> SinkSpec {
    SinkSpec { topic: topic.into(), from: vec![from], key: Some(key.into()), format: SinkFormat::Json, header_columns: Vec::new(), lineage: true }
}

fn topology(name: &str, inputs: Vec<InputSpec>, stages: Vec<StageSpec>, sinks: Vec<SinkSpec>, rekeys: Vec<RekeySpec>) -> Arc<Topology> {
    let dead_letters = "dlq".into();
    Arc::new(Topology {
        name: name.into(),
        state_hash: 7,
        inputs,
        tables: Vec::new(),
        stages,
        sinks,
        dead_letters,
        dead_format: SinkFormat::Json,
        models: Vec::new(),
        rekeys,
    })
}

const READINGS: &str = "readings";
const BETWEEN: &str = "ws.t.by_zone.repartition";

fn upstream(lateness: Lateness) -> Arc<Topology> {
    let hash = format_hash("zone", &columns(), &[READINGS.into()]);
    let rekey = RekeySpec {
        id: "by_zone".into(),
        from: vec![From::Input(0)],
        topic: BETWEEN.into(),
        partitions: None,
        key: "zone".into(),
        schema: columns(),
        format_hash: hash,
    };
    topology("t", vec![source("in", READINGS, lateness)], Vec::new(), Vec::new(), vec![rekey])
}

fn window(from: From, input: &SchemaRef) -> StageSpec {
    let calls = vec![AggCall { function: AggFn::Sum, arg: Some(column("n", DataType::Int64)), horizon_ms: None }];
    let group_by = vec!["zone".to_string()];
    let inner = window_schema(input, &group_by, &calls).unwrap();
    let op = OpSpec::Window { group_by, window: WindowSpec { size_ms: MINUTE, slide_ms: MINUTE }, calls, columns: all_columns(&inner) };
    StageSpec { id: "sums".into(), from: vec![from], op, schema: with_system(&inner) }
}

fn rekeyed_input(lateness: Lateness) -> InputSpec {
    let rekeyed = Rekeyed { format_hash: format_hash("zone", &columns(), &[READINGS.into()]), origins: vec![READINGS.into()], counted_by: READINGS.into() };
    InputSpec { rekeyed: Some(rekeyed), idle_after_ms: None, ..source("by_zone.read", BETWEEN, lateness) }
}

fn downstream(lateness: Lateness) -> Arc<Topology> {
    let input = rekeyed_input(lateness);
    let stage = window(From::Input(0), &with_system(&input.schema));
    topology("t.by_zone", vec![input], vec![stage], vec![sink("sums", From::Stage(0), "zone"), sink("rows", From::Input(0), "zone")], Vec::new())
}

/// Key, value and headers of a record.
type Kept = (Option<Vec<u8>>, Vec<u8>, Vec<u8>);

/// Tasks, and a log that is a map.
struct World {
    surroundings: Surroundings,
    log: BTreeMap<TopicPartition, Vec<Kept>>,
    now_ms: i64,
}

impl World {
    fn new(topics: &[(&str, u32)]) -> World {
        let topics = topics.iter().map(|(t, n)| (Arc::from(*t), ([1; 16], *n))).collect();
        World { surroundings: Surroundings { cluster_id: "c".into(), topics }, log: BTreeMap::new(), now_ms: 0 }
    }
    fn task(&self, id: u32, topology: &Arc<Topology>) -> Task {
        let mut task = Task::new(TaskId(id), topology.clone(), &Codecs, self.surroundings.clone()).unwrap();
        task.restored(self.now_ms).unwrap();
        task
    }
    fn append(&mut self, topic: &str, partition: u32, value: String) {
        self.log.entry(TopicPartition::new(topic, partition)).or_default().push((None, value.into_bytes(), Vec::new()));
    }
    /// Lets a task read all that is there of its partitions.
    fn feed(&self, task: &mut Task) {
        for at in task.partitions() {
            let from = task.position(&at).unwrap_or(0);
            let all = self.log.get(&at).map_or(&[][..], Vec::as_slice);
            let mut b = RecordsBuilder::default();
            for (i, (key, value, headers)) in all.iter().enumerate().skip(from as usize) {
                b.push(i as i64, 0, key.as_deref(), Some(value), headers);
            }
            if !b.is_empty() {
                task.process(&at, &b.finish(all.len() as i64), self.now_ms, &[]).unwrap();
            }
        }
    }
    fn close(&self, task: &mut Task) -> Option<Epoch> {
        task.close(1, self.now_ms).unwrap()
    }
    fn publish(&mut self, task: &mut Task) {
        let Some(epoch) = self.close(task) else { return };
        task.committed();
        epoch.appends.iter().for_each(|a| self.keep(a));
    }
    fn keep(&mut self, a: &Appends) {
        for (i, r) in a.rows.iter().enumerate() {
            let (key, value, _) = a.row(i);
            let headers = r.headers.of(&a.buffer).unwrap_or_default().to_vec();
            let row = (key.map(<[u8]>::to_vec), value.unwrap_or_default().to_vec(), headers);
            self.log.entry(TopicPartition::new(a.topic.clone(), r.partition)).or_default().push(row);
        }
    }
    fn step(&mut self, task: &mut Task) {
        self.feed(task);
        self.publish(task);
    }
    /// Lets a task find its inputs idle.
    fn wait(&mut self, task: &mut Task) {
        self.now_ms += 5_000;
        for at in task.quiet(self.now_ms) {
            let end = self.log.get(&at).map_or(0, Vec::len) as i64;
            task.end_seen(&at, end, self.now_ms, &[]).unwrap();
        }
        self.publish(task);
    }
    fn values(&self, topic: &str) -> Vec<String> {
        let rows = self.log.iter().filter(|(at, _)| &*at.topic == topic).flat_map(|(_, rows)| rows);
        rows.map(|r| String::from_utf8_lossy(&r.1).into_owned()).collect()
    }
    fn lineage(&self, topic: &str) -> Vec<String> {
        let rows = self.log.iter().filter(|(at, _)| &*at.topic == topic).flat_map(|(_, rows)| rows);
        rows.map(|r| String::from_utf8_lossy(Headers::new(&r.2).get("ws.input").unwrap()).into_owned()).collect()
    }
}

fn counts(task: &Task, id: &str) -> Counts {
    task.counts().into_iter().find(|(i, _)| *i == id).unwrap().1
}

#[test]
fn records_survive_and_damaged_ones_are_seen() {
    let head = RowHead { task: 3, time_ms: -5, late: true, topic: 2, partition: 9, offset: 1 << 40 };
    let mut row = Vec::new();
    write_row_head(77, &head, &mut row);
    row.extend_from_slice(b"columns");
    assert_eq!(read(&row), Some((77, Record::Row(head, b"columns"))));
    assert_eq!(format_of(&row), Some(77));
    let control = Control { task: 1, tasks: 4, incarnation: 8, epoch: 99, watermark_ms: i64::MIN, idle: true };
    let mut c = Vec::new();
    write_control(77, &control, &mut c);
    assert_eq!(read(&c), Some((77, Record::Control(control))));
    for cut in 0..c.len() {
        assert_eq!(read(&c[..cut]), None, "cut at {cut}");
    }
    assert_eq!(read(b"WSR1\x07aaaaaaaaaaaaaaaaaaaaaaaaa"), None);
}

/// The promise of the design: one upstream an hour behind, then catching up, and not one row is late.
#[test]
fn an_upstream_that_stops_for_an_hour_and_catches_up_makes_no_row_late() {
    let mut w = World::new(&[(READINGS, 3), (BETWEEN, 2), ("sums", 1), ("rows", 1), ("dlq", 1)]);
    let (up, down) = (upstream(Lateness::Watermark), downstream(Lateness::Watermark));
    let mut ups: Vec<Task> = (0..3).map(|t| w.task(t, &up)).collect();
    let mut downs: Vec<Task> = (0..2).map(|t| w.task(t, &down)).collect();
    let mut expected: BTreeMap<(String, i64), i64> = BTreeMap::new();
    for minute in 0..60 {
        for partition in 0..3u32 {
            for n in 0..4i64 {
                let (zone, at) = (format!("z{}", (n + i64::from(partition)) % 5), minute * MINUTE + n * 13_000);
                w.append(READINGS, partition, format!("{zone},{at},{n}"));
                *expected.entry((zone, minute)).or_default() += n;
            }
        }
        // The third one is stopped; the others are read and published all the time.
        for up in &mut ups[..2] {
            w.step(up);
        }
        for down in &mut downs {
            w.step(down);
        }
    }
    assert!(w.values("sums").is_empty(), "nothing is final while an upstream has told nothing: {:?}", w.values("sums"));
    // Catching up in small steps, with the others' rows long since there.
    for _ in 0..3 {
        w.step(&mut ups[2]);
        downs.iter_mut().for_each(|d| w.step(d));
    }
    // Nothing comes any more: all are idle, and what is open is closed by one more row each.
    for (p, up) in ups.iter_mut().enumerate() {
        w.append(READINGS, p as u32, format!("end,{},0", 2 * HOUR));
        w.step(up);
    }
    downs.iter_mut().for_each(|d| w.step(d));
    let late: u64 = downs.iter().flat_map(|d| d.counts()).map(|(_, c)| c.late + c.dead).sum();
    assert_eq!(late, 0);
    let found: BTreeMap<(String, i64), i64> = w
        .values("sums")
        .iter()
        .map(|v| v.split(',').collect::<Vec<_>>())
        .map(|v| ((v[0].to_string(), v[1].parse::<i64>().unwrap() / MINUTE), v[3].parse::<f64>().unwrap() as i64))
        .collect();
    assert_eq!(found, expected);
    for d in &downs {
        assert!(d.counts().iter().all(|(_, c)| c.balanced()));
    }
}

#[test]
fn rows_are_told_with_the_position_they_stem_from() {
    let mut w = World::new(&[(READINGS, 3), (BETWEEN, 2), ("sums", 1), ("rows", 1), ("dlq", 1)]);
    let (up, down) = (upstream(Lateness::Watermark), downstream(Lateness::Watermark));
    let mut up = w.task(2, &up);
    for (zone, at) in [("a", 1), ("-", 2), ("b", 3)] {
        w.append(READINGS, 2, format!("{zone},{at},1"));
    }
    w.step(&mut up);
    assert_eq!(w.values("dlq").len(), 1, "a row without the new key");
    assert!(w.values("dlq")[0].contains("readings,") && w.values("dlq")[0].contains(",2,1,") && w.values("dlq")[0].contains("no_key"), "{:?}", w.values("dlq"));
    assert_eq!((counts(&up, "by_zone").emitted, counts(&up, "by_zone").dead), (2, 1));
    for p in 0..2 {
        let mut down = w.task(p, &down);
        w.step(&mut down);
    }
    let mut lineage = w.lineage("rows");
    lineage.sort();
    assert_eq!(lineage, ["readings/2/0", "readings/2/2"]);
}

#[test]
fn an_idle_upstream_is_left_out_and_comes_back_late() {
    let mut w = World::new(&[(READINGS, 2), (BETWEEN, 1), ("sums", 1), ("rows", 1), ("dlq", 1)]);
    let (up, down) = (upstream(Lateness::Watermark), downstream(Lateness::Watermark));
    let mut ups = [w.task(0, &up), w.task(1, &up)];
    let mut down = w.task(0, &down);
    w.append(READINGS, 0, format!("a,{},1", 10 * MINUTE));
    w.append(READINGS, 1, format!("a,{},2", MINUTE));
    ups.iter_mut().for_each(|t| w.step(t));
    w.step(&mut down);
    assert_eq!(down.watermark_ms(), MINUTE);
    w.wait(&mut ups[1]);
    w.step(&mut down);
    assert_eq!(down.watermark_ms(), 10 * MINUTE, "the idle one is left out");
    assert_eq!(w.values("sums"), [format!("a,{MINUTE},{},2.0", 2 * MINUTE)]);
    // Its next rows are behind the watermark that went on: late, with a reason of their own; then it is counted again.
    w.append(READINGS, 1, format!("a,{},4", 5 * MINUTE));
    w.append(READINGS, 1, format!("a,{},8", 11 * MINUTE));
    w.step(&mut ups[1]);
    w.append(READINGS, 0, format!("a,{},1", 20 * MINUTE));
    w.step(&mut ups[0]);
    w.step(&mut down);
    let c = counts(&down, "by_zone.read");
    assert_eq!((c.late, c.was_idle, c.dead), (1, 1, 0));
    assert!(w.values("dlq")[0].contains("was_idle") && w.values("dlq")[0].contains("readings,"), "{:?}", w.values("dlq"));
    assert_eq!(down.watermark_ms(), 11 * MINUTE, "it never went back, and waits for the slower one again");
    // Per-key lateness: the key's own clock decides, so nothing is refused for that.
    let mut tolerant = w.task(0, &downstream(Lateness::PerKey { key: vec!["zone".into()], allowed_ms: HOUR }));
    w.feed(&mut tolerant);
    assert_eq!(counts(&tolerant, "by_zone.read").late, 0);
}

#[test]
fn what_was_told_is_state_and_an_abort_tells_it_again() {
    let mut w = World::new(&[(READINGS, 2), (BETWEEN, 1), ("sums", 1), ("rows", 1), ("dlq", 1)]);
    let (up, down) = (upstream(Lateness::Watermark), downstream(Lateness::Watermark));
    let mut ups = [w.task(0, &up), w.task(1, &up)];
    for p in 0..2 {
        w.append(READINGS, p, format!("a,{},1", 3 * MINUTE));
    }
    w.feed(&mut ups[0]);
    let rows = |e: &Epoch| e.appends.iter().find(|a| &*a.topic == BETWEEN).map(|a| a.rows.len());
    let epoch = w.close(&mut ups[0]).unwrap();
    assert_eq!(rows(&epoch), Some(2), "the row, and the watermark");
    ups[0].rollback(w.now_ms).unwrap();
    w.feed(&mut ups[0]);
    let again = w.close(&mut ups[0]).unwrap();
    assert_eq!(rows(&again), Some(2), "the aborted epoch told nobody");
    ups[0].committed();
    again.appends.iter().for_each(|a| w.keep(a));
    assert!(w.close(&mut ups[0]).is_none(), "told once, an epoch without news is empty");
    w.step(&mut ups[1]);
    let mut task = w.task(0, &down);
    w.feed(&mut task);
    let epoch = w.close(&mut task).unwrap();
    task.committed();
    assert_eq!(task.watermark_ms(), 3 * MINUTE);
    // Another process goes on from the changelog alone.
    let mut restored = Task::new(TaskId(0), down.clone(), &Codecs, w.surroundings.clone()).unwrap();
    for a in epoch.appends.iter().filter(|a| a.topic.ends_with(".changelog")) {
        for i in 0..a.rows.len() {
            restored.import(a.row(i).1.unwrap(), 0).unwrap();
        }
    }
    restored.restored(0).unwrap();
    assert_eq!((restored.watermark_ms(), restored.number()), (3 * MINUTE, 1));
}

#[test]
fn rows_of_another_format_stop_the_task_and_damaged_ones_cost_themselves() {
    let mut w = World::new(&[(READINGS, 1), (BETWEEN, 1), ("sums", 1), ("rows", 1), ("dlq", 1)]);
    let (up, down) = (upstream(Lateness::Watermark), downstream(Lateness::Watermark));
    let mut up = w.task(0, &up);
    w.append(READINGS, 0, "a,5,1".into());
    w.step(&mut up);
    w.append(BETWEEN, 0, "what is this".into());
    let mut cut = w.log[&TopicPartition::new(BETWEEN, 0)][0].clone();
    cut.1.pop();
    w.log.get_mut(&TopicPartition::new(BETWEEN, 0)).unwrap().push(cut);
    let mut task = w.task(0, &down);
    w.step(&mut task);
    let c = counts(&task, "by_zone.read");
    assert_eq!((c.input, c.emitted, c.dead), (3, 1, 2));
    let mut other = (*down).clone();
    other.inputs[0].rekeyed.as_mut().unwrap().format_hash ^= 1;
    let mut task = w.task(0, &Arc::new(other));
    let mut b = RecordsBuilder::default();
    b.push(0, 0, None, Some(&w.log[&TopicPartition::new(BETWEEN, 0)][0].1), &[]);
    let error = task.process(&TopicPartition::new(BETWEEN, 0), &b.finish(1), 0, &[]).unwrap_err().to_string();
    assert!(error.contains("columns before the `rekey` stage changed"), "{error}");
}

/// A second input: its rows carry its own positions, it can be idle, too far ahead, and its letters name it.
#[test]
fn every_input_of_a_task_has_positions_idleness_and_skew_of_its_own() {
    let mut w = World::new(&[("first", 4), ("second", 4), ("sums", 1), ("rows", 1), ("dlq", 1)]);
    let mut inputs = vec![source("a", "first", Lateness::Watermark), source("b", "second", Lateness::Watermark)];
    inputs[1].max_skew_ms = Some(10 * MINUTE);
    let schema = with_system(&columns());
    let mut stage = window(From::Input(0), &schema);
    stage.from.push(From::Input(1));
    let mut rows = sink("rows", From::Input(1), "zone");
    rows.from.push(From::Input(0));
    let t = topology("u", inputs, vec![stage], vec![sink("sums", From::Stage(0), "zone"), rows], Vec::new());
    let mut task = w.task(3, &t);
    w.append("first", 3, format!("x,{MINUTE},1"));
    w.append("second", 3, format!("x,{MINUTE},2"));
    w.append("second", 3, format!("x,{},4", 30 * MINUTE));
    w.append("second", 3, format!("x,{},8", 20 * MINUTE));
    w.step(&mut task);
    assert_eq!(w.lineage("rows"), ["first/3/0", "second/3/0", "second/3/1"]);
    let letters = w.values("dlq");
    assert!(letters.len() == 1 && letters[0].contains(",second,") && letters[0].contains("too_late"), "{letters:?}");
    assert_eq!(task.watermark_ms(), MINUTE);
    let second = TopicPartition::new("second", 3);
    assert_eq!(task.ahead(&BTreeSet::new()), std::slice::from_ref(&second), "29 minutes ahead of the other, 10 are allowed");
    w.wait(&mut task);
    assert_eq!(task.watermark_ms(), 30 * MINUTE, "both are idle: nobody waits for anybody");
    assert!(task.ahead(&[second].into()).is_empty());
    assert_eq!(w.values("sums"), [format!("x,{MINUTE},{},3.0", 2 * MINUTE)]);
    assert_eq!(w.lineage("sums"), ["second/3/0"], "the newest position in it, of either input");
    w.append("first", 3, format!("x,{},1", 2 * MINUTE));
    w.step(&mut task);
    let c = counts(&task, "a");
    assert_eq!((c.late, c.was_idle), (1, 1));
    assert!(w.values("dlq")[1].contains(",first,") && w.values("dlq")[1].contains("was_idle"), "{:?}", w.values("dlq"));
    assert_eq!(task.watermark_ms(), 30 * MINUTE);
}
