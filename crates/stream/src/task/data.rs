//! A task's data path: fetched records through sources, tables and stages to sinks, and what ends on the way.

use super::*;
use crate::codec::RowError;

/// The records in hand and where they are from.
pub(super) type Fetched<'a> = (&'a TopicPartition, &'a Records);

impl Task {
    /// Consumes records of one of its partitions.
    pub fn process(&mut self, at: &TopicPartition, records: &Records, now_ms: i64, globals: &[Option<Table>]) -> Result<(), TaskError> {
        let Some(feed) = self.feeds.get(at).copied() else { return Ok(()) };
        let from = self.positions.get(at).copied().unwrap_or(0);
        self.open.manifest.consumed(at, from, records.next_offset);
        self.positions.insert(at.clone(), records.next_offset);
        match feed {
            Feed::Table(t) => self.feed_table(t, at, records),
            Feed::Input(i) => {
                let stage = self.topology.inputs[i].id.clone();
                if !records.rows.is_empty() && self.clock.busy(i, now_ms) {
                    self.open.manifest.decided(&stage, "idle", format!("no more, from offset {from}"));
                }
                let (mut refused, floor_ms) = (Vec::new(), self.clock.floor_ms());
                let runs = self.inputs[i].process(records, &mut refused, floor_ms, &self.origins);
                let runs = runs.map_err(|error| TaskError::Stage { stage: stage.clone(), error })?;
                self.refuse(&stage, at, records, refused);
                let mut clocks: Vec<(i64, bool)> = self.input_clocks().collect();
                for run in runs {
                    if run.rows.num_rows() > 0 {
                        self.route(From::Input(i), run.rows, now_ms)?;
                    }
                    clocks[i] = (run.watermark_ms, run.idle || self.clock.is_idle(i));
                    self.run(self.clock.watermark_ms(clocks.iter().copied()), now_ms, Some((at, records)), globals)?;
                }
                self.flush(now_ms)
            }
        }
    }

    /// Lets timers fire and budgets end.
    pub fn advance(&mut self, now_ms: i64, globals: &[Option<Table>]) -> Result<(), TaskError> {
        self.run(self.watermark_ms(), now_ms, None, globals)?;
        self.flush(now_ms)
    }

