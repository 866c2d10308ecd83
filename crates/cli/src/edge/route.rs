//! The `route` topology at the edge: solvers of boards, their acceptance, the operators `duty`, `pace` and `spread`. What they do is
//! in `ws_routing::board`; here are the clock, the road network's file, and the translation to the engine's words.

use super::network::Network;
use super::roads::NetworkRoads;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use ws_routing::board::duty::Duty;
use ws_routing::board::pace::Pacing;
use ws_routing::board::spread::Spread;
use ws_routing::board::{Clock, GreatCircle, Mode, Question, Roads, Settings, answer, judge, output_columns};
use ws_routing::plan::RuinRecreate;
use ws_routing::plan::solve::vrp::VrpPragmatic;
use ws_runtime::models::Models;
use ws_stream::custom::{CustomContract, CustomOp};
use ws_stream::solve::{Accept, Case, Problem, Refusal, Solution, SolveError, Solver, SolverContract};

/// The search.
pub const SOLVER: &str = "waste-collection";
/// The last plan repaired, or cheapest insertion.
pub const QUICK_SOLVER: &str = "waste-collection-quick";
/// Operators of the topology.
pub const OPERATORS: [&str; 3] = ["duty", "pace", "spread"];
/// Settings under `with:` that are read here and not by the planner.
const OWN_SETTINGS: [&str; 2] = ["network", "search"];

/// The solvers of boards.
pub fn solvers() -> [Arc<dyn Solver>; 2] {
    [Arc::new(BoardSolver { quick: false }), Arc::new(BoardSolver { quick: true })]
}

/// Puts the solvers of boards into a process.
pub fn put_solvers(models: &Models) {
    for solver in solvers() {
        models.put_solver(solver.name(), solver.clone());
    }
}

/// The contract of a solver of boards.
pub fn solver(name: &str) -> Option<SolverContract> {
    [SOLVER, QUICK_SOLVER].contains(&name).then(|| SolverContract { inputs: Vec::new(), outputs: output_columns() })
}

/// The acceptance of a solver of boards.
pub fn acceptance(name: &str) -> Option<Box<dyn Accept>> {
    solver(name).map(|_| Box::new(Checker) as Box<dyn Accept>)
}

/// The contract of an operator, if it is one of these.
pub fn operator_contract(name: &str, with: &BTreeMap<String, String>) -> Option<Result<CustomContract, String>> {
    match name {
        "duty" => Some(Duty::new(with).map(|_| Duty::contract())),
        "pace" => Some(Pacing::new(with).map(|_| Pacing::contract())),
        "spread" => Some(match with.keys().next() {
            Some(setting) => Err(format!("there is no setting `{setting}`")),
            None => Ok(Spread::contract()),
        }),
        _ => None,
    }
}

/// An operator, if it is one of these.
pub fn operator(name: &str, with: &BTreeMap<String, String>) -> Option<Result<Box<dyn CustomOp>, String>> {
    match name {
        "duty" => Some(Duty::new(with).map(|d| Box::new(d) as Box<dyn CustomOp>)),
        "pace" => Some(Pacing::new(with).map(|p| Box::new(p) as Box<dyn CustomOp>)),
        "spread" => Some(Ok(Box::new(Spread))),
        _ => None,
    }
}

/// Networks by file, with the tables that were made on them: shared by solvers and acceptance.
fn roads(network: &str) -> Result<Arc<dyn Roads>, String> {
    static KNOWN: OnceLock<Mutex<BTreeMap<String, Arc<NetworkRoads>>>> = OnceLock::new();
    if network.is_empty() {
        return Ok(Arc::new(GreatCircle));
    }
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(network) {
        return Ok(found.clone());
    }
    let graph = Network::shared(network.into()).graph().map_err(|e| e.to_string())?;
    let made = Arc::new(NetworkRoads::new(graph));
    known.insert(network.to_string(), made.clone());
    Ok(made)
}

