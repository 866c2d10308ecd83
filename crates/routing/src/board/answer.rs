//! A question answered, and an answer judged. Both prepare the same problem from the same rows; the judge asks the checker
//! instead of a solver and composes the rows again.

use super::build::{Built, Horizon, build, horizon};
use super::choose::{Choice, choose, kept};
use super::compose::Page;
use super::decide::{Decided, apply};
use super::driven::note_departures;
use super::facts::Facts;
use super::memo::{Issued, Memo, rounded};
use super::places::Roads;
use super::settings::Settings;
use super::start::starts;
use super::{BoardError, columns, read, zone};
use crate::plan::check::check;
use crate::plan::diff::{Cause, Causes, ChangeReason};
use crate::plan::solve::SolveError;
use crate::plan::solve::ladder::{Accepted, PlanError, Rung, plan_checked};
use crate::plan::{Budget, RuinRecreate, Solver};
use arrow::array::RecordBatch;
use serde_json::{Map, Value};

/// A solver's time.
#[derive(Clone, Copy)]
pub struct Clock<'a> {
    /// Milliseconds that never go back; for an answer that shall be replayed, ones that only jump to the end when told to stop.
    pub now_ms: &'a (dyn Fn() -> i64 + Send + Sync),
    /// How long it may think.
    pub budget_ms: i64,
    /// Steps after which it stops.
    pub iterations: Option<u64>,
}

impl std::fmt::Debug for Clock<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("budget_ms", &self.budget_ms).field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// Who answers.
#[derive(Clone, Copy)]
pub enum Mode<'a> {
    /// The search, from the repaired last plan on.
    Search(&'a dyn Solver, Clock<'a>),
    /// The last plan repaired by cheapest insertion; without one, cheapest insertion alone.
    Quick,
}

impl std::fmt::Debug for Mode<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Search(..) => "Search",
            Mode::Quick => "Quick",
        })
    }
}

/// What is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// All rows of the board, system columns first.
    pub rows: &'a RecordBatch,
    /// Memo of the last accepted answer; empty before the first.
    pub memo: &'a [u8],
    /// How to plan.
    pub settings: &'a Settings,
    /// A time that is past for sure (the watermark), UTC ms.
    pub hint_ms: i64,
    /// Planning area.
    pub area: &'a str,
    /// Distances and times.
    pub roads: &'a dyn Roads,
    /// Where all randomness comes from.
    pub seed: u64,
}

impl std::fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("area", &self.area).field("rows", &self.rows.num_rows()).field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// An answer's rows, the memo for the next one, and iterations taken.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Rows in [`super::output_columns`].
    pub rows: RecordBatch,
    /// The memo's bytes.
    pub memo: Vec<u8>,
    /// Steps of the search.
    pub iterations: u64,
}

/// Everything before the solver.
struct Prepared {
    facts: Facts,
    memo: Memo,
    horizon: Horizon,
    decided: Decided,
    /// The day before, with the plan that was driven.
    closed: Option<(Memo, Issued)>,
    built: Built,
    first_trouble: bool,
}

fn prepare(rows: &RecordBatch, memo: &[u8], settings: &Settings, hint_ms: i64, area: &str, roads: &dyn Roads) -> Result<Prepared, BoardError> {
    let mut facts = read::facts(rows)?;
    let (mut memo, lost) = Memo::read(memo);
    if lost {
        facts.trouble("memo_lost", "plan", area, None, "what was kept of the last plan cannot be read: planned afresh");
    }
    let now_ms = facts.newest_ms.max(hint_ms).max(0);
    let horizon = horizon(&facts, &memo, settings, now_ms);
    let day = zone::text(horizon.day);
    let mut closed = None;
    if memo.day != day {
        closed = memo.in_force.clone().map(|issued| (memo.clone(), issued));
        memo.begin_day(day);
    }
    (memo.now_ms, memo.history_ms, memo.settings) = (now_ms, horizon.history_ms, settings.clone());
    (memo.fresh, memo.retimed) = (false, false);
    let decided = apply(&mut facts, &mut memo, area);
    for (id, truck) in &facts.trucks {
        if truck.shift.as_ref().is_some_and(|s| zone::day_of(horizon.zone, s.from_ms) == horizon.day) {
            memo.crews.insert(id.clone(), truck.clone());
        }
    }
    for (id, other) in facts.elsewhere.clone() {
        facts.trouble("vehicle_elsewhere", "vehicle", &id, None, format!("two areas want it; it drives for {other}"));
    }
    note_departures(&mut memo, &facts);
    let built = build(&mut facts, &memo, settings, &horizon, area, roads)?;
    let first_trouble = built.problem.vehicles.is_empty() && memo.newest().is_none();
    if first_trouble {
        facts.trouble("no_vehicles", "plan", area, None, "no vehicle has a shift on this day in this area");
    }
    Ok(Prepared { facts, memo, horizon, decided, closed, built, first_trouble })
}

