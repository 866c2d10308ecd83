//! References: the tables of sites, containers, devices, trucks and so on, as they stand when the city begins.
//!
//! They are valid from `history_days` before the start and are received just before it, so that a consumer that reads them first
//! finds a version for every event.

use serde_json::Value;

use crate::calendar::{DAY_MS, HOUR_MS, day_text};
use crate::city::{City, Event};
use crate::config::Dispatch;
use crate::customers::Customer;
use crate::events::{Draft, Stamp, facility_status, rounded};
use crate::events_office::{ContractChange, consent_event, contract_event};
use crate::fill::SpecialDay;
use crate::fleet::{driver_of, shift_id_of};
use crate::layout::{District, Facility, Point, Stream};
use crate::rounds::{SHIFT_LENGTH_MS, SHIFT_STARTS_MS};
use crate::sensors::Device;

/// Days ahead for which special days are published.
pub(crate) const CALENDAR_DAYS: i64 = 60;
/// A depot with so many trucks on average has a planning area of its own; smaller cities are planned as one.
const AREA_TRUCKS: usize = 8;

/// `ref.device`: where a device sits from a time on.
pub(crate) fn device_reference(device: &Device, container_id: Option<&str>, valid_from_ms: i64) -> Draft {
    Draft::new("ref.device", "device_id", &device.id)
        .set("container_id", container_id)
        .set("valid_from", valid_from_ms)
        .set("valid_to", Value::Null)
        .set("model", device.model.name)
        .set("report_interval_s", device.model.interval_s as f64)
        .set("calibration_version", device.calibration_version)
        .set("firmware", device.firmware)
        .set("mounting_offset_m", device.model.gap_m)
}

/// `ref.schedule`: when a site is visited next, known from a time on.
pub(crate) fn schedule_reference(site_id: &str, stream: Stream, next_ms: Option<i64>, interval_h: f64, valid_from_ms: i64) -> Draft {
    Draft::new("ref.schedule", "site_id", site_id)
        .set("waste_stream", stream.code())
        .set("next_visit_at", next_ms)
        .set("visit_interval_h", rounded(interval_h, 2))
        .set("valid_from", valid_from_ms)
}

/// `ref.customer`: who has a contract.
pub(crate) fn customer_reference(customer: &Customer, zone_id: &str, valid_from_ms: i64, valid_to_ms: Option<i64>) -> Draft {
    Draft::new("ref.customer", "customer_id", &customer.id)
        .set("name", customer.name.as_str())
        .set("email", format!("{}@example.org", customer.id))
        .set("segment", customer.segment)
        .set("zone_id", zone_id)
        .set("language", "en-AU")
        .set("customer_since", customer.since_ms)
        .set("valid_from", valid_from_ms)
        .set("valid_to", valid_to_ms)
}

/// Collects references with one stamp each.
struct Register<'a> {
    city: &'a City,
    events: Vec<Event>,
    received_ms: i64,
    valid_from_ms: i64,
}

impl Register<'_> {
    fn add(&mut self, draft: Draft) {
        let stamp = Stamp {
            id: format!("ref-{:06}", self.events.len() + 1),
            source: "asset-register",
            observed_ms: self.valid_from_ms,
            sent_ms: self.received_ms - 200,
            received_ms: self.received_ms,
        };
        self.events.push(draft.finish(&self.city.config.tenant, stamp));
    }
}

impl City {
    /// The references as of the start: `ref.*`, the state of the facilities, and the contracts and consents given before. All of
    /// them are received one second before the start. The answer does not depend on how long the city has lived.
    pub fn references(&self) -> Vec<Event> {
        let start_ms = self.config.start_ms;
        let valid_from_ms = start_ms - self.config.history_days * DAY_MS;
        let mut register = Register { city: self, events: Vec::new(), received_ms: start_ms - 1_000, valid_from_ms };
        self.list_waste(&mut register);
        self.list_places(&mut register);
        self.list_bins(&mut register);
        self.list_fleet(&mut register);
        self.list_customers(&mut register);
        let today = self.fill.clock.day(start_ms);
        for day in today - 1..today + CALENDAR_DAYS {
            for draft in self.calendar_of(day, valid_from_ms) {
                register.add(draft);
            }
        }
        register.events
    }

