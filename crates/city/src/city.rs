//! The city itself: its state, its agenda (what happens next) and its outbox (what is still on its way to the broker).
//!
//! Actions run in order of time, ties in the order in which they were planned; no action can send a message that arrives before it.
//! So a message is safe to hand out once all actions before its arrival have run, and the stream does not depend on the steps in
//! which the caller advances.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use serde_json::Value;

use crate::calendar::{HOUR_MS, LocalClock};
use crate::config::{CityConfig, Dispatch, ROUNDS_TARGET_LEVEL};
use crate::congestion::Congestion;
use crate::customers::Office;
use crate::driving::Drive;
use crate::events::{Draft, Stamp};
use crate::fill::{FillModel, physical_level};
use crate::fleet::Truck;
use crate::layout::Layout;
use crate::rng::Rng;
use crate::rounds::Rounds;
use crate::sensors::Device;
use crate::streets::Streets;
use crate::truth::{Contents, Emptying, History, Truth};
use crate::weather::Weather;
use crate::world::Closure;
use ws_routing::roads::{Closures, Place, Profile, RoadGraph, Search};

/// A message as the broker receives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Topic.
    pub topic: &'static str,
    /// Message key.
    pub key: String,
    /// When this copy reached the broker, UTC ms. A repeated delivery is later than the field `received_at`, which it repeats too.
    pub received_at_ms: i64,
    /// The record: an object with the fields of the topic's schema, times as UTC ms.
    pub value: Value,
}

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Report(usize),
    AlarmReport(usize),
    DeviceFault(usize),
    /// Truck, local day: its shift starts; stops planned before the time are left out.
    ShiftStart(usize, i64, i64),
    /// Truck, token: what it does is done.
    TruckWake(usize, u64),
    /// Truck, number of the duty: it sends its position.
    TruckTick(usize, u64),
    /// Truck, number of the duty: it sends its diagnostics.
    TruckDiagnose(usize, u64),
    /// Truck, number of the route: it leaves for the route it was given.
    Depart(usize, u64),
    Hour,
    /// Local day: in its evening the shifts of the next day are published.
    Evening(i64),
    /// Local day that begins.
    Midnight(i64),
    RoadCloses(usize),
    /// Segment in its middle, end in UTC ms.
    IncidentBegins(u32, i64),
    FacilityCloses(usize),
    FacilityOpens(usize),
    TicketMoves(usize),
    TicketEnds(usize),
    Bill(usize),
    Pay(usize),
}

/// Actions to come, by time and order of planning.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<(i64, u64, Action)>>,
    planned: u64,
}

impl Agenda {
    pub(crate) fn push(&mut self, at_ms: i64, action: Action) {
        self.planned += 1;
        self.heap.push(Reverse((at_ms, self.planned, action)));
    }

    fn retain(&mut self, keep: impl Fn(&Action) -> bool) {
        self.heap.retain(|Reverse((_, _, action))| keep(action));
    }

    fn pop_before(&mut self, until_ms: i64) -> Option<(i64, Action)> {
        match self.heap.peek() {
            Some(Reverse((at_ms, ..))) if *at_ms < until_ms => self.heap.pop().map(|Reverse((at_ms, _, action))| (at_ms, action)),
            _ => None,
        }
    }
}

/// A simulated city. See the crate's documentation. Its memory grows only by what [`Truth`] keeps: about 0.5 MB a day of the default city.
#[derive(Debug, Clone)]
pub struct City {
    pub(crate) config: CityConfig,
    pub(crate) layout: Layout,
    pub(crate) streets: Streets,
    pub(crate) congestion: Congestion,
    /// What drivers believe of the hours.
    pub(crate) habit: Profile,
    /// Closed roads, as far as they were told.
    pub(crate) closed: Closures,
    pub(crate) search: Search,
    /// Drives by segment, kept when asked for.
    pub(crate) drives: Option<Vec<Drive>>,
    pub(crate) fill: FillModel,
    pub(crate) rounds: Rounds,
    pub(crate) contents: Vec<Contents>,
    pub(crate) devices: Vec<Device>,
    /// Device on each container.
    pub(crate) device_on: Vec<usize>,
    pub(crate) trucks: Vec<Truck>,
    /// Next planned visit of each site, UTC ms.
    pub(crate) next_visits: Vec<Option<i64>>,
    pub(crate) closures: Vec<Closure>,
    pub(crate) closures_planned: usize,
    /// Until when each disposal site is closed, UTC ms.
    pub(crate) closed_until_ms: Vec<i64>,
    pub(crate) office: Office,
    pub(crate) world_rng: Rng,
    pub(crate) history: History,
    pub(crate) agenda: Agenda,
    pub(crate) outbox: Vec<Event>,
    pub(crate) now_ms: i64,
    container_indexes: BTreeMap<String, usize>,
    ids_given: u64,
}

