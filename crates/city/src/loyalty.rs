//! Why customers leave. Each has a hazard of giving notice that grows with recent discontent (missed collections,
//! complaints, price rises, failed payments), is higher before the term's end, for new customers and for some by
//! nature, and forgets: discontent halves in 45 days. Moves and closures come apart from all that; they are not churn.
//!
//! Shapes and sizes are assumptions. The truth beside the events tells the hazard, so that a model can be measured.

use crate::calendar::DAY_MS;
use crate::rng::Rng;

/// Hazard of notice a day of an average, contented customer in mid-term.
const BASE_PER_DAY: f64 = 0.000_2;
/// Hazard a day of moving away, closing down or going insolvent.
const LEAVES_OTHERWISE_PER_DAY: f64 = 0.000_1;
/// Days in which discontent halves.
const HALF_LIFE_DAYS: f64 = 45.0;
/// Discontent counts no further than this.
const MOST_DISCONTENT: f64 = 4.0;
/// Length of a term, days.
pub(crate) const TERM_DAYS: i64 = 365;
/// Days before the end of a term on which prices for the next one are told.
pub(crate) const PRICES_TOLD_DAYS: i64 = 45;

/// What annoys a customer, and how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    /// A container was not emptied.
    Missed,
    /// They had to complain.
    Ticket,
    /// The fee rises by this share.
    PriceRise(f64),
    /// A payment failed.
    PaymentFailed,
}

impl Trouble {
    fn weight(self) -> f64 {
        match self {
            Trouble::Missed => 0.45,
            Trouble::Ticket => 0.5,
            Trouble::PriceRise(share) => 9.0 * share.max(0.0),
            Trouble::PaymentFailed => 0.25,
        }
    }
}

/// A customer's attachment.
#[derive(Debug, Clone)]
pub(crate) struct Loyalty {
    /// Factor of the customer's own nature.
    restless: f64,
    service: f64,
    price: f64,
    known_ms: i64,
    /// When the present term ends, UTC ms.
    pub(crate) term_ends_ms: i64,
    /// Whether the prices of the next term were told.
    pub(crate) prices_told: bool,
}

impl Loyalty {
    /// A customer since `since_ms`, at `now_ms`: terms are full years.
    pub(crate) fn new(since_ms: i64, now_ms: i64, rng: &mut Rng) -> Loyalty {
        let terms = (now_ms - since_ms).div_euclid(TERM_DAYS * DAY_MS) + 1;
        let term_ends_ms = since_ms + terms * TERM_DAYS * DAY_MS;
        let prices_told = term_ends_ms - now_ms < PRICES_TOLD_DAYS * DAY_MS;
        Loyalty { restless: rng.lognormal(1.0, 0.5), service: 0.0, price: 0.0, known_ms: now_ms, term_ends_ms, prices_told }
    }

    fn kept(&self, now_ms: i64) -> f64 {
        0.5f64.powf(((now_ms - self.known_ms).max(0)) as f64 / DAY_MS as f64 / HALF_LIFE_DAYS)
    }

    /// Something went wrong.
    pub(crate) fn annoy(&mut self, trouble: Trouble, now_ms: i64) {
        let kept = self.kept(now_ms);
        self.service *= kept;
        self.price *= kept;
        self.known_ms = now_ms.max(self.known_ms);
        match trouble {
            Trouble::PriceRise(_) => self.price += trouble.weight(),
            _ => self.service += trouble.weight(),
        }
    }

    /// Hazard of notice of their own will, a day.
    pub(crate) fn hazard_per_day(&self, segment: &str, since_ms: i64, now_ms: i64) -> f64 {
        let discontent = ((self.service + self.price) * self.kept(now_ms)).min(MOST_DISCONTENT);
        let of_segment = match segment {
            "business" => 1.3,
            "public" => 0.4,
            _ => 0.9,
        };
        let tenure_days = (now_ms - since_ms) as f64 / DAY_MS as f64;
        let young = 1.0 + 1.2 * (-tenure_days / 300.0).exp();
        let left_days = (self.term_ends_ms - now_ms) as f64 / DAY_MS as f64;
        let of_term = if left_days < 75.0 { 2.2 } else { 0.8 };
        BASE_PER_DAY * self.restless * of_segment * young * of_term * (0.9 * discontent).exp()
    }

    /// Whether they leave today, and if so of their own will and why.
    pub(crate) fn leaves(&self, segment: &str, since_ms: i64, now_ms: i64, rng: &mut Rng) -> Option<(bool, &'static str)> {
        let (otherwise, chosen) = (rng.chance(LEAVES_OTHERWISE_PER_DAY), rng.chance(self.hazard_per_day(segment, since_ms, now_ms)));
        if otherwise {
            return Some((false, ["moved", "closed", "insolvent"][rng.index(3)]));
        }
        let kept = self.kept(now_ms);
        let why = if self.service * kept < 0.3 && self.price * kept < 0.3 {
            "competitor"
        } else if self.price > self.service {
            "price"
        } else {
            "service"
        };
        chosen.then_some((true, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer() -> Loyalty {
        Loyalty::new(0, 500 * DAY_MS, &mut Rng::derive(1, "loyalty", 0))
    }

    #[test]
    fn trouble_raises_the_hazard_and_is_forgotten() {
        let now_ms = 500 * DAY_MS;
        let mut one = customer();
        let calm = one.hazard_per_day("business", 0, now_ms);
        one.annoy(Trouble::Missed, now_ms);
        let annoyed = one.hazard_per_day("business", 0, now_ms);
        one.annoy(Trouble::PriceRise(0.1), now_ms);
        let more = one.hazard_per_day("business", 0, now_ms);
        assert!(annoyed > 1.3 * calm && more > 2.0 * annoyed, "{calm} {annoyed} {more}");
        let later = one.hazard_per_day("business", 0, now_ms + 140 * DAY_MS);
        assert!(later < 1.5 * calm, "{later}");
        for _ in 0..50 {
            one.annoy(Trouble::Missed, now_ms);
        }
        assert!(one.hazard_per_day("business", 0, now_ms) < 0.05, "nobody is certain to leave");
    }

    #[test]
    fn the_end_of_a_term_and_a_short_time_as_customer_raise_it_too() {
        let one = customer();
        assert_eq!(one.term_ends_ms, 730 * DAY_MS);
        let mid = one.hazard_per_day("business", 0, 500 * DAY_MS);
        assert!(one.hazard_per_day("business", 0, 700 * DAY_MS) > 2.0 * mid);
        assert!(one.hazard_per_day("business", 490 * DAY_MS, 500 * DAY_MS) > 1.5 * mid);
        assert!(one.hazard_per_day("public", 0, 500 * DAY_MS) < 0.5 * mid);
    }
}
