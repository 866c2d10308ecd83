//! Avro through `serde_json::Value`: slower than columns and friendlier. Producers, ingest, HTTP and tools use it.
//! Timestamps are numbers in UTC milliseconds, bytes are Base64, NaN and infinities are the strings `NaN`,
//! `Infinity` and `-Infinity` on the way in and null on the way out.

use super::columns::to_millis;
use super::cursor::{Cursor, Fault, put_bytes, put_long};
use super::json::{put_base64, read_base64};
use super::schema::{LongUnit, Named, Record, Schema, Type};
use super::{AvroError, frame, unframe};
use crate::registry::{Registered, Registry};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Nested values deeper than this are refused.
const MAX_DEPTH: u32 = 64;

/// Path below the field, and what is wrong.
type Wrong = (String, String);

impl Registry {
    /// One framed value for `topic` by its newest schema, from a JSON object. Fields that are left out take their
    /// default; fields that the schema does not have are refused: they are typing errors more often than not.
    pub fn encode_json_value(&self, topic: &str, value: &Value) -> Result<Vec<u8>, AvroError> {
        let registered = self.for_topic(topic)?;
        let mut out = Vec::with_capacity(128);
        frame(&mut out, registered.id);
        let writer = Writer { schema: &registered.schema, default: false };
        writer.record(registered.schema.record(), value, &mut out).map_err(|(path, message)| AvroError::Value {
            topic: topic.to_string(),
            path: if path.is_empty() { "value".into() } else { path.trim_start_matches('.').to_string() },
            message,
        })?;
        Ok(out)
    }

    /// A framed value as JSON, by the schema that it was written with.
    pub fn decode_to_json(&self, value: &[u8]) -> Result<Value, AvroError> {
        self.decode_with_schema(value).map(|(_, v)| v)
    }

    /// A framed value as JSON, and the schema that it was written with.
    pub fn decode_with_schema(&self, value: &[u8]) -> Result<(Arc<Registered>, Value), AvroError> {
        let (id, body) = unframe(value).ok_or(AvroError::NotFramed)?;
        let registered = self.by_id(id)?.clone();
        let wrong = |(path, message): Wrong| AvroError::Value { topic: registered.subject.clone(), path: path.trim_start_matches('.').to_string(), message };
        let mut reader = Reader { schema: &registered.schema, cursor: Cursor::new(body) };
        let json = reader.record(registered.schema.record(), 0).map_err(wrong)?;
        match reader.cursor.left() {
            0 => Ok((registered.clone(), json)),
            n => Err(wrong(("value".into(), format!("{n} bytes follow the record")))),
        }
    }
}

/// A field's default as Avro bytes.
pub(super) fn encode_default(schema: &Schema, ty: &Type, default: &Value) -> Result<Vec<u8>, Wrong> {
    let mut out = Vec::new();
    Writer { schema, default: true }.put(ty, default, &mut out)?;
    Ok(out)
}

struct Writer<'a> {
    schema: &'a Schema,
    /// Defaults write bytes as Avro does: a string of code points 0 to 255.
    default: bool,
}

