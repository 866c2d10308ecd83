//! What has been done of a plan so far. A plan's own figures are those of the moment when it was made, and a day that goes as
//! planned makes no new one: what crews reported since is added to its stops when it is read.
//!
//! Of a stop that the plan itself tells as driven the plan is believed. It has no reason, since nobody chose it, and is over. Of a
//! stop that lay ahead, what was done before the plan was made says nothing: the site may be due again, or for other containers.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use serde_json::{Value, json};
use ws_views::{Keyspace, Part, Record, ViewKey};

use crate::ApiError;
use crate::state::ApiState;

/// A crew's own report may be so much older than the plan and unknown to it.
const UNHEARD_MS: i64 = 3_600_000;

/// Adds to every site stop of a plan its `visit` (`outcome`, `at`, `vehicle_id`, `reason`; null before anybody came), and to every
/// route `so_far`: its sites, how many of them are `served`, were visited in vain (`not_served`) and are left (`to_go`).
pub(crate) async fn add(state: &ApiState, tenant: &str, plan: &mut Value) -> Result<(), ApiError> {
    let sites: BTreeSet<String> = routes(plan).flat_map(stops).filter_map(|stop| stop["site_id"].as_str().map(str::to_owned)).collect();
    let keys: Vec<ViewKey> = sites.into_iter().filter_map(|site| ViewKey::new(Keyspace::Visit, tenant, site).ok()).collect();
    let (records, _) = state.fresh(move |views| views.get_many(&keys)).await?;
    let visits: HashMap<&str, &Record> = records.iter().map(|record| (record.key.id.as_str(), record)).collect();
    let time = |value: &Value, field: &str| value[field].as_i64();
    let (made_ms, day_ms, end_ms) = (time(plan, "observed_at").unwrap_or(0), time(plan, "valid_from").unwrap_or(i64::MAX), time(plan, "valid_to").unwrap_or(0));
    for route in plan["routes"].as_array_mut().into_iter().flatten() {
        // A crew may set out before the day begins.
        let from_ms = time(route, "starts_at").map_or(day_ms, |starts_ms| starts_ms.min(day_ms));
        let set_out = !route["driven"].is_null();
        let vehicle = route["vehicle_id"].as_str().unwrap_or_default().to_owned();
        let (mut sites, mut served, mut in_vain) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for stop in route["stops"].as_array_mut().into_iter().flatten().filter(|stop| stop["kind"] == "site") {
            let Some(site) = stop["site_id"].as_str().map(str::to_owned) else { continue };
            let leaves_ms = time(stop, "leaves_at").filter(|ms| set_out && *ms <= made_ms && stop["reason"].is_null());
            let visit = match leaves_ms {
                Some(ms) => Some(json!({"outcome": "served", "at": ms, "vehicle_id": vehicle, "reason": null})),
                None => visits.get(site.as_str()).and_then(|record| last(record, from_ms.max(made_ms - UNHEARD_MS)..end_ms, made_ms, &vehicle)),
            };
            match visit.as_ref().map(|visit| served_there(&visit["outcome"])) {
                Some(true) => served.insert(site.clone()),
                Some(false) => in_vain.insert(site.clone()),
                None => false,
            };
            sites.insert(site);
            stop["visit"] = visit.unwrap_or_default();
        }
        route["so_far"] =
            json!({"sites": sites.len(), "served": served.len(), "not_served": in_vain.len(), "to_go": sites.len() - served.len() - in_vain.len()});
    }
    Ok(())
}

fn routes(plan: &Value) -> impl Iterator<Item = &Value> {
    plan["routes"].as_array().into_iter().flatten()
}

fn stops(route: &Value) -> impl Iterator<Item = &Value> {
    route["stops"].as_array().into_iter().flatten()
}

fn served_there(outcome: &Value) -> bool {
    outcome == "served" || outcome == "partial"
}

/// What was done at a site in a time: an emptying by whichever vehicle, else this one's visit in vain. Another crew's visit in
/// vain says nothing about a stop that is still ahead, nor does what others did before the plan was made.
fn last(record: &Record, times: Range<i64>, made_ms: i64, vehicle: &str) -> Option<Value> {
    let counts =
        |visit: &&Value| visit["observed_at"].as_i64().is_some_and(|at_ms| times.contains(&at_ms) && (at_ms >= made_ms || visit["vehicle_id"] == vehicle));
    let of = |part| record.document(part).filter(counts);
    let visit = of(Part::Served).or_else(|| of(Part::NotServed).filter(|visit| visit["vehicle_id"] == vehicle))?;
    Some(json!({"outcome": visit["outcome"], "at": visit["observed_at"], "vehicle_id": visit["vehicle_id"], "reason": visit["reason"]}))
}