impl City {
    /// A city at `config.start_ms`, mid-life: containers hold what came since their last planned visit. Sizes of 0 are taken as 1.
    pub fn new(config: CityConfig) -> City {
        let config = config.sane();
        let start_ms = config.start_ms;
        let mut layout = Layout::new(&config);
        let streets = Streets::new(&config, &mut layout);
        let centre = Place::new(config.latitude_deg, config.longitude_deg);
        let congestion = Congestion::new(config.seed, &streets.graph, centre, config.radius_m);
        let clock = LocalClock::new(config.time_zone, start_ms);
        let weather = Weather::new(config.seed, config.latitude_deg < 0.0);
        let fill = FillModel::new(config.seed, clock, weather);
        let trucks = Truck::fleet(&config, &layout, &streets);
        let depots: Vec<usize> = trucks.iter().map(|truck| truck.depot).collect();
        let rounds = Rounds::new(&config, &layout, &depots);
        // What is in the containers must not depend on how often they will be visited.
        let usual = Rounds::new(&CityConfig { rounds_target_level: ROUNDS_TARGET_LEVEL, ..config.clone() }, &layout, &depots);
        let next_visits = (0..layout.sites.len()).map(|site| rounds.next_visit_ms(&fill.clock, site, start_ms)).collect();
        let container_indexes = layout.containers.iter().enumerate().map(|(index, container)| (container.id.clone(), index)).collect();
        let mut city = City {
            office: Office::new(&config, &layout),
            world_rng: Rng::derive(config.seed, "world", 0),
            closed_until_ms: vec![start_ms; layout.disposals.len()],
            contents: Vec::new(),
            devices: Vec::new(),
            device_on: Vec::new(),
            closures: Vec::new(),
            closures_planned: 0,
            history: History::default(),
            agenda: Agenda::default(),
            outbox: Vec::new(),
            now_ms: start_ms,
            ids_given: 0,
            habit: congestion.habit(),
            closed: Closures::default(),
            search: Search::default(),
            drives: None,
            streets,
            congestion,
            config,
            layout,
            fill,
            rounds,
            trucks,
            next_visits,
            container_indexes,
        };
        city.fill_containers(&usual);
        for container in 0..city.layout.containers.len() {
            let device = city.add_device(Some(container), start_ms);
            city.device_on.push(device);
        }
        for _ in 0..city.config.faults.unknown_devices {
            city.add_unknown_device();
        }
        city.plan_world();
        city.plan_billing();
        city
    }

    /// Containers as they stand at the start, after the last visit to their site by the usual rounds.
    fn fill_containers(&mut self, usual: &Rounds) {
        let start_ms = self.config.start_ms;
        for (index, container) in self.layout.containers.iter().enumerate() {
            let mut rng = Rng::derive(self.config.seed, "contents", index as u64);
            let visit_ms = usual.last_visit_ms(&self.fill.clock, container.site, start_ms).unwrap_or(start_ms - 24 * HOUR_MS);
            let emptied_ms = (visit_ms + rng.int(-20, 20) * 60_000).min(start_ms - 60_000);
            let left = rng.between(0.0, 0.03);
            self.history.emptyings.push(Emptying {
                container_id: container.id.clone(),
                at_ms: emptied_ms,
                level_before: rng.between(0.4, 0.9),
                level_after: left,
                vehicle_id: None,
                reported: false,
            });
            self.contents.push(Contents { emptied: vec![(emptied_ms, left)], known_ms: emptied_ms, poured: left, fire: None, open_ticket: None });
        }
    }

    /// Lives until `until_ms` (exclusive) and returns what the broker received in that time, in order of delivery. A record holds
    /// about 2 kB and the default city sends 3,700 an hour: take long spans in steps. Times that have passed return nothing.
    pub fn advance(&mut self, until_ms: i64) -> Vec<Event> {
        while let Some((at_ms, action)) = self.agenda.pop_before(until_ms) {
            self.now_ms = at_ms;
            self.run(action);
        }
        self.now_ms = self.now_ms.max(until_ms);
        let mut due = Vec::with_capacity(self.outbox.len());
        let mut later = Vec::new();
        for event in self.outbox.drain(..) {
            if event.received_at_ms < until_ms { due.push(event) } else { later.push(event) }
        }
        self.outbox = later;
        // Stable: what arrives in the same millisecond stays in the order of sending, however the caller steps.
        due.sort_by_key(|event| event.received_at_ms);
        due
    }

