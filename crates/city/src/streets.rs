//! The streets of a city: an irregular lattice with main roads, one-way streets, missing pieces and a river that only
//! main roads cross. Drawn from the city's seed, as a network that the rest of the world could have read from a map.

use crate::config::CityConfig;
use crate::layout::{Layout, Point};
use crate::rng::{Rng, hash2, unit_of};
use ws_routing::roads::{GraphBuilder, NewSegment, RoadClass, RoadGraph, Segment, Snap, Ways};

/// Blocks in the middle and at the edge of the city, m.
const BLOCK_M: (f64, f64) = (120.0, 230.0);
/// Streets reach this far beyond the city's radius: transfer stations stand outside.
const REACH: f64 = 1.12;
/// Streets on each axis at most; a larger city has larger blocks.
const LINES_MAX: f64 = 150.0;
/// Every such line is a main road, every such one a large main road.
const MAIN_EVERY: i64 = 4;
const LARGE_EVERY: i64 = 12;
/// Of the pieces of small streets: not there.
const MISSING_SHARE: f64 = 0.10;
/// Of the small streets in the inner half: one-way, from end to end.
const ONE_WAY_SHARE: f64 = 0.45;
/// Of the pieces: bent.
const BENT_SHARE: f64 = 0.25;
/// Distance of a site from the middle of its street, m.
const KERB_M: f64 = 6.0;

/// Streets and where everything stands on them.
#[derive(Debug, Clone)]
pub(crate) struct Streets {
    pub graph: std::sync::Arc<RoadGraph>,
    pub sites: Vec<Snap>,
    pub depots: Vec<Snap>,
    pub disposals: Vec<Snap>,
}

impl Streets {
    /// The streets of a configuration; what stands in `layout` moves to the kerb of the nearest one.
    pub(crate) fn new(config: &CityConfig, layout: &mut Layout) -> Streets {
        let graph = Lattice::new(config).graph(layout);
        let mut sites = Vec::with_capacity(layout.sites.len());
        for index in 0..layout.sites.len() {
            let (snap, at) = at_kerb(&graph, layout, layout.sites[index].at, KERB_M);
            layout.sites[index].at = at;
            sites.push(snap);
        }
        let mut depots = Vec::new();
        for index in 0..layout.depots.len() {
            let (snap, at) = at_kerb(&graph, layout, layout.depots[index].at, 0.0);
            layout.depots[index].at = at;
            depots.push(snap);
        }
        let mut disposals = Vec::new();
        for index in 0..layout.disposals.len() {
            let (snap, at) = at_kerb(&graph, layout, layout.disposals[index].at, 0.0);
            layout.disposals[index].at = at;
            disposals.push(snap);
        }
        Streets { graph: std::sync::Arc::new(graph), sites, depots, disposals }
    }
}

/// The nearest street and the place beside it, on the side where the point was.
fn at_kerb(graph: &RoadGraph, layout: &Layout, at: Point, kerb_m: f64) -> (Snap, Point) {
    let point = graph.plane().point(layout.place(at));
    let snap = graph.nearest(point, 50_000.0).unwrap_or(Snap { segment: Segment(0), along_m: 0.0, distance_m: 0.0 });
    let on = snap.point(graph);
    let away = if snap.distance_m > 0.1 { kerb_m / snap.distance_m } else { 0.0 };
    (snap, layout.point(graph.place(on.towards(point, away))))
}

/// The lattice before it is a network: lines east and north, displaced crossings.
struct Lattice {
    seed: u64,
    reach_m: f64,
    radius_m: f64,
    /// Distance of each line from the middle by its number, lines −count to count.
    lines: Vec<f64>,
    count: i64,
    turn: f64,
    river: (f64, f64, f64),
}

impl Lattice {
    fn new(config: &CityConfig) -> Lattice {
        let mut rng = Rng::derive(config.seed, "streets", 0);
        let reach_m = config.radius_m * REACH;
        let widen = (config.radius_m / 8_000.0 * 97.0 / LINES_MAX).max(1.0);
        // Line by line outwards, with blocks that grow.
        let (mut lines, mut at_m) = (vec![0.0], 0.0);
        while at_m < reach_m {
            at_m += widen * (BLOCK_M.0 + (BLOCK_M.1 - BLOCK_M.0) * at_m / reach_m);
            lines.push(at_m);
        }
        Lattice {
            seed: rng.word(),
            reach_m,
            radius_m: config.radius_m,
            count: lines.len() as i64 - 1,
            lines,
            turn: rng.between(-0.25, 0.25),
            river: (rng.between(-0.3, 0.3) * config.radius_m, rng.between(0.08, 0.16) * config.radius_m, rng.between(1.5, 3.0) / config.radius_m),
        }
    }

