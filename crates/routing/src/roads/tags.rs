//! What the properties of a line say about a road: OpenStreetMap's tags as `osmium export` and `ogr2ogr` write them, and
//! our own names, which win where both stand.

use super::build::Ways;
use super::class::RoadClass;
use serde_json::{Map, Value};

/// A road by its properties.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Road {
    pub class: RoadClass,
    pub ways: Ways,
    pub free_flow_mps: f64,
    pub length_m: Option<f64>,
}

/// Why a line is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Passed {
    NotARoad,
    NoTrucks,
}

/// Properties of one line.
pub(super) struct Tags<'a> {
    properties: &'a Map<String, Value>,
    /// The text of `other_tags`, as GDAL writes what has no column: `"oneway"=>"yes","lanes"=>"2"`.
    others: &'a str,
}

impl<'a> Tags<'a> {
    pub(super) fn new(properties: &'a Map<String, Value>) -> Tags<'a> {
        Tags { properties, others: properties.get("other_tags").and_then(Value::as_str).unwrap_or_default() }
    }

    /// A property as text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.properties.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(Value::Bool(yes)) => Some(if *yes { "yes" } else { "no" }.to_owned()),
            _ => {
                let start = self.others.find(&format!("\"{name}\"=>\""))? + name.len() + 5;
                self.others[start..].split('"').next().map(str::to_owned)
            }
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// The road, or why it is none.
    pub(super) fn road(&self) -> Result<Road, Passed> {
        let class = self.text("class").or_else(|| self.text("highway")).and_then(|name| RoadClass::of_highway(&name)).ok_or(Passed::NotARoad)?;
        if self.text("area").as_deref() == Some("yes") {
            return Err(Passed::NotARoad);
        }
        // The most specific word decides.
        let access = ["hgv", "motor_vehicle", "vehicle", "access"].iter().find_map(|name| self.text(name));
        if matches!(access.as_deref(), Some("no" | "private" | "agricultural" | "forestry" | "emergency")) {
            return Err(Passed::NoTrucks);
        }
        let limit_mps = self.text("maxspeed").and_then(|limit| speed_limit_mps(&limit));
        let free_flow_mps = self.number("free_flow_mps").or_else(|| limit_mps.map(|limit| (limit * class.share_of_limit()).min(80.0 / 3.6)));
        Ok(Road {
            class,
            ways: self.ways(class),
            free_flow_mps: free_flow_mps.unwrap_or(class.usual_mps()).clamp(0.5, 60.0),
            length_m: self.number("length_m").filter(|length_m| *length_m > 0.0),
        })
    }

    fn ways(&self, class: RoadClass) -> Ways {
        match self.text("oneway").as_deref() {
            Some("yes" | "true" | "1" | "forward") => Ways::Forward,
            Some("-1" | "reverse" | "backward") => Ways::Backward,
            Some(_) => Ways::Both,
            None if class == RoadClass::Motorway || matches!(self.text("junction").as_deref(), Some("roundabout" | "circular")) => Ways::Forward,
            None => Ways::Both,
        }
    }
}

/// A `maxspeed` value in m/s: `50`, `50 km/h`, `30 mph`, `walk`; of several the first; `None` for what has no number.
fn speed_limit_mps(text: &str) -> Option<f64> {
    let first = text.split([';', '|']).next().unwrap_or_default().trim();
    if first == "walk" {
        return Some(7.0 / 3.6);
    }
    let digits = first.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(first.len());
    let number: f64 = first[..digits].parse().ok()?;
    let factor = match first[digits..].trim() {
        "" | "km/h" | "kmh" | "kph" => 1.0 / 3.6,
        "mph" => 0.447_04,
        "knots" => 0.514_44,
        _ => return None,
    };
    Some(number * factor).filter(|mps| (0.5..60.0).contains(mps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn road(properties: Value) -> Result<Road, Passed> {
        let Value::Object(properties) = properties else { return Err(Passed::NotARoad) };
        Tags::new(&properties).road()
    }

    #[test]
    fn limits_in_the_units_of_the_world() {
        for (text, kmh) in [("50", 50.0), ("30 mph", 48.28), ("60 km/h", 60.0), ("80;60", 80.0), ("walk", 7.0)] {
            assert!((speed_limit_mps(text).unwrap() * 3.6 - kmh).abs() < 0.01, "{text}");
        }
        for text in ["none", "signals", "DE:urban", "", "0", "5000"] {
            assert_eq!(speed_limit_mps(text), None, "{text}");
        }
    }

    #[test]
    fn tags_of_osm_in_either_writing() {
        let found = road(json!({"highway": "secondary", "oneway": "yes", "maxspeed": "60"})).unwrap();
        assert_eq!((found.class, found.ways), (RoadClass::Secondary, Ways::Forward));
        assert!((found.free_flow_mps - 15.0).abs() < 1e-9, "nine tenths of 60 km/h");
        let gdal =
            road(json!({"highway": "residential", "osm_id": "7", "other_tags": "\"lanes\"=>\"2\",\"oneway\"=>\"-1\",\"maxspeed\"=>\"20 mph\""})).unwrap();
        assert_eq!(gdal.ways, Ways::Backward);
        assert!((gdal.free_flow_mps - 0.7 * 20.0 * 0.447_04).abs() < 1e-9);
        assert_eq!(road(json!({"highway": "tertiary", "junction": "roundabout"})).unwrap().ways, Ways::Forward);
        assert_eq!(road(json!({"highway": "motorway", "oneway": "no"})).unwrap().ways, Ways::Both);
    }

    #[test]
    fn where_no_truck_drives_and_where_one_may() {
        assert_eq!(road(json!({"highway": "footway"})), Err(Passed::NotARoad));
        assert_eq!(road(json!({"building": "yes"})), Err(Passed::NotARoad));
        assert_eq!(road(json!({"highway": "service", "access": "private"})), Err(Passed::NoTrucks));
        assert!(road(json!({"highway": "service", "access": "private", "hgv": "yes"})).is_ok(), "the more specific word decides");
        assert!(road(json!({"highway": "residential", "access": "destination"})).is_ok());
    }

    #[test]
    fn our_own_names_win() {
        let found = road(json!({"class": "primary", "highway": "service", "free_flow_mps": 12.5, "maxspeed": "30", "length_m": 99.5})).unwrap();
        assert_eq!((found.class, found.free_flow_mps, found.length_m), (RoadClass::Primary, 12.5, Some(99.5)));
    }
}
