//! A task's data path: fetched records through sources, tables and stages to sinks, and what ends on the way.

use super::*;

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
                let mut refused = Vec::new();
                let runs = self.sources[i].process(records, &mut refused).map_err(|error| TaskError::Stage { stage: stage.clone(), error })?;
                self.refuse(&stage, at, records, refused);
                let others = self.sources.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| s.watermark_ms()).min().unwrap_or(i64::MAX);
                for run in runs {
                    if run.rows.num_rows() > 0 {
                        self.route(From::Input(i), run.rows, at, now_ms)?;
                    }
                    self.run(run.watermark_ms.min(others), now_ms, at, Some(records), globals)?;
                }
                self.flush(now_ms)
            }
        }
    }

    /// Lets timers fire and budgets end.
    pub fn advance(&mut self, now_ms: i64, globals: &[Option<Table>]) -> Result<(), TaskError> {
        let at = self.primary();
        self.run(self.watermark_ms(), now_ms, &at, None, globals)?;
        self.flush(now_ms)
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
        let at = self.primary();
        if let Some((id, Stage::Op(op), cx)) = self.stages.get_mut(stage) {
            cx.now_ms = now_ms;
            op.answer(cx, answer).map_err(|error| TaskError::Stage { stage: id.clone(), error })?;
        }
        self.drain(stage, &at, None, now_ms)?;
        self.run(self.watermark_ms(), now_ms, &at, None, globals)?;
        self.flush(now_ms)
    }

    pub(super) fn primary(&self) -> TopicPartition {
        TopicPartition::new(self.topology.inputs.first().map_or_else(|| Arc::from(""), |i| i.topic.clone()), self.id.0)
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
        let undecoded =
            decoded.dead.into_iter().map(|e| Refused { row: e.row, reason: e.reason, error: e.error, schema_id: e.schema_id, late: false, time_ms: None });
        let unusable = skipped.into_iter().map(|i| Refused {
            row: decoded.index[i as usize] as usize,
            reason: "no_version",
            error: "a table row without a key or a time from which it is valid".into(),
            schema_id: None,
            late: false,
            time_ms: None,
        });
        let refused = undecoded.chain(unusable).collect();
        self.refuse(&id, at, records, refused);
        Ok(())
    }

    /// Runs every stage once, in order: first what waits for it, then time.
    pub(super) fn run(
        &mut self,
        watermark_ms: i64,
        now_ms: i64,
        at: &TopicPartition,
        records: Option<&Records>,
        globals: &[Option<Table>],
    ) -> Result<(), TaskError> {
        let topology = self.topology.clone();
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
            self.drain(i, at, records, now_ms)?;
        }
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
    }

    /// Hands on what a stage put out.
    pub(super) fn drain(&mut self, i: usize, at: &TopicPartition, records: Option<&Records>, now_ms: i64) -> Result<(), TaskError> {
        let Some((id, _, cx)) = self.stages.get_mut(i) else { return Ok(()) };
        let (out, side) = (std::mem::take(&mut cx.out), std::mem::take(&mut cx.side));
        self.open.calls.extend(cx.calls.drain(..).map(|c| (i, c)));
        for (kind, detail) in cx.decisions.drain(..) {
            self.open.manifest.decided(id, kind, detail);
        }
        if !side.is_empty() {
            let id = id.clone();
            for s in side {
                self.side(&id, at, s, records, now_ms);
            }
        }
        for rows in out {
            self.route(From::Stage(i), rows, at, now_ms)?;
        }
        Ok(())
    }

    pub(super) fn route(&mut self, from: From, rows: RecordBatch, at: &TopicPartition, now_ms: i64) -> Result<(), TaskError> {
        let mut refused = Vec::new();
        for (j, spec) in self.topology.stages.iter().enumerate() {
            if spec.from.contains(&from) {
                self.inbox[j].push(rows.clone());
            }
        }
        for sink in &mut self.sinks {
            if sink.spec.from.contains(&from) {
                let bad = sink.write(&rows, at)?;
                refused.extend(bad.into_iter().map(|e| (format!("sink:{}", sink.spec.topic), e)));
            }
        }
        for (stage, e) in refused {
            self.letter(
                at,
                DeadLetter {
                    offset: crate::batch::offsets(&rows)[e.row],
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
            let letter = DeadLetter {
                offset: records.rows[r.row].offset,
                key: records.key(r.row).map(<[u8]>::to_vec),
                value: records.value(r.row).map(<[u8]>::to_vec),
                stage: stage.to_string(),
                reason: r.reason.to_string(),
                error: r.error,
                schema_id: r.schema_id,
                observed_at: r.time_ms,
                received_at: records.rows[r.row].timestamp_ms,
                ..DeadLetter::default()
            };
            self.letter(at, letter);
        }
    }

    pub(super) fn side(&mut self, stage: &str, at: &TopicPartition, side: Side, records: Option<&Records>, now_ms: i64) {
        let tenants = side.rows.column_by_name("tenant").and_then(|c| c.as_string_opt::<i32>());
        for i in 0..side.rows.num_rows() {
            let offset = crate::batch::offsets(&side.rows)[i];
            // The original bytes are at hand while the records are; otherwise the position leads to them.
            let row = records.and_then(|r| r.rows.binary_search_by_key(&offset, |x| x.offset).ok());
            self.letter(
                at,
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
