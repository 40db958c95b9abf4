//! The step from the queues a member has to the queues it should have.

use std::collections::BTreeSet;

use crate::MessageQueue;

/// What to let go and what to take.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) drop: Vec<MessageQueue>,
    pub(crate) add: Vec<MessageQueue>,
}

/// Compares what a member has with what it should have, both in the order of queues.
pub(crate) fn difference(have: &BTreeSet<MessageQueue>, want: &BTreeSet<MessageQueue>) -> Difference {
    Difference {
        drop: have.difference(want).cloned().collect(),
        add: want.difference(have).cloned().collect(),
    }
}

/// When the next round of sharing the queues is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    last_ms: Option<u64>,
    balanced: bool,
}

impl Rounds {
    pub(crate) fn new() -> Self {
        Self { last_ms: None, balanced: false }
    }

    /// Notes that a round ended.
    pub(crate) fn ended(&mut self, now_ms: u64, balanced: bool) {
        *self = Self { last_ms: Some(now_ms), balanced };
    }

    /// When the next round begins on its own: soon after one that could not finish.
    pub(crate) fn due_ms(&self) -> u64 {
        let wait = if self.balanced { PERIOD_MS } else { AGAIN_MS };
        self.last_ms.map_or(0, |last| last + wait)
    }

    /// When a round may begin if somebody asks for it. Soon: who owned a queue must let go of it before its
    /// new owner begins to pull. Not at once: every broker tells of the same change.
    pub(crate) fn earliest_ms(&self) -> u64 {
        self.last_ms.map_or(0, |last| last + LEAST_MS)
    }
}

const PERIOD_MS: u64 = 20_000;
const AGAIN_MS: u64 = 1_000;
const LEAST_MS: u64 = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ids: impl IntoIterator<Item = i32>) -> BTreeSet<MessageQueue> {
        ids.into_iter().map(|id| MessageQueue::new("t", "b", id)).collect()
    }

    #[test]
    fn rounds_come_every_20_seconds_and_soon_when_asked_for() {
        let mut rounds = Rounds::new();
        assert_eq!((rounds.due_ms(), rounds.earliest_ms()), (0, 0));
        rounds.ended(5_000, true);
        assert_eq!((rounds.due_ms(), rounds.earliest_ms()), (25_000, 5_200));
        rounds.ended(25_000, false);
        assert_eq!((rounds.due_ms(), rounds.earliest_ms()), (26_000, 25_200));
    }

    proptest! {
        #[test]
        fn applying_the_difference_gives_what_is_wanted(
            have in prop::collection::btree_set(0i32..12, 0..12),
            want in prop::collection::btree_set(0i32..12, 0..12),
        ) {
            let (mut have, want) = (set(have), set(want));
            let Difference { drop, add } = difference(&have, &want);
            for queue in &drop {
                prop_assert!(have.remove(queue));
            }
            for queue in add {
                prop_assert!(!drop.contains(&queue) && have.insert(queue));
            }
            prop_assert_eq!(have, want);
        }
    }
}