/// Answers a board: rows to publish and the memo.
///
/// # Errors
/// A board that cannot be read, a problem that cannot be solved, or plans that the checker refuses.
pub fn answer(question: &Question<'_>, mode: Mode<'_>) -> Result<Answered, BoardError> {
    let Question { rows, memo, settings, hint_ms, area, roads, seed } = *question;
    let prepared = prepare(rows, memo, settings, hint_ms, area, roads)?;
    let idle = prepared.first_trouble || (prepared.built.problem.jobs.is_empty() && prepared.memo.newest().is_none());
    let choice = if idle { None } else { decide(&prepared, settings, seed, mode)? };
    let iterations = choice.as_ref().map_or(0, |c| c.iterations);
    let (rows, mut memo) = finish(prepared, settings, area, choice, seed as i64);
    Ok(Answered { rows: columns::batch(&rows)?, memo: memo.write(), iterations })
}

fn decide(prepared: &Prepared, settings: &Settings, seed: u64, mode: Mode<'_>) -> Result<Option<Choice>, BoardError> {
    let problem = &prepared.built.problem;
    let before = prepared.memo.newest().map(|i| &i.plan);
    let standing = kept(problem, before, seed)?;
    let mut found = match mode {
        // Without a truck there is nothing to search: what is left out, and why, is all there is to say.
        Mode::Search(solver, clock) if !problem.vehicles.is_empty() => {
            let budget = Budget::time(clock.budget_ms.max(1), clock.now_ms).at_most(clock.iterations.unwrap_or(u64::MAX));
            let starts = starts(problem, before, seed)?;
            match (plan_checked(problem, solver, &budget, seed, starts.first()), &standing) {
                (Ok(found), _) => found,
                // Nothing better was accepted: what stands, repaired, is.
                (Err(PlanError::Refused(_)), Some(standing)) => as_it_stands(standing),
                (Err(e), _) => return Err(e.into()),
            }
        }
        _ => quick(prepared, seed)?,
    };
    found.plan = rounded(found.plan);
    let faults = check(problem, &found.plan);
    if !faults.is_empty() {
        return Err(PlanError::Refused(faults).into());
    }
    let must = prepared.decided.changed;
    Ok(choose(&prepared.memo, settings, standing, found, prepared.horizon.now_ms, must))
}

fn as_it_stands(plan: &crate::plan::Plan) -> Accepted {
    let (rung, solver) = (Rung::Heuristic, RuinRecreate::repair().name());
    Accepted { plan: plan.clone(), rung, solver, iterations: 0, stopped: false, refused: Vec::new(), failed: None }
}

fn quick(prepared: &Prepared, seed: u64) -> Result<Accepted, BoardError> {
    let problem = &prepared.built.problem;
    let mut last = Vec::new();
    for plan in starts(problem, prepared.memo.newest().map(|i| &i.plan), seed)? {
        last = check(problem, &plan);
        if last.is_empty() {
            return Ok(as_it_stands(&plan));
        }
    }
    Err(PlanError::Refused(last).into())
}

