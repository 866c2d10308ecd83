//! The view in Redis: for several processes, or when dispatch systems read it there directly.
//!
//! One script call per batch compares (owner epoch, offset) and writes values, index and position, so that Redis runs it as one
//! unit. All keys carry the hash tag `{ws:NAME}`: on a cluster they lie in one slot. Redis may lose acknowledged writes at a
//! failover; the position is lost with the values then, and the batches are applied again from the log.
//!
//! Keys: `{ws:NAME}:pos:SOURCE` (hash), `:sources`, `:tenants` (sets), `:idx:KEYSPACE` (sorted set, all scores 0),
//! `:rec:KEYSPACE/TENANT/ID` (hash: per part `PART` the JSON text and `PART_ms`; `listed` and `listed_ms`).
//! Numbers that are compared are 20 digits with leading zeros, because Lua's numbers are not exact beyond 2^53.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Client, Commands, Connection, ConnectionLike, RedisError, Script};

use crate::ViewError;
use crate::freshness::{PositionKey, SourcePosition};
use crate::key::Keyspace;
use crate::listing::Listing;
use crate::update::{Applied, Body, Outcome, Progress, Update, ViewStore, changed_keys, coalesce};

const APPLY: &str = include_str!("redis_apply.lua");

/// Connections kept for reuse; more are opened under load and closed after use.
const MAX_IDLE_CONNECTIONS: usize = 8;
/// Records deleted per call while clearing.
const CLEAR_CHUNK_ROWS: usize = 500;

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct RedisViewOptions {
    /// `redis://host:port/db`.
    pub url: String,
    /// The view's name, part of every key.
    pub name: String,
    /// Limit for connecting and for each call.
    pub timeout_ms: u64,
}

impl RedisViewOptions {
    /// The view `wastestream` at this address, with a limit of 5 s per call.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), name: "wastestream".into(), timeout_ms: 5_000 }
    }
}

/// A view in Redis. Clones share its connections.
#[derive(Clone)]
pub struct RedisView {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    client: Client,
    address: String,
    prefix: String,
    timeout: Duration,
    apply: Script,
    idle: Mutex<Vec<Connection>>,
}

impl RedisView {
    /// Connects, and finishes a clear that was interrupted.
    ///
    /// # Errors
    /// [`ViewError::Unavailable`] when Redis does not answer, [`ViewError::Invalid`] for an unusable URL or name.
    pub fn connect(options: &RedisViewOptions) -> Result<Self, ViewError> {
        if options.name.is_empty() || options.name.contains(['{', '}', '*', '?', '[', ']', '\\']) || options.name.chars().any(char::is_control) {
            return Err(ViewError::Invalid { what: "view name", detail: format!("{:?}", options.name) });
        }
        let client = Client::open(options.url.as_str()).map_err(|error| ViewError::Invalid { what: "Redis URL", detail: error.to_string() })?;
        let address = client.get_connection_info().addr().to_string();
        let inner = Inner {
            client,
            address,
            prefix: format!("{{ws:{}}}", options.name),
            timeout: Duration::from_millis(options.timeout_ms.max(1)),
            apply: Script::new(APPLY),
            idle: Mutex::new(Vec::new()),
        };
        let view = Self { inner: Arc::new(inner) };
        let interrupted = view.inner.with("connecting", |connection| {
            // Managed servers may refuse CONFIG; then nobody can tell.
            let policy: Vec<String> = redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query(connection).unwrap_or_default();
            if policy.get(1).is_some_and(|policy| policy != "noeviction") {
                tracing::warn!(policy = %policy[1], "Redis may evict parts of the view; set maxmemory-policy to noeviction");
            }
            connection.exists::<_, bool>(view.inner.key("clearing"))
        })?;
        if interrupted {
            tracing::warn!("finishing an interrupted clear of the view");
            view.inner.finish_clear()?;
        }
        Ok(view)
    }
}

impl Inner {
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    pub(crate) fn index_key(&self, keyspace: Keyspace) -> String {
        self.key(&format!("idx:{}", keyspace.as_str()))
    }

    fn failed(&self, doing: &'static str, error: &RedisError) -> ViewError {
        let outage = error.is_io_error() || error.is_timeout() || error.is_connection_dropped() || error.is_connection_refusal();
        if outage {
            ViewError::Unavailable { address: self.address.clone(), cause: error.to_string() }
        } else {
            ViewError::Store { doing, cause: error.to_string() }
        }
    }

