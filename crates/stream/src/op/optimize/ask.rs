//! When a key is asked about, and with what.

use super::super::made::key_columns;
use super::board::{KeyState, NEVER, Pending};
use super::{BoardRow, Optimize};
use crate::batch::assemble;
use crate::operator::{Call, Context, OperatorError};
use crate::row::hash_row;
use crate::solve::SolveCall;
use crate::spec::Rung;
use crate::store::{KeyId, StateError};
use arrow::array::{ArrayRef, RecordBatch};
use std::sync::Arc;

/// Urgent changes of one key are asked about this often at most.
const URGENT_GAP_MS: i64 = 1_000;
/// A call that was asked so often without an end (a process that dies of it) goes to the fallback.
const MAX_ATTEMPTS: i64 = 3;

/// A call that is out.
pub(super) struct InFlight {
    pub(super) of: KeyId,
    pub(super) deadline_ms: i64,
    pub(super) as_of_ms: i64,
    /// What it was given.
    pub(super) asked: RecordBatch,
    pub(super) memo: Arc<[u8]>,
    pub(super) seed: u64,
    pub(super) rung: Rung,
    pub(super) pending: Pending,
}

impl Optimize {
    /// When a key without a call under way is to be asked about; the word says why.
    fn ready(&self, s: &KeyState) -> Option<(i64, &'static str)> {
        let t = &self.spec.trigger;
        let after = |gap_ms: i64| if s.asked_ms == NEVER { NEVER } else { s.asked_ms.saturating_add(gap_ms) };
        let urgent = (s.urgent_ms != NEVER).then(|| (s.urgent_ms.max(after(URGENT_GAP_MS.min(t.at_most_every_ms))), "urgent"));
        let changed = s.dirty().then(|| {
            let quiet_ms = s.last_ms.saturating_add(t.debounce_ms).min(s.first_ms.saturating_add(t.max_wait_ms));
            (quiet_ms.max(after(t.at_most_every_ms)), "changed")
        });
        let retry = (s.retry_ms != NEVER).then_some((s.retry_ms, "retry"));
        [urgent, changed, retry].into_iter().flatten().min()
    }

    /// Puts a key where it belongs among those that wait.
    pub(super) fn plan(&mut self, of: KeyId) -> Result<(), OperatorError> {
        let at = match self.boards.pending(of)? {
            Some(_) => None,
            None => self.ready(&self.boards.state(of)?).map(|(at, _)| at),
        };
        if let Some(old) = self.waiting.remove(&of) {
            self.by_time.remove(&(old, self.boards.key_bytes(of).to_vec()));
        }
        if let Some(at) = at {
            self.waiting.insert(of, at);
            self.by_time.insert((at, self.boards.key_bytes(of).to_vec()));
        }
        Ok(())
    }

    /// Keys that wait for nothing but another try.
    pub(super) fn retrying(&self) -> usize {
        self.waiting.keys().filter(|of| self.boards.state(**of).is_ok_and(|s| !s.dirty())).count()
    }

    /// Asks about the keys whose time has come, as many as may be under way.
    pub(super) fn ask_due(&mut self, cx: &mut Context) -> Result<(), OperatorError> {
        while self.calls.len() < self.spec.max_calls {
            let Some((at_ms, key)) = self.by_time.first().cloned().filter(|(at, _)| *at <= cx.now_ms) else { break };
            let of = self.boards.of(&key);
            let state = self.boards.state(of)?;
            let why = self.ready(&state).map_or("changed", |(_, why)| why);
            debug_assert!(at_ms <= cx.now_ms);
            self.ask(cx, of, Rung::Model, 1, why)?;
        }
        Ok(())
    }

