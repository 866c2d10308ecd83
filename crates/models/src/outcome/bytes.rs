//! A book as bytes: little-endian numbers, texts behind their length. Texts that repeat (topic, target, tenant, place, rung,
//! version) stand once, in a table in front. A version byte leads; state of another version is refused.

use super::{Book, Fact, Happened, Prediction, Question, Reading};

/// Layout of the bytes.
const VERSION: u8 = 1;
/// Stands for no number.
const NO_TIME: i64 = i64::MIN;
/// Longest text, bytes; what is longer is cut.
const MAX_TEXT_BYTES: usize = 512;

/// Stored bytes that are no book.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("open predictions of a subject cannot be read: {0}; the state was written by another version or is damaged")]
pub struct BookError(&'static str);

#[derive(Default)]
struct Writer {
    texts: Vec<String>,
    out: Vec<u8>,
}

impl Writer {
    fn int(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }
    fn time(&mut self, value: Option<i64>) {
        self.int(value.unwrap_or(NO_TIME));
    }
    fn float(&mut self, value: Option<f64>) {
        self.out.extend_from_slice(&value.unwrap_or(f64::NAN).to_le_bytes());
    }
    fn count(&mut self, value: usize) {
        self.out.extend_from_slice(&(value as u32).to_le_bytes());
    }
    fn text(&mut self, value: &str) {
        let cut = value.floor_char_boundary(MAX_TEXT_BYTES);
        self.out.extend_from_slice(&(cut as u16).to_le_bytes());
        self.out.extend_from_slice(&value.as_bytes()[..cut]);
    }
    /// A text that repeats.
    fn shared(&mut self, value: &str) {
        let at = self.texts.iter().position(|known| known == value).unwrap_or_else(|| {
            self.texts.push(value.to_owned());
            self.texts.len() - 1
        });
        self.out.extend_from_slice(&(at as u16).to_le_bytes());
    }
    fn finish(self) -> Vec<u8> {
        let mut head = Writer::default();
        head.out.push(VERSION);
        head.count(self.texts.len());
        self.texts.iter().for_each(|text| head.text(text));
        head.out.extend_from_slice(&self.out);
        head.out
    }
}

struct Cursor<'a> {
    left: &'a [u8],
    texts: Vec<String>,
}

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BookError> {
        let (head, left) = self.left.split_first_chunk::<N>().ok_or(BookError("it ends early"))?;
        self.left = left;
        Ok(*head)
    }
    fn int(&mut self) -> Result<i64, BookError> {
        self.take().map(i64::from_le_bytes)
    }
    fn time(&mut self) -> Result<Option<i64>, BookError> {
        Ok(Some(self.int()?).filter(|ms| *ms != NO_TIME))
    }
    fn float(&mut self) -> Result<Option<f64>, BookError> {
        Ok(Some(f64::from_le_bytes(self.take()?)).filter(|value| !value.is_nan()))
    }
    fn count(&mut self) -> Result<usize, BookError> {
        // Every item takes a byte at least: a damaged count cannot ask for more memory than there are bytes.
        let count = u32::from_le_bytes(self.take()?) as usize;
        if count > self.left.len() { Err(BookError("a count is too large")) } else { Ok(count) }
    }
    fn text(&mut self) -> Result<String, BookError> {
        let bytes = u16::from_le_bytes(self.take()?) as usize;
        let (head, left) = self.left.split_at_checked(bytes).ok_or(BookError("a text ends early"))?;
        self.left = left;
        String::from_utf8(head.to_vec()).map_err(|_| BookError("a text is no UTF-8"))
    }
    fn shared(&mut self) -> Result<String, BookError> {
        let at = u16::from_le_bytes(self.take()?) as usize;
        self.texts.get(at).cloned().ok_or(BookError("a text is missing"))
    }
}

fn write_prediction(w: &mut Writer, p: &Prediction) {
    w.text(&p.id);
    for text in [&p.topic, &p.target, &p.tenant, &p.place, &p.rung, &p.model_version] {
        w.shared(text);
    }
    w.out.push(match p.question {
        Question::Level => 0,
        Question::Overflow => 1,
        Question::Event => 2,
    });
    w.out.push(u8::from(p.holdout));
    [p.at_ms, p.due_ms, p.interval_ms].into_iter().for_each(|n| w.int(n));
    [p.level, p.quantiles[0], p.quantiles[1], p.quantiles[2], p.baseline].into_iter().for_each(|n| w.float(n));
}

fn read_prediction(c: &mut Cursor<'_>) -> Result<Prediction, BookError> {
    let id = c.text()?;
    let (topic, target, tenant, place, rung, model_version) = (c.shared()?, c.shared()?, c.shared()?, c.shared()?, c.shared()?, c.shared()?);
    let [question, holdout] = c.take()?;
    let question = match question {
        0 => Question::Level,
        1 => Question::Overflow,
        2 => Question::Event,
        _ => return Err(BookError("an unknown question")),
    };
    let (at_ms, due_ms, interval_ms) = (c.int()?, c.int()?, c.int()?);
    let level = c.float()?;
    let quantiles = [c.float()?, c.float()?, c.float()?];
    let baseline = c.float()?;
    Ok(Prediction {
        id,
        topic,
        target,
        tenant,
        question,
        at_ms,
        due_ms,
        level,
        quantiles,
        baseline,
        place,
        interval_ms,
        holdout: holdout != 0,
        rung,
        model_version,
    })
}

impl Book {
    /// The book as bytes; none for an empty one.
    pub fn write(&self) -> Vec<u8> {
        if *self == Book::default() {
            return Vec::new();
        }
        let mut w = Writer::default();
        w.time(self.silent_ms);
        w.time(self.heard_ms);
        w.count(self.open.len());
        self.open.iter().for_each(|prediction| write_prediction(&mut w, prediction));
        w.count(self.readings.len());
        for reading in &self.readings {
            w.int(reading.at_ms);
            w.float(Some(reading.level));
            w.shared(&reading.place);
            w.text(&reading.event_id);
        }
        w.count(self.emptied.len());
        for (at_ms, place) in &self.emptied {
            w.int(*at_ms);
            w.shared(place);
        }
        w.count(self.happened.len());
        for happened in &self.happened {
            let (code, reason) = match &happened.fact {
                Fact::Came => (0, ""),
                Fact::Ended(reason) => (1, reason.as_str()),
                _ => (2, ""),
            };
            w.int(happened.at_ms);
            w.out.push(code);
            w.shared(reason);
            w.text(&happened.event_id);
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
        let mut c = Cursor { left, texts: Vec::new() };
        c.texts = (0..c.count()?).map(|_| c.text()).collect::<Result<_, _>>()?;
        let (silent_ms, heard_ms) = (c.time()?, c.time()?);
        let open = (0..c.count()?).map(|_| read_prediction(&mut c)).collect::<Result<_, _>>()?;
        let reading = |c: &mut Cursor<'_>| Ok(Reading { at_ms: c.int()?, level: c.float()?.unwrap_or(0.0), place: c.shared()?, event_id: c.text()? });
        let readings = (0..c.count()?).map(|_| reading(&mut c)).collect::<Result<_, _>>()?;
        let emptied = (0..c.count()?).map(|_| Ok((c.int()?, c.shared()?))).collect::<Result<_, _>>()?;
        let fact = |c: &mut Cursor<'_>| {
            let (at_ms, [code], reason, event_id) = (c.int()?, c.take()?, c.shared()?, c.text()?);
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
        Ok(Book { open, readings, emptied, happened, silent_ms, heard_ms })
    }
}
