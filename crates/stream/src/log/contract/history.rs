//! A random history, checked against the simplest model there is: lists of what must be visible.

use super::*;

/// What is visible in the end: texts by (partition of the history's topic), and each task's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    /// Values of each partition in order.
    pub partitions: Vec<Vec<String>>,
    /// Committed epoch number of each task.
    pub numbers: Vec<u64>,
}

/// SplitMix64: small, seeded, good enough to choose steps.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

const PARTITIONS: u32 = 3;
const TASKS: u32 = 2;

/// Appends, commits, failing commits and fresh openings in an order drawn from `seed`; a reader follows all the time.
/// What it and a late reader see must be what the model says. The answer depends on the seed and `steps` alone, so two
/// logs given the same must agree.
pub fn random(log: &dyn Log, prefix: &str, seed: u64, steps: usize) -> Visible {
    let mut dice = Dice(seed);
    let name = topic(log, &format!("{prefix}.history"), PARTITIONS);
    let mut worker = Worker::alone(log, &format!("{prefix}-history"), TASKS);
    let mut appender = log.appender().expect("an appender");
    let mut follower = log.reader().expect("a reader");
    for p in 0..PARTITIONS {
        follower.add(&TopicPartition::new(name.clone(), p), 0).expect("adding");
    }
    let mut model = Visible { partitions: vec![Vec::new(); PARTITIONS as usize], numbers: vec![0; TASKS as usize] };
    let mut followed: Vec<Vec<String>> = vec![Vec::new(); PARTITIONS as usize];

    for step in 0..steps {
        let what = dice.roll(10);
        let batch = draw(&mut dice, &name, step);
        match what {
            0..=2 => {
                appender.append(std::slice::from_ref(&batch)).expect("appending");
                apply(&mut model, &batch);
            }
            3..=6 => {
                let set = draw_set(&mut dice, &model, batch.clone(), &name, step);
                worker.commit(&set);
                for e in &set.epochs {
                    model.numbers[e.task.0 as usize] = e.number;
                    e.appends.iter().for_each(|a| apply(&mut model, a));
                }
            }
            7..=8 => {
                let mut set = draw_set(&mut dice, &model, batch, &name, step);
                if let Some(last) = set.epochs.last_mut() {
                    last.appends.push(values(&name, 1_000 + dice.roll(5) as u32, &["impossible"]));
                }
                let outcome = worker.committer.commit(&set);
                assert_ne!(outcome, Outcome::Committed, "step {step} of seed {seed}: an impossible append was committed");
                if matches!(outcome, Outcome::Unknown(_)) {
                    worker.committer.open().expect("opening again");
                }
            }
            _ => worker.committer.open().expect("opening again"),
        }
        for (tp, records) in follower.poll(0).expect("polling") {
            followed[tp.partition as usize].extend(texts(&seen(&records)));
        }
    }
    for t in 0..TASKS {
        assert_eq!(worker.number(TaskId(t)), model.numbers[t as usize], "seed {seed}: progress of task {t}");
    }
    for p in 0..PARTITIONS {
        let at = TopicPartition::new(name.clone(), p);
        let visible = texts(&all_visible(log, &at));
        assert_eq!(visible, model.partitions[p as usize], "seed {seed}: what is visible in {at}");
    }
    for _ in 0..PATIENCE_POLLS {
        if followed.iter().zip(&model.partitions).all(|(f, m)| f.len() > m.len()) {
            break;
        }
        for (tp, records) in follower.poll(POLL_MS).expect("polling") {
            followed[tp.partition as usize].extend(texts(&seen(&records)));
        }
    }
    for (p, rows) in followed.iter_mut().enumerate() {
        // Reading everything has appended its marker.
        assert_eq!(rows.pop().as_deref(), Some("contract-marker"), "seed {seed}: the end of partition {p}");
        assert_eq!(rows, &model.partitions[p], "seed {seed}: what a reader that followed all the time saw in partition {p}");
    }
    model
}

/// A few records over the partitions; their texts are unique.
fn draw(dice: &mut Dice, name: &Arc<str>, step: usize) -> Appends {
    let mut a = Appends::new(name.clone());
    for i in 0..dice.roll(6) {
        let text = format!("{step}.{i}.{}", "x".repeat(dice.roll(40) as usize));
        a.push(dice.roll(PARTITIONS.into()) as u32, 1_000 + step as i64, Some(b"k"), Some(text.as_bytes()), &[]);
    }
    a
}

fn draw_set(dice: &mut Dice, model: &Visible, first: Appends, name: &Arc<str>, step: usize) -> EpochSet {
    let a = dice.roll(TASKS.into()) as u32;
    let mut epochs = vec![epoch(a, model.numbers[a as usize] + 1, vec![], vec![first])];
    if dice.roll(2) == 1 {
        let b = (a + 1) % TASKS;
        let mut second = draw(dice, name, step);
        // Its texts must differ from the first task's.
        let mut renamed = Appends::new(name.clone());
        for i in 0..second.rows.len() {
            let text = format!("b{}", String::from_utf8_lossy(second.row(i).1.unwrap_or_default()));
            renamed.push(second.rows[i].partition, second.rows[i].timestamp_ms, Some(b"k"), Some(text.as_bytes()), &[]);
        }
        std::mem::swap(&mut second, &mut renamed);
        epochs.push(epoch(b, model.numbers[b as usize] + 1, vec![], vec![second]));
    }
    EpochSet { losses: 0, id: step as u64, epochs }
}

fn apply(model: &mut Visible, batch: &Appends) {
    for i in 0..batch.rows.len() {
        let text = String::from_utf8_lossy(batch.row(i).1.unwrap_or_default()).into_owned();
        model.partitions[batch.rows[i].partition as usize].push(text);
    }
}