/// The rows and the memo that follow from what was decided.
fn finish(prepared: Prepared, settings: &Settings, area: &str, choice: Option<Choice>, seed: i64) -> (Vec<Map<String, Value>>, Memo) {
    let Prepared { mut facts, mut memo, horizon, decided, closed, .. } = prepared;
    let troubles = memo.news(&std::mem::take(&mut facts.troubles));
    let mut page = Page { area, facts: &facts, settings, rows: Vec::new() };
    if let Some((day, issued)) = &closed {
        page.plan(day, &horizon, issued, "completed", None);
    }
    for (issued, state) in [(&decided.rejected, "rejected"), (&decided.accepted, "accepted")] {
        if let Some(issued) = issued {
            page.plan(&memo, &horizon, issued, state, None);
        }
    }
    if let Some(choice) = choice {
        let supersedes = memo.newest().map(|i| i.version);
        let at_once = settings.automatic || (choice.retimed && memo.proposal.is_none() && memo.in_force.is_some());
        let before = if choice.retimed { memo.newest().cloned() } else { memo.in_force.clone() };
        let causes = causes(&facts, &decided, before.as_ref(), &memo);
        let issued = Issued {
            version: memo.next_version(),
            made_ms: horizon.now_ms,
            plan: choice.plan,
            rung: choice.rung.to_string(),
            solver: choice.solver,
            seed,
            iterations: i64::try_from(choice.iterations).unwrap_or(i64::MAX),
        };
        page.plan(&memo, &horizon, &issued, if at_once { "accepted" } else { "proposed" }, supersedes);
        page.changes(&memo, before.as_ref(), &issued, &causes);
        (memo.in_force, memo.proposal) = if at_once { (Some(issued), None) } else { (memo.in_force.take(), Some(issued)) };
        (memo.fresh, memo.retimed) = (true, choice.retimed);
    }
    page.troubles(&memo, &troubles);
    (page.rows, memo)
}

/// What happened since the plan before, as reasons of changes.
fn causes(facts: &Facts, decided: &Decided, before: Option<&Issued>, memo: &Memo) -> Causes {
    let since_ms = before.map_or(i64::MIN, |b| b.made_ms);
    let cause = |said: &super::facts::Said, reason| Cause { event_id: said.event_id.clone(), reason };
    let mut causes = Causes::default();
    let of_container = |id: &str| facts.containers.iter().find(|(_, all)| all.iter().any(|c| c.id == id)).map(|(site, _)| site.clone());
    for (container, forecast) in facts.forecasts.iter().filter(|(_, f)| f.said.at_ms > since_ms) {
        if let Some(site) = of_container(container) {
            causes.sites.insert(site, cause(&forecast.said, ChangeReason::OverflowRisk));
        }
    }
    for ticket in facts.tickets.iter().filter(|t| t.said.at_ms > since_ms) {
        if let Some(site) = &ticket.site_id {
            causes.sites.insert(site.clone(), cause(&ticket.said, ChangeReason::Ticket));
        }
    }
    for (id, truck) in &memo.crews {
        let gone = !facts.trucks.contains_key(id);
        let planned = before.is_some_and(|b| b.plan.routes.iter().any(|r| r.vehicle_id == *id));
        if truck.is_down() || (gone && planned) {
            causes.vehicles.insert(id.clone(), cause(&truck.said, ChangeReason::VehicleDown));
        } else if !planned || truck.ended_ms.is_some() {
            causes.vehicles.insert(id.clone(), cause(&truck.said, ChangeReason::ShiftChanged));
        }
    }
    // A site whose truck is down moves for that, whatever its forecast says.
    for route in before.iter().flat_map(|b| &b.plan.routes) {
        if let Some(down) = causes.vehicles.get(&route.vehicle_id).filter(|c| c.reason == ChangeReason::VehicleDown).cloned() {
            causes.sites.extend(route.sites().map(|(_, site)| (site.to_owned(), down.clone())));
        }
    }
    let shut = facts.facility_states.values().filter(|s| s.said.at_ms > since_ms && matches!(s.status.as_str(), "closed" | "full"));
    let shut = shut.map(|s| (s.said.at_ms, cause(&s.said, ChangeReason::FacilityFull)));
    let closed = facts.closures.iter().filter(|c| c.said.at_ms > since_ms).map(|c| (c.said.at_ms, cause(&c.said, ChangeReason::Closure)));
    causes.plan = shut.chain(closed).max_by(|a, b| (a.0, &a.1.event_id).cmp(&(b.0, &b.1.event_id))).map(|(_, c)| c);
    causes.sites.extend(decided.sites.clone());
    causes.vehicles.extend(decided.vehicles.clone());
    causes
}

