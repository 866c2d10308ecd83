//! What a city is made of and how often things go wrong in it.
//!
//! Rates carry their population in the name: `_per_device_day` is a hazard (expected number a device and day), `_share` a share of
//! the things named before it. All zero gives a city without faults: [`FaultRates::none`].

use chrono_tz::Tz;

/// Who tells the trucks where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dispatch {
    /// The city's own fixed rounds.
    #[default]
    Fixed,
    /// Whoever calls [`crate::City::dispatch`]: without a route a truck stays in its depot.
    External,
}

/// Level of its fastest container that a site is planned for, unless configured otherwise.
pub(crate) const ROUNDS_TARGET_LEVEL: f64 = 0.74;

/// Size, place, time and seed of a city.
#[derive(Debug, Clone)]
pub struct CityConfig {
    /// Seed of everything random; the same seed gives the same stream of events.
    pub seed: u64,
    /// Containers, each with a sensor. At least 1.
    pub bins: usize,
    /// Trucks. At least 1.
    pub trucks: usize,
    /// Depots. At least 1.
    pub depots: usize,
    /// Disposal sites. At least 1.
    pub disposal_sites: usize,
    /// When the city begins to live, UTC ms.
    pub start_ms: i64,
    /// Days before the start from which the references are valid. At least 1.
    pub history_days: i64,
    /// Tenant of every record.
    pub tenant: String,
    /// Time zone of the collection days and of people's habits.
    pub time_zone: Tz,
    /// WGS 84 latitude of the centre; below 0 the seasons are southern.
    pub latitude_deg: f64,
    /// WGS 84 longitude of the centre.
    pub longitude_deg: f64,
    /// Radius of the city, m.
    pub radius_m: f64,
    /// Median time in which a container fills, days; single ones lie between 0.5 and 14.
    pub median_fill_days: f64,
    /// Sites for each customer: every so many sites somebody has a contract. At least 1.
    pub sites_per_customer: usize,
    /// Seconds between the positions of a truck that drives; one that stands with its engine on sends one a minute. 5 to 300.
    pub position_interval_s: i64,
    /// Who tells the trucks where to go.
    pub dispatch: Dispatch,
    /// All shifts begin in the morning; otherwise they are spread over three, if there are three trucks.
    pub one_shift: bool,
    /// Level that fixed rounds let the fastest container of a site reach by what the planner believes: the higher, the fewer
    /// visits. What the containers hold at the start and how they fill does not depend on it. 0.05 to 5.
    pub rounds_target_level: f64,
    /// ISO 4217 code of all prices.
    pub currency: String,
    /// How often things go wrong.
    pub faults: FaultRates,
}

impl Default for CityConfig {
    fn default() -> CityConfig {
        CityConfig {
            seed: 1,
            bins: 2_000,
            trucks: 40,
            depots: 3,
            disposal_sites: 2,
            start_ms: 1_772_409_600_000, // Monday 2026-03-02, 00:00 UTC
            history_days: 30,
            tenant: "city".to_owned(),
            time_zone: chrono_tz::Australia::Melbourne,
            latitude_deg: -37.8136,
            longitude_deg: 144.9631,
            radius_m: 8_000.0,
            median_fill_days: 3.2,
            sites_per_customer: 5,
            position_interval_s: 30,
            dispatch: Dispatch::Fixed,
            one_shift: false,
            rounds_target_level: ROUNDS_TARGET_LEVEL,
            currency: "AUD".to_owned(),
            faults: FaultRates::default(),
        }
    }
}

impl CityConfig {
    /// The same city with impossible sizes raised to the least that works.
    pub(crate) fn sane(mut self) -> CityConfig {
        self.bins = self.bins.max(1);
        self.trucks = self.trucks.max(1);
        self.depots = self.depots.max(1);
        self.disposal_sites = self.disposal_sites.max(1);
        self.sites_per_customer = self.sites_per_customer.max(1);
        self.history_days = self.history_days.max(1);
        self.radius_m = self.radius_m.max(500.0);
        self.position_interval_s = self.position_interval_s.clamp(5, 300);
        self.rounds_target_level = if self.rounds_target_level.is_finite() { self.rounds_target_level.clamp(0.05, 5.0) } else { ROUNDS_TARGET_LEVEL };
        self.median_fill_days = self.median_fill_days.clamp(0.5, 14.0);
        self
    }
}