    fn draw(&self, what: u64, column: i64, row: i64) -> f64 {
        unit_of(hash2(hash2(self.seed ^ what, column as u64), row as u64))
    }

    fn line_m(&self, number: i64) -> f64 {
        self.lines.get(number.unsigned_abs() as usize).copied().unwrap_or(self.reach_m) * number.signum() as f64
    }

    fn block_m(&self, number: i64) -> f64 {
        (self.line_m(number.abs() + 1) - self.line_m(number.abs())).abs().max(40.0)
    }

    /// Where a crossing is: off the lattice by up to a sixth of a block, and everything turned a little.
    fn crossing(&self, column: i64, row: i64) -> Point {
        let off = |what: u64, block_m: f64| (self.draw(what, column, row) - 0.5) * block_m / 3.0;
        let (x_m, y_m) = (self.line_m(column) + off(1, self.block_m(column)), self.line_m(row) + off(2, self.block_m(row)));
        let (sine, cosine) = self.turn.sin_cos();
        Point { x_m: x_m * cosine - y_m * sine, y_m: x_m * sine + y_m * cosine }
    }

    fn class(line: i64) -> RoadClass {
        match line {
            _ if line.rem_euclid(LARGE_EVERY) == 0 => RoadClass::Primary,
            _ if line.rem_euclid(MAIN_EVERY) == 0 => RoadClass::Secondary,
            _ if line.rem_euclid(2) == 0 => RoadClass::Tertiary,
            _ => RoadClass::Residential,
        }
    }

    fn north_of_river(&self, at: Point) -> bool {
        let (offset_m, width_m, wave) = self.river;
        at.y_m > offset_m + width_m * (at.x_m * wave).sin()
    }

    /// Direction of a small street that is one-way from end to end.
    fn ways(&self, class: RoadClass, line: i64, axis: u64) -> Ways {
        let small = matches!(class, RoadClass::Residential);
        let inner = self.line_m(line).abs() < self.radius_m / 2.0;
        match self.draw(10 + axis, line, 0) {
            draw if small && inner && draw < ONE_WAY_SHARE / 2.0 => Ways::Forward,
            draw if small && inner && draw < ONE_WAY_SHARE => Ways::Backward,
            _ => Ways::Both,
        }
    }

    fn graph(&self, layout: &Layout) -> RoadGraph {
        let mut segments = Vec::new();
        for column in -self.count..=self.count {
            for row in -self.count..=self.count {
                for (axis, next, line) in [(0, (column + 1, row), row), (1, (column, row + 1), column)] {
                    if let Some(segment) = self.piece(layout, (column, row), next, axis, line) {
                        segments.push(segment);
                    }
                }
            }
        }
        let whole = network(segments.iter());
        // What the river or a missing piece cut off is no street that anybody could serve.
        let lost = |segment: &NewSegment| whole.segment(&segment.id).is_some_and(|index| !whole.in_main(index));
        if segments.iter().any(lost) { network(segments.iter().filter(|segment| !lost(segment))) } else { whole }
    }

    fn piece(&self, layout: &Layout, from: (i64, i64), to: (i64, i64), axis: u64, line: i64) -> Option<NewSegment> {
        let (a, b) = (self.crossing(from.0, from.1), self.crossing(to.0, to.1));
        let inside = |at: Point| at.x_m.hypot(at.y_m) <= self.reach_m;
        let class = Lattice::class(line);
        let main = matches!(class, RoadClass::Primary | RoadClass::Secondary);
        let missing = self.draw(20 + axis, from.0, from.1) < MISSING_SHARE;
        let wet = self.north_of_river(a) != self.north_of_river(b);
        // In the very middle nothing is missing, so that even the smallest city has a street.
        let core = from.0.abs() <= 1 && from.1.abs() <= 1;
        if !inside(a) || !inside(b) || (!main && !core && (missing || wet)) {
            return None;
        }
        let mut points = vec![layout.place(a)];
        if self.draw(30 + axis, from.0, from.1) < BENT_SHARE {
            let aside = (self.draw(40 + axis, from.0, from.1) - 0.5) * 0.3;
            let middle = Point { x_m: (a.x_m + b.x_m) / 2.0 - (b.y_m - a.y_m) * aside, y_m: (a.y_m + b.y_m) / 2.0 + (b.x_m - a.x_m) * aside };
            points.push(layout.place(middle));
        }
        points.push(layout.place(b));
        // The map knows the speed of a road only roughly.
        let free_flow_mps = free_flow_mps(class) * (0.94 + 0.12 * self.draw(50 + axis, line, 0));
        let id = format!("seg-{}{}-{}{}", if axis == 0 { "e" } else { "n" }, signed(from.0), if axis == 0 { "r" } else { "c" }, signed(from.1));
        Some(NewSegment { id, class, ways: self.ways(class, line, axis), free_flow_mps, length_m: None, points })
    }
}

