//! The prize of an optional site: what it is worth to collect it now instead of at the next chance.
//!
//! Two things are lost by leaving a site out. Its containers may overflow before the next chance: expected hours of
//! standing full, at a price. And if not now, it must be driven to later: who comes at the end of a cycle has used the whole
//! cycle, who comes in its middle wastes half of it. So a visit now saves the share of a later visit that the cycle has already run
//! through. This is the approximation of the cost of leaving the best day in inventory routing (Jaillet, Bard, Huang and Dror,
//! Transportation Science 36, 2002), with the probability of a full container from a forecast's three quantiles.
//!
//! Amounts are in the minor unit of one currency, as the costs of `problem`.

use super::reliability::Reliability;

/// Hours below this count as one moment.
const LEAST_H: f64 = 0.25;
/// Least distance of the quantiles, as a logarithm: a forecast that is surer than 2 % is not believed to be.
const LEAST_WIDTH: f64 = 0.02;
/// Steps of the integral over a span.
const STEPS: u32 = 12;
const HOUR_MS: f64 = 3_600_000.0;

/// What is known of a container that nobody empties.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// When the forecast was made, UTC ms.
    pub at_ms: i64,
    /// Hours from then until it is full: 10 %, 50 % and 90 % quantile, ascending; 0 when it is full already.
    pub hours_to_full: [f64; 3],
    /// Usual hours from empty to full, where known.
    pub cycle_h: Option<f64>,
}

impl Outlook {
    /// Probability that it is full at a time: two halves of Student's t with 2 degrees of freedom over the logarithm of
    /// the hours, through the three quantiles. Its tails are wide, as three quantiles cannot say that they are not.
    pub fn p_full(&self, at_ms: i64) -> f64 {
        let [early, middle, late] = self.hours_to_full;
        if middle <= LEAST_H {
            return 1.0;
        }
        let hours = ((at_ms - self.at_ms) as f64 / HOUR_MS).max(LEAST_H);
        let distance = (hours / middle).ln();
        let width = if distance > 0.0 { late / middle } else { middle / early.max(LEAST_H) };
        t2(distance / width.ln().max(LEAST_WIDTH))
    }

    /// Expected hours that it stands full between two times, its probabilities taken for what they are worth.
    pub fn full_h(&self, from_ms: i64, to_ms: i64, past: &Reliability) -> f64 {
        span_mean(from_ms, to_ms, |at_ms| past.worth(self.p_full(at_ms))) * ((to_ms - from_ms) as f64 / HOUR_MS).max(0.0)
    }

    /// The same if it were emptied at `from_ms`: what a visit does not prevent. It fills at its usual pace, as uncertain as now.
    pub fn full_h_after_visit(&self, from_ms: i64, to_ms: i64, past: &Reliability) -> f64 {
        let Some(cycle_h) = self.cycle_h else { return 0.0 };
        let [early, middle, late] = self.hours_to_full;
        let spread = |other: f64| if middle > LEAST_H { (other.max(LEAST_H) / middle).clamp(0.4, 2.5) } else { 1.0 };
        let after = Outlook { at_ms: from_ms, hours_to_full: [cycle_h * spread(early).min(0.8), cycle_h, cycle_h * spread(late).max(1.25)], cycle_h: None };
        after.full_h(from_ms, to_ms, past)
    }

    /// Share of its cycle that it has run through at a time, 0 to 1; 0 where the cycle is not known.
    pub fn cycle_share(&self, at_ms: i64) -> f64 {
        let left_h = self.hours_to_full[1] - (at_ms - self.at_ms) as f64 / HOUR_MS;
        self.cycle_h.map_or(0.0, |cycle_h| (1.0 - left_h / cycle_h.max(LEAST_H)).clamp(0.0, 1.0))
    }
}

/// Student's t with 2 degrees of freedom, scaled so that 1 is its 90 % quantile.
fn t2(scaled: f64) -> f64 {
    let x = scaled * (4.0 / 3.0);
    0.5 * (1.0 + x / (1.0 + x * x).sqrt())
}

/// Mean of a function over a span, by the trapezoid rule.
fn span_mean(from_ms: i64, to_ms: i64, of: impl Fn(i64) -> f64) -> f64 {
    let at = |step: u32| of(from_ms + (to_ms - from_ms) * i64::from(step) / i64::from(STEPS));
    let inner: f64 = (1..STEPS).map(at).sum();
    (inner + (at(0) + at(STEPS)) / 2.0) / f64::from(STEPS)
}

/// What things are worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// A container standing full for a day.
    pub overflow_per_day: f64,
    /// A visit of this site on some other day: detour and service.
    pub visit: f64,
}

/// The prize of a site with its probability of an overflow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prize {
    /// What collecting it now is worth.
    pub amount: f64,
    /// Probability that any of its containers is full before the next chance.
    pub p_overflow: f64,
}