/// The clock of a search. With a bound on steps it stands still until the search must end: steered by time, no seed would
/// replay the answer. From then on each reading is a whole budget later than the one before, so that a budget ends
/// whenever it began, also one that began after the end.
fn search_clock<'a>(stop: &'a (dyn Fn() -> bool + Sync), by_steps: bool, budget_ms: i64) -> impl Fn() -> i64 + Send + Sync + 'a {
    let (began, beyond) = (Instant::now(), AtomicI64::new(0));
    move || {
        let elapsed_ms = if by_steps { 0 } else { i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX / 2) };
        match stop() {
            true => elapsed_ms.saturating_add(beyond.fetch_add(budget_ms, Ordering::Relaxed)).saturating_add(budget_ms),
            false => elapsed_ms,
        }
    }
}

struct BoardSolver {
    quick: bool,
}

impl Solver for BoardSolver {
    fn name(&self) -> &str {
        if self.quick { QUICK_SOLVER } else { SOLVER }
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn solve(&self, problem: &Problem<'_>) -> Result<Solution, SolveError> {
        let failed = |message: String| SolveError { solver: self.name().to_string(), message };
        let call = problem.call;
        let settings = Settings::read(&call.with, &OWN_SETTINGS).map_err(|e| failed(e.to_string()))?;
        let setting = |name: &str| call.with.get(name).map_or("", String::as_str);
        let network = setting("network");
        let roads = roads(network).map_err(failed)?;
        let budget_ms = call.budget_ms.max(1);
        let clock = search_clock(problem.stop, call.iterations.is_some(), budget_ms);
        let (ours, library) = (RuinRecreate::default(), VrpPragmatic);
        let search: &dyn ws_routing::plan::Solver = match setting("search") {
            "" | "ruin-recreate" => &ours,
            "vrp-pragmatic" => &library,
            other => return Err(failed(format!("search: {other:?} is neither ruin-recreate nor vrp-pragmatic"))),
        };
        let mode = match self.quick {
            true => Mode::Quick,
            false => Mode::Search(search, Clock { now_ms: &clock, budget_ms, iterations: call.iterations }),
        };
        let settings = settings.with_network(network);
        let (memo, hint_ms, area) = (call.memo.as_ref(), call.watermark_ms, call.key.as_str());
        let question = Question { rows: problem.rows, memo, settings: &settings, hint_ms, area, roads: roads.as_ref(), seed: call.seed };
        let answered = answer(&question, mode).map_err(|e| failed(e.to_string()))?;
        Ok(Solution { rows: answered.rows, memo: answered.memo, iterations: answered.iterations })
    }
}

/// The independent checker as acceptance.
struct Checker;

impl Accept for Checker {
    fn judge(&mut self, case: &Case<'_>) -> Result<(), Refusal> {
        let refusal = |code: &str, detail: String| Refusal { code: code.to_string(), detail };
        let network = ws_routing::board::network_of(&case.answer.memo);
        let roads = roads(&network).map_err(|e| refusal("no_network", e))?;
        judge(case.asked, case.board, case.memo, &case.answer.rows, &case.answer.memo, case.key, roads.as_ref()).map_err(|(code, detail)| refusal(code, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;
    use ws_routing::plan::Budget;

    /// A budget that begins some time after its clock, as the board is read first.
    fn ends(by_steps: bool, stop: &(dyn Fn() -> bool + Sync)) -> bool {
        let clock = search_clock(stop, by_steps, 20);
        std::thread::sleep(Duration::from_millis(5));
        let budget = Budget::time(20, &clock);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !budget.is_over() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        budget.is_over()
    }

    #[test]
    fn a_budget_ends_whenever_it_began() {
        assert!(ends(false, &|| false), "by time alone");
        assert!(ends(false, &|| true) && ends(true, &|| true), "also when it was over before it began");
        let asked = AtomicBool::new(false);
        assert!(ends(true, &|| asked.swap(true, Ordering::Relaxed)), "told to stop later");
    }

    #[test]
    fn with_a_bound_on_steps_time_says_nothing() {
        let clock = search_clock(&|| false, true, 20);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(clock(), 0);
    }
}
