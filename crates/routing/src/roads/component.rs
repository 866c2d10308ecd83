//! The part of a network in which every node reaches every other. Car parks cut off by a missing link and one-way dead
//! ends lie outside of it; a site snapped there could not be served, so snapping prefers the main part.

use super::graph::RoadGraph;

const UNSEEN: u32 = u32::MAX;

/// Whether each node is in the largest strongly connected component (Tarjan 1972, with an own stack instead of recursion).
pub(super) fn largest_strong_component(graph: &RoadGraph) -> Vec<bool> {
    let count = graph.nodes();
    let (mut number, mut low) = (vec![UNSEEN; count], vec![0_u32; count]);
    let mut component = vec![UNSEEN; count];
    let (mut open, mut walk) = (Vec::new(), Vec::<(u32, u32)>::new());
    let (mut numbers, mut components) = (0, Vec::<u32>::new());
    for root in 0..count as u32 {
        if number[root as usize] != UNSEEN {
            continue;
        }
        walk.push((root, 0));
        while let Some((node, next)) = walk.pop() {
            let at = node as usize;
            if next == 0 {
                (number[at], low[at]) = (numbers, numbers);
                numbers += 1;
                open.push(node);
            }
            match graph.leaving(node).nth(next as usize) {
                Some(edge) => {
                    walk.push((node, next + 1));
                    let to = graph.head(edge);
                    if number[to as usize] == UNSEEN {
                        walk.push((to, 0));
                    } else if component[to as usize] == UNSEEN {
                        low[at] = low[at].min(number[to as usize]);
                    }
                }
                None => {
                    if low[at] == number[at] {
                        let mut size = 0;
                        while let Some(member) = open.pop() {
                            component[member as usize] = components.len() as u32;
                            size += 1;
                            if member == node {
                                break;
                            }
                        }
                        components.push(size);
                    }
                    if let Some((parent, _)) = walk.last() {
                        let parent = *parent as usize;
                        low[parent] = low[parent].min(low[at]);
                    }
                }
            }
        }
    }
    // The first of the largest: ties must not depend on anything else.
    let largest = (0..components.len()).max_by_key(|index| (components[*index], std::cmp::Reverse(*index)));
    component.iter().map(|own| largest == Some(*own as usize)).collect()
}

#[cfg(test)]
mod tests {
    use crate::roads::testing::{graph_of, line};
    use crate::roads::{NewSegment, Ways};

    #[test]
    fn one_way_traps_and_islands_are_outside() {
        let ring: Vec<NewSegment> = vec![
            line("r1", &[(0.0, 0.0), (100.0, 0.0)], Ways::Forward),
            line("r2", &[(100.0, 0.0), (100.0, 100.0)], Ways::Forward),
            line("r3", &[(100.0, 100.0), (0.0, 0.0)], Ways::Forward),
            line("trap", &[(100.0, 100.0), (200.0, 100.0)], Ways::Forward),
            line("island", &[(500.0, 500.0), (600.0, 500.0)], Ways::Both),
        ];
        let graph = graph_of(ring);
        let main: Vec<&str> = graph.all().filter(|segment| graph.in_main(*segment)).map(|segment| graph.id(segment)).collect();
        let mut sorted = main.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["r1", "r2", "r3"]);
        assert!((graph.main_share() - 0.6).abs() < 1e-9);
    }
}
