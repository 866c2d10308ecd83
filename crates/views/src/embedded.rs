//! The embedded view: a folder of its own on fjall, for one process, nothing to install.
//!
//! Three trees: `records` holds one value per part (8 bytes event time, then JSON), `index` the ordered entries, `meta`
//! positions and tenants. One write batch per apply holds all of it, so a crash shows either the old state or the new one.
//! Nothing is forced to disk: after a power loss the view is older, its position with it, and the log has the rest.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fjall::{Database, Keyspace as Tree, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use crate::backend::{Backend, Session};
use crate::freshness::{PositionKey, SourcePosition};
use crate::key::{Keyspace, Part, SEPARATOR, ViewKey};
use crate::listing::{Listed, relist};
use crate::reads::Record;
use crate::update::{Applied, Body, Outcome, Progress, Update, ViewStore, changed_keys, coalesce};
use crate::{MAX_TENANTS, ViewError};

/// Name of the pseudo-part that holds a record's index entry; sorts behind the parts.
const LISTED: &str = "~listed";
const CLEARING: &str = "clearing";
const CACHE_BYTES: u64 = 16 << 20;
const JOURNAL_BYTES: u64 = 64 << 20;

/// A view in a folder. Clones share it; writes are serialised.
#[derive(Clone)]
pub struct EmbeddedView {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    records: Tree,
    index: Tree,
    meta: Tree,
    writing: Mutex<()>,
}

fn failed(doing: &'static str) -> impl Fn(fjall::Error) -> ViewError {
    move |error| ViewError::Store { doing, cause: error.to_string() }
}

impl EmbeddedView {
    /// Opens the view in `folder`, or creates it. A clear that was interrupted is finished first.
    ///
    /// # Errors
    /// [`ViewError::Locked`] when another process has it open, [`ViewError::Open`] otherwise.
    pub fn open(folder: &Path) -> Result<Self, ViewError> {
        let refused = |error: fjall::Error| match error {
            fjall::Error::Locked => ViewError::Locked { path: folder.into() },
            other => ViewError::Open { path: folder.into(), cause: other.to_string() },
        };
        let db = Database::builder(folder).cache_size(CACHE_BYTES).max_journaling_size(JOURNAL_BYTES).worker_threads(1).open().map_err(refused)?;
        let tree = |name| db.keyspace(name, KeyspaceCreateOptions::default).map_err(refused);
        let (records, index, meta) = (tree("records")?, tree("index")?, tree("meta")?);
        let view = Self { inner: Arc::new(Inner { db, records, index, meta, writing: Mutex::new(()) }) };
        if view.inner.meta.contains_key(CLEARING).map_err(refused)? {
            tracing::warn!("finishing an interrupted clear of the view");
            view.inner.finish_clear()?;
        }
        Ok(view)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, ()> {
        // The guarded value is (), so a panic elsewhere leaves nothing half done.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self, source: &PositionKey) -> Result<Option<SourcePosition>, ViewError> {
        let key = format!("pos{SEPARATOR}{}", source.stored());
        let stored = self.meta.get(&key).map_err(failed("reading a position"))?;
        stored.map(|bytes| parse_position(&key, &bytes)).transpose()
    }

    fn put_position(&self, batch: &mut fjall::OwnedWriteBatch, position: &SourcePosition) -> Result<(), ViewError> {
        let json = serde_json::to_vec(position).map_err(|error| ViewError::Store { doing: "writing a position", cause: error.to_string() })?;
        batch.insert(&self.meta, format!("pos{SEPARATOR}{}", position.source.stored()), json);
        Ok(())
    }

    fn listed(&self, stored: &str) -> Result<Option<Listed>, ViewError> {
        let key = format!("{stored}{LISTED}");
        let Some(bytes) = self.records.get(&key).map_err(failed("reading an index entry"))? else {
            return Ok(None);
        };
        let (observed_ms, entry) = split_value(&key, &bytes)?;
        let entry = std::str::from_utf8(entry).map_err(|error| ViewError::Corrupt { key, cause: error.to_string() })?;
        Ok(Some(Listed { observed_ms, entry: entry.to_owned() }))
    }

    fn finish_clear(&self) -> Result<(), ViewError> {
        let doing = "clearing the view";
        self.records.clear().map_err(failed(doing))?;
        self.index.clear().map_err(failed(doing))?;
        self.meta.remove(CLEARING).map_err(failed(doing))?;
        self.db.persist(PersistMode::SyncData).map_err(failed(doing))
    }
}

impl ViewStore for EmbeddedView {
    fn apply(&mut self, source: &PositionKey, owner_epoch: u64, next_offset: i64, progress: Progress, updates: Vec<Update>) -> Result<Outcome, ViewError> {
        let (updates, mut outdated) = coalesce(source, next_offset, updates)?;
        let inner = &*self.inner;
        let _writing = inner.lock();
        let present = inner.position(source)?;
        let mut batch = inner.db.batch();
        if let Some(present) = &present {
            if owner_epoch < present.owner_epoch {
                return Ok(Outcome::Fenced { owner_epoch: present.owner_epoch });
            }
            if next_offset <= present.next_offset {
                if owner_epoch > present.owner_epoch {
                    inner.put_position(&mut batch, &SourcePosition { owner_epoch, ..present.clone() })?;
                    batch.commit().map_err(failed("writing a position"))?;
                }
                return Ok(Outcome::AlreadyApplied { next_offset: present.next_offset });
            }
        }

        let mut relisted: HashMap<String, Listed> = HashMap::new();
        let mut tenants: Vec<&str> = Vec::new();
        let mut written: Vec<&Update> = Vec::with_capacity(updates.len());
        for update in &updates {
            let stored = update.key.stored();
            let part_key = format!("{stored}{}", update.part.as_str());
            if let Some(bytes) = inner.records.get(&part_key).map_err(failed("reading a part"))?
                && split_value(&part_key, &bytes)?.0 > update.observed_ms
            {
                outdated += 1;
                continue;
            }
            let document: &[u8] = match &update.body {
                Body::Put(document) => document.as_bytes(),
                Body::Delete => &[],
            };
            batch.insert(&inner.records, part_key, join_value(update.observed_ms, document));
            let before = match relisted.get(&stored) {
                Some(listed) => Some(listed.clone()),
                None => inner.listed(&stored)?,
            };
            if let Some(now) = relist(before.as_ref(), &update.listing, update.listing_ms) {
                let index_key = |entry: &str| format!("{}{SEPARATOR}{entry}", update.key.keyspace.as_str());
                if let Some(before) = before.as_ref().filter(|before| !before.entry.is_empty() && before.entry != now.entry) {
                    batch.remove(&inner.index, index_key(&before.entry));
                }
                if !now.entry.is_empty() {
                    batch.insert(&inner.index, index_key(&now.entry), []);
                }
                batch.insert(&inner.records, format!("{stored}{LISTED}"), join_value(now.observed_ms, now.entry.as_bytes()));
                relisted.insert(stored, now);
            }
            if !tenants.contains(&update.key.tenant.as_str()) {
                tenants.push(&update.key.tenant);
            }
            written.push(update);
        }
        for tenant in tenants {
            batch.insert(&inner.meta, format!("tenant{SEPARATOR}{tenant}"), []);
        }
        let before = |of: fn(&SourcePosition) -> Option<i64>| present.as_ref().and_then(of);
        inner.put_position(
            &mut batch,
            &SourcePosition {
                source: source.clone(),
                owner_epoch,
                next_offset,
                watermark_ms: progress.watermark_ms.max(before(|p| p.watermark_ms)),
                observed_ms: progress.observed_ms.max(before(|p| p.observed_ms)),
                applied_ms: Some(progress.applied_ms),
            },
        )?;
        batch.commit().map_err(failed("writing a batch"))?;
        Ok(Outcome::Applied(Applied { written: written.len(), outdated, changed: changed_keys(written.into_iter()) }))
    }