/// How often things go wrong.
#[derive(Debug, Clone)]
pub struct FaultRates {
    /// Sensor without network for 2 to 12 hours, then everything at once, oldest first.
    pub buffered_upload_per_device_day: f64,
    /// The same, newest first.
    pub newest_first_upload_per_device_day: f64,
    /// Sensor repeats its last value for 12 to 72 hours.
    pub stuck_per_device_day: f64,
    /// Sensor says nothing for 6 to 72 hours.
    pub silent_per_device_day: f64,
    /// Sensor reports arbitrary levels for 6 to 24 hours.
    pub jumping_per_device_day: f64,
    /// Device clock a year ahead for 2 to 24 hours.
    pub clock_ahead_per_device_day: f64,
    /// Device clock 1 to 9 hours behind for 12 to 72 hours.
    pub clock_behind_per_device_day: f64,
    /// Device replaced by a new one, or exchanged with its neighbour on the site.
    pub device_swap_per_device_day: f64,
    /// Of the swaps: the reference learns of it hours later.
    pub late_reference_share: f64,
    /// Of the exchanges between neighbours: the reference never learns of it.
    pub unregistered_swap_share: f64,
    /// Container on fire for 20 to 60 minutes.
    pub fire_per_device_day: f64,
    /// Of the readings: delivered twice, with the same event id.
    pub duplicate_reading_share: f64,
    /// Of the readings: never delivered.
    pub lost_reading_share: f64,
    /// Of the readings: level 7.3.
    pub absurd_reading_share: f64,
    /// Devices that report and stand in no reference.
    pub unknown_devices: usize,
    /// Of the emptyings: no collection.event at all.
    pub missed_scan_share: f64,
    /// Of the emptyings: reported, but without a scan (half of them typed in by hand).
    pub no_scan_share: f64,
    /// Of the emptyings: the crew's handheld delivers 10 minutes to 3 hours later.
    pub late_scan_share: f64,
    /// Of the stops: not reachable, all its containers skipped.
    pub blocked_stop_share: f64,
    /// Of the containers visited: skipped for a reason of its own (contaminated, broken).
    pub skipped_container_share: f64,
    /// Of the containers visited: not there.
    pub not_found_share: f64,
    /// Of the containers visited: emptied by two thirds only.
    pub partial_share: f64,
    /// A worn part fails on duty, in the long run so often; the rest of the round is not served.
    pub breakdown_per_truck_day: f64,
    /// Truck loses the network for 10 to 40 minutes on duty, then uploads its positions newest first.
    pub buffered_upload_per_truck_day: f64,
    /// The clock of a truck's device is 1 to 9 hours behind for the first 10 to 60 minutes of a duty.
    pub clock_behind_per_truck_day: f64,
    /// Of the positions: hundreds of metres off, with an accuracy that says otherwise.
    pub position_jump_share: f64,
    /// Road closures that begin on a day in the whole city.
    pub road_closures_per_day: f64,
    /// Incidents on main roads a day: what is near goes at a third of its speed for 30 to 120 minutes.
    pub road_incidents_per_day: f64,
    /// A disposal site closes for 1 to 4 hours.
    pub facility_outage_per_facility_day: f64,
}

impl Default for FaultRates {
    fn default() -> FaultRates {
        FaultRates {
            buffered_upload_per_device_day: 0.012,
            newest_first_upload_per_device_day: 0.004,
            stuck_per_device_day: 0.003,
            silent_per_device_day: 0.004,
            jumping_per_device_day: 0.002,
            clock_ahead_per_device_day: 0.000_5,
            clock_behind_per_device_day: 0.001_5,
            device_swap_per_device_day: 0.001,
            late_reference_share: 0.3,
            unregistered_swap_share: 0.2,
            fire_per_device_day: 0.000_2,
            duplicate_reading_share: 0.005,
            lost_reading_share: 0.005,
            absurd_reading_share: 0.000_3,
            unknown_devices: 3,
            missed_scan_share: 0.015,
            no_scan_share: 0.05,
            late_scan_share: 0.01,
            blocked_stop_share: 0.01,
            skipped_container_share: 0.005,
            not_found_share: 0.002,
            partial_share: 0.005,
            breakdown_per_truck_day: 0.02,
            buffered_upload_per_truck_day: 0.05,
            clock_behind_per_truck_day: 0.01,
            position_jump_share: 0.001,
            road_closures_per_day: 1.5,
            road_incidents_per_day: 4.0,
            facility_outage_per_facility_day: 0.05,
        }
    }
}

impl FaultRates {
    /// A city in which nothing ever goes wrong.
    pub fn none() -> FaultRates {
        FaultRates {
            buffered_upload_per_device_day: 0.0,
            newest_first_upload_per_device_day: 0.0,
            stuck_per_device_day: 0.0,
            silent_per_device_day: 0.0,
            jumping_per_device_day: 0.0,
            clock_ahead_per_device_day: 0.0,
            clock_behind_per_device_day: 0.0,
            device_swap_per_device_day: 0.0,
            late_reference_share: 0.0,
            unregistered_swap_share: 0.0,
            fire_per_device_day: 0.0,
            duplicate_reading_share: 0.0,
            lost_reading_share: 0.0,
            absurd_reading_share: 0.0,
            unknown_devices: 0,
            missed_scan_share: 0.0,
            no_scan_share: 0.0,
            late_scan_share: 0.0,
            blocked_stop_share: 0.0,
            skipped_container_share: 0.0,
            not_found_share: 0.0,
            partial_share: 0.0,
            breakdown_per_truck_day: 0.0,
            buffered_upload_per_truck_day: 0.0,
            clock_behind_per_truck_day: 0.0,
            position_jump_share: 0.0,
            road_closures_per_day: 0.0,
            road_incidents_per_day: 0.0,
            facility_outage_per_facility_day: 0.0,
        }
    }
}
