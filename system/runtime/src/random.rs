//! Random numbers from streams named by purpose, so that a draw added for one purpose shifts no other.
//!
//! In production a stream starts from the system's entropy; in simulation from the seed, the node, its incarnation and
//! the purpose.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

/// A stream of this node for one purpose. Asked again for the same purpose, it answers with a further, distinct stream.
pub fn stream(purpose: &str) -> Rng {
    #[cfg(not(madsim))]
    let _ = purpose;
    #[cfg(not(madsim))]
    let key = crate::real::entropy();
    #[cfg(madsim)]
    let key = world::random::key_here(purpose);
    Rng::from_key(key)
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream that `key` determines.
    pub fn from_key(key: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(key))
    }

    /// The stream for `purpose` under `seed`, the same in every build and mode: what plans are drawn from.
    pub fn derived(seed: u64, purpose: &str) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        // FNV-1a: two purposes get two keys; the cipher does the mixing.
        let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        key[8..16].copy_from_slice(&hash.to_le_bytes());
        key[16..24].copy_from_slice(b"derived.");
        Self::from_key(key)
    }

    /// Any 32-bit number.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Any 64-bit number.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`, each equally likely.
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "there is no number below zero");
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            let low = wide as u64;
            // The low half tells whether this draw lies in the part that would make small numbers likelier; the division
            // is needed for few draws.
            if low >= n || low >= n.wrapping_neg() % n {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A number from `low` up to, not including, `high`.
    ///
    /// # Panics
    /// When the range is empty.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        assert!(low < high, "empty range {low}..{high}");
        low + self.below(high - low)
    }

    /// True with `probability`: 0.0 never, 1.0 always.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are all a double can tell apart.
        ((self.next_u64() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
