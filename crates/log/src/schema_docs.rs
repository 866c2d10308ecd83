//! `docs/topics.md` from the contracts: what each topic carries, by group. Written for consumers and producers, who
//! should not have to read Avro; a test keeps file and schemas together.

use crate::avro::schema::{Field, Named, Record, Schema, Type};
use crate::registry::{Registered, Registry};
use std::fmt::Write;

/// Groups in the order of the flow, with their headings.
const GROUPS: [(&str, &str); 6] = [
    ("telemetry", "Telemetry"),
    ("operations", "Operations (facts)"),
    ("customers", "Customers"),
    ("decisions", "Decisions"),
    ("references", "References (as of a time)"),
    ("outputs", "Outputs"),
];

/// Fields that every record begins with.
const BASE: [&str; 7] = ["tenant", "event_id", "observed_at", "sent_at", "received_at", "source", "schema_version"];

/// Units by the last word of a field's name.
const UNITS: [(&str, &str); 26] = [
    ("_at", "UTC ms"),
    ("_from", "UTC ms"),
    ("_to", "UTC ms"),
    ("_start", "UTC ms"),
    ("_end", "UTC ms"),
    ("_per_h", "1/h"),
    ("_per_l", "kg/l"),
    ("_ms", "ms"),
    ("_s", "s"),
    ("_h", "h"),
    ("_days", "days"),
    ("_mps", "m/s"),
    ("_m", "m"),
    ("_mm", "mm"),
    ("_kg", "kg"),
    ("_l", "l"),
    ("_degc", "°C"),
    ("_deg", "°"),
    ("_v", "V"),
    ("_dbm", "dBm"),
    ("_kpa", "kPa"),
    ("_rpm", "1/min"),
    ("_kwh", "kWh"),
    ("_minor", "minor unit of `currency`"),
    ("_bytes", "bytes"),
    ("_per_week", "1/week"),
];

/// The text of `docs/topics.md`.
pub fn topics_markdown(registry: &Registry) -> String {
    let mut out = String::from(
        "# Topics\n\n\
         Generated from `schemas/` by `cargo run -p ws-cli -- schema docs > docs/topics.md`; do not edit by hand.\n\n\
         Values are Avro in Confluent's framing (0x00, schema id as u32, Avro binary); the key is the named field as UTF-8. \
         Read outputs with `isolation.level=read_committed`: Java clients default to reading uncommitted records. \
         `?` marks fields that may be null. **Personal** says whether a field identifies a person directly or together with other data.\n\n\
         Every record begins with these fields; below they are left out.\n\n",
    );
    if let Ok(first) = registry.for_topic("bin.telemetry") {
        let base: Vec<&Field> = first.schema.record().fields.iter().filter(|f| BASE.contains(&f.name.as_str())).collect();
        fields_table(&mut out, &first.schema, &base);
    }
    for (group, title) in GROUPS {
        let members: Vec<_> = registry.subjects().filter_map(|s| registry.latest(s).ok()).filter(|r| r.attribute("group") == Some(group)).collect();
        if members.is_empty() {
            continue;
        }
        let _ = write!(out, "\n## {title}\n\n| topic | key | cleanup | personal data | what |\n|---|---|---|---|---|\n");
        for r in &members {
            let what = r.schema.record().doc.split(". ").next().unwrap_or_default().trim_end_matches('.');
            let personal = r.attribute("pii_subject").map_or("none".to_string(), |s| format!("of `{s}`"));
            let _ = writeln!(
                out,
                "| [{0}](#{1}) | `{2}` | {3} | {personal} | {what} |",
                topic(r),
                topic(r).replace('.', ""),
                r.attribute("key").unwrap_or("?"),
                cleanup(r)
            );
        }
        for r in &members {
            let _ = write!(out, "\n### {}\n\n{}\n\n", topic(r), r.schema.record().doc);
            let whole = r.attribute("topic") == Some("dlq");
            let own: Vec<&Field> = r.schema.record().fields.iter().filter(|f| whole || !BASE.contains(&f.name.as_str())).collect();
            fields_table(&mut out, &r.schema, &own);
            for nested in nested(&r.schema) {
                let _ = write!(out, "\n`{}`: {}\n\n", nested.name, nested.doc);
                fields_table(&mut out, &r.schema, &nested.fields.iter().collect::<Vec<_>>());
            }
        }
    }
    out
}

