//! A book as bytes, small because it is written again with every fact: times as varint differences, containers once in a table
//! in front, event ids by what they share with the one before. A version byte leads; state of another version is refused.

use super::{Book, Fact, Happened, Reading};

/// Layout of the bytes.
const VERSION: u8 = 1;
/// Longest text, bytes; what is longer is cut.
const MAX_TEXT_BYTES: usize = 512;

/// Stored bytes that are no book.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("facts of a subject cannot be read: {0}; the state was written by another version or is damaged")]
pub struct BookError(&'static str);

#[derive(Default)]
struct Writer {
    texts: Vec<String>,
    out: Vec<u8>,
    time_ms: i64,
    id: String,
}

impl Writer {
    fn count(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
    /// As the difference to the time before.
    fn time(&mut self, at_ms: i64) {
        let step = at_ms.wrapping_sub(self.time_ms);
        self.time_ms = at_ms;
        self.count(((step << 1) ^ (step >> 63)) as u64);
    }
    fn maybe(&mut self, at_ms: Option<i64>) {
        self.out.push(u8::from(at_ms.is_some()));
        if let Some(at_ms) = at_ms {
            self.time(at_ms);
        }
    }
    fn text(&mut self, value: &str) {
        let cut = value.floor_char_boundary(MAX_TEXT_BYTES);
        self.count(cut as u64);
        self.out.extend_from_slice(&value.as_bytes()[..cut]);
    }
    /// A text that repeats.
    fn shared(&mut self, value: &str) {
        let at = self.texts.iter().position(|known| known == value).unwrap_or_else(|| {
            self.texts.push(value.to_owned());
            self.texts.len() - 1
        });
        self.count(at as u64);
    }
    /// What it shares with the id before is not written again.
    fn id(&mut self, value: &str) {
        let value = &value[..value.floor_char_boundary(MAX_TEXT_BYTES)];
        let common = self.id.bytes().zip(value.bytes()).take_while(|(a, b)| a == b).count();
        let common = value.floor_char_boundary(common);
        self.count(common as u64);
        self.text(&value[common..]);
        self.id = value.to_owned();
    }
    fn finish(self) -> Vec<u8> {
        let mut head = Writer::default();
        head.out.push(VERSION);
        head.count(self.texts.len() as u64);
        self.texts.iter().for_each(|text| head.text(text));
        head.out.extend_from_slice(&self.out);
        head.out
    }
}

struct Cursor<'a> {
    left: &'a [u8],
    texts: Vec<String>,
    time_ms: i64,
    id: String,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Result<u8, BookError> {
        let (byte, left) = self.left.split_first().ok_or(BookError("it ends early"))?;
        self.left = left;
        Ok(*byte)
    }
    fn varint(&mut self) -> Result<u64, BookError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(BookError("a number is too long"))
    }
    fn count(&mut self) -> Result<usize, BookError> {
        // Every item takes a byte at least: a damaged count cannot ask for more memory than there are bytes.
        let count = self.varint()? as usize;
        if count > self.left.len() { Err(BookError("a count is too large")) } else { Ok(count) }
    }
    fn time(&mut self) -> Result<i64, BookError> {
        let coded = self.varint()?;
        self.time_ms = self.time_ms.wrapping_add((coded >> 1) as i64 ^ -((coded & 1) as i64));
        Ok(self.time_ms)
    }
    fn maybe(&mut self) -> Result<Option<i64>, BookError> {
        if self.byte()? == 0 { Ok(None) } else { self.time().map(Some) }
    }
    fn float(&mut self) -> Result<f64, BookError> {
        let (head, left) = self.left.split_first_chunk::<8>().ok_or(BookError("a number ends early"))?;
        self.left = left;
        Ok(f64::from_le_bytes(*head))
    }
    fn text(&mut self) -> Result<String, BookError> {
        let bytes = self.count()?;
        let (head, left) = self.left.split_at_checked(bytes).ok_or(BookError("a text ends early"))?;
        self.left = left;
        String::from_utf8(head.to_vec()).map_err(|_| BookError("a text is no UTF-8"))
    }
    fn shared(&mut self) -> Result<String, BookError> {
        let at = self.varint()? as usize;
        self.texts.get(at).cloned().ok_or(BookError("a text is missing"))
    }
    fn id(&mut self) -> Result<String, BookError> {
        let common = self.varint()? as usize;
        let front = self.id.get(..common).ok_or(BookError("an id shares more than there is"))?.to_owned();
        self.id = front + &self.text()?;
        Ok(self.id.clone())
    }
}

impl Book {
    /// The book as bytes; none for an empty one.
    pub fn write(&self) -> Vec<u8> {
        if *self == Book::default() {
            return Vec::new();
        }
        let mut w = Writer::default();
        w.maybe(self.heard_ms);
        w.maybe(self.silent_ms);
        w.count(self.readings.len() as u64);
        for reading in &self.readings {
            w.time(reading.at_ms);
            w.out.extend_from_slice(&reading.level.to_le_bytes());
            w.shared(&reading.place);
            w.id(&reading.event_id);
        }
        w.count(self.emptied.len() as u64);
        for (at_ms, place) in &self.emptied {
            w.time(*at_ms);
            w.shared(place);
        }
        w.count(self.happened.len() as u64);
        for happened in &self.happened {
            let (code, reason) = match &happened.fact {
                Fact::Came => (0, ""),
                Fact::Ended(reason) => (1, reason.as_str()),
                _ => (2, ""),
            };
            w.time(happened.at_ms);
            w.out.push(code);
            w.shared(reason);
            w.id(&happened.event_id);
        }
        w.finish()
    }

    /// A book from its bytes.
    ///
    /// # Errors
    /// When they are of another version or damaged.
    pub fn read(bytes: &[u8]) -> Result<Book, BookError> {
        let Some((version, left)) = bytes.split_first() else { return Ok(Book::default()) };
        if *version != VERSION {
            return Err(BookError("an unknown version"));
        }
        let mut c = Cursor { left, texts: Vec::new(), time_ms: 0, id: String::new() };
        c.texts = (0..c.count()?).map(|_| c.text()).collect::<Result<_, _>>()?;
        let (heard_ms, silent_ms) = (c.maybe()?, c.maybe()?);
        let reading = |c: &mut Cursor<'_>| Ok(Reading { at_ms: c.time()?, level: c.float()?, place: c.shared()?, event_id: c.id()? });
        let readings = (0..c.count()?).map(|_| reading(&mut c)).collect::<Result<_, _>>()?;
        let emptied = (0..c.count()?).map(|_| Ok((c.time()?, c.shared()?))).collect::<Result<_, _>>()?;
        let fact = |c: &mut Cursor<'_>| {
            let (at_ms, code, reason, event_id) = (c.time()?, c.byte()?, c.shared()?, c.id()?);
            let fact = match code {
                0 => Fact::Came,
                1 => Fact::Ended(reason),
                2 => Fact::Treated,
                _ => return Err(BookError("an unknown fact")),
            };
            Ok(Happened { at_ms, fact, event_id })
        };
        let happened = (0..c.count()?).map(|_| fact(&mut c)).collect::<Result<_, _>>()?;
        if !c.left.is_empty() {
            return Err(BookError("bytes are left over"));
        }
        Ok(Book { readings, emptied, happened, silent_ms, heard_ms })
    }
}