impl Writer<'_> {
    fn record(&self, record: &Record, value: &Value, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let object = value.as_object().ok_or_else(|| here(format!("{} is not an object", name_of(value))))?;
        for f in &record.fields {
            match (object.get(&f.name), &f.default) {
                (Some(v), _) => self.put(&f.ty, v, out),
                (None, Some(d)) => Writer { schema: self.schema, default: true }.put(&f.ty, d, out),
                (None, None) if matches!(&f.ty, Type::Union(b) if b.contains(&Type::Null)) => self.put(&f.ty, &Value::Null, out),
                (None, None) => Err(here(format!("is missing; the schema wants {}", self.schema.type_name(&f.ty)))),
            }
            .map_err(|(path, message)| (format!(".{}{path}", f.name), message))?;
        }
        match object.keys().find(|k| !record.fields.iter().any(|f| f.name == **k)) {
            None => Ok(()),
            Some(k) => Err((
                format!(".{k}"),
                format!("is no field of {}; it has: {}", record.name, record.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ")),
            )),
        }
    }

    fn put(&self, ty: &Type, value: &Value, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let unfit = || here(format!("{} is not {}", name_of(value), self.schema.type_name(ty)));
        match ty {
            Type::Null if value.is_null() => {}
            Type::Null => return Err(unfit()),
            Type::Boolean => out.push(u8::from(value.as_bool().ok_or_else(unfit)?)),
            Type::Int => put_long(out, i64::from(i32::try_from(whole(value).ok_or_else(unfit)?).map_err(|_| unfit())?)),
            Type::Long(unit) => put_long(out, from_millis(*unit, whole(value).ok_or_else(unfit)?).ok_or_else(unfit)?),
            Type::Float => out.extend_from_slice(&(real(value).ok_or_else(unfit)? as f32).to_le_bytes()),
            Type::Double => out.extend_from_slice(&real(value).ok_or_else(unfit)?.to_le_bytes()),
            Type::String => put_bytes(out, value.as_str().ok_or_else(unfit)?.as_bytes()),
            Type::Bytes => put_bytes(out, &self.bytes(value).ok_or_else(unfit)?),
            Type::Array(item) => {
                let list = value.as_array().ok_or_else(unfit)?;
                if !list.is_empty() {
                    put_long(out, list.len() as i64);
                }
                for (i, v) in list.iter().enumerate() {
                    self.put(item, v, out).map_err(|(path, message)| (format!("[{i}]{path}"), message))?;
                }
                put_long(out, 0);
            }
            Type::Map(values) => {
                let map = value.as_object().ok_or_else(unfit)?;
                if !map.is_empty() {
                    put_long(out, map.len() as i64);
                }
                for (k, v) in map {
                    put_bytes(out, k.as_bytes());
                    self.put(values, v, out).map_err(|(path, message)| (format!(".{k}{path}"), message))?;
                }
                put_long(out, 0);
            }
            Type::Union(branches) => {
                let i = branches.iter().position(|b| self.fits(b, value)).ok_or_else(unfit)?;
                put_long(out, i as i64);
                self.put(&branches[i], value, out)?;
            }
            Type::Named(i) => match self.schema.named(*i) {
                Named::Record(r) => self.record(r, value, out)?,
                Named::Enum(e) => {
                    let symbol = value.as_str().and_then(|s| e.symbols.iter().position(|x| x == s));
                    put_long(out, symbol.ok_or_else(|| here(format!("{} is none of {}", name_of(value), e.symbols.join(", "))))? as i64);
                }
                Named::Fixed { size, .. } => {
                    let bytes = self.bytes(value).filter(|b| b.len() == *size).ok_or_else(unfit)?;
                    out.extend_from_slice(&bytes);
                }
            },
        }
        Ok(())
    }

    /// Whether a union's branch is the one meant, by the JSON type alone.
    fn fits(&self, ty: &Type, value: &Value) -> bool {
        match ty {
            Type::Null => value.is_null(),
            Type::Boolean => value.is_boolean(),
            Type::Int | Type::Long(_) => whole(value).is_some(),
            Type::Float | Type::Double => real(value).is_some(),
            Type::String | Type::Bytes => value.is_string(),
            Type::Array(_) => value.is_array(),
            Type::Map(_) => value.is_object(),
            Type::Union(_) => false,
            Type::Named(i) => match self.schema.named(*i) {
                Named::Record(_) => value.is_object(),
                Named::Enum(_) | Named::Fixed { .. } => value.is_string(),
            },
        }
    }

    fn bytes(&self, value: &Value) -> Option<Vec<u8>> {
        let text = value.as_str()?;
        if self.default { text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect() } else { read_base64(text) }
    }
}

fn here(message: String) -> Wrong {
    (String::new(), message)
}

/// A value in an error: short, whatever it is.
fn name_of(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 { text } else { format!("{}…", text.chars().take(40).collect::<String>()) }
}

/// A whole number; `3.0` is one.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0).map(|f| f as i64))
}

fn real(value: &Value) -> Option<f64> {
    match value {
        Value::String(s) => match s.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        v => v.as_f64(),
    }
}

