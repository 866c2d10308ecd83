//! Times and distances between many places, for planners: one exploration from each origin, ended when all destinations
//! are reached.

use super::graph::RoadGraph;
use super::search::{Limit, On, Search, positions};
use super::snap::Snap;
use super::speeds::Weights;

/// Times and distances from every origin to every destination, row by row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    /// Rows.
    pub origins: usize,
    /// Columns.
    pub destinations: usize,
    /// Seconds; infinite where there is no way.
    pub seconds: Vec<f32>,
    /// Metres of the quickest way.
    pub metres: Vec<f32>,
}

impl Matrix {
    /// Seconds from an origin to a destination.
    pub fn seconds(&self, origin: usize, destination: usize) -> f64 {
        self.seconds[origin * self.destinations + destination].into()
    }

    /// Metres from an origin to a destination.
    pub fn metres(&self, origin: usize, destination: usize) -> f64 {
        self.metres[origin * self.destinations + destination].into()
    }
}

/// The matrix of drives that leave at the time the weights speak of.
pub fn matrix(graph: &RoadGraph, weights: &dyn Weights, origins: &[Snap], destinations: &[Snap]) -> Matrix {
    let mut owners = Vec::with_capacity(destinations.len() * 2);
    let mut targets: Vec<On> = Vec::with_capacity(destinations.len() * 2);
    for (index, snap) in destinations.iter().enumerate() {
        for on in positions(graph, *snap) {
            owners.push(index);
            targets.push(on);
        }
    }
    let cells = origins.len() * destinations.len();
    let (mut seconds, mut metres) = (vec![f32::INFINITY; cells], vec![f32::INFINITY; cells]);
    let mut search = Search::default();
    for (row, snap) in origins.iter().enumerate() {
        search.explore(graph, weights, &positions(graph, *snap), &targets, Limit::NONE, None);
        for (owner, found) in owners.iter().zip(&search.found) {
            let cell = row * destinations.len() + owner;
            if let Some(found) = found.filter(|found| (found.seconds as f32) < seconds[cell]) {
                (seconds[cell], metres[cell]) = (found.seconds as f32, found.metres as f32);
            }
        }
    }
    Matrix { origins: origins.len(), destinations: destinations.len(), seconds, metres }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roads::FreeFlow;
    use crate::roads::testing::random_city;

    #[test]
    fn each_cell_is_what_a_single_search_finds() {
        let graph = random_city(11, 120);
        let snaps: Vec<Snap> =
            graph.all().step_by(5).map(|segment| Snap { segment, along_m: graph.length_m(segment) * 0.4, distance_m: 0.0 }).take(25).collect();
        let found = matrix(&graph, &FreeFlow, &snaps, &snaps[..20]);
        assert_eq!((found.origins, found.destinations, found.seconds.len()), (snaps.len(), 20, snaps.len() * 20));
        let mut search = Search::default();
        for (row, from) in snaps.iter().enumerate() {
            for (column, to) in snaps[..20].iter().enumerate() {
                match search.route(&graph, &FreeFlow, *from, *to) {
                    Some(route) => {
                        assert!((found.seconds(row, column) - route.seconds).abs() < 1e-3 * route.seconds.max(1.0));
                        assert!((found.metres(row, column) - route.metres).abs() < 1e-3 * route.metres.max(1.0) + 1.0);
                    }
                    None => assert!(found.seconds(row, column).is_infinite()),
                }
            }
            if row < 20 {
                assert_eq!(found.seconds(row, row), 0.0);
            }
        }
    }
}
