//! Reads Avro primitives from one record's bytes. A cursor never sees the next record, so a damaged length cannot
//! swallow it; every read is checked against what is left.

use super::schema::{Named, Schema, Type};

/// Why a value could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end inside the value.
    Truncated,
    /// The bytes are there and mean nothing.
    Malformed(&'static str),
}

type Read<T> = Result<T, Fault>;

/// Nested values deeper than this are refused: schemas may refer to themselves, and a stack is finite.
const MAX_DEPTH: u32 = 64;

/// What is left of a record.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline(always)]
    pub(crate) fn long(&mut self) -> Read<i64> {
        if let Some((&b, rest)) = self.rest.split_first()
            && b < 0x80
        {
            self.rest = rest;
            return Ok(unzigzag(u64::from(b)));
        }
        if let Some((head, _)) = self.rest.split_first_chunk::<8>() {
            // Up to eight bytes at once: find the byte without a continuation bit, then close the seven-bit gaps.
            let w = u64::from_le_bytes(*head);
            let ends = !w & 0x8080_8080_8080_8080;
            if ends != 0 {
                let n = ends.trailing_zeros() / 8 + 1;
                let w = w & (ends ^ ends.wrapping_sub(1)) & 0x7f7f_7f7f_7f7f_7f7f;
                let w = (w & 0x007f_007f_007f_007f) | ((w & 0x7f00_7f00_7f00_7f00) >> 1);
                let w = (w & 0x0000_3fff_0000_3fff) | ((w & 0x3fff_0000_3fff_0000) >> 2);
                let w = (w & 0x0fff_ffff) | ((w & 0x0fff_ffff_0000_0000) >> 4);
                self.rest = &self.rest[n as usize..];
                return Ok(unzigzag(w));
            }
        }
        self.long_slowly()
    }

    /// Byte by byte: the end of a record, and varints of nine and ten bytes.
    #[cold]
    fn long_slowly(&mut self) -> Read<i64> {
        let mut value = 0u64;
        for i in 0..10 {
            let Some((&b, rest)) = self.rest.split_first() else {
                return Err(Fault::Truncated);
            };
            self.rest = rest;
            if i == 9 && b > 1 {
                return Err(Fault::Malformed("a number has more than 64 bits"));
            }
            value |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                return Ok(unzigzag(value));
            }
        }
        Err(Fault::Malformed("a number has more than 64 bits"))
    }

    #[inline(always)]
    pub(crate) fn int(&mut self) -> Read<i32> {
        i32::try_from(self.long()?).map_err(|_| Fault::Malformed("an int has more than 32 bits"))
    }

    #[inline(always)]
    pub(crate) fn float(&mut self) -> Read<f32> {
        Ok(f32::from_le_bytes(self.chunk()?))
    }

    #[inline(always)]
    pub(crate) fn double(&mut self) -> Read<f64> {
        Ok(f64::from_le_bytes(self.chunk()?))
    }

    #[inline(always)]
    pub(crate) fn boolean(&mut self) -> Read<bool> {
        match self.chunk::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Fault::Malformed("a boolean is neither 0 nor 1")),
        }
    }

    /// A length and that many bytes.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Read<&'a [u8]> {
        let n = self.long()?;
        let n = usize::try_from(n).map_err(|_| Fault::Malformed("a length is negative"))?;
        self.take(n)
    }

    #[inline(always)]
    pub(crate) fn take(&mut self, n: usize) -> Read<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline(always)]
    fn chunk<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// The number of an enum's symbol or a union's branch, below `count`.
    #[inline(always)]
    pub(crate) fn choice(&mut self, count: usize, what: &'static str) -> Read<usize> {
        match usize::try_from(self.long()?) {
            Ok(i) if i < count => Ok(i),
            _ => Err(Fault::Malformed(what)),
        }
    }

    /// Skips any value by its schema.
    pub(crate) fn skip(&mut self, schema: &Schema, ty: &Type) -> Read<()> {
        self.skip_at(schema, ty, 0)
    }

    fn skip_at(&mut self, schema: &Schema, ty: &Type, depth: u32) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(Fault::Malformed("values are nested too deeply"));
        }
        match ty {
            Type::Null => Ok(()),
            Type::Boolean => self.boolean().map(drop),
            Type::Int => self.int().map(drop),
            Type::Long(_) => self.long().map(drop),
            Type::Float => self.take(4).map(drop),
            Type::Double => self.take(8).map(drop),
            Type::Bytes | Type::String => self.bytes().map(drop),
            Type::Array(item) => self.blocks(|c| c.skip_at(schema, item, depth + 1)),
            Type::Map(value) => self.blocks(|c| {
                c.bytes()?;
                c.skip_at(schema, value, depth + 1)
            }),
            Type::Union(branches) => {
                let i = self.choice(branches.len(), "a union has no such branch")?;
                self.skip_at(schema, &branches[i], depth + 1)
            }
            Type::Named(i) => match schema.named(*i) {
                Named::Fixed { size, .. } => self.take(*size).map(drop),
                Named::Enum(e) => self.choice(e.symbols.len(), "an enum has no such symbol").map(drop),
                Named::Record(r) => r.fields.iter().try_for_each(|f| self.skip_at(schema, &f.ty, depth + 1)),
            },
        }
    }

    /// Runs `item` for each item of an array or map.
    pub(crate) fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        loop {
            let n = self.long()?;
            if n == 0 {
                return Ok(());
            }
            if n < 0 {
                self.long()?; // the block's size in bytes; items are checked one by one all the same
            }
            for _ in 0..n.unsigned_abs() {
                let before = self.left();
                item(self)?;
                // Items without bytes (nulls) would let ten bytes claim 2^63 of them.
                if self.left() == before {
                    return Err(Fault::Malformed("items without bytes"));
                }
            }
        }
    }
}

