//! When rows take effect, and which one: at its time each row closes and opens, and between rows expectations become due.

use super::arrived::{Arrived, Opens};
use super::{Absence, Ended, Made, Open};
use crate::operator::{Context, OperatorError};
use crate::spec::{Clock, When};
use crate::store::KeyId;

impl Absence {
    /// Takes a row that was read.
    pub(super) fn arrive(&mut self, cx: &Context, out: &mut Made, key: &[u8], row: Arrived) -> Result<(), OperatorError> {
        let of = self.state.of(key);
        if self.spec.clock == Clock::Processing {
            return self.as_read(cx, out, key, row);
        }
        if row.time_ms < cx.watermark_ms {
            self.apply(out, of, row)?;
            // At once what is due already: what becomes of it must not depend on where a batch ends.
            return self.tell_before(cx, out, cx.watermark_ms);
        }
        if self.puts_off(of, &row)? {
            return self.apply(out, of, row);
        }
        if self.opens_first(cx, out, key, of, &row)? {
            return self.apply(out, of, row);
        }
        self.wait(cx, out, key, of, row)
    }

    /// Keeps a row until the watermark passes it.
    fn wait(&mut self, cx: &Context, out: &mut Made, key: &[u8], of: KeyId, row: Arrived) -> Result<(), OperatorError> {
        if let Some(first) = self.state.wait(key, &row, self.spec.max_open)? {
            out.early += 1;
            while let Some(due) = self.state.due_of(of, first.time_ms)? {
                self.tell(cx, out, due.key, due.each)?;
            }
            self.apply(out, of, first)?;
        }
        Ok(())
    }

    /// Is an opening row ahead of the watermark the first that is known of its expectation? Then it opens it at once, to
    /// be written once only: nothing that is earlier than it looks at it, and what was thought to be first waits.
    fn opens_first(&mut self, cx: &Context, out: &mut Made, key: &[u8], of: KeyId, row: &Arrived) -> Result<bool, OperatorError> {
        let Some(opens) = row.opens.as_ref().filter(|_| !self.merges()) else { return Ok(false) };
        let each = row.each.unwrap_or(0);
        if let Some(open) = self.state.open(of, each)? {
            if (open.opened_ms, open.offset) <= (row.time_ms, row.offset) {
                return Ok(false);
            }
            if let Some((open, bytes)) = self.state.remove(of, each)? {
                let opens = Some(Opens { due_ms: open.due_ms, not_before_ms: open.not_before_ms, row: bytes });
                let second = Arrived { time_ms: open.opened_ms, offset: open.offset, late: false, each: row.each, closes: None, opens };
                self.wait(cx, out, key, of, second)?;
            }
        }
        Ok(row.closes.is_none() && opens.due_ms >= row.time_ms && !self.state.waits_by(key, each, row.time_ms))
    }

    /// Silence of a fixed length, of which nobody is told that it was cancelled.
    fn merges(&self) -> bool {
        let spec = &self.spec;
        spec.met.is_none() && matches!(spec.due, When::After(_)) && !(spec.cancel.is_some() && spec.emit.cancelled)
    }

    /// Does a row ahead of the watermark only put off a silence that is watched already? Whatever else comes before it
    /// then makes no difference, as long as nobody is told what was cancelled, so that it need not wait.
    fn puts_off(&self, of: KeyId, row: &Arrived) -> Result<bool, OperatorError> {
        if !self.merges() || row.closes.is_some() {
            return Ok(false);
        }
        let open = self.state.open(of, row.each.unwrap_or(0))?;
        Ok(open.is_some_and(|o| o.repeats == 0 && row.time_ms <= o.due_ms))
    }

    /// Time moved.
    pub(super) fn go_on(&mut self, cx: &Context, out: &mut Made) -> Result<(), OperatorError> {
        if self.spec.clock == Clock::Processing {
            self.state.forget(cx.watermark_ms);
            return self.tell_before(cx, out, cx.now_ms.saturating_add(1));
        }
        for (of, row) in self.state.passed(cx.watermark_ms)? {
            self.tell_before(cx, out, row.time_ms)?;
            self.apply(out, of, row)?;
        }
        self.tell_before(cx, out, cx.watermark_ms)
    }

