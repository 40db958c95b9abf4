//! L-1 to L-4: what must have happened some time after the faults are over, and where none are.

use std::collections::{BTreeMap, BTreeSet};

use super::silence::shaken;
use super::{Judged, Rule, SECOND, View, seconds, view::Trouble};
use crate::history::{How, Kind, MessageId, NodeId, Outcome};

/// How long what is promised after the faults took: its rule, what is measured, and the bound in ms, unless that depends
/// on the plan.
pub const RECOVERIES: &[(Rule, &str, Option<u64>)] = &[
    (Rule::L2, ACKNOWLEDGED, Some(ACK_BOUND / MS)),
    (Rule::L3, SETTLED, Some(OWNER_BOUND / MS)),
    (Rule::L4, DRAINED, None),
    (Rule::L11, WAITED, Some(200)),
];
/// From the end of the faults to the first acknowledgement of the last producer.
const ACKNOWLEDGED: &str = "first acknowledgement after the faults, ms";
/// From the end of the faults, or what came later, to the last change of owners.
const SETTLED: &str = "last change of owners after the faults, ms";
/// From the end of the faults to the last message that was consumed.
const DRAINED: &str = "last message consumed after the faults, ms";
/// From when it could be read to when a waiting member had it.
pub(super) const WAITED: &str = "message for a member that waits, ms";

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    refused(view, judged);
    let Some((healed, heal_ns)) = view.heal else { return };
    routes(view, healed, heal_ns, judged);
    producers(view, healed, heal_ns, judged);
    owners(view, heal_ns, judged);
    if let Some((event, at_ns, rest)) = view.drained {
        judged.count(Rule::L4, 1);
        let mut events = view.history.events[healed..event].iter();
        let done = events.rfind(|event| matches!(event.kind, Kind::Exit { ok: true, .. }));
        judged.worst(DRAINED, done.map_or(0, |last| (last.at_ns - heal_ns) / MS));
        if rest > 0 {
            let sentence = format!(
                "{rest} {} not consumed {} after the faults were over.",
                if rest == 1 { "message was" } else { "messages were" },
                seconds(at_ns - heal_ns)
            );
            judged.broken(view, Rule::L4, event, format!("{rest} messages"), sentence);
        }
    }
}

/// L-1: all brokers are in all answers that were asked for late enough, until the lab stops them. What a fault has parted for
/// good is not told of each other.
fn routes(view: &View<'_>, healed: usize, heal_ns: u64, judged: &mut Judged) {
    let history = view.history;
    let until = view.drained.map_or(view.last(), |(event, ..)| event);
    for (number, event) in history.events[..until].iter().enumerate().skip(healed) {
        let Kind::Routes { asked_ns, brokers, .. } = event.kind else { continue };
        if asked_ns <= heal_ns + ROUTE_BOUND {
            continue;
        }
        let server = event.node;
        let mut due = history
            .brokers
            .iter()
            .zip(0..)
            .filter(|(broker, _)| !view.parted(server, broker.node))
            .peekable();
        judged.count(Rule::L1, u64::from(due.peek().is_some()));
        if let Some((broker, _)) = due.find(|(_, place)| brokers & (1 << place) == 0) {
            let (server, name) = (history.node_name(server), history.node_name(broker.node));
            let sentence = format!(
                "Name server {server} does not know {name} {} after the faults were over.",
                seconds(asked_ns - heal_ns)
            );
            judged.broken(view, Rule::L1, number, name.to_owned(), sentence);
        }
    }
}

/// L-2: each producer that tried got an acknowledgement in time.
fn producers(view: &View<'_>, healed: usize, heal_ns: u64, judged: &mut Judged) {
    let mut first: BTreeMap<u32, (u64, Option<u64>)> = BTreeMap::new(); // first try, first acknowledgement
    for event in &view.history.events[healed..] {
        match event.kind {
            Kind::Send { message } => {
                let producer = view.history.messages[message.index()].producer;
                first.entry(producer).or_insert((event.at_ns, None));
            }
            Kind::Sent { message, outcome: Outcome::Ok, .. } => {
                let producer = view.history.messages[message.index()].producer;
                first.entry(producer).or_insert((heal_ns, None)).1.get_or_insert(event.at_ns);
            }
            _ => {}
        }
    }
    let end = view.at(view.last());
    first.retain(|producer, _| !view.outside(view.history.producers[*producer as usize].node));
    for (producer, (tried, acknowledged)) in first {
        judged.count(Rule::L2, 1);
        if let Some(at_ns) = acknowledged {
            judged.worst(ACKNOWLEDGED, at_ns.saturating_sub(heal_ns.max(tried)) / MS);
        }
        let late = acknowledged.map_or(end > heal_ns + ACK_BOUND, |at| at > heal_ns + ACK_BOUND);
        if late && tried < heal_ns + ACK_BOUND / 2 {
            let when = acknowledged
                .map_or("none ever".to_owned(), |at| format!("the first after {}", seconds(at - heal_ns)));
            let sentence = format!(
                "Producer p{producer} should get an acknowledgement within 70 s after the faults; it got {when}."
            );
            judged.broken(view, Rule::L2, view.last(), format!("p{producer}"), sentence);
        }
    }
}