    fn position(&self, source: &PositionKey) -> Result<Option<SourcePosition>, ViewError> {
        self.inner.position(source)
    }

    fn clear(&mut self) -> Result<(), ViewError> {
        let inner = &*self.inner;
        let _writing = inner.lock();
        // Positions go back first, together with the note that a clear is under way: whatever happens next, the records are
        // read again from the log.
        let mut batch = inner.db.batch().durability(Some(PersistMode::SyncData));
        for position in self.session()?.positions()? {
            let back = SourcePosition { next_offset: 0, watermark_ms: None, observed_ms: None, applied_ms: None, ..position };
            inner.put_position(&mut batch, &back)?;
        }
        batch.insert(&inner.meta, CLEARING, []);
        batch.commit().map_err(failed("clearing the view"))?;
        inner.finish_clear()
    }
}

impl Backend for EmbeddedView {
    fn session(&self) -> Result<Box<dyn Session + '_>, ViewError> {
        Ok(Box::new(EmbeddedSession { inner: &self.inner, snapshot: self.inner.db.snapshot() }))
    }
}

/// A read of one consistent state.
struct EmbeddedSession<'a> {
    inner: &'a Inner,
    snapshot: Snapshot,
}

impl Session for EmbeddedSession<'_> {
    fn positions(&mut self) -> Result<Vec<SourcePosition>, ViewError> {
        let mut positions = Vec::new();
        for found in self.snapshot.prefix(&self.inner.meta, format!("pos{SEPARATOR}")) {
            let (key, value) = found.into_inner().map_err(failed("reading positions"))?;
            positions.push(parse_position(&String::from_utf8_lossy(&key), &value)?);
        }
        Ok(positions)
    }

    fn tenants(&mut self) -> Result<Vec<String>, ViewError> {
        let prefix = format!("tenant{SEPARATOR}");
        let mut tenants = Vec::new();
        for found in self.snapshot.prefix(&self.inner.meta, &prefix).take(MAX_TENANTS) {
            let key = found.key().map_err(failed("reading tenants"))?;
            tenants.push(String::from_utf8_lossy(key.get(prefix.len()..).unwrap_or_default()).into_owned());
        }
        Ok(tenants)
    }

    fn entries_from(&mut self, keyspace: Keyspace, from: &str, max_rows: usize) -> Result<Vec<String>, ViewError> {
        let prefix = format!("{}{SEPARATOR}", keyspace.as_str());
        let mut entries = Vec::new();
        let end = format!("{}{}", keyspace.as_str(), char::from(SEPARATOR as u8 + 1));
        for found in self.snapshot.range(&self.inner.index, format!("{prefix}{from}")..end).take(max_rows) {
            let key = found.key().map_err(failed("reading the index"))?;
            entries.push(String::from_utf8_lossy(key.get(prefix.len()..).unwrap_or_default()).into_owned());
        }
        Ok(entries)
    }

    fn count(&mut self, keyspace: Keyspace, tenant: Option<&str>) -> Result<u64, ViewError> {
        let prefix = tenant.map_or(format!("{}{SEPARATOR}", keyspace.as_str()), |tenant| format!("{}{SEPARATOR}{tenant}{SEPARATOR}", keyspace.as_str()));
        let mut rows = 0;
        for found in self.snapshot.prefix(&self.inner.index, prefix) {
            found.key().map_err(failed("counting"))?;
            rows += 1;
        }
        Ok(rows)
    }

    fn records(&mut self, keys: &[ViewKey]) -> Result<Vec<Option<Record>>, ViewError> {
        keys.iter().map(|key| self.record(key)).collect()
    }
}

