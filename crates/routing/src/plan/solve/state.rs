//! A whole answer in the search's terms: a line per truck, what is left out, and how to take a step back.

use super::index::Index;
use super::route::Line;

/// Not in any route.
pub(super) const ABSENT: usize = usize::MAX;

/// All routes.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub lines: Vec<Line>,
    /// Truck of each job, or [`ABSENT`].
    pub truck_of: Vec<usize>,
    /// Jobs to place; those locked to a head that did not fit are not among them.
    pub absent: Vec<usize>,
    /// Lines as they were before the step that is under way.
    before: Vec<(usize, Line)>,
    absent_before: Vec<usize>,
}

impl State {
    /// Every route as short as it can be: what is locked to the head, and for trucks that carry something a way to be
    /// rid of it. Locked heads that do not fit are left out.
    pub fn empty(index: &Index<'_>) -> Self {
        let mut lines: Vec<Line> = (0..index.trucks.len()).map(|truck| Line::new(index, truck)).collect();
        let mut truck_of = vec![ABSENT; index.jobs];
        for (truck, line) in lines.iter_mut().enumerate().filter(|(truck, _)| index.trucks[*truck].in_service) {
            if index.trucks[truck].loaded {
                unload(index, truck, line);
            }
            line.evaluate(index, truck);
            for job in &index.trucks[truck].head {
                if index.may(*job, truck) && append_to_head(index, truck, line, *job) {
                    truck_of[*job] = truck;
                }
            }
        }
        let absent = index.open.iter().copied().filter(|job| truck_of[*job] == ABSENT && index.order[*job].is_none()).collect();
        Self { lines, truck_of, absent, before: Vec::new(), absent_before: Vec::new() }
    }

    /// Cost of all routes, of changes of truck and of what is left out.
    pub fn cost(&self, index: &Index<'_>) -> f64 {
        let routes: f64 = self.lines.iter().map(|line| line.cost).sum();
        let absent: f64 = self.absent.iter().map(|job| index.penalty[*job]).sum();
        let changes = |job: &usize| if self.truck_of[*job] == ABSENT { 0.0 } else { index.change_cost(*job, self.truck_of[*job]) };
        let changes: f64 = if index.problem.change_cost == 0.0 { 0.0 } else { index.open.iter().map(changes).sum() };
        routes + absent + changes
    }

    /// Begins a step that can be undone.
    pub fn begin(&mut self) {
        self.before.clear();
        self.absent_before.clone_from(&self.absent);
    }

    /// Jobs that were taken out in the step under way, and those that were absent before it.
    pub fn new_and_old_absent(&self) -> (&[usize], &[usize]) {
        let old = self.absent_before.len().min(self.absent.len());
        (&self.absent[old..], &self.absent[..old])
    }

    /// Whether the step under way has changed the line of `truck`.
    pub fn is_touched(&self, truck: usize) -> bool {
        self.before.iter().any(|(touched, _)| *touched == truck)
    }

    pub fn touched(&self) -> Vec<usize> {
        self.before.iter().map(|(truck, _)| *truck).collect()
    }

    /// Puts `nodes` (start and end included) into the line of `truck`, or leaves all as it was if that is not possible.
    /// What is no longer in the line becomes absent only through [`State::settle`].
    pub fn try_nodes(&mut self, index: &Index<'_>, truck: usize, nodes: Vec<usize>) -> bool {
        let mut line = Line::of(nodes, self.lines[truck].free_from);
        if !line.evaluate(index, truck) {
            return false;
        }
        let old = std::mem::replace(&mut self.lines[truck], line);
        if !self.is_touched(truck) {
            self.before.push((truck, old));
        }
        true
    }

    /// Marks `job` as served by `truck`.
    pub fn settle(&mut self, job: usize, truck: usize) {
        self.truck_of[job] = truck;
        if truck == ABSENT {
            self.absent.push(job);
        } else if let Some(at) = self.absent.iter().position(|absent| *absent == job) {
            self.absent.swap_remove(at);
        }
    }

    /// Undoes the step under way.
    pub fn undo(&mut self, index: &Index<'_>) {
        for (truck, line) in self.before.drain(..) {
            self.lines[truck] = line;
        }
        std::mem::swap(&mut self.absent, &mut self.absent_before);
        // Only jobs of touched lines and absent ones have moved.
        for job in &self.absent {
            self.truck_of[*job] = ABSENT;
        }
        for (truck, line) in self.lines.iter().enumerate() {
            for node in line.visits() {
                if *node < index.jobs {
                    self.truck_of[*node] = truck;
                }
            }
        }
    }
}

/// Puts the disposals that an initial load needs into an empty line: for each load the facility with the shortest way.
fn unload(index: &Index<'_>, truck: usize, line: &mut Line) {
    for _ in 0..index.problem.streams.len() {
        let place = line.nodes.len() - 2;
        let left = line.by_stream(index, truck, place);
        let Some(stream) = left.iter().position(|load| load.kg > 0.0 || load.l > 0.0) else { return };
        let mut best: Option<(bool, f64, usize)> = None;
        for facility in 0..index.facilities {
            if !index.problem.facilities[facility].streams.contains(&stream) {
                continue;
            }
            let node = index.jobs + facility;
            let metres = index.metres(line.nodes[place], node) + index.metres(node, index.trucks[truck].end_node);
            let mut trial = Line::of(line.nodes.clone(), 0);
            trial.nodes.insert(place + 1, node);
            let late = !trial.evaluate(index, truck);
            if best.is_none_or(|(best_late, best_m, _)| (late, metres) < (best_late, best_m)) {
                best = Some((late, metres, node));
            }
        }
        let Some((_, _, node)) = best else { return };
        line.nodes.insert(place + 1, node);
    }
}

/// Appends a job that is locked to the head of the line, with a disposal before or behind it if it needs one.
fn append_to_head(index: &Index<'_>, truck: usize, line: &mut Line, job: usize) -> bool {
    let gap = line.free_from;
    let mut companions: Vec<Vec<usize>> = vec![vec![job]];
    for facility in &index.near_facilities[job] {
        companions.push(vec![job, *facility]);
        companions.push(vec![*facility, job]);
    }
    for second in &index.near_facilities[job] {
        companions.extend(index.near_facilities[job].iter().map(|facility| vec![*facility, job, *second]));
    }
    for nodes in companions {
        let mut trial = Line::of(line.nodes.clone(), gap);
        trial.nodes.splice(gap + 1..gap + 1, nodes.iter().copied());
        if trial.evaluate(index, truck) {
            let at = nodes.iter().position(|node| *node == job).unwrap_or(0);
            trial.free_from = gap + at + 1;
            *line = trial;
            return true;
        }
    }
    false
}
