//! Which queue the next message goes to: in turn, away from the broker that just failed, and with the
//! latency memory away from brokers that were slow.

use std::collections::BTreeMap;

use crate::{MessageQueue, Text};

/// Counts picks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn(u32);

impl Turn {
    /// Begins anywhere, so that many producers do not fill the same queue first.
    pub(crate) fn new(draw: u32) -> Self {
        Self(draw)
    }

    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_add(1);
        (self.0 & 0x7FFF_FFFF) as usize
    }
}

/// What is remembered of each broker's answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency {
    brokers: BTreeMap<Text, Memory>,
}

#[derive(Clone, Copy, Debug)]
struct Memory {
    usable_from_ms: u64,
    reachable: bool,
}

impl Latency {
    /// Notes an attempt. `isolate`: it failed, which counts as 10 s whatever it took.
    pub(crate) fn record(
        &mut self,
        broker: &Text,
        took_ms: u64,
        isolate: bool,
        reachable: bool,
        now_ms: u64,
    ) {
        let latency = if isolate { ISOLATION_MS } else { took_ms };
        let avoid_ms = STEPS.iter().rev().find(|(from, _)| latency >= *from).map_or(0, |(_, avoid)| *avoid);
        let memory = self.brokers.entry(broker.clone()).or_insert(Memory { usable_from_ms: 0, reachable });
        memory.reachable = reachable;
        if avoid_ms > 0 {
            memory.usable_from_ms = memory.usable_from_ms.max(now_ms + avoid_ms);
        }
    }

    fn is_usable(&self, broker: &str, now_ms: u64) -> bool {
        self.brokers.get(broker).is_none_or(|m| now_ms >= m.usable_from_ms)
    }

    fn is_reachable(&self, broker: &str) -> bool {
        self.brokers.get(broker).is_none_or(|m| m.reachable)
    }
}

/// The queue for the next attempt; `None` only when there is none at all. `failed` is the broker of the
/// attempt before, `memory` is there when the latency memory is switched on.
pub(crate) fn choose<'a>(
    queues: &'a [MessageQueue],
    turn: &mut Turn,
    failed: Option<&str>,
    memory: Option<&Latency>,
    now_ms: u64,
) -> Option<&'a MessageQueue> {
    let mut first = |wanted: &dyn Fn(&str) -> bool| {
        (0..queues.len()).map(|_| &queues[turn.next() % queues.len()]).find(|q| wanted(&q.broker))
    };
    let other = |broker: &str| failed != Some(broker);
    let found = match memory {
        None => first(&other),
        Some(memory) => first(&|b| other(b) && memory.is_usable(b, now_ms))
            .or_else(|| first(&|b| other(b) && memory.is_reachable(b))),
    };
    found.or_else(|| first(&|_| true))
}

const ISOLATION_MS: u64 = 10_000;
/// From this latency on, avoid the broker for so long (both ms).
const STEPS: [(u64, u64); 7] =
    [(50, 0), (100, 0), (550, 2_000), (1_800, 5_000), (3_000, 6_000), (5_000, 10_000), (15_000, 30_000)];

#[cfg(test)]
mod tests {
    use super::*;

    fn queues() -> Vec<MessageQueue> {
        ["a", "b"].iter().flat_map(|b| (0..2).map(move |id| MessageQueue::new("t", *b, id))).collect()
    }

    #[test]
    fn queues_are_taken_in_turn_for_ever() {
        let all = queues();
        let mut turn = Turn::new(u32::MAX - 2);
        let picks: Vec<_> = (0..8).map(|_| choose(&all, &mut turn, None, None, 0).unwrap()).collect();
        for window in picks.windows(2).take(1) {
            assert_ne!(window[0], window[1]);
        }
        assert!(all.iter().all(|q| picks.iter().filter(|p| *p == &q).count() == 2), "{picks:?}");
        assert_eq!(choose(&[], &mut turn, None, None, 0), None);
    }

    #[test]
    fn a_retry_avoids_the_broker_that_failed_if_there_is_another() {
        let all = queues();
        let mut turn = Turn::new(3);
        for _ in 0..10 {
            assert_eq!(&*choose(&all, &mut turn, Some("a"), None, 0).unwrap().broker, "b");
        }
        assert_eq!(&*choose(&all[..2], &mut turn, Some("a"), None, 0).unwrap().broker, "a");
    }

    #[test]
    fn a_slow_broker_is_avoided_for_a_while() {
        let all = queues();
        let (mut turn, mut memory) = (Turn::new(0), Latency::default());
        memory.record(&"a".into(), 600, false, true, 1_000);
        memory.record(&"a".into(), 10, false, true, 1_001);
        for _ in 0..10 {
            assert_eq!(&*choose(&all, &mut turn, None, Some(&memory), 2_999).unwrap().broker, "b");
        }
        let mut later = (0..4).map(|_| choose(&all, &mut turn, None, Some(&memory), 3_000).unwrap());
        assert!(later.any(|q| &*q.broker == "a"));
    }

    #[test]
    fn an_unusable_broker_is_better_than_an_unreachable_one() {
        let all = queues();
        let (mut turn, mut memory) = (Turn::new(0), Latency::default());
        memory.record(&"a".into(), 0, true, true, 0);
        memory.record(&"b".into(), 0, true, false, 0);
        for _ in 0..4 {
            assert_eq!(&*choose(&all, &mut turn, None, Some(&memory), 1).unwrap().broker, "a");
        }
        assert!(choose(&all, &mut turn, Some("a"), Some(&memory), 1).is_some());
    }
}
