//! What two changelog formats cost: one delta record per epoch with rolling bases (the one in use), against one record
//! per changed row under a compacted key. `cargo run -p ws-runtime --example changelog_formats`. In memory only: a
//! log's own cost per record comes on top, and falls on the second format alone. The decision is in `docs/adr/0001-*`.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::time::Instant;
use ws_stream::changelog::{self, CHUNKS, Kind, Writer};
use ws_stream::operator::StateAccess;
use ws_stream::records::Appends;
use ws_stream::store::{StateError, Store};

const EPOCHS: u64 = 600;
/// As in the task: a base round begins after this much delta, or after as much as the last round's size.
const BASE_AFTER_BYTES: usize = 4 * 1024 * 1024;

/// A workload: what one epoch changes.
struct Load {
    name: &'static str,
    keys: u64,
    /// Keys that one epoch touches.
    touched: u64,
    /// Values per key and epoch, in bytes, each under a sub-key of its own.
    values: &'static [usize],
    /// Epochs after which the first value gets a new sub-key, as a pane does; the old one is removed.
    pane_epochs: u64,
}

const LOADS: &[Load] = &[
    // Per bin and minute, epochs of 1 s: count, sum and max in 8 bytes each. At 100,000 rows a second all groups change.
    Load { name: "W1: 10,000 groups, 1 s", keys: 10_000, touched: 10_000, values: &[24], pane_epochs: 60 },
    // The demo: 2,000 bins at 300 times real time are 260 readings a second; one pane and one note about the key.
    Load { name: "city live: 26 of 2,000 bins, 100 ms", keys: 2_000, touched: 26, values: &[152, 260], pane_epochs: 600 },
    // Catching up: every bin changes in every epoch.
    Load { name: "city catching up: 2,000 bins, 100 ms", keys: 2_000, touched: 2_000, values: &[152, 260], pane_epochs: 600 },
];

#[derive(Default)]
struct Cost {
    records: u64,
    bytes: u64,
    write_ns: u128,
    /// What a restore at the end has to read.
    restore_records: u64,
    restore_bytes: u64,
    restore_ns: u128,
}

/// Size of a record in Kafka's record batch (version 2), uncompressed: varint lengths, no headers.
fn kafka_bytes(key: usize, value: usize) -> u64 {
    let varint = |n: usize| (usize::BITS - (n << 1 | 1).leading_zeros()).div_ceil(7) as usize;
    let body = 1 + 2 + 2 + varint(key) + key + varint(value) + value + 1;
    (varint(body) + body) as u64
}

/// The changes of one epoch.
fn touch(store: &mut Store<Vec<u8>>, load: &Load, epoch: u64) {
    for i in 0..load.touched {
        let bin = (epoch * load.touched + i) % load.keys;
        let key = store.key(format!("bin-{bin:05}").as_bytes());
        let pane = (epoch / load.pane_epochs) as i64;
        for (n, bytes) in load.values.iter().enumerate() {
            let sub = if n == 0 { pane } else { i64::MIN };
            let mut value = vec![0u8; *bytes];
            value[..8].copy_from_slice(&epoch.to_le_bytes());
            store.put(key, sub, value);
        }
        store.remove(key, pane - 1);
    }
}

