//! Fixed rounds: which truck visits which sites on which weekday and shift, in which order, and when a site's next visit is due.
//!
//! The planner knows each container's habitual rate only roughly, and plans for it to be about three quarters full. What the plan
//! cannot know (moods, festivals, breakdowns) makes containers overflow.

use crate::calendar::{HOUR_MS, LocalClock, MINUTE_MS, SECOND_MS, weekday};
use crate::config::{CityConfig, ROUNDS_TARGET_LEVEL};
use crate::layout::{District, Layout, Point};
use crate::rng::Rng;

/// A shift by its start, ms after local midnight.
pub(crate) const SHIFT_STARTS_MS: [i64; 3] = [5 * HOUR_MS, 10 * HOUR_MS + 30 * MINUTE_MS, 16 * HOUR_MS];
/// Planned length of a shift.
pub(crate) const SHIFT_LENGTH_MS: i64 = 8 * HOUR_MS;
/// Mean speed between stops that plans count with, m/s.
pub(crate) const PLANNED_MPS: f64 = 7.0;
/// Planned time of a stop apart from its containers.
pub(crate) const STOP_MS: i64 = 100 * SECOND_MS;
/// Planned time of one container.
pub(crate) const CONTAINER_MS: i64 = 80 * SECOND_MS;

/// A stop of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedStop {
    pub site: usize,
    /// Planned arrival, ms after the shift's start.
    pub offset_ms: i64,
}

/// When a site is visited.
#[derive(Debug, Clone)]
pub(crate) struct SiteRhythm {
    pub visits_per_week: u32,
    /// (weekday, shift, planned arrival in ms after the shift's start), by weekday and shift.
    pub visits: Vec<(usize, usize, i64)>,
}

/// All rounds of a week.
#[derive(Debug, Clone)]
pub(crate) struct Rounds {
    pub sites: Vec<SiteRhythm>,
    /// Shift of each truck.
    pub truck_shift: Vec<usize>,
    /// Stops by weekday and truck.
    stops: Vec<Vec<Vec<PlannedStop>>>,
}

/// Weekday patterns by visits a week, with variants that spread the load.
const PATTERNS: [(u32, &[&[usize]]); 5] = [
    (1, &[&[0], &[1], &[2], &[3], &[4], &[5]]),
    (2, &[&[0, 3], &[1, 4], &[2, 5]]),
    (3, &[&[0, 2, 4], &[1, 3, 5], &[0, 2, 5]]),
    (4, &[&[0, 2, 4, 6], &[1, 3, 5, 6]]),
    (7, &[&[0, 1, 2, 3, 4, 5, 6]]),
];

impl Rounds {
    pub(crate) fn new(config: &CityConfig, layout: &Layout, truck_depots: &[usize]) -> Rounds {
        let mut rng = Rng::derive(config.seed, "rounds", 0);
        let one_shift = config.one_shift || truck_depots.len() < SHIFT_STARTS_MS.len();
        let mut sites: Vec<SiteRhythm> = (0..layout.sites.len()).map(|site| rhythm(config, layout, site, one_shift, &mut rng)).collect();
        let truck_shift = share_trucks(&sites, truck_depots.len(), one_shift);
        let mut stops = vec![vec![Vec::new(); truck_depots.len()]; 7];
        for (day, stops_of_day) in stops.iter_mut().enumerate() {
            for shift in 0..SHIFT_STARTS_MS.len() {
                let due: Vec<usize> = (0..sites.len()).filter(|site| sites[*site].visits.iter().any(|v| v.0 == day && v.1 == shift)).collect();
                let trucks: Vec<usize> = (0..truck_depots.len()).filter(|truck| truck_shift[*truck] == shift).collect();
                for (truck, own) in split_by_angle(layout, due, trucks, truck_depots) {
                    stops_of_day[truck] = order_stops(layout, layout.depots[truck_depots[truck]].at, own);
                    for stop in &stops_of_day[truck] {
                        for visit in sites[stop.site].visits.iter_mut().filter(|v| v.0 == day && v.1 == shift) {
                            visit.2 = stop.offset_ms;
                        }
                    }
                }
            }
        }
        Rounds { sites, truck_shift, stops }
    }

    /// Mean hours between the visits of a site.
    pub(crate) fn interval_h(&self, site: usize) -> f64 {
        168.0 / f64::from(self.sites[site].visits_per_week)
    }

    /// On public holidays only the sites that need a visit every day get one.
    fn served_on(&self, clock: &LocalClock, site: usize, day: i64) -> bool {
        self.sites[site].visits_per_week >= 7 || !clock.is_holiday(day)
    }

