//! Mid-day repair on Kim 444: the day's plan is driven up to a moment at which a fifth to three fifths of the stops are
//! served, a tenth of the stops changes, and a new plan is made from the old one. What is timed is the time to a *checked* plan.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ws_routing::plan::diff::{Causes, diff};
use ws_routing::plan::replan::at_moment;
use ws_routing::plan::solve::ladder::REPAIR_ITERATIONS;
use ws_routing::plan::{Budget, Plan, Problem, RuinRecreate, Solver, check};

use crate::{SEED, clock, kim_problem};

const CASES: u64 = 40;
/// Miles that a change of truck is worth avoiding.
const CHANGE_COST: f64 = 0.05;

pub fn run(folder: &Path, seconds: i64) -> Result<(), Box<dyn Error>> {
    let problem = kim_problem(folder, "444")?;
    let day = RuinRecreate::default().solve(&problem, &Budget::time(10_000, &clock), SEED, None)?;
    println!("# the day's plan: {:.2} miles, {} violations", day.plan.cost, check(&problem, &day.plan).len());
    println!(
        "set\titerations\tcases\tstops left\tp50 ms\tp99 ms\tviolations\tshare changed %\tmiles of repair\tmiles of full re-solve ({seconds} s)\tshare changed by it %"
    );
    for iterations in [0, 100, REPAIR_ITERATIONS, 1000] {
        let mut times_ms = Vec::new();
        let (mut repaired, mut solved, mut shares, mut full_shares, mut faults, mut compared, mut stops) = (0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0);
        for case in 0..CASES {
            let changed = changed(&problem, &day.plan, case);
            stops += changed.jobs.len() as f64 / CASES as f64;
            let began = Instant::now();
            let answer = RuinRecreate::repair().solve(&changed, &Budget::iterations(iterations), case, Some(&day.plan))?;
            let found = check(&changed, &answer.plan);
            times_ms.push(began.elapsed().as_secs_f64() * 1000.0);
            faults += found.len();
            found.iter().take(3).for_each(|violation| println!("# {violation}"));
            shares += diff(&day.plan, &answer.plan, &Causes::default()).share_changed();
            // A full re-solve takes its time: every fifth case is enough.
            if seconds > 0 && iterations == REPAIR_ITERATIONS && case % 5 == 0 {
                let mut free = changed.clone();
                free.change_cost = 0.0;
                let full = RuinRecreate::default().solve(&free, &Budget::time(seconds * 1000, &clock), case, None)?;
                faults += check(&free, &full.plan).len();
                solved += full.plan.distance_m;
                repaired += answer.plan.distance_m;
                full_shares += diff(&day.plan, &full.plan, &Causes::default()).share_changed();
                compared += 1.0;
            }
        }
        times_ms.sort_by(f64::total_cmp);
        let at = |share: f64| times_ms[((times_ms.len() as f64 * share).ceil() as usize).clamp(1, times_ms.len()) - 1];
        let miles = |metres: f64| metres / ws_routing::bench::kim::METRES_PER_MILE / compared;
        println!(
            "repair\t{iterations}\t{CASES}\t{stops:.0}\t{:.1}\t{:.1}\t{faults}\t{:.1}\t{:.2}\t{:.2}\t{:.1}",
            at(0.5),
            at(0.99),
            shares / CASES as f64 * 100.0,
            miles(repaired),
            miles(solved),
            full_shares / compared * 100.0
        );
    }
    Ok(())
}

/// The rest of a day, a tenth of whose stops changes: a third of them is cancelled, a third is new, where some other stop
/// of the day is, a third has another amount.
fn changed(problem: &Problem, plan: &Plan, case: u64) -> Problem {
    let mut rng = SmallRng::seed_from_u64(case);
    // A moment at which between a fifth and three fifths of the stops are served: the trucks of this instance are home early.
    let mut served_ms: Vec<i64> = plan.routes.iter().flat_map(|route| route.sites().map(|(place, _)| route.stops[place].leaves_ms)).collect();
    served_ms.sort_unstable();
    let mut changed = at_moment(problem, plan, served_ms[rng.random_range(served_ms.len() / 5..served_ms.len() * 3 / 5)]);
    changed.change_cost = CHANGE_COST;
    for number in 0..problem.jobs.len() / 10 {
        let pick = rng.random_range(0..changed.jobs.len());
        match number % 3 {
            0 => {
                changed.jobs.swap_remove(pick);
            }
            1 => {
                let mut new = problem.jobs[rng.random_range(0..problem.jobs.len())].clone();
                new.site_id = format!("new-{number}");
                changed.jobs.push(new);
            }
            _ => {
                let factor = rng.random_range(0.5..2.0);
                for demand in &mut changed.jobs[pick].demands {
                    demand.p50.l *= factor;
                    demand.p90.l *= factor;
                }
            }
        }
    }
    changed
}
