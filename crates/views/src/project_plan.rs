//! Plans, their changes and problems as updates. A plan in force and a proposal are parts of one record, so that a view
//! shows both at once; what supersedes what is seen by comparing their versions ([`pending`]).

use serde_json::{Value, json};

use crate::key::{Keyspace, Part, ViewKey};
use crate::project::event_time_ms;
use crate::update::Update;

/// The updates of a row of `route.plan`, `route.change` or `route.problem`.
pub(crate) fn project(topic: &str, value: &Value) -> Result<Vec<Update>, String> {
    let need = |field: &str| value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or_else(|| format!("{field} is missing"));
    let (tenant, area) = (need("tenant")?, need("planning_area_id")?);
    let observed_ms = value.get("observed_at").and_then(event_time_ms).ok_or("observed_at is not a time in UTC ms")?;
    let key = |keyspace: Keyspace, id: String| ViewKey::new(keyspace, tenant, id).map_err(|error| error.to_string());
    match topic {
        "route.change" => {
            let number = need("event_id")?.rsplit('-').next().unwrap_or_default();
            Ok(vec![Update::put(key(Keyspace::Change, format!("{area}/{number}"))?, Part::Change, observed_ms, value)])
        }
        "route.problem" => {
            let id = format!("{area}/{}/{}", need("code")?, need("entity_id").unwrap_or(area));
            Ok(vec![Update::put(key(Keyspace::Problem, id)?, Part::Problem, observed_ms, value)])
        }
        _ => {
            let of_area = key(Keyspace::Plan, area.to_owned())?;
            let part = match need("state")? {
                "accepted" | "active" => Part::InForce,
                "completed" => Part::Completed,
                _ => Part::Proposal,
            };
            let mut updates = vec![Update::put(of_area, part, observed_ms, value)];
            if part == Part::InForce {
                let duty = json!({"planning_area_id": area, "plan_id": value.get("plan_id"), "plan_version": value.get("plan_version"), "valid_to": value.get("valid_to")});
                for route in value.get("routes").and_then(Value::as_array).into_iter().flatten() {
                    if let Some(vehicle) = route.get("vehicle_id").and_then(Value::as_str) {
                        updates.push(Update::put(key(Keyspace::Truck, vehicle.to_owned())?, Part::Duty, observed_ms, &duty));
                    }
                }
            }
            Ok(updates)
        }
    }
}

/// Whether a proposal waits for a decision: it is one, and nothing newer is in force.
pub fn pending(in_force: Option<&Value>, proposal: &Value) -> bool {
    let version = |plan: &Value| plan.get("plan_version").and_then(Value::as_i64).unwrap_or(0);
    let day = |plan: &Value| plan.get("valid_from").and_then(event_time_ms).unwrap_or(0);
    let newer = |now: &Value| if now.get("plan_id") == proposal.get("plan_id") { version(proposal) > version(now) } else { day(proposal) > day(now) };
    proposal.get("state").and_then(Value::as_str) == Some("proposed") && in_force.is_none_or(newer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(state: &str, id: &str, version: i64) -> Value {
        json!({"tenant": "t", "planning_area_id": "north", "observed_at": 5, "event_id": "e", "plan_id": id, "plan_version": version, "state": state,
            "valid_from": if id == "a" { 1 } else { 2 }, "valid_to": 9, "routes": [{"vehicle_id": "v1"}, {"vehicle_id": "v2"}]})
    }

    #[test]
    fn states_are_parts_of_the_areas_record_and_vehicles_know_their_plan() {
        let keys = |topic: &str, v: Value| project(topic, &v).unwrap().iter().map(|u| format!("{} {}", u.key(), u.part().as_str())).collect::<Vec<_>>();
        assert_eq!(keys("route.plan", plan("proposed", "a", 1)), ["plan/t/north proposal"]);
        assert_eq!(keys("route.plan", plan("rejected", "a", 1)), ["plan/t/north proposal"]);
        assert_eq!(keys("route.plan", plan("completed", "a", 1)), ["plan/t/north completed"]);
        assert_eq!(keys("route.plan", plan("accepted", "a", 1)), ["plan/t/north in_force", "truck/t/v1 duty", "truck/t/v2 duty"]);
        let mut change = plan("", "a", 1);
        change["event_id"] = json!("route/planned/north/7/change-3-12");
        assert_eq!(keys("route.change", change), ["change/t/north/12 change"]);
        let mut problem = plan("", "a", 1);
        (problem["code"], problem["entity_id"]) = (json!("old_version"), json!("d1"));
        assert_eq!(keys("route.problem", problem), ["problem/t/north/old_version/d1 problem"]);
        assert!(project("route.plan", &json!({"tenant": "t", "observed_at": 1})).unwrap_err().contains("planning_area_id"));
    }

    #[test]
    fn a_proposal_is_pending_until_something_newer_is_in_force_or_it_was_refused() {
        let proposed = plan("proposed", "a", 3);
        assert!(pending(None, &proposed) && pending(Some(&plan("accepted", "a", 2)), &proposed));
        assert!(!pending(Some(&plan("accepted", "a", 3)), &proposed), "it was accepted");
        assert!(!pending(Some(&plan("accepted", "b", 1)), &proposed), "another day");
        assert!(pending(Some(&plan("accepted", "a", 9)), &plan("proposed", "b", 1)));
        assert!(!pending(None, &plan("rejected", "a", 3)));
    }
}
