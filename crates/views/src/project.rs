//! Maps committed output records to updates: the one place that knows which topic feeds which record.

use serde_json::Value;

use crate::key::{Keyspace, Part, ViewKey};
use crate::project_plan;
use crate::update::Update;

/// Why a record of a known topic cannot be shown. The caller counts and reports it; the record itself stays in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a record of {topic} cannot be shown: {detail}")]
pub struct ProjectError {
    /// The record's topic.
    pub topic: String,
    /// What is wrong with it.
    pub detail: String,
}

impl ProjectError {
    /// What the reader of the error can do about it.
    pub fn hint(&self) -> &'static str {
        "compare the record with the topic's schema: tenant, observed_at (UTC ms) and the id must be set"
    }
}

/// The updates that follow from one record, whose value is its JSON form. Topics that no view shows give none.
///
/// Late corrections need no care here: within a part the last event time wins in the store.
///
/// # Errors
/// When tenant, event time or id are missing or unusable.
pub fn project(topic: &str, key: &[u8], value: &Value) -> Result<Vec<Update>, ProjectError> {
    let fail = |detail: String| ProjectError { topic: topic.into(), detail };
    let (keyspace, part, id_field) = match topic {
        "bin.features" => (Keyspace::Bin, Part::Features, "device_id"),
        "bin.forecast" => (Keyspace::Bin, Part::Forecast, "device_id"),
        "bin.alert" => (Keyspace::Alert, Part::Alert, "device_id"),
        "vehicle.position" => (Keyspace::Truck, Part::Position, "vehicle_id"),
        "vehicle.status" => (Keyspace::Truck, Part::Status, "vehicle_id"),
        "ref.site" => (Keyspace::Site, Part::Reference, "site_id"),
        "ref.facility" => (Keyspace::Facility, Part::Reference, "facility_id"),
        "customer.churn-risk" => (Keyspace::ChurnRisk, Part::Risk, "customer_id"),
        "vehicle.maintenance-risk" => (Keyspace::MaintenanceRisk, Part::Risk, "vehicle_id"),
        // Who has given notice or is gone is at no risk any more, and no risk is published that says so.
        "contract.event" if matches!(value.get("event").and_then(Value::as_str), Some("notice_given" | "ended")) => {
            (Keyspace::ChurnRisk, Part::Risk, "customer_id")
        }
        // A site with several containers is served as soon as one of them was emptied.
        "collection.event" if matches!(value.get("outcome").and_then(Value::as_str), Some("served" | "partial")) => (Keyspace::Visit, Part::Served, "site_id"),
        "collection.event" => (Keyspace::Visit, Part::NotServed, "site_id"),
        "route.plan" | "route.change" | "route.problem" => return project_plan::project(topic, value).map_err(fail),
        _ => return Ok(Vec::new()),
    };
    let text = |field: &str| value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let tenant = text("tenant").ok_or_else(|| fail("tenant is missing".into()))?;
    let mut id = match text(id_field) {
        Some(id) => id.to_owned(),
        // Hand-written topologies may leave the id out of the value: then the record's key says it.
        None => std::str::from_utf8(key)
            .ok()
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| fail(format!("{id_field} is missing, and the record's key is not text")))?,
    };
    if let Some(field) = [(Keyspace::Alert, "alert"), (Keyspace::MaintenanceRisk, "component")].into_iter().find_map(|(of, f)| (of == keyspace).then_some(f)) {
        let second = text(field).ok_or_else(|| fail(format!("{field} is missing")))?;
        id = format!("{id}/{second}");
    }
    let observed_ms = value.get("observed_at").and_then(event_time_ms).ok_or_else(|| fail("observed_at is not a time in UTC ms".into()))?;
    let key = ViewKey::new(keyspace, tenant, id).map_err(|error| fail(error.to_string()))?;
    Ok(vec![if topic == "contract.event" { Update::delete(key, part, observed_ms) } else { Update::put(key, part, observed_ms, value) }])
}

/// Whole milliseconds, also when an encoder wrote them as a float.
pub(crate) fn event_time_ms(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|ms| ms.is_finite() && ms.abs() < 9.0e15).map(|ms| ms as i64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn each_output_topic_feeds_its_record() {
        let base = json!({"tenant": "acme", "observed_at": 1_700_000_000_000_i64, "device_id": "d1", "vehicle_id": "v1", "site_id": "s1", "customer_id": "u1", "component": "brakes", "event": "ended",
            "facility_id": "f1", "alert": "fire", "state": "raised", "latitude_deg": 48.1, "longitude_deg": 11.5});
        let keys: Vec<String> = [
            "bin.features",
            "bin.forecast",
            "bin.alert",
            "vehicle.position",
            "vehicle.status",
            "ref.site",
            "ref.facility",
            "road.speed",
            "customer.churn-risk",
            "vehicle.maintenance-risk",
            "contract.event",
        ]
        .iter()
        .flat_map(|topic| project(topic, b"k", &base).unwrap())
        .map(|update| format!("{} {}", update.key(), update.part().as_str()))
        .collect();
        assert_eq!(
            keys,
            [
                "bin/acme/d1 features",
                "bin/acme/d1 forecast",
                "alert/acme/d1/fire alert",
                "truck/acme/v1 position",
                "truck/acme/v1 status",
                "site/acme/s1 reference",
                "facility/acme/f1 reference",
                "churn_risk/acme/u1 risk",
                "maintenance_risk/acme/v1/brakes risk",
                "churn_risk/acme/u1 risk"
            ]
        );
    }

    #[test]
    fn a_customer_who_gives_notice_leaves_the_list_of_risks() {
        let event = |event: &str| json!({"tenant": "t", "customer_id": "u1", "observed_at": 5, "event": event});
        let updates = project("contract.event", b"", &event("notice_given")).unwrap();
        assert_eq!(updates[0].body(), &crate::Body::Delete);
        assert_eq!(project("contract.event", b"", &event("price_changed")).unwrap(), []);
    }

    #[test]
    fn a_site_keeps_its_last_emptying_and_its_last_visit_in_vain_apart() {
        let parts = ["served", "partial", "skipped", "not_found"].map(|outcome| {
            let event = json!({"tenant": "t", "site_id": "s1", "container_id": "c1", "observed_at": 5, "outcome": outcome});
            let updates = project("collection.event", b"c1", &event).unwrap();
            format!("{} {}", updates[0].key(), updates[0].part().as_str())
        });
        assert_eq!(parts, ["visit/t/s1 served", "visit/t/s1 served", "visit/t/s1 not_served", "visit/t/s1 not_served"]);
    }

    #[test]
    fn a_record_without_tenant_time_or_id_is_named_not_guessed() {
        let detail = |value: Value| project("bin.features", b"", &value).unwrap_err().to_string();
        assert!(detail(json!({"device_id": "d", "observed_at": 1})).contains("tenant"));
        assert!(detail(json!({"tenant": "t", "device_id": "d"})).contains("observed_at"));
        assert!(detail(json!({"tenant": "t", "device_id": "d", "observed_at": "yesterday"})).contains("observed_at"));
        assert!(detail(json!({"tenant": "t", "observed_at": 1})).contains("device_id"));
        assert!(detail(json!({"tenant": "t", "device_id": "a\nb", "observed_at": 1})).contains("id"));
        assert!(detail(Value::Null).contains("tenant"));
    }

    #[test]
    fn the_records_key_stands_in_for_a_missing_id() {
        let updates = project("vehicle.position", b"v7", &json!({"tenant": "t", "observed_at": 1.0})).unwrap();
        assert_eq!(updates[0].key().id, "v7");
    }
}
