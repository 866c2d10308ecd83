//! Folds for cross-validation, from a seed: stratified by class, or by group so that no subject is on both sides.

use ws_inference::features::fnv1a;

/// A deterministic shuffle key (splitmix64's finish).
fn key(seed: u64, index: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.wrapping_add(1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The fold of each row, `0..folds`: within each class rows are shuffled and dealt out.
pub fn stratified(labels: &[bool], folds: usize, seed: u64) -> Vec<usize> {
    let mut fold_of = vec![0; labels.len()];
    let mut dealt = 0;
    for class in [true, false] {
        let mut rows: Vec<usize> = (0..labels.len()).filter(|row| labels[*row] == class).collect();
        rows.sort_by_key(|row| key(seed, *row as u64));
        for row in rows {
            fold_of[row] = dealt % folds.max(1);
            dealt += 1;
        }
    }
    fold_of
}

/// The fold of each row, `0..folds`: all rows of a group are in one.
pub fn grouped(groups: &[&str], folds: usize, seed: u64) -> Vec<usize> {
    let mut names: Vec<&str> = groups.to_vec();
    names.sort_unstable();
    names.dedup();
    names.sort_by_key(|name| key(seed, fnv1a(name.as_bytes())));
    let place: std::collections::HashMap<&str, usize> = names.into_iter().enumerate().map(|(place, name)| (name, place % folds.max(1))).collect();
    groups.iter().map(|group| place[group]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fold_has_its_share_of_each_class() {
        let labels: Vec<bool> = (0..1003).map(|i| i % 4 == 0).collect();
        let folds = stratified(&labels, 5, 7);
        for fold in 0..5 {
            let rows = (0..1003).filter(|row| folds[*row] == fold).count();
            let hits = (0..1003).filter(|row| folds[*row] == fold && labels[*row]).count();
            assert!((200..=201).contains(&rows) && (50..=51).contains(&hits), "{rows} {hits}");
        }
        assert_eq!(folds, stratified(&labels, 5, 7));
        assert_ne!(folds, stratified(&labels, 5, 8));
    }

    #[test]
    fn a_group_is_never_on_both_sides() {
        let names: Vec<String> = (0..300).map(|i| format!("unit-{}", i % 23)).collect();
        let groups: Vec<&str> = names.iter().map(String::as_str).collect();
        let folds = grouped(&groups, 4, 1);
        for (row, fold) in folds.iter().enumerate() {
            assert_eq!(*fold, folds[row % 23]);
        }
        let sizes: Vec<usize> = (0..4).map(|fold| folds.iter().filter(|f| **f == fold).count()).collect();
        assert!(sizes.iter().all(|size| *size >= 60), "{sizes:?}");
    }
}
