//! What each feature adds to a tree model's margin for one row: exact Shapley values of the path-dependent expectation
//! (TreeSHAP, algorithm 2 of Lundberg, Erion, Lee: "Consistent Individualized Feature Attribution for Tree Ensembles",
//! 2018). A feature that is "unknown" sends a row down both branches in proportion to the training rows that went
//! there. The values add up: bias + contributions = margin.
//!
//! What they are not: causes. A contribution says what the model made of a value, not what would happen if it changed.

use crate::tree::{Tree, TreeModel};

/// One feature on the way from the root: `zero` is the share of unknowing rows that come this far, `one` whether the
/// row itself does, `weight` the share of feature subsets of each size.
#[derive(Clone, Copy, Debug)]
struct Step {
    feature: usize,
    zero: f64,
    one: f64,
    weight: f64,
}

/// A row's contributions.
#[derive(Clone, Debug, PartialEq)]
pub struct Contributions {
    /// The margin that is expected without knowing any feature.
    pub bias: f64,
    /// Per feature, in the units of the margin (log-odds for probabilities).
    pub features: Vec<f64>,
}

impl TreeModel {
    /// Contributions for one row of [`TreeModel::features`] numbers. O(trees × leaves × depth²).
    pub fn contributions(&self, row: &[f64]) -> Contributions {
        let mut all = Contributions { bias: 0.0, features: vec![0.0; self.features()] };
        for tree in &self.trees {
            all.bias += tree.expectation();
            if !tree.nodes.is_empty() {
                walk(tree, 0, row, &mut all.features, &[], Step { feature: usize::MAX, zero: 1.0, one: 1.0, weight: 1.0 });
            }
        }
        all
    }
}

impl Tree {
    /// Training rows that came to a node or leaf.
    fn rows(&self, at: i32) -> f64 {
        if at >= 0 { self.nodes[at as usize].rows } else { self.leaf_rows[!at as usize] }
    }

    /// The share of a node's rows that went to a child; halves where nobody was counted.
    fn share(&self, node: usize, child: i32) -> f64 {
        let both = self.rows(self.nodes[node].left) + self.rows(self.nodes[node].right);
        if both > 0.0 { self.rows(child) / both } else { 0.5 }
    }

    /// The mean leaf, weighted as unknowing rows go.
    fn expectation(&self) -> f64 {
        if self.nodes.is_empty() {
            return self.leaves.first().copied().unwrap_or(0.0);
        }
        let mut reach = vec![0.0; self.nodes.len()];
        reach[0] = 1.0;
        let mut sum = 0.0;
        for index in 0..self.nodes.len() {
            for child in [self.nodes[index].left, self.nodes[index].right] {
                let share = reach[index] * self.share(index, child);
                if child >= 0 {
                    reach[child as usize] = share;
                } else {
                    sum += share * self.leaves[!child as usize];
                }
            }
        }
        sum
    }
}

/// The paper's RECURSE: `at` is a node or `!leaf`, `come` the step that led here.
fn walk(tree: &Tree, at: i32, row: &[f64], sums: &mut [f64], path: &[Step], come: Step) {
    let mut path = path.to_vec();
    extend(&mut path, come);
    if at < 0 {
        let leaf = tree.leaves[!at as usize];
        for index in 1..path.len() {
            let step = path[index];
            sums[step.feature] += unwound_weight(&path, index) * (step.one - step.zero) * leaf;
        }
        return;
    }
    let index = at as usize;
    let node = &tree.nodes[index];
    let feature = node.feature as usize;
    let (hot, cold) = if node.goes_left(row) { (node.left, node.right) } else { (node.right, node.left) };
    // A feature asked for the second time: what it did before is taken back and joined with what it does now.
    let (mut zero, mut one) = (1.0, 1.0);
    if let Some(before) = (1..path.len()).find(|at| path[*at].feature == feature) {
        (zero, one) = (path[before].zero, path[before].one);
        unwind(&mut path, before);
    }
    walk(tree, hot, row, sums, &path, Step { feature, zero: zero * tree.share(index, hot), one, weight: 0.0 });
    walk(tree, cold, row, sums, &path, Step { feature, zero: zero * tree.share(index, cold), one: 0.0, weight: 0.0 });
}