    /// Up to when the city has lived, UTC ms.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// What the city was made with, impossible sizes corrected.
    pub fn config(&self) -> &CityConfig {
        &self.config
    }

    /// Lets whoever calls [`City::dispatch`] tell the trucks where to go, from now on; who is out finishes the round.
    pub fn end_rounds(&mut self) {
        self.config.dispatch = Dispatch::External;
        self.agenda.retain(|action| !matches!(action, Action::ShiftStart(..)));
    }

    /// The streets, as a map has them. Write them with [`ws_routing::roads::write`] for whoever reads a file.
    pub fn roads(&self) -> &Arc<RoadGraph> {
        &self.streets.graph
    }

    /// From now on every drive is kept, for [`Truth::drives`]: about 0.7 MB a day of the default city.
    pub fn keep_drives(&mut self) {
        self.drives.get_or_insert_default();
    }

    /// What really happened and is.
    pub fn truth(&self) -> Truth<'_> {
        Truth::new(self)
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Report(device) => self.on_report(device),
            Action::AlarmReport(device) => self.report(device),
            Action::DeviceFault(device) => self.on_device_fault(device),
            Action::ShiftStart(truck, day, from_ms) => self.on_shift_start(truck, day, from_ms),
            Action::TruckWake(truck, token) => self.on_truck_wake(truck, token),
            Action::TruckTick(truck, token) => self.on_truck_tick(truck, token),
            Action::TruckDiagnose(truck, duty) => self.on_truck_diagnose(truck, duty),
            Action::Depart(truck, number) => self.on_depart(truck, number),
            Action::Hour => self.on_hour(),
            Action::Evening(day) => self.on_evening(day),
            Action::Midnight(day) => self.on_midnight(day),
            Action::RoadCloses(closure) => self.on_road_closes(closure),
            Action::IncidentBegins(segment, until_ms) => self.on_incident_begins(segment, until_ms),
            Action::FacilityCloses(facility) => self.on_facility_closes(facility),
            Action::FacilityOpens(facility) => self.on_facility_opens(facility),
            Action::TicketMoves(ticket) => self.on_ticket_moves(ticket),
            Action::TicketEnds(ticket) => self.on_ticket_ends(ticket),
            Action::Bill(customer) => self.on_bill(customer),
            Action::Pay(invoice) => self.on_pay(invoice),
        }
    }

    /// Sends a record; `received_ms` is not before now.
    pub(crate) fn emit(&mut self, draft: Draft, source: &'static str, observed_ms: i64, sent_ms: i64, received_ms: i64) -> String {
        debug_assert!(received_ms >= self.now_ms, "{} would arrive before it was sent", draft.topic);
        let id = self.next_id("ev");
        let stamp = Stamp { id: id.clone(), source, observed_ms, sent_ms, received_ms };
        self.outbox.push(draft.finish(&self.config.tenant, stamp));
        id
    }

    /// Sends a record now from a system with a good connection.
    pub(crate) fn emit_now(&mut self, draft: Draft, source: &'static str) -> String {
        let now_ms = self.now_ms;
        let spread_ms = (self.ids_given % 7) as i64 * 40;
        self.emit(draft, source, now_ms, now_ms + 120, now_ms + 250 + spread_ms)
    }

    /// A new id, unique in the city.
    pub(crate) fn next_id(&mut self, prefix: &str) -> String {
        self.ids_given += 1;
        format!("{prefix}-{:07}", self.ids_given)
    }

    pub(crate) fn container_index(&self, container_id: &str) -> Option<usize> {
        self.container_indexes.get(container_id).copied()
    }

    /// True level of a container at a time not before its last emptying; remembers how far it counted.
    pub(crate) fn level_now(&mut self, container: usize, at_ms: i64) -> f64 {
        let contents = &mut self.contents[container];
        if at_ms > contents.known_ms {
            contents.poured += self.fill.poured(&self.layout.containers[container].fill, contents.known_ms, at_ms);
            contents.known_ms = at_ms;
        }
        physical_level(contents.poured)
    }
}
