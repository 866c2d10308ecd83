//! One vehicle's sequence with what makes an insertion cheap to judge: for each place the earliest departure and the
//! latest arrival that keep the rest possible, and the room that is left before the next disposal.
//!
//! The break makes two labels of each: *before* it is taken and *after*. A truck that is earlier can do whatever a later
//! one can (it may wait), so the two labels are exact where travel is static.

use super::super::problem::BreakRule;
use super::index::{Index, NEVER_MS, Part};

const ROOM_SLACK: f64 = 1e-9;

/// Earliest times before and after the break.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub before_ms: i64,
    pub after_ms: i64,
}

impl Moment {
    /// After a drive of `drive_ms`, in which the break may be taken.
    #[inline]
    pub fn drive(self, drive_ms: i64, pause: Option<BreakRule>) -> Self {
        let Some(rule) = pause else { return Self { before_ms: self.before_ms + drive_ms, after_ms: NEVER_MS } };
        let mut after_ms = self.after_ms + drive_ms;
        if self.before_ms <= rule.latest_ms {
            after_ms = after_ms.min((self.before_ms + drive_ms).max(rule.earliest_ms) + rule.duration_ms);
        }
        Self { before_ms: self.before_ms + drive_ms, after_ms }
    }

    /// After the service at `node`.
    #[inline]
    pub fn serve(self, index: &Index<'_>, node: usize) -> Self {
        let service_ms = index.service_ms[node];
        let leave = |arrives_ms: i64| if arrives_ms >= NEVER_MS { NEVER_MS } else { (index.begin_ms(node, arrives_ms) + service_ms).min(NEVER_MS) };
        Self { before_ms: leave(self.before_ms), after_ms: leave(self.after_ms) }
    }

    #[inline]
    pub fn is_never(self) -> bool {
        self.before_ms >= NEVER_MS && self.after_ms >= NEVER_MS
    }
}

/// The route of one truck. Gap `g` is between place `g` and `g + 1`, place 0 being the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    /// Start, visits, end.
    pub nodes: Vec<usize>,
    pub leave: Vec<Moment>,
    /// Metres and milliseconds of the leg across each gap, at the reference time.
    pub legs: Vec<(f64, i64)>,
    /// Latest arrivals before and after the break.
    pub latest: Vec<(i64, i64)>,
    /// For each gap and compartment: kilograms, litres and payload left, negative without a later disposal.
    room: Vec<[f64; 3]>,
    compartments: usize,
    /// The earliest moment at which the trip through each gap may have begun, and has.
    pub trip_began_ms: Vec<i64>,
    pub distance_m: f64,
    pub cost: f64,
    pub collected: super::super::problem::Load,
    pub sites: u32,
    /// First gap into which something may be put.
    pub free_from: usize,
    /// Not even what must be in it is possible: nothing may be put in.
    pub closed: bool,
}

impl Line {
    pub fn new(index: &Index<'_>, truck: usize) -> Self {
        let end = &index.trucks[truck];
        Self::of(vec![end.start_node, end.end_node], 0)
    }

    /// A line that is yet to be evaluated.
    pub fn of(nodes: Vec<usize>, free_from: usize) -> Self {
        Self { nodes, free_from, ..Self::default() }
    }

    /// Places of visits: without start and end.
    pub fn visits(&self) -> &[usize] {
        &self.nodes[1..self.nodes.len() - 1]
    }

    pub fn is_used(&self) -> bool {
        self.nodes.len() > 2
    }

