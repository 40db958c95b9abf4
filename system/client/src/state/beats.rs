//! Which brokers are due for a heartbeat.
//!
//! A membership belongs to the connection that carried the heartbeat: a broker that restarted, or whose
//! connection broke, knows nothing of this client until the next one, so it is due at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::Text;

/// When each broker address is due.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    brokers: BTreeMap<Text, Beat>,
}

#[derive(Debug, Default)]
struct Beat {
    due_ms: u64,
    /// The broker knows this client over the connection that stands now.
    joined: bool,
    /// A route names it.
    named: bool,
    /// Since the last heartbeat began the connection broke, or the broker said that it does not know this client: the
    /// answer to that heartbeat says nothing of now.
    outdated: bool,
}

impl Beat {
    /// Whatever the broker knew of this client, it does not any more.
    fn forgotten(&mut self) {
        (self.due_ms, self.joined, self.outdated) = (0, false, true);
    }
}

impl Beats {
    /// Takes over the addresses in use: new ones are due at once, others are forgotten.
    pub(crate) fn keep(&mut self, addresses: &BTreeSet<Text>) {
        self.brokers.retain(|address, _| addresses.contains(address));
        for address in addresses {
            self.brokers.entry(address.clone()).or_default().named = true;
        }
    }

    /// The addresses that are due.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<Text> {
        self.brokers.iter().filter(|(_, b)| b.due_ms <= now_ms).map(|(address, _)| address.clone()).collect()
    }

    /// When the next one is due, of those that are not being told now.
    pub(crate) fn next_ms(&self, being_told: &BTreeSet<Text>) -> Option<u64> {
        let others = self.brokers.iter().filter(|(address, _)| !being_told.contains(*address));
        others.map(|(_, b)| b.due_ms).min()
    }

    /// Notes that a heartbeat begins.
    pub(crate) fn begun(&mut self, address: &str) {
        if let Some(beat) = self.brokers.get_mut(address) {
            beat.outdated = false;
        }
    }

    /// Notes how a heartbeat ended: the next is due after a period, or soon. True when the broker learned
    /// of this client by it.
    pub(crate) fn ended(&mut self, address: &str, answered: bool, now_ms: u64) -> bool {
        let Some(beat) = self.brokers.get_mut(address) else { return false };
        if answered && beat.outdated {
            return false; // it has been due again since then
        }
        let joins = answered && !beat.joined;
        (beat.due_ms, beat.joined) = (now_ms + if answered { PERIOD_MS } else { RETRY_MS }, answered);
        if !answered && !beat.named {
            self.brokers.remove(address);
        }
        joins
    }

    /// A broker that is used said that it does not know this client. Name servers may have left it out for a while: what
    /// a member cannot hand on meanwhile it goes on pulling.
    pub(crate) fn unknown(&mut self, address: &Text) {
        self.brokers.entry(address.clone()).or_default().forgotten();
    }

    /// The connection broke.
    pub(crate) fn lost(&mut self, address: &str) {
        if let Some(beat) = self.brokers.get_mut(address) {
            beat.forgotten();
        }
    }

    /// All are due.
    pub(crate) fn all_due(&mut self) {
        self.brokers.values_mut().for_each(|beat| beat.due_ms = 0);
    }

    /// The addresses, also those that are not due.
    pub(crate) fn addresses(&self) -> Vec<Text> {
        self.brokers.keys().cloned().collect()
    }
}

const PERIOD_MS: u64 = 30_000;
const RETRY_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_due_at_once_then_every_30_seconds() {
        let mut beats = Beats::default();
        let (a, b) = (Text::from("a:1"), Text::from("b:1"));
        beats.keep(&[a.clone(), b.clone()].into());
        assert_eq!(beats.due(5), [a.clone(), b.clone()]);
        assert!(beats.ended("a:1", true, 5) && !beats.ended("b:1", false, 5));
        assert_eq!(beats.next_ms(&BTreeSet::new()), Some(1_005));
        assert_eq!(beats.next_ms(&[b.clone()].into()), Some(30_005));
        assert_eq!(beats.due(1_005), ["b:1"].map(Text::from));
        beats.lost("a:1");
        beats.lost("c:1");
        assert_eq!(beats.due(1_005), [a.clone(), b]);
        beats.begun("a:1");
        assert!(beats.ended("a:1", true, 1_005) && !beats.ended("a:1", true, 1_006));
        beats.keep(&[a.clone()].into());
        assert_eq!(beats.due(1_000_000), [a]);
    }

    #[test]
    fn an_answer_from_before_the_connection_broke_does_not_count() {
        let mut beats = Beats::default();
        let a = Text::from("a:1");
        beats.keep(&[a.clone()].into());
        beats.begun("a:1");
        beats.lost("a:1");
        assert!(!beats.ended("a:1", true, 5), "it may have started anew");
        assert_eq!(beats.due(5), ["a:1"].map(Text::from));
        beats.begun("a:1");
        assert!(beats.ended("a:1", true, 5));
        assert_eq!(beats.due(6), [] as [Text; 0]);
        beats.begun("a:1");
        beats.unknown(&a);
        beats.ended("a:1", true, 6);
        assert_eq!(beats.due(6), [a]);
    }

    #[test]
    fn a_broker_that_no_route_names_is_due_when_it_does_not_know_a_client_that_uses_it() {
        let mut beats = Beats::default();
        let a = Text::from("a:1");
        beats.lost("a:1");
        assert_eq!(beats.due(5), [] as [Text; 0]);
        beats.unknown(&a);
        assert_eq!(beats.due(5), ["a:1"].map(Text::from));
        beats.begun("a:1");
        assert!(beats.ended("a:1", true, 5));
        assert_eq!(beats.due(1_000_000), ["a:1"].map(Text::from));
        assert!(!beats.ended("a:1", false, 1_000_000));
        assert_eq!(beats.next_ms(&BTreeSet::new()), None, "it went, and nobody names it");
        beats.unknown(&a);
        beats.keep(&BTreeSet::new());
        assert_eq!(beats.due(1_000_000), [] as [Text; 0]);
    }
}