fn from_millis(unit: LongUnit, n: i64) -> Option<i64> {
    match unit {
        LongUnit::Plain | LongUnit::Millis => Some(n),
        LongUnit::Micros => n.checked_mul(1_000),
        LongUnit::Nanos => n.checked_mul(1_000_000),
    }
}

struct Reader<'a> {
    schema: &'a Schema,
    cursor: Cursor<'a>,
}

impl<'a> Reader<'a> {
    fn record(&mut self, record: &'a Record, depth: u32) -> Result<Value, Wrong> {
        let mut object = Map::new();
        for f in &record.fields {
            let v = self.value(&f.ty, depth + 1).map_err(|(path, message)| (format!(".{}{path}", f.name), message))?;
            object.insert(f.name.clone(), v);
        }
        Ok(Value::Object(object))
    }

    fn value(&mut self, ty: &'a Type, depth: u32) -> Result<Value, Wrong> {
        if depth > MAX_DEPTH {
            return Err(here("values are nested too deeply".into()));
        }
        let c = &mut self.cursor;
        Ok(match ty {
            Type::Null => Value::Null,
            Type::Boolean => c.boolean().map_err(fault)?.into(),
            Type::Int => c.int().map_err(fault)?.into(),
            Type::Long(unit) => to_millis(*unit, c.long().map_err(fault)?).into(),
            Type::Float => f64::from(c.float().map_err(fault)?).into(),
            Type::Double => c.double().map_err(fault)?.into(),
            Type::Bytes => base64(c.bytes().map_err(fault)?),
            Type::String => text(c.bytes().map_err(fault)?)?.into(),
            Type::Array(item) => {
                let mut list = Vec::new();
                self.items(|r, i| {
                    list.push(r.value(item, depth + 1).map_err(|(path, message)| (format!("[{i}]{path}"), message))?);
                    Ok(())
                })?;
                Value::Array(list)
            }
            Type::Map(values) => {
                let mut map = Map::new();
                self.items(|r, _| {
                    let key = text(r.cursor.bytes().map_err(fault)?)?.to_string();
                    let v = r.value(values, depth + 1).map_err(|(path, message)| (format!(".{key}{path}"), message))?;
                    map.insert(key, v);
                    Ok(())
                })?;
                Value::Object(map)
            }
            Type::Union(branches) => {
                let i = c.choice(branches.len(), "a union has no such branch").map_err(fault)?;
                self.value(&branches[i], depth + 1)?
            }
            Type::Named(i) => {
                let schema: &'a Schema = self.schema;
                match schema.named(*i) {
                    Named::Record(r) => self.record(r, depth + 1)?,
                    Named::Enum(e) => e.symbols[c.choice(e.symbols.len(), "an enum has no such symbol").map_err(fault)?].as_str().into(),
                    Named::Fixed { size, .. } => base64(c.take(*size).map_err(fault)?),
                }
            }
        })
    }

    /// Runs `item` for each item of an array or map.
    fn items(&mut self, mut item: impl FnMut(&mut Self, usize) -> Result<(), Wrong>) -> Result<(), Wrong> {
        let mut i = 0;
        loop {
            let n = self.cursor.long().map_err(fault)?;
            if n == 0 {
                return Ok(());
            }
            if n < 0 {
                self.cursor.long().map_err(fault)?;
            }
            for _ in 0..n.unsigned_abs() {
                let before = self.cursor.left();
                item(self, i)?;
                i += 1;
                if self.cursor.left() == before {
                    return Err(here("items without bytes".into()));
                }
            }
        }
    }
}

fn fault(fault: Fault) -> Wrong {
    here(match fault {
        Fault::Truncated => "the value ends here".into(),
        Fault::Malformed(what) => what.into(),
    })
}

fn text(bytes: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(bytes).map_err(|_| here("a string is not UTF-8".into()))
}

