//! What every planner knows of a city: the references that it sends, the map, the shifts of the day, and from them the
//! planning problem. All policies plan with the same trucks, shifts, facilities, distances and costs.

use crate::Failure;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use ws_city::Event;
use ws_routing::plan::problem::{
    BreakRule, Compartment, Costs, DayCap, Demand, Depot, Facility, Job, Load, LoadBasis, Need, Problem, ServiceReason, Vehicle, Window,
};
use ws_routing::plan::travel::{Table, Travel};
use ws_routing::roads::{FreeFlow, Place, RoadGraph, Snap, matrix};

/// Drives take so much longer than on free roads, and so long more for setting out and parking.
const SLOWER: f64 = 1.3;
const PARK_MS: i64 = 20_000;
/// Usual queue at a disposal site.
const QUEUE_MS: i64 = 7 * 60_000;
/// Trucks are planned to be this full at most: what comes into them is not known exactly.
const FILLED_SHARE: f64 = 0.93;
/// A street is looked for this far from a place.
const REACH_M: f64 = 2_000.0;
/// Cautious demand against the median.
const P90: f64 = 1.3;

/// A site.
pub struct Site {
    pub location: u32,
    pub containers: Vec<String>,
    pub service_ms: i64,
    /// Next visit by the rhythm that customers were promised, UTC ms.
    pub next_visit_ms: Option<i64>,
}

/// A container.
pub struct Container {
    stream: usize,
    capacity_l: f64,
    kg_per_l: f64,
}

/// The shift of a truck on a day.
#[derive(Clone)]
pub struct Shift {
    pub shift_id: String,
    pub vehicle_id: String,
    pub starts_ms: i64,
    ends_ms: i64,
    pause: BreakRule,
}

/// A site that a policy wants to have visited.
pub struct Wanted {
    pub site_id: String,
    pub need: Need,
    pub reason: ServiceReason,
    pub p_overflow: Option<f64>,
    /// Expected level of each container at the visit, in the order of the site's containers.
    pub levels: Vec<f64>,
}

/// Costs of `ref.unit-cost`, in the minor unit.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnitCosts {
    pub per_km: f64,
    pub per_hour: f64,
}

/// The city as its references describe it.
pub struct Town {
    pub sites: BTreeMap<String, Site>,
    containers: BTreeMap<String, Container>,
    streams: Vec<String>,
    depots: Vec<Depot>,
    facilities: Vec<Facility>,
    vehicles: Vec<Vehicle>,
    closed_until_ms: BTreeMap<String, i64>,
    shifts: BTreeMap<String, Shift>,
    travel: Arc<dyn Travel>,
    pub costs: UnitCosts,
}

fn text(event: &Event, field: &str) -> Result<String, Failure> {
    Ok(event.value[field].as_str().ok_or_else(|| format!("{} {} has no {field}", event.topic, event.key))?.to_owned())
}

fn number(event: &Event, field: &str) -> Result<f64, Failure> {
    Ok(event.value[field].as_f64().ok_or_else(|| format!("{} {} has no {field}", event.topic, event.key))?)
}