    fn take_connection(&self) -> Result<Connection, ViewError> {
        if let Some(connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let open = || {
            let connection = self.client.get_connection_with_timeout(self.timeout)?;
            connection.set_read_timeout(Some(self.timeout))?;
            connection.set_write_timeout(Some(self.timeout))?;
            Ok(connection)
        };
        open().map_err(|error: RedisError| self.failed("connecting", &error))
    }

    fn keep_connection(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.is_open() && idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }

    /// Runs calls on a connection. After an error the connection is closed, never reused: a late reply must not be taken for
    /// the answer to the next call.
    pub(crate) fn with<T>(&self, doing: &'static str, calls: impl FnOnce(&mut Connection) -> Result<T, RedisError>) -> Result<T, ViewError> {
        let mut connection = self.take_connection()?;
        match calls(&mut connection) {
            Ok(value) => {
                self.keep_connection(connection);
                Ok(value)
            }
            Err(error) => {
                if error.is_connection_dropped() {
                    // The server may have restarted: the other idle connections are dead too.
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                Err(self.failed(doing, &error))
            }
        }
    }

    pub(crate) fn parse_position(&self, source: &str, fields: &HashMap<String, String>) -> Result<SourcePosition, ViewError> {
        let number = |field: &str| fields.get(field).filter(|text| !text.is_empty()).map(|text| text.parse::<i64>()).transpose();
        let corrupt = |cause: String| ViewError::Corrupt { key: self.key(&format!("pos:{source}")), cause };
        let parsed = || -> Result<SourcePosition, std::num::ParseIntError> {
            Ok(SourcePosition {
                source: PositionKey { cluster_id: String::new(), topic: String::new(), topic_id: String::new(), partition: 0 },
                owner_epoch: fields.get("owner_epoch").map_or("", String::as_str).parse()?,
                next_offset: fields.get("next_offset").map_or("", String::as_str).parse()?,
                watermark_ms: number("watermark_ms")?,
                observed_ms: number("observed_ms")?,
                applied_ms: number("applied_ms")?,
            })
        };
        let position = parsed().map_err(|error| corrupt(error.to_string()))?;
        Ok(SourcePosition { source: PositionKey::parse(source)?, ..position })
    }

    fn finish_clear(&self) -> Result<(), ViewError> {
        let doing = "clearing the view";
        self.with(doing, |connection| {
            for keyspace in Keyspace::ALL {
                connection.unlink::<_, ()>(self.index_key(keyspace))?;
            }
            connection.unlink::<_, ()>(self.key("tenants"))?;
            let mut cursor: u64 = 0;
            loop {
                let (next, keys): (u64, Vec<String>) =
                    redis::cmd("SCAN").arg(cursor).arg("MATCH").arg(self.key("rec:*")).arg("COUNT").arg(CLEAR_CHUNK_ROWS).query(connection)?;
                if !keys.is_empty() {
                    connection.unlink::<_, ()>(keys)?;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
            connection.unlink::<_, ()>(self.key("clearing"))
        })
    }
}

/// 20 digits, so that text compares like the number.
fn digits(number: u64) -> String {
    format!("{number:020}")
}

fn ms_digits(ms: i64) -> String {
    digits(u64::try_from(ms).unwrap_or(0))
}

impl ViewStore for RedisView {
    fn apply(&mut self, source: &PositionKey, owner_epoch: u64, next_offset: i64, progress: Progress, updates: Vec<Update>) -> Result<Outcome, ViewError> {
        let (updates, outdated) = coalesce(source, next_offset, updates)?;
        let inner = &*self.inner;
        let stored_source = source.stored();
        let mut call = inner.apply.prepare_invoke();
        call.key(inner.key(&format!("pos:{stored_source}"))).key(inner.key("sources")).key(inner.key("tenants"));
        for keyspace in Keyspace::ALL {
            call.key(inner.index_key(keyspace));
        }
        let optional = |ms: Option<i64>| ms.map(ms_digits).unwrap_or_default();
        call.arg(&stored_source).arg(digits(owner_epoch)).arg(ms_digits(next_offset));
        call.arg(optional(progress.watermark_ms)).arg(optional(progress.observed_ms)).arg(ms_digits(progress.applied_ms));
        call.arg(Keyspace::ALL.len());
        for update in &updates {
            call.key(inner.key(&format!("rec:{}", update.key)));
            let index = Keyspace::ALL.iter().position(|keyspace| *keyspace == update.key.keyspace).unwrap_or_default();
            let document = match &update.body {
                Body::Put(document) => document.as_str(),
                Body::Delete => "",
            };
            let (operation, entry) = match &update.listing {
                Listing::List(entry) => ("list", entry.as_str()),
                Listing::IfAbsent(entry) => ("if_absent", entry.as_str()),
                Listing::Unlist => ("unlist", ""),
            };
            call.arg(index).arg(&update.key.tenant).arg(update.part.as_str()).arg(ms_digits(update.observed_ms)).arg(document);
            call.arg(operation).arg(entry).arg(ms_digits(update.listing_ms));
        }
        let doing = "applying a batch";
        let (verdict, detail): (String, String) = inner.with(doing, |connection| call.invoke(connection))?;
        let unexpected = || ViewError::Store { doing, cause: format!("unexpected reply {verdict} {detail}") };
        match verdict.as_str() {
            "applied" => {
                let written: Vec<&Update> = updates.iter().zip(detail.bytes()).filter(|(_, flag)| *flag == b'1').map(|(update, _)| update).collect();
                let lost = updates.len() - written.len();
                Ok(Outcome::Applied(Applied { written: written.len(), outdated: outdated + lost, changed: changed_keys(written.into_iter()) }))
            }
            "already" => Ok(Outcome::AlreadyApplied { next_offset: detail.parse().map_err(|_| unexpected())? }),
            "fenced" => Ok(Outcome::Fenced { owner_epoch: detail.parse().map_err(|_| unexpected())? }),
            _ => Err(unexpected()),
        }
    }

    fn position(&self, source: &PositionKey) -> Result<Option<SourcePosition>, ViewError> {
        let stored = source.stored();
        let fields: HashMap<String, String> =
            self.inner.with("reading a position", |connection| connection.hgetall(self.inner.key(&format!("pos:{stored}"))))?;
        if fields.is_empty() { Ok(None) } else { self.inner.parse_position(&stored, &fields).map(Some) }
    }

    fn clear(&mut self) -> Result<(), ViewError> {
        let inner = &*self.inner;
        // Positions go back first, in one transaction with the note that a clear is under way: whatever happens next, the
        // records are read again from the log.
        inner.with("clearing the view", |connection| {
            let sources: Vec<String> = connection.smembers(inner.key("sources"))?;
            let mut pipe = redis::pipe();
            pipe.atomic().set(inner.key("clearing"), "1").ignore();
            for source in sources {
                let key = inner.key(&format!("pos:{source}"));
                pipe.hset(&key, "next_offset", ms_digits(0)).ignore();
                pipe.hdel(&key, &["watermark_ms", "observed_ms", "applied_ms"]).ignore();
            }
            pipe.query::<()>(connection)
        })?;
        inner.finish_clear()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::contract;
    use crate::redis_server::RedisServer;

    fn view(server: &RedisServer, name: &str) -> RedisView {
        RedisView::connect(&RedisViewOptions { name: name.into(), ..RedisViewOptions::new(server.url()) }).unwrap()
    }

    #[test]
    fn keeps_the_contract_of_view_stores() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        let mut made = 0;
        contract::run(&mut || {
            made += 1;
            Box::new(view(&server, &format!("v{made}")))
        });
        contract::survives(&mut || Box::new(view(&server, "kept")));
    }

    #[test]
    fn a_clear_touches_its_own_view_only_and_is_finished_when_interrupted() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        let (mut mine, mut other) = (view(&server, "mine"), view(&server, "other"));
        contract::fill(&mut mine);
        contract::fill(&mut other);
        mine.inner.with("test", |connection| connection.set::<_, _, ()>(mine.inner.key("clearing"), "1")).unwrap();
        let again = view(&server, "mine");
        assert_eq!(contract::bin_ids(&again), Vec::<String>::new());
        assert_eq!(contract::bin_ids(&other), ["b1", "b2"]);
    }

    #[test]
    fn an_outage_is_retryable_and_the_retry_applies_once() {
        let Some(mut server) = RedisServer::start() else {
            return;
        };
        let mut view = view(&server, "v");
        contract::fill(&mut view);
        server.stop();
        let error = view.apply(&contract::source(0), 1, 9, Progress::default(), vec![]).unwrap_err();
        assert!(matches!(error, ViewError::Unavailable { .. }) && error.is_retryable(), "{error}");
        // Nothing was saved: the restarted server is empty, and the view says so by its position.
        server.restart();
        let position = (0..50).find_map(|_| view.position(&contract::source(0)).ok()).expect("reconnects by itself");
        assert_eq!(position, None);
        contract::fill(&mut view);
        assert_eq!(contract::bin_ids(&view), ["b1", "b2"]);
    }

    #[test]
    fn unusable_addresses_and_names_are_refused() {
        let refused =
            |url: &str, name: &str| RedisView::connect(&RedisViewOptions { name: name.into(), timeout_ms: 300, ..RedisViewOptions::new(url) }).err().unwrap();
        assert!(matches!(refused("nonsense", "v"), ViewError::Invalid { .. }));
        assert!(matches!(refused("redis://127.0.0.1:1/", "a*"), ViewError::Invalid { .. }));
        assert!(matches!(refused("redis://127.0.0.1:1/", "v"), ViewError::Unavailable { .. }));
    }
}
