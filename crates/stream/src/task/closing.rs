//! A task's epochs: closing, committing and undoing them; rounds of changelog bases and snapshots.

use super::*;
use crate::repartition::Control;
use crate::source::combined;

impl Task {
    pub(super) fn image(&self) -> Committed {
        let counts =
            self.inputs.iter().map(Input::counts).chain(self.stages.iter().map(|(_, _, cx)| cx.counts)).chain(self.rekeys.iter().map(|r| r.counts)).collect();
        Committed { positions: self.positions.clone(), counts }
    }

    /// Closes the open epoch; `None` when nothing happened in it. The last one must be resolved. `now_ms` is when: a log
    /// that keeps records for a time goes by it.
    pub fn close(&mut self, incarnation: u64, now_ms: i64) -> Result<Option<Epoch>, TaskError> {
        debug_assert!(self.closed.is_none(), "the closed epoch must be resolved first");
        let number = self.number + 1;
        let positions: Vec<_> = self.positions.iter().map(|(k, v)| (k.clone(), *v)).collect();
        let mut appends: Vec<Appends> = self.sinks.iter_mut().map(Sink::take).filter(|a| !a.rows.is_empty()).collect();
        self.tell(incarnation, number, now_ms);
        appends.extend(self.rekeys.iter_mut().map(RekeyWriter::take).filter(|a| !a.rows.is_empty()));
        let letters = std::mem::take(&mut self.open.letters);
        if !letters.is_empty() {
            let mut out = Appends::new(self.topology.dead_letters.clone());
            let partitions = self.surroundings.partitions(&self.topology.dead_letters);
            for (at, letters) in &letters {
                let topic_id = self.surroundings.topics.get(&at.topic).map_or_else(String::new, |t| hex(&t.0));
                write_dead_letters(letters, at, &self.surroundings.cluster_id, &topic_id, partitions, self.dead.as_mut(), &mut out)?;
            }
            appends.push(out);
        }
        let hash = self.topology.state_hash;
        let mut changelog = Appends::new(changelog_topic(&self.topology.name));
        let base = match self.base.active {
            Some((_, chunk)) => self.base_records(chunk, number)?,
            None => Vec::new(),
        };
        let mut delta = Writer::new(Kind::Delta, hash, number, positions.clone());
        let mut dirty = 0u64;
        self.each_state(|state, s| {
            s.close_epoch(&mut |key, sub, value| {
                dirty |= 1 << changelog::chunk_of(key);
                delta.row(state, key, sub, value);
            });
            Ok(())
        })?;
        let moved = self.positions != self.committed.positions;
        let manifest = std::mem::take(&mut self.open.manifest);
        self.open.bytes = 0;
        if !moved && appends.is_empty() && delta.rows() == 0 && manifest.is_empty() {
            self.each_state(|_, s| {
                s.committed();
                Ok(())
            })?;
            return Ok(None);
        }
        self.dirty_closed = dirty;
        let key = number.to_be_bytes();
        self.base.written = self.base.active.is_some();
        for part in base {
            self.base.round_bytes += part.len();
            changelog.push(self.id.0, now_ms, Some(&key), Some(&part), &[]);
        }
        for part in delta.finish() {
            self.base.delta_bytes += part.len();
            changelog.push(self.id.0, now_ms, Some(&key), Some(&part), &[]);
        }
        let mut manifests = Appends::new(manifest_topic(&self.topology.name));
        let watermarks: Vec<i64> = self.inputs.iter().map(Input::watermark_ms).collect();
        manifests.push(self.id.0, now_ms, Some(&key), Some(manifest.to_json(number, &watermarks).as_bytes()), &[]);
        appends.extend([changelog, manifests]);
        self.number = number;
        self.closed = Some(self.image());
        Ok(Some(Epoch { task: self.id, incarnation, number, positions, appends }))
    }

    /// Tells later slices how far this task is, behind the rows of the epoch.
    fn tell(&mut self, incarnation: u64, epoch: u64, now_ms: i64) {
        if self.rekeys.is_empty() {
            return;
        }
        let (watermark_ms, settled) = (self.watermark_ms(), self.pending_rows() == 0);
        let idle = settled && combined(self.input_clocks()).1;
        let tasks = self.topology.inputs.first().map_or(1, |i| self.surroundings.partitions(&i.topic));
        for r in &mut self.rekeys {
            let from = r.spec.from.iter().map(|f| match f {
                From::Input(_) => watermark_ms,
                From::Stage(j) => self.behind[*j],
            });
            let watermark_ms = from.min().unwrap_or(watermark_ms);
            r.tell(Control { task: self.id.0, tasks, incarnation, epoch, watermark_ms, idle }, settled, now_ms);
        }
    }

    pub(super) fn base_records(&mut self, chunk: u8, number: u64) -> Result<Vec<Vec<u8>>, StateError> {
        let mut base = Writer::new(Kind::Base(chunk), self.topology.state_hash, number, Vec::new());
        self.each_state(|state, s| {
            s.scan_committed_where(&|key| changelog::chunk_of(key) == chunk, &mut |key, sub, value| {
                base.row(state, key, sub, value);
            });
            Ok(())
        })?;
        Ok(base.finish())
    }

