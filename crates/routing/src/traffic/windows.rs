//! Drives that wait for their window to close, and the rows of those that enough vehicles drove.

use super::options::{Passage, SpeedRow, TrafficOptions};
use crate::bytes::{Reader, Writer};
use crate::roads::Edge;
use std::collections::BTreeMap;

/// Drives that an area holds at most; beyond it the oldest windows close early.
pub(super) const HELD_MAX: usize = 4_000;

/// Drives by (tier of window, start of window), each with what was typical when it came.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Windows {
    open: BTreeMap<(u8, i64), Vec<Held>>,
    count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    edge: Edge,
    vehicle: u64,
    mps: f32,
    typical_mps: f32,
}

impl Windows {
    pub(super) fn add(&mut self, options: &TrafficOptions, passage: &Passage, typical_mps: f64) {
        if let Some(window_ms) = options.windows_ms.first() {
            let held = Held { edge: passage.edge, vehicle: passage.vehicle, mps: passage.mps as f32, typical_mps: typical_mps as f32 };
            self.open.entry((0, passage.left_ms.div_euclid(*window_ms) * window_ms)).or_default().push(held);
            self.count += 1;
        }
    }

    /// When the first of the open windows may close, UTC ms.
    pub(super) fn next_close_ms(&self, options: &TrafficOptions) -> Option<i64> {
        let end = |(tier, start_ms): &(u8, i64)| Some(start_ms + options.windows_ms.get(usize::from(*tier))? + options.grace_ms);
        self.open.keys().filter_map(end).min()
    }

    /// Closes what ended before the watermark.
    pub(super) fn close(&mut self, options: &TrafficOptions, watermark_ms: i64, free_flow: impl Fn(Edge) -> f64, rows: &mut Vec<SpeedRow>) {
        // Lower tiers first: what they do not publish moves up before the upper ones are looked at.
        for tier in 0..options.windows_ms.len() {
            let window_ms = options.windows_ms[tier];
            let due: Vec<i64> = self
                .open
                .range((tier as u8, i64::MIN)..=(tier as u8, i64::MAX))
                .map(|((_, start_ms), _)| *start_ms)
                .filter(|start_ms| start_ms + window_ms + options.grace_ms <= watermark_ms)
                .collect();
            for start_ms in due {
                self.close_one(options, tier, start_ms, &free_flow, rows);
            }
        }
        while self.count > HELD_MAX {
            let Some((tier, start_ms)) = self.open.keys().min_by_key(|(tier, start_ms)| (*start_ms, *tier)).copied() else {
                break;
            };
            self.close_one(options, usize::from(tier), start_ms, &free_flow, rows);
        }
    }

    fn close_one(&mut self, options: &TrafficOptions, tier: usize, start_ms: i64, free_flow: &impl Fn(Edge) -> f64, rows: &mut Vec<SpeedRow>) {
        let held = self.open.remove(&(tier as u8, start_ms)).unwrap_or_default();
        self.count -= held.len();
        let mut edges: BTreeMap<Edge, Vec<Held>> = BTreeMap::new();
        held.into_iter().for_each(|one| edges.entry(one.edge).or_default().push(one));
        let window_ms = options.windows_ms[tier];
        for (edge, drives) in edges {
            let mut vehicles: Vec<u64> = drives.iter().map(|drive| drive.vehicle).collect();
            vehicles.sort_unstable();
            vehicles.dedup();
            if vehicles.len() >= options.min_vehicles.max(1) {
                rows.push(row(edge, start_ms, start_ms + window_ms, &drives, vehicles.len(), free_flow(edge)));
            } else if let Some(next_ms) = options.windows_ms.get(tier + 1) {
                self.count += drives.len();
                self.open.entry((tier as u8 + 1, start_ms.div_euclid(*next_ms) * next_ms)).or_default().extend(drives);
            }
        }
    }

    pub(super) fn put(&self, to: &mut Writer) {
        to.u16(self.open.len() as u16);
        for ((tier, start_ms), held) in &self.open {
            to.u8(*tier);
            to.i64(*start_ms);
            to.u32(held.len() as u32);
            for one in held {
                to.u32(one.edge.0);
                to.u64(one.vehicle);
                to.f32(one.mps);
                to.f32(one.typical_mps);
            }
        }
    }

    pub(super) fn get(from: &mut Reader<'_>) -> Option<Windows> {
        let mut windows = Windows::default();
        for _ in 0..from.count(usize::from(u16::MAX))? {
            let key = (from.u8()?, from.i64()?);
            let held = windows.open.entry(key).or_default();
            for _ in 0..from.u32()? {
                held.push(Held { edge: Edge(from.u32()?), vehicle: from.u64()?, mps: from.f32()?, typical_mps: from.f32()? });
                windows.count += 1;
            }
        }
        Some(windows)
    }
}

fn row(edge: Edge, from_ms: i64, until_ms: i64, drives: &[Held], vehicles: usize, free_flow_mps: f64) -> SpeedRow {
    let mut speeds: Vec<f64> = drives.iter().map(|drive| f64::from(drive.mps)).collect();
    speeds.sort_by(f64::total_cmp);
    let samples = speeds.len();
    let mean = speeds.iter().sum::<f64>() / samples as f64;
    let variance = speeds.iter().map(|mps| (mps - mean).powi(2)).sum::<f64>() / samples as f64;
    let spread = variance.sqrt() / mean.max(0.1);
    SpeedRow {
        edge,
        from_ms,
        until_ms,
        mps: quantile(&speeds, 0.5),
        slow_mps: (samples >= 5).then(|| quantile(&speeds, 0.1)),
        typical_mps: drives.iter().map(|drive| f64::from(drive.typical_mps)).sum::<f64>() / samples as f64,
        free_flow_mps,
        samples,
        vehicles,
        confidence: samples as f64 / (samples as f64 + 2.0) / (1.0 + 2.0 * spread * spread),
    }
}

/// Quantile of ascending values, between neighbours by share.
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let place = share * (ascending.len() - 1) as f64;
    let (low, part) = (place as usize, place.fract());
    let high = (low + 1).min(ascending.len() - 1);
    ascending[low] * (1.0 - part) + ascending[high] * part
}
