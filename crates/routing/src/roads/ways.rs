//! Lines of a map become segments: they are cut where they meet. OpenStreetMap's ways share a point where one can turn
//! from one to the other; two that cross without one are bridge and road.

use super::build::NewSegment;
use super::geo::Place;
use super::tags::Road;
use std::collections::HashMap;

/// A line of a map with what it is.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub id: String,
    pub road: Road,
    pub points: Vec<Place>,
}

type Spot = (i64, i64);

fn spot(place: &Place) -> Spot {
    ((place.latitude_deg * 1e7).round() as i64, (place.longitude_deg * 1e7).round() as i64)
}

/// Cuts lines at every point that occurs twice, in one line or two. A line that stays whole keeps its id; pieces get
/// `ID-1`, `ID-2`, … along the line.
pub(super) fn cut(lines: Vec<Line>) -> Vec<NewSegment> {
    let mut times: HashMap<Spot, u8> = HashMap::new();
    for line in &lines {
        for place in &line.points {
            let count = times.entry(spot(place)).or_default();
            *count = count.saturating_add(1);
        }
    }
    let mut segments = Vec::with_capacity(lines.len());
    for line in lines {
        let last = line.points.len() - 1;
        let cuts: Vec<usize> = (1..last).filter(|index| times[&spot(&line.points[*index])] > 1).chain([last]).collect();
        let mut from = 0;
        for (piece, to) in cuts.iter().copied().enumerate() {
            let id = if cuts.len() == 1 { line.id.clone() } else { format!("{}-{}", line.id, piece + 1) };
            let mut points = line.points[from..=to].to_vec();
            points.dedup_by_key(|place| spot(place));
            from = to;
            if points.len() < 2 {
                continue;
            }
            segments.push(NewSegment {
                id,
                class: line.road.class,
                ways: line.road.ways,
                free_flow_mps: line.road.free_flow_mps,
                // A told length is that of the whole line.
                length_m: line.road.length_m.filter(|_| cuts.len() == 1),
                points,
            });
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roads::Ways;
    use crate::roads::class::RoadClass;
    use crate::roads::testing::graph_of;

    fn way(id: &str, points: &[(f64, f64)]) -> Line {
        let road = Road { class: RoadClass::Residential, ways: Ways::Both, free_flow_mps: 8.0, length_m: None };
        Line { id: id.to_owned(), road, points: points.iter().map(|(latitude, longitude)| Place::new(*latitude, *longitude)).collect() }
    }

    #[test]
    fn lines_are_cut_where_they_share_a_point_and_not_where_they_only_cross() {
        let lines = vec![
            way("w1", &[(0.0, 0.0), (0.0, 0.001), (0.0, 0.002), (0.0, 0.003)]),
            way("w2", &[(-0.001, 0.001), (0.0, 0.001), (0.001, 0.001)]),
            way("bridge", &[(-0.001, 0.0025), (0.001, 0.0025)]),
        ];
        let segments = cut(lines);
        let ids: Vec<&str> = segments.iter().map(|segment| segment.id.as_str()).collect();
        assert_eq!(ids, ["w1-1", "w1-2", "w2-1", "w2-2", "bridge"]);
        assert_eq!(segments[1].points.len(), 3, "the point that only w1 has is shape");
        let graph = graph_of(segments);
        assert_eq!((graph.nodes(), graph.segments()), (7, 5));
    }

    #[test]
    fn a_loop_is_cut_at_its_knot_and_repeated_points_vanish() {
        let segments = cut(vec![way("lasso", &[(0.0, 0.0), (0.0, 0.001), (0.001, 0.001), (0.001, 0.0), (0.0, 0.001)]), way("dot", &[(0.5, 0.5), (0.5, 0.5)])]);
        let ids: Vec<&str> = segments.iter().map(|segment| segment.id.as_str()).collect();
        assert_eq!(ids, ["lasso-1", "lasso-2"]);
    }
}
