//! How fast the streets really are: by class, hour, place and direction, a little otherwise every day, much slower at an
//! incident. Nobody in the city knows these speeds; drivers go by habit, and whoever reads the trucks' positions may find out.

use crate::calendar::{HOUR_MS, LocalClock, MINUTE_MS, weekday};
use crate::rng::{hash2, rough_normal};
use ws_routing::roads::{Edge, Place, Point, Profile, RoadClass, RoadGraph};

/// Deviation of the logarithm of what a street is faster or slower than the map says, for good.
const STREET_SIGMA: f64 = 0.10;
/// The same of what an area is on one hour of one day.
const DAY_SIGMA: f64 = 0.07;
/// Side of such an area, m.
const AREA_M: f64 = 2_000.0;
/// Share of the speed that is left at an incident.
const INCIDENT_SHARE: f64 = 0.3;
/// How far it reaches, m.
const INCIDENT_REACH_M: f64 = 450.0;
/// Times are looked at in such steps, so that a question costs the same at any time.
const STEP_MS: i64 = 5 * MINUTE_MS;

/// An accident or a stalled vehicle.
#[derive(Debug, Clone)]
pub(crate) struct Incident {
    pub at: Point,
    pub from_ms: i64,
    pub until_ms: i64,
}

/// True speeds.
#[derive(Debug, Clone)]
pub(crate) struct Congestion {
    seed: u64,
    /// By edge: metres a second that never change, how central (0–1), how much it leads to the centre (−1 to 1), area.
    edges: Vec<(f32, f32, f32, u32)>,
    /// (class, weekend, step of day): share of the free speed in the very centre, towards and away from it.
    shares: Vec<[(f32, f32); STEPS_PER_DAY]>,
    pub incidents: Vec<Incident>,
}

const STEPS_PER_DAY: usize = (24 * HOUR_MS / STEP_MS) as usize;
/// Classes that the city has.
const CLASSES: [RoadClass; 4] = [RoadClass::Primary, RoadClass::Secondary, RoadClass::Tertiary, RoadClass::Residential];

/// What rush hours take away of a class's speed in the very centre, at most.
fn rush(class: RoadClass) -> f64 {
    match class {
        RoadClass::Primary => 0.50,
        RoadClass::Secondary => 0.42,
        RoadClass::Tertiary => 0.30,
        _ => 0.12,
    }
}

/// What an ordinary working hour takes away.
fn daytime(class: RoadClass) -> f64 {
    match class {
        RoadClass::Primary | RoadClass::Secondary => 0.14,
        RoadClass::Tertiary => 0.10,
        _ => 0.06,
    }
}

/// A smooth hump of height 1.
fn hump(hour: f64, middle: f64, width: f64) -> f64 {
    (-((hour - middle) / width).powi(2)).exp()
}

/// Share of the free speed that is left in the centre, (towards it, away from it).
fn share(class: RoadClass, weekend: bool, hour: f64) -> (f64, f64) {
    let (rush, daytime) = (rush(class), daytime(class));
    let day = daytime * hump(hour, 13.5, 5.5);
    if weekend {
        let noon = 1.0 - 1.3 * day - 0.3 * rush * hump(hour, 12.5, 2.5);
        return (noon, noon);
    }
    let (morning, evening) = (hump(hour, 8.2, 1.2), hump(hour, 17.2, 1.5));
    let left = |morning_weight: f64, evening_weight: f64| (1.0 - day - rush * (morning_weight * morning + evening_weight * evening)).max(0.25);
    (left(1.0, 0.55), left(0.5, 1.0))
}