/// The prize of a site whose containers have these outlooks, if it can be collected at `now_ms` and, if not then, at
/// `next_ms` at the earliest. `past` says what such probabilities were worth before; its default believes them. Containers
/// without an outlook are left out: nothing is known of them.
pub fn prize(containers: &[Outlook], now_ms: i64, next_ms: i64, prices: Prices, past: &Reliability) -> Prize {
    let saved_h: f64 = containers.iter().map(|c| (c.full_h(now_ms, next_ms, past) - c.full_h_after_visit(now_ms, next_ms, past)).max(0.0)).sum();
    // The fullest container decides when the site must be driven to.
    let share = containers.iter().map(|c| c.cycle_share(now_ms)).fold(0.0, f64::max);
    let all_hold: f64 = containers.iter().map(|c| 1.0 - past.worth(c.p_full(next_ms))).product();
    Prize { amount: saved_h / 24.0 * prices.overflow_per_day + share * prices.visit, p_overflow: 1.0 - all_hold }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const PRICES: Prices = Prices { overflow_per_day: 10_000.0, visit: 1_000.0 };

    fn believed() -> Reliability {
        Reliability::default()
    }

    fn outlook(hours_to_full: [f64; 3]) -> Outlook {
        Outlook { at_ms: 0, hours_to_full, cycle_h: Some(80.0) }
    }

    #[test]
    fn the_distribution_goes_through_its_quantiles_and_rises() {
        let of = outlook([10.0, 20.0, 50.0]);
        for (hours, p) in [(10, 0.1), (20, 0.5), (50, 0.9)] {
            assert!((of.p_full(hours * HOUR) - p).abs() < 1e-9, "{hours}");
        }
        let all: Vec<f64> = (0..400).map(|hour| of.p_full(hour * HOUR)).collect();
        assert!(all.windows(2).all(|pair| pair[0] <= pair[1]) && all.iter().all(|p| (0.0..=1.0).contains(p)));
        assert_eq!(outlook([0.0, 0.0, 0.0]).p_full(0), 1.0);
    }

    #[test]
    fn hours_full_are_the_area_below_the_probability() {
        let full = outlook([0.0, 0.0, 0.0]);
        assert!((full.full_h(HOUR, 25 * HOUR, &believed()) - 24.0).abs() < 1e-9);
        let later = outlook([30.0, 40.0, 50.0]);
        assert!(later.full_h(0, 24 * HOUR, &believed()) < 1.0 && later.full_h(24 * HOUR, 60 * HOUR, &believed()) > 12.0);
        assert_eq!(later.full_h(HOUR, HOUR, &believed()), 0.0);
    }

    #[test]
    fn the_prize_grows_with_the_risk_and_a_surer_forecast_of_a_late_fill_is_worth_less() {
        let at = |quantiles| prize(&[outlook(quantiles)], 0, 24 * HOUR, PRICES, &believed());
        let (soon, late, unsure) = (at([8.0, 12.0, 18.0]), at([60.0, 70.0, 78.0]), at([20.0, 70.0, 200.0]));
        assert!(soon.amount > unsure.amount && unsure.amount > late.amount);
        assert!(soon.p_overflow > 0.9 && late.p_overflow < 0.01 && unsure.p_overflow > 0.1);
        let two = prize(&[outlook([8.0, 12.0, 18.0]); 2], 0, 24 * HOUR, PRICES, &believed());
        assert!(two.amount > 1.5 * soon.amount && two.p_overflow > soon.p_overflow);
        assert_eq!(prize(&[], 0, 24 * HOUR, PRICES, &believed()), Prize { amount: 0.0, p_overflow: 0.0 });
    }

    #[test]
    fn probabilities_that_came_true_more_often_than_said_raise_the_prize() {
        let mut past = Reliability::default();
        (0..500).for_each(|number| past.note(0.3, number % 10 < 7));
        past.learn();
        let of = [outlook([15.0, 40.0, 80.0])];
        let (said, since) = (prize(&of, 0, 24 * HOUR, PRICES, &believed()), prize(&of, 0, 24 * HOUR, PRICES, &past));
        assert!(since.p_overflow > said.p_overflow + 0.1 && since.amount > said.amount);
    }

    #[test]
    fn what_a_visit_cannot_prevent_earns_nothing() {
        // It fills within six hours whoever comes: of the day only the first hours are saved.
        let fast = Outlook { at_ms: 0, hours_to_full: [0.0, 0.0, 0.0], cycle_h: Some(6.0) };
        let slow = Outlook { cycle_h: Some(90.0), ..fast };
        let without_visit = Prices { visit: 0.0, ..PRICES };
        let (fast, slow) = (prize(&[fast], 0, 24 * HOUR, without_visit, &believed()), prize(&[slow], 0, 24 * HOUR, without_visit, &believed()));
        assert!(fast.amount < 0.5 * slow.amount, "{fast:?} {slow:?}");
    }

    #[test]
    fn a_run_through_cycle_makes_a_visit_worth_its_cost_and_a_fresh_one_does_not() {
        let no_price = Prices { overflow_per_day: 0.0, visit: 1_000.0 };
        let (fresh, old) = (outlook([70.0, 80.0, 90.0]), outlook([5.0, 8.0, 12.0]));
        assert_eq!(prize(&[fresh], 0, 24 * HOUR, no_price, &believed()).amount, 0.0);
        assert!((prize(&[old], 0, 24 * HOUR, no_price, &believed()).amount - 900.0).abs() < 1e-9);
        // Hours later the cycle has gone on.
        assert!(old.cycle_share(6 * HOUR) > old.cycle_share(0) && fresh.cycle_share(40 * HOUR) == 0.5);
    }
}