    /// Stops of a truck on a local day.
    pub(crate) fn stops_on(&self, clock: &LocalClock, truck: usize, day: i64) -> Vec<PlannedStop> {
        self.stops[weekday(day)][truck].iter().filter(|stop| self.served_on(clock, stop.site, day)).copied().collect()
    }

    /// First planned visit of a site after `after_ms`, UTC ms.
    pub(crate) fn next_visit_ms(&self, clock: &LocalClock, site: usize, after_ms: i64) -> Option<i64> {
        let first = clock.day(after_ms);
        (first..first + 22).flat_map(|day| self.visits_on(clock, site, day)).find(|at_ms| *at_ms > after_ms)
    }

    /// Last planned visit of a site before `before_ms`, UTC ms.
    pub(crate) fn last_visit_ms(&self, clock: &LocalClock, site: usize, before_ms: i64) -> Option<i64> {
        let last = clock.day(before_ms);
        (last - 21..=last).rev().find_map(|day| self.visits_on(clock, site, day).filter(|at_ms| *at_ms < before_ms).last())
    }

    fn visits_on<'a>(&'a self, clock: &'a LocalClock, site: usize, day: i64) -> impl Iterator<Item = i64> + 'a {
        let served = self.served_on(clock, site, day);
        let visits = self.sites[site].visits.iter().filter(move |visit| served && visit.0 == weekday(day));
        visits.map(move |visit| clock.utc_ms(day, SHIFT_STARTS_MS[visit.1]) + visit.2)
    }
}

/// Planned duration of a drive.
pub(crate) fn planned_drive_ms(from: Point, to: Point) -> i64 {
    (from.street_m(to) / PLANNED_MPS * SECOND_MS as f64) as i64
}

fn rhythm(config: &CityConfig, layout: &Layout, site: usize, one_shift: bool, rng: &mut Rng) -> SiteRhythm {
    let fastest = layout.sites[site].containers.iter().map(|c| layout.containers[*c].fill.rate_per_h).fold(0.0, f64::max);
    let believed_per_h = fastest * rng.lognormal(1.0, 0.15);
    let district = layout.zones[layout.sites[site].zone].district;
    let shift = match district {
        _ if one_shift => 0,
        District::Residential => rng.index(2),
        District::Commercial => [0, 2][rng.index(2)],
        District::Park => 1,
        District::Nightlife => 0,
    };
    // Weeks are uneven: what a plain mean would allow is cut by the district's busy days.
    let busy = match district {
        District::Residential => 1.1,
        District::Commercial => 1.1,
        District::Park => 1.25,
        District::Nightlife => 1.25,
    };
    let believed_per_h = believed_per_h * busy;
    let usual = pattern(believed_per_h, shift, one_shift, ROUNDS_TARGET_LEVEL, rng);
    if config.rounds_target_level == ROUNDS_TARGET_LEVEL {
        return usual;
    }
    // From a stream of its own: the target must not change what is drawn for the sites that follow.
    let mut own = Rng::derive(config.seed, "rhythm", site as u64);
    pattern(believed_per_h, shift, one_shift, config.rounds_target_level, &mut own)
}

/// The rarest pattern with which a site is believed not to rise above the target.
fn pattern(believed_per_h: f64, shift: usize, one_shift: bool, target_level: f64, rng: &mut Rng) -> SiteRhythm {
    let fits = |gap_h: f64| believed_per_h * gap_h <= target_level;
    for (visits_per_week, variants) in PATTERNS {
        let days = variants[rng.index(variants.len())];
        if fits(longest_gap_h(days)) || (visits_per_week == 7 && (one_shift || fits(20.0))) {
            return SiteRhythm { visits_per_week, visits: days.iter().map(|day| (*day, shift, 0)).collect() };
        }
    }
    let twice = (0..7).flat_map(|day| [(day, 0, 0), (day, 2, 0)]);
    SiteRhythm { visits_per_week: 14, visits: twice.collect() }
}

fn longest_gap_h(days: &[usize]) -> f64 {
    let gap = |index: usize| (days[(index + 1) % days.len()] + 7 - days[index] - 1) % 7 + 1;
    (0..days.len()).map(gap).max().unwrap_or(7) as f64 * 24.0
}

/// Gives each shift trucks in proportion to its stops.
fn share_trucks(sites: &[SiteRhythm], trucks: usize, one_shift: bool) -> Vec<usize> {
    if one_shift {
        return vec![0; trucks];
    }
    let mut stops = [1.0_f64; SHIFT_STARTS_MS.len()];
    sites.iter().flat_map(|site| &site.visits).for_each(|visit| stops[visit.1] += 1.0);
    let mut given = [0.0_f64; SHIFT_STARTS_MS.len()];
    (0..trucks)
        .map(|_| {
            // The shift with the most stops for each truck that it has gets the next one.
            let mut best = 0;
            for shift in 1..stops.len() {
                if stops[shift] / (given[shift] + 1e-3) > stops[best] / (given[best] + 1e-3) {
                    best = shift;
                }
            }
            given[best] += 1.0;
            best
        })
        .collect()
}