    /// Each input's own watermark, and whether it is idle.
    pub(super) fn input_clocks(&self) -> impl Iterator<Item = (i64, bool)> + '_ {
        self.inputs.iter().enumerate().map(|(i, s)| (s.watermark_ms(), s.told_idle() || self.clock.is_idle(i)))
    }

    /// Partitions that may be idle: nothing came for as long as their source says, and nothing waits in a stage. Whether
    /// they are, their ends tell: [`Task::end_seen`].
    pub fn quiet(&self, now_ms: i64) -> Vec<TopicPartition> {
        if !self.topology.minds_idleness() || self.pending_rows() > 0 {
            return Vec::new();
        }
        let quiet = |i: &usize| {
            let after_ms = self.inputs[*i].idle_after_ms(&self.topology.inputs[*i]);
            !self.clock.is_idle(*i) && after_ms.is_some_and(|ms| self.clock.quiet_ms(*i, now_ms) >= ms)
        };
        (0..self.inputs.len()).filter(quiet).map(|i| TopicPartition::new(self.topology.inputs[i].topic.clone(), self.id.0)).collect()
    }

    /// Inputs that will be idle once nothing has come for long enough, and are not yet.
    pub fn awake(&self) -> usize {
        if !self.topology.minds_idleness() {
            return 0;
        }
        let will = |i: &usize| self.inputs[*i].idle_after_ms(&self.topology.inputs[*i]).is_some() && !self.clock.is_idle(*i);
        (0..self.inputs.len()).filter(will).count()
    }

    /// The committed end of a partition, asked for when it was quiet. If everything before it is consumed and nothing
    /// came meanwhile, the partition is idle: the watermark goes on without it.
    pub fn end_seen(&mut self, at: &TopicPartition, end: i64, now_ms: i64, globals: &[Option<Table>]) -> Result<(), TaskError> {
        let Some(Feed::Input(i)) = self.feeds.get(at).copied() else { return Ok(()) };
        if self.position(at).unwrap_or(0) < end || !self.quiet(now_ms).contains(at) {
            return Ok(());
        }
        self.clock.idle(i);
        self.open.manifest.decided(&self.topology.inputs[i].id, "idle", format!("from offset {end}"));
        self.advance(now_ms, globals)
    }

    /// Partitions whose watermark is further ahead of the slowest input's than they may. Of those in `held` already,
    /// until they are well within.
    pub fn ahead(&self, held: &BTreeSet<TopicPartition>) -> Vec<TopicPartition> {
        if self.inputs.len() < 2 {
            return Vec::new();
        }
        let clocks: Vec<(i64, bool)> = self.input_clocks().collect();
        // An input that has not begun holds nobody: it may never.
        let Some(slowest_ms) = clocks.iter().filter(|c| !c.1 && c.0 > i64::MIN).map(|c| c.0).min() else { return Vec::new() };
        let mut ahead = Vec::new();
        for (spec, (watermark_ms, _)) in self.topology.inputs.iter().zip(&clocks) {
            let Some(skew_ms) = spec.max_skew_ms else { continue };
            let at = TopicPartition::new(spec.topic.clone(), self.id.0);
            let limit_ms = if held.contains(&at) { skew_ms - skew_ms / 4 } else { skew_ms };
            if watermark_ms.saturating_sub(slowest_ms) > limit_ms {
                ahead.push(at);
            }
        }
        ahead
    }

    /// Sends what stages held back to make larger calls.
    pub(super) fn flush(&mut self, now_ms: i64) -> Result<(), TaskError> {
        for (i, (id, stage, cx)) in self.stages.iter_mut().enumerate() {
            if let Stage::Op(op) = stage {
                cx.now_ms = now_ms;
                op.flush(cx).map_err(|error| TaskError::Stage { stage: id.clone(), error })?;
            }
            self.open.calls.extend(cx.calls.drain(..).map(|c| (i, c)));
        }
        Ok(())
    }

    /// Takes an answer for a stage.
    pub fn answer(&mut self, stage: usize, answer: Answer, now_ms: i64, globals: &[Option<Table>]) -> Result<(), TaskError> {
        if let Some((id, Stage::Op(op), cx)) = self.stages.get_mut(stage) {
            cx.now_ms = now_ms;
            op.answer(cx, answer).map_err(|error| TaskError::Stage { stage: id.clone(), error })?;
        }
        self.drain(stage, None, now_ms)?;
        self.run(self.watermark_ms(), now_ms, None, globals)?;
        self.flush(now_ms)
    }

    pub(super) fn feed_table(&mut self, t: usize, at: &TopicPartition, records: &Records) -> Result<(), TaskError> {
        let id = self.topology.tables[t].id.clone();
        let (Some(table), Some(decoder)) = (self.tables[t].as_mut(), self.table_decoders[t].as_mut()) else { return Ok(()) };
        let decoded = decoder.decode(records);
        let skipped = table.apply(&decoded.rows).map_err(|error| TaskError::Stage { stage: id.clone(), error })?;
        for i in &decoded.tombstones {
            let row = *i as usize;
            if let Some(key) = records.key(row) {
                table.delete(key, records.rows[row].timestamp_ms);
            }
        }
        let undecoded = decoded.dead.into_iter().map(|e| Refused {
            row: e.row,
            reason: e.reason,
            error: e.error,
            schema_id: e.schema_id,
            late: false,
            time_ms: None,
            position: None,
        });
        let unusable = skipped.into_iter().map(|i| Refused {
            row: decoded.index[i as usize] as usize,
            reason: "no_version",
            error: "a table row without a key or a time from which it is valid".into(),
            schema_id: None,
            late: false,
            time_ms: None,
            position: None,
        });
        let refused = undecoded.chain(unusable).collect();
        self.refuse(&id, at, records, refused);
        Ok(())
    }

    /// Runs every stage once, in order: first what waits for it, then time.
    pub(super) fn run(&mut self, watermark_ms: i64, now_ms: i64, fetched: Option<Fetched<'_>>, globals: &[Option<Table>]) -> Result<(), TaskError> {
        let topology = self.topology.clone();
        self.clock.reached(watermark_ms);
        let mut behind = vec![watermark_ms; self.stages.len()];
        for i in 0..self.stages.len() {
            let batches = std::mem::take(&mut self.inbox[i]);
            let (id, stage, cx) = &mut self.stages[i];
            cx.now_ms = now_ms;
            let reaches = topology.stages[i]
                .from
                .iter()
                .map(|f| match f {
                    From::Input(_) => watermark_ms,
                    From::Stage(j) => behind[*j],
                })
                .min();
            let failed = |error| TaskError::Stage { stage: id.clone(), error };
            for rows in &batches {
                match stage {
                    Stage::Op(op) => op.process(cx, rows),
                    Stage::Join(join, t) => match self.tables[*t].as_ref().or(globals.get(*t).and_then(Option::as_ref)) {
                        Some(table) => join.process_with(cx, rows, table),
                        None => Err(OperatorError::Limit { what: "tables of this worker", limit: 0, setting: "tables" }),
                    },
                }
                .map_err(failed)?;
            }
            // Rows meet the watermark that was there before them: what they see must not depend on how they were fetched.
            cx.watermark_ms = cx.watermark_ms.max(reaches.unwrap_or(watermark_ms));
            behind[i] = cx.watermark_ms;
            if let Stage::Op(op) = stage {
                op.advance(cx).map_err(failed)?;
                if let Some(oldest) = op.oldest_pending_ms() {
                    behind[i] = behind[i].min(oldest.saturating_sub(1));
                }
            }
            self.drain(i, fetched, now_ms)?;
        }
        self.behind = behind;
        Ok(())
    }

    /// Gives every stage the watermark of the restored state, as it was when that was committed.
    pub(super) fn seed_watermarks(&mut self) {
        let watermark_ms = self.watermark_ms();
        let mut behind = vec![watermark_ms; self.stages.len()];
        for (i, (_, stage, cx)) in self.stages.iter_mut().enumerate() {
            let reaches = self.topology.stages[i]
                .from
                .iter()
                .map(|f| match f {
                    From::Input(_) => watermark_ms,
                    From::Stage(j) => behind[*j],
                })
                .min();
            cx.watermark_ms = reaches.unwrap_or(watermark_ms);
            behind[i] = cx.watermark_ms;
            if let Stage::Op(op) = stage
                && let Some(oldest) = op.oldest_pending_ms()
            {
                behind[i] = behind[i].min(oldest.saturating_sub(1));
            }
        }
        self.behind = behind;
    }

    /// Hands on what a stage put out.
    pub(super) fn drain(&mut self, i: usize, fetched: Option<Fetched<'_>>, now_ms: i64) -> Result<(), TaskError> {
        let Some((id, _, cx)) = self.stages.get_mut(i) else { return Ok(()) };
        let (out, side) = (std::mem::take(&mut cx.out), std::mem::take(&mut cx.side));
        self.open.calls.extend(cx.calls.drain(..).map(|c| (i, c)));
        for (kind, detail) in cx.decisions.drain(..) {
            self.open.manifest.decided(id, kind, detail);
        }
        if !side.is_empty() {
            let id = id.clone();
            for s in side {
                self.side(&id, s, fetched, now_ms);
            }
        }
        for rows in out {
            self.route(From::Stage(i), rows, now_ms)?;
        }
        Ok(())
    }

    pub(super) fn route(&mut self, from: From, rows: RecordBatch, now_ms: i64) -> Result<(), TaskError> {
        let mut refused: Vec<(String, RowError)> = Vec::new();
        for (j, spec) in self.topology.stages.iter().enumerate() {
            if spec.from.contains(&from) {
                self.inbox[j].push(rows.clone());
            }
        }
        for sink in &mut self.sinks {
            if sink.spec.from.contains(&from) {
                let bad = sink.write(&rows, self.id.0, &self.origins)?;
                refused.extend(bad.into_iter().map(|e| (format!("sink:{}", sink.spec.topic), e)));
            }
        }
        for rekey in self.rekeys.iter_mut().filter(|r| r.spec.from.contains(&from)) {
            let keyless = rekey.write(&rows, &self.origins, now_ms).into_iter();
            let error = format!("`{}` is null: the row cannot be given to a task", rekey.spec.key);
            refused.extend(keyless.map(|row| (rekey.spec.id.clone(), RowError { row, reason: "no_key", error: error.clone(), schema_id: None })));
        }
        let tenants = rows.column_by_name("tenant").and_then(|c| c.as_string_opt::<i32>());
        for (stage, e) in refused {
            let (at, offset) = self.origins.position(crate::batch::offsets(&rows)[e.row]);
            self.letter(
                &at,
                DeadLetter {
                    offset,
                    tenant: tenants.filter(|t| t.is_valid(e.row)).map(|t| t.value(e.row).to_string()).unwrap_or_default(),
                    stage,
                    reason: e.reason.to_string(),
                    error: e.error,
                    schema_id: e.schema_id,
                    observed_at: Some(crate::batch::times(&rows)[e.row]),
                    received_at: now_ms,
                    ..DeadLetter::default()
                },
            );
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, stage: &str, at: &TopicPartition, records: &Records, refused: Vec<Refused>) {
        for r in refused {
            // What came through a repartition topic is told with the position it stems from; the bytes are there.
            let from = r.position.map(|code| self.origins.position(code));
            let here = from.is_none();
            let (at, offset) = from.unwrap_or_else(|| (at.clone(), records.rows[r.row].offset));
            let letter = DeadLetter {
                offset,
                key: records.key(r.row).filter(|_| here).map(<[u8]>::to_vec),
                value: records.value(r.row).filter(|_| here).map(<[u8]>::to_vec),
                stage: stage.to_string(),
                reason: r.reason.to_string(),
                error: r.error,
                schema_id: r.schema_id,
                observed_at: r.time_ms,
                received_at: records.rows[r.row].timestamp_ms,
                ..DeadLetter::default()
            };
            self.letter(&at, letter);
        }
    }

    pub(super) fn side(&mut self, stage: &str, side: Side, fetched: Option<Fetched<'_>>, now_ms: i64) {
        let tenants = side.rows.column_by_name("tenant").and_then(|c| c.as_string_opt::<i32>());
        for i in 0..side.rows.num_rows() {
            let (at, offset) = self.origins.position(crate::batch::offsets(&side.rows)[i]);
            // The original bytes are at hand while the records are; otherwise the position leads to them.
            let records = fetched.filter(|f| *f.0 == at).map(|f| f.1);
            let row = records.and_then(|r| r.rows.binary_search_by_key(&offset, |x| x.offset).ok());
            self.letter(
                &at,
                DeadLetter {
                    offset,
                    key: row.and_then(|x| records?.key(x)).map(<[u8]>::to_vec),
                    value: row.and_then(|x| records?.value(x)).map(<[u8]>::to_vec),
                    tenant: tenants.filter(|t| t.is_valid(i)).map(|t| t.value(i).to_string()).unwrap_or_default(),
                    stage: stage.to_string(),
                    reason: side.reason.clone(),
                    error: if side.detail.is_empty() { kind_words(side.kind).to_string() } else { side.detail.clone() },
                    schema_id: None,
                    observed_at: Some(crate::batch::times(&side.rows)[i]),
                    // The log's time of the original, like every replay would tell; without it, that of this process.
                    received_at: row.and_then(|x| Some(records?.rows.get(x)?.timestamp_ms)).unwrap_or(now_ms),
                },
            );
        }
    }

    pub(super) fn letter(&mut self, at: &TopicPartition, mut letter: DeadLetter) {
        if letter.tenant.is_empty() {
            letter.tenant = "unknown".into();
        }
        self.open.bytes += 256 + letter.value.as_ref().map_or(0, Vec::len);
        self.open.letters.entry(at.clone()).or_default().push(letter);
    }
}

fn kind_words(kind: SideKind) -> &'static str {
    match kind {
        SideKind::Late => "older than the lateness allows",
        SideKind::Dead => "refused by the stage",
        SideKind::Unmatched => "no partner in the table",
    }
}
