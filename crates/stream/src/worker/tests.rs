//! The worker as a driver sees it: what it wants done while predictors are slow and bounds are reached.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::batch::with_system;
use crate::codec::{Decoded, Encode, EncodeError, Encoded, RowError};
use crate::log::TopicId;
use crate::op::infer::stage_columns;
use crate::predict::{Prediction, Predictor};
use crate::records::RecordsBuilder;
use crate::spec::{From, InferSpec, InputSpec, Lateness, OpSpec, SinkFormat, SinkSpec, StageSpec, TimeSpec};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

fn reading() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, true), Field::new("at", DataType::Int64, true)]))
}

/// Values are `key at`.
struct Lines;

impl Decode for Lines {
    fn schema(&self) -> SchemaRef {
        reading()
    }
    fn decode(&mut self, records: &Records) -> Decoded {
        let n = records.rows.len();
        let lines: Vec<(String, i64)> = (0..n)
            .map(|i| {
                let line = std::str::from_utf8(records.value(i).unwrap()).unwrap();
                let (key, at) = line.split_once(' ').unwrap();
                (key.to_string(), at.parse().unwrap())
            })
            .collect();
        let keys: ArrayRef = Arc::new(lines.iter().map(|l| Some(l.0.as_str())).collect::<StringArray>());
        let times: ArrayRef = Arc::new(lines.iter().map(|l| Some(l.1)).collect::<Int64Array>());
        Decoded { rows: RecordBatch::try_new(reading(), vec![keys, times]).unwrap(), index: (0..n as u32).collect(), tombstones: vec![], dead: vec![] }
    }
}

/// Writes the row's time.
struct Times;

impl Encode for Times {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Encoded) -> Result<Vec<RowError>, EncodeError> {
        for i in 0..rows.num_rows() {
            let at = rows.column_by_name("at").unwrap().as_primitive::<Int64Type>().value(i);
            out.buffer.extend_from_slice(at.to_string().as_bytes());
            out.ends.push(out.buffer.len() as u32);
        }
        Ok(Vec::new())
    }
}

struct TestEdge;

impl Edge for TestEdge {
    fn decoder(&self, _topic: &str, _schema: &SchemaRef) -> Result<Box<dyn Decode>, String> {
        Ok(Box::new(Lines))
    }
    fn encoder(&self, _topic: &str, _format: &SinkFormat, _schema: &SchemaRef) -> Result<Box<dyn Encode>, String> {
        Ok(Box::new(Times))
    }
    fn heuristic(&self, _model: &str) -> Option<Box<dyn Predictor>> {
        None
    }
}

/// `in` → infer, if `max_pending_rows` is set → `out`.
fn topology(max_pending_rows: Option<usize>) -> Arc<Topology> {
    let rows = with_system(&reading());
    let mut predicted: Vec<Field> = rows.fields().iter().map(|f| f.as_ref().clone()).collect();
    predicted.extend(stage_columns());
    let infer = max_pending_rows.map(|max_pending_rows| StageSpec {
        id: "forecast".into(),
        from: vec![From::Input(0)],
        op: OpSpec::Infer(InferSpec {
            model: "slow".into(),
            key: vec!["key".into()],
            outputs: Arc::new(Schema::empty()),
            ladder: Vec::new(),
            budget_ms: 1_000_000,
            cache_age_ms: 0,
            batch_rows: 2,
            max_pending_rows,
        }),
        schema: Arc::new(Schema::new(predicted)),
    });
    let from = if infer.is_some() { From::Stage(0) } else { From::Input(0) };
    Arc::new(Topology {
        name: "test".into(),
        state_hash: 1,
        inputs: vec![InputSpec {
            id: "in".into(),
            topic: "in".into(),
            schema: reading(),
            time: TimeSpec {
                column: "at".into(),
                future: None,
                watermark_delay_ms: 0,
                lateness: Lateness::PerKey { key: vec!["key".into()], allowed_ms: 1_000 },
            },
            max_value_bytes: 100,
            idle_after_ms: None,
            max_skew_ms: None,
            rekeyed: None,
        }],
        tables: Vec::new(),
        stages: infer.into_iter().collect(),
        rekeys: Vec::new(),
        sinks: vec![SinkSpec {
            topic: "out".into(),
            from: vec![from],
            key: Some("key".into()),
            format: SinkFormat::Json,
            header_columns: vec![],
            lineage: false,
        }],
        dead_letters: "dlq".into(),
        dead_format: SinkFormat::Json,
        models: Vec::new(),
    })
}

struct Bench {
    worker: Worker,
    incarnation: u64,
    now_ms: i64,
    next: i64,
    calls: Vec<(u64, usize, crate::operator::Call)>,
    commits: Vec<EpochSet>,
    paused: bool,
}

