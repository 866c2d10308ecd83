//! How often what was said to be likely came true, and what a statement is worth since: probabilities that planners act
//! on are corrected by their own past. Statements are counted in classes; a class with few of them is believed as said; and a higher
//! statement is never worth less than a lower one (pooling of adjacent violators, Ayer et al. 1955).

/// Upper bounds of the classes; fine where most statements are.
const BOUNDS: [f64; 12] = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95, 1.0];
/// Statements by which a class is believed as said.
const AS_SAID: f64 = 20.0;

/// Statements of one kind with what came of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reliability {
    /// Number, sum of what was said, how many came true.
    classes: [(f64, f64, f64); BOUNDS.len()],
    /// (said, worth), both rising.
    knots: Vec<(f64, f64)>,
}

impl Reliability {
    /// Notes what came of a statement; [`Reliability::learn`] makes use of it.
    pub fn note(&mut self, said: f64, came: bool) {
        let class = &mut self.classes[BOUNDS.iter().position(|bound| said <= *bound).unwrap_or(BOUNDS.len() - 1)];
        *class = (class.0 + 1.0, class.1 + said, class.2 + f64::from(u8::from(came)));
    }

    /// Statements noted.
    pub fn count(&self) -> usize {
        self.classes.iter().map(|class| class.0).sum::<f64>() as usize
    }

    /// Takes in what was noted.
    pub fn learn(&mut self) {
        // (weight, said, worth), each block the mean of the classes in it.
        let mut blocks: Vec<(f64, f64, f64)> = Vec::with_capacity(BOUNDS.len());
        for (count, said, came) in self.classes.iter().filter(|class| class.0 > 0.0) {
            let said = said / count;
            blocks.push((count + AS_SAID, said, (came + AS_SAID * said) / (count + AS_SAID)));
            while let [.., before, last] = blocks.as_slice()
                && before.2 >= last.2
            {
                let weight = before.0 + last.0;
                let pooled = (weight, (before.0 * before.1 + last.0 * last.1) / weight, (before.0 * before.2 + last.0 * last.2) / weight);
                blocks.truncate(blocks.len() - 2);
                blocks.push(pooled);
            }
        }
        self.knots = blocks.into_iter().map(|(_, said, worth)| (said, worth)).collect();
    }

    /// What a statement is worth: linear between what was learned, 0 and 1 as they are.
    pub fn worth(&self, said: f64) -> f64 {
        let (mut from, mut low) = (0.0, 0.0);
        for (to, high) in self.knots.iter().copied().chain([(1.0, 1.0)]) {
            if said <= to {
                return if to > from { low + (high - low) * (said - from) / (to - from) } else { high };
            }
            (from, low) = (to, high);
        }
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_past_everything_is_worth_what_was_said() {
        let mut none = Reliability::default();
        none.learn();
        assert!([0.0, 0.01, 0.3, 0.77, 1.0].iter().all(|said| (none.worth(*said) - said).abs() < 1e-12) && none.count() == 0);
    }

    #[test]
    fn what_comes_more_often_than_said_is_worth_more_and_the_order_stays() {
        let mut past = Reliability::default();
        for number in 0..1_000 {
            past.note(0.35, number % 10 < 7);
            past.note(0.01, number % 200 == 0);
        }
        past.note(0.55, false);
        past.learn();
        assert!((0.66..0.7).contains(&past.worth(0.35)), "{}", past.worth(0.35));
        assert!(past.worth(0.01) < 0.01);
        let worth: Vec<f64> = (0..=100).map(|percent| past.worth(f64::from(percent) / 100.0)).collect();
        assert!(worth.windows(2).all(|pair| pair[0] <= pair[1]) && worth[0] == 0.0 && worth[100] == 1.0);
        assert_eq!(past.count(), 2_001);
    }

    #[test]
    fn a_few_cases_prove_little() {
        let mut past = Reliability::default();
        (0..3).for_each(|_| past.note(0.35, true));
        past.learn();
        assert!((0.35..0.5).contains(&past.worth(0.35)));
    }
}
