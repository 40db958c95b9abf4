//! Random streams with a name each: a draw added for one purpose does not shift the draws of another.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One stream of random numbers, fixed by the seed of the run and by what it is for.
#[derive(Debug)]
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of `purpose` under `seed`.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut key = [0; 32];
        for (part, bytes) in key.chunks_exact_mut(8).enumerate() {
            let word = xxh3_64_with_seed(purpose.as_bytes(), seed.wrapping_mul(4).wrapping_add(part as u64));
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A word.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "there is no number below 0");
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both possible.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range");
        low + self.below(high - low + 1)
    }

    /// A number from `low` to `high` whose logarithm is even: small ones are as likely as large ones.
    pub fn spread(&mut self, low: u64, high: u64) -> u64 {
        let (low_log, high_log) = ((low.max(1) as f64).ln(), (high.max(1) as f64).ln());
        let part = (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        ((low_log + (high_log - low_log) * part).exp() as u64).clamp(low, high)
    }

    /// True in `percent` of 100 draws.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// Puts them into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_seed_and_purpose_only() {
        let first = |seed, purpose| Draw::new(seed, purpose).next_u64();
        assert_eq!(first(7, "load"), first(7, "load"));
        assert_ne!(first(7, "load"), first(8, "load"));
        assert_ne!(first(7, "load"), first(7, "faults"));
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut draw = Draw::new(1, "ranges");
        let mut seen = [false; 4];
        for _ in 0..1000 {
            seen[(draw.range(3, 6) - 3) as usize] = true;
            assert!((16..=1024).contains(&draw.spread(16, 1024)));
            assert!(draw.below(1) == 0);
        }
        assert_eq!(seen, [true; 4]);
    }
}