fn base64(bytes: &[u8]) -> Value {
    let mut out = Vec::new();
    put_base64(&mut out, bytes);
    String::from_utf8(out).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn reading() -> Value {
        json!({"tenant": "t", "event_id": "e1", "observed_at": 1_795_305_600_000i64, "sent_at": 1, "received_at": 2, "source": "gateway", "device_id": "d1", "filling_level": 0.5, "battery_v": 3.6})
    }

    #[test]
    fn json_goes_in_and_comes_out_with_defaults_filled_in() {
        let r = Registry::embedded().unwrap();
        let bytes = r.encode_json_value("bin.telemetry", &reading()).unwrap();
        let (schema, back) = r.decode_with_schema(&bytes).unwrap();
        assert_eq!(schema.subject, "bin.telemetry-value");
        for (k, v) in reading().as_object().unwrap() {
            assert_eq!(&back[k], v, "{k}");
        }
        assert_eq!((&back["schema_version"], &back["tilt_deg"]), (&json!(1), &Value::Null));
    }

    #[test]
    fn nested_records_come_back_whole() {
        let r = Registry::embedded().unwrap();
        let stop = json!({"kind": "site", "site_id": "s1", "facility_id": null, "container_ids": ["c1", "c2"], "arrives_at": 1, "leaves_at": 2, "load_kg": 7.5, "locked": true, "reason": null});
        let route = json!({"vehicle_id": "v", "shift_id": null, "start_facility_id": "d", "end_facility_id": "d", "starts_at": 1, "ends_at": 9, "distance_m": 12.5, "stops": [stop], "driven": null});
        let plan = json!({"tenant": "t", "event_id": "e", "observed_at": 1, "sent_at": 1, "received_at": 1, "source": "route", "planning_area_id": "p", "plan_id": "x", "plan_version": 3, "state": "proposed",
            "valid_from": 1, "valid_to": 2, "time_zone": "Europe/Vienna", "solver": "s", "seed": 1, "iterations": 10, "rung": "model", "distance_m": 1.0, "duration_s": 2.0, "routes": [route]});
        let back = r.decode_to_json(&r.encode_json_value("route.plan", &plan).unwrap()).unwrap();
        assert_eq!(back["routes"], plan["routes"]);
        let mut wrong = plan.clone();
        wrong["routes"][0]["stops"][0]["kind"] = json!("nap");
        let e = r.encode_json_value("route.plan", &wrong).unwrap_err();
        assert_eq!(e.to_string(), "route.plan: routes[0].stops[0].kind: \"nap\" is none of site, disposal, lunch, depot");
    }

    #[test]
    fn errors_name_the_field() {
        let r = Registry::embedded().unwrap();
        let with = |k: &str, v: Value| {
            let mut x = reading();
            x[k] = v;
            r.encode_json_value("bin.telemetry", &x).unwrap_err().to_string()
        };
        assert_eq!(with("filling_level", json!("half")), "bin.telemetry: filling_level: \"half\" is not double");
        assert_eq!(with("observed_at", json!(1.5)), "bin.telemetry: observed_at: 1.5 is not timestamp");
        assert_eq!(with("schema_version", json!(1u64 << 40)), "bin.telemetry: schema_version: 1099511627776 is not int");
        assert!(with("batery_v", json!(3.0)).starts_with("bin.telemetry: batery_v: is no field of BinTelemetry; it has: tenant,"));
        let mut missing = reading();
        missing.as_object_mut().unwrap().remove("device_id");
        assert_eq!(r.encode_json_value("bin.telemetry", &missing).unwrap_err().to_string(), "bin.telemetry: device_id: is missing; the schema wants string");
        assert_eq!(r.encode_json_value("bin.telemetry", &json!(3)).unwrap_err().to_string(), "bin.telemetry: value: 3 is not an object");
    }

    #[test]
    fn nan_can_be_written_and_reads_as_null() {
        let r = Registry::embedded().unwrap();
        let mut x = reading();
        x["filling_level"] = json!("NaN");
        let bytes = r.encode_json_value("bin.telemetry", &x).unwrap();
        assert_eq!(r.decode_to_json(&bytes).unwrap()["filling_level"], Value::Null);
    }

    #[test]
    fn damaged_values_are_errors_at_every_cut() {
        let r = Registry::embedded().unwrap();
        let bytes = r.encode_json_value("bin.telemetry", &reading()).unwrap();
        for cut in 0..bytes.len() {
            assert!(r.decode_to_json(&bytes[..cut]).is_err(), "cut to {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(r.decode_to_json(&longer).unwrap_err().to_string().contains("1 bytes follow the record"));
    }
}