/// One delta record per epoch; key ranges are written anew in rounds, one range an epoch; what is before a full round goes.
fn deltas(load: &Load) -> Result<Cost, StateError> {
    let (mut store, mut cost) = (Store::<Vec<u8>>::default(), Cost::default());
    let mut kept: Vec<(u64, Vec<u8>)> = Vec::new();
    let (mut since, mut last_round, mut round, mut active) = (0, 0, 0, None::<(u64, u8)>);
    for epoch in 1..=EPOCHS {
        touch(&mut store, load, epoch);
        let start = Instant::now();
        let mut out = Appends::new("changelog".into());
        let key = epoch.to_be_bytes();
        let mut parts = Vec::new();
        if let Some((began, chunk)) = active {
            let mut base = Writer::new(Kind::Base(chunk), 7, epoch, Vec::new());
            store.scan_committed(&mut |key, sub, value| {
                if changelog::chunk_of(key) == chunk {
                    base.row(0, key, sub, value);
                }
            });
            parts = base.finish();
            round += parts.iter().map(Vec::len).sum::<usize>();
            active = (chunk + 1 < CHUNKS).then_some((began, chunk + 1));
            if active.is_none() {
                last_round = std::mem::take(&mut round);
                kept.retain(|(epoch, _)| *epoch >= began);
            }
        }
        let mut delta = Writer::new(Kind::Delta, 7, epoch, Vec::new());
        store.close_epoch(&mut |key, sub, value| delta.row(0, key, sub, value));
        let delta = delta.finish();
        since += delta.iter().map(Vec::len).sum::<usize>();
        parts.extend(delta);
        for part in &parts {
            out.push(0, 0, Some(&key), Some(part), &[]);
        }
        store.committed();
        if active.is_none() && since >= BASE_AFTER_BYTES.max(last_round) {
            since = 0;
            active = Some((epoch + 1, 0));
        }
        cost.write_ns += start.elapsed().as_nanos();
        cost.records += parts.len() as u64;
        cost.bytes += parts.iter().map(|p| kafka_bytes(8, p.len())).sum::<u64>();
        kept.extend(parts.into_iter().map(|p| (epoch, p)));
    }
    let start = Instant::now();
    let mut restored = Store::<Vec<u8>>::default();
    for (_, record) in &kept {
        changelog::read(record, &mut |_, key, sub, value| restored.import(key, sub, value))?;
    }
    cost.restore_ns = start.elapsed().as_nanos();
    cost.restore_records = kept.len() as u64;
    cost.restore_bytes = kept.iter().map(|(_, r)| kafka_bytes(8, r.len())).sum();
    assert_eq!(restored.len(), store.len(), "a restore gives the state");
    Ok(cost)
}

/// One record per changed row, keyed so that compaction keeps the newest. The restore is taken at its best: right after
/// a compaction that left one record per live row.
fn rows(load: &Load) -> Result<Cost, StateError> {
    let (mut store, mut cost) = (Store::<Vec<u8>>::default(), Cost::default());
    let compacted_key = |key: &[u8], sub: i64| [&0u16.to_be_bytes()[..], key, &sub.to_be_bytes()[..]].concat();
    for epoch in 1..=EPOCHS {
        touch(&mut store, load, epoch);
        let start = Instant::now();
        let mut out = Appends::new("changelog".into());
        let mut bytes = 0;
        store.close_epoch(&mut |key, sub, value| {
            let key = compacted_key(key, sub);
            bytes += kafka_bytes(key.len(), value.map_or(0, <[u8]>::len));
            out.push(0, 0, Some(&key), value, &[]);
        });
        store.committed();
        cost.write_ns += start.elapsed().as_nanos();
        cost.records += out.rows.len() as u64;
        cost.bytes += bytes;
    }
    let mut live = Vec::new();
    store.scan_committed(&mut |key, sub, value| live.push((compacted_key(key, sub), value.map(<[u8]>::to_vec))));
    let start = Instant::now();
    let mut restored = Store::<Vec<u8>>::default();
    for (key, value) in &live {
        let (key, sub) = key[2..].split_at(key.len() - 10);
        let sub = sub.try_into().map_err(|_| StateError("a key without sub-key".into()))?;
        restored.import(key, i64::from_be_bytes(sub), value.as_deref())?;
    }
    cost.restore_ns = start.elapsed().as_nanos();
    cost.restore_records = live.len() as u64;
    cost.restore_bytes = live.iter().map(|(k, v)| kafka_bytes(k.len(), v.as_ref().map_or(0, Vec::len))).sum();
    assert_eq!(restored.len(), store.len(), "a restore gives the state");
    Ok(cost)
}

fn print(name: &str, format: &str, c: &Cost) {
    let per = |n: u128| n as f64 / EPOCHS as f64;
    println!(
        "| {name} | {format} | {:.1} | {:.1} | {:.0} | {} | {:.1} | {:.2} |",
        per(u128::from(c.records)),
        per(u128::from(c.bytes)) / 1e3,
        per(c.write_ns) / 1e3,
        c.restore_records,
        c.restore_bytes as f64 / 1e6,
        c.restore_ns as f64 / 1e6,
    );
}

fn main() -> Result<(), StateError> {
    println!("{EPOCHS} epochs each, one thread, build profile {}", if cfg!(debug_assertions) { "dev" } else { "release" });
    println!("| workload | format | records/epoch | kB/epoch | µs/epoch | records to restore | MB to restore | ms to restore |");
    println!("|---|---|---|---|---|---|---|---|");
    for load in LOADS {
        print(load.name, "delta + bases", &deltas(load)?);
        print(load.name, "record per row", &rows(load)?);
    }
    Ok(())
}
