//! Which kinds of faults were felt and which features were used: what meets in no run is tested in none.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, History, How, Kind, MemberId, NodeId, Outcome};
use crate::plan::{Plan, Step, What};

/// What a run may use, in order.
pub const FEATURES: &[&str] = &[
    "async flush",
    "batches",
    "changes of members",
    "dead letters",
    "delays",
    "deleted topics",
    "pulls that wait",
    "queries",
    "queue changes",
    "retries",
    "sync flush",
    "tag filters",
    "transactions",
    "two brokers",
    "two name servers",
];

/// The features that a run used: planning one is not enough.
#[must_use]
pub fn features(plan: &Plan, history: &History) -> BTreeSet<&'static str> {
    let mut used = BTreeSet::new();
    let mut delivering: BTreeSet<NodeId> = BTreeSet::new();
    let mut widths = BTreeMap::new();
    let mut owners: BTreeMap<_, MemberId> = BTreeMap::new();
    for Event { node, kind, .. } in &history.events {
        let feature = match *kind {
            Kind::Sent { message, outcome: Outcome::Ok, at: Some(slot) } => {
                delivering.insert(history.queues[slot.queue.index()].broker);
                used.insert(if history.sync_flush(slot.queue) { "sync flush" } else { "async flush" });
                history.messages[message.index()].batch.map(|_| "batches")
            }
            Kind::Enter { member, .. } => {
                let group = history.members[member.index()].group;
                history.groups[group.index()].tag.map(|_| "tag filters")
            }
            Kind::DelayDelivered { to, .. } => {
                let retry =
                    history.groups.iter().any(|it| it.retry == history.queues[to.queue.index()].topic);
                (!retry).then_some("delays")
            }
            Kind::SentBack { dead, .. } => Some(if dead { "dead letters" } else { "retries" }),
            Kind::HalfEnded { .. } => Some("transactions"),
            Kind::Queried { .. } | Kind::Newest { .. } => Some("queries"),
            Kind::TopicDeleted { .. } => Some("deleted topics"),
            Kind::Pulled { count: 0, .. } => Some("pulls that wait"),
            Kind::TopicSet { topic, broker, read, .. } => {
                let before = widths.insert((topic, broker), read);
                before.is_some_and(|before| before != read).then_some("queue changes")
            }
            Kind::SessionStart { member, queue, .. } => {
                let group = history.members[member.index()].group;
                let before = owners.insert((group, queue), member);
                before.is_some_and(|before| before != member).then_some("changes of members")
            }
            Kind::Registered { .. } if plan.name_servers > 1 => {
                (history.node_name(*node) != "ns0").then_some("two name servers")
            }
            _ => None,
        };
        used.extend(feature);
    }
    if delivering.len() > 1 {
        used.insert("two brokers");
    }
    used
}

/// Kinds of faults without a counter of their own that changed something all the same, as the history tells.
#[must_use]
pub fn felt(plan: &Plan, history: &History) -> BTreeSet<&'static str> {
    let mut felt = BTreeSet::new();
    let mut on: BTreeSet<usize> = BTreeSet::new();
    for Event { node, kind, .. } in &history.events {
        match *kind {
            Kind::StepOn { step } => drop(on.insert(step as usize)),
            Kind::StepOff { step } => drop(on.remove(&(step as usize))),
            Kind::Heal => break,
            _ => {
                let on = on.iter().map(|step| &plan.steps[*step]);
                felt.extend(on.filter(|step| is_felt(&step.what, history, *node, kind)).map(Step::kind));
            }
        }
    }
    felt
}

/// Whether this event would have been another one, or at another time, without the fault.
fn is_felt(what: &What, history: &History, node: NodeId, kind: &Kind) -> bool {
    let is = |name: &str| history.node_name(node) == name;
    match (what, *kind) {
        (What::Stop { node }, Kind::Down { how: How::Stop }) => is(node),
        (What::Levels { node, .. }, Kind::Levels { .. }) => is(node),
        (What::SlowSync { node, .. }, Kind::Flushed { .. }) => is(node),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn a_slow_disk_is_felt_by_a_sync_that_ends_meanwhile_and_by_no_other() {
        let mut plan = swarm::plain("any", 1, swarm::Size::QUICK);
        let what = What::SlowSync { node: "b0".to_owned(), ms: 500 };
        plan.steps = vec![Step::new(1000, 1000, what)];
        let mut history = History::default();
        let (lab, b0, b1) = (history.node("lab"), history.node("b0"), history.node("b1"));
        let flushed = Kind::Flushed { end: 100 };
        history.push(1, b0, flushed);
        history.push(2, lab, Kind::StepOn { step: 0 });
        history.push(3, b1, flushed);
        assert_eq!(felt(&plan, &history), BTreeSet::new());
        history.push(4, b0, flushed);
        assert_eq!(felt(&plan, &history), BTreeSet::from(["slow sync"]));
    }

    #[test]
    fn only_what_was_used_counts() {
        let plan = swarm::plain("any", 1, swarm::Size::QUICK);
        let mut history = History::default();
        let ns1 = history.node("ns1");
        assert_eq!(features(&plan, &history), BTreeSet::new());
        let b0 = history.node("b0");
        let topic = history.topic("topic0");
        for read in [4, 4, 6] {
            history.push(1, b0, Kind::TopicSet { topic, broker: b0, read, write: read });
        }
        history.push(2, ns1, Kind::Registered { broker: b0, peer: 1, version: 1, made_ms: 0 });
        let mut two = plan;
        two.name_servers = 2;
        assert_eq!(features(&two, &history), BTreeSet::from(["queue changes", "two name servers"]));
        assert!(FEATURES.is_sorted());
    }
}
