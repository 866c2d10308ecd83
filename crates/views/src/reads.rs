//! The questions a view answers, over any backend: one record, bins in a bounding box, lists, counts. Each answer carries its
//! freshness; lists come in pages with a cursor and are bounded in rows returned and rows looked at.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::backend::{Backend, Session};
use crate::freshness::Freshness;
use crate::grid::{BoundingBox, CellRange, Step};
use crate::key::{Keyspace, Part, SEPARATOR, ViewKey};
use crate::listing::{entry, risk_sort, split_entry};
use crate::summary::BinSummary;
use crate::{MAX_PAGE_ROWS, MAX_SCAN_ROWS, MAX_TENANTS, ViewError};

/// Index entries fetched at once.
const CHUNK_ROWS: usize = 512;

/// A value and how fresh it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// The positions behind it; the answer is at least this fresh.
    pub freshness: Freshness,
}

/// A record with all its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its key.
    pub key: ViewKey,
    /// Event time (UTC ms) and document per part; `None` for a deleted part.
    pub parts: BTreeMap<Part, (i64, Option<Value>)>,
}

impl Record {
    /// The document of a part.
    pub fn document(&self, part: Part) -> Option<&Value> {
        self.parts.get(&part)?.1.as_ref()
    }

    /// The event time of a part, UTC ms.
    pub fn observed_ms(&self, part: Part) -> Option<i64> {
        self.parts.get(&part).map(|stored| stored.0)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Where to go on; none at the end. A page may be short, even empty, and still have a cursor.
    pub cursor: Option<String>,
}

/// Which bins to list; all conditions must hold. Bins that lack a field do not match a condition on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BinFilter {
    /// Only this waste stream.
    pub waste_stream: Option<String>,
    /// Only this sensor health.
    pub sensor_health: Option<String>,
    /// Only this site.
    pub site_id: Option<String>,
    /// Only bins at or above this level (0–1).
    pub level_at_least: Option<f64>,
    /// Only bins whose median hours to full are below this.
    pub hours_to_full_below: Option<f64>,
    /// Only forecasts of this rung.
    pub rung: Option<String>,
}

impl BinFilter {
    fn matches(&self, bin: &BinSummary) -> bool {
        let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        same(&self.waste_stream, &bin.waste_stream)
            && same(&self.sensor_health, &bin.sensor_health)
            && same(&self.site_id, &bin.site_id)
            && same(&self.rung, &bin.rung)
            && self.level_at_least.is_none_or(|limit| bin.filling_level.is_some_and(|level| level >= limit))
            && self.hours_to_full_below.is_none_or(|limit| bin.hours_to_full_p50.is_some_and(|hours| hours < limit))
    }
}

/// A list of a keyspace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListQuery {
    /// One tenant, or all.
    pub tenant: Option<String>,
    /// Most records to return; at most [`MAX_PAGE_ROWS`].
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A list of bins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BinQuery {
    /// Tenant, limit and cursor.
    pub list: ListQuery,
    /// Only bins in this area; bins without a known place are listed only when it is none.
    pub bounds: Option<BoundingBox>,
    /// Further conditions.
    pub filter: BinFilter,
}

/// How many records are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Bins.
    pub bins: u64,
    /// Raised alerts.
    pub alerts: u64,
    /// Trucks.
    pub trucks: u64,
    /// Sites.
    pub sites: u64,
    /// Facilities.
    pub facilities: u64,
    /// Customers with a risk of leaving.
    pub churn_risks: u64,
    /// Parts of vehicles with a risk of failure.
    pub maintenance_risks: u64,
}

/// Reads of a view; implemented for every store.
pub trait ViewReads: Send + Sync {
    /// One record. Without a tenant the id must be unique among tenants.
    ///
    /// # Errors
    /// [`ViewError::Ambiguous`], or when the store cannot be read.
    fn get(&self, keyspace: Keyspace, tenant: Option<&str>, id: &str) -> Result<Read<Option<Record>>, ViewError>;

    /// The records under these keys that exist, in their order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get_many(&self, keys: &[ViewKey]) -> Result<Read<Vec<Record>>, ViewError>;

    /// Bins in an area, ordered by tenant and grid cell.
    ///
    /// # Errors
    /// [`ViewError::BadCursor`], or when the store cannot be read.
    fn bins(&self, query: &BinQuery) -> Result<Read<Page>, ViewError>;

