//! LightGBM's text models, evaluated in plain Rust: the sum of one leaf per tree, added in the trees' order, in
//! `f64`, exactly as LightGBM adds them (a test compares bits). Why not LightGBM itself: its handle is not `Send`,
//! its prediction calls take a thread count and a parameter string per call, and serving would link a C++ library for
//! a few comparisons. Only what training here produces is read; everything else (categorical splits, linear leaves,
//! several classes, random forests) is refused by name.

use crate::ModelError;

/// LightGBM's `kZeroThreshold`, a `float` there.
const ZERO_THRESHOLD: f64 = 1e-35_f32 as f64;
const HINT: &str = "train with `wastestream train`, which writes what is understood here";

/// What the sum of the leaves means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// The prediction itself (quantile, regression).
    Identity,
    /// Log-odds, with LightGBM's `sigmoid` factor (binary).
    Logistic(f64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    threshold: f64,
    pub(crate) feature: u32,
    /// Child: an index into the tree's nodes when ≥ 0, otherwise `!leaf`.
    pub(crate) left: i32,
    pub(crate) right: i32,
    default_left: bool,
    missing: Missing,
    /// Training rows that came here.
    pub(crate) rows: f64,
}

impl Node {
    /// Whether a row goes to the left child.
    pub(crate) fn goes_left(&self, row: &[f64]) -> bool {
        let mut value = row[self.feature as usize];
        if value.is_nan() && self.missing != Missing::Nan {
            value = 0.0;
        }
        let is_missing = match self.missing {
            Missing::None => false,
            Missing::Zero => value.abs() <= ZERO_THRESHOLD,
            Missing::Nan => value.is_nan(),
        };
        if is_missing { self.default_left } else { value <= self.threshold }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Missing {
    None,
    Zero,
    Nan,
}

/// One tree; children stand after their parents.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) leaves: Vec<f64>,
    /// Training rows per leaf.
    pub(crate) leaf_rows: Vec<f64>,
}

/// A model of many trees.
#[derive(Clone, Debug)]
pub struct TreeModel {
    features: usize,
    link: Link,
    pub(crate) trees: Vec<Tree>,
}

/// Trees deeper than this are refused: walks over all branches recurse.
const MAX_DEPTH: usize = 200;

impl TreeModel {
    /// Reads LightGBM's text format.
    ///
    /// # Errors
    /// When the text is damaged or uses what is not supported here; the line is named.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        Parser { lines: text.lines().enumerate() }.model()
    }

    /// Features per row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// The sum of the leaves for one row: the prediction before the link. For a probability, log-odds over LightGBM's
    /// `sigmoid` factor, which is 1 by default.
    pub fn margin(&self, row: &[f64]) -> f64 {
        self.trees.iter().map(|tree| tree.leaf(row)).fold(0.0, |sum, leaf| sum + leaf)
    }

    /// The prediction for one row of [`Self::features`] numbers, NaN where missing.
    pub fn predict(&self, row: &[f64]) -> f64 {
        let sum = self.margin(row);
        match self.link {
            Link::Identity => sum,
            Link::Logistic(sigmoid) => 1.0 / (1.0 + (-sigmoid * sum).exp()),
        }
    }
}

impl Tree {
    fn leaf(&self, row: &[f64]) -> f64 {
        let mut at = if self.nodes.is_empty() { -1 } else { 0 };
        while at >= 0 {
            let node = &self.nodes[at as usize];
            at = if node.goes_left(row) { node.left } else { node.right };
        }
        self.leaves[!at as usize]
    }
}

struct Parser<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
}

/// The `key=value` lines up to the next blank line, with the line they start at.
struct Section<'a> {
    line: usize,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Section<'a> {
    fn find(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn get(&self, key: &str) -> Result<&'a str, ModelError> {
        self.find(key).ok_or_else(|| self.wrong(format!("{key} is missing")))
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T, ModelError> {
        let text = self.get(key)?;
        text.parse().map_err(|_| self.wrong(format!("{key}={text} is not a number")))
    }

    fn list<T: std::str::FromStr>(&self, key: &str, length: usize) -> Result<Vec<T>, ModelError> {
        let values = self
            .get(key)?
            .split_ascii_whitespace()
            .map(|text| text.parse().map_err(|_| self.wrong(format!("{key}: {text} is not a number"))))
            .collect::<Result<Vec<T>, ModelError>>()?;
        if values.len() == length { Ok(values) } else { Err(self.wrong(format!("{key} has {} values, not {length}", values.len()))) }
    }

    fn wrong(&self, message: String) -> ModelError {
        ModelError::Tree { line: self.line, message, hint: HINT }
    }
}