/// L-2: nobody is refused while nothing is wrong, nor where one broker is gone, another is fine, and there was a try more.
fn refused(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    if history.untapped || history.refuses {
        return;
    }
    let brokers: Vec<NodeId> = history.brokers.iter().map(|broker| broker.node).collect();
    let writers: BTreeSet<NodeId> = history.producers.iter().map(|producer| producer.node).collect();
    let members: BTreeSet<NodeId> = history.members.iter().map(|member| member.node).collect();
    let troubles = view.troubles();
    let began = history.events.first().map_or(0, |event| event.at_ns);
    for (index, send) in view.sends.iter().enumerate() {
        let (Some(invoked), Some(returned)) = (send.invoked, send.returned) else { continue };
        let (from, until) = (view.at(invoked), view.at(returned));
        if from < began + CALM {
            continue;
        }
        let message = history.messages[index];
        // A batch may be longer than brokers take.
        if message.batch.is_some() {
            continue;
        }
        let writer = history.producers[message.producer as usize].node;
        let near: Vec<_> = troubles
            .iter()
            .filter(|it| it.from_ns <= until && it.until_ns.saturating_add(aftermath(view, it)) >= from)
            .filter(|it| it.node.is_none_or(|node| node == writer || !writers.contains(&node)))
            .filter(|it| it.node.is_none_or(|node| node == writer || !members.contains(&node)))
            .collect();
        let ill = |broker: &&NodeId| near.iter().any(|it| it.node == Some(**broker));
        // With a producer, a name server, or with everybody.
        let elsewhere = near.iter().any(|it| it.node.is_none_or(|node| !brokers.contains(&node)));
        let ill = brokers.iter().filter(ill).count();
        // A broker that does not answer takes all the time there is.
        let tried_again = message.attempts > 1 && until - from < AT_ONCE;
        if elsewhere || ill > 1 || ill == brokers.len() || ill == 1 && !tried_again {
            continue;
        }
        judged.count(Rule::L2, 1);
        if send.outcome == Some(Outcome::Failed) {
            let name = history.message_name(MessageId(index as u32));
            let wrong =
                if ill == 0 { "nothing was wrong" } else { "something was wrong with one broker only" };
            let sentence = format!("The send of {name} was refused at {}, and {wrong}.", seconds(until));
            judged.broken(view, Rule::L2, returned, name, sentence);
        }
    }
}

/// For how long a refusal is put down to what went wrong. Where space is looked for again and again, and nobody lost
/// sight of the broker, it is not for long.
fn aftermath(view: &View<'_>, trouble: &Trouble) -> u64 {
    let died = |node| {
        let mut outages = view.outages_of(node).iter();
        outages.any(|it| it.from_ns <= trouble.until_ns && it.until_ns >= trouble.from_ns)
    };
    if trouble.fills && !trouble.node.is_some_and(died) { SPACE } else { CALM }
}

/// L-3: after its bound no queue changes hands. Who died and could not say so is a member until it has been silent for too
/// long.
fn owners(view: &View<'_>, heal_ns: u64, judged: &mut Judged) {
    judged.count(Rule::L3, 1);
    let mut bound = heal_ns + OWNER_BOUND;
    // Members are asked each second.
    let told = if view.history.untapped { SECOND } else { 0 };
    let troubles = view.troubles();
    for (number, event) in view.history.events.iter().enumerate() {
        match event.kind {
            // Members that come or go by plan, and nodes that the lab itself stops, move queues rightly.
            Kind::Joined { .. } | Kind::Leaves { .. } | Kind::Up | Kind::TopicSet { .. } => {
                bound = bound.max(event.at_ns + OWNER_BOUND);
            }
            Kind::Down { how } => {
                let before = event.at_ns.saturating_sub(1);
                let unheard =
                    matches!(how, How::Power | How::Disk) || shaken(&troubles, event.node, before, before);
                let silent = unheard && view.history.members.iter().any(|it| it.node == event.node);
                bound = bound.max(event.at_ns + if silent { SILENT_BOUND } else { OWNER_BOUND });
            }
            Kind::SessionStart { .. } | Kind::Holds { on: true, .. }
                if event.at_ns > heal_ns && event.at_ns <= bound + told =>
            {
                let since = event.at_ns.saturating_sub(bound - OWNER_BOUND);
                judged.worst(SETTLED, since / MS);
            }
            Kind::SessionStart { member, queue, .. } | Kind::Holds { member, queue, on: true }
                if event.at_ns > bound + told =>
            {
                let name = view.history.queue_name(queue);
                let sentence = format!(
                    "{} took over {name} {} after the faults were over; by then owners should be settled.",
                    view.history.member_name(member),
                    seconds(event.at_ns - heal_ns)
                );
                judged.broken(view, Rule::L3, number, name, sentence);
            }
            _ => {}
        }
    }
}

