//! Random numbers that stay the same for ever: SplitMix64 and a few distributions.
//!
//! Own code rather than a library's generator, because libraries change theirs between versions and a seed quoted in a bug report must
//! still give the same city next year. Every device, truck and customer draws from a stream of its own, so that raising one fault
//! rate does not reshuffle the rest of the city.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Rng {
    state: u64,
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Finalizer of SplitMix64: a good hash of one word.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Hash of two words: noise that needs no state, so that the level of a container at any time is a pure function.
pub(crate) fn hash2(a: u64, b: u64) -> u64 {
    mix(a.wrapping_add(GOLDEN) ^ mix(b.wrapping_add(GOLDEN.rotate_left(17))))
}

/// A hash as a number in `[0, 1)`.
pub(crate) fn unit_of(hash: u64) -> f64 {
    (hash >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A hash as a roughly normal number (mean 0, deviation 1, within ±3.46): the sum of four 16-bit uniforms, cheap and without tails.
pub(crate) fn rough_normal(hash: u64) -> f64 {
    let sum = (hash & 0xFFFF) + ((hash >> 16) & 0xFFFF) + ((hash >> 32) & 0xFFFF) + (hash >> 48);
    (sum as f64 / 65_535.0 - 2.0) * 1.732_050_8
}

impl Rng {
    /// The stream number `index` of the family `label` under `seed`.
    pub(crate) fn derive(seed: u64, label: &str, index: u64) -> Rng {
        let family = label.bytes().fold(seed, |hash, byte| mix(hash ^ u64::from(byte)).wrapping_add(GOLDEN));
        Rng { state: hash2(family, index) }
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        unit_of(self.word())
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `[low, high)`; `low` if the range is empty.
    pub(crate) fn int(&mut self, low: i64, high: i64) -> i64 {
        if high <= low { low } else { low + (self.word() % (high - low) as u64) as i64 }
    }

    /// Uniform index below `len`; 0 if `len` is 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        if len == 0 { 0 } else { (self.word() % len as u64) as usize }
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Normal with mean 0 and deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Lognormal with the given median and the deviation of its logarithm.
    pub(crate) fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Exponential with the given mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }

    /// Number of arrivals with the given mean (Knuth's method: for small means).
    pub(crate) fn poisson(&mut self, mean: f64) -> usize {
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > limit && count < 1_000 {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// Index drawn with probabilities proportional to `weights`; the last one if they are all 0.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let total: f64 = weights.iter().sum();
        let mut left = self.unit() * total;
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_for_ever() {
        let mut rng = Rng::derive(1, "device", 7);
        let words = [rng.word(), rng.word()];
        let mut again = Rng::derive(1, "device", 7);
        assert_eq!(words, [again.word(), again.word()]);
        assert_ne!(words[0], Rng::derive(1, "device", 8).word());
        assert_ne!(words[0], Rng::derive(1, "truck", 7).word());
        assert_ne!(words[0], Rng::derive(2, "device", 7).word());
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut rng = Rng::derive(3, "moments", 0);
        let count = 20_000;
        let mean = |draws: &[f64]| draws.iter().sum::<f64>() / draws.len() as f64;
        let normals: Vec<f64> = (0..count).map(|_| rng.normal()).collect();
        assert!(mean(&normals).abs() < 0.03);
        assert!((normals.iter().map(|x| x * x).sum::<f64>() / count as f64 - 1.0).abs() < 0.05);
        let rough: Vec<f64> = (0..count).map(|i| rough_normal(hash2(9, i as u64))).collect();
        assert!(mean(&rough).abs() < 0.03);
        assert!((rough.iter().map(|x| x * x).sum::<f64>() / count as f64 - 1.0).abs() < 0.05);
        let waits: Vec<f64> = (0..count).map(|_| rng.exponential(5.0)).collect();
        assert!((mean(&waits) - 5.0).abs() < 0.2);
        let arrivals: Vec<f64> = (0..count).map(|_| rng.poisson(1.5) as f64).collect();
        assert!((mean(&arrivals) - 1.5).abs() < 0.05);
    }

    #[test]
    fn weights_decide() {
        let mut rng = Rng::derive(3, "weights", 0);
        let hits = (0..10_000).filter(|_| rng.weighted(&[1.0, 3.0]) == 1).count();
        assert!((7_200..7_800).contains(&hits), "{hits}");
        assert_eq!(rng.weighted(&[0.0, 0.0]), 1);
    }
}
