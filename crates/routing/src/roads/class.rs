//! Classes of roads and what is assumed of one whose speed nobody told.

use serde::{Deserialize, Serialize};

/// Class of a road, from fast to slow; names as OpenStreetMap's `highway` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum RoadClass {
    /// Grade-separated, no direct access.
    Motorway,
    /// Important roads that are no motorways.
    Trunk,
    /// Between large districts.
    Primary,
    /// Between districts.
    Secondary,
    /// Between quarters.
    Tertiary,
    /// Minor through roads.
    Unclassified,
    /// Streets of homes.
    Residential,
    /// Streets shared with people on foot.
    LivingStreet,
    /// Access to buildings, yards and car parks.
    Service,
}

impl RoadClass {
    /// All classes, in order.
    pub const ALL: [RoadClass; 9] = [
        RoadClass::Motorway,
        RoadClass::Trunk,
        RoadClass::Primary,
        RoadClass::Secondary,
        RoadClass::Tertiary,
        RoadClass::Unclassified,
        RoadClass::Residential,
        RoadClass::LivingStreet,
        RoadClass::Service,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            RoadClass::Motorway => "motorway",
            RoadClass::Trunk => "trunk",
            RoadClass::Primary => "primary",
            RoadClass::Secondary => "secondary",
            RoadClass::Tertiary => "tertiary",
            RoadClass::Unclassified => "unclassified",
            RoadClass::Residential => "residential",
            RoadClass::LivingStreet => "living_street",
            RoadClass::Service => "service",
        }
    }

    /// The class that a `highway` value names; links count as the road they lead to. `None` where no truck drives.
    pub fn of_highway(highway: &str) -> Option<RoadClass> {
        let road = highway.strip_suffix("_link").unwrap_or(highway);
        match road {
            "road" | "busway" => Some(RoadClass::Unclassified),
            "track" => Some(RoadClass::Service),
            _ => RoadClass::ALL.into_iter().find(|class| class.name() == road),
        }
    }

    /// What a heavy truck drives there when nothing is in the way and no limit was told, m/s. The figures follow the truck
    /// and car profiles of OSRM and GraphHopper, capped at 80 km/h.
    pub fn usual_mps(self) -> f64 {
        let kmh = match self {
            RoadClass::Motorway => 80.0,
            RoadClass::Trunk => 70.0,
            RoadClass::Primary => 55.0,
            RoadClass::Secondary => 50.0,
            RoadClass::Tertiary => 40.0,
            RoadClass::Unclassified => 35.0,
            RoadClass::Residential => 28.0,
            RoadClass::LivingStreet => 10.0,
            RoadClass::Service => 15.0,
        };
        kmh / 3.6
    }

    /// Share of a signed limit that is driven on average: crossings and bends cost more on small roads.
    pub fn share_of_limit(self) -> f64 {
        match self {
            RoadClass::Motorway | RoadClass::Trunk => 0.95,
            RoadClass::Primary | RoadClass::Secondary => 0.9,
            RoadClass::Tertiary | RoadClass::Unclassified => 0.8,
            RoadClass::Residential | RoadClass::LivingStreet | RoadClass::Service => 0.7,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highways_have_classes_and_paths_have_none() {
        assert_eq!(RoadClass::of_highway("motorway_link"), Some(RoadClass::Motorway));
        assert_eq!(RoadClass::of_highway("living_street"), Some(RoadClass::LivingStreet));
        for path in ["footway", "cycleway", "steps", "proposed", ""] {
            assert_eq!(RoadClass::of_highway(path), None, "{path}");
        }
        for class in RoadClass::ALL {
            assert_eq!(RoadClass::of_highway(class.name()), Some(class));
            assert!(class.usual_mps() > 2.0 && class.share_of_limit() <= 1.0);
        }
    }
}