const MS: u64 = 1_000_000;
/// Long enough after a fault, or the start, for clients to know where everybody is.
const CALM: u64 = 45 * SECOND;
/// A broker that has found no space has looked again, and has made what it needs.
const SPACE: u64 = 10 * SECOND;
/// A refusal that came so soon left time for another try.
const AT_ONCE: u64 = 400 * MS;
/// Routes are right after this.
const ROUTE_BOUND: u64 = 65 * SECOND;
/// Every producer has an acknowledgement after this.
const ACK_BOUND: u64 = 70 * SECOND;
/// Ownership is settled after this.
const OWNER_BOUND: u64 = 110 * SECOND;
/// The same after the death of a member of which its brokers were not told: they give it up after 120 s, look every 10 s,
/// and the others look every 20 s.
const SILENT_BOUND: u64 = 160 * SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{How, Outcome};

    #[test]
    fn every_broker_is_known_again() {
        let late = |known: &'static [&'static str], wait: f64| {
            move |s: &mut Script| {
                s.heal();
                s.wait(wait);
                s.routes("ns0", known);
                s.drained(0);
                s.routes("ns0", &[]);
            }
        };
        run("L-1", Expect::Broken, "a minute and more later it is not", late(&[], 66.0));
        run("L-1", Expect::Broken, "nor ever", late(&[], 170.0));
        run("L-1", Expect::Kept, "it has a minute", late(&[], 60.0));
        run("L-1", Expect::Kept, "it is, and the lab stops it in the end", late(&["b0"], 66.0));
        let parted = |nodes: &'static [&'static str], known: &'static [&'static str]| {
            move |s: &mut Script| {
                s.broker("b1");
                s.stays(nodes);
                late(known, 66.0)(s);
            }
        };
        run("L-1", Expect::Broken, "another one is gone for good", parted(&["b1"], &[]));
        run("L-1", Expect::Broken, "another name server is gone for good", parted(&["ns1"], &["b1"]));
        run("L-1", Expect::Broken, "another one cannot get here for good", parted(&["b1", "ns0"], &["b1"]));
        run("L-1", Expect::Broken, "it cannot get elsewhere for good", parted(&["b0", "ns1"], &["b1"]));
        run(
            "L-1",
            Expect::Broken,
            "a broker and a client are parted for good",
            parted(&["b0", "c0"], &["b1"]),
        );
        run("L-1", Expect::Broken, "it was struck, but not for good", |s| {
            s.begin(&["b0"]);
            late(&[], 66.0)(s);
        });
        run("L-1", Expect::Kept, "it is gone for good", parted(&["b0"], &["b1"]));
        run("L-1", Expect::Kept, "the name server is gone for good", parted(&["ns0"], &[]));
        run("L-1", Expect::Kept, "it cannot get there for good", parted(&["b0", "ns0"], &["b1"]));
    }

    #[test]
    fn producers_get_through_again() {
        run("L-2", Expect::Broken, "never", |s: &mut Script| {
            s.heal();
            s.sent("a", Outcome::Unknown, None);
            s.wait(80.0);
            s.sent("b", Outcome::Unknown, None);
        });
        run("L-2", Expect::Broken, "too late", |s| {
            s.heal();
            s.sent("a", Outcome::Unknown, None);
            s.wait(75.0);
            s.ok("b", "q", 0);
        });
        run("L-2", Expect::Broken, "another one is cut off for good", |s| {
            s.stays(&["c0"]);
            s.heal();
            s.sent("a", Outcome::Unknown, None);
            s.wait(80.0);
            s.sent("b", Outcome::Unknown, None);
        });
        run("L-2", Expect::Kept, "it is cut off for good", |s| {
            s.stays(&["p0"]);
            s.heal();
            s.sent("a", Outcome::Unknown, None);
            s.wait(80.0);
            s.sent("b", Outcome::Unknown, None);
        });
        run("L-2", Expect::Kept, "in time", |s| {
            s.heal();
            s.sent("a", Outcome::Unknown, None);
            s.wait(60.0);
            s.ok("b", "q", 0);
        });
        run("L-2", Expect::Kept, "the run ended before the bound", |s| {
            s.heal();
            s.sent("a", Outcome::Unknown, None);
            s.wait(10.0);
            s.drained(0);
        });
    }

    #[test]
    fn nobody_is_refused_without_a_cause() {
        let late = |s: &mut Script| {
            s.ok("first", "q", 0);
            s.wait(50.0);
        };
        run("L-2", Expect::Broken, "nothing is wrong", |s| {
            late(s);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Broken, "a fault was over long ago", |s| {
            let step = s.begin(&["b0"]);
            s.over(step);
            late(s);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Broken, "one broker is gone, and there was another try", |s| {
            s.broker("b1");
            late(s);
            s.down("b0", How::Process);
            s.attempts("a", 2);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Broken, "something is wrong with another client", |s| {
            late(s);
            s.begin(&["c0"]);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Broken, "there is space again", |s| {
            late(s);
            s.full("b0");
            s.wait(11.0);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Kept, "there was no space just now", |s| {
            late(s);
            s.full("b0");
            s.wait(9.0);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Kept, "it was started when there was no space", |s| {
            late(s);
            s.down("b0", How::Process);
            let step = s.fills_up("b0");
            s.up("b0");
            s.wait(50.0);
            s.over(step);
            s.wait(11.0);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Kept, "the broker is gone", |s| {
            late(s);
            s.down("b0", How::Process);
            s.attempts("a", 2);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Kept, "one broker is gone, and it had one try", |s| {
            s.broker("b1");
            late(s);
            s.down("b0", How::Process);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Kept, "one broker is gone, and it took all the time", |s| {
            s.broker("b1");
            late(s);
            s.down("b0", How::Process);
            s.attempts("a", 2);
            s.send("a");
            s.wait(0.5);
            s.returned("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Kept, "a name server is gone", |s| {
            late(s);
            s.down("ns0", How::Process);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Kept, "a fault has just ended", |s| {
            late(s);
            let step = s.begin(&["b0"]);
            s.over(step);
            s.wait(20.0);
            s.sent("a", Outcome::Failed, None);
        });
        run("L-2", Expect::Kept, "a batch that is too long", |s| {
            late(s);
            s.batch(&["a", "b"]);
            s.returned("a", Outcome::Failed, None);
            s.returned("b", Outcome::Failed, None);
        });
        run("L-2", Expect::Kept, "all begins", |s| s.sent("a", Outcome::Failed, None));
    }

    #[test]
    fn owners_settle() {
        run("L-3", Expect::Broken, "a queue changes hands late", |s: &mut Script| {
            s.heal();
            s.wait(120.0);
            s.session("c0", "q", 0);
        });
        run("L-3", Expect::Broken, "again and again", |s| {
            s.heal();
            for _ in 0..10 {
                s.wait(20.0);
                s.session("c0", "q", 0);
                s.end("c0", "q");
            }
        });
        run("L-3", Expect::Kept, "settled in time", |s| {
            s.heal();
            s.wait(100.0);
            s.session("c0", "q", 0);
            s.wait(200.0);
        });
        let after_a_death = |how: How, cut: bool| {
            move |s: &mut Script| {
                let fault = s.begin(if cut { &["c1"] } else { &["b0"] });
                s.wait(1.0);
                s.down("c1", how);
                s.over(fault);
                s.heal();
                s.wait(140.0);
                s.session("c0", "q", 0);
            }
        };
        run("L-3", Expect::Kept, "the power of a member was lost", after_a_death(How::Power, false));
        run("L-3", Expect::Kept, "a member died that was cut off", after_a_death(How::Process, true));
        run("L-3", Expect::Broken, "its connections closed", after_a_death(How::Process, false));
        run("L-3", Expect::Broken, "long after its power was lost", |s| {
            s.down("c1", How::Power);
            s.heal();
            s.wait(170.0);
            s.session("c0", "q", 0);
        });
        run("L-3", Expect::Kept, "a member joined late by plan", |s| {
            s.heal();
            s.wait(200.0);
            s.joined("c0");
            s.session("c0", "q", 0);
        });
    }

    #[test]
    fn the_drain_ends_with_nothing_left() {
        run("L-4", Expect::Broken, "something is left", |s: &mut Script| {
            s.heal();
            s.drained(3);
        });
        run("L-4", Expect::Broken, "one message is left", |s| {
            s.ok("a", "q", 0);
            s.heal();
            s.wait(200.0);
            s.drained(1);
        });
        run("L-4", Expect::Kept, "nothing is left", |s| {
            s.heal();
            s.drained(0);
        });
        run("L-4", Expect::Kept, "the run was cut before the drain", |s| {
            s.heal();
            s.ok("a", "q", 0);
        });
    }
}