    /// The closed epoch is committed.
    pub fn committed(&mut self) {
        let Some(image) = self.closed.take() else { return };
        self.committed = image;
        self.each_state(|_, s| {
            s.committed();
            Ok(())
        })
        .ok();
        self.dirty |= std::mem::take(&mut self.dirty_closed);
        // A round that began after the epoch was closed has nothing in it yet.
        if let Some((mark, chunk)) = self.base.active.filter(|_| std::mem::take(&mut self.base.written)) {
            if chunk + 1 < CHUNKS {
                self.base.active = Some((mark, chunk + 1));
            } else {
                self.base.active = None;
                self.base.finished = Some(mark);
                self.base.last_round_bytes = std::mem::take(&mut self.base.round_bytes);
            }
        }
    }

    /// Undoes the closed and the open epoch; inputs are to be read again from [`Task::position`].
    pub fn rollback(&mut self, now_ms: i64) -> Result<(), TaskError> {
        self.each_state(|_, s| s.rollback())?;
        if self.closed.take().is_some() {
            self.number -= 1;
        }
        self.positions = self.committed.positions.clone();
        let mut counts = self.committed.counts.iter().copied();
        self.inputs.iter_mut().zip(&mut counts).for_each(|(s, c)| s.set_counts(c));
        self.stages.iter_mut().zip(&mut counts).for_each(|((_, _, cx), c)| {
            *cx = Context { counts: c, ..Context::new() };
        });
        for (r, c) in self.rekeys.iter_mut().zip(&mut counts) {
            r.counts = c;
            r.rollback();
        }
        self.clock.begin(now_ms);
        self.seed_watermarks();
        self.sinks.iter_mut().for_each(|s| {
            s.take();
        });
        self.inbox.iter_mut().for_each(Vec::clear);
        self.open = Open::default();
        self.dirty_closed = 0;
        if let Some((mark, _)) = self.base.active {
            self.base.active = Some((mark, 0));
        }
        self.reissue(now_ms)
    }

    /// A planted defect's half of a roll-back: see [`crate::worker::Planted`].
    pub fn rollback_positions_only(&mut self, now_ms: i64) -> Result<(), TaskError> {
        self.each_state(|_, s| {
            s.committed();
            s.close_epoch(&mut |_, _, _| {});
            s.committed();
            Ok(())
        })?;
        self.rollback(now_ms)
    }
    /// A planted defect: see [`crate::worker::Planted`].
    pub fn forget_pending(&mut self, now_ms: i64) -> Result<(), TaskError> {
        self.open.calls.clear();
        for (_, stage, _) in &mut self.stages {
            let Stage::Op(op) = stage else { continue };
            if op.pending_rows() == 0 {
                continue;
            }
            let Some(state) = op.state() else { continue };
            let mut rows = Vec::new();
            state.scan_committed(&mut |key, sub, _| {
                if key.starts_with(b"p") {
                    rows.push((key.to_vec(), sub));
                }
            });
            for (key, sub) in rows {
                state.import(&key, sub, None)?;
            }
        }
        self.reissue(now_ms)
    }
    /// A planted defect: see [`crate::worker::Planted`].
    pub fn force_position(&mut self, at: &TopicPartition, offset: i64) {
        self.positions.insert(at.clone(), offset);
    }

    /// Should a new base round begin? Then ask for the changelog's end and call [`Task::begin_base`].
    pub fn wants_base(&self) -> bool {
        self.base.active.is_none() && self.base.delta_bytes >= BASE_AFTER_BYTES.max(2 * self.base.last_round_bytes)
    }
    /// Starts a base round; `mark` is an offset at or before the round's first record.
    pub fn begin_base(&mut self, mark: i64) {
        if self.base.active.is_none() {
            self.base.delta_bytes = 0;
            self.base.round_bytes = 0;
            self.base.active = Some((mark, 0));
        }
    }
    /// Everything before this offset is no longer needed, once.
    pub fn take_truncation(&mut self) -> Option<i64> {
        self.base.finished.take()
    }
    /// The committed state, as far as it changed since the last snapshot. The closed epoch must be resolved.
    pub fn snapshot(&mut self) -> Result<Snapshot, StateError> {
        let (epoch, dirty) = (self.number, std::mem::take(&mut self.dirty));
        let mut chunks = Vec::new();
        for chunk in (0..CHUNKS).filter(|c| dirty & (1 << c) != 0) {
            chunks.push((chunk, self.base_records(chunk, epoch)?));
        }
        Ok(Snapshot { epoch, chunks })
    }
    /// Positions of the newest committed epoch.
    pub fn committed_positions(&self) -> Vec<(TopicPartition, i64)> {
        self.committed.positions.iter().map(|(k, v)| (k.clone(), *v)).collect()
    }
}