    pub fn jobs(&self) -> impl Iterator<Item = usize> + '_ {
        self.visits().iter().copied()
    }

    /// Whether the day's caps of the truck allow this job as well.
    pub fn within_day(&self, index: &Index<'_>, truck: usize, job: usize) -> bool {
        let (cap, more) = (&index.problem.vehicles[truck].day_cap, index.collected[job]);
        self.sites < cap.sites && self.collected.kg + more.kg <= cap.load.kg + ROOM_SLACK && self.collected.l + more.l <= cap.load.l + ROOM_SLACK
    }

    /// Whether `parts` fit into the trip through `gap`, which a disposal ends.
    #[inline]
    pub fn has_room(&self, parts: &[Part], gap: usize) -> bool {
        let kg: f64 = parts.iter().map(|part| part.load.kg).sum();
        parts.iter().all(|part| {
            let room = &self.room[gap * self.compartments + part.compartment];
            part.load.kg <= room[0] + ROOM_SLACK && part.load.l <= room[1] + ROOM_SLACK && kg <= room[2] + ROOM_SLACK
        })
    }

    /// Whether the nodes can be driven to in `gap`, as far as the labels tell (all there is to it where travel is static).
    #[inline]
    pub fn in_time(&self, index: &Index<'_>, truck: usize, gap: usize, nodes: &[usize]) -> bool {
        let pause = index.trucks[truck].pause;
        let mut moment = self.leave[gap];
        let mut at = self.nodes[gap];
        for node in nodes {
            moment = moment.drive(index.drive_ms(at, *node), pause).serve(index, *node);
            if moment.is_never() {
                return false;
            }
            at = *node;
        }
        let next = self.nodes[gap + 1];
        let arrival = moment.drive(index.drive_ms(at, next), pause);
        let (before_ms, after_ms) = self.latest[gap + 1];
        arrival.before_ms <= before_ms || arrival.after_ms <= after_ms
    }

    /// Computes everything anew from `nodes`. `false` if the route is not possible; its labels are void then.
    pub fn evaluate(&mut self, index: &Index<'_>, truck: usize) -> bool {
        self.closed = !(self.forward(index, truck) && self.rooms(index, truck));
        if !self.closed {
            self.backward(index, truck);
        }
        !self.closed
    }

    /// Whether loads and the day's caps are kept.
    pub fn carries(&mut self, index: &Index<'_>, truck: usize) -> bool {
        self.rooms(index, truck)
    }

    fn forward(&mut self, index: &Index<'_>, truck: usize) -> bool {
        let end = &index.trucks[truck];
        let last = self.nodes.len() - 1;
        self.leave.clear();
        self.trip_began_ms.clear();
        self.legs.clear();
        self.distance_m = 0.0;
        let release = |nodes: &[usize]| {
            let trip = nodes.iter().take_while(|node| **node < index.jobs);
            trip.map(|node| index.release_ms[*node]).max().unwrap_or(i64::MIN)
        };
        let mut start_ms = end.start_ms;
        if index.has_release {
            start_ms = start_ms.max(release(&self.nodes[1..]));
        }
        let mut moment = Moment { before_ms: start_ms, after_ms: NEVER_MS };
        let mut trip_ms = start_ms;
        let mut first_wait_ms = 0;
        self.leave.push(moment);
        self.trip_began_ms.push(trip_ms);
        for place in 1..=last {
            let (from, node) = (self.nodes[place - 1], self.nodes[place]);
            let metres = index.metres(from, node);
            self.distance_m += metres;
            self.legs.push((metres, index.drive_ms(from, node)));
            let arrival =
                if index.is_static { moment.drive(index.drive_ms(from, node), end.pause) } else { drive_by_hour(index, moment, from, node, end.pause) };
            if place == last {
                let due = end.pause.is_some_and(|rule| arrival.before_ms > rule.latest_ms);
                let ends_ms = if due { arrival.after_ms } else { arrival.before_ms };
                self.leave.push(arrival);
                self.trip_began_ms.push(trip_ms);
                let begins_ms = if end.under_way { end.began_ms } else { start_ms + first_wait_ms };
                self.cost = self.price(index, truck, ends_ms - begins_ms);
                return ends_ms <= end.end_by_ms && self.distance_m.is_finite();
            }
            if place == 1 {
                first_wait_ms = (index.begin_ms(node, arrival.before_ms) - arrival.before_ms).clamp(0, NEVER_MS / 4);
            }
            moment = arrival.serve(index, node);
            if index.is_facility(node) {
                if index.has_release {
                    let bound_ms = release(&self.nodes[place + 1..last]);
                    moment = Moment { before_ms: moment.before_ms.max(bound_ms), after_ms: moment.after_ms.max(bound_ms) };
                }
                trip_ms = moment.before_ms.min(moment.after_ms);
            }
            if moment.is_never() {
                return false;
            }
            self.leave.push(moment);
            self.trip_began_ms.push(trip_ms);
        }
        false
    }

    fn price(&self, index: &Index<'_>, truck: usize, paid_ms: i64) -> f64 {
        let end = &index.trucks[truck];
        if !self.is_used() && !end.under_way {
            return 0.0;
        }
        end.fixed + end.per_m * (self.distance_m + end.driven_m) + end.per_ms * paid_ms as f64
    }

    fn backward(&mut self, index: &Index<'_>, truck: usize) {
        let end = &index.trucks[truck];
        let last = self.nodes.len() - 1;
        self.latest.clear();
        self.latest.resize(last + 1, (0, 0));
        let before_ms = end.pause.map_or(end.end_by_ms, |rule| end.end_by_ms.min(rule.latest_ms));
        self.latest[last] = (before_ms, if end.pause.is_some() { end.end_by_ms } else { -NEVER_MS });
        for place in (1..last).rev() {
            let (node, next) = (self.nodes[place], self.nodes[place + 1]);
            let drive_ms = if index.is_static { index.drive_ms(node, next) } else { index.drive_at_ms(node, next, self.leave[place].before_ms) };
            let (before_ms, after_ms) = self.latest[place + 1];
            let mut leave_before_ms = before_ms - drive_ms;
            if let Some(rule) = end.pause
                && rule.earliest_ms + rule.duration_ms <= after_ms
            {
                leave_before_ms = leave_before_ms.max((after_ms - rule.duration_ms - drive_ms).min(rule.latest_ms));
            }
            let service_ms = index.service_ms[node];
            let begin = |leave_ms: i64| index.latest_begin_ms(node, leave_ms - service_ms);
            self.latest[place] = (begin(leave_before_ms), begin(after_ms - drive_ms));
        }
    }

    /// Loads forward, room backward. `false` if something is exceeded or the truck ends loaded.
    fn rooms(&mut self, index: &Index<'_>, truck: usize) -> bool {
        let (end, vehicle) = (&index.trucks[truck], &index.problem.vehicles[truck]);
        let layout = &index.layouts[end.layout];
        let last = self.nodes.len() - 1;
        self.compartments = vehicle.compartments.len();
        (self.collected, self.sites) = (end.collected, end.sites);
        // After each place: load of each compartment, and of the whole.
        let width = self.compartments;
        let mut loads: Vec<[f64; 2]> = Vec::with_capacity((last + 1) * width);
        let mut now: Vec<[f64; 2]> = vec![[0.0; 2]; width];
        if end.loaded {
            add_streams(vehicle, &end.load, &mut now);
        }
        for place in 0..last {
            let node = self.nodes[place];
            if place > 0 && node < index.jobs {
                for part in &layout.parts[node] {
                    now[part.compartment][0] += part.load.kg;
                    now[part.compartment][1] += part.load.l;
                }
                let more = index.collected[node];
                self.collected.kg += more.kg;
                self.collected.l += more.l;
                self.sites += 1;
            } else if place > 0 && index.is_facility(node) {
                let facility = node - index.jobs;
                let mut partial = false;
                for (compartment, load) in now.iter_mut().enumerate() {
                    if layout.empties[facility][compartment] {
                        *load = [0.0; 2];
                    } else if load[0] > 0.0 || load[1] > 0.0 {
                        partial |= vehicle.compartments[compartment].streams.iter().any(|stream| index.problem.facilities[facility].streams.contains(stream));
                    }
                }
                if partial {
                    // The facility takes some streams of a compartment and leaves the others: count by stream.
                    let streams = self.by_stream(index, truck, place);
                    now.iter_mut().for_each(|load| *load = [0.0; 2]);
                    add_streams(vehicle, &streams, &mut now);
                }
            }
            let total: f64 = now.iter().map(|load| load[0]).sum();
            let fits =
                now.iter().zip(&vehicle.compartments).all(|(load, part)| load[0] <= part.capacity.kg + ROOM_SLACK && load[1] <= part.capacity.l + ROOM_SLACK);
            if !fits || total > vehicle.payload_kg + ROOM_SLACK {
                return false;
            }
            loads.extend_from_slice(&now);
        }
        let cap = &vehicle.day_cap;
        let empty = now.iter().all(|load| load[0] <= 1e-7 && load[1] <= 1e-7);
        if !empty || self.sites > cap.sites || self.collected.kg > cap.load.kg + ROOM_SLACK || self.collected.l > cap.load.l + ROOM_SLACK {
            return false;
        }
        self.fill_room(index, truck, &loads);
        true
    }

    fn fill_room(&mut self, index: &Index<'_>, truck: usize, loads: &[[f64; 2]]) {
        let vehicle = &index.problem.vehicles[truck];
        let layout = &index.layouts[index.trucks[truck].layout];
        let (last, width) = (self.nodes.len() - 1, self.compartments);
        self.room.clear();
        self.room.resize(last * width, [-1.0; 3]);
        for (compartment, part) in vehicle.compartments.iter().enumerate() {
            for gap in (0..last).rev() {
                let total: f64 = loads[gap * width..(gap + 1) * width].iter().map(|load| load[0]).sum();
                let here = loads[gap * width + compartment];
                let own = [part.capacity.kg - here[0], part.capacity.l - here[1], vehicle.payload_kg - total];
                let next = self.nodes[gap + 1];
                let ends_here = index.is_facility(next) && layout.empties[next - index.jobs][compartment];
                self.room[gap * width + compartment] = if ends_here {
                    own
                } else if gap + 1 == last {
                    [-1.0; 3]
                } else {
                    let later = self.room[(gap + 1) * width + compartment];
                    [later[0].min(own[0]), later[1].min(own[1]), later[2].min(own[2])]
                };
            }
        }
    }

    /// Load of each stream after `place`, counted from the start.
    pub fn by_stream(&self, index: &Index<'_>, truck: usize, place: usize) -> Vec<super::super::problem::Load> {
        let mut streams = index.trucks[truck].load.clone();
        for node in &self.nodes[1..=place] {
            if *node < index.jobs {
                for demand in &index.problem.jobs[*node].demands {
                    let load = demand.load(index.problem.load_basis);
                    streams[demand.stream].kg += load.kg;
                    streams[demand.stream].l += load.l;
                }
            } else if index.is_facility(*node) {
                for stream in &index.problem.facilities[*node - index.jobs].streams {
                    streams[*stream] = super::super::problem::Load::default();
                }
            }
        }
        streams
    }
}

fn add_streams(vehicle: &super::super::problem::Vehicle, streams: &[super::super::problem::Load], now: &mut [[f64; 2]]) {
    for (load, part) in now.iter_mut().zip(&vehicle.compartments) {
        for stream in &part.streams {
            load[0] += streams[*stream].kg;
            load[1] += streams[*stream].l;
        }
    }
}

/// A leg whose time depends on when it is begun: each label leaves at its own time.
fn drive_by_hour(index: &Index<'_>, moment: Moment, from: usize, to: usize, pause: Option<BreakRule>) -> Moment {
    let before = moment.before_ms;
    let arrive = |leave_ms: i64| if leave_ms >= NEVER_MS { NEVER_MS } else { leave_ms + index.drive_at_ms(from, to, leave_ms) };
    let mut after_ms = arrive(moment.after_ms);
    if let Some(rule) = pause
        && before <= rule.latest_ms
    {
        after_ms = after_ms.min(arrive(before).max(rule.earliest_ms) + rule.duration_ms);
    }
    Moment { before_ms: arrive(before), after_ms: if pause.is_some() { after_ms } else { NEVER_MS } }
}
