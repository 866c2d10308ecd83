//! Reading the view in Redis: positions, index ranges, records. The layout is described in `redis_store`.

use std::collections::HashMap;

use redis::Commands;

use crate::ViewError;
use crate::backend::{Backend, Session};
use crate::freshness::SourcePosition;
use crate::key::{Keyspace, SEPARATOR, ViewKey};
use crate::reads::Record;
use crate::redis_store::{Inner, RedisView};

impl Backend for RedisView {
    fn session(&self) -> Result<Box<dyn Session + '_>, ViewError> {
        Ok(Box::new(RedisSession { inner: &self.inner }))
    }
}

/// A read. Positions are fetched before values, so the values are at least as new.
struct RedisSession<'a> {
    inner: &'a Inner,
}

impl Session for RedisSession<'_> {
    fn positions(&mut self) -> Result<Vec<SourcePosition>, ViewError> {
        let (sources, found) = self.inner.with("reading positions", |connection| {
            let sources: Vec<String> = connection.smembers(self.inner.key("sources"))?;
            let mut pipe = redis::pipe();
            for source in &sources {
                pipe.hgetall(self.inner.key(&format!("pos:{source}")));
            }
            let found: Vec<HashMap<String, String>> = if sources.is_empty() { Vec::new() } else { pipe.query(connection)? };
            Ok((sources, found))
        })?;
        sources.iter().zip(&found).filter(|(_, fields)| !fields.is_empty()).map(|(source, fields)| self.inner.parse_position(source, fields)).collect()
    }

    fn tenants(&mut self) -> Result<Vec<String>, ViewError> {
        let mut tenants: Vec<String> = self.inner.with("reading tenants", |connection| connection.smembers(self.inner.key("tenants")))?;
        tenants.sort();
        Ok(tenants)
    }

    fn entries_from(&mut self, keyspace: Keyspace, from: &str, max_rows: usize) -> Result<Vec<String>, ViewError> {
        let rows = isize::try_from(max_rows).unwrap_or(isize::MAX);
        self.inner.with("reading the index", |connection| connection.zrangebylex_limit(self.inner.index_key(keyspace), format!("[{from}"), "+", 0, rows))
    }

    fn count(&mut self, keyspace: Keyspace, tenant: Option<&str>) -> Result<u64, ViewError> {
        let key = self.inner.index_key(keyspace);
        self.inner.with("counting", |connection| match tenant {
            None => connection.zcard(key),
            Some(tenant) => connection.zlexcount(key, format!("[{tenant}{SEPARATOR}"), format!("({tenant}{}", char::from(SEPARATOR as u8 + 1))),
        })
    }

    fn records(&mut self, keys: &[ViewKey]) -> Result<Vec<Option<Record>>, ViewError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let found: Vec<HashMap<String, String>> = self.inner.with("reading records", |connection| {
            let mut pipe = redis::pipe();
            for key in keys {
                pipe.hgetall(self.inner.key(&format!("rec:{key}")));
            }
            pipe.query(connection)
        })?;
        keys.iter().zip(&found).map(|(key, fields)| record(key, fields)).collect()
    }
}

fn record(key: &ViewKey, fields: &HashMap<String, String>) -> Result<Option<Record>, ViewError> {
    let mut record = Record { key: key.clone(), parts: Default::default() };
    for part in key.keyspace.parts() {
        let Some(ms) = fields.get(&format!("{}_ms", part.as_str())) else {
            continue;
        };
        let corrupt = |cause: String| ViewError::Corrupt { key: format!("{key}/{}", part.as_str()), cause };
        let observed_ms = ms.parse().map_err(|error: std::num::ParseIntError| corrupt(error.to_string()))?;
        let document = match fields.get(part.as_str()) {
            Some(json) => Some(serde_json::from_str(json).map_err(|error| corrupt(error.to_string()))?),
            None => None,
        };
        record.parts.insert(*part, (observed_ms, document));
    }
    let exists = record.parts.values().any(|part| part.1.is_some());
    Ok(exists.then_some(record))
}