impl Town {
    /// From the references and the map.
    pub fn new(references: &[Event], roads: &RoadGraph) -> Result<Town, Failure> {
        let of = |topic: &'static str| references.iter().filter(move |event| event.topic == topic);
        let mut snaps: Vec<Snap> = Vec::new();
        let mut locate = |event: &Event| -> Result<u32, Failure> {
            let point = roads.plane().point(Place::new(number(event, "latitude_deg")?, number(event, "longitude_deg")?));
            snaps.push(roads.nearest(point, REACH_M).ok_or_else(|| format!("no street at {}", event.key))?);
            Ok(snaps.len() as u32 - 1)
        };
        let streams: Vec<String> = of("ref.waste-stream").map(|event| event.key.clone()).collect();
        let stream_of = |code: &str| streams.iter().position(|stream| stream == code);
        let density = of("ref.waste-stream").map(|event| number(event, "density_kg_per_l")).collect::<Result<Vec<f64>, Failure>>()?;

        let mut sites = BTreeMap::new();
        for event in of("ref.site") {
            let (location, service_ms) = (locate(event)?, (number(event, "service_s")? * 1e3) as i64);
            sites.insert(event.key.clone(), Site { location, containers: Vec::new(), service_ms, next_visit_ms: None });
        }
        let mut containers = BTreeMap::new();
        for event in of("ref.container") {
            let stream = stream_of(&text(event, "waste_stream")?).ok_or("a container of an unknown stream")?;
            let site = sites.get_mut(&text(event, "site_id")?).ok_or("a container of an unknown site")?;
            site.containers.push(event.key.clone());
            containers.insert(event.key.clone(), Container { stream, capacity_l: number(event, "capacity_l")?, kg_per_l: density[stream] });
        }
        let (mut depots, mut facilities) = (Vec::new(), Vec::new());
        for event in of("ref.facility") {
            let location = locate(event)?;
            if text(event, "kind")? == "depot" {
                depots.push(Depot { depot_id: event.key.clone(), location });
                continue;
            }
            let codes = event.value["waste_streams"].as_array().into_iter().flatten().filter_map(Value::as_str);
            facilities.push(Facility {
                facility_id: event.key.clone(),
                location,
                streams: codes.filter_map(stream_of).collect(),
                unload_ms: (number(event, "service_s")? * 1e3) as i64 + QUEUE_MS,
                windows: Vec::new(),
            });
        }
        let cost = |item: &str| of("ref.unit-cost").find(|event| event.key == item).map_or(Ok(0.0), |event| number(event, "cost_minor"));
        let costs = UnitCosts { per_km: cost("driving_km")?, per_hour: cost("paid_hour")? };
        let mut vehicles = Vec::new();
        for event in of("ref.vehicle") {
            vehicles.push(vehicle(event, &depots, streams.len(), costs)?);
        }
        let found = matrix(roads, &FreeFlow, &snaps, &snaps);
        let metres = found.metres.iter().map(|metres| if metres.is_finite() { f64::from(*metres) } else { f64::NAN }).collect();
        let drive_ms = |seconds: &f32| if *seconds > 0.0 && seconds.is_finite() { (f64::from(*seconds) * SLOWER * 1e3) as i64 + PARK_MS } else { 0 };
        let travel = Table::new(snaps.len(), metres, found.seconds.iter().map(drive_ms).collect()).ok_or("the travel table is not square")?;
        let mut town = Town {
            sites,
            containers,
            streams,
            depots,
            facilities,
            vehicles,
            closed_until_ms: BTreeMap::new(),
            shifts: BTreeMap::new(),
            travel: Arc::new(travel),
            costs,
        };
        town.hear(references);
        Ok(town)
    }

    /// Takes what the city tells every day: shifts, promised visits, closed facilities.
    pub fn hear(&mut self, events: &[Event]) {
        for event in events {
            let time = |field: &str| event.value[field].as_i64();
            match event.topic {
                "ref.schedule" => {
                    if let Some(site) = self.sites.get_mut(&event.key) {
                        site.next_visit_ms = time("next_visit_at");
                    }
                }
                "facility.status" => {
                    let until_ms = if event.value["status"] == "closed" { time("until_at").unwrap_or(i64::MAX) } else { i64::MIN };
                    self.closed_until_ms.insert(event.key.clone(), until_ms);
                }
                "ref.shift" => {
                    let (Some(starts_ms), Some(ends_ms), Some(vehicle_id)) = (time("starts_at"), time("ends_at"), event.value["vehicle_id"].as_str()) else {
                        continue;
                    };
                    let pause = BreakRule {
                        earliest_ms: time("break_earliest_at").unwrap_or(starts_ms),
                        latest_ms: time("break_latest_at").unwrap_or(ends_ms),
                        duration_ms: (event.value["break_s"].as_f64().unwrap_or(0.0) * 1e3) as i64,
                    };
                    let shift = Shift { shift_id: event.key.clone(), vehicle_id: vehicle_id.to_owned(), starts_ms, ends_ms, pause };
                    self.shifts.retain(|_, known| known.vehicle_id != shift.vehicle_id || known.starts_ms + 2 * 86_400_000 > starts_ms);
                    self.shifts.insert(event.key.clone(), shift);
                }
                _ => {}
            }
        }
    }

    /// The shifts that begin within a span.
    pub fn shifts(&self, from_ms: i64, to_ms: i64) -> Vec<Shift> {
        self.shifts.values().filter(|shift| (from_ms..to_ms).contains(&shift.starts_ms)).cloned().collect()
    }

    /// What a visit costs without the way to it.
    pub fn service_cost(&self, site: &Site) -> f64 {
        site.service_ms as f64 / 3.6e6 * self.costs.per_hour
    }

