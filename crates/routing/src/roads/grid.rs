//! Which segments are near a point: cells of a plain grid list the segments that pass through them. On street networks a
//! grid beats a tree: cells hold about equally many roads, and a look-up touches a handful of cells.

use super::geo::{Point, nearest_on};
use super::graph::{RoadGraph, Segment, wide};
use super::snap::Snap;

/// Side of a cell, m: a little more than the usual radius of a look-up.
const CELL_M: f64 = 120.0;
/// Cells at most; a sparse network of a large region gets larger cells.
const CELLS_MAX: f64 = 4_000_000.0;

/// The index.
#[derive(Debug, Clone, Default)]
pub(super) struct Grid {
    west_m: f64,
    south_m: f64,
    cell_m: f64,
    columns: i64,
    rows: i64,
    from: Vec<u32>,
    segments: Vec<u32>,
}

impl Grid {
    pub(super) fn new(graph: &RoadGraph) -> Grid {
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for at in &graph.shape {
            for axis in 0..2 {
                low[axis] = low[axis].min(at[axis]);
                high[axis] = high[axis].max(at[axis]);
            }
        }
        let (width_m, height_m) = (f64::from(high[0] - low[0]).max(1.0), f64::from(high[1] - low[1]).max(1.0));
        let cell_m = CELL_M.max((width_m * height_m / CELLS_MAX).sqrt());
        let mut grid = Grid {
            west_m: f64::from(low[0]),
            south_m: f64::from(low[1]),
            cell_m,
            columns: (width_m / cell_m) as i64 + 1,
            rows: (height_m / cell_m) as i64 + 1,
            from: Vec::new(),
            segments: Vec::new(),
        };
        let mut members: Vec<(u32, u32)> = Vec::new();
        for segment in graph.all() {
            let first = members.len();
            for pair in graph.pieces(segment).windows(2) {
                grid.cells_of(wide(pair[0]), wide(pair[1]), &mut |cell| members.push((cell, segment.0)));
            }
            members[first..].sort_unstable();
            let mut keep = first;
            for index in first..members.len() {
                if index == first || members[index] != members[index - 1] {
                    members[keep] = members[index];
                    keep += 1;
                }
            }
            members.truncate(keep);
        }
        members.sort_unstable();
        grid.from = vec![0; (grid.columns * grid.rows) as usize + 1];
        for (cell, _) in &members {
            grid.from[*cell as usize + 1] += 1;
        }
        for cell in 1..grid.from.len() {
            grid.from[cell] += grid.from[cell - 1];
        }
        grid.segments = members.into_iter().map(|(_, segment)| segment).collect();
        grid
    }

    fn column(&self, x_m: f64) -> i64 {
        ((x_m - self.west_m) / self.cell_m).floor().clamp(-1e9, 1e9) as i64
    }

    fn row(&self, y_m: f64) -> i64 {
        ((y_m - self.south_m) / self.cell_m).floor().clamp(-1e9, 1e9) as i64
    }

    /// The cells that a straight piece passes, and perhaps a neighbour: of each column the rows between entry and exit.
    fn cells_of(&self, a: Point, b: Point, put: &mut dyn FnMut(u32)) {
        let (west, east) = if a.x_m <= b.x_m { (a, b) } else { (b, a) };
        for column in self.column(west.x_m)..=self.column(east.x_m) {
            let edge = |x_m: f64| {
                let share = if east.x_m > west.x_m { ((x_m - west.x_m) / (east.x_m - west.x_m)).clamp(0.0, 1.0) } else { 0.0 };
                west.towards(east, share).y_m
            };
            let left_m = self.west_m + column as f64 * self.cell_m;
            let (mut from_m, mut to_m) = (edge(left_m), edge(left_m + self.cell_m));
            if east.x_m <= west.x_m {
                (from_m, to_m) = (a.y_m, b.y_m);
            }
            for row in self.row(from_m.min(to_m))..=self.row(from_m.max(to_m)) {
                if (0..self.columns).contains(&column) && (0..self.rows).contains(&row) {
                    put((row * self.columns + column) as u32);
                }
            }
        }
    }

