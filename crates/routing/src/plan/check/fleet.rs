//! Across plans: a vehicle is in one current plan. Each area is planned on its own, so no plan alone can show this.

use std::collections::BTreeMap;

use super::super::answer::Plan;

/// A vehicle that several current plans want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetConflict {
    /// The vehicle.
    pub vehicle_id: String,
    /// The areas whose plans have a route for it, in the order given.
    pub planning_area_ids: Vec<String>,
}

/// Vehicles that are in more than one of `current`, the newest accepted plans of all areas. Hand the plan to be accepted
/// together with those of the other areas; in each conflict the plan that came later must be made anew without the vehicle.
pub fn check_fleet(current: &[&Plan]) -> Vec<FleetConflict> {
    let mut areas: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for plan in current {
        for route in plan.routes.iter().filter(|route| !route.stops.is_empty()) {
            areas.entry(&route.vehicle_id).or_default().push(plan.planning_area_id.clone());
        }
    }
    let conflicts = areas.into_iter().filter(|(_, areas)| areas.len() > 1);
    conflicts.map(|(vehicle_id, planning_area_ids)| FleetConflict { vehicle_id: vehicle_id.to_owned(), planning_area_ids }).collect()
}
