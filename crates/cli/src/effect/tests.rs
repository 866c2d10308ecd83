//! The machinery of the comparison on a small city: that policies meet the same waste and do not see the truth, that trucks
//! keep their bounds, and that figures are compared at equal overflow.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::compare::report;
use super::policy::PolicyKind;
use super::run::{Job, RunRecord, Runner};
use super::settings::Settings;
use super::write::{Kept, into_markdown};

fn settings() -> Settings {
    Settings {
        days: 4,
        warmup_days: 2,
        seeds: 1,
        from: 5,
        bins: 60,
        fill_days: 4.0,
        trucks: 2,
        iterations: 60,
        training_days: 6,
        visit_weight: 0.3,
        policies: Vec::new(),
        deaf: false,
    }
}

fn run(runner: &mut Runner, policy: PolicyKind, knob: f64) -> RunRecord {
    runner.run(&Job { policy, knob }).unwrap()
}

#[test]
fn policies_meet_the_same_waste_keep_their_bounds_and_overflow_less_the_more_they_drive() {
    let mut runner = Runner::new(settings(), 5).unwrap();
    let pairs = [
        (PolicyKind::Fixed, 0.5, 1.5),
        (PolicyKind::FixedRouted, 0.5, 1.5),
        (PolicyKind::Threshold, 0.4, 0.9),
        (PolicyKind::Pipeline, 30_000.0, 5_000.0),
        (PolicyKind::Clairvoyant, 30_000.0, 2_500.0),
    ];
    let mut all = Vec::new();
    for (policy, careful, bold) in pairs {
        let (careful, bold) = (run(&mut runner, policy, careful), run(&mut runner, policy, bold));
        assert!(careful.visits > bold.visits && bold.visits > 0, "{policy:?}: {} and {} visits", careful.visits, bold.visits);
        assert!(careful.overflow_days <= bold.overflow_days, "{policy:?}: {} and {}", careful.overflow_days, bold.overflow_days);
        all.extend([careful, bold]);
    }
    for of in &all {
        assert_eq!(of.waste, all[0].waste, "{} met other waste", of.policy);
        assert!(of.longest_h < 11.5, "{}: a shift of {} h", of.policy, of.longest_h);
        // The container that makes a truck full is emptied into it; more is not.
        assert!(of.peak_load < 1.3 && of.load_home_kg == 0.0, "{}: {} full, {} kg home", of.policy, of.peak_load, of.load_home_kg);
        assert!(of.km > 1.0 && of.hours > 0.5 && of.refused == 0, "{of:?}");
    }
    let judged: usize = all.iter().map(|of| of.calibration.classes.iter().map(|class| class.0).sum::<usize>()).sum();
    assert!(judged > 500, "{judged}");
    let again = run(&mut runner, PolicyKind::Threshold, 0.4);
    assert_eq!(again, all[4], "the same seed, the same run");
}

#[test]
fn who_hears_nothing_decides_nothing() {
    let deaf = Settings { deaf: true, ..settings() };
    let mut runner = Runner::new(deaf, 5).unwrap();
    // A policy that looked at the truth would still know where to go.
    for (policy, knob) in [(PolicyKind::Threshold, 0.4), (PolicyKind::Pipeline, 20_000.0)] {
        let of = run(&mut runner, policy, knob);
        assert_eq!((of.visits, of.plans), (0, 0), "{policy:?}");
        assert!(of.overflow_days > 20.0);
    }
    assert!(run(&mut runner, PolicyKind::Clairvoyant, 6_000.0).visits > 0);
}

fn record(seed: u64, policy: PolicyKind, knob: f64, overflow_days: f64, km: f64) -> RunRecord {
    RunRecord {
        seed,
        policy: policy.name().to_owned(),
        knob,
        km,
        hours: km / 10.0,
        cost_minor: 100.0 * km,
        visits: km as usize,
        containers_emptied: 1,
        disposals: 1,
        sites_skipped: 0,
        duties: 1,
        overflow_days,
        longest_h: 8.0,
        peak_load: 1.0,
        load_home_kg: 0.0,
        level_at_end: 0.4,
        planned_h: 0.0,
        refused: 0,
        plans: 1,
        waste: seed as f64,
        calibration: Default::default(),
    }
}

/// Two seeds: fixed rounds overflow 9 bin-days at 1000 km; the threshold's settings lie on either side of that.
fn records() -> Vec<RunRecord> {
    let mut all = Vec::new();
    for seed in [1, 2] {
        all.extend([record(seed, PolicyKind::Fixed, 0.5, 1.0, 1_500.0), record(seed, PolicyKind::Fixed, 0.74, 9.0, 1_000.0)]);
        let drives = 700.0 + 100.0 * seed as f64;
        all.extend([record(seed, PolicyKind::Threshold, 0.5, 0.0, drives + 200.0), record(seed, PolicyKind::Threshold, 0.9, 99.0, drives - 200.0)]);
        all.push(record(seed, PolicyKind::Clairvoyant, 50.0, 0.1, 100.0));
    }
    all
}

#[test]
fn figures_are_compared_at_equal_overflow_and_not_as_they_happen_to_lie() {
    let settings = Settings { seeds: 2, from: 1, ..settings() };
    let text = report(&settings, &records()).unwrap();
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in\n{text}")).to_owned();
    // ln 10 lies in the middle of ln 1 and ln 100: 800 and 900 km.
    assert!(row("| threshold | 2 |").contains("850"), "{text}");
    assert!(row("| threshold | fixed | 2 |").contains("-15.0"), "{text}");
    // The clairvoyant was never run where it overflows that often: nothing is made up.
    assert!(row("| clairvoyant | 0 |").contains("– | – | –"), "{text}");
}

#[test]
fn runs_that_met_other_waste_are_not_compared() {
    let settings = Settings { seeds: 2, from: 1, ..settings() };
    let mut all = records();
    all[3].waste += 0.5;
    assert!(report(&settings, &all).unwrap_err().to_string().contains("other waste"));
}

#[test]
fn finished_runs_are_kept_and_those_of_other_settings_refused() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job { policy: PolicyKind::Fixed, knob: 0.74 };
    let kept = Kept::open(folder.path(), &settings(), false).unwrap();
    assert!(!kept.has(1, &job));
    kept.add(&records()[1]).unwrap();
    let again = Kept::open(folder.path(), &settings(), false).unwrap();
    assert!(again.has(1, &job) && !again.has(2, &job) && again.records().len() == 1);
    let other = Settings { bins: 61, ..settings() };
    assert!(Kept::open(folder.path(), &other, false).is_err());
    assert!(Kept::open(folder.path(), &other, true).unwrap().records().is_empty());
}

#[test]
fn tables_take_the_place_between_the_marks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("effect.md");
    std::fs::write(&file, "before\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nafter\n").unwrap();
    into_markdown(&file, "new").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before\n<!-- figures: begin -->\n\nnew\n<!-- figures: end -->\nafter\n");
    std::fs::write(&file, "no marks").unwrap();
    assert!(into_markdown(&file, "new").is_err());
}
