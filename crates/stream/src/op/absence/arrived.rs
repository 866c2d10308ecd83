//! A row as the stage keeps it: what it closes, what it opens, and where it stands among others.

use crate::store::StateError;

/// Bytes in front of the kept columns: flags, five numbers, the length of the taken columns.
const HEAD: usize = 1 + 5 * 8 + 4;

const CANCELS: u8 = 1;
const HAS_EACH: u8 = 2;
const CLOSES: u8 = 4;
const OPENS: u8 = 8;
const LATE: u8 = 16;

/// A row that opens or closes expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) time_ms: i64,
    pub(super) offset: i64,
    pub(super) late: bool,
    /// The one expectation that it is about; `None`: a closing row closes all of its key.
    pub(super) each: Option<i64>,
    pub(super) closes: Option<Closes>,
    pub(super) opens: Option<Opens>,
}

/// How a row closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closes {
    pub(super) cancels: bool,
    /// Its taken columns.
    pub(super) taken: Vec<u8>,
}

/// What a row opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opens {
    pub(super) due_ms: i64,
    pub(super) not_before_ms: i64,
    /// Its columns.
    pub(super) row: Vec<u8>,
}

impl Arrived {
    pub(super) fn write(&self) -> Vec<u8> {
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let cancels = self.closes.as_ref().is_some_and(|c| c.cancels);
        let taken: &[u8] = self.closes.as_ref().map_or(&[], |c| &c.taken);
        let (due_ms, not_before_ms, row) = self.opens.as_ref().map_or((0, 0, &[][..]), |o| (o.due_ms, o.not_before_ms, &o.row));
        let mut out = Vec::with_capacity(HEAD + taken.len() + row.len());
        let is = [(cancels, CANCELS), (self.each.is_some(), HAS_EACH), (self.closes.is_some(), CLOSES), (self.opens.is_some(), OPENS), (self.late, LATE)];
        out.push(is.into_iter().fold(0, |flags, (on, bit)| flags | flag(on, bit)));
        for n in [self.time_ms, self.offset, self.each.unwrap_or(0), due_ms, not_before_ms] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&(taken.len() as u32).to_le_bytes());
        out.extend_from_slice(taken);
        out.extend_from_slice(row);
        out
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Arrived, StateError> {
        let short = || StateError("a row that waits is too short".into());
        let (head, rest) = bytes.split_at_checked(HEAD).ok_or_else(short)?;
        let (flags, numbers) = (head[0], &head[1..HEAD - 4]);
        let taken_len = head[HEAD - 4..].try_into().map_or(0, u32::from_le_bytes) as usize;
        let (taken, row) = rest.split_at_checked(taken_len).ok_or_else(short)?;
        let mut n = numbers.chunks_exact(8).map(long);
        let mut next = || n.next().unwrap_or_default();
        let (time_ms, offset, each, due_ms, not_before_ms) = (next(), next(), next(), next(), next());
        Ok(Arrived {
            time_ms,
            offset,
            late: flags & LATE != 0,
            each: (flags & HAS_EACH != 0).then_some(each),
            closes: (flags & CLOSES != 0).then(|| Closes { cancels: flags & CANCELS != 0, taken: taken.to_vec() }),
            opens: (flags & OPENS != 0).then(|| Opens { due_ms, not_before_ms, row: row.to_vec() }),
        })
    }

    /// When it happened, from the bytes of a row, without reading the rest.
    pub(super) fn time_of(bytes: &[u8]) -> i64 {
        bytes.get(1..9).map_or(i64::MIN, long)
    }

    /// What it opens, from the bytes of a row, without reading the rest.
    pub(super) fn opens_of(bytes: &[u8]) -> Option<i64> {
        (bytes.first()? & OPENS != 0).then(|| bytes.get(17..25).map_or(0, long))
    }

    /// Does it end an expectation that was opened then and may be met from then on?
    pub(super) fn ends(&self, each: i64, opened_ms: i64, not_before_ms: i64) -> bool {
        let Some(closes) = &self.closes else { return false };
        let from_ms = if closes.cancels { opened_ms } else { opened_ms.max(not_before_ms) };
        self.time_ms >= from_ms && self.each.is_none_or(|e| e == each)
    }

    /// Its place among rows of its key. At one time what opens comes before what closes, as a closing counts from the
    /// opening on; then by where a row stems from, never by when it was read.
    pub(super) fn place(&self) -> impl Ord + use<> {
        let kind = match (&self.closes, &self.opens) {
            (None, _) => 0,
            (Some(_), Some(_)) => 1,
            (Some(_), None) => 2,
        };
        (self.time_ms, kind, self.offset, self.write())
    }
}

pub(super) fn long(bytes: &[u8]) -> i64 {
    bytes.try_into().map_or(0, i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let closes = Closes { cancels: true, taken: vec![1, 2, 3] };
        let opens = Opens { due_ms: 90, not_before_ms: i64::MIN, row: vec![7, 8] };
        let whole = Arrived { time_ms: -5, offset: 17, late: true, each: Some(-3), closes: Some(closes), opens: Some(opens) };
        let met = Closes { cancels: false, taken: Vec::new() };
        let rows = [
            Arrived { opens: None, each: None, ..whole.clone() },
            Arrived { closes: None, late: false, ..whole.clone() },
            Arrived { closes: Some(met), ..whole.clone() },
            whole,
        ];
        for row in rows {
            let bytes = row.write();
            assert_eq!(Arrived::read(&bytes).unwrap(), row);
            assert_eq!((Arrived::time_of(&bytes), Arrived::opens_of(&bytes)), (-5, row.opens.as_ref().map(|_| -3)));
        }
        assert!(Arrived::read(&[0; HEAD - 1]).is_err() && Arrived::read(&[255; HEAD]).is_err());
    }
}