impl Congestion {
    pub(crate) fn new(seed: u64, graph: &RoadGraph, centre: Place, radius_m: f64) -> Congestion {
        let seed = hash2(seed, 0xC0D6);
        let middle = graph.plane().point(centre);
        let edge = |edge: Edge| {
            let (a, b) = (graph.node_point(graph.tail(edge)), graph.node_point(graph.head(edge)));
            let at = a.towards(b, 0.5);
            let distance_m = at.distance_m(middle);
            let towards = (a.distance_m(middle) - b.distance_m(middle)) / a.distance_m(b).max(1.0);
            let steady = (STREET_SIGMA * rough_normal(hash2(seed ^ 1, u64::from(edge.0)))).exp();
            let area = |metres: f64| (metres / AREA_M).floor() as i64 as u64;
            (
                (graph.free_flow_mps(edge.segment()) * steady) as f32,
                (1.0 - 0.55 * distance_m / radius_m).clamp(0.3, 1.0) as f32,
                towards.clamp(-1.0, 1.0) as f32,
                hash2(area(at.x_m), area(at.y_m)) as u32,
            )
        };
        let edges = (0..graph.segments() as u32 * 2).map(|index| edge(Edge(index))).collect();
        let mut shares = Vec::new();
        for class in CLASSES {
            for weekend in [false, true] {
                let mut day = [(1.0, 1.0); STEPS_PER_DAY];
                for (step, cell) in day.iter_mut().enumerate() {
                    let (towards, away) = share(class, weekend, step as f64 * STEP_MS as f64 / HOUR_MS as f64);
                    *cell = (towards as f32, away as f32);
                }
                shares.push(day);
            }
        }
        Congestion { seed, edges, shares, incidents: Vec::new() }
    }

    /// True speed of an edge at a time, m/s.
    pub(crate) fn mps(&self, graph: &RoadGraph, clock: &LocalClock, edge: Edge, at_ms: i64) -> f64 {
        let (steady_mps, central, towards, area) = self.edges[edge.0 as usize];
        let (day, hour) = (clock.day(at_ms), clock.hour(at_ms));
        let weekend = weekday(day) >= 5 || clock.is_holiday(day);
        let class = CLASSES.iter().position(|class| *class == graph.class(edge.segment())).unwrap_or(CLASSES.len() - 1);
        let step = ((hour * HOUR_MS as f64 / STEP_MS as f64) as usize).min(STEPS_PER_DAY - 1);
        let (inward, outward) = self.shares[class * 2 + usize::from(weekend)][step];
        let lean = f64::from(towards) * 0.5 + 0.5;
        let in_centre = f64::from(inward) * lean + f64::from(outward) * (1.0 - lean);
        let usual = 1.0 - (1.0 - in_centre) * f64::from(central);
        let mood = rough_normal(hash2(hash2(self.seed, u64::from(area)), (day * 24 + hour as i64) as u64));
        let blocked = self.incidents.iter().any(|incident| {
            (incident.from_ms..incident.until_ms).contains(&at_ms) && graph.node_point(graph.head(edge)).distance_m(incident.at) < INCIDENT_REACH_M
        });
        let speed = f64::from(steady_mps) * usual * (DAY_SIGMA * mood).exp() * if blocked { INCIDENT_SHARE } else { 1.0 };
        speed.clamp(1.0, 18.0)
    }

    /// What drivers believe: the usual hours of each class, in the middle of the city's range; nothing of streets, days or incidents.
    pub(crate) fn habit(&self) -> Profile {
        let mut habit = Profile::default();
        for (index, class) in CLASSES.iter().enumerate() {
            for hour in 0..ws_routing::roads::HOURS_PER_WEEK {
                let weekend = hour / 24 >= 5;
                let step = (hour % 24 * 60 + 30) * MINUTE_MS as usize / STEP_MS as usize;
                let (inward, outward) = self.shares[index * 2 + usize::from(weekend)][step];
                habit.set_class(*class, hour, 1.0 - (1.0 - f64::from(inward + outward) / 2.0) * 0.7);
            }
        }
        habit
    }

