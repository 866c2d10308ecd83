//! What happens to the whole city: hours and days passing, weather reports, road closures, outages of disposal sites.

use crate::calendar::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::city::{Action, City};
use crate::config::Dispatch;
use crate::congestion::Incident;
use crate::events::{Sky, facility_status, road_closure, weather_forecast, weather_observed};
use crate::faults::FaultKind;
use crate::references::CALENDAR_DAYS;
use crate::rng::{Rng, hash2, rough_normal};
use crate::rounds::SHIFT_STARTS_MS;
use ws_routing::roads::{Direction, RoadClass, Segment, Snap};

/// Local time at which the shifts of the next day are published.
const EVENING_MS: i64 = 18 * HOUR_MS;
/// How far back the truth knows of incidents.
pub(crate) const SPEEDS_KEPT_MS: i64 = 8 * DAY_MS;
/// Hours between the runs of the weather forecast.
const FORECAST_EVERY_H: i64 = 6;

/// A closed road.
#[derive(Debug, Clone)]
pub(crate) struct Closure {
    number: usize,
    segments: Vec<Segment>,
    reason: &'static str,
    from_ms: i64,
    until_ms: i64,
}

impl City {
    /// Sets the hands of the city's clock: hours, evenings, midnights, and the shifts of the first days.
    pub(crate) fn plan_world(&mut self) {
        let start_ms = self.config.start_ms;
        let today = self.fill.clock.day(start_ms);
        self.agenda.push((start_ms.div_euclid(HOUR_MS) + 1) * HOUR_MS, Action::Hour);
        self.agenda.push(self.fill.clock.utc_ms(today + 1, 0), Action::Midnight(today + 1));
        let evening_ms = self.fill.clock.utc_ms(today, EVENING_MS);
        if evening_ms > start_ms {
            self.agenda.push(evening_ms, Action::Evening(today));
            self.plan_shifts(today);
        } else {
            self.agenda.push(self.fill.clock.utc_ms(today + 1, EVENING_MS), Action::Evening(today + 1));
            self.plan_shifts(today);
            self.plan_shifts(today + 1);
        }
        self.plan_closures();
        self.plan_incidents();
        self.plan_outages();
    }

    /// Shifts of a local day start at their time; those that should be under way start now with what is left of them.
    fn plan_shifts(&mut self, day: i64) {
        if self.config.dispatch == Dispatch::External {
            return;
        }
        for truck in 0..self.trucks.len() {
            let starts_ms = self.fill.clock.utc_ms(day, SHIFT_STARTS_MS[self.rounds.truck_shift[truck]]);
            let late_ms = self.trucks[truck].rng.int(0, 6 * MINUTE_MS);
            self.agenda.push((starts_ms + late_ms).max(self.now_ms), Action::ShiftStart(truck, day, self.config.start_ms));
        }
    }

    pub(crate) fn on_evening(&mut self, day: i64) {
        for draft in self.shifts_of(day + 1, self.now_ms) {
            self.emit_now(draft, "planning");
        }
        self.plan_shifts(day + 1);
        self.agenda.push(self.fill.clock.utc_ms(day + 1, EVENING_MS), Action::Evening(day + 1));
    }

    pub(crate) fn on_midnight(&mut self, day: i64) {
        for draft in self.calendar_of(day + CALENDAR_DAYS - 1, self.now_ms) {
            self.emit_now(draft, "asset-register");
        }
        let now_ms = self.now_ms;
        self.closures.retain(|closure| closure.until_ms > now_ms);
        self.closed.forget_before(now_ms);
        self.congestion.forget_before(now_ms - SPEEDS_KEPT_MS);
        self.plan_closures();
        self.plan_incidents();
        self.plan_outages();
        self.customers_consider();
        self.renew_promises();
        self.agenda.push(self.fill.clock.utc_ms(day + 1, 0), Action::Midnight(day + 1));
    }

    pub(crate) fn on_hour(&mut self) {
        let now_ms = self.now_ms;
        let hour = now_ms.div_euclid(HOUR_MS);
        let (clock, weather) = (&self.fill.clock, &self.fill.weather);
        let today = weather.day(clock.day(now_ms));
        let rain_mm = weather.rain_in_hour_mm(clock, now_ms);
        let sky = Sky { temperature_degc: weather.ambient_degc(clock, now_ms), rain_mm, wind_mps: today.wind_mps, period_s: 3_600.0 };
        let humidity = if rain_mm > 0.0 { 0.9 } else { 0.6 };
        let mut drafts: Vec<_> = self
            .layout
            .zones
            .iter()
            .enumerate()
            .map(|(zone, at)| {
                // Zones differ by a few tenths of a degree.
                let own = Sky { temperature_degc: sky.temperature_degc + 0.3 * rough_normal(hash2(zone as u64, 0x2042)), ..sky };
                weather_observed(&at.id, own, humidity)
            })
            .collect();
        if hour.rem_euclid(FORECAST_EVERY_H) == 0 {
            for horizon_h in [6, 24, 48] {
                let valid_ms = now_ms + horizon_h * HOUR_MS;
                // The further ahead, the more the forecast errs.
                let error = rough_normal(hash2(self.config.seed ^ hour as u64, horizon_h as u64)) * (0.5 + horizon_h as f64 / 24.0);
                let then = weather.day(clock.day(valid_ms));
                let rain_mm: f64 = (0..6).map(|back| weather.rain_in_hour_mm(clock, valid_ms - back * HOUR_MS)).sum();
                let sky = Sky {
                    temperature_degc: weather.ambient_degc(clock, valid_ms) + error,
                    rain_mm: rain_mm * (1.0 + 0.2 * error).max(0.0),
                    wind_mps: (then.wind_mps + 0.5 * error).max(0.0),
                    period_s: 6.0 * 3_600.0,
                };
                let probability = if rain_mm > 0.0 { 0.8 - 0.05 * error.abs() } else { 0.12 + 0.04 * error.abs() };
                drafts.extend(self.layout.zones.iter().map(|zone| weather_forecast(&zone.id, now_ms, valid_ms, sky, probability)));
            }
        }
        for draft in drafts {
            self.emit_now(draft, "weather-service");
        }
        self.agenda.push(now_ms + HOUR_MS, Action::Hour);
    }

