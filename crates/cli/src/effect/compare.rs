//! From runs to tables: what each policy costs where the containers overflow as often as under the fixed rounds, and the
//! runs as they are.

use super::policy::{FIXED_AS_CONFIGURED, PolicyKind};
use super::run::{Calibration, RunRecord};
use super::settings::Settings;
use super::stats::{Mean, at_overflow, mean};
use crate::Failure;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A figure that is compared.
struct Figure {
    name: &'static str,
    digits: usize,
    of: fn(&RunRecord) -> f64,
}

const FIGURES: [Figure; 5] = [
    Figure { name: "km", digits: 0, of: |run| run.km },
    Figure { name: "hours", digits: 1, of: |run| run.hours },
    Figure { name: "visits", digits: 0, of: |run| run.visits as f64 },
    Figure { name: "disposals", digits: 1, of: |run| run.disposals as f64 },
    Figure { name: "cost", digits: 0, of: |run| run.cost_minor / 100.0 },
];

/// Runs of one policy and seed, by rising knob.
type Curves<'a> = BTreeMap<(PolicyKind, u64), Vec<&'a RunRecord>>;

/// All tables, as Markdown.
pub fn report(settings: &Settings, records: &[RunRecord]) -> Result<String, Failure> {
    let curves = curves(records)?;
    same_waste(records)?;
    let mut out = String::new();
    let seeds: Vec<u64> = settings.seeds().collect();
    writeln!(
        out,
        "A simulation: {} cities (seeds {}–{}), {} containers, {} trucks, {} days after {} days of running in, {} iterations of the solver a morning.\n",
        seeds.len(),
        seeds[0],
        seeds[seeds.len() - 1],
        settings.bins,
        settings.trucks,
        settings.days,
        settings.warmup_days,
        settings.iterations
    )?;
    let reference: BTreeMap<u64, f64> = curves
        .iter()
        .filter(|((kind, _), _)| *kind == PolicyKind::Fixed)
        .filter_map(|((_, seed), runs)| Some((*seed, runs.iter().find(|run| run.knob == FIXED_AS_CONFIGURED)?.overflow_days)))
        .collect();
    for (share, title) in [(1.0, "as often as under the fixed rounds as configured"), (0.5, "half as often"), (0.25, "a quarter as often")] {
        let levels: BTreeMap<u64, f64> = reference.iter().map(|(seed, overflow)| (*seed, overflow * share)).collect();
        if !levels.is_empty() {
            equal_overflow(&mut out, settings, &curves, &levels, title)?;
        }
    }
    frontier(&mut out, settings, &curves)?;
    calibration(&mut out, records)?;
    Ok(out)
}

fn curves(records: &[RunRecord]) -> Result<Curves<'_>, Failure> {
    let mut curves: Curves<'_> = BTreeMap::new();
    for run in records {
        curves.entry((PolicyKind::of_name(&run.policy)?, run.seed)).or_default().push(run);
    }
    curves.values_mut().for_each(|runs| runs.sort_by(|a, b| a.knob.total_cmp(&b.knob)));
    Ok(curves)
}

/// Policies are compared only where the same was thrown in.
fn same_waste(records: &[RunRecord]) -> Result<(), Failure> {
    let mut of_seed: BTreeMap<u64, f64> = BTreeMap::new();
    for run in records {
        let known = *of_seed.entry(run.seed).or_insert(run.waste);
        if (known - run.waste).abs() > 1e-6 {
            return Err(format!("seed {}: {} at {} met other waste than the runs before it; nothing can be compared", run.seed, run.policy, run.knob).into());
        }
    }
    Ok(())
}

/// A figure by seed at the seed's overflow; seeds whose overflow no setting reaches are missing.
fn figures(settings: &Settings, curves: &Curves<'_>, kind: PolicyKind, levels: &BTreeMap<u64, f64>, of: fn(&RunRecord) -> f64) -> BTreeMap<u64, f64> {
    settings
        .seeds()
        .filter_map(|seed| {
            let points: Vec<(f64, f64)> = curves.get(&(kind, seed))?.iter().map(|run| (run.overflow_days, of(run))).collect();
            Some((seed, at_overflow(&points, *levels.get(&seed)?)?))
        })
        .collect()
}

fn equal_overflow(out: &mut String, settings: &Settings, curves: &Curves<'_>, levels: &BTreeMap<u64, f64>, title: &str) -> Result<(), Failure> {
    let overflow = mean(&levels.values().copied().collect::<Vec<_>>());
    let bin_days = settings.bins as f64 * settings.days as f64;
    writeln!(out, "**Containers overflow {title}**: {} bin-days of {bin_days:.0}. Means over seeds with 95 % intervals.\n", shown(overflow, 1))?;
    writeln!(out, "| policy | seeds | {} |", FIGURES.each_ref().map(|figure| figure.name).join(" | "))?;
    writeln!(out, "|---|---:|{}", "---:|".repeat(FIGURES.len()))?;
    for kind in PolicyKind::ALL {
        let rows = FIGURES.each_ref().map(|figure| (figure, figures(settings, curves, kind, levels, figure.of)));
        let cells: Vec<String> = rows.iter().map(|(figure, by_seed)| shown(mean(&by_seed.values().copied().collect::<Vec<_>>()), figure.digits)).collect();
        writeln!(out, "| {} | {} | {} |", kind.name(), rows[0].1.len(), cells.join(" | "))?;
    }
    writeln!(out, "\nDifferences on the same seed, %:\n")?;
    writeln!(out, "| policy | against | seeds | {} |", FIGURES.each_ref().map(|figure| figure.name).join(" | "))?;
    writeln!(out, "|---|---|---:|{}", "---:|".repeat(FIGURES.len()))?;
    for (kind, base) in PAIRS {
        let pairs = FIGURES.each_ref().map(|figure| {
            let (own, other) = (figures(settings, curves, kind, levels, figure.of), figures(settings, curves, base, levels, figure.of));
            own.iter().filter_map(|(seed, value)| Some((value / other.get(seed)? - 1.0) * 100.0)).collect::<Vec<f64>>()
        });
        let cells: Vec<String> = pairs.iter().map(|differences| shown_signed(mean(differences))).collect();
        writeln!(out, "| {} | {} | {} | {} |", kind.name(), base.name(), pairs[0].len(), cells.join(" | "))?;
    }
    writeln!(out)?;
    Ok(())
}