/// `012` for 12, `m012` for −12: ids that sort and need no escaping.
fn signed(number: i64) -> String {
    format!("{}{:03}", if number < 0 { "m" } else { "" }, number.abs())
}

fn free_flow_mps(class: RoadClass) -> f64 {
    match class {
        RoadClass::Primary => 15.0,
        RoadClass::Secondary => 12.5,
        RoadClass::Tertiary => 10.0,
        _ => 7.8,
    }
}

fn network<'a>(segments: impl Iterator<Item = &'a NewSegment>) -> RoadGraph {
    let mut builder = GraphBuilder::default();
    for segment in segments {
        // Every piece has two places of this city and a speed from the table.
        let added = builder.add(segment.clone());
        debug_assert!(added.is_ok(), "{added:?}");
    }
    match builder.build() {
        Ok(graph) => graph,
        Err(error) => unreachable!("the middle of the lattice always has streets: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ws_routing::roads::{Direction, FreeFlow, Search};

    fn streets(config: &CityConfig) -> (Layout, Streets) {
        let mut layout = Layout::new(config);
        let streets = Streets::new(config, &mut layout);
        (layout, streets)
    }

    #[test]
    fn a_city_has_streets_of_all_kinds_and_all_are_connected() {
        let (_, streets) = streets(&CityConfig::default());
        let graph = &streets.graph;
        assert!((8_000..30_000).contains(&graph.segments()), "{}", graph.segments());
        assert_eq!(graph.main_share(), 1.0);
        let share = |condition: &dyn Fn(Segment) -> bool| graph.all().filter(|s| condition(*s)).count() as f64 / graph.segments() as f64;
        let one_way = share(&|s| !graph.is_open(s.edge(Direction::Forward)) || !graph.is_open(s.edge(Direction::Backward)));
        assert!((0.05..0.4).contains(&one_way), "{one_way}");
        for class in [RoadClass::Primary, RoadClass::Secondary, RoadClass::Tertiary, RoadClass::Residential] {
            assert!(share(&|s| graph.class(s) == class) > 0.05, "{class:?}");
        }
        let mean_m = graph.all().map(|s| graph.length_m(s)).sum::<f64>() / graph.segments() as f64;
        assert!((100.0..260.0).contains(&mean_m), "{mean_m}");
    }

    #[test]
    fn sites_stand_at_the_kerb_and_every_one_reaches_every_depot() {
        let config = CityConfig { bins: 300, ..CityConfig::default() };
        let (layout, streets) = streets(&config);
        let graph = &streets.graph;
        let mut search = Search::default();
        for (site, snap) in layout.sites.iter().zip(&streets.sites) {
            let distance_m = graph.snap_to(snap.segment, graph.plane().point(layout.place(site.at))).distance_m;
            assert!(distance_m < KERB_M + 0.5, "{} is {distance_m} m off its street", site.id);
            assert!(search.route(graph, &FreeFlow, streets.depots[0], *snap).is_some(), "{}", site.id);
        }
        assert!(streets.disposals.iter().all(|snap| search.route(graph, &FreeFlow, *snap, streets.depots[0]).is_some()));
    }

    #[test]
    fn the_river_is_crossed_by_main_roads_alone() {
        let config = CityConfig::default();
        let (layout, streets) = streets(&config);
        let lattice = Lattice::new(&config);
        let graph = &streets.graph;
        let mut bridges = 0;
        for segment in graph.all() {
            let ends: Vec<bool> = graph.shape(segment).map(|at| lattice.north_of_river(layout.point(graph.place(at)))).collect();
            if ends[0] != ends[ends.len() - 1] {
                bridges += 1;
                let core = graph.id(segment).contains("000") || graph.id(segment).contains("001");
                assert!(core || matches!(graph.class(segment), RoadClass::Primary | RoadClass::Secondary), "{}", graph.id(segment));
            }
        }
        assert!((6..80).contains(&bridges), "{bridges}");
    }

    #[test]
    fn tiny_and_huge_cities_have_streets_too() {
        for radius_m in [500.0, 40_000.0] {
            let (_, streets) = streets(&CityConfig { radius_m, bins: 20, ..CityConfig::default() });
            assert!((50..80_000).contains(&streets.graph.segments()), "{radius_m}: {}", streets.graph.segments());
        }
    }
}
