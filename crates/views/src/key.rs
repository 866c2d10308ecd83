//! Names of things in a view: `keyspace/tenant/id`, and the parts a record is made of.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{MAX_ID_BYTES, ViewError};

/// Separates tenant, cell and id inside stored keys; ids may not contain it.
pub(crate) const SEPARATOR: char = '\0';

/// What kind of record a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keyspace {
    /// One bin, by the id of its device: features and forecast.
    Bin,
    /// One alert of a device: `device/alert`.
    Alert,
    /// One vehicle: position and status.
    Truck,
    /// One site where containers stand.
    Site,
    /// One depot, disposal site or other facility.
    Facility,
    /// One customer: how likely they leave.
    ChurnRisk,
    /// One part of a vehicle, `vehicle/part`: how likely it fails.
    MaintenanceRisk,
    /// The plans of one planning area: in force, proposed, completed.
    Plan,
    /// One difference of an area's newest plan: `area/number`. A newer plan's differences take the places of the older ones'.
    Change,
    /// What kept something out of an area's plan: `area/code/entity`.
    Problem,
    /// What was last done at one site, by the id of the site.
    Visit,
}

impl Keyspace {
    /// All keyspaces, in the order of their indexes.
    pub const ALL: [Self; 11] = [
        Self::Bin,
        Self::Alert,
        Self::Truck,
        Self::Site,
        Self::Facility,
        Self::ChurnRisk,
        Self::MaintenanceRisk,
        Self::Plan,
        Self::Change,
        Self::Problem,
        Self::Visit,
    ];

    /// The name used in stored keys and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bin => "bin",
            Self::Alert => "alert",
            Self::Truck => "truck",
            Self::Site => "site",
            Self::Facility => "facility",
            Self::ChurnRisk => "churn_risk",
            Self::MaintenanceRisk => "maintenance_risk",
            Self::Plan => "plan",
            Self::Change => "change",
            Self::Problem => "problem",
            Self::Visit => "visit",
        }
    }

    /// The parts a record of this keyspace can have.
    pub fn parts(self) -> &'static [Part] {
        match self {
            Self::Bin => &[Part::Features, Part::Forecast],
            Self::Alert => &[Part::Alert],
            Self::Truck => &[Part::Position, Part::Status, Part::Duty],
            Self::Site | Self::Facility => &[Part::Reference],
            Self::ChurnRisk | Self::MaintenanceRisk => &[Part::Risk],
            Self::Plan => &[Part::InForce, Part::Proposal, Part::Completed],
            Self::Change => &[Part::Change],
            Self::Problem => &[Part::Problem],
            Self::Visit => &[Part::Served, Part::NotServed],
        }
    }
}

/// One part of a record. Parts come from different topics and age independently: within a part the last event time wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A row of `bin.features`.
    Features,
    /// A row of `bin.forecast`.
    Forecast,
    /// A row of `bin.alert`.
    Alert,
    /// A row of `vehicle.position`.
    Position,
    /// A row of `vehicle.status`.
    Status,
    /// A row of `ref.site` or `ref.facility`.
    Reference,
    /// A row of `customer.churn-risk` or `vehicle.maintenance-risk`.
    Risk,
    /// The row of `route.plan` that is in force.
    InForce,
    /// The newest row of `route.plan` that was proposed, or what became of it.
    Proposal,
    /// The newest row of `route.plan` that tells a day as driven.
    Completed,
    /// In which plan a vehicle was last in force.
    Duty,
    /// A row of `route.change`.
    Change,
    /// A row of `route.problem`.
    Problem,
    /// The newest row of `collection.event` that emptied something at a site.
    Served,
    /// The newest row of `collection.event` that could not.
    NotServed,
}

impl Part {
    /// All parts.
    const ALL: [Self; 15] = [
        Self::Features,
        Self::Forecast,
        Self::Alert,
        Self::Position,
        Self::Status,
        Self::Reference,
        Self::Risk,
        Self::InForce,
        Self::Proposal,
        Self::Completed,
        Self::Duty,
        Self::Change,
        Self::Problem,
        Self::Served,
        Self::NotServed,
    ];

    /// The name used in stored keys and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Forecast => "forecast",
            Self::Alert => "alert",
            Self::Position => "position",
            Self::Status => "status",
            Self::Reference => "reference",
            Self::Risk => "risk",
            Self::InForce => "in_force",
            Self::Proposal => "proposal",
            Self::Completed => "completed",
            Self::Duty => "duty",
            Self::Change => "change",
            Self::Problem => "problem",
            Self::Served => "served",
            Self::NotServed => "not_served",
        }
    }

    /// The part of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == name)
    }
}

/// The key of one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ViewKey {
    /// What kind of record.
    pub keyspace: Keyspace,
    /// Whose record.
    pub tenant: String,
    /// Device, `device/alert`, vehicle, site, facility, customer, `vehicle/part` or planning area, and so on; see [`Keyspace`].
    pub id: String,
}

impl ViewKey {
    /// A key, checked.
    ///
    /// # Errors
    /// [`ViewError::Invalid`] when tenant or id is empty, too long, or holds control characters, or the tenant a slash.
    pub fn new(keyspace: Keyspace, tenant: impl Into<String>, id: impl Into<String>) -> Result<Self, ViewError> {
        let (tenant, id) = (tenant.into(), id.into());
        for (what, value) in [("tenant", &tenant), ("id", &id)] {
            // Ids may hold slashes (`device/alert`), so tenants may not: keys would be ambiguous.
            let ambiguous = what == "tenant" && value.contains('/');
            if value.is_empty() || value.len() > MAX_ID_BYTES || value.chars().any(char::is_control) || ambiguous {
                let shown: String = value.chars().take(40).collect();
                return Err(ViewError::Invalid { what, detail: format!("{shown:?} ({} bytes)", value.len()) });
            }
        }
        Ok(Self { keyspace, tenant, id })
    }

    /// The prefix all stored parts of this record share.
    pub(crate) fn stored(&self) -> String {
        let mut key = String::with_capacity(self.tenant.len() + self.id.len() + 12);
        for piece in [self.keyspace.as_str(), &self.tenant, &self.id] {
            key.push_str(piece);
            key.push(SEPARATOR);
        }
        key
    }
}

impl fmt::Display for ViewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.keyspace.as_str(), self.tenant, self.id)
    }
}