impl Bench {
    fn new(topology: Arc<Topology>, options: WorkerOptions) -> Bench {
        let topics = ["in", "out", "dlq", "ws.test.changelog", "ws.test.manifest"].map(|t| (Arc::from(t), (TopicId::default(), 1)));
        let surroundings = Surroundings { cluster_id: "c".into(), topics: topics.into_iter().collect() };
        let worker = Worker::new(topology, Arc::new(TestEdge), surroundings, options).unwrap();
        let mut b = Bench { worker, incarnation: 0, now_ms: 0, next: 0, calls: Vec::new(), commits: Vec::new(), paused: false };
        b.step(Input::GlobalEnds(Vec::new()));
        b.step(Input::Ownership(Ownership::Assigned(vec![TaskId(0)])));
        b
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.worker.step(self.now_ms, input) {
                match effect {
                    Effect::Restore { task, incarnation, .. } => {
                        self.incarnation = incarnation;
                        inputs.push(Input::Restored { task, incarnation, committed: 0, starts: Vec::new(), table_ends: Vec::new() });
                    }
                    Effect::Call { incarnation, stage, call, .. } => self.calls.push((incarnation, stage, call)),
                    Effect::Commit(set) => self.commits.push(set),
                    Effect::Pause { .. } => self.paused = true,
                    Effect::Resume { .. } => self.paused = false,
                    Effect::Stopped { error, .. } => panic!("{error}"),
                    _ => {}
                }
            }
        }
    }

    fn tick(&mut self) {
        self.now_ms += 1;
        self.step(Input::Tick);
    }

    fn records(&mut self, times: &[i64]) {
        let mut b = RecordsBuilder::default();
        for t in times {
            b.push(self.next, *t, Some(b"k"), Some(format!("k {t}").as_bytes()), &[]);
            self.next += 1;
        }
        let (incarnation, records) = (self.incarnation, b.finish(self.next));
        self.step(Input::Records { at: TopicPartition::new("in", 0), incarnation, records });
    }

    fn answer(&mut self, call: usize) {
        let (incarnation, stage, call) = self.calls[call].clone();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(call.rows.num_rows()));
        let columns = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        let answer = Answer::predicted(&call, Ok(Prediction { columns, declined: None }), "1", "");
        self.step(Input::Answer { task: TaskId(0), incarnation, stage, answer });
    }

    /// Ends the commit in flight; its position of the input and the rows of `out`.
    fn committed(&mut self) -> (i64, Vec<String>) {
        assert_eq!(self.commits.len(), 1, "one commit is in flight");
        let set = self.commits.remove(0);
        self.step(Input::Outcome { id: set.id, outcome: Outcome::Committed });
        let epoch = &set.epochs[0];
        let out = epoch.appends.iter().filter(|a| &*a.topic == "out");
        let rows = out.flat_map(|a| (0..a.rows.len()).map(|i| String::from_utf8(a.row(i).1.unwrap().to_vec()).unwrap()).collect::<Vec<_>>()).collect();
        (epoch.positions[0].1, rows)
    }
}

fn at_once() -> WorkerOptions {
    WorkerOptions { commit_interval_ms: 0, snapshot_interval_ms: 0, ..WorkerOptions::default() }
}

#[test]
fn a_slow_predictor_holds_no_epoch_and_answers_leave_in_order() {
    let mut b = Bench::new(topology(Some(100)), at_once());
    b.records(&[10, 11, 12, 13]);
    assert_eq!(b.calls.len(), 2, "two calls of two rows");
    assert_eq!(b.committed(), (4, vec![]), "the epoch is committed while both calls are out");
    b.records(&[14, 15]);
    assert_eq!(b.committed(), (6, vec![]));
    for _ in 0..5 {
        b.tick();
    }
    assert!(b.commits.is_empty(), "nothing happened, nothing is committed");
    // The later ones answer first.
    b.answer(2);
    b.answer(1);
    b.tick();
    assert!(b.commits.is_empty(), "they wait for the one before");
    b.answer(0);
    assert_eq!(b.committed(), (6, ["10", "11", "12", "13", "14", "15"].map(String::from).to_vec()), "in input order");
    b.records(&[16]);
    assert_eq!(b.committed().0, 7);
}

#[test]
fn a_task_over_its_bounds_pauses_and_resumes() {
    // Rows in flight, by the worker's bound and by the stage's own.
    for (worker, stage) in [(3, 100), (100, 3)] {
        let mut b = Bench::new(topology(Some(stage)), WorkerOptions { pause_pending_rows: worker, ..at_once() });
        b.records(&[10, 11]);
        assert!(!b.paused);
        b.records(&[12, 13]);
        assert!(b.paused, "four rows wait, three may");
        b.tick();
        assert!(b.paused);
        b.answer(0);
        assert!(!b.paused, "two are left");
    }
    // Bytes of an epoch that cannot be closed while another is being committed.
    let mut b = Bench::new(topology(None), WorkerOptions { pause_bytes: 10, ..at_once() });
    b.records(&[1_000_000]);
    assert!(!b.paused, "it went into a commit at once");
    b.records(&[1_000_001, 1_000_002]);
    assert!(b.paused, "the next epoch fills up");
    assert_eq!(b.committed(), (1, vec!["1000000".to_string()]));
    b.tick();
    assert!(!b.paused, "it was closed in its turn");
    assert_eq!(b.committed().1.len(), 2, "nothing was lost on the way");
}