    /// After a restore or a roll-back: the same decision, about the board as it is now.
    pub(super) fn ask_again(&mut self, cx: &mut Context, of: KeyId, pending: &Pending) -> Result<(), OperatorError> {
        let tired = pending.attempt >= MAX_ATTEMPTS && self.spec.fallback.is_some();
        let rung = if pending.fallback || tired { Rung::Heuristic } else { Rung::Model };
        self.ask(cx, of, rung, pending.attempt + 1, "recovered")
    }

    /// Sends the board of a key to a solver. All its changes so far are known to this call.
    pub(super) fn ask(&mut self, cx: &mut Context, of: KeyId, rung: Rung, attempt: i64, why: &str) -> Result<(), OperatorError> {
        let mut state = self.boards.state(of)?;
        let key = self.key_text(of)?;
        let number = state.number + 1;
        let seed = hash_row(format!("{}/{key}/{number}/{}/{}", self.ident, rung.name(), state.failures).as_bytes()) >> 1;
        let as_of_ms = state.newest_ms.max(cx.watermark_ms);
        let pending = Pending {
            number,
            attempt,
            fallback: rung == Rung::Heuristic,
            position: state.position,
            seed: seed as i64,
            as_of_ms,
            offset: state.offset,
            asked_ms: cx.now_ms,
        };
        (state.first_ms, state.last_ms, state.urgent_ms, state.retry_ms, state.asked_ms) = (NEVER, NEVER, NEVER, NEVER, cx.now_ms);
        self.boards.set_state(of, &state);
        self.boards.set_pending(of, Some(&pending));
        self.plan(of)?;
        let rows = self.board_rows(of)?;
        let memo: Arc<[u8]> = self.boards.memo(of).into();
        let (id, deadline_ms) = (self.next_id, cx.now_ms.saturating_add(self.spec.timeout_ms));
        self.next_id += 1;
        let solver = match rung {
            Rung::Heuristic => self.spec.fallback.clone().unwrap_or_else(|| self.spec.solver.clone()),
            _ => self.spec.solver.clone(),
        };
        cx.decisions.push((
            "asked",
            format!(
                "{key} #{number} at position {} attempt {attempt} {} {solver} seed {seed} rows {} because {why} now {}",
                state.position,
                rung.name(),
                rows.num_rows(),
                cx.now_ms
            ),
        ));
        let solve = SolveCall {
            key,
            memo: memo.clone(),
            seed,
            iterations: self.spec.iterations,
            budget_ms: self.spec.budget_ms,
            watermark_ms: cx.watermark_ms,
            with: self.with.clone(),
        };
        self.calls.insert(id, InFlight { of, deadline_ms, as_of_ms, asked: rows.clone(), memo, seed, rung, pending });
        cx.calls.push(Call { id, predictor: solver, rows, deadline_ms, solve: Some(solve) });
        Ok(())
    }

    /// The live rows of a key's board.
    pub(super) fn board_rows(&self, of: KeyId) -> Result<RecordBatch, OperatorError> {
        let rows: Vec<BoardRow> = self.boards.board(of)?.into_iter().filter(|r| !r.deleted).collect();
        let columns = self.codec.decode(rows.iter().map(|r| r.row.as_slice()))?;
        let time = rows.iter().map(|r| r.time_ms).collect();
        let offset = rows.iter().map(|r| r.offset).collect();
        Ok(assemble(&self.input, time, offset, vec![false; rows.len()], columns)?)
    }

    /// The key's columns, one row.
    pub(super) fn key_columns(&self, of: KeyId) -> Result<Vec<ArrayRef>, OperatorError> {
        key_columns(&[self.boards.key_bytes(of)], &self.key_schema, self.key.len())
    }

    /// The key as text.
    pub(super) fn key_text(&self, of: KeyId) -> Result<String, OperatorError> {
        let text = |c: &ArrayRef| arrow::util::display::array_value_to_string(c, 0).map_err(|e| OperatorError::State(StateError(e.to_string())));
        Ok(self.key_columns(of)?.iter().map(text).collect::<Result<Vec<_>, _>>()?.join("/"))
    }
}