/// Adds a step: each subset size's share is split into subsets without and with the new feature.
fn extend(path: &mut Vec<Step>, step: Step) {
    let length = path.len();
    path.push(Step { weight: if length == 0 { 1.0 } else { 0.0 }, ..step });
    let size = (length + 1) as f64;
    for index in (0..length).rev() {
        let weight = path[index].weight;
        path[index + 1].weight += step.one * weight * (index + 1) as f64 / size;
        path[index].weight = step.zero * weight * (length - index) as f64 / size;
    }
}

/// Takes a step back.
fn unwind(path: &mut Vec<Step>, at: usize) {
    let last = path.len() - 1;
    let Step { zero, one, .. } = path[at];
    let size = path.len() as f64;
    let mut next = path[last].weight;
    for index in (0..last).rev() {
        if one != 0.0 {
            let weight = path[index].weight;
            path[index].weight = next * size / ((index + 1) as f64 * one);
            next = weight - path[index].weight * zero * (last - index) as f64 / size;
        } else {
            path[index].weight = path[index].weight * size / (zero * (last - index) as f64);
        }
    }
    for index in at..last {
        let Step { feature, zero, one, .. } = path[index + 1];
        path[index] = Step { feature, zero, one, weight: path[index].weight };
    }
    path.pop();
}

