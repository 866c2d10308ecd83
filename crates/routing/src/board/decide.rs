//! Decisions of persons, applied to exactly the version that they were made about. What cannot be applied is told with
//! the reason; nothing is guessed.

use super::facts::{Decision, Facts};
use super::memo::{Issued, Memo};
use crate::plan::diff::{Cause, Causes, ChangeKind, ChangeReason, diff};
use crate::plan::problem::Lock;
use crate::plan::{Plan, Route};
use std::collections::BTreeMap;

/// What decisions led to.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// A proposal that is in force now.
    pub accepted: Option<Issued>,
    /// A proposal that a person refused.
    pub rejected: Option<Issued>,
    /// Sites and vehicles that decisions changed, for the reasons of changes.
    pub sites: BTreeMap<String, Cause>,
    pub vehicles: BTreeMap<String, Cause>,
    /// Whether the plan must be made anew.
    pub changed: bool,
}

/// Applies the decisions that were not looked at before, in the order in which they were made.
pub(super) fn apply(facts: &mut Facts, memo: &mut Memo, area: &str) -> Decided {
    let mut decided = Decided::default();
    let name = |d: &Decision| d.said.event_id.clone().unwrap_or_else(|| format!("{}/{}", d.said.at_ms, d.kind));
    for decision in facts.decisions.clone() {
        if !memo.decided.insert(name(&decision)) {
            continue;
        }
        if let Err((code, why)) = one(memo, &mut decided, area, &decision) {
            let words = format!("{} of {} version {} was not applied: {why}", decision.kind, decision.plan_id, decision.version);
            facts.trouble(code, "decision", &name(&decision), decision.said.event_id.as_deref(), words);
        }
    }
    // Those whose rows have left the board cannot come again.
    memo.decided.retain(|id| facts.decisions.iter().any(|d| name(d) == *id));
    decided
}