    /// A row closes what it closes, then it opens what it opens.
    fn apply(&mut self, out: &mut Made, of: KeyId, row: Arrived) -> Result<(), OperatorError> {
        for each in self.state.ended_by(of, &row)? {
            if let Some((open, bytes)) = self.state.remove(of, each)? {
                self.ended(out, open, bytes, &row);
            }
        }
        let Some(opens) = row.opens else { return Ok(()) };
        let each = row.each.unwrap_or(0);
        if self.state.open(of, each)?.is_some_and(|o| o.opened_ms > row.time_ms) {
            return Ok(());
        }
        let (due_ms, not_before_ms) = (opens.due_ms, opens.not_before_ms);
        let open = Open { opened_ms: row.time_ms, due_ms, next_ms: due_ms, not_before_ms, repeats: 0, offset: row.offset };
        self.state.remove(of, each)?;
        self.state.put(of, each, &open, &opens.row);
        Ok(())
    }

    /// With the processing clock: at once, also what was closed before it was opened.
    fn as_read(&mut self, cx: &Context, out: &mut Made, key: &[u8], row: Arrived) -> Result<(), OperatorError> {
        let of = self.state.of(key);
        let (closes, opens, each) = (row.closes.is_some(), row.opens.is_some(), row.each.unwrap_or(0));
        let here = (row.time_ms, row.offset);
        if closes && row.time_ms >= cx.watermark_ms {
            let kept = Arrived { opens: None, ..row.clone() };
            out.forgotten += usize::from(self.state.wait(key, &kept, self.spec.max_open)?.is_some());
        }
        self.apply(out, of, row)?;
        // What was there before and is newer stays open, and was looked for then.
        let opened = self.state.open(of, each)?.filter(|o| opens && (o.opened_ms, o.offset) == here);
        if let Some(open) = opened
            && let Some(closing) = self.state.closing_for(key, each, &open, closes)?
            && let Some((open, bytes)) = self.state.remove(of, each)?
        {
            self.ended(out, open, bytes, &closing);
        }
        Ok(())
    }

    /// An expectation that was told to be absent has ended as that: what comes later only ends the repeats.
    fn ended(&self, out: &mut Made, open: Open, row: Vec<u8>, by: &Arrived) {
        let Some(closes) = by.closes.as_ref().filter(|_| open.repeats == 0) else { return };
        let (how, wanted) = if closes.cancels { ("cancelled", self.spec.emit.cancelled) } else { ("met", self.spec.emit.met) };
        if wanted {
            let (time_ms, taken) = (by.time_ms, Some(closes.taken.clone()));
            out.ended.push(Ended { how, open, row, taken, time_ms, offset: by.offset, late: by.late, ended_ms: time_ms });
        }
    }

    /// Tells what is due before a time of the stage's clock, in the order of the due times.
    fn tell_before(&mut self, cx: &Context, out: &mut Made, limit_ms: i64) -> Result<(), OperatorError> {
        loop {
            let due = self.state.due_before(limit_ms)?;
            if due.is_empty() {
                return Ok(());
            }
            for due in due {
                self.tell(cx, out, due.key, due.each)?;
            }
        }
    }

    /// Tells that nothing came; what is told again stays.
    fn tell(&mut self, cx: &Context, out: &mut Made, key: KeyId, each: i64) -> Result<(), OperatorError> {
        let Some((mut open, row)) = self.state.remove(key, each)? else { return Ok(()) };
        let told_ms = open.next_ms;
        let until_ms = open.due_ms.max(open.opened_ms).saturating_add(self.spec.give_up_ms);
        let told = open;
        let again = self.spec.repeat_ms.map(|every| told_ms.saturating_add(every)).filter(|next| *next > told_ms && *next <= until_ms);
        if let Some(next_ms) = again {
            open.repeats += 1;
            open.next_ms = next_ms;
            self.state.put(key, each, &open, &row);
        }
        if self.spec.emit.absent {
            let (time_ms, ended_ms) = match self.spec.clock {
                Clock::Event => (told_ms, told_ms),
                Clock::Processing => (told.opened_ms.max(cx.watermark_ms), cx.now_ms),
            };
            if self.spec.clock == Clock::Processing {
                let key = String::from_utf8_lossy(self.state.key_bytes(key)).into_owned();
                out.told.push(format!("{key} opened {} due {} told {}", told.opened_ms, told.due_ms, cx.now_ms));
            }
            out.ended.push(Ended { how: "absent", open: told, row, taken: None, time_ms, offset: told.offset, late: false, ended_ms });
        }
        Ok(())
    }
}