/// The sum of the weights that the path would have without a step.
fn unwound_weight(path: &[Step], at: usize) -> f64 {
    let last = path.len() - 1;
    let Step { zero, one, .. } = path[at];
    let size = path.len() as f64;
    let mut next = path[last].weight;
    let mut sum = 0.0;
    for index in (0..last).rev() {
        if one != 0.0 {
            let weight = next * size / ((index + 1) as f64 * one);
            sum += weight;
            next = path[index].weight - weight * zero * (last - index) as f64 / size;
        } else if zero != 0.0 {
            sum += path[index].weight * size / (zero * (last - index) as f64);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use lightgbm3::{Booster, Dataset};
    use serde_json::json;

    use super::*;

    const WIDTH: usize = 5;

    /// Five features, one of them missing at times, one noise; interactions on purpose.
    fn model(leaves: u32, trees: u32) -> (TreeModel, Vec<f64>) {
        let (booster, xs) = booster(leaves, trees);
        (TreeModel::parse(&booster.save_string().unwrap()).unwrap(), xs)
    }

    fn booster(leaves: u32, trees: u32) -> (Booster, Vec<f64>) {
        let mut xs = Vec::new();
        let mut ys = Vec::new();
        for i in 0..1500u32 {
            // splitmix64's finish: no column knows another.
            let unit = |salt: u64| {
                let mut mixed = (u64::from(i) * 31 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
            };
            let row = [unit(1), unit(2), if i % 7 == 0 { f64::NAN } else { unit(3) }, f64::from(i % 3), unit(5)];
            let hot = row[0] * row[1] > 0.3 || (row[2].is_nan() && row[3] > 0.5);
            ys.push(f32::from(u8::from(hot != (i % 11 == 0))));
            xs.extend(row);
        }
        let data = Dataset::from_slice(&xs, &ys, WIDTH as i32, true).unwrap();
        let parameters = json!({"objective": "binary", "num_iterations": trees, "num_leaves": leaves, "num_threads": 1, "seed": 3,
            "bagging_freq": 1, "bagging_fraction": 0.7, "deterministic": true, "force_row_wise": true, "verbose": -1});
        (Booster::train(data, &parameters).unwrap(), xs)
    }

    /// The value of a set of known features: unknown ones send the row down both branches.
    fn value(tree: &Tree, at: i32, row: &[f64], known: u32) -> f64 {
        if at < 0 {
            return tree.leaves[!at as usize];
        }
        let node = &tree.nodes[at as usize];
        if known & (1 << node.feature) != 0 {
            return value(tree, if node.goes_left(row) { node.left } else { node.right }, row, known);
        }
        [node.left, node.right].iter().map(|child| tree.share(at as usize, *child) * value(tree, *child, row, known)).sum()
    }

    fn factorial(n: usize) -> f64 {
        (1..=n).map(|k| k as f64).product()
    }

    /// Shapley's definition: over all subsets of the other features.
    fn by_definition(model: &TreeModel, row: &[f64]) -> Vec<f64> {
        let of = |known: u32| model.trees.iter().map(|tree| value(tree, if tree.nodes.is_empty() { !0 } else { 0 }, row, known)).sum::<f64>();
        (0..WIDTH)
            .map(|feature| {
                (0..1u32 << WIDTH)
                    .filter(|set| set & (1 << feature) == 0)
                    .map(|set| {
                        let size = set.count_ones() as usize;
                        let weight = factorial(size) * factorial(WIDTH - size - 1) / factorial(WIDTH);
                        weight * (of(set | 1 << feature) - of(set))
                    })
                    .sum()
            })
            .collect()
    }

    #[test]
    fn contributions_are_shapley_values_by_definition() {
        // 16 leaves over five features: features repeat along paths.
        for (leaves, trees) in [(2, 3), (5, 4), (16, 6)] {
            let (model, xs) = model(leaves, trees);
            for row in xs.chunks_exact(WIDTH).step_by(97) {
                let fast = model.contributions(row);
                for (feature, slow) in by_definition(&model, row).into_iter().enumerate() {
                    assert!((fast.features[feature] - slow).abs() < 1e-9, "{leaves} leaves, feature {feature}: {} {slow}", fast.features[feature]);
                }
            }
        }
    }

    #[test]
    fn contributions_add_up_to_the_margin_and_name_what_matters() {
        let (model, xs) = model(8, 40);
        let mut sizes = [0.0; WIDTH];
        for row in xs.chunks_exact(WIDTH).step_by(13) {
            let all = model.contributions(row);
            let sum = all.bias + all.features.iter().sum::<f64>();
            assert!((sum - model.margin(row)).abs() < 1e-9, "{sum} {}", model.margin(row));
            for (size, value) in sizes.iter_mut().zip(&all.features) {
                *size += value.abs();
            }
        }
        assert!(sizes[0] > 2.0 * sizes[4] && sizes[1] > 2.0 * sizes[4], "the noise feature explains little: {sizes:?}");
    }

    #[test]
    fn lightgbm_says_the_same() {
        let (booster, xs) = booster(12, 20);
        let model = TreeModel::parse(&booster.save_string().unwrap()).unwrap();
        let theirs = booster.predict_contrib(&xs[..WIDTH * 50], WIDTH as i32, true).unwrap();
        for (row, theirs) in xs.chunks_exact(WIDTH).zip(theirs.chunks_exact(WIDTH + 1)) {
            let ours = model.contributions(row);
            for (a, b) in ours.features.iter().chain([&ours.bias]).zip(theirs) {
                assert!((a - b).abs() < 1e-9, "{ours:?} {theirs:?}");
            }
        }
    }

    #[test]
    fn a_tree_without_splits_contributes_nothing_but_its_leaf() {
        let text = "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\nobjective=regression\n\nTree=0\nnum_leaves=1\nnum_cat=0\nleaf_value=0.25\n\nend of trees\n";
        let model = TreeModel::parse(text).unwrap();
        assert_eq!(model.contributions(&[1.0, 2.0]), Contributions { bias: 0.25, features: vec![0.0, 0.0] });
    }
}