    fn list_waste(&self, register: &mut Register<'_>) {
        let from_ms = register.valid_from_ms;
        let currency = self.config.currency.as_str();
        for stream in Stream::ALL {
            let (name, ewc) = match stream {
                Stream::General => ("General waste", "20 03 01"),
                Stream::Paper => ("Paper and cardboard", "20 01 01"),
                Stream::Glass => ("Glass", "20 01 02"),
                Stream::Organic => ("Organic waste", "20 01 08"),
            };
            let others: Vec<&str> = Stream::ALL.iter().filter(|other| **other != stream).map(|other| other.code()).collect();
            register.add(
                Draft::new("ref.waste-stream", "waste_stream", stream.code())
                    .set("name", name)
                    .set("ewc_code", ewc)
                    .set("density_kg_per_l", stream.density_kg_per_l())
                    .set("recyclable", stream != Stream::General)
                    .set("incompatible_waste_streams", others)
                    .set("max_storage_h", (stream == Stream::Organic).then_some(168.0))
                    .set("valid_from", from_ms),
            );
        }
        for (segment, base_fee_minor) in [("business", 14_900), ("association", 9_900), ("public", 7_900)] {
            register.add(
                Draft::new("ref.tariff", "tariff_id", &format!("tariff-{segment}"))
                    .set("name", format!("Collection, {segment}"))
                    .set("segment", segment)
                    .set("base_fee_minor", base_fee_minor)
                    .set("per_collection_minor", 950)
                    .set("currency", currency)
                    .set("valid_from", from_ms),
            );
        }
        let costs = [
            ("driving_km", "km", 210.0, 1.15),
            ("paid_hour", "h", 5_200.0, 0.0),
            ("diesel_l", "l", 185.0, 2.68),
            ("disposal_kg", "kg", 15.0, 0.35),
            ("overflow", "event", 6_000.0, 0.0),
            ("missed_collection", "event", 4_500.0, 0.0),
        ];
        for (item, unit, cost_minor, emissions_kg) in costs {
            register.add(
                Draft::new("ref.unit-cost", "cost_item", item)
                    .set("unit", unit)
                    .set("cost_minor", cost_minor)
                    .set("currency", currency)
                    .set("emissions_kg", emissions_kg)
                    .set("valid_from", from_ms),
            );
        }
    }

    fn list_places(&self, register: &mut Register<'_>) {
        let from_ms = register.valid_from_ms;
        let zone_name = self.config.time_zone.name();
        for zone in &self.layout.zones {
            let population = match zone.district {
                District::Residential => 9_000,
                District::Commercial => 3_500,
                District::Nightlife => 2_500,
                District::Park => 400,
            };
            register.add(
                Draft::new("ref.zone", "zone_id", &zone.id)
                    .set("name", zone.name.as_str())
                    .set("planning_area_id", self.area_of(zone.centre))
                    .set("time_zone", zone_name)
                    .set("population", population)
                    .set("valid_from", from_ms),
            );
        }
        let facilities = self.layout.depots.iter().map(|depot| (depot, false)).chain(self.layout.disposals.iter().map(|site| (site, true)));
        for (facility, tips) in facilities {
            self.list_facility(register, facility, tips);
        }
        for (index, site) in self.layout.sites.iter().enumerate() {
            register.add(
                Draft::new("ref.site", "site_id", &site.id)
                    .set("name", site.name.as_str())
                    .at(self.layout.degrees(site.at))
                    .set("zone_id", self.layout.zones[site.zone].id.as_str())
                    .set("time_zone", zone_name)
                    .set("valid_from", from_ms)
                    .set("planning_area_id", self.area_of(self.layout.zones[site.zone].centre))
                    .set("service_s", 60.0 + 80.0 * site.containers.len() as f64),
            );
            let next_ms = self.rounds.next_visit_ms(&self.fill.clock, index, self.config.start_ms);
            register.add(schedule_reference(&site.id, self.layout.main_stream(index), next_ms, self.rounds.interval_h(index), from_ms));
        }
    }