    /// Forgets incidents that ended before a time.
    pub(crate) fn forget_before(&mut self, at_ms: i64) {
        self.incidents.retain(|incident| incident.until_ms > at_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::DAY_MS;
    use crate::config::CityConfig;
    use crate::layout::Layout;
    use crate::streets::Streets;

    fn city() -> (CityConfig, Streets, Congestion, LocalClock) {
        let config = CityConfig { radius_m: 4_000.0, bins: 50, ..CityConfig::default() };
        let mut layout = Layout::new(&config);
        let streets = Streets::new(&config, &mut layout);
        let centre = Place::new(config.latitude_deg, config.longitude_deg);
        let congestion = Congestion::new(config.seed, &streets.graph, centre, config.radius_m);
        let clock = LocalClock::new(config.time_zone, config.start_ms);
        (config, streets, congestion, clock)
    }

    /// Mean share of free flow on a class's edges at a local hour of a day after the start.
    fn mean_share(class: RoadClass, day: i64, hour: i64) -> f64 {
        let (config, streets, congestion, clock) = city();
        let at_ms = clock.utc_ms(clock.day(config.start_ms) + day, hour * HOUR_MS + 15 * MINUTE_MS);
        let graph = &streets.graph;
        let shares: Vec<f64> = graph
            .edges()
            .filter(|edge| graph.class(edge.segment()) == class)
            .map(|edge| congestion.mps(graph, &clock, edge, at_ms) / graph.free_flow_mps(edge.segment()))
            .collect();
        shares.iter().sum::<f64>() / shares.len() as f64
    }

    #[test]
    fn rush_hours_slow_main_roads_on_working_days() {
        // The city begins on a Monday.
        assert!((0.9..1.1).contains(&mean_share(RoadClass::Primary, 1, 3)));
        assert!((0.5..0.8).contains(&mean_share(RoadClass::Primary, 1, 8)), "{}", mean_share(RoadClass::Primary, 1, 8));
        assert!(mean_share(RoadClass::Primary, 5, 8) > 0.9, "Saturday");
        assert!(mean_share(RoadClass::Residential, 1, 8) > mean_share(RoadClass::Primary, 1, 8) + 0.1);
    }

    #[test]
    fn mornings_jam_inwards_and_evenings_outwards() {
        let (config, streets, congestion, clock) = city();
        let graph = &streets.graph;
        let day = clock.day(config.start_ms) + 2;
        let ratio = |hour: i64| {
            let at_ms = clock.utc_ms(day, hour * HOUR_MS + 10 * MINUTE_MS);
            let mut sums = [(0.0, 0.0); 2];
            for edge in graph.edges().filter(|edge| graph.class(edge.segment()) == RoadClass::Primary) {
                let towards = congestion.edges[edge.0 as usize].2;
                if towards.abs() > 0.8 {
                    let sum = &mut sums[usize::from(towards > 0.0)];
                    *sum = (sum.0 + congestion.mps(graph, &clock, edge, at_ms) / graph.free_flow_mps(edge.segment()), sum.1 + 1.0);
                }
            }
            (sums[1].0 / sums[1].1) / (sums[0].0 / sums[0].1)
        };
        assert!(ratio(8) < 0.9 && ratio(17) > 1.1, "{} {}", ratio(8), ratio(17));
    }

    #[test]
    fn an_incident_slows_what_is_near_while_it_lasts() {
        let (config, streets, mut congestion, clock) = city();
        let graph = &streets.graph;
        let edge = graph.edges().next().unwrap();
        let at_ms = config.start_ms + DAY_MS;
        let before = congestion.mps(graph, &clock, edge, at_ms);
        congestion.incidents.push(Incident { at: graph.node_point(graph.head(edge)), from_ms: at_ms, until_ms: at_ms + HOUR_MS });
        assert!(congestion.mps(graph, &clock, edge, at_ms) < 0.5 * before);
        assert!(congestion.mps(graph, &clock, edge, at_ms + HOUR_MS) > 0.5 * before);
    }
}