    /// Records of a keyspace: alerts newest first within a tenant, risks the highest first, everything else by grid cell. Cleared
    /// alerts are left out.
    ///
    /// # Errors
    /// [`ViewError::BadCursor`], or when the store cannot be read.
    fn list(&self, keyspace: Keyspace, query: &ListQuery) -> Result<Read<Page>, ViewError>;

    /// Risks of at least `least`, the highest first within a tenant.
    ///
    /// # Errors
    /// [`ViewError::BadCursor`], or when the store cannot be read.
    fn risks(&self, keyspace: Keyspace, query: &ListQuery, least: f64) -> Result<Read<Page>, ViewError>;

    /// How many records are listed, of one tenant or of all.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn counts(&self, tenant: Option<&str>) -> Result<Read<Counts>, ViewError>;

    /// How fresh the view is.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn freshness(&self) -> Result<Freshness, ViewError>;
}

impl<B: Backend> ViewReads for B {
    fn get(&self, keyspace: Keyspace, tenant: Option<&str>, id: &str) -> Result<Read<Option<Record>>, ViewError> {
        let mut session = self.session()?;
        let freshness = Freshness::of(session.positions()?);
        let tenants = tenants(&mut *session, tenant)?;
        let keys: Vec<ViewKey> = tenants.into_iter().filter_map(|tenant| ViewKey::new(keyspace, tenant, id).ok()).collect();
        let mut found: Vec<Record> = session.records(&keys)?.into_iter().flatten().collect();
        if found.len() > 1 {
            return Err(ViewError::Ambiguous { id: id.into(), tenants: found.len() });
        }
        Ok(Read { value: found.pop(), freshness })
    }

    fn get_many(&self, keys: &[ViewKey]) -> Result<Read<Vec<Record>>, ViewError> {
        let mut session = self.session()?;
        let freshness = Freshness::of(session.positions()?);
        let mut value = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK_ROWS) {
            value.extend(session.records(chunk)?.into_iter().flatten());
        }
        Ok(Read { value, freshness })
    }

    fn bins(&self, query: &BinQuery) -> Result<Read<Page>, ViewError> {
        let range = query.bounds.as_ref().map_or(Walk::All, |bounds| Walk::Cells(CellRange::of(bounds)));
        scan(self, Keyspace::Bin, &query.list, range, |record| {
            let bin = BinSummary::of(record);
            let inside = query.bounds.is_none_or(|bounds| bin.latitude_deg.zip(bin.longitude_deg).is_some_and(|(lat, lon)| bounds.contains(lat, lon)));
            inside && query.filter.matches(&bin)
        })
    }

    fn list(&self, keyspace: Keyspace, query: &ListQuery) -> Result<Read<Page>, ViewError> {
        scan(self, keyspace, query, Walk::All, |_| true)
    }

    fn risks(&self, keyspace: Keyspace, query: &ListQuery, least: f64) -> Result<Read<Page>, ViewError> {
        let enough = |record: &Record| record.document(Part::Risk).and_then(|risk| risk.get("risk")?.as_f64()).is_some_and(|risk| risk >= least);
        scan(self, keyspace, query, Walk::Until(risk_sort(least)), enough)
    }

    fn counts(&self, tenant: Option<&str>) -> Result<Read<Counts>, ViewError> {
        let mut session = self.session()?;
        let freshness = Freshness::of(session.positions()?);
        let mut count = |keyspace| session.count(keyspace, tenant);
        let value = Counts {
            bins: count(Keyspace::Bin)?,
            alerts: count(Keyspace::Alert)?,
            trucks: count(Keyspace::Truck)?,
            sites: count(Keyspace::Site)?,
            facilities: count(Keyspace::Facility)?,
            churn_risks: count(Keyspace::ChurnRisk)?,
            maintenance_risks: count(Keyspace::MaintenanceRisk)?,
        };
        Ok(Read { value, freshness })
    }

    fn freshness(&self) -> Result<Freshness, ViewError> {
        Ok(Freshness::of(self.session()?.positions()?))
    }
}

/// Which part of a tenant's index is looked at.
enum Walk {
    All,
    /// What lies in these cells.
    Cells(CellRange),
    /// Entries up to this sort key.
    Until(String),
}

impl Walk {
    fn start(&self) -> String {
        if let Walk::Cells(range) = self { range.start() } else { String::new() }
    }

