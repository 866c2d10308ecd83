//! What comes of an answer: published, or the next rung, or the last decision stays.

use super::Optimize;
use super::ask::InFlight;
use super::board::{MAX_RETRY_MS, NEVER};
use crate::batch::{SYSTEM_COLUMNS, assemble};
use crate::operator::{Answer, Context, OperatorError};
use crate::solve::{Case, Solution};
use crate::spec::Rung;
use crate::store::KeyId;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, new_null_array};
use arrow::compute::{cast, take};
use std::sync::Arc;

impl Optimize {
    /// Judges an answer and publishes it, or takes the next rung.
    pub(super) fn settle(&mut self, cx: &mut Context, call: InFlight, answer: Answer) -> Result<(), OperatorError> {
        let (p, solved) = match (answer.result, answer.solved) {
            (Ok(p), Some(solved)) => (p, solved),
            (Ok(_), None) => return self.unusable(cx, call.of, "failed", "the answer has no memo: a predictor answered in place of a solver"),
            (Err(e), _) => return self.unusable(cx, call.of, "failed", &e.to_string()),
        };
        if solved.memo.len() > self.spec.max_memo_bytes {
            let detail = format!("memo_too_large: {} bytes, {} are allowed (`max_memo`)", solved.memo.len(), self.spec.max_memo_bytes);
            return self.unusable(cx, call.of, "refused", &detail);
        }
        let rows = match self.fit(&p.columns) {
            Ok(rows) => rows,
            Err(why) => return self.unusable(cx, call.of, "refused", &format!("wrong_columns: {why}")),
        };
        let solution = Solution { rows, memo: solved.memo, iterations: solved.iterations };
        if self.accept.is_some() {
            let (key, board) = (self.key_text(call.of)?, self.board_rows(call.of)?);
            let case = Case { key: &key, asked: &call.asked, board: &board, memo: &call.memo, answer: &solution };
            if let Some(Err(refusal)) = self.accept.as_mut().map(|a| a.judge(&case)) {
                return self.unusable(cx, call.of, "refused", &refusal.to_string());
            }
        }
        self.publish(cx, &call, solution, &answer.version)
    }

    /// The solver's columns by name in the stage's types; missing ones are null.
    fn fit(&self, columns: &RecordBatch) -> Result<RecordBatch, String> {
        let n = columns.num_rows();
        let one = |f: &Arc<arrow::datatypes::Field>| match columns.column_by_name(f.name()) {
            Some(c) if c.data_type() == f.data_type() => Ok(c.clone()),
            Some(c) => cast(c, f.data_type()).map_err(|e| e.to_string()),
            None if f.is_nullable() => Ok(new_null_array(f.data_type(), n)),
            None => Err(format!("column `{}` is missing", f.name())),
        };
        let arrays = self.spec.outputs.fields().iter().map(one).collect::<Result<Vec<_>, String>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(n));
        RecordBatch::try_new_with_options(self.spec.outputs.clone(), arrays, &options).map_err(|e| e.to_string())
    }

    fn publish(&mut self, cx: &mut Context, call: &InFlight, solution: Solution, version: &str) -> Result<(), OperatorError> {
        let of = call.of;
        let mut state = self.boards.state(of)?;
        (state.number, state.decided, state.failures, state.retry_ms) = (call.pending.number, call.pending.position, 0, NEVER);
        self.boards.set_state(of, &state);
        self.boards.set_memo(of, solution.memo);
        self.boards.set_pending(of, None);
        self.plan(of)?;
        *self.decisions.entry(call.rung.name()).or_default() += 1;
        let key = self.key_text(of)?;
        let n = solution.rows.num_rows();
        cx.decisions.push(("accepted", format!("{key} #{} {} iterations {} rows {n} now {}", state.number, call.rung.name(), solution.iterations, cx.now_ms)));
        if n == 0 {
            return Ok(());
        }
        let repeat = UInt32Array::from(vec![0u32; n]);
        let mut columns = self.key_columns(of)?.iter().map(|c| take(c, &repeat, None)).collect::<Result<Vec<_>, _>>()?;
        columns.extend(solution.rows.columns().iter().cloned());
        let text = |s: &str| Arc::new(StringArray::from(vec![s; n])) as ArrayRef;
        let long = |v: i64| Arc::new(Int64Array::from(vec![v; n])) as ArrayRef;
        let solver = match (call.rung, &self.spec.fallback) {
            (Rung::Heuristic, Some(fallback)) => fallback,
            _ => &self.spec.solver,
        };
        let id = format!("{}/{key}/{}", self.ident, state.number);
        columns.extend([
            text(call.rung.name()),
            text(solver),
            text(version),
            long(call.seed as i64),
            long(i64::try_from(solution.iterations).unwrap_or(i64::MAX)),
        ]);
        columns.extend([text(&id), long(state.number), long(cx.now_ms)]);
        debug_assert_eq!(columns.len() + SYSTEM_COLUMNS, self.output.fields().len());
        let rows = assemble(&self.output, vec![call.as_of_ms; n], vec![call.pending.offset; n], vec![false; n], columns)?;
        cx.counts.made += n as u64;
        cx.emit(rows);
        Ok(())
    }

    /// Nothing usable came of the call under way: the fallback is asked, or the last decision stays and is tried again.
    pub(super) fn unusable(&mut self, cx: &mut Context, of: KeyId, how: &'static str, why: &str) -> Result<(), OperatorError> {
        let Some(pending) = self.boards.pending(of)? else { return Ok(()) };
        let key = self.key_text(of)?;
        let rung = if pending.fallback { Rung::Heuristic } else { Rung::Model };
        *self.decisions.entry(how).or_default() += 1;
        cx.decisions.push((how, format!("{key} #{} {} attempt {}: {why} now {}", pending.number, rung.name(), pending.attempt, cx.now_ms)));
        if !pending.fallback && self.spec.fallback.is_some() {
            return self.ask(cx, of, Rung::Heuristic, 1, how);
        }
        let mut state = self.boards.state(of)?;
        state.failures += 1;
        let wait_ms = self.spec.retry_ms.saturating_mul(1 << (state.failures - 1).clamp(0, 20)).clamp(1, MAX_RETRY_MS.max(self.spec.retry_ms));
        state.retry_ms = cx.now_ms.saturating_add(wait_ms);
        self.boards.set_state(of, &state);
        self.boards.set_pending(of, None);
        *self.decisions.entry("kept").or_default() += 1;
        cx.decisions.push(("kept", format!("{key} #{} stays, {} failures, again in {wait_ms} ms now {}", state.number, state.failures, cx.now_ms)));
        self.plan(of)
    }
}