#[inline(always)]
fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Appends a zigzag varint.
#[inline(always)]
pub(crate) fn put_long(out: &mut Vec<u8>, n: i64) {
    let mut z = ((n << 1) ^ (n >> 63)) as u64;
    while z >= 0x80 {
        out.push(z as u8 | 0x80);
        z >>= 7;
    }
    out.push(z as u8);
}

/// Appends a length and the bytes.
#[inline(always)]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn numbers_of_every_length_come_back_whatever_follows() {
        let mut numbers: Vec<i64> = (0..63).flat_map(|s| [1i64 << s, (1i64 << s) - 1, -(1i64 << s), -(1i64 << s) - 1]).collect();
        numbers.extend([0, i64::MAX, i64::MIN, 1_795_305_600_000]);
        for n in numbers {
            for tail in [&[][..], &[0xff; 12][..], &[0; 3][..]] {
                let mut b = Vec::new();
                put_long(&mut b, n);
                let len = b.len();
                b.extend_from_slice(tail);
                let mut c = Cursor::new(&b);
                assert_eq!(c.long(), Ok(n));
                assert_eq!(c.left(), tail.len(), "{n} reads its own bytes only");
                for cut in 0..len {
                    assert_eq!(Cursor::new(&b[..cut]).long(), Err(Fault::Truncated), "{n} cut to {cut}");
                }
            }
        }
        assert!(matches!(Cursor::new(&[0xff; 11]).long(), Err(Fault::Malformed(_))));
    }

    #[test]
    fn absurd_counts_and_depths_end_at_once() {
        let s =
            Schema::parse(r#"{"type":"record","name":"R","fields":[{"name":"n","type":{"type":"array","items":"null"}},{"name":"r","type":["null","R"]}]}"#)
                .unwrap();
        let mut b = Vec::new();
        put_long(&mut b, i64::MAX);
        assert!(matches!(Cursor::new(&b).skip(&s, &s.record().fields[0].ty), Err(Fault::Malformed("items without bytes"))));
        let deep = [0u8, 2].repeat(10_000);
        assert!(matches!(Cursor::new(&deep).skip(&s, &Type::Named(0)), Err(Fault::Malformed("values are nested too deeply"))));
    }
}
