//! Keys and draws: one ChaCha stream per (seed, node, purpose), so that a draw added for one purpose shifts no other.
//!
//! The executor's own generator serves scheduling only.

use std::{ops::Range, time::Duration};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

use crate::{
    node::Node,
    state::{State, with},
};

/// A stream of draws for the world's own use.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream that `key` determines.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The bias of the multiplication is below 2^-32 for every n the world uses.
        ((u128::from(self.any()) * u128::from(n)) >> 64) as u64
    }

    /// True with `probability`.
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.any() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// A duration of the range; its start when it is empty.
    pub fn between(&mut self, range: &Range<Duration>) -> Duration {
        let span = range.end.saturating_sub(range.start).as_nanos() as u64;
        range.start + Duration::from_nanos(self.below(span.max(1)))
    }
}

/// The key of a further stream of the running process for `purpose`.
pub fn key_here(purpose: &str) -> [u8; 32] {
    with(|state| {
        let here = state.here();
        let incarnation = &mut state.incarnations[here.incarnation as usize];
        let nth = incarnation.streams.entry(purpose.to_owned()).or_default();
        *nth += 1;
        let which = u64::from(incarnation.number) << 32 | u64::from(*nth);
        state.key(here.node, which, purpose)
    })
}

/// The stream of a node for `purpose`, which goes on over its restarts.
pub fn for_node(node: Node, purpose: &str) -> Dice {
    with(|state| state.dice(node, purpose))
}

impl State {
    pub(crate) fn dice(&self, node: Node, purpose: &str) -> Dice {
        Dice::new(self.key(node, OF_THE_NODE, purpose))
    }

    fn key(&self, node: Node, which: u64, purpose: &str) -> [u8; 32] {
        key(self.setup.seed, &self.machines[node.index()].name, which, purpose)
    }
}

/// The four parts side by side: the cipher does the mixing.
pub(crate) fn key(seed: u64, place: &str, which: u64, purpose: &str) -> [u8; 32] {
    let mut key = [0; 32];
    for (part, place) in [seed, fnv(place), which, fnv(purpose)].iter().zip(key.chunks_exact_mut(8)) {
        place.copy_from_slice(&part.to_le_bytes());
    }
    key
}

/// FNV-1a.
fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(crate) const OF_THE_NODE: u64 = u64::MAX;