/// Why an answer must not be published: a code and words.
pub type Objection = (&'static str, String);

/// Judges an answer: the checker on the board asked about, the rows composed again, and what came meanwhile.
///
/// # Errors
/// The first objection.
pub fn judge(asked: &RecordBatch, board: &RecordBatch, before: &[u8], rows: &RecordBatch, memo: &[u8], area: &str, roads: &dyn Roads) -> Result<(), Objection> {
    let (told, lost) = Memo::read(memo);
    if lost || memo.is_empty() {
        return Err(("memo_unreadable", "the answer's memo cannot be read".into()));
    }
    let settings = told.settings.clone();
    let unsound = |e: BoardError| ("unsound_board", e.to_string());
    let prepared = prepare(asked, before, &settings, told.now_ms, area, roads).map_err(unsound)?;
    let issued = told.newest().filter(|_| told.fresh);
    let choice = issued.map(|issued| Choice {
        plan: issued.plan.clone(),
        rung: match issued.rung.as_str() {
            "model" => "model",
            _ => "heuristic",
        },
        solver: issued.solver.clone(),
        iterations: u64::try_from(issued.iterations).unwrap_or(0),
        retimed: told.retimed,
    });
    if let Some(issued) = issued {
        let faults = check(&prepared.built.problem, &issued.plan);
        if let Some(first) = faults.first() {
            return Err(("not_accepted", format!("{} faults, the first: {first}", faults.len())));
        }
        meanwhile(&prepared, board, issued)?;
    }
    let seed = issued.map_or(0, |i| i.seed);
    let (again, memo_again) = finish(prepared, &settings, area, choice, seed);
    let again = columns::batch(&again).map_err(unsound)?;
    if again.columns() != rows.columns() {
        return Err(("not_what_was_checked", "the rows are not those of the plan that was checked".into()));
    }
    let mut memo_again = memo_again;
    if memo_again.write() != memo {
        return Err(("not_what_was_checked", "the memo does not follow from what was asked".into()));
    }
    Ok(())
}

/// What came while the solver was thinking may have made its plan useless.
fn meanwhile(prepared: &Prepared, board: &RecordBatch, issued: &Issued) -> Result<(), Objection> {
    let now = read::facts(board).map_err(|e| ("unsound_board", e.to_string()))?;
    if let Some(new) = now.decisions.iter().find(|d| !prepared.facts.decisions.contains(d)) {
        return Err(("decision_meanwhile", format!("a person decided ({}) while the plan was made", new.kind)));
    }
    for route in &issued.plan.routes {
        let ahead: Vec<&str> = route.stops.iter().filter(|s| s.leaves_ms > prepared.horizon.now_ms).filter_map(|s| s.site_id()).collect();
        if ahead.is_empty() {
            continue;
        }
        let truck = now.trucks.get(&route.vehicle_id);
        if truck.is_none_or(|t| t.is_down() || t.ended_ms.is_some()) {
            return Err(("vehicle_lost_meanwhile", format!("{} does not drive any more", route.vehicle_id)));
        }
        if let Some(site) = ahead.iter().find(|s| !now.sites.contains_key(**s)) {
            return Err(("site_gone_meanwhile", format!("{site} does not exist any more")));
        }
        let by_other =
            |site: &str| now.visits.iter().any(|v| v.site_id == site && v.served && v.vehicle_id != route.vehicle_id && !prepared.facts.visits.contains(v));
        if let Some(site) = ahead.iter().find(|s| by_other(s)) {
            return Err(("served_meanwhile", format!("another vehicle served {site}")));
        }
    }
    let used = issued.plan.routes.iter().flat_map(|r| &r.stops).filter_map(|s| match &s.kind {
        crate::plan::StopKind::Disposal { facility_id } => Some(facility_id),
        _ => None,
    });
    for id in used {
        let shut = |f: &Facts| f.facility_states.get(id).is_some_and(|s| matches!(s.status.as_str(), "closed" | "full"));
        if shut(&now) && !shut(&prepared.facts) {
            return Err(("facility_closed_meanwhile", format!("{id} takes nothing any more")));
        }
    }
    Ok(())
}

impl From<SolveError> for BoardError {
    fn from(error: SolveError) -> BoardError {
        BoardError::Plan(error.into())
    }
}
