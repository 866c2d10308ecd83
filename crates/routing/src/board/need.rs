//! What there is to collect: sites with their demand, and how badly each is needed today.

use super::build::Horizon;
use super::facts::{Container, Facts, Forecast};
use super::memo::Memo;
use super::settings::Settings;
use super::zone;
use crate::plan::problem::{Demand, Job, Load, Need, ServiceReason};
use std::collections::{BTreeMap, BTreeSet};

const HOUR_MS: f64 = 3_600_000.0;
/// From this probability on a site is served for its own sake, not because a truck passes by.
const RISKY: f64 = 0.05;
/// Level of a container that nobody measures: likely, cautious.
const UNKNOWN_LEVEL: (f64, f64) = (0.7, 1.0);
/// Kilograms a litre of a stream that `ref.waste-stream` does not tell.
const DENSITY_KG_PER_L: f64 = 0.1;
/// Fuller than this a container does not get; what lies beside it is taken along.
const LEVEL_MAX: f64 = 1.3;

/// Probability that a container is full `hours` after its forecast: straight lines through the forecast's quantiles.
pub(super) fn p_full(forecast: &Forecast, hours: f64) -> f64 {
    if forecast.level >= 1.0 {
        return 1.0;
    }
    let Some((p10, p50, p90)) = forecast.hours_to_full else {
        // Without hours: where the level reaches full by the levels ahead, the cautious one counting for one case in ten.
        let (likely, cautious) = level_at(forecast, hours);
        return if likely >= 1.0 {
            0.5 + 0.4 * ((likely - 1.0) / 0.2).min(1.0)
        } else if cautious >= 1.0 {
            0.1 + 0.4 * ((cautious - 1.0) / (cautious - likely).max(1e-6)).clamp(0.0, 1.0)
        } else {
            0.05 * (cautious / 1.0).clamp(0.0, 1.0).powi(4)
        };
    };
    // The slow tail is as long again as that from the median to the late tenth.
    let points = [(0.0, 0.0), (p10, 0.1), (p50, 0.5), (p90, 0.9), (p90 + (p90 - p50).max(1.0), 0.99)];
    let mut before = points[0];
    for point in points {
        if hours <= point.0 {
            let width = point.0 - before.0;
            return if width > 0.0 { before.1 + (point.1 - before.1) * (hours - before.0).max(0.0) / width } else { point.1 };
        }
        before = point;
    }
    0.99
}

/// Level so many hours after the forecast, likely and cautious.
pub(super) fn level_at(forecast: &Forecast, hours: f64) -> (f64, f64) {
    let mut before = (0.0, forecast.level, forecast.level);
    for point in &forecast.levels {
        if hours <= point.0 {
            let share = ((hours - before.0) / (point.0 - before.0)).clamp(0.0, 1.0);
            return (before.1 + (point.1 - before.1) * share, before.2 + (point.2 - before.2) * share);
        }
        before = *point;
    }
    (before.1, before.2)
}

/// A job without its place, and how much it is worth for the choice of jobs.
pub(super) struct Wanted {
    pub job: Job,
    pub worth: f64,
}

