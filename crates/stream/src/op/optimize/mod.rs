//! Optimisation as a stage: per key a *board*, the newest row of each entity, is answered by a solver as a whole.
//! Changes make a key dirty; the trigger says when it is asked about; one call per key is under way at a time, and no
//! epoch waits for it. What changes meanwhile is for the next call. An answer is judged before it is published; what
//! is refused, fails or takes too long goes to the fallback, and then the last decision stays and is tried again.
//!
//! Every input row is folded (or ends here), every output row is made. The call under way is state: it is asked again,
//! about the board as it is then, after a restore or a roll-back.

mod answer;
mod ask;
mod board;

use super::select::evaluate_mask;
use super::{Keys, end, end_without_key, evaluate_input, evaluate_one, key_indexes};
use crate::batch::{self, offsets, times, user_fields, write_key};
use crate::expr::{ExprError, ExprRef};
use crate::operator::{Answer, Context, Operator, OperatorError, SideKind, StateAccess};
use crate::row::{RowCodec, hash_row};
use crate::solve::Accept;
use crate::spec::OptimizeSpec;
use crate::store::{KeyId, RowSink, StateError};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use ask::InFlight;
use board::{BoardRow, Boards};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Reason of rows without an entity.
const NO_ENTITY: &str = "no_entity";
/// Reason of rows for which their board has no place.
const BOARD_FULL: &str = "board_full";

/// The columns that the stage itself adds behind the solver's.
pub fn optimize_columns() -> Vec<Field> {
    use DataType::{Int64, Utf8};
    vec![
        Field::new("rung", Utf8, false),
        Field::new("solver", Utf8, false),
        Field::new("solver_version", Utf8, false),
        Field::new("seed", Int64, false),
        Field::new("iterations", Int64, false),
        Field::new("decision_id", Utf8, false),
        Field::new("decision_no", Int64, false),
        Field::new("decided_at", Int64, false),
    ]
}

/// The `optimize` stage.
pub struct Optimize {
    spec: OptimizeSpec,
    /// `<topology>/<stage>`: prefix of decision ids.
    ident: String,
    accept: Option<Box<dyn Accept>>,
    key: Vec<usize>,
    entity: Vec<usize>,
    key_schema: Schema,
    input: SchemaRef,
    codec: RowCodec,
    output: SchemaRef,
    with: Arc<BTreeMap<String, String>>,
    boards: Boards,
    calls: BTreeMap<u64, InFlight>,
    /// Keys with a change or a retry that no call knows of, and when they are to be asked about; rebuilt from state.
    waiting: BTreeMap<KeyId, i64>,
    /// The same by time: the order of keys at one time is that of their bytes.
    by_time: BTreeSet<(i64, Vec<u8>)>,
    next_id: u64,
    decisions: BTreeMap<&'static str, u64>,
}

/// What the expressions say of a batch.
struct Said {
    deleted: Option<BooleanArray>,
    urgent: Option<BooleanArray>,
    quiet: Option<BooleanArray>,
    valid_until: Option<Int64Array>,
}

impl Said {
    fn new(spec: &OptimizeSpec, rows: &RecordBatch) -> Result<Said, ExprError> {
        let mask = |e: &Option<ExprRef>| e.as_ref().map(|e| evaluate_mask(e, rows)).transpose();
        let until = |e: &ExprRef| {
            let values = evaluate_one(e, rows)?;
            let wrong = || ExprError { expression: e.text().to_string(), message: format!("{} instead of Int64, UTC milliseconds", values.data_type()) };
            values.as_primitive_opt::<Int64Type>().cloned().ok_or_else(wrong)
        };
        Ok(Said {
            deleted: mask(&spec.deleted)?,
            urgent: mask(&spec.trigger.urgent)?,
            quiet: mask(&spec.trigger.quiet)?,
            valid_until: spec.valid_until.as_ref().map(until).transpose()?,
        })
    }
    fn is(mask: &Option<BooleanArray>, i: usize) -> bool {
        mask.as_ref().is_some_and(|m| m.value(i))
    }
}