    fn visit(&self, low: (i64, i64), high: (i64, i64), seen: &mut Vec<u32>) {
        for row in low.1.max(0)..=high.1.min(self.rows - 1) {
            for column in low.0.max(0)..=high.0.min(self.columns - 1) {
                let cell = (row * self.columns + column) as usize;
                seen.extend_from_slice(&self.segments[self.from[cell] as usize..self.from[cell + 1] as usize]);
            }
        }
    }
}

impl RoadGraph {
    /// Every segment within a radius, with its nearest point, nearest first, ties by index.
    pub fn near(&self, point: Point, radius_m: f64) -> Vec<Snap> {
        let grid = &self.grid;
        let mut found = Vec::new();
        let low = (grid.column(point.x_m - radius_m), grid.row(point.y_m - radius_m));
        let high = (grid.column(point.x_m + radius_m), grid.row(point.y_m + radius_m));
        grid.visit(low, high, &mut found);
        found.sort_unstable();
        found.dedup();
        let mut near: Vec<Snap> = found.into_iter().map(|segment| self.snap_to(Segment(segment), point)).filter(|snap| snap.distance_m <= radius_m).collect();
        near.sort_by(|a, b| a.distance_m.total_cmp(&b.distance_m).then(a.segment.cmp(&b.segment)));
        near
    }

    /// The nearest segment of the main part within a radius: what a site or depot is reached by.
    pub fn nearest(&self, point: Point, radius_m: f64) -> Option<Snap> {
        let mut reach_m = self.grid.cell_m.min(radius_m);
        loop {
            if let Some(snap) = self.near(point, reach_m).into_iter().find(|snap| self.in_main(snap.segment)) {
                return Some(snap);
            }
            if reach_m >= radius_m {
                return None;
            }
            reach_m = (reach_m * 2.0).min(radius_m);
        }
    }

    /// The nearest point of one segment.
    pub fn snap_to(&self, segment: Segment, point: Point) -> Snap {
        let (mut best, mut passed_m, mut drawn_m) = ((0.0, f64::INFINITY), 0.0, 0.0);
        for pair in self.pieces(segment).windows(2) {
            let (a, b) = (wide(pair[0]), wide(pair[1]));
            let (share, distance_m) = nearest_on(a, b, point);
            let piece_m = a.distance_m(b);
            if distance_m < best.1 {
                best = (passed_m + share * piece_m, distance_m);
            }
            passed_m += piece_m;
            drawn_m = passed_m;
        }
        let along_m = if drawn_m > 0.0 { best.0 / drawn_m * self.length_m(segment) } else { 0.0 };
        Snap { segment, along_m, distance_m: best.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roads::testing::grid_city;

    #[test]
    fn near_finds_what_a_search_of_everything_finds() {
        let graph = grid_city(9, 9, 170.0);
        for step in 0..200 {
            let point = Point { x_m: f64::from(step) * 7.3 - 800.0, y_m: f64::from(step * step % 97) * 17.0 - 800.0 };
            for radius_m in [15.0, 60.0, 300.0] {
                let mut all: Vec<Snap> = graph.all().map(|segment| graph.snap_to(segment, point)).filter(|snap| snap.distance_m <= radius_m).collect();
                all.sort_by(|a, b| a.distance_m.total_cmp(&b.distance_m).then(a.segment.cmp(&b.segment)));
                assert_eq!(graph.near(point, radius_m), all, "{point:?} {radius_m}");
            }
        }
    }

    #[test]
    fn the_nearest_road_may_be_far_and_a_radius_ends_the_search() {
        let graph = grid_city(3, 3, 100.0);
        let away = Point { x_m: 5_000.0, y_m: 0.0 };
        assert!(graph.nearest(away, 1_000.0).is_none());
        let snap = graph.nearest(away, 10_000.0).unwrap();
        assert!((snap.distance_m - 4_900.0).abs() < 1.0, "{snap:?}");
        assert!(graph.nearest(Point { x_m: f64::MAX, y_m: 0.0 }, 1_000.0).is_none());
    }
}