impl<'a> Parser<'a> {
    fn section(&mut self) -> Option<Section<'a>> {
        let mut section: Option<Section<'a>> = None;
        for (index, line) in self.lines.by_ref() {
            let line = line.trim_end();
            match (&mut section, line.is_empty()) {
                (None, true) => continue,
                (Some(_), true) => break,
                (open, false) => {
                    let open = open.get_or_insert(Section { line: index + 1, pairs: Vec::new() });
                    open.pairs.push(line.split_once('=').unwrap_or((line, "")));
                }
            }
        }
        section
    }

    fn model(&mut self) -> Result<TreeModel, ModelError> {
        let whole = |message: &str| ModelError::Tree { line: 0, message: message.to_owned(), hint: HINT };
        let head = self.section().ok_or_else(|| whole("is empty"))?;
        if head.find("tree").is_none() {
            return Err(head.wrong("does not begin with `tree`".to_owned()));
        }
        if head.number::<usize>("num_class")? != 1 || head.number::<usize>("num_tree_per_iteration")? != 1 {
            return Err(head.wrong("has several classes".to_owned()));
        }
        if head.find("average_output").is_some() {
            return Err(head.wrong("is a random forest".to_owned()));
        }
        let features = head.number::<usize>("max_feature_idx")? + 1;
        let link = link_of(&head)?;
        let mut trees = Vec::new();
        loop {
            let section = self.section().ok_or_else(|| whole("ends before `end of trees`"))?;
            if section.find("end of trees").is_some() {
                break;
            }
            if section.number::<usize>("Tree")? != trees.len() {
                return Err(section.wrong(format!("tree {} expected", trees.len())));
            }
            trees.push(tree_of(&section, features)?);
        }
        if trees.is_empty() {
            return Err(whole("has no trees"));
        }
        Ok(TreeModel { features, link, trees })
    }
}

fn link_of(head: &Section<'_>) -> Result<Link, ModelError> {
    let objective = head.get("objective")?;
    let mut words = objective.split_ascii_whitespace();
    match words.next() {
        Some("quantile" | "regression" | "regression_l1" | "huber") => Ok(Link::Identity),
        Some("binary") => words
            .find_map(|word| word.strip_prefix("sigmoid:"))
            .and_then(|sigmoid| sigmoid.parse().ok())
            .map(Link::Logistic)
            .ok_or_else(|| head.wrong("objective=binary lacks its sigmoid".to_owned())),
        _ => Err(head.wrong(format!("objective={objective} is not supported"))),
    }
}

