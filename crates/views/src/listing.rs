//! Where a record stands in its keyspace's ordered index: bins, trucks and places by grid cell, raised alerts by time, risks
//! by probability.
//!
//! A record has at most one index entry. The rule for replacing it is plain enough to run in Rust and in a Redis script alike,
//! and it compares event times, so that replays and reordered parts end in the same index.

use crate::grid::Cell;
use crate::key::{SEPARATOR, ViewKey};

/// What an update does to its record's index entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listing {
    /// List under this entry, unless the present entry is of a later event time.
    List(String),
    /// List under this entry only when the record has none: for parts that do not know the place.
    IfAbsent(String),
    /// Take the record out of the index, unless the present entry is of a later event time.
    Unlist,
}

impl Listing {
    /// By place: known places replace, unknown ones only make sure that the record is listed at all.
    pub(crate) fn by_place(key: &ViewKey, place: Option<(f64, f64)>) -> Self {
        match place.and_then(|(latitude_deg, longitude_deg)| Cell::of(latitude_deg, longitude_deg)) {
            Some(cell) => Self::List(entry(&key.tenant, &cell.stored(), &key.id)),
            None => Self::IfAbsent(entry(&key.tenant, Cell::UNPLACED, &key.id)),
        }
    }

    /// By risk, the highest first.
    pub(crate) fn by_risk(key: &ViewKey, risk: Option<f64>) -> Self {
        Self::List(entry(&key.tenant, &risk_sort(risk.unwrap_or(0.0)), &key.id))
    }

    /// By time, newest first.
    pub(crate) fn by_time(key: &ViewKey, observed_ms: i64) -> Self {
        Self::List(entry(&key.tenant, &format!("{:019}", i64::MAX - observed_ms.max(0)), &key.id))
    }
}

/// Sort key of a probability, the highest first: 0 to 1 in steps of a millionth.
pub(crate) fn risk_sort(risk: f64) -> String {
    let millionths = if risk.is_finite() { (risk.clamp(0.0, 1.0) * 1e6).round() as u32 } else { 0 };
    format!("{:07}", 1_000_000 - millionths)
}

/// An index entry: tenant, sort key, id.
pub(crate) fn entry(tenant: &str, sort: &str, id: &str) -> String {
    format!("{tenant}{SEPARATOR}{sort}{SEPARATOR}{id}")
}

/// Takes an index entry apart.
pub(crate) fn split_entry(entry: &str) -> Option<(&str, &str, &str)> {
    let mut pieces = entry.splitn(3, SEPARATOR);
    Some((pieces.next()?, pieces.next()?, pieces.next()?))
}

/// The present index entry of a record, stored beside its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Event time of the part that decided.
    pub(crate) observed_ms: i64,
    /// The entry; empty when the record was taken out.
    pub(crate) entry: String,
}

/// What to do with the index: `None` leaves it, otherwise the new state.
pub(crate) fn relist(present: Option<&Listed>, listing: &Listing, observed_ms: i64) -> Option<Listed> {
    let newest = present.is_none_or(|listed| observed_ms >= listed.observed_ms);
    match listing {
        Listing::List(entry) if newest => Some(Listed { observed_ms, entry: entry.clone() }),
        Listing::Unlist if newest => Some(Listed { observed_ms, entry: String::new() }),
        // Event time 0: any part that knows the place replaces this one.
        Listing::IfAbsent(entry) if present.is_none() => Some(Listed { observed_ms: 0, entry: entry.clone() }),
        Listing::IfAbsent(entry) => present.filter(|listed| listed.entry.is_empty() && newest).map(|listed| Listed { entry: entry.clone(), ..*listed }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(observed_ms: i64, entry: &str) -> Listed {
        Listed { observed_ms, entry: entry.into() }
    }

    #[test]
    fn a_later_event_time_replaces_an_earlier_one_and_never_the_other_way_round() {
        let to_b = Listing::List("b".into());
        assert_eq!(relist(None, &to_b, 5), Some(listed(5, "b")));
        assert_eq!(relist(Some(&listed(5, "a")), &to_b, 6), Some(listed(6, "b")));
        assert_eq!(relist(Some(&listed(5, "a")), &to_b, 4), None);
        assert_eq!(relist(Some(&listed(5, "a")), &Listing::Unlist, 4), None);
        assert_eq!(relist(Some(&listed(5, "a")), &Listing::Unlist, 5), Some(listed(5, "")));
    }

    #[test]
    fn a_part_without_a_place_never_moves_a_placed_record() {
        let unplaced = Listing::IfAbsent("unplaced".into());
        assert_eq!(relist(Some(&listed(5, "a")), &unplaced, 9), None);
        assert_eq!(relist(None, &unplaced, 9), Some(listed(0, "unplaced")));
        assert_eq!(relist(Some(&listed(0, "unplaced")), &Listing::List("a".into()), 3), Some(listed(3, "a")));
    }

    #[test]
    fn newer_alerts_sort_first() {
        let key = |id: &str| ViewKey { keyspace: crate::Keyspace::Alert, tenant: "t".into(), id: id.into() };
        let (Listing::List(older), Listing::List(newer)) = (Listing::by_time(&key("a"), 1_000), Listing::by_time(&key("b"), 2_000)) else {
            panic!("both are listed");
        };
        assert!(newer < older);
        assert_eq!(split_entry(&newer).map(|(tenant, _, id)| (tenant, id)), Some(("t", "b")));
    }
}
