//! Rows in whatever order they are read, as long as the watermark has not passed them: the same rows come out, in the
//! same order, and they are those that the rules in their plainest form give.

use super::*;
use std::collections::BTreeMap;

/// A row with its place in the log, which does not change with the order of reading.
type Placed = (R<'static>, i64);

/// Reads rows and moves the watermark: `Ok` a row, `Err` a watermark.
fn play(spec: &AbsenceSpec, script: &[Result<Placed, i64>]) -> Vec<String> {
    let (mut op, mut cx) = (stage(spec.clone()), Context::new());
    for step in script {
        match step {
            Err(watermark_ms) => cx.watermark_ms = *watermark_ms,
            Ok((row, offset)) => {
                assert!(row.4 >= cx.watermark_ms, "the test reads no row from behind the watermark");
                let mut columns = input(&[*row]).columns().to_vec();
                columns[1] = Arc::new(Int64Array::from(vec![*offset]));
                op.process(&mut cx, &RecordBatch::try_new(input(&[]).schema(), columns).unwrap()).unwrap();
            }
        }
        op.advance(&mut cx).unwrap();
    }
    assert!(cx.decisions.is_empty() && cx.counts.dead == 0, "{:?}", cx.decisions);
    let names = ["k", "id", "n", "ended", "opened_at", "due_at", "ended_at", "repeats"];
    let show = |b: &RecordBatch| {
        let columns: Vec<Vec<String>> = names.iter().map(|n| crate::op::testing::show_column(b, n)).collect();
        (0..b.num_rows()).map(|i| columns.iter().map(|c| c[i].as_str()).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    cx.out.iter().flat_map(show).collect()
}

/// What a spec of these tests does, in words that the plain rules understand.
#[derive(Clone, Copy, Debug)]
struct Plain {
    /// Every row opens, but the cancelling ones; nothing meets.
    silence: bool,
    /// `due` is the column `n`.
    due_of_n: bool,
    each: bool,
    repeat_ms: Option<i64>,
    tell_cancelled: bool,
}

impl Plain {
    fn spec(self) -> AbsenceSpec {
        let mut s = visits();
        if self.silence {
            (s.opens, s.met) = (None, None);
        }
        if !self.due_of_n {
            s.due = When::After(100);
        }
        if !self.each {
            s.each = Vec::new();
        }
        (s.repeat_ms, s.give_up_ms, s.emit.cancelled, s.max_open) = (self.repeat_ms, 160, self.tell_cancelled, 100);
        s
    }

    /// One millisecond after the other: first its rows, openings before closings, then what is due.
    fn ends(self, rows: &[Placed], until_ms: i64) -> Vec<String> {
        struct Expected {
            row: Placed,
            due: i64,
            next: i64,
            told: i64,
        }
        let mut sorted = rows.to_vec();
        let closes = |r: &R<'_>| r.1 == "dropped" || (r.1 == "served" && !self.silence);
        sorted.sort_by_key(|(r, offset)| (r.4, r.0, closes(r), *offset));
        let (mut open, mut out) = (BTreeMap::<(&str, Option<&str>), Expected>::new(), Vec::new());
        let line = |e: &Expected, how: &str, at: i64| {
            let (k, _, id, n, opened) = e.row.0;
            format!("{k} {} {} {how} {opened} {} {at} {}", id.unwrap_or(""), n.map(|n| n.to_string()).unwrap_or_default(), e.due, e.told)
        };
        let mut sorted = sorted.into_iter().peekable();
        for now in -200..until_ms {
            while let Some((row, offset)) = sorted.next_if(|(r, _)| r.4 <= now) {
                let (k, kind, id, n, _) = row;
                let id = id.filter(|_| self.each);
                if closes(&row) {
                    let mut hit: Vec<_> = open.keys().copied().filter(|key| key.0 == k && (id.is_none() || key.1 == id)).collect();
                    hit.sort_by_key(|key| (open[key].row.0.4, open[key].row.1));
                    for key in hit {
                        let e = open.remove(&key).unwrap();
                        let how = if kind == "dropped" { "cancelled" } else { "met" };
                        if e.told == 0 && (how == "met" || self.tell_cancelled) {
                            out.push(line(&e, how, now));
                        }
                    }
                } else if self.silence || kind == "planned" {
                    let due = if self.due_of_n { n.unwrap() } else { now + 100 };
                    open.insert((k, id), Expected { row: (row, offset), due, next: due, told: 0 });
                }
            }
            let mut due: Vec<_> = open.iter().filter(|(_, e)| e.next <= now).map(|(key, e)| (e.next, key.0, *key)).collect();
            // Of one time and key in the order of the sub-keys in state.
            due.sort_by_key(|(next, k, key)| (*next, *k, sub_key(key.1)));
            for (next, _, key) in due {
                let e = open.get_mut(&key).unwrap();
                let text = line(e, "absent", next);
                out.push(text);
                e.told += 1;
                match self.repeat_ms {
                    Some(every) if next + every <= e.due.max(e.row.0.4) + 160 => e.next += every,
                    _ => drop(open.remove(&key)),
                }
            }
        }
        out
    }
}

fn sub_key(id: Option<&str>) -> i64 {
    let (column, mut key): (ArrayRef, _) = (Arc::new(StringArray::from(vec![id])), Vec::new());
    if write_key(&[column], 0, &mut key) { hash_row(&key) as i64 } else { 0 }
}

fn random_rows(r: &mut impl FnMut(u64) -> u64, due_after_opening: bool) -> Vec<Placed> {
    let n = 4 + r(24);
    (0..n as i64)
        .map(|offset| {
            let time = r(500) as i64;
            let kind = ["planned", "served", "dropped", "noise", "planned", "planned"][r(6) as usize];
            let id = [Some("1"), Some("2"), None, Some("3")][r(4) as usize];
            let due = if due_after_opening { time + 1 + r(200) as i64 } else { time - 40 + r(200) as i64 };
            ((["a", "b"][r(2) as usize], kind, id, Some(due), time), offset)
        })
        .collect()
}

/// Rows are read at random while the watermark moves at random, never beyond a row that was not read.
fn script(r: &mut impl FnMut(u64) -> u64, rows: &[Placed], chunk: u64) -> Vec<Result<Placed, i64>> {
    let (mut left, mut out, mut watermark) = (rows.to_vec(), Vec::new(), i64::MIN);
    while !left.is_empty() {
        if r(3) == 0 {
            let most = left.iter().map(|(row, _)| row.4).min().unwrap();
            watermark = watermark.max(most - r(60) as i64);
            out.push(Err(watermark));
        }
        for _ in 0..=r(chunk) {
            if !left.is_empty() {
                out.push(Ok(left.swap_remove(r(left.len() as u64) as usize)));
            }
        }
    }
    out.push(Err(UNTIL_MS));
    out
}

const UNTIL_MS: i64 = 2_000;

#[test]
fn the_order_of_reading_and_the_steps_of_the_watermark_change_nothing() {
    let mut told = [0usize; 3];
    for seed in 0..600 {
        let mut r = random(seed);
        let mut coin = || r(2) == 0;
        let plain = Plain { silence: coin(), due_of_n: coin(), each: coin(), repeat_ms: coin().then_some(50), tell_cancelled: coin() };
        let rows = random_rows(&mut r, plain.silence || seed % 3 > 0);
        let wanted = plain.ends(&rows, UNTIL_MS);
        for (i, how) in [" absent ", " met ", " cancelled "].iter().enumerate() {
            told[i] += wanted.iter().filter(|w| w.contains(how)).count();
        }
        let by_time = {
            let mut sorted = rows.clone();
            sorted.sort_by_key(|(row, _)| row.4);
            let live = sorted.iter().flat_map(|row| [Err(row.0.4), Ok(*row)]);
            live.chain([Err(UNTIL_MS)]).collect::<Vec<_>>()
        };
        let backlog = |first: &dyn Fn(&Placed) -> bool| {
            let (a, b): (Vec<Placed>, Vec<Placed>) = rows.iter().partition(|row| first(row));
            a.into_iter().chain(b).map(Ok).chain([Err(UNTIL_MS)]).collect::<Vec<_>>()
        };
        let closings_first = backlog(&|(row, _)| row.1 == "served" || row.1 == "dropped");
        let openings_first = backlog(&|(row, _)| row.1 == "planned");
        let scripts = [by_time, closings_first, openings_first, script(&mut r, &rows, 1), script(&mut r, &rows, 6)];
        for (i, script) in scripts.iter().enumerate() {
            assert_eq!(play(&plain.spec(), script), wanted, "seed {seed}, reading {i}, {plain:?}: {rows:?}");
        }
    }
    assert!(told.iter().all(|n| *n > 200), "too little happens: {told:?}");
}