fn tree_of(section: &Section<'_>, features: usize) -> Result<Tree, ModelError> {
    let count: usize = section.number("num_leaves")?;
    if section.number::<usize>("num_cat")? != 0 {
        return Err(section.wrong("has categorical splits".to_owned()));
    }
    if section.find("is_linear").is_some_and(|flag| flag != "0") {
        return Err(section.wrong("has linear leaves".to_owned()));
    }
    if count == 0 {
        return Err(section.wrong("has no leaves".to_owned()));
    }
    let leaves: Vec<f64> = section.list("leaf_value", count)?;
    let inner = count - 1;
    if inner == 0 {
        return Ok(Tree { nodes: Vec::new(), leaves, leaf_rows: vec![1.0] });
    }
    let leaf_rows: Vec<f64> = section.list("leaf_count", count)?;
    let node_rows: Vec<f64> = section.list("internal_count", inner)?;
    if leaf_rows.iter().chain(&node_rows).any(|rows| !rows.is_finite() || *rows < 0.0) {
        return Err(section.wrong("a count of rows is negative".to_owned()));
    }
    let split_feature: Vec<u32> = section.list("split_feature", inner)?;
    let threshold: Vec<f64> = section.list("threshold", inner)?;
    let decision: Vec<u8> = section.list("decision_type", inner)?;
    let left: Vec<i32> = section.list("left_child", inner)?;
    let right: Vec<i32> = section.list("right_child", inner)?;
    let mut nodes = Vec::with_capacity(inner);
    for index in 0..inner {
        let missing = match (decision[index] >> 2) & 3 {
            0 => Missing::None,
            1 => Missing::Zero,
            2 => Missing::Nan,
            other => return Err(section.wrong(format!("missing type {other} is unknown"))),
        };
        if decision[index] & 1 != 0 || split_feature[index] as usize >= features {
            return Err(section.wrong(format!("split {index} is categorical or names an unknown feature")));
        }
        for child in [left[index], right[index]] {
            // A child stands after its parent: walks end, whatever the file says.
            let ok = if child >= 0 { (child as usize) < inner && child as usize > index } else { (!child as usize) < count };
            if !ok {
                return Err(section.wrong(format!("child {child} of split {index} is out of range")));
            }
        }
        nodes.push(Node {
            threshold: threshold[index],
            feature: split_feature[index],
            left: left[index],
            right: right[index],
            default_left: decision[index] & 2 != 0,
            missing,
            rows: node_rows[index],
        });
    }
    let mut depths = vec![1usize; inner];
    for index in 0..inner {
        for child in [left[index], right[index]] {
            if child >= 0 {
                depths[child as usize] = depths[index] + 1;
            }
        }
        if depths[index] > MAX_DEPTH {
            return Err(section.wrong(format!("is deeper than {MAX_DEPTH}")));
        }
    }
    Ok(Tree { nodes, leaves, leaf_rows })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use lightgbm3::{Booster, Dataset};
    use serde_json::json;

    use super::*;

    /// A small generator, so that the test needs no crate for it.
    fn noise(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 11) as f64 / (1u64 << 53) as f64
    }

    fn data(rows: usize) -> (Vec<f64>, Vec<f32>) {
        let mut state = 7;
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let row: Vec<f64> = (0..4).map(|_| noise(&mut state)).collect();
            ys.push((row[0] * 2.0 + if row[1] > 0.5 { row[2] } else { -row[2] } + noise(&mut state)) as f32);
            // Missing values and zeros, so that default directions are exercised.
            xs.extend(row.iter().map(|v| {
                if *v < 0.1 {
                    f64::NAN
                } else if *v < 0.2 {
                    0.0
                } else {
                    *v
                }
            }));
        }
        (xs, ys)
    }

    fn boosted(params: serde_json::Value, ys: &[f32], xs: &[f64]) -> Booster {
        let dataset = Dataset::from_slice(xs, ys, 4, true).unwrap();
        Booster::train(dataset, &params).unwrap()
    }

    #[test]
    fn answers_equal_lightgbm_bit_for_bit() {
        let (xs, ys) = data(3000);
        let binary: Vec<f32> = ys.iter().map(|y| f32::from(u8::from(*y > 1.0))).collect();
        for (objective, labels) in [("quantile", &ys), ("regression", &ys), ("binary", &binary)] {
            let booster = boosted(
                json!({"objective": objective, "alpha": 0.9, "num_iterations": 40, "num_threads": 1,
                       "deterministic": true, "force_row_wise": true, "verbose": -1}),
                labels,
                &xs,
            );
            let model = TreeModel::parse(&booster.save_string().unwrap()).unwrap();
            assert_eq!((model.features(), model.trees()), (4, 40));
            let expected = booster.predict_with_params(&xs, 4, true, "num_threads=1").unwrap();
            for (row, expected) in xs.chunks(4).zip(expected) {
                let actual = model.predict(row);
                if objective == "binary" {
                    // The logistic function goes through two maths libraries.
                    assert!((actual - expected).abs() < 1e-14, "{actual} {expected}");
                } else {
                    assert_eq!(actual.to_bits(), expected.to_bits(), "{objective} {row:?}");
                }
            }
        }
    }

    #[test]
    fn damaged_models_are_refused_with_their_line() {
        let (xs, ys) = data(400);
        let text = boosted(json!({"objective": "quantile", "num_iterations": 3, "verbose": -1}), &ys, &xs).save_string().unwrap();
        assert!(TreeModel::parse(&text).is_ok());
        let children = text.lines().find(|line| line.starts_with("left_child=")).unwrap();
        let looping = format!("left_child=0{}", &children[children.find(' ').unwrap()..]);
        for (from, to, expect) in [
            ("end of trees", "end of", "Tree is missing"),
            ("objective=quantile", "objective=lambdarank", "lambdarank"),
            ("num_cat=0", "num_cat=1", "categorical"),
            ("Tree=1", "Tree=2", "tree 1 expected"),
            (children, &looping, "out of range"),
            ("threshold=", "threshold=x", "not a number"),
        ] {
            let error = TreeModel::parse(&text.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expect), "{from} → {to}: {error}");
        }
        for cut in (0..text.find("end of trees").unwrap()).step_by(97) {
            assert!(TreeModel::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
    }
}