type Refused = (&'static str, String);

fn one(memo: &mut Memo, decided: &mut Decided, area: &str, d: &Decision) -> Result<(), Refused> {
    let current = |memo: &Memo| match (&memo.proposal, &memo.in_force) {
        (Some(p), Some(f)) => format!("version {} is proposed and version {} in force", p.version, f.version),
        (Some(p), None) => format!("version {} is proposed", p.version),
        (None, Some(f)) => format!("version {} is in force", f.version),
        (None, None) => "there is no plan".to_string(),
    };
    if d.plan_id != memo.plan_id(area) {
        return Err(("old_version", format!("the current plan is {}, {}", memo.plan_id(area), current(memo))));
    }
    let proposed = memo.proposal.as_ref().is_some_and(|p| p.version == d.version);
    let in_force = memo.in_force.as_ref().is_some_and(|p| p.version == d.version);
    if !proposed && !in_force {
        return Err(("old_version", format!("meanwhile {}", current(memo))));
    }
    let seen = if proposed { memo.proposal.clone() } else { memo.in_force.clone() };
    let Some(seen) = seen else { return Err(("old_version", current(memo))) };
    let cause = Cause { event_id: d.said.event_id.clone(), reason: ChangeReason::Decision };
    let of_stop = |site: &str| seen.plan.routes.iter().find(|r| r.sites().any(|(_, s)| s == site));
    let need_site = || d.site_id.clone().ok_or(("incomplete_decision", "it names no stop".to_string()));
    match (d.kind.as_str(), &d.site_id, &d.vehicle_id) {
        ("accepted", None, None) => {
            if proposed {
                memo.in_force = memo.proposal.take();
                decided.accepted = memo.in_force.clone();
            }
            return Ok(());
        }
        ("accepted", ..) => return Err(("not_supported", "plans are accepted as a whole: lock the stops that shall stay".into())),
        ("rejected", None, None) if in_force && !proposed => {
            return Err(("already_in_force", "it was accepted before: edit it, or reject what is proposed next".into()));
        }
        ("rejected", None, None) => {
            refuse(memo, &seen);
            memo.proposal = None;
            decided.rejected = Some(seen);
            // What is in force stays as it is.
            return Ok(());
        }
        ("rejected" | "cancelled", Some(site), _) => {
            if of_stop(site).is_none() {
                return Err(("unknown_stop", format!("the plan has no stop {site}")));
            }
            memo.locks.retain(|l| l.site_id != *site);
            memo.kept.remove(site);
            memo.excluded.insert(site.clone());
            decided.sites.insert(site.clone(), cause);
        }
        ("locked", None, Some(vehicle)) => {
            let Some(route) = seen.plan.routes.iter().find(|r| r.vehicle_id == *vehicle) else {
                return Err(("unknown_vehicle", format!("the plan has no route of {vehicle}")));
            };
            for (_, site) in route.sites() {
                lock(memo, site, vehicle, None);
                keep(memo, site);
                decided.sites.insert(site.to_owned(), cause.clone());
            }
        }
        ("locked", Some(site), vehicle) => {
            let of = of_stop(site).map(|r| r.vehicle_id.clone());
            let Some(vehicle) = vehicle.clone().or(of) else { return Err(("unknown_stop", format!("the plan has no stop {site}, and no vehicle is named"))) };
            lock(memo, site, &vehicle, None);
            keep(memo, site);
            decided.sites.insert(site.clone(), cause);
        }
        ("unlocked", Some(site), _) => {
            let (before, wanted) = (memo.locks.len(), memo.excluded.remove(site) | memo.kept.remove(site));
            memo.locks.retain(|l| l.site_id != *site);
            if before == memo.locks.len() && !wanted {
                return Err(("not_locked", format!("{site} was not locked")));
            }
            decided.sites.insert(site.clone(), cause);
        }
        ("unlocked", None, Some(vehicle)) => {
            for lock in memo.locks.extract_if(.., |l| l.vehicle_id == *vehicle) {
                memo.kept.remove(&lock.site_id);
            }
            decided.vehicles.insert(vehicle.clone(), cause);
        }
        ("edited" | "manual_override", ..) => {
            let site = need_site()?;
            let from = of_stop(&site);
            let vehicle = d.vehicle_id.clone().or(from.map(|r| r.vehicle_id.clone())).ok_or(("incomplete_decision", "it names no vehicle".to_string()))?;
            edit(memo, &seen.plan, &site, &vehicle, d.position)?;
            keep(memo, &site);
            decided.sites.insert(site, cause.clone());
            decided.vehicles.insert(vehicle, cause);
        }
        (kind, ..) => return Err(("not_supported", format!("`{kind}` of this part of a plan means nothing here"))),
    }
    decided.changed = true;
    Ok(())
}

fn lock(memo: &mut Memo, site: &str, vehicle: &str, order: Option<u32>) {
    memo.locks.retain(|l| l.site_id != site);
    memo.locks.push(Lock { site_id: site.to_owned(), vehicle_id: vehicle.to_owned(), order });
}

/// Where a person wants a stop, it is served, whether it pays or not: a lock that could be dropped would keep nothing.
fn keep(memo: &mut Memo, site: &str) {
    memo.excluded.remove(site);
    memo.kept.insert(site.to_owned());
}

/// A stop gets a place of its own: what stands before it in that route keeps its order, or it would not be that place any more.
fn edit(memo: &mut Memo, plan: &Plan, site: &str, vehicle: &str, position: Option<i64>) -> Result<(), Refused> {
    let Some(position) = position else {
        lock(memo, site, vehicle, None);
        return Ok(());
    };
    let position = usize::try_from(position).map_err(|_| ("incomplete_decision", format!("position {position} is below 0")))?;
    // Positions count all stops of the route, as `route.plan` shows them; the order is kept among sites.
    let none = Route { vehicle_id: vehicle.to_owned(), stops: Vec::new(), distance_m: 0.0 };
    let route = plan.routes.iter().find(|r| r.vehicle_id == vehicle).unwrap_or(&none);
    let others: Vec<(usize, &str)> = route.sites().filter(|(_, s)| *s != site).collect();
    let before = others.iter().take_while(|(place, _)| *place < position).count();
    let mut sites: Vec<&str> = others.iter().map(|(_, s)| *s).collect();
    sites.insert(before, site);
    for (order, site) in sites.iter().take(before + 1).enumerate() {
        lock(memo, site, vehicle, Some(order as u32));
    }
    Ok(())
}

/// What a refused proposal wanted is not proposed again on this day: its sites stay where they were, and the very same
/// change is known by its signature.
fn refuse(memo: &mut Memo, proposal: &Issued) {
    let Some(in_force) = memo.in_force.clone() else {
        memo.refused.insert(signature(None, &proposal.plan));
        return;
    };
    memo.refused.insert(signature(Some(&in_force.plan), &proposal.plan));
    for change in diff(&in_force.plan, &proposal.plan, &Causes::default()).changes {
        let Some(site) = change.site_id else { continue };
        match (change.kind, change.previous_vehicle_id) {
            (ChangeKind::StopAdded, _) => {
                memo.excluded.insert(site);
            }
            (ChangeKind::StopRemoved, _) => {
                memo.kept.insert(site);
            }
            (ChangeKind::VehicleChanged, Some(before)) if !memo.locks.iter().any(|l| l.site_id == site) => lock(memo, &site, &before, None),
            _ => {}
        }
    }
}

/// What is told of a change: which stops come, go and change hands; not when.
pub(super) fn signature(before: Option<&Plan>, after: &Plan) -> String {
    let empty = Plan { planning_area_id: after.planning_area_id.clone(), routes: Vec::new(), skipped: Vec::new(), cost: 0.0, distance_m: 0.0, duration_ms: 0 };
    let mut all: Vec<String> = diff(before.unwrap_or(&empty), after, &Causes::default())
        .changes
        .into_iter()
        .filter(|c| c.kind != ChangeKind::Retimed)
        .map(|c| {
            format!(
                "{}/{}/{}/{:?}",
                c.kind.code(),
                c.site_id.unwrap_or_default(),
                c.vehicle_id.unwrap_or_default(),
                c.position.filter(|_| c.kind == ChangeKind::StopMoved)
            )
        })
        .collect();
    all.sort();
    let hash = all.join("\n").bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
