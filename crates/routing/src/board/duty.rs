//! `duty`: one row for each truck — what it is, whose shift it drives, where it is, what it holds — and which planning area
//! it belongs to now. It is keyed by vehicle, so there is one place in the world that says which area plans a truck, and
//! no truck is in two current plans.
//!
//! The rule, among shifts that are neither cancelled nor over: one that a crew has begun; else the one that begins first;
//! else the one that starts at the truck's home depot; else the lowest area, then the lowest shift id. Areas that want a
//! truck at the same time and do not get it are told so.

use super::row::Row;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::custom::{Cell, CustomContract, CustomError, CustomOp, KeyContext};

/// A shift that ended is shown so long, that planners see its end.
const HOLD_MS: i64 = 30 * 60_000;
/// A shift whose end nobody tells is over so long after it should have ended; one that was never begun.
const OVERRUN_MS: i64 = 6 * 3_600_000;
const NEVER_BEGUN_MS: i64 = 2 * 3_600_000;
/// Positions are passed on this often.
const POSITION_EVERY_MS: i64 = 60_000;
/// Shifts remembered of one truck.
const MAX_SHIFTS: usize = 64;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Truck {
    in_service: bool,
    home_depot_id: Option<String>,
    length_m: Option<f64>,
    payload_kg: Option<f64>,
    volume_l: Option<f64>,
    streams: Option<String>,
    skills: Option<String>,
    valid_to_ms: Option<i64>,
    at_ms: i64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Shift {
    area: String,
    depot_id: Option<String>,
    end_depot_id: Option<String>,
    from_ms: i64,
    to_ms: i64,
    break_ms: Option<i64>,
    break_from_ms: Option<i64>,
    break_to_ms: Option<i64>,
    cancelled: bool,
    started_ms: Option<i64>,
    ended_ms: Option<i64>,
    break_taken: bool,
    /// Odometer at the start.
    odometer_m: Option<f64>,
    at_ms: i64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Now {
    status: Option<String>,
    status_ms: i64,
    load_kg: Option<f64>,
    load_l: Option<f64>,
    stream: Option<String>,
    next_stop: Option<String>,
    disposed_ms: Option<i64>,
    place: Option<(f64, f64)>,
    seen_ms: Option<i64>,
    odometer_m: Option<f64>,
    told_ms: i64,
    silent: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    tenant: String,
    truck: Option<Truck>,
    shifts: BTreeMap<String, Shift>,
    now: Now,
    /// Area that has it, and areas that were told that they do not.
    area: Option<String>,
    elsewhere: BTreeSet<String>,
    emitted_ms: i64,
    event_id: Option<String>,
}

/// How a row is to be taken by planners.
#[derive(Debug, Clone, Copy)]
struct Urgency {
    urgent: bool,
    quiet: bool,
    silent_ms: i64,
}

/// The operator.
#[derive(Debug)]
pub struct Duty {
    silent_ms: i64,
}

const READ_TEXTS: [&str; 13] = [
    "kind",
    "entity_id",
    "event_id",
    "tenant",
    "area",
    "depot_id",
    "end_depot_id",
    "streams",
    "skills",
    "shift_id",
    "status",
    "waste_stream",
    "next_stop_site_id",
];
const READ_INTS: [&str; 6] = ["shift_from", "shift_to", "break_ms", "break_from", "break_to", "ends_at"];
const READ_NUMBERS: [&str; 8] = ["length_m", "payload_kg", "volume_l", "latitude_deg", "longitude_deg", "load_kg", "load_l", "odometer_m"];
const READ_FLAGS: [&str; 2] = ["in_service", "cancelled"];
const TEXTS: [&str; 15] = [
    "planning_area_id",
    "kind",
    "entity_id",
    "event_id",
    "tenant",
    "streams",
    "skills",
    "shift_id",
    "depot_id",
    "end_depot_id",
    "status",
    "waste_stream",
    "next_stop_site_id",
    "other_area",
    "time_zone",
];
const INTS: [&str; 10] = ["shift_from", "shift_to", "break_ms", "break_from", "break_to", "started_at", "ended_at", "seen_at", "disposed_at", "expires_at"];
const NUMBERS: [&str; 8] = ["length_m", "payload_kg", "volume_l", "latitude_deg", "longitude_deg", "load_kg", "load_l", "driven_m"];
const FLAGS: [&str; 6] = ["in_service", "break_taken", "silent", "gone", "urgent", "quiet"];

fn schema() -> Schema {
    let of = |names: &[&str], t: DataType| names.iter().map(|n| Field::new(*n, t.clone(), true)).collect::<Vec<_>>();
    let mut fields = of(&TEXTS, DataType::Utf8);
    fields.extend(of(&INTS, DataType::Int64));
    fields.extend(of(&NUMBERS, DataType::Float64));
    fields.extend(of(&FLAGS, DataType::Boolean));
    Schema::new(fields)
}

impl Duty {
    /// Settings: `silent_min`, after how many minutes of silence a truck on duty is taken for lost (45).
    ///
    /// # Errors
    /// Words about a setting.
    pub fn new(with: &BTreeMap<String, String>) -> Result<Duty, String> {
        let mut silent_min = 45.0;
        for (name, value) in with {
            match name.as_str() {
                "silent_min" => {
                    silent_min = value.parse::<f64>().ok().filter(|m| *m > 0.0).ok_or_else(|| format!("silent_min: {value:?} is not a number above 0"))?
                }
                other => return Err(format!("there is no setting `{other}`")),
            }
        }
        Ok(Duty { silent_ms: (silent_min * 60_000.0) as i64 })
    }

    /// What it needs and makes.
    pub fn contract() -> CustomContract {
        let of = |names: &[&str], t: DataType| names.iter().map(|n| ((*n).to_string(), t.clone())).collect::<Vec<_>>();
        let mut inputs = of(&READ_TEXTS, DataType::Utf8);
        inputs.extend(of(&READ_INTS, DataType::Int64));
        inputs.extend(of(&READ_NUMBERS, DataType::Float64));
        inputs.extend(of(&READ_FLAGS, DataType::Boolean));
        CustomContract { inputs, outputs: Arc::new(schema()) }
    }
}

impl State {
    fn read(bytes: &[u8]) -> Result<State, CustomError> {
        if bytes.is_empty() {
            return Ok(State::default());
        }
        serde_json::from_slice(bytes).map_err(|e| CustomError(format!("stored state of a vehicle: {e}")))
    }

    /// Takes a row; true when it was news, and whether it was urgent.
    fn take(&mut self, row: Row<'_>, at_ms: i64) -> Result<(bool, bool), CustomError> {
        let kind = row.text("kind").unwrap_or("");
        let id = row.string("entity_id").ok_or_else(|| CustomError("a row without entity_id".into()))?;
        if let Some(tenant) = row.string("tenant") {
            self.tenant = tenant;
        }
        let number = |name: &str| row.number(name);
        match kind {
            "vehicle" => {
                if self.truck.as_ref().is_some_and(|t| t.at_ms > at_ms) {
                    return Ok((false, false));
                }
                let before = self.truck.as_ref().map(|t| t.in_service);
                let truck = Truck {
                    in_service: row.flag("in_service"),
                    home_depot_id: row.string("depot_id"),
                    length_m: number("length_m"),
                    payload_kg: number("payload_kg"),
                    volume_l: number("volume_l"),
                    streams: row.string("streams"),
                    skills: row.string("skills"),
                    valid_to_ms: row.int("ends_at"),
                    at_ms,
                };
                let urgent = before == Some(true) && !truck.in_service;
                self.truck = Some(truck);
                Ok((true, urgent))
            }
            "shift" => {
                let known = self.shifts.get(&id).cloned().unwrap_or_default();
                if known.at_ms > at_ms {
                    return Ok((false, false));
                }
                let area = row.string("area").ok_or_else(|| CustomError(format!("shift {id} has no planning area")))?;
                let (Some(from_ms), Some(to_ms)) = (row.int("shift_from"), row.int("shift_to")) else {
                    return Err(CustomError(format!("shift {id} has no times")));
                };
                let urgent = row.flag("cancelled") && known.started_ms.is_some();
                let shift = Shift {
                    area,
                    depot_id: row.string("depot_id"),
                    end_depot_id: row.string("end_depot_id"),
                    from_ms,
                    to_ms,
                    break_ms: row.int("break_ms"),
                    break_from_ms: row.int("break_from"),
                    break_to_ms: row.int("break_to"),
                    cancelled: row.flag("cancelled"),
                    at_ms,
                    ..known
                };
                self.shifts.insert(id, shift);
                while self.shifts.len() > MAX_SHIFTS {
                    let oldest = self.shifts.iter().min_by_key(|(_, s)| s.to_ms).map(|(id, _)| id.clone());
                    oldest.map(|id| self.shifts.remove(&id));
                }
                Ok((true, urgent))
            }
            "crew" => {
                let odometer_m = self.now.odometer_m;
                let shift = self.shifts.entry(row.string("shift_id").unwrap_or(id)).or_default();
                match row.text("status").unwrap_or("") {
                    "started" => {
                        shift.started_ms = Some(shift.started_ms.map_or(at_ms, |ms| ms.min(at_ms)));
                        shift.odometer_m = shift.odometer_m.or(odometer_m);
                        self.now.seen_ms = self.now.seen_ms.max(Some(at_ms));
                    }
                    "break_started" | "break_ended" => shift.break_taken = true,
                    "ended" => shift.ended_ms = Some(at_ms),
                    "cancelled" => shift.cancelled = true,
                    _ => return Ok((false, false)),
                }
                Ok((true, false))
            }
            "status" => {
                if self.now.status_ms > at_ms {
                    return Ok((false, false));
                }
                let status = row.string("status");
                let down = |s: &Option<String>| matches!(s.as_deref(), Some("broken_down" | "offline"));
                let urgent = down(&status) != down(&self.now.status);
                // What it held before it tipped is gone with the first status after.
                if self.now.status.as_deref() == Some("disposing") && status.as_deref() != Some("disposing") {
                    self.now.disposed_ms = Some(at_ms);
                }
                self.now.status = status;
                self.now.status_ms = at_ms;
                self.now.load_kg = number("load_kg");
                self.now.load_l = number("load_l");
                self.now.stream = row.string("waste_stream");
                self.now.next_stop = row.string("next_stop_site_id");
                self.seen(row, at_ms);
                Ok((true, urgent))
            }
            "position" => {
                if self.now.seen_ms.is_some_and(|seen_ms| seen_ms > at_ms) {
                    return Ok((false, false));
                }
                let was_silent = self.now.silent;
                if let Some(odometer_m) = number("odometer_m") {
                    self.now.odometer_m = Some(odometer_m);
                    // A shift that began before the first odometer reading counts from there.
                    for shift in self.shifts.values_mut().filter(|s| s.started_ms.is_some() && s.ended_ms.is_none()) {
                        shift.odometer_m = shift.odometer_m.or(Some(odometer_m));
                    }
                }
                self.seen(row, at_ms);
                Ok((was_silent || at_ms - self.now.told_ms >= POSITION_EVERY_MS, was_silent))
            }
            _ => Ok((false, false)),
        }
    }

    fn seen(&mut self, row: Row<'_>, at_ms: i64) {
        if self.now.seen_ms.is_none_or(|seen_ms| seen_ms <= at_ms) {
            if let Some(place) = row.place() {
                self.now.place = Some(((place.latitude_deg * 1e5).round() / 1e5, (place.longitude_deg * 1e5).round() / 1e5));
            }
            self.now.seen_ms = Some(at_ms);
            self.now.silent = false;
        }
    }

    /// When a shift is over for planners.
    fn over_ms(shift: &Shift) -> i64 {
        match (shift.ended_ms, shift.started_ms) {
            (Some(ended_ms), _) => ended_ms + HOLD_MS,
            (None, Some(_)) => shift.to_ms + OVERRUN_MS,
            (None, None) => shift.to_ms + NEVER_BEGUN_MS,
        }
    }

    /// The shifts that count, best first.
    fn candidates(&self, at_ms: i64) -> Vec<(&String, &Shift)> {
        let home = |s: &Shift| self.truck.as_ref().is_some_and(|t| t.home_depot_id.is_some() && t.home_depot_id == s.depot_id);
        let mut all: Vec<_> =
            self.shifts.iter().filter(|(_, s)| !s.cancelled && s.from_ms < s.to_ms && !s.area.is_empty() && Self::over_ms(s) > at_ms).collect();
        all.sort_by_key(|(id, s)| (s.started_ms.is_none(), s.from_ms, !home(s), s.area.clone(), (*id).clone()));
        all
    }

    /// Rows for the areas concerned: whose it is, whose it is no more, who does not get it.
    fn tell(&mut self, cx: &mut KeyContext<'_>, time_ms: i64, vehicle_id: &str, urgency: Urgency) {
        let time_ms = time_ms.max(self.emitted_ms);
        self.emitted_ms = time_ms;
        self.shifts.retain(|_, s| s.at_ms == 0 || Self::over_ms(s) + 24 * 3_600_000 > time_ms);
        let candidates: Vec<(String, Shift)> = self.candidates(time_ms).into_iter().map(|(id, s)| (id.clone(), s.clone())).collect();
        let chosen = candidates.first().filter(|_| self.truck.is_some()).cloned();
        let area = chosen.as_ref().map(|(_, s)| s.area.clone());
        let gone = |area: &str, kind: &str| {
            BTreeMap::from([
                ("planning_area_id", text(area)),
                ("kind", text(kind)),
                ("entity_id", text(vehicle_id)),
                ("gone", Cell::Bool(true)),
                ("urgent", Cell::Bool(kind == "vehicle")),
            ])
        };
        if let Some(old) = self.area.clone().filter(|old| Some(old) != area.as_ref()) {
            self.put(cx, time_ms, gone(&old, "vehicle"));
        }
        if let Some((id, shift)) = &chosen {
            let moved = self.area.is_some() && self.area != area;
            let row = self.row(vehicle_id, id, shift, urgency.urgent || moved, urgency.quiet && !moved);
            self.put(cx, time_ms, row);
            self.now.told_ms = time_ms;
        }
        let overlaps = |a: &Shift, b: &Shift| a.from_ms < b.to_ms && b.from_ms < a.to_ms;
        let want: BTreeSet<String> = chosen
            .iter()
            .flat_map(|(_, mine)| candidates.iter().filter(|(_, s)| s.area != mine.area && overlaps(s, mine)).map(|(_, s)| s.area.clone()))
            .collect();
        for lost in self.elsewhere.difference(&want).cloned().collect::<Vec<_>>() {
            self.put(cx, time_ms, gone(&lost, "vehicle_elsewhere"));
        }
        for refused in want.difference(&self.elsewhere).cloned().collect::<Vec<_>>() {
            let mut row = gone(&refused, "vehicle_elsewhere");
            row.insert("gone", Cell::Bool(false));
            row.insert("other_area", area.as_deref().map_or(Cell::Null, text));
            self.put(cx, time_ms, row);
        }
        (self.area, self.elsewhere) = (area, want);
        // The next moment at which something changes by itself.
        let over_ms = candidates.iter().map(|(_, s)| Self::over_ms(s)).min();
        let silent_ms = chosen.as_ref().and_then(|(_, s)| self.silent_at(s, urgency.silent_ms));
        cx.set_timer([over_ms, silent_ms].into_iter().flatten().min());
    }

    /// When it counts as lost, if nothing is heard.
    fn silent_at(&self, shift: &Shift, after_ms: i64) -> Option<i64> {
        let on_duty = shift.started_ms.is_some() && shift.ended_ms.is_none() && !self.now.silent;
        on_duty.then_some(self.now.seen_ms.or(shift.started_ms)?.saturating_add(after_ms))
    }

    fn row(&self, vehicle_id: &str, shift_id: &str, shift: &Shift, urgent: bool, quiet: bool) -> BTreeMap<&'static str, Cell> {
        let truck = self.truck.clone().unwrap_or_default();
        let opt_text = |t: &Option<String>| t.as_deref().map_or(Cell::Null, text);
        let opt_int = |v: Option<i64>| v.map_or(Cell::Null, Cell::Int);
        let opt_num = |v: Option<f64>| v.filter(|v| v.is_finite()).map_or(Cell::Null, Cell::Float);
        let now = &self.now;
        let in_service = truck.in_service && truck.valid_to_ms.is_none_or(|to_ms| to_ms > shift.from_ms);
        let driven_m = now.odometer_m.zip(shift.odometer_m).map(|(now_m, start_m)| (now_m - start_m).max(0.0)).filter(|_| shift.started_ms.is_some());
        BTreeMap::from([
            ("planning_area_id", text(&shift.area)),
            ("kind", text("vehicle")),
            ("entity_id", text(vehicle_id)),
            ("streams", opt_text(&truck.streams)),
            ("skills", opt_text(&truck.skills)),
            ("shift_id", text(shift_id)),
            ("depot_id", opt_text(&shift.depot_id.clone().or(truck.home_depot_id.clone()))),
            ("end_depot_id", opt_text(&shift.end_depot_id)),
            ("status", opt_text(&now.status)),
            ("waste_stream", opt_text(&now.stream)),
            ("next_stop_site_id", opt_text(&now.next_stop)),
            ("shift_from", Cell::Int(shift.from_ms)),
            ("shift_to", Cell::Int(shift.to_ms)),
            ("break_ms", opt_int(shift.break_ms)),
            ("break_from", opt_int(shift.break_from_ms)),
            ("break_to", opt_int(shift.break_to_ms)),
            ("started_at", opt_int(shift.started_ms)),
            ("ended_at", opt_int(shift.ended_ms)),
            ("seen_at", opt_int(now.seen_ms)),
            ("disposed_at", opt_int(now.disposed_ms)),
            ("expires_at", Cell::Int(Self::over_ms(shift) + HOLD_MS)),
            ("length_m", opt_num(truck.length_m)),
            ("payload_kg", opt_num(truck.payload_kg)),
            ("volume_l", opt_num(truck.volume_l)),
            ("latitude_deg", opt_num(now.place.map(|p| p.0))),
            ("longitude_deg", opt_num(now.place.map(|p| p.1))),
            ("load_kg", opt_num(now.load_kg)),
            ("load_l", opt_num(now.load_l)),
            ("driven_m", opt_num(driven_m)),
            ("in_service", Cell::Bool(in_service)),
            ("break_taken", Cell::Bool(shift.break_taken)),
            ("silent", Cell::Bool(now.silent)),
            ("gone", Cell::Bool(false)),
            ("urgent", Cell::Bool(urgent)),
            ("quiet", Cell::Bool(quiet)),
        ])
    }

    fn put(&self, cx: &mut KeyContext<'_>, time_ms: i64, mut row: BTreeMap<&'static str, Cell>) {
        row.insert("event_id", self.event_id.as_deref().map_or(Cell::Null, text));
        row.insert("tenant", text(&self.tenant));
        let names = TEXTS.iter().chain(&INTS).chain(&NUMBERS).chain(&FLAGS);
        let flag = |n: &str| FLAGS.contains(&n);
        cx.emit(time_ms, names.map(|n| row.remove(n).unwrap_or(if flag(n) { Cell::Bool(false) } else { Cell::Null })).collect());
    }
}

fn text(t: &str) -> Cell {
    Cell::Text(t.to_owned())
}

impl CustomOp for Duty {
    fn row(&mut self, cx: &mut KeyContext<'_>, rows: &RecordBatch, i: usize) -> Result<(), CustomError> {
        let mut state = State::read(cx.state)?;
        let (row, at_ms) = (Row::new(rows, i), batch::times(rows)[i]);
        let vehicle_id = String::from_utf8_lossy(cx.key).into_owned();
        let quiet = row.text("kind") == Some("position");
        let (news, urgent) = state.take(row, at_ms)?;
        if news {
            state.event_id = row.string("event_id");
            state.tell(cx, at_ms, &vehicle_id, Urgency { urgent, quiet: quiet && !urgent, silent_ms: self.silent_ms });
        } else if let (Some(area), Some(silent_ms)) = (&state.area, cx.timer_ms()) {
            // A sign of life puts the alarm off.
            let shift = state.candidates(at_ms).into_iter().find(|(_, s)| s.area == *area).map(|(_, s)| s.clone());
            let later = shift.and_then(|s| state.silent_at(&s, self.silent_ms).map(|ms| ms.min(State::over_ms(&s))));
            cx.set_timer(Some(later.unwrap_or(silent_ms)));
        }
        *cx.state = serde_json::to_vec(&state).map_err(|e| CustomError(e.to_string()))?;
        Ok(())
    }

    fn timer(&mut self, cx: &mut KeyContext<'_>, due_ms: i64) -> Result<(), CustomError> {
        let mut state = State::read(cx.state)?;
        let vehicle_id = String::from_utf8_lossy(cx.key).into_owned();
        let current = state.candidates(due_ms).first().map(|(_, s)| (*s).clone());
        let silent = current.and_then(|s| state.silent_at(&s, self.silent_ms)).is_some_and(|at_ms| at_ms <= due_ms);
        state.now.silent |= silent;
        // Nothing was heard: there is no event to blame.
        if silent {
            state.event_id = None;
        }
        state.tell(cx, due_ms, &vehicle_id, Urgency { urgent: silent, quiet: false, silent_ms: self.silent_ms });
        *cx.state = serde_json::to_vec(&state).map_err(|e| CustomError(e.to_string()))?;
        Ok(())
    }
}