    fn step(&self, sort: &str) -> Step {
        match self {
            Walk::All => Step::Inside,
            Walk::Cells(range) => range.step(sort),
            Walk::Until(last) if sort <= last.as_str() => Step::Inside,
            Walk::Until(_) => Step::End,
        }
    }
}

fn tenants(session: &mut dyn Session, wanted: Option<&str>) -> Result<Vec<String>, ViewError> {
    match wanted {
        Some(tenant) => Ok(vec![tenant.to_owned()]),
        None => Ok(session.tenants()?.into_iter().take(MAX_TENANTS).collect()),
    }
}

/// Walks the index tenant by tenant and collects matching records until the page is full or enough was looked at.
fn scan(backend: &dyn Backend, keyspace: Keyspace, query: &ListQuery, walk: Walk, matches: impl Fn(&Record) -> bool) -> Result<Read<Page>, ViewError> {
    let limit = query.limit.clamp(1, MAX_PAGE_ROWS);
    let after = query.cursor.as_deref().map(cursor_entry).transpose()?;
    let after_tenant = after.as_deref().and_then(|after| after.split(SEPARATOR).next()).map(str::to_owned);
    let mut session = backend.session()?;
    let freshness = Freshness::of(session.positions()?);
    let mut page = Page { records: Vec::new(), cursor: None };
    let mut looked_at = 0;

    'tenants: for tenant in tenants(&mut *session, query.tenant.as_deref())? {
        let end = format!("{tenant}{}", char::from(SEPARATOR as u8 + 1));
        let start = entry(&tenant, &walk.start(), "");
        // Entries hold no characters below the separator, so this is the next possible entry.
        let mut from = match &after_tenant {
            Some(before) if *before > tenant => continue,
            Some(before) if *before == tenant => after.as_ref().map_or(start, |after| format!("{after}{SEPARATOR}")),
            _ => start,
        };
        loop {
            let entries = session.entries_from(keyspace, &from, CHUNK_ROWS)?;
            let full_chunk = entries.len() == CHUNK_ROWS;
            let mut candidates = Vec::new();
            let mut seek = None;
            let mut ended = !full_chunk;
            for found in entries {
                looked_at += 1;
                let Some((_, sort, id)) = split_entry(&found).filter(|_| found < end) else {
                    ended = true;
                    break;
                };
                match walk.step(sort) {
                    Step::Inside => {
                        from = format!("{found}{SEPARATOR}");
                        candidates.push((ViewKey { keyspace, tenant: tenant.clone(), id: id.to_owned() }, found));
                    }
                    Step::Seek(sort) => {
                        seek = Some(entry(&tenant, &sort, ""));
                        break;
                    }
                    Step::End => {
                        ended = true;
                        break;
                    }
                }
            }
            let keys: Vec<ViewKey> = candidates.iter().map(|candidate| candidate.0.clone()).collect();
            for (record, (_, found)) in session.records(&keys)?.into_iter().zip(candidates) {
                // A record may have gone between index and value; it is then not listed any more.
                if let Some(record) = record.filter(|record| matches(record)) {
                    page.records.push(record);
                    if page.records.len() == limit {
                        page.cursor = Some(cursor_of(&found));
                        break 'tenants;
                    }
                }
            }
            if let Some(seek) = seek {
                from = seek;
            } else if ended {
                break;
            }
            if looked_at >= MAX_SCAN_ROWS {
                page.cursor = Some(cursor_of(from.trim_end_matches(SEPARATOR)));
                break 'tenants;
            }
        }
    }
    Ok(Read { value: page, freshness })
}

/// Cursors are index entries in hexadecimal: opaque, and safe in a URL.
fn cursor_of(entry: &str) -> String {
    entry.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn cursor_entry(cursor: &str) -> Result<String, ViewError> {
    if !cursor.len().is_multiple_of(2) || cursor.len() > 4096 || !cursor.is_ascii() {
        return Err(ViewError::BadCursor);
    }
    let bytes: Result<Vec<u8>, _> = (0..cursor.len()).step_by(2).map(|at| u8::from_str_radix(&cursor[at..at + 2], 16)).collect();
    let entry = String::from_utf8(bytes.map_err(|_| ViewError::BadCursor)?).map_err(|_| ViewError::BadCursor)?;
    if entry.contains(SEPARATOR) { Ok(entry) } else { Err(ViewError::BadCursor) }
}
