//! Plans in few bytes: a memo holds two of them, and has a limit. Tuples instead of named fields, one letter for what is done.

use crate::plan::answer::{Route, SkipReason, Skipped, Stop, StopKind};
use crate::plan::problem::{Load, ServiceReason};
use crate::plan::{Plan, travel::Location};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Kind and id, place, arrival, time until departure, kilograms and litres by stream, locked, reason.
#[derive(Serialize, Deserialize)]
struct PackedStop(char, String, Option<Location>, i64, i64, Vec<f64>, u8, Option<ServiceReason>);

#[derive(Serialize, Deserialize)]
struct PackedRoute(String, f64, Vec<PackedStop>);

#[derive(Serialize, Deserialize)]
struct PackedSkip(String, SkipReason, Option<f64>, Option<f64>);

/// Area, cost, metres, milliseconds, routes, skipped.
#[derive(Serialize, Deserialize)]
struct PackedPlan(String, f64, f64, i64, Vec<PackedRoute>, Vec<PackedSkip>);

fn pack(stop: &Stop) -> PackedStop {
    let (kind, id) = match &stop.kind {
        StopKind::Site { site_id } => ('s', site_id.clone()),
        StopKind::Disposal { facility_id } => ('f', facility_id.clone()),
        StopKind::Depot { depot_id } => ('d', depot_id.clone()),
        StopKind::Lunch => ('l', String::new()),
    };
    let load = stop.load.iter().flat_map(|l| [l.kg, l.l]).collect();
    PackedStop(kind, id, stop.location, stop.arrives_ms, stop.leaves_ms - stop.arrives_ms, load, u8::from(stop.locked), stop.reason)
}

fn unpack(stop: PackedStop) -> Option<Stop> {
    let PackedStop(kind, id, location, arrives_ms, stays_ms, load, locked, reason) = stop;
    let kind = match kind {
        's' => StopKind::Site { site_id: id },
        'f' => StopKind::Disposal { facility_id: id },
        'd' => StopKind::Depot { depot_id: id },
        'l' => StopKind::Lunch,
        _ => return None,
    };
    let load = load.chunks_exact(2).map(|pair| Load { kg: pair[0], l: pair[1] }).collect();
    Some(Stop { kind, location, arrives_ms, leaves_ms: arrives_ms.checked_add(stays_ms)?, load, locked: locked != 0, reason })
}

/// Writes a plan.
pub(super) fn serialize<S: Serializer>(plan: &Plan, to: S) -> Result<S::Ok, S::Error> {
    let routes = plan.routes.iter().map(|r| PackedRoute(r.vehicle_id.clone(), r.distance_m, r.stops.iter().map(pack).collect())).collect();
    let skipped = plan.skipped.iter().map(|s| PackedSkip(s.site_id.clone(), s.reason, s.insertion_cost, s.p_overflow)).collect();
    PackedPlan(plan.planning_area_id.clone(), plan.cost, plan.distance_m, plan.duration_ms, routes, skipped).serialize(to)
}

/// Reads it again.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Plan, D::Error> {
    let PackedPlan(planning_area_id, cost, distance_m, duration_ms, routes, skipped) = PackedPlan::deserialize(from)?;
    let mut all = Vec::with_capacity(routes.len());
    for PackedRoute(vehicle_id, distance_m, stops) in routes {
        let stops = stops.into_iter().map(unpack).collect::<Option<Vec<Stop>>>().ok_or_else(|| D::Error::custom("a stop of no known kind"))?;
        all.push(Route { vehicle_id, stops, distance_m });
    }
    let skipped = skipped.into_iter().map(|PackedSkip(site_id, reason, insertion_cost, p_overflow)| Skipped { site_id, reason, insertion_cost, p_overflow });
    Ok(Plan { planning_area_id, routes: all, skipped: skipped.collect(), cost, distance_m, duration_ms })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::memo::rounded;
    use crate::plan::Plan;
    use crate::plan::testkit::{day, solved};
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Held(#[serde(with = "super")] Plan);

    #[test]
    fn a_plan_comes_back_as_it_was_from_less_than_half_the_bytes() {
        let held = Held(rounded(solved(&day(3, 30), 100)));
        let bytes = serde_json::to_vec(&held).unwrap();
        assert_eq!(serde_json::from_slice::<Held>(&bytes).unwrap(), held);
        assert!(bytes.len() * 2 < serde_json::to_vec(&held.0).unwrap().len(), "{}", bytes.len());
        let text = String::from_utf8(bytes).unwrap();
        assert!(serde_json::from_str::<Held>(&text.replacen("\"s\"", "\"x\"", 1)).is_err());
    }
}