impl EmbeddedSession<'_> {
    fn record(&self, key: &ViewKey) -> Result<Option<Record>, ViewError> {
        let stored = key.stored();
        let mut record = Record { key: key.clone(), parts: Default::default() };
        for found in self.snapshot.prefix(&self.inner.records, &stored) {
            let (part_key, value) = found.into_inner().map_err(failed("reading a record"))?;
            let shown = || format!("{key}/{}", String::from_utf8_lossy(part_key.get(stored.len()..).unwrap_or_default()));
            let Some(part) = part_key.get(stored.len()..).and_then(|name| std::str::from_utf8(name).ok()).and_then(Part::parse) else {
                continue;
            };
            let (observed_ms, document) = split_value(&shown(), &value)?;
            let document = match document {
                [] => None,
                json => Some(serde_json::from_slice(json).map_err(|error| ViewError::Corrupt { key: shown(), cause: error.to_string() })?),
            };
            record.parts.insert(part, (observed_ms, document));
        }
        let exists = record.parts.values().any(|part| part.1.is_some());
        Ok(exists.then_some(record))
    }
}

fn parse_position(key: &str, bytes: &[u8]) -> Result<SourcePosition, ViewError> {
    serde_json::from_slice(bytes).map_err(|error| ViewError::Corrupt { key: key.replace(SEPARATOR, "/"), cause: error.to_string() })
}

fn join_value(observed_ms: i64, content: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + content.len());
    value.extend_from_slice(&observed_ms.to_be_bytes());
    value.extend_from_slice(content);
    value
}

fn split_value<'a>(key: &str, value: &'a [u8]) -> Result<(i64, &'a [u8]), ViewError> {
    match value.split_first_chunk::<8>() {
        Some((head, content)) => Ok((i64::from_be_bytes(*head), content)),
        None => Err(ViewError::Corrupt { key: key.replace(SEPARATOR, "/"), cause: format!("{} bytes instead of at least 8", value.len()) }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::contract;

    #[test]
    fn keeps_the_contract_of_view_stores() {
        let folder = tempfile::tempdir().unwrap();
        let mut made = 0;
        contract::run(&mut || {
            made += 1;
            Box::new(EmbeddedView::open(&folder.path().join(format!("view-{made}"))).unwrap())
        });
    }

    #[test]
    fn state_and_position_survive_a_restart_together() {
        let folder = tempfile::tempdir().unwrap();
        contract::survives(&mut || Box::new(EmbeddedView::open(folder.path()).unwrap()));
    }

    #[test]
    fn a_second_owner_is_refused_clearly() {
        let folder = tempfile::tempdir().unwrap();
        let _first = EmbeddedView::open(folder.path()).unwrap();
        let second = EmbeddedView::open(folder.path());
        let error = second.err().expect("the folder is in use");
        assert!(matches!(error, ViewError::Locked { .. }), "{error}");
        assert!(error.hint().contains("other process"));
    }

    #[test]
    fn an_interrupted_clear_is_finished_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        {
            let mut view = EmbeddedView::open(folder.path()).unwrap();
            contract::fill(&mut view);
            view.inner.meta.insert(CLEARING, []).unwrap();
        }
        let view = EmbeddedView::open(folder.path()).unwrap();
        assert_eq!(contract::bin_ids(&view), Vec::<String>::new());
        assert!(!view.inner.meta.contains_key(CLEARING).unwrap());
    }
}