    fn list_facility(&self, register: &mut Register<'_>, facility: &Facility, tips: bool) {
        let streams: Vec<&str> = if tips { Stream::ALL.iter().map(|stream| stream.code()).collect() } else { Vec::new() };
        register.add(
            Draft::new("ref.facility", "facility_id", &facility.id)
                .set("name", facility.name.as_str())
                .set("kind", if tips { "disposal" } else { "depot" })
                .at(self.layout.degrees(facility.at))
                .set("time_zone", self.config.time_zone.name())
                .set("waste_streams", streams)
                .set("service_s", tips.then_some(540.0))
                .set("valid_from", register.valid_from_ms),
        );
        register.add(facility_status(&facility.id, true, None));
    }

    fn list_bins(&self, register: &mut Register<'_>) {
        let from_ms = register.valid_from_ms;
        for (index, container) in self.layout.containers.iter().enumerate() {
            let first = self.office.customers.iter().position(|customer| customer.site == container.site && customer.since_ms < self.config.start_ms);
            register.add(self.container_reference(index, first, from_ms));
            // Device number n was made for container number n; later ones replace.
            register.add(device_reference(&self.devices[index], Some(&container.id), from_ms));
        }
    }

    /// `ref.container`: where it stands and whose it is, from a time on.
    pub(crate) fn container_reference(&self, index: usize, customer: Option<usize>, valid_from_ms: i64) -> Draft {
        let container = &self.layout.containers[index];
        let customer = customer.map(|customer| self.office.customers[customer].id.clone());
        Draft::new("ref.container", "container_id", &container.id)
            .set("site_id", self.layout.sites[container.site].id.as_str())
            .set("waste_stream", container.stream.code())
            .set("capacity_l", container.capacity_l)
            .set("height_m", container.height_m)
            .set("valid_from", valid_from_ms)
            .set("valid_to", Value::Null)
            .set("status", "ok")
            .set("rfid_tag", container.rfid.as_str())
            .set("container_type", container.kind)
            .set("customer_id", customer)
    }

    fn list_fleet(&self, register: &mut Register<'_>) {
        let from_ms = register.valid_from_ms;
        for truck in &self.trucks {
            register.add(
                Draft::new("ref.vehicle", "vehicle_id", &truck.id)
                    .set("vehicle_type", truck.kind_name())
                    .set("home_depot_id", self.layout.depots[truck.depot].id.as_str())
                    .set("payload_kg", truck.payload_kg())
                    .set("volume_l", truck.body_l())
                    .set("compaction_ratio", 4.0)
                    .set("waste_streams", Stream::ALL.map(Stream::code).to_vec())
                    .set("skills", Vec::<&str>::new())
                    .set("length_m", truck.length_m())
                    .set("height_m", 3.4)
                    .set("gross_kg", truck.empty_kg() + truck.payload_kg())
                    .set("energy", "diesel")
                    .set("licence_plate", truck.plate.as_str())
                    .set("in_service", true)
                    .set("valid_from", from_ms),
            );
        }
        let today = self.fill.clock.day(self.config.start_ms);
        for day in [today, today + 1] {
            for draft in self.shifts_of(day, from_ms) {
                register.add(draft);
            }
        }
    }

    fn list_customers(&self, register: &mut Register<'_>) {
        let from_ms = register.valid_from_ms;
        // Those that signed later tell of it themselves.
        for customer in self.office.customers.iter().filter(|customer| customer.since_ms < self.config.start_ms) {
            let zone = self.layout.sites[customer.site].zone;
            register.add(customer_reference(customer, &self.layout.zones[zone].id, from_ms, None));
            let (monthly_fee_minor, term_ends_ms) = customer.first_terms;
            let then = Customer { monthly_fee_minor, ..customer.clone() };
            register.add(contract_event(&self.contract_change(&then, "signed", None, None, Some(term_ends_ms))));
            register.add(consent_event(&customer.id, "model_training", customer.consents));
        }
    }