fn topic(r: &Registered) -> &str {
    r.attribute("topic").unwrap_or(&r.subject)
}

fn cleanup(r: &Registered) -> String {
    let number = |name: &str| r.schema.record().attributes.get(name).and_then(serde_json::Value::as_u64);
    let mut text = r.attribute("cleanup").unwrap_or("delete").replace(',', ", ");
    if let Some(days) = number("retention_days") {
        let _ = write!(text, " after {days} days");
    }
    if let Some(days) = number("min_compaction_lag_days") {
        let _ = write!(text, ", history {days} days");
    }
    text
}

fn fields_table(out: &mut String, schema: &Schema, fields: &[&Field]) {
    out.push_str("| field | type | unit | personal | meaning |\n|---|---|---|---|---|\n");
    for f in fields {
        let fiware = f.fiware.as_ref().map(|n| format!(" FIWARE: `{n}`.")).unwrap_or_default();
        let (kind, unit, pii) = (schema.type_name(&f.ty), unit(schema, f), f.pii.as_deref().unwrap_or(""));
        let _ = writeln!(out, "| `{}` | {kind} | {unit} | {pii} | {}{fiware} |", f.name, f.doc.replace('|', "\\|"));
    }
}

/// The unit of a number, by its name.
fn unit(schema: &Schema, field: &Field) -> &'static str {
    let kind = schema.type_name(&field.ty);
    let kind = kind.trim_end_matches('?');
    if kind == "timestamp" {
        return "UTC ms";
    }
    if !["int", "long", "double", "float"].contains(&kind) {
        return "";
    }
    let name = field.name.trim_end_matches("_p10").trim_end_matches("_p50").trim_end_matches("_p90").replace("_p10_", "_");
    let prefixed = if name.starts_with("hours_") { Some("h") } else { None };
    prefixed.or_else(|| UNITS.iter().filter(|(suffix, _)| name.ends_with(suffix)).max_by_key(|(suffix, _)| suffix.len()).map(|(_, unit)| *unit)).unwrap_or("")
}

/// Record types inside a record, each once, outermost first.
fn nested(schema: &Schema) -> Vec<&Record> {
    fn collect<'a>(schema: &'a Schema, ty: &Type, out: &mut Vec<&'a Record>) {
        match ty {
            Type::Array(t) | Type::Map(t) => collect(schema, t, out),
            Type::Union(branches) => branches.iter().for_each(|b| collect(schema, b, out)),
            Type::Named(i) => {
                if let Named::Record(r) = schema.named(*i)
                    && !out.iter().any(|known| known.name == r.name)
                {
                    out.push(r);
                    r.fields.iter().for_each(|f| collect(schema, &f.ty, out));
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    schema.record().fields.iter().for_each(|f| collect(schema, &f.ty, &mut out));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_document_of_the_topics_is_the_generated_one() {
        let path = std::path::Path::new("../../docs/topics.md");
        let wanted = topics_markdown(&Registry::embedded().unwrap());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        let line = wanted.lines().zip(found.lines()).position(|(w, f)| w != f).unwrap_or_else(|| wanted.lines().count().min(found.lines().count())) + 1;
        assert!(
            wanted == found,
            "docs/topics.md differs from the schemas from line {line} on; regenerate it: cargo run -p ws-cli -- schema docs > docs/topics.md"
        );
    }

    #[test]
    fn units_and_personal_data_are_shown() {
        let text = topics_markdown(&Registry::embedded().unwrap());
        for line in [
            "| `battery_v` | double? | V |  | Battery voltage of the sensor. |",
            "| `observed_at` | timestamp | UTC ms |  | Event time: when it happened, by the producer's clock. |",
            "| `email` | string? |  | direct | Address for messages. |",
            "| `fee_minor` | long? | minor unit of `currency` |  | Gate fee in the currency's minor unit. |",
            "| `hours_to_full_p50` | double? | h |  | Hours until full: median. |",
            "`PlannedStop`: One stop of a route.",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