/// The sites of the day, by id. What is visited already is none of them, unless a customer asked since.
pub(super) fn wanted(facts: &mut Facts, memo: &Memo, settings: &Settings, horizon: &Horizon, streams: &BTreeMap<String, usize>) -> Vec<Wanted> {
    let visited: BTreeMap<String, i64> =
        facts.visits.iter().filter(|v| !v.not_reached && v.said.at_ms >= horizon.history_ms).map(|v| (v.site_id.clone(), v.said.at_ms)).collect();
    let mut asked: BTreeMap<String, (bool, Option<i64>, String)> = BTreeMap::new();
    for ticket in facts.tickets.clone() {
        let cause = ticket.said.event_id.as_deref();
        let Some(site) = ticket.site_id.clone() else {
            facts.trouble("ticket_without_site", "ticket", &ticket.id, cause, "no truck can be sent to a ticket without a site");
            continue;
        };
        if !facts.sites.contains_key(&site) {
            facts.trouble("unknown_site", "ticket", &ticket.id, cause, format!("its site {site} does not exist in this area"));
            continue;
        }
        if visited.get(&site).is_some_and(|at_ms| *at_ms >= ticket.opened_ms) {
            continue;
        }
        let due_today = ticket.due_ms.is_some_and(|due_ms| due_ms <= horizon.to_ms);
        let entry = asked.entry(site).or_insert((false, None, ticket.id.clone()));
        entry.0 |= ticket.pressing || due_today;
    }
    let mut ids: BTreeSet<String> = facts.containers.keys().cloned().collect();
    ids.extend(asked.keys().cloned());
    ids.extend(facts.schedules.iter().filter(|(_, s)| s.next_visit_ms.is_some()).map(|(id, _)| id.clone()));
    let mut all = Vec::new();
    for id in ids {
        if !facts.sites.contains_key(&id) {
            facts.trouble("unknown_site", "site", &id, None, "containers or a schedule name a site that does not exist in this area");
            continue;
        }
        if visited.contains_key(&id) && !asked.contains_key(&id) {
            continue;
        }
        if let Some(wanted) = one(facts, memo, settings, horizon, streams, &id, asked.get(&id).map(|a| a.0)) {
            all.push(wanted);
        }
    }
    all
}

fn one(
    facts: &Facts,
    memo: &Memo,
    settings: &Settings,
    horizon: &Horizon,
    streams: &BTreeMap<String, usize>,
    id: &str,
    ticket: Option<bool>,
) -> Option<Wanted> {
    let site = facts.sites.get(id)?;
    let none = Vec::new();
    let containers = facts.containers.get(id).unwrap_or(&none);
    let mut demands: BTreeMap<usize, (Load, Load)> = BTreeMap::new();
    let (mut spared, mut overflows, mut measured) = (1.0, 0.0, false);
    for container in containers {
        let forecast = facts.forecasts.get(&container.id);
        let ((likely, cautious), p) = match forecast {
            Some(f) => {
                measured = true;
                let ahead = |at_ms: i64| ((at_ms - f.said.at_ms) as f64 / HOUR_MS).max(0.0);
                (level_at(f, ahead(horizon.middle_ms)), p_full(f, ahead(horizon.chance_ms)))
            }
            None => (UNKNOWN_LEVEL, 0.0),
        };
        spared *= 1.0 - p;
        overflows += p;
        add(facts, container, streams, (likely, cautious), &mut demands)?;
    }
    let p_overflow = ((1.0 - spared) * 1e4).round() / 1e4;
    let scheduled = facts.schedules.get(id).and_then(|s| s.next_visit_ms).is_some_and(|at_ms| (horizon.from_ms..horizon.to_ms).contains(&at_ms));
    let cost = |item: &str, default: f64| facts.costs.get(item).copied().unwrap_or(default);
    let risk = (overflows * cost("overflow", settings.overflow_minor) * 1e3).round() / 1e3;
    let missed = cost("missed_collection", settings.missed_minor);
    let (need, reason) = match (ticket, scheduled) {
        _ if memo.excluded.contains(id) => (Need::Excluded, ServiceReason::Scheduled),
        (Some(true), _) => (Need::Mandatory, ServiceReason::Ticket),
        // A site without a sensor is visited as its schedule says; one with a forecast when it is worth it.
        (_, true) if settings.keep_schedule || !measured => (Need::Mandatory, ServiceReason::Scheduled),
        (Some(false), _) => (Need::Optional { prize: risk + missed }, ServiceReason::Ticket),
        (None, _) if memo.kept.contains(id) => (Need::Mandatory, ServiceReason::OverflowRisk),
        (None, _) if !measured => return None,
        (None, _) => (Need::Optional { prize: risk }, if p_overflow >= RISKY { ServiceReason::OverflowRisk } else { ServiceReason::Nearby }),
    };
    let service_ms = site.service_ms.unwrap_or(settings.service_ms);
    let site_zone = site.time_zone.as_deref().and_then(|z| z.parse().ok()).unwrap_or(horizon.zone);
    let windows = zone::daily(site_zone, site.access_s, horizon.open_ms, horizon.shut_ms);
    let worth = match need {
        Need::Mandatory | Need::Excluded => f64::INFINITY,
        Need::Optional { prize } => prize,
    };
    let job = Job {
        site_id: id.to_owned(),
        container_ids: containers.iter().map(|c| c.id.clone()).collect(),
        location: 0,
        demands: demands.into_iter().map(|(stream, (p50, p90))| Demand { stream, p50, p90 }).collect(),
        service_ms,
        windows,
        need,
        skills: site.max_vehicle_m.map(fits).into_iter().collect(),
        trip_not_before_ms: i64::MIN,
        previous_vehicle_id: None,
        reason,
        p_overflow: measured.then_some(p_overflow),
    };
    Some(Wanted { job, worth })
}