    pub(crate) fn contract_change<'a>(
        &'a self,
        customer: &'a Customer,
        event: &'static str,
        voluntary: Option<bool>,
        reason: Option<&'static str>,
        ends_at_ms: Option<i64>,
    ) -> ContractChange<'a> {
        let site = &self.layout.sites[customer.site];
        let mut waste_streams: Vec<&str> = site.containers.iter().map(|container| self.layout.containers[*container].stream.code()).collect();
        waste_streams.sort_unstable();
        waste_streams.dedup();
        ContractChange {
            customer_id: &customer.id,
            contract_id: &customer.contract_id,
            event,
            voluntary,
            reason,
            tariff_id: &customer.tariff_id,
            site_id: &site.id,
            waste_streams,
            collections_per_week: f64::from(self.rounds.sites[customer.site].visits_per_week),
            monthly_fee_minor: customer.monthly_fee_minor,
            currency: &self.config.currency,
            ends_at_ms,
        }
    }

    /// The planning area of a place: that of the nearest depot.
    fn area_of(&self, at: Point) -> String {
        let depots = &self.layout.depots;
        let several = self.trucks.len() >= AREA_TRUCKS * depots.len();
        let nearest = (0..depots.len()).filter(|_| several).min_by(|a, b| depots[*a].at.air_m(at).total_cmp(&depots[*b].at.air_m(at)));
        format!("area-{}", nearest.unwrap_or(0) + 1)
    }

    /// `ref.shift` of all trucks that have something to do on a local day.
    pub(crate) fn shifts_of(&self, day: i64, valid_from_ms: i64) -> Vec<Draft> {
        let clock = &self.fill.clock;
        (0..self.trucks.len())
            .filter(|truck| self.config.dispatch == Dispatch::External || !self.rounds.stops_on(clock, *truck, day).is_empty())
            .map(|index| {
                let truck = &self.trucks[index];
                let starts_ms = clock.utc_ms(day, SHIFT_STARTS_MS[self.rounds.truck_shift[index]]);
                Draft::new("ref.shift", "shift_id", &shift_id_of(&truck.id, day))
                    .set("planning_area_id", self.area_of(self.layout.depots[truck.depot].at))
                    .set("depot_id", self.layout.depots[truck.depot].id.as_str())
                    .set("vehicle_id", truck.id.as_str())
                    .set("driver_id", driver_of(index, day))
                    .set("starts_at", starts_ms)
                    .set("ends_at", starts_ms + SHIFT_LENGTH_MS)
                    .set("break_s", 1_800.0)
                    .set("break_earliest_at", starts_ms + 3 * HOUR_MS)
                    .set("break_latest_at", starts_ms + 5 * HOUR_MS)
                    .set("skills", vec!["C"])
                    .set("cancelled", false)
                    .set("valid_from", valid_from_ms)
            })
            .collect()
    }

    /// `ref.calendar` of a local day: holidays of all zones, markets and festivals of single ones.
    pub(crate) fn calendar_of(&self, day: i64, valid_from_ms: i64) -> Vec<Draft> {
        let mut drafts = Vec::new();
        let holiday = self.fill.clock.is_holiday(day);
        for (index, zone) in self.layout.zones.iter().enumerate() {
            let special = match self.fill.special_day(index, zone.district, day) {
                Some(SpecialDay::Market) => Some(("market", "Weekly market", 2_500)),
                Some(SpecialDay::Festival) => Some(("event", "Festival", 12_000)),
                None => None,
            };
            let kinds = holiday.then_some(("holiday", "Public holiday", 0)).into_iter().chain(special);
            for (kind, name, visitors) in kinds {
                let day = day_text(day);
                drafts.push(
                    Draft::new("ref.calendar", "calendar_day_id", &format!("{}:{day}:{kind}", zone.id))
                        .set("zone_id", zone.id.as_str())
                        .set("day", day)
                        .set("kind", kind)
                        .set("name", name)
                        .set("expected_visitors", (visitors > 0).then_some(visitors))
                        .set("valid_from", valid_from_ms),
                );
            }
        }
        drafts
    }
}
