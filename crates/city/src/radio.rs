//! What trucks tell: status, diagnostics, shifts and repairs.

use crate::calendar::{DAY_MS, MINUTE_MS, SECOND_MS};
use crate::city::{Action, City};
use crate::events_vehicles::{Diagnosis, Doing, ShiftChange, WorkOrder, shift_event, vehicle_diagnostics, vehicle_status, workorder_event};
use crate::faults::FaultKind;
use crate::fleet::{Order, Phase, TANK_L};
use crate::health::PARTS;

impl City {
    pub(crate) fn on_truck_diagnose(&mut self, index: usize, duty_number: u64) {
        let now_ms = self.now_ms;
        let ambient_degc = self.fill.weather.ambient_degc(&self.fill.clock, now_ms);
        let truck = &mut self.trucks[index];
        let Some(duty) = truck.duty.as_ref() else {
            return;
        };
        if truck.duties != duty_number {
            return;
        }
        let warm = (((now_ms - duty.started_ms) as f64) / (20 * MINUTE_MS) as f64).min(1.0);
        let driving = matches!(duty.phase, Phase::Driving(_));
        let drift = truck.health.drift();
        let fault_codes = truck.health.codes(&mut truck.rng);
        let sample = Diagnosis {
            odometer_m: truck.odometer_m,
            engine_hours_h: truck.engine_h,
            engine_speed_rpm: if driving { truck.rng.between(1_050.0, 1_900.0) } else { truck.rng.between(620.0, 900.0) },
            coolant_degc: ambient_degc + (84.0 - ambient_degc) * warm + drift.coolant_degc + 1.5 * truck.rng.normal(),
            oil_pressure_kpa: 390.0 + drift.oil_pressure_kpa - 25.0 * warm + 10.0 * truck.rng.normal(),
            oil_degc: ambient_degc + (92.0 - ambient_degc) * warm + drift.oil_degc + 2.0 * truck.rng.normal(),
            battery_v: 27.8 + drift.battery_v + 0.15 * truck.rng.normal(),
            hydraulic_pressure_kpa: 18_500.0 + drift.hydraulic_pressure_kpa + 250.0 * drift.hydraulic_scatter * truck.rng.normal(),
            lift_cycles: truck.lift_cycles,
            compactor_cycles: truck.lift_cycles * 3 / 4,
            brake_wear: drift.brake_wear,
            tyre_pressure_min_kpa: 780.0 + 0.8 * (ambient_degc - 15.0) + 6.0 * truck.rng.normal(),
            adblue_level: (0.2 + 0.8 * truck.fuel_level).min(1.0),
            fault_codes,
        };
        let draft = vehicle_diagnostics(&truck.id, &sample);
        self.emit_now(draft, "telematics");
        self.agenda.push(now_ms + 10 * MINUTE_MS, Action::TruckDiagnose(index, duty_number));
    }

    pub(crate) fn tell_status(&mut self, index: usize, status: &'static str) {
        let truck = &self.trucks[index];
        let next = truck
            .duty
            .as_ref()
            .and_then(|duty| duty.orders[duty.next.min(duty.orders.len())..].iter().find_map(Order::site))
            .map(|site| self.layout.sites[site].id.as_str());
        let doing = Doing {
            status,
            load_kg: truck.total_kg(),
            load_l: truck.load_l,
            load_level: truck.total_kg() / truck.payload_kg(),
            fuel_level: truck.fuel_level,
            range_m: truck.fuel_level * TANK_L / 0.45 * 1_000.0,
            next_stop_site_id: next,
            at: self.degrees_of(truck.on),
        };
        let draft = vehicle_status(&truck.id, &doing);
        self.emit_now(draft, "telematics");
    }

    pub(crate) fn tell_shift(&mut self, index: usize, event: &'static str, paid_s: Option<f64>) {
        let truck = &self.trucks[index];
        let Some(duty) = truck.duty.as_ref() else {
            return;
        };
        let at_depot = matches!(event, "started" | "ended");
        let change = ShiftChange {
            shift_id: &duty.shift_id,
            driver_id: &duty.driver_id,
            vehicle_id: &truck.id,
            event,
            depot_id: at_depot.then(|| self.layout.depots[truck.depot].id.as_str()),
            crew_size: duty.crew_size,
            paid_s,
        };
        let draft = shift_event(&change);
        self.emit_now(draft, "crew-app");
    }

    /// The part that broke down on duty, and its repair.
    pub(crate) fn tell_repair(&mut self, index: usize, part: usize, state: &'static str, ended_at_ms: Option<i64>) {
        let now_ms = self.now_ms;
        let failed_ms = self.history.faults.iter().rev().find(|fault| fault.kind == FaultKind::Breakdown && fault.subject == self.trucks[index].id);
        let failed_at_ms = failed_ms.map(|fault| fault.from_ms);
        let workorder_id = format!("wo-{}-{}", self.trucks[index].id, failed_at_ms.unwrap_or(now_ms) / DAY_MS);
        let order = WorkOrder {
            asset_id: &self.trucks[index].id,
            asset_type: "vehicle",
            workorder_id: &workorder_id,
            state,
            kind: "corrective",
            component: PARTS[part],
            fault_code: self.trucks[index].fault_code,
            failed_at_ms,
            ended_at_ms,
            downtime_s: ended_at_ms.zip(failed_at_ms).map(|(to, from)| (to - from) as f64 / SECOND_MS as f64),
            odometer_m: Some(self.trucks[index].odometer_m),
        };
        let draft = workorder_event(&order);
        self.emit_now(draft, "workshop");
    }

    /// A part that the workshop replaced before it failed, after the shift.
    pub(crate) fn tell_part_replaced(&mut self, index: usize, part: usize) {
        let now_ms = self.now_ms;
        let workorder_id = format!("wo-{}-{}-{}", self.trucks[index].id, now_ms / DAY_MS, PARTS[part]);
        let order = WorkOrder {
            asset_id: &self.trucks[index].id,
            asset_type: "vehicle",
            workorder_id: &workorder_id,
            state: "completed",
            kind: "preventive",
            component: PARTS[part],
            fault_code: None,
            failed_at_ms: None,
            ended_at_ms: Some(now_ms),
            downtime_s: None,
            odometer_m: Some(self.trucks[index].odometer_m),
        };
        let draft = workorder_event(&order);
        self.emit_now(draft, "workshop");
    }
}
