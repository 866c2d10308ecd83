//! What a pane of a "since" window keeps beside its aggregates: when its rows were, and enough of the watched value to
//! see a fall that happened between rows or inside it. And the note kept per key.

use crate::store::StateError;

/// Event time of the pane's earliest and latest row.
pub(super) const FIRST_MS: usize = 0;
pub(super) const LAST_MS: usize = 1;
/// 1 when the watched value fell inside the pane, seen only afterwards: nobody knows which rows lie before the fall.
pub(super) const BROKEN: usize = 2;
/// The watched value: earliest, latest, largest (earliest such), smallest (latest such), each as time and value.
const FIRST: usize = 3;
const LAST: usize = 5;
const MAX: usize = 7;
const MIN: usize = 9;
/// Slots in front of the aggregates.
pub(super) const SLOTS: usize = 11;

/// When a fall of the watched value is a reset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fall {
    pub(super) by: f64,
    pub(super) to_at_most: f64,
}

impl Fall {
    pub(super) fn is(&self, from: f64, to: f64) -> bool {
        from - to >= self.by && to <= self.to_at_most
    }
}

/// Sets up the slots of a new pane, which has no row yet.
pub(super) fn begin(pane: &mut [f64]) {
    pane[FIRST_MS] = f64::INFINITY;
    pane[LAST_MS] = f64::NEG_INFINITY;
    pane[FIRST] = f64::NAN;
}

/// Has the pane a watched value?
pub(super) fn watched(pane: &[f64]) -> bool {
    !pane[FIRST].is_nan()
}

/// The pane's earliest watched value with its time.
pub(super) fn first(pane: &[f64]) -> (f64, f64) {
    (pane[FIRST], pane[FIRST + 1])
}

/// The pane's latest watched value.
pub(super) fn last(pane: &[f64]) -> f64 {
    pane[LAST + 1]
}

/// Time of the pane's smallest watched value: for a broken pane, some time after the fall.
pub(super) fn lowest_ms(pane: &[f64]) -> f64 {
    pane[MIN]
}

/// Takes a row's time and watched value in; `newest`: no row of the key is newer.
pub(super) fn fold(pane: &mut [f64], t_ms: i64, value: Option<f64>, fall: Option<Fall>, newest: bool) {
    let t = t_ms as f64;
    pane[FIRST_MS] = pane[FIRST_MS].min(t);
    pane[LAST_MS] = pane[LAST_MS].max(t);
    let (Some(v), Some(fall)) = (value, fall) else {
        return;
    };
    if !watched(pane) {
        for slot in [FIRST, LAST, MAX, MIN] {
            (pane[slot], pane[slot + 1]) = (t, v);
        }
        return;
    }
    if t <= pane[LAST] || !newest {
        // Out of order: is there a fall to or from this row? Falls between rows in order start a pane of their own.
        let after = |slot: usize| pane[slot] >= t && fall.is(v, pane[slot + 1]);
        let before = |slot: usize| pane[slot] <= t && fall.is(pane[slot + 1], v);
        if after(LAST) || after(MIN) || before(FIRST) || before(MAX) || before(LAST) {
            pane[BROKEN] = 1.0;
        }
    }
    if t < pane[FIRST] {
        (pane[FIRST], pane[FIRST + 1]) = (t, v);
    }
    if t >= pane[LAST] {
        (pane[LAST], pane[LAST + 1]) = (t, v);
    }
    if v > pane[MAX + 1] || (v == pane[MAX + 1] && t < pane[MAX]) {
        (pane[MAX], pane[MAX + 1]) = (t, v);
    }
    if v < pane[MIN + 1] || (v == pane[MIN + 1] && t > pane[MIN]) {
        (pane[MIN], pane[MIN + 1]) = (t, v);
    }
}

/// The note of a key. `i64::MIN` stands for "none". Behind it stand the carried columns of the newest row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Note {
    /// Event time of the key's newest row.
    pub(super) newest_ms: i64,
    /// Its input offset.
    pub(super) offset: i64,
    /// The newest reset that is certain: told by the reset column, or a fall between rows in order.
    pub(super) reset_ms: i64,
    /// Silence counts from here: the newest row, the last timer row, or the watermark when the newest row came.
    pub(super) quiet_from_ms: i64,
    /// Time of the newest watched value.
    pub(super) value_ms: i64,
    /// The newest watched value; NaN for none.
    pub(super) value: f64,
}

impl Note {
    const BYTES: usize = 48;

    /// For a key never seen.
    pub(super) const NEW: Note = Note { newest_ms: i64::MIN, offset: 0, reset_ms: i64::MIN, quiet_from_ms: i64::MIN, value_ms: i64::MIN, value: f64::NAN };

    /// Overwrites the note in `bytes`, keeps the row behind it.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let head = [self.newest_ms, self.offset, self.reset_ms, self.quiet_from_ms, self.value_ms, self.value.to_bits() as i64];
        bytes.resize(bytes.len().max(Self::BYTES), 0);
        for (n, v) in head.iter().enumerate() {
            bytes[n * 8..n * 8 + 8].copy_from_slice(&v.to_le_bytes());
        }
    }

    /// The note and the row behind it.
    pub(super) fn read(bytes: &[u8]) -> Result<(Note, &[u8]), StateError> {
        let (head, row) = bytes.split_first_chunk::<{ Note::BYTES }>().ok_or_else(|| StateError(format!("a note of {} bytes", bytes.len())))?;
        let mut numbers = [0i64; 6];
        for (n, b) in numbers.iter_mut().zip(head.chunks_exact(8)) {
            *n = i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        }
        let [newest_ms, offset, reset_ms, quiet_from_ms, value_ms, value] = numbers;
        Ok((Note { newest_ms, offset, reset_ms, quiet_from_ms, value_ms, value: f64::from_bits(value as u64) }, row))
    }

    /// Puts a row behind the note.
    pub(super) fn write_row(&self, bytes: &mut Vec<u8>, row: &[u8]) {
        bytes.truncate(Self::BYTES);
        self.write(bytes);
        bytes.extend_from_slice(row);
    }
}