impl Optimize {
    /// A stage over `input`; `output` is the key columns, the solver's and [`optimize_columns`] (system columns first in
    /// both). `accept` judges answers; without one, all that fit the columns are published.
    pub fn new(spec: OptimizeSpec, ident: String, accept: Option<Box<dyn Accept>>, input: SchemaRef, output: SchemaRef) -> Result<Self, OperatorError> {
        for (limit, setting) in [(spec.max_rows, "max_rows"), (spec.max_calls, "max_calls")] {
            if limit == 0 {
                return Err(OperatorError::Limit { what: "rows of a board and calls under way (at least 1)", limit: 0, setting });
            }
        }
        let key = key_indexes(&input, &spec.key)?;
        let key_schema = Schema::new(key.iter().map(|i| input.field(*i).clone().with_nullable(false)).collect::<Vec<_>>());
        Ok(Optimize {
            entity: key_indexes(&input, &spec.entity)?,
            codec: RowCodec::new(user_fields(&input))?,
            with: Arc::new(spec.with.clone()),
            key,
            key_schema,
            input,
            output,
            spec,
            ident,
            accept,
            boards: Boards::default(),
            calls: BTreeMap::new(),
            waiting: BTreeMap::new(),
            by_time: BTreeSet::new(),
            next_id: 1,
            decisions: BTreeMap::new(),
        })
    }

    fn fold(&mut self, cx: &mut Context, rows: &RecordBatch, said: &Said) -> Result<(), OperatorError> {
        let keys = Keys::new(rows, &self.key);
        let entities: Vec<ArrayRef> = self.entity.iter().map(|c| rows.column(*c).clone()).collect();
        let user: Vec<ArrayRef> = rows.columns()[batch::SYSTEM_COLUMNS..].to_vec();
        let (times, offsets) = (times(rows), offsets(rows));
        let (mut keyless, mut nameless, mut homeless) = (Vec::new(), Vec::new(), Vec::new());
        let (mut scratch, mut entity) = (Vec::new(), Vec::new());
        let mut touched = BTreeSet::new();
        for (i, time_ms) in times.iter().copied().enumerate() {
            let Some(key) = keys.get(i, &mut scratch) else {
                keyless.push(i as u32);
                continue;
            };
            if !write_key(&entities, i, &mut entity) {
                nameless.push(i as u32);
                continue;
            }
            let (of, entity) = (self.boards.of(key), hash_row(&entity) as i64);
            let before = self.boards.row(of, entity)?;
            if before.is_none() && self.boards.board_len(of) >= self.spec.max_rows {
                homeless.push(i as u32);
                continue;
            }
            cx.counts.folded += 1;
            if before.as_ref().is_some_and(|b| b.time_ms > time_ms) {
                continue;
            }
            let until_ms = said.valid_until.as_ref().filter(|v| v.is_valid(i)).map(|v| v.value(i));
            let expires_ms = until_ms.unwrap_or_else(|| time_ms.saturating_add(self.spec.ttl_ms));
            let over = expires_ms <= cx.watermark_ms;
            let deleted = Said::is(&said.deleted, i) || over;
            // A mark stays as long as an older row of its entity may still come.
            let expires_ms = if deleted { time_ms.max(cx.watermark_ms).saturating_add(self.spec.ttl_ms) } else { expires_ms };
            let mut now = BoardRow { time_ms, expires_ms, offset: offsets[i], deleted, row: Vec::new() };
            if !deleted {
                self.codec.write(&user, i, &mut now.row);
            }
            let was = before.as_ref().filter(|b| !b.deleted).map(|b| &b.row);
            let changed = was != (!deleted).then_some(&now.row);
            self.boards.put_row(of, entity, &now);
            if changed {
                let mut state = self.boards.state(of)?;
                state.changed(time_ms, offsets[i], cx.now_ms, Said::is(&said.urgent, i), Said::is(&said.quiet, i));
                self.boards.set_state(of, &state);
                touched.insert(of);
            }
        }
        for of in touched {
            self.plan(of)?;
        }
        end_without_key(cx, rows, keyless)?;
        end(cx, rows, nameless, SideKind::Dead, NO_ENTITY, "an entity column is null")?;
        end(cx, rows, homeless, SideKind::Dead, BOARD_FULL, "the board has as many rows as `max_rows` allows")
    }
}