/// Cuts the city into slices like a cake, one for each truck, with about equal work; slices go to the truck whose depot lies there.
fn split_by_angle(layout: &Layout, mut due: Vec<usize>, mut trucks: Vec<usize>, truck_depots: &[usize]) -> Vec<(usize, Vec<usize>)> {
    let angle = |at: Point| at.y_m.atan2(at.x_m);
    let work_ms = |site: usize| STOP_MS + CONTAINER_MS * layout.sites[site].containers.len() as i64 + 4 * MINUTE_MS;
    due.sort_by(|a, b| angle(layout.sites[*a].at).total_cmp(&angle(layout.sites[*b].at)).then(a.cmp(b)));
    trucks.sort_by(|a, b| angle(layout.depots[truck_depots[*a]].at).total_cmp(&angle(layout.depots[truck_depots[*b]].at)).then(a.cmp(b)));
    let total_ms: i64 = due.iter().map(|site| work_ms(*site)).sum();
    let count = trucks.len() as i64;
    let mut slices: Vec<(usize, Vec<usize>)> = trucks.into_iter().map(|truck| (truck, Vec::new())).collect();
    let mut done_ms = 0;
    for site in due {
        let slice = (done_ms * count / total_ms.max(1)).min(count - 1);
        if let Some((_, own)) = slices.get_mut(slice as usize) {
            own.push(site);
        }
        done_ms += work_ms(site);
    }
    slices
}

/// Nearest neighbour from the depot, with planned arrival times.
fn order_stops(layout: &Layout, depot: Point, mut left: Vec<usize>) -> Vec<PlannedStop> {
    let mut at = depot;
    let mut clock_ms = 10 * MINUTE_MS;
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let mut best = 0;
        for index in 1..left.len() {
            if at.street_m(layout.sites[left[index]].at) < at.street_m(layout.sites[left[best]].at) {
                best = index;
            }
        }
        let site = left.swap_remove(best);
        clock_ms += planned_drive_ms(at, layout.sites[site].at);
        ordered.push(PlannedStop { site, offset_ms: clock_ms });
        clock_ms += STOP_MS + CONTAINER_MS * layout.sites[site].containers.len() as i64;
        at = layout.sites[site].at;
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::DAY_MS;

    #[test]
    fn every_site_is_visited_as_often_as_it_says_and_by_one_truck() {
        let config = CityConfig { bins: 600, trucks: 12, ..CityConfig::default() };
        let layout = Layout::new(&config);
        let rounds = Rounds::new(&config, &layout, &(0..12).map(|truck| truck % 3).collect::<Vec<_>>());
        let mut visits = vec![0; layout.sites.len()];
        rounds.stops.iter().flatten().flatten().for_each(|stop| visits[stop.site] += 1);
        for (site, rhythm) in rounds.sites.iter().enumerate() {
            assert_eq!(visits[site], rhythm.visits_per_week, "site {site}");
            assert_eq!(rhythm.visits.len() as u32, rhythm.visits_per_week);
        }
    }

    #[test]
    fn next_and_last_visit_meet_and_move_on() {
        let config = CityConfig { bins: 300, trucks: 6, ..CityConfig::default() };
        let layout = Layout::new(&config);
        let clock = LocalClock::new(config.time_zone, config.start_ms);
        let rounds = Rounds::new(&config, &layout, &[0, 1, 2, 0, 1, 2]);
        for site in 0..layout.sites.len() {
            let mut at_ms = config.start_ms;
            for _ in 0..20 {
                let next_ms = rounds.next_visit_ms(&clock, site, at_ms).unwrap_or(0);
                assert!(next_ms > at_ms && next_ms - at_ms <= 15 * DAY_MS);
                assert_eq!(rounds.last_visit_ms(&clock, site, next_ms + 1), Some(next_ms));
                at_ms = next_ms;
            }
        }
    }

    #[test]
    fn gaps_wrap_around_the_week() {
        assert_eq!(longest_gap_h(&[0]), 168.0);
        assert_eq!(longest_gap_h(&[0, 3]), 96.0);
        assert_eq!(longest_gap_h(&[0, 2, 4]), 72.0);
        assert_eq!(longest_gap_h(&[0, 1, 2, 3, 4, 5, 6]), 24.0);
    }
}
