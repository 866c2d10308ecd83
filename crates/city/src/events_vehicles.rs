//! Records of trucks, shifts, weighbridge and workshop: one constructor a topic, fields as in `schemas/`.

use crate::events::{Draft, rounded};

/// One GPS fix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fix {
    pub at: (f64, f64),
    pub speed_mps: f64,
    /// `None` while it stands.
    pub heading_deg: Option<f64>,
    pub accuracy_m: f64,
    pub odometer_m: f64,
}

pub(crate) fn vehicle_position(vehicle_id: &str, fix: Fix) -> Draft {
    Draft::new("vehicle.position", "vehicle_id", vehicle_id)
        .at(fix.at)
        .set("speed_mps", rounded(fix.speed_mps, 1))
        .set("heading_deg", fix.heading_deg.map(|deg| rounded(deg, 0)))
        .set("accuracy_m", rounded(fix.accuracy_m, 1))
        .set("odometer_m", rounded(fix.odometer_m, 0))
        .set("ignition_on", true)
}

/// What a truck is doing.
#[derive(Debug, Clone)]
pub(crate) struct Doing<'a> {
    pub status: &'static str,
    pub load_kg: f64,
    pub load_l: f64,
    pub load_level: f64,
    pub fuel_level: f64,
    pub range_m: f64,
    pub next_stop_site_id: Option<&'a str>,
    pub at: (f64, f64),
}

pub(crate) fn vehicle_status(vehicle_id: &str, doing: &Doing<'_>) -> Draft {
    Draft::new("vehicle.status", "vehicle_id", vehicle_id)
        .set("status", doing.status)
        .set("load_kg", rounded(doing.load_kg, 0))
        .set("load_l", rounded(doing.load_l, 0))
        .set("load_level", rounded(doing.load_level, 3))
        .set("fuel_level", rounded(doing.fuel_level, 3))
        .set("range_m", rounded(doing.range_m, -2))
        .set("next_stop_site_id", doing.next_stop_site_id)
        .at(doing.at)
}

/// One sample of the on-board diagnostics.
#[derive(Debug, Clone)]
pub(crate) struct Diagnosis {
    pub odometer_m: f64,
    pub engine_hours_h: f64,
    pub engine_speed_rpm: f64,
    pub coolant_degc: f64,
    pub oil_pressure_kpa: f64,
    pub oil_degc: f64,
    pub battery_v: f64,
    pub hydraulic_pressure_kpa: f64,
    pub lift_cycles: i64,
    pub compactor_cycles: i64,
    pub brake_wear: f64,
    pub tyre_pressure_min_kpa: f64,
    pub adblue_level: f64,
    pub fault_codes: Vec<&'static str>,
}

pub(crate) fn vehicle_diagnostics(vehicle_id: &str, sample: &Diagnosis) -> Draft {
    Draft::new("vehicle.diagnostics", "vehicle_id", vehicle_id)
        .set("odometer_m", rounded(sample.odometer_m, 0))
        .set("engine_hours_h", rounded(sample.engine_hours_h, 2))
        .set("engine_speed_rpm", rounded(sample.engine_speed_rpm, 0))
        .set("coolant_degc", rounded(sample.coolant_degc, 1))
        .set("oil_pressure_kpa", rounded(sample.oil_pressure_kpa, 0))
        .set("oil_degc", rounded(sample.oil_degc, 1))
        .set("battery_v", rounded(sample.battery_v, 2))
        .set("hydraulic_pressure_kpa", rounded(sample.hydraulic_pressure_kpa, 0))
        .set("lift_cycles", sample.lift_cycles)
        .set("compactor_cycles", sample.compactor_cycles)
        .set("brake_wear", rounded(sample.brake_wear, 4))
        .set("tyre_pressure_min_kpa", rounded(sample.tyre_pressure_min_kpa, 0))
        .set("adblue_level", rounded(sample.adblue_level, 3))
        .set("fault_codes", sample.fault_codes.clone())
}

/// A shift that began, paused or ended.
#[derive(Debug, Clone)]
pub(crate) struct ShiftChange<'a> {
    pub shift_id: &'a str,
    pub driver_id: &'a str,
    pub vehicle_id: &'a str,
    pub event: &'static str,
    pub depot_id: Option<&'a str>,
    pub crew_size: i64,
    pub paid_s: Option<f64>,
}

pub(crate) fn shift_event(change: &ShiftChange<'_>) -> Draft {
    Draft::new("shift.event", "shift_id", change.shift_id)
        .set("driver_id", change.driver_id)
        .set("vehicle_id", change.vehicle_id)
        .set("event", change.event)
        .set("depot_id", change.depot_id)
        .set("skills", vec!["C"])
        .set("crew_size", change.crew_size)
        .set("paid_s", change.paid_s)
}

/// One load of one stream over the weighbridge.
#[derive(Debug, Clone)]
pub(crate) struct Weighing<'a> {
    pub ticket_id: &'a str,
    pub facility_id: &'a str,
    pub waste_stream: &'static str,
    pub gross_kg: f64,
    pub tare_kg: f64,
    pub fee_minor: i64,
    pub currency: &'a str,
}

pub(crate) fn weighbridge_ticket(vehicle_id: &str, weighing: &Weighing<'_>) -> Draft {
    Draft::new("weighbridge.ticket", "vehicle_id", vehicle_id)
        .set("ticket_id", weighing.ticket_id)
        .set("facility_id", weighing.facility_id)
        .set("waste_stream", weighing.waste_stream)
        .set("gross_kg", weighing.gross_kg)
        .set("tare_kg", weighing.tare_kg)
        .set("net_kg", weighing.gross_kg - weighing.tare_kg)
        .set("rejected", false)
        .set("fee_minor", weighing.fee_minor)
        .set("currency", weighing.currency)
}

pub(crate) fn fuel_event(vehicle_id: &str, volume_l: f64, odometer_m: f64, currency: &str, depot_id: &str) -> Draft {
    Draft::new("fuel.event", "vehicle_id", vehicle_id)
        .set("energy", "diesel")
        .set("volume_l", rounded(volume_l, 1))
        .set("odometer_m", rounded(odometer_m, 0))
        .set("cost_minor", (volume_l * 185.0).round() as i64)
        .set("currency", currency)
        .set("facility_id", depot_id)
}

/// A work order of the workshop.
#[derive(Debug, Clone)]
pub(crate) struct WorkOrder<'a> {
    pub asset_id: &'a str,
    pub asset_type: &'static str,
    pub workorder_id: &'a str,
    pub state: &'static str,
    pub kind: &'static str,
    pub component: &'static str,
    pub fault_code: Option<&'static str>,
    pub failed_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    pub downtime_s: Option<f64>,
    pub odometer_m: Option<f64>,
}

pub(crate) fn workorder_event(order: &WorkOrder<'_>) -> Draft {
    Draft::new("workorder.event", "asset_id", order.asset_id)
        .set("asset_type", order.asset_type)
        .set("workorder_id", order.workorder_id)
        .set("state", order.state)
        .set("kind", order.kind)
        .set("component", order.component)
        .set("fault_code", order.fault_code)
        .set("failed_at", order.failed_at_ms)
        .set("ends_at", order.ended_at_ms)
        .set("downtime_s", order.downtime_s)
        .set("odometer_m", order.odometer_m.map(|m| rounded(m, 0)))
}