impl Operator for Optimize {
    fn process(&mut self, cx: &mut Context, rows: &RecordBatch) -> Result<(), OperatorError> {
        cx.counts.input += rows.num_rows() as u64;
        let spec = &self.spec;
        let (rows, said) = evaluate_input(cx, rows, |r| Said::new(spec, r))?;
        self.fold(cx, &rows, &said)
    }

    /// Rows leave boards, calls end unanswered, and keys whose time has come are asked about.
    fn advance(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        for (of, time_ms, offset) in self.boards.expire(cx.watermark_ms)? {
            let mut state = self.boards.state(of)?;
            state.changed(time_ms, offset, cx.now_ms, false, false);
            self.boards.set_state(of, &state);
            self.plan(of)?;
        }
        let due: Vec<u64> = self.calls.iter().filter(|(_, c)| cx.now_ms > c.deadline_ms).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(call) = self.calls.remove(&id) {
                self.unusable(cx, call.of, "timed_out", &format!("no answer within {} ms", self.spec.timeout_ms))?;
            }
        }
        self.ask_due(cx)
    }

    fn answer(&mut self, cx: &mut Context, answer: Answer) -> Result<(), OperatorError> {
        // One that came too late, or twice, belongs to no call any more.
        let Some(call) = self.calls.remove(&answer.id) else { return Ok(()) };
        self.settle(cx, call, answer)?;
        self.ask_due(cx)
    }

    fn reissue(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        self.calls.clear();
        self.waiting.clear();
        self.by_time.clear();
        for of in self.boards.keys() {
            self.boards.set_clock(of, cx.now_ms)?;
            match self.boards.pending(of)? {
                None => self.plan(of)?,
                Some(pending) => self.ask_again(cx, of, &pending)?,
            }
        }
        Ok(())
    }

    /// Keys with changes that wait to be answered.
    fn pending_rows(&self) -> usize {
        self.calls.len() + self.by_time.len() - self.retrying()
    }

    fn oldest_pending_ms(&self) -> Option<i64> {
        self.boards.oldest_pending_ms()
    }

    fn rungs(&self) -> Vec<(&'static str, u64)> {
        self.decisions.iter().map(|(rung, n)| (*rung, *n)).collect()
    }

    fn state(&mut self) -> Option<&mut dyn StateAccess> {
        Some(self)
    }
}

impl StateAccess for Optimize {
    fn close_epoch(&mut self, rows: &mut RowSink<'_>) {
        self.boards.close_epoch(rows);
    }
    fn committed(&mut self) {
        self.boards.committed();
    }
    fn rollback(&mut self) -> Result<(), StateError> {
        self.boards.rollback()
    }
    fn import(&mut self, key: &[u8], sub: i64, value: Option<&[u8]>) -> Result<(), StateError> {
        self.boards.import(key, sub, value)
    }
    fn imported(&mut self) -> Result<(), StateError> {
        self.boards.imported()
    }
    fn scan_committed_where(&self, wanted: &dyn Fn(&[u8]) -> bool, rows: &mut RowSink<'_>) {
        self.boards.scan_committed_where(wanted, rows);
    }
    fn rows(&self) -> usize {
        StateAccess::rows(&self.boards)
    }
    fn bytes(&self) -> usize {
        StateAccess::bytes(&self.boards)
    }
}

#[cfg(test)]
mod tests;