/// Who is compared with whom on the same seed.
const PAIRS: [(PolicyKind, PolicyKind); 7] = [
    (PolicyKind::FixedRouted, PolicyKind::Fixed),
    (PolicyKind::Threshold, PolicyKind::Fixed),
    (PolicyKind::Pipeline, PolicyKind::Fixed),
    (PolicyKind::Clairvoyant, PolicyKind::Fixed),
    (PolicyKind::Pipeline, PolicyKind::FixedRouted),
    (PolicyKind::Pipeline, PolicyKind::Threshold),
    (PolicyKind::Pipeline, PolicyKind::Clairvoyant),
];

fn frontier(out: &mut String, settings: &Settings, curves: &Curves<'_>) -> Result<(), Failure> {
    writeln!(out, "**The runs as they are**: means over seeds for each setting of each policy's knob. {}.\n", knobs())?;
    writeln!(
        out,
        "| policy | knob | seeds | overflow bin-days | {} | emptied | skipped | longest shift h | level at end |",
        FIGURES.each_ref().map(|f| f.name).join(" | ")
    )?;
    writeln!(out, "|---|---:|---:|---:|{}---:|---:|---:|---:|", "---:|".repeat(FIGURES.len()))?;
    for kind in PolicyKind::ALL {
        let mut by_knob: BTreeMap<u64, Vec<&RunRecord>> = BTreeMap::new();
        for run in settings.seeds().filter_map(|seed| curves.get(&(kind, seed))).flatten() {
            by_knob.entry(run.knob.to_bits()).or_default().push(run);
        }
        // Knobs are above 0: their bits are in their order.
        for runs in by_knob.values() {
            let of = |get: &dyn Fn(&RunRecord) -> f64| mean(&runs.iter().map(|run| get(run)).collect::<Vec<_>>());
            let plain = |get: &dyn Fn(&RunRecord) -> f64, digits: usize| of(get).map_or(String::new(), |found| format!("{:.digits$}", found.mean));
            let cells = FIGURES.each_ref().map(|figure| plain(&figure.of, figure.digits)).join(" | ");
            let longest_h = runs.iter().map(|run| run.longest_h).fold(0.0, f64::max);
            writeln!(
                out,
                "| {} | {} | {} | {} | {cells} | {} | {} | {longest_h:.1} | {} |",
                kind.name(),
                runs[0].knob,
                runs.len(),
                shown(of(&|run| run.overflow_days), 1),
                plain(&|run| run.containers_emptied as f64, 0),
                plain(&|run| run.sites_skipped as f64, 0),
                plain(&|run| run.level_at_end, 3),
            )?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// What the knobs are, in a sentence.
fn knobs() -> String {
    PolicyKind::ALL.map(|kind| format!("{}: {}", kind.name(), kind.knob())).join("; ")
}

fn calibration(out: &mut String, records: &[RunRecord]) -> Result<(), Failure> {
    let mut all = Calibration::default();
    records.iter().for_each(|run| all.merge(&run.calibration));
    let said: usize = all.classes.iter().map(|class| class.0).sum();
    if said == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "**What the pipeline's P(full before the next chance) was worth**, container by container each morning, all its runs ({said} statements):\n"
    )?;
    writeln!(out, "| said | statements | mean said | came true |\n|---|---:|---:|---:|")?;
    for (place, (count, sum, came)) in all.classes.iter().enumerate().filter(|(_, class)| class.0 > 0) {
        let (low, n) = (place as f64 / 10.0, *count as f64);
        writeln!(out, "| {low:.1}–{:.1} | {count} | {:.3} | {:.3} |", low + 0.1, sum / n, *came as f64 / n)?;
    }
    Ok(())
}

fn shown(value: Option<Mean>, digits: usize) -> String {
    match value {
        None => "–".to_owned(),
        Some(Mean { mean, half, .. }) if half.is_infinite() => format!("{mean:.digits$}"),
        Some(Mean { mean, half, .. }) => format!("{mean:.digits$} ± {half:.digits$}"),
    }
}

fn shown_signed(value: Option<Mean>) -> String {
    match value {
        None => "–".to_owned(),
        Some(Mean { mean, half, .. }) if half.is_infinite() => format!("{mean:+.1}"),
        Some(Mean { mean, half, .. }) => format!("{mean:+.1} ± {half:.1}"),
    }
}