/// A truck that is short enough has this skill.
pub(super) fn fits(metres: f64) -> String {
    format!("fits_{:.1}_m", metres)
}

fn add(
    facts: &Facts,
    container: &Container,
    streams: &BTreeMap<String, usize>,
    (likely, cautious): (f64, f64),
    demands: &mut BTreeMap<usize, (Load, Load)>,
) -> Option<()> {
    let stream = *streams.get(&container.stream)?;
    let density = facts.densities.get(&container.stream).copied().unwrap_or(DENSITY_KG_PER_L);
    let load = |level: f64| {
        let l = (container.capacity_l * level.clamp(0.0, LEVEL_MAX) * 1e3).round() / 1e3;
        Load { kg: (l * density * 1e3).round() / 1e3, l }
    };
    let entry = demands.entry(stream).or_default();
    for (sum, more) in [(&mut entry.0, load(likely)), (&mut entry.1, load(cautious.max(likely)))] {
        *sum = Load { kg: sum.kg + more.kg, l: sum.l + more.l };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::facts::Said;

    fn forecast(level: f64, hours: Option<(f64, f64, f64)>) -> Forecast {
        Forecast { said: Said::default(), level, levels: vec![(6.0, level + 0.1, level + 0.2), (24.0, level + 0.4, level + 0.8)], hours_to_full: hours }
    }

    #[test]
    fn the_probability_of_an_overflow_follows_the_quantiles_and_never_falls_with_time() {
        let f = forecast(0.4, Some((10.0, 20.0, 40.0)));
        for (hours, p) in [(0.0, 0.0), (10.0, 0.1), (15.0, 0.3), (20.0, 0.5), (40.0, 0.9), (60.0, 0.99), (999.0, 0.99)] {
            assert!((p_full(&f, hours) - p).abs() < 1e-9, "{hours}: {}", p_full(&f, hours));
        }
        assert_eq!(p_full(&forecast(1.02, Some((10.0, 20.0, 40.0))), 0.0), 1.0, "it is full already");
        for f in [forecast(0.4, None), forecast(0.9, None), forecast(0.4, Some((0.0, 0.0, 0.0)))] {
            let all: Vec<f64> = (0..100).map(|h| p_full(&f, f64::from(h))).collect();
            assert!(all.windows(2).all(|w| w[0] <= w[1] + 1e-9) && all.iter().all(|p| (0.0..=1.0).contains(p)), "{all:?}");
        }
    }

    #[test]
    fn levels_lie_between_what_was_forecast() {
        let f = forecast(0.4, None);
        let (likely, cautious) = level_at(&f, 3.0);
        assert!((likely - 0.45).abs() < 1e-9 && (cautious - 0.5).abs() < 1e-9);
        assert_eq!(level_at(&f, 99.0), level_at(&f, 24.0));
    }
}