    /// Draws the closures that begin within a day.
    fn plan_closures(&mut self) {
        let count = self.world_rng.poisson(self.config.faults.road_closures_per_day);
        for _ in 0..count {
            let rng = &mut self.world_rng;
            let graph = &self.streets.graph;
            // Somewhere near a site: closures that no truck meets are of no interest.
            let snap = self.streets.sites[rng.index(self.streets.sites.len())];
            let near = graph.near(snap.point(graph), 160.0);
            let first = near.get(rng.index(near.len())).map_or(snap.segment, |near| near.segment);
            let mut segments = vec![first];
            if rng.chance(0.4) {
                let ahead = graph.leaving(graph.head(first.edge(Direction::Forward))).map(|edge| edge.segment()).find(|next| *next != first);
                segments.extend(ahead);
            }
            let from_ms = self.now_ms + rng.int(0, DAY_MS);
            let lasts_ms = rng.int(2 * HOUR_MS, 36 * HOUR_MS);
            let reason = ["works", "event", "accident", "weather"][rng.weighted(&[5.0, 1.0, 3.0, 1.0])];
            self.closures_planned += 1;
            let number = self.closures_planned;
            self.closures.push(Closure { number, segments, reason, from_ms, until_ms: from_ms + lasts_ms });
            self.agenda.push(from_ms, Action::RoadCloses(number));
        }
    }

    pub(crate) fn on_road_closes(&mut self, number: usize) {
        let Some(closure) = self.closures.iter().find(|closure| closure.number == number) else {
            return;
        };
        let (id, until_ms) = (format!("closure-{number:05}"), closure.until_ms);
        let graph = &self.streets.graph;
        for segment in &closure.segments {
            for direction in [Direction::Forward, Direction::Backward] {
                self.closed.close(segment.edge(direction), closure.from_ms, closure.until_ms);
            }
        }
        let ids = closure.segments.iter().map(|segment| graph.id(*segment).to_owned()).collect();
        let middle = Snap { segment: closure.segments[0], along_m: graph.length_m(closure.segments[0]) / 2.0, distance_m: 0.0 };
        let draft = road_closure(&id, ids, closure.reason, closure.from_ms, closure.until_ms, self.degrees_of(middle));
        self.record_fault(FaultKind::RoadClosure, id, until_ms, None);
        self.emit_now(draft, "traffic-office");
    }

    /// Whether the street of a site is closed now.
    pub(crate) fn is_closed_off(&self, site: usize) -> bool {
        let segment = self.streets.sites[site].segment;
        [Direction::Forward, Direction::Backward].iter().all(|direction| self.closed.is_closed(segment.edge(*direction), self.now_ms))
    }

    /// Draws the incidents of the day to come, on main roads.
    fn plan_incidents(&mut self) {
        let mut rng = Rng::derive(self.config.seed, "incidents", self.fill.clock.day(self.now_ms).unsigned_abs());
        let graph = &self.streets.graph;
        for _ in 0..rng.poisson(self.config.faults.road_incidents_per_day) {
            let from_ms = self.now_ms + rng.int(0, DAY_MS);
            let until_ms = from_ms + rng.int(30 * MINUTE_MS, 2 * HOUR_MS);
            let segment = (0..200)
                .map(|_| Segment(rng.index(graph.segments()) as u32))
                .find(|segment| matches!(graph.class(*segment), RoadClass::Primary | RoadClass::Secondary));
            if let Some(segment) = segment {
                let at = graph.at(segment, graph.length_m(segment) / 2.0, Direction::Forward).0;
                self.congestion.incidents.push(Incident { at, from_ms, until_ms });
                self.agenda.push(from_ms, Action::IncidentBegins(segment.0, until_ms));
            }
        }
    }

    pub(crate) fn on_incident_begins(&mut self, segment: u32, until_ms: i64) {
        let id = self.streets.graph.id(Segment(segment)).to_owned();
        self.record_fault(FaultKind::RoadIncident, id, until_ms, None);
    }

    fn plan_outages(&mut self) {
        for facility in 0..self.layout.disposals.len() {
            if self.world_rng.chance(self.config.faults.facility_outage_per_facility_day) {
                let at_ms = self.now_ms + self.world_rng.int(0, DAY_MS);
                self.agenda.push(at_ms, Action::FacilityCloses(facility));
            }
        }
    }

    pub(crate) fn on_facility_closes(&mut self, facility: usize) {
        let until_ms = self.now_ms + self.world_rng.int(HOUR_MS, 4 * HOUR_MS);
        self.closed_until_ms[facility] = until_ms;
        let id = self.layout.disposals[facility].id.clone();
        let draft = facility_status(&id, false, Some(until_ms));
        self.emit_now(draft, "facility-office");
        self.record_fault(FaultKind::FacilityOutage, id, until_ms, None);
        self.agenda.push(until_ms, Action::FacilityOpens(facility));
    }

    pub(crate) fn on_facility_opens(&mut self, facility: usize) {
        if self.closed_until_ms[facility] <= self.now_ms {
            let draft = facility_status(&self.layout.disposals[facility].id, true, None);
            self.emit_now(draft, "facility-office");
        }
    }
}