    /// The problem of a day.
    pub fn problem(&self, wanted: &[Wanted], shifts: &[Shift]) -> Result<Problem, Failure> {
        let from_ms = shifts.iter().map(|shift| shift.starts_ms).min().ok_or("no shift on this day")?;
        let to_ms = shifts.iter().map(|shift| shift.ends_ms).max().unwrap_or(from_ms);
        let day = Window { from_ms, to_ms };
        let vehicles = shifts.iter().filter_map(|shift| {
            let vehicle = self.vehicles.iter().find(|vehicle| vehicle.vehicle_id == shift.vehicle_id)?;
            let on_duty = Window { from_ms: shift.starts_ms, to_ms: shift.ends_ms };
            Some(Vehicle { shift_id: Some(shift.shift_id.clone()), shift: on_duty, break_rule: Some(shift.pause), ..vehicle.clone() })
        });
        let facilities = self.facilities.iter().map(|facility| {
            let opens_ms = self.closed_until_ms.get(&facility.facility_id).copied().unwrap_or(i64::MIN).max(from_ms);
            let windows = if opens_ms < to_ms { vec![Window { from_ms: opens_ms, to_ms }] } else { Vec::new() };
            Facility { windows, ..facility.clone() }
        });
        let jobs = wanted.iter().map(|wanted| {
            let site = self.sites.get(&wanted.site_id).ok_or_else(|| format!("no site {}", wanted.site_id))?;
            Ok(Job {
                site_id: wanted.site_id.clone(),
                container_ids: site.containers.clone(),
                location: site.location,
                demands: self.demands(site, &wanted.levels),
                service_ms: site.service_ms,
                windows: vec![day],
                need: wanted.need,
                skills: BTreeSet::new(),
                trip_not_before_ms: i64::MIN,
                previous_vehicle_id: None,
                reason: wanted.reason,
                p_overflow: wanted.p_overflow,
            })
        });
        Ok(Problem {
            planning_area_id: AREA.to_owned(),
            travel: self.travel.clone(),
            streams: self.streams.clone(),
            depots: self.depots.clone(),
            facilities: facilities.collect(),
            vehicles: vehicles.collect(),
            jobs: jobs.collect::<Result<_, Failure>>()?,
            locks: Vec::new(),
            load_basis: LoadBasis::P50,
            change_cost: 0.0,
        })
    }

    fn demands(&self, site: &Site, levels: &[f64]) -> Vec<Demand> {
        let mut by_stream: BTreeMap<usize, Load> = BTreeMap::new();
        for (id, level) in site.containers.iter().zip(levels) {
            let Some(container) = self.containers.get(id) else { continue };
            let litres = container.capacity_l * level.clamp(0.02, 1.15);
            let load = by_stream.entry(container.stream).or_default();
            *load = Load { kg: load.kg + litres * container.kg_per_l, l: load.l + litres };
        }
        by_stream.into_iter().map(|(stream, p50)| Demand { stream, p50, p90: Load { kg: p50.kg * P90, l: p50.l * P90 } }).collect()
    }
}

/// The one planning area of the city.
const AREA: &str = "area-1";

fn vehicle(event: &Event, depots: &[Depot], streams: usize, costs: UnitCosts) -> Result<Vehicle, Failure> {
    let home = text(event, "home_depot_id")?;
    let depot = depots.iter().position(|depot| depot.depot_id == home).ok_or("a truck of an unknown depot")?;
    let payload_kg = number(event, "payload_kg")? * FILLED_SHARE;
    // The body holds its compacted volume; loads are counted as they stand in the containers.
    let litres = number(event, "volume_l")? * number(event, "compaction_ratio")? * FILLED_SHARE;
    Ok(Vehicle {
        vehicle_id: event.key.clone(),
        shift_id: None,
        planning_area_ids: BTreeSet::from([AREA.to_owned()]),
        start_depot: depot,
        end_depot: depot,
        shift: Window { from_ms: 0, to_ms: 0 },
        compartments: vec![Compartment { streams: (0..streams).collect(), capacity: Load { kg: payload_kg, l: litres } }],
        payload_kg,
        day_cap: DayCap::default(),
        break_rule: None,
        costs: Costs { fixed: 0.0, per_km: costs.per_km, per_hour: costs.per_hour },
        skills: BTreeSet::new(),
        under_way: None,
        out_of_service: false,
    })
}
