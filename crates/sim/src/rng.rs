//! Randomness from one seed. A root seed gives each concern (data, network, faults, …) a stream of its own, so that
//! drawing more in one never shifts another: the same data meet other faults, the same faults other data.

/// SplitMix64: small, fast, and the same on every machine and in every version.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream named `name` of a root seed.
    pub fn derive(seed: u64, name: &str) -> Rng {
        let mut h = 0xcbf2_9ce4_8422_2325u64;
        for b in name.bytes() {
            h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut rng = Rng(seed ^ h);
        rng.draw();
        rng
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 for `n = 0`.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.draw() % n }
    }

    /// A number in `low..=high`.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as u64) as i64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `items`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_apart() {
        let draw = |seed, name| {
            let mut r = Rng::derive(seed, name);
            (0..8).map(|_| r.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "data"), draw(7, "data"));
        assert_ne!(draw(7, "data"), draw(7, "faults"));
        assert_ne!(draw(7, "data"), draw(8, "data"));
    }

    #[test]
    fn ranges_hold_their_bounds() {
        let mut r = Rng::derive(1, "x");
        let mut seen = [0u32; 3];
        for _ in 0..1000 {
            let v = r.range(-1, 1);
            seen[(v + 1) as usize] += 1;
            assert!((0.0..1.0).contains(&r.unit()));
        }
        assert!(seen.iter().all(|n| *n > 200), "{seen:?}");
        assert_eq!(r.below(0), 0);
    }
}
