//! The rows of a board as facts. A row that says nothing usable becomes a [`super::Trouble`]; none is dropped silently, none
//! makes the rest unreadable.

use super::BoardError;
use super::facts::{Container, Decision, Facility, FacilityState, Facts, Forecast, RoadClosure, Said, Schedule, Shift, Site, Ticket, Truck, Visit};
use super::pace::Pace;
use super::row::Row;
use crate::roads::{Closure, Direction};
use arrow::array::RecordBatch;
use ws_stream::batch;

/// Tickets that a truck can settle.
const FOR_TRUCKS: [&str; 3] = ["missed_collection", "extra_collection", "spill"];
/// States of a ticket that is still to be settled.
const OPEN: [&str; 4] = ["opened", "assigned", "planned", "reopened"];
/// Reasons of a visit that did not take place.
const NOT_REACHED: [&str; 3] = ["vehicle_full", "shift_end", "vehicle_breakdown"];
/// A stop with a time of its own that no event tells.
const VISIT_MS: i64 = 60_000;

/// Reads a board (system columns first).
pub(super) fn facts(rows: &RecordBatch) -> Result<Facts, BoardError> {
    for name in ["kind", "entity_id", "event_id"] {
        if rows.column_by_name(name).is_none() {
            return Err(BoardError::Rows(format!("column `{name}` is missing")));
        }
    }
    let mut facts = Facts { newest_ms: i64::MIN, ..Facts::default() };
    let times = batch::times(rows);
    for (i, at_ms) in times.iter().copied().enumerate() {
        let row = Row::new(rows, i);
        let said = Said { event_id: row.string("event_id"), at_ms };
        let (Some(kind), Some(id)) = (row.text("kind"), row.text("entity_id")) else {
            facts.trouble("no_entity", "row", "", said.event_id.as_deref(), "a row without kind or entity_id");
            continue;
        };
        if facts.tenant.is_empty() {
            facts.tenant = row.string("tenant").unwrap_or_default();
        }
        if matches!(kind, "forecast" | "ticket" | "vehicle" | "facility_status" | "closure" | "collection") {
            facts.newest_ms = facts.newest_ms.max(at_ms);
        }
        if let Err(what) = take(&mut facts, row, kind, id, said.clone()) {
            facts.trouble("unusable_row", kind, id, said.event_id.as_deref(), what);
        }
    }
    // The board's order depends on hashes: what is a list gets an order of its own.
    facts.decisions.sort_by(|a, b| (a.said.at_ms, &a.said.event_id).cmp(&(b.said.at_ms, &b.said.event_id)));
    facts.visits.sort_by(|a, b| (a.said.at_ms, &a.site_id, &a.said.event_id).cmp(&(b.said.at_ms, &b.site_id, &b.said.event_id)));
    facts.tickets.sort_by(|a, b| a.id.cmp(&b.id));
    facts.closures.sort_by(|a, b| (&a.closure.segment_ids, a.closure.from_ms).cmp(&(&b.closure.segment_ids, b.closure.from_ms)));
    facts.containers.values_mut().for_each(|all| all.sort_by(|a, b| a.id.cmp(&b.id)));
    facts.troubles.sort();
    Ok(facts)
}

fn take(facts: &mut Facts, row: Row<'_>, kind: &str, id: &str, said: Said) -> Result<(), String> {
    let need = |name: &str| row.string(name).ok_or_else(|| format!("`{name}` is missing"));
    match kind {
        "site" => {
            let site = Site {
                place: row.place().ok_or("it has no place on the globe")?,
                time_zone: row.string("time_zone"),
                service_ms: row.number("service_s").filter(|s| *s >= 0.0).map(|s| (s * 1e3) as i64),
                access_s: (row.number("access_from_s"), row.number("access_to_s")),
                max_vehicle_m: row.number("length_m"),
            };
            facts.sites.insert(id.into(), site);
        }
        "container" => {
            let capacity_l = row.number("capacity_l").filter(|l| *l > 0.0).ok_or("its capacity is not above 0")?;
            let container = Container { id: id.into(), stream: need("waste_stream")?, capacity_l };
            facts.containers.entry(need("site_id")?).or_default().push(container);
        }
        "forecast" => {
            facts.forecasts.insert(need("container_id")?, forecast(row, said)?);
        }
        "schedule" => {
            facts.schedules.insert(id.into(), Schedule { next_visit_ms: row.int("next_visit_at") });
        }
        "ticket" => {
            let (state, category) = (need("status")?, need("category")?);
            if OPEN.contains(&state.as_str()) && FOR_TRUCKS.contains(&category.as_str()) {
                let pressing = matches!(row.text("priority"), Some("high" | "urgent"));
                let opened_ms = row.int("starts_at").unwrap_or(said.at_ms);
                facts.tickets.push(Ticket { id: id.into(), said, site_id: row.string("site_id"), pressing, due_ms: row.int("due_at"), opened_ms });
            }
        }
        "vehicle" => {
            facts.trucks.insert(id.into(), truck(row, id, said)?);
        }
        "vehicle_elsewhere" => {
            facts.elsewhere.insert(id.into(), need("other_area")?);
        }
        "facility" => {
            let facility = Facility {
                kind: need("category")?,
                place: row.place().ok_or("it has no place on the globe")?,
                time_zone: row.string("time_zone"),
                hours_s: (row.number("access_from_s"), row.number("access_to_s")),
                streams: row.items("streams"),
                unload_ms: (row.number("service_s").unwrap_or(600.0).max(0.0) * 1e3) as i64,
            };
            facts.facilities.insert(id.into(), facility);
        }
        "facility_status" => {
            let wait_ms = (row.number("service_s").unwrap_or(0.0).max(0.0) * 1e3) as i64;
            let state = FacilityState { said, status: need("status")?, streams: row.items("streams"), wait_ms, until_ms: row.int("ends_at") };
            facts.facility_states.insert(id.into(), state);
        }
        "closure" => {
            // What is only slow or limited to some vehicles does not close a road for all of them.
            if matches!(row.text("category"), Some("closed" | "no_trucks")) {
                let direction = row.text("direction").and_then(Direction::of_name);
                let closure = Closure {
                    segment_ids: row.items("segments"),
                    direction,
                    from_ms: row.int("starts_at").ok_or("`starts_at` is missing")?,
                    until_ms: row.int("ends_at").unwrap_or(i64::MAX),
                };
                facts.closures.push(RoadClosure { said, closure });
            }
        }
        "decision" => {
            facts.decisions.push(Decision {
                said,
                plan_id: need("plan_id")?,
                version: row.int("plan_version").ok_or("`plan_version` is missing")?,
                kind: need("decision")?,
                vehicle_id: row.string("vehicle_id"),
                site_id: row.string("site_id"),
                position: row.int("position"),
            });
        }
        "collection" => {
            let outcome = need("status")?;
            let reason = row.text("reason").unwrap_or("");
            facts.visits.push(Visit {
                said,
                site_id: need("site_id")?,
                vehicle_id: need("vehicle_id")?,
                served: matches!(outcome.as_str(), "served" | "partial"),
                not_reached: outcome == "skipped" && NOT_REACHED.contains(&reason),
                weight_kg: row.number("load_kg"),
                volume_l: row.number("load_l"),
                stream: row.string("waste_stream"),
                service_ms: row.number("service_s").map_or(VISIT_MS, |s| (s.max(0.0) * 1e3) as i64),
            });
        }
        "stream" => {
            let density = row.number("density_kg_per_l").filter(|d| *d > 0.0).ok_or("its density is not above 0")?;
            facts.densities.insert(id.into(), density);
            facts.apart.insert(id.into(), row.items("streams"));
        }
        "cost" => {
            let cost = row.number("cost_minor").filter(|c| *c >= 0.0).ok_or("its cost is not a number from 0 up")?;
            facts.costs.insert(id.into(), cost);
            facts.currency = row.string("currency").or(facts.currency.take());
        }
        "pace" => facts.pace = Pace::read(row.text("pace").unwrap_or("")).ok_or("`pace` is none")?,
        other => return Err(format!("rows of kind `{other}` mean nothing here")),
    }
    Ok(())
}

fn forecast(row: Row<'_>, said: Said) -> Result<Forecast, String> {
    let level = row.number("filling_level").ok_or("it has no level")?;
    let mut levels = Vec::new();
    for (hours, p50, p90) in [(6.0, "level_6h_p50", "level_6h_p90"), (24.0, "level_24h_p50", "level_24h_p90"), (48.0, "level_48h_p50", "level_48h_p90")] {
        if let (Some(p50), Some(p90)) = (row.number(p50), row.number(p90)) {
            levels.push((hours, p50.max(0.0), p90.max(p50).max(0.0)));
        }
    }
    let quantiles = row.number("hours_to_full_p10").zip(row.number("hours_to_full_p50")).zip(row.number("hours_to_full_p90"));
    let hours_to_full = quantiles.map(|((a, b), c)| (a.max(0.0), b.max(a).max(0.0), c.max(b).max(a).max(0.0)));
    Ok(Forecast { said, level: level.max(0.0), levels, hours_to_full })
}

fn truck(row: Row<'_>, id: &str, said: Said) -> Result<Truck, String> {
    let shift = match (row.string("shift_id"), row.int("shift_from"), row.int("shift_to"), row.string("depot_id")) {
        (Some(id), Some(from_ms), Some(to_ms), Some(depot_id)) if from_ms < to_ms => Some(Shift {
            id,
            end_depot_id: row.string("end_depot_id").unwrap_or_else(|| depot_id.clone()),
            depot_id,
            from_ms,
            to_ms,
            break_ms: row.int("break_ms").unwrap_or(0),
            break_from_ms: row.int("break_from"),
            break_to_ms: row.int("break_to"),
        }),
        (None, ..) => None,
        (Some(id), ..) => return Err(format!("shift {id} has no time or no depot, or ends before it begins")),
    };
    Ok(Truck {
        id: id.into(),
        said,
        in_service: row.flag("in_service"),
        length_m: row.number("length_m"),
        payload_kg: row.number("payload_kg").unwrap_or(0.0),
        volume_l: row.number("volume_l").unwrap_or(0.0),
        streams: row.items("streams"),
        skills: row.items("skills"),
        shift,
        started_ms: row.int("started_at"),
        ended_ms: row.int("ended_at"),
        break_taken: row.flag("break_taken"),
        status: row.string("status"),
        seen_ms: row.int("seen_at"),
        latitude_deg: row.number("latitude_deg"),
        longitude_deg: row.number("longitude_deg"),
        load_kg: row.number("load_kg"),
        load_l: row.number("load_l"),
        loaded_stream: row.string("waste_stream"),
        disposed_ms: row.int("disposed_at"),
        next_stop_site_id: row.string("next_stop_site_id"),
        driven_m: row.number("driven_m"),
        silent: row.flag("silent"),
    })
}
